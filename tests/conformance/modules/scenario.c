/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * scenario — an engine whose locators say what it does; built twice, blocking and
 * (SCENARIO_NONBLOCKING) not
 *
 *   list   names       good and bad names and bounds
 *          million     a million entries
 *          stuck       nothing until it is cancelled
 *          entries-in-fetch, …  see the code
 *   fetch  good        byte i of the file is pattern(i), in odd pieces
 *          thread      the same from a thread of its own, after the operation returned
 *          much        more than was asked for, with and without an overlap of the end
 *          little      one byte less
 *          nothing     done(0) and not a byte
 *          stuck       nothing until it is cancelled; dead: nothing, ever
 *          half        half, then -ECONNRESET with a Retry-After
 *          positive    done(+5)
 *   login  begin       a URL; finish: the text as the reply, or "bad": -EACCES; logout
 *                      says "out". The condition follows.
 */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cloudsync/engine.h"

#ifdef SCENARIO_NONBLOCKING
#define NONBLOCKING 1
#else
#define NONBLOCKING 0
#endif

struct stuck {
        struct cs_request *request;
        struct stuck *next;
};

static const struct cs_host *host;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct stuck *stuck; /* requests that wait for cancel(), under lock */

static int scenario_open(const struct cs_host *h, void **instance) {
        host = h;
        *instance = NULL;
        if (host->setting(host, "changed"))
                host->changed(host, host->setting(host, "changed"));
        if (host->setting(host, "needs_login"))
                host->condition(host, CS_CONDITION_NEEDS_LOGIN, host->setting(host, "needs_login"));
        return 0;
}

static void scenario_close(void *instance) {
        host->log(host, CS_LOG_INFO, "closed in good order");
}

static void fill(char *to, uint64_t offset, size_t n) {
        for (size_t i = 0; i < n; i++, offset++)
                to[i] = (char)(offset ^ (offset >> 8) ^ (offset >> 16));
}

static int write_pattern(struct cs_request *r, uint64_t offset, uint64_t length) {
        static const size_t pieces[] = {1, 4096, 16384, 100000, 7, 300000};
        char *buffer = malloc(300000);
        int q = 0;

        for (unsigned i = 0; q == 0 && length > 0; i++) {
                size_t n = pieces[i % 6] < length ? pieces[i % 6] : (size_t)length;

                fill(buffer, offset, n);
                q = host->write(host, r, buffer, n);
                offset += n;
                length -= n;
        }
        free(buffer);
        return q;
}

static void wait_for_cancel(struct cs_request *r) {
        struct stuck *item = malloc(sizeof(*item));

        pthread_mutex_lock(&lock);
        *item = (struct stuck){r, stuck};
        stuck = item;
#if !NONBLOCKING
        while (!host->cancelled(host, r))
                pthread_cond_wait(&changed, &lock);
        for (struct stuck **at = &stuck; *at; at = &(*at)->next)
                if (*at == item) {
                        *at = item->next;
                        break;
                }
        free(item);
        pthread_mutex_unlock(&lock);
        host->done(host, r, -ECANCELED, 0, NULL);
#else
        pthread_mutex_unlock(&lock);
#endif
}

static void scenario_cancel(void *instance, struct cs_request *r) {
        struct stuck *item = NULL;

        pthread_mutex_lock(&lock);
#if NONBLOCKING
        for (struct stuck **at = &stuck; *at; at = &(*at)->next)
                if ((*at)->request == r) {
                        item = *at;
                        *at = item->next;
                        break;
                }
#endif
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        if (item) {
                free(item);
                host->done(host, r, -ECANCELED, 0, NULL);
        }
}

struct job {
        struct cs_request *request;
        uint64_t offset, length;
};

static void *thread_main(void *userdata) {
        struct job *job = userdata;
        int q;

        usleep(1000);
        q = write_pattern(job->request, job->offset, job->length);
        host->done(host, job->request, q, 0, NULL);
        free(job);
        return NULL;
}

static void in_thread(struct cs_request *r, uint64_t offset, uint64_t length) {
        struct job *job = malloc(sizeof(*job));
        pthread_attr_t attr;
        pthread_t thread;

        *job = (struct job){r, offset, length};
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        if (pthread_create(&thread, &attr, thread_main, job) != 0)
                abort();
        pthread_attr_destroy(&attr);
}

static void scenario_fetch(void *instance, struct cs_request *r, const struct cs_fetch *f) {
        const char *what = f->locator;
        char detail[3000];
        int q;

        if (strcmp(what, "good") == 0) {
                q = write_pattern(r, f->offset, f->length);
                host->done(host, r, q, 0, NULL);
        } else if (strcmp(what, "thread") == 0) {
                in_thread(r, f->offset, f->length);
        } else if (strcmp(what, "much") == 0) {
                q = write_pattern(r, f->offset, f->length);
                if (q == 0 && host->write(host, r, "x", 1) != -EMSGSIZE)
                        abort();
                host->done(host, r, q, 0, NULL); /* has not noticed */
        } else if (strcmp(what, "much-at-once") == 0) {
                char *all = calloc(1, f->length + 1);
                if (host->write(host, r, all, f->length + 1) != -EMSGSIZE)
                        abort();
                free(all);
                host->done(host, r, -EMSGSIZE, 0, "noticed");
        } else if (strcmp(what, "little") == 0) {
                q = write_pattern(r, f->offset, f->length - 1);
                host->done(host, r, q, 0, NULL);
        } else if (strcmp(what, "nothing") == 0) {
                host->done(host, r, 0, 0, NULL);
        } else if (strcmp(what, "half") == 0) {
                q = write_pattern(r, f->offset, f->length / 2);
                memset(detail, 'd', sizeof(detail));
                detail[sizeof(detail) - 1] = '\0';
                host->done(host, r, q ? q : -ECONNRESET, 1500, detail);
        } else if (strcmp(what, "positive") == 0) {
                host->done(host, r, 5, 0, NULL);
        } else if (strcmp(what, "entry") == 0) {
                struct cs_entry e = {.kind = CS_KIND_FILE, .name = "n", .locator = "l"};
                if (host->entry(host, r, &e) != -EINVAL)
                        abort();
                host->done(host, r, -EOPNOTSUPP, 0, NULL);
        } else if (strcmp(what, "version") == 0) {
                snprintf(detail, sizeof(detail), "%s %lld.%u %llu", f->version ? f->version : "NULL",
                         (long long)f->mtime_sec, f->mtime_nsec, (unsigned long long)f->size);
                host->done(host, r, -ESTALE, 0, detail);
        } else if (strcmp(what, "stuck") == 0) {
                wait_for_cancel(r);
        } else if (strcmp(what, "dead") == 0) {
#if !NONBLOCKING
                for (;;)
                        pause();
#endif
        } else if (strcmp(what, "crash") == 0) {
                raise(SIGSEGV);
        } else {
                host->done(host, r, -ENOENT, 0, "no such scenario");
        }
}

static void list_names(struct cs_request *r) {
        char long_name[CS_NAME_MAX + 2], long_locator[CS_LOCATOR_MAX + 2];
        struct cs_entry good[] = {
                {.kind = CS_KIND_FILE, .name = "composed", .size = 5, .version = "v1"},
                {.kind = CS_KIND_FILE, .name = "own", .locator = "somewhere/else"},
                {.kind = CS_KIND_DIRECTORY, .name = "dir\n\xff"},
                {.kind = CS_KIND_UNKNOWN, .name = "unknown", .size = 7, .version = "v1"},
        };
        struct cs_entry bad[] = {
                {.kind = CS_KIND_FILE, .name = "a/b"},
                {.kind = CS_KIND_FILE, .name = ".."},
                {.kind = CS_KIND_FILE, .name = ""},
                {.kind = CS_KIND_FILE, .name = NULL},
                {.kind = CS_KIND_FILE, .name = long_name},
                {.kind = CS_KIND_FILE, .name = "n", .locator = long_locator},
                {.kind = 7, .name = "n"},
                {.kind = CS_KIND_FILE, .name = "n", .size = UINT64_MAX},
                {.kind = CS_KIND_FILE, .name = "n", .mode = 04755},
        };

        memset(long_name, 'n', sizeof(long_name));
        long_name[sizeof(long_name) - 1] = '\0';
        memset(long_locator, 'l', sizeof(long_locator));
        long_locator[sizeof(long_locator) - 1] = '\0';
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                if (i < sizeof(good) / sizeof(good[0]) && host->entry(host, r, &good[i]) != 0)
                        abort();
                if (host->entry(host, r, &bad[i]) != -EINVAL)
                        abort();
        }
        if (host->write(host, r, "x", 1) != -EINVAL)
                abort();
        host->done(host, r, 0, 0, NULL);
}

static void list_many(struct cs_request *r, unsigned n) {
        int q = 0;

        for (unsigned i = 0; i < n && q == 0; i++) {
                char name[64];
                struct cs_entry e = {.kind = CS_KIND_FILE, .name = name, .size = i};

                snprintf(name, sizeof(name), "file-%07u", i);
                q = host->entry(host, r, &e);
        }
        host->done(host, r, q, 0, NULL);
}

static void scenario_list(void *instance, struct cs_request *r, const char *locator) {
        if (strcmp(locator, "names") == 0)
                list_names(r);
        else if (strcmp(locator, "million") == 0)
                list_many(r, 1000000);
        else if (strcmp(locator, "stuck") == 0)
                wait_for_cancel(r);
        else
                list_many(r, (unsigned)atoi(locator));
}

static void scenario_stat(void *instance, struct cs_request *r, const char *locator) {
        struct cs_entry e = {.kind = CS_KIND_FILE, .size = 42, .mtime_sec = 7, .version = "v"};

        if (strcmp(locator, "silent") != 0) {
                if (host->entry(host, r, &(struct cs_entry){.kind = CS_KIND_UNKNOWN}) != -EINVAL)
                        abort();
                if (host->entry(host, r, &e) != 0)
                        abort();
                if (strcmp(locator, "twice") == 0 && host->entry(host, r, &e) != -EINVAL)
                        abort();
        }
        host->done(host, r, 0, 0, NULL);
}

static int scenario_login(void *instance, enum cs_login_step step, const char *text, char *reply,
                          size_t size) {
        const char *token = host->setting(host, CS_SETTING_TOKEN);

        if (size != CS_LOGIN_REPLY_MAX || *reply || (*text && step != CS_LOGIN_FINISH))
                abort();
        switch (step) {
        case CS_LOGIN_BEGIN:
                snprintf(reply, size, "https://example.net/%s", token ? token : "");
                return 0;
        case CS_LOGIN_FINISH:
                snprintf(reply, size, "%s", text);
                if (strcmp(text, "bad") == 0)
                        return -EACCES;
                host->condition(host, CS_CONDITION_GOOD, NULL);
                return 0;
        default:
                host->condition(host, CS_CONDITION_NEEDS_LOGIN, "logged out");
                memset(reply, 'x', size); /* no NUL */
                return 0;
        }
}

static const struct cs_engine_ops ops = {
        .abi = CLOUDSYNC_ENGINE_ABI,
        .struct_size = sizeof(struct cs_engine_ops),
        .name = MODULE_NAME,
        .description = "test scenarios",
        .flags = NONBLOCKING ? CS_ENGINE_NONBLOCKING : CS_ENGINE_NO_RANGES,
        .max_requests = 1000, /* more than the host allows */
        .open = scenario_open,
        .close = scenario_close,
        .list = scenario_list,
        .stat = scenario_stat,
        .fetch = scenario_fetch,
        .cancel = scenario_cancel,
        .login = scenario_login,
};

const struct cs_engine_ops *cloudsync_engine(void);

__attribute__((visibility("default"))) const struct cs_engine_ops *cloudsync_engine(void) {
        return &ops;
}
