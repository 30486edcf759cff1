/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/lister.h"

#include "dispatcher/tree/node.h"
#include "dispatcher/store/stamp.h"
#include "dispatcher/work.h"
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

static guint key_hash(gconstpointer p) {
        return g_int64_hash(&((const struct node_key *)p)->inode);
}

static gboolean key_equal(gconstpointer a, gconstpointer b) {
        const struct node_key *x = a, *y = b;

        return x->inode == y->inode && x->device == y->device;
}

static void lister_write_complete(Lister *l, bool complete) {
        if (!complete) {
                if (unlinkat(store_root(l->o->store), COMPLETE_FILE, 0) < 0 && errno != ENOENT) {
                        log_error("cannot note that directories are pending: %s", strerror(errno));
                        return;
                }
        } else {
                int fd = openat(store_root(l->o->store), COMPLETE_FILE,
                                O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (fd < 0)
                        return;
                fd_close(fd);
        }
        l->complete = complete;
}

/* "Nothing is pending", for the next start. Taken back before a directory can become UNLISTED or DIRTY
 * on disk; the order of metadata is kept by the file systems. */
void lister_note_complete(Lister *l) {
        bool complete = l->pending == 0 && l->dirty == 0 && l->polling == 0;

        if (complete == l->complete || (complete && (l->denying || l->late || !l->was_complete)))
                return;
        lister_write_complete(l, complete);
}

static void lister_stamped(void *userdata, int r) {
        Lister *l = userdata;

        if (l->stopped_complete && fresh_is_empty(l->fresh) && r == 0)
                lister_write_complete(l, true);
}

/* ── the attic is swept ─────────────────────────────────────────────────── */

struct sweep {
        Lister *lister;
        bool busy;
};

static void sweep_run(void *data) {
        struct sweep *s = data;

        attic_sweep(s->lister->attic, s->busy);
}

static void sweep_done(void *data) {
        struct sweep *s = data;

        s->lister->sweeping = false;
        lister_schedule_sweep(s->lister);
        g_free(s);
}

/* Is a directory being listed, or about to be, where what is in the attic may turn up? */
static bool lister_may_want(Lister *l) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, l->nodes);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Node *node = value;
                if ((node->refresh || node->record) && node_is_working(node))
                        return true;
        }
        return false;
}

static gboolean sweep_now(gpointer userdata) {
        Lister *l = userdata;
        struct sweep *s;
        bool busy;

        l->sweep_timer = 0;
        if (l->denying)
                return G_SOURCE_REMOVE;
        busy = lister_may_want(l);
        if (!busy && l->dirty == 0) /* a file that is open may be waited for still */
                moves_forget(l->moves, MOVES_SECONDS);
        if (attic_count(l->attic) == 0) {
                lister_schedule_sweep(l);
                return G_SOURCE_REMOVE;
        }
        s = g_new(struct sweep, 1);
        *s = (struct sweep){.lister = l, .busy = busy};
        l->sweeping = true;
        work_run(sweep_run, sweep_done, s);
        return G_SOURCE_REMOVE;
}

void lister_schedule_sweep(Lister *l) {
        if (!l->sweep_timer && !l->sweeping && !l->denying &&
            (attic_count(l->attic) > 0 || !moves_is_empty(l->moves)))
                l->sweep_timer = g_timeout_add_seconds(ATTIC_LINGER, sweep_now, l);
}

/* ── what a job found ───────────────────────────────────────────────────── */

/* A refresh reports directories that are LISTED, and new ones. */
static bool directory_is_listed(Lister *l, const struct populate_directory *d) {
        if (fresh_has(l->fresh, d->device, d->inode))
                return true;
        autoclose int fd = handle_open(store_root(l->o->store), &d->handle, O_RDONLY);
        struct stamp stamp = STAMP_INIT;
        bool listed;

        listed = fd >= 0 && stamp_read(fd, d->inode, &stamp) == 0 && stamp.state == STAMP_LISTED;
        stamp_clear(&stamp);
        return listed;
}

/* It is known already: being listed, to be listed, or at rest. */
static void lister_take_known(Node *node, const struct populate_directory *d, Node *by) {
        bool other = strcmp(node->locator, d->locator) != 0;

        if (other) { /* another one of the remote's has its place */
                g_free(node->locator);
                node->locator = g_strdup(d->locator);
        }
        if (!other && !d->dirty)
                return;
        if (node == by)
                node->again = node->owed = true;
        else
                node_changed(node);
}

static void lister_take_directory(Lister *l, const struct populate_directory *d, Node *by) {
        Node *node = node_find(l, d);

        if (node && (d->dirty || strcmp(node->locator, d->locator) != 0 || !by || !by->walk || !node->refresh)) {
                lister_take_known(node, d, by);
        } else if (d->dirty) {
                node = node_new(l, d, directory_is_listed(l, d));
                node->record = true;
                node_changed(node);
        } else if (by && by->refresh && directory_is_listed(l, d)) {
                if (by->walk)
                        walk_add(by->walk, &d->handle);
        } else if (!node) {
                node = node_new(l, d, false);
                node->record = by && (by->refresh || by->record);
                node->begun_before = !by;
                node_begin(node);
        }
}

void lister_take(Lister *l, struct populate *p, Node *by) {
        for (guint i = 0; i < p->directories->len; i++)
                lister_take_directory(l, &g_array_index(p->directories, struct populate_directory, i), by);
        for (guint i = 0; i < p->changes->len; i++) {
                struct populate_change *c = &g_array_index(p->changes, struct populate_change, i);
                if (by)
                        by->jobs++;
                files_switch(l->o->files, &c->handle, &c->entry, by ? node_switched : NULL, by);
        }
}

/* ── from outside ───────────────────────────────────────────────────────── */

static int directory_of(int fd, const struct stat *st, const struct stamp *stamp,
                        struct populate_directory *ret) {
        *ret = (struct populate_directory){.device = st->st_dev, .inode = st->st_ino,
                                           .engine = stamp->engine, .locator = stamp->locator};
        return handle_take(fd, &ret->handle);
}

/* Is it all here, or a user's own? 0, 1, or -errno. What memory says is not asked: that may be of another
 * directory that had this number. */
static int event_is_listed(Lister *l, int fd, const struct stat *st, struct populate_directory *ret) {
        struct stamp stamp = STAMP_INIT;
        int r = stamp_read(fd, st->st_ino, &stamp);

        if (r == -ENODATA)
                return 1;
        if (r < 0)
                return r;
        if (stamp.state != STAMP_UNLISTED || fresh_has(l->fresh, st->st_dev, st->st_ino))
                r = 1;
        else
                r = directory_of(fd, st, &stamp, ret);
        ret->engine = g_steal_pointer(&stamp.engine);
        ret->locator = g_steal_pointer(&stamp.locator);
        stamp_clear(&stamp);
        return r;
}

static void lister_hold(Lister *l, Request *request, const struct populate_directory *d) {
        Node *node = node_find(l, d);

        if (!node && l->denying) {
                request_answer(request, -EIO, NULL);
                return;
        }
        if (!node)
                node = node_new(l, d, false);
        g_queue_push_tail_link(&node->waiters, &request->link);
        if (node->request)
                engine_hurry(node->request);
        else
                node_begin(node);
}

void lister_event(Lister *l, Request *request) {
        struct populate_directory d = {0};
        int fd = request->event.fd, r;
        struct stat st;

        r = fstat(fd, &st) < 0 ? -errno : event_is_listed(l, fd, &st, &d);
        if (r == 0) {
                lister_hold(l, request, &d);
        } else {
                if (r > 0)
                        (void)fan_group_unwatch_directory(l->o->group, fd);
                request_answer(request, r > 0 ? 0 : -EIO, NULL);
        }
        populate_directory_clear(&d);
}

void lister_refresh(Lister *l, Request *request, int fd, bool recursive) {
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
                request_answer(request, r < 0 ? r : -ESHUTDOWN, "");
                stamp_clear(&stamp);
                return;
        }
        node = node_find(l, &d);
        if (!node)
                node = node_new(l, &d, stamp.state == STAMP_LISTED || fresh_has(l->fresh, st.st_dev, st.st_ino));
        g_queue_push_tail_link(node_is_working(node) ? &node->later : &node->waiters, &request->link);
        node->again = true;
        if (recursive)
                walk_join(walk_new(l, stamp.engine), node);
        else
                node_begin(node); /* unless it works: then once more */
        stamp_clear(&stamp);
}

/* The directory is not here (yet: it will be listed), or not ours. */
static bool error_says_not_here(int r) {
        switch (-r) {
        case ENOENT:
        case ENOTDIR:
        case ELOOP:
        case EXDEV:
        case ENAMETOOLONG:
        case ENODATA:
        case EBADMSG: /* damaged: whoever reads it is told */
                return true;
        default:
                return false;
        }
}

/* 0, or -errno: nothing is known of the directory, and nothing is noted. */
static int lister_note_changed(Lister *l, Engine *engine, const char *locator) {
        g_autofree char *path = g_build_filename(engine_registration(engine)->prefix, locator, NULL);
        struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        autoclose int fd = (int)syscall(SYS_openat2, store_root(l->o->store), path, &how, sizeof how);
        struct populate_directory d;
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        Node *node = NULL;
        int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : stamp_read(fd, st.st_ino, &stamp);

        if (r == 0)
                r = directory_of(fd, &st, &stamp, &d);
        if (r == 0)
                node = node_find(l, &d);
        if (r == 0 && !node && strcmp(stamp.engine, engine_id(engine)) == 0)
                node = node_new(l, &d, stamp.state == STAMP_LISTED || fresh_has(l->fresh, st.st_dev, st.st_ino));
        if (node)
                node_changed(node);
        stamp_clear(&stamp);
        return r < 0 && !error_says_not_here(r) ? r : 0;
}

void lister_changed(Lister *l, Engine *engine, const char *locator) {
        int r = l->denying ? 0 : lister_note_changed(l, engine, locator);

        if (r < 0 && told_keep(l->told, engine_id(engine), locator))
                log_about(LOG_WARNING, engine_id(engine), locator, "a change cannot be looked at: %s; it is kept, and "
                          "what follows", strerror(-r));
}

static bool lister_told_again(void *userdata, const char *id, const char *locator) {
        Lister *l = userdata;
        Engine *engine = l->o->engine(l->o->userdata, id);
        int r;

        if (!engine || l->denying)
                return true; /* it tells what it was not asked for when it is back */
        r = locator ? lister_note_changed(l, engine, locator) : walk_told(l, engine);
        return r == 0 || error_says_not_here(r);
}

/* An engine that was gone is back: what is pending of it counts for the new object, and
 * waits no longer. */
static void lister_wake(Lister *l, Engine *engine) {
        g_autoptr(GList) all = g_hash_table_get_values(l->nodes);

        for (GList *i = all; i; i = i->next) {
                Node *node = i->data;
                if (strcmp(node->engine, engine_id(engine)) != 0)
                        continue;
                if (!node->refresh)
                        engine_count_directories(engine, 0, 1);
                if (node->timer && !node->resting)
                        node_begin(node);
        }
}

void lister_logged_in(Lister *l, Engine *engine) {
        g_autoptr(GList) all = g_hash_table_get_values(l->nodes);

        for (GList *i = all; i; i = i->next) {
                Node *node = i->data;
                if (node->timer && !node->resting && strcmp(node->engine, engine_id(engine)) == 0)
                        node_begin(node);
        }
}

int lister_add_engine(Lister *l, Engine *engine, Failure *failure) {
        const Registration *registration = engine_registration(engine);
        struct populate p = {.group = l->o->group, .store = l->o->store, .engine = registration->id};
        int r;

        attic_set_prefix(l->attic, registration->id, registration->prefix);
        populate_init(&p);
        p.directory = -1;
        l->pending++; /* taken back below: the note goes before the directory comes */
        lister_note_complete(l);
        r = populate_prefix(&p, registration->prefix, failure);
        l->pending--;
        if (r == 0) {
                lister_wake(l, engine);
                lister_take(l, &p, NULL);
                poll_start(l, engine);
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
        int r;

        l->o = options;
        l->nodes = g_hash_table_new(key_hash, key_equal);
        l->complete = faccessat(store_root(options->store), COMPLETE_FILE, F_OK, 0) == 0;
        l->was_complete = l->complete;
        l->late = strcmp(store_filesystem(options->store), "btrfs") == 0;
        l->fresh = fresh_new(options->store, lister_stamped, l);
        l->durable = durable_new(options->store);
        l->told = told_new(lister_told_again, l);
        l->moves = moves_new();
        l->polls = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, poll_free);
        r = attic_new(options->group, options->store, &l->attic);
        if (r < 0)
                log_error("what is removed at a remote stays here: .cloudsync/attic cannot be made: %s",
                          strerror(-r));
        lister_schedule_sweep(l);
        if (l->late && l->complete) {
                lister_write_complete(l, false);
                (void)store_sync(options->store);
        }
        return l;
}

void lister_deny_all(Lister *l) {
        g_autoptr(GList) all = g_hash_table_get_values(l->nodes);

        if (!l->denying)
                l->stopped_complete = l->late && l->pending == 0 && l->dirty == 0 && l->polling == 0 &&
                                      l->was_complete;
        l->denying = true;
        for (GList *i = all; i; i = i->next)
                node_deny(i->data);
        if (l->sweep_timer) {
                g_source_remove(l->sweep_timer);
                l->sweep_timer = 0;
        }
        fresh_hurry(l->fresh);
        if (l->stopped_complete && !l->complete && fresh_is_empty(l->fresh))
                lister_write_complete(l, true);
}

void lister_free(Lister *l) {
        if (!l)
                return;
        if (l->sweep_timer)
                g_source_remove(l->sweep_timer);
        g_hash_table_unref(l->polls);
        fresh_free(l->fresh);
        durable_free(l->durable);
        told_free(l->told);
        attic_free(l->attic);
        moves_free(l->moves);
        g_hash_table_unref(l->nodes);
        g_free(l);
}
