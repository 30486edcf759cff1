/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * ctl-fake — an org.cloudsync1 whose answers a test knows beforehand
 *
 * On a real dbus-daemon of its own, in a child process. Not a model of the daemon: it is
 * there so that cloudsyncctl can be shown every answer, the rare ones included. What a
 * file's name begins with decides:
 *
 *     cold   placeholder     part   half of it is here     own    NotAPlaceholder
 *     bad    HydrationFailed, with an escape sequence in the message
 *     die    the service ends
 *     slow   hydrated a second later than others, with TransferProgress signals
 */

#include <glib.h>

struct fake {
        char *directory; /* the store; removed by fake_stop() */
        char *address;   /* of the bus */
        GPid bus, service;
};

void fake_start(struct fake *fake);
/* Ends the service; the bus stays. */
void fake_stop_service(struct fake *fake);
void fake_stop(struct fake *fake);
