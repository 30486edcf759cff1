/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * http — many HTTP requests on one thread, through one libcurl multi handle
 *
 * A client owns a thread, a connection cache and a queue. http_submit() may be
 * called from any thread and returns at once; every callback of a request runs
 * on the client's thread, one after the other, in this order:
 *
 *     redirect()*  response()?  body()*  complete()
 *
 * complete() is called exactly once for every request that http_submit()
 * accepted, whatever happens; after it the request is gone. Callbacks may
 * submit and cancel. They may block: then all requests of this client wait, and
 * TCP carries the backpressure to the servers; time spent in callbacks does not
 * count for the stall timeout.
 *
 * What the wrapper decides, so that no engine has to:
 * - Only http and https, HTTP/1.1 keep-alive, and HTTP/2 where TLS negotiates it.
 * - No content decoding: "Accept-Encoding: identity" goes out, and what comes in
 *   is not touched. A caller that cares looks at Content-Encoding.
 * - Redirects are followed here (at most HTTP_REDIRECTS_MAX; GET, HEAD, PROPFIND
 *   and such, not POST or PUT), never from https to http, and `authorization`
 *   is sent only to the scheme, host and port of the URL it was given with.
 * - The proxy comes from the options, never from the environment.
 * - Errors are negative errno values, by the tables in http-error.c.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_REDIRECTS_MAX 5u
#define HTTP_HEADERS_MAX (64u * 1024u)    /* of one answer; more is -EPROTO */
#define HTTP_DRAIN_MAX (64u * 1024u)      /* of a body nobody wants, to keep the connection */
#define HTTP_RETRY_AFTER_MAX_MS 3600000u
#define HTTP_H2_STREAMS 96u               /* requests at once when the server speaks HTTP/2 */

struct http_client;

struct http_options {
        const char *user_agent;      /* NULL: "cloudsync/VERSION" */
        const char *proxy;           /* URL; NULL: none */
        const char *ca_file;         /* PEM, read once by http_client_new(); NULL: the system's */
        bool insecure;               /* do not verify certificates */
        uint32_t connect_timeout_ms; /* resolving, connecting, TLS; 0: 30 s */
        uint32_t stall_timeout_ms;   /* without a byte either way; 0: 60 s */
        uint32_t max_connections;    /* at once; 0: 32 */
        bool http2;                  /* over TLS */
};

/* Starts the thread. On failure a negative errno, and a sentence in *ret_detail (the
 * caller's, to g_free()). Options are copied. */
int http_client_new(const struct http_options *options, struct http_client **ret,
                    char **ret_detail);

/* Ends the thread. Requests still there complete with -ECANCELED first. Not to be
 * called from a callback. NULL is fine. */
void http_client_free(struct http_client *client);

/* The answer, when its header section is complete (and it is no redirect that is
 * followed). Lives until the callback returns. */
struct http_response {
        int status;
        const char *url;        /* that answered, without credentials */
        int64_t content_length; /* -1: not told */
        const char *headers;    /* name NUL value NUL … NUL: see http_response_header() */
};

/* A header's value (the first of that name, compared without case), or NULL. */
const char *http_response_header(const struct http_response *response, const char *name);

struct http_result {
        int error;               /* 0: the answer arrived whole (or a callback said HTTP_ENOUGH) */
        int status;              /* of the last answer; 0: there was none */
        uint32_t retry_after_ms; /* from Retry-After, ≤ HTTP_RETRY_AFTER_MAX_MS; 0: none */
        const char *url;         /* the last one asked, without credentials */
        const char *method;
        const char *detail;      /* of error ≠ 0: a sentence; never credentials */
};

/* What callbacks return besides 0 and negative errno values (which end the request
 * with that error). */
enum {
        HTTP_SKIP_BODY = 1, /* response(): do not show me the body */
        HTTP_ENOUGH = 2,    /* response(), body(): end here, successfully */
};

struct http_handler {
        /* About to go to `url`. NULL: every redirect that the rules above allow. */
        int (*redirect)(void *data, const char *url);
        /* NULL: 0. */
        int (*response)(void *data, const struct http_response *response);
        /* NULL: HTTP_SKIP_BODY. */
        int (*body)(void *data, const void *bytes, size_t length);
        void (*complete)(void *data, const struct http_result *result);
};

struct http_header {
        const char *name;
        const char *value;
};

#define HTTP_BACKGROUND (1u << 0) /* yields to requests without it, but is not starved */

struct http_call {
        const char *method; /* "GET", "HEAD", "POST", "PROPFIND", … ; a static string */
        const char *url;
        const char *authorization; /* the header's value, or NULL */
        const struct http_header *headers;
        size_t n_headers;
        const void *body;
        size_t body_length; /* 0 with body NULL: none */
        uint32_t flags;
        uint64_t tag; /* for http_cancel(); 0: none */
        uint32_t delay_ms; /* not to be started before that, for retries */
        const struct http_handler *handler; /* static */
        void *data;
};

/* Queues a request; everything is copied but what is called static. 0, or -EINVAL: URL
 * or headers are malformed; complete() is not called then. */
int http_submit(struct http_client *client, const struct http_call *call);

/* A number for http_call.tag that was not used before. */
uint64_t http_tag(struct http_client *client);

/* Ends all requests of this tag submitted so far, soon, with -ECANCELED. From any
 * thread; complete() is never called from within. */
void http_cancel(struct http_client *client, uint64_t tag);

/* Calls fn(data) on the client's thread, before what is submitted or cancelled after
 * this call is looked at. Not after http_client_free() began. */
void http_run(struct http_client *client, void (*fn)(void *data), void *data);

/* Header values and dates. Pure. */

/* An HTTP date (RFC 9110 5.6.7, all three formats) as seconds since the epoch: 0, or
 * -EINVAL. */
int http_parse_date(const char *value, int64_t *ret);

/* Seconds since the epoch as IMF-fixdate. */
#define HTTP_DATE_SIZE 30u
void http_format_date(int64_t seconds, char buffer[static HTTP_DATE_SIZE]);

/* Retry-After, seconds or a date, as ms from `now` (seconds since the epoch), at most
 * HTTP_RETRY_AFTER_MAX_MS; 0 for none, past or nonsense. */
uint32_t http_parse_retry_after(const char *value, int64_t now);

/* "bytes FIRST-LAST/TOTAL", "bytes FIRST-LAST/ *" (total UINT64_MAX), or the answer of
 * 416, "bytes * /TOTAL" (has_range false). 0 or -EINVAL. */
struct http_range {
        bool has_range;
        uint64_t first, last, total;
};
int http_parse_content_range(const char *value, struct http_range *ret);

/* A decimal number of at most INT64_MAX, nothing around it. 0 or -EINVAL. */
int http_parse_number(const char *value, uint64_t *ret);

/* Is it a strong entity tag: '"' … '"', visible bytes, not weak? */
bool http_etag_is_strong(const char *value);

/* Errors, one table each (http-error.c). */

/* HTTP status to errno: 0 for 2xx; -EPROTO for what is in no table. */
int http_status_error(int status);

#define HTTP_SENTENCE_URL_MAX 400 /* bytes of a URL in a sentence */

/* A sentence: "HTTP 503 for GET http://host/x (Retry-After 3 s)", or the detail of
 * a result with an error. To g_free(). */
char *http_result_sentence(const struct http_result *result);
