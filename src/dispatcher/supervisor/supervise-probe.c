/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/supervisor/supervise-internal.h"

#include "dispatcher/config.h"
#include "dispatcher/events/journal.h"
#include "dispatcher/supervisor/service-job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A program must be able to say that it runs within this, or it does not. */
#define PROBE_SECONDS 10
#define ARGUMENTS_MAX 64

/* A child with a table of its own: what it closes and opens is nothing to the worker's. */
static pid_t fork_clean(void) {
        pid_t pid = fork();
        sigset_t none;

        if (pid != 0)
                return pid;
        (void)close_range(3, ~0u, 0);
        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        return 0;
}

static bool succeeded(pid_t pid) {
        int status;

        if (pid < 0)
                return false;
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return false;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* "PATH\nDEVICE" of what is attached, for --check. */
static void tell_store(const Journal *journal) {
        static char text[2 * PATH_MAX + 2];
        struct journal_store store;

        (void)unsetenv(CONFIG_CHECK_STORE);
        if (journal && journal_store(journal, &store)) {
                (void)snprintf(text, sizeof text, "%s\n%s", store.path, store.device);
                (void)setenv(CONFIG_CHECK_STORE, text, 1);
        }
}

static _Noreturn void execute_check(const char *program, int argc, char **argv) {
        char *arguments[ARGUMENTS_MAX + 2];
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        int n = 0;

        if (null >= 0) {
                (void)dup2(null, STDIN_FILENO);
                (void)dup2(null, STDOUT_FILENO);
        }
        for (; n < argc && n < ARGUMENTS_MAX; n++)
                arguments[n] = argv[n];
        arguments[n++] = (char *)"--check";
        arguments[n] = NULL;
        (void)unsetenv("NOTIFY_SOCKET"); /* whatever it is, it has nothing to say to the service manager */
        (void)alarm(PROBE_SECONDS);
        execv(program, arguments);
        _exit(127);
}

bool supervise_program_runs(const char *program, int argc, char **argv, const Journal *journal) {
        tell_store(journal);
        pid_t pid = fork_clean();
        if (pid == 0)
                execute_check(program, argc, argv);
        return succeeded(pid);
}

bool supervise_start_follows(void) {
        pid_t pid = fork_clean();

        if (pid == 0) {
                struct service_job job;
                bool follows = service_job_ask(&job) >= 0 && job.type[0] && service_job_is_followed(&job) &&
                               job.stored >= 2;
                _exit(follows ? 0 : 1);
        }
        return succeeded(pid);
}
