/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Logins: tokens that expire, are revoked and come back; the code flow itself. */

#include "dropbox-tests.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "plugins/common/http.h"
#include "plugins/dropbox/auth.h"

static void expect_no_login(struct cs_request *request) {
        g_assert_cmpint(request->result, ==, -EACCES);
        g_assert_nonnull(strstr(request->detail, "cloudsyncctl login test"));
}

static void test_no_login(void) {
        struct fake_entry file = {.locator = (char *)"id:x", .version = (char *)"0123456789", .size = 5};
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'text': 'x'}");
        box = box_new(false, NULL);
        {
                struct cs_request auto_request *list = fake_list(box->fake, "");
                struct cs_request auto_request *stat = fake_stat(box->fake, "f");
                struct cs_request auto_request *data = fetch(box, &file, 0, 0);

                expect_no_login(list);
                expect_no_login(stat);
                expect_no_login(data);
        }
        g_assert_cmpint(calls_of("files/list_folder"), ==, 0);
        g_assert_cmpint(fake_condition_now(box->fake), ==, CS_CONDITION_NEEDS_LOGIN);
        g_assert_true(fake_condition_says(box->fake, "nobody is logged in"));
        box_login(box);
        expect_names(box, "", "f");
        fake_await_condition(box->fake, CS_CONDITION_GOOD);
        g_assert_cmpuint(fake_conditions(box->fake), ==, 2); /* each told once */
}

static void test_expiry(void) {
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 2000000}");
        box = box_new(true, NULL);
        file = entry_get(box, "", "f");
        g_assert_cmpint(calls_of("oauth2/token"), ==, 1);
        tell("{'do': 'expire_access'}");
        {
                struct cs_request auto_request *a = fetch(box, file, 0, 0);

                expect_bytes(a, "s", 0, 2000000);
                g_assert_cmpint(calls_of("oauth2/token"), ==, 2);
        }
        /* In the middle of a transfer that breaks: what is there stays, the rest comes with
         * another token. */
        tell("{'do': 'fault', 'route': 'files/download', 'cut': 900000}");
        {
                struct cs_request auto_request *a = fetch(box, file, 0, 0), auto_request *b = NULL;

                g_assert_cmpint(a->result, ==, -ECONNRESET);
                tell("{'do': 'expire_access'}");
                b = fetch(box, file, a->n_bytes, 0);
                expect_bytes(b, "s", a->n_bytes, 2000000 - a->n_bytes);
        }
        /* Short-lived ones are renewed before they end: no request is refused for it. */
        tell("{'do': 'set', 'expires_in': 2}, {'do': 'expire_access'}");
        {
                struct cs_request auto_request *a = fetch(box, file, 0, 10), auto_request *b = NULL;
                int downloads = calls_of("files/download");

                g_usleep(1500000);
                b = fetch(box, file, 10, 10);
                expect_bytes(b, "s", 10, 10);
                g_assert_cmpint(a->result, ==, 0);
                g_assert_cmpint(calls_of("files/download"), ==, downloads + 1);
        }
}

static void test_revoked(void) {
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;
        g_autofree char *credentials = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 1000}");
        box = box_new(true, NULL);
        file = entry_get(box, "", "f");
        tell("{'do': 'revoke_all'}");
        {
                struct cs_request auto_request *a = fetch(box, file, 0, 0), auto_request *b = fetch(box, file, 0, 0);

                expect_no_login(a);
                expect_no_login(b);
        }
        credentials = g_build_filename(box->state_dir, "credentials", NULL);
        g_assert_false(g_file_test(credentials, G_FILE_TEST_EXISTS));
        fake_await_condition(box->fake, CS_CONDITION_NEEDS_LOGIN);
        g_assert_true(fake_condition_says(box->fake, "revoked"));
        box_login(box);
        expect_names(box, "", "f");
        {
                struct cs_request auto_request *c = fetch(box, file, 0, 0);

                expect_bytes(c, "s", 0, 1000);
        }
}

static void test_missing_scope(void) {
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 1000}");
        box = box_new(false, NULL);
        box_login_scope(box, "account_info.read files.metadata.read");
        expect_names(box, "", "f");
        file = entry_get(box, "", "f");
        {
                struct cs_request auto_request *a = fetch(box, file, 0, 0);

                g_assert_cmpint(a->result, ==, -EACCES);
                g_assert_nonnull(strstr(a->detail, "App Console"));
        }
        g_assert_cmpint(fake_condition_now(box->fake), ==, CS_CONDITION_GOOD); /* names are shown all the same */
        /* Without names nothing is: that is a login's matter, and another one mends it. */
        box_login_scope(box, "account_info.read files.content.read");
        tell("{'do': 'write', 'path': '/g', 'text': 'x'}");
        box_restart(box);
        fake_await_condition(box->fake, CS_CONDITION_NEEDS_LOGIN);
        g_assert_true(fake_condition_says(box->fake, "files.metadata.read"));
        box_login(box);
        fake_await_condition(box->fake, CS_CONDITION_GOOD);
        expect_names(box, "", "f g");
}

/* A file that others may write is no login. */
static void test_file_mode(void) {
        struct box auto_box *box = NULL;
        g_autofree char *file = NULL;

        account_clear();
        box = box_new(false, NULL);
        box_login(box);
        file = g_build_filename(box->state_dir, "credentials", NULL);
        box_restart(box);
        {
                struct cs_request auto_request *list = fake_list(box->fake, "");

                g_assert_cmpint(list->result, ==, 0);
        }
        g_assert_cmpint(g_chmod(file, 0666), ==, 0);
        box_restart(box);
        {
                struct cs_request auto_request *list = fake_list(box->fake, "");

                expect_no_login(list);
        }
}

static void note_change(void *data) {
        g_atomic_int_inc((gint *)data);
}

static struct auth *flow_auth(struct http_client *client, const char *directory, gint *changes) {
        static char api[64], www[64];

        g_snprintf(api, sizeof api, "%s/", context.api);
        g_snprintf(www, sizeof www, "%s/", context.www);
        return auth_new(&(struct auth_options){.engine_id = "test", .app_key = "testappkey", .api_url = api,
                                               .www_url = www, .state_dir = directory, .client = client,
                                               .changed = note_change, .data = changes});
}

static void test_flow(void) {
        g_autofree char *directory = g_build_filename(context.base, "flow-XXXXXX", NULL), *file = NULL;
        g_autofree char *url = NULL, *second = NULL, *detail = NULL, *code = NULL, *text = NULL;
        struct http_client *client = NULL;
        struct auth *auth;
        struct stat st;
        gint changes = 0;

        account_clear();
        g_assert_nonnull(g_mkdtemp(directory));
        file = g_build_filename(directory, "credentials", NULL);
        g_assert_cmpint(http_client_new(&(struct http_options){0}, &client, &detail), ==, 0);
        auth = flow_auth(client, directory, &changes);
        g_assert_false(auth_is_logged_in(auth));

        g_assert_cmpint(dropbox_login_finish(auth, "abc", &detail), ==, -EINVAL); /* not begun */
        g_clear_pointer(&detail, g_free);
        g_assert_cmpint(dropbox_login_begin(auth, &url, &detail), ==, 0);
        g_assert_cmpint(dropbox_login_finish(auth, "wrong", &detail), ==, -EACCES);
        g_assert_nonnull(detail);
        g_clear_pointer(&detail, g_free);
        /* A code of another begin: the verifier does not fit. */
        code = control_string("{'do': 'authorise', 'url': '%s'}", url);
        g_assert_cmpint(dropbox_login_begin(auth, &second, &detail), ==, 0);
        g_assert_cmpstr(url, !=, second);
        g_assert_cmpint(dropbox_login_finish(auth, code, &detail), ==, -EACCES);
        g_clear_pointer(&detail, g_free);
        g_assert_false(auth_is_logged_in(auth));

        g_clear_pointer(&url, g_free);
        g_clear_pointer(&code, g_free);
        g_assert_cmpint(dropbox_login_begin(auth, &url, &detail), ==, 0);
        code = control_string("{'do': 'authorise', 'url': '%s'}", url);
        text = g_strdup_printf("  %s\n", code);
        g_assert_cmpint(dropbox_login_finish(auth, text, &detail), ==, 0);
        g_assert_true(auth_is_logged_in(auth));
        g_assert_cmpint(g_atomic_int_get(&changes), ==, 1);
        g_assert_cmpint(stat(file, &st), ==, 0);
        g_assert_cmpuint(st.st_mode, ==, S_IFREG | 0600);
        auth_free(auth);

        auth = flow_auth(client, directory, &changes);
        g_assert_true(auth_is_logged_in(auth));
        g_assert_cmpint(dropbox_logout(auth, &detail), ==, 0);
        g_assert_null(detail);
        g_assert_false(auth_is_logged_in(auth));
        g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
        g_assert_cmpint(calls_of("auth/token/revoke"), ==, 1);
        auth_free(auth);
        http_client_free(client);
}

static int login_step(struct box *box, enum cs_login_step step, const char *text, char **ret_reply) {
        char reply[CS_LOGIN_REPLY_MAX] = "";
        int r = box->fake->ops->login(box->fake->instance, step, text, reply, sizeof reply);

        g_free(*ret_reply);
        *ret_reply = g_strdup(reply);
        return r;
}

static void expect_read(struct box *box, const char *name, const char *seed, uint64_t size) {
        struct fake_entry auto_fake_entry *file = entry_get(box, "", name);
        struct cs_request auto_request *data = fetch(box, file, 0, 0);

        expect_bytes(data, seed, 0, size);
}

/* The operation that the host calls: in, out, and in again, in one process. */
static void test_operation(void) {
        g_autofree char *reply = NULL, *code = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 1000}");
        box = box_new(false, NULL);
        for (int i = 0; i < 2; i++) {
                fake_await_condition(box->fake, CS_CONDITION_NEEDS_LOGIN);
                g_assert_cmpint(login_step(box, CS_LOGIN_FINISH, "abc", &reply), ==, -EINVAL);
                g_assert_cmpstr(reply, ==, "no login was begun");
                g_assert_cmpint(login_step(box, CS_LOGIN_BEGIN, "", &reply), ==, 0);
                g_free(code);
                code = control_string("{'do': 'authorise', 'url': '%s'}", reply);
                g_assert_cmpint(login_step(box, CS_LOGIN_FINISH, code, &reply), ==, 0);
                g_assert_cmpint(fake_condition_now(box->fake), ==, CS_CONDITION_GOOD); /* before it returned */
                expect_names(box, "", "f");
                expect_read(box, "f", "s", 1000);
                g_assert_false(fake_logged(box->fake, code));
                g_assert_cmpint(login_step(box, CS_LOGIN_LOGOUT, "", &reply), ==, 0);
                g_assert_cmpstr(reply, ==, "");
                g_assert_cmpint(fake_condition_now(box->fake), ==, CS_CONDITION_NEEDS_LOGIN);
        }
        g_assert_cmpint(login_step(box, CS_LOGIN_LOGOUT, "", &reply), ==, 0);
        g_assert_cmpstr(reply, ==, "nobody was logged in");
        g_assert_cmpint(calls_of("auth/token/revoke"), ==, 2);
}

/* The service's own token is used while nobody has logged in, and never written down. */
static void test_given_token(void) {
        g_autofree char *token = NULL, *file = NULL, *text = NULL, *reply = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 1000}");
        token = control_string("{'do': 'login'}");
        box = box_new(false, CS_SETTING_TOKEN, token, NULL);
        file = g_build_filename(box->state_dir, "credentials", NULL);
        expect_names(box, "", "f");
        expect_read(box, "f", "s", 1000);
        g_assert_cmpuint(fake_conditions(box->fake), ==, 0);
        g_assert_false(fake_logged(box->fake, token));
        g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));

        tell("{'do': 'revoke_all'}, {'do': 'write', 'path': '/f', 'seed': 's', 'size': 1001}");
        fake_await_condition(box->fake, CS_CONDITION_NEEDS_LOGIN);
        g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
        box_login(box); /* a person's login comes first from now on */
        fake_await_condition(box->fake, CS_CONDITION_GOOD);
        box_restart(box);
        expect_names(box, "", "f");
        g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
        g_assert_null(strstr(text, token));
        g_assert_cmpint(login_step(box, CS_LOGIN_LOGOUT, "", &reply), ==, 0);
        g_assert_cmpint(fake_condition_now(box->fake), ==, CS_CONDITION_NEEDS_LOGIN);
        g_usleep(100000);
        g_assert_cmpint(fake_condition_now(box->fake), ==, CS_CONDITION_NEEDS_LOGIN);
}

void add_login_tests(void) {
        g_test_add_func("/dropbox/login/operation", test_operation);
        g_test_add_func("/dropbox/login/given-token", test_given_token);
        g_test_add_func("/dropbox/login/none", test_no_login);
        g_test_add_func("/dropbox/login/expiry", test_expiry);
        g_test_add_func("/dropbox/login/revoked", test_revoked);
        g_test_add_func("/dropbox/login/missing-scope", test_missing_scope);
        g_test_add_func("/dropbox/login/file-mode", test_file_mode);
        g_test_add_func("/dropbox/login/flow", test_flow);
}
