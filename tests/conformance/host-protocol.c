/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * host-protocol — the scenario engine, blocking and not: what comes over the channel
 * whatever an engine does
 */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host-peer.h"
#include "host-tests.h"
#include "shared/fd.h"

#define MIB (1024u * 1024u)
#define STORM 1200u /* requests */
#define RATE 8000u

static void assert_pattern(const struct reply *reply, uint64_t length) {
        g_assert_cmpuint(reply->data->len, ==, length);
        for (uint64_t i = 0; i < length; i++) {
                uint64_t o = reply->offset + i;

                if (reply->data->data[i] != (guint8)(o ^ (o >> 8) ^ (o >> 16)))
                        g_error("wrong byte at %" G_GUINT64_FORMAT, o);
        }
}

static void test_ready(const void *module) {
        struct peer *peer = peer_ready(module, SETTINGS("changed", "some/dir"));

        g_assert_cmpuint(peer->max_requests, ==, CHANNEL_REQUESTS_MAX);
        g_assert_cmpuint(peer->flags, ==,
                         strcmp(module, "scenario") == 0 ? CS_ENGINE_NO_RANGES
                                                         : CS_ENGINE_NONBLOCKING);
        g_assert_cmpstr(peer->changed, ==, "some/dir"); /* said in open() already */
        peer_quit(peer);
}

/* A login has its own thread: it waits for nothing, and nothing waits for it. */
static void test_login(const void *module) {
        struct peer *peer = peer_ready(module, SETTINGS("needs_login", "nobody", CS_SETTING_TOKEN, "tok"));
        g_autofree char *text = g_strnfill(CS_LOGIN_TEXT_MAX, 't');
        struct reply *reply;

        g_assert_cmpuint(peer->condition, ==, CS_CONDITION_NEEDS_LOGIN); /* said before READY */
        g_assert_cmpstr(peer->why, ==, "nobody");
        for (int i = 0; i < 96; i++)
                (void)peer_fetch(peer, "stuck", "v", 10, 0, 10);
        reply = peer_finish(peer, peer_login(peer, CS_LOGIN_BEGIN, ""));
        g_assert_cmpint(reply->result, ==, 0);
        g_assert_cmpstr(reply->detail, ==, "https://example.net/tok");
        reply = peer_finish(peer, peer_login(peer, CS_LOGIN_FINISH, "bad"));
        g_assert_cmpint(reply->result, ==, -EACCES);
        g_assert_cmpstr(reply->detail, ==, "bad");
        g_assert_cmpuint(peer->condition, ==, CS_CONDITION_NEEDS_LOGIN);
        reply = peer_finish(peer, peer_login(peer, CS_LOGIN_FINISH, text));
        g_assert_cmpint(reply->result, ==, 0);
        g_assert_cmpuint(strlen(reply->detail), ==, CS_LOGIN_REPLY_MAX - 1);
        g_assert_cmpuint(peer->condition, ==, CS_CONDITION_GOOD); /* before DONE */
        reply = peer_finish(peer, peer_login(peer, CS_LOGIN_LOGOUT, ""));
        g_assert_cmpint(reply->result, ==, 0);
        g_assert_cmpuint(strlen(reply->detail), ==, CS_LOGIN_REPLY_MAX - 1);
        g_assert_cmpstr(peer->why, ==, "logged out");
        for (uint64_t id = 1; id <= 96; id++)
                peer_cancel(peer, &(struct reply){.id = id});
        peer_finish_all(peer);
        peer_quit(peer);
}

/* `login` lies behind the end of an older module's table, and is no business of the host's. */
static void test_no_login(const void *module) {
        struct peer *peer = peer_ready("liar", NULL);
        struct reply *reply = peer_finish(peer, peer_login(peer, CS_LOGIN_BEGIN, ""));

        g_assert_cmpint(reply->result, ==, -EOPNOTSUPP);
        peer_quit(peer);
}

static void test_fetch(const void *module) {
        static const struct {
                uint64_t offset, length;
        } ranges[] = {
                {0, 1}, {0, CHANNEL_SLOT_SIZE}, {0, CHANNEL_SLOT_SIZE + 1}, {0, 3 * MIB + 17},
                {4096, CHANNEL_SLOT_SIZE - 1}, {3 * MIB + 16, 1}, {12345, 700001},
        };
        struct peer *peer = peer_ready(module, NULL);

        for (int thread = 0; thread < 2; thread++)
                for (size_t i = 0; i < G_N_ELEMENTS(ranges); i++) {
                        struct reply *reply = peer_fetch(peer, thread ? "thread" : "good", "v",
                                                         3 * MIB + 17, ranges[i].offset,
                                                         ranges[i].length);

                        g_assert_cmpint(peer_finish(peer, reply)->result, ==, 0);
                        assert_pattern(reply, ranges[i].length);
                        g_assert_cmpstr(reply->detail, ==, "");
                }
        g_assert_cmpuint(peer->n_held, ==, 0);
        peer_quit(peer);
}

static void test_arguments(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        struct reply *a = peer_fetch(peer, "version", "\"etag\"", 100, 0, 100);
        struct reply *b = peer_fetch(peer, "version", NULL, 100, 0, 100);

        g_assert_cmpint(peer_finish(peer, a)->result, ==, -ESTALE);
        g_assert_cmpstr(a->detail, ==, "\"etag\" 11.12 100");
        g_assert_cmpint(peer_finish(peer, b)->result, ==, -ESTALE);
        g_assert_cmpstr(b->detail, ==, "NULL 11.12 100");
        peer_quit(peer);
}

static void test_lies(const void *module) {
        static const struct {
                const char *what;
                uint64_t length, arrives;
                int result;
                const char *word;
        } lies[] = {
                {"much", 1000, 1000, -EPROTO, "more than"},
                {"much", CHANNEL_SLOT_SIZE, CHANNEL_SLOT_SIZE, -EPROTO, "more than"},
                {"much-at-once", 1000, 0, -EMSGSIZE, "noticed"},
                {"little", 1000, 999, -EPROTO, "delivered 999 of 1000 bytes"},
                {"little", 1, 0, -EPROTO, "delivered 0 of 1 bytes"},
                {"nothing", 500, 0, -EPROTO, "delivered 0 of 500 bytes"},
                {"half", 200000, 100000, -ECONNRESET, "ddd"},
                {"positive", 10, 0, -EPROTO, "with 5"},
                {"entry", 10, 0, -EOPNOTSUPP, ""},
                {"no-such", 10, 0, -ENOENT, "no such scenario"},
        };
        struct peer *peer = peer_ready(module, NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
                struct reply *reply = peer_fetch(peer, lies[i].what, "v", 1 * MIB, 0,
                                                 lies[i].length);

                g_assert_cmpint(peer_finish(peer, reply)->result, ==, lies[i].result);
                g_assert_nonnull(strstr(reply->detail, lies[i].word));
                assert_pattern(reply, lies[i].arrives);
                if (strcmp(lies[i].what, "half") == 0) {
                        g_assert_cmpuint(reply->retry_after_ms, ==, 1500);
                        g_assert_cmpuint(strlen(reply->detail), ==, CHANNEL_DETAIL_MAX);
                }
        }
        peer_quit(peer);
}

static void test_names(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        struct reply *reply;

        peer->keep_names = true;
        reply = peer_finish(peer, peer_list(peer, "names"));
        g_assert_cmpint(reply->result, ==, 0);
        g_assert_cmpuint(reply->skipped, ==, 9);
        g_assert_cmpuint(reply->names->len, ==, 4);
        g_assert_cmpstr(reply->names->pdata[0], ==, "f composed names/composed v1 5 644");
        g_assert_cmpstr(reply->names->pdata[1], ==, "f own somewhere/else - 0 644");
        g_assert_cmpstr(reply->names->pdata[2], ==, "d dir\n\xff names/dir\n\xff - 0 755");
        g_assert_cmpstr(reply->names->pdata[3], ==, "? unknown names/unknown - 0 644");
        /* the root's entries have no slash in front */
        reply = peer_finish(peer, peer_list(peer, ""));
        g_assert_cmpuint(reply->n_entries, ==, 0);
        reply = peer_finish(peer, peer_list(peer, "1"));
        g_assert_cmpstr(reply->names->pdata[0], ==, "f file-0000000 1/file-0000000 - 0 644");
        peer_quit(peer);
}

static void test_stat(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        struct reply *reply;

        peer->keep_names = true;
        reply = peer_finish(peer, peer_stat(peer, "x/y"));
        g_assert_cmpint(reply->result, ==, 0);
        g_assert_cmpuint(reply->names->len, ==, 1);
        g_assert_cmpstr(reply->names->pdata[0], ==, "f - x/y v 42 644");
        reply = peer_finish(peer, peer_stat(peer, ""));
        g_assert_cmpstr(reply->names->pdata[0], ==, "f - - v 42 644");
        reply = peer_finish(peer, peer_stat(peer, "twice"));
        g_assert_cmpint(reply->result, ==, 0);
        g_assert_cmpuint(reply->n_entries, ==, 1);
        reply = peer_finish(peer, peer_stat(peer, "silent"));
        g_assert_cmpint(reply->result, ==, -EPROTO);
        peer_quit(peer);
}

static void test_million(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        struct reply *reply = peer_finish(peer, peer_list(peer, "million"));

        g_assert_cmpint(reply->result, ==, 0);
        g_assert_cmpuint(reply->n_entries, ==, 1000000);
        peer_quit(peer);
}

/* As many fetches as there may be, larger than all slots together, and nothing is
 * released until the host stands still; then one slot at a time, oldest last. */
static void test_backpressure(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        struct reply *replies[CHANNEL_REQUESTS_MAX];
        const uint64_t length = 3 * CHANNEL_SLOT_SIZE + 1;

        peer->hold = true;
        for (size_t i = 0; i < G_N_ELEMENTS(replies); i++)
                replies[i] = peer_fetch(peer, "good", "v", length, 0, length);
        while (peer_step_within(peer, 500))
                ;
        /* It stands still because it has none left, not before. */
        g_assert_cmpuint(peer->open, >, 0);
        g_assert_cmpuint(peer->n_held, >, CHANNEL_SLOTS - CHANNEL_REQUESTS_MAX - 1);
        while (peer->open > 0) {
                while (peer_step_within(peer, 0))
                        ;
                if (peer->open > 0 && !peer_release_one(peer))
                        g_assert_true(peer_step(peer));
        }
        for (size_t i = 0; i < G_N_ELEMENTS(replies); i++) {
                g_assert_cmpint(replies[i]->result, ==, 0);
                assert_pattern(replies[i], length);
        }
        while (peer_release_one(peer))
                ;
        peer_quit(peer);
}

static void test_cancel(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        struct reply *stuck[8], *list, *other, *waiting, unknown = {.id = 999};

        for (size_t i = 0; i < G_N_ELEMENTS(stuck); i++)
                stuck[i] = peer_fetch(peer, "stuck", "v", 10, 0, 10);
        list = peer_list(peer, "stuck");
        other = peer_finish(peer, peer_fetch(peer, "good", "v", 10, 0, 10));
        g_assert_cmpint(other->result, ==, 0);
        g_assert_cmpuint(peer->open, ==, 9);

        peer_cancel(peer, stuck[3]);
        g_assert_cmpint(peer_finish(peer, stuck[3])->result, ==, -ECANCELED);
        g_assert_cmpuint(peer->open, ==, 8);
        peer_cancel(peer, stuck[3]); /* too late */
        peer_cancel(peer, &unknown);
        peer_cancel(peer, list);
        g_assert_cmpint(peer_finish(peer, list)->result, ==, -ECANCELED);
        for (size_t i = 0; i < G_N_ELEMENTS(stuck); i++)
                if (i != 3)
                        peer_cancel(peer, stuck[i]);
        peer_finish_all(peer);

        /* One that waits for a slot. */
        peer->hold = true;
        waiting = peer_fetch(peer, "good", "v", 100 * MIB, 0, 100 * MIB);
        while (peer_step_within(peer, 200))
                ;
        g_assert_cmpuint(peer->n_held, ==, CHANNEL_SLOTS);
        g_assert_false(waiting->done);
        peer_cancel(peer, waiting);
        g_assert_cmpint(peer_finish(peer, waiting)->result, ==, -ECANCELED);
        while (peer_release_one(peer))
                ;
        peer->hold = false;
        other = peer_finish(peer, peer_fetch(peer, "good", "v", MIB, 0, MIB));
        g_assert_cmpint(other->result, ==, 0);
        assert_pattern(other, MIB);
        peer_quit(peer);
}

/* Answered at once, whatever the engine is busy with: nothing, waiting, or waiting for a
 * slot (for an engine that is called on the receiving thread, a place of its own). */
static void test_ping(const void *module) {
        struct peer *peer = peer_ready(module, NULL);

        peer_send(peer, MESSAGE(.type = CHANNEL_PING));
        while (peer->pongs < 1)
                g_assert_true(peer_step(peer));
        for (int i = 0; i < 96; i++)
                (void)peer_fetch(peer, "stuck", "v", 10, 0, 10);
        peer_send(peer, MESSAGE(.type = CHANNEL_PING));
        while (peer->pongs < 2)
                g_assert_true(peer_step(peer));
        for (uint64_t id = 1; id <= 96; id++)
                peer_cancel(peer, &(struct reply){.id = id});
        peer_finish_all(peer);

        peer->hold = true;
        (void)peer_fetch(peer, "good", "v", 100 * MIB, 0, 100 * MIB);
        while (peer->n_held < CHANNEL_SLOTS)
                g_assert_true(peer_step(peer));
        peer_send(peer, MESSAGE(.type = CHANNEL_PING));
        while (peer->pongs < 3)
                g_assert_true(peer_step(peer));
        peer_quit(peer);
}

/* Requests beyond the workers wait in the host, and can be cancelled there. */
static void test_queue(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        struct reply *stuck[CHANNEL_REQUESTS_MAX], *late[10];

        for (size_t i = 0; i < G_N_ELEMENTS(stuck); i++)
                stuck[i] = peer_fetch(peer, "stuck", "v", 10, 0, 10);
        for (size_t i = 0; i < G_N_ELEMENTS(late); i++)
                late[i] = peer_fetch(peer, "good", "v", 10, 0, 10);
        /* From the middle, the head and the end of the queue. */
        peer_cancel(peer, late[4]);
        peer_cancel(peer, late[0]);
        peer_cancel(peer, late[9]);
        if (strcmp(module, "scenario") == 0) {
                g_assert_cmpint(peer_finish(peer, late[4])->result, ==, -ECANCELED);
                g_assert_cmpint(peer_finish(peer, late[0])->result, ==, -ECANCELED);
                g_assert_cmpint(peer_finish(peer, late[9])->result, ==, -ECANCELED);
                g_assert_false(late[1]->done);
        }
        peer_cancel(peer, stuck[50]);
        g_assert_cmpint(peer_finish(peer, late[1])->result, ==, 0);
        g_assert_cmpint(peer_finish(peer, late[8])->result, ==, 0);
        for (size_t i = 0; i < G_N_ELEMENTS(stuck); i++)
                if (i != 50)
                        peer_cancel(peer, stuck[i]);
        peer_finish_all(peer);
        peer_quit(peer);
}

static void test_quit_busy(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        struct reply *stuck[20], *waiting;

        peer->hold = true;
        for (size_t i = 0; i < G_N_ELEMENTS(stuck); i++)
                stuck[i] = peer_fetch(peer, "stuck", "v", 10, 0, 10);
        waiting = peer_fetch(peer, "good", "v", 100 * MIB, 0, 100 * MIB);
        while (peer->n_held < CHANNEL_SLOTS)
                g_assert_true(peer_step(peer));
        peer_send(peer, MESSAGE(.type = CHANNEL_QUIT));
        peer_finish_all(peer);
        g_assert_cmpint(waiting->result, ==, -ECANCELED);
        g_assert_cmpint(stuck[0]->result, ==, -ECANCELED);
        g_assert_cmpint(peer_wait(peer), ==, 0);
        peer_free(peer);
}

/* The dispatcher died: nobody reads any more. */
static void test_end_of_file(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        int status;

        peer->hold = true;
        (void)peer_fetch(peer, "stuck", "v", 10, 0, 10);
        (void)peer_fetch(peer, "good", "v", 100 * MIB, 0, 100 * MIB);
        (void)peer_fetch(peer, "thread", "v", 100 * MIB, 0, 100 * MIB);
        g_usleep(50000);
        peer->socket = fd_close(peer->socket);
        g_assert_cmpint(waitpid(peer->pid, &status, 0), ==, peer->pid);
        peer->pid = 0;
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 0);
        peer_free(peer);
}

/* An engine that does not hear: the host leaves all the same, and soon. */
static void test_quit_deaf(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        gint64 begin, took;

        (void)peer_fetch(peer, "dead", "v", 10, 0, 10);
        g_usleep(100000); /* a worker has it by now, or it would just be withdrawn */
        begin = g_get_monotonic_time();
        peer_send(peer, MESSAGE(.type = CHANNEL_QUIT));
        g_assert_cmpint(peer_wait(peer), ==, 0);
        took = g_get_monotonic_time() - begin;
        g_assert_cmpint(took, >, 4 * G_USEC_PER_SEC);
        g_assert_cmpint(took, <, 20 * G_USEC_PER_SEC);
        peer_free(peer);
}

static void test_crash(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        int status;

        (void)peer_fetch(peer, "crash", "v", 10, 0, 10);
        status = peer_wait(peer);
        g_assert_true(WIFSIGNALED(status));
        peer_free(peer);
}

/* What a broken dispatcher would say ends the host with status 1. */
static void test_violations(const void *module) {
        const struct channel_message *wrong[] = {
                MESSAGE(.type = CHANNEL_RELEASE, .slot = 5), /* never taken */
                MESSAGE(.type = CHANNEL_START),
                MESSAGE(.type = CHANNEL_SETTING, .key = "k"),
                MESSAGE(.type = CHANNEL_DONE, .request = 1),
                MESSAGE(.type = CHANNEL_LIST, .request = 77, .locator = "stuck"), /* twice */
        };

        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
                struct peer *peer = peer_ready(module, NULL);
                int status;

                peer->last_id = 76;
                (void)peer_list(peer, "stuck");
                peer_send(peer, wrong[i]);
                status = peer_wait(peer);
                g_assert_true(WIFEXITED(status));
                g_assert_cmpint(WEXITSTATUS(status), ==, 1);
                peer_free(peer);
        }
}

/* Many at once, with slots released late and in any order, and some cancelled. */
static void test_storm(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        g_autoptr(GPtrArray) open = g_ptr_array_new();
        unsigned good = 0, cancelled = 0;

        for (unsigned n = 0; n < STORM || peer->open > 0;) {
                while (n < STORM && peer->open < 64) {
                        uint64_t length = g_test_rand_int_range(1, 5) == 1
                                                  ? (uint64_t)g_test_rand_int_range(1, 600000)
                                                  : (uint64_t)g_test_rand_int_range(1, 20000);
                        struct reply *reply =
                                peer_fetch(peer, n % 7 == 0 ? "thread" : "good", "v", length + 99,
                                           99, length);

                        n++;
                        reply->retry_after_ms = (uint32_t)length; /* what to expect */
                        g_ptr_array_add(open, reply);
                        if (g_test_rand_int_range(0, 20) == 0)
                                peer_cancel(peer, reply);
                }
                peer->hold = g_test_rand_int_range(0, 2) == 0;
                g_assert_true(peer_step(peer));
                while (peer->n_held > 60)
                        (void)peer_release_one(peer);
        }
        for (guint i = 0; i < open->len; i++) {
                struct reply *reply = open->pdata[i];

                if (reply->result == 0) {
                        good++;
                        assert_pattern(reply, reply->data->len);
                } else {
                        g_assert_cmpint(reply->result, ==, -ECANCELED);
                        cancelled++;
                }
        }
        g_assert_cmpuint(good, >, STORM * 4 / 5);
        g_assert_cmpuint(good + cancelled, ==, STORM);
        while (peer_release_one(peer))
                ;
        peer_quit(peer);
}

static void test_rate(const void *module) {
        struct peer *peer = peer_ready(module, NULL);
        gint64 begin = g_get_monotonic_time(), took;
        unsigned n = 0;

        while (n < RATE || peer->open > 0) {
                while (n < RATE && peer->open < 32) {
                        (void)peer_fetch(peer, "good", "v", 4096, 0, 4096);
                        n++;
                }
                g_assert_true(peer_step(peer));
        }
        took = g_get_monotonic_time() - begin;
        g_test_message("%s: %.0f small files a second", (const char *)module,
                       (double)RATE * G_USEC_PER_SEC / (double)took);
        peer_quit(peer);
}

void add_protocol_tests(void) {
        static const struct {
                const char *name;
                void (*run)(const void *);
        } tests[] = {
                {"ready", test_ready}, {"login", test_login}, {"fetch", test_fetch}, {"arguments", test_arguments},
                {"lies", test_lies}, {"names", test_names}, {"stat", test_stat},
                {"million", test_million}, {"backpressure", test_backpressure},
                {"cancel", test_cancel}, {"queue", test_queue}, {"ping", test_ping},
                {"quit-busy", test_quit_busy},
                {"end-of-file", test_end_of_file}, {"quit-deaf", test_quit_deaf},
                {"crash", test_crash}, {"violations", test_violations}, {"storm", test_storm},
                {"rate", test_rate},
        };
        static const char *const modules[] = {"scenario", "scenario-nb"};

        for (size_t m = 0; m < G_N_ELEMENTS(modules); m++)
                for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
                        g_autofree char *path = g_strdup_printf("/host/%s/%s", modules[m],
                                                                tests[i].name);

                        g_test_add_data_func(path, modules[m], tests[i].run);
                }
        g_test_add_data_func("/host/no-login", NULL, test_no_login);
}
