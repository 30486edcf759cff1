/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * hydrate: make files whole, many at a time.
 *
 * Directories are walked without opening a file. Each file is one Hydrate call,
 * sixteen in flight, and each waits as long as it takes. A file that no engine
 * manages is here already, which is what was asked for. A path that is not
 * UTF-8 cannot travel over D-Bus: such a file is read from end to end instead,
 * which fetches it as any reader would.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "ctl/bus.h"
#include "ctl/format.h"
#include "ctl/pipeline.h"
#include "ctl/progress.h"
#include "ctl/walk.h"
#include "shared/fd.h"

#define HYDRATE_IN_FLIGHT 16u
#define DRAW_INTERVAL_US (200 * 1000)

struct hydrate {
        struct ctl *ctl;
        GPtrArray *files; /* struct walk_file * */
        unsigned next;
        unsigned whole, failed;
        bool gone;                   /* the daemon is: no more calls */
        uint64_t bytes;              /* sizes of the whole ones */
        struct progress *progress;   /* owned; NULL where nothing is drawn */
        struct json_object *results; /* owned; NULL without --json */
};

static int next_call(void *userdata, sd_bus_message **call, void **item) {
        struct hydrate *h = userdata;

        while (h->next < h->files->len && !h->gone) {
                struct walk_file *file = g_ptr_array_index(h->files, h->next++);
                if (!g_utf8_validate(file->path, -1, NULL))
                        continue; /* read_rest() is for those */
                int r = sd_bus_message_new_method_call(h->ctl->bus, call, BUS_NAME, BUS_OBJECT,
                                                       BUS_MANAGER, "Hydrate");
                if (r >= 0)
                        r = sd_bus_message_append(*call, "s", file->path);
                if (r < 0)
                        return r;
                if (h->progress)
                        progress_file_begins(h->progress, file->path);
                *item = file;
                return 1;
        }
        return 0;
}

static void add_result(struct hydrate *h, const struct walk_file *file, const char *result,
                       const char *error, const char *message) {
        if (!h->results)
                return;
        struct json_object *o = json_object_new_object();
        ctl_json_add_name(o, "path", file->path);
        json_object_object_add(o, "size", json_object_new_uint64(file->size));
        json_object_object_add(o, "result", json_object_new_string(result));
        json_object_object_add(o, "error", error ? json_object_new_string(error) : NULL);
        json_object_object_add(o, "message", message ? json_object_new_string(message) : NULL);
        json_object_array_add(h->results, o);
}

static void file_is_whole(struct hydrate *h, const struct walk_file *file, const char *result) {
        h->whole++;
        h->bytes += file->size;
        add_result(h, file, result, NULL, NULL);
        if (h->ctl->json || h->progress)
                return;
        char size[FORMAT_SIZE_MAX];
        g_autofree char *name = format_name(file->path);
        printf("%10s  %s\n", format_size(file->size, size), name);
        fflush(stdout);
}

static void file_failed(struct hydrate *h, const struct walk_file *file,
                        const sd_bus_error *error) {
        bool gone = bus_error_is_gone(error);

        h->failed++;
        add_result(h, file, "failed", error->name, error->message);
        if (gone && h->gone)
                return; /* said already */
        h->gone = gone;
        if (h->progress)
                progress_wipe(h->progress);
        bus_fail(h->ctl, file->path, error, 0);
}

static void on_reply(void *userdata, void *item, sd_bus_message *reply) {
        struct hydrate *h = userdata;
        struct walk_file *file = item;
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        if (h->progress)
                progress_file_ends(h->progress, file->path, file->size);
        if (!error)
                file_is_whole(h, file, "hydrated");
        else if (sd_bus_error_has_name(error, BUS_NAME ".Error.NotAPlaceholder"))
                file_is_whole(h, file, "local");
        else
                file_failed(h, file, error);
}

static bool on_tick(void *userdata) {
        struct hydrate *h = userdata;

        if (h->progress)
                progress_draw(h->progress);
        return true;
}

/* Reads a file from end to end. 0 or a negative errno. */
static int read_through(const char *path) {
        autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
        g_autofree char *buffer = g_malloc(1 << 20);
        ssize_t n;

        if (fd < 0)
                return -errno;
        while ((n = read(fd, buffer, 1 << 20)) > 0)
                ;
        return n < 0 ? -errno : 0;
}

static void read_rest(struct hydrate *h) {
        for (unsigned i = 0; i < h->files->len; i++) {
                const struct walk_file *file = g_ptr_array_index(h->files, i);
                if (g_utf8_validate(file->path, -1, NULL))
                        continue;
                int r = read_through(file->path);
                if (r == 0) {
                        file_is_whole(h, file, "hydrated");
                        continue;
                }
                g_autofree char *name = format_name(file->path);
                h->failed++;
                ctl_error("%s: %s", name, strerror(-r));
                add_result(h, file, "failed", NULL, strerror(-r));
        }
}

static void print_summary(struct hydrate *h, int64_t began) {
        char size[FORMAT_SIZE_MAX], count[FORMAT_COUNT_MAX], time[FORMAT_DURATION_MAX];

        if (h->ctl->json) {
                struct json_object *o = json_object_new_object();
                json_object_object_add(o, "files", g_steal_pointer(&h->results));
                json_object_object_add(o, "whole", json_object_new_int64(h->whole));
                json_object_object_add(o, "failed", json_object_new_int64(h->failed));
                json_object_object_add(o, "bytes", json_object_new_uint64(h->bytes));
                ctl_print_json(o, false);
                return;
        }
        printf("%s file%s %s whole now (%s) after %s", format_count(h->whole, count),
               h->whole == 1 ? "" : "s", h->whole == 1 ? "is" : "are", format_size(h->bytes, size),
               format_duration((g_get_monotonic_time() - began) / G_USEC_PER_SEC, time));
        if (h->failed > 0)
                printf("; %s failed", format_count(h->failed, count));
        putchar('\n');
}

static bool is_below(const char *path, const char *store) {
        size_t length = strlen(store);

        return strncmp(path, store, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Walks all paths. The number of those that could not be walked to their end. */
static unsigned collect(struct hydrate *h, const char *store, char **words, unsigned n) {
        unsigned failed = 0;

        for (unsigned i = 0; i < n; i++) {
                g_autofree char *path = ctl_resolve_path(words[i]);
                if (g_file_test(path, G_FILE_TEST_IS_DIR) && !is_below(path, store)) {
                        ctl_error("%s: this directory is not in the store, which is at %s", path,
                                  store);
                        failed++;
                } else if (walk_files(path, h->files) < 0)
                        failed++;
        }
        return failed;
}

static int hydrate(struct ctl *ctl, struct hydrate *h, const char *store) {
        static const struct pipeline_ops ops = {
                .next = next_call, .done = on_reply, .tick = on_tick};
        uint64_t bytes = 0;

        for (unsigned i = 0; i < h->files->len; i++)
                bytes += ((struct walk_file *)g_ptr_array_index(h->files, i))->size;
        if (ctl->live && h->files->len > 0) {
                h->progress = progress_new(ctl, h->files->len, bytes);
                if (!h->progress)
                        return CTL_FAILED;
                progress_set_store(h->progress, store);
        }
        pipeline_catch_interrupt();
        int r = pipeline_run(ctl, &ops, h, HYDRATE_IN_FLIGHT, PIPELINE_FOREVER, DRAW_INTERVAL_US);
        if (h->progress)
                progress_wipe(h->progress);
        if (r == -EINTR) {
                ctl_error("interrupted; what was asked for last may still arrive");
                return CTL_FAILED;
        }
        if (r < 0)
                return bus_fail(ctl, "hydrate", NULL, r);
        if (h->gone)
                return CTL_FAILED;
        read_rest(h);
        return CTL_OK;
}

static int run_hydrate(struct ctl *ctl, char **words, unsigned n) {
        g_auto(BusManager) manager = {0};
        struct hydrate h = {.ctl = ctl};
        int64_t began = g_get_monotonic_time();

        if (bus_get_manager(ctl, &manager) < 0)
                return CTL_FAILED;
        const char *store = manager.store_path ? manager.store_path : "";
        h.files = g_ptr_array_new_with_free_func(walk_file_free);
        if (ctl->json)
                h.results = json_object_new_array();
        unsigned not_walked = collect(&h, store, words, n);
        int r = hydrate(ctl, &h, store);
        if (h.whole + h.failed > 0 || (r == CTL_OK && not_walked == 0) || ctl->json)
                print_summary(&h, began);
        if (h.failed + not_walked > 0)
                r = CTL_FAILED;

        progress_free(h.progress);
        json_object_put(h.results);
        g_ptr_array_unref(h.files);
        return r;
}

const struct verb verb_hydrate = {
        .name = "hydrate",
        .synopsis = "PATH…",
        .summary = "Make files whole: fetch all that is not here yet",
        .help = "A directory stands for all files below it. On a terminal, a bar shows each file\n"
                "under way and another all of them; elsewhere a line is printed for each file\n"
                "that is whole. Ctrl-C stops; what has arrived stays.\n",
        .min_words = 1,
        .max_words = UINT_MAX,
        .run = run_hydrate,
};
