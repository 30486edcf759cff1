/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* bus-world — what the tests of the bus run in: a real private dbus-daemon, and the fake daemon
 * (bus-fake.h) before a store with files of all sorts.
 *
 * The test's main loop is the daemon's. Clients are child processes (bus-client.h), and the loop
 * runs while they do. */

#include <stdbool.h>

#include <glib.h>

/* Of the world, from world_run() on. */
extern char *world_directory, *world_store, *world_address;

/* A test's case; without root, one that is skipped. */
void world_test(const char *path, void (*test)(void));
/* Makes the world, runs the tests, and removes it. */
int world_run(void);

/* Each test's: the fake daemon, and its bus. */
void world_open_bus(void);
void world_set_up(void);
void world_tear_down(void);

void bus_daemon_start(void);
void bus_daemon_kill(void);

/* The loop runs until the condition holds; `what` is for the message if it never does. */
typedef bool (*condition_fn)(void *data);
void wait_for(condition_fn condition, void *data, const char *what);
void pause_ms(unsigned ms);

#define assert_contains(text, part)                                                                \
        do {                                                                                       \
                if (!strstr(text, part))                                                           \
                        g_error("%s:%d: “%s” is not in “%s”", __FILE__, __LINE__, part, text);     \
        } while (0)
