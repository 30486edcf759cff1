/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/store/holders.h"

#include "dispatcher/manager.h"
#include "dispatcher/notify.h"
#include "dispatcher/store/store-internal.h"
#include "dispatcher/store/superblock.h"

#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <syslog.h>
#include <unistd.h>

#define ASK_EVERY_S 2
#define TELL_FIRST_MS 400
#define TELL_EVERY_S 30
#define KILL_EVERY_S 5
#define NOT_SHOWN "by what no process shows (a file on its way through a socket, in an io_uring, below a loop device)"
#define NAMED_MAX 8u

struct Holders {
        dev_t superblock, files;
        uint64_t own_mount;
        int watch;
        char *path;
        unsigned limit_s;
        void (*say)(int level, const char *format, ...);
        int64_t begun, told, asked; /* µs; 0: not yet */
        bool down;                  /* the machine, it is known */
        int64_t kill;               /* then: when */
};

/* ── does the machine go down? ──────────────────────────────────────────── */

static int asking, goes_down; /* of a thread that may outlive the Holders */

static void *ask(void *userdata) {
        if (manager_goes_down() > 0)
                g_atomic_int_set(&goes_down, 1);
        g_atomic_int_set(&asking, 0);
        return NULL;
}

static void ask_again(Holders *h, int64_t now) {
        if (h->asked && now - h->asked < ASK_EVERY_S * G_USEC_PER_SEC)
                return;
        h->asked = now;
        if (!g_atomic_int_get(&goes_down) && g_atomic_int_compare_and_exchange(&asking, 0, 1)) {
                GThread *thread = g_thread_try_new("ask", ask, NULL, NULL);
                if (thread)
                        g_thread_unref(thread);
                else
                        g_atomic_int_set(&asking, 0);
        }
}

/* ── who are they? ──────────────────────────────────────────────────────── */

static char *name_of(pid_t pid) {
        g_autofree char *file = g_strdup_printf("/proc/%d/comm", (int)pid);
        char *name = NULL;

        if (!g_file_get_contents(file, &name, NULL, NULL))
                return g_strdup("?");
        g_strstrip(name);
        for (char *c = name; *c; c++)
                if (!g_ascii_isprint(*c))
                        *c = '?';
        return name;
}

struct names {
        GString *text;
        unsigned n;
};

static bool add_name(void *userdata, pid_t pid, const char *how) {
        struct names *names = userdata;

        if (++names->n > NAMED_MAX)
                return true;
        if (names->n > 1)
                g_string_append(names->text, ", ");
        if (pid > 0) {
                g_autofree char *name = name_of(pid);
                g_string_append_printf(names->text, "%s (process %d: %s)", name, (int)pid, how);
        } else
                g_string_append(names->text, how);
        return true;
}

static char *names_of_all(const Holders *h) {
        struct names names = {.text = g_string_new(NULL)};

        store_each_user(h->superblock, h->files, h->own_mount, add_name, &names);
        if (names.n > NAMED_MAX)
                g_string_append_printf(names.text, " and %u more", names.n - NAMED_MAX);
        return g_string_free(names.text, FALSE);
}

static bool kill_one(void *userdata, pid_t pid, const char *how) {
        Holders *h = userdata;
        g_autofree char *name = pid > 1 ? name_of(pid) : NULL;
        int process = pid > 1 ? pidfd_open(pid, 0) : -1;

        if (process < 0)
                return true;
        /* The number may be another process's by now. */
        if (store_user_is(pid, h->superblock, h->files) &&
            pidfd_send_signal(process, SIGKILL, NULL, 0) == 0)
                h->say(LOG_WARNING, "the machine goes down: killed %s (process %d: %s)", name, (int)pid, how);
        (void)close(process);
        return true;
}

static bool stop_at_first(void *userdata, pid_t pid, const char *how) {
        *(bool *)userdata = true;
        return false;
}

/* ── looking ────────────────────────────────────────────────────────────── */

Holders *holders_new(dev_t superblock, dev_t files, uint64_t own_mount, int watch, const char *path, unsigned limit_s,
                     void (*say)(int level, const char *format, ...)) {
        Holders *h = g_new0(Holders, 1);

        *h = (Holders){.superblock = superblock,
                       .files = files,
                       .own_mount = own_mount,
                       .watch = watch,
                       .path = g_strdup(path),
                       .limit_s = limit_s,
                       .say = say};
        return h;
}

void holders_free(Holders *h) {
        if (!h)
                return;
        g_free(h->path);
        g_free(h);
}

static void tell(Holders *h, int64_t now) {
        g_autofree char *names = NULL;

        if (h->told ? now - h->told < TELL_EVERY_S * G_USEC_PER_SEC : now - h->begun < TELL_FIRST_MS * 1000)
                return;
        names = names_of_all(h);
        if (!*names && superblock_state(h->watch) != SUPERBLOCK_LIVES) /* gone meanwhile */
                return;
        h->told = now;
        h->say(LOG_WARNING, "waiting, %s is still used: %s; reads of files that are not here fail with EIO", h->path,
               *names ? names : NOT_SHOWN);
        notify("STATUS=Waiting, the store is still used: %s", *names ? names : NOT_SHOWN);
}

bool holders_gone(Holders *h) {
        int64_t now = g_get_monotonic_time();
        bool found = false;

        if (superblock_state(h->watch) == SUPERBLOCK_OVER)
                return true;
        store_each_user(h->superblock, h->files, h->own_mount, stop_at_first, &found);
        if (!found && superblock_state(h->watch) != SUPERBLOCK_LIVES)
                return true;
        if (!h->begun)
                h->begun = now;
        tell(h, now);
        ask_again(h, now);
        if (!h->down && g_atomic_int_get(&goes_down)) {
                h->down = true;
                h->kill = now + (int64_t)h->limit_s * G_USEC_PER_SEC;
                h->say(LOG_NOTICE, "the machine goes down: what still uses %s in %u s is killed", h->path, h->limit_s);
        }
        if (h->down && now >= h->kill && !found) {
                h->say(LOG_WARNING, "the machine goes down: %s is not waited for any longer, though used: %s", h->path,
                       NOT_SHOWN);
                return true;
        }
        if (h->down && now >= h->kill) {
                h->kill = now + KILL_EVERY_S * G_USEC_PER_SEC; /* some die slowly */
                store_each_user(h->superblock, h->files, h->own_mount, kill_one, h);
        }
        return false;
}
