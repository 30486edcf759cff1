/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * web-servers — real servers on free ports of 127.0.0.1, for one tree
 *
 * Each has its configuration, logs and pid in a directory of its own below `base`, is
 * ended by its pid, and also when this process dies.
 */

#include <glib.h>
#include <stdbool.h>

struct server {
        const char *name;
        GPid pid; /* 0: not running */
        int port;
        char *directory;
        char *why_not; /* it could not be started: for the skip */
};

enum nginx_kind { NGINX_HTML, NGINX_JSON, NGINX_TLS };

/* `tree`: what is served. On failure pid is 0, and why_not says why. */
struct server *server_nginx(const char *base, const char *tree, enum nginx_kind kind,
                            const char *extra);
struct server *server_lighttpd(const char *base, const char *tree, bool webdav);
struct server *server_apache(const char *base, const char *tree, bool webdav);
struct server *server_python(const char *base, const char *script, const char *const *arguments);
void server_stop(struct server *server);
void server_free(struct server *server); /* stops it too */

/* "http://127.0.0.1:PORT/" (https for NGINX_TLS: give the scheme). To g_free(). */
char *server_url(const struct server *server, const char *scheme, const char *path);

/* A CA and a certificate for 127.0.0.1 in `base`: ca.pem, cert.pem, key.pem. */
bool make_certificates(const char *base);
