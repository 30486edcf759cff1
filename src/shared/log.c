/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * log — see log.h
 *
 * Two sinks: the journal's own protocol when stderr is the journal's stream (so
 * that a line carries its fields), else one write(2) of one whole line to stderr.
 * Nothing here allocates without bound, nothing here fails: a line is cut at
 * TEXT_MAX bytes. The level is the only state and may be read from any thread.
 */

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "shared/log.h"
#include "shared/names.h"

#define TEXT_MAX 2048
#define LINE_MAX_BYTES (TEXT_MAX * 2 + 512)

static const char *log_program = "cloudsync";
static int log_level = LOG_INFO; /* atomic */
static bool log_to_journal;

/* systemd sets JOURNAL_STREAM=DEVICE:INODE; it may be inherited by a process
 * whose stderr was redirected since, hence the comparison. */
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
                return false;
        if (fstat(STDERR_FILENO, &st) < 0)
                return false;
        return st.st_dev == device && st.st_ino == inode;
}

void log_open(const char *program, int level) {
        log_program = program;
        log_to_journal = stderr_is_journal();
        log_set_level(level);
}

void log_set_level(int level) {
        __atomic_store_n(&log_level, level, __ATOMIC_RELAXED);
}

bool log_enabled(int level) {
        return level <= __atomic_load_n(&log_level, __ATOMIC_RELAXED);
}

static const char *level_word(int level) {
        switch (level) {
        case LOG_DEBUG:
                return "debug: ";
        case LOG_INFO:
        case LOG_NOTICE:
                return "";
        case LOG_WARNING:
                return "warning: ";
        default:
                return "error: ";
        }
}

struct field {
        char text[4096 + 32];
        size_t length;
};

/* NAME=value; the value's bytes as they are: the journal takes any. */
static struct iovec field_set(struct field *field, const char *name, const char *value) {
        int n = snprintf(field->text, sizeof(field->text), "%s=%s", name, value);

        field->length = n < 0 ? 0 : (size_t)n < sizeof(field->text) ? (size_t)n
                                                                     : sizeof(field->text) - 1;
        return (struct iovec){field->text, field->length};
}

static void send_journal(int level, const char *engine, const char *file, const char *text) {
        struct field message, priority, identifier, engine_field, file_field;
        struct iovec iov[5];
        char digits[16];
        int n = 0;

        (void)snprintf(digits, sizeof(digits), "%d", level);
        iov[n++] = field_set(&message, "MESSAGE", text);
        iov[n++] = field_set(&priority, "PRIORITY", digits);
        iov[n++] = field_set(&identifier, "SYSLOG_IDENTIFIER", log_program);
        if (engine)
                iov[n++] = field_set(&engine_field, "CLOUDSYNC_ENGINE", engine);
        if (file)
                iov[n++] = field_set(&file_field, "CLOUDSYNC_FILE", file);
        (void)sd_journal_sendv(iov, n);
}

static void send_stderr(int level, const char *text) {
        char line[LINE_MAX_BYTES];
        int n;

        n = snprintf(line, sizeof(line), "%s[%d]: %s%s\n", log_program, (int)getpid(),
                     level_word(level), text);
        if (n < 0)
                return;
        if ((size_t)n >= sizeof(line)) {
                n = sizeof(line) - 1;
                line[n - 1] = '\n';
        }
        while (write(STDERR_FILENO, line, (size_t)n) < 0 && errno == EINTR)
                ;
}

static void log_va(int level, const char *engine, const char *file, const char *format,
                   va_list args) __attribute__((format(printf, 4, 0)));

static void log_va(int level, const char *engine, const char *file, const char *format,
                   va_list args) {
        char raw[TEXT_MAX], text[TEXT_MAX * 2];
        int saved = errno, n = 0;

        if (!log_enabled(level))
                return;
        if (engine)
                n = snprintf(raw, sizeof(raw), "%s: ", engine);
        if (file && n >= 0 && (size_t)n < sizeof(raw) / 2)
                n += snprintf(raw + n, sizeof(raw) / 2 - (size_t)n, "%s", file);
        /* A long file name is cut to half of the line, so that the reason is seen. */
        if (file && n >= 0) {
                if ((size_t)n >= sizeof(raw) / 2)
                        n = sizeof(raw) / 2 - 1;
                n += snprintf(raw + n, sizeof(raw) - (size_t)n, ": ");
        }
        if (n >= 0 && (size_t)n < sizeof(raw)) {
                errno = saved; /* for %m */
                (void)vsnprintf(raw + n, sizeof(raw) - (size_t)n, format, args);
        }
        (void)name_printable(raw, text, sizeof(text));
        if (log_to_journal)
                send_journal(level, engine, file, text);
        else
                send_stderr(level, text);
        errno = saved;
}

void log_line(int level, const char *format, ...) {
        va_list args;

        va_start(args, format);
        log_va(level, NULL, NULL, format, args);
        va_end(args);
}

void log_about(int level, const char *engine, const char *file, const char *format, ...) {
        va_list args;

        va_start(args, format);
        log_va(level, engine, file, format, args);
        va_end(args);
}
