/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stamps: what is written is read back, what is not exactly a stamp is refused, and
 * whatever is accepted is written again as the same bytes.
 */

#include "cloudsync/engine.h"
#include "dispatcher/store/stamp.h"
#include "shared/names.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXED 70u

static struct stamp example(void) {
        return (struct stamp){
                .state = STAMP_PLACEHOLDER,
                .flags = STAMP_HAS_VERSION,
                .ino = 0x1122334455667788,
                .generation = 0x99aabbccddeeff00,
                .size = 1234567890123,
                .mtime_sec = -5,
                .mtime_nsec = 999999999,
                .boot = 0xdeadbeef,
                .mode = 0640,
                .parent = 0x0123456789abcdef,
                .name = 0x89abcdef,
                .seal = 0x1213141516171819,
                .engine = (char *)"dropbox",
                .version = (char *)"\"etag\"",
                .locator = (char *)"a/b\xff/c",
        };
}

static void assert_equal(const struct stamp *a, const struct stamp *b) {
        g_assert_cmpint(a->state, ==, b->state);
        g_assert_cmphex(a->flags, ==, b->flags);
        g_assert_cmphex(a->ino, ==, b->ino);
        g_assert_cmphex(a->generation, ==, b->generation);
        g_assert_cmpuint(a->size, ==, b->size);
        g_assert_cmpint(a->mtime_sec, ==, b->mtime_sec);
        g_assert_cmpuint(a->mtime_nsec, ==, b->mtime_nsec);
        g_assert_cmphex(a->boot, ==, b->boot);
        g_assert_cmpuint(a->mode, ==, b->mode);
        g_assert_cmphex(a->parent, ==, b->parent);
        g_assert_cmphex(a->name, ==, b->name);
        g_assert_cmphex(a->seal, ==, b->seal);
        g_assert_cmpstr(a->engine, ==, b->engine);
        g_assert_cmpstr(a->version, ==, b->version);
        g_assert_cmpstr(a->locator, ==, b->locator);
}

static void round_trip(const struct stamp *stamp) {
        uint8_t buffer[STAMP_MAX], again[STAMP_MAX];
        struct stamp back;
        int n = stamp_encode(stamp, buffer, sizeof buffer);

        g_assert_cmpint(n, >, (int)FIXED);
        g_assert_cmpint(stamp_decode(buffer, (size_t)n, &back), ==, 0);
        assert_equal(stamp, &back);
        g_assert_cmpint(stamp_encode(&back, again, sizeof again), ==, n);
        g_assert_cmpmem(buffer, n, again, n);
        stamp_clear(&back);
}

static void test_round_trip(void) {
        static const enum stamp_state states[] = {STAMP_PLACEHOLDER, STAMP_FILLED, STAMP_WHOLE,
                                                  STAMP_SWITCHING, STAMP_UNLISTED, STAMP_LISTED};

        for (unsigned i = 0; i < G_N_ELEMENTS(states); i++)
                for (unsigned flags = 0; flags <= STAMP_FLAGS; flags++) {
                        struct stamp stamp = example();
                        stamp.state = states[i];
                        stamp.flags = flags;
                        round_trip(&stamp);
                }
}

static void test_limits(void) {
        g_autofree char *engine = g_strnfill(NAME_ID_MAX, 'e');
        g_autofree char *version = g_strnfill(CS_VERSION_MAX, 'v');
        g_autofree char *locator = g_strnfill(CS_LOCATOR_MAX, 'l');
        struct stamp stamp = example();

        stamp.engine = engine;
        stamp.version = version;
        stamp.locator = locator;
        stamp.size = INT64_MAX;
        stamp.mtime_sec = INT64_MIN;
        round_trip(&stamp);
        stamp.mtime_sec = INT64_MAX;
        stamp.version = stamp.locator = (char *)"";
        stamp.engine = (char *)"e";
        round_trip(&stamp);
}

/* On disk for years: these bytes, and no others. */
static void test_bytes(void) {
        static const uint8_t want[] = {
                0xC5, 2, 1, 1, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
                0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99,
                0xcb, 0x04, 0xfb, 0x71, 0x1f, 0x01, 0, 0,
                0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0xc9, 0x9a, 0x3b, 0xef, 0xbe, 0xad, 0xde, 0xa0, 0x01, 7, 6, 6, 0,
                0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 0xef, 0xcd, 0xab, 0x89,
                0x19, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12,
                'd', 'r', 'o', 'p', 'b', 'o', 'x', '"', 'e', 't', 'a', 'g', '"',
                'a', '/', 'b', 0xff, '/', 'c',
        };
        struct stamp stamp = example();
        uint8_t buffer[STAMP_MAX];
        int n = stamp_encode(&stamp, buffer, sizeof buffer);

        g_assert_cmpmem(buffer, n, want, sizeof want);
}

static void test_refused_to_write(void) {
        g_autofree char *longer = g_strnfill(CS_LOCATOR_MAX + 1, 'x');
        uint8_t buffer[STAMP_MAX];
        struct stamp stamp;

#define REFUSED(member, value)                                                                     \
        do {                                                                                       \
                stamp = example();                                                                 \
                stamp.member = (value);                                                            \
                g_assert_cmpint(stamp_encode(&stamp, buffer, sizeof buffer), ==, -EINVAL);         \
        } while (0)
        REFUSED(engine, (char *)"");
        REFUSED(engine, longer);
        REFUSED(version, longer);
        REFUSED(locator, longer);
        REFUSED(state, 0);
        REFUSED(state, 5);
        REFUSED(state, 18);
        REFUSED(size, (uint64_t)INT64_MAX + 1);
        REFUSED(mtime_nsec, 1000000000);
#undef REFUSED
        stamp = example();
        for (size_t n = 0; n < FIXED + 19; n++)
                g_assert_cmpint(stamp_encode(&stamp, buffer, n), ==, -EMSGSIZE);
}

static void refuse(const uint8_t *good, size_t n, size_t at, uint8_t value) {
        g_autofree uint8_t *bytes = g_memdup2(good, n);
        struct stamp stamp;

        bytes[at] = value;
        g_assert_cmpint(stamp_decode(bytes, n, &stamp), ==, -EBADMSG);
}

static void test_refused_to_read(void) {
        struct stamp stamp = example(), back;
        uint8_t good[STAMP_MAX];
        size_t n = (size_t)stamp_encode(&stamp, good, sizeof good);

        for (size_t i = 0; i < n; i++) { /* cut anywhere; an exact copy, for the sanitizer */
                g_autofree uint8_t *part = g_memdup2(good, i);
                g_assert_cmpint(stamp_decode(part, i, &back), ==, -EBADMSG);
        }
        good[n] = 'x';
        g_assert_cmpint(stamp_decode(good, n + 1, &back), ==, -EBADMSG);
        refuse(good, n, 0, 0xC4);
        refuse(good, n, 1, 1);       /* of before the first release */
        refuse(good, n, 1, 3);       /* a later format */
        refuse(good, n, 2, 0);
        refuse(good, n, 2, 5);
        refuse(good, n, 3, 0x80);    /* a flag that we do not know */
        refuse(good, n, 27, 0x80);   /* size */
        refuse(good, n, 39, 0xff);   /* nanoseconds */
        refuse(good, n, 46, 0);      /* no engine */
        refuse(good, n, 46, 255);
        refuse(good, n, 47, 255);
        refuse(good, n, 49, 0xff);
        refuse(good, n, FIXED, 0);   /* a NUL inside */
        refuse(good, n, n - 1, 0);
}

/* Random bytes, and valid stamps with some of theirs changed. What is accepted is a stamp. */
static void test_random(void) {
        g_autoptr(GRand) dice = g_rand_new_with_seed(20261125);
        struct stamp stamp = example();
        uint8_t good[STAMP_MAX], again[STAMP_MAX];
        size_t n = (size_t)stamp_encode(&stamp, good, sizeof good);
        unsigned accepted = 0;

        for (unsigned i = 0; i < 200000; i++) {
                size_t length = i % 2 ? n : (size_t)g_rand_int_range(dice, 0, 200);
                g_autofree uint8_t *bytes = g_malloc(MAX(length, 1));
                struct stamp back;

                if (i % 2)
                        memcpy(bytes, good, n);
                else
                        for (size_t k = 0; k < length; k++)
                                bytes[k] = (uint8_t)g_rand_int(dice);
                for (int k = i % 2 ? g_rand_int_range(dice, 0, 4) : 0; k > 0; k--)
                        bytes[g_rand_int_range(dice, 0, (int)n)] = (uint8_t)g_rand_int(dice);
                if (stamp_decode(bytes, length, &back) < 0)
                        continue;
                accepted++;
                g_assert_cmpint(stamp_encode(&back, again, sizeof again), ==, (int)length);
                g_assert_cmpmem(again, length, bytes, length);
                stamp_clear(&back);
        }
        g_assert_cmpuint(accepted, >, 1000);
}

static void test_matches(void) {
        struct stamp stamp = example();
        struct cs_entry entry = {.kind = CS_KIND_FILE, .size = stamp.size, .version = "\"etag\"",
                                 .mtime_sec = 77, .mode = 0644};

        g_assert_true(stamp_matches(&stamp, &entry)); /* the version alone decides */
        entry.version = "\"other\"";
        g_assert_false(stamp_matches(&stamp, &entry));
        entry.version = NULL;
        g_assert_false(stamp_matches(&stamp, &entry));
        stamp.flags = 0;
        g_assert_false(stamp_matches(&stamp, &entry));
        entry.mtime_sec = stamp.mtime_sec;
        entry.mtime_nsec = stamp.mtime_nsec;
        g_assert_true(stamp_matches(&stamp, &entry));
        entry.size++;
        g_assert_false(stamp_matches(&stamp, &entry));

        struct stamp copy;
        stamp_copy(&copy, &stamp);
        assert_equal(&copy, &stamp);
        entry.version = "new";
        stamp_set_entry(&copy, &entry);
        g_assert_true(stamp_matches(&copy, &entry));
        g_assert_cmphex(copy.flags, ==, STAMP_HAS_VERSION); /* nobody has seen the new one */
        g_assert_cmpstr(copy.engine, ==, "dropbox");
        stamp_clear(&copy);
}

/* A place is told from others: by inode number, by generation (the next directory of the same
 * number), by name. */
static void test_place(void) {
        g_autofree char *one = g_dir_make_tmp("stamp-XXXXXX", NULL), *two = g_dir_make_tmp("stamp-XXXXXX", NULL);
        int fds[] = {open(one, O_RDONLY | O_DIRECTORY), open(two, O_RDONLY | O_DIRECTORY)};
        uint64_t ids[2] = {0, 0}, again = 0;

        if (stamp_directory(fds[0], &ids[0]) < 0) /* a file system without generations */
                g_test_skip("no FS_IOC_GETVERSION here");
        else {
                g_assert_cmpint(stamp_directory(fds[1], &ids[1]), ==, 0);
                g_assert_cmpint(stamp_directory(fds[0], &again), ==, 0);
                g_assert_cmphex(ids[0], ==, again);
                g_assert_cmphex(ids[0], !=, ids[1]);
                g_assert_cmphex(ids[0], !=, 0);
        }
        close(fds[0]);
        close(fds[1]);
        rmdir(one);
        rmdir(two);
        g_assert_cmphex(stamp_name("a"), ==, stamp_name("a"));
        g_assert_cmphex(stamp_name("a"), !=, stamp_name("b"));
        g_assert_cmphex(stamp_name("ab"), !=, stamp_name("ba"));
}

static void test_unmodified(void) {
        struct stamp stamp = example();
        struct stat st = {.st_size = (off_t)stamp.size,
                          .st_mtim = {.tv_sec = -5, .tv_nsec = 999999999},
                          .st_ctim = {.tv_sec = 0x1213141516171819 / 1000000000}};

        for (unsigned state = STAMP_PLACEHOLDER; state <= STAMP_SWITCHING; state++) {
                stamp.state = state;
                stamp.flags = 0;
                g_assert_true(stamp_is_unmodified(&stamp, &st));
                stamp.flags = STAMP_LOCAL; /* for ever, whatever it looks like */
                g_assert_false(stamp_is_unmodified(&stamp, &st));
        }
        stamp.flags = 0;
        st.st_mtim.tv_nsec--;
        for (unsigned state = STAMP_PLACEHOLDER; state <= STAMP_SWITCHING; state++) {
                stamp.state = state;
                g_assert_cmpint(stamp_is_unmodified(&stamp, &st), ==,
                                state == STAMP_PLACEHOLDER || state == STAMP_SWITCHING);
        }
        st.st_mtim.tv_nsec++;
        st.st_ctim = (struct timespec){.tv_sec = 1, .tv_nsec = 2};
        for (stamp.seal = 1000000001; stamp.seal <= 1000000003; stamp.seal++)
                for (unsigned state = STAMP_PLACEHOLDER; state <= STAMP_SWITCHING; state++) {
                        stamp.state = state;
                        g_assert_cmpint(stamp_is_unmodified(&stamp, &st), ==,
                                        state != STAMP_WHOLE || stamp.seal >= 1000000002);
                }
        stamp.state = STAMP_WHOLE; /* never sealed */
        stamp.seal = 0;
        g_assert_false(stamp_is_unmodified(&stamp, &st));
        st.st_size--;
        for (unsigned state = STAMP_PLACEHOLDER; state <= STAMP_SWITCHING; state++) {
                stamp.state = state;
                g_assert_cmpint(stamp_is_unmodified(&stamp, &st), ==, state == STAMP_SWITCHING);
        }
}

static void test_boot(void) {
        g_assert_cmpuint(stamp_boot(), !=, 0);
        g_assert_cmpuint(stamp_boot(), ==, stamp_boot());
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/stamp/round-trip", test_round_trip);
        g_test_add_func("/stamp/limits", test_limits);
        g_test_add_func("/stamp/bytes", test_bytes);
        g_test_add_func("/stamp/refused-to-write", test_refused_to_write);
        g_test_add_func("/stamp/refused-to-read", test_refused_to_read);
        g_test_add_func("/stamp/random", test_random);
        g_test_add_func("/stamp/matches", test_matches);
        g_test_add_func("/stamp/place", test_place);
        g_test_add_func("/stamp/unmodified", test_unmodified);
        g_test_add_func("/stamp/boot", test_boot);
        return g_test_run();
}
