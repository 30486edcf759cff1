/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fill that is killed in the middle leaves no byte that was not delivered.
 *
 * The source of the write is memory whose second part is not there: the writer waits in
 * the page fault (userfaultfd), inside the write, until it is killed. What the file then
 * shows as present has to be what was written.
 */

#include "loop.h"

#include "dispatcher/files/file.h"
#include "dispatcher/files/presence.h"
#include "shared/fd.h"

#include <fcntl.h>
#include <glib.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 400000u
#define BEGIN 262144u
#define LENGTH 131072u
#define THERE 8192u /* of LENGTH: what is in memory */

/* Memory of LENGTH bytes, the first THERE of them 'x'; an access to the rest waits. */
static char *make_memory(int *ret_uffd) {
        struct uffdio_api api = {.api = UFFD_API};
        struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
        char *memory;
        int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

        if (uffd < 0)
                return NULL;
        memory = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        g_assert_true(memory != MAP_FAILED);
        memset(memory, 'x', THERE);
        range.range.start = (uintptr_t)memory + THERE;
        range.range.len = LENGTH - THERE;
        g_assert_cmpint(ioctl(uffd, UFFDIO_API, &api), ==, 0);
        g_assert_cmpint(ioctl(uffd, UFFDIO_REGISTER, &range), ==, 0);
        *ret_uffd = uffd;
        return memory;
}

struct filling {
        int fd;
        const char *memory;
};

/* In a thread of its own, because a thread keeps its pipe: this one must not be the parent's. */
static void *fill_thread(void *data) {
        const struct filling *f = data;
        struct extent piece = {BEGIN, BEGIN + LENGTH};
        size_t done;

        (void)fill_write_pieces(f->fd, BEGIN, f->memory, &piece, 1, &done, 4096);
        return NULL;
}

/* In the child; tells the parent where its userfaultfd is by staying alive in the write. */
static void writer(const char *path, int ready, bool plainly) {
        int uffd = -1, fd = open(path, O_RDWR | O_CLOEXEC);
        char *memory = make_memory(&uffd);
        char answer = memory != NULL ? 'y' : 'n';

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (write(ready, &answer, 1) != 1 || memory == NULL || fd < 0)
                _exit(1);
        if (fork() == 0) { /* says when the writer waits in the fault */
                struct pollfd wait = {.fd = uffd, .events = POLLIN};
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                _exit(poll(&wait, 1, 20000) == 1 && write(ready, "w", 1) == 1 ? 0 : 1);
        }
        if (plainly)
                (void)!pwrite(fd, memory, LENGTH, BEGIN);
        else
                g_thread_join(g_thread_new("fill", fill_thread, &(struct filling){fd, memory}));
        _exit(1);
}

/* Kills a writer inside its write. false: not possible here. */
static bool kill_in_write(const char *path, bool plainly) {
        int ready[2], status;
        char answer = 0;

        g_assert_cmpint(pipe2(ready, O_CLOEXEC), ==, 0);
        pid_t pid = fork();
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0)
                writer(path, ready[1], plainly);
        close(ready[1]);
        if (read(ready[0], &answer, 1) == 1 && answer == 'y')
                g_assert_cmpint(read(ready[0], &answer, 1), ==, 1);
        g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        close(ready[0]);
        return answer == 'w';
}

/* Bytes that are shown as present and are not what was written. */
static uint64_t wrong_bytes(int fd) {
        struct extents present = EXTENTS_INIT;
        uint64_t wrong = 0;
        char block[4096];

        g_assert_cmpint(presence_load(fd, SIZE, 4096, &present), ==, 0);
        for (uint64_t at = 0; at < SIZE; at += sizeof block) {
                ssize_t n = pread(fd, block, sizeof block, (off_t)at);
                for (ssize_t i = 0; i < n; i++)
                        wrong += block[i] != 'x' && extents_contain(&present, at + (uint64_t)i, at + (uint64_t)i + 1);
        }
        extents_clear(&present);
        return wrong;
}

static void test_killed(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "killed", SIZE);
        g_autofree char *path = g_strdup_printf("/proc/%d/fd/%d", getpid(), fd);

        if (!kill_in_write(path, false)) {
                g_test_skip("this kernel has no userfaultfd");
                return;
        }
        g_assert_cmpuint(wrong_bytes(fd), ==, 0);
}

/* Why it is not done by pwrite(2): on ext4 that leaves zeros as data. Other file systems
 * do not, so nothing is asserted of them. */
static void test_killed_in_pwrite(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "killed-pwrite", SIZE);
        g_autofree char *path = g_strdup_printf("/proc/%d/fd/%d", getpid(), fd);

        if (!kill_in_write(path, true)) {
                g_test_skip("this kernel has no userfaultfd");
                return;
        }
        g_test_message("%s: a pwrite killed in a fault leaves %" G_GUINT64_FORMAT " bytes of zeros as data",
                       place->filesystem, wrong_bytes(fd));
}

/* All of what is asked for, also unaligned and longer than a slot. */
static void test_whole(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "whole", SIZE);
        g_autofree char *bytes = g_malloc(SIZE + 7);
        g_autofree char *back = g_malloc(SIZE);
        struct extent pieces[] = {{0, 4096}, {8192, 8193}, {12288, SIZE}};
        size_t done = 0;

        for (size_t i = 0; i < SIZE + 7; i++)
                bytes[i] = (char)(i * 31 + i / 4096);
        g_assert_cmpint(fill_write_pieces(fd, 0, bytes + 7, pieces, 3, &done, 4096), ==, 0);
        g_assert_cmpuint(done, ==, 3);
        g_assert_cmpint(pread(fd, back, SIZE, 0), ==, SIZE);
        g_assert_cmpmem(back, 4096, bytes + 7, 4096);
        g_assert_cmpmem(back + 8192, 1, bytes + 7 + 8192, 1);
        g_assert_cmpmem(back + 12288, SIZE - 12288, bytes + 7 + 12288, SIZE - 12288);
        for (size_t i = 4096; i < 8192; i++)
                g_assert_cmpint(back[i], ==, 0);
}

int main(int argc, char **argv) {
        loop_init(&argc, &argv, 120);
        loop_add("whole", test_whole);
        loop_add("killed", test_killed);
        loop_add("killed-in-pwrite", test_killed_in_pwrite);
        return g_test_run();
}
