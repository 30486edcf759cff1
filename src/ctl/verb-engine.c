/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* engine list, add, remove, show. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/bus.h"
#include "ctl/format.h"
#include "ctl/tables.h"
#include "ctl/words.h"

#define SETTING_FILE_MAX 65536 /* the daemon's own limit is lower; this one spares memory */

static int run_list(struct ctl *ctl, char **words, unsigned n) {
        g_autoptr(GPtrArray) engines = bus_list_engines(ctl);

        if (!engines)
                return CTL_FAILED;
        if (ctl->json)
                ctl_print_json(tables_engines_json(engines), false);
        else
                tables_print_engines(ctl, engines);
        return CTL_OK;
}

const struct verb verb_engine_list = {
        .name = "engine list",
        .synopsis = "",
        .summary = "List the registered engines",
        .help = "DIRECTORIES are those whose listing has been fetched, and those that are\n"
                "known and wait for it. STATE is starting, needs-login, listing, ready or\n"
                "failed; the reason stands below.\n",
        .max_words = 0,
        .run = run_list,
};

/* engine add */

static GPtrArray *from_file;

/* A file's content without its last newline. NULL after saying why. */
static char *read_value_file(const char *path) {
        g_autoptr(GError) error = NULL;
        char *text = NULL;
        gsize length;

        if (!g_file_get_contents(strcmp(path, "-") == 0 ? "/dev/stdin" : path, &text, &length,
                                 &error)) {
                ctl_error("cannot read the setting: %s", error->message);
                return NULL;
        }
        if (length > SETTING_FILE_MAX || memchr(text, '\0', length)) {
                ctl_error("%s: too long for a setting, or not text", path);
                g_free(text);
                return NULL;
        }
        if (length > 0 && text[length - 1] == '\n')
                text[length - 1] = '\0';
        return text;
}

/* Appends one {ss}. → CTL_* */
static int append_setting(sd_bus_message *m, const char *word, bool file) {
        g_autofree char *key = NULL, *content = NULL;
        const char *value;

        if (args_split_setting(word, &key, &value) < 0) {
                g_autofree char *shown = format_name(word);
                return ctl_usage("engine add", "\"%s\" is not a setting: it has to be %s", shown,
                                 file ? "key=FILE" : "key=value");
        }
        if (file) {
                value = content = read_value_file(value);
                if (!content)
                        return CTL_FAILED;
        }
        if (!g_utf8_validate(key, -1, NULL) || !g_utf8_validate(value, -1, NULL)) {
                ctl_error("the setting \"%s\" is not UTF-8", key);
                return CTL_FAILED;
        }
        int r = sd_bus_message_append(m, "{ss}", key, value);
        if (r < 0) {
                ctl_error("the setting \"%s\": %s", key, strerror(-r));
                return CTL_FAILED;
        }
        return CTL_OK;
}

static int append_settings(sd_bus_message *m, char **words, unsigned n) {
        int r = sd_bus_message_open_container(m, 'a', "{ss}");

        if (r < 0)
                return CTL_FAILED;
        for (unsigned i = 0; i < n; i++) {
                r = append_setting(m, words[i], false);
                if (r != CTL_OK)
                        return r;
        }
        for (unsigned i = 0; from_file && i < from_file->len; i++) {
                r = append_setting(m, g_ptr_array_index(from_file, i), true);
                if (r != CTL_OK)
                        return r;
        }
        return sd_bus_message_close_container(m) < 0 ? CTL_FAILED : CTL_OK;
}

/* How long `engine add` waits for the engine to come up, or to say why it cannot. */
#define START_WAIT_US (10 * G_USEC_PER_SEC)
#define START_LOOK_US (50 * 1000)

/* The engine once it is not "starting" any more, or as it is after START_WAIT_US. NULL
 * where it cannot be looked at: it is registered all the same. */
static struct bus_engine *wait_for_start(struct ctl *ctl, const char *id) {
        int64_t end = g_get_monotonic_time() + START_WAIT_US;

        for (;;) {
                __attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
                g_autoptr(BusEngine) engine = NULL;

                if (bus_get_engine(ctl, id, &error, &engine) < 0)
                        return NULL;
                if (g_strcmp0(engine->state, "starting") != 0 || g_get_monotonic_time() >= end)
                        return g_steal_pointer(&engine);
                g_usleep(START_LOOK_US);
        }
}

static void print_added(struct ctl *ctl, const char *id, const char *prefix, const char *object) {
        g_auto(BusManager) manager = {0};

        if (ctl->json) {
                struct json_object *o = json_object_new_object();
                json_object_object_add(o, "id", json_object_new_string(id));
                json_object_object_add(o, "object", json_object_new_string(object));
                ctl_print_json(o, false);
                return;
        }
        if (bus_get_manager(ctl, &manager) < 0 || !manager.store_path) {
                printf("Engine %s is registered.\n", id);
                return;
        }
        g_autofree char *path = format_name(manager.store_path);
        printf("Engine %s is registered: its files appear at %s%s%s.\n"
               "How far it is: cloudsyncctl engine show %s\n",
               id, path, *prefix ? "/" : "", prefix, id);
}

static int finish_add(struct ctl *ctl, const char *id, const char *prefix, const char *object) {
        g_autoptr(BusEngine) engine = wait_for_start(ctl, id);

        if (engine && g_strcmp0(engine->state, "failed") == 0) {
                ctl_error("engine \"%s\" is registered, but it failed: %s", id,
                          engine->state_detail ? engine->state_detail : "no reason given");
                ctl_hint("Remove it (cloudsyncctl engine remove %s) and add it as it should be.",
                         id);
                return CTL_FAILED;
        }
        print_added(ctl, id, prefix, object);
        if (!ctl->json && engine && g_strcmp0(engine->state, "needs-login") == 0)
                printf("Nothing can be read before a login: cloudsyncctl login %s\n", id);
        return CTL_OK;
}

static int run_add(struct ctl *ctl, char **words, unsigned n) {
        __attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *call = NULL, *reply = NULL;
        const char *object;

        for (unsigned i = 0; i < 3; i++)
                if (!g_utf8_validate(words[i], -1, NULL))
                        return ctl_usage("engine add", "id, module and prefix have to be UTF-8");
        if (bus_connect(ctl) < 0)
                return CTL_FAILED;
        int r = sd_bus_message_new_method_call(ctl->bus, &call, BUS_NAME, BUS_OBJECT, BUS_MANAGER,
                                               "RegisterEngine");
        if (r >= 0)
                r = sd_bus_message_append(call, "sss", words[0], words[1], words[2]);
        if (r < 0)
                return bus_fail(ctl, "cannot register the engine", NULL, r);
        int status = append_settings(call, words + 3, n - 3);
        if (status != CTL_OK)
                return status;

        r = sd_bus_call(ctl->bus, call, 0, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &object);
        if (r < 0) {
                g_autofree char *what = g_strdup_printf("cannot register engine \"%s\"", words[0]);
                return bus_fail(ctl, what, &error, r);
        }
        return finish_add(ctl, words[0], words[2], object);
}

static const struct arg_option add_options[] = {
        {"from-file", 'f', ARG_LIST, &from_file},
        {NULL, 0, 0, NULL},
};

const struct verb verb_engine_add = {
        .name = "engine add",
        .synopsis = "ID MODULE PREFIX [KEY=VALUE…] [--from-file KEY=FILE…]",
        .summary = "Register an engine, now and for every later start",
        .help = "ID        a short name: a-z 0-9 - _\n"
                "MODULE    what speaks to the remote: httpfs, or another that is installed\n"
                "PREFIX    the directory below the store's path that it fills\n"
                "KEY=VALUE the module's settings; and hydration=auto|whole|ranges: whether\n"
                "          large files may be fetched in parts; refresh=SECONDS: how often\n"
                "          all is listed again; see cloudsync.conf(5)\n"
                "\n"
                "Returns once the engine runs, or with the reason why it cannot.\n"
                "\n"
                "-f, --from-file KEY=FILE  take a setting's value from a file (- for standard\n"
                "                          input). Use it for passwords: arguments can be\n"
                "                          seen in ps.\n"
                "\n"
                "Example: cloudsyncctl engine add debian httpfs mirrors/debian \\\n"
                "                 url=https://www.example.org/debian/\n"
                "\n",
        .options = add_options,
        .min_words = 3,
        .max_words = 3 + 64,
        .run = run_add,
};

static int run_remove(struct ctl *ctl, char **words, unsigned n) {
        __attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;

        if (bus_connect(ctl) < 0)
                return CTL_FAILED;
        int r = sd_bus_call_method(ctl->bus, BUS_NAME, BUS_OBJECT, BUS_MANAGER, "UnregisterEngine",
                                   &error, NULL, "s", words[0]);
        if (r < 0) {
                g_autofree char *what = g_strdup_printf("cannot remove engine \"%s\"", words[0]);
                return bus_fail(ctl, what, &error, r);
        }
        if (ctl->json) {
                struct json_object *o = json_object_new_object();
                json_object_object_add(o, "id", json_object_new_string(words[0]));
                ctl_print_json(o, false);
        } else
                printf("Engine %s is removed. Its files stay; what was not fetched cannot be read "
                       "until an engine %s is added again.\n",
                       words[0], words[0]);
        return CTL_OK;
}

const struct verb verb_engine_remove = {
        .name = "engine remove",
        .synopsis = "ID",
        .summary = "Stop an engine and forget its registration",
        .help = "Its files stay. What was fetched stays readable; reading what was not fails\n"
                "(EIO) until an engine of the same id is added again.\n",
        .min_words = 1,
        .max_words = 1,
        .run = run_remove,
};

/* engine show */

static int compare_strings(gconstpointer a, gconstpointer b) {
        return strcmp(a, b);
}

static void print_settings(const struct bus_engine *e) {
        GList *keys = g_list_sort(g_hash_table_get_keys(e->settings), compare_strings);

        for (GList *k = keys; k; k = k->next) {
                const char *value = g_hash_table_lookup(e->settings, k->data);
                g_autofree char *shown = format_text(value);
                printf("%-13s%s = %s\n", k == keys ? "Settings" : "", (const char *)k->data,
                       *value || geteuid() == 0 ? shown : "(shown to root only)");
        }
        g_list_free(keys);
}

static void print_engine(const struct ctl *ctl, const struct bus_engine *e) {
        char a[FORMAT_COUNT_MAX], b[FORMAT_COUNT_MAX], size[FORMAT_SIZE_MAX];
        const char *state = e->state ? e->state : "?";
        g_autofree char *painted = table_paint(state, words_state_color(state), ctl->color);
        g_autofree char *detail = format_text(e->state_detail ? e->state_detail : "");

        printf("%-13s%s\n", "Engine", e->id);
        printf("%-13s%s\n", "Module", e->module ? e->module : "?");
        printf("%-13s%s\n", "Prefix", e->prefix ? e->prefix : "?");
        printf("%-13s%s%s%s\n", "State", painted, *detail ? ": " : "", detail);
        if (e->pid > 0)
                printf("%-13s%u\n", "Process", e->pid);
        printf("%-13s%s listed, %s to go\n", "Directories", format_count(e->directories_listed, a),
               format_count(e->directories_pending, b));
        printf("%-13s%s skipped, because they cannot exist here, or cannot be had\n", "Entries",
               format_count(e->entries_skipped, a));
        if (e->local_files > 0)
                printf("%-13s%s times left alone by a change of the remote, %s copies made beside them\n",
                       "Local files", format_count(e->local_files, a), format_count(e->conflicts, b));
        printf("%-13s%s under way, %s fetched, %s failed\n", "Transfers",
               format_count(e->transfers_active, a), format_size(e->bytes_fetched, size),
               format_count(e->fetch_errors, b));
        if (e->checksum_errors > 0)
                printf("%-13s%s fetches brought content without the remote's checksum\n", "Checksums",
                       format_count(e->checksum_errors, a));
        printf("%-13s%s\n", "Restarts", format_count(e->host_restarts, a));
        print_settings(e);
}

static int run_show(struct ctl *ctl, char **words, unsigned n) {
        __attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(BusEngine) engine = NULL;

        if (bus_connect(ctl) < 0)
                return CTL_FAILED;
        int r = bus_get_engine(ctl, words[0], &error, &engine);
        if (r < 0) {
                g_autofree char *what = g_strdup_printf("engine \"%s\"", words[0]);
                return bus_fail(ctl, what, &error, r);
        }
        if (!ctl->json) {
                print_engine(ctl, engine);
                return CTL_OK;
        }
        struct json_object *o = bus_engine_json(engine), *settings = json_object_new_object();
        GHashTableIter iter;
        gpointer key, value;
        g_hash_table_iter_init(&iter, engine->settings);
        while (g_hash_table_iter_next(&iter, &key, &value))
                json_object_object_add(settings, key, json_object_new_string(value));
        json_object_object_add(o, "settings", settings);
        ctl_print_json(o, false);
        return CTL_OK;
}

const struct verb verb_engine_show = {
        .name = "engine show",
        .synopsis = "ID",
        .summary = "Show one engine in full, with its settings",
        .help = "The values of settings are shown to root only: they may be secrets.\n",
        .min_words = 1,
        .max_words = 1,
        .run = run_show,
};
