/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/populate-internal.h"

#include "dispatcher/tree/attic-name.h"
#include "dispatcher/files/claim.h"
#include "dispatcher/tree/conflict-name.h"
#include "dispatcher/tree/moving.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* populate-file — one file of a listing: a new placeholder, or whatever has its name */

#define COPIES_MAX 100u

/* `listed`: the name that the remote has, which a conflict copy's own is not. */
static int make_file(struct populate *p, const struct cs_entry *entry, const char *listed) {
        struct timespec times[2];
        struct stamp stamp;
        autoclose int fd = -1;
        int r;

        fd = openat(p->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, entry->mode & 0777);
        if (fd < 0)
                return -errno;
        populate_stamp(p, entry, &stamp);
        stamp.name = stamp_name(listed);
        stamp.state = entry->size > 0 ? STAMP_PLACEHOLDER : STAMP_WHOLE;
        r = stamp_write(fd, &stamp);
        if (r < 0)
                return r;
        times[0] = times[1] = (struct timespec){.tv_sec = entry->mtime_sec, .tv_nsec = entry->mtime_nsec};
        if ((entry->size > 0 && ftruncate(fd, (off_t)entry->size) < 0) || futimens(fd, times) < 0 ||
            linkat(fd, "", p->directory, entry->name, AT_EMPTY_PATH) < 0)
                return -errno;
        p->made++;
        return 0;
}

/* A name that is free: a file that was moved here, or a new placeholder. */
static int new_file(struct populate *p, const struct cs_entry *entry);

static void add_change(struct populate *p, int fd, const struct cs_entry *entry) {
        struct populate_change change = {.entry = *entry};

        if (handle_take(fd, &change.handle) < 0) {
                p->busy++;
                return;
        }
        change.version = g_strdup(entry->version);
        change.entry.version = change.version;
        change.entry.name = change.entry.locator = NULL;
        g_array_append_val(p->changes, change);
}

/* ── stamps of files that are there ─────────────────────────────────────── */

int populate_renew_place(struct populate *p, int fd, uint64_t parent, const char *name) {
        struct moving moving;
        int r = moving_begin(p->group, fd, &moving);

        return r < 0 ? r : moving_end(&moving, parent, name);
}

/* A user's for ever, and this version of the remote's was seen. 0; -EBUSY. */
static int mark_local(struct populate *p, int fd, const struct cs_entry *entry) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        int r;

        if (fdatasync(fd) < 0) /* WHOLE is said of what is on disk */
                return -errno;
        r = claim_take(p->group, fd);
        if (r < 0)
                return r;
        r = fstat(fd, &st) < 0 ? -errno : stamp_read(fd, st.st_ino, &stamp);
        if (r == 0 && stamp_is_unmodified(&stamp, &st))
                r = -EBUSY; /* not any more: looked at again */
        if (r == 0) {
                stamp_set_entry(&stamp, entry);
                stamp.state = STAMP_WHOLE;
                stamp.flags |= STAMP_LOCAL;
                stamp.parent = p->parent;
                stamp.name = stamp_name(entry->name);
                g_free(stamp.locator);
                stamp.locator = g_strdup(entry->locator);
                r = stamp_write(fd, &stamp);
        }
        stamp_clear(&stamp);
        claim_drop(p->group, fd);
        return r;
}

/* ── conflict copies ────────────────────────────────────────────────────── */

/* `entry->name` is a copy's name that may be taken. 0: the remote's version is there, or will be; -EEXIST:
 * another name is needed. */
static int put_copy(struct populate *p, const struct cs_entry *entry, const char *listed) {
        struct stamp stamp = STAMP_INIT;
        autoclose int fd = -1;
        struct stat st;
        int r;

        r = make_file(p, entry, listed);
        if (r == 0) {
                p->conflicts++;
                log_about(LOG_NOTICE, p->engine, listed,
                          "changed here and at the remote: the remote's version is \"%s\"", entry->name);
        }
        if (r != -EEXIST)
                return r;
        fd = openat(p->directory, entry->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -EEXIST;
        r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? stamp_read(fd, st.st_ino, &stamp) : -EEXIST;
        if (r == 0 && (strcmp(stamp.engine, p->engine) != 0 || strcmp(stamp.locator, entry->locator) != 0 ||
                       !stamp_is_unmodified(&stamp, &st)))
                r = -EEXIST;
        else if (r == 0 && !stamp_matches(&stamp, entry))
                add_change(p, fd, entry);
        stamp_clear(&stamp);
        return r == 0 ? 0 : -EEXIST;
}

static int put_copies(struct populate *p, const struct cs_entry *entry) {
        int r = -EEXIST;

        for (unsigned n = 0; r == -EEXIST && n < COPIES_MAX; n++) {
                g_autofree char *name = conflict_name_here(entry->name, entry->mtime_sec, n);
                struct cs_entry copy = *entry;

                copy.name = name;
                r = put_copy(p, &copy, entry->name);
        }
        return r;
}

/* A user changed `fd`, and the remote has another version than the stamp says. */
static int put_beside(struct populate *p, const struct cs_entry *entry, int fd, const struct stamp *stamp) {
        int r;

        p->local++;
        if (stamp->state != STAMP_WHOLE && (stamp->state != STAMP_FILLED || stamp->boot != stamp_boot())) {
                p->skipped++; /* cut while no daemon ran: what is missing of it is of the old version */
                return 0;
        }
        r = put_copies(p, entry);
        if (r == 0)
                r = mark_local(p, fd, entry);
        if (r == -EBUSY)
                p->busy++;
        return r == -EBUSY ? 0 : r;
}

/* ── a name that is taken ───────────────────────────────────────────────── */

/* By a file of ours. */
static int meet_ours(struct populate *p, const struct cs_entry *entry, int fd, const struct stat *st,
                     const struct stamp *stamp) {
        bool unmodified = stamp_is_unmodified(stamp, st);
        bool in_place = populate_is_in_place(stamp, p->parent, entry->name);
        int r;

        if (strcmp(stamp->locator, entry->locator) != 0) {
                if (!in_place) {
                        p->skipped++; /* a user put it there */
                        return 0;
                }
                if (!unmodified)
                        return put_beside(p, entry, fd, stamp);
                r = populate_gone_file(p, p->directory, entry->name, fd, st, stamp);
                if (r == -EBUSY || r == -EEXIST) /* a user's, changed just now: the next refresh sees it */
                        p->busy++;
                return r == 0 ? new_file(p, entry) : r == -EBUSY || r == -EEXIST ? 0 : r;
        }
        if (!unmodified)
                return stamp_matches(stamp, entry) ? (p->local++, 0) : put_beside(p, entry, fd, stamp);
        if (!in_place && populate_renew_place(p, fd, p->parent, entry->name) < 0)
                p->busy++; /* open, or a user's just now */
        if (!stamp_matches(stamp, entry))
                add_change(p, fd, entry);
        return 0;
}

/* Stamped as a user's, of which this version of the remote's was seen. 0; -EBUSY. */
static int adopt(struct populate *p, int fd, const struct cs_entry *entry) {
        struct stamp stamp;
        struct stat st;
        int r = claim_take(p->group, fd);

        if (r < 0)
                return r;
        populate_stamp(p, entry, &stamp);
        stamp.state = STAMP_WHOLE;
        stamp.flags |= STAMP_LOCAL;
        r = fstat(fd, &st) < 0 ? -errno : st.st_nlink == 0 ? -EBUSY : stamp_write(fd, &stamp);
        claim_drop(p->group, fd);
        return r;
}

/*
 * By a file that never was ours: that of a user who was here first, or what an editor wrote beside a file
 * of ours and renamed over it. The stamp with the version that he knew is gone with that. So the clock
 * decides, once: a version of the remote's that is later than the file is one that he has not
 * seen, and comes beside it. From then on the file has a stamp, and versions are compared.
 */
static int meet_own(struct populate *p, const struct cs_entry *entry, int fd, const struct stat *st) {
        struct stamp foreign = STAMP_INIT;
        bool later = entry->mtime_sec > st->st_mtim.tv_sec ||
                     (entry->mtime_sec == st->st_mtim.tv_sec && entry->mtime_nsec > st->st_mtim.tv_nsec);
        bool copied = stamp_read_foreign(fd, &foreign) != -ENODATA; /* see foreign.c */
        int r = 0;

        stamp_clear(&foreign);
        if (!p->refresh || copied || !S_ISREG(st->st_mode)) {
                p->skipped++;
                return 0;
        }
        p->local++;
        if (later)
                r = put_copies(p, entry);
        if (r < 0 && r != -EBUSY)
                return r;
        if (r == 0)
                r = adopt(p, fd, entry);
        if (r == -EBUSY)
                p->busy++;
        else if (r < 0) /* no room among its attributes: it is met again as it is */
                p->skipped++;
        return 0;
}

/* 0 when that was dealt with; -ENOENT: it is free. */
static int meet_file(struct populate *p, const struct cs_entry *entry) {
        struct stamp stamp = STAMP_INIT;
        autoclose int fd = -1;
        struct stat st;
        int r;

        fd = openat(p->directory, entry->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && errno == EWOULDBLOCK) { /* another thread of ours has a claim on it, or a user a lease */
                p->busy++;
                return 0;
        }
        if (fd < 0 && (errno == ELOOP || errno == ENXIO || errno == ENODEV)) { /* a link, a socket, a device */
                p->skipped++;
                return 0;
        }
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode) && p->locator) { /* it was a directory: gone, unless a user's is in it */
                if (populate_gone_directory(p, p->directory, entry->name, fd) == 0)
                        return -ENOENT;
                p->skipped++;
                return 0;
        }
        r = S_ISREG(st.st_mode) ? stamp_read(fd, st.st_ino, &stamp) : -ENODATA;
        if (r == -ENODATA)
                r = meet_own(p, entry, fd, &st);
        else if (r < 0 || strcmp(stamp.engine, p->engine) != 0) {
                p->skipped++; /* damaged, or another engine's */
                r = 0;
        } else
                r = meet_ours(p, entry, fd, &st, &stamp);
        stamp_clear(&stamp);
        return r;
}

/* Out of the attic, to its new place. */
static int take_moved(struct populate *p, const struct cs_entry *entry) {
        return p->attic && attic_count(p->attic) > 0
                       ? attic_take(p->attic, p->engine, entry, p->directory, p->parent)
                       : -ENOENT;
}

static int take_or_make(struct populate *p, const struct cs_entry *entry) {
        int r = take_moved(p, entry);

        return r == -ENOENT ? make_file(p, entry, entry->name) : r;
}

static int new_file(struct populate *p, const struct cs_entry *entry) {
        uint64_t made = p->made;
        int r;

        if (!p->record)
                return take_or_make(p, entry);
        moves_begin(p->moves);
        r = take_or_make(p, entry);
        if (p->made > made)
                moves_note(p->moves, attic_key(p->engine, entry->locator), &p->handle, entry->name);
        moves_end(p->moves);
        return r;
}

int populate_put_file(struct populate *p, const struct cs_entry *entry) {
        int r = -ENOENT;

        if (p->refresh)
                r = meet_file(p, entry);
        if (r == -ENOENT)
                r = new_file(p, entry);
        if (r == -EEXIST)
                r = meet_file(p, entry);
        if (r == -ENOENT) /* it was free, then taken, and is free again: not now */
                r = new_file(p, entry);
        return r;
}
