/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon, its engines and its transfers, read into structures. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/bus.h"

void bus_manager_clear(struct bus_manager *manager) {
        g_free(manager->version);
        g_free(manager->store_path);
        g_free(manager->store_filesystem);
        g_strfreev(manager->layers);
        *manager = (struct bus_manager){0};
}

int bus_get_manager(struct ctl *ctl, struct bus_manager *ret) {
        static const struct bus_field fields[] = {
                {"Version", "s", offsetof(struct bus_manager, version)},
                {"StorePath", "s", offsetof(struct bus_manager, store_path)},
                {"StoreFilesystem", "s", offsetof(struct bus_manager, store_filesystem)},
                {"Layers", "as", offsetof(struct bus_manager, layers)},
                {"EventsPending", "u", offsetof(struct bus_manager, events_pending)},
                {"EventsAnswered", "t", offsetof(struct bus_manager, events_answered)},
                {"EventsDenied", "t", offsetof(struct bus_manager, events_denied)},
                {"FilesHydrated", "t", offsetof(struct bus_manager, files_hydrated)},
                {"BytesFetched", "t", offsetof(struct bus_manager, bytes_fetched)},
                {NULL, NULL, 0},
        };
        __attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;

        int r = bus_connect(ctl);
        if (r < 0)
                return r;
        r = bus_get_all(ctl, BUS_OBJECT, BUS_MANAGER, &error, &reply);
        if (r >= 0)
                r = bus_read_fields(reply, fields, ret, NULL);
        if (r < 0) {
                bus_fail(ctl, "cannot ask the daemon", &error, r);
                return r;
        }
        return 0;
}

void bus_engine_free(struct bus_engine *engine) {
        if (!engine)
                return;
        g_free(engine->id);
        g_free(engine->module);
        g_free(engine->prefix);
        g_free(engine->state);
        g_free(engine->state_detail);
        g_clear_pointer(&engine->settings, g_hash_table_unref);
        g_free(engine);
}

char *bus_engine_object(const char *id) {
        char *object = NULL;
        return sd_bus_path_encode(BUS_ENGINES, id, &object) < 0 ? NULL : object;
}

/* An object that is not there is the bus library's own error; say it as the daemon would. */
static int get_engine_object(struct ctl *ctl, const char *id, sd_bus_error *error,
                             sd_bus_message **reply) {
        g_autofree char *object = bus_engine_object(id);
        if (!object)
                return -ENOMEM;

        int r = bus_get_all(ctl, object, BUS_ENGINE, error, reply);
        if (r < 0 && (sd_bus_error_has_name(error, SD_BUS_ERROR_UNKNOWN_OBJECT) ||
                      sd_bus_error_has_name(error, SD_BUS_ERROR_UNKNOWN_INTERFACE) ||
                      sd_bus_error_has_name(error, SD_BUS_ERROR_UNKNOWN_METHOD))) {
                sd_bus_error_free(error);
                sd_bus_error_set(error, BUS_NAME ".Error.NoSuchEngine", "there is no such engine");
        }
        return r;
}

int bus_get_engine(struct ctl *ctl, const char *id, sd_bus_error *error, struct bus_engine **ret) {
        static const struct bus_field fields[] = {
                {"Id", "s", offsetof(struct bus_engine, id)},
                {"Module", "s", offsetof(struct bus_engine, module)},
                {"Prefix", "s", offsetof(struct bus_engine, prefix)},
                {"State", "s", offsetof(struct bus_engine, state)},
                {"StateDetail", "s", offsetof(struct bus_engine, state_detail)},
                {"Pid", "u", offsetof(struct bus_engine, pid)},
                {"DirectoriesListed", "t", offsetof(struct bus_engine, directories_listed)},
                {"DirectoriesPending", "t", offsetof(struct bus_engine, directories_pending)},
                {"EntriesSkipped", "t", offsetof(struct bus_engine, entries_skipped)},
                {"LocalFiles", "t", offsetof(struct bus_engine, local_files)},
                {"Conflicts", "t", offsetof(struct bus_engine, conflicts)},
                {"TransfersActive", "u", offsetof(struct bus_engine, transfers_active)},
                {"BytesFetched", "t", offsetof(struct bus_engine, bytes_fetched)},
                {"FetchErrors", "t", offsetof(struct bus_engine, fetch_errors)},
                {"ChecksumErrors", "t", offsetof(struct bus_engine, checksum_errors)},
                {"HostRestarts", "t", offsetof(struct bus_engine, host_restarts)},
                {NULL, NULL, 0},
        };
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
        g_autoptr(BusEngine) engine = g_new0(struct bus_engine, 1);

        int r = get_engine_object(ctl, id, error, &reply);
        if (r < 0)
                return r;
        engine->settings = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        r = bus_read_fields(reply, fields, engine, engine->settings);
        if (r < 0)
                return r;
        if (!engine->id)
                engine->id = g_strdup(id);
        *ret = g_steal_pointer(&engine);
        return 0;
}

static int compare_engines(gconstpointer a, gconstpointer b) {
        const struct bus_engine *const *x = a, *const *y = b;
        return strcmp((*x)->id, (*y)->id);
}

GPtrArray *bus_list_engines(struct ctl *ctl) {
        __attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
        g_autoptr(GPtrArray) engines =
                g_ptr_array_new_with_free_func((GDestroyNotify)bus_engine_free);
        const char *id;

        if (bus_connect(ctl) < 0)
                return NULL;
        int r = sd_bus_call_method(ctl->bus, BUS_NAME, BUS_OBJECT, BUS_MANAGER, "ListEngines",
                                   &error, &reply, NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(sssso)");
        while (r >= 0 &&
               (r = sd_bus_message_read(reply, "(sssso)", &id, NULL, NULL, NULL, NULL)) > 0) {
                struct bus_engine *engine;
                r = bus_get_engine(ctl, id, &error, &engine);
                if (r >= 0)
                        g_ptr_array_add(engines, engine);
                else if (sd_bus_error_has_name(&error, BUS_NAME ".Error.NoSuchEngine")) {
                        sd_bus_error_free(&error);
                        r = 0;
                }
        }
        if (r < 0) {
                bus_fail(ctl, "cannot list the engines", &error, r);
                return NULL;
        }
        g_ptr_array_sort(engines, compare_engines);
        return g_steal_pointer(&engines);
}

void bus_transfer_free(struct bus_transfer *transfer) {
        if (!transfer)
                return;
        g_free(transfer->engine);
        g_free(transfer->path);
        g_free(transfer);
}

int bus_read_transfers(sd_bus_message *m, GPtrArray **ret) {
        g_autoptr(GPtrArray) transfers =
                g_ptr_array_new_with_free_func((GDestroyNotify)bus_transfer_free);
        struct bus_transfer t;
        const char *engine, *path;

        int r = sd_bus_message_enter_container(m, 'a', "(tsstt)");
        while (r >= 0 && (r = sd_bus_message_read(m, "(tsstt)", &t.id, &engine, &path, &t.done,
                                                  &t.total)) > 0) {
                t.engine = g_strdup(engine);
                t.path = g_strdup(path);
                g_ptr_array_add(transfers, g_memdup2(&t, sizeof t));
        }
        if (r < 0)
                return r;
        *ret = g_steal_pointer(&transfers);
        return 0;
}

GPtrArray *bus_list_transfers(struct ctl *ctl) {
        __attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
        GPtrArray *transfers = NULL;

        if (bus_connect(ctl) < 0)
                return NULL;
        int r = sd_bus_call_method(ctl->bus, BUS_NAME, BUS_OBJECT, BUS_MANAGER, "ListTransfers",
                                   &error, &reply, NULL);
        if (r >= 0)
                r = bus_read_transfers(reply, &transfers);
        if (r < 0)
                bus_fail(ctl, "cannot list the transfers", &error, r);
        return transfers;
}

struct json_object *bus_transfer_json(const struct bus_transfer *t) {
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, "id", json_object_new_uint64(t->id));
        json_object_object_add(o, "engine", json_object_new_string(t->engine));
        json_object_object_add(o, "path", json_object_new_string(t->path));
        json_object_object_add(o, "done", json_object_new_uint64(t->done));
        json_object_object_add(o, "total", json_object_new_uint64(t->total));
        return o;
}

static struct json_object *text_or_null(const char *text) {
        return text ? json_object_new_string(text) : NULL;
}

struct json_object *bus_engine_json(const struct bus_engine *e) {
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, "id", text_or_null(e->id));
        json_object_object_add(o, "module", text_or_null(e->module));
        json_object_object_add(o, "prefix", text_or_null(e->prefix));
        json_object_object_add(o, "state", text_or_null(e->state));
        json_object_object_add(o, "state_detail", text_or_null(e->state_detail));
        json_object_object_add(o, "pid", json_object_new_int64(e->pid));
        json_object_object_add(o, "directories_listed",
                               json_object_new_uint64(e->directories_listed));
        json_object_object_add(o, "directories_pending",
                               json_object_new_uint64(e->directories_pending));
        json_object_object_add(o, "entries_skipped", json_object_new_uint64(e->entries_skipped));
        json_object_object_add(o, "local_files", json_object_new_uint64(e->local_files));
        json_object_object_add(o, "conflicts", json_object_new_uint64(e->conflicts));
        json_object_object_add(o, "transfers_active", json_object_new_int64(e->transfers_active));
        json_object_object_add(o, "bytes_fetched", json_object_new_uint64(e->bytes_fetched));
        json_object_object_add(o, "fetch_errors", json_object_new_uint64(e->fetch_errors));
        json_object_object_add(o, "checksum_errors", json_object_new_uint64(e->checksum_errors));
        json_object_object_add(o, "host_restarts", json_object_new_uint64(e->host_restarts));
        return o;
}
