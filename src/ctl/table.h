/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * table — rows of cells, printed in aligned columns
 *
 * The last column is never padded, so no line ends in blanks. Widths are
 * terminal columns (format_width). Colours are escape sequences around the
 * padded text and never count. Pure: renders to a string.
 */

#include <glib.h>
#include <stdbool.h>

enum table_align {
        TABLE_LEFT,
        TABLE_RIGHT,
};

enum table_color {
        TABLE_PLAIN,
        TABLE_BOLD,
        TABLE_DIM,
        TABLE_GREEN,
        TABLE_YELLOW,
        TABLE_RED,
};

typedef struct table Table;

struct table_column {
        const char *title; /* lives as long as the table */
        enum table_align align;
};

/* `columns` lives as long as the table. */
struct table *table_new(const struct table_column *columns, unsigned n);
void table_free(struct table *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Table, table_free)

/* The next cell of the current row, from left to right; a row ends with its last column.
 * The text is copied; NULL is "-". */
void table_add(struct table *table, const char *text);
void table_add_colored(struct table *table, enum table_color color, const char *text);
void table_addf(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A whole line that belongs to the row before it, printed as it is. Copied. */
void table_note(struct table *table, enum table_color color, const char *text);

/* With a line of titles first. To be freed with g_free(). */
char *table_render(const struct table *table, bool color);

/* `text` in `color`, or as it is. To be freed with g_free(). */
char *table_paint(const char *text, enum table_color color, bool enabled);
