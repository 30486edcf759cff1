/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * cloudsyncd — owns the pre-content mark of a store and routes its events to engines
 *
 * See docs/architecture.md for the whole, daemon.c for the order of start and stop, and
 * files.h for the model that keeps wrong bytes from readers.
 */

#include "dispatcher/daemon-main.h"
#include "dispatcher/notify.h"
#include "dispatcher/supervisor/supervise.h"
#include "dispatcher/work.h"
#include "shared/log.h"

#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

static gboolean on_signal(gpointer userdata) {
        daemon_stop(userdata);
        return G_SOURCE_CONTINUE;
}

static int worker(int argc, char **argv, const struct supervised *given) {
        g_auto(Failure) failure = FAILURE_INIT;
        g_autoptr(Config) config = NULL;
        g_autoptr(GMainLoop) loop = NULL;
        Daemon *daemon = NULL;
        bool exit_now = false;
        sigset_t signals;
        int r;

        supervised_clean(given);
        if (given->died_of)
                log_error("the worker was killed by signal %d (%s): going on with what waits", given->died_of,
                          g_strsignal(given->died_of));
        r = config_load(argc, argv, &config, &exit_now, &failure);
        if (r < 0) {
                log_error("%s", failure.text);
                return 2;
        }
        if (exit_now)
                return 0;
        log_set_level(config->log_level);

        /* A broken lease would send SIGIO, a closed channel SIGPIPE: both are told otherwise. */
        (void)signal(SIGIO, SIG_IGN);
        (void)signal(SIGPIPE, SIG_IGN);
        umask(0); /* modes are the remote's; whatever else is made says its own */

        loop = g_main_loop_new(NULL, FALSE);
        work_start();
        r = daemon_new(config, loop, given, &daemon, &failure);
        if (r < 0) {
                log_error("%s", failure.text);
                daemon_free(daemon);
                return 1;
        }
        g_unix_signal_add(SIGTERM, on_signal, daemon);
        g_unix_signal_add(SIGINT, on_signal, daemon);
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        (void)pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
        g_main_loop_run(loop);
        r = daemon_free(daemon);
        notify_flush();
        return r;
}

/* --check, --help, --version: neither a group nor a second process is needed. False: it is to run. */
static bool only_answers(int argc, char **argv, int *ret_status) {
        g_auto(Failure) failure = FAILURE_INIT;
        g_autoptr(Config) config = NULL;
        bool exit_now = false;
        int r;

        r = config_load(argc, argv, &config, &exit_now, &failure);
        if (r >= 0 && !exit_now)
                return false;
        if (r < 0)
                log_error("%s", failure.text);
        *ret_status = r < 0 ? 2 : 0;
        return true;
}

static bool is_question(const char *argument) {
        return strcmp(argument, "--check") == 0 || strcmp(argument, "--help") == 0 ||
               strcmp(argument, "-h") == 0 || strcmp(argument, "--version") == 0;
}

int main(int argc, char **argv) {
        int status;

        log_open("cloudsyncd", LOG_INFO);
        for (int i = 1; i < argc; i++)
                if (is_question(argv[i]) && only_answers(argc, argv, &status))
                        return status;
        return supervise(argc, argv, worker);
}
