/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * liar — an engine that gets wrong all that cloudsync-engine-check looks for and that the
 * host cannot see: stat differs from the listing, ranges are no pieces of the whole, any
 * version is delivered, everything exists
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cloudsync/engine.h"

#define SIZE 5000

static const struct cs_host *host;

static int liar_open(const struct cs_host *h, void **instance) {
        host = h;
        *instance = NULL;
        return 0;
}

static void liar_close(void *instance) {
}

static void liar_list(void *instance, struct cs_request *r, const char *locator) {
        struct cs_entry e = {.kind = CS_KIND_FILE, .name = "file", .size = SIZE, .version = "17"};

        (void)host->entry(host, r, &e);
        e.name = "../escape";
        (void)host->entry(host, r, &e);
        host->done(host, r, 0, 0, NULL);
}

static void liar_stat(void *instance, struct cs_request *r, const char *locator) {
        struct cs_entry e = {.kind = CS_KIND_FILE, .size = SIZE + 1, .version = "17"};

        (void)host->entry(host, r, &e);
        host->done(host, r, 0, 0, NULL);
}

static void liar_fetch(void *instance, struct cs_request *r, const struct cs_fetch *f) {
        char bytes[SIZE];

        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (char)(i % 251 + f->length);
        (void)host->write(host, r, bytes, f->length);
        if (f->length == SIZE)
                usleep(20000);
        host->done(host, r, 0, 0, NULL);
}

/* What lies behind the end of the table is no operation of ours. */
static int liar_login(void *instance, enum cs_login_step step, const char *text, char *reply,
                      size_t size) {
        abort();
}

static const struct cs_engine_ops ops = {
        .abi = CLOUDSYNC_ENGINE_ABI,
        .struct_size = offsetof(struct cs_engine_ops, login),
        .login = liar_login,
        .name = MODULE_NAME,
        .description = "gets it wrong",
        .open = liar_open,
        .close = liar_close,
        .list = liar_list,
        .stat = liar_stat,
        .fetch = liar_fetch,
};

const struct cs_engine_ops *cloudsync_engine(void);

__attribute__((visibility("default"))) const struct cs_engine_ops *cloudsync_engine(void) {
        return &ops;
}
