/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/dropbox.h"

/* Depends on nothing that changes without a new version. */
char *note_text(const struct index_entry *entry) {
        if (entry->flags & INDEX_LINK)
                return g_strdup_printf("This is a symbolic link in Dropbox. It leads to:\n\n    %s\n\n"
                                       "cloudsync shows such links as notes and does not follow them.\n",
                                       entry->extra);
        if (entry->flags & INDEX_EXPORT)
                return g_strdup_printf("Dropbox cannot export this document as \"%s\" now.\n\n"
                                       "Open it at dropbox.com, or refresh this folder later "
                                       "(cloudsyncctl refresh).\n",
                                       entry->extra);
        return g_strdup("This document lives at dropbox.com only: Dropbox offers neither its content nor an "
                        "export of it.\n\nOpen it at dropbox.com.\n");
}
