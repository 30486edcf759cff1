/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/events/journal.h"

#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define JOURNAL_MAGIC 0x6c6e726a73636c63ull
#define JOURNAL_LAYOUT ((uint32_t)(6u << 16 | sizeof(struct journal_entry)))
/* Its size is fixed: a mapping of it can raise no SIGBUS. */
#define JOURNAL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

#define STOPPING 2u /* layout.serving */

struct layout {
        uint64_t magic;
        uint32_t layout;
        _Atomic uint32_t highest;
        _Atomic uint32_t serving;
        _Atomic uint32_t settling; /* 1: the handle is valid */
        struct handle settling_handle;
        _Atomic uint32_t has_store; /* 1: `store` is valid */
        struct journal_store store;
        uint8_t buffer[JOURNAL_BUFFER] __attribute__((aligned(8)));
        struct journal_entry entries[JOURNAL_ENTRIES];
};

struct Journal {
        struct layout *map;
};

int journal_create(void) {
        autoclose int fd = memfd_create("cloudsync-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        struct layout *map;

        if (fd < 0 || ftruncate(fd, sizeof(struct layout)) < 0)
                return -errno;
        map = mmap(NULL, sizeof *map, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        map->layout = JOURNAL_LAYOUT;
        map->magic = JOURNAL_MAGIC;
        (void)munmap(map, sizeof *map);
        if (fcntl(fd, F_ADD_SEALS, JOURNAL_SEALS | F_SEAL_SEAL) < 0)
                return -errno;
        return fd_steal(&fd);
}

/* The kernel copies events to the buffer. If it had to bring in a page for it while the
 * process is being killed, the copy would fail and the event be denied. */
static void buffer_hold(struct layout *map) {
        (void)mlock(map->buffer, sizeof map->buffer);
        for (size_t i = 0; i < sizeof map->buffer; i += 1024) {
                volatile uint8_t *byte = &map->buffer[i];
                *byte = *byte; /* writable from now on */
        }
}

int journal_open(int fd, Journal **ret) {
        struct layout *map;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        int seals = fcntl(fd, F_GET_SEALS);
        if (st.st_size != sizeof(struct layout) || seals < 0 || (seals & JOURNAL_SEALS) != JOURNAL_SEALS)
                return -EBADMSG;
        map = mmap(NULL, sizeof *map, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        if (map->magic != JOURNAL_MAGIC || map->layout != JOURNAL_LAYOUT) {
                (void)munmap(map, sizeof *map);
                return -EBADMSG;
        }
        buffer_hold(map);
        *ret = g_new(Journal, 1);
        (*ret)->map = map;
        return 0;
}

void journal_close(Journal *j) {
        if (!j)
                return;
        (void)munmap(j->map, sizeof *j->map);
        g_free(j);
}

void *journal_buffer(Journal *j) {
        return j->map->buffer;
}

void journal_buffer_done(Journal *j) {
        /* The first event's length is what the next reader of the buffer looks at. */
        atomic_thread_fence(memory_order_release);
        memset(j->map->buffer, 0, JOURNAL_BUFFER);
        atomic_thread_fence(memory_order_release);
}

static bool journal_write(Journal *j, const struct fan_event *event, bool open) {
        struct journal_entry *e;

        if (event->fd < 0 || event->fd >= (int)JOURNAL_ENTRIES)
                return false;
        e = &j->map->entries[event->fd];
        e->kind = event->kind;
        e->tid = event->tid;
        e->offset = event->offset;
        e->count = event->count;
        e->has_handle = open && handle_take(event->fd, &e->handle) == 0;
        if ((uint32_t)event->fd >= atomic_load(&j->map->highest))
                atomic_store(&j->map->highest, (uint32_t)event->fd + 1);
        atomic_thread_fence(memory_order_release);
        e->state = 1;
        return true;
}

bool journal_add(Journal *j, const struct fan_event *event) {
        return journal_write(j, event, true);
}

void journal_end(Journal *j, int number) {
        if (number < 0 || number >= (int)JOURNAL_ENTRIES)
                return;
        atomic_thread_fence(memory_order_release);
        j->map->entries[number].state = 0;
}

bool journal_has(const Journal *j, int number) {
        return number >= 0 && number < (int)JOURNAL_ENTRIES && j->map->entries[number].state == 1;
}

int journal_end_of_numbers(const Journal *j) {
        return (int)MIN(atomic_load(&j->map->highest), JOURNAL_ENTRIES);
}

void journal_recover(Journal *j, bool open) {
        struct fan_event event;
        size_t position = 0;
        uint8_t copy[JOURNAL_BUFFER + 64];

        /* Zeros end it: fan_buffer_next() takes an event of length 0 for nonsense. */
        memset(copy, 0, sizeof copy);
        memcpy(copy, j->map->buffer, JOURNAL_BUFFER);
        while (fan_buffer_next(copy, sizeof copy, &position, &event) > 0) {
                struct stat st;
                if (event.fd < 0 || journal_has(j, event.fd))
                        continue;
                if (open && event.kind == FAN_KIND_OPEN && fstat(event.fd, &st) == 0 && S_ISDIR(st.st_mode))
                        event.kind = FAN_KIND_READDIR;
                (void)journal_write(j, &event, open);
        }
        journal_buffer_done(j);
}

void journal_each(Journal *j, journal_each_fn each, void *userdata) {
        int end = journal_end_of_numbers(j);

        for (int number = 0; number < end; number++) {
                if (!journal_has(j, number))
                        continue;
                struct journal_entry e = j->map->entries[number];
                if (e.kind > FAN_KIND_READDIR || e.handle.length > HANDLE_BYTES_MAX) {
                        e.kind = FAN_KIND_OPEN;
                        e.has_handle = 0;
                }
                each(userdata, number, &e);
        }
}

void journal_settling(Journal *j, const struct handle *handle) {
        atomic_store(&j->map->settling, 0);
        if (!handle)
                return;
        j->map->settling_handle = *handle;
        atomic_store(&j->map->settling, 1);
}

bool journal_was_settling(const Journal *j, struct handle *ret) {
        if (atomic_load(&j->map->settling) != 1)
                return false;
        *ret = j->map->settling_handle;
        return ret->length <= HANDLE_BYTES_MAX;
}

void journal_set_serving(Journal *j, bool serving) {
        atomic_store(&j->map->serving, serving);
}

bool journal_is_serving(const Journal *j) {
        return atomic_load(&j->map->serving) != 0;
}

void journal_set_stopping(Journal *j) {
        atomic_store(&j->map->serving, STOPPING);
}

bool journal_is_stopping(const Journal *j) {
        return atomic_load(&j->map->serving) == STOPPING;
}

void journal_set_store(Journal *j, const struct journal_store *store) {
        atomic_store(&j->map->has_store, 0);
        j->map->store = *store;
        atomic_store(&j->map->has_store, 1);
}

bool journal_store(const Journal *j, struct journal_store *ret) {
        if (atomic_load(&j->map->has_store) != 1)
                return false;
        *ret = j->map->store;
        return memchr(ret->path, '\0', sizeof ret->path) && memchr(ret->device, '\0', sizeof ret->device) &&
               ret->path[0] == '/';
}
