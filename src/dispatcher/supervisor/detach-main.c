/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * cloudsync-detach — closes the store when no daemon will follow
 *
 *     cloudsync-detach FILE       FILE: STATE-DIR/attached
 *
 * Run by the service manager after each end of the service (ExecStopPost=). A daemon that ends in
 * order has detached its store and removed FILE; then there is nothing to do. Otherwise it was
 * killed, or could not be executed, or has left the store to its successor
 * (supervise.h, restart). As long as a start follows, and the service manager holds the
 * group, accesses wait for that; what is left for this program:
 *
 *   - no start follows (a stop was asked for, Restart=no): the group goes, and with it
 *     all that keeps readers from zeros. The store is detached.
 *   - a start follows, but those before it did not get as far as serving, FAILURES_MAX times:
 *     the program, or what it needs, is broken. The store is detached as well, since a stop
 *     that comes between two starts runs no ExecStopPost=. A start that succeeds attaches it again.
 *
 * Detaching keeps new accesses out. It cannot help a program that has a file open or waits in the
 * kernel, when the group goes; only the fd store can (FileDescriptorStorePreserve=yes, systemd
 * 254), or a guard in the kernel.
 *
 * It is a program of its own, with little in it, because the daemon may be what is broken.
 */

#include <config.h> /* the build's */
#include "dispatcher/store/attached.h"
#include "dispatcher/supervisor/service-job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAILURES_MAX 20u

/* The service manager cannot be asked: what it usually does. */
static bool is_followed_by_default(void) {
        static const char *const crashes[] = {"signal", "core-dump", "watchdog", "oom-kill"};
        const char *result = getenv("SERVICE_RESULT");

        for (size_t i = 0; result && i < sizeof crashes / sizeof *crashes; i++)
                if (strcmp(result, crashes[i]) == 0)
                        return true;
        return false;
}

static bool is_followed(void) {
        struct service_job job;

        return service_job_ask(&job) < 0 ? is_followed_by_default() : service_job_is_followed(&job);
}

int main(int argc, char **argv) {
        struct attached attached;
        const char *why;
        int r;

        if (argc == 2 && strcmp(argv[1], "--help") == 0)
                return puts("cloudsync-detach FILE\n\n"
                            "Unmounts the store of a cloudsyncd that ended and is not started again. Run by the\n"
                            "service manager after each end of cloudsync.service.\n\n"
                            "  FILE                 STATE-DIR/attached, an absolute path\n"
                            "  --help, --version") < 0;
        if (argc == 2 && strcmp(argv[1], "--version") == 0)
                return puts("cloudsync-detach " CLOUDSYNC_VERSION) < 0;
        if (argc != 2 || argv[1][0] != '/') {
                fprintf(stderr, "usage: cloudsync-detach FILE; see --help\n");
                return 2;
        }
        r = attached_read(argv[1], &attached);
        if (r == -ENOENT)
                return 0;
        if (r < 0) {
                fprintf(stderr, "cloudsync-detach: %s cannot be read: %s\n", argv[1], strerror(-r));
                return 1;
        }
        why = "cloudsyncd ended without a stop, and is not started again";
        if (is_followed()) {
                if (++attached.failures < FAILURES_MAX)
                        return attached_write(argv[1], &attached) < 0;
                why = "cloudsyncd cannot be started";
        }
        r = attached_detach(&attached);
        if (r < 0) {
                fprintf(stderr, "cloudsync-detach: %s cannot be unmounted: %s\n", attached.path, strerror(-r));
                return 1;
        }
        if (r > 0)
                fprintf(stderr, "cloudsync-detach: %s: unmounted %s, whose files would read as zeros\n", why,
                        attached.path);
        return attached_forget(argv[1]) < 0;
}
