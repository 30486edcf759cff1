/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * listing-webdav — the 207 answer to PROPFIND, Depth 1 (RFC 4918 13, 14)
 *
 *     multistatus
 *       response                     one member, or the directory itself
 *         href                       where it is
 *         propstat …                 properties and the status that they have
 *           prop
 *             resourcetype/collection
 *             getcontentlength getlastmodified getetag
 *           status                   "HTTP/1.1 200 OK", or 404 for unknown properties
 *         status                     instead of propstat: the member's own
 *
 * libxml2's push parser, events only, elements of the DAV: namespace only. A
 * document type declaration ends it: a multistatus has none, and what it could
 * declare are entities. Properties count when their propstat says 200.
 */

#include <cloudsync/engine.h>
#include <errno.h>
#include <libxml/parser.h>
#include <string.h>

#include "plugins/common/http.h"
#include "plugins/httpfs/listing-private.h"

enum element {
        OTHER,
        MULTISTATUS,
        RESPONSE,
        HREF,
        PROPSTAT,
        PROP,
        STATUS,
        RESOURCETYPE,
        COLLECTION,
        LENGTH,
        MODIFIED,
        ETAG,
};

/* Where an element may stand, and what may stand there: anything else is OTHER. */
static const struct {
        const char *name;
        enum element element, parent;
} elements[] = {
        {"response", RESPONSE, MULTISTATUS},
        {"href", HREF, RESPONSE},
        {"propstat", PROPSTAT, RESPONSE},
        {"status", STATUS, RESPONSE},
        {"prop", PROP, PROPSTAT},
        {"status", STATUS, PROPSTAT},
        {"resourcetype", RESOURCETYPE, PROP},
        {"collection", COLLECTION, RESOURCETYPE},
        {"getcontentlength", LENGTH, PROP},
        {"getlastmodified", MODIFIED, PROP},
        {"getetag", ETAG, PROP},
};

struct properties {
        bool collection, has_length, has_modified;
        uint64_t length;
        int64_t modified;
        char *etag;
};

struct listing_webdav {
        struct listing *listing;
        xmlParserCtxtPtr parser;
        enum element stack[LISTING_DEPTH_MAX];
        unsigned depth;
        GString *text;
        bool keep_text;
        bool complete; /* saw </multistatus> */
        /* The response under way: */
        char *href;
        int status;                       /* its own, or 0 */
        struct properties known, claimed; /* claimed: before their propstat's status is known */
        int propstat_status;
};

static void properties_clear(struct properties *p) {
        g_free(p->etag);
        *p = (struct properties){0};
}

static void stop(struct listing_webdav *webdav, int error) {
        listing_fail(webdav->listing, error);
        xmlStopParser(webdav->parser);
}

static enum element element_find(const char *name, const char *uri, enum element parent, bool top) {
        if (uri == NULL || !g_str_equal(uri, "DAV:"))
                return OTHER;
        if (top)
                return g_str_equal(name, "multistatus") ? MULTISTATUS : OTHER;
        for (size_t i = 0; i < G_N_ELEMENTS(elements); i++)
                if (elements[i].parent == parent && g_str_equal(name, elements[i].name))
                        return elements[i].element;
        return OTHER;
}

static void on_start(void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int n_namespaces, const xmlChar **namespaces, int n_attributes,
                     int n_defaulted, const xmlChar **attributes) {
        struct listing_webdav *webdav = data;
        bool top = webdav->depth == 0;
        enum element element;

        if (webdav->listing->error != 0)
                return;
        if (webdav->depth == LISTING_DEPTH_MAX) {
                stop(webdav, -EPROTO);
                return;
        }
        element = element_find((const char *)name, (const char *)uri,
                               top ? OTHER : webdav->stack[webdav->depth - 1], top);
        if (top && element != MULTISTATUS) {
                stop(webdav, -EPROTO);
                return;
        }
        webdav->stack[webdav->depth++] = element;
        switch (element) {
        case RESPONSE:
                g_clear_pointer(&webdav->href, g_free);
                properties_clear(&webdav->known);
                webdav->status = 0;
                break;
        case PROPSTAT:
                properties_clear(&webdav->claimed);
                webdav->propstat_status = 0;
                break;
        case COLLECTION:
                webdav->claimed.collection = true;
                break;
        default:
                break;
        }
        webdav->keep_text = element == HREF || element == STATUS || element == LENGTH ||
                            element == MODIFIED || element == ETAG;
        g_string_truncate(webdav->text, 0);
}

/* "HTTP/1.1 200 OK" */
static int status_of(const char *text) {
        const char *space = strchr(text, ' ');

        if (space == NULL || strlen(space) < 4 || !g_ascii_isdigit(space[1]))
                return 0;
        return (int)g_ascii_strtoll(space + 1, NULL, 10);
}

static void propstat_end(struct listing_webdav *webdav) {
        struct properties *from = &webdav->claimed, *to = &webdav->known;

        if (webdav->propstat_status < 200 || webdav->propstat_status > 299)
                return;
        to->collection |= from->collection;
        if (from->has_length) {
                to->has_length = true;
                to->length = from->length;
        }
        if (from->has_modified) {
                to->has_modified = true;
                to->modified = from->modified;
        }
        if (from->etag != NULL) {
                g_free(to->etag);
                to->etag = g_steal_pointer(&from->etag);
        }
}

static void response_end(struct listing_webdav *webdav) {
        struct listing *listing = webdav->listing;
        struct properties *p = &webdav->known;
        g_autofree char *name = NULL;
        struct listing_entry entry = {
                .directory = p->collection,
                .exact = p->collection || (p->has_length && p->has_modified),
                .size = p->collection ? 0 : p->length,
                .mtime_sec = p->modified,
        };

        if (!p->collection && p->etag != NULL && http_etag_is_strong(p->etag) &&
            strlen(p->etag) <= CS_VERSION_MAX)
                entry.version = p->etag;

        if (webdav->href == NULL) {
                skips_count(listing->skips, SKIP_MALFORMED, "a response without href");
                return;
        }
        switch (listing_link(listing->url, webdav->href, &name)) {
        case LINK_CHILD:
        case LINK_CHILD_DIRECTORY:
                if (webdav->status == 404 || webdav->status == 410) {
                        skips_count(listing->skips, SKIP_GONE, name);
                        break;
                }
                entry.name = name;
                if (webdav->status != 0 && (webdav->status < 200 || webdav->status > 299)) {
                        skips_count(listing->skips, SKIP_REFUSED, name);
                        entry = (struct listing_entry){.unknown = true, .name = name};
                }
                listing_emit(listing, &entry);
                if (listing->error != 0)
                        xmlStopParser(webdav->parser);
                break;
        case LINK_IGNORE:
                break;
        case LINK_OUTSIDE:
                skips_count(listing->skips, SKIP_OUTSIDE, webdav->href);
                break;
        case LINK_BAD_NAME:
                skips_count(listing->skips, SKIP_NAME, webdav->href);
                break;
        }
}

static void text_end(struct listing_webdav *webdav, enum element element, enum element parent) {
        const char *text = g_strstrip(webdav->text->str);
        int status;

        switch (element) {
        case HREF:
                g_free(webdav->href);
                webdav->href = g_strdup(text);
                break;
        case STATUS:
                status = status_of(text);
                if (parent == PROPSTAT)
                        webdav->propstat_status = status;
                else
                        webdav->status = status;
                break;
        case LENGTH:
                webdav->claimed.has_length = http_parse_number(text, &webdav->claimed.length) >= 0;
                break;
        case MODIFIED:
                webdav->claimed.has_modified =
                        http_parse_date(text, &webdav->claimed.modified) >= 0;
                break;
        case ETAG:
                g_free(webdav->claimed.etag);
                webdav->claimed.etag = g_strdup(text);
                break;
        default:
                break;
        }
}

static void on_end(void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri) {
        struct listing_webdav *webdav = data;
        enum element element;

        if (webdav->listing->error != 0 || webdav->depth == 0)
                return;
        element = webdav->stack[--webdav->depth];
        if (webdav->keep_text)
                text_end(webdav, element,
                         webdav->depth > 0 ? webdav->stack[webdav->depth - 1] : OTHER);
        webdav->keep_text = false;
        if (element == PROPSTAT)
                propstat_end(webdav);
        else if (element == RESPONSE)
                response_end(webdav);
        else if (element == MULTISTATUS)
                webdav->complete = true;
}

static void on_text(void *data, const xmlChar *text, int length) {
        struct listing_webdav *webdav = data;

        if (!webdav->keep_text || webdav->listing->error != 0)
                return;
        if (webdav->text->len + (size_t)length > LISTING_ELEMENT_MAX)
                stop(webdav, -EPROTO);
        else
                g_string_append_len(webdav->text, (const char *)text, length);
}

static void on_doctype(void *data, const xmlChar *name, const xmlChar *id, const xmlChar *system) {
        stop(data, -EPROTO);
}

static void on_error(void *data, const char *format, ...) {
        /* wellFormed tells; the text would be the server's. */
}

struct listing_webdav *listing_webdav_new(struct listing *listing) {
        struct listing_webdav *webdav = g_new0(struct listing_webdav, 1);
        xmlSAXHandler sax = {
                .initialized = XML_SAX2_MAGIC,
                .startElementNs = on_start,
                .endElementNs = on_end,
                .characters = on_text,
                .cdataBlock = on_text,
                .internalSubset = on_doctype,
                .error = on_error,
                .warning = on_error,
                .fatalError = on_error,
        };

        webdav->listing = listing;
        webdav->text = g_string_new(NULL);
        webdav->parser = xmlCreatePushParserCtxt(&sax, webdav, NULL, 0, NULL);
        if (webdav->parser == NULL)
                listing_fail(listing, -ENOMEM);
        else
                xmlCtxtUseOptions(webdav->parser,
                                  XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
        return webdav;
}

static void check(struct listing_webdav *webdav) {
        if (!webdav->parser->wellFormed)
                listing_fail(webdav->listing, -EPROTO);
}

void listing_webdav_feed(struct listing_webdav *webdav, const char *bytes, size_t length) {
        (void)xmlParseChunk(webdav->parser, bytes, (int)length, 0);
        check(webdav);
}

void listing_webdav_finish(struct listing_webdav *webdav) {
        (void)xmlParseChunk(webdav->parser, NULL, 0, 1);
        check(webdav);
        if (!webdav->complete)
                listing_fail(webdav->listing, -EPROTO);
}

void listing_webdav_free(struct listing_webdav *webdav) {
        if (webdav == NULL)
                return;
        if (webdav->parser != NULL) {
                if (webdav->parser->myDoc != NULL)
                        xmlFreeDoc(webdav->parser->myDoc);
                xmlFreeParserCtxt(webdav->parser);
        }
        g_string_free(webdav->text, TRUE);
        g_free(webdav->href);
        properties_clear(&webdav->known);
        properties_clear(&webdav->claimed);
        g_free(webdav);
}
