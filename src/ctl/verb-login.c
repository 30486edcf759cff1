/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * login, logout
 *
 * The person's part of a login: the URL is shown, and opened where there is a desktop; the code
 * that the page shows is read from the terminal or from standard input, never from an
 * argument, which everybody could see in ps.
 *
 * A browser must not run as root, which this command has to be: it is started as the user who
 * called sudo or pkexec, and not at all when there is none.
 */

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/bus.h"
#include "ctl/format.h"

#define CODE_MAX 4096u                            /* what the daemon takes */
#define STEP_TIMEOUT_US (UINT64_C(180) * 1000000) /* the remote's answer, slow networks included */

/* One of the Manager's methods that take the id, and a code or NULL, and return a text. To be
 * g_free()d; NULL after saying why. */
static char *step(struct ctl *ctl, const char *method, const char *id, const char *code) {
        __attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *call = NULL, *reply = NULL;
        const char *text = NULL;
        int r;

        r = sd_bus_message_new_method_call(ctl->bus, &call, BUS_NAME, BUS_OBJECT, BUS_MANAGER, method);
        if (r >= 0)
                r = sd_bus_message_sensitive(call);
        if (r >= 0)
                r = sd_bus_message_append(call, "s", id);
        if (r >= 0 && code)
                r = sd_bus_message_append(call, "s", code);
        if (r >= 0)
                r = sd_bus_call(ctl->bus, call, STEP_TIMEOUT_US, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &text);
        if (r < 0) {
                g_autofree char *what = g_strdup_printf("engine \"%s\"", id);
                bus_fail(ctl, what, &error, r);
                return NULL;
        }
        return g_strdup(text);
}

/* --- the browser --- */

struct user {
        uid_t uid;
        gid_t gid;
        char *name, *home;
};

/* Who sits in front of the desktop; false when that cannot be told. */
static bool find_user(struct user *ret) {
        const char *text = g_getenv("SUDO_UID") ?: g_getenv("PKEXEC_UID");
        const struct passwd *user;
        guint64 uid = geteuid();

        if (uid == 0 && (!text || !g_ascii_string_to_unsigned(text, 10, 1, G_MAXUINT32 - 1, &uid, NULL)))
                return false;
        user = getpwuid((uid_t)uid);
        if (!user)
                return false;
        *ret = (struct user){user->pw_uid, user->pw_gid, g_strdup(user->pw_name), g_strdup(user->pw_dir)};
        return true;
}

static void become(gpointer userdata) {
        const struct user *user = userdata;

        (void)setsid(); /* outlives this terminal */
        if (geteuid() == 0 && (initgroups(user->name, user->gid) < 0 ||
                               setresgid(user->gid, user->gid, user->gid) < 0 ||
                               setresuid(user->uid, user->uid, user->uid) < 0))
                _exit(1);
}

/* Best effort: the URL is on the screen as well. */
static void open_browser(const char *url) {
        const char *argv[] = {"xdg-open", url, NULL};
        struct user user = {0};
        g_auto(GStrv) environment = NULL;
        g_autofree char *runtime = NULL;

        if (!isatty(STDOUT_FILENO) || (!g_getenv("DISPLAY") && !g_getenv("WAYLAND_DISPLAY")) ||
            !find_user(&user))
                return;
        runtime = g_strdup_printf("/run/user/%lu", (unsigned long)user.uid);
        environment = g_environ_setenv(g_get_environ(), "HOME", user.home, TRUE);
        environment = g_environ_setenv(environment, "XDG_RUNTIME_DIR", runtime, FALSE);
        (void)g_spawn_async("/", (char **)argv, environment,
                            G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                            become, &user, NULL, NULL);
        g_free(user.name);
        g_free(user.home);
}

/* --- the code --- */

/* One line of standard input without what surrounds the code; NULL after saying why. To
 * explicit_bzero() and g_free(). */
static char *read_code(void) {
        char line[CODE_MAX + 2];
        char *code = NULL;

        if (fgets(line, sizeof(line), stdin)) {
                code = g_strdup(g_strstrip(line));
                explicit_bzero(line, sizeof(line));
        }
        if (code && *code && strlen(code) <= CODE_MAX && g_utf8_validate(code, -1, NULL))
                return code;
        ctl_error(code && *code ? "that is no code" : "no code was given");
        ctl_hint("The page shows it after you have allowed the access; paste it here, or give it on "
                 "standard input.");
        g_free(code);
        return NULL;
}

static void show_url(struct ctl *ctl, const char *id, const char *url) {
        if (ctl->json) {
                struct json_object *o = json_object_new_object();
                json_object_object_add(o, "id", json_object_new_string(id));
                json_object_object_add(o, "url", json_object_new_string(url));
                ctl_print_json(o, true);
                return;
        }
        g_autofree char *shown = format_text(url);
        printf("Open this page in a browser, on any machine, and allow the access:\n\n    %s\n\n"
               "Then paste the code that it shows, and press Enter.\nCode: ",
               shown);
        fflush(stdout);
        open_browser(url);
}

static void show_result(struct ctl *ctl, const char *id, bool logged_in, const char *note) {
        if (ctl->json) {
                struct json_object *o = json_object_new_object();
                json_object_object_add(o, "id", json_object_new_string(id));
                json_object_object_add(o, "logged_in", json_object_new_boolean(logged_in));
                json_object_object_add(o, "note", json_object_new_string(note));
                ctl_print_json(o, true);
                return;
        }
        g_autofree char *shown = format_text(note);
        if (logged_in)
                printf("Logged in. How far the listing is: cloudsyncctl engine show %s\n", id);
        else
                printf("Logged out. What is here stays; what is not cannot be read until: "
                       "cloudsyncctl login %s\n",
                       id);
        if (*shown)
                printf("Note: %s.\n", shown);
}

static bool id_is_text(const char *verb, const char *id) {
        if (g_utf8_validate(id, -1, NULL))
                return true;
        ctl_usage(verb, "an id has to be UTF-8");
        return false;
}

static int run_login(struct ctl *ctl, char **words, unsigned n) {
        g_autofree char *url = NULL, *note = NULL;
        char *code;

        if (!id_is_text("login", words[0]))
                return CTL_USAGE;
        if (bus_connect(ctl) < 0)
                return CTL_FAILED;
        url = step(ctl, "Login", words[0], NULL);
        if (!url)
                return CTL_FAILED;
        show_url(ctl, words[0], url);
        code = read_code();
        if (!code)
                return CTL_FAILED;
        note = step(ctl, "FinishLogin", words[0], code);
        explicit_bzero(code, strlen(code));
        g_free(code);
        if (!note)
                return CTL_FAILED;
        show_result(ctl, words[0], true, note);
        return CTL_OK;
}

static int run_logout(struct ctl *ctl, char **words, unsigned n) {
        g_autofree char *note = NULL;

        if (!id_is_text("logout", words[0]))
                return CTL_USAGE;
        if (bus_connect(ctl) < 0)
                return CTL_FAILED;
        note = step(ctl, "Logout", words[0], NULL);
        if (!note)
                return CTL_FAILED;
        show_result(ctl, words[0], false, note);
        return CTL_OK;
}

const struct verb verb_login = {
        .name = "login",
        .synopsis = "ID",
        .summary = "Log in at an engine's remote",
        .help = "Shows a URL, which you open in any browser, on any machine; a desktop's is opened\n"
                "by itself. The page shows a code after you have allowed the access: paste it. It\n"
                "is read from the terminal or standard input, and kept nowhere. Needs root.\n"
                "\n"
                "With --json, two documents of one line each: id and url; then, when the code was\n"
                "read from standard input and taken, id, logged_in and note.\n",
        .min_words = 1,
        .max_words = 1,
        .run = run_login,
};

const struct verb verb_logout = {
        .name = "logout",
        .synopsis = "ID",
        .summary = "Forget the login, here and at the remote",
        .help = "What is here stays readable; reading what is not fails (EIO) until the next login.\n"
                "Needs root.\n",
        .min_words = 1,
        .max_words = 1,
        .run = run_logout,
};
