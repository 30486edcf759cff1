/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * host-attach — the way to the channel over a bus: a real dbus-daemon, with the test as
 * org.cloudsync1
 */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>
#include <systemd/sd-bus.h>

#include "host-peer.h"
#include "host-tests.h"
#include "shared/fd.h"

struct bus {
        char *dir, *address;
        GPid daemon;
        sd_bus *connection;
        struct peer *peer; /* whose other end the next AttachEngine gets */
        int channel;
        pid_t caller;
        unsigned calls;
};

/* A test that fails leaves no bus behind. */
static void die_with_parent(void *userdata) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void bus_start(struct bus *bus) {
        g_autofree char *config = NULL, *text = NULL;
        const char *argv[] = {"dbus-daemon", NULL, "--print-address=1", "--nofork", NULL};
        char line[512];
        gssize n;
        int out;

        bus->dir = g_dir_make_tmp("host-bus-XXXXXX", NULL);
        config = g_build_filename(bus->dir, "bus.conf", NULL);
        text = g_strdup_printf(
                "<busconfig><type>custom</type><listen>unix:path=%s/socket</listen>"
                "<policy context='default'><allow send_destination='*' eavesdrop='true'/>"
                "<allow eavesdrop='true'/><allow own='*'/></policy></busconfig>",
                bus->dir);
        g_assert_true(g_file_set_contents(config, text, -1, NULL));
        argv[1] = g_strdup_printf("--config-file=%s", config);
        g_assert_true(g_spawn_async_with_pipes(NULL, (char **)argv, NULL,
                                               G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                                               die_with_parent, NULL, &bus->daemon, NULL, &out, NULL, NULL));
        g_free((char *)argv[1]);
        n = read(out, line, sizeof(line) - 1);
        g_assert_cmpint(n, >, 0);
        line[n] = '\0';
        bus->address = g_strdup(g_strchomp(line));
        fd_close(out);
}

static int on_attach(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        sd_bus_creds *creds = NULL;
        struct bus *bus = userdata;
        const char *id;
        uint32_t abi;
        int r;

        bus->calls++;
        g_assert_cmpint(sd_bus_message_read(m, "su", &id, &abi), >=, 0);
        g_assert_cmpuint(abi, ==, CLOUDSYNC_ENGINE_ABI);
        if (strcmp(id, "test-id") != 0)
                return sd_bus_error_set(error, "org.cloudsync1.Error.NoSuchEngine",
                                        "there is no such engine");
        g_assert_cmpint(sd_bus_query_sender_creds(m, SD_BUS_CREDS_PID, &creds), >=, 0);
        g_assert_cmpint(sd_bus_creds_get_pid(creds, &bus->caller), >=, 0);
        sd_bus_creds_unref(creds);
        r = sd_bus_reply_method_return(m, "h", bus->channel);
        bus->channel = fd_close(bus->channel);
        return r;
}

static const sd_bus_vtable manager[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("AttachEngine", "su", "h", on_attach, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void bus_connect(struct bus *bus) {
        g_assert_cmpint(sd_bus_new(&bus->connection), >=, 0);
        g_assert_cmpint(sd_bus_set_address(bus->connection, bus->address), >=, 0);
        g_assert_cmpint(sd_bus_set_bus_client(bus->connection, 1), >=, 0);
        g_assert_cmpint(sd_bus_negotiate_fds(bus->connection, 1), >=, 0);
        g_assert_cmpint(sd_bus_start(bus->connection), >=, 0);
        g_assert_cmpint(sd_bus_add_object_vtable(bus->connection, NULL, "/org/cloudsync1",
                                                 "org.cloudsync1.Manager", manager, bus), >=, 0);
        g_assert_cmpint(sd_bus_request_name(bus->connection, "org.cloudsync1", 0), >=, 0);
}

static void bus_stop(struct bus *bus) {
        g_autofree char *config = g_build_filename(bus->dir, "bus.conf", NULL);
        g_autofree char *socket = g_build_filename(bus->dir, "socket", NULL);

        sd_bus_flush_close_unref(bus->connection);
        (void)kill(bus->daemon, SIGKILL);
        (void)waitpid(bus->daemon, NULL, 0);
        g_unlink(config);
        g_unlink(socket);
        g_rmdir(bus->dir);
        g_free(bus->dir);
        g_free(bus->address);
}

static void serve_one(struct bus *bus) {
        unsigned before = bus->calls;
        gint64 end = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;

        while (bus->calls == before) {
                int r = sd_bus_process(bus->connection, NULL);

                g_assert_cmpint(r, >=, 0);
                if (r == 0)
                        g_assert_cmpint(sd_bus_wait(bus->connection, 100000), >=, 0);
                if (g_get_monotonic_time() > end)
                        g_error("AttachEngine was not called");
        }
        g_assert_cmpint(sd_bus_flush(bus->connection), >=, 0);
}

static pid_t start_host(const struct bus *bus, const char *id) {
        pid_t pid = fork();

        if (pid == 0) {
                execl(g_getenv("CLOUDSYNC_ENGINE_HOST"), "cloudsync-engine-host", "--bus",
                      bus->address, "--id", id, "--module-dir", peer_modules, "--user", "nobody",
                      "--log-level", "3", NULL);
                _exit(98);
        }
        return pid;
}

static void test_attach(void) {
        struct bus bus = {.channel = -1};
        struct peer *peer;
        struct reply *reply;
        int status;
        pid_t pid;

        bus_start(&bus);
        bus_connect(&bus);
        peer = peer_over(&bus.channel);
        peer->pid = start_host(&bus, "test-id");
        serve_one(&bus);
        g_assert_cmpint(bus.caller, ==, peer->pid); /* by this the daemon knows its host */
        peer_greet(peer, "scenario", NULL, CHANNEL_VERSION);
        reply = peer_finish(peer, peer_fetch(peer, "good", "v", 100, 0, 100));
        g_assert_cmpint(reply->result, ==, 0);
        peer_quit(peer);

        /* refused: no engine, status 1 */
        pid = start_host(&bus, "other-id");
        serve_one(&bus);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
        bus_stop(&bus);
}

static void test_no_bus(void) {
        struct bus bus = {.address = (char *)"unix:path=/nonexistent/bus"};
        pid_t pid = start_host(&bus, "test-id");
        int status;

        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
}

void add_attach_tests(void) {
        g_test_add_func("/host/attach", test_attach);
        g_test_add_func("/host/no-bus", test_no_bus);
}
