/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/table.h"

#include "ctl/format.h"

struct cell {
        char *text; /* owned */
        enum table_color color;
        bool note; /* a line of its own, only ever at the start of a row */
};

struct table {
        const struct table_column *columns;
        unsigned n;
        unsigned at; /* cells in the current row */
        GArray *cells;
};

static void cell_clear(gpointer data) {
        struct cell *cell = data;
        g_free(cell->text);
}

struct table *table_new(const struct table_column *columns, unsigned n) {
        struct table *table = g_new0(struct table, 1);
        table->columns = columns;
        table->n = n;
        table->cells = g_array_new(FALSE, FALSE, sizeof(struct cell));
        g_array_set_clear_func(table->cells, cell_clear);
        return table;
}

void table_free(struct table *table) {
        if (!table)
                return;
        g_array_unref(table->cells);
        g_free(table);
}

void table_add_colored(struct table *table, enum table_color color, const char *text) {
        struct cell cell = {.text = g_strdup(text ? text : "-"), .color = color};
        g_array_append_val(table->cells, cell);
        table->at = (table->at + 1) % table->n;
}

void table_add(struct table *table, const char *text) {
        table_add_colored(table, TABLE_PLAIN, text);
}

void table_addf(struct table *table, const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        g_autofree char *text = g_strdup_vprintf(format, ap);
        va_end(ap);
        table_add(table, text);
}

void table_note(struct table *table, enum table_color color, const char *text) {
        struct cell cell = {.text = g_strdup(text), .color = color, .note = true};
        g_return_if_fail(table->at == 0);
        g_array_append_val(table->cells, cell);
}

char *table_paint(const char *text, enum table_color color, bool enabled) {
        static const char *const codes[] = {
                [TABLE_BOLD] = "1",    [TABLE_DIM] = "2",  [TABLE_GREEN] = "32",
                [TABLE_YELLOW] = "33", [TABLE_RED] = "31",
        };

        if (!enabled || color == TABLE_PLAIN)
                return g_strdup(text);
        return g_strdup_printf("\033[%sm%s\033[0m", codes[color], text);
}

static void append_cell(GString *out, const char *text, enum table_align align, size_t width,
                        bool last, enum table_color color, bool colors) {
        size_t used = format_width(text), padding = width > used ? width - used : 0;
        g_autofree char *painted = table_paint(text, color, colors);

        if (align == TABLE_RIGHT)
                g_string_append_printf(out, "%*s", (int)padding, "");
        g_string_append(out, painted);
        if (align == TABLE_LEFT && !last)
                g_string_append_printf(out, "%*s", (int)padding, "");
        g_string_append(out, last ? "\n" : "  ");
}

/* The widest text of each column, its title included. To be freed. */
static size_t *column_widths(const struct table *table) {
        size_t *widths = g_new(size_t, table->n);

        for (unsigned i = 0; i < table->n; i++)
                widths[i] = format_width(table->columns[i].title);
        for (unsigned i = 0, column = 0; i < table->cells->len; i++) {
                const struct cell *cell = &g_array_index(table->cells, struct cell, i);
                if (cell->note)
                        continue;
                widths[column] = MAX(widths[column], format_width(cell->text));
                column = (column + 1) % table->n;
        }
        return widths;
}

char *table_render(const struct table *table, bool color) {
        g_autofree size_t *widths = column_widths(table);
        GString *out = g_string_new(NULL);

        for (unsigned i = 0; i < table->n; i++)
                append_cell(out, table->columns[i].title, table->columns[i].align, widths[i],
                            i + 1 == table->n, TABLE_BOLD, color);
        for (unsigned i = 0, column = 0; i < table->cells->len; i++) {
                const struct cell *cell = &g_array_index(table->cells, struct cell, i);
                if (cell->note) {
                        g_autofree char *painted = table_paint(cell->text, cell->color, color);
                        g_string_append_printf(out, "%s\n", painted);
                        continue;
                }
                append_cell(out, cell->text, table->columns[column].align, widths[column],
                            column + 1 == table->n, cell->color, color);
                column = (column + 1) % table->n;
        }
        return g_string_free(out, FALSE);
}
