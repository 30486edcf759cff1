/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * login — OAuth 2 code flow with PKCE (RFC 7636, S256), without a client secret
 *
 * No redirect: Dropbox shows the code, and the person copies it. The verifier never leaves this
 * process before the code comes back, so that a code alone is worth nothing.
 */

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "plugins/common/http.h"
#include "plugins/dropbox/auth-private.h"

#define VERIFIER_BYTES 48u /* 64 characters; RFC 7636 4.1 wants 43 to 128 */
#define CODE_MAX 512u
#define SCOPES "account_info.read files.metadata.read files.content.read"

static char *base64url(const void *bytes, size_t length) {
        char *s = g_base64_encode(bytes, length);

        for (char *p = s; *p; p++)
                if (*p == '+')
                        *p = '-';
                else if (*p == '/')
                        *p = '_';
        s[strcspn(s, "=")] = '\0';
        return s;
}

char *login_challenge(const char *verifier) {
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
        guint8 digest[32];
        gsize length = sizeof digest;

        g_checksum_update(sum, (const guchar *)verifier, -1);
        g_checksum_get_digest(sum, digest, &length);
        return base64url(digest, length);
}

char *login_authorise_url(const char *www_url, const char *app_key, const char *challenge) {
        g_autofree char *scopes = g_uri_escape_string(SCOPES, NULL, FALSE);

        return g_strdup_printf("%soauth2/authorize?client_id=%s&response_type=code&code_challenge=%s"
                               "&code_challenge_method=S256&token_access_type=offline&scope=%s",
                               www_url, app_key, challenge, scopes);
}

int dropbox_login_begin(struct auth *auth, char **ret_url, char **ret_detail) {
        guint8 random[VERIFIER_BYTES];
        g_autofree char *challenge = NULL;

        *ret_url = *ret_detail = NULL;
        if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
                *ret_detail = g_strdup("the kernel gives no random numbers");
                return -EIO;
        }
        pthread_mutex_lock(&auth->lock);
        auth_forget(auth->verifier);
        auth->verifier = base64url(random, sizeof random);
        challenge = login_challenge(auth->verifier);
        pthread_mutex_unlock(&auth->lock);
        explicit_bzero(random, sizeof random);
        *ret_url = login_authorise_url(auth->o.www_url, auth->o.app_key, challenge);
        return 0;
}

/* A blocking call's answer. */
struct waiting {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool done;
        int error;
        struct api_token token;
        char *detail;
};

static void waiting_answer(void *data, int error, const struct api_token *token,
                           const struct api_fault *fault) {
        struct waiting *w = data;

        pthread_mutex_lock(&w->lock);
        w->error = error;
        w->token = (struct api_token){.access_token = g_strdup(token->access_token),
                                      .refresh_token = g_strdup(token->refresh_token),
                                      .account_id = g_strdup(token->account_id),
                                      .expires_in_s = token->expires_in_s};
        w->detail = *fault->sentence ? g_strdup(fault->sentence) : NULL;
        w->done = true;
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
}

static int post_and_wait(struct auth *auth, const char *path, const char *form, const char *bearer,
                         struct waiting *w) {
        int r;

        *w = (struct waiting){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
        r = auth_post(auth, path, form, bearer, waiting_answer, w);
        if (r < 0)
                return r;
        pthread_mutex_lock(&w->lock);
        while (!w->done)
                pthread_cond_wait(&w->changed, &w->lock);
        pthread_mutex_unlock(&w->lock);
        return w->error;
}

static void waiting_clear(struct waiting *w) {
        api_token_clear(&w->token);
        g_free(w->detail);
        pthread_mutex_destroy(&w->lock);
        pthread_cond_destroy(&w->changed);
}

static bool is_code(const char *code) {
        size_t length = strlen(code);

        for (size_t i = 0; i < length; i++)
                if (!g_ascii_isgraph(code[i]))
                        return false;
        return length > 0 && length <= CODE_MAX;
}

static char *take_verifier(struct auth *auth) {
        char *verifier;

        pthread_mutex_lock(&auth->lock);
        verifier = g_steal_pointer(&auth->verifier);
        pthread_mutex_unlock(&auth->lock);
        return verifier;
}

static int keep_login(struct auth *auth, struct api_token *token, char **ret_detail) {
        int r;

        if (token->refresh_token == NULL) {
                *ret_detail = g_strdup("Dropbox gave no refresh token");
                return -EPROTO;
        }
        pthread_mutex_lock(&auth->lock);
        auth_take(auth, token);
        r = auth_save(auth);
        pthread_mutex_unlock(&auth->lock);
        if (r < 0)
                *ret_detail = g_strdup_printf("logged in, but the login cannot be kept in %s: %s",
                                              auth->file, g_strerror(-r));
        if (auth->o.changed)
                auth->o.changed(auth->o.data);
        return r;
}

int dropbox_login_finish(struct auth *auth, const char *code, char **ret_detail) {
        char *verifier = NULL, *form;
        g_autofree char *trimmed = g_strstrip(g_strdup(code)), *escaped = NULL;
        struct waiting w;
        int r;

        *ret_detail = NULL;
        if (!is_code(trimmed)) {
                *ret_detail = g_strdup("that is no code of Dropbox");
                return -EINVAL;
        }
        verifier = take_verifier(auth);
        if (verifier == NULL) {
                *ret_detail = g_strdup("no login was begun");
                return -EINVAL;
        }
        escaped = g_uri_escape_string(trimmed, NULL, FALSE);
        form = g_strdup_printf("grant_type=authorization_code&code=%s&code_verifier=%s&client_id=%s",
                               escaped, verifier, auth->o.app_key);
        r = post_and_wait(auth, "oauth2/token", form, NULL, &w);
        auth_forget(form);
        auth_forget(verifier);
        if (r == 0)
                r = keep_login(auth, &w.token, ret_detail);
        else
                *ret_detail = g_steal_pointer(&w.detail);
        waiting_clear(&w);
        return r;
}

static void ready(void *data, int error, uint32_t retry_after_ms, const char *detail) {
        struct waiting *w = data;

        waiting_answer(w, error, &(struct api_token){0}, &(struct api_fault){0});
}

/* A bearer, after a refresh when one is needed; NULL when there is none to be had. */
static char *bearer_now(struct auth *auth) {
        char *bearer = NULL;

        for (unsigned tries = 0; tries < 3 && bearer == NULL; tries++) {
                struct waiting w = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                    .changed = PTHREAD_COND_INITIALIZER};
                g_autofree char *detail = NULL;
                int r = auth_bearer(auth, NULL, ready, &w, &bearer, &detail);

                if (r == -EINPROGRESS) {
                        pthread_mutex_lock(&w.lock);
                        while (!w.done)
                                pthread_cond_wait(&w.changed, &w.lock);
                        pthread_mutex_unlock(&w.lock);
                        r = w.error;
                }
                waiting_clear(&w);
                if (r < 0)
                        break;
        }
        return bearer;
}

int dropbox_logout(struct auth *auth, char **ret_detail) {
        char *bearer = bearer_now(auth);
        struct waiting w;
        int r = -ENOTCONN, q;
        bool was_there, given;

        *ret_detail = NULL;
        /* Revoking the access token revokes the refresh token with it (auth.stone). */
        if (bearer != NULL) {
                r = post_and_wait(auth, "2/auth/token/revoke", NULL, bearer, &w);
                waiting_clear(&w);
        }
        auth_forget(bearer);
        pthread_mutex_lock(&auth->lock);
        was_there = auth->refresh_token != NULL;
        given = auth->given;
        auth->token_refused = true;
        auth_drop(auth, "nobody is logged in");
        q = auth_save(auth);
        pthread_mutex_unlock(&auth->lock);
        if (auth->o.changed)
                auth->o.changed(auth->o.data);
        if (q < 0)
                *ret_detail = g_strdup_printf("%s cannot be removed: %s", auth->file, g_strerror(-q));
        else if (!was_there)
                *ret_detail = g_strdup("nobody was logged in");
        else if (r == 0 && given)
                *ret_detail = g_strdup("Dropbox has revoked it, but the service still has that token as a "
                                       "credential: take it out of the unit");
        else if (r < 0)
                *ret_detail = g_strdup("the login is erased here, but Dropbox could not be told: take the "
                                       "app away under Settings, Connected apps");
        return q;
}
