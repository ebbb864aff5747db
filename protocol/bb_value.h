// SPDX-License-Identifier: Apache-2.0
// bb_value - what a point holds: a type and eight bytes, and the total order that merges them.
//
// Pure. A value is its type tag plus 64 bits:
//   FLOAT64  the IEEE 754 bits, kept exactly (NaN payloads and -0.0 too)
//   INT64    two's complement
//   BOOL     0 or 1; anything else is refused
//   STATE    in memory: the address of a bb_text_t that outlives the value;
//            on the wire: an index into the batch's table of states; on disk: a dictionary code
#ifndef BB_VALUE_H
#define BB_VALUE_H

#include <string.h>

#include "protocol/bb_base.h"

#ifdef __cplusplus
extern "C" {
#endif

// Stable numbers: on the wire and on disk. Their order is the order of types in a merge.
typedef enum {
    BB_TYPE_FLOAT64 = 1,
    BB_TYPE_INT64 = 2,
    BB_TYPE_BOOL = 3,
    BB_TYPE_STATE = 4,
} bb_type_t;
#define BB_TYPE_LAST BB_TYPE_STATE

static inline bool bb_type_is_valid(uint32_t type)
{
    return type >= BB_TYPE_FLOAT64 && type <= BB_TYPE_LAST;
}
// "float64", "int64", "bool", "state".
const char *bb_type_name(bb_type_t type);
// The type of that name (also "float" and "int"); 0 if there is none.
uint32_t bb_type_of_name(const char *name);

// Immutable text in memory; a STATE value's bits are its address.
typedef struct {
    uint32_t length; // bytes, no terminator
    char bytes[];
} bb_text_t;

typedef struct {
    bb_type_t type;
    uint64_t bits;
} bb_value_t;

static inline uint64_t bb_bits_of_double(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}
static inline double bb_double_of_bits(uint64_t bits)
{
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}
static inline const bb_text_t *bb_text_of_bits(uint64_t bits)
{
    return (const bb_text_t *)(uintptr_t)bits;
}

// A key whose unsigned order is the order of values of one numeric type: IEEE totalOrder with
// every NaN below -infinity (NaNs among themselves by totalOrder), signed order for INT64.
// Not for STATE. The map is one-to-one.
uint64_t bb_value_order_key(bb_type_t type, uint64_t bits);

// A revision as it is stored, sent and compared has the generation in its upper half, because that
// is the order of versions: generation, then revision. Telemetry that was never deleted has 0.
#define BB_REVISION_LIMIT (UINT64_C(1) << 32) // of the revision proper
static inline uint64_t bb_revision_make(uint32_t generation, uint32_t revision)
{
    return (uint64_t)generation << 32 | revision;
}
static inline uint32_t bb_revision_generation(uint64_t revision)
{
    return (uint32_t)(revision >> 32);
}

// <0, 0, >0. Order of two points at one time: revision with its generation, then type tag, then
// value (STATE: bytes as unsigned, shorter first on a tie). The larger one wins a merge.
int bb_value_compare(uint64_t revision_a, bb_value_t a, uint64_t revision_b, bb_value_t b);

#ifdef __cplusplus
}
#endif
#endif
