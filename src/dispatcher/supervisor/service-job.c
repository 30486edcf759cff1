/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/supervisor/service-job.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define MANAGER "org.freedesktop.systemd1"
#define CALL_USEC 1000000u

/* The object of this process's unit. */
static int ask_unit(sd_bus *bus, sd_bus_message **reply, const char **ret) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(bus, MANAGER, "/org/freedesktop/systemd1", MANAGER ".Manager", "GetUnitByPID",
                               &error, reply, "u", (uint32_t)getpid());
        sd_bus_error_free(&error);
        return r < 0 ? r : sd_bus_message_read(*reply, "o", ret);
}

static int ask_job(sd_bus *bus, const char *unit, struct service_job *ret) {
        sd_bus_message *reply = NULL;
        const char *path;
        char *type = NULL;
        uint32_t id;
        int r;

        r = sd_bus_get_property(bus, MANAGER, unit, MANAGER ".Unit", "Job", NULL, &reply, "(uo)");
        if (r >= 0)
                r = sd_bus_message_read(reply, "(uo)", &id, &path);
        if (r >= 0 && id > 0)
                r = sd_bus_get_property_string(bus, MANAGER, path, MANAGER ".Job", "JobType", NULL, &type);
        if (r >= 0)
                (void)snprintf(ret->type, sizeof ret->type, "%s", type ? type : "");
        free(type);
        sd_bus_message_unref(reply);
        return r;
}

static int ask_service(sd_bus *bus, const char *unit, struct service_job *ret) {
        char *restart = NULL;
        uint32_t stored = 0;
        int r;

        r = sd_bus_get_property_trivial(bus, MANAGER, unit, MANAGER ".Service", "NFileDescriptorStore", NULL,
                                        'u', &stored);
        if (r >= 0)
                r = sd_bus_get_property_string(bus, MANAGER, unit, MANAGER ".Service", "Restart", NULL,
                                               &restart);
        ret->stored = stored;
        ret->restarts = restart && strcmp(restart, "no") != 0;
        free(restart);
        return r;
}

int service_job_ask(struct service_job *ret) {
        sd_bus_message *reply = NULL;
        const char *unit = NULL;
        sd_bus *bus = NULL;
        int r;

        *ret = (struct service_job){.type = ""};
        (void)alarm(SERVICE_JOB_SECONDS);
        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_set_method_call_timeout(bus, CALL_USEC);
        if (r >= 0)
                r = ask_unit(bus, &reply, &unit);
        if (r >= 0)
                r = ask_job(bus, unit, ret);
        if (r >= 0)
                r = ask_service(bus, unit, ret);
        sd_bus_message_unref(reply);
        sd_bus_close_unref(bus);
        (void)alarm(0);
        return r < 0 ? r : 0;
}

bool service_job_is_followed(const struct service_job *job) {
        if (job->type[0] == '\0')
                return job->restarts;
        return strcmp(job->type, "restart") == 0 || strcmp(job->type, "start") == 0;
}
