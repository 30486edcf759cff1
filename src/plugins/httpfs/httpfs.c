/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/httpfs.h"

#include <errno.h>
#include <libxml/parser.h>

#include "plugins/common/url.h"

static const char *get_setting(void *data, const char *key) {
        const struct cs_host *host = data;

        return host->setting(host, key);
}

static void httpfs_free(struct httpfs *fs) {
        http_client_free(fs->client);
        manifest_free(fs->manifest);
        g_free(fs->manifest_etag);
        g_hash_table_destroy(fs->ops);
        pthread_mutex_destroy(&fs->lock);
        settings_clear(&fs->settings);
        g_free(fs);
}

static void mode_from_settings(struct httpfs *fs) {
        fs->mode = MODE_LISTING;
        switch (fs->settings.listing) {
        case SETTINGS_AUTO:
                fs->mode = MODE_UNKNOWN;
                break;
        case SETTINGS_HTML:
                fs->format = LISTING_HTML_ANY;
                break;
        case SETTINGS_JSON:
                fs->format = LISTING_JSON;
                break;
        case SETTINGS_WEBDAV:
                fs->format = LISTING_WEBDAV;
                break;
        case SETTINGS_MANIFEST:
                fs->mode = MODE_MANIFEST;
                break;
        }
}

static int client_open(struct httpfs *fs, char **ret_detail) {
        const struct settings *settings = &fs->settings;

        return http_client_new(
                &(struct http_options){
                        .user_agent = settings->user_agent,
                        .proxy = settings->proxy,
                        .ca_file = settings->cacert,
                        .insecure = !settings->verify,
                        .connect_timeout_ms = settings->connect_timeout_ms,
                        .stall_timeout_ms = settings->stall_timeout_ms,
                        .max_connections = settings->max_connections,
                        .http2 = settings->http2,
                },
                &fs->client, ret_detail);
}

static int httpfs_open(const struct cs_host *host, void **instance) {
        struct httpfs *fs = g_new0(struct httpfs, 1);
        g_autofree char *detail = NULL;
        int r;

        xmlInitParser();
        fs->host = host;
        fs->ops = g_hash_table_new(NULL, NULL);
        pthread_mutex_init(&fs->lock, NULL);
        r = settings_parse(get_setting, (void *)host, &fs->settings, &detail);
        if (r >= 0)
                r = client_open(fs, &detail);
        if (r < 0) {
                host->log(host, CS_LOG_ERROR, "%s", detail);
                httpfs_free(fs);
                return r;
        }
        mode_from_settings(fs);
        if (fs->settings.authorization != NULL && g_str_has_prefix(fs->settings.url, "http:"))
                host->log(host, CS_LOG_WARNING, "the credentials travel unencrypted to %s",
                          fs->settings.url);
        if (!fs->settings.verify)
                host->log(host, CS_LOG_WARNING,
                          "verify=no: anyone on the way can change the files");
        *instance = fs;
        return 0;
}

static void httpfs_close(void *instance) {
        httpfs_free(instance);
}

static void httpfs_list(void *instance, struct cs_request *request, const char *locator) {
        list_start(instance, request, locator);
}

static void httpfs_stat(void *instance, struct cs_request *request, const char *locator) {
        stat_start(instance, request, locator);
}

static void httpfs_fetch(void *instance, struct cs_request *request, const struct cs_fetch *fetch) {
        fetch_start(instance, request, fetch);
}

static void httpfs_cancel(void *instance, struct cs_request *request) {
        op_cancel(instance, request);
}

static const struct cs_engine_ops ops = {
        .abi = CLOUDSYNC_ENGINE_ABI,
        .struct_size = sizeof(struct cs_engine_ops),
        .name = "httpfs",
        .description = "files of a web server: index pages, WebDAV or a manifest",
        .flags = CS_ENGINE_NONBLOCKING,
        .max_requests = 96,
        .settings = settings_info,
        .open = httpfs_open,
        .close = httpfs_close,
        .list = httpfs_list,
        .stat = httpfs_stat,
        .fetch = httpfs_fetch,
        .cancel = httpfs_cancel,
};

__attribute__((visibility("default"))) const struct cs_engine_ops *cloudsync_engine(void);

const struct cs_engine_ops *cloudsync_engine(void) {
        return &ops;
}
