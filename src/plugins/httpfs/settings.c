/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/settings.h"

#include <curl/curl.h>
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "plugins/common/http.h"
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

struct source {
        settings_get_fn get;
        void *data;
        char **detail;
};

static int refuse(struct source *source, const char *format, ...) G_GNUC_PRINTF(2, 3);

static int refuse(struct source *source, const char *format, ...) {
        va_list args;

        va_start(args, format);
        *source->detail = g_strdup_vprintf(format, args);
        va_end(args);
        return -EINVAL;
}

/* The value, or NULL when it is absent or empty. */
static const char *get(struct source *source, const char *key) {
        const char *value = source->get(source->data, key);

        return value && *value ? value : NULL;
}

static bool is_plain(const char *s) {
        for (; *s; s++)
                if ((unsigned char)*s < 0x20 || *s == 0x7f)
                        return false;
        return true;
}

static int get_number(struct source *source, const char *key, uint32_t low, uint32_t high,
                      uint32_t fallback, uint32_t *ret) {
        const char *value = get(source, key);
        uint64_t n;

        *ret = fallback;
        if (value == NULL)
                return 0;
        if (http_parse_number(value, &n) < 0 || n < low || n > high)
                return refuse(source, "%s has to be a number from %u to %u", key, low, high);
        *ret = (uint32_t)n;
        return 0;
}

static int get_bool(struct source *source, const char *key, bool fallback, bool *ret) {
        const char *value = get(source, key);

        *ret = fallback;
        if (value == NULL)
                return 0;
        if (!g_str_equal(value, "yes") && !g_str_equal(value, "no"))
                return refuse(source, "%s has to be yes or no", key);
        *ret = g_str_equal(value, "yes");
        return 0;
}

static int get_text(struct source *source, const char *key, char **ret) {
        const char *value = get(source, key);

        if (value != NULL && !is_plain(value))
                return refuse(source, "%s has control characters in it", key);
        *ret = g_strdup(value);
        return 0;
}

static int parse_url(struct source *source, struct settings *settings) {
        const char *url = get(source, "url"), *why;

        if (url == NULL)
                return refuse(source,
                              "url is required, for example url=https://example.org/files/");
        if (url_parse_base(url, &settings->url, &why) < 0)
                return refuse(source, "url cannot be used: %s", why);
        return 0;
}

static int parse_listing(struct source *source, struct settings *settings) {
        static const char *const names[] = {"auto", "html", "json", "webdav", "manifest"};
        const char *listing = get(source, "listing"), *manifest = get(source, "manifest");
        size_t i = 0;

        if (listing != NULL) {
                while (i < G_N_ELEMENTS(names) && !g_str_equal(listing, names[i]))
                        i++;
                if (i == G_N_ELEMENTS(names))
                        return refuse(source,
                                      "listing has to be auto, html, json, webdav or manifest");
        }
        settings->listing = (enum settings_listing)i;
        if (manifest == NULL && settings->listing == SETTINGS_MANIFEST)
                return refuse(source, "listing=manifest needs manifest=NAME");
        if (manifest == NULL)
                return 0;
        if (listing != NULL && settings->listing != SETTINGS_MANIFEST)
                return refuse(source, "manifest goes with listing=manifest, not with listing=%s",
                              names[settings->listing]);
        if (!url_locator_is_valid(manifest) || !is_plain(manifest))
                return refuse(source, "manifest has to be a path below url, without \"..\"");
        settings->listing = SETTINGS_MANIFEST;
        settings->manifest = g_strdup(manifest);
        return 0;
}

static int set_basic(struct source *source, struct settings *settings, const char *username,
                     const char *password) {
        g_autofree char *pair = NULL, *encoded = NULL;

        if (strchr(username, ':') != NULL)
                return refuse(source, "a username must not contain ':'");
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

static int read_netrc(struct source *source, struct settings *settings, const char *file) {
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL, *host = host_of(settings->url);
        g_autofree char *login = NULL, *password = NULL;
        gsize length;
        int r;

        if (!g_file_get_contents(file, &text, &length, &error))
                return refuse(source, "netrc: %s", error->message);
        r = length > NETRC_MAX ? -EINVAL
                               : netrc_find(text, length, host ? host : "", &login, &password);
        if (r == -ENOENT)
                return refuse(source, "netrc: %s has no entry for %s", file, host);
        if (r < 0)
                return refuse(source, "netrc: %s is malformed", file);
        return set_basic(source, settings, login ? login : "", password);
}

static int parse_credentials(struct source *source, struct settings *settings) {
        const char *username = get(source, "username"), *password = get(source, "password");
        const char *bearer = get(source, "bearer"), *netrc = get(source, "netrc");

        if (password != NULL && username == NULL)
                return refuse(source, "password needs a username");
        if ((username != NULL) + (bearer != NULL) + (netrc != NULL) > 1)
                return refuse(source, "only one of username, bearer and netrc can be used");
        if (username != NULL)
                return set_basic(source, settings, username, password);
        if (netrc != NULL)
                return read_netrc(source, settings, netrc);
        if (bearer == NULL)
                return 0;
        if (!is_plain(bearer) || strchr(bearer, ' ') != NULL)
                return refuse(source, "bearer has to be one word");
        settings->authorization = g_strdup_printf("Bearer %s", bearer);
        return 0;
}

static int parse_connection(struct source *source, struct settings *settings) {
        uint32_t connect_s, stall_s;
        int r;

        if ((r = get_text(source, "proxy", &settings->proxy)) < 0 ||
            (r = get_text(source, "cacert", &settings->cacert)) < 0 ||
            (r = get_text(source, "user_agent", &settings->user_agent)) < 0 ||
            (r = get_bool(source, "verify", true, &settings->verify)) < 0 ||
            (r = get_bool(source, "http2", true, &settings->http2)) < 0 ||
            (r = get_number(source, "connect_timeout", 1, 3600, 30, &connect_s)) < 0 ||
            (r = get_number(source, "stall_timeout", 1, 3600, 60, &stall_s)) < 0 ||
            (r = get_number(source, "max_connections", 1, 256, 32, &settings->max_connections)) < 0)
                return r;
        settings->connect_timeout_ms = connect_s * 1000;
        settings->stall_timeout_ms = stall_s * 1000;
        return 0;
}

int settings_parse(settings_get_fn get_fn, void *data, struct settings *ret, char **ret_detail) {
        struct source source = {get_fn, data, ret_detail};
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
