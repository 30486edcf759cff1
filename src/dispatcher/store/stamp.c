/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/store/stamp.h"

#include "cloudsync/engine.h"
#include "dispatcher/store/seal.h"
#include "shared/fd.h"
#include "shared/names.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define STAMP_FIXED 70u

void stamp_clear(struct stamp *stamp) {
        g_free(stamp->engine);
        g_free(stamp->version);
        g_free(stamp->locator);
        *stamp = (struct stamp)STAMP_INIT;
}

void stamp_copy(struct stamp *to, const struct stamp *from) {
        *to = *from;
        to->engine = g_strdup(from->engine);
        to->version = g_strdup(from->version);
        to->locator = g_strdup(from->locator);
}

static void put(uint8_t *at, uint64_t value, unsigned bytes) {
        for (unsigned i = 0; i < bytes; i++)
                at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *at, unsigned bytes) {
        uint64_t value = 0;

        for (unsigned i = 0; i < bytes; i++)
                value |= (uint64_t)at[i] << (8 * i);
        return value;
}

static bool state_is_known(unsigned state) {
        return (state >= STAMP_PLACEHOLDER && state <= STAMP_SWITCHING) || state == STAMP_UNLISTED ||
               state == STAMP_LISTED;
}

int stamp_encode(const struct stamp *stamp, void *buffer, size_t capacity) {
        uint8_t *p = buffer;
        size_t engine = strlen(stamp->engine);
        size_t version = stamp->version ? strlen(stamp->version) : 0;
        size_t locator = stamp->locator ? strlen(stamp->locator) : 0;

        if (engine == 0 || engine > NAME_ID_MAX || version > CS_VERSION_MAX ||
            locator > CS_LOCATOR_MAX || !state_is_known(stamp->state) || stamp->size > INT64_MAX ||
            stamp->mtime_nsec >= 1000000000)
                return -EINVAL;
        if (STAMP_FIXED + engine + version + locator > capacity)
                return -EMSGSIZE;

        p[0] = STAMP_MAGIC;
        p[1] = STAMP_FORMAT;
        p[2] = (uint8_t)stamp->state;
        p[3] = (uint8_t)stamp->flags;
        put(p + 4, stamp->ino, 8);
        put(p + 12, stamp->generation, 8);
        put(p + 20, stamp->size, 8);
        put(p + 28, (uint64_t)stamp->mtime_sec, 8);
        put(p + 36, stamp->mtime_nsec, 4);
        put(p + 40, stamp->boot, 4);
        put(p + 44, stamp->mode, 2);
        p[46] = (uint8_t)engine;
        p[47] = (uint8_t)version;
        put(p + 48, locator, 2);
        put(p + 50, stamp->parent, 8);
        put(p + 58, stamp->name, 4);
        put(p + 62, stamp->seal, 8);
        memcpy(p + STAMP_FIXED, stamp->engine, engine);
        if (version)
                memcpy(p + STAMP_FIXED + engine, stamp->version, version);
        if (locator)
                memcpy(p + STAMP_FIXED + engine + version, stamp->locator, locator);
        return (int)(STAMP_FIXED + engine + version + locator);
}

int stamp_decode(const void *data, size_t length, struct stamp *ret) {
        const uint8_t *p = data;
        size_t engine, version, locator;

        if (length < STAMP_FIXED || p[0] != STAMP_MAGIC || p[1] != STAMP_FORMAT ||
            !state_is_known(p[2]) || (p[3] & ~STAMP_FLAGS))
                return -EBADMSG;
        engine = p[46];
        version = p[47];
        locator = get(p + 48, 2);
        if (length != STAMP_FIXED + engine + version + locator || engine == 0 ||
            engine > NAME_ID_MAX || version > CS_VERSION_MAX || locator > CS_LOCATOR_MAX ||
            get(p + 20, 8) > INT64_MAX || get(p + 36, 4) >= 1000000000 ||
            memchr(p + STAMP_FIXED, 0, engine + version + locator))
                return -EBADMSG;

        *ret = (struct stamp){
                .state = p[2],
                .flags = p[3],
                .ino = get(p + 4, 8),
                .generation = get(p + 12, 8),
                .size = get(p + 20, 8),
                .mtime_sec = (int64_t)get(p + 28, 8),
                .mtime_nsec = (uint32_t)get(p + 36, 4),
                .boot = (uint32_t)get(p + 40, 4),
                .mode = (uint16_t)get(p + 44, 2),
                .parent = get(p + 50, 8),
                .name = (uint32_t)get(p + 58, 4),
                .seal = get(p + 62, 8),
                .engine = g_strndup((const char *)p + STAMP_FIXED, engine),
                .version = g_strndup((const char *)p + STAMP_FIXED + engine, version),
                .locator = g_strndup((const char *)p + STAMP_FIXED + engine + version, locator),
        };
        return 0;
}

/* The generation tells an inode from the next one of the same number. */
static int file_generation(int fd, uint64_t *ret) {
        int generation = 0; /* the kernel writes an int, whatever the macro's type says */

        if (ioctl(fd, FS_IOC_GETVERSION, &generation) < 0)
                return -errno;
        *ret = (uint32_t)generation;
        return 0;
}

int stamp_read_foreign(int fd, struct stamp *ret) {
        uint8_t buffer[STAMP_MAX];
        ssize_t n = fgetxattr(fd, STAMP_XATTR, buffer, sizeof buffer);

        if (n < 0)
                return errno == ERANGE ? -EBADMSG : -errno;
        return stamp_decode(buffer, (size_t)n, ret);
}

int stamp_read(int fd, uint64_t ino, struct stamp *ret) {
        uint64_t generation = 0;
        int r = stamp_read_foreign(fd, ret);

        if (r < 0)
                return r;
        r = file_generation(fd, &generation);
        if (r == 0 && (ret->ino != ino || ret->generation != generation))
                r = -ENODATA;
        if (r < 0)
                stamp_clear(ret);
        return r;
}

static int write_once(int fd, const struct stamp *stamp) {
        uint8_t buffer[STAMP_MAX];
        int n = stamp_encode(stamp, buffer, sizeof buffer);

        if (n < 0)
                return n;
        return fsetxattr(fd, STAMP_XATTR, buffer, (size_t)n, 0) < 0 ? -errno : 0;
}

/* A file that cannot be sealed counts as modified: that loses nothing. */
static int write_sealed(int fd, struct stamp *stamp) {
        int r = -EAGAIN;

        for (unsigned attempt = 0; attempt < SEAL_ATTEMPTS && r == -EAGAIN; attempt++) {
                stamp->seal = seal_begin(attempt);
                r = write_once(fd, stamp);
                if (r < 0)
                        return r;
                r = seal_end(fd, stamp->seal);
        }
        if (r == 0)
                return 0;
        stamp->seal = 0;
        return write_once(fd, stamp);
}

int stamp_write(int fd, struct stamp *stamp) {
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        stamp->ino = st.st_ino;
        r = file_generation(fd, &stamp->generation);
        if (r < 0)
                return r;
        if (stamp->state == STAMP_WHOLE && stamp->size > 0 && !(stamp->flags & STAMP_LOCAL))
                return write_sealed(fd, stamp);
        stamp->seal = 0;
        return write_once(fd, stamp);
}

/* The finisher of splitmix64: each input bit moves each output bit. */
static uint64_t mix(uint64_t x) {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        return x ^ (x >> 31);
}

int stamp_directory(int fd, uint64_t *ret) {
        uint64_t generation = 0;
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        r = file_generation(fd, &generation);
        if (r < 0)
                return r;
        *ret = mix(mix(st.st_ino + 0x9e3779b97f4a7c15u) + generation) | 1;
        return 0;
}

uint32_t stamp_name(const char *name) {
        uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

        for (const unsigned char *p = (const unsigned char *)name; *p; p++)
                hash = (hash ^ *p) * 0x100000001b3u;
        return (uint32_t)mix(hash);
}

bool stamp_has_size_and_date(const struct stamp *stamp, const struct stat *st) {
        return (uint64_t)st->st_size == stamp->size && st->st_mtim.tv_sec == stamp->mtime_sec &&
               (uint32_t)st->st_mtim.tv_nsec == stamp->mtime_nsec;
}

bool stamp_is_unmodified(const struct stamp *stamp, const struct stat *st) {
        if (stamp->flags & STAMP_LOCAL)
                return false;
        if (stamp->state == STAMP_SWITCHING)
                return true;
        if ((uint64_t)st->st_size != stamp->size)
                return false;
        if (stamp->state == STAMP_PLACEHOLDER)
                return true;
        if (!stamp_has_size_and_date(stamp, st))
                return false;
        return stamp->state != STAMP_WHOLE || stamp->size == 0 || !seal_is_broken(stamp->seal, st);
}

uint32_t stamp_boot(void) {
        static uint32_t boot;

        if (boot == 0) {
                g_autofree char *text = NULL;
                if (g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL))
                        boot = g_str_hash(text);
                if (boot == 0) /* unknown: never equal to what an earlier run wrote */
                        boot = g_random_int() | 1;
        }
        return boot;
}

bool stamp_matches(const struct stamp *stamp, const struct cs_entry *entry) {
        bool versioned = (stamp->flags & STAMP_HAS_VERSION) != 0;

        if (stamp->size != entry->size || versioned != (entry->version != NULL))
                return false;
        if (versioned)
                return strcmp(stamp->version, entry->version) == 0;
        return stamp->mtime_sec == entry->mtime_sec && stamp->mtime_nsec == entry->mtime_nsec;
}

bool stamp_same_version(const struct stamp *a, const struct stamp *b) {
        return a->size == b->size && ((a->flags ^ b->flags) & STAMP_HAS_VERSION) == 0 &&
               strcmp(a->version, b->version) == 0 && a->mtime_sec == b->mtime_sec &&
               a->mtime_nsec == b->mtime_nsec;
}

void stamp_set_entry(struct stamp *stamp, const struct cs_entry *entry) {
        g_free(stamp->version);
        stamp->version = g_strdup(entry->version ? entry->version : "");
        stamp->flags = entry->version ? STAMP_HAS_VERSION : 0;
        stamp->size = entry->size;
        stamp->mtime_sec = entry->mtime_sec;
        stamp->mtime_nsec = entry->mtime_nsec;
        stamp->mode = (uint16_t)(entry->mode & 0777);
}
