/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * probe — an engine that tries what the sandbox forbids, and lists what came of it:
 * each entry is called ATTEMPT=ERRNO (a number; 0: it worked)
 *
 * Settings: hidden (a mount point and a file in it), outside (a directory that
 * permissions would let it write to), state (may be written), victim (a process of
 * the same user).
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cloudsync/engine.h"

static const struct cs_host *host;

static int probe_open(const struct cs_host *h, void **instance) {
        host = h;
        *instance = NULL;
        return 0;
}

static void probe_close(void *instance) {
}

static void report(struct cs_request *r, const char *what, long result) {
        char name[200];
        struct cs_entry e = {.kind = CS_KIND_FILE, .name = name};

        snprintf(name, sizeof(name), "%s=%d", what, result < 0 ? errno : 0);
        errno = 0;
        (void)host->entry(host, r, &e);
}

static void report_number(struct cs_request *r, const char *what, long number) {
        char name[200];
        struct cs_entry e = {.kind = CS_KIND_FILE, .name = name};

        snprintf(name, sizeof(name), "%s=%ld", what, number);
        (void)host->entry(host, r, &e);
}

static long try_create(const char *key, const char *file) {
        char path[4096];
        const char *dir = host->setting(host, key);
        int fd;

        if (!dir) {
                errno = ENOKEY;
                return -1;
        }
        snprintf(path, sizeof(path), "%s/%s", dir, file);
        fd = open(path, O_CREAT | O_RDWR, 0600);
        if (fd >= 0)
                close(fd);
        return fd;
}

static long capabilities(void) {
        FILE *f = fopen("/proc/self/status", "r");
        unsigned long long value, all = 0;
        char line[256];

        while (f && fgets(line, sizeof(line), f))
                if (sscanf(line, "Cap%*3s: %llx", &value) == 1)
                        all |= value;
        if (f)
                fclose(f);
        return f ? (long)all : -1;
}

static void try_calls(struct cs_request *r) {
        static const struct {
                const char *name;
                long number;
        } calls[] = {
                {"mount", SYS_mount}, {"umount2", SYS_umount2}, {"pivot_root", SYS_pivot_root},
                {"chroot", SYS_chroot}, {"unshare", SYS_unshare}, {"setns", SYS_setns},
                {"bpf", SYS_bpf}, {"perf_event_open", SYS_perf_event_open},
                {"keyctl", SYS_keyctl}, {"add_key", SYS_add_key}, {"request_key", SYS_request_key},
                {"userfaultfd", SYS_userfaultfd}, {"fanotify_init", SYS_fanotify_init},
                {"open_by_handle_at", SYS_open_by_handle_at},
                {"name_to_handle_at", SYS_name_to_handle_at}, {"io_uring_setup", SYS_io_uring_setup},
                {"process_vm_readv", SYS_process_vm_readv}, {"kexec_load", SYS_kexec_load},
                {"init_module", SYS_init_module}, {"finit_module", SYS_finit_module},
                {"delete_module", SYS_delete_module}, {"reboot", SYS_reboot},
                {"swapon", SYS_swapon}, {"quotactl", SYS_quotactl}, {"ptrace", SYS_ptrace},
                {"open_tree", SYS_open_tree}, {"move_mount", SYS_move_mount},
                {"fsopen", SYS_fsopen}, {"fsconfig", SYS_fsconfig}, {"fsmount", SYS_fsmount},
                {"fspick", SYS_fspick}, {"mount_setattr", SYS_mount_setattr},
                {"pidfd_open", SYS_pidfd_open}, {"execve", SYS_execve}, {"execveat", SYS_execveat},
        };

        /* With arguments that would fail otherwise in other ways than EPERM. */
        for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
                report(r, calls[i].name, syscall(calls[i].number, -1L, 0L, 0L, 0L, 0L, 0L));
        report(r, "fork", syscall(SYS_clone, SIGCHLD, 0L, 0L, 0L, 0L));
}

static void probe_list(void *instance, struct cs_request *r, const char *locator) {
        const char *victim = host->setting(host, "victim");
        const char *hidden = host->setting(host, "hidden");
        struct rlimit limit = {99, 99};
        char *argv[] = {(char *)"/bin/true", NULL};

        try_calls(r);
        report(r, "exec-true", execv(argv[0], argv));
        report(r, "setuid", setuid(0));
        report(r, "signal-other", victim ? kill((pid_t)atoi(victim), SIGKILL) : 0);
        report(r, "signal-all", kill(-1, 0));
        report(r, "packet-socket", socket(AF_PACKET, SOCK_RAW, 0));
        report(r, "raw-socket", socket(AF_INET, SOCK_RAW, 1));
        report(r, "tcp-socket", socket(AF_INET, SOCK_STREAM, 0));
        report(r, "write-outside", try_create("outside", "x"));
        report(r, "write-state", try_create("state", "x"));
        report(r, "read-hidden", hidden ? open(hidden, O_RDONLY) : 0);
        report_number(r, "uid", getuid());
        report_number(r, "groups", getgroups(0, NULL));
        report_number(r, "capabilities", capabilities());
        report_number(r, "no-new-privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
        report_number(r, "dumpable", prctl(PR_GET_DUMPABLE));
        getrlimit(RLIMIT_CORE, &limit);
        report_number(r, "core", (long)limit.rlim_max);
        getrlimit(RLIMIT_NOFILE, &limit);
        report_number(r, "files", (long)limit.rlim_max);
        report(r, "inherited-descriptor", fcntl(200, F_GETFD));
        host->done(host, r, 0, 0, NULL);
}

static void probe_fetch(void *instance, struct cs_request *r, const struct cs_fetch *fetch) {
        host->done(host, r, -EOPNOTSUPP, 0, NULL);
}

static const struct cs_engine_ops ops = {
        .abi = CLOUDSYNC_ENGINE_ABI,
        .struct_size = sizeof(struct cs_engine_ops),
        .name = MODULE_NAME,
        .description = "tries to get out",
        .open = probe_open,
        .close = probe_close,
        .list = probe_list,
        .stat = probe_list,
        .fetch = probe_fetch,
};

const struct cs_engine_ops *cloudsync_engine(void);

__attribute__((visibility("default"))) const struct cs_engine_ops *cloudsync_engine(void) {
        return &ops;
}
