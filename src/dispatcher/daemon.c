/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/daemon-main.h"

#include "cloudsync/engine.h"
#include "dispatcher/attached.h"
#include "dispatcher/files.h"
#include "dispatcher/handle.h"
#include "dispatcher/journal.h"
#include "dispatcher/lister.h"
#include "dispatcher/loop.h"
#include "dispatcher/mount-watch.h"
#include "dispatcher/presence.h"
#include "dispatcher/settle.h"
#include "dispatcher/stamp.h"
#include "dispatcher/work.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/module-file.h"
#include "shared/names.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/*
 * daemon — the parts, and the order in which they come and go
 *
 * Start: group → store (mounted out of sight, marked, private mount) → files, lister → the bus
 * (hosts attach over it) → engines from engines.d → watch what is not listed → attach the
 * store at its public path → READY. Nobody can reach the store before every directory that is
 * not listed yet is watched.
 *
 * Stop: engines go, everything that waits is denied (EIO); the store is detached, so that
 * no new access begins; accesses by descriptors that are still open are denied as long
 * as there are any; only then is the group closed. The kernel allows what waits when a
 * group closes, so that order is what keeps zeros from readers.
 */

#define EVENTS_PER_READ 64
/* Of the descriptors, what is not for accesses and files: engines, jobs, directories, the bus. */
#define DESCRIPTORS_KEPT 1024u

enum daemon_phase { DAEMON_STARTING, DAEMON_RUNNING, DAEMON_STOPPING };

struct Daemon {
        Config *config;
        GMainLoop *loop;
        enum daemon_phase phase;
        int status;
        FanGroup *group;
        Journal *journal;
        bool takeover, replaced, stored;
        Store *store;
        Files *files;
        Lister *lister;
        Bus *bus;
        GHashTable *engines; /* id → Engine, owned */
        struct engine_options engine_options;
        struct files_options files_options;
        struct lister_options lister_options;
        MountWatch *mount_watch;
        guint events, resume_timer, watchdog, stop_timer;
        unsigned stop_polls;
        unsigned max_pending;
        bool attached;
};

const Config *daemon_config(const Daemon *d) {
        return d->config;
}

bool daemon_is_stored(const Daemon *d) {
        return d->stored;
}

const Store *daemon_store(const Daemon *d) {
        return d->store;
}

/* ── events ─────────────────────────────────────────────────────────────── */

static void daemon_watch_events(Daemon *d);
static void daemon_take_events(Daemon *d, struct fan_event *events, size_t n);

static gboolean events_again(gpointer userdata) {
        Daemon *d = userdata;
        struct request_counters counters;

        request_counters(&counters);
        /* Not far below the limit: those of an engine that hangs may stay for a minute. */
        if (counters.pending >= d->max_pending - d->max_pending / 8)
                return G_SOURCE_CONTINUE;
        d->resume_timer = 0;
        daemon_watch_events(d);
        return G_SOURCE_REMOVE;
}

static gboolean events_ready(int fd, GIOCondition condition, gpointer userdata) {
        Daemon *d = userdata;
        struct fan_event events[EVENTS_PER_READ];
        struct request_counters counters;
        unsigned lost = 0;
        int n;

        request_counters(&counters);
        if (counters.pending >= d->max_pending) {
                /* Backpressure: the rest waits in the kernel's queue. All engines' readers are in it, so
                 * the limit is as high as descriptors allow: what waits for an engine that hangs must
                 * not keep the others out. */
                d->events = 0;
                d->resume_timer = g_timeout_add(1, events_again, d);
                return G_SOURCE_REMOVE;
        }
        n = fan_group_read(d->group, events, EVENTS_PER_READ, &lost);
        if (n < 0) {
                log_error("the fanotify group is broken: %s", strerror(-n));
                d->status = 1;
                daemon_stop(d);
                d->events = 0;
                return G_SOURCE_REMOVE;
        }
        if (lost > 0)
                log_warning("%u accesses were denied because their file could not be opened", lost);
        daemon_take_events(d, events, (size_t)n);
        return G_SOURCE_CONTINUE;
}

/* An access takes a descriptor, and its file perhaps another. An event for which none is left
 * would be denied by the kernel. */
static unsigned descriptors_for_accesses(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < 2 * DESCRIPTORS_KEPT)
                return EVENTS_PER_READ;
        return (unsigned)MIN((limit.rlim_cur - DESCRIPTORS_KEPT) / 2, PENDING_MAX);
}

static void daemon_watch_events(Daemon *d) {
        d->events = loop_watch(fan_group_fd(d->group), G_IO_IN, events_ready, d);
}

/* ── engines ────────────────────────────────────────────────────────────── */

Engine *daemon_engine(const Daemon *d, const char *id) {
        return g_hash_table_lookup(d->engines, id);
}

static int engine_compare(gconstpointer a, gconstpointer b) {
        return strcmp(engine_id(a), engine_id(b));
}

GList *daemon_engines(const Daemon *d) {
        return g_list_sort(g_hash_table_get_values(d->engines), engine_compare);
}

static Engine *engine_by_id(void *userdata, const char *id) {
        return daemon_engine(userdata, id);
}

static void engine_did_change(void *userdata, Engine *engine) {
        bus_engine_changed(((Daemon *)userdata)->bus, engine);
}

static void engine_remote_changed(void *userdata, Engine *engine, const char *locator) {
        lister_changed(((Daemon *)userdata)->lister, engine, locator);
}

static void engine_logged_in(void *userdata, Engine *engine) {
        lister_logged_in(((Daemon *)userdata)->lister, engine);
}

static const struct engine_callbacks engine_callbacks = {
        .changed = engine_did_change,
        .remote_changed = engine_remote_changed,
        .logged_in = engine_logged_in,
};

static int daemon_check_prefix(const Daemon *d, const Registration *r, Failure *failure) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, d->engines);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Registration *other = engine_registration(value);
                const char *rest;

                if (strcmp(other->id, r->id) == 0)
                        return failure_set(failure, -EEXIST, "IdInUse",
                                           "An engine with the id \"%s\" is registered already.", r->id);
                if (name_has_prefix(other->prefix, r->prefix, &rest) ||
                    name_has_prefix(r->prefix, other->prefix, &rest))
                        return failure_set(failure, -EEXIST, "PrefixInUse",
                                           "The prefix \"%s\" overlaps \"%s\", which belongs to the "
                                           "engine \"%s\".", r->prefix, other->prefix, other->id);
        }
        return 0;
}

static int daemon_check_module(const Daemon *d, const char *module, Failure *failure) {
        g_autofree char *path = NULL;
        const char *reason = NULL;
        int r;

        r = module_file_check(d->config->module_dir, module, &path, &reason);
        if (r == -ENOENT)
                return failure_set(failure, r, "NoSuchModule", "There is no module \"%s\" in %s.", module,
                                   d->config->module_dir);
        if (r < 0)
                return failure_set(failure, r, "InvalidModule", "The module \"%s\" is refused: %s.", module,
                                   reason ? reason : strerror(-r));
        return 0;
}

/* One that nobody started yet. Takes nothing. */
static Engine *daemon_make_engine(Daemon *d, const Registration *registration) {
        Registration *copy = registration_new(registration->id, registration->module, registration->prefix);
        GHashTableIter iter;
        gpointer key, value;
        Engine *engine;

        copy->hydration = registration->hydration;
        copy->refresh_s = registration->refresh_s;
        g_hash_table_iter_init(&iter, registration->settings);
        while (g_hash_table_iter_next(&iter, &key, &value))
                g_hash_table_insert(copy->settings, g_strdup(key), g_strdup(value));

        engine = engine_new(copy, &d->engine_options, &engine_callbacks, d);
        g_hash_table_insert(d->engines, (char *)engine_id(engine), engine);
        return engine;
}

/* Gives it its directory. On failure it is gone. */
static int daemon_adopt_engine(Daemon *d, Engine *engine, Failure *failure) {
        int r = lister_add_engine(d->lister, engine, failure);

        if (r < 0) {
                g_hash_table_steal(d->engines, engine_id(engine));
                engine_free(engine);
        }
        return r;
}

/* Makes the engine live. Takes nothing. */
static int daemon_start_engine(Daemon *d, const Registration *registration, Engine **ret,
                               Failure *failure) {
        Engine *engine = daemon_make_engine(d, registration);
        int r = daemon_adopt_engine(d, engine, failure);

        if (r < 0)
                return r;
        engine_start(engine);
        *ret = engine;
        return 0;
}

int daemon_register(Daemon *d, const Registration *registration, Engine **ret, Failure *failure) {
        int r;

        if (d->phase != DAEMON_RUNNING)
                return failure_set(failure, -EBUSY, "Busy", "The service is starting or stopping.");
        r = registration_check(registration, failure);
        if (r >= 0)
                r = daemon_check_prefix(d, registration, failure);
        if (r >= 0 && g_hash_table_size(d->engines) >= REGISTRATION_MAX)
                r = failure_set(failure, -EMFILE, "TooManyEngines", "There are %u engines already.",
                                REGISTRATION_MAX);
        if (r >= 0)
                r = daemon_check_module(d, registration->module, failure);
        /* Written down first: what is started and then forgotten would leave files without an engine. */
        if (r >= 0)
                r = registration_save(d->config->engines_dir, registration, failure);
        if (r < 0)
                return r;
        r = daemon_start_engine(d, registration, ret, failure);
        if (r < 0) {
                (void)registration_remove(d->config->engines_dir, registration->id);
                return r;
        }
        log_about(LOG_NOTICE, registration->id, NULL, "registered: module %s for \"%s\"",
                  registration->module, registration->prefix);
        bus_engine_added(d->bus, *ret);
        return 0;
}

int daemon_unregister(Daemon *d, const char *id, Failure *failure) {
        Engine *engine = daemon_engine(d, id);
        g_autofree char *copy = g_strdup(id);
        int r;

        if (!engine)
                return failure_set(failure, -ENOENT, "NoSuchEngine", "No engine \"%s\" is registered.", id);
        r = registration_remove(d->config->engines_dir, id);
        if (r < 0 && r != -ENOENT)
                return failure_set(failure, r, "SaveFailed", "The registration of \"%s\" cannot be removed: %s.",
                                   id, strerror(-r));
        g_hash_table_steal(d->engines, copy);
        engine_free(engine);
        log_about(LOG_NOTICE, copy, NULL, "unregistered");
        bus_engine_removed(d->bus, copy);
        return 0;
}

int daemon_attach(Daemon *d, const char *id, uint32_t abi, uid_t uid, pid_t pid, int *ret_channel,
                  Failure *failure) {
        Engine *engine = daemon_engine(d, id);

        if (!engine)
                return failure_set(failure, -ENOENT, "NoSuchEngine", "No engine \"%s\" is registered.", id);
        if (abi != CLOUDSYNC_ENGINE_ABI)
                return failure_set(failure, -EPROTO, "AbiMismatch",
                                   "This daemon speaks engine ABI %u, not %u.", CLOUDSYNC_ENGINE_ABI, abi);
        return engine_attach(engine, uid, pid, ret_channel, failure);
}

/* ── what people ask ────────────────────────────────────────────────────── */

struct call {
        Daemon *daemon;
        daemon_done_fn done;
        void *userdata;
};

/* A request's end becomes the named error of the interface. */
static void call_done(void *userdata, int r, const char *detail) {
        struct call *call = userdata;
        g_auto(Failure) failure = FAILURE_INIT;

        if (r == -EAGAIN || r == -EBUSY)
                failure_set(&failure, r, "Busy", "Too much is under way%s%s.", *detail ? ": " : "", detail);
        else if (r == -ENOTDIR || r == -ENODATA)
                failure_set(&failure, r, "NotAPlaceholder", "It is not managed by an engine.");
        else if (r < 0)
                failure_set(&failure, r, "HydrationFailed", "%s.", *detail ? detail : strerror(-r));
        call->done(call->userdata, r, r < 0 ? &failure : NULL);
        g_free(call);
}

static struct call *call_new(Daemon *d, daemon_done_fn done, void *userdata) {
        struct call *call = g_new(struct call, 1);

        *call = (struct call){.daemon = d, .done = done, .userdata = userdata};
        return call;
}

void daemon_hydrate(Daemon *d, int fd, uid_t uid, daemon_done_fn done, void *userdata) {
        files_hydrate(d->files, request_new_call(call_done, call_new(d, done, userdata), uid), fd);
}

void daemon_refresh(Daemon *d, int fd, bool recursive, daemon_done_fn done, void *userdata) {
        lister_refresh(d->lister, request_new_call(call_done, call_new(d, done, userdata), 0), fd, recursive);
}

/* ── logins ─────────────────────────────────────────────────────────────── */

struct login {
        char *id, *module;
        daemon_login_fn done;
        void *userdata;
};

static void login_end(void *userdata, int r, const char *detail) {
        struct login *login = userdata;
        g_auto(Failure) failure = FAILURE_INIT;

        if (r == -EOPNOTSUPP)
                failure_set(&failure, r, "NotSupported", "The module \"%s\" of the engine \"%s\" has no login.",
                            login->module, login->id);
        else if (r < 0)
                failure_set(&failure, r, "LoginFailed", "%s.", detail && *detail ? detail : strerror(-r));
        login->done(login->userdata, r, detail, r < 0 ? &failure : NULL);
        g_free(login->id);
        g_free(login->module);
        g_free(login);
}

int daemon_login(Daemon *d, const char *id, enum cs_login_step step, const char *text, daemon_login_fn done,
                 void *userdata, Failure *failure) {
        Engine *engine = daemon_engine(d, id);
        struct login *login;

        if (!engine)
                return failure_set(failure, -ENOENT, "NoSuchEngine", "No engine \"%s\" is registered.", id);
        if (engine_state_of(engine) == ENGINE_FAILED) {
                struct engine_info info;
                engine_info(engine, &info);
                return failure_set(failure, -EIO, "EngineFailed", "The engine \"%s\" has failed: %s.", id,
                                   info.detail);
        }
        login = g_new0(struct login, 1);
        *login = (struct login){.id = g_strdup(id),
                                .module = g_strdup(engine_registration(engine)->module),
                                .done = done,
                                .userdata = userdata};
        if (engine_login(engine, step, text, login_end, login))
                return 0;
        g_free(login->id);
        g_free(login->module);
        g_free(login);
        return failure_set(failure, -EBUSY, "Busy", "A login of the engine \"%s\" is under way.", id);
}

static uint64_t bytes_present(int fd, uint64_t size) {
        uint64_t present = 0;
        off_t at = 0;

        /* Bounded: this is the main loop, and a file may be in a million pieces. */
        for (unsigned i = 0; i < 4096 && (uint64_t)at < size; i++) {
                off_t data = lseek(fd, at, SEEK_DATA), hole;
                if (data < 0)
                        break;
                hole = lseek(fd, data, SEEK_HOLE);
                if (hole < 0)
                        break;
                present += MIN((uint64_t)hole, size) - MIN((uint64_t)data, size);
                at = hole;
        }
        return present;
}

int daemon_file_status(Daemon *d, int fd, struct file_status *ret) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        int r;

        *ret = (struct file_status){.kind = '?', .state = "not-managed"};
        if (fstat(fd, &st) < 0)
                return -errno;
        ret->kind = S_ISREG(st.st_mode) ? 'f' : S_ISDIR(st.st_mode) ? 'd' : '?';
        if (ret->kind == '?')
                return 0;
        ret->size = ret->kind == 'f' ? (uint64_t)st.st_size : 0;
        {
                /* xattrs cannot be read by an O_PATH descriptor */
                autoclose int own = store_reopen(d->store, fd, O_RDONLY | O_NONBLOCK);
                if (own < 0)
                        return own;
                r = stamp_read(own, st.st_ino, &stamp);
                if (r == -ENODATA || r == -EOPNOTSUPP) {
                        ret->present = ret->size;
                        return 0;
                }
                if (r < 0)
                        return r;
                if (ret->kind == 'f')
                        ret->present = stamp.state == STAMP_WHOLE ? ret->size : bytes_present(own, ret->size);
        }
        g_strlcpy(ret->engine, stamp.engine, sizeof ret->engine);
        g_strlcpy(ret->version, stamp.version, sizeof ret->version);
        switch (stamp.state) {
        case STAMP_UNLISTED:
                ret->state = "unlisted";
                break;
        case STAMP_LISTED:
                ret->state = "listed";
                break;
        default:
                ret->modified = !stamp_is_unmodified(&stamp, &st);
                if (ret->modified)
                        ret->state = "local";
                else if (stamp.state == STAMP_WHOLE || ret->present >= ret->size)
                        ret->state = "hydrated";
                else
                        ret->state = ret->present > 0 ? "partial" : "placeholder";
        }
        stamp_clear(&stamp);
        return 0;
}

void daemon_transfers(Daemon *d, daemon_transfer_fn each, void *userdata) {
        if (d->files)
                files_transfers(d->files, each, userdata);
}

void daemon_counters(const Daemon *d, struct daemon_counters *ret) {
        struct request_counters counters;

        request_counters(&counters);
        *ret = (struct daemon_counters){
                .events_pending = counters.pending,
                .events_answered = counters.answered,
                .events_denied = counters.denied,
                .files_hydrated = d->files ? files_hydrated(d->files) : 0,
                .bytes_fetched = d->files ? files_bytes(d->files) : 0,
        };
}

static void tell_started(void *userdata, uint64_t id, const char *engine, uint64_t total) {
        bus_transfer_started(((Daemon *)userdata)->bus, id, engine, total);
}

static void tell_progress(void *userdata, uint64_t id, uint64_t done, uint64_t total) {
        bus_transfer_progress(((Daemon *)userdata)->bus, id, done, total);
}

static void tell_finished(void *userdata, uint64_t id, uint64_t done, const char *error) {
        bus_transfer_finished(((Daemon *)userdata)->bus, id, done, error);
}

/* ── start ──────────────────────────────────────────────────────────────── */

static void daemon_load_engines(Daemon *d) {
        g_autoptr(GPtrArray) all = NULL;
        int r = registration_load_all(d->config->engines_dir, &all);

        if (r < 0) {
                log_error("%s cannot be read: %s", d->config->engines_dir, strerror(-r));
                return;
        }
        for (guint i = 0; i < all->len; i++) {
                g_auto(Failure) failure = FAILURE_INIT;
                const Registration *registration = all->pdata[i];

                if (daemon_check_prefix(d, registration, &failure) < 0)
                        log_about(LOG_ERR, registration->id, NULL, "not started: %s", failure.text);
                else
                        (void)daemon_make_engine(d, registration);
        }
}

static void daemon_start_engines(Daemon *d) {
        g_autoptr(GList) all = daemon_engines(d);

        for (GList *item = all; item; item = item->next)
                engine_start(item->data);
}

static void daemon_adopt_engines(Daemon *d) {
        g_autoptr(GList) all = daemon_engines(d);

        for (GList *item = all; item; item = item->next) {
                g_auto(Failure) failure = FAILURE_INIT;
                g_autofree char *id = g_strdup(engine_id(item->data));

                if (daemon_adopt_engine(d, item->data, &failure) < 0)
                        log_about(LOG_ERR, id, NULL, "not started: %s", failure.text);
        }
}

static gboolean daemon_watchdog(gpointer userdata) {
        (void)sd_notify(0, "WATCHDOG=1");
        return G_SOURCE_CONTINUE;
}

static void daemon_fail(Daemon *d, const char *what, const char *why) {
        log_error("%s%s%s", what, why ? ": " : "", why ? why : "");
        d->status = 1;
        daemon_stop(d);
}

static char *daemon_attached_file(const Daemon *d) {
        return g_build_filename(d->config->state_dir, "attached", NULL);
}

static void daemon_note_in_journal(Daemon *d) {
        g_autofree struct journal_store *store = g_new0(struct journal_store, 1);

        store->files = store_device_number(d->store);
        store->superblock = store_superblock(d->store);
        g_strlcpy(store->path, store_path(d->store), sizeof store->path);
        g_strlcpy(store->device, d->config->device ? d->config->device : "", sizeof store->device);
        journal_set_store(d->journal, store);
}

/* Before the store can be reached: for whoever has to take it away when we cannot (attached.h). */
static void daemon_note_store(Daemon *d) {
        g_autofree char *file = daemon_attached_file(d);
        struct attached attached = {.files = store_device_number(d->store)};
        int r;

        g_strlcpy(attached.path, store_path(d->store), sizeof attached.path);
        daemon_note_in_journal(d);
        journal_set_serving(d->journal, true);
        r = g_mkdir_with_parents(d->config->state_dir, 0711) < 0 ? -errno : attached_write(file, &attached);
        if (r < 0)
                log_warning("%s cannot be written (%s): after a crash of the service, with no start behind it, the "
                            "store would stay mounted", file, strerror(-r));
}

/* Everything that is not listed is watched: let people in. */
static void daemon_attach_store(void *userdata, int r) {
        Daemon *d = userdata;
        g_auto(Failure) failure = FAILURE_INIT;
        uint64_t watchdog_us;

        if (d->phase != DAEMON_STARTING) {
                if (r < 0)
                        log_error("the store's directories cannot be read: %s", strerror(-r));
                return;
        }
        if (r < 0) {
                daemon_fail(d, "the store's directories cannot be read", strerror(-r));
                return;
        }
        daemon_note_store(d);
        if (store_has_device(d->store)) {
                if (store_attach(d->store, &failure) < 0) {
                        daemon_fail(d, failure.text, NULL);
                        return;
                }
                d->attached = true;
                daemon_note_in_journal(d); /* its superblock's number is known now */
        }
        d->phase = DAEMON_RUNNING;
        d->mount_watch = mount_watch_new(d->store);
        if (sd_watchdog_enabled(0, &watchdog_us) > 0) {
                /* At once, too: the service manager counts from the last worker's. */
                daemon_watchdog(d);
                d->watchdog = g_timeout_add((guint)(watchdog_us / 2000), daemon_watchdog, d);
        }
        log_notice("serving %s (%s), %u engines", store_path(d->store), store_filesystem(d->store),
                   g_hash_table_size(d->engines));
        (void)sd_notifyf(0, "READY=1\nSTATUS=Serving %s", store_path(d->store));
}

/* ── after a crash ──────────────────────────────────────────────────────── */

struct waiting {
        Daemon *daemon;
        GArray *events; /* of fan_event */
};

/* What waited when the last worker was killed. Where its descriptor is lost, its number is held
 * by something else, and the file is opened again under it. */
static void waiting_add(void *userdata, int number, const struct journal_entry *entry) {
        struct waiting *w = userdata;
        struct fan_event event = {.kind = entry->kind,
                                  .fd = number,
                                  .tid = entry->tid,
                                  .offset = entry->offset,
                                  .count = entry->count};
        autoclose int fd = -1;
        struct stat st;

        if (fstat(number, &st) == 0 && st.st_dev == store_device_number(w->daemon->store) &&
            (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
                g_array_append_val(w->events, event);
                return;
        }
        fd = entry->has_handle ? handle_open(store_root(w->daemon->store), &entry->handle,
                                             O_RDONLY | O_NONBLOCK)
                               : -ESTALE;
        if (fd >= 0 && dup3(fd, number, O_CLOEXEC) >= 0) {
                g_array_append_val(w->events, event);
                return;
        }
        log_warning("an access that waited over the crash is denied: its file cannot be told any more");
        request_answer_event(w->daemon->group, &event, -EIO);
}

static void daemon_take_events(Daemon *d, struct fan_event *events, size_t n) {
        for (size_t i = 0; i < n; i++) {
                Request *request = request_new_event(d->group, &events[i]);
                if (events[i].kind == FAN_KIND_READDIR)
                        lister_event(d->lister, request);
                else
                        files_event(d->files, request);
        }
}

static void daemon_take_over(Daemon *d) {
        struct waiting w = {.daemon = d, .events = g_array_new(FALSE, FALSE, sizeof(struct fan_event))};

        settle_recover(d->group, d->store);
        journal_each(d->journal, waiting_add, &w);
        if (d->replaced)
                log_notice("taking over from the program before: %u accesses wait", w.events->len);
        else
                log_notice("taking over from a worker that was killed: %u accesses wait", w.events->len);
        daemon_take_events(d, (struct fan_event *)w.events->data, w.events->len);
        g_array_unref(w.events);
}

static void daemon_set_options(Daemon *d) {
        const Config *config = d->config;

        d->engine_options = (struct engine_options){
                .host_path = config->host_path,
                .module_dir = config->module_dir,
                .bus_address = config->bus,
                .state_dir = config->state_dir,
                .user = config->engine_user,
                .store_path = config->path,
                .max_fetches = config->max_transfers,
                .deadline_s = config->deadline_s,
                .supervised = true,
        };
        d->files_options = (struct files_options){
                .group = d->group,
                .config = config,
                .engine = engine_by_id,
                .transfer_started = tell_started,
                .transfer_progress = tell_progress,
                .transfer_finished = tell_finished,
                .userdata = d,
        };
        d->lister_options = (struct lister_options){
                .group = d->group,
                .engine = engine_by_id,
                .userdata = d,
        };
}

static int daemon_open_store(Daemon *d, Failure *failure) {
        const Config *config = d->config;
        struct journal_store *was = g_new0(struct journal_store, 1);
        struct store_options options = {.path = config->path,
                                        .device = config->device,
                                        .filesystem = config->filesystem,
                                        .hsmid = config->hsmid,
                                        .lock_dir = config->state_dir};
        int r;

        if (d->takeover && journal_is_serving(d->journal) && journal_store(d->journal, was))
                options.attached = was->files;
        g_free(was);
        r = store_open(&options, d->group, &d->store, failure);
        if (r < 0)
                return r;
        if (store_was_attached(d->store))
                daemon_note_store(d);
        if (store_guard(d->store) == STORE_GUARD_BLIND)
                log_error("the guard in the kernel does not see that %s is served, and refuses what is "
                          "not here: load the guard of this version (cloudsync-guard load)",
                          store_path(d->store));
        if (config->hsmid && !store_has_hsmid(d->store) && !d->takeover)
                log_info("this kernel has no hsmid mount option (%s): the store is kept closed by other means",
                         config->hsmid);
        if (store_staging(d->store) < 0)
                log_error("%s cannot be written to: no directory can be made in it until the service is restarted",
                          store_path(d->store));
        d->engine_options.granule = store_granule(d->store);
        d->files_options.store = d->lister_options.store = d->store;
        d->files = files_new(&d->files_options);
        d->lister_options.files = d->files;
        d->lister = lister_new(&d->lister_options);
        return 0;
}

/* Of a first start: people are not let in before all is there. */
static int daemon_start(Daemon *d, Failure *failure) {
        int r = daemon_open_store(d, failure);

        if (r >= 0)
                r = bus_open(d, d->config->bus, &d->bus, failure);
        if (r < 0)
                return r;
        daemon_load_engines(d);
        daemon_adopt_engines(d);
        daemon_start_engines(d);
        return 0;
}

static void deny_number(void *userdata, int number, const struct journal_entry *entry) {
        struct fan_event event = {.fd = number};

        (void)fan_group_answer(((Daemon *)userdata)->group, &event, -EIO);
}

/* The store's disk is dead, as it seems, and there is no taking over before it lives: nobody is to wait
 * for that. (What comes next is denied by the next try.) */
static void daemon_deny_waiting(Daemon *d) {
        struct fan_event events[EVENTS_PER_READ];
        unsigned lost = 0;
        int n;

        journal_each(d->journal, deny_number, d);
        while ((n = fan_group_read(d->group, events, EVENTS_PER_READ, &lost)) > 0)
                for (int i = 0; i < n; i++)
                        (void)fan_group_answer(d->group, &events[i], -EIO);
}

static bool disk_is_dead(int r) {
        return r == -EIO || r == -EUCLEAN || r == -ENODEV || r == -ENXIO || r == -ESHUTDOWN;
}

/* People wait. Hosts take the longest to come up, so they come first, and the bus last. Directories
 * that are not listed are watched still, by the same group: people go on at once, and the walk
 * that finds them comes behind. (Unless the last worker was killed before it had watched them
 * all: then they were not let in yet.) */
static int daemon_start_again(Daemon *d, Failure *failure) {
        int r;

        daemon_load_engines(d);
        daemon_start_engines(d);
        r = daemon_open_store(d, failure);
        if (disk_is_dead(r))
                daemon_deny_waiting(d);
        if (r < 0)
                return r;
        d->bus = bus_open_later(d, d->config->bus);
        daemon_adopt_engines(d);
        daemon_take_over(d);
        if (store_was_attached(d->store))
                daemon_attach_store(d, 0);
        return 0;
}

int daemon_new(Config *config, GMainLoop *loop, const struct supervised *given, Daemon **ret,
               Failure *failure) {
        Daemon *d = g_new0(Daemon, 1);
        int r;

        d->config = config;
        d->loop = loop;
        d->engines = g_hash_table_new(g_str_hash, g_str_equal);
        *ret = d;

        d->takeover = given->takeover;
        d->replaced = given->replaced;
        d->stored = given->stored;
        d->max_pending = MIN(config->max_pending, descriptors_for_accesses());
        r = given->group < 0 ? given->group : journal_open(given->journal, &d->journal);
        if (r < 0)
                return failure_set(failure, r, "Kernel", r == -EPERM || r == -EACCES
                                           ? "cloudsyncd must be run as root (CAP_SYS_ADMIN): %s"
                                           : "this kernel has no fanotify pre-content events (Linux 6.14 "
                                             "or later is needed): %s", strerror(-r));
        d->group = fan_group_adopt(given->group, d->journal);
        daemon_set_options(d);
        r = d->takeover ? daemon_start_again(d, failure) : daemon_start(d, failure);
        if (r < 0)
                return r;
        daemon_watch_events(d);
        lister_resume(d->lister, daemon_attach_store, d);
        return 0;
}

/* ── stop ───────────────────────────────────────────────────────────────── */

/* Still in use: denied from now on, and asked again until nobody is left. */
static gboolean daemon_stop_poll(gpointer userdata) {
        Daemon *d = userdata;
        unsigned polls = d->stop_polls++;

        /* A service manager that lost its patience would kill us, and the group with us. */
        if (polls % 60 == 0)
                (void)sd_notify(0, "EXTEND_TIMEOUT_USEC=30000000");
        if (work_pending() > 0 || files_busy(d->files) > 0)
                return G_SOURCE_CONTINUE;
        /* Asking reads all of /proc: often at first, then four times a second. */
        if (polls > 50 && polls % 12 != 0)
                return G_SOURCE_CONTINUE;
        if (store_busy(d->store)) {
                if (polls == 20 || polls % 1500 == 0)
                        log_warning("waiting: programs still use %s (an open file, a working directory or "
                                    "another mount); their reads of files that are not here fail with EIO",
                                    store_path(d->store));
                if (polls % 60 == 0)
                        (void)sd_notify(0, "STATUS=Waiting for programs that still use the store");
                return G_SOURCE_CONTINUE;
        }
        d->stop_timer = 0;
        g_main_loop_quit(d->loop);
        return G_SOURCE_REMOVE;
}

static void daemon_end_engines(Daemon *d) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, d->engines);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                g_hash_table_iter_steal(&iter);
                engine_free(value);
        }
}

static void daemon_forget_store(Daemon *d) {
        g_autofree char *file = daemon_attached_file(d);

        (void)attached_forget(file);
}

void daemon_stop(Daemon *d) {
        if (d->phase == DAEMON_STOPPING)
                return;
        log_info("stopping");
        d->phase = DAEMON_STOPPING;
        g_clear_pointer(&d->mount_watch, mount_watch_free);
        (void)sd_notify(0, "STOPPING=1\nSTATUS=Stopping");
        if (d->lister)
                lister_deny_all(d->lister);
        if (d->files)
                files_deny_all(d->files);
        daemon_end_engines(d);
        if (d->attached) {
                if (store_detach(d->store) == 0)
                        daemon_forget_store(d);
        } else if (d->store && !store_has_device(d->store)) {
                /* Nothing but this daemon keeps its placeholders from reading as zeros. */
                log_notice("unmounting %s: without the service its files cannot be served",
                           store_path(d->store));
                (void)umount2(store_path(d->store), MNT_DETACH | UMOUNT_NOFOLLOW);
                daemon_forget_store(d);
        }
        d->stop_timer = g_timeout_add(20, daemon_stop_poll, d);
}

int daemon_free(Daemon *d) {
        int status;

        if (!d)
                return 0;
        bus_close(g_steal_pointer(&d->bus));
        daemon_end_engines(d);
        if (d->lister) {
                lister_deny_all(d->lister);
                files_deny_all(d->files);
        }
        work_stop(); /* what that began is ended, and nothing more is */
        lister_free(d->lister);
        files_free(d->files);
        if (d->events)
                g_source_remove(d->events);
        if (d->resume_timer)
                g_source_remove(d->resume_timer);
        mount_watch_free(d->mount_watch);
        if (d->watchdog)
                g_source_remove(d->watchdog);
        if (d->stop_timer)
                g_source_remove(d->stop_timer);
        store_close(d->store);
        fan_group_free(d->group);
        /* Not if it could not be taken over: then accesses may wait for the next worker. */
        if (d->journal && !(d->takeover && d->phase == DAEMON_STARTING))
                journal_set_serving(d->journal, false);
        journal_close(d->journal);
        g_hash_table_unref(d->engines);
        status = d->status;
        g_free(d);
        return status;
}
