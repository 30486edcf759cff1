/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/lister.h"

#include "dispatcher/populate.h"
#include "dispatcher/stamp.h"
#include "dispatcher/work.h"
#include "shared/channel.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COMPLETE_FILE STORE_PRIVATE_DIR "/complete"
#define RETRY_FIRST_S 15u
/* What is listed is stamped so in batches, this often, where that has to wait for a sync. */
#define FRESH_SECONDS 2
#define RETRY_LIMIT_S 600u

struct node_key {
        uint64_t device, inode;
};

typedef struct Node Node;
struct Node {
        Lister *lister;
        struct node_key key;
        struct handle handle;
        char *engine, *locator;
        bool refresh, recursive; /* it is LISTED, and listed again */
        int fd;                  /* while entries are being brought in, or -1 */
        EngineRequest *request;
        unsigned jobs;     /* and switches of files: what a refresh waits for */
        bool ended; /* the engine has said all */
        int r;
        char *detail;
        uint64_t skipped;
        GHashTable *names; /* refresh: what the remote has */
        GQueue waiters;
        /* Who asks for a refresh while it is being listed gets one that begins after that. */
        GQueue later;
        bool again, again_recursive;
        guint retry_timer;
        unsigned retry_s;
};

struct Lister {
        const struct lister_options *o;
        GHashTable *nodes; /* key → Node */
        uint64_t pending;  /* nodes that are not refreshes */
        bool complete;     /* COMPLETE_FILE is there */
        bool was_complete; /* it was when we started, or we have looked ourselves */
        bool denying;
        /* btrfs: an fsync(2) of one file in a new directory brings the directory's stamp to disk
         * (its log tree), and none of its other children. So LISTED comes after a sync, and
         * "nothing is pending" is noted by a clean stop alone. Until then a directory is here. */
        bool late;
        GHashTable *fresh; /* struct fresh, owned: listed, and not stamped so */
        guint fresh_timer;
        bool fresh_running, stopped_complete;
};

struct fresh {
        struct node_key key;
        struct handle handle;
};

static void node_begin(Node *node);
static void node_step(Node *node);

static guint key_hash(gconstpointer p) {
        return g_int64_hash(&((const struct node_key *)p)->inode);
}

static gboolean key_equal(gconstpointer a, gconstpointer b) {
        const struct node_key *x = a, *y = b;

        return x->inode == y->inode && x->device == y->device;
}

static Engine *node_engine(const Node *node) {
        return node->lister->o->engine(node->lister->o->userdata, node->engine);
}

static void lister_write_complete(Lister *l, bool complete) {
        if (!complete) {
                if (unlinkat(store_root(l->o->store), COMPLETE_FILE, 0) < 0 && errno != ENOENT)
                        log_error("cannot note that directories are pending: %s", strerror(errno));
        } else {
                int fd = openat(store_root(l->o->store), COMPLETE_FILE,
                                O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (fd < 0)
                        return;
                fd_close(fd);
        }
        l->complete = complete;
}

/* "Nothing is pending", for the next start. Taken back before a directory can become pending
 * on disk; the order of metadata is kept by the file systems. */
static void lister_note_complete(Lister *l) {
        bool complete = l->pending == 0;

        if (complete == l->complete || (complete && (l->denying || l->late || !l->was_complete)))
                return;
        lister_write_complete(l, complete);
}

static Node *node_new(Lister *l, const struct populate_directory *d, bool refresh) {
        Node *node = g_new0(Node, 1);
        Engine *engine;

        node->lister = l;
        node->key = (struct node_key){.device = d->device, .inode = d->inode};
        node->handle = d->handle;
        node->engine = g_strdup(d->engine);
        node->locator = g_strdup(d->locator);
        node->refresh = refresh;
        node->fd = -1;
        node->retry_s = RETRY_FIRST_S;
        if (refresh)
                node->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        else {
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

        g_assert(g_queue_is_empty(&node->waiters) && g_queue_is_empty(&node->later) && node->jobs == 0 && !node->request);
        g_hash_table_remove(l->nodes, &node->key);
        if (engine)
                engine_count_directories(engine, listed, node->refresh ? 0 : -1);
        if (!node->refresh) {
                l->pending--;
                if (listed)
                        lister_note_complete(l);
        }
        if (node->retry_timer)
                g_source_remove(node->retry_timer);
        if (node->names)
                g_hash_table_unref(node->names);
        node->fd = fd_close(node->fd);
        g_free(node->engine);
        g_free(node->locator);
        g_free(node->detail);
        g_free(node);
}

static void node_answer(Node *node, int r) {
        while (r < 0 && !g_queue_is_empty(&node->later))
                request_answer(g_queue_pop_head_link(&node->later)->data, r,
                               node->detail ? node->detail : "");
        while (!g_queue_is_empty(&node->waiters))
                request_answer(g_queue_pop_head_link(&node->waiters)->data, r,
                               node->detail ? node->detail : "");
}

/* ── LISTED, late ───────────────────────────────────────────────────────── */

static bool fresh_has(const Lister *l, uint64_t device, uint64_t inode) {
        return g_hash_table_contains(l->fresh, &(struct node_key){.device = device, .inode = inode});
}

struct fresh_batch {
        Lister *lister;
        GArray *items; /* of struct fresh */
        int r;
};

static void fresh_run(void *data) {
        struct fresh_batch *b = data;

        b->r = store_sync(b->lister->o->store);
        for (guint i = 0; i < b->items->len && b->r == 0; i++) {
                autoclose int fd = handle_open(store_root(b->lister->o->store),
                                               &g_array_index(b->items, struct fresh, i).handle,
                                               O_RDONLY | O_DIRECTORY);
                if (fd >= 0)
                        (void)populate_stamp_listed(fd);
        }
}

static void fresh_schedule(Lister *l);

static void fresh_done(void *data) {
        struct fresh_batch *b = data;
        Lister *l = b->lister;

        l->fresh_running = false;
        if (b->r < 0)
                log_error("the store cannot be synced: %s; %u directories will be listed again",
                          strerror(-b->r), b->items->len);
        for (guint i = 0; i < b->items->len; i++)
                g_hash_table_remove(l->fresh, &g_array_index(b->items, struct fresh, i).key);
        if (l->stopped_complete && g_hash_table_size(l->fresh) == 0 && b->r == 0)
                lister_write_complete(l, true);
        g_array_unref(b->items);
        g_free(b);
        fresh_schedule(l);
}

static gboolean fresh_now(gpointer userdata) {
        Lister *l = userdata;
        struct fresh_batch *b = g_new0(struct fresh_batch, 1);
        GHashTableIter iter;
        gpointer value;

        l->fresh_timer = 0;
        l->fresh_running = true;
        b->lister = l;
        b->items = g_array_new(FALSE, FALSE, sizeof(struct fresh));
        g_hash_table_iter_init(&iter, l->fresh);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                g_array_append_vals(b->items, value, 1);
        work_run(fresh_run, fresh_done, b);
        return G_SOURCE_REMOVE;
}

static void fresh_schedule(Lister *l) {
        if (g_hash_table_size(l->fresh) == 0 || l->fresh_timer || l->fresh_running)
                return;
        if (l->denying)
                (void)fresh_now(l);
        else
                l->fresh_timer = g_timeout_add_seconds(FRESH_SECONDS, fresh_now, l);
}

static void fresh_add(Lister *l, const struct node_key *key, const struct handle *handle) {
        struct fresh *fresh = g_new(struct fresh, 1);

        *fresh = (struct fresh){.key = *key, .handle = *handle};
        g_hash_table_replace(l->fresh, &fresh->key, fresh);
        fresh_schedule(l);
}

/* A refresh reports directories that are LISTED, and new ones. */
static bool directory_is_listed(Lister *l, const struct populate_directory *d) {
        if (fresh_has(l, d->device, d->inode))
                return true;
        autoclose int fd = handle_open(store_root(l->o->store), &d->handle, O_RDONLY);
        struct stamp stamp = STAMP_INIT;
        bool listed;

        listed = fd >= 0 && stamp_read(fd, d->inode, &stamp) == 0 && stamp.state == STAMP_LISTED;
        stamp_clear(&stamp);
        return listed;
}

static void node_switched(void *userdata, int r) {
        Node *node = userdata;

        node->jobs--;
        node_step(node);
}

/* Takes what a job found: directories to list, files to switch (for the sake of `by`). */
static void lister_take(Lister *l, struct populate *p, Node *by) {
        bool refresh = by && by->refresh, recursive = by && by->recursive;

        for (guint i = 0; i < p->directories->len; i++) {
                struct populate_directory *d =
                        &g_array_index(p->directories, struct populate_directory, i);
                struct node_key key = {.device = d->device, .inode = d->inode};
                Node *node;

                if (g_hash_table_contains(l->nodes, &key))
                        continue;
                node = node_new(l, d, refresh && directory_is_listed(l, d));
                node->recursive = node->refresh && recursive;
                node_begin(node);
        }
        for (guint i = 0; i < p->changes->len; i++) {
                struct populate_change *c = &g_array_index(p->changes, struct populate_change, i);
                if (by)
                        by->jobs++;
                files_switch(l->o->files, &c->handle, &c->entry, by ? node_switched : NULL, by);
        }
}

/* ── the end of a listing ───────────────────────────────────────────────── */

static gboolean node_retry(gpointer userdata) {
        Node *node = userdata;

        node->retry_timer = 0;
        if (node_engine(node) && !node->lister->denying)
                node_begin(node);
        else
                node->retry_timer = g_timeout_add_seconds(node->retry_s, node_retry, node);
        return G_SOURCE_REMOVE;
}

static void node_failed(Node *node) {
        const Engine *engine = node_engine(node);
        bool no_login = node->r == -EACCES && engine && engine_needs_login(engine);

        node->fd = fd_close(node->fd);
        if (node->r != -ESHUTDOWN && !node->lister->denying && !no_login)
                log_about(LOG_WARNING, node->engine, node->locator, "the directory cannot be listed: %s%s%s",
                          strerror(-node->r), node->detail && *node->detail ? ": " : "",
                          node->detail ? node->detail : "");
        node_answer(node, node->r == -ENOSPC ? -ENOSPC : -EIO);
        if (node->refresh || node->lister->denying) {
                node_free(node, false);
                return;
        }
        node->retry_timer = g_timeout_add_seconds(node->retry_s, node_retry, node);
        node->retry_s = MIN(node->retry_s * 2, RETRY_LIMIT_S);
}

struct finish {
        Node *node;
        struct populate p;
        GHashTable *names;
        bool late;
        int r;
};

static void finish_run(void *data) {
        struct finish *f = data;

        if (f->names)
                populate_remove_gone(&f->p, f->names);
        f->r = populate_finish(f->p.group, f->p.directory, f->late);
}

/* It was listed, and is listed once more. */
static void node_refresh(Node *node) {
        Lister *l = node->lister;
        struct populate_directory d = {.device = node->key.device, .inode = node->key.inode,
                                       .handle = node->handle, .engine = g_strdup(node->engine),
                                       .locator = g_strdup(node->locator)};
        GQueue later = node->later;
        bool recursive = node->again_recursive;

        g_queue_init(&node->later);
        node_free(node, true);
        node = node_new(l, &d, true);
        node->recursive = recursive;
        node->waiters = later;
        populate_directory_clear(&d);
        node_begin(node);
}

static void finish_done(void *data) {
        struct finish *f = data;
        Node *node = f->node;

        node->jobs--;
        node->r = f->r;
        populate_clear(&f->p);
        g_free(f);
        if (node->r < 0) {
                node_failed(node);
                return;
        }
        if (node->skipped > 0)
                log_about(LOG_WARNING, node->engine, node->locator,
                          "%llu entries cannot exist here, or are a user's own, and were left out",
                          (unsigned long long)node->skipped);
        g_clear_pointer(&node->detail, g_free);
        if (node->lister->late)
                fresh_add(node->lister, &node->key, &node->handle);
        node_answer(node, 0);
        if (node->again)
                node_refresh(node);
        else
                node_free(node, true);
}

/* Opened only when its listing comes: a hundred thousand may be waiting for theirs. */
static int node_open(Node *node) {
        if (node->fd < 0)
                node->fd = handle_open(store_root(node->lister->o->store), &node->handle,
                                       O_RDONLY | O_DIRECTORY);
        return node->fd;
}

static bool node_is_removed(const Node *node) {
        struct stat st;

        if (node->fd < 0 || fstat(node->fd, &st) < 0 || st.st_nlink > 0)
                return false;
        (void)fan_group_unwatch_directory(node->lister->o->group, node->fd);
        return true;
}

static void node_step(Node *node) {
        struct finish *f;

        if (!node->ended || node->jobs > 0)
                return;
        node->ended = false;
        if (node->r == 0) {
                int r = node_open(node);
                node->r = MIN(r, 0);
        }
        if (node->r < 0 && node_is_removed(node))
                node->r = -ESTALE;
        if (node->r == -ESTALE) { /* a user removed it: nobody can read it as empty */
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
        f->p = (struct populate){.group = node->lister->o->group,
                                 .store = node->lister->o->store,
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
        if (node->r == 0)
                node->r = e->r < 0 ? e->r : e->p.r;
        node->skipped += e->p.skipped;
        if (engine)
                engine_count_skipped(engine, e->p.skipped);
        if (node->names)
                for (guint i = 0; i < e->p.names->len; i++)
                        g_hash_table_add(node->names, g_steal_pointer(&e->p.names->pdata[i]));
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
                                 .engine = node->engine,
                                 .directory = node->fd,
                                 .locator = node->locator,
                                 .refresh = node->refresh,
                                 .recursive = node->recursive};
        populate_init(&e->p);
        node->jobs++;
        work_run(entries_run, entries_done, e);
}

static void node_end(void *userdata, int r, const char *detail) {
        Node *node = userdata;

        node->request = NULL;
        node->ended = true;
        if (r < 0) {
                node->r = r;
                g_free(node->detail);
                node->detail = g_strdup(detail);
        }
        node_step(node);
}

static void node_begin(Node *node) {
        Lister *l = node->lister;
        Engine *engine = node_engine(node);

        if (node->request || node->jobs)
                return;
        if (node->retry_timer) {
                g_source_remove(node->retry_timer);
                node->retry_timer = 0;
        }
        node->ended = false;
        node->r = 0;
        node->skipped = 0;
        if (!engine || l->denying) {
                node->r = -ESHUTDOWN;
                g_free(node->detail);
                node->detail = g_strdup(engine ? "the service stops" : "its engine is not registered");
                node_failed(node);
                return;
        }
        node->request = engine_list(engine, node->locator, node_entries, node_end, node);
        if (!g_queue_is_empty(&node->waiters))
                engine_hurry(node->request);
}

/* ── from outside ───────────────────────────────────────────────────────── */

static int directory_of(int fd, const struct stat *st, const struct stamp *stamp,
                        struct populate_directory *ret) {
        *ret = (struct populate_directory){.device = st->st_dev, .inode = st->st_ino,
                                           .engine = stamp->engine, .locator = stamp->locator};
        return handle_take(fd, &ret->handle);
}

void lister_event(Lister *l, Request *request) {
        struct populate_directory d;
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        Node *node;
        int fd = request->event.fd;

        if (fstat(fd, &st) < 0) {
                request_answer(request, -EIO, NULL);
                return;
        }
        node = g_hash_table_lookup(l->nodes, &(struct node_key){.device = st.st_dev, .inode = st.st_ino});
        if (!node) {
                if (stamp_read(fd, st.st_ino, &stamp) < 0 || stamp.state != STAMP_UNLISTED ||
                    fresh_has(l, st.st_dev, st.st_ino)) {
                        (void)fan_group_unwatch_directory(l->o->group, fd);
                        request_answer(request, 0, NULL);
                        stamp_clear(&stamp);
                        return;
                }
                if (l->denying || directory_of(fd, &st, &stamp, &d) < 0) {
                        request_answer(request, -EIO, NULL);
                        stamp_clear(&stamp);
                        return;
                }
                node = node_new(l, &d, false);
                stamp_clear(&stamp);
        }
        if (node->refresh) { /* it is complete as it is */
                request_answer(request, 0, NULL);
                return;
        }
        g_queue_push_tail_link(&node->waiters, &request->link);
        if (node->request)
                engine_hurry(node->request);
        else
                node_begin(node);
}

/* `request`: NULL when nobody waits. */
static void refresh(Lister *l, Request *request, int fd, bool recursive) {
        struct populate_directory d;
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        Node *node;
        int r;

        r = fstat(fd, &st) < 0 ? -errno : stamp_read(fd, st.st_ino, &stamp);
        if (r == 0 && stamp.state != STAMP_LISTED && stamp.state != STAMP_UNLISTED)
                r = -ENOTDIR;
        if (r == 0)
                r = directory_of(fd, &st, &stamp, &d);
        if (r < 0 || l->denying) {
                if (request)
                        request_answer(request, r < 0 ? r : -ESHUTDOWN, "");
                stamp_clear(&stamp);
                return;
        }
        node = g_hash_table_lookup(l->nodes, &(struct node_key){.device = st.st_dev, .inode = st.st_ino});
        if (node && (node->request || node->jobs)) {
                node->again = true;
                node->again_recursive |= recursive;
                if (request)
                        g_queue_push_tail_link(&node->later, &request->link);
                stamp_clear(&stamp);
                return;
        }
        if (!node)
                node = node_new(l, &d, stamp.state == STAMP_LISTED || fresh_has(l, st.st_dev, st.st_ino));
        node->recursive |= recursive;
        stamp_clear(&stamp);
        if (request)
                g_queue_push_tail_link(&node->waiters, &request->link);
        node_begin(node);
}

void lister_refresh(Lister *l, Request *request, int fd, bool recursive) {
        refresh(l, request, fd, recursive);
}

void lister_changed(Lister *l, Engine *engine, const char *locator) {
        g_autofree char *path = g_build_filename(engine_registration(engine)->prefix, locator, NULL);
        struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        autoclose int fd = (int)syscall(SYS_openat2, store_root(l->o->store), path, &how, sizeof how);

        if (fd >= 0)
                refresh(l, NULL, fd, false);
}

/* An engine that was gone is back: what is pending of it counts for the new object, and
 * waits no longer. */
static void lister_wake(Lister *l, Engine *engine) {
        g_autoptr(GList) all = g_hash_table_get_values(l->nodes);

        for (GList *i = all; i; i = i->next) {
                Node *node = i->data;
                if (node->refresh || strcmp(node->engine, engine_id(engine)) != 0)
                        continue;
                engine_count_directories(engine, 0, 1);
                node->retry_s = RETRY_FIRST_S;
                if (node->retry_timer)
                        node_begin(node);
        }
}

void lister_logged_in(Lister *l, Engine *engine) {
        g_autoptr(GList) all = g_hash_table_get_values(l->nodes);

        for (GList *i = all; i; i = i->next) {
                Node *node = i->data;
                if (!node->retry_timer || strcmp(node->engine, engine_id(engine)) != 0)
                        continue;
                node->retry_s = RETRY_FIRST_S;
                node_begin(node);
        }
}

int lister_add_engine(Lister *l, Engine *engine, Failure *failure) {
        const struct Registration *registration = engine_registration(engine);
        struct populate p = {.group = l->o->group, .store = l->o->store, .engine = registration->id};
        int r;

        populate_init(&p);
        p.directory = -1;
        l->pending++; /* taken back below: the note goes before the directory comes */
        lister_note_complete(l);
        r = populate_prefix(&p, registration->prefix, failure);
        l->pending--;
        if (r == 0) {
                lister_wake(l, engine);
                lister_take(l, &p, NULL);
        }
        if (l->was_complete) /* else lister_resume() has still to look, or has looked */
                lister_note_complete(l);
        populate_clear(&p);
        return r;
}

struct resume {
        Lister *lister;
        GArray *directories;
        int r;
        void (*done)(void *userdata, int r);
        void *userdata;
};

static void resume_run(void *data) {
        struct resume *s = data;

        s->r = populate_find_unlisted(s->lister->o->group, s->lister->o->store, s->directories);
}

static void resume_done(void *data) {
        struct resume *s = data;
        struct populate p = {.directories = s->directories};

        populate_init(&p);
        g_array_unref(p.directories);
        p.directories = s->directories;
        if (s->r == 0)
                lister_take(s->lister, &p, NULL);
        populate_clear(&p);
        if (s->r == 0) {
                s->lister->was_complete = true;
                lister_note_complete(s->lister);
        }
        s->done(s->userdata, s->r);
        g_free(s);
}

void lister_resume(Lister *l, void (*done)(void *userdata, int r), void *userdata) {
        struct resume *s;

        if (l->was_complete) {
                done(userdata, 0);
                return;
        }
        s = g_new0(struct resume, 1);
        s->lister = l;
        s->directories = g_array_new(FALSE, FALSE, sizeof(struct populate_directory));
        g_array_set_clear_func(s->directories, (GDestroyNotify)populate_directory_clear);
        s->done = done;
        s->userdata = userdata;
        work_run(resume_run, resume_done, s);
}

Lister *lister_new(const struct lister_options *options) {
        Lister *l = g_new0(Lister, 1);

        l->o = options;
        l->nodes = g_hash_table_new(key_hash, key_equal);
        l->complete = faccessat(store_root(options->store), COMPLETE_FILE, F_OK, 0) == 0;
        l->was_complete = l->complete;
        l->late = strcmp(store_filesystem(options->store), "btrfs") == 0;
        l->fresh = g_hash_table_new_full(key_hash, key_equal, NULL, g_free);
        if (l->late && l->complete) {
                lister_write_complete(l, false);
                (void)store_sync(options->store);
        }
        return l;
}

void lister_deny_all(Lister *l) {
        GList *all = g_hash_table_get_values(l->nodes);

        if (!l->denying)
                l->stopped_complete = l->late && l->pending == 0 && l->was_complete;
        l->denying = true;
        for (GList *i = all; i; i = i->next) {
                Node *node = i->data;
                engine_cancel(g_steal_pointer(&node->request));
                node->r = -ESHUTDOWN;
                node->ended = true;
                if (node->retry_timer) {
                        g_source_remove(node->retry_timer);
                        node->retry_timer = 0;
                }
                node_step(node);
        }
        g_list_free(all);
        if (l->fresh_timer) {
                g_source_remove(l->fresh_timer);
                l->fresh_timer = 0;
        }
        fresh_schedule(l);
        if (l->stopped_complete && !l->complete && g_hash_table_size(l->fresh) == 0)
                lister_write_complete(l, true);
}

void lister_free(Lister *l) {
        if (!l)
                return;
        if (l->fresh_timer)
                g_source_remove(l->fresh_timer);
        g_hash_table_unref(l->fresh);
        g_hash_table_unref(l->nodes);
        g_free(l);
}
