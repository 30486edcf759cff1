/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * export — how large documents are that Dropbox exports
 *
 * A placeholder needs the exact size, and only an export tells it: in the header of its answer,
 * before the first byte. So the export is asked for, its header read, and the rest cut off.
 * What was learnt is kept in the index with the rev it belongs to.
 *
 * An export that cannot be had now is shown as a note that says so, until its rev changes or
 * the directory is listed again.
 */

#include <errno.h>
#include <string.h>

#include "plugins/dropbox/api-json.h"
#include "plugins/dropbox/dropbox.h"

#define AT_ONCE 4u

struct batch {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned under_way;
};

struct probe {
        struct batch *batch;
        struct index_entry *entry;
        bool good;
        struct api_export export;
        int error;
        struct api_fault fault;
};

static int on_response(void *data, const struct http_response *response) {
        struct probe *probe = data;
        const char *result = http_response_header(response, "Dropbox-API-Result");

        probe->good = result != NULL && api_export_parse(result, strlen(result), &probe->export) == 0 &&
                      g_str_equal(probe->export.rev, probe->entry->rev);
        return HTTP_ENOUGH;
}

static int on_body(void *data, const void *bytes, size_t length) {
        return HTTP_ENOUGH;
}

static void on_complete(void *data, const struct call_result *result) {
        struct probe *probe = data;
        struct batch *batch = probe->batch;

        pthread_mutex_lock(&batch->lock);
        probe->error = result->error;
        probe->fault = result->fault;
        batch->under_way--;
        pthread_cond_signal(&batch->changed);
        pthread_mutex_unlock(&batch->lock);
}

static void probe_start(struct dropbox *db, struct probe *probe) {
        static const struct call_handler handler = {
                .response = on_response, .body = on_body, .complete = on_complete};
        g_autofree char *path = g_strconcat("rev:", probe->entry->rev, NULL);
        json_object auto_json *argument = json_object_new_object();

        json_object_object_add(argument, "path", json_object_new_string(path));
        json_object_object_add(argument, "export_format", json_object_new_string(probe->entry->extra));
        call_start(db, &(struct call_request){.style = CALL_DOWNLOAD, .route = "files/export",
                                              .argument = argument, .flags = HTTP_BACKGROUND,
                                              .handler = &handler, .data = probe});
}

static void hex(const uint8_t *digest, char *ret) {
        for (size_t i = 0; i < CONTENT_HASH_SIZE; i++)
                g_snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

static void probe_use(struct dropbox *db, struct probe *probe) {
        struct index_entry *entry = probe->entry;
        char hash[2 * CONTENT_HASH_SIZE + 1] = "";

        if (probe->error != 0 || !probe->good) {
                db->host->log(db->host, CS_LOG_WARNING, "\"%s\" is shown as a note: %s", entry->local,
                              probe->error != 0 ? probe->fault.sentence
                                                : "the answer to its export makes no sense");
                entry->flags |= INDEX_NOTE;
                return;
        }
        if (probe->export.has_hash)
                hex(probe->export.hash, hash);
        (void)index_set_export(db->index, entry->path, entry->rev, probe->export.size, hash);
        g_free(entry->export_rev);
        g_free(entry->export_hash);
        entry->export_rev = g_strdup(entry->rev);
        entry->export_hash = g_strdup(hash);
        entry->export_size = probe->export.size;
}

void export_resolve(struct dropbox *db, struct cs_request *request, struct index_entry **entries, unsigned n) {
        struct batch batch = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
        g_autofree struct probe *probes = g_new0(struct probe, n);

        for (unsigned i = 0; i < n; i++) {
                probes[i].batch = &batch;
                probes[i].entry = entries[i];
                pthread_mutex_lock(&batch.lock);
                while (batch.under_way >= AT_ONCE)
                        pthread_cond_wait(&batch.changed, &batch.lock);
                batch.under_way++;
                pthread_mutex_unlock(&batch.lock);
                if (db->host->cancelled(db->host, request)) {
                        on_complete(&probes[i], &(struct call_result){.error = -ECANCELED});
                        continue;
                }
                probe_start(db, &probes[i]);
        }
        pthread_mutex_lock(&batch.lock);
        while (batch.under_way > 0)
                pthread_cond_wait(&batch.changed, &batch.lock);
        pthread_mutex_unlock(&batch.lock);
        for (unsigned i = 0; i < n; i++)
                probe_use(db, &probes[i]);
        pthread_mutex_destroy(&batch.lock);
        pthread_cond_destroy(&batch.changed);
}
