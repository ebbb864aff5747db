// SPDX-License-Identifier: Apache-2.0
// Writing packed integers: choose order, scale, then window and width of each mini.
#include <stdlib.h>

#include "protocol/bb_bitpack.h"
#include "storage/encoding/bb_arithmetic.h"
#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_divisor.h"
#include "storage/encoding/bb_entropy.h"
#include "storage/encoding/bb_packed.h"
#include "storage/encoding/bb_packed_private.h"

// Offsets of narrow blocks stay below this, so that no difference of differences overflows.
#define NARROW_LIMIT (UINT64_C(1) << 29)
// Estimates are in sixteenths of a bit.
#define ESTIMATE_ONE 16u
// Rows of each mini that are looked at.
#define WINDOW_ROWS 64u
// The entropy form takes three times as long to decode. It must save this many sixteenths of a bit
// a value, and leave at most this many sixteenths of the bytes.
#define ENTROPY_SAVING    16u
#define ENTROPY_LEFT      12u
#define ENTROPY_COUNT_MIN 64u
#define ENTROPY_HEAD      10u // bytes of tables and states, at least
#define SAMPLE            31u
// What decoding takes, in nanoseconds a value on one core: minis, the entropy form, and the
// arithmetic one with each bit of it. A nanosecond counts like one PRICE-th of the bytes, if they
// are to be few.
#define PRICE             256u
#define MINI_NS           1u
#define ENTROPY_NS        3u
#define ARITHMETIC_NS     3u
#define ARITHMETIC_BIT_NS 6u
// More bits a value: the arithmetic form will not be worth its time.
#define ARITHMETIC_BITS_MAX 4u

struct bb_packer {
    int32_t offsets[BB_BLOCK_ROWS_MAX];
    int32_t residuals[BB_BLOCK_ROWS_MAX];
    uint64_t wide[BB_BLOCK_ROWS_MAX]; // offsets, then residuals, of wide blocks
    uint32_t patch_count;
    uint32_t patch_bytes;
    uint8_t patch_rows[MINI_ROWS]; // of one mini, as are the patches
    uint64_t patches[MINI_ROWS];   // folded
    uint8_t minis[BB_PACKED_BYTES_MAX(BB_BLOCK_ROWS_MAX)];
    uint8_t small[BB_PACKED_BYTES_MAX(BB_BLOCK_ROWS_MAX)]; // instead of minis
    bb_entropy_t entropy;
    bb_encoder_aim_t aim;
    bool may_surprise, has_surprises;
};

// What comes behind the head, and what of the head depends on it.
typedef struct {
    uint32_t order, flag; // FLAG_ENTROPY, FLAG_ARITHMETIC or 0
    uint64_t slope;       // order 1 and 2: what comes before the first difference
    int32_t shift;        // order 0: of the base
    const uint8_t *bytes; // of the packer
    size_t length;
} s_form_t;

// One mini as it will be written.
typedef struct {
    uint64_t reference;
    uint32_t width, above; // above: residuals outside of the window
} s_plan_t;

bb_packer_t *bb_packer_new(void)
{
    bb_packer_t *self = bb_alloc_zero(1, sizeof *self);
    self->aim = BB_ENCODER_FAST;
    self->may_surprise = true;
    return self;
}

void bb_packer_destroy(bb_packer_t **self)
{
    free(*self);
    *self = NULL;
}

void bb_packer_set_surprises(bb_packer_t *self, bool may)
{
    self->may_surprise = may;
    self->has_surprises = false;
}

bool bb_packer_has_surprises(const bb_packer_t *self)
{
    return self->has_surprises;
}

// ---- range --------------------------------------------------------------------------------------

BB_CLONES static uint64_t s_range(const uint64_t *integers, uint32_t count)
{
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    for (uint32_t i = 0; i < count; i++) {
        int64_t integer = (int64_t)integers[i];
        min = integer < min ? integer : min;
        max = integer > max ? integer : max;
    }
    return (uint64_t)max - (uint64_t)min;
}

BB_CLONES static void s_narrow(const uint64_t *integers, uint32_t count, int32_t *offsets)
{
    uint64_t first = integers[0];
    for (uint32_t i = 0; i < count; i++) {
        offsets[i] = (int32_t)(uint32_t)(integers[i] - first);
    }
}

// ---- estimates ----------------------------------------------------------------------------------

// log2(2 x |number| + 1), in sixteenths of a bit and a little below: read off a float.
BB_INLINE uint32_t s_log2(int32_t number)
{
    uint32_t size = number < 0 ? 0u - (uint32_t)number : (uint32_t)number;
    union {
        float number;
        uint32_t bits;
    } wide = {.number = (float)(int32_t)(size & 0x3fffffff) * 2.0f + 1.0f};
    return (wide.bits >> 19) - (127u << 4);
}

// The median of the mean steps of three thirds: one jump must not pass for a slope.
BB_INLINE int32_t s_usual_step(const int32_t *offsets, uint32_t rows)
{
    uint32_t third = (rows - 1) / 3;
    if (third == 0) {
        return 0;
    }
    int32_t steps[3];
    for (uint32_t i = 0; i < 3; i++) {
        steps[i] = (offsets[(i + 1) * third] - offsets[i * third]) / (int32_t)third;
    }
    int32_t low = BB_MIN(steps[0], steps[1]);
    int32_t high = BB_MAX(steps[0], steps[1]);
    return BB_MAX(low, BB_MIN(high, steps[2]));
}

// Sums of the logarithms of one mini for each order; rows before the first do not exist.
BB_CLONES static void s_estimate_mini(const int32_t *offsets, uint32_t rows, uint32_t bits[3])
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < rows; i++) {
        sum += offsets[i];
    }
    // cppcheck-suppress zerodiv ; at least one row
    int32_t middle = (int32_t)(sum / rows);
    int32_t step = s_usual_step(offsets, rows);
    uint32_t order_0 = 0;
    for (uint32_t i = 0; i < rows; i++) {
        order_0 += s_log2(offsets[i] - middle);
    }
    uint32_t order_1 = 0;
    for (uint32_t i = 1; i < rows; i++) {
        order_1 += s_log2(offsets[i] - offsets[i - 1]);
    }
    if (step != 0) { // a slope, or jumps that look like one
        uint32_t sloped = 0;
        for (uint32_t i = 1; i < rows; i++) {
            sloped += s_log2(offsets[i] - offsets[i - 1] - step);
        }
        order_1 = BB_MIN(order_1, sloped);
    }
    uint32_t order_2 = 0;
    for (uint32_t i = 2; i < rows; i++) {
        order_2 += s_log2((offsets[i] - offsets[i - 1]) - (offsets[i - 1] - offsets[i - 2]));
    }
    bits[0] += order_0;
    bits[1] += order_1;
    bits[2] += order_2;
}

// A window in the middle of each mini stands for the whole. Returns the rows that were seen.
static uint32_t s_estimate(const int32_t *offsets, uint32_t count, uint32_t bits[3])
{
    uint32_t seen = 0;
    memset(bits, 0, 3 * sizeof bits[0]);
    for (uint32_t row = 0; row < count; row += MINI_ROWS) {
        uint32_t rows = BB_MIN(count - row, MINI_ROWS);
        uint32_t skipped = rows > WINDOW_ROWS ? (rows - WINDOW_ROWS) / 2 : 0;
        rows = BB_MIN(rows, WINDOW_ROWS);
        s_estimate_mini(offsets + row + skipped, rows, bits);
        seen += rows;
    }
    return seen;
}

static uint32_t s_best_order(const uint32_t bits[3], uint32_t count, uint32_t orders)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t order = 0; order <= BB_PACKED_ORDER_MAX; order++) {
        bool may = orders >> order & 1 && (order == 0 || count > order);
        if (may && (best == UINT32_MAX || bits[order] < bits[best])) {
            best = order;
        }
    }
    return best == UINT32_MAX ? 0 : best;
}

uint64_t bb_packed_estimate(bb_packer_t *packer, const uint64_t *integers, uint32_t count)
{
    uint32_t bits[3] = {0};
    uint32_t seen = 0;
    BB_ASSERT(count > 0);
    for (uint32_t row = 0; row < count; row += MINI_ROWS) {
        uint32_t rows = BB_MIN(count - row, MINI_ROWS);
        uint32_t skipped = rows > WINDOW_ROWS ? (rows - WINDOW_ROWS) / 2 : 0;
        const uint64_t *window = integers + row + skipped;
        rows = BB_MIN(rows, WINDOW_ROWS);
        if (s_range(window, rows) >= NARROW_LIMIT) {
            return (uint64_t)count * 64;
        }
        s_narrow(window, rows, packer->offsets);
        s_estimate_mini(packer->offsets, rows, bits);
        seen += rows;
    }
    uint32_t order = s_best_order(bits, count, 7);
    // cppcheck-suppress zerodiv ; at least one row was seen
    return (uint64_t)bits[order] * count / seen / ESTIMATE_ONE;
}

// ---- windows ------------------------------------------------------------------------------------

BB_CLONES static uint32_t s_above(const int32_t *residuals, uint32_t rows, uint32_t reference,
                                  uint32_t mask)
{
    uint32_t above = 0;
    for (uint32_t i = 0; i < rows; i++) {
        above += (uint32_t)residuals[i] - reference > mask;
    }
    return above;
}

BB_CLONES static void s_spread(const int32_t *residuals, uint32_t rows, int32_t *min, int32_t *max,
                               int64_t *sum)
{
    int32_t low = INT32_MAX;
    int32_t high = INT32_MIN;
    int64_t total = 0;
    for (uint32_t i = 0; i < rows; i++) {
        low = residuals[i] < low ? residuals[i] : low;
        high = residuals[i] > high ? residuals[i] : high;
        total += residuals[i];
    }
    *min = low;
    *max = high;
    *sum = total;
}

// The window of that width that leaves out the fewest: around the mean, or from the end of the
// residuals that is nearer to it.
static s_plan_t s_window(const int32_t *residuals, uint32_t rows, uint32_t width, int32_t min,
                         int32_t max, int32_t mean)
{
    uint32_t mask = (UINT32_C(1) << width) - 1;
    bool is_low = (uint32_t)mean - (uint32_t)min < (uint32_t)max - (uint32_t)mean;
    const int32_t references[] = {(int32_t)((uint32_t)mean - mask / 2),
                                  is_low ? min : (int32_t)((uint32_t)max - mask)};
    s_plan_t plan = {.width = width, .above = UINT32_MAX};
    for (uint32_t i = 0; i < BB_COUNT_OF(references) && plan.above > 0; i++) {
        uint32_t above = s_above(residuals, rows, (uint32_t)references[i], mask);
        if (above < plan.above) {
            plan.above = above;
            plan.reference = (uint64_t)(int64_t)references[i];
        }
    }
    return plan;
}

// Narrows the window as long as the patches cost less than the bits that they save.
static s_plan_t s_plan(const int32_t *residuals, uint32_t rows)
{
    int32_t min, max;
    int64_t sum;
    s_spread(residuals, rows, &min, &max, &sum);
    int32_t mean = (int32_t)(sum / (int64_t)rows);
    uint32_t width = bb_bit_width((uint32_t)max - (uint32_t)min);
    s_plan_t best = {.reference = (uint64_t)(int64_t)min, .width = width};
    uint32_t patch_bits = 8 + (width + 1 + 7) / 8 * 8;
    uint32_t best_bits = rows * width;
    for (uint32_t misses = 0; width-- > 0 && misses < 2;) {
        s_plan_t plan = s_window(residuals, rows, width, min, max, mean);
        uint32_t bits = rows * width + plan.above * patch_bits;
        if (bits < best_bits && plan.above < MINI_ROWS) {
            best = plan;
            best_bits = bits;
            misses = 0;
        } else {
            misses++;
        }
        if (plan.above * patch_bits >= best_bits ||
            (misses > 0 && plan.above * patch_bits > 4 * rows)) {
            break;
        }
    }
    return best;
}

// Wide integers are rare: the window begins at the minimum or a little below the usual ones.
static s_plan_t s_plan_wide(const uint64_t *residuals, uint32_t rows)
{
    int64_t min = INT64_MAX;
    uint64_t low = 0;
    for (uint32_t i = 0; i < rows; i++) {
        min = BB_MIN(min, (int64_t)residuals[i]);
    }
    // The lowest but two of a sample of sixteen stands for the usual ones.
    int64_t lowest[3] = {INT64_MAX, INT64_MAX, INT64_MAX};
    for (uint32_t i = 0; i < rows; i += BB_MAX(rows / 16, 1u)) {
        int64_t next = (int64_t)residuals[i];
        for (uint32_t k = 0; k < 3; k++) {
            if (next < lowest[k]) {
                int64_t moved = lowest[k];
                lowest[k] = next;
                next = moved;
            }
        }
    }
    low = (uint64_t)(rows >= 3 ? lowest[2] : min);
    s_plan_t best = {0};
    uint64_t best_bits = UINT64_MAX;
    const uint64_t references[] = {(uint64_t)min, low};
    for (uint32_t k = 0; k < BB_COUNT_OF(references); k++) {
        uint32_t histogram[65] = {0};
        for (uint32_t i = 0; i < rows; i++) {
            histogram[bb_bit_width(residuals[i] - references[k])]++;
        }
        uint32_t above = 0;
        for (uint32_t width = 65; width-- > 0;) {
            uint64_t bits = (uint64_t)rows * width + (uint64_t)above * 72;
            // A width of 63 cannot be written, and there are at most 255 patches.
            if (bits < best_bits && width != 63 && above < MINI_ROWS) {
                best_bits = bits;
                best = (s_plan_t){references[k], width, above};
            }
            above += histogram[width];
        }
    }
    return best;
}

// ---- writing ------------------------------------------------------------------------------------

static void s_patch(bb_packer_t *self, uint32_t row, uint64_t distance)
{
    uint64_t folded = bb_fold(distance);
    self->patch_rows[self->patch_count] = (uint8_t)row;
    self->patches[self->patch_count++] = folded;
    uint32_t bytes = BB_MAX((bb_bit_width(folded) + 7) / 8, 1u);
    self->patch_bytes = BB_MAX(self->patch_bytes, bytes);
}

static uint8_t *s_put_head(bb_packer_t *self, uint8_t *at, const s_plan_t *plan,
                           uint64_t *reference)
{
    BB_ASSERT(self->patch_count == plan->above);
    bool is_other = plan->reference != *reference;
    uint32_t width = BB_MIN(plan->width, MINI_WIDTH);
    *at++ = (uint8_t)(width | (is_other ? MINI_REFERENCE : 0) |
                      (self->patch_count > 0 ? MINI_PATCHES : 0));
    if (is_other) {
        at = bb_put_signed(at, plan->reference);
        *reference = plan->reference;
    }
    if (self->patch_count > 0) {
        *at++ = (uint8_t)self->patch_count;
        *at++ = (uint8_t)self->patch_bytes;
    }
    return at;
}

static uint8_t *s_put_patches(const bb_packer_t *self, uint8_t *at)
{
    memcpy(at, self->patch_rows, self->patch_count);
    at += self->patch_count;
    for (uint32_t i = 0; i < self->patch_count; i++) {
        at = bb_put_fixed(at, self->patches[i], self->patch_bytes);
    }
    return at;
}

static uint8_t *s_put_full(bb_packer_t *self, uint32_t order, uint32_t row, uint8_t *at,
                           uint64_t *reference)
{
    const int32_t *residuals = self->residuals + row;
    s_plan_t plan = s_plan(residuals, MINI_ROWS);
    uint32_t lanes[MINI_ROWS];
    uint32_t distances[MINI_ROWS];
    uint32_t *packed = order == 0 ? distances : lanes;
    for (uint32_t i = 0; i < MINI_ROWS; i++) {
        distances[i] = (uint32_t)residuals[i] - (uint32_t)plan.reference;
    }
    if (order > 0) {
        bb_lanes_from_rows(distances, lanes);
    }
    uint32_t mask = plan.width == 32 ? UINT32_MAX : (UINT32_C(1) << plan.width) - 1;
    self->patch_count = self->patch_bytes = 0;
    for (uint32_t row_8 = 0; self->patch_count < plan.above; row_8 += 8) {
        uint32_t outside = 0;
        for (uint32_t i = row_8; i < row_8 + 8; i++) {
            outside |= packed[i] & ~mask;
        }
        for (uint32_t i = row_8; outside && i < row_8 + 8; i++) {
            if (packed[i] > mask) {
                s_patch(self, i, (uint64_t)(int64_t)(int32_t)packed[i]);
                packed[i] = 0;
            }
        }
    }
    at = s_put_head(self, at, &plan, reference);
    bb_lanes_pack(packed, plan.width, at);
    return s_put_patches(self, at + bb_lanes_bytes(plan.width));
}

static uint8_t *s_put_plain(bb_packer_t *self, uint64_t *residuals, uint32_t rows,
                            const s_plan_t *plan, uint8_t *at, uint64_t *reference)
{
    self->patch_count = self->patch_bytes = 0;
    uint64_t mask = plan->width == 64 ? UINT64_MAX : (UINT64_C(1) << plan->width) - 1;
    for (uint32_t i = 0; i < rows; i++) {
        residuals[i] -= plan->reference;
        if (residuals[i] > mask) {
            s_patch(self, i, residuals[i]);
            residuals[i] = 0;
        }
    }
    at = s_put_head(self, at, plan, reference);
    bb_bitpack_pack(residuals, rows, plan->width, at);
    return s_put_patches(self, at + bb_bitpack_bytes(rows, plan->width));
}

static uint8_t *s_put_tail(bb_packer_t *self, uint32_t row, uint32_t rows, uint8_t *at,
                           uint64_t *reference)
{
    uint64_t residuals[MINI_ROWS];
    for (uint32_t i = 0; i < rows; i++) {
        residuals[i] = (uint64_t)(int64_t)self->residuals[row + i];
    }
    s_plan_t plan = s_plan(self->residuals + row, rows);
    return s_put_plain(self, residuals, rows, &plan, at, reference);
}

// Residuals of the order; returns the slope.
BB_CLONES static int32_t s_differences(const int32_t *offsets, uint32_t count, uint32_t order,
                                       int32_t *residuals)
{
    if (order == 0) {
        memcpy(residuals, offsets, (size_t)count * sizeof *offsets);
        return 0;
    }
    int32_t slope = offsets[1] - offsets[0];
    residuals[0] = order == 1 ? slope : 0;
    residuals[1] = residuals[0];
    if (order == 1) {
        for (uint32_t i = 1; i < count; i++) {
            residuals[i] = offsets[i] - offsets[i - 1];
        }
        return slope;
    }
    for (uint32_t i = 2; i < count; i++) {
        residuals[i] = (offsets[i] - offsets[i - 1]) - (offsets[i - 1] - offsets[i - 2]);
    }
    return slope;
}

// The same of wide offsets, in place and from the end.
static uint64_t s_differences_wide(uint64_t *offsets, uint32_t count, uint32_t order)
{
    uint64_t slope = order > 0 ? offsets[1] - offsets[0] : 0;
    for (uint32_t k = 0; k < order; k++) {
        for (uint32_t i = count; i-- > k + 1;) {
            offsets[i] -= offsets[i - 1];
        }
    }
    if (order == 1) {
        offsets[0] = slope;
    } else if (order == 2) {
        offsets[0] = offsets[1] = 0;
    }
    return slope;
}

// Wide blocks: differences help counters and times; differences of differences hardly more.
static uint32_t s_order_wide(const uint64_t *offsets, uint32_t count, uint32_t orders)
{
    uint64_t bits[3] = {0};
    for (uint32_t i = 0; i < count; i++) {
        uint64_t back = i > 0 ? offsets[i - 1] : offsets[0];
        uint64_t back_2 = i > 1 ? offsets[i - 2] : back;
        bits[0] += bb_bit_width(bb_fold(offsets[i] - offsets[count / 2]));
        bits[1] += bb_bit_width(bb_fold(offsets[i] - back));
        bits[2] += bb_bit_width(bb_fold(offsets[i] - 2 * back + back_2));
    }
    const uint32_t estimates[3] = {(uint32_t)bits[0], (uint32_t)bits[1], (uint32_t)bits[2]};
    return s_best_order(estimates, count, orders);
}

// The number in the middle of a sample: for what is mostly the same, that.
static int32_t s_usual(const int32_t *numbers, uint32_t count)
{
    int32_t sample[SAMPLE] = {0};
    uint32_t taken = BB_MIN(count, SAMPLE);
    for (uint32_t i = 0; i < taken; i++) {
        int32_t number = numbers[(uint64_t)i * count / taken];
        uint32_t place = i;
        for (; place > 0 && sample[place - 1] > number; place--) {
            sample[place] = sample[place - 1];
        }
        sample[place] = number;
    }
    return sample[taken / 2];
}

// The most bytes that the entropy form may take instead of that many of minis.
static size_t s_entropy_limit(size_t mini_bytes, uint32_t count)
{
    size_t saving = (size_t)count * ENTROPY_SAVING / ESTIMATE_ONE / 8;
    size_t left = mini_bytes > saving ? mini_bytes - saving : 0;
    return BB_MIN(left, mini_bytes * ENTROPY_LEFT / 16);
}

// Whether it may be worth a look, given the mean logarithm of the residuals in sixteenths of a bit.
// What follows a bell has an entropy of 2 bits above that; what is mostly zero, less. Guesses are
// high: a look takes 3 ns a value, and most would be in vain.
static bool s_may_pay(uint32_t log2_mean, size_t mini_bytes, uint32_t count)
{
    uint32_t guess = log2_mean + 5 * ESTIMATE_ONE / 2 * log2_mean / (log2_mean + ESTIMATE_ONE);
    size_t limit = s_entropy_limit(mini_bytes, count);
    return count >= ENTROPY_COUNT_MIN && limit > ENTROPY_HEAD &&
           (limit - ENTROPY_HEAD) * 8 * ESTIMATE_ONE >= (size_t)count * guess;
}

// Residuals of the order around 0; what that takes away goes into *form.
static void s_center(bb_packer_t *self, uint32_t order, uint32_t count, s_form_t *form)
{
    int32_t slope = s_differences(self->offsets, count, order, self->residuals);
    form->order = order;
    form->slope = (uint64_t)(int64_t)slope;
    form->shift = 0;
    if (order == 0) {
        form->shift = s_usual(self->residuals, count);
        for (uint32_t i = 0; i < count; i++) {
            self->residuals[i] -= form->shift;
        }
    } else if (order == 1) {
        form->slope = 0; // base is the first integer
        self->residuals[0] = 0;
    }
}

// Takes the entropy form instead of minis if that is enough smaller.
static void s_put_entropy(bb_packer_t *self, uint32_t count, s_form_t *form)
{
    s_form_t small = *form;
    s_center(self, form->order, count, &small);
    size_t limit = s_entropy_limit(form->length, count);
    if (!self->may_surprise) {
        size_t bytes = bb_entropy_estimate(&self->entropy, self->residuals, count);
        self->has_surprises |= bytes > 0 && bytes <= limit;
        return;
    }
    small.length = bb_entropy_encode(&self->entropy, self->residuals, count, limit, self->small);
    if (small.length > 0) {
        small.flag = FLAG_ENTROPY;
        small.bytes = self->small;
        *form = small;
        self->has_surprises = true;
    }
}

// The bytes, and what decoding them costs as bytes.
static size_t s_priced(size_t bytes, uint32_t ns)
{
    return bytes * (PRICE + ns) / PRICE;
}

static size_t s_priced_arithmetic(size_t bytes, uint32_t count)
{
    return s_priced(bytes, ARITHMETIC_NS + (uint32_t)(bytes * 8 * ARITHMETIC_BIT_NS / count));
}

// The order whose residuals take the least in the entropy form, and about how many bytes; 0: there
// is none.
static size_t s_small_order(bb_packer_t *self, uint32_t count, uint32_t orders, s_form_t *form)
{
    size_t best = 0;
    uint32_t best_order = 0;
    for (uint32_t order = 0; order <= BB_PACKED_ORDER_MAX; order++) {
        if (!(orders >> order & 1) || count <= order) {
            continue;
        }
        s_center(self, order, count, form);
        size_t bytes = bb_entropy_estimate(&self->entropy, self->residuals, count);
        if (bytes > 0 && (best == 0 || bytes < best)) {
            best = bytes;
            best_order = order;
        }
    }
    if (best > 0) {
        s_center(self, best_order, count, form);
    }
    return best;
}

static bool s_are_zero(const int32_t *numbers, uint32_t count)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        bits |= (uint32_t)numbers[i];
    }
    return bits == 0;
}

// Takes what costs the least, bytes and time together.
static void s_put_small(bb_packer_t *self, uint32_t count, uint32_t orders, s_form_t *form)
{
    s_form_t small = {.bytes = self->small};
    size_t estimate = s_small_order(self, count, orders, &small);
    size_t best = s_priced(form->length, MINI_NS);
    if (estimate == 0) {
        return;
    }
    if (s_are_zero(self->residuals, count)) {
        small.flag = FLAG_ARITHMETIC; // without a byte
        *form = small;
        return;
    }
    if (estimate < form->length) {
        small.length =
            bb_entropy_encode(&self->entropy, self->residuals, count, form->length, self->small);
        if (small.length > 0 && s_priced(small.length, ENTROPY_NS) < best) {
            best = s_priced(small.length, ENTROPY_NS);
            small.flag = FLAG_ENTROPY;
            *form = small;
        }
    }
    if (estimate * 8 > (size_t)count * ARITHMETIC_BITS_MAX) {
        return;
    }
    uint8_t room[BB_BLOCK_ROWS_MAX * ARITHMETIC_BITS_MAX / 8 + BB_BLOCK_ROWS_MAX / 8];
    small.length = bb_arithmetic_encode(self->residuals, count, BB_MIN(best, sizeof room), room);
    if (small.length > 0 && s_priced_arithmetic(small.length, count) < best) {
        memcpy(self->small, room, small.length);
        small.flag = FLAG_ARITHMETIC;
        *form = small;
    }
}

// Writes the minis; returns their bytes.
static size_t s_put_minis(bb_packer_t *self, bool is_wide, uint32_t order, uint32_t count)
{
    uint64_t reference = 0;
    uint8_t *mini = self->minis;
    for (uint32_t row = 0; row < count; row += MINI_ROWS) {
        uint32_t rows = BB_MIN(count - row, MINI_ROWS);
        if (is_wide) {
            s_plan_t plan = s_plan_wide(self->wide + row, rows);
            mini = s_put_plain(self, self->wide + row, rows, &plan, mini, &reference);
        } else if (rows == MINI_ROWS) {
            mini = s_put_full(self, order, row, mini, &reference);
        } else {
            mini = s_put_tail(self, row, rows, mini, &reference);
        }
    }
    return (size_t)(mini - self->minis);
}

void bb_packer_set_aim(bb_packer_t *self, bb_encoder_aim_t aim)
{
    self->aim = aim;
}

size_t bb_packed_encode_same(const bb_packer_t *self, uint64_t integer, uint32_t count,
                             uint8_t *out)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    uint8_t *at = out;
    bool is_small = self->aim == BB_ENCODER_SMALL; // no bytes: all are 0
    *at++ = is_small ? FLAG_ARITHMETIC : 0;        // order 0, narrow, not scaled
    at = bb_put_signed(at, integer);
    uint32_t minis = is_small ? 0 : (count + MINI_ROWS - 1) / MINI_ROWS;
    memset(at, 0, minis); // no width, no reference
    return (size_t)(at - out) + minis;
}

// Narrow: self->offsets.
static s_form_t s_put_narrow(bb_packer_t *self, uint32_t count, uint32_t orders)
{
    uint32_t bits[3];
    uint32_t seen = s_estimate(self->offsets, count, bits);
    s_form_t form = {.order = s_best_order(bits, count, orders), .bytes = self->minis};
    int32_t slope = s_differences(self->offsets, count, form.order, self->residuals);
    form.slope = (uint64_t)(int64_t)slope;
    form.length = s_put_minis(self, false, form.order, count);
    if (self->aim == BB_ENCODER_SMALL && count >= ENTROPY_COUNT_MIN) {
        s_put_small(self, count, orders, &form);
    } else if (self->aim == BB_ENCODER_FAST &&
               s_may_pay(bits[form.order] / seen, form.length, count)) {
        s_put_entropy(self, count, &form);
    }
    return form;
}

// Wide: self->wide.
static s_form_t s_put_wide(bb_packer_t *self, uint32_t count, uint32_t orders)
{
    s_form_t form = {.order = s_order_wide(self->wide, count, orders), .bytes = self->minis};
    form.slope = s_differences_wide(self->wide, count, form.order);
    form.length = s_put_minis(self, true, form.order, count);
    return form;
}

// Divides the integers by their common divisor, which it returns, into self->offsets, or into
// self->wide if they are wide.
static uint64_t s_scale(bb_packer_t *self, const uint64_t *integers, uint32_t count, bool scaled,
                        bool *is_wide)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    uint64_t range = s_range(integers, count);
    uint64_t scale = scaled && range > 1 ? bb_divisor_of(integers, count) : 1;
    *is_wide = range / scale >= NARROW_LIMIT;
    if (*is_wide || scale > 1) {
        bb_divisor_apply(integers, count, scale, self->wide);
    }
    if (!*is_wide) {
        s_narrow(scale > 1 ? self->wide : integers, count, self->offsets);
    }
    return scale;
}

uint64_t bb_packed_estimate_small(bb_packer_t *self, const uint64_t *integers, uint32_t count,
                                  bool scaled)
{
    bool is_wide;
    s_scale(self, integers, count, scaled, &is_wide);
    s_form_t form;
    size_t bytes = is_wide ? 0 : s_small_order(self, count, 3, &form);
    return bytes > 0 ? (uint64_t)bytes * 8 : (uint64_t)count * 64;
}

size_t bb_packed_encode(bb_packer_t *self, const uint64_t *integers, uint32_t count,
                        uint32_t orders, bool scaled, uint8_t *out)
{
    BB_ASSERT(orders != 0);
    bool is_wide;
    uint64_t scale = s_scale(self, integers, count, scaled, &is_wide);
    s_form_t form = is_wide ? s_put_wide(self, count, orders) : s_put_narrow(self, count, orders);
    uint64_t before = form.order == 0 ? 0 - (uint64_t)(int64_t)form.shift : form.slope;
    uint64_t base = integers[0] - scale * before;
    bool in_units = scale > 1 && (int64_t)scale > 0 && (int64_t)base % (int64_t)scale == 0;
    uint8_t *at = out;
    *at++ = (uint8_t)(form.order | (is_wide ? FLAG_WIDE : 0) | (scale > 1 ? FLAG_SCALE : 0) |
                      (in_units ? FLAG_UNITS : 0) | form.flag);
    at = bb_put_signed(at, in_units ? (uint64_t)((int64_t)base / (int64_t)scale) : base);
    if (form.order == 2) {
        at = bb_put_signed(at, form.slope);
    }
    if (scale > 1) {
        at = bb_put_varint(at, scale);
    }
    memcpy(at, form.bytes, form.length);
    at += form.length;
    BB_ASSERT((size_t)(at - out) <= BB_PACKED_BYTES_MAX(count));
    return (size_t)(at - out);
}
