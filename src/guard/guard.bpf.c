// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guard's programs. What they are for, and why so: guard.h.
 *
 *   file_open         ┐ sleep: read the stamp once, note it on the inode
 *   inode_setattr     ┘ (truncation, by path or not, O_TRUNC)
 *   file_permission   ┐ read, write, splice, copy, fallocate, readdir; mmap
 *   mmap_file         ┘ look at the note
 *   inode_post_setxattr, inode_post_removexattr   keep notes true
 *   inode_getxattr                                answers the question "are you there?"
 *   sb_free_security                              forgets a superblock that goes
 *   fanotify_handle_event                         an access is over; let go by a group that closes, it and
 *                                                 all others that this group was to answer for are killed
 *
 * Notes on inodes. A note goes from NOT to its value once, by compare and swap, by whoever
 * read the attribute; after that the setxattr hooks alone write it. So an open that read an
 * old stamp, and is slow, cannot overwrite what a setxattr wrote meanwhile. A setxattr that
 * makes a file ABSENT has written the note before it returns, and before the daemon takes
 * the content away.
 *
 * Superblocks are known by their address, until sb_free_security. The verifier lets no program
 * go from an inode to the root directory's attributes, so what a superblock is gets known when its
 * root is opened (the loader does that with all that are mounted) or asked, or when a file is opened that
 * has a stamp of its own. Until then each file that is opened is asked for a stamp,
 * so nothing depends on it but time.
 *
 * The order of questions is by price, for the sake of everything that is no store: is the
 * superblock among the few stores? On a store, a file that is here costs one note; marks are
 * looked at for what is not here alone.
 *
 * What is __noinline has a frame of its own because of the dynptrs, whose place on the stack
 * nothing else may share.
 */
#include "guard/kernel.h"

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "guard/guard.h"
#include "guard/judge.h"

char LICENSE[] SEC("license") = "GPL";

/* stamp_boot(), by the loader. */
const volatile __u32 boot = 0;

#define MARKS_MAX 16 /* groups that watch one superblock; ours comes first, being pre-content */
#define STORES_MAX 2
#define OTHERS_MAX 16
#define SEND_TRIES 1000
#define KILLED 1

extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;
extern int bpf_get_file_xattr(struct file *file, const char *name, struct bpf_dynptr *value) __ksym;
extern int bpf_get_dentry_xattr(struct dentry *dentry, const char *name, struct bpf_dynptr *value) __ksym;
extern int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task, unsigned int flags) __ksym;
extern struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it) __ksym;
extern void bpf_iter_task_destroy(struct bpf_iter_task *it) __ksym;
extern struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;
extern int bpf_send_signal_task(struct task_struct *task, int number, enum pid_type type, __u64 value) __ksym;

struct {
        __uint(type, BPF_MAP_TYPE_INODE_STORAGE);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, int);
        __type(value, __u32); /* enum judgement */
} notes SEC(".maps");

enum kind {
        KIND_NOT_KNOWN = 0,
        KIND_STORE,
        KIND_OTHER,
};

/* Addresses of superblocks; 0: free. Those that find no room are in the map alone. (Global, since
 * that is the cheapest to look at: each read on the machine looks at the first three words. Its map is
 * pinned like the others, see pins.c.) */
struct {
        volatile __u64 store[STORES_MAX];
        volatile __u64 more_stores;
        volatile __u64 other[OTHERS_MAX];
        volatile __u64 more_others;
} table;

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 4096);
        __type(key, __u64); /* address */
        __type(value, __u32); /* enum kind */
} superblocks SEC(".maps");

/* A whole attribute's room, since one that does not fit is not given at all. Lives for one
 * question. */
struct buffer {
        __u8 bytes[STAMP_MAX];
};

struct {
        __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, int);
        __type(value, struct buffer);
} buffers SEC(".maps");

/* The group that answers for the access that a thread is in, to what is not all here. From before the
 * access is allowed until the answer is there; 0: none; KILLED. */
struct {
        __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, int);
        __type(value, __u64);
} accesses SEC(".maps");

/* ── superblocks ────────────────────────────────────────────────────────── */

static __always_inline bool may_be_store(const struct super_block *sb) {
        unsigned long magic = sb->s_magic;

        return magic == EXT4_MAGIC || magic == XFS_MAGIC || magic == BTRFS_MAGIC;
}

#define HAS(list, key) has(list, sizeof list / sizeof *list, key)
static __always_inline bool has(const volatile __u64 *list, unsigned n, __u64 key) {
        for (unsigned i = 0; i < n; i++)
                if (list[i] == key)
                        return true;
        return false;
}

#define ADD(list, key) add(list, sizeof list / sizeof *list, key)
static __always_inline bool add(volatile __u64 *list, unsigned n, __u64 key) {
        for (unsigned i = 0; i < n; i++) {
                __u64 was = __sync_val_compare_and_swap(&list[i], 0, key);
                if (was == 0 || was == key)
                        return true;
        }
        return false;
}

#define TAKE_OFF(list, key) take_off(list, sizeof list / sizeof *list, key)
static __always_inline void take_off(volatile __u64 *list, unsigned n, __u64 key) {
        for (unsigned i = 0; i < n; i++)
                __sync_val_compare_and_swap(&list[i], key, 0);
}

static __always_inline enum kind kind_in_map(__u64 key) {
        __u32 *kind = bpf_map_lookup_elem(&superblocks, &key);

        return kind ? *kind : KIND_NOT_KNOWN;
}

static __always_inline bool is_store(const struct super_block *sb) {
        const __u64 key = (__u64)sb;

        return table.store[0] == key || table.store[1] == key || /* no loop: it is run for each read */
               (table.more_stores && kind_in_map(key) == KIND_STORE);
}

static __always_inline enum kind kind_of(const struct super_block *sb) {
        if (is_store(sb))
                return KIND_STORE;
        if (HAS(table.other, (__u64)sb))
                return KIND_OTHER;
        return table.more_others ? kind_in_map((__u64)sb) : KIND_NOT_KNOWN;
}

/* Two may say different things at a time: a store wins, and stays one. Each looks, after it has
 * entered its own, for the other's. */
static __noinline void set_kind(const struct super_block *sb, enum kind kind) {
        const __u64 key = (__u64)sb;
        __u32 value = kind;

        if (kind == KIND_STORE) {
                if (!ADD(table.store, key)) {
                        bpf_map_update_elem(&superblocks, &key, &value, BPF_ANY);
                        table.more_stores = 1;
                }
                TAKE_OFF(table.other, key);
        } else {
                if (!ADD(table.other, key)) {
                        bpf_map_update_elem(&superblocks, &key, &value, BPF_NOEXIST);
                        table.more_others = 1;
                }
                if (is_store(sb))
                        TAKE_OFF(table.other, key);
        }
}

static __always_inline bool is_root(const struct inode *inode, const struct super_block *sb) {
        return (__u64)BPF_CORE_READ(sb, s_root, d_inode) == (__u64)inode;
}

SEC("lsm/sb_free_security")
int BPF_PROG(guard_forget, struct super_block *sb) {
        const __u64 key = (__u64)sb;

        TAKE_OFF(table.store, key);
        TAKE_OFF(table.other, key);
        bpf_map_delete_elem(&superblocks, &key);
        return 0;
}

/* ── marks ──────────────────────────────────────────────────────────────── */

/* The group that lives and holds back what is not here, or 0. */
static __noinline __u64 live_group(struct super_block *sb) {
        struct fsnotify_mark_connector *connector;
        struct hlist_node *node;

        if (!(sb->s_fsnotify_mask & FS_PRE_ACCESS))
                return 0;
        connector = BPF_CORE_READ(sb, s_fsnotify_info, sb_marks);
        node = connector ? BPF_CORE_READ(connector, list.first) : 0;
        for (int i = 0; i < MARKS_MAX && node; i++) {
                struct fsnotify_mark *mark =
                        (void *)node - bpf_core_field_offset(struct fsnotify_mark, obj_list);
                const __u32 both = FS_PRE_ACCESS | FS_OPEN_PERM;
                const struct fsnotify_group *group = BPF_CORE_READ(mark, group);
                if ((BPF_CORE_READ(mark, mask) & both) == both && !BPF_CORE_READ(group, shutdown))
                        return (__u64)group;
                node = BPF_CORE_READ(node, next);
        }
        return 0;
}

static __always_inline bool is_live(struct super_block *sb) {
        return live_group(sb) != 0;
}

/* ── files ──────────────────────────────────────────────────────────────── */

static __always_inline bool has_kind(const struct inode *inode) {
        return (inode->i_mode & S_IFMT) == S_IFREG || (inode->i_mode & S_IFMT) == S_IFDIR;
}

static __always_inline enum judgement judge(const __u8 *bytes, __s64 n) {
        if (n == -ENODATA || n == -EOPNOTSUPP)
                return JUDGED_HERE;
        if (n < 0)
                return JUDGED_NOT;
        return judge_stamp(bytes, n, boot);
}

static __always_inline enum judgement note_of(struct inode *inode) {
        __u32 *note = bpf_inode_storage_get(&notes, inode, 0, 0);

        return note ? *note : JUDGED_NOT;
}

/* Takes down what was read, unless somebody was faster; returns what is noted now. */
static __always_inline enum judgement take_down(struct inode *inode, enum judgement read) {
        __u32 *note, was;

        if (read == JUDGED_NOT)
                return read;
        note = bpf_inode_storage_get(&notes, inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
        if (!note)
                return read;
        was = __sync_val_compare_and_swap(note, JUDGED_NOT, read);
        return was == JUDGED_NOT ? read : was;
}

static __always_inline struct buffer *take_buffer(struct bpf_dynptr *value) {
        struct buffer *buffer = bpf_task_storage_get(&buffers, bpf_get_current_task_btf(), 0,
                                                     BPF_LOCAL_STORAGE_GET_F_CREATE);

        if (buffer)
                bpf_dynptr_from_mem(buffer, sizeof *buffer, 0, value);
        return buffer;
}

static __always_inline void drop_buffer(void) {
        bpf_task_storage_delete(&buffers, bpf_get_current_task_btf());
}

/* What an attribute that was read says of the file, and of its superblock if that was not known. */
static __always_inline enum judgement learn(struct inode *inode, enum kind kind, const __u8 *bytes, __s64 n) {
        if (kind == KIND_NOT_KNOWN && judge_is_own(bytes, n, inode->i_ino, inode->i_generation)) {
                set_kind(inode->i_sb, KIND_STORE);
                kind = KIND_STORE;
        }
        /* Where it is not known to be one, only a stamp that names this inode counts. */
        if (kind == KIND_NOT_KNOWN)
                return n < 0 && n != -ENODATA ? JUDGED_NOT : take_down(inode, JUDGED_HERE);
        return take_down(inode, judge(bytes, n));
}

/* Both sleep. NOT means: may not be here, on a store. Elsewhere always HERE. */
static __noinline enum judgement ask_file(struct file *file, struct inode *inode, enum kind kind) {
        enum judgement what = note_of(inode);
        struct bpf_dynptr value;
        struct buffer *buffer;

        if (what != JUDGED_NOT)
                return what;
        buffer = take_buffer(&value);
        if (buffer) {
                int n = bpf_get_file_xattr(file, STAMP_XATTR, &value);
                what = learn(inode, kind, buffer->bytes, n);
                drop_buffer();
        }
        return what == JUDGED_NOT && kind == KIND_NOT_KNOWN ? JUDGED_HERE : what;
}

static __noinline enum judgement ask_dentry(struct dentry *dentry, struct inode *inode, enum kind kind) {
        enum judgement what = note_of(inode);
        struct bpf_dynptr value;
        struct buffer *buffer;

        if (what != JUDGED_NOT)
                return what;
        buffer = take_buffer(&value);
        if (buffer) {
                int n = bpf_get_dentry_xattr(dentry, STAMP_XATTR, &value);
                what = learn(inode, kind, buffer->bytes, n);
                drop_buffer();
        }
        return what == JUDGED_NOT && kind == KIND_NOT_KNOWN ? JUDGED_HERE : what;
}

static __always_inline void learn_root(const struct super_block *sb, int n) {
        if (n >= 1)
                set_kind(sb, KIND_STORE);
        else if (n == -ENODATA || n == -EOPNOTSUPP)
                set_kind(sb, KIND_OTHER);
}

/* Both sleep. A root directory says what its superblock is. */
static __noinline void ask_root(struct file *root, const struct super_block *sb) {
        struct bpf_dynptr value;

        if (!take_buffer(&value))
                return;
        int n = bpf_get_file_xattr(root, GUARD_STORE_XATTR, &value);
        drop_buffer();
        learn_root(sb, n);
}

static __noinline void ask_root_dentry(struct dentry *root, const struct super_block *sb) {
        struct bpf_dynptr value;

        if (!take_buffer(&value))
                return;
        int n = bpf_get_dentry_xattr(root, GUARD_STORE_XATTR, &value);
        drop_buffer();
        learn_root(sb, n);
}

/* An access that a group will be asked about. A group that closes is flagged first, and then all whose
 * access is noted are killed (kill_all). So it is noted first, and then looked whether that group lives still: one of
 * the two sees the other. */
static __always_inline int begin_access(struct super_block *sb) {
        const __u64 group = live_group(sb);
        __u64 *access;

        if (!group)
                return -EPERM;
        access = bpf_task_storage_get(&accesses, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
        if (!access)
                return -EPERM;
        (void)__sync_lock_test_and_set(access, group); /* and a barrier */
        if (live_group(sb) == group)
                return 0;
        *access = 0;
        return -EPERM;
}

/* For hooks that cannot sleep. */
static __always_inline int decide(struct inode *inode) {
        struct super_block *sb = inode->i_sb;

        if (!is_store(sb) || !has_kind(inode) || note_of(inode) == JUDGED_HERE)
                return 0;
        if ((inode->i_mode & S_IFMT) == S_IFDIR) /* its entries were asked for when it was opened */
                return is_live(sb) ? 0 : -EPERM;
        return begin_access(sb);
}

SEC("lsm.s/file_open")
int BPF_PROG(guard_open, struct file *file) {
        struct inode *inode = file->f_inode;
        struct super_block *sb = inode->i_sb;
        enum kind kind;

        if (!may_be_store(sb) || !has_kind(inode))
                return 0;
        kind = kind_of(sb);
        if (kind == KIND_NOT_KNOWN && is_root(inode, sb)) {
                ask_root(file, sb);
                kind = kind_of(sb);
        }
        if (kind == KIND_OTHER || ask_file(file, inode, kind) == JUDGED_HERE)
                return 0;
        return is_live(sb) ? 0 : -EPERM;
}

SEC("lsm/file_permission")
int BPF_PROG(guard_permission, struct file *file, int mask) {
        return decide(file->f_inode);
}

SEC("lsm/mmap_file")
int BPF_PROG(guard_mmap, struct file *file) {
        return file ? decide(file->f_inode) : 0;
}

SEC("lsm.s/inode_setattr")
int BPF_PROG(guard_setattr, struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr) {
        struct inode *inode = dentry->d_inode;
        enum kind kind;

        if (!(attr->ia_valid & ATTR_SIZE) || !inode || !may_be_store(inode->i_sb))
                return 0;
        kind = kind_of(inode->i_sb);
        if (kind == KIND_OTHER || ask_dentry(dentry, inode, kind) == JUDGED_HERE)
                return 0;
        return is_live(inode->i_sb) ? 0 : -EPERM;
}

/* ── attributes ─────────────────────────────────────────────────────────── */

enum name {
        NAME_OTHER,
        NAME_STAMP,
        NAME_STORE,
        NAME_QUESTION,
};

static __always_inline bool equal(const char *a, const char *b, unsigned bytes) {
        for (unsigned i = 0; i < bytes; i++)
                if (a[i] != b[i])
                        return false;
        return true;
}

static __always_inline enum name which(const char *name) {
        char own[32] = {};

        bpf_probe_read_kernel_str(own, sizeof own, name);
        if (equal(own, STAMP_XATTR, sizeof STAMP_XATTR))
                return NAME_STAMP;
        if (equal(own, GUARD_STORE_XATTR, sizeof GUARD_STORE_XATTR))
                return NAME_STORE;
        if (equal(own, GUARD_QUESTION_XATTR, sizeof GUARD_QUESTION_XATTR))
                return NAME_QUESTION;
        return NAME_OTHER;
}

static __always_inline void note_file(struct inode *inode, enum judgement what) {
        __u32 *note = bpf_inode_storage_get(&notes, inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

        if (note)
                *note = what;
}

SEC("lsm/inode_post_setxattr")
int BPF_PROG(guard_post_setxattr, struct dentry *dentry, const char *name, const void *value, __u64 size) {
        struct inode *inode = dentry->d_inode;
        __u8 bytes[JUDGE_BYTES] = {};
        enum name what;

        if (!inode || !may_be_store(inode->i_sb))
                return 0;
        what = which(name);
        if (what == NAME_STAMP && is_store(inode->i_sb)) {
                __s64 n = size;
                if (size >= JUDGE_BYTES && bpf_probe_read_kernel(bytes, sizeof bytes, value) < 0)
                        n = 0; /* counts as damaged */
                note_file(inode, judge(bytes, n));
        } else if (what == NAME_STORE && size > 0 && is_root(inode, inode->i_sb)) {
                set_kind(inode->i_sb, KIND_STORE);
        }
        return 0;
}

SEC("lsm/inode_post_removexattr")
int BPF_PROG(guard_post_removexattr, struct dentry *dentry, const char *name) {
        struct inode *inode = dentry->d_inode;

        if (inode && is_store(inode->i_sb) && which(name) == NAME_STAMP)
                note_file(inode, JUDGED_HERE);
        return 0;
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(guard_question, struct dentry *dentry, const char *name) {
        struct inode *inode = dentry->d_inode;
        struct super_block *sb;

        if (!inode || !may_be_store(inode->i_sb))
                return 0;
        sb = inode->i_sb;
        if (kind_of(sb) == KIND_OTHER || !is_root(inode, sb) || which(name) != NAME_QUESTION)
                return 0;
        if (kind_of(sb) == KIND_NOT_KNOWN)
                ask_root_dentry(dentry, sb);
        if (!is_store(sb))
                return 0;
        return is_live(sb) ? -GUARD_ANSWER_LIVE : -GUARD_ANSWER_CLOSED;
}

/* ── a group that closes ────────────────────────────────────────────────── */

/* With preemption off it is sent by an interrupt of this processor's, one at a time. */
static __always_inline int kill_task(struct task_struct *task) {
        int r = -EBUSY;

        task = bpf_task_acquire(task);
        if (!task)
                return 0; /* gone */
        for (int i = 0; i < SEND_TRIES && r == -EBUSY; i++)
                r = bpf_send_signal_task(task, SIGKILL, PIDTYPE_TGID, 0);
        bpf_task_release(task);
        return r;
}

static __noinline int kill_all(__u64 group) {
        struct bpf_iter_task it;
        struct task_struct *task;

        bpf_iter_task_new(&it, 0, BPF_TASK_ITER_ALL_THREADS);
        while ((task = bpf_iter_task_next(&it))) {
                __u64 *access = bpf_task_storage_get(&accesses, task, 0, 0);
                if (access && *access == group && kill_task(task) == 0)
                        *access = KILLED;
        }
        bpf_iter_task_destroy(&it);
        return 0;
}

/*
 * Runs in the thread that waited, when its wait is over. The arguments are eight, more
 * than BPF_PROG() spells out.
 *
 * The kernel does not run such a program on a processor that is in it already, and says so to nobody: should one
 * thread be preempted in it, those that are let go next would go on to the zeros; and all that waited are
 * woken at once. So the first that comes kills all of them, and is not preempted before it has; and since that leaves
 * some instructions on the way in, there are two of it. (An answer that both miss leaves an access noted that is over:
 * its thread is killed with the others, should that group die before the thread's next access.)
 */
static __always_inline int answered(const unsigned long long *ctx) {
        struct fsnotify_group *group = (void *)ctx[0];
        __u32 mask = (__u32)ctx[1];
        __u64 *access;

        if (!(mask & (FS_PRE_ACCESS | FS_ACCESS_PERM)))
                return 0;
        access = bpf_task_storage_get(&accesses, bpf_get_current_task_btf(), 0, 0);
        if (!access || *access != (__u64)group)
                return 0;
        if ((int)ctx[8] == 0 && BPF_CORE_READ(group, shutdown)) {
                bpf_preempt_disable();
                kill_all((__u64)group);
                bpf_preempt_enable();
                if (*access == (__u64)group)
                        bpf_send_signal(SIGKILL);
        }
        *access = 0;
        return 0;
}

SEC("fexit/fanotify_handle_event")
int guard_answered(unsigned long long *ctx) {
        return answered(ctx);
}

SEC("fexit/fanotify_handle_event")
int guard_answered_too(unsigned long long *ctx) {
        return answered(ctx);
}
