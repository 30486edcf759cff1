/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * cloudsyncctl itself, started as a user starts it, against ctl-fake on a real bus.
 * CLOUDSYNCCTL names the program.
 */

#include <errno.h>
#include <glib.h>
#include <json-c/json.h>
#include <pty.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl-fake.h"

struct run {
        int status;
        char *out, *err;
};

static void run_clear(struct run *run) {
        g_free(run->out);
        g_free(run->err);
}

static const char *program(void) {
        const char *path = g_getenv("CLOUDSYNCCTL");
        return path ? path : "cloudsyncctl";
}

/* Runs it with --bus and the words of `line`. */
static struct run ctl(const char *address, const char *line) {
        g_auto(GStrv) words = g_strsplit(line, " ", -1);
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        g_autoptr(GError) error = NULL;
        struct run run;
        int status;

        g_ptr_array_add(argv, (gpointer)program());
        g_ptr_array_add(argv, (gpointer) "--bus");
        g_ptr_array_add(argv, (gpointer)address);
        for (char **w = words; *w; w++)
                g_ptr_array_add(argv, *w);
        g_ptr_array_add(argv, NULL);
        g_spawn_sync(NULL, (char **)argv->pdata, NULL, 0, NULL, NULL, &run.out, &run.err, &status,
                     &error);
        g_assert_no_error(error);
        g_assert_true(WIFEXITED(status));
        run.status = WEXITSTATUS(status);
        g_test_message("%s -> %d\n%s%s", line, run.status, run.out, run.err);
        return run;
}

static void assert_has(const char *text, const char *part) {
        if (!strstr(text, part))
                g_error("\"%s\" is not in \"%s\"", part, text);
}

/* Runs and compares the status and, where given, a part of each output. */
static void expect(const char *address, const char *line, int status, const char *out,
                   const char *err) {
        struct run run = ctl(address, line);

        g_assert_cmpint(run.status, ==, status);
        if (out)
                assert_has(run.out, out);
        if (err)
                assert_has(run.err, err);
        else
                g_assert_cmpstr(run.err, ==, "");
        run_clear(&run);
}

static struct json_object *json(const char *address, const char *line, int status) {
        g_autofree char *with = g_strconcat("--json ", line, NULL);
        struct run run = ctl(address, with);

        g_assert_cmpint(run.status, ==, status);
        struct json_object *o = json_tokener_parse(run.out);
        g_assert_nonnull(o);
        run_clear(&run);
        return o;
}

static const char *text_of(struct json_object *o, const char *key) {
        return json_object_get_string(json_object_object_get(o, key));
}

static void make_file(const struct fake *f, const char *name) {
        g_autofree char *path = g_build_filename(f->directory, name, NULL);
        g_autofree char *content = g_strnfill(1000, 'x');
        g_autofree char *parent = g_path_get_dirname(path);

        g_assert_cmpint(g_mkdir_with_parents(parent, 0755), ==, 0);
        g_assert_true(g_file_set_contents(path, content, 1000, NULL));
}

static void test_usage(void) {
        expect("system", "--help", 0, "engine add", NULL);
        expect("system", "hydrate --help", 0, "A directory stands for", NULL);
        expect("system", "--version", 0, "cloudsyncctl ", NULL);
        expect("system", "evict x", 2, NULL, "planned");
        expect("system", "engine", 2, NULL, "engine list");
        expect("system", "frobnicate", 2, NULL, "there is no command");
        expect("system", "hydrate", 2, NULL, "hydrate PATH");
        expect("system", "status more", 2, NULL, "does not take");
        expect("system", "ls --recursive", 2, NULL, "no option --recursive");
        expect("system", "engine add a b c nonsense", 1, NULL, "no connection");
        expect("system", "store create x", 2, NULL, "--size and --fs");
        expect("system", "store create --size 1 --fs ext4 x", 2, NULL, "at least");
        expect("system", "store create --size 1G --fs vfat x", 2, NULL, "ext4, xfs or btrfs");
}

static void test_no_bus(void) {
        expect("unix:path=/nonexistent/bus", "status", 1, NULL, "--bus takes");
}

static void test_status(struct fake *f, gconstpointer data) {
        struct run run = ctl(f->address, "status");

        g_assert_cmpint(run.status, ==, 0);
        assert_has(run.out, "9.9.9");
        assert_has(run.out, "12,345 answered");
        assert_has(run.out, "could read zeros until it is back");
        assert_has(run.out, "1,200, 3 to go");
        assert_has(run.out, "its host died 5 times");
        assert_has(run.out, "41 fetches brought content");
        assert_has(run.out, "slow.bin");
        g_assert_null(strchr(run.out, '\033')); /* not a terminal: no colours */
        run_clear(&run);

        struct json_object *o = json(f->address, "status", 0);
        g_assert_cmpstr(text_of(o, "version"), ==, "9.9.9");
        g_assert_cmpuint(json_object_array_length(json_object_object_get(o, "engines")), ==, 2);
        json_object_put(o);
}

static void test_engines(struct fake *f, gconstpointer data) {
        expect(f->address, "engine list", 0, "broken", NULL);
        expect(f->address, "engine show docs", 0, "1,200 listed, 3 to go", NULL);
        expect(f->address, "engine show nope", 1, NULL, "cloudsyncctl engine list shows");
        expect(f->address, "engine remove nope", 1, NULL, "there is no such engine");
        expect(f->address, "engine add docs2 httpfs taken url=x", 1, NULL,
               "Prefixes may not overlap");
        expect(f->address, "engine add docs2 httpfs p novalue", 2, NULL, "not a setting");
        expect(f->address, "engine add docs2 httpfs p url=x", 0, "Engine docs2 is registered",
               NULL);
        expect(f->address, "engine add broken httpfs p url=x", 1, NULL, "its host died 5 times");

        g_autofree char *secret = g_build_filename(f->directory, "secret", NULL);
        g_assert_true(g_file_set_contents(secret, "pw\n", -1, NULL));
        g_autofree char *line =
                g_strdup_printf("engine add docs2 httpfs p url=x -f password=%s", secret);
        struct json_object *o = json(f->address, line, 0);
        g_assert_cmpstr(text_of(o, "object"), ==, "/org/cloudsync1/engine/docs2/url/x/password/pw");
        json_object_put(o);

        o = json(f->address, "engine show docs", 0);
        g_assert_cmpstr(text_of(json_object_object_get(o, "settings"), "url"), ==, "http://h/");
        json_object_put(o);
}

static void test_ls(struct fake *f, gconstpointer data) {
        make_file(f, "cold.txt");
        make_file(f, "part.txt");
        make_file(f, "odd\xff.txt");
        make_file(f, "sub/own.txt");
        g_autofree char *link = g_build_filename(f->directory, "link", NULL);
        g_assert_cmpint(symlink("cold.txt", link), ==, 0);

        g_autofree char *line = g_strdup_printf("ls %s", f->directory);
        struct run run = ctl(f->address, line);
        g_assert_cmpint(run.status, ==, 0);
        assert_has(run.out, "-  placeholder  1000 B      0 B");
        assert_has(run.out, "-  partial 50%  1000 B    500 B");
        assert_has(run.out, "odd\\xff.txt");
        assert_has(run.out, "unknown");
        assert_has(run.out, "link -> cold.txt");
        assert_has(run.out, "sub/");
        run_clear(&run);

        struct json_object *list = json(f->address, line, 0);
        g_assert_cmpuint(json_object_array_length(list), ==, 5);
        struct json_object *cold = json_object_array_get_idx(list, 0),
                           *odd = json_object_array_get_idx(list, 2);
        g_assert_cmpstr(text_of(cold, "state"), ==, "placeholder");
        g_assert_cmpstr(text_of(odd, "name"), ==, "odd\\xff.txt");
        g_assert_true(json_object_get_boolean(json_object_object_get(odd, "name_escaped")));
        g_assert_null(json_object_object_get(odd, "state"));
        json_object_put(list);

        g_autofree char *one = g_strdup_printf("ls %s/sub/own.txt", f->directory);
        expect(f->address, one, 0, "local", NULL);
        g_autofree char *missing = g_strdup_printf("ls %s/nothing", f->directory);
        expect(f->address, missing, 1, NULL, "Is it spelled right?");
        expect(f->address, "ls /usr", 1, NULL, "Only files below the store");
}

static void test_hydrate(struct fake *f, gconstpointer data) {
        for (unsigned i = 0; i < 100; i++) {
                g_autofree char *name = g_strdup_printf("d%u/cold%u", i % 7, i);
                make_file(f, name);
        }
        make_file(f, "own");
        make_file(f, "odd\xff"); /* is read, since it cannot be asked for */
        g_autofree char *link = g_build_filename(f->directory, "link", NULL);
        g_assert_cmpint(symlink("/etc", link), ==, 0);

        g_autofree char *line = g_strdup_printf("hydrate %s", f->directory);
        struct json_object *o = json(f->address, line, 0);
        g_assert_cmpint(json_object_get_int(json_object_object_get(o, "whole")), ==, 102);
        g_assert_cmpint(json_object_get_int(json_object_object_get(o, "failed")), ==, 0);
        json_object_put(o);

        /* Many in flight, and no more than sixteen: the fake tells as events_pending. */
        o = json(f->address, "status", 0);
        g_assert_cmpint(json_object_get_int(json_object_object_get(o, "events_pending")), ==, 16);
        json_object_put(o);
        expect(f->address, line, 0, "102 files are whole now (99.6 KiB)", NULL);
}

static void test_hydrate_fails(struct fake *f, gconstpointer data) {
        make_file(f, "bad");
        make_file(f, "cold");

        g_autofree char *line = g_strdup_printf("hydrate %s", f->directory);
        struct run run = ctl(f->address, line);
        g_assert_cmpint(run.status, ==, 1);
        assert_has(run.out, "1 file is whole now (1000 B)");
        assert_has(run.out, "; 1 failed");
        assert_has(run.err, "the server said \\x1b[31mno"); /* not an escape sequence any more */
        assert_has(run.err, "Is the remote up");
        run_clear(&run);
        g_autofree char *missing = g_strdup_printf("hydrate %s/nothing", f->directory);
        expect(f->address, missing, 1, NULL, "No such file");
}

static void test_daemon_dies(struct fake *f, gconstpointer data) {
        for (unsigned i = 0; i < 100; i++) {
                g_autofree char *name = g_strdup_printf("die%02u", i);
                make_file(f, name);
        }
        g_autofree char *line = g_strdup_printf("hydrate %s", f->directory);
        struct run run = ctl(f->address, line);
        g_assert_cmpint(run.status, ==, 1);
        assert_has(run.out, "0 files are whole now");
        g_auto(GStrv) lines = g_strsplit(run.err, "\n", -1);
        g_assert_cmpuint(g_strv_length(lines), ==, 3); /* the sentence, the hint, "" */
        run_clear(&run);
}

static void test_not_in_store(struct fake *f, gconstpointer data) {
        expect(f->address, "hydrate /usr/include", 1, NULL, "is not in the store");
        expect(f->address, "hydrate /etc/passwd", 1, NULL, "Only files below");
}

/* What a terminal of 100 columns gets to see. To be freed. */
static char *on_terminal(const char *address, const char *verb, const char *path, int *status) {
        struct winsize size = {.ws_row = 24, .ws_col = 100};
        GString *out = g_string_new(NULL);
        char buffer[4096];
        ssize_t n;
        int fd;

        pid_t pid = forkpty(&fd, NULL, NULL, &size);
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0) {
                setenv("TERM", "xterm", 1);
                unsetenv("NO_COLOR");
                execl(program(), program(), "--bus", address, verb, path, NULL);
                _exit(127);
        }
        while ((n = read(fd, buffer, sizeof buffer)) > 0)
                g_string_append_len(out, buffer, n);
        close(fd);
        waitpid(pid, status, 0);
        return g_string_free(out, FALSE);
}

static void test_bars(struct fake *f, gconstpointer data) {
        int status;

        make_file(f, "slow.bin");
        make_file(f, "cold");
        g_autofree char *out = on_terminal(f->address, "hydrate", f->directory, &status);
        g_test_message("%s", out);
        g_assert_cmpint(WEXITSTATUS(status), ==, 0);
        assert_has(out, "slow.bin");
        assert_has(out, "[#");
        assert_has(out, "1 of 2 files");
        assert_has(out, "\033[J");
        assert_has(out, "2 files are whole now");
}

static void test_refresh(struct fake *f, gconstpointer data) {
        make_file(f, "sub/x");
        g_autofree char *good = g_strdup_printf("refresh -r %s/sub", f->directory);
        expect(f->address, good, 0, "up to date", NULL);
        g_autofree char *bad = g_strdup_printf("refresh %s/sub %s/bad", f->directory, f->directory);
        expect(f->address, bad, 1, "sub is up to date", "it is broken");
}

/* As `ctl`, with `input` on its standard input. */
static struct run ctl_with(const char *address, const char *line, const char *input) {
        const char *argv[] = {"sh", "-c", "printf %s \"$2\" | $0 --bus $1 $3", program(), address, input,
                              line, NULL};
        g_autoptr(GError) error = NULL;
        struct run run;
        int status;

        g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &run.out, &run.err,
                     &status, &error);
        g_assert_no_error(error);
        run.status = WEXITSTATUS(status);
        return run;
}

static void expect_with(const char *address, const char *line, const char *input, int status,
                        const char *out, const char *err) {
        struct run run = ctl_with(address, line, input);

        g_assert_cmpint(run.status, ==, status);
        assert_has(run.out, out);
        assert_has(run.err, err);
        g_assert_null(strstr(run.out, "good-code"));
        run_clear(&run);
}

static void test_login(struct fake *f, gconstpointer data) {
        expect_with(f->address, "login docs", " good-code \n", 0, "    https://example.net/?a=b\n", "");
        expect_with(f->address, "login docs", "good-code", 0, "Logged in.", "");
        expect_with(f->address, "login docs", "bad\n", 1, "https:", "no such code");
        expect_with(f->address, "login docs", "bad\n", 1, "https:", "Begin again");
        expect_with(f->address, "login docs", "", 1, "https:", "no code was given");
        expect_with(f->address, "login docs", "\n", 1, "https:", "no code was given");
        expect_with(f->address, "login web", "good-code", 1, "", "web has no login");
        expect(f->address, "login docs good-code", 2, NULL, "does not take");
        expect(f->address, "login", 2, NULL, "login ID");
        expect(f->address, "logout docs", 0, "Note: nobody was told.", NULL);

        struct run run = ctl_with(f->address, "--json login docs", "good-code");
        g_auto(GStrv) lines = g_strsplit(run.out, "\n", -1);
        g_assert_cmpuint(g_strv_length(lines), ==, 3);
        struct json_object *first = json_tokener_parse(lines[0]), *second = json_tokener_parse(lines[1]);
        g_assert_cmpstr(text_of(first, "url"), ==, "https://example.net/?a=b");
        g_assert_true(json_object_get_boolean(json_object_object_get(second, "logged_in")));
        json_object_put(first);
        json_object_put(second);
        run_clear(&run);
}

/* On a desktop's terminal a browser is opened, never as root. */
static void test_browser(struct fake *f, gconstpointer data) {
        g_autofree char *script = g_build_filename(f->directory, "xdg-open", NULL);
        g_autofree char *note = g_build_filename(f->directory, "opened", NULL), *content = NULL;
        g_autofree char *text = g_strdup_printf("#!/bin/sh\necho \"$(id -u) $1\" > %s.new\nmv %s.new %s\n",
                                                note, note, note);
        g_autofree char *path = g_strdup_printf("%s:%s", f->directory, g_getenv("PATH"));
        bool root = geteuid() == 0;
        int terminal, status;
        char buffer[4096];

        g_assert_true(g_file_set_contents(script, text, -1, NULL));
        g_assert_cmpint(chmod(script, 0755), ==, 0);
        g_assert_cmpint(chmod(f->directory, 0777), ==, 0);
        pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
        if (pid == 0) {
                setenv("PATH", path, 1);
                setenv("DISPLAY", ":0", 1);
                if (root)
                        setenv("SUDO_UID", "65534", 1);
                execl(program(), program(), "--bus", f->address, "login", "docs", NULL);
                _exit(127);
        }
        g_assert_cmpint(write(terminal, "good-code\n", 10), ==, 10);
        while (read(terminal, buffer, sizeof buffer) > 0)
                ;
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_cmpint(status, ==, 0);
        close(terminal);
        for (int i = 0; i < 1000 && !g_file_get_contents(note, &content, NULL, NULL); i++)
                g_usleep(10000);
        g_autofree char *want =
                g_strdup_printf("%u https://example.net/?a=b\n", root ? 65534u : (unsigned)geteuid());
        g_assert_cmpstr(content, ==, want);
}

static void test_transfers(struct fake *f, gconstpointer data) {
        expect(f->address, "transfers", 0, "50  slow.bin", NULL);
        struct json_object *list = json(f->address, "transfers", 0);
        g_assert_cmpint(json_object_get_int(
                                json_object_object_get(json_object_array_get_idx(list, 0), "id")),
                        ==, 17);
        json_object_put(list);
}

static void test_daemon_gone(struct fake *f, gconstpointer data) {
        fake_stop_service(f);
        expect(f->address, "status", 1, NULL, "cloudsyncd is not running");
        g_autofree char *line = g_strdup_printf("hydrate %s", f->directory);
        expect(f->address, line, 1, NULL, "Start cloudsyncd with the same --bus");
        expect(f->address, "transfers --watch", 1, NULL, "cloudsyncd is not running");
}

static void test_store_exists(void) {
        g_autofree char *path = NULL;
        int fd = g_file_open_tmp("cloudsync-ctl-XXXXXX", &path, NULL);

        g_assert_cmpint(write(fd, "precious", 8), ==, 8);
        close(fd);
        g_autofree char *line = g_strdup_printf("store create --size 64M --fs ext4 %s", path);
        expect("system", line, 1, NULL, "exists already");
        g_autofree char *content = NULL;
        g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
        g_assert_cmpstr(content, ==, "precious");
        unlink(path);
}

static void test_store_created(gconstpointer data) {
        const char *const *which = data; /* file system, size */
        g_autofree char *path =
                g_strdup_printf("%s/cloudsync-ctl-%d.img", g_get_tmp_dir(), getpid());
        g_autofree char *line =
                g_strdup_printf("store create --size %s --fs %s %s", which[1], which[0], path);
        struct stat st;

        expect("system", line, 0, "[Store]", NULL);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_size, ==, atoi(which[1]) * 1024 * 1024);
        g_assert_cmpuint(st.st_blocks * 512, <, st.st_size / 2); /* sparse */
        g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
        unlink(path);
}

static void set_up(struct fake *f, gconstpointer data) {
        fake_start(f);
}

static void tear_down(struct fake *f, gconstpointer data) {
        fake_stop(f);
}

int main(int argc, char **argv) {
        static const char *const stores[][2] = {
                {"ext4", "64M"}, {"xfs", "400M"}, {"btrfs", "128M"}};
        static const struct {
                const char *name;
                void (*function)(struct fake *f, gconstpointer data);
        } tests[] = {
                {"status", test_status},
                {"engines", test_engines},
                {"ls", test_ls},
                {"hydrate", test_hydrate},
                {"hydrate-fails", test_hydrate_fails},
                {"daemon-dies", test_daemon_dies},
                {"not-in-store", test_not_in_store},
                {"bars", test_bars},
                {"refresh", test_refresh},
                {"login", test_login},
                {"browser", test_browser},
                {"transfers", test_transfers},
                {"daemon-gone", test_daemon_gone},
        };

        setenv("LC_ALL", "C.UTF-8", 1);
        setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
        unsetenv("CLOUDSYNC_BUS");
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ctl/cli/usage", test_usage);
        g_test_add_func("/ctl/cli/no-bus", test_no_bus);
        g_test_add_func("/ctl/cli/store-exists", test_store_exists);
        for (size_t i = 0; i < G_N_ELEMENTS(stores); i++) {
                g_autofree char *name = g_strconcat("/ctl/cli/store-created/", stores[i][0], NULL);
                g_test_add_data_func(name, stores[i], test_store_created);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
                g_autofree char *name = g_strconcat("/ctl/cli/", tests[i].name, NULL);
                g_test_add(name, struct fake, NULL, set_up, tests[i].function, tear_down);
        }
        return g_test_run();
}
