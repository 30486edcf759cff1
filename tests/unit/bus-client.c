/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus-client.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void on_child(GPid pid, int status, void *data) {
        struct client *client = data;

        client->status = status;
        client->ended = true;
}

struct client *client_start(uid_t uid, const char *const *argv) {
        struct client *client = g_new0(struct client, 1);
        g_autoptr(GError) error = NULL;
        struct spawn spawn = {.uid = uid};
        static unsigned n;

        client->file = g_strdup_printf("%s/client-%u", world_directory, n++);
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

char *client_output(const struct client *client) {
        char *text = NULL;

        g_assert_true(g_file_get_contents(client->file, &text, NULL, NULL));
        return text;
}

static bool client_ended(void *data) {
        return ((struct client *)data)->ended;
}

/* Waits, frees it, and returns what it printed. */
static char *client_end(struct client *client, int *ret_status) {
        char *output;

        wait_for(client_ended, client, "a client");
        output = client_output(client);
        *ret_status = client->status;
        (void)unlink(client->file);
        g_free(client->file);
        g_free(client);
        return output;
}

int client_finish(struct client *client, char **ret_output) {
        int status;

        *ret_output = client_end(client, &status);
        g_assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

int busctl(uid_t uid, char **ret_output, ...) {
        g_autofree char *where = g_strconcat("--address=", world_address, NULL);
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

void expect_name(const char *name, const char *method, ...) {
        g_autofree char *full_method = g_strconcat(BUS_MANAGER ".", method, NULL);
        g_autofree char *full_name = g_strconcat("org.cloudsync1.Error.", name, NULL);
        g_autofree char *output = NULL;
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        const char *words[] = {"gdbus",  "call",          "--address", world_address, "--dest",
                               BUS_NAME, "--object-path", BUS_OBJECT,  "--method",  full_method};
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

void register_web(void) {
        expect(0, "o \"/org/cloudsync1/engine/web\"", CALL, "RegisterEngine", "sssa{ss}", "web",
               "httpfs", "a/b", "3", "url", "http://x/", "password", "hunter2", "hydration",
               "ranges");
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

static gboolean tick(void *data) {
        return G_SOURCE_CONTINUE;
}

static void wait_said(const struct client *client, const char *text) {
        struct said said = {client, text};
        guint ticks = g_timeout_add(20, tick, NULL);

        wait_for(has_said, &said, text);
        g_source_remove(ticks);
}

/* It asks for the name's owner after it has asked for signals. */
struct client *monitor_start(void) {
        const char *argv[] = {"gdbus",  "monitor", "--address", world_address,
                              "--dest", BUS_NAME,  NULL};
        struct client *monitor = client_start(0, argv);

        wait_said(monitor, "is owned by");
        return monitor;
}

char *monitor_finish(struct client *monitor, const char *last) {
        int status;

        wait_said(monitor, last);
        (void)kill(monitor->pid, SIGTERM);
        return client_end(monitor, &status);
}

