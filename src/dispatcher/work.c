/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/work.h"

#include <glib.h>

/* A few threads: on the disks that stores live on, more of them only wait in the
 * same queue; fewer would let one slow sync hold up every small file. */
#define WORK_THREADS 6

struct job {
        work_fn run, done;
        void *data;
};

static GThreadPool *pool;
static GAsyncQueue *finished;
static GSource *source;
static unsigned pending;

static gboolean finished_prepare(GSource *s, int *timeout) {
        *timeout = -1;
        return g_async_queue_length(finished) > 0;
}

static gboolean finished_check(GSource *s) {
        return g_async_queue_length(finished) > 0;
}

static gboolean finished_dispatch(GSource *s, GSourceFunc callback, void *userdata) {
        struct job *job;

        while ((job = g_async_queue_try_pop(finished)) != NULL) {
                if (job->done)
                        job->done(job->data);
                pending--;
                g_free(job);
        }
        return G_SOURCE_CONTINUE;
}

static GSourceFuncs finished_funcs = {
        .prepare = finished_prepare,
        .check = finished_check,
        .dispatch = finished_dispatch,
};

static void pool_run(void *data, void *userdata) {
        struct job *job = data;

        job->run(job->data);
        g_async_queue_push(finished, job);
        g_main_context_wakeup(NULL);
}

void work_start(void) {
        finished = g_async_queue_new();
        /* Exclusive: shared ones end when idle, and would be made anew for every burst. */
        pool = g_thread_pool_new(pool_run, NULL, WORK_THREADS, TRUE, NULL);
        source = g_source_new(&finished_funcs, sizeof(GSource));
        g_source_set_priority(source, G_PRIORITY_HIGH);
        g_source_attach(source, NULL);
}

void work_stop(void) {
        if (!pool)
                return;
        /* done() may queue more: run until nothing is left. */
        while (pending > 0) {
                struct job *job = g_async_queue_timeout_pop(finished, 100 * 1000);
                if (!job)
                        continue;
                if (job->done)
                        job->done(job->data);
                pending--;
                g_free(job);
        }
        g_thread_pool_free(pool, FALSE, TRUE);
        pool = NULL;
        g_source_destroy(source);
        g_source_unref(source);
        g_async_queue_unref(finished);
}

void work_run(work_fn run, work_fn done, void *data) {
        struct job *job = g_new(struct job, 1);

        *job = (struct job){.run = run, .done = done, .data = data};
        pending++;
        g_thread_pool_push(pool, job, NULL);
}

unsigned work_pending(void) {
        return pending;
}
