/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * host-sandbox — what an engine cannot do, tried by one (modules/probe.c)
 *
 * As root with all of the sandbox: the hidden mount is a real one (tmpfs, stacked,
 * bound a second time, named by way of a symbolic link), made in a mount namespace of the test's own, so that
 * nothing is left behind whatever happens.
 */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "host-peer.h"
#include "host-tests.h"

/* The number behind "NAME=". */
static int outcome(const struct reply *reply, const char *name) {
        g_autofree char *front = g_strdup_printf("f %s=", name);

        for (guint i = 0; i < reply->names->len; i++)
                if (g_str_has_prefix(reply->names->pdata[i], front))
                        return atoi((char *)reply->names->pdata[i] + strlen(front));
        g_error("the probe says nothing about %s", name);
}

static void assert_outcome(const struct reply *reply, const char *name, int expected) {
        int found = outcome(reply, name);

        if (found != expected)
                g_error("%s: %d (%s), not %d", name, found, g_strerror(found), expected);
}

static void assert_common(const struct reply *reply) {
        static const char *const denied[] = {
                "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "bpf",
                "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd",
                "fanotify_init", "open_by_handle_at", "name_to_handle_at", "io_uring_setup",
                "process_vm_readv", "kexec_load", "init_module", "finit_module", "delete_module",
                "reboot", "swapon", "quotactl", "ptrace", "open_tree", "move_mount", "fsopen",
                "fsconfig", "fsmount", "fspick", "mount_setattr", "pidfd_open", "execve",
                "execveat", "fork", "exec-true", "signal-other", "signal-all", "packet-socket",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(denied); i++)
                assert_outcome(reply, denied[i], EPERM);
        assert_outcome(reply, "tcp-socket", 0);
        assert_outcome(reply, "no-new-privs", 1);
        assert_outcome(reply, "dumpable", 0);
        assert_outcome(reply, "core", 0);
        g_assert_cmpint(outcome(reply, "files"), <=, 4096);
        assert_outcome(reply, "inherited-descriptor", EBADF);
}

static pid_t spawn_victim(void) {
        pid_t pid = fork();

        if (pid == 0) {
                if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
                        _exit(1);
                for (;;)
                        pause();
        }
        return pid;
}

static void test_user(void) {
        pid_t victim = spawn_victim();
        g_autofree char *number = g_strdup_printf("%d", (int)victim);
        struct peer *peer = peer_ready("probe", SETTINGS("victim", number));
        struct reply *reply;
        int status;

        peer->keep_names = true;
        reply = peer_finish(peer, peer_list(peer, ""));
        assert_common(reply);
        peer_quit(peer);
        g_assert_cmpint(waitpid(victim, &status, WNOHANG), ==, 0); /* alive */
        (void)kill(victim, SIGKILL);
        (void)waitpid(victim, &status, 0);
}

struct places {
        char *base, *hidden, *elsewhere, *hidden_file, *state, *outside, *link;
};

static void make_places(struct places *p) {
        p->base = g_dir_make_tmp("host-sandbox-XXXXXX", NULL);
        g_assert_cmpint(chmod(p->base, 0755), ==, 0);
        p->hidden = g_build_filename(p->base, "hid den", NULL);
        p->elsewhere = g_build_filename(p->base, "elsewhere", NULL);
        p->hidden_file = g_build_filename(p->elsewhere, "file", NULL);
        p->state = g_build_filename(p->base, "state", NULL);
        p->outside = g_build_filename(p->base, "outside", NULL);
        p->link = g_build_filename(p->base, "link", NULL);
        g_assert_cmpint(symlink("hid den", p->link), ==, 0);
        for (char **dir = (char *[]){p->hidden, p->elsewhere, p->state, p->outside, NULL}; *dir;
             dir++) {
                g_assert_cmpint(mkdir(*dir, 0777), ==, 0);
                g_assert_cmpint(chmod(*dir, 0777), ==, 0);
        }
}

static void remove_places(struct places *p) {
        g_autofree char *written = g_build_filename(p->state, "x", NULL);

        g_unlink(written);
        g_unlink(p->link);
        g_rmdir(p->hidden);
        g_rmdir(p->elsewhere);
        g_rmdir(p->state);
        g_rmdir(p->outside);
        g_assert_cmpint(g_rmdir(p->base), ==, 0);
        g_free(p->base);
        g_free(p->link);
        g_free(p->hidden);
        g_free(p->elsewhere);
        g_free(p->hidden_file);
        g_free(p->state);
        g_free(p->outside);
}

/* The store, twice on top of each other, and once more somewhere else. */
static void mount_hidden(const struct places *p) {
        g_autofree char *file = g_build_filename(p->hidden, "file", NULL);

        g_assert_cmpint(unshare(CLONE_NEWNS), ==, 0);
        g_assert_cmpint(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), ==, 0);
        g_assert_cmpint(mount("store", p->hidden, "tmpfs", 0, "mode=0777"), ==, 0);
        g_assert_cmpint(mount(p->hidden, p->elsewhere, NULL, MS_BIND, NULL), ==, 0);
        g_assert_cmpint(mount("other", p->hidden, "tmpfs", 0, "mode=0777"), ==, 0);
        g_assert_true(g_file_set_contents(p->hidden_file, "x", 1, NULL));
        g_assert_true(g_file_set_contents(file, "x", 1, NULL));
        g_assert_cmpint(chmod(p->hidden_file, 0666), ==, 0);
}

static void check_root(const struct places *p) {
        pid_t victim = spawn_victim();
        g_autofree char *number = g_strdup_printf("%d", (int)victim);
        struct peer *peer = peer_new("probe",
                                     SETTINGS("victim", number, "hidden", p->hidden_file, "state",
                                              p->state, "outside", p->outside),
                                     SETTINGS("--hide", p->link, "--state-dir", p->state));
        struct reply *reply;

        while (!peer->ready && peer_step(peer))
                ;
        g_assert_true(peer->ready);
        peer->keep_names = true;
        reply = peer_finish(peer, peer_list(peer, ""));
        assert_common(reply);
        assert_outcome(reply, "setuid", EPERM);
        assert_outcome(reply, "raw-socket", EPERM);
        assert_outcome(reply, "read-hidden", ENOENT);
        assert_outcome(reply, "write-outside", EROFS);
        assert_outcome(reply, "write-state", 0);
        assert_outcome(reply, "uid", 65534);
        assert_outcome(reply, "groups", 0);
        assert_outcome(reply, "capabilities", 0);
        g_assert_cmpint(access(p->hidden_file, R_OK), ==, 0); /* still there for others */
        peer_quit(peer);
        (void)kill(victim, SIGKILL);
        (void)waitpid(victim, NULL, 0);
}

static void test_root(void) {
        struct places places;
        int status;
        pid_t pid;

        if (geteuid() != 0) {
                g_test_skip("the mounts and the change of user need root");
                return;
        }
        make_places(&places);
        pid = fork();
        if (pid == 0) {
                mount_hidden(&places);
                check_root(&places);
                _exit(0);
        }
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        remove_places(&places);
        g_assert_cmpint(status, ==, 0);
}

/* No sandbox, no engine. */
static void test_no_sandbox(void) {
        static const char *const users[] = {"root", "0", "no-such-user-here", "", "nobody:0",
                                            "4294967295"};

        if (geteuid() != 0) {
                g_test_skip("only root is asked for another user");
                return;
        }
        for (size_t i = 0; i < G_N_ELEMENTS(users); i++) {
                struct peer *peer = peer_new("scenario", NULL, SETTINGS("--user", users[i]));
                int status = peer_wait(peer);

                g_assert_false(peer->ready);
                g_assert_true(WIFEXITED(status));
                g_assert_cmpint(WEXITSTATUS(status), ==, 3);
                peer_free(peer);
        }
}

/* The host does not outlive the process that started it, even when its engine is deaf. */
static void test_parent_dies(void) {
        int fds[2], status;
        pid_t pid, host = 0;

        g_assert_cmpint(pipe(fds), ==, 0);
        pid = fork();
        if (pid == 0) {
                struct peer *peer = peer_ready("scenario", NULL);

                (void)peer_fetch(peer, "dead", "v", 10, 0, 10);
                if (write(fds[1], &peer->pid, sizeof(peer->pid)) < 0)
                        _exit(1);
                _exit(0);
        }
        g_assert_cmpint(read(fds[0], &host, sizeof(host)), ==, sizeof(host));
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        close(fds[0]);
        close(fds[1]);
        for (int i = 0; i < 200; i++) {
                g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)host);
                g_autofree char *text = NULL;

                if (!g_file_get_contents(path, &text, NULL, NULL) || strstr(text, ") Z "))
                        return;
                g_usleep(10000);
        }
        g_error("the host lives on");
}

void add_sandbox_tests(void) {
        g_test_add_func("/host/sandbox/user", test_user);
        g_test_add_func("/host/sandbox/root", test_root);
        g_test_add_func("/host/sandbox/no-sandbox", test_no_sandbox);
        g_test_add_func("/host/sandbox/parent-dies", test_parent_dies);
}
