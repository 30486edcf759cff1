/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * channel-entry — directory entries in a slot; see channel.h
 *
 * An entry is a struct wire_entry (packed, host byte order) and three strings, each
 * with a NUL that its length does not count:
 *
 *     kind flags mode  name locator version lengths  size mtime  name\0 locator\0 version\0
 *
 * A missing version is an empty one; one that is there is never empty. For
 * what is no file version and size are absent and 0. append() makes entries
 * canonical (permission defaults filled in) and applies the same checks as next().
 */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "cloudsync/engine.h"
#include "shared/channel.h"
#include "shared/names.h"

struct wire_entry {
        uint8_t kind;
        uint8_t reserved; /* 0 */
        uint16_t mode;
        uint16_t name_length, locator_length, version_length;
        uint16_t padding; /* 0 */
        uint32_t mtime_nsec;
        uint64_t size;
        int64_t mtime_sec;
} __attribute__((packed));

static bool entry_valid(const struct cs_entry *e) {
        size_t locator_length = strnlen(e->locator, CS_LOCATOR_MAX + 1);

        if (e->kind != CS_KIND_FILE && e->kind != CS_KIND_DIRECTORY && e->kind != CS_KIND_UNKNOWN)
                return false;
        if (!name_is_component(e->name) || locator_length < 1 || locator_length > CS_LOCATOR_MAX)
                return false;
        if (e->size > INT64_MAX || e->mtime_nsec > 999999999 || e->mode > 0777 || e->flags != 0)
                return false;
        if (e->kind != CS_KIND_FILE)
                return e->size == 0 && !e->version;
        return !e->version || (*e->version && strnlen(e->version, CS_VERSION_MAX + 1) <=
                                                      CS_VERSION_MAX);
}

static char *put_string(char *to, const char *s, size_t length) {
        memcpy(to, s, length);
        to[length] = '\0';
        return to + length + 1;
}

int channel_entry_append(void *slot, size_t capacity, size_t *used, const struct cs_entry *entry) {
        struct cs_entry e = *entry;
        struct wire_entry wire = {0};
        size_t need;
        char *to;

        if (e.kind != CS_KIND_FILE) {
                e.version = NULL;
                e.size = 0;
        }
        if (e.version && !*e.version)
                e.version = NULL;
        if (e.mode == 0)
                e.mode = e.kind == CS_KIND_DIRECTORY ? 0755 : 0644;
        if (!e.name || !e.locator || !entry_valid(&e))
                return -EINVAL;

        wire.kind = (uint8_t)e.kind;
        wire.mode = (uint16_t)e.mode;
        wire.name_length = (uint16_t)strlen(e.name);
        wire.locator_length = (uint16_t)strlen(e.locator);
        wire.version_length = e.version ? (uint16_t)strlen(e.version) : 0;
        wire.mtime_nsec = e.mtime_nsec;
        wire.size = e.size;
        wire.mtime_sec = e.mtime_sec;

        need = sizeof(wire) + wire.name_length + wire.locator_length + wire.version_length + 3u;
        if (need > capacity - *used)
                return -ENOSPC;
        to = (char *)slot + *used;
        memcpy(to, &wire, sizeof(wire));
        to = put_string(to + sizeof(wire), e.name, wire.name_length);
        to = put_string(to, e.locator, wire.locator_length);
        (void)put_string(to, e.version ? e.version : "", wire.version_length);
        *used += need;
        return 0;
}

/* A string of `n` bytes and its NUL at *from, with no other NUL in it. */
static const char *take_string(const char **from, size_t n) {
        const char *s = *from;

        if (memchr(s, '\0', n + 1) != s + n)
                return NULL;
        *from = s + n + 1;
        return s;
}

int channel_entry_next(const void *data, size_t length, size_t *position, struct cs_entry *ret) {
        struct wire_entry wire;
        struct cs_entry e = {0};
        const char *from;
        size_t left = length - *position, need;

        if (left == 0)
                return 0;
        if (left < sizeof(wire))
                return -EBADMSG;
        from = (const char *)data + *position;
        memcpy(&wire, from, sizeof(wire));
        need = sizeof(wire) + wire.name_length + wire.locator_length + wire.version_length + 3u;
        if (need > left || wire.reserved || wire.padding)
                return -EBADMSG;

        from += sizeof(wire);
        e.name = take_string(&from, wire.name_length);
        e.locator = take_string(&from, wire.locator_length);
        e.version = take_string(&from, wire.version_length);
        if (!e.name || !e.locator || !e.version)
                return -EBADMSG;
        if (wire.version_length == 0)
                e.version = NULL;
        e.kind = (enum cs_kind)wire.kind;
        e.mode = wire.mode;
        e.mtime_nsec = wire.mtime_nsec;
        e.size = wire.size;
        e.mtime_sec = wire.mtime_sec;
        if (!entry_valid(&e) || e.mode == 0)
                return -EBADMSG;
        *position += need;
        *ret = e;
        return 1;
}
