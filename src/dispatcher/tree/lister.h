/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * lister — the namespace: every directory of a remote, listed once, before anyone sees it empty
 *
 * A directory is UNLISTED until all of its entries are here (see stamp.h), and as long as it
 * is, it is watched: whoever opens or reads it waits, and goes to the front of the queue.
 * In the background the lister works through all of them, breadth first, since the
 * engine's queue is first in, first out and a directory's children come behind it.
 *
 * In memory is a node (node.h) for each directory that is not listed yet, is being
 * listed again, or has to be; nothing for the others. A daemon that is killed finds them again by
 * walking the directories of the store (lister_resume), before the store is
 * attached. When none is pending, that is written down (.cloudsync/complete), and the walk
 * is saved.
 *
 * A listing that fails stays UNLISTED: its readers get EIO, and it is tried again after a while.
 *
 * A directory that was listed is listed again (refreshed) because the remote says that it changed, because
 * somebody asks for it, or by the clock (walk.c). populate.h says what becomes of the files.
 */

#include "dispatcher/daemon.h"
#include "dispatcher/engines/engine.h"
#include "dispatcher/files/files.h"
#include "dispatcher/events/request.h"

typedef struct Lister Lister;

struct lister_options {
        FanGroup *group;
        Store *store;
        Files *files;
        Engine *(*engine)(void *userdata, const char *id);
        void *userdata;
};

Lister *lister_new(const struct lister_options *options);
void lister_free(Lister *lister);
/* Finds what is not listed; done() once every such directory is watched. */
void lister_resume(Lister *lister, void (*done)(void *userdata, int r), void *userdata);
/* Makes the engine's directory, and lists it if it is not. */
int lister_add_engine(Lister *lister, Engine *engine, Failure *failure);
/* What could not be listed is asked for again at once. */
void lister_logged_in(Lister *lister, Engine *engine);
/* Somebody opens or reads a watched directory. Takes the request. */
void lister_event(Lister *lister, Request *request);
/* Lists a directory again (`fd`: private mount). Takes the request (a call). */
void lister_refresh(Lister *lister, Request *request, int fd, bool recursive);
/* The remote says that a directory changed: written down before the engine is asked for it. What cannot be looked
 * at now is kept (told.h). */
void lister_changed(Lister *lister, Engine *engine, const char *locator);
void lister_deny_all(Lister *lister);
