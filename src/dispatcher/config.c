/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * config — see config.h
 *
 * Two tables say all there is: `options` for the command line, `keys` for the file. A
 * key that is in no table is an error, so is a value that does not parse; the
 * message names file, group and key. Paths are made absolute here, once: the
 * daemon may change its directory later.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>

#include <config.h> /* the build's, not the one beside this file */
#include "dispatcher/config.h"
#include "shared/channel.h"

#define FILE_MAX (256u * 1024)
#define DEADLINE_MAX_S 86400u
#define SHUTDOWN_LIMIT_MAX_S 3600u
#define HSMID_MAX 63u
#define READERS_MAX 256u
#define COMM_MAX 15u /* the kernel keeps as many bytes of a program's name */

/* Programs known to read a file from its beginning on and to ask nothing about holes. */
static const char *const builtin_readers[] = {
        "mpv",     "vlc",          "ffmpeg",         "ffplay",    "ffprobe", "totem",
        "mplayer", "gst-play-1.0", "gst-launch-1.0", "celluloid", "parole",
};

/* --- values --- */

static int parse_number(const char *s, uint64_t max, uint64_t *ret) {
        guint64 value;

        if (!g_ascii_string_to_unsigned(s, 10, 0, max, &value, NULL))
                return -EINVAL;
        *ret = value;
        return 0;
}

int config_parse_size(const char *s, uint64_t *ret) {
        static const char suffixes[] = "KMGT";
        size_t n = strlen(s);
        const char *suffix;
        g_autofree char *digits = NULL;
        uint64_t value;
        unsigned shift = 0;

        if (n == 0)
                return -EINVAL;
        suffix = strchr(suffixes, g_ascii_toupper(s[n - 1]));
        if (suffix) {
                shift = 10 * (unsigned)(suffix - suffixes + 1);
                n--;
        }
        digits = g_strndup(s, n);
        if (parse_number(digits, INT64_MAX >> shift, &value) < 0)
                return -EINVAL;
        *ret = value << shift;
        return 0;
}

int config_parse_level(const char *s, int *ret) {
        static const struct {
                const char *name;
                int level;
        } levels[] = {
                {"error", LOG_ERR}, {"warning", LOG_WARNING}, {"notice", LOG_NOTICE},
                {"info", LOG_INFO}, {"debug", LOG_DEBUG},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(levels); i++)
                if (strcmp(s, levels[i].name) == 0) {
                        *ret = levels[i].level;
                        return 0;
                }
        return -EINVAL;
}

/* Absolute, not the root, no empty, "." or ".." component; one trailing slash is
 * dropped. Symbolic links are the administrator's. */
static char *parse_path(const char *s) {
        g_autofree char *canonical = NULL;
        g_autofree char *trimmed = g_strdup(s);
        size_t n = strlen(trimmed);

        if (n > 1 && trimmed[n - 1] == '/')
                trimmed[n - 1] = '\0';
        if (trimmed[0] != '/' || trimmed[1] == '\0' || n >= 4096)
                return NULL;
        canonical = g_canonicalize_filename(trimmed, "/");
        return strcmp(canonical, trimmed) == 0 ? g_steal_pointer(&trimmed) : NULL;
}

static bool reader_has(GPtrArray *readers, const char *name, guint *ret_index) {
        return g_ptr_array_find_with_equal_func(readers, name, g_str_equal, ret_index);
}

/* The built-in names, those of `s` added, those of `s` with a '!' in front taken away. */
static char **parse_readers(const char *s) {
        g_auto(GStrv) items = g_strsplit_set(s, "; \t", -1);
        GPtrArray *readers = g_ptr_array_new_with_free_func(g_free);
        guint at;

        for (size_t i = 0; i < G_N_ELEMENTS(builtin_readers); i++)
                g_ptr_array_add(readers, g_strdup(builtin_readers[i]));
        for (char **item = items; *item; item++) {
                bool away = **item == '!';
                g_autofree char *name = g_strndup(*item + away, COMM_MAX);

                if (*name == '\0')
                        continue;
                if (strchr(name, '/') || readers->len >= READERS_MAX) {
                        g_ptr_array_unref(readers);
                        return NULL;
                }
                if (reader_has(readers, name, &at) == away) {
                        if (away)
                                g_ptr_array_remove_index(readers, at);
                        else
                                g_ptr_array_add(readers, g_steal_pointer(&name));
                }
        }
        g_ptr_array_add(readers, NULL);
        return (char **)g_ptr_array_free(readers, FALSE);
}

/* --- the file --- */

enum value_kind { VALUE_PATH, VALUE_TEXT, VALUE_SIZE, VALUE_UNSIGNED, VALUE_READERS };

static const struct key {
        const char *group, *name;
        enum value_kind kind;
        size_t offset;
        unsigned min, max; /* UNSIGNED; TEXT: bytes */
        const char *wanted;
} keys[] = {
        {"Store", "Path", VALUE_PATH, offsetof(Config, path), 0, 0,
         "an absolute path without “.” and “..”"},
        {"Store", "Device", VALUE_PATH, offsetof(Config, device), 0, 0,
         "an absolute path without “.” and “..”"},
        {"Store", "FileSystem", VALUE_TEXT, offsetof(Config, filesystem), 0, 31,
         "the name of a file system, such as ext4, xfs or btrfs"},
        {"Store", "HsmId", VALUE_TEXT, offsetof(Config, hsmid), 0, HSMID_MAX,
         "at most 63 letters, digits, “-” and “_”"},
        {"Store", "ShutdownLimit", VALUE_UNSIGNED, offsetof(Config, shutdown_limit_s), 0, SHUTDOWN_LIMIT_MAX_S,
         "seconds, 0 to 3600"},
        {"Hydration", "FullBelow", VALUE_SIZE, offsetof(Config, full_below), 0, 0,
         "bytes, or a number with K, M, G or T behind it"},
        {"Hydration", "Deadline", VALUE_UNSIGNED, offsetof(Config, deadline_s), 1, DEADLINE_MAX_S,
         "seconds, 1 to 86400"},
        {"Hydration", "MaxPending", VALUE_UNSIGNED, offsetof(Config, max_pending), 1, PENDING_MAX,
         "a number, 1 to 1000000"},
        {"Hydration", "MaxTransfers", VALUE_UNSIGNED, offsetof(Config, max_transfers), 1,
         CHANNEL_REQUESTS_MAX, "a number, 1 to " G_STRINGIFY(CONFIG_MAX_TRANSFERS_LIMIT)},
        {"Hydration", "SequentialReaders", VALUE_READERS, offsetof(Config, sequential_readers), 0,
         0, "names of programs, separated by “;”, at most 256"},
};
G_STATIC_ASSERT(CONFIG_MAX_TRANSFERS_LIMIT == CHANNEL_REQUESTS_MAX);

static bool is_plain_word(const char *s, unsigned min, unsigned max) {
        size_t n = 0;

        for (; s[n]; n++)
                if (n >= max || !(g_ascii_isalnum(s[n]) || strchr("-_.", s[n])))
                        return false;
        return n >= min;
}

static int set_text(char **member, char *value) {
        if (!value)
                return -EINVAL;
        g_free(*member);
        *member = value;
        return 0;
}

static int set_value(Config *config, const struct key *key, const char *value) {
        void *member = (char *)config + key->offset;
        uint64_t number;
        char **readers;

        switch (key->kind) {
        case VALUE_PATH:
                return set_text(member, parse_path(value));
        case VALUE_TEXT:
                if (!is_plain_word(value, key->min, key->max))
                        return -EINVAL;
                return set_text(member, g_strdup(value));
        case VALUE_SIZE:
                return config_parse_size(value, member);
        case VALUE_UNSIGNED:
                if (parse_number(value, key->max, &number) < 0 || number < key->min)
                        return -EINVAL;
                *(unsigned *)member = (unsigned)number;
                return 0;
        case VALUE_READERS:
                readers = parse_readers(value);
                if (!readers)
                        return -EINVAL;
                g_strfreev(*(char ***)member);
                *(char ***)member = readers;
                return 0;
        }
        return -EINVAL;
}

static const struct key *find_key(const char *group, const char *name) {
        for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
                if (strcmp(keys[i].group, group) == 0 && (!name || strcmp(keys[i].name, name) == 0))
                        return &keys[i];
        return NULL;
}

static int refuse(Failure *failure, const char *format, ...) G_GNUC_PRINTF(2, 3);

static int refuse(Failure *failure, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list args;

        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        return failure_set(failure, -EINVAL, "InvalidConfig", "%s", text);
}

static int read_group(Config *config, GKeyFile *file, const char *group, Failure *failure) {
        g_auto(GStrv) names = g_key_file_get_keys(file, group, NULL, NULL);

        for (char **name = names; name && *name; name++) {
                const struct key *key = find_key(group, *name);
                g_autofree char *value = NULL;
                g_autoptr(GError) error = NULL;

                if (!key)
                        return refuse(failure, "%s: [%s] has no key %s=", config->file, group,
                                      *name);
                value = g_key_file_get_string(file, group, *name, &error);
                if (value)
                        g_strstrip(value);
                if (error || !value || set_value(config, key, value) < 0)
                        return refuse(failure, "%s: [%s] %s=%s is not valid: it is %s",
                                      config->file, group, *name, value ?: "", key->wanted);
        }
        return 0;
}

static int read_file(Config *config, Failure *failure) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) groups = NULL;
        g_autofree char *text = NULL;
        gsize length;
        struct stat st;

        if (stat(config->file, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX))
                return refuse(failure, "%s: not a regular file of a sensible size", config->file);
        if (!g_file_get_contents(config->file, &text, &length, &error))
                return refuse(failure, "%s (see --config)", error->message);
        if (!g_key_file_load_from_data(file, text, length, G_KEY_FILE_NONE, &error))
                return refuse(failure, "%s: %s", config->file, error->message);
        groups = g_key_file_get_groups(file, NULL);
        for (char **group = groups; *group; group++) {
                int r;

                if (!find_key(*group, NULL))
                        return refuse(failure, "%s: unknown group [%s]", config->file, *group);
                r = read_group(config, file, *group, failure);
                if (r < 0)
                        return r;
        }
        if (!config->path)
                return refuse(failure,
                              "%s: [Store] Path= is missing: say where the store is to "
                              "appear",
                              config->file);
        return 0;
}

/* --- the command line --- */

#define DESCRIPTION                                                                                \
        "cloudsyncd shows remote trees as ordinary files and fetches their content when it is\n"   \
        "first read. It needs root and a kernel of 6.14 or newer. The bus is “system”,\n"      \
        "“session”, a D-Bus address, or “none”. For the configuration file see\n"          \
        "cloudsync.conf(5); for the command line tool see cloudsyncctl(1).\n"

typedef struct Arguments {
        char *file, *bus, *state_dir, *module_dir, *host_path, *engine_user, *log_level;
        gboolean help, version, check;
} Arguments;

static void arguments_clear(Arguments *a) {
        char *all[] = {a->file,      a->bus,         a->state_dir, a->module_dir,
                       a->host_path, a->engine_user, a->log_level};

        for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
                g_free(all[i]);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arguments, arguments_clear)

/* Parses a copy of argv; *ret_help is what --help prints. */
static int parse_arguments(char **argv, Arguments *a, char **ret_help, Failure *failure) {
        const GOptionEntry options[] = {
                {"config", 0, 0, G_OPTION_ARG_FILENAME, &a->file,
                 "The configuration; engines.d is beside it (" CLOUDSYNC_CONFIG_FILE ")", "FILE"},
                {"bus", 0, 0, G_OPTION_ARG_STRING, &a->bus,
                 "Where to be reached: system, session, none or an address (system)", "BUS"},
                {"state-dir", 0, 0, G_OPTION_ARG_FILENAME, &a->state_dir,
                 "The daemon's own files (" CLOUDSYNC_STATE_DIR ")", "DIR"},
                {"module-dir", 0, 0, G_OPTION_ARG_FILENAME, &a->module_dir,
                 "Where the engines' modules are (" CLOUDSYNC_MODULE_DIR ")", "DIR"},
                {"host-path", 0, 0, G_OPTION_ARG_FILENAME, &a->host_path,
                 "The engine host (" CLOUDSYNC_HOST_PATH ")", "FILE"},
                {"engine-user", 0, 0, G_OPTION_ARG_STRING, &a->engine_user,
                 "The user that engine hosts run as (" CLOUDSYNC_ENGINE_USER ")", "USER"},
                {"log-level", 0, 0, G_OPTION_ARG_STRING, &a->log_level,
                 "error, warning, notice, info or debug (info)", "LEVEL"},
                {"check", 0, 0, G_OPTION_ARG_NONE, &a->check,
                 "Only say whether the configuration can be read", NULL},
                {"help", 'h', 0, G_OPTION_ARG_NONE, &a->help, "Show this and end", NULL},
                {"version", 0, 0, G_OPTION_ARG_NONE, &a->version, "Show the version and end", NULL},
                {NULL},
        };
        g_autoptr(GOptionContext) context = g_option_context_new(NULL);
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) copy = g_strdupv(argv);

        g_option_context_set_help_enabled(context, FALSE); /* it would exit() */
        g_option_context_set_summary(context, DESCRIPTION);
        g_option_context_add_main_entries(context, options, NULL);
        if (!g_option_context_parse_strv(context, &copy, &error))
                return refuse(failure, "%s (see --help)", error->message);
        if (copy[0] && copy[1])
                return refuse(failure, "“%s” is not an option (see --help)", copy[1]);
        *ret_help = g_option_context_get_help(context, TRUE, NULL);
        return 0;
}

static int take_arguments(Config *config, const Arguments *a, Failure *failure) {
        g_autofree char *directory = NULL;

        config->log_level = LOG_INFO;
        if (a->log_level && config_parse_level(a->log_level, &config->log_level) < 0)
                return refuse(failure,
                              "--log-level is one of error, warning, notice, info and "
                              "debug, not “%s”",
                              a->log_level);
        config->file = g_canonicalize_filename(a->file ?: CLOUDSYNC_CONFIG_FILE, NULL);
        config->state_dir = g_canonicalize_filename(a->state_dir ?: CLOUDSYNC_STATE_DIR, NULL);
        config->module_dir = g_canonicalize_filename(a->module_dir ?: CLOUDSYNC_MODULE_DIR, NULL);
        config->host_path = g_canonicalize_filename(a->host_path ?: CLOUDSYNC_HOST_PATH, NULL);
        config->bus = g_strdup(a->bus ?: "system");
        config->engine_user = g_strdup(a->engine_user ?: CLOUDSYNC_ENGINE_USER);
        directory = g_path_get_dirname(config->file);
        config->engines_dir = g_build_filename(directory, "engines.d", NULL);
        return 0;
}

static void set_defaults(Config *config) {
        config->hsmid = g_strdup(CONFIG_HSMID);
        config->shutdown_limit_s = CONFIG_SHUTDOWN_LIMIT_S;
        config->full_below = CONFIG_FULL_BELOW;
        config->deadline_s = CONFIG_DEADLINE_S;
        config->max_pending = CONFIG_MAX_PENDING;
        config->max_transfers = CONFIG_MAX_TRANSFERS;
        config->sequential_readers = parse_readers("");
}

static void clear_if_empty(char **s) {
        if (*s && **s == '\0')
                g_clear_pointer(s, g_free);
}

/* Is it the store that a running daemon has attached? Another one takes a full stop. */
static int check_same_store(const Config *config, Failure *failure) {
        const char *attached = g_getenv(CONFIG_CHECK_STORE);
        g_autofree char *path = realpath(config->path, NULL);
        g_autofree char *store = g_strconcat(path ?: config->path, "\n", config->device ?: "", NULL);

        if (!attached || strcmp(attached, store) == 0)
                return 0;
        return refuse(failure, "%s: Path= or Device= is another one now, which takes a stop and a start",
                      config->file);
}

int config_load(int argc, char **argv, Config **ret, bool *ret_exit, Failure *failure) {
        g_autoptr(Config) config = g_new0(Config, 1);
        g_auto(Arguments) arguments = {0};
        g_autofree char *help = NULL;
        int r;

        *ret_exit = false;
        r = parse_arguments(argv, &arguments, &help, failure);
        if (r < 0)
                return r;
        if (arguments.help || arguments.version) {
                fputs(arguments.help ? help : "cloudsyncd " CLOUDSYNC_VERSION "\n", stdout);
                *ret_exit = true;
                return 0;
        }
        set_defaults(config);
        r = take_arguments(config, &arguments, failure);
        if (r < 0)
                return r;
        r = read_file(config, failure);
        if (r < 0)
                return r;
        clear_if_empty(&config->hsmid);
        clear_if_empty(&config->filesystem);
        if (arguments.check) {
                *ret_exit = true;
                return check_same_store(config, failure);
        }
        *ret = g_steal_pointer(&config);
        return 0;
}

void config_free(Config *config) {
        if (!config)
                return;
        g_free(config->file);
        g_free(config->bus);
        g_free(config->state_dir);
        g_free(config->module_dir);
        g_free(config->host_path);
        g_free(config->engine_user);
        g_free(config->path);
        g_free(config->device);
        g_free(config->filesystem);
        g_free(config->hsmid);
        g_strfreev(config->sequential_readers);
        g_free(config->engines_dir);
        g_free(config);
}
