/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * http-transfer — one request on one easy handle
 *
 * libcurl calls back with header lines and body pieces; here they become one
 * response() and a run of body() calls, with everything that is not the answer the
 * caller asked for kept away from it: interim answers (1xx), redirects that
 * are followed, trailers, and bodies beyond what a callback wants to see.
 *
 * Redirects are followed by hand and not by libcurl, because each step has to
 * be approved, and because Authorization has to stay behind when the origin
 * changes.
 *
 * A callback's error is kept in request->error; libcurl only ever learns "write
 * error" and hands the transfer back.
 */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "plugins/common/http-error.h"
#include "plugins/common/http-private.h"
#include "plugins/common/url.h"

/* A callback's time does not count as the server's. */
#define TIMED(request, expression)                                                                 \
        ({                                                                                         \
                int64_t timed_begin = g_get_monotonic_time();                                      \
                int timed_r = (expression);                                                        \
                (request)->client->blocked_us += g_get_monotonic_time() - timed_begin;             \
                timed_r;                                                                           \
        })

int64_t http_client_clock(const struct http_client *client) {
        return g_get_monotonic_time() - client->blocked_us;
}

static void request_fail(struct http_request *request, int error, const char *detail) {
        request->error = error;
        request->error_detail = detail;
}

/* Header lines ------------------------------------------------------------- */

static bool method_follows(const struct http_request *request) {
        return request->body_length == 0 || g_str_equal(request->method, "PROPFIND");
}

static bool is_redirect(const struct http_request *request) {
        switch (request->status) {
        case 301:
        case 302:
        case 303:
        case 307:
        case 308:
                return method_follows(request);
        default:
                return false;
        }
}

static void answer_reset(struct http_request *request) {
        g_string_truncate(request->slot->headers, 0);
        request->status = 0;
        request->headers_done = request->redirecting = false;
        request->skip_body = false;
        request->retry_after_ms = 0;
}

/* "HTTP/1.1 206 Partial Content" or "HTTP/2 206" */
static int status_line(struct http_request *request, const char *line, size_t length) {
        const char *space = memchr(line, ' ', length);
        int status = 0;

        answer_reset(request);
        if (space == NULL || length - (size_t)(space - line) < 4)
                return -EPROTO;
        for (int i = 1; i <= 3; i++) {
                if (!g_ascii_isdigit(space[i]))
                        return -EPROTO;
                status = status * 10 + (space[i] - '0');
        }
        request->status = status;
        return 0;
}

static int header_line(struct http_request *request, const char *line, size_t length) {
        GString *headers = request->slot->headers;
        const char *colon = memchr(line, ':', length), *value, *end = line + length;

        if (colon == NULL || colon == line)
                return 0; /* libcurl let it pass; nobody will ask for it */
        value = colon + 1;
        while (value < end && (*value == ' ' || *value == '\t'))
                value++;
        while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
        if (memchr(line, '\0', length) != NULL)
                return -EPROTO;
        g_string_append_len(headers, line, colon - line);
        g_string_append_c(headers, '\0');
        g_string_append_len(headers, value, end - value);
        g_string_append_c(headers, '\0');
        return 0;
}

/* The empty line after the headers of a final answer. */
static int headers_complete(struct http_request *request) {
        struct http_response response = {
                .status = request->status,
                .url = request->url,
                .content_length = -1,
                .headers = request->slot->headers->str, /* ends with the GString's own NUL */
        };
        const char *value = http_response_header(&response, "Retry-After");
        uint64_t length;
        int r = 0;

        request->headers_done = true;
        if (value != NULL)
                request->retry_after_ms = http_parse_retry_after(value, (int64_t)time(NULL));
        if (is_redirect(request) && http_response_header(&response, "Location") != NULL) {
                request->redirecting = request->skip_body = true;
                return 0;
        }
        value = http_response_header(&response, "Content-Length");
        if (value != NULL) {
                if (http_parse_number(value, &length) < 0) {
                        request_fail(request, -EPROTO, "malformed Content-Length");
                        return -EPROTO;
                }
                response.content_length = (int64_t)length;
        }
        if (request->handler->response != NULL)
                r = TIMED(request, request->handler->response(request->data, &response));
        if (r < 0) {
                request->error = r;
                return r;
        }
        request->skip_body = r == HTTP_SKIP_BODY || request->handler->body == NULL;
        if (r == HTTP_ENOUGH) {
                request->enough = true;
                /* A HEAD's connection is still good. */
                if (!g_str_equal(request->method, "HEAD"))
                        return -ECANCELED;
        }
        return 0;
}

static size_t on_header(char *line, size_t size, size_t count, void *userdata) {
        struct http_slot *slot = userdata;
        struct http_request *request = slot->request;
        size_t length = size * count, n = length;
        int r;

        request->progress_us = http_client_clock(request->client);
        request->header_bytes += length;
        if (request->header_bytes > HTTP_HEADERS_MAX) {
                request_fail(request, -EPROTO, "too many headers in the answer");
                return 0;
        }
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
                n--;
        if (n >= 5 && memcmp(line, "HTTP/", 5) == 0)
                r = status_line(request, line, n);
        else if (request->headers_done || request->status == 0)
                r = 0; /* a trailer */
        else if (n > 0)
                r = header_line(request, line, n);
        else if (request->status < 200)
                r = 0; /* 100 Continue and its like: the answer is yet to come */
        else
                r = headers_complete(request);
        if (r == -EPROTO && request->error == 0)
                request_fail(request, -EPROTO, "malformed header in the answer");
        return r < 0 ? 0 : length;
}

/* Bodies ------------------------------------------------------------------- */

static size_t on_body(char *bytes, size_t size, size_t count, void *userdata) {
        struct http_slot *slot = userdata;
        struct http_request *request = slot->request;
        size_t length = size * count;
        int r;

        request->progress_us = http_client_clock(request->client);
        if (length == 0)
                return 0;
        if (!request->headers_done) {
                request_fail(request, -EPROTO, "a body without a header");
                return 0;
        }
        if (request->skip_body) {
                request->drained += length;
                if (request->drained <= HTTP_DRAIN_MAX)
                        return length;
                request->enough = true; /* nobody wants it: better a new connection */
                return 0;
        }
        r = TIMED(request, request->handler->body(request->data, bytes, length));
        if (r < 0)
                request->error = r;
        else if (r == HTTP_ENOUGH)
                request->enough = true;
        else
                return length;
        return 0;
}

static size_t on_read(char *buffer, size_t size, size_t count, void *userdata) {
        struct http_request *request = ((struct http_slot *)userdata)->request;
        size_t n = MIN(size * count, request->body_length - request->body_position);

        request->progress_us = http_client_clock(request->client);
        if (n > 0)
                memcpy(buffer, (char *)request->body + request->body_position, n);
        request->body_position += n;
        return n;
}

static int on_seek(void *userdata, curl_off_t offset, int origin) {
        struct http_request *request = ((struct http_slot *)userdata)->request;

        if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > request->body_length)
                return CURL_SEEKFUNC_FAIL;
        request->body_position = (size_t)offset;
        return CURL_SEEKFUNC_OK;
}

/* The connection is there; from here on the stall timeout counts. */
static int on_connected(void *userdata, char *remote, char *local, int remote_port,
                        int local_port) {
        struct http_request *request = ((struct http_slot *)userdata)->request;

        request->connected = true;
        request->progress_us = http_client_clock(request->client);
        return CURL_PREREQFUNC_OK;
}

/* Easy handles ------------------------------------------------------------- */

struct http_slot *http_slot_new(struct http_client *client) {
        struct http_slot *slot = g_new0(struct http_slot, 1);
        CURL *easy = slot->easy = curl_easy_init();
        struct curl_blob ca = {client->ca, client->ca_length, CURL_BLOB_NOCOPY};

        if (easy == NULL)
                g_error("libcurl cannot make a handle");
        slot->headers = g_string_sized_new(1024);
        curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, slot->error);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
        curl_easy_setopt(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
        curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
        curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
        curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024);
        curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
        curl_easy_setopt(easy, CURLOPT_USERAGENT, client->user_agent);
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_timeout_ms);
        curl_easy_setopt(easy, CURLOPT_PROXY, client->proxy ? client->proxy : "");
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                         client->http2 ? (long)CURL_HTTP_VERSION_2TLS
                                       : (long)CURL_HTTP_VERSION_1_1);
        /* Rather a stream on a connection that is being made than one more connection. */
        curl_easy_setopt(easy, CURLOPT_PIPEWAIT, client->http2 ? 1L : 0L);
        curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, client->insecure ? 0L : 1L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, client->insecure ? 0L : 2L);
        /* libcurl keeps the parsed bundle between connections, but not with a CA directory. */
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
        if (client->ca != NULL)
                curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca);
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, slot);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, slot);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(easy, CURLOPT_SEEKDATA, slot);
        curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
        curl_easy_setopt(easy, CURLOPT_PREREQDATA, slot);
        return slot;
}

void http_slot_free(struct http_slot *slot) {
        if (slot == NULL)
                return;
        curl_easy_cleanup(slot->easy);
        g_string_free(slot->headers, TRUE);
        g_free(slot);
}

/* Requests ----------------------------------------------------------------- */

static bool is_header_safe(const char *s) {
        return strpbrk(s, "\r\n") == NULL;
}

static bool append_header(struct curl_slist **list, const char *name, const char *value) {
        g_autofree char *line = NULL;
        struct curl_slist *longer;

        if (*name == '\0' || !is_header_safe(name) || !is_header_safe(value))
                return false;
        /* libcurl: "Name;" sends an empty value, "Name:" would remove the header. */
        line = *value ? g_strconcat(name, ": ", value, NULL) : g_strconcat(name, ";", NULL);
        longer = curl_slist_append(*list, line);
        if (longer == NULL)
                return false;
        *list = longer;
        return true;
}

struct http_request *http_request_new(struct http_client *client, const struct http_call *call) {
        struct http_request *request = g_new0(struct http_request, 1);
        bool ok = strlen(call->url) <= URL_MAX;

        request->link.data = request;
        request->client = client;
        request->method = call->method;
        request->url = g_strdup(call->url);
        request->flags = call->flags;
        request->tag = call->tag;
        if (call->delay_ms > 0)
                request->not_before_us = g_get_monotonic_time() + call->delay_ms * INT64_C(1000);
        request->handler = call->handler;
        request->data = call->data;
        ok = ok && append_header(&request->headers, "Accept-Encoding", "identity");
        for (size_t i = 0; i < call->n_headers; i++)
                ok = ok && append_header(&request->headers, call->headers[i].name,
                                         call->headers[i].value);
        if (call->body != NULL) {
                /* No waiting for 100 Continue. */
                struct curl_slist *longer = curl_slist_append(request->headers, "Expect:");

                ok = ok && longer != NULL;
                request->headers = longer ? longer : request->headers;
                request->body = g_memdup2(call->body, call->body_length);
                request->body_length = call->body_length;
        }
        if (call->authorization != NULL)
                ok = ok &&
                     append_header(&request->authorization, "Authorization", call->authorization);
        if (ok)
                return request;
        http_request_free(request);
        return NULL;
}

void http_request_free(struct http_request *request) {
        if (request == NULL)
                return;
        if (request->authorization != NULL) {
                request->authorization->next = NULL;
                curl_slist_free_all(request->authorization);
        }
        curl_slist_free_all(request->headers);
        g_free(request->url);
        g_free(request->first_url);
        g_free(request->body);
        g_free(request);
}

static struct curl_slist *headers_to_send(struct http_request *request) {
        if (request->authorization == NULL)
                return request->headers;
        if (request->first_url != NULL && !url_same_origin(request->first_url, request->url))
                return request->headers;
        request->authorization->next = request->headers;
        return request->authorization;
}

void http_request_arm(struct http_request *request, struct http_slot *slot) {
        CURL *easy = slot->easy;
        bool head = g_str_equal(request->method, "HEAD");
        bool get = g_str_equal(request->method, "GET");

        request->slot = slot;
        slot->request = request;
        slot->error[0] = '\0';
        answer_reset(request);
        request->enough = request->connected = false;
        request->error = 0;
        request->error_detail = NULL;
        request->drained = request->header_bytes = request->body_position = 0;
        request->progress_us = http_client_clock(request->client);

        curl_easy_setopt(easy, CURLOPT_URL, request->url);
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers_to_send(request));
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, head || get ? NULL : request->method);
        if (head) {
                curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        } else if (request->body != NULL) {
                curl_easy_setopt(easy, CURLOPT_NOBODY, 0L);
                curl_easy_setopt(easy, CURLOPT_POST, 1L);
                curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                 (curl_off_t)request->body_length);
        } else {
                curl_easy_setopt(easy, CURLOPT_NOBODY, 0L);
                curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
        }
}

void http_request_disarm(struct http_request *request) {
        struct http_slot *slot = request->slot;

        if (slot == NULL)
                return;
        curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, NULL);
        slot->request = NULL;
        request->slot = NULL;
}

int http_request_redirect(struct http_request *request) {
        struct http_response response = {.headers = request->slot->headers->str};
        const char *location = http_response_header(&response, "Location");
        g_autofree char *url = NULL;
        int r = 0;

        if (request->redirects >= HTTP_REDIRECTS_MAX)
                request_fail(request, -EPROTO, "too many redirects");
        else if (url_resolve(request->url, location, &url) < 0)
                request_fail(request, -EPROTO, "a redirect to a URL that is none, or not http");
        else if (g_str_has_prefix(request->url, "https:") && !g_str_has_prefix(url, "https:"))
                request_fail(request, -EPROTO, "a redirect from https to http");
        else if (request->handler->redirect != NULL &&
                 (r = TIMED(request, request->handler->redirect(request->data, url))) < 0)
                request_fail(request, r, "a redirect to where it must not lead");
        if (request->error != 0)
                return request->error;
        request->redirects++;
        if (request->first_url == NULL)
                request->first_url = g_steal_pointer(&request->url);
        g_free(request->url);
        request->url = g_steal_pointer(&url);
        return 0;
}

void http_request_finish(struct http_request *request, int error, const char *detail) {
        struct http_result result = {
                .error = error,
                .status = request->status,
                .retry_after_ms = request->retry_after_ms,
                .url = request->url,
                .method = request->method,
                .detail = detail       ? detail
                          : error != 0 ? request->error_detail
                                       : NULL,
        };
        int64_t begin = g_get_monotonic_time();
        struct http_client *client = request->client;

        http_request_disarm(request);
        request->handler->complete(request->data, &result);
        client->blocked_us += g_get_monotonic_time() - begin;
        http_request_free(request);
}
