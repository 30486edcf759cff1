/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * request — a LIST, STAT, FETCH or LOGIN from its arrival to done(); see session.h
 *
 * It keeps a copy of its packet: the strings that an operation gets are those. A login's
 * is a secret, and erased.
 */

#include <errno.h>
#include <string.h>

#include "engine-host/session.h"

struct cs_request *request_new(struct session *session, const void *packet, size_t length) {
        struct cs_request *r = g_try_malloc(sizeof(*r) + length);

        if (!r)
                return NULL;
        memset(r, 0, sizeof(*r));
        memcpy(r->packet, packet, length);
        if (channel_parse(r->packet, length, &r->message) < 0) {
                g_free(r);
                return NULL;
        }
        r->session = session;
        r->length = length;
        r->id = r->message.request;
        r->type = r->message.type;
        r->refs = 1;
        r->slot = -1;
        r->at = r->message.offset;
        r->end = r->message.offset + r->message.length;
        return r;
}

struct cs_request *request_ref(struct cs_request *r) {
        (void)__atomic_add_fetch(&r->refs, 1, __ATOMIC_RELAXED);
        return r;
}

void request_unref(struct cs_request *r) {
        if (__atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        if (r->type == CHANNEL_LOGIN)
                explicit_bzero(r->packet, r->length);
        g_free(r);
}

bool request_is_cancelled(const struct cs_request *r) {
        return __atomic_load_n(&r->cancelled, __ATOMIC_ACQUIRE) ||
               __atomic_load_n(&r->session->dead, __ATOMIC_ACQUIRE);
}

static bool has_login(const struct cs_engine_ops *ops) {
        return ops->struct_size >= offsetof(struct cs_engine_ops, login) + sizeof(ops->login) &&
               ops->login;
}

static void run_login(struct cs_request *r) {
        struct session *s = r->session;
        char reply[CS_LOGIN_REPLY_MAX] = "";
        int q = -EOPNOTSUPP;

        if (has_login(s->ops)) {
                q = s->ops->login(s->instance, (enum cs_login_step)r->message.step,
                                  r->message.text, reply, sizeof(reply));
                reply[sizeof(reply) - 1] = '\0';
        }
        s->host.done(&s->host, r, q, 0, reply);
}

void request_run(struct cs_request *r) {
        struct session *s = r->session;
        const struct channel_message *m = &r->message;
        struct cs_fetch fetch;

        if (request_is_cancelled(r)) {
                s->host.done(&s->host, r, -ECANCELED, 0, NULL);
                return;
        }
        switch (r->type) {
        case CHANNEL_LIST:
                s->ops->list(s->instance, r, m->locator);
                break;
        case CHANNEL_STAT:
                s->ops->stat(s->instance, r, m->locator);
                break;
        case CHANNEL_LOGIN:
                run_login(r);
                break;
        default:
                fetch = (struct cs_fetch){
                        .locator = m->locator,
                        .version = m->has_version ? m->file_version : NULL,
                        .size = m->size,
                        .mtime_sec = m->mtime_sec,
                        .mtime_nsec = m->mtime_nsec,
                        .offset = m->offset,
                        .length = m->length,
                };
                s->ops->fetch(s->instance, r, &fetch);
        }
}

void request_retire(struct cs_request *r) {
        struct session *s = r->session;

        pthread_mutex_lock(&s->lock);
        g_hash_table_remove(s->requests, &r->id);
        if (g_hash_table_size(s->requests) == 0)
                pthread_cond_signal(&s->quiet);
        pthread_mutex_unlock(&s->lock);
        request_unref(r);
}
