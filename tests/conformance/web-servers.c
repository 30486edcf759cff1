/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "web-servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int free_port(void) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof address;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
        g_assert_cmpint(getsockname(fd, (struct sockaddr *)&address, &length), ==, 0);
        close(fd);
        return ntohs(address.sin_port);
}

static bool port_answers(int port) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                      .sin_port = htons((uint16_t)port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool ok = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;

        close(fd);
        return ok;
}

static void die_with_parent(gpointer data) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
}

static struct server *server_new(const char *base, const char *name) {
        struct server *server = g_new0(struct server, 1);

        server->name = name;
        server->port = free_port();
        server->directory = g_strdup_printf("%s/%s-%d", base, name, server->port);
        g_assert_cmpint(g_mkdir(server->directory, 0755), ==, 0);
        return server;
}

static void write_config(struct server *server, const char *text) {
        g_autofree char *file = g_build_filename(server->directory, "conf", NULL);

        g_assert_true(g_file_set_contents(file, text, -1, NULL));
}

/* Debian keeps servers in sbin, which is not in everybody's PATH. */
static char *find_program(const char *name) {
        char *path = g_find_program_in_path(name);

        if (path == NULL) {
                path = g_build_filename("/usr/sbin", name, NULL);
                if (access(path, X_OK) < 0)
                        g_clear_pointer(&path, g_free);
        }
        return path;
}

/* Starts argv (argv[0] is looked up) and waits until the port answers. */
static void server_spawn(struct server *server, char **argv) {
        g_autofree char *program = find_program(argv[0]);
        g_autoptr(GError) error = NULL;

        if (program == NULL) {
                server->why_not = g_strdup_printf("%s is not installed", argv[0]);
                return;
        }
        argv[0] = program;
        if (!g_spawn_async(server->directory, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                           die_with_parent, NULL, &server->pid, &error)) {
                server->why_not = g_strdup(error->message);
                return;
        }
        for (int i = 0; i < 500; i++) {
                if (port_answers(server->port))
                        return;
                if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
                        server->pid = 0;
                        break;
                }
                g_usleep(20000);
        }
        server_stop(server);
        server->why_not = g_strdup_printf("%s did not start", server->name);
}

void server_stop(struct server *server) {
        if (server->pid == 0)
                return;
        kill(server->pid, SIGTERM);
        for (int i = 0; i < 250 && waitpid(server->pid, NULL, WNOHANG) == 0; i++)
                g_usleep(20000);
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
        server->pid = 0;
}

void server_free(struct server *server) {
        server_stop(server);
        g_free(server->directory);
        g_free(server->why_not);
        g_free(server);
}

char *server_url(const struct server *server, const char *scheme, const char *path) {
        return g_strdup_printf("%s://127.0.0.1:%d/%s", scheme, server->port, path);
}

struct server *server_nginx(const char *base, const char *tree, enum nginx_kind kind,
                            const char *extra) {
        struct server *server = server_new(base, "nginx");
        const char *d = server->directory;
        g_autofree char *tls = g_strdup_printf("ssl_certificate %s/cert.pem;\n"
                                               "ssl_certificate_key %s/key.pem;\n",
                                               base, base);
        g_autofree char *config = g_strdup_printf(
                "daemon off; master_process off; pid %s/pid; error_log %s/error.log;\n"
                "events { worker_connections 512; }\n"
                "http {\n"
                "log_format test '$server_protocol $status $request';\n"
                "access_log %s/access.log test;\n"
                "client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f;\n"
                "uwsgi_temp_path %s/u; scgi_temp_path %s/s;\n"
                "server { listen 127.0.0.1:%d%s; root \"%s\"; charset utf-8; default_type text/plain;\n"
                "keepalive_requests 100000;\n%s"
                "autoindex on; autoindex_format %s; index none;\n%s } }\n",
                d, d, d, d, d, d, d, d, server->port, kind == NGINX_TLS ? " ssl http2" : "", tree,
                kind == NGINX_TLS ? tls : "", kind == NGINX_JSON ? "json" : "html",
                extra ? extra : "");
        g_autofree char *conf = g_build_filename(d, "conf", NULL);
        char *argv[] = {(char *)"nginx", (char *)"-p", server->directory, (char *)"-e",
                        (char *)"error.log", (char *)"-c", conf, NULL};

        write_config(server, config);
        server_spawn(server, argv);
        return server;
}

struct server *server_lighttpd(const char *base, const char *tree, bool webdav) {
        struct server *server = server_new(base, "lighttpd");
        g_autofree char *config = g_strdup_printf(
                "server.document-root = \"%s\"\nserver.bind = \"127.0.0.1\"\nserver.port = %d\n"
                "server.errorlog = \"%s/error.log\"\nmimetype.assign = ( \"\" => \"text/plain\" )\n"
                "dir-listing.activate = \"enable\"\n"
                /* It would give out new bytes under the old ETag for a second. */
                "server.stat-cache-engine = \"disable\"\n"
                "server.modules += ( \"mod_dirlisting\"%s )\n%s",
                tree, server->port, server->directory, webdav ? ", \"mod_webdav\"" : "",
                webdav ? "webdav.activate = \"enable\"\nwebdav.is-readonly = \"enable\"\n" : "");
        g_autofree char *conf = g_build_filename(server->directory, "conf", NULL);
        char *argv[] = {(char *)"lighttpd", (char *)"-D", (char *)"-f", conf, NULL};

        write_config(server, config);
        server_spawn(server, argv);
        return server;
}

struct server *server_apache(const char *base, const char *tree, bool webdav) {
        static const char *const modules[] = {"mpm_event", "authz_core", "autoindex", "dir", "mime",
                                              "dav", "dav_fs"};
        struct server *server = server_new(base, "apache2");
        g_autoptr(GString) config = g_string_new(NULL);
        g_autofree char *conf = g_build_filename(server->directory, "conf", NULL);
        char *argv[] = {(char *)"apache2", (char *)"-DFOREGROUND", (char *)"-f", conf, NULL};

        g_string_append_printf(config,
                               "ServerRoot \"%s\"\nServerName 127.0.0.1\nListen 127.0.0.1:%d\n"
                               "PidFile \"%s/pid\"\nErrorLog \"%s/error.log\"\nUseCanonicalName Off\n"
                               "Mutex file:%s\n",
                               server->directory, server->port, server->directory,
                               server->directory, server->directory);
        for (size_t i = 0; i < G_N_ELEMENTS(modules); i++)
                g_string_append_printf(config,
                                       "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n",
                                       modules[i], modules[i]);
        if (geteuid() == 0)
                g_string_append(config, "User www-data\nGroup www-data\n");
        g_string_append_printf(
                config,
                "TypesConfig /dev/null\nDirectoryIndex disabled\nDocumentRoot \"%s\"\nMaxKeepAliveRequests 0\n"
                "%s<Directory \"%s\">\nOptions Indexes\nRequire all granted\n"
                "IndexOptions FancyIndexing\n%s</Directory>\n",
                tree, webdav ? "DavLockDB \"/nonexistent/lock\"\n" : "", tree,
                webdav ? "Dav On\n" : "");
        write_config(server, config->str);
        server_spawn(server, argv);
        return server;
}

struct server *server_python(const char *base, const char *script, const char *const *arguments) {
        struct server *server = server_new(base, "python3");
        g_autofree char *port = g_strdup_printf("%d", server->port);
        g_autoptr(GPtrArray) argv = g_ptr_array_new();

        g_ptr_array_add(argv, (gpointer) "python3");
        g_ptr_array_add(argv, (gpointer)script);
        g_ptr_array_add(argv, port);
        for (; arguments && *arguments; arguments++)
                g_ptr_array_add(argv, (gpointer)*arguments);
        g_ptr_array_add(argv, NULL);
        server_spawn(server, (char **)argv->pdata);
        return server;
}

static bool run(const char *directory, const char *command) {
        const char *argv[] = {"sh", "-c", command, NULL};
        int status;

        return g_spawn_sync(directory, (char **)argv, NULL,
                            G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
                                    G_SPAWN_STDERR_TO_DEV_NULL,
                            NULL, NULL, NULL, NULL, &status, NULL) &&
               g_spawn_check_wait_status(status, NULL);
}

bool make_certificates(const char *base) {
        return run(base,
                   "set -e\n"
                   "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                   "-keyout ca-key.pem -out ca.pem -days 2 -subj '/CN=cloudsync test CA'\n"
                   "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                   "-keyout key.pem -out request.pem -subj '/CN=127.0.0.1'\n"
                   "echo 'subjectAltName=IP:127.0.0.1' > extensions\n"
                   "openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial "
                   "-days 2 -extfile extensions -out cert.pem\n"
                   "chmod 644 key.pem\n");
}
