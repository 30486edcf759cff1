/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Listings that are hostile, broken, endless or huge (tests/servers/faulty.py), and stat. */

#include "httpfs-tests.h"

#include <errno.h>
#include <string.h>

#define SIZE 200000u
#define MTIME 1700000001

static int by_name(gconstpointer a, gconstpointer b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "name name dir/ unknown? …" in order of names; each entry checked for what every entry has to be. */
static char *names_of(struct cs_request *request) {
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

        for (guint i = 0; i < request->entries->len; i++) {
                struct fake_entry *entry = request->entries->pdata[i];

                g_assert_cmpuint(strlen(entry->name), <=, CS_NAME_MAX);
                g_assert_null(strchr(entry->name, '/'));
                g_assert_cmpstr(entry->name, !=, "..");
                g_assert_cmpstr(entry->name, !=, ".");
                g_ptr_array_add(names, g_strconcat(entry->name,
                                                   entry->kind == CS_KIND_DIRECTORY ? "/"
                                                   : entry->kind == CS_KIND_UNKNOWN ? "?"
                                                                                    : "",
                                                   NULL));
        }
        g_ptr_array_sort(names, by_name);
        g_ptr_array_add(names, NULL);
        return g_strjoinv(" ", (char **)names->pdata);
}

struct list_case {
        const char *listing; /* the setting, or NULL */
        const char *locator;
        int result;
        uint32_t retry_after_ms;
        const char *names;
        const char *logged, *detail; /* in the log, in the detail; or NULL */
};

static const struct list_case cases[] = {
        {"auto", "list/evil", 0, 0,
         "... C:\\windows absolute dotted encoded frag good percent%41 slashes spaced sub/ whole",
         "with a name that cannot exist here", NULL},
        {"html", "list/heads", 0, 0,
         "bad? encoded? fine flaky forbidden? isdir/ moved nolength? reset weak", "1 not there any more", NULL},
        {"html", "list/busy", -EAGAIN, 1000, NULL, NULL, "HTTP 503 for HEAD"},
        {"html", "list/nothing", 0, 0, "", NULL, NULL},
        {"html", "list/page", 0, 0, "good sub/", NULL, NULL},
        {"auto", "list/page", -EOPNOTSUPP, 0, "", NULL, "no index"},
        {"auto", "list/text", -EOPNOTSUPP, 0, "", NULL, NULL},
        {"html", "list/endless", -EFBIG, 0, NULL, NULL, "too large"},
        {"html", "list/cut", -ECONNRESET, 0, NULL, NULL, NULL},
        {"html", "list/busy503", -EAGAIN, 2000, "", NULL, "Retry-After 2 s"},
        {"html", "list/missing", -ENOENT, 0, "", NULL, "HTTP 404 for GET"},
        {"html", "list/offsite", -EPROTO, 0, "", NULL, "not below"},
        {"html", "list/../x", -EINVAL, 0, "", NULL, NULL},
        {"json", "list/jsonevil", 0, 0, "dir/ float good huge negative nodate percent%2F text typeless? yy", "skipped", NULL},
        {"json", "list/jsondeep", -EPROTO, 0, "", NULL, "malformed"},
        {"json", "list/jsoncut", -EPROTO, 0, "a", NULL, "malformed"},
        {"json", "list/jsonlong", -EPROTO, 0, "", NULL, "malformed"},
        {"json", "list/page", -EOPNOTSUPP, 0, "", NULL, NULL},
        {"webdav", "list/dav", 0, 0, "amp&amp;& good hidden? nolength noslash/ sub/ unknown weak", "skipped", NULL},
        {"webdav", "list/davbomb", -EPROTO, 0, "", NULL, "malformed"},
        {"webdav", "list/davexternal", -EPROTO, 0, "", NULL, "malformed"},
        {"webdav", "list/davdeep", -EPROTO, 0, "", NULL, "malformed"},
        {"webdav", "list/davcut", -EPROTO, 0, "", NULL, "malformed"},
        {"webdav", "list/evil", -EOPNOTSUPP, 0, "", NULL, "HTTP 405 for PROPFIND"},
};

static char *expected_names(const struct list_case *c) {
        g_auto(GStrv) words = g_strsplit(c->names, "yy", 2);
        g_autofree char *long_name = g_strnfill(255, 'y');

        return words[0] && words[1] ? g_strconcat(words[0], long_name, words[1], NULL)
                                    : g_strdup(c->names);
}

static void test_listings(void) {
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                const struct list_case *c = &cases[i];
                /* For auto the root has to be an index. */
                bool sub = !g_str_equal(c->listing, "auto");
                g_autofree char *url = faulty_url(sub ? "" : c->locator);
                const char *settings[] = {"url", url, "listing", c->listing, NULL};
                auto_fake struct fake *fake = open_fs(settings);
                auto_request struct cs_request *request = NULL;

                g_test_message("%s as %s", c->locator, c->listing);
                g_free(server_ask(context.faulty, ".reset"));
                request = fake_list(fake, sub ? c->locator : "");
                g_assert_cmpint(request->result, ==, c->result);
                g_assert_cmpuint(request->retry_after_ms, ==, c->retry_after_ms);
                if (c->names != NULL) {
                        g_autofree char *names = names_of(request), *expected = expected_names(c);

                        g_assert_cmpstr(names, ==, expected);
                }
                if (c->logged != NULL)
                        g_assert_true(fake_logged(fake, c->logged));
                /* What was left out is counted by the host. */
                if (c->result == 0)
                        g_assert_cmpint(request->refused > 0, ==, c->logged != NULL);
                if (c->detail != NULL) {
                        g_assert_nonnull(request->detail);
                        g_assert_nonnull(strstr(request->detail, c->detail));
                }
        }
}

/* Files that the server does not give out, or that are broken, cost those files: they are told as unknown, so
 * that nobody takes them for removed. Trouble that passes costs the listing, but what can be told is. */
static void test_failing(void) {
        static const struct {
                const char *locator;
                int result;
                unsigned known, unknown;
                const char *logged;
        } lists[] = {
                {"list/private", 0, 0, 300, "300 not given out by the server"},
                {"list/broken", 0, 299, 1, "1 answered for with nonsense"},
                {"list/allbroken", -EAGAIN, 1, 299, "299 answered for with nonsense"},
                {"list/busy", -EAGAIN, 299, 0, NULL},
                {"list/silent", -ECONNRESET, 299, 0, NULL},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
                g_autofree char *url = faulty_url("");
                const char *settings[] = {"url", url, "listing", "html", NULL};
                auto_fake struct fake *fake = open_fs(settings);
                auto_request struct cs_request *request = fake_list(fake, lists[i].locator);
                unsigned n[4] = {0};

                g_test_message("%s", lists[i].locator);
                for (guint j = 0; j < request->entries->len; j++)
                        n[((struct fake_entry *)request->entries->pdata[j])->kind]++;
                g_assert_cmpint(request->result, ==, lists[i].result);
                g_assert_cmpuint(n[CS_KIND_FILE], ==, lists[i].known);
                g_assert_cmpuint(n[CS_KIND_UNKNOWN], ==, lists[i].unknown);
                if (lists[i].logged != NULL)
                        g_assert_true(fake_logged(fake, lists[i].logged));
                g_assert_cmpuint(request->refused, ==, 0);
        }
}

/* A server that is down is not asked for each of its files. */
static void test_down(void) {
        g_autofree char *url = faulty_url("");
        const char *settings[] = {"url", url, "listing", "html", NULL};
        auto_fake struct fake *fake = open_fs(settings);
        auto_request struct cs_request *request = NULL;
        g_autofree char *seen = NULL;

        g_free(server_ask(context.faulty, ".reset"));
        request = fake_list(fake, "list/down");
        g_assert_cmpint(request->result, ==, -EAGAIN);
        g_assert_cmpuint(request->entries->len, ==, 0);
        seen = server_ask(context.faulty, ".seen");
        g_assert_cmpuint(g_ascii_strtoull(strstr(seen, "\"requests\": ") + 12, NULL, 10), <, 600);
}

/* Sizes and mtimes come from HEAD, versions only where they pin. */
static void test_head_entries(void) {
        g_autofree char *url = faulty_url("list/heads");
        const char *settings[] = {"url", url, NULL};
        auto_fake struct fake *fake = open_fs(settings);
        auto_request struct cs_request *request = fake_list(fake, "");
        struct fake_entry *fine = request_find(request, "fine"), *weak = request_find(request, "weak");

        g_assert_cmpint(request->result, ==, 0);
        g_assert_cmpuint(fine->size, ==, SIZE);
        g_assert_cmpint(fine->mtime_sec, ==, MTIME);
        g_assert_cmpstr(fine->version, ==, "\"v1\"");
        g_assert_cmpuint(weak->size, ==, SIZE);
        g_assert_null(weak->version);
}

/* Retry-After is obeyed inside a list, which so makes progress. */
static void test_limited(void) {
        g_autofree char *url = faulty_url("list/limited");
        const char *settings[] = {"url", url, NULL};
        auto_fake struct fake *fake = open_fs(settings);
        auto_request struct cs_request *request = NULL;
        gint64 begin;

        g_free(server_ask(context.faulty, ".reset"));
        begin = g_get_monotonic_time();
        request = fake_list(fake, "");
        g_assert_cmpint(request->result, ==, 0);
        g_assert_cmpuint(request->entries->len, ==, 200);
        g_assert_cmpint(g_get_monotonic_time() - begin, >=, 1 * G_USEC_PER_SEC);
}

/* Whoever waits for another request's probe can be cancelled, too. */
static void test_cancel_waiting(void) {
        g_autofree char *url = faulty_url("list/slow");
        const char *settings[] = {"url", url, NULL};
        auto_fake struct fake *fake = open_fs(settings);
        struct cs_request *requests[] = {request_new(fake), request_new(fake)};
        gint64 begin = g_get_monotonic_time();

        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++)
                fake->ops->list(fake->instance, requests[i], "");
        g_usleep(200000);
        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
                g_atomic_int_set(&requests[i]->is_cancelled, 1);
                fake->ops->cancel(fake->instance, requests[i]);
                request_wait(requests[i]);
                g_assert_cmpint(requests[i]->result, ==, -ECANCELED);
                request_free(requests[i]);
        }
        g_assert_cmpint(g_get_monotonic_time() - begin, <, 10 * G_USEC_PER_SEC);
}

static void test_million(void) {
        g_autofree char *url = faulty_url("list/million");
        const char *settings[] = {"url", url, NULL};
        auto_fake struct fake *fake = open_fs(settings);
        auto_request struct cs_request *request = request_new(fake);

        request->discard = true;
        fake->ops->list(fake->instance, request, "");
        request_wait(request);
        g_assert_cmpint(request->result, ==, 0);
        g_assert_cmpuint(request->n_entries, ==, 1000000);
}

static void test_list_cancel(void) {
        const char *locators[] = {"list/million", "list/endless", "list/busy"};

        for (size_t i = 0; i < G_N_ELEMENTS(locators); i++) {
                g_autofree char *url = faulty_url("");
                const char *settings[] = {"url", url, "listing", i == 0 ? "json" : "html", NULL};
                auto_fake struct fake *fake = open_fs(settings);
                auto_request struct cs_request *request = request_new(fake);

                if (i == 1) {
                        fake->ops->list(fake->instance, request, locators[i]);
                        g_usleep(20000);
                        g_atomic_int_set(&request->is_cancelled, 1);
                        fake->ops->cancel(fake->instance, request);
                } else {
                        request->cancel_after = 3;
                        fake->ops->list(fake->instance, request, locators[i]);
                }
                request_wait(request);
                g_assert_cmpint(request->result, ==, -ECANCELED);
        }
}

static void test_manifest(void) {
        g_autofree char *url = faulty_url("list/manifest");
        const char *settings[] = {"url", url, "manifest", "M.jsonl", NULL};
        auto_fake struct fake *fake = open_fs(settings);
        static const struct {
                const char *locator, *names;
                int result;
        } lists[] = {
                {"", "a.txt/ asked d-e/ d/ empty/", 0},
                {"d", "e/ x", 0},
                {"d/e", "y", 0},
                {"d-e", "z", 0},
                {"empty", "", 0},
                {"a.txt", "under", 0},
                {"d/x", "", -ENOENT},
                {"nowhere", "", -ENOENT},
        };
        g_autofree char *change = NULL;

        g_free(server_ask(context.faulty, ".reset"));
        for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
                auto_request struct cs_request *request = fake_list(fake, lists[i].locator);
                g_autofree char *names = names_of(request);

                g_assert_cmpint(request->result, ==, lists[i].result);
                g_assert_cmpstr(names, ==, lists[i].names);
                if (g_str_equal(lists[i].locator, "d")) {
                        struct fake_entry *x = request_find(request, "x");

                        g_assert_cmpuint(x->size, ==, 6);
                        g_assert_cmpint(x->mtime_sec, ==, MTIME);
                        g_assert_cmpuint(x->mtime_nsec, ==, 500000000);
                        g_assert_cmpstr(x->version, ==, "\"bare\"");
                }
                if (i == 0)
                        g_assert_cmpuint(request_find(request, "asked")->size, ==, SIZE);
        }
        change = server_ask(context.faulty, "list/manifest/.change");
        {
                auto_request struct cs_request *below = fake_list(fake, "d");
                auto_request struct cs_request *again = fake_list(fake, "");
                auto_request struct cs_request *stat = fake_stat(fake, "later");

                g_assert_cmpint(below->result, ==, 0);
                g_assert_nonnull(request_find(again, "later"));
                g_assert_cmpint(stat->result, ==, 0);
        }
}

static void test_bad_manifest(void) {
        g_autofree char *url = faulty_url("list/manifest");
        const char *settings[] = {"url", url, "manifest", "bad.jsonl", NULL};
        const char *absent[] = {"url", url, "manifest", "M.jsonl/none", NULL};
        auto_fake struct fake *fake = open_fs(settings);
        auto_fake struct fake *other = open_fs(absent);
        auto_request struct cs_request *request = fake_list(fake, "");

        g_assert_cmpint(request->result, ==, -EPROTO);
        g_assert_nonnull(strstr(request->detail, "malformed"));
        (void)other;
}

struct stat_case {
        const char *listing, *locator;
        int result;
        enum cs_kind kind;
        uint64_t size;
        const char *version;
};

static void test_stat(void) {
        static const struct stat_case stats[] = {
                {"html", "ok/f", 0, CS_KIND_FILE, SIZE, "\"v1\""},
                {"json", "ok/f", 0, CS_KIND_FILE, SIZE, NULL},
                {"html", "weak/f", 0, CS_KIND_FILE, SIZE, NULL},
                {"html", "nohead/f", 0, CS_KIND_FILE, SIZE, "\"v1\""},
                {"html", "nolength/f", 0, CS_KIND_FILE, SIZE, "\"v1\""},
                {"html", "chunked/f", -EPROTO, 0, 0, NULL},
                {"html", "isdir/d", 0, CS_KIND_DIRECTORY, 0, NULL},
                {"html", "", 0, CS_KIND_DIRECTORY, 0, NULL},
                {"html", "404/f", -ENOENT, 0, 0, NULL},
                {"html", "403/f", -EACCES, 0, 0, NULL},
                {"html", "503/f", -EAGAIN, 0, 0, NULL},
                {"html", "gzip/f", -EPROTO, 0, 0, NULL},
                {"html", "..", -EINVAL, 0, 0, NULL},
                {"webdav", "list/dav/good", 0, CS_KIND_FILE, 5, "\"e\""},
                {"webdav", "ok/f", -EPROTO, 0, 0, NULL}, /* 200 to PROPFIND */
        };

        for (size_t i = 0; i < G_N_ELEMENTS(stats); i++) {
                const struct stat_case *c = &stats[i];
                g_autofree char *url = faulty_url("");
                const char *settings[] = {"url", url, "listing", c->listing, NULL};
                auto_fake struct fake *fake = open_fs(settings);
                auto_request struct cs_request *request = fake_stat(fake, c->locator);

                g_test_message("%s as %s", c->locator, c->listing);
                g_assert_cmpint(request->result, ==, c->result);
                g_assert_cmpuint(request->entries->len, ==, c->result == 0 ? 1 : 0);
                if (c->result == 0) {
                        struct fake_entry *entry = request->entries->pdata[0];

                        g_assert_cmpint(entry->kind, ==, c->kind);
                        g_assert_cmpuint(entry->size, ==, c->size);
                        g_assert_cmpstr(entry->version, ==, c->version);
                        if (c->kind == CS_KIND_FILE)
                                g_assert_cmpint(entry->mtime_sec, ==, MTIME);
                }
        }
}

/* A locator may be as long as CS_LOCATOR_MAX, and no child makes a longer one: there a
 * directory that contains itself ends. */
static void test_long_locator(void) {
        g_autofree char *url = faulty_url("list/deep/");
        const char *settings[] = {"url", url, NULL};
        auto_fake struct fake *fake = open_fs(settings);
        g_autoptr(GString) deep = g_string_new(NULL);
        g_autofree char *long_name = g_strnfill(255, 'n');
        unsigned levels = 0;

        for (;; levels++) {
                auto_request struct cs_request *request = fake_list(fake, deep->str);

                g_assert_cmpint(request->result, ==, 0);
                g_assert_cmpuint(deep->len, <=, CS_LOCATOR_MAX);
                if (request_find(request, long_name) == NULL)
                        break;
                g_string_append_printf(deep, "%s%s", deep->len ? "/" : "", long_name);
        }
        g_assert_cmpuint(levels, ==, CS_LOCATOR_MAX / 256);
        g_assert_true(fake_logged(fake, "with too long a path"));
}

void add_list_tests(void) {
        g_test_add_func("/httpfs/list/cases", test_listings);
        g_test_add_func("/httpfs/list/failing", test_failing);
        g_test_add_func("/httpfs/list/down", test_down);
        g_test_add_func("/httpfs/list/head-entries", test_head_entries);
        g_test_add_func("/httpfs/list/limited", test_limited);
        g_test_add_func("/httpfs/list/cancel-waiting", test_cancel_waiting);
        g_test_add_func("/httpfs/list/million", test_million);
        g_test_add_func("/httpfs/list/cancel", test_list_cancel);
        g_test_add_func("/httpfs/list/manifest", test_manifest);
        g_test_add_func("/httpfs/list/bad-manifest", test_bad_manifest);
        g_test_add_func("/httpfs/list/long-locator", test_long_locator);
        g_test_add_func("/httpfs/stat", test_stat);
}
