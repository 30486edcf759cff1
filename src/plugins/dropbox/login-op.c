/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The engine's login operation, for login.c. */

#include <errno.h>

#include "plugins/dropbox/dropbox.h"

int dropbox_login(void *instance, enum cs_login_step step, const char *text, char *reply, size_t size) {
        struct dropbox *db = instance;
        g_autofree char *said = NULL;
        char *url = NULL;
        int r;

        switch (step) {
        case CS_LOGIN_BEGIN:
                r = dropbox_login_begin(db->auth, &url, &said);
                if (r == 0 && g_strlcpy(reply, url, size) >= size)
                        r = -E2BIG;
                g_free(url);
                if (r == 0)
                        return 0;
                break;
        case CS_LOGIN_FINISH:
                r = dropbox_login_finish(db->auth, text, &said);
                break;
        case CS_LOGIN_LOGOUT:
                r = dropbox_logout(db->auth, &said);
                break;
        default:
                return -EINVAL;
        }
        g_strlcpy(reply, said ? said : "", size);
        return r;
}
