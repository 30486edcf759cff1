/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * url — locators to URLs and back. Pure.
 *
 * A locator is a path relative to the engine's URL, percent-decoded: "" is the
 * root, "a/b c/d" a file. It has no empty, "." or ".." component. Bytes other
 * than RFC 3986's unreserved characters (and '/') are always encoded, so that
 * url → locator → url is the same for every server.
 */

#include <stdbool.h>
#include <stddef.h>

#define URL_MAX 16384u

/* 0 and a normalised copy in *ret (to g_free()): http or https, a host, a path that ends with
 * '/', no query, no fragment, no user; -EINVAL and a sentence in *ret_detail (static). */
int url_parse_base(const char *url, char **ret, const char **ret_detail);

/* Is it "" or components of 1 to 255 bytes, none "." or ".."? */
bool url_locator_is_valid(const char *locator);

/* base + the encoded locator (+ '/' for a directory that is not the root).
 * `base` as url_parse_base() made it. To g_free(). */
char *url_join(const char *base, const char *locator, bool directory);

/* Decodes %XX in [s, s + length); 0, or -EINVAL: malformed escape, an encoded or
 * literal NUL, or an encoded '/'. *ret to g_free(). */
int url_decode(const char *s, size_t length, char **ret);

/* A URL without "user:password@", for people; a string that does not parse becomes
 * "(malformed URL)". To g_free(). */
char *url_printable(const char *url);

/* Do both have the same scheme, host and port? False when one does not parse. */
bool url_same_origin(const char *a, const char *b);

/* `reference` resolved against `base` (RFC 3986 5.2): 0 and *ret (to g_free(); http or
 * https, without user, password and fragment), or -EINVAL. */
int url_resolve(const char *base, const char *reference, char **ret);
