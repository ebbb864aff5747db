// SPDX-License-Identifier: Apache-2.0
// run_support - random columns and texts for the tests of storage/segment.
//
// Everything follows from a seed. The tables of texts are borrowed from static memory.
#ifndef BB_TEST_RUN_SUPPORT_H
#define BB_TEST_RUN_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/encoding/bb_encoding.h"
#include "storage/segment/bb_run.h"
#include "tests/support/bb_random.h"

static inline uint32_t test_below(bb_random_t *random, uint32_t limit)
{
    return (uint32_t)bb_random_below(random, limit);
}

static const uint64_t test_special_doubles[] = {
    UINT64_C(0x0000000000000000), // 0.0
    UINT64_C(0x8000000000000000), // -0.0
    UINT64_C(0x7ff0000000000000), // infinity
    UINT64_C(0xfff0000000000000), // -infinity
    UINT64_C(0x7ff8000000000000), // quiet NaN
    UINT64_C(0xfff8000000000000), // negative quiet NaN
    UINT64_C(0x7ff8000000000123), // a payload
    UINT64_C(0x7ff0000000000001), // signalling NaN
    UINT64_C(0xffffffffffffffff), // negative, all payload bits
    UINT64_C(0x0000000000000001), // smallest subnormal
    UINT64_C(0x8000000000000001), //
    UINT64_C(0x000fffffffffffff), // largest subnormal
    UINT64_C(0x0010000000000000), // smallest normal
    UINT64_C(0x7fefffffffffffff), // DBL_MAX
    UINT64_C(0xffefffffffffffff), // -DBL_MAX
    UINT64_C(0x4330000000000000), // 2^52
    UINT64_C(0x4320000000000000), // 2^51
    UINT64_C(0x431fffffffffffff), // just below
};

static const uint64_t test_special_integers[] = {
    0,
    1,
    UINT64_MAX,
    (uint64_t)INT64_MIN,
    (uint64_t)INT64_MAX,
    (uint64_t)INT64_MIN + 1,
    UINT32_MAX,
    (uint64_t)UINT32_MAX + 1,
};

#define TEST_TEXT_COUNT 7
typedef struct {
    uint32_t length;
    char bytes[BB_STATE_BYTES_MAX];
} test_text_t;

// Sorted: by bytes, shorter first. Texts 2 and 3 are equal, at two addresses.
static const test_text_t test_texts[TEST_TEXT_COUNT] = {
    {0, ""},      {4, "Idle"}, {8, "Charging"},     {8, "Charging"},
    {5, "Charg"}, {1, "\xff"}, {11, "Discharging"},
};

static inline uint64_t test_text_bits(uint32_t index)
{
    return (uint64_t)(uintptr_t)&test_texts[index];
}

// Families of columns; the number of them is the limit of `family`.
enum {
    TEST_CONSTANT,
    TEST_DECIMAL_NOISE,
    TEST_DECIMAL_WALK,
    TEST_COUNTER,
    TEST_RANDOM_BITS,
    TEST_SPECIAL,
    TEST_EXTREMES,
    TEST_RARE_OUTLIERS,
    TEST_FLOAT32,
    TEST_FAMILY_COUNT,
};

// One word of a family: FLOAT64 bits if `is_double`, else an integer.
static inline uint64_t test_word(bb_random_t *random, uint32_t family, bool is_double, uint32_t row,
                                 int64_t *walk)
{
    uint64_t special =
        is_double ? test_special_doubles[test_below(random, BB_COUNT_OF(test_special_doubles))]
                  : test_special_integers[test_below(random, BB_COUNT_OF(test_special_integers))];
    int64_t integer = 0;
    switch (family) {
    case TEST_CONSTANT:
        integer = 4217;
        break;
    case TEST_DECIMAL_NOISE:
        integer = 3712 + (int64_t)test_below(random, 61) - 30;
        break;
    case TEST_DECIMAL_WALK:
        *walk += (int64_t)test_below(random, 5) - 2;
        integer = *walk;
        break;
    case TEST_COUNTER:
        *walk += test_below(random, 20);
        integer = INT64_C(123456789) + *walk;
        break;
    case TEST_RANDOM_BITS:
        return bb_random_next(random);
    case TEST_SPECIAL:
        return special;
    case TEST_EXTREMES:
        if (is_double) {
            return test_special_doubles[13 + row % 2];
        }
        return test_special_integers[3 + row % 2];
    case TEST_RARE_OUTLIERS:
        if (test_below(random, 40) == 0) {
            return special;
        }
        integer = 50000 + (int64_t)test_below(random, 9);
        break;
    case TEST_FLOAT32: {
        double widened = (double)((float)test_below(random, 1000) / 7.0f);
        return is_double ? bb_bits_of_double(widened) : test_below(random, 1000) * UINT64_C(512);
    }
    default:
        break;
    }
    return is_double ? bb_bits_of_double((double)integer / 1000.0) : (uint64_t)integer;
}

static inline void test_words(bb_random_t *random, uint32_t family, bool is_double, uint64_t *words,
                              uint32_t count)
{
    int64_t walk = 0;
    for (uint32_t row = 0; row < count; row++) {
        words[row] = test_word(random, family, is_double, row, &walk);
    }
}

// Strictly ascending times: regular, with jitter, with gaps, or irregular to the nanosecond.
enum { TEST_REGULAR, TEST_JITTER, TEST_GAPS, TEST_IRREGULAR, TEST_TIMES_COUNT };

static inline void test_times(bb_random_t *random, uint32_t family, int64_t *times, uint32_t count)
{
    int64_t time = INT64_C(1767225600000000000);
    for (uint32_t row = 0; row < count; row++) {
        times[row] = time;
        switch (family) {
        case TEST_REGULAR:
            time += 10 * BB_NS_PER_S;
            break;
        case TEST_JITTER:
            time += 10 * BB_NS_PER_S + ((int64_t)test_below(random, 7) - 3) * BB_NS_PER_MS;
            break;
        case TEST_GAPS:
            time += BB_NS_PER_S;
            time += test_below(random, 100) == 0 ? test_below(random, 5000) * BB_NS_PER_S : 0;
            break;
        default:
            time += 1 + (int64_t)(bb_random_next(random) % 3000000000);
            break;
        }
    }
}

#endif
