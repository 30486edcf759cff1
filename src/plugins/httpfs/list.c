/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * list — one directory
 *
 * The listing's exact entries go to the host at once. The names of the inexact ones
 * wait in one text, and a window of HEADs runs through it while the listing may
 * still be arriving; so a directory of a million files costs its names. An entry that is
 * left out is removed here. So it matters what a HEAD says that does not tell size and date:
 *
 *     404, 410                it is gone: left out
 *     401, 403, …             it is there, and not for us: unknown (what is here of it stays)
 *     no size, nonsense, 500  the same; but where most say 500, it is the server's trouble:
 *     503, no answer, …       trouble that passes. The others are asked still, so that they can
 *                             be told; then the list fails, and nothing is removed
 *
 * What was left out or is unknown is counted, and told in one line at the end.
 *
 * Any other error, and trouble with TROUBLES_MAX files, ends it at once: the operation's other requests are
 * cancelled, and it is done when the last of them came back.
 */

#include <errno.h>
#include <string.h>

#include "plugins/common/url.h"
#include "plugins/httpfs/answer.h"
#include "plugins/httpfs/head-ask.h"
#include "plugins/httpfs/httpfs.h"

#define HEAD_WINDOW 128u
#define TROUBLES_MAX 16u

struct list_op {
        struct op op;
        char *locator, *url;
        struct listing *listing;
        struct skips skips;
        GByteArray *inexact; /* names, each with its NUL */
        guint cursor;        /* in inexact: those before it are asked for */
        unsigned heads;      /* under way */
        uint64_t answered, broken; /* HEADs that told, that said 500 */
        unsigned troubles;   /* other HEADs that failed: `error` is that of the first */
        bool listed;         /* the listing is over */
        bool ended;          /* nothing more is asked */
        int error;
        uint32_t retry_after_ms;
        char *detail;
        const char *why; /* of an error that a callback returned, static */
};

/* One HEAD of a list. */
struct head_call {
        struct head_ask ask;
        struct list_op *list;
        char *name, *url;
};

static void list_free(struct op *op) {
        struct list_op *list = (struct list_op *)op;

        listing_free(list->listing);
        skips_clear(&list->skips);
        g_byte_array_free(list->inexact, TRUE);
        g_free(list->locator);
        g_free(list->url);
        g_free(list->detail);
        g_free(list);
}

/* `detail` is taken. */
static void list_set_error(struct list_op *list, int error, uint32_t retry_after_ms, char *detail) {
        list->error = error;
        list->retry_after_ms = retry_after_ms;
        g_free(list->detail);
        list->detail = detail;
}

static void list_end(struct list_op *list) {
        list->ended = true;
        http_cancel(list->op.fs->client, list->op.tag);
}

static void list_fail(struct list_op *list, int error, uint32_t retry_after_ms, char *detail) {
        if (list->ended) {
                g_free(detail);
                return;
        }
        list_set_error(list, error, retry_after_ms, detail);
        list_end(list);
}

/* With one file. */
static void list_trouble(struct list_op *list, int error, const struct http_result *result) {
        if (++list->troubles == 1)
                list_set_error(list, error, result->retry_after_ms, op_detail(NULL, result));
        if (list->troubles == TROUBLES_MAX)
                list_end(list);
}

static int list_emit(struct list_op *list, const struct listing_entry *entry) {
        size_t parent = strlen(list->locator);
        int r;

        if (op_is_cancelled(&list->op))
                return -ECANCELED;
        if (parent + (parent > 0) + strlen(entry->name) > CS_LOCATOR_MAX) {
                skips_count(&list->skips, SKIP_LONG, entry->name);
                return 0;
        }
        r = op_entry(&list->op, entry);
        return r == -EINVAL ? 0 : r; /* the host counts it */
}

/* The reasons for the log, and the number for the status: the host counts what it refuses, so
 * it is shown something to refuse for each. */
static void tell_skips(struct list_op *list) {
        struct httpfs *fs = list->op.fs;
        g_autofree char *summary = skips_summary(&list->skips), *name = NULL;

        if (summary == NULL)
                return;
        fs->host->log(fs->host, CS_LOG_NOTICE, "list of \"%.200s\": entries skipped: %s",
                      list->locator, summary);
        name = g_strconcat(list->skips.first, "/", NULL);
        for (uint64_t n = skips_untold(&list->skips); n > 0; n--)
                if (op_entry(&list->op, &(struct listing_entry){.name = name}) != -EINVAL)
                        return;
}

static void list_finish_maybe(struct list_op *list) {
        if (!list->listed || list->heads > 0 || (!list->ended && list->cursor < list->inexact->len))
                return;
        if (list->error == 0 && list->broken > list->answered)
                list_set_error(list, -EAGAIN, 0, g_strdup("HTTP 500 for HEAD of most of the files"));
        tell_skips(list);
        op_done(&list->op, list->error, list->retry_after_ms, list->detail);
}

/* HEADs --------------------------------------------------------------------- */

static void head_call_free(struct head_call *call) {
        g_free(call->name);
        g_free(call->url);
        g_free(call);
}

static int tell_unknown(struct list_op *list, enum skip why, const char *name) {
        skips_count(&list->skips, why, name);
        return list_emit(list, &(struct listing_entry){.unknown = true, .name = name});
}

/* The answer is there: 0, what ends the list, or `error` when there is trouble. */
static int head_answered(struct head_call *call, int error, const struct http_result *result) {
        struct list_op *list = call->list;
        struct head *head = &call->ask.head;
        struct listing_entry entry = {.exact = true,
                                      .name = call->name,
                                      .size = head->size,
                                      .mtime_sec = head->mtime_sec};

        switch (error) {
        case 0:
                list->answered++;
                /* As in stat: JSON knows no versions, so there are none. */
                if (head->version[0] &&
                    (list->op.fs->mode == MODE_MANIFEST || list->op.fs->format != LISTING_JSON))
                        entry.version = head->version;
                return list_emit(list, &entry);
        case -EISDIR:
                return list_emit(list, &(struct listing_entry){.directory = true,
                                                               .exact = true,
                                                               .name = call->name});
        case -ENOENT:
                skips_count(&list->skips, SKIP_GONE, call->name);
                return 0;
        case -EACCES:
                return tell_unknown(list, SKIP_REFUSED, call->name);
        case -EBADMSG:
                return tell_unknown(list, SKIP_NONSENSE, call->name);
        default:
                list->broken += result->status == 500;
                /* An answer that came, and is not about how the server is at the moment. */
                if (result->error == 0 && (result->status == 500 || error != -EAGAIN))
                        return tell_unknown(list, SKIP_NONSENSE, call->name);
                return error;
        }
}

static void list_pump(struct list_op *list);

static void head_ready(struct head_ask *ask, int error, const struct http_result *result) {
        struct head_call *call = (struct head_call *)ask;
        struct list_op *list = call->list;
        int r;

        list->heads--;
        if (!list->ended) {
                r = head_answered(call, error, result);
                if (r < 0 && r == error)
                        list_trouble(list, r, result);
                else if (r < 0)
                        list_fail(list, r, 0, NULL);
        }
        head_call_free(call);
        list_pump(list);
        list_finish_maybe(list);
}

/* Keeps the window of HEADs full. */
static void list_pump(struct list_op *list) {
        while (!list->ended && list->heads < HEAD_WINDOW && list->cursor < list->inexact->len) {
                const char *name = (const char *)list->inexact->data + list->cursor;
                struct head_call *call = g_new0(struct head_call, 1);
                g_autofree char *locator = *list->locator
                                                   ? g_strconcat(list->locator, "/", name, NULL)
                                                   : g_strdup(name);
                int r;

                list->cursor += strlen(name) + 1;
                call->list = list;
                call->name = g_strdup(name);
                call->url = url_join(list->op.fs->settings.url, locator, false);
                call->ask.op = &list->op;
                call->ask.url = call->url;
                call->ask.flags = HTTP_BACKGROUND;
                call->ask.ready = head_ready;
                r = head_ask_start(&call->ask);
                if (r >= 0) {
                        list->heads++;
                        continue;
                }
                if (r == -EINVAL)
                        skips_count(&list->skips, SKIP_LONG, name);
                else
                        list_fail(list, r, 0, NULL);
                head_call_free(call);
        }
}

/* The listing --------------------------------------------------------------- */

static int on_entry(void *data, const struct listing_entry *entry) {
        struct list_op *list = data;

        if (entry->exact || entry->unknown)
                return list_emit(list, entry);
        g_byte_array_append(list->inexact, (const guint8 *)entry->name,
                            (guint)strlen(entry->name) + 1);
        list_pump(list);
        return 0;
}

static bool type_is(const struct http_response *response, const char *part) {
        const char *type = http_response_header(response, "Content-Type");

        return type != NULL && strstr(type, part) != NULL;
}

static int on_redirect(void *data, const char *url) {
        struct list_op *list = data;

        if (listing_redirect_is_allowed(list->op.fs, list->url, url))
                return 0;
        list->why = "the directory is redirected to somewhere that is not below the engine's url";
        return -EPROTO;
}

static int on_response(void *data, const struct http_response *response) {
        struct list_op *list = data;
        enum listing_format format = list->op.fs->format;

        if (response->status != (format == LISTING_WEBDAV ? 207 : 200))
                return HTTP_SKIP_BODY;
        if (!answer_is_identity(response)) {
                list->why = "the server encoded the listing although it was asked not to";
                return -EPROTO;
        }
        if ((format == LISTING_HTML && !type_is(response, "html")) ||
            (format == LISTING_JSON && type_is(response, "html"))) {
                list->why = "a file stands where the index of this directory should be";
                return -EOPNOTSUPP;
        }
        list->listing = listing_new(format, response->url, &list->skips, on_entry, list);
        if (list->listing == NULL)
                return -EPROTO;
        if (response->content_length < 0 && http_response_header(response, "Transfer-Encoding") == NULL)
                listing_must_end(list->listing);
        return 0;
}

static int on_body(void *data, const void *bytes, size_t length) {
        struct list_op *list = data;

        return list->ended ? list->error : listing_feed(list->listing, bytes, length);
}

static const char *listing_error_text(const struct list_op *list, int error) {
        if (list->why != NULL)
                return list->why;
        if (list->listing == NULL)
                return NULL;
        switch (error) {
        case -EPROTO:
                return "the listing is malformed, or cut off";
        case -EFBIG:
                return "the listing is too large";
        case -EOPNOTSUPP:
                return "the page is no index of the directory (listing=html takes any page)";
        default:
                return NULL;
        }
}

static void on_complete(void *data, const struct http_result *result) {
        struct list_op *list = data;
        int error = op_result_error(result);
        const char *why;

        list->listed = true;
        if (error == 0 && list->listing == NULL)
                error = -EPROTO;
        else if (error == 0)
                error = listing_finish(list->listing);
        if (error != 0) {
                why = listing_error_text(list, error);
                list_fail(list, error, result->retry_after_ms, op_detail(why, result));
        }
        g_clear_pointer(&list->listing, listing_free);
        list_pump(list);
        list_finish_maybe(list);
}

static void index_get(struct list_op *list) {
        static const struct http_handler handler = {.redirect = on_redirect,
                                                    .response = on_response,
                                                    .body = on_body,
                                                    .complete = on_complete};
        static const char body[] =
                "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
                "<D:propfind xmlns:D=\"DAV:\"><D:prop><D:resourcetype/><D:getcontentlength/>"
                "<D:getlastmodified/><D:getetag/></D:prop></D:propfind>\n";
        static const struct http_header headers[] = {
                {"Depth", "1"}, {"Content-Type", "application/xml; charset=utf-8"}};
        bool webdav = list->op.fs->format == LISTING_WEBDAV;
        struct http_call call = {
                .method = webdav ? "PROPFIND" : "GET",
                .url = list->url,
                .headers = headers,
                .n_headers = webdav ? G_N_ELEMENTS(headers) : 0,
                .body = webdav ? body : NULL,
                .body_length = webdav ? strlen(body) : 0,
                .handler = &handler,
                .data = list,
        };
        int r = op_submit(&list->op, &call);

        if (r < 0)
                op_done(&list->op, r, 0, NULL);
}

static void on_manifest(struct op *op, int error, const char *detail) {
        struct list_op *list = (struct list_op *)op;
        int r = error;

        list->listed = true;
        if (r == 0 && *list->locator == '\0')
                skips_add(&list->skips, manifest_skips(op->fs->manifest));
        if (r == 0)
                r = manifest_list(op->fs->manifest, list->locator, &list->skips, on_entry, list);
        if (r < 0)
                list_fail(list, r, 0,
                          g_strdup(r == -ENOENT && !detail ? "the manifest has no such directory"
                                                           : detail));
        list_finish_maybe(list);
}

static void list_begin(struct op *op) {
        struct list_op *list = (struct list_op *)op;

        if (!url_locator_is_valid(list->locator))
                op_done(op, -EINVAL, 0, "the locator is none of ours");
        else if (op->fs->mode == MODE_MANIFEST)
                manifest_wait(op, *list->locator == '\0');
        else
                index_get(list);
}

void list_start(struct httpfs *fs, struct cs_request *request, const char *locator) {
        struct list_op *list = g_new0(struct list_op, 1);

        list->op.begin = list_begin;
        list->op.manifest_ready = on_manifest;
        list->op.free = list_free;
        list->locator = g_strdup(locator);
        list->url = url_join(fs->settings.url, locator, true);
        list->inexact = g_byte_array_new();
        op_start(&list->op, fs, request);
}
