/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any bytes as a slot of entries: each entry that is taken is in bounds and is
 * stored back as the very same bytes. */

#include <limits.h>
#include <string.h>

#include "cloudsync/engine.h"
#include "fuzz.h"
#include "shared/channel.h"

static void check_entry(const struct cs_entry *e) {
        FUZZ_CHECK(e->kind >= CS_KIND_FILE && e->kind <= CS_KIND_UNKNOWN);
        FUZZ_CHECK(*e->name && strlen(e->name) <= CS_NAME_MAX && !strchr(e->name, '/'));
        FUZZ_CHECK(strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0);
        FUZZ_CHECK(*e->locator && strlen(e->locator) <= CS_LOCATOR_MAX);
        FUZZ_CHECK(!e->version || (*e->version && strlen(e->version) <= CS_VERSION_MAX));
        FUZZ_CHECK(e->size <= INT64_MAX && e->mtime_nsec < 1000000000);
        FUZZ_CHECK(e->mode >= 1 && e->mode <= 0777 && e->flags == 0);
        FUZZ_CHECK(e->kind == CS_KIND_FILE || (e->size == 0 && !e->version));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static uint8_t again[CHANNEL_SLOT_SIZE];
        size_t position = 0;
        struct cs_entry e;
        int r;

        for (;;) {
                size_t begin = position, used = 0;

                r = channel_entry_next(data, size, &position, &e);
                if (r != 1)
                        break;
                FUZZ_CHECK(position > begin && position <= size);
                check_entry(&e);
                FUZZ_CHECK(channel_entry_append(again, sizeof(again), &used, &e) == 0);
                FUZZ_CHECK(used == position - begin && memcmp(again, data + begin, used) == 0);
        }
        FUZZ_CHECK(r < 0 || position == size);
        return 0;
}
