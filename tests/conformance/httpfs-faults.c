/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Fetches from a server that does one thing wrong (tests/servers/faulty.py). */

#include "httpfs-tests.h"

#include <errno.h>
#include <string.h>

#define SIZE 200000u
#define MTIME 1700000001

/* What faulty.py serves. */
static const guint8 *content(void) {
        static guint8 *data;

        if (data != NULL)
                return data;
        data = g_malloc(SIZE + 32);
        for (guint i = 0; i <= SIZE / 32; i++) {
                g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
                g_autofree char *text = g_strdup_printf("%u", i);
                gsize length = 32;

                g_checksum_update(sum, (const guchar *)text, -1);
                g_checksum_get_digest(sum, data + 32 * i, &length);
        }
        return data;
}

static void check_bytes(struct cs_request *request, uint64_t offset) {
        g_assert_cmpuint(request->bytes->len, ==, request->n_bytes);
        g_assert_cmpmem(request->bytes->data, request->bytes->len, content() + offset,
                        request->bytes->len);
}

struct fault {
        const char *locator;
        const char *version; /* of the fetch */
        uint64_t offset, length;
        int result;
        uint64_t at_least, at_most; /* bytes delivered */
        uint32_t retry_low, retry_high;
        const char *detail; /* in the detail, or NULL */
};

#define V "\"v1\""
#define ALL 0, SIZE
#define PART 70001, 50000
#define NOTHING 0, 0
#define WHOLE SIZE, SIZE
#define PARTIAL 50000, 50000

static const struct fault faults[] = {
        {"ok/f", V, ALL, 0, WHOLE},
        {"ok/f", V, PART, 0, PARTIAL},
        {"ok/f", V, SIZE - 1, 1, 0, 1, 1},
        {"ok/f", NULL, PART, 0, PARTIAL},
        {"noetag/f", NULL, PART, 0, PARTIAL},
        {"weak/f", NULL, PART, 0, PARTIAL},
        {"novalidators/f", NULL, PART, 0, PARTIAL},
        {"noranges/f", V, ALL, 0, WHOLE},
        {"noranges/f", V, PART, 0, PARTIAL},
        {"noranges/f", NULL, PART, 0, PARTIAL},
        {"chunked/f", V, PART, 0, PARTIAL},
        {"chunked/f", V, ALL, 0, WHOLE},
        {"interim/f", V, PART, 0, PARTIAL},
        {"dribble/f", V, PART, 0, PARTIAL},
        {"relative/f", V, PART, 0, PARTIAL},
        {"away/f", V, PART, 0, PARTIAL},
        {"hops/5", V, PART, 0, PARTIAL},
        {"startotal/f", V, PART, 0, PARTIAL},
        /* Another version */
        {"newetag/f", V, PART, -ESTALE, NOTHING, 0, 0, "another ETag"},
        {"newetag/f", V, ALL, -ESTALE, NOTHING},
        {"newetag206/f", V, PART, -ESTALE, NOTHING, 0, 0, "another ETag"},
        {"weak/f", V, PART, -ESTALE, NOTHING},
        {"newmtime/f", NULL, PART, -ESTALE, NOTHING, 0, 0, "another Last-Modified"},
        {"newsize/f", NULL, PART, -ESTALE, NOTHING, 0, 0, "another size"},
        {"wrongtotal-noetag/f", NULL, PART, -ESTALE, NOTHING},
        {"othersize416/f", V, PART, -ESTALE, NOTHING, 0, 0, "416"},
        {"412/f", V, PART, -ESTALE, NOTHING},
        /* Nonsense */
        {"noetag206/f", V, PART, -EPROTO, NOTHING, 0, 0, "no ETag"},
        {"wrongrange/f", V, PART, -EPROTO, NOTHING, 0, 0, "another range"},
        {"wrongtotal/f", V, PART, -EPROTO, NOTHING, 0, 0, "another size"},
        {"startotal/f", NULL, PART, -EPROTO, NOTHING},
        {"norange206/f", V, PART, -EPROTO, NOTHING, 0, 0, "Content-Range"},
        {"multipart/f", V, PART, -EPROTO, NOTHING},
        {"samesize416/f", V, PART, -EPROTO, NOTHING, 0, 0, "HTTP 416"},
        {"gzip/f", V, PART, -EPROTO, NOTHING, 0, 0, "encoded"},
        {"longchunked/f", V, PART, -EPROTO, 0, 50000},
        {"endless/f", V, ALL, -EPROTO, 0, SIZE},
        {"endlessheaders/f", V, PART, -EPROTO, NOTHING, 0, 0, "headers"},
        {"longheader/f", V, PART, -EPROTO, NOTHING, 0, 0, "too long"},
        {"garbage/f", V, PART, -EPROTO, NOTHING},
        {"204/f", V, PART, -EPROTO, NOTHING},
        {"304/f", V, PART, -EPROTO, NOTHING},
        {"400/f", V, PART, -EPROTO, NOTHING, 0, 0, "HTTP 400 for GET http://127.0.0.1"},
        {"loop/f", V, PART, -EPROTO, NOTHING, 0, 0, "too many redirects"},
        {"hops/6", V, PART, -EPROTO, NOTHING},
        {"tofile/f", V, PART, -EPROTO, NOTHING, 0, 0, "redirect"},
        {"toftp/f", V, PART, -EPROTO, NOTHING},
        {"nolocation/f", V, PART, -EPROTO, NOTHING},
        /* Gone, closed, busy */
        {"404/f", V, PART, -ENOENT, NOTHING, 0, 0, "HTTP 404"},
        {"404big/f", V, PART, -ENOENT, NOTHING},
        {"410/f", V, PART, -ENOENT, NOTHING},
        {"401/f", V, PART, -EACCES, NOTHING},
        {"403/f", V, PART, -EACCES, NOTHING},
        {"407/f", V, PART, -EACCES, NOTHING},
        {"408/f", V, PART, -EAGAIN, NOTHING},
        {"429/f", V, PART, -EAGAIN, NOTHING, 7000, 7000},
        {"500/f", V, PART, -EAGAIN, NOTHING},
        {"502/f", V, PART, -EAGAIN, NOTHING},
        {"503/f", V, PART, -EAGAIN, NOTHING, 3000, 3000, "(Retry-After 3 s)"},
        {"503date/f", V, PART, -EAGAIN, NOTHING, 35000, 40000},
        {"503huge/f", V, PART, -EAGAIN, NOTHING, 3600000, 3600000},
        {"504/f", V, PART, -EAGAIN, NOTHING},
        /* The network */
        {"reset/f", V, PART, -ECONNRESET, 0, 49999},
        {"short/f", V, PART, -ECONNRESET, 25000, 25000},
        {"short/f", NULL, ALL, -ECONNRESET, 100000, 100000},
        {"emptyreply/f", V, PART, -ECONNRESET, NOTHING},
        {"stall/f", V, PART, -ETIMEDOUT, 1000, 1000, 0, 0, "nothing came for 1.0 s"},
        /* The length says where it ends; what follows spoils the connection, so it comes last. */
        {"long/f", V, PART, 0, PARTIAL},
        /* What the engine never said: nothing is sent */
        {"../f", V, PART, -EINVAL, NOTHING},
        {"a//f", V, PART, -EINVAL, NOTHING},
        {"", V, PART, -EINVAL, NOTHING},
        {"ok/f", "W/\"v1\"", PART, -EINVAL, NOTHING},
        {"ok/f", "x\r\nEvil: 1", PART, -EINVAL, NOTHING},
        {"ok/f", V, SIZE, 1, -EINVAL, NOTHING},
        {"ok/f", V, 0, SIZE + 1, -EINVAL, NOTHING},
        {"ok/f", V, 0, 0, -EINVAL, NOTHING},
};

static struct cs_fetch fetch_of(const char *locator, const char *version, uint64_t offset,
                                uint64_t length) {
        return (struct cs_fetch){.locator = locator, .version = version, .size = SIZE,
                                 .mtime_sec = MTIME, .offset = offset, .length = length};
}

static void test_faults(void) {
        g_autofree char *url = faulty_url("");
        const char *settings[] = {"url", url, "stall_timeout", "1", NULL};
        auto_fake struct fake *fake = open_fs(settings);

        for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
                const struct fault *f = &faults[i];
                struct cs_fetch fetch = fetch_of(f->locator, f->version, f->offset, f->length);
                auto_request struct cs_request *request = NULL;

                g_test_message("%s %s %" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT, f->locator,
                               f->version ? f->version : "-", f->offset, f->length);
                request = fake_fetch(fake, &fetch);
                g_assert_cmpint(request->result, ==, f->result);
                g_assert_cmpuint(request->n_bytes, >=, f->at_least);
                g_assert_cmpuint(request->n_bytes, <=, f->at_most);
                g_assert_cmpuint(request->retry_after_ms, >=, f->retry_low);
                g_assert_cmpuint(request->retry_after_ms, <=, f->retry_high);
                if (f->detail != NULL) {
                        g_assert_nonnull(request->detail);
                        g_assert_nonnull(strstr(request->detail, f->detail));
                }
                /* What was delivered before an error is right all the same, but for the
                 * server that sends other bytes under the right name. */
                if (!g_str_has_prefix(f->locator, "endless/"))
                        check_bytes(request, f->offset);
        }
        g_assert_true(fake_logged(fake, "ignores ranges"));
}

/* What the dispatcher does: ask for the rest until all is there. */
static void test_resume(void) {
        g_autofree char *url = faulty_url("");
        const char *settings[] = {"url", url, NULL};
        auto_fake struct fake *fake = open_fs(settings);
        uint64_t at = 0;
        unsigned tries = 0;

        while (at < SIZE) {
                struct cs_fetch fetch = fetch_of("resumes/f", V, at, SIZE - at);
                auto_request struct cs_request *request = fake_fetch(fake, &fetch);

                g_assert_cmpuint(++tries, <=, 20);
                check_bytes(request, at);
                at += request->n_bytes;
                g_assert_cmpint(request->result, ==, at < SIZE ? -ECONNRESET : 0);
        }
        g_assert_cmpuint(tries, >, 1);
}

/* Credentials go to the server they are for, and stay there. */
static void test_credentials(void) {
        g_autofree char *url = faulty_url("");
        g_autofree char *netrc = g_build_filename(context.base, "netrc", NULL);
        const char *basic[] = {"url", url, "username", "u", "password", "secret", NULL};
        const char *bearer[] = {"url", url, "bearer", "secret", NULL};
        const char *file[] = {"url", url, "netrc", netrc, NULL};
        const char *const *all[] = {basic, bearer, file};

        g_assert_true(g_file_set_contents(
                netrc, "machine other.example login a password b\n"
                       "machine 127.0.0.1 login u password secret\n", -1, NULL));
        for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
                auto_fake struct fake *fake = open_fs(all[i]);
                struct cs_fetch direct = fetch_of("auth/f", V, PART);
                struct cs_fetch away = fetch_of(i == 0 ? "away-user/f" : "away/f", V, PART);
                auto_request struct cs_request *first = fake_fetch(fake, &direct);
                auto_request struct cs_request *second = fake_fetch(fake, &away);
                g_autofree char *here = server_ask(context.faulty, ".seen");
                g_autofree char *there = server_ask(context.other, ".seen");

                g_assert_cmpint(first->result, ==, 0);
                g_assert_cmpint(second->result, ==, 0);
                g_assert_nonnull(strstr(here, "/auth/f"));
                g_assert_nonnull(strstr(here, "/away"));
                g_assert_nonnull(strstr(there, "\"authorization\": []"));
                g_assert_true(fake_logged(fake, "unencrypted"));
                g_assert_false(fake_logged(fake, "secret"));
        }
}

/* Through a proxy, for a host that only the proxy could know. */
static void test_proxy(void) {
        g_autofree char *proxy = faulty_url("");
        const char *settings[] = {"url", "http://host.invalid/", "proxy", proxy, "bearer", "t", NULL};
        auto_fake struct fake *fake = open_fs(settings);
        struct cs_fetch fetch = fetch_of("auth/f", V, PART);
        auto_request struct cs_request *request = fake_fetch(fake, &fetch);

        g_assert_cmpint(request->result, ==, 0);
        check_bytes(request, fetch.offset);
}

static void test_no_server(void) {
        struct {
                const char *url;
                int result;
        } cases[] = {
                {"http://127.0.0.1:1/", -ENETUNREACH},
                {"http://does-not-exist.invalid/", -ENETUNREACH},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                const char *settings[] = {"url", cases[i].url, "connect_timeout", "5", NULL};
                auto_fake struct fake *fake = open_fs(settings);
                struct cs_fetch fetch = fetch_of("f", V, PART);
                auto_request struct cs_request *a = fake_fetch(fake, &fetch);
                auto_request struct cs_request *b = fake_list(fake, "");
                auto_request struct cs_request *c = fake_stat(fake, "f");

                g_assert_cmpint(a->result, ==, cases[i].result);
                g_assert_cmpint(b->result, ==, cases[i].result);
                g_assert_cmpint(c->result, ==, cases[i].result);
                g_assert_nonnull(a->detail);
        }
}

/* Cancelled from another thread, at any moment, many at once: each is done soon, and none
 * after its end. */
static void test_cancel(void) {
        g_autofree char *url = faulty_url("");
        const char *settings[] = {"url", url, "max_connections", "4", "listing", "html", NULL};
        auto_fake struct fake *fake = open_fs(settings);
        struct cs_request *requests[40];
        gint64 begin = g_get_monotonic_time();

        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
                struct cs_fetch fetch = fetch_of("stall/f", V, PART);

                requests[i] = request_new(fake);
                requests[i]->wanted = fetch.length;
                if (i % 4 == 3)
                        fake->ops->list(fake->instance, requests[i], "list/busy");
                else
                        fake->ops->fetch(fake->instance, requests[i], &fetch);
        }
        g_usleep(100000);
        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
                bool over;

                pthread_mutex_lock(&fake->lock);
                over = requests[i]->is_done;
                pthread_mutex_unlock(&fake->lock);
                if (over)
                        continue;
                g_atomic_int_set(&requests[i]->is_cancelled, 1);
                fake->ops->cancel(fake->instance, requests[i]);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
                request_wait(requests[i]);
                if (i % 4 != 3)
                        g_assert_cmpint(requests[i]->result, ==, -ECANCELED);
        }
        g_assert_cmpint(g_get_monotonic_time() - begin, <, 10 * G_USEC_PER_SEC);
        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++)
                request_free(requests[i]);
}

/* A host that wants no more says so in write(). */
static void test_cancel_in_write(void) {
        g_autofree char *url = faulty_url("");
        const char *settings[] = {"url", url, NULL};
        auto_fake struct fake *fake = open_fs(settings);
        struct cs_fetch fetch = fetch_of("endless/f", V, ALL);
        auto_request struct cs_request *request = request_new(fake);

        request->wanted = fetch.length;
        request->cancel_after = 1;
        fake->ops->fetch(fake->instance, request, &fetch);
        request_wait(request);
        g_assert_cmpint(request->result, ==, -ECANCELED);
}

/* A dispatcher slower than the stall timeout is no stalled server. */
static void test_backpressure(void) {
        g_autofree char *url = faulty_url("");
        const char *settings[] = {"url", url, "stall_timeout", "1", NULL};
        auto_fake struct fake *fake = open_fs(settings);
        struct cs_fetch fetch = fetch_of("ok/f", V, ALL);
        struct cs_request *requests[3];

        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
                requests[i] = request_new(fake);
                requests[i]->wanted = fetch.length;
                requests[i]->write_delay_us = 300000;
                fake->ops->fetch(fake->instance, requests[i], &fetch);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
                request_wait(requests[i]);
                g_assert_cmpint(requests[i]->result, ==, 0);
                check_bytes(requests[i], 0);
                request_free(requests[i]);
        }
}

void add_fault_tests(void) {
        g_test_add_func("/httpfs/fetch/faults", test_faults);
        g_test_add_func("/httpfs/fetch/resume", test_resume);
        g_test_add_func("/httpfs/fetch/credentials", test_credentials);
        g_test_add_func("/httpfs/fetch/proxy", test_proxy);
        g_test_add_func("/httpfs/fetch/no-server", test_no_server);
        g_test_add_func("/httpfs/fetch/cancel", test_cancel);
        g_test_add_func("/httpfs/fetch/cancel-in-write", test_cancel_in_write);
        g_test_add_func("/httpfs/fetch/backpressure", test_backpressure);
}
