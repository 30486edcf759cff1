/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/settings.h"

#include <curl/curl.h>
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "plugins/common/netrc.h"
#include "plugins/common/url.h"

#define NETRC_MAX (1024u * 1024)

const struct cs_setting_info settings_info[] = {
        {"url", "the directory to show, http:// or https:// (required)", 1},
        {"listing", "how the server lists: auto, html, json (nginx), webdav or manifest [auto]", 0},
        {"manifest", "the manifest's name below url, JSON lines; implies listing=manifest", 0},
        {"username", "for HTTP basic authentication", 0},
        {"password", "for HTTP basic authentication", 0},
        {"bearer", "a token for HTTP bearer authentication", 0},
        {"netrc", "a file with the credentials of url's host, in .netrc format", 0},
        {"proxy", "the proxy's URL; the environment's is not used [none]", 0},
        {"cacert", "a PEM file with the certificates to trust [the system's]", 0},
        {"verify", "yes or no: check the server's certificate [yes]", 0},
        {"connect_timeout", "seconds, 1 to 3600 [30]", 0},
        {"stall_timeout", "seconds without a byte before a transfer is tried again, 1 to 3600 [60]",
         0},
        {"max_connections", "at once, 1 to 256 [32]", 0},
        {"http2", "yes or no: HTTP/2 where TLS offers it [yes]", 0},
        {"user_agent", "what to say in User-Agent [cloudsync/VERSION]", 0},
        {NULL, NULL, 0},
};

static int parse_url(struct setting_source *source, struct settings *settings) {
        if (setting_get(source, "url") == NULL)
                return setting_refuse(source,
                                      "url is required, for example url=https://example.org/files/");
        return setting_url(source, "url", NULL, &settings->url);
}

static int parse_listing(struct setting_source *source, struct settings *settings) {
        static const char *const names[] = {"auto", "html", "json", "webdav", "manifest"};
        const char *listing = setting_get(source, "listing"), *manifest = setting_get(source, "manifest");
        size_t i = 0;

        if (listing != NULL) {
                while (i < G_N_ELEMENTS(names) && !g_str_equal(listing, names[i]))
                        i++;
                if (i == G_N_ELEMENTS(names))
                        return setting_refuse(source,
                                      "listing has to be auto, html, json, webdav or manifest");
        }
        settings->listing = (enum settings_listing)i;
        if (manifest == NULL && settings->listing == SETTINGS_MANIFEST)
                return setting_refuse(source, "listing=manifest needs manifest=NAME");
        if (manifest == NULL)
                return 0;
        if (listing != NULL && settings->listing != SETTINGS_MANIFEST)
                return setting_refuse(source, "manifest goes with listing=manifest, not with listing=%s",
                              names[settings->listing]);
        if (!url_locator_is_valid(manifest) || !setting_is_plain(manifest))
                return setting_refuse(source, "manifest has to be a path below url, without \"..\"");
        settings->listing = SETTINGS_MANIFEST;
        settings->manifest = g_strdup(manifest);
        return 0;
}

static int set_basic(struct setting_source *source, struct settings *settings, const char *username,
                     const char *password) {
        g_autofree char *pair = NULL, *encoded = NULL;

        if (strchr(username, ':') != NULL)
                return setting_refuse(source, "a username must not contain ':'");
        pair = g_strdup_printf("%s:%s", username, password ? password : "");
        encoded = g_base64_encode((const guchar *)pair, strlen(pair));
        settings->authorization = g_strdup_printf("Basic %s", encoded);
        return 0;
}

static char *host_of(const char *url) {
        CURLU *u = curl_url();
        char *part = NULL, *host = NULL;

        if (u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
            curl_url_get(u, CURLUPART_HOST, &part, 0) == CURLUE_OK)
                host = g_strdup(part);
        curl_free(part);
        curl_url_cleanup(u);
        return host;
}

static int read_netrc(struct setting_source *source, struct settings *settings, const char *file) {
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL, *host = host_of(settings->url);
        g_autofree char *login = NULL, *password = NULL;
        gsize length;
        int r;

        if (!g_file_get_contents(file, &text, &length, &error))
                return setting_refuse(source, "netrc: %s", error->message);
        r = length > NETRC_MAX ? -EINVAL
                               : netrc_find(text, length, host ? host : "", &login, &password);
        if (r == -ENOENT)
                return setting_refuse(source, "netrc: %s has no entry for %s", file, host);
        if (r < 0)
                return setting_refuse(source, "netrc: %s is malformed", file);
        return set_basic(source, settings, login ? login : "", password);
}

static int parse_credentials(struct setting_source *source, struct settings *settings) {
        const char *username = setting_get(source, "username"), *password = setting_get(source, "password");
        const char *bearer = setting_get(source, "bearer"), *netrc = setting_get(source, "netrc");

        if (password != NULL && username == NULL)
                return setting_refuse(source, "password needs a username");
        if ((username != NULL) + (bearer != NULL) + (netrc != NULL) > 1)
                return setting_refuse(source, "only one of username, bearer and netrc can be used");
        if (username != NULL)
                return set_basic(source, settings, username, password);
        if (netrc != NULL)
                return read_netrc(source, settings, netrc);
        if (bearer == NULL)
                return 0;
        if (!setting_is_plain(bearer) || strchr(bearer, ' ') != NULL)
                return setting_refuse(source, "bearer has to be one word");
        settings->authorization = g_strdup_printf("Bearer %s", bearer);
        return 0;
}

static int parse_connection(struct setting_source *source, struct settings *settings) {
        int r;

        if ((r = setting_text(source, "proxy", &settings->proxy)) < 0 ||
            (r = setting_text(source, "cacert", &settings->cacert)) < 0 ||
            (r = setting_text(source, "user_agent", &settings->user_agent)) < 0 ||
            (r = setting_bool(source, "verify", true, &settings->verify)) < 0 ||
            (r = setting_bool(source, "http2", true, &settings->http2)) < 0 ||
            (r = setting_timeout(source, "connect_timeout", 30, &settings->connect_timeout_ms)) < 0 ||
            (r = setting_timeout(source, "stall_timeout", 60, &settings->stall_timeout_ms)) < 0 ||
            (r = setting_number(source, "max_connections", 1, 256, 32, &settings->max_connections)) < 0)
                return r;
        return 0;
}

int settings_parse(setting_get_fn get_fn, void *data, struct settings *ret, char **ret_detail) {
        struct setting_source source = {get_fn, data, ret_detail};
        int r;

        *ret = (struct settings){0};
        *ret_detail = NULL;
        if ((r = parse_url(&source, ret)) < 0 || (r = parse_listing(&source, ret)) < 0 ||
            (r = parse_credentials(&source, ret)) < 0 || (r = parse_connection(&source, ret)) < 0)
                settings_clear(ret);
        return r;
}

void settings_clear(struct settings *settings) {
        g_free(settings->url);
        g_free(settings->manifest);
        g_free(settings->authorization);
        g_free(settings->proxy);
        g_free(settings->cacert);
        g_free(settings->user_agent);
        *settings = (struct settings){0};
}
