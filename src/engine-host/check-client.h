/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * check-client — the daemon's side of a channel, for cloudsync-engine-check
 *
 * Starts a real engine host for a module and asks it things. Everything is on one
 * thread; answers arrive while some call waits. Answers belong to the client.
 */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cloudsync/engine.h"
#include "shared/channel.h"

struct item { /* a copy of an entry */
        enum cs_kind kind;
        char *name, *locator, *version; /* version: or NULL */
        uint64_t size;
        int64_t mtime_sec;
        uint32_t mtime_nsec, mode;
};

struct answer {
        uint64_t id;
        enum channel_type type;
        uint64_t offset;
        GPtrArray *items;  /* of struct item, LIST and STAT */
        GByteArray *bytes; /* FETCH */
        bool done;
        int result;
        uint32_t skipped, retry_after_ms;
        char *detail;
};

struct client {
        int socket;
        pid_t pid;
        void *slots;
        bool hold; /* give no slot back: the engine has to wait */
        GArray *held;
        bool ready, failed, ended;
        uint32_t flags, max_requests;
        char *failure; /* why it failed, or what it did wrong */
        GHashTable *answers;
        uint64_t last_id;
};

/* `host`: the program. `module`: path of NAME.so. `settings`: key → value. Does not wait
 * for READY. 0 or -errno. */
int client_start(const char *host, const char *module, const char *user, const char *log_level,
                 GHashTable *settings, struct client **ret);
void client_free(struct client *client);

/* Waits until *flag is true: 0; -ETIMEDOUT; -EPIPE when the host is gone or was ended for
 * what it did (client->failure). */
int client_wait(struct client *client, const bool *flag, int timeout_ms);
/* QUIT; the exit status of the host, or -ETIMEDOUT, or -signal. */
int client_quit(struct client *client, int timeout_ms);

struct answer *client_list(struct client *client, const char *locator);
struct answer *client_stat(struct client *client, const char *locator);
struct answer *client_fetch(struct client *client, const struct item *item, const char *version,
                            uint64_t offset, uint64_t length);
void client_cancel(struct client *client, const struct answer *answer);
/* Gives back what was held, and holds no more. */
void client_release(struct client *client);
/* Forgets a done answer. */
void client_forget(struct client *client, struct answer *answer);
