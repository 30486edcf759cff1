/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/store/mount-watch.h"

#include "dispatcher/loop.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <fcntl.h>

struct MountWatch {
        const Store *store;
        int table;
        guint source, timer;
        bool gone; /* and said so */
};

static gboolean look(gpointer userdata) {
        MountWatch *w = userdata;
        bool there = store_is_at_path(w->store);

        w->timer = 0;
        if (!there && !w->gone)
                log_warning("%s was unmounted by somebody else: programs reach nothing there; "
                            "\"systemctl reload cloudsync\" (SIGHUP) brings it back", store_path(w->store));
        w->gone = !there;
        return G_SOURCE_REMOVE;
}

static gboolean changed(int fd, GIOCondition condition, gpointer userdata) {
        MountWatch *w = userdata;

        if (w->timer == 0)
                w->timer = g_timeout_add(1000, look, w);
        return G_SOURCE_CONTINUE;
}

MountWatch *mount_watch_new(const Store *store) {
        int table = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC);
        MountWatch *w;

        if (table < 0)
                return NULL;
        w = g_new0(MountWatch, 1);
        w->store = store;
        w->table = table;
        /* POLLERR | POLLPRI, see proc_pid_mounts(5). */
        w->source = loop_watch(table, G_IO_PRI | G_IO_ERR, changed, w);
        return w;
}

void mount_watch_free(MountWatch *w) {
        if (!w)
                return;
        g_source_remove(w->source);
        if (w->timer)
                g_source_remove(w->timer);
        fd_close(w->table);
        g_free(w);
}
