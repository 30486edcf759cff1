/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * events — the C helpers of bench/run
 *
 *     events answer DIR           the smallest loop that answers pre-content events
 *     events pread FILE N SIZE    N reads of the same SIZE bytes at offset 0
 *     events opens DIR N          open and close of DIR/0 … DIR/N-1, each once
 *     events random FILE N        N reads of 4 KiB at random places
 *     events create DIR N         N files with a size, as fast as open(2) makes them
 *
 * `answer` marks the file system of DIR as cloudsyncd does, says "ready", and allows
 * everything: read, write, close for an event, and nothing else. The others print
 * nanoseconds: `pread`, `opens` and `random` one number a call, `create` the whole.
 *
 * Numbers come out after the last measured call, so that printing is not measured.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef FAN_PRE_ACCESS
#define FAN_PRE_ACCESS 0x00100000
#endif

static void fail(const char *what) {
        fprintf(stderr, "events: %s: %s\n", what, strerror(errno));
        exit(1);
}

static int64_t now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *allocate(size_t n, size_t size) {
        void *p = calloc(n, size);

        if (!p)
                fail("memory");
        return p;
}

static void print_all(const int64_t *took, long n) {
        for (long i = 0; i < n; i++)
                printf("%" PRId64 "\n", took[i]);
}

_Noreturn static void answer(const char *dir) {
        int group = fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC | FAN_UNLIMITED_QUEUE,
                                  O_RDONLY | O_LARGEFILE | O_CLOEXEC);
        char buffer[4096] __attribute__((aligned(8)));

        if (group < 0 || fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
                                       FAN_PRE_ACCESS | FAN_OPEN_PERM, AT_FDCWD, dir) < 0)
                fail(dir);
        puts("ready");
        fflush(stdout);
        for (;;) {
                ssize_t length = read(group, buffer, sizeof buffer);
                const struct fanotify_event_metadata *m = (const void *)buffer;

                if (length < 0)
                        fail("read");
                for (; FAN_EVENT_OK(m, length); m = FAN_EVENT_NEXT(m, length)) {
                        struct fanotify_response response = {.fd = m->fd, .response = FAN_ALLOW};
                        if (write(group, &response, sizeof response) < 0)
                                fail("write");
                        close(m->fd);
                }
        }
}

static int reads(const char *path, long n, size_t size) {
        int64_t *took = allocate((size_t)n, sizeof *took);
        char *buffer = allocate(1, size);
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                fail(path);
        for (long i = 0; i < n; i++) {
                int64_t begin = now();
                if (pread(fd, buffer, size, 0) != (ssize_t)size)
                        fail("pread");
                took[i] = now() - begin;
        }
        print_all(took, n);
        return 0;
}

static int opens(const char *dir, long n) {
        int64_t *took = allocate((size_t)n, sizeof *took);
        int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (at < 0)
                fail(dir);
        for (long i = 0; i < n; i++) {
                char name[24];
                int64_t begin;
                int fd;

                snprintf(name, sizeof name, "%ld", i);
                begin = now();
                fd = openat(at, name, O_RDONLY | O_CLOEXEC);
                took[i] = now() - begin;
                if (fd < 0)
                        fail(name);
                close(fd);
        }
        print_all(took, n);
        return 0;
}

/* Always the same places, so that both sides of a comparison read the same ones. */
static int random_reads(const char *path, long n) {
        int64_t *took = allocate((size_t)n, sizeof *took);
        uint64_t state = 88172645463325252u;
        static char buffer[4096];
        struct stat st;
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 4096)
                fail(path);
        for (long i = 0; i < n; i++) {
                int64_t begin;
                off_t at;

                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                at = (off_t)(state % ((uint64_t)st.st_size / 4096) * 4096);
                begin = now();
                if (pread(fd, buffer, sizeof buffer, at) != (ssize_t)sizeof buffer)
                        fail("pread");
                took[i] = now() - begin;
        }
        print_all(took, n);
        return 0;
}

static int create(const char *dir, long n) {
        int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int64_t begin = now();

        if (at < 0)
                fail(dir);
        for (long i = 0; i < n; i++) {
                char name[24];
                int fd;

                snprintf(name, sizeof name, "%ld", i);
                fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
                if (fd < 0 || ftruncate(fd, 4096) < 0)
                        fail(name);
                close(fd);
        }
        printf("%" PRId64 "\n", now() - begin);
        return 0;
}

int main(int argc, char **argv) {
        const char *verb = argc > 2 ? argv[1] : "";
        long n = argc > 3 ? atol(argv[3]) : 0;

        if (strcmp(verb, "answer") == 0)
                answer(argv[2]);
        if (strcmp(verb, "pread") == 0 && n > 0 && argc > 4 && atol(argv[4]) > 0)
                return reads(argv[2], n, (size_t)atol(argv[4]));
        if (strcmp(verb, "opens") == 0 && n > 0)
                return opens(argv[2], n);
        if (strcmp(verb, "random") == 0 && n > 0)
                return random_reads(argv[2], n);
        if (strcmp(verb, "create") == 0 && n > 0)
                return create(argv[2], n);
        fprintf(stderr, "usage: events answer DIR | pread FILE N SIZE | opens DIR N | random FILE N | create DIR N\n");
        return 2;
}
