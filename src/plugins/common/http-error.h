/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* http-error — libcurl's results in our currency; for the wrapper itself. */

#include <curl/curl.h>

/* `os_error`: CURLINFO_OS_ERRNO, 0 when there is none. Negative errno; 0 for CURLE_OK. */
int http_curl_error(CURLcode code, long os_error);
