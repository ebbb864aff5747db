// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_arithmetic.h"

#include <string.h>

#include "storage/encoding/bb_bytes.h"
#include "storage/encoding/bb_clones.h"

#define CHANCE_BITS 16u
#define CHANCE_EVEN 0x8000u
#define CHANCE_ONE  0xffffu
#define ASKED_MAX   62u
#define RANGE_MIN   (UINT64_C(1) << 32)
#define GAP_MAX     7u
#define MOVE_SIZE   3u // sizes that the question for a move tells apart
#define TOP_SIZE    7u // and those for the highest bit
#define BITS        31u

typedef struct {
    uint16_t yes;   // the chance
    uint16_t asked; // how often, at most ASKED_MAX
} s_chance_t;

typedef struct {
    s_chance_t moves[(GAP_MAX + 1) * 2 * (MOVE_SIZE + 1)];
    s_chance_t signs[4];
    s_chance_t tops[TOP_SIZE + 1][BITS];
    s_chance_t seconds[BITS];
} s_chances_t;

// What came before, as far as questions depend on it.
typedef struct {
    uint32_t gap, near, size, signs;
} s_past_t;

static void s_even(s_chances_t *self)
{
    s_chance_t *chances = (s_chance_t *)self;
    for (size_t i = 0; i < sizeof *self / sizeof *chances; i++) {
        chances[i] = (s_chance_t){.yes = CHANCE_EVEN};
    }
}

// floor(2^16 / (n + 2))
#define STEP(n) (UINT32_C(0x10000) / ((n) + 2))
#define STEPS_8(n)                                                                                 \
    STEP(n), STEP((n) + 1), STEP((n) + 2), STEP((n) + 3), STEP((n) + 4), STEP((n) + 5),            \
        STEP((n) + 6), STEP((n) + 7)
static const uint16_t s_steps[ASKED_MAX + 2] = {
    STEPS_8(0),  STEPS_8(8),  STEPS_8(16), STEPS_8(24),
    STEPS_8(32), STEPS_8(40), STEPS_8(48), STEPS_8(56),
};

BB_INLINE void s_learn_yes(s_chance_t *self)
{
    self->yes =
        (uint16_t)(self->yes + ((CHANCE_ONE - self->yes) * (uint32_t)s_steps[self->asked] >> 16));
    self->asked = (uint16_t)(self->asked + (self->asked < ASKED_MAX));
}

BB_INLINE void s_learn_no(s_chance_t *self)
{
    self->yes = (uint16_t)(self->yes - (self->yes * (uint32_t)s_steps[self->asked] >> 16));
    self->asked = (uint16_t)(self->asked + (self->asked < ASKED_MAX));
}

BB_INLINE uint32_t s_move_context(const s_past_t *past)
{
    return (past->gap * 2 + past->near) * (MOVE_SIZE + 1) + BB_MIN(past->size, MOVE_SIZE);
}

BB_INLINE void s_stand(s_past_t *past)
{
    past->gap += past->gap < GAP_MAX;
}

BB_INLINE void s_move(s_past_t *past, bool is_negative, uint32_t size)
{
    *past = (s_past_t){
        .near = past->gap == 0,
        .size = BB_MIN(size, TOP_SIZE),
        .signs = (past->signs << 1 | is_negative) & 3,
    };
}

// ---- writing ------------------------------------------------------------------------------------

typedef struct {
    uint64_t low, range;
    uint8_t *begin, *at, *limit;
    bool is_full;
} s_writer_t;

// One more at the end of what is written.
static void s_carry(s_writer_t *self)
{
    uint8_t *at = self->at;
    while (at > self->begin && ++*--at == 0) {
    }
}

static void s_shift_out(s_writer_t *self)
{
    while (self->range < RANGE_MIN) {
        if (self->limit - self->at < 4) {
            self->is_full = true;
            self->at = self->begin;
        }
        for (uint32_t i = 0; i < 4; i++) {
            *self->at++ = (uint8_t)(self->low >> (56 - 8 * i));
        }
        self->low <<= 32;
        self->range <<= 32;
    }
}

static void s_raise(s_writer_t *self, uint64_t by)
{
    self->low += by;
    if (self->low < by) {
        s_carry(self);
    }
}

static void s_put(s_writer_t *self, s_chance_t *chance, bool answer)
{
    uint64_t cut = (self->range >> CHANCE_BITS) * chance->yes;
    if (answer) {
        self->range = cut;
        s_learn_yes(chance);
    } else {
        s_raise(self, cut);
        self->range -= cut;
        s_learn_no(chance);
    }
    s_shift_out(self);
}

static void s_put_bit(s_writer_t *self, bool bit)
{
    self->range >>= 1;
    s_raise(self, bit ? self->range : 0);
    s_shift_out(self);
}

static void s_put_number(s_writer_t *self, s_chances_t *chances, s_past_t *past, int32_t number)
{
    uint32_t size = number < 0 ? 0u - (uint32_t)number : (uint32_t)number;
    uint32_t top = 31u - (uint32_t)__builtin_clz(size);
    s_put(self, &chances->signs[past->signs], number < 0);
    for (uint32_t k = 0; k <= top && k < BITS - 1; k++) {
        s_put(self, &chances->tops[past->size][k], k < top);
    }
    if (top > 0) {
        s_put(self, &chances->seconds[top], size >> (top - 1) & 1);
    }
    for (uint32_t bit = top > 0 ? top - 1 : 0; bit-- > 0;) {
        s_put_bit(self, size >> bit & 1);
    }
    s_move(past, number < 0, top);
}

// The number in [low, low + range) with the most zeros behind it; then these zeros are left out.
static size_t s_end(s_writer_t *self)
{
    for (uint32_t kept = 0; kept <= 64; kept += 8) {
        uint64_t rest = kept == 64 ? 0 : UINT64_MAX >> kept;
        uint64_t up = self->low + rest; // may wrap: then it carries
        uint64_t number = up & ~rest;
        if (number - self->low < self->range) {
            if (up < self->low) {
                s_carry(self);
            }
            self->low = number;
            break;
        }
    }
    for (; self->low != 0; self->low <<= 8) {
        if (self->at == self->limit) {
            self->is_full = true;
            break;
        }
        *self->at++ = (uint8_t)(self->low >> 56);
    }
    while (self->at > self->begin && self->at[-1] == 0) {
        self->at--;
    }
    return (size_t)(self->at - self->begin);
}

size_t bb_arithmetic_encode(const int32_t *numbers, uint32_t count, size_t bytes_max, uint8_t *out)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    s_chances_t chances;
    s_even(&chances);
    s_past_t past = {0};
    uint8_t room[4 + BB_BLOCK_ROWS_MAX * 8];
    s_writer_t writer = {
        .range = UINT64_MAX,
        .begin = room,
        .at = room,
        .limit = room + BB_MIN(bytes_max, sizeof room - 4) + 4,
    };
    for (uint32_t i = 0; i < count && !writer.is_full; i++) {
        BB_ASSERT(numbers[i] > INT32_MIN);
        s_put(&writer, &chances.moves[s_move_context(&past)], numbers[i] != 0);
        if (numbers[i] != 0) {
            s_put_number(&writer, &chances, &past, numbers[i]);
        } else {
            s_stand(&past);
        }
    }
    size_t bytes = s_end(&writer);
    if (writer.is_full || bytes > bytes_max) {
        return 0;
    }
    // cppcheck-suppress uninitvar ; written through the pointers
    memcpy(out, room, bytes);
    return bytes;
}

// ---- reading ------------------------------------------------------------------------------------

typedef struct {
    uint64_t code, range;
    const uint8_t *at, *limit;
} s_reader_t;

static uint32_t s_take_end(s_reader_t *self)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < 4; i++) {
        bytes = bytes << 8 | (self->at < self->limit ? *self->at++ : 0);
    }
    return bytes;
}

BB_INLINE uint32_t s_take_four(s_reader_t *self)
{
    if (self->limit - self->at < 4) {
        return s_take_end(self);
    }
    uint32_t bytes;
    memcpy(&bytes, self->at, sizeof bytes);
    self->at += sizeof bytes;
    return __builtin_bswap32(bytes);
}

BB_INLINE void s_shift_in(s_reader_t *self)
{
    if (__builtin_expect(self->range < RANGE_MIN, 0)) {
        self->code = self->code << 32 | s_take_four(self);
        self->range <<= 32;
    }
}

BB_INLINE bool s_ask(s_reader_t *self, s_chance_t *chance)
{
    uint64_t cut = (self->range >> CHANCE_BITS) * chance->yes;
    bool answer = self->code < cut;
    if (answer) {
        self->range = cut;
        s_learn_yes(chance);
    } else {
        self->code -= cut;
        self->range -= cut;
        s_learn_no(chance);
    }
    s_shift_in(self);
    return answer;
}

BB_INLINE uint32_t s_take_bit(s_reader_t *self)
{
    self->range >>= 1;
    bool bit = self->code >= self->range;
    self->code -= bit ? self->range : 0;
    s_shift_in(self);
    return bit;
}

BB_INLINE int32_t s_take_number(s_reader_t *self, s_chances_t *chances, s_past_t *past)
{
    bool is_negative = s_ask(self, &chances->signs[past->signs]);
    uint32_t top = 0;
    while (top < BITS - 1 && s_ask(self, &chances->tops[past->size][top])) {
        top++;
    }
    uint32_t size = 1;
    if (top > 0) {
        size = size << 1 | s_ask(self, &chances->seconds[top]);
    }
    for (uint32_t bit = 1; bit < top; bit++) {
        size = size << 1 | s_take_bit(self);
    }
    s_move(past, is_negative, top);
    return (int32_t)(is_negative ? 0u - size : size);
}

// Rows behind a long gap: they all ask the same, so that its chance stays in a register. Returns
// the row that moves, or `count`; those before it are 0.
BB_INLINE uint32_t s_take_gap(s_reader_t *self, s_chance_t *chance, uint32_t row, uint32_t count)
{
    s_chance_t usual = *chance;
    while (row < count && !s_ask(self, &usual)) {
        row++;
    }
    *chance = usual;
    return row;
}

bool bb_arithmetic_decode(bb_slice_t bytes, uint32_t count, int32_t *numbers)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    s_chances_t chances;
    s_even(&chances);
    s_past_t past = {0};
    const uint8_t *data = bytes.data;
    s_reader_t reader = {.range = UINT64_MAX, .at = data, .limit = data + bytes.length};
    reader.code = (uint64_t)s_take_four(&reader) << 32;
    reader.code |= s_take_four(&reader);
    memset(numbers, 0, (size_t)count * sizeof *numbers);
    if (bytes.length == 0) {
        return true;
    }
    for (uint32_t row = 0; row < count; row++) {
        s_chance_t *chance = &chances.moves[s_move_context(&past)];
        if (past.gap == GAP_MAX) {
            row = s_take_gap(&reader, chance, row, count);
            if (row == count) {
                break;
            }
        } else if (!s_ask(&reader, chance)) {
            past.gap++;
            continue;
        }
        numbers[row] = s_take_number(&reader, &chances, &past);
    }
    return reader.at == reader.limit && data[bytes.length - 1] != 0;
}
