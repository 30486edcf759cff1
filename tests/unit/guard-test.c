/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guard's judgement, which the BPF programs are compiled with, held against stamps as the
 * daemon writes them. (The programs themselves: tests/vm/test_guard.py.)
 */

#include "guard/judge.h"

#include <glib.h>
#include <string.h>

#define INO 0x1122334455667788u
#define GENERATION 0x99aabbccu
#define BOOT 0xdeadbeefu

static int encode(enum stamp_state state, uint8_t *buffer) {
        struct stamp stamp = {
                .state = state,
                .flags = STAMP_HAS_VERSION,
                .ino = INO,
                .generation = GENERATION,
                .size = 1000,
                .boot = BOOT,
                .engine = (char *)"e",
                .version = (char *)"v",
                .locator = (char *)"l",
        };
        int n = stamp_encode(&stamp, buffer, STAMP_MAX);

        g_assert_cmpint(n, >=, JUDGE_BYTES);
        return n;
}

static void test_states(void) {
        static const struct {
                enum stamp_state state;
                enum judgement same_boot, other_boot;
        } table[] = {
                {STAMP_PLACEHOLDER, JUDGED_ABSENT, JUDGED_ABSENT},
                {STAMP_FILLED, JUDGED_HERE, JUDGED_ABSENT},
                {STAMP_WHOLE, JUDGED_HERE, JUDGED_HERE},
                {STAMP_SWITCHING, JUDGED_ABSENT, JUDGED_ABSENT},
                {STAMP_UNLISTED, JUDGED_ABSENT, JUDGED_ABSENT},
                {STAMP_LISTED, JUDGED_HERE, JUDGED_HERE},
        };
        uint8_t buffer[STAMP_MAX];

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                int n = encode(table[i].state, buffer);
                g_assert_cmpint(judge_stamp(buffer, n, BOOT), ==, table[i].same_boot);
                g_assert_cmpint(judge_stamp(buffer, n, BOOT + 1), ==, table[i].other_boot);
        }
}

/* A state that a later version brings is not taken for a whole file. */
static void test_unknown(void) {
        uint8_t buffer[STAMP_MAX];
        int n = encode(STAMP_WHOLE, buffer);

        for (unsigned state = 0; state < 256; state++)
                if (state != STAMP_WHOLE && state != STAMP_LISTED && state != STAMP_FILLED) {
                        buffer[2] = (uint8_t)state;
                        g_assert_cmpint(judge_stamp(buffer, n, BOOT), ==, JUDGED_ABSENT);
                }
}

static void test_damaged(void) {
        uint8_t buffer[STAMP_MAX];
        int n = encode(STAMP_WHOLE, buffer);

        for (int i = 0; i < JUDGE_BYTES; i++)
                g_assert_cmpint(judge_stamp(buffer, i, BOOT), ==, JUDGED_ABSENT);
        for (int i = 0; i < 2; i++) {
                buffer[i] ^= 1;
                g_assert_cmpint(judge_stamp(buffer, n, BOOT), ==, JUDGED_ABSENT);
                g_assert_false(judge_is_own(buffer, n, INO, GENERATION));
                buffer[i] ^= 1;
        }
        g_assert_cmpint(judge_stamp(buffer, n, BOOT), ==, JUDGED_HERE);
}

static void test_own(void) {
        uint8_t buffer[STAMP_MAX];
        int n = encode(STAMP_PLACEHOLDER, buffer);

        g_assert_true(judge_is_own(buffer, n, INO, GENERATION));
        g_assert_false(judge_is_own(buffer, n, INO + 1, GENERATION));
        g_assert_false(judge_is_own(buffer, n, INO ^ ((uint64_t)1 << 63), GENERATION));
        g_assert_false(judge_is_own(buffer, n, INO, GENERATION + 1));
        g_assert_false(judge_is_own(buffer, JUDGE_BYTES - 1, INO, GENERATION));
        /* A copied one says of a file on a store what it says. */
        g_assert_cmpint(judge_stamp(buffer, n, BOOT), ==, JUDGED_ABSENT);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/guard/states", test_states);
        g_test_add_func("/guard/unknown", test_unknown);
        g_test_add_func("/guard/damaged", test_damaged);
        g_test_add_func("/guard/own", test_own);
        return g_test_run();
}
