/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-engine — org.cloudsync1.Engine at /org/cloudsync1/engine/ID, and the signals
 * about engines; documented in data/dbus/org.cloudsync1.Engine.xml
 *
 * There is no object per engine here: a fallback table looks the id up in the daemon for
 * every message, so what is on the bus is what is registered.
 *
 * Settings may be secrets. Their values are shown in one case only: in the answer to
 * root's own Get, GetAll or GetManagedObjects. The same getter also fills the
 * InterfacesAdded *signal*, which everybody may receive, and while it does the message
 * being handled is root's RegisterEngine; hence the test of what is being answered.
 */

#include <stdlib.h>
#include <string.h>

#include "dispatcher/bus/bus.h"

char *bus_engine_path(const char *id) {
        g_autofree char *path = NULL;
        char *encoded = NULL;

        if (sd_bus_path_encode(BUS_ENGINES, id, &encoded) < 0)
                return g_strdup(BUS_ENGINES "/_");
        path = g_strdup(encoded);
        free(encoded);
        return g_steal_pointer(&path);
}

static int engine_find(sd_bus *connection, const char *path, const char *interface, void *userdata,
                       void **ret_found, sd_bus_error *error) {
        Bus *bus = userdata;
        char *id = NULL;
        int r;

        r = sd_bus_path_decode(path, BUS_ENGINES, &id);
        if (r <= 0)
                return r;
        bus->found.engine = daemon_engine(bus->daemon, id);
        free(id);
        if (!bus->found.engine)
                return 0;
        bus->found.bus = bus;
        *ret_found = &bus->found;
        return 1;
}

/* A list that sd-bus frees with free(). */
static int engine_enumerate(sd_bus *connection, const char *prefix, void *userdata,
                            char ***ret_nodes, sd_bus_error *error) {
        Bus *bus = userdata;
        g_autoptr(GList) engines = daemon_engines(bus->daemon);
        size_t n = 0;
        char **nodes;

        nodes = calloc(g_list_length(engines) + 1, sizeof(*nodes));
        if (!nodes)
                return -ENOMEM;
        for (GList *l = engines; l; l = l->next)
                if (sd_bus_path_encode(BUS_ENGINES, engine_id(l->data), &nodes[n]) >= 0)
                        n++;
        *ret_nodes = nodes;
        return 0;
}

/* --- properties --- */

static int append_text(sd_bus_message *reply, const char *s) {
        g_autofree char *text = g_utf8_make_valid(s, -1);

        return sd_bus_message_append(reply, "s", text);
}

static int get_text(sd_bus *connection, const char *path, const char *interface,
                    const char *property, sd_bus_message *reply, void *userdata,
                    sd_bus_error *error) {
        const struct bus_found *found = userdata;
        struct engine_info info;

        engine_info(found->engine, &info);
        if (strcmp(property, "Id") == 0)
                return append_text(reply, info.registration->id);
        if (strcmp(property, "Module") == 0)
                return append_text(reply, info.registration->module);
        if (strcmp(property, "Prefix") == 0)
                return append_text(reply, info.registration->prefix);
        if (strcmp(property, "State") == 0)
                return append_text(reply, info.state_name);
        return append_text(reply, info.detail);
}

static int get_u32(sd_bus *connection, const char *path, const char *interface,
                   const char *property, sd_bus_message *reply, void *userdata,
                   sd_bus_error *error) {
        const struct bus_found *found = userdata;
        struct engine_info info;

        engine_info(found->engine, &info);
        return sd_bus_message_append(reply, "u",
                                     strcmp(property, "Pid") == 0 ? (uint32_t)info.pid
                                                                  : info.transfers_active);
}

static int get_u64(sd_bus *connection, const char *path, const char *interface,
                   const char *property, sd_bus_message *reply, void *userdata,
                   sd_bus_error *error) {
        const struct bus_found *found = userdata;
        struct engine_info info;

        engine_info(found->engine, &info);
        if (strcmp(property, "DirectoriesListed") == 0)
                return sd_bus_message_append(reply, "t", info.directories_listed);
        if (strcmp(property, "DirectoriesPending") == 0)
                return sd_bus_message_append(reply, "t", info.directories_pending);
        if (strcmp(property, "EntriesSkipped") == 0)
                return sd_bus_message_append(reply, "t", info.entries_skipped);
        if (strcmp(property, "LocalFiles") == 0)
                return sd_bus_message_append(reply, "t", info.local_files);
        if (strcmp(property, "Conflicts") == 0)
                return sd_bus_message_append(reply, "t", info.conflicts);
        if (strcmp(property, "BytesFetched") == 0)
                return sd_bus_message_append(reply, "t", info.bytes_fetched);
        if (strcmp(property, "FetchErrors") == 0)
                return sd_bus_message_append(reply, "t", info.fetch_errors);
        if (strcmp(property, "ChecksumErrors") == 0)
                return sd_bus_message_append(reply, "t", info.checksum_errors);
        return sd_bus_message_append(reply, "t", info.host_restarts);
}

/* Is what is being answered a question of root for properties? */
static bool may_show_values(Bus *bus, sd_bus *connection) {
        sd_bus_message *message = sd_bus_get_current_message(connection);

        if (!message)
                return false;
        if (sd_bus_message_is_method_call(message, "org.freedesktop.DBus.Properties", NULL) <= 0 &&
            sd_bus_message_is_method_call(message, "org.freedesktop.DBus.ObjectManager",
                                          "GetManagedObjects") <= 0)
                return false;
        return bus_callers_get(bus->callers, message)->uid == 0;
}

static int get_settings(sd_bus *connection, const char *path, const char *interface,
                        const char *property, sd_bus_message *reply, void *userdata,
                        sd_bus_error *error) {
        const struct bus_found *found = userdata;
        bool show = may_show_values(found->bus, connection);
        struct engine_info info;
        GHashTableIter iter;
        gpointer key, value;
        int r;

        engine_info(found->engine, &info);
        r = sd_bus_message_open_container(reply, 'a', "{ss}");
        if (r >= 0 && info.registration->hydration != HYDRATION_AUTO)
                r = sd_bus_message_append(reply, "{ss}", REGISTRATION_HYDRATION_KEY,
                                          show ? hydration_name(info.registration->hydration) : "");
        if (r >= 0 && info.registration->refresh_s != 0) {
                g_autofree char *seconds = g_strdup_printf("%u", info.registration->refresh_s);
                r = sd_bus_message_append(reply, "{ss}", REGISTRATION_REFRESH_KEY, show ? seconds : "");
        }
        g_hash_table_iter_init(&iter, info.registration->settings);
        while (r >= 0 && g_hash_table_iter_next(&iter, &key, &value))
                r = sd_bus_message_append(reply, "{ss}", key, show ? value : "");
        if (r < 0)
                return r;
        return sd_bus_message_close_container(reply);
}

#define COUNTER(name) SD_BUS_PROPERTY(name, "t", get_u64, 0, 0)

static const sd_bus_vtable engine_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Module", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Prefix", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StateDetail", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Pid", "u", get_u32, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Settings", "a{ss}", get_settings, 0, SD_BUS_VTABLE_SENSITIVE),
        COUNTER("DirectoriesListed"),
        COUNTER("DirectoriesPending"),
        COUNTER("EntriesSkipped"),
        COUNTER("LocalFiles"),
        COUNTER("Conflicts"),
        SD_BUS_PROPERTY("TransfersActive", "u", get_u32, 0, 0),
        COUNTER("BytesFetched"),
        COUNTER("FetchErrors"),
        COUNTER("ChecksumErrors"),
        COUNTER("HostRestarts"),
        SD_BUS_VTABLE_END,
};

int bus_engines_add(Bus *bus, sd_bus *connection) {
        int r;

        r = sd_bus_add_node_enumerator(connection, NULL, BUS_ENGINES, engine_enumerate, bus);
        if (r < 0)
                return r;
        return sd_bus_add_fallback_vtable(connection, NULL, BUS_ENGINES, BUS_ENGINE, engine_vtable,
                                          engine_find, bus);
}

/* --- signals --- */

void bus_engine_added(Bus *bus, Engine *engine) {
        g_autofree char *path = NULL;

        if (!bus_can_signal(bus))
                return;
        path = bus_engine_path(engine_id(engine));
        (void)sd_bus_emit_object_added(bus->connection, path);
        (void)sd_bus_emit_signal(bus->connection, BUS_OBJECT, BUS_MANAGER, "EngineAdded", "so",
                                 engine_id(engine), path);
}

/* sd_bus_emit_object_removed() would look the object up, and it is gone already. */
void bus_engine_removed(Bus *bus, const char *id) {
        g_autofree char *path = NULL;

        if (!bus_can_signal(bus))
                return;
        path = bus_engine_path(id);
        (void)sd_bus_emit_interfaces_removed(bus->connection, path, "org.freedesktop.DBus.Peer",
                                             "org.freedesktop.DBus.Introspectable",
                                             "org.freedesktop.DBus.Properties", BUS_ENGINE, NULL);
        (void)sd_bus_emit_signal(bus->connection, BUS_OBJECT, BUS_MANAGER, "EngineRemoved", "so",
                                 id, path);
}

void bus_engine_changed(Bus *bus, Engine *engine) {
        g_autofree char *path = NULL;

        if (!bus_can_signal(bus))
                return;
        path = bus_engine_path(engine_id(engine));
        (void)sd_bus_emit_properties_changed(bus->connection, path, BUS_ENGINE, "State",
                                             "StateDetail", "Pid", NULL);
}
