/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/files/files.h"

#include "dispatcher/events/caller.h"
#include "dispatcher/files/file.h"
#include "dispatcher/files/presence.h"
#include "dispatcher/work.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Files by ranges that are kept in memory between two reads. */
#define IDLE_MAX 128u
#define IDLE_SECONDS 60
/* A transfer is announced when it has lasted this long, and its progress this often. */
#define TELL_US (250 * 1000)

static guint key_hash(gconstpointer p) {
        const struct file_key *key = p;

        return g_int64_hash(&key->inode) ^ (guint)key->device;
}

static gboolean key_equal(gconstpointer a, gconstpointer b) {
        const struct file_key *x = a, *y = b;

        return x->inode == y->inode && x->device == y->device;
}

File *file_lookup(Files *files, dev_t device, ino_t inode) {
        struct file_key key = {.device = device, .inode = inode};

        return g_hash_table_lookup(files->table, &key);
}

/* Takes the stamp's content. The table may not have the key. */
File *file_new(Files *files, dev_t device, ino_t inode, struct stamp *stamp) {
        File *file = g_new0(File, 1);

        file->files = files;
        file->key = (struct file_key){.device = device, .inode = inode};
        file->phase = FILE_ACTIVE;
        file->fd = -1;
        file->stamp = *stamp;
        *stamp = (struct stamp)STAMP_INIT;
        file->fetches = g_ptr_array_new();
        file->uid = (uid_t)-1;
        g_hash_table_insert(files->table, &file->key, file);
        return file;
}

static void file_wake(File *file) {
        if (!file->is_idle)
                return;
        g_queue_unlink(&file->files->idle, &file->idle);
        file->is_idle = false;
}

static void transfer_end(File *file) {
        const struct files_options *o = file->files->o;

        if (file->transfer_told)
                o->transfer_finished(o->userdata, file->transfer, file->fetched,
                                     file->error ? (file->detail && *file->detail ? file->detail
                                                                                 : strerror(-file->error))
                                                 : "");
        file->transfer = 0;
        file->transfer_told = 0;
}

void file_free(File *file) {
        g_assert(file->jobs == 0 && g_queue_is_empty(&file->waiters) &&
                 g_queue_is_empty(&file->arrived) && g_queue_is_empty(&file->looking) &&
                 file->fetches->len == 0);
        if (file->transfer)
                transfer_end(file);
        file_wake(file);
        if (file->look_timer)
                g_source_remove(file->look_timer);
        engine_cancel(file->stat);
        g_hash_table_remove(file->files->table, &file->key);
        file->fd = fd_close(file->fd);
        extents_clear(&file->present);
        stamp_clear(&file->stamp);
        stamp_clear(&file->next);
        g_ptr_array_unref(file->fetches);
        g_free(file->detail);
        g_free(file);
}

Engine *file_engine(const File *file) {
        return file->files->o->engine(file->files->o->userdata, file->stamp.engine);
}

/* Who it is for, for those who ask what is under way. */
static void file_note_reader(File *file, const Request *request) {
        if (file->tid == 0 && file->uid == (uid_t)-1) {
                file->tid = request_is_event(request) ? request->event.tid : 0;
                file->uid = request->uid;
        }
}

static bool request_opens(const Request *request) {
        return request_is_event(request) && request->event.kind == FAN_KIND_OPEN;
}

/* A file that is not known yet, and not whole. Takes request and stamp. */
static void files_begin(Files *files, Request *request, int fd, const struct stat *st,
                        struct stamp *stamp) {
        File *file = file_new(files, st->st_dev, st->st_ino, stamp);
        struct stat now;
        int r;

        file_note_reader(file, request);
        g_queue_push_tail_link(&file->arrived, &request->link);
        file->fd = store_reopen(files->o->store, fd, O_RDWR | O_NONBLOCK);
        r = file->fd;
        if (r >= 0)
                r = fstat(file->fd, &now) < 0 ? -errno : file_load(file, &now);
        if (file->fd < 0)
                file->fd = -1;
        if (r < 0) {
                file->phase = FILE_ACTIVE;
                file_fail(file, r, "it cannot be opened in the store");
        } else if (request_opens(request))
                ahead_missed(files->ahead, request->event.tid, file->fd, &file->stamp);
        file_step(file);
}

/* FILLED in this boot, and somebody opens it for writing: synced and WHOLE first. */
static void files_begin_durable(Files *files, Request *request, const struct stat *st,
                                struct stamp *stamp) {
        File *file = file_new(files, st->st_dev, st->st_ino, stamp);

        file->limit = file->stamp.size;
        g_queue_push_tail_link(&file->waiters, &request->link);
        file->whole = true;
        if (extents_add(&file->present, 0, file->limit) < 0)
                file_fail(file, -ENOMEM, "");
        if (file->error)
                file_step(file);
        else
                file_finish(file, true);
}

static void files_allow(Files *files, Request *request, bool silence, bool opens) {
        if (silence && request_is_event(request))
                (void)fan_group_silence(files->o->group, request->event.fd, opens);
        request_answer(request, 0, NULL);
}

static void files_decide(Files *files, Request *request, int fd) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        File *file;
        int r;

        if (fstat(fd, &st) < 0) {
                request_answer(request, -EIO, "it cannot be looked at");
                return;
        }
        r = stamp_read(fd, st.st_ino, &stamp);
        file = file_lookup(files, st.st_dev, st.st_ino);
        if (file && file->is_idle && (r < 0 || stamp.generation != file->stamp.generation ||
                                      stamp.state != STAMP_PLACEHOLDER || stamp.parent != file->stamp.parent ||
                                      stamp.name != file->stamp.name)) {
                /* Another file of the same number, or no longer what we remember. */
                file_free(file);
                file = NULL;
        }
        if (file) {
                stamp_clear(&stamp);
                if (request_opens(request))
                        (void)ahead_opened(files->ahead, st.st_ino);
                if (file->is_idle && file_answer_at_rest(file, request))
                        return;
                if (file->is_idle) {
                        file_wake(file);
                        file->fd = store_reopen(files->o->store, fd, O_RDWR | O_NONBLOCK);
                        if (file->fd < 0) {
                                file_fail(file, file->fd, "it cannot be opened in the store");
                                file->fd = -1;
                        }
                }
                file_note_reader(file, request);
                g_queue_push_tail_link(&file->arrived, &request->link);
                file_step(file);
                return;
        }
        if (r == -ENODATA && foreign_begin(files, request, fd, &st))
                return;
        if (r == -ENODATA || r == -EOPNOTSUPP) { /* the user's own */
                files_allow(files, request, true, true);
                return;
        }
        if (r < 0) {
                log_error("a stamp cannot be read (inode %llu): %s: the file cannot be served",
                          (unsigned long long)st.st_ino, strerror(-r));
                request_answer(request, -EIO, "its stamp is damaged or from a later version");
                return;
        }
        if (stamp.state == STAMP_WHOLE)
                files_allow(files, request, true, true);
        else if (stamp.state == STAMP_FILLED && stamp.boot == stamp_boot()) {
                if (request_opens(request))
                        (void)ahead_opened(files->ahead, st.st_ino);
                bool changed = !stamp_has_size_and_date(&stamp, &st);
                if (!changed && !files->denying &&
                    (settle_disk_fails(files->settle) || presence_has_no_hole(fd, stamp.size) == 0)) {
                        /* A write-back failed, and the pages are gone: missing again. */
                        files_begin(files, request, fd, &st, &stamp);
                        return;
                }
                if (changed || request_may_change(request)) {
                        /* Changed by truncate(2), of which nobody hears here: the user's own. */
                        files_begin_durable(files, request, &st, &stamp);
                        return;
                }
                settle_add(files->settle, fd);
                files_allow(files, request, true, false);
        } else if (files->denying)
                request_answer(request, -EIO, "the service stops");
        else {
                files_begin(files, request, fd, &st, &stamp);
                return;
        }
        stamp_clear(&stamp);
}

void files_event(Files *files, Request *request) {
        files_decide(files, request, request->event.fd);
}

void files_hydrate(Files *files, Request *request, int fd) {
        files_decide(files, request, fd);
}

/* Waiters of an idle switch: events are decided anew; callers are told to ask again. */
void files_classify(Files *files, Request *request) {
        if (request_is_event(request))
                files_event(files, request);
        else
                request_answer(request, -EAGAIN, "it changed at the remote just now; ask again");
}

static void transfer_tell(File *file, int64_t now) {
        const struct files_options *o = file->files->o;

        if (file->transfer == 0 || file->is_idle || now - file->transfer_since < TELL_US)
                return;
        if (file->transfer_told == 0) {
                o->transfer_started(o->userdata, file->transfer, file->stamp.engine, file->limit);
                if (file->uid == (uid_t)-1)
                        file->uid = caller_uid(file->tid);
        }
        /* Very many may wait for an engine that hangs: nothing is told of what does not move. */
        if (file->transfer_told && file->fetched == file->fetched_told)
                return;
        file->transfer_told = now;
        file->fetched_told = file->fetched;
        o->transfer_progress(o->userdata, file->transfer, file->fetched, file->limit);
}

static gboolean files_tick(gpointer userdata) {
        Files *files = userdata;
        int64_t now = g_get_monotonic_time();
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, files->table);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                File *file = value;
                transfer_tell(file, now);
                if (file->is_idle && file->transfer_told)
                        transfer_end(file);
        }
        while (!g_queue_is_empty(&files->idle)) {
                File *file = g_queue_peek_head(&files->idle);
                if (files->idle.length <= IDLE_MAX &&
                    now - file->idle_since < (int64_t)IDLE_SECONDS * G_USEC_PER_SEC)
                        break;
                file_free(file);
        }
        return G_SOURCE_CONTINUE;
}

Files *files_new(const struct files_options *options) {
        Files *files = g_new0(Files, 1);

        files->o = options;
        files->table = g_hash_table_new(key_hash, key_equal);
        files->later = switch_later_table();
        files->settle = settle_new(options->group, options->store);
        files->ahead = ahead_new(files, options);
        files->tick = g_timeout_add(250, files_tick, files);
        return files;
}

static GList *files_all(const Files *files) {
        return g_hash_table_get_values(files->table);
}

void files_deny_all(Files *files) {
        GList *all = files_all(files);

        files->denying = true;
        ahead_stop(files->ahead);
        /* A step of one file never frees another. */
        for (GList *l = all; l; l = l->next) {
                File *file = l->data;
                if (file->stat) {
                        engine_cancel(g_steal_pointer(&file->stat));
                        file->phase = FILE_ACTIVE;
                }
                file_step(file);
        }
        g_list_free(all);
        settle_hurry(files->settle);
}

void files_free(Files *files) {
        GList *all;

        if (!files)
                return;
        all = files_all(files);
        for (GList *l = all; l; l = l->next)
                file_free(l->data);
        g_list_free(all);
        g_source_remove(files->tick);
        settle_free(files->settle);
        ahead_free(files->ahead);
        g_hash_table_unref(files->later);
        g_hash_table_unref(files->table);
        g_free(files);
}

unsigned files_busy(const Files *files) {
        return g_hash_table_size(files->table) - files->idle.length;
}

void files_transfers(Files *files, daemon_transfer_fn each, void *userdata) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, files->table);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                File *file = value;
                g_autofree char *name = NULL;

                if (file->transfer == 0 || file->is_idle)
                        continue;
                name = file_name(file);
                each(userdata, &(struct daemon_transfer){
                                       .id = file->transfer,
                                       .engine = file->stamp.engine,
                                       .path = name,
                                       .done = file->fetched,
                                       .total = file->limit,
                                       .uid = file->uid != (uid_t)-1 ? file->uid : caller_uid(file->tid),
                               });
        }
}

uint64_t files_hydrated(const Files *files) {
        return files->hydrated;
}

uint64_t files_bytes(const Files *files) {
        return files->bytes;
}
