/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl-fake.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define OBJECT "/org/cloudsync1"
#define MANAGER "org.cloudsync1.Manager"
#define ERROR(name) "org.cloudsync1.Error." name

/* All of the service's state; it lives in the child. */
static struct {
        sd_bus *bus;
        sd_event *event;
        const char *store;
        unsigned in_flight, most_in_flight;
        uint64_t transfer; /* the last id */
} fake;

struct hydration {
        sd_bus_message *call;
        uint64_t id;
        unsigned step, steps;
};

static bool names(const char *path, const char *beginning) {
        const char *slash = strrchr(path, '/');
        return g_str_has_prefix(slash ? slash + 1 : path, beginning);
}

static int reply_manager(sd_bus_message *m) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;

        g_assert_cmpint(sd_bus_message_new_method_return(m, &reply), >=, 0);
        g_assert_cmpint(sd_bus_message_append(reply, "a{sv}", 9, "Version", "s", "9.9.9",
                                              "StorePath", "s", fake.store, "StoreFilesystem", "s",
                                              "ext4", "Layers", "as", 1, "detach", "EventsPending",
                                              "u", (uint32_t)fake.most_in_flight, "EventsAnswered",
                                              "t", UINT64_C(12345), "FilesHydrated", "t",
                                              UINT64_C(7), "BytesFetched", "t", UINT64_C(1536),
                                              "NotKnownYet", "(ss)", "a", "b"),
                        >=, 0);
        return sd_bus_send(fake.bus, reply, NULL);
}

static int reply_engine(sd_bus_message *m, const char *id, const char *state, const char *detail) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;

        g_assert_cmpint(sd_bus_message_new_method_return(m, &reply), >=, 0);
        g_assert_cmpint(sd_bus_message_append(reply, "a{sv}", 9, "Id", "s", id, "Module", "s",
                                              "httpfs", "Prefix", "s", id, "State", "s", state,
                                              "StateDetail", "s", detail, "Settings", "a{ss}", 2,
                                              "url", "http://h/", "password", "secret",
                                              "ChecksumErrors", "t",
                                              UINT64_C(41) * (strcmp(id, "broken") == 0),
                                              "DirectoriesListed", "t", UINT64_C(1200),
                                              "DirectoriesPending", "t", UINT64_C(3)),
                        >=, 0);
        return sd_bus_send(fake.bus, reply, NULL);
}

static int on_get_all(sd_bus_message *m) {
        const char *path = sd_bus_message_get_path(m);

        if (strcmp(path, OBJECT) == 0)
                return reply_manager(m);
        if (strcmp(path, OBJECT "/engine/docs") == 0)
                return reply_engine(m, "docs", "ready", "");
        if (strcmp(path, OBJECT "/engine/broken") == 0)
                return reply_engine(m, "broken", "failed", "its host died 5 times");
        return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_UNKNOWN_OBJECT, "no such object");
}

static int on_file_status(sd_bus_message *m) {
        const char *path, *state = "hydrated";
        uint64_t present = 1000;

        g_assert_cmpint(sd_bus_message_read(m, "s", &path), >=, 0);
        if (!g_str_has_prefix(path, fake.store))
                return sd_bus_reply_method_errorf(m, ERROR("NotInStore"), "%s is not in the store",
                                                  path);
        if (access(path, F_OK) < 0)
                return sd_bus_reply_method_errorf(m, ERROR("NoSuchFile"), "there is no %s", path);
        if (names(path, "cold"))
                state = "placeholder", present = 0;
        else if (names(path, "part"))
                state = "partial", present = 500;
        else if (names(path, "own"))
                state = "local";
        return sd_bus_reply_method_return(m, "a{sv}", 4, "State", "s", state, "Size", "t",
                                          UINT64_C(1000), "Present", "t", present, "Engine", "s",
                                          "docs");
}

static int emit(const char *member, const char *types, ...) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *m = NULL;
        va_list ap;

        va_start(ap, types);
        g_assert_cmpint(sd_bus_message_new_signal(fake.bus, &m, OBJECT, MANAGER, member), >=, 0);
        g_assert_cmpint(sd_bus_message_appendv(m, types, ap), >=, 0);
        va_end(ap);
        return sd_bus_send(fake.bus, m, NULL);
}

static int answer(struct hydration *h) {
        const char *path;

        g_assert_cmpint(sd_bus_message_rewind(h->call, true), >=, 0);
        g_assert_cmpint(sd_bus_message_read(h->call, "s", &path), >=, 0);
        bool bad = names(path, "bad");
        emit("TransferFinished", "tts", h->id, UINT64_C(1000), bad ? "refused" : "");
        if (bad)
                return sd_bus_reply_method_errorf(h->call, ERROR("HydrationFailed"),
                                                  "the server said \033[31mno");
        if (names(path, "own"))
                return sd_bus_reply_method_errorf(h->call, ERROR("NotAPlaceholder"), "not ours");
        return sd_bus_reply_method_return(h->call, NULL);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
        struct hydration *h = userdata;

        if (++h->step < h->steps) {
                emit("TransferProgress", "ttt", h->id, UINT64_C(1000) * h->step / h->steps,
                     UINT64_C(1000));
                g_assert_cmpint(sd_event_source_set_time_relative(source, 150000), >=, 0);
                return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        answer(h);
        fake.in_flight--;
        sd_bus_message_unref(h->call);
        g_free(h);
        sd_event_source_disable_unref(source);
        return 0;
}

static int on_hydrate(sd_bus_message *m) {
        sd_event_source *source = NULL;
        const char *path;

        g_assert_cmpint(sd_bus_message_read(m, "s", &path), >=, 0);
        if (!g_str_has_prefix(path, fake.store))
                return sd_bus_reply_method_errorf(m, ERROR("NotInStore"), "not in the store");
        struct hydration *h = g_new0(struct hydration, 1);
        if (names(path, "die"))
                _exit(0);
        fake.in_flight++;
        fake.most_in_flight = MAX(fake.most_in_flight, fake.in_flight);
        h->call = sd_bus_message_ref(m);
        h->id = ++fake.transfer;
        h->steps = names(path, "slow") ? 8 : 1;
        emit("TransferStarted", "tst", h->id, "docs", UINT64_C(1000));
        g_assert_cmpint(sd_event_add_time_relative(fake.event, &source, CLOCK_MONOTONIC, 20000,
                                                   1000, on_time, h),
                        >=, 0);
        return 1;
}

static int on_list_transfers(sd_bus_message *m) {
        return sd_bus_reply_method_return(m, "a(tsstt)", 1, fake.transfer ? fake.transfer : 17,
                                          "docs", "slow.bin", UINT64_C(512), UINT64_C(1024));
}

static int on_register(sd_bus_message *m) {
        const char *id, *module, *prefix, *key, *value;
        g_autoptr(GString) object = g_string_new(OBJECT "/engine/");

        g_assert_cmpint(sd_bus_message_read(m, "sss", &id, &module, &prefix), >=, 0);
        if (strcmp(prefix, "taken") == 0)
                return sd_bus_reply_method_errorf(m, ERROR("PrefixInUse"), "docs has that prefix");
        /* The settings travel back in the object's path, for the test to see. */
        g_string_append(object, id);
        g_assert_cmpint(sd_bus_message_enter_container(m, 'a', "{ss}"), >=, 0);
        while (sd_bus_message_read(m, "{ss}", &key, &value) > 0)
                g_string_append_printf(object, "/%s/%s", key, value);
        return sd_bus_reply_method_return(m, "o", object->str);
}

static int on_refresh(sd_bus_message *m) {
        const char *path;
        int recursive;

        g_assert_cmpint(sd_bus_message_read(m, "sb", &path, &recursive), >=, 0);
        if (names(path, "bad"))
                return sd_bus_reply_method_errorf(m, ERROR("EngineFailed"), "it is broken");
        return sd_bus_reply_method_return(m, NULL);
}

static int on_login(sd_bus_message *m) {
        const char *id, *code;

        g_assert_cmpint(sd_bus_message_read(m, "s", &id), >=, 0);
        if (strcmp(id, "docs") != 0)
                return sd_bus_reply_method_errorf(m, ERROR("NotSupported"), "%s has no login", id);
        if (strcmp(sd_bus_message_get_member(m), "Login") == 0)
                return sd_bus_reply_method_return(m, "s", "https://example.net/?a=b");
        if (strcmp(sd_bus_message_get_member(m), "Logout") == 0)
                return sd_bus_reply_method_return(m, "s", "nobody was told");
        g_assert_cmpint(sd_bus_message_read(m, "s", &code), >=, 0);
        if (strcmp(code, "good-code") != 0)
                return sd_bus_reply_method_errorf(m, ERROR("LoginFailed"), "no such code");
        return sd_bus_reply_method_return(m, "s", "");
}

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const struct {
                const char *member;
                int (*function)(sd_bus_message *m);
        } table[] = {
                {"GetAll", on_get_all},          {"GetFileStatus", on_file_status},
                {"Hydrate", on_hydrate},         {"ListTransfers", on_list_transfers},
                {"RegisterEngine", on_register}, {"Refresh", on_refresh},
                {"Login", on_login},             {"FinishLogin", on_login},
                {"Logout", on_login},
        };
        const char *member = sd_bus_message_get_member(m);

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                if (strcmp(member, table[i].member) == 0)
                        return table[i].function(m);
        if (strcmp(member, "ListEngines") == 0)
                return sd_bus_reply_method_return(
                        m, "a(sssso)", 3, "docs", "httpfs", "docs", "ready", OBJECT "/engine/docs",
                        "gone", "httpfs", "gone", "ready", OBJECT "/engine/gone", "broken",
                        "httpfs", "broken", "failed", OBJECT "/engine/broken");
        if (strcmp(member, "UnregisterEngine") == 0)
                return sd_bus_reply_method_errorf(m, ERROR("NoSuchEngine"),
                                                  "there is no such engine");
        return 0;
}

static void serve(const char *address, const char *store, int ready) {
        fake.store = store;
        g_assert_cmpint(sd_event_new(&fake.event), >=, 0);
        g_assert_cmpint(sd_bus_new(&fake.bus), >=, 0);
        g_assert_cmpint(sd_bus_set_address(fake.bus, address), >=, 0);
        g_assert_cmpint(sd_bus_set_bus_client(fake.bus, true), >=, 0);
        g_assert_cmpint(sd_bus_start(fake.bus), >=, 0);
        g_assert_cmpint(sd_bus_add_fallback(fake.bus, NULL, OBJECT, on_call, NULL), >=, 0);
        g_assert_cmpint(sd_bus_attach_event(fake.bus, fake.event, 0), >=, 0);
        g_assert_cmpint(sd_bus_request_name(fake.bus, "org.cloudsync1", 0), >=, 0);
        g_assert_cmpint(write(ready, "x", 1), ==, 1);
        close(ready);
        sd_event_loop(fake.event);
        _exit(1);
}

static void die_with_parent(gpointer data) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void start_bus(struct fake *f) {
        g_autofree char *listen = g_strdup_printf("--address=unix:path=%s.bus", f->directory);
        const char *argv[] = {"dbus-daemon", "--session",         "--nofork", "--nopidfile",
                              listen,        "--print-address=1", NULL};
        g_autoptr(GError) error = NULL;
        char line[256];
        int out;

        g_spawn_async_with_pipes(NULL, (char **)argv, NULL,
                                 G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD |
                                         G_SPAWN_STDERR_TO_DEV_NULL,
                                 die_with_parent, NULL, &f->bus, NULL, &out, NULL, &error);
        g_assert_no_error(error);
        FILE *stream = fdopen(out, "r");
        g_assert_nonnull(fgets(line, sizeof line, stream));
        f->address = g_strchomp(g_strdup(line));
        fclose(stream);
}

void fake_start(struct fake *f) {
        int ready[2];
        char byte;

        f->directory = g_dir_make_tmp("cloudsync-ctl-XXXXXX", NULL);
        start_bus(f);
        g_assert_cmpint(pipe2(ready, O_CLOEXEC), ==, 0);
        f->service = fork();
        g_assert_cmpint(f->service, >=, 0);
        if (f->service == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                serve(f->address, f->directory, ready[1]);
        }
        close(ready[1]);
        g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
        close(ready[0]);
}

static void end_process(GPid *pid) {
        if (*pid > 0) {
                kill(*pid, SIGKILL);
                waitpid(*pid, NULL, 0);
        }
        *pid = 0;
}

void fake_stop_service(struct fake *f) {
        end_process(&f->service);
}

void fake_stop(struct fake *f) {
        g_autofree char *remove =
                g_strdup_printf("rm -rf '%s' '%s.bus'", f->directory, f->directory);

        end_process(&f->service);
        end_process(&f->bus);
        g_assert_cmpint(system(remove), ==, 0);
        g_free(f->directory);
        g_free(f->address);
}
