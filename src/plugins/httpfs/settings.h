/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* settings — what the administrator wrote, checked. */

#include <cloudsync/engine.h>
#include <stdbool.h>
#include <stdint.h>

#include "plugins/common/setting.h"

enum settings_listing {
        SETTINGS_AUTO,
        SETTINGS_HTML,
        SETTINGS_JSON,
        SETTINGS_WEBDAV,
        SETTINGS_MANIFEST,
};

struct settings {
        char *url; /* see url_parse_base() */
        enum settings_listing listing;
        char *manifest; /* locator; NULL: none */
        char *authorization; /* the header's value; NULL: none. Never to be logged. */
        char *proxy, *cacert, *user_agent;
        uint32_t connect_timeout_ms, stall_timeout_ms, max_connections;
        bool http2, verify;
};

/* For cs_engine_ops.settings. */
extern const struct cs_setting_info settings_info[];

/* 0, or -EINVAL and a sentence in *ret_detail (to g_free(); no secrets). Reads the netrc file. */
int settings_parse(setting_get_fn get, void *data, struct settings *ret, char **ret_detail);
void settings_clear(struct settings *settings);
