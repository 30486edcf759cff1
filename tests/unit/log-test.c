/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* log: what reaches stderr, read back through a pipe */

#include <string.h>
#include <unistd.h>

#include <glib.h>

#include "shared/fd.h"
#include "shared/log.h"

/* Runs `emit` with stderr in a pipe; what it wrote without "test[PID]: ". */
static char *capture(void (*emit)(void)) {
        static char buffer[16384];
        int fds[2], saved = dup(STDERR_FILENO);
        g_autofree char *front = g_strdup_printf("test[%d]: ", (int)getpid());
        ssize_t n;

        g_assert_cmpint(pipe(fds), ==, 0);
        g_assert_cmpint(dup2(fds[1], STDERR_FILENO), ==, STDERR_FILENO);
        emit();
        g_assert_cmpint(dup2(saved, STDERR_FILENO), ==, STDERR_FILENO);
        fd_close(saved);
        fd_close(fds[1]);
        n = read(fds[0], buffer, sizeof(buffer) - 1);
        fd_close(fds[0]);
        if (n < 0)
                g_error("read: %m");
        buffer[n] = '\0';
        if (n == 0)
                return g_strdup("");
        g_assert_true(g_str_has_prefix(buffer, front));
        return g_strdup(buffer + strlen(front));
}

static void plain(void) {
        log_info("hello %d", 7);
}

static void levels(void) {
        log_debug("not shown");
}

static void errors(void) {
        log_error("bad");
}

static void about(void) {
        log_about(LOG_WARNING, "eng", "dir/fi\nle\xff", "failed: %s", "a\x1b[2Jb");
}

static void about_none(void) {
        log_about(LOG_INFO, NULL, NULL, "x");
}

static void overlong(void) {
        g_autofree char *name = g_strnfill(10000, 'n'), *text = g_strnfill(10000, '\n');

        log_about(LOG_INFO, "eng", name, "reason %s", text);
}

static void test_lines(void) {
        g_autofree char *a = NULL, *b = NULL, *c = NULL, *d = NULL, *e = NULL, *f = NULL;

        log_open("test", LOG_INFO);
        a = capture(plain);
        g_assert_cmpstr(a, ==, "hello 7\n");
        b = capture(levels);
        g_assert_cmpstr(b, ==, "");
        c = capture(errors);
        g_assert_cmpstr(c, ==, "error: bad\n");
        d = capture(about);
        g_assert_cmpstr(d, ==, "warning: eng: dir/fi\\x0ale\\xff: failed: a\\x1b[2Jb\n");
        e = capture(about_none);
        g_assert_cmpstr(e, ==, "x\n");
        f = capture(overlong);
        g_assert_nonnull(strstr(f, "reason "));
        g_assert_cmpuint(strlen(f), <, 6000);
        g_assert_true(strchr(f, '\n') == f + strlen(f) - 1);
        log_set_level(LOG_DEBUG);
        g_assert_true(log_enabled(LOG_DEBUG));
        log_set_level(LOG_ERR);
        g_assert_false(log_enabled(LOG_WARNING));
}

int main(int argc, char **argv) {
        g_unsetenv("JOURNAL_STREAM");
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/log/lines", test_lines);
        return g_test_run();
}
