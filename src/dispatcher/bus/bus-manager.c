/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-manager — org.cloudsync1.Manager at /org/cloudsync1; documented in
 * data/dbus/org.cloudsync1.xml
 *
 * Every entry is marked UNPRIVILEGED, which only means that sd-bus does not check
 * capabilities: it could not on every bus. Each handler checks by itself, by the uid that
 * the bus tells (bus-caller.c). Bus policy is a second fence, not the first.
 *
 * Handlers do not block, except for the fsync in daemon_register(): what looks at the
 * store goes through a pool thread and is answered later.
 */

#include <string.h>

#include <config.h>
#include "dispatcher/bus/bus.h"
#include "shared/fd.h"
#include "shared/names.h"

static const struct bus_caller *caller_of(Bus *bus, sd_bus_message *message) {
        return bus_callers_get(bus->callers, message);
}

int bus_require_root(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        if (caller_of(bus, message)->uid == 0)
                return 0;
        return sd_bus_error_setf(error, BUS_ERROR "AccessDenied", "Only root may call %s",
                                 sd_bus_message_get_member(message));
}

/* What came from outside, as a string that may travel. g_free(). */
static char *valid_text(const char *s) {
        return g_utf8_make_valid(s, -1);
}

/* --- engines --- */

static int add_setting(Registration *registration, const char *key, const char *value,
                       Failure *failure) {
        char shown[96];

        if (g_hash_table_size(registration->settings) >= NAME_SETTINGS_MAX)
                return failure_set(failure, -E2BIG, "InvalidSetting",
                                   "There are more than %u settings", NAME_SETTINGS_MAX);
        if (strcmp(key, REGISTRATION_HYDRATION_KEY) == 0) {
                if (hydration_parse(value, &registration->hydration) < 0)
                        return failure_set(failure, -EINVAL, "InvalidSetting",
                                           "%s is one of auto, whole and ranges", key);
                return 0;
        }
        if (strcmp(key, REGISTRATION_REFRESH_KEY) == 0) {
                if (refresh_parse(value, &registration->refresh_s) < 0)
                        return failure_set(failure, -EINVAL, "InvalidSetting",
                                           "%s is 0, or from %u to %u seconds", key,
                                           REGISTRATION_REFRESH_MIN, REGISTRATION_REFRESH_MAX);
                return 0;
        }
        if (!g_hash_table_insert(registration->settings, g_strdup(key), g_strdup(value)))
                return failure_set(failure, -EINVAL, "InvalidSetting",
                                   "The setting “%s” is given twice",
                                   name_printable(key, shown, sizeof(shown)));
        return 0;
}

/* a{ss}. A failure, or a negative errno of sd-bus with none. */
static int read_settings(sd_bus_message *message, Registration *registration, Failure *failure) {
        const char *key, *value;
        int r;

        r = sd_bus_message_enter_container(message, 'a', "{ss}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(message, "{ss}", &key, &value)) > 0) {
                r = add_setting(registration, key, value, failure);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(message);
}

static int read_registration(sd_bus_message *message, Registration **ret, Failure *failure) {
        g_autoptr(Registration) registration = NULL;
        const char *id, *module, *prefix;
        int r;

        r = sd_bus_message_read(message, "sss", &id, &module, &prefix);
        if (r < 0)
                return r;
        registration = registration_new(id, module, prefix);
        r = read_settings(message, registration, failure);
        if (r < 0)
                return r;
        r = registration_check(registration, failure);
        if (r < 0)
                return r;
        *ret = g_steal_pointer(&registration);
        return 0;
}

static int method_register_engine(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;
        g_autoptr(Registration) registration = NULL;
        g_auto(Failure) failure = FAILURE_INIT;
        g_autofree char *path = NULL;
        Engine *engine;
        int r;

        r = bus_require_root(bus, message, error);
        if (r < 0)
                return r;
        r = read_registration(message, &registration, &failure);
        if (r >= 0)
                r = daemon_register(bus->daemon, registration, &engine, &failure);
        if (r < 0)
                return bus_error(error, r, &failure);
        path = bus_engine_path(registration->id);
        return sd_bus_reply_method_return(message, "o", path);
}

static int method_unregister_engine(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;
        g_auto(Failure) failure = FAILURE_INIT;
        const char *id;
        int r;

        r = bus_require_root(bus, message, error);
        if (r < 0)
                return r;
        r = sd_bus_message_read(message, "s", &id);
        if (r < 0)
                return r;
        r = daemon_unregister(bus->daemon, id, &failure);
        if (r < 0)
                return bus_error(error, r, &failure);
        return sd_bus_reply_method_return(message, NULL);
}

static int method_attach_engine(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;
        const struct bus_caller *caller = caller_of(bus, message);
        g_auto(Failure) failure = FAILURE_INIT;
        autoclose int channel = -1;
        const char *id;
        uint32_t abi;
        int r;

        r = sd_bus_message_read(message, "su", &id, &abi);
        if (r < 0)
                return r;
        r = daemon_attach(bus->daemon, id, abi, caller->uid, caller->pid, &channel, &failure);
        if (r < 0)
                return bus_error(error, r, &failure);
        return sd_bus_reply_method_return(message, "h", channel);
}

static int append_engine(sd_bus_message *reply, const Engine *engine) {
        g_autofree char *path = bus_engine_path(engine_id(engine));
        struct engine_info info;

        engine_info(engine, &info);
        return sd_bus_message_append(reply, "(sssso)", info.registration->id,
                                     info.registration->module, info.registration->prefix,
                                     info.state_name, path);
}

static int method_list_engines(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;
        BUS_UNREF sd_bus_message *reply = NULL;
        g_autoptr(GList) engines = daemon_engines(bus->daemon);
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sssso)");
        for (GList *l = engines; r >= 0 && l; l = l->next)
                r = append_engine(reply, l->data);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
}

/* --- transfers --- */

struct transfer_list {
        sd_bus_message *reply;
        uid_t uid;
        int r;
};

static void append_transfer(void *userdata, const struct daemon_transfer *transfer) {
        struct transfer_list *list = userdata;
        g_autofree char *path = NULL;

        if (list->r < 0)
                return;
        if (list->uid != 0 && (transfer->uid != list->uid || list->uid == (uid_t)-1))
                return;
        path = valid_text(transfer->path);
        list->r = sd_bus_message_append(list->reply, "(tsstt)", transfer->id, transfer->engine,
                                        path, transfer->done, transfer->total);
}

static int method_list_transfers(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;
        BUS_UNREF sd_bus_message *reply = NULL;
        struct transfer_list list = {.uid = caller_of(bus, message)->uid};

        list.r = sd_bus_message_new_method_return(message, &reply);
        if (list.r >= 0)
                list.r = sd_bus_message_open_container(reply, 'a', "(tsstt)");
        if (list.r < 0)
                return list.r;
        list.reply = reply;
        daemon_transfers(bus->daemon, append_transfer, &list);
        if (list.r >= 0)
                list.r = sd_bus_message_close_container(reply);
        if (list.r < 0)
                return list.r;
        return sd_bus_send(NULL, reply, NULL);
}

/* --- properties --- */

static int get_text(sd_bus *connection, const char *path, const char *interface,
                    const char *property, sd_bus_message *reply, void *userdata,
                    sd_bus_error *error) {
        Bus *bus = userdata;
        const Store *store = daemon_store(bus->daemon);
        g_autofree char *text = NULL;

        if (strcmp(property, "Version") == 0)
                text = valid_text(CLOUDSYNC_VERSION);
        else if (strcmp(property, "StorePath") == 0)
                text = valid_text(store_path(store));
        else
                text = valid_text(store_filesystem(store));
        return sd_bus_message_append(reply, "s", text);
}

static int get_layers(sd_bus *connection, const char *path, const char *interface,
                      const char *property, sd_bus_message *reply, void *userdata,
                      sd_bus_error *error) {
        Bus *bus = userdata;
        const Store *store = daemon_store(bus->daemon);
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        if (r >= 0 && store_has_hsmid(store))
                r = sd_bus_message_append(reply, "s", "hsmid");
        if (r >= 0 && store_guard(store) == STORE_GUARD_ACTIVE)
                r = sd_bus_message_append(reply, "s", "bpf");
        if (r >= 0 && daemon_is_stored(bus->daemon))
                r = sd_bus_message_append(reply, "s", "fdstore");
        if (r >= 0)
                r = sd_bus_message_append(reply, "s", "supervisor");
        if (r >= 0 && store_has_device(store))
                r = sd_bus_message_append(reply, "s", "detach");
        if (r < 0)
                return r;
        return sd_bus_message_close_container(reply);
}

static int get_counter(sd_bus *connection, const char *path, const char *interface,
                       const char *property, sd_bus_message *reply, void *userdata,
                       sd_bus_error *error) {
        Bus *bus = userdata;
        struct daemon_counters counters;

        daemon_counters(bus->daemon, &counters);
        if (strcmp(property, "EventsPending") == 0)
                return sd_bus_message_append(reply, "u", counters.events_pending);
        if (strcmp(property, "EventsAnswered") == 0)
                return sd_bus_message_append(reply, "t", counters.events_answered);
        if (strcmp(property, "EventsDenied") == 0)
                return sd_bus_message_append(reply, "t", counters.events_denied);
        if (strcmp(property, "FilesHydrated") == 0)
                return sd_bus_message_append(reply, "t", counters.files_hydrated);
        return sd_bus_message_append(reply, "t", counters.bytes_fetched);
}

/* --- the table --- */

#define UNPRIVILEGED SD_BUS_VTABLE_UNPRIVILEGED

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        /* clang-format off */
        SD_BUS_METHOD_WITH_ARGS("RegisterEngine",
                SD_BUS_ARGS("s", id, "s", module, "s", prefix, "a{ss}", settings),
                SD_BUS_RESULT("o", engine),
                method_register_engine, UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS("UnregisterEngine",
                SD_BUS_ARGS("s", id), SD_BUS_NO_RESULT,
                method_unregister_engine, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AttachEngine",
                SD_BUS_ARGS("s", id, "u", abi), SD_BUS_RESULT("h", channel),
                method_attach_engine, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Login",
                SD_BUS_ARGS("s", id), SD_BUS_RESULT("s", url),
                bus_method_login, UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS("FinishLogin",
                SD_BUS_ARGS("s", id, "s", code), SD_BUS_RESULT("s", note),
                bus_method_finish_login, UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS("Logout",
                SD_BUS_ARGS("s", id), SD_BUS_RESULT("s", note),
                bus_method_logout, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListEngines",
                SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sssso)", engines),
                method_list_engines, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetFileStatus",
                SD_BUS_ARGS("s", path), SD_BUS_RESULT("a{sv}", status),
                bus_method_get_file_status, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Hydrate",
                SD_BUS_ARGS("s", path), SD_BUS_NO_RESULT,
                bus_method_hydrate, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Refresh",
                SD_BUS_ARGS("s", path, "b", recursive), SD_BUS_NO_RESULT,
                bus_method_refresh, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListTransfers",
                SD_BUS_NO_ARGS, SD_BUS_RESULT("a(tsstt)", transfers),
                method_list_transfers, UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("EngineAdded", SD_BUS_ARGS("s", id, "o", engine), 0),
        SD_BUS_SIGNAL_WITH_ARGS("EngineRemoved", SD_BUS_ARGS("s", id, "o", engine), 0),
        SD_BUS_SIGNAL_WITH_ARGS("TransferStarted",
                SD_BUS_ARGS("t", transfer, "s", engine, "t", total), 0),
        SD_BUS_SIGNAL_WITH_ARGS("TransferProgress",
                SD_BUS_ARGS("t", transfer, "t", done, "t", total), 0),
        SD_BUS_SIGNAL_WITH_ARGS("TransferFinished",
                SD_BUS_ARGS("t", transfer, "t", done, "s", error), 0),
        SD_BUS_PROPERTY("Version", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("StorePath", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("StoreFilesystem", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Layers", "as", get_layers, 0, 0),
        SD_BUS_PROPERTY("EventsPending", "u", get_counter, 0, 0),
        SD_BUS_PROPERTY("EventsAnswered", "t", get_counter, 0, 0),
        SD_BUS_PROPERTY("EventsDenied", "t", get_counter, 0, 0),
        SD_BUS_PROPERTY("FilesHydrated", "t", get_counter, 0, 0),
        SD_BUS_PROPERTY("BytesFetched", "t", get_counter, 0, 0),
        /* clang-format on */
        SD_BUS_VTABLE_END,
};

int bus_manager_add(Bus *bus, sd_bus *connection) {
        return sd_bus_add_object_vtable(connection, NULL, BUS_OBJECT, BUS_MANAGER, manager_vtable,
                                        bus);
}
