/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of dropbox-test share. */

#include <json-c/json.h>

#include "engine-fake.h"
#include "web-servers.h"

struct context {
        const char *module; /* dropbox.so */
        char *base;         /* a directory of this run's own */
        struct server *server;
        char *www, *api, *content, *notify; /* its hosts' URLs */
};

extern struct context context;

/* An engine on the account, with a state directory of its own. */
struct box {
        struct fake *fake;
        char *state_dir;
        GPtrArray *settings; /* key, value, …, NULL */
};

/* POST to the server's /.control: printf-like, one or more {"do": …} separated by commas, with
 * ' for ". Returns the list of results (to json_object_put()). */
json_object *control(const char *format, ...) G_GNUC_PRINTF(1, 2);
void tell(const char *format, ...) G_GNUC_PRINTF(1, 2); /* the same, results thrown away */
char *control_string(const char *format, ...) G_GNUC_PRINTF(1, 2); /* the first result, a string */
json_object *control_state(void); /* GET */
int calls_of(const char *route);

/* The hosts' URLs of the server whose www host is context.www, into context. */
void context_hosts(void);

/* A fresh account. */
void account_clear(void);
/* settings: key, value, …, NULL on top of the server's. `login`: with credentials. */
struct box *box_new(int login, ...) G_GNUC_NULL_TERMINATED;
struct box *box_new_list(bool login, const char *const *settings);
/* Closes and opens the same engine again: a restart. */
void box_restart(struct box *box);
/* The two halves of that: what happens in between finds no engine. */
void box_close(struct box *box);
void box_open(struct box *box);
/* Puts new credentials into its state directory; `scope`: of fewer permissions. */
void box_login(struct box *box);
void box_login_scope(struct box *box, const char *scope);
void box_free(struct box *box);

static inline void box_cleanup(struct box **p) {
        if (*p != NULL)
                box_free(*p);
}
static inline void request_cleanup(struct cs_request **p) {
        if (*p != NULL)
                request_free(*p);
}
static inline void json_cleanup(json_object **p) {
        json_object_put(*p);
}
#define auto_box __attribute__((cleanup(box_cleanup)))
#define auto_request __attribute__((cleanup(request_cleanup)))
#define auto_object __attribute__((cleanup(json_cleanup)))

/* A successful list, sorted names joined by ' '. To g_free(). */
char *names_in(struct box *box, const char *locator);
/* Waits up to 10 s until names_in() is this. */
void expect_names(struct box *box, const char *locator, const char *names);
/* Waits until the first listing is complete. */
void expect_complete(struct box *box);
/* Waits until changed() was called for it. */
void expect_change(struct box *box, const char *locator);

/* The entry of a directory, copied; fails the test when it is not there. To entry_free(). */
struct fake_entry *entry_get(struct box *box, const char *locator, const char *name);
void entry_put(struct fake_entry *entry);
static inline void entry_cleanup(struct fake_entry **p) {
        if (*p != NULL)
                entry_put(*p);
}
#define auto_fake_entry __attribute__((cleanup(entry_cleanup)))

/* A fetch; [0, size) when length is 0. */
struct cs_request *fetch(struct box *box, const struct fake_entry *entry, uint64_t offset, uint64_t length);
/* Are these the bytes of the server's made_up(seed)? `at`: the first one's offset. */
void expect_bytes(struct cs_request *request, const char *seed, uint64_t at, uint64_t length);

void add_name_tests(void);
void add_content_tests(void);
void add_trouble_tests(void);
void add_login_tests(void);
