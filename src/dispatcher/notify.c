/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/notify.h"

#include <glib.h>
#include <systemd/sd-daemon.h>

#define FLUSH_MS 1000
#define FLUSH_STEP_MS 2

static GThreadPool *teller; /* one thread: in order */
static int untold;

static void tell(void *text, void *userdata) {
        (void)sd_notify(0, text);
        g_free(text);
        (void)g_atomic_int_dec_and_test(&untold);
}

static void notify_text(char *text) {
        if (!teller)
                teller = g_thread_pool_new(tell, NULL, 1, FALSE, NULL);
        g_atomic_int_inc(&untold);
        g_thread_pool_push(teller, text, NULL);
}

void notify(const char *format, ...) {
        va_list args;

        va_start(args, format);
        notify_text(g_strdup_vprintf(format, args));
        va_end(args);
}

void notify_alive(const char *text) {
        if (g_atomic_int_get(&untold) == 0)
                notify_text(g_strdup(text));
}

void notify_flush(void) {
        for (unsigned ms = 0; ms < FLUSH_MS && g_atomic_int_get(&untold) > 0; ms += FLUSH_STEP_MS)
                g_usleep(FLUSH_STEP_MS * 1000);
}
