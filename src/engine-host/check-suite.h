/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* check-suite — what every engine has to do right, tried on a running one */

#include "engine-host/check-client.h"

struct suite {
        struct client *client;
        unsigned max_entries, max_files; /* how far to go */
        int timeout_ms;                  /* for one answer */
        unsigned n_passed, n_failed;
        GPtrArray *files;    /* of struct item, borrowed from answers: the samples */
        GPtrArray *contents; /* of GByteArray, beside them */
};

/* Prints a line for each check. True when all passed. Ends the client's host. */
bool suite_run(struct suite *suite);
