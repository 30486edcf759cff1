/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pool — threads for engines whose operations block; see session.h
 *
 * As many as there ever were requests at once, at most max_workers; they stay. A
 * request waits in the queue only while all of them are busy. A worker that ends
 * one operation takes the next without going to sleep in between.
 */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "engine-host/session.h"
#include "shared/log.h"

static struct cs_request *pop_locked(struct session *s) {
        struct cs_request *r = s->queue_head;

        if (r) {
                s->queue_head = r->next;
                if (!s->queue_head)
                        s->queue_tail = &s->queue_head;
                s->queue_length--;
                r->next = NULL;
                r->queued = false;
        }
        return r;
}

/* Runs one that is counted in n_running. Takes the lock behind it. */
static void run_and_lock(struct session *s, struct cs_request *r) {
        request_run(r);
        pthread_mutex_lock(&s->lock);
        if (--s->n_running == 0)
                pthread_cond_signal(&s->quiet);
}

static void *worker(void *userdata) {
        struct session *s = userdata;
        struct cs_request *r;

        pthread_mutex_lock(&s->lock);
        for (;;) {
                r = pop_locked(s);
                if (!r) {
                        if (s->stopping)
                                break;
                        s->n_idle++;
                        pthread_cond_wait(&s->work, &s->lock);
                        s->n_idle--;
                        continue;
                }
                s->n_running++;
                pthread_mutex_unlock(&s->lock);
                run_and_lock(s, r);
        }
        pthread_mutex_unlock(&s->lock);
        return NULL;
}

void pool_push(struct session *s, struct cs_request *r) {
        bool failed = false;

        pthread_mutex_lock(&s->lock);
        r->queued = true;
        *s->queue_tail = r;
        s->queue_tail = &r->next;
        s->queue_length++;
        if (s->queue_length <= s->n_idle) {
                pthread_cond_signal(&s->work);
        } else if (s->n_workers < s->max_workers) {
                int error = pthread_create(&s->workers[s->n_workers], NULL, worker, s);

                if (error == 0)
                        s->n_workers++;
                else
                        log_about(LOG_WARNING, s->id, NULL, "cannot start a thread: %s",
                                  strerror(error));
                failed = s->n_workers == 0;
        }
        pthread_mutex_unlock(&s->lock);
        /* Not one thread: nobody would ever take it. */
        if (failed && pool_withdraw(s, r))
                s->host.done(&s->host, r, -EAGAIN, 1000, "no thread could be started");
}

static void *run_alone(void *userdata) {
        struct cs_request *r = userdata;
        struct session *s = r->session;

        run_and_lock(s, r);
        pthread_mutex_unlock(&s->lock);
        return NULL;
}

void pool_run_alone(struct session *s, struct cs_request *r) {
        pthread_t thread;
        int error;

        pthread_mutex_lock(&s->lock);
        s->n_running++; /* pool_drain() waits for it */
        pthread_mutex_unlock(&s->lock);
        error = pthread_create(&thread, NULL, run_alone, r);
        if (error == 0) {
                (void)pthread_detach(thread);
                return;
        }
        pthread_mutex_lock(&s->lock);
        s->n_running--;
        pthread_mutex_unlock(&s->lock);
        s->host.done(&s->host, r, -EAGAIN, 1000, "no thread could be started");
}

bool pool_withdraw(struct session *s, struct cs_request *r) {
        bool was_queued;

        pthread_mutex_lock(&s->lock);
        was_queued = r->queued;
        if (was_queued) {
                struct cs_request **at = &s->queue_head;

                while (*at != r)
                        at = &(*at)->next;
                *at = r->next;
                if (!*at)
                        s->queue_tail = at;
                s->queue_length--;
                r->next = NULL;
                r->queued = false;
        }
        pthread_mutex_unlock(&s->lock);
        return was_queued;
}

bool pool_drain(struct session *s, unsigned seconds) {
        struct timespec deadline;
        bool drained;

        (void)clock_gettime(CLOCK_MONOTONIC, &deadline); /* the clock of `quiet` */
        deadline.tv_sec += seconds;
        pthread_mutex_lock(&s->lock);
        while (g_hash_table_size(s->requests) > 0 || s->n_running > 0)
                if (pthread_cond_timedwait(&s->quiet, &s->lock, &deadline) == ETIMEDOUT)
                        break;
        drained = g_hash_table_size(s->requests) == 0 && s->n_running == 0;
        s->stopping = true;
        pthread_cond_broadcast(&s->work);
        pthread_mutex_unlock(&s->lock);
        if (drained)
                for (unsigned i = 0; i < s->n_workers; i++)
                        (void)pthread_join(s->workers[i], NULL);
        return drained;
}
