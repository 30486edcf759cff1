/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int bus_connect(struct ctl *ctl) {
        int r;

        if (ctl->bus)
                return 0;
        if (strcmp(ctl->bus_address, "system") == 0)
                r = sd_bus_open_system(&ctl->bus);
        else if (strcmp(ctl->bus_address, "session") == 0)
                r = sd_bus_open_user(&ctl->bus);
        else {
                r = sd_bus_new(&ctl->bus);
                if (r >= 0)
                        r = sd_bus_set_address(ctl->bus, ctl->bus_address);
                if (r >= 0)
                        r = sd_bus_set_bus_client(ctl->bus, true);
                if (r >= 0)
                        r = sd_bus_start(ctl->bus);
        }
        if (r < 0) {
                ctl->bus = sd_bus_unref(ctl->bus);
                ctl_error("no connection to the bus \"%s\": %s", ctl->bus_address, strerror(-r));
                ctl_hint("Is a D-Bus daemon running there? --bus takes system, session or an "
                         "address such as unix:path=/run/…");
        }
        return r < 0 ? r : 0;
}

/* Errors of org.cloudsync1 by their last word, and the bus's own. */
static const struct {
        const char *name, *hint;
} hints[] = {
        {"AccessDenied",
         "Run it as root, or for status and hydrate as a user who may read the file."},
        {"InvalidId",
         "An id is 1 to 32 of a-z 0-9 - _ and begins with a letter: docs, team-share."},
        {"InvalidPrefix", "A prefix is a directory relative to the store's root, without \"..\", "
                          "empty or \".\" parts: docs, mirrors/debian."},
        {"InvalidSetting", "Settings are key=value; the module's documentation lists its keys."},
        {"InvalidModule",
         "A module is named without a path and without \".so\": httpfs. Its file has "
         "to be root's and writable by nobody else."},
        {"NoSuchModule", "The modules are in the module directory that cloudsyncd was started with "
                         "(--module-dir); is the engine's package installed?"},
        {"IdInUse", "Choose another id, or remove that engine first: cloudsyncctl engine list."},
        {"PrefixInUse", "Prefixes may not overlap: cloudsyncctl engine list shows those in use."},
        {"TooManyEngines", "Remove an engine that is not needed: cloudsyncctl engine remove ID."},
        {"NoSuchEngine", "cloudsyncctl engine list shows the engines that there are."},
        {"NoSuchFile",
         "Is it spelled right? Its directory may be out of date: cloudsyncctl refresh "
         "DIRECTORY."},
        {"NotInStore",
         "Only files below the store's path are managed; cloudsyncctl status shows it."},
        {"NotAPlaceholder", "This file came from no engine: all of it is here already."},
        {"EngineFailed", "cloudsyncctl engine show ID tells the reason; so does journalctl -u "
                         "cloudsync."},
        {"NotSupported", "Only engines whose remote has accounts have a login: dropbox."},
        {"LoginFailed", "Begin again for a new code: cloudsyncctl login ID."},
        {"HydrationFailed", "Is the remote up and the disk not full? journalctl -u cloudsync names "
                            "the cause; then try again."},
        {"Busy", "Too much is under way; try again in a moment."},
        {"AbiMismatch",
         "cloudsyncctl and cloudsyncd are of different versions: restart the service "
         "after an upgrade."},
};

static bool means_not_running(const char *name) {
        return strcmp(name, SD_BUS_ERROR_SERVICE_UNKNOWN) == 0 ||
               strcmp(name, SD_BUS_ERROR_NAME_HAS_NO_OWNER) == 0 ||
               g_str_has_prefix(name, "org.freedesktop.DBus.Error.Spawn.") ||
               g_str_has_prefix(name, "org.freedesktop.systemd1.");
}

static bool means_gone(const char *name) {
        return strcmp(name, SD_BUS_ERROR_NO_REPLY) == 0 ||
               strcmp(name, SD_BUS_ERROR_TIMEOUT) == 0 ||
               strcmp(name, SD_BUS_ERROR_DISCONNECTED) == 0;
}

bool bus_error_is_gone(const sd_bus_error *error) {
        return error && error->name && (means_not_running(error->name) || means_gone(error->name));
}

const char *bus_error_hint(const char *name, const char *bus_address) {
        bool system = strcmp(bus_address, "system") == 0;

        if (!name)
                return NULL;
        if (means_not_running(name))
                return system ? "Start it: systemctl start cloudsync. If it does not stay up: "
                                "journalctl -u cloudsync."
                              : "Start cloudsyncd with the same --bus, or leave --bus out to reach "
                                "the system's.";
        if (strcmp(name, SD_BUS_ERROR_ACCESS_DENIED) == 0)
                return "Run it as root: sudo cloudsyncctl …";
        if (strcmp(name, SD_BUS_ERROR_UNKNOWN_METHOD) == 0 ||
            strcmp(name, SD_BUS_ERROR_UNKNOWN_INTERFACE) == 0)
                return "cloudsyncctl and cloudsyncd are of different versions: restart the service "
                       "after an upgrade.";
        if (means_gone(name))
                return system ? "cloudsyncd went away or hangs: systemctl status cloudsync."
                              : "cloudsyncd went away or hangs; its log tells more.";
        if (!g_str_has_prefix(name, BUS_NAME ".Error."))
                return NULL;
        for (size_t i = 0; i < G_N_ELEMENTS(hints); i++)
                if (strcmp(name + strlen(BUS_NAME ".Error."), hints[i].name) == 0)
                        return hints[i].hint;
        return NULL;
}

const char *bus_error_text(const sd_bus_error *error, int r) {
        if (error && error->name && means_not_running(error->name))
                return "cloudsyncd is not running";
        if (error && error->message && *error->message)
                return error->message;
        if (error && error->name)
                return error->name;
        return strerror(r < 0 ? -r : r);
}

int bus_fail(const struct ctl *ctl, const char *what, const sd_bus_error *error, int r) {
        static const char *last_hint; /* a thousand files may fail for one reason */
        const char *name = error ? error->name : NULL;

        if (!name && (r == -ECONNRESET || r == -ENOTCONN))
                name = SD_BUS_ERROR_DISCONNECTED;
        const char *hint = bus_error_hint(name, ctl->bus_address);

        const char *text = bus_error_text(error, r);

        if (strstr(text, what)) /* the daemon's own sentences often name the object */
                ctl_error("%s", text);
        else
                ctl_error("%s: %s", what, text);
        if (hint && hint != last_hint)
                ctl_hint("%s", hint);
        last_hint = hint;
        return CTL_FAILED;
}

static int read_value(sd_bus_message *m, const struct bus_field *field, void *target) {
        void *at = (char *)target + field->offset;
        int r;

        if (strcmp(field->type, "as") == 0) {
                char **list = NULL;
                r = sd_bus_message_enter_container(m, 'v', "as");
                if (r >= 0)
                        r = sd_bus_message_read_strv(m, &list);
                if (r < 0)
                        return r;
                g_strfreev(*(char ***)at);
                *(char ***)at = list; /* malloc()'s, as GLib's own */
                return sd_bus_message_exit_container(m);
        }
        if (strcmp(field->type, "s") == 0) {
                const char *text;
                r = sd_bus_message_read(m, "v", "s", &text);
                if (r < 0)
                        return r;
                g_free(*(char **)at);
                *(char **)at = g_strdup(text);
                return 0;
        }
        if (strcmp(field->type, "b") == 0) {
                int value;
                r = sd_bus_message_read(m, "v", "b", &value);
                if (r >= 0)
                        *(bool *)at = value;
                return r;
        }
        return sd_bus_message_read(m, "v", field->type, at);
}

static int read_settings(sd_bus_message *m, GHashTable *settings) {
        const char *key, *value;
        int r = sd_bus_message_enter_container(m, 'v', "a{ss}");

        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "{ss}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0)
                g_hash_table_replace(settings, g_strdup(key), g_strdup(value));
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        return r;
}

static const struct bus_field *find_field(const struct bus_field *fields, const char *name,
                                          const char *type) {
        for (; fields->name; fields++)
                if (strcmp(fields->name, name) == 0)
                        return strcmp(fields->type, type) == 0 ? fields : NULL;
        return NULL;
}

int bus_read_fields(sd_bus_message *m, const struct bus_field *fields, void *target,
                    GHashTable *settings) {
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *name, *type;

                r = sd_bus_message_read(m, "s", &name);
                if (r >= 0)
                        r = sd_bus_message_peek_type(m, NULL, &type);
                if (r < 0)
                        return r;
                const struct bus_field *field = find_field(fields, name, type);
                if (field)
                        r = read_value(m, field, target);
                else if (settings && strcmp(name, "Settings") == 0 && strcmp(type, "a{ss}") == 0)
                        r = read_settings(m, settings);
                else
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

int bus_get_all(struct ctl *ctl, const char *object, const char *interface, sd_bus_error *error,
                sd_bus_message **reply) {
        return sd_bus_call_method(ctl->bus, BUS_NAME, object, "org.freedesktop.DBus.Properties",
                                  "GetAll", error, reply, "s", interface);
}
