/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "ctl/args.h"
#include "ctl/bus.h"
#include "ctl/ctl.h"

struct parsed {
        const char *bus;
        bool json, color;
        GPtrArray *files;
        GPtrArray *words;
        char *error;
        int r;
};

static void parsed_clear(struct parsed *p) {
        g_clear_pointer(&p->files, g_ptr_array_unref);
        g_clear_pointer(&p->words, g_ptr_array_unref);
        g_free(p->error);
}

/* `line` is split at blanks; it has to outlive what is parsed. */
static void parse(struct parsed *p, char **argv, bool first_only) {
        const struct arg_option first[] = {
                {"bus", 'b', ARG_VALUE, &p->bus},
                {"json", 'j', ARG_FLAG, &p->json},
                {NULL, 0, 0, NULL},
        };
        const struct arg_option second[] = {
                {"no-color", 0, ARG_CLEAR, &p->color},
                {"from-file", 'f', ARG_LIST, &p->files},
                {NULL, 0, 0, NULL},
        };
        const struct arg_option *const tables[] = {first, second, NULL};

        p->color = true;
        p->words = g_ptr_array_new();
        p->r = args_parse(g_strv_length(argv), argv, tables, first_only, p->words, &p->error);
}

static void test_anywhere(void) {
        char *argv[] = {"--bus", "session", "ls",  "-j", "a",  "--no-color", "b=c", "--from-file=x",
                        "-f",    "y",       "-fz", "-",  "--", "--json",     NULL};
        struct parsed p = {0};

        parse(&p, argv, false);
        g_assert_cmpint(p.r, ==, 14);
        g_assert_cmpstr(p.bus, ==, "session");
        g_assert_true(p.json);
        g_assert_false(p.color);
        g_assert_cmpuint(p.files->len, ==, 3);
        g_assert_cmpstr(g_ptr_array_index(p.files, 0), ==, "x");
        g_assert_cmpstr(g_ptr_array_index(p.files, 1), ==, "y");
        g_assert_cmpstr(g_ptr_array_index(p.files, 2), ==, "z");
        static const char *const words[] = {"ls", "a", "b=c", "-", "--json"};
        g_assert_cmpuint(p.words->len, ==, G_N_ELEMENTS(words));
        for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
                g_assert_cmpstr(g_ptr_array_index(p.words, i), ==, words[i]);
        parsed_clear(&p);
}

static void test_first_only(void) {
        char *argv[] = {"--json", "status", "--unknown", NULL};
        struct parsed p = {0};

        parse(&p, argv, true);
        g_assert_cmpint(p.r, ==, 2);
        g_assert_cmpuint(p.words->len, ==, 1);
        parsed_clear(&p);
}

static void test_errors(void) {
        static const struct {
                char *argv[3];
                const char *error;
        } table[] = {
                {{"--nonsense"}, "there is no option --nonsense"},
                {{"--bu=x"}, "there is no option --bu"}, /* no guessing */
                {{"--bus"}, "--bus needs a value"},
                {{"-b"}, "-b needs a value"},
                {{"--json=yes"}, "--json takes no value"},
                {{"-x"}, "there is no option -x"},
                {{"-jx"}, "there is no option -x"},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                struct parsed p = {0};
                parse(&p, (char **)table[i].argv, false);
                g_assert_cmpint(p.r, ==, -EINVAL);
                g_assert_cmpstr(p.error, ==, table[i].error);
                parsed_clear(&p);
        }
}

static void test_setting(void) {
        g_autofree char *key = NULL;
        const char *value;

        g_assert_cmpint(args_split_setting("url=http://h/?a=b", &key, &value), ==, 0);
        g_assert_cmpstr(key, ==, "url");
        g_assert_cmpstr(value, ==, "http://h/?a=b");
        g_clear_pointer(&key, g_free);
        g_assert_cmpint(args_split_setting("empty=", &key, &value), ==, 0);
        g_assert_cmpstr(value, ==, "");
        g_assert_cmpint(args_split_setting("=x", &key, &value), ==, -EINVAL);
        g_assert_cmpint(args_split_setting("x", &key, &value), ==, -EINVAL);
}

static void test_find_verb(void) {
        unsigned used = 0;

        g_assert_true(ctl_find_verb((char *[]){"ls"}, 1, &used) == &verb_ls);
        g_assert_cmpuint(used, ==, 1);
        g_assert_true(ctl_find_verb((char *[]){"engine", "add"}, 2, &used) == &verb_engine_add);
        g_assert_cmpuint(used, ==, 2);
        g_assert_null(ctl_find_verb((char *[]){"engine"}, 1, &used));
        g_assert_null(ctl_find_verb((char *[]){"engine", "ad"}, 2, &used));
        g_assert_null(ctl_find_verb((char *[]){"evict"}, 1, &used));
        g_assert_null(ctl_find_verb(NULL, 0, &used));
}

/* Every error that the interface names has a next step for the user. */
static void test_hints(void) {
        static const char *const names[] = {
                "AccessDenied",    "InvalidId",     "InvalidPrefix",
                "InvalidSetting",  "InvalidModule", "NoSuchModule",
                "IdInUse",         "PrefixInUse",   "TooManyEngines",
                "NoSuchEngine",    "NoSuchFile",    "NotInStore",
                "NotAPlaceholder", "AbiMismatch",   "EngineFailed",
                "HydrationFailed", "Busy",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autofree char *name = g_strconcat("org.cloudsync1.Error.", names[i], NULL);
                g_test_message("%s", name);
                g_assert_nonnull(bus_error_hint(name, "system"));
        }
        g_assert_nonnull(
                strstr(bus_error_hint(SD_BUS_ERROR_SERVICE_UNKNOWN, "system"), "systemctl"));
        g_assert_null(
                strstr(bus_error_hint(SD_BUS_ERROR_SERVICE_UNKNOWN, "unix:path=/x"), "systemctl"));
        g_assert_nonnull(bus_error_hint(SD_BUS_ERROR_ACCESS_DENIED, "system"));
        g_assert_null(bus_error_hint("org.cloudsync1.Error.", "system"));
        g_assert_null(bus_error_hint("com.example.Busy", "system"));
        g_assert_null(bus_error_hint(NULL, "system"));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ctl/args/anywhere", test_anywhere);
        g_test_add_func("/ctl/args/first-only", test_first_only);
        g_test_add_func("/ctl/args/errors", test_errors);
        g_test_add_func("/ctl/args/setting", test_setting);
        g_test_add_func("/ctl/find-verb", test_find_verb);
        g_test_add_func("/ctl/hints", test_hints);
        return g_test_run();
}
