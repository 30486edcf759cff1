/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* config: defaults, every key, and that nothing misspelt passes. */

#include <string.h>
#include <syslog.h>

#include <glib/gstdio.h>

#include "dispatcher/config.h"

#define STORE "[Store]\nPath=/srv/store\n"

static char *directory; /* of the files that the tests write */

static char *file_with(const char *text) {
        char *path = g_build_filename(directory, "cloudsync.conf", NULL);

        g_assert_true(g_file_set_contents(path, text, -1, NULL));
        return path;
}

/* What is loaded from this text and these arguments (NULL-terminated, or NULL). */
static int load(const char *text, const char *const *arguments, Config **ret, Failure *failure) {
        g_autofree char *path = file_with(text);
        char *argv[16] = {"cloudsyncd", "--config", path};
        int argc = 3;
        bool leave = true;
        int r;

        for (; arguments && *arguments; arguments++)
                argv[argc++] = (char *)*arguments;
        r = config_load(argc, argv, ret, &leave, failure);
        g_assert_false(leave);
        g_assert_true((r >= 0) == (*ret != NULL));
        g_assert_true((r < 0) == (failure->text != NULL));
        return r;
}

static Config *load_good(const char *text) {
        g_auto(Failure) failure = FAILURE_INIT;
        Config *config = NULL;
        int r = load(text, NULL, &config, &failure);

        if (r < 0)
                g_test_message("%s", failure.text);
        g_assert_cmpint(r, ==, 0);
        return config;
}

/* Refused, and the message has the file's name and each of the words in it. */
static void expect_bad(const char *text, const char *word, const char *other) {
        g_auto(Failure) failure = FAILURE_INIT;
        g_autoptr(Config) config = NULL;

        g_assert_cmpint(load(text, NULL, &config, &failure), <, 0);
        g_assert_nonnull(strstr(failure.text, "cloudsync.conf"));
        if (!strstr(failure.text, word) || !strstr(failure.text, other))
                g_error("“%s” does not name %s and %s", failure.text, word, other);
}

static bool has_reader(const Config *config, const char *name) {
        return g_strv_contains((const char *const *)config->sequential_readers, name);
}

static void test_defaults(void) {
        g_autoptr(Config) config = load_good(STORE);
        g_autofree char *engines = g_build_filename(directory, "engines.d", NULL);

        g_assert_cmpstr(config->path, ==, "/srv/store");
        g_assert_null(config->device);
        g_assert_null(config->filesystem);
        g_assert_cmpstr(config->hsmid, ==, "cloudsync");
        g_assert_cmpuint(config->full_below, ==, 16 << 20);
        g_assert_cmpuint(config->shutdown_limit_s, ==, 150);
        g_assert_cmpuint(config->deadline_s, ==, 60);
        g_assert_cmpuint(config->max_pending, ==, 32000);
        g_assert_cmpuint(config->max_transfers, ==, 32);
        g_assert_cmpstr(config->bus, ==, "system");
        g_assert_cmpint(config->log_level, ==, LOG_INFO);
        g_assert_cmpstr(config->engines_dir, ==, engines);
        g_assert_true(g_path_is_absolute(config->state_dir));
        g_assert_true(g_path_is_absolute(config->module_dir));
        g_assert_true(g_path_is_absolute(config->host_path));
        g_assert_cmpstr(config->engine_user, !=, "");
        g_assert_true(has_reader(config, "mpv"));
        g_assert_true(has_reader(config, "gst-launch-1.0"));
        g_assert_false(has_reader(config, "cp"));
}

static void test_keys(void) {
        g_autoptr(Config) config =
                load_good("# comment\n[Store]\n"
                          "Path=/srv/a b/\n"
                          "Device=/var/lib/x.img\n"
                          "FileSystem=xfs\n"
                          "HsmId=\n"
                          "ShutdownLimit=0\n"
                          "[Hydration]\n"
                          "FullBelow = 2M \n"
                          "Deadline=1\n"
                          "MaxPending=1000000\n"
                          "MaxTransfers=96\n"
                          "SequentialReaders=md5sum;!vlc; a-name-of-17-byte;mpv\n");

        g_assert_cmpstr(config->path, ==, "/srv/a b");
        g_assert_cmpstr(config->device, ==, "/var/lib/x.img");
        g_assert_cmpstr(config->filesystem, ==, "xfs");
        g_assert_null(config->hsmid);
        g_assert_cmpuint(config->full_below, ==, 2 << 20);
        g_assert_cmpuint(config->shutdown_limit_s, ==, 0);
        g_assert_cmpuint(config->deadline_s, ==, 1);
        g_assert_cmpuint(config->max_pending, ==, 1000000);
        g_assert_cmpuint(config->max_transfers, ==, 96);
        g_assert_true(has_reader(config, "md5sum"));
        g_assert_true(has_reader(config, "mpv"));
        g_assert_true(has_reader(config, "a-name-of-17-by")); /* what the kernel keeps */
        g_assert_false(has_reader(config, "vlc"));
        g_assert_cmpuint(g_strv_length(config->sequential_readers), ==, 12);
}

/* What the example shows commented out may be uncommented. */
static void test_empty_keys(void) {
        g_autoptr(Config) config = load_good(STORE "FileSystem=\nHsmId=\n");

        g_assert_null(config->filesystem);
        g_assert_null(config->hsmid);
}

static void test_bad_keys(void) {
        static const struct {
                const char *text, *word, *other;
        } cases[] = {
                {"", "[Store]", "Path="},
                {"[Hydration]\nDeadline=1\n", "[Store]", "Path="},
                {STORE "[Hydration]\nFulBelow=1M\n", "[Hydration]", "FulBelow"},
                {STORE "[Hydration]\nfullbelow=1M\n", "[Hydration]", "fullbelow"},
                {STORE "FullBelow=1M\n", "[Store]", "FullBelow"},
                {STORE "[Hydrations]\n", "group", "[Hydrations]"},
                {STORE "[]\nX=1\n", "", ""},
                {STORE "no equals\n", "", ""},
                {"Path=/x\n" STORE, "", ""},
                {STORE "[Hydration]\nFullBelow=\n", "FullBelow", "[Hydration]"},
                {STORE "[Hydration]\nFullBelow=-1\n", "FullBelow", "[Hydration]"},
                {STORE "[Hydration]\nFullBelow=16 M\n", "FullBelow", "[Hydration]"},
                {STORE "ShutdownLimit=3601\n", "ShutdownLimit", "3600"},
                {STORE "[Hydration]\nDeadline=0\n", "Deadline", "86400"},
                {STORE "[Hydration]\nDeadline=5min\n", "Deadline", "5min"},
                {STORE "[Hydration]\nDeadline=4294967297\n", "Deadline", "[Hydration]"},
                {STORE "[Hydration]\nMaxTransfers=97\n", "MaxTransfers", "1 to 96"},
                {STORE "[Hydration]\nMaxPending=0\n", "MaxPending", "[Hydration]"},
                {STORE "[Hydration]\nSequentialReaders=/usr/bin/mpv\n", "SequentialReaders", "mpv"},
                {"[Store]\nPath=relative\n", "Path", "absolute"},
                {"[Store]\nPath=/\n", "Path", "absolute"},
                {"[Store]\nPath=/a/../b\n", "Path", "absolute"},
                {"[Store]\nPath=/a//b\n", "Path", "absolute"},
                {"[Store]\nPath=\n", "Path", "absolute"},
                {"[Store]\nPath=/a\\q\n", "Path", "[Store]"},
                {STORE "FileSystem=ext4,ro\n", "FileSystem", "[Store]"},
                {STORE "HsmId=a/b\n", "HsmId", "[Store]"},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                expect_bad(cases[i].text, cases[i].word, cases[i].other);
}

static void test_sizes(void) {
        static const struct {
                const char *text;
                bool good;
                uint64_t size;
        } cases[] = {
                {"0", true, 0},
                {"1", true, 1},
                {"4096", true, 4096},
                {"1K", true, 1024},
                {"1k", true, 1024},
                {"3M", true, 3u << 20},
                {"2G", true, 2ull << 30},
                {"1T", true, 1ull << 40},
                {"8388607T", true, 8388607ull << 40},
                {"8388608T", false, 0},
                {"9223372036854775807", true, INT64_MAX},
                {"9223372036854775808", false, 0},
                {"18446744073709551616", false, 0},
                {"", false, 0},
                {"K", false, 0},
                {"1KK", false, 0},
                {"1MB", false, 0},
                {"+1", false, 0},
                {"-1", false, 0},
                {" 1", false, 0},
                {"1 ", false, 0},
                {"0x10", false, 0},
                {"1.5G", false, 0},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                uint64_t size = 77;
                int r = config_parse_size(cases[i].text, &size);

                if ((r >= 0) != cases[i].good || (r >= 0 && size != cases[i].size))
                        g_error("“%s”: %d, %" G_GUINT64_FORMAT, cases[i].text, r, size);
        }
}

static void test_arguments(void) {
        static const char *const arguments[] = {"--bus=none",      "--state-dir", "state",
                                                "--module-dir=/m", "--host-path", "/h",
                                                "--engine-user",   "somebody",    "--log-level",
                                                "debug",           NULL};
        g_autoptr(Config) config = NULL;
        g_auto(Failure) failure = FAILURE_INIT;

        g_assert_cmpint(load(STORE, arguments, &config, &failure), ==, 0);
        g_assert_cmpstr(config->bus, ==, "none");
        g_assert_true(g_path_is_absolute(config->state_dir));
        g_assert_true(g_str_has_suffix(config->state_dir, "/state"));
        g_assert_cmpstr(config->module_dir, ==, "/m");
        g_assert_cmpstr(config->host_path, ==, "/h");
        g_assert_cmpstr(config->engine_user, ==, "somebody");
        g_assert_cmpint(config->log_level, ==, LOG_DEBUG);
}

static void test_bad_arguments(void) {
        static const char *const cases[] = {"--confg=x", "extra", "--log-level=loud", "-x"};

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                const char *const arguments[] = {cases[i], NULL};
                g_autoptr(Config) config = NULL;
                g_auto(Failure) failure = FAILURE_INIT;

                g_assert_cmpint(load(STORE, arguments, &config, &failure), <, 0);
                g_assert_cmpstr(failure.text, !=, "");
        }
}

static void test_missing_file(void) {
        g_autofree char *path = g_build_filename(directory, "nothing.conf", NULL);
        char *argv[] = {"cloudsyncd", "--config", path, NULL};
        g_autoptr(Config) config = NULL;
        g_auto(Failure) failure = FAILURE_INIT;
        bool leave = true;

        g_assert_cmpint(config_load(3, argv, &config, &leave, &failure), <, 0);
        g_assert_false(leave);
        g_assert_nonnull(strstr(failure.text, "nothing.conf"));
        argv[2] = directory;
        failure_clear(&failure);
        g_assert_cmpint(config_load(3, argv, &config, &leave, &failure), <, 0);
        g_assert_nonnull(strstr(failure.text, directory));
}

/* --check reads all of it, and wants the store that is attached, if one is. */
static void test_check(void) {
        g_autofree char *file = file_with("[Store]\nPath=/tmp\nDevice=/dev/null\n");
        char *argv[] = {(char *)"cloudsyncd", (char *)"--check", (char *)"--config", file, NULL};
        static const struct {
                const char *attached;
                bool good;
        } cases[] = {
                {NULL, true},
                {"/tmp\n/dev/null", true},
                {"/tmp\n/dev/zero", false},
                {"/tmp\n", false},
                {"/usr\n/dev/null", false},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_auto(Failure) failure = FAILURE_INIT;
                Config *config = NULL;
                bool leave = false;

                if (cases[i].attached)
                        g_setenv(CONFIG_CHECK_STORE, cases[i].attached, TRUE);
                g_assert_cmpint(config_load(4, argv, &config, &leave, &failure), ==,
                                cases[i].good ? 0 : -EINVAL);
                g_assert_true(leave);
                g_assert_null(config);
        }
        g_unsetenv(CONFIG_CHECK_STORE);
}

/* --help prints every option and the defaults of this build, and loads nothing. */
static void test_help(void) {
        if (g_test_subprocess()) {
                char *argv[] = {"cloudsyncd", "--help", NULL};
                Config *config = NULL;
                bool leave = false;

                g_assert_cmpint(config_load(2, argv, &config, &leave, NULL), ==, 0);
                g_assert_true(leave);
                g_assert_null(config);
                argv[1] = "--version";
                g_assert_cmpint(config_load(2, argv, &config, &leave, NULL), ==, 0);
                g_assert_true(leave);
                return;
        }
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        g_test_trap_assert_stdout("*--config=FILE*--bus=*--state-dir=*--module-dir=*--host-path=*"
                                  "--engine-user=*--log-level=*--check*--version*cloudsyncd *");
}

int main(int argc, char **argv) {
        int r;

        g_test_init(&argc, &argv, NULL);
        directory = g_dir_make_tmp("config-XXXXXX", NULL);
        g_test_add_func("/config/defaults", test_defaults);
        g_test_add_func("/config/keys", test_keys);
        g_test_add_func("/config/empty-keys", test_empty_keys);
        g_test_add_func("/config/bad-keys", test_bad_keys);
        g_test_add_func("/config/sizes", test_sizes);
        g_test_add_func("/config/arguments", test_arguments);
        g_test_add_func("/config/bad-arguments", test_bad_arguments);
        g_test_add_func("/config/missing-file", test_missing_file);
        g_test_add_func("/config/check", test_check);
        g_test_add_func("/config/help", test_help);
        r = g_test_run();
        {
                g_autofree char *path = g_build_filename(directory, "cloudsync.conf", NULL);
                (void)g_unlink(path);
                (void)g_rmdir(directory);
                g_free(directory);
        }
        return r;
}
