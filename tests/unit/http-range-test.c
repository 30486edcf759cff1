/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a server may answer to a fetch, and what becomes of it. */

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "plugins/httpfs/answer.h"
#include "plugins/httpfs/head.h"

#define V "\"v1\""
#define MODIFIED "Sun, 06 Nov 1994 08:49:37 GMT"
#define MTIME 784111777

/* "Name: value\n…" */
static char *block_of(const char *headers) {
        GString *block = g_string_new(NULL);
        g_auto(GStrv) lines = g_strsplit(headers, "\n", -1);

        for (char **line = lines; *line && **line; line++) {
                char *colon = strstr(*line, ": ");

                g_string_append_len(block, *line, colon - *line);
                g_string_append_c(block, '\0');
                g_string_append(block, colon + 2);
                g_string_append_c(block, '\0');
        }
        return g_string_free(block, FALSE);
}

struct answer_case {
        int status;
        const char *headers;
        int64_t content_length;
        const char *version;
        int error;
        uint64_t skip, body;
};

/* Asked for: bytes 100-149 of 1000. */
static const struct answer_case cases[] = {
        {206, "ETag: " V "\nContent-Range: bytes 100-149/1000", 50, V, 0, 0, 50},
        {206, "ETag: " V "\nContent-Range: bytes 100-149/1000", -1, V, 0, 0, 50},
        {206, "ETag: " V "\nContent-Range: bytes 100-149/*", 50, V, 0, 0, 50},
        {206, "ETag: " V "\nContent-Range: bytes 100-149/1000\nContent-Encoding: identity", 50, V, 0, 0, 50},
        /* The version alone counts where there is one. */
        {206, "ETag: " V "\nLast-Modified: Mon, 07 Nov 1994 08:49:37 GMT\n"
              "Content-Range: bytes 100-149/1000", 50, V, 0, 0, 50},
        {206, "Last-Modified: " MODIFIED "\nContent-Range: bytes 100-149/1000", 50, NULL, 0, 0, 50},
        {206, "Content-Range: bytes 100-149/1000", 50, NULL, 0, 0, 50},
        {206, "Last-Modified: yesterday\nContent-Range: bytes 100-149/1000", 50, NULL, 0, 0, 50},
        {200, "ETag: " V, 1000, V, 0, 100, 1000},
        {200, "ETag: " V, -1, V, 0, 100, 1000},
        {200, "Last-Modified: " MODIFIED, 1000, NULL, 0, 100, 1000},
        {200, "", 1000, NULL, 0, 100, 1000},
        /* Another version */
        {206, "ETag: \"v2\"\nContent-Range: bytes 100-149/1000", 50, V, -ESTALE},
        {206, "ETag: W/" V "\nContent-Range: bytes 100-149/1000", 50, V, -ESTALE},
        {206, "ETag: \"v2\"\nContent-Range: bytes 1-2/3", 2, V, -ESTALE},
        {200, "ETag: \"v2\"", 1000, V, -ESTALE},
        {200, "ETag: \"v2\"", 5, V, -ESTALE},
        {206, "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT\nContent-Range: bytes 100-149/1000", 50, NULL, -ESTALE},
        {200, "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT", 1000, NULL, -ESTALE},
        {206, "Content-Range: bytes 100-149/1001", 50, NULL, -ESTALE},
        {200, "", 999, NULL, -ESTALE},
        {416, "Content-Range: bytes */99", 0, V, -ESTALE},
        {412, "", 0, V, -ESTALE},
        /* Nonsense */
        {206, "Content-Range: bytes 100-149/1000", 50, V, -EPROTO},
        {200, "", 1000, V, -EPROTO},
        {206, "ETag: " V, 50, V, -EPROTO},
        {206, "ETag: " V "\nContent-Range: nonsense", 50, V, -EPROTO},
        {206, "ETag: " V "\nContent-Range: bytes */1000", 50, V, -EPROTO},
        {206, "ETag: " V "\nContent-Range: bytes 101-149/1000", 49, V, -EPROTO},
        {206, "ETag: " V "\nContent-Range: bytes 100-148/1000", 49, V, -EPROTO},
        {206, "ETag: " V "\nContent-Range: bytes 100-150/1000", 51, V, -EPROTO},
        {206, "ETag: " V "\nContent-Range: bytes 100-149/1001", 50, V, -EPROTO},
        {206, "ETag: " V "\nContent-Range: bytes 100-149/1000", 51, V, -EPROTO},
        {206, "Content-Range: bytes 100-149/*", 50, NULL, -EPROTO},
        {200, "ETag: " V, 999, V, -EPROTO},
        {206, "ETag: " V "\nContent-Range: bytes 100-149/1000\nContent-Encoding: gzip", 50, V, -EPROTO},
        {200, "ETag: " V "\nContent-Encoding: br", 1000, V, -EPROTO},
        {416, "Content-Range: bytes */1000", 0, V, -EPROTO},
        {416, "", 0, V, -EPROTO},
        {204, "", 0, V, -EPROTO},
        {203, "ETag: " V, 1000, V, -EPROTO},
        {304, "", 0, V, -EPROTO},
        {302, "", 0, V, -EPROTO},
        {418, "", 0, V, -EPROTO},
        {404, "", 0, V, -ENOENT},
        {401, "", 0, V, -EACCES},
        {503, "", 0, V, -EAGAIN},
};

static void test_answers(void) {
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                const struct answer_case *c = &cases[i];
                struct answer_wanted wanted = {.version = c->version, .size = 1000,
                                               .mtime_sec = MTIME, .offset = 100, .length = 50};
                g_autofree char *block = block_of(c->headers);
                struct http_response response = {.status = c->status, .headers = block, .url = "",
                                                 .content_length = c->content_length};
                struct answer answer = answer_check(&wanted, &response);

                g_test_message("%d %s", c->status, c->headers);
                g_assert_cmpint(answer.error, ==, c->error);
                if (c->error != 0)
                        continue;
                g_assert_cmpuint(answer.skip, ==, c->skip);
                g_assert_cmpuint(answer.body, ==, c->body);
                g_assert_cmpint(answer.whole, ==, c->status == 200);
        }
}

/* No answer is taken that does not hold the asked bytes in full. */
static void test_never_short(void) {
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                for (uint64_t offset = 0; offset < 1000; offset += 37) {
                        struct answer_wanted wanted = {.version = cases[i].version, .size = 1000,
                                                       .mtime_sec = MTIME, .offset = offset,
                                                       .length = MIN(50, 1000 - offset)};
                        g_autofree char *block = block_of(cases[i].headers);
                        struct http_response response = {.status = cases[i].status, .url = "",
                                                         .headers = block,
                                                         .content_length = cases[i].content_length};
                        struct answer answer = answer_check(&wanted, &response);

                        if (answer.error != 0)
                                continue;
                        g_assert_cmpuint(answer.skip + wanted.length, <=, answer.body);
                        if (!answer.whole)
                                g_assert_cmpuint(offset, ==, 100);
                }
}

struct head_case {
        int status;
        const char *headers;
        int64_t content_length;
        gboolean partial, has_size;
        uint64_t size;
        const char *version;
};

static void test_head(void) {
        static const struct head_case heads[] = {
                {200, "ETag: " V "\nLast-Modified: " MODIFIED, 42, FALSE, TRUE, 42, V},
                {200, "ETag: W/" V, 42, FALSE, TRUE, 42, ""},
                {200, "ETag: " V, -1, FALSE, FALSE, 0, V},
                {200, "ETag: " V "\nContent-Encoding: gzip", 42, FALSE, FALSE, 0, V},
                {204, "ETag: " V, 0, FALSE, FALSE, 0, ""},
                {404, "ETag: " V, 42, FALSE, FALSE, 0, ""},
                {206, "ETag: " V "\nContent-Range: bytes 0-0/42", 1, FALSE, FALSE, 0, ""},
                {206, "ETag: " V "\nContent-Range: bytes 0-0/42", 1, TRUE, TRUE, 42, V},
                {206, "ETag: " V "\nContent-Range: bytes 0-0/*", 1, TRUE, FALSE, 0, V},
                {206, "ETag: " V "\nContent-Range: bytes */42", 1, TRUE, FALSE, 0, V},
                {206, "ETag: " V, 1, TRUE, FALSE, 0, V},
                {206, "Content-Range: bytes 0-0/42\nContent-Encoding: gzip", 1, TRUE, FALSE, 0, ""},
                {200, "ETag: " V, 0, TRUE, TRUE, 0, V},
                {416, "ETag: " V "\nContent-Range: bytes */0", 0, TRUE, TRUE, 0, V},
                {416, "Content-Range: bytes */42", 0, TRUE, FALSE, 0, ""},
                {416, "", 0, TRUE, FALSE, 0, ""},
        };
        g_autofree char *long_etag = g_strdup_printf("ETag: \"%0200d\"", 1);
        g_autofree char *block = block_of(long_etag);
        struct http_response response = {.status = 200, .headers = block, .content_length = 1};
        struct head head;

        for (size_t i = 0; i < G_N_ELEMENTS(heads); i++) {
                g_autofree char *other = block_of(heads[i].headers);

                response = (struct http_response){.status = heads[i].status, .headers = other,
                                                  .content_length = heads[i].content_length};
                (heads[i].partial ? head_take_partial : head_take)(&head, &response);
                g_test_message("%d %s", heads[i].status, heads[i].headers);
                g_assert_cmpint(head.has_size, ==, heads[i].has_size);
                g_assert_cmpuint(head.size, ==, heads[i].size);
                g_assert_cmpstr(head.version, ==, heads[i].version);
                if (strstr(heads[i].headers, "Last-Modified"))
                        g_assert_cmpint(head.mtime_sec, ==, MTIME);
        }
        response = (struct http_response){.status = 200, .headers = block, .content_length = 1};
        head_take(&head, &response);
        g_assert_cmpstr(head.version, ==, ""); /* longer than CS_VERSION_MAX */

        g_assert_true(head_redirect_is_directory("http://h/a", "http://h/a/"));
        g_assert_false(head_redirect_is_directory("http://h/a", "http://h/a"));
        g_assert_false(head_redirect_is_directory("http://h/a", "http://h/b/"));
        g_assert_false(head_redirect_is_directory("http://h/a", "http://h/a/x/"));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/answer/table", test_answers);
        g_test_add_func("/answer/never-short", test_never_short);
        g_test_add_func("/head", test_head);
        return g_test_run();
}
