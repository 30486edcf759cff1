/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/files/file.h"

#include "cloudsync/engine.h"
#include "dispatcher/store/handle.h"
#include "dispatcher/work.h"
#include "shared/channel.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * switch — the remote has another version of a file
 *
 * Two ways: under openers who have seen nothing yet and wait (switch_begin), and for a
 * file that nobody has open, told by a write lease, which also keeps everyone out for as
 * long as it takes (files_switch). Either way the content goes in this order:
 *
 *     stamp SWITCHING (new version) → truncate to 0 → truncate to the new size → mtime
 *     → stamp PLACEHOLDER (new version)
 *
 * Killed in between, SWITCHING is found and begun again; no access was answered
 * meanwhile, since a file that is SWITCHING is treated like one that is not here.
 */

int switch_content(int fd, struct stamp *stamp) {
        struct timespec times[2];
        int r;

        stamp->state = STAMP_SWITCHING;
        stamp->boot = stamp_boot();
        r = stamp_write(fd, stamp);
        if (r < 0)
                return r;
        if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)stamp->size) < 0)
                return -errno;
        times[0] = times[1] = (struct timespec){.tv_sec = stamp->mtime_sec, .tv_nsec = stamp->mtime_nsec};
        if (futimens(fd, times) < 0)
                return -errno;
        stamp->state = STAMP_PLACEHOLDER;
        return stamp_write(fd, stamp);
}

/* ── under waiting openers ──────────────────────────────────────────────── */

struct switching {
        File *file;
        int fd;
        struct stamp stamp;
        int r;
};

/* The one entry that answers a stat. */
static bool entry_of(ProviderData *data, struct stamp *stamp) {
        size_t length = provider_data_length(data), position = 0;
        g_autofree void *copy = g_memdup2(provider_data_bytes(data), length);
        struct cs_entry entry;
        bool ok;

        ok = channel_entry_next(copy, length, &position, &entry) == 1 && entry.kind == CS_KIND_FILE;
        if (ok)
                stamp_set_entry(stamp, &entry);
        return ok;
}

static void switch_answer(void *userdata, ProviderData *data) {
        File *file = userdata;
        struct stamp next;

        stamp_copy(&next, &file->stamp);
        if (entry_of(data, &next)) {
                stamp_clear(&file->next);
                file->next = next;
        } else
                stamp_clear(&next);
        provider_data_release(data);
}

static void switching_run(void *data) {
        struct switching *s = data;

        s->r = switch_content(s->fd, &s->stamp);
}

static void switching_done(void *data) {
        struct switching *s = data;
        File *file = s->file;

        file->jobs--;
        file->phase = FILE_ACTIVE;
        if (s->r < 0) {
                stamp_clear(&s->stamp);
                file_fail(file, s->r, "the new version's placeholder cannot be made");
        } else {
                stamp_clear(&file->stamp);
                file->stamp = s->stamp;
                extents_clear(&file->present);
                file->limit = file->stamp.size;
                file->resized = false;
                file->fetched = 0;
                file->mtime = (struct timespec){.tv_sec = file->stamp.mtime_sec,
                                                .tv_nsec = file->stamp.mtime_nsec};
        }
        g_free(s);
        file_step(file);
}

static void switch_end(void *userdata, int r, const char *detail) {
        File *file = userdata;
        struct switching *s;

        file->stat = NULL;
        if (r == 0 && !file->next.engine)
                r = -EPROTO;
        if (r < 0) {
                file->phase = FILE_ACTIVE;
                stamp_clear(&file->next);
                file_fail(file, r, r == -ENOENT ? "it is gone from the remote" : detail);
                file_step(file);
                return;
        }
        if (stamp_same_version(&file->next, &file->stamp))
                log_debug("%s: \"%s\" was said to have changed, and has not", file->stamp.engine,
                          file->stamp.locator);
        s = g_new0(struct switching, 1);
        *s = (struct switching){.file = file, .fd = file->fd, .stamp = file->next};
        file->next = (struct stamp)STAMP_INIT;
        file->jobs++;
        work_run(switching_run, switching_done, s);
}

void switch_begin(File *file) {
        Engine *engine = file_engine(file);
        g_autofree char *name = file_name(file);

        file->switches++;
        if (!engine) {
                file->switches = G_MAXUINT / 2;
                file_step(file);
                return;
        }
        log_about(LOG_INFO, file->stamp.engine, name, "changed at the remote before anything of it "
                  "was read: taking the new version");
        file->error = 0;
        g_clear_pointer(&file->detail, g_free);
        file->phase = FILE_SWITCHING;
        file->stat = engine_stat(engine, file->stamp.locator, switch_answer, switch_end, file);
}

/* ── while nobody has it open ───────────────────────────────────────────── */

struct idle_switch {
        Files *files;
        File *file; /* in the table, SWITCHING: whoever comes waits */
        int fd;     /* O_RDWR */
        struct stamp next;
        int r;
        void (*done)(void *userdata, int r);
        void *userdata;
};

static void idle_switch_run(void *data) {
        struct idle_switch *s = data;

        s->r = switch_content(s->fd, &s->next);
}

static void idle_switch_done(void *data) {
        struct idle_switch *s = data;
        Files *files = s->files;
        GQueue arrived = s->file->arrived;

        fd_close(s->fd);
        g_queue_init(&s->file->arrived);
        s->file->jobs--;
        file_free(s->file);
        while (!g_queue_is_empty(&arrived))
                files_classify(files, g_queue_pop_head_link(&arrived)->data);
        if (s->done)
                s->done(s->userdata, s->r);
        stamp_clear(&s->next);
        g_free(s);
}

/* Under the write lease: still the remote's, and from now on nobody's. */
static int idle_switch_claim(int fd, struct stamp *next) {
        struct stamp now = STAMP_INIT;
        struct stat st;
        int r;

        r = fstat(fd, &st) < 0 ? -errno : stamp_read(fd, st.st_ino, &now);
        if (r == 0 && (strcmp(now.engine, next->engine) != 0 || !stamp_is_unmodified(&now, &st)))
                r = -EEXIST;
        if (r == 0) {
                next->state = STAMP_SWITCHING;
                next->boot = stamp_boot();
                next->parent = now.parent; /* it may have been moved since `next` was made */
                next->name = now.name;
                r = stamp_write(fd, next);
        }
        stamp_clear(&now);
        return r;
}

/*
 * Opens it and stamps it SWITCHING while nobody else has it open (-EBUSY: somebody has), and no
 * user changed it (-EEXIST). The write lease that tells is held for the stamp alone, and on the
 * main loop, which alone reads the group: the kernel opens an event's file when the event is read,
 * and would meet the lease and deny the access. From then on every access raises an event and
 * waits, since the file is silenced for nothing and its stamp says SWITCHING.
 */
static int idle_switch_open(Files *files, const struct handle *handle, struct stamp *next) {
        autoclose int own = -1;
        struct stat st;
        File *file;
        int r;

        own = handle_open(store_root(files->o->store), handle, O_RDWR | O_NONBLOCK);
        if (own < 0)
                return own == -EWOULDBLOCK || own == -ETXTBSY ? -EBUSY : own;
        if (fstat(own, &st) < 0)
                return -errno;
        file = file_lookup(files, st.st_dev, st.st_ino);
        if (file && !file->is_idle)
                return -EBUSY;
        (void)fan_group_unsilence(files->o->group, own); /* an open decides about its event first */
        if (fcntl(own, F_SETLEASE, F_WRLCK) < 0)
                return errno == EAGAIN ? -EBUSY : -errno;
        r = idle_switch_claim(own, next);
        (void)fcntl(own, F_SETLEASE, F_UNLCK);
        return r < 0 ? r : fd_steal(&own);
}

/* Takes `next`. */
static int idle_switch_begin(Files *files, const struct handle *handle, struct stamp *next,
                             void (*done)(void *userdata, int r), void *userdata) {
        struct idle_switch *s;
        struct stamp copy;
        struct stat st;
        File *file;
        int own;

        if (files->denying)
                return -EBUSY;
        own = idle_switch_open(files, handle, next);
        if (own < 0)
                return own;
        if (fstat(own, &st) < 0) {
                fd_close(own);
                return -EIO;
        }
        file = file_lookup(files, st.st_dev, st.st_ino);
        if (file) /* it rests: see idle_switch_open() */
                file_free(file);
        stamp_copy(&copy, next);
        file = file_new(files, st.st_dev, st.st_ino, &copy);
        file->phase = FILE_SWITCHING;
        file->jobs++;
        s = g_new0(struct idle_switch, 1);
        *s = (struct idle_switch){.files = files, .file = file, .fd = own, .next = *next,
                                  .done = done, .userdata = userdata};
        *next = (struct stamp)STAMP_INIT;
        work_run(idle_switch_run, idle_switch_done, s);
        return 0;
}

/* ── after readers have seen a part ─────────────────────────────────────── */

#define LATER_MAX 1024u

struct later {
        Files *files;
        struct handle handle;
        unsigned tries;
        struct stamp stamp, next;
};

static guint handle_hash(gconstpointer p) {
        const struct handle *handle = p;
        guint hash = 5381;

        for (uint32_t i = 0; i < handle->length; i++)
                hash = hash * 33 + handle->bytes[i];
        return hash;
}

static gboolean handle_equal(gconstpointer a, gconstpointer b) {
        return handle_is_same(a, b);
}

GHashTable *switch_later_table(void) {
        return g_hash_table_new(handle_hash, handle_equal);
}

static void later_free(struct later *l) {
        g_hash_table_remove(l->files->later, &l->handle);
        stamp_clear(&l->stamp);
        stamp_clear(&l->next);
        g_free(l);
}

static gboolean later_try(gpointer userdata);

/* As long as the daemon lives, ever less often. */
static void later_again(struct later *l) {
        static const unsigned waits[] = {300, 2000, 10000, 60000};

        if (l->files->denying) {
                later_free(l);
                return;
        }
        g_timeout_add(waits[l->tries], later_try, l);
        l->tries = MIN(l->tries + 1, (unsigned)G_N_ELEMENTS(waits) - 1);
}

static void later_switched(void *userdata, int r) {
        struct later *l = userdata;

        if (r == -EBUSY)
                later_again(l);
        else
                later_free(l);
}

static void later_answer(void *userdata, ProviderData *data) {
        struct later *l = userdata;
        struct stamp next;

        stamp_copy(&next, &l->stamp);
        if (entry_of(data, &next)) {
                stamp_clear(&l->next);
                l->next = next;
        } else
                stamp_clear(&next);
        provider_data_release(data);
}

static void later_end(void *userdata, int r, const char *detail) {
        struct later *l = userdata;
        struct stamp next;

        if (r < 0 || !l->next.engine) {
                later_free(l);
                return;
        }
        next = l->next;
        l->next = (struct stamp)STAMP_INIT;
        r = idle_switch_begin(l->files, &l->handle, &next, later_switched, l);
        stamp_clear(&next);
        if (r < 0)
                later_switched(l, r);
}

static gboolean later_try(gpointer userdata) {
        struct later *l = userdata;
        Engine *engine = l->files->denying ? NULL : l->files->o->engine(l->files->o->userdata, l->stamp.engine);

        if (engine)
                engine_stat(engine, l->stamp.locator, later_answer, later_end, l);
        else
                later_free(l);
        return G_SOURCE_REMOVE;
}

static void later_begin(Files *files, const struct handle *handle, const struct stamp *stamp) {
        struct later *l;

        /* One for a file, however often it is read. What does not fit is begun when it is read again. */
        if (g_hash_table_contains(files->later, handle) || g_hash_table_size(files->later) >= LATER_MAX)
                return;
        l = g_new0(struct later, 1);
        l->files = files;
        l->handle = *handle;
        g_hash_table_insert(files->later, &l->handle, l);
        stamp_copy(&l->stamp, stamp);
        later_again(l);
}

void switch_later(File *file) {
        struct handle handle;

        if (file->fd >= 0 && handle_take(file->fd, &handle) == 0)
                later_begin(file->files, &handle, &file->stamp);
}

static int handle_stamp(Files *files, const struct handle *handle, struct stamp *ret) {
        autoclose int fd = handle_open(store_root(files->o->store), handle, O_RDONLY | O_NONBLOCK);
        struct stat st;

        if (fd < 0)
                return fd == -EWOULDBLOCK ? -EBUSY : fd;
        return fstat(fd, &st) < 0 ? -errno : stamp_read(fd, st.st_ino, ret);
}

void files_switch(Files *files, const struct handle *handle, const struct cs_entry *entry,
                  void (*done)(void *userdata, int r), void *userdata) {
        struct stamp stamp = STAMP_INIT, next = STAMP_INIT;
        int r;

        r = handle_stamp(files, handle, &stamp);
        if (r == 0) {
                stamp_copy(&next, &stamp);
                stamp_set_entry(&next, entry);
                r = idle_switch_begin(files, handle, &next, done, userdata);
        }
        stamp_clear(&stamp);
        stamp_clear(&next);
        if (r < 0 && done)
                done(userdata, r);
}
