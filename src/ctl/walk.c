/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/walk.h"

#include <errno.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/ctl.h"

void walk_file_free(gpointer data) {
        struct walk_file *file = data;
        g_free(file->path);
        g_free(file);
}

static int compare(const FTSENT **a, const FTSENT **b) {
        return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int visit(const FTSENT *e, GPtrArray *files) {
        switch (e->fts_info) {
        case FTS_F: {
                struct walk_file *file = g_new0(struct walk_file, 1);
                file->path = g_strdup(e->fts_path);
                file->size = e->fts_statp->st_size;
                g_ptr_array_add(files, file);
                return 0;
        }
        case FTS_DEFAULT: /* a device, a socket … */
        case FTS_SL:
        case FTS_D:
        case FTS_DP:
                return 0;
        case FTS_NS: /* gone since its name was read, unless it was asked for */
                if (e->fts_errno == ENOENT && e->fts_level > FTS_ROOTLEVEL)
                        return 0;
                break;
        }
        int r = e->fts_errno ? -e->fts_errno : -EIO;
        ctl_error("%s: %s", e->fts_path, strerror(-r));
        return r;
}

int walk_files(const char *path, GPtrArray *files) {
        char *const roots[] = {(char *)path, NULL};
        FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, compare);
        FTSENT *e;
        int result = 0;

        if (!fts) {
                result = -errno;
                ctl_error("%s: %s", path, strerror(-result));
                return result;
        }
        while ((errno = 0, e = fts_read(fts))) {
                int r = visit(e, files);
                if (r < 0 && result == 0)
                        result = r;
        }
        if (errno != 0 && result == 0) {
                result = -errno;
                ctl_error("%s: %s", path, strerror(-result));
        }
        fts_close(fts);
        return result;
}
