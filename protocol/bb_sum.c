// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_sum.h"

#include <math.h>

#define S_MANTISSA_BITS 52
#define S_HIDDEN_BIT    (UINT64_C(1) << S_MANTISSA_BITS)
// The doubles around it are the integers: adding it rounds what is below 2^51, ties to even.
#define S_ROUNDING 0x1.8p52
// The bin of 2^0. Doubles begin at 2^-1074, in bin 0.
#define S_UNIT_BIN 17
#define S_BIAS     (64 * S_UNIT_BIN)
// The highest bin, three words of its product, and a word for the sign.
#define S_LIMBS 40u
static_assert(S_BIAS >= 1074, "the smallest double is in a bin");
static_assert((1023 + S_BIAS) / 64 == BB_SUM_TOP_MAX && BB_SUM_TOP_MAX + 4 <= S_LIMBS, "room");

static const double s_powers[BB_SUM_EXPONENT_MAX + 1] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5,
                                                         1e6, 1e7, 1e8, 1e9, 1e10};
const uint64_t bb_sum_factors[BB_SUM_EXPONENT_MAX + 1] = {UINT64_C(10000000000),
                                                          1000000000,
                                                          100000000,
                                                          10000000,
                                                          1000000,
                                                          100000,
                                                          10000,
                                                          1000,
                                                          100,
                                                          10,
                                                          1};

// ---- words -----------------------------------------------------------------------------------
// limbs += number, whose sign goes on upwards.
static void s_add_limbs(uint64_t *limbs, uint32_t limb_count, const uint64_t *number,
                        uint32_t word_count)
{
    uint64_t sign = UINT64_C(0) - (number[word_count - 1] >> 63);
    unsigned carry = 0;
    for (uint32_t i = 0; i < limb_count; i++) {
        unsigned __int128 total = (unsigned __int128)limbs[i] + carry;
        total += i < word_count ? number[i] : sign;
        limbs[i] = (uint64_t)total;
        carry = (unsigned)(total >> 64);
    }
}

// The usual case of the above.
static inline void s_add_decimals(uint64_t limbs[BB_SUM_DECIMAL_LIMBS],
                                  const uint64_t number[BB_SUM_DECIMAL_LIMBS])
{
    unsigned __int128 total = (unsigned __int128)limbs[0] + number[0];
    limbs[0] = (uint64_t)total;
    total = (unsigned __int128)limbs[1] + number[1] + (uint64_t)(total >> 64);
    limbs[1] = (uint64_t)total;
    limbs[2] += number[2] + (uint64_t)(total >> 64);
}

static void s_negate(uint64_t *limbs, uint32_t count)
{
    bool carry = true;
    for (uint32_t i = 0; i < count; i++) {
        limbs[i] = ~limbs[i] + carry;
        carry = carry && limbs[i] == 0;
    }
}

// The product has one word more than a number of 128 bits.
static void s_multiply(__int128 number, uint64_t factor, uint64_t product[3])
{
    bool is_negative = number < 0;
    unsigned __int128 magnitude =
        is_negative ? -(unsigned __int128)number : (unsigned __int128)number;
    unsigned __int128 low = (unsigned __int128)(uint64_t)magnitude * factor;
    unsigned __int128 high = (unsigned __int128)(uint64_t)(magnitude >> 64) * factor + (low >> 64);
    product[0] = (uint64_t)low;
    product[1] = (uint64_t)high;
    product[2] = (uint64_t)(high >> 64);
    if (is_negative) {
        s_negate(product, 3);
    }
}

static __int128 s_wide(const uint64_t words[2])
{
    return (__int128)((unsigned __int128)words[1] << 64 | words[0]);
}

// Wraps around: only a sum that nobody computed can do that.
static void s_add_wide(uint64_t words[2], __int128 number)
{
    unsigned __int128 total = (unsigned __int128)s_wide(words) + (unsigned __int128)number;
    words[0] = (uint64_t)total;
    words[1] = (uint64_t)(total >> 64);
}

// ---- adding ----------------------------------------------------------------------------------
void bb_sum_add_scaled(bb_sum_t *self, __int128 integer, uint32_t exponent)
{
    BB_ASSERT(exponent <= BB_SUM_EXPONENT_MAX);
    uint64_t product[BB_SUM_DECIMAL_LIMBS];
    if ((int64_t)integer == integer) {
        __int128 narrow = integer * (__int128)bb_sum_factors[exponent];
        product[0] = (uint64_t)narrow;
        product[1] = (uint64_t)(narrow >> 64);
        product[2] = (uint64_t)(narrow >> 127);
    } else {
        s_multiply(integer, bb_sum_factors[exponent], product);
    }
    s_add_decimals(self->decimals, product);
}

uint32_t bb_sum_exponent(double magnitude)
{
    // Half below the limit: what is larger rounds to it. Comparisons with NaN are false.
    const double limit = (double)BB_SUM_INTEGER_LIMIT - 0.5;
    for (uint32_t exponent = BB_SUM_EXPONENT_MAX; exponent <= BB_SUM_EXPONENT_MAX; exponent--) {
        if (magnitude * s_powers[exponent] < limit) {
            return exponent;
        }
    }
    return UINT32_MAX;
}

// One look is enough: who is a decimal of a smaller exponent is one of the largest, too. Its
// product is within 3/8 of the integer, which the rounding therefore finds.
static bool s_is_decimal(double number, int64_t *integer, uint32_t *exponent)
{
    *exponent = bb_sum_exponent(fabs(number));
    if (*exponent == UINT32_MAX) {
        return false;
    }
    double power = s_powers[*exponent];
    double rounded = (number * power + S_ROUNDING) - S_ROUNDING;
    *integer = (int64_t)rounded;
    return rounded / power == number;
}

// The bins from `top` down; what falls out below is left out.
static void s_raise(bb_sum_t *self, uint32_t top)
{
    while (self->flags & BB_SUM_BINARY && self->top < top) {
        memmove(self->bins[0], self->bins[1], sizeof self->bins[0] * (BB_SUM_BINS - 1));
        memset(self->bins[BB_SUM_BINS - 1], 0, sizeof self->bins[0]);
        self->top++;
    }
    if (!(self->flags & BB_SUM_BINARY)) {
        self->flags |= BB_SUM_BINARY;
        self->top = top;
    }
}

static void s_add_piece(bb_sum_t *self, uint32_t number, __int128 piece)
{
    uint32_t below = self->top - number;
    if (below < BB_SUM_BINS) {
        s_add_wide(self->bins[BB_SUM_BINS - 1 - below], piece);
    }
}

// A finite number that is not zero.
static void s_add_binary(bb_sum_t *self, uint64_t bits, uint64_t count)
{
    uint32_t exponent = bits >> S_MANTISSA_BITS & 0x7ff;
    uint64_t mantissa = bits & (S_HIDDEN_BIT - 1);
    mantissa |= exponent > 0 ? S_HIDDEN_BIT : 0;
    uint32_t place = BB_MAX(exponent, 1) - 1 + S_BIAS - 1074; // of the mantissa's lowest bit
    uint32_t lower = place / 64;
    unsigned __int128 pieces = (unsigned __int128)mantissa << place % 64;
    __int128 high = (__int128)((unsigned __int128)(uint64_t)(pieces >> 64) * count);
    __int128 low = (__int128)((unsigned __int128)(uint64_t)pieces * count);
    uint32_t top = lower + (high != 0);
    if (!(self->flags & BB_SUM_BINARY) || self->top < top) {
        s_raise(self, top);
    }
    bool is_negative = bits >> 63;
    s_add_piece(self, lower, is_negative ? -low : low);
    if (high != 0) {
        s_add_piece(self, lower + 1, is_negative ? -high : high);
    }
}

void bb_sum_add_fractions(bb_sum_t *self, bool has_whole, int64_t whole, __int128 fraction)
{
    uint32_t top = has_whole ? S_UNIT_BIN : S_UNIT_BIN - 1;
    if (!(self->flags & BB_SUM_BINARY) || self->top < top) {
        s_raise(self, top);
    }
    s_add_piece(self, S_UNIT_BIN, whole);
    s_add_piece(self, S_UNIT_BIN - 1, fraction);
}

void bb_sum_add_times(bb_sum_t *self, double number, uint64_t count)
{
    BB_ASSERT(count < UINT64_C(1) << 62);
    if (count == 0) {
        return;
    }
    int64_t integer;
    uint32_t exponent;
    if (s_is_decimal(number, &integer, &exponent)) {
        bb_sum_add_scaled(self, (__int128)integer * (__int128)count, exponent);
    } else if (isfinite(number)) {
        s_add_binary(self, bb_bits_of_double(number), count);
    } else if (isnan(number)) {
        self->flags |= BB_SUM_NAN;
    } else {
        self->flags |= number > 0 ? BB_SUM_POSITIVE_INFINITY : BB_SUM_NEGATIVE_INFINITY;
    }
}

void bb_sum_add(bb_sum_t *self, double number)
{
    bb_sum_add_times(self, number, 1);
}

void bb_sum_add_value(bb_sum_t *self, bb_type_t type, uint64_t bits)
{
    switch (type) {
    case BB_TYPE_FLOAT64:
        bb_sum_add(self, bb_double_of_bits(bits));
        break;
    case BB_TYPE_INT64:
    case BB_TYPE_BOOL:
        bb_sum_add_scaled(self, (int64_t)bits, 0);
        break;
    case BB_TYPE_STATE:
        break;
    }
}

static void s_merge_bins(bb_sum_t *self, const bb_sum_t *other)
{
    s_raise(self, other->top);
    uint32_t below = self->top - other->top;
    for (uint32_t i = below; i < BB_SUM_BINS; i++) {
        s_add_wide(self->bins[i - below], s_wide(other->bins[i]));
    }
}

void bb_sum_merge(bb_sum_t *self, const bb_sum_t *other)
{
    s_add_decimals(self->decimals, other->decimals);
    if (other->flags & BB_SUM_BINARY) {
        s_merge_bins(self, other);
    }
    self->flags |= other->flags;
}

bool bb_sum_is_equal(const bb_sum_t *a, const bb_sum_t *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

// ---- reading ---------------------------------------------------------------------------------
bool bb_sum_integer(const bb_sum_t *self, uint32_t exponent, __int128 *integer)
{
    BB_ASSERT(exponent <= BB_SUM_EXPONENT_MAX);
    __int128 units = s_wide(self->decimals);
    __int128 size = units >> 120;
    if (self->flags != 0 || self->decimals[2] != UINT64_C(0) - (self->decimals[1] >> 63) ||
        (size != 0 && size != -1)) {
        return false;
    }
    uint64_t factor = bb_sum_factors[exponent];
    int64_t narrow = (int64_t)units;
    if (narrow == units) {
        // The usual size, without a division of 128 bits.
        *integer = narrow / (int64_t)factor;
        return narrow % (int64_t)factor == 0;
    }
    *integer = units / (__int128)factor;
    return units % (__int128)factor == 0;
}

// Divides words [first, limit) by a number; true if something is left over.
static bool s_divide(uint64_t *limbs, uint32_t first, uint32_t limit, uint64_t divisor)
{
    uint64_t rest = 0;
    for (uint32_t i = limit; i-- > first;) {
        unsigned __int128 part = (unsigned __int128)rest << 64 | limbs[i];
        limbs[i] = (uint64_t)(part / divisor);
        rest = (uint64_t)(part % divisor);
    }
    return rest != 0;
}

// The double next to mantissa x 2^exponent, mantissa at least 2^63, its lowest bit set if anything
// was cut off.
static double s_round(uint64_t mantissa, int exponent)
{
    int excess = -1074 - exponent; // bits below the smallest double
    if (excess <= 11) {
        return ldexp((double)mantissa, exponent); // one rounding to 53 bits; then exact
    }
    if (excess > 64) {
        return 0.0;
    }
    uint64_t whole = excess == 64 ? 0 : mantissa >> excess;
    uint64_t half = UINT64_C(1) << (excess - 1);
    uint64_t rest = mantissa & (half | (half - 1));
    whole += rest > half || (rest == half && (whole & 1));
    return ldexp((double)whole, -1074);
}

// The sum in units of 10^-10 x 2^-S_BIAS, two's complement.
static void s_gather(const bb_sum_t *self, uint64_t limbs[S_LIMBS])
{
    memset(limbs, 0, S_LIMBS * sizeof *limbs);
    s_add_limbs(limbs + S_UNIT_BIN, S_LIMBS - S_UNIT_BIN, self->decimals, BB_SUM_DECIMAL_LIMBS);
    for (uint32_t i = 0; self->flags & BB_SUM_BINARY && i < BB_SUM_BINS; i++) {
        if (self->top + 1 + i < BB_SUM_BINS) {
            continue; // there is nothing below bin 0
        }
        uint32_t number = self->top + 1 + i - BB_SUM_BINS;
        uint64_t product[3];
        s_multiply(s_wide(self->bins[i]), bb_sum_factors[0], product);
        s_add_limbs(limbs + number, S_LIMBS - number, product, 3);
    }
}

// sum / (10^10 x count), rounded once.
static double s_quotient(const bb_sum_t *self, uint64_t count)
{
    uint64_t limbs[S_LIMBS];
    s_gather(self, limbs);
    bool is_negative = limbs[S_LIMBS - 1] >> 63;
    if (is_negative) {
        s_negate(limbs, S_LIMBS);
    }
    uint32_t limit = S_LIMBS;
    while (limit > 0 && limbs[limit - 1] == 0) {
        limit--;
    }
    if (limit == 0) {
        return 0.0;
    }
    // The divisors have less than 98 bits together, so three words of the quotient that may be
    // zero, then two for the double: what is below only says that something is there.
    uint32_t first = limit > 5 ? limit - 5 : 0;
    bool is_cut = false;
    for (uint32_t i = 0; i < first; i++) {
        is_cut |= limbs[i] != 0;
    }
    is_cut |= s_divide(limbs, first, limit, bb_sum_factors[0]);
    is_cut |= s_divide(limbs, first, limit, count);
    while (limit > first && limbs[limit - 1] == 0) {
        limit--;
    }
    if (limit == first) {
        return is_negative ? -0.0 : 0.0; // below the smallest double
    }
    uint32_t shift = (uint32_t)__builtin_clzll(limbs[limit - 1]);
    uint64_t next = limit - 1 > first ? limbs[limit - 2] : 0;
    uint64_t mantissa = limbs[limit - 1] << shift | (shift ? next >> (64 - shift) : 0);
    is_cut |= next << shift != 0;
    for (uint32_t i = first; i + 2 < limit; i++) {
        is_cut |= limbs[i] != 0;
    }
    double magnitude = s_round(mantissa | is_cut, 64 * ((int)limit - 1) - S_BIAS - (int)shift);
    return is_negative ? -magnitude : magnitude;
}

double bb_sum_mean(const bb_sum_t *self, uint64_t count)
{
    BB_ASSERT(count >= 1);
    const uint32_t both = BB_SUM_POSITIVE_INFINITY | BB_SUM_NEGATIVE_INFINITY;
    if (self->flags & BB_SUM_NAN || (self->flags & both) == both) {
        return (double)NAN;
    }
    if (self->flags & both) {
        return self->flags & BB_SUM_POSITIVE_INFINITY ? (double)INFINITY : -(double)INFINITY;
    }
    // The usual size: both sides of one division are exact.
    int64_t units = (int64_t)self->decimals[0];
    uint64_t sign = UINT64_C(0) - (self->decimals[0] >> 63);
    if (self->flags == 0 && self->decimals[1] == sign && self->decimals[2] == sign &&
        units < INT64_C(1) << 53 && units > -(INT64_C(1) << 53) && count <= 900000) {
        return (double)units / (1e10 * (double)count);
    }
    return s_quotient(self, count);
}

double bb_sum_value(const bb_sum_t *self)
{
    return bb_sum_mean(self, 1);
}

// ---- bytes -----------------------------------------------------------------------------------
static uint8_t s_byte(const uint64_t *words, uint32_t index)
{
    return (uint8_t)(words[index / 8] >> index % 8 * 8);
}

// Bytes that hold the number with its sign; 0 for 0.
static uint32_t s_length(const uint64_t *words, uint32_t word_count)
{
    uint32_t length = word_count * 8;
    uint8_t sign = s_byte(words, length - 1) & 0x80 ? 0xff : 0;
    while (length > 1 && s_byte(words, length - 1) == sign &&
           (s_byte(words, length - 2) & 0x80) == (sign & 0x80)) {
        length--;
    }
    return length == 1 && words[0] == 0 ? 0 : length;
}

static uint8_t *s_put(uint8_t *at, const uint64_t *words, uint32_t word_count)
{
    uint32_t length = s_length(words, word_count);
    *at++ = (uint8_t)length;
    for (uint32_t i = 0; i < length; i++) {
        *at++ = s_byte(words, i);
    }
    return at;
}

static bool s_get(const uint8_t **at, const uint8_t *limit, uint64_t *words, uint32_t word_count)
{
    if (*at == limit) {
        return false;
    }
    uint32_t length = *(*at)++;
    if (length > word_count * 8 || (size_t)(limit - *at) < length) {
        return false;
    }
    uint64_t sign = length > 0 && (*at)[length - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint32_t i = 0; i < word_count; i++) {
        words[i] = sign;
    }
    for (uint32_t i = 0; i < length; i++) {
        uint32_t shift = i % 8 * 8;
        words[i / 8] = (words[i / 8] & ~(UINT64_C(0xff) << shift)) | (uint64_t)(*at)[i] << shift;
    }
    *at += length;
    return s_length(words, word_count) == length;
}

size_t bb_sum_encode(const bb_sum_t *self, uint8_t out[BB_SUM_BYTES_MAX])
{
    uint8_t *at = out;
    *at++ = (uint8_t)self->flags;
    at = s_put(at, self->decimals, BB_SUM_DECIMAL_LIMBS);
    if (self->flags & BB_SUM_BINARY) {
        *at++ = (uint8_t)self->top;
        for (uint32_t i = 0; i < BB_SUM_BINS; i++) {
            at = s_put(at, self->bins[i], 2);
        }
    }
    return (size_t)(at - out);
}

bb_error_t bb_sum_decode(bb_sum_t *self, const uint8_t **at, const uint8_t *limit)
{
    bb_sum_t found = {0};
    if (*at == limit) {
        return BB_ERR_CORRUPT;
    }
    found.flags = *(*at)++;
    if (found.flags > BB_SUM_FLAGS || !s_get(at, limit, found.decimals, BB_SUM_DECIMAL_LIMBS)) {
        return BB_ERR_CORRUPT;
    }
    if (found.flags & BB_SUM_BINARY) {
        if (*at == limit) {
            return BB_ERR_CORRUPT;
        }
        found.top = *(*at)++;
        for (uint32_t i = 0; i < BB_SUM_BINS; i++) {
            if (!s_get(at, limit, found.bins[i], 2)) {
                return BB_ERR_CORRUPT;
            }
        }
    }
    if (!bb_sum_is_valid(&found)) {
        return BB_ERR_CORRUPT;
    }
    *self = found;
    return BB_OK;
}

bool bb_sum_is_valid(const bb_sum_t *self)
{
    uint64_t unused = 0;
    for (uint32_t i = 0; i < BB_SUM_BINS; i++) {
        // Without BINARY all of them; with it, those below bin 0.
        bool is_used = self->flags & BB_SUM_BINARY && self->top + 1 + i >= BB_SUM_BINS;
        unused |= is_used ? 0 : self->bins[i][0] | self->bins[i][1];
    }
    return self->flags <= BB_SUM_FLAGS && self->top <= BB_SUM_TOP_MAX && unused == 0 &&
           (self->flags & BB_SUM_BINARY || self->top == 0);
}
