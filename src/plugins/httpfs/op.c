/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * op — what list, stat and fetch have in common
 *
 * An operation is in httpfs.ops from op_start() to op_done(), and leaves the table
 * before host->done() gives the request back: so cancel(), which is called with a
 * living request, never finds an operation that is being freed.
 *
 * cancel() sets the flag first and then asks the client to end the tag's requests.
 * Submitting happens on the client's thread only, and looks at the flag before; what it
 * submitted before the flag was set is in the queue before the cancellation is.
 */

#include <errno.h>

#include "plugins/httpfs/httpfs.h"

bool op_is_cancelled(struct op *op) {
        return g_atomic_int_get(&op->cancelled) != 0;
}

static void op_run(void *data) {
        struct op *op = data;

        if (op_is_cancelled(op))
                op_done(op, -ECANCELED, 0, NULL);
        else if (op->fs->mode == MODE_UNKNOWN && !op->any_mode)
                probe_wait(op);
        else
                op->begin(op);
}

void op_start(struct op *op, struct httpfs *fs, struct cs_request *request) {
        op->fs = fs;
        op->request = request;
        op->tag = http_tag(fs->client);
        pthread_mutex_lock(&fs->lock);
        g_hash_table_insert(fs->ops, request, op);
        pthread_mutex_unlock(&fs->lock);
        http_run(fs->client, op_run, op);
}

int op_submit(struct op *op, struct http_call *call) {
        if (op_is_cancelled(op))
                return -ECANCELED;
        call->tag = op->tag;
        call->authorization = op->fs->settings.authorization;
        return http_submit(op->fs->client, call);
}

void op_done(struct op *op, int result, uint32_t retry_after_ms, const char *detail) {
        struct httpfs *fs = op->fs;
        struct cs_request *request = op->request;

        pthread_mutex_lock(&fs->lock);
        g_hash_table_remove(fs->ops, request);
        pthread_mutex_unlock(&fs->lock);
        fs->host->done(fs->host, request, op_is_cancelled(op) ? -ECANCELED : result, retry_after_ms,
                       detail);
        op->free(op);
}

struct cancellation {
        struct httpfs *fs;
        uint64_t tag;
};

/* An operation that waits for probe or manifest has no HTTP request of its own. */
static void cancel_waiting(void *data) {
        g_autofree struct cancellation *c = data;
        GQueue *queues[] = {&c->fs->probe_waiters, &c->fs->manifest_waiters};

        for (size_t i = 0; i < G_N_ELEMENTS(queues); i++)
                for (GList *link = queues[i]->head; link != NULL; link = link->next) {
                        struct op *op = link->data;

                        if (op->tag != c->tag)
                                continue;
                        g_queue_delete_link(queues[i], link);
                        op_done(op, -ECANCELED, 0, NULL);
                        return;
                }
}

void op_cancel(struct httpfs *fs, struct cs_request *request) {
        struct op *op;

        pthread_mutex_lock(&fs->lock);
        op = g_hash_table_lookup(fs->ops, request);
        if (op != NULL) {
                struct cancellation *c = g_new(struct cancellation, 1);

                *c = (struct cancellation){fs, op->tag};
                g_atomic_int_set(&op->cancelled, 1);
                http_run(fs->client, cancel_waiting, c);
                http_cancel(fs->client, op->tag);
        }
        pthread_mutex_unlock(&fs->lock);
}

int op_result_error(const struct http_result *result) {
        return result->error != 0 ? result->error : http_status_error(result->status);
}

char *op_detail(const char *why, const struct http_result *result) {
        if (why == NULL)
                return http_result_sentence(result);
        return g_strdup_printf("%s (%s %." G_STRINGIFY(HTTP_SENTENCE_URL_MAX) "s)", why,
                               result->method, result->url);
}

int op_entry(struct op *op, const struct listing_entry *entry) {
        struct cs_entry told = {
                .kind = entry->unknown     ? CS_KIND_UNKNOWN
                        : entry->directory ? CS_KIND_DIRECTORY
                                           : CS_KIND_FILE,
                .name = entry->name,
                .version = entry->version,
                .size = entry->size,
                .mtime_sec = entry->mtime_sec,
                .mtime_nsec = entry->mtime_nsec,
        };

        return op->fs->host->entry(op->fs->host, op->request, &told);
}
