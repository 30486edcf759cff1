/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * session — one engine, one channel: everything the host has in hand
 *
 *              main thread                          engine's threads
 *     channel ─▶ receive ─▶ request ─▶ pool ─▶ worker ─▶ ops->fetch()
 *                   │                  (or ops->fetch() at once, NONBLOCKING)
 *                   ├ RELEASE ─▶ slots           host->write() ─▶ slot ─▶ DATA
 *                   └ CANCEL  ─▶ ops->cancel()   host->done()  ─▶ DATA, DONE ─▶ channel
 *
 * The main thread never waits for a slot (with one exception, inbox.c) and never
 * runs a blocking operation, so RELEASE and CANCEL always get through. Packets are
 * sent by whichever thread has one: a SOCK_SEQPACKET keeps them whole, and those of
 * one request come from one thread at a time, hence in order.
 *
 * Lifetimes. A request lives in the table from its arrival until done(); whoever
 * calls ops->cancel() holds a reference meanwhile. `lock` guards the table, the queue
 * and the workers' numbers; it is never held while an operation or a send runs.
 */

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>

#include "cloudsync/engine.h"
#include "engine-host/inbox.h"
#include "engine-host/slots.h"
#include "shared/channel.h"

#define SESSION_REQUESTS_DEFAULT 32u

struct session;

struct cs_request {
        struct session *session;
        uint64_t id;
        enum channel_type type; /* LIST, STAT, FETCH, LOGIN */
        int refs;               /* atomic */
        int cancelled;          /* atomic */
        bool queued;            /* under lock: no operation was called yet */
        struct cs_request *next; /* in the queue, under lock */

        /* What follows belongs to the one thread that answers at a time. */
        int slot;               /* being filled, or -1 */
        size_t used;            /* bytes of it */
        uint32_t count;         /* entries in it */
        uint64_t at, end;       /* FETCH: the next byte, and where it ends */
        uint32_t entries, skipped;
        bool overflow;          /* more came than was asked for */
        char first_skipped[64]; /* printable */

        struct channel_message message; /* its strings are in `packet` */
        size_t length;                  /* of `packet` */
        char packet[];
};

struct session {
        struct cs_host host; /* first: a cs_host * is a session * */
        int socket;          /* the channel, owned */
        uid_t module_owner;
        const char *module_dir; /* borrowed */

        char *id, *module, *state_dir;
        GHashTable *settings; /* char * → char *; fixed before open() */
        const struct cs_engine_ops *ops;
        void *instance;
        struct slots slots;
        struct inbox inbox; /* main thread only */
        pthread_t main_thread;

        pthread_mutex_t lock;
        pthread_cond_t work;    /* the queue is not empty, or stopping */
        pthread_cond_t quiet;   /* n_requests or n_running became 0 */
        GHashTable *requests;   /* &id → struct cs_request */
        struct cs_request *queue_head, **queue_tail;
        unsigned queue_length, n_workers, n_idle, n_running, max_workers;
        pthread_t workers[CHANNEL_REQUESTS_MAX];
        bool stopping;
        bool opening;                      /* open() runs: its last error is kept */
        char last_error[CHANNEL_DETAIL_MAX]; /* under lock */

        int dead; /* atomic: nobody is there to send to */
};

/* Serves the channel until QUIT or end of file. Returns the exit status. `socket` is
 * taken; blocking. */
int session_run(int socket, const char *module_dir, uid_t module_owner);

/* Until READY was said: SESSION_GO_ON, or the exit status. */
#define SESSION_GO_ON (-1)
int session_start(struct session *session);

/* Sends; a failure means that the dispatcher is gone, and ends everything soon. */
int session_send(struct session *session, const struct channel_message *message);
/* Two in one system call. */
int session_send_two(struct session *session, const struct channel_message *first,
                     const struct channel_message *second);
/* A free slot for `request`, waiting if need be: or -ECANCELED. */
int session_take_slot(struct session *session, struct cs_request *request);

/* services.c: fills in the functions of session->host. */
void services_init(struct session *session);

/* request.c */
struct cs_request *request_new(struct session *session, const void *packet, size_t length);
struct cs_request *request_ref(struct cs_request *request);
void request_unref(struct cs_request *request);
bool request_is_cancelled(const struct cs_request *request);
/* Calls the operation it asks for. */
void request_run(struct cs_request *request);
/* Takes it out of the table: it is done. */
void request_retire(struct cs_request *request);

/* pool.c: workers for engines that block. */
void pool_push(struct session *session, struct cs_request *request);
/* On a thread of its own, at once: what must not wait for the others, nor they for it. */
void pool_run_alone(struct session *session, struct cs_request *request);
/* Takes a request back that no worker has begun; false when it is too late. */
bool pool_withdraw(struct session *session, struct cs_request *request);
/* Waits until no request is open and no operation runs, at most `seconds`; then, if
 * so, ends the workers and returns true. */
bool pool_drain(struct session *session, unsigned seconds);
