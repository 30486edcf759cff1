/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/ctl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/format.h"

static void __attribute__((format(printf, 2, 0)))
print_line(const char *before, const char *format, va_list ap) {
        g_autofree char *text = g_strdup_vprintf(format, ap);
        g_autofree char *clean = format_text(text);

        fflush(stdout);
        fprintf(stderr, "%s%s\n", before, clean);
}

void ctl_error(const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        print_line("cloudsyncctl: ", format, ap);
        va_end(ap);
}

void ctl_hint(const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        print_line("  ", format, ap);
        va_end(ap);
}

int ctl_usage(const char *verb, const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        print_line("cloudsyncctl: ", format, ap);
        va_end(ap);
        if (verb)
                ctl_hint("See: cloudsyncctl %s --help", verb);
        else
                ctl_hint("See: cloudsyncctl --help");
        return CTL_USAGE;
}

void ctl_print_json(struct json_object *object, bool line) {
        int flags =
                JSON_C_TO_STRING_NOSLASHESCAPE |
                (line ? JSON_C_TO_STRING_PLAIN : JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED);

        puts(json_object_to_json_string_ext(object, flags));
        fflush(stdout);
        json_object_put(object);
}

void ctl_json_add_name(struct json_object *object, const char *key, const char *name) {
        bool escaped;
        g_autofree char *text = format_name_json(name, &escaped);

        json_object_object_add(object, key, json_object_new_string(text));
        if (escaped) {
                g_autofree char *flag = g_strconcat(key, "_escaped", NULL);
                json_object_object_add(object, flag, json_object_new_boolean(true));
        }
}

/* Reading a directory once is what makes the daemon fetch its listing. */
static void list_directory(const char *path) {
        DIR *dir = opendir(path);

        if (dir) {
                (void)readdir(dir);
                closedir(dir);
        }
}

/* Lists, from the top, the directories above `path` that hide it. */
static void reveal(const char *path) {
        struct stat st;

        if (lstat(path, &st) == 0 || errno != ENOENT)
                return;
        g_autofree char *parent = g_path_get_dirname(path);
        if (strcmp(parent, path) == 0)
                return;
        reveal(parent);
        if (lstat(parent, &st) == 0 && (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode)))
                list_directory(parent);
}

char *ctl_resolve_path(const char *path) {
        g_autofree char *absolute = g_canonicalize_filename(path, NULL);
        char *real = realpath(path, NULL);

        if (!real && errno == ENOENT) {
                reveal(absolute);
                real = realpath(path, NULL);
        }
        if (!real)
                return g_steal_pointer(&absolute);
        char *result = g_strdup(real);
        free(real);
        return result;
}
