/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* settings — what the administrator wrote, checked. */

#include <cloudsync/engine.h>
#include <stdint.h>

#include "plugins/common/setting.h"

struct filter;

struct settings {
        char *app_key;
        char *root;      /* "" or "/Folder/Below": what is shown */
        char *path_root; /* "home", "root" or a namespace's number */
        struct filter *filter;
        char *fingerprint; /* of what decides which entries are in the index */
        char *api_url, *content_url, *notify_url, *www_url; /* end with '/' */
        char *proxy, *cacert;
        uint32_t connect_timeout_ms, stall_timeout_ms, max_connections, longpoll_s;
};

/* For cs_engine_ops.settings. */
extern const struct cs_setting_info settings_info[];

/* 0, or -EINVAL and a sentence in *ret_detail (to g_free()). */
int settings_parse(setting_get_fn get, void *data, struct settings *ret, char **ret_detail);
void settings_clear(struct settings *settings);
