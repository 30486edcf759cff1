/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * node — a directory that is being listed, is waiting for that, or has been a moment ago (private to
 * lister.c, node.c, walk.c)
 *
 *     first listing   UNLISTED ──▶ LISTED, gone from memory
 *     refresh         LISTED and DIRTY ──▶ LISTED
 *
 * DIRTY is on the disk (durable.h) before the engine is asked, and taken off when everything that it said has
 * been applied, not before that is on the disk. So an engine may forget a change as soon as it was asked for that directory: whatever is
 * killed, or when the power goes, the next daemon finds DIRTY and asks again. Where DIRTY cannot be
 * written, the engine is not asked: that is tried again as a listing that failed. It does not matter who wanted the
 * refresh. A change may be on its way to us while we ask because somebody else does, and the engine forgets it
 * then. A walk by the clock alone writes nothing: what it loses the next one finds.
 *
 * What is left because somebody has a file open leaves it DIRTY, and it is refreshed again and again, with pauses
 * that grow to a minute.
 *
 * A change that is told while the directory is being listed makes another refresh after it. Two begin
 * at least a second apart: after the last one a node rests for that long.
 *
 * Nodes are kept by inode number, which a file system gives to another directory as soon as this one is
 * removed. So who looks for a node says which directory it is for (node_find), and a node of one that is
 * gone goes then: or the new one would be taken for listed, and be read as empty.
 */

#include "dispatcher/tree/durable.h"
#include "dispatcher/tree/fresh.h"
#include "dispatcher/tree/lister.h"
#include "dispatcher/tree/populate.h"
#include "dispatcher/tree/told.h"

#define NODE_PAUSE_US G_USEC_PER_SEC

typedef struct Node Node;
struct walk;

struct node_key {
        uint64_t device, inode;
};

struct Node {
        Lister *lister;
        struct node_key key;
        struct handle handle;
        char *engine, *locator;
        bool refresh;  /* it is LISTED, and listed again */
        bool record;   /* what is new may have been moved: see moves.h */
        bool dirty;    /* stamped so, and counted in lister->dirty */
        bool owed;     /* the engine has said what is not applied yet, or that there is something */
        struct walk *walk, *walk_after; /* whose it is; and from the next refresh on */
        int fd;        /* while entries are being brought in, or -1 */
        DurableWait *noting; /* DIRTY is on its way to the disk, before the engine is asked; or what was applied, before
                              * DIRTY is taken off (btrfs) */
        EngineRequest *request;
        unsigned jobs; /* and switches of files: what a refresh waits for */
        bool ended;    /* the engine has said all */
        int r;
        char *detail;
        uint64_t skipped, unknown, busy;
        int full;      /* refresh: -ENOSPC or -EDQUOT: what is new does not all go in */
        bool begun_before; /* an earlier daemon may have listed some of it, which may be gone by now */
        GHashTable *names; /* then, and of a refresh: what the remote has */
        GQueue waiters;
        /* Who asks for a refresh while it is being listed gets one that begins after that. */
        GQueue later;
        bool again;
        int64_t begun;    /* µs; 0: never */
        guint timer;      /* until it begins again, or, at rest, goes */
        bool resting;
        unsigned retry_s; /* after a failure */
        unsigned busy_s;  /* while files are open */
};

struct Lister {
        const struct lister_options *o;
        GHashTable *nodes; /* key → Node */
        uint64_t pending;  /* nodes that are not refreshes */
        uint64_t dirty;    /* nodes whose directory is stamped DIRTY */
        uint64_t polling;  /* walks by the clock: they stamp nothing DIRTY, and bring UNLISTED directories */
        bool complete;     /* COMPLETE_FILE is there */
        bool was_complete; /* it was when we started, or we have looked ourselves */
        bool denying;
        bool late;         /* see fresh.h; "nothing is pending" is noted by a clean stop alone then */
        Fresh *fresh;
        Durable *durable;
        Told *told;
        bool stopped_complete;
        Attic *attic;
        Moves *moves;
        guint sweep_timer;
        bool sweeping;
        GHashTable *polls; /* engine → struct poll (walk.c) */
};

/* lister.c */
void lister_note_complete(Lister *l);
void lister_schedule_sweep(Lister *l);
/* Takes what a job found: directories to list, files to switch (for the sake of `by`, or NULL). */
void lister_take(Lister *l, struct populate *p, Node *by);

/* node.c */
/* `d` is copied. The key must be new. */
Node *node_new(Lister *l, const struct populate_directory *d, bool refresh);
/* The node of this directory, or NULL. */
Node *node_find(Lister *l, const struct populate_directory *d);
void node_begin(Node *node);
/* The remote has something new there: written down, and listed again soon. */
void node_changed(Node *node);
void node_switched(void *userdata, int r);
void node_step(Node *node);
bool node_is_working(const Node *node);
/* What is under way ends with -ESHUTDOWN; may free it. */
void node_deny(Node *node);
Engine *node_engine(const Node *node);

/* walk.c */
/* A refresh of a directory and of all that is listed below it. The first is the caller's: it begins
 * with that node's walk (or walk_after) set to this. */
struct walk *walk_new(Lister *l, const char *engine);
void walk_join(struct walk *walk, Node *node);
void walk_add(struct walk *walk, const struct handle *directory);
/* A node is done with it, in whatever way. May free it. */
void walk_leave(struct walk *walk);
bool walk_is_poll(const struct walk *walk);
/* The engine has said that something has changed somewhere: a directory whose listing fails stays in the walk
 * until it succeeds. */
bool walk_is_told(const struct walk *walk);
/* Everything of an engine's, for that reason. 0; -errno: its directory cannot be opened. */
int walk_told(Lister *l, Engine *engine);
/* By the engine's setting `refresh`: begins anew for a new engine of that id. */
void poll_start(Lister *l, Engine *engine);
void poll_free(void *poll);
