/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * config — cloudsync.conf and the command line, read once, then constant
 *
 * An unknown group or key is an error that names file and key: a misspelt
 * `FulBelow=` must not silently mean the default.
 */

#include "dispatcher/failure.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Config {
        /* command line */
        char *file, *bus, *state_dir, *module_dir, *host_path, *engine_user;
        int log_level;
        /* [Store] */
        char *path, *device, *filesystem, *hsmid;
        unsigned shutdown_limit_s;    /* holders.h */
        /* [Hydration] */
        uint64_t full_below;          /* bytes */
        unsigned deadline_s;          /* per event */
        unsigned max_pending;         /* events in hand before the group is left unread */
        unsigned max_transfers;       /* per engine */
        /* program names (comm), NULL-terminated, never NULL: the built-in ones, and those of
         * SequentialReaders=, where !NAME takes one away */
        char **sequential_readers;
        /* where engines.d is: beside the file */
        char *engines_dir;
} Config;

#define CONFIG_SHUTDOWN_LIMIT_S 150u /* what belongs to a unit has been killed by then: 90 s, sessions 120 s */
#define CONFIG_FULL_BELOW (16u * 1024 * 1024)
#define CONFIG_DEADLINE_S 60u
#define CONFIG_MAX_PENDING 32000u
#define PENDING_MAX 1000000u
#define CONFIG_MAX_TRANSFERS 32u
#define CONFIG_MAX_TRANSFERS_LIMIT 96 /* CHANNEL_REQUESTS_MAX */
#define CONFIG_HSMID "cloudsync"      /* HsmId= empty: NULL, not tried */

/* In the environment of --check: "PATH\nDEVICE" of the store that is attached. Another store in the
 * configuration is an error then. */
#define CONFIG_CHECK_STORE "CLOUDSYNC_CHECK_STORE"

/* Parses argv (--help and --version print and set *ret_exit; *ret is not set then) and
 * the file. --check sets *ret_exit after both were found good. */
int config_load(int argc, char **argv, Config **ret, bool *ret_exit, Failure *failure);
void config_free(Config *config);

/* Pure; 0 or -EINVAL. A size is bytes, or a number with K, M, G or T (1024) behind it. */
int config_parse_size(const char *s, uint64_t *ret);
int config_parse_level(const char *s, int *ret); /* "error" … "debug" to LOG_ERR … LOG_DEBUG */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, config_free)
