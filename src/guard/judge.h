/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * judge — does this stamp say that all bytes of its file are here?
 *
 * Pure; compiled into the BPF program, and into its unit test, which holds it against
 * stamp_encode(). Constants and layout are of dispatcher/store/stamp.h.
 */

#include "dispatcher/store/stamp.h"

#define JUDGE_BYTES 44 /* as much of a stamp as is looked at */

enum judgement {
        JUDGED_NOT = 0, /* not known: nothing could be read */
        JUDGED_HERE,    /* a whole file, a listed directory, or a user's own */
        JUDGED_ABSENT,  /* bytes or entries may be missing */
};

static inline __attribute__((always_inline)) uint64_t judge_number(const uint8_t *at, unsigned bytes) {
        uint64_t value = 0;

#pragma GCC unroll 8
        for (unsigned i = 0; i < bytes; i++)
                value |= (uint64_t)at[i] << (8 * i);
        return value;
}

/* Of both: `length` as getxattr says, of the whole stamp; `p` holds JUDGE_BYTES, of which those
 * that the stamp has not are anything. */

static inline __attribute__((always_inline)) bool judge_is_stamp(const uint8_t *p, int64_t length) {
        return length >= JUDGE_BYTES && p[0] == STAMP_MAGIC && p[1] == STAMP_FORMAT;
}

/* Does it name this inode? */
static inline __attribute__((always_inline)) bool judge_is_own(const uint8_t *p, int64_t length, uint64_t ino,
                                                               uint32_t generation) {
        return judge_is_stamp(p, length) && judge_number(p + 4, 8) == ino &&
               judge_number(p + 12, 8) == generation;
}

/*
 * On a store; `boot` is stamp_boot(). A stamp that was copied from another inode counts as
 * well: a copy of a placeholder's holes looks like a copy of bytes from here. The daemon can tell
 * (dispatcher/files/foreign.c), and takes the stamp away from what is a user's own when that is opened
 * the first time; copies that programs make of open files say WHOLE or FILLED anyway.
 */
static inline __attribute__((always_inline)) enum judgement judge_stamp(const uint8_t *p, int64_t length,
                                                                        uint32_t boot) {
        if (!judge_is_stamp(p, length))
                return JUDGED_ABSENT; /* damaged, or of a later version: the daemon says EIO */
        switch (p[2]) {
        case STAMP_WHOLE:
        case STAMP_LISTED:
                return JUDGED_HERE;
        case STAMP_FILLED:
                return judge_number(p + 40, 4) == boot ? JUDGED_HERE : JUDGED_ABSENT;
        default:
                return JUDGED_ABSENT;
        }
}
