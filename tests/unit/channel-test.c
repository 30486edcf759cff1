/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* channel: every message there and back, every bound, entries, descriptors, slots */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib.h>

#include "cloudsync/engine.h"
#include "shared/channel.h"
#include "shared/fd.h"

static char *repeat(char c, size_t n) {
        char *s = g_malloc(n + 1);

        memset(s, c, n);
        s[n] = '\0';
        return s;
}

static void assert_equal(const struct channel_message *a, const struct channel_message *b) {
        g_assert_cmpint(a->type, ==, b->type);
        g_assert_cmpuint(a->request, ==, b->request);
        g_assert_cmpuint(a->version, ==, b->version);
        g_assert_cmpuint(a->flags, ==, b->flags);
        g_assert_cmpuint(a->max_requests, ==, b->max_requests);
        g_assert_cmpuint(a->offset, ==, b->offset);
        g_assert_cmpuint(a->length, ==, b->length);
        g_assert_cmpuint(a->size, ==, b->size);
        g_assert_cmpint(a->mtime_sec, ==, b->mtime_sec);
        g_assert_cmpuint(a->mtime_nsec, ==, b->mtime_nsec);
        g_assert_cmpuint(a->slot, ==, b->slot);
        g_assert_cmpuint(a->count, ==, b->count);
        g_assert_cmpint(a->result, ==, b->result);
        g_assert_cmpuint(a->retry_after_ms, ==, b->retry_after_ms);
        g_assert_cmpuint(a->skipped, ==, b->skipped);
        g_assert_cmpint(a->has_version, ==, b->has_version);
        g_assert_cmpstr(a->id, ==, b->id ?: "");
        g_assert_cmpstr(a->module, ==, b->module ?: "");
        g_assert_cmpstr(a->state_dir, ==, b->state_dir ?: "");
        g_assert_cmpstr(a->key, ==, b->key ?: "");
        g_assert_cmpstr(a->value, ==, b->value ?: "");
        g_assert_cmpstr(a->locator, ==, b->locator ?: "");
        g_assert_cmpstr(a->file_version, ==, b->file_version ?: "");
        g_assert_cmpstr(a->detail, ==, b->detail ?: "");
        g_assert_cmpstr(a->text, ==, b->text ?: "");
        g_assert_cmpuint(a->step, ==, b->step);
        g_assert_cmpuint(a->condition, ==, b->condition);
}

#define M(...) (&(struct channel_message){__VA_ARGS__})

static const struct channel_message *const *samples(size_t *ret_n) {
        static const struct channel_message list[] = {
                {.type = CHANNEL_HELLO, .version = CHANNEL_VERSION, .id = "id", .module = "mod",
                 .state_dir = "/var/lib/x"},
                {.type = CHANNEL_HELLO, .version = 77, .id = "id", .module = "mod"},
                {.type = CHANNEL_SETTING, .key = "url", .value = "http://[::1]/"},
                {.type = CHANNEL_SETTING, .key = "empty"},
                {.type = CHANNEL_START},
                {.type = CHANNEL_LIST, .request = 1},
                {.type = CHANNEL_LIST, .request = UINT64_MAX, .locator = "a/b"},
                {.type = CHANNEL_STAT, .request = 2, .locator = "x\n\xff"},
                {.type = CHANNEL_FETCH, .request = 3, .locator = "f", .offset = 10, .length = 20,
                 .size = 30, .mtime_sec = -5, .mtime_nsec = 999999999, .has_version = true,
                 .file_version = "\"etag\""},
                {.type = CHANNEL_FETCH, .request = 3, .locator = "f", .length = INT64_MAX,
                 .size = INT64_MAX, .mtime_sec = INT64_MIN},
                {.type = CHANNEL_FETCH, .request = 3, .locator = "f", .length = 1, .size = 1,
                 .has_version = true},
                {.type = CHANNEL_CANCEL, .request = 4},
                {.type = CHANNEL_RELEASE, .slot = CHANNEL_SLOTS - 1},
                {.type = CHANNEL_QUIT},
                {.type = CHANNEL_PING},
                {.type = CHANNEL_PONG},
                {.type = CHANNEL_READY, .flags = 3, .max_requests = CHANNEL_REQUESTS_MAX},
                {.type = CHANNEL_FAILED, .result = -ENOENT, .detail = "no such thing"},
                {.type = CHANNEL_ENTRIES, .request = 5, .slot = 1, .length = CHANNEL_SLOT_SIZE,
                 .count = 17},
                {.type = CHANNEL_DATA, .request = 6, .slot = 0, .length = 1,
                 .offset = INT64_MAX - 1},
                {.type = CHANNEL_DONE, .request = 7},
                {.type = CHANNEL_DONE, .request = 7, .result = -EIO, .retry_after_ms = UINT32_MAX,
                 .skipped = 3, .detail = "because"},
                {.type = CHANNEL_CHANGED, .locator = "dir"},
                {.type = CHANNEL_CHANGED},
                {.type = CHANNEL_LOGIN, .request = 8, .step = CS_LOGIN_BEGIN},
                {.type = CHANNEL_LOGIN, .request = 8, .step = CS_LOGIN_FINISH, .text = "code"},
                {.type = CHANNEL_CONDITION, .detail = "listing"},
                {.type = CHANNEL_CONDITION, .condition = CS_CONDITION_NEEDS_LOGIN, .detail = "why"},
        };
        static const struct channel_message *pointers[G_N_ELEMENTS(list)];

        for (size_t i = 0; i < G_N_ELEMENTS(list); i++)
                pointers[i] = &list[i];
        *ret_n = G_N_ELEMENTS(list);
        return pointers;
}

static void test_there_and_back(void) {
        size_t n;
        const struct channel_message *const *list = samples(&n);

        for (size_t i = 0; i < n; i++) {
                char packet[CHANNEL_PACKET_MAX], again[CHANNEL_PACKET_MAX];
                struct channel_message m;
                int length = channel_build(list[i], packet, sizeof(packet));

                g_assert_cmpint(length, >, 0);
                g_assert_cmpint(channel_parse(packet, (size_t)length, &m), ==, 0);
                assert_equal(&m, list[i]);
                g_assert_cmpint(channel_build(&m, again, sizeof(again)), ==, length);
                g_assert_cmpmem(again, length, packet, length);

                /* Nothing shorter, nothing longer, and no smaller room is enough. */
                for (int cut = 0; cut < length; cut++) {
                        g_autofree char *copy = g_memdup2(packet, (size_t)cut);

                        g_assert_cmpint(channel_parse(copy, (size_t)cut, &m), ==, -EBADMSG);
                        g_assert_cmpint(channel_build(list[i], again, (size_t)cut), ==, -EMSGSIZE);
                }
                packet[length] = 0;
                g_assert_cmpint(channel_parse(packet, (size_t)length + 1, &m), ==, -EBADMSG);
        }
}

/* Whatever is accepted after one changed byte is still one canonical message. */
static void test_changed_bytes(void) {
        size_t n, accepted = 0;
        const struct channel_message *const *list = samples(&n);

        for (size_t i = 0; i < n; i++) {
                char packet[CHANNEL_PACKET_MAX], again[CHANNEL_PACKET_MAX];
                int length = channel_build(list[i], packet, sizeof(packet));

                for (int at = 0; at < length; at++)
                        for (int value = 0; value < 256; value += 1) {
                                struct channel_message m;
                                char old = packet[at];

                                packet[at] = (char)value;
                                if (channel_parse(packet, (size_t)length, &m) == 0) {
                                        accepted++;
                                        g_assert_cmpint(channel_build(&m, again, sizeof(again)), ==,
                                                        length);
                                        g_assert_cmpmem(again, length, packet, length);
                                }
                                packet[at] = old;
                        }
        }
        g_assert_cmpuint(accepted, >, 1000);
}

static void test_bounds(void) {
        g_autofree char *locator = repeat('l', CS_LOCATOR_MAX), *locator1 = repeat('l', CS_LOCATOR_MAX + 1);
        g_autofree char *version = repeat('v', CS_VERSION_MAX), *version1 = repeat('v', CS_VERSION_MAX + 1);
        g_autofree char *value = repeat('x', 8192), *value1 = repeat('x', 8193);
        g_autofree char *detail1 = repeat('d', CHANNEL_DETAIL_MAX + 1);
        g_autofree char *text = repeat('t', CS_LOGIN_TEXT_MAX), *text1 = repeat('t', CS_LOGIN_TEXT_MAX + 1);
        const struct channel_message *good[] = {
                M(.type = CHANNEL_LOGIN, .request = 1, .step = CS_LOGIN_FINISH, .text = text),
                M(.type = CHANNEL_LIST, .request = 1, .locator = locator),
                M(.type = CHANNEL_SETTING, .key = "k", .value = value),
                M(.type = CHANNEL_FETCH, .request = 1, .locator = locator, .length = 1, .size = 1,
                  .has_version = true, .file_version = version),
        };
        const struct channel_message *bad[] = {
                M(.type = 0), M(.type = CHANNEL_LOGIN + 1), M(.type = CHANNEL_READY - 1),
                M(.type = CHANNEL_CONDITION + 1), M(.type = -1),
                M(.type = CHANNEL_LIST, .request = 0),
                M(.type = CHANNEL_LIST, .request = 1, .locator = locator1),
                M(.type = CHANNEL_SETTING, .key = "", .value = "v"),
                M(.type = CHANNEL_SETTING, .key = "a b", .value = "v"),
                M(.type = CHANNEL_SETTING, .key = "k", .value = value1),
                M(.type = CHANNEL_HELLO, .id = "Bad", .module = "m"),
                M(.type = CHANNEL_HELLO, .id = "i", .module = "../m"),
                M(.type = CHANNEL_HELLO, .id = "i"),
                M(.type = CHANNEL_FETCH, .request = 1, .locator = "", .length = 1, .size = 1),
                M(.type = CHANNEL_FETCH, .request = 1, .locator = "f", .length = 0, .size = 1),
                M(.type = CHANNEL_FETCH, .request = 1, .locator = "f", .length = 2, .size = 1),
                M(.type = CHANNEL_FETCH, .request = 1, .locator = "f", .offset = 1, .length = 1,
                  .size = 1),
                M(.type = CHANNEL_FETCH, .request = 1, .locator = "f", .offset = INT64_MAX,
                  .length = INT64_MAX, .size = INT64_MAX),
                M(.type = CHANNEL_FETCH, .request = 1, .locator = "f", .length = 1,
                  .size = (uint64_t)INT64_MAX + 1),
                M(.type = CHANNEL_FETCH, .request = 1, .locator = "f", .length = 1, .size = 1,
                  .mtime_nsec = 1000000000),
                M(.type = CHANNEL_FETCH, .request = 1, .locator = "f", .length = 1, .size = 1,
                  .has_version = true, .file_version = version1),
                M(.type = CHANNEL_FETCH, .request = 1, .locator = "f", .length = 1, .size = 1,
                  .file_version = "v"),
                M(.type = CHANNEL_CANCEL),
                M(.type = CHANNEL_RELEASE, .slot = CHANNEL_SLOTS),
                M(.type = CHANNEL_READY, .max_requests = 0),
                M(.type = CHANNEL_READY, .max_requests = CHANNEL_REQUESTS_MAX + 1),
                M(.type = CHANNEL_FAILED, .result = 0),
                M(.type = CHANNEL_FAILED, .result = -4096),
                M(.type = CHANNEL_FAILED, .result = -1, .detail = detail1),
                M(.type = CHANNEL_ENTRIES, .request = 1, .length = 1, .count = 0),
                M(.type = CHANNEL_ENTRIES, .request = 1, .length = 1, .count = 2),
                M(.type = CHANNEL_ENTRIES, .request = 1, .length = CHANNEL_SLOT_SIZE + 1,
                  .count = 1),
                M(.type = CHANNEL_DATA, .request = 1, .length = 0),
                M(.type = CHANNEL_DATA, .request = 1, .length = CHANNEL_SLOT_SIZE + 1),
                M(.type = CHANNEL_DATA, .request = 1, .length = 2, .offset = INT64_MAX - 1),
                M(.type = CHANNEL_DATA, .request = 1, .length = 1, .slot = CHANNEL_SLOTS),
                M(.type = CHANNEL_LOGIN, .request = 1),
                M(.type = CHANNEL_LOGIN, .request = 1, .step = CS_LOGIN_LOGOUT + 1),
                M(.type = CHANNEL_LOGIN, .step = CS_LOGIN_BEGIN),
                M(.type = CHANNEL_LOGIN, .request = 1, .step = CS_LOGIN_FINISH, .text = text1),
                M(.type = CHANNEL_CONDITION, .condition = CS_CONDITION_NEEDS_LOGIN + 1),
                M(.type = CHANNEL_CONDITION, .detail = detail1),
                M(.type = CHANNEL_DONE, .request = 1, .result = 1),
                M(.type = CHANNEL_DONE, .request = 1, .result = INT32_MIN),
        };
        char packet[CHANNEL_PACKET_MAX];

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
                g_assert_cmpint(channel_build(good[i], packet, sizeof(packet)), >, 0);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                int r = channel_build(bad[i], packet, sizeof(packet));

                if (r != -EINVAL)
                        g_error("bad message %zu was built: %d", i, r);
        }
}

/* By hand, so that parse is not only asked about what build makes. */
static void test_parse_strings(void) {
        struct channel_message m;
        char long_string[8 + 4 + 2 + CS_LOCATOR_MAX + 2];
        uint16_t n = CS_LOCATOR_MAX + 1;
        static const char inner_nul[] = "\x04\0\0\0" "\1\0\0\0\0\0\0\0" "\3\0" "a\0b";
        static const char no_nul[] = "\x04\0\0\0" "\1\0\0\0\0\0\0\0" "\3\0" "abcd";
        static const char good[] = "\x04\0\0\0" "\1\0\0\0\0\0\0\0" "\3\0" "abc";

        g_assert_cmpint(CHANNEL_LIST, ==, 4);
        g_assert_cmpint(channel_parse(good, sizeof(good), &m), ==, 0);
        g_assert_cmpstr(m.locator, ==, "abc");
        g_assert_cmpint(channel_parse(inner_nul, sizeof(inner_nul), &m), ==, -EBADMSG);
        g_assert_cmpint(channel_parse(no_nul, sizeof(no_nul) - 1, &m), ==, -EBADMSG);

        memset(long_string, 'x', sizeof(long_string));
        memcpy(long_string, good, 12);
        memcpy(long_string + 12, &n, 2);
        long_string[14 + n] = '\0';
        g_assert_cmpint(channel_parse(long_string, 14u + n + 1, &m), ==, -EBADMSG);
        g_assert_cmpint(channel_parse("", 0, &m), ==, -EBADMSG);
}

static void test_types(void) {
        g_assert_false(channel_type_is_from_host(CHANNEL_HELLO));
        g_assert_false(channel_type_is_from_host(CHANNEL_QUIT));
        g_assert_true(channel_type_is_from_host(CHANNEL_READY));
        g_assert_true(channel_type_is_from_host(CHANNEL_CHANGED));
        g_assert_cmpstr(channel_type_name(CHANNEL_FETCH), ==, "FETCH");
        g_assert_cmpstr(channel_type_name(99), ==, "?");
}

#define E(...) (&(struct cs_entry){__VA_ARGS__})

static void test_entries(void) {
        g_autofree char *slot = g_malloc(CHANNEL_SLOT_SIZE);
        size_t used = 0, position = 0, full;
        struct cs_entry e;
        int r, n = 0;

        g_assert_cmpint(channel_entry_append(slot, CHANNEL_SLOT_SIZE, &used,
                                             E(.kind = CS_KIND_FILE, .name = "f\n", .locator = "l",
                                               .version = "v", .size = INT64_MAX, .mtime_sec = -1,
                                               .mtime_nsec = 999999999, .mode = 0400)), ==, 0);
        g_assert_cmpint(channel_entry_append(slot, CHANNEL_SLOT_SIZE, &used,
                                             E(.kind = CS_KIND_DIRECTORY, .name = "d",
                                               .locator = "m", .version = "x", .size = 7)), ==, 0);
        g_assert_cmpint(channel_entry_append(slot, CHANNEL_SLOT_SIZE, &used,
                                             E(.kind = CS_KIND_FILE, .name = "g", .locator = "n",
                                               .version = "")), ==, 0);
        g_assert_cmpint(channel_entry_append(slot, CHANNEL_SLOT_SIZE, &used,
                                             E(.kind = CS_KIND_UNKNOWN, .name = "u",
                                               .locator = "o", .version = "x", .size = 7)), ==, 0);

        g_assert_cmpint(channel_entry_next(slot, used, &position, &e), ==, 1);
        g_assert_cmpint(e.kind, ==, CS_KIND_FILE);
        g_assert_cmpstr(e.name, ==, "f\n");
        g_assert_cmpstr(e.locator, ==, "l");
        g_assert_cmpstr(e.version, ==, "v");
        g_assert_cmpuint(e.size, ==, INT64_MAX);
        g_assert_cmpint(e.mtime_sec, ==, -1);
        g_assert_cmpuint(e.mtime_nsec, ==, 999999999);
        g_assert_cmpuint(e.mode, ==, 0400);
        g_assert_cmpint(channel_entry_next(slot, used, &position, &e), ==, 1);
        g_assert_cmpint(e.kind, ==, CS_KIND_DIRECTORY);
        g_assert_null(e.version);
        g_assert_cmpuint(e.size, ==, 0);
        g_assert_cmpuint(e.mode, ==, 0755);
        g_assert_cmpint(channel_entry_next(slot, used, &position, &e), ==, 1);
        g_assert_null(e.version);
        g_assert_cmpuint(e.mode, ==, 0644);
        g_assert_cmpint(channel_entry_next(slot, used, &position, &e), ==, 1);
        g_assert_cmpint(e.kind, ==, CS_KIND_UNKNOWN);
        g_assert_null(e.version);
        g_assert_cmpuint(e.size, ==, 0);
        g_assert_cmpint(channel_entry_next(slot, used, &position, &e), ==, 0);
        g_assert_cmpuint(position, ==, used);

        /* Cut anywhere: the entries before the cut, then an error, and no step outside. */
        for (size_t cut = 1; cut < used; cut++) {
                g_autofree char *copy = g_memdup2(slot, cut);

                for (position = 0; (r = channel_entry_next(copy, cut, &position, &e)) == 1;)
                        ;
                g_assert_true(r == -EBADMSG || position == cut);
        }

        /* Full: refused as a whole, the slot stays valid. */
        for (used = 0; (r = channel_entry_append(slot, 1000, &used,
                                                 E(.kind = CS_KIND_FILE, .name = "name",
                                                   .locator = "locator"))) == 0; n++)
                ;
        g_assert_cmpint(r, ==, -ENOSPC);
        full = used;
        g_assert_cmpint(channel_entry_append(slot, 1000, &used,
                                             E(.kind = CS_KIND_FILE, .name = "name",
                                               .locator = "locator")), ==, -ENOSPC);
        g_assert_cmpuint(used, ==, full);
        for (position = 0; channel_entry_next(slot, used, &position, &e) == 1; n--)
                ;
        g_assert_cmpint(n, ==, 0);
}

static void test_entry_bounds(void) {
        g_autofree char *name = repeat('n', CS_NAME_MAX), *name1 = repeat('n', CS_NAME_MAX + 1);
        g_autofree char *locator = repeat('l', CS_LOCATOR_MAX), *locator1 = repeat('l', CS_LOCATOR_MAX + 1);
        g_autofree char *version = repeat('v', CS_VERSION_MAX), *version1 = repeat('v', CS_VERSION_MAX + 1);
        const struct cs_entry *bad[] = {
                E(.kind = 0, .name = "n", .locator = "l"),
                E(.kind = 4, .name = "n", .locator = "l"),
                E(.kind = CS_KIND_FILE, .locator = "l"),
                E(.kind = CS_KIND_FILE, .name = "n"),
                E(.kind = CS_KIND_FILE, .name = "n", .locator = ""),
                E(.kind = CS_KIND_FILE, .name = "", .locator = "l"),
                E(.kind = CS_KIND_FILE, .name = ".", .locator = "l"),
                E(.kind = CS_KIND_FILE, .name = "..", .locator = "l"),
                E(.kind = CS_KIND_FILE, .name = "a/b", .locator = "l"),
                E(.kind = CS_KIND_FILE, .name = name1, .locator = "l"),
                E(.kind = CS_KIND_FILE, .name = "n", .locator = locator1),
                E(.kind = CS_KIND_FILE, .name = "n", .locator = "l", .version = version1),
                E(.kind = CS_KIND_FILE, .name = "n", .locator = "l", .mode = 01000),
                E(.kind = CS_KIND_FILE, .name = "n", .locator = "l", .flags = 1),
                E(.kind = CS_KIND_FILE, .name = "n", .locator = "l", .mtime_nsec = 1000000000),
                E(.kind = CS_KIND_FILE, .name = "n", .locator = "l",
                  .size = (uint64_t)INT64_MAX + 1),
        };
        g_autofree char *slot = g_malloc(CHANNEL_SLOT_SIZE);
        size_t used = 0, position = 0;
        struct cs_entry e;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_assert_cmpint(channel_entry_append(slot, CHANNEL_SLOT_SIZE, &used, bad[i]), ==,
                                -EINVAL);
                g_assert_cmpuint(used, ==, 0);
        }
        g_assert_cmpint(channel_entry_append(slot, CHANNEL_SLOT_SIZE, &used,
                                             E(.kind = CS_KIND_FILE, .name = name,
                                               .locator = locator, .version = version)), ==, 0);
        g_assert_cmpint(channel_entry_next(slot, used, &position, &e), ==, 1);
        g_assert_cmpstr(e.version, ==, version);
}

/* Every single changed byte of a slot is either refused or gives an entry in bounds. */
static void test_entry_changed_bytes(void) {
        char slot[256];
        size_t used = 0, accepted = 0;

        channel_entry_append(slot, sizeof(slot), &used,
                             E(.kind = CS_KIND_FILE, .name = "name", .locator = "loc",
                               .version = "ver", .size = 5, .mode = 0600));
        for (size_t at = 0; at < used; at++)
                for (int value = 0; value < 256; value++) {
                        g_autofree char *copy = g_memdup2(slot, used);
                        char out[256];
                        size_t position = 0, out_used = 0;
                        struct cs_entry e;

                        copy[at] = (char)value;
                        if (channel_entry_next(copy, used, &position, &e) != 1)
                                continue;
                        accepted++;
                        g_assert_cmpint(channel_entry_append(out, sizeof(out), &out_used, &e), ==,
                                        0);
                        g_assert_cmpmem(out, out_used, copy, position);
                }
        g_assert_cmpuint(accepted, >, 500);
}

static void make_pair(int pair[2]) {
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                        ==, 0);
}

static unsigned count_fds(void) {
        g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
        unsigned n = 0;

        while (g_dir_read_name(dir))
                n++;
        return n;
}

static void send_fds(int socket, const void *bytes, size_t n, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * 32)];
        } control = {0};
        struct iovec iov = {(void *)(uintptr_t)bytes, n};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * n_fds)};
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        g_assert_cmpint(sendmsg(socket, &msg, 0), ==, (ssize_t)n);
}

static void test_packets(void) {
        char buffer[64];
        int pair[2], fd = -1, fds[32];
        unsigned before = count_fds();

        make_pair(pair);
        g_assert_cmpint(channel_receive(pair[0], buffer, sizeof(buffer), &fd), ==, -EAGAIN);
        g_assert_cmpint(channel_send(pair[1], "hello", 5, -1), ==, 0);
        g_assert_cmpint(channel_receive(pair[0], buffer, sizeof(buffer), &fd), ==, 5);
        g_assert_cmpint(fd, ==, -1);
        g_assert_cmpmem(buffer, 5, "hello", 5);

        g_assert_cmpint(channel_send(pair[1], "x", 1, pair[1]), ==, 0);
        g_assert_cmpint(channel_receive(pair[0], buffer, sizeof(buffer), &fd), ==, 1);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
        fd = fd_close(fd);

        /* too long for the buffer, and with a descriptor at that: closed */
        g_assert_cmpint(channel_send(pair[1], "0123456789", 10, pair[1]), ==, 0);
        g_assert_cmpint(channel_receive(pair[0], buffer, 5, &fd), ==, -EBADMSG);
        g_assert_cmpint(fd, ==, -1);

        /* two, and more than there is room for: all are closed */
        for (size_t i = 0; i < G_N_ELEMENTS(fds); i++)
                fds[i] = pair[1];
        send_fds(pair[1], "x", 1, fds, 2);
        g_assert_cmpint(channel_receive(pair[0], buffer, sizeof(buffer), &fd), ==, -EBADMSG);
        g_assert_cmpint(fd, ==, -1);
        send_fds(pair[1], "x", 1, fds, 32);
        g_assert_cmpint(channel_receive(pair[0], buffer, sizeof(buffer), &fd), ==, -EBADMSG);
        g_assert_cmpint(fd, ==, -1);

        fd_close(pair[1]);
        g_assert_cmpint(channel_receive(pair[0], buffer, sizeof(buffer), &fd), ==, 0);
        g_assert_cmpint(channel_send(pair[0], "x", 1, -1), ==, -EPIPE);
        fd_close(pair[0]);
        g_assert_cmpuint(count_fds(), ==, before);
}

static void test_slots(void) {
        int fd = channel_slots_create(), other;
        char *writable, *readable;

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(ftruncate(fd, 0), ==, -1);
        g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), ==, -1);
        writable = channel_slots_map(fd, true);
        readable = channel_slots_map(fd, false);
        g_assert_nonnull(writable);
        g_assert_nonnull(readable);
        memcpy(channel_slot(writable, CHANNEL_SLOTS - 1), "last", 5);
        g_assert_cmpstr(channel_slot(readable, CHANNEL_SLOTS - 1), ==, "last");
        channel_slots_unmap(writable);
        channel_slots_unmap(readable);
        channel_slots_unmap(NULL);
        fd_close(fd);

        /* not sealed, too small, not a memfd */
        other = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        g_assert_cmpint(ftruncate(other, (off_t)CHANNEL_SLOTS * CHANNEL_SLOT_SIZE), ==, 0);
        g_assert_null(channel_slots_map(other, true));
        g_assert_cmpint(errno, ==, EBADMSG);
        g_assert_cmpint(ftruncate(other, 4096), ==, 0);
        g_assert_cmpint(fcntl(other, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), ==, 0);
        g_assert_null(channel_slots_map(other, true));
        fd_close(other);
        other = open("/dev/null", O_RDWR | O_CLOEXEC);
        g_assert_null(channel_slots_map(other, true));
        fd_close(other);
}

/* A peer that closes before it has read everything: its last words arrive all the same. */
static void test_last_words(void) {
        char buffer[64];
        int pair[2], fd = -1;

        make_pair(pair);
        g_assert_cmpint(channel_send(pair[0], "unread", 6, -1), ==, 0);
        g_assert_cmpint(channel_send(pair[1], "why", 3, -1), ==, 0);
        (void)close(pair[1]);
        g_assert_cmpint(channel_receive(pair[0], buffer, sizeof(buffer), &fd), ==, 3);
        g_assert_cmpmem(buffer, 3, "why", 3);
        g_assert_cmpint(channel_receive(pair[0], buffer, sizeof(buffer), &fd), ==, 0);
        (void)close(pair[0]);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/channel/there-and-back", test_there_and_back);
        g_test_add_func("/channel/changed-bytes", test_changed_bytes);
        g_test_add_func("/channel/bounds", test_bounds);
        g_test_add_func("/channel/parse-strings", test_parse_strings);
        g_test_add_func("/channel/types", test_types);
        g_test_add_func("/channel/entries", test_entries);
        g_test_add_func("/channel/entry-bounds", test_entry_bounds);
        g_test_add_func("/channel/entry-changed-bytes", test_entry_changed_bytes);
        g_test_add_func("/channel/packets", test_packets);
        g_test_add_func("/channel/last-words", test_last_words);
        g_test_add_func("/channel/slots", test_slots);
        return g_test_run();
}
