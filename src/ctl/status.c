/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/status.h"

#include <string.h>

#include "ctl/format.h"

void file_status_clear(struct file_status *status) {
        g_free(status->path);
        g_free(status->kind);
        g_free(status->state);
        g_free(status->engine);
        g_free(status->version);
        *status = (struct file_status){0};
}

int file_status_read(sd_bus_message *m, struct file_status *status) {
        static const struct bus_field fields[] = {
                {"Path", "s", offsetof(struct file_status, path)},
                {"Kind", "s", offsetof(struct file_status, kind)},
                {"State", "s", offsetof(struct file_status, state)},
                {"Engine", "s", offsetof(struct file_status, engine)},
                {"Version", "s", offsetof(struct file_status, version)},
                {"Size", "t", offsetof(struct file_status, size)},
                {"Present", "t", offsetof(struct file_status, present)},
                {"Modified", "b", offsetof(struct file_status, modified)},
                {NULL, NULL, 0},
        };

        return bus_read_fields(m, fields, status, NULL);
}

char *file_status_words(const struct file_status *status) {
        const char *state = status->state ? status->state : "unknown";

        if (strcmp(state, "partial") == 0)
                return g_strdup_printf("partial %u%%",
                                       format_percent(status->present, status->size));
        if (strcmp(state, "not-managed") == 0)
                return g_strdup("-");
        return g_strdup(state);
}
