/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * seal — a time after which every change of a file shows in its ctime
 *
 * A user can change a file and set size and mtime back (programs that edit tags of music and
 * photographs do). ctime is the kernel's own and cannot be set back. So a stamp WHOLE
 * carries a time, its seal: ctime later than that, and something was changed since. To be exact to
 * the last write, the seal must not be earlier than the ctime that writing the stamp itself gives,
 * and earlier than every later one:
 *
 *   1. seal_begin() names a moment a little ahead of the clock. The stamp is written.
 *   2. seal_end() asks for the file's ctime, which may not be later than the seal (else it is
 *      begun again, further ahead), and waits until the clock has passed the seal.
 *   3. Since Linux 6.13 a ctime is taken from the clock of the last tick, unless that would show
 *      no change to somebody who asked before: then from the real clock, and no ctime of any
 *      file is earlier than such a one from then on. So seal_end() has one taken, on a file of
 *      its own. Whatever changes later, on any file, gets a ctime after the seal.
 *
 * Before the file is shown to anyone else: under a lease, or while its openers wait. A clock that is
 * set back hides changes for as long as it was set back, as if there were no seal. Changes of
 * attributes (chmod, rename, link, setxattr) move ctime as well, and count as changes.
 */

#include <stdbool.h>
#include <stdint.h>

struct stat;

/* Nanoseconds since the epoch. `attempt`: 0, and one more each time; -EAGAIN from seal_end() asks
 * for the next, up to SEAL_ATTEMPTS. */
#define SEAL_ATTEMPTS 8u
uint64_t seal_begin(unsigned attempt);
/* 0; -EAGAIN: the writing took longer than that; another -errno. Waits less than the attempt's
 * lead, 32 µs to 4 ms. Any thread. */
int seal_end(int fd, uint64_t seal);

/* Did anything change since? 0 is no seal: it may have. */
bool seal_is_broken(uint64_t seal, const struct stat *st);
