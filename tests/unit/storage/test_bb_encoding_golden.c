// SPDX-License-Identifier: Apache-2.0
// Goal: what the id of an encoding means never changes. Method: one block of each id, one in each
// form of packed integers, and one of a delayed peer, kept with the words that they hold;
// tests/golden/disk/read_disk.py reads the same file with Python alone. `test_bb_encoding_golden
// --write-golden` writes it and is used once per new id.
//
//   encodings_v2.bin   u32 count; two peers, count words each (the first of kind FLOAT64, the
//   second
//                      INTEGER); then per block: u8 id, u8 kind, u16 zero, u32 bytes, the block,
//                      its count words
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/encoding/bb_encoding.h"

#define S_GOLDEN    BB_SOURCE_DIR "/tests/golden/disk/encodings_v2.bin"
#define S_COUNT     270u // one full mini block and a short one
#define S_BYTES_MAX (1u << 18)

static uint64_t s_noise(uint32_t row)
{
    return row * UINT32_C(2654435761) >> 24; // [0, 256)
}

static void s_peers(uint64_t peers[2][S_COUNT])
{
    for (uint32_t row = 0; row < S_COUNT; row++) {
        peers[0][row] = bb_bits_of_double((double)(3600 + s_noise(row)) / 1000.0);
        peers[1][row] = (uint64_t)(int64_t)(row % 50) - 20;
    }
}

// Words that suit the encoding; `kind` is set.
static void s_words(bb_encoding_id_t id, uint64_t peers[2][S_COUNT], uint64_t *words,
                    bb_encoding_kind_t *kind)
{
    *kind = BB_ENCODING_FLOAT64;
    for (uint32_t row = 0; row < S_COUNT; row++) {
        double noise = (double)s_noise(row);
        switch (id) {
        case BB_ENCODING_CONSTANT:
            words[row] = bb_bits_of_double(48.5);
            break;
        case BB_ENCODING_INTEGERS:
            *kind = BB_ENCODING_INTEGER;
            words[row] = (uint64_t)row * 1000 + s_noise(row) % 3 - 7 + (row == 100 ? 1u << 20 : 0);
            break;
        case BB_ENCODING_DECIMALS:
            words[row] = row == 17 ? UINT64_C(0x7ff8000000000123)
                                   : bb_bits_of_double((noise - 100.0) / 10.0);
            break;
        case BB_ENCODING_FLOATS:
            words[row] = bb_bits_of_double((double)((float)(noise - 90.0) / 7.0f));
            break;
        case BB_ENCODING_RUNS:
            words[row] = bb_bits_of_double((double)(row / 40) / 4.0);
            break;
        case BB_ENCODING_DICTIONARY:
            *kind = BB_ENCODING_INTEGER;
            words[row] = (s_noise(row) % 5) * UINT64_C(0x123456789abcdef);
            break;
        case BB_ENCODING_TIMES:
            *kind = BB_ENCODING_INTEGER;
            words[row] = UINT64_C(1767225600000000000) + row * UINT64_C(10000000000) +
                         (row >= 90 ? UINT64_C(600000000000) : 0) +
                         (row % 9 == 0 ? s_noise(row) % 50 * UINT64_C(1000000) : 0);
            break;
        case BB_ENCODING_PREDICTED:
            words[row] = bb_bits_of_double(
                round((double)(int64_t)peers[1][row] * 2500.0 + noise / 64.0) / 10.0);
            break;
        default: // raw, xor, split
            words[row] = bb_bits_of_double(1.0 / ((double)row + 3.0));
            break;
        }
    }
}

#define S_ENTROPY    0x20u // flags of packed integers
#define S_ARITHMETIC 0x40u
#define S_DELAYED    0x05u // model of a prediction

// Decimals that move now and then, and then far: their packed integers take the entropy form.
// For the arithmetic one: decimals that count, not quite evenly.
static void s_surprising_words(uint32_t form, uint64_t *words)
{
    int64_t number = 7000;
    for (uint32_t row = 0; row < S_COUNT; row++) {
        if (form == S_ARITHMETIC) {
            number += s_noise(row) % 6 == 0 ? (s_noise(row) % 4 ? 1 : -3) : 0;
            words[row] = bb_bits_of_double((double)number / 10.0);
            continue;
        }
        bool is_moving = s_noise(row / 8) < 90;
        number += is_moving && row % 3 != 0 ? (int64_t)s_noise(row) * 9 - 1100 : 0;
        words[row] = bb_bits_of_double((double)number / 10.0);
    }
}

// Twice the first peer two rows before, but for some rows.
static void s_delayed_words(uint64_t *words)
{
    for (uint32_t row = 0; row < S_COUNT; row++) {
        uint64_t number = 2 * (3600 + s_noise(row < 2 ? 0 : row - 2)) + (row % 17 == 0);
        words[row] = bb_bits_of_double((double)number / 1000.0);
    }
}

static const struct {
    bb_encoding_id_t id;
    uint32_t form; // 0, or one of the above
} s_blocks[] = {
    {BB_ENCODING_CONSTANT, 0},
    {BB_ENCODING_RAW, 0},
    {BB_ENCODING_INTEGERS, 0},
    {BB_ENCODING_DECIMALS, 0},
    {BB_ENCODING_FLOATS, 0},
    {BB_ENCODING_RUNS, 0},
    {BB_ENCODING_DICTIONARY, 0},
    {BB_ENCODING_TIMES, 0},
    {BB_ENCODING_XOR, 0},
    {BB_ENCODING_SPLIT, 0},
    {BB_ENCODING_PREDICTED, 0},
    {BB_ENCODING_DECIMALS, S_ENTROPY},
    {BB_ENCODING_DECIMALS, S_ARITHMETIC},
    {BB_ENCODING_PREDICTED, S_DELAYED},
};

static void s_block_words(size_t i, uint64_t peers[2][S_COUNT], uint64_t *words,
                          bb_encoding_kind_t *kind)
{
    s_words(s_blocks[i].id, peers, words, kind);
    if (s_blocks[i].form == S_DELAYED) {
        s_delayed_words(words);
    } else if (s_blocks[i].form) {
        s_surprising_words(s_blocks[i].form, words);
    }
}

// The encoder finds out by itself that the last of three columns follows from the second.
static uint32_t s_encode_predicted(bb_encoder_t *encoder, uint64_t peers[2][S_COUNT],
                                   const bb_encoding_input_t *input, uint8_t *out)
{
    const uint64_t *offered[3] = {peers[0], peers[1], input->words};
    const bb_encoding_kind_t kinds[3] = {BB_ENCODING_FLOAT64, BB_ENCODING_INTEGER, input->kind};
    bb_encoding_input_t columns[3];
    uint32_t hints[3] = {0};
    uint32_t *hint_of[3] = {&hints[0], &hints[1], &hints[2]};
    for (uint32_t i = 0; i < 3; i++) {
        columns[i] = (bb_encoding_input_t){.kind = kinds[i],
                                           .words = offered[i],
                                           .count = S_COUNT,
                                           .peers = offered,
                                           .peer_kinds = kinds,
                                           .peer_count = 3};
    }
    bb_encoder_relate(encoder, columns, 3, hint_of);
    uint8_t id = 0;
    size_t length = bb_encoder_encode(encoder, &columns[2], &hints[2], out, &id);
    return id == BB_ENCODING_PREDICTED ? (uint32_t)length : 0;
}

static int s_write_golden(void)
{
    uint64_t peers[2][S_COUNT];
    uint64_t words[S_COUNT];
    static uint8_t block[1u << 16];
    const uint32_t count = S_COUNT;
    bb_encoder_t *encoder = bb_encoder_new();
    FILE *file = fopen(S_GOLDEN, "wb");
    assert_non_null(file);
    s_peers(peers);
    fwrite(&count, sizeof count, 1, file);
    fwrite(peers, sizeof peers, 1, file);
    for (size_t i = 0; i < BB_COUNT_OF(s_blocks); i++) {
        bb_encoding_kind_t kind;
        s_block_words(i, peers, words, &kind);
        bb_encoding_input_t input = {.kind = kind, .words = words, .count = S_COUNT};
        bool is_small = s_blocks[i].form == S_ARITHMETIC || s_blocks[i].form == S_DELAYED;
        bb_encoder_set_aim(encoder, is_small ? BB_ENCODER_SMALL : BB_ENCODER_FAST);
        uint32_t length =
            s_blocks[i].id == BB_ENCODING_PREDICTED
                ? s_encode_predicted(encoder, peers, &input, block)
                : (uint32_t)bb_encoder_encode_as(encoder, s_blocks[i].id, &input, block);
        if (length == 0) {
            fprintf(stderr, "encoding %u cannot hold its words\n", (unsigned)s_blocks[i].id);
            return 1;
        }
        const uint8_t head[4] = {(uint8_t)s_blocks[i].id, (uint8_t)kind, 0, 0};
        fwrite(head, sizeof head, 1, file);
        fwrite(&length, sizeof length, 1, file);
        fwrite(block, length, 1, file);
        fwrite(words, sizeof words, 1, file);
    }
    bb_encoder_destroy(&encoder);
    return fclose(file);
}

static void s_test_golden(void **state)
{
    (void)state;
    FILE *file = fopen(S_GOLDEN, "rb");
    assert_non_null(file);
    uint8_t *bytes = malloc(S_BYTES_MAX);
    size_t length = fread(bytes, 1, S_BYTES_MAX, file);
    fclose(file);
    uint64_t peers[2][S_COUNT];
    uint64_t wanted[S_COUNT];
    uint64_t words[S_COUNT];
    s_peers(peers);
    assert_memory_equal(bytes + 4, peers, sizeof peers);
    size_t at = 4 + sizeof peers;
    for (size_t i = 0; i < BB_COUNT_OF(s_blocks); i++) {
        bb_encoding_kind_t kind;
        uint32_t block_bytes;
        s_block_words(i, peers, wanted, &kind);
        assert_int_equal(bytes[at], s_blocks[i].id);
        assert_int_equal(bytes[at + 1], kind);
        memcpy(&block_bytes, bytes + at + 4, 4);
        bb_slice_t block = bb_slice(bytes + at + 8, block_bytes);
        if (s_blocks[i].id == BB_ENCODING_DECIMALS) { // exponent, then the flags of packed integers
            uint32_t flags = bytes[at + 8 + 1];
            assert_int_equal(flags & (S_ENTROPY | S_ARITHMETIC), s_blocks[i].form);
        }
        if (s_blocks[i].form == S_DELAYED) {
            assert_int_equal(bytes[at + 8] & 0xf, S_DELAYED);
        }
        uint32_t named[BB_ENCODING_PEERS_MAX];
        uint32_t named_count = 0;
        assert_int_equal(bb_encoding_peers(s_blocks[i].id, block, 2, named, &named_count), BB_OK);
        const uint64_t *given[BB_ENCODING_PEERS_MAX] = {NULL, NULL};
        for (uint32_t p = 0; p < named_count; p++) {
            given[p] = peers[named[p]];
        }
        assert_int_equal(bb_encoding_decode(s_blocks[i].id, kind, block, S_COUNT, given, words),
                         BB_OK);
        assert_memory_equal(words, wanted, sizeof words);
        at += 8 + block_bytes + sizeof words;
    }
    assert_int_equal(at, length);
    free(bytes);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write-golden") == 0) {
        return s_write_golden();
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(s_test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
