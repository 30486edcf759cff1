/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* inbox — see inbox.h */

#include <errno.h>

#include "engine-host/inbox.h"

void inbox_init(struct inbox *inbox, int socket) {
        *inbox = (struct inbox){.socket = socket};
        inbox->buffers = g_malloc(INBOX_BATCH * CHANNEL_PACKET_MAX);
        g_queue_init(&inbox->deferred);
        for (unsigned i = 0; i < INBOX_BATCH; i++) {
                inbox->iovs[i].iov_base = inbox->buffers + i * CHANNEL_PACKET_MAX;
                inbox->iovs[i].iov_len = CHANNEL_PACKET_MAX;
                inbox->headers[i].msg_hdr = (struct msghdr){.msg_iov = &inbox->iovs[i],
                                                            .msg_iovlen = 1};
        }
}

static int fill(struct inbox *inbox) {
        int n;

        do {
                n = recvmmsg(inbox->socket, inbox->headers, INBOX_BATCH,
                             MSG_WAITFORONE | MSG_CMSG_CLOEXEC, NULL);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        inbox->n = (unsigned)n;
        inbox->next = 0;
        return 0;
}

int inbox_next_raw(struct inbox *inbox, const void **ret) {
        unsigned i;
        int r;

        if (inbox->next == inbox->n) {
                r = fill(inbox);
                if (r < 0)
                        return r;
        }
        i = inbox->next;
        /* End of file, which stays the next: it must be seen by everyone who asks. */
        if (inbox->n == 0 || inbox->headers[i].msg_len == 0)
                return 0;
        inbox->next++;
        /* Too long, or with a descriptor: nothing that the dispatcher says here. */
        if (inbox->headers[i].msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
                return -EBADMSG;
        *ret = inbox->iovs[i].iov_base;
        return (int)inbox->headers[i].msg_len;
}

int inbox_next(struct inbox *inbox, const void **ret) {
        gsize length;

        g_clear_pointer(&inbox->current, g_bytes_unref);
        inbox->current = g_queue_pop_head(&inbox->deferred);
        if (!inbox->current)
                return inbox_next_raw(inbox, ret);
        *ret = g_bytes_get_data(inbox->current, &length);
        return (int)length;
}

void inbox_defer(struct inbox *inbox, const void *packet, size_t length) {
        g_queue_push_tail(&inbox->deferred, g_bytes_new(packet, length));
}
