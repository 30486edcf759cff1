/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/populate-internal.h"

#include "dispatcher/tree/attic-name.h"
#include "dispatcher/files/claim.h"
#include "dispatcher/tree/conflict-name.h"
#include "dispatcher/tree/directory.h"
#include "dispatcher/tree/moving.h"
#include "dispatcher/files/presence.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * populate-gone — what the remote does not have any more, or has elsewhere
 *
 * A file that has a placeholder elsewhere takes its place in this order:
 *
 *     neither is open (both are claimed) → the placeholder is stamped as listed *here*
 *     → both change places (RENAME_EXCHANGE) → the file is stamped as listed there
 *     → the placeholder goes to the attic
 *
 * Killed after the first step, a refresh there stamps the placeholder again. After the second, this
 * directory's next refresh finds a placeholder that is gone from here, and that one's
 * finds the file, whose locator is right, and renews its stamp. No step is repeated in vain, and at each
 * both names show the same file.
 */

#define DEPTH_MAX 256u

bool populate_is_in_place(const struct stamp *stamp, uint64_t parent, const char *name) {
        return stamp->parent == parent && stamp->name == stamp_name(name);
}

/* ── a file ─────────────────────────────────────────────────────────────── */

static bool is_at(int directory, const char *name, const struct stat *what) {
        struct stat st;

        return fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == what->st_ino &&
               st.st_dev == what->st_dev;
}

static bool is_same_file(int a, int b) {
        struct stat x, y;

        return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

/* Is it a placeholder of the same, of which nobody has seen anything? */
static bool is_untouched(int fd, const struct stamp *old, struct stamp *ret, struct stat *st) {
        return fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_nlink == 1 && presence_is_empty(fd) == 1 &&
               stamp_read(fd, st->st_ino, ret) == 0 && strcmp(ret->engine, old->engine) == 0 &&
               strcmp(ret->locator, old->locator) == 0 && stamp_is_unmodified(ret, st) &&
               (ret->state == STAMP_PLACEHOLDER || ret->size == 0);
}

/* Where they change places. */
struct places {
        int parent, there;
        const char *name, *new_name;
};

/* With both claimed. */
static int exchange(const struct places *at, struct moving *old, int fresh, struct stamp *ret) {
        struct stat st, fresh_st;
        int r;

        if (fstat(old->fd, &st) < 0 || !is_untouched(fresh, &old->stamp, ret, &fresh_st) ||
            !stamp_same_version(&old->stamp, ret)) /* then its content is of no use there */
                return -EEXIST;
        ret->parent = old->stamp.parent;
        ret->name = old->stamp.name;
        r = stamp_write(fresh, ret);
        if (r == 0 && renameat2(at->parent, at->name, at->there, at->new_name, RENAME_EXCHANGE) < 0)
                r = -errno;
        /* Not if a user has put something else under one of the names meanwhile. */
        if (r == 0 && (!is_at(at->there, at->new_name, &st) || !is_at(at->parent, at->name, &fresh_st))) {
                (void)renameat2(at->parent, at->name, at->there, at->new_name, RENAME_EXCHANGE);
                r = -EEXIST;
        }
        return r;
}

/* The old file to the fresh placeholder's place. */
static int exchange_claimed(struct populate *p, const struct places *at, int fd, int fresh, struct stamp *ret) {
        struct moving old;
        uint64_t id = 0;
        int r;

        r = stamp_directory(at->there, &id);
        if (r == 0)
                r = moving_begin(p->group, fd, &old);
        if (r < 0)
                return r;
        r = claim_also(p->group, fresh);
        if (r == 0) {
                r = exchange(at, &old, fresh, ret);
                (void)fcntl(fresh, F_SETLEASE, F_UNLCK);
        }
        if (moving_end(&old, r == 0 ? id : 0, at->new_name) < 0 && r == 0) /* its place is not noted */
                (void)populate_add_directory(p, at->there, p->engine, NULL, true);
        return r;
}

static int move_over(struct populate *p, int parent, const char *name, int fd, const struct handle *place,
                     const char *new_name) {
        struct stamp fresh_stamp = STAMP_INIT;
        autoclose int there = -1, fresh = -1;
        int r;

        there = handle_open(store_root(p->store), place, O_RDONLY | O_DIRECTORY);
        fresh = there < 0 ? -1 : openat(there, new_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fresh < 0 || is_same_file(fd, fresh)) /* itself: it was new a moment ago */
                return -ENOENT;
        r = exchange_claimed(p, &(struct places){.parent = parent, .there = there, .name = name,
                                                 .new_name = new_name}, fd, fresh, &fresh_stamp);
        if (r == 0 && attic_put(p->attic, parent, name, fresh, &fresh_stamp, true) < 0)
                p->busy++;
        stamp_clear(&fresh_stamp);
        return r;
}

static int gone_file(struct populate *p, int parent, const char *name, int fd, const struct stat *st,
                     const struct stamp *stamp) {
        struct handle place;
        uint64_t key = attic_key(stamp->engine, stamp->locator);
        g_autofree char *new_name = moves_take(p->moves, key, &place);
        int r = new_name ? move_over(p, parent, name, fd, &place, new_name) : -ENOENT;

        if (new_name)
                log_debug("%s: \"%s\" was moved, it seems, to \"%s\": %s", stamp->engine, name, new_name,
                          strerror(-r));
        if (r == -EBUSY) /* the one or the other is open: later */
                moves_note(p->moves, key, &place, new_name);
        if (r == 0 || r == -EBUSY)
                return r;
        if (!stamp_is_unmodified(stamp, st)) {
                p->local++;
                return -EEXIST;
        }
        return attic_put(p->attic, parent, name, fd, stamp, false);
}

int populate_gone_file(struct populate *p, int parent, const char *name, int fd, const struct stat *st,
                       const struct stamp *stamp) {
        int r;

        moves_begin(p->moves);
        r = gone_file(p, parent, name, fd, st, stamp);
        moves_end(p->moves);
        return r;
}

/* ── what is in a directory ─────────────────────────────────────────────── */

/* Does the remote have it there no more? `names`: what it has there; NULL: nothing. What a user
 * renamed is his, but for a directory of which nothing is here yet. A conflict copy is of a file of another name. */
static bool is_gone(const struct populate *p, const struct stamp *stamp, uint64_t parent, const char *name,
                    GHashTable *names) {
        if (strcmp(stamp->engine, p->engine) != 0 || stamp->parent != parent)
                return false;
        if (stamp->name == stamp_name(name))
                return true;
        if (stamp->state != STAMP_UNLISTED && !conflict_name_is_one(name))
                return false;
        if (!names)
                return true;
        return !g_hash_table_contains(names, populate_locator_key(stamp->locator));
}

static void remove_gone_in(struct populate *p, int directory, GHashTable *names, unsigned depth);

/* -ENOTEMPTY: what is left is a user's. -EBUSY: counted, later. */
static int try_to_empty(struct populate *p, int parent, const char *name, int fd, unsigned depth) {
        uint64_t busy = p->busy;

        remove_gone_in(p, fd, NULL, depth);
        if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
                return 0;
        if (p->busy == busy && (errno == ENOTEMPTY || errno == EEXIST))
                return -ENOTEMPTY;
        if (p->busy == busy) /* something is mounted over it */
                p->busy++;
        return -EBUSY;
}

/* What a user's things are left in is a user's: nothing more comes into it. What has come from a listing
 * that is under way is looked for once more, when it can be no more than what was on its way. */
static int empty_directory(struct populate *p, int parent, const char *name, int fd, unsigned depth) {
        uint64_t local;
        int r;

        if (depth > DEPTH_MAX)
                return -ELOOP;
        r = try_to_empty(p, parent, name, fd, depth);
        if (r != -ENOTEMPTY)
                return r;
        if (directory_give_up(fd) == 0)
                (void)fan_group_unwatch_directory(p->group, fd);
        local = p->local;
        r = try_to_empty(p, parent, name, fd, depth);
        p->local = local;
        return r == -ENOTEMPTY ? -EEXIST : r;
}

int populate_gone_directory(struct populate *p, int parent, const char *name, int fd) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        bool ours;

        ours = fstat(fd, &st) == 0 && stamp_read(fd, st.st_ino, &stamp) == 0 &&
               strcmp(stamp.engine, p->engine) == 0 && populate_is_in_place(&stamp, p->parent, name);
        stamp_clear(&stamp);
        return ours ? empty_directory(p, parent, name, fd, 1) : -EEXIST;
}

static void remove_entry(struct populate *p, int directory, uint64_t id, const char *name, GHashTable *names,
                         unsigned depth) {
        struct stamp stamp = STAMP_INIT;
        autoclose int fd = -1;
        struct stat st;
        int r = 0;

        fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT && errno != ELOOP && errno != ENXIO && errno != ENODEV)
                p->busy++; /* a lease, or out of descriptors */
        if (fd < 0 || fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
                return;
        r = stamp_read(fd, st.st_ino, &stamp);
        if (r < 0) {
                if (r != -ENODATA && r != -EBADMSG)
                        p->busy++;
                return;
        }
        if (is_gone(p, &stamp, id, name, names))
                r = S_ISDIR(st.st_mode) ? empty_directory(p, directory, name, fd, depth + 1)
                                        : populate_gone_file(p, directory, name, fd, &st, &stamp);
        if (r < 0 && r != -EEXIST && S_ISREG(st.st_mode)) /* open, or the store is full: later */
                p->busy++;
        stamp_clear(&stamp);
}

static void remove_gone_in(struct populate *p, int directory, GHashTable *names, unsigned depth) {
        g_autoptr(GPtrArray) others = g_ptr_array_new_with_free_func(g_free);
        struct dirent *d;
        uint64_t id;
        DIR *dir;
        int fd;

        fd = stamp_directory(directory, &id) < 0 ? -1 : openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                p->busy++;
                fd_close(fd);
                return;
        }
        while ((errno = 0, d = readdir(dir)) != NULL)
                if ((d->d_type == DT_REG || d->d_type == DT_DIR || d->d_type == DT_UNKNOWN) &&
                    strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
                    !(names && g_hash_table_contains(names, populate_name_key(d->d_name))))
                        g_ptr_array_add(others, g_strdup(d->d_name));
        if (errno != 0)
                p->busy++;
        closedir(dir);
        for (guint i = 0; i < others->len; i++)
                remove_entry(p, directory, id, others->pdata[i], names, depth);
}

void populate_remove_gone(struct populate *p, GHashTable *names) {
        remove_gone_in(p, p->directory, names, 0);
}
