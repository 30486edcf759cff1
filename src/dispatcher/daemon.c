/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/daemon-internal.h"

#include "dispatcher/store/attached.h"
#include "dispatcher/store/handle.h"
#include "dispatcher/store/superblock.h"
#include "dispatcher/loop.h"
#include "dispatcher/manager.h"
#include "dispatcher/notify.h"
#include "dispatcher/files/settle.h"
#include "dispatcher/work.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/*
 * daemon — the parts, and the order in which they come and go
 *
 * Start: group → store (mounted out of sight, marked, private mount) → files, lister → the bus
 * → engines from engines.d, their hosts → watch what is not listed → attach the store at its
 * public path → READY. Nobody can reach the store before every directory that is not listed
 * yet is watched. After a crash people are in the store already, and wait: then hosts come first, the
 * accesses next, the bus and the walk behind them.
 *
 * Stop (daemon-stop.c): engines go, everything that waits is denied (EIO); the store is detached, so that
 * no new access begins; accesses by descriptors that are still open are denied as long
 * as there are any; only then is the group closed. The kernel allows what waits when a
 * group closes, so that order is what keeps zeros from readers.
 */

#define EVENTS_PER_READ 64
/* Of the descriptors, what is not for accesses and files: engines, jobs, directories, the bus. */
#define DESCRIPTORS_KEPT 1024u
/* How long the service manager hears of readiness later than it could, when the bus does not answer. */
#define READY_POLL_MS 5u
#define READY_POLLS 400u

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
/* ── what the bus is told ───────────────────────────────────────────────── */

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

static gboolean daemon_watchdog(gpointer userdata) {
        notify_alive("WATCHDOG=1");
        return G_SOURCE_CONTINUE;
}

static void daemon_fail(Daemon *d, const char *what, const char *why) {
        log_error("%s%s%s", what, why ? ": " : "", why ? why : "");
        d->status = 1;
        daemon_stop(d);
}

static void daemon_note_in_journal(Daemon *d) {
        g_autofree struct journal_store *store = g_new0(struct journal_store, 1);

        store->files = store_device_number(d->store);
        store->superblock = store_superblock(d->store);
        store->limit_s = d->config->shutdown_limit_s;
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

/* ── the fd store ───────────────────────────────────────────────────────── */

struct stored {
        Daemon *daemon;
        int count;
};

static void stored_run(void *data) {
        struct stored *s = data;

        s->count = manager_count_stored(getpid());
}

static void stored_done(void *data) {
        struct stored *s = data;

        if (s->count == 0) {
                log_warning("the service manager keeps none of our descriptors (FileDescriptorStoreMax=): if all of "
                            "cloudsyncd is killed, what waits is not held back");
                s->daemon->stored = false;
        }
        g_free(s);
}

/* A service manager takes what it is given without a word, and drops it where a unit may not store any. */
static void daemon_check_stored(Daemon *d) {
        struct stored *s;

        if (!d->stored)
                return;
        s = g_new0(struct stored, 1);
        s->daemon = d;
        work_run(stored_run, stored_done, s);
}

/* Programs that were started because we are ready want to find us on the bus. One that hangs is not waited
 * for. */
static gboolean daemon_tell_ready(gpointer userdata) {
        Daemon *d = userdata;

        if (d->phase == DAEMON_RUNNING && !bus_is_ready(d->bus) && d->ready_polls++ < READY_POLLS)
                return G_SOURCE_CONTINUE;
        d->ready_timer = 0;
        if (d->phase == DAEMON_RUNNING) {
                notify("READY=1\nSTATUS=Serving %s", store_path(d->store));
                daemon_check_stored(d);
        }
        return G_SOURCE_REMOVE;
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
        if (daemon_tell_ready(d)) /* not yet: after a take-over the bus comes last */
                d->ready_timer = g_timeout_add(READY_POLL_MS, daemon_tell_ready, d);
}
/* ── after a crash ──────────────────────────────────────────────────────── */

struct waiting {
        Daemon *daemon;
        GArray *events; /* of fan_event */
};

/* A handle means the file that waits on its own file system alone: in a copy of the image it is another. */
static bool is_served_still(const Daemon *d) {
        return d->served == 0 || d->served == store_device_number(d->store);
}

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
        fd = entry->has_handle && is_served_still(w->daemon) ? handle_open(store_root(w->daemon->store), &entry->handle,
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
                .engine = daemon_engine_by_id,
                .transfer_started = tell_started,
                .transfer_progress = tell_progress,
                .transfer_finished = tell_finished,
                .userdata = d,
        };
        d->lister_options = (struct lister_options){
                .group = d->group,
                .engine = daemon_engine_by_id,
                .userdata = d,
        };
}

/* The store that is attached is ours to serve, whatever the configuration has come to say. */
static int daemon_check_same(const Config *config, const struct journal_store *was, Failure *failure) {
        g_autofree char *path = realpath(config->path, NULL);

        if (strcmp(path ?: config->path, was->path) == 0 && strcmp(config->device ?: "", was->device) == 0)
                return 0;
        return failure_set(failure, -EBUSY, "StoreBusy",
                           "%s is being served, and %s names another store now: put Path= and Device= back, or stop "
                           "the service and start it again.", was->path, config->file);
}

static int daemon_open_store(Daemon *d, Failure *failure) {
        const Config *config = d->config;
        g_autofree struct journal_store *was = g_new0(struct journal_store, 1);
        struct store_options options = {.path = config->path,
                                        .device = config->device,
                                        .filesystem = config->filesystem,
                                        .hsmid = config->hsmid,
                                        .lock_dir = config->state_dir,
                                        .superblock_watch = d->superblock};
        int r;

        if (d->takeover && journal_is_serving(d->journal) && journal_store(d->journal, was)) {
                options.attached = d->served = was->files;
                r = daemon_check_same(config, was, failure);
                if (r < 0)
                        return r;
        }
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
        if (superblock_state(d->superblock) != SUPERBLOCK_LIVES)
                log_warning("no inotify watch can be had (fs.inotify.max_user_instances): a stop will not see a file that "
                            "no process shows");
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

/* People wait. Hosts take the longest to come up, so they come first (where there are many, those that
 * somebody waits for), and the bus last. Directories
 * that are not listed are watched still, by the same group: people go on at once, and the walk
 * that finds them comes behind. (Unless the last worker was killed before it had watched them
 * all: then they were not let in yet.) */
static int daemon_start_again(Daemon *d, Failure *failure) {
        int r;

        daemon_load_engines(d);
        if (g_hash_table_size(d->engines) < g_get_num_processors())
                daemon_start_engines(d);
        else
                daemon_start_engines_when_needed(d);
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
        d->superblock = given->watch;
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
