/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * bus — what the bus-*.c files share
 *
 *     bus.c           the connection: opened, lost, opened again; the name; the objects
 *     bus-source.c    sd-bus as a source of the GLib main loop
 *     bus-caller.c    who sent a message, asked of the bus without waiting for it
 *     bus-access.c    a path opened with the rights of the caller
 *     bus-call.c      a call that is answered later
 *     bus-file.c      the Manager's methods about a file or directory
 *     bus-manager.c   org.cloudsync1.Manager
 *     bus-login.c     the Manager's methods for logins
 *     bus-engine.c    org.cloudsync1.Engine
 *     bus-transfer.c  the transfers' signals, thinned out
 *
 * A Bus outlives its connections and, held by the calls that are not answered yet, even
 * bus_close(): `daemon` is NULL from then on, and so it is the mark of a closed one.
 */

#include "dispatcher/daemon.h"
#include "shared/backoff.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#define BUS_NAME "org.cloudsync1"
#define BUS_OBJECT "/org/cloudsync1"
#define BUS_ENGINES "/org/cloudsync1/engine"
#define BUS_MANAGER "org.cloudsync1.Manager"
#define BUS_ENGINE "org.cloudsync1.Engine"
#define BUS_ERROR "org.cloudsync1.Error."

#define BUS_CALLS_PER_USER 64u /* of one kind, not answered yet; more are refused: Busy */
#define BUS_CALLS_MAX 1024u    /* of all users together; root's only bound */
#define BUS_HELD_MAX 64u       /* messages of one sender that wait for its credentials */
#define BUS_CALLERS_MAX 512u   /* senders remembered */
#define BUS_PATH_MAX 4096u     /* bytes of a path in a call */
#define BUS_QUEUED_MAX 4096u   /* messages not written yet, above which signals are dropped */

struct bus_callers;
struct bus_transfers;

/* Counted apart, so that a user whose hydrations wait can still look. */
enum bus_call_kind {
        BUS_CALL_SHORT, /* answered as soon as the disk has */
        BUS_CALL_LONG,  /* waits for a remote */
};

/* What the properties of an engine's object are read from. */
struct bus_found {
        Bus *bus;
        Engine *engine;
};

struct Bus {
        unsigned refs;
        Daemon *daemon; /* NULL: closed */
        char *address;
        sd_bus *connection; /* NULL while there is none */
        GSource *source;
        bool ready;  /* the name is ours: signals go out */
        bool told;   /* that the connection is lost, and not yet that it is back */
        bool early;  /* there was none yet (bus_open_later) */
        guint retry; /* the time-out's id, or 0 */
        struct backoff backoff;
        struct bus_callers *callers;
        struct bus_transfers *transfers;
        struct bus_found found; /* by the look-up for the message being handled */
        GHashTable *calls[2];   /* by kind: uid → how many of its calls wait */
        unsigned n_calls;
};

Bus *bus_ref(Bus *bus);
void bus_unref(Bus *bus);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Bus, bus_unref)

/* May signals be sent now? False without a bus, without the name, with a full queue. */
bool bus_can_signal(const Bus *bus);

/* --- bus-source.c --- */

/* A source, attached to the default main context, that lets the connection work. When it
 * breaks, lost(userdata, -errno) is called once, outside of every sd-bus callback. Destroy and
 * unref it before the connection goes. NULL: the address is not a socket. */
typedef void (*bus_lost_fn)(void *userdata, int r);
GSource *bus_source_new(sd_bus *connection, bus_lost_fn lost, void *userdata);

/* --- bus-caller.c --- */

/* A sender as the bus knows it: fixed for a connection's life. */
struct bus_caller {
        uid_t uid;
        pid_t pid;     /* 0: unknown */
        gid_t *groups; /* all of them, effective and supplementary; owned */
        size_t n_groups;
        bool has_groups; /* the bus told them */
};

struct bus_callers *bus_callers_new(void);
void bus_callers_free(struct bus_callers *callers);
/* Lets no method call through to the objects before its sender is known. To be called for
 * each new connection; forgets the senders of the one before. */
int bus_callers_watch(struct bus_callers *callers, sd_bus *connection);
void bus_callers_forget(struct bus_callers *callers);
/* The sender of a method call that is being handled: never NULL there; borrowed until
 * the handler returns. */
const struct bus_caller *bus_callers_get(struct bus_callers *callers, sd_bus_message *message);

/* --- bus-access.c --- */

/* Pure: a path from a call to one that is relative to the store's root ("" = the root).
 * 0 and *ret (points into `path`), or a failure (NotInStore, NoSuchFile). */
int bus_path_relative(const char *store_path, const char *path, const char **ret, Failure *failure);

struct bus_access {
        /* in */
        const char *relative;    /* see bus_path_relative() */
        const char *public_path; /* must be reachable by the user as well; NULL: not asked */
        int root_fd;             /* of the private mount */
        uid_t uid;               /* 0: every right */
        const gid_t *groups;
        size_t n_groups;
        bool wants_read;
        /* out */
        int fd; /* O_PATH, the caller's of this; -1 on failure */
        int result;
};

/* Opens it as the user could: search permission on the way and, if wanted, read permission
 * of what is there. No symbolic link is followed, no mount crossed, the root not
 * left; the object itself is not opened, only named (O_PATH). Blocks: pool threads
 * only. The thread has its own credentials again when it returns. */
void bus_access_run(struct bus_access *access);

/* --- bus-call.c --- */

/* A method call that is answered later: exactly once, by one of the _reply functions or, with
 * an error, by bus_call_free(). Holds the bus and the message. */
typedef struct BusCall BusCall;

/* NULL and *error (Busy) when the sender has too many of them. */
BusCall *bus_call_new(Bus *bus, sd_bus_message *message, enum bus_call_kind kind,
                      sd_bus_error *error);
void bus_call_free(BusCall *call);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BusCall, bus_call_free)
/* The daemon, or NULL once the bus is closed: then only free the call. */
Daemon *bus_call_daemon(const BusCall *call);
uid_t bus_call_uid(const BusCall *call);
sd_bus_message *bus_call_message(const BusCall *call);     /* borrowed */
void bus_call_reply(BusCall *call, sd_bus_message *reply); /* takes the call; borrows the reply */
void bus_call_reply_empty(BusCall *call);                  /* takes the call */
void bus_call_reply_failure(BusCall *call, int r, const Failure *failure); /* takes the call */

/* Finds `path` with the sender's rights, on a pool thread, then calls found() on the main
 * loop with an O_PATH descriptor (borrowed) and its stat; found() takes the call. A failure
 * is answered here. Takes the call. */
typedef void (*bus_found_fn)(BusCall *call, const char *relative, int fd, const struct stat *st);
void bus_call_find(BusCall *call, const char *path, bool wants_read, bus_found_fn found);

/* --- bus-file.c: sd-bus handlers, userdata is the Bus --- */

int bus_method_get_file_status(sd_bus_message *message, void *userdata, sd_bus_error *error);
int bus_method_hydrate(sd_bus_message *message, void *userdata, sd_bus_error *error);
int bus_method_refresh(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* --- bus-login.c: the same --- */

int bus_method_login(sd_bus_message *message, void *userdata, sd_bus_error *error);
int bus_method_finish_login(sd_bus_message *message, void *userdata, sd_bus_error *error);
int bus_method_logout(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* --- bus-manager.c, bus-engine.c --- */

/* 0, or a negative errno and *error when the sender is not root. */
int bus_require_root(Bus *bus, sd_bus_message *message, sd_bus_error *error);

int bus_manager_add(Bus *bus, sd_bus *connection);
int bus_engines_add(Bus *bus, sd_bus *connection);
char *bus_engine_path(const char *id); /* g_free() */

/* For variables that let go of their message. */
#define BUS_UNREF __attribute__((cleanup(bus_message_cleanup)))
static inline void bus_message_cleanup(sd_bus_message **message) {
        *message = sd_bus_message_unref(*message);
}

/* Fills an sd-bus error from what a function of ours returned; returns r (negative). */
int bus_error(sd_bus_error *error, int r, const Failure *failure);

/* --- bus-transfer.c --- */

struct bus_transfers *bus_transfers_new(void);
void bus_transfers_free(struct bus_transfers *transfers);
