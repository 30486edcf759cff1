/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-peer — see host-peer.h */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "host-peer.h"
#include "shared/fd.h"

#define SILENCE_MS 60000

char *peer_modules;

static void copy_modules(const char *from) {
        g_autoptr(GDir) dir = g_dir_open(from, 0, NULL);
        const char *name;

        if (!dir)
                g_error("cannot open %s (CLOUDSYNC_TEST_MODULES)", from);
        while ((name = g_dir_read_name(dir))) {
                g_autofree char *source = g_build_filename(from, name, NULL);
                g_autofree char *target = g_build_filename(peer_modules, name, NULL);
                g_autofree char *content = NULL;
                gsize length;

                if (!g_str_has_suffix(name, ".so"))
                        continue;
                g_assert_true(g_file_get_contents(source, &content, &length, NULL));
                g_assert_true(g_file_set_contents(target, content, (gssize)length, NULL));
                g_assert_cmpint(chmod(target, 0644), ==, 0);
        }
}

void peer_setup(void) {
        const char *dirs = g_getenv("CLOUDSYNC_TEST_MODULES");
        g_auto(GStrv) parts = g_strsplit(dirs ? dirs : "", ":", -1);

        if (!dirs || !g_getenv("CLOUDSYNC_ENGINE_HOST"))
                g_error("CLOUDSYNC_ENGINE_HOST and CLOUDSYNC_TEST_MODULES say what to test");
        peer_modules = g_dir_make_tmp("host-test-XXXXXX", NULL);
        g_assert_cmpint(chmod(peer_modules, 0755), ==, 0);
        for (char **part = parts; *part; part++)
                copy_modules(*part);
}

void peer_teardown(void) {
        g_autoptr(GDir) dir = g_dir_open(peer_modules, 0, NULL);
        const char *name;

        while ((name = g_dir_read_name(dir))) {
                g_autofree char *path = g_build_filename(peer_modules, name, NULL);

                g_unlink(path);
        }
        g_rmdir(peer_modules);
}

static void reply_free(void *userdata) {
        struct reply *reply = userdata;

        g_byte_array_unref(reply->data);
        g_ptr_array_unref(reply->names);
        g_free(reply->detail);
        g_free(reply);
}

static void child(int socket, const char *const *arguments) {
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        const char *fixed[] = {g_getenv("CLOUDSYNC_ENGINE_HOST"), "--channel", "100", "--id",
                               "test-id", "--module-dir", peer_modules, "--user", "nobody",
                               "--log-level", g_getenv("HOST_TEST_LOG") ?: "4"};

        for (size_t i = 0; i < G_N_ELEMENTS(fixed); i++)
                g_ptr_array_add(argv, (char *)fixed[i]);
        for (; arguments && *arguments; arguments++)
                g_ptr_array_add(argv, (char *)*arguments);
        g_ptr_array_add(argv, NULL);
        /* 200: one that the host must not keep. */
        if (dup2(socket, 100) < 0 || dup2(socket, 200) < 0)
                _exit(99);
        execv(argv->pdata[0], (char **)argv->pdata);
        _exit(98);
}

struct peer *peer_over(int *ret_other) {
        struct peer *peer = g_new0(struct peer, 1);
        int pair[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                        ==, 0);
        peer->socket = pair[0];
        peer->replies = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, reply_free);
        *ret_other = pair[1];
        return peer;
}

struct peer *peer_spawn(const char *const *arguments) {
        int other;
        struct peer *peer = peer_over(&other);

        peer->pid = fork();
        if (peer->pid == 0)
                child(other, arguments);
        g_assert_cmpint(peer->pid, >, 0);
        fd_close(other);
        return peer;
}

static void wait_until(struct peer *peer, short events) {
        struct pollfd pfd = {.fd = peer->socket, .events = events};

        if (poll(&pfd, 1, SILENCE_MS) <= 0)
                g_error("the host is silent");
}

static int send_fd(struct peer *peer, const struct channel_message *message, int fd) {
        char packet[CHANNEL_PACKET_MAX];
        int length = channel_build(message, packet, sizeof(packet)), r;

        g_assert_cmpint(length, >, 0);
        while ((r = channel_send(peer->socket, packet, (size_t)length, fd)) == -EAGAIN)
                wait_until(peer, POLLOUT);
        return r;
}

void peer_send(struct peer *peer, const struct channel_message *message) {
        int r = send_fd(peer, message, -1);

        if (r < 0 && r != -EPIPE)
                g_error("send: %s", g_strerror(-r));
}

void peer_greet(struct peer *peer, const char *module, const char *const *settings,
                uint32_t version) {
        int fd = channel_slots_create();

        g_assert_cmpint(fd, >=, 0);
        peer->slots = channel_slots_map(fd, false);
        g_assert_nonnull(peer->slots);
        (void)send_fd(peer, MESSAGE(.type = CHANNEL_HELLO, .version = version, .id = "test-id",
                                    .module = module), fd);
        fd_close(fd);
        for (; settings && settings[0]; settings += 2)
                peer_send(peer, MESSAGE(.type = CHANNEL_SETTING, .key = settings[0],
                                        .value = settings[1]));
        peer_send(peer, MESSAGE(.type = CHANNEL_START));
}

struct peer *peer_new(const char *module, const char *const *settings,
                      const char *const *arguments) {
        struct peer *peer = peer_spawn(arguments);

        peer_greet(peer, module, settings, CHANNEL_VERSION);
        return peer;
}

struct peer *peer_ready(const char *module, const char *const *settings) {
        struct peer *peer = peer_new(module, settings, NULL);

        while (!peer->ready && peer_step(peer))
                if (peer->failed)
                        g_error("%s: %s", module, peer->detail);
        g_assert_true(peer->ready);
        return peer;
}

void peer_release(struct peer *peer, uint32_t slot) {
        g_assert_true(peer->held[slot]);
        peer->held[slot] = false;
        peer->n_held--;
        peer_send(peer, MESSAGE(.type = CHANNEL_RELEASE, .slot = slot));
}

bool peer_release_one(struct peer *peer) {
        for (uint32_t slot = 0; slot < CHANNEL_SLOTS; slot++)
                if (peer->held[slot]) {
                        peer_release(peer, slot);
                        return true;
                }
        return false;
}

static struct reply *reply_of(struct peer *peer, const struct channel_message *m) {
        struct reply *reply = g_hash_table_lookup(peer->replies, &m->request);

        if (!reply || reply->done)
                g_error("%s for a request that is not open", channel_type_name(m->type));
        return reply;
}

static void take_entries(struct peer *peer, struct reply *reply, const char *slot,
                         const struct channel_message *m) {
        g_autofree char *copy = g_memdup2(slot, m->length);
        size_t position = 0;
        uint32_t count = 0;
        struct cs_entry e;
        int r;

        g_assert_true(reply->type == CHANNEL_LIST || reply->type == CHANNEL_STAT);
        while ((r = channel_entry_next(copy, m->length, &position, &e)) == 1) {
                count++;
                reply->n_entries++;
                if (peer->keep_names)
                        g_ptr_array_add(reply->names,
                                        g_strdup_printf("%c %s %s %s %" G_GUINT64_FORMAT " %o",
                                                        "?fd?"[e.kind], e.name,
                                                        e.locator, e.version ? e.version : "-",
                                                        e.size, e.mode));
        }
        g_assert_cmpint(r, ==, 0);
        g_assert_cmpuint(count, ==, m->count);
}

static void take_slot(struct peer *peer, const struct channel_message *m) {
        struct reply *reply = reply_of(peer, m);
        const char *slot = channel_slot(peer->slots, m->slot);

        if (peer->held[m->slot])
                g_error("slot %u is used while we have it", m->slot);
        peer->held[m->slot] = true;
        peer->n_held++;
        if (m->type == CHANNEL_ENTRIES) {
                take_entries(peer, reply, slot, m);
        } else {
                g_assert_cmpint(reply->type, ==, CHANNEL_FETCH);
                g_assert_false(reply->short_slot);
                reply->short_slot = m->length < CHANNEL_SLOT_SIZE;
                g_assert_cmpuint(m->offset, ==, reply->offset + reply->data->len);
                g_byte_array_append(reply->data, (const guint8 *)slot, (guint)m->length);
        }
        if (!peer->hold)
                peer_release(peer, m->slot);
}

static void take_done(struct peer *peer, const struct channel_message *m) {
        struct reply *reply = reply_of(peer, m);

        reply->done = true;
        reply->result = m->result;
        reply->retry_after_ms = m->retry_after_ms;
        reply->skipped = m->skipped;
        reply->detail = g_strdup(m->detail);
        peer->open--;
}

static void take(struct peer *peer, const struct channel_message *m) {
        g_assert_true(channel_type_is_from_host(m->type));
        g_assert_false(peer->failed);
        switch (m->type) {
        case CHANNEL_READY:
                g_assert_false(peer->ready);
                peer->ready = true;
                peer->flags = m->flags;
                peer->max_requests = m->max_requests;
                break;
        case CHANNEL_FAILED:
                g_assert_false(peer->ready);
                peer->failed = true;
                peer->failure = m->result;
                peer->detail = g_strdup(m->detail);
                break;
        case CHANNEL_DATA:
        case CHANNEL_ENTRIES:
                take_slot(peer, m);
                break;
        case CHANNEL_DONE:
                take_done(peer, m);
                break;
        case CHANNEL_PONG:
                peer->pongs++;
                break;
        case CHANNEL_CONDITION:
                peer->condition = m->condition;
                g_free(peer->why);
                peer->why = g_strdup(m->detail);
                break;
        default:
                g_assert_cmpint(m->type, ==, CHANNEL_CHANGED);
                g_free(peer->changed);
                peer->changed = g_strdup(m->locator);
        }
}

bool peer_step(struct peer *peer) {
        char packet[CHANNEL_PACKET_MAX];
        struct channel_message m;
        int fd, n;

        while ((n = channel_receive(peer->socket, packet, sizeof(packet), &fd)) == -EAGAIN)
                wait_until(peer, POLLIN);
        g_assert_cmpint(fd, ==, -1);
        if (n == 0 || n == -ECONNRESET) {
                peer->ended = true;
                return false;
        }
        g_assert_cmpint(n, >, 0);
        g_assert_cmpint(channel_parse(packet, (size_t)n, &m), ==, 0);
        take(peer, &m);
        return true;
}

bool peer_step_within(struct peer *peer, int milliseconds) {
        struct pollfd pfd = {.fd = peer->socket, .events = POLLIN};

        return poll(&pfd, 1, milliseconds) > 0 && peer_step(peer);
}

int peer_wait(struct peer *peer) {
        int status;

        while (!peer->ended && peer_step(peer))
                ;
        g_assert_cmpint(waitpid(peer->pid, &status, 0), ==, peer->pid);
        peer->pid = 0;
        return status;
}

void peer_free(struct peer *peer) {
        if (peer->pid > 0) {
                (void)kill(peer->pid, SIGKILL);
                (void)waitpid(peer->pid, NULL, 0);
        }
        fd_close(peer->socket);
        channel_slots_unmap(peer->slots);
        g_hash_table_unref(peer->replies);
        g_free(peer->detail);
        g_free(peer->changed);
        g_free(peer->why);
        g_free(peer);
}

void peer_quit(struct peer *peer) {
        int status;

        peer_send(peer, MESSAGE(.type = CHANNEL_QUIT));
        status = peer_wait(peer);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 0);
        peer_free(peer);
}

static struct reply *ask(struct peer *peer, struct channel_message *m) {
        struct reply *reply = g_new0(struct reply, 1);

        reply->type = m->type;
        reply->id = m->request = ++peer->last_id;
        reply->offset = m->offset;
        reply->data = g_byte_array_new();
        reply->names = g_ptr_array_new_with_free_func(g_free);
        g_hash_table_insert(peer->replies, &reply->id, reply);
        peer->open++;
        peer_send(peer, m);
        return reply;
}

struct reply *peer_list(struct peer *peer, const char *locator) {
        return ask(peer, MESSAGE(.type = CHANNEL_LIST, .locator = locator));
}

struct reply *peer_stat(struct peer *peer, const char *locator) {
        return ask(peer, MESSAGE(.type = CHANNEL_STAT, .locator = locator));
}

struct reply *peer_fetch(struct peer *peer, const char *locator, const char *version,
                         uint64_t size, uint64_t offset, uint64_t length) {
        return ask(peer, MESSAGE(.type = CHANNEL_FETCH, .locator = locator,
                                 .has_version = version != NULL, .file_version = version,
                                 .size = size, .offset = offset, .length = length,
                                 .mtime_sec = 11, .mtime_nsec = 12));
}

struct reply *peer_login(struct peer *peer, enum cs_login_step step, const char *text) {
        return ask(peer, MESSAGE(.type = CHANNEL_LOGIN, .step = step, .text = text));
}

void peer_cancel(struct peer *peer, const struct reply *reply) {
        peer_send(peer, MESSAGE(.type = CHANNEL_CANCEL, .request = reply->id));
}

struct reply *peer_finish(struct peer *peer, struct reply *reply) {
        while (!reply->done)
                if (!peer_step(peer))
                        g_error("the host ended");
        return reply;
}

void peer_finish_all(struct peer *peer) {
        while (peer->open > 0)
                if (!peer_step(peer))
                        g_error("the host ended");
}
