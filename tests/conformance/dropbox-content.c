/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Content: ranges, pinned revisions, hashes, exports, notes. */

#include "dropbox-tests.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#define MIB (1024u * 1024)
#define PIECE (128u * 1024)

static void test_whole_and_ranges(void) {
        struct fake_entry auto_fake_entry *small = NULL, *large = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/small', 'seed': 's', 'size': 1000},"
             "{'do': 'write', 'path': '/\xc3\xa4 large', 'seed': 'l', 'size': 9000001}");
        box = box_new(true, NULL);
        small = entry_get(box, "", "small");
        large = entry_get(box, "", "\xc3\xa4 large");
        {
                struct cs_request auto_request *a = fetch(box, small, 0, 0);
                struct cs_request auto_request *b = fetch(box, small, 10, 1);
                struct cs_request auto_request *c = fetch(box, large, 0, 0);
                struct cs_request auto_request *d = fetch(box, large, 4096, 300000);
                struct cs_request auto_request *e = fetch(box, large, 8999936, 65);

                expect_bytes(a, "s", 0, 1000);
                expect_bytes(b, "s", 10, 1);
                expect_bytes(c, "l", 0, 9000001);
                expect_bytes(d, "l", 4096, 300000);
                expect_bytes(e, "l", 8999936, 65);
        }
        {
                json_object auto_object *state = control_state();
                json_object *ranges;

                json_object_object_get_ex(state, "ranges", &ranges);
                g_assert_cmpstr(json_object_to_json_string_ext(ranges, JSON_C_TO_STRING_PLAIN), ==,
                                "[null,\"bytes=10-10\",null,\"bytes=4096-304095\",\"bytes=8999936-9000000\"]");
        }
}

static void test_refused_fetches(void) {
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 1000}");
        box = box_new(true, NULL);
        file = entry_get(box, "", "f");
        {
                struct fake_entry wrong = *file;
                struct cs_request auto_request *a = NULL, auto_request *b = NULL, auto_request *c = NULL;

                wrong.version = (char *)"../../etc";
                a = fetch(box, &wrong, 0, 0);
                g_assert_cmpint(a->result, ==, -EINVAL);
                wrong = *file;
                wrong.size = 999; /* of another version */
                b = fetch(box, &wrong, 0, 0);
                g_assert_cmpint(b->result, ==, -EPROTO);
                wrong = *file;
                wrong.version = (char *)"0123456789abcdef";
                c = fetch(box, &wrong, 0, 0);
                g_assert_cmpint(c->result, ==, -ESTALE); /* there is another one */
        }
}

static void test_pinned(void) {
        struct fake_entry auto_fake_entry *old = NULL, *new = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 'old', 'size': 500000}");
        box = box_new(true, NULL);
        old = entry_get(box, "", "f");
        {
                struct cs_request auto_request *a = fetch(box, old, 0, 262144), auto_request *b = NULL;
                struct cs_request auto_request *gone = NULL, auto_request *fresh = NULL;

                expect_bytes(a, "old", 0, 262144);
                tell("{'do': 'write', 'path': '/f', 'seed': 'new', 'size': 600000}");
                b = fetch(box, old, 262144, 0);
                expect_bytes(b, "old", 262144, 500000 - 262144);
                expect_change(box, "");
                new = entry_get(box, "", "f");
                g_assert_cmpstr(new->version, !=, old->version);
                tell("{'do': 'forget_rev', 'rev': '%s'}", old->version);
                gone = fetch(box, old, 0, 0);
                g_assert_cmpint(gone->result, ==, -ESTALE);
                g_assert_cmpuint(gone->n_bytes, ==, 0);
                fresh = fetch(box, new, 0, 0);
                expect_bytes(fresh, "new", 0, 600000);
        }
        tell("{'do': 'remove', 'path': '/f'}, {'do': 'forget_rev', 'rev': '%s'}", new->version);
        expect_names(box, "", "");
        {
                struct cs_request auto_request *gone = fetch(box, new, 0, 0);

                g_assert_cmpint(gone->result, ==, -ENOENT);
        }
}

/* All in one piece: nothing is handed over, it is asked for again, and then it is an error. */
static void test_mismatch_small(void) {
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 100000},"
             "{'do': 'fault', 'route': 'files/download', 'count': 4, 'corrupt': 5000}");
        box = box_new(true, NULL);
        file = entry_get(box, "", "f");
        for (size_t i = 0; i < 4; i++) {
                struct cs_request auto_request *bad = fetch(box, file, 0, 0);

                g_assert_cmpint(bad->result, ==, -EBADMSG);
                g_assert_cmpuint(bad->n_bytes, ==, 0);
        }
        g_assert_true(fake_logged(box->fake, "does not have the hash"));
        {
                struct cs_request auto_request *good = fetch(box, file, 0, 0);

                expect_bytes(good, "s", 0, 100000);
        }
}

/* What was handed over has to be thrown away, and stat says the same version. */
static void test_mismatch_large(void) {
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 1000000},"
             "{'do': 'fault', 'route': 'files/download', 'corrupt': 5}");
        box = box_new(true, NULL);
        file = entry_get(box, "", "f");
        {
                struct cs_request auto_request *bad = fetch(box, file, 0, 0), auto_request *good = NULL;
                struct cs_request auto_request *stat = NULL;

                g_assert_cmpint(bad->result, ==, -EBADMSG);
                g_assert_cmpuint(bad->n_bytes, <=, 1000000 - 1);
                stat = fake_stat(box->fake, file->locator);
                g_assert_cmpint(stat->result, ==, 0);
                g_assert_cmpstr(((struct fake_entry *)stat->entries->pdata[0])->version, ==, file->version);
                good = fetch(box, file, 0, 0);
                expect_bytes(good, "s", 0, 1000000);
        }
}

/* The dispatcher's way with large files: in pieces of whole blocks. The bad one need not be the last. */
static void test_mismatch_pieces(void) {
        enum { SIZE = 9000000 };
        static const uint64_t begins[] = {4 * MIB, 0, 8 * MIB};
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 9000000},"
             "{'do': 'fault', 'route': 'files/download', 'corrupt': 777}");
        box = box_new(true, NULL);
        file = entry_get(box, "", "f");
        for (size_t i = 0; i < G_N_ELEMENTS(begins); i++) {
                uint64_t length = MIN(4 * MIB, SIZE - begins[i]);
                struct cs_request auto_request *part = fetch(box, file, begins[i], length);

                g_assert_cmpint(part->result, ==, i < 2 ? 0 : -EBADMSG);
                if (i == 2)
                        g_assert_cmpuint(part->n_bytes, <, length);
        }
        {
                /* Only the missing end: that would make the wrong beginning whole. */
                struct cs_request auto_request *end = fetch(box, file, SIZE - 1000, 1000);

                g_assert_cmpint(end->result, ==, -ESTALE);
                g_assert_cmpuint(end->n_bytes, ==, 0);
        }
        for (uint64_t begin = 0; begin < SIZE; begin += 4 * MIB) {
                uint64_t length = MIN(4 * MIB, SIZE - begin);
                struct cs_request auto_request *part = fetch(box, file, begin, length);

                expect_bytes(part, "s", begin, length);
        }
}

/* A transfer that breaks goes on where it broke, and its first part is still verified. */
static void test_broken(void) {
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 3000000}");
        box = box_new(true, NULL);
        file = entry_get(box, "", "f");
        for (int corrupt = 0; corrupt < 2; corrupt++) {
                struct cs_request auto_request *first = NULL, auto_request *rest = NULL;

                tell("{'do': 'fault', 'route': 'files/download', 'cut': 1000000%s}",
                     corrupt ? ", 'corrupt': 100" : "");
                first = fetch(box, file, 0, 0);
                g_assert_cmpint(first->result, ==, -ECONNRESET);
                g_assert_cmpuint(first->n_bytes, >, 0);
                g_assert_cmpuint(first->n_bytes % PIECE, ==, 0);
                rest = fetch(box, file, first->n_bytes, 0);
                if (corrupt)
                        g_assert_cmpint(rest->result, ==, -EBADMSG);
                else
                        expect_bytes(rest, "s", first->n_bytes, 3000000 - first->n_bytes);
        }
}

/* The same, and the engine is another process meanwhile. */
static void test_restarted(void) {
        enum { SIZE = 9000000, BLOCK = 4 * MIB };
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;
        g_autofree char *hashes = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 9000000}");
        box = box_new(true, NULL);
        file = entry_get(box, "", "f");
        for (int corrupt = 0; corrupt < 3; corrupt++) {
                static const char *const where[] = {"", ", 'corrupt': 100", ", 'corrupt': 4500000"};
                struct cs_request auto_request *first = NULL, auto_request *rest = NULL, auto_request *again = NULL;

                tell("{'do': 'fault', 'route': 'files/download', 'cut': 6000000%s}", where[corrupt]);
                first = fetch(box, file, 0, 0);
                g_assert_cmpint(first->result, ==, -ECONNRESET);
                g_assert_cmpuint(first->n_bytes, >, BLOCK);
                box_restart(box);
                rest = fetch(box, file, first->n_bytes, 0);
                if (corrupt == 0) {
                        expect_bytes(rest, "s", first->n_bytes, SIZE - first->n_bytes);
                        continue;
                }
                g_assert_cmpint(rest->result, ==, -EBADMSG);
                if (corrupt == 2) /* found before anything more was handed over */
                        g_assert_cmpuint(rest->n_bytes, ==, 0);
                again = fetch(box, file, 0, 0);
                expect_bytes(again, "s", 0, SIZE);
        }
        hashes = g_build_filename(box->state_dir, "hashes", "x", NULL);
        *strrchr(hashes, '/') = '\0';
        g_assert_cmpint(g_rmdir(hashes), ==, 0); /* empty: nothing is left of what is finished */
}

static void test_lying_headers(void) {
        static const char *const faults[] = {
                "'header': ['Dropbox-API-Result', null]",
                "'header': ['Dropbox-API-Result', 'nonsense']",
                "'header': ['Content-Encoding', 'gzip']",
                "'header': ['Content-Range', 'bytes 0-99/1000']",
                "'header': ['Content-Range', null]",
                "'header': ['Content-Length', '5']",
                "'garbage': 'short'",
                "'drop': true",
                "'status': 500",
        };
        struct fake_entry auto_fake_entry *file = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/f', 'seed': 's', 'size': 1000}");
        box = box_new(true, NULL);
        file = entry_get(box, "", "f");
        for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
                struct cs_request auto_request *bad = NULL, auto_request *good = NULL;

                tell("{'do': 'fault', 'route': 'files/download', %s}", faults[i]);
                bad = fetch(box, file, 100, 200);
                g_test_message("%s: %d", faults[i], bad->result);
                g_assert_cmpint(bad->result, <, 0);
                g_assert_cmpuint(bad->n_bytes, ==, 0);
                tell("{'do': 'no_faults'}");
                good = fetch(box, file, 100, 200);
                expect_bytes(good, "s", 100, 200);
        }
}

static void count_done(struct cs_request *request) {
        g_atomic_int_inc((gint *)request->data);
}

static void test_many_at_once(void) {
        enum { MANY = 200 };
        struct box auto_box *box = NULL;
        struct cs_request auto_request *list = NULL;
        struct cs_request *requests[MANY];
        gint done = 0;

        account_clear();
        tell("{'do': 'bulk', 'path': '/d', 'count': %d, 'folder': 1000}", MANY);
        box = box_new(true, NULL);
        expect_names(box, "d", "D0000");
        list = fake_list(box->fake, "d/D0000");
        g_assert_cmpuint(list->entries->len, ==, MANY);
        for (int i = 0; i < MANY; i++) {
                struct fake_entry *entry = list->entries->pdata[i];

                requests[i] = request_new(box->fake);
                requests[i]->wanted = entry->size;
                requests[i]->data = &done;
                requests[i]->on_done = count_done;
                box->fake->ops->fetch(box->fake->instance, requests[i],
                                      &(struct cs_fetch){.locator = entry->locator, .version = entry->version,
                                                         .size = entry->size, .length = entry->size});
                if (i % 10 == 9) { /* nobody wants every tenth */
                        g_atomic_int_set(&requests[i]->is_cancelled, 1);
                        if (!requests[i]->is_done)
                                box->fake->ops->cancel(box->fake->instance, requests[i]);
                }
        }
        for (int i = 0; i < MANY; i++) {
                struct fake_entry *entry = list->entries->pdata[i];

                request_wait(requests[i]);
                if (i % 10 != 9) {
                        g_autofree char *text = g_strdup_printf("%d\n", atoi(entry->name + 5));
                        g_assert_cmpint(requests[i]->result, ==, 0);
                        g_assert_cmpmem(requests[i]->bytes->data, requests[i]->bytes->len, text, strlen(text));
                }
        }
        while (g_atomic_int_get(&done) < MANY)
                g_usleep(1000);
        for (int i = 0; i < MANY; i++)
                request_free(requests[i]);
}

#define DOCUMENT "'extra': {'is_downloadable': false, 'export_info': {'export_as': 'docx'}}"

static void expect_text(struct cs_request *request, const char *text) {
        g_assert_cmpint(request->result, ==, 0);
        g_assert_cmpmem(request->bytes->data, request->bytes->len, text, strlen(text));
}

static void test_exports(void) {
        struct fake_entry auto_fake_entry *doc = NULL, *later = NULL, *none = NULL, *link = NULL, *again = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/Plan.gdoc', 'text': '?', 'export': 'the exported plan', " DOCUMENT "},"
             "{'do': 'write', 'path': '/Later.gdoc', 'text': '?', 'export': 'retry', " DOCUMENT "},"
             "{'do': 'write', 'path': '/Board.gjam', 'text': '', 'extra': {'is_downloadable': false,"
             " 'export_info': {}}},"
             "{'do': 'write', 'path': '/link', 'text': '', 'extra': {'symlink_info': {'target': '../../etc'}}}");
        box = box_new(true, NULL);
        expect_names(box, "", "Board.gjam.txt Later.gdoc.docx Plan.gdoc.docx link");
        doc = entry_get(box, "", "Plan.gdoc.docx");
        g_assert_cmpuint(doc->size, ==, strlen("the exported plan"));
        g_assert_cmpint(doc->mode, ==, 0444);
        later = entry_get(box, "", "Later.gdoc.docx");
        none = entry_get(box, "", "Board.gjam.txt");
        link = entry_get(box, "", "link");
        {
                struct cs_request auto_request *a = fetch(box, doc, 0, 0), auto_request *b = fetch(box, doc, 4, 8);
                struct cs_request auto_request *c = fetch(box, later, 0, 0), auto_request *d = fetch(box, none, 0, 0);
                struct cs_request auto_request *e = fetch(box, link, 0, 0), auto_request *f = fetch(box, link, 5, 3);

                expect_text(a, "the exported plan");
                expect_text(b, "exported");
                g_assert_cmpuint(c->bytes->len, ==, later->size);
                g_assert_nonnull(g_strstr_len((char *)c->bytes->data, c->bytes->len, "cannot export"));
                g_assert_nonnull(g_strstr_len((char *)d->bytes->data, d->bytes->len, "dropbox.com"));
                g_assert_nonnull(g_strstr_len((char *)e->bytes->data, e->bytes->len, "../../etc"));
                expect_text(f, "is ");
        }
        /* Exported otherwise, though the document is the same: another version. */
        tell("{'do': 'set_export', 'path': '/Plan.gdoc', 'export': 'a longer exported plan'}");
        {
                struct cs_request auto_request *stale = fetch(box, doc, 0, 0), auto_request *stat = NULL;
                struct cs_request auto_request *now = NULL;

                g_assert_cmpint(stale->result, ==, -ESTALE);
                g_assert_cmpuint(stale->n_bytes, ==, 0);
                stat = fake_stat(box->fake, doc->locator);
                again = entry_get(box, "", "Plan.gdoc.docx");
                g_assert_cmpuint(again->size, ==, strlen("a longer exported plan"));
                g_assert_cmpstr(((struct fake_entry *)stat->entries->pdata[0])->version, ==, again->version);
                now = fetch(box, again, 0, 0);
                expect_text(now, "a longer exported plan");
        }
}

void add_content_tests(void) {
        g_test_add_func("/dropbox/content/whole-and-ranges", test_whole_and_ranges);
        g_test_add_func("/dropbox/content/refused", test_refused_fetches);
        g_test_add_func("/dropbox/content/pinned", test_pinned);
        g_test_add_func("/dropbox/content/mismatch-small", test_mismatch_small);
        g_test_add_func("/dropbox/content/mismatch-large", test_mismatch_large);
        g_test_add_func("/dropbox/content/mismatch-pieces", test_mismatch_pieces);
        g_test_add_func("/dropbox/content/broken", test_broken);
        g_test_add_func("/dropbox/content/restarted", test_restarted);
        g_test_add_func("/dropbox/content/lying-headers", test_lying_headers);
        g_test_add_func("/dropbox/content/many-at-once", test_many_at_once);
        g_test_add_func("/dropbox/content/exports", test_exports);
}
