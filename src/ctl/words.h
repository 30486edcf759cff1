/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* words — what the daemon's terms mean, in sentences. Pure. */

#include "ctl/table.h"

/* One layer of protection ("hsmid", "bpf", "fdstore", "supervisor", "detach"), explained; one that is not
 * known comes back as it is. */
const char *words_layer(const char *layer);

/* What is missing from the layers, or NULL: a warning when none outlives the daemon.
 * `layers` ends with NULL; may be NULL. */
const char *words_layers_warning(const char *const *layers);

/* The colour of a file's or an engine's state. */
enum table_color words_state_color(const char *state);
