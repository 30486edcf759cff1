/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * dropbox-test — the built dropbox module against a Dropbox API server
 *
 * The module is loaded into this process with a recording host (engine-fake), the server is
 * tests/servers/dropbox_api.py. Whatever that server refuses as malformed fails the test that sent it.
 *
 *     CLOUDSYNC_TEST_DROPBOX  the module
 *     CLOUDSYNC_TEST_SERVERS  tests/servers
 */

#include "dropbox-tests.h"

#include <curl/curl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>

struct context context;

/* ── the server ─────────────────────────────────────────────────────────── */

static size_t collect(char *bytes, size_t size, size_t count, void *data) {
        g_string_append_len(data, bytes, (gssize)(size * count));
        return size * count;
}

static json_object *ask(const char *body) {
        g_autofree char *url = g_strconcat(context.www, "/.control", NULL);
        GString *answer = g_string_new(NULL);
        CURL *easy = curl_easy_init();
        json_object *o;
        long status = 0;

        curl_easy_setopt(easy, CURLOPT_URL, url);
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, collect);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
        if (body != NULL)
                curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
        g_assert_cmpint(curl_easy_perform(easy), ==, CURLE_OK);
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        if (status != 200)
                g_error("the server's control says %ld: %s", status, answer->str);
        curl_easy_cleanup(easy);
        o = json_tokener_parse(answer->str);
        g_assert_nonnull(o);
        g_string_free(answer, TRUE);
        return o;
}

static json_object *G_GNUC_PRINTF(1, 0) control_va(const char *format, va_list args) {
        g_autofree char *text = g_strdup_vprintf(format, args);
        g_autofree char *body = g_strdup_printf("[%s]", g_strdelimit(text, "'", '"'));

        return ask(body);
}

json_object *control(const char *format, ...) {
        json_object *o;
        va_list args;

        va_start(args, format);
        o = control_va(format, args);
        va_end(args);
        return o;
}

void tell(const char *format, ...) {
        va_list args;

        va_start(args, format);
        json_object_put(control_va(format, args));
        va_end(args);
}

char *control_string(const char *format, ...) {
        json_object auto_object *o = NULL;
        va_list args;

        va_start(args, format);
        o = control_va(format, args);
        va_end(args);
        return g_strdup(json_object_get_string(json_object_array_get_idx(o, 0)));
}

json_object *control_state(void) {
        return ask(NULL);
}

int calls_of(const char *route) {
        json_object auto_object *state = control_state();
        json_object *log, *n;

        json_object_object_get_ex(state, "log", &log);
        return json_object_object_get_ex(log, route, &n) ? json_object_get_int(n) : 0;
}

static char *host_url(json_object *hosts, const char *name) {
        json_object *url;

        g_assert_true(json_object_object_get_ex(hosts, name, &url));
        return g_strdup(json_object_get_string(url));
}

void context_hosts(void) {
        json_object auto_object *state = control_state();
        json_object *hosts;

        json_object_object_get_ex(state, "hosts", &hosts);
        context.api = host_url(hosts, "api");
        context.content = host_url(hosts, "content");
        context.notify = host_url(hosts, "notify");
}

void account_clear(void) {
        tell("{'do': 'clear'}, {'do': 'set', 'longpoll_s': 2}");
}

/* What was malformed in this test's requests: nothing may have been. */
static void expect_nothing_refused(void) {
        json_object auto_object *state = control_state();
        json_object *refused;

        json_object_object_get_ex(state, "refused", &refused);
        if (json_object_array_length(refused) > 0)
                g_error("the server refused: %s", json_object_to_json_string(refused));
}

/* ── engines ────────────────────────────────────────────────────────────── */

static void add_setting(struct box *box, const char *key, const char *value) {
        g_ptr_array_add(box->settings, g_strdup(key));
        g_ptr_array_add(box->settings, g_strdup(value));
}

void box_login(struct box *box) {
        box_login_scope(box, "account_info.read files.metadata.read files.content.read");
}

void box_login_scope(struct box *box, const char *scope) {
        g_autofree char *token = control_string("{'do': 'login', 'scope': '%s'}", scope);
        g_autofree char *file = g_build_filename(box->state_dir, "credentials", NULL);
        g_autofree char *text = g_strdup_printf("{\"refresh_token\": \"%s\"}\n", token);

        g_assert_true(g_file_set_contents_full(file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL));
}

void box_open(struct box *box) {
        int r;

        box->fake = fake_open_in(context.module, (const char *const *)box->settings->pdata, box->state_dir, &r);
        g_assert_cmpint(r, ==, 0);
}

struct box *box_new_list(bool login, const char *const *settings) {
        struct box *box = g_new0(struct box, 1);

        box->state_dir = g_build_filename(context.base, "state-XXXXXX", NULL);
        g_assert_nonnull(g_mkdtemp(box->state_dir));
        box->settings = g_ptr_array_new_with_free_func(g_free);
        for (; settings[0] != NULL; settings += 2)
                add_setting(box, settings[0], settings[1]);
        add_setting(box, "app_key", "testappkey");
        add_setting(box, "api_url", context.api);
        add_setting(box, "content_url", context.content);
        add_setting(box, "notify_url", context.notify);
        add_setting(box, "www_url", context.www);
        g_ptr_array_add(box->settings, NULL);
        if (login)
                box_login(box);
        box_open(box);
        return box;
}

struct box *box_new(int login, ...) {
        g_autoptr(GPtrArray) settings = g_ptr_array_new();
        const char *s;
        va_list args;

        va_start(args, login);
        while ((s = va_arg(args, const char *)) != NULL)
                g_ptr_array_add(settings, (gpointer)s);
        va_end(args);
        g_ptr_array_add(settings, NULL);
        return box_new_list(login, (const char *const *)settings->pdata);
}

/* No token in any line, ever. */
static void expect_no_secrets(struct box *box) {
        g_autofree char *file = g_build_filename(box->state_dir, "credentials", NULL), *text = NULL;

        g_assert_false(fake_logged(box->fake, "Bearer"));
        g_assert_false(fake_logged(box->fake, "sl."));
        if (g_file_get_contents(file, &text, NULL, NULL)) {
                json_object auto_object *o = json_tokener_parse(text);
                json_object *token;

                g_assert_true(json_object_object_get_ex(o, "refresh_token", &token));
                g_assert_false(fake_logged(box->fake, json_object_get_string(token)));
        }
}

void box_close(struct box *box) {
        expect_no_secrets(box);
        fake_close(box->fake);
        box->fake = NULL;
}

void box_restart(struct box *box) {
        box_close(box);
        box_open(box);
}

void box_free(struct box *box) {
        box_close(box);
        expect_nothing_refused();
        g_free(box->state_dir);
        g_ptr_array_free(box->settings, TRUE);
        g_free(box);
}

/* ── entries ────────────────────────────────────────────────────────────── */

static int compare_names(gconstpointer a, gconstpointer b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

char *names_in(struct box *box, const char *locator) {
        struct cs_request auto_request *list = fake_list(box->fake, locator);
        g_autoptr(GPtrArray) names = g_ptr_array_new();

        if (list->result != 0)
                return g_strdup_printf("!%d", list->result);
        for (guint i = 0; i < list->entries->len; i++)
                g_ptr_array_add(names, ((struct fake_entry *)list->entries->pdata[i])->name);
        g_ptr_array_sort(names, compare_names);
        g_ptr_array_add(names, NULL);
        return g_strjoinv(" ", (char **)names->pdata);
}

void expect_names(struct box *box, const char *locator, const char *names) {
        g_autofree char *now = NULL;

        for (int i = 0; i < 200; i++) {
                g_free(now);
                now = names_in(box, locator);
                if (g_str_equal(now, names))
                        return;
                g_usleep(50000);
        }
        g_assert_cmpstr(now, ==, names);
}

void expect_complete(struct box *box) {
        for (int i = 0; i < 24000; i++) { /* a busy machine, sanitizers, 100,000 entries */
                if (fake_logged(box->fake, "the listing is complete"))
                        return;
                g_usleep(10000);
        }
        g_error("the listing is not complete after 240 s");
}

void expect_change(struct box *box, const char *locator) {
        for (int i = 0; i < 1000; i++) {
                if (fake_take_change(box->fake, locator))
                        return;
                g_usleep(10000);
        }
        g_error("changed(\"%s\") was not called, but: %s", locator, box->fake->changes->str);
}

struct fake_entry *entry_get(struct box *box, const char *locator, const char *name) {
        struct cs_request auto_request *list = fake_list(box->fake, locator);
        struct fake_entry *entry = request_find(list, name), *copy;

        g_assert_cmpint(list->result, ==, 0);
        if (entry == NULL)
                g_error("no \"%s\" in \"%s\"", name, locator);
        copy = g_memdup2(entry, sizeof *entry);
        copy->name = g_strdup(entry->name);
        copy->locator = g_strdup(entry->locator);
        copy->version = g_strdup(entry->version);
        return copy;
}

void entry_put(struct fake_entry *entry) {
        g_free(entry->name);
        g_free(entry->locator);
        g_free(entry->version);
        g_free(entry);
}

struct cs_request *fetch(struct box *box, const struct fake_entry *entry, uint64_t offset, uint64_t length) {
        struct cs_fetch wanted = {
                .locator = entry->locator,
                .version = entry->version,
                .size = entry->size,
                .mtime_sec = entry->mtime_sec,
                .offset = offset,
                .length = length ? length : entry->size - offset,
        };

        return fake_fetch(box->fake, &wanted);
}

void expect_bytes(struct cs_request *request, const char *seed, uint64_t at, uint64_t length) {
        g_autoptr(GByteArray) right = g_byte_array_new();
        uint64_t first = at / 32;

        if (request->result != 0)
                g_error("the fetch ended with %d: %s", request->result, request->detail);
        for (uint64_t i = first; i * 32 < at + length; i++) {
                g_autofree char *text = g_strdup_printf("%s-%" G_GUINT64_FORMAT, seed, i);
                g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
                guint8 digest[32];
                gsize n = sizeof digest;

                g_checksum_update(sum, (const guchar *)text, -1);
                g_checksum_get_digest(sum, digest, &n);
                g_byte_array_append(right, digest, sizeof digest);
        }
        g_assert_cmpmem(request->bytes->data, request->bytes->len, right->data + (at - first * 32), length);
}

/* ── main ───────────────────────────────────────────────────────────────── */

static const char *need_env(const char *name) {
        const char *value = g_getenv(name);

        if (value == NULL)
                g_error("%s is not set", name);
        return value;
}

static void remove_tree(const char *path) {
        const char *argv[] = {"rm", "-rf", path, NULL};

        g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
}

int main(int argc, char **argv) {
        g_autofree char *script = NULL;
        const char *no_arguments[] = {NULL};
        int r;

        signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        curl_global_init(CURL_GLOBAL_ALL);
        context.module = need_env("CLOUDSYNC_TEST_DROPBOX");
        context.base = g_dir_make_tmp("dropbox-test-XXXXXX", NULL);
        script = g_build_filename(need_env("CLOUDSYNC_TEST_SERVERS"), "dropbox_api.py", NULL);
        context.server = server_python(context.base, script, no_arguments);
        if (context.server->pid == 0)
                g_error("%s", context.server->why_not);
        context.www = g_strdup_printf("http://127.0.0.1:%d", context.server->port);
        context_hosts();
        add_name_tests();
        add_content_tests();
        add_trouble_tests();
        add_login_tests();
        r = g_test_run();
        server_free(context.server);
        remove_tree(context.base);
        g_free(context.base);
        g_free(context.www);
        g_free(context.api);
        g_free(context.content);
        g_free(context.notify);
        curl_global_cleanup();
        return r;
}
