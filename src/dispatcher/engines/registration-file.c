/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * registration-file — engines.d/ID.conf on disk, see registration.h
 *
 * A save goes to `.ID.conf.tmp`, which is 0600 from its first byte, is synced and
 * only then renamed; the directory is synced last. So a name that ends in .conf is
 * whole at any moment, and what an interrupted save left is known by its name alone.
 *
 * What is read back is not believed when anybody but root or the daemon's own user
 * could have written it, because a registration names code to be loaded and a server
 * whose bytes others will execute.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "dispatcher/engines/registration.h"
#include "dispatcher/engines/registration-text.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/names.h"

#define SUFFIX ".conf"
#define TEMPORARY_SUFFIX ".conf.tmp"
#define FILE_MAX (2u * 1024 * 1024) /* every setting at its longest, every byte escaped */

/* --- loading --- */

static bool is_trusted(const struct stat *st) {
        return (st->st_uid == 0 || st->st_uid == geteuid()) &&
               (st->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* Reads all of a small file; the buffer is the caller's. */
static int read_small(int fd, char **ret, size_t *ret_length) {
        g_autofree char *buffer = g_try_malloc(FILE_MAX + 1);
        size_t used = 0;

        if (!buffer)
                return -ENOMEM;
        for (;;) {
                ssize_t n = read(fd, buffer + used, FILE_MAX + 1 - used);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                used += (size_t)n;
                if (used > FILE_MAX)
                        return -EFBIG;
        }
        *ret = g_steal_pointer(&buffer);
        *ret_length = used;
        return 0;
}

static bool has_secret(const Registration *registration) {
        GHashTableIter iter;
        gpointer key;

        g_hash_table_iter_init(&iter, registration->settings);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                if (registration_key_is_secret(key))
                        return true;
        return false;
}

static int load_file(int dir_fd, const char *name, const char *id, Registration **ret,
                     Failure *failure) {
        autoclose int fd = -1;
        g_autofree char *text = NULL;
        size_t length = 0;
        struct stat st;
        int r;

        fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return failure_set(failure, -errno, "InvalidRegistration", "%s",
                                   errno == ELOOP ? "it is a symbolic link" : g_strerror(errno));
        if (!S_ISREG(st.st_mode))
                return failure_set(failure, -EINVAL, "InvalidRegistration",
                                   "it is not a regular file");
        if (!is_trusted(&st))
                return failure_set(failure, -EPERM, "InvalidRegistration",
                                   "it belongs to uid %u with mode %04o, so that others may have "
                                   "written it: chown it to root, and chmod it to 0600",
                                   (unsigned)st.st_uid, (unsigned)st.st_mode & 07777);
        r = read_small(fd, &text, &length);
        if (r < 0)
                return failure_set(failure, r, "InvalidRegistration", "%s", g_strerror(-r));
        r = registration_from_text(id, text, length, ret, failure);
        explicit_bzero(text, length);
        if (r >= 0 && (st.st_mode & (S_IRGRP | S_IROTH)) && has_secret(*ret))
                log_warning("%s holds a secret and can be read by others: chmod it to 0600", name);
        return r;
}

/* "ID.conf" to the id; NULL when the name is something else. */
static char *id_of_name(const char *name) {
        g_autofree char *id = NULL;

        if (!g_str_has_suffix(name, SUFFIX))
                return NULL;
        id = g_strndup(name, strlen(name) - strlen(SUFFIX));
        return name_is_id(id) ? g_steal_pointer(&id) : NULL;
}

static bool is_temporary(const char *name) {
        return name[0] == '.' && g_str_has_suffix(name, TEMPORARY_SUFFIX);
}

static gint compare_ids(gconstpointer a, gconstpointer b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The ids of what is in the directory, in order. Removes what an interrupted save left, and
 * says so about names that look meant but are none. */
static GPtrArray *list_ids(DIR *dir, const char *directory) {
        GPtrArray *ids = g_ptr_array_new_with_free_func(g_free);
        const struct dirent *entry;

        while ((entry = readdir(dir))) {
                char *id = id_of_name(entry->d_name);

                if (id)
                        g_ptr_array_add(ids, id);
                else if (is_temporary(entry->d_name)) {
                        log_info("removing %s/%s: an interrupted save left it", directory,
                                 entry->d_name);
                        (void)unlinkat(dirfd(dir), entry->d_name, 0);
                } else if (entry->d_name[0] != '.' && g_str_has_suffix(entry->d_name, SUFFIX))
                        log_warning("%s/%s is left out: an engine's file is named ID.conf, the id "
                                    "being 1 to %u of a-z 0-9 - _ with a letter first",
                                    directory, entry->d_name, NAME_ID_MAX);
        }
        g_ptr_array_sort(ids, compare_ids);
        return ids;
}

static int open_directory(const char *directory) {
        autoclose int fd = -1;
        struct stat st;

        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!is_trusted(&st)) {
                log_error("%s: uid %u and mode %04o allow others to register engines: chown it to "
                          "root and chmod it to 0700",
                          directory, (unsigned)st.st_uid, (unsigned)st.st_mode & 07777);
                return -EPERM;
        }
        return fd_steal(&fd);
}

static void load_ids(int dir_fd, const char *directory, const GPtrArray *ids, GPtrArray *list) {
        for (guint i = 0; i < ids->len; i++) {
                const char *id = ids->pdata[i];
                g_autofree char *name = g_strconcat(id, SUFFIX, NULL);
                g_auto(Failure) failure = FAILURE_INIT;
                Registration *registration = NULL;

                if (list->len >= REGISTRATION_MAX) {
                        log_error("%s: only the first %u engines are loaded", directory,
                                  REGISTRATION_MAX);
                        return;
                }
                if (load_file(dir_fd, name, id, &registration, &failure) < 0)
                        log_error("%s/%s is left out: %s", directory, name, failure.text);
                else
                        g_ptr_array_add(list, registration);
        }
}

int registration_load_all(const char *directory, GPtrArray **ret) {
        g_autoptr(GPtrArray) list = NULL, ids = NULL;
        DIR *dir;
        int fd;

        list = g_ptr_array_new_with_free_func((GDestroyNotify)registration_free);
        fd = open_directory(directory);
        if (fd == -ENOENT) {
                *ret = g_steal_pointer(&list);
                return 0;
        }
        if (fd < 0)
                return fd;
        dir = fdopendir(fd);
        if (!dir) {
                int r = -errno;
                (void)fd_close(fd);
                return r;
        }
        ids = list_ids(dir, directory);
        load_ids(dirfd(dir), directory, ids, list);
        (void)closedir(dir);
        *ret = g_steal_pointer(&list);
        return 0;
}

/* --- saving --- */

static int write_all(int fd, const char *data, size_t length) {
        while (length > 0) {
                ssize_t n = write(fd, data, length);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                data += n;
                length -= (size_t)n;
        }
        return 0;
}

/* A new file with all of it on disk, or no file. */
static int write_new(int dir_fd, const char *name, const char *data, size_t length) {
        autoclose int fd = -1;
        int r;

        if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = fchmod(fd, 0600) < 0 ? -errno : 0; /* whatever the umask took away */
        if (r >= 0)
                r = write_all(fd, data, length);
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r < 0)
                (void)unlinkat(dir_fd, name, 0);
        return r;
}

static int replace_file(int dir_fd, const char *temporary, const char *name) {
        struct stat st;
        bool existed = fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
        int r = 0;

        if (renameat(dir_fd, temporary, dir_fd, name) < 0) {
                r = -errno;
                (void)unlinkat(dir_fd, temporary, 0);
                return r;
        }
        if (fsync(dir_fd) < 0) {
                r = -errno;
                /* Refused now must not mean there after a restart. */
                if (!existed)
                        (void)unlinkat(dir_fd, name, 0);
        }
        return r;
}

/* Makes the last component when it is missing, durably. */
static int make_directory(const char *directory) {
        g_autofree char *parent = g_path_get_dirname(directory);
        autoclose int fd = -1;

        if (g_mkdir_with_parents(directory, 0700) < 0)
                return -errno;
        fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

static int save(const char *directory, const char *id, const char *text, size_t length) {
        g_autofree char *name = g_strconcat(id, SUFFIX, NULL);
        g_autofree char *temporary = g_strconcat(".", id, TEMPORARY_SUFFIX, NULL);
        autoclose int dir_fd = -1;
        int r;

        dir_fd = open_directory(directory);
        if (dir_fd == -ENOENT) {
                r = make_directory(directory);
                if (r < 0)
                        return r;
                dir_fd = open_directory(directory);
        }
        if (dir_fd < 0)
                return dir_fd;
        r = write_new(dir_fd, temporary, text, length);
        if (r < 0)
                return r;
        return replace_file(dir_fd, temporary, name);
}

int registration_save(const char *directory, const Registration *registration, Failure *failure) {
        char *text;
        gsize length;
        int r;

        r = registration_check(registration, failure); /* the id becomes a file's name */
        if (r < 0)
                return r;
        text = registration_to_text(registration, &length);
        r = save(directory, registration->id, text, length);
        explicit_bzero(text, length);
        g_free(text);
        if (r < 0)
                return failure_set(failure, r, "SaveFailed",
                                   "the registration cannot be written to %s: %s", directory,
                                   g_strerror(-r));
        return 0;
}

int registration_remove(const char *directory, const char *id) {
        g_autofree char *name = NULL;
        autoclose int dir_fd = -1;

        if (!name_is_id(id))
                return -EINVAL;
        name = g_strconcat(id, SUFFIX, NULL);
        dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (unlinkat(dir_fd, name, 0) < 0)
                return errno == ENOENT ? 0 : -errno;
        return fsync(dir_fd) < 0 ? -errno : 0;
}
