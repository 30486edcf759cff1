/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * attach — the channel, asked for over D-Bus; see attach.h
 *
 * Done before the privileges go: a private bus may admit root only, and the daemon
 * knows its host by the process id that the bus vouches for. Afterwards the host
 * has no more business on a bus, and no connection to one.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "cloudsync/engine.h"
#include "engine-host/attach.h"
#include "shared/log.h"

#define ATTACH_TIMEOUT_USEC (30u * 1000 * 1000)

static int open_address(const char *address, sd_bus **ret) {
        sd_bus *bus = NULL;
        int r = sd_bus_new(&bus);

        if (r >= 0)
                r = sd_bus_set_address(bus, address);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, 1);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, 1);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0) {
                sd_bus_unref(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

static int open_bus(const char *name, sd_bus **ret) {
        if (strcmp(name, "system") == 0)
                return sd_bus_open_system(ret);
        if (strcmp(name, "session") == 0)
                return sd_bus_open_user(ret);
        return open_address(name, ret);
}

static int call_attach(sd_bus *bus, const char *id, sd_bus_error *error) {
        sd_bus_message *call = NULL, *reply = NULL;
        int r, fd = -1;

        r = sd_bus_message_new_method_call(bus, &call, "org.cloudsync1", "/org/cloudsync1",
                                           "org.cloudsync1.Manager", "AttachEngine");
        if (r >= 0)
                r = sd_bus_message_append(call, "su", id, CLOUDSYNC_ENGINE_ABI);
        if (r >= 0)
                r = sd_bus_call(bus, call, ATTACH_TIMEOUT_USEC, error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "h", &fd); /* stays the message's */
        if (r >= 0) {
                fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                r = fd < 0 ? -errno : fd;
        }
        sd_bus_message_unref(reply);
        sd_bus_message_unref(call);
        return r;
}

int attach_engine(const char *name, const char *id) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus *bus = NULL;
        int r;

        r = open_bus(name, &bus);
        if (r < 0) {
                log_about(LOG_ERR, id, NULL, "cannot connect to the bus '%s': %s", name,
                          strerror(-r));
                return r;
        }
        r = call_attach(bus, id, &error);
        if (r < 0)
                log_about(LOG_ERR, id, NULL, "cannot attach to the daemon: %s",
                          error.message ? error.message : strerror(-r));
        sd_bus_error_free(&error);
        sd_bus_flush_close_unref(bus);
        return r;
}
