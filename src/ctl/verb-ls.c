/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ls: a directory as `ls -l` shows it, with what is here of each file.
 *
 * Opens the directory (which makes the daemon list it, where it has not) and
 * nothing in it: sizes, times and types are lstat()'s, states are asked for
 * with many GetFileStatus calls in flight. A name that is not UTF-8 cannot be
 * asked for; its state is "unknown".
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/pipeline.h"
#include "ctl/status.h"
#include "ctl/format.h"
#include "ctl/tables.h"
#include "ctl/words.h"
#include "shared/fd.h"

#define LS_IN_FLIGHT 64u /* of the bus's 128 replies that one connection may wait for */

struct entry {
        char *name;   /* any bytes */
        char *target; /* of a symbolic link, or NULL */
        struct stat st;
        struct file_status status;
        bool known; /* status is set */
};

struct listing {
        struct ctl *ctl;
        char *directory; /* absolute; its entries are below it */
        GPtrArray *entries;
        unsigned next;
        unsigned failed; /* states that could not be had */
        char *first_error;
};

static void entry_free(gpointer data) {
        struct entry *entry = data;
        g_free(entry->name);
        g_free(entry->target);
        file_status_clear(&entry->status);
        g_free(entry);
}

static int compare_entries(gconstpointer a, gconstpointer b) {
        const struct entry *const *x = a, *const *y = b;
        return strcmp((*x)->name, (*y)->name);
}

static char *read_target(int dir, const char *name) {
        char target[PATH_MAX];
        ssize_t length = readlinkat(dir, name, target, sizeof target - 1);

        return length < 0 ? NULL : g_strndup(target, length);
}

/* One more entry; one that vanished meanwhile is left out. 0 or a negative errno. */
static int add_entry(struct listing *l, int dir, const char *name) {
        struct stat st;

        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        struct entry *entry = g_new0(struct entry, 1);
        entry->name = g_strdup(name);
        entry->st = st;
        if (S_ISLNK(st.st_mode))
                entry->target = read_target(dir, name);
        g_ptr_array_add(l->entries, entry);
        return 0;
}

static int read_directory(struct listing *l) {
        DIR *dir = opendir(l->directory);
        struct dirent *d;
        int r = 0;

        if (!dir)
                return -errno;
        while (r >= 0 && (errno = 0, d = readdir(dir)))
                if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
                        r = add_entry(l, dirfd(dir), d->d_name);
        if (r >= 0 && errno != 0)
                r = -errno;
        closedir(dir);
        g_ptr_array_sort(l->entries, compare_entries);
        return r;
}

static int next_call(void *userdata, sd_bus_message **call, void **item) {
        struct listing *l = userdata;

        for (; l->next < l->entries->len; l->next++) {
                struct entry *entry = g_ptr_array_index(l->entries, l->next);
                if (!S_ISREG(entry->st.st_mode) && !S_ISDIR(entry->st.st_mode))
                        continue;
                g_autofree char *path = g_build_filename(l->directory, entry->name, NULL);
                if (!g_utf8_validate(path, -1, NULL))
                        continue;
                int r = sd_bus_message_new_method_call(l->ctl->bus, call, BUS_NAME, BUS_OBJECT,
                                                       BUS_MANAGER, "GetFileStatus");
                if (r >= 0)
                        r = sd_bus_message_append(*call, "s", path);
                if (r < 0)
                        return r;
                *item = entry;
                l->next++;
                return 1;
        }
        return 0;
}

static void on_status(void *userdata, void *item, sd_bus_message *reply) {
        struct listing *l = userdata;
        struct entry *entry = item;
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        if (!error && file_status_read(reply, &entry->status) >= 0) {
                entry->known = true;
                return;
        }
        if (sd_bus_error_has_name(error, BUS_NAME ".Error.NoSuchFile"))
                return; /* it went away between readdir() and now */
        l->failed++;
        if (!l->first_error)
                l->first_error =
                        g_strdup_printf("%s: %s", entry->name, bus_error_text(error, -EIO));
}

/* The bytes of a file that are here: the daemon's word, else what the file system says. */
static uint64_t entry_present(const struct entry *entry) {
        uint64_t allocated = (uint64_t)entry->st.st_blocks * 512;

        if (entry->known && entry->status.state && strcmp(entry->status.state, "not-managed") != 0)
                return entry->status.present;
        return MIN(allocated, (uint64_t)entry->st.st_size);
}

static char *entry_name(const struct entry *entry) {
        g_autofree char *name = format_name(entry->name);

        if (!entry->target)
                return g_strconcat(name, S_ISDIR(entry->st.st_mode) ? "/" : "", NULL);
        g_autofree char *target = format_name(entry->target);
        return g_strconcat(name, " -> ", target, NULL);
}

static char *entry_state(const struct entry *entry) {
        if (entry->known)
                return file_status_words(&entry->status);
        return g_strdup(S_ISREG(entry->st.st_mode) || S_ISDIR(entry->st.st_mode) ? "unknown" : "-");
}

static void add_row(struct table *table, const struct entry *entry) {
        char mode[FORMAT_MODE_MAX], size[FORMAT_SIZE_MAX], time[FORMAT_TIME_MAX];
        g_autofree char *state = entry_state(entry), *name = entry_name(entry);
        bool file = S_ISREG(entry->st.st_mode);

        table_add(table, format_mode(entry->st.st_mode, mode));
        table_add_colored(
                table,
                words_state_color(entry->known && entry->status.state ? entry->status.state : ""),
                state);
        table_add(table, file ? format_size(entry->st.st_size, size) : NULL);
        table_add(table, file ? format_size(entry_present(entry), size) : NULL);
        table_add(table, format_time(entry->st.st_mtim.tv_sec, time));
        table_add(table, name);
}

static void print_entries(const struct listing *l) {
        static const struct table_column columns[] = {
                {"MODE", TABLE_LEFT},     {"STATE", TABLE_LEFT},    {"SIZE", TABLE_RIGHT},
                {"PRESENT", TABLE_RIGHT}, {"MODIFIED", TABLE_LEFT}, {"NAME", TABLE_LEFT},
        };
        g_autoptr(Table) table = table_new(columns, G_N_ELEMENTS(columns));

        if (l->entries->len == 0)
                return;
        for (unsigned i = 0; i < l->entries->len; i++)
                add_row(table, g_ptr_array_index(l->entries, i));
        tables_print(l->ctl, table);
}

static const char *entry_kind(const struct entry *entry) {
        switch (entry->st.st_mode & S_IFMT) {
        case S_IFREG:
                return "file";
        case S_IFDIR:
                return "directory";
        case S_IFLNK:
                return "symlink";
        default:
                return "other";
        }
}

static struct json_object *entry_json(const struct entry *entry) {
        struct json_object *o = json_object_new_object();
        const struct file_status *s = &entry->status;

        ctl_json_add_name(o, "name", entry->name);
        json_object_object_add(o, "kind", json_object_new_string(entry_kind(entry)));
        json_object_object_add(o, "state",
                               entry->known && s->state ? json_object_new_string(s->state) : NULL);
        json_object_object_add(o, "mode", json_object_new_int64(entry->st.st_mode & 07777));
        json_object_object_add(o, "size", json_object_new_int64(entry->st.st_size));
        json_object_object_add(o, "present", json_object_new_uint64(entry_present(entry)));
        json_object_object_add(o, "mtime", json_object_new_int64(entry->st.st_mtim.tv_sec));
        json_object_object_add(o, "mtime_nsec", json_object_new_int64(entry->st.st_mtim.tv_nsec));
        json_object_object_add(o, "engine",
                               s->engine && *s->engine ? json_object_new_string(s->engine) : NULL);
        if (s->version && *s->version)
                ctl_json_add_name(o, "version", s->version);
        else
                json_object_object_add(o, "version", NULL);
        json_object_object_add(o, "modified", json_object_new_boolean(s->modified));
        if (entry->target)
                ctl_json_add_name(o, "target", entry->target);
        return o;
}

static void print_entries_json(const struct listing *l) {
        struct json_object *array = json_object_new_array();

        for (unsigned i = 0; i < l->entries->len; i++)
                json_object_array_add(array, entry_json(g_ptr_array_index(l->entries, i)));
        ctl_print_json(array, false);
}

/* Is the daemon there, and the path in its store? Asked once, so that a directory full of
 * files does not say it for each. */
static int check_path(struct ctl *ctl, const char *path) {
        __attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;

        if (bus_connect(ctl) < 0)
                return CTL_FAILED;
        if (!g_utf8_validate(path, -1, NULL))
                return CTL_OK;
        int r = sd_bus_call_method(ctl->bus, BUS_NAME, BUS_OBJECT, BUS_MANAGER, "GetFileStatus",
                                   &error, NULL, "s", path);
        return r < 0 ? bus_fail(ctl, path, &error, r) : CTL_OK;
}

/* Fills the listing: a directory's entries, or the one file. 0 or a negative errno. */
static int collect(struct listing *l, const char *path) {
        struct stat st;

        if (lstat(path, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode)) {
                l->directory = g_strdup(path);
                return read_directory(l);
        }
        l->directory = g_path_get_dirname(path);
        g_autofree char *name = g_path_get_basename(path);
        autoclose int dir = open(l->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return dir < 0 ? -errno : add_entry(l, dir, name);
}

static int list(struct ctl *ctl, struct listing *l, const char *path) {
        static const struct pipeline_ops ops = {.next = next_call, .done = on_status};

        int r = collect(l, path);
        if (r < 0) {
                ctl_error("%s: %s", path, strerror(-r));
                return CTL_FAILED;
        }
        r = pipeline_run(ctl, &ops, l, LS_IN_FLIGHT, 0, 0);
        if (r < 0)
                return bus_fail(ctl, path, NULL, r);
        if (ctl->json)
                print_entries_json(l);
        else
                print_entries(l);
        if (l->failed > 0) {
                ctl_error("the state of %u of the files could not be had; %s", l->failed,
                          l->first_error);
                return CTL_FAILED;
        }
        return CTL_OK;
}

static int run_ls(struct ctl *ctl, char **words, unsigned n) {
        struct listing l = {.ctl = ctl};
        g_autofree char *path = ctl_resolve_path(n > 0 ? words[0] : ".");

        int r = check_path(ctl, path);
        if (r != CTL_OK)
                return r;
        l.entries = g_ptr_array_new_with_free_func(entry_free);
        r = list(ctl, &l, path);
        g_ptr_array_unref(l.entries);
        g_free(l.directory);
        g_free(l.first_error);
        return r;
}

const struct verb verb_ls = {
        .name = "ls",
        .synopsis = "[PATH]",
        .summary = "List a directory with what is here of each file",
        .help = "STATE of a file:      placeholder  nothing of its content is here\n"
                "                      partial N%   some of it\n"
                "                      hydrated     all of it\n"
                "                      local        it was changed here\n"
                "STATE of a directory: listed, or unlisted where its entries are not known yet\n"
                "-       not managed by cloudsync: made here\n"
                "unknown could not be asked for (a name that is not UTF-8)\n"
                "\n"
                "SIZE is the file's size, PRESENT how much of it is stored here. Listing\n"
                "fetches no content.\n",
        .max_words = 1,
        .run = run_ls,
};
