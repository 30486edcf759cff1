/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-caller — who sent a message, asked of the bus without waiting for it
 *
 * sd_bus_query_sender_creds() asks the bus and waits for the answer. The main loop
 * must not: a bus that is stopped, or is itself reading a file of the store, would stop
 * every access on the machine. So each method call meets a filter first:
 *
 *     sender known ─────────────────────────────────▶ the objects
 *     sender not known ─▶ held; GetConnectionCredentials is sent, once per sender
 *     its answer ────────▶ the held calls are put back in sd-bus's queue
 *
 * Calls of one sender keep their order: while some of them are held or put back,
 * later ones queue behind them. A held call that is at the head of its sender's queue
 * and comes through the filter again is the one that was put back.
 *
 * What the bus tells is fixed when a connection is made, and a unique name is never
 * used twice by one bus, so an answer stays true. Senders are remembered up to
 * BUS_CALLERS_MAX, the one not heard of for longest is forgotten first.
 *
 * The answer counts only when the bus itself sent it: sd-bus matches replies by number
 * alone, and some buses let anybody send any.
 */

#include <string.h>

#include "dispatcher/bus/bus.h"
#include "shared/log.h"

#define DRIVER "org.freedesktop.DBus"
#define GROUPS_MAX 65536u

struct sender {
        struct bus_caller caller;
        struct bus_callers *callers; /* borrowed */
        char *name;
        bool known;
        GQueue held;        /* sd_bus_message *, references, in their order */
        sd_bus_slot *asked; /* the question under way; ends with this */
        GList link;         /* in `recent`; data is this */
};

struct bus_callers {
        GHashTable *senders; /* name → struct sender * */
        GQueue recent;       /* the one heard of last is the head */
};

static const struct bus_caller nobody = {.uid = (uid_t)-1};

static void sender_free(void *data) {
        struct sender *sender = data;
        sd_bus_message *message;

        sd_bus_slot_unref(sender->asked);
        while ((message = g_queue_pop_head(&sender->held)))
                sd_bus_message_unref(message);
        g_free(sender->caller.groups);
        g_free(sender->name);
        g_free(sender);
}

struct bus_callers *bus_callers_new(void) {
        struct bus_callers *callers = g_new0(struct bus_callers, 1);

        callers->senders = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, sender_free);
        g_queue_init(&callers->recent);
        return callers;
}

void bus_callers_forget(struct bus_callers *callers) {
        g_queue_init(&callers->recent); /* the links are inside the senders */
        g_hash_table_remove_all(callers->senders);
}

void bus_callers_free(struct bus_callers *callers) {
        if (!callers)
                return;
        bus_callers_forget(callers);
        g_hash_table_unref(callers->senders);
        g_free(callers);
}

static bool sender_is_idle(const struct sender *sender) {
        return sender->known && g_queue_is_empty((GQueue *)&sender->held);
}

static void sender_remove(struct sender *sender) {
        struct bus_callers *callers = sender->callers;

        g_queue_unlink(&callers->recent, &sender->link);
        g_hash_table_remove(callers->senders, sender->name);
}

/* Forgets one, if there are too many: false when all of them are busy. */
static bool make_room(struct bus_callers *callers) {
        if (g_hash_table_size(callers->senders) < BUS_CALLERS_MAX)
                return true;
        for (GList *l = callers->recent.tail; l; l = l->prev)
                if (sender_is_idle(l->data)) {
                        sender_remove(l->data);
                        return true;
                }
        return false;
}

/* The sender, made when it is new; NULL when there is no room. */
static struct sender *sender_get(struct bus_callers *callers, const char *name) {
        struct sender *sender = g_hash_table_lookup(callers->senders, name);

        if (sender) {
                g_queue_unlink(&callers->recent, &sender->link);
        } else {
                if (!make_room(callers))
                        return NULL;
                sender = g_new0(struct sender, 1);
                sender->callers = callers;
                sender->name = g_strdup(name);
                sender->caller = nobody;
                sender->link.data = sender;
                g_queue_init(&sender->held);
                g_hash_table_insert(callers->senders, sender->name, sender);
        }
        g_queue_push_head_link(&callers->recent, &sender->link);
        return sender;
}

/* --- the answer of the bus --- */

static int read_groups(sd_bus_message *reply, struct bus_caller *caller) {
        const void *data;
        size_t size;
        int r;

        r = sd_bus_message_enter_container(reply, 'v', "au");
        if (r < 0)
                return r;
        r = sd_bus_message_read_array(reply, 'u', &data, &size);
        if (r < 0)
                return r;
        if (size / sizeof(uint32_t) > GROUPS_MAX || caller->has_groups)
                return -EBADMSG;
        G_STATIC_ASSERT(sizeof(gid_t) == sizeof(uint32_t));
        caller->groups = g_memdup2(data, size);
        caller->n_groups = size / sizeof(uint32_t);
        caller->has_groups = true;
        return sd_bus_message_exit_container(reply);
}

static int read_entry(sd_bus_message *reply, struct bus_caller *caller, bool *ret_has_uid) {
        const char *key;
        uint32_t number;
        int r;

        r = sd_bus_message_read(reply, "s", &key);
        if (r < 0)
                return r;
        if (strcmp(key, "UnixGroupIDs") == 0)
                return read_groups(reply, caller);
        if (strcmp(key, "UnixUserID") != 0 && strcmp(key, "ProcessID") != 0)
                return sd_bus_message_skip(reply, "v");
        r = sd_bus_message_read(reply, "v", "u", &number);
        if (r < 0)
                return r;
        if (*key == 'P') {
                caller->pid = (pid_t)number;
        } else {
                caller->uid = number;
                *ret_has_uid = true;
        }
        return 0;
}

/* a{sv}: what is needed of it, or an error; a bus that does not tell the uid is one. */
static int read_credentials(sd_bus_message *reply, struct bus_caller *caller) {
        bool has_uid = false;
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = read_entry(reply, caller, &has_uid);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(reply);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        return has_uid ? 0 : -ENODATA;
}

/* Everything that waited for this answer comes to the filter again. */
static void release_held(struct sender *sender) {
        GList *next;

        for (GList *l = sender->held.head; l; l = next) {
                sd_bus_message *message = l->data;
                int r;

                next = l->next;
                r = sd_bus_enqueue_for_read(sd_bus_message_get_bus(message), message);
                if (r >= 0)
                        continue;
                (void)sd_bus_reply_method_errorf(message, BUS_ERROR "Busy",
                                                 "Too much is under way; try again");
                g_queue_delete_link(&sender->held, l);
                sd_bus_message_unref(message);
        }
}

static void refuse_held(struct sender *sender, const char *why) {
        for (GList *l = sender->held.head; l; l = l->next)
                (void)sd_bus_reply_method_errorf(l->data, BUS_ERROR "AccessDenied",
                                                 "The bus does not say who you are: %s", why);
}

static int on_credentials(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct sender *sender = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        int r;

        if (!e && g_strcmp0(sd_bus_message_get_sender(reply), DRIVER) == 0)
                r = read_credentials(reply, &sender->caller);
        else
                r = -EPERM;
        if (r < 0) {
                /* Most often the sender is gone, and the refusal goes nowhere. */
                refuse_held(sender, e && e->message ? e->message : g_strerror(-r));
                sender_remove(sender);
                return 0;
        }
        sender->asked = sd_bus_slot_unref(sender->asked);
        sender->known = true;
        release_held(sender);
        return 0;
}

/* --- the filter --- */

static int hold(struct sender *sender, sd_bus_message *message) {
        sd_bus *connection = sd_bus_message_get_bus(message);
        int r = 0;

        if (sender->known)
                r = sd_bus_enqueue_for_read(connection, message);
        else if (!sender->asked)
                r = sd_bus_call_method_async(
                        connection, &sender->asked, DRIVER, "/org/freedesktop/DBus", DRIVER,
                        "GetConnectionCredentials", on_credentials, sender, "s", sender->name);
        if (r >= 0)
                g_queue_push_tail(&sender->held, sd_bus_message_ref(message));
        return r;
}

static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct bus_callers *callers = userdata;
        const char *name = sd_bus_message_get_sender(message);
        struct sender *sender;
        uint8_t type;

        if (sd_bus_message_get_type(message, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
                return 0;
        sender = name ? sender_get(callers, name) : NULL;
        if (sender && sender->known) {
                if (g_queue_is_empty(&sender->held))
                        return 0;
                if (g_queue_peek_head(&sender->held) == message) {
                        g_queue_pop_head(&sender->held);
                        sd_bus_message_unref(message); /* sd-bus still has its own */
                        return 0;
                }
        }
        if (!sender || g_queue_get_length(&sender->held) >= BUS_HELD_MAX ||
            hold(sender, message) < 0)
                (void)sd_bus_reply_method_errorf(message, BUS_ERROR "Busy",
                                                 "Too much is under way; try again");
        return 1;
}

int bus_callers_watch(struct bus_callers *callers, sd_bus *connection) {
        bus_callers_forget(callers);
        return sd_bus_add_filter(connection, NULL, on_message, callers);
}

const struct bus_caller *bus_callers_get(struct bus_callers *callers, sd_bus_message *message) {
        const char *name = message ? sd_bus_message_get_sender(message) : NULL;
        const struct sender *sender;

        sender = name ? g_hash_table_lookup(callers->senders, name) : NULL;
        return sender && sender->known ? &sender->caller : &nobody;
}
