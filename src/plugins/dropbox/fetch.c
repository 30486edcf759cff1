/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * fetch — a range of one version
 *
 *     a file    files/download of "rev:REV" with Range     ─▶ verify ─▶ write()
 *     an export files/export of "rev:REV", from the start  ─▶ verify ─▶ write()
 *     a note    made here                                            ─▶ write()
 *
 * Bytes are handed over in pieces of PIECE, so that a fetch that breaks has delivered whole pieces,
 * and the next one begins where the hash under way ends. The last piece waits for the verdict:
 *
 *     good, or not to be told     it follows, and the fetch is done
 *     mismatch                    -EBADMSG: the dispatcher counts it, throws away what it has of
 *                                 the version, asks stat, and begins again (and gives up after a
 *                                 few times)
 *     one before, and not all     -ESTALE: the same, not counted
 *     is known (VERIFY_SUSPECT)
 */

#include <errno.h>
#include <string.h>

#include "plugins/dropbox/api-json.h"
#include "plugins/dropbox/dropbox.h"

#define PIECE (128u * 1024)
#define NOTE_PREFIX "note+"

struct fetch {
        struct dropbox *db;
        struct cs_request *request;
        uint64_t tag;
        int cancelled; /* atomic */

        char *locator, *version;
        uint64_t size, offset, length;
        char rev[API_REV_MAX + 1];
        const char *export_hash; /* in version: 32 digits; NULL: a download */
        char *export_path;       /* in the index; NULL: not known */

        uint64_t lead;     /* bytes before `offset` that are asked for, to be hashed only */
        uint64_t skip;     /* bytes of the body before those */
        uint64_t arrived;  /* wanted bytes, handed over or held */
        uint8_t *piece;
        size_t held;
        struct verify_run *run;
        int error;              /* found in a callback */
        const char *why;        /* of it, static */
};

static void fetch_free(struct fetch *fetch) {
        g_free(fetch->locator);
        g_free(fetch->version);
        g_free(fetch->export_path);
        g_free(fetch->piece);
        g_free(fetch);
}

static void fetch_done(struct fetch *fetch, int error, uint32_t retry_after_ms, const char *detail) {
        struct dropbox *db = fetch->db;

        pthread_mutex_lock(&db->lock);
        g_hash_table_remove(db->fetches, fetch->request);
        pthread_mutex_unlock(&db->lock);
        if (g_atomic_int_get(&fetch->cancelled))
                error = -ECANCELED;
        /* First: the fetch that goes on may come at once. */
        verify_break(g_steal_pointer(&fetch->run));
        db->host->done(db->host, fetch->request, error, retry_after_ms, detail);
        fetch_free(fetch);
}

static int refuse(struct fetch *fetch, int error, const char *why) {
        fetch->error = error;
        fetch->why = why;
        return error;
}

/* ── the answer ─────────────────────────────────────────────────────────── */

static int check_file(struct fetch *fetch, const char *result, uint8_t *hash, bool *ret_has_hash) {
        json_object auto_json *o = api_parse(result, strlen(result));
        struct api_metadata m;

        /* The header's FileMetadata has no .tag: the route has one type. */
        if (o != NULL && !json_object_object_get_ex(o, ".tag", NULL))
                json_object_object_add(o, ".tag", json_object_new_string("file"));
        if (o == NULL || api_metadata(o, &m) < 0 || m.kind != API_FILE)
                return refuse(fetch, -EPROTO, "the download's metadata makes no sense");
        if (!g_str_equal(m.rev, fetch->rev))
                return refuse(fetch, -EPROTO, "Dropbox sends another revision than the one asked for");
        if (m.size != fetch->size)
                return refuse(fetch, -EPROTO, "the revision has another size than it was listed with");
        *ret_has_hash = m.has_hash;
        memcpy(hash, m.hash, CONTENT_HASH_SIZE);
        return 0;
}

static int check_export(struct fetch *fetch, const char *result, uint8_t *hash, bool *ret_has_hash) {
        char hex[2 * CONTENT_HASH_SIZE + 1] = "";
        struct api_export export;

        if (api_export_parse(result, strlen(result), &export) < 0 ||
            !g_str_equal(export.rev, fetch->rev))
                return refuse(fetch, -EPROTO, "the export's metadata makes no sense");
        for (size_t i = 0; export.has_hash && i < CONTENT_HASH_SIZE; i++)
                g_snprintf(hex + 2 * i, 3, "%02x", export.hash[i]);
        if (export.size != fetch->size || strncmp(hex, fetch->export_hash, 32) != 0) {
                if (fetch->export_path)
                        (void)index_set_export(fetch->db->index, fetch->export_path, fetch->rev,
                                               export.size, hex);
                return refuse(fetch, -ESTALE, "Dropbox exports the document differently now");
        }
        *ret_has_hash = export.has_hash;
        memcpy(hash, export.hash, CONTENT_HASH_SIZE);
        return 0;
}

/* What of the file the body is. */
static int check_range(struct fetch *fetch, const struct http_response *response) {
        const char *encoding = http_response_header(response, "Content-Encoding");
        const char *range = http_response_header(response, "Content-Range");
        uint64_t body = fetch->size;
        struct http_range got;

        if (encoding != NULL && g_ascii_strcasecmp(encoding, "identity") != 0)
                return refuse(fetch, -EPROTO, "the content is encoded, which nobody asked for");
        fetch->skip = fetch->offset - fetch->lead;
        if (response->status == 206) {
                if (range == NULL || http_parse_content_range(range, &got) < 0 || !got.has_range ||
                    got.first != fetch->offset - fetch->lead || got.last != fetch->offset + fetch->length - 1 ||
                    (got.total != UINT64_MAX && got.total != fetch->size))
                        return refuse(fetch, -EPROTO, "Dropbox sends another range than the one asked for");
                fetch->skip = 0;
                body = fetch->lead + fetch->length;
        } else if (response->status != 200)
                return refuse(fetch, -EPROTO, "Dropbox answers with a status that means nothing here");
        if (response->content_length >= 0 && (uint64_t)response->content_length != body)
                return refuse(fetch, -EPROTO, "the content has another length than it should");
        return 0;
}

static int on_response(void *data, const struct http_response *response) {
        struct fetch *fetch = data;
        const char *result = http_response_header(response, "Dropbox-API-Result");
        uint8_t hash[CONTENT_HASH_SIZE];
        bool has_hash = false;
        int r;

        if (g_atomic_int_get(&fetch->cancelled))
                return -ECANCELED;
        if (result == NULL)
                return refuse(fetch, -EPROTO, "the answer lacks Dropbox-API-Result");
        r = fetch->export_hash ? check_export(fetch, result, hash, &has_hash)
                               : check_file(fetch, result, hash, &has_hash);
        if (r == 0)
                r = check_range(fetch, response);
        if (r == 0 && has_hash)
                verify_expect(fetch->run, hash);
        return r;
}

/* ── bytes ──────────────────────────────────────────────────────────────── */

static int hash(struct fetch *fetch, const void *bytes, uint64_t length) {
        const struct cs_host *host = fetch->db->host;

        if (verify_update(fetch->run, bytes, length) == 0)
                return 0;
        host->log(host, CS_LOG_WARNING,
                  "%s of %s: what came before the engine was restarted is not what Dropbox sends now",
                  fetch->version, fetch->locator);
        return refuse(fetch, -EBADMSG, "what came before the engine was restarted is not what Dropbox sends now");
}

static int hand_over(struct fetch *fetch) {
        const struct cs_host *host = fetch->db->host;
        int r = host->write(host, fetch->request, fetch->piece, fetch->held);

        if (r == 0)
                r = hash(fetch, fetch->piece, fetch->held);
        if (r == 0)
                fetch->held = 0;
        return r;
}

static int on_body(void *data, const void *bytes, size_t length) {
        struct fetch *fetch = data;
        const uint8_t *p = bytes;

        if (fetch->skip > 0) {
                uint64_t n = MIN(fetch->skip, length);

                fetch->skip -= n;
                p += n;
                length -= n;
                if (length == 0)
                        return g_atomic_int_get(&fetch->cancelled) ? -ECANCELED : 0;
        }
        if (fetch->lead > 0) {
                uint64_t n = MIN(fetch->lead, length);
                int r = hash(fetch, p, n);

                fetch->lead -= n;
                p += n;
                length -= n;
                if (r < 0 || length == 0)
                        return r < 0 || !g_atomic_int_get(&fetch->cancelled) ? r : -ECANCELED;
        }
        if (length > fetch->length - fetch->arrived) {
                if (fetch->offset + fetch->length == fetch->size)
                        return refuse(fetch, -EPROTO, "more bytes than the file has");
                length = fetch->length - fetch->arrived; /* the rest of a whole body */
        }
        fetch->arrived += length;
        while (length > 0) {
                size_t n = MIN(length, PIECE - fetch->held);

                if (n == 0) {
                        int r = hand_over(fetch);
                        if (r < 0)
                                return r;
                        continue;
                }
                memcpy(fetch->piece + fetch->held, p, n);
                fetch->held += n;
                p += n;
                length -= n;
        }
        return fetch->arrived == fetch->length && fetch->offset + fetch->length < fetch->size ? HTTP_ENOUGH : 0;
}

/* ── the end ────────────────────────────────────────────────────────────── */

static void fetch_end(struct fetch *fetch) {
        const struct cs_host *host = fetch->db->host;
        enum verify_result verdict;
        unsigned mismatches;
        int r;

        if (hash(fetch, fetch->piece, fetch->held) < 0) {
                fetch_done(fetch, fetch->error, 0, fetch->why);
                return;
        }
        verdict = verify_end(g_steal_pointer(&fetch->run), &mismatches);
        if (verdict == VERIFY_SUSPECT) {
                fetch_done(fetch, -ESTALE, 0, "what came of this version before was wrong");
                return;
        }
        if (verdict == VERIFY_MISMATCH) {
                host->log(host, CS_LOG_WARNING,
                          "%s of %s: the content does not have the hash that Dropbox says it has (time %u)",
                          fetch->version, fetch->locator, mismatches);
                fetch_done(fetch, -EBADMSG, 0,
                           "the content does not have the hash that Dropbox says it has");
                return;
        }
        r = host->write(host, fetch->request, fetch->piece, fetch->held);
        fetch_done(fetch, r, 0, NULL);
}

/* The revision is not to be had: is there another one of the file? */
static int gone_error(struct fetch *fetch) {
        struct index_entry auto_entry entry = {0};

        if (index_find_id(fetch->db->index, fetch->locator, &entry) < 0)
                return -ENOENT;
        return g_str_equal(entry.rev, fetch->rev) ? -ENOENT : -ESTALE;
}

static void on_complete(void *data, const struct call_result *result) {
        struct fetch *fetch = data;
        const char *detail = fetch->why ? fetch->why : result->fault.sentence;
        int error = result->error;

        if (fetch->error != 0)
                error = fetch->error;
        if (error == 0 && fetch->arrived < fetch->length) {
                error = -ECONNRESET;
                detail = "the content ended early";
        }
        if (error == 0) {
                fetch_end(fetch);
                return;
        }
        if (error == -ENOENT)
                error = gone_error(fetch);
        fetch_done(fetch, error, result->fault.retry_after_ms, detail);
}

/* ── the beginning ──────────────────────────────────────────────────────── */

static void download(struct fetch *fetch, const char *format) {
        static const struct call_handler handler = {
                .response = on_response, .body = on_body, .complete = on_complete};
        g_autofree char *path = g_strconcat("rev:", fetch->rev, NULL);
        json_object auto_json *argument = json_object_new_object();
        struct call_request call = {.style = CALL_DOWNLOAD, .argument = argument, .tag = fetch->tag,
                                    .handler = &handler, .data = fetch};
        char range[64];

        json_object_object_add(argument, "path", json_object_new_string(path));
        call.route = fetch->export_hash ? "files/export" : "files/download";
        if (format != NULL && *format)
                json_object_object_add(argument, "export_format", json_object_new_string(format));
        fetch->run = verify_begin(fetch->db->verify, fetch->version, fetch->size, fetch->offset, fetch->length);
        fetch->lead = verify_lead(fetch->run);
        g_snprintf(range, sizeof range, "bytes=%" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT,
                   fetch->offset - fetch->lead, fetch->offset + fetch->length - 1);
        /* Each export is made anew: two parts could be of two different ones. */
        if (fetch->length < fetch->size && !fetch->export_hash)
                call.range = range;
        fetch->piece = g_malloc(MIN(fetch->length, PIECE));
        call_start(fetch->db, &call);
}

static void fetch_note(struct fetch *fetch) {
        const struct cs_host *host = fetch->db->host;
        struct index_entry auto_entry entry = {0};
        g_autofree char *version = NULL, *text = NULL;
        struct cs_entry told;
        int r = index_find_id(fetch->db->index, fetch->locator, &entry);

        if (r == 0) {
                entry.flags |= INDEX_NOTE;
                (void)entry_describe(&entry, &told, &version);
                text = note_text(&entry);
                r = g_strcmp0(version, fetch->version) == 0 && told.size == fetch->size ? 0 : -ESTALE;
        }
        if (r == 0)
                r = host->write(host, fetch->request, text + fetch->offset, fetch->length);
        fetch_done(fetch, r, 0, NULL);
}

static void fetch_export(struct fetch *fetch) {
        struct index_entry auto_entry entry = {0};
        int r = index_find_id(fetch->db->index, fetch->locator, &entry);

        if (r == 0)
                fetch->export_path = g_strdup(entry.path);
        download(fetch, r == 0 ? entry.extra : NULL);
}

/* "REV" or "REV+" and half a hash. */
static int parse_version(struct fetch *fetch) {
        size_t digits = strspn(fetch->version, "0123456789abcdef");

        if (digits < 9 || digits > API_REV_MAX)
                return -EINVAL;
        memcpy(fetch->rev, fetch->version, digits);
        if (fetch->version[digits] == '\0')
                return 0;
        if (fetch->version[digits] != '+')
                return -EINVAL;
        fetch->export_hash = fetch->version + digits + 1;
        return 0;
}

static bool is_valid(const struct cs_fetch *asked) {
        return asked->version != NULL && g_str_has_prefix(asked->locator, "id:") && asked->length > 0 &&
               asked->size <= INT64_MAX && asked->offset < asked->size &&
               asked->length <= asked->size - asked->offset;
}

void fetch_start(struct dropbox *db, struct cs_request *request, const struct cs_fetch *asked) {
        struct fetch *fetch = g_new0(struct fetch, 1);
        uint32_t quiet = dropbox_quiet_ms(db);
        bool note;

        *fetch = (struct fetch){.db = db, .request = request, .tag = http_tag(db->client),
                                .locator = g_strdup(asked->locator), .version = g_strdup(asked->version),
                                .size = asked->size, .offset = asked->offset, .length = asked->length};
        pthread_mutex_lock(&db->lock);
        g_hash_table_insert(db->fetches, request, fetch);
        pthread_mutex_unlock(&db->lock);
        note = asked->version != NULL && g_str_has_prefix(asked->version, NOTE_PREFIX);
        if (!is_valid(asked) || (!note && parse_version(fetch) < 0))
                fetch_done(fetch, -EINVAL, 0, "the fetch is none that this engine's entries allow");
        else if (!auth_is_logged_in(db->auth)) {
                g_autofree char *why = auth_why_not(db->auth);
                fetch_done(fetch, -EACCES, 0, why);
        } else if (note)
                fetch_note(fetch);
        else if (quiet > 0)
                fetch_done(fetch, -EAGAIN, quiet, "Dropbox asked to be left alone for a while");
        else if (fetch->export_hash)
                fetch_export(fetch);
        else
                download(fetch, NULL);
}

void fetch_cancel(struct dropbox *db, struct cs_request *request) {
        struct fetch *fetch;

        pthread_mutex_lock(&db->lock);
        fetch = g_hash_table_lookup(db->fetches, request);
        if (fetch != NULL) {
                g_atomic_int_set(&fetch->cancelled, 1);
                http_cancel(db->client, fetch->tag);
        }
        pthread_mutex_unlock(&db->lock);
}
