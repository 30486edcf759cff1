/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-signals: what is announced on the bus, and to whom what is not told, with gdbus as the
 * listener (bus-world.h).
 */

#include <string.h>

#include "bus-client.h"
#include "bus-fake.h"

/* Root sees values when it asks for them; nobody else does, and no signal has them. */
static void test_secrets(void) {
        g_autofree char *output = NULL;
        struct client *monitor;
        const char *const objects[] = {"org.freedesktop.DBus.ObjectManager", "GetManagedObjects"};

        world_set_up();
        monitor = monitor_start();
        register_web();
        fake_set_state("web", ENGINE_FAILED, "broken \xff");
        expect(0, "a{ss} 3", "get-property", BUS_NAME, BUS_ENGINES "/web", BUS_ENGINE, "Settings");
        expect(0, "\"password\" \"hunter2\"", "get-property", BUS_NAME, BUS_ENGINES "/web",
               BUS_ENGINE, "Settings");
        expect(0, "hunter2", "call", BUS_NAME, BUS_OBJECT, objects[0], objects[1]);
        expect(NOBODY, "\"password\" \"\"", "get-property", BUS_NAME, BUS_ENGINES "/web",
               BUS_ENGINE, "Settings");
        expect(NOBODY, "\"url\" \"\"", "call", BUS_NAME, BUS_OBJECT, objects[0], objects[1]);
        expect(NOBODY, "\"failed\"", "call", BUS_NAME, BUS_ENGINES "/web",
               "org.freedesktop.DBus.Properties", "GetAll", "s", BUS_ENGINE);
        expect(0, "", CALL, "UnregisterEngine", "s", "web");
        output = monitor_finish(monitor, "EngineRemoved");
        assert_contains(output, "org.cloudsync1.Manager.EngineAdded ('web', objectpath "
                                "'/org/cloudsync1/engine/web')");
        assert_contains(output, "InterfacesAdded");
        assert_contains(output, "PropertiesChanged");
        assert_contains(output, "'State': <'failed'>");
        assert_contains(output, "'StateDetail': <'broken ");
        assert_contains(output, "InterfacesRemoved");
        assert_contains(output, "EngineRemoved");
        assert_contains(output, "'password': ''");
        g_assert_null(strstr(output, "hunter2"));
        g_assert_null(strstr(output, "http://x/"));
        world_tear_down();
}

static unsigned count(const char *text, const char *part) {
        unsigned n = 0;

        for (const char *s = text; (s = strstr(s, part)); s += strlen(part))
                n++;
        return n;
}

static void test_transfers(void) {
        g_autofree char *output = NULL;
        struct client *monitor;

        world_set_up();
        register_web();
        monitor = monitor_start();

        bus_transfer_started(fake.bus, 1, "web", 1000);
        bus_transfer_progress(fake.bus, 1, 10, 1000); /* too soon */
        for (uint64_t i = 1000; i < 4000; i++)
                bus_transfer_started(fake.bus, i, "web", i);
        for (uint64_t i = 1000; i < 4000; i++)
                if (i != 3333)
                        bus_transfer_finished(fake.bus, i, i, NULL);
        pause_ms(300);
        bus_transfer_progress(fake.bus, 1, 500, 1000);
        bus_transfer_progress(fake.bus, 1, 501, 1000);  /* too soon again */
        bus_transfer_progress(fake.bus, 3333, 7, 3333); /* announced now */
        bus_transfer_finished(fake.bus, 3333, 3333, NULL);
        bus_transfer_finished(fake.bus, 1, 600, "it broke \xff");
        bus_transfer_finished(fake.bus, 1, 600, "unknown by now");
        bus_transfer_progress(fake.bus, 1, 600, 1000);
        bus_engine_removed(fake.bus, "web");
        output = monitor_finish(monitor, "EngineRemoved");
        assert_contains(output, "TransferStarted (uint64 1, 'web', uint64 1000)");
        assert_contains(output, "TransferProgress (uint64 1, uint64 500, uint64 1000)");
        assert_contains(output, "TransferFinished (uint64 1, uint64 600, 'it broke ");
        assert_contains(output, "TransferStarted (uint64 3333, 'web', uint64 3333)");
        assert_contains(output, "TransferProgress (uint64 3333, uint64 7, uint64 3333)");
        assert_contains(output, "TransferFinished (uint64 3333, uint64 3333, '')");
        g_assert_cmpuint(count(output, "TransferProgress"), ==, 2);
        g_assert_cmpuint(count(output, "TransferStarted"), ==, count(output, "TransferFinished"));
        g_assert_cmpuint(count(output, "TransferStarted"), <=, 2 * 100 + 1);
        g_assert_cmpuint(count(output, "TransferStarted"), >=, 100);
        world_tear_down();
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        world_test("/bus-signals/secrets", test_secrets);
        world_test("/bus-signals/transfers", test_transfers);
        return world_run();
}
