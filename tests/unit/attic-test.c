/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The attic's keys and names, and the table of moves. */

#include "dispatcher/tree/attic-name.h"
#include "dispatcher/tree/moves.h"

#include <glib.h>
#include <string.h>

static struct handle handle_of(uint32_t length) {
        struct handle handle = {.type = -2, .length = length};

        for (uint32_t i = 0; i < length; i++)
                handle.bytes[i] = (uint8_t)(i * 37 + 200);
        return handle;
}

static void test_keys(void) {
        g_autoptr(GHashTable) seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);

        g_assert_cmphex(attic_key("a", "bc"), ==, attic_key("a", "bc"));
        g_assert_cmphex(attic_key("a", "bc"), !=, attic_key("ab", "c"));
        g_assert_cmphex(attic_key("a", ""), !=, attic_key("", "a"));
        for (unsigned i = 0; i < 200000; i++) {
                g_autofree char *locator = g_strdup_printf("id:%u", i);
                uint64_t key = attic_key("box", locator);
                g_assert_true(g_hash_table_add(seen, g_memdup2(&key, sizeof key)));
        }
}

static void test_round_trip(void) {
        static const char *const names[] = {"f", "with space.txt", ".hidden", "a.b.c", "\xff\xfe", "r\xc3\xa9sum\xc3\xa9"};

        for (uint32_t length = 0; length <= HANDLE_BYTES_MAX; length++)
                for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
                        struct handle handle = handle_of(length), back;
                        g_autofree char *text = attic_name_make(0x123456789abcdef0 + i, 0xfffffff0 + i, &handle, names[i]);
                        const char *name;
                        uint64_t key;

                        g_assert_cmpuint(strlen(text), <=, 255);
                        g_assert_true(attic_name_parse(text, &key, &back, &name));
                        g_assert_cmphex(key, ==, 0x123456789abcdef0 + i);
                        g_assert_cmpint(back.type, ==, handle.type);
                        g_assert_cmpmem(back.bytes, back.length, handle.bytes, handle.length);
                        g_assert_cmpstr(name, ==, names[i]);
                }
}

static void test_long(void) {
        g_autofree char *long_name = g_strnfill(255, 'n');
        struct handle handle = handle_of(HANDLE_BYTES_MAX), back;
        g_autofree char *text = attic_name_make(1, 2, &handle, long_name), *umlauts = NULL;
        g_autoptr(GString) string = g_string_new("x");
        const char *name;
        uint64_t key;

        g_assert_cmpuint(strlen(text), ==, 255);
        g_assert_true(attic_name_parse(text, &key, &back, &name));
        g_assert_true(g_str_has_prefix(long_name, name));
        while (string->len + 2 <= 255)
                g_string_append(string, "\xc3\xa9");
        umlauts = attic_name_make(1, 2, &handle, string->str);
        g_assert_true(attic_name_parse(umlauts, &key, &back, &name));
        g_assert_true(g_utf8_validate(name, -1, NULL));
}

static void test_refused(void) {
        struct handle handle = handle_of(8), back;
        g_autofree char *good = attic_name_make(7, 8, &handle, "name");
        const char *name;
        uint64_t key;

        for (size_t n = 0; n < strlen(good) - 3; n++) { /* cut within all but the name */
                g_autofree char *part = g_strndup(good, n);
                g_assert_false(attic_name_parse(part, &key, &back, &name));
        }
        for (size_t n = 0; n < strlen(good) - 5; n++) {
                g_autofree char *spoilt = g_strdup(good);
                spoilt[n] = 'x';
                g_assert_false(attic_name_parse(spoilt, &key, &back, &name));
        }
        g_autofree char *huge = g_strnfill(2 * HANDLE_BYTES_MAX + 2, 'a');
        g_autofree char *text = g_strdup_printf("0000000000000001.00000002.00000003.%s.name", huge);
        g_assert_false(attic_name_parse(text, &key, &back, &name));
}

static void test_moves(void) {
        Moves *moves = moves_new();
        struct handle a = handle_of(8), b = handle_of(12), got;
        char *name;

        g_assert_null(moves_take(moves, 1, &got));
        moves_note(moves, 1, &a, "one");
        moves_note(moves, 2, &a, "two");
        moves_note(moves, 1, &b, "uno"); /* the later one counts */
        name = moves_take(moves, 1, &got);
        g_assert_cmpstr(name, ==, "uno");
        g_assert_cmpmem(got.bytes, got.length, b.bytes, b.length);
        g_free(name);
        g_assert_null(moves_take(moves, 1, &got));
        for (uint64_t i = 100; i < 100 + MOVES_MAX; i++) /* bounded: the oldest goes */
                moves_note(moves, i, &a, "x");
        g_assert_null(moves_take(moves, 2, &got));
        name = moves_take(moves, 99 + MOVES_MAX, &got);
        g_assert_cmpstr(name, ==, "x");
        g_free(name);
        moves_forget(moves, 1000);
        g_assert_false(moves_is_empty(moves));
        moves_forget(moves, 0);
        g_assert_true(moves_is_empty(moves));
        g_assert_null(moves_take(moves, 200, &got));
        moves_free(moves);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/attic/keys", test_keys);
        g_test_add_func("/attic/round-trip", test_round_trip);
        g_test_add_func("/attic/long", test_long);
        g_test_add_func("/attic/refused", test_refused);
        g_test_add_func("/attic/moves", test_moves);
        return g_test_run();
}
