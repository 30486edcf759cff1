/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * kernel — the few members of the kernel's structures that the guard reads
 *
 * By name: libbpf finds each member's real place in the running kernel's type information when
 * the programs are loaded (CO-RE), and refuses to load when one is not there. So this is
 * no copy of a kernel's headers, and needs none to build. As of Linux 6.14 to 7.2.
 */

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

enum bpf_map_type {
        BPF_MAP_TYPE_HASH = 1,
        BPF_MAP_TYPE_ARRAY = 2,
        BPF_MAP_TYPE_INODE_STORAGE = 28,
        BPF_MAP_TYPE_TASK_STORAGE = 29,
};
#define BPF_F_NO_PREALLOC 1U
#define BPF_ANY 0
#define BPF_NOEXIST 1
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1ULL

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct hlist_node {
        struct hlist_node *next;
};

struct hlist_head {
        struct hlist_node *first;
};

struct fsnotify_group {
        _Bool shutdown;
};

struct fsnotify_mark {
        __u32 mask;
        struct fsnotify_group *group;
        struct hlist_node obj_list;
};

struct fsnotify_mark_connector {
        struct hlist_head list;
};

struct fsnotify_sb_info {
        struct fsnotify_mark_connector *sb_marks;
};

struct super_block {
        unsigned long s_magic;
        struct dentry *s_root;
        __u32 s_fsnotify_mask;
        struct fsnotify_sb_info *s_fsnotify_info;
};

struct inode {
        unsigned short i_mode;
        struct super_block *i_sb;
        unsigned long i_ino;
        __u32 i_generation;
};

struct dentry {
        struct inode *d_inode;
};

struct file {
        struct inode *f_inode;
};

/* Of a structure that a kernel's function takes there must be something. */
struct task_struct {
        int pid;
};

struct iattr {
        unsigned int ia_valid;
};

#pragma clang attribute pop

struct mnt_idmap;
struct qstr;
struct fsnotify_iter_info;
struct pt_regs;

enum pid_type {
        PIDTYPE_TGID = 1,
};

struct bpf_iter_task {
        __u64 opaque[3];
} __attribute__((aligned(8)));
#define BPF_TASK_ITER_ALL_THREADS 1U

struct bpf_dynptr {
        __u64 opaque[2];
} __attribute__((aligned(8)));

#define S_IFMT 00170000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define ATTR_SIZE (1U << 3)
#define FS_ACCESS_PERM 0x00020000U
#define FS_OPEN_PERM 0x00010000U
#define FS_PRE_ACCESS 0x00100000U
#define EXT4_MAGIC 0xEF53UL
#define XFS_MAGIC 0x58465342UL
#define BTRFS_MAGIC 0x9123683EUL
#define SIGKILL 9
#define EPERM 1
#define EACCES 13
#define EBUSY 16
#define ENODATA 61
#define EOPNOTSUPP 95
#define EISCONN 106
#define ENOTCONN 107
