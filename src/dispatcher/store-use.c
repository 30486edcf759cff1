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

#include "dispatcher/store-internal.h"

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

static bool process_holds(const char *pid, dev_t files) {
        char path[64];
        bool found = link_is_on(pid, "cwd", files) || link_is_on(pid, "root", files);

        snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
        DIR *dir = found ? NULL : opendir(path);
        if (dir == NULL)
                return found;
        const struct dirent *entry;
        while (!found && (entry = readdir(dir)) != NULL) {
                char name[40];
                snprintf(name, sizeof name, "fd/%.20s", entry->d_name);
                found = g_ascii_isdigit(entry->d_name[0]) && link_is_on(pid, name, files);
        }
        closedir(dir);
        return found;
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

bool store_in_use(dev_t superblock, dev_t files, uint64_t own_mount) {
        g_autoptr(GHashTable) namespaces = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        DIR *dir = opendir("/proc");
        if (dir == NULL)
                return true; /* not known: the careful answer */

        char self[24], parent[24];
        snprintf(self, sizeof self, "%d", (int)getpid());
        snprintf(parent, sizeof parent, "%d", (int)supervisor());
        bool found = table_has(self, superblock, own_mount);
        const struct dirent *entry;
        while (!found && (entry = readdir(dir)) != NULL) {
                char path[64], space[64];
                if (!g_ascii_isdigit(entry->d_name[0]) || strcmp(entry->d_name, self) == 0 ||
                    strcmp(entry->d_name, parent) == 0)
                        continue;
                snprintf(path, sizeof path, "/proc/%.20s/ns/mnt", entry->d_name);
                ssize_t n = readlink(path, space, sizeof space - 1);
                if (n > 0) {
                        space[n] = '\0';
                        if (g_hash_table_add(namespaces, g_strdup(space)))
                                found = table_has(entry->d_name, superblock, own_mount);
                }
                found = found || process_holds(entry->d_name, files);
        }
        closedir(dir);
        return found;
}
