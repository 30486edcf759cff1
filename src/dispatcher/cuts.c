/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/cuts.h"

#include "dispatcher/fanotify-compat.h"
#include "dispatcher/loop.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>
#include <unistd.h>

struct Cuts {
        int group;
        guint source;
        void (*changed)(void *userdata, const struct handle *handle);
        void *userdata;
};

/* The file handle in an event's record. */
static bool handle_in(const uint8_t *record, size_t length, struct handle *ret) {
        struct fanotify_event_info_fid fid;
        struct file_handle head;
        const size_t fixed = sizeof fid + sizeof head;

        if (length < fixed)
                return false;
        memcpy(&fid, record, sizeof fid);
        memcpy(&head, record + sizeof fid, sizeof head);
        if (fid.hdr.info_type != FAN_EVENT_INFO_TYPE_FID || head.handle_bytes > HANDLE_BYTES_MAX ||
            length < fixed + head.handle_bytes)
                return false;
        ret->type = head.handle_type;
        ret->length = head.handle_bytes;
        memcpy(ret->bytes, record + fixed, head.handle_bytes);
        return true;
}

static gboolean cuts_ready(int fd, GIOCondition condition, gpointer userdata) {
        uint8_t buffer[4096] __attribute__((aligned(8)));
        Cuts *cuts = userdata;
        struct handle handle;
        ssize_t n = read(fd, buffer, sizeof buffer);
        const uint8_t *p = buffer;

        while (n >= (ssize_t)FAN_EVENT_METADATA_LEN) {
                struct fanotify_event_metadata m;

                memcpy(&m, p, sizeof m);
                if (m.metadata_len < sizeof m || m.event_len < m.metadata_len || (ssize_t)m.event_len > n)
                        break;
                if ((m.mask & FAN_MODIFY) &&
                    handle_in(p + m.metadata_len, m.event_len - m.metadata_len, &handle))
                        cuts->changed(cuts->userdata, &handle);
                p += m.event_len;
                n -= m.event_len;
        }
        return G_SOURCE_CONTINUE;
}

Cuts *cuts_new(void (*changed)(void *userdata, const struct handle *handle), void *userdata) {
        int group = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK | FAN_CLOEXEC |
                                          FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS, 0);
        Cuts *cuts;

        if (group < 0) {
                log_warning("files that are cut within seconds of being fetched are noticed later: %s",
                            strerror(errno));
                return NULL;
        }
        cuts = g_new0(Cuts, 1);
        *cuts = (Cuts){.group = group, .changed = changed, .userdata = userdata};
        cuts->source = loop_watch(group, G_IO_IN, cuts_ready, cuts);
        return cuts;
}

void cuts_free(Cuts *cuts) {
        if (!cuts)
                return;
        g_source_remove(cuts->source);
        fd_close(cuts->group);
        g_free(cuts);
}

/* A file system that cannot name its files by handles would fail, and is none that we serve. */
void cuts_watch(Cuts *cuts, int fd) {
        if (cuts)
                (void)fanotify_mark(cuts->group, FAN_MARK_ADD | FAN_MARK_EVICTABLE, FAN_MODIFY, fd, NULL);
}

void cuts_unwatch(Cuts *cuts, int fd) {
        if (cuts)
                (void)fanotify_mark(cuts->group, FAN_MARK_REMOVE, FAN_MODIFY, fd, NULL);
}
