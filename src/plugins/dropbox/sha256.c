/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/sha256.h"

#include <glib.h>
#include <openssl/evp.h>

/* A struct sha256 is an EVP_MD_CTX. Its functions fail for want of memory only. */
static EVP_MD_CTX *context(const struct sha256 *sum) {
        return (EVP_MD_CTX *)(uintptr_t)sum;
}

static void need(int good) {
        if (good != 1)
                g_error("libcrypto has no SHA-256, or no memory");
}

struct sha256 *sha256_new(void) {
        EVP_MD_CTX *c = EVP_MD_CTX_new();

        need(c != NULL && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1);
        return (struct sha256 *)c;
}

void sha256_free(struct sha256 *sum) {
        EVP_MD_CTX_free(context(sum));
}

void sha256_update(struct sha256 *sum, const void *bytes, size_t length) {
        need(EVP_DigestUpdate(context(sum), bytes, length));
}

void sha256_digest(const struct sha256 *sum, uint8_t ret[static 32]) {
        EVP_MD_CTX *copy = EVP_MD_CTX_new();

        need(copy != NULL && EVP_MD_CTX_copy_ex(copy, context(sum)) == 1 &&
             EVP_DigestFinal_ex(copy, ret, NULL) == 1);
        EVP_MD_CTX_free(copy);
}
