/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-transfer — the transfers' signals, thinned out
 *
 * A tree of small files is thousands of transfers a second, which nobody watches one by
 * one and which a bus would choke on. So:
 *
 *   - a transfer is announced (TransferStarted) when it begins, as long as not more
 *     than ANNOUNCED_PER_SECOND are; the others when they have taken PROGRESS_US and still
 *     move, or when they fail
 *   - progress is told at most once in PROGRESS_US for one transfer
 *   - only what was announced is told to be finished
 *
 * What a listener sees of one transfer is always Started, Progress…, Finished.
 */

#include "dispatcher/bus/bus.h"

#define ANNOUNCED_PER_SECOND 100u
#define PROGRESS_US (G_USEC_PER_SEC / 4)

struct transfer {
        uint64_t id;
        char *engine;
        uint64_t total;
        bool announced;
        gint64 told; /* when progress was told last, or the beginning */
};

struct bus_transfers {
        GHashTable *known; /* &id → struct transfer * */
        unsigned budget;   /* announcements left */
        gint64 refilled;   /* when the budget was full */
};

static void transfer_free(void *data) {
        struct transfer *transfer = data;

        g_free(transfer->engine);
        g_free(transfer);
}

struct bus_transfers *bus_transfers_new(void) {
        struct bus_transfers *transfers = g_new0(struct bus_transfers, 1);

        transfers->known = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, transfer_free);
        return transfers;
}

void bus_transfers_free(struct bus_transfers *transfers) {
        if (!transfers)
                return;
        g_hash_table_unref(transfers->known);
        g_free(transfers);
}

static bool take_budget(struct bus_transfers *transfers) {
        gint64 now = g_get_monotonic_time();

        if (transfers->refilled == 0 || now - transfers->refilled >= G_USEC_PER_SEC) {
                transfers->refilled = now;
                transfers->budget = ANNOUNCED_PER_SECOND;
        }
        if (transfers->budget == 0)
                return false;
        transfers->budget--;
        return true;
}

static void announce(Bus *bus, struct transfer *transfer) {
        if (transfer->announced || !bus_can_signal(bus))
                return;
        transfer->announced =
                sd_bus_emit_signal(bus->connection, BUS_OBJECT, BUS_MANAGER, "TransferStarted",
                                   "tst", transfer->id, transfer->engine, transfer->total) >= 0;
}

void bus_transfer_started(Bus *bus, uint64_t id, const char *engine, uint64_t total) {
        struct transfer *transfer;

        if (!bus)
                return;
        transfer = g_new0(struct transfer, 1);
        transfer->id = id;
        transfer->engine = g_strdup(engine);
        transfer->total = total;
        transfer->told = g_get_monotonic_time();
        g_hash_table_replace(bus->transfers->known, &transfer->id, transfer);
        if (take_budget(bus->transfers))
                announce(bus, transfer);
}

void bus_transfer_progress(Bus *bus, uint64_t id, uint64_t done, uint64_t total) {
        struct transfer *transfer;
        gint64 now;

        if (!bus)
                return;
        transfer = g_hash_table_lookup(bus->transfers->known, &id);
        now = g_get_monotonic_time();
        if (!transfer || now - transfer->told < PROGRESS_US)
                return;
        transfer->told = now;
        transfer->total = total;
        announce(bus, transfer);
        if (transfer->announced && bus_can_signal(bus))
                (void)sd_bus_emit_signal(bus->connection, BUS_OBJECT, BUS_MANAGER,
                                         "TransferProgress", "ttt", id, done, total);
}

void bus_transfer_finished(Bus *bus, uint64_t id, uint64_t done, const char *error) {
        struct transfer *transfer;
        g_autofree char *text = NULL;

        if (!bus)
                return;
        transfer = g_hash_table_lookup(bus->transfers->known, &id);
        if (!transfer)
                return;
        text = g_utf8_make_valid(error ?: "", -1);
        if (*text && !transfer->announced && take_budget(bus->transfers))
                announce(bus, transfer);
        if (transfer->announced && bus_can_signal(bus))
                (void)sd_bus_emit_signal(bus->connection, BUS_OBJECT, BUS_MANAGER,
                                         "TransferFinished", "tts", id, done, text);
        g_hash_table_remove(bus->transfers->known, &id);
}
