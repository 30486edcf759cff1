/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* extents: by hand for the edges, and against a bitmap for everything else */

#include <string.h>

#include <glib.h>

#include "shared/extents.h"

static void check(const struct extents *set, const char *expected) {
        g_autoptr(GString) s = g_string_new(NULL);

        for (size_t i = 0; i < set->n; i++)
                g_string_append_printf(s, "%s%" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT,
                                       i ? " " : "", set->items[i].begin, set->items[i].end);
        g_assert_cmpstr(s->str, ==, expected);
}

static void test_add(void) {
        struct extents set = EXTENTS_INIT;

        check(&set, "");
        g_assert_cmpint(extents_add(&set, 10, 20), ==, 0);
        g_assert_cmpint(extents_add(&set, 30, 40), ==, 0);
        check(&set, "10-20 30-40");
        g_assert_cmpint(extents_add(&set, 5, 5), ==, 0);
        g_assert_cmpint(extents_add(&set, 7, 6), ==, 0);
        check(&set, "10-20 30-40");
        extents_add(&set, 20, 25); /* touches behind */
        check(&set, "10-25 30-40");
        extents_add(&set, 28, 30); /* touches in front */
        check(&set, "10-25 28-40");
        extents_add(&set, 12, 14); /* inside */
        check(&set, "10-25 28-40");
        extents_add(&set, 0, 1);
        extents_add(&set, 50, 60);
        check(&set, "0-1 10-25 28-40 50-60");
        extents_add(&set, 20, 55); /* over several */
        check(&set, "0-1 10-60");
        extents_add(&set, 0, 100);
        check(&set, "0-100");
        extents_clear(&set);
        check(&set, "");
        extents_add(&set, 0, INT64_MAX);
        g_assert_true(extents_contain(&set, 0, INT64_MAX));
        g_assert_cmpuint(extents_bytes(&set, 0, UINT64_MAX), ==, INT64_MAX);
        extents_clear(&set);
}

static void test_remove(void) {
        struct extents set = EXTENTS_INIT;

        extents_remove(&set, 0, 100);
        check(&set, "");
        extents_add(&set, 10, 40);
        extents_remove(&set, 0, 10);
        extents_remove(&set, 40, 50);
        extents_remove(&set, 20, 20);
        check(&set, "10-40");
        extents_remove(&set, 20, 30);
        check(&set, "10-20 30-40");
        extents_remove(&set, 5, 12);
        extents_remove(&set, 38, 100);
        check(&set, "12-20 30-38");
        extents_remove(&set, 15, 35);
        check(&set, "12-15 35-38");
        extents_remove(&set, 12, 38);
        check(&set, "");
        extents_clear(&set);
}

static void test_gaps(void) {
        struct extents set = EXTENTS_INIT;
        struct extent gap = {7, 7};

        g_assert_true(extents_first_gap(&set, 3, 9, &gap));
        g_assert_cmpuint(gap.begin, ==, 3);
        g_assert_cmpuint(gap.end, ==, 9);
        g_assert_false(extents_first_gap(&set, 9, 9, &gap));
        g_assert_true(extents_contain(&set, 9, 9));
        g_assert_false(extents_overlap(&set, 0, UINT64_MAX));

        extents_add(&set, 10, 20);
        extents_add(&set, 30, 40);
        g_assert_true(extents_first_gap(&set, 0, 100, &gap));
        g_assert_cmpuint(gap.begin, ==, 0);
        g_assert_cmpuint(gap.end, ==, 10);
        g_assert_true(extents_first_gap(&set, 15, 100, &gap));
        g_assert_cmpuint(gap.begin, ==, 20);
        g_assert_cmpuint(gap.end, ==, 30);
        g_assert_true(extents_first_gap(&set, 35, 50, &gap));
        g_assert_cmpuint(gap.begin, ==, 40);
        g_assert_cmpuint(gap.end, ==, 50);
        g_assert_false(extents_first_gap(&set, 10, 20, &gap));
        g_assert_true(extents_overlap(&set, 19, 20));
        g_assert_false(extents_overlap(&set, 20, 30));
        g_assert_false(extents_overlap(&set, 15, 15));
        g_assert_cmpuint(extents_bytes(&set, 15, 35), ==, 10);
        extents_clear(&set);
}

#define BITS 200

/* Every function against a plain array of flags, over random changes. */
static void test_model(void) {
        struct extents set = EXTENTS_INIT;
        bool model[BITS] = {false};

        for (int round = 0; round < 20000; round++) {
                uint64_t a = (uint64_t)g_random_int_range(0, BITS + 1);
                uint64_t b = (uint64_t)g_random_int_range(0, BITS + 1);
                uint64_t bytes = 0, first = UINT64_MAX, last = 0;
                struct extent gap;
                bool add = g_random_boolean();

                if (a > b) {
                        uint64_t t = a;
                        a = b;
                        b = t;
                }
                if (b - a > 40)
                        b = a + 40;
                g_assert_cmpint(add ? extents_add(&set, a, b) : extents_remove(&set, a, b), ==, 0);
                for (uint64_t i = a; i < b; i++)
                        model[i] = add;

                for (size_t i = 0; i < set.n; i++) {
                        g_assert_cmpuint(set.items[i].begin, <, set.items[i].end);
                        if (i > 0)
                                g_assert_cmpuint(set.items[i - 1].end, <, set.items[i].begin);
                }
                a = (uint64_t)g_random_int_range(0, BITS);
                b = (uint64_t)g_random_int_range((int)a, BITS + 1);
                for (uint64_t i = a; i < b; i++) {
                        bytes += model[i];
                        if (!model[i] && first == UINT64_MAX)
                                first = i;
                }
                for (last = first; last < b && !model[last]; last++)
                        ;
                g_assert_cmpuint(extents_bytes(&set, a, b), ==, bytes);
                g_assert_cmpint(extents_contain(&set, a, b), ==, first == UINT64_MAX);
                g_assert_cmpint(extents_overlap(&set, a, b), ==, bytes > 0);
                if (extents_first_gap(&set, a, b, &gap)) {
                        g_assert_cmpuint(gap.begin, ==, first);
                        g_assert_cmpuint(gap.end, ==, last);
                } else {
                        g_assert_true(first == UINT64_MAX);
                }
        }
        extents_clear(&set);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/extents/add", test_add);
        g_test_add_func("/extents/remove", test_remove);
        g_test_add_func("/extents/gaps", test_gaps);
        g_test_add_func("/extents/model", test_model);
        return g_test_run();
}
