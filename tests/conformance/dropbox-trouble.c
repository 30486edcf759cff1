/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What Dropbox says when it does not do what it was asked, and what is no Dropbox at all. */

#include "dropbox-tests.h"

#include <errno.h>
#include <string.h>

static void test_rate_limit(void) {
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;
        gint64 begin = g_get_monotonic_time();

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 1000},"
             "{'do': 'fault', 'route': 'files/list_folder', 'count': 2, 'status': 429, 'headers':"
             " {'Retry-After': '1'}, 'body': '{\\\"error_summary\\\": \\\"too_many_requests/\\\", \\\"error\\\":"
             " {\\\"reason\\\": {\\\".tag\\\": \\\"too_many_requests\\\"}, \\\"retry_after\\\": 1}}'}");
        box = box_new(true, NULL);
        expect_complete(box);
        expect_names(box, "", "f");
        g_assert_cmpint(g_get_monotonic_time() - begin, >=, 2 * G_USEC_PER_SEC);
        g_assert_cmpint(calls_of("files/list_folder"), ==, 3);
        file = entry_get(box, "", "f");
        tell("{'do': 'fault', 'route': 'files/download', 'status': 503, 'headers': {'Retry-After': '1'}}");
        {
                struct cs_request auto_request *a = fetch(box, file, 0, 0), auto_request *b = fetch(box, file, 0, 0);
                struct cs_request auto_request *c = NULL;

                g_assert_cmpint(a->result, ==, -EAGAIN);
                g_assert_cmpuint(a->retry_after_ms, ==, 1000);
                /* Left alone meanwhile: not even asked. */
                g_assert_cmpint(b->result, ==, -EAGAIN);
                g_assert_cmpuint(b->retry_after_ms, >, 0);
                g_assert_cmpint(calls_of("files/download"), ==, 1);
                g_usleep(1100000);
                c = fetch(box, file, 0, 0);
                expect_bytes(c, "s", 0, 1000);
        }
}

/* Readers are many, and all are told to come back. */
static void test_storm(void) {
        enum { MANY = 50 };
        struct box auto_box *box = NULL;
        struct cs_request auto_request *list = NULL;
        struct cs_request *requests[MANY];
        unsigned left = MANY, rounds = 0;

        account_clear();
        tell("{'do': 'bulk', 'path': '/d', 'count': %d, 'folder': 100}", MANY);
        box = box_new(true, NULL);
        expect_names(box, "d", "D0000");
        list = fake_list(box->fake, "d/D0000");
        tell("{'do': 'fault', 'route': 'files/download', 'count': 60, 'status': 429, 'headers':"
             " {'Retry-After': '1'}}");
        while (left > 0 && ++rounds < 20) {
                uint32_t wait_ms = 0;

                for (unsigned i = 0; i < left; i++) {
                        struct fake_entry *entry = list->entries->pdata[i];

                        requests[i] = request_new(box->fake);
                        requests[i]->wanted = entry->size;
                        box->fake->ops->fetch(box->fake->instance, requests[i],
                                              &(struct cs_fetch){.locator = entry->locator,
                                                                 .version = entry->version,
                                                                 .size = entry->size, .length = entry->size});
                }
                for (unsigned i = left; i-- > 0;) {
                        request_wait(requests[i]);
                        if (requests[i]->result == 0)
                                g_ptr_array_remove_index_fast(list->entries, i);
                        else
                                g_assert_cmpint(requests[i]->result, ==, -EAGAIN);
                        wait_ms = MAX(wait_ms, requests[i]->retry_after_ms);
                        request_free(requests[i]);
                }
                left = list->entries->len;
                g_usleep(wait_ms * 1000 + 1000);
        }
        g_assert_cmpuint(left, ==, 0);
        g_test_message("%u rounds, %d downloads asked for", rounds, calls_of("files/download"));
        g_assert_cmpint(calls_of("files/download"), <=, 60 + 2 * MANY);
}

static void test_errors(void) {
        static const struct {
                const char *fault, *text;
                int result;
        } cases[] = {
                {"'status': 409, 'body': '{\\\"error_summary\\\": \\\"path/restricted_content/..\\\", \\\"error\\\":"
                 " {\\\".tag\\\": \\\"path\\\", \\\"path\\\": {\\\".tag\\\": \\\"restricted_content\\\"}}}'",
                 "restricts this content", -EPERM},
                {"'status': 409, 'body': '{\\\"error\\\": {\\\".tag\\\": \\\"unsupported_file\\\"}}'",
                 "cannot be downloaded", -EOPNOTSUPP},
                {"'status': 409, 'body': '{\\\"error\\\": {\\\".tag\\\": \\\"brand_new\\\"}}'", "brand_new", -EIO},
                {"'status': 409, 'body': 'not JSON'", "HTTP 409", -EIO},
                {"'status': 400, 'body': 'Error in call to API function: your clock is wrong'", "your clock is wrong",
                 -EINVAL},
                {"'status': 403, 'body': '{}'", "administrator", -EACCES},
                {"'status': 500, 'body': ''", "HTTP 500", -EAGAIN},
                {"'status': 302, 'headers': {'Location': 'http://127.0.0.1:1/'}", "", -ENETUNREACH},
        };
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 1000}");
        box = box_new(true, NULL);
        file = entry_get(box, "", "f");
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct cs_request auto_request *request = NULL;

                tell("{'do': 'fault', 'route': 'files/download', %s}", cases[i].fault);
                request = fetch(box, file, 0, 0);
                g_assert_cmpint(request->result, ==, cases[i].result);
                if (strstr(request->detail, cases[i].text) == NULL)
                        g_error("\"%s\" is not in \"%s\"", cases[i].text, request->detail);
        }
}

/* Answers that are no answers: the listing goes on after them. */
static void test_malformed(void) {
        static const char *const bodies[] = {
                "", "{", "null", "[]", "{}", "<html>", "{'entries': [], 'cursor': '', 'has_more': false}",
                "{'entries': {}, 'cursor': 'x', 'has_more': false}", "{'entries': [], 'cursor': 'x'}",
                "{'entries': [{'.tag': 'file'", "\\u0000",
        };
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'text': 'x'}");
        for (size_t i = 0; i < G_N_ELEMENTS(bodies); i += 4) { /* few at a time: each wait is longer */
                if (box != NULL)
                        box_free(box);
                for (size_t j = i; j < i + 4 && j < G_N_ELEMENTS(bodies); j++) {
                        g_autofree char *quoted = g_strescape(bodies[j], NULL);
                        g_auto(GStrv) parts = g_strsplit(quoted, "'", -1);
                        g_autofree char *body = g_strjoinv("\\\"", parts);

                        tell("{'do': 'fault', 'route': 'files/list_folder', 'garbage': \"%s\"}", body);
                }
                box = box_new(true, NULL);
                expect_complete(box);
                expect_names(box, "", "f");
                g_assert_true(fake_logged(box->fake, "makes no sense"));
        }
        box_free(box);
        g_assert_cmpint(calls_of("files/list_folder"), ==, (int)G_N_ELEMENTS(bodies) + 3);
        tell("{'do': 'fault', 'route': 'files/list_folder', 'cut': 50},"
             "{'do': 'fault', 'route': 'files/list_folder/longpoll', 'garbage': 'x', 'count': 2}");
        box = box_new(true, NULL);
        expect_complete(box);
        expect_names(box, "", "f");
        tell("{'do': 'write', 'path': '/g', 'text': 'x'}");
        expect_names(box, "", "f g");
}

static void test_reset_storm(void) {
        struct box auto_box *box = NULL;
        int calls;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'text': 'x'}");
        box = box_new(true, NULL);
        expect_complete(box);
        /* A server that resets every cursor at once is not asked without a pause. */
        tell("{'do': 'fault', 'route': 'files/list_folder/longpoll', 'count': 1000, 'status': 409, 'body':"
             " '{\\\"error\\\": {\\\".tag\\\": \\\"reset\\\"}}'}");
        g_usleep(3000000);
        calls = calls_of("files/list_folder");
        g_assert_cmpint(calls, >=, 2);
        g_assert_cmpint(calls, <=, 20);
        expect_names(box, "", "f"); /* still answered from what is there */
}

static void test_longpoll_backoff(void) {
        struct box auto_box *box = NULL;
        int calls;

        account_clear();
        tell("{'do': 'set', 'backoff': 60, 'longpoll_s': 0}, {'do': 'write', 'path': '/f', 'text': 'x'}");
        box = box_new(true, NULL);
        expect_complete(box);
        g_usleep(1000000);
        calls = calls_of("files/list_folder/longpoll");
        g_assert_cmpint(calls, ==, 1);
}

static void test_settings(void) {
        static const struct {
                const char *key, *value, *text;
        } cases[] = {
                {"app_key", "", "app_key is required"},
                {"app_key", "Has Space", "App Console"},
                {"root", "/a/../b", "root has to be"},
                {"path_root", "x", "path_root"},
                {"exclude", "a;;b", "patterns"},
                {"longpoll", "10", "longpoll"},
                {"api_url", "ftp://x/", "api_url"},
                {"cacert", "/nonexistent/ca.pem", "/nonexistent/ca.pem"},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                const char *settings[] = {cases[i].key, cases[i].value, "app_key", "k", NULL};
                int r;
                struct fake *fake = fake_open(context.module, settings, &r);

                g_assert_cmpint(r, <, 0);
                if (!fake_logged(fake, cases[i].text))
                        g_error("\"%s\" is not in %s", cases[i].text, fake->log->str);
                fake_close(fake);
        }
}

static void test_tls(void) {
        struct server *plain = context.server, *server;
        struct context saved = context;
        struct fake_entry auto_fake_entry *file = NULL;
        g_autofree char *script = NULL, *cert = NULL, *key = NULL, *ca = NULL, *other = NULL, *other_ca = NULL;
        const char *arguments[3] = {NULL};

        if (!make_certificates(context.base)) {
                g_test_skip("openssl is not installed");
                return;
        }
        script = g_build_filename(g_getenv("CLOUDSYNC_TEST_SERVERS"), "dropbox_api.py", NULL);
        cert = g_build_filename(context.base, "cert.pem", NULL);
        key = g_build_filename(context.base, "key.pem", NULL);
        ca = g_build_filename(context.base, "ca.pem", NULL);
        arguments[0] = cert;
        arguments[1] = key;
        server = server_python(context.base, script, arguments);
        if (server->pid == 0)
                g_error("%s", server->why_not);
        context.www = g_strdup_printf("https://127.0.0.1:%d", server->port);
        context_hosts();
        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 300000}");
        {
                struct box auto_box *box = box_new(true, "cacert", ca, NULL);
                struct cs_request auto_request *request = NULL;

                expect_names(box, "", "f");
                file = entry_get(box, "", "f");
                request = fetch(box, file, 0, 0);
                expect_bytes(request, "s", 0, 300000);
                tell("{'do': 'write', 'path': '/g', 'text': 'x'}");
                expect_names(box, "", "f g");
        }
        /* Another CA: not a byte is sent to whoever that is. */
        other = g_build_filename(context.base, "other", NULL);
        g_assert_cmpint(g_mkdir_with_parents(other, 0755), ==, 0);
        g_assert_true(make_certificates(other));
        other_ca = g_build_filename(other, "ca.pem", NULL);
        {
                struct box auto_box *box = box_new(true, "cacert", other_ca, NULL);
                struct cs_request auto_request *list = fake_list(box->fake, "");

                g_assert_cmpint(list->result, ==, -EKEYREJECTED);
        }
        g_free(context.www);
        g_free(context.api);
        g_free(context.content);
        g_free(context.notify);
        context = saved;
        g_assert_true(context.server == plain);
        server_free(server);
}

void add_trouble_tests(void) {
        g_test_add_func("/dropbox/trouble/rate-limit", test_rate_limit);
        g_test_add_func("/dropbox/trouble/storm", test_storm);
        g_test_add_func("/dropbox/trouble/errors", test_errors);
        g_test_add_func("/dropbox/trouble/malformed", test_malformed);
        g_test_add_func("/dropbox/trouble/reset-storm", test_reset_storm);
        g_test_add_func("/dropbox/trouble/longpoll-backoff", test_longpoll_backoff);
        g_test_add_func("/dropbox/trouble/settings", test_settings);
        g_test_add_func("/dropbox/trouble/tls", test_tls);
}
