// SPDX-License-Identifier: Apache-2.0
// fuzz_principal - any bytes as the User-Id of a connection: what is accepted formats alike.
#include "node/control/bb_identity.h"
#include "tests/fuzz/fuzz_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = bb_alloc(size + 1);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    bb_principal_t principal;
    if (bb_principal_parse(text, &principal)) {
        char again[BB_PRINCIPAL_BYTES_MAX + 1];
        size_t length = bb_principal_format(&principal, again);
        BB_ASSERT(length == strlen(text));
        BB_ASSERT(strcmp(again, text) == 0);
        for (uint32_t kind = 0; kind < 256; kind++) {
            bool is_allowed = bb_role_allows(principal.role, (bb_kind_t)kind);
            BB_ASSERT(principal.role != BB_ROLE_NODE || !is_allowed);
        }
    }
    free(text);
    return 0;
}
