/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus — the connection: opened, lost, opened again; the name; the objects
 *
 *     bus_open ──▶ connected, name ours ──lost──▶ none ──wait──▶ connected, name asked for
 *                         ▲                        ▲                │            │
 *                         └────────────────────────┼──── ours ──────┘            │
 *                                                  └─────── lost, refused ───────┘
 *
 * At the start everything must work, or the daemon says why and does not run: an
 * administrator is there to read it. Later the bus may go and come as it likes
 * (a restart of the bus must not take the files with it): the loss is logged once, and
 * so is the return. A worker that takes over from a dead one begins without a connection,
 * and looks for it at once: readers wait, and the name may still be the dead one's for some
 * milliseconds. Nothing but bus_open() waits for the bus.
 *
 * Objects are in sd-bus's tables, which belong to a connection; each new connection
 * gets them anew, before the name is asked for: whoever sees the name sees the objects.
 */

#include <stdlib.h>
#include <string.h>

#include "dispatcher/bus/bus.h"
#include "shared/log.h"

#define RETRY_FIRST_MS 250
#define RETRY_LIMIT_MS 15000
/* Behind a dead worker: more often, and quiet for about as long as the name may be taken. */
#define RETRY_EARLY_MS 5
#define QUIET_TRIES 8u
#define ERROR_TEXT_MAX 1000

static void connection_lost(void *userdata, int r);
static void schedule_retry(Bus *bus);

/* --- errors --- */

static const char *error_name(int r) {
        switch (-r) {
        case EACCES:
        case EPERM:
                return BUS_ERROR "AccessDenied";
        case ENOENT:
        case ENOTDIR:
        case ESTALE:
        case ENAMETOOLONG:
                return BUS_ERROR "NoSuchFile";
        case EXDEV:
        case ELOOP:
                return BUS_ERROR "NotInStore";
        case EAGAIN:
        case EBUSY:
        case ENOMEM:
        case EMFILE:
        case ENFILE:
                return BUS_ERROR "Busy";
        case EIO:
        case ENOSPC:
        case EDQUOT:
        case ETIMEDOUT:
                return BUS_ERROR "HydrationFailed";
        default:
                return SD_BUS_ERROR_FAILED;
        }
}

int bus_error(sd_bus_error *error, int r, const Failure *failure) {
        bool named = failure && failure->name;
        g_autofree char *name =
                named ? g_strconcat(BUS_ERROR, failure->name, NULL) : g_strdup(error_name(r));
        g_autofree char *text =
                g_utf8_make_valid(named && failure->text ? failure->text : g_strerror(-r), -1);

        if (strlen(text) > ERROR_TEXT_MAX)
                *g_utf8_find_prev_char(text, text + ERROR_TEXT_MAX) = '\0';
        (void)sd_bus_error_set(error, name, text);
        return r;
}

/* --- one connection --- */

static int connection_new(const char *address, sd_bus **ret) {
        sd_bus *connection = NULL;
        int r;

        if (strcmp(address, "system") == 0)
                return sd_bus_open_system_with_description(ret, "cloudsyncd");
        if (strcmp(address, "session") == 0)
                return sd_bus_open_user_with_description(ret, "cloudsyncd");
        r = sd_bus_new(&connection);
        if (r >= 0)
                r = sd_bus_set_description(connection, "cloudsyncd");
        if (r >= 0)
                r = sd_bus_set_address(connection, address);
        if (r >= 0)
                r = sd_bus_set_bus_client(connection, 1);
        if (r >= 0)
                r = sd_bus_start(connection);
        if (r < 0) {
                (void)sd_bus_close_unref(connection);
                return r;
        }
        *ret = connection;
        return 0;
}

static int add_objects(Bus *bus, sd_bus *connection) {
        int r;

        r = bus_callers_watch(bus->callers, connection);
        if (r >= 0)
                r = sd_bus_add_object_manager(connection, NULL, BUS_OBJECT);
        if (r >= 0)
                r = bus_manager_add(bus, connection);
        if (r >= 0)
                r = bus_engines_add(bus, connection);
        return r;
}

static void disconnect(Bus *bus) {
        bus->ready = false;
        if (bus->source) {
                g_source_destroy(bus->source);
                g_clear_pointer(&bus->source, g_source_unref);
        }
        bus_callers_forget(bus->callers);
        bus->connection = sd_bus_close_unref(bus->connection);
}

static int connect_bus(Bus *bus) {
        int r;

        r = connection_new(bus->address, &bus->connection);
        if (r < 0)
                return r;
        r = add_objects(bus, bus->connection);
        if (r >= 0) {
                bus->source = bus_source_new(bus->connection, connection_lost, bus);
                if (!bus->source)
                        r = -EPROTONOSUPPORT;
        }
        if (r < 0)
                disconnect(bus);
        return r;
}

/* --- coming back --- */

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;
        uint32_t result = 0;

        if (sd_bus_message_is_method_error(reply, NULL) ||
            sd_bus_message_read(reply, "u", &result) < 0 ||
            (result != 1 && result != 4)) { /* primary owner, already owner */
                log_debug("the bus did not give the name " BUS_NAME);
                sd_bus_close(sd_bus_message_get_bus(reply)); /* and so it is lost */
                return 0;
        }
        if (bus->told)
                log_notice("back on the bus as " BUS_NAME);
        bus->ready = true;
        bus->told = bus->early = false;
        bus->backoff = (struct backoff){.first_ms = RETRY_FIRST_MS, .limit_ms = RETRY_LIMIT_MS};
        return 0;
}

static void tell_lost(Bus *bus, int r) {
        if (bus->told || (bus->early && bus->backoff.tries < QUIET_TRIES))
                return;
        log_warning("the bus is gone (%s): files are still served; trying to come back", g_strerror(-r));
        bus->told = true;
}

static gboolean on_retry(void *userdata) {
        Bus *bus = userdata;
        int r;

        bus->retry = 0;
        r = connect_bus(bus);
        if (r >= 0) {
                r = sd_bus_request_name_async(bus->connection, NULL, BUS_NAME, 0, on_name, bus);
                if (r < 0)
                        disconnect(bus);
        }
        if (r < 0) {
                tell_lost(bus, r);
                schedule_retry(bus);
        }
        return G_SOURCE_REMOVE;
}

static void schedule_retry(Bus *bus) {
        uint32_t wait = backoff_next(&bus->backoff, g_random_int(), 0);

        bus->retry = g_timeout_add(wait, on_retry, bus);
}

static void connection_lost(void *userdata, int r) {
        Bus *bus = userdata;

        tell_lost(bus, r);
        disconnect(bus);
        schedule_retry(bus);
}

/* --- the whole --- */

Bus *bus_ref(Bus *bus) {
        bus->refs++;
        return bus;
}

void bus_unref(Bus *bus) {
        if (!bus || --bus->refs > 0)
                return;
        bus_callers_free(bus->callers);
        bus_transfers_free(bus->transfers);
        for (size_t i = 0; i < G_N_ELEMENTS(bus->calls); i++)
                g_hash_table_unref(bus->calls[i]);
        g_free(bus->address);
        g_free(bus);
}

bool bus_can_signal(const Bus *bus) {
        uint64_t queued;

        if (!bus || !bus->connection || !bus->ready)
                return false;
        return sd_bus_get_n_queued_write(bus->connection, &queued) >= 0 && queued < BUS_QUEUED_MAX;
}

static Bus *bus_new(Daemon *daemon, const char *address) {
        Bus *bus = g_new0(Bus, 1);

        bus->refs = 1;
        bus->daemon = daemon;
        bus->address = g_strdup(address);
        bus->backoff = (struct backoff){.first_ms = RETRY_FIRST_MS, .limit_ms = RETRY_LIMIT_MS};
        bus->callers = bus_callers_new();
        bus->transfers = bus_transfers_new();
        for (size_t i = 0; i < G_N_ELEMENTS(bus->calls); i++)
                bus->calls[i] = g_hash_table_new(NULL, NULL);
        return bus;
}

bool bus_is_ready(const Bus *bus) {
        return !bus || bus->ready;
}

void bus_close(Bus *bus) {
        if (!bus)
                return;
        disconnect(bus);
        if (bus->retry != 0)
                g_source_remove(bus->retry);
        bus->retry = 0;
        bus->daemon = NULL;
        bus_unref(bus);
}

static int open_failed(Bus *bus, int r, Failure *failure) {
        const char *where = bus->address;

        if (r == -EEXIST)
                (void)failure_set(failure, r, "NameTaken",
                                  "the name " BUS_NAME
                                  " is taken on the bus (%s): another cloudsyncd "
                                  "runs there",
                                  where);
        else if (r == -EACCES || r == -EPERM)
                (void)failure_set(failure, r, "NameRefused",
                                  "the bus (%s) does not let us have the name " BUS_NAME ": is its "
                                  "policy installed, and are we root?",
                                  where);
        else if (r == -EPROTONOSUPPORT)
                (void)failure_set(failure, r, "NoBus", "the bus address %s is not a socket's",
                                  where);
        else
                (void)failure_set(failure, r, "NoBus",
                                  "cannot connect to the bus (%s): %s; see --bus", where,
                                  g_strerror(-r));
        bus_close(bus);
        return r;
}

int bus_open(Daemon *daemon, const char *address, Bus **ret, Failure *failure) {
        Bus *bus;
        int r;

        if (strcmp(address, "none") == 0) {
                *ret = NULL;
                return 0;
        }
        bus = bus_new(daemon, address);
        r = connect_bus(bus);
        if (r >= 0)
                r = sd_bus_request_name(bus->connection, BUS_NAME, 0);
        if (r < 0)
                return open_failed(bus, r, failure);
        bus->ready = true;
        *ret = bus;
        return 0;
}

Bus *bus_open_later(Daemon *daemon, const char *address) {
        Bus *bus;

        if (strcmp(address, "none") == 0)
                return NULL;
        bus = bus_new(daemon, address);
        bus->early = true;
        bus->backoff.first_ms = RETRY_EARLY_MS;
        bus->retry = g_timeout_add(0, on_retry, bus);
        return bus;
}
