/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* backoff: doubling, bounds, dice, Retry-After */

#include <glib.h>

#include "shared/backoff.h"

static void test_doubles(void) {
        struct backoff b = {.first_ms = 100, .limit_ms = 1500};
        static const uint32_t low[] = {50, 100, 200, 400, 750, 750};

        for (size_t i = 0; i < G_N_ELEMENTS(low); i++)
                g_assert_cmpuint(backoff_next(&b, 0, 0), ==, low[i]);
        backoff_reset(&b);
        static const uint32_t high[] = {100, 200, 400, 800, 1500, 1500};
        for (size_t i = 0; i < G_N_ELEMENTS(high); i++)
                g_assert_cmpuint(backoff_next(&b, UINT32_MAX, 0), ==, high[i]);
        backoff_reset(&b);
        g_assert_cmpuint(backoff_next(&b, UINT32_MAX / 2, 0), ==, 74); /* 50 + 24.99 */
}

static void test_floor(void) {
        struct backoff b = {.first_ms = 100, .limit_ms = 1000};

        g_assert_cmpuint(backoff_next(&b, 0, 90), ==, 90);
        g_assert_cmpuint(backoff_next(&b, 0, 90), ==, 100);
        /* The remote's wish beats our limit. */
        g_assert_cmpuint(backoff_next(&b, UINT32_MAX, 60000), ==, 60000);
        g_assert_cmpuint(backoff_next(&b, UINT32_MAX, UINT32_MAX), ==, UINT32_MAX);
}

static void test_extremes(void) {
        struct backoff b = {.first_ms = UINT32_MAX, .limit_ms = UINT32_MAX, .tries = UINT32_MAX};

        g_assert_cmpuint(backoff_next(&b, UINT32_MAX, 0), ==, UINT32_MAX);
        g_assert_cmpuint(b.tries, ==, UINT32_MAX); /* did not wrap */
        b = (struct backoff){.first_ms = 5000, .limit_ms = 1000};
        g_assert_cmpuint(backoff_next(&b, UINT32_MAX, 0), ==, 1000);
        b = (struct backoff){.first_ms = 1, .limit_ms = UINT32_MAX};
        for (int i = 0; i < 31; i++)
                (void)backoff_next(&b, 0, 0);
        g_assert_cmpuint(backoff_next(&b, UINT32_MAX, 0), ==, 1u << 31);
        g_assert_cmpuint(backoff_next(&b, UINT32_MAX, 0), ==, UINT32_MAX);
}

static void test_always_within(void) {
        for (int i = 0; i < 10000; i++) {
                struct backoff b = {.first_ms = (uint32_t)g_random_int_range(1, 10000),
                                    .limit_ms = (uint32_t)g_random_int_range(1, 100000)};
                uint32_t floor_ms = g_random_boolean() ? 0 : g_random_int() % 200000;

                for (int j = 0; j < 20; j++) {
                        uint32_t wait = backoff_next(&b, g_random_int(), floor_ms);

                        g_assert_cmpuint(wait, >=, floor_ms);
                        g_assert_cmpuint(wait, <=, MAX(b.limit_ms, floor_ms));
                }
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/backoff/doubles", test_doubles);
        g_test_add_func("/backoff/floor", test_floor);
        g_test_add_func("/backoff/extremes", test_extremes);
        g_test_add_func("/backoff/always-within", test_always_within);
        return g_test_run();
}
