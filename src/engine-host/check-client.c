/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check-client — see check-client.h */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine-host/check-client.h"
#include "shared/fd.h"

#define CHANNEL_FD "100"

static void item_free(void *userdata) {
        struct item *item = userdata;

        g_free(item->name);
        g_free(item->locator);
        g_free(item->version);
        g_free(item);
}

static void answer_free(void *userdata) {
        struct answer *answer = userdata;

        g_ptr_array_unref(answer->items);
        g_byte_array_unref(answer->bytes);
        g_free(answer->detail);
        g_free(answer);
}

static int break_off(struct client *c, const char *why) {
        if (!c->failure)
                c->failure = g_strdup(why);
        c->ended = true;
        return -EPIPE;
}

static int client_send(struct client *c, const struct channel_message *m, int fd) {
        char packet[CHANNEL_PACKET_MAX];
        int r = channel_build(m, packet, sizeof(packet));

        if (r > 0)
                r = channel_send(c->socket, packet, (size_t)r, fd);
        return r;
}

static void exec_host(int socket, const char *host, const char *dir, const char *user,
                      const char *log_level) {
        /* Without CLOEXEC under its new number. */
        if (dup2(socket, atoi(CHANNEL_FD)) < 0)
                _exit(127);
        execl(host, host, "--channel", CHANNEL_FD, "--module-dir", dir, "--user", user,
              "--log-level", log_level, NULL);
        fprintf(stderr, "cannot run %s: %s\n", host, strerror(errno));
        _exit(127);
}

static int greet(struct client *c, const char *name, GHashTable *settings) {
        autoclose int fd = channel_slots_create();
        struct channel_message hello = {.type = CHANNEL_HELLO, .version = CHANNEL_VERSION,
                                        .id = "check", .module = name};
        GHashTableIter iter;
        const char *key, *value;
        int r;

        if (fd < 0)
                return fd;
        c->slots = channel_slots_map(fd, false);
        r = c->slots ? client_send(c, &hello, fd) : -errno;
        g_hash_table_iter_init(&iter, settings);
        while (r == 0 && g_hash_table_iter_next(&iter, (void **)&key, (void **)&value))
                r = client_send(c, &(struct channel_message){.type = CHANNEL_SETTING, .key = key,
                                                             .value = value}, -1);
        if (r == 0)
                r = client_send(c, &(struct channel_message){.type = CHANNEL_START}, -1);
        return r;
}

int client_start(const char *host, const char *module, const char *user, const char *log_level,
                 GHashTable *settings, struct client **ret) {
        g_autofree char *dir = g_path_get_dirname(module), *name = g_path_get_basename(module);
        struct client *c;
        int pair[2], r;

        if (g_str_has_suffix(name, ".so"))
                name[strlen(name) - 3] = '\0';
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        c = g_new0(struct client, 1);
        c->socket = pair[0];
        c->held = g_array_new(FALSE, FALSE, sizeof(uint32_t));
        c->answers = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, answer_free);
        c->pid = fork();
        if (c->pid == 0)
                exec_host(pair[1], host, dir, user, log_level);
        fd_close(pair[1]);
        r = c->pid < 0 ? -errno : greet(c, name, settings);
        if (r < 0) {
                client_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

void client_free(struct client *c) {
        if (!c)
                return;
        if (c->pid > 0) {
                (void)kill(c->pid, SIGKILL);
                (void)waitpid(c->pid, NULL, 0);
        }
        fd_close(c->socket);
        channel_slots_unmap(c->slots);
        g_array_unref(c->held);
        g_hash_table_unref(c->answers);
        g_free(c->failure);
        g_free(c);
}

static void release(struct client *c, uint32_t slot) {
        (void)client_send(c, &(struct channel_message){.type = CHANNEL_RELEASE, .slot = slot}, -1);
}

static int take_items(struct answer *answer, const void *data, size_t length) {
        size_t position = 0;
        struct cs_entry e;
        int r;

        while ((r = channel_entry_next(data, length, &position, &e)) == 1) {
                struct item *item = g_new0(struct item, 1);

                *item = (struct item){.kind = e.kind, .name = g_strdup(e.name),
                                      .locator = g_strdup(e.locator),
                                      .version = g_strdup(e.version), .size = e.size,
                                      .mtime_sec = e.mtime_sec, .mtime_nsec = e.mtime_nsec,
                                      .mode = e.mode};
                g_ptr_array_add(answer->items, item);
        }
        return r;
}

static int take_slot(struct client *c, struct answer *answer, const struct channel_message *m) {
        const void *slot = channel_slot(c->slots, m->slot);
        int r = 0;

        if (m->type == CHANNEL_DATA)
                g_byte_array_append(answer->bytes, slot, (guint)m->length);
        else
                r = take_items(answer, slot, (size_t)m->length);
        if (c->hold)
                g_array_append_val(c->held, m->slot);
        else
                release(c, m->slot);
        return r;
}

static int handle(struct client *c, const struct channel_message *m) {
        struct answer *answer = NULL;

        if (m->request) {
                answer = g_hash_table_lookup(c->answers, &m->request);
                if (!answer || answer->done)
                        return break_off(c, "the host answered a request that is not open");
        }
        switch (m->type) {
        case CHANNEL_READY:
                c->ready = true;
                c->flags = m->flags;
                c->max_requests = m->max_requests;
                return 0;
        case CHANNEL_FAILED:
                c->failed = true;
                return break_off(c, m->detail);
        case CHANNEL_DATA:
        case CHANNEL_ENTRIES:
                return take_slot(c, answer, m) < 0 ? break_off(c, "malformed entries") : 0;
        case CHANNEL_DONE:
                answer->done = true;
                answer->result = m->result;
                answer->skipped = m->skipped;
                answer->retry_after_ms = m->retry_after_ms;
                answer->detail = g_strdup(m->detail);
                return 0;
        default:
                return 0;
        }
}

static int receive(struct client *c) {
        char packet[CHANNEL_PACKET_MAX];
        struct channel_message m;
        autoclose int fd = -1;
        int n = channel_receive(c->socket, packet, sizeof(packet), &fd);

        if (n == 0 || n == -ECONNRESET)
                return break_off(c, "the host ended: the engine crashed?");
        if (n < 0 || channel_parse(packet, (size_t)n, &m) < 0 || !channel_type_is_from_host(m.type))
                return break_off(c, "the host broke the protocol");
        return handle(c, &m);
}

int client_wait(struct client *c, const bool *flag, int timeout_ms) {
        gint64 end = g_get_monotonic_time() + (gint64)timeout_ms * 1000;

        while (!*flag) {
                struct pollfd pfd = {.fd = c->socket, .events = POLLIN};
                gint64 left = end - g_get_monotonic_time();
                int r;

                if (c->ended)
                        return -EPIPE;
                r = poll(&pfd, 1, left > 0 ? (int)(left / 1000) : 0);
                if (r == 0)
                        return -ETIMEDOUT;
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r > 0 && receive(c) < 0)
                        return -EPIPE;
        }
        return 0;
}

int client_quit(struct client *c, int timeout_ms) {
        static const bool never = false;
        int status, r;

        (void)client_send(c, &(struct channel_message){.type = CHANNEL_QUIT}, -1);
        r = client_wait(c, &never, timeout_ms);
        if (r == -ETIMEDOUT)
                return r;
        while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
                ;
        c->pid = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static struct answer *ask(struct client *c, struct channel_message *m) {
        struct answer *answer = g_new0(struct answer, 1);

        answer->id = m->request = ++c->last_id;
        answer->type = m->type;
        answer->offset = m->offset;
        answer->items = g_ptr_array_new_with_free_func(item_free);
        answer->bytes = g_byte_array_new();
        g_hash_table_insert(c->answers, &answer->id, answer);
        if (!c->ended && client_send(c, m, -1) < 0)
                (void)break_off(c, "the host ended: the engine crashed?");
        return answer;
}

struct answer *client_list(struct client *c, const char *locator) {
        return ask(c, &(struct channel_message){.type = CHANNEL_LIST, .locator = locator});
}

struct answer *client_stat(struct client *c, const char *locator) {
        return ask(c, &(struct channel_message){.type = CHANNEL_STAT, .locator = locator});
}

struct answer *client_fetch(struct client *c, const struct item *item, const char *version,
                            uint64_t offset, uint64_t length) {
        return ask(c, &(struct channel_message){
                              .type = CHANNEL_FETCH, .locator = item->locator,
                              .has_version = version != NULL, .file_version = version,
                              .size = item->size, .mtime_sec = item->mtime_sec,
                              .mtime_nsec = item->mtime_nsec, .offset = offset,
                              .length = length});
}

void client_cancel(struct client *c, const struct answer *answer) {
        (void)client_send(c, &(struct channel_message){.type = CHANNEL_CANCEL,
                                                       .request = answer->id}, -1);
}

void client_release(struct client *c) {
        c->hold = false;
        for (guint i = 0; i < c->held->len; i++)
                release(c, g_array_index(c->held, uint32_t, i));
        g_array_set_size(c->held, 0);
}

void client_forget(struct client *c, struct answer *answer) {
        g_hash_table_remove(c->answers, &answer->id);
}
