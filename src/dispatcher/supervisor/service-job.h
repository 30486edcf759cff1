/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * service-job — what the service manager is about to do with this service
 *
 * Asked over the system bus of org.freedesktop.systemd1, by processes that may wait for the
 * answer: never by the worker, which serves readers meanwhile.
 */

#include <stdbool.h>

struct service_job {
        char type[32];     /* "stop", "restart", "start", …; "": no job */
        bool restarts;     /* Restart= is not "no": it is started again when it ends without a job */
        unsigned stored;   /* descriptors in the fd store */
};

/* About the service that the calling process belongs to. Waits for SERVICE_JOB_SECONDS at most, by
 * alarm(2) the whole process: for short-lived ones. -errno: it cannot be told. */
#define SERVICE_JOB_SECONDS 2u
int service_job_ask(struct service_job *ret);

/* Is the end of the service that is under way followed by a start of it? */
bool service_job_is_followed(const struct service_job *job);
