/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* status — what GetFileStatus tells about one file. */

#include "ctl/bus.h"

struct file_status {
        char *path, *kind, *state, *engine, *version;
        uint64_t size, present;
        bool modified;
};

void file_status_clear(struct file_status *status);

/* Reads the reply. 0 or a negative errno. */
int file_status_read(sd_bus_message *m, struct file_status *status);

/* "placeholder", "partial 42%", "hydrated", … To be freed with g_free(). Pure. */
char *file_status_words(const struct file_status *status);
