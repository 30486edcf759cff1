/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/node.h"

#include "dispatcher/tree/directory.h"
#include "dispatcher/store/stamp.h"
#include "dispatcher/work.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define RETRY_FIRST_S 15u
#define RETRY_LIMIT_S 600u
#define BUSY_FIRST_S 1u
#define BUSY_LIMIT_S 60u

Engine *node_engine(const Node *node) {
        return node->lister->o->engine(node->lister->o->userdata, node->engine);
}

Node *node_new(Lister *l, const struct populate_directory *d, bool refresh) {
        Node *node = g_new0(Node, 1);
        Engine *engine;

        node->lister = l;
        node->key = (struct node_key){.device = d->device, .inode = d->inode};
        node->handle = d->handle;
        node->engine = g_strdup(d->engine);
        node->locator = g_strdup(d->locator);
        node->refresh = refresh;
        node->begun_before = true;
        node->fd = -1;
        node->retry_s = RETRY_FIRST_S;
        node->busy_s = BUSY_FIRST_S;
        if (!refresh) {
                l->pending++;
                lister_note_complete(l);
        }
        g_hash_table_insert(l->nodes, &node->key, node);
        engine = node_engine(node);
        if (engine && !refresh)
                engine_count_directories(engine, 0, 1);
        return node;
}

static void node_free(Node *node, bool listed) {
        Lister *l = node->lister;
        Engine *engine = node_engine(node);

        g_assert(g_queue_is_empty(&node->waiters) && g_queue_is_empty(&node->later) && node->jobs == 0 &&
                 !node->request && !node->noting);
        g_hash_table_remove(l->nodes, &node->key);
        if (engine && !node->refresh)
                engine_count_directories(engine, listed, -1);
        if (!node->refresh)
                l->pending--;
        if (node->dirty)
                l->dirty--;
        if (listed)
                lister_note_complete(l);
        if (node->timer)
                g_source_remove(node->timer);
        if (node->names)
                g_hash_table_unref(node->names);
        g_clear_pointer(&node->walk, walk_leave);
        g_clear_pointer(&node->walk_after, walk_leave);
        node->fd = fd_close(node->fd);
        g_free(node->engine);
        g_free(node->locator);
        g_free(node->detail);
        g_free(node);
}

static void node_answer(Node *node, int r);

Node *node_find(Lister *l, const struct populate_directory *d) {
        Node *node = g_hash_table_lookup(l->nodes, &(struct node_key){.device = d->device, .inode = d->inode});

        if (!node || handle_is_same(&node->handle, &d->handle))
                return node;
        /* Gone: while it works on its directory, it has that open, and nobody gets the number. */
        if (node->fd >= 0 || node->jobs > 0)
                return node;
        durable_cancel(g_steal_pointer(&node->noting));
        engine_cancel(g_steal_pointer(&node->request));
        node_answer(node, -EIO);
        node_free(node, false);
        return NULL;
}

static void node_answer(Node *node, int r) {
        while (r < 0 && !g_queue_is_empty(&node->later))
                request_answer(g_queue_pop_head_link(&node->later)->data, r,
                               node->detail ? node->detail : "");
        while (!g_queue_is_empty(&node->waiters))
                request_answer(g_queue_pop_head_link(&node->waiters)->data, r,
                               node->detail ? node->detail : "");
}

bool node_is_working(const Node *node) {
        return node->noting || node->request || node->jobs > 0;
}

/* ── timers ─────────────────────────────────────────────────────────────── */

static gboolean node_due(gpointer userdata) {
        Node *node = userdata;

        node->timer = 0;
        if (node->resting && !node->again)
                node_free(node, false);
        else if (node_engine(node) && !node->lister->denying)
                node_begin(node);
        else
                node->timer = g_timeout_add_seconds(node->retry_s, node_due, node);
        return G_SOURCE_REMOVE;
}

static void node_wait(Node *node, int64_t us) {
        if (node->timer)
                g_source_remove(node->timer);
        node->timer = g_timeout_add((guint)(MAX(us, 0) / 1000), node_due, node);
}

/* When the next refresh may begin. */
static int64_t node_pause(const Node *node) {
        return node->begun ? MAX(node->begun + NODE_PAUSE_US - g_get_monotonic_time(), 0) : 0;
}

/* ── DIRTY ──────────────────────────────────────────────────────────────── */

/* In memory, and what follows from it for the next start. */
static void node_count_dirty(Node *node, bool dirty) {
        if (node->dirty == dirty)
                return;
        node->dirty = dirty;
        node->lister->dirty += dirty ? 1 : (uint64_t)-1;
        lister_note_complete(node->lister);
}

/* 0; -ESTALE, -ENODATA: it is not ours any more; other -errno. */
static int node_write_dirty(Node *node, bool dirty) {
        autoclose int own = -1;
        int fd = node->fd, r;

        if (dirty) {
                node_count_dirty(node, true);
                lister_note_complete(node->lister); /* if that failed before */
        }
        if (dirty && node->lister->complete)
                return -EIO; /* nobody would look for it */
        if (fd < 0)
                fd = own = handle_open(store_root(node->lister->o->store), &node->handle, O_RDONLY | O_DIRECTORY);
        r = fd < 0 ? fd : directory_set_dirty(fd, dirty);
        if (r < 0 && r != -ESTALE && r != -ENODATA)
                log_about(LOG_WARNING, node->engine, node->locator, "a change cannot be noted in the store: %s",
                          strerror(-r));
        if (!dirty && r >= 0)
                node_count_dirty(node, false);
        return r;
}

void node_changed(Node *node) {
        node->owed = true;
        node->again = true;
        if (node->refresh || node_is_working(node))
                (void)node_write_dirty(node, true);
        if (node_is_working(node))
                return;
        if (node_pause(node) == 0)
                node_begin(node);
        else
                node_wait(node, node_pause(node));
}

/* ── the end of a listing ───────────────────────────────────────────────── */

/* One that was not listed yet, that a user has moved, and that the remote does not have any more, again and
 * again: nobody's listing will take it away, and nothing will ever come into it. It is the user's. */
static bool node_give_up(Node *node) {
        autoclose int fd = -1;

        if (node->refresh || node->r != -ENOENT || node->retry_s == RETRY_FIRST_S)
                return false;
        fd = handle_open(store_root(node->lister->o->store), &node->handle, O_RDONLY | O_DIRECTORY);
        if (fd < 0 || !directory_was_moved(fd) || directory_give_up(fd) < 0)
                return false;
        (void)fan_group_unwatch_directory(node->lister->o->group, fd);
        log_about(LOG_NOTICE, node->engine, node->locator, "a directory that was moved here before it was listed is "
                  "gone from the remote: it stays empty");
        return true;
}

static void node_failed(Node *node) {
        const Engine *engine = node_engine(node);
        bool no_login = node->r == -EACCES && engine && engine_needs_login(engine);
        bool quiet = node->r == -ESHUTDOWN || node->lister->denying || no_login;

        node->fd = fd_close(node->fd);
        if (!quiet)
                log_about(LOG_WARNING, node->engine, node->locator, "the directory cannot be listed: %s%s%s",
                          strerror(-node->r), node->detail && *node->detail ? ": " : "",
                          node->detail ? node->detail : "");
        node_answer(node, node->r == -ENOSPC ? -ENOSPC : -EIO);
        if (node->walk && !node->walk_after && walk_is_told(node->walk))
                node->walk_after = g_steal_pointer(&node->walk); /* what is below is still to be listed */
        g_clear_pointer(&node->walk, walk_leave);
        if (node->lister->denying) {
                node_free(node, false);
                return;
        }
        if (node->refresh && (!node->owed || node->r == -ENOENT)) {
                /* The engine has told nothing: it still knows what is new. Or the directory is gone, and its
                 * parent's listing says so. */
                (void)node_write_dirty(node, false);
                node_free(node, false);
                return;
        }
        if (node_give_up(node)) {
                node_free(node, true);
                return;
        }
        node->begun_before = true; /* what came of it may be gone by then */
        node_wait(node, (int64_t)node->retry_s * G_USEC_PER_SEC);
        node->retry_s = MIN(node->retry_s * 2, RETRY_LIMIT_S);
}

struct finish {
        Node *node;
        struct populate p;
        GHashTable *names;
        bool late, dirty, applied;
        int r;
};

/* What was applied is on the disk before it says "not DIRTY". Most file systems keep that order by themselves. On btrfs
 * (fresh.h) somebody's fsync(2) may write the directory before what was switched in it. */
static void finish_dirty(struct finish *f) {
        if (!f->late)
                f->r = directory_set_dirty(f->p.directory, false);
        else
                f->applied = directory_is_dirty(f->p.directory);
}

static void finish_run(void *data) {
        struct finish *f = data;

        if (f->names)
                populate_remove_gone(&f->p, f->names);
        f->dirty |= f->p.busy > 0;
        if (f->dirty) /* before it can be LISTED */
                (void)directory_set_dirty(f->p.directory, true);
        f->r = populate_finish(f->p.group, f->p.directory, f->late);
        if (f->r == 0 && !f->dirty)
                finish_dirty(f);
}

/* The first listing is over: what follows is a refresh. */
static void node_become_refresh(Node *node) {
        Engine *engine = node_engine(node);

        if (node->refresh)
                return;
        node->refresh = true;
        node->lister->pending--;
        if (engine)
                engine_count_directories(engine, 1, -1);
        lister_note_complete(node->lister);
}

/* All is listed. Is it to be once more? */
static void node_succeeded(Node *node, bool left) {
        bool walked = node->walk != NULL;

        node->retry_s = RETRY_FIRST_S;
        if (!left)
                node->busy_s = BUSY_FIRST_S;
        node_answer(node, node->full);
        g_clear_pointer(&node->walk, walk_leave);
        if (node->again) {
                node_become_refresh(node);
                if (node->later.length > 0 || node->walk_after) /* somebody waits for it */
                        node_begin(node);
                else
                        node_wait(node, node_pause(node));
        } else if (left) {
                node_become_refresh(node);
                node_wait(node, (int64_t)node->busy_s * G_USEC_PER_SEC);
                node->busy_s = MIN(node->busy_s * 2, BUSY_LIMIT_S);
        } else if (node->refresh && !walked) {
                node->resting = true;
                node_wait(node, node_pause(node));
        } else
                node_free(node, true);
}

static void node_applied(void *userdata, int r) {
        Node *node = userdata;

        node->noting = NULL;
        if (r < 0) {
                node->r = r;
                g_free(node->detail);
                node->detail = g_strdup("what changed cannot be written to the disk");
                node_failed(node);
                return;
        }
        node->owed = node->again;
        if (!node->again)
                (void)node_write_dirty(node, false);
        node_succeeded(node, false);
}

static void finish_done(void *data) {
        struct finish *f = data;
        Node *node = f->node;
        Engine *engine = node_engine(node);
        bool left = f->p.busy > 0 || node->busy > 0, applied = f->applied;

        node->jobs--;
        node->r = f->r;
        if (engine)
                engine_count_local(engine, f->p.local, f->p.conflicts);
        lister_take(node->lister, &f->p, node);
        populate_clear(&f->p);
        g_free(f);
        lister_schedule_sweep(node->lister);
        if (node->r < 0) {
                node_failed(node);
                return;
        }
        node_count_dirty(node, left || node->again || applied);
        if (node->again) /* it came during the job, which may have taken it off */
                (void)node_write_dirty(node, true);
        node->owed = left || node->again || applied;
        if (engine && node->refresh)
                engine_count_directories(engine, 1, 0);
        if (node->skipped > 0)
                log_about(LOG_WARNING, node->engine, node->locator,
                          "%llu entries cannot exist here, or are a user's own, and were left out",
                          (unsigned long long)node->skipped);
        if (node->unknown > 0)
                log_about(LOG_WARNING, node->engine, node->locator,
                          "%llu entries are at the remote, which tells no more of them: what is here of them stays",
                          (unsigned long long)node->unknown);
        if (node->full < 0)
                log_about(LOG_WARNING, node->engine, node->locator, "not all that is new could be brought in: %s; it is "
                          "tried again", strerror(-node->full));
        g_clear_pointer(&node->detail, g_free);
        node->fd = fd_close(node->fd);
        if (node->lister->late && !node->refresh)
                fresh_add(node->lister->fresh, node->key.device, node->key.inode, &node->handle);
        if (!applied || node->again || node->lister->denying) {
                node_succeeded(node, left);
                return;
        }
        node_become_refresh(node);
        node_answer(node, node->full);
        node->noting = durable_wait(node->lister->durable, NULL, node_applied, node);
}

/* Opened only when its listing comes: a hundred thousand may be waiting for theirs. */
static int node_open(Node *node) {
        if (node->fd < 0)
                node->fd = handle_open(store_root(node->lister->o->store), &node->handle,
                                       O_RDONLY | O_DIRECTORY);
        return node->fd;
}

/* Removed, or given up (directory.h): nobody can read it as empty. */
static bool node_is_gone(Node *node) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        int r = node_open(node);

        if (r == -ESTALE)
                return true;
        if (r < 0 || fstat(node->fd, &st) < 0)
                return false;
        r = st.st_nlink == 0 ? -ENODATA : stamp_read(node->fd, st.st_ino, &stamp);
        stamp_clear(&stamp);
        if (r != -ENODATA)
                return false;
        (void)fan_group_unwatch_directory(node->lister->o->group, node->fd);
        return true;
}

void node_step(Node *node) {
        struct finish *f;

        if (!node->ended || node->jobs > 0)
                return;
        node->ended = false;
        if (node->r == 0) {
                int r = node_open(node);
                node->r = MIN(r, 0);
        }
        if (node->r < 0 && node_is_gone(node)) {
                node_answer(node, -EIO);
                node_free(node, true);
                return;
        }
        if (node->r < 0) {
                node_failed(node);
                return;
        }
        f = g_new0(struct finish, 1);
        f->node = node;
        f->names = node->names;
        f->late = node->lister->late;
        f->dirty = node->busy > 0 || node->again;
        f->p = (struct populate){.group = node->lister->o->group,
                                 .store = node->lister->o->store,
                                 .attic = node->lister->attic,
                                 .moves = node->lister->moves,
                                 .engine = node->engine,
                                 .directory = node->fd};
        populate_init(&f->p);
        node->jobs++;
        work_run(finish_run, finish_done, f);
}

/* ── entries ────────────────────────────────────────────────────────────── */

struct entries {
        Node *node;
        ProviderData *data;
        struct populate p;
        int r;
};

static void entries_run(void *data) {
        struct entries *e = data;
        size_t length = provider_data_length(e->data);
        g_autofree void *copy = g_memdup2(provider_data_bytes(e->data), length);

        e->r = populate_entries(&e->p, copy, length);
}

static void entries_done(void *data) {
        struct entries *e = data;
        Node *node = e->node;
        Engine *engine = node_engine(node);

        provider_data_release(e->data);
        if (node->refresh && e->r == 0 && (e->p.r == -ENOSPC || e->p.r == -EDQUOT)) {
                /* What is gone is removed all the same: that makes room. */
                node->full = e->p.r;
                node->busy++;
        } else if (node->r == 0)
                node->r = e->r < 0 ? e->r : e->p.r;
        node->skipped += e->p.skipped;
        node->unknown += e->p.unknown;
        node->busy += e->p.busy;
        if (engine) {
                engine_count_skipped(engine, e->p.skipped + e->p.unknown);
                engine_count_local(engine, e->p.local, e->p.conflicts);
        }
        if (node->names && node->r == 0) /* of a listing that fails nothing is removed; and it may never end */
                for (guint i = 0; i < e->p.names->len; i++)
                        g_hash_table_add(node->names, e->p.names->pdata[i]);
        lister_take(node->lister, &e->p, node);
        populate_clear(&e->p);
        g_free(e);
        node->jobs--; /* last: a switch that ends at once must not end the node */
        node_step(node);
}

static void node_entries(void *userdata, ProviderData *data) {
        Node *node = userdata;
        struct entries *e;
        int r = node_open(node);

        if (r < 0) {
                if (node->r == 0)
                        node->r = r;
                provider_data_release(data);
                return;
        }
        e = g_new0(struct entries, 1);
        e->node = node;
        e->data = data;
        e->p = (struct populate){.group = node->lister->o->group,
                                 .store = node->lister->o->store,
                                 .attic = node->lister->attic,
                                 .moves = node->lister->moves,
                                 .engine = node->engine,
                                 .directory = node->fd,
                                 .locator = node->locator,
                                 .refresh = node->names != NULL,
                                 .recursive = node->walk != NULL,
                                 .record = node->refresh || node->record};
        populate_init(&e->p);
        node->jobs++;
        work_run(entries_run, entries_done, e);
}

/* A file that has another version now. Open, or a user's since, or the store is full: the directory is looked
 * at again. */
void node_switched(void *userdata, int r) {
        Node *node = userdata;

        if (r < 0 && r != -ESTALE && r != -ENOENT && r != -ENODATA)
                node->busy++;
        node->jobs--;
        node_step(node);
}

static void node_end(void *userdata, int r, const char *detail) {
        Node *node = userdata;

        node->request = NULL;
        node->ended = true;
        if (r < 0) {
                node->r = r;
                g_free(node->detail);
                node->detail = g_strdup(detail);
        } else
                node->owed = true;
        node_step(node);
}

static void node_fail(Node *node, int r, const char *detail) {
        node->r = r;
        g_free(node->detail);
        node->detail = g_strdup(detail);
        node_failed(node);
}

static void node_ask(Node *node) {
        Engine *engine = node_engine(node);

        if (!engine || node->lister->denying) {
                node_fail(node, -ESHUTDOWN, engine ? "the service stops" : "its engine is not registered");
                return;
        }
        node->request = engine_list(engine, node->locator, node_entries, node_end, node);
        if (!g_queue_is_empty(&node->waiters))
                engine_hurry(node->request);
}

static void node_noted(void *userdata, int r) {
        Node *node = userdata;

        node->noting = NULL;
        if (r < 0)
                node_fail(node, r, "that it changes cannot be written to the disk");
        else
                node_ask(node);
}

/* A poll that is killed is made again anyway (but what it brings is looked for: l->polling). */
static bool node_is_to_be_noted(const Node *node) {
        return node->refresh && (node->owed || node->dirty || !node->walk || !walk_is_poll(node->walk));
}

void node_begin(Node *node) {
        Lister *l = node->lister;
        int r;

        if (node_is_working(node))
                return;
        if (node->timer) {
                g_source_remove(node->timer);
                node->timer = 0;
        }
        while (!g_queue_is_empty(&node->later))
                g_queue_push_tail_link(&node->waiters, g_queue_pop_head_link(&node->later));
        if (node->walk_after && !node->walk)
                node->walk = g_steal_pointer(&node->walk_after);
        node->resting = node->again = node->ended = false;
        node->r = 0;
        node->skipped = node->unknown = node->busy = 0;
        node->full = 0;
        node->begun = g_get_monotonic_time();
        if (node->names)
                g_hash_table_remove_all(node->names);
        else if (node->refresh || node->begun_before)
                node->names = g_hash_table_new(g_direct_hash, g_direct_equal);
        if (!node_engine(node) || l->denying || !node_is_to_be_noted(node)) {
                node_ask(node);
                return;
        }
        r = node_write_dirty(node, true);
        if (r == 0)
                node->noting = durable_wait(l->durable, &node->handle, node_noted, node);
        else if (r == -ESTALE || r == -ENODATA) /* gone, and nothing to be lost */
                node_ask(node);
        else
                node_fail(node, r, "that it changes cannot be written down");
}

void node_deny(Node *node) {
        durable_cancel(g_steal_pointer(&node->noting));
        engine_cancel(g_steal_pointer(&node->request));
        node->r = -ESHUTDOWN;
        node->ended = true;
        if (node->timer) {
                g_source_remove(node->timer);
                node->timer = 0;
        }
        node_step(node);
}
