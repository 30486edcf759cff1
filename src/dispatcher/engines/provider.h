/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * provider — the live end of an engine: one channel, its slots, what is under way on it
 *
 * Opened for a host that is started, or by AttachEngine; closed when the peer goes, breaks the protocol, or is
 * replaced. A data slot outlives its provider: whoever holds a ProviderData
 * holds the mapping.
 */

#include "shared/channel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Provider Provider;
typedef struct ProviderData ProviderData;

struct provider_callbacks {
        /* READY: the module is open. */
        void (*ready)(void *userdata, uint32_t flags, uint32_t max_requests);
        /* ENTRIES, DATA (with `data`, the receiver's to release), DONE, CHANGED.
         * Returns 0, or -EPROTO when the message is impossible here. */
        int (*message)(void *userdata, const struct channel_message *message, ProviderData *data);
        /* It is gone: the peer closed, said FAILED (`final`: trying again is of no use),
         * or broke the protocol. Called once, from the main loop; then close it. */
        void (*lost)(void *userdata, bool final, const char *why);
};

/* Makes channel and slots; *ret_peer is the other end, the caller's to hand over. */
int provider_open(const struct provider_callbacks *callbacks, void *userdata, Provider **ret,
                  int *ret_peer);
void provider_close(Provider *provider);

/* Queued when the socket is full. HELLO gets the slots' descriptor added here. A
 * broken socket is reported by lost(), later. */
void provider_send(Provider *provider, const struct channel_message *message);

/* Sends a PING when the last was answered; returns for how many µs the last one has not been. */
int64_t provider_ping(Provider *provider);

/* A slot's content. */
const void *provider_data_bytes(const ProviderData *data); /* the slot itself: may change under us */
size_t provider_data_length(const ProviderData *data);
uint64_t provider_data_offset(const ProviderData *data);
/* Makes it shorter: without its first, or its last, `n` bytes. */
void provider_data_skip(ProviderData *data, size_t n);
void provider_data_trim(ProviderData *data, size_t n);
/* Main loop only: tells the host that the slot is free, and forgets it. NULL is fine. */
void provider_data_release(ProviderData *data);
