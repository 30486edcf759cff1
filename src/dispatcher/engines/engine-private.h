/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What engine.c (host, states, life) and engine-request.c share. */

#include "dispatcher/engines/engine.h"
#include "dispatcher/engines/host.h"
#include "shared/backoff.h"

#include <glib.h>

struct EngineRequest {
        Engine *engine;
        uint64_t id;
        enum channel_type type;
        char *locator, *version;
        enum cs_login_step step; /* LOGIN */
        char *text;              /* LOGIN: secret */
        bool has_version;
        uint64_t size, offset, end; /* offset: what comes next */
        uint64_t last;              /* where the piece began that came last */
        int64_t mtime_sec;
        uint32_t mtime_nsec;

        engine_data_fn data;
        engine_entries_fn entries;
        engine_end_fn on_end;
        void *userdata;

        bool sent;      /* with the provider: DONE will come */
        bool cancelled; /* nobody wants it: freed with DONE */
        bool tail;      /* a short piece came: nothing may follow in this attempt */
        unsigned bad_answers;
        uint64_t expected, limit; /* of this attempt: the next DATA offset, and the end. LIST: entries so far */
        uint64_t most;            /* LIST: that any attempt brought */
        int64_t progress;  /* µs: created, or the last byte or entry that was none of an earlier attempt's */
        struct backoff backoff;
        guint timer; /* until it is queued again */
        GList link;  /* in request_waiting() while it waits to be sent */
        bool queued;
};

struct Engine {
        Registration *registration;
        const struct engine_options *options;
        const struct engine_callbacks *callbacks;
        void *userdata;

        enum engine_state state;
        char *detail;
        Host *host;
        Provider *provider;
        char *host_end;     /* how our host ended, while its channel is read to its end */
        pid_t attached_pid; /* of a provider that is not our host */
        uint32_t flags;
        unsigned provider_max;

        GHashTable *requests; /* id → EngineRequest, all of them */
        GQueue lists, fetches, logins; /* waiting */
        unsigned lists_sent, fetches_sent, logins_sent;
        EngineRequest *login; /* the one there may be */
        uint64_t last_id;
        int64_t progress; /* µs: the last sign of life of any request */

        struct backoff restart;
        guint restart_timer, tick_timer, overdue_timer;
        int64_t started; /* µs: host spawned */
        int64_t serving_since;
        unsigned crashes;
        bool useful; /* this host has completed something */
        bool not_needed; /* and not started yet; restart_timer runs */
        bool needs_login;  /* this provider says so */
        bool login_told;   /* in the log, and to nobody's profit since */
        char *condition;   /* its sentence, or NULL */
        int64_t told_since;  /* µs: so many conditions were passed on since then */
        unsigned told;
        guint condition_timer; /* until the next one may be */

        uint64_t directories_listed, directories_pending, entries_skipped, local_files, conflicts;
        uint64_t bytes_fetched, fetch_errors, checksum_errors, host_restarts;
};

/* engine-request.c */

/* Sends what may be sent now. */
void engine_pump(Engine *e);
/* provider_callbacks.message */
int engine_message(void *userdata, const struct channel_message *m, ProviderData *data);
/* Without any progress for so long (µs) a request fails. */
int64_t engine_deadline(const Engine *e);
/* The one end. The callback may start new requests, and must not touch this one. */
void engine_request_end(EngineRequest *q, int r, const char *detail);
/* Takes it from the provider's hands, in our books. */
void engine_request_unsend(EngineRequest *q);
void engine_request_queue(EngineRequest *q, bool front);
void engine_request_free(EngineRequest *q);
/* The ids of all requests: ending one may end others, so that pointers would not do. And the i-th, if it is
 * still there. */
GArray *engine_request_ids(Engine *e);
EngineRequest *engine_request(Engine *e, GArray *ids, guint i);

/* engine.c: the provider says in what condition it is. */
void engine_condition(Engine *e, const struct channel_message *m);
