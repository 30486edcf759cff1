/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-call — a method call that is answered later
 *
 * It owns what the answer needs: the message (and through it its connection, which may
 * be gone by then: the answer goes nowhere) and the bus. Whoever drops it without an
 * answer has answered with an error: no client waits for nothing.
 *
 * How many a user may have under way is counted by uid, not by connection, since
 * connections are cheap, and by kind. Root is bounded by the sum alone.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "dispatcher/bus/bus.h"
#include "dispatcher/work.h"
#include "shared/fd.h"

struct BusCall {
        Bus *bus;                /* a reference */
        sd_bus_message *message; /* a reference; NULL once it is answered */
        uid_t uid;
        enum bus_call_kind kind;
        /* bus_call_find() */
        struct bus_access access;
        char *path, *public_path;
        gid_t *groups;
        bus_found_fn found;
};

/* --- the bounds --- */

static unsigned count_of(GHashTable *calls, uid_t uid) {
        return GPOINTER_TO_UINT(g_hash_table_lookup(calls, GUINT_TO_POINTER(uid)));
}

static void count_set(GHashTable *calls, uid_t uid, unsigned n) {
        if (n > 0)
                g_hash_table_insert(calls, GUINT_TO_POINTER(uid), GUINT_TO_POINTER(n));
        else
                g_hash_table_remove(calls, GUINT_TO_POINTER(uid));
}

BusCall *bus_call_new(Bus *bus, sd_bus_message *message, enum bus_call_kind kind,
                      sd_bus_error *error) {
        const struct bus_caller *caller = bus_callers_get(bus->callers, message);
        unsigned n = count_of(bus->calls[kind], caller->uid);
        BusCall *call;

        if (bus->n_calls >= BUS_CALLS_MAX || (caller->uid != 0 && n >= BUS_CALLS_PER_USER)) {
                (void)sd_bus_error_set(error, BUS_ERROR "Busy",
                                       "Too many calls are under way; try again when one of them "
                                       "has been answered");
                return NULL;
        }
        call = g_new0(BusCall, 1);
        call->bus = bus_ref(bus);
        call->message = sd_bus_message_ref(message);
        call->uid = caller->uid;
        call->access.fd = call->access.root_fd = -1;
        call->kind = kind;
        count_set(bus->calls[kind], call->uid, n + 1);
        bus->n_calls++;
        return call;
}

void bus_call_free(BusCall *call) {
        GHashTable *counts;

        if (!call)
                return;
        if (call->message)
                (void)sd_bus_reply_method_errorf(call->message, SD_BUS_ERROR_FAILED,
                                                 "cloudsyncd is stopping");
        sd_bus_message_unref(call->message);
        counts = call->bus->calls[call->kind];
        count_set(counts, call->uid, count_of(counts, call->uid) - 1);
        call->bus->n_calls--;
        bus_unref(call->bus);
        (void)fd_close(call->access.fd);
        (void)fd_close(call->access.root_fd);
        g_free(call->path);
        g_free(call->public_path);
        g_free(call->groups);
        g_free(call);
}

Daemon *bus_call_daemon(const BusCall *call) {
        return call->bus->daemon;
}

uid_t bus_call_uid(const BusCall *call) {
        return call->uid;
}

sd_bus_message *bus_call_message(const BusCall *call) {
        return call->message;
}

/* --- answers --- */

static void answered(BusCall *call) {
        call->message = sd_bus_message_unref(call->message);
        bus_call_free(call);
}

void bus_call_reply(BusCall *call, sd_bus_message *reply) {
        (void)sd_bus_send(NULL, reply, NULL);
        answered(call);
}

void bus_call_reply_empty(BusCall *call) {
        (void)sd_bus_reply_method_return(call->message, NULL);
        answered(call);
}

void bus_call_reply_failure(BusCall *call, int r, const Failure *failure) {
        sd_bus_error error = SD_BUS_ERROR_NULL;

        (void)bus_error(&error, r, failure);
        (void)sd_bus_reply_method_error(call->message, &error);
        sd_bus_error_free(&error);
        answered(call);
}

/* --- a path --- */

static void find_run(void *data) {
        BusCall *call = data;

        bus_access_run(&call->access);
}

static void find_done(void *data) {
        g_autoptr(BusCall) call = data;
        autoclose int fd = fd_steal(&call->access.fd);
        g_auto(Failure) failure = FAILURE_INIT;
        g_autofree char *relative = NULL;
        struct stat st;
        int r = call->access.result;

        call->access.root_fd = fd_close(call->access.root_fd);
        if (!call->bus->daemon)
                return;
        if (r >= 0 && fstat(fd, &st) < 0)
                r = -errno;
        if (r >= 0) {
                relative = g_strdup(call->access.relative);
                call->found(g_steal_pointer(&call), relative, fd, &st);
                return;
        }
        if (r == -ENOENT || r == -ENOTDIR || r == -ENAMETOOLONG)
                (void)failure_set(&failure, r, "NoSuchFile", "There is no such file");
        else if (r == -EACCES)
                (void)failure_set(&failure, r, "AccessDenied",
                                  "The file system does not let you see that file, or not read it");
        else if (r == -ELOOP)
                (void)failure_set(&failure, r, "NotInStore",
                                  "There is a symbolic link on the way: give the path it leads to");
        bus_call_reply_failure(g_steal_pointer(&call), r, &failure);
}

void bus_call_find(BusCall *call, const char *path, bool wants_read, bus_found_fn found) {
        const struct bus_caller *caller = bus_callers_get(call->bus->callers, call->message);
        const Store *store = daemon_store(call->bus->daemon);
        g_auto(Failure) failure = FAILURE_INIT;
        struct bus_access *access = &call->access;
        int r;

        call->path = g_strdup(path);
        r = bus_path_relative(store_path(store), call->path, &access->relative, &failure);
        if (r >= 0) {
                /* An own descriptor: the store may be closed before the thread is done. */
                access->root_fd = fcntl(store_root(store), F_DUPFD_CLOEXEC, 3);
                if (access->root_fd < 0)
                        r = -errno;
        }
        if (r < 0) {
                bus_call_reply_failure(call, r, &failure);
                return;
        }
        call->public_path = g_strdup(store_path(store));
        call->groups = g_memdup2(caller->groups, caller->n_groups * sizeof(gid_t));
        call->found = found;
        access->public_path = call->public_path;
        access->groups = call->groups;
        access->n_groups = caller->n_groups;
        access->uid = call->uid;
        access->wants_read = wants_read;
        work_run(find_run, find_done, call);
}
