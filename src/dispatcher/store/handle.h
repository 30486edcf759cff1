/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* handle — a file to be found again without its path and without holding it open */

#include <stdbool.h>
#include <stdint.h>

#define HANDLE_BYTES_MAX 40u /* ext4 8, xfs 12 to 24, btrfs 20 to 40 */

struct handle {
        int32_t type;
        uint32_t length;
        uint8_t bytes[HANDLE_BYTES_MAX];
};

/* Of an open file, O_PATH or not. 0 or -errno. */
int handle_take(int fd, struct handle *ret);
bool handle_is_same(const struct handle *a, const struct handle *b);
/* `mount`: any descriptor of the mount to open it through. A new descriptor, or -errno
 * (-ESTALE: the file is gone). */
int handle_open(int mount, const struct handle *handle, int flags);
