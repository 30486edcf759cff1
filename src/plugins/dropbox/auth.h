/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * auth — the login: a refresh token on disk, an access token in memory
 *
 * The refresh token is in STATE_DIR/credentials (JSON, 0600, written anew and renamed). Access
 * tokens live for hours; one is asked for when the last has less than a minute left, or when
 * Dropbox said that it is no good. Any number of callers wait for one refresh.
 *
 *     no login ──login_finish()──▶ logged in ──refresh refused, logout()──▶ no login
 *
 * Where nobody has logged in the service may have been given a refresh token (a credential of
 * systemd's). It is used as if somebody had, but never written down; refused once, or after a
 * logout, it is not used again by this process.
 *
 * From any thread, unless it says otherwise. No token ever gets into a log line or a sentence.
 */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct auth;
struct http_client;

struct auth_options {
        const char *engine_id; /* for "cloudsyncctl login ID" */
        const char *app_key, *api_url, *www_url;
        const char *state_dir; /* NULL: logins are forgotten with the process */
        const char *token;     /* the service's refresh token, or NULL */
        struct http_client *client;
        /* The login came or went; on any thread, without locks held. May be NULL. */
        void (*changed)(void *data);
        void *data;
};

/* Strings are borrowed and have to live as long. */
struct auth *auth_new(const struct auth_options *options);
/* Nobody may wait any more. */
void auth_free(struct auth *auth);

/* Looks at the file (again): it may have been put there. True: there is a login. */
bool auth_load(struct auth *auth);
bool auth_is_logged_in(struct auth *auth);
/* The account's id, NULL when it is not known. To g_free(). */
char *auth_account(struct auth *auth);
/* Ends the requests for tokens that are under way. */
void auth_cancel(struct auth *auth);
/* Why nobody is logged in; and the same with what to do, for who asks. To g_free(). */
char *auth_reason(struct auth *auth);
char *auth_why_not(struct auth *auth);

/* An "Authorization" value. 0: *ret_bearer (erase it with auth_forget()). -EINPROGRESS:
 * done() is called later, on the client's thread, when there is one or why there is none.
 * -EACCES: nobody is logged in, *ret_detail (to g_free()) says what to do.
 * `stale`: a value that Dropbox refused, or NULL: that one is not given again. */
typedef void (*auth_done_fn)(void *data, int error, uint32_t retry_after_ms, const char *detail);
int auth_bearer(struct auth *auth, const char *stale, auth_done_fn done, void *data, char **ret_bearer,
                char **ret_detail);
void auth_forget(char *secret);

/* login.c. begin: the URL to show to the person (to g_free()); the code that they get
 * there goes to finish(), which blocks until Dropbox answered: 0, -EINVAL no login was begun,
 * -EACCES the code is wrong, or a network error. logout: revokes as far as Dropbox can be
 * reached, and always erases. Sentences to g_free(). */
int dropbox_login_begin(struct auth *auth, char **ret_url, char **ret_detail);
int dropbox_login_finish(struct auth *auth, const char *code, char **ret_detail);
int dropbox_logout(struct auth *auth, char **ret_detail);

/* Pure parts, for the tests. The S256 challenge of a verifier (RFC 7636 4.2), to g_free(). */
char *login_challenge(const char *verifier);
char *login_authorise_url(const char *www_url, const char *app_key, const char *challenge);
