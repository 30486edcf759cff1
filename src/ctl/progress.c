/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/progress.h"

#include <string.h>

#include "ctl/format.h"
#include "ctl/screen.h"
#include "ctl/track.h"

struct progress {
        struct ctl *ctl;
        struct track *track; /* owned */
        char *store;         /* owned */
        GHashTable *working; /* absolute path, owned: the set of files being worked on */
        unsigned files, files_done;
        uint64_t bytes, bytes_done; /* of whole files */
        int64_t began;              /* monotonic µs */
        struct screen screen;
};

struct progress *progress_new(struct ctl *ctl, unsigned files, uint64_t bytes) {
        g_autoptr(Progress) p = g_new0(struct progress, 1);

        p->ctl = ctl;
        p->files = files;
        p->bytes = bytes;
        p->began = g_get_monotonic_time();
        p->working = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        p->track = track_new(ctl, NULL, NULL);
        return p->track ? g_steal_pointer(&p) : NULL;
}

void progress_free(struct progress *progress) {
        if (!progress)
                return;
        track_free(progress->track);
        g_hash_table_unref(progress->working);
        g_free(progress->store);
        g_free(progress);
}

void progress_set_store(struct progress *progress, const char *path) {
        g_free(progress->store);
        progress->store = g_strdup(path);
}

void progress_file_begins(struct progress *progress, const char *path) {
        g_hash_table_add(progress->working, g_strdup(path));
}

void progress_file_ends(struct progress *progress, const char *path, uint64_t size) {
        g_hash_table_remove(progress->working, path);
        progress->files_done++;
        progress->bytes_done += size;
}

static bool is_ours(const struct progress *p, const struct tracked *x) {
        if (!x->t.path)
                return false;
        if (g_path_is_absolute(x->t.path))
                return g_hash_table_contains(p->working, x->t.path);
        g_autofree char *path = g_build_filename(p->store ? p->store : "/", x->t.path, NULL);
        return g_hash_table_contains(p->working, path);
}

/* "45.6 MiB/s  1:12 left" */
static char *rate_text(const struct progress *p, uint64_t done) {
        char size[FORMAT_SIZE_MAX], left[FORMAT_DURATION_MAX];
        double seconds = (double)(g_get_monotonic_time() - p->began) / G_USEC_PER_SEC;
        uint64_t arrived = track_bytes(p->track);

        if (seconds < 0.5 || arrived == 0)
                return g_strdup("");
        uint64_t rate = (uint64_t)((double)arrived / seconds);
        if (rate == 0 || done >= p->bytes)
                return g_strdup_printf("  %s/s", format_size(rate, size));
        return g_strdup_printf("  %s/s  %s left", format_size(rate, size),
                               format_duration((p->bytes - done) / rate, left));
}

#define RATE_WIDTH 26 /* of rate_text() */

void progress_draw(struct progress *p) {
        g_autoptr(GPtrArray) list = track_list(p->track);
        g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
        uint64_t done = p->bytes_done;
        unsigned columns, rows;

        track_tick(p->track, false);
        screen_size(&columns, &rows);
        unsigned width = columns - 1 > RATE_WIDTH + 40 ? columns - 1 - RATE_WIDTH : columns - 1;
        for (unsigned i = 0; i < list->len; i++) {
                const struct tracked *x = g_ptr_array_index(list, i);
                if (!is_ours(p, x))
                        continue;
                done += x->t.done;
                g_autofree char *path = format_name(x->t.path);
                g_ptr_array_add(lines, format_progress(path, x->t.done, x->t.total, width));
        }
        done = MIN(done, p->bytes);
        g_autofree char *rate = width < columns - 1 ? rate_text(p, done) : g_strdup("");
        g_autofree char *name = g_strdup_printf("%u of %u files", p->files_done, p->files);
        g_autofree char *total = format_progress(name, done, p->bytes, width);
        if (p->files > 1 || lines->len == 0)
                g_ptr_array_add(lines, g_strconcat(total, rate, NULL));
        else {
                char *last = g_strconcat(g_ptr_array_index(lines, lines->len - 1), rate, NULL);
                g_free(g_ptr_array_index(lines, lines->len - 1));
                g_ptr_array_index(lines, lines->len - 1) = last;
        }
        screen_draw(&p->screen, lines);
}

void progress_wipe(struct progress *progress) {
        screen_wipe(&progress->screen);
}

uint64_t progress_bytes(const struct progress *progress) {
        return track_bytes(progress->track);
}
