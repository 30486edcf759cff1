/* SPDX-License-Identifier: MIT */

/*
 * dirfs — a complete small cloudsync engine: a directory tree of this machine, read-only
 *
 *     path=DIR   the tree's root, absolute
 *
 * Useful as it is (a slow network mount becomes on-demand files with a local copy),
 * and to be copied: an engine for another remote has the same five functions, with
 * other system calls in them. Directories and regular files only; symbolic links are
 * neither shown nor followed.
 *
 * The locator is the path below the root, which is what the host composes when
 * an entry has none. A file's version is made of all that changes when its content
 * does: inode, size, mtime and ctime.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cloudsync/engine.h>

#define CHUNK (128 * 1024)

struct dirfs {
        const struct cs_host *host;
        int root; /* O_PATH */
};

/* -- from this machine's world to an entry -------------------------------------------- */

static void make_version(const struct stat *st, char version[CS_VERSION_MAX + 1]) {
        snprintf(version, CS_VERSION_MAX + 1, "%ju-%jd-%jd.%09ld-%jd.%09ld", (uintmax_t)st->st_ino,
                 (intmax_t)st->st_size, (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
                 (intmax_t)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

/* Returns 0 for what this engine does not show. `version` is the buffer that the
 * entry points to. */
static int make_entry(const char *name, const struct stat *st, struct cs_entry *entry,
                      char version[CS_VERSION_MAX + 1]) {
        *entry = (struct cs_entry){
                .name = name,
                .mode = st->st_mode & 0777,
                .mtime_sec = st->st_mtim.tv_sec,
                .mtime_nsec = (uint32_t)st->st_mtim.tv_nsec,
        };
        if (S_ISDIR(st->st_mode)) {
                entry->kind = CS_KIND_DIRECTORY;
        } else if (S_ISREG(st->st_mode)) {
                entry->kind = CS_KIND_FILE;
                entry->size = (uint64_t)st->st_size;
                make_version(st, version);
                entry->version = version;
        } else {
                return 0;
        }
        return 1;
}

/* Opens a locator below the root and nowhere else, whatever is in it. Linux 5.6. */
static int open_below(const struct dirfs *d, const char *locator, int flags) {
        struct open_how how = {
                .flags = (uint64_t)(flags | O_CLOEXEC),
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
        };
        long fd = syscall(SYS_openat2, d->root, *locator ? locator : ".", &how, sizeof(how));

        if (fd >= 0)
                return (int)fd;
        /* What was a file or a directory is a link, or another kind of thing, now. */
        return errno == ELOOP || errno == ENOTDIR || errno == EXDEV ? -ENOENT : -errno;
}

/* -- operations ----------------------------------------------------------------------- */

static int dirfs_open(const struct cs_host *host, void **instance) {
        const char *path = host->setting(host, "path");
        struct dirfs *d;
        int r;

        if (!path || path[0] != '/') {
                host->log(host, CS_LOG_ERROR, "the setting 'path' must be an absolute path");
                return -EINVAL;
        }
        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->host = host;
        d->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (d->root < 0) {
                r = -errno;
                host->log(host, CS_LOG_ERROR, "cannot open %s: %s", path, strerror(errno));
                free(d);
                return r;
        }
        *instance = d;
        return 0;
}

static void dirfs_close(void *instance) {
        struct dirfs *d = instance;

        close(d->root);
        free(d);
}

static void dirfs_list(void *instance, struct cs_request *request, const char *locator) {
        struct dirfs *d = instance;
        char version[CS_VERSION_MAX + 1];
        struct cs_entry entry;
        struct dirent *de;
        struct stat st;
        DIR *dir;
        int fd, r = 0;

        fd = open_below(d, locator, O_RDONLY | O_DIRECTORY);
        dir = fd >= 0 ? fdopendir(fd) : NULL;
        if (!dir) {
                r = fd < 0 ? fd : -errno;
                if (fd >= 0)
                        close(fd);
                d->host->done(d->host, request, r, 0, NULL);
                return;
        }
        while (r != -ECANCELED && (errno = 0, de = readdir(dir))) {
                if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
                        continue;
                if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                        if (errno == ENOENT)
                                continue; /* gone since readdir */
                        /* There, and no more can be said of it: to leave it out would remove it. */
                        entry = (struct cs_entry){.kind = CS_KIND_UNKNOWN, .name = de->d_name};
                        r = d->host->entry(d->host, request, &entry);
                } else if (make_entry(de->d_name, &st, &entry, version))
                        r = d->host->entry(d->host, request, &entry);
                errno = 0;
        }
        /* -EINVAL from entry() concerned that entry alone. */
        if (r != -ECANCELED)
                r = -errno;
        closedir(dir);
        d->host->done(d->host, request, r, 0, NULL);
}

static void dirfs_stat(void *instance, struct cs_request *request, const char *locator) {
        struct dirfs *d = instance;
        char version[CS_VERSION_MAX + 1];
        struct cs_entry entry;
        struct stat st;
        int fd, r;

        fd = open_below(d, locator, O_PATH);
        r = fd < 0 ? fd : fstat(fd, &st) < 0 ? -errno : 0;
        if (fd >= 0)
                close(fd);
        if (r == 0 && !make_entry(NULL, &st, &entry, version))
                r = -ENOENT;
        if (r == 0)
                r = d->host->entry(d->host, request, &entry);
        d->host->done(d->host, request, r, 0, NULL);
}

/* 0 while the file is still what the fetch asks for. */
static int check_version(int fd, const struct cs_fetch *fetch) {
        char version[CS_VERSION_MAX + 1];
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -ENOENT;
        make_version(&st, version);
        return fetch->version && strcmp(version, fetch->version) == 0 ? 0 : -ESTALE;
}

static int copy(struct dirfs *d, struct cs_request *request, int fd, const struct cs_fetch *fetch) {
        uint64_t at = fetch->offset, end = fetch->offset + fetch->length;
        char *buffer = malloc(CHUNK);
        int r = buffer ? 0 : -ENOMEM;

        while (r == 0 && at < end) {
                size_t want = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
                ssize_t n = pread(fd, buffer, want, (off_t)at);

                if (n < 0 && errno == EINTR)
                        continue;
                /* Bytes are handed on when they are known to be of the version asked
                 * for, not before: the file is looked at again after each read.
                 * Remotes with an If-Match need no second look. */
                r = n < 0 ? -errno : n == 0 ? -ESTALE : check_version(fd, fetch);
                if (r == 0) {
                        /* May wait until the reader has caught up; -ECANCELED when
                         * nobody wants the rest. */
                        r = d->host->write(d->host, request, buffer, (size_t)n);
                        at += (uint64_t)n;
                }
        }
        free(buffer);
        return r;
}

static void dirfs_fetch(void *instance, struct cs_request *request, const struct cs_fetch *fetch) {
        struct dirfs *d = instance;
        int fd, r;

        fd = open_below(d, fetch->locator, O_RDONLY | O_NONBLOCK);
        r = fd < 0 ? fd : check_version(fd, fetch);
        if (r == 0)
                r = copy(d, request, fd, fetch);
        if (fd >= 0)
                close(fd);
        d->host->done(d->host, request, r, 0,
                      r == -ESTALE ? "the file was changed" : NULL);
}

/* No cancel(): a local read ends soon, and host->write() says -ECANCELED by then. */

static const struct cs_setting_info settings[] = {
        {"path", "the tree's root, an absolute path that the engine's user may read", 1},
        {0},
};

static const struct cs_engine_ops ops = {
        .abi = CLOUDSYNC_ENGINE_ABI,
        .struct_size = sizeof(struct cs_engine_ops),
        .name = "dirfs",
        .description = "A directory tree of this machine, read-only",
        .settings = settings,
        .open = dirfs_open,
        .close = dirfs_close,
        .list = dirfs_list,
        .stat = dirfs_stat,
        .fetch = dirfs_fetch,
};

const struct cs_engine_ops *cloudsync_engine(void);

__attribute__((visibility("default"))) const struct cs_engine_ops *cloudsync_engine(void) {
        return &ops;
}
