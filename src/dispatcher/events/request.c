/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/events/request.h"

#include "shared/log.h"

#include <string.h>

static struct request_counters counters;

Request *request_new_event(FanGroup *group, const struct fan_event *event) {
        Request *q = g_new(Request, 1);

        *q = (Request){.event = *event, .group = group, .uid = (uid_t)-1,
                       .since = g_get_monotonic_time()};
        q->link.data = q;
        counters.pending++;
        return q;
}

Request *request_new_call(request_done_fn done, void *userdata, uid_t uid) {
        Request *q = g_new(Request, 1);

        *q = (Request){.event = {.fd = -1}, .done = done, .userdata = userdata, .uid = uid,
                       .since = g_get_monotonic_time()};
        q->link.data = q;
        return q;
}

void request_answer_event(FanGroup *group, struct fan_event *event, int r) {
        int q = fan_group_answer(group, event, r);

        if (q < 0)
                log_error("an access could not be answered: %s", strerror(-q));
        counters.answered++;
        if (r < 0)
                counters.denied++;
}

void request_answer(Request *q, int r, const char *detail) {
        if (request_is_event(q)) {
                counters.pending--;
                request_answer_event(q->group, &q->event, r);
        } else
                q->done(q->userdata, r, detail ? detail : "");
        g_free(q);
}

void request_counters(struct request_counters *ret) {
        *ret = counters;
}
