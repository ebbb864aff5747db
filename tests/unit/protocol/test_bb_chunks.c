// SPDX-License-Identifier: Apache-2.0
// Chunk headers there and back, what is refused, subsets against the definition, the golden file.
// `test_bb_chunks --write-golden` rewrites the golden header and is used once per wire version.
#include "protocol/bb_chunks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/unit/protocol/batch_support.h"
#include "tests/unit/protocol/wire_patch.h"

#define S_GOLDEN_V1 BB_SOURCE_DIR "/tests/golden/wire/chunks_v1.bin" // read, not written
#define S_GOLDEN_V2 BB_SOURCE_DIR "/tests/golden/wire/chunks_v2.bin"

// Fields of the root table, by their number in chunks.fbs.
enum {
    S_VERSION,
    S_EPOCH,
    S_ORIGIN,
    S_STREAM,
    S_SEQS,
    S_QUARANTINED,
    S_SEQ_BASE,
    S_SEQ_BYTES,
    S_SEQ_OFFSETS
};

// Fits the golden batch: 2 parts, 6 frames.
static const uint64_t s_seqs[] = {1, UINT64_C(0xfedcba9876543210)};
static const uint32_t s_quarantined[] = {0, 3, 5};

static bb_chunks_t s_sample(void)
{
    bb_chunks_t chunks = {.epoch = 7,
                          .origin_wall_ns = INT64_C(1767225600123456789),
                          .part_count = 2,
                          .seqs = s_seqs,
                          .quarantined_count = 3,
                          .quarantined = s_quarantined};
    for (uint8_t i = 0; i < 16; i++) {
        chunks.stream.bytes[i] = (uint8_t)(0x10 * i + i);
    }
    return chunks;
}

static void s_expect_equal(const bb_chunks_t *a, const bb_chunks_t *b)
{
    assert_memory_equal(a->stream.bytes, b->stream.bytes, 16);
    assert_int_equal(a->epoch, b->epoch);
    assert_true(a->origin_wall_ns == b->origin_wall_ns);
    assert_int_equal(a->part_count, b->part_count);
    for (uint32_t i = 0; i < a->part_count; i++) {
        assert_true(bb_chunks_seq(a, i) == bb_chunks_seq(b, i));
    }
    assert_int_equal(a->quarantined_count, b->quarantined_count);
    for (uint32_t i = 0; i < a->quarantined_count; i++) {
        assert_int_equal(a->quarantined[i], b->quarantined[i]);
    }
}

static void test_golden_chunks(void **state)
{
    (void)state;
    bb_chunks_t sample = s_sample(), decoded;
    uint8_t *encoded;
    size_t length, golden_length;
    bb_fault_t fault;
    uint8_t *golden = support_read(S_GOLDEN_V1, &golden_length);
    assert_int_equal(bb_chunks_decode(&decoded, bb_slice(golden, golden_length), &fault), BB_OK);
    s_expect_equal(&decoded, &sample);
    free(golden);
    golden = support_read(S_GOLDEN_V2, &golden_length);
    assert_int_equal(bb_chunks_decode(&decoded, bb_slice(golden, golden_length), &fault), BB_OK);
    s_expect_equal(&decoded, &sample);
    bb_chunks_encode(&decoded, &encoded, &length);
    assert_int_equal(length, golden_length);
    assert_memory_equal(encoded, golden, length);
    free(encoded);
    free(golden);
}

static void test_there_and_back(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(1);
    for (uint32_t parts = 1; parts < 3000; parts = parts * 3 + 1) {
        uint64_t *seqs = calloc(parts, sizeof *seqs);
        uint32_t *quarantined = calloc(parts, sizeof *quarantined);
        uint32_t frame = 0;
        for (uint32_t i = 0; i < parts; i++) {
            seqs[i] = bb_random_next(&random) | 1;
            quarantined[i] = frame += (uint32_t)bb_random_between(&random, i > 0, 5);
        }
        bb_chunks_t chunks = {.epoch = parts,
                              .origin_wall_ns = -(int64_t)parts,
                              .part_count = parts,
                              .seqs = seqs,
                              .quarantined_count = parts % 2 ? 0 : parts,
                              .quarantined = quarantined};
        uint8_t *encoded;
        size_t length;
        bb_chunks_encode(&chunks, &encoded, &length);
        assert_int_equal((uintptr_t)encoded % 8, 0);
        bb_chunks_t decoded;
        assert_int_equal(bb_chunks_decode(&decoded, bb_slice(encoded, length), NULL), BB_OK);
        s_expect_equal(&decoded, &chunks);
        for (size_t cut = 0; cut < length; cut += 1 + length / 97) {
            uint8_t *shorter = malloc(cut + 1);
            memcpy(shorter, encoded, cut);
            assert_int_equal(bb_chunks_decode(&decoded, bb_slice(shorter, cut), NULL),
                             BB_ERR_MESSAGE_CORRUPT);
            free(shorter);
        }
        free(encoded);
        free(seqs);
        free(quarantined);
    }
}

// Goal: seqs take as few bytes as their spread needs, wherever they lie, and come back. Method: the
// largest spread of each width, and the first of the next; of a batch as nodes write it, one byte a
// part.
static void test_seqs_are_packed(void **state)
{
    (void)state;
    static const struct {
        uint64_t base, spread;
        uint32_t bytes_each;
    } cases[] = {{1, 0, 1},
                 {1, 255, 1},
                 {UINT64_C(1) << 40, 255, 1},
                 {UINT64_MAX - 255, 255, 1},
                 {7, 256, 2},
                 {7, 65535, 2},
                 {7, 65536, 4},
                 {7, UINT32_MAX, 4},
                 {7, UINT64_C(1) << 32, 8},
                 {1, UINT64_MAX - 1, 8}};
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        uint64_t seqs[300];
        for (uint32_t p = 0; p < 300; p++) {
            seqs[p] = cases[i].base + (p == 137 ? cases[i].spread : p % (cases[i].spread + 1));
        }
        bb_chunks_t chunks = {.epoch = 1, .part_count = 300, .seqs = seqs}, decoded;
        uint8_t *encoded;
        size_t length;
        bb_chunks_encode(&chunks, &encoded, &length);
        assert_int_equal(bb_chunks_decode(&decoded, bb_slice(encoded, length), NULL), BB_OK);
        s_expect_equal(&decoded, &chunks);
        assert_int_equal(decoded.seq_bytes, cases[i].bytes_each);
        assert_in_range(length, 300 * cases[i].bytes_each, 300 * cases[i].bytes_each + 120);
        free(encoded);
    }
}

// Goal: each rule broken alone is refused: in what is written today, and in a header of version 1.
static void test_each_rule_is_checked(void **state)
{
    (void)state;
    enum {
        VERSION,
        VERSION_ZERO,
        IDENTIFIER,
        NO_STREAM,
        SHORT_STREAM,
        NO_OFFSETS,
        NO_WIDTH,
        THREE_BYTES,
        HALF_A_SEQ,
        ZERO_BASE,
        PAST_THE_LARGEST,
        EQUAL,
        DESCENDING,
        OF_V1, // and all that follow
        NO_SEQS = OF_V1,
        ZERO_SEQ,
        SECOND_ZERO_SEQ,
        MISALIGNED,
        NOTHING_V1,
        NOTHING,
        CASES
    };
    for (int damage = 0; damage < CASES; damage++) {
        bb_chunks_t sample = s_sample(), decoded;
        uint8_t *bytes;
        size_t length;
        bool is_v1 = damage >= OF_V1 && damage < NOTHING;
        if (is_v1) {
            bytes = support_read(S_GOLDEN_V1, &length);
        } else {
            bb_chunks_encode(&sample, &bytes, &length);
        }
        uint8_t *root = wire_root(bytes);
        uint8_t *vtable = root - (int32_t)wire_u32(root);
        uint8_t *seqs = is_v1 ? wire_follow(wire_field(root, S_SEQS)) + 4 : NULL;
        uint8_t *quarantined = wire_follow(wire_field(root, S_QUARANTINED)) + 4;
        bb_error_t expected = BB_ERR_MESSAGE_CORRUPT;
        switch (damage) {
        case VERSION:
            wire_put(wire_field(root, S_VERSION), 3, 4);
            expected = BB_ERR_MESSAGE_VERSION;
            break;
        case VERSION_ZERO:
            wire_put(wire_field(root, S_VERSION), 0, 4);
            expected = BB_ERR_MESSAGE_VERSION;
            break;
        case NO_OFFSETS:
            wire_put(vtable + 4 + 2 * S_SEQ_OFFSETS, 0, 2);
            break;
        case NO_WIDTH:
            wire_put(wire_field(root, S_SEQ_BYTES), 0, 1);
            break;
        case THREE_BYTES:
            wire_put(wire_field(root, S_SEQ_BYTES), 3, 1);
            break;
        case HALF_A_SEQ:
            wire_put(wire_follow(wire_field(root, S_SEQ_OFFSETS)), 12, 4);
            break;
        case ZERO_BASE: // and the first offset is 0
            wire_put(wire_field(root, S_SEQ_BASE), 0, 8);
            break;
        case PAST_THE_LARGEST:
            wire_put(wire_field(root, S_SEQ_BASE), UINT64_MAX, 8);
            break;
        case IDENTIFIER:
            bytes[4] = 'X';
            break;
        case NO_STREAM:
            wire_put(vtable + 4 + 2 * S_STREAM, 0, 2);
            break;
        case SHORT_STREAM:
            wire_put(wire_follow(wire_field(root, S_STREAM)), 15, 4);
            break;
        case NO_SEQS:
            wire_put(vtable + 4 + 2 * S_SEQS, 0, 2);
            break;
        case ZERO_SEQ:
            wire_put(seqs, 0, 8);
            break;
        case SECOND_ZERO_SEQ:
            wire_put(seqs + 8, 0, 8);
            break;
        case EQUAL:
            wire_put(quarantined + 4, 0, 4);
            break;
        case DESCENDING:
            wire_put(quarantined + 8, 2, 4);
            break;
        case MISALIGNED: { // seqs begins 4 bytes later: its first half, a 1, is the length
            uint8_t *offset = wire_field(root, S_SEQS);
            wire_put(offset, wire_u32(offset) + 4, 4);
            break;
        }
        default:
            expected = BB_OK;
        }
        bb_fault_t fault = {0};
        assert_int_equal(bb_chunks_decode(&decoded, bb_slice(bytes, length), &fault), expected);
        assert_int_equal(fault.error, expected);
        free(bytes);
    }
}

static void test_misaligned_bytes_are_refused(void **state)
{
    (void)state;
    bb_chunks_t sample = s_sample(), decoded;
    uint8_t *bytes;
    size_t length;
    bb_chunks_encode(&sample, &bytes, &length);
    uint8_t *copy = malloc(length + 8);
    for (size_t shift = 1; shift < 8; shift++) {
        memcpy(copy + shift, bytes, length);
        assert_int_equal(bb_chunks_decode(&decoded, bb_slice(copy + shift, length), NULL),
                         BB_ERR_MESSAGE_CORRUPT);
    }
    free(copy);
    free(bytes);
}

static void test_random_damage(void **state)
{
    (void)state;
    bb_chunks_t sample = s_sample(), decoded;
    uint8_t *bytes;
    size_t length;
    bb_chunks_encode(&sample, &bytes, &length);
    uint8_t *damaged = malloc(length);
    bb_random_t random = bb_random_seed(3);
    volatile uint64_t sink = 0;
    uint32_t accepted = 0;
    for (int i = 0; i < 20000; i++) {
        memcpy(damaged, bytes, length);
        for (uint64_t n = bb_random_between(&random, 1, 4); n > 0; n--) {
            damaged[bb_random_below(&random, length)] ^=
                (uint8_t)(1 << bb_random_below(&random, 8));
        }
        if (bb_chunks_decode(&decoded, bb_slice(damaged, length), NULL) == BB_OK) {
            accepted++;
            for (uint32_t p = 0; p < decoded.part_count; p++) {
                assert_true(bb_chunks_seq(&decoded, p) >= 1);
            }
            for (uint32_t q = 0; q < decoded.quarantined_count; q++) {
                sink = sink + decoded.quarantined[q];
            }
        }
    }
    assert_true(accepted > 100 && accepted < 19000);
    free(damaged);
    free(bytes);
}

// Goal: a header goes with a batch of as many parts, whose frames it does not pass.
static void test_match(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t length;
    uint32_t order[GOLDEN_FRAMES];
    golden_batch(&bytes, &length, order);
    bb_batch_t batch;
    assert_int_equal(bb_batch_open(&batch, bb_slice(bytes, length), NULL), BB_OK);
    bb_chunks_t chunks = s_sample();
    bb_fault_t fault;
    assert_int_equal(bb_chunks_match(&chunks, &batch, &fault), BB_OK);
    static const uint32_t beyond[] = {2, GOLDEN_FRAMES};
    chunks.quarantined = beyond;
    chunks.quarantined_count = 2;
    assert_int_equal(bb_chunks_match(&chunks, &batch, &fault), BB_ERR_MESSAGE_CORRUPT);
    chunks.quarantined_count = 1;
    assert_int_equal(bb_chunks_match(&chunks, &batch, &fault), BB_OK);
    chunks.part_count = 1;
    assert_int_equal(bb_chunks_match(&chunks, &batch, &fault), BB_ERR_MESSAGE_CORRUPT);
    bb_batch_close(&batch);
    free(bytes);
}

// A batch of `parts` parts with one battery and a few frames each; values are unique.
static void s_many_parts(uint32_t parts, bb_random_t *random, uint8_t **bytes, size_t *length)
{
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_slice_t name = support_text("m");
    uint8_t type = BB_TYPE_INT64;
    uint32_t shape, order;
    uint64_t value = 0;
    assert_int_equal(bb_batch_builder_shape(builder, &name, &type, 1, &shape, &order, NULL), BB_OK);
    for (uint32_t p = 0; p < parts; p++) {
        char id[8];
        uint32_t battery;
        snprintf(id, sizeof id, "%u", p);
        assert_int_equal(
            bb_batch_builder_battery(builder, p * 3, support_text(id), NULL, 0, &battery, NULL),
            BB_OK);
        for (uint64_t f = bb_random_between(random, 1, 6); f > 0; f--, value++) {
            assert_int_equal(bb_batch_builder_frame(builder, battery, shape, 5, &value), BB_OK);
        }
    }
    bb_batch_builder_finish(builder, bytes, length, NULL);
    bb_batch_builder_destroy(&builder);
}

// Goal: after taking parts out, each remaining part has its own seq and each remaining frame its
// own verdict. Method: values are unique, so a value's part, seq and verdict are looked up before
// and after.
static void test_subset_keeps_dots_and_verdicts(void **state)
{
    (void)state;
    enum { PARTS = 40, FRAMES_MAX = PARTS * 6 };
    bb_random_t random = bb_random_seed(4);
    for (int round = 0; round < 40; round++) {
        uint8_t *bytes, *out_chunks, *out_batch;
        size_t length, out_chunks_length, out_batch_length;
        s_many_parts(PARTS, &random, &bytes, &length);
        bb_batch_t batch, subset;
        assert_int_equal(bb_batch_open(&batch, bb_slice(bytes, length), NULL), BB_OK);
        uint64_t seqs[PARTS];
        bool keep[PARTS], is_quarantined[FRAMES_MAX] = {false};
        uint32_t quarantined[FRAMES_MAX], kept = 0;
        bb_chunks_t chunks = s_sample(), rest;
        chunks.part_count = PARTS;
        chunks.seqs = seqs;
        chunks.quarantined = quarantined;
        chunks.quarantined_count = 0;
        for (uint32_t p = 0; p < PARTS; p++) {
            seqs[p] = 1000 + p;
            keep[p] = bb_random_chance(&random, (uint64_t)round % 5, 4);
            kept += keep[p];
        }
        for (uint32_t f = 0; f < batch.frame_count; f++) {
            is_quarantined[f] = bb_random_chance(&random, 1, 3);
            if (is_quarantined[f]) {
                quarantined[chunks.quarantined_count++] = f;
            }
        }
        bb_error_t error = bb_chunks_subset(&chunks, &batch, keep, &out_chunks, &out_chunks_length,
                                            &out_batch, &out_batch_length);
        assert_int_equal(error, kept > 0 ? BB_OK : BB_ERR_NOT_FOUND);
        if (error == BB_OK) {
            assert_int_equal(bb_batch_open(&subset, bb_slice(out_batch, out_batch_length), NULL),
                             BB_OK);
            assert_int_equal(bb_chunks_decode(&rest, bb_slice(out_chunks, out_chunks_length), NULL),
                             BB_OK);
            assert_int_equal(bb_chunks_match(&rest, &subset, NULL), BB_OK);
            assert_int_equal(rest.epoch, chunks.epoch);
            assert_true(rest.origin_wall_ns == chunks.origin_wall_ns);
            assert_memory_equal(rest.stream.bytes, chunks.stream.bytes, 16);
            assert_int_equal(rest.part_count, kept);
            for (uint32_t p = 0; p < rest.part_count; p++) {
                assert_true(bb_chunks_seq(&rest, p) == 1000 + subset.parts[p].partition / 3);
            }
            uint32_t next = 0;
            uint64_t *values = malloc(subset.frame_count * sizeof *values);
            bb_batch_unpack(&subset, 0, 0, 0, subset.frame_count, values);
            for (uint32_t f = 0; f < subset.frame_count; f++) {
                bool is_listed = next < rest.quarantined_count && rest.quarantined[next] == f;
                next += is_listed;
                assert_int_equal(is_listed, is_quarantined[values[f]]);
            }
            free(values);
            assert_int_equal(next, rest.quarantined_count);
            bb_batch_close(&subset);
            free(out_chunks);
            free(out_batch);
        }
        bb_batch_close(&batch);
        free(bytes);
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write-golden") == 0) {
        bb_chunks_t sample = s_sample();
        uint8_t *bytes;
        size_t length;
        bb_chunks_encode(&sample, &bytes, &length);
        int status = support_write(S_GOLDEN_V2, bytes, length);
        free(bytes);
        return status;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_chunks),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_seqs_are_packed),
        cmocka_unit_test(test_each_rule_is_checked),
        cmocka_unit_test(test_misaligned_bytes_are_refused),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_subset_keeps_dots_and_verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
