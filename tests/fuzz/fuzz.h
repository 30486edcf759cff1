/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * fuzz — what a fuzz target is made of
 *
 * A target defines LLVMFuzzerTestOneInput() as libFuzzer wants it and states its
 * properties with FUZZ_CHECK(). Built with -Dfuzz=true it is a libFuzzer program;
 * otherwise fuzz-main.c runs it over its seeds and over random mutations of them.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                                      \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__,           \
                                #condition);                                                       \
                        abort();                                                                   \
                }                                                                                  \
        } while (0)
