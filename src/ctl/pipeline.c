/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/pipeline.h"

#include <errno.h>
#include <signal.h>

struct pipeline {
        const struct pipeline_ops *ops;
        void *userdata;
        unsigned in_flight;
        bool exhausted; /* next() has no more */
};

struct flight {
        struct pipeline *pipeline;
        void *item;
        sd_bus_slot *slot; /* owned */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) {
        interrupted = 1;
}

void pipeline_catch_interrupt(void) {
        /* No SA_RESTART: poll() is to end. */
        struct sigaction action = {.sa_handler = on_interrupt};

        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
}

static void flight_free(gpointer data) {
        struct flight *flight = data;
        sd_bus_slot_unref(flight->slot);
        g_free(flight);
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct flight *flight = userdata;

        flight->pipeline->in_flight--;
        flight->pipeline->ops->done(flight->pipeline->userdata, flight->item, reply);
        flight->slot = sd_bus_slot_unref(flight->slot);
        return 1;
}

/* Makes calls up to the limit. `flights` owns them until the run ends: leaving early cancels
 * those that still wait for a reply. */
static int fill(struct ctl *ctl, struct pipeline *p, GPtrArray *flights, unsigned limit,
                uint64_t timeout) {
        while (!p->exhausted && p->in_flight < limit) {
                __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *call = NULL;
                void *item = NULL;

                int r = p->ops->next(p->userdata, &call, &item);
                if (r < 0)
                        return r;
                if (r == 0) {
                        p->exhausted = true;
                        break;
                }
                struct flight *flight = g_new0(struct flight, 1);
                flight->pipeline = p;
                flight->item = item;
                g_ptr_array_add(flights, flight);
                r = sd_bus_call_async(ctl->bus, &flight->slot, call, on_reply, flight, timeout);
                if (r < 0)
                        return r;
                p->in_flight++;
        }
        return 0;
}

/* One step: what has arrived, or else a wait until `until` (monotonic µs) at most. */
static int step(struct ctl *ctl, uint64_t until) {
        int r = sd_bus_process(ctl->bus, NULL);

        if (r != 0)
                return r;
        uint64_t now = g_get_monotonic_time();
        r = sd_bus_wait(ctl->bus, until == UINT64_MAX ? UINT64_MAX : until > now ? until - now : 0);
        return r == -EINTR && !interrupted ? 0 : r;
}

int pipeline_run(struct ctl *ctl, const struct pipeline_ops *ops, void *userdata, unsigned limit,
                 uint64_t timeout, uint64_t interval) {
        struct pipeline p = {.ops = ops, .userdata = userdata, .exhausted = limit == 0};
        g_autoptr(GPtrArray) flights = g_ptr_array_new_with_free_func(flight_free);
        uint64_t next_tick = ops->tick ? (uint64_t)g_get_monotonic_time() + interval : UINT64_MAX;

        for (;;) {
                int r = fill(ctl, &p, flights, limit, timeout);
                if (r < 0)
                        return r;
                if (limit > 0 && p.exhausted && p.in_flight == 0)
                        return 0;
                r = step(ctl, next_tick);
                if (interrupted)
                        return -EINTR;
                if (r < 0)
                        return r;
                if (ops->tick && (uint64_t)g_get_monotonic_time() >= next_tick) {
                        if (!ops->tick(userdata))
                                return 0;
                        next_tick = (uint64_t)g_get_monotonic_time() + interval;
                }
        }
}
