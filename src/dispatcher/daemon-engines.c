/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * daemon-engines — the engines that are registered
 *
 * Written down first (registration.h), then made: what is started and then forgotten would leave files
 * without an engine. An engine has a directory, which is the lister's business, and a
 * host, which is its own.
 */

#include "dispatcher/daemon-internal.h"

#include "cloudsync/engine.h"
#include "shared/log.h"
#include "shared/module-file.h"
#include "shared/names.h"

#include <errno.h>
#include <string.h>

Engine *daemon_engine(const Daemon *d, const char *id) {
        return g_hash_table_lookup(d->engines, id);
}

static int engine_compare(gconstpointer a, gconstpointer b) {
        return strcmp(engine_id(a), engine_id(b));
}

GList *daemon_engines(const Daemon *d) {
        return g_list_sort(g_hash_table_get_values(d->engines), engine_compare);
}

Engine *daemon_engine_by_id(void *userdata, const char *id) {
        return daemon_engine(userdata, id);
}

static void engine_did_change(void *userdata, Engine *engine) {
        bus_engine_changed(((Daemon *)userdata)->bus, engine);
}

static void engine_remote_changed(void *userdata, Engine *engine, const char *locator) {
        lister_changed(((Daemon *)userdata)->lister, engine, locator);
}

static void engine_logged_in(void *userdata, Engine *engine) {
        lister_logged_in(((Daemon *)userdata)->lister, engine);
}

static const struct engine_callbacks engine_callbacks = {
        .changed = engine_did_change,
        .remote_changed = engine_remote_changed,
        .logged_in = engine_logged_in,
};

static int daemon_check_prefix(const Daemon *d, const Registration *r, Failure *failure) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, d->engines);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Registration *other = engine_registration(value);
                const char *rest;

                if (strcmp(other->id, r->id) == 0)
                        return failure_set(failure, -EEXIST, "IdInUse",
                                           "An engine with the id \"%s\" is registered already.", r->id);
                if (name_has_prefix(other->prefix, r->prefix, &rest) ||
                    name_has_prefix(r->prefix, other->prefix, &rest))
                        return failure_set(failure, -EEXIST, "PrefixInUse",
                                           "The prefix \"%s\" overlaps \"%s\", which belongs to the "
                                           "engine \"%s\".", r->prefix, other->prefix, other->id);
        }
        return 0;
}

static int daemon_check_module(const Daemon *d, const char *module, Failure *failure) {
        g_autofree char *path = NULL;
        const char *reason = NULL;
        int r;

        r = module_file_check(d->config->module_dir, module, &path, &reason);
        if (r == -ENOENT)
                return failure_set(failure, r, "NoSuchModule", "There is no module \"%s\" in %s.", module,
                                   d->config->module_dir);
        if (r < 0)
                return failure_set(failure, r, "InvalidModule", "The module \"%s\" is refused: %s.", module,
                                   reason ? reason : strerror(-r));
        return 0;
}

/* One that nobody started yet. Takes nothing. */
static Engine *daemon_make_engine(Daemon *d, const Registration *registration) {
        Registration *copy = registration_new(registration->id, registration->module, registration->prefix);
        GHashTableIter iter;
        gpointer key, value;
        Engine *engine;

        copy->hydration = registration->hydration;
        copy->refresh_s = registration->refresh_s;
        g_hash_table_iter_init(&iter, registration->settings);
        while (g_hash_table_iter_next(&iter, &key, &value))
                g_hash_table_insert(copy->settings, g_strdup(key), g_strdup(value));

        engine = engine_new(copy, &d->engine_options, &engine_callbacks, d);
        g_hash_table_insert(d->engines, (char *)engine_id(engine), engine);
        return engine;
}

/* Gives it its directory. On failure it is gone. */
static int daemon_adopt_engine(Daemon *d, Engine *engine, Failure *failure) {
        int r = lister_add_engine(d->lister, engine, failure);

        if (r < 0) {
                g_hash_table_steal(d->engines, engine_id(engine));
                engine_free(engine);
        }
        return r;
}

/* Makes the engine live. Takes nothing. */
static int daemon_start_engine(Daemon *d, const Registration *registration, Engine **ret,
                               Failure *failure) {
        Engine *engine = daemon_make_engine(d, registration);
        int r = daemon_adopt_engine(d, engine, failure);

        if (r < 0)
                return r;
        engine_start(engine);
        *ret = engine;
        return 0;
}

int daemon_register(Daemon *d, const Registration *registration, Engine **ret, Failure *failure) {
        int r;

        if (d->phase != DAEMON_RUNNING)
                return failure_set(failure, -EBUSY, "Busy", "The service is starting or stopping.");
        r = registration_check(registration, failure);
        if (r >= 0)
                r = daemon_check_prefix(d, registration, failure);
        if (r >= 0 && g_hash_table_size(d->engines) >= REGISTRATION_MAX)
                r = failure_set(failure, -EMFILE, "TooManyEngines", "There are %u engines already.",
                                REGISTRATION_MAX);
        if (r >= 0)
                r = daemon_check_module(d, registration->module, failure);
        /* Written down first: what is started and then forgotten would leave files without an engine. */
        if (r >= 0)
                r = registration_save(d->config->engines_dir, registration, failure);
        if (r < 0)
                return r;
        r = daemon_start_engine(d, registration, ret, failure);
        if (r < 0) {
                (void)registration_remove(d->config->engines_dir, registration->id);
                return r;
        }
        log_about(LOG_NOTICE, registration->id, NULL, "registered: module %s for \"%s\"",
                  registration->module, registration->prefix);
        bus_engine_added(d->bus, *ret);
        return 0;
}

int daemon_unregister(Daemon *d, const char *id, Failure *failure) {
        Engine *engine = daemon_engine(d, id);
        g_autofree char *copy = g_strdup(id);
        int r;

        if (!engine)
                return failure_set(failure, -ENOENT, "NoSuchEngine", "No engine \"%s\" is registered.", id);
        r = registration_remove(d->config->engines_dir, id);
        if (r < 0 && r != -ENOENT)
                return failure_set(failure, r, "SaveFailed", "The registration of \"%s\" cannot be removed: %s.",
                                   id, strerror(-r));
        g_hash_table_steal(d->engines, copy);
        engine_free(engine);
        log_about(LOG_NOTICE, copy, NULL, "unregistered");
        bus_engine_removed(d->bus, copy);
        return 0;
}

int daemon_attach(Daemon *d, const char *id, uint32_t abi, uid_t uid, pid_t pid, int *ret_channel,
                  Failure *failure) {
        Engine *engine = daemon_engine(d, id);

        if (!engine)
                return failure_set(failure, -ENOENT, "NoSuchEngine", "No engine \"%s\" is registered.", id);
        if (abi != CLOUDSYNC_ENGINE_ABI)
                return failure_set(failure, -EPROTO, "AbiMismatch",
                                   "This daemon speaks engine ABI %u, not %u.", CLOUDSYNC_ENGINE_ABI, abi);
        return engine_attach(engine, uid, pid, ret_channel, failure);
}

void daemon_load_engines(Daemon *d) {
        g_autoptr(GPtrArray) all = NULL;
        int r = registration_load_all(d->config->engines_dir, &all);

        if (r < 0) {
                log_error("%s cannot be read: %s", d->config->engines_dir, strerror(-r));
                return;
        }
        for (guint i = 0; i < all->len; i++) {
                g_auto(Failure) failure = FAILURE_INIT;
                const Registration *registration = all->pdata[i];

                if (daemon_check_prefix(d, registration, &failure) < 0)
                        log_about(LOG_ERR, registration->id, NULL, "not started: %s", failure.text);
                else
                        (void)daemon_make_engine(d, registration);
        }
}

void daemon_start_engines(Daemon *d) {
        g_autoptr(GList) all = daemon_engines(d);

        for (GList *item = all; item; item = item->next)
                engine_start(item->data);
}

void daemon_start_engines_when_needed(Daemon *d) {
        g_autoptr(GList) all = daemon_engines(d);

        for (GList *item = all; item; item = item->next)
                engine_start_when_needed(item->data);
}

void daemon_adopt_engines(Daemon *d) {
        g_autoptr(GList) all = daemon_engines(d);

        for (GList *item = all; item; item = item->next) {
                g_auto(Failure) failure = FAILURE_INIT;
                g_autofree char *id = g_strdup(engine_id(item->data));

                if (daemon_adopt_engine(d, item->data, &failure) < 0)
                        log_about(LOG_ERR, id, NULL, "not started: %s", failure.text);
        }
}

void daemon_end_engines(Daemon *d) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, d->engines);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                g_hash_table_iter_steal(&iter);
                engine_free(value);
        }
}
