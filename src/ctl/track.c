/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/track.h"

#include <errno.h>
#include <string.h>

struct track {
        struct ctl *ctl;
        track_fn event;
        void *userdata;
        GHashTable *transfers; /* guint64 in struct tracked → struct tracked, owned */
        sd_bus_slot *slots[3], *list_slot;
        bool gone; /* ListTransfers failed */
        uint64_t bytes;
};

static void tracked_free(gpointer data) {
        struct tracked *x = data;
        g_free(x->t.engine);
        g_free(x->t.path);
        g_free(x);
}

static void emit(struct track *track, enum track_event event, const struct tracked *x,
                 const char *error) {
        if (track->event)
                track->event(track->userdata, event, x, error);
}

/* The transfer of this id; made when it is new. */
static struct tracked *lookup(struct track *track, uint64_t id, bool *is_new) {
        struct tracked *x = g_hash_table_lookup(track->transfers, &id);

        *is_new = !x;
        if (!x) {
                x = g_new0(struct tracked, 1);
                x->t.id = id;
                g_hash_table_insert(track->transfers, &x->t.id, x);
        }
        return x;
}

static void advance(struct track *track, struct tracked *x, uint64_t done) {
        if (done > x->t.done) {
                track->bytes += done - x->t.done;
                x->t.done = done;
        }
}

static int on_started(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct track *track = userdata;
        uint64_t id, total;
        const char *engine;
        bool is_new;

        if (sd_bus_message_read(m, "tst", &id, &engine, &total) < 0)
                return 0;
        struct tracked *x = lookup(track, id, &is_new);
        if (!x->t.engine)
                x->t.engine = g_strdup(engine);
        x->t.total = total;
        if (is_new)
                emit(track, TRACK_STARTED, x, NULL);
        return 0;
}

static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct track *track = userdata;
        uint64_t id, done, total;
        bool is_new;

        if (sd_bus_message_read(m, "ttt", &id, &done, &total) < 0)
                return 0;
        struct tracked *x = lookup(track, id, &is_new);
        x->t.total = total;
        if (is_new)
                x->t.done = done; /* what came before we looked is not ours to count */
        else
                advance(track, x, done);
        emit(track, TRACK_PROGRESS, x, NULL);
        return 0;
}

static int on_finished(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct track *track = userdata;
        uint64_t id, done;
        const char *text;

        if (sd_bus_message_read(m, "tts", &id, &done, &text) < 0)
                return 0;
        struct tracked *x = g_hash_table_lookup(track->transfers, &id);
        if (!x)
                return 0;
        advance(track, x, done);
        emit(track, TRACK_FINISHED, x, *text ? text : NULL);
        g_hash_table_remove(track->transfers, &id);
        return 0;
}

static void merge(struct track *track, const struct bus_transfer *t) {
        bool is_new;
        struct tracked *x = lookup(track, t->id, &is_new);

        if (!x->t.engine)
                x->t.engine = g_strdup(t->engine);
        x->t.total = t->total;
        if (is_new) {
                x->t.done = t->done;
                x->asked = true;
                emit(track, TRACK_STARTED, x, NULL);
        } else
                advance(track, x, t->done);
        if (!x->t.path) {
                x->t.path = g_strdup(t->path);
                emit(track, TRACK_NAMED, x, NULL);
        }
}

static int on_list(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct track *track = userdata;
        g_autoptr(GPtrArray) list = NULL;

        track->list_slot = sd_bus_slot_unref(track->list_slot);
        if (sd_bus_message_is_method_error(m, NULL) || bus_read_transfers(m, &list) < 0) {
                track->gone = true;
                return 0;
        }
        for (unsigned i = 0; i < list->len; i++)
                merge(track, g_ptr_array_index(list, i));
        return 0;
}

struct track *track_new(struct ctl *ctl, track_fn event, void *userdata) {
        static const struct {
                const char *member;
                sd_bus_message_handler_t handler;
        } signals[] = {
                {"TransferStarted", on_started},
                {"TransferProgress", on_progress},
                {"TransferFinished", on_finished},
        };
        g_autoptr(Track) t = g_new0(struct track, 1);

        t->ctl = ctl;
        t->event = event;
        t->userdata = userdata;
        t->transfers = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, tracked_free);
        if (bus_connect(ctl) < 0)
                return NULL;
        for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
                int r = sd_bus_match_signal(ctl->bus, &t->slots[i], BUS_NAME, BUS_OBJECT,
                                            BUS_MANAGER, signals[i].member, signals[i].handler, t);
                if (r < 0) {
                        bus_fail(ctl, "cannot listen to the bus", NULL, r);
                        return NULL;
                }
        }
        return g_steal_pointer(&t);
}

void track_free(struct track *track) {
        if (!track)
                return;
        for (size_t i = 0; i < G_N_ELEMENTS(track->slots); i++)
                sd_bus_slot_unref(track->slots[i]);
        sd_bus_slot_unref(track->list_slot);
        g_hash_table_unref(track->transfers);
        g_free(track);
}

bool track_tick(struct track *track, bool always) {
        GHashTableIter iter;
        gpointer value;
        bool wanted = always;

        if (track->gone)
                return false;
        if (track->list_slot)
                return true;
        g_hash_table_iter_init(&iter, track->transfers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                struct tracked *x = value;
                wanted = wanted || !x->asked;
                x->asked = true;
        }
        if (!wanted)
                return true;
        return sd_bus_call_method_async(track->ctl->bus, &track->list_slot, BUS_NAME, BUS_OBJECT,
                                        BUS_MANAGER, "ListTransfers", on_list, track, NULL) >= 0;
}

static int compare_ids(gconstpointer a, gconstpointer b) {
        const struct tracked *const *x = a, *const *y = b;
        return (*x)->t.id < (*y)->t.id ? -1 : (*x)->t.id > (*y)->t.id;
}

GPtrArray *track_list(const struct track *track) {
        GPtrArray *list = g_ptr_array_new();
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, track->transfers);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                g_ptr_array_add(list, value);
        g_ptr_array_sort(list, compare_ids);
        return list;
}

uint64_t track_bytes(const struct track *track) {
        return track->bytes;
}
