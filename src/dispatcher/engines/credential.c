/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/engines/credential.h"

#include "shared/fd.h"
#include "shared/log.h"
#include "shared/names.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <unistd.h>

void credential_forget(char *secret) {
        if (secret)
                explicit_bzero(secret, strlen(secret));
        g_free(secret);
}

static char *read_token(int fd) {
        char *text = g_malloc0(NAME_SETTING_VALUE_MAX + 2);
        ssize_t n = read(fd, text, NAME_SETTING_VALUE_MAX + 1); /* a regular file: all of it */

        if (n < 0 || n > (ssize_t)NAME_SETTING_VALUE_MAX || strlen(text) != (size_t)n) {
                errno = n < 0 ? errno : EINVAL;
                credential_forget(text);
                return NULL;
        }
        while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
                text[--n] = '\0';
        return text;
}

char *credential_token(const char *engine_id) {
        const char *directory = g_getenv("CREDENTIALS_DIRECTORY");
        g_autofree char *path = NULL;
        autoclose int fd = -1;
        char *token;

        if (!directory || *directory != '/')
                return NULL;
        path = g_strdup_printf("%s/cloudsync.%s.token", directory, engine_id);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 && errno == ENOENT)
                return NULL;
        token = fd < 0 ? NULL : read_token(fd);
        if (!token)
                log_about(LOG_WARNING, engine_id, NULL, "the credential cloudsync.%s.token cannot be used: %s",
                          engine_id, strerror(errno));
        else if (!*token)
                g_clear_pointer(&token, credential_forget);
        return token;
}
