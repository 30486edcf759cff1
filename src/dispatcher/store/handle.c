/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/store/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

/* struct file_handle with room, without a flexible member in the middle of another. */
union file_handle_room {
        struct file_handle handle;
        char room[offsetof(struct file_handle, f_handle) + HANDLE_BYTES_MAX];
};

int handle_take(int fd, struct handle *ret) {
        union file_handle_room u;
        int mount_id;

        u.handle.handle_bytes = HANDLE_BYTES_MAX;
        if (name_to_handle_at(fd, "", &u.handle, &mount_id, AT_EMPTY_PATH) < 0)
                return -errno;
        ret->type = u.handle.handle_type;
        ret->length = u.handle.handle_bytes;
        memcpy(ret->bytes, u.handle.f_handle, u.handle.handle_bytes);
        return 0;
}

bool handle_is_same(const struct handle *a, const struct handle *b) {
        return a->type == b->type && a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

int handle_open(int mount, const struct handle *handle, int flags) {
        union file_handle_room u;
        int fd;

        u.handle.handle_type = handle->type;
        u.handle.handle_bytes = handle->length;
        memcpy(u.handle.f_handle, handle->bytes, handle->length);
        fd = open_by_handle_at(mount, &u.handle, flags | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}
