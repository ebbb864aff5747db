// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_column.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_bitpack.h"
#include "protocol/bb_value.h"

#define S_HEADER_BYTES  8
#define S_FLAG_SCALE    1u
#define S_DECIMAL_WIDTH 52 // of the largest difference between two integers below 2^51

// Integers are made here, behind the longest header, and packed towards the front.
#define S_WORK_OFFSET 32
// Columns with more exceptions than one value in eight do not become DECIMAL.
#define S_EXCEPTIONS_MAX(count) ((count) / 8 + 1)
#define S_EXCEPTION_BITS        96u

#define S_CHUNK        512u // values per step: stays in the first-level cache
#define S_SAMPLE_COUNT 32u
#define S_NO_EXPONENT  (BB_COLUMN_EXPONENT_MAX + 1u)

static const double s_powers[BB_COLUMN_EXPONENT_MAX + 1] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5,
                                                            1e6, 1e7, 1e8, 1e9, 1e10};

// 1.5 x 2^52: the doubles around it are the integers, so adding it rounds a number of magnitude
// below 2^51 to the nearest integer and leaves that in the low bits. Unlike a conversion
// instruction this is plain SSE2, which the compiler vectorises. Needs strict IEEE arithmetic.
#define S_MAGIC              6755399441055744.0
#define S_MAGIC_BITS         UINT64_C(0x4338000000000000)
#define S_INTEGER_LIMIT_BITS UINT64_C(0x4320000000000000) // of 2^51
static_assert(FLT_EVAL_METHOD == 0, "doubles are computed as doubles, not wider");

static inline size_t s_pad(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

size_t bb_column_bytes_max(uint32_t count)
{
    return s_pad(S_WORK_OFFSET + 8 * (size_t)count + 4 * (size_t)S_EXCEPTIONS_MAX(count));
}

// ---- decimals ----

// The integer k of the decimal k / power that the word is. The rounding of v x power cannot hide
// the right integer: both errors together are below 2^-52 of a number below 2^51, that is below one
// half. *bad collects bits that are 0 in the end if all words were decimals: those in which a word
// differs from k / power (so -0.0 is none), and the sign of how far its size is below the limit
// (infinities and what is not a number are above all). Arithmetic alone: it is vectorised.
static inline uint64_t s_integer_of(uint64_t word, double power, uint64_t *bad)
{
    double scaled = bb_double_of_bits(word) * power;
    double rounded = scaled + S_MAGIC;
    uint64_t size_bits = bb_bits_of_double(scaled) & (UINT64_MAX >> 1);
    *bad |= bb_bits_of_double((rounded - S_MAGIC) / power) ^ word;
    *bad |= (S_INTEGER_LIMIT_BITS - 1 - size_bits) & ~(UINT64_MAX >> 1);
    return bb_bits_of_double(rounded) - S_MAGIC_BITS;
}

static uint32_t s_exponent_of(uint64_t word)
{
    uint32_t exponent = 0;
    for (; exponent <= BB_COLUMN_EXPONENT_MAX; exponent++) {
        uint64_t bad = 0;
        s_integer_of(word, s_powers[exponent], &bad);
        if (bad == 0) {
            break;
        }
    }
    return exponent;
}

// The exponent that makes a sample smallest: a digit more costs every value 10/3 bits, a digit too
// few makes an exception. S_NO_EXPONENT: most of the sample are no decimals.
static uint32_t s_propose(const uint64_t *words, uint32_t count)
{
    uint32_t sample = BB_MIN(count, S_SAMPLE_COUNT);
    uint32_t needed[S_NO_EXPONENT + 1] = {0};
    for (uint32_t i = 0; i < sample; i++) {
        needed[s_exponent_of(words[(size_t)i * count / sample])]++;
    }
    if (needed[S_NO_EXPONENT] * 4 > sample || needed[S_NO_EXPONENT] == sample) {
        return S_NO_EXPONENT;
    }
    uint32_t best = 0, best_bits = UINT32_MAX, left = sample;
    for (uint32_t e = 0; e <= BB_COLUMN_EXPONENT_MAX; e++) {
        left -= needed[e];
        uint32_t bits = e * sample * 10 / 3 + left * S_EXCEPTION_BITS;
        if (bits < best_bits) {
            best = e;
            best_bits = bits;
        }
    }
    return best;
}

typedef struct {
    int64_t min, max;
} s_range_t;

static inline void s_range_add(s_range_t *range, int64_t integer)
{
    range->min = BB_MIN(range->min, integer);
    range->max = BB_MAX(range->max, integer);
}

// Integers of a chunk and their range, without a branch. False: some words are no decimals of that
// power, and integers and range are worth nothing.
BB_VECTOR static bool s_convert(const uint64_t *words, uint32_t count, double power,
                                int64_t *integers, s_range_t *range)
{
    uint64_t bad = 0;
    int64_t min = range->min, max = range->max;
    for (uint32_t i = 0; i < count; i++) {
        int64_t integer = (int64_t)s_integer_of(words[i], power, &bad);
        min = BB_MIN(min, integer);
        max = BB_MAX(max, integer);
        integers[i] = integer;
    }
    *range = (s_range_t){min, max};
    return bad == 0;
}

typedef struct {
    int64_t *integers;
    uint32_t *positions; // room for S_EXCEPTIONS_MAX(count)
    uint32_t exception_count;
    s_range_t range;
} s_decimals_t;

// The same with exceptions, one by one. False: there are too many.
static bool s_convert_some(s_decimals_t *self, const uint64_t *words, uint32_t first,
                           uint32_t limit, uint32_t count, double power)
{
    for (uint32_t i = first; i < limit; i++) {
        uint64_t bad = 0;
        self->integers[i] = (int64_t)s_integer_of(words[i], power, &bad);
        if (bad == 0) {
            s_range_add(&self->range, self->integers[i]);
        } else if (self->exception_count == S_EXCEPTIONS_MAX(count)) {
            return false;
        } else {
            self->positions[self->exception_count++] = i;
        }
    }
    return true;
}

// `integers` minus base, in place; exceptions become 0.
static bool s_decimals_make(s_decimals_t *self, const uint64_t *words, uint32_t count,
                            uint32_t exponent)
{
    double power = s_powers[exponent];
    self->exception_count = 0;
    self->range = (s_range_t){INT64_MAX, INT64_MIN};
    for (uint32_t i = 0; i < count; i += S_CHUNK) {
        uint32_t size = BB_MIN(count - i, S_CHUNK);
        s_range_t range = self->range;
        if (s_convert(words + i, size, power, self->integers + i, &range)) {
            self->range = range;
        } else if (!s_convert_some(self, words, i, i + size, count, power)) {
            return false;
        }
    }
    return self->exception_count < count;
}

// ---- integers ----

static uint64_t s_gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// Division without a divide, of differences that are multiples of `scale` = odd x 2^shift: the
// product with the inverse of `odd` modulo 2^64, rotated, is the quotient; for all others it is
// more than any quotient. Source: Granlund, Montgomery, "Division by Invariant Integers using
// Multiplication" (PLDI 1994), section 9.
typedef struct {
    uint64_t inverse, quotient_max;
    uint32_t shift;
} s_divisor_t;

static s_divisor_t s_divisor_of(uint64_t scale)
{
    uint32_t shift = (uint32_t)__builtin_ctzll(scale);
    uint64_t odd = scale >> shift;
    uint64_t inverse = odd; // right modulo 8; each step doubles the good bits
    for (int i = 0; i < 5; i++) {
        inverse *= 2 - odd * inverse;
    }
    return (s_divisor_t){inverse, UINT64_MAX / scale, shift};
}

static inline uint64_t s_quotient(const s_divisor_t *divisor, uint64_t difference)
{
    uint64_t product = difference * divisor->inverse;
    return product >> divisor->shift | product << 1 << (63 - divisor->shift);
}

// The greatest common divisor of all differences from the base: it is guessed from a few, and made
// smaller by every one that it does not divide (at most 64 times). 1 when all are equal.
static uint64_t s_scale_of(const uint64_t *words, uint32_t count, uint64_t base)
{
    uint64_t scale = 0;
    uint32_t sample = BB_MIN(count, S_SAMPLE_COUNT);
    for (uint32_t i = 0; i < sample && scale != 1; i++) {
        scale = s_gcd(words[(size_t)i * count / sample] - base, scale);
    }
    for (uint32_t i = 0; i < count && scale != 1;) {
        s_divisor_t divisor = s_divisor_of(scale ? scale : 1);
        uint64_t quotient_max = scale ? divisor.quotient_max : 0;
        while (i < count && s_quotient(&divisor, words[i] - base) <= quotient_max) {
            i++;
        }
        scale = i < count ? s_gcd(words[i] - base, scale) : scale;
    }
    return scale ? scale : 1;
}

BB_VECTOR static s_range_t s_range_of(const uint64_t *words, uint32_t count)
{
    int64_t min = INT64_MAX, max = INT64_MIN;
    for (uint32_t i = 0; i < count; i++) {
        min = BB_MIN(min, (int64_t)words[i]);
        max = BB_MAX(max, (int64_t)words[i]);
    }
    return (s_range_t){min, max};
}

BB_VECTOR static void s_subtract(const uint64_t *words, uint32_t count, uint64_t base,
                                 uint64_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = words[i] - base;
    }
}

// ---- encode ----

typedef struct {
    bb_column_encoding_t encoding;
    uint32_t width, exponent, exception_count;
    uint64_t base, scale;
} s_layout_t;

static uint32_t s_width_of(uint64_t integer)
{
    return integer ? 64 - (uint32_t)__builtin_clzll(integer) : 0;
}

static size_t s_front_bytes(const s_layout_t *layout)
{
    return layout->encoding == BB_COLUMN_RAW ? S_HEADER_BYTES
                                             : S_HEADER_BYTES + 8 + (layout->scale > 1 ? 8 : 0);
}

static size_t s_bytes(const s_layout_t *layout, uint32_t count)
{
    return s_front_bytes(layout) + s_pad(bb_bitpack_bytes(count, layout->width)) +
           s_pad((size_t)layout->exception_count * 12);
}

static void s_put_front(const s_layout_t *layout, uint8_t *out)
{
    bool has_scale = layout->scale > 1;
    out[0] = (uint8_t)layout->encoding;
    out[1] = (uint8_t)layout->width;
    out[2] = (uint8_t)layout->exponent;
    out[3] = has_scale ? S_FLAG_SCALE : 0;
    memcpy(out + 4, &layout->exception_count, 4);
    if (layout->encoding != BB_COLUMN_RAW) {
        memcpy(out + 8, &layout->base, 8);
    }
    if (has_scale) {
        memcpy(out + 16, &layout->scale, 8);
    }
}

// Packs the integers that lie at S_WORK_OFFSET of `out` towards its front. Returns what it wrote.
static size_t s_put_integers(const s_layout_t *layout, uint32_t count, uint8_t *out)
{
    size_t front = s_front_bytes(layout);
    size_t bytes = bb_bitpack_bytes(count, layout->width);
    bb_bitpack_pack((const uint64_t *)(const void *)(out + S_WORK_OFFSET), count, layout->width,
                    out + front);
    s_put_front(layout, out);
    memset(out + front + bytes, 0, s_pad(bytes) - bytes);
    return front + s_pad(bytes);
}

static size_t s_encode_raw(const uint64_t *words, uint32_t count, uint8_t *out)
{
    const s_layout_t layout = {.encoding = BB_COLUMN_RAW, .width = 64, .scale = 1};
    memcpy(out + S_HEADER_BYTES, words, (size_t)count * 8);
    s_put_front(&layout, out);
    return S_HEADER_BYTES + (size_t)count * 8;
}

// 0: no smaller than `bytes_max`.
static size_t s_encode_integers(const uint64_t *words, uint32_t count, size_t bytes_max,
                                uint8_t *out)
{
    s_range_t range = s_range_of(words, count);
    uint64_t base = (uint64_t)range.min, last = (uint64_t)range.max - base;
    uint64_t scale = s_scale_of(words, count, base);
    s_layout_t layout = {BB_COLUMN_INTEGER, s_width_of(last), 0, 0, base, 1};
    s_layout_t scaled = {BB_COLUMN_INTEGER, s_width_of(last / scale), 0, 0, base, scale};
    if (s_bytes(&scaled, count) < s_bytes(&layout, count)) {
        layout = scaled;
    }
    if (s_bytes(&layout, count) >= bytes_max) {
        return 0;
    }
    uint64_t *integers = (uint64_t *)(void *)(out + S_WORK_OFFSET);
    if (layout.scale == 1) {
        s_subtract(words, count, base, integers);
    } else {
        s_divisor_t divisor = s_divisor_of(scale);
        for (uint32_t i = 0; i < count; i++) {
            integers[i] = s_quotient(&divisor, words[i] - base);
        }
    }
    return s_put_integers(&layout, count, out);
}

// 0: no smaller than `bytes_max`, or no decimals.
static size_t s_encode_decimals(const uint64_t *words, uint32_t count, size_t bytes_max,
                                uint8_t *out)
{
    uint32_t exponent = s_propose(words, count);
    s_decimals_t made = {
        .integers = (int64_t *)(void *)(out + S_WORK_OFFSET),
        .positions = (uint32_t *)(void *)(out + S_WORK_OFFSET + 8 * (size_t)count),
    };
    if (exponent == S_NO_EXPONENT || !s_decimals_make(&made, words, count, exponent)) {
        return 0;
    }
    uint64_t base = (uint64_t)made.range.min;
    s_layout_t layout = {BB_COLUMN_DECIMAL,
                         s_width_of((uint64_t)made.range.max - base),
                         exponent,
                         made.exception_count,
                         base,
                         1};
    if (s_bytes(&layout, count) >= bytes_max) {
        return 0;
    }
    for (uint32_t i = 0; i < made.exception_count; i++) {
        made.integers[made.positions[i]] = made.range.min;
    }
    uint64_t *integers = (uint64_t *)(void *)(out + S_WORK_OFFSET);
    s_subtract(integers, count, base, integers);
    size_t bytes = s_put_integers(&layout, count, out);
    // What is smaller than RAW ends before the positions begin: nothing is overwritten unread.
    for (uint32_t i = 0; i < made.exception_count; i++, bytes += 8) {
        memcpy(out + bytes, &words[made.positions[i]], 8);
    }
    memmove(out + bytes, made.positions, (size_t)made.exception_count * 4);
    bytes += (size_t)made.exception_count * 4;
    memset(out + bytes, 0, s_pad(bytes) - bytes);
    return s_pad(bytes);
}

size_t bb_column_encode(bool is_float, const uint64_t *words, uint32_t count, uint8_t *out)
{
    BB_ASSERT(count >= 1);
    BB_ASSERT(((uintptr_t)out & 7) == 0);
    size_t raw_bytes = S_HEADER_BYTES + (size_t)count * 8;
    size_t bytes = 0;
    if (is_float && count > 1) {
        bytes = s_encode_decimals(words, count, raw_bytes, out);
    }
    // Doubles that are no decimals at all may still be equal, or floats of 32 bits.
    if (bytes == 0 && count > 1) {
        bytes = s_encode_integers(words, count, raw_bytes, out);
    }
    return bytes == 0 ? s_encode_raw(words, count, out) : bytes;
}

// ---- decode ----

static bb_error_t s_corrupt(bb_fault_t *fault, const char *what)
{
    return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "column: %s", what);
}

static uint64_t s_word_at(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

static bb_error_t s_open_front(bb_column_t *self, bool is_float, bb_slice_t bytes, size_t *front,
                               bb_fault_t *fault)
{
    const uint8_t *data = bytes.data;
    if (bytes.length < BB_COLUMN_BYTES_MIN || ((uintptr_t)data & 7) != 0) {
        return s_corrupt(fault, "too short or not aligned");
    }
    self->encoding = data[0];
    self->width = data[1];
    self->exponent = data[2];
    memcpy(&self->exception_count, data + 4, 4);
    bool is_raw = self->encoding == BB_COLUMN_RAW;
    bool is_integer = self->encoding == BB_COLUMN_INTEGER;
    bool is_decimal = self->encoding == BB_COLUMN_DECIMAL;
    bool has_scale = data[3] == S_FLAG_SCALE;
    if ((!is_raw && !is_integer && !is_decimal) || (is_decimal && !is_float)) {
        return s_corrupt(fault, "unknown encoding, or DECIMAL of what is no float64");
    }
    if (self->width > (is_decimal ? S_DECIMAL_WIDTH : 64) || (is_raw && self->width != 64) ||
        self->exponent > (is_decimal ? BB_COLUMN_EXPONENT_MAX : 0)) {
        return s_corrupt(fault, "width or exponent is past its limit");
    }
    if ((data[3] & ~S_FLAG_SCALE) != 0 || (has_scale && !is_integer) ||
        self->exception_count > (is_raw ? 0 : self->count)) {
        return s_corrupt(fault, "bad flags or number of exceptions");
    }
    *front = is_raw ? S_HEADER_BYTES : S_HEADER_BYTES + 8 + (has_scale ? 8 : 0);
    if (*front > bytes.length) {
        return s_corrupt(fault, "no room for the scale");
    }
    self->base = is_raw ? 0 : s_word_at(data + 8);
    self->scale = has_scale ? s_word_at(data + 16) : 1;
    return has_scale && self->scale < 2 ? s_corrupt(fault, "the scale is below 2") : BB_OK;
}

static bb_error_t s_check_positions(const bb_column_t *self, bb_fault_t *fault)
{
    for (uint32_t i = 0; i < self->exception_count; i++) {
        if (self->positions[i] >= self->count ||
            (i > 0 && self->positions[i] <= self->positions[i - 1])) {
            return s_corrupt(fault, "positions of exceptions do not ascend below the count");
        }
    }
    return BB_OK;
}

bb_error_t bb_column_open(bb_column_t *self, bool is_float, bb_slice_t bytes, uint32_t count,
                          size_t *used, bb_fault_t *fault)
{
    bb_column_t column = {.count = count};
    size_t front = 0;
    bb_error_t error = s_open_front(&column, is_float, bytes, &front, fault);
    if (error != BB_OK) {
        return error;
    }
    const uint8_t *data = bytes.data;
    size_t packed_bytes = bb_bitpack_bytes(count, column.width);
    size_t end = front + s_pad(packed_bytes);
    size_t positions = end + 8 * (size_t)column.exception_count;
    size_t behind = positions + 4 * (size_t)column.exception_count;
    if (s_pad(behind) > bytes.length) {
        return s_corrupt(fault, "shorter than its count and width");
    }
    column.packed = data + front;
    column.packed_bytes = s_pad(packed_bytes);
    column.exceptions = (const uint64_t *)(const void *)(data + end);
    column.positions = (const uint32_t *)(const void *)(data + positions);
    uint32_t spare = (uint32_t)(column.packed_bytes * 8 - (size_t)count * column.width);
    if ((spare > 0 && s_word_at(data + end - 8) >> (64 - spare) != 0) ||
        (behind % 8 != 0 && s_word_at(data + s_pad(behind) - 8) >> 32 != 0)) {
        return s_corrupt(fault, "spare bits are not zero");
    }
    error = s_check_positions(&column, fault);
    if (error != BB_OK) {
        return error;
    }
    *self = column;
    *used = s_pad(behind);
    return BB_OK;
}

BB_VECTOR static void s_restore_integers(uint64_t base, uint64_t scale, uint64_t *words,
                                         uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        words[i] = base + scale * words[i];
    }
}

BB_VECTOR static void s_restore_decimals(uint64_t base, double power, uint64_t *words,
                                         uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        double integer = bb_double_of_bits(words[i] + base + S_MAGIC_BITS) - S_MAGIC;
        words[i] = bb_bits_of_double(integer / power);
    }
}

// Puts the exceptions of [first, first + count) in their places.
static void s_restore_exceptions(const bb_column_t *self, uint32_t first, uint32_t count,
                                 uint64_t *out)
{
    uint32_t low = 0, high = self->exception_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (self->positions[middle] < first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < self->exception_count && self->positions[low] - first < count; low++) {
        out[self->positions[low] - first] = self->exceptions[low];
    }
}

void bb_column_unpack(const bb_column_t *self, uint32_t first, uint32_t count, uint64_t *out)
{
    BB_ASSERT(first <= self->count && count <= self->count - first);
    if (self->encoding == BB_COLUMN_RAW) {
        memcpy(out, self->packed + 8 * (size_t)first, 8 * (size_t)count);
        return;
    }
    for (uint32_t i = 0; i < count; i += S_CHUNK) {
        uint32_t size = BB_MIN(count - i, S_CHUNK);
        bb_bitpack_unpack_range(self->packed, self->packed_bytes, self->width, first + i, size,
                                out + i);
        if (self->encoding == BB_COLUMN_DECIMAL) {
            s_restore_decimals(self->base, s_powers[self->exponent], out + i, size);
        } else {
            s_restore_integers(self->base, self->scale, out + i, size);
        }
    }
    if (self->exception_count > 0) {
        s_restore_exceptions(self, first, count, out);
    }
}

// ---- cut ----

// Exceptions would need new places, and few values may be smaller in another encoding.
static size_t s_cut_words(const bb_column_t *self, bool is_float, const bb_column_range_t *ranges,
                          uint32_t range_count, uint32_t count, uint8_t *out)
{
    uint64_t *words = bb_alloc((size_t)count * sizeof *words);
    uint64_t *at = words;
    for (uint32_t i = 0; i < range_count; i++) {
        bb_column_unpack(self, ranges[i].first, ranges[i].count, at);
        at += ranges[i].count;
    }
    size_t bytes = bb_column_encode(is_float, words, count, out);
    free(words);
    return bytes;
}

size_t bb_column_cut(const bb_column_t *self, bool is_float, const bb_column_range_t *ranges,
                     uint32_t range_count, uint32_t count, uint8_t *out)
{
    BB_ASSERT(count >= 1 && count <= self->count);
    BB_ASSERT(((uintptr_t)out & 7) == 0);
    const s_layout_t layout = {(bb_column_encoding_t)self->encoding,
                               self->width,
                               self->exponent,
                               0,
                               self->base,
                               self->scale};
    // Not if it could be larger than RAW, which bounds what a batch takes.
    if (self->exception_count > 0 || s_bytes(&layout, count) > S_HEADER_BYTES + (size_t)count * 8) {
        return s_cut_words(self, is_float, ranges, range_count, count, out);
    }
    uint64_t *integers = (uint64_t *)(void *)(out + S_WORK_OFFSET);
    for (uint32_t i = 0; i < range_count; i++) {
        BB_ASSERT(ranges[i].first <= self->count &&
                  ranges[i].count <= self->count - ranges[i].first);
        bb_bitpack_unpack_range(self->packed, self->packed_bytes, self->width, ranges[i].first,
                                ranges[i].count, integers);
        integers += ranges[i].count;
    }
    BB_ASSERT(integers == (uint64_t *)(void *)(out + S_WORK_OFFSET) + count);
    return s_put_integers(&layout, count, out);
}
