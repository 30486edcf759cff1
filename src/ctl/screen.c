/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/screen.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

void screen_size(unsigned *columns, unsigned *rows) {
        struct winsize size;
        bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;

        *columns = known && size.ws_col > 0 ? size.ws_col : 80;
        *rows = known && size.ws_row > 0 ? size.ws_row : 24;
}

void screen_draw(struct screen *screen, const GPtrArray *lines) {
        unsigned columns, rows;

        screen_size(&columns, &rows);
        unsigned shown = MIN(lines->len, rows > 1 ? rows - 1 : 1);

        screen_wipe(screen);
        for (unsigned i = 0; i < shown; i++) {
                unsigned at = i + 1 == shown ? lines->len - 1 : i;
                printf("%s\n", (const char *)g_ptr_array_index(lines, at));
        }
        screen->drawn = shown;
        fflush(stdout);
}

void screen_wipe(struct screen *screen) {
        if (screen->drawn > 0)
                printf("\033[%uA\r\033[J", screen->drawn);
        screen->drawn = 0;
        fflush(stdout);
}
