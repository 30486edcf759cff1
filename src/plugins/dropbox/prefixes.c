/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/prefixes.h"

#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shared/fd.h"

#define HEADER 64u
#define MAGIC "cloudsync hash 1"
#define KEPT_S (7 * 24 * 3600)

struct prefixes {
        int fd;
        char *file;
        uint64_t size;
};

struct header {
        char magic[16];
        uint64_t size;
        char zeros[HEADER - 24];
};

void prefixes_prepare(const char *directory) {
        g_autoptr(GDir) dir = NULL;
        const char *name;

        if (mkdir(directory, 0700) == 0)
                return;
        dir = g_dir_open(directory, 0, NULL);
        while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
                g_autofree char *file = g_build_filename(directory, name, NULL);
                struct stat st;

                if (lstat(file, &st) == 0 && st.st_mtime < time(NULL) - KEPT_S)
                        (void)unlink(file);
        }
}

static bool header_is_good(int fd, uint64_t size, bool create) {
        struct header header = {.size = size}, found;

        memcpy(header.magic, MAGIC, sizeof header.magic);
        if (pread(fd, &found, sizeof found, 0) == sizeof found)
                return memcmp(&found, &header, sizeof header) == 0;
        return create && pwrite(fd, &header, sizeof header, 0) == sizeof header;
}

struct prefixes *prefixes_open(const char *directory, const char *version, uint64_t size, bool create) {
        g_autofree char *file = NULL;
        autoclose int fd = -1;
        struct prefixes *prefixes;

        if (directory == NULL || *version == '\0' || *version == '.' || strchr(version, '/') != NULL)
                return NULL;
        file = g_build_filename(directory, version, NULL);
        fd = open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (create ? O_CREAT : 0), 0600);
        if (fd < 0)
                return NULL;
        if (!header_is_good(fd, size, create)) { /* torn, or of another layout */
                (void)unlink(file);
                return NULL;
        }
        prefixes = g_new0(struct prefixes, 1);
        prefixes->fd = fd_steal(&fd);
        prefixes->file = g_steal_pointer(&file);
        prefixes->size = size;
        return prefixes;
}

void prefixes_close(struct prefixes *prefixes, bool keep) {
        if (prefixes == NULL)
                return;
        if (!keep)
                (void)unlink(prefixes->file);
        fd_close(prefixes->fd);
        g_free(prefixes->file);
        g_free(prefixes);
}

static off_t place(uint64_t position) {
        return (off_t)(HEADER + (position + PREFIX_STEP - 1) / PREFIX_STEP * CONTENT_HASH_SIZE -
                       CONTENT_HASH_SIZE);
}

bool prefixes_get(struct prefixes *prefixes, uint64_t position, uint8_t ret[static CONTENT_HASH_SIZE]) {
        static const uint8_t zeros[CONTENT_HASH_SIZE];

        return prefixes != NULL && position > 0 &&
               pread(prefixes->fd, ret, CONTENT_HASH_SIZE, place(position)) == CONTENT_HASH_SIZE &&
               memcmp(ret, zeros, sizeof zeros) != 0;
}

void prefixes_put(struct prefixes *prefixes, uint64_t position, const uint8_t digest[static CONTENT_HASH_SIZE]) {
        if (prefixes == NULL || pwrite(prefixes->fd, digest, CONTENT_HASH_SIZE, place(position)) == CONTENT_HASH_SIZE)
                return;
        (void)ftruncate(prefixes->fd, 0); /* a full disk: rather none than a torn one */
}

void prefixes_forget(struct prefixes *prefixes, uint64_t begin, uint64_t end) {
        off_t first = place(begin + 1), last = place(end);
        struct stat st;

        /* The entry of `begin` itself stays, the one of a step that begins before it goes. */
        if (prefixes == NULL || fstat(prefixes->fd, &st) < 0)
                return;
        for (; first <= last && first < st.st_size; first += CONTENT_HASH_SIZE) {
                static const uint8_t zeros[CONTENT_HASH_SIZE];
                if (pwrite(prefixes->fd, zeros, sizeof zeros, first) != (ssize_t)sizeof zeros)
                        (void)ftruncate(prefixes->fd, 0);
        }
}
