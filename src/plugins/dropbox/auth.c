/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/auth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugins/common/http.h"
#include "plugins/dropbox/auth-private.h"
#include "shared/fd.h"

#define FILE_MAX (64u * 1024)
#define ANSWER_MAX (64u * 1024)
#define MARGIN_S 60u

void auth_forget(char *secret) {
        if (secret != NULL)
                explicit_bzero(secret, strlen(secret));
        g_free(secret);
}

/* ── the file ───────────────────────────────────────────────────────────── */

/* A private, regular file of the engine's own user: what others could write is nobody's login. */
static int read_private(const char *path, char **ret, size_t *ret_length) {
        autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct stat st;
        char *text;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || (st.st_mode & 022) || st.st_size > FILE_MAX)
                return -EPERM;
        text = g_malloc0(FILE_MAX + 1);
        n = read(fd, text, FILE_MAX);
        if (n < 0) {
                g_free(text);
                return -errno;
        }
        *ret = text;
        *ret_length = (size_t)n;
        return 0;
}

bool auth_load(struct auth *auth) {
        char *text = NULL;
        size_t length = 0;
        bool there;

        if (auth->file == NULL || read_private(auth->file, &text, &length) < 0) {
                pthread_mutex_lock(&auth->lock);
                auth_take_given(auth);
                there = auth->refresh_token != NULL;
                pthread_mutex_unlock(&auth->lock);
                return there;
        }
        {
                json_object auto_json *o = api_parse(text, length);
                const char *token = api_string(o, "refresh_token", 8192);
                const char *account = api_string(o, "account_id", 256);
                const char *key = api_string(o, "app_key", 64);

                pthread_mutex_lock(&auth->lock);
                if (token != NULL && *token && (key == NULL || g_str_equal(key, auth->o.app_key)) &&
                    g_strcmp0(token, auth->refresh_token) != 0)
                        auth_take(auth, &(struct api_token){.refresh_token = g_strdup(token),
                                                            .account_id = g_strdup(account)});
                auth_take_given(auth);
                there = auth->refresh_token != NULL;
                pthread_mutex_unlock(&auth->lock);
        }
        explicit_bzero(text, length);
        g_free(text);
        return there;
}

static int write_private(const char *path, const char *text) {
        g_autofree char *temporary = g_strconcat(path, ".new", NULL), *directory = g_path_get_dirname(path);
        autoclose int fd = -1, dir = -1;
        size_t length = strlen(text);

        (void)unlink(temporary);
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        errno = ENOSPC; /* of a short write */
        if (write(fd, text, length) != (ssize_t)length || fsync(fd) < 0 || rename(temporary, path) < 0)
                return -errno;
        dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir < 0 || fsync(dir) < 0 ? -errno : 0;
}

int auth_save(struct auth *auth) {
        json_object auto_json *o = NULL;
        char *text;
        int r;

        if (auth->file == NULL)
                return 0;
        if (auth->refresh_token == NULL || auth->given)
                return unlink(auth->file) < 0 && errno != ENOENT ? -errno : 0;
        o = json_object_new_object();
        json_object_object_add(o, "app_key", json_object_new_string(auth->o.app_key));
        if (auth->account_id)
                json_object_object_add(o, "account_id", json_object_new_string(auth->account_id));
        json_object_object_add(o, "refresh_token", json_object_new_string(auth->refresh_token));
        text = g_strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        r = write_private(auth->file, text);
        auth_forget(text);
        return r;
}

/* ── states ─────────────────────────────────────────────────────────────── */

/* When to ask for the next one: a minute before the end, or at half-time of a short one. */
static int64_t refresh_time(uint32_t expires_in_s) {
        return g_get_monotonic_time() +
               (int64_t)(expires_in_s - MIN(MARGIN_S, expires_in_s / 2)) * G_USEC_PER_SEC;
}

void auth_take(struct auth *auth, struct api_token *token) {
        auth_forget(auth->refresh_token);
        auth_forget(auth->bearer);
        auth->given = false;
        auth->refresh_token = g_steal_pointer(&token->refresh_token);
        g_free(auth->account_id);
        auth->account_id = g_steal_pointer(&token->account_id);
        auth->bearer = NULL;
        if (token->access_token) {
                auth->bearer = g_strconcat("Bearer ", token->access_token, NULL);
                auth->refresh_us = refresh_time(token->expires_in_s);
        }
        auth->generation++;
        g_clear_pointer(&auth->why_not, g_free);
}

void auth_take_given(struct auth *auth) {
        if (auth->refresh_token != NULL || auth->o.token == NULL || auth->token_refused)
                return;
        auth_take(auth, &(struct api_token){.refresh_token = g_strdup(auth->o.token)});
        auth->given = true;
}

void auth_drop(struct auth *auth, const char *why_not) {
        auth->token_refused |= auth->given;
        auth_take(auth, &(struct api_token){0});
        auth->why_not = g_strdup(why_not);
}

bool auth_is_logged_in(struct auth *auth) {
        bool there;

        pthread_mutex_lock(&auth->lock);
        there = auth->refresh_token != NULL;
        pthread_mutex_unlock(&auth->lock);
        return there;
}

char *auth_account(struct auth *auth) {
        char *account;

        pthread_mutex_lock(&auth->lock);
        account = g_strdup(auth->account_id);
        pthread_mutex_unlock(&auth->lock);
        return account;
}

void auth_cancel(struct auth *auth) {
        http_cancel(auth->o.client, auth->tag);
}

static char *login_sentence(struct auth *auth, const char *why) {
        return g_strdup_printf("%s: run \"cloudsyncctl login %s\"", why ? why : "nobody is logged in",
                               auth->o.engine_id);
}

char *auth_reason(struct auth *auth) {
        char *reason;

        pthread_mutex_lock(&auth->lock);
        reason = g_strdup(auth->why_not ? auth->why_not : "nobody is logged in");
        pthread_mutex_unlock(&auth->lock);
        return reason;
}

char *auth_why_not(struct auth *auth) {
        char *sentence;

        pthread_mutex_lock(&auth->lock);
        sentence = login_sentence(auth, auth->why_not);
        pthread_mutex_unlock(&auth->lock);
        return sentence;
}

static void tell_changed(struct auth *auth) {
        if (auth->o.changed)
                auth->o.changed(auth->o.data);
}

struct auth *auth_new(const struct auth_options *options) {
        struct auth *auth = g_new0(struct auth, 1);

        auth->o = *options;
        auth->tag = http_tag(options->client);
        auth->file = options->state_dir ? g_build_filename(options->state_dir, "credentials", NULL) : NULL;
        auth->waiters = g_array_new(FALSE, FALSE, sizeof(struct auth_waiter));
        pthread_mutex_init(&auth->lock, NULL);
        (void)auth_load(auth);
        return auth;
}

void auth_free(struct auth *auth) {
        if (auth == NULL)
                return;
        auth_drop(auth, NULL);
        auth_forget(auth->verifier);
        g_free(auth->why_not);
        g_array_unref(auth->waiters);
        g_free(auth->file);
        pthread_mutex_destroy(&auth->lock);
        g_free(auth);
}

/* ── the token endpoint ─────────────────────────────────────────────────── */

struct post {
        struct auth *auth;
        bool wants_token;
        auth_answer_fn answer;
        void *data;
        GString *body;
};

static int post_body(void *data, const void *bytes, size_t length) {
        struct post *post = data;

        if (length > ANSWER_MAX - post->body->len)
                return -EPROTO;
        g_string_append_len(post->body, bytes, (gssize)length);
        return 0;
}

static int post_response(void *data, const struct http_response *response) {
        return 0;
}

static void post_complete(void *data, const struct http_result *result) {
        struct post *post = data;
        struct api_token token = {0};
        struct api_fault fault = {0};
        int error = result->error;

        if (error != 0) {
                g_autofree char *sentence = http_result_sentence(result);
                fault.error = error;
                g_strlcpy(fault.sentence, sentence, sizeof fault.sentence);
        } else if (result->status / 100 != 2) {
                api_fault_judge_token(result->status, post->body->str, post->body->len,
                                      result->retry_after_ms, &fault);
                error = fault.error;
        } else if (post->wants_token && api_token_parse(post->body->str, post->body->len, &token) < 0) {
                error = fault.error = -EPROTO;
                g_strlcpy(fault.sentence, "the answer of the token endpoint makes no sense",
                          sizeof fault.sentence);
        }
        post->answer(post->data, error, &token, &fault);
        api_token_clear(&token);
        explicit_bzero(post->body->str, post->body->len);
        g_string_free(post->body, TRUE);
        g_free(post);
}

int auth_post(struct auth *auth, const char *path, const char *form, const char *bearer,
              auth_answer_fn answer, void *data) {
        static const struct http_handler handler = {
                .response = post_response, .body = post_body, .complete = post_complete};
        g_autofree char *url = g_strconcat(auth->o.api_url, path, NULL);
        struct http_header header = {"Content-Type", form ? "application/x-www-form-urlencoded"
                                                          : "application/json"};
        struct post *post = g_new0(struct post, 1);
        const char *body = form ? form : "null";
        int r;

        *post = (struct post){.auth = auth, .wants_token = form != NULL, .answer = answer, .data = data,
                              .body = g_string_new(NULL)};
        r = http_submit(auth->o.client, &(struct http_call){
                                                .method = "POST",
                                                .url = url,
                                                .authorization = bearer,
                                                .headers = &header,
                                                .n_headers = 1,
                                                .body = body,
                                                .body_length = strlen(body),
                                                .tag = auth->tag,
                                                .handler = &handler,
                                                .data = post,
                                        });
        if (r < 0) {
                g_string_free(post->body, TRUE);
                g_free(post);
        }
        return r;
}

/* ── access tokens ──────────────────────────────────────────────────────── */

struct refresh {
        struct auth *auth;
        uint64_t generation;
};

static void refresh_answer(void *data, int error, const struct api_token *token,
                           const struct api_fault *fault) {
        struct refresh *refresh = data;
        struct auth *auth = refresh->auth;
        g_autofree char *detail = NULL;
        GArray *waiters;
        bool dropped = false;

        pthread_mutex_lock(&auth->lock);
        auth->refreshing = false;
        waiters = g_steal_pointer(&auth->waiters);
        auth->waiters = g_array_new(FALSE, FALSE, sizeof(struct auth_waiter));
        if (refresh->generation != auth->generation) {
                error = error == 0 ? -EAGAIN : error; /* another login came meanwhile */
        } else if (error == 0) {
                auth_forget(auth->bearer);
                auth->bearer = g_strconcat("Bearer ", token->access_token, NULL);
                auth->refresh_us = refresh_time(token->expires_in_s);
        } else if (fault->action == API_ACTION_LOGIN) {
                auth_drop(auth, fault->sentence);
                (void)auth_save(auth);
                dropped = true;
        }
        detail = dropped ? login_sentence(auth, fault->sentence) : g_strdup(fault->sentence);
        pthread_mutex_unlock(&auth->lock);
        if (dropped)
                tell_changed(auth);
        for (guint i = 0; i < waiters->len; i++) {
                struct auth_waiter *w = &g_array_index(waiters, struct auth_waiter, i);
                w->done(w->data, error, fault->retry_after_ms, detail);
        }
        g_array_unref(waiters);
        g_free(refresh);
}

/* Under the lock. */
static int refresh_begin(struct auth *auth) {
        g_autofree char *token = g_uri_escape_string(auth->refresh_token, NULL, FALSE);
        char *form = g_strdup_printf("grant_type=refresh_token&refresh_token=%s&client_id=%s", token,
                                     auth->o.app_key);
        struct refresh *refresh = g_new0(struct refresh, 1);
        int r;

        *refresh = (struct refresh){.auth = auth, .generation = auth->generation};
        r = auth_post(auth, "oauth2/token", form, NULL, refresh_answer, refresh);
        explicit_bzero(token, strlen(token));
        auth_forget(form);
        if (r < 0)
                g_free(refresh);
        else
                auth->refreshing = true;
        return r;
}

static bool bearer_is_good(struct auth *auth, const char *stale) {
        return auth->bearer != NULL && g_strcmp0(auth->bearer, stale) != 0 &&
               g_get_monotonic_time() < auth->refresh_us;
}

int auth_bearer(struct auth *auth, const char *stale, auth_done_fn done, void *data, char **ret_bearer,
                char **ret_detail) {
        struct auth_waiter waiter = {done, data};
        int r;

        *ret_bearer = *ret_detail = NULL;
        pthread_mutex_lock(&auth->lock);
        if (auth->refresh_token == NULL) {
                *ret_detail = login_sentence(auth, auth->why_not);
                r = -EACCES;
        } else if (bearer_is_good(auth, stale)) {
                *ret_bearer = g_strdup(auth->bearer);
                r = 0;
        } else {
                r = auth->refreshing ? 0 : refresh_begin(auth);
                if (r == 0) {
                        g_array_append_val(auth->waiters, waiter);
                        r = -EINPROGRESS;
                }
        }
        pthread_mutex_unlock(&auth->lock);
        return r;
}
