/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any bytes as a stamp: one that is taken is in bounds and is written again as the very same bytes. As a
 * name in the attic: what is taken is a handle in bounds and a proper name. */

#include <glib.h>
#include <string.h>

#include "cloudsync/engine.h"
#include "dispatcher/tree/attic-name.h"
#include "dispatcher/store/stamp.h"
#include "fuzz.h"
#include "shared/names.h"

static void check_stamp(const uint8_t *data, size_t size) {
        uint8_t again[STAMP_MAX];
        struct stamp stamp;

        if (size > STAMP_MAX || stamp_decode(data, size, &stamp) < 0)
                return;
        FUZZ_CHECK(*stamp.engine && strlen(stamp.engine) <= NAME_ID_MAX);
        FUZZ_CHECK(strlen(stamp.version) <= CS_VERSION_MAX && strlen(stamp.locator) <= CS_LOCATOR_MAX);
        FUZZ_CHECK(stamp.size <= INT64_MAX && stamp.mtime_nsec < 1000000000);
        FUZZ_CHECK(stamp_encode(&stamp, again, sizeof again) == (int)size && memcmp(again, data, size) == 0);
        stamp_clear(&stamp);
}

static void check_name(const uint8_t *data, size_t size) {
        g_autofree char *text = g_strndup((const char *)data, size);
        struct handle handle;
        const char *name;
        uint64_t key;

        if (!attic_name_parse(text, &key, &handle, &name))
                return;
        FUZZ_CHECK(handle.length <= HANDLE_BYTES_MAX);
        FUZZ_CHECK(name_is_component(name) && name > text && g_str_has_suffix(text, name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        check_stamp(data, size);
        check_name(data, size);
        return 0;
}
