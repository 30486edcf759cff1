/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What index.c (file, transactions, changes) and index-read.c (look-ups) share. */

#include <pthread.h>
#include <sqlite3.h>

#include "plugins/dropbox/index.h"

enum index_statement {
        INDEX_BEGIN,
        INDEX_COMMIT,
        INDEX_ROLLBACK,
        INDEX_GET,
        INDEX_SET,
        INDEX_FIND,
        INDEX_FIND_ID,
        INDEX_FIND_LOCAL,
        INDEX_PUT,
        INDEX_CONFIRM,
        INDEX_DELETE,
        INDEX_DELETE_BELOW,
        INDEX_PARENTS_BELOW,
        INDEX_READ_ONLY_BELOW,
        INDEX_UNSEEN_PARENTS,
        INDEX_DELETE_UNSEEN,
        INDEX_DELETE_ALL,
        INDEX_LIST,
        INDEX_MTIME,
        INDEX_COUNT,
        INDEX_PUT_EXPORT,
        INDEX_DIRTY_ADD,
        INDEX_DIRTY_ADD_ALL,
        INDEX_DIRTY_FIND,
        INDEX_DIRTY_LIST,
        INDEX_DIRTY_DROP,
        INDEX_STATEMENTS,
};

struct index {
        sqlite3 *db;
        sqlite3_stmt *statements[INDEX_STATEMENTS];
        pthread_mutex_t lock; /* of all below, and of what the statements are bound to; recursive */
        /* The transaction under way: */
        int64_t listing;
        int64_t n; /* of its changes: greater than any before */
        int error;
        GHashTable *changed;
        char *last_parent; /* whose existence was just seen to; NULL: none */
};

sqlite3_stmt *index_statement(struct index *index, enum index_statement which);
/* sqlite3_step() as 1 (a row), 0 (done) or a negative errno. */
int index_step(sqlite3_stmt *s);
void index_bind(sqlite3_stmt *s, int at, const char *text);
/* The row of a statement that selects INDEX_COLUMNS. */
void index_row(sqlite3_stmt *s, struct index_entry *ret);
