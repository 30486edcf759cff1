/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * log — one line per thing that happened, about an object
 *
 * Lines go to the journal with structured fields when stderr is the journal
 * (JOURNAL_STREAM), else to stderr as "cloudsyncd[pid]: text" with a priority
 * word. Errors in logging are ignored. Text that came from outside (names, an
 * engine's detail) is made printable here, so that no caller has to.
 */

#include <stdbool.h>
#include <syslog.h>

/* program: shown in front, static. level: LOG_ERR … LOG_DEBUG, the last level shown. */
void log_open(const char *program, int level);
void log_set_level(int level);
bool log_enabled(int level);

/* printf-checked; no newline. */
void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with the object it is about, as fields CLOUDSYNC_ENGINE= and
 * CLOUDSYNC_FILE= (either may be NULL), and in front of the text. */
void log_about(int level, const char *engine, const char *file, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

#define log_error(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
        do {                                                                                       \
                if (log_enabled(LOG_DEBUG))                                                        \
                        log_line(LOG_DEBUG, __VA_ARGS__);                                          \
        } while (0)
