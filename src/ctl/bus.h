/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * bus — cloudsyncctl's side of org.cloudsync1: connecting, properties into
 * structures, and errors into sentences.
 */

#include "ctl/ctl.h"

#define BUS_NAME "org.cloudsync1"
#define BUS_OBJECT "/org/cloudsync1"
#define BUS_MANAGER "org.cloudsync1.Manager"
#define BUS_ENGINE "org.cloudsync1.Engine"
#define BUS_ENGINES "/org/cloudsync1/engine"

/* Connects, once. 0, or a negative errno after saying why. */
int bus_connect(struct ctl *ctl);

/* What to do about a D-Bus error, or NULL. Pure. */
const char *bus_error_hint(const char *name, const char *bus_address);

/* Does the error mean that the daemon is not there any more, so that more calls are no use? */
bool bus_error_is_gone(const sd_bus_error *error);

/* Says that `what` failed, why, and (but not twice in a row) what to do. `error` may be unset: then
 * `r` tells. Returns CTL_FAILED. */
int bus_fail(const struct ctl *ctl, const char *what, const sd_bus_error *error, int r);

/* The text of the error for people. Lives as long as `error`. */
const char *bus_error_text(const sd_bus_error *error, int r);

/* Fields of a structure that a dictionary a{sv} fills. What the dictionary lacks or has
 * with another type stays as it was. */
struct bus_field {
        const char *name;
        const char *type; /* "s" char *, "u" uint32_t, "t" uint64_t, "b" bool, "as" char ** */
        size_t offset;
};

/* Reads a{sv} from `m` into `target`; `fields` ends with name == NULL. Strings are owned by
 * the structure. `settings` (a{ss}) may be NULL; else it is filled, if "Settings" is there. */
int bus_read_fields(sd_bus_message *m, const struct bus_field *fields, void *target,
                    GHashTable *settings);

/* org.freedesktop.DBus.Properties.GetAll. 0, or a negative errno and *error. */
int bus_get_all(struct ctl *ctl, const char *object, const char *interface, sd_bus_error *error,
                sd_bus_message **reply);

/* The object of an engine; to be freed with free(). NULL: no memory. */
char *bus_engine_object(const char *id);

/* The daemon, as its properties tell. */
struct bus_manager {
        char *version, *store_path, *store_filesystem;
        char **layers;
        uint32_t events_pending;
        uint64_t events_answered, events_denied, files_hydrated, bytes_fetched;
};
void bus_manager_clear(struct bus_manager *manager);
typedef struct bus_manager BusManager;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(BusManager, bus_manager_clear)

/* 0, or a negative errno after saying why. */
int bus_get_manager(struct ctl *ctl, struct bus_manager *ret);

/* One engine; `settings` is NULL where they were not asked for. */
struct bus_engine {
        char *id, *module, *prefix, *state, *state_detail;
        uint32_t pid, transfers_active;
        uint64_t directories_listed, directories_pending, entries_skipped, bytes_fetched;
        uint64_t local_files, conflicts;
        uint64_t fetch_errors, checksum_errors, host_restarts;
        GHashTable *settings;
};
void bus_engine_free(struct bus_engine *engine);
typedef struct bus_engine BusEngine;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BusEngine, bus_engine_free)

/* 0, or a negative errno and *error. */
int bus_get_engine(struct ctl *ctl, const char *id, sd_bus_error *error, struct bus_engine **ret);

/* All engines, sorted by id: struct bus_engine *. NULL after saying why. One that goes away
 * meanwhile is left out. */
GPtrArray *bus_list_engines(struct ctl *ctl);

struct bus_transfer {
        uint64_t id;
        char *engine, *path;
        uint64_t done, total;
};
void bus_transfer_free(struct bus_transfer *transfer);

/* The reply of ListTransfers: struct bus_transfer *. 0 or a negative errno. */
int bus_read_transfers(sd_bus_message *m, GPtrArray **ret);
/* The call. NULL after saying why. */
GPtrArray *bus_list_transfers(struct ctl *ctl);

struct json_object *bus_transfer_json(const struct bus_transfer *transfer);
struct json_object *bus_engine_json(const struct bus_engine *engine);
