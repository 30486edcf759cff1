/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * broken — modules that the host has to refuse, or that die; which one is chosen by a
 * macro (see meson.build). None of them gets as far as READY.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "cloudsync/engine.h"

static int module_open(const struct cs_host *host, void **instance) {
#if defined(BROKEN_crash)
        abort();
#elif defined(BROKEN_openfails)
        host->log(host, CS_LOG_ERROR, "the remote said: %s", "no");
        return -EACCES;
#elif defined(BROKEN_silent)
        return -ENOTUNIQ;
#endif
        return 0;
}

static void module_close(void *instance) {
}

static void module_list(void *instance, struct cs_request *request, const char *locator) {
}

#ifndef BROKEN_nofetch
static void module_fetch(void *instance, struct cs_request *request, const struct cs_fetch *fetch) {
}
#endif

static const struct cs_setting_info settings[] = {{"needed", "what it is for", 1}, {0}};

static const struct cs_engine_ops ops = {
#ifdef BROKEN_abi
        .abi = CLOUDSYNC_ENGINE_ABI + 1,
#else
        .abi = CLOUDSYNC_ENGINE_ABI,
#endif
#ifdef BROKEN_size
        .struct_size = 8,
#else
        .struct_size = sizeof(struct cs_engine_ops),
#endif
        .name = MODULE_NAME,
        .description = "broken",
#ifdef BROKEN_setting
        .settings = settings,
#endif
        .open = module_open,
        .close = module_close,
        .list = module_list,
        .stat = module_list,
#ifndef BROKEN_nofetch
        .fetch = module_fetch,
#endif
};

#ifdef BROKEN_symbol
#define cloudsync_engine something_else
#endif

const struct cs_engine_ops *cloudsync_engine(void);

__attribute__((visibility("default"))) const struct cs_engine_ops *cloudsync_engine(void) {
        (void)settings;
#ifdef BROKEN_table
        (void)ops;
        return NULL;
#else
        return &ops;
#endif
}
