/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/files/ahead.h"

#include "dispatcher/files/ahead-walk.h"
#include "dispatcher/work.h"
#include "shared/fd.h"
#include "shared/names.h"

#include <fcntl.h>
#include <string.h>

/* Threads that are followed at once; the one not seen for the longest makes room. */
#define WALKERS 8u
/* Files known to come that the thread has not opened yet, and when to look for more. */
#define AHEAD_FILES 128u
#define AHEAD_REFILL 96u
/* What a store must have free, beyond what fills leave free anyway. */
#define AHEAD_FREE (256u << 20)

/* One thread. `serial` differs each time that it is begun anew, so that what was asked for
 * before is known to be of the past when it comes back. */
struct walker {
        pid_t tid;
        uint64_t serial;
        char *missed;     /* the last file that was not here: a path in the store */
        char *last;       /* the last one that was found to follow, or NULL */
        char *engine;     /* whose they are */
        GArray *items;    /* struct ahead_item: found, not begun */
        guint next;       /* in items */
        unsigned coming;  /* found, not opened by the thread yet */
        bool walking;     /* a job looks for more */
        bool over;        /* nothing follows, or it failed */
};

struct Ahead {
        Files *files;
        const struct files_options *o;
        struct walker walkers[WALKERS]; /* the latest first */
        GHashTable *coming; /* inode → serial of its walker */
        uint64_t last_serial;
        unsigned running, limit;
        bool stopped, pumping;
};

static guint64 *key_new(uint64_t number) {
        return g_memdup2(&number, sizeof number);
}

static struct walker *walker_of(Ahead *ahead, uint64_t serial) {
        for (unsigned i = 0; i < WALKERS; i++)
                if (ahead->walkers[i].tid != 0 && ahead->walkers[i].serial == serial)
                        return &ahead->walkers[i];
        return NULL;
}

static gboolean is_of(gpointer key, gpointer value, gpointer serial) {
        return *(guint64 *)value == *(uint64_t *)serial;
}

/* From here on nothing that was asked for belongs to it. */
static void walker_renew(Ahead *ahead, struct walker *w) {
        if (w->coming > 0)
                g_hash_table_foreach_remove(ahead->coming, is_of, &w->serial);
        g_clear_pointer(&w->last, g_free);
        g_clear_pointer(&w->engine, g_free);
        g_clear_pointer(&w->items, g_array_unref);
        w->next = w->coming = 0;
        w->walking = w->over = false;
        w->serial = ++ahead->last_serial;
}

static void walker_clear(Ahead *ahead, struct walker *w) {
        walker_renew(ahead, w);
        g_clear_pointer(&w->missed, g_free);
        w->tid = 0;
}

/* The walker of a thread, moved to the front; a new one if there is none. */
static struct walker *walker_take(Ahead *ahead, pid_t tid) {
        struct walker w;
        unsigned i;

        for (i = 0; i < WALKERS - 1 && ahead->walkers[i].tid != tid; i++)
                continue;
        if (ahead->walkers[i].tid != tid) {
                walker_clear(ahead, &ahead->walkers[i]);
                ahead->walkers[i].tid = tid;
        }
        w = ahead->walkers[i];
        memmove(&ahead->walkers[1], &ahead->walkers[0], i * sizeof w);
        ahead->walkers[0] = w;
        return &ahead->walkers[0];
}

/* ── fetching ───────────────────────────────────────────────────────────── */

struct fetching {
        Ahead *ahead;
        uint64_t serial;
};

static void ahead_pump(Ahead *ahead);

static void fetching_done(void *userdata, int r, const char *detail) {
        struct fetching *f = userdata;
        Ahead *ahead = f->ahead;
        struct walker *w = walker_of(ahead, f->serial);

        ahead->running--;
        if (r < 0 && w) {
                walker_renew(ahead, w);
                w->over = true;
        }
        g_free(f);
        ahead_pump(ahead);
}

static void ahead_fetch(Ahead *ahead, const struct walker *w, const struct ahead_item *item) {
        autoclose int fd = handle_open(store_root(ahead->o->store), &item->handle, O_RDONLY | O_NONBLOCK);
        struct fetching *f;

        if (fd < 0)
                return;
        f = g_new(struct fetching, 1);
        *f = (struct fetching){.ahead = ahead, .serial = w->serial};
        ahead->running++;
        files_hydrate(ahead->files, request_new_call(fetching_done, f, 0), fd);
}

static void ahead_pump(Ahead *ahead) {
        if (ahead->pumping || ahead->stopped)
                return;
        ahead->pumping = true; /* a fetch may be done before files_hydrate() returns */
        for (unsigned i = 0; i < WALKERS; i++) {
                struct walker *w = &ahead->walkers[i];
                while (ahead->running < ahead->limit && w->items && w->next < w->items->len) {
                        struct ahead_item item =
                                g_array_index(w->items, struct ahead_item, w->next++);
                        ahead_fetch(ahead, w, &item);
                }
        }
        ahead->pumping = false;
}

/* ── looking ────────────────────────────────────────────────────────────── */

struct look {
        Ahead *ahead;
        uint64_t serial;
        struct ahead_walk walk;
};

static void look_run(void *data) {
        ahead_walk(&((struct look *)data)->walk);
}

static void look_take(Ahead *ahead, struct walker *w, struct ahead_walk *walk) {
        w->walking = false;
        w->over = walk->items->len == 0; /* until the thread misses another one */
        if (walk->last) {
                g_free(w->last);
                w->last = g_steal_pointer(&walk->last);
        }
        if (w->items && w->next > 0) {
                g_array_remove_range(w->items, 0, w->next);
                w->next = 0;
        }
        if (!w->items)
                w->items = g_array_new(FALSE, FALSE, sizeof(struct ahead_item));
        for (guint i = 0; i < walk->items->len; i++) {
                struct ahead_item *item = &g_array_index(walk->items, struct ahead_item, i);
                if (g_hash_table_contains(ahead->coming, &item->inode))
                        continue;
                g_hash_table_insert(ahead->coming, key_new(item->inode), key_new(w->serial));
                g_array_append_val(w->items, *item);
                w->coming++;
        }
}

static void look_done(void *data) {
        struct look *l = data;
        struct walker *w = walker_of(l->ahead, l->serial);

        if (w && !l->ahead->stopped) {
                look_take(l->ahead, w, &l->walk);
                ahead_pump(l->ahead);
        }
        ahead_walk_clear(&l->walk);
        g_free(l);
}

static void ahead_look(Ahead *ahead, struct walker *w, const char *from, const char *to,
                       Engine *engine) {
        const Registration *registration = engine_registration(engine);
        struct look *l;

        if (w->walking || w->over || ahead->stopped || store_free_bytes(ahead->o->store) < AHEAD_FREE)
                return;
        l = g_new0(struct look, 1);
        l->ahead = ahead;
        l->serial = w->serial;
        l->walk = (struct ahead_walk){
                .root = store_root(ahead->o->store),
                .from = g_strdup(from),
                .to = g_strdup(to),
                .engine = g_strdup(registration->id),
                .prefix = g_strdup(registration->prefix),
                .want = AHEAD_FILES - MIN(w->coming, AHEAD_FILES),
        };
        w->walking = true;
        if (!w->engine)
                w->engine = g_strdup(registration->id);
        work_run(look_run, look_done, l);
}

void ahead_missed(Ahead *ahead, pid_t tid, int fd, const struct stamp *stamp) {
        Engine *engine = ahead->o->engine(ahead->o->userdata, stamp->engine);
        g_autofree char *path = NULL, *from = NULL;
        struct walker *w;

        if (tid <= 0 || ahead->stopped || !engine || stamp->size > AHEAD_FILE_MAX ||
            ahead_opened(ahead, stamp->ino) || store_relative_path(ahead->o->store, fd, &path) < 0)
                return;
        w = walker_take(ahead, tid);
        if (w->walking) /* faster than the look */
                return;
        from = g_strdup(w->last ? w->last : w->missed);
        walker_renew(ahead, w);
        g_free(w->missed);
        w->missed = g_strdup(path);
        if (from)
                ahead_look(ahead, w, from, path, engine);
}

bool ahead_opened(Ahead *ahead, ino_t inode) {
        uint64_t key = inode;
        guint64 *serial = g_hash_table_lookup(ahead->coming, &key);
        struct walker *w = serial ? walker_of(ahead, *serial) : NULL;
        Engine *engine;

        if (!w)
                return false;
        g_hash_table_remove(ahead->coming, &key);
        w->coming--;
        engine = w->coming < AHEAD_REFILL && w->last
                         ? ahead->o->engine(ahead->o->userdata, w->engine)
                         : NULL;
        if (engine)
                ahead_look(ahead, w, w->last, NULL, engine);
        return true;
}

void ahead_stop(Ahead *ahead) {
        ahead->stopped = true;
}

Ahead *ahead_new(Files *files, const struct files_options *options) {
        Ahead *ahead = g_new0(Ahead, 1);

        ahead->files = files;
        ahead->o = options;
        ahead->coming = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
        /* The rest is for those who wait. */
        ahead->limit = MAX(options->config->max_transfers * 3 / 4, 1);
        return ahead;
}

void ahead_free(Ahead *ahead) {
        if (!ahead)
                return;
        for (unsigned i = 0; i < WALKERS; i++)
                walker_clear(ahead, &ahead->walkers[i]);
        g_hash_table_unref(ahead->coming);
        g_free(ahead);
}
