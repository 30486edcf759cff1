/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From the command line to one verb's function; --help and --version. */

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "ctl/ctl.h"
#include "ctl/format.h"

const struct verb *const ctl_verbs[] = {
        &verb_status, &verb_engine_list, &verb_engine_add, &verb_engine_remove, &verb_engine_show,
        &verb_login,  &verb_logout,      &verb_ls,         &verb_hydrate,       &verb_refresh,
        &verb_transfers, &verb_store_create,
};
const size_t ctl_n_verbs = G_N_ELEMENTS(ctl_verbs);

static const char *const planned[] = {"evict", "pin", "unpin"};

const struct verb *ctl_find_verb(char **words, unsigned n, unsigned *used) {
        for (size_t i = 0; i < ctl_n_verbs; i++) {
                const char *name = ctl_verbs[i]->name, *blank = strchr(name, ' ');
                size_t first = blank ? (size_t)(blank - name) : strlen(name);

                if (n < 1 || strlen(words[0]) != first || memcmp(words[0], name, first) != 0)
                        continue;
                if (!blank) {
                        *used = 1;
                        return ctl_verbs[i];
                }
                if (n >= 2 && strcmp(words[1], blank + 1) == 0) {
                        *used = 2;
                        return ctl_verbs[i];
                }
        }
        return NULL;
}

static const char global_help[] =
        "Options, before or after the command:\n"
        "  --bus system|session|ADDRESS  where cloudsyncd is (default: $CLOUDSYNC_BUS,\n"
        "                                or system)\n"
        "  --json                        print JSON for programs, see cloudsyncctl(1)\n"
        "  --no-color                    no colours (nor with $NO_COLOR, nor to a file)\n"
        "  -h, --help                    this help; COMMAND --help tells more about one\n"
        "  --version                     print the version\n";

static void print_help(void) {
        size_t width = 0;

        puts("Usage: cloudsyncctl [OPTION…] COMMAND …\n"
             "\n"
             "Shows and steers cloudsyncd, which makes remote trees appear as local files\n"
             "whose content is fetched when it is first read.\n"
             "\n"
             "Commands:");
        for (size_t i = 0; i < ctl_n_verbs; i++)
                width = MAX(width, format_width(ctl_verbs[i]->name) +
                                           format_width(ctl_verbs[i]->synopsis) + 1);
        width = MIN(width, 26u); /* so that a line has 80 columns */
        for (size_t i = 0; i < ctl_n_verbs; i++) {
                const struct verb *verb = ctl_verbs[i];
                g_autofree char *left = g_strdup_printf("%s %s", verb->name, verb->synopsis);
                size_t used = format_width(left);
                if (used > width)
                        printf("  %s\n  %*s  %s\n", left, (int)width, "", verb->summary);
                else
                        printf("  %s%*s  %s\n", left, (int)(width - used), "", verb->summary);
        }
        printf("\n%s\n", global_help);
        puts("First steps:\n"
             "  cloudsyncctl store create --size 20G --fs ext4 /var/lib/cloudsync/store.img\n"
             "  cloudsyncctl engine add docs httpfs docs url=https://example.org/docs/\n"
             "  cloudsyncctl status");
}

static void print_verb_help(const struct verb *verb) {
        printf("Usage: cloudsyncctl %s %s\n\n%s.\n\n%s\n%s", verb->name, verb->synopsis,
               verb->summary, verb->help, global_help);
}

static int unknown_verb(const char *word) {
        g_autofree char *shown = format_name(word);

        for (size_t i = 0; i < G_N_ELEMENTS(planned); i++)
                if (strcmp(word, planned[i]) == 0)
                        return ctl_usage(NULL, "\"%s\" is planned, and not in this version (%s)",
                                         shown, CLOUDSYNC_VERSION);
        for (size_t i = 0; i < ctl_n_verbs; i++)
                if (g_str_has_prefix(ctl_verbs[i]->name, word) &&
                    ctl_verbs[i]->name[strlen(word)] == ' ')
                        return ctl_usage(NULL, "\"%s\" needs a second word, such as \"%s\"", shown,
                                         ctl_verbs[i]->name);
        return ctl_usage(NULL, "there is no command \"%s\"", shown);
}

static int run_verb(struct ctl *ctl, const struct verb *verb, char **words, unsigned n) {
        if (n < verb->min_words)
                return ctl_usage(verb->name, "%s needs more: %s %s", verb->name, verb->name,
                                 verb->synopsis);
        if (n > verb->max_words) {
                g_autofree char *shown = format_name(words[verb->max_words]);
                return ctl_usage(verb->name, "%s does not take \"%s\"", verb->name, shown);
        }
        return verb->run(ctl, words, n);
}

/* The verb's own options are known only once its words are: look at the words first. */
static int find_words(int argc, char **argv, const struct arg_option *global, GPtrArray *words,
                      const struct verb **verb, unsigned *used) {
        const struct arg_option *tables[] = {global, NULL};
        g_autofree char *error = NULL;
        int at = 0, r;

        *verb = NULL;
        while (!*verb && words->len < 2 && at < argc) {
                r = args_parse(argc - at, argv + at, tables, true, words, &error);
                if (r < 0)
                        return ctl_usage(NULL, "%s", error);
                at += r;
                *verb = ctl_find_verb((char **)words->pdata, words->len, used);
        }
        if (!*verb)
                return CTL_OK;

        const struct arg_option *all[] = {global, (*verb)->options, NULL};
        r = args_parse(argc - at, argv + at, all, false, words, &error);
        if (r < 0)
                return ctl_usage((*verb)->name, "%s", error);
        return CTL_OK;
}

int ctl_main(int argc, char **argv) {
        bool help = false, version = false, color = true;
        struct ctl ctl = {.bus_address = getenv("CLOUDSYNC_BUS")};
        g_autoptr(GPtrArray) words = g_ptr_array_new();
        const struct verb *verb;
        unsigned used = 0;

        const struct arg_option global[] = {
                {"bus", 0, ARG_VALUE, &ctl.bus_address}, {"json", 0, ARG_FLAG, &ctl.json},
                {"no-color", 0, ARG_CLEAR, &color},      {"help", 'h', ARG_FLAG, &help},
                {"version", 0, ARG_FLAG, &version},      {NULL, 0, 0, NULL},
        };

        setlocale(LC_ALL, "");
        int r = find_words(argc - 1, argv + 1, global, words, &verb, &used);
        if (r != CTL_OK)
                return r;
        if (version) {
                puts("cloudsyncctl " CLOUDSYNC_VERSION);
                return CTL_OK;
        }
        if (help && verb)
                print_verb_help(verb);
        else if (help)
                print_help();
        if (help)
                return CTL_OK;
        if (words->len == 0) {
                print_help();
                return CTL_USAGE;
        }
        if (!verb)
                return unknown_verb(g_ptr_array_index(words, 0));

        if (!ctl.bus_address || !*ctl.bus_address)
                ctl.bus_address = "system";
        const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
        bool terminal = isatty(STDOUT_FILENO) && !(term && strcmp(term, "dumb") == 0);
        ctl.color = color && terminal && !ctl.json && !(no_color && *no_color);
        ctl.live = terminal && !ctl.json;

        r = run_verb(&ctl, verb, (char **)words->pdata + used, words->len - used);
        sd_bus_flush_close_unref(ctl.bus);
        if (fflush(stdout) != 0 || ferror(stdout)) {
                ctl_error("cannot write the output: %s", strerror(errno));
                return CTL_FAILED;
        }
        return r;
}
