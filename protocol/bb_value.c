// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_value.h"

static const char *const s_names[] = {"", "float64", "int64", "bool", "state"};

const char *bb_type_name(bb_type_t type)
{
    return bb_type_is_valid(type) ? s_names[type] : "unknown";
}

uint32_t bb_type_of_name(const char *name)
{
    if (strcmp(name, "float") == 0) {
        return BB_TYPE_FLOAT64;
    }
    if (strcmp(name, "int") == 0) {
        return BB_TYPE_INT64;
    }
    for (uint32_t type = BB_TYPE_FLOAT64; type <= BB_TYPE_LAST; type++) {
        if (strcmp(name, s_names[type]) == 0) {
            return type;
        }
    }
    return 0;
}

// IEEE totalOrder as an unsigned key: negative numbers are mirrored, positive ones moved above.
static uint64_t s_total_order(uint64_t bits)
{
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

uint64_t bb_value_order_key(bb_type_t type, uint64_t bits)
{
    const uint64_t infinity = UINT64_C(0x7ff0000000000000);
    const uint64_t nan_count = UINT64_C(0x000fffffffffffff); // of one sign
    const uint64_t sign = UINT64_C(1) << 63;
    switch (type) {
    case BB_TYPE_FLOAT64: {
        // Negative NaNs have the lowest keys of totalOrder, [0, nan_count), already. The positive
        // ones, the highest keys, move in right above them and everything else moves up.
        uint64_t key = s_total_order(bits);
        if ((bits & ~sign) <= infinity) {
            return key + nan_count;
        }
        return bits & sign ? key : key - (sign | infinity) - 1 + nan_count;
    }
    case BB_TYPE_INT64:
        return bits ^ sign;
    case BB_TYPE_BOOL:
        return bits;
    case BB_TYPE_STATE:
        break;
    }
    bb_assert_failed(__FILE__, __LINE__, "order keys are for numeric types");
}

static int s_compare_text(const bb_text_t *a, const bb_text_t *b)
{
    uint32_t shared = BB_MIN(a->length, b->length);
    int order = memcmp(a->bytes, b->bytes, shared);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

int bb_value_compare(uint64_t revision_a, bb_value_t a, uint64_t revision_b, bb_value_t b)
{
    if (revision_a != revision_b) {
        return revision_a < revision_b ? -1 : 1;
    }
    if (a.type != b.type) {
        return a.type < b.type ? -1 : 1;
    }
    if (a.bits == b.bits) {
        return 0;
    }
    if (a.type == BB_TYPE_STATE) {
        return s_compare_text(bb_text_of_bits(a.bits), bb_text_of_bits(b.bits));
    }
    uint64_t key_a = bb_value_order_key(a.type, a.bits);
    uint64_t key_b = bb_value_order_key(b.type, b.bits);
    return (key_a > key_b) - (key_a < key_b);
}
