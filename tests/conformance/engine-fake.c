/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "engine-fake.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/names.h"

static const char *fake_setting(const struct cs_host *host, const char *key) {
        const struct fake *fake = (const struct fake *)host;

        for (const char *const *p = fake->settings; p && p[0]; p += 2)
                if (g_str_equal(p[0], key))
                        return p[1];
        return NULL;
}

static void fake_log(const struct cs_host *host, enum cs_log_level level, const char *format, ...)
        G_GNUC_PRINTF(3, 4);

static void fake_log(const struct cs_host *host, enum cs_log_level level, const char *format, ...) {
        struct fake *fake = (struct fake *)host;
        g_autofree char *text = NULL;
        va_list args;

        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        pthread_mutex_lock(&fake->lock);
        g_string_append_printf(fake->log, "%d %s\n", level, text);
        if (!fake->quiet)
                g_test_message("log %d: %s", level, text);
        pthread_mutex_unlock(&fake->lock);
}

static bool entry_is_good(const struct cs_request *request, const struct cs_entry *entry) {
        return (request->is_stat || (entry->name != NULL && name_is_component(entry->name))) &&
               (entry->kind == CS_KIND_FILE || entry->kind == CS_KIND_DIRECTORY ||
                (entry->kind == CS_KIND_UNKNOWN && !request->is_stat)) &&
               entry->size <= INT64_MAX && entry->mtime_nsec < 1000000000 && entry->mode <= 0777 &&
               (entry->version == NULL || strlen(entry->version) <= CS_VERSION_MAX) &&
               (entry->locator == NULL || strlen(entry->locator) <= CS_LOCATOR_MAX);
}

static void entry_free(gpointer data) {
        struct fake_entry *entry = data;

        g_free(entry->name);
        g_free(entry->locator);
        g_free(entry->version);
        g_free(entry);
}

static int fake_entry_fn(const struct cs_host *host, struct cs_request *request,
                         const struct cs_entry *entry) {
        struct fake_entry *copy;

        g_assert_false(request->is_done);
        if (g_atomic_int_get(&request->is_cancelled))
                return -ECANCELED;
        if (request->cancel_after && ++request->calls > request->cancel_after)
                return -ECANCELED;
        if (!entry_is_good(request, entry)) {
                request->refused++;
                return -EINVAL;
        }
        request->n_entries++;
        if (request->discard)
                return 0;
        copy = g_new0(struct fake_entry, 1);
        copy->kind = entry->kind;
        copy->name = g_strdup(entry->name);
        copy->locator = g_strdup(entry->locator);
        copy->version = g_strdup(entry->version);
        copy->size = entry->size;
        copy->mtime_sec = entry->mtime_sec;
        copy->mtime_nsec = entry->mtime_nsec;
        copy->mode = entry->mode;
        g_ptr_array_add(request->entries, copy);
        return 0;
}

static int fake_write(const struct cs_host *host, struct cs_request *request, const void *data,
                      size_t length) {
        g_assert_false(request->is_done);
        g_assert_cmpuint(length, >, 0);
        if (g_atomic_int_get(&request->is_cancelled))
                return -ECANCELED;
        if (request->cancel_after && ++request->calls > request->cancel_after)
                return -ECANCELED;
        g_assert_cmpuint(request->n_bytes + length, <=, request->wanted);
        request->n_bytes += length;
        if (!request->discard)
                g_byte_array_append(request->bytes, data, (guint)length);
        if (request->write_delay_us)
                usleep(request->write_delay_us);
        return 0;
}

static void fake_done(const struct cs_host *host, struct cs_request *request, int result,
                      uint32_t retry_after_ms, const char *detail) {
        struct fake *fake = request->fake;
        void (*on_done)(struct cs_request *) = request->on_done;

        g_assert_cmpint(result, <=, 0);
        pthread_mutex_lock(&fake->lock);
        g_assert_false(request->is_done);
        request->result = result;
        request->retry_after_ms = retry_after_ms;
        request->detail = g_strdup(detail);
        if (detail != NULL && !fake->quiet)
                g_test_message("done %d: %s", result, detail);
        request->is_done = true;
        pthread_cond_broadcast(&fake->changed);
        pthread_mutex_unlock(&fake->lock);
        /* Without on_done the request may be freed by now. */
        if (on_done != NULL)
                on_done(request);
}

static int fake_cancelled(const struct cs_host *host, const struct cs_request *request) {
        return g_atomic_int_get(&request->is_cancelled);
}

static void fake_changed(const struct cs_host *host, const char *locator) {
        struct fake *fake = (struct fake *)host;

        pthread_mutex_lock(&fake->lock);
        g_string_append_printf(fake->changes, "\n%s\n", locator);
        pthread_cond_broadcast(&fake->changed);
        pthread_mutex_unlock(&fake->lock);
}

static void fake_condition(const struct cs_host *host, enum cs_condition condition, const char *text) {
        struct fake *fake = (struct fake *)host;

        pthread_mutex_lock(&fake->lock);
        fake->condition = condition;
        fake->conditions++;
        g_free(fake->condition_text);
        fake->condition_text = g_strdup(text ? text : "");
        pthread_cond_broadcast(&fake->changed);
        pthread_mutex_unlock(&fake->lock);
}

unsigned fake_conditions(struct fake *fake) {
        unsigned n;

        pthread_mutex_lock(&fake->lock);
        n = fake->conditions;
        pthread_mutex_unlock(&fake->lock);
        return n;
}

enum cs_condition fake_condition_now(struct fake *fake) {
        enum cs_condition now;

        pthread_mutex_lock(&fake->lock);
        now = fake->condition;
        pthread_mutex_unlock(&fake->lock);
        return now;
}

bool fake_condition_says(struct fake *fake, const char *text) {
        bool says;

        pthread_mutex_lock(&fake->lock);
        says = *text ? strstr(fake->condition_text, text) != NULL : *fake->condition_text == '\0';
        pthread_mutex_unlock(&fake->lock);
        return says;
}

void fake_await_condition(struct fake *fake, enum cs_condition condition) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 60;
        pthread_mutex_lock(&fake->lock);
        while (fake->condition != condition)
                if (pthread_cond_timedwait(&fake->changed, &fake->lock, &until) == ETIMEDOUT)
                        g_error("the engine's condition is still %d (%s)", fake->condition,
                                fake->condition_text);
        pthread_mutex_unlock(&fake->lock);
}

struct fake *fake_open(const char *module_file, const char *const *settings, int *ret_result) {
        return fake_open_in(module_file, settings, NULL, ret_result);
}

struct fake *fake_open_in(const char *module_file, const char *const *settings, const char *state_dir,
                          int *ret_result) {
        struct fake *fake = g_new0(struct fake, 1);
        cloudsync_engine_fn fn;

        fake->host = (struct cs_host){
                .abi = CLOUDSYNC_ENGINE_ABI,
                .struct_size = sizeof(struct cs_host),
                .id = "test",
                .state_dir = state_dir,
                .setting = fake_setting,
                .log = fake_log,
                .entry = fake_entry_fn,
                .write = fake_write,
                .done = fake_done,
                .cancelled = fake_cancelled,
                .changed = fake_changed,
                .condition = fake_condition,
        };
        fake->settings = settings;
        fake->condition_text = g_strdup("");
        fake->log = g_string_new(NULL);
        fake->changes = g_string_new(NULL);
        pthread_mutex_init(&fake->lock, NULL);
        pthread_cond_init(&fake->changed, NULL);
        fake->module = dlopen(module_file, RTLD_NOW | RTLD_LOCAL);
        if (fake->module == NULL)
                g_error("%s", dlerror());
        fn = (cloudsync_engine_fn)dlsym(fake->module, CLOUDSYNC_ENGINE_SYMBOL);
        g_assert_nonnull(fn);
        fake->ops = fn();
        g_assert_cmpuint(fake->ops->abi, ==, CLOUDSYNC_ENGINE_ABI);
        g_assert_cmpuint(fake->ops->struct_size, <=, sizeof(struct cs_engine_ops));
        *ret_result = fake->ops->open(&fake->host, &fake->instance);
        return fake;
}

void fake_close(struct fake *fake) {
        if (fake->instance != NULL)
                fake->ops->close(fake->instance);
        /* Not dlclose(): LeakSanitizer wants the symbols, and libcurl's globals stay anyway. */
        g_string_free(fake->log, TRUE);
        g_string_free(fake->changes, TRUE);
        g_free(fake->condition_text);
        pthread_mutex_destroy(&fake->lock);
        pthread_cond_destroy(&fake->changed);
        g_free(fake);
}

bool fake_logged(struct fake *fake, const char *text) {
        bool found;

        pthread_mutex_lock(&fake->lock);
        found = strstr(fake->log->str, text) != NULL;
        pthread_mutex_unlock(&fake->lock);
        return found;
}

bool fake_take_change(struct fake *fake, const char *locator) {
        g_autofree char *line = g_strdup_printf("\n%s\n", locator);
        char *found;

        pthread_mutex_lock(&fake->lock);
        found = strstr(fake->changes->str, line);
        if (found != NULL)
                g_string_erase(fake->changes, found - fake->changes->str, (gssize)strlen(line));
        pthread_mutex_unlock(&fake->lock);
        return found != NULL;
}

struct cs_request *request_new(struct fake *fake) {
        struct cs_request *request = g_new0(struct cs_request, 1);

        request->fake = fake;
        request->entries = g_ptr_array_new_with_free_func(entry_free);
        request->bytes = g_byte_array_new();
        return request;
}

void request_free(struct cs_request *request) {
        g_ptr_array_free(request->entries, TRUE);
        g_byte_array_free(request->bytes, TRUE);
        g_free(request->detail);
        g_free(request);
}

void request_wait(struct cs_request *request) {
        struct fake *fake = request->fake;
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 240; /* for a hang, also with ThreadSanitizer on a busy machine */
        pthread_mutex_lock(&fake->lock);
        while (!request->is_done)
                if (pthread_cond_timedwait(&fake->changed, &fake->lock, &until) == ETIMEDOUT)
                        g_error("a request was not done after 240 s");
        pthread_mutex_unlock(&fake->lock);
}

struct cs_request *fake_list(struct fake *fake, const char *locator) {
        struct cs_request *request = request_new(fake);

        fake->ops->list(fake->instance, request, locator);
        request_wait(request);
        return request;
}

struct cs_request *fake_stat(struct fake *fake, const char *locator) {
        struct cs_request *request = request_new(fake);

        request->is_stat = true;
        fake->ops->stat(fake->instance, request, locator);
        request_wait(request);
        return request;
}

struct cs_request *fake_fetch(struct fake *fake, const struct cs_fetch *fetch) {
        struct cs_request *request = request_new(fake);

        request->wanted = fetch->length;
        fake->ops->fetch(fake->instance, request, fetch);
        request_wait(request);
        return request;
}

struct fake_entry *request_find(struct cs_request *request, const char *name) {
        for (guint i = 0; i < request->entries->len; i++) {
                struct fake_entry *entry = request->entries->pdata[i];

                if (g_str_equal(entry->name, name))
                        return entry;
        }
        return NULL;
}
