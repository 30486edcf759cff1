/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * enemy content N | enemy play|read SHARED OWN OUTSIDE SECONDS PROCESSES SEED — an unfriendly local user
 *
 * SHARED and OWN are trees of placeholders that the user owns, OUTSIDE is a directory of his own in
 * the same store that no engine has. In every file of a remote's the byte at offset i is pattern(i),
 * which is never zero. So whatever is moved, linked, replaced and read meanwhile, by whatever
 * call, a byte that is read is right or is not, and no process has to know what the others do.
 *
 *   SHARED   is never written to; its files and directories are renamed, linked, exchanged and
 *            unlinked, into OUTSIDE and back, while all processes read
 *   OWN      has files pNN-MM, of which process NN alone changes its own, in every way, and
 *            compares them with what it remembers having written
 *
 * With "read" nothing is changed, so that the remote's changes come in (which a user's would keep out).
 *
 * Errors are counted, by call and errno, and are for the test to judge. A wrong byte ends
 * everything: exit status 1, and one line that says what, where and how.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_URING
#include <liburing.h>
#endif

#define PAGE 4096u
#define READ_MAX (256u * 1024)
#define NAMES_MAX 64
#define OWN_FILES 24

static const char *shared, *own, *outside;
static bool reads_only;
static unsigned process;
static uint64_t dice;
static uint8_t *buffer; /* READ_MAX, page aligned */

/* What all processes count together. */
static struct counts {
        uint64_t reads, bytes, changes;
        uint64_t errors[40][140]; /* by operation and errno */
} *counts;

static uint8_t pattern(uint64_t at) {
        return (uint8_t)(((at * 2654435761u) >> 11) % 251 + 1);
}

static uint32_t roll(uint32_t sides) {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        return (uint32_t)((dice >> 16) % sides);
}

static void __attribute__((noreturn)) wrong(const char *how, const char *path, uint64_t at, uint8_t got) {
        printf("WRONG: %s of %s: byte %llu is %u instead of %u\n", how, path, (unsigned long long)at, got,
               pattern(at));
        fflush(stdout);
        _exit(1);
}

static void check(const char *how, const char *path, const uint8_t *data, uint64_t offset, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (data[i] != pattern(offset + i))
                        wrong(how, path, offset + i, data[i]);
        __atomic_fetch_add(&counts->reads, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&counts->bytes, n, __ATOMIC_RELAXED);
}

/* ── ways to read ───────────────────────────────────────────────────────── */

/* Each reads some of `fd`, whose size is `size` (not 0), and checks it. -errno when the kernel refuses. */
typedef int (*read_fn)(int fd, uint64_t size, const char *path);

static uint64_t some_offset(uint64_t size) {
        return roll(4) == 0 ? 0 : roll((uint32_t)size);
}

static int by_pread(int fd, uint64_t size, const char *path) {
        uint64_t at = some_offset(size);
        ssize_t n = pread(fd, buffer, roll(READ_MAX) + 1, (off_t)at);
        if (n < 0)
                return -errno;
        check("pread", path, buffer, at, (size_t)n);
        return 0;
}

static int by_read(int fd, uint64_t size, const char *path) {
        uint64_t at = 0;
        ssize_t n;
        (void)size;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return -errno;
        while ((n = read(fd, buffer, READ_MAX)) > 0) {
                check("read", path, buffer, at, (size_t)n);
                at += (uint64_t)n;
        }
        return n < 0 ? -errno : 0;
}

static int by_preadv(int fd, uint64_t size, const char *path) {
        uint64_t at = some_offset(size);
        struct iovec v[2] = {{buffer, 777}, {buffer + 777, READ_MAX / 2}};
        ssize_t n = preadv2(fd, v, 2, (off_t)at, roll(2) ? RWF_NOWAIT : RWF_HIPRI);
        if (n < 0)
                return -errno;
        check("preadv2", path, buffer, at, (size_t)n);
        return 0;
}

static int by_direct(int fd, uint64_t size, const char *path) {
        char link[64];
        uint64_t at = some_offset(size) / PAGE * PAGE;
        ssize_t n;
        int direct;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        direct = open(link, O_RDONLY | O_DIRECT | O_CLOEXEC);
        if (direct < 0)
                return -errno;
        n = pread(direct, buffer, READ_MAX, (off_t)at);
        if (n >= 0)
                check("O_DIRECT", path, buffer, at, (size_t)n);
        close(direct);
        return n < 0 ? -errno : 0;
}

static int map_read(int fd, uint64_t size, const char *path, int flags, const char *how) {
        uint64_t at = some_offset(size) / PAGE * PAGE;
        size_t length = size - at < READ_MAX ? size - at : READ_MAX;
        uint8_t *p = mmap(NULL, length, PROT_READ, flags, fd, (off_t)at);
        if (p == MAP_FAILED)
                return -errno;
        if (roll(3) == 0)
                (void)madvise(p, length, roll(2) ? MADV_WILLNEED : MADV_POPULATE_READ);
        check(how, path, p, at, length);
        munmap(p, length);
        return 0;
}

static int by_mmap(int fd, uint64_t size, const char *path) {
        static const int flags[] = {MAP_PRIVATE, MAP_SHARED, MAP_PRIVATE | MAP_POPULATE};
        return map_read(fd, size, path, flags[roll(3)], "mmap");
}

/* The part by which mremap stretches a mapping raises no event. */
static int by_mremap(int fd, uint64_t size, const char *path) {
        uint8_t *p = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0), *q;
        if (p == MAP_FAILED)
                return -errno;
        q = mremap(p, PAGE, size, MREMAP_MAYMOVE);
        if (q == MAP_FAILED) {
                munmap(p, PAGE);
                return -errno;
        }
        check("mremap", path, q, 0, size);
        munmap(q, size);
        return 0;
}

static int pipe_check(int *pipes, const char *how, const char *path, uint64_t at, size_t n) {
        size_t done = 0;
        while (done < n) {
                ssize_t r = read(pipes[0], buffer + done, n - done);
                if (r <= 0)
                        return -EIO;
                done += (size_t)r;
        }
        check(how, path, buffer, at, n);
        return 0;
}

static int by_splice(int fd, uint64_t size, const char *path) {
        int pipes[2], r;
        loff_t at = (loff_t)some_offset(size), from = at;
        ssize_t n;
        if (pipe2(pipes, O_CLOEXEC) < 0)
                return -errno;
        n = splice(fd, &at, pipes[1], NULL, 60000, 0);
        r = n < 0 ? -errno : pipe_check(pipes, "splice", path, (uint64_t)from, (size_t)n);
        close(pipes[0]);
        close(pipes[1]);
        return r;
}

static int by_sendfile(int fd, uint64_t size, const char *path) {
        int pipes[2], r;
        off_t at = (off_t)some_offset(size), from = at;
        ssize_t n;
        if (pipe2(pipes, O_CLOEXEC) < 0)
                return -errno;
        n = sendfile(pipes[1], fd, &at, 60000);
        r = n < 0 ? -errno : pipe_check(pipes, "sendfile", path, (uint64_t)from, (size_t)n);
        close(pipes[0]);
        close(pipes[1]);
        return r;
}

/* A file without a name, in the store. */
static int scratch(void) {
        return open(outside, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
}

static int by_copy(int fd, uint64_t size, const char *path) {
        uint64_t at = some_offset(size) / PAGE * PAGE;
        loff_t from = (loff_t)at, to = (loff_t)at;
        int copy = scratch();
        ssize_t n, m;
        if (copy < 0)
                return -errno;
        n = copy_file_range(fd, &from, copy, &to, READ_MAX, 0);
        m = n > 0 ? pread(copy, buffer, (size_t)n, (off_t)at) : 0;
        if (n > 0 && m != n)
                wrong("copy_file_range (short)", path, at, 0);
        if (n > 0)
                check("copy_file_range", path, buffer, at, (size_t)n);
        close(copy);
        return n < 0 ? -errno : 0;
}

static int by_clone(int fd, uint64_t size, const char *path) {
        int copy = scratch(), r = 0;
        (void)size;
        if (copy < 0)
                return -errno;
        if (ioctl(copy, FICLONE, fd) < 0)
                r = -errno;
        else
                r = by_read(copy, size, path);
        close(copy);
        return r;
}

/* The owner of a file may have a range of it shared with one of the same bytes, though it is open for
 * reading only. A hole reads like zeros: then it would be data, and be zeros for everybody. */
static int by_dedupe(int fd, uint64_t size, const char *path) {
        static const uint8_t zeros[PAGE * 16];
        union {
                struct file_dedupe_range head;
                char room[sizeof(struct file_dedupe_range) + sizeof(struct file_dedupe_range_info)];
        } range = {.head = {.src_length = sizeof zeros, .dest_count = 1}};
        struct file_dedupe_range_info *info = range.head.info;
        uint64_t at = some_offset(size) / PAGE * PAGE;
        int source = scratch(), r = 0;
        if (source < 0)
                return -errno;
        info->dest_fd = fd;
        info->dest_offset = at;
        if (pwrite(source, zeros, sizeof zeros, 0) < 0 || fsync(source) < 0 ||
            ioctl(source, FIDEDUPERANGE, &range) < 0)
                r = -errno;
        else if (info->status == FILE_DEDUPE_RANGE_SAME && info->bytes_deduped > 0)
                wrong("dedupe", path, at, 0);
        close(source);
        return r < 0 ? r : by_pread(fd, size, path);
}

/* Ahead of any read, then by a mapping of what that brought. */
static int by_readahead(int fd, uint64_t size, const char *path) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
        (void)readahead(fd, 0, size);
        return roll(2) ? by_mmap(fd, size, path) : by_pread(fd, size, path);
}

#ifdef HAVE_URING
static int by_uring(int fd, uint64_t size, const char *path) {
        static struct io_uring ring;
        static pid_t made; /* a forked child would take its parent's answers */
        uint64_t at = some_offset(size);
        struct io_uring_cqe *cqe;
        struct io_uring_sqe *sqe;
        int r = made == getpid() ? 0 : io_uring_queue_init(4, &ring, 0);
        if (r < 0)
                return r;
        made = getpid();
        sqe = io_uring_get_sqe(&ring);
        io_uring_prep_read(sqe, fd, buffer, roll(READ_MAX) + 1, at);
        if (roll(2))
                io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
        io_uring_submit_and_wait(&ring, 1);
        r = io_uring_wait_cqe(&ring, &cqe);
        if (r < 0)
                return r;
        r = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
        if (r < 0)
                return r;
        check("io_uring", path, buffer, at, (size_t)r);
        return 0;
}
#endif

static const struct {
        const char *name;
        read_fn read;
} readers[] = {
        {"pread", by_pread},       {"read", by_read},         {"preadv2", by_preadv},
        {"direct", by_direct},     {"mmap", by_mmap},         {"mremap", by_mremap},
        {"splice", by_splice},     {"sendfile", by_sendfile}, {"copy_file_range", by_copy},
        {"ficlone", by_clone},     {"readahead", by_readahead}, {"dedupe", by_dedupe},
#ifdef HAVE_URING
        {"io_uring", by_uring},
#endif
};
#define READERS (sizeof readers / sizeof readers[0])
static const char *const more[] = {"open", "rename", "exchange", "link", "unlink", "rename-dir", "opendir",
                                   "own", "bind", "overlay", "fchmod", "lease"};
enum { OPEN = 20, RENAME, EXCHANGE, LINK, UNLINK, RENAME_DIR, OPENDIR, OWN, BIND, OVERLAY, FCHMOD, LEASE };

static void note(unsigned operation, int r) {
        if (r < 0 && r > -140)
                __atomic_fetch_add(&counts->errors[operation][-r], 1, __ATOMIC_RELAXED);
}

/* ── what to do it to ───────────────────────────────────────────────────── */

/* A directory that may be there: the tree's dN, or where it was moved to. */
static void some_directory(char path[512]) {
        unsigned n = roll(12);
        if (roll(4) == 0)
                snprintf(path, 512, "%s", outside);
        else
                snprintf(path, 512, "%s/d%u", roll(5) ? shared : outside, n);
}

/* A name in it; what the listing brings first is more likely. false: empty, or gone. */
static bool some_file(const char *directory, char path[1024], unsigned char type) {
        DIR *dir = opendir(directory);
        char names[NAMES_MAX][64];
        unsigned n = 0, skip = roll(40);
        struct dirent *d;
        if (!dir) {
                note(OPENDIR, -errno);
                return false;
        }
        while (n < NAMES_MAX && (d = readdir(dir))) {
                if (d->d_type != type || d->d_name[0] == '.' || strlen(d->d_name) > 60)
                        continue;
                if (skip > 0 && n > 0) {
                        skip--;
                        n = 0;
                }
                strcpy(names[n++], d->d_name);
        }
        closedir(dir);
        if (n == 0)
                return false;
        snprintf(path, 1024, "%s/%s", directory, names[roll(n)]);
        return true;
}

static int open_somehow(const char *path) {
        char link[64];
        int fd, other;
        if (roll(4) != 0)
                return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        other = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
        if (other < 0)
                return -1;
        snprintf(link, sizeof link, "/proc/self/fd/%d", other);
        fd = open(link, O_RDONLY | O_CLOEXEC);
        close(other);
        return fd;
}

static void read_file(const char *path) {
        int fd = open_somehow(path);
        unsigned times = roll(3) + 1;
        struct stat st;
        if (fd < 0) {
                note(OPEN, -errno);
                return;
        }
        if (roll(16) == 0) {
                signal(SIGIO, SIG_IGN);
                if (fcntl(fd, F_SETLEASE, roll(2) ? F_RDLCK : F_WRLCK) < 0)
                        note(LEASE, -errno);
                else { /* not longer: an open of his own would wait for it for 45 s */
                        usleep(roll(5000));
                        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
                }
        }
        while (times-- > 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
                unsigned how = roll(READERS);
                note(how, readers[how].read(fd, (uint64_t)st.st_size, path));
        }
        close(fd);
}

static void shared_read(void) {
        char directory[512], path[1024];
        some_directory(directory);
        if (some_file(directory, path, DT_REG))
                read_file(path);
}

static int renameat2_(const char *from, const char *to, unsigned flags) {
        return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

/* Within the tree, out of it, and back; a name that is taken is kept. */
static void shared_rename(void) {
        char a[512], b[512], from[1024], to[1024];
        some_directory(a);
        some_directory(b);
        if (!some_file(a, from, DT_REG))
                return;
        snprintf(to, sizeof to, "%s/r%u-%u", b, process, roll(100000));
        if (renameat2_(from, to, RENAME_NOREPLACE) < 0)
                note(RENAME, -errno);
        else
                __atomic_fetch_add(&counts->changes, 1, __ATOMIC_RELAXED);
        if (roll(2))
                read_file(to);
}

static void shared_exchange(void) {
        char a[512], b[512], from[1024], to[1024];
        some_directory(a);
        some_directory(b);
        if (!some_file(a, from, DT_REG) || !some_file(b, to, DT_REG))
                return;
        if (renameat2_(from, to, RENAME_EXCHANGE) < 0)
                note(EXCHANGE, -errno);
        read_file(from);
}

/* A hard link, the first name gone, and a read by the second and by what was open. */
static void shared_link(void) {
        char a[512], b[512], from[1024], to[1024];
        int fd;
        some_directory(a);
        some_directory(b);
        if (!some_file(a, from, DT_REG))
                return;
        snprintf(to, sizeof to, "%s/l%u-%u", b, process, roll(100000));
        if (link(from, to) < 0) {
                note(LINK, -errno);
                return;
        }
        fd = roll(2) ? open(from, O_PATH | O_CLOEXEC) : -1;
        if (roll(3) == 0 && unlink(from) < 0)
                note(UNLINK, -errno);
        if (fd >= 0) {
                char self[64];
                snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
                read_file(self);
                close(fd);
        }
        read_file(to);
}

/* Directories with all that is in them, listed or not, while others are in there. */
static void shared_rename_directory(void) {
        char from[512], to[512];
        unsigned n = roll(12);
        bool out = roll(2);
        snprintf(from, sizeof from, "%s/d%u", out ? shared : outside, n);
        snprintf(to, sizeof to, "%s/d%u", out ? outside : shared, n);
        if (renameat2_(from, to, RENAME_NOREPLACE) < 0)
                note(RENAME_DIR, -errno);
}

/* A mode that is changed moves ctime, and is no reason to take the file for another. */
static void shared_mode(void) {
        char directory[512], path[1024];
        some_directory(directory);
        if (some_file(directory, path, DT_REG) && chmod(path, 0600 | roll(64)) < 0)
                note(FCHMOD, -errno);
}

static int write_text(const char *path, const char *text) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
        int r = n < 0 ? -errno : 0;
        if (fd >= 0)
                close(fd);
        return r;
}

/* In a user namespace of his own a user may mount: binds, and overlays on top of the tree. */
static void in_namespace(void) {
        char text[64], options[2048], point[600], directory[512], path[1024];
        pid_t pid = fork();
        if (pid > 0) {
                (void)waitpid(pid, &(int){0}, 0);
                return;
        }
        if (pid < 0)
                return;
        snprintf(text, sizeof text, "0 %u 1\n", (unsigned)geteuid());
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
                note(BIND, -errno);
                _exit(0);
        }
        (void)write_text("/proc/self/setgroups", "deny");
        (void)write_text("/proc/self/uid_map", text);
        snprintf(point, sizeof point, "%s/mnt%u", outside, process);
        (void)mkdir(point, 0700);
        some_directory(directory);
        if (roll(2)) {
                if (mount(directory, point, NULL, MS_BIND, NULL) < 0) {
                        note(BIND, -errno);
                        _exit(0);
                }
        } else {
                snprintf(options, sizeof options, "lowerdir=%s:%s,userxattr", directory, shared);
                if (mount("overlay", point, "overlay", 0, options) < 0) {
                        note(OVERLAY, -errno);
                        _exit(0);
                }
        }
        for (unsigned i = 0; i < 5; i++)
                if (some_file(point, path, DT_REG))
                        read_file(path);
        _exit(0);
}

/* ── files of one's own ─────────────────────────────────────────────────── */

static struct model {
        uint8_t *bytes; /* NULL: not changed yet */
        size_t size;
        bool gone;
} models[OWN_FILES];

static void own_path(unsigned n, char path[1024]) {
        snprintf(path, 1024, "%s/p%u-%u", own, process, n);
}

static void own_compare(unsigned n) {
        struct model *m = &models[n];
        char path[1024];
        struct stat st;
        uint64_t at = 0;
        ssize_t got;
        int fd;
        own_path(n, path);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
                note(OWN, -errno);
                return;
        }
        if (fstat(fd, &st) == 0 && (size_t)st.st_size != m->size) {
                printf("WRONG: %s has size %lld instead of %zu\n", path, (long long)st.st_size, m->size);
                fflush(stdout);
                _exit(1);
        }
        while ((got = pread(fd, buffer, READ_MAX, (off_t)at)) > 0) {
                for (ssize_t i = 0; i < got; i++, at++)
                        if (at >= m->size || buffer[i] != m->bytes[at]) {
                                printf("WRONG: %s: byte %llu of his own is %u instead of %u\n", path,
                                       (unsigned long long)at, buffer[i], at < m->size ? m->bytes[at] : 0);
                                fflush(stdout);
                                _exit(1);
                        }
        }
        if (got < 0)
                note(OWN, -errno);
        close(fd);
}

static int own_begin(struct model *m, const char *path) {
        struct stat st;
        if (m->bytes)
                return 0;
        if (stat(path, &st) < 0)
                return -errno;
        m->bytes = malloc((size_t)st.st_size + READ_MAX);
        m->size = (size_t)st.st_size;
        for (size_t i = 0; i < m->size; i++)
                m->bytes[i] = pattern(i);
        return 0;
}

/* Truncates in the memory as the kernel does on the disk. */
static void model_cut(struct model *m, size_t size) {
        if (size > m->size)
                memset(m->bytes + m->size, 0, size - m->size);
        m->size = size;
}

static int own_write(struct model *m, const char *path, int flags) {
        size_t at = m->size ? roll((uint32_t)m->size) : 0, n = roll(9000) + 1;
        int fd = open(path, O_RDWR | O_CLOEXEC | flags);
        ssize_t done;
        if (fd < 0)
                return -errno;
        if (at + n > m->size)
                n = flags & O_APPEND ? 100 : m->size - at;
        memset(buffer, 'A' + (int)roll(26), n);
        done = flags & O_APPEND ? write(fd, buffer, n) : pwrite(fd, buffer, n, (off_t)at);
        if (done > 0 && !(flags & O_APPEND))
                memcpy(m->bytes + at, buffer, (size_t)done);
        else if (done > 0) {
                memcpy(m->bytes + m->size, buffer, (size_t)done);
                m->size += (size_t)done;
        }
        if (roll(3) == 0)
                (void)fsync(fd);
        close(fd);
        return done < 0 ? -errno : 0;
}

static int own_map(struct model *m, const char *path) {
        size_t at = m->size ? roll((uint32_t)m->size) : 0;
        int fd = open(path, O_RDWR | O_CLOEXEC);
        uint8_t *p;
        if (fd < 0)
                return -errno;
        p = m->size ? mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
        close(fd);
        if (p == MAP_FAILED)
                return 0;
        p[at] = m->bytes[at] = 'm';
        munmap(p, m->size);
        return 0;
}

static int own_truncate(struct model *m, const char *path) {
        size_t size = roll((uint32_t)m->size + 5000);
        size_t then = roll(2) ? m->size : size;
        if (truncate(path, (off_t)size) < 0)
                return -errno;
        model_cut(m, size);
        if (then == size)
                return 0;
        if (truncate(path, (off_t)then) < 0)
                return -errno;
        model_cut(m, then);
        return 0;
}

static int own_punch(struct model *m, const char *path) {
        size_t at = m->size ? roll((uint32_t)m->size) : 0, n = roll(30000) + 1;
        int fd = open(path, O_RDWR | O_CLOEXEC), r;
        if (fd < 0)
                return -errno;
        if (at + n > m->size)
                n = m->size - at;
        r = n ? fallocate(fd, roll(2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                                      : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n) : 0;
        if (r == 0)
                memset(m->bytes + at, 0, n);
        close(fd);
        return r < 0 ? -errno : 0;
}

static int own_o_trunc(struct model *m, const char *path) {
        int fd = open(path, (roll(2) ? O_WRONLY : O_RDONLY) | O_TRUNC | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        model_cut(m, 0);
        close(fd);
        return 0;
}

static void own_change(void) {
        unsigned n = roll(OWN_FILES);
        struct model *m = &models[n];
        char path[1024];
        int r;
        if (m->gone)
                return;
        own_path(n, path);
        r = own_begin(m, path);
        if (r < 0) { /* not listed yet */
                note(OWN, r);
                return;
        }
        if (m->size > 600000)
                return;
        switch (roll(8)) {
        case 0: r = own_write(m, path, 0); break;
        case 1: r = own_write(m, path, O_APPEND); break;
        case 2: r = own_map(m, path); break;
        case 3: case 4: r = own_truncate(m, path); break;
        case 5: r = own_punch(m, path); break;
        case 6: r = roll(4) == 0 ? own_o_trunc(m, path) : own_write(m, path, O_SYNC); break;
        default: break;
        }
        note(OWN, r);
        __atomic_fetch_add(&counts->changes, 1, __ATOMIC_RELAXED);
        own_compare(n);
}

/* ── all of it ──────────────────────────────────────────────────────────── */

static double now(void) {
        struct timespec t;
        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void play(double seconds) {
        static void (*const acts[])(void) = {
                shared_read, shared_read, shared_read, shared_read, shared_read, shared_read, shared_rename,
                shared_exchange, shared_link, shared_rename_directory, shared_mode, own_change, own_change,
        };
        double end = now() + seconds;
        while (now() < end) {
                if (roll(60) == 0)
                        in_namespace();
                else if (reads_only)
                        shared_read();
                else
                        acts[roll(sizeof acts / sizeof acts[0])]();
        }
        for (unsigned i = 0; i < OWN_FILES; i++)
                if (models[i].bytes)
                        own_compare(i);
}

static void print_counts(void) {
        printf("%llu reads, %llu bytes, %llu changes\n", (unsigned long long)counts->reads,
               (unsigned long long)counts->bytes, (unsigned long long)counts->changes);
        for (unsigned i = 0; i < 40; i++)
                for (int e = 1; e < 140; e++)
                        if (counts->errors[i][e])
                                printf("%s %s %llu\n", i < READERS ? readers[i].name : more[i - OPEN],
                                       strerrorname_np(e), (unsigned long long)counts->errors[i][e]);
}

int main(int argc, char **argv) {
        int status = 0;
        if (argc == 3 && strcmp(argv[1], "content") == 0) {
                for (uint64_t i = 0; i < strtoull(argv[2], NULL, 10); i++)
                        putchar(pattern(i));
                return 0;
        }
        if (argc != 8)
                return 2;
        reads_only = strcmp(argv[1], "read") == 0;
        shared = argv[2];
        own = argv[3];
        outside = argv[4];
        counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        for (process = 0; process < strtoul(argv[6], NULL, 10); process++)
                if (fork() == 0) {
                        buffer = mmap(NULL, READ_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                        dice = (strtoull(argv[7], NULL, 10) + 1) * 0x9E3779B97F4A7C15u + process * 7919u;
                        play(strtod(argv[5], NULL));
                        _exit(0);
                }
        for (int s; wait(&s) > 0;)
                if (s != 0) {
                        if (WIFSIGNALED(s))
                                printf("ended by signal %d\n", WTERMSIG(s));
                        status = 1;
                }
        print_counts();
        return status;
}
