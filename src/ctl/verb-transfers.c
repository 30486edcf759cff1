/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* transfers: what is being fetched, once or for as long as one watches. */

#include <errno.h>
#include <stdio.h>

#include "ctl/format.h"
#include "ctl/pipeline.h"
#include "ctl/screen.h"
#include "ctl/tables.h"
#include "ctl/track.h"

#define WATCH_INTERVAL_US (250 * 1000)
#define WATCH_PROBE 8 /* ticks between two looks whether the daemon is still there */

static bool watch;

struct watching {
        struct ctl *ctl;
        struct track *track; /* owned */
        struct screen screen;
        unsigned ticks;
        bool gone;
};

static const char *shown_path(const struct tracked *x) {
        /* Another user's, or over before its name could be asked for. */
        return x->t.path ? x->t.path : "(name not known)";
}

static void print_event_json(const char *event, const struct tracked *x, const char *error) {
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, "event", json_object_new_string(event));
        json_object_object_add(o, "id", json_object_new_uint64(x->t.id));
        json_object_object_add(o, "engine",
                               x->t.engine ? json_object_new_string(x->t.engine) : NULL);
        json_object_object_add(o, "path", x->t.path ? json_object_new_string(x->t.path) : NULL);
        json_object_object_add(o, "done", json_object_new_uint64(x->t.done));
        json_object_object_add(o, "total", json_object_new_uint64(x->t.total));
        json_object_object_add(o, "error", error ? json_object_new_string(error) : NULL);
        ctl_print_json(o, true);
}

static void on_event(void *userdata, enum track_event event, const struct tracked *x,
                     const char *error) {
        static const char *const names[] = {
                [TRACK_STARTED] = "started",
                [TRACK_NAMED] = "named",
                [TRACK_PROGRESS] = "progress",
                [TRACK_FINISHED] = "finished",
        };
        const struct watching *w = userdata;
        char done[FORMAT_SIZE_MAX], total[FORMAT_SIZE_MAX];

        if (w->ctl->json) {
                print_event_json(names[event], x, error);
                return;
        }
        if (w->ctl->live || event == TRACK_STARTED)
                return; /* the screen shows it, or it is told with its name */
        if (event == TRACK_FINISHED && error) {
                g_autofree char *clean = format_text(error);
                printf("%" G_GUINT64_FORMAT "  failed    %s\n", x->t.id, clean);
        } else {
                g_autofree char *path = format_name(shown_path(x));
                printf("%" G_GUINT64_FORMAT "  %-8s  %s of %s  %s\n", x->t.id, names[event],
                       format_size(x->t.done, done), format_size(x->t.total, total), path);
        }
        fflush(stdout);
}

static void draw(struct watching *w) {
        g_autoptr(GPtrArray) list = track_list(w->track);
        g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
        unsigned columns, rows;

        screen_size(&columns, &rows);
        for (unsigned i = 0; i < list->len; i++) {
                const struct tracked *x = g_ptr_array_index(list, i);
                g_autofree char *path = format_name(shown_path(x));
                g_ptr_array_add(lines, format_progress(path, x->t.done, x->t.total, columns - 1));
        }
        char size[FORMAT_SIZE_MAX];
        g_ptr_array_add(lines,
                        g_strdup_printf("%u under way, %s arrived while watching; Ctrl-C ends",
                                        list->len, format_size(track_bytes(w->track), size)));
        screen_draw(&w->screen, lines);
}

static bool on_tick(void *userdata) {
        struct watching *w = userdata;

        if (!track_tick(w->track, w->ticks++ % WATCH_PROBE == 0)) {
                w->gone = true;
                return false;
        }
        if (w->ctl->live)
                draw(w);
        return true;
}

static int run_watch(struct ctl *ctl) {
        static const struct pipeline_ops ops = {.tick = on_tick};
        struct watching w = {.ctl = ctl};
        g_autoptr(GPtrArray) first =
                bus_list_transfers(ctl); /* says why when the daemon is not there */

        if (!first || !(w.track = track_new(ctl, on_event, &w)))
                return CTL_FAILED;
        pipeline_catch_interrupt();
        int r = pipeline_run(ctl, &ops, &w, 0, 0, WATCH_INTERVAL_US);
        if (ctl->live)
                screen_wipe(&w.screen);
        track_free(w.track);
        if (w.gone || (r < 0 && r != -EINTR))
                return bus_fail(ctl, "transfers", NULL, w.gone ? -ECONNRESET : r);
        return CTL_OK;
}

static int run_transfers(struct ctl *ctl, char **words, unsigned n) {
        if (watch)
                return run_watch(ctl);
        g_autoptr(GPtrArray) transfers = bus_list_transfers(ctl);
        if (!transfers)
                return CTL_FAILED;
        if (ctl->json)
                ctl_print_json(tables_transfers_json(transfers), false);
        else
                tables_print_transfers(ctl, transfers);
        return CTL_OK;
}

static const struct arg_option transfers_options[] = {
        {"watch", 'w', ARG_FLAG, &watch},
        {NULL, 0, 0, NULL},
};

const struct verb verb_transfers = {
        .name = "transfers",
        .synopsis = "[--watch]",
        .summary = "Show what is being fetched",
        .help = "Shows the caller's own transfers, and to root everybody's.\n"
                "\n"
                "-w, --watch  go on until Ctrl-C: bars on a terminal, else a line for each change\n"
                "             (with --json one object a line)\n"
                "\n",
        .options = transfers_options,
        .max_words = 0,
        .run = run_transfers,
};
