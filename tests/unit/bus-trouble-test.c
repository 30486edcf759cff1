/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-trouble: many calls at once, and a bus that dies or is closed under calls (bus-world.h).
 *
 * Called as `bus-trouble-test CLIENT ADDRESS`, the program is a client itself, for what the tools
 * cannot do: many calls on one connection without waiting.
 */

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bus-client.h"
#include "bus-fake.h"

static char *program;

/* --- many at once --- */

static struct client *own_client(uid_t uid, const char *what) {
        const char *argv[] = {program, what, world_address, NULL};

        return client_start(uid, argv);
}

static bool has_waiting(void *data) {
        return g_queue_get_length(&fake.waiting) >= GPOINTER_TO_UINT(data);
}

/* 100 hydrations of one user: 64 are under way, 36 refused at once. He can still look,
 * and root comes through. */
static void test_limit(void) {
        g_autofree char *output = NULL;
        struct client *flood;

        world_set_up();
        fake.hold = true;
        flood = own_client(NOBODY, "flood");
        wait_for(has_waiting, GUINT_TO_POINTER(64), "the flood");
        fake.hold = false;
        expect_error(NOBODY, "Too many calls", CALL, "Hydrate", "s", "public");
        expect(NOBODY, "\"web\"", CALL, "GetFileStatus", "s", "public");
        expect(0, "", CALL, "Hydrate", "s", "public");
        g_assert_false(flood->ended);
        g_assert_cmpuint(g_queue_get_length(&fake.waiting), ==, 64);
        fake_release(0, NULL);
        g_assert_cmpint(client_finish(flood, &output), ==, 0);
        g_assert_cmpstr(output, ==, "good 64, busy 36\n");
        expect(NOBODY, "", CALL, "Hydrate", "s", "public");
        world_tear_down();
}

static void test_order(void) {
        g_autofree char *output = NULL;

        world_set_up();
        g_assert_cmpint(client_finish(own_client(0, "order"), &output), ==, 0);
        g_assert_cmpstr(output, ==, "good 3000, busy 0\n");
        g_assert_cmpuint(fake.engines->len, ==, 0);
        world_tear_down();
}

/* --- the bus comes and goes --- */

static bool is_connected(void *data) {
        return fake.bus->ready;
}

static bool is_disconnected(void *data) {
        return fake.bus->connection == NULL;
}

static struct client *hydrate_and_hold(void) {
        g_autofree char *where = g_strconcat("--address=", world_address, NULL);
        const char *argv[] = {"busctl", where, CALL, "Hydrate", "s", "public", NULL};
        struct client *client;

        fake.hold = true;
        client = client_start(NOBODY, argv);
        wait_for(has_waiting, GUINT_TO_POINTER(1), "the call");
        fake.hold = false;
        return client;
}

static void test_bus_dies(void) {
        struct client *client;

        world_set_up();
        register_web();
        for (int i = 0; i < 3; i++) {
                g_autofree char *output = NULL;

                client = hydrate_and_hold();
                bus_daemon_kill();
                g_assert_cmpint(client_finish(client, &output), !=, 0);
                wait_for(is_disconnected, NULL, "the loss to be seen");
                bus_engine_added(fake.bus, daemon_engine(fake.daemon, "web"));
                bus_transfer_started(fake.bus, 5, "web", 5);
                bus_transfer_finished(fake.bus, 5, 5, NULL);
                if (i == 1)
                        pause_ms(1500); /* some tries in vain */
                if (i < 2)
                        fake_release(0, NULL); /* an answer that goes nowhere */
                bus_daemon_start();
                wait_for(is_connected, NULL, "the daemon to come back");
                fake_release(0, NULL);
                expect(NOBODY, "\"web\"", CALL, "ListEngines");
                expect(0, "s \"web\"", "get-property", BUS_NAME, BUS_ENGINES "/web", BUS_ENGINE,
                       "Id");
        }
        world_tear_down();
}

static void test_close_with_calls(void) {
        g_autofree char *output = NULL;
        struct client *client;

        world_set_up();
        client = hydrate_and_hold();
        bus_close(fake.bus);
        fake.bus = NULL;
        g_assert_cmpint(client_finish(client, &output), !=, 0);
        fake_release(0, NULL);
        world_tear_down();
}

static bool has_call(void *data) {
        return fake.bus->n_calls > 0;
}

/* Closed while a pool thread looks the path up. */
static void test_close_in_flight(void) {
        g_autofree char *where = g_strconcat("--address=", world_address, NULL);
        const char *argv[] = {"busctl", where, CALL, "Hydrate", "s", "public", NULL};
        g_autofree char *output = NULL;
        struct client *client;

        world_set_up();
        client = client_start(NOBODY, argv);
        wait_for(has_call, NULL, "the call");
        bus_close(fake.bus);
        fake.bus = NULL;
        g_assert_cmpint(client_finish(client, &output), !=, 0);
        g_assert_cmpuint(fake.hydrations, <=, 1);
        world_tear_down();
}

/* --- the client in this program --- */

static unsigned client_good, client_busy, client_left;

static int on_reply(sd_bus_message *reply, void *data, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);

        if (!e)
                client_good++;
        else if (strcmp(e->name, BUS_ERROR "Busy") == 0)
                client_busy++;
        else
                fprintf(stderr, "%s: %s\n", e->name, e->message);
        client_left--;
        return 0;
}

static void send_call(sd_bus *bus, const char *method, const char *types, const char *a,
                      const char *b, const char *c) {
        sd_bus_message *message = NULL;

        g_assert_cmpint(sd_bus_message_new_method_call(bus, &message, BUS_NAME, BUS_OBJECT,
                                                       BUS_MANAGER, method),
                        >=, 0);
        if (b)
                g_assert_cmpint(sd_bus_message_append(message, types, a, b, c, 0u), >=, 0);
        else
                g_assert_cmpint(sd_bus_message_append(message, types, a), >=, 0);
        g_assert_cmpint(sd_bus_call_async(bus, NULL, message, on_reply, NULL, UINT64_MAX), >=, 0);
        (void)sd_bus_message_unref(message);
        client_left++;
}

static sd_bus *client_connect(const char *where) {
        sd_bus *bus = NULL;

        g_assert_cmpint(sd_bus_new(&bus), >=, 0);
        g_assert_cmpint(sd_bus_set_address(bus, where), >=, 0);
        g_assert_cmpint(sd_bus_set_bus_client(bus, 1), >=, 0);
        g_assert_cmpint(sd_bus_start(bus), >=, 0);
        return bus;
}

static void client_process(sd_bus *bus) {
        while (client_left > 0) {
                int r = sd_bus_process(bus, NULL);

                g_assert_cmpint(r, >=, 0);
                if (r == 0)
                        g_assert_cmpint(sd_bus_wait(bus, UINT64_MAX), >=, 0);
        }
        (void)sd_bus_flush_close_unref(bus);
}

/* On a new connection, calls that only work in their order, spread around the moment at
 * which the daemon learns who the sender is. */
static void client_order(const char *where) {
        sd_bus *bus = client_connect(where);

        for (int i = 0; i < 30; i++) {
                send_call(bus, "RegisterEngine", "sssa{ss}", "web", "httpfs", "a");
                send_call(bus, "UnregisterEngine", "s", "web", NULL, NULL);
                (void)sd_bus_flush(bus);
                g_usleep((gulong)g_random_int_range(0, 100));
        }
        client_process(bus);
}

static int client_main(const char *what, const char *where) {
        if (strcmp(what, "flood") == 0) {
                sd_bus *bus = client_connect(where);

                for (int i = 0; i < 100; i++)
                        send_call(bus, "Hydrate", "s", "public", NULL, NULL);
                client_process(bus);
        } else if (strcmp(what, "order") == 0) {
                for (int i = 0; i < 50; i++)
                        client_order(where);
        } else {
                return 2;
        }
        printf("good %u, busy %u\n", client_good, client_busy);
        return 0;
}

int main(int argc, char **argv) {
        int r;

        if (argc == 3 && argv[1][0] != '-')
                return client_main(argv[1], argv[2]);
        g_test_init(&argc, &argv, NULL);
        program = g_file_read_link("/proc/self/exe", NULL);
        world_test("/bus-trouble/limit", test_limit);
        world_test("/bus-trouble/order", test_order);
        world_test("/bus-trouble/bus-dies", test_bus_dies);
        world_test("/bus-trouble/close-with-calls", test_close_with_calls);
        world_test("/bus-trouble/close-in-flight", test_close_in_flight);
        r = world_run();
        g_free(program);
        return r;
}
