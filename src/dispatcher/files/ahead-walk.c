/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/files/ahead-walk.h"

#include "dispatcher/store/stamp.h"
#include "shared/fd.h"
#include "shared/names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH_MAX 64u
/* Files between `from` and `to`: more than some that are here already, and it is no walk. */
#define BETWEEN_MAX 16u
/* Entries of directories that one walk looks at, those before `from` included. */
#define ENTRIES_MAX 20000u

struct state {
        struct ahead_walk *walk;
        unsigned top;      /* depth of the prefix: the walk ends there */
        unsigned between, entries;
        bool follows;      /* `to` was met, or there is none */
        GString *path;     /* of the directory that is being read */
};

/* A file after `from`. false: enough. */
static bool meet_file(struct state *s, int directory, const char *name) {
        struct ahead_walk *walk = s->walk;
        struct stamp stamp = STAMP_INIT;
        struct ahead_item item;
        autoclose int fd = -1;
        struct stat st;

        if (!s->follows) {
                const char *rest = NULL;
                s->follows = name_has_prefix(walk->to, s->path->str, &rest) && strcmp(rest, name) == 0;
                if (s->follows)
                        walk->last = g_strdup(walk->to);
                return s->follows || ++s->between <= BETWEEN_MAX;
        }
        fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
            stamp_read(fd, st.st_ino, &stamp) < 0)
                return true;
        if (stamp.state == STAMP_PLACEHOLDER && stamp.size <= AHEAD_FILE_MAX &&
            strcmp(stamp.engine, walk->engine) == 0 && handle_take(fd, &item.handle) == 0) {
                item.inode = st.st_ino;
                g_array_append_val(walk->items, item);
                g_free(walk->last);
                walk->last = g_build_filename(s->path->str, name, NULL);
        }
        stamp_clear(&stamp);
        return walk->items->len < walk->want;
}

/* All of a directory that comes after `parts`, or all of it (NULL). false: the walk is over. */
static bool read_directory(struct state *s, int at, const char *name, char **parts, unsigned depth) {
        size_t length = s->path->len;
        struct dirent *d;
        bool more = true;
        int fd;
        DIR *dir;

        if (depth > DEPTH_MAX)
                return true;
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
        dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                fd_close(fd);
                return true;
        }
        if (depth > 0)
                g_string_append_printf(s->path, "%s%s", length ? "/" : "", name);
        while (more && (d = readdir(dir)) != NULL) {
                bool skipped = parts && strcmp(d->d_name, parts[0]) != 0;

                if (++s->entries > ENTRIES_MAX)
                        more = false;
                else if (skipped || strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
                        continue;
                else if (parts && !parts[1]) /* `from` itself */
                        parts = NULL;
                else if (d->d_type == DT_DIR) {
                        more = read_directory(s, dirfd(dir), d->d_name, parts ? parts + 1 : NULL,
                                              depth + 1);
                        parts = NULL;
                } else if (d->d_type == DT_REG && !parts)
                        more = meet_file(s, dirfd(dir), d->d_name);
        }
        closedir(dir);
        g_string_truncate(s->path, length);
        return more && depth > s->top;
}

static unsigned count_parts(const char *path) {
        unsigned n = *path != '\0';

        for (; *path; path++)
                n += *path == '/';
        return n;
}

void ahead_walk(struct ahead_walk *walk) {
        g_auto(GStrv) parts = g_strsplit(walk->from, "/", -1);
        g_autoptr(GString) path = g_string_new(NULL);
        struct state s = {.walk = walk, .path = path, .follows = walk->to == NULL};
        const char *rest;

        walk->items = g_array_new(FALSE, FALSE, sizeof(struct ahead_item));
        if (!parts[0])
                return;
        /* A file that was moved out of its prefix: its own directory, no further. */
        s.top = name_has_prefix(walk->from, walk->prefix, &rest) ? count_parts(walk->prefix)
                                                                : count_parts(walk->from) - 1;
        (void)read_directory(&s, walk->root, ".", parts, 0);
}

void ahead_walk_clear(struct ahead_walk *walk) {
        g_free(walk->from);
        g_free(walk->to);
        g_free(walk->engine);
        g_free(walk->prefix);
        g_free(walk->last);
        g_clear_pointer(&walk->items, g_array_unref);
}
