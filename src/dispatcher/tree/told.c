/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/told.h"

#include "shared/log.h"

#include <glib.h>

struct Told {
        told_fn again;
        void *userdata;
        GHashTable *engines; /* id → set of locators, or NULL: everything */
        unsigned count;      /* locators in all of them */
        unsigned pause_s;
        guint timer;
};

static void locators_free(void *locators) {
        if (locators)
                g_hash_table_unref(locators);
}

/* Whether nothing is left of this engine's. */
static bool engine_again(Told *told, const char *engine, GHashTable *locators) {
        GHashTableIter iter;
        gpointer locator;

        if (!locators)
                return told->again(told->userdata, engine, NULL);
        g_hash_table_iter_init(&iter, locators);
        while (g_hash_table_iter_next(&iter, &locator, NULL))
                if (told->again(told->userdata, engine, locator)) {
                        g_hash_table_iter_remove(&iter);
                        told->count--;
                }
        return g_hash_table_size(locators) == 0;
}

static gboolean told_due(gpointer userdata) {
        Told *told = userdata;
        GHashTableIter iter;
        gpointer engine, locators;

        told->timer = 0;
        g_hash_table_iter_init(&iter, told->engines);
        while (g_hash_table_iter_next(&iter, &engine, &locators))
                if (engine_again(told, engine, locators))
                        g_hash_table_iter_remove(&iter);
        if (g_hash_table_size(told->engines) == 0) {
                told->pause_s = TOLD_FIRST_S;
                return G_SOURCE_REMOVE;
        }
        told->pause_s = MIN(told->pause_s * 2, TOLD_LIMIT_S);
        told->timer = g_timeout_add_seconds(told->pause_s, told_due, told);
        return G_SOURCE_REMOVE;
}

static void told_keep_all(Told *told, const char *engine, GHashTable *locators) {
        told->count -= locators ? g_hash_table_size(locators) : 0;
        g_hash_table_replace(told->engines, g_strdup(engine), NULL);
        log_about(LOG_WARNING, engine, NULL, "too many changes cannot be looked at now: everything is listed again");
}

bool told_keep(Told *told, const char *engine, const char *locator) {
        bool first = g_hash_table_size(told->engines) == 0;
        gpointer locators = NULL;

        if (!told->timer)
                told->timer = g_timeout_add_seconds(told->pause_s, told_due, told);
        if (g_hash_table_lookup_extended(told->engines, engine, NULL, &locators) && !locators)
                return first;
        if (told->count == TOLD_MAX && !(locators && g_hash_table_contains(locators, locator))) {
                told_keep_all(told, engine, locators);
                return first;
        }
        if (!locators) {
                locators = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
                g_hash_table_insert(told->engines, g_strdup(engine), locators);
        }
        if (g_hash_table_add(locators, g_strdup(locator)))
                told->count++;
        return first;
}

Told *told_new(told_fn again, void *userdata) {
        Told *told = g_new0(Told, 1);

        told->again = again;
        told->userdata = userdata;
        told->engines = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, locators_free);
        told->pause_s = TOLD_FIRST_S;
        return told;
}

void told_free(Told *told) {
        if (!told)
                return;
        if (told->timer)
                g_source_remove(told->timer);
        g_hash_table_unref(told->engines);
        g_free(told);
}
