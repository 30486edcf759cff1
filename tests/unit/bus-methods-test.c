/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-methods: what the methods and properties of the D-Bus interface answer to whom (bus-world.h), with
 * busctl and gdbus as clients.
 *
 * SOURCE_DIR: the top of the source tree.
 */

#include <string.h>
#include <unistd.h>

#include "bus-client.h"
#include "bus-fake.h"

static void test_open(void) {
        g_auto(Failure) taken = FAILURE_INIT, no_bus = FAILURE_INIT, no_socket = FAILURE_INIT;
        Bus *other = NULL;

        world_set_up();
        g_assert_cmpint(bus_open(fake.daemon, world_address, &other, &taken), ==, -EEXIST);
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
        world_tear_down();
}

static void introspect(const char *object, const char *xml) {
        g_autofree char *script =
                g_build_filename(SOURCE_DIR, "tests/integration/introspection.py", NULL);
        g_autofree char *file = g_build_filename(SOURCE_DIR, "data/dbus", xml, NULL);
        g_autofree char *output = NULL;
        const char *argv[] = {"python3", script, world_address, object, file, NULL};

        if (client_finish(client_start(0, argv), &output) != 0)
                g_error("%s", output);
}

static void test_introspection(void) {
        world_set_up();
        register_web();
        introspect(BUS_OBJECT, "org.cloudsync1.xml");
        introspect(BUS_ENGINES "/web", "org.cloudsync1.Engine.xml");
        expect(0, "/org/cloudsync1/engine/web", "tree", BUS_NAME);
        expect(0, "RegisterEngine", "introspect", BUS_NAME, BUS_OBJECT);
        expect_error(0, "Unknown", "introspect", BUS_NAME, BUS_ENGINES "/nothing");
        world_tear_down();
}

static void test_engines(void) {
        const Registration *registration;
        struct engine_info info;

        world_set_up();
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
        world_tear_down();
}

static void test_properties(void) {
        world_set_up();
        expect(0, "s \"ext4\"", "get-property", BUS_NAME, BUS_OBJECT, BUS_MANAGER,
               "StoreFilesystem");
        expect(NOBODY, world_store, "get-property", BUS_NAME, BUS_OBJECT, BUS_MANAGER, "StorePath");
        expect(0, "as 2 \"supervisor\" \"detach\"", "get-property", BUS_NAME, BUS_OBJECT, BUS_MANAGER, "Layers");
        expect(0, "u 1\nt 2\nt 3\nt 4\nt 5\n", "get-property", BUS_NAME, BUS_OBJECT, BUS_MANAGER,
               "EventsPending", "EventsAnswered", "EventsDenied", "FilesHydrated", "BytesFetched");
        world_tear_down();
}

static void test_error_names(void) {
        g_autofree char *huge = g_strnfill(100000, 'a');
        g_autofree char *long_value = g_strnfill(8193, 'v');
        g_autofree char *long_setting = g_strdup_printf("{'url': '%s'}", long_value);
        g_autoptr(GString) many = g_string_new("{");

        world_set_up();
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
        world_tear_down();
}

static void test_user(void) {
        world_set_up();
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
        world_tear_down();
}

static void test_login(void) {
        g_autofree char *many = g_strnfill(CS_LOGIN_TEXT_MAX + 1, 'c');
        g_autofree char *long_code = g_strdup_printf("'%s'", many);

        world_set_up();
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
        world_tear_down();
}

static void test_files(void) {
        g_autofree char *absolute = g_build_filename(world_store, "public", NULL);

        world_set_up();
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
        world_tear_down();
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        world_test("/bus-methods/open", test_open);
        world_test("/bus-methods/introspection", test_introspection);
        world_test("/bus-methods/engines", test_engines);
        world_test("/bus-methods/properties", test_properties);
        world_test("/bus-methods/error-names", test_error_names);
        world_test("/bus-methods/user", test_user);
        world_test("/bus-methods/files", test_files);
        world_test("/bus-methods/login", test_login);
        return world_run();
}
