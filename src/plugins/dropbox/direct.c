/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * direct — a directory before the first listing has come to it
 *
 * The first listing of a large account takes minutes, and nothing tells earlier that it has all
 * of a directory. Who wants one meanwhile gets it from a listing of just that directory, which goes
 * into the index as well, unconfirmed (`seen` 0): the full listing confirms what it finds, and
 * removes the rest at its end. Directories listed so are noted, and told as changed then.
 *
 * The dispatcher asks for all directories, whether somebody waits for them or not, and Dropbox counts
 * requests: only AT_ONCE are asked for at a time, so that the full listing, which makes the rest of them
 * needless, comes first.
 */

#include <errno.h>
#include <time.h>

#include "plugins/dropbox/api-json.h"
#include "plugins/dropbox/dropbox.h"

#define PAGE_LIMIT 2000
#define AT_ONCE 2u

static char *root_copy(struct dropbox *db) {
        char *root;

        pthread_mutex_lock(&db->lock);
        root = g_strdup(db->root_lower);
        pthread_mutex_unlock(&db->lock);
        return root;
}

static json_object *first_argument(const char *root, const char *path) {
        g_autofree char *full = g_strconcat(root, *path ? "/" : "", path, NULL);
        json_object *o = json_object_new_object();

        json_object_object_add(o, "path", json_object_new_string(full));
        json_object_object_add(o, "recursive", json_object_new_boolean(0));
        json_object_object_add(o, "limit", json_object_new_int(PAGE_LIMIT));
        return o;
}

static int take_page(struct dropbox *db, const char *root, const char *path, const struct api_page *page) {
        struct apply_counts counts = {0};
        int r = index_begin(db->index, 0);

        if (r < 0)
                return r;
        apply_page(db, root, page, &counts);
        index_dirty_add(db->index, path);
        return index_commit(db->index, NULL);
}

/* For a turn. 0, -EALREADY, -ECANCELED. */
static int direct_begin(struct dropbox *db, struct cs_request *request) {
        int r = 0;

        pthread_mutex_lock(&db->lock);
        while (db->directs >= AT_ONCE && !db->complete && r == 0) {
                struct timespec until;

                clock_gettime(CLOCK_REALTIME, &until);
                until.tv_sec++; /* nobody wakes us for a cancellation */
                (void)pthread_cond_timedwait(&db->directs_wake, &db->lock, &until);
                pthread_mutex_unlock(&db->lock);
                r = db->host->cancelled(db->host, request) ? -ECANCELED : 0;
                pthread_mutex_lock(&db->lock);
        }
        if (r == 0 && db->complete)
                r = -EALREADY;
        if (r == 0)
                db->directs++;
        pthread_mutex_unlock(&db->lock);
        return r;
}

static void direct_end(struct dropbox *db) {
        pthread_mutex_lock(&db->lock);
        db->directs--;
        pthread_cond_signal(&db->directs_wake);
        pthread_mutex_unlock(&db->lock);
}

static int list_pages(struct dropbox *db, struct cs_request *request, const char *path, struct api_fault *fault) {
        g_autofree char *root = root_copy(db);
        json_object auto_json *argument = first_argument(root, path);
        const char *route = "files/list_folder";
        bool more = true;
        int r = 0;

        *fault = (struct api_fault){0};
        while (more && r == 0) {
                g_autofree char *body = NULL;
                struct api_page page = {0};
                size_t length;

                if (db->host->cancelled(db->host, request))
                        return -ECANCELED;
                r = call_wait(db, &(struct call_request){.style = CALL_RPC, .route = route, .argument = argument},
                              &body, &length, fault);
                if (r == 0)
                        r = api_page_parse(body, length, &page);
                if (r < 0)
                        return r;
                more = page.has_more;
                json_object_put(argument);
                argument = json_object_new_object();
                json_object_object_add(argument, "cursor", json_object_new_string(page.cursor));
                route = "files/list_folder/continue";
                r = take_page(db, root, path, &page);
                api_page_clear(&page);
        }
        return r;
}

int direct_list(struct dropbox *db, struct cs_request *request, const char *path, struct api_fault *fault) {
        int r = direct_begin(db, request);

        if (r < 0)
                return r;
        r = list_pages(db, request, path, fault);
        direct_end(db);
        return r;
}
