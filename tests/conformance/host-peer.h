/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * host-peer — the dispatcher's part, played by a test against the real engine host
 *
 * peer_step() takes one message and checks whatever must always hold: the type may
 * come from a host, the request is open, the slot is not one that we still have, data
 * is in order and every DATA but a request's last is a whole slot. What arrived is
 * kept with its request.
 */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cloudsync/engine.h"
#include "shared/channel.h"

struct reply {
        enum channel_type type;
        uint64_t id, offset;
        GByteArray *data; /* FETCH */
        GPtrArray *names; /* LIST, STAT: the last ones, as "kind name locator version size mode" */
        uint64_t n_entries;
        bool short_slot;  /* a DATA was no whole slot: it must be the last */
        bool done;
        int result;
        uint32_t retry_after_ms, skipped;
        char *detail;
};

struct peer {
        int socket;
        pid_t pid;
        char *slots;
        bool held[CHANNEL_SLOTS]; /* not released yet */
        unsigned n_held;
        bool hold;                /* peer_step() does not release */
        bool keep_names;
        bool ready, failed, ended;
        uint32_t flags, max_requests;
        int failure;
        char *detail, *changed;
        uint32_t condition;  /* the last one that was told */
        char *why;           /* its sentence, or NULL */
        GHashTable *replies; /* &id → struct reply */
        uint64_t last_id;
        unsigned open, pongs;
};

/* Where modules were copied to, by peer_setup(): the host's --module-dir. */
extern char *peer_modules;
void peer_setup(void);
void peer_teardown(void);

/* Starts a host and greets it. `settings`: "key", "value", …, NULL; may be NULL.
 * `arguments`: more options, NULL-terminated; may be NULL. */
struct peer *peer_new(const char *module, const char *const *settings,
                      const char *const *arguments);
/* No process yet; *ret_other is the host's end, the caller's to close. */
struct peer *peer_over(int *ret_other);
/* Only starts it: nothing is said yet. */
struct peer *peer_spawn(const char *const *arguments);
void peer_greet(struct peer *peer, const char *module, const char *const *settings,
                uint32_t version);
/* Waits for READY. */
struct peer *peer_ready(const char *module, const char *const *settings);
/* Says nothing more, waits for the end; the wait status. */
int peer_wait(struct peer *peer);
/* QUIT, an orderly exit, and everything freed. */
void peer_quit(struct peer *peer);
void peer_free(struct peer *peer);

void peer_send(struct peer *peer, const struct channel_message *message);
/* One message; false at end of file. Fails the test after 60 s of silence. */
bool peer_step(struct peer *peer);
/* True when a message came within that time. */
bool peer_step_within(struct peer *peer, int milliseconds);
void peer_release(struct peer *peer, uint32_t slot);
/* Releases one of those held; false when there is none. */
bool peer_release_one(struct peer *peer);

struct reply *peer_list(struct peer *peer, const char *locator);
struct reply *peer_stat(struct peer *peer, const char *locator);
struct reply *peer_fetch(struct peer *peer, const char *locator, const char *version,
                         uint64_t size, uint64_t offset, uint64_t length);
struct reply *peer_login(struct peer *peer, enum cs_login_step step, const char *text);
void peer_cancel(struct peer *peer, const struct reply *reply);
/* Steps until it is done. Replies live until the peer does. */
struct reply *peer_finish(struct peer *peer, struct reply *reply);
void peer_finish_all(struct peer *peer);

#define MESSAGE(...) (&(struct channel_message){__VA_ARGS__})
#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})
