/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/settings.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "plugins/dropbox/filter.h"

const struct cs_setting_info settings_info[] = {
        {"app_key", "the app key from the Dropbox App Console (required)", 1},
        {"root", "show only this folder of the Dropbox, for example /Work [all of it]", 0},
        {"path_root", "home, root (the team's space) or a namespace's number [home]", 0},
        {"include", "patterns of what is shown, separated by ';' [everything]", 0},
        {"exclude", "patterns of what is not shown, separated by ';' [nothing]", 0},
        {"proxy", "the proxy's URL; the environment's is not used [none]", 0},
        {"cacert", "a PEM file with the certificates to trust [the system's]", 0},
        {"connect_timeout", "seconds, 1 to 3600 [30]", 0},
        {"stall_timeout", "seconds without a byte before a transfer is tried again, 1 to 3600 [60]", 0},
        {"max_connections", "at once, 1 to 64 [16]", 0},
        {"longpoll", "seconds that one wait for changes lasts, 30 to 480 [240]", 0},
        {"api_url", "another server for tests [https://api.dropboxapi.com/]", 0},
        {"content_url", "another server for tests [https://content.dropboxapi.com/]", 0},
        {"notify_url", "another server for tests [https://notify.dropboxapi.com/]", 0},
        {"www_url", "another server for tests [https://www.dropbox.com/]", 0},
        {NULL, NULL, 0},
};

static int get_app_key(struct setting_source *source, char **ret) {
        const char *key = setting_get(source, "app_key");

        if (key == NULL)
                return setting_refuse(source, "app_key is required: make an app in the Dropbox App Console and "
                                      "take its App key");
        if (strlen(key) > 64 || key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789")] != '\0')
                return setting_refuse(source, "app_key has to be the App key of the App Console: lower-case "
                                      "letters and digits");
        *ret = g_strdup(key);
        return 0;
}

/* "/A/B" without a slash at the end; "/" and "" are all of it. */
static int get_root(struct setting_source *source, char **ret) {
        g_auto(GStrv) parts = NULL;
        GString *path;
        int r = setting_text(source, "root", ret);

        if (r < 0)
                return r;
        parts = g_strsplit(*ret ? *ret : "", "/", -1);
        path = g_string_new(NULL);
        for (guint i = 0; parts[i] != NULL; i++) {
                if (g_str_equal(parts[i], ".") || g_str_equal(parts[i], ".."))
                        r = -EINVAL;
                if (*parts[i] != '\0')
                        g_string_append_printf(path, "/%s", parts[i]);
        }
        g_free(*ret);
        *ret = g_string_free(path, FALSE);
        if (r < 0 || !g_utf8_validate(*ret, -1, NULL))
                return setting_refuse(source, "root has to be a folder of the Dropbox, for example /Work");
        return 0;
}

static int get_path_root(struct setting_source *source, char **ret) {
        const char *value = setting_get(source, "path_root");

        if (value == NULL)
                value = "home";
        if (!g_str_equal(value, "home") && !g_str_equal(value, "root") &&
            (value[strspn(value, "0123456789")] != '\0' || strlen(value) > 32))
                return setting_refuse(source, "path_root has to be home, root or a namespace's number");
        *ret = g_strdup(value);
        return 0;
}

static int get_filter(struct setting_source *source, struct settings *settings) {
        const char *include = setting_get(source, "include"), *exclude = setting_get(source, "exclude");

        if (filter_new(include, exclude, &settings->filter) < 0)
                return setting_refuse(source, "include and exclude are patterns separated by ';', for example "
                                      "exclude=*.tmp;/Backups");
        settings->fingerprint = g_strjoin("\n", "2", settings->app_key, settings->root, settings->path_root,
                                          include ? include : "", exclude ? exclude : "", NULL);
        return 0;
}

int settings_parse(setting_get_fn get_fn, void *data, struct settings *ret, char **ret_detail) {
        struct setting_source source = {get_fn, data, ret_detail};
        int r;

        *ret = (struct settings){0};
        *ret_detail = NULL;
        if ((r = get_app_key(&source, &ret->app_key)) < 0 || (r = get_root(&source, &ret->root)) < 0 ||
            (r = get_path_root(&source, &ret->path_root)) < 0 || (r = get_filter(&source, ret)) < 0 ||
            (r = setting_url(&source, "api_url", "https://api.dropboxapi.com/", &ret->api_url)) < 0 ||
            (r = setting_url(&source, "content_url", "https://content.dropboxapi.com/", &ret->content_url)) < 0 ||
            (r = setting_url(&source, "notify_url", "https://notify.dropboxapi.com/", &ret->notify_url)) < 0 ||
            (r = setting_url(&source, "www_url", "https://www.dropbox.com/", &ret->www_url)) < 0 ||
            (r = setting_text(&source, "proxy", &ret->proxy)) < 0 ||
            (r = setting_text(&source, "cacert", &ret->cacert)) < 0 ||
            (r = setting_timeout(&source, "connect_timeout", 30, &ret->connect_timeout_ms)) < 0 ||
            (r = setting_timeout(&source, "stall_timeout", 60, &ret->stall_timeout_ms)) < 0 ||
            (r = setting_number(&source, "max_connections", 1, 64, 16, &ret->max_connections)) < 0 ||
            (r = setting_number(&source, "longpoll", 30, 480, 240, &ret->longpoll_s)) < 0)
                settings_clear(ret);
        return r;
}

void settings_clear(struct settings *settings) {
        g_free(settings->app_key);
        g_free(settings->root);
        g_free(settings->path_root);
        g_free(settings->fingerprint);
        filter_free(settings->filter);
        g_free(settings->api_url);
        g_free(settings->content_url);
        g_free(settings->notify_url);
        g_free(settings->www_url);
        g_free(settings->proxy);
        g_free(settings->cacert);
        *settings = (struct settings){0};
}
