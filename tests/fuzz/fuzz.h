/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz.h - what every fuzzer here uses: libFuzzer's entry point, and a check that is never compiled out */
#ifndef BL_TESTS_FUZZ_H
#define BL_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* must() - A property that holds for every input; breaking it is a finding. */
#define must(what)                                                                                                                 \
    do {                                                                                                                           \
        if (!(what))                                                                                                               \
            __builtin_trap();                                                                                                      \
    } while (0)

#endif
