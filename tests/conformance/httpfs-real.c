/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The same tree through nginx, lighttpd and Apache: every entry exact, every byte right. */

#include "httpfs-tests.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const tree_files[] = {
        "plain.txt", "empty", "big.bin", "a b & <c> 'd' \"e\" %41.txt", "umlaut-\xc3\xbc.txt",
        "latin1-\xe9.txt", "semi;colon:and,comma+plus@at=eq!$*().txt", "tilde~", "back\\slash",
        "question?mark#hash", "[brackets]{braces}|pipe^", "C:drive", "percent%", "%2e%2e%2fx", "...",
        "-dash", " leading", "trailing ", "sub/x", "sub/deeper/y", "sub dir#1/file?x=1.txt",
        "many/f000", "emptydir/", "sub/index.html",
};
#define MANY 300

static guint8 *random_bytes(gsize length, guint32 seed) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
        guint8 *bytes = g_malloc(length + 4);

        for (gsize i = 0; i < length; i += 4) {
                guint32 n = g_rand_int(rand);

                memcpy(bytes + i, &n, 4);
        }
        return bytes;
}

static void make_file(const char *name, gsize length, int number) {
        g_autofree char *path = g_build_filename(context.tree, name, NULL);
        g_autofree char *parent = g_path_get_dirname(path);
        g_autofree guint8 *bytes = random_bytes(length, (guint32)number);
        struct timespec times[2] = {{.tv_sec = 1600000000}, {.tv_sec = 1600000001 + 61 * number}};

        g_assert_cmpint(g_mkdir_with_parents(parent, 0755), ==, 0);
        if (g_str_has_suffix(name, "/")) {
                g_assert_cmpint(g_mkdir_with_parents(path, 0755), ==, 0);
                return;
        }
        g_assert_true(g_file_set_contents(path, (const char *)bytes, (gssize)length, NULL));
        g_assert_cmpint(g_chmod(path, 0644), ==, 0);
        g_assert_cmpint(utimensat(AT_FDCWD, path, times, 0), ==, 0);
}

static void make_tree(void) {
        for (int i = 0; i < (int)G_N_ELEMENTS(tree_files); i++) {
                gsize length = 1000 + 37 * (gsize)i;

                if (g_str_equal(tree_files[i], "big.bin"))
                        length = 5000001;
                if (g_str_equal(tree_files[i], "empty"))
                        length = 0;
                make_file(tree_files[i], length, i);
        }
        for (int i = 0; i < MANY; i++) {
                g_autofree char *name = g_strdup_printf("many/f%03d", i);

                make_file(name, 3000 + (gsize)i, 1000 + i);
        }
        /* May not be seen: what can have no name here, and what no server lists alike. */
        make_file("new\nline", 5, 5);
}

/* What of a directory's real content an engine has to show. */
static GHashTable *expected_in(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        const char *name;

        g_assert_nonnull(dir);
        while ((name = g_dir_read_name(dir)) != NULL)
                if (strchr(name, '\n') == NULL && name[0] != '.')
                        g_hash_table_add(names, g_strdup(name));
        return names;
}

static void check_content(struct fake *fake, const char *locator, struct fake_entry *entry,
                          const char *path) {
        g_autofree char *bytes = NULL;
        gsize length;
        uint64_t spans[][2] = {{0, entry->size}, {entry->size / 3, entry->size / 3},
                               {entry->size - 1, 1}, {entry->size / 2, entry->size - entry->size / 2}};

        g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
        g_assert_cmpuint(length, ==, entry->size);
        for (size_t i = 0; entry->size > 2 && i < G_N_ELEMENTS(spans); i++) {
                struct cs_fetch fetch = {
                        .locator = locator, .version = entry->version, .size = entry->size,
                        .mtime_sec = entry->mtime_sec, .offset = spans[i][0], .length = spans[i][1]};
                auto_request struct cs_request *request = fake_fetch(fake, &fetch);

                g_assert_cmpint(request->result, ==, 0);
                g_assert_cmpmem(request->bytes->data, request->bytes->len, bytes + fetch.offset,
                                fetch.length);
        }
}

/* stat has to say what list said. */
static void check_stat(struct fake *fake, const char *locator, struct fake_entry *entry) {
        auto_request struct cs_request *request = fake_stat(fake, locator);
        struct fake_entry *told;

        g_assert_cmpint(request->result, ==, 0);
        g_assert_cmpuint(request->entries->len, ==, 1);
        told = request->entries->pdata[0];
        g_assert_cmpint(told->kind, ==, entry->kind);
        if (entry->kind != CS_KIND_FILE)
                return;
        g_assert_cmpstr(told->version, ==, entry->version);
        g_assert_cmpuint(told->size, ==, entry->size);
        g_assert_cmpint(told->mtime_sec, ==, entry->mtime_sec);
}

static void walk(struct fake *fake, const char *locator, unsigned *files) {
        g_autofree char *path = g_build_filename(context.tree, locator, NULL);
        g_autoptr(GHashTable) expected = expected_in(path);
        auto_request struct cs_request *request = fake_list(fake, locator);

        g_assert_cmpint(request->result, ==, 0);
        for (guint i = 0; i < request->entries->len; i++) {
                struct fake_entry *entry = request->entries->pdata[i];
                g_autofree char *child =
                        *locator ? g_strconcat(locator, "/", entry->name, NULL) : g_strdup(entry->name);
                g_autofree char *file = g_build_filename(context.tree, child, NULL);
                g_autofree char *printable = g_strescape(child, NULL);
                struct stat st;

                g_test_message("%s", printable);
                if (!g_hash_table_remove(expected, entry->name)) {
                        g_test_message("not expected");
                        g_assert_true(entry->name[0] == '.');
                }
                g_assert_cmpint(stat(file, &st), ==, 0);
                g_assert_cmpint(entry->kind, ==, S_ISDIR(st.st_mode) ? CS_KIND_DIRECTORY : CS_KIND_FILE);
                check_stat(fake, child, entry);
                if (entry->kind == CS_KIND_DIRECTORY) {
                        walk(fake, child, files);
                        continue;
                }
                g_assert_cmpuint(entry->size, ==, (uint64_t)st.st_size);
                g_assert_cmpint(entry->mtime_sec, ==, st.st_mtim.tv_sec);
                check_content(fake, child, entry, file);
                (*files)++;
        }
        if (g_hash_table_size(expected) > 0) {
                g_autofree const char **missing =
                        (const char **)g_hash_table_get_keys_as_array(expected, NULL);

                g_error("not listed: %s", missing[0]);
        }
}

static void check_server(struct server *server, const char *const *more, const char *format,
                         bool has_versions) {
        g_autofree char *url = server_url(server, "http", "");
        const char *settings[] = {"url", url, more ? more[0] : NULL, more ? more[1] : NULL, NULL};
        auto_fake struct fake *fake = open_fs(settings);
        unsigned files = 0;
        auto_request struct cs_request *request = fake_list(fake, "");

        g_assert_cmpint(request->result, ==, 0);
        g_assert_cmpint(request_find(request, "plain.txt")->version != NULL, ==, has_versions);
        walk(fake, "", &files);
        g_assert_cmpuint(files, >=, MANY + 20);
        if (format != NULL)
                g_assert_true(fake_logged(fake, format));
        g_assert_null(request_find(request, "new\nline"));
}

/* The file on the server is replaced: what was pinned is refused, what is new is found. */
static void check_replaced(struct server *server) {
        g_autofree char *url = server_url(server, "http", "");
        const char *settings[] = {"url", url, NULL};
        auto_fake struct fake *fake = open_fs(settings);
        struct cs_fetch fetch;
        struct fake_entry *entry;
        auto_request struct cs_request *list = NULL, *stale = NULL, *stat = NULL, *fresh = NULL;

        make_file("sub/changing", 50000, 7000);
        list = fake_list(fake, "sub");
        entry = request_find(list, "changing");
        fetch = (struct cs_fetch){.locator = "sub/changing", .version = entry->version,
                                  .size = entry->size, .mtime_sec = entry->mtime_sec,
                                  .offset = 20000, .length = 1000};
        make_file("sub/changing", 50000, 7001);
        stale = fake_fetch(fake, &fetch);
        g_assert_cmpint(stale->result, ==, -ESTALE);
        g_assert_cmpuint(stale->n_bytes, ==, 0);
        stat = fake_stat(fake, "sub/changing");
        entry = stat->entries->pdata[0];
        fetch.version = entry->version;
        fetch.mtime_sec = entry->mtime_sec;
        fresh = fake_fetch(fake, &fetch);
        g_assert_cmpint(fresh->result, ==, 0);
        g_assert_cmpuint(fresh->n_bytes, ==, 1000);
        {
                g_autofree char *path = g_build_filename(context.tree, "sub/changing", NULL);
                auto_request struct cs_request *gone = NULL, *no_stat = NULL;

                g_unlink(path);
                gone = fake_fetch(fake, &fetch);
                no_stat = fake_stat(fake, "sub/changing");
                g_assert_cmpint(gone->result, ==, -ENOENT);
                g_assert_cmpint(no_stat->result, ==, -ENOENT);
        }
}

static void with_server(struct server *server, const char *const *more, const char *format,
                        bool has_versions) {
        if (server->pid == 0) {
                g_test_skip(server->why_not);
        } else {
                check_server(server, more, format, has_versions);
                check_replaced(server);
        }
        server_free(server);
}

static void test_nginx_html(void) {
        with_server(server_nginx(context.base, context.tree, NGINX_HTML, NULL), NULL, "lists in HTML", true);
}

static void test_nginx_json(void) {
        with_server(server_nginx(context.base, context.tree, NGINX_JSON, NULL), NULL, "lists in JSON", false);
}

static void test_nginx_no_ranges(void) {
        with_server(server_nginx(context.base, context.tree, NGINX_HTML, "max_ranges 0;\n"), NULL,
                    "ignores ranges", true);
}

static void test_nginx_gzip(void) {
        with_server(server_nginx(context.base, context.tree, NGINX_HTML,
                                 "gzip on; gzip_types *; gzip_min_length 1;\n"),
                    NULL, NULL, true);
}

static void test_lighttpd(void) {
        with_server(server_lighttpd(context.base, context.tree, false), NULL, "lists in HTML", true);
}

static void test_lighttpd_webdav(void) {
        with_server(server_lighttpd(context.base, context.tree, true), NULL, "lists by WebDAV", true);
}

static void test_apache(void) {
        with_server(server_apache(context.base, context.tree, false), NULL, "lists in HTML", true);
}

static void test_apache_webdav(void) {
        with_server(server_apache(context.base, context.tree, true), NULL, "lists by WebDAV", true);
}

/* TLS with a CA of our own, and HTTP/2: many streams on few connections. */
static void test_tls(void) {
        struct server *server;
        g_autofree char *url = NULL, *log = NULL, *text = NULL;
        g_autofree char *ca = g_build_filename(context.base, "ca.pem", NULL);

        if (!make_certificates(context.base)) {
                g_test_skip("openssl is not installed, or cannot make certificates");
                return;
        }
        server = server_nginx(context.base, context.tree, NGINX_TLS, NULL);
        if (server->pid == 0) {
                g_test_skip(server->why_not);
                server_free(server);
                return;
        }
        url = server_url(server, "https", "");
        {
                const char *trusting[] = {"url", url, "cacert", ca, NULL};
                const char *old[] = {"url", url, "cacert", ca, "http2", "no", NULL};
                const char *unknown[] = {"url", url, NULL};
                const char *careless[] = {"url", url, "verify", "no", NULL};
                auto_fake struct fake *a = open_fs(trusting);
                auto_fake struct fake *b = open_fs(unknown);
                auto_fake struct fake *c = open_fs(careless);
                auto_fake struct fake *d = open_fs(old);
                auto_request struct cs_request *refused = fake_list(b, "");
                auto_request struct cs_request *any = fake_list(c, "");
                auto_request struct cs_request *h1 = fake_list(d, "");
                unsigned files = 0;

                g_assert_cmpint(refused->result, ==, -EKEYREJECTED);
                g_assert_nonnull(strstr(refused->detail, "certificate"));
                g_assert_cmpint(any->result, ==, 0);
                g_assert_cmpint(h1->result, ==, 0);
                g_assert_true(fake_logged(c, "verify=no"));
                walk(a, "", &files);
        }
        server_stop(server);
        log = g_build_filename(server->directory, "access.log", NULL);
        g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
        g_assert_nonnull(strstr(text, "HTTP/2.0 206"));
        g_assert_nonnull(strstr(text, "HTTP/1.1 200"));
        server_free(server);
}

/* Bad settings are refused by open(), with the reason in one line and no secret in it. */
static void test_settings(void) {
        static const struct {
                const char *key, *value, *logged;
        } bad[] = {
                {"url", "", "url is required"},
                {"url", "ftp://x/", "http://"},
                {"url", "http://u:geheim@x/", "credentials"},
                {"listing", "gopher", "listing"},
                {"listing", "manifest", "manifest=NAME"},
                {"manifest", "../x", "manifest"},
                {"password", "geheim", "username"},
                {"bearer", "two geheim", "one word"},
                {"netrc", "/nonexistent/netrc", "netrc"},
                {"cacert", "/nonexistent/ca.pem", "ca.pem"},
                {"cacert", "/dev/null", "PEM"},
                {"max_connections", "0", "max_connections"},
                {"stall_timeout", "1.5", "stall_timeout"},
                {"http2", "maybe", "http2"},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                const char *settings[] = {bad[i].key, bad[i].value, "url", "http://127.0.0.1/", NULL};
                int r;
                auto_fake struct fake *fake = fake_open(context.module, settings, &r);

                g_assert_cmpint(r, ==, -EINVAL);
                g_assert_null(fake->instance);
                g_assert_true(fake_logged(fake, bad[i].logged));
                g_assert_false(fake_logged(fake, "geheim"));
        }
}

/* How many small files a second ------------------------------------------------ */

struct bench {
        struct fake *fake;
        unsigned left;
        GAsyncQueue *idle; /* of struct cs_request, done */
};

static double cpu_seconds(void) {
        struct timespec t;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void bench_done(struct cs_request *request) {
        g_async_queue_push(request->data, request);
}

/* One GiB in one fetch, and by curl: both with the file in nginx's page cache. */
static void test_bench_bytes(void) {
        struct server *server = server_nginx(context.base, context.tree, NGINX_HTML, "access_log off;\n");
        g_autofree char *url = server_url(server, "http", "");
        g_autofree char *path = g_build_filename(context.tree, "huge", NULL);
        g_autofree char *command = g_strdup_printf("curl -s -o /dev/null %shuge", url);
        const char *settings[] = {"url", url, NULL};
        const uint64_t size = UINT64_C(1) << 30;
        auto_fake struct fake *fake = open_fs(settings);

        g_assert_true(g_file_set_contents(path, "", 0, NULL));
        g_assert_cmpint(truncate(path, (off_t)size), ==, 0);
        for (int i = 0; i < 4; i++) {
                gint64 begin = g_get_monotonic_time(), middle;
                double cpu;
                struct cs_fetch fetch = {.locator = "huge", .size = size, .length = size};
                auto_request struct cs_request *request = request_new(fake);

                g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
                middle = g_get_monotonic_time();
                cpu = cpu_seconds();
                request->discard = true;
                request->wanted = size;
                fake->ops->fetch(fake->instance, request, &fetch);
                request_wait(request);
                g_assert_cmpint(request->result, ==, 0);
                g_test_message("%.2f s, %.2f s of CPU; curl: %.2f s",
                               (double)(g_get_monotonic_time() - middle) / 1e6,
                               cpu_seconds() - cpu, (double)(middle - begin) / 1e6);
        }
        server_free(server);
}

static void test_bench(void) {
        struct server *server = server_nginx(context.base, context.tree, NGINX_HTML, "access_log off;\n");
        g_autofree char *url = server_url(server, "http", "");
        const char *settings[] = {"url", url, NULL};
        auto_fake struct fake *fake = open_fs(settings);
        auto_request struct cs_request *list = NULL;
        GAsyncQueue *idle = g_async_queue_new();
        const unsigned total = 40000, window = 64;
        unsigned under_way = 0;
        gint64 begin;
        double cpu;

        fake->quiet = true;
        list = fake_list(fake, "many");
        g_assert_cmpint(list->result, ==, 0);
        begin = g_get_monotonic_time();
        cpu = cpu_seconds();
        for (unsigned i = 0; i < total || under_way > 0;) {
                if (i < total && under_way < window) {
                        struct fake_entry *entry = list->entries->pdata[i % list->entries->len];
                        g_autofree char *locator = g_strconcat("many/", entry->name, NULL);
                        struct cs_request *request = request_new(fake);
                        struct cs_fetch fetch = {.locator = locator, .version = entry->version,
                                                 .size = entry->size, .length = entry->size};

                        request->wanted = entry->size;
                        request->on_done = bench_done;
                        request->data = idle;
                        fake->ops->fetch(fake->instance, request, &fetch);
                        under_way++;
                        i++;
                        continue;
                }
                {
                        struct cs_request *request = g_async_queue_pop(idle);

                        g_assert_cmpint(request->result, ==, 0);
                        request_free(request);
                        under_way--;
                }
        }
        g_test_message("%.0f fetches/s; %.1f us of CPU each, so up to %.0f/s on one core",
                       total * 1e6 / (double)(g_get_monotonic_time() - begin),
                       (cpu_seconds() - cpu) / total * 1e6, total / (cpu_seconds() - cpu));
        g_async_queue_unref(idle);
        server_free(server);
}

void add_bench(void) {
        make_tree();
        g_test_add_func("/httpfs/bench/files", test_bench);
        g_test_add_func("/httpfs/bench/bytes", test_bench_bytes);
}

void add_real_tests(void) {
        make_tree();
        g_test_add_func("/httpfs/settings", test_settings);
        g_test_add_func("/httpfs/real/nginx-html", test_nginx_html);
        g_test_add_func("/httpfs/real/nginx-json", test_nginx_json);
        g_test_add_func("/httpfs/real/nginx-no-ranges", test_nginx_no_ranges);
        g_test_add_func("/httpfs/real/nginx-gzip", test_nginx_gzip);
        g_test_add_func("/httpfs/real/nginx-tls", test_tls);
        g_test_add_func("/httpfs/real/lighttpd-html", test_lighttpd);
        g_test_add_func("/httpfs/real/lighttpd-webdav", test_lighttpd_webdav);
        g_test_add_func("/httpfs/real/apache-html", test_apache);
        g_test_add_func("/httpfs/real/apache-webdav", test_apache_webdav);
}
