/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus-world.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "bus-fake.h"
#include "dispatcher/bus/bus.h"
#include "dispatcher/work.h"
#include "shared/log.h"

#define PATIENCE_S 60

char *world_directory, *world_store, *world_address;
static GPid bus_pid;

/* --- the loop --- */

static gboolean out_of_patience(void *data) {
        g_error("waited in vain for %s", (const char *)data);
        return G_SOURCE_REMOVE;
}

void wait_for(condition_fn condition, void *data, const char *what) {
        guint timeout = g_timeout_add_seconds(PATIENCE_S, out_of_patience, (void *)what);

        while (!condition(data))
                (void)g_main_context_iteration(NULL, TRUE);
        g_source_remove(timeout);
}

static gboolean move_on(void *data) {
        *(bool *)data = true;
        return G_SOURCE_REMOVE;
}

static bool is_true(void *data) {
        return *(bool *)data;
}

void pause_ms(unsigned ms) {
        bool over = false;

        g_timeout_add(ms, move_on, &over);
        wait_for(is_true, &over, "the time");
}

/* --- the bus --- */

static void in_bus_daemon(void *data) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void bus_daemon_start(void) {
        g_autofree char *config = g_build_filename(world_directory, "bus.conf", NULL);
        g_autofree char *socket_path = g_build_filename(world_directory, "bus", NULL);
        g_autofree char *text = g_strdup_printf(
                "<busconfig><type>session</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>"
                "<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>"
                "<allow send_destination=\"*\" eavesdrop=\"true\"/>"
                "<allow receive_sender=\"*\" eavesdrop=\"true\"/></policy></busconfig>",
                socket_path);
        const char *argv[] = {"dbus-daemon",   "--nofork", "--nopidfile", "--print-address=1",
                              "--config-file", config,     NULL};
        g_autoptr(GError) error = NULL;
        char buffer[512];
        int out = -1;

        g_assert_true(g_file_set_contents(config, text, -1, NULL));
        if (!g_spawn_async_with_pipes(NULL, (char **)argv, NULL,
                                      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH,
                                      in_bus_daemon, NULL, &bus_pid, NULL, &out, NULL, &error))
                g_error("dbus-daemon: %s", error->message);
        g_assert_cmpint(read(out, buffer, sizeof(buffer)), >, 0); /* it listens */
        (void)close(out);
        g_free(world_address);
        world_address = g_strdup_printf("unix:path=%s", socket_path);
}

void bus_daemon_kill(void) {
        (void)kill(bus_pid, SIGKILL);
        (void)waitpid(bus_pid, NULL, 0);
}

void world_open_bus(void) {
        g_auto(Failure) failure = FAILURE_INIT;

        g_assert_cmpint(bus_open(fake.daemon, world_address, &fake.bus, &failure), ==, 0);
        g_assert_nonnull(fake.bus);
}

void world_set_up(void) {
        fake_start(world_store);
        world_open_bus();
}

void world_tear_down(void) {
        bus_close(fake.bus);
        fake.bus = NULL;
        fake_stop();
}

/* --- the store --- */

static void make_file(const char *name, mode_t mode) {
        g_autofree char *path = g_build_filename(world_store, name, NULL);

        g_assert_true(g_file_set_contents(path, "content", -1, NULL));
        g_assert_cmpint(chmod(path, mode), ==, 0);
}

static void make_store(void) {
        g_autofree char *closed = g_build_filename(world_store, "closed", NULL);
        g_autofree char *fifo = g_build_filename(world_store, "fifo", NULL);
        g_autofree char *link = g_build_filename(world_store, "link", NULL);
        g_autofree char *link_dir = g_build_filename(world_store, "link-dir", NULL);

        g_assert_cmpint(mkdir(world_store, 0755), ==, 0);
        g_assert_cmpint(mkdir(closed, 0700), ==, 0);
        make_file("public", 0644);
        make_file("private", 0600);
        make_file("closed/public", 0644);
        g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
        g_assert_cmpint(symlink("public", link), ==, 0);
        g_assert_cmpint(symlink("closed", link_dir), ==, 0);
}

static void remove_tree(const char *path) {
        GDir *dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *below = g_build_filename(path, name, NULL);
                if (g_file_test(below, G_FILE_TEST_IS_DIR) &&
                    !g_file_test(below, G_FILE_TEST_IS_SYMLINK))
                        remove_tree(below);
                else
                        (void)g_unlink(below);
        }
        g_clear_pointer(&dir, g_dir_close);
        (void)g_rmdir(path);
}

/* --- the whole --- */

static void test_skip(void) {
        g_test_skip("needs root, to be another user as well");
}

void world_test(const char *path, void (*test)(void)) {
        g_test_add_func(path, geteuid() == 0 ? test : test_skip);
}

int world_run(void) {
        int r;

        if (geteuid() != 0)
                return g_test_run();
        log_open(g_get_prgname(), LOG_DEBUG);
        world_directory = g_dir_make_tmp("bus-XXXXXX", NULL);
        g_assert_cmpint(chmod(world_directory, 0755), ==, 0);
        world_store = g_build_filename(world_directory, "store", NULL);
        make_store();
        bus_daemon_start();
        work_start();
        r = g_test_run();
        work_stop();
        bus_daemon_kill();
        remove_tree(world_directory);
        g_free(world_directory);
        g_free(world_address);
        g_free(world_store);
        return r;
}
