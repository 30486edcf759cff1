/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/files/file.h"

#include "dispatcher/events/caller.h"
#include "dispatcher/files/presence.h"
#include "dispatcher/work.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

/* Fetches of one file at once: whole files in segments, and readers by ranges. */
#define FETCHES_WHOLE 4u
#define FETCHES_RANGES 12u
/* Ranges: the least that is fetched, and the most that is fetched ahead. */
#define WINDOW_MIN (64u * 1024)
#define WINDOW_MAX (8u * 1024 * 1024)
/* A thread that is about to sleep is looked at again every millisecond, this often. */
#define LOOKS_MAX 1000u

/* Never by ranges, whatever the setting: programs that ask for holes first (SEEK_HOLE) and would
 * take a file that is only partly here for a sparse one, and programs that hand a file
 * to the kernel, which then reads it without raising an event (loop devices, swap). */
static const char *const whole_programs[] = {
        "cp",        "mv",        "install",    "tar",          "bsdtar",        "bsdcpio",
        "cpio",      "star",      "grep",       "egrep",        "rsync",         "dd",
        "qemu-img",  "rg",        "ag",         "git",          "fallocate",     "e2image",
        "partclone", "xfs_io",    "filefrag",   "virt-sparsify", "bmaptool",     "mount",
        "losetup",   "udisksd",   "swapon",     "cryptsetup",   "systemd-dissect", "systemd-nspawn",
        "kpartx",    "qemu-nbd",  "nbd-server", "squashfuse",   "veritysetup",   "mount.squashfs",
        "mke2fs",    "e2fsck",    "fsck.ext4",  "xfs_repair",   "btrfs",         "blkid",
};

char *file_name(const File *file) {
        g_autofree char *path = NULL;

        if (file->fd >= 0 && store_relative_path(file->files->o->store, file->fd, &path) == 0)
                return g_steal_pointer(&path);
        return g_strdup(file->stamp.locator);
}

/* What a reader gets for what went wrong. */
static int reader_errno(int r) {
        switch (-r) {
        case ENOSPC:
        case EDQUOT:
        case EAGAIN:
                return r;
        case EBUSY:
                return -EAGAIN;
        default:
                return -EIO;
        }
}

/* ── loading ────────────────────────────────────────────────────────────── */

struct load {
        File *file;
        int fd;
        uint64_t limit, granule;
        struct extents present;
        int r;
};

static void load_run(void *data) {
        struct load *l = data;

        l->r = presence_load(l->fd, l->limit, l->granule, &l->present);
}

static void load_done(void *data) {
        struct load *l = data;
        File *file = l->file;

        file->jobs--;
        file->phase = FILE_ACTIVE;
        if (l->r < 0) {
                extents_clear(&l->present);
                file_fail(file, l->r, "what is present of it cannot be told");
        } else
                file->present = l->present;
        g_free(l);
        file_step(file);
}

/* A placeholder of size 0 that was not empty: on btrfs a power cut can bring an inode back
 * without its size (its log knew the name only). It cannot be a user's doing: a
 * placeholder is made whole before anyone may cut it. */
static bool file_lost_its_size(const File *file, const struct stat *st) {
        /* A user who cuts a FILLED one by truncate(2) moves its mtime. */
        bool untouched = file->stamp.state == STAMP_PLACEHOLDER ||
                         (file->stamp.state == STAMP_FILLED && st->st_mtim.tv_sec == file->stamp.mtime_sec &&
                          (uint32_t)st->st_mtim.tv_nsec == file->stamp.mtime_nsec);

        return st->st_size == 0 && file->stamp.size > 0 && untouched &&
               file->stamp.boot != stamp_boot() &&
               strcmp(store_filesystem(file->files->o->store), "btrfs") == 0;
}

int file_load(File *file, const struct stat *st) {
        uint64_t size = (uint64_t)st->st_size;
        bool emptied = file->stamp.state == STAMP_SWITCHING || file_lost_its_size(file, st);
        struct load *l;
        int r;

        if (emptied) {
                r = switch_content(file->fd, &file->stamp);
                if (r < 0)
                        return r;
                size = file->stamp.size;
        }
        file->limit = MIN(size, file->stamp.size);
        file->resized = size != file->stamp.size;
        file->mtime = (struct timespec){.tv_sec = file->stamp.mtime_sec,
                                        .tv_nsec = file->stamp.mtime_nsec};
        if (file->resized) /* the user's doing, and the user's date */
                file->mtime = st->st_mtim;
        file->phase = FILE_ACTIVE;

        r = file->limit == 0 ? 1 : presence_is_empty(file->fd);
        if (r < 0)
                return r;
        if (r > 0) {
                /* Nothing was ever filled: an mtime that differs was set by a user. (Not by us, a
                 * moment ago: `st` is from before that.) */
                if (file->stamp.state == STAMP_PLACEHOLDER && !emptied)
                        file->mtime = st->st_mtim;
                return 0;
        }
        l = g_new0(struct load, 1);
        *l = (struct load){.file = file, .fd = file->fd, .limit = file->limit,
                           .granule = store_granule(file->files->o->store)};
        file->phase = FILE_LOADING;
        file->jobs++;
        work_run(load_run, load_done, l);
        return 0;
}

/* ── who may read by ranges ─────────────────────────────────────────────── */

static bool name_in(const char *name, const char *const *list, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(name, list[i]) == 0)
                        return true;
        return false;
}

static bool file_ranges_possible(const File *file) {
        Engine *engine = file_engine(file);

        return engine && engine_has_ranges(engine) && !file->whole && !file->resized &&
               file->stamp.size > file->files->o->config->full_below &&
               engine_registration(engine)->hydration != HYDRATION_WHOLE;
}

/* May this opener (who is known to open for reading only) see a file that is partly here? */
static bool file_opener_reads_straight(const File *file, const struct fan_event *event) {
        const struct Registration *registration = engine_registration(file_engine(file));
        char **listed = file->files->o->config->sequential_readers;
        char program[16];

        if (!caller_program(event->tid, program) || !caller_has_mount(event->tid, event->fd))
                return false;
        if (name_in(program, whole_programs, G_N_ELEMENTS(whole_programs)))
                return false;
        return registration->hydration == HYDRATION_RANGES ||
               g_strv_contains((const char *const *)listed, program);
}

/* Some reader is about to see a part: never switch versions under it. Written down, since it
 * may outlive us. */
static int file_expose(File *file) {
        if (file->stamp.flags & STAMP_EXPOSED)
                return 0;
        file->stamp.flags |= STAMP_EXPOSED;
        return stamp_write(file->fd, &file->stamp);
}

static void file_want_whole(File *file, Request *request) {
        file->whole = true;
        g_queue_push_tail_link(&file->waiters, &request->link);
}

static gboolean file_look_again(gpointer userdata) {
        File *file = userdata;
        GQueue looking = file->looking;

        file->look_timer = 0;
        g_queue_init(&file->looking);
        while (!g_queue_is_empty(&looking)) {
                GList *link = g_queue_pop_head_link(&looking);
                file_admit(file, link->data);
        }
        file_step(file);
        return G_SOURCE_REMOVE;
}

static void file_look_later(File *file, Request *request) {
        request->looks++;
        g_queue_push_tail_link(&file->looking, &request->link);
        if (file->look_timer == 0)
                file->look_timer = g_timeout_add(1, file_look_again, file);
}

/* Read-ahead: doubled while reads follow each other, back to the least otherwise. */
static void file_note_read(File *file, uint64_t begin, uint64_t end) {
        if (begin <= file->next_read && end > file->next_read && file->next_read > 0)
                file->window = MIN(MAX(file->window * 2, 2 * WINDOW_MIN), WINDOW_MAX);
        else if (begin != file->next_read || begin == 0)
                file->window = 0;
        file->next_read = end;
}

/* Puts a request where it belongs: answered, waiting for a range, or for the whole. The file
 * is ACTIVE. The safe path is the whole file; everything else must be proven. */
void file_admit(File *file, Request *request) {
        const struct fan_event *event = &request->event;
        enum caller_call call;

        if (!request_is_event(request) || !file_ranges_possible(file)) {
                file_want_whole(file, request);
                return;
        }
        call = caller_look(event->tid);
        if (call == CALLER_RUNNING && request->looks < LOOKS_MAX) {
                file_look_later(file, request);
                return;
        }
        if (event->kind == FAN_KIND_OPEN) {
                if (call == CALLER_OPENS_READ && file_opener_reads_straight(file, event))
                        request_answer(request, 0, NULL);
                else
                        file_want_whole(file, request);
                return;
        }
        if (call != CALLER_READS) {
                file_want_whole(file, request);
                return;
        }
        /* Not cut at the end: that may move when the file is switched to a longer version. */
        request->begin = event->offset;
        request->end = MIN(event->offset + event->count, INT64_MAX);
        g_queue_push_tail_link(&file->waiters, &request->link);

        file_note_read(file, request->begin, MIN(request->end, file->limit));
}

bool file_answer_at_rest(File *file, Request *request) {
        const struct fan_event *event = &request->event;
        const uint64_t next_read = file->next_read, window = file->window;
        uint64_t begin, end;

        if (!request_is_event(request) || event->kind != FAN_KIND_ACCESS || file->error ||
            file->files->denying || !(file->stamp.flags & STAMP_EXPOSED) || !file_ranges_possible(file))
                return false;
        begin = MIN(event->offset, file->limit);
        end = MIN(event->offset + event->count, file->limit);
        file_note_read(file, begin, end);
        if (!extents_contain(&file->present, begin, end) ||
            !extents_contain(&file->present, end, MIN(end + file->window, file->limit)) ||
            caller_look(event->tid) != CALLER_READS) {
                file->next_read = next_read;
                file->window = window;
                return false;
        }
        request_answer(request, 0, NULL);
        file->idle_since = g_get_monotonic_time();
        g_queue_unlink(&file->files->idle, &file->idle);
        g_queue_push_tail_link(&file->files->idle, &file->idle);
        return true;
}

/* ── finishing ──────────────────────────────────────────────────────────── */

struct finish {
        File *file;
        int fd;
        bool durable; /* stamp WHOLE, after a sync */
        struct stamp stamp;
        Fetch *fetch; /* whose held piece comes first, or NULL */
        struct extent *pieces;
        size_t n_pieces, done;
        uint64_t granule;
        struct timespec mtime;
        bool keep_mtime;
        int r;
};

static int finish_stamp(struct finish *f) {
        /* mtime before the stamp, the stamp before the answer: ctime stands still afterwards. */
        int r = f->keep_mtime ? 0 : fill_set_mtime(f->fd, &f->mtime);

        if (r < 0)
                return r;
        if (f->durable && fdatasync(f->fd) < 0)
                return -errno;
        f->stamp.state = f->durable ? STAMP_WHOLE : STAMP_FILLED;
        f->stamp.boot = stamp_boot();
        return stamp_write(f->fd, &f->stamp);
}

static void finish_run(void *data) {
        struct finish *f = data;

        if (f->fetch)
                f->r = fill_write_pieces(f->fd, provider_data_offset(f->fetch->held),
                                         provider_data_bytes(f->fetch->held), f->pieces, f->n_pieces,
                                         &f->done, f->granule);
        if (f->r == 0)
                f->r = finish_stamp(f);
}

bool request_may_change(const Request *request) {
        if (!request_is_event(request))
                return false;
        /* An access that may be truncate(2), by path: the same. */
        if (request->event.kind != FAN_KIND_OPEN)
                return request->event.count <= 4096 && caller_look(request->event.tid) != CALLER_READS;
        if (fcntl(request->event.fd, F_SETLEASE, F_RDLCK) < 0)
                return true;
        (void)fcntl(request->event.fd, F_SETLEASE, F_UNLCK);
        return false;
}

static void queue_append(GQueue *to, GQueue *from) {
        while (!g_queue_is_empty(from))
                g_queue_push_tail_link(to, g_queue_pop_head_link(from));
}

/* Goes, then answers everyone: an answer may bring the next request, of the same file even. */
static void file_dismiss(File *file, int r) {
        g_autofree char *detail = g_strdup(file->detail);
        GQueue waiting = G_QUEUE_INIT;

        queue_append(&waiting, &file->waiters);
        queue_append(&waiting, &file->looking);
        queue_append(&waiting, &file->arrived);
        file_free(file);
        while (!g_queue_is_empty(&waiting))
                request_answer(g_queue_pop_head_link(&waiting)->data, r, detail);
}

/* Whole: answers everyone and goes. */
static void file_is_whole(File *file) {
        bool durable = file->stamp.state == STAMP_WHOLE;

        (void)fan_group_silence(file->files->o->group, file->fd, durable);
        if (!durable)
                settle_add(file->files->settle, file->fd);
        file->fd = fd_close(file->fd);
        queue_append(&file->waiters, &file->looking);
        queue_append(&file->waiters, &file->arrived);
        for (GList *l = file->waiters.head; l && !durable; l = l->next)
                if (request_may_change(l->data)) {
                        /* It may write only when nothing can be taken for missing any more. */
                        file_finish(file, true);
                        return;
                }
        file->files->hydrated++;
        file_dismiss(file, 0);
}

static void finish_done(void *data) {
        struct finish *f = data;
        File *file = f->file;

        file->jobs--;
        file->phase = FILE_ACTIVE;
        if (f->fetch) {
                for (size_t i = 0; i < f->done; i++) {
                        file->fetched += f->pieces[i].end - f->pieces[i].begin;
                        file->files->bytes += f->pieces[i].end - f->pieces[i].begin;
                        (void)extents_add(&file->present, f->pieces[i].begin, f->pieces[i].end);
                }
                g_clear_pointer(&f->fetch->held, provider_data_release);
                g_ptr_array_remove_fast(file->fetches, f->fetch);
                g_free(f->fetch);
                g_free(f->pieces);
        }
        if (f->r < 0) {
                file_fail(file, f->r, "the content cannot be written to the store");
                stamp_clear(&f->stamp);
                g_free(f);
                file_step(file);
                return;
        }
        stamp_clear(&file->stamp);
        file->stamp = f->stamp;
        g_free(f);
        file_is_whole(file);
}

/* A descriptor again, by one of those who wait. */
static int file_reopen(File *file) {
        for (GList *l = file->waiters.head; l; l = l->next) {
                Request *request = l->data;
                if (request_is_event(request)) /* not O_RDWR: it would wait for a local user's lease */
                        return store_reopen(file->files->o->store, request->event.fd,
                                            O_RDONLY | O_NONBLOCK);
        }
        return -ENOENT;
}

void file_finish(File *file, bool durable) {
        struct finish *f;

        if (file->fd < 0)
                file->fd = file_reopen(file);
        if (file->fd < 0) {
                file_fail(file, file->fd, "it cannot be opened in the store");
                file->fd = -1;
                file_step(file);
                return;
        }
        f = g_new0(struct finish, 1);
        f->file = file;
        f->fd = file->fd;
        f->durable = durable || file->resized || settle_disk_fails(file->files->settle);
        f->granule = store_granule(file->files->o->store);
        f->mtime = file->mtime;
        stamp_copy(&f->stamp, &file->stamp);
        /* A FILLED file to which nothing was added has its own. */
        f->keep_mtime = file->stamp.state == STAMP_FILLED && file->fetched == 0;
        if (file->fetches->len == 1) {
                f->fetch = file->fetches->pdata[0];
                f->pieces = fill_pieces(file, provider_data_offset(f->fetch->held),
                                        provider_data_offset(f->fetch->held) +
                                                provider_data_length(f->fetch->held),
                                        &f->n_pieces);
        }
        file->phase = FILE_FINISHING;
        file->jobs++;
        work_run(finish_run, finish_done, f);
}

/* ── failing ────────────────────────────────────────────────────────────── */

void file_fail(File *file, int error, const char *detail) {
        if (file->error)
                return;
        file->error = error;
        g_free(file->detail);
        file->detail = g_strdup(detail);
}

static void file_failed(File *file) {
        g_autofree char *name = file_name(file);
        const Engine *engine = file_engine(file);
        /* All of them fail then, and the engine has said why. */
        bool no_login = file->error == -EACCES && engine && engine_needs_login(engine);
        int r = reader_errno(file->error);

        if (file->error != -ESHUTDOWN && !file->files->denying && !no_login)
                log_about(LOG_WARNING, file->stamp.engine, name, "cannot be read: %s%s%s",
                          strerror(-file->error), file->detail && *file->detail ? ": " : "",
                          file->detail ? file->detail : "");
        if (file->fd >= 0 && file->fetched)
                (void)fill_set_mtime(file->fd, &file->mtime);
        if (file->error == -ESTALE && !file->files->denying)
                switch_later(file);
        file_dismiss(file, r);
}

/* ── the step ───────────────────────────────────────────────────────────── */

/* Does the piece that is held, and nothing else, make the file whole? */
bool file_completes_with_held(const File *file) {
        Fetch *fetch;

        if (!file->whole || file->error || file->phase != FILE_ACTIVE || file->fetches->len != 1)
                return false;
        fetch = file->fetches->pdata[0];
        return !fetch->request && !fetch->writes && fetch->held &&
               extents_contain(&file->present, 0, provider_data_offset(fetch->held)) &&
               extents_contain(&file->present, fetch->end, file->limit);
}

static void file_answer_ranges(File *file) {
        GList *l = file->waiters.head;

        while (l) {
                Request *request = l->data;
                l = l->next;
                if (!extents_contain(&file->present, MIN(request->begin, file->limit),
                                     MIN(request->end, file->limit)))
                        continue;
                if (file_expose(file) < 0) {
                        file_fail(file, -EIO, "its stamp cannot be written");
                        return;
                }
                g_queue_unlink(&file->waiters, &request->link);
                request_answer(request, 0, NULL);
        }
}

static int file_want_ranges(File *file) {
        int r = 0;

        for (GList *l = file->waiters.head; l && r == 0; l = l->next) {
                Request *request = l->data;
                uint64_t begin = request->begin / WINDOW_MIN * WINDOW_MIN;
                uint64_t end = MAX(request->end, begin + WINDOW_MIN);
                r = fill_want(file, begin, end, FETCHES_RANGES);
        }
        if (r == 0 && file->window > 0 && file->next_read < file->limit)
                r = fill_ahead(file, file->next_read, file->next_read + file->window, file->window / 2,
                               FETCHES_RANGES);
        return r;
}

static void file_rest(File *file) {
        file->fd = fd_close(file->fd);
        if (!file->is_idle) {
                file->is_idle = true;
                file->idle = (GList){.data = file};
                file->idle_since = g_get_monotonic_time();
                g_queue_push_tail_link(&file->files->idle, &file->idle);
        }
}

static bool file_is_complete(const File *file) {
        return extents_contain(&file->present, 0, file->limit) && !fill_busy(file) && file->jobs == 0;
}

void file_step(File *file) {
        int r;

        if (file->phase != FILE_ACTIVE)
                return;
        if (file->files->denying)
                file_fail(file, -ESHUTDOWN, "the service stops");
        while (!file->error && !g_queue_is_empty(&file->arrived))
                file_admit(file, g_queue_pop_head_link(&file->arrived)->data);
        if (!file->error && !file->whole)
                file_answer_ranges(file);
        if (file->error) {
                fill_cancel(file);
                if (file->jobs > 0)
                        return;
                if (file->error == -ESTALE && !(file->stamp.flags & STAMP_EXPOSED) && !file->resized &&
                    file->switches < 3 && !file->files->denying)
                        switch_begin(file);
                else
                        file_failed(file);
                return;
        }
        if (file_completes_with_held(file) ||
            (file_is_complete(file) && (file->whole || file->fetched > 0))) {
                file_finish(file, false);
                return;
        }
        r = file->whole ? fill_want(file, 0, file->limit, FETCHES_WHOLE) : file_want_ranges(file);
        if (r < 0) {
                file_fail(file, r, r == -ENOSPC          ? "the store is full"
                                   : file_engine(file) ? ""
                                                         : "its engine is not registered");
                file_step(file);
                return;
        }
        if (g_queue_is_empty(&file->waiters) && g_queue_is_empty(&file->looking) && !fill_busy(file) &&
            file->jobs == 0)
                file_rest(file);
}
