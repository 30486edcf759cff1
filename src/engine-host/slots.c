/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* slots — see slots.h */

#include <errno.h>

#include "engine-host/slots.h"

int slots_init(struct slots *slots, int fd) {
        slots->memory = channel_slots_map(fd, true);
        if (!slots->memory)
                return -errno;
        (void)pthread_mutex_init(&slots->lock, NULL);
        (void)pthread_cond_init(&slots->given, NULL);
        for (uint32_t i = 0; i < CHANNEL_SLOTS; i++) {
                slots->free[i] = CHANNEL_SLOTS - 1 - i;
                slots->state[i] = SLOT_FREE;
        }
        slots->n_free = CHANNEL_SLOTS;
        slots->waiting = 0;
        return 0;
}

static int take_locked(struct slots *slots) {
        uint32_t slot;

        if (slots->n_free == 0)
                return -EAGAIN;
        slot = slots->free[--slots->n_free];
        __atomic_store_n(&slots->state[slot], SLOT_FILLING, __ATOMIC_RELAXED);
        return (int)slot;
}

int slots_try_take(struct slots *slots) {
        int r;

        pthread_mutex_lock(&slots->lock);
        r = take_locked(slots);
        pthread_mutex_unlock(&slots->lock);
        return r;
}

int slots_take(struct slots *slots, const int *give_up) {
        int r;

        pthread_mutex_lock(&slots->lock);
        slots->waiting++;
        for (;;) {
                if (__atomic_load_n(give_up, __ATOMIC_ACQUIRE)) {
                        r = -ECANCELED;
                        break;
                }
                r = take_locked(slots);
                if (r != -EAGAIN)
                        break;
                pthread_cond_wait(&slots->given, &slots->lock);
        }
        slots->waiting--;
        pthread_mutex_unlock(&slots->lock);
        return r;
}

/* The release here and the acquire below order one request's bytes before the next
 * one's in this process, as the way through the dispatcher does in fact. */
void slots_lend(struct slots *slots, uint32_t slot) {
        __atomic_store_n(&slots->state[slot], SLOT_LENT, __ATOMIC_RELEASE);
}

static int give(struct slots *slots, uint32_t slot, enum slot_state from) {
        if (slot >= CHANNEL_SLOTS || __atomic_load_n(&slots->state[slot], __ATOMIC_ACQUIRE) != from)
                return -EBADMSG;
        pthread_mutex_lock(&slots->lock);
        __atomic_store_n(&slots->state[slot], SLOT_FREE, __ATOMIC_RELAXED);
        slots->free[slots->n_free++] = slot;
        if (slots->waiting > 0)
                pthread_cond_signal(&slots->given);
        pthread_mutex_unlock(&slots->lock);
        return 0;
}

int slots_take_back(struct slots *slots, uint32_t slot) {
        return give(slots, slot, SLOT_LENT);
}

void slots_drop(struct slots *slots, uint32_t slot) {
        (void)give(slots, slot, SLOT_FILLING);
}

void slots_wake(struct slots *slots) {
        pthread_mutex_lock(&slots->lock);
        pthread_cond_broadcast(&slots->given);
        pthread_mutex_unlock(&slots->lock);
}
