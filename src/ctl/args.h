/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * args — the command line, without global state. Pure.
 *
 * Options may stand anywhere, before and after the verb's own words; "--" ends
 * them. Values are taken as "--name VALUE" or "--name=VALUE".
 */

#include <glib.h>
#include <stdbool.h>

enum arg_kind {
        ARG_FLAG,  /* target: bool *, set to true */
        ARG_CLEAR, /* target: bool *, set to false */
        ARG_VALUE, /* target: const char **, points into argv */
        ARG_LIST,  /* target: GPtrArray **, made when NULL; const char * into argv */
};

struct arg_option {
        const char *name; /* without "--" */
        char letter;      /* or 0 */
        enum arg_kind kind;
        void *target;
};

/* Sorts argv[0 … argc) into options and words. `tables` is a NULL-terminated list of
 * arrays that end with name == NULL. With `first_only` it stops after the first word.
 * Returns the number of arguments looked at, or -EINVAL and a sentence in *error (to be
 * freed with g_free()). Words are appended to `words`, pointing into argv. */
int args_parse(int argc, char **argv, const struct arg_option *const *tables, bool first_only,
               GPtrArray *words, char **error);

/* "key=value" → *key (to be freed) and *value (into `text`). 0, or -EINVAL when there is no
 * '=' or nothing in front of it. */
int args_split_setting(const char *text, char **key, const char **value);
