/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-login — the Manager's Login, FinishLogin and Logout; documented in
 * data/dbus/org.cloudsync1.xml
 *
 * The daemon only passes on what engine and person have to say to each other. A code is a
 * secret: the methods are SENSITIVE (sd-bus erases the messages), nothing of them is logged, and
 * what is copied on the way is erased by whoever copied it (engine.c, provider.c).
 *
 * For root alone, as registering is: a login decides whose files everybody sees.
 */

#include <string.h>

#include "dispatcher/bus/bus.h"

static void login_done(void *userdata, int r, const char *reply, const Failure *failure) {
        BUS_UNREF sd_bus_message *message = NULL;
        g_autoptr(BusCall) call = userdata;
        g_autofree char *text = NULL;

        if (r < 0) {
                bus_call_reply_failure(g_steal_pointer(&call), r, failure);
                return;
        }
        text = g_utf8_make_valid(reply, -1); /* an engine's: any bytes */
        r = sd_bus_message_new_method_return(bus_call_message(call), &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "s", text);
        if (r < 0)
                bus_call_reply_failure(g_steal_pointer(&call), r, NULL);
        else
                bus_call_reply(g_steal_pointer(&call), message);
}

static int login_step(Bus *bus, sd_bus_message *message, enum cs_login_step step, sd_bus_error *error) {
        g_auto(Failure) failure = FAILURE_INIT;
        g_autoptr(BusCall) call = NULL;
        const char *id, *text = "";
        int r;

        r = bus_require_root(bus, message, error);
        if (r < 0)
                return r;
        r = sd_bus_message_read(message, "s", &id);
        if (r >= 0 && step == CS_LOGIN_FINISH)
                r = sd_bus_message_read(message, "s", &text);
        if (r < 0)
                return r;
        if (strlen(text) > CS_LOGIN_TEXT_MAX) {
                r = failure_set(&failure, -E2BIG, "LoginFailed", "A code has at most %u bytes",
                                CS_LOGIN_TEXT_MAX);
                return bus_error(error, r, &failure);
        }
        call = bus_call_new(bus, message, BUS_CALL_LONG, error);
        if (!call)
                return -EBUSY;
        r = daemon_login(bus->daemon, id, step, text, login_done, call, &failure);
        if (r < 0)
                bus_call_reply_failure(g_steal_pointer(&call), r, &failure);
        else
                call = NULL; /* login_done() has it */
        return 1;
}

int bus_method_login(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return login_step(userdata, message, CS_LOGIN_BEGIN, error);
}

int bus_method_finish_login(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return login_step(userdata, message, CS_LOGIN_FINISH, error);
}

int bus_method_logout(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return login_step(userdata, message, CS_LOGIN_LOGOUT, error);
}
