/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * cloudsync-engine-check — tries an engine without a daemon, a store or a bus
 *
 * For engine authors: the module runs in the real engine host, this program plays the
 * daemon. Without a command it runs the suite that every engine has to pass;
 * with one it asks one question.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "engine-host/check-suite.h"
#include "shared/names.h"

static const char *opt_host, *opt_user = "nobody", *opt_log = "4";
static const char *opt_list, *opt_stat, *opt_cat;
static gint opt_entries = 5000, opt_files = 12, opt_timeout = 60;
static gboolean opt_version;

static const GOptionEntry entries[] = {
        {"list", 0, 0, G_OPTION_ARG_STRING, &opt_list, "List this directory ('' is the root)", "LOCATOR"},
        {"stat", 0, 0, G_OPTION_ARG_STRING, &opt_stat, "Ask for one object", "LOCATOR"},
        {"cat", 0, 0, G_OPTION_ARG_STRING, &opt_cat, "Fetch a file to standard output", "LOCATOR"},
        {"max-entries", 0, 0, G_OPTION_ARG_INT, &opt_entries, "How far to crawl (default 5000)", "N"},
        {"max-files", 0, 0, G_OPTION_ARG_INT, &opt_files, "Files to fetch (default 12)", "N"},
        {"timeout", 0, 0, G_OPTION_ARG_INT, &opt_timeout, "For one answer (default 60)", "SECONDS"},
        {"user", 0, 0, G_OPTION_ARG_STRING, &opt_user, "When root: whom the engine runs as (default nobody)", "USER"},
        {"log-level", 0, 0, G_OPTION_ARG_STRING, &opt_log, "Of the engine host: 3 to 7 (default 4)", "LEVEL"},
        {"host", 0, 0, G_OPTION_ARG_FILENAME, &opt_host, "The engine host (default: the installed one)", "PROGRAM"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &opt_version, "Print the version", NULL},
        {0},
};

static void print_item(const struct item *item, bool with_name) {
        char name[1024], locator[4096], version[512], date[64];
        time_t mtime = (time_t)item->mtime_sec;
        struct tm tm = {0};

        (void)gmtime_r(&mtime, &tm);
        (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
        printf("%c%03o %12" G_GUINT64_FORMAT " %s  %s\n", "?-d?"[item->kind], item->mode, item->size, date,
               with_name ? name_printable(item->name, name, sizeof(name)) : "");
        printf("      locator %s%s%s\n", name_printable(item->locator, locator, sizeof(locator)),
               item->version ? "  version " : "",
               item->version ? name_printable(item->version, version, sizeof(version)) : "");
}

/* Waits for it; the exit status. */
static int outcome(struct client *c, const struct answer *a) {
        int r = client_wait(c, &a->done, opt_timeout * 1000);

        if (r == 0 && a->result == 0)
                return EXIT_SUCCESS;
        fprintf(stderr, "%s%s%s\n",
                r == -ETIMEDOUT ? "no answer in time"
                : r < 0         ? c->failure
                                : g_strerror(-a->result),
                r == 0 && *a->detail ? ": " : "", r == 0 ? a->detail : "");
        return EXIT_FAILURE;
}

static int ask_items(struct client *c, const struct answer *a, bool with_name) {
        int status = outcome(c, a);

        for (guint i = 0; i < a->items->len; i++)
                print_item(a->items->pdata[i], with_name);
        if (a->skipped > 0)
                fprintf(stderr, "%u entries were out of bounds and are left out\n", a->skipped);
        return status;
}

static int cat(struct client *c, const char *locator) {
        const uint64_t piece = 8u * 1024 * 1024;
        struct answer *stat = client_stat(c, locator);
        struct item item;

        if (outcome(c, stat) != EXIT_SUCCESS)
                return EXIT_FAILURE;
        item = *(struct item *)stat->items->pdata[0];
        item.locator = (char *)locator;
        for (uint64_t at = 0; at < item.size;) {
                bool whole = c->flags & CS_ENGINE_NO_RANGES;
                uint64_t length = whole ? item.size : MIN(item.size - at, piece);
                struct answer *a = client_fetch(c, &item, item.version, at, length);
                int status = outcome(c, a);

                (void)fwrite(a->bytes->data, 1, a->bytes->len, stdout);
                at += length;
                client_forget(c, a);
                if (status != EXIT_SUCCESS)
                        return status;
        }
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int one_question(struct client *c) {
        if (client_wait(c, &c->ready, 30000) < 0) {
                fprintf(stderr, "the engine does not start: %s\n",
                        c->failure ? c->failure : "not within 30 s");
                return EXIT_FAILURE;
        }
        if (opt_list)
                return ask_items(c, client_list(c, opt_list), true);
        if (opt_stat)
                return ask_items(c, client_stat(c, opt_stat), false);
        return cat(c, opt_cat);
}

static int suite(struct client *c) {
        struct suite s = {.client = c, .max_entries = (unsigned)opt_entries,
                          .max_files = (unsigned)opt_files, .timeout_ms = opt_timeout * 1000,
                          .files = g_ptr_array_new(),
                          .contents = g_ptr_array_new_with_free_func(
                                  (GDestroyNotify)g_byte_array_unref)};
        bool ok = suite_run(&s);

        g_ptr_array_unref(s.files);
        g_ptr_array_unref(s.contents);
        return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static GHashTable *parse_settings(char **arguments) {
        GHashTable *settings = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

        for (; *arguments; arguments++) {
                char *equals = strchr(*arguments, '=');
                g_autofree char *key = equals ? g_strndup(*arguments, (gsize)(equals - *arguments))
                                              : NULL;

                if (!name_is_setting_key(key) || strlen(equals + 1) > NAME_SETTING_VALUE_MAX) {
                        fprintf(stderr, "'%s' is no KEY=VALUE\n", *arguments);
                        g_hash_table_unref(settings);
                        return NULL;
                }
                g_hash_table_replace(settings, g_steal_pointer(&key), g_strdup(equals + 1));
        }
        return settings;
}

int main(int argc, char **argv) {
        g_autoptr(GOptionContext) context = g_option_context_new("MODULE.so [KEY=VALUE…]");
        g_autoptr(GHashTable) settings = NULL;
        g_autoptr(GError) error = NULL;
        struct client *client = NULL;
        int r;

        g_option_context_set_summary(context,
                "Tries a cloudsync engine, without a daemon. Without --list, --stat or --cat: runs\n"
                "the checks that every engine has to pass, against the remote that the settings name.");
        g_option_context_add_main_entries(context, entries, NULL);
        if (!g_option_context_parse(context, &argc, &argv, &error)) {
                fprintf(stderr, "cloudsync-engine-check: %s\n", error->message);
                return 2;
        }
        if (opt_version) {
                puts("cloudsync-engine-check " CLOUDSYNC_VERSION);
                return EXIT_SUCCESS;
        }
        if (argc < 2 || opt_entries < 1 || opt_files < 0 || opt_timeout < 1) {
                fprintf(stderr, "cloudsync-engine-check: which module? See --help\n");
                return 2;
        }
        settings = parse_settings(argv + 2);
        if (!settings)
                return 2;
        r = client_start(opt_host ? opt_host : CLOUDSYNC_HOST_PATH, argv[1], opt_user, opt_log,
                         settings, &client);
        if (r < 0) {
                fprintf(stderr, "cloudsync-engine-check: %s\n", g_strerror(-r));
                return EXIT_FAILURE;
        }
        r = opt_list || opt_stat || opt_cat ? one_question(client) : suite(client);
        client_free(client);
        return r;
}
