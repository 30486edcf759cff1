/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sync — the thread that keeps the index what Dropbox says
 *
 *     no login ──▶ prepare ──▶ list_folder ──▶ continue … ──▶ longpoll ──▶ continue … ──▶ longpoll
 *                     ▲            ▲                             │ reset
 *                     └── error ───┴─────────────────────────────┘
 *
 * In the index, beside the entries: `cursor`, `listing` (the number of the last full listing),
 * `state` ("listing" while one is under way, "following" after it), `complete` (1 once one has been
 * finished) and `fingerprint` (account and settings that all of it belongs to).
 *
 * A full listing that follows another one (reset, new root) leaves what is there in place: it
 * confirms entry by entry, and removes at its end what it did not confirm. A first listing that
 * is interrupted goes on from its last page.
 */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "plugins/dropbox/api-json.h"
#include "plugins/dropbox/dropbox.h"
#include "shared/backoff.h"

#define PAGE_LIMIT 2000
#define PROGRESS 10000u /* entries for a line in the log */
#define LOGIN_LOOK_MS 2000u

struct sync {
        struct dropbox *db;
        struct backoff backoff;
        struct backoff resets; /* a server that resets every cursor must not be hammered either */
        bool prepared;
        bool ask_first;   /* for changes, before the next longpoll */
        uint64_t reported; /* entries, of the listing under way */
        int64_t busy_since; /* µs: when people were told the last time how far it is */
        struct apply_counts counts;
        char *problem;    /* the last one that was logged, or NULL */
};

static bool is_complete(struct dropbox *db) {
        bool complete;

        pthread_mutex_lock(&db->lock);
        complete = db->complete;
        pthread_mutex_unlock(&db->lock);
        return complete;
}

/* ── waiting ────────────────────────────────────────────────────────────── */

/* At most `ms`; less when something happens. False: stop. */
static bool wait_ms(struct dropbox *db, uint32_t ms) {
        struct timespec until;
        bool go_on;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += ms / 1000;
        until.tv_nsec += (long)(ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
        }
        pthread_mutex_lock(&db->lock);
        while (!db->stop && !db->login_changed)
                if (pthread_cond_timedwait(&db->wake, &db->lock, &until) != 0)
                        break;
        db->login_changed = false;
        go_on = !db->stop;
        pthread_mutex_unlock(&db->lock);
        return go_on;
}

static bool stopped(struct dropbox *db) {
        bool stop;

        pthread_mutex_lock(&db->lock);
        stop = db->stop;
        pthread_mutex_unlock(&db->lock);
        return stop;
}

static void problem(struct sync *s, int error, uint32_t retry_after_ms, const char *sentence) {
        struct dropbox *db = s->db;

        if (g_strcmp0(s->problem, sentence) != 0) {
                db->host->log(db->host, CS_LOG_WARNING, "%s", sentence);
                g_free(s->problem);
                s->problem = g_strdup(sentence);
        }
        list_release(db, error, retry_after_ms, sentence);
}

static void no_problem(struct sync *s) {
        if (s->problem != NULL)
                s->db->host->log(s->db->host, CS_LOG_NOTICE, "Dropbox answers again");
        g_clear_pointer(&s->problem, g_free);
        backoff_reset(&s->backoff);
        condition_refused(s->db, NULL);
}

/* ── calls ──────────────────────────────────────────────────────────────── */

static int ask(struct sync *s, enum call_style style, const char *route, json_object *argument,
               char **ret_body, size_t *ret_length, struct api_fault *fault) {
        struct dropbox *db = s->db;
        uint32_t quiet = dropbox_quiet_ms(db);

        *ret_body = NULL;
        *fault = (struct api_fault){0};
        if (quiet > 0 && style != CALL_NOTIFY && !wait_ms(db, quiet))
                return fault->error = -ECANCELED;
        if (stopped(db))
                return fault->error = -ECANCELED;
        return call_wait(db,
                         &(struct call_request){.style = style, .route = route, .argument = argument,
                                                .tag = db->sync_tag},
                         ret_body, ret_length, fault);
}

static int bad_answer(struct api_fault *fault, const char *route) {
        *fault = (struct api_fault){.error = -EPROTO};
        g_snprintf(fault->sentence, sizeof fault->sentence, "%s: the answer makes no sense", route);
        return -EPROTO;
}

/* ── before the first call ──────────────────────────────────────────────── */

static int find_namespace(struct sync *s, struct api_fault *fault) {
        struct dropbox *db = s->db;
        g_autofree char *body = NULL;
        char *namespace = NULL;
        size_t length;
        int r = 0;

        /* Asked without the old one: a root that is none any more is refused everywhere. */
        pthread_mutex_lock(&db->lock);
        g_clear_pointer(&db->namespace, g_free);
        pthread_mutex_unlock(&db->lock);
        if (g_str_equal(db->settings.path_root, "root")) {
                r = ask(s, CALL_RPC, "users/get_current_account", NULL, &body, &length, fault);
                if (r == 0 && api_account_root_parse(body, length, &namespace) < 0)
                        r = bad_answer(fault, "users/get_current_account");
        } else if (!g_str_equal(db->settings.path_root, "home"))
                namespace = g_strdup(db->settings.path_root);
        if (r < 0)
                return r;
        pthread_mutex_lock(&db->lock);
        db->namespace = namespace;
        pthread_mutex_unlock(&db->lock);
        return 0;
}

/* Dropbox's own idea of lower case: paths are compared with it. */
static int find_root(struct sync *s, struct api_fault *fault) {
        struct dropbox *db = s->db;
        json_object auto_json *argument = json_object_new_object(), *o = NULL;
        g_autofree char *body = NULL;
        struct api_metadata m = {0};
        size_t length;
        int r;

        if (*db->settings.root == '\0')
                return 0;
        json_object_object_add(argument, "path", json_object_new_string(db->settings.root));
        r = ask(s, CALL_RPC, "files/get_metadata", argument, &body, &length, fault);
        if (r == -ENOENT)
                g_snprintf(fault->sentence, sizeof fault->sentence,
                           "the Dropbox has no folder \"%.200s\": make it, or change the root setting",
                           db->settings.root);
        if (r < 0)
                return r;
        o = api_parse(body, length);
        if (o == NULL || api_metadata(o, &m) < 0 || m.path_lower == NULL)
                return bad_answer(fault, "files/get_metadata");
        if (m.kind != API_FOLDER) {
                *fault = (struct api_fault){.error = -ENOTDIR};
                g_snprintf(fault->sentence, sizeof fault->sentence,
                           "\"%.200s\" is no folder: change the root setting", db->settings.root);
                return -ENOTDIR;
        }
        pthread_mutex_lock(&db->lock);
        g_free(db->root_lower);
        db->root_lower = g_strdup(m.path_lower);
        pthread_mutex_unlock(&db->lock);
        return 0;
}

static void begin_listing(struct sync *s) {
        struct index *index = s->db->index;

        if (index_begin(index, 0) < 0)
                return;
        index_set_number(index, "listing", index_get_number(index, "listing") + 1);
        index_set(index, "state", "listing");
        index_set(index, "cursor", "");
        (void)index_commit(index, NULL);
        s->counts = (struct apply_counts){0};
        s->reported = 0;
}

/* Another account, root or filter: nothing of the old index is worth keeping, and every directory
 * that a store may have of it has to be listed again. */
static void check_fingerprint(struct sync *s) {
        struct dropbox *db = s->db;
        g_autofree char *account = auth_account(db->auth), *known = index_get(db->index, "fingerprint");
        g_autofree char *now = g_strdup_printf("%s\n%s\n%s\n%s", db->settings.fingerprint,
                                               account ? account : "", db->namespace ? db->namespace : "",
                                               db->root_lower);

        if (g_strcmp0(known, now) == 0)
                return;
        pthread_mutex_lock(&db->lock);
        db->complete = false;
        pthread_mutex_unlock(&db->lock);
        if (index_begin(db->index, 0) < 0)
                return;
        index_clear(db->index);
        index_set(db->index, "fingerprint", now);
        index_set_number(db->index, "complete", 0);
        index_set_number(db->index, "relist", known != NULL || tell_was_listed(db));
        index_set_number(db->index, "created", g_get_real_time() / G_USEC_PER_SEC);
        (void)index_commit(db->index, NULL);
        begin_listing(s);
}

static void set_prepared(struct dropbox *db, bool prepared) {
        pthread_mutex_lock(&db->lock);
        db->prepared = prepared;
        pthread_mutex_unlock(&db->lock);
}

static int prepare(struct sync *s, struct api_fault *fault) {
        int r;

        set_prepared(s->db, false);
        r = find_namespace(s, fault);

        if (r == 0)
                r = find_root(s, fault);
        if (r < 0)
                return r;
        check_fingerprint(s);
        s->prepared = true;
        s->ask_first = true;
        set_prepared(s->db, true);
        if (is_complete(s->db))
                tell_dirty(s->db); /* what an earlier process could not tell, or nobody could list */
        list_release(s->db, 0, 0, NULL);
        return 0;
}

/* ── pages ──────────────────────────────────────────────────────────────── */

static void tell_left_out(struct sync *s) {
        const struct cs_host *host = s->db->host;
        const struct apply_counts *c = &s->counts;
        uint64_t n = c->malformed + c->unknown + c->unmounted + c->outside + c->too_deep;

        if (n > 0)
                host->log(host, CS_LOG_WARNING,
                          "%" G_GUINT64_FORMAT " entries are not shown: %" G_GUINT64_FORMAT
                          " malformed, %" G_GUINT64_FORMAT " of an unknown kind, %" G_GUINT64_FORMAT
                          " not mounted, %" G_GUINT64_FORMAT " outside of the root, %" G_GUINT64_FORMAT
                          " with too long a path",
                          n, c->malformed, c->unknown, c->unmounted, c->outside, c->too_deep);
        s->counts = (struct apply_counts){0};
}

static void listing_finished(struct sync *s) {
        struct dropbox *db = s->db;

        tell_set_listed(db);
        s->busy_since = 0;
        condition_busy(db, NULL);
        db->host->log(db->host, CS_LOG_NOTICE,
                      "the listing is complete: %" G_GUINT64_FORMAT " files and folders",
                      index_count(db->index));
        pthread_mutex_lock(&db->lock);
        db->complete = true;
        pthread_cond_broadcast(&db->directs_wake);
        pthread_mutex_unlock(&db->lock);
}

/* How far a listing is, for people: at most once a second, and nothing of a short one. */
static void tell_progress(struct sync *s) {
        g_autofree char *text = NULL;
        int64_t now = g_get_monotonic_time();

        if (s->busy_since == 0)
                s->busy_since = now;
        if (now - s->busy_since < G_USEC_PER_SEC)
                return;
        s->busy_since = now;
        text = g_strdup_printf("listing the account: %" G_GUINT64_FORMAT " entries so far", s->counts.entries);
        condition_busy(s->db, text);
}

/* One page and its cursor, in one transaction. */
static int take_page(struct sync *s, const struct api_page *page) {
        struct dropbox *db = s->db;
        g_autofree char *state = index_get(db->index, "state");
        bool listing = g_strcmp0(state, "following") != 0, was_complete = is_complete(db);
        bool finished = listing && !page->has_more;
        GHashTable *changed = NULL;
        int r;

        r = index_begin(db->index, index_get_number(db->index, "listing"));
        if (r < 0)
                return r;
        apply_page(db, db->root_lower, page, &s->counts);
        index_set(db->index, "cursor", page->cursor);
        if (finished) {
                index_remove_unseen(db->index);
                index_set(db->index, "state", "following");
                index_set_number(db->index, "complete", 1);
                if (!was_complete)
                        index_dirty_add(db->index, "");
                if (!was_complete && index_get_number(db->index, "relist") != 0)
                        index_dirty_add_all(db->index);
                index_set_number(db->index, "relist", 0);
        }
        if (was_complete)
                index_dirty_add_changed(db->index);
        r = index_commit(db->index, &changed);
        if (r < 0)
                return r;
        if (finished)
                listing_finished(s);
        else if (listing)
                tell_progress(s);
        if (listing && !finished && s->counts.entries / PROGRESS > s->reported) {
                s->reported = s->counts.entries / PROGRESS;
                db->host->log(db->host, CS_LOG_INFO, "listing: %" G_GUINT64_FORMAT " entries so far",
                              s->counts.entries);
        }
        if (finished && !was_complete)
                tell_dirty(db);
        else if (was_complete)
                tell_changed(db, changed);
        if (!page->has_more)
                tell_left_out(s);
        g_hash_table_unref(changed);
        return 0;
}

static json_object *list_argument(struct dropbox *db) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "path", json_object_new_string(db->settings.root));
        json_object_object_add(o, "recursive", json_object_new_boolean(1));
        json_object_object_add(o, "limit", json_object_new_int(PAGE_LIMIT));
        return o;
}

/* Pages until there are no more. */
static int catch_up(struct sync *s, struct api_fault *fault) {
        struct dropbox *db = s->db;
        bool more = true;
        int r = 0;

        while (more && r == 0) {
                g_autofree char *cursor = index_get(db->index, "cursor"), *body = NULL;
                bool begin = cursor == NULL || *cursor == '\0';
                const char *route = begin ? "files/list_folder" : "files/list_folder/continue";
                json_object auto_json *argument = begin ? list_argument(db) : json_object_new_object();
                struct api_page page = {0};
                size_t length;

                if (!begin)
                        json_object_object_add(argument, "cursor", json_object_new_string(cursor));
                r = ask(s, CALL_RPC, route, argument, &body, &length, fault);
                if (r == 0 && api_page_parse(body, length, &page) < 0)
                        r = bad_answer(fault, route);
                if (r < 0)
                        return r;
                no_problem(s);
                more = page.has_more;
                r = take_page(s, &page);
                api_page_clear(&page);
                if (r < 0) {
                        fault->error = r;
                        g_snprintf(fault->sentence, sizeof fault->sentence,
                                   "the index cannot be written: %s", g_strerror(-r));
                }
        }
        return r;
}

/* ── changes ────────────────────────────────────────────────────────────── */

static int longpoll(struct sync *s, struct api_fault *fault) {
        static const char route[] = "files/list_folder/longpoll";
        struct dropbox *db = s->db;
        g_autofree char *cursor = index_get(db->index, "cursor"), *body = NULL;
        json_object auto_json *argument = json_object_new_object();
        uint32_t backoff_s = 0;
        bool changes = false;
        size_t length;
        int r;

        json_object_object_add(argument, "cursor", json_object_new_string(cursor ? cursor : ""));
        json_object_object_add(argument, "timeout", json_object_new_int((int)db->settings.longpoll_s));
        r = ask(s, CALL_NOTIFY, route, argument, &body, &length, fault);
        if (r == 0 && api_longpoll_parse(body, length, &changes, &backoff_s) < 0)
                r = bad_answer(fault, route);
        if (r < 0)
                return r;
        no_problem(s);
        backoff_reset(&s->resets);
        if (changes)
                r = catch_up(s, fault);
        if (r == 0 && backoff_s > 0)
                (void)wait_ms(db, backoff_s * 1000);
        return r;
}

static int step(struct sync *s, struct api_fault *fault) {
        int r;

        if (!s->prepared)
                return prepare(s, fault);
        if (s->ask_first) {
                r = catch_up(s, fault);
                if (r == 0)
                        s->ask_first = false;
                return r;
        }
        return longpoll(s, fault);
}

static void step_failed(struct sync *s, const struct api_fault *fault) {
        uint32_t ms;

        s->ask_first = true;
        switch (fault->action) {
        case API_ACTION_RESET:
                s->db->host->log(s->db->host, CS_LOG_NOTICE, "Dropbox reset the cursor: listing anew");
                begin_listing(s);
                break;
        case API_ACTION_ROOT:
                s->prepared = false;
                break;
        default:
                if (fault->error == -ENOENT || fault->error == -ENOTDIR)
                        s->prepared = false; /* the root folder went away */
                break;
        }
        if (fault->error == -ECANCELED)
                return;
        ms = backoff_next(fault->action == API_ACTION_RESET ? &s->resets : &s->backoff, g_random_int(),
                          fault->retry_after_ms);
        if (fault->action == API_ACTION_LOGIN) { /* a login is needed: the condition says it */
                if (auth_is_logged_in(s->db->auth))
                        condition_refused(s->db, fault->sentence);
                list_release(s->db, -EACCES, 0, fault->sentence);
        } else if (fault->action != API_ACTION_RESET)
                problem(s, fault->error, fault->retry_after_ms, fault->sentence);
        (void)wait_ms(s->db, ms);
}

static void *run(void *data) {
        struct dropbox *db = data;
        struct sync s = {.db = db, .backoff = {.first_ms = 200, .limit_ms = 30000},
                         .resets = {.first_ms = 100, .limit_ms = 60000}};

        while (!stopped(db)) {
                struct api_fault fault = {0};

                if (!auth_load(db->auth)) {
                        g_autofree char *why = auth_why_not(db->auth);

                        s.prepared = false;
                        condition_report(db);
                        list_release(db, -EACCES, 0, why);
                        (void)wait_ms(db, LOGIN_LOOK_MS);
                        continue;
                }
                condition_report(db);
                if (step(&s, &fault) < 0)
                        step_failed(&s, &fault);
        }
        list_release(db, -ECANCELED, 0, NULL);
        g_free(s.problem);
        return NULL;
}

void sync_login_changed(struct dropbox *db) {
        pthread_mutex_lock(&db->lock);
        db->login_changed = true;
        pthread_cond_signal(&db->wake);
        pthread_mutex_unlock(&db->lock);
}

int sync_start(struct dropbox *db) {
        int r;

        db->sync_tag = http_tag(db->client);
        r = pthread_create(&db->sync_thread, NULL, run, db);
        db->sync_running = r == 0;
        return -r;
}

void sync_stop(struct dropbox *db) {
        if (!db->sync_running)
                return;
        pthread_mutex_lock(&db->lock);
        db->stop = true;
        pthread_cond_signal(&db->wake);
        pthread_mutex_unlock(&db->lock);
        /* Again and again: a request may be submitted after it was cancelled. */
        for (;;) {
                struct timespec until;

                http_cancel(db->client, db->sync_tag);
                http_cancel(db->notify, db->sync_tag);
                auth_cancel(db->auth);
                clock_gettime(CLOCK_REALTIME, &until);
                until.tv_nsec += 50000000;
                if (until.tv_nsec >= 1000000000) {
                        until.tv_sec++;
                        until.tv_nsec -= 1000000000;
                }
                if (pthread_timedjoin_np(db->sync_thread, NULL, &until) == 0)
                        break;
        }
        db->sync_running = false;
}
