/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * daemon — what a person or a program can ask of cloudsyncd
 *
 * The face that the bus (bus-*.c) talks to; implemented by daemon.c out of
 * store, registry, files and lister. Everything here runs on the main loop.
 */

#include "dispatcher/config.h"
#include "dispatcher/engines/engine.h"
#include "dispatcher/failure.h"
#include "dispatcher/engines/registration.h"
#include "dispatcher/store/store.h"

#include <stdint.h>

typedef struct Daemon Daemon;
typedef struct Bus Bus;

/* Answers later, exactly once, on the main loop; r == 0: failure is NULL. */
typedef void (*daemon_done_fn)(void *userdata, int r, const Failure *failure);

const Config *daemon_config(const Daemon *daemon);
const Store *daemon_store(const Daemon *daemon);
/* Are group and journal in the service manager's fd store, as far as can be told? */
bool daemon_is_stored(const Daemon *daemon);

/* Takes a copy of `registration`. The engine is borrowed. */
int daemon_register(Daemon *daemon, const Registration *registration, Engine **ret, Failure *failure);
int daemon_unregister(Daemon *daemon, const char *id, Failure *failure);
/* For the process `pid` of user `uid` (from the bus): the engine's host, or root. The
 * channel is the caller's to close. */
int daemon_attach(Daemon *daemon, const char *id, uint32_t abi, uid_t uid, pid_t pid, int *ret_channel,
                  Failure *failure);
Engine *daemon_engine(const Daemon *daemon, const char *id); /* borrowed, or NULL */
GList *daemon_engines(const Daemon *daemon); /* of Engine *, by id; g_list_free() */

/* A step of a login (see cloudsync/engine.h): begun, or a failure. done() comes once, later, on
 * the main loop: `reply` is the engine's when r is 0, `failure` says why when it is not.
 * `text` is a secret. */
typedef void (*daemon_login_fn)(void *userdata, int r, const char *reply, const Failure *failure);
int daemon_login(Daemon *daemon, const char *id, enum cs_login_step step, const char *text,
                 daemon_login_fn done, void *userdata, Failure *failure);

struct file_status {
        char kind;          /* 'f', 'd', '?' */
        const char *state;  /* static; see the XML */
        char engine[33];    /* "" when not managed */
        char version[201];
        uint64_t size, present;
        bool modified;
};
/* `fd` is of the private mount (O_PATH is enough for directories; files want O_RDONLY). */
int daemon_file_status(Daemon *daemon, int fd, struct file_status *ret);

/* `fd`: of the private mount, O_RDONLY; duplicated if kept. `uid`: who asks. */
void daemon_hydrate(Daemon *daemon, int fd, uid_t uid, daemon_done_fn done, void *userdata);
/* `fd`: a directory of the private mount. */
void daemon_refresh(Daemon *daemon, int fd, bool recursive, daemon_done_fn done, void *userdata);

struct daemon_transfer {
        uint64_t id;
        const char *engine; /* borrowed for the call */
        const char *path;
        uint64_t done, total;
        uid_t uid;          /* of the first who waited for it; (uid_t)-1: unknown */
};
typedef void (*daemon_transfer_fn)(void *userdata, const struct daemon_transfer *transfer);
void daemon_transfers(Daemon *daemon, daemon_transfer_fn each, void *userdata);

struct daemon_counters {
        uint32_t events_pending;
        uint64_t events_answered, events_denied, files_hydrated, bytes_fetched;
};
void daemon_counters(const Daemon *daemon, struct daemon_counters *ret);

/*
 * The other way: what the daemon tells the bus. Implemented by bus*.c; every
 * one accepts a NULL bus (a daemon without one) and never fails.
 */
/* `address`: "system", "session", "none" or a D-Bus address. Requests the name; its
 * methods are answered once the loop runs. */
int bus_open(Daemon *daemon, const char *address, Bus **ret, Failure *failure);
/* The same without waiting: the connection comes, and the name, when the bus gives them. Never fails. */
Bus *bus_open_later(Daemon *daemon, const char *address);
void bus_close(Bus *bus);
bool bus_is_ready(const Bus *bus); /* the name is ours, or there is no bus */
void bus_engine_added(Bus *bus, Engine *engine);
void bus_engine_removed(Bus *bus, const char *id);
void bus_engine_changed(Bus *bus, Engine *engine); /* State, StateDetail, Pid */
void bus_transfer_started(Bus *bus, uint64_t id, const char *engine, uint64_t total);
void bus_transfer_progress(Bus *bus, uint64_t id, uint64_t done, uint64_t total);
void bus_transfer_finished(Bus *bus, uint64_t id, uint64_t done, const char *error);
