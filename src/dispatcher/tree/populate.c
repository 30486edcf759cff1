/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/populate-internal.h"

#include "dispatcher/tree/attic-name.h"
#include "dispatcher/tree/directory.h"
#include "shared/channel.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/names.h"

#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void populate_directory_clear(struct populate_directory *d) {
        g_free(d->engine);
        g_free(d->locator);
}

static void change_clear(void *item) {
        struct populate_change *change = item;

        g_free(change->version);
}

void populate_init(struct populate *p) {
        p->directories = g_array_new(FALSE, FALSE, sizeof(struct populate_directory));
        g_array_set_clear_func(p->directories, (GDestroyNotify)populate_directory_clear);
        p->changes = g_array_new(FALSE, FALSE, sizeof(struct populate_change));
        g_array_set_clear_func(p->changes, change_clear);
        p->names = g_ptr_array_new();
}

void populate_clear(struct populate *p) {
        g_clear_pointer(&p->directories, g_array_unref);
        g_clear_pointer(&p->changes, g_array_unref);
        g_clear_pointer(&p->names, g_ptr_array_unref);
}

/* What an entry alone is to blame for costs that entry; all else fails the listing, which is
 * tried again. */
static void populate_error(struct populate *p, int r) {
        switch (-r) {
        case EFBIG: /* larger than a file can be here */
        case EINVAL:
        case EILSEQ:
        case ENAMETOOLONG:
        case EMSGSIZE:
        case E2BIG:
        case ERANGE:
        case ELOOP:
        case EEXIST:
        case ENOTDIR:
        case EISDIR:
        case EMLINK:
                p->skipped++;
                return;
        default:
                if (p->r == 0)
                        p->r = r;
        }
}

void populate_stamp(const struct populate *p, const struct cs_entry *entry, struct stamp *ret) {
        *ret = (struct stamp){
                .engine = (char *)p->engine,
                .parent = p->parent,
                .name = stamp_name(entry->name),
                .version = (char *)(entry->version ? entry->version : ""),
                .locator = (char *)entry->locator,
                .flags = entry->version ? STAMP_HAS_VERSION : 0,
                .size = entry->size,
                .mtime_sec = entry->mtime_sec,
                .mtime_nsec = entry->mtime_nsec,
                .mode = (uint16_t)(entry->mode & 0777),
                .boot = stamp_boot(),
        };
}

/* ── directories ────────────────────────────────────────────────────────── */

int populate_add_directory(struct populate *p, int fd, const char *engine, const char *locator, bool dirty) {
        struct populate_directory d = {0};
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        int r;

        r = handle_take(fd, &d.handle);
        if (r == 0 && fstat(fd, &st) < 0)
                r = -errno;
        if (r == 0 && !locator) {
                r = stamp_read(fd, st.st_ino, &stamp);
                locator = stamp.locator;
        }
        if (r < 0)
                return r;
        d.dirty = dirty;
        d.device = st.st_dev;
        d.inode = st.st_ino;
        d.engine = g_strdup(engine);
        d.locator = g_strdup(locator);
        g_array_append_val(p->directories, d);
        stamp_clear(&stamp);
        return 0;
}

static int stamp_unlisted(struct populate *p, int fd, const struct cs_entry *entry) {
        struct stamp stamp;
        int r;

        populate_stamp(p, entry, &stamp);
        stamp.size = 0;
        stamp.flags = 0;
        stamp.version = (char *)"";
        stamp.state = STAMP_UNLISTED;
        r = stamp_write(fd, &stamp);
        if (r == 0)
                r = fan_group_watch_directory(p->group, fd);
        return r;
}

/* By one of ours. Where its locator is another one now, that directory of the remote's is gone, or has
 * moved: its content is looked through again for what is the new one's. */
static int meet_our_directory(struct populate *p, int fd, const struct cs_entry *entry, struct stamp *stamp) {
        bool other = strcmp(stamp->locator, entry->locator) != 0;
        int r = 0;

        if (other && p->locator && !populate_is_in_place(stamp, p->parent, entry->name)) {
                p->skipped++; /* a user put it there */
                return 0;
        }
        r = directory_set_origin(fd, entry->locator, p->parent, stamp_name(entry->name));
        if (r == 0 && stamp->state == STAMP_UNLISTED)
                r = fan_group_watch_directory(p->group, fd);
        if (r == 0 && (stamp->state == STAMP_UNLISTED || p->recursive || other))
                r = populate_add_directory(p, fd, stamp->engine, entry->locator,
                                           other);
        return r;
}

/* The name is taken: by a directory of ours, or by one of the user's, which then is shared. */
static int meet_directory(struct populate *p, int parent, const struct cs_entry *entry) {
        struct stamp stamp = STAMP_INIT;
        autoclose int fd = -1;
        struct stat st;
        int r;

        fd = openat(parent, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        r = stamp_read(fd, st.st_ino, &stamp);
        if (r == 0 && strcmp(stamp.engine, p->engine) == 0)
                r = meet_our_directory(p, fd, entry, &stamp);
        else if (r == -ENODATA || r == -EBADMSG || r == 0) {
                r = stamp_unlisted(p, fd, entry);
                if (r == 0)
                        r = populate_add_directory(p, fd, p->engine, entry->locator, false);
        }
        stamp_clear(&stamp);
        return r;
}

static int make_directory(struct populate *p, int parent, const struct cs_entry *entry) {
        static atomic_ulong serial;
        struct timespec times[2];
        autoclose int fd = -1;
        char name[32];
        int r;

        /* What a killed worker left there could not always be removed. */
        (void)snprintf(name, sizeof name, "%d-%lu", (int)getpid(), atomic_fetch_add(&serial, 1));
        if (mkdirat(store_staging(p->store), name, 0700) < 0)
                return -errno;
        fd = openat(store_staging(p->store), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = fd < 0 ? -errno : 0;
        if (r == 0 && fchmod(fd, entry->mode & 0777) < 0)
                r = -errno;
        if (r == 0)
                r = stamp_unlisted(p, fd, entry);
        if (r == 0) {
                times[0] = times[1] =
                        (struct timespec){.tv_sec = entry->mtime_sec, .tv_nsec = entry->mtime_nsec};
                if (futimens(fd, times) < 0 || renameat2(store_staging(p->store), name, parent,
                                                         entry->name, RENAME_NOREPLACE) < 0)
                        r = -errno;
        }
        if (r < 0) {
                if (fd >= 0)
                        (void)fan_group_unwatch_directory(p->group, fd);
                (void)unlinkat(store_staging(p->store), name, AT_REMOVEDIR);
                return r;
        }
        p->made++;
        return populate_add_directory(p, fd, p->engine, entry->locator, false);
}

/* A file has the name: gone, if it was the remote's. 0: it is free. */
static int meet_file_for_directory(struct populate *p, int parent, const struct cs_entry *entry) {
        struct stamp stamp = STAMP_INIT;
        autoclose int fd = -1;
        struct stat st;
        int r;

        fd = openat(parent, entry->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : errno == EWOULDBLOCK ? -EBUSY : -ENOTDIR;
        r = fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ? -ENOTDIR : stamp_read(fd, st.st_ino, &stamp);
        if (r == 0 && strcmp(stamp.engine, p->engine) == 0 &&
            populate_is_in_place(&stamp, p->parent, entry->name))
                r = populate_gone_file(p, parent, entry->name, fd, &st, &stamp);
        else
                r = -ENOTDIR; /* a user's */
        stamp_clear(&stamp);
        return r;
}

static int put_directory(struct populate *p, int parent, const struct cs_entry *entry) {
        int r = meet_directory(p, parent, entry);

        if (r == -ENOTDIR && p->locator) {
                r = meet_file_for_directory(p, parent, entry);
                if (r < 0 && r != -ENOTDIR && r != -EEXIST)
                        p->busy++;
                r = r == 0 ? -ENOENT : -ENOTDIR;
        }
        if (r == -ENOENT)
                r = make_directory(p, parent, entry);
        if (r == -EEXIST) /* made by somebody in between */
                r = meet_directory(p, parent, entry);
        return r;
}

/* ── a listing ──────────────────────────────────────────────────────────── */

/* -ENODATA: given up meanwhile (populate-gone.c). */
static int directory_is_ours(int fd) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        int r = fstat(fd, &st) < 0 ? -errno : stamp_read(fd, st.st_ino, &stamp);

        stamp_clear(&stamp);
        return r;
}

gpointer populate_name_key(const char *name) {
        return GSIZE_TO_POINTER((gsize)attic_key("name", name) | 1);
}

gpointer populate_locator_key(const char *locator) {
        return GSIZE_TO_POINTER((gsize)attic_key("locator", locator) | 1);
}

int populate_entries(struct populate *p, const void *data, size_t length) {
        size_t position = 0;
        struct cs_entry entry;
        int r = stamp_directory(p->directory, &p->parent);

        if (r == 0)
                r = handle_take(p->directory, &p->handle);
        if (r == 0)
                r = directory_is_ours(p->directory);
        if (r < 0) {
                p->r = r;
                return 0;
        }
        while ((r = channel_entry_next(data, length, &position, &entry)) > 0) {
                int q = 0;

                if (!name_is_presentable(entry.name)) {
                        p->skipped++;
                        continue;
                }
                switch (entry.kind) {
                case CS_KIND_FILE:
                        q = populate_put_file(p, &entry);
                        break;
                case CS_KIND_DIRECTORY:
                        q = put_directory(p, p->directory, &entry);
                        break;
                case CS_KIND_UNKNOWN:
                        p->unknown++;
                        break;
                }
                if (q < 0)
                        populate_error(p, q);
                if (p->refresh) {
                        g_ptr_array_add(p->names, populate_name_key(entry.name));
                        g_ptr_array_add(p->names, populate_locator_key(entry.locator));
                }
        }
        return r;
}

int populate_finish(FanGroup *group, int directory, bool late) {
        struct stamp stamp = STAMP_INIT;
        struct timespec times[2];
        struct stat st;
        int r;

        if (fstat(directory, &st) < 0)
                return -errno;
        r = stamp_read(directory, st.st_ino, &stamp);
        if (r < 0)
                return r;
        if (stamp.mtime_sec != 0) {
                times[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
                times[1] = (struct timespec){.tv_sec = stamp.mtime_sec, .tv_nsec = stamp.mtime_nsec};
                (void)futimens(directory, times);
        }
        stamp_clear(&stamp);
        if (!late)
                r = directory_set_listed(directory);
        if (r == 0)
                r = fan_group_unwatch_directory(group, directory);
        return r == -ENOENT ? 0 : r;
}

/* ── prefixes ───────────────────────────────────────────────────────────── */

int populate_prefix(struct populate *p, const char *prefix, Failure *failure) {
        g_auto(GStrv) parts = g_strsplit(prefix, "/", -1);
        autoclose int fd = -1;
        int r = 0;

        fd = fcntl(store_root(p->store), F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return failure_set(failure, -errno, "Busy", "Out of descriptors.");
        for (unsigned i = 0; parts[i] && r == 0; i++) {
                int next;

                if (!parts[i + 1]) {
                        struct cs_entry entry = {.kind = CS_KIND_DIRECTORY, .name = parts[i],
                                                 .locator = "", .mode = 0755};
                        entry.mtime_sec = g_get_real_time() / G_USEC_PER_SEC;
                        p->recursive = false;
                        r = put_directory(p, fd, &entry);
                        if (r == 0 && p->skipped > 0)
                                r = -ENOTDIR;
                        break;
                }
                if (mkdirat(fd, parts[i], 0755) < 0 && errno != EEXIST)
                        r = -errno;
                next = r < 0 ? -1 : openat(fd, parts[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (r == 0 && next < 0)
                        r = -errno;
                fd_close(fd);
                fd = next;
        }
        if (r < 0)
                return failure_set(failure, r, "InvalidPrefix",
                                   "The directory \"%s\" cannot be made in the store: %s.", prefix,
                                   g_strerror(-r));
        return 0;
}

/* ── after a restart ────────────────────────────────────────────────────── */

/* Is it UNLISTED or DIRTY? Of one whose inode has another number by now (a store that was copied, see
 * foreign.c) the stamp is made its own: to list a directory loses nothing of a user's. */
static bool is_to_be_listed(int fd, const struct stat *st, struct stamp *stamp) {
        int r = stamp_read(fd, st->st_ino, stamp);

        if (r == -ENODATA && stamp_read_foreign(fd, stamp) == 0 && stamp->state == STAMP_UNLISTED)
                r = stamp_write(fd, stamp);
        return r == 0 && (stamp->state == STAMP_UNLISTED ||
                          (stamp->state == STAMP_LISTED && (stamp->flags & STAMP_DIRTY)));
}

/* One directory: its children that are UNLISTED or DIRTY, and all of its directories onto `todo`. */
static int find_unlisted_in(struct populate *p, int directory, bool is_root, GArray *todo) {
        autoclose int own = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent *d;
        int r = 0;
        DIR *dir;

        if (own < 0)
                return -errno;
        dir = fdopendir(own);
        if (!dir)
                return -errno;
        own = -1;
        while (r == 0 && (errno = 0, d = readdir(dir)) != NULL) {
                struct stamp stamp = STAMP_INIT;
                autoclose int fd = -1;
                struct handle handle;
                struct stat st;

                if ((d->d_type != DT_DIR && d->d_type != DT_UNKNOWN) || strcmp(d->d_name, ".") == 0 ||
                    strcmp(d->d_name, "..") == 0 || (is_root && strcmp(d->d_name, STORE_PRIVATE_DIR) == 0))
                        continue;
                fd = openat(dirfd(dir), d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
                        continue;
                if (fd < 0 || fstat(fd, &st) < 0) { /* not seen is not watched */
                        r = -errno;
                        break;
                }
                if (is_to_be_listed(fd, &st, &stamp)) {
                        if (stamp.state == STAMP_UNLISTED)
                                r = fan_group_watch_directory(p->group, fd);
                        if (r == 0)
                                r = populate_add_directory(p, fd, stamp.engine, stamp.locator,
                                                           stamp.state == STAMP_LISTED);
                }
                stamp_clear(&stamp);
                if (r == 0) /* one that was listed in part has unlisted ones below */
                        r = handle_take(fd, &handle);
                if (r == 0)
                        g_array_append_val(todo, handle);
        }
        if (r == 0 && errno != 0)
                r = -errno;
        closedir(dir);
        return r;
}

/* By handles, not by recursion: a user may nest directories as deep as he likes. */
int populate_find_unlisted(FanGroup *group, Store *store, GArray *ret_directories) {
        struct populate p = {.group = group, .store = store, .directories = ret_directories};
        g_autoptr(GArray) todo = g_array_new(FALSE, FALSE, sizeof(struct handle));
        int r = find_unlisted_in(&p, store_root(store), true, todo);

        while (r == 0 && todo->len > 0) {
                struct handle handle = g_array_index(todo, struct handle, todo->len - 1);
                autoclose int fd = -1;

                g_array_set_size(todo, todo->len - 1);
                fd = handle_open(store_root(store), &handle, O_RDONLY | O_DIRECTORY);
                if (fd >= 0)
                        r = find_unlisted_in(&p, fd, false, todo);
                else if (fd != -ESTALE && fd != -ENOENT) /* removed meanwhile */
                        r = fd;
        }
        return r;
}
