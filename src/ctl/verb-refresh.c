/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* refresh: list directories again and bring in what changed. */

#include <stdio.h>
#include <string.h>

#include "ctl/bus.h"
#include "ctl/format.h"
#include "ctl/pipeline.h"

#define REFRESH_IN_FLIGHT 8u

static bool recursive;

struct refresh {
        struct ctl *ctl;
        char **words;
        unsigned n, next, failed;
        struct json_object *results; /* or NULL */
};

static int next_call(void *userdata, sd_bus_message **call, void **item) {
        struct refresh *refresh = userdata;

        if (refresh->next == refresh->n)
                return 0;
        g_autofree char *path = ctl_resolve_path(refresh->words[refresh->next++]);
        int r = sd_bus_message_new_method_call(refresh->ctl->bus, call, BUS_NAME, BUS_OBJECT,
                                               BUS_MANAGER, "Refresh");
        if (r >= 0)
                r = sd_bus_message_append(*call, "sb", path, recursive);
        if (r < 0)
                return r;
        *item = g_steal_pointer(&path);
        return 1;
}

static void on_done(void *userdata, void *item, sd_bus_message *reply) {
        struct refresh *refresh = userdata;
        g_autofree char *path = item;
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        if (error) {
                refresh->failed++;
                bus_fail(refresh->ctl, path, error, 0);
        }
        if (refresh->results) {
                struct json_object *o = json_object_new_object();
                ctl_json_add_name(o, "path", path);
                json_object_object_add(o, "error",
                                       error ? json_object_new_string(error->name) : NULL);
                json_object_array_add(refresh->results, o);
        } else if (!error) {
                g_autofree char *shown = format_name(path);
                printf("%s is up to date%s\n", shown,
                       recursive ? "; what is below follows in the background" : "");
        }
}

static int run_refresh(struct ctl *ctl, char **words, unsigned n) {
        static const struct pipeline_ops ops = {.next = next_call, .done = on_done};
        struct refresh refresh = {.ctl = ctl, .words = words, .n = n};

        if (bus_connect(ctl) < 0)
                return CTL_FAILED;
        for (unsigned i = 0; i < n; i++)
                if (!g_utf8_validate(words[i], -1, NULL)) {
                        ctl_error("a path that is not UTF-8 cannot travel over D-Bus");
                        ctl_hint("Refresh the directory above it, with --recursive.");
                        return CTL_FAILED;
                }
        if (ctl->json)
                refresh.results = json_object_new_array();
        int r = pipeline_run(ctl, &ops, &refresh, REFRESH_IN_FLIGHT, PIPELINE_FOREVER, 0);
        if (refresh.results)
                ctl_print_json(refresh.results, false);
        if (r < 0)
                return bus_fail(ctl, "refresh", NULL, r);
        return refresh.failed > 0 ? CTL_FAILED : CTL_OK;
}

static const struct arg_option refresh_options[] = {
        {"recursive", 'r', ARG_FLAG, &recursive},
        {NULL, 0, 0, NULL},
};

const struct verb verb_refresh = {
        .name = "refresh",
        .synopsis = "[--recursive] PATH…",
        .summary = "List directories again and bring in what changed",
        .help = "Needs root. Returns when the directories themselves are up to date.\n"
                "\n"
                "-r, --recursive  also those below that were listed before, in the background\n"
                "\n",
        .options = refresh_options,
        .min_words = 1,
        .max_words = UINT_MAX,
        .run = run_refresh,
};
