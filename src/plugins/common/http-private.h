/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What http-client.c (queue, thread, sockets) and http-transfer.c (one request on one
 * easy handle) share. */

#include <curl/curl.h>
#include <glib.h>
#include <pthread.h>

#include "plugins/common/http.h"

/* An easy handle and the buffers it needs; kept between requests. */
struct http_slot {
        CURL *easy;
        GString *headers; /* of the answer under way, see http_response.headers */
        struct http_request *request;
        char error[CURL_ERROR_SIZE];
};

struct http_request {
        GList link; /* in the client's incoming, delayed, waiting[] or active queue; data: this */
        uint64_t tag;
        struct http_client *client;
        const char *method;
        char *url;           /* asked now; changes with redirects */
        char *first_url;     /* NULL as long as url is the one of the call */
        struct curl_slist *headers; /* without Authorization */
        struct curl_slist *authorization; /* one node, linked in front when sent */
        void *body;
        size_t body_length, body_position;
        uint32_t flags;
        int64_t not_before_us; /* 0: at once */
        const struct http_handler *handler;
        void *data;

        struct http_slot *slot; /* NULL while it waits */
        unsigned redirects;
        /* The answer under way: */
        int status;
        bool headers_done; /* of a final answer; what follows are body and trailers */
        bool redirecting;  /* a redirect that will be followed */
        bool skip_body, enough;
        int error; /* what a callback or a check said; 0: nothing */
        const char *error_detail; /* static */
        uint64_t drained;
        size_t header_bytes;
        uint32_t retry_after_ms;
        /* For the stall timeout, on the client's clock without callbacks: */
        bool connected;
        int64_t progress_us;
};

struct http_runnable {
        void (*fn)(void *data);
        void *data;
};

enum { HTTP_FOREGROUND_QUEUE, HTTP_BACKGROUND_QUEUE, HTTP_QUEUES };

struct http_client {
        CURLM *multi;
        int epoll, wake;
        pthread_t thread;

        /* Constant after http_client_new(). */
        char *user_agent, *proxy;
        void *ca;
        size_t ca_length;
        bool insecure, http2;
        uint32_t connect_timeout_ms, stall_timeout_ms, max_connections;

        /* Shared, under the lock. */
        pthread_mutex_t lock;
        GQueue incoming;
        GArray *runs;    /* of struct http_runnable */
        GArray *cancels; /* of uint64_t, tags */
        uint64_t last_tag;
        bool asleep; /* in, or about to enter, epoll_wait(): a writer has to wake it */
        bool quit;

        /* The thread's own. */
        GQueue delayed; /* in no order: they are few */
        GQueue waiting[HTTP_QUEUES];
        GQueue active;
        GPtrArray *idle; /* of struct http_slot */
        unsigned turn;   /* counts starts: every fourth may be a background one */
        bool speaks_http2; /* the last answer came over it */
        int64_t expire_us; /* libcurl's timer; -1: none */
        int64_t sweep_us;
        int64_t blocked_us; /* spent in callbacks so far */
};

struct http_slot *http_slot_new(struct http_client *client);
void http_slot_free(struct http_slot *slot);

struct http_request *http_request_new(struct http_client *client, const struct http_call *call);
void http_request_free(struct http_request *request);

/* Prepares the easy handle for the request's URL. */
void http_request_arm(struct http_request *request, struct http_slot *slot);
/* Takes it off the easy handle again. */
void http_request_disarm(struct http_request *request);

/* The answer is over and a redirect to follow: 0 with the new URL in place, or the error that
 * ends the request (in request->error too). */
int http_request_redirect(struct http_request *request);

/* Calls complete() and frees the request. `detail` may be NULL. */
void http_request_finish(struct http_request *request, int error, const char *detail);

/* The clock for stalls. */
int64_t http_client_clock(const struct http_client *client);
