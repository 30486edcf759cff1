/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * attached — which mount is to be taken away when no daemon is there to do it
 *
 * A store can be reached by its path as long as the daemon watches it, and no longer: without
 * the group its placeholders read as zeros. When the daemon cannot detach it any more, somebody
 * else has to, and must know what. It is written down twice, before the store can be
 * reached, and forgotten when it cannot any more:
 *
 *   - in the journal, for the supervisor when no worker can be started
 *     (supervise-end.c)
 *   - in STATE-DIR/attached, for cloudsync-detach, which the service manager runs
 *     after each end of the service (detach-main.c)
 *
 * The file: "FAILURES MAJOR:MINOR\nPATH". FAILURES: how often the service has ended since it
 * served. The device number is that of the files (st_dev), so that a file left over from
 * before a reboot does not name what is mounted at that path now.
 */

#include <limits.h>
#include <sys/types.h>

struct attached {
        char path[PATH_MAX];
        dev_t files; /* st_dev of the store's root */
        unsigned failures;
};

/* All: 0 or -errno. */
int attached_write(const char *file, const struct attached *attached);
/* -ENOENT: there is none; -EBADMSG: it makes no sense. */
int attached_read(const char *file, struct attached *ret);
int attached_forget(const char *file);

/* Takes away, lazily, every mount of the store at its path. How many there were, or -errno. */
int attached_detach(const struct attached *attached);
