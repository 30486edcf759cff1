/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cost FILE — what the usual accesses to FILE cost, in nanoseconds: "pread1 1444", a line for each
 *
 * For a machine whose clock counts instructions (QEMU's -icount shift=0: one is a nanosecond), where
 * one that is not interrupted gives the same. The least of many rounds, each shorter than a tick of the clock, so that
 * no interrupt is in it. A byte that is copied counts as an instruction there; a real processor
 * copies dozens at a time.
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 64
#define CALLS 10

static const char *path;
static int file;

static void pread_one(void) {
        char byte;

        if (pread(file, &byte, 1, 0) != 1)
                err(1, "pread");
}

static void pread_page(void) {
        static char page[4096];

        if (pread(file, page, sizeof page, 0) != (ssize_t)sizeof page)
                err(1, "pread");
}

/* A whole file, as cat(1) reads it. */
static void whole(void) {
        static char buffer[128 << 10];
        int fd = open(path, O_RDONLY);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                err(1, "%s", path);
        while (read(fd, buffer, sizeof buffer) > 0)
                ;
        close(fd);
}

static void open_close(void) {
        int fd = open(path, O_RDONLY);

        if (fd < 0)
                err(1, "%s", path);
        close(fd);
}

static void map_unmap(void) {
        void *at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);

        if (at == MAP_FAILED)
                err(1, "mmap");
        munmap(at, 4096);
}

static void look(void) {
        struct stat st;

        if (stat(path, &st) < 0)
                err(1, "stat");
}

static uint64_t now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void measure(const char *name, void (*call)(void)) {
        uint64_t least = UINT64_MAX;

        for (int round = 0; round < ROUNDS; round++) {
                uint64_t begun = now();
                for (int i = 0; i < CALLS; i++)
                        call();
                uint64_t took = now() - begun;
                if (took < least)
                        least = took;
        }
        printf("%s %llu\n", name, (unsigned long long)(least / CALLS));
}

int main(int argc, char *argv[]) {
        if (argc != 2)
                errx(2, "usage: cost FILE");
        path = argv[1];
        file = open(path, O_RDONLY);
        if (file < 0)
                err(1, "%s", path);
        measure("pread1", pread_one);
        measure("pread4096", pread_page);
        measure("whole", whole);
        measure("open", open_close);
        measure("mmap", map_unmap);
        measure("stat", look);
        return EXIT_SUCCESS;
}
