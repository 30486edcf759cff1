/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sandbox — the process's own rights; see sandbox.h, and sandbox-mounts.c and
 * sandbox-syscalls.c for the other two thirds
 *
 * Not root: there is no user to change to and no mount namespace to make; what is
 * left is done, and a debug line says what is not.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <glib.h>

#include "engine-host/sandbox.h"
#include "shared/fd.h"
#include "shared/log.h"

#define FILES_MAX 4096u

static int fail(const char *step, int error) {
        log_error("sandbox: %s: %s", step, strerror(error));
        return -error;
}

static int close_all_but(int keep) {
        if (keep < 3)
                return close_range(3, ~0u, 0);
        if (keep > 3 && close_range(3, (unsigned)keep - 1, 0) < 0)
                return -1;
        return close_range((unsigned)keep + 1, ~0u, 0);
}

/* The dispatcher is spared when memory is short. A module that eats it is not. */
static void stand_out_of_memory(void) {
        autoclose int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
        char text[16] = "";

        if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && atoi(text) < 0)
                (void)!pwrite(fd, "0", 1, 0);
}

int sandbox_early(const struct sandbox *sandbox) {
        struct rlimit none = {0, 0};

        if (close_all_but(sandbox->channel) < 0)
                return fail("closing inherited descriptors", errno);
        stand_out_of_memory();
        if (prctl(PR_SET_DUMPABLE, 0) < 0)
                return fail("PR_SET_DUMPABLE", errno);
        if (setrlimit(RLIMIT_CORE, &none) < 0)
                return fail("RLIMIT_CORE", errno);
        (void)umask(077);         /* credentials in the state directory */
        (void)signal(SIGPIPE, SIG_IGN); /* a module's TLS library may write to a dead socket */
        return 0;
}

/* A name or a number; the user's own group unless one is named. */
static int resolve_user(const char *spec, uid_t *ret_uid, gid_t *ret_gid) {
        g_auto(GStrv) parts = g_strsplit(spec, ":", 2);
        struct passwd *user;
        struct group *group;
        char *end;

        if (!parts[0] || !*parts[0])
                return -EINVAL;
        user = getpwnam(parts[0]);
        if (user) {
                *ret_uid = user->pw_uid;
                *ret_gid = user->pw_gid;
        } else {
                *ret_uid = (uid_t)strtoul(parts[0], &end, 10);
                *ret_gid = (gid_t)*ret_uid;
                if (*end)
                        return -ENOENT;
        }
        if (parts[1]) {
                group = getgrnam(parts[1]);
                *ret_gid = group ? group->gr_gid : (gid_t)strtoul(parts[1], &end, 10);
                if (!group && (!*parts[1] || *end))
                        return -ENOENT;
        }
        /* (uid_t)-1 means "unchanged" to setresuid(2). */
        if (*ret_uid == 0 || *ret_gid == 0 || *ret_uid == (uid_t)-1 || *ret_gid == (gid_t)-1)
                return -EPERM;
        return 0;
}

static int drop_bounding_set(void) {
        for (int cap = 0; cap < 64; cap++)
                if (prctl(PR_CAPBSET_DROP, cap) < 0)
                        return errno == EINVAL && cap > 0 ? 0 : -1;
        return 0;
}

/* setresuid(2) leaves the inheritable set, which is why this is not redundant. */
static int drop_capabilities(void) {
        struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

        (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        return (int)syscall(SYS_capset, &header, data);
}

static int become(const char *spec) {
        uid_t uid = 0, ruid, euid, suid;
        gid_t gid = 0;
        int r;

        if (!spec) {
                log_error("sandbox: --user is needed when started as root");
                return -EINVAL;
        }
        r = resolve_user(spec, &uid, &gid);
        if (r < 0) {
                log_error("sandbox: cannot run an engine as '%s': %s", spec,
                          r == -EPERM ? "that is root" : "no such user or group");
                return r;
        }
        if (drop_bounding_set() < 0)
                return fail("PR_CAPBSET_DROP", errno);
        if (setgroups(0, NULL) < 0)
                return fail("setgroups", errno);
        if (setresgid(gid, gid, gid) < 0)
                return fail("setresgid", errno);
        if (setresuid(uid, uid, uid) < 0)
                return fail("setresuid", errno);
        /* Believe it only when it is seen. */
        if (getresuid(&ruid, &euid, &suid) < 0 || ruid != uid || euid != uid || suid != uid ||
            setuid(0) == 0)
                return fail("root privileges could not be given up", EPERM);
        return 0;
}

static int limit_files(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return -1;
        limit.rlim_max = MIN(limit.rlim_max, FILES_MAX);
        limit.rlim_cur = limit.rlim_max;
        return setrlimit(RLIMIT_NOFILE, &limit);
}

int sandbox_privileges(const struct sandbox *sandbox) {
        int r;

        if (geteuid() == 0) {
                r = become(sandbox->user);
                if (r < 0)
                        return r;
        } else {
                log_debug("sandbox: not started as root: running as the user who started it, "
                          "with that user's view of the file system");
        }
        if (drop_capabilities() < 0)
                return fail("capset", errno);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return fail("PR_SET_NO_NEW_PRIVS", errno);
        if (limit_files() < 0)
                return fail("RLIMIT_NOFILE", errno);
        /* A change of credentials resets both of these. */
        if (prctl(PR_SET_DUMPABLE, 0) < 0)
                return fail("PR_SET_DUMPABLE", errno);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                return fail("PR_SET_PDEATHSIG", errno);
        if (getppid() != sandbox->parent)
                return fail("the daemon is gone", ESRCH);
        return 0;
}
