/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <string.h>

#include "ctl/table.h"
#include "ctl/words.h"

static const struct table_column columns[] = {
        {"NAME", TABLE_LEFT},
        {"SIZE", TABLE_RIGHT},
        {"NOTE", TABLE_LEFT},
};

static void test_aligned(void) {
        g_autoptr(Table) table = table_new(columns, G_N_ELEMENTS(columns));

        table_add(table, "日本");
        table_addf(table, "%d B", 7);
        table_add(table, NULL);
        table_add(table, "longer-name");
        table_add(table, "1023.9 KiB");
        table_add(table, "last");
        table_note(table, TABLE_PLAIN, "  a note");
        g_autofree char *text = table_render(table, false);
        g_assert_cmpstr(text, ==,
                        "NAME               SIZE  NOTE\n"
                        "日本                7 B  -\n"
                        "longer-name  1023.9 KiB  last\n"
                        "  a note\n");
}

static void test_colors_do_not_count(void) {
        g_autoptr(Table) plain = table_new(columns, G_N_ELEMENTS(columns));
        g_autoptr(Table) colored = table_new(columns, G_N_ELEMENTS(columns));

        for (int i = 0; i < 2; i++) {
                struct table *table = i == 0 ? plain : colored;
                table_add_colored(table, TABLE_RED, "x");
                table_add_colored(table, TABLE_GREEN, "y");
                table_add(table, "z");
        }
        g_autofree char *a = table_render(plain, false), *b = table_render(colored, true);
        g_assert_nonnull(strstr(b, "\033[31mx\033[0m   "));
        g_assert_nonnull(strstr(b, "   \033[32my\033[0m"));

        /* Without its escape sequences it is the plain one. */
        g_autoptr(GRegex) regex = g_regex_new("\033\\[[0-9]+m", 0, 0, NULL);
        g_autofree char *stripped = g_regex_replace_literal(regex, b, -1, 0, "", 0, NULL);
        g_assert_cmpstr(stripped, ==, a);
}

static void test_empty(void) {
        g_autoptr(Table) table = table_new(columns, G_N_ELEMENTS(columns));
        g_autofree char *text = table_render(table, false);
        g_assert_cmpstr(text, ==, "NAME  SIZE  NOTE\n");
}

static void test_layers(void) {
        static const char *const none[] = {NULL}, *const detach[] = {"detach", NULL},
                                 *const both[] = {"hsmid", "detach", NULL},
                                 *const supervised[] = {"supervisor", "detach", NULL},
                                 *const stored[] = {"fdstore", "supervisor", "detach", NULL};

        g_assert_nonnull(strstr(words_layers_warning(detach), "could read zeros until it is back"));
        g_assert_nonnull(words_layers_warning(none));
        g_assert_nonnull(words_layers_warning(NULL));
        g_assert_null(words_layers_warning(both));
        g_assert_nonnull(strstr(words_layers_warning(supervised), "supervisor is killed as well"));
        g_assert_null(words_layers_warning(stored));
        g_assert_cmpstr(words_layer("new-one"), ==, "new-one");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ctl/table/aligned", test_aligned);
        g_test_add_func("/ctl/table/colors-do-not-count", test_colors_do_not_count);
        g_test_add_func("/ctl/table/empty", test_empty);
        g_test_add_func("/ctl/words/layers", test_layers);
        return g_test_run();
}
