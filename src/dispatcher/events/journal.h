/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * journal — the accesses that wait for an answer, where a crash cannot lose them
 *
 * The kernel matches an answer to its event by one number: that of the event's descriptor.
 * An event outlives the process that read it, and whoever holds the group can answer it,
 * if it knows the number and which file it is about. Both must be written down before they can
 * be lost. The journal is a memfd, mapped shared, that outlives the daemon's worker in
 * its supervisor (supervise.h), and both of them in the service manager's fd store.
 *
 *     header   magic, layout, `highest`: no entry above it was ever used; whether the store
 *              can be reached, and where; the one file that is being settled (settle.c)
 *     buffer   the group is read into it directly: the kernel writes the events
 *     entries  one for each descriptor number: what waits under it
 *
 * Killed between any two instructions:
 *   - in read(2), or before the entries are made: the buffer, zeroed before each read, names
 *     the events; in the supervisor's shared table their descriptors are open still.
 *   - between the entries and the zeroing of the buffer: both name the same event; nothing
 *     of this buffer was answered yet, since that comes after the zeroing.
 *   - between the answer and the end of the entry: the entry names an event that is gone; its
 *     number is still held by the open descriptor, so no new event can have it, and
 *     answering it once more does nothing (ENOENT).
 *   - between the end of the entry and close(2): the descriptor is left over, and closed by the
 *     next worker like everything that it does not know.
 *
 * An entry is made in this order: its content, then `state`; and ended by `state` alone.
 *
 * Supervisor and worker killed together lose the descriptors. What is left is the files' handles
 * in the entries, and for events that the buffer alone names, not even those: such an access
 * is denied. It is the one that does not outlive the crash, and takes a kill of both within the
 * few microseconds between read(2) and the entry.
 */

#include "dispatcher/events/fan-group.h"
#include "dispatcher/store/handle.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define JOURNAL_ENTRIES 65536u /* descriptor numbers; RLIMIT_NOFILE is not above it */
#define JOURNAL_BUFFER 6144u

struct journal_entry {
        uint32_t state; /* 0 free, 1 waits */
        uint32_t kind;  /* enum fan_kind */
        int32_t tid;
        uint32_t has_handle;
        uint64_t offset, count;
        struct handle handle;
};

typedef struct Journal Journal;

/* A new one: a memfd of fixed size, owned by the caller. -errno. */
int journal_create(void);
/* Maps it. `fd` is borrowed. -EBADMSG: not a journal, of another layout, or one that somebody
 * could still shrink. */
int journal_open(int fd, Journal **ret);
void journal_close(Journal *journal);

/* Where the next read of the group goes: zeroed. */
void *journal_buffer(Journal *journal);
/* All events of the buffer have entries: it may be forgotten. */
void journal_buffer_done(Journal *journal);

/* event->fd is the number. Numbers out of range are not written down (false). */
bool journal_add(Journal *journal, const struct fan_event *event);
void journal_end(Journal *journal, int number);

/* After a crash, before the first read: makes entries of what the buffer still names. `open`:
 * the events' descriptors are there (a supervisor's table), so that what they are of can
 * be told; else such an entry has no handle. */
void journal_recover(Journal *journal, bool open);
/* Every number that waits. Entries that make no sense are shown as opens without a handle. */
typedef void (*journal_each_fn)(void *userdata, int number, const struct journal_entry *entry);
void journal_each(Journal *journal, journal_each_fn each, void *userdata);
bool journal_has(const Journal *journal, int number);
/* One above the highest number that was ever used. */
int journal_end_of_numbers(const Journal *journal);

/* A file is silenced before it is stamped (settle.c). Killed in between, it would be open to
 * writers that nobody hears of: noted before, forgotten after (NULL). One at a time. */
void journal_settling(Journal *journal, const struct handle *handle);
bool journal_was_settling(const Journal *journal, struct handle *ret);

/* Can the store be reached, so that accesses may wait? Set before it can, taken back by a clean end
 * alone: whoever ends otherwise, with whatever status, is to be replaced. */
void journal_set_serving(Journal *journal, bool serving);
bool journal_is_serving(const Journal *journal);
/* It is being taken away, by a worker that stops: serving still, but another worker is not to attach it again. */
void journal_set_stopping(Journal *journal);
bool journal_is_stopping(const Journal *journal);

/* The store that is, or is about to be, reachable: for whoever has to end it without a worker
 * (supervise-end.c), and to tell whether a new configuration means the same one. */
struct journal_store {
        char path[PATH_MAX];   /* canonical */
        char device[PATH_MAX]; /* Device=, or "" */
        dev_t files;           /* st_dev of its root */
        dev_t superblock;      /* as in mountinfo; 0: not known yet */
        uint32_t limit_s;      /* ShutdownLimit= */
};
void journal_set_store(Journal *journal, const struct journal_store *store);
/* False: none was ever set. */
bool journal_store(const Journal *journal, struct journal_store *ret);
