/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * file — one placeholder that is being served (private to files.c, file.c, fill.c, switch.c)
 *
 * Phases:
 *
 *     LOADING ──▶ ACTIVE ──▶ FINISHING ──▶ gone (whole)
 *                  │  ▲
 *                  ▼  └──── SWITCHING (the remote has a new version; nobody saw the old)
 *                 FAILING ──▶ gone (waiters got an errno)
 *
 *   LOADING    a job asks the file which bytes are here (presence.h)
 *   ACTIVE     fetches and writes; what is present grows; range waiters are answered as it does.
 *              With no waiter and nothing under way it is IDLE in all but name, and kept for
 *              a while when it is read by ranges, so that its extents need not be asked again
 *   FINISHING  a job writes the last piece, sets mtime, stamps FILLED (or WHOLE, see model 4)
 *   SWITCHING  a stat of the remote, then a job that empties the file for the new version
 *   FAILING    `error` is set: fetches are cancelled, writes waited for
 *
 * `jobs` counts pool jobs that use the file's descriptor; nothing is freed or closed before
 * it is 0. All members belong to the main loop; a job gets copies of what it needs.
 */

#include "dispatcher/files/ahead.h"
#include "dispatcher/files/files.h"
#include "dispatcher/files/settle.h"
#include "shared/extents.h"

enum file_phase { FILE_LOADING, FILE_ACTIVE, FILE_FINISHING, FILE_SWITCHING };

struct file_key {
        uint64_t device, inode;
};

typedef struct File File;
typedef struct Fetch Fetch;

struct File {
        Files *files;
        struct file_key key;
        enum file_phase phase;
        int fd;             /* private mount, O_RDWR; -1 while idle */
        struct stamp stamp;
        uint64_t limit;     /* what is the remote's: [0, limit); min(stamp.size, size when loaded) */
        bool resized;       /* the size is not the stamp's: the user's own when complete */
        bool whole;         /* somebody waits for all of it: no more ranges */
        struct timespec mtime; /* to be set when whole: the remote's, or what a user set before */
        struct extents present;
        GQueue waiters;     /* Request, by link */
        GQueue arrived;     /* Request that came while the phase was not ACTIVE */
        GQueue looking;     /* Request whose thread was not asleep yet */
        guint look_timer;
        GPtrArray *fetches; /* Fetch, owned */
        unsigned jobs;
        int error;          /* 0, or -errno: FAILING */
        char *detail;
        unsigned switches, same_again;
        EngineRequest *stat; /* SWITCHING */
        struct stamp next;   /* SWITCHING: what it becomes; engine == NULL: not known yet */

        /* sequential reads: where the last one ended, and how far ahead to fetch */
        uint64_t next_read, window;

        /* the transfer that people see */
        uint64_t transfer, fetched, fetched_told;
        int64_t transfer_since, transfer_told; /* µs; told: 0 = not announced */
        pid_t tid;
        uid_t uid;

        int64_t idle_since;
        GList idle; /* in files->idle while idle */
        bool is_idle;
};

struct Fetch {
        File *file;
        EngineRequest *request; /* NULL once ended */
        uint64_t begin, end;
        ProviderData *held;     /* the last piece, until DONE says that it is good */
        unsigned writes;        /* jobs */
};

struct Files {
        const struct files_options *o;
        GHashTable *table; /* key → File */
        GQueue idle;       /* File, oldest first */
        GHashTable *later; /* handle → switches that wait for readers to go (switch.c) */
        Settle *settle;
        Ahead *ahead;
        guint tick;
        bool denying;
        uint64_t last_transfer;
        uint64_t hydrated, bytes;
};

/* files.c */
/* An event whose file is not known to be busy: the stamp decides. Takes it. */
void files_classify(Files *files, Request *request);
File *file_lookup(Files *files, dev_t device, ino_t inode);
File *file_new(Files *files, dev_t device, ino_t inode, struct stamp *stamp);
void file_free(File *file);
Engine *file_engine(const File *file);

/* file.c: the one place where a file goes on; called after anything changed. May free it. */
void file_step(File *file);
void file_fail(File *file, int error, const char *detail);
void file_admit(File *file, Request *request);
/* An access to what is here of a file that rests, with nothing to be read ahead: answered from
 * memory, without opening the file. false: nothing was done, the usual way. */
bool file_answer_at_rest(File *file, Request *request);
int file_load(File *file, const struct stat *st);
/* Puts a stamp FILLED (or WHOLE, after a sync) on a file all of which is here; then answers. */
void file_finish(File *file, bool durable);
/* Is it an open by which the file may be changed, or perhaps truncate(2)? While an open waits its
 * writer is counted already, and a read lease is refused. No descriptor of ours may be open for writing. */
bool request_may_change(const Request *request);
bool file_completes_with_held(const File *file);
/* Path for logs and transfers; g_free(). Never NULL. */
char *file_name(const File *file);

/* fill.c */
/* Makes sure that [begin, end) is being fetched as far as it is not here. 0 or -errno. */
int fill_want(File *file, uint64_t begin, uint64_t end, unsigned fetches_max);
/* The same for what will be wanted soon, in pieces of at least `least` bytes (or to the file's end): not
 * a request for every read. */
int fill_ahead(File *file, uint64_t begin, uint64_t end, uint64_t least, unsigned fetches_max);
bool fill_busy(const File *file);
void fill_cancel(File *file);
/* Writes the pieces of `bytes` that are holes, from a job. Punches out again what failed. */
int fill_write_pieces(int fd, uint64_t offset, const void *bytes, const struct extent *pieces,
                      size_t n_pieces, size_t *ret_done, uint64_t granule);
/* Filling moves mtime: this puts it back. 0 or -errno. */
int fill_set_mtime(int fd, const struct timespec *mtime);
/* The pieces of [begin, end) that are not present; g_free(). */
struct extent *fill_pieces(const File *file, uint64_t begin, uint64_t end, size_t *ret_n);

/* foreign.c: a file without a stamp of its own. false: a user's own, nothing was done; true: it has
 * another inode's, and the request was taken. */
bool foreign_begin(Files *files, Request *request, int fd, const struct stat *st);

/* switch.c */
void switch_begin(File *file);
/* The remote moved on, and readers have seen a part: a try when they may have gone. */
void switch_later(File *file);
GHashTable *switch_later_table(void);
/* On a pool thread: empties the file for the stamp's version. */
int switch_content(int fd, struct stamp *stamp);
