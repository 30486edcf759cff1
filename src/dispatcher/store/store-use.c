/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who else uses the store?
 *
 * The kernel has no such question. Mounts are in the mount tables of each mount
 * namespace; a mount detached lazily is in none, but lives on in the open files and
 * the working and root directories of processes, all of which /proc shows. Memory
 * mappings are not looked at: their bytes were asked for when they were made.
 *
 * Files are told by stat(2) of their link in /proc, which opens nothing. fdinfo is
 * not read: that of a fanotify group takes locks that a waiting event may hold.
 */

#include "dispatcher/store/store-internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool table_has(const char *pid, dev_t superblock, uint64_t own_mount) {
        char path[64], *line = NULL;
        size_t capacity = 0;
        bool found = false;

        snprintf(path, sizeof path, "/proc/%.20s/mountinfo", pid);
        FILE *file = fopen(path, "re");
        if (file == NULL)
                return false;
        while (!found && getline(&line, &capacity, file) >= 0) {
                unsigned id, parent, maj, min;
                found = sscanf(line, "%u %u %u:%u ", &id, &parent, &maj, &min) == 4 &&
                        makedev(maj, min) == superblock && id != own_mount;
        }
        free(line);
        fclose(file);
        return found;
}

static bool link_is_on(const char *pid, const char *name, dev_t files) {
        char path[128];
        struct stat st;

        snprintf(path, sizeof path, "/proc/%.20s/%.80s", pid, name);
        return stat(path, &st) == 0 && st.st_dev == files;
}

/* How a thread holds the store; NULL: not at all. */
static const char *thread_holds(const char *pid, const char *tid, dev_t files) {
        char path[64], name[72];
        const struct dirent *entry;
        bool found = false;
        DIR *dir;

        snprintf(name, sizeof name, "task/%.20s/cwd", tid);
        if (link_is_on(pid, name, files))
                return "its working directory";
        snprintf(name, sizeof name, "task/%.20s/root", tid);
        if (link_is_on(pid, name, files))
                return "its root directory";
        snprintf(path, sizeof path, "/proc/%.20s/task/%.20s/fd", pid, tid);
        dir = opendir(path);
        if (dir == NULL)
                return NULL;
        while (!found && (entry = readdir(dir)) != NULL) {
                snprintf(name, sizeof name, "task/%.20s/fd/%.20s", tid, entry->d_name);
                found = g_ascii_isdigit(entry->d_name[0]) && link_is_on(pid, name, files);
        }
        closedir(dir);
        return found ? "an open file" : NULL;
}

/* Each thread is looked at: the first may have ended, and shows nothing then; others may have files of
 * their own. */
static const char *process_holds(const char *pid, dev_t files) {
        const struct dirent *entry;
        const char *how = NULL;
        char path[64];
        DIR *dir;

        snprintf(path, sizeof path, "/proc/%.20s/task", pid);
        dir = opendir(path);
        if (dir == NULL)
                return NULL;
        while (how == NULL && (entry = readdir(dir)) != NULL)
                if (g_ascii_isdigit(entry->d_name[0]))
                        how = thread_holds(pid, entry->d_name, files);
        closedir(dir);
        return how;
}

/* Our supervisor (supervise.h): the parent, when it is the same program. It shares our table of
 * descriptors, so that what we hold open of the store shows there as well. */
static pid_t supervisor(void) {
        struct stat own, other;
        char path[64];

        snprintf(path, sizeof path, "/proc/%d/exe", (int)getppid());
        return stat("/proc/self/exe", &own) == 0 && stat(path, &other) == 0 &&
                               own.st_dev == other.st_dev && own.st_ino == other.st_ino
                       ? getppid()
                       : -1;
}

static bool read_namespace(const char *pid, char *ret, size_t size) {
        char path[64];
        ssize_t n;

        snprintf(path, sizeof path, "/proc/%.20s/ns/mnt", pid);
        n = readlink(path, ret, size - 1);
        ret[n > 0 ? n : 0] = '\0';
        return n > 0;
}

#define SPACE_MAX 64

void store_each_user(dev_t superblock, dev_t files, uint64_t own_mount, store_user_fn fn, void *userdata) {
        g_autoptr(GHashTable) spaces = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        char self[24], parent[24], space[SPACE_MAX];
        const struct dirent *entry;
        bool more = true;
        DIR *dir = opendir("/proc");

        if (dir == NULL) { /* not known: the careful answer */
                (void)fn(userdata, 0, "it cannot be told by whom");
                return;
        }
        snprintf(self, sizeof self, "%d", (int)getpid());
        snprintf(parent, sizeof parent, "%d", (int)supervisor());
        if (table_has(self, superblock, own_mount))
                more = fn(userdata, 0, "another mount of it");
        if (read_namespace(self, space, sizeof space)) /* that is said; its processes have nothing to do with it */
                (void)g_hash_table_insert(spaces, g_strdup(space), NULL);
        while (more && (entry = readdir(dir)) != NULL) {
                void *has = NULL;
                const char *how;

                if (!g_ascii_isdigit(entry->d_name[0]) || strcmp(entry->d_name, self) == 0 ||
                    strcmp(entry->d_name, parent) == 0)
                        continue;
                if (read_namespace(entry->d_name, space, sizeof space) &&
                    !g_hash_table_lookup_extended(spaces, space, NULL, &has)) {
                        has = GINT_TO_POINTER(table_has(entry->d_name, superblock, own_mount));
                        (void)g_hash_table_insert(spaces, g_strdup(space), has);
                }
                how = process_holds(entry->d_name, files) ?: (has ? "a mount in its namespace" : NULL);
                if (how != NULL)
                        more = fn(userdata, (pid_t)atoi(entry->d_name), how);
        }
        closedir(dir);
}

bool store_user_is(pid_t pid, dev_t superblock, dev_t files) {
        char name[24], space[SPACE_MAX], own[SPACE_MAX];

        snprintf(name, sizeof name, "%d", (int)pid);
        if (process_holds(name, files) != NULL)
                return true;
        return read_namespace(name, space, sizeof space) && read_namespace("self", own, sizeof own) &&
               strcmp(space, own) != 0 && table_has(name, superblock, 0);
}
