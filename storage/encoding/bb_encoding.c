// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_encoding.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_bitpack.h"
#include "storage/encoding/bb_decimal.h"

// Packed payload (ids 3 to 7), little-endian, no alignment.
//      0  width            bits of a packed integer, [0, 64]
//      1  flags            bit 0: a scale follows; others zero
//      2  exponent         decimals: the power of ten; else 0
//      3  zero
//      4  patch_count      u16; integers that are kept whole
//      6  exception_count  u16; decimals: words that are no decimals of this exponent; else 0
//      8  base             u64
//     16  first            u64, delta and delta2: the first integer
//     ..  second           u64, delta2: the first difference
//     ..  scale            u64, if flagged; >= 2
//     ..  packed           (count - order) integers of `width` bits
//     ..  patches          patch_count x u64, then patch_count x u16 ascending positions
//     ..  exceptions       exception_count x u64, then exception_count x u16 ascending positions
#define HEADER_BYTES 16u
#define FLAG_SCALE   1u
#define ORDER_MAX    2u
#define SAMPLE_COUNT 32u
static_assert(BB_BLOCK_ROWS_MAX <= UINT16_MAX, "positions are 16 bits wide");

typedef struct {
    uint32_t order; // 0 frame of reference, 1 differences, 2 differences of differences
    uint32_t width;
    uint32_t patch_count;
    uint64_t base, scale;
    size_t bytes; // of the payload without exceptions
} s_plan_t;

// What the encodings share while one block is being encoded.
typedef struct {
    const uint64_t *words;
    uint32_t count;
    bb_encoding_kind_t kind;
    uint64_t ordered[BB_BLOCK_ROWS_MAX]; // integers whose order is the order of the words
    bool has_decimals;
    bb_decimals_t decimals;
} s_block_t;

// ---- planning ---------------------------------------------------------------------------------

static uint32_t s_bit_width(uint64_t number)
{
    return number == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(number);
}

static uint64_t s_gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// The differences of the given order; returns how many there are. Arithmetic is modulo 2^64, so no
// value is special: adding them up again gives the same bits.
static uint32_t s_differences(const uint64_t *integers, uint32_t count, uint32_t order,
                              uint64_t *residuals)
{
    if (order == 0) {
        memcpy(residuals, integers, (size_t)count * 8);
        return count;
    }
    for (uint32_t i = 1; i < count; i++) {
        residuals[i - 1] = integers[i] - integers[i - 1];
    }
    for (uint32_t i = 1; order == 2 && i + 1 < count; i++) {
        residuals[i - 1] = residuals[i] - residuals[i - 1];
    }
    return count - order;
}

static int64_t s_minimum(const uint64_t *residuals, uint32_t count)
{
    int64_t minimum = INT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        int64_t residual = (int64_t)residuals[i];
        minimum = residual < minimum ? residual : minimum;
    }
    return minimum;
}

static int s_compare_signed(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static uint32_t s_sample(const uint64_t *residuals, uint32_t count, int64_t *sample)
{
    uint32_t taken = BB_MIN(count, SAMPLE_COUNT);
    for (uint32_t i = 0; i < taken; i++) {
        sample[i] = (int64_t)residuals[(size_t)i * count / taken];
    }
    // cppcheck-suppress uninitvar ; the loop has filled `taken` of them
    qsort(sample, taken, sizeof *sample, s_compare_signed);
    return taken;
}

static uint64_t s_sample_scale(const int64_t *sample, uint32_t count)
{
    uint64_t scale = 0;
    for (uint32_t i = 1; i < count && scale != 1; i++) {
        scale = s_gcd(scale, (uint64_t)sample[i] - (uint64_t)sample[0]);
    }
    return scale == 0 ? 1 : scale;
}

// The packed form of a residual; false if it cannot be packed at this base and scale.
static inline bool s_quotient(uint64_t residual, uint64_t base, uint64_t scale, uint64_t *quotient)
{
    uint64_t distance = residual - base;
    if (scale == 1) {
        *quotient = distance;
        return true;
    }
    *quotient = distance / scale;
    return *quotient * scale == distance;
}

static size_t s_header_bytes(uint32_t order, uint64_t scale)
{
    return HEADER_BYTES + 8u * order + (scale > 1 ? 8u : 0u);
}

// Best width for one base and scale: every integer above the width costs a patch of ten bytes.
// Keeps the result in `plan` if it is smaller than what is there.
static void s_plan_base(const uint64_t *residuals, uint32_t count, uint32_t order, uint64_t base,
                        uint64_t scale, s_plan_t *plan)
{
    uint32_t histogram[66] = {0}; // by width; 65 = cannot be packed
    for (uint32_t i = 0; i < count; i++) {
        uint64_t quotient;
        bool fits = s_quotient(residuals[i], base, scale, &quotient);
        histogram[fits ? s_bit_width(quotient) : 65]++;
    }
    uint32_t above = histogram[65];
    for (uint32_t width = 65; width-- > 0;) {
        size_t bytes =
            s_header_bytes(order, scale) + bb_bitpack_bytes(count, width) + (size_t)above * 10;
        if (bytes < plan->bytes) {
            *plan = (s_plan_t){order, width, above, base, scale, bytes};
        }
        above += histogram[width];
    }
}

static void s_plan_order(const uint64_t *integers, uint32_t count, uint32_t order, s_plan_t *plan)
{
    if (count <= order) {
        return;
    }
    uint64_t residuals[BB_BLOCK_ROWS_MAX];
    uint32_t residual_count = s_differences(integers, count, order, residuals);
    uint64_t minimum = (uint64_t)s_minimum(residuals, residual_count);

    // A sample shows the scale and the usual range. Both are only proposals: what does not fit is
    // patched, and the exact size decides.
    int64_t sample[SAMPLE_COUNT];
    uint32_t taken = s_sample(residuals, residual_count, sample);
    uint64_t scale = s_sample_scale(sample, taken);
    s_plan_base(residuals, residual_count, order, minimum, 1, plan);
    if (scale > 1) {
        // The minimum may be an outlier off the grid that the sample shows.
        uint64_t middle = (uint64_t)sample[taken / 2];
        uint64_t steps = (middle - minimum) / scale;
        s_plan_base(residuals, residual_count, order, middle - steps * scale, scale, plan);
    }

    // A few low outliers (a step back between two steps forward) must not stretch the frame: try
    // one that begins a little below the usual range; smaller ones wrap to huge and are patched.
    uint64_t low = (uint64_t)sample[taken / 16];
    uint64_t usual = (uint64_t)sample[taken - 1 - taken / 16] - low;
    uint64_t room = usual / 4 / scale * scale;
    if (low - minimum > room && s_bit_width(low - minimum) > s_bit_width(usual)) {
        s_plan_base(residuals, residual_count, order, low - room, scale, plan);
    }
}

static uint32_t s_order_of_id(uint32_t id)
{
    switch (id) {
    case BB_ENCODING_DELTA:
    case BB_ENCODING_DECIMAL_DELTA:
        return 1;
    case BB_ENCODING_DELTA2:
        return 2;
    default:
        return 0;
    }
}

static bool s_is_decimal(uint32_t id)
{
    return id == BB_ENCODING_DECIMAL_FOR || id == BB_ENCODING_DECIMAL_DELTA;
}

// ---- writing ------------------------------------------------------------------------------------

static uint8_t *s_put_u64(uint8_t *at, uint64_t number)
{
    memcpy(at, &number, 8);
    return at + 8;
}

static uint8_t *s_put_list(uint8_t *at, const uint64_t *words, const uint16_t *positions,
                           uint32_t count)
{
    // cppcheck-suppress uninitvar ; the caller has filled `count` of both
    memcpy(at, words, (size_t)count * 8);
    // cppcheck-suppress uninitvar ; likewise
    memcpy(at + (size_t)count * 8, positions, (size_t)count * 2);
    return at + (size_t)count * 10;
}

static size_t s_write_packed(const s_plan_t *plan, const uint64_t *integers, uint32_t count,
                             const bb_decimals_t *decimals, uint8_t *out)
{
    uint64_t residuals[BB_BLOCK_ROWS_MAX];
    uint64_t patches[BB_BLOCK_ROWS_MAX];
    uint16_t positions[BB_BLOCK_ROWS_MAX];
    uint32_t residual_count = s_differences(integers, count, plan->order, residuals);
    uint32_t patch_count = 0;
    for (uint32_t i = 0; i < residual_count; i++) {
        uint64_t quotient;
        bool fits = s_quotient(residuals[i], plan->base, plan->scale, &quotient);
        if (!fits || s_bit_width(quotient) > plan->width) {
            patches[patch_count] = residuals[i];
            positions[patch_count++] = (uint16_t)i;
            quotient = 0;
        }
        residuals[i] = quotient;
    }
    BB_ASSERT(patch_count == plan->patch_count);

    uint16_t exception_count = decimals ? (uint16_t)decimals->exception_count : 0;
    uint16_t patch_count_16 = (uint16_t)patch_count;
    uint8_t *at = out;
    *at++ = (uint8_t)plan->width;
    *at++ = plan->scale > 1 ? FLAG_SCALE : 0;
    *at++ = decimals ? (uint8_t)decimals->exponent : 0;
    *at++ = 0;
    memcpy(at, &patch_count_16, 2);
    memcpy(at + 2, &exception_count, 2);
    at = s_put_u64(at + 4, plan->base);
    if (plan->order >= 1) {
        at = s_put_u64(at, integers[0]);
    }
    if (plan->order == 2) {
        at = s_put_u64(at, integers[1] - integers[0]);
    }
    if (plan->scale > 1) {
        at = s_put_u64(at, plan->scale);
    }
    bb_bitpack_pack(residuals, residual_count, plan->width, at);
    at += bb_bitpack_bytes(residual_count, plan->width);
    at = s_put_list(at, patches, positions, patch_count);
    if (decimals) {
        at = s_put_list(at, decimals->exceptions, decimals->positions, exception_count);
    }
    return (size_t)(at - out);
}

// ---- the registry
// ---------------------------------------------------------------------------------

static bool s_is_constant(const s_block_t *block)
{
    for (uint32_t i = 1; i < block->count; i++) {
        if (block->words[i] != block->words[0]) {
            return false;
        }
    }
    return true;
}

// Each returns the exact bytes, or SIZE_MAX if it cannot hold the block.
static size_t s_constant_plan(uint32_t id, const s_block_t *block, s_plan_t *plan)
{
    (void)id;
    (void)plan;
    return s_is_constant(block) ? 8 : SIZE_MAX;
}

static size_t s_raw_plan(uint32_t id, const s_block_t *block, s_plan_t *plan)
{
    (void)id;
    (void)plan;
    return (size_t)block->count * 8;
}

static size_t s_packed_plan(uint32_t id, const s_block_t *block, s_plan_t *plan)
{
    bool decimal = s_is_decimal(id);
    if (decimal && !block->has_decimals) {
        return SIZE_MAX;
    }
    *plan = (s_plan_t){.bytes = SIZE_MAX};
    const uint64_t *integers = decimal ? block->decimals.integers : block->ordered;
    s_plan_order(integers, block->count, s_order_of_id(id), plan);
    if (plan->bytes == SIZE_MAX) {
        return SIZE_MAX;
    }
    return plan->bytes + (decimal ? (size_t)block->decimals.exception_count * 10 : 0);
}

static size_t s_constant_encode(uint32_t id, const s_block_t *block, const s_plan_t *plan,
                                uint8_t *out)
{
    (void)id;
    (void)plan;
    memcpy(out, block->words, 8);
    return 8;
}

static size_t s_raw_encode(uint32_t id, const s_block_t *block, const s_plan_t *plan, uint8_t *out)
{
    (void)id;
    (void)plan;
    memcpy(out, block->words, (size_t)block->count * 8);
    return (size_t)block->count * 8;
}

static size_t s_packed_encode(uint32_t id, const s_block_t *block, const s_plan_t *plan,
                              uint8_t *out)
{
    bool decimal = s_is_decimal(id);
    return s_write_packed(plan, decimal ? block->decimals.integers : block->ordered, block->count,
                          decimal ? &block->decimals : NULL, out);
}

static bool s_constant_decode(uint32_t id, bb_encoding_kind_t kind, bb_slice_t encoded,
                              uint32_t count, uint64_t *out)
{
    (void)id;
    (void)kind;
    if (encoded.length != 8) {
        return false;
    }
    uint64_t word;
    memcpy(&word, encoded.data, 8);
    for (uint32_t i = 0; i < count; i++) {
        out[i] = word;
    }
    return true;
}

static bool s_raw_decode(uint32_t id, bb_encoding_kind_t kind, bb_slice_t encoded, uint32_t count,
                         uint64_t *out)
{
    (void)id;
    (void)kind;
    if (encoded.length != (size_t)count * 8) {
        return false;
    }
    memcpy(out, encoded.data, encoded.length);
    return true;
}

static uint64_t s_get_u64(const uint8_t **at)
{
    uint64_t number;
    memcpy(&number, *at, 8);
    *at += 8;
    return number;
}

static uint16_t s_get_u16(const uint8_t *at)
{
    uint16_t number;
    memcpy(&number, at, 2);
    return number;
}

// Overwrites the words at the listed positions. False: positions out of range or not ascending.
static bool s_apply_list(const uint8_t *list, uint32_t list_count, uint32_t count, uint64_t *out)
{
    const uint8_t *positions = list + (size_t)list_count * 8;
    uint32_t position_limit = 0;
    for (uint32_t i = 0; i < list_count; i++) {
        uint32_t position = s_get_u16(positions + (size_t)i * 2);
        if (position < position_limit || position >= count) {
            return false;
        }
        position_limit = position + 1;
        out[position] = s_get_u64(&list);
    }
    return true;
}

// out[0] is free, out[1...] are differences: each becomes the sum of all before it.
static void s_prefix_sum(uint64_t first, uint64_t *out, uint32_t count)
{
    uint64_t sum = first;
    out[0] = sum;
    for (uint32_t i = 1; i < count; i++) {
        sum += out[i];
        out[i] = sum;
    }
}

static bool s_packed_decode(uint32_t id, bb_encoding_kind_t kind, bb_slice_t encoded,
                            uint32_t count, uint64_t *out)
{
    uint32_t order = s_order_of_id(id);
    bool decimal = s_is_decimal(id);
    const uint8_t *at = encoded.data;
    if (encoded.length < HEADER_BYTES || count <= order ||
        (decimal && kind != BB_ENCODING_FLOAT64)) {
        return false;
    }
    uint32_t width = at[0];
    uint32_t flags = at[1];
    uint32_t exponent = at[2];
    uint32_t patch_count = s_get_u16(at + 4);
    uint32_t exception_count = s_get_u16(at + 6);
    uint32_t exponent_max = decimal ? BB_ENCODING_EXPONENT_MAX : 0;
    if (width > 64 || flags > FLAG_SCALE || exponent > exponent_max || at[3] != 0 ||
        (!decimal && exception_count != 0)) {
        return false;
    }
    uint32_t residual_count = count - order;
    size_t packed_bytes = bb_bitpack_bytes(residual_count, width);
    size_t expected = HEADER_BYTES + 8u * order + 8u * flags + packed_bytes +
                      (size_t)patch_count * 10 + (size_t)exception_count * 10;
    if (encoded.length != expected) {
        return false;
    }
    at += 8;
    uint64_t base = s_get_u64(&at);
    uint64_t first = order >= 1 ? s_get_u64(&at) : 0;
    uint64_t second = order == 2 ? s_get_u64(&at) : 0;
    uint64_t scale = flags & FLAG_SCALE ? s_get_u64(&at) : 1;
    uint64_t *residuals = out + order;
    if (!bb_bitpack_unpack(at, residual_count, width, residuals)) {
        return false;
    }
    if (scale == 1) {
        for (uint32_t i = 0; i < residual_count; i++) {
            residuals[i] += base;
        }
    } else {
        for (uint32_t i = 0; i < residual_count; i++) {
            residuals[i] = residuals[i] * scale + base;
        }
    }
    at += packed_bytes;
    if (!s_apply_list(at, patch_count, residual_count, residuals)) {
        return false;
    }
    at += (size_t)patch_count * 10;
    if (order == 2) {
        s_prefix_sum(second, out + 1, count - 1);
    }
    if (order >= 1) {
        s_prefix_sum(first, out, count);
    }
    if (decimal) {
        bb_decimals_restore(exponent, out, count);
        return s_apply_list(at, exception_count, count, out);
    }
    if (kind == BB_ENCODING_FLOAT64) {
        bb_ordered_restore(out, count);
    }
    return true;
}

typedef struct {
    uint8_t id;
    const char *name;
    uint32_t kinds; // bits of bb_encoding_kind_t
    size_t (*plan)(uint32_t id, const s_block_t *block, s_plan_t *plan);
    size_t (*encode)(uint32_t id, const s_block_t *block, const s_plan_t *plan, uint8_t *out);
    bool (*decode)(uint32_t id, bb_encoding_kind_t kind, bb_slice_t encoded, uint32_t count,
                   uint64_t *out);
} s_encoding_t;

#define ANY_KIND (BB_ENCODING_INTEGER | BB_ENCODING_FLOAT64)

// In the order in which they are tried; the first of the smallest wins. Decimals come before the
// other packings of floats: see s_is_good.
static const s_encoding_t s_encodings[] = {
    {BB_ENCODING_CONSTANT, "constant", ANY_KIND, s_constant_plan, s_constant_encode,
     s_constant_decode},
    {BB_ENCODING_DECIMAL_FOR, "decimal_for", BB_ENCODING_FLOAT64, s_packed_plan, s_packed_encode,
     s_packed_decode},
    {BB_ENCODING_DECIMAL_DELTA, "decimal_delta", BB_ENCODING_FLOAT64, s_packed_plan,
     s_packed_encode, s_packed_decode},
    {BB_ENCODING_FOR, "for", ANY_KIND, s_packed_plan, s_packed_encode, s_packed_decode},
    {BB_ENCODING_DELTA, "delta", ANY_KIND, s_packed_plan, s_packed_encode, s_packed_decode},
    {BB_ENCODING_DELTA2, "delta2", BB_ENCODING_INTEGER, s_packed_plan, s_packed_encode,
     s_packed_decode},
    {BB_ENCODING_RAW, "raw", ANY_KIND, s_raw_plan, s_raw_encode, s_raw_decode},
};
static_assert(BB_COUNT_OF(s_encodings) == BB_ENCODING_LAST, "one entry for each id but none");

static const s_encoding_t *s_find(uint32_t id)
{
    for (size_t i = 0; i < BB_COUNT_OF(s_encodings); i++) {
        if (s_encodings[i].id == id) {
            return &s_encodings[i];
        }
    }
    return NULL;
}

bool bb_encoding_is_known(uint32_t id)
{
    return s_find(id) != NULL;
}

const char *bb_encoding_name(uint32_t id)
{
    const s_encoding_t *encoding = s_find(id);
    return encoding ? encoding->name : "unknown";
}

static void s_block_init(s_block_t *block, bb_encoding_kind_t kind, const uint64_t *words,
                         uint32_t count)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    BB_ASSERT(kind == BB_ENCODING_INTEGER || kind == BB_ENCODING_FLOAT64);
    block->words = words;
    block->count = count;
    block->kind = kind;
    memcpy(block->ordered, words, (size_t)count * 8);
    block->has_decimals = false;
    if (kind == BB_ENCODING_FLOAT64) {
        bb_ordered_make(block->ordered, count);
        block->has_decimals = bb_decimals_make(&block->decimals, words, count);
    }
}

// Good enough to stop trying: decimals that pack to half of their size are never beaten by packing
// the bits of the same doubles, and planning costs more than anything else here.
static bool s_is_good(uint32_t id, const s_block_t *block, size_t bytes)
{
    return id == BB_ENCODING_CONSTANT ||
           (id == BB_ENCODING_DECIMAL_DELTA && bytes < (size_t)block->count * 4);
}

struct bb_encoder {
    s_block_t block;
};

bb_encoder_t *bb_encoder_new(void)
{
    return bb_alloc_zero(1, sizeof(bb_encoder_t));
}

void bb_encoder_destroy(bb_encoder_t **self)
{
    free(*self);
    *self = NULL;
}

size_t bb_encoder_encode(bb_encoder_t *self, const bb_encoding_input_t *input, uint32_t *hint,
                         uint8_t *out, uint8_t *id)
{
    (void)hint;
    s_block_t *block = &self->block;
    s_block_init(block, input->kind, input->words, input->count);
    const s_encoding_t *best = NULL;
    s_plan_t best_plan = {0};
    size_t best_bytes = SIZE_MAX;
    for (size_t i = 0; i < BB_COUNT_OF(s_encodings); i++) {
        const s_encoding_t *encoding = &s_encodings[i];
        if (!(encoding->kinds & input->kind)) {
            continue;
        }
        s_plan_t plan = {0};
        size_t bytes = encoding->plan(encoding->id, block, &plan);
        if (bytes < best_bytes) {
            best = encoding;
            best_plan = plan;
            best_bytes = bytes;
        }
        if (best_bytes != SIZE_MAX && s_is_good(encoding->id, block, best_bytes)) {
            break;
        }
    }
    BB_ASSERT(best && best_bytes <= BB_ENCODING_BYTES_MAX(input->count));
    size_t written = best->encode(best->id, block, &best_plan, out);
    BB_ASSERT(written == best_bytes);
    *id = best->id;
    return written;
}

size_t bb_encoder_encode_as(bb_encoder_t *self, bb_encoding_id_t id,
                            const bb_encoding_input_t *input, uint8_t *out)
{
    const s_encoding_t *encoding = s_find(id);
    BB_ASSERT(encoding);
    if (!(encoding->kinds & input->kind)) {
        return 0;
    }
    s_block_init(&self->block, input->kind, input->words, input->count);
    s_plan_t plan = {0};
    size_t bytes = encoding->plan(id, &self->block, &plan);
    if (bytes > BB_ENCODING_BYTES_MAX(input->count)) {
        return 0;
    }
    size_t written = encoding->encode(id, &self->block, &plan, out);
    BB_ASSERT(written == bytes);
    return written;
}

bb_error_t bb_encoding_peers(uint32_t id, bb_slice_t encoded, uint32_t peer_count,
                             uint32_t peers[BB_ENCODING_PEERS_MAX], uint32_t *count)
{
    (void)encoded;
    (void)peer_count;
    (void)peers;
    if (!s_find(id)) {
        return BB_ERR_FORMAT;
    }
    *count = 0;
    return BB_OK;
}

bb_error_t bb_encoding_decode(uint32_t id, bb_encoding_kind_t kind, bb_slice_t encoded,
                              uint32_t count, const uint64_t *const *peers, uint64_t *out)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    (void)peers;
    const s_encoding_t *encoding = s_find(id);
    if (!encoding) {
        return BB_ERR_FORMAT;
    }
    if (!(encoding->kinds & kind) || !encoding->decode(id, kind, encoded, count, out)) {
        return BB_ERR_CORRUPT;
    }
    return BB_OK;
}

bb_error_t bb_encoding_aggregate(uint32_t id, bb_type_t type, bb_slice_t encoded, uint32_t count,
                                 const uint64_t *const *peers, uint32_t row_first,
                                 uint32_t row_limit, bb_encoding_totals_t *totals)
{
    BB_ASSERT(row_first < row_limit && row_limit <= count);
    uint64_t words[BB_BLOCK_ROWS_MAX];
    bb_encoding_kind_t kind = type == BB_TYPE_FLOAT64 ? BB_ENCODING_FLOAT64 : BB_ENCODING_INTEGER;
    bb_error_t error = bb_encoding_decode(id, kind, encoded, count, peers, words);
    if (error == BB_OK) {
        bb_encoding_totals_of(type, words + row_first, row_limit - row_first, totals);
    }
    return error;
}
