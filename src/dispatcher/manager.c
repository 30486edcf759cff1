/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/manager.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define SOCKET "unix:path=/run/systemd/private"
#define NAME "org.freedesktop.systemd1"
#define PATH "/org/freedesktop/systemd1"
#define TIMEOUT_USEC 1000000u

static int manager_open(sd_bus **ret) {
        sd_bus *bus = NULL;
        int r = sd_bus_new(&bus);

        if (r >= 0)
                r = sd_bus_set_address(bus, SOCKET);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                r = sd_bus_set_method_call_timeout(bus, TIMEOUT_USEC);
        if (r < 0)
                sd_bus_close_unref(bus);
        else
                *ret = bus;
        return r;
}

int manager_goes_down(void) {
        char *state = NULL;
        sd_bus *bus;
        int r = manager_open(&bus);

        if (r < 0)
                return r;
        r = sd_bus_get_property_string(bus, NULL, PATH, NAME ".Manager", "SystemState", NULL, &state);
        if (r >= 0)
                r = strcmp(state, "stopping") == 0;
        free(state);
        sd_bus_close_unref(bus);
        return r;
}

int manager_count_stored(pid_t pid) {
        sd_bus_message *reply = NULL;
        const char *unit;
        uint32_t count;
        sd_bus *bus;
        int r = manager_open(&bus);

        if (r < 0)
                return r;
        r = sd_bus_call_method(bus, NULL, PATH, NAME ".Manager", "GetUnitByPID", NULL, &reply, "u", (uint32_t)pid);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &unit);
        if (r >= 0)
                r = sd_bus_get_property_trivial(bus, NULL, unit, NAME ".Service", "NFileDescriptorStore", NULL, 'u',
                                                &count);
        if (r >= 0)
                r = count > INT_MAX ? INT_MAX : (int)count;
        sd_bus_message_unref(reply);
        sd_bus_close_unref(bus);
        return r;
}
