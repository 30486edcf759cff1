/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unruly — an engine that misbehaves as its setting "mode" says
 *
 *     fine       two files: "small" (1,000 bytes) and "large" (3,000,000 bytes)
 *     open       aborts in open(): crashes at once on every start
 *     refuse     open() fails with a sentence
 *     list       aborts in list()
 *     fetch      aborts in every fetch() after half of it
 *     once       aborts in the first fetch() of this machine's engine (a file in state_dir tells)
 *     hang       never ends a fetch, and does not react to cancel
 *     short      says 0 after half of what was asked for
 *     too-much   writes more than it was asked for
 *     names      lists names that no directory may have, and two good ones
 *     errno      ends each fetch with the number in "errno"
 *
 * Byte i of a file is (i * 7 + i / 4096) & 0xff, never all zeros for long.
 */

#include <cloudsync/engine.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct unruly {
        const struct cs_host *host;
        const char *mode;
};

static int unruly_open(const struct cs_host *host, void **instance) {
        struct unruly *u = calloc(1, sizeof *u);

        if (u == NULL)
                return -ENOMEM;
        u->host = host;
        u->mode = host->setting(host, "mode");
        if (u->mode == NULL)
                u->mode = "fine";
        if (strcmp(u->mode, "open") == 0)
                abort();
        if (strcmp(u->mode, "refuse") == 0) {
                host->log(host, CS_LOG_ERROR, "it does not want to");
                free(u);
                return -EINVAL;
        }
        *instance = u;
        return 0;
}

static void unruly_close(void *instance) {
        free(instance);
}

static void entry(struct unruly *u, struct cs_request *request, const char *name, uint64_t size) {
        struct cs_entry e = {
                .kind = CS_KIND_FILE, .name = name, .size = size, .mtime_sec = 1500000000, .mode = 0640,
        };

        u->host->entry(u->host, request, &e);
}

static void unruly_list(void *instance, struct cs_request *request, const char *locator) {
        struct unruly *u = instance;
        char long_name[300];

        (void)locator;
        if (strcmp(u->mode, "list") == 0)
                abort();
        if (strcmp(u->mode, "names") == 0) {
                memset(long_name, 'n', sizeof long_name - 1);
                long_name[sizeof long_name - 1] = '\0';
                entry(u, request, "..", 10);
                entry(u, request, ".", 10);
                entry(u, request, "", 10);
                entry(u, request, "a/b", 10);
                entry(u, request, "../../etc/passwd", 10);
                entry(u, request, long_name, 10);
        }
        entry(u, request, "small", 1000);
        entry(u, request, "large", 3000000);
        u->host->done(u->host, request, 0, 0, NULL);
}

static void unruly_stat(void *instance, struct cs_request *request, const char *locator) {
        struct unruly *u = instance;

        entry(u, request, locator, strcmp(locator, "small") == 0 ? 1000 : 3000000);
        u->host->done(u->host, request, 0, 0, NULL);
}

static int deliver(struct unruly *u, struct cs_request *request, uint64_t begin, uint64_t end) {
        unsigned char buffer[10000];

        while (begin < end) {
                size_t n = end - begin < sizeof buffer ? (size_t)(end - begin) : sizeof buffer;
                for (size_t i = 0; i < n; i++)
                        buffer[i] = (unsigned char)((begin + i) * 7 + (begin + i) / 4096);
                int r = u->host->write(u->host, request, buffer, n);
                if (r < 0)
                        return r;
                begin += n;
        }
        return 0;
}

static int first_time(struct unruly *u) {
        char path[4096];
        int fd;

        if (u->host->state_dir == NULL)
                return 0;
        snprintf(path, sizeof path, "%s/crashed", u->host->state_dir);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0)
                close(fd);
        return fd >= 0;
}

static void unruly_fetch(void *instance, struct cs_request *request, const struct cs_fetch *fetch) {
        struct unruly *u = instance;
        const char *mode = u->mode;
        uint64_t end = fetch->offset + fetch->length, half = fetch->offset + (fetch->length + 1) / 2;
        int r;

        if (strcmp(mode, "hang") == 0)
                for (;;)
                        pause();
        if (strcmp(mode, "errno") == 0) {
                const char *number = u->host->setting(u->host, "errno");
                u->host->done(u->host, request, number != NULL ? -atoi(number) : -EIO, 0, "as it was told");
                return;
        }
        r = deliver(u, request, fetch->offset, half);
        if (strcmp(mode, "fetch") == 0 || (strcmp(mode, "once") == 0 && first_time(u)))
                abort();
        if (r == 0 && strcmp(mode, "short") != 0)
                r = deliver(u, request, half, end);
        if (r == 0 && strcmp(mode, "too-much") == 0)
                r = deliver(u, request, end, end + 100000);
        u->host->done(u->host, request, r, 0, NULL);
}

static const struct cs_setting_info settings[] = {
        {"mode", "how to misbehave", 0},
        {"errno", "what each fetch ends with", 0},
        {NULL, NULL, 0},
};

static const struct cs_engine_ops ops = {
        .abi = CLOUDSYNC_ENGINE_ABI,
        .struct_size = sizeof(struct cs_engine_ops),
        .name = "unruly",
        .description = "misbehaves, for tests",
        .max_requests = 8,
        .settings = settings,
        .open = unruly_open,
        .close = unruly_close,
        .list = unruly_list,
        .stat = unruly_stat,
        .fetch = unruly_fetch,
};

const struct cs_engine_ops *cloudsync_engine(void);
const struct cs_engine_ops *cloudsync_engine(void) {
        return &ops;
}
