/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * slots — which slots of the channel's memory are free
 *
 * A slot is taken by a request that fills it, is lent to the dispatcher with DATA or
 * ENTRIES, and comes back with RELEASE. The last one given back is taken first: its memory is
 * the likeliest to be in a cache. Any thread.
 */

#include <pthread.h>
#include <stdint.h>

#include "shared/channel.h"

enum slot_state {
        SLOT_FREE,
        SLOT_FILLING, /* a request's, which may write to it */
        SLOT_LENT,    /* the dispatcher's: hands off */
};

struct slots {
        char *memory; /* mapped, owned */
        pthread_mutex_t lock;
        pthread_cond_t given;
        uint32_t free[CHANNEL_SLOTS], n_free; /* under lock */
        uint8_t state[CHANNEL_SLOTS];         /* enum slot_state, atomic */
        unsigned waiting;                     /* threads, under lock */
};

/* Maps the memfd; it stays the caller's. */
int slots_init(struct slots *slots, int fd);

/* A slot, or -EAGAIN when none is free. */
int slots_try_take(struct slots *slots);
/* Waits for one; -ECANCELED once *give_up (atomic) is set and slots_wake() was called. */
int slots_take(struct slots *slots, const int *give_up);
/* The last touch before the slot is sent. */
void slots_lend(struct slots *slots, uint32_t slot);
/* RELEASE arrived; -EBADMSG when the slot was not lent. */
int slots_take_back(struct slots *slots, uint32_t slot);
/* Not needed after all: SLOT_FILLING becomes free. */
void slots_drop(struct slots *slots, uint32_t slot);
/* Lets everyone who waits look at *give_up again. */
void slots_wake(struct slots *slots);
