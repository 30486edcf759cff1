/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * loader — see loader.h
 *
 * The checks guard against mistakes (a module of another version, a copied file with
 * a new name), not against malice: a module is code, and once dlopen() runs its
 * constructors it may do whatever the sandbox lets it do. That is why the sandbox
 * comes first, and why each refusal has its own sentence: it is read by whoever
 * wrote the module.
 */

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <glib.h>

#include "engine-host/loader.h"
#include "shared/module-file.h"

/* The size of the table in ABI 1, as first published; it may only have grown. */
#define OPS_SIZE_MIN (offsetof(struct cs_engine_ops, cancel) + sizeof(void (*)(void)))

static int refuse(char *reason, size_t size, int error, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

static int refuse(char *reason, size_t size, int error, const char *format, ...) {
        va_list args;

        va_start(args, format);
        (void)vsnprintf(reason, size, format, args);
        va_end(args);
        return error;
}

static const char *missing_operation(const struct cs_engine_ops *ops) {
        if (!ops->open)
                return "open";
        if (!ops->close)
                return "close";
        if (!ops->list)
                return "list";
        if (!ops->stat)
                return "stat";
        if (!ops->fetch)
                return "fetch";
        return NULL;
}

int loader_check(const struct cs_engine_ops *ops, const char *name, char *reason, size_t size) {
        const char *missing;

        if (!ops)
                return refuse(reason, size, -EINVAL, "the module's " CLOUDSYNC_ENGINE_SYMBOL
                                                     "() returned no table of operations");
        if (ops->abi != CLOUDSYNC_ENGINE_ABI)
                return refuse(reason, size, -EPROTO,
                              "the module was built for engine ABI %u, this host speaks %u",
                              ops->abi, CLOUDSYNC_ENGINE_ABI);
        if (ops->struct_size < OPS_SIZE_MIN)
                return refuse(reason, size, -EINVAL,
                              "the module's table of operations has %u bytes, at least %zu are "
                              "needed (struct_size)",
                              ops->struct_size, OPS_SIZE_MIN);
        if (!ops->name || strcmp(ops->name, name) != 0)
                return refuse(reason, size, -EINVAL,
                              "the module calls itself '%.64s', its file is called '%s'",
                              ops->name ? ops->name : "", name);
        missing = missing_operation(ops);
        if (missing)
                return refuse(reason, size, -EINVAL, "the module has no operation '%s'", missing);
        return 0;
}

int loader_open(const char *dir, const char *name, uid_t owner, const struct cs_engine_ops **ret,
                char *reason, size_t size) {
        g_autofree char *path = NULL;
        const struct cs_engine_ops *ops;
        const char *sentence = NULL;
        cloudsync_engine_fn entry;
        void *module;
        int r;

        r = module_file_check_owner(dir, name, owner, &path, &sentence);
        if (r < 0)
                return refuse(reason, size, r, "%s", sentence);
        module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!module)
                return refuse(reason, size, -ENOEXEC, "the module cannot be loaded: %s", dlerror());
        /* POSIX wants a function pointer to survive the way through void *. */
        *(void **)&entry = dlsym(module, CLOUDSYNC_ENGINE_SYMBOL);
        if (!entry)
                return refuse(reason, size, -ENOEXEC,
                              "the module has no symbol '" CLOUDSYNC_ENGINE_SYMBOL
                              "': it is not an engine");
        ops = entry();
        r = loader_check(ops, name, reason, size);
        if (r == 0)
                *ret = ops;
        return r;
}
