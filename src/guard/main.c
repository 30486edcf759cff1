/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cloudsync-guard — loads the guard (guard.h) into the kernel, tells of it, takes it away
 *
 * Root's. Nothing runs after `load` has returned.
 */

#include "guard/pins.h"
#include "guard/stores.h"

#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
        "cloudsync-guard COMMAND\n"
        "\n"
        "  load      load the guard, or replace the one that is loaded\n"
        "  status    is it loaded, and which stores does it guard? (exit status 3: it is not)\n"
        "  check     can this kernel have it? (exit status 1: no)\n"
        "  unload    take it away: while cloudsyncd does not run, files that are not here read as zeros\n"
        "  --help, --version\n";

static int possible(void) {
        char why[512];
        int r = pins_possible(why, sizeof why);
        if (r < 0)
                fprintf(stderr, "cloudsync-guard: not possible: %s\n", why);
        return r;
}

static int load(void) {
        bool partly;

        if (possible() < 0 || pins_load(&partly) < 0)
                return 1;
        stores_visit(NULL, NULL);
        if (partly)
                fprintf(stderr, "cloudsync-guard: loaded without the program that ends reads which "
                                "wait while cloudsyncd is killed; this kernel cannot have it\n");
        return 0;
}

static void print_store(void *userdata, const char *path, enum store_guarded guarded) {
        static const char *const words[] = {
                [STORE_UNGUARDED] = "not guarded",
                [STORE_CLOSED] = "guarded; cloudsyncd does not serve it, what is not here is refused",
                [STORE_SERVED] = "guarded; served by cloudsyncd",
        };
        printf("%s: %s\n", path, words[guarded]);
}

static int status(void) {
        int n = pins_count();
        if (n < 0) {
                fprintf(stderr, "cloudsync-guard: %s\n", strerror(-n));
                return 1;
        }
        printf(n > 0 ? "loaded: %d programs\n" : "not loaded\n", n);
        stores_visit(print_store, NULL);
        return n > 0 ? 0 : 3;
}

static int unload(void) {
        int r = pins_unload();
        if (r < 0)
                fprintf(stderr, "cloudsync-guard: %s\n", strerror(-r));
        return r < 0 ? 1 : 0;
}

int main(int argc, char **argv) {
        const char *command = argc == 2 ? argv[1] : "";

        if (strcmp(command, "--help") == 0)
                return fputs(usage, stdout) < 0;
        if (strcmp(command, "--version") == 0)
                return puts("cloudsync-guard " CLOUDSYNC_VERSION) < 0;
        if (strcmp(command, "check") == 0)
                return possible() < 0;
        if (strcmp(command, "load") == 0)
                return load();
        if (strcmp(command, "status") == 0)
                return status();
        if (strcmp(command, "unload") == 0)
                return unload();
        fputs(usage, stderr);
        return 2;
}
