/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* registration: what is allowed, text and back, and files that others could have written. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "dispatcher/engines/registration-text.h"
#include "dispatcher/engines/registration.h"
#include "shared/log.h"
#include "shared/names.h"

typedef struct Fixture {
        char *directory; /* engines.d; does not exist at first */
        char *parent;
} Fixture;

static void set_up(Fixture *f, gconstpointer data) {
        f->parent = g_dir_make_tmp("registration-XXXXXX", NULL);
        g_assert_nonnull(f->parent);
        f->directory = g_build_filename(f->parent, "engines.d", NULL);
}

static void remove_tree(const char *path) {
        GDir *dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *below = g_build_filename(path, name, NULL);
                if (g_file_test(below, G_FILE_TEST_IS_DIR) &&
                    !g_file_test(below, G_FILE_TEST_IS_SYMLINK))
                        remove_tree(below);
                else
                        (void)g_unlink(below);
        }
        g_clear_pointer(&dir, g_dir_close);
        (void)g_rmdir(path);
}

static void tear_down(Fixture *f, gconstpointer data) {
        remove_tree(f->parent);
        g_free(f->directory);
        g_free(f->parent);
}

static void put(Registration *registration, const char *key, const char *value) {
        g_hash_table_replace(registration->settings, g_strdup(key), g_strdup(value));
}

static void assert_equal(const Registration *a, const Registration *b) {
        GHashTableIter iter;
        gpointer key, value;

        g_assert_cmpstr(a->id, ==, b->id);
        g_assert_cmpstr(a->module, ==, b->module);
        g_assert_cmpstr(a->prefix, ==, b->prefix);
        g_assert_cmpint(a->hydration, ==, b->hydration);
        g_assert_cmpuint(a->refresh_s, ==, b->refresh_s);
        g_assert_cmpuint(g_hash_table_size(a->settings), ==, g_hash_table_size(b->settings));
        g_hash_table_iter_init(&iter, a->settings);
        while (g_hash_table_iter_next(&iter, &key, &value))
                g_assert_cmpstr(value, ==, g_hash_table_lookup(b->settings, key));
}

static GPtrArray *load(const Fixture *f) {
        GPtrArray *list = NULL;

        g_assert_cmpint(registration_load_all(f->directory, &list), ==, 0);
        g_assert_nonnull(list);
        return list;
}

static char *path_of(const Fixture *f, const char *name) {
        return g_build_filename(f->directory, name, NULL);
}

static void write_file(const Fixture *f, const char *name, const char *text, mode_t mode) {
        g_autofree char *path = path_of(f, name);

        (void)g_mkdir(f->directory, 0700);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
        g_assert_cmpint(g_chmod(path, mode), ==, 0);
}

#define GOOD "[Engine]\nModule=httpfs\nPrefix=web\n"

/* --- what is allowed --- */

static void expect_check(Registration *registration, const char *name) {
        g_autoptr(Registration) owned = registration;
        g_auto(Failure) failure = FAILURE_INIT;
        int r = registration_check(owned, &failure);

        g_assert_cmpstr(failure.name, ==, name);
        g_assert_cmpint(r < 0, ==, name != NULL);
        if (name) {
                g_assert_cmpuint(strlen(failure.text), >, 20);
                g_assert_cmpuint(strlen(failure.text), <, 500); /* not an echo of a megabyte */
                g_assert_true(g_utf8_validate(failure.text, -1, NULL));
        }
        g_assert_cmpint(registration_check(owned, NULL), ==, r);
}

static void test_check(void) {
        g_autofree char *huge = g_strnfill(1 << 20, 'a');
        g_autofree char *long_value = g_strnfill(NAME_SETTING_VALUE_MAX, 'v');
        g_autofree char *too_long_value = g_strnfill(NAME_SETTING_VALUE_MAX + 1, 'v');
        static const char *const bad_ids[] = {"", "A", "1a", "a/b", "a b", "..", "a\n", "ä"};
        static const char *const bad_prefixes[] = {
                "",  "/",   "/a",   "a/",   "a//b",       "..",          "a/../b",
                ".", "a/.", "a\nb", "\xff", ".cloudsync", ".cloudsync/x"};
        Registration *r;

        expect_check(registration_new("web", "httpfs", "a/b c/ä"), NULL);
        for (size_t i = 0; i < G_N_ELEMENTS(bad_ids); i++) {
                expect_check(registration_new(bad_ids[i], "httpfs", "a"), "InvalidId");
                expect_check(registration_new("web", bad_ids[i], "a"), "InvalidModule");
        }
        expect_check(registration_new("web", "../httpfs", "a"), "InvalidModule");
        expect_check(registration_new("web", "httpfs.so", "a"), "InvalidModule");
        for (size_t i = 0; i < G_N_ELEMENTS(bad_prefixes); i++)
                expect_check(registration_new("web", "httpfs", bad_prefixes[i]), "InvalidPrefix");
        expect_check(registration_new(huge, "httpfs", "a"), "InvalidId");
        expect_check(registration_new("web", huge, "a"), "InvalidModule");
        expect_check(registration_new("web", "httpfs", huge), "InvalidPrefix");
        expect_check(registration_new(NULL, "httpfs", "a"), "InvalidId");
        expect_check(registration_new("web", NULL, "a"), "InvalidModule");
        expect_check(registration_new("web", "httpfs", NULL), "InvalidPrefix");

        r = registration_new("web", "httpfs", "a");
        put(r, "url", long_value);
        expect_check(r, NULL);
        r = registration_new("web", "httpfs", "a");
        put(r, "url", too_long_value);
        expect_check(r, "InvalidSetting");
        r = registration_new("web", "httpfs", "a");
        put(r, "url", "\xff");
        expect_check(r, "InvalidSetting");
        r = registration_new("web", "httpfs", "a");
        put(r, "url", "\f form feed");
        expect_check(r, "InvalidSetting");
        r = registration_new("web", "httpfs", "a");
        put(r, "a=b", "c");
        expect_check(r, "InvalidSetting");
        r = registration_new("web", "httpfs", "a");
        put(r, huge, "c");
        expect_check(r, "InvalidSetting");
        r = registration_new("web", "httpfs", "a");
        put(r, REGISTRATION_CREDENTIAL_PREFIX "token", "t");
        expect_check(r, "InvalidSetting");
        r = registration_new("web", "httpfs", "a");
        put(r, REGISTRATION_HYDRATION_KEY, "ranges");
        expect_check(r, "InvalidSetting");
}

static void test_check_count(void) {
        g_autoptr(Registration) r = registration_new("web", "httpfs", "a");

        for (unsigned i = 0; i < NAME_SETTINGS_MAX; i++) {
                g_autofree char *key = g_strdup_printf("k%u", i);
                put(r, key, "v");
        }
        g_assert_cmpint(registration_check(r, NULL), ==, 0);
        put(r, "one-more", "v");
        g_assert_cmpint(registration_check(r, NULL), <, 0);
}

static void test_refresh(void) {
        static const char *const bad[] = {"", "1", "9", "-10", "+10", "10s", " 10", "10 ", "0x10", "2592001", "99999999",
                                          "4294967306", "1e3"};
        unsigned seconds = 7;

        g_assert_cmpint(refresh_parse("0", &seconds), ==, 0);
        g_assert_cmpuint(seconds, ==, 0);
        g_assert_cmpint(refresh_parse("10", &seconds), ==, 0);
        g_assert_cmpuint(seconds, ==, 10);
        g_assert_cmpint(refresh_parse("2592000", &seconds), ==, 0);
        g_assert_cmpint(refresh_parse(NULL, &seconds), ==, -EINVAL);
        for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_cmpint(refresh_parse(bad[i], &seconds), ==, -EINVAL);
        g_assert_cmpuint(seconds, ==, 2592000);
}

static void test_hydration(void) {
        enum hydration hydration = HYDRATION_AUTO;

        g_assert_cmpint(hydration_parse("ranges", &hydration), ==, 0);
        g_assert_cmpint(hydration, ==, HYDRATION_RANGES);
        g_assert_cmpint(hydration_parse("whole", &hydration), ==, 0);
        g_assert_cmpint(hydration, ==, HYDRATION_WHOLE);
        g_assert_cmpint(hydration_parse("Whole", &hydration), ==, -EINVAL);
        g_assert_cmpint(hydration_parse("", &hydration), ==, -EINVAL);
        g_assert_cmpint(hydration_parse(NULL, &hydration), ==, -EINVAL);
        g_assert_cmpstr(hydration_name(HYDRATION_AUTO), ==, "auto");
}

static void test_secret_keys(void) {
        static const char *const secret[] = {"password", "HttpPassword",  "access_token",
                                             "bearer",   "client-secret", "KEY",
                                             "api.key"};
        static const char *const open_[] = {"url", "user", "depth", "pass"};

        for (size_t i = 0; i < G_N_ELEMENTS(secret); i++)
                g_assert_true(registration_key_is_secret(secret[i]));
        for (size_t i = 0; i < G_N_ELEMENTS(open_); i++)
                g_assert_false(registration_key_is_secret(open_[i]));
}

/* --- text and back --- */

static void round_trip(const Registration *a) {
        g_autoptr(Registration) b = NULL;
        g_auto(Failure) failure = FAILURE_INIT;
        g_autofree char *text = NULL, *again = NULL;
        gsize length, again_length;

        text = registration_to_text(a, &length);
        g_assert_cmpint(registration_from_text(a->id, text, length, &b, &failure), ==, 0);
        assert_equal(a, b);
        again = registration_to_text(b, &again_length);
        g_assert_cmpstr(text, ==, again);
}

static void test_round_trip(void) {
        static const char *const values[] = {
                "",           " ",        "  two",
                "trailing ",  "\t",       "a\tb",
                "a\nb",       "\n",       "a\r\n",
                "\\",         "\\n",      "\\s",
                "a=b",        "[Engine]", "#no comment",
                ";",          "a;b;",     "ä€𝄞",
                "\"quoted\"", "%20",      "x\n[Engine]\nModule=evil",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
                g_autoptr(Registration) a = registration_new("web", "httpfs", "a b/ \\c/[d]/#e");
                a->hydration = (enum hydration)(i % 3);
                a->refresh_s = i % 2 ? 10 + i : 0;
                put(a, "url", values[i]);
                put(a, "Other.key_-", values[G_N_ELEMENTS(values) - 1 - i]);
                round_trip(a);
        }
}

static void test_round_trip_random(void) {
        static const char alphabet[] = "  \t\n\r\\\\\"'ntsr;=#[]ab \xc3\xa4";

        for (int i = 0; i < 2000; i++) {
                g_autoptr(Registration) a = registration_new("web", "httpfs", "p");
                g_autoptr(GString) value = g_string_new(NULL);
                int n = g_test_rand_int_range(0, 20);

                while (n-- > 0)
                        g_string_append_c(value,
                                          alphabet[g_test_rand_int_range(0, sizeof(alphabet) - 1)]);
                if (!g_utf8_validate(value->str, -1, NULL))
                        continue;
                put(a, "v", value->str);
                round_trip(a);
        }
}

static void expect_text(const char *text, bool good) {
        g_autoptr(Registration) registration = NULL;
        g_auto(Failure) failure = FAILURE_INIT;
        int r = registration_from_text("web", text, strlen(text), &registration, &failure);

        g_assert_cmpint(r >= 0, ==, good);
        g_assert_true((failure.name == NULL) == good);
        g_assert_true((registration != NULL) == good);
        if (!good)
                g_assert_null(strstr(failure.text, "hunter2"));
}

static void test_text(void) {
        expect_text(GOOD, true);
        expect_text("# comment\n" GOOD "Hydration=whole\n[Settings]\nurl=http://x/\n", true);
        expect_text("", false);
        expect_text("[Engine]\nModule=httpfs\n", false);
        expect_text("[Engine]\nPrefix=a\n", false);
        expect_text(GOOD "Hydrate=whole\n", false);
        expect_text(GOOD "Hydration=sometimes\n", false);
        expect_text(GOOD "Refresh=600\n", true);
        expect_text(GOOD "Refresh=5\n", false);
        expect_text(GOOD "Refresh=often\n", false);
        expect_text(GOOD "[Settings]\nrefresh=600\n", false);
        expect_text(GOOD "[Setting]\nurl=x\n", false);
        expect_text("[Engine]\nModule=httpfs\nPrefix=../x\n", false);
        expect_text("[Engine]\nModule=../../httpfs\nPrefix=x\n", false);
        expect_text(GOOD "[Settings]\npassword=hunter2\\q\n", false);
        expect_text(GOOD "[Settings]\npassword hunter2\n", false);
        expect_text("[Engine]\nModule=httpfs\nPrefix=a\\q\n", false);
        expect_text(GOOD "Hydration=whole\\q\n", false);
        expect_text(GOOD "[Settings]\nhydration=hunter2\n", false);
        expect_text("Module=hunter2\n" GOOD, false);
        expect_text("[Engine]\nModule=httpfs\nPrefix=\xff\n", false);
}

static void test_text_nul(void) {
        static const char text[] = GOOD "[Settings]\nurl=a\0b\n";
        g_autoptr(Registration) registration = NULL;

        g_assert_cmpint(registration_from_text("web", text, sizeof(text) - 1, &registration, NULL),
                        <, 0);
}

/* --- files --- */

static void test_save_load(Fixture *f, gconstpointer data) {
        g_autoptr(Registration) a = registration_new("web", "httpfs", "web/a");
        g_autoptr(Registration) b = registration_new("alpha", "dropbox", "box");
        g_autoptr(GPtrArray) list = NULL, after = NULL;
        g_autofree char *path = path_of(f, "web.conf");
        mode_t mask = umask(0);
        struct stat st;

        put(a, "password", "hunter2");
        a->hydration = HYDRATION_RANGES;
        g_assert_cmpint(registration_save(f->directory, a, NULL), ==, 0);
        umask(0777); /* a hostile umask takes nothing that is needed away */
        g_assert_cmpint(registration_save(f->directory, b, NULL), ==, 0);
        (void)umask(mask);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
        g_assert_cmpint(stat(f->directory, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 07777, ==, 0700);

        list = load(f);
        g_assert_cmpuint(list->len, ==, 2);
        assert_equal(list->pdata[0], b); /* in the order of the ids */
        assert_equal(list->pdata[1], a);

        g_assert_cmpint(registration_remove(f->directory, "web"), ==, 0);
        g_assert_cmpint(registration_remove(f->directory, "web"), ==, 0);
        g_assert_cmpint(registration_remove(f->directory, "../web"), <, 0);
        after = load(f);
        g_assert_cmpuint(after->len, ==, 1);
}

static void test_save_again(Fixture *f, gconstpointer data) {
        g_autoptr(Registration) a = registration_new("web", "httpfs", "one");
        g_autoptr(Registration) b = registration_new("web", "httpfs", "two");
        g_autoptr(GPtrArray) list = NULL;

        g_assert_cmpint(registration_save(f->directory, a, NULL), ==, 0);
        g_assert_cmpint(registration_save(f->directory, b, NULL), ==, 0);
        list = load(f);
        g_assert_cmpuint(list->len, ==, 1);
        assert_equal(list->pdata[0], b);
}

static void test_save_refuses(Fixture *f, gconstpointer data) {
        g_autoptr(Registration) bad = registration_new("../evil", "httpfs", "one");
        g_autoptr(Registration) good = registration_new("web", "httpfs", "one");
        g_auto(Failure) failure = FAILURE_INIT;
        g_autofree char *evil = g_build_filename(f->parent, "evil.conf", NULL);
        g_autofree char *name = path_of(f, "web.conf");
        g_autofree char *temporary = path_of(f, ".web.conf.tmp");

        g_assert_cmpint(registration_save(f->directory, bad, NULL), <, 0);
        g_assert_false(g_file_test(evil, G_FILE_TEST_EXISTS));

        /* the rename cannot work: nothing may be left */
        g_assert_cmpint(g_mkdir_with_parents(name, 0700), ==, 0);
        g_assert_cmpint(registration_save(f->directory, good, &failure), <, 0);
        g_assert_cmpstr(failure.name, ==, "SaveFailed");
        g_assert_false(g_file_test(temporary, G_FILE_TEST_EXISTS));
}

/* A file or link that waits under the temporary name is not written through. */
static void test_save_temporary_taken(Fixture *f, gconstpointer data) {
        g_autoptr(Registration) a = registration_new("web", "httpfs", "one");
        g_autofree char *temporary = path_of(f, ".web.conf.tmp");
        g_autofree char *victim = g_build_filename(f->parent, "victim", NULL);
        g_autofree char *text = NULL;

        g_assert_cmpint(g_mkdir(f->directory, 0700), ==, 0);
        g_assert_true(g_file_set_contents(victim, "safe", -1, NULL));
        g_assert_cmpint(symlink(victim, temporary), ==, 0);
        g_assert_cmpint(registration_save(f->directory, a, NULL), ==, 0);
        g_assert_true(g_file_get_contents(victim, &text, NULL, NULL));
        g_assert_cmpstr(text, ==, "safe");
}

static void test_load_none(Fixture *f, gconstpointer data) {
        g_autoptr(GPtrArray) list = load(f);

        g_assert_cmpuint(list->len, ==, 0);
}

static void expect_loaded(const Fixture *f, const char *ids) {
        g_autoptr(GPtrArray) list = load(f);
        g_autoptr(GString) got = g_string_new(NULL);

        for (guint i = 0; i < list->len; i++)
                g_string_append_printf(got, "%s%s", i ? " " : "",
                                       ((Registration *)list->pdata[i])->id);
        g_assert_cmpstr(got->str, ==, ids);
}

static void test_load_bad(Fixture *f, gconstpointer data) {
        g_autofree char *link = path_of(f, "link.conf");
        g_autofree char *target = path_of(f, "zz.conf");
        g_autofree char *fifo = path_of(f, "fifo.conf");
        g_autofree char *directory = path_of(f, "dir.conf");
        g_autofree char *stray = path_of(f, ".web.conf.tmp");
        g_autofree char *big = g_strnfill(3 << 20, '#');

        write_file(f, "zz.conf", GOOD, 0600);
        write_file(f, "readable.conf", GOOD "[Settings]\npassword=x\n", 0644); /* warned about */
        write_file(f, "groupw.conf", GOOD, 0620);
        write_file(f, "worldw.conf", GOOD, 0602);
        write_file(f, "broken.conf", "[Engine\n", 0600);
        write_file(f, "empty.conf", "", 0600);
        write_file(f, "Upper.conf", GOOD, 0600);
        write_file(f, "backup.conf~", GOOD, 0600);
        write_file(f, "README", "text", 0600);
        write_file(f, "big.conf", big, 0600);
        write_file(f, ".web.conf.tmp", GOOD, 0600);
        g_assert_cmpint(symlink(target, link), ==, 0);
        g_assert_cmpint(mkfifo(fifo, 0600), ==, 0); /* does not block */
        g_assert_cmpint(g_mkdir(directory, 0700), ==, 0);
        expect_loaded(f, "readable zz");
        g_assert_false(g_file_test(stray, G_FILE_TEST_EXISTS));

        /* the directory decides for all */
        g_assert_cmpint(g_chmod(f->directory, 0777), ==, 0);
        {
                g_autoptr(GPtrArray) list = NULL;
                g_assert_cmpint(registration_load_all(f->directory, &list), ==, -EPERM);
                g_assert_null(list);
        }
}

static void test_load_foreign(Fixture *f, gconstpointer data) {
        g_autofree char *path = path_of(f, "foreign.conf");

        if (geteuid() != 0) {
                g_test_skip("needs root to make another user's file");
                return;
        }
        write_file(f, "own.conf", GOOD, 0600);
        write_file(f, "foreign.conf", GOOD, 0600);
        g_assert_cmpint(chown(path, 65534, 65534), ==, 0);
        expect_loaded(f, "own");
}

static void test_load_limit(Fixture *f, gconstpointer data) {
        for (unsigned i = 0; i < REGISTRATION_MAX + 3; i++) {
                g_autofree char *name = g_strdup_printf("e%04u.conf", i);
                write_file(f, name, GOOD, 0600);
        }
        g_autoptr(GPtrArray) list = load(f);
        g_assert_cmpuint(list->len, ==, REGISTRATION_MAX);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        log_open("registration-test", -1);
        g_test_add_func("/registration/check", test_check);
        g_test_add_func("/registration/check-count", test_check_count);
        g_test_add_func("/registration/refresh", test_refresh);
        g_test_add_func("/registration/hydration", test_hydration);
        g_test_add_func("/registration/secret-keys", test_secret_keys);
        g_test_add_func("/registration/round-trip", test_round_trip);
        g_test_add_func("/registration/round-trip-random", test_round_trip_random);
        g_test_add_func("/registration/text", test_text);
        g_test_add_func("/registration/text-nul", test_text_nul);
#define ADD(name, function)                                                                        \
        g_test_add("/registration/" name, Fixture, NULL, set_up, function, tear_down)
        ADD("save-load", test_save_load);
        ADD("save-again", test_save_again);
        ADD("save-refuses", test_save_refuses);
        ADD("save-temporary-taken", test_save_temporary_taken);
        ADD("load-none", test_load_none);
        ADD("load-bad", test_load_bad);
        ADD("load-foreign", test_load_foreign);
        ADD("load-limit", test_load_limit);
        return g_test_run();
}
