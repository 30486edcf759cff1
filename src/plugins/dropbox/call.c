/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/call.h"

#include <errno.h>
#include <string.h>

#include "plugins/dropbox/api-json.h"
#include "plugins/dropbox/dropbox.h"

#define ERROR_BODY_MAX (64u * 1024)

struct call {
        struct dropbox *db;
        enum call_style style;
        char *route, *argument, *range;
        uint32_t flags;
        uint64_t tag;
        const struct call_handler *handler;
        void *data;

        char *bearer;
        bool again;   /* with another token: the last time */
        bool passing; /* a 2xx download: bytes go to the handler */
        int status;
        GString *body;
};

static void call_free(struct call *call) {
        g_free(call->route);
        g_free(call->argument);
        g_free(call->range);
        auth_forget(call->bearer);
        g_string_free(call->body, TRUE);
        g_free(call);
}

static void call_finish(struct call *call, const struct call_result *result) {
        call->handler->complete(call->data, result);
        call_free(call);
}

static void call_fail(struct call *call, int error, uint32_t retry_after_ms, const char *detail) {
        struct call_result result = {.error = error, .fault = {.error = error, .retry_after_ms = retry_after_ms}};

        if (error == -EACCES)
                result.fault.action = API_ACTION_LOGIN;
        g_strlcpy(result.fault.sentence, detail ? detail : g_strerror(-error), sizeof result.fault.sentence);
        call_finish(call, &result);
}

static void call_begin(struct call *call, const char *stale);

static int on_response(void *data, const struct http_response *response) {
        struct call *call = data;

        call->status = response->status;
        g_string_truncate(call->body, 0);
        call->passing = call->style == CALL_DOWNLOAD && response->status / 100 == 2;
        return call->passing ? call->handler->response(call->data, response) : 0;
}

static int on_body(void *data, const void *bytes, size_t length) {
        struct call *call = data;
        size_t limit = call->status / 100 == 2 ? API_BODY_MAX : ERROR_BODY_MAX;

        if (call->passing)
                return call->handler->body(call->data, bytes, length);
        if (length > limit - call->body->len)
                return limit == API_BODY_MAX ? -EPROTO : HTTP_ENOUGH;
        g_string_append_len(call->body, bytes, (gssize)length);
        return 0;
}

/* What it was that failed, for the log: no token is in a route or a status. */
static void name_route(struct call *call, struct api_fault *fault) {
        g_autofree char *text = g_strdup_printf("%s: %s", call->route, fault->sentence);

        g_strlcpy(fault->sentence, text, sizeof fault->sentence);
}

static void on_complete(void *data, const struct http_result *http) {
        struct call *call = data;
        struct call_result result = {.error = http->error, .body = call->body->str,
                                     .length = call->body->len};

        if (http->error != 0) {
                g_autofree char *sentence = http_result_sentence(http);

                result.fault = (struct api_fault){.error = http->error, .retry_after_ms = http->retry_after_ms};
                g_strlcpy(result.fault.sentence, sentence, sizeof result.fault.sentence);
                call_finish(call, &result);
                return;
        }
        if (call->status / 100 == 2) {
                call_finish(call, &result);
                return;
        }
        api_fault_judge(call->status, call->body->str, call->body->len, http->retry_after_ms, &result.fault);
        if (result.fault.action == API_ACTION_REFRESH && call->style != CALL_NOTIFY && !call->again) {
                char *stale = g_steal_pointer(&call->bearer);

                call->again = true;
                call_begin(call, stale);
                auth_forget(stale);
                return;
        }
        result.error = result.fault.error;
        name_route(call, &result.fault);
        /* A token fresh from the endpoint, and refused: no login of ours helps. */
        if (result.fault.action == API_ACTION_REFRESH && call->style != CALL_NOTIFY) {
                result.error = result.fault.error = -EACCES;
                result.fault.action = API_ACTION_LOGIN;
        }
        if (call->status == 429 || call->status == 503)
                dropbox_be_quiet(call->db, result.fault.retry_after_ms);
        call_finish(call, &result);
}

static void call_submit(struct call *call) {
        static const struct http_handler handler = {
                .response = on_response, .body = on_body, .complete = on_complete};
        struct dropbox *db = call->db;
        g_autofree char *root = dropbox_path_root(db), *url = NULL;
        bool rpc = call->style != CALL_DOWNLOAD;
        struct http_header headers[4];
        struct http_call http = {.method = "POST", .authorization = call->bearer, .headers = headers,
                                 .flags = call->flags, .tag = call->tag, .handler = &handler, .data = call};
        int r;

        url = g_strconcat(call->style == CALL_DOWNLOAD ? db->settings.content_url
                          : call->style == CALL_NOTIFY ? db->settings.notify_url
                                                       : db->settings.api_url,
                          "2/", call->route, NULL);
        http.url = url;
        /* A POST without a Content-Type gets a form's from libcurl, which Dropbox refuses. */
        headers[http.n_headers++] = (struct http_header){
                "Content-Type", rpc ? "application/json" : "application/octet-stream"};
        http.body = rpc ? (call->argument ? call->argument : "null") : "";
        http.body_length = strlen(http.body);
        if (!rpc)
                headers[http.n_headers++] = (struct http_header){"Dropbox-API-Arg", call->argument};
        if (call->range != NULL)
                headers[http.n_headers++] = (struct http_header){"Range", call->range};
        if (root != NULL && call->style != CALL_NOTIFY)
                headers[http.n_headers++] = (struct http_header){"Dropbox-API-Path-Root", root};
        r = http_submit(call->style == CALL_NOTIFY ? db->notify : db->client, &http);
        if (r < 0)
                call_fail(call, r, 0, "the request cannot be sent");
}

static void on_bearer(void *data, int error, uint32_t retry_after_ms, const char *detail) {
        struct call *call = data;

        if (error < 0)
                call_fail(call, error, retry_after_ms, detail);
        else
                call_begin(call, NULL);
}

static void call_begin(struct call *call, const char *stale) {
        g_autofree char *detail = NULL;
        int r;

        if (call->style == CALL_NOTIFY) {
                call_submit(call);
                return;
        }
        r = auth_bearer(call->db->auth, stale, on_bearer, call, &call->bearer, &detail);
        if (r == -EINPROGRESS)
                return;
        if (r < 0)
                call_fail(call, r, 0, detail);
        else
                call_submit(call);
}

void call_start(struct dropbox *db, const struct call_request *request) {
        struct call *call = g_new0(struct call, 1);

        *call = (struct call){
                .db = db,
                .style = request->style,
                .route = g_strdup(request->route),
                .argument = request->argument ? api_header_text(request->argument) : NULL,
                .range = g_strdup(request->range),
                .flags = request->flags,
                .tag = request->tag,
                .handler = request->handler,
                .data = request->data,
                .body = g_string_new(NULL),
        };
        call_begin(call, NULL);
}

/* ── blocking ───────────────────────────────────────────────────────────── */

struct waiter {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool done;
        int error;
        char *body;
        size_t length;
        struct api_fault fault;
};

static void on_waited(void *data, const struct call_result *result) {
        struct waiter *w = data;

        pthread_mutex_lock(&w->lock);
        w->error = result->error;
        w->fault = result->fault;
        if (result->error == 0) {
                w->body = g_strndup(result->body, result->length);
                w->length = result->length;
        }
        w->done = true;
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
}

int call_wait(struct dropbox *db, const struct call_request *request, char **ret_body, size_t *ret_length,
              struct api_fault *ret_fault) {
        static const struct call_handler handler = {.complete = on_waited};
        struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
        struct call_request copy = *request;

        copy.handler = &handler;
        copy.data = &w;
        call_start(db, &copy);
        pthread_mutex_lock(&w.lock);
        while (!w.done)
                pthread_cond_wait(&w.changed, &w.lock);
        pthread_mutex_unlock(&w.lock);
        *ret_body = w.body;
        *ret_length = w.length;
        if (ret_fault)
                *ret_fault = w.fault;
        pthread_mutex_destroy(&w.lock);
        pthread_cond_destroy(&w.changed);
        return w.error;
}
