/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * engine-fake — a host for one engine module, in this process
 *
 * Loads a built module with dlopen(), as the real host does, and records what it
 * reports. What the real host would refuse (entries out of bounds, more bytes than were
 * asked for, done() twice) fails the test. Any number of requests may be under way.
 */

#include <cloudsync/engine.h>
#include <glib.h>
#include <pthread.h>
#include <stdbool.h>

struct fake;

struct fake_entry {
        enum cs_kind kind;
        char *name, *locator, *version;
        uint64_t size;
        int64_t mtime_sec;
        uint32_t mtime_nsec, mode;
};

/* The engine's `struct cs_request`. */
struct cs_request {
        struct fake *fake;
        GPtrArray *entries; /* of struct fake_entry */
        GByteArray *bytes;
        uint64_t wanted;    /* bytes of a fetch */
        unsigned refused;   /* entries answered with -EINVAL */
        unsigned cancel_after; /* entries or writes after which nobody wants more; 0: never */
        unsigned calls;
        unsigned write_delay_us; /* a dispatcher that is slow */
        bool is_stat;       /* names do not matter */
        bool discard;       /* count entries and bytes only */
        uint64_t n_entries, n_bytes;
        int is_cancelled; /* atomic */
        bool is_done;
        int result;
        uint32_t retry_after_ms;
        char *detail;
        void (*on_done)(struct cs_request *request); /* on the engine's thread; may be NULL */
        void *data;
};

struct fake {
        struct cs_host host; /* first: the module's view */
        const struct cs_engine_ops *ops;
        void *module, *instance;
        const char *const *settings; /* key, value, …, NULL */
        pthread_mutex_t lock;
        pthread_cond_t changed;
        GString *log; /* a line each, "LEVEL text\n" */
        GString *changes; /* what changed() was told, each with '\n' in front and behind */
        enum cs_condition condition; /* as the engine told it last */
        char *condition_text;        /* "" */
        unsigned conditions;         /* how often */
        bool quiet;
};

/* Settings as key, value, …, NULL; they have to live as long. open() result in *ret_result. */
struct fake *fake_open(const char *module_file, const char *const *settings, int *ret_result);
/* The same with a state directory, which has to live as long. */
struct fake *fake_open_in(const char *module_file, const char *const *settings, const char *state_dir,
                          int *ret_result);
void fake_close(struct fake *fake);
/* Is `text` in a line of the log? */
bool fake_logged(struct fake *fake, const char *text);
/* Was changed() called for this locator? Forgets it. */
bool fake_take_change(struct fake *fake, const char *locator);

/* Now, under the lock: how often a condition was told, which one is the last, and is `text` in it? */
unsigned fake_conditions(struct fake *fake);
enum cs_condition fake_condition_now(struct fake *fake);
bool fake_condition_says(struct fake *fake, const char *text);
/* Waits until the engine is in this condition, at most 60 s. */
void fake_await_condition(struct fake *fake, enum cs_condition condition);

struct cs_request *request_new(struct fake *fake);
void request_free(struct cs_request *request);
/* Until done(), at most 60 s. */
void request_wait(struct cs_request *request);

/* Start, and wait. */
struct cs_request *fake_list(struct fake *fake, const char *locator);
struct cs_request *fake_stat(struct fake *fake, const char *locator);
struct cs_request *fake_fetch(struct fake *fake, const struct cs_fetch *fetch);
struct fake_entry *request_find(struct cs_request *request, const char *name);
