/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The journal over every way to die, with a pipe in the place of the group: the writer of
 * events is not the one who dies, as the kernel is not.
 *
 * A child shares the table of descriptors, as a worker does, and lives the life of an event:
 * read into the buffer, entry, buffer forgotten, answer, end, close. It is killed at a random
 * instant. Then whatever was handed out and not answered must be in the journal, with
 * its range, its file and its number.
 */

#include "dispatcher/events/fanotify-compat.h"
#include "dispatcher/events/journal.h"
#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 4u
#define ROUNDS 400u

struct record {
        struct fanotify_event_metadata metadata;
        struct fan_info_range range;
};

/* What the "kernel" knows: which numbers wait for an answer. */
struct truth {
        atomic_int waits[256];
        uint64_t offset[256];
        ino_t inode[256];
};

static struct truth *truth;
static char directory[] = "/tmp/journal-test-XXXXXX";

static void make_record(struct record *r, int fd, uint64_t offset) {
        *r = (struct record){
                .metadata = {.event_len = sizeof *r,
                             .vers = FANOTIFY_METADATA_VERSION,
                             .metadata_len = FAN_EVENT_METADATA_LEN,
                             .mask = FAN_PRE_ACCESS,
                             .fd = fd,
                             .pid = 4711},
                .range = {.header = {.info_type = FAN_EVENT_INFO_TYPE_RANGE, .len = sizeof r->range},
                          .offset = offset,
                          .count = 4096},
        };
}

/* read(2) of the group: opens the files and copies the events, one after the other; an event
 * waits from the moment on in which it was copied. */
static size_t kernel_reads(uint8_t *buffer, uint64_t *serial) {
        size_t length = 0;

        for (unsigned i = 0; i < BATCH; i++) {
                struct record r;
                struct stat st;
                int fd = openat(AT_FDCWD, directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
                if (fd < 0)
                        _exit(3);
                if (fd > 255 || fstat(fd, &st) < 0)
                        _exit(4);
                if (atomic_load(&truth->waits[fd]))
                        _exit(5); /* a number that waits was given out again */
                make_record(&r, fd, ++*serial * 4096);
                truth->offset[fd] = r.range.offset;
                truth->inode[fd] = st.st_ino;
                memcpy(buffer + length, &r, sizeof r);
                atomic_thread_fence(memory_order_seq_cst);
                atomic_store(&truth->waits[fd], 1);
                length += sizeof r;
        }
        return length;
}

static void worker(int journal_fd, uint64_t serial) {
        Journal *journal;

        if (journal_open(journal_fd, &journal) < 0)
                _exit(2);
        for (;;) {
                struct fan_event events[BATCH];
                size_t length = kernel_reads(journal_buffer(journal), &serial), position = 0, n = 0;

                while (n < BATCH && fan_buffer_next(journal_buffer(journal), length, &position, &events[n]) > 0) {
                        if (!journal_add(journal, &events[n]))
                                _exit(6);
                        n++;
                }
                journal_buffer_done(journal);
                /* Some wait longer than others. */
                for (size_t i = 0; i < n; i++) {
                        atomic_store(&truth->waits[events[i].fd], 0); /* answered */
                        journal_end(journal, events[i].fd);
                        (void)close(events[i].fd);
                }
        }
}

struct seen {
        bool number[256];
        unsigned n;
};

static void check_entry(void *userdata, int number, const struct journal_entry *entry) {
        struct seen *seen = userdata;
        struct stat st;

        g_assert_cmpint(number, <, 256);
        seen->number[number] = true;
        seen->n++;
        if (!atomic_load(&truth->waits[number]))
                return; /* answered, and not ended: answering once more does nothing */
        g_assert_cmpint(entry->kind, ==, FAN_KIND_ACCESS);
        g_assert_cmpuint(entry->offset, ==, truth->offset[number]);
        g_assert_cmpuint(entry->count, ==, 4096);
        g_assert_cmpint(entry->tid, ==, 4711);
        g_assert_cmpint(fstat(number, &st), ==, 0); /* still open, and the same file */
        g_assert_cmpuint(st.st_ino, ==, truth->inode[number]);
}

/* What the next worker does first, and then it answers everything. */
static unsigned take_over(int journal_fd) {
        struct seen seen = {0};
        Journal *journal;

        g_assert_cmpint(journal_open(journal_fd, &journal), ==, 0);
        journal_recover(journal, true);
        journal_each(journal, check_entry, &seen);
        for (int number = 0; number < 256; number++) {
                if (atomic_load(&truth->waits[number]))
                        g_assert_true(seen.number[number]); /* nothing that waits is forgotten */
                if (seen.number[number]) {
                        atomic_store(&truth->waits[number], 0);
                        journal_end(journal, number);
                        g_assert_false(journal_has(journal, number));
                }
        }
        journal_close(journal);
        return seen.n;
}

static void close_from(int first) {
        for (int fd = first; fd < 256; fd++)
                (void)close(fd);
}

static void test_kill_points(void) {
        int journal = journal_create(), first = 0;
        unsigned taken = 0;

        g_assert_cmpint(journal, >=, 0);
        truth = mmap(NULL, sizeof *truth, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        g_assert_true(truth != MAP_FAILED);
        first = dup(journal);
        (void)close(first);
        for (unsigned round = 0; round < ROUNDS; round++) {
                int status;
                pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
                if (pid == 0)
                        worker(journal, (uint64_t)round << 32);
                g_usleep((gulong)g_test_rand_int_range(0, 3000));
                (void)kill(pid, SIGKILL);
                g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
                g_assert_true(WIFSIGNALED(status)); /* an exit status is a failed check of the child's */
                taken += take_over(journal);
                close_from(first);
        }
        g_assert_cmpuint(taken, >, 10); /* else nothing was tested */
        (void)close(journal);
}

/* The descriptors went with both processes: numbers and ranges are kept, files by handle where
 * an entry was made. */
struct lost {
        unsigned with, without;
};

static void count_lost(void *userdata, int number, const struct journal_entry *entry) {
        struct lost *lost = userdata;

        if (entry->has_handle)
                lost->with++;
        else
                lost->without++;
}

static void test_lost_descriptors(void) {
        autoclose int fd = journal_create(), file = -1;
        struct lost lost = {0};
        struct record r;
        Journal *journal;

        file = openat(AT_FDCWD, directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        g_assert_cmpint(file, >=, 0);
        g_assert_cmpint(journal_open(fd, &journal), ==, 0);
        g_assert_true(journal_add(journal, &(struct fan_event){.kind = FAN_KIND_OPEN, .fd = file, .tid = 1}));
        /* In the buffer only, under a number that is somebody else's by now: not to be looked at. */
        make_record(&r, STDERR_FILENO, 8192);
        memcpy(journal_buffer(journal), &r, sizeof r);
        journal_close(journal);

        g_assert_cmpint(journal_open(fd, &journal), ==, 0);
        journal_recover(journal, false);
        journal_each(journal, count_lost, &lost);
        g_assert_cmpuint(lost.with, ==, 1);
        g_assert_cmpuint(lost.without, ==, 1);
        g_assert_cmpint(journal_end_of_numbers(journal), ==, file + 1);
        /* The buffer is forgotten: once more makes no more of it. */
        journal_end(journal, STDERR_FILENO);
        journal_recover(journal, false);
        g_assert_false(journal_has(journal, STDERR_FILENO));
        journal_close(journal);
}

static void test_numbers(void) {
        autoclose int fd = journal_create();
        Journal *journal;

        g_assert_cmpint(journal_open(fd, &journal), ==, 0);
        g_assert_false(journal_add(journal, &(struct fan_event){.fd = -1}));
        g_assert_false(journal_add(journal, &(struct fan_event){.fd = (int)JOURNAL_ENTRIES}));
        g_assert_true(journal_add(journal, &(struct fan_event){.fd = (int)JOURNAL_ENTRIES - 1}));
        g_assert_cmpint(journal_end_of_numbers(journal), ==, (int)JOURNAL_ENTRIES);
        g_assert_true(journal_has(journal, (int)JOURNAL_ENTRIES - 1));
        g_assert_false(journal_has(journal, (int)JOURNAL_ENTRIES));
        g_assert_false(journal_has(journal, -1));
        journal_end(journal, -1);
        journal_end(journal, (int)JOURNAL_ENTRIES);
        journal_close(journal);
}

static void test_serving(void) {
        autoclose int fd = journal_create();
        Journal *journal, *other;

        g_assert_cmpint(journal_open(fd, &journal), ==, 0);
        g_assert_cmpint(journal_open(fd, &other), ==, 0);
        g_assert_false(journal_is_serving(other));
        journal_set_serving(journal, true);
        g_assert_true(journal_is_serving(other));
        g_assert_false(journal_is_stopping(other));
        journal_set_stopping(journal);
        g_assert_true(journal_is_stopping(other) && journal_is_serving(other));
        journal_close(journal);
        g_assert_true(journal_is_serving(other));
        journal_set_serving(other, false);
        g_assert_false(journal_is_serving(other));
        journal_close(other);
}

static void test_settling(void) {
        autoclose int fd = journal_create();
        struct handle handle = {.type = 1, .length = 8, .bytes = "inode"}, got;
        Journal *journal;

        g_assert_cmpint(journal_open(fd, &journal), ==, 0);
        g_assert_false(journal_was_settling(journal, &got));
        journal_settling(journal, &handle);
        journal_close(journal);
        g_assert_cmpint(journal_open(fd, &journal), ==, 0);
        g_assert_true(journal_was_settling(journal, &got));
        g_assert_cmpmem(&got, sizeof got, &handle, sizeof handle);
        journal_settling(journal, NULL);
        g_assert_false(journal_was_settling(journal, &got));
        handle.length = HANDLE_BYTES_MAX + 1; /* damaged */
        journal_settling(journal, &handle);
        g_assert_false(journal_was_settling(journal, &got));
        journal_close(journal);
}

static int open_foreign(size_t size, unsigned seals, uint8_t fill) {
        int fd = memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
        for (size_t at = 0; fill && at < MIN(size, 8192); at += 64) {
                uint8_t line[64];
                memset(line, fill, sizeof line);
                g_assert_cmpint(pwrite(fd, line, sizeof line, (off_t)at), ==, (ssize_t)sizeof line);
        }
        g_assert_cmpint(fcntl(fd, F_ADD_SEALS, seals), ==, 0);
        return fd;
}

static void refused(int fd) {
        Journal *journal = NULL;

        g_assert_cmpint(journal_open(fd, &journal), <, 0);
        g_assert_null(journal);
        fd_close(fd);
}

static void test_foreign(void) {
        autoclose int own = journal_create();
        const unsigned seals = F_SEAL_SHRINK | F_SEAL_GROW;
        struct stat st;
        uint64_t word = 0;

        g_assert_cmpint(fstat(own, &st), ==, 0);
        refused(open_foreign(0, seals, 0));
        refused(open_foreign(4096, seals, 0xff));
        refused(open_foreign((size_t)st.st_size, seals, 0));
        refused(open_foreign((size_t)st.st_size, seals, 0xff));
        refused(open("/dev/null", O_RDWR | O_CLOEXEC));
        refused(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        /* It may not shrink under its mapping. */
        g_assert_cmpint(ftruncate(own, 0), ==, -1);

        /* A later layout: the first words changed. */
        g_assert_cmpint(pread(own, &word, sizeof word, 8), ==, (ssize_t)sizeof word);
        word ^= 1u << 16;
        g_assert_cmpint(pwrite(own, &word, sizeof word, 8), ==, (ssize_t)sizeof word);
        refused(fd_steal(&own));
}

/* Whatever is in it, the numbers stay in range and handles within their bounds. */
static void look_at_entry(void *userdata, int number, const struct journal_entry *entry) {
        g_assert_cmpint(number, >=, 0);
        g_assert_cmpint(number, <, (int)JOURNAL_ENTRIES);
        g_assert_cmpuint(entry->kind, <=, FAN_KIND_READDIR);
        if (entry->has_handle)
                g_assert_cmpuint(entry->handle.length, <=, HANDLE_BYTES_MAX);
        ++*(unsigned *)userdata;
}

static void test_damaged(void) {
        autoclose int fd = journal_create();
        g_autofree uint8_t *junk = g_malloc(65536);
        unsigned n = 0;
        Journal *journal;

        for (unsigned round = 0; round < 30; round++) {
                for (size_t i = 0; i < 65536; i++)
                        junk[i] = (uint8_t)g_test_rand_int_range(0, 256);
                for (size_t i = 0; i < 65536; i += 4) /* many entries that say that they wait */
                        if (g_test_rand_bit())
                                memcpy(junk + i, &(uint32_t){1}, 4);
                /* all but magic and layout */
                g_assert_cmpint(pwrite(fd, junk, 65536, 12), ==, 65536);
                g_assert_cmpint(journal_open(fd, &journal), ==, 0);
                journal_recover(journal, round % 2);
                journal_each(journal, look_at_entry, &n);
                journal_close(journal);
        }
        g_assert_cmpuint(n, >, 0);
}

int main(int argc, char **argv) {
        int r;

        g_test_init(&argc, &argv, NULL);
        g_assert_nonnull(mkdtemp(directory));
        g_test_add_func("/journal/kill-points", test_kill_points);
        g_test_add_func("/journal/lost-descriptors", test_lost_descriptors);
        g_test_add_func("/journal/numbers", test_numbers);
        g_test_add_func("/journal/serving", test_serving);
        g_test_add_func("/journal/settling", test_settling);
        g_test_add_func("/journal/foreign", test_foreign);
        g_test_add_func("/journal/damaged", test_damaged);
        r = g_test_run();
        (void)rmdir(directory);
        return r;
}
