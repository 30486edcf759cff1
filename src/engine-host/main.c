/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * cloudsync-engine-host — one process, one engine
 *
 * The order is the point: ask for the channel, give everything up, and only then
 * load the module. See sandbox.h and session.h.
 *
 * Exit status: 0 the daemon said so, or left; 1 the engine could not be had (the
 * daemon was told why) or the channel broke; 2 wrong usage; 3 no sandbox.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <glib.h>

#include "config.h"
#include "engine-host/attach.h"
#include "engine-host/sandbox.h"
#include "engine-host/session.h"
#include "shared/log.h"
#include "shared/names.h"

#define EXIT_USAGE 2
#define EXIT_SANDBOX 3

struct options {
        const char *bus, *id, *module_dir, *user, *state_dir;
        GPtrArray *hide; /* of const char *, ends with NULL once parsed */
        int channel, log_level;
};

static void print_help(void) {
        printf("cloudsync-engine-host [OPTIONS]\n\n"
               "Runs one cloudsync engine for cloudsyncd, which starts it; there is little reason\n"
               "to start it by hand, except to debug an engine.\n\n"
               "  --bus ADDRESS|system|session  where the daemon is (default: system)\n"
               "  --id ID                       the engine to attach to\n"
               "  --module-dir DIR              where modules are\n"
               "                                (default: %s)\n"
               "  --user USER[:GROUP]           whom to become, when started as root\n"
               "  --hide PATH                   a mount that the engine must not see; repeatable\n"
               "  --state-dir DIR               the one directory that it may write to\n"
               "  --channel FD                  use this channel and no bus\n"
               "  --log-level 3-7               as in syslog(3); default 6 (info)\n"
               "  --help, --version\n",
               CLOUDSYNC_MODULE_DIR);
}

static bool parse_number(const char *s, int min, int max, int *ret) {
        char *end;
        long value = strtol(s, &end, 10);

        if (!*s || *end || value < min || value > max)
                return false;
        *ret = (int)value;
        return true;
}

enum option_id { BUS = 1, ID, MODULE_DIR, USER, HIDE, STATE_DIR, CHANNEL, LOG_LEVEL, HELP, VERSION };

/* -1: go on; otherwise the exit status. */
static int parse_options(int argc, char **argv, struct options *o) {
        static const struct option names[] = {
                {"bus", required_argument, NULL, BUS},
                {"id", required_argument, NULL, ID},
                {"module-dir", required_argument, NULL, MODULE_DIR},
                {"user", required_argument, NULL, USER},
                {"hide", required_argument, NULL, HIDE},
                {"state-dir", required_argument, NULL, STATE_DIR},
                {"channel", required_argument, NULL, CHANNEL},
                {"log-level", required_argument, NULL, LOG_LEVEL},
                {"help", no_argument, NULL, HELP},
                {"version", no_argument, NULL, VERSION},
                {0},
        };
        bool ok = true;
        int c;

        while (ok && (c = getopt_long(argc, argv, "", names, NULL)) >= 0) {
                switch (c) {
                case BUS:
                        o->bus = optarg;
                        break;
                case ID:
                        o->id = optarg;
                        ok = name_is_id(optarg);
                        break;
                case MODULE_DIR:
                        o->module_dir = optarg;
                        break;
                case USER:
                        o->user = optarg;
                        break;
                case HIDE:
                        g_ptr_array_add(o->hide, optarg);
                        break;
                case STATE_DIR:
                        o->state_dir = optarg;
                        break;
                case CHANNEL:
                        ok = parse_number(optarg, 3, 1 << 20, &o->channel);
                        break;
                case LOG_LEVEL:
                        ok = parse_number(optarg, LOG_ERR, LOG_DEBUG, &o->log_level);
                        break;
                case HELP:
                        print_help();
                        return EXIT_SUCCESS;
                case VERSION:
                        puts("cloudsync-engine-host " CLOUDSYNC_VERSION);
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
                if (!ok)
                        fprintf(stderr, "cloudsync-engine-host: --%s: '%s' will not do\n",
                                names[c - 1].name, optarg);
        }
        if (ok && (optind < argc || (!o->id && o->channel < 0))) {
                fprintf(stderr, "cloudsync-engine-host: --id is needed, and no other argument; "
                                "see --help\n");
                ok = false;
        }
        g_ptr_array_add(o->hide, NULL);
        return ok ? -1 : EXIT_USAGE;
}

int main(int argc, char **argv) {
        struct options o = {.bus = "system", .module_dir = CLOUDSYNC_MODULE_DIR,
                            .hide = g_ptr_array_new(), .channel = -1, .log_level = LOG_INFO};
        struct sandbox sandbox = {.parent = getppid()};
        uid_t owner = geteuid();
        int r;

        r = parse_options(argc, argv, &o);
        if (r >= 0)
                return r;
        log_open("cloudsync-engine-host", o.log_level);
        sandbox.user = o.user;
        sandbox.hide = (const char *const *)o.hide->pdata;
        sandbox.state_dir = o.state_dir;
        sandbox.channel = o.channel;

        if (sandbox_early(&sandbox) < 0)
                return EXIT_SANDBOX;
        if (o.channel < 0) {
                o.channel = attach_engine(o.bus, o.id);
                if (o.channel < 0)
                        return EXIT_FAILURE;
        } else if (fcntl(o.channel, F_SETFD, FD_CLOEXEC) < 0) {
                log_error("--channel %d: %s", o.channel, strerror(errno));
                return EXIT_USAGE;
        }
        if (sandbox_mounts(&sandbox) < 0 || sandbox_privileges(&sandbox) < 0 ||
            sandbox_syscalls() < 0)
                return EXIT_SANDBOX;
        r = session_run(o.channel, o.module_dir, owner);
        /* Not exit(): an engine's thread may still run, and must not meet the
         * destructors of what it uses. */
        _exit(r);
}
