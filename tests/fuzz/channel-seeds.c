/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Writes the seeds of channel-parse and channel-entry below a directory (run it from
 * here with "seeds" when the protocol changes). */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cloudsync/engine.h"
#include "shared/channel.h"

static const char *base;

static void save(const char *target, const char *name, const void *bytes, size_t n) {
        char path[4096];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", base, target);
        (void)mkdir(path, 0755);
        (void)snprintf(path, sizeof(path), "%s/%s/%s", base, target, name);
        f = fopen(path, "wb");
        if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) {
                perror(path);
                exit(1);
        }
}

static void save_message(const char *suffix, struct channel_message m) {
        char packet[CHANNEL_PACKET_MAX], name[64];
        int n = channel_build(&m, packet, sizeof(packet));

        if (n < 0)
                exit(1);
        (void)snprintf(name, sizeof(name), "%s%s", channel_type_name(m.type), suffix);
        save("channel-parse", name, packet, (size_t)n);
}

#define SAVE(suffix, ...) save_message(suffix, (struct channel_message){__VA_ARGS__})

int main(int argc, char **argv) {
        struct cs_entry entries[] = {
                {.kind = CS_KIND_FILE, .name = "a", .locator = "a", .version = "\"5f-1\"",
                 .size = 4096, .mtime_sec = 1700000000, .mtime_nsec = 5},
                {.kind = CS_KIND_DIRECTORY, .name = "dir", .locator = "dir"},
                {.kind = CS_KIND_UNKNOWN, .name = "secret", .locator = "secret"},
                {.kind = CS_KIND_FILE, .name = "b c\n", .locator = "dir/b%20c", .mode = 0400},
        };
        char slot[4096];
        size_t used = 0;

        if (argc != 2)
                return 2;
        base = argv[1];
        SAVE("", .type = CHANNEL_HELLO, .version = CHANNEL_VERSION, .id = "id", .module = "httpfs",
             .state_dir = "/var/lib/cloudsync/engines/id");
        SAVE("", .type = CHANNEL_SETTING, .key = "url", .value = "http://example.net/");
        SAVE("", .type = CHANNEL_START);
        SAVE("", .type = CHANNEL_LIST, .request = 1, .locator = "a/b");
        SAVE("-root", .type = CHANNEL_LIST, .request = 1);
        SAVE("", .type = CHANNEL_STAT, .request = 2, .locator = "a");
        SAVE("", .type = CHANNEL_FETCH, .request = 3, .locator = "a/b", .offset = 4096,
             .length = 8192, .size = 100000, .mtime_sec = 1700000000, .mtime_nsec = 1,
             .has_version = true, .file_version = "\"5f-1\"");
        SAVE("-unversioned", .type = CHANNEL_FETCH, .request = 4, .locator = "c", .length = 1,
             .size = 1);
        SAVE("", .type = CHANNEL_CANCEL, .request = 3);
        SAVE("", .type = CHANNEL_RELEASE, .slot = 7);
        SAVE("", .type = CHANNEL_QUIT);
        SAVE("", .type = CHANNEL_PING);
        SAVE("", .type = CHANNEL_READY, .flags = 1, .max_requests = 32);
        SAVE("", .type = CHANNEL_FAILED, .result = -ENOENT, .detail = "there is no module");
        SAVE("", .type = CHANNEL_ENTRIES, .request = 1, .slot = 3, .length = 200, .count = 3);
        SAVE("", .type = CHANNEL_DATA, .request = 3, .slot = 4, .length = 8192, .offset = 4096);
        SAVE("", .type = CHANNEL_DONE, .request = 3);
        SAVE("-error", .type = CHANNEL_DONE, .request = 3, .result = -ECONNRESET,
             .retry_after_ms = 1000, .skipped = 2, .detail = "the server closed the connection");
        SAVE("", .type = CHANNEL_CHANGED, .locator = "a");
        SAVE("", .type = CHANNEL_PONG);
        SAVE("", .type = CHANNEL_LOGIN, .request = 5, .step = CS_LOGIN_FINISH, .text = "code");
        SAVE("", .type = CHANNEL_CONDITION, .condition = CS_CONDITION_NEEDS_LOGIN,
             .detail = "nobody is logged in");

        for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
                char name[32];
                size_t one = 0;

                if (channel_entry_append(slot, sizeof(slot), &one, &entries[i]) < 0)
                        return 1;
                (void)snprintf(name, sizeof(name), "one-%zu", i);
                save("channel-entry", name, slot, one);
        }
        for (size_t i = 0; i < 6; i++)
                if (channel_entry_append(slot, sizeof(slot), &used, &entries[i % 3]) < 0)
                        return 1;
        save("channel-entry", "six", slot, used);
        return 0;
}
