/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guard/pins.h"

#include "dispatcher/store/stamp.h"
#include "guard/guard.h"
#include "shared/fd.h"

#include "guard.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LSM_LIST "/sys/kernel/security/lsm"
#define BPFFS "/sys/fs/bpf"
#define KERNEL_TYPES "/sys/kernel/btf/vmlinux"
#define MAPS_LAYOUT "3"
#define SET_PREFIX "set-"
#define NEW_PREFIX "new-"
#define SET_MAX 1000000

static bool lsm_is_active(const char *list) {
        g_auto(GStrv) names = g_strsplit(g_strstrip(g_strdup(list)), ",", -1);
        return g_strv_contains((const char *const *)names, "bpf");
}

int pins_possible(char *why, size_t size) {
        g_autofree char *list = NULL;
        struct statfs fs;

        if (!g_file_get_contents(LSM_LIST, &list, NULL, NULL)) {
                snprintf(why, size, "this kernel does not say which security modules are active (" LSM_LIST ")");
                return -EOPNOTSUPP;
        }
        g_strstrip(list);
        if (!lsm_is_active(list)) {
                snprintf(why, size, "the security module \"bpf\" is not active; boot with lsm=%s,bpf on the kernel's command line",
                         list);
                return -EOPNOTSUPP;
        }
        if (access(KERNEL_TYPES, R_OK) < 0) {
                snprintf(why, size, "this kernel has no type information (" KERNEL_TYPES "; CONFIG_DEBUG_INFO_BTF)");
                return -EOPNOTSUPP;
        }
        if (statfs(BPFFS, &fs) < 0 || fs.f_type != BPF_FS_MAGIC) {
                snprintf(why, size, "no bpf file system is mounted at " BPFFS);
                return -EOPNOTSUPP;
        }
        return 0;
}

/* ── the directory ──────────────────────────────────────────────────────── */

/* Locked until it is closed. -ENOENT: not there, and not to be made. */
static int open_pins(bool create) {
        if (create && mkdir(GUARD_PIN_DIR, 0700) < 0 && errno != EEXIST)
                return -errno;
        autoclose int fd = open(GUARD_PIN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || flock(fd, LOCK_EX) < 0)
                return -errno;
        return fd_steal(&fd);
}

/* "set-N": N; "new-N": 0, another name: -1. (bpffs takes no dots.) */
static long set_number(const char *name) {
        char *end;

        if (g_str_has_prefix(name, NEW_PREFIX))
                return 0;
        if (!g_str_has_prefix(name, SET_PREFIX))
                return -1;
        unsigned long n = strtoul(name + strlen(SET_PREFIX), &end, 10);
        return *end != '\0' || n == 0 || n > SET_MAX ? 0 : (long)n;
}

static DIR *list_directory(int at, const char *name) {
        int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (fd >= 0 && dir == NULL)
                fd_close(fd);
        return dir;
}

static long newest_set(int pins) {
        DIR *dir = list_directory(pins, ".");
        const struct dirent *entry;
        long newest = 0;

        while (dir != NULL && (entry = readdir(dir)) != NULL)
                newest = MAX(newest, set_number(entry->d_name));
        if (dir != NULL)
                closedir(dir);
        return newest;
}

/* A program is detached with the last reference to its link: its pin. */
static int remove_set(int pins, const char *name) {
        DIR *dir = list_directory(pins, name);
        const struct dirent *entry;
        int r = 0;

        if (dir == NULL)
                return -errno;
        while ((entry = readdir(dir)) != NULL)
                if (entry->d_name[0] != '.' && unlinkat(dirfd(dir), entry->d_name, 0) < 0)
                        r = -errno;
        closedir(dir);
        return r < 0 ? r : unlinkat(pins, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* All sets but `keep` (0: all). */
static int remove_sets(int pins, long keep) {
        DIR *dir = list_directory(pins, ".");
        const struct dirent *entry;
        int r = 0;

        if (dir == NULL)
                return -errno;
        while ((entry = readdir(dir)) != NULL) {
                long number = set_number(entry->d_name);
                if (number == 0 || (number > 0 && number != keep)) {
                        int q = remove_set(pins, entry->d_name);
                        r = q < 0 ? q : r;
                }
        }
        closedir(dir);
        return r;
}

/* ── the programs ───────────────────────────────────────────────────────── */

static int be_quiet(enum libbpf_print_level level, const char *format, va_list arguments) {
        return 0;
}

static int complain(enum libbpf_print_level level, const char *format, va_list arguments) {
        return level == LIBBPF_DEBUG ? 0 : vfprintf(stderr, format, arguments);
}

static int open_programs(bool partly, struct guard_bpf **ret) {
        struct guard_bpf *programs = guard_bpf__open();
        if (programs == NULL)
                return -errno;
        programs->rodata->boot = stamp_boot();
        bpf_map__set_pin_path(programs->maps.notes, GUARD_PIN_DIR "/notes-" MAPS_LAYOUT);
        bpf_map__set_pin_path(programs->maps.superblocks, GUARD_PIN_DIR "/superblocks-" MAPS_LAYOUT);
        bpf_map__set_pin_path(programs->maps.bss, GUARD_PIN_DIR "/table-" MAPS_LAYOUT);
        bpf_map__set_pin_path(programs->maps.accesses, GUARD_PIN_DIR "/accesses-" MAPS_LAYOUT);
        bpf_program__set_autoload(programs->progs.guard_answered, !partly);
        bpf_program__set_autoload(programs->progs.guard_answered_too, !partly);

        int r = guard_bpf__load(programs);
        if (r >= 0)
                r = guard_bpf__attach(programs);
        if (r < 0)
                guard_bpf__destroy(programs);
        else
                *ret = programs;
        return r;
}

/* All of it, or, where the kernel cannot have the last two programs, the rest. */
static int make_programs(struct guard_bpf **ret, bool *ret_partly) {
        libbpf_set_print(be_quiet);
        *ret_partly = false;
        int r = open_programs(false, ret);
        if (r >= 0)
                return r;
        *ret_partly = true;
        libbpf_set_print(complain);
        return open_programs(true, ret);
}

static int pin_links(const struct guard_bpf *programs, const char *directory) {
        const struct bpf_object_skeleton *skeleton = programs->skeleton;

        for (int i = 0; i < skeleton->prog_cnt; i++) {
                struct bpf_link *link = *skeleton->progs[i].link;
                g_autofree char *path = g_build_filename(directory, skeleton->progs[i].name, NULL);
                if (link == NULL)
                        continue;
                int r = bpf_link__pin(link, path);
                if (r < 0)
                        return r;
        }
        return 0;
}

int pins_load(bool *ret_partly) {
        struct guard_bpf *programs = NULL;

        autoclose int pins = open_pins(true);
        if (pins < 0) {
                fprintf(stderr, "cloudsync-guard: %s: %s\n", GUARD_PIN_DIR, strerror(-pins));
                return pins;
        }
        long number = newest_set(pins) + 1;
        g_autofree char *name = g_strdup_printf(SET_PREFIX "%ld", number);
        g_autofree char *new = g_strdup_printf(NEW_PREFIX "%ld", number);
        g_autofree char *path = g_build_filename(GUARD_PIN_DIR, new, NULL);

        int r = make_programs(&programs, ret_partly);
        if (r < 0) {
                fprintf(stderr, "cloudsync-guard: the programs cannot be loaded: %s\n", strerror(-r));
                return r;
        }
        (void)remove_set(pins, new); /* of a load that was killed */
        if (mkdirat(pins, new, 0700) < 0)
                r = -errno;
        if (r >= 0)
                r = pin_links(programs, path);
        if (r >= 0 && renameat(pins, new, pins, name) < 0)
                r = -errno;
        if (r >= 0)
                r = remove_sets(pins, number);
        else
                (void)remove_set(pins, new);
        if (r < 0)
                fprintf(stderr, "cloudsync-guard: %s: %s\n", GUARD_PIN_DIR, strerror(-r));
        guard_bpf__destroy(programs);
        return r;
}

int pins_count(void) {
        autoclose int pins = open_pins(false);
        if (pins < 0)
                return pins == -ENOENT ? 0 : pins;
        g_autofree char *name = g_strdup_printf(SET_PREFIX "%ld", newest_set(pins));
        DIR *dir = list_directory(pins, name);
        const struct dirent *entry;
        int count = 0;

        while (dir != NULL && (entry = readdir(dir)) != NULL)
                count += entry->d_name[0] != '.';
        if (dir != NULL)
                closedir(dir);
        return count;
}

int pins_unload(void) {
        autoclose int pins = open_pins(false);
        if (pins < 0)
                return pins == -ENOENT ? 0 : pins;
        int r = remove_sets(pins, 0);
        if (r < 0)
                return r;
        DIR *dir = list_directory(pins, ".");
        const struct dirent *entry;
        while (dir != NULL && (entry = readdir(dir)) != NULL)
                if (entry->d_name[0] != '.' && unlinkat(pins, entry->d_name, 0) < 0)
                        r = -errno;
        if (dir != NULL)
                closedir(dir);
        return r < 0 ? r : rmdir(GUARD_PIN_DIR) < 0 ? -errno : 0;
}
