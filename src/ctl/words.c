/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/words.h"

#include <string.h>

const char *words_layer(const char *layer) {
        static const struct {
                const char *layer, *words;
        } table[] = {
                {"hsmid", "hsmid: without cloudsyncd the kernel itself refuses reads of the store"},
                {"bpf",
                 "bpf: without cloudsyncd a guard in the kernel refuses reads of what is not here"},
                {"fdstore", "fdstore: waiting reads are kept by systemd until cloudsyncd is back"},
                {"supervisor",
                 "supervisor: a worker that is killed is replaced at once, and reads go on waiting"},
                {"detach", "detach: the store can be reached only while cloudsyncd watches it"},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                if (strcmp(layer, table[i].layer) == 0)
                        return table[i].words;
        return layer;
}

const char *words_layers_warning(const char *const *layers) {
        bool supervised = false;

        for (; layers && *layers; layers++) {
                if (strcmp(*layers, "supervisor") == 0)
                        supervised = true;
                else if (strcmp(*layers, "detach") != 0)
                        return NULL;
        }
        return supervised ? "if cloudsyncd's supervisor is killed as well (not by a crash of the "
                            "worker), programs could read zeros until it is back; run it as a service"
                          : "if cloudsyncd is killed, programs could read zeros "
                            "until it is back";
}

enum table_color words_state_color(const char *state) {
        static const struct {
                const char *state;
                enum table_color color;
        } table[] = {
                {"hydrated", TABLE_GREEN},  {"ready", TABLE_GREEN},     {"listed", TABLE_GREEN},
                {"partial", TABLE_YELLOW},  {"listing", TABLE_YELLOW},  {"starting", TABLE_YELLOW},
                {"placeholder", TABLE_DIM}, {"not-managed", TABLE_DIM}, {"unlisted", TABLE_DIM},
                {"failed", TABLE_RED},      {"needs-login", TABLE_RED},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                if (strcmp(state, table[i].state) == 0)
                        return table[i].color;
        return TABLE_PLAIN;
}
