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
                slots->taken[i] = false;
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
        slots->taken[slot] = true;
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

int slots_give(struct slots *slots, uint32_t slot) {
        int r = -EBADMSG;

        pthread_mutex_lock(&slots->lock);
        if (slot < CHANNEL_SLOTS && slots->taken[slot]) {
                slots->taken[slot] = false;
                slots->free[slots->n_free++] = slot;
                if (slots->waiting > 0)
                        pthread_cond_signal(&slots->given);
                r = 0;
        }
        pthread_mutex_unlock(&slots->lock);
        return r;
}

void slots_wake(struct slots *slots) {
        pthread_mutex_lock(&slots->lock);
        pthread_cond_broadcast(&slots->given);
        pthread_mutex_unlock(&slots->lock);
}
