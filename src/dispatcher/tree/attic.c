/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/attic.h"

#include "cloudsync/engine.h"
#include "dispatcher/tree/attic-name.h"
#include "dispatcher/files/claim.h"
#include "dispatcher/tree/conflict-name.h"
#include "dispatcher/store/handle.h"
#include "dispatcher/tree/moving.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ATTIC_DIR STORE_PRIVATE_DIR "/attic"
#define COPIES_MAX 100u

struct Attic {
        FanGroup *group;
        Store *store;
        int directory;
        GMutex lock;
        GHashTable *names;    /* &key, the first bytes of → struct item: what attic_take() finds */
        GHashTable *prefixes; /* engine → prefix */
        atomic_uint count;    /* files, in `names` or not; asked by the main loop, which waits for no disk */
        uint32_t serial;
};

struct item {
        uint64_t key;
        char name[];
};

static void note(Attic *attic, uint64_t key, const char *name) {
        size_t length = strlen(name) + 1;
        struct item *item = g_malloc(sizeof *item + length);

        item->key = key;
        memcpy(item->name, name, length);
        g_hash_table_replace(attic->names, &item->key, item);
}

static void forget(Attic *attic, uint64_t key, const char *name) {
        struct item *item = g_hash_table_lookup(attic->names, &key);

        if (item && strcmp(item->name, name) == 0)
                g_hash_table_remove(attic->names, &key);
}

static int open_here(Attic *attic, const char *name) {
        int fd = openat(attic->directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

/* A list of names; g_ptr_array_unref(). NULL: cannot be read. */
static GPtrArray *all_names(Attic *attic) {
        g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(g_free);
        int fd = openat(attic->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent *d;
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);

        if (!dir) {
                fd_close(fd);
                return NULL;
        }
        while ((d = readdir(dir)) != NULL)
                if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
                        g_ptr_array_add(all, g_strdup(d->d_name));
        closedir(dir);
        return g_steal_pointer(&all);
}

/* ── back to where people see it ────────────────────────────────────────── */

/* Under its name, or, where that is taken, as a conflict copy. */
static int bring_back_to(Attic *attic, const char *from, int directory, const char *name) {
        if (renameat2(attic->directory, from, directory, name, RENAME_NOREPLACE) == 0)
                return 0;
        for (unsigned n = 0; errno == EEXIST && n < COPIES_MAX; n++) {
                g_autofree char *copy = conflict_name_here(name, 0, n);
                if (renameat2(attic->directory, from, directory, copy, RENAME_NOREPLACE) == 0)
                        return 0;
        }
        return -errno;
}

/* The directory from which it came; the engine's; or the root of the store. */
static int bring_back(Attic *attic, const char *from, const char *engine) {
        const char *name = from, *prefix = engine ? g_hash_table_lookup(attic->prefixes, engine) : NULL;
        struct handle handle;
        autoclose int fd = -1;
        uint64_t key;
        int r = -ENOENT;

        if (attic_name_parse(from, &key, &handle, &name)) {
                fd = handle_open(store_root(attic->store), &handle, O_RDONLY | O_DIRECTORY);
                if (fd >= 0)
                        r = bring_back_to(attic, from, fd, name);
        }
        if (r < 0 && prefix) {
                fd_close(fd);
                fd = openat(store_root(attic->store), prefix, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd >= 0)
                        r = bring_back_to(attic, from, fd, name);
        }
        if (r < 0)
                r = bring_back_to(attic, from, store_root(attic->store), name);
        log_about(r < 0 ? LOG_ERR : LOG_NOTICE, engine, name, r < 0
                          ? "it was changed while it was being removed, and cannot be brought back yet: %s"
                          : "it was changed while it was being removed: brought back", strerror(-r));
        if (r == 0)
                atomic_fetch_sub(&attic->count, 1);
        return r;
}

/* ── in ─────────────────────────────────────────────────────────────────── */

static bool is_same(Attic *attic, const char *name, int fd) {
        struct stat a, b;

        return fstat(fd, &a) == 0 && fstatat(attic->directory, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
               a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static int put_locked(Attic *attic, int directory, const char *name, int fd, const char *here) {
        struct moving moving;
        int r = moving_begin(attic->group, fd, &moving);

        if (r < 0)
                return r;
        if (renameat2(directory, name, attic->directory, here, RENAME_NOREPLACE) < 0)
                r = -errno;
        else {
                atomic_fetch_add(&attic->count, 1);
                r = !is_same(attic, here, fd) ? -EEXIST : !moving_is_alone(&moving) ? -EBUSY : 0;
                if (r < 0) {
                        int q = bring_back_to(attic, here, directory, name);
                        if (q < 0) /* as soon as it can be: by attic_sweep() */
                                log_error("a file that is in use cannot be put back at once: %s", strerror(-q));
                        else
                                atomic_fetch_sub(&attic->count, 1);
                }
        }
        (void)moving_end(&moving, 0, NULL); /* one that cannot be sealed counts as a user's */
        return r;
}

int attic_put(Attic *attic, int directory, const char *name, int fd, const struct stamp *stamp, bool spare) {
        uint64_t key = attic_key(stamp->engine, stamp->locator);
        g_autofree char *here = NULL;
        struct handle handle;
        int r;

        if (!attic)
                return -EROFS;
        r = handle_take(directory, &handle);
        if (r < 0)
                return r;
        g_mutex_lock(&attic->lock);
        if (attic->count >= ATTIC_FILES_MAX)
                r = -EBUSY;
        else {
                here = attic_name_make(key, attic->serial++, &handle, name);
                r = put_locked(attic, directory, name, fd, here);
                if (r == 0 && !spare)
                        note(attic, key, here);
        }
        g_mutex_unlock(&attic->lock);
        return r;
}

/* ── out ────────────────────────────────────────────────────────────────── */

static bool is_of(int fd, const char *engine, const struct cs_entry *entry) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        bool is;

        is = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && stamp_read(fd, st.st_ino, &stamp) == 0 &&
             strcmp(stamp.engine, engine) == 0 && strcmp(stamp.locator, entry->locator) == 0 &&
             stamp_matches(&stamp, entry);
        stamp_clear(&stamp);
        return is;
}

/* One that somebody opened after all stays where it is, for attic_sweep(). */
static int take_locked(Attic *attic, const char *from, int fd, int directory, uint64_t parent, const char *name) {
        struct moving moving;
        int r = moving_begin(attic->group, fd, &moving);

        if (r < 0) {
                log_debug("what was moved to \"%s\" cannot be taken: %s", name, strerror(-r));
                return -ENOENT;
        }
        if (renameat2(attic->directory, from, directory, name, RENAME_NOREPLACE) < 0)
                r = -errno;
        else
                atomic_fetch_sub(&attic->count, 1);
        (void)moving_end(&moving, r < 0 ? 0 : parent, name);
        return r;
}

int attic_take(Attic *attic, const char *engine, const struct cs_entry *entry, int directory,
               uint64_t parent) {
        uint64_t key = attic_key(engine, entry->locator);
        autoclose int fd = -1;
        struct item *item;
        int r = -ENOENT;

        g_mutex_lock(&attic->lock);
        item = g_hash_table_lookup(attic->names, &key);
        if (item) {
                fd = open_here(attic, item->name);
                if (fd >= 0 && is_of(fd, engine, entry))
                        r = take_locked(attic, item->name, fd, directory, parent, entry->name);
                if (r != -EEXIST)
                        g_hash_table_remove(attic->names, &key);
        }
        g_mutex_unlock(&attic->lock);
        return r;
}

static void sweep_one(Attic *attic, const char *name, int64_t linger) {
        struct stamp stamp = STAMP_INIT;
        autoclose int fd = open_here(attic, name);
        struct timespec now;
        uint64_t key = 0;
        struct handle handle;
        const char *old;
        struct stat st;
        int r;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        if (fd == -ENOENT || fd == -EWOULDBLOCK) /* taken out meanwhile; open */
                return;
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                (void)bring_back(attic, name, NULL); /* a user's, caught between two names by a crash */
                return;
        }
        if (now.tv_sec - st.st_ctim.tv_sec < linger && now.tv_sec >= st.st_ctim.tv_sec)
                return;
        if (claim_take(attic->group, fd) < 0)
                return;
        r = fstat(fd, &st) < 0 ? -errno : stamp_read(fd, st.st_ino, &stamp);
        if (r == 0 && stamp_is_unmodified(&stamp, &st)) {
                if (unlinkat(attic->directory, name, 0) == 0)
                        atomic_fetch_sub(&attic->count, 1);
                claim_drop(attic->group, fd);
        } else {
                claim_drop(attic->group, fd);
                if (r == 0 || r == -ENODATA)
                        (void)bring_back(attic, name, stamp.engine);
        }
        if (attic_name_parse(name, &key, &handle, &old))
                forget(attic, key, name);
        stamp_clear(&stamp);
}

void attic_sweep(Attic *attic, bool busy) {
        g_autoptr(GPtrArray) all = all_names(attic);

        for (guint i = 0; all && i < all->len; i++) {
                g_mutex_lock(&attic->lock);
                sweep_one(attic, all->pdata[i], busy ? ATTIC_LINGER_BUSY : ATTIC_LINGER);
                g_mutex_unlock(&attic->lock);
        }
}

/* ── life ───────────────────────────────────────────────────────────────── */

unsigned attic_count(Attic *attic) {
        return attic ? atomic_load(&attic->count) : 0;
}

void attic_set_prefix(Attic *attic, const char *engine, const char *prefix) {
        if (!attic)
                return;
        g_mutex_lock(&attic->lock);
        g_hash_table_replace(attic->prefixes, g_strdup(engine), g_strdup(prefix));
        g_mutex_unlock(&attic->lock);
}

int attic_new(FanGroup *group, Store *store, Attic **ret) {
        g_autoptr(GPtrArray) all = NULL;
        autoclose int fd = -1;
        Attic *attic;

        if (mkdirat(store_root(store), ATTIC_DIR, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(store_root(store), ATTIC_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        attic = g_new0(Attic, 1);
        attic->group = group;
        attic->store = store;
        attic->directory = fd_steal(&fd);
        attic->serial = g_random_int();
        attic->names = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
        attic->prefixes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g_mutex_init(&attic->lock);
        all = all_names(attic);
        for (guint i = 0; all && i < all->len; i++) {
                const char *name;
                struct handle handle;
                uint64_t key;

                atomic_fetch_add(&attic->count, 1);
                if (attic_name_parse(all->pdata[i], &key, &handle, &name))
                        note(attic, key, all->pdata[i]);
        }
        *ret = attic;
        return 0;
}

void attic_free(Attic *attic) {
        if (!attic)
                return;
        fd_close(attic->directory);
        g_hash_table_unref(attic->names);
        g_hash_table_unref(attic->prefixes);
        g_mutex_clear(&attic->lock);
        g_free(attic);
}
