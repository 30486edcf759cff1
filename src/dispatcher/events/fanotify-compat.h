/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * fanotify-compat — what headers older than Linux 6.14 lack of <linux/fanotify.h>
 *
 * Debian 12 builds against 6.1. Numbers are UAPI and never change.
 */

#include <sys/fanotify.h>
#include <stdint.h>

#ifndef FAN_PRE_ACCESS /* 6.14 */
#define FAN_PRE_ACCESS 0x00100000
#endif
#ifndef FAN_REPORT_FD_ERROR /* 6.13 */
#define FAN_REPORT_FD_ERROR 0x00002000
#endif
#ifndef FAN_MARK_EVICTABLE /* 5.19 */
#define FAN_MARK_EVICTABLE 0x00000200
#endif
#ifndef FAN_MARK_IGNORE_SURV /* 6.0 */
#define FAN_MARK_IGNORE 0x00000400
#define FAN_MARK_IGNORE_SURV (FAN_MARK_IGNORE | FAN_MARK_IGNORED_SURV_MODIFY)
#endif
#ifndef FAN_EVENT_INFO_TYPE_RANGE /* 6.14 */
#define FAN_EVENT_INFO_TYPE_RANGE 6
#endif
#ifndef FAN_DENY_ERRNO /* 6.14 */
#define FAN_DENY_ERRNO(error) (FAN_DENY | ((((uint32_t)(error)) & 0xff) << 24))
#endif

/* struct fanotify_event_info_range, under a name of our own: newer headers have it. */
struct fan_info_range {
        struct fanotify_event_info_header header;
        uint32_t pad;
        uint64_t offset;
        uint64_t count;
};
