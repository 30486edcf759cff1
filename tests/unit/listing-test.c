/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The listing parsers: real servers' pages, hostile ones, and all of them in pieces of any
 * size; the manifest and the set of names. */

#include <errno.h>
#include <glib.h>
#include <malloc.h>
#include <string.h>

#include "plugins/httpfs/listing.h"
#include "plugins/httpfs/manifest.h"
#include "plugins/httpfs/name-set.h"

#define BASE "http://h:8080/base%20dir/"

static const char nginx_html[] =
        "<html>\r\n<head><title>Index of /base dir/</title></head>\r\n<body>\r\n"
        "<h1>Index of /base dir/</h1><hr><pre><a href=\"../\">../</a>\r\n"
        "<a href=\"sub/\">sub/</a>          25-Nov-2026 21:57                   -\r\n"
        "<a href=\"a%20b%20%26%20%3Cc%3E%20%25\">a b &amp; &lt;c&gt; %</a>  25-Nov-2026 21:57   5\r\n"
        "<a href=\"%C3%BC\">\xc3\xbc</a>                   01-Jan-1970 00:00        1234567\r\n"
        "</pre><hr></body>\r\n</html>\r\n";

static const char apache_html[] =
        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\n<html>\n <head>\n"
        "  <title>Index of /base dir</title>\n </head>\n <body>\n<h1>Index of /base dir</h1>\n"
        "  <table>\n   <tr><th valign=\"top\"><img src=\"/icons/blank.gif\" alt=\"[ICO]\"></th>"
        "<th><a href=\"?C=N;O=D\">Name</a></th><th><a href=\"?C=M;O=A\">Last modified</a></th></tr>\n"
        "<tr><td valign=\"top\"><img src=\"/icons/back.gif\" alt=\"[PARENTDIR]\"></td>"
        "<td><a href=\"/\">Parent Directory</a></td><td>&nbsp;</td><td align=\"right\">  - </td></tr>\n"
        "<tr><td valign=\"top\"><img src=\"/icons/folder.gif\" alt=\"[DIR]\"></td>"
        "<td><a href=\"sub/\">sub/</a></td><td align=\"right\">2026-11-25 21:57  </td>"
        "<td align=\"right\">  - </td></tr>\n"
        "<tr><td valign=\"top\"></td><td><a href=\"semi;colon%3f\">semi;colon?</a></td>"
        "<td align=\"right\">2026-11-25 21:57  </td><td align=\"right\">4.9M</td></tr>\n"
        "   <tr><th colspan=\"5\"><hr></th></tr>\n</table>\n<address>Apache</address></body></html>\n";

static const char lighttpd_html[] =
        "<!DOCTYPE html>\n<html>\n<head>\n<title>Index of /base dir/</title>\n<style>a{}</style>\n</head>\n"
        "<body>\n<h2>Index of /base dir/</h2>\n<div class=\"list\">\n<table summary=\"x\">\n<tbody>\n"
        "<tr class=\"d\"><td class=\"n\"><a href=\"../\">..</a>/</td><td class=\"m\">&nbsp;</td></tr>\n"
        "<tr class=\"d\"><td class=\"n\"><a href=\"sub/\">sub</a>/</td>"
        "<td class=\"m\">2026-Nov-25 21:57:01</td><td class=\"s\">- &nbsp;</td></tr>\n"
        "<tr><td class=\"n\"><a href=\"x%27y\">x'y</a></td><td class=\"m\">2026-Nov-25 21:57:01</td>"
        "<td class=\"s\">4.9M</td></tr>\n</tbody></table></div><script>// <a href=\"no\">\n</script>"
        "<div class=\"foot\">lighttpd/1.4.69</div></body></html>";

static const char nginx_json[] =
        "[\r\n{ \"name\":\"sub\", \"type\":\"directory\", \"mtime\":\"Wed, 25 Nov 2026 21:57:01 GMT\" },\r\n"
        "{ \"name\":\"q\\\"\\\\ \xc3\xbc \xff\", \"type\":\"file\", "
        "\"mtime\":\"Wed, 25 Nov 2026 21:57:01 GMT\", \"size\":9007199254740993 },\r\n"
        "{ \"name\":\"fifo\", \"type\":\"other\", \"mtime\":\"Wed, 25 Nov 2026 21:57:01 GMT\" }\r\n]\r\n";

#define DAV_MEMBER(href, props, status)                                                            \
        "<d:response><d:href>" href "</d:href><d:propstat><d:prop>" props "</d:prop><d:status>"     \
        status "</d:status></d:propstat></d:response>\n"
#define DAV_DATE "<d:getlastmodified>Wed, 25 Nov 2026 21:57:01 GMT</d:getlastmodified>"

static const char webdav[] =
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<d:multistatus xmlns:d=\"DAV:\">\n"
        DAV_MEMBER("/base%20dir/", "<d:resourcetype><d:collection/></d:resourcetype>", "HTTP/1.1 200 OK")
        DAV_MEMBER("http://h:8080/base%20dir/sub/",
                   "<d:resourcetype><d:collection/></d:resourcetype>" DAV_DATE, "HTTP/1.1 200 OK")
        DAV_MEMBER("\n /base%20dir/f&amp;%26\n",
                   "<d:resourcetype/><d:getcontentlength>5</d:getcontentlength><d:getetag>\"e\"</d:getetag>"
                   "<x:getcontentlength xmlns:x=\"urn:x\">9</x:getcontentlength>" DAV_DATE,
                   "HTTP/1.1 200 OK")
        "<d:response><d:href>/base%20dir/split</d:href>"
        "<d:propstat><d:prop><d:getetag>\"no\"</d:getetag></d:prop><d:status>HTTP/1.1 404 No</d:status>"
        "</d:propstat><d:propstat><d:prop><d:getcontentlength>7</d:getcontentlength>" DAV_DATE
        "</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        "</d:multistatus>";

struct parsed {
        int result;
        GString *text; /* "name|kind|exact|size|mtime|version\n" */
        struct skips skips;
        unsigned n, stop_after; /* stop_after: -ECANCELED for the next one */
};

static int on_entry(void *data, const struct listing_entry *e) {
        struct parsed *p = data;

        if (p->stop_after && p->n == p->stop_after)
                return -ECANCELED;
        p->n++;
        if (p->text->len < 100000)
                g_string_append_printf(p->text, "%s|%c|%c|%" G_GUINT64_FORMAT "|%" G_GINT64_FORMAT "|%s\n",
                                       e->name, e->unknown ? '?' : e->directory ? 'd' : 'f', e->exact ? 'e' : '-', e->size,
                                       e->mtime_sec, e->version ? e->version : "");
        return 0;
}

static void parsed_clear(struct parsed *p) {
        g_string_free(p->text, TRUE);
        skips_clear(&p->skips);
}

/* In pieces of `piece` bytes, each in a block of its own size. */
static struct parsed parse(enum listing_format format, const char *text, size_t length, size_t piece) {
        struct parsed p = {.text = g_string_new(NULL)};
        struct listing *listing = listing_new(format, BASE, &p.skips, on_entry, &p);

        for (size_t at = 0; at < length; at += piece) {
                g_autofree char *block = g_memdup2(text + at, MIN(piece, length - at));

                p.result = listing_feed(listing, block, MIN(piece, length - at));
                if (p.result < 0)
                        break;
        }
        p.result = listing_finish(listing);
        listing_free(listing);
        return p;
}

/* A page that ends with its connection: complete with its own end, and with nothing less. */
static void test_cut_off(void) {
        static const char *const pages[] = {nginx_html, apache_html, lighttpd_html};

        for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++)
                for (size_t length = 0; length <= strlen(pages[i]); length++) {
                        struct parsed p = {.text = g_string_new(NULL)};
                        struct listing *listing = listing_new(LISTING_HTML, BASE, &p.skips, on_entry, &p);
                        g_autofree char *begun = g_strndup(pages[i], length);
                        bool all = strstr(begun, "</body") || strstr(begun, "</html");

                        listing_must_end(listing);
                        for (size_t at = 0; at < length; at += 7)
                                (void)listing_feed(listing, begun + at, MIN(7, length - at));
                        g_assert_cmpint(listing_finish(listing), ==, all ? 0 : -EPROTO);
                        listing_free(listing);
                        parsed_clear(&p);
                }
}

static void test_real(void) {
        static const struct {
                enum listing_format format;
                const char *text, *entries;
        } cases[] = {
                {LISTING_HTML, nginx_html,
                 "sub|d|e|0|1795643820|\na b & <c> %|f|-|0|0|\n\xc3\xbc|f|-|0|0|\n"},
                {LISTING_HTML, apache_html, "sub|d|e|0|1795643820|\nsemi;colon?|f|-|0|0|\n"},
                {LISTING_HTML, lighttpd_html, "sub|d|e|0|1795643821|\nx'y|f|-|0|0|\n"},
                {LISTING_JSON, nginx_json,
                 "sub|d|e|0|1795643821|\nq\"\\ \xc3\xbc \xff|f|e|9007199254740993|1795643821|\n"},
                {LISTING_JSON, "[]", ""},
                {LISTING_JSON, " [ \n ] \n", ""},
                {LISTING_WEBDAV, webdav,
                 "sub|d|e|0|1795643821|\nf&&|f|e|5|1795643821|\"e\"\nsplit|f|e|7|1795643821|\n"},
                {LISTING_WEBDAV, "<multistatus xmlns='DAV:'/>", ""},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                for (size_t piece = 1; piece < 5000; piece = piece * 2 + 1) {
                        struct parsed p = parse(cases[i].format, cases[i].text, strlen(cases[i].text), piece);
                        g_autofree char *summary = skips_summary(&p.skips);

                        g_test_message("%zu in pieces of %zu", i, piece);
                        g_assert_cmpint(p.result, ==, 0);
                        g_assert_cmpstr(p.text->str, ==, cases[i].entries);
                        g_assert_null(summary);
                        parsed_clear(&p);
                }
}

#define INDEX "<title>Index of x</title>"
#define DTD "<!DOCTYPE x [<!ENTITY e \"x\">]>"

static void test_refused(void) {
        static const struct {
                enum listing_format format;
                const char *text;
                int result;
                const char *entries;
        } cases[] = {
                {LISTING_HTML, "", -EOPNOTSUPP, ""},
                {LISTING_HTML, "<title>My files</title><a href=x>x</a>", -EOPNOTSUPP, ""},
                {LISTING_HTML, "<a href=x>x</a>" INDEX, -EOPNOTSUPP, ""},
                {LISTING_HTML, INDEX, 0, ""},
                {LISTING_HTML_ANY, "", 0, ""},
                {LISTING_HTML_ANY, "<a href=x>x</a>", 0, "x|f|-|0|0|\n"},
                {LISTING_JSON, "", -EPROTO, ""},
                {LISTING_JSON, "{}", -EPROTO, ""},
                {LISTING_JSON, "[", -EPROTO, ""},
                {LISTING_JSON, "[]]", -EPROTO, ""},
                {LISTING_JSON, "[] x", -EPROTO, ""},
                {LISTING_JSON, "[,]", -EPROTO, ""},
                {LISTING_JSON, "[{},]", -EPROTO, ""},
                {LISTING_JSON, "[{} {}]", -EPROTO, ""},
                {LISTING_JSON, "[1]", -EPROTO, ""},
                {LISTING_JSON, "[[]]", -EPROTO, ""},
                {LISTING_JSON, "[{\"name\":\"a\",\"type\":\"file\"}", -EPROTO, "a|f|-|0|0|\n"},
                {LISTING_JSON, "[{\"name\":", -EPROTO, ""},
                {LISTING_JSON, "[{\"a\":[[[[[[[[[[1]]]]]]]]]]}]", -EPROTO, ""},
                {LISTING_WEBDAV, "", -EPROTO, ""},
                {LISTING_WEBDAV, "<html/>", -EPROTO, ""},
                {LISTING_WEBDAV, "<multistatus/>", -EPROTO, ""},
                {LISTING_WEBDAV, "<multistatus xmlns='DAV:'>", -EPROTO, ""},
                {LISTING_WEBDAV, "<multistatus xmlns='DAV:'/>x", -EPROTO, ""},
                {LISTING_WEBDAV, DTD "<multistatus xmlns='DAV:'/>", -EPROTO, ""},
                {LISTING_WEBDAV, "<!DOCTYPE x SYSTEM 'file:///etc/passwd'><multistatus xmlns='DAV:'/>", -EPROTO, ""},
                {LISTING_WEBDAV, "<multistatus xmlns='DAV:'><response><href>/base%20dir/&x;</href>"
                                 "</response></multistatus>", -EPROTO, ""},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                for (size_t piece = 1; piece < 200; piece += 66) {
                        struct parsed p = parse(cases[i].format, cases[i].text, strlen(cases[i].text), piece);

                        g_test_message("%s", cases[i].text);
                        g_assert_cmpint(p.result, ==, cases[i].result);
                        g_assert_cmpstr(p.text->str, ==, cases[i].entries);
                        parsed_clear(&p);
                }
        {
                struct skips skips = {0};

                g_assert_null(listing_new(LISTING_HTML, "http://h/no-slash", &skips, on_entry, NULL));
                g_assert_null(listing_new(LISTING_HTML, "http://h/?x/", &skips, on_entry, NULL));
                g_assert_null(listing_new(LISTING_HTML, "/", &skips, on_entry, NULL));
        }
}

static void test_stop(void) {
        g_autoptr(GString) html = g_string_new(INDEX), json = g_string_new("[");
        g_autoptr(GString) dav = g_string_new("<d:multistatus xmlns:d='DAV:'>");

        for (int i = 0; i < 100; i++) {
                g_string_append_printf(html, "<a href=f%d>", i);
                g_string_append_printf(json, "%s{\"name\":\"f%d\",\"type\":\"file\"}", i ? "," : "", i);
                g_string_append_printf(dav, DAV_MEMBER("f%d", "", "HTTP/1.1 200 OK"), i);
        }
        g_string_append(json, "]");
        g_string_append(dav, "</d:multistatus>");
        for (int i = 0; i < 3; i++) {
                GString *text = i == 0 ? html : i == 1 ? json : dav;
                enum listing_format format = i == 0 ? LISTING_HTML : i == 1 ? LISTING_JSON : LISTING_WEBDAV;
                struct parsed p = {.text = g_string_new(NULL), .stop_after = 3};
                struct listing *listing = listing_new(format, BASE, &p.skips, on_entry, &p);

                /* HTML is parsed in larger pieces. */
                g_assert_cmpint(listing_feed(listing, text->str, text->len), ==, i ? -ECANCELED : 0);
                g_assert_cmpint(listing_feed(listing, "x", 1), ==, i ? -ECANCELED : 0);
                g_assert_cmpint(listing_finish(listing), ==, -ECANCELED);
                g_assert_cmpint(listing_feed(listing, "x", 1), ==, -ECANCELED);
                g_assert_cmpuint(p.n, ==, 3);
                listing_free(listing);
                parsed_clear(&p);
        }
}

/* Pages made to cost time or memory: refused soon, or read in time. */
static void test_expensive(void) {
        static const struct {
                enum listing_format format;
                const char *head, *repeated;
                size_t bytes;
                int result;
        } cases[] = {
                {LISTING_HTML, INDEX, "y", 8 << 20, -EPROTO},
                {LISTING_HTML, INDEX, "<div>", 8 << 20, -EPROTO},
                {LISTING_HTML, INDEX "<a href=\"", "y", 8 << 20, -EPROTO},
                {LISTING_HTML, INDEX "<!--", "y", 8 << 20, -EPROTO},
                {LISTING_HTML, INDEX "<script>", "y", 8 << 20, -EPROTO},
                {LISTING_HTML, INDEX "<a ", "y ", 8 << 20, -EPROTO},
                {LISTING_HTML, INDEX "<", "y", 8 << 20, -EPROTO},
                {LISTING_HTML, INDEX, "</x>", 2 << 20, 0},
                {LISTING_HTML, INDEX, "&", 2 << 20, -EPROTO},
                {LISTING_JSON, "[{\"name\":\"", "y", 8 << 20, -EPROTO},
                {LISTING_JSON, "[{\"name\":", "[", 8 << 20, -EPROTO},
                {LISTING_JSON, "[", " ", 8 << 20, -EPROTO},
                {LISTING_WEBDAV, "<multistatus xmlns='DAV:'>", "<a>", 8 << 20, -EPROTO},
                {LISTING_WEBDAV, "<multistatus xmlns='DAV:'><response><href>", "y", 8 << 20, -EPROTO},
                {LISTING_WEBDAV, "<multistatus xmlns='DAV:'><", "y", 8 << 20, -EPROTO},
                {LISTING_WEBDAV, "<multistatus xmlns='DAV:'><!--", "y", 8 << 20, -EPROTO},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GString) text = g_string_new(cases[i].head);
                gint64 begin = g_get_monotonic_time();
                struct parsed p;

                while (text->len < cases[i].bytes)
                        g_string_append(text, cases[i].repeated);
                p = parse(cases[i].format, text->str, text->len, 1460);
                g_test_message("%s%s: %d, %.2f s", cases[i].head, cases[i].repeated, p.result,
                               (double)(g_get_monotonic_time() - begin) / 1e6);
                g_assert_cmpint(p.result, ==, cases[i].result);
                g_assert_cmpint(g_get_monotonic_time() - begin, <, 30 * G_USEC_PER_SEC);
                parsed_clear(&p);
        }
}

static void test_links(void) {
        static const struct {
                const char *href;
                enum listing_link link;
                const char *name;
        } cases[] = {
                {"a", LINK_CHILD, "a"},
                {"a/", LINK_CHILD_DIRECTORY, "a"},
                {"./a", LINK_CHILD, "a"},
                {"././a/", LINK_CHILD_DIRECTORY, "a"},
                {"%61%20%25", LINK_CHILD, "a %"},
                {"  a \n", LINK_CHILD, "a"},
                {"a#f", LINK_CHILD, "a"},
                {"...", LINK_CHILD, "..."},
                {".hidden", LINK_CHILD, ".hidden"},
                {"/base%20dir/a", LINK_CHILD, "a"},
                {"/%62ase%20dir/a/", LINK_CHILD_DIRECTORY, "a"},
                {"http://h:8080/base%20dir/a", LINK_CHILD, "a"},
                {"HTTP://H:8080/base%20dir/a", LINK_CHILD, "a"},
                {"//h:8080/base%20dir/a", LINK_CHILD, "a"},
                {"\xff", LINK_CHILD, "\xff"},
                {"a%3Fb", LINK_CHILD, "a?b"},
                {"c%3Ad", LINK_CHILD, "c:d"},
                {"./c:d", LINK_CHILD, "c:d"},
                {"", LINK_IGNORE, NULL},
                {".", LINK_IGNORE, NULL},
                {"./", LINK_IGNORE, NULL},
                {"..", LINK_IGNORE, NULL},
                {"../", LINK_IGNORE, NULL},
                {"../../", LINK_IGNORE, NULL},
                {"?C=N;O=D", LINK_IGNORE, NULL},
                {"./?C=N", LINK_IGNORE, NULL},
                {"#top", LINK_IGNORE, NULL},
                {"/", LINK_IGNORE, NULL},
                {"/base%20dir/", LINK_IGNORE, NULL},
                {"/base%20dir/?C=M", LINK_IGNORE, NULL},
                {"http://h:8080", LINK_IGNORE, NULL},
                {"http://h:8080/", LINK_IGNORE, NULL},
                {"../a", LINK_OUTSIDE, NULL},
                {"a/b", LINK_OUTSIDE, NULL},
                {"a//", LINK_OUTSIDE, NULL},
                {"/a", LINK_OUTSIDE, NULL},
                {"/base%20dir", LINK_OUTSIDE, NULL},
                {"/base%20dirx/a", LINK_OUTSIDE, NULL},
                {"/base%2520dir/a", LINK_OUTSIDE, NULL},
                {"/base%20dir%2fa", LINK_OUTSIDE, NULL},
                {"//base%20dir/a", LINK_OUTSIDE, NULL},
                {"http://h/base%20dir/a", LINK_OUTSIDE, NULL},
                {"https://h:8080/base%20dir/a", LINK_OUTSIDE, NULL},
                {"http://h:8080@evil/base%20dir/a", LINK_OUTSIDE, NULL},
                {"http://evil/base%20dir/a", LINK_OUTSIDE, NULL},
                {"mailto:a@b", LINK_OUTSIDE, NULL},
                {"javascript:x", LINK_OUTSIDE, NULL},
                {"data:text/plain,x", LINK_OUTSIDE, NULL},
                {"a?x=1", LINK_OUTSIDE, NULL},
                {"%2e%2e", LINK_BAD_NAME, NULL},
                {"%2E/", LINK_BAD_NAME, NULL},
                {"./..", LINK_BAD_NAME, NULL},
                {"..%2fa", LINK_BAD_NAME, NULL},
                {"a%00", LINK_BAD_NAME, NULL},
                {"a%0a", LINK_BAD_NAME, NULL},
                {"a%1b[31m", LINK_BAD_NAME, NULL},
                {"a\tb", LINK_BAD_NAME, NULL},
                {"%", LINK_BAD_NAME, NULL},
                {"/base%20dir/..", LINK_BAD_NAME, NULL},
                {"/base%20dir/%2e%2e/", LINK_BAD_NAME, NULL},
        };
        g_autofree char *longest = g_strnfill(255, 'n'), *longer = g_strnfill(256, 'n');
        g_autofree char *endless = g_strnfill(100000, 'n');
        g_autofree char *name = NULL, *none = NULL, *none_too = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *got = NULL;

                g_test_message("%s", cases[i].href);
                g_assert_cmpint(listing_link(BASE, cases[i].href, &got), ==, cases[i].link);
                g_assert_cmpstr(got, ==, cases[i].name);
        }
        g_assert_cmpint(listing_link(BASE, longest, &name), ==, LINK_CHILD);
        g_assert_cmpint(listing_link(BASE, longer, &none), ==, LINK_BAD_NAME);
        g_assert_cmpint(listing_link(BASE, endless, &none_too), ==, LINK_OUTSIDE);
}

static void test_dates(void) {
        static const struct {
                const char *text;
                gboolean found;
                int64_t seconds;
        } cases[] = {
                {" 25-Nov-2026 21:57   -", TRUE, 1795643820},
                {"2026-11-25 21:57", TRUE, 1795643820},
                {"x 2026-Nov-25 21:57:01 y", TRUE, 1795643821},
                {"12345 25-Nov-2026 21:57", TRUE, 1795643820},
                {"", FALSE, 0},
                {"-", FALSE, 0},
                {"25-Nov-2026", FALSE, 0},
                {"25-Nov-2026 2", FALSE, 0},
                {"25-Nov-2026 25:00", FALSE, 0},
                {"32-Nov-2026 21:57", FALSE, 0},
                {"2026-13-25 21:57", FALSE, 0},
                {"2026-00-25 21:57", FALSE, 0},
                {"25-Xxx-2026 21:57", FALSE, 0},
                {"125-Nov-2026 21:57", FALSE, 0},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                int64_t seconds = 0;

                g_test_message("%s", cases[i].text);
                g_assert_cmpint(listing_date(cases[i].text, &seconds), ==, cases[i].found);
                g_assert_cmpint(seconds, ==, cases[i].seconds);
        }
}

static size_t heap_bytes(void) {
        struct mallinfo2 info = mallinfo2();

        return info.uordblks + info.hblkhd;
}

/* A million entries in each format: no tree of them in memory, and no quadratic time. */
static void test_million(void) {
        const unsigned n = g_test_quick() ? 200000 : 1000000;

        for (int f = 0; f < 3; f++) {
                struct parsed p = {.text = g_string_new(NULL)};
                struct listing *listing =
                        listing_new(f == 0 ? LISTING_HTML : f == 1 ? LISTING_JSON : LISTING_WEBDAV, BASE,
                                    &p.skips, on_entry, &p);
                const char *head = f == 0 ? INDEX "<pre>" : f == 1 ? "[" : "<d:multistatus xmlns:d='DAV:'>";
                const char *tail = f == 0 ? "</pre>" : f == 1 ? "]" : "</d:multistatus>";
                g_autoptr(GString) block = g_string_new(head);
                size_t before = heap_bytes(), after;
                gint64 begin = g_get_monotonic_time();

                for (unsigned i = 0; i < n; i++) {
                        if (f == 0)
                                g_string_append_printf(block, "<a href=\"file%07u\">file%07u</a>  25-Nov-2026 21:57   5\n", i, i);
                        else if (f == 1)
                                g_string_append_printf(block, "%s{ \"name\":\"file%07u\", \"type\":\"file\", \"mtime\":\"Wed, 25 Nov 2026 21:57:01 GMT\", \"size\":5 }", i ? ",\n" : "", i);
                        else
                                g_string_append_printf(block, DAV_MEMBER("/base%%20dir/file%07u", "<d:getcontentlength>5</d:getcontentlength>" DAV_DATE, "HTTP/1.1 200 OK"), i);
                        if (block->len > 60000) {
                                g_assert_cmpint(listing_feed(listing, block->str, block->len), ==, 0);
                                g_string_truncate(block, 0);
                        }
                }
                g_string_append(block, tail);
                g_assert_cmpint(listing_feed(listing, block->str, block->len), ==, 0);
                after = heap_bytes();
                g_assert_cmpint(listing_finish(listing), ==, 0);
                g_assert_cmpuint(p.n, ==, n);
                g_test_message("format %d: %.2f s for %u, %.1f bytes each", f,
                               (double)(g_get_monotonic_time() - begin) / 1e6, n,
                               after > before ? (double)(after - before) / n : 0.0);
                /* Names and table, twice because both grow by doubling, and some. */
                if (after > before)
                        g_assert_cmpuint(after - before, <, (size_t)n * 60 + 2000000);
                listing_free(listing);
                parsed_clear(&p);
        }
}

static void test_manifest_lines(void) {
        static const char text[] =
                "\n  \r\n{\"path\":\"a\",\"size\":1,\"mtime\":5,\"etag\":\"\\\"x\\\"\"}\r\n"
                "{\"path\":\"d/b\",\"size\":2,\"mtime\":-1.25,\"etag\":\"W/\\\"x\\\"\"}\n"
                "{\"path\":\"d/c\",\"size\":3}\n{\"path\":\"d.x\",\"size\":\"3\",\"mtime\":1}\n"
                "{\"path\":\"d/sub/e\",\"size\":3,\"mtime\":\"Wed, 25 Nov 2026 21:57:01 GMT\"}\n"
                "{\"path\":\"d/sub/\",\"mtime\":77}\n"
                "{\"path\":\"nul\\u0000x\"}\n{\"path\":\"..\"}\n{\"path\":\"a/..\"}\n{}\n[1]";
        struct manifest *manifest;
        struct listing_entry entry;

        for (size_t piece = 1; piece < 1000; piece = piece * 3 + 1) {
                struct parsed p = {.text = g_string_new(NULL)};

                manifest = manifest_new();
                for (size_t at = 0; at < strlen(text) - 4; at += piece)
                        g_assert_cmpint(manifest_feed(manifest, text + at, MIN(piece, strlen(text) - 4 - at)), ==, 0);
                g_assert_cmpint(manifest_finish(manifest), ==, 0);
                g_assert_cmpuint(manifest_skips(manifest)->n[SKIP_NAME], ==, 2);
                g_assert_cmpuint(manifest_skips(manifest)->n[SKIP_MALFORMED], ==, 2);
                g_assert_cmpint(manifest_list(manifest, "", &p.skips, on_entry, &p), ==, 0);
                g_assert_cmpstr(p.text->str, ==, "a|f|e|1|5|\"x\"\nd.x|f|-|0|1|\nd|d|e|0|0|\n");
                g_string_truncate(p.text, 0);
                g_assert_cmpint(manifest_list(manifest, "d", &p.skips, on_entry, &p), ==, 0);
                g_assert_cmpstr(p.text->str, ==, "b|f|e|2|-2|\nc|f|-|3|0|\nsub|d|e|0|77|\n");
                g_string_truncate(p.text, 0);
                g_assert_cmpint(manifest_list(manifest, "d/sub", &p.skips, on_entry, &p), ==, 0);
                g_assert_cmpstr(p.text->str, ==, "e|f|e|3|1795643821|\n");
                g_assert_cmpint(manifest_list(manifest, "a", &p.skips, on_entry, &p), ==, -ENOENT);
                g_assert_cmpint(manifest_list(manifest, "d/su", &p.skips, on_entry, &p), ==, -ENOENT);
                g_assert_true(manifest_find(manifest, "d/b", &entry));
                g_assert_cmpuint(entry.mtime_nsec, ==, 750000000);
                g_assert_true(manifest_find(manifest, "d/sub", &entry) && entry.directory);
                g_assert_false(manifest_find(manifest, "d/s", &entry));
                p.stop_after = p.n;
                g_assert_cmpint(manifest_list(manifest, "", &p.skips, on_entry, &p), ==, -ECANCELED);
                parsed_clear(&p);
                manifest_free(manifest);
        }
        manifest = manifest_new();
        g_assert_cmpint(manifest_feed(manifest, text, strlen(text)), ==, 0);
        g_assert_cmpint(manifest_finish(manifest), ==, -EPROTO); /* [1] is no object */
        manifest_free(manifest);
        {
                g_autofree char *endless = g_strnfill(LISTING_ELEMENT_MAX + 1, 'x');

                manifest = manifest_new();
                g_assert_cmpint(manifest_feed(manifest, endless, strlen(endless)), ==, -EPROTO);
                manifest_free(manifest);
        }
        manifest = manifest_new();
        g_assert_cmpint(manifest_finish(manifest), ==, 0);
        {
                struct parsed p = {.text = g_string_new(NULL)};

                g_assert_cmpint(manifest_list(manifest, "", &p.skips, on_entry, &p), ==, 0);
                g_assert_cmpuint(p.n, ==, 0);
                parsed_clear(&p);
        }
        manifest_free(manifest);
}

static void test_name_set(void) {
        struct name_set set = {0};

        for (int i = 0; i < 50000; i++) {
                g_autofree char *name = g_strdup_printf("%d", i * 7);

                g_assert_cmpint(name_set_add(&set, name), ==, 1);
        }
        for (int i = 0; i < 50000 * 7; i++) {
                g_autofree char *name = g_strdup_printf("%d", i);

                if (i % 7 == 0)
                        g_assert_cmpint(name_set_add(&set, name), ==, 0);
        }
        g_assert_cmpint(name_set_add(&set, ""), ==, 1);
        g_assert_cmpint(name_set_add(&set, ""), ==, 0);
        g_assert_cmpuint(set.n, ==, 50001);
        name_set_clear(&set);
        g_assert_cmpint(name_set_add(&set, "7"), ==, 1);
        name_set_clear(&set);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/listing/real", test_real);
        g_test_add_func("/listing/cut-off", test_cut_off);
        g_test_add_func("/listing/refused", test_refused);
        g_test_add_func("/listing/stop", test_stop);
        g_test_add_func("/listing/expensive", test_expensive);
        g_test_add_func("/listing/links", test_links);
        g_test_add_func("/listing/dates", test_dates);
        g_test_add_func("/listing/million", test_million);
        g_test_add_func("/manifest/lines", test_manifest_lines);
        g_test_add_func("/name-set", test_name_set);
        return g_test_run();
}
