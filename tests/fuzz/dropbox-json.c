/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any bytes as what Dropbox may say: every answer that the dropbox module parses. What is accepted
 * is in bounds, and every error has a sentence without control characters. */

#include <errno.h>
#include <string.h>

#include <glib.h>

#include "fuzz.h"
#include "plugins/dropbox/api-error.h"
#include "plugins/dropbox/api-json.h"

static void check_metadata(const struct api_metadata *m) {
        if (m->kind == API_UNKNOWN)
                return;
        FUZZ_CHECK(*m->name && !strchr(m->name, '/'));
        FUZZ_CHECK(!m->path_lower || *m->path_lower == '/');
        if (m->kind != API_FILE)
                return;
        FUZZ_CHECK(g_str_has_prefix(m->id, "id:") && strlen(m->id) <= API_ID_MAX && !strchr(m->id, '/'));
        FUZZ_CHECK(strlen(m->rev) >= 9 && strlen(m->rev) <= API_REV_MAX);
        FUZZ_CHECK(m->size < INT64_MAX);
}

static void fuzz_page(const char *text, size_t size) {
        struct api_metadata m;
        struct api_page page;

        if (api_page_parse(text, size, &page) < 0)
                return;
        FUZZ_CHECK(*page.cursor);
        for (size_t i = 0; i < page.n; i++)
                if (api_page_entry(&page, i, &m) == 0)
                        check_metadata(&m);
        api_page_clear(&page);
}

static void fuzz_header(json_object *o) {
        g_autofree char *text = api_header_text(o);

        for (const char *p = text; *p; p++)
                FUZZ_CHECK(*p >= 0x20 && *p < 0x7f);
}

static void check_fault(const struct api_fault *fault) {
        FUZZ_CHECK(fault->error < 0 && *fault->sentence);
        for (const char *p = fault->sentence; *p; p++)
                FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
        FUZZ_CHECK(g_utf8_validate(fault->sentence, -1, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const int statuses[] = {304, 400, 401, 403, 409, 422, 429, 500, 503};
        const char *text = (const char *)data;
        json_object auto_json *o = api_parse(text, size);
        struct api_export export;
        struct api_metadata m;
        struct api_fault fault;
        struct api_token token;
        char *namespace = NULL;
        uint32_t backoff;
        bool changes;

        fuzz_page(text, size);
        if (o != NULL) {
                if (api_metadata(o, &m) == 0)
                        check_metadata(&m);
                fuzz_header(o);
        }
        if (api_longpoll_parse(text, size, &changes, &backoff) == 0)
                FUZZ_CHECK(backoff <= 3600);
        if (api_token_parse(text, size, &token) == 0) {
                FUZZ_CHECK(!strpbrk(token.access_token, "\r\n "));
                api_token_clear(&token);
        }
        (void)api_export_parse(text, size, &export);
        if (api_account_root_parse(text, size, &namespace) == 0)
                g_free(namespace);
        for (size_t i = 0; i < G_N_ELEMENTS(statuses); i++) {
                api_fault_judge(statuses[i], text, size, 0, &fault);
                check_fault(&fault);
                api_fault_judge_token(statuses[i], text, size, 0, &fault);
                check_fault(&fault);
        }
        return 0;
}
