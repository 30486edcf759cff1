/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sandbox-syscalls — the system-call filter; see sandbox.h
 *
 * A deny list, answered with EPERM: modules link libraries of every kind, and an
 * allow list would break with the next version of one of them. User ids and
 * capabilities already forbid most of this; the filter is there for the kernel's sake
 * (rarely used interfaces are where its holes are) and for what an ordinary user
 * may do but an engine has no business doing: run programs, make namespaces,
 * trace or signal other engines, which run as the same user.
 */

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <glib.h>

#include "engine-host/sandbox.h"
#include "shared/log.h"

static const char *const denied[] = {
        /* programs */
        "execve", "execveat", "fork", "vfork",
        /* mounts and namespaces */
        "mount", "umount", "umount2", "pivot_root", "chroot", "unshare", "setns", "open_tree",
        "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "swapon",
        "swapoff", "quotactl", "quotactl_fd",
        /* files by handle, events of other people's files */
        "open_by_handle_at", "name_to_handle_at", "fanotify_init", "fanotify_mark", "acct",
        /* other processes */
        "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_open",
        "pidfd_getfd", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "tkill",
        "move_pages", "migrate_pages",
        /* the kernel */
        "bpf", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
        "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd", "io_uring_setup",
        "io_uring_enter", "io_uring_register", "reboot", "syslog", "settimeofday", "clock_settime",
        "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "iopl", "ioperm", "uselib",
        "personality", "lookup_dcookie", "nfsservctl", "vhangup",
};

static int deny(scmp_filter_ctx filter, const char *name, int error) {
        int number = seccomp_syscall_resolve_name(name);
        int r;

        if (number == __NR_SCMP_ERROR)
                return 0; /* not on this architecture, or newer than the library */
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)error), number, 0);
        return r == -EDOM ? 0 : r;
}

static int deny_when(scmp_filter_ctx filter, const char *name, struct scmp_arg_cmp compare) {
        int number = seccomp_syscall_resolve_name(name);

        if (number == __NR_SCMP_ERROR)
                return 0;
        return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), number, 1, &compare);
}

/* Threads, no processes. clone3's flags are out of a filter's reach: ENOSYS makes
 * the C library fall back to clone. */
static int deny_processes(scmp_filter_ctx filter) {
        int r = deny_when(filter, "clone", SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));

        return r < 0 ? r : deny(filter, "clone3", ENOSYS);
}

/* Signals to itself only. */
static int deny_signals(scmp_filter_ctx filter) {
        int r = deny_when(filter, "kill", SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)getpid()));

        return r < 0 ? r
                     : deny_when(filter, "tgkill", SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)getpid()));
}

/* Addresses of the network, of name services, and what getaddrinfo(3) asks the kernel. */
static int deny_families(scmp_filter_ctx filter) {
        static const int allowed[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
        int r = deny_when(filter, "socket", SCMP_A0(SCMP_CMP_GT, AF_MAX));

        for (int family = 0; family <= AF_MAX && r == 0; family++) {
                bool ok = false;

                for (size_t i = 0; i < G_N_ELEMENTS(allowed); i++)
                        ok = ok || allowed[i] == family;
                if (!ok)
                        r = deny_when(filter, "socket",
                                      SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family));
        }
        return r;
}

static int deny_terminals(scmp_filter_ctx filter) {
        int r = deny_when(filter, "ioctl", SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, TIOCSTI));

        return r < 0 ? r
                     : deny_when(filter, "ioctl",
                                 SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, TIOCLINUX));
}

static int build(scmp_filter_ctx filter) {
        int r = 0;

        for (size_t i = 0; i < G_N_ELEMENTS(denied) && r == 0; i++)
                r = deny(filter, denied[i], EPERM);
        if (r == 0)
                r = deny_processes(filter);
        if (r == 0)
                r = deny_signals(filter);
        if (r == 0)
                r = deny_families(filter);
        if (r == 0)
                r = deny_terminals(filter);
        /* A binary tree of calls instead of a chain, where the library can. */
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        return r == 0 ? seccomp_load(filter) : r;
}

int sandbox_syscalls(void) {
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        int r = filter ? build(filter) : -ENOMEM;

        seccomp_release(filter);
        if (r < 0)
                log_error("sandbox: the system-call filter could not be installed: %s",
                          strerror(-r));
        return r;
}
