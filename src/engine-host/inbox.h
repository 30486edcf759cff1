/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * inbox — the packets that the dispatcher sent and that were not handled yet
 *
 * Packets are read many at a time (recvmmsg), and handed out in order, with one
 * twist: an engine that is called on the main thread may have to wait there for
 * a slot, and the RELEASE that frees it stands in this very queue. While it
 * waits, inbox_next_raw() goes on reading; what is not a RELEASE is put back with
 * inbox_defer() and handed out, in order, when the operation has returned.
 */

#include <stddef.h>
#include <sys/socket.h>

#include <glib.h>

#include "shared/channel.h"

#define INBOX_BATCH 32u

struct inbox {
        int socket;
        char *buffers; /* INBOX_BATCH packets, touched only as used */
        struct mmsghdr headers[INBOX_BATCH];
        struct iovec iovs[INBOX_BATCH];
        unsigned n, next;
        GQueue deferred; /* of GBytes */
        GBytes *current; /* what the last inbox_next() handed out, when it was deferred */
};

void inbox_init(struct inbox *inbox, int socket);

/* The next packet: its length and *ret, valid until the next call of this or of
 * inbox_next_raw(). 0 at end of file; -errno. Blocks. */
int inbox_next(struct inbox *inbox, const void **ret);
/* The same, past what was deferred. */
int inbox_next_raw(struct inbox *inbox, const void **ret);
/* To be handed out by inbox_next() later; copied. */
void inbox_defer(struct inbox *inbox, const void *packet, size_t length);
