/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * check-suite — see check-suite.h
 *
 * What is compared is the engine with itself: a listing with the next one, stat with the
 * listing, a range with the whole, a file with itself after many at once. What the remote
 * really holds, only its own tests can know.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine-host/check-suite.h"
#include "shared/names.h"

#define WHOLE_MAX (8u * 1024 * 1024) /* of a file, at its beginning */
#define DEPTH_MAX 40u
#define CANCEL_MS 10000
#define QUIT_MS 15000
#define START_MS 30000

static bool check(struct suite *s, bool ok, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static bool check(struct suite *s, bool ok, const char *format, ...) {
        char raw[2048], text[4096];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(raw, sizeof(raw), format, args);
        va_end(args);
        printf("%s %s\n", ok ? "ok  " : "FAIL", name_printable(raw, text, sizeof(text)));
        (void)fflush(stdout);
        if (ok)
                s->n_passed++;
        else
                s->n_failed++;
        return ok;
}

/* Waits for the answer; false, with a failed check, when none comes. */
static bool wait_answer(struct suite *s, const struct answer *a, const char *what,
                        const char *locator) {
        int r = client_wait(s->client, &a->done, s->timeout_ms);

        if (r == 0)
                return true;
        return check(s, false, "%s \"%s\": %s", what, locator,
                     r == -ETIMEDOUT ? "no answer in time" : s->client->failure);
}

static bool wait_ok(struct suite *s, const struct answer *a, const char *what,
                    const char *locator) {
        if (!wait_answer(s, a, what, locator))
                return false;
        if (a->result == 0)
                return true;
        return check(s, false, "%s \"%s\": %s%s%s", what, locator, g_strerror(-a->result),
                     *a->detail ? ", " : "", a->detail);
}

static bool same_item(const struct item *a, const struct item *b) {
        return a->kind == b->kind && a->size == b->size && a->mtime_sec == b->mtime_sec &&
               a->mtime_nsec == b->mtime_nsec && a->mode == b->mode &&
               g_strcmp0(a->version, b->version) == 0;
}

static GHashTable *by_name(const struct answer *a) {
        GHashTable *table = g_hash_table_new(g_str_hash, g_str_equal);

        for (guint i = 0; i < a->items->len; i++) {
                struct item *item = a->items->pdata[i];

                g_hash_table_insert(table, item->name, item);
        }
        return table;
}

/* The root twice: the same, and no name twice. */
static bool check_root(struct suite *s) {
        struct answer *first = client_list(s->client, ""), *second;
        g_autoptr(GHashTable) names = NULL;
        unsigned differ = 0;

        if (!wait_ok(s, first, "list", ""))
                return false;
        second = client_list(s->client, "");
        if (!wait_ok(s, second, "list again", ""))
                return false;
        names = by_name(first);
        check(s, g_hash_table_size(names) == first->items->len,
              "the root lists %u entries, each name once", first->items->len);
        for (guint i = 0; i < second->items->len; i++) {
                const struct item *item = second->items->pdata[i];
                const struct item *before = g_hash_table_lookup(names, item->name);

                differ += !before || !same_item(before, item) ||
                          strcmp(before->locator, item->locator) != 0;
        }
        check(s, differ == 0 && first->items->len == second->items->len,
              "two listings of the root are the same%s",
              differ ? ": they are not. Did the remote change, or are sizes, dates or versions "
                       "not stable?" : "");
        return true;
}

static void add_sample(struct suite *s, struct item *item) {
        if (s->files->len < s->max_files)
                g_ptr_array_add(s->files, item);
        else /* later ones replace some: a tree's first directory is not all there is */
                if (g_random_int_range(0, 8) == 0)
                        s->files->pdata[g_random_int_range(0, (gint32)s->files->len)] = item;
}

struct directory {
        const char *locator;
        unsigned depth;
};

/* A remote may refuse a directory; that its engine gets lost in one is another matter. */
static void crawl_error(struct suite *s, const struct answer *a, const char *locator) {
        char shown[256];

        if (a->result == -EACCES || a->result == -EOPNOTSUPP)
                printf("note \"%s\" cannot be listed: %s\n",
                       name_printable(locator, shown, sizeof(shown)), a->detail);
        else
                check(s, false, "list \"%s\": %s, %s", locator, g_strerror(-a->result), a->detail);
}

/* Breadth first, as the daemon does. Samples files on the way. */
static bool crawl(struct suite *s) {
        g_autoptr(GArray) todo = g_array_new(FALSE, FALSE, sizeof(struct directory));
        struct directory root = {"", 0};
        unsigned entries = 0, skipped = 0, unversioned = 0, unknown = 0;

        g_array_append_val(todo, root);
        for (guint at = 0; at < todo->len && entries < s->max_entries; at++) {
                struct directory dir = g_array_index(todo, struct directory, at);
                struct answer *a = client_list(s->client, dir.locator);

                if (!wait_answer(s, a, "list", dir.locator))
                        return false;
                if (a->result < 0) {
                        crawl_error(s, a, dir.locator);
                        continue;
                }
                skipped += a->skipped;
                entries += a->items->len;
                for (guint i = 0; i < a->items->len; i++) {
                        struct item *item = a->items->pdata[i];
                        struct directory sub = {item->locator, dir.depth + 1};

                        if (item->kind == CS_KIND_DIRECTORY && dir.depth < DEPTH_MAX)
                                g_array_append_val(todo, sub);
                        unknown += item->kind == CS_KIND_UNKNOWN;
                        if (item->kind == CS_KIND_FILE) {
                                unversioned += !item->version;
                                add_sample(s, item);
                        }
                }
        }
        check(s, true, "%u entries in the first directories", entries);
        if (skipped > 0)
                check(s, false, "%u entries were out of bounds (see engine.h) and are left out",
                      skipped);
        if (unknown > 0)
                printf("note %u entries are unknown: they are there, and the remote tells no more of them\n",
                       unknown);
        if (unversioned > 0)
                printf("note %u files have no version: only size and mtime tell that one changed\n",
                       unversioned);
        if (s->files->len == 0)
                printf("note there is no file: nothing can be fetched\n");
        return true;
}

static bool check_stat(struct suite *s, const struct item *item) {
        struct answer *a = client_stat(s->client, item->locator);
        bool ok;

        if (!wait_ok(s, a, "stat", item->locator))
                return !s->client->ended;
        ok = a->items->len == 1 && same_item(a->items->pdata[0], item);
        check(s, ok, "stat \"%s\" says what the listing says", item->locator);
        client_forget(s->client, a);
        return true;
}

static bool check_range(struct suite *s, const struct item *item, const GByteArray *whole,
                        uint64_t offset, uint64_t length) {
        struct answer *a = client_fetch(s->client, item, item->version, offset, length);
        bool ok;

        if (!wait_ok(s, a, "fetch", item->locator))
                return !s->client->ended;
        ok = a->bytes->len == length && memcmp(a->bytes->data, whole->data + offset, length) == 0;
        if (!ok)
                check(s, false,
                      "fetch \"%s\" [%" G_GUINT64_FORMAT " + %" G_GUINT64_FORMAT
                      "]: other bytes than the first time",
                      item->locator, offset, length);
        client_forget(s->client, a);
        return true;
}

static bool check_ranges(struct suite *s, const struct item *item, const GByteArray *whole) {
        unsigned failed = s->n_failed;

        if (s->client->flags & CS_ENGINE_NO_RANGES)
                return true;
        for (int i = 0; i < 4; i++) {
                uint64_t offset = (uint64_t)(g_random_double() * whole->len);
                uint64_t length = 1 + (uint64_t)(g_random_double() * (double)(whole->len - offset));

                if (i == 0) { /* the last byte */
                        offset = whole->len - 1;
                        length = 1;
                }
                if (length > whole->len - offset)
                        length = whole->len - offset;
                if (!check_range(s, item, whole, offset, length))
                        return false;
        }
        if (failed == s->n_failed)
                check(s, true, "fetch \"%s\": ranges are pieces of the whole", item->locator);
        return true;
}

/* One like `version`, well-formed as far as one can know, but another. */
static char *another_version(const char *version) {
        char *copy = g_strdup(version);

        for (size_t i = strlen(copy); i-- > 0;)
                if (g_ascii_isxdigit(copy[i])) {
                        copy[i] = copy[i] == '1' ? '2' : '1';
                        break;
                }
        return copy;
}

/* Bytes of a version that the remote does not have must not arrive. */
static bool check_stale(struct suite *s, const struct item *item) {
        g_autofree char *version = item->version ? another_version(item->version) : NULL;
        struct answer *a;

        if (!version || strcmp(version, item->version) == 0)
                return true;
        a = client_fetch(s->client, item, version, 0, item->size);
        if (!wait_answer(s, a, "fetch", item->locator))
                return false;
        check(s, a->result == -ESTALE && a->bytes->len == 0,
              "fetch \"%s\" of another version is refused with ESTALE, without a byte (%s, %u bytes)",
              item->locator, a->result ? g_strerror(-a->result) : "it succeeded", a->bytes->len);
        client_forget(s->client, a);
        return true;
}

static bool check_file(struct suite *s, const struct item *item, GByteArray **ret) {
        bool ranges = !(s->client->flags & CS_ENGINE_NO_RANGES);
        uint64_t length = ranges && item->size > WHOLE_MAX ? WHOLE_MAX : item->size;
        struct answer *a;

        *ret = g_byte_array_new();
        if (!check_stat(s, item))
                return false;
        if (item->size == 0 || length > G_MAXINT / 2)
                return true; /* an empty file is never fetched */
        a = client_fetch(s->client, item, item->version, 0, length);
        if (!wait_ok(s, a, "fetch", item->locator))
                return !s->client->ended;
        check(s, true, "fetch \"%s\": %" G_GUINT64_FORMAT " bytes", item->locator, length);
        g_byte_array_append(*ret, a->bytes->data, a->bytes->len);
        client_forget(s->client, a);
        return check_ranges(s, item, *ret) && check_stale(s, item);
}

static bool check_files(struct suite *s) {
        for (guint i = 0; i < s->files->len; i++) {
                GByteArray *content;
                bool alive = check_file(s, s->files->pdata[i], &content);

                g_ptr_array_add(s->contents, content);
                if (!alive)
                        return false;
        }
        return true;
}

static bool check_missing(struct suite *s) {
        struct item item = {.locator = (char *)"none", .size = 1};
        g_autofree char *locator = NULL;
        struct answer *a[3];
        static const char *const what[] = {"list", "stat", "fetch"};

        if (s->files->len > 0)
                item = *(struct item *)s->files->pdata[0];
        item.size = MAX(item.size, 1);
        item.locator = locator = g_strconcat(item.locator, ".no-such-object", NULL);
        a[0] = client_list(s->client, locator);
        a[1] = client_stat(s->client, locator);
        a[2] = client_fetch(s->client, &item, item.version, 0, item.size);
        for (int i = 0; i < 3; i++) {
                if (!wait_answer(s, a[i], what[i], locator))
                        return false;
                check(s, a[i]->result == -ENOENT || (i == 2 && a[i]->result == -ESTALE),
                      "%s of what is not there says ENOENT (%s)", what[i],
                      a[i]->result ? g_strerror(-a[i]->result) : "it succeeded");
        }
        return true;
}

/* All samples as often as it takes to have 64 requests open, or what the engine allows. */
static bool check_many(struct suite *s) {
        unsigned n = MIN(64u, s->client->max_requests), wrong = 0;
        g_autoptr(GPtrArray) open = g_ptr_array_new();
        g_autoptr(GArray) which = g_array_new(FALSE, FALSE, sizeof(guint));

        for (guint i = 0, tries = 0; s->files->len > 0 && open->len < n && tries < 8 * n; tries++) {
                GByteArray *content = s->contents->pdata[i];

                if (content->len > 0) {
                        struct item *item = s->files->pdata[i];

                        g_ptr_array_add(open, client_fetch(s->client, item, item->version, 0,
                                                           content->len));
                        g_array_append_val(which, i);
                }
                i = (i + 1) % s->files->len;
        }
        for (guint i = 0; i < open->len; i++) {
                struct answer *a = open->pdata[i];
                GByteArray *content = s->contents->pdata[g_array_index(which, guint, i)];

                if (!wait_answer(s, a, "fetch", "many"))
                        return false;
                /* Rate limited is an answer; wrong bytes are not. */
                if (a->result != -EAGAIN)
                        wrong += a->result != 0 || a->bytes->len != content->len ||
                                 memcmp(a->bytes->data, content->data, content->len) != 0;
                client_forget(s->client, a);
        }
        if (open->len > 0)
                check(s, wrong == 0, "%u fetches at once bring the same bytes (%u did not)",
                      open->len, wrong);
        return true;
}

static struct item *largest(const struct suite *s) {
        struct item *best = NULL;

        for (guint i = 0; i < s->files->len; i++) {
                struct item *item = s->files->pdata[i];

                if (item->size > 0 && (!best || item->size > best->size))
                        best = item;
        }
        return best;
}

static bool check_cancel(struct suite *s) {
        struct item *item = largest(s);
        unsigned n = MIN(16u, s->client->max_requests), late = 0;
        g_autoptr(GPtrArray) open = g_ptr_array_new();

        if (!item)
                return true;
        s->client->hold = true; /* so that some of them wait for us */
        for (unsigned i = 0; i < n; i++)
                g_ptr_array_add(open, client_fetch(s->client, item, item->version, 0, item->size));
        for (unsigned i = 0; i < n; i++)
                client_cancel(s->client, open->pdata[i]);
        for (unsigned i = 0; i < n; i++) {
                const struct answer *a = open->pdata[i];
                int r = client_wait(s->client, &a->done, CANCEL_MS);

                if (r == -EPIPE)
                        return check(s, false, "cancel: %s", s->client->failure);
                late += r < 0;
        }
        client_release(s->client);
        return check(s, late == 0, "%u cancelled fetches end within %d s (%u did not)", n,
                     CANCEL_MS / 1000, late);
}

static bool check_quit(struct suite *s) {
        struct item *item = largest(s);
        gint64 begin = g_get_monotonic_time();
        int r;

        for (unsigned i = 0; item && i < MIN(4u, s->client->max_requests); i++)
                (void)client_fetch(s->client, item, item->version, 0, item->size);
        r = client_quit(s->client, QUIT_MS);
        /* The host waits 5 s for requests, then leaves without them. */
        return check(s, r == 0 && g_get_monotonic_time() - begin < 4 * G_USEC_PER_SEC,
                     "the engine stops while it is busy, at once and in good order (%s, %.1f s)",
                     r == 0 ? "status 0" : r == -ETIMEDOUT ? "it does not" : "it died",
                     (double)(g_get_monotonic_time() - begin) / G_USEC_PER_SEC);
}

bool suite_run(struct suite *s) {
        struct client *c = s->client;
        bool alive = client_wait(c, &c->ready, START_MS) == 0;

        check(s, alive, "the engine starts%s%s", alive ? "" : ": ",
              alive ? "" : c->failure ? c->failure : "not within 30 s");
        if (alive)
                printf("note %u requests at once%s%s\n", c->max_requests,
                       c->flags & CS_ENGINE_NONBLOCKING ? ", never blocks" : "",
                       c->flags & CS_ENGINE_NO_RANGES ? ", whole files only" : "");
        alive = alive && check_root(s) && crawl(s) && check_files(s) && check_missing(s) &&
                check_many(s) && check_cancel(s) && check_quit(s);
        printf("%u passed, %u failed\n", s->n_passed, s->n_failed);
        return alive && s->n_failed == 0;
}
