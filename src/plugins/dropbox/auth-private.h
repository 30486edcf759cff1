/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>

#include "plugins/dropbox/api-error.h"
#include "plugins/dropbox/api-json.h"
#include "plugins/dropbox/auth.h"

struct auth {
        struct auth_options o;
        char *file; /* NULL: no state directory */
        uint64_t tag; /* of its HTTP requests */

        pthread_mutex_t lock; /* of what follows */
        char *refresh_token;  /* NULL: nobody is logged in */
        bool given;           /* it is the service's (auth_options.token) */
        bool token_refused;   /* which is not to be used again */
        char *account_id;
        char *bearer;         /* "Bearer …", or NULL */
        int64_t refresh_us;   /* from then on bearer is too old, g_get_monotonic_time() */
        uint64_t generation;
        char *why_not;        /* a sentence: why nobody is logged in, or NULL */
        bool refreshing;
        GArray *waiters;      /* of struct auth_waiter */
        char *verifier;       /* of the login that was begun, or NULL */
};

struct auth_waiter {
        auth_done_fn done;
        void *data;
};

/* A POST with a form to the token endpoint, or an empty one with `bearer` to `path`. On the
 * client's thread: */
typedef void (*auth_answer_fn)(void *data, int error, const struct api_token *token,
                               const struct api_fault *fault);
/* 0, or a negative errno and no call. `form` is copied. */
int auth_post(struct auth *auth, const char *path, const char *form, const char *bearer,
              auth_answer_fn answer, void *data);

/* Under the lock: the service's token, where it may be used and nobody has logged in. */
void auth_take_given(struct auth *auth);
/* Under the lock: takes over a login (token's strings are stolen) or forgets it. */
void auth_take(struct auth *auth, struct api_token *token);
void auth_drop(struct auth *auth, const char *why_not);
/* Writes or, without a login, removes the file. 0 or -errno. */
int auth_save(struct auth *auth);
