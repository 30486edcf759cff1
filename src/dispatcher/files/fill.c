/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/files/file.h"

#include "dispatcher/work.h"
#include "shared/channel.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * fill — fetches of a file, and the writes of what they bring
 *
 * A fetch covers [begin, end): begin on a granule, end on a granule or at the file's
 * limit. Its bytes come in order; each slot's worth is written by a job, several at a time.
 * The piece that ends it is held until DONE says that all of it is good, so that the
 * job that writes the last piece of a small file can finish it as well: one hop
 * through the pool for a file.
 */

/* A large file comes in this many pieces of this size at once. */
#define SEGMENT (16u * 1024 * 1024)

struct write {
        File *file;
        Fetch *fetch;
        ProviderData *data;
        int fd;
        uint64_t granule;
        struct timespec mtime;
        struct extent *pieces;
        size_t n_pieces, done;
        int r;
};

bool fill_busy(const File *file) {
        return file->fetches->len > 0;
}

struct extent *fill_pieces(const File *file, uint64_t begin, uint64_t end, size_t *ret_n) {
        GArray *pieces = g_array_new(FALSE, FALSE, sizeof(struct extent));
        struct extent gap;

        while (begin < end && extents_first_gap(&file->present, begin, end, &gap)) {
                g_array_append_val(pieces, gap);
                begin = gap.end;
        }
        *ret_n = pieces->len;
        return (struct extent *)g_array_free(pieces, FALSE);
}

/*
 * How bytes get into a file: through a pipe, not by pwrite(2).
 *
 * A pwrite whose source page is not in the page table copies short, and takes the fault then.
 * On ext4 a short copy zeroes the rest of the range in the page cache and marks it dirty
 * (block_write_end → folio_zero_new_buffers); the retry overwrites that, unless SIGKILL is
 * pending. Then the zeros stay and go to disk as data, and no map of the file tells them
 * from what was filled (seen on 6.18: a worker killed under load). vmsplice(2)
 * pins the source pages first, and a copy from pinned pages cannot be short: a kill falls
 * between folios, never into one.
 */
#define PIPE_SIZE (2u * CHANNEL_SLOT_SIZE) /* a slot's pages, and one more when it begins inside one */

struct pipe {
        int read, write;
};

static void pipe_free(void *data) {
        struct pipe *p = data;

        fd_close(p->read);
        fd_close(p->write);
        g_free(p);
}

static GPrivate thread_pipe = G_PRIVATE_INIT(pipe_free);

/* The calling thread's pipe, empty; NULL and errno. */
static struct pipe *pipe_get(void) {
        struct pipe *p = g_private_get(&thread_pipe);
        int fds[2];

        if (p)
                return p;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return NULL;
        p = g_new(struct pipe, 1);
        *p = (struct pipe){.read = fds[0], .write = fds[1]};
        if (fcntl(p->write, F_SETPIPE_SZ, PIPE_SIZE) < 0) {
                int saved = errno;
                pipe_free(p);
                errno = saved;
                return NULL;
        }
        g_private_set(&thread_pipe, p);
        return p;
}

/* At most a slot, which fits into the pipe: so that one splice, and one write of the file
 * system, takes all of it. */
static int write_slot(struct pipe *p, int fd, const uint8_t *bytes, uint64_t begin, uint64_t end) {
        struct iovec source = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = end - begin};
        loff_t at = (loff_t)begin;
        ssize_t n;

        do
                n = vmsplice(p->write, &source, 1, 0);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if ((uint64_t)n != end - begin)
                return -EIO;
        while ((uint64_t)at < end) {
                n = splice(p->read, NULL, fd, &at, end - (uint64_t)at, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
        }
        return 0;
}

static int write_all(int fd, const uint8_t *bytes, uint64_t begin, uint64_t end) {
        struct pipe *p = pipe_get();

        if (!p)
                return -errno;
        while (begin < end) {
                uint64_t next = MIN(end, begin + CHANNEL_SLOT_SIZE);
                int r = write_slot(p, fd, bytes, begin, next);
                if (r < 0) {
                        g_private_replace(&thread_pipe, NULL); /* what is left in it goes */
                        return r;
                }
                bytes += next - begin;
                begin = next;
        }
        return 0;
}

int fill_write_pieces(int fd, uint64_t offset, const void *bytes, const struct extent *pieces,
                      size_t n_pieces, size_t *ret_done, uint64_t granule) {
        for (size_t i = 0; i < n_pieces; i++) {
                const struct extent *p = &pieces[i];
                int r = write_all(fd, (const uint8_t *)bytes + (p->begin - offset), p->begin, p->end);
                if (r < 0) {
                        /* All of the piece was a hole: make it one again. Blocks may have been
                         * allocated, and be full of zeros, past what was written. */
                        uint64_t end = (p->end + granule - 1) / granule * granule;
                        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)p->begin,
                                      (off_t)(end - p->begin)) < 0)
                                log_error("a failed fill cannot be taken back: %s", strerror(errno));
                        *ret_done = i;
                        return r;
                }
        }
        *ret_done = n_pieces;
        return 0;
}

int fill_set_mtime(int fd, const struct timespec *mtime) {
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, *mtime};

        return futimens(fd, times) < 0 ? -errno : 0;
}

static void fetch_release(Fetch *fetch) {
        File *file = fetch->file;

        if (fetch->request || fetch->writes || fetch->held)
                return;
        g_ptr_array_remove_fast(file->fetches, fetch);
        g_free(fetch);
}

static void write_run(void *data) {
        struct write *w = data;

        w->r = fill_write_pieces(w->fd, provider_data_offset(w->data), provider_data_bytes(w->data),
                                 w->pieces, w->n_pieces, &w->done, w->granule);
        /* The file's date is the remote's while it comes, too: others stat it meanwhile. */
        (void)fill_set_mtime(w->fd, &w->mtime);
}

static void write_done(void *data) {
        struct write *w = data;
        File *file = w->file;
        Fetch *fetch = w->fetch;

        for (size_t i = 0; i < w->done && w->r >= 0; i++)
                w->r = extents_add(&file->present, w->pieces[i].begin, w->pieces[i].end);
        for (size_t i = 0; i < w->done; i++) {
                file->fetched += w->pieces[i].end - w->pieces[i].begin;
                file->files->bytes += w->pieces[i].end - w->pieces[i].begin;
        }
        provider_data_release(w->data);
        file->jobs--;
        fetch->writes--;
        fetch_release(fetch);
        if (w->r < 0)
                file_fail(file, w->r, "the content cannot be written to the store");
        g_free(w->pieces);
        g_free(w);
        file_step(file);
}

static void write_begin(Fetch *fetch, ProviderData *data) {
        File *file = fetch->file;
        struct write *w = g_new0(struct write, 1);
        uint64_t begin = provider_data_offset(data);

        w->file = file;
        w->fetch = fetch;
        w->data = data;
        w->fd = file->fd;
        w->granule = store_granule(file->files->o->store);
        w->mtime = file->mtime;
        w->pieces = fill_pieces(file, begin, begin + provider_data_length(data), &w->n_pieces);
        file->jobs++;
        fetch->writes++;
        work_run(write_run, write_done, w);
}

static size_t fetch_data(void *userdata, ProviderData *data) {
        Fetch *fetch = userdata;
        uint64_t granule = store_granule(fetch->file->files->o->store);
        uint64_t begin = provider_data_offset(data), end = begin + provider_data_length(data);

        if (end < fetch->end) { /* a tail that does not fill its granule is fetched again */
                uint64_t kept = end / granule * granule;
                if (kept <= begin) {
                        provider_data_release(data);
                        return 0;
                }
                provider_data_trim(data, end - kept);
                end = kept;
        }
        if (end == fetch->end) {
                provider_data_release(fetch->held); /* of an attempt that broke before its DONE */
                fetch->held = data;
        } else
                write_begin(fetch, data);
        return (size_t)(end - begin);
}

static void fetch_end(void *userdata, int r, const char *detail) {
        Fetch *fetch = userdata;
        File *file = fetch->file;

        fetch->request = NULL;
        if (r < 0) {
                if (fetch->held) /* of the right version, as far as the engine knew when it sent it */
                        g_clear_pointer(&fetch->held, provider_data_release);
                fetch_release(fetch);
                file_fail(file, r, detail);
                file_step(file);
                return;
        }
        if (!fetch->held) {
                fetch_release(fetch);
                file_step(file);
                return;
        }
        /* The piece that makes the file whole is left to file_step(): it finishes with it. */
        if (!file_completes_with_held(file))
                write_begin(fetch, g_steal_pointer(&fetch->held));
        file_step(file);
}

static int fetch_begin(File *file, uint64_t begin, uint64_t end) {
        Engine *engine = file_engine(file);
        Fetch *fetch;

        if (!engine)
                return -EIO;
        if (store_free_bytes(file->files->o->store) < end - begin)
                return -ENOSPC;
        fetch = g_new0(Fetch, 1);
        fetch->file = file;
        fetch->begin = begin;
        fetch->end = end;
        g_ptr_array_add(file->fetches, fetch);
        if (file->transfer == 0) {
                file->transfer = ++file->files->last_transfer;
                file->transfer_since = g_get_monotonic_time();
        }
        fetch->request = engine_fetch(engine, &file->stamp, begin, end - begin, fetch_data, fetch_end, fetch);
        return 0;
}

/* The first byte in [begin, end) that is neither here nor on its way, and how far that goes. */
static bool fill_gap(const File *file, uint64_t begin, uint64_t end, struct extent *ret) {
        while (begin < end) {
                Fetch *inside = NULL;
                struct extent gap;

                if (!extents_first_gap(&file->present, begin, end, &gap))
                        return false;
                for (guint i = 0; i < file->fetches->len && !inside; i++) {
                        Fetch *fetch = file->fetches->pdata[i];
                        if (fetch->begin <= gap.begin && gap.begin < fetch->end)
                                inside = fetch;
                        else if (fetch->begin > gap.begin && fetch->begin < gap.end)
                                gap.end = fetch->begin;
                }
                if (!inside) {
                        *ret = gap;
                        return true;
                }
                begin = inside->end;
        }
        return false;
}

int fill_want(File *file, uint64_t begin, uint64_t end, unsigned fetches_max) {
        uint64_t granule = store_granule(file->files->o->store);
        struct extent gap;
        Engine *engine = file_engine(file);

        begin = begin / granule * granule;
        end = MIN((end + granule - 1) / granule * granule, file->limit);
        while (file->fetches->len < fetches_max && fill_gap(file, begin, end, &gap)) {
                int r;
                /* present is kept in granules, but for a last one */
                gap.begin = gap.begin / granule * granule;
                if (engine && engine_has_ranges(engine))
                        gap.end = MIN(gap.end, gap.begin + SEGMENT);
                r = fetch_begin(file, gap.begin, gap.end);
                if (r < 0)
                        return r;
                begin = gap.end;
        }
        return 0;
}

int fill_ahead(File *file, uint64_t begin, uint64_t end, uint64_t least, unsigned fetches_max) {
        struct extent gap;
        int r = 0;

        end = MIN(end, file->limit);
        while (r == 0 && file->fetches->len < fetches_max && fill_gap(file, begin, end, &gap)) {
                if (gap.end - gap.begin >= least || gap.end == file->limit)
                        r = fill_want(file, gap.begin, gap.end, fetches_max);
                begin = gap.end;
        }
        return r;
}

void fill_cancel(File *file) {
        for (guint i = file->fetches->len; i-- > 0;) {
                Fetch *fetch = file->fetches->pdata[i];
                if (fetch->request)
                        engine_cancel(g_steal_pointer(&fetch->request));
                g_clear_pointer(&fetch->held, provider_data_release);
                fetch_release(fetch);
        }
}
