/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The module's one symbol. */

#include "plugins/dropbox/dropbox.h"

static void dropbox_close(void *instance) {
        dropbox_free(instance);
}

static void dropbox_list(void *instance, struct cs_request *request, const char *locator) {
        list_start(instance, request, locator);
}

static void dropbox_stat(void *instance, struct cs_request *request, const char *locator) {
        stat_start(instance, request, locator);
}

static void dropbox_fetch(void *instance, struct cs_request *request, const struct cs_fetch *fetch) {
        fetch_start(instance, request, fetch);
}

static void dropbox_cancel(void *instance, struct cs_request *request) {
        if (!list_cancel(instance, request))
                fetch_cancel(instance, request);
}

static const struct cs_engine_ops ops = {
        .abi = CLOUDSYNC_ENGINE_ABI,
        .struct_size = sizeof(struct cs_engine_ops),
        .name = "dropbox",
        .description = "a Dropbox: every file there, fetched when it is read",
        .max_requests = 64,
        .settings = settings_info,
        .open = dropbox_open,
        .close = dropbox_close,
        .list = dropbox_list,
        .stat = dropbox_stat,
        .fetch = dropbox_fetch,
        .cancel = dropbox_cancel,
        .login = dropbox_login,
};

__attribute__((visibility("default"))) const struct cs_engine_ops *cloudsync_engine(void);

const struct cs_engine_ops *cloudsync_engine(void) {
        return &ops;
}
