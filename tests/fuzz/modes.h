/* Several targets in one file: FUZZ_MODE is the first byte of what `one` gets, and chooses. */
#ifndef TESTS_FUZZ_MODES_H
#define TESTS_FUZZ_MODES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int one(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *input = malloc(size + 1);      /* exactly, for the sanitizer */

    if (!input) {
        abort();
    }
    input[0] = FUZZ_MODE;
    memcpy(input + 1, data, size);
    one(input, size + 1);
    free(input);
    return 0;
}

#endif
