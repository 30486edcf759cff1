/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/supervisor/supervise-internal.h"

#include "dispatcher/events/fan-group.h"
#include "dispatcher/events/journal.h"
#include "dispatcher/store/superblock.h"
#include "shared/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define NAME_GROUP "cloudsync-group"
#define NAME_JOURNAL "cloudsync-journal"
#define HANDOVER "CLOUDSYNC_HANDOVER"
/* A worker that dies at once is not started again faster than this, in the end. One that came
 * to serve is replaced at once, however often: readers wait. */
#define WAIT_FIRST_MS 1u
#define WAIT_LIMIT_MS 1000u
#define WAIT_LIMIT_KILLED_MS 20u /* by SIGKILL, which is no fault of the worker's */
#define GOOD_RUN_MS 100
/* A start that fails, of a service that is started again and again. */
#define FAILED_START_MS 1000u
/* A group that waits for memory for its journal. */
#define JOURNAL_RETRY_MS 100
#define JOURNAL_TELL_EVERY 100 /* tries */

struct supervisor {
        struct supervised s;
        char program[PATH_MAX]; /* this program's file, as it was called at the start */
        sigset_t signals;       /* blocked, and waited for */
        int argc;
        char **argv;
        int ending;             /* SIGTERM or SIGINT came */
        bool leaving;           /* SIGTERM came, and a start follows it */
        bool replace;           /* SIGHUP came */
        unsigned wait_ms;
};

void supervise_say(int level, const char *format, ...) {
        char text[512];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(text, sizeof text, format, args);
        va_end(args);
        if (getenv("JOURNAL_STREAM")) /* its priority, as sd-daemon(3) has it */
                (void)dprintf(STDERR_FILENO, "<%d>%s\n", level, text);
        else
                (void)dprintf(STDERR_FILENO, "cloudsyncd[%d]: %s%s\n", (int)getpid(),
                              level <= LOG_ERR       ? "error: "
                              : level <= LOG_WARNING ? "warning: "
                                                     : "",
                              text);
}

/* ── numbers ────────────────────────────────────────────────────────────── */

/* Each waiting access holds a descriptor, each busy file another; none above what the journal
 * has entries for. */
static void raise_limits(void) {
        struct rlimit limit = {.rlim_cur = JOURNAL_ENTRIES, .rlim_max = JOURNAL_ENTRIES};

        if (setrlimit(RLIMIT_NOFILE, &limit) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max < JOURNAL_ENTRIES ? limit.rlim_max : JOURNAL_ENTRIES;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
}

void supervise_close_unknown(const struct supervised *s, const Journal *journal) {
        DIR *dir = opendir("/proc/self/fd");
        const struct dirent *d;

        if (!dir)
                return;
        while ((d = readdir(dir)) != NULL) {
                int fd = atoi(d->d_name);
                if (fd > 2 && fd != dirfd(dir) && fd != s->group && fd != s->journal && fd != s->watch &&
                    !(journal && journal_has(journal, fd)))
                        (void)close(fd);
        }
        closedir(dir);
}

/* Numbers whose descriptors are lost: held by something until the files are open again. */
static void reserve_numbers(const Journal *journal) {
        int end = journal_end_of_numbers(journal);
        autoclose int null = open("/dev/null", O_PATH | O_CLOEXEC);

        for (int fd = 3; fd < end && null >= 0; fd++)
                if (journal_has(journal, fd) && fcntl(fd, F_GETFD) < 0)
                        (void)dup3(null, fd, O_CLOEXEC);
        /* `null` itself may sit on such a number: then it stays. */
        if (null >= 0 && journal_has(journal, null))
                (void)fd_steal(&null);
}

/* Over execve(2), or not. */
static void set_kept(const struct supervised *s, bool kept) {
        const int flags = kept ? 0 : FD_CLOEXEC;
        int end = journal_end_of_numbers(s->map);

        for (int fd = 3; fd < end; fd++)
                if (journal_has(s->map, fd))
                        (void)fcntl(fd, F_SETFD, flags);
        (void)fcntl(s->group, F_SETFD, flags);
        (void)fcntl(s->journal, F_SETFD, flags);
}

void supervised_clean(const struct supervised *given) {
        if (given->group < 0 || !given->takeover)
                return;
        /* What the last worker left, or reserve_numbers() at the start: each number is held. */
        journal_recover(given->map, true);
        supervise_close_unknown(given, given->map);
}

/* ── the fd store ───────────────────────────────────────────────────────── */

static void store_forget(const char *name) {
        (void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

static bool store_give(int fd, const char *name) {
        char text[64];

        (void)snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s", name);
        return sd_pid_notify_with_fds(0, 0, text, &fd, 1) > 0;
}

/* Nothing is to be handed over. */
static void forget_all(void) {
        store_forget(NAME_GROUP);
        store_forget(NAME_JOURNAL);
}

/* ── the start ──────────────────────────────────────────────────────────── */

/* What the service manager kept for us. */
static void take_listen_fds(struct supervised *s) {
        char **names = NULL;
        int n = sd_listen_fds_with_names(1, &names);

        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;
                if (names && strcmp(names[i], NAME_GROUP) == 0 && s->group < 0)
                        s->group = fd;
                else if (names && strcmp(names[i], NAME_JOURNAL) == 0 && s->journal < 0)
                        s->journal = fd;
                else
                        fd_close(fd);
        }
        for (int i = 0; i < n; i++)
                free(names[i]);
        free(names);
}

/* What this process had before it executed its file again. */
static bool take_handover(struct supervised *s) {
        const char *text = getenv(HANDOVER);
        int pid, g, j, stored;
        bool ours;

        ours = text && sscanf(text, "%d:%d:%d:%d", &pid, &g, &j, &stored) == 4 && pid == (int)getpid() &&
               g > 2 && j > 2 && fcntl(g, F_GETFD) >= 0 && fcntl(j, F_GETFD) >= 0;
        (void)unsetenv(HANDOVER);
        if (!ours)
                return false;
        s->group = g;
        s->journal = j;
        s->stored = stored != 0;
        s->replaced = true;
        return true;
}

static int move_above(int fd, int number) {
        int moved = fcntl(fd, F_DUPFD_CLOEXEC, number);

        if (moved < 0)
                return fd;
        fd_close(fd);
        return moved;
}

static int open_journal(struct supervised *s) {
        return journal_open(s->journal, &s->map);
}

static int create_journal(struct supervised *s) {
        int r = s->journal = journal_create();

        if (r >= 0)
                r = open_journal(s);
        if (r < 0)
                s->journal = fd_close(s->journal);
        return r;
}

/* For a group that must not be closed: want of memory takes as long as it takes. */
static int at_last(int (*get_journal)(struct supervised *), struct supervised *s) {
        const struct timespec pause = {.tv_nsec = JOURNAL_RETRY_MS * 1000000};

        for (unsigned tries = 0;; tries++) {
                int r = get_journal(s);
                if (r >= 0 || r == -EBADMSG || r == -EBADF)
                        return r;
                if (tries % JOURNAL_TELL_EVERY == 0)
                        supervise_say(LOG_ERR, "no journal can be made (%s): what waits goes on waiting, and it is tried "
                                               "again", strerror(-r));
                (void)nanosleep(&pause, NULL);
        }
}

/* A group that lived on without its journal, or with one that cannot be read: nobody can tell
 * what waits in it, and it must not be closed with that. Denied, and gone on with. */
static void adopt_blind(struct supervised *s) {
        fd_close(s->journal);
        s->group = move_above(s->group, 3);
        (void)at_last(create_journal, s);
        journal_set_serving(s->map, true); /* perhaps it is: it must not be let go */
        fan_group_deny_numbers(s->group, 0, (int)JOURNAL_ENTRIES);
        supervise_say(LOG_WARNING, "the journal of a former cloudsyncd cannot be read: accesses that waited over its end "
                    "were denied");
        if (s->stored) {
                store_forget(NAME_JOURNAL);
                s->stored = store_give(s->journal, NAME_JOURNAL);
        }
}

/* The group and the journal of an earlier life, if there was one. Nothing else is open yet. */
static bool take_back(struct supervised *s) {
        bool open = take_handover(s);

        if (!open) {
                take_listen_fds(s);
                s->stored = s->group >= 0;
        }
        if (s->group < 0) {
                s->journal = fd_close(s->journal);
                return false;
        }
        if (at_last(open_journal, s) < 0) {
                adopt_blind(s);
                return true;
        }
        journal_recover(s->map, open);
        if (open)
                set_kept(s, false);
        else {
                /* Out of the way of the numbers of events. */
                int above = journal_end_of_numbers(s->map) + 8;
                if (above > (int)JOURNAL_ENTRIES - 8)
                        above = 3;
                s->group = move_above(s->group, above);
                s->journal = move_above(s->journal, above);
                reserve_numbers(s->map);
        }
        return true;
}

static void begin(struct supervised *s) {
        int r;

        s->takeover = take_back(s);
        if (!s->takeover) {
                s->group = fan_group_create();
                r = s->group < 0 ? s->group : create_journal(s);
                if (s->group >= 0 && r < 0) {
                        fd_close(s->group);
                        s->group = r;
                }
                if (s->group >= 0) {
                        bool both = store_give(s->group, NAME_GROUP);
                        s->stored = store_give(s->journal, NAME_JOURNAL) && both;
                }
        }
        s->watch = superblock_reserve();
}

/* ── SIGHUP ─────────────────────────────────────────────────────────────── */

/* The worker is dead. Returns only if it cannot be done. */
static void replace_program(struct supervisor *v) {
        char text[64];

        journal_recover(v->s.map, true);
        supervise_close_unknown(&v->s, v->s.map);
        set_kept(&v->s, true);
        (void)snprintf(text, sizeof text, "%d:%d:%d:%d", (int)getpid(), v->s.group, v->s.journal,
                       v->s.stored);
        (void)setenv(HANDOVER, text, 1);
        /* The mask is kept over execve(2): what comes now is seen by the new program. */
        execv(v->program, v->argv);
        (void)unsetenv(HANDOVER);
        set_kept(&v->s, false);
}

/* ── the supervisor ─────────────────────────────────────────────────────── */

/* Like fork(), but for the shared table of descriptors. glibc is not told: the process has one
 * thread, and what glibc remembers of its thread id is not used by anything here. */
static pid_t clone_worker(void) {
        return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
}

/* In the worker: the watchdog is fed by it. WATCHDOG_PID= names the supervisor; without it, whoever
 * has WATCHDOG_USEC= is meant. (The worker's pid there would not do: libsystemd remembers a process's
 * pid once it has asked, as sd_listen_fds() does in the supervisor, and clone_worker() does not
 * make it forget.) */
static void take_watchdog(void) {
        (void)unsetenv("WATCHDOG_PID");
}

static void worker_signals(void) {
        sigset_t mask;

        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGINT);
        (void)signal(SIGHUP, SIG_IGN); /* the supervisor's business */
        (void)sigprocmask(SIG_SETMASK, &mask, NULL);
}

static bool still_serving(const struct supervisor *v) {
        return v->s.group >= 0 && journal_is_serving(v->s.map);
}

static bool runs_as_service(void) {
        return getenv("INVOCATION_ID") && getenv("NOTIFY_SOCKET");
}

/* The first half of a restart, whose second half can take over? */
static bool may_leave(const struct supervisor *v) {
        if (!v->s.stored || !runs_as_service() || !still_serving(v) || !supervise_start_follows())
                return false;
        if (supervise_program_runs(v->program, v->argc, v->argv, v->s.map))
                return true;
        supervise_say(LOG_ERR, "%s cannot take over: this restart is a full stop", v->program);
        return false;
}

/* `pid`: the worker, or 0 when there is none. */
static void take_signal(struct supervisor *v, int number, pid_t pid) {
        if (v->ending || v->leaving)
                number = number == SIGHUP ? 0 : number;
        else if (number == SIGTERM)
                v->leaving = may_leave(v);
        if (v->leaving)
                number = SIGKILL;
        else if (number == SIGTERM || number == SIGINT)
                v->ending = number;
        else if (number == SIGHUP) {
                v->replace = pid == 0 || supervise_program_runs(v->program, v->argc, v->argv, v->s.map);
                if (!v->replace)
                        supervise_say(LOG_ERR, "%s does not run: it is not replaced", v->program);
                number = v->replace ? SIGKILL : 0;
        } else
                return;
        if (pid > 0 && number)
                (void)kill(pid, number);
}

/* Until the worker has ended; its status. Signals that come meanwhile are passed on. */
static int wait_for(struct supervisor *v, pid_t pid) {
        int status;

        if (v->ending)
                (void)kill(pid, v->ending);
        for (;;) {
                pid_t r = waitpid(pid, &status, WNOHANG);
                if (r == pid)
                        return status;
                if (r < 0 && errno != EINTR)
                        return W_EXITCODE(1, 0);
                take_signal(v, sigwaitinfo(&v->signals, NULL), pid);
        }
}

/* Between two workers: not faster than they can live. Signals cut it short. */
static void pause_after(struct supervisor *v, const struct timespec *began) {
        const unsigned limit_ms = v->s.died_of == SIGKILL ? WAIT_LIMIT_KILLED_MS : WAIT_LIMIT_MS;
        struct timespec now, wait;
        int number;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - began->tv_sec) * 1000 + (now.tv_nsec - began->tv_nsec) / 1000000 >= GOOD_RUN_MS ||
            v->wait_ms == 0)
                v->wait_ms = WAIT_FIRST_MS;
        else
                v->wait_ms = v->wait_ms * 2 > limit_ms ? limit_ms : v->wait_ms * 2;
        wait = (struct timespec){.tv_sec = v->wait_ms / 1000, .tv_nsec = (long)(v->wait_ms % 1000) * 1000000};
        do
                number = sigtimedwait(&v->signals, NULL, &wait);
        while (number == SIGCHLD);
        take_signal(v, number, 0);
}

/* A start that failed, with nothing left behind. The service manager tries again at once, for ever: not
 * faster than this. */
static int end_failed(const struct supervisor *v, int status) {
        struct timespec wait = {.tv_sec = FAILED_START_MS / 1000};

        forget_all(); /* there is nothing to take over */
        if (status != 0 && !v->ending && runs_as_service())
                while (sigtimedwait(&v->signals, NULL, &wait) == SIGCHLD)
                        ;
        return status;
}

/* To the next start, which follows: everything stays as it is, in the fd store. */
static int leave(const struct supervisor *v) {
        journal_recover(v->s.map, true); /* while the descriptors of what waits are open */
        supervise_say(LOG_NOTICE, "left to the next start: what waits goes on waiting for it");
        return 0;
}

static int end_without_worker(const struct supervisor *v) {
        if (supervise_end(&v->s))
                forget_all();
        return 1;
}

/* One worker after the other; returns the exit status. */
static int run_workers(struct supervisor *v, supervised_main_fn worker) {
        const pid_t self = getpid();

        for (;;) {
                struct timespec began;
                int status;
                pid_t pid;

                (void)clock_gettime(CLOCK_MONOTONIC, &began);
                pid = clone_worker();
                if (pid == 0) {
                        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                        if (getppid() != self)
                                _exit(1);
                        worker_signals();
                        take_watchdog();
                        exit(worker(v->argc, v->argv, &v->s));
                }
                if (pid < 0) { /* out of memory or processes: that may pass, and readers wait */
                        v->s.died_of = 0;
                        if (v->ending)
                                return end_without_worker(v);
                        pause_after(v, &began);
                        if (v->leaving)
                                return leave(v);
                        continue;
                }
                status = wait_for(v, pid);
                if (WIFEXITED(status) && !still_serving(v)) {
                        supervise_outwait(&v->s);
                        return end_failed(v, WEXITSTATUS(status));
                }
                if (v->leaving)
                        return leave(v);
                if (v->s.group < 0)
                        return 1;
                if (v->ending && (WIFEXITED(status) || journal_is_stopping(v->s.map)))
                        return end_without_worker(v);
                v->s.takeover = true;
                v->s.died_of = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
                v->s.replaced = false;
                if (!v->replace)
                        pause_after(v, &began);
                if (v->leaving)
                        return leave(v);
                if (v->replace) {
                        v->replace = false;
                        replace_program(v);
                }
        }
}

int supervise(int argc, char **argv, supervised_main_fn worker) {
        struct supervisor v = {.s = {.group = -1, .journal = -1}, .argc = argc, .argv = argv};
        ssize_t n;
        int status;

        raise_limits();
        n = readlink("/proc/self/exe", v.program, sizeof v.program - 1);
        v.program[n > 0 ? n : 0] = '\0';
        sigemptyset(&v.signals);
        sigaddset(&v.signals, SIGTERM);
        sigaddset(&v.signals, SIGINT);
        sigaddset(&v.signals, SIGHUP);
        sigaddset(&v.signals, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &v.signals, NULL);
        begin(&v.s);
        status = run_workers(&v, worker);
        journal_close(v.s.map);
        return status;
}
