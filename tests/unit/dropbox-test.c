/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The pure parts of the dropbox module: hash, JSON, errors, filters, names, verification. */

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/dropbox/api-error.h"
#include "plugins/dropbox/api-json.h"
#include "plugins/dropbox/auth.h"
#include "plugins/dropbox/content-hash.h"
#include "plugins/dropbox/filter.h"
#include "plugins/dropbox/index.h"
#include "plugins/dropbox/local-name.h"
#include "plugins/dropbox/verify.h"

/* ── content hash ───────────────────────────────────────────────────────── */

/* Dropbox's published example: milky-way-nasa.jpg, 9,711,423 bytes, the hashes of its blocks, and
 * of the file. */
static void test_hash_vector(void) {
        static const char *const blocks[] = {
                "2a846fa617c3361fc117e1c5c1e1838c336b6a5cef982c1a2d9bdf68f2f1992a",
                "c68469027410ea393eba6551b9fa1e26db775f00eae70a0c3c129a0011a39cf9",
                "7376192de020925ce6c5ef5a8a0405e931b0a9a8c75517aacd9ca24a8a56818b",
        };
        uint8_t digests[3 * CONTENT_HASH_SIZE], hash[CONTENT_HASH_SIZE], right[CONTENT_HASH_SIZE];

        g_assert_cmpuint(content_hash_blocks(9711423), ==, 3);
        for (size_t i = 0; i < 3; i++)
                g_assert_cmpint(content_hash_parse(blocks[i], digests + i * CONTENT_HASH_SIZE), ==, 0);
        content_hash_combine(digests, 3, hash);
        g_assert_cmpint(content_hash_parse("485291fa0ee50c016982abbfa943957bcd231aae0492ccbaa22c58e3997b35e0",
                                           right), ==, 0);
        g_assert_cmpmem(hash, sizeof hash, right, sizeof right);
}

static void test_hash_edges(void) {
        uint8_t hash[CONTENT_HASH_SIZE], right[CONTENT_HASH_SIZE];

        g_assert_cmpuint(content_hash_blocks(0), ==, 0);
        g_assert_cmpuint(content_hash_blocks(1), ==, 1);
        g_assert_cmpuint(content_hash_blocks(CONTENT_HASH_BLOCK), ==, 1);
        g_assert_cmpuint(content_hash_blocks(CONTENT_HASH_BLOCK + 1ull), ==, 2);
        /* "There is no block for an empty file": the hash of nothing. */
        content_hash_combine(NULL, 0, hash);
        g_assert_cmpint(content_hash_parse("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                                           right), ==, 0);
        g_assert_cmpmem(hash, sizeof hash, right, sizeof right);
        g_assert_cmpint(content_hash_parse("e3b0", right), ==, -EINVAL);
        g_assert_cmpint(content_hash_parse("g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                                           right), ==, -EINVAL);
}

/* ── verify ─────────────────────────────────────────────────────────────── */

#define SIZE (2u * CONTENT_HASH_BLOCK + 1000u)

struct content {
        uint8_t *bytes, hash[CONTENT_HASH_SIZE];
};

static struct content content_new(void) {
        struct content c = {.bytes = g_malloc(SIZE)};
        uint8_t digests[3 * CONTENT_HASH_SIZE];

        for (size_t i = 0; i < SIZE; i++)
                c.bytes[i] = (uint8_t)(i * 2654435761u >> 13);
        for (size_t i = 0; i < 3; i++) {
                g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
                size_t begin = i * CONTENT_HASH_BLOCK;
                gsize n = CONTENT_HASH_SIZE;

                g_checksum_update(sum, c.bytes + begin, (gssize)MIN(CONTENT_HASH_BLOCK, SIZE - begin));
                g_checksum_get_digest(sum, digests + i * CONTENT_HASH_SIZE, &n);
        }
        content_hash_combine(digests, 3, c.hash);
        return c;
}

static enum verify_result feed(struct verify *verify, const struct content *c, uint64_t begin, uint64_t end,
                               uint64_t step) {
        struct verify_run *run = verify_begin(verify, "rev", SIZE, begin, end - begin);
        unsigned mismatches;

        verify_expect(run, c->hash);
        for (uint64_t at = begin; at < end; at += step)
                verify_update(run, c->bytes + at, MIN(step, end - at));
        return verify_end(run, &mismatches);
}

static void test_verify(void) {
        struct content c = content_new();
        struct verify *verify = verify_new(NULL);
        struct verify_run *run;

        g_assert_cmpint(feed(verify, &c, 0, SIZE, 100000), ==, VERIFY_GOOD);
        /* In pieces of whole blocks, in any order. */
        g_assert_cmpint(feed(verify, &c, CONTENT_HASH_BLOCK, SIZE, SIZE), ==, VERIFY_UNKNOWN);
        g_assert_cmpint(feed(verify, &c, 0, CONTENT_HASH_BLOCK, 4096), ==, VERIFY_GOOD);
        /* Broken off within a block, and continued at that byte. */
        run = verify_begin(verify, "rev", SIZE, 0, SIZE);
        verify_update(run, c.bytes, 5000000);
        verify_break(run);
        g_assert_cmpint(feed(verify, &c, 5000000, SIZE, 77777), ==, VERIFY_GOOD);
        /* Continued elsewhere: the block in between is not known. */
        run = verify_begin(verify, "rev", SIZE, 0, SIZE);
        verify_update(run, c.bytes, 5000000);
        verify_break(run);
        g_assert_cmpint(feed(verify, &c, 4999000, SIZE, SIZE), ==, VERIFY_UNKNOWN);
        /* One wrong bit, wherever it came in. */
        c.bytes[6000000] ^= 1;
        run = verify_begin(verify, "rev", SIZE, 0, SIZE);
        verify_update(run, c.bytes, 6500000);
        verify_break(run);
        c.bytes[6000000] ^= 1;
        g_assert_cmpint(feed(verify, &c, 6500000, SIZE, SIZE), ==, VERIFY_MISMATCH);
        g_assert_cmpint(feed(verify, &c, 0, SIZE, SIZE), ==, VERIFY_GOOD);
        verify_break(NULL);
        verify_free(verify);
        g_free(c.bytes);
}

/* A process that hands over [0, end), with `bad` (or SIZE) a wrong byte, and is killed. */
static void hand_over_and_die(const char *directory, struct content *c, uint64_t end, uint64_t bad) {
        struct verify *verify = verify_new(directory);
        struct verify_run *run = verify_begin(verify, "rev", SIZE, 0, SIZE);

        g_assert_cmpuint(verify_lead(run), ==, 0);
        if (bad < SIZE)
                c->bytes[bad] ^= 1;
        for (uint64_t at = 0; at < end; at += 131072)
                g_assert_cmpint(verify_update(run, c->bytes + at, MIN(131072, end - at)), ==, 0);
        if (bad < SIZE)
                c->bytes[bad] ^= 1;
        verify_break(run);
        verify_free(verify); /* nothing that a kill would not leave as well */
}

/* And the next one, which goes on at `offset`. -EBADMSG, or the verdict. */
static int go_on(const char *directory, const struct content *c, uint64_t offset, uint64_t want_lead) {
        struct verify *verify = verify_new(directory);
        struct verify_run *run = verify_begin(verify, "rev", SIZE, offset, SIZE - offset);
        uint64_t lead = verify_lead(run);
        unsigned mismatches;
        int r;

        g_assert_cmpuint(lead, ==, want_lead);
        verify_expect(run, c->hash);
        r = verify_update(run, c->bytes + offset - lead, SIZE - offset + lead);
        if (r < 0)
                verify_break(run);
        else
                r = verify_end(run, &mismatches);
        verify_free(verify);
        return r;
}

static void test_verify_killed(void) {
        g_autofree char *base = g_dir_make_tmp("hashes-XXXXXX", NULL), *directory = NULL, *file = NULL;
        struct content c = content_new();
        const uint64_t block = CONTENT_HASH_BLOCK, at = block + 5 * 131072;
        g_autofree char *text = NULL;

        directory = g_build_filename(base, "hashes", NULL);
        file = g_build_filename(directory, "rev", NULL);
        hand_over_and_die(directory, &c, at, SIZE);
        g_assert_true(g_file_test(file, G_FILE_TEST_EXISTS));
        g_assert_cmpint(go_on(directory, &c, at, at - block), ==, VERIFY_GOOD);
        g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
        /* Less of it arrived, to within a piece: compared where that piece ends. */
        hand_over_and_die(directory, &c, at, SIZE);
        g_assert_cmpint(go_on(directory, &c, at - 4096, at - 4096 - block), ==, VERIFY_GOOD);
        hand_over_and_die(directory, &c, at, SIZE);
        g_assert_cmpint(go_on(directory, &c, at - 3 * 131072, at - 3 * 131072 - block), ==, VERIFY_GOOD);
        /* At the start of a block: nothing is fetched twice. */
        hand_over_and_die(directory, &c, at, SIZE);
        g_assert_cmpint(go_on(directory, &c, block, 0), ==, VERIFY_GOOD);
        /* A wrong byte: in a block that was whole, in the beginning of one, in the very piece. */
        hand_over_and_die(directory, &c, at, 17);
        g_assert_cmpint(go_on(directory, &c, at, at - block), ==, VERIFY_MISMATCH);
        hand_over_and_die(directory, &c, at, block + 17);
        g_assert_cmpint(go_on(directory, &c, at, at - block), ==, -EBADMSG);
        hand_over_and_die(directory, &c, at, at - 5000);
        g_assert_cmpint(go_on(directory, &c, at - 4096, at - 4096 - block), ==, -EBADMSG);
        /* More arrived than was written down, or nothing was: not to be told. */
        hand_over_and_die(directory, &c, at, SIZE);
        g_assert_cmpint(go_on(directory, &c, at + 4096, 0), ==, VERIFY_UNKNOWN);
        hand_over_and_die(directory, &c, at, SIZE);
        g_assert_cmpint(g_unlink(file), ==, 0);
        g_assert_cmpint(go_on(directory, &c, at, 0), ==, VERIFY_UNKNOWN);
        /* Twice. */
        hand_over_and_die(directory, &c, at, SIZE);
        {
                struct verify *verify = verify_new(directory);
                struct verify_run *run = verify_begin(verify, "rev", SIZE, at, SIZE - at);

                g_assert_cmpint(verify_update(run, c.bytes + block, 9 * 131072), ==, 0);
                verify_break(run);
                verify_free(verify);
        }
        g_assert_cmpint(go_on(directory, &c, block + 9 * 131072, 9 * 131072), ==, VERIFY_GOOD);
        /* Rubbish in its place is none. */
        hand_over_and_die(directory, &c, at, SIZE);
        g_assert_true(g_file_set_contents(file, "rubbish", -1, NULL));
        g_assert_cmpint(go_on(directory, &c, at, 0), ==, VERIFY_UNKNOWN);
        text = g_strdup_printf("rm -r '%s'", base);
        g_assert_cmpint(system(text), ==, 0);
        g_free(c.bytes);
}

/* What was good once does not vouch for bytes that are fetched again and not checked. */
static void test_verify_forgets(void) {
        struct content c = content_new();
        struct verify *verify = verify_new(NULL);
        struct verify_run *run;
        unsigned n;

        g_assert_cmpint(feed(verify, &c, 0, CONTENT_HASH_BLOCK, SIZE), ==, VERIFY_UNKNOWN);
        g_assert_cmpint(feed(verify, &c, 4096, 8192, SIZE), ==, VERIFY_UNKNOWN); /* block 0 again, in part */
        g_assert_cmpint(feed(verify, &c, CONTENT_HASH_BLOCK, SIZE, SIZE), ==, VERIFY_UNKNOWN);
        g_assert_cmpint(feed(verify, &c, 0, CONTENT_HASH_BLOCK, SIZE), ==, VERIFY_GOOD);
        /* Mismatches are counted by version. */
        c.hash[0] ^= 1;
        for (unsigned i = 1; i < 4; i++) {
                run = verify_begin(verify, "bad", SIZE, 0, SIZE);
                verify_expect(run, c.hash);
                verify_update(run, c.bytes, SIZE);
                g_assert_cmpint(verify_end(run, &n), ==, VERIFY_MISMATCH);
                g_assert_cmpuint(n, ==, i);
        }
        for (int i = 0; i < 3000; i++) { /* more than it remembers */
                g_autofree char *name = g_strdup_printf("v%d", i);

                run = verify_begin(verify, name, 10, 0, 5);
                verify_update(run, c.bytes, 5);
                verify_break(run);
        }
        verify_free(verify);
        g_free(c.bytes);
}

static enum verify_result end_of(struct verify_run *run, const struct content *c, uint64_t begin, uint64_t end) {
        unsigned n;

        verify_expect(run, c->hash);
        verify_update(run, c->bytes + begin, end - begin);
        return verify_end(run, &n);
}

/* After a mismatch only what is fetched anew from its start may make a file whole. */
static void test_verify_suspect(void) {
        const uint64_t block = CONTENT_HASH_BLOCK;
        struct content c = content_new();
        struct verify *verify = verify_new(NULL);
        struct verify_run *a, *b;

        c.bytes[7] ^= 1;
        g_assert_cmpint(feed(verify, &c, 0, SIZE, SIZE), ==, VERIFY_MISMATCH);
        c.bytes[7] ^= 1;
        g_assert_cmpint(feed(verify, &c, SIZE - 1000, SIZE, SIZE), ==, VERIFY_SUSPECT);
        g_assert_cmpint(feed(verify, &c, 0, 1000, SIZE), ==, VERIFY_SUSPECT);
        g_assert_cmpint(feed(verify, &c, block, SIZE, SIZE), ==, VERIFY_SUSPECT);
        g_assert_cmpint(feed(verify, &c, 4096, SIZE, SIZE), ==, VERIFY_SUSPECT);
        /* Pieces at once, the second one done first. */
        b = verify_begin(verify, "rev", SIZE, block, SIZE - block);
        a = verify_begin(verify, "rev", SIZE, 0, block);
        g_assert_cmpint(end_of(b, &c, block, SIZE), ==, VERIFY_UNKNOWN);
        /* The first one breaks off and goes on. */
        verify_update(a, c.bytes, 131072);
        verify_break(a);
        a = verify_begin(verify, "rev", SIZE, 131072, block - 131072);
        g_assert_cmpint(end_of(a, &c, 131072, block), ==, VERIFY_GOOD);
        /* Trusted again. */
        g_assert_cmpint(feed(verify, &c, SIZE - 1000, SIZE, SIZE), ==, VERIFY_UNKNOWN);
        verify_free(verify);
        g_free(c.bytes);
}

/* ── JSON ───────────────────────────────────────────────────────────────── */

static void test_header_text(void) {
        json_object auto_json *o = json_object_new_object();
        g_autofree char *text = NULL;

        json_object_object_add(o, "path", json_object_new_string("/\xc3\xa4 \xf0\x9f\x98\x80 \x7f \" \\ \n"));
        text = api_header_text(o);
        g_assert_cmpstr(text, ==, "{\"path\":\"/\\u00e4 \\ud83d\\ude00 \\u007f \\\" \\\\ \\n\"}");
        for (const char *p = text; *p; p++)
                g_assert_true(*p >= 0x20 && *p < 0x7f);
        {
                json_object auto_json *back = api_parse(text, strlen(text));

                g_assert_cmpstr(api_string(back, "path", 100), ==, "/\xc3\xa4 \xf0\x9f\x98\x80 \x7f \" \\ \n");
        }
}

static void test_parse(void) {
        static const char *const bad[] = {"", "  ", "{", "null", "[]", "1", "{} x", "{}{}", "{a: 1}", "{\"a\":1,}",
                                          "{\"a\": \"\xff\"}"};
        g_autoptr(GString) deep = g_string_new(NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                if (api_parse(bad[i], strlen(bad[i])) != NULL)
                        g_error("accepted: %s", bad[i]);
        for (int i = 0; i < 100000; i++)
                g_string_append(deep, "{\"a\":");
        g_assert_null(api_parse(deep->str, deep->len));
        g_assert_null(api_parse("{}\0", 3));
        {
                static const char text[] = " {\"a\": \"x\\u0000y\", \"b\": \"z\"} \n";
                json_object auto_json *o = api_parse(text, strlen(text));

                g_assert_nonnull(o);
                g_assert_null(api_string(o, "a", 10)); /* a NUL in it */
                g_assert_cmpstr(api_string(o, "b", 10), ==, "z");
                g_assert_null(api_string(o, "b", 0));
                g_assert_null(api_string(o, "c", 10));
                g_assert_null(api_string(NULL, "c", 10));
        }
}

/* The specification's own example (files.stone, FileMetadata). */
#define EXAMPLE                                                                                    \
        "{\".tag\":\"file\",\"name\":\"Prime_Numbers.txt\",\"id\":\"id:a4ayc_80_OEAAAAAAAAAXw\","          \
        "\"client_modified\":\"2015-05-12T15:50:38Z\",\"server_modified\":\"2015-05-12T15:50:38Z\","       \
        "\"rev\":\"a1c10ce0dd78\",\"size\":7212,\"path_lower\":\"/homework/math/prime_numbers.txt\","      \
        "\"path_display\":\"/Homework/math/Prime_Numbers.txt\",\"sharing_info\":{\"read_only\":true,"      \
        "\"parent_shared_folder_id\":\"84528192421\",\"modified_by\":\"dbid:x\"},\"is_downloadable\":true," \
        "\"property_groups\":[],\"has_explicit_shared_members\":false,\"content_hash\":"                   \
        "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\",\"file_lock_info\":{}}"

static void test_metadata(void) {
        json_object auto_json *o = api_parse(EXAMPLE, strlen(EXAMPLE));
        struct api_metadata m;

        g_assert_cmpint(api_metadata(o, &m), ==, 0);
        g_assert_cmpint(m.kind, ==, API_FILE);
        g_assert_cmpstr(m.name, ==, "Prime_Numbers.txt");
        g_assert_cmpstr(m.id, ==, "id:a4ayc_80_OEAAAAAAAAAXw");
        g_assert_cmpstr(m.rev, ==, "a1c10ce0dd78");
        g_assert_cmpuint(m.size, ==, 7212);
        g_assert_cmpint(m.mtime, ==, 1431445838);
        g_assert_true(m.read_only && m.downloadable && m.has_hash);
        g_assert_null(m.link_target);
}

/* `change` in the example, and what becomes of it. */
static int with(const char *key, const char *value, struct api_metadata *ret, json_object **ret_o) {
        json_object *o = api_parse(EXAMPLE, strlen(EXAMPLE));

        if (value == NULL)
                json_object_object_del(o, key);
        else
                json_object_object_add(o, key, json_tokener_parse(value));
        *ret_o = o;
        return api_metadata(o, ret);
}

static void test_metadata_bad(void) {
        static const struct {
                const char *key, *value;
        } bad[] = {
                {".tag", NULL}, {".tag", "5"}, {"name", NULL}, {"name", "\"\""}, {"name", "\"a/b\""},
                {"name", "[]"}, {"id", NULL}, {"id", "\"x\""}, {"id", "\"id:\""}, {"id", "\"id:a/b\""},
                {"id", "\"id:a b\""}, {"rev", "\"xyz\""}, {"rev", "\"a1\""}, {"rev", "\"A1C10CE0DD78\""},
                {"size", "-1"}, {"size", "1.5"}, {"size", "\"7\""}, {"size", "99999999999999999999999"},
                {"client_modified", "\"yesterday\""}, {"client_modified", "\"2015-02-30T00:00:00Z\""},
                {"path_lower", "\"no/slash\""},
        };
        struct api_metadata m;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                json_object auto_json *o = NULL;

                if (with(bad[i].key, bad[i].value, &m, &o) != -EPROTO)
                        g_error("%s = %s was accepted", bad[i].key, bad[i].value ? bad[i].value : "nothing");
        }
        g_assert_cmpint(api_metadata(NULL, &m), ==, -EPROTO);
        {
                json_object auto_json *a = NULL, auto_json *b = NULL, auto_json *c = NULL, auto_json *d = NULL;

                g_assert_cmpint(with(".tag", "\"hologram\"", &m, &a), ==, 0);
                g_assert_cmpint(m.kind, ==, API_UNKNOWN);
                g_assert_cmpint(with("path_lower", "null", &m, &b), ==, 0);
                g_assert_null(m.path_lower);
                g_assert_cmpint(with("content_hash", "\"x\"", &m, &c), ==, 0);
                g_assert_false(m.has_hash);
                g_assert_cmpint(with("symlink_info", "{\"target\": \"../x\"}", &m, &d), ==, 0);
                g_assert_cmpstr(m.link_target, ==, "../x");
        }
}

static void test_pages(void) {
        static const char good[] = "{\"entries\": [{\".tag\":\"deleted\",\"name\":\"x\",\"path_lower\":\"/x\"}, 5],"
                                   " \"cursor\": \"c\", \"has_more\": true, \"more\": {}}";
        static const char *const bad[] = {"{\"entries\": [], \"cursor\": \"c\"}",
                                          "{\"entries\": [], \"cursor\": \"\", \"has_more\": false}",
                                          "{\"entries\": {}, \"cursor\": \"c\", \"has_more\": false}",
                                          "{\"entries\": [], \"cursor\": \"c\", \"has_more\": 1}"};
        struct api_page page;
        struct api_metadata m;
        uint32_t backoff;
        bool changes;

        g_assert_cmpint(api_page_parse(good, strlen(good), &page), ==, 0);
        g_assert_cmpuint(page.n, ==, 2);
        g_assert_true(page.has_more);
        g_assert_cmpint(api_page_entry(&page, 0, &m), ==, 0);
        g_assert_cmpint(m.kind, ==, API_DELETED);
        g_assert_cmpint(api_page_entry(&page, 1, &m), ==, -EPROTO);
        g_assert_cmpint(api_page_entry(&page, 2, &m), ==, -EPROTO);
        api_page_clear(&page);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_cmpint(api_page_parse(bad[i], strlen(bad[i]), &page), ==, -EPROTO);
        g_assert_cmpint(api_longpoll_parse("{\"changes\": true, \"backoff\": 60}", 32, &changes, &backoff), ==, 0);
        g_assert_true(changes && backoff == 60);
        g_assert_cmpint(api_longpoll_parse("{\"changes\": false, \"backoff\": 99999999}", 39, &changes, &backoff), ==, 0);
        g_assert_cmpuint(backoff, <=, 3600);
        g_assert_cmpint(api_longpoll_parse("{\"backoff\": 60}", 15, &changes, &backoff), ==, -EPROTO);
}

static void test_tokens(void) {
        static const char good[] = "{\"access_token\": \"sl.abc\", \"token_type\": \"bearer\", \"expires_in\": 14400}";
        static const char *const bad[] = {"{\"access_token\": \"sl.abc\"}",
                                          "{\"access_token\": \"a b\", \"token_type\": \"bearer\"}",
                                          "{\"access_token\": \"a\\r\\nX: y\", \"token_type\": \"bearer\"}",
                                          "{\"access_token\": \"a\", \"token_type\": \"mac\"}", "{}"};
        struct api_token token;

        g_assert_cmpint(api_token_parse(good, strlen(good), &token), ==, 0);
        g_assert_cmpstr(token.access_token, ==, "sl.abc");
        g_assert_cmpuint(token.expires_in_s, ==, 14400);
        g_assert_null(token.refresh_token);
        api_token_clear(&token);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_cmpint(api_token_parse(bad[i], strlen(bad[i]), &token), ==, -EPROTO);
}

/* ── errors ─────────────────────────────────────────────────────────────── */

static void test_errors(void) {
        static const struct {
                int status;
                const char *body;
                int error;
                enum api_action action;
                const char *tags;
                uint32_t retry_ms;
        } cases[] = {
                {400, "Error in call to API function \"x\": no", -EINVAL, API_ACTION_NONE, "", 0},
                {401, "{\"error\": {\".tag\": \"expired_access_token\"}}", -EAGAIN, API_ACTION_REFRESH, "expired_access_token", 0},
                {401, "{\"error\": {\".tag\": \"invalid_access_token\"}}", -EACCES, API_ACTION_REFRESH, "invalid_access_token", 0},
                {401, "{\"error\": {\".tag\": \"missing_scope\", \"required_scope\": \"x\"}}", -EACCES, API_ACTION_LOGIN, "missing_scope", 0},
                {401, "{\"error\": {\".tag\": \"something_new\"}}", -EACCES, API_ACTION_REFRESH, "something_new", 0},
                {403, "", -EACCES, API_ACTION_NONE, "", 0},
                {409, "{\"error\": {\".tag\": \"path\", \"path\": {\".tag\": \"not_found\"}}}", -ENOENT, API_ACTION_NONE, "path/not_found", 0},
                {409, "{\"error\": {\".tag\": \"path\", \"path\": {\".tag\": \"not_found\", \"not_found\": {\".tag\": \"newer\"}}}}", -ENOENT, API_ACTION_NONE, "path/not_found/newer", 0},
                {409, "{\"error\": {\".tag\": \"path\", \"path\": {\".tag\": \"not_found_here\"}}}", -EIO, API_ACTION_NONE, "path/not_found_here", 0},
                {409, "{\"error\": {\".tag\": \"path\", \"path\": {\".tag\": \"restricted_content\"}}}", -EPERM, API_ACTION_NONE, "path/restricted_content", 0},
                {409, "{\"error\": {\".tag\": \"unsupported_file\"}}", -EOPNOTSUPP, API_ACTION_NONE, "unsupported_file", 0},
                {409, "{\"error\": {\".tag\": \"reset\"}}", -ESTALE, API_ACTION_RESET, "reset", 0},
                {409, "{\"error\": \"reset\"}", -ESTALE, API_ACTION_RESET, "reset", 0},
                {409, "{\"error\": {\".tag\": \"Not A Tag\"}}", -EIO, API_ACTION_NONE, "", 0},
                {409, "{\"error\": 5}", -EIO, API_ACTION_NONE, "", 0},
                {422, "{\"error\": {\".tag\": \"invalid_root\", \"invalid_root\": {\".tag\": \"user\"}}}", -ESTALE, API_ACTION_ROOT, "invalid_root/user", 0},
                {422, "{\"error\": {\".tag\": \"no_permission\"}}", -EACCES, API_ACTION_NONE, "no_permission", 0},
                {429, "{\"error\": {\"reason\": {\".tag\": \"too_many_requests\"}, \"retry_after\": 7}}", -EAGAIN, API_ACTION_NONE, "", 7000},
                {429, "{\"error\": {\"retry_after\": -7}}", -EAGAIN, API_ACTION_NONE, "", 0},
                {500, "<html>", -EAGAIN, API_ACTION_NONE, "", 0},
                {503, "", -EAGAIN, API_ACTION_NONE, "", 0},
                {418, "", -EPROTO, API_ACTION_NONE, "", 0},
                {304, "", -EPROTO, API_ACTION_NONE, "", 0},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct api_fault fault;

                api_fault_judge(cases[i].status, cases[i].body, strlen(cases[i].body), 0, &fault);
                g_test_message("%d %s: %s", cases[i].status, cases[i].body, fault.sentence);
                g_assert_cmpint(fault.error, ==, cases[i].error);
                g_assert_cmpint(fault.action, ==, cases[i].action);
                g_assert_cmpstr(fault.tags, ==, cases[i].tags);
                g_assert_cmpuint(fault.retry_after_ms, ==, cases[i].retry_ms);
                g_assert_true(*fault.sentence);
        }
}

static void test_error_text(void) {
        g_autofree char *body = g_strnfill(100000, 'x');
        struct api_fault fault;

        api_fault_judge(400, "two\nlines", 9, 0, &fault);
        g_assert_nonnull(strstr(fault.sentence, "two"));
        g_assert_null(strchr(fault.sentence, '\n'));
        api_fault_judge(400, body, 100000, 0, &fault);
        g_assert_cmpuint(strlen(fault.sentence), <, 400);
        api_fault_judge(400, "\x1b[31m", 5, 0, &fault);
        g_assert_null(strchr(fault.sentence, 0x1b));
        api_fault_judge_token(400, "{\"error\": \"invalid_grant\"}", 26, 0, &fault);
        g_assert_cmpint(fault.action, ==, API_ACTION_LOGIN);
        g_assert_cmpint(fault.error, ==, -EACCES);
        api_fault_judge_token(503, "", 0, 2000, &fault);
        g_assert_cmpint(fault.action, ==, API_ACTION_NONE);
        g_assert_cmpint(fault.error, ==, -EAGAIN);
        g_assert_cmpuint(fault.retry_after_ms, ==, 2000);
}

/* ── names and filters ──────────────────────────────────────────────────── */

static void test_local_names(void) {
        g_autofree char *plain = NULL, *suffix = NULL, *cut = NULL, *clean = NULL, *other = NULL, *dots = NULL;
        g_autoptr(GString) longer = g_string_new(NULL);
        bool changed;

        plain = local_name("A b.txt", "/a b.txt", NULL, &changed);
        g_assert_cmpstr(plain, ==, "A b.txt");
        g_assert_false(changed);
        suffix = local_name("Plan.gdoc", "/plan.gdoc", "docx", &changed);
        g_assert_cmpstr(suffix, ==, "Plan.gdoc.docx");
        for (int i = 0; i < 255; i++)
                g_string_append(longer, "\xe2\x82\xac");
        g_string_append(longer, ".tar");
        cut = local_name(longer->str, "/x", NULL, &changed);
        g_assert_true(changed && strlen(cut) <= 255 && g_utf8_validate(cut, -1, NULL));
        g_assert_true(g_str_has_suffix(cut, ".tar"));
        clean = local_name("a\nb", "/a\nb", NULL, &changed);
        other = local_name("a\tb", "/a\tb", NULL, &changed);
        g_assert_true(g_str_has_prefix(clean, "a_b~"));
        g_assert_cmpstr(clean, !=, other);
        dots = local_name("..", "/..", NULL, &changed);
        g_assert_cmpstr(dots, !=, "..");
}

static void test_filters(void) {
        static const struct {
                const char *include, *exclude, *path;
                bool folder, shown;
        } cases[] = {
                {NULL, NULL, "a/b", false, true},
                {NULL, "*.tmp", "a/x.TMP", false, false},
                {NULL, "*.tmp", "a/x.tmp/y", false, false},
                {NULL, "*.tmp", "a/x.txt", false, true},
                {NULL, "/a/b", "a/b/c", false, false},
                {NULL, "/a/b", "x/a/b", false, true},
                {NULL, "a/*", "a/b", true, false},
                {NULL, "a/*", "a", true, true},
                {"/Photos/20*", NULL, "photos", true, true},
                {"/Photos/20*", NULL, "photos", false, false},
                {"/Photos/20*", NULL, "photos/2020/x", false, true},
                {"/Photos/20*", NULL, "photos/other", true, false},
                {"/Photos/20*", NULL, "docs", true, false},
                {"*.pdf", NULL, "a/b", true, true},
                {"*.pdf", NULL, "a/b/c.pdf", false, true},
                {"*.pdf", NULL, "a/b/c.txt", false, false},
                {"*.pdf", "/private;", "private/c.pdf", false, false},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct filter *filter = NULL;

                g_assert_cmpint(filter_new(cases[i].include, cases[i].exclude, &filter), ==, 0);
                if (filter_shows(filter, cases[i].path, cases[i].folder) != cases[i].shown)
                        g_error("case %zu: %s", i, cases[i].path);
                filter_free(filter);
        }
        {
                struct filter *filter = NULL;

                g_assert_cmpint(filter_new("a;;b", NULL, &filter), ==, -EINVAL);
                g_assert_cmpint(filter_new(NULL, "/a//b", &filter), ==, -EINVAL);
                g_assert_cmpint(filter_new(";", NULL, &filter), ==, -EINVAL);
        }
}

/* RFC 7636, appendix B. */
static void test_pkce(void) {
        g_autofree char *challenge = login_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        g_autofree char *url = login_authorise_url("https://www.dropbox.com/", "key", challenge);

        g_assert_cmpstr(challenge, ==, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        g_assert_cmpstr(url, ==,
                        "https://www.dropbox.com/oauth2/authorize?client_id=key&response_type=code"
                        "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
                        "&token_access_type=offline&scope=account_info.read%20files.metadata.read%20"
                        "files.content.read");
}

/* ── the index ──────────────────────────────────────────────────────────── */

static void put(struct index *index, const char *path, enum index_kind kind, const char *rev) {
        const char *slash = strrchr(path, '/');

        index_put(index, &(struct index_entry){.path = (char *)path, .local = (char *)(slash ? slash + 1 : path),
                                               .kind = kind, .id = (char *)(kind == INDEX_FILE ? path : ""),
                                               .rev = (char *)rev},
                  NULL);
}

static char *below(struct index *index, const char *path) {
        g_autoptr(GArray) entries = NULL;
        GString *s = g_string_new(NULL);

        g_assert_cmpint(index_list(index, path, "", "", 100, &entries), ==, 0);
        for (guint i = 0; i < entries->len; i++)
                g_string_append_printf(s, "%s ", g_array_index(entries, struct index_entry, i).local);
        return g_string_free(s, FALSE);
}

static void expect_below(struct index *index, const char *path, const char *names) {
        g_autofree char *now = below(index, path);

        g_assert_cmpstr(now, ==, names);
}

static void test_index(void) {
        g_autofree char *directory = g_dir_make_tmp("index-XXXXXX", NULL), *detail = NULL;
        g_autofree char *file = g_build_filename(directory, "index.sqlite", NULL);
        struct index_entry auto_entry found = {0};
        struct index *index = NULL;
        GHashTable *changed = NULL;

        g_assert_cmpint(index_open(file, &index, &detail), ==, 0);
        g_assert_cmpint(index_begin(index, 1), ==, 0);
        put(index, "a/b/c", INDEX_FILE, "1");
        put(index, "a0", INDEX_FILE, "1"); /* sorts between "a" and "a/…" for no one */
        put(index, "a-", INDEX_FILE, "1");
        index_set(index, "cursor", "one");
        g_assert_cmpint(index_commit(index, &changed), ==, 0);
        g_assert_cmpuint(g_hash_table_size(changed), ==, 3); /* "", "a", "a/b" */
        g_hash_table_unref(changed);
        expect_below(index, "", "a a- a0 ");
        expect_below(index, "a", "b ");

        /* Confirmed without a change: nothing to tell. */
        g_assert_cmpint(index_begin(index, 2), ==, 0);
        put(index, "a/b/c", INDEX_FILE, "1");
        g_assert_cmpint(index_commit(index, &changed), ==, 0);
        g_assert_cmpuint(g_hash_table_size(changed), ==, 0);
        g_hash_table_unref(changed);

        /* Taken back as a whole. */
        g_assert_cmpint(index_begin(index, 2), ==, 0);
        index_remove(index, "a");
        index_set(index, "cursor", "two");
        index_rollback(index);
        {
                g_autofree char *cursor = index_get(index, "cursor");
                g_assert_cmpstr(cursor, ==, "one");
        }
        expect_below(index, "a/b", "c ");
        index_free(index);

        /* From the file; then a file replaces a folder, and a full listing ends. */
        g_assert_cmpint(index_open(file, &index, &detail), ==, 0);
        g_assert_cmpint(index_find_id(index, "a/b/c", &found), ==, 0);
        g_assert_cmpint(index_begin(index, 2), ==, 0);
        put(index, "a/b", INDEX_FILE, "2");
        index_remove_unseen(index);
        g_assert_cmpint(index_commit(index, NULL), ==, 0);
        expect_below(index, "", "a ");
        expect_below(index, "a", "b ");
        expect_below(index, "a/b", "");
        g_assert_cmpuint(index_count(index), ==, 2);
        index_free(index);

        /* Damaged: made anew. */
        g_assert_true(g_file_set_contents(file, "this is no database, and long enough to be read as one", -1, NULL));
        g_assert_cmpint(index_open(file, &index, &detail), ==, 0);
        g_assert_cmpuint(index_count(index), ==, 0);
        index_free(index);
        g_assert_cmpint(index_open("/nonexistent/x", &index, &detail), <, 0);
        g_assert_nonnull(detail);
        {
                const char *argv[] = {"rm", "-rf", directory, NULL};
                g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dropbox/hash/vector", test_hash_vector);
        g_test_add_func("/dropbox/hash/edges", test_hash_edges);
        g_test_add_func("/dropbox/verify/pieces", test_verify);
        g_test_add_func("/dropbox/verify/killed", test_verify_killed);
        g_test_add_func("/dropbox/verify/forgets", test_verify_forgets);
        g_test_add_func("/dropbox/verify/suspect", test_verify_suspect);
        g_test_add_func("/dropbox/json/header", test_header_text);
        g_test_add_func("/dropbox/json/parse", test_parse);
        g_test_add_func("/dropbox/json/metadata", test_metadata);
        g_test_add_func("/dropbox/json/metadata-bad", test_metadata_bad);
        g_test_add_func("/dropbox/json/pages", test_pages);
        g_test_add_func("/dropbox/json/tokens", test_tokens);
        g_test_add_func("/dropbox/errors/table", test_errors);
        g_test_add_func("/dropbox/errors/text", test_error_text);
        g_test_add_func("/dropbox/names/local", test_local_names);
        g_test_add_func("/dropbox/names/filters", test_filters);
        g_test_add_func("/dropbox/login/pkce", test_pkce);
        g_test_add_func("/dropbox/index", test_index);
        return g_test_run();
}
