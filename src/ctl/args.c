/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/args.h"

#include <errno.h>
#include <string.h>

static const struct arg_option *find_long(const struct arg_option *const *tables, const char *name,
                                          size_t length) {
        for (; *tables; tables++)
                for (const struct arg_option *o = *tables; o->name; o++)
                        if (strlen(o->name) == length && memcmp(o->name, name, length) == 0)
                                return o;
        return NULL;
}

static const struct arg_option *find_letter(const struct arg_option *const *tables, char letter) {
        for (; *tables; tables++)
                for (const struct arg_option *o = *tables; o->name; o++)
                        if (o->letter && o->letter == letter)
                                return o;
        return NULL;
}

static bool takes_value(const struct arg_option *option) {
        return option->kind == ARG_VALUE || option->kind == ARG_LIST;
}

static void store(const struct arg_option *option, const char *value) {
        switch (option->kind) {
        case ARG_FLAG:
                *(bool *)option->target = true;
                break;
        case ARG_CLEAR:
                *(bool *)option->target = false;
                break;
        case ARG_VALUE:
                *(const char **)option->target = value;
                break;
        case ARG_LIST: {
                GPtrArray **list = option->target;
                if (!*list)
                        *list = g_ptr_array_new();
                g_ptr_array_add(*list, (gpointer)value);
                break;
        }
        }
}

/* argv[i] begins with "--" and has more. Returns how many arguments it took. */
static int parse_long(int left, char **argv, const struct arg_option *const *tables, char **error) {
        const char *name = argv[0] + 2, *equal = strchr(name, '=');
        size_t length = equal ? (size_t)(equal - name) : strlen(name);
        const struct arg_option *option = find_long(tables, name, length);

        if (!option) {
                *error = g_strdup_printf("there is no option --%.*s", (int)length, name);
                return -EINVAL;
        }
        if (!takes_value(option)) {
                if (equal) {
                        *error = g_strdup_printf("--%s takes no value", option->name);
                        return -EINVAL;
                }
                store(option, NULL);
                return 1;
        }
        if (equal) {
                store(option, equal + 1);
                return 1;
        }
        if (left < 2) {
                *error = g_strdup_printf("--%s needs a value", option->name);
                return -EINVAL;
        }
        store(option, argv[1]);
        return 2;
}

/* argv[i] is "-x", "-xy" or "-xVALUE". */
static int parse_short(int left, char **argv, const struct arg_option *const *tables,
                       char **error) {
        for (const char *p = argv[0] + 1; *p; p++) {
                const struct arg_option *option = find_letter(tables, *p);
                if (!option) {
                        *error = g_strdup_printf("there is no option -%c", *p);
                        return -EINVAL;
                }
                if (!takes_value(option)) {
                        store(option, NULL);
                        continue;
                }
                if (p[1]) {
                        store(option, p + 1);
                        return 1;
                }
                if (left < 2) {
                        *error = g_strdup_printf("-%c needs a value", *p);
                        return -EINVAL;
                }
                store(option, argv[1]);
                return 2;
        }
        return 1;
}

int args_parse(int argc, char **argv, const struct arg_option *const *tables, bool first_only,
               GPtrArray *words, char **error) {
        bool options = true;
        int i = 0;

        while (i < argc) {
                int r = 1;
                if (options && strcmp(argv[i], "--") == 0)
                        options = false;
                else if (options && g_str_has_prefix(argv[i], "--"))
                        r = parse_long(argc - i, argv + i, tables, error);
                else if (options && argv[i][0] == '-' && argv[i][1])
                        r = parse_short(argc - i, argv + i, tables, error);
                else {
                        g_ptr_array_add(words, argv[i]);
                        if (first_only)
                                return i + 1;
                }
                if (r < 0)
                        return r;
                i += r;
        }
        return i;
}

int args_split_setting(const char *text, char **key, const char **value) {
        const char *equal = strchr(text, '=');

        if (!equal || equal == text)
                return -EINVAL;
        *key = g_strndup(text, equal - text);
        *value = equal + 1;
        return 0;
}
