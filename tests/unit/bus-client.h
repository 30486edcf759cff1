/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* bus-client — clients of the bus, which are child processes: busctl, gdbus, gdbus monitor, or the
 * test's own program. */

#include <sys/types.h>

#include "bus-world.h"
#include "dispatcher/bus/bus.h"

#define NOBODY 65534u

struct client {
        GPid pid;
        bool ended;
        int status;
        char *file; /* its output */
};

struct client *client_start(uid_t uid, const char *const *argv);
/* What it has printed by now. */
char *client_output(const struct client *client);
/* Waits, frees it, and returns the exit status. */
int client_finish(struct client *client, char **ret_output);

/* `busctl WORD…` as a user; words end with NULL. */
int busctl(uid_t uid, char **ret_output, ...) G_GNUC_NULL_TERMINATED;

#define CALL "call", BUS_NAME, BUS_OBJECT, BUS_MANAGER


/* The call works, and `part` is in what it prints. */
#define expect(uid, part, ...)                                                                     \
        do {                                                                                       \
                g_autofree char *output_ = NULL;                                                   \
                int status_ = busctl(uid, &output_, __VA_ARGS__, NULL);                            \
                assert_contains(output_, part);                                                    \
                g_assert_cmpint(status_, ==, 0);                                                   \
        } while (0)

/* It fails, with a sentence that has `part` in it. */
#define expect_error(uid, part, ...)                                                               \
        do {                                                                                       \
                g_autofree char *output_ = NULL;                                                   \
                int status_ = busctl(uid, &output_, __VA_ARGS__, NULL);                            \
                assert_contains(output_, part);                                                    \
                g_assert_cmpint(status_, !=, 0);                                                   \
        } while (0)

/* The call fails with the name, which gdbus prints; busctl prints the sentence only. Words end with
 * NULL. */
void expect_name(const char *name, const char *method, ...) G_GNUC_NULL_TERMINATED;

/* An engine of the id "web". */
void register_web(void);

/* gdbus monitor, listening. */
struct client *monitor_start(void);
/* What it heard up to a text that will come. */
char *monitor_finish(struct client *monitor, const char *last);
