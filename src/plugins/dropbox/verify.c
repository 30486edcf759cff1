/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/verify.h"

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <string.h>

#include "plugins/dropbox/prefixes.h"
#include "plugins/dropbox/sha256.h"

#define VERSIONS_MAX 256u
#define SUSPECTS_MAX 4096u /* are remembered longer */
#define BLOCKS_MAX 65536u  /* a file of 256 GiB: 2 MiB of digests. Larger ones are not verified. */
#define PARTIALS_MAX 64u

/* A block's hash that waits for the byte at `position`. */
struct partial {
        uint64_t position;
        struct sha256 *sum;
};

struct version {
        GList link; /* in verify.order; data: this */
        char *name;
        uint64_t size, n_blocks, n_known;
        struct prefixes *prefixes; /* NULL: none */
        uint8_t *digests; /* NULL until the first is there */
        uint8_t *known;   /* a byte for each block */
        bool has_hash;
        uint8_t hash[CONTENT_HASH_SIZE];
        unsigned mismatches;
        bool suspect;     /* a mismatch, and not found good since */
        GPtrArray *runs;  /* of struct verify_run: under way */
        GArray *partials; /* of struct partial */
};

struct verify {
        pthread_mutex_t lock;
        char *directory;
        GHashTable *versions; /* name → struct version */
        GQueue order;         /* the longest unused first */
};

struct verify_run {
        struct verify *verify;
        struct version *version;
        uint64_t from, end; /* all of this is hashed, when it comes to its end */
        uint64_t position;
        uint64_t offset;   /* of the fetch: what comes before is only hashed */
        uint64_t check_at; /* where `check` has to be the hash; 0: nowhere */
        uint8_t check[CONTENT_HASH_SIZE];
        bool bad;          /* and was not */
        struct sha256 *sum; /* of the block at position; NULL: its begin was not seen */
};

static void partials_clear(struct version *v) {
        for (guint i = 0; i < v->partials->len; i++)
                sha256_free(g_array_index(v->partials, struct partial, i).sum);
        g_array_set_size(v->partials, 0);
}

static void version_free(struct version *v, bool keep) {
        prefixes_close(v->prefixes, keep);
        partials_clear(v);
        g_array_unref(v->partials);
        g_ptr_array_unref(v->runs);
        g_free(v->digests);
        g_free(v->known);
        g_free(v->name);
        g_free(v);
}

struct verify *verify_new(const char *directory) {
        struct verify *verify = g_new0(struct verify, 1);

        verify->directory = g_strdup(directory);
        if (directory != NULL)
                prefixes_prepare(directory);
        pthread_mutex_init(&verify->lock, NULL);
        verify->versions = g_hash_table_new(g_str_hash, g_str_equal);
        return verify;
}

static void version_drop(struct verify *verify, struct version *v, bool keep) {
        g_hash_table_remove(verify->versions, v->name);
        g_queue_unlink(&verify->order, &v->link);
        version_free(v, keep);
}

void verify_free(struct verify *verify) {
        GList *link;

        if (verify == NULL)
                return;
        while ((link = verify->order.head) != NULL)
                version_drop(verify, link->data, true);
        g_free(verify->directory);
        g_hash_table_unref(verify->versions);
        pthread_mutex_destroy(&verify->lock);
        g_free(verify);
}

static void make_room(struct verify *verify) {
        GList *next;

        for (GList *link = verify->order.head; link && verify->order.length > VERSIONS_MAX; link = next) {
                struct version *v = link->data;

                next = link->next;
                if (v->runs->len == 0 && (!v->suspect || verify->order.length > SUSPECTS_MAX))
                        version_drop(verify, v, false);
        }
}

static bool blocks_need(struct version *v) {
        if (v->known == NULL && v->n_blocks <= BLOCKS_MAX) {
                v->digests = g_try_malloc0(v->n_blocks * CONTENT_HASH_SIZE);
                v->known = v->digests ? g_try_malloc0(v->n_blocks) : NULL;
                if (v->known == NULL)
                        g_clear_pointer(&v->digests, g_free);
        }
        return v->known != NULL;
}

/* What an earlier process had all of. */
static void version_load(struct version *v) {
        if (v->prefixes == NULL || !blocks_need(v))
                return;
        for (uint64_t i = 0; i < v->n_blocks; i++)
                if (prefixes_get(v->prefixes, MIN((i + 1) * CONTENT_HASH_BLOCK, v->size),
                                 v->digests + i * CONTENT_HASH_SIZE)) {
                        v->known[i] = 1;
                        v->n_known++;
                }
}

static struct version *version_get(struct verify *verify, const char *name, uint64_t size) {
        struct version *v = g_hash_table_lookup(verify->versions, name);

        if (v == NULL) {
                v = g_new0(struct version, 1);
                v->link.data = v;
                v->name = g_strdup(name);
                v->size = size;
                v->n_blocks = content_hash_blocks(size);
                v->partials = g_array_new(FALSE, FALSE, sizeof(struct partial));
                v->runs = g_ptr_array_new();
                g_hash_table_insert(verify->versions, v->name, v);
                v->prefixes = prefixes_open(verify->directory, name, size, false);
                version_load(v);
        } else
                g_queue_unlink(&verify->order, &v->link);
        g_queue_push_tail_link(&verify->order, &v->link);
        return v;
}

static void forget_blocks(struct version *v, uint64_t begin, uint64_t end) {
        if (v->known == NULL)
                return;
        for (uint64_t i = begin / CONTENT_HASH_BLOCK; i < v->n_blocks && i * CONTENT_HASH_BLOCK < end; i++) {
                v->n_known -= v->known[i];
                v->known[i] = 0;
        }
}

/* Hashes under way of bytes that are fetched again. */
static void forget_partials(struct version *v, uint64_t begin, uint64_t end) {
        for (guint i = v->partials->len; i-- > 0;) {
                struct partial *p = &g_array_index(v->partials, struct partial, i);
                uint64_t from = p->position / CONTENT_HASH_BLOCK * CONTENT_HASH_BLOCK;

                if (p->position > begin && from < end) {
                        sha256_free(p->sum);
                        g_array_remove_index_fast(v->partials, i);
                }
        }
}

static struct sha256 *take_partial(struct version *v, uint64_t position) {
        for (guint i = 0; i < v->partials->len; i++) {
                struct partial *p = &g_array_index(v->partials, struct partial, i);

                if (p->position == position) {
                        struct sha256 *sum = p->sum;
                        g_array_remove_index_fast(v->partials, i);
                        return sum;
                }
        }
        return NULL;
}

static bool block_is_coming(const struct version *v, uint64_t block) {
        uint64_t begin = block * CONTENT_HASH_BLOCK, end = MIN(begin + CONTENT_HASH_BLOCK, v->size);

        if (v->known != NULL && v->known[block])
                return true;
        for (guint i = 0; i < v->runs->len; i++) {
                const struct verify_run *run = v->runs->pdata[i];

                if (run->from <= begin && end <= run->end)
                        return true;
        }
        return false;
}

/* Does a fetch of a suspect version belong to one of all of it? */
static bool is_fetched_anew(const struct version *v, const struct verify_run *run) {
        /* What a fetch that found a mismatch did not deliver is never so long. */
        if (run->from == 0)
                return run->end >= MIN(v->size, CONTENT_HASH_BLOCK);
        if (run->from % CONTENT_HASH_BLOCK != 0)
                return false;
        for (uint64_t i = 0; i < run->from / CONTENT_HASH_BLOCK; i++)
                if (!block_is_coming(v, i))
                        return false;
        return true;
}

/* A block whose beginning an earlier process handed over: its hash there, and we begin at its start. */
static void lead_in(struct verify_run *run) {
        struct version *v = run->version;
        uint64_t begin = run->offset / CONTENT_HASH_BLOCK * CONTENT_HASH_BLOCK;
        uint64_t at = MIN((run->offset + PREFIX_STEP - 1) / PREFIX_STEP * PREFIX_STEP, v->size);

        if (at > run->end || !prefixes_get(v->prefixes, at, run->check))
                return;
        run->check_at = at;
        run->position = begin;
        run->sum = sha256_new();
}

uint64_t verify_lead(const struct verify_run *run) {
        return run->offset - run->position;
}

struct verify_run *verify_begin(struct verify *verify, const char *version, uint64_t size, uint64_t offset,
                                uint64_t length) {
        struct verify_run *run = g_new0(struct verify_run, 1);
        struct version *v;

        run->verify = verify;
        run->position = run->from = run->offset = offset;
        run->end = offset + length;
        pthread_mutex_lock(&verify->lock);
        v = version_get(verify, version, size);
        run->version = v;
        forget_blocks(v, offset, offset + length);
        forget_partials(v, offset, offset + length);
        if (offset % CONTENT_HASH_BLOCK == 0)
                run->sum = sha256_new();
        else
                run->sum = take_partial(v, offset);
        if (run->sum == NULL)
                lead_in(run);
        /* As forget_blocks() does: of a block that is fetched again in part nothing is known. */
        prefixes_forget(v->prefixes, offset,
                        MIN((offset + length + CONTENT_HASH_BLOCK - 1) / CONTENT_HASH_BLOCK * CONTENT_HASH_BLOCK,
                            size));
        if (run->sum != NULL)
                run->from = offset / CONTENT_HASH_BLOCK * CONTENT_HASH_BLOCK;
        g_ptr_array_add(v->runs, run);
        make_room(verify);
        pthread_mutex_unlock(&verify->lock);
        return run;
}

void verify_expect(struct verify_run *run, const uint8_t hash[static CONTENT_HASH_SIZE]) {
        pthread_mutex_lock(&run->verify->lock);
        memcpy(run->version->hash, hash, CONTENT_HASH_SIZE);
        run->version->has_hash = true;
        pthread_mutex_unlock(&run->verify->lock);
}

/* Under the lock: nothing that is known of the version is true of what is in the store. */
static void version_mismatch(struct version *v) {
        v->mismatches++;
        v->suspect = true;
        v->n_known = 0;
        g_clear_pointer(&v->known, g_free);
        g_clear_pointer(&v->digests, g_free);
        partials_clear(v);
        prefixes_close(g_steal_pointer(&v->prefixes), false);
}

/* A block of more than one is there, or a step on the way: written down, compared. */
static void step_done(struct verify_run *run, bool block_ends) {
        struct version *v = run->version;
        struct verify *verify = run->verify;
        uint8_t digest[CONTENT_HASH_SIZE];
        uint64_t block = (run->position - 1) / CONTENT_HASH_BLOCK;

        sha256_digest(run->sum, digest);
        pthread_mutex_lock(&verify->lock);
        if (run->position == run->check_at && memcmp(digest, run->check, sizeof digest) != 0) {
                run->bad = true;
                version_mismatch(v);
        }
        /* With the end of its only block a version is finished: nothing is left to go on with. */
        if (!run->bad && run->position > run->offset && !(block_ends && v->n_blocks == 1)) {
                if (v->prefixes == NULL)
                        v->prefixes = prefixes_open(verify->directory, v->name, v->size, true);
                prefixes_put(v->prefixes, run->position, digest);
        }
        if (!run->bad && block_ends && block < v->n_blocks && blocks_need(v)) {
                memcpy(v->digests + block * CONTENT_HASH_SIZE, digest, sizeof digest);
                v->n_known += !v->known[block];
                v->known[block] = 1;
        }
        pthread_mutex_unlock(&verify->lock);
        if (block_ends)
                g_clear_pointer(&run->sum, sha256_free);
}

int verify_update(struct verify_run *run, const void *bytes, uint64_t length) {
        const uint64_t size = run->version->size;
        const guchar *p = bytes;

        while (length > 0 && !run->bad) {
                uint64_t n = MIN(length, PREFIX_STEP - run->position % PREFIX_STEP);
                bool block_ends;

                if (run->sum != NULL)
                        sha256_update(run->sum, p, n);
                run->position += n;
                p += n;
                length -= n;
                if (run->position % PREFIX_STEP != 0 && run->position != size)
                        continue;
                block_ends = run->position % CONTENT_HASH_BLOCK == 0 || run->position == size;
                if (run->sum != NULL)
                        step_done(run, block_ends);
                if (block_ends && run->position != size && !run->bad)
                        run->sum = sha256_new();
        }
        return run->bad ? -EBADMSG : 0;
}

/* Under the lock: keeps a hash that the next fetch may continue. */
static void keep_partial(struct verify_run *run) {
        struct version *v = run->version;
        struct partial partial = {run->position, run->sum};

        /* What was only to be hashed is not handed over: nobody goes on there. */
        if (run->sum == NULL || run->bad || run->position < MAX(run->offset, run->check_at) || run->position % CONTENT_HASH_BLOCK == 0 || v->partials->len >= PARTIALS_MAX)
                return;
        g_array_append_val(v->partials, partial);
        run->sum = NULL;
}

enum verify_result verify_end(struct verify_run *run, unsigned *ret_mismatches) {
        struct verify *verify = run->verify;
        struct version *v = run->version;
        enum verify_result result = VERIFY_UNKNOWN;
        uint8_t hash[CONTENT_HASH_SIZE];

        pthread_mutex_lock(&verify->lock);
        keep_partial(run);
        g_ptr_array_remove_fast(v->runs, run);
        if (v->suspect && !is_fetched_anew(v, run))
                result = VERIFY_SUSPECT;
        if (v->has_hash && v->known != NULL && v->n_known == v->n_blocks) {
                content_hash_combine(v->digests, v->n_blocks, hash);
                result = memcmp(hash, v->hash, CONTENT_HASH_SIZE) == 0 ? VERIFY_GOOD : VERIFY_MISMATCH;
        }
        if (result == VERIFY_MISMATCH)
                version_mismatch(v);
        *ret_mismatches = v->mismatches;
        if (result == VERIFY_GOOD)
                v->suspect = false;
        if (result == VERIFY_GOOD && v->runs->len == 0)
                version_drop(verify, v, false);
        pthread_mutex_unlock(&verify->lock);
        if (run->sum)
                sha256_free(run->sum);
        g_free(run);
        return result;
}

void verify_break(struct verify_run *run) {
        if (run == NULL)
                return;
        pthread_mutex_lock(&run->verify->lock);
        keep_partial(run);
        g_ptr_array_remove_fast(run->version->runs, run);
        pthread_mutex_unlock(&run->verify->lock);
        if (run->sum)
                sha256_free(run->sum);
        g_free(run);
}
