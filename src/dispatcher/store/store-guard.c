/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The store, and the guard in the kernel (guard/guard.h), which is no process of ours: it finds
 * stores by an attribute of their root directory, and says of itself whether it is there.
 */

#include "dispatcher/store/store-internal.h"
#include "guard/guard.h"

#include <errno.h>
#include <sys/xattr.h>
#include <unistd.h>

int store_declare(Store *store) {
        const char value = GUARD_STORE_FORMAT;
        char was;

        if (fgetxattr(store->root, GUARD_STORE_XATTR, &was, sizeof was) == sizeof was)
                return 0;
        if (fsetxattr(store->root, GUARD_STORE_XATTR, &value, sizeof value, 0) < 0)
                return -errno;
        /* On disk before the first placeholder: a boot whose daemon never starts must know. */
        return fsync(store->root) < 0 ? -errno : 0;
}

enum store_guard store_guard(const Store *store) {
        if (fgetxattr(store->root, GUARD_QUESTION_XATTR, NULL, 0) >= 0)
                return STORE_GUARD_NONE;
        return errno == GUARD_ANSWER_LIVE     ? STORE_GUARD_ACTIVE
               : errno == GUARD_ANSWER_CLOSED ? STORE_GUARD_BLIND
                                              : STORE_GUARD_NONE;
}
