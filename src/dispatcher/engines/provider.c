/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/engines/provider.h"

#include "dispatcher/loop.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <glib-unix.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>

/* Packets taken in one turn of the loop, so that a chatty host cannot starve the others. */
#define PACKETS_PER_TURN 64
/* Packets waiting for room in the socket. More: the host has stopped reading. */
#define OUTGOING_MAX 4096

/* The mapping, shared by the provider and by the data still being written. */
struct slots {
        unsigned refs;
        int fd;
        void *memory;
};

struct Provider {
        const struct provider_callbacks *callbacks;
        void *userdata;
        int fd;
        struct slots *slots;
        guint in, out; /* GSource ids */
        GQueue outgoing; /* GBytes */
        bool busy[CHANNEL_SLOTS]; /* named by the host, not released yet */
        GPtrArray *data;          /* ProviderData handed out, not owned */
        bool lost_reported;
        guint lost_idle;
        char *lost_why;
        int64_t ping_sent, ping_last; /* µs; 0: none outstanding */
};

struct ProviderData {
        Provider *provider; /* NULL once the provider is closed */
        struct slots *slots;
        uint32_t slot;
        size_t begin, length; /* in the slot */
        uint64_t offset;      /* in the file */
};

static void slots_unref(struct slots *slots) {
        if (--slots->refs > 0)
                return;
        channel_slots_unmap(slots->memory);
        fd_close(slots->fd);
        g_free(slots);
}

static gboolean lost_now(gpointer userdata) {
        Provider *p = userdata;

        p->lost_idle = 0;
        p->callbacks->lost(p->userdata, false, p->lost_why);
        return G_SOURCE_REMOVE;
}

/* From the loop's own call: report later, since the caller may be in the middle of something. */
static void provider_break(Provider *p, const char *why) {
        if (p->lost_reported)
                return;
        p->lost_reported = true;
        p->lost_why = g_strdup(why);
        p->lost_idle = g_idle_add_full(G_PRIORITY_HIGH, lost_now, p, NULL);
}

static gboolean provider_writable(int fd, GIOCondition condition, gpointer userdata) {
        Provider *p = userdata;

        while (!g_queue_is_empty(&p->outgoing)) {
                GBytes *bytes = g_queue_peek_head(&p->outgoing);
                int r = channel_send(p->fd, g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), -1);
                if (r == -EAGAIN)
                        return G_SOURCE_CONTINUE;
                g_bytes_unref(g_queue_pop_head(&p->outgoing));
                if (r < 0) {
                        provider_break(p, "the channel broke");
                        break;
                }
        }
        p->out = 0;
        return G_SOURCE_REMOVE;
}

void provider_send(Provider *p, const struct channel_message *message) {
        uint8_t packet[CHANNEL_PACKET_MAX];
        int length, r = -EAGAIN;

        if (p->lost_reported)
                return;
        length = channel_build(message, packet, sizeof packet);
        if (length < 0) {
                log_error("a %s message cannot be built: %s", channel_type_name(message->type),
                          strerror(-length));
                provider_break(p, "a message to it could not be built");
                return;
        }
        if (g_queue_is_empty(&p->outgoing))
                r = channel_send(p->fd, packet, (size_t)length,
                                 message->type == CHANNEL_HELLO ? p->slots->fd : -1);
        if (r == -EAGAIN && p->outgoing.length < OUTGOING_MAX) {
                g_queue_push_tail(&p->outgoing, g_bytes_new(packet, (gsize)length));
                if (p->out == 0)
                        p->out = loop_watch(p->fd, G_IO_OUT, provider_writable, p);
        } else if (r < 0)
                provider_break(p, r == -EAGAIN ? "it does not read its channel" : "the channel broke");
        if (message->type == CHANNEL_LOGIN || message->type == CHANNEL_SETTING)
                explicit_bzero(packet, (size_t)length); /* secrets */
}

int64_t provider_ping(Provider *p) {
        int64_t now = g_get_monotonic_time();

        if (p->ping_sent)
                return now - p->ping_sent;
        if (now - p->ping_last >= 3 * G_USEC_PER_SEC) {
                p->ping_sent = p->ping_last = now;
                provider_send(p, &(struct channel_message){.type = CHANNEL_PING});
        }
        return 0;
}

const void *provider_data_bytes(const ProviderData *data) {
        return (const char *)channel_slot(data->slots->memory, data->slot) + data->begin;
}

void provider_data_skip(ProviderData *data, size_t n) {
        g_assert(n <= data->length);
        data->begin += n;
        data->length -= n;
        data->offset += n;
}

void provider_data_trim(ProviderData *data, size_t n) {
        g_assert(n <= data->length);
        data->length -= n;
}

size_t provider_data_length(const ProviderData *data) {
        return data->length;
}

uint64_t provider_data_offset(const ProviderData *data) {
        return data->offset;
}

void provider_data_release(ProviderData *data) {
        Provider *p;

        if (!data)
                return;
        p = data->provider;
        if (p) {
                p->busy[data->slot] = false;
                g_ptr_array_remove_fast(p->data, data);
                provider_send(p, &(struct channel_message){.type = CHANNEL_RELEASE, .slot = data->slot});
        }
        slots_unref(data->slots);
        g_free(data);
}

static ProviderData *data_new(Provider *p, const struct channel_message *m) {
        ProviderData *data = g_new(ProviderData, 1);

        *data = (ProviderData){.provider = p,
                               .slots = p->slots,
                               .slot = m->slot,
                               .length = (size_t)m->length,
                               .offset = m->offset};
        p->slots->refs++;
        p->busy[m->slot] = true;
        g_ptr_array_add(p->data, data);
        return data;
}

/* One message of the peer's. Negative ends it; `why` says what it did. */
static int provider_handle(Provider *p, const struct channel_message *m, const char **why) {
        ProviderData *data = NULL;

        *why = "it broke the channel protocol";
        if (!channel_type_is_from_host(m->type))
                return -EPROTO;
        switch (m->type) {
        case CHANNEL_PONG:
                p->ping_sent = 0;
                return 0;
        case CHANNEL_READY:
                p->callbacks->ready(p->userdata, m->flags, m->max_requests);
                return 0;
        case CHANNEL_FAILED:
                p->lost_reported = true;
                p->callbacks->lost(p->userdata, true, m->detail);
                return 1;
        case CHANNEL_DATA:
        case CHANNEL_ENTRIES:
                if (p->busy[m->slot]) {
                        *why = "it named a slot that is in use";
                        return -EPROTO;
                }
                data = data_new(p, m);
                break;
        default:
                break;
        }
        return p->callbacks->message(p->userdata, m, data);
}

static gboolean provider_readable(int fd, GIOCondition condition, gpointer userdata) {
        Provider *p = userdata;
        uint8_t packet[CHANNEL_PACKET_MAX];

        for (int i = 0; i < PACKETS_PER_TURN && !p->lost_reported; i++) {
                struct channel_message m;
                const char *why = "it closed its channel";
                int extra = -1, r;

                r = channel_receive(p->fd, packet, sizeof packet, &extra);
                if (r == -EAGAIN)
                        return G_SOURCE_CONTINUE;
                if (extra >= 0) {
                        fd_close(extra);
                        why = "it sent a descriptor";
                        r = -EPROTO;
                }
                if (r > 0) {
                        why = "it sent a malformed message";
                        r = channel_parse(packet, (size_t)r, &m);
                        if (r == 0)
                                r = provider_handle(p, &m, &why);
                        if (r > 0) /* closed by the callback: p is gone */
                                return G_SOURCE_REMOVE;
                        if (r == 0)
                                continue;
                }
                provider_break(p, why);
        }
        if (p->lost_reported) {
                p->in = 0;
                return G_SOURCE_REMOVE;
        }
        return G_SOURCE_CONTINUE;
}

int provider_open(const struct provider_callbacks *callbacks, void *userdata, Provider **ret,
                  int *ret_peer) {
        autoclose int slots_fd = -1;
        int pair[2];
        void *memory;
        Provider *p;

        slots_fd = channel_slots_create();
        if (slots_fd < 0)
                return slots_fd;
        memory = channel_slots_map(slots_fd, false);
        if (!memory)
                return -errno;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
                int r = -errno;
                channel_slots_unmap(memory);
                return r;
        }
        (void)g_unix_set_fd_nonblocking(pair[0], TRUE, NULL);

        p = g_new0(Provider, 1);
        p->callbacks = callbacks;
        p->userdata = userdata;
        p->fd = pair[0];
        p->slots = g_new(struct slots, 1);
        *p->slots = (struct slots){.refs = 1, .fd = fd_steal(&slots_fd), .memory = memory};
        p->data = g_ptr_array_new();
        g_queue_init(&p->outgoing);
        p->in = loop_watch(p->fd, G_IO_IN | G_IO_HUP | G_IO_ERR, provider_readable, p);
        *ret = p;
        *ret_peer = pair[1];
        return 0;
}

void provider_close(Provider *p) {
        if (!p)
                return;
        for (guint i = 0; i < p->data->len; i++)
                ((ProviderData *)p->data->pdata[i])->provider = NULL;
        g_ptr_array_unref(p->data);
        if (p->in)
                g_source_remove(p->in);
        if (p->out)
                g_source_remove(p->out);
        if (p->lost_idle)
                g_source_remove(p->lost_idle);
        g_queue_clear_full(&p->outgoing, (GDestroyNotify)g_bytes_unref);
        slots_unref(p->slots);
        fd_close(p->fd);
        g_free(p->lost_why);
        g_free(p);
}
