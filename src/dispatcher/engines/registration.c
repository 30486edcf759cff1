/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * registration — what is allowed, and its text; see registration.h
 *
 *     [Engine]
 *     Module=httpfs
 *     Prefix=web/mirror
 *     Hydration=auto            left out when it is auto
 *     Refresh=600               left out when it is 0
 *     [Settings]
 *     url=https://example.org/  values escaped as GKeyFile does
 *
 * What is read back passes the same registration_check() as what comes over the
 * bus. The files themselves are registration-file.c's.
 */

#include <string.h>

#include "dispatcher/engines/registration.h"
#include "dispatcher/engines/registration-text.h"
#include "shared/names.h"

static const char *const hydration_names[] = {
        [HYDRATION_AUTO] = "auto",
        [HYDRATION_WHOLE] = "whole",
        [HYDRATION_RANGES] = "ranges",
};

const char *hydration_name(enum hydration hydration) {
        return hydration_names[hydration];
}

int hydration_parse(const char *s, enum hydration *ret) {
        for (size_t i = 0; i < G_N_ELEMENTS(hydration_names); i++)
                if (g_strcmp0(s, hydration_names[i]) == 0) {
                        *ret = (enum hydration)i;
                        return 0;
                }
        return -EINVAL;
}

int refresh_parse(const char *s, unsigned *ret) {
        unsigned value = 0;

        if (!s || !*s || strlen(s) > 8)
                return -EINVAL;
        for (const char *p = s; *p; p++) {
                if (!g_ascii_isdigit(*p))
                        return -EINVAL;
                value = value * 10 + (unsigned)g_ascii_digit_value(*p);
        }
        if (value != 0 && (value < REGISTRATION_REFRESH_MIN || value > REGISTRATION_REFRESH_MAX))
                return -EINVAL;
        *ret = value;
        return 0;
}

bool registration_key_is_secret(const char *key) {
        static const char *const marks[] = {"password", "token", "secret", "bearer", "key"};

        for (size_t i = 0; i < G_N_ELEMENTS(marks); i++)
                if (strcasestr(key, marks[i]))
                        return true;
        return false;
}

Registration *registration_new(const char *id, const char *module, const char *prefix) {
        Registration *registration = g_new0(Registration, 1);

        registration->id = g_strdup(id);
        registration->module = g_strdup(module);
        registration->prefix = g_strdup(prefix);
        registration->hydration = HYDRATION_AUTO;
        registration->settings = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        return registration;
}

void registration_free(Registration *registration) {
        if (!registration)
                return;
        g_free(registration->id);
        g_free(registration->module);
        g_free(registration->prefix);
        g_hash_table_unref(registration->settings);
        g_free(registration);
}

/* --- what is allowed --- */

/* GKeyFile drops some of them where a value begins (2.74), and none has a use. */
static bool has_odd_control(const char *s) {
        for (; *s; s++)
                if (g_ascii_iscntrl(*s) && !strchr("\t\n\r", *s))
                        return true;
        return false;
}

static int check_setting(const char *key, const char *value, Failure *failure) {
        char shown[96];

        if (!name_is_setting_key(key))
                return failure_set(failure, -EINVAL, "InvalidSetting",
                                   "the setting “%s” has a malformed name: 1 to %u of "
                                   "A-Z a-z 0-9 . _ - are allowed",
                                   name_printable(key, shown, sizeof(shown)), NAME_SETTING_KEY_MAX);
        if (g_str_has_prefix(key, REGISTRATION_CREDENTIAL_PREFIX))
                return failure_set(failure, -EINVAL, "InvalidSetting",
                                   "“%s” is no setting: credentials are given by the service manager, "
                                   "see cloudsync.conf(5)",
                                   key);
        if (strcmp(key, REGISTRATION_HYDRATION_KEY) == 0)
                return failure_set(failure, -EINVAL, "InvalidSetting",
                                   "“%s” is not a setting of the module: in a file it is "
                                   "Hydration= in the group [Engine]",
                                   key);
        if (strcmp(key, REGISTRATION_REFRESH_KEY) == 0)
                return failure_set(failure, -EINVAL, "InvalidSetting",
                                   "“%s” is not a setting of the module: in a file it is "
                                   "Refresh= in the group [Engine]",
                                   key);
        if (strnlen(value, NAME_SETTING_VALUE_MAX + 1) > NAME_SETTING_VALUE_MAX)
                return failure_set(failure, -E2BIG, "InvalidSetting",
                                   "the value of the setting “%s” is longer than %u bytes", key,
                                   NAME_SETTING_VALUE_MAX);
        if (!g_utf8_validate(value, -1, NULL) || has_odd_control(value))
                return failure_set(failure, -EINVAL, "InvalidSetting",
                                   "the value of the setting “%s” is not UTF-8, or has control "
                                   "characters other than tab and line ends",
                                   key);
        return 0;
}

int registration_check(const Registration *registration, Failure *failure) {
        GHashTableIter iter;
        gpointer key, value;
        char shown[160];

        if (!name_is_id(registration->id))
                return failure_set(failure, -EINVAL, "InvalidId",
                                   "“%s” is not an id: 1 to %u of a-z 0-9 - _, a letter first",
                                   name_printable(registration->id ?: "", shown, sizeof(shown)),
                                   NAME_ID_MAX);
        if (!name_is_id(registration->module))
                return failure_set(failure, -EINVAL, "InvalidModule",
                                   "“%s” is not a module's name: 1 to %u of a-z 0-9 - _, a letter "
                                   "first; no path and no “.so”",
                                   name_printable(registration->module ?: "", shown, sizeof(shown)),
                                   NAME_ID_MAX);
        if (!name_is_prefix(registration->prefix))
                return failure_set(failure, -EINVAL, "InvalidPrefix",
                                   "“%s” is not a prefix: a path relative to the store's root, at "
                                   "most %u bytes, without empty, “.” or “..” components and "
                                   "without control characters, and not below .cloudsync",
                                   name_printable(registration->prefix ?: "", shown, sizeof(shown)),
                                   NAME_PREFIX_MAX);
        if (g_hash_table_size(registration->settings) > NAME_SETTINGS_MAX)
                return failure_set(failure, -E2BIG, "InvalidSetting",
                                   "there are more than %u settings", NAME_SETTINGS_MAX);
        g_hash_table_iter_init(&iter, registration->settings);
        while (g_hash_table_iter_next(&iter, &key, &value)) {
                int r = check_setting(key, value, failure);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- text to registration and back --- */

static int compare_keys(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

char *registration_to_text(const Registration *registration, gsize *ret_length) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autofree gpointer *keys = NULL;
        guint n;

        g_key_file_set_string(file, "Engine", "Module", registration->module);
        g_key_file_set_string(file, "Engine", "Prefix", registration->prefix);
        if (registration->hydration != HYDRATION_AUTO)
                g_key_file_set_string(file, "Engine", "Hydration",
                                      hydration_name(registration->hydration));
        if (registration->refresh_s != 0)
                g_key_file_set_integer(file, "Engine", "Refresh", (int)registration->refresh_s);
        keys = g_hash_table_get_keys_as_array(registration->settings, &n);
        qsort(keys, n, sizeof(*keys), compare_keys);
        for (guint i = 0; i < n; i++)
                g_key_file_set_string(file, "Settings", keys[i],
                                      g_hash_table_lookup(registration->settings, keys[i]));
        return g_key_file_to_data(file, ret_length, NULL);
}

/* Only the groups and keys that exist. */
static int check_layout(GKeyFile *file, Failure *failure) {
        g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
        g_auto(GStrv) keys = NULL;
        char shown[96];

        for (char **group = groups; *group; group++)
                if (strcmp(*group, "Engine") != 0 && strcmp(*group, "Settings") != 0)
                        return failure_set(failure, -EINVAL, "InvalidRegistration",
                                           "unknown group [%s]",
                                           name_printable(*group, shown, sizeof(shown)));
        keys = g_key_file_get_keys(file, "Engine", NULL, NULL);
        if (!keys)
                return failure_set(failure, -EINVAL, "InvalidRegistration",
                                   "the group [Engine] is missing");
        for (char **key = keys; *key; key++)
                if (strcmp(*key, "Module") != 0 && strcmp(*key, "Prefix") != 0 &&
                    strcmp(*key, "Hydration") != 0 && strcmp(*key, "Refresh") != 0)
                        return failure_set(failure, -EINVAL, "InvalidRegistration",
                                           "unknown key %s= in [Engine]",
                                           name_printable(*key, shown, sizeof(shown)));
        return 0;
}

/* NULL when it is missing or not properly escaped; GLib alone returns half of it then. */
static char *get_string(GKeyFile *file, const char *group, const char *key) {
        g_autoptr(GError) error = NULL;
        g_autofree char *value = g_key_file_get_string(file, group, key, &error);

        return error ? NULL : g_steal_pointer(&value);
}

static int read_settings(GKeyFile *file, Registration *registration, Failure *failure) {
        g_auto(GStrv) keys = g_key_file_get_keys(file, "Settings", NULL, NULL);
        char shown[96];

        for (char **key = keys; key && *key; key++) {
                g_autofree char *value = get_string(file, "Settings", *key);
                if (!value)
                        return failure_set(failure, -EINVAL, "InvalidRegistration",
                                           "the value of %s= in [Settings] cannot be read",
                                           name_printable(*key, shown, sizeof(shown)));
                g_hash_table_replace(registration->settings, g_strdup(*key),
                                     g_steal_pointer(&value));
        }
        return 0;
}

int registration_from_text(const char *id, const char *text, size_t length, Registration **ret,
                           Failure *failure) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autoptr(GError) error = NULL;
        g_autoptr(Registration) registration = NULL;
        g_autofree char *module = NULL, *prefix = NULL, *hydration = NULL, *refresh = NULL;
        int r;

        /* The parser's message quotes the line, which may be a secret. */
        if (memchr(text, '\0', length) ||
            !g_key_file_load_from_data(file, text, length, G_KEY_FILE_NONE, &error))
                return failure_set(failure, -EINVAL, "InvalidRegistration",
                                   "it is not a key file (groups in brackets, lines key=value)");
        r = check_layout(file, failure);
        if (r < 0)
                return r;
        module = get_string(file, "Engine", "Module");
        prefix = get_string(file, "Engine", "Prefix");
        if (!module || !prefix)
                return failure_set(failure, -EINVAL, "InvalidRegistration",
                                   "%s= is missing in [Engine]", module ? "Prefix" : "Module");
        registration = registration_new(id, module, prefix);
        hydration = get_string(file, "Engine", "Hydration");
        if (g_key_file_has_key(file, "Engine", "Hydration", NULL) &&
            hydration_parse(hydration, &registration->hydration) < 0)
                return failure_set(failure, -EINVAL, "InvalidRegistration",
                                   "Hydration= is one of auto, whole and ranges");
        refresh = get_string(file, "Engine", "Refresh");
        if (g_key_file_has_key(file, "Engine", "Refresh", NULL) &&
            refresh_parse(refresh, &registration->refresh_s) < 0)
                return failure_set(failure, -EINVAL, "InvalidRegistration",
                                   "Refresh= is 0, or from %u to %u seconds", REGISTRATION_REFRESH_MIN,
                                   REGISTRATION_REFRESH_MAX);
        r = read_settings(file, registration, failure);
        if (r < 0)
                return r;
        r = registration_check(registration, failure);
        if (r < 0)
                return r;
        *ret = g_steal_pointer(&registration);
        return 0;
}
