/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/node.h"

#include "dispatcher/store/stamp.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * walk — a whole tree is refreshed, by a call or by the clock
 *
 * A directory's children are known when it has been listed. They wait as handles, the last first
 * (depth first, so that few wait), and WALK_ACTIVE of them at the most are nodes at a time: a
 * tree of 100,000 directories costs as many handles (48 bytes each) only where all of them are
 * in one directory.
 */

#define WALK_ACTIVE 16u
#define WALK_TRIES 60u /* a second apart */

struct walk {
        Lister *lister;
        char *engine;
        GArray *todo; /* of struct handle */
        unsigned active;
        bool poll, told;
        guint idle;
        unsigned tries; /* of opening the next one */
};

struct poll {
        Lister *lister;
        char *engine;
        guint timer;
        bool walking;
};

/* 0, also when there is nothing to refresh any more; -errno: it cannot be told. */
static int walk_next(struct walk *walk, const struct handle *handle) {
        Lister *l = walk->lister;
        struct stamp stamp = STAMP_INIT;
        autoclose int fd = -1;
        struct stat st;
        Node *node;
        int r;

        fd = handle_open(store_root(l->o->store), handle, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd == -ESTALE ? 0 : fd;
        r = fstat(fd, &st) < 0 ? -errno : stamp_read(fd, st.st_ino, &stamp);
        if (r < 0)
                return r == -ENODATA ? 0 : r;
        if (strcmp(stamp.engine, walk->engine) == 0) {
                struct populate_directory d = {.device = st.st_dev, .inode = st.st_ino, .handle = *handle,
                                               .engine = stamp.engine, .locator = stamp.locator};
                bool listed = stamp.state == STAMP_LISTED || fresh_has(l->fresh, st.st_dev, st.st_ino);

                node = node_find(l, &d);
                if (!node) /* UNLISTED without one: fresh.c could not stamp it */
                        node = node_new(l, &d, listed);
                else if (!listed && !walk->told)
                        node = NULL; /* it is about to be listed */
                if (node) {
                        node->owed |= walk->told;
                        walk_join(walk, node);
                }
        }
        stamp_clear(&stamp);
        return 0;
}

static gboolean walk_pump(gpointer userdata) {
        struct walk *walk = userdata;
        Lister *l = walk->lister;
        struct poll *poll;

        if (l->denying || !l->o->engine(l->o->userdata, walk->engine))
                g_array_set_size(walk->todo, 0);
        while (walk->todo->len > 0 && walk->active < WALK_ACTIVE) {
                struct handle handle = g_array_index(walk->todo, struct handle, walk->todo->len - 1);
                g_array_set_size(walk->todo, walk->todo->len - 1);
                if (walk_next(walk, &handle) == 0 || (!walk->told && ++walk->tries >= WALK_TRIES)) {
                        walk->tries = 0;
                        continue;
                }
                g_array_prepend_val(walk->todo, handle); /* the others before it */
                walk->idle = g_timeout_add_seconds(1, walk_pump, walk);
                return G_SOURCE_REMOVE;
        }
        walk->idle = 0;
        if (walk->active > 0)
                return G_SOURCE_REMOVE;
        if (walk->poll) {
                l->polling--;
                lister_note_complete(l);
        }
        poll = walk->poll ? g_hash_table_lookup(l->polls, walk->engine) : NULL;
        if (poll)
                poll->walking = false;
        g_array_unref(walk->todo);
        g_free(walk->engine);
        g_free(walk);
        return G_SOURCE_REMOVE;
}

/* Not at once: whoever calls is in the middle of a node. */
static void walk_schedule(struct walk *walk) {
        if (walk->idle == 0)
                walk->idle = g_idle_add(walk_pump, walk);
}

struct walk *walk_new(Lister *l, const char *engine) {
        struct walk *walk = g_new0(struct walk, 1);

        walk->lister = l;
        walk->engine = g_strdup(engine);
        walk->todo = g_array_new(FALSE, FALSE, sizeof(struct handle));
        walk_schedule(walk);
        return walk;
}

void walk_join(struct walk *walk, Node *node) {
        if (!node_is_working(node)) {
                walk->active++;
                node->walk = walk;
                node_begin(node);
        } else if (!node->walk_after) {
                walk->active++;
                node->walk_after = walk;
                node->again = true;
        } else /* another walk will refresh it after this one began */
                node->again = true;
}

void walk_add(struct walk *walk, const struct handle *directory) {
        g_array_append_vals(walk->todo, directory, 1);
        walk_schedule(walk);
}

void walk_leave(struct walk *walk) {
        walk->active--;
        walk_schedule(walk);
}

bool walk_is_poll(const struct walk *walk) {
        return walk->poll;
}

bool walk_is_told(const struct walk *walk) {
        return walk->told;
}

/* The root of what an engine has here. */
static int engine_handle(Lister *l, Engine *engine, struct handle *ret) {
        struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        autoclose int fd = (int)syscall(SYS_openat2, store_root(l->o->store), engine_registration(engine)->prefix,
                                        &how, sizeof how);

        return fd < 0 ? -errno : handle_take(fd, ret);
}

int walk_told(Lister *l, Engine *engine) {
        struct handle handle;
        struct walk *walk;
        int r = engine_handle(l, engine, &handle);

        if (r < 0)
                return r;
        walk = walk_new(l, engine_id(engine));
        walk->told = true;
        walk_add(walk, &handle);
        return 0;
}

/* ── by the clock ───────────────────────────────────────────────────────── */

static gboolean poll_due(gpointer userdata) {
        struct poll *poll = userdata;
        Lister *l = poll->lister;
        Engine *engine = l->o->engine(l->o->userdata, poll->engine);
        struct handle handle;

        if (!engine) {
                poll->timer = 0;
                g_hash_table_remove(l->polls, poll->engine);
                return G_SOURCE_REMOVE;
        }
        if (poll->walking || l->denying || engine_state_of(engine) != ENGINE_SERVING)
                return G_SOURCE_CONTINUE;
        if (engine_handle(l, engine, &handle) == 0) {
                struct walk *walk = walk_new(l, poll->engine);
                walk->poll = poll->walking = true;
                l->polling++;
                lister_note_complete(l);
                walk_add(walk, &handle);
        }
        return G_SOURCE_CONTINUE;
}

void poll_start(Lister *l, Engine *engine) {
        const Registration *registration = engine_registration(engine);
        struct poll *poll;

        g_hash_table_remove(l->polls, registration->id);
        if (registration->refresh_s == 0)
                return;
        poll = g_new0(struct poll, 1);
        poll->lister = l;
        poll->engine = g_strdup(registration->id);
        poll->timer = g_timeout_add_seconds(registration->refresh_s, poll_due, poll);
        g_hash_table_insert(l->polls, poll->engine, poll);
}

void poll_free(void *userdata) {
        struct poll *poll = userdata;

        if (poll->timer)
                g_source_remove(poll->timer);
        g_free(poll->engine);
        g_free(poll);
}
