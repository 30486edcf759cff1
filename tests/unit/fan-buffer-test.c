/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fan_buffer_next: what read(2) on a fanotify group returns, well-formed and not. */

#include "dispatcher/events/fan-group.h"
#include "dispatcher/events/fanotify-compat.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

/* A buffer that events are put into. */
struct buffer {
        uint8_t bytes[1024];
        size_t length;
};

static struct fanotify_event_metadata *put_event(struct buffer *b, uint64_t mask, int fd, int pid) {
        struct fanotify_event_metadata *m = (void *)(b->bytes + b->length);
        *m = (struct fanotify_event_metadata){.event_len = sizeof *m,
                                              .vers = FANOTIFY_METADATA_VERSION,
                                              .metadata_len = sizeof *m,
                                              .mask = mask,
                                              .fd = fd,
                                              .pid = pid};
        b->length += sizeof *m;
        return m;
}

static struct fan_info_range *put_range(struct buffer *b, struct fanotify_event_metadata *m,
                                        uint64_t offset, uint64_t count) {
        struct fan_info_range *range = (void *)(b->bytes + b->length);
        *range = (struct fan_info_range){
                .header = {.info_type = FAN_EVENT_INFO_TYPE_RANGE, .len = sizeof *range},
                .offset = offset,
                .count = count,
        };
        b->length += sizeof *range;
        m->event_len += sizeof *range;
        return range;
}

static void test_layout(void) {
        g_assert_cmpuint(sizeof(struct fanotify_event_metadata), ==, 24);
        g_assert_cmpuint(sizeof(struct fan_info_range), ==, 24);
}

static void test_events(void) {
        struct buffer b = {.length = 0};
        struct fan_event e;
        size_t position = 0;

        put_event(&b, FAN_OPEN_PERM, 7, 100);
        put_range(&b, put_event(&b, FAN_PRE_ACCESS, 8, 101), 4096, 8192);
        put_event(&b, FAN_ACCESS_PERM, 9, 0);
        put_event(&b, FAN_PRE_ACCESS, 10, 5); /* without a range: all of the file */
        put_event(&b, FAN_OPEN_PERM, -EMFILE, 6);
        put_event(&b, FAN_Q_OVERFLOW, FAN_NOFD, 0);

        g_assert_cmpint(fan_buffer_next(b.bytes, b.length, &position, &e), ==, 1);
        g_assert_cmpint(e.kind, ==, FAN_KIND_OPEN);
        g_assert_cmpint(e.fd, ==, 7);
        g_assert_cmpint(e.tid, ==, 100);
        g_assert_cmpuint(e.count, ==, 0);
        g_assert_cmpint(fan_buffer_next(b.bytes, b.length, &position, &e), ==, 1);
        g_assert_cmpint(e.kind, ==, FAN_KIND_ACCESS);
        g_assert_cmpuint(e.offset, ==, 4096);
        g_assert_cmpuint(e.count, ==, 8192);
        g_assert_cmpint(e.fd, ==, 8);
        g_assert_cmpint(fan_buffer_next(b.bytes, b.length, &position, &e), ==, 1);
        g_assert_cmpint(e.kind, ==, FAN_KIND_READDIR);
        g_assert_cmpint(e.tid, ==, 0);
        g_assert_cmpint(fan_buffer_next(b.bytes, b.length, &position, &e), ==, 1);
        g_assert_cmpint(e.kind, ==, FAN_KIND_ACCESS);
        g_assert_cmpuint(e.offset, ==, 0);
        g_assert_cmpuint(e.count, ==, INT64_MAX);
        g_assert_cmpint(fan_buffer_next(b.bytes, b.length, &position, &e), ==, 1);
        g_assert_cmpint(e.fd, ==, -EMFILE);
        g_assert_cmpint(fan_buffer_next(b.bytes, b.length, &position, &e), ==, 1);
        g_assert_cmpint(e.fd, <, 0);
        g_assert_cmpuint(position, ==, b.length);
        g_assert_cmpint(fan_buffer_next(b.bytes, b.length, &position, &e), ==, 0);
        g_assert_cmpint(fan_buffer_next(b.bytes, 0, &(size_t){0}, &e), ==, 0);
}

/* Records that we do not know are passed over, before and after the range. */
static void test_unknown_records(void) {
        struct buffer b = {.length = 0};
        struct fan_event e;
        size_t position = 0;

        struct fanotify_event_metadata *m = put_event(&b, FAN_PRE_ACCESS, 3, 1);
        put_range(&b, m, 111, 222)->header.info_type = 99;
        put_range(&b, m, 4096, 100);
        put_range(&b, m, 333, 444)->header.info_type = 98;
        g_assert_cmpint(fan_buffer_next(b.bytes, b.length, &position, &e), ==, 1);
        g_assert_cmpuint(e.offset, ==, 4096);
        g_assert_cmpuint(e.count, ==, 100);
}

enum damage {
        VERSION,
        METADATA_SHORT,
        METADATA_LONG,
        EVENT_SHORT,
        EVENT_LONG,
        EVENT_ZERO,
        RECORD_ZERO,
        RECORD_LONG,
        RANGE_SHORT,
        MASK,
        OVERFLOW_WITH_FD,
        N_DAMAGES
};

static void test_damaged(void) {
        for (enum damage damage = 0; damage < N_DAMAGES; damage++) {
                struct buffer b = {.length = 0};
                struct fan_event e = {.fd = 77};
                size_t position = 0;
                struct fanotify_event_metadata *m = put_event(&b, FAN_PRE_ACCESS, 3, 1);
                struct fan_info_range *range = put_range(&b, m, 0, 4096);

                switch (damage) {
                case VERSION:
                        m->vers++;
                        break;
                case METADATA_SHORT:
                        m->metadata_len--;
                        break;
                case METADATA_LONG:
                        m->metadata_len = 200;
                        break;
                case EVENT_SHORT:
                        m->event_len = sizeof *m - 1;
                        break;
                case EVENT_LONG:
                        m->event_len++;
                        break;
                case EVENT_ZERO:
                        m->event_len = 0;
                        break;
                case RECORD_ZERO:
                        range->header.len = 0;
                        break;
                case RECORD_LONG:
                        range->header.len++;
                        break;
                case RANGE_SHORT:
                        range->header.len -= 8;
                        break;
                case MASK:
                        m->mask = FAN_MODIFY;
                        break;
                case OVERFLOW_WITH_FD:
                        m->mask = FAN_Q_OVERFLOW;
                        break;
                case N_DAMAGES:
                        break;
                }
                g_assert_cmpint(fan_buffer_next(b.bytes, b.length, &position, &e), ==, -EBADMSG);
                g_assert_cmpint(e.fd, ==, 77); /* untouched */
                g_assert_cmpuint(position, ==, 0);
        }
}

/* Cut at every byte: an error, or an end at an event's edge, and nothing read beyond. */
static void test_cut(void) {
        struct buffer b = {.length = 0};
        put_event(&b, FAN_OPEN_PERM, 3, 1);
        put_range(&b, put_event(&b, FAN_PRE_ACCESS, 4, 1), 0, 4096);

        for (size_t length = 0; length <= b.length; length++) {
                /* Of exactly that length, for the sanitizer. */
                g_autofree uint8_t *copy = length > 0 ? g_memdup2(b.bytes, length) : g_malloc(1);
                struct fan_event e;
                size_t position = 0;
                int r, n = 0;
                while ((r = fan_buffer_next(copy, length, &position, &e)) > 0)
                        n++;
                bool at_edge = length == 0 || length == 24 || length == 72;
                g_assert_cmpint(r, ==, at_edge ? 0 : -EBADMSG);
                g_assert_cmpint(n, ==, length == 72 ? 2 : length >= 24 ? 1 : 0);
        }
        g_assert_cmpint(fan_buffer_next(b.bytes, 24, &(size_t){25}, &(struct fan_event){0}), ==, -EBADMSG);
}

/* Noise never crashes, and never goes on for ever. */
static void test_noise(void) {
        for (int round = 0; round < 20000; round++) {
                struct buffer b = {.length = 0};
                struct fan_event e;
                size_t position = 0;
                put_event(&b, FAN_OPEN_PERM, 3, 1);
                put_range(&b, put_event(&b, FAN_PRE_ACCESS, 4, 1), 0, 4096);
                for (int i = g_test_rand_int_range(1, 5); i > 0; i--)
                        b.bytes[g_test_rand_int_range(0, (int)b.length)] =
                                (uint8_t)g_test_rand_int_range(0, 256);
                for (int n = 0; fan_buffer_next(b.bytes, b.length, &position, &e) > 0; n++)
                        g_assert_cmpint(n, <, 3);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/fan-buffer/layout", test_layout);
        g_test_add_func("/fan-buffer/events", test_events);
        g_test_add_func("/fan-buffer/unknown-records", test_unknown_records);
        g_test_add_func("/fan-buffer/damaged", test_damaged);
        g_test_add_func("/fan-buffer/cut", test_cut);
        g_test_add_func("/fan-buffer/noise", test_noise);
        return g_test_run();
}
