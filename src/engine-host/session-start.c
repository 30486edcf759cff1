/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * session-start — from HELLO to READY; see session.h
 *
 * HELLO, SETTING…, START; then the module is loaded, its settings are looked at, it
 * is opened, and READY or FAILED is said. A failure's sentence is for the person who
 * registered the engine: the engine's own last error line where it logged one.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine-host/loader.h"
#include "engine-host/session.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/names.h"

static int send_fail(struct session *s, int error, const char *detail) {
        struct channel_message m = {.type = CHANNEL_FAILED, .result = error, .detail = detail};

        if (!*s->last_error) /* else the engine has logged it */
                log_about(LOG_ERR, s->id ? s->id : "?", NULL, "%s", detail);
        (void)session_send(s, &m);
        return EXIT_FAILURE;
}

static int add_setting(struct session *s, const struct channel_message *m) {
        if (g_hash_table_size(s->settings) >= NAME_SETTINGS_MAX + 1) /* and CS_SETTING_TOKEN */
                return -EBADMSG;
        g_hash_table_insert(s->settings, g_strdup(m->key), g_strdup(m->value));
        return 0;
}

static int hello(struct session *s, const struct channel_message *m, int fd) {
        if (s->id || fd < 0)
                return -EBADMSG;
        s->id = g_strdup(m->id);
        s->module = g_strdup(m->module);
        s->state_dir = *m->state_dir ? g_strdup(m->state_dir) : NULL;
        if (m->version != CHANNEL_VERSION)
                return -EPROTO;
        return slots_init(&s->slots, fd);
}

/* Until START: 0; 1: the dispatcher left; -errno. */
static int handshake(struct session *s) {
        char packet[CHANNEL_PACKET_MAX];
        struct channel_message m;

        for (;;) {
                autoclose int fd = -1;
                int r = channel_receive(s->socket, packet, sizeof(packet), &fd);

                if (r <= 0)
                        return r < 0 ? r : 1;
                r = channel_parse(packet, (size_t)r, &m);
                if (r < 0)
                        return r;
                if (m.type == CHANNEL_QUIT)
                        return 1;
                if (m.type == CHANNEL_HELLO)
                        r = hello(s, &m, fd);
                else if (m.type == CHANNEL_SETTING && s->id)
                        r = add_setting(s, &m);
                else if (m.type == CHANNEL_START && s->id)
                        return 0;
                else
                        r = -EBADMSG;
                if (r < 0)
                        return r;
        }
}

/* Required ones are there; unknown ones are worth a word, they may be misspelt. */
static int check_settings(struct session *s, char *reason, size_t size) {
        GHashTableIter iter;
        const char *key;

        if (!s->ops->settings)
                return 0;
        for (const struct cs_setting_info *i = s->ops->settings; i->key; i++)
                if (i->required && !g_hash_table_contains(s->settings, i->key)) {
                        (void)snprintf(reason, size, "the setting '%s' is missing (%s)", i->key,
                                       i->help ? i->help : "required");
                        return -EINVAL;
                }
        g_hash_table_iter_init(&iter, s->settings);
        while (g_hash_table_iter_next(&iter, (void **)&key, NULL)) {
                const struct cs_setting_info *i = s->ops->settings;

                while (i->key && strcmp(i->key, key) != 0)
                        i++;
                if (!i->key && strcmp(key, CS_SETTING_TOKEN) != 0)
                        log_about(LOG_WARNING, s->id, NULL, "the engine knows no setting '%s'",
                                  key);
        }
        return 0;
}

static int open_engine(struct session *s, char *reason, size_t size) {
        int r;

        s->opening = true;
        r = s->ops->open(&s->host, &s->instance);
        pthread_mutex_lock(&s->lock);
        s->opening = false;
        if (r > 0)
                r = -EINVAL;
        if (r < 0) {
                if (*s->last_error)
                        (void)g_strlcpy(reason, s->last_error, size);
                else
                        (void)snprintf(reason, size, "the engine could not be opened: %s",
                                       strerror(-r));
        }
        pthread_mutex_unlock(&s->lock);
        return r < -4095 ? -EINVAL : r;
}

static int start(struct session *s) {
        char reason[CHANNEL_DETAIL_MAX] = "";
        struct channel_message ready = {.type = CHANNEL_READY};
        uint32_t limit;
        int r;

        s->host.id = s->id;
        s->host.state_dir = s->state_dir;
        r = loader_open(s->module_dir, s->module, s->module_owner, &s->ops, reason,
                        sizeof(reason));
        if (r == 0)
                r = check_settings(s, reason, sizeof(reason));
        if (r == 0)
                r = open_engine(s, reason, sizeof(reason));
        if (r < 0)
                return send_fail(s, r, reason);
        limit = s->ops->max_requests ? s->ops->max_requests : SESSION_REQUESTS_DEFAULT;
        s->max_workers = MIN(limit, CHANNEL_REQUESTS_MAX);
        ready.max_requests = s->max_workers;
        ready.flags = s->ops->flags & (CS_ENGINE_NONBLOCKING | CS_ENGINE_NO_RANGES);
        log_about(LOG_DEBUG, s->id, NULL, "module %s is ready, %u requests at once", s->module,
                  s->max_workers);
        return session_send(s, &ready) < 0 ? EXIT_FAILURE : SESSION_GO_ON;
}

int session_start(struct session *s) {
        int r = handshake(s);

        if (r == 1)
                return EXIT_SUCCESS;
        if (r < 0)
                return send_fail(s, r == -EPROTO ? -EPROTO : -EBADMSG,
                                 r == -EPROTO ? "dispatcher and engine host are of different versions"
                                              : "the dispatcher's greeting is malformed");
        return start(s);
}
