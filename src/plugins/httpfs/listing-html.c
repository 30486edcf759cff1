/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * listing-html — index pages, through libxml2's HTML push parser
 *
 * Only events, never a tree: a page of a million links needs no more memory than
 * one of ten. What counts is <a href>; what is printed beside it is rounded, cut off
 * and in whatever time zone, so files are reported inexact and have to be asked for.
 * For directories, which nobody asks for, the date after the link is taken
 * where there is one.
 *
 * A page that is no index (an index.html in its place) would show its links as the
 * directory's files and hide what is really there. So a page has to call itself
 * one — "Index of …", "Directory listing …" in <title> or <h1> before the first
 * link that counts — unless the administrator asked for any page.
 */

#include <errno.h>
#include <libxml/HTMLparser.h>
#include <string.h>

#include "plugins/httpfs/listing-private.h"

#define PIECE 32768       /* what the parser gets at once */
#define TOKEN_MAX 131072  /* a tag, a text, a comment, a script */
#define ATTRIBUTES_MAX 64 /* of an element; libxml2 compares each with each */

struct listing_html {
        struct listing *listing;
        htmlParserCtxtPtr parser;
        bool is_index;
        bool in_heading; /* in <title> or <h1> */
        unsigned depth;
        GString *text;   /* of the heading, or after a directory's link */
        char *directory; /* waits for its date; NULL: none */
        char pending[PIECE];
        size_t n_pending; /* bytes in pending */
        char tail[8];     /* the bytes before those, NUL-terminated, and what is searched for begins in */
        bool ended;       /* </body> or </html> was seen */
};

static void stop(struct listing_html *html, int error) {
        listing_fail(html->listing, error);
        xmlStopParser(html->parser);
}

static void flush_directory(struct listing_html *html) {
        struct listing_entry entry = {.directory = true, .exact = true, .name = html->directory};

        if (html->directory == NULL)
                return;
        (void)listing_date(html->text->str, &entry.mtime_sec);
        listing_emit(html->listing, &entry);
        g_clear_pointer(&html->directory, g_free);
        g_string_truncate(html->text, 0);
        if (html->listing->error != 0)
                xmlStopParser(html->parser);
}

static void link_seen(struct listing_html *html, const char *href) {
        struct listing *listing = html->listing;
        g_autofree char *name = NULL;
        enum listing_link link = listing_link(listing->url, href, &name);

        flush_directory(html);
        switch (link) {
        case LINK_CHILD:
        case LINK_CHILD_DIRECTORY:
                if (!html->is_index) {
                        stop(html, -EOPNOTSUPP);
                        return;
                }
                if (link == LINK_CHILD_DIRECTORY) {
                        html->directory = g_steal_pointer(&name);
                        return;
                }
                listing_emit(listing, &(struct listing_entry){.name = name});
                if (listing->error != 0)
                        xmlStopParser(html->parser);
                break;
        case LINK_IGNORE:
                break;
        case LINK_OUTSIDE:
                skips_count(listing->skips, SKIP_OUTSIDE, href);
                break;
        case LINK_BAD_NAME:
                skips_count(listing->skips, SKIP_NAME, href);
                break;
        }
}

static bool is_heading(const char *name) {
        return g_str_equal(name, "title") || g_str_equal(name, "h1");
}

static void on_start(void *data, const xmlChar *name, const xmlChar **attributes) {
        struct listing_html *html = data;

        if (html->listing->error != 0)
                return;
        if (++html->depth > LISTING_DEPTH_MAX * 4) {
                stop(html, -EPROTO);
                return;
        }
        if (is_heading((const char *)name)) {
                flush_directory(html);
                g_string_truncate(html->text, 0);
                html->in_heading = true;
        }
        for (int i = 0; attributes != NULL && attributes[2 * i] != NULL; i++)
                if (i == ATTRIBUTES_MAX) {
                        stop(html, -EPROTO);
                        return;
                }
        if (!g_str_equal((const char *)name, "a"))
                return;
        for (; attributes != NULL && attributes[0] != NULL; attributes += 2)
                if (g_str_equal((const char *)attributes[0], "href") && attributes[1] != NULL) {
                        link_seen(html, (const char *)attributes[1]);
                        return;
                }
}

static void heading_seen(struct listing_html *html) {
        static const char *const beginnings[] = {"index of", "directory listing",
                                                 "directory:", "listing of", "contents of"};
        const char *text = html->text->str;

        while (g_ascii_isspace(*text))
                text++;
        for (size_t i = 0; i < G_N_ELEMENTS(beginnings); i++)
                if (g_ascii_strncasecmp(text, beginnings[i], strlen(beginnings[i])) == 0)
                        html->is_index = true;
}

static void on_end(void *data, const xmlChar *name) {
        struct listing_html *html = data;

        if (html->depth > 0)
                html->depth--;
        if (html->in_heading && is_heading((const char *)name)) {
                heading_seen(html);
                html->in_heading = false;
                g_string_truncate(html->text, 0);
        }
}

static void on_text(void *data, const xmlChar *text, int length) {
        struct listing_html *html = data;

        /* The beginning is enough, of headings as of dates. */
        if ((html->in_heading || html->directory != NULL) && html->text->len < 1024)
                g_string_append_len(html->text, (const char *)text, MIN(length, 1024));
}

static void on_error(void *data, const char *format, ...) {
        /* Index pages are full of small faults, and none of them matters here. */
}

struct listing_html *listing_html_new(struct listing *listing, bool any_page) {
        struct listing_html *html = g_new0(struct listing_html, 1);
        htmlSAXHandler sax = {
                .startElement = on_start,
                .endElement = on_end,
                .characters = on_text,
                .ignorableWhitespace = on_text,
                .cdataBlock = on_text,
                .error = on_error,
                .warning = on_error,
                .fatalError = on_error,
        };

        html->listing = listing;
        html->is_index = any_page;
        html->text = g_string_new(NULL);
        html->parser = htmlCreatePushParserCtxt(&sax, html, NULL, 0, NULL, XML_CHAR_ENCODING_UTF8);
        if (html->parser == NULL)
                listing_fail(listing, -ENOMEM);
        else
                /* Not HTML_PARSE_RECOVER: with it libxml2 2.9.14 takes everything after a
                 * <style> or <script> for its text when "</style" comes in two pieces.
                 * It recovers from faults all the same. */
                htmlCtxtUseOptions(html->parser, HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING |
                                                         HTML_PARSE_NONET | HTML_PARSE_IGNORE_ENC);
        return html;
}

/* In the bytes, since libxml2 closes by itself what is open at the end. */
static void look_for_end(struct listing_html *html) {
        static const char *const ends[] = {"</body", "</html"};
        const size_t length = strlen(ends[0]), room = sizeof html->tail - 1;
        size_t kept = strlen(html->tail), n = kept + html->n_pending;
        g_autofree char *all = g_malloc(n + 1);

        memcpy(all, html->tail, kept);
        memcpy(all + kept, html->pending, html->n_pending);
        for (size_t i = 0; i + length <= n && !html->ended; i++)
                html->ended = all[i] == '<' && (g_ascii_strncasecmp(all + i, ends[0], length) == 0 ||
                                                g_ascii_strncasecmp(all + i, ends[1], length) == 0);
        kept = MIN(n, room);
        memcpy(html->tail, all + n - kept, kept);
        html->tail[kept] = '\0';
}

static void parse_pending(struct listing_html *html) {
        if (html->listing->must_end && !html->ended)
                look_for_end(html);
        /* libxml2 2.9 forgets which quote it is in when a piece ends inside an attribute,
         * and then holds everything back to the end of the page. Told to look again from
         * the beginning of what it has not parsed, it does not; that it looks at the
         * same bytes again is why pieces are large and unfinished tokens are limited. */
        html->parser->checkIndex = 0;
        (void)htmlParseChunk(html->parser, html->pending, (int)html->n_pending, 0);
        html->n_pending = 0;
        if (html->parser->input != NULL &&
            html->parser->input->end - html->parser->input->cur > TOKEN_MAX)
                stop(html, -EPROTO);
}

void listing_html_feed(struct listing_html *html, const char *bytes, size_t length) {
        while (length > 0 && html->listing->error == 0) {
                size_t n = MIN(length, sizeof html->pending - html->n_pending);

                memcpy(html->pending + html->n_pending, bytes, n);
                html->n_pending += n;
                bytes += n;
                length -= n;
                if (html->n_pending == sizeof html->pending)
                        parse_pending(html);
        }
}

void listing_html_finish(struct listing_html *html) {
        parse_pending(html);
        if (html->listing->error == 0)
                (void)htmlParseChunk(html->parser, NULL, 0, 1);
        flush_directory(html);
        if (html->listing->must_end && !html->ended)
                listing_fail(html->listing, -EPROTO);
        /* An index of an empty directory is one; an empty page is not. */
        if (!html->is_index)
                listing_fail(html->listing, -EOPNOTSUPP);
}

void listing_html_free(struct listing_html *html) {
        if (html == NULL)
                return;
        if (html->parser != NULL) {
                if (html->parser->myDoc != NULL)
                        xmlFreeDoc(html->parser->myDoc);
                htmlFreeParserCtxt(html->parser);
        }
        g_string_free(html->text, TRUE);
        g_free(html->directory);
        g_free(html);
}
