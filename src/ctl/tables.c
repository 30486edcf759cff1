/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/tables.h"

#include <stdio.h>

#include "ctl/format.h"
#include "ctl/words.h"

void tables_print(const struct ctl *ctl, const struct table *table) {
        g_autofree char *text = table_render(table, ctl->color);
        fputs(text, stdout);
}

static void add_engine(struct table *table, const struct bus_engine *e) {
        char size[FORMAT_SIZE_MAX], a[FORMAT_COUNT_MAX], b[FORMAT_COUNT_MAX];

        table_add_colored(table, TABLE_PLAIN, e->id);
        table_add(table, e->module);
        table_add(table, e->prefix);
        table_add_colored(table, words_state_color(e->state ? e->state : ""), e->state);
        if (e->directories_pending > 0)
                table_addf(table, "%s, %s to go", format_count(e->directories_listed, a),
                           format_count(e->directories_pending, b));
        else
                table_add(table, format_count(e->directories_listed, a));
        table_add(table, format_size(e->bytes_fetched, size));
        table_add(table, format_count(e->transfers_active, a));
        table_add(table, format_count(e->fetch_errors, a));

        if (e->state_detail && *e->state_detail) {
                g_autofree char *clean = format_text(e->state_detail);
                g_autofree char *note = g_strdup_printf("    %s", clean);
                table_note(table, words_state_color(e->state ? e->state : ""), note);
        }
        if (e->checksum_errors > 0) {
                g_autofree char *note = g_strdup_printf("    %s fetches brought content without the remote's "
                                                        "checksum, which was thrown away: the log names them",
                                                        format_count(e->checksum_errors, a));
                table_note(table, TABLE_YELLOW, note);
        }
        if (e->conflicts > 0) {
                g_autofree char *note = g_strdup_printf("    %s files were changed here and at the remote: both "
                                                        "versions are there, see the log",
                                                        format_count(e->conflicts, a));
                table_note(table, TABLE_YELLOW, note);
        }
        if (e->entries_skipped > 0) {
                g_autofree char *note = g_strdup_printf("    %s of its entries cannot exist here, or cannot "
                                                        "be had, and were skipped: the log names them",
                                                        format_count(e->entries_skipped, a));
                table_note(table, TABLE_YELLOW, note);
        }
}

void tables_print_engines(const struct ctl *ctl, GPtrArray *engines) {
        static const struct table_column columns[] = {
                {"ENGINE", TABLE_LEFT},  {"MODULE", TABLE_LEFT},       {"PREFIX", TABLE_LEFT},
                {"STATE", TABLE_LEFT},   {"DIRECTORIES", TABLE_RIGHT}, {"FETCHED", TABLE_RIGHT},
                {"ACTIVE", TABLE_RIGHT}, {"ERRORS", TABLE_RIGHT},
        };
        g_autoptr(Table) table = table_new(columns, G_N_ELEMENTS(columns));

        if (engines->len == 0) {
                puts("No engines. Add one: cloudsyncctl engine add ID MODULE PREFIX key=value…");
                return;
        }
        for (unsigned i = 0; i < engines->len; i++)
                add_engine(table, g_ptr_array_index(engines, i));
        tables_print(ctl, table);
}

struct json_object *tables_engines_json(GPtrArray *engines) {
        struct json_object *array = json_object_new_array();

        for (unsigned i = 0; i < engines->len; i++)
                json_object_array_add(array, bus_engine_json(g_ptr_array_index(engines, i)));
        return array;
}

void tables_print_transfers(const struct ctl *ctl, GPtrArray *transfers) {
        static const struct table_column columns[] = {
                {"TRANSFER", TABLE_RIGHT}, {"ENGINE", TABLE_LEFT}, {"DONE", TABLE_RIGHT},
                {"SIZE", TABLE_RIGHT},     {"%", TABLE_RIGHT},     {"PATH", TABLE_LEFT},
        };
        g_autoptr(Table) table = table_new(columns, G_N_ELEMENTS(columns));
        char size[FORMAT_SIZE_MAX];

        if (transfers->len == 0) {
                puts("Nothing is being fetched.");
                return;
        }
        for (unsigned i = 0; i < transfers->len; i++) {
                const struct bus_transfer *t = g_ptr_array_index(transfers, i);
                g_autofree char *path = format_name(t->path);

                table_addf(table, "%" G_GUINT64_FORMAT, t->id);
                table_add(table, t->engine);
                table_add(table, format_size(t->done, size));
                table_add(table, format_size(t->total, size));
                table_addf(table, "%u", format_percent(t->done, t->total));
                table_add(table, path);
        }
        tables_print(ctl, table);
}

struct json_object *tables_transfers_json(GPtrArray *transfers) {
        struct json_object *array = json_object_new_array();

        for (unsigned i = 0; i < transfers->len; i++)
                json_object_array_add(array, bus_transfer_json(g_ptr_array_index(transfers, i)));
        return array;
}
