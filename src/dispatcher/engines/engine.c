/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * engine — its host and provider, its states, its life; see engine.h, and engine-request.c for the rest
 */

#include "dispatcher/engines/engine-private.h"

#include "dispatcher/engines/credential.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Crashes in a row of hosts that neither completed a request nor lived for GOOD_RUN, until the engine
 * is given up. (One that does its work and is killed, again and again, is not to blame.) */
#define CRASHES_MAX 8u
#define GOOD_RUN (30 * G_USEC_PER_SEC)
/* A host that does not answer a PING for this long hangs. */
#define HANG_LIMIT (10 * G_USEC_PER_SEC)
/* A host that was started must be READY by then. */
#define START_LIMIT (30 * G_USEC_PER_SEC)
/* See engine_start_when_needed(). */
#define NOT_NEEDED_MS 250u
/* Very many may wait for a host that hangs: so many are ended in one turn of the loop, and then others
 * have theirs. */
#define ENDED_PER_TURN 256u

/* So many conditions are passed on at once in that time, to log and bus; then one a second. */
#define CONDITIONS_MAX 10u
#define CONDITIONS_WINDOW (10 * G_USEC_PER_SEC)

static void engine_spawn(Engine *e);

/* ── states ─────────────────────────────────────────────────────────────── */

static void engine_set_state(Engine *e, enum engine_state state, const char *detail) {
        if (detail) {
                g_free(e->detail);
                e->detail = g_strdup(detail);
        }
        e->state = state;
        if (e->callbacks->changed)
                e->callbacks->changed(e->userdata, e);
}

static int id_compare(gconstpointer a, gconstpointer b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

/* What waits for a turn that will not come before somebody logged in. */
static void engine_refuse_waiting(Engine *e) {
        g_autoptr(GArray) ids = engine_request_ids(e);

        for (guint i = 0; i < ids->len; i++) {
                EngineRequest *q = engine_request(e, ids, i);
                if (q && !q->sent && q->type != CHANNEL_LOGIN)
                        engine_request_end(q, -EACCES, e->detail);
        }
}

/* The provider serves, in the condition that it told last. */
static void engine_serve(Engine *e) {
        bool was_told = e->login_told;

        if (e->needs_login) {
                g_autofree char *text = g_strdup_printf("%s: run \"cloudsyncctl login %s\"", e->condition,
                                                        engine_id(e));
                if (!was_told)
                        log_about(LOG_WARNING, engine_id(e), NULL,
                                  "needs a login, and until then what is not here cannot be read: %s", text);
                e->login_told = true;
                engine_set_state(e, ENGINE_SERVING, text);
                engine_refuse_waiting(e);
                engine_pump(e);
                return;
        }
        e->login_told = false;
        engine_set_state(e, ENGINE_SERVING, e->condition ? e->condition : "");
        if (was_told) {
                log_about(LOG_NOTICE, engine_id(e), NULL, "is logged in");
                if (e->callbacks->logged_in)
                        e->callbacks->logged_in(e->userdata, e);
        }
        engine_pump(e);
}

static gboolean engine_condition_later(gpointer userdata) {
        Engine *e = userdata;

        e->condition_timer = 0;
        if (e->state == ENGINE_SERVING)
                engine_serve(e);
        return G_SOURCE_REMOVE;
}

void engine_condition(Engine *e, const struct channel_message *m) {
        int64_t now = g_get_monotonic_time();

        g_free(e->condition);
        e->condition = g_utf8_make_valid(m->detail, -1);
        e->needs_login = m->condition == CS_CONDITION_NEEDS_LOGIN;
        if (e->needs_login && !*e->condition) {
                g_free(e->condition);
                e->condition = g_strdup("nobody is logged in");
        }
        if (e->state != ENGINE_SERVING || e->condition_timer)
                return;
        if (now - e->told_since > CONDITIONS_WINDOW) {
                e->told_since = now;
                e->told = 0;
        }
        if (++e->told <= CONDITIONS_MAX)
                engine_serve(e);
        else
                e->condition_timer = g_timeout_add_seconds(1, engine_condition_later, e);
}

static void engine_ready(void *userdata, uint32_t flags, uint32_t max_requests) {
        Engine *e = userdata;

        if (e->state == ENGINE_SERVING)
                return;
        e->flags = flags;
        e->provider_max = MIN(max_requests, CHANNEL_REQUESTS_MAX);
        e->serving_since = g_get_monotonic_time();
        log_about(LOG_INFO, engine_id(e), NULL, "the engine serves");
        e->state = ENGINE_SERVING;
        engine_serve(e);
}

/* The provider is gone: what it had goes back to the front of the queue, but for a login: its
 * code may be used up, and its page belonged to that process. */
static void engine_take_back(Engine *e) {
        g_autoptr(GArray) ids = engine_request_ids(e);

        /* Backwards, each to the front: the oldest comes first again. */
        g_array_sort(ids, id_compare);
        for (guint i = ids->len; i-- > 0;) {
                EngineRequest *q = engine_request(e, ids, i);
                if (!q || !q->sent)
                        continue;
                engine_request_unsend(q);
                if (q->cancelled)
                        engine_request_free(q);
                else if (q->type == CHANNEL_LOGIN)
                        engine_request_end(q, -ECONNRESET, "the engine was restarted meanwhile: begin the login again");
                else
                        engine_request_queue(q, true);
        }
}

static void engine_refuse_all(Engine *e, int r) {
        g_autoptr(GArray) ids = engine_request_ids(e);

        for (guint i = 0; i < ids->len; i++) {
                EngineRequest *q = engine_request(e, ids, i);
                if (q)
                        engine_request_end(q, r, e->detail);
        }
}

static void engine_drop_provider(Engine *e) {
        g_clear_pointer(&e->provider, provider_close);
        e->attached_pid = 0;
        e->provider_max = 0;
        e->needs_login = false; /* the next one says for itself */
        g_clear_pointer(&e->condition, g_free);
        engine_take_back(e);
}

static void engine_fail(Engine *e, const char *why) {
        log_about(LOG_ERR, engine_id(e), NULL, "the engine failed: %s; its files that are not here "
                  "cannot be read until it is registered again or the service restarted", why);
        engine_set_state(e, ENGINE_FAILED, why);
        engine_refuse_all(e, -EIO);
}

static gboolean engine_restart(gpointer userdata) {
        Engine *e = userdata;

        e->restart_timer = 0;
        e->not_needed = false;
        engine_spawn(e);
        return G_SOURCE_REMOVE;
}

/* A host ended, or could not be started. */
static void engine_crashed(Engine *e, const char *why) {
        int64_t now = g_get_monotonic_time();
        uint32_t wait;

        if (e->state == ENGINE_FAILED || e->state == ENGINE_STOPPED)
                return;
        if (e->useful || (e->serving_since && now - e->serving_since > GOOD_RUN)) {
                e->crashes = 0;
                backoff_reset(&e->restart);
        }
        e->serving_since = 0;
        e->useful = false;
        if (++e->crashes >= CRASHES_MAX) {
                g_autofree char *text = g_strdup_printf("its host ended %u times in a row; last: %s",
                                                        e->crashes, why);
                engine_fail(e, text);
                return;
        }
        e->host_restarts++;
        /* The first restart is at once: a single crash is what a reader should not notice. */
        wait = e->crashes == 1 ? 0 : backoff_next(&e->restart, g_random_int(), 0);
        log_about(LOG_WARNING, engine_id(e), NULL, "%s; starting it again in %u ms", why, wait);
        engine_set_state(e, ENGINE_STARTING, why);
        e->restart_timer = g_timeout_add(wait, engine_restart, e);
}

/* Whatever is wrong with the provider: without it, and with a new one soon. A host
 * that still runs is killed, and its end (engine_host_ended) brings the next. */
static void engine_end_provider(Engine *e, const char *why) {
        bool ours = e->attached_pid == 0;

        engine_drop_provider(e);
        if (e->state == ENGINE_FAILED || e->state == ENGINE_STOPPED)
                return;
        if (ours && e->host) {
                engine_set_state(e, ENGINE_STARTING, why);
                host_kill(e->host);
        } else if (!e->host && e->options->supervised)
                engine_crashed(e, why);
        else
                engine_set_state(e, ENGINE_STARTING, why);
}

static void engine_lost(void *userdata, bool final, const char *why) {
        Engine *e = userdata;
        g_autofree char *text = g_strdup(!e->host && e->host_end ? e->host_end : why);

        g_clear_pointer(&e->host_end, g_free);
        if (!final) {
                if (e->host)
                        log_about(LOG_WARNING, engine_id(e), NULL, "ending its host: %s", text);
                engine_end_provider(e, text);
                return;
        }
        text = (g_free(text), g_strdup(why));
        engine_drop_provider(e);
        if (e->state != ENGINE_STOPPED)
                engine_fail(e, text);
        host_kill(e->host);
}

/* The process is reaped, but what it said last may still be in the channel (FAILED, and
 * why): the end of file after it leads to engine_lost(). */
static void engine_host_ended(void *userdata, int status) {
        Engine *e = userdata;
        g_autofree char *why = NULL;

        g_clear_pointer(&e->host, host_free);
        if (WIFSIGNALED(status))
                why = g_strdup_printf("its host was ended by signal %d (%s)", WTERMSIG(status),
                                      g_strsignal(WTERMSIG(status)));
        else
                why = g_strdup_printf("its host ended with status %d", WEXITSTATUS(status));
        if (e->provider && e->attached_pid == 0) {
                g_free(e->host_end);
                e->host_end = g_steal_pointer(&why);
        } else if (!e->provider)
                engine_crashed(e, why);
}

static const struct provider_callbacks provider_callbacks = {
        .ready = engine_ready,
        .message = engine_message,
        .lost = engine_lost,
};

static char *engine_state_dir(Engine *e) {
        return g_build_filename(e->options->state_dir, "engines", engine_id(e), NULL);
}

/* engines/ID below the state directory: the engine's user's own. */
static int engine_make_state_dir(Engine *e, const char *path) {
        g_autofree char *parent = g_path_get_dirname(path);
        g_auto(GStrv) names = g_strsplit(e->options->user, ":", 2);
        const struct passwd *user = getpwnam(names[0]);

        if (g_mkdir_with_parents(parent, 0711) < 0 || (mkdir(path, 0700) < 0 && errno != EEXIST))
                return -errno;
        if (geteuid() == 0 && user && lchown(path, user->pw_uid, user->pw_gid) < 0)
                return -errno;
        return 0;
}

static void engine_send_token(Engine *e) {
        char *token = credential_token(engine_id(e));

        if (token)
                provider_send(e->provider, &(struct channel_message){.type = CHANNEL_SETTING,
                                                                     .key = CS_SETTING_TOKEN,
                                                                     .value = token});
        credential_forget(token);
}

/* Makes the channel and says HELLO; *ret_peer is the provider's end. */
static int engine_open_channel(Engine *e, int *ret_peer) {
        g_autofree char *state_dir = engine_state_dir(e);
        const Registration *r = e->registration;
        GHashTableIter iter;
        gpointer key, value;
        int q;

        q = provider_open(&provider_callbacks, e, &e->provider, ret_peer);
        if (q < 0)
                return q;
        e->started = g_get_monotonic_time();
        provider_send(e->provider, &(struct channel_message){.type = CHANNEL_HELLO,
                                                             .version = CHANNEL_VERSION,
                                                             .id = r->id,
                                                             .module = r->module,
                                                             .state_dir = state_dir});
        g_hash_table_iter_init(&iter, r->settings);
        while (g_hash_table_iter_next(&iter, &key, &value))
                provider_send(e->provider, &(struct channel_message){.type = CHANNEL_SETTING,
                                                                     .key = key,
                                                                     .value = value});
        engine_send_token(e);
        provider_send(e->provider, &(struct channel_message){.type = CHANNEL_START});
        return 0;
}

static int engine_spawn_host(Engine *e) {
        g_autofree char *state_dir = engine_state_dir(e);
        autoclose int peer = -1;
        int r;
        struct host_options o = {
                .path = e->options->host_path,
                .bus_address = e->options->bus_address,
                .id = engine_id(e),
                .module_dir = e->options->module_dir,
                .state_dir = state_dir,
                .user = e->options->user,
                .store_path = e->options->store_path,
                .log_level = log_enabled(LOG_DEBUG) ? LOG_DEBUG : log_enabled(LOG_INFO) ? LOG_INFO : LOG_NOTICE,
        };

        r = engine_make_state_dir(e, state_dir);
        if (r < 0)
                log_about(LOG_ERR, engine_id(e), NULL, "%s cannot be made: %s", state_dir, g_strerror(-r));
        r = engine_open_channel(e, &peer);
        if (r < 0)
                return r;
        o.channel = peer;
        r = host_spawn(&o, engine_host_ended, e, &e->host);
        if (r < 0)
                engine_drop_provider(e);
        return r;
}

static void engine_spawn(Engine *e) {
        /* With a live provider of somebody else's, a host comes when that one goes. */
        if (!e->options->supervised || e->provider)
                return;
        e->started = g_get_monotonic_time();
        if (engine_spawn_host(e) < 0)
                engine_crashed(e, "its host could not be started");
        else if (e->callbacks->changed)
                e->callbacks->changed(e->userdata, e);
}

int engine_attach(Engine *e, uid_t uid, pid_t pid, int *ret_channel, Failure *failure) {
        int r;

        if (uid != 0)
                return failure_set(failure, -EACCES, "AccessDenied", "Only root may attach.");
        if (e->state == ENGINE_FAILED || e->state == ENGINE_STOPPED)
                return failure_set(failure, -EIO, "EngineFailed", "The engine is not to be served: %s.",
                                   e->detail);
        if (e->provider)
                return failure_set(failure, -EBUSY, "AlreadyAttached",
                                   "The engine %s has a live provider.", engine_id(e));
        r = engine_open_channel(e, ret_channel);
        if (r < 0)
                return failure_set(failure, r, "Busy", "No channel could be made: %s.", g_strerror(-r));
        e->attached_pid = pid;
        return 0;
}

/* Ends what waits too long, some of it at a time. */
static gboolean engine_end_overdue(gpointer userdata) {
        Engine *e = userdata;
        int64_t now = g_get_monotonic_time();
        g_autoptr(GArray) ids = engine_request_ids(e);
        unsigned ended = 0;

        for (guint i = 0; i < ids->len && ended < ENDED_PER_TURN; i++) {
                EngineRequest *q = engine_request(e, ids, i);
                if (!q)
                        continue;
                int64_t since = q->sent || q->timer ? q->progress : MAX(q->progress, e->progress);
                if (q->cancelled ? now - q->progress > engine_deadline(e) + HANG_LIMIT : now - since > engine_deadline(e)) {
                        if (q->cancelled) {
                                log_about(LOG_WARNING, engine_id(e), NULL,
                                          "its host does not end a cancelled request: ending it");
                                engine_end_provider(e, "its host does not end a cancelled request");
                                break;
                        }
                        q->progress = now;
                        engine_request_end(q, -ETIMEDOUT, "nothing arrived before the deadline");
                        ended++;
                }
        }
        if (ended == ENDED_PER_TURN)
                return G_SOURCE_CONTINUE;
        e->overdue_timer = 0;
        return G_SOURCE_REMOVE;
}

/* Once a second: what waits too long, and a host that hangs. */
static gboolean engine_tick(gpointer userdata) {
        Engine *e = userdata;
        int64_t now = g_get_monotonic_time();

        if (e->state == ENGINE_STARTING && (e->host || e->provider) && now - e->started > START_LIMIT) {
                log_about(LOG_WARNING, engine_id(e), NULL, "its host did not become ready in %d s",
                          (int)(START_LIMIT / G_USEC_PER_SEC));
                e->started = now;
                engine_end_provider(e, "its host did not become ready");
        }
        if (e->provider && e->state == ENGINE_SERVING && e->lists_sent + e->fetches_sent + e->logins_sent > 0 &&
            provider_ping(e->provider) > HANG_LIMIT) {
                log_about(LOG_WARNING, engine_id(e), NULL, "its host hangs: ending it");
                engine_end_provider(e, "its host hung");
        }

        if (g_hash_table_size(e->requests) > 0 && e->overdue_timer == 0)
                e->overdue_timer = g_timeout_add(1, engine_end_overdue, e);
        return G_SOURCE_CONTINUE;
}

/* ── life ───────────────────────────────────────────────────────────────── */

Engine *engine_new(Registration *registration, const struct engine_options *options,
                   const struct engine_callbacks *callbacks, void *userdata) {
        Engine *e = g_new0(Engine, 1);

        e->registration = registration;
        e->options = options;
        e->callbacks = callbacks;
        e->userdata = userdata;
        e->state = ENGINE_STARTING;
        e->detail = g_strdup("");
        e->requests = g_hash_table_new(g_int64_hash, g_int64_equal);
        e->restart = (struct backoff){.first_ms = 200, .limit_ms = 30000};
        e->tick_timer = g_timeout_add_seconds(1, engine_tick, e);
        return e;
}

void engine_start(Engine *e) {
        if (e->not_needed) {
                g_source_remove(e->restart_timer);
                e->restart_timer = 0;
                e->not_needed = false;
        }
        engine_spawn(e);
}

void engine_start_when_needed(Engine *e) {
        e->not_needed = true;
        e->restart_timer = g_timeout_add(NOT_NEEDED_MS, engine_restart, e);
}

void engine_free(Engine *e) {
        if (!e)
                return;
        e->state = ENGINE_STOPPED;
        if (e->provider)
                provider_send(e->provider, &(struct channel_message){.type = CHANNEL_QUIT});
        g_clear_pointer(&e->provider, provider_close);
        engine_take_back(e);
        while (g_hash_table_size(e->requests) > 0)
                engine_refuse_all(e, -ESHUTDOWN);
        g_clear_pointer(&e->host, host_free);
        g_free(e->host_end);
        if (e->restart_timer)
                g_source_remove(e->restart_timer);
        if (e->condition_timer)
                g_source_remove(e->condition_timer);
        if (e->overdue_timer)
                g_source_remove(e->overdue_timer);
        g_source_remove(e->tick_timer);
        g_hash_table_unref(e->requests);
        registration_free(e->registration);
        g_free(e->condition);
        g_free(e->detail);
        g_free(e);
}

const char *engine_id(const Engine *e) {
        return e->registration->id;
}

const Registration *engine_registration(const Engine *e) {
        return e->registration;
}

enum engine_state engine_state_of(const Engine *e) {
        return e->state;
}

bool engine_has_ranges(const Engine *e) {
        return !(e->flags & CS_ENGINE_NO_RANGES);
}

bool engine_needs_login(const Engine *e) {
        return e->state == ENGINE_SERVING && e->needs_login;
}

void engine_count_directories(Engine *e, int64_t listed, int64_t pending) {
        bool busy = e->directories_pending > 0;

        e->directories_listed += (uint64_t)listed;
        e->directories_pending += (uint64_t)pending;
        if (busy != (e->directories_pending > 0) && e->callbacks->changed)
                e->callbacks->changed(e->userdata, e);
}

void engine_count_skipped(Engine *e, uint64_t skipped) {
        e->entries_skipped += skipped;
}

void engine_count_local(Engine *e, uint64_t files, uint64_t conflicts) {
        e->local_files += files;
        e->conflicts += conflicts;
}

static const char *engine_state_name(const Engine *e) {
        switch (e->state) {
        case ENGINE_STARTING:
                return "starting";
        case ENGINE_SERVING:
                return e->needs_login ? "needs-login" : e->directories_pending ? "listing" : "ready";
        case ENGINE_FAILED:
                return "failed";
        case ENGINE_STOPPED:
                break;
        }
        return "stopped";
}

void engine_info(const Engine *e, struct engine_info *ret) {
        *ret = (struct engine_info){
                .registration = e->registration,
                .state = e->state,
                .state_name = engine_state_name(e),
                .detail = e->detail,
                .pid = e->attached_pid ? e->attached_pid : host_pid(e->host),
                .directories_listed = e->directories_listed,
                .directories_pending = e->directories_pending,
                .entries_skipped = e->entries_skipped,
                .local_files = e->local_files,
                .conflicts = e->conflicts,
                .bytes_fetched = e->bytes_fetched,
                .fetch_errors = e->fetch_errors,
                .checksum_errors = e->checksum_errors,
                .host_restarts = e->host_restarts,
                .transfers_active = e->fetches_sent,
        };
}
