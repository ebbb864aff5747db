// SPDX-License-Identifier: Apache-2.0
// fuzz_keys - any bytes as a key file of either kind, and as a key in Z85. An accepted pair is
// consistent; an accepted text is what its bytes are written as.
#include "protocol/bb_keys.h"
#include "tests/fuzz/fuzz_bytes.h"

static void s_files(const uint8_t *data, size_t size)
{
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_file(data, size, path);
    char name[BB_KEY_NAME_BYTES_MAX + 1];
    bb_curve_pair_t curve;
    bb_sign_pair_t sign;
    bb_fault_t fault = {0};
    if (bb_curve_pair_read(path, &curve, name, &fault) == BB_OK) {
        BB_ASSERT(bb_curve_pair_is_consistent(&curve));
        BB_ASSERT(memchr(name, '\0', sizeof name));
    } else {
        BB_ASSERT(fault.text[0] != '\0');
    }
    bb_ignore(bb_sign_pair_read(path, &sign, name, &fault), "any outcome is fine");
    close(file);
}

static void s_text(const uint8_t *data, size_t size)
{
    size_t length = size / 5 * 5;
    char *text = (char *)fuzz_copy(data, length);
    uint8_t *bytes = bb_alloc(length / 5 * 4);
    if (length > 0 && bb_z85_decode(text, length, bytes)) {
        char *again = bb_alloc(length + 1);
        bb_z85_encode(bytes, length / 5 * 4, again);
        BB_ASSERT(memcmp(again, text, length) == 0);
        free(again);
    }
    free(bytes);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    s_text(data, size);
    s_files(data, size);
    return 0;
}
