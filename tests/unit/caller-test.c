/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* caller: lines of /proc/TID/syscall, and real threads that are blocked. */

#include "dispatcher/events/caller.h"

#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SP_PC "0x7ffc6f8c0d28 0x7f1c2b0ea1f2"

/* A line as the kernel prints it: a path's address in the first two arguments. */
static enum caller_call parse(long number, unsigned long a1, unsigned long a2) {
        g_autofree char *line = g_strdup_printf("%ld 0x3 0x%lx 0x%lx 0x0 0x0 0x0 " SP_PC "\n", number, a1,
                                                a2);
        return caller_parse(line);
}

static void test_opens(void) {
        static const struct {
                int flags;
                enum caller_call expected;
        } table[] = {
                {O_RDONLY, CALLER_OPENS_READ},
                {O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_DIRECT, CALLER_OPENS_READ},
                {O_RDONLY | O_CREAT, CALLER_OPENS_READ},
                {O_PATH, CALLER_OPENS_READ},
                {O_PATH | O_RDWR | O_TRUNC, CALLER_OPENS_READ}, /* O_PATH ignores the rest */
                {O_RDONLY | O_TRUNC, CALLER_OTHER},
                {O_WRONLY, CALLER_OTHER},
                {O_RDWR, CALLER_OTHER},
                {O_ACCMODE, CALLER_OTHER},
                {O_WRONLY | O_CREAT | O_TRUNC, CALLER_OTHER},
        };
        for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
#ifdef __NR_open
                g_assert_cmpint(parse(__NR_open, (unsigned)table[i].flags, 0), ==, table[i].expected);
#endif
                g_assert_cmpint(parse(__NR_openat, 0x7ffc00001000, (unsigned)table[i].flags), ==,
                                table[i].expected);
        }
#ifdef __NR_openat2
        g_assert_cmpint(parse(__NR_openat2, 0, 0), ==, CALLER_OTHER);
#endif
}

static void test_calls(void) {
        static const long reads[] = {__NR_read,   __NR_pread64,  __NR_readv,  __NR_preadv,
                                     __NR_preadv2, __NR_sendfile, __NR_splice, __NR_copy_file_range};
        static const long others[] = {__NR_mmap,     __NR_write,    __NR_pwrite64, __NR_truncate,
                                      __NR_ftruncate, __NR_execve,  __NR_fallocate,
                                      __NR_ioctl,     __NR_unlinkat, __NR_execveat};
        for (unsigned i = 0; i < G_N_ELEMENTS(reads); i++)
                g_assert_cmpint(parse(reads[i], 0, 0), ==, CALLER_READS);
        for (unsigned i = 0; i < G_N_ELEMENTS(others); i++)
                g_assert_cmpint(parse(others[i], 0, 0), ==, CALLER_OTHER);
        g_assert_cmpint(parse(__NR_io_uring_enter, 0, 0), ==, CALLER_UNKNOWN);
#ifdef __x86_64__ /* x32: the same numbers with bit 30 */
        g_assert_cmpint(parse(0x40000000 | __NR_read, 0, 0), ==, CALLER_UNKNOWN);
#endif
}

static void test_lines(void) {
        static const struct {
                const char *line;
                enum caller_call expected;
        } table[] = {
                {"running\n", CALLER_RUNNING},
                {"running", CALLER_RUNNING},
                {"running on", CALLER_UNKNOWN},
                {"", CALLER_UNKNOWN},
                {"\n", CALLER_UNKNOWN},
                {"-1 " SP_PC "\n", CALLER_UNKNOWN},
                {"-1 0x0 0x0 0x0 0x0 0x0 0x0 " SP_PC "\n", CALLER_UNKNOWN},
                {"0 0x3 0x7ffc00001000\n", CALLER_UNKNOWN},
                {"0 0x3 0x1 0x2 0x0 0x0 0x0 0x7ffc6f8c0d28\n", CALLER_UNKNOWN},
                {"0 0x3 0x1 0x2 0x0 0x0 0x0 " SP_PC " 0x1\n", CALLER_UNKNOWN},
                {"0 0x3 0x1 0x2 0x0 0x0 0x0 " SP_PC "junk", CALLER_UNKNOWN},
                {"0 3 1 2 0 0 0 " SP_PC "\n", CALLER_UNKNOWN},
                {"0 0x 0x1 0x2 0x0 0x0 0x0 " SP_PC "\n", CALLER_UNKNOWN},
                {"0 0x3 0x-1 0x2 0x0 0x0 0x0 " SP_PC "\n", CALLER_UNKNOWN},
                {"0x0 0x3 0x1 0x2 0x0 0x0 0x0 " SP_PC "\n", CALLER_UNKNOWN},
                {" 0 0x3 0x1 0x2 0x0 0x0 0x0 " SP_PC "\n", CALLER_UNKNOWN},
                {"99999999999999999999 0x3 0x1 0x2 0x0 0x0 0x0 " SP_PC "\n", CALLER_UNKNOWN},
                {"0 0x11112222333344445 0x1 0x2 0x0 0x0 0x0 " SP_PC "\n", CALLER_UNKNOWN},
        };
        for (unsigned i = 0; i < G_N_ELEMENTS(table); i++)
                g_assert_cmpint(caller_parse(table[i].line), ==, table[i].expected);
}

/* A 32-bit program's numbers are other calls: 5 is its open, and our fstat; 3 its read, our
 * close; 92 its truncate, our chown. */
static void test_32bit(void) {
        if (sizeof(void *) == 4) {
                g_test_skip("a 32-bit build");
                return;
        }
        g_assert_cmpint(caller_parse("3 0x3 0xffd01000 0x10 0x0 0x0 0x0 0xffd00ff0 0xf7fc5579\n"), ==,
                        CALLER_UNKNOWN);
        g_assert_cmpint(caller_parse("0 0x3 0xffd01000 0x10 0x0 0x0 0x0 0xffd00ff0 0xf7fc5579\n"), ==,
                        CALLER_UNKNOWN);
}

/* A child blocked in a call of its own, and what is seen of it. */
static pid_t blocked(void (*block)(int fd), int fd) {
        pid_t pid = fork();
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                prctl(PR_SET_NAME, "a (name)\nUid:\t7");
                block(fd);
                _exit(0);
        }
        return pid;
}

static enum caller_call look(pid_t pid, enum caller_call expected) {
        enum caller_call call = CALLER_UNKNOWN;
        for (int i = 0; i < 500 && (call = caller_look(pid)) != expected; i++)
                g_usleep(2000);
        return call;
}

static void end(pid_t pid) {
        kill(pid, SIGKILL);
        g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

static void block_read(int fd) {
        char c;
        (void)!read(fd, &c, 1);
}

static char fifo[64];
static void block_open(int fd) {
        (void)fd;
        (void)open(fifo, O_RDONLY);
}
static void block_open_write(int fd) {
        (void)fd;
        (void)open(fifo, O_WRONLY);
}
static void spin(int fd) {
        (void)fd;
        for (;;)
                ;
}

static void test_real(void) {
        int ends[2];
        g_assert_cmpint(pipe(ends), ==, 0);

        pid_t pid = blocked(block_read, ends[0]);
        enum caller_call call = look(pid, CALLER_READS);
        if (call == CALLER_UNKNOWN) {
                end(pid);
                g_test_skip("may not look at /proc/TID/syscall here");
                return;
        }
        g_assert_cmpint(call, ==, CALLER_READS);
        end(pid);

        g_autofree char *directory = g_dir_make_tmp("caller-test-XXXXXX", NULL);
        g_assert_nonnull(directory);
        snprintf(fifo, sizeof fifo, "%s/fifo", directory);
        g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
        pid = blocked(block_open, -1);
        g_assert_cmpint(look(pid, CALLER_OPENS_READ), ==, CALLER_OPENS_READ);
        end(pid);
        pid = blocked(block_open_write, -1);
        g_assert_cmpint(look(pid, CALLER_OTHER), ==, CALLER_OTHER);
        end(pid);
        pid = blocked(spin, -1);
        g_assert_cmpint(look(pid, CALLER_RUNNING), ==, CALLER_RUNNING);
        end(pid);
        unlink(fifo);
        rmdir(directory);
        close(ends[0]);
        close(ends[1]);
}

/* The thread's group gives the name; a name cannot forge lines of the status file. */
static void test_who(void) {
        char name[16], own[16];
        int ends[2];

        g_assert_cmpint(pipe(ends), ==, 0);
        pid_t pid = blocked(block_read, ends[0]);
        bool named = false;
        for (int i = 0; i < 500 && !(named && name[0] == 'a'); i++) {
                g_usleep(2000);
                named = caller_program(pid, name);
        }
        g_assert_true(named);
        g_assert_cmpint(strncmp(name, "a (name)", 8), ==, 0);
        g_assert_cmpuint(caller_uid(pid), ==, geteuid());
        end(pid);
        close(ends[0]);
        close(ends[1]);

        g_assert_true(caller_program(getpid(), own));
        g_assert_cmpint(strncmp(own, "caller-test", 11), ==, 0);
        g_assert_false(caller_program(pid, name)); /* gone */
        g_assert_cmpuint(caller_uid(pid), ==, (uid_t)-1);
        g_assert_cmpint(caller_look(pid), ==, CALLER_UNKNOWN);
        g_assert_cmpint(caller_look(0), ==, CALLER_UNKNOWN);
        g_assert_false(caller_program(0, name));
        g_assert_cmpuint(caller_uid(0), ==, (uid_t)-1);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/caller/opens", test_opens);
        g_test_add_func("/caller/calls", test_calls);
        g_test_add_func("/caller/lines", test_lines);
        g_test_add_func("/caller/32-bit", test_32bit);
        g_test_add_func("/caller/real", test_real);
        g_test_add_func("/caller/who", test_who);
        return g_test_run();
}
