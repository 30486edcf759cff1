/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * guard — keeps what is not here from being read while nobody can bring it
 *
 * The kernel allows every access that waits when the last descriptor of a fanotify group
 * closes, and asks nobody once the mark is gone: a placeholder then reads as zeros. The guard is
 * a set of BPF programs on the kernel's security hooks. On a store, a file that is not whole can
 * be opened, read, written, mapped, executed and truncated only while a group lives that holds
 * a pre-content mark on the superblock; else EPERM. The same for a directory whose entries are not all
 * here. Whole files, and users' own, are not touched.
 *
 *   cloudsync-guard load ─▶ programs ─▶ links, pinned in /sys/fs/bpf/cloudsync ─▶ they outlive
 *                                       every process, until `unload` or a reboot
 *
 * What is a store: a superblock whose root directory carries GUARD_STORE_XATTR. The daemon sets
 * it when it opens a store, and it stays. So a store that is mounted by fstab, by hand, or in
 * a boot whose daemon never starts is guarded, without anybody telling the guard.
 *
 * What is not whole: by the stamp (dispatcher/store/stamp.h) and judge.h. Reading it may sleep, which
 * of the hooks only file_open and inode_setattr may do. So file_open takes it down in
 * a note on the inode in memory, the others look at the note, and a hook on setxattr keeps the
 * note true. The notes go with their inodes.
 *
 * Why this and not a flag of the inode such as S_NOATIME, which every hook could read without a
 * note: users can set and clear that flag (chattr) and see it, it needs a second write for each
 * change of the stamp, and the two could be out of step after a power cut.
 *
 * Who is alive: super_block.s_fsnotify_info leads to the marks, these to their groups. A group
 * that is being closed is flagged `shutdown` before the events that wait are let go and before its marks
 * go; the mask of the superblock alone would still say that all is well.
 *
 * What waits when the group dies has passed its hook already: file_permission comes
 * before the event, and nothing that can refuse comes after it. An open is no harm, since the
 * first read is refused. A read, write or mmap that waited, and got its answer from a group
 * that is shutting down, would go on to the zeros: its program is killed (SIGKILL). It cannot
 * be told by an errno; a program that got zeros cannot be told at all. Each such access is noted on its thread, with
 * the group that is to answer. The guard sees the first one return (fexit of fanotify_handle_event, in
 * the thread that waited), and kills all whose access that group was to answer: it cannot leave the others
 * to themselves (guard.bpf.c). Not when the group closes: a process that exits has no memory any more, and
 * the kernel lets no program send a signal from there.
 *
 * What is left: an access that has passed the hook while the group lived, and is stopped
 * (by an interrupt) for all the time that closing a group takes before it looks for marks, a few
 * instructions later, while no other waits. It is let go by the kernel without an event. Memory that is mapped before
 * the group died is whole: mmap makes a file whole first. And a directory whose open was let go, and that is read
 * when somebody lives again: it may be shown without what was never listed.
 *
 * Fail closed: no memory for a note, a stamp that cannot be read (a program that may
 * execute or write, but not read the file), a file that was open before the guard was
 * loaded: all count as not whole, which matters only while nobody lives.
 */

/* On the root directory of each store: one byte, GUARD_STORE_FORMAT. Only root can set it. */
#define GUARD_STORE_XATTR "security.bpf.cloudsync-store"
#define GUARD_STORE_FORMAT 1

/*
 * A question, asked by getxattr(2) of this name on the root directory of a store: there is no
 * such attribute, so without a guard the answer is ENODATA. A guard that knows this superblock
 * for a store answers before the file system is asked. It is the only proof that the programs
 * run, and for this store, and see this mark. Anybody may ask.
 */
#define GUARD_QUESTION_XATTR "security.bpf.cloudsync-guard"
#define GUARD_ANSWER_LIVE EISCONN    /* guarded; a live mark is seen, everything is allowed */
#define GUARD_ANSWER_CLOSED ENOTCONN /* guarded; there is none, what is not whole is refused */

#define GUARD_PIN_DIR "/sys/fs/bpf/cloudsync"
