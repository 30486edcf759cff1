/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/content-hash.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

uint64_t content_hash_blocks(uint64_t size) {
        return size / CONTENT_HASH_BLOCK + (size % CONTENT_HASH_BLOCK != 0);
}

void content_hash_combine(const uint8_t *digests, size_t n, uint8_t ret[static CONTENT_HASH_SIZE]) {
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
        gsize length = CONTENT_HASH_SIZE;

        if (n > 0)
                g_checksum_update(sum, digests, (gssize)(n * CONTENT_HASH_SIZE));
        g_checksum_get_digest(sum, ret, &length);
}

int content_hash_parse(const char *hex, uint8_t ret[static CONTENT_HASH_SIZE]) {
        if (strlen(hex) != 2 * CONTENT_HASH_SIZE)
                return -EINVAL;
        for (size_t i = 0; i < CONTENT_HASH_SIZE; i++) {
                int high = g_ascii_xdigit_value(hex[2 * i]);
                int low = g_ascii_xdigit_value(hex[2 * i + 1]);

                if (high < 0 || low < 0)
                        return -EINVAL;
                ret[i] = (uint8_t)(high << 4 | low);
        }
        return 0;
}
