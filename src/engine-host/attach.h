/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Calls AttachEngine(id) of org.cloudsync1 on `bus` (an address, "system" or "session")
 * and closes the connection. The channel, the caller's; or -errno after a log line. */
int attach_engine(const char *bus, const char *id);
