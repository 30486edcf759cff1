/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * httpfs-test — the built httpfs module against real and against broken servers
 *
 * The module is loaded into this process with a recording host (engine-fake). Servers run
 * on free ports of 127.0.0.1; one that is not installed skips its cases by name.
 *
 *     CLOUDSYNC_TEST_HTTPFS   the module
 *     CLOUDSYNC_TEST_SERVERS  tests/servers
 *     CLOUDSYNC_TEST_BENCH    set: measure fetches per second instead
 */

#include "httpfs-tests.h"

#include <glib/gstdio.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

struct context context;

struct fake *open_fs(const char *const *settings) {
        int r;
        struct fake *fake = fake_open(context.module, settings, &r);

        g_assert_cmpint(r, ==, 0);
        g_assert_nonnull(fake->instance);
        return fake;
}

char *faulty_url(const char *path) {
        return server_url(context.faulty, "http", path);
}

char *server_ask(const struct server *server, const char *path) {
        g_autofree char *url = server_url(server, "http", path);
        const char *argv[] = {"python3", "-c",
                              "import sys, urllib.request as u; "
                              "u.install_opener(u.build_opener(u.ProxyHandler({}))); "
                              "print(u.urlopen(sys.argv[1]).read().decode())",
                              url, NULL};
        char *output = NULL;

        g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                                   &output, NULL, NULL, NULL));
        return output;
}

static const char *need_env(const char *name, const char *fallback) {
        const char *value = g_getenv(name);

        if (value == NULL && fallback == NULL)
                g_error("%s is not set", name);
        return value ? value : fallback;
}

static void remove_tree(const char *path) {
        const char *argv[] = {"rm", "-rf", path, NULL};

        g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
}

static void start_faulty(void) {
        g_autofree char *script =
                g_build_filename(need_env("CLOUDSYNC_TEST_SERVERS", NULL), "faulty.py", NULL);
        g_autofree char *port = NULL;
        const char *arguments[2] = {NULL, NULL};

        context.other = server_python(context.base, script, arguments);
        if (context.other->pid == 0)
                g_error("%s", context.other->why_not);
        port = g_strdup_printf("%d", context.other->port);
        arguments[0] = port;
        context.faulty = server_python(context.base, script, arguments);
        if (context.faulty->pid == 0)
                g_error("%s", context.faulty->why_not);
}

int main(int argc, char **argv) {
        int r;

        signal(SIGPIPE, SIG_IGN);
        /* The engine has a setting for that; the environment's proxies are none. */
        g_setenv("http_proxy", "http://127.0.0.1:1/", TRUE);
        g_setenv("https_proxy", "http://127.0.0.1:1/", TRUE);
        g_setenv("no_proxy", "", TRUE);
        g_test_init(&argc, &argv, NULL);
        context.module = need_env("CLOUDSYNC_TEST_HTTPFS", NULL);
        context.base = g_dir_make_tmp("httpfs-test-XXXXXX", NULL);
        context.tree = g_build_filename(context.base, "tree", NULL);
        /* Apache gives up root and has to get in. */
        g_assert_cmpint(g_chmod(context.base, 0755), ==, 0);
        start_faulty();
        if (g_getenv("CLOUDSYNC_TEST_BENCH")) {
                add_bench();
        } else {
                add_real_tests();
                add_fault_tests();
                add_list_tests();
        }
        r = g_test_run();
        server_free(context.faulty);
        server_free(context.other);
        remove_tree(context.base);
        g_free(context.base);
        g_free(context.tree);
        return r;
}
