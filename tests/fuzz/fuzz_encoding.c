// SPDX-License-Identifier: Apache-2.0
// fuzz_encoding - any bytes as an encoded block of any encoding, and any words through the encoder.
//
// Input: u8 choice (bit 0: encode; bits 1 and 2: type; 3 and 4: what the encoder aims at), u8
// encoding id, u16 count, then the block (decode) or the words (encode). Decoding ends without an
// access outside of the block, and totals straight from the packed form are those of the decoded
// words; so are cuts into buckets. What is encoded comes back.
#include "storage/encoding/bb_encoding.h"
#include "storage/encoding/bb_times.h"
#include "tests/fuzz/fuzz_bytes.h"

// The peers of a prediction: a walk, and numbers that are no numbers among them.
static uint64_t s_peer_words[2][BB_BLOCK_ROWS_MAX];

static void s_fill_peers(void)
{
    for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
        s_peer_words[0][i] = bb_bits_of_double((double)(i * 7919 % 2048) / 8 - 100);
        s_peer_words[1][i] = i * UINT64_C(0x9e3779b97f4a7c15);
    }
}

static const uint64_t *const s_peers[2] = {s_peer_words[0], s_peer_words[1]};

static const bb_type_t s_types[] = {BB_TYPE_FLOAT64, BB_TYPE_INT64, BB_TYPE_BOOL, BB_TYPE_STATE};

static bb_encoding_kind_t s_kind(bb_type_t type)
{
    return type == BB_TYPE_FLOAT64 ? BB_ENCODING_FLOAT64 : BB_ENCODING_INTEGER;
}

static void s_decode(bb_type_t type, uint32_t id, uint32_t count, bb_slice_t block)
{
    uint8_t *copy = fuzz_copy(block.data, block.length);
    uint64_t *words = bb_alloc(count * sizeof *words);
    uint32_t peers[BB_ENCODING_PEERS_MAX];
    uint32_t peer_count = 0;
    bb_slice_t encoded = bb_slice(copy, block.length);
    if (bb_encoding_peers(id, encoded, 2, peers, &peer_count) == BB_OK) {
        BB_ASSERT(peer_count <= BB_ENCODING_PEERS_MAX);
        const uint64_t *named[BB_ENCODING_PEERS_MAX] = {NULL, NULL};
        for (uint32_t i = 0; i < peer_count; i++) {
            BB_ASSERT(peers[i] < 2);
            named[i] = s_peers[peers[i]];
        }
        bb_encoding_totals_t fused;
        bb_encoding_totals_t plain;
        bb_error_t decoded = bb_encoding_decode(id, s_kind(type), encoded, count, named, words);
        // All rows are added up in the packed form, some of them after decoding.
        for (uint32_t first = 0; first < count; first += count / 3 + 1) {
            bb_error_t totalled =
                bb_encoding_aggregate(id, type, encoded, count, named, first, count, &fused);
            BB_ASSERT(decoded == totalled);
            if (decoded != BB_OK) {
                continue;
            }
            bb_encoding_totals_of(type, words + first, count - first, &plain);
            BB_ASSERT(plain.count == fused.count);
            BB_ASSERT(plain.first == fused.first);
            BB_ASSERT(plain.last == fused.last);
            BB_ASSERT(plain.min == fused.min);
            BB_ASSERT(plain.max == fused.max);
        }
        bool has_totals = false;
        uint64_t *again = bb_alloc(count * sizeof *again);
        bb_error_t both = peer_count > 0
                              ? decoded
                              : bb_encoding_decode_with_totals(id, type, encoded, count, again,
                                                               &has_totals, &fused);
        BB_ASSERT(both == decoded);
        if (both == BB_OK && has_totals) {
            bb_encoding_totals_of(type, words, count, &plain);
            BB_ASSERT(memcmp(again, words, count * sizeof *again) == 0);
            BB_ASSERT(plain.min == fused.min && plain.max == fused.max);
            BB_ASSERT(plain.first == fused.first && plain.last == fused.last);
            BB_ASSERT(bb_sum_is_equal(&plain.sum, &fused.sum));
        }
        free(again);
        bool is_number = type == BB_TYPE_FLOAT64 || type == BB_TYPE_INT64;
        uint32_t limits[2] = {(count + 1) / 2, count};
        static bb_encoding_ranges_t halves;
        uint32_t half_count = count > 1 ? 2 : 1;
        is_number = is_number && bb_encoding_ranges(id, type, encoded, count, named, limits,
                                                    half_count, true, &halves);
        BB_ASSERT(!is_number || decoded == BB_OK);
        for (uint32_t h = 0; is_number && h < half_count; h++) {
            uint32_t first = h == 0 ? 0 : limits[0];
            bb_sum_t sum = {0};
            bb_encoding_totals_of(type, words + first, limits[h] - first, &plain);
            bb_sum_add_scaled(&sum, halves.ranges[h].sum, halves.exponent);
            BB_ASSERT(plain.count == halves.ranges[h].count);
            BB_ASSERT(plain.min == halves.ranges[h].min && plain.max == halves.ranges[h].max);
            BB_ASSERT(bb_sum_is_equal(&plain.sum, &sum));
        }
    }
    free(words);
    free(copy);
}

// Cuts of any bytes lie inside of the block; those of ascending times are the right ones.
static void s_cut(uint32_t count, bb_slice_t block)
{
    static bb_times_cuts_t cuts, expected;
    uint64_t words[BB_BLOCK_ROWS_MAX];
    uint8_t *copy = fuzz_copy(block.data, block.length);
    bb_slice_t encoded = bb_slice(copy, block.length);
    bool is_sound = bb_times_decode(encoded, count, words);
    const int64_t *times = (const int64_t *)words;
    is_sound = is_sound && times[0] >= 0;
    for (uint32_t i = 1; is_sound && i < count; i++) {
        is_sound = times[i - 1] < times[i];
    }
    int64_t first = is_sound ? times[0] : 0;
    int64_t last = is_sound ? times[count - 1] : INT64_MAX;
    static const int64_t widths[] = {1, 1000, 60 * BB_NS_PER_S, INT64_MAX};
    for (uint32_t w = 0; w < BB_COUNT_OF(widths); w++) {
        if (!bb_times_cut(encoded, count, first, last, widths[w], &cuts)) {
            continue;
        }
        BB_ASSERT(cuts.count >= 1 && cuts.row_limits[cuts.count - 1] == count);
        if (is_sound) {
            bb_times_cut_decoded(times, count, widths[w], &expected);
            BB_ASSERT(cuts.count == expected.count);
            BB_ASSERT(memcmp(cuts.starts, expected.starts, cuts.count * 8) == 0);
            BB_ASSERT(memcmp(cuts.row_limits, expected.row_limits, cuts.count * 4) == 0);
        }
    }
    free(copy);
}

static void s_encode(bb_type_t type, bb_encoder_aim_t aim, bb_slice_t source)
{
    static bb_encoder_t *encoder; // scratch memory, kept for the life of the process
    uint32_t count = (uint32_t)BB_MIN(source.length / 8, (size_t)BB_BLOCK_ROWS_MAX);
    if (count == 0) {
        return;
    }
    if (!encoder) {
        encoder = bb_encoder_new();
    }
    uint64_t *words = (uint64_t *)(void *)fuzz_copy(source.data, count * sizeof *words);
    if (type == BB_TYPE_BOOL) {
        for (uint32_t i = 0; i < count; i++) {
            words[i] &= 1;
        }
    }
    bb_encoding_input_t input = {.kind = s_kind(type), .words = words, .count = count};
    uint8_t *block = bb_alloc(BB_ENCODING_BYTES_MAX(count));
    uint8_t id = 0;
    bb_encoder_set_aim(encoder, aim);
    size_t length = bb_encoder_encode(encoder, &input, NULL, block, &id);
    BB_ASSERT(length <= BB_ENCODING_BYTES_MAX(count));
    uint8_t *exact = fuzz_copy(block, length);
    uint64_t *again = bb_alloc(count * sizeof *again);
    bb_error_t error =
        bb_encoding_decode(id, input.kind, bb_slice(exact, length), count, NULL, again);
    BB_ASSERT(error == BB_OK);
    BB_ASSERT(memcmp(again, words, count * sizeof *words) == 0);
    free(again);
    free(exact);
    free(block);
    free(words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (s_peer_words[1][1] == 0) {
        s_fill_peers();
    }
    fuzz_bytes_t bytes = {data, size};
    uint8_t choice = (uint8_t)fuzz_take_word(&bytes, 1);
    uint32_t id = (uint32_t)fuzz_take_word(&bytes, 1);
    uint32_t count = (uint32_t)fuzz_take_word(&bytes, 2) % BB_BLOCK_ROWS_MAX + 1;
    bb_type_t type = s_types[choice >> 1 & 3];
    bb_slice_t rest = fuzz_take(&bytes, bytes.left);
    if (choice & 1) {
        s_encode(type, (bb_encoder_aim_t)((choice >> 3 & 3) % 3), rest);
    } else {
        s_decode(type, id, count, rest);
        s_cut(count, rest);
    }
    return 0;
}
