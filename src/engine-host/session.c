/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * session — from READY to the end; see session.h, and session-start.c for what is before
 *
 * Requests until QUIT or end of file. The dispatcher is trusted, but a packet that does
 * not parse or does not fit ends the session: something is broken, and a fresh
 * process is the best repair.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine-host/session.h"
#include "shared/log.h"

#define DRAIN_SECONDS 5u /* for requests to end after QUIT */
#define CLOSE_SECONDS 5u /* for the engine's close() after that */

static int send_failed(struct session *s, int r) {
        if (r == -EINVAL || r == -EMSGSIZE) /* not built: ours to say, not the dispatcher's end */
                return -EINVAL;
        __atomic_store_n(&s->dead, 1, __ATOMIC_RELEASE);
        return -ECANCELED;
}

int session_send(struct session *s, const struct channel_message *message) {
        char packet[CHANNEL_PACKET_MAX];
        int r = channel_build(message, packet, sizeof(packet));

        if (r > 0)
                r = channel_send(s->socket, packet, (size_t)r, -1);
        return r < 0 ? send_failed(s, r) : 0;
}

int session_send_two(struct session *s, const struct channel_message *first,
                     const struct channel_message *second) {
        char packet_a[512], packet_b[2048];
        int a = channel_build(first, packet_a, sizeof(packet_a));
        int b = channel_build(second, packet_b, sizeof(packet_b));
        struct iovec iov[2] = {{packet_a, (size_t)MAX(a, 0)}, {packet_b, (size_t)MAX(b, 0)}};
        struct mmsghdr headers[2] = {{.msg_hdr = {.msg_iov = &iov[0], .msg_iovlen = 1}},
                                     {.msg_hdr = {.msg_iov = &iov[1], .msg_iovlen = 1}}};
        unsigned sent = 0;

        if (a < 0 || b < 0)
                return send_failed(s, a < 0 ? a : b);
        while (sent < 2) {
                int n = sendmmsg(s->socket, headers + sent, 2 - sent, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return send_failed(s, -errno);
                sent += (unsigned)n;
        }
        return 0;
}

/* Sets the flag of every request, so that whoever waits for a slot gives up. */
static void flag_all(struct session *s) {
        GHashTableIter iter;
        struct cs_request *r;

        pthread_mutex_lock(&s->lock);
        g_hash_table_iter_init(&iter, s->requests);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&r))
                __atomic_store_n(&r->cancelled, 1, __ATOMIC_RELEASE);
        pthread_mutex_unlock(&s->lock);
        slots_wake(&s->slots);
}

static struct cs_request *find(struct session *s, uint64_t id) {
        struct cs_request *r;

        pthread_mutex_lock(&s->lock);
        r = g_hash_table_lookup(s->requests, &id);
        if (r)
                request_ref(r);
        pthread_mutex_unlock(&s->lock);
        return r;
}

static void flag_one(struct session *s, struct cs_request *r) {
        __atomic_store_n(&r->cancelled, 1, __ATOMIC_RELEASE);
        slots_wake(&s->slots);
}

static void pong(struct session *s) {
        (void)session_send(s, &(struct channel_message){.type = CHANNEL_PONG});
}

/* One packet while the main thread waits for a slot; false: it need not wait on. */
static bool pump(struct session *s) {
        struct channel_message m;
        struct cs_request *r;
        const void *packet;
        int n = inbox_next_raw(&s->inbox, &packet);

        if (n <= 0 || channel_parse(packet, (size_t)n, &m) < 0 ||
            (m.type == CHANNEL_RELEASE && slots_take_back(&s->slots, m.slot) < 0)) {
                __atomic_store_n(&s->dead, 1, __ATOMIC_RELEASE);
                return false;
        }
        if (m.type == CHANNEL_RELEASE)
                return true;
        if (m.type == CHANNEL_PING) {
                pong(s);
                return true;
        }
        if (m.type == CHANNEL_QUIT)
                flag_all(s);
        if (m.type == CHANNEL_CANCEL) {
                r = find(s, m.request);
                if (r) {
                        flag_one(s, r);
                        request_unref(r);
                }
        }
        inbox_defer(&s->inbox, packet, (size_t)n);
        return true;
}

int session_take_slot(struct session *s, struct cs_request *r) {
        int slot = slots_try_take(&s->slots);

        if (slot != -EAGAIN)
                return slot;
        if (!pthread_equal(pthread_self(), s->main_thread))
                return slots_take(&s->slots, &r->cancelled);
        while (slot == -EAGAIN) {
                if (request_is_cancelled(r) || !pump(s))
                        return -ECANCELED;
                slot = slots_try_take(&s->slots);
        }
        return slot;
}

/* The engine hears of it, or, when it has not begun yet, need not. */
static void cancel(struct session *s, struct cs_request *r) {
        flag_one(s, r);
        if (pool_withdraw(s, r))
                s->host.done(&s->host, r, -ECANCELED, 0, NULL);
        else if (s->ops->cancel && r->type != CHANNEL_LOGIN)
                s->ops->cancel(s->instance, r);
}

static void cancel_all(struct session *s) {
        g_autoptr(GPtrArray) all = g_ptr_array_new();
        GHashTableIter iter;
        struct cs_request *r;

        pthread_mutex_lock(&s->lock);
        g_hash_table_iter_init(&iter, s->requests);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&r))
                g_ptr_array_add(all, request_ref(r));
        pthread_mutex_unlock(&s->lock);
        for (guint i = 0; i < all->len; i++) {
                cancel(s, all->pdata[i]);
                request_unref(all->pdata[i]);
        }
}

static int begin(struct session *s, const void *packet, size_t length) {
        struct cs_request *r = request_new(s, packet, length);
        bool known;

        if (!r)
                return -ENOMEM;
        pthread_mutex_lock(&s->lock);
        known = g_hash_table_contains(s->requests, &r->id);
        if (!known)
                g_hash_table_insert(s->requests, &r->id, r);
        pthread_mutex_unlock(&s->lock);
        if (known) {
                request_unref(r);
                return -EBADMSG;
        }
        if (r->type == CHANNEL_LOGIN)
                pool_run_alone(s, r);
        else if (s->ops->flags & CS_ENGINE_NONBLOCKING)
                request_run(r);
        else
                pool_push(s, r);
        return 0;
}

/* 1: go on; 0: QUIT; -errno. */
static int handle(struct session *s, const void *packet, size_t length) {
        struct channel_message m;
        struct cs_request *r;
        int q = channel_parse(packet, length, &m);

        if (q < 0)
                return q;
        switch (m.type) {
        case CHANNEL_LIST:
        case CHANNEL_STAT:
        case CHANNEL_FETCH:
        case CHANNEL_LOGIN:
                q = begin(s, packet, length);
                break;
        case CHANNEL_RELEASE:
                q = slots_take_back(&s->slots, m.slot);
                break;
        case CHANNEL_CANCEL:
                r = find(s, m.request); /* or DONE is on its way already */
                if (r) {
                        cancel(s, r);
                        request_unref(r);
                }
                break;
        case CHANNEL_PING:
                pong(s);
                break;
        case CHANNEL_QUIT:
                return 0;
        default:
                return -EBADMSG;
        }
        return q < 0 ? q : 1;
}

static int serve(struct session *s) {
        const void *packet;
        int r = 1;

        while (r > 0 && !__atomic_load_n(&s->dead, __ATOMIC_ACQUIRE)) {
                r = inbox_next(&s->inbox, &packet);
                if (r > 0)
                        r = handle(s, packet, (size_t)r);
        }
        if (r < 0 && r != -ECONNRESET) {
                log_about(LOG_ERR, s->id, NULL, "the channel broke: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

static void finish(struct session *s) {
        cancel_all(s);
        if (!pool_drain(s, DRAIN_SECONDS)) {
                log_about(LOG_WARNING, s->id, NULL,
                          "requests did not end within %u s of the end, leaving anyway",
                          DRAIN_SECONDS);
                return;
        }
        (void)alarm(CLOSE_SECONDS); /* SIGALRM ends the process */
        s->ops->close(s->instance);
        (void)alarm(0);
}

static void init(struct session *s, int socket, const char *module_dir, uid_t module_owner) {
        pthread_condattr_t monotonic;

        *s = (struct session){.socket = socket, .module_dir = module_dir,
                              .module_owner = module_owner};
        s->main_thread = pthread_self();
        s->settings = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        s->requests = g_hash_table_new(g_int64_hash, g_int64_equal);
        s->queue_tail = &s->queue_head;
        (void)pthread_mutex_init(&s->lock, NULL);
        (void)pthread_cond_init(&s->work, NULL);
        (void)pthread_condattr_init(&monotonic);
        (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&s->quiet, &monotonic);
        (void)pthread_condattr_destroy(&monotonic);
        services_init(s);
}

int session_run(int socket, const char *module_dir, uid_t module_owner) {
        /* Never freed: the process ends with it, and an engine's stray thread may
         * still look at it while the process goes. */
        static struct session session;
        struct session *s = &session;
        int r;

        init(s, socket, module_dir, module_owner);
        /* The dispatcher makes both ends alike, and wants its own not to block. */
        (void)fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK);
        r = session_start(s);
        if (r != SESSION_GO_ON)
                return r;
        inbox_init(&s->inbox, socket);
        r = serve(s);
        finish(s);
        return r;
}
