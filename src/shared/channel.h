/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * channel — what dispatcher and engine host say to each other
 *
 * A channel is a SOCK_SEQPACKET pair: one packet is one message, a fixed header
 * and a body. Bulk (file content, directory entries) does not travel in packets
 * but in *slots* of a memfd that the dispatcher makes, seals against resizing
 * and hands over with HELLO; both sides map it.
 *
 *     dispatcher ── HELLO (+ slots memfd) ──────────────▶ host
 *                ◀───────────────────────────── READY ──  (or FAILED)
 *                ── LIST/STAT/FETCH req ────────────────▶
 *                ◀──── ENTRIES/DATA req, slot, length ──  0..n times
 *                ── RELEASE slot ───────────────────────▶  the slot may be reused
 *                ◀──────────────────────── DONE req, r ──  exactly once per req
 *                ── CANCEL req ─────────────────────────▶  DONE still follows
 *                ── LOGIN req, step, text ──────────────▶  DONE's detail is the reply
 *                ◀─────────────────── CHANGED, CONDITION   at any time after START
 *                ── PING ───────────────────────────────▶  a PONG at once: the receiving
 *                ◀───────────────────────────────── PONG   thread never blocks
 *                ── QUIT ───────────────────────────────▶  host closes and exits
 *
 * The host owns the choice of slots: it takes a free one, fills it, names it in
 * DATA or ENTRIES, and must not touch it before RELEASE. A host that touches it
 * all the same only spoils what it could have sent spoiled anyway: the
 * dispatcher copies a slot before it parses it, and writes file content from the slot
 * without looking at it. No descriptor of the store ever leaves the dispatcher:
 * a host that hangs and wakes up an hour later holds nothing it could write to.
 *
 * The dispatcher treats the host as hostile: channel_parse() accepts a packet
 * only when every length, id and enum is in range, and whatever else a message
 * claims (request unknown, slot busy, offset not the next one) is checked where
 * it is used. A violation ends that host, not the daemon. The host trusts the
 * dispatcher, but parses with the same code.
 *
 * Numbers are in host byte order: both ends run on one machine from one build
 * (the version in HELLO says so).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHANNEL_VERSION 3u

#define CHANNEL_PACKET_MAX 16384u      /* bytes, header included */
#define CHANNEL_SLOT_SIZE (128u * 1024u)
#define CHANNEL_SLOTS 128u             /* 16 MiB, touched only as used */
/* Requests under way at once. Each may hold one slot partly filled, so that this
 * being below CHANNEL_SLOTS is what makes the protocol free of deadlock. */
#define CHANNEL_REQUESTS_MAX 96u

#define CHANNEL_DETAIL_MAX 1024u /* a longer sentence is the sender's to cut */

enum channel_type {
        /* dispatcher → host */
        CHANNEL_HELLO = 1,
        CHANNEL_SETTING, /* one key and value; all of them before START */
        CHANNEL_START,   /* the settings are complete: open the module */
        CHANNEL_LIST,
        CHANNEL_STAT,
        CHANNEL_FETCH,
        CHANNEL_CANCEL,
        CHANNEL_RELEASE,
        CHANNEL_QUIT,
        CHANNEL_PING,
        CHANNEL_LOGIN,
        /* host → dispatcher */
        CHANNEL_READY = 64,
        CHANNEL_FAILED,
        CHANNEL_ENTRIES,
        CHANNEL_DATA,
        CHANNEL_DONE,
        CHANNEL_CHANGED,
        CHANNEL_PONG,
        CHANNEL_CONDITION,
};

/* A parsed or to-be-built message. Strings are borrowed: from the packet after
 * channel_parse(), from the caller for channel_build(). NUL-terminated, never
 * NULL after parsing (absent = ""). Which members a type uses stands beside
 * them; the others are zero. */
struct channel_message {
        enum channel_type type;
        uint64_t request;    /* LIST STAT FETCH LOGIN CANCEL ENTRIES DATA DONE: the dispatcher's id, not 0 */

        uint32_t version;    /* HELLO: CHANNEL_VERSION */
        uint32_t flags;      /* READY: CS_ENGINE_* */
        uint32_t max_requests; /* READY: 1 … CHANNEL_REQUESTS_MAX */

        uint64_t offset;     /* FETCH DATA: in the file, bytes */
        uint64_t length;     /* FETCH: bytes, ≥ 1. DATA ENTRIES: bytes used in the slot, 1 … CHANNEL_SLOT_SIZE */
        uint64_t size;       /* FETCH: of the whole file */
        int64_t mtime_sec;   /* FETCH */
        uint32_t mtime_nsec; /* FETCH */

        uint32_t slot;       /* ENTRIES DATA RELEASE: < CHANNEL_SLOTS */
        uint32_t count;      /* ENTRIES: entries in the slot, ≥ 1 */

        int32_t result;      /* DONE: 0 or -errno. FAILED: -errno */
        uint32_t retry_after_ms; /* DONE */
        uint32_t skipped;    /* DONE of LIST: entries out of bounds, which the host left out */
        bool has_version;    /* FETCH: version is set (may be told apart from "") */
        uint32_t step;       /* LOGIN: enum cs_login_step */
        uint32_t condition;  /* CONDITION: enum cs_condition */

        const char *id;      /* HELLO: the engine's id */
        const char *module;  /* HELLO: module name */
        const char *state_dir; /* HELLO: or "" */
        const char *key;     /* SETTING */
        const char *value;   /* SETTING */
        const char *locator; /* LIST STAT FETCH CHANGED */
        const char *file_version; /* FETCH */
        const char *detail;  /* DONE FAILED CONDITION: a sentence, or "" */
        const char *text;    /* LOGIN: secret */
};

/* Bytes to packet and back. Pure.
 * build: the packet's length, or -EMSGSIZE, -EINVAL (a member out of range).
 * parse: 0, or -EBADMSG for anything that is not exactly one valid message.
 * The strings of *ret point into `packet`. */
int channel_build(const struct channel_message *message, void *packet, size_t capacity);
int channel_parse(const void *packet, size_t length, struct channel_message *ret);

/* Is this a type that the host may send (true) or the dispatcher (false)? */
bool channel_type_is_from_host(enum channel_type type);
const char *channel_type_name(enum channel_type type);

/*
 * Directory entries in a slot: entries one after the other, no padding between.
 * What travels always has a full locator: the host composes the one that an engine
 * left NULL. In the answer to STAT the name means nothing (the host sends "-"),
 * and neither does the locator unless the engine gave another than it was asked for.
 */
struct cs_entry;
/* Appends an entry at *used; 0, -ENOSPC when the slot is full (send it, take
 * another), -EINVAL for an entry out of bounds (see engine.h). Fills in the default
 * for mode 0; drops what means nothing (an empty version, size and version of
 * what is no file). */
int channel_entry_append(void *slot, size_t capacity, size_t *used, const struct cs_entry *entry);
/* Takes the entry at *position (≤ length) out of a private copy of the slot: 1 and
 * an entry whose strings point into `data`, 0 at the end, -EBADMSG. Every bound of
 * engine.h is checked: names without '/', not "." or "..", kinds known,
 * nsec < 1e9, mode 1 … 0777, sizes ≤ INT64_MAX, locator not empty, version NULL or
 * not empty. */
int channel_entry_next(const void *data, size_t length, size_t *position, struct cs_entry *ret);

/* One packet with up to one descriptor. Sockets may be blocking or not.
 * send: 0, -EAGAIN, -EPIPE, … (MSG_NOSIGNAL); `fd` < 0: none; not consumed.
 * receive: length ≥ 1, 0 at end of file, -EAGAIN, -EBADMSG (truncated, or more
 * than one descriptor; all are closed). *ret_fd is the caller's, or -1. */
int channel_send(int socket, const void *packet, size_t length, int fd);
int channel_receive(int socket, void *packet, size_t capacity, int *ret_fd);

/* The slots. create: a sealed memfd (the caller's), or -errno. map: checks the size and the
 * seals, maps it shared, read-only if `writable` is false; NULL and errno. */
int channel_slots_create(void);
void *channel_slots_map(int fd, bool writable);
void channel_slots_unmap(void *slots);
static inline void *channel_slot(void *slots, uint32_t slot) {
        return (char *)slots + (size_t)slot * CHANNEL_SLOT_SIZE;
}
