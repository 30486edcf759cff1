/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/name-set.h"

#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a from a random start, with a last mix: unpredictable enough for a table that
 * lives for one listing. */
static uint64_t name_hash(const char *name) {
        static gsize ready;
        static uint64_t key;
        uint64_t h;

        if (g_once_init_enter(&ready)) {
                key = (uint64_t)g_random_int() << 32 | g_random_int();
                g_once_init_leave(&ready, 1);
        }
        h = key;
        for (; *name; name++)
                h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3) + (h >> 47);
        h ^= h >> 32;
        h *= UINT64_C(0x9e3779b97f4a7c15);
        return h ^ h >> 29;
}

void name_set_clear(struct name_set *set) {
        free(set->text);
        free(set->table);
        *set = (struct name_set){0};
}

static int grow_table(struct name_set *set) {
        size_t capacity = set->capacity ? set->capacity * 2 : 64;
        uint32_t *table = calloc(capacity, sizeof *table);

        if (table == NULL)
                return -ENOMEM;
        for (size_t i = 0; i < set->capacity; i++) {
                size_t at;

                if (set->table[i] == 0)
                        continue;
                at = name_hash(set->text + set->table[i] - 1) & (capacity - 1);
                while (table[at] != 0)
                        at = (at + 1) & (capacity - 1);
                table[at] = set->table[i];
        }
        free(set->table);
        set->table = table;
        set->capacity = capacity;
        return 0;
}

static int grow_text(struct name_set *set, size_t needed) {
        size_t capacity = MAX(set->text_capacity * 2, 4096);
        char *text;

        if (set->text_used + needed <= set->text_capacity)
                return 0;
        if (set->text_used + needed > NAME_SET_TEXT_MAX)
                return -ENOMEM;
        capacity = MAX(capacity, set->text_used + needed);
        text = realloc(set->text, capacity);
        if (text == NULL)
                return -ENOMEM;
        set->text = text;
        set->text_capacity = capacity;
        return 0;
}

int name_set_add(struct name_set *set, const char *name) {
        size_t length = strlen(name) + 1, at;

        if (set->n * 2 >= set->capacity && grow_table(set) < 0)
                return -ENOMEM;
        at = name_hash(name) & (set->capacity - 1);
        for (; set->table[at] != 0; at = (at + 1) & (set->capacity - 1))
                if (strcmp(set->text + set->table[at] - 1, name) == 0)
                        return 0;
        if (grow_text(set, length) < 0)
                return -ENOMEM;
        memcpy(set->text + set->text_used, name, length);
        set->table[at] = (uint32_t)set->text_used + 1;
        set->text_used += length;
        set->n++;
        return 1;
}
