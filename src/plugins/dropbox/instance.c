/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* instance — one engine, from its settings to its end. */

#include "plugins/dropbox/dropbox.h"

/* Dropbox adds up to 90 s of its own to a longpoll's timeout. */
#define LONGPOLL_SLACK_S 120u

uint32_t dropbox_quiet_ms(struct dropbox *db) {
        int64_t left;

        pthread_mutex_lock(&db->lock);
        left = db->quiet_until_us - g_get_monotonic_time();
        pthread_mutex_unlock(&db->lock);
        return left > 0 ? (uint32_t)(left / 1000 + 1) : 0;
}

void dropbox_be_quiet(struct dropbox *db, uint32_t ms) {
        int64_t until = g_get_monotonic_time() + (int64_t)ms * 1000;

        pthread_mutex_lock(&db->lock);
        db->quiet_until_us = MAX(db->quiet_until_us, until);
        pthread_mutex_unlock(&db->lock);
}

/* Common.PathRoot. The mode `root` lets Dropbox say when the root has become another one. */
char *dropbox_path_root(struct dropbox *db) {
        bool root = g_str_equal(db->settings.path_root, "root");
        char *value = NULL;

        pthread_mutex_lock(&db->lock);
        if (db->namespace != NULL)
                value = g_strdup_printf("{\".tag\": \"%s\", \"%s\": \"%s\"}", root ? "root" : "namespace_id",
                                        root ? "root" : "namespace_id", db->namespace);
        pthread_mutex_unlock(&db->lock);
        return value;
}

static const char *get_setting(void *data, const char *key) {
        const struct cs_host *host = data;

        return host->setting(host, key);
}

static void login_changed(void *data) {
        struct dropbox *db = data;

        pthread_mutex_lock(&db->lock);
        g_clear_pointer(&db->refused, g_free); /* it was another login that was refused */
        pthread_mutex_unlock(&db->lock);
        condition_report(db);
        sync_login_changed(db);
}

static int clients_open(struct dropbox *db, char **ret_detail) {
        const struct settings *settings = &db->settings;
        struct http_options options = {
                .proxy = settings->proxy,
                .ca_file = settings->cacert,
                .connect_timeout_ms = settings->connect_timeout_ms,
                .stall_timeout_ms = settings->stall_timeout_ms,
                .max_connections = settings->max_connections,
                .http2 = true,
        };
        int r = http_client_new(&options, &db->client, ret_detail);

        if (r < 0)
                return r;
        options.max_connections = 1;
        options.stall_timeout_ms = (settings->longpoll_s + LONGPOLL_SLACK_S) * 1000;
        return http_client_new(&options, &db->notify, ret_detail);
}

static int state_open(struct dropbox *db, char **ret_detail) {
        const struct settings *settings = &db->settings;
        g_autofree char *file = db->host->state_dir
                                        ? g_build_filename(db->host->state_dir, "index.sqlite", NULL)
                                        : NULL;
        int r = index_open(file, &db->index, ret_detail);

        if (r < 0)
                return r;
        db->complete = index_get_number(db->index, "complete") == 1;
        db->auth = auth_new(&(struct auth_options){
                .engine_id = db->host->id,
                .app_key = settings->app_key,
                .api_url = settings->api_url,
                .www_url = settings->www_url,
                .state_dir = db->host->state_dir,
                .token = db->host->setting(db->host, CS_SETTING_TOKEN),
                .client = db->client,
                .changed = login_changed,
                .data = db,
        });
        return 0;
}

void dropbox_free(struct dropbox *db) {
        sync_stop(db);
        list_threads_stop(db);
        http_client_free(db->notify);
        http_client_free(db->client);
        auth_free(db->auth);
        index_free(db->index);
        verify_free(db->verify);
        g_hash_table_unref(db->fetches);
        g_free(db->namespace);
        g_free(db->root_lower);
        g_free(db->refused);
        g_free(db->busy);
        pthread_mutex_destroy(&db->condition_lock);
        pthread_cond_destroy(&db->wake);
        pthread_cond_destroy(&db->lists_wake);
        pthread_cond_destroy(&db->directs_wake);
        pthread_mutex_destroy(&db->lock);
        settings_clear(&db->settings);
        g_free(db);
}

static struct dropbox *dropbox_new(const struct cs_host *host) {
        struct dropbox *db = g_new0(struct dropbox, 1);
        g_autofree char *hashes = NULL;
        pthread_condattr_t attr;

        db->host = host;
        pthread_mutex_init(&db->lock, NULL);
        pthread_mutex_init(&db->condition_lock, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&db->wake, &attr);
        pthread_condattr_destroy(&attr);
        pthread_cond_init(&db->lists_wake, NULL);
        pthread_cond_init(&db->directs_wake, NULL);
        db->fetches = g_hash_table_new(NULL, NULL);
        hashes = host->state_dir ? g_build_filename(host->state_dir, "hashes", NULL) : NULL;
        db->verify = verify_new(hashes);
        db->root_lower = g_strdup("");
        g_queue_init(&db->waiting);
        g_queue_init(&db->lists);
        return db;
}

int dropbox_open(const struct cs_host *host, void **instance) {
        struct dropbox *db = dropbox_new(host);
        g_autofree char *detail = NULL;
        int r = settings_parse(get_setting, (void *)host, &db->settings, &detail);

        if (r == 0)
                r = clients_open(db, &detail);
        if (r == 0)
                r = state_open(db, &detail);
        if (r == 0)
                r = list_threads_start(db);
        if (r == 0)
                r = sync_start(db);
        if (r < 0) {
                host->log(host, CS_LOG_ERROR, "%s", detail ? detail : g_strerror(-r));
                dropbox_free(db);
                return r;
        }
        if (host->state_dir == NULL)
                host->log(host, CS_LOG_WARNING, "there is no state directory: login and listing end with "
                                                "the process");
        if (g_str_has_prefix(db->settings.api_url, "http:") ||
            g_str_has_prefix(db->settings.content_url, "http:"))
                host->log(host, CS_LOG_WARNING, "the login travels unencrypted to %s", db->settings.api_url);
        condition_report(db);
        *instance = db;
        return 0;
}
