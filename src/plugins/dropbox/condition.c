/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * condition — what people see as the engine's state
 *
 * Two things make a login necessary: there is none, or Dropbox refuses the one that there is for what
 * only a person can change (the app's permissions). Whoever notices a change calls here, from any
 * thread; `condition_lock` is held over the look and the report, so that the last report is true.
 */

#include "plugins/dropbox/dropbox.h"

void condition_report(struct dropbox *db) {
        g_autofree char *why = NULL;
        bool needs;

        pthread_mutex_lock(&db->condition_lock);
        pthread_mutex_lock(&db->lock);
        why = g_strdup(db->refused);
        pthread_mutex_unlock(&db->lock);
        needs = why != NULL || !auth_is_logged_in(db->auth);
        if (why == NULL && needs)
                why = auth_reason(db->auth);
        if (needs != db->needs_login) {
                db->needs_login = needs;
                db->host->condition(db->host, needs ? CS_CONDITION_NEEDS_LOGIN : CS_CONDITION_GOOD,
                                    needs ? why : db->busy);
        }
        pthread_mutex_unlock(&db->condition_lock);
}

void condition_refused(struct dropbox *db, const char *why) {
        pthread_mutex_lock(&db->lock);
        g_free(db->refused);
        db->refused = g_strdup(why);
        pthread_mutex_unlock(&db->lock);
        condition_report(db);
}

void condition_busy(struct dropbox *db, const char *text) {
        pthread_mutex_lock(&db->condition_lock);
        if (g_strcmp0(db->busy, text) != 0) {
                g_free(db->busy);
                db->busy = g_strdup(text);
                if (!db->needs_login)
                        db->host->condition(db->host, CS_CONDITION_GOOD, text);
        }
        pthread_mutex_unlock(&db->condition_lock);
}
