/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * store create: an image file with a file system that suits a store.
 *
 * The image is sparse: it takes room as the store fills. What the file systems are told:
 * ext4   inodes of 512 bytes, so that a placeholder's attribute lies inside its inode and
 *        costs no block; ea_inode for those that are longer; orphan_file (Linux 5.15,
 *        e2fsprogs 1.47), because every placeholder is an orphan before it has a name, and
 *        the list without it is one for the file system; an inode for every 4 KiB,
 *        because a store of placeholders has many files and few blocks; no reserve
 *        for root, who keeps no logs there.
 * xfs    inodes of 512 bytes for the same reason; xfs makes inodes as it needs them.
 * btrfs  keeps attributes in its trees; nothing to say.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/ctl.h"
#include "ctl/format.h"
#include "shared/fd.h"

static const char *size_text, *fs_name;

struct filesystem {
        const char *name, *tool, *package;
        uint64_t smallest; /* that its mkfs makes */
        const char *argv[12];
};

static const struct filesystem filesystems[] = {
        {"ext4",
         "mkfs.ext4",
         "e2fsprogs",
         UINT64_C(16) << 20,
         {"mkfs.ext4", "-q", "-F", "-I", "512", "-O", "ea_inode,orphan_file", "-m", "0", "-i", "4096"}},
        {"xfs", "mkfs.xfs", "xfsprogs", UINT64_C(300) << 20, {"mkfs.xfs", "-q", "-i", "size=512"}},
        {"btrfs", "mkfs.btrfs", "btrfs-progs", UINT64_C(128) << 20, {"mkfs.btrfs", "-q"}},
};

static const struct filesystem *find_filesystem(const char *name) {
        for (size_t i = 0; i < G_N_ELEMENTS(filesystems); i++)
                if (strcmp(filesystems[i].name, name) == 0)
                        return &filesystems[i];
        return NULL;
}

/* The tool, also where an ordinary user's PATH lacks the sbin directories. To be freed. */
static char *find_tool(const char *name) {
        static const char *const directories[] = {"/usr/sbin", "/sbin", "/usr/local/sbin"};
        char *path = g_find_program_in_path(name);

        for (size_t i = 0; !path && i < G_N_ELEMENTS(directories); i++) {
                path = g_build_filename(directories[i], name, NULL);
                if (!g_file_test(path, G_FILE_TEST_IS_EXECUTABLE))
                        g_clear_pointer(&path, g_free);
        }
        return path;
}

/* A new sparse file of `size` bytes. 0 or a negative errno; an older file is never touched. */
static int create_file(const char *path, uint64_t size) {
        autoclose int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)size) < 0) {
                int r = -errno;
                (void)unlink(path);
                return r;
        }
        return 0;
}

/* 0 or a negative errno after saying why. */
static int run_mkfs(const struct filesystem *fs, const char *tool, const char *path) {
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        g_autoptr(GError) error = NULL;
        g_autofree char *output = NULL;
        int status;

        g_ptr_array_add(argv, (gpointer)tool);
        for (const char *const *a = fs->argv + 1; *a; a++)
                g_ptr_array_add(argv, (gpointer)*a);
        g_ptr_array_add(argv, (gpointer)path);
        g_ptr_array_add(argv, NULL);
        if (!g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL,
                          NULL, &output, &status, &error)) {
                ctl_error("%s: %s", tool, error->message);
                return -EIO;
        }
        if (!g_spawn_check_wait_status(status, &error)) {
                g_strchomp(output);
                g_autofree char *text = g_strdelimit(g_strdup(output), "\n", ' ');
                ctl_error("%s: %s%s%s", fs->tool, error->message, *text ? ": " : "", text);
                return -EIO;
        }
        return 0;
}

static int parse_options(uint64_t *size, const struct filesystem **fs) {
        char shown[FORMAT_SIZE_MAX];

        if (!size_text || !fs_name)
                return ctl_usage("store create",
                                 "--size and --fs are needed: --size 20G --fs ext4");
        *fs = find_filesystem(fs_name);
        if (!*fs)
                return ctl_usage("store create", "a store can be ext4, xfs or btrfs, not \"%s\"",
                                 fs_name);
        int r = format_parse_size(size_text, size);
        if (r < 0)
                return ctl_usage("store create", "\"%s\" is not a size: 500M, 20G, 1T", size_text);
        if (*size < (*fs)->smallest)
                return ctl_usage("store create", "%s needs at least %s", (*fs)->name,
                                 format_size((*fs)->smallest, shown));
        return CTL_OK;
}

static void print_next_steps(const struct ctl *ctl, const char *path, const struct filesystem *fs,
                             uint64_t size) {
        g_autofree char *absolute = g_canonicalize_filename(path, NULL);
        char shown[FORMAT_SIZE_MAX];

        if (ctl->json) {
                struct json_object *o = json_object_new_object();
                ctl_json_add_name(o, "file", absolute);
                json_object_object_add(o, "size", json_object_new_uint64(size));
                json_object_object_add(o, "filesystem", json_object_new_string(fs->name));
                ctl_print_json(o, false);
                return;
        }
        g_autofree char *name = format_name(absolute);
        printf("%s is a store of %s (%s). It takes room on disk as it fills.\n\n"
               "Next, as root:\n"
               "  1. Choose where it is to appear, and make the directory:\n"
               "       mkdir -p /srv/cloud\n"
               "  2. Put into /etc/cloudsync/cloudsync.conf:\n"
               "       [Store]\n"
               "       Device=%s\n"
               "       Path=/srv/cloud\n"
               "  3. Start the service and add an engine:\n"
               "       systemctl enable --now cloudsync\n"
               "       cloudsyncctl engine add docs httpfs docs url=https://example.org/docs/\n",
               name, format_size(size, shown), fs->name, name);
}

static int run_create(struct ctl *ctl, char **words, unsigned n) {
        const struct filesystem *fs = NULL;
        const char *path = words[0];
        uint64_t size = 0;

        int r = parse_options(&size, &fs);
        if (r != CTL_OK)
                return r;
        g_autofree char *tool = find_tool(fs->tool);
        if (!tool) {
                ctl_error("%s is not installed", fs->tool);
                ctl_hint("Install the package %s: apt install %s", fs->package, fs->package);
                return CTL_FAILED;
        }
        r = create_file(path, size);
        if (r == -EEXIST) {
                ctl_error("%s exists already", path);
                ctl_hint("It was not touched. Choose another name, or remove it if nobody needs "
                         "it.");
                return CTL_FAILED;
        }
        if (r < 0) {
                ctl_error("cannot make %s: %s", path, strerror(-r));
                return CTL_FAILED;
        }
        g_autofree char *absolute =
                g_canonicalize_filename(path, NULL); /* never an option of mkfs */
        if (run_mkfs(fs, tool, absolute) < 0) {
                (void)unlink(path);
                return CTL_FAILED;
        }
        print_next_steps(ctl, path, fs, size);
        return CTL_OK;
}

static const struct arg_option create_options[] = {
        {"size", 's', ARG_VALUE, &size_text},
        {"fs", 't', ARG_VALUE, &fs_name},
        {NULL, 0, 0, NULL},
};

const struct verb verb_store_create = {
        .name = "store create",
        .synopsis = "--size SIZE --fs ext4|xfs|btrfs FILE",
        .summary = "Make a file with a file system that suits a store",
        .help = "The file is sparse: it takes room on disk as the store fills. A file that\n"
                "exists is never overwritten.\n"
                "\n"
                "-s, --size SIZE  its size: a number with K, M, G or T\n"
                "-t, --fs TYPE    ext4: inodes hold a placeholder's data, one inode for each\n"
                "                 4 KiB; xfs, btrfs: as many files as there is room for\n"
                "\n"
                "Example:\n"
                "  cloudsyncctl store create --size 20G --fs ext4 /var/lib/cloudsync/store.img\n"
                "\n",
        .options = create_options,
        .min_words = 1,
        .max_words = 1,
        .run = run_create,
};
