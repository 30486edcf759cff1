/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * stamp — what a file or directory of the store is, written on itself
 *
 * One extended attribute, STAMP_XATTR, that only root can set. There is no other
 * record of a file anywhere: the file system is the database.
 *
 * Files:
 *   PLACEHOLDER  holes below `size` are bytes of the remote that are not here yet
 *   FILLED       all of them came during boot `boot`. They may be in the page cache only:
 *                in a later boot the holes say again what is missing. In this boot
 *                it is as good as WHOLE for reading.
 *   WHOLE        all of them are on disk; holes are the file's own zeros now, nothing is ever
 *                filled again. Written only after the data was synced.
 *   SWITCHING    the content is being dropped for the version named here; whoever
 *                finds it starts that over. Nobody was let in meanwhile.
 * Directories:
 *   UNLISTED     its children are not (all) here; it is watched, and readdir waits
 *   LISTED
 * No stamp: the user's own.
 *
 * The two ways in which a stamp could lie, and why it does not:
 *   - copied to another inode (cp -a by root, a restored backup): it carries inode
 *     number and generation, and counts only where both are the inode's own. (What else
 *     such a file is, a copy of bytes or of holes: foreign.c.) A snapshot (btrfs) keeps
 *     both, and there it is true.
 *   - out of step with the data after a power cut: PLACEHOLDER and FILLED claim nothing
 *     about what is on disk, and WHOLE comes after a sync. All three file
 *     systems bring metadata back in the order in which it was changed.
 *
 * On disk, little-endian, no padding:
 *
 *     0  u8   0xC5            20  u64 size            46  u8  engine length
 *     1  u8   format, 2       28  s64 mtime seconds   47  u8  version length
 *     2  u8   state           36  u32 mtime nanos     48  u16 locator length
 *     3  u8   flags           40  u32 boot            50  u64 parent
 *     4  u64  inode number    44  u16 mode            58  u32 name
 *    12  u64  generation                              62  u64 seal
 *                                                     70  engine, version, locator:
 *                                                         bytes without NUL
 *
 * `parent` and `name` say where the remote has it: in which directory of the store the entry was
 * listed, and under which name, as hashes of both. A file whose place is not that any more was
 * moved by a user. `seal`, of WHOLE, tells whether anything was changed since (seal.h).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAMP_XATTR "security.bpf.cloudsync"
#define STAMP_MAX 4096u
#define STAMP_MAGIC 0xC5
#define STAMP_FORMAT 2

enum stamp_state {
        STAMP_PLACEHOLDER = 1,
        STAMP_FILLED = 2,
        STAMP_WHOLE = 3,
        STAMP_SWITCHING = 4,
        STAMP_UNLISTED = 16,
        STAMP_LISTED = 17,
};

#define STAMP_HAS_VERSION (1u << 0) /* the version is set, perhaps empty */
#define STAMP_EXPOSED (1u << 1)     /* a reader was let in while it was partly here */
#define STAMP_LOCAL (1u << 2)       /* file, WHOLE: a user's now, for ever; version, size and mtime are
                                     * those of the remote's version that was seen last */
#define STAMP_DIRTY (1u << 3)       /* directory: changes of the remote may not all be here */
#define STAMP_FLAGS (STAMP_HAS_VERSION | STAMP_EXPOSED | STAMP_LOCAL | STAMP_DIRTY)

struct stamp {
        enum stamp_state state;
        unsigned flags;
        uint64_t ino, generation;
        uint64_t size;
        int64_t mtime_sec;
        uint32_t mtime_nsec;
        uint32_t boot;
        uint16_t mode;
        uint64_t parent; /* stamp_directory() of where it was listed; 0: nowhere (a prefix) */
        uint32_t name;   /* stamp_name() of what it was called there */
        uint64_t seal;   /* WHOLE: see seal.h; 0: none */
        char *engine;  /* owned; never NULL after decoding */
        char *version;
        char *locator;
};

#define STAMP_INIT {0}

void stamp_clear(struct stamp *stamp);
void stamp_copy(struct stamp *to, const struct stamp *from); /* `to` is uninitialised */

/* Pure. encode: bytes used, or -EMSGSIZE, -EINVAL. decode: 0 or -EBADMSG. */
int stamp_encode(const struct stamp *stamp, void *buffer, size_t capacity);
int stamp_decode(const void *data, size_t length, struct stamp *ret);

/* Reads the stamp of an open file, and checks that it is the inode's own (`ino` as fstat
 * says). 0; -ENODATA: none, or a copied one; -EBADMSG: damaged or of a later
 * version; other -errno. Does not block on more than the inode's own metadata. */
int stamp_read(int fd, uint64_t ino, struct stamp *ret);
/* Any stamp that it carries, whichever inode it names. 0 or -errno as above. */
int stamp_read_foreign(int fd, struct stamp *ret);
/* Sets ino, generation and, in state WHOLE, the seal, and writes it: a file that is stamped WHOLE counts
 * as unmodified from now on, unless size, mtime or STAMP_LOCAL say otherwise. Through the private mount;
 * of WHOLE while nobody else can change the file. */
int stamp_write(int fd, struct stamp *stamp);

/* What `parent` is for what is listed in this directory: never 0. 0 or -errno. */
int stamp_directory(int fd, uint64_t *ret);
uint32_t stamp_name(const char *name);

/* Has the file the size and the mtime of the stamp's version? */
struct stat;
bool stamp_has_size_and_date(const struct stamp *stamp, const struct stat *st);

/* Is what is on disk what the stamp says, so that no work of a user's is lost with it? */
bool stamp_is_unmodified(const struct stamp *stamp, const struct stat *st);

/* A number that differs from boot to boot. */
uint32_t stamp_boot(void);

/* Does this remote version differ from what the stamp says? */
struct cs_entry;
bool stamp_matches(const struct stamp *stamp, const struct cs_entry *entry);
/* Are both of one version of the remote's? */
bool stamp_same_version(const struct stamp *a, const struct stamp *b);
/* Takes version, size, mtime, mode from an entry; engine and locator stay. */
void stamp_set_entry(struct stamp *stamp, const struct cs_entry *entry);
