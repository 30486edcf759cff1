/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * host-test — the engine host against a dispatcher played by this test
 *
 * Environment: CLOUDSYNC_ENGINE_HOST, the binary; CLOUDSYNC_TEST_MODULES, directories
 * with the modules, separated by ':'; HOST_TEST_LOG, the host's log level.
 */

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "host-peer.h"
#include "host-tests.h"
#include "shared/fd.h"

static void expect_refusal(const char *module, int error, const char *word) {
        struct peer *peer = peer_new(module, NULL, NULL);
        int status = peer_wait(peer);

        g_assert_true(peer->failed);
        g_assert_cmpint(peer->failure, ==, error);
        if (!strstr(peer->detail, word))
                g_error("%s: '%s' does not say '%s'", module, peer->detail, word);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
        peer_free(peer);
}

static char *module_path(const char *file) {
        return g_build_filename(peer_modules, file, NULL);
}

static void test_refusals(void) {
        g_autofree char *text = module_path("text.so"), *writable = module_path("writable.so");
        g_autofree char *link = module_path("link.so"), *other = module_path("other.so");
        g_autofree char *scenario = module_path("scenario.so");
        g_autofree char *content = NULL;
        gsize length;

        expect_refusal("abi", -EPROTO, "built for engine ABI 2, this host speaks 1");
        expect_refusal("symbol", -ENOEXEC, "no symbol 'cloudsync_engine'");
        expect_refusal("table", -EINVAL, "no table");
        expect_refusal("size", -EINVAL, "8 bytes");
        expect_refusal("nofetch", -EINVAL, "no operation 'fetch'");
        expect_refusal("openfails", -EACCES, "the remote said: no");
        expect_refusal("silent", -ENOTUNIQ, "could not be opened");
        expect_refusal("setting", -EINVAL, "setting 'needed' is missing (what it is for)");
        expect_refusal("nothing", -ENOENT, "no module of this name");
        expect_refusal("dirfs", -EINVAL, "setting 'path' is missing");

        g_assert_true(g_file_set_contents(text, "not ELF", -1, NULL));
        expect_refusal("text", -ENOEXEC, "cannot be loaded");
        g_assert_true(g_file_get_contents(scenario, &content, &length, NULL));
        g_assert_true(g_file_set_contents(other, content, (gssize)length, NULL));
        expect_refusal("other", -EINVAL, "calls itself 'scenario', its file is called 'other'");
        g_assert_true(g_file_set_contents(writable, content, (gssize)length, NULL));
        g_assert_cmpint(chmod(writable, 0664), ==, 0);
        expect_refusal("writable", -EPERM, "writable by group or others");
        g_assert_cmpint(symlink("scenario.so", link), ==, 0);
        expect_refusal("link", -ELOOP, "symbolic link");
        g_assert_cmpint(chmod(peer_modules, 0777), ==, 0);
        expect_refusal("scenario", -EPERM, "directory is writable");
        g_assert_cmpint(chmod(peer_modules, 0755), ==, 0);
        if (geteuid() == 0) {
                /* What belongs to the engine's own user is not the administrator's. */
                g_assert_cmpint(chown(other, 65534, 65534), ==, 0);
                expect_refusal("other", -EPERM, "does not belong to root");
        }
}

static void test_crash_at_open(void) {
        struct peer *peer = peer_new("crash", NULL, NULL);
        int status = peer_wait(peer);

        g_assert_false(peer->ready);
        g_assert_false(peer->failed);
        g_assert_true(WIFSIGNALED(status));
        peer_free(peer);
}

static void test_greeting(void) {
        struct peer *peer = peer_spawn(NULL);
        int status;

        peer_greet(peer, "scenario", NULL, CHANNEL_VERSION + 1);
        status = peer_wait(peer);
        g_assert_true(peer->failed);
        g_assert_cmpint(peer->failure, ==, -EPROTO);
        g_assert_nonnull(strstr(peer->detail, "different versions"));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
        peer_free(peer);

        /* HELLO without memory; START first; nothing at all */
        peer = peer_spawn(NULL);
        peer_send(peer, MESSAGE(.type = CHANNEL_HELLO, .version = CHANNEL_VERSION, .id = "i",
                                .module = "scenario"));
        (void)peer_wait(peer);
        g_assert_cmpint(peer->failure, ==, -EBADMSG);
        peer_free(peer);
        peer = peer_spawn(NULL);
        peer_send(peer, MESSAGE(.type = CHANNEL_START));
        (void)peer_wait(peer);
        g_assert_cmpint(peer->failure, ==, -EBADMSG);
        peer_free(peer);
        peer = peer_spawn(NULL);
        peer->socket = fd_close(peer->socket);
        g_assert_cmpint(waitpid(peer->pid, &status, 0), ==, peer->pid);
        peer->pid = 0;
        g_assert_cmpint(status, ==, 0);
        peer_free(peer);
}

static void write_file(const char *dir, const char *name, const char *content, gssize length) {
        g_autofree char *path = g_build_filename(dir, name, NULL);

        g_assert_true(g_file_set_contents(path, content, length, NULL));
        g_assert_cmpint(chmod(path, 0644), ==, 0);
}

static char *entry_field(const struct reply *reply, const char *name, guint field) {
        g_autofree char *middle = g_strdup_printf(" %s ", name);

        for (guint i = 0; i < reply->names->len; i++) {
                if (strstr(reply->names->pdata[i], middle)) {
                        g_auto(GStrv) parts = g_strsplit(reply->names->pdata[i], " ", -1);

                        return g_strdup(parts[field]);
                }
        }
        return NULL;
}

static void dirfs_files(struct peer *peer, const char *dir, const char *big) {
        struct reply *reply = peer_finish(peer, peer_list(peer, ""));
        g_autofree char *version = entry_field(reply, "big", 3);
        g_autofree char *size = entry_field(reply, "big", 4);
        g_autofree char *locator = NULL;

        g_assert_cmpint(reply->result, ==, 0);
        g_assert_cmpuint(reply->n_entries, ==, 3); /* no link, no fifo */
        g_assert_cmpstr(size, ==, "1000000");
        reply = peer_finish(peer, peer_list(peer, "sub"));
        locator = entry_field(reply, "leaf", 2);
        g_assert_cmpstr(locator, ==, "sub/leaf");

        reply = peer_finish(peer, peer_fetch(peer, "big", version, 1000000, 0, 1000000));
        g_assert_cmpint(reply->result, ==, 0);
        g_assert_cmpmem(reply->data->data, reply->data->len, big, 1000000);
        reply = peer_finish(peer, peer_fetch(peer, "big", version, 1000000, 131072, 777));
        g_assert_cmpmem(reply->data->data, reply->data->len, big + 131072, 777);

        reply = peer_finish(peer, peer_stat(peer, "big"));
        g_assert_cmpuint(reply->n_entries, ==, 1);
        g_assert_nonnull(strstr(reply->names->pdata[0], version));
        reply = peer_finish(peer, peer_stat(peer, "gone"));
        g_assert_cmpint(reply->result, ==, -ENOENT);
        g_assert_cmpint(peer_finish(peer, peer_list(peer, "gone"))->result, ==, -ENOENT);
        g_assert_cmpint(peer_finish(peer, peer_list(peer, "big"))->result, ==, -ENOENT);
        g_assert_cmpint(peer_finish(peer, peer_list(peer, ".."))->result, ==, -ENOENT);
        g_assert_cmpint(peer_finish(peer, peer_list(peer, "link"))->result, ==, -ENOENT);
        g_assert_cmpint(peer_finish(peer, peer_fetch(peer, "gone", "v", 1, 0, 1))->result, ==,
                        -ENOENT);

        write_file(dir, "big", "changed", -1);
        reply = peer_finish(peer, peer_fetch(peer, "big", version, 1000000, 0, 1000000));
        g_assert_cmpint(reply->result, ==, -ESTALE);
        g_assert_cmpuint(reply->data->len, ==, 0);
}

static void test_dirfs(void) {
        g_autofree char *dir = g_dir_make_tmp("dirfs-XXXXXX", NULL), *big = g_malloc(1000000);
        g_autofree char *sub = g_build_filename(dir, "sub", NULL);
        g_autofree char *link = g_build_filename(dir, "link", NULL);
        g_autofree char *fifo = g_build_filename(dir, "fifo", NULL);
        g_autofree char *leaf = g_build_filename(sub, "leaf", NULL);
        struct peer *peer;

        g_assert_cmpint(chmod(dir, 0755), ==, 0);
        g_assert_cmpint(mkdir(sub, 0755), ==, 0);
        g_assert_cmpint(symlink("sub", link), ==, 0);
        g_assert_cmpint(mkfifo(fifo, 0644), ==, 0);
        for (size_t i = 0; i < 1000000; i++)
                big[i] = (char)(i * 7 + i / 1000);
        write_file(dir, "big", big, 1000000);
        write_file(dir, "small file", "s", 1);
        write_file(sub, "leaf", "l", 1);

        peer = peer_ready("dirfs", SETTINGS("path", dir));
        g_assert_cmpuint(peer->max_requests, ==, 32);
        g_assert_cmpuint(peer->flags, ==, 0);
        peer->keep_names = true;
        dirfs_files(peer, dir, big);
        peer_quit(peer);

        g_unlink(leaf);
        for (const char *const *name = SETTINGS("big", "small file", "link", "fifo"); *name; name++) {
                g_autofree char *path = g_build_filename(dir, *name, NULL);

                g_unlink(path);
        }
        g_rmdir(sub);
        g_assert_cmpint(g_rmdir(dir), ==, 0);
}

int main(int argc, char **argv) {
        int r;

        g_test_init(&argc, &argv, NULL);
        peer_setup();
        g_test_add_func("/host/refusals", test_refusals);
        g_test_add_func("/host/crash-at-open", test_crash_at_open);
        g_test_add_func("/host/greeting", test_greeting);
        g_test_add_func("/host/dirfs", test_dirfs);
        add_protocol_tests();
        add_sandbox_tests();
        add_attach_tests();
        r = g_test_run();
        peer_teardown();
        return r;
}
