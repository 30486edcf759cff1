/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * engine-request — what is asked of an engine: queued, sent, answered, tried again; see engine.h
 *
 * A request is in exactly one of these: waiting in its queue (`queued`), with the provider (`sent`),
 * or waiting for its time to be tried again (`timer`). engine_request_end() is the one end; a request that
 * is ended while the provider has it lives on, cancelled, until its DONE.
 */

#include "dispatcher/engines/engine-private.h"

#include "dispatcher/store/stamp.h"
#include "shared/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Listings at once: beside the fetches, so that a crawl never holds up a reader. */
#define LISTS_MAX 24u
#define PROTO_TRIES 5u

static GQueue *request_waiting(const EngineRequest *q) {
        return q->type == CHANNEL_FETCH   ? &q->engine->fetches
               : q->type == CHANNEL_LOGIN ? &q->engine->logins
                                          : &q->engine->lists;
}

static unsigned *request_sent(const EngineRequest *q) {
        return q->type == CHANNEL_FETCH   ? &q->engine->fetches_sent
               : q->type == CHANNEL_LOGIN ? &q->engine->logins_sent
                                          : &q->engine->lists_sent;
}

static void request_unqueue(EngineRequest *q) {
        if (!q->queued)
                return;
        g_queue_unlink(request_waiting(q), &q->link);
        q->queued = false;
}

void engine_request_queue(EngineRequest *q, bool front) {
        GQueue *queue = request_waiting(q);

        g_assert(!q->queued && !q->sent);
        q->link = (GList){.data = q};
        if (front)
                g_queue_push_head_link(queue, &q->link);
        else
                g_queue_push_tail_link(queue, &q->link);
        q->queued = true;
}

static void request_forget_text(EngineRequest *q) {
        if (q->text)
                explicit_bzero(q->text, strlen(q->text));
        g_clear_pointer(&q->text, g_free);
}

void engine_request_free(EngineRequest *q) {
        request_unqueue(q);
        if (q->sent)
                *request_sent(q) -= 1;
        if (q->engine->login == q)
                q->engine->login = NULL;
        request_forget_text(q);
        if (q->timer)
                g_source_remove(q->timer);
        g_hash_table_remove(q->engine->requests, &q->id);
        g_free(q->locator);
        g_free(q->version);
        g_free(q);
}

void engine_request_unsend(EngineRequest *q) {
        if (q->sent)
                *request_sent(q) -= 1;
        q->sent = false;
}

void engine_request_end(EngineRequest *q, int r, const char *detail) {
        Engine *e = q->engine;
        engine_end_fn on_end = q->cancelled ? NULL : q->on_end;
        void *userdata = q->userdata;

        if (r < 0 && r != -ESTALE && on_end && q->type == CHANNEL_FETCH)
                e->fetch_errors++;
        if (q->sent && r != 0 && e->provider && !q->cancelled) {
                /* Still the provider's: it becomes a cancelled one that waits for DONE. */
                provider_send(e->provider,
                              &(struct channel_message){.type = CHANNEL_CANCEL, .request = q->id});
                q->cancelled = true;
        } else
                engine_request_free(q);
        if (on_end)
                on_end(userdata, r, detail ? detail : "");
}

static gboolean request_again(gpointer userdata) {
        EngineRequest *q = userdata;

        q->timer = 0;
        engine_request_queue(q, true);
        engine_pump(q->engine);
        return G_SOURCE_REMOVE;
}

static bool error_is_passing(int r) {
        switch (-r) {
        case EAGAIN:
        case EBUSY:
        case ETIMEDOUT:
        case ECONNRESET:
        case ECONNREFUSED:
        case ECONNABORTED:
        case ENETUNREACH:
        case ENETDOWN:
        case EHOSTUNREACH:
        case EHOSTDOWN:
        case EPIPE:
        case EINTR:
                return true;
        default:
                return false;
        }
}

int64_t engine_deadline(const Engine *e) {
        return (int64_t)e->options->deadline_s * G_USEC_PER_SEC;
}

/* DONE arrived: over, or once more after a while. */
static void request_done(EngineRequest *q, int r, uint32_t retry_after_ms, const char *detail) {
        Engine *e = q->engine;
        bool complete = q->type != CHANNEL_FETCH || q->offset == q->end;
        int64_t now = g_get_monotonic_time();
        uint32_t wait;

        engine_request_unsend(q);
        if (q->cancelled) {
                engine_request_free(q);
                return;
        }
        if (r == 0 && !complete) {
                r = -EPROTO;
                detail = "the engine said that all was delivered, and it was not";
        }
        if (r > 0 || r < -4095)
                r = -EPROTO;
        if (r == 0 || q->type == CHANNEL_LOGIN) {
                engine_request_end(q, r, q->type == CHANNEL_LOGIN ? detail : NULL);
                return;
        }
        /* Wrong bytes may be here already: as for another version, all of it goes. */
        if (r == -EBADMSG && q->type == CHANNEL_FETCH) {
                e->checksum_errors++;
                engine_request_end(q, -ESTALE, detail);
                return;
        }
        bool again = !e->needs_login &&
                     (error_is_passing(r) ||
                      ((r == -EPROTO || r == -ECANCELED) && ++q->bad_answers < PROTO_TRIES));
        wait = backoff_next(&q->backoff, g_random_int(), retry_after_ms);
        if (!again || now + (int64_t)wait * 1000 - q->progress > engine_deadline(e)) {
                engine_request_end(q, r, detail);
                return;
        }
        log_debug("%s: request %" PRIu64 " of \"%s\" again in %u ms: %s (%s)", engine_id(e), q->id,
                  q->locator, wait, g_strerror(-r), detail ? detail : "");
        q->timer = g_timeout_add(wait, request_again, q);
}

static void request_send(EngineRequest *q) {
        Engine *e = q->engine;
        struct channel_message m = {
                .type = q->type,
                .request = q->id,
                .locator = q->locator,
        };

        request_unqueue(q);
        if (q->type == CHANNEL_FETCH && q->offset == q->end)
                q->offset = q->last; /* all came, but was not confirmed: the last piece again */
        if (q->type == CHANNEL_FETCH) {
                m.file_version = q->version;
                m.has_version = q->has_version;
                m.size = q->size;
                m.mtime_sec = q->mtime_sec;
                m.mtime_nsec = q->mtime_nsec;
                m.offset = q->offset;
                m.length = q->end - q->offset;
                if (!engine_has_ranges(e)) { /* what is not wanted is dropped in message_data() */
                        m.offset = 0;
                        m.length = q->size;
                }
        }
        m.step = q->step;
        m.text = q->text;
        *request_sent(q) += 1;
        q->sent = true;
        q->tail = false;
        q->expected = m.offset;
        q->limit = m.offset + m.length;
        if (q->progress == 0)
                q->progress = g_get_monotonic_time();
        provider_send(e->provider, &m);
        request_forget_text(q);
}

void engine_pump(Engine *e) {
        if (e->state != ENGINE_SERVING || !e->provider)
                return;
        if (!g_queue_is_empty(&e->logins))
                request_send(g_queue_peek_head(&e->logins));
        if (e->needs_login)
                return;
        for (;;) {
                unsigned sent = e->lists_sent + e->fetches_sent;
                if (sent >= e->provider_max)
                        return;
                if (!g_queue_is_empty(&e->lists) && e->lists_sent < LISTS_MAX &&
                    (g_queue_is_empty(&e->fetches) || e->lists_sent * 2 <= e->provider_max ||
                     e->fetches_sent >= e->options->max_fetches))
                        request_send(g_queue_peek_head(&e->lists));
                else if (!g_queue_is_empty(&e->fetches) && e->fetches_sent < e->options->max_fetches)
                        request_send(g_queue_peek_head(&e->fetches));
                else
                        return;
        }
}

static EngineRequest *request_new(Engine *e, enum channel_type type, const char *locator,
                                  engine_end_fn end, void *userdata) {
        EngineRequest *q = g_new0(EngineRequest, 1);

        q->engine = e;
        q->id = ++e->last_id;
        q->type = type;
        q->locator = g_strdup(locator);
        q->on_end = end;
        q->userdata = userdata;
        q->progress = g_get_monotonic_time();
        q->backoff = (struct backoff){.first_ms = 100, .limit_ms = 10000};
        g_hash_table_insert(e->requests, &q->id, q);
        return q;
}

static gboolean request_refuse(gpointer userdata) {
        EngineRequest *q = userdata;

        q->timer = 0;
        engine_request_end(q, engine_needs_login(q->engine) ? -EACCES : -EIO, q->engine->detail);
        return G_SOURCE_REMOVE;
}

/* An engine that failed, or needs a login, refuses, but through the loop: the caller has not stored the request yet. */
static EngineRequest *request_begin(EngineRequest *q) {
        if (q->engine->state == ENGINE_FAILED || q->engine->state == ENGINE_STOPPED ||
            (engine_needs_login(q->engine) && q->type != CHANNEL_LOGIN))
                q->timer = g_idle_add_full(G_PRIORITY_DEFAULT, request_refuse, q, NULL);
        else {
                engine_request_queue(q, false);
                engine_pump(q->engine);
                if (q->engine->not_needed)
                        engine_start(q->engine);
        }
        return q;
}

EngineRequest *engine_list(Engine *e, const char *locator, engine_entries_fn entries,
                           engine_end_fn end, void *userdata) {
        EngineRequest *q = request_new(e, CHANNEL_LIST, locator, end, userdata);

        q->entries = entries;
        return request_begin(q);
}

EngineRequest *engine_stat(Engine *e, const char *locator, engine_entries_fn entries,
                           engine_end_fn end, void *userdata) {
        EngineRequest *q = request_new(e, CHANNEL_STAT, locator, end, userdata);

        q->entries = entries;
        return request_begin(q);
}

EngineRequest *engine_fetch(Engine *e, const struct stamp *stamp, uint64_t offset, uint64_t length,
                            engine_data_fn data, engine_end_fn end, void *userdata) {
        EngineRequest *q = request_new(e, CHANNEL_FETCH, stamp->locator, end, userdata);

        g_assert(length > 0 && offset % e->options->granule == 0 && offset + length <= stamp->size);
        q->version = g_strdup(stamp->version);
        q->has_version = stamp->flags & STAMP_HAS_VERSION;
        q->size = stamp->size;
        q->mtime_sec = stamp->mtime_sec;
        q->mtime_nsec = stamp->mtime_nsec;
        q->offset = offset;
        q->end = offset + length;
        q->data = data;
        return request_begin(q);
}

EngineRequest *engine_login(Engine *e, enum cs_login_step step, const char *text, engine_end_fn end,
                            void *userdata) {
        if (e->login)
                return NULL;
        e->login = request_new(e, CHANNEL_LOGIN, "", end, userdata);
        e->login->step = step;
        e->login->text = g_strdup(text);
        return request_begin(e->login);
}

void engine_cancel(EngineRequest *q) {
        if (!q)
                return;
        if (q->sent && q->engine->provider) {
                if (!q->cancelled)
                        provider_send(q->engine->provider,
                                      &(struct channel_message){.type = CHANNEL_CANCEL, .request = q->id});
                q->cancelled = true;
                q->progress = g_get_monotonic_time();
        } else
                engine_request_free(q);
}

void engine_hurry(EngineRequest *q) {
        if (q->queued) {
                request_unqueue(q);
                engine_request_queue(q, true);
        }
}

GArray *engine_request_ids(Engine *e) {
        GArray *ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
        GHashTableIter iter;
        gpointer key;

        g_hash_table_iter_init(&iter, e->requests);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                g_array_append_vals(ids, key, 1);
        return ids;
}

EngineRequest *engine_request(Engine *e, GArray *ids, guint i) {
        return g_hash_table_lookup(e->requests, &g_array_index(ids, uint64_t, i));
}

/* ── messages ───────────────────────────────────────────────────────────── */

static int message_data(EngineRequest *q, const struct channel_message *m, ProviderData *data) {
        uint64_t begin = m->offset, end = m->offset + m->length;
        size_t taken;

        if (q->cancelled) {
                provider_data_release(data);
                return 0;
        }
        if (q->type != CHANNEL_FETCH || q->tail || begin != q->expected ||
            m->length > q->limit - begin) {
                provider_data_release(data);
                return -EPROTO;
        }
        q->expected = end;
        q->progress = q->engine->progress = g_get_monotonic_time();
        q->engine->bytes_fetched += m->length;
        q->backoff.tries = 0;

        /* An engine without ranges sends all of the file. */
        if (end <= q->offset || begin >= q->end) {
                provider_data_release(data);
                return 0;
        }
        if (begin < q->offset)
                provider_data_skip(data, q->offset - begin);
        if (end > q->end)
                provider_data_trim(data, end - q->end);
        end = MIN(end, q->end);
        q->last = q->offset;
        taken = q->data(q->userdata, data);
        q->offset += taken;
        q->tail = q->offset < end;
        return 0;
}

int engine_message(void *userdata, const struct channel_message *m, ProviderData *data) {
        Engine *e = userdata;
        EngineRequest *q;

        if (m->type == CHANNEL_CONDITION) {
                engine_condition(e, m);
                return 0;
        }
        if (m->type == CHANNEL_CHANGED) {
                e->callbacks->remote_changed(e->userdata, e, m->locator);
                return 0;
        }
        q = g_hash_table_lookup(e->requests, &m->request);
        if (!q || !q->sent) {
                provider_data_release(data);
                return -EPROTO;
        }
        switch (m->type) {
        case CHANNEL_DATA:
                return message_data(q, m, data);
        case CHANNEL_ENTRIES:
                if (q->type == CHANNEL_FETCH || q->type == CHANNEL_LOGIN) {
                        provider_data_release(data);
                        return -EPROTO;
                }
                if (q->cancelled) {
                        provider_data_release(data);
                        return 0;
                }
                e->progress = g_get_monotonic_time();
                q->expected += m->count;
                if (q->expected > q->most) { /* what is told once more is no progress */
                        q->most = q->expected;
                        q->progress = e->progress;
                }
                q->entries(q->userdata, data);
                return 0;
        case CHANNEL_DONE:
                e->entries_skipped += m->skipped;
                e->progress = g_get_monotonic_time();
                e->useful |= m->result == 0;
                request_done(q, m->result, m->retry_after_ms, m->detail);
                engine_pump(e);
                return 0;
        default:
                return -EPROTO;
        }
}
