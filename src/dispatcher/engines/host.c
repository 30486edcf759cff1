/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/engines/host.h"

#include "shared/log.h"

#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

/* The number under which the host finds its end of the channel. */
#define HOST_CHANNEL 3

struct Host {
        pid_t pid;
        guint watch;
        host_ended_fn ended;
        void *userdata;
};

static void host_reaped(GPid pid, int status, gpointer userdata) {
        Host *host = userdata;

        host->watch = 0;
        host->pid = 0;
        host->ended(host->userdata, status);
}

static void host_reaped_late(GPid pid, int status, gpointer userdata) {
        g_spawn_close_pid(pid);
}

/* Only what a program needs to find its libraries, name servers and proxies, and
 * what sanitizer builds are steered by. */
static char **host_environment(void) {
        static const char *const passed[] = {
                "PATH", "LANG", "LC_ALL", "TZ", "JOURNAL_STREAM", "http_proxy", "https_proxy",
                "HTTPS_PROXY", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "ASAN_OPTIONS",
                "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS",
        };
        char **environment = g_new0(char *, 1);

        for (size_t i = 0; i < G_N_ELEMENTS(passed); i++) {
                const char *value = g_getenv(passed[i]);
                if (value)
                        environment = g_environ_setenv(environment, passed[i], value, TRUE);
        }
        return environment;
}

int host_spawn(const struct host_options *o, host_ended_fn ended, void *userdata, Host **ret) {
        g_auto(GStrv) environment = host_environment();
        g_autoptr(GError) error = NULL;
        g_autofree char *level = g_strdup_printf("%d", o->log_level);
        const char *argv[24];
        unsigned n = 0;
        GPid pid;
        Host *host;

        argv[n++] = o->path;
        argv[n++] = "--channel";
        argv[n++] = G_STRINGIFY(HOST_CHANNEL);
        argv[n++] = "--bus"; /* for hosts that want to say something */
        argv[n++] = o->bus_address;
        argv[n++] = "--id";
        argv[n++] = o->id;
        argv[n++] = "--module-dir";
        argv[n++] = o->module_dir;
        argv[n++] = "--user";
        argv[n++] = o->user;
        argv[n++] = "--hide";
        argv[n++] = o->store_path;
        argv[n++] = "--log-level";
        argv[n++] = level;
        if (o->state_dir) {
                argv[n++] = "--state-dir";
                argv[n++] = o->state_dir;
        }
        argv[n] = NULL;

        if (!g_spawn_async_with_pipes_and_fds(
                    "/", argv, (const char *const *)environment,
                    G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, -1, -1, -1,
                    &o->channel, (const int[]){HOST_CHANNEL}, 1, &pid, NULL, NULL, NULL, &error)) {
                log_about(LOG_ERR, o->id, NULL, "cannot start %s: %s", o->path, error->message);
                return -EIO;
        }
        host = g_new(Host, 1);
        *host = (Host){.pid = pid, .ended = ended, .userdata = userdata};
        host->watch = g_child_watch_add(pid, host_reaped, host);
        *ret = host;
        return 0;
}

pid_t host_pid(const Host *host) {
        return host ? host->pid : 0;
}

void host_kill(Host *host) {
        if (host && host->pid > 0)
                (void)kill(host->pid, SIGKILL);
}

void host_free(Host *host) {
        if (!host)
                return;
        if (host->watch) {
                g_source_remove(host->watch);
                host_kill(host);
                g_child_watch_add(host->pid, host_reaped_late, NULL);
        }
        g_free(host);
}
