/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * http-client — the thread, its queues and its sockets
 *
 *     http_submit() ─▶ incoming ─▶ delayed? ─▶ waiting[…] ─▶ active ─▶ complete()
 *      any thread        lock      └──────── this thread only ────────┘
 *
 * The thread sleeps in epoll_wait() on libcurl's sockets and an eventfd, and drives
 * libcurl by curl_multi_socket_action(): its cost does not grow with the number of
 * idle handles. At most `limit` requests are active: as many as there may be
 * connections, or HTTP_H2_STREAMS when the last answer came over HTTP/2. So no
 * request waits inside libcurl, where its connect timeout would already run.
 *
 * Invariants: a request is in exactly one queue; it has a slot exactly while it is
 * active; complete() is called from one place, http_request_finish(). libcurl is
 * never entered from one of its own callbacks: they only take notes.
 */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "config.h"
#include "plugins/common/http-error.h"
#include "plugins/common/http-private.h"
#include "shared/fd.h"

#define EVENTS_AT_ONCE 64
#define SWEEP_US 500000
#define CA_FILE_MAX (16u * 1024 * 1024)

/* libcurl's wishes --------------------------------------------------------- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *known) {
        struct http_client *client = userdata;
        struct epoll_event event = {.data.fd = fd};

        if (what == CURL_POLL_REMOVE) {
                (void)epoll_ctl(client->epoll, EPOLL_CTL_DEL, fd, NULL);
                curl_multi_assign(client->multi, fd, NULL);
                return 0;
        }
        event.events =
                (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
        if (epoll_ctl(client->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0)
                (void)epoll_ctl(client->epoll, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
        if (!known)
                curl_multi_assign(client->multi, fd, client);
        return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *userdata) {
        struct http_client *client = userdata;

        client->expire_us = timeout_ms < 0 ? -1 : g_get_monotonic_time() + timeout_ms * 1000;
        return 0;
}

/* Starting and ending ------------------------------------------------------ */

static struct http_slot *slot_take(struct http_client *client) {
        if (client->idle->len > 0)
                return g_ptr_array_steal_index_fast(client->idle, client->idle->len - 1);
        return http_slot_new(client);
}

/* Ends an active request: off the multi handle, slot back to the pool. */
static void request_end(struct http_request *request, int error, const char *detail) {
        struct http_client *client = request->client;
        struct http_slot *slot = request->slot;

        curl_multi_remove_handle(client->multi, slot->easy);
        g_queue_unlink(&client->active, &request->link);
        g_ptr_array_add(client->idle, slot);
        http_request_finish(request, error, detail);
}

static void request_start(struct http_client *client, struct http_request *request) {
        CURLMcode code;

        g_queue_push_tail_link(&client->active, &request->link);
        http_request_arm(request, slot_take(client));
        code = curl_multi_add_handle(client->multi, request->slot->easy);
        if (code != CURLM_OK)
                request_end(request, -ENOMEM, curl_multi_strerror(code));
}

/* The background queue gets what the foreground leaves, and at least each fourth turn. */
static GList *next_waiting(struct http_client *client) {
        GQueue *first = &client->waiting[HTTP_FOREGROUND_QUEUE];
        GQueue *second = &client->waiting[HTTP_BACKGROUND_QUEUE];

        if (first->length == 0 || (second->length > 0 && client->turn % 4 == 3))
                first = second;
        if (first->length == 0)
                return NULL;
        client->turn++;
        return g_queue_pop_head_link(first);
}

static void start_waiting(struct http_client *client) {
        unsigned limit = client->speaks_http2 ? MAX(HTTP_H2_STREAMS, client->max_connections)
                                              : client->max_connections;

        while (client->active.length < limit) {
                GList *link = next_waiting(client);

                if (link == NULL)
                        return;
                request_start(client, link->data);
        }
}

static void request_follow(struct http_request *request) {
        struct http_client *client = request->client;
        struct http_slot *slot = request->slot;

        curl_multi_remove_handle(client->multi, slot->easy);
        g_queue_unlink(&client->active, &request->link);
        g_ptr_array_add(client->idle, slot);
        http_request_disarm(request);
        request_start(client, request);
}

static void transfer_done(struct http_client *client, struct http_request *request, CURLcode code) {
        long os_error = 0, version = 0;
        int error = request->error;
        g_autofree char *detail = NULL;

        curl_easy_getinfo(request->slot->easy, CURLINFO_HTTP_VERSION, &version);
        if (version != 0)
                client->speaks_http2 = version == CURL_HTTP_VERSION_2_0;
        if (error == 0 && !request->enough && code != CURLE_OK) {
                const char *text = request->slot->error;

                curl_easy_getinfo(request->slot->easy, CURLINFO_OS_ERRNO, &os_error);
                error = http_curl_error(code, os_error);
                if (code == CURLE_OUT_OF_MEMORY)
                        text = "a header that is too long";
                detail = g_strdup(*text ? text : curl_easy_strerror(code));
        }
        if (error == 0 && request->redirecting) {
                error = http_request_redirect(request);
                if (error == 0) {
                        request_follow(request);
                        return;
                }
        }
        if (error == 0 && !request->headers_done)
                error = -EPROTO;
        request_end(request, error, detail);
}

static void reap(struct http_client *client) {
        CURLMsg *message;
        int left;

        while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
                struct http_slot *slot = NULL;

                if (message->msg != CURLMSG_DONE)
                        continue;
                curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&slot);
                transfer_done(client, slot->request, message->data.result);
        }
}

/* Requests that waited too long for a byte. */
static void sweep(struct http_client *client, int64_t now_us) {
        int64_t limit = http_client_clock(client) - (int64_t)client->stall_timeout_ms * 1000;
        GList *next;

        if (client->active.length == 0 || now_us < client->sweep_us)
                return;
        client->sweep_us = now_us + SWEEP_US;
        for (GList *link = client->active.head; link != NULL; link = next) {
                struct http_request *request = link->data;

                next = link->next;
                if (request->connected && request->progress_us < limit) {
                        g_autofree char *detail = g_strdup_printf(
                                "nothing came for %.1f s", client->stall_timeout_ms / 1000.0);

                        request_end(request, -ETIMEDOUT, detail);
                }
        }
}

/* From other threads ------------------------------------------------------- */

static void cancel_in(GQueue *queue, uint64_t tag) {
        GList *next;

        for (GList *link = queue->head; link != NULL; link = next) {
                struct http_request *request = link->data;

                next = link->next;
                if (request->tag != tag)
                        continue;
                if (request->slot != NULL) {
                        request_end(request, -ECANCELED, "cancelled");
                } else {
                        g_queue_unlink(queue, link);
                        http_request_finish(request, -ECANCELED, "cancelled");
                }
        }
}

static GArray *take_array(GArray **array, guint item_size) {
        GArray *taken = *array;

        if (taken->len == 0)
                return NULL;
        *array = g_array_new(FALSE, FALSE, item_size);
        return taken;
}

static void queue_request(struct http_client *client, struct http_request *request) {
        bool background = request->flags & HTTP_BACKGROUND;

        if (request->not_before_us > 0)
                g_queue_push_tail_link(&client->delayed, &request->link);
        else
                g_queue_push_tail_link(&client->waiting[background ? HTTP_BACKGROUND_QUEUE
                                                                   : HTTP_FOREGROUND_QUEUE],
                                       &request->link);
}

/* Moves on the requests whose delay is over; when the next one's will be, or INT64_MAX. */
static int64_t queue_delayed(struct http_client *client) {
        int64_t now_us = client->delayed.length > 0 ? g_get_monotonic_time() : 0, first = INT64_MAX;
        GList *next;

        for (GList *link = client->delayed.head; link != NULL; link = next) {
                struct http_request *request = link->data;

                next = link->next;
                if (request->not_before_us > now_us) {
                        first = MIN(first, request->not_before_us);
                        continue;
                }
                g_queue_unlink(&client->delayed, link);
                request->not_before_us = 0;
                queue_request(client, request);
        }
        return first;
}

/* Does what was asked since the last time; true: end. */
static bool take_incoming(struct http_client *client) {
        g_autoptr(GArray) runs = NULL;
        g_autoptr(GArray) cancels = NULL;
        GQueue incoming;
        GList *link;
        bool quit;

        pthread_mutex_lock(&client->lock);
        incoming = client->incoming;
        g_queue_init(&client->incoming);
        runs = take_array(&client->runs, sizeof(struct http_runnable));
        cancels = take_array(&client->cancels, sizeof(uint64_t));
        quit = client->quit;
        pthread_mutex_unlock(&client->lock);

        while ((link = g_queue_pop_head_link(&incoming)) != NULL)
                queue_request(client, link->data);
        for (guint i = 0; runs != NULL && i < runs->len; i++) {
                struct http_runnable *run = &g_array_index(runs, struct http_runnable, i);

                run->fn(run->data);
        }
        for (guint i = 0; cancels != NULL && i < cancels->len; i++) {
                uint64_t tag = g_array_index(cancels, uint64_t, i);

                cancel_in(&client->active, tag);
                cancel_in(&client->delayed, tag);
                for (int j = 0; j < HTTP_QUEUES; j++)
                        cancel_in(&client->waiting[j], tag);
        }
        return quit;
}

static bool has_incoming(struct http_client *client) {
        return client->incoming.length > 0 || client->runs->len > 0 || client->cancels->len > 0;
}

/* How long to sleep, in ms, at most to `until`; 0 when there is something to do already. */
static int sleep_begin(struct http_client *client, int64_t now_us, int64_t until) {
        bool busy;

        pthread_mutex_lock(&client->lock);
        busy = has_incoming(client) || client->quit;
        client->asleep = !busy;
        pthread_mutex_unlock(&client->lock);
        if (busy)
                return 0;
        if (client->expire_us >= 0)
                until = MIN(until, client->expire_us);
        if (client->active.length > 0)
                until = MIN(until, MAX(client->sweep_us, now_us));
        if (until == INT64_MAX)
                return -1;
        /* Rounded up, or the last millisecond would be spent spinning. */
        return until <= now_us ? 0 : (int)MIN((until - now_us + 999) / 1000, 60000);
}

static void sleep_end(struct http_client *client) {
        pthread_mutex_lock(&client->lock);
        client->asleep = false;
        pthread_mutex_unlock(&client->lock);
}

static void wake_locked(struct http_client *client) {
        uint64_t one = 1;

        if (!client->asleep)
                return;
        client->asleep = false;
        (void)!write(client->wake, &one, sizeof one);
}

static void socket_ready(struct http_client *client, const struct epoll_event *event) {
        uint64_t count;
        int running, mask = 0;

        if (event->data.fd == client->wake) {
                (void)!read(client->wake, &count, sizeof count);
                return;
        }
        if (event->events & EPOLLIN)
                mask |= CURL_CSELECT_IN;
        if (event->events & EPOLLOUT)
                mask |= CURL_CSELECT_OUT;
        if (event->events & (EPOLLERR | EPOLLHUP))
                mask |= CURL_CSELECT_IN | CURL_CSELECT_ERR;
        curl_multi_socket_action(client->multi, event->data.fd, mask, &running);
}

static void cancel_all(struct http_client *client) {
        GList *link;

        take_incoming(client);
        while ((link = client->active.head) != NULL)
                request_end(link->data, -ECANCELED, "cancelled");
        while ((link = g_queue_pop_head_link(&client->delayed)) != NULL)
                http_request_finish(link->data, -ECANCELED, "cancelled");
        for (int i = 0; i < HTTP_QUEUES; i++)
                while ((link = g_queue_pop_head_link(&client->waiting[i])) != NULL)
                        http_request_finish(link->data, -ECANCELED, "cancelled");
}

static void *client_main(void *data) {
        struct http_client *client = data;
        struct epoll_event events[EVENTS_AT_ONCE];
        int n, running;

        while (!take_incoming(client)) {
                int64_t now_us, until_us = queue_delayed(client);

                start_waiting(client);
                now_us = g_get_monotonic_time();
                n = epoll_wait(client->epoll, events, EVENTS_AT_ONCE,
                               sleep_begin(client, now_us, until_us));
                sleep_end(client);
                for (int i = 0; i < n; i++)
                        socket_ready(client, &events[i]);
                now_us = g_get_monotonic_time();
                if (client->expire_us >= 0 && client->expire_us <= now_us) {
                        client->expire_us = -1;
                        curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
                }
                reap(client);
                sweep(client, now_us);
        }
        /* Callbacks may still submit while they are told that it is over. */
        do
                cancel_all(client);
        while (has_incoming(client));
        return NULL;
}

/* The interface ------------------------------------------------------------ */

int http_submit(struct http_client *client, const struct http_call *call) {
        struct http_request *request = http_request_new(client, call);

        if (request == NULL)
                return -EINVAL;
        pthread_mutex_lock(&client->lock);
        g_queue_push_tail_link(&client->incoming, &request->link);
        wake_locked(client);
        pthread_mutex_unlock(&client->lock);
        return 0;
}

uint64_t http_tag(struct http_client *client) {
        uint64_t tag;

        pthread_mutex_lock(&client->lock);
        tag = ++client->last_tag;
        pthread_mutex_unlock(&client->lock);
        return tag;
}

void http_cancel(struct http_client *client, uint64_t tag) {
        pthread_mutex_lock(&client->lock);
        g_array_append_val(client->cancels, tag);
        wake_locked(client);
        pthread_mutex_unlock(&client->lock);
}

void http_run(struct http_client *client, void (*fn)(void *data), void *data) {
        struct http_runnable run = {fn, data};

        pthread_mutex_lock(&client->lock);
        g_array_append_val(client->runs, run);
        wake_locked(client);
        pthread_mutex_unlock(&client->lock);
}

static int client_load_ca(struct http_client *client, const char *file, char **ret_detail) {
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;
        gsize length;

        if (!g_file_get_contents(file, &text, &length, &error)) {
                *ret_detail = g_strdup(error->message);
                return -EINVAL;
        }
        if (length > CA_FILE_MAX || g_strstr_len(text, (gssize)length, "-----BEGIN") == NULL) {
                *ret_detail = g_strdup_printf("%s holds no PEM certificates", file);
                return -EINVAL;
        }
        client->ca = g_steal_pointer(&text);
        client->ca_length = length;
        return 0;
}

static int client_start(struct http_client *client) {
        struct epoll_event event = {.events = EPOLLIN};
        sigset_t all, before;
        int r;

        client->epoll = epoll_create1(EPOLL_CLOEXEC);
        client->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (client->epoll < 0 || client->wake < 0)
                return -errno;
        event.data.fd = client->wake;
        if (epoll_ctl(client->epoll, EPOLL_CTL_ADD, client->wake, &event) < 0)
                return -errno;
        client->multi = curl_multi_init();
        if (client->multi == NULL)
                return -ENOMEM;
        curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
        curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
        curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)client->max_connections);
        curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                          (long)client->max_connections);
        curl_multi_setopt(client->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)HTTP_H2_STREAMS);
        /* Signals belong to the host's threads. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = -pthread_create(&client->thread, NULL, client_main, client);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return r;
}

static void client_destroy(struct http_client *client) {
        if (client->idle != NULL)
                g_ptr_array_free(client->idle, TRUE);
        if (client->multi != NULL)
                curl_multi_cleanup(client->multi);
        fd_close(client->epoll);
        fd_close(client->wake);
        g_array_free(client->runs, TRUE);
        g_array_free(client->cancels, TRUE);
        pthread_mutex_destroy(&client->lock);
        g_free(client->user_agent);
        g_free(client->proxy);
        g_free(client->ca);
        g_free(client);
}

int http_client_new(const struct http_options *options, struct http_client **ret,
                    char **ret_detail) {
        struct http_client *client = g_new0(struct http_client, 1);
        int r = 0;

        *ret = NULL;
        *ret_detail = NULL;
        client->epoll = client->wake = -1;
        client->expire_us = -1;
        client->user_agent = g_strdup(options->user_agent ? options->user_agent
                                                          : "cloudsync/" CLOUDSYNC_VERSION);
        client->proxy = g_strdup(options->proxy);
        client->insecure = options->insecure;
        client->http2 = options->http2;
        client->connect_timeout_ms =
                options->connect_timeout_ms ? options->connect_timeout_ms : 30000;
        client->stall_timeout_ms = options->stall_timeout_ms ? options->stall_timeout_ms : 60000;
        client->max_connections = options->max_connections ? options->max_connections : 32;
        client->runs = g_array_new(FALSE, FALSE, sizeof(struct http_runnable));
        client->cancels = g_array_new(FALSE, FALSE, sizeof(uint64_t));
        client->idle = g_ptr_array_new_with_free_func((GDestroyNotify)http_slot_free);
        pthread_mutex_init(&client->lock, NULL);

        curl_global_init(CURL_GLOBAL_DEFAULT);
        if (options->ca_file != NULL)
                r = client_load_ca(client, options->ca_file, ret_detail);
        if (r >= 0)
                r = client_start(client);
        if (r < 0) {
                if (*ret_detail == NULL)
                        *ret_detail = g_strdup_printf("cannot start: %s", g_strerror(-r));
                client_destroy(client);
                return r;
        }
        *ret = client;
        return 0;
}

void http_client_free(struct http_client *client) {
        if (client == NULL)
                return;
        pthread_mutex_lock(&client->lock);
        client->quit = true;
        wake_locked(client);
        pthread_mutex_unlock(&client->lock);
        pthread_join(client->thread, NULL);
        client_destroy(client);
}
