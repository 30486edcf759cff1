/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * http-error — the two tables that turn HTTP statuses and libcurl's codes into
 * the errno values of cloudsync/engine.h
 *
 * What is not in a table: statuses become -EPROTO, codes -EIO.
 */

#include "plugins/common/http-error.h"

#include <errno.h>
#include <glib.h>

#include "plugins/common/http.h"

static const struct {
        int status, error;
} statuses[] = {
        {304, 0}, /* the answer to If-None-Match, which only a caller that sent it gets */
        {401, -EACCES},
        {403, -EACCES},
        {404, -ENOENT},
        {405, -EOPNOTSUPP},
        {407, -EACCES},
        {408, -EAGAIN},
        {410, -ENOENT},
        {412, -ESTALE},
        {425, -EAGAIN},
        {429, -EAGAIN},
        {451, -EACCES},
        {500, -EAGAIN},
        {501, -EOPNOTSUPP},
        {502, -EAGAIN},
        {503, -EAGAIN},
        {504, -EAGAIN},
        {507, -EAGAIN},
};

int http_status_error(int status) {
        if (status >= 200 && status < 300)
                return 0;
        for (size_t i = 0; i < G_N_ELEMENTS(statuses); i++)
                if (statuses[i].status == status)
                        return statuses[i].error;
        return -EPROTO;
}

static const struct {
        CURLcode code;
        int error;
} codes[] = {
        {CURLE_OK, 0},
        {CURLE_ABORTED_BY_CALLBACK, -ECANCELED},
        {CURLE_URL_MALFORMAT, -EINVAL},
        /* The network */
        {CURLE_COULDNT_RESOLVE_HOST, -ENETUNREACH},
        {CURLE_COULDNT_RESOLVE_PROXY, -ENETUNREACH},
        {CURLE_COULDNT_CONNECT, -ENETUNREACH},
        {CURLE_INTERFACE_FAILED, -ENETUNREACH},
        {CURLE_NO_CONNECTION_AVAILABLE, -EAGAIN},
        {CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT},
        {CURLE_GOT_NOTHING, -ECONNRESET},
        {CURLE_SEND_ERROR, -ECONNRESET},
        {CURLE_RECV_ERROR, -ECONNRESET},
        {CURLE_PARTIAL_FILE, -ECONNRESET},
        {CURLE_HTTP2, -ECONNRESET},
        {CURLE_HTTP2_STREAM, -ECONNRESET},
        {CURLE_PROXY, -ENETUNREACH},
        /* A server that does not speak HTTP as it should */
        {CURLE_WEIRD_SERVER_REPLY, -EPROTO},
        /* What libcurl 7.88 says of a header line beyond its limit (100 KB). */
        {CURLE_OUT_OF_MEMORY, -EPROTO},
        {CURLE_UNSUPPORTED_PROTOCOL, -EPROTO},
        {CURLE_BAD_CONTENT_ENCODING, -EPROTO},
        {CURLE_FILESIZE_EXCEEDED, -EPROTO},
        {CURLE_TOO_MANY_REDIRECTS, -EPROTO},
        {CURLE_SSL_CONNECT_ERROR, -EPROTO},
        /* Not the server that it should be */
        {CURLE_PEER_FAILED_VERIFICATION, -EKEYREJECTED},
        {CURLE_SSL_ISSUER_ERROR, -EKEYREJECTED},
        {CURLE_SSL_CERTPROBLEM, -EKEYREJECTED},
        {CURLE_SSL_INVALIDCERTSTATUS, -EKEYREJECTED},
        {CURLE_SSL_PINNEDPUBKEYNOTMATCH, -EKEYREJECTED},
        {CURLE_SSL_CACERT_BADFILE, -EKEYREJECTED},
        {CURLE_LOGIN_DENIED, -EACCES},
};

int http_curl_error(CURLcode code, long os_error) {
        if (code == CURLE_COULDNT_CONNECT && os_error == ETIMEDOUT)
                return -ETIMEDOUT;
        for (size_t i = 0; i < G_N_ELEMENTS(codes); i++)
                if (codes[i].code == code)
                        return codes[i].error;
        return -EIO;
}

#define URL_FORMAT "%." G_STRINGIFY(HTTP_SENTENCE_URL_MAX) "s"

char *http_result_sentence(const struct http_result *result) {
        if (result->error != 0)
                return g_strdup_printf("%s (%s " URL_FORMAT ")",
                                       result->detail ? result->detail : g_strerror(-result->error),
                                       result->method, result->url);
        if (result->retry_after_ms > 0)
                return g_strdup_printf("HTTP %d for %s " URL_FORMAT " (Retry-After %u s)",
                                       result->status, result->method, result->url,
                                       result->retry_after_ms / 1000);
        return g_strdup_printf("HTTP %d for %s " URL_FORMAT, result->status, result->method,
                               result->url);
}
