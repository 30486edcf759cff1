/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * ctl — what the verbs of cloudsyncctl share
 *
 * A verb is a table entry: its words, its help, its options, its function.
 * main.c reads the command line and calls one. Results go to stdout, as text
 * for people or as JSON; what went wrong goes to stderr, one sentence that
 * names the object and the reason, and one that says what to do next.
 */

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "ctl/args.h"

enum {
        CTL_OK = 0,     /* all of it worked */
        CTL_FAILED = 1, /* some of it did not */
        CTL_USAGE = 2,  /* the command line makes no sense; nothing was done */
};

struct ctl {
        const char *bus_address; /* "system", "session" or a D-Bus address */
        bool json;
        bool color;  /* stdout is a terminal and takes colours */
        bool live;   /* stdout is a terminal that can be redrawn, and people read it */
        sd_bus *bus; /* made by ctl_connect() */
};

struct verb {
        const char *name;                 /* "status", "engine add" */
        const char *synopsis;             /* what follows the name */
        const char *summary;              /* one line */
        const char *help;                 /* the rest of VERB --help */
        const struct arg_option *options; /* ends with name == NULL; may be NULL */
        unsigned min_words, max_words;
        int (*run)(struct ctl *ctl, char **words, unsigned n); /* → CTL_* */
};

extern const struct verb verb_status, verb_engine_list, verb_engine_add, verb_engine_remove,
        verb_engine_show, verb_login, verb_logout, verb_ls, verb_hydrate, verb_refresh, verb_transfers, verb_store_create;

/* All of them, in the order that help shows. */
extern const struct verb *const ctl_verbs[];
extern const size_t ctl_n_verbs;

/* The verb that words[0], or words[0] and words[1], name; *used is how many of them.
 * NULL: there is none. */
const struct verb *ctl_find_verb(char **words, unsigned n, unsigned *used);

/* Reads the command line and runs it. → CTL_* */
int ctl_main(int argc, char **argv);

/* "cloudsyncctl: …" on stderr. */
void ctl_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What to do next, below it. */
void ctl_hint(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A usage error: the sentence and where help is. Returns CTL_USAGE. */
int ctl_usage(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints a JSON document and frees it. `line`: on one line. */
void ctl_print_json(struct json_object *object, bool line);

/* Adds a string that may hold any bytes, as KEY; when it is not UTF-8, escaped, and with
 * KEY_escaped: true beside it. */
void ctl_json_add_name(struct json_object *object, const char *key, const char *name);

/* The path as the daemon and lstat() should see it: absolute, symlinks resolved. Directories
 * on the way that were not listed yet are listed (that is what makes their entries
 * exist). What does not exist is made absolute by its text alone. To be freed. */
char *ctl_resolve_path(const char *path);
