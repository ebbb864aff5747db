// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_entropy.h"

#include <string.h>

#include "storage/encoding/bb_bytes.h"
#include "storage/encoding/bb_clones.h"

#define STATES        BB_ENTROPY_STATES
#define STATE_BITS    BB_ENTROPY_STATE_BITS
#define TOKENS        BB_ENTROPY_TOKENS
#define TABLES        BB_ENTROPY_TABLES
#define ONE           TABLES // the place of the table of all tokens
#define DIRECT        8u     // folded numbers below are tokens
#define DIRECT_BITS   3u
#define TOP_BITS      2u // below the highest, in the token
#define STEP          163u
#define LANES         4u
#define LEVELS        16u
#define FLAG_TWO      0x01u
#define ROWS_A_WINDOW 2u
// What corrupt rows may read beyond the end: four rows, a window.
#define WINDOW_BYTES 24u
// More than the bits of a block and a window behind them.
#define BITS_BYTES_MAX (BB_BLOCK_ROWS_MAX * 7u / 2u + LANES + WINDOW_BYTES)
#define BYTES_MAX      (1u + TABLES * (2u + TOKENS) + BITS_BYTES_MAX)
// Costs are in 2^-12 bits.
#define COST_BITS 12u

static_assert(STEP == (STATES >> 1) + (STATES >> 3) + 3, "as in RFC 8878");
static_assert(STEP % 2 == 1, "visits every state");
static_assert(DIRECT % 4 == 0, "tokens say two bits below the highest by themselves");
static_assert(DIRECT + (22 - DIRECT_BITS) * 4 == TOKENS, "tokens of 22 bits");
static_assert(ROWS_A_WINDOW * (STATE_BITS + 21 - TOP_BITS) <= 57,
              "a window of 64 bits, any offset");

static const uint16_t s_weights[LEVELS] = {0,  1,  2,  3,   4,   7,   12,  19,
                                           32, 52, 86, 141, 231, 380, 623, 1024};

// ---- tables -------------------------------------------------------------------------------------

// Weights become states of each token. False: no token.
static bool s_share_out(const uint8_t *levels, uint32_t token_count, uint16_t *shares)
{
    uint32_t weight = 0;
    uint32_t heaviest = 0;
    for (uint32_t token = 0; token < token_count; token++) {
        weight += s_weights[levels[token]];
        heaviest = levels[token] > levels[heaviest] ? token : heaviest;
    }
    if (weight == 0) {
        return false;
    }
    uint32_t given = 0;
    for (uint32_t token = 0; token < token_count; token++) {
        uint32_t share = s_weights[levels[token]] * STATES / weight;
        shares[token] = (uint16_t)(levels[token] > 0 ? BB_MAX(share, 1u) : 0);
        given += shares[token];
    }
    if (given < STATES) {
        shares[heaviest] = (uint16_t)(shares[heaviest] + STATES - given);
    }
    for (uint32_t token = 0; given > STATES; token = (token + 1) % token_count) {
        bool may_give = shares[token] > 1;
        shares[token] = (uint16_t)(shares[token] - may_give);
        given -= may_give;
    }
    return true;
}

// Which token each state stands for.
static void s_spread(const uint16_t *shares, uint32_t token_count, uint8_t *tokens)
{
    uint32_t state = 0;
    for (uint32_t token = 0; token < token_count; token++) {
        for (uint32_t i = 0; i < shares[token]; i++) {
            tokens[state] = (uint8_t)token;
            state = (state + STEP) % STATES;
        }
    }
    BB_ASSERT(state == 0);
}

BB_INLINE uint32_t s_floor_log2(uint32_t number)
{
    return 31u - (uint32_t)__builtin_clz(number);
}

// ---- writing ------------------------------------------------------------------------------------

BB_INLINE uint32_t s_fold(int32_t number)
{
    return (uint32_t)number << 1 ^ (0u - ((uint32_t)number >> 31));
}

BB_INLINE uint32_t s_token(uint32_t folded)
{
    if (folded < DIRECT) {
        return folded;
    }
    uint32_t top = s_floor_log2(folded);
    return DIRECT + (top - DIRECT_BITS) * 4 + (folded >> (top - TOP_BITS)) % 4;
}

// Bits of a number that its token does not say.
BB_INLINE uint32_t s_rest_bits(uint32_t token)
{
    return token < DIRECT ? 0 : (token - DIRECT) / 4 + DIRECT_BITS - TOP_BITS;
}

// Lane l has rows [limits[l], limits[l + 1]).
static void s_lanes(uint32_t count, uint32_t limits[LANES + 1])
{
    for (uint32_t lane = 0; lane < LANES; lane++) {
        limits[lane] = count / LANES * lane;
    }
    limits[LANES] = count;
}

// Tokens, and how often each comes after 0, or first in a lane, and after another. False: a number
// is too large.
static bool s_count(bb_entropy_t *self, const int32_t *numbers, uint32_t count)
{
    uint32_t limits[LANES + 1];
    s_lanes(count, limits);
    memset(self->counts, 0, sizeof self->counts);
    uint32_t sizes = 0;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        uint32_t after = 0;
        for (uint32_t i = limits[lane]; i < limits[lane + 1]; i++) {
            uint32_t folded = s_fold(numbers[i]);
            sizes |= folded;
            uint32_t token = BB_MIN(s_token(folded), TOKENS - 1);
            self->tokens[i] = (uint8_t)token;
            self->counts[after][token]++;
            after = token != 0;
        }
    }
    return sizes < BB_ENTROPY_FOLDED_LIMIT;
}

// -log2(share / 512), in 2^-12 bits: a parabola through the powers of two.
static uint32_t s_cost(uint32_t share)
{
    uint32_t top = s_floor_log2(share);
    uint32_t above = (share << (COST_BITS - top)) - (1u << COST_BITS); // [0, 1)
    uint32_t bend = above * ((1u << COST_BITS) - above) >> COST_BITS;
    uint32_t log2 = (top << COST_BITS) + above + (bend * 22 >> 6); // 0.344
    return (STATE_BITS << COST_BITS) - log2;
}
static_assert(STATE_BITS <= COST_BITS, "shares are shifted up");

// Chooses levels for one table; returns about how many bits it and its tokens take, without rests.
static uint32_t s_model(bb_entropy_t *self, uint32_t table)
{
    const uint32_t *counts = self->counts[table];
    // Between two weights, x 16: the geometric mean.
    static const uint16_t limits[LEVELS - 2] = {23,  39,   55,   85,   147,  242,  395,
                                                653, 1070, 1762, 2888, 4747, 7795, 12780};
    uint8_t *levels = self->tables[table].levels;
    uint32_t rows = 0;
    uint32_t token_count = 0;
    for (uint32_t token = 0; token < TOKENS; token++) {
        rows += counts[token];
        token_count = counts[token] > 0 ? token + 1 : token_count;
    }
    self->tables[table].token_count = token_count;
    uint32_t table_bits = 12;
    for (uint32_t token = 0; token < token_count; token++) {
        uint32_t level = counts[token] > 0;
        while (level > 0 && level < LEVELS - 1 &&
               counts[token] * (1024u * 16) > rows * limits[level - 1]) {
            level++;
        }
        levels[token] = (uint8_t)level;
        table_bits += level > 0 ? 4 : 1; // absent ones come in rows
    }
    uint16_t shares[TOKENS];
    if (!s_share_out(levels, token_count, shares)) {
        return table_bits;
    }
    uint64_t cost = 0;
    for (uint32_t token = 0; token < token_count; token++) {
        cost += counts[token] > 0 ? (uint64_t)counts[token] * s_cost(shares[token]) : 0;
    }
    return table_bits + (uint32_t)(cost >> COST_BITS);
}

// Prepares the way back: from the state after a token to the one before.
static void s_prepare(bb_entropy_t *self, uint32_t table)
{
    uint32_t token_count = self->tables[table].token_count;
    uint16_t shares[TOKENS];
    if (!s_share_out(self->tables[table].levels, token_count, shares)) {
        return;
    }
    uint8_t tokens[STATES];
    s_spread(shares, token_count, tokens);
    uint32_t ranks[TOKENS];
    uint32_t before = 0;
    for (uint32_t token = 0; token < token_count; token++) {
        uint32_t share = shares[token];
        ranks[token] = before;
        if (share > 0) {
            uint32_t bits = STATE_BITS - (share > 1 ? s_floor_log2(share - 1) : 0);
            self->tables[table].delta_bits[token] = (bits << 16) - (share << bits);
            self->tables[table].delta_rank[token] = (int32_t)before - (int32_t)share;
            before += share;
        }
    }
    for (uint32_t state = 0; state < STATES; state++) {
        self->tables[table].states[ranks[tokens[state]]++] = (uint8_t)state;
    }
}

static uint8_t *s_put_levels(const bb_entropy_t *self, uint32_t table, uint8_t *at)
{
    const uint8_t *levels = self->tables[table].levels;
    uint32_t token_count = self->tables[table].token_count;
    *at++ = (uint8_t)token_count;
    uint32_t nibbles = 0;
    uint8_t nibble[2 * TOKENS + 1];
    for (uint32_t token = 0; token < token_count;) {
        nibble[nibbles++] = levels[token++];
        if (levels[token - 1] == 0) {
            uint32_t more = 0;
            while (more < 15 && levels[token] == 0) { // the last one is never absent
                more++;
                token++;
            }
            nibble[nibbles++] = (uint8_t)more;
        }
    }
    nibble[nibbles] = 0;
    for (uint32_t i = 0; i < nibbles; i += 2) {
        *at++ = (uint8_t)(nibble[i] | nibble[i + 1] << 4);
    }
    return at;
}

// Goes through a lane from its last row to the first; returns the state before the first. `leads`:
// what the reader will need, row by row.
static uint32_t s_walk_back(bb_entropy_t *self, uint32_t row_first, uint32_t row_limit,
                            uint32_t first_table)
{
    uint32_t state = STATES;
    for (uint32_t i = row_limit; i-- > row_first;) {
        bool is_second = first_table != ONE && i > row_first && self->tokens[i - 1] != 0;
        uint32_t table = first_table + is_second;
        uint32_t token = self->tokens[i];
        uint32_t bits = (state + self->tables[table].delta_bits[token]) >> 16;
        self->leads[i] = (uint16_t)((state & ((1u << bits) - 1)) | 1u << bits);
        int32_t rank = (int32_t)(state >> bits) + self->tables[table].delta_rank[token];
        state = STATES + self->tables[table].states[rank];
    }
    return state - STATES;
}

// A stream of bits that is being written.
typedef struct {
    uint8_t *at;
    uint64_t window;
    uint32_t filled; // bits in the window, below 8
} s_stream_t;

static void s_put_row(const bb_entropy_t *self, const int32_t *numbers, uint32_t row,
                      s_stream_t *stream)
{
    uint32_t rest_bits = s_rest_bits(self->tokens[row]);
    uint64_t rest = s_fold(numbers[row]) & ((1u << rest_bits) - 1);
    uint32_t lead_bits = s_floor_log2(self->leads[row]);
    uint64_t lead = self->leads[row] ^ 1u << lead_bits;
    stream->window |= (rest | lead << rest_bits) << stream->filled;
    stream->filled += rest_bits + lead_bits;
    for (; stream->filled >= 8; stream->filled -= 8, stream->window >>= 8) {
        *stream->at++ = (uint8_t)stream->window;
    }
}

static uint8_t *s_put_bits(bb_entropy_t *self, const int32_t *numbers, uint32_t count,
                           uint32_t first_table, uint8_t *at)
{
    uint32_t limits[LANES + 1];
    s_lanes(count, limits);
    for (uint32_t lane = 0; lane < LANES; lane++) {
        *at++ = (uint8_t)s_walk_back(self, limits[lane], limits[lane + 1], first_table);
    }
    s_stream_t stream = {.at = at};
    for (uint32_t i = 0; i < limits[1]; i++) {
        for (uint32_t lane = 0; lane < LANES; lane++) {
            s_put_row(self, numbers, limits[lane] + i, &stream);
        }
    }
    for (uint32_t i = limits[1] * LANES; i < count; i++) {
        s_put_row(self, numbers, i, &stream);
    }
    if (stream.filled > 0) {
        *stream.at++ = (uint8_t)stream.window;
    }
    return stream.at;
}
static_assert(STATE_BITS == 8, "first states are bytes");

// The estimate; *is_two: two tables take less than one.
static size_t s_estimate(bb_entropy_t *self, const int32_t *numbers, uint32_t count, bool *is_two)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    if (!s_count(self, numbers, count)) {
        return 0;
    }
    uint32_t bits = (1 + LANES) * 8;
    for (uint32_t token = 0; token < TOKENS; token++) {
        self->counts[ONE][token] = self->counts[0][token] + self->counts[1][token];
        bits += self->counts[ONE][token] * s_rest_bits(token);
    }
    uint32_t one_bits = s_model(self, ONE);
    uint32_t two_bits = s_model(self, 0) + s_model(self, 1);
    *is_two = two_bits < one_bits;
    return (bits + BB_MIN(one_bits, two_bits)) / 8;
}

size_t bb_entropy_estimate(bb_entropy_t *self, const int32_t *numbers, uint32_t count)
{
    bool is_two;
    return s_estimate(self, numbers, count, &is_two);
}

size_t bb_entropy_encode(bb_entropy_t *self, const int32_t *numbers, uint32_t count,
                         size_t bytes_max, uint8_t *out)
{
    bool is_two;
    size_t estimate = s_estimate(self, numbers, count, &is_two);
    if (estimate == 0 || estimate > bytes_max + bytes_max / 16 + 16) {
        return 0;
    }
    uint8_t room[BYTES_MAX];
    uint8_t *at = room;
    uint32_t first_table = is_two ? 0 : ONE;
    *at++ = is_two ? FLAG_TWO : 0;
    for (uint32_t i = 0; i <= (uint32_t)is_two; i++) {
        s_prepare(self, first_table + i);
        at = s_put_levels(self, first_table + i, at);
    }
    at = s_put_bits(self, numbers, count, first_table, at);
    size_t bytes = (size_t)(at - room);
    if (bytes > bytes_max) {
        return 0;
    }
    memcpy(out, room, bytes);
    return bytes;
}

// ---- reading ------------------------------------------------------------------------------------

// What a state means: the number begins with `folded`, `rest_bits` follow, then `lead_bits` that
// are added to `next`.
typedef struct {
    uint32_t folded;
    uint16_t next;
    uint8_t rest_bits, lead_bits;
} s_entry_t;
static_assert(sizeof(s_entry_t) == 8, "one load");

static bool s_take_levels(bb_reader_t *reader, uint8_t *levels, uint32_t *token_count)
{
    *token_count = (uint32_t)bb_reader_fixed(reader, 1);
    if (*token_count > TOKENS) {
        return false;
    }
    uint32_t byte = 0;
    uint32_t nibbles = 0;
    bool is_absent = false;
    uint32_t token = 0;
    while (token < *token_count || is_absent) {
        byte = nibbles++ % 2 == 0 ? (uint32_t)bb_reader_fixed(reader, 1) : byte >> 4;
        uint32_t nibble = byte & 0xf;
        uint32_t absent = is_absent ? nibble : 0;
        if (absent > *token_count - token) {
            return false;
        }
        memset(levels + token, 0, absent);
        token += absent;
        if (!is_absent) {
            levels[token++] = (uint8_t)nibble;
        }
        is_absent = !is_absent && nibble == 0;
    }
    bool is_padded = nibbles % 2 == 0 || byte >> 4 == 0;
    return !reader->failed && is_padded && (*token_count == 0 || levels[*token_count - 1] > 0);
}

// `entries`: those of this table; `base`: their place among those of all tables; `other_base`: the
// place of the table behind a token that is not 0.
static bool s_take_table(bb_reader_t *reader, uint32_t other_base, s_entry_t *entries)
{
    uint8_t levels[TOKENS];
    uint16_t shares[TOKENS];
    uint32_t token_count;
    if (!s_take_levels(reader, levels, &token_count)) {
        return false;
    }
    if (token_count == 0) { // never used: whoever gets here all the same reads zeros
        memset(entries, 0, STATES * sizeof *entries);
        return true;
    }
    if (!s_share_out(levels, token_count, shares)) {
        return false;
    }
    uint8_t tokens[STATES];
    s_spread(shares, token_count, tokens);
    s_entry_t begins[TOKENS];
    for (uint32_t token = 0; token < token_count; token++) {
        uint32_t rest_bits = s_rest_bits(token);
        begins[token] = (s_entry_t){
            .folded = token < DIRECT ? token : (4 + token % 4) << rest_bits,
            .next = (uint16_t)(token > 0 ? other_base : 0),
            .rest_bits = (uint8_t)rest_bits,
        };
    }
    for (uint32_t state = 0; state < STATES; state++) {
        uint32_t token = tokens[state];
        uint32_t rank = shares[token]++;
        uint32_t lead_bits = STATE_BITS - s_floor_log2(rank);
        s_entry_t entry = begins[token];
        entry.lead_bits = (uint8_t)lead_bits;
        entry.next = (uint16_t)(entry.next + (rank << lead_bits) - STATES);
        entries[state] = entry;
    }
    return true;
}

BB_INLINE uint64_t s_low_bits(uint64_t window, uint32_t bits)
{
    return window & ((UINT64_C(1) << bits) - 1);
}

// One row: its number; moves the window and the state on.
BB_INLINE int32_t s_step(const s_entry_t *entries, uint64_t *window, uint32_t *state, size_t *bit)
{
    s_entry_t entry = entries[*state];
    uint32_t folded = entry.folded + (uint32_t)s_low_bits(*window, entry.rest_bits);
    *state = entry.next + (uint32_t)s_low_bits(*window >> entry.rest_bits, entry.lead_bits);
    *window >>= entry.rest_bits + entry.lead_bits;
    *bit += (size_t)entry.rest_bits + entry.lead_bits;
    return (int32_t)(folded >> 1 ^ (0u - (folded & 1)));
}

BB_INLINE uint64_t s_window(const uint8_t *bytes, size_t bit)
{
    uint64_t window;
    memcpy(&window, bytes + bit / 8, sizeof window); // little-endian, as the format
    return window >> bit % 8;
}

// Reads the rows; returns the bits taken, SIZE_MAX if a lane does not end as it must. `bytes` can
// be read WINDOW_BYTES beyond bits_max, which ends the reading of what is corrupt.
BB_CLONES
static size_t s_rows(const s_entry_t *entries, const uint8_t *bytes, size_t bits_max,
                     uint32_t count, int32_t *numbers)
{
    uint32_t rows = count / LANES;
    uint32_t a = bytes[0], b = bytes[1], c = bytes[2], d = bytes[3];
    size_t bit = LANES * STATE_BITS;
    int32_t *out = numbers;
    for (uint32_t i = 0; i < rows && bit <= bits_max; i++, out++) {
        uint64_t window = s_window(bytes, bit);
        out[0] = s_step(entries, &window, &a, &bit);
        out[rows] = s_step(entries, &window, &b, &bit);
        window = s_window(bytes, bit);
        out[2 * (size_t)rows] = s_step(entries, &window, &c, &bit);
        out[3 * (size_t)rows] = s_step(entries, &window, &d, &bit);
    }
    for (uint32_t i = rows * LANES; i < count && bit <= bits_max; i++) {
        uint64_t window = s_window(bytes, bit);
        numbers[i] = s_step(entries, &window, &d, &bit);
    }
    return (a | b | c | d) % STATES == 0 ? bit : SIZE_MAX;
}

bool bb_entropy_decode(bb_slice_t bytes, uint32_t count, int32_t *numbers)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    bb_reader_t reader = bb_reader(bytes);
    uint32_t flags = (uint32_t)bb_reader_fixed(&reader, 1);
    s_entry_t entries[TABLES * STATES];
    uint32_t other_base = flags & FLAG_TWO ? STATES : 0;
    if (reader.failed || flags > FLAG_TWO || !s_take_table(&reader, other_base, entries) ||
        (other_base > 0 && !s_take_table(&reader, other_base, entries + other_base))) {
        return false;
    }
    size_t length = bb_reader_left(&reader);
    uint8_t room[BITS_BYTES_MAX];
    if (length < LANES || length > BITS_BYTES_MAX - WINDOW_BYTES) {
        return false;
    }
    memcpy(room, reader.at, length);
    memset(room + length, 0, WINDOW_BYTES);
    size_t bits = s_rows(entries, room, length * 8, count, numbers);
    return bits <= length * 8 && bits + 8 > length * 8 &&
           (bits % 8 == 0 || room[length - 1] >> bits % 8 == 0);
}
