/* SPDX-License-Identifier: MIT */
#ifndef CLOUDSYNC_ENGINE_H
#define CLOUDSYNC_ENGINE_H

/*
 * cloudsync/engine.h — how a remote becomes a cloudsync engine
 *
 * An engine is a shared object NAME.so in the module directory that exports one
 * symbol, CLOUDSYNC_ENGINE_SYMBOL, returning a table of operations. It is loaded
 * by cloudsync-engine-host: one process per registered instance, unprivileged,
 * without capabilities and without a view of the store. An engine never touches
 * a local file of the store. It answers three questions about the remote —
 *
 *     list   what is in this directory?
 *     stat   what is this object now?
 *     fetch  the bytes [offset, offset + length) of *this version* of it
 *
 * — and the dispatcher does everything else: placeholders, routing, retries,
 * deadlines, what is written where, and when a reader may go on.
 *
 * The one promise an engine must keep: the bytes it delivers for a fetch belong
 * to the version that the fetch names, or the fetch ends with -ESTALE. When the
 * remote cannot say (no ETag, no revision), report no version at all
 * (`version == NULL`), and let size and mtime stand for it.
 *
 * Threads. Without CS_ENGINE_NONBLOCKING every request operation is called on a
 * worker thread of the host, several at once (for one instance, up to
 * `ops->max_requests`), and may block; it completes the request with
 * host->done() before it returns, or later from any thread. With
 * CS_ENGINE_NONBLOCKING all operations are called on one thread and must only
 * start the work. open() and close() are never called concurrently with
 * another operation of the same instance.
 *
 * Ownership. Every pointer handed to an operation lives until the operation
 * returns, except `struct cs_request *`, which lives until host->done().
 * Pointers handed to the host are copied before the call returns.
 *
 * Errors are negative errno values. The contract for done():
 *     0               all was delivered
 *     -ESTALE         the remote has another version now (fetch only)
 *     -ENOENT         the object does not exist any more
 *     -EACCES         credentials are missing, wrong or revoked
 *     -EAGAIN         busy or rate limited: try again (see retry_after_ms)
 *     -ETIMEDOUT, -ECONNRESET, -ENETUNREACH, … passing faults: try again
 *     -EPROTO         the remote answered nonsense: try again, a few times
 *     -EBADMSG        the content did not match the remote's checksum (fetch only): counted,
 *                     all that came of this version is thrown away, and fetched again, a
 *                     few times
 *     -ECANCELED      the request was cancelled
 *     -EOPNOTSUPP     this remote cannot do that, ever
 * Anything else counts as a lasting failure of this request.
 *
 * Compatibility: the number below changes when an old module would break.
 * Structures grow at their end; `struct_size` tells which end a module knows.
 */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLOUDSYNC_ENGINE_ABI 1u
#define CLOUDSYNC_ENGINE_SYMBOL "cloudsync_engine"

/* Bounds, enforced by the host: an entry beyond them is refused with -EINVAL,
 * counted, and skipped. All in bytes, without the terminating NUL. */
#define CS_NAME_MAX 255u      /* one path component */
#define CS_LOCATOR_MAX 3500u  /* what names an object to its engine */
#define CS_VERSION_MAX 200u   /* ETag, revision, … */
#define CS_LOGIN_TEXT_MAX 4096u  /* what a person brings back from a login's page */
#define CS_LOGIN_REPLY_MAX 1024u /* the page's URL, or a sentence */

struct cs_request; /* one list, stat or fetch; owned by the host */
struct cs_host;

enum cs_kind {
        CS_KIND_FILE = 1,
        CS_KIND_DIRECTORY = 2,
        /* list only: something of this name is there, and more cannot be told of it (access is refused, the
         * answer makes no sense). Nothing is made for it, and what is here of it stays: an
         * entry that is left out of a listing counts as removed. A name (and a locator) is all it has. */
        CS_KIND_UNKNOWN = 3,
};

/* One object of the remote. Fill it with zeros first, then what you know. */
struct cs_entry {
        enum cs_kind kind;
        /* Last path component, any bytes but NUL and '/', not "." or "..".
         * Ignored by the answer to stat. */
        const char *name;
        /* What the engine wants to be given back to list, stat or fetch this
         * object: 1 to CS_LOCATOR_MAX bytes. NULL: the parent's locator, '/',
         * and the name (without the '/' where the parent's is empty). */
        const char *locator;
        /* What pins a version, up to CS_VERSION_MAX bytes; NULL: the remote has
         * none, size and mtime stand for it. Files only. */
        const char *version;
        uint64_t size;      /* in bytes, exact. Files only. */
        int64_t mtime_sec;  /* since the epoch */
        uint32_t mtime_nsec; /* 0 … 999,999,999 */
        uint32_t mode;      /* permission bits 0…0777; 0: 0644, 0755 for directories */
        uint32_t flags;     /* none yet: 0 */
};
/* An engine whose listing rounds sizes or dates asks the remote for the exact
 * ones before it reports the entry: a program that calls stat(2) on a
 * placeholder raises no event, so there is no later moment to correct it. */

struct cs_fetch {
        const char *locator;
        const char *version;  /* NULL where the entry had none */
        uint64_t size;        /* of this version, whole */
        int64_t mtime_sec;    /* of this version; for If-Unmodified-Since and such */
        uint32_t mtime_nsec;
        uint64_t offset;      /* offset + length <= size */
        uint64_t length;      /* at least 1 */
};

struct cs_setting {
        const char *key;
        const char *value;
};

/* What an engine is in, as a whole; for host->condition(). */
enum cs_condition {
        CS_CONDITION_GOOD = 0,
        /* Nothing can be had from the remote before a person has logged in. Requests are
         * not sent any more, those that wait fail at once. */
        CS_CONDITION_NEEDS_LOGIN = 1,
};

enum cs_login_step {
        CS_LOGIN_BEGIN = 1,  /* reply: the URL that the person opens in a browser */
        CS_LOGIN_FINISH = 2, /* text: the code that the person got there */
        CS_LOGIN_LOGOUT = 3, /* forget the login, and tell the remote so */
};

enum cs_log_level { /* as in syslog(3) */
        CS_LOG_ERROR = 3,
        CS_LOG_WARNING = 4,
        CS_LOG_NOTICE = 5,
        CS_LOG_INFO = 6,
        CS_LOG_DEBUG = 7,
};

/*
 * What the host offers. Every function may be called from any thread between
 * open() and close(), unless it says otherwise.
 */
struct cs_host {
        uint32_t abi;
        uint32_t struct_size;

        /* The instance's id, for messages. */
        const char *id;
        /* A directory of this instance's own (0700) that outlives the process,
         * for cursors and credentials. NULL: there is none. */
        const char *state_dir;

        /* The value of a setting, or NULL. Lives until close(). One key is never an
         * administrator's setting: CS_SETTING_TOKEN, the service's credential
         * cloudsync.ID.token (systemd's LoadCredential=, LoadCredentialEncrypted=) where it
         * has one. It is for the engine's memory only. */
        const char *(*setting)(const struct cs_host *host, const char *key);

        /* Log a line about this instance; no newline, no credentials. */
        void (*log)(const struct cs_host *host, enum cs_log_level level, const char *format, ...)
#if defined(__GNUC__)
                __attribute__((format(printf, 3, 4)))
#endif
                ;

        /* list: one more entry. stat: the answer, exactly once before done().
         * 0; -EINVAL for an entry out of bounds (skipped and counted; go on);
         * -ECANCELED when nobody wants the rest: call done(-ECANCELED).
         * May block until the dispatcher has taken earlier entries. */
        int (*entry)(const struct cs_host *host, struct cs_request *request,
                     const struct cs_entry *entry);

        /* fetch: the next `length` bytes, in order, beginning at fetch->offset.
         * 0; -ECANCELED as above; -EMSGSIZE when more arrives than was asked
         * for. May block until the dispatcher has taken earlier data: that is
         * the backpressure, let it reach the remote. */
        int (*write)(const struct cs_host *host, struct cs_request *request, const void *data,
                     size_t length);

        /* The request is over; exactly once, `request` is gone afterwards.
         * `result`: see above. A fetch that delivered less than it was asked for
         * and says 0 is turned into -EPROTO by the host; what it delivered
         * is kept, and the rest asked for again.
         * `retry_after_ms`: 0, or the remote's wish (Retry-After).
         * `detail`: a sentence for the log, or NULL; no credentials. */
        void (*done)(const struct cs_host *host, struct cs_request *request, int result,
                     uint32_t retry_after_ms, const char *detail);

        /* Non-zero once nobody waits for this request any more. */
        int (*cancelled)(const struct cs_host *host, const struct cs_request *request);

        /* The remote said that this directory changed: it will be listed again. When the
         * call returns the host has passed it on; if host or daemon are killed then, it
         * may be lost, so an engine with a cursor repeats it after the next open() unless
         * the directory has been listed since: list() was called. From then on the
         * daemon remembers by itself, also when it is killed or the machine loses power: its
         * note was on the disk before list() was called. However often this is called, a directory
         * is listed once a second at the most. */
        void (*changed)(const struct cs_host *host, const char *locator);

        /* What the engine is in now, until the next call. (Older hosts lack it: see
         * struct_size.) Good is assumed until something else is said. `text`: a sentence for
         * people, shown as the engine's state (why a login is needed, or, while all is well,
         * what it is busy with: "120,000 entries listed"), or NULL; no credentials, no
         * newline; at most one a second. Also from within open(). */
        void (*condition)(const struct cs_host *host, enum cs_condition condition,
                          const char *text);
};

#define CS_SETTING_TOKEN "credential.token"

#define CS_ENGINE_NONBLOCKING (1u << 0) /* operations only start the work */
#define CS_ENGINE_NO_RANGES (1u << 1)   /* fetch is always asked for a whole file */

/* A documented setting, for `cloudsyncctl engine add --help` and checks. */
struct cs_setting_info {
        const char *key;
        const char *help; /* one line */
        int required;
};

struct cs_engine_ops {
        uint32_t abi;         /* CLOUDSYNC_ENGINE_ABI */
        uint32_t struct_size; /* sizeof(struct cs_engine_ops) */
        const char *name;        /* of the module: equals the file's name without ".so" */
        const char *description; /* one line */
        uint32_t flags;          /* CS_ENGINE_* */
        uint32_t max_requests;   /* at once; 0: the host's default (32) */
        const struct cs_setting_info *settings; /* ends with key == NULL; may be NULL */

        /* Make an instance. Check the settings here, talk to the remote later.
         * 0 and *instance; a negative errno after host->log() said why. `host`
         * lives until close() returns. */
        int (*open)(const struct cs_host *host, void **instance);

        /* All requests are done when this is called. */
        void (*close)(void *instance);

        /* Everything in the directory `locator` ("" is the root), in any order,
         * through host->entry(), then host->done(). What is not told by a list that ends with 0
         * is not there any more: its file is removed here, unless a user changed it. So a
         * list that could not see all ends with an error, after it has told what it could; it is asked again. */
        void (*list)(void *instance, struct cs_request *request, const char *locator);

        /* The object `locator` as it is now: host->entry() once, host->done(). */
        void (*stat)(void *instance, struct cs_request *request, const char *locator);

        /* Bytes: host->write() as often as needed, host->done(). */
        void (*fetch)(void *instance, struct cs_request *request, const struct cs_fetch *fetch);

        /* Nobody waits for this request any more: make it end soon. It still has
         * to be ended by done(). Called from another thread than the operation;
         * the request is alive during the call. May be NULL. */
        void (*cancel)(void *instance, struct cs_request *request);

        /* Optional; an engine whose struct_size ends before has no login. One step of a
         * login. `text`: what the person brought (FINISH), otherwise ""; valid UTF-8, at most
         * CS_LOGIN_TEXT_MAX bytes. `reply`: a buffer of `size` (CS_LOGIN_REPLY_MAX) bytes,
         * empty at first: the URL (BEGIN), otherwise a sentence that says what happened, above
         * all when it failed. 0 or a negative errno. May block, with CS_ENGINE_NONBLOCKING as
         * well: it has a thread to itself, one call at a time for each instance, beside all
         * other operations. FINISH may come to another process than BEGIN did: say then that
         * the login has to be begun again. A login that came or went is told by
         * host->condition() before this returns. LOGOUT always forgets, also when the remote
         * cannot be told. */
        int (*login)(void *instance, enum cs_login_step step, const char *text, char *reply,
                     size_t size);
};

/* The one symbol of a module. Called once; the table lives as long as the module. */
typedef const struct cs_engine_ops *(*cloudsync_engine_fn)(void);

#ifdef __cplusplus
}
#endif
#endif
