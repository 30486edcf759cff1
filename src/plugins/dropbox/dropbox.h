/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * dropbox — a Dropbox account as a cloudsync engine
 *
 * One instance is one `struct dropbox`. The namespace is kept in an index (index.h) by one
 * thread (sync.c), which lists once and then follows the changes; list and stat answer from
 * the index, and only content is fetched when it is asked for.
 *
 *     sync thread     list_folder(+continue) ─▶ index ─▶ host->changed(directory)
 *                     longpoll ─▶ continue ─▶ …
 *     list            list threads: index ─▶ entry()        (before the first listing is complete:
 *                     list_folder of that directory ─▶ index ─▶ entry())
 *     stat            host's thread: index ─▶ entry()
 *     fetch           client's thread: download "rev:REV" ─▶ verify ─▶ write()
 *
 * Locators. A file's is its Dropbox id ("id:…"): it stays the same when the file is moved or
 * renamed, so that a move can be told from a deletion and a new file, and stat answers for
 * the file wherever it is now. A directory's is its path of local names below the prefix ("" the
 * root): directories that Dropbox tells only through their content have no id, the dispatcher finds
 * a changed directory by its path, and nothing is kept for a directory that a move could lose.
 *
 * Versions. A file's is its rev, and content is downloaded by "rev:REV" and nothing else: a file
 * that changes meanwhile still gives the pinned version. An exported file's version is rev '+'
 * the first half of the export's hash; a note's is "note+" and a hash of its text.
 *
 * Threads. The client's thread runs everything that begins with on_ or is told so. `lock` guards
 * what is shared; index, auth and verify have locks of their own, taken after it, never before.
 */

#include <cloudsync/engine.h>
#include <glib.h>
#include <pthread.h>
#include <stdbool.h>

#include "plugins/common/http.h"
#include "plugins/dropbox/auth.h"
#include "plugins/dropbox/call.h"
#include "plugins/dropbox/index.h"
#include "plugins/dropbox/settings.h"
#include "plugins/dropbox/verify.h"

#define LIST_THREADS 4u

struct dropbox {
        const struct cs_host *host;
        struct settings settings;
        struct http_client *client;
        struct http_client *notify; /* longpoll: its own, for its long silence */
        struct auth *auth;
        struct index *index;
        struct verify *verify;
        pthread_t list_threads[LIST_THREADS];
        unsigned n_list_threads;
        pthread_t sync_thread;
        bool sync_running;

        pthread_mutex_t lock;
        pthread_cond_t wake;   /* of the sync thread */
        pthread_mutex_t condition_lock; /* taken before all others: one report at a time */
        bool needs_login;      /* as it was reported last, under condition_lock */
        char *busy;            /* the same: what it was said to be busy with, or NULL */
        char *refused;         /* the login is there, and Dropbox will not have it: why; under lock */

        bool stop, login_changed;
        bool prepared;         /* root and namespace are known: lists may be answered … */
        bool complete;         /* … from the index alone: the first listing is there */
        char *namespace;       /* for Dropbox-API-Path-Root; NULL: none is sent */
        char *root_lower;      /* settings.root as Dropbox lowercases it; written by the sync thread */
        GQueue waiting;        /* of struct list_op: for `prepared` */
        GQueue lists;          /* of struct list_op: for a thread */
        pthread_cond_t lists_wake;
        unsigned directs;      /* direct_list() under way */
        pthread_cond_t directs_wake; /* one of them ended, or the first listing has */
        bool lists_end;
        GHashTable *fetches;   /* struct cs_request * → struct fetch * */
        int64_t quiet_until_us; /* Dropbox asked for silence (Retry-After) */
        uint64_t sync_tag;     /* of the sync thread's requests */
};

/* instance.c: as cs_engine_ops.open and close. */
int dropbox_open(const struct cs_host *host, void **instance);
void dropbox_free(struct dropbox *db);
/* What is left of the silence that Dropbox asked for, ms. */
uint32_t dropbox_quiet_ms(struct dropbox *db);
void dropbox_be_quiet(struct dropbox *db, uint32_t ms);
/* The value of Dropbox-API-Path-Root, or NULL. To g_free(). */
char *dropbox_path_root(struct dropbox *db);

/* condition.c: tells the host what it does not know yet. From any thread, without locks held. */
void condition_report(struct dropbox *db);
/* Dropbox refuses the login that there is, or (NULL) does not any more. */
void condition_refused(struct dropbox *db, const char *why);
/* What the engine is busy with, or NULL. */
void condition_busy(struct dropbox *db, const char *text);

/* login-op.c: as cs_engine_ops.login. */
int dropbox_login(void *instance, enum cs_login_step step, const char *text, char *reply, size_t size);

/* sync.c */
int sync_start(struct dropbox *db);
void sync_stop(struct dropbox *db);
void sync_login_changed(struct dropbox *db);

/* tell.c: these directories, and all that are noted; in between the notes may grow. */
void tell_changed(struct dropbox *db, GHashTable *changed);
void tell_dirty(struct dropbox *db);
/* Has a store ever been told of a listing of ours? That outlives an index that was thrown away. */
bool tell_was_listed(struct dropbox *db);
void tell_set_listed(struct dropbox *db);

/* apply.c: one page of a listing into the index, within a transaction; `root`: root_lower, or
 * a copy of it. Counts what was left out. */
struct api_page;
struct apply_counts {
        uint64_t entries, malformed, unknown, unmounted, outside, excluded, too_deep;
};
void apply_page(struct dropbox *db, const char *root, const struct api_page *page,
                struct apply_counts *counts);

/* list.c */
struct list_op {
        struct dropbox *db;
        struct cs_request *request;
        char *locator;
};
void list_start(struct dropbox *db, struct cs_request *request, const char *locator);
int list_threads_start(struct dropbox *db);
void list_threads_stop(struct dropbox *db);
/* Ends the waiting: to be served (error 0), or with an error. */
void list_release(struct dropbox *db, int error, uint32_t retry_after_ms, const char *detail);
bool list_cancel(struct dropbox *db, struct cs_request *request);
void stat_start(struct dropbox *db, struct cs_request *request, const char *locator);
/* The entry as the host is told it; *ret_version to be freed. 0, or -ENODATA: an export whose size is
 * not known yet (see export.c). */
int entry_describe(const struct index_entry *entry, struct cs_entry *ret, char **ret_version);

/* direct.c: one directory of Dropbox's into the index; blocks. -EALREADY: while it waited for its turn
 * the first listing was finished. */
struct api_fault;
int direct_list(struct dropbox *db, struct cs_request *request, const char *path, struct api_fault *fault);

/* export.c: asks for the exact size of exports, several at once, blocking; into the index. Those
 * that cannot be exported now become notes in *entry. */
void export_resolve(struct dropbox *db, struct cs_request *request, struct index_entry **entries, unsigned n);

/* note.c: the text of a file that stands for what cannot be downloaded. To g_free(). Pure. */
char *note_text(const struct index_entry *entry);

/* fetch.c */
void fetch_start(struct dropbox *db, struct cs_request *request, const struct cs_fetch *fetch);
void fetch_cancel(struct dropbox *db, struct cs_request *request);
