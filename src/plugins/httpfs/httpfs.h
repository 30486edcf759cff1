/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * httpfs — a web server's directory as a cloudsync engine
 *
 * One instance is one `struct httpfs`: settings, an HTTP client with its thread, and
 * what was learnt about the server. Every request of the host becomes an operation
 * (`struct op`, the head of list_op, stat_op and fetch_op). The host's thread only
 * makes it and hands it to the client's thread (http_run()); from there on that one
 * thread owns operation and instance, without locks. Shared is only the table of
 * operations under way, for cancel(), and an operation's `cancelled` flag.
 *
 * A locator is the object's path below the URL, percent-decoded.
 *
 *     list    GET or PROPFIND ─▶ listing ─▶ exact entries ───────────────▶ entry()
 *                                      └──▶ inexact ones ─▶ HEAD each ─▶ entry()
 *          (what a listing shows and the server does not give out is told as unknown)
 *     stat    HEAD ─▶ entry()
 *     fetch   GET with Range (and If-Range) ─▶ answer_check() ─▶ write()
 *
 * Which format a server lists in is found out once, by a probe (probe.c).
 */

#include <cloudsync/engine.h>
#include <glib.h>
#include <pthread.h>
#include <stdbool.h>

#include "plugins/common/http.h"
#include "plugins/httpfs/listing.h"
#include "plugins/httpfs/manifest.h"
#include "plugins/httpfs/settings.h"

enum mode {
        MODE_UNKNOWN,
        MODE_LISTING,  /* by index pages: httpfs.format */
        MODE_MANIFEST,
};

struct op;

struct httpfs {
        const struct cs_host *host;
        struct settings settings;
        struct http_client *client;

        pthread_mutex_t lock;
        GHashTable *ops; /* struct cs_request * → struct op *, under the lock */

        /* The client's thread only: */
        enum mode mode;
        enum listing_format format;
        bool probing;
        GQueue probe_waiters; /* of struct op */
        bool told_no_ranges;

        struct manifest *manifest;
        char *manifest_etag; /* of manifest; NULL: none */
        struct manifest *manifest_loading;
        char *manifest_loading_etag;
        GQueue manifest_waiters; /* of struct op */
        bool manifest_is_loading;
};

struct op {
        struct httpfs *fs;
        struct cs_request *request;
        uint64_t tag; /* of all its HTTP requests */
        int cancelled; /* atomic */
        bool any_mode; /* begin() without knowing the mode */
        void (*begin)(struct op *op);
        /* Called when the manifest is there, or error says why it is not. */
        void (*manifest_ready)(struct op *op, int error, const char *detail);
        void (*free)(struct op *op); /* frees all of it */
};

/* op.c: registers `op` (begin, free, and what is the caller's, are set) and calls begin()
 * on the client's thread when the mode is known. */
void op_start(struct op *op, struct httpfs *fs, struct cs_request *request);
bool op_is_cancelled(struct op *op);
/* Submits with the op's tag and the instance's credentials. As http_submit(), or -ECANCELED. */
int op_submit(struct op *op, struct http_call *call);
/* done() and free(). */
void op_done(struct op *op, int result, uint32_t retry_after_ms, const char *detail);
/* The error that an HTTP result means, 0 when there is none and the status is 2xx. */
int op_result_error(const struct http_result *result);
/* "why (GET http://…)", or what the result says when `why` is NULL. To g_free(). */
char *op_detail(const char *why, const struct http_result *result);
void op_cancel(struct httpfs *fs, struct cs_request *request);
/* host->entry() for an exact entry, or an unknown one. As that. */
int op_entry(struct op *op, const struct listing_entry *entry);

/* probe.c */
void probe_wait(struct op *op);
/* May a listing of `from` be answered by `to`? */
bool listing_redirect_is_allowed(const struct httpfs *fs, const char *from, const char *to);

/* manifest-load.c: calls op->manifest_ready(). `revalidate`: ask the server whether it changed. */
void manifest_wait(struct op *op, bool revalidate);

/* list.c, stat.c, fetch.c */
void list_start(struct httpfs *fs, struct cs_request *request, const char *locator);
void stat_start(struct httpfs *fs, struct cs_request *request, const char *locator);
void fetch_start(struct httpfs *fs, struct cs_request *request, const struct cs_fetch *fetch);
