/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* status: the daemon, its store, what protects the readers, engines, transfers. */

#include <stdio.h>
#include <string.h>

#include "ctl/bus.h"
#include "ctl/format.h"
#include "ctl/tables.h"
#include "ctl/words.h"

static struct json_object *strings_json(char **list) {
        struct json_object *array = json_object_new_array();

        for (; list && *list; list++)
                json_object_array_add(array, json_object_new_string(*list));
        return array;
}

static void print_status_json(const struct bus_manager *m, GPtrArray *engines,
                              GPtrArray *transfers) {
        struct json_object *o = json_object_new_object(), *store = json_object_new_object();

        json_object_object_add(o, "version", json_object_new_string(m->version ? m->version : ""));
        ctl_json_add_name(store, "path", m->store_path ? m->store_path : "");
        json_object_object_add(
                store, "filesystem",
                json_object_new_string(m->store_filesystem ? m->store_filesystem : ""));
        json_object_object_add(o, "store", store);
        json_object_object_add(o, "layers", strings_json(m->layers));
        json_object_object_add(o, "events_pending", json_object_new_int64(m->events_pending));
        json_object_object_add(o, "events_answered", json_object_new_uint64(m->events_answered));
        json_object_object_add(o, "events_denied", json_object_new_uint64(m->events_denied));
        json_object_object_add(o, "files_hydrated", json_object_new_uint64(m->files_hydrated));
        json_object_object_add(o, "bytes_fetched", json_object_new_uint64(m->bytes_fetched));
        json_object_object_add(o, "engines", tables_engines_json(engines));
        json_object_object_add(o, "transfers", tables_transfers_json(transfers));
        ctl_print_json(o, false);
}

static void print_layers(const struct ctl *ctl, char **layers) {
        const char *warning = words_layers_warning((const char *const *)layers);

        if (!layers || !*layers)
                printf("%-12s%s\n", "Protection", "none");
        for (char **l = layers; l && *l; l++)
                printf("%-12s%s\n", l == layers ? "Protection" : "", words_layer(*l));
        if (warning) {
                g_autofree char *text = g_strconcat("Warning: ", warning, NULL);
                g_autofree char *painted = table_paint(text, TABLE_YELLOW, ctl->color);
                printf("%-12s%s\n", "", painted);
        }
}

static void print_status(const struct ctl *ctl, const struct bus_manager *m) {
        char a[FORMAT_COUNT_MAX], b[FORMAT_COUNT_MAX], c[FORMAT_COUNT_MAX], size[FORMAT_SIZE_MAX];
        g_autofree char *path = format_name(m->store_path ? m->store_path : "?");

        printf("%-12s%s, on the bus \"%s\"\n", "cloudsyncd", m->version ? m->version : "?",
               ctl->bus_address);
        printf("%-12s%s (%s)\n", "Store", path, m->store_filesystem ? m->store_filesystem : "?");
        print_layers(ctl, m->layers);
        printf("%-12s%s answered, %s denied, %s waiting\n", "Accesses",
               format_count(m->events_answered, a), format_count(m->events_denied, b),
               format_count(m->events_pending, c));
        printf("%-12s%s made whole, %s fetched since the start\n", "Files",
               format_count(m->files_hydrated, a), format_size(m->bytes_fetched, size));
}

static int run_status(struct ctl *ctl, char **words, unsigned n) {
        g_auto(BusManager) manager = {0};
        g_autoptr(GPtrArray) engines = NULL, transfers = NULL;

        if (bus_get_manager(ctl, &manager) < 0 || !(engines = bus_list_engines(ctl)) ||
            !(transfers = bus_list_transfers(ctl)))
                return CTL_FAILED;
        if (ctl->json) {
                print_status_json(&manager, engines, transfers);
                return CTL_OK;
        }
        print_status(ctl, &manager);
        putchar('\n');
        tables_print_engines(ctl, engines);
        if (transfers->len > 0) {
                putchar('\n');
                tables_print_transfers(ctl, transfers);
        }
        return CTL_OK;
}

const struct verb verb_status = {
        .name = "status",
        .synopsis = "",
        .summary = "Show the daemon, its store, engines and transfers",
        .help = "Protection says what keeps a reader from seeing zeros in place of content that\n"
                "is not here when cloudsyncd itself is gone:\n"
                "  hsmid       the kernel refuses such reads by itself\n"
                "  bpf         a guard program in the kernel refuses them\n"
                "  fdstore     systemd keeps the waiting reads until cloudsyncd is back\n"
                "  supervisor  a worker that is killed is replaced, and reads go on waiting\n"
                "  detach      the store can be reached only while cloudsyncd watches it\n",
        .max_words = 0,
        .run = run_status,
};
