/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any bytes as a packet: refused, or one message in bounds that is built back into the
 * very same bytes. */

#include <limits.h>
#include <string.h>

#include "cloudsync/engine.h"
#include "fuzz.h"
#include "shared/channel.h"

static void check_string(const char *s, const uint8_t *data, size_t size, size_t max) {
        FUZZ_CHECK(s);
        FUZZ_CHECK(strlen(s) <= max);
        FUZZ_CHECK(!*s || ((const uint8_t *)s >= data && (const uint8_t *)s < data + size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static uint8_t again[CHANNEL_PACKET_MAX];
        struct channel_message m;
        int length;

        if (channel_parse(data, size, &m) < 0)
                return 0;
        FUZZ_CHECK(m.slot < CHANNEL_SLOTS);
        FUZZ_CHECK(m.result <= 0 && m.result >= -4095);
        FUZZ_CHECK(m.max_requests <= CHANNEL_REQUESTS_MAX);
        FUZZ_CHECK(m.offset <= INT64_MAX && m.length <= INT64_MAX && m.size <= INT64_MAX);
        if (m.type == CHANNEL_FETCH)
                FUZZ_CHECK(m.length >= 1 && m.offset + m.length <= m.size && *m.locator);
        if (m.type == CHANNEL_DATA || m.type == CHANNEL_ENTRIES)
                FUZZ_CHECK(m.length >= 1 && m.length <= CHANNEL_SLOT_SIZE);
        check_string(m.locator, data, size, CS_LOCATOR_MAX);
        check_string(m.file_version, data, size, CS_VERSION_MAX);
        check_string(m.detail, data, size, CHANNEL_DETAIL_MAX);
        check_string(m.key, data, size, 64);
        check_string(m.value, data, size, 8192);

        length = channel_build(&m, again, sizeof(again));
        FUZZ_CHECK(length >= 0 && (size_t)length == size);
        FUZZ_CHECK(memcmp(again, data, size) == 0);
        return 0;
}
