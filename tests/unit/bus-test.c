/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus: the D-Bus interface in front of a fake daemon, on a real private dbus-daemon, with
 * busctl and gdbus as clients.
 *
 * The test's main loop is the daemon's; clients are child processes, and the loop
 * runs while they do. Called as `bus-test CLIENT ADDRESS`, the program is such a client itself,
 * for what the tools cannot do: many calls on one connection without waiting.
 *
 * SOURCE_DIR: the top of the source tree.
 */

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "bus-fake.h"
#include "dispatcher/bus.h"
#include "dispatcher/work.h"
#include "shared/log.h"

#define NOBODY 65534u
#define PATIENCE_S 60

static char *directory, *address, *store, *program;
static GPid bus_pid;

/* --- the loop --- */

static gboolean out_of_patience(void *data) {
        g_error("waited in vain for %s", (const char *)data);
        return G_SOURCE_REMOVE;
}

typedef bool (*condition_fn)(void *data);

static void wait_for(condition_fn condition, void *data, const char *what) {
        guint timeout = g_timeout_add_seconds(PATIENCE_S, out_of_patience, (void *)what);

        while (!condition(data))
                (void)g_main_context_iteration(NULL, TRUE);
        g_source_remove(timeout);
}

static gboolean tick(void *data) {
        return G_SOURCE_CONTINUE;
}

/* --- clients --- */

struct client {
        GPid pid;
        bool ended;
        int status;
        char *file; /* its output */
};

struct spawn {
        int out;
        uid_t uid;
};

static void in_child(void *data) {
        struct spawn *spawn = data;

        (void)dup2(spawn->out, 1);
        (void)dup2(spawn->out, 2);
        if (spawn->uid != 0 && (setgid(spawn->uid) < 0 || setuid(spawn->uid) < 0))
                _exit(99);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void in_bus_daemon(void *data) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void on_child(GPid pid, int status, void *data) {
        struct client *client = data;

        client->status = status;
        client->ended = true;
}

static struct client *client_start(uid_t uid, const char *const *argv) {
        struct client *client = g_new0(struct client, 1);
        g_autoptr(GError) error = NULL;
        struct spawn spawn = {.uid = uid};
        static unsigned n;

        client->file = g_strdup_printf("%s/client-%u", directory, n++);
        spawn.out = open(client->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        g_assert_cmpint(spawn.out, >=, 0);
        if (!g_spawn_async(NULL, (char **)argv, NULL,
                           G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH, in_child, &spawn,
                           &client->pid, &error))
                g_error("%s: %s", argv[0], error->message);
        (void)close(spawn.out);
        g_child_watch_add(client->pid, on_child, client);
        return client;
}

static char *client_output(const struct client *client) {
        char *text = NULL;

        g_assert_true(g_file_get_contents(client->file, &text, NULL, NULL));
        return text;
}

static bool client_ended(void *data) {
        return ((struct client *)data)->ended;
}

/* Waits, frees it, and returns the exit status. */
static int client_finish(struct client *client, char **ret_output) {
        int status;

        wait_for(client_ended, client, "a client");
        g_assert_true(WIFEXITED(client->status));
        status = WEXITSTATUS(client->status);
        *ret_output = client_output(client);
        (void)unlink(client->file);
        g_free(client->file);
        g_free(client);
        return status;
}

/* `busctl WORD…` as a user; words end with NULL. */
static int busctl(uid_t uid, char **ret_output, ...) G_GNUC_NULL_TERMINATED;

static int busctl(uid_t uid, char **ret_output, ...) {
        g_autofree char *where = g_strconcat("--address=", address, NULL);
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        const char *word;
        va_list args;

        g_ptr_array_add(argv, (char *)"busctl");
        g_ptr_array_add(argv, where);
        va_start(args, ret_output);
        while ((word = va_arg(args, const char *)))
                g_ptr_array_add(argv, (char *)word);
        va_end(args);
        g_ptr_array_add(argv, NULL);
        return client_finish(client_start(uid, (const char *const *)argv->pdata), ret_output);
}

#define CALL "call", BUS_NAME, BUS_OBJECT, BUS_MANAGER

#define assert_contains(text, part)                                                                \
        do {                                                                                       \
                if (!strstr(text, part))                                                           \
                        g_error("%s:%d: “%s” is not in “%s”", __FILE__, __LINE__, part, text);     \
        } while (0)

/* The call works, and `part` is in what it prints. */
#define expect(uid, part, ...)                                                                     \
        do {                                                                                       \
                g_autofree char *output_ = NULL;                                                   \
                int status_ = busctl(uid, &output_, __VA_ARGS__, NULL);                            \
                assert_contains(output_, part);                                                    \
                g_assert_cmpint(status_, ==, 0);                                                   \
        } while (0)

/* It fails, with a sentence that has `part` in it. */
#define expect_error(uid, part, ...)                                                               \
        do {                                                                                       \
                g_autofree char *output_ = NULL;                                                   \
                int status_ = busctl(uid, &output_, __VA_ARGS__, NULL);                            \
                assert_contains(output_, part);                                                    \
                g_assert_cmpint(status_, !=, 0);                                                   \
        } while (0)

/* --- the bus --- */

static void bus_daemon_start(void) {
        g_autofree char *config = g_build_filename(directory, "bus.conf", NULL);
        g_autofree char *socket_path = g_build_filename(directory, "bus", NULL);
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
        g_free(address);
        address = g_strdup_printf("unix:path=%s", socket_path);
}

static void bus_daemon_kill(void) {
        (void)kill(bus_pid, SIGKILL);
        (void)waitpid(bus_pid, NULL, 0);
}

static void open_bus(void) {
        g_auto(Failure) failure = FAILURE_INIT;

        g_assert_cmpint(bus_open(fake.daemon, address, &fake.bus, &failure), ==, 0);
        g_assert_nonnull(fake.bus);
}

static void set_up(void) {
        fake_start(store);
        open_bus();
}

static void tear_down(void) {
        bus_close(fake.bus);
        fake.bus = NULL;
        fake_stop();
}

static void register_web(void) {
        expect(0, "o \"/org/cloudsync1/engine/web\"", CALL, "RegisterEngine", "sssa{ss}", "web",
               "httpfs", "a/b", "3", "url", "http://x/", "password", "hunter2", "hydration",
               "ranges");
}

/* --- tests --- */

static void test_open(void) {
        g_auto(Failure) taken = FAILURE_INIT, no_bus = FAILURE_INIT, no_socket = FAILURE_INIT;
        Bus *other = NULL;

        set_up();
        g_assert_cmpint(bus_open(fake.daemon, address, &other, &taken), ==, -EEXIST);
        g_assert_cmpstr(taken.name, ==, "NameTaken");
        g_assert_cmpint(bus_open(fake.daemon, "unix:path=/nowhere", &other, &no_bus), <, 0);
        assert_contains(no_bus.text, "/nowhere");
        g_assert_cmpint(bus_open(fake.daemon, "nonsense", &other, &no_socket), <, 0);
        g_assert_null(other);
        g_assert_cmpint(bus_open(fake.daemon, "none", &other, NULL), ==, 0);
        g_assert_null(other);
        bus_close(NULL);
        bus_engine_added(NULL, NULL);
        bus_engine_removed(NULL, "x");
        bus_engine_changed(NULL, NULL);
        bus_transfer_started(NULL, 1, "x", 1);
        bus_transfer_progress(NULL, 1, 1, 1);
        bus_transfer_finished(NULL, 1, 1, NULL);
        tear_down();
}

static void introspect(const char *object, const char *xml) {
        g_autofree char *script =
                g_build_filename(SOURCE_DIR, "tests/integration/introspection.py", NULL);
        g_autofree char *file = g_build_filename(SOURCE_DIR, "data/dbus", xml, NULL);
        g_autofree char *output = NULL;
        const char *argv[] = {"python3", script, address, object, file, NULL};
        int status = client_finish(client_start(0, argv), &output);

        if (status != 0)
                g_error("%s", output);
}

static void test_introspection(void) {
        set_up();
        register_web();
        introspect(BUS_OBJECT, "org.cloudsync1.xml");
        introspect(BUS_ENGINES "/web", "org.cloudsync1.Engine.xml");
        expect(0, "/org/cloudsync1/engine/web", "tree", BUS_NAME);
        expect(0, "RegisterEngine", "introspect", BUS_NAME, BUS_OBJECT);
        expect_error(0, "Unknown", "introspect", BUS_NAME, BUS_ENGINES "/nothing");
        tear_down();
}

static void test_engines(void) {
        const Registration *registration;
        struct engine_info info;

        set_up();
        register_web();
        engine_info(daemon_engine(fake.daemon, "web"), &info);
        registration = info.registration;
        g_assert_cmpstr(registration->prefix, ==, "a/b");
        g_assert_cmpint(registration->hydration, ==, HYDRATION_RANGES);
        g_assert_cmpuint(g_hash_table_size(registration->settings), ==, 2);
        expect(0,
               "a(sssso) 1 \"web\" \"httpfs\" \"a/b\" \"starting\" "
               "\"/org/cloudsync1/engine/web\"",
               CALL, "ListEngines");
        expect_error(0, "in use", CALL, "RegisterEngine", "sssa{ss}", "web", "httpfs", "b", "0");
        /* an id that has to be escaped in a path */
        expect(0, "/engine/a_2db_5f", CALL, "RegisterEngine", "sssa{ss}", "a-b_", "httpfs", "c",
               "0");
        expect(0, "s \"a-b_\"", "get-property", BUS_NAME, BUS_ENGINES "/a_2db_5f", BUS_ENGINE,
               "Id");
        expect(0, "t 6", "get-property", BUS_NAME, BUS_ENGINES "/web", BUS_ENGINE, "HostRestarts");
        expect(0, "", CALL, "UnregisterEngine", "s", "web");
        expect_error(0, "no such engine", CALL, "UnregisterEngine", "s", "web");
        expect_error(0, "Unknown", "get-property", BUS_NAME, BUS_ENGINES "/web", BUS_ENGINE, "Id");
        tear_down();
}

static void test_properties(void) {
        set_up();
        expect(0, "s \"ext4\"", "get-property", BUS_NAME, BUS_OBJECT, BUS_MANAGER,
               "StoreFilesystem");
        expect(NOBODY, store, "get-property", BUS_NAME, BUS_OBJECT, BUS_MANAGER, "StorePath");
        expect(0, "as 2 \"supervisor\" \"detach\"", "get-property", BUS_NAME, BUS_OBJECT, BUS_MANAGER, "Layers");
        expect(0, "u 1\nt 2\nt 3\nt 4\nt 5\n", "get-property", BUS_NAME, BUS_OBJECT, BUS_MANAGER,
               "EventsPending", "EventsAnswered", "EventsDenied", "FilesHydrated", "BytesFetched");
        tear_down();
}

/* Names by name: gdbus prints them, busctl prints the sentence only. */
static void expect_name(const char *name, const char *method, ...) G_GNUC_NULL_TERMINATED;

static void expect_name(const char *name, const char *method, ...) {
        g_autofree char *full_method = g_strconcat(BUS_MANAGER ".", method, NULL);
        g_autofree char *full_name = g_strconcat("org.cloudsync1.Error.", name, NULL);
        g_autofree char *output = NULL;
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        const char *words[] = {"gdbus",  "call",          "--address", address,    "--dest",
                               BUS_NAME, "--object-path", BUS_OBJECT,  "--method", full_method};
        const char *word;
        va_list args;

        for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
                g_ptr_array_add(argv, (char *)words[i]);
        va_start(args, method);
        while ((word = va_arg(args, const char *)))
                g_ptr_array_add(argv, (char *)word);
        va_end(args);
        g_ptr_array_add(argv, NULL);
        g_assert_cmpint(client_finish(client_start(0, (const char *const *)argv->pdata), &output),
                        !=, 0);
        assert_contains(output, full_name);
}

static void test_error_names(void) {
        g_autofree char *huge = g_strnfill(100000, 'a');
        g_autofree char *long_value = g_strnfill(8193, 'v');
        g_autofree char *long_setting = g_strdup_printf("{'url': '%s'}", long_value);
        g_autoptr(GString) many = g_string_new("{");

        set_up();
        for (int i = 0; i < 65; i++)
                g_string_append_printf(many, "%s'k%d': 'v'", i ? ", " : "", i);
        g_string_append_c(many, '}');
        expect_name("InvalidId", "RegisterEngine", "'Web'", "'m'", "'p'", "@a{ss} {}", NULL);
        expect_name("InvalidId", "RegisterEngine", huge, "'m'", "'p'", "@a{ss} {}", NULL);
        expect_name("InvalidModule", "RegisterEngine", "'w'", "'../m'", "'p'", "@a{ss} {}", NULL);
        expect_name("InvalidPrefix", "RegisterEngine", "'w'", "'m'", "'/p'", "@a{ss} {}", NULL);
        expect_name("InvalidPrefix", "RegisterEngine", "'w'", "'m'", "'a/../b'", "@a{ss} {}", NULL);
        expect_name("InvalidPrefix", "RegisterEngine", "'w'", "'m'", "''", "@a{ss} {}", NULL);
        expect_name("InvalidPrefix", "RegisterEngine", "'w'", "'m'", huge, "@a{ss} {}", NULL);
        expect_name("InvalidSetting", "RegisterEngine", "'w'", "'m'", "'p'", long_setting, NULL);
        expect_name("InvalidSetting", "RegisterEngine", "'w'", "'m'", "'p'", "{'a b': 'c'}", NULL);
        expect_name("InvalidSetting", "RegisterEngine", "'w'", "'m'", "'p'", many->str, NULL);
        expect_name("InvalidSetting", "RegisterEngine", "'w'", "'m'", "'p'",
                    "{'hydration': 'never'}", NULL);
        expect_name("NoSuchEngine", "UnregisterEngine", "'nothing'", NULL);
        expect_name("AbiMismatch", "AttachEngine", "'web'", "uint32 2", NULL);
        expect_name("NotInStore", "GetFileStatus", "'/etc/passwd'", NULL);
        expect_name("NotInStore", "Hydrate", "'a/../b'", NULL);
        expect_name("NotInStore", "GetFileStatus", "'link-dir/public'", NULL);
        expect_name("NoSuchFile", "GetFileStatus", "'nothing'", NULL);
        expect_name("NoSuchFile", "GetFileStatus", huge, NULL);
        expect_name("NoSuchFile", "Refresh", "'public'", "false", NULL);
        expect_name("NotAPlaceholder", "Hydrate", "''", NULL);
        expect_name("NotAPlaceholder", "Hydrate", "'fifo'", NULL);
        g_assert_cmpuint(fake.engines->len, ==, 0);
        g_assert_cmpuint(fake.hydrations, ==, 0);
        /* wrong types and names are sd-bus's to refuse */
        expect_error(0, "Invalid arg", CALL, "RegisterEngine", "sss", "web", "httpfs", "b");
        expect_error(0, "Invalid arg", CALL, "RegisterEngine", "sssas", "web", "httpfs", "b", "0");
        expect_error(0, "Unknown method", CALL, "Format");
        /* the same key twice, which gdbus would not send */
        expect_error(0, "given twice", CALL, "RegisterEngine", "sssa{ss}", "w", "m", "p", "2", "k",
                     "1", "k", "2");
        tear_down();
}

static void test_user(void) {
        set_up();
        register_web();
        expect_error(NOBODY, "Only root", CALL, "RegisterEngine", "sssa{ss}", "x", "httpfs", "x",
                     "0");
        expect_error(NOBODY, "Only root", CALL, "UnregisterEngine", "s", "web");
        expect_error(NOBODY, "Only root", CALL, "Refresh", "sb", "", "true");
        g_assert_cmpuint(fake.engines->len, ==, 1);
        g_assert_cmpuint(fake.refreshes, ==, 0);
        expect(NOBODY, "\"web\"", CALL, "ListEngines");
        /* others' transfers do not show */
        expect(NOBODY, "a(tsstt) 1 2 \"web\" \"of-nobody\" 20 200", CALL, "ListTransfers");
        expect(0, "a(tsstt) 3 1 \"web\" \"of-root\"", CALL, "ListTransfers");
        /* who attaches is the daemon's to judge; it is told by the bus, not by the caller */
        expect(NOBODY, "h ", CALL, "AttachEngine", "su", "web", "1");
        g_assert_cmpuint(fake.attach_uid, ==, NOBODY);
        g_assert_cmpint(fake.attach_pid, >, 1);
        g_assert_cmpint(fake.attach_pid, !=, getpid());
        tear_down();
}

static void test_login(void) {
        g_autofree char *many = g_strnfill(CS_LOGIN_TEXT_MAX + 1, 'c');
        g_autofree char *long_code = g_strdup_printf("'%s'", many);

        set_up();
        register_web();
        expect(0, "s \"said", CALL, "Login", "s", "web");
        g_assert_cmpint(fake.login_step, ==, CS_LOGIN_BEGIN);
        g_assert_cmpstr(fake.login_text, ==, "");
        expect(0, "s \"said", CALL, "FinishLogin", "ss", "web", "the-code");
        g_assert_cmpint(fake.login_step, ==, CS_LOGIN_FINISH);
        g_assert_cmpstr(fake.login_text, ==, "the-code");
        expect(0, "s \"said", CALL, "Logout", "s", "web");
        g_assert_cmpint(fake.login_step, ==, CS_LOGIN_LOGOUT);
        expect_name("LoginFailed", "FinishLogin", "'web'", "'wrong'", NULL);
        expect_name("LoginFailed", "FinishLogin", "'web'", long_code, NULL);
        expect_name("NoSuchEngine", "Login", "'nothing'", NULL);
        fake.login_step = 0;
        expect_error(NOBODY, "Only root", CALL, "Login", "s", "web");
        expect_error(NOBODY, "Only root", CALL, "FinishLogin", "ss", "web", "c");
        expect_error(NOBODY, "Only root", CALL, "Logout", "s", "web");
        g_assert_cmpint(fake.login_step, ==, 0);
        tear_down();
}

static void test_files(void) {
        g_autofree char *absolute = g_build_filename(store, "public", NULL);

        set_up();
        expect(NOBODY, "\"Path\" s \"public\" \"Kind\" s \"file\" \"State\" s \"placeholder\"",
               CALL, "GetFileStatus", "s", absolute);
        expect(NOBODY, "\"Modified\" b true", CALL, "GetFileStatus", "s", "public");
        expect(0, "\"Kind\" s \"directory\"", CALL, "GetFileStatus", "s", "");
        expect(0, "\"Kind\" s \"other\" \"State\" s \"not-managed\"", CALL, "GetFileStatus", "s",
               "fifo");
        expect(0, "\"Kind\" s \"other\"", CALL, "GetFileStatus", "s", "link");
        /* the size of a file that one may not read is known to stat(2) as well */
        expect(NOBODY, "\"Size\" t 7", CALL, "GetFileStatus", "s", "private");
        expect_error(NOBODY, "does not let you", CALL, "GetFileStatus", "s", "closed/public");
        expect_error(NOBODY, "does not let you", CALL, "Hydrate", "s", "closed/public");
        expect_error(NOBODY, "does not let you", CALL, "Hydrate", "s", "private");
        g_assert_cmpuint(fake.hydrations, ==, 0);
        expect(NOBODY, "", CALL, "Hydrate", "s", "public");
        g_assert_cmpuint(fake.hydrate_uid, ==, NOBODY);
        expect(0, "", CALL, "Hydrate", "s", "closed/public");
        g_assert_cmpuint(fake.hydrate_uid, ==, 0);
        expect(0, "", CALL, "Refresh", "sb", "closed", "true");
        g_assert_true(fake.recursive);
        expect(0, "", CALL, "Refresh", "sb", "", "false");
        g_assert_false(fake.recursive);
        g_assert_cmpuint(fake.refreshes, ==, 2);
        tear_down();
}

/* --- a monitor --- */

struct said {
        const struct client *client;
        const char *text;
};

static bool has_said(void *data) {
        const struct said *said = data;
        g_autofree char *text = client_output(said->client);

        return strstr(text, said->text) != NULL;
}

static void wait_said(const struct client *client, const char *text) {
        struct said said = {client, text};
        guint ticks = g_timeout_add(20, tick, NULL);

        wait_for(has_said, &said, text);
        g_source_remove(ticks);
}

/* gdbus monitor, listening: it asks for the name's owner after it has asked for signals. */
static struct client *monitor_start(void) {
        const char *argv[] = {"gdbus", "monitor", "--address", address, "--dest", BUS_NAME, NULL};
        struct client *monitor = client_start(0, argv);

        wait_said(monitor, "is owned by");
        return monitor;
}

/* What it heard up to a text that will come. */
static char *monitor_finish(struct client *monitor, const char *last) {
        char *output;

        wait_said(monitor, last);
        (void)kill(monitor->pid, SIGTERM);
        wait_for(client_ended, monitor, "the monitor");
        output = client_output(monitor);
        (void)unlink(monitor->file);
        g_free(monitor->file);
        g_free(monitor);
        return output;
}

/* Root sees values when it asks for them; nobody else does, and no signal has them. */
static void test_secrets(void) {
        g_autofree char *output = NULL;
        struct client *monitor;
        const char *const objects[] = {"org.freedesktop.DBus.ObjectManager", "GetManagedObjects"};

        set_up();
        monitor = monitor_start();
        register_web();
        fake_set_state("web", ENGINE_FAILED, "broken \xff");
        expect(0, "a{ss} 3", "get-property", BUS_NAME, BUS_ENGINES "/web", BUS_ENGINE, "Settings");
        expect(0, "\"password\" \"hunter2\"", "get-property", BUS_NAME, BUS_ENGINES "/web",
               BUS_ENGINE, "Settings");
        expect(0, "hunter2", "call", BUS_NAME, BUS_OBJECT, objects[0], objects[1]);
        expect(NOBODY, "\"password\" \"\"", "get-property", BUS_NAME, BUS_ENGINES "/web",
               BUS_ENGINE, "Settings");
        expect(NOBODY, "\"url\" \"\"", "call", BUS_NAME, BUS_OBJECT, objects[0], objects[1]);
        expect(NOBODY, "\"failed\"", "call", BUS_NAME, BUS_ENGINES "/web",
               "org.freedesktop.DBus.Properties", "GetAll", "s", BUS_ENGINE);
        expect(0, "", CALL, "UnregisterEngine", "s", "web");
        output = monitor_finish(monitor, "EngineRemoved");
        assert_contains(output, "org.cloudsync1.Manager.EngineAdded ('web', objectpath "
                                "'/org/cloudsync1/engine/web')");
        assert_contains(output, "InterfacesAdded");
        assert_contains(output, "PropertiesChanged");
        assert_contains(output, "'State': <'failed'>");
        assert_contains(output, "'StateDetail': <'broken ");
        assert_contains(output, "InterfacesRemoved");
        assert_contains(output, "EngineRemoved");
        assert_contains(output, "'password': ''");
        g_assert_null(strstr(output, "hunter2"));
        g_assert_null(strstr(output, "http://x/"));
        tear_down();
}

/* --- signals of transfers --- */

static unsigned count(const char *text, const char *part) {
        unsigned n = 0;

        for (const char *s = text; (s = strstr(s, part)); s += strlen(part))
                n++;
        return n;
}

static gboolean move_on(void *data) {
        *(bool *)data = true;
        return G_SOURCE_REMOVE;
}

static bool is_true(void *data) {
        return *(bool *)data;
}

static void pause_ms(unsigned ms) {
        bool over = false;

        g_timeout_add(ms, move_on, &over);
        wait_for(is_true, &over, "the time");
}

static void test_transfers(void) {
        g_autofree char *output = NULL;
        struct client *monitor;

        set_up();
        register_web();
        monitor = monitor_start();

        bus_transfer_started(fake.bus, 1, "web", 1000);
        bus_transfer_progress(fake.bus, 1, 10, 1000); /* too soon */
        for (uint64_t i = 1000; i < 4000; i++)
                bus_transfer_started(fake.bus, i, "web", i);
        for (uint64_t i = 1000; i < 4000; i++)
                if (i != 3333)
                        bus_transfer_finished(fake.bus, i, i, NULL);
        pause_ms(300);
        bus_transfer_progress(fake.bus, 1, 500, 1000);
        bus_transfer_progress(fake.bus, 1, 501, 1000);  /* too soon again */
        bus_transfer_progress(fake.bus, 3333, 7, 3333); /* announced now */
        bus_transfer_finished(fake.bus, 3333, 3333, NULL);
        bus_transfer_finished(fake.bus, 1, 600, "it broke \xff");
        bus_transfer_finished(fake.bus, 1, 600, "unknown by now");
        bus_transfer_progress(fake.bus, 1, 600, 1000);
        bus_engine_removed(fake.bus, "web");
        output = monitor_finish(monitor, "EngineRemoved");
        assert_contains(output, "TransferStarted (uint64 1, 'web', uint64 1000)");
        assert_contains(output, "TransferProgress (uint64 1, uint64 500, uint64 1000)");
        assert_contains(output, "TransferFinished (uint64 1, uint64 600, 'it broke ");
        assert_contains(output, "TransferStarted (uint64 3333, 'web', uint64 3333)");
        assert_contains(output, "TransferProgress (uint64 3333, uint64 7, uint64 3333)");
        assert_contains(output, "TransferFinished (uint64 3333, uint64 3333, '')");
        g_assert_cmpuint(count(output, "TransferProgress"), ==, 2);
        g_assert_cmpuint(count(output, "TransferStarted"), ==, count(output, "TransferFinished"));
        g_assert_cmpuint(count(output, "TransferStarted"), <=, 2 * 100 + 1);
        g_assert_cmpuint(count(output, "TransferStarted"), >=, 100);
        tear_down();
}

/* --- many at once --- */

static int own_client(uid_t uid, const char *what, char **ret_output) {
        const char *argv[] = {program, what, address, NULL};

        return client_finish(client_start(uid, argv), ret_output);
}

static bool has_waiting(void *data) {
        return g_queue_get_length(&fake.waiting) >= GPOINTER_TO_UINT(data);
}

/* 100 hydrations of one user: 64 are under way, 36 refused at once. He can still look,
 * and root comes through. */
static void test_limit(void) {
        const char *argv[] = {program, "flood", address, NULL};
        g_autofree char *output = NULL;
        struct client *flood;

        set_up();
        fake.hold = true;
        flood = client_start(NOBODY, argv);
        wait_for(has_waiting, GUINT_TO_POINTER(64), "the flood");
        fake.hold = false;
        expect_error(NOBODY, "Too many calls", CALL, "Hydrate", "s", "public");
        expect(NOBODY, "\"web\"", CALL, "GetFileStatus", "s", "public");
        expect(0, "", CALL, "Hydrate", "s", "public");
        g_assert_false(flood->ended);
        g_assert_cmpuint(g_queue_get_length(&fake.waiting), ==, 64);
        fake_release(0, NULL);
        g_assert_cmpint(client_finish(flood, &output), ==, 0);
        g_assert_cmpstr(output, ==, "good 64, busy 36\n");
        expect(NOBODY, "", CALL, "Hydrate", "s", "public");
        tear_down();
}

static void test_order(void) {
        g_autofree char *output = NULL;

        set_up();
        g_assert_cmpint(own_client(0, "order", &output), ==, 0);
        g_assert_cmpstr(output, ==, "good 3000, busy 0\n");
        g_assert_cmpuint(fake.engines->len, ==, 0);
        tear_down();
}

/* --- the bus comes and goes --- */

static bool is_connected(void *data) {
        return fake.bus->ready;
}

static bool is_disconnected(void *data) {
        return fake.bus->connection == NULL;
}

static struct client *hydrate_and_hold(void) {
        g_autofree char *where = g_strconcat("--address=", address, NULL);
        const char *argv[] = {"busctl", where, CALL, "Hydrate", "s", "public", NULL};
        struct client *client;

        fake.hold = true;
        client = client_start(NOBODY, argv);
        wait_for(has_waiting, GUINT_TO_POINTER(1), "the call");
        fake.hold = false;
        return client;
}

static void test_bus_dies(void) {
        struct client *client;

        set_up();
        register_web();
        for (int i = 0; i < 3; i++) {
                g_autofree char *output = NULL;

                client = hydrate_and_hold();
                bus_daemon_kill();
                g_assert_cmpint(client_finish(client, &output), !=, 0);
                wait_for(is_disconnected, NULL, "the loss to be seen");
                bus_engine_added(fake.bus, daemon_engine(fake.daemon, "web"));
                bus_transfer_started(fake.bus, 5, "web", 5);
                bus_transfer_finished(fake.bus, 5, 5, NULL);
                if (i == 1)
                        pause_ms(1500); /* some tries in vain */
                if (i < 2)
                        fake_release(0, NULL); /* an answer that goes nowhere */
                bus_daemon_start();
                wait_for(is_connected, NULL, "the daemon to come back");
                fake_release(0, NULL);
                expect(NOBODY, "\"web\"", CALL, "ListEngines");
                expect(0, "s \"web\"", "get-property", BUS_NAME, BUS_ENGINES "/web", BUS_ENGINE,
                       "Id");
        }
        tear_down();
}

static void test_close_with_calls(void) {
        g_autofree char *output = NULL;
        struct client *client;

        set_up();
        client = hydrate_and_hold();
        bus_close(fake.bus);
        fake.bus = NULL;
        g_assert_cmpint(client_finish(client, &output), !=, 0);
        fake_release(0, NULL);
        tear_down();
}

static bool has_call(void *data) {
        return fake.bus->n_calls > 0;
}

/* Closed while a pool thread looks the path up. */
static void test_close_in_flight(void) {
        g_autofree char *where = g_strconcat("--address=", address, NULL);
        const char *argv[] = {"busctl", where, CALL, "Hydrate", "s", "public", NULL};
        g_autofree char *output = NULL;
        struct client *client;

        set_up();
        client = client_start(NOBODY, argv);
        wait_for(has_call, NULL, "the call");
        bus_close(fake.bus);
        fake.bus = NULL;
        g_assert_cmpint(client_finish(client, &output), !=, 0);
        g_assert_cmpuint(fake.hydrations, <=, 1);
        tear_down();
}

/* --- the client in this program --- */

static unsigned client_good, client_busy, client_left;

static int on_reply(sd_bus_message *reply, void *data, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);

        if (!e)
                client_good++;
        else if (strcmp(e->name, BUS_ERROR "Busy") == 0)
                client_busy++;
        else
                fprintf(stderr, "%s: %s\n", e->name, e->message);
        client_left--;
        return 0;
}

static void send_call(sd_bus *bus, const char *method, const char *types, const char *a,
                      const char *b, const char *c) {
        sd_bus_message *message = NULL;

        g_assert_cmpint(sd_bus_message_new_method_call(bus, &message, BUS_NAME, BUS_OBJECT,
                                                       BUS_MANAGER, method),
                        >=, 0);
        if (b)
                g_assert_cmpint(sd_bus_message_append(message, types, a, b, c, 0u), >=, 0);
        else
                g_assert_cmpint(sd_bus_message_append(message, types, a), >=, 0);
        g_assert_cmpint(sd_bus_call_async(bus, NULL, message, on_reply, NULL, UINT64_MAX), >=, 0);
        (void)sd_bus_message_unref(message);
        client_left++;
}

static sd_bus *client_connect(const char *where) {
        sd_bus *bus = NULL;

        g_assert_cmpint(sd_bus_new(&bus), >=, 0);
        g_assert_cmpint(sd_bus_set_address(bus, where), >=, 0);
        g_assert_cmpint(sd_bus_set_bus_client(bus, 1), >=, 0);
        g_assert_cmpint(sd_bus_start(bus), >=, 0);
        return bus;
}

static void client_process(sd_bus *bus) {
        while (client_left > 0) {
                int r = sd_bus_process(bus, NULL);

                g_assert_cmpint(r, >=, 0);
                if (r == 0)
                        g_assert_cmpint(sd_bus_wait(bus, UINT64_MAX), >=, 0);
        }
        (void)sd_bus_flush_close_unref(bus);
}

/* On a new connection, calls that only work in their order, spread around the moment at
 * which the daemon learns who the sender is. */
static void client_order(const char *where) {
        sd_bus *bus = client_connect(where);

        for (int i = 0; i < 30; i++) {
                send_call(bus, "RegisterEngine", "sssa{ss}", "web", "httpfs", "a");
                send_call(bus, "UnregisterEngine", "s", "web", NULL, NULL);
                (void)sd_bus_flush(bus);
                g_usleep((gulong)g_random_int_range(0, 100));
        }
        client_process(bus);
}

static int client_main(const char *what, const char *where) {
        if (strcmp(what, "flood") == 0) {
                sd_bus *bus = client_connect(where);

                for (int i = 0; i < 100; i++)
                        send_call(bus, "Hydrate", "s", "public", NULL, NULL);
                client_process(bus);
        } else if (strcmp(what, "order") == 0) {
                for (int i = 0; i < 50; i++)
                        client_order(where);
        } else {
                return 2;
        }
        printf("good %u, busy %u\n", client_good, client_busy);
        return 0;
}

/* --- the whole --- */

static void make_file(const char *name, mode_t mode) {
        g_autofree char *path = g_build_filename(store, name, NULL);

        g_assert_true(g_file_set_contents(path, "content", -1, NULL));
        g_assert_cmpint(chmod(path, mode), ==, 0);
}

static void make_store(void) {
        g_autofree char *closed = g_build_filename(store, "closed", NULL);
        g_autofree char *fifo = g_build_filename(store, "fifo", NULL);
        g_autofree char *link = g_build_filename(store, "link", NULL);
        g_autofree char *link_dir = g_build_filename(store, "link-dir", NULL);

        g_assert_cmpint(mkdir(store, 0755), ==, 0);
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

static void test_skip(void) {
        g_test_skip("needs root, to be another user as well");
}

int main(int argc, char **argv) {
        int r;

        if (argc == 3 && argv[1][0] != '-')
                return client_main(argv[1], argv[2]);
        g_test_init(&argc, &argv, NULL);
        log_open("bus-test", LOG_DEBUG);
        if (geteuid() != 0) {
                g_test_add_func("/bus", test_skip);
                return g_test_run();
        }
        program = g_file_read_link("/proc/self/exe", NULL);
        directory = g_dir_make_tmp("bus-XXXXXX", NULL);
        g_assert_cmpint(chmod(directory, 0755), ==, 0);
        store = g_build_filename(directory, "store", NULL);
        make_store();
        bus_daemon_start();
        work_start();
        g_test_add_func("/bus/open", test_open);
        g_test_add_func("/bus/introspection", test_introspection);
        g_test_add_func("/bus/engines", test_engines);
        g_test_add_func("/bus/properties", test_properties);
        g_test_add_func("/bus/error-names", test_error_names);
        g_test_add_func("/bus/user", test_user);
        g_test_add_func("/bus/files", test_files);
        g_test_add_func("/bus/login", test_login);
        g_test_add_func("/bus/secrets", test_secrets);
        g_test_add_func("/bus/transfers", test_transfers);
        g_test_add_func("/bus/limit", test_limit);
        g_test_add_func("/bus/order", test_order);
        g_test_add_func("/bus/bus-dies", test_bus_dies);
        g_test_add_func("/bus/close-with-calls", test_close_with_calls);
        g_test_add_func("/bus/close-in-flight", test_close_in_flight);
        r = g_test_run();
        work_stop();
        bus_daemon_kill();
        remove_tree(directory);
        g_free(directory);
        g_free(address);
        g_free(store);
        g_free(program);
        return r;
}
