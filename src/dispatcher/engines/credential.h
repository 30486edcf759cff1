/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * credential — the service manager's secrets for engines
 *
 * systemd puts what LoadCredential= and LoadCredentialEncrypted= name into files that only this
 * service sees, in $CREDENTIALS_DIRECTORY; an engine's token is the one called
 * cloudsync.ID.token. It is read when the engine's host gets its channel, sent to it, and
 * kept nowhere: not in the registration, not on the bus, not in the state directory.
 */

/* The token without the newline at its end, or NULL when there is none or it cannot be used
 * (which is logged). To credential_forget(). */
char *credential_token(const char *engine_id);
void credential_forget(char *secret);
