/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * daemon-ask — what people and programs ask of the daemon, by way of the bus
 *
 * Each question is about one file, directory or engine; what takes time is a Request, whose answer comes
 * back through the loop.
 */

#include "dispatcher/daemon-internal.h"

#include "dispatcher/files/presence.h"
#include "dispatcher/store/stamp.h"
#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct call {
        Daemon *daemon;
        daemon_done_fn done;
        void *userdata;
};

/* A request's end becomes the named error of the interface. */
static void call_done(void *userdata, int r, const char *detail) {
        struct call *call = userdata;
        g_auto(Failure) failure = FAILURE_INIT;

        if (r == -EAGAIN || r == -EBUSY)
                failure_set(&failure, r, "Busy", "Too much is under way%s%s.", *detail ? ": " : "", detail);
        else if (r == -ENOTDIR || r == -ENODATA)
                failure_set(&failure, r, "NotAPlaceholder", "It is not managed by an engine.");
        else if (r < 0)
                failure_set(&failure, r, "HydrationFailed", "%s.", *detail ? detail : strerror(-r));
        call->done(call->userdata, r, r < 0 ? &failure : NULL);
        g_free(call);
}

static struct call *call_new(Daemon *d, daemon_done_fn done, void *userdata) {
        struct call *call = g_new(struct call, 1);

        *call = (struct call){.daemon = d, .done = done, .userdata = userdata};
        return call;
}

void daemon_hydrate(Daemon *d, int fd, uid_t uid, daemon_done_fn done, void *userdata) {
        files_hydrate(d->files, request_new_call(call_done, call_new(d, done, userdata), uid), fd);
}

void daemon_refresh(Daemon *d, int fd, bool recursive, daemon_done_fn done, void *userdata) {
        lister_refresh(d->lister, request_new_call(call_done, call_new(d, done, userdata), 0), fd, recursive);
}

/* ── logins ─────────────────────────────────────────────────────────────── */

struct login {
        char *id, *module;
        daemon_login_fn done;
        void *userdata;
};

static void login_end(void *userdata, int r, const char *detail) {
        struct login *login = userdata;
        g_auto(Failure) failure = FAILURE_INIT;

        if (r == -EOPNOTSUPP)
                failure_set(&failure, r, "NotSupported", "The module \"%s\" of the engine \"%s\" has no login.",
                            login->module, login->id);
        else if (r < 0)
                failure_set(&failure, r, "LoginFailed", "%s.", detail && *detail ? detail : strerror(-r));
        login->done(login->userdata, r, detail, r < 0 ? &failure : NULL);
        g_free(login->id);
        g_free(login->module);
        g_free(login);
}

int daemon_login(Daemon *d, const char *id, enum cs_login_step step, const char *text, daemon_login_fn done,
                 void *userdata, Failure *failure) {
        Engine *engine = daemon_engine(d, id);
        struct login *login;

        if (!engine)
                return failure_set(failure, -ENOENT, "NoSuchEngine", "No engine \"%s\" is registered.", id);
        if (engine_state_of(engine) == ENGINE_FAILED) {
                struct engine_info info;
                engine_info(engine, &info);
                return failure_set(failure, -EIO, "EngineFailed", "The engine \"%s\" has failed: %s.", id,
                                   info.detail);
        }
        login = g_new0(struct login, 1);
        *login = (struct login){.id = g_strdup(id),
                                .module = g_strdup(engine_registration(engine)->module),
                                .done = done,
                                .userdata = userdata};
        if (engine_login(engine, step, text, login_end, login))
                return 0;
        g_free(login->id);
        g_free(login->module);
        g_free(login);
        return failure_set(failure, -EBUSY, "Busy", "A login of the engine \"%s\" is under way.", id);
}

static uint64_t bytes_present(int fd, uint64_t size) {
        uint64_t present = 0;
        off_t at = 0;

        /* Bounded: this is the main loop, and a file may be in a million pieces. */
        for (unsigned i = 0; i < 4096 && (uint64_t)at < size; i++) {
                off_t data = lseek(fd, at, SEEK_DATA), hole;
                if (data < 0)
                        break;
                hole = lseek(fd, data, SEEK_HOLE);
                if (hole < 0)
                        break;
                present += MIN((uint64_t)hole, size) - MIN((uint64_t)data, size);
                at = hole;
        }
        return present;
}

int daemon_file_status(Daemon *d, int fd, struct file_status *ret) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        int r;

        *ret = (struct file_status){.kind = '?', .state = "not-managed"};
        if (fstat(fd, &st) < 0)
                return -errno;
        ret->kind = S_ISREG(st.st_mode) ? 'f' : S_ISDIR(st.st_mode) ? 'd' : '?';
        if (ret->kind == '?')
                return 0;
        ret->size = ret->kind == 'f' ? (uint64_t)st.st_size : 0;
        {
                /* xattrs cannot be read by an O_PATH descriptor */
                autoclose int own = store_reopen(d->store, fd, O_RDONLY | O_NONBLOCK);
                if (own < 0)
                        return own;
                r = stamp_read(own, st.st_ino, &stamp);
                if (r == -ENODATA || r == -EOPNOTSUPP) {
                        ret->present = ret->size;
                        return 0;
                }
                if (r < 0)
                        return r;
                if (ret->kind == 'f')
                        ret->present = stamp.state == STAMP_WHOLE ? ret->size : bytes_present(own, ret->size);
        }
        g_strlcpy(ret->engine, stamp.engine, sizeof ret->engine);
        g_strlcpy(ret->version, stamp.version, sizeof ret->version);
        switch (stamp.state) {
        case STAMP_UNLISTED:
                ret->state = "unlisted";
                break;
        case STAMP_LISTED:
                ret->state = "listed";
                break;
        default:
                ret->modified = !stamp_is_unmodified(&stamp, &st);
                if (ret->modified)
                        ret->state = "local";
                else if (stamp.state == STAMP_WHOLE || ret->present >= ret->size)
                        ret->state = "hydrated";
                else
                        ret->state = ret->present > 0 ? "partial" : "placeholder";
        }
        stamp_clear(&stamp);
        return 0;
}

void daemon_transfers(Daemon *d, daemon_transfer_fn each, void *userdata) {
        if (d->files)
                files_transfers(d->files, each, userdata);
}

void daemon_counters(const Daemon *d, struct daemon_counters *ret) {
        struct request_counters counters;

        request_counters(&counters);
        *ret = (struct daemon_counters){
                .events_pending = counters.pending,
                .events_answered = counters.answered,
                .events_denied = counters.denied,
                .files_hydrated = d->files ? files_hydrated(d->files) : 0,
                .bytes_fetched = d->files ? files_bytes(d->files) : 0,
        };
}
