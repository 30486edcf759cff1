/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * services — what an engine may ask of the host (struct cs_host of engine.h)
 *
 * entry() and write() gather what the engine delivers in the request's slot and send
 * the slot when it is full: many small calls cost one packet per 128 KiB. The rest
 * goes with done(), data and DONE in one system call, so that a small file costs
 * the channel one read and one write on each side.
 *
 * Bounds are enforced here for the engine's sake (it learns of its mistake) and by
 * the dispatcher for its own.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine-host/session.h"
#include "shared/log.h"
#include "shared/names.h"

static struct session *session_of(const struct cs_host *host) {
        return (struct session *)(uintptr_t)host;
}

static const char *service_setting(const struct cs_host *host, const char *key) {
        return key ? g_hash_table_lookup(session_of(host)->settings, key) : NULL;
}

static void service_log(const struct cs_host *host, enum cs_log_level level, const char *format,
                        ...) __attribute__((format(printf, 3, 4)));

static void service_log(const struct cs_host *host, enum cs_log_level level, const char *format,
                        ...) {
        struct session *s = session_of(host);
        char text[1024];
        va_list args;

        if ((int)level < LOG_ERR)
                level = CS_LOG_ERROR;
        if (!log_enabled((int)level) && level != CS_LOG_ERROR)
                return;
        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        if (level == CS_LOG_ERROR) {
                pthread_mutex_lock(&s->lock);
                if (s->opening)
                        (void)g_strlcpy(s->last_error, text, sizeof(s->last_error));
                pthread_mutex_unlock(&s->lock);
        }
        log_about((int)level, s->id, NULL, "%s", text);
}

static int service_cancelled(const struct cs_host *host, const struct cs_request *r) {
        return request_is_cancelled(r);
}

static void slot_forget(struct cs_request *r) {
        r->slot = -1;
        r->used = 0;
        r->count = 0;
}

/* The packet that hands the request's slot over. */
static struct channel_message slot_message(const struct cs_request *r) {
        return (struct channel_message){
                .type = r->type == CHANNEL_FETCH ? CHANNEL_DATA : CHANNEL_ENTRIES,
                .request = r->id,
                .slot = (uint32_t)r->slot,
                .length = r->used,
                .offset = r->type == CHANNEL_FETCH ? r->at - r->used : 0,
                .count = r->count,
        };
}

static void slot_lend(struct cs_request *r) {
        slots_lend(&r->session->slots, (uint32_t)r->slot);
        slot_forget(r);
}

static int slot_send(struct cs_request *r) {
        struct channel_message m = slot_message(r);

        slot_lend(r);
        return session_send(r->session, &m);
}

static int slot_need(struct cs_request *r) {
        int slot;

        if (r->slot >= 0)
                return 0;
        slot = session_take_slot(r->session, r);
        if (slot < 0)
                return slot;
        r->slot = slot;
        return 0;
}

static char *slot_memory(const struct cs_request *r) {
        return channel_slot(r->session->slots.memory, (uint32_t)r->slot);
}

/* The parent's locator, '/', and the name. */
static int compose_locator(const char *parent, const char *name, char *buffer, size_t size) {
        int n = snprintf(buffer, size, "%s%s%s", parent, *parent ? "/" : "", name);

        return n < 0 || (size_t)n >= size ? -EINVAL : 0;
}

static int entry_store(struct cs_request *r, const struct cs_entry *entry) {
        int q;

        for (;;) {
                q = slot_need(r);
                if (q < 0)
                        return q;
                q = channel_entry_append(slot_memory(r), CHANNEL_SLOT_SIZE, &r->used, entry);
                if (q == 0)
                        r->count++;
                if (q != -ENOSPC)
                        return q;
                q = slot_send(r); /* full; an empty slot holds any one entry */
                if (q < 0)
                        return q;
        }
}

static int entry_of_list(struct cs_request *r, const struct cs_entry *entry) {
        char locator[CS_LOCATOR_MAX + 1];
        struct cs_entry e = *entry;
        int q = 0;

        if (!e.name)
                q = -EINVAL;
        else if (!e.locator) {
                q = compose_locator(r->message.locator, e.name, locator, sizeof(locator));
                e.locator = locator;
        }
        if (q == 0)
                q = entry_store(r, &e);
        if (q == 0)
                r->entries++;
        if (q == -EINVAL && r->skipped++ == 0)
                (void)name_printable(e.name ? e.name : "", r->first_skipped,
                                     sizeof(r->first_skipped));
        return q;
}

static int entry_of_stat(struct cs_request *r, const struct cs_entry *entry) {
        struct cs_entry e = *entry;
        int q;

        if (r->entries > 0 || e.kind == CS_KIND_UNKNOWN)
                return -EINVAL;
        e.name = "-";
        if (!e.locator)
                e.locator = *r->message.locator ? r->message.locator : "-";
        q = entry_store(r, &e);
        if (q == 0)
                r->entries++;
        return q;
}

static int service_entry(const struct cs_host *host, struct cs_request *r,
                         const struct cs_entry *entry) {
        if (request_is_cancelled(r))
                return -ECANCELED;
        if (r->type == CHANNEL_LIST)
                return entry_of_list(r, entry);
        if (r->type == CHANNEL_STAT)
                return entry_of_stat(r, entry);
        return -EINVAL;
}

static int service_write(const struct cs_host *host, struct cs_request *r, const void *data,
                         size_t length) {
        const char *from = data;
        int q;

        if (r->type != CHANNEL_FETCH)
                return -EINVAL;
        if (length > r->end - r->at) {
                r->overflow = true;
                return -EMSGSIZE;
        }
        while (length > 0) {
                size_t n;

                if (request_is_cancelled(r))
                        return -ECANCELED;
                q = slot_need(r);
                if (q < 0)
                        return q;
                n = MIN(length, CHANNEL_SLOT_SIZE - r->used);
                memcpy(slot_memory(r) + r->used, from, n);
                r->used += n;
                r->at += n;
                from += n;
                length -= n;
                if (r->used == CHANNEL_SLOT_SIZE) {
                        q = slot_send(r);
                        if (q < 0)
                                return q;
                }
        }
        return 0;
}

/* What the request's end is, given what the engine says and what it did. */
static int judge(const struct cs_request *r, int result, const char **detail, char *buffer,
                 size_t size) {
        /* Its last data is not sent, so it must not pass for complete. */
        if (request_is_cancelled(r))
                return -ECANCELED;
        if (result > 0 || result < -4095) {
                (void)snprintf(buffer, size, "the engine ended the request with %d", result);
                *detail = buffer;
                return -EPROTO;
        }
        if (result < 0)
                return result;
        if (r->type == CHANNEL_STAT && r->entries != 1) {
                *detail = "the engine gave no answer";
                return -EPROTO;
        }
        if (r->type == CHANNEL_FETCH && r->overflow) {
                *detail = "the engine delivered more than it was asked for";
                return -EPROTO;
        }
        if (r->type == CHANNEL_FETCH && r->at != r->end) {
                (void)snprintf(buffer, size, "the engine delivered %" G_GUINT64_FORMAT
                               " of %" G_GUINT64_FORMAT " bytes",
                               r->at - r->message.offset, r->message.length);
                *detail = buffer;
                return -EPROTO;
        }
        return 0;
}

static void service_done(const struct cs_host *host, struct cs_request *r, int result,
                         uint32_t retry_after_ms, const char *detail) {
        struct session *s = r->session;
        char buffer[128], cut[CHANNEL_DETAIL_MAX + 1];
        struct channel_message done = {.type = CHANNEL_DONE, .request = r->id,
                                       .retry_after_ms = retry_after_ms, .skipped = r->skipped};

        done.result = judge(r, result, &detail, buffer, sizeof(buffer));
        if (detail && strnlen(detail, sizeof(cut)) >= sizeof(cut)) {
                (void)g_strlcpy(cut, detail, sizeof(cut));
                detail = cut;
        }
        done.detail = detail;
        if (r->skipped > 0)
                log_about(LOG_WARNING, s->id, r->message.locator,
                          "%u entries were left out, the first called '%s'", r->skipped,
                          r->first_skipped);

        if (r->slot >= 0 && r->used > 0 && done.result != -ECANCELED) {
                struct channel_message last = slot_message(r);

                slot_lend(r);
                (void)session_send_two(s, &last, &done);
        } else {
                if (r->slot >= 0)
                        slots_drop(&s->slots, (uint32_t)r->slot);
                slot_forget(r);
                (void)session_send(s, &done);
        }
        request_retire(r);
}

static void service_changed(const struct cs_host *host, const char *locator) {
        struct session *s = session_of(host);
        struct channel_message m = {.type = CHANNEL_CHANGED, .locator = locator};

        if (session_send(s, &m) == -EINVAL)
                log_about(LOG_WARNING, s->id, NULL, "a changed directory's locator is too long");
}

static void service_condition(const struct cs_host *host, enum cs_condition condition,
                              const char *text) {
        struct session *s = session_of(host);
        char cut[CHANNEL_DETAIL_MAX + 1];
        struct channel_message m = {.type = CHANNEL_CONDITION, .condition = condition, .detail = cut};

        (void)g_strlcpy(cut, text ? text : "", sizeof(cut));
        if (session_send(s, &m) == -EINVAL)
                log_about(LOG_WARNING, s->id, NULL, "the engine reports an unknown condition");
}

void services_init(struct session *s) {
        s->host.abi = CLOUDSYNC_ENGINE_ABI;
        s->host.struct_size = sizeof(s->host);
        s->host.setting = service_setting;
        s->host.log = service_log;
        s->host.entry = service_entry;
        s->host.write = service_write;
        s->host.done = service_done;
        s->host.cancelled = service_cancelled;
        s->host.changed = service_changed;
        s->host.condition = service_condition;
}
