/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-file — the Manager's methods about one file or directory
 *
 *     call ─▶ bus_call_find: the path, with the caller's rights, on a pool thread
 *          ─▶ *_found: what it is; opened for reading with the daemon's own rights
 *          ─▶ daemon_file_status / _hydrate / _refresh ─▶ the answer
 *
 * Only regular files and directories are ever opened: opening a device or a fifo
 * does things.
 */

#include <fcntl.h>

#include "dispatcher/bus/bus.h"
#include "shared/fd.h"

/* Of what a call found, a descriptor that reads; the daemon's rights, the same file. */
static int reopen(const BusCall *call, int fd, int flags) {
        return store_reopen(daemon_store(bus_call_daemon(call)), fd,
                            O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);
}

static int append_status(sd_bus_message *reply, const char *path, const struct file_status *s) {
        g_autofree char *engine = g_utf8_make_valid(s->engine, -1),
                        *version = g_utf8_make_valid(s->version, -1);

        return sd_bus_message_append(reply, "a{sv}", 8u, "Path", "s", path, "Kind", "s",
                                     s->kind == 'f'   ? "file"
                                     : s->kind == 'd' ? "directory"
                                                      : "other",
                                     "State", "s", s->state, "Engine", "s", engine, "Version", "s",
                                     version, "Size", "t", s->size, "Present", "t", s->present,
                                     "Modified", "b", (int)s->modified);
}

/* Takes the call. */
static void reply_status(BusCall *call, const char *path, const struct file_status *status) {
        BUS_UNREF sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(bus_call_message(call), &reply);
        if (r >= 0)
                r = append_status(reply, path, status);
        if (r < 0)
                bus_call_reply_failure(call, r, NULL);
        else
                bus_call_reply(call, reply);
}

static void status_found(BusCall *call, const char *relative, int fd, const struct stat *st) {
        struct file_status status = {.kind = '?', .state = "not-managed"};
        autoclose int own = -1;
        int r = 0;

        if (S_ISREG(st->st_mode)) {
                own = reopen(call, fd, 0);
                r = own < 0 ? own : daemon_file_status(bus_call_daemon(call), own, &status);
        } else if (S_ISDIR(st->st_mode)) {
                r = daemon_file_status(bus_call_daemon(call), fd, &status);
        }
        if (r < 0)
                bus_call_reply_failure(call, r, NULL);
        else
                reply_status(call, relative, &status);
}

/* The last argument of the three: a daemon_done_fn. */
static void call_done(void *userdata, int r, const Failure *failure) {
        BusCall *call = userdata;

        if (r < 0)
                bus_call_reply_failure(call, r, failure);
        else
                bus_call_reply_empty(call);
}

static void refuse(BusCall *call, int r, const char *name, const char *text) {
        g_auto(Failure) failure = FAILURE_INIT;

        (void)failure_set(&failure, r, name, "%s", text);
        bus_call_reply_failure(call, r, &failure);
}

static void hydrate_found(BusCall *call, const char *relative, int fd, const struct stat *st) {
        autoclose int own = -1;

        if (!S_ISREG(st->st_mode)) {
                refuse(call, -EINVAL, "NotAPlaceholder",
                       S_ISDIR(st->st_mode) ? "That is a directory: hydrate its files one by one"
                                            : "That is not a regular file");
                return;
        }
        own = reopen(call, fd, 0);
        if (own < 0)
                bus_call_reply_failure(call, own, NULL);
        else
                daemon_hydrate(bus_call_daemon(call), own, bus_call_uid(call), call_done, call);
}

static void refresh(BusCall *call, int fd, const struct stat *st, bool recursive) {
        autoclose int own = -1;

        if (!S_ISDIR(st->st_mode)) {
                refuse(call, -ENOTDIR, "NoSuchFile",
                       "That is not a directory: refresh the one it is in");
                return;
        }
        own = reopen(call, fd, O_DIRECTORY);
        if (own < 0)
                bus_call_reply_failure(call, own, NULL);
        else
                daemon_refresh(bus_call_daemon(call), own, recursive, call_done, call);
}

static void refresh_found(BusCall *call, const char *relative, int fd, const struct stat *st) {
        refresh(call, fd, st, false);
}

static void refresh_recursive_found(BusCall *call, const char *relative, int fd,
                                    const struct stat *st) {
        refresh(call, fd, st, true);
}

/* The first argument is a path. Returns what a handler returns: 1, answered later. */
static int find_later(Bus *bus, sd_bus_message *message, enum bus_call_kind kind, const char *path,
                      bool wants_read, bus_found_fn found, sd_bus_error *error) {
        BusCall *call = bus_call_new(bus, message, kind, error);

        if (!call)
                return -EBUSY;
        bus_call_find(call, path, wants_read, found);
        return 1;
}

int bus_method_get_file_status(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *path;
        int r;

        r = sd_bus_message_read(message, "s", &path);
        if (r < 0)
                return r;
        return find_later(userdata, message, BUS_CALL_SHORT, path, false, status_found, error);
}

int bus_method_hydrate(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *path;
        int r;

        r = sd_bus_message_read(message, "s", &path);
        if (r < 0)
                return r;
        return find_later(userdata, message, BUS_CALL_LONG, path, true, hydrate_found, error);
}

int bus_method_refresh(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *path;
        int recursive, r;

        r = bus_require_root(userdata, message, error);
        if (r < 0)
                return r;
        r = sd_bus_message_read(message, "sb", &path, &recursive);
        if (r < 0)
                return r;
        return find_later(userdata, message, BUS_CALL_LONG, path, false,
                          recursive ? refresh_recursive_found : refresh_found, error);
}
