/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The namespace: the first listing, every kind of delta, cursors, roots, filters, many entries. */

#include "dropbox-tests.h"

#include <errno.h>
#include <stdio.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_first_listing(void) {
        struct fake_entry auto_fake_entry *file = NULL, *folder = NULL, *locked = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/Readme.txt', 'text': 'hello', 'modified': 1600000000},"
             "{'do': 'write', 'path': '/Docs/Deep/Er/x.bin', 'text': '12345678'},"
             "{'do': 'write', 'path': '/empty', 'text': ''},"
             "{'do': 'mkdir', 'path': '/Empty Folder'},"
             "{'do': 'write', 'path': '/Shared/locked.txt', 'text': 'x', 'extra': {'sharing_info':"
             " {'read_only': true, 'parent_shared_folder_id': '84528192421'}}},"
             "{'do': 'set', 'page_limit': 2}");
        box = box_new(true, NULL);
        expect_complete(box);
        expect_names(box, "", "Docs Empty Folder Readme.txt Shared empty");
        expect_names(box, "Docs", "Deep");
        expect_names(box, "Docs/Deep/Er", "x.bin");
        expect_names(box, "Empty Folder", "");
        expect_names(box, "docs", "!-2"); /* names have a case here */
        expect_names(box, "Nowhere", "!-2");
        file = entry_get(box, "", "Readme.txt");
        g_assert_cmpint(file->kind, ==, CS_KIND_FILE);
        g_assert_cmpuint(file->size, ==, 5);
        g_assert_cmpint(file->mtime_sec, ==, 1600000000);
        g_assert_cmpint(file->mode, ==, 0644);
        g_assert_true(g_str_has_prefix(file->locator, "id:"));
        g_assert_cmpuint(strlen(file->version), >=, 9);
        folder = entry_get(box, "", "Docs");
        g_assert_cmpint(folder->kind, ==, CS_KIND_DIRECTORY);
        g_assert_null(folder->locator);
        g_assert_cmpint(folder->mtime_sec, >, 0);
        locked = entry_get(box, "Shared", "locked.txt");
        g_assert_cmpint(locked->mode, ==, 0444);
        g_assert_cmpint(calls_of("files/list_folder"), ==, 1);
        g_assert_cmpint(calls_of("files/list_folder/continue"), >=, 4);
}

static void test_names(void) {
        struct box auto_box *box = NULL;
        g_autoptr(GString) name = g_string_new(NULL);
        struct cs_request auto_request *list = NULL;

        account_clear();
        for (int i = 0; i < 200; i++)
                g_string_append(name, "\xc3\xa4"); /* 200 characters, 400 bytes */
        tell("{'do': 'write', 'path': '/%s.txt', 'text': 'a'},"
             "{'do': 'write', 'path': '/tab\\there', 'text': 'b'},"
             "{'do': 'write', 'path': '/Stra\xc3\x9f"
             "e/\xe2\x82\xac \xf0\x9f\x98\x80.txt', 'text': 'c'},"
             "{'do': 'write', 'path': '/back\\\\slash', 'text': 'd'}",
             name->str);
        box = box_new(true, NULL);
        list = fake_list(box->fake, "");
        g_assert_cmpint(list->result, ==, 0);
        g_assert_cmpuint(list->refused, ==, 0);
        g_assert_cmpuint(list->entries->len, ==, 4);
        g_assert_nonnull(request_find(list, "back\\slash"));
        g_assert_nonnull(request_find(list, "Stra\xc3\x9f"
                                            "e"));
        for (guint i = 0; i < list->entries->len; i++) {
                const char *s = ((struct fake_entry *)list->entries->pdata[i])->name;

                g_assert_cmpuint(strlen(s), <=, CS_NAME_MAX);
                g_assert_true(g_utf8_validate(s, -1, NULL));
                if (g_str_has_prefix(s, "tab"))
                        g_assert_true(g_str_has_prefix(s, "tab_here~"));
                if (g_str_has_prefix(s, "\xc3\xa4"))
                        g_assert_true(g_str_has_suffix(s, ".txt"));
        }
        expect_names(box, "Stra\xc3\x9f"
                          "e",
                     "\xe2\x82\xac \xf0\x9f\x98\x80.txt");
}

static void test_deltas(void) {
        struct fake_entry auto_fake_entry *before = NULL, *after = NULL;
        struct cs_request auto_request *stat = NULL, *gone = NULL;
        struct box auto_box *box = NULL;
        gint64 begin;

        account_clear();
        tell("{'do': 'write', 'path': '/A/one.txt', 'text': 'one'},"
             "{'do': 'write', 'path': '/A/Sub/two.txt', 'text': 'two'},"
             "{'do': 'write', 'path': '/B/three.txt', 'text': 'three'}");
        box = box_new(true, NULL);
        expect_complete(box);
        expect_names(box, "A", "Sub one.txt");
        before = entry_get(box, "A", "one.txt");
        expect_change(box, "");

        begin = g_get_monotonic_time();
        tell("{'do': 'write', 'path': '/A/new.txt', 'text': 'new'}");
        expect_change(box, "A");
        g_test_message("told after %.3f s", (double)(g_get_monotonic_time() - begin) / G_USEC_PER_SEC);
        g_assert_cmpint(g_get_monotonic_time() - begin, <, 2 * G_USEC_PER_SEC);
        expect_names(box, "A", "Sub new.txt one.txt");

        tell("{'do': 'write', 'path': '/A/one.txt', 'text': 'changed one'}");
        expect_change(box, "A");
        after = entry_get(box, "A", "one.txt");
        g_assert_cmpstr(after->locator, ==, before->locator);
        g_assert_cmpstr(after->version, !=, before->version);
        g_assert_cmpuint(after->size, ==, 11);

        tell("{'do': 'remove', 'path': '/A/Sub'}");
        expect_change(box, "A");
        expect_names(box, "A", "new.txt one.txt");
        expect_names(box, "A/Sub", "!-2");

        /* A file replaces a folder, and a folder a file. */
        tell("{'do': 'write', 'path': '/B', 'text': 'a file now'}");
        expect_change(box, "");
        expect_names(box, "", "A B");
        expect_names(box, "B", "!-2");
        tell("{'do': 'remove', 'path': '/B'}, {'do': 'write', 'path': '/B/again.txt', 'text': 'x'}");
        expect_names(box, "B", "again.txt");

        /* Moved: the id stays. */
        tell("{'do': 'move', 'path': '/A', 'to': '/B/Moved'}");
        expect_names(box, "B/Moved", "new.txt one.txt");
        expect_names(box, "", "B");
        stat = fake_stat(box->fake, before->locator);
        g_assert_cmpint(stat->result, ==, 0);
        g_assert_cmpstr(((struct fake_entry *)stat->entries->pdata[0])->version, ==, after->version);
        tell("{'do': 'remove', 'path': '/B/Moved/one.txt'}");
        expect_names(box, "B/Moved", "new.txt");
        gone = fake_stat(box->fake, before->locator);
        g_assert_cmpint(gone->result, ==, -ENOENT);
        g_assert_cmpint(calls_of("files/list_folder"), ==, 1);
}

/* A page's entries are applied in their order, whatever else stands between them. */
static void test_order_and_unknown(void) {
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/keep.txt', 'text': 'x'}");
        box = box_new(true, NULL);
        expect_complete(box);
        expect_names(box, "", "keep.txt");
        tell("{'do': 'inject', 'entries': ["
             "{'.tag': 'hologram', 'name': 'h', 'path_lower': '/h', 'new': [1, {}]},"
             "{'.tag': 'folder', 'name': 'F', 'path_lower': '/f', 'path_display': '/F', 'id': 'id:f1'},"
             "{'.tag': 'file', 'name': 'broken', 'path_lower': '/broken'},"
             "{'.tag': 'file', 'name': 'u', 'path_display': null, 'path_lower': null, 'id': 'id:u',"
             " 'client_modified': '2020-01-01T00:00:00Z', 'rev': '0123456789', 'size': 1},"
             "{'.tag': 'deleted', 'name': 'F', 'path_lower': '/f'},"
             "{'.tag': 'file', 'name': 'F', 'path_lower': '/f', 'path_display': '/F', 'id': 'id:f2', 'size': 3,"
             " 'client_modified': '2020-01-01T00:00:00Z', 'server_modified': '2020-01-01T00:00:00Z',"
             " 'rev': 'abcdef0123', 'is_downloadable': true, 'future_field': {'x': 1}},"
             "{'.tag': 'file', 'name': '..', 'path_lower': '/x/..', 'path_display': '/x/..', 'id': 'id:f3',"
             " 'size': 3, 'client_modified': '2020-01-01T00:00:00Z', 'rev': 'abcdef0123'},"
             "{'.tag': 'deleted', 'name': 'never', 'path_lower': '/never/was'},"
             "5, null]}");
        expect_names(box, "", "F keep.txt x");
        g_assert_true(fake_logged(box->fake, "entries are not shown"));
        g_assert_cmpint(calls_of("files/list_folder"), ==, 1);
}

static void test_restart(void) {
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/a', 'text': 'a'}, {'do': 'write', 'path': '/d/b', 'text': 'b'}");
        box = box_new(true, NULL);
        expect_complete(box);
        expect_names(box, "", "a d");
        box_close(box);
        tell("{'do': 'write', 'path': '/d/c', 'text': 'c'}, {'do': 'remove', 'path': '/a'}");
        box_open(box);
        expect_change(box, "d");
        expect_change(box, "");
        expect_names(box, "", "d");
        expect_names(box, "d", "b c");
        g_assert_cmpint(calls_of("files/list_folder"), ==, 1);
}

/* Directories that the first listing has not come to yet are asked for two at a time, and not at all
 * any more once it is there. */
static void test_direct_few(void) {
        enum { MANY = 8 };
        struct cs_request *lists[MANY];
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'bulk', 'path': '/many', 'count': %d, 'folder': 1},"
             "{'do': 'fault', 'route': 'files/list_folder', 'stall': 4},"
             "{'do': 'fault', 'route': 'files/list_folder:flat', 'count': 100, 'skip': 2, 'stall': 1.5}", MANY);
        box = box_new(true, NULL);
        expect_names(box, "", "many");
        expect_names(box, "many", "D0000 D0001 D0002 D0003 D0004 D0005 D0006 D0007");
        for (int i = 0; i < MANY; i++) {
                g_autofree char *locator = g_strdup_printf("many/D%04d", i);

                lists[i] = request_new(box->fake);
                box->fake->ops->list(box->fake->instance, lists[i], locator);
        }
        g_usleep(500000);
        g_assert_cmpint(calls_of("files/list_folder:flat"), <=, 2 + 2);
        for (int i = 0; i < MANY; i++) {
                request_wait(lists[i]);
                g_assert_cmpint(lists[i]->result, ==, 0);
                g_assert_cmpuint(lists[i]->entries->len, ==, 1);
                request_free(lists[i]);
        }
        expect_complete(box);
        g_assert_cmpint(calls_of("files/list_folder:flat"), <, 2 + MANY);
}

/* What changed is told until it has been listed, whatever dies in between. */
static void test_told_again(void) {
        struct box auto_box *box = NULL;
        g_autofree char *names = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/DÄ/f', 'text': 'x'}, {'do': 'write', 'path': '/e/g', 'text': 'y'}");
        box = box_new(true, NULL);
        expect_complete(box);
        expect_names(box, "", "DÄ e");
        tell("{'do': 'write', 'path': '/DÄ/new', 'text': 'x'}");
        expect_change(box, "DÄ");
        box_restart(box);
        expect_change(box, "DÄ");
        box_restart(box);
        expect_change(box, "DÄ");
        names = names_in(box, "DÄ");
        g_assert_cmpstr(names, ==, "f new");
        box_restart(box);
        tell("{'do': 'write', 'path': '/e/h', 'text': 'x'}");
        expect_change(box, "e");
        g_assert_false(fake_take_change(box->fake, "DÄ"));
        /* It is gone: nobody could list it, and its parent is told. */
        tell("{'do': 'remove', 'path': '/e'}");
        expect_change(box, "");
        box_restart(box);
        expect_change(box, "");
        g_assert_false(fake_take_change(box->fake, "e"));
}

/* A folder that is made anew has nothing of the old one's. */
static void test_made_anew(void) {
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/d/f', 'text': 'x'}");
        box = box_new(true, NULL);
        expect_complete(box);
        expect_names(box, "d", "f");
        tell("{'do': 'remove', 'path': '/d'}, {'do': 'mkdir', 'path': '/d'}");
        expect_change(box, "d");
        expect_names(box, "d", "");
}

/* Another filter, another account, a lost index: everything that a store may have is told. */
static void test_told_all(void) {
        g_autofree char *index = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/d/f.tmp', 'text': 'x'}, {'do': 'write', 'path': '/d/e/g', 'text': 'y'}");
        box = box_new(true, "exclude", "*.tmp", NULL);
        expect_complete(box);
        expect_names(box, "d", "e");
        expect_names(box, "d/e", "g");
        expect_change(box, "");
        g_assert_false(fake_take_change(box->fake, "d")); /* the first listing of all: nothing is old */
        g_free(box->settings->pdata[1]);
        box->settings->pdata[1] = g_strdup("*.bak");
        box_restart(box);
        expect_change(box, "d/e");
        expect_change(box, "d");
        expect_change(box, "");
        expect_names(box, "d", "e f.tmp");
        box_close(box);
        index = g_build_filename(box->state_dir, "index.sqlite", NULL);
        g_assert_cmpint(g_unlink(index), ==, 0);
        box_open(box);
        expect_change(box, "d/e");
        expect_change(box, "d");
}

static void test_reset(void) {
        struct fake_entry auto_fake_entry *before = NULL, *after = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/stays', 'text': 'a'}, {'do': 'write', 'path': '/d/goes', 'text': 'b'},"
             "{'do': 'write', 'path': '/d/more', 'text': 'b'}, {'do': 'set', 'page_limit': 1}");
        box = box_new(true, NULL);
        expect_complete(box);
        expect_names(box, "d", "goes more");
        expect_change(box, "");
        before = entry_get(box, "", "stays");
        /* The removal is one that no delta will tell. */
        tell("{'do': 'fault', 'route': 'files/list_folder/continue', 'count': 3, 'status': 503},"
             "{'do': 'remove', 'path': '/d/goes'}, {'do': 'write', 'path': '/d/new', 'text': 'n'},"
             "{'do': 'reset_cursors'}");
        expect_change(box, "d");
        expect_names(box, "d", "more new");
        after = entry_get(box, "", "stays");
        g_assert_cmpstr(after->version, ==, before->version);
        g_assert_cmpint(calls_of("files/list_folder"), ==, 2);
        g_assert_false(fake_take_change(box->fake, "")); /* nothing of the root changed */
}

/* Before the first listing is complete, a directory is listed by itself. */
static void test_interrupted_listing(void) {
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'bulk', 'path': '/many', 'count': 50, 'folder': 50}, {'do': 'set', 'page_limit': 5},"
             "{'do': 'fault', 'route': 'files/list_folder/continue', 'skip': 4, 'count': 1000, 'drop': true}");
        box = box_new(true, NULL);
        while (calls_of("files/list_folder/continue") < 6)
                g_usleep(50000);
        expect_names(box, "", "many");
        expect_names(box, "many", "D0000");
        g_assert_cmpint(calls_of("files/list_folder:flat"), ==, 2);
        {
                struct cs_request auto_request *list = fake_list(box->fake, "many/D0000"); /* ten pages */

                g_assert_cmpint(list->result, ==, -ECONNRESET);
                g_assert_cmpuint(list->n_entries, ==, 0);
        }
        g_assert_false(fake_logged(box->fake, "the listing is complete"));
        box_restart(box);
        tell("{'do': 'no_faults'}");
        expect_complete(box);
        expect_change(box, "");
        expect_names(box, "", "many");
        {
                struct cs_request auto_request *list = fake_list(box->fake, "many/D0000");

                g_assert_cmpuint(list->n_entries, ==, 50);
        }
        g_assert_cmpint(calls_of("files/list_folder"), ==, 1); /* it went on where it was */
}

/* What was listed by itself is unconfirmed: it goes when the full listing does not have it. */
static void test_direct_unconfirmed(void) {
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/d/gone', 'text': 'x'}, {'do': 'write', 'path': '/d/stays', 'text': 'x'},"
             "{'do': 'fault', 'route': 'files/list_folder', 'count': 5, 'status': 500}");
        box = box_new(true, NULL);
        expect_names(box, "", "d");
        expect_names(box, "d", "gone stays");
        g_assert_false(fake_logged(box->fake, "the listing is complete"));
        tell("{'do': 'remove', 'path': '/d/gone'}");
        expect_complete(box);
        expect_change(box, "d");
        expect_names(box, "d", "stays");
}

static void test_subfolder(void) {
        struct cs_request auto_request *list = NULL;
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/Work/Pro/a.txt', 'text': 'a'}, {'do': 'write', 'path': '/other', 'text': 'x'}");
        box = box_new(true, "root", "/work/PRO", NULL);
        expect_names(box, "", "a.txt");
        tell("{'do': 'write', 'path': '/Work/Pro/Dir/b.txt', 'text': 'a'}, {'do': 'write', 'path': '/Work/c', 'text': 'x'}");
        expect_names(box, "", "Dir a.txt");
        expect_names(box, "Dir", "b.txt");
        box_free(box);
        box = box_new(true, "root", "/missing", NULL);
        list = fake_list(box->fake, "");
        g_assert_cmpint(list->result, ==, -ENOENT);
        g_assert_nonnull(strstr(list->detail, "root setting"));
        tell("{'do': 'write', 'path': '/Missing/now', 'text': 'a'}");
        expect_names(box, "", "now");
}

static void test_filters(void) {
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/Photos/2020/a.jpg', 'text': 'a'},"
             "{'do': 'write', 'path': '/Photos/2021/b.JPG', 'text': 'a'},"
             "{'do': 'write', 'path': '/Photos/2021/tmp/c.jpg', 'text': 'a'},"
             "{'do': 'write', 'path': '/Docs/d.txt', 'text': 'a'}");
        box = box_new(true, "exclude", "tmp;/Photos/2020", NULL);
        expect_names(box, "", "Docs Photos");
        expect_names(box, "Photos", "2021");
        expect_names(box, "Photos/2021", "b.JPG");
        box_free(box);
        box = box_new(true, "include", "/Photos/*1", NULL);
        expect_names(box, "", "Photos");
        expect_names(box, "Photos", "2021");
        expect_names(box, "Photos/2021", "b.JPG tmp");
}

static void test_path_root(void) {
        struct box auto_box *box = NULL;

        account_clear();
        tell("{'do': 'write', 'path': '/mine', 'text': 'a'},"
             "{'do': 'write', 'path': '/Team/ours', 'text': 'b', 'namespace': '2000'},"
             "{'do': 'set', 'root': '2000'}");
        box = box_new(true, "path_root", "root", NULL);
        expect_names(box, "", "Team");
        expect_names(box, "Team", "ours");
        /* They leave the team: the root is another namespace. */
        tell("{'do': 'set', 'root': '1001'}, {'do': 'write', 'path': '/x', 'text': 'b', 'namespace': '2000'}");
        expect_names(box, "", "mine");
        box_free(box);
        box = box_new(true, "path_root", "2000", NULL);
        expect_names(box, "Team", "ours");
}

static long resident_kib(void) {
        g_autofree char *text = NULL;
        char *line;

        g_assert_true(g_file_get_contents("/proc/self/status", &text, NULL, NULL));
        line = strstr(text, "VmRSS:");
        return line ? strtol(line + 6, NULL, 10) : 0;
}

/* CLOUDSYNC_TEST_ENTRIES=300000 for more. */
static void test_many(void) {
        const char *asked = g_getenv("CLOUDSYNC_TEST_ENTRIES");
        unsigned count = asked ? (unsigned)atoi(asked) : 100000;
        g_autofree char *complete = g_strdup_printf("%u files and folders", count + (count + 2499) / 2500 + 1);
        struct box auto_box *box = NULL;
        struct cs_request auto_request *list = NULL;
        long before = resident_kib();
        gint64 begin;
        double took;

        account_clear();
        tell("{'do': 'bulk', 'path': '/many', 'count': %u, 'folder': 2500}", count);
        begin = g_get_monotonic_time();
        box = box_new(true, NULL);
        expect_names(box, "", "many"); /* at once, whatever there is below */
        g_assert_false(fake_logged(box->fake, "the listing is complete"));
        /* People see how far it is, at most once a second. */
        expect_complete(box);
        g_assert_cmpuint(fake_conditions(box->fake), <=,
                         (g_get_monotonic_time() - begin) / G_USEC_PER_SEC + 2);
        g_assert_true(fake_condition_says(box->fake, ""));
        took = (double)(g_get_monotonic_time() - begin) / G_USEC_PER_SEC;
        if (took > 3)
                g_assert_cmpuint(fake_conditions(box->fake), >, 1); /* and "" at the end */
        g_test_message("%u entries: %.1f s, %ld KiB more resident (sanitizers included)", count, took,
                       resident_kib() - before);
        g_assert_cmpint(resident_kib() - before, <, 256 * 1024);
        list = fake_list(box->fake, "many/D0007");
        g_assert_cmpint(list->result, ==, 0);
        g_assert_cmpuint(list->entries->len, ==, 2500);
        g_assert_true(fake_logged(box->fake, complete));
        g_assert_true(fake_logged(box->fake, "entries so far"));
}

void add_name_tests(void) {
        g_test_add_func("/dropbox/names/first-listing", test_first_listing);
        g_test_add_func("/dropbox/names/names", test_names);
        g_test_add_func("/dropbox/names/deltas", test_deltas);
        g_test_add_func("/dropbox/names/order-and-unknown", test_order_and_unknown);
        g_test_add_func("/dropbox/names/restart", test_restart);
        g_test_add_func("/dropbox/names/direct-few", test_direct_few);
        g_test_add_func("/dropbox/names/told-again", test_told_again);
        g_test_add_func("/dropbox/names/told-all", test_told_all);
        g_test_add_func("/dropbox/names/made-anew", test_made_anew);
        g_test_add_func("/dropbox/names/reset", test_reset);
        g_test_add_func("/dropbox/names/interrupted-listing", test_interrupted_listing);
        g_test_add_func("/dropbox/names/direct-unconfirmed", test_direct_unconfirmed);
        g_test_add_func("/dropbox/names/subfolder", test_subfolder);
        g_test_add_func("/dropbox/names/filters", test_filters);
        g_test_add_func("/dropbox/names/path-root", test_path_root);
        g_test_add_func("/dropbox/names/many", test_many);
}
