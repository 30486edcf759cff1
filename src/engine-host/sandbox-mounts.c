/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sandbox-mounts — the engine's view of the file system; see sandbox.h
 *
 * A mount namespace of the host's own, cut off from the others (private, so that a
 * store attached later does not appear). In it, every mount of the filesystem at each
 * --hide path is detached, wherever else it may be mounted: an engine must not reach
 * placeholders, not even as the user that may read them, since its read of a cold
 * file would wait for itself. What is left is made read-only, except the
 * engine's state directory.
 *
 * The mounts are known by the filesystem's device number in /proc/self/mountinfo (for
 * btrfs that is not the st_dev of its files, hence the way through the mount's id).
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <glib.h>

#include "engine-host/sandbox.h"
#include "shared/log.h"

#define ROUNDS_MAX 10000 /* of detaching one mount: mounts may be stacked, not endlessly */

static int fail(const char *step, const char *path, int error) {
        log_error("sandbox: %s %s: %s", step, path, strerror(error));
        return -error;
}

/* Is `path` the root of a mount? 1 and the mount's id; 0; -errno. */
static int mount_at(const char *path, uint64_t *ret_id) {
        struct statx st;

        if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) < 0)
                return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
        if (!(st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) || !(st.stx_mask & STATX_MNT_ID))
                return -EOPNOTSUPP;
        *ret_id = st.stx_mnt_id;
        return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) ? 1 : 0;
}

/* Undoes mountinfo's \ooo in place. */
static void unescape(char *s) {
        char *to = s;

        while (*s) {
                if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
                        *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
                        s += 4;
                } else {
                        *to++ = *s++;
                }
        }
        *to = '\0';
}

struct mount_line {
        uint64_t id;
        char device[32]; /* MAJOR:MINOR */
        char *point;     /* in the line */
};

static bool parse_line(char *line, struct mount_line *ret) {
        unsigned long long id;
        int point = 0;

        if (sscanf(line, "%llu %*u %31s %*s %n", &id, ret->device, &point) != 2 || point == 0)
                return false;
        ret->id = id;
        ret->point = line + point;
        ret->point[strcspn(ret->point, " ")] = '\0';
        unescape(ret->point);
        return true;
}

/* Calls `found` with each mount of the namespace, the last made first, until it
 * returns true; 1 when it did, 0, -errno. */
static int each_mount(bool (*found)(const struct mount_line *, void *), void *userdata) {
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;
        gsize length;

        if (!g_file_get_contents("/proc/self/mountinfo", &text, &length, NULL))
                return -EIO;
        lines = g_strsplit(text, "\n", -1);
        for (guint i = g_strv_length(lines); i-- > 0;) {
                struct mount_line line;

                if (parse_line(lines[i], &line) && found(&line, userdata))
                        return 1;
        }
        return 0;
}

struct search {
        uint64_t id;
        const char *device;
        char found_device[32];
        char *found_point; /* owned */
};

static bool by_id(const struct mount_line *line, void *userdata) {
        struct search *search = userdata;

        if (line->id != search->id)
                return false;
        (void)g_strlcpy(search->found_device, line->device, sizeof(search->found_device));
        return true;
}

static bool by_device(const struct mount_line *line, void *userdata) {
        struct search *search = userdata;

        if (strcmp(line->device, search->device) != 0)
                return false;
        search->found_point = g_strdup(line->point);
        return true;
}

/* Detaches every mount of the filesystem that is mounted at `path`, if one is. */
static int hide(const char *path) {
        struct search at = {0};
        int r = mount_at(path, &at.id);

        if (r <= 0)
                return r < 0 ? fail("examining", path, -r) : 0;
        r = each_mount(by_id, &at);
        if (r <= 0)
                return fail("finding the mount at", path, r < 0 ? -r : ENOENT);

        for (int round = 0; round < ROUNDS_MAX; round++) {
                struct search search = {.device = at.found_device};

                r = each_mount(by_device, &search);
                if (r == 0)
                        return 0;
                if (r < 0)
                        return fail("reading the mounts for", path, -r);
                r = umount2(search.found_point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
                g_free(search.found_point);
                if (r < 0)
                        return fail("detaching", path, -r);
        }
        return fail("detaching", path, ELOOP);
}

/* After hide(): whatever else is mounted there may stay only if it was below. */
static int hide_stack(const char *path) {
        uint64_t id;
        int r;

        for (int round = 0; round < ROUNDS_MAX; round++) {
                r = mount_at(path, &id);
                if (r <= 0)
                        return r < 0 ? fail("examining", path, -r) : 0;
                r = hide(path);
                if (r < 0)
                        return r;
        }
        return fail("detaching", path, ELOOP);
}

static int make_read_only(const char *state_dir) {
        struct mount_attr set = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID};
        struct mount_attr clear = {.attr_clr = MOUNT_ATTR_RDONLY};

        if (state_dir && mount(state_dir, state_dir, NULL, MS_BIND, NULL) < 0)
                return fail("binding", state_dir, errno);
        /* Since 5.12. What cannot be changed (a mount locked by another user
         * namespace) leaves everything as it was: the user's permissions remain. */
        if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &set, sizeof(set)) < 0) {
                log_warning("sandbox: the file system stays writable as far as permissions go: %s",
                            strerror(errno));
                return 0;
        }
        if (state_dir && mount_setattr(AT_FDCWD, state_dir, 0, &clear, sizeof(clear)) < 0)
                return fail("making writable", state_dir, errno);
        return 0;
}

int sandbox_mounts(const struct sandbox *sandbox) {
        int r;

        if (geteuid() != 0) {
                log_debug("sandbox: not started as root: the store stays in view");
                return 0;
        }
        if (unshare(CLONE_NEWNS) < 0)
                return fail("unshare", "mount namespace", errno);
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return fail("making private", "/", errno);
        /* A mount leaves its point when it goes; the directory below is nobody's. */
        if (chdir("/") < 0)
                return fail("chdir", "/", errno);
        for (const char *const *path = sandbox->hide; path && *path; path++) {
                r = hide_stack(*path);
                if (r < 0)
                        return r;
        }
        return make_read_only(sandbox->state_dir);
}
