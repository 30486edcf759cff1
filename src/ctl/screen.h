/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * screen — a few lines at the bottom of a terminal that are drawn again and again
 *
 * Everything else that is printed meanwhile goes above them: wipe, print, draw.
 */

#include <glib.h>

#include "ctl/ctl.h"

struct screen {
        unsigned drawn; /* lines of ours above the cursor */
};

/* The terminal's columns and rows; 80 and 24 where they are not known. */
void screen_size(unsigned *columns, unsigned *rows);

/* Replaces what was drawn. `lines`: char *, each at most the terminal's width; those that do
 * not fit from the top are left out, the last one is always shown. */
void screen_draw(struct screen *screen, const GPtrArray *lines);

/* Removes what was drawn. */
void screen_wipe(struct screen *screen);
