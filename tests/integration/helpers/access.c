/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * access VERB FILE [ARGUMENT…] — one way to touch a file, for the tests
 *
 * Reading verbs open FILE read-only, bring its content into user space by exactly
 * the system call in their name, and write it to standard output. Changing verbs do
 * one change. A call that fails ends the program with exit status 1 and
 * "VERB: errno-number text" on standard error, so that a test can tell EIO from
 * ENOSPC. "hold" verbs print a line when they hold what they say and go on when a
 * line comes on standard input.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef HAVE_URING
#include <liburing.h>
#endif

static const char *verb;

static void __attribute__((noreturn)) die(int error) {
        fprintf(stderr, "%s: %d %s\n", verb, error, strerror(error));
        exit(1);
}

static long check(long r) {
        if (r < 0)
                die(errno);
        return r;
}

static void put_all(const void *data, size_t n) {
        const char *p = data;
        while (n > 0) {
                ssize_t w = check(write(STDOUT_FILENO, p, n));
                p += w;
                n -= (size_t)w;
        }
}

static int open_file(const char *path, int flags) {
        return (int)check(open(path, flags | O_CLOEXEC, 0644));
}

static size_t size_of(int fd) {
        struct stat st;
        check(fstat(fd, &st));
        return (size_t)st.st_size;
}

static void *allocate(size_t n) {
        void *p = NULL;
        if (posix_memalign(&p, 4096, n + 4096) != 0)
                die(ENOMEM);
        memset(p, 0xa5, n + 4096); /* what a call did not fill is not zero */
        return p;
}

static size_t number(const char *s) {
        char *end;
        if (s == NULL)
                die(EINVAL);
        unsigned long long n = strtoull(s, &end, 0);
        if (*end != '\0')
                die(EINVAL);
        return (size_t)n;
}

/* ---- reading */

static void do_read(const char *path, char **args) {
        int fd = open_file(path, O_RDONLY);
        size_t step = args[0] != NULL ? number(args[0]) : 65536;
        char *buffer = allocate(step);
        for (ssize_t n; (n = check(read(fd, buffer, step))) > 0;)
                put_all(buffer, (size_t)n);
}

/* From the end to the beginning, in steps that meet no page boundary. */
static void do_pread(const char *path, char **args) {
        int fd = open_file(path, O_RDONLY);
        size_t size = size_of(fd), step = args[0] != NULL ? number(args[0]) : 30011;
        char *buffer = allocate(size);
        for (size_t end = size; end > 0;) {
                size_t begin = end > step ? end - step : 0;
                for (size_t done = begin; done < end;) {
                        ssize_t n = check(pread(fd, buffer + done, end - done, (off_t)done));
                        if (n == 0)
                                die(ENODATA);
                        done += (size_t)n;
                }
                end = begin;
        }
        put_all(buffer, size);
}

/* access pread-at FILE OFFSET LENGTH */
static void do_pread_at(const char *path, char **args) {
        int fd = open_file(path, O_RDONLY);
        size_t offset = number(args[0]), length = number(args[1]);
        char *buffer = allocate(length);
        ssize_t n = check(pread(fd, buffer, length, (off_t)offset));
        put_all(buffer, (size_t)n);
}

static void vectored(const char *path, bool offsets, int flags) {
        int fd = open_file(path, O_RDONLY);
        char *a = allocate(1000), *b = allocate(5000), *c = allocate(50000);
        off_t at = 0;
        for (;;) {
                struct iovec iov[] = {{a, 1000}, {b, 5000}, {c, 50000}};
                ssize_t n = offsets ? preadv2(fd, iov, 3, at, flags) : readv(fd, iov, 3);
                if (n < 0 && errno == EAGAIN && (flags & RWF_NOWAIT)) {
                        flags = 0; /* nothing in the page cache: now with waiting */
                        continue;
                }
                check(n);
                if (n == 0)
                        return;
                at += n;
                for (int i = 0; i < 3 && n > 0; i++) {
                        size_t part = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;
                        put_all(iov[i].iov_base, part);
                        n -= (ssize_t)part;
                }
        }
}

static void do_readv(const char *path, char **args) {
        (void)args;
        vectored(path, false, 0);
}

static void do_preadv2(const char *path, char **args) {
        (void)args;
        vectored(path, true, 0);
}

static void do_preadv2_nowait(const char *path, char **args) {
        (void)args;
        vectored(path, true, RWF_NOWAIT);
}

static void mapped(const char *path, int flags, bool backwards) {
        int fd = open_file(path, O_RDONLY);
        size_t size = size_of(fd);
        if (size == 0)
                return;
        char *p = mmap(NULL, size, PROT_READ, flags, fd, 0);
        if (p == MAP_FAILED)
                die(errno);
        close(fd);
        char *copy = allocate(size);
        if (backwards) {
                for (size_t end = size; end > 0;) {
                        size_t begin = (end - 1) & ~(size_t)4095;
                        memcpy(copy + begin, p + begin, end - begin);
                        end = begin;
                }
        } else {
                memcpy(copy, p, size);
        }
        put_all(copy, size);
}

static void do_mmap_private(const char *path, char **args) {
        (void)args;
        mapped(path, MAP_PRIVATE, false);
}

static void do_mmap_shared(const char *path, char **args) {
        (void)args;
        mapped(path, MAP_SHARED, true);
}

static void do_mmap_populate(const char *path, char **args) {
        (void)args;
        mapped(path, MAP_PRIVATE | MAP_POPULATE, false);
}

/* Maps one page, and lets the mapping grow over the rest. */
static void do_mremap(const char *path, char **args) {
        (void)args;
        int fd = open_file(path, O_RDONLY);
        size_t size = size_of(fd);
        char *p = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                die(errno);
        p = mremap(p, 1, size, MREMAP_MAYMOVE);
        if (p == MAP_FAILED)
                die(errno);
        put_all(p, size);
}

/* A private mapping that is written to: the copy must begin from the file's bytes. */
static void do_mmap_cow(const char *path, char **args) {
        (void)args;
        int fd = open_file(path, O_RDONLY);
        size_t size = size_of(fd);
        char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                die(errno);
        for (size_t i = 0; i < size; i += 4096) {
                char was = p[i];
                p[i] = (char)~was;
                p[i] = was;
        }
        put_all(p, size);
}

static void do_odirect(const char *path, char **args) {
        (void)args;
        int fd = open_file(path, O_RDONLY | O_DIRECT);
        size_t step = 65536;
        char *buffer = allocate(step);
        for (ssize_t n; (n = check(read(fd, buffer, step))) > 0;) {
                put_all(buffer, (size_t)n);
                if (n % 512 != 0)
                        return; /* the end of the file */
        }
}

static void do_sendfile(const char *path, char **args) {
        (void)args;
        int fd = open_file(path, O_RDONLY);
        while (check(sendfile(STDOUT_FILENO, fd, NULL, 1 << 20)) > 0)
                ;
}

/* Standard output must be a pipe. */
static void do_splice(const char *path, char **args) {
        (void)args;
        int fd = open_file(path, O_RDONLY);
        while (check(splice(fd, NULL, STDOUT_FILENO, NULL, 65536, 0)) > 0)
                ;
}

static void do_copy_file_range(const char *path, char **args) {
        int in = open_file(path, O_RDONLY);
        int out = open_file(args[0], O_WRONLY | O_CREAT | O_TRUNC);
        while (check(copy_file_range(in, NULL, out, NULL, 1 << 20, 0)) > 0)
                ;
}

static void do_ficlone(const char *path, char **args) {
        int in = open_file(path, O_RDONLY);
        int out = open_file(args[0], O_WRONLY | O_CREAT | O_TRUNC);
        check(ioctl(out, FICLONE, in));
}

/* access ficlonerange FILE OUT: its first MiB, or all of it. */
static void do_ficlonerange(const char *path, char **args) {
        int in = open_file(path, O_RDONLY);
        int out = open_file(args[0], O_WRONLY | O_CREAT | O_TRUNC);
        struct file_clone_range range = {.src_fd = in, .src_offset = 0, .src_length = 0, .dest_offset = 0};
        check(ioctl(out, FICLONERANGE, &range));
}

#ifdef HAVE_URING
static int uring_one(struct io_uring *ring) {
        struct io_uring_cqe *cqe;
        int r = io_uring_submit_and_wait(ring, 1);
        if (r < 0)
                die(-r);
        r = io_uring_wait_cqe(ring, &cqe);
        if (r < 0)
                die(-r);
        r = cqe->res;
        io_uring_cqe_seen(ring, cqe);
        if (r < 0)
                die(-r);
        return r;
}

/* Opened and read by io_uring: neither shows in the thread's system call. */
static void uring(const char *path, unsigned sqe_flags) {
        struct io_uring ring;
        int r = io_uring_queue_init(8, &ring, 0);
        if (r < 0)
                die(-r);
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        io_uring_prep_openat(sqe, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
        int fd = uring_one(&ring);
        size_t size = size_of(fd);
        char *buffer = allocate(size);
        for (size_t done = 0; done < size;) {
                size_t n = size - done < 100000 ? size - done : 100000;
                sqe = io_uring_get_sqe(&ring);
                io_uring_prep_read(sqe, fd, buffer + done, (unsigned)n, done);
                io_uring_sqe_set_flags(sqe, sqe_flags);
                r = uring_one(&ring);
                if (r == 0)
                        die(ENODATA);
                done += (size_t)r;
        }
        put_all(buffer, size);
}

static void do_uring(const char *path, char **args) {
        (void)args;
        uring(path, 0);
}

static void do_uring_async(const char *path, char **args) {
        (void)args;
        uring(path, IOSQE_ASYNC);
}

/* Many reads in flight at once, in no order. */
static void do_uring_parallel(const char *path, char **args) {
        (void)args;
        struct io_uring ring;
        int fd = open_file(path, O_RDONLY), r = io_uring_queue_init(64, &ring, 0);
        if (r < 0)
                die(-r);
        size_t size = size_of(fd), step = (size / 48 + 4096) & ~(size_t)4095, n = 0;
        char *buffer = allocate(size);
        for (size_t at = 0; at < size; at += step, n++) {
                struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
                size_t length = size - at < step ? size - at : step;
                io_uring_prep_read(sqe, fd, buffer + at, (unsigned)length, at);
                io_uring_sqe_set_data64(sqe, length);
        }
        r = io_uring_submit(&ring);
        if (r < 0)
                die(-r);
        while (n-- > 0) {
                struct io_uring_cqe *cqe;
                r = io_uring_wait_cqe(&ring, &cqe);
                if (r < 0)
                        die(-r);
                if (cqe->res < 0)
                        die(-cqe->res);
                if ((uint64_t)cqe->res != cqe->user_data)
                        die(ENODATA);
                io_uring_cqe_seen(&ring, cqe);
        }
        put_all(buffer, size);
}
#endif

/* access holes FILE: the data extents as SEEK_DATA and SEEK_HOLE tell them. */
static void do_holes(const char *path, char **args) {
        (void)args;
        int fd = open_file(path, O_RDONLY);
        off_t data = 0, hole;
        while ((data = lseek(fd, data, SEEK_DATA)) >= 0) {
                hole = check(lseek(fd, data, SEEK_HOLE));
                printf("%lld %lld\n", (long long)data, (long long)hole);
                data = hole;
        }
        if (errno != ENXIO)
                die(errno);
}

/* ---- holding */

static void wait_for_line(const char *what) {
        char line[64];
        printf("%s\n", what);
        fflush(stdout);
        if (fgets(line, sizeof line, stdin) == NULL)
                exit(2);
}

static void do_hold(const char *path, char **args) {
        (void)args;
        int fd = open_file(path, O_RDONLY);
        wait_for_line("open");
        char *buffer = allocate(65536);
        for (ssize_t n; (n = check(read(fd, buffer, 65536))) > 0;)
                put_all(buffer, (size_t)n);
}

/* access hold-range FILE OFFSET LENGTH: a part, a pause, then all of it. */
static void do_hold_range(const char *path, char **args) {
        int fd = open_file(path, O_RDONLY);
        size_t offset = number(args[0]), length = number(args[1]), size = size_of(fd);
        char *part = allocate(length);
        check(pread(fd, part, length, (off_t)offset));
        wait_for_line("read");
        char *buffer = allocate(size);
        for (size_t done = 0; done < size;) {
                ssize_t n = check(pread(fd, buffer + done, size - done, (off_t)done));
                if (n == 0)
                        break;
                done += (size_t)n;
        }
        if (memcmp(part, buffer + offset, length) != 0)
                die(EILSEQ);
        put_all(buffer, size);
}

#ifdef HAVE_URING
/* access hold-uring FILE OFFSET LENGTH: its first page, then a pause in which an io_uring alone has it open,
 * then that part, and a pause. */
static void do_hold_uring(const char *path, char **args) {
        int fd = open_file(path, O_RDONLY);
        uint64_t offset = number(args[0]);
        size_t length = number(args[1]);
        char *buffer = allocate(length > 4096 ? length : 4096);
        struct io_uring ring;

        check(pread(fd, buffer, 4096, 0));
        if (io_uring_queue_init(8, &ring, 0) < 0 || io_uring_register_files(&ring, &fd, 1) < 0)
                die(ENOSYS);
        check(close(fd));
        wait_for_line("held");
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        io_uring_prep_read(sqe, 0, buffer, (unsigned)length, offset);
        io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
        struct io_uring_cqe *cqe;
        if (io_uring_submit_and_wait(&ring, 1) < 0 || io_uring_wait_cqe(&ring, &cqe) < 0)
                die(EIO);
        printf("%s\n", cqe->res < 0 ? strerrorname_np(-cqe->res) : "bytes");
        fflush(stdout);
        wait_for_line("read");
        io_uring_queue_exit(&ring);
}
#endif

/* ---- changing */

static void do_truncate(const char *path, char **args) {
        check(truncate(path, (off_t)number(args[0])));
}

static void do_ftruncate(const char *path, char **args) {
        check(ftruncate(open_file(path, O_RDWR), (off_t)number(args[0])));
}

static void do_otrunc(const char *path, char **args) {
        int fd = open_file(path, O_WRONLY | O_TRUNC);
        if (args[0] != NULL)
                check(write(fd, args[0], strlen(args[0])));
}

/* O_TRUNC with O_RDONLY truncates as well. */
static void do_otrunc_rdonly(const char *path, char **args) {
        (void)args;
        open_file(path, O_RDONLY | O_TRUNC);
}

static void do_append(const char *path, char **args) {
        int fd = open_file(path, O_WRONLY | O_APPEND);
        check(write(fd, args[0], strlen(args[0])));
}

static void do_write_at(const char *path, char **args) {
        int fd = open_file(path, O_WRONLY);
        check(pwrite(fd, args[1], strlen(args[1]), (off_t)number(args[0])));
}

/* access write-hold FILE OFFSET TEXT: writes, and keeps the file open for a while. */
static void do_write_hold(const char *path, char **args) {
        int fd = open_file(path, O_RDWR);
        check(pwrite(fd, args[1], strlen(args[1]), (off_t)number(args[0])));
        wait_for_line("written");
        check(pwrite(fd, args[1], strlen(args[1]), (off_t)(number(args[0]) + strlen(args[1]))));
}

static void do_mmap_write(const char *path, char **args) {
        int fd = open_file(path, O_RDWR);
        size_t size = size_of(fd), offset = number(args[0]);
        char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                die(errno);
        memcpy(p + offset, args[1], strlen(args[1]));
        check(msync(p, size, MS_SYNC));
}

static void fallocate_range(const char *path, char **args, int mode) {
        check(fallocate(open_file(path, O_RDWR), mode, (off_t)number(args[0]), (off_t)number(args[1])));
}

static void do_punch(const char *path, char **args) {
        fallocate_range(path, args, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

static void do_zero_range(const char *path, char **args) {
        fallocate_range(path, args, FALLOC_FL_ZERO_RANGE);
}

static void do_collapse(const char *path, char **args) {
        fallocate_range(path, args, FALLOC_FL_COLLAPSE_RANGE);
}

static void do_insert(const char *path, char **args) {
        fallocate_range(path, args, FALLOC_FL_INSERT_RANGE);
}

static void do_allocate(const char *path, char **args) {
        fallocate_range(path, args, 0);
}

static void do_fsync(const char *path, char **args) {
        (void)args;
        check(fsync(open_file(path, O_RDONLY)));
}

/* access odirect-write FILE OFFSET: one block of 'D', by O_DIRECT. */
static void do_odirect_write(const char *path, char **args) {
        int fd = open_file(path, O_WRONLY | O_DIRECT);
        char *buffer = allocate(4096);
        memset(buffer, 'D', 4096);
        check(pwrite(fd, buffer, 4096, (off_t)number(args[0])));
}

static const struct {
        const char *name;
        int arguments; /* at least, after FILE */
        void (*run)(const char *path, char **args);
} verbs[] = {
        {"read", 0, do_read},
        {"pread", 0, do_pread},
        {"pread-at", 2, do_pread_at},
        {"readv", 0, do_readv},
        {"preadv2", 0, do_preadv2},
        {"preadv2-nowait", 0, do_preadv2_nowait},
        {"mmap-private", 0, do_mmap_private},
        {"mmap-shared", 0, do_mmap_shared},
        {"mmap-populate", 0, do_mmap_populate},
        {"mmap-cow", 0, do_mmap_cow},
        {"mremap", 0, do_mremap},
        {"odirect", 0, do_odirect},
        {"sendfile", 0, do_sendfile},
        {"splice", 0, do_splice},
        {"copy_file_range", 1, do_copy_file_range},
        {"ficlone", 1, do_ficlone},
        {"ficlonerange", 1, do_ficlonerange},
#ifdef HAVE_URING
        {"uring", 0, do_uring},
        {"uring-async", 0, do_uring_async},
        {"uring-parallel", 0, do_uring_parallel},
        {"hold-uring", 2, do_hold_uring},
#endif
        {"holes", 0, do_holes},
        {"hold", 0, do_hold},
        {"hold-range", 2, do_hold_range},
        {"truncate", 1, do_truncate},
        {"ftruncate", 1, do_ftruncate},
        {"otrunc", 0, do_otrunc},
        {"otrunc-rdonly", 0, do_otrunc_rdonly},
        {"append", 1, do_append},
        {"write-at", 2, do_write_at},
        {"write-hold", 2, do_write_hold},
        {"mmap-write", 2, do_mmap_write},
        {"punch", 2, do_punch},
        {"zero-range", 2, do_zero_range},
        {"collapse", 2, do_collapse},
        {"insert", 2, do_insert},
        {"allocate", 2, do_allocate},
        {"fsync", 0, do_fsync},
        {"odirect-write", 1, do_odirect_write},
};

int main(int argc, char **argv) {
        char *none[3] = {NULL, NULL, NULL};
        verb = argc > 1 ? argv[1] : "access";
        for (size_t i = 0; argc > 2 && i < sizeof verbs / sizeof verbs[0]; i++) {
                if (strcmp(verbs[i].name, verb) != 0)
                        continue;
                if (argc - 3 < verbs[i].arguments)
                        die(EINVAL);
                verbs[i].run(argv[2], argc > 3 ? argv + 3 : none);
                return 0;
        }
        fprintf(stderr, "usage: access VERB FILE [ARGUMENT…]\n");
        return 2;
}
