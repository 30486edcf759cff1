/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of httpfs-test share. */

#include "engine-fake.h"
#include "web-servers.h"

struct context {
        const char *module; /* httpfs.so */
        char *base;         /* a directory of this run's own */
        char *tree;         /* base/tree: what the real servers serve */
        struct server *faulty, *other;
};

extern struct context context;

void add_real_tests(void);
void add_fault_tests(void);
void add_list_tests(void);
void add_bench(void);

/* Opens, or fails the test. */
struct fake *open_fs(const char *const *settings);
/* The faulty server's URL. To g_free(). */
char *faulty_url(const char *path);
/* GET of a faulty server's path, past the module. To g_free(). */
char *server_ask(const struct server *server, const char *path);

static inline void fake_cleanup(struct fake **p) {
        if (*p != NULL)
                fake_close(*p);
}
static inline void request_cleanup(struct cs_request **p) {
        if (*p != NULL)
                request_free(*p);
}
#define auto_fake __attribute__((cleanup(fake_cleanup)))
#define auto_request __attribute__((cleanup(request_cleanup)))
