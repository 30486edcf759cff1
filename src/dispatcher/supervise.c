/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/supervise.h"

#include "dispatcher/fan-group.h"
#include "dispatcher/journal.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define NAME_GROUP "cloudsync-group"
#define NAME_JOURNAL "cloudsync-journal"
/* A worker that dies at once is not started again faster than this, in the end. */
#define WAIT_FIRST_MS 1u
#define WAIT_LIMIT_MS 2000u
#define GOOD_RUN_S 10

static volatile sig_atomic_t worker_pid;

static void pass_on(int number) {
        if (worker_pid > 0)
                (void)kill(worker_pid, number);
}

/* ── the fd store ───────────────────────────────────────────────────────── */

/* What the service manager kept for us, if it is both and whole. */
static bool take_back(struct supervised *s) {
        char **names = NULL;
        int n = sd_listen_fds_with_names(0, &names), group = -1, journal = -1;
        Journal *map = NULL;

        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;
                if (names && strcmp(names[i], NAME_GROUP) == 0 && group < 0)
                        group = fd;
                else if (names && strcmp(names[i], NAME_JOURNAL) == 0 && journal < 0)
                        journal = fd;
                else
                        fd_close(fd);
        }
        for (int i = 0; i < n; i++)
                free(names[i]);
        free(names);
        if (group < 0 || journal < 0 || journal_open(journal, &map) < 0) {
                fd_close(group);
                fd_close(journal);
                return false;
        }
        /* Out of the way of the numbers of events. */
        int above = journal_end_of_numbers(map) + 8;
        s->group = fcntl(group, F_DUPFD_CLOEXEC, above);
        s->journal = fcntl(journal, F_DUPFD_CLOEXEC, above);
        journal_close(map);
        fd_close(group);
        fd_close(journal);
        return s->group >= 0 && s->journal >= 0;
}

static void give(const struct supervised *s) {
        const int group = s->group, journal = s->journal;

        (void)sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=" NAME_GROUP, &group, 1);
        (void)sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=" NAME_JOURNAL, &journal, 1);
}

void supervised_forget(void) {
        (void)sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" NAME_GROUP);
        (void)sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" NAME_JOURNAL);
}

/* ── the worker's side ──────────────────────────────────────────────────── */

int supervised_clean(const struct supervised *given) {
        autoclose int null = -1;
        Journal *journal;
        int end, r;

        if (given->group < 0 || !given->takeover)
                return 0;
        r = journal_open(given->journal, &journal);
        if (r < 0)
                return r;
        journal_recover(journal);
        end = journal_end_of_numbers(journal);

        DIR *dir = opendir("/proc/self/fd");
        if (dir) {
                const struct dirent *d;
                while ((d = readdir(dir)) != NULL) {
                        int fd = atoi(d->d_name);
                        if (fd > 2 && fd != dirfd(dir) && fd != given->group && fd != given->journal &&
                            !journal_has(journal, fd))
                                (void)close(fd);
                }
                closedir(dir);
        }
        /* Numbers whose descriptors are lost: held by something until the files are open again. */
        null = open("/dev/null", O_PATH | O_CLOEXEC);
        for (int fd = 3; fd < end && null >= 0; fd++)
                if (journal_has(journal, fd) && fcntl(fd, F_GETFD) < 0)
                        (void)dup3(null, fd, O_CLOEXEC);
        /* `null` itself may sit on such a number: then it stays. */
        if (null >= 0 && journal_has(journal, null))
                (void)fd_steal(&null);
        journal_close(journal);
        return 0;
}

/* ── the supervisor ─────────────────────────────────────────────────────── */

/* Like fork(), but for the shared table of descriptors. glibc is not told: the process has one
 * thread, and what glibc remembers of its thread id is not used by anything here. */
static pid_t clone_worker(void) {
        return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
}

static void set_watchdog_pid(void) {
        char text[24];

        if (!getenv("WATCHDOG_PID"))
                return;
        (void)snprintf(text, sizeof text, "%d", (int)getpid());
        (void)setenv("WATCHDOG_PID", text, 1);
}

static int wait_for(pid_t pid) {
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -1;
        return status;
}

int supervise(int argc, char **argv, supervised_main_fn worker) {
        struct supervised s = {.group = -1, .journal = -1};
        struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
        unsigned wait_ms = 0;
        sigset_t signals;
        pid_t self = getpid();

        s.takeover = take_back(&s);
        if (!s.takeover) {
                s.group = fan_group_create();
                s.journal = s.group < 0 ? -1 : journal_create();
                if (s.group >= 0 && s.journal < 0) {
                        int r = s.journal;
                        fd_close(s.group);
                        s.group = r;
                }
                if (s.group >= 0)
                        give(&s);
        }

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        (void)sigaction(SIGTERM, &action, NULL);
        (void)sigaction(SIGINT, &action, NULL);
        for (;;) {
                struct timespec began, ended;
                int status;
                pid_t pid;

                (void)sigprocmask(SIG_BLOCK, &signals, NULL);
                (void)clock_gettime(CLOCK_MONOTONIC, &began);
                pid = clone_worker();
                if (pid == 0) {
                        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                        if (getppid() != self)
                                _exit(1);
                        set_watchdog_pid();
                        exit(worker(argc, argv, &s));
                }
                if (pid < 0) {
                        log_error("cannot start the worker: %s", strerror(errno));
                        return 1;
                }
                worker_pid = pid;
                (void)sigprocmask(SIG_UNBLOCK, &signals, NULL);
                status = wait_for(pid);
                worker_pid = 0;
                if (!WIFSIGNALED(status))
                        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;

                (void)clock_gettime(CLOCK_MONOTONIC, &ended);
                log_error("the worker was killed by signal %d (%s); what waits is taken over by a new one",
                          WTERMSIG(status), strsignal(WTERMSIG(status)));
                if (s.group < 0)
                        return 1;
                wait_ms = ended.tv_sec - began.tv_sec >= GOOD_RUN_S || wait_ms == 0
                                  ? WAIT_FIRST_MS
                                  : wait_ms * 2 > WAIT_LIMIT_MS ? WAIT_LIMIT_MS : wait_ms * 2;
                (void)nanosleep(&(struct timespec){.tv_sec = wait_ms / 1000,
                                                   .tv_nsec = (long)(wait_ms % 1000) * 1000000},
                                NULL);
                s.takeover = true;
        }
}
