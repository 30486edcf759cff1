/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "bus-fake.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct Daemon {
        Config config;
};

struct Store {
        int nothing;
};

struct Engine {
        Registration *registration;
        enum engine_state state;
        char *detail;
};

struct waiting {
        daemon_done_fn done;
        void *userdata;
};

struct fake fake;
static Daemon the_daemon;
static Store the_store;

static void fake_engine_free(void *data) {
        Engine *engine = data;

        registration_free(engine->registration);
        g_free(engine->detail);
        g_free(engine);
}

void fake_start(const char *store_path) {
        memset(&fake, 0, sizeof(fake));
        fake.daemon = &the_daemon;
        fake.store_path = g_strdup(store_path);
        fake.root_fd = open(store_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        g_assert_cmpint(fake.root_fd, >=, 0);
        fake.engines = g_ptr_array_new_with_free_func(fake_engine_free);
        g_queue_init(&fake.waiting);
}

void fake_stop(void) {
        fake_release(-EIO, NULL);
        g_ptr_array_unref(fake.engines);
        g_free(fake.store_path);
        g_free(fake.login_text);
        (void)close(fake.root_fd);
}

void fake_release(int r, const char *name) {
        struct waiting *waiting;

        while ((waiting = g_queue_pop_head(&fake.waiting))) {
                g_auto(Failure) failure = FAILURE_INIT;

                if (name)
                        (void)failure_set(&failure, r, name, "The fake says so");
                waiting->done(waiting->userdata, r, r < 0 ? &failure : NULL);
                g_free(waiting);
        }
}

void fake_set_state(const char *id, enum engine_state state, const char *detail) {
        Engine *engine = daemon_engine(&the_daemon, id);

        engine->state = state;
        g_free(engine->detail);
        engine->detail = g_strdup(detail);
        bus_engine_changed(fake.bus, engine);
}

/* --- store.h --- */

int store_root(const Store *store) {
        return fake.root_fd;
}

const char *store_path(const Store *store) {
        return fake.store_path;
}

const char *store_filesystem(const Store *store) {
        return "ext4";
}

bool store_has_device(const Store *store) {
        return true;
}

bool store_has_hsmid(const Store *store) {
        return false;
}

int store_reopen(const Store *store, int fd, int flags) {
        char path[64];
        int r;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = open(path, flags);
        return r < 0 ? -errno : r;
}

/* --- engine.h --- */

void engine_info(const Engine *engine, struct engine_info *ret) {
        static const char *const names[] = {"starting", "ready", "failed", "stopped"};

        *ret = (struct engine_info){
                .registration = engine->registration,
                .state = engine->state,
                .state_name = names[engine->state],
                .detail = engine->detail,
                .pid = 4711,
                .directories_listed = 1,
                .directories_pending = 2,
                .entries_skipped = 3,
                .bytes_fetched = 4,
                .fetch_errors = 5,
                .host_restarts = 6,
                .transfers_active = 7,
        };
}

const char *engine_id(const Engine *engine) {
        return engine->registration->id;
}

/* --- daemon.h --- */

const Config *daemon_config(const Daemon *daemon) {
        return &daemon->config;
}

bool daemon_is_stored(const Daemon *daemon) {
        return false;
}

const Store *daemon_store(const Daemon *daemon) {
        return &the_store;
}

static gint compare_engines(gconstpointer a, gconstpointer b) {
        return strcmp(engine_id(*(Engine *const *)a), engine_id(*(Engine *const *)b));
}

int daemon_register(Daemon *daemon, const Registration *registration, Engine **ret,
                    Failure *failure) {
        Engine *engine;
        GHashTableIter iter;
        gpointer key, value;

        if (daemon_engine(daemon, registration->id))
                return failure_set(failure, -EEXIST, "IdInUse", "The id is in use");
        engine = g_new0(Engine, 1);
        engine->registration =
                registration_new(registration->id, registration->module, registration->prefix);
        engine->registration->hydration = registration->hydration;
        engine->detail = g_strdup("");
        g_hash_table_iter_init(&iter, registration->settings);
        while (g_hash_table_iter_next(&iter, &key, &value))
                g_hash_table_insert(engine->registration->settings, g_strdup(key), g_strdup(value));
        g_ptr_array_add(fake.engines, engine);
        g_ptr_array_sort(fake.engines, compare_engines);
        bus_engine_added(fake.bus, engine);
        *ret = engine;
        return 0;
}

int daemon_unregister(Daemon *daemon, const char *id, Failure *failure) {
        Engine *engine = daemon_engine(daemon, id);

        if (!engine)
                return failure_set(failure, -ENOENT, "NoSuchEngine", "There is no such engine");
        g_ptr_array_remove(fake.engines, engine);
        bus_engine_removed(fake.bus, id);
        return 0;
}

int daemon_attach(Daemon *daemon, const char *id, uint32_t abi, uid_t uid, pid_t pid,
                  int *ret_channel, Failure *failure) {
        int pair[2];

        fake.attach_uid = uid;
        fake.attach_pid = pid;
        if (abi != 1)
                return failure_set(failure, -EPROTO, "AbiMismatch", "The ABI is not 1");
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
        g_assert_cmpint(send(pair[0], "hello", 5, 0), ==, 5);
        (void)close(pair[0]);
        *ret_channel = pair[1];
        return 0;
}

Engine *daemon_engine(const Daemon *daemon, const char *id) {
        for (guint i = 0; i < fake.engines->len; i++)
                if (strcmp(engine_id(fake.engines->pdata[i]), id) == 0)
                        return fake.engines->pdata[i];
        return NULL;
}

GList *daemon_engines(const Daemon *daemon) {
        GList *list = NULL;

        for (guint i = fake.engines->len; i > 0; i--)
                list = g_list_prepend(list, fake.engines->pdata[i - 1]);
        return list;
}

int daemon_file_status(Daemon *daemon, int fd, struct file_status *ret) {
        struct stat st;

        g_assert_cmpint(fstat(fd, &st), ==, 0);
        *ret = (struct file_status){.kind = S_ISDIR(st.st_mode) ? 'd' : 'f',
                                    .state = S_ISDIR(st.st_mode) ? "listed" : "placeholder",
                                    .engine = "web",
                                    .version = "\"v\xff\"",
                                    .size = (uint64_t)st.st_size,
                                    .modified = true};
        return 0;
}

static gboolean end_one(void *data) {
        struct waiting *waiting = data;

        waiting->done(waiting->userdata, 0, NULL);
        g_free(waiting);
        return G_SOURCE_REMOVE;
}

static void later(daemon_done_fn done, void *userdata) {
        struct waiting *waiting = g_new0(struct waiting, 1);

        waiting->done = done;
        waiting->userdata = userdata;
        if (fake.hold)
                g_queue_push_tail(&fake.waiting, waiting);
        else
                g_idle_add(end_one, waiting);
}

struct login {
        daemon_login_fn done;
        void *userdata;
        int r;
};

static gboolean end_login(void *data) {
        struct login *login = data;
        g_auto(Failure) failure = FAILURE_INIT;

        if (login->r < 0)
                (void)failure_set(&failure, login->r, "LoginFailed", "The code is wrong");
        login->done(login->userdata, login->r, "said \xff", login->r < 0 ? &failure : NULL);
        g_free(login);
        return G_SOURCE_REMOVE;
}

int daemon_login(Daemon *daemon, const char *id, enum cs_login_step step, const char *text,
                 daemon_login_fn done, void *userdata, Failure *failure) {
        struct login *login;

        if (!daemon_engine(daemon, id))
                return failure_set(failure, -ENOENT, "NoSuchEngine", "There is no such engine");
        fake.login_step = step;
        g_free(fake.login_text);
        fake.login_text = g_strdup(text);
        login = g_new(struct login, 1);
        *login = (struct login){done, userdata, strcmp(text, "wrong") == 0 ? -EACCES : 0};
        g_idle_add(end_login, login);
        return 0;
}

void daemon_hydrate(Daemon *daemon, int fd, uid_t uid, daemon_done_fn done, void *userdata) {
        char byte;

        g_assert_cmpint(read(fd, &byte, 1), >=, 0); /* it is open for reading */
        fake.hydrations++;
        fake.hydrate_uid = uid;
        later(done, userdata);
}

void daemon_refresh(Daemon *daemon, int fd, bool recursive, daemon_done_fn done, void *userdata) {
        fake.refreshes++;
        fake.recursive = recursive;
        later(done, userdata);
}

void daemon_transfers(Daemon *daemon, daemon_transfer_fn each, void *userdata) {
        const struct daemon_transfer transfers[] = {
                {1, "web", "of-root", 10, 100, 0},
                {2, "web", "of-nobody", 20, 200, 65534},
                {3, "web", "of-unknown\xff", 30, 300, (uid_t)-1},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(transfers); i++)
                each(userdata, &transfers[i]);
}

void daemon_counters(const Daemon *daemon, struct daemon_counters *ret) {
        *ret = (struct daemon_counters){1, 2, 3, 4, 5};
}
