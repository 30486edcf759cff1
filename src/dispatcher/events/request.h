/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * request — somebody who waits: a thread held by the kernel, or a caller on the bus
 *
 * Answered exactly once, by request_answer(), which frees it. A request that were
 * freed unanswered would leave a thread hanging, so there is no other way to free it.
 */

#include "dispatcher/events/fan-group.h"

#include <glib.h>

typedef struct Request Request;
typedef void (*request_done_fn)(void *userdata, int r, const char *detail);

struct Request {
        struct fan_event event; /* fd < 0: a call, not an event */
        FanGroup *group;
        request_done_fn done; /* calls only */
        void *userdata;
        uid_t uid; /* (uid_t)-1: look it up by event.tid */

        uint64_t begin, end; /* what it waits for, while it waits for a range */
        unsigned looks;      /* how often its thread was looked at (see caller.h) */
        int64_t since;       /* µs */
        GList link;          /* in whatever queue it waits */
};

struct request_counters {
        uint32_t pending;
        uint64_t answered, denied;
};

/* Takes the event (and its descriptor). */
Request *request_new_event(FanGroup *group, const struct fan_event *event);
Request *request_new_call(request_done_fn done, void *userdata, uid_t uid);
static inline bool request_is_event(const Request *request) {
        return request->done == NULL;
}
/* 0 allows, -errno denies. `detail` for a caller, may be NULL. */
void request_answer(Request *request, int r, const char *detail);
/* An event answered without ever becoming an object: counted the same. */
void request_answer_event(FanGroup *group, struct fan_event *event, int r);

/* Of the whole process. */
void request_counters(struct request_counters *ret);
