/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/files/file.h"

#include "dispatcher/files/presence.h"
#include "dispatcher/work.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/*
 * foreign — a stamp that names another inode
 *
 * Only root can put one there, by a copy with extended attributes (cp -a, rsync -X, tar --xattrs),
 * or by whatever gives inodes new numbers (a store copied to another disk, resize2fs). Is it a
 * copy of a file's bytes, or of a placeholder's holes? The stamp does not tell:
 *
 *   - cp and tar open a file before they ask for its attributes. So what they copy says FILLED
 *     or WHOLE, and their bytes are right. rsync asks first: what it copies may say PLACEHOLDER,
 *     and its bytes are right all the same, since it opened the file afterwards.
 *   - without the daemon nobody was held: there the holes were copied.
 *
 * The file tells, as far as it can be told:
 *
 *   WHOLE                      its holes were zeros where it came from: a user's own file
 *   FILLED in this boot        all had come before the attribute was copied: a user's own
 *   nothing in it at all, size and mtime of the stamp: no byte of it can be a user's write, or
 *                              the size or the date would have moved. It is adopted: the stamp
 *                              is made its own, and what is missing is fetched again.
 *   no hole                    a copy of the bytes: a user's own
 *   else                       a hole may be missing content or a zero of the copy: the access
 *                              fails with EIO, and the log says how a person decides. Rather
 *                              denied than zeros
 *
 * What was found to be a user's own loses the stamp, before the access goes on (ctime): in
 * a later boot FILLED would mean something else. Killed in between: found again.
 * While a job looks, the file is in the table as SWITCHING, so that whoever comes waits.
 */

enum verdict { FOREIGN_OWN, FOREIGN_ADOPTED, FOREIGN_DENIED };

struct foreign {
        File *file;
        int fd; /* private mount, O_RDONLY */
        struct stamp stamp;
        uint64_t granule;
        enum verdict verdict;
};

/* Has it a hole? Also when that cannot be told. */
static bool has_hole(int fd, uint64_t size, uint64_t granule) {
        struct extents present = EXTENTS_INIT;
        bool all = presence_load(fd, size, granule, &present) == 0 && extents_contain(&present, 0, size);

        extents_clear(&present);
        return !all;
}

static enum verdict foreign_judge(struct foreign *f) {
        struct stat st;

        if (fstat(f->fd, &st) < 0)
                return FOREIGN_DENIED;
        if (f->stamp.state == STAMP_FILLED && f->stamp.boot == stamp_boot())
                return FOREIGN_OWN;
        if (presence_is_empty(f->fd) == 1 && stamp_has_size_and_date(&f->stamp, &st)) {
                f->stamp.flags &= ~STAMP_EXPOSED;
                return stamp_write(f->fd, &f->stamp) < 0 ? FOREIGN_DENIED : FOREIGN_ADOPTED;
        }
        return has_hole(f->fd, (uint64_t)st.st_size, f->granule) ? FOREIGN_DENIED : FOREIGN_OWN;
}

static void foreign_run(void *data) {
        struct foreign *f = data;

        f->verdict = foreign_judge(f);
        if (f->verdict == FOREIGN_OWN)
                (void)fremovexattr(f->fd, STAMP_XATTR); /* else it is looked at again */
}

static void foreign_tell(const struct foreign *f) {
        static int64_t told;
        g_autofree char *path = NULL;

        if (told != 0 && g_get_monotonic_time() - told < G_USEC_PER_SEC)
                return;
        told = g_get_monotonic_time();
        (void)store_relative_path(f->file->files->o->store, f->fd, &path);
        log_about(LOG_ERR, f->stamp.engine, path ? path : f->stamp.locator,
                  "cannot be read: it is a copy that kept the attribute " STAMP_XATTR " of another "
                  "file, and has holes, which may be missing content or zeros. If it is right as it "
                  "is: setfattr -x " STAMP_XATTR " FILE. Else delete it, and refresh its directory");
}

static void foreign_done(void *data) {
        struct foreign *f = data;
        File *file = f->file;
        Files *files = file->files;
        GQueue arrived = file->arrived;

        if (f->verdict == FOREIGN_DENIED)
                foreign_tell(f);
        else if (f->verdict == FOREIGN_OWN)
                (void)fan_group_silence(files->o->group, f->fd, true);
        g_queue_init(&file->arrived);
        file->jobs--;
        file_free(file);
        while (!g_queue_is_empty(&arrived)) {
                Request *request = g_queue_pop_head_link(&arrived)->data;
                if (f->verdict == FOREIGN_ADOPTED)
                        files_classify(files, request);
                else
                        request_answer(request, f->verdict == FOREIGN_OWN ? 0 : -EIO,
                                       "its attribute " STAMP_XATTR " is another file's");
        }
        fd_close(f->fd);
        stamp_clear(&f->stamp);
        g_free(f);
}

bool foreign_begin(Files *files, Request *request, int fd, const struct stat *st) {
        struct stamp stamp = STAMP_INIT, copy;
        struct foreign *f;
        int own;

        if (stamp_read_foreign(fd, &stamp) < 0)
                return false;
        if (stamp.state != STAMP_PLACEHOLDER && stamp.state != STAMP_SWITCHING && stamp.state != STAMP_FILLED) {
                stamp_clear(&stamp);
                return false;
        }
        own = files->denying ? -ESHUTDOWN : store_reopen(files->o->store, fd, O_RDONLY | O_NONBLOCK);
        if (own < 0) {
                stamp_clear(&stamp);
                request_answer(request, -EIO, "it cannot be opened in the store");
                return true;
        }
        f = g_new0(struct foreign, 1);
        *f = (struct foreign){.fd = own, .stamp = stamp, .granule = store_granule(files->o->store)};
        stamp_copy(&copy, &stamp);
        f->file = file_new(files, st->st_dev, st->st_ino, &copy);
        f->file->phase = FILE_SWITCHING;
        f->file->jobs++;
        g_queue_push_tail_link(&f->file->arrived, &request->link);
        work_run(foreign_run, foreign_done, f);
        return true;
}
