// SPDX-License-Identifier: Apache-2.0
// Have-sets against the definition: a set of dots, kept here as one bit each. Limits, the flat
// form, and every way in which a flat form can fail to be canonical.
#include "protocol/bb_have_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"
#include "tests/unit/protocol/test_stream.h"

#define S_STREAMS 5
#define S_SEQS    60 // seqs 1 to 60 are used

typedef struct {
    bool has[S_STREAMS][S_SEQS + 1];
} s_oracle_t;

static bb_error_t s_add(bb_have_set_t *set, uint32_t stream, uint64_t first, uint64_t last)
{
    bb_stream_t name = test_stream(stream);
    return bb_have_set_add(set, &name, first, last, NULL);
}

// Equal to the oracle dot by dot, and in canonical form.
static void s_expect(const bb_have_set_t *set, const s_oracle_t *oracle)
{
    uint64_t count = 0;
    for (uint32_t s = 0; s < S_STREAMS; s++) {
        bb_stream_t name = test_stream(s);
        bool is_known = false;
        for (uint64_t seq = 1; seq <= S_SEQS; seq++) {
            assert_int_equal(bb_have_set_contains(set, &name, seq), oracle->has[s][seq]);
            count += oracle->has[s][seq];
            is_known |= oracle->has[s][seq];
        }
        assert_false(bb_have_set_contains(set, &name, S_SEQS + 1));
        assert_int_equal(bb_have_set_stream(set, &name) != NULL, is_known);
    }
    assert_int_equal(bb_have_set_count(set), count);
    for (uint32_t i = 0; i < set->stream_count; i++) {
        const bb_have_stream_t *at = &set->streams[i];
        assert_true(i == 0 || memcmp(at[-1].stream.bytes, at->stream.bytes, 16) < 0);
        assert_true(at->range_count >= 1);
        for (uint32_t r = 0; r < at->range_count; r++) {
            assert_true(at->ranges[r].first_seq >= 1);
            assert_true(at->ranges[r].last_seq >= at->ranges[r].first_seq);
            assert_true(r == 0 || at->ranges[r].first_seq > at->ranges[r - 1].last_seq + 1);
        }
    }
}

static void s_random_set(bb_random_t *random, bb_have_set_t *set, s_oracle_t *oracle, int adds)
{
    memset(oracle, 0, sizeof *oracle);
    for (int i = 0; i < adds; i++) {
        uint32_t stream = (uint32_t)(bb_random_next(random) % S_STREAMS);
        uint64_t first = 1 + bb_random_next(random) % S_SEQS;
        uint64_t last = first + bb_random_next(random) % 6;
        last = BB_MIN(last, (uint64_t)S_SEQS);
        bool is_new = false, added = false;
        for (uint64_t seq = first; seq <= last; seq++) {
            is_new |= !oracle->has[stream][seq];
            oracle->has[stream][seq] = true;
        }
        bb_stream_t name = test_stream(stream);
        assert_int_equal(bb_have_set_add(set, &name, first, last, &added), BB_OK);
        assert_int_equal(added, is_new);
    }
}

static void test_adding_equals_the_definition(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(1);
    for (int round = 0; round < 300; round++) {
        bb_have_set_t set = {0};
        s_oracle_t oracle;
        s_random_set(&random, &set, &oracle, round % 60);
        s_expect(&set, &oracle);
        bb_have_set_clear(&set);
        assert_int_equal(set.stream_count, 0);
    }
}

// Goal: union, inclusion, equality and lacking of two random sets equal those of the definition.
static void test_two_sets_equal_the_definition(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(2);
    for (int round = 0; round < 400; round++) {
        bb_have_set_t a = {0}, b = {0}, both = {0};
        s_oracle_t in_a, in_b, in_both;
        s_random_set(&random, &a, &in_a, (int)(bb_random_next(&random) % 40));
        s_random_set(&random, &b, &in_b, (int)(bb_random_next(&random) % 8));
        if (round % 4 == 0) { // make inclusion happen
            assert_int_equal(bb_have_set_union(&a, &b), BB_OK);
            for (size_t i = 0; i < sizeof in_a.has; i++) {
                (&in_a.has[0][0])[i] |= (&in_b.has[0][0])[i];
            }
        }
        uint64_t lacks = 0;
        bool is_equal = true;
        for (size_t i = 0; i < sizeof in_a.has; i++) {
            bool has_a = (&in_a.has[0][0])[i], has_b = (&in_b.has[0][0])[i];
            // cppcheck-suppress uninitvar ; written here, not read
            (&in_both.has[0][0])[i] = has_a || has_b;
            lacks += has_b && !has_a;
            is_equal &= has_a == has_b;
        }
        assert_int_equal(bb_have_set_lacks_count(&a, &b), lacks);
        assert_int_equal(bb_have_set_includes(&a, &b), lacks == 0);
        assert_int_equal(bb_have_set_is_equal(&a, &b), is_equal);
        bb_have_set_copy(&both, &a);
        assert_true(bb_have_set_is_equal(&both, &a));
        assert_int_equal(bb_have_set_union(&both, &b), BB_OK);
        s_expect(&both, &in_both);
        s_expect(&a, &in_a); // the copy shares nothing
        assert_true(bb_have_set_includes(&both, &a) && bb_have_set_includes(&both, &b));
        bb_have_set_clear(&a);
        bb_have_set_clear(&b);
        bb_have_set_clear(&both);
    }
}

// Goal: equal sets have equal bytes, whatever the order in which they grew; decoding gives back the
// set; cutting the bytes anywhere is refused.
static void test_flat_form_there_and_back(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(3);
    for (int round = 0; round < 60; round++) {
        bb_have_set_t set = {0}, again = {0}, decoded = {0};
        s_oracle_t oracle;
        s_random_set(&random, &set, &oracle, round);
        for (uint32_t s = S_STREAMS; s-- > 0;) {
            for (uint64_t seq = S_SEQS; seq >= 1; seq--) {
                if (oracle.has[s][seq]) {
                    assert_int_equal(s_add(&again, s, seq, seq), BB_OK);
                }
            }
        }
        size_t length = bb_have_set_encoded_bytes(&set);
        uint8_t *bytes = malloc(length + 1), *other = malloc(length + 1);
        bb_have_set_encode(&set, bytes);
        assert_int_equal(bb_have_set_encoded_bytes(&again), length);
        bb_have_set_encode(&again, other);
        assert_memory_equal(bytes, other, length);
        assert_int_equal(bb_have_set_decode(&decoded, bytes, length), BB_OK);
        assert_true(bb_have_set_is_equal(&decoded, &set));
        s_expect(&decoded, &oracle);
        for (size_t cut = 1; cut < length; cut++) {
            bool is_boundary = false; // between two streams: a smaller set, legally
            for (size_t at = 0, i = 0; i < set.stream_count; i++) {
                at += 24 + 16 * (size_t)set.streams[i].range_count;
                is_boundary |= at == cut;
            }
            assert_int_equal(bb_have_set_decode(&decoded, bytes, cut),
                             is_boundary ? BB_OK : BB_ERR_MESSAGE_CORRUPT);
            assert_true(is_boundary || decoded.stream_count == 0);
        }
        bytes[length] = 0;
        assert_int_equal(bb_have_set_decode(&decoded, bytes, length + 1), BB_ERR_MESSAGE_CORRUPT);
        free(bytes);
        free(other);
        bb_have_set_clear(&set);
        bb_have_set_clear(&again);
        bb_have_set_clear(&decoded);
    }
}

// Goal: the byte map of the header, written out by hand.
static void test_flat_form_byte_map(void **state)
{
    (void)state;
    bb_have_set_t set = {0};
    bb_stream_t stream;
    for (uint8_t i = 0; i < 16; i++) {
        stream.bytes[i] = (uint8_t)(0xa0 + i);
    }
    assert_int_equal(bb_have_set_add(&set, &stream, 1, 0x0102, NULL), BB_OK);
    assert_int_equal(bb_have_set_add(&set, &stream, UINT64_MAX, UINT64_MAX, NULL), BB_OK);
    static const uint8_t expected[56] = {
        0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad,
        0xae, 0xaf, 2,    0,    0,    0,    0,    0,    0,    0,    1,    0,    0,    0,
        0,    0,    0,    0,    0x02, 0x01, 0,    0,    0,    0,    0,    0,    0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t bytes[sizeof expected];
    assert_int_equal(bb_have_set_encoded_bytes(&set), sizeof expected);
    bb_have_set_encode(&set, bytes);
    assert_memory_equal(bytes, expected, sizeof expected);
    bb_have_set_clear(&set);
}

static void s_put(uint8_t *bytes, size_t at, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++) {
        bytes[at + i] = (uint8_t)(value >> 8 * i);
    }
}

// Goal: each rule of the canonical form, broken alone, is refused. Two streams, 2 and 1 ranges.
static void test_flat_form_refuses_what_is_not_canonical(void **state)
{
    (void)state;
    static const struct {
        size_t at, width;
        uint64_t value;
    } cases[] = {
        {0, 1, 2},           // streams descend
        {0, 1, 1},           // one stream twice
        {16, 4, 0},          // a stream without ranges
        {16, 4, 1},          // too few: the rest is no stream
        {16, 4, 3},          // too many
        {16, 4, UINT32_MAX}, // far too many
        {20, 4, 1},          // the reserved word is not zero
        {24, 8, 0},          // seq 0
        {24, 8, 6},          // first > last
        {32, 8, 0},          // last < first
        {32, 8, 9},          // adjacent to the next range
        {32, 8, 10},         // overlapping
        {32, 8, UINT64_MAX}, // reaching past the next
        {40, 8, 6},          // adjacent to the one before
        {40, 8, 1},          // ranges descend
        {48, 8, 9},          // first > last
        {72, 4, 2},          // the second stream is cut short
    };
    for (size_t i = 0; i <= BB_COUNT_OF(cases); i++) {
        uint8_t bytes[56 + 40] = {0};
        s_put(bytes, 16, 2, 4);
        s_put(bytes, 24, 1, 8);
        s_put(bytes, 32, 5, 8);
        s_put(bytes, 40, 10, 8);
        s_put(bytes, 48, 12, 8);
        bytes[56] = 1;
        bytes[71] = 0;
        s_put(bytes, 72, 1, 4);
        s_put(bytes, 80, 7, 8);
        s_put(bytes, 88, 7, 8);
        bb_have_set_t set = {0};
        assert_int_equal(s_add(&set, 0, 3, 4), BB_OK); // replaced or gone
        if (i == BB_COUNT_OF(cases)) {
            assert_int_equal(bb_have_set_decode(&set, bytes, sizeof bytes), BB_OK);
            assert_int_equal(bb_have_set_count(&set), 5 + 3 + 1);
        } else {
            s_put(bytes, cases[i].at, cases[i].value, cases[i].width);
            assert_int_equal(bb_have_set_decode(&set, bytes, sizeof bytes), BB_ERR_MESSAGE_CORRUPT);
            assert_int_equal(set.stream_count, 0);
        }
        bb_have_set_clear(&set);
    }
}

// Goal: the 33rd range and the 4,097th stream are refused and leave the set as it was; what joins
// ranges is still taken.
static void test_limits(void **state)
{
    (void)state;
    bb_have_set_t set = {0}, before = {0};
    for (uint64_t i = 0; i < BB_HAVE_RANGES_MAX; i++) {
        assert_int_equal(s_add(&set, 0, 10 * i + 1, 10 * i + 5), BB_OK);
    }
    bb_have_set_copy(&before, &set);
    assert_int_equal(s_add(&set, 0, 1000, 1000), BB_ERR_LIMIT);
    assert_int_equal(s_add(&set, 0, 8, 8), BB_ERR_LIMIT);
    assert_true(bb_have_set_is_equal(&set, &before));
    assert_int_equal(s_add(&set, 0, 12, 14), BB_OK);     // inside
    assert_int_equal(s_add(&set, 0, 6, 6), BB_OK);       // touches from above
    assert_int_equal(s_add(&set, 0, 20, 20), BB_OK);     // touches from below
    assert_int_equal(s_add(&set, 0, 26, 30), BB_OK);     // joins two
    assert_int_equal(s_add(&set, 0, 1000, 1000), BB_OK); // room for one again
    assert_int_equal(s_add(&set, 0, 2000, 2000), BB_ERR_LIMIT);
    bb_have_set_clear(&before);
    assert_int_equal(s_add(&before, 0, 2000, 2000), BB_OK);
    assert_int_equal(s_add(&before, 1, 1, 1), BB_OK);
    assert_int_equal(bb_have_set_union(&set, &before), BB_ERR_LIMIT);
    assert_int_equal(bb_have_set_lacks_count(&set, &before), 1); // the rest had room
    bb_have_set_clear(&before);
    for (uint32_t i = 1; i < BB_STREAMS_MAX; i++) {
        assert_int_equal(s_add(&set, i, 1, 1), BB_OK);
    }
    assert_int_equal(s_add(&set, BB_STREAMS_MAX, 1, 1), BB_ERR_LIMIT);
    assert_int_equal(set.stream_count, BB_STREAMS_MAX);
    assert_int_equal(s_add(&set, BB_STREAMS_MAX - 1, 2, 2), BB_OK);
    size_t length = bb_have_set_encoded_bytes(&set);
    uint8_t *bytes = malloc(length);
    bb_have_set_encode(&set, bytes);
    assert_int_equal(bb_have_set_decode(&before, bytes, length), BB_OK);
    assert_true(bb_have_set_is_equal(&before, &set));
    free(bytes);
    bb_have_set_clear(&before);
    bb_have_set_clear(&set);
}

// Goal: counts that pass 2^64 stop there; above all, a set that lacks 2^64 dots does not seem to
// lack none.
static void test_counts_do_not_wrap(void **state)
{
    (void)state;
    bb_have_set_t huge = {0}, nothing = {0};
    assert_int_equal(s_add(&huge, 0, 1, UINT64_MAX), BB_OK);
    assert_int_equal(bb_have_set_count(&huge), UINT64_MAX);
    assert_int_equal(s_add(&huge, 1, 5, 5), BB_OK);
    assert_int_equal(bb_have_set_count(&huge), UINT64_MAX);
    assert_int_equal(bb_have_set_lacks_count(&nothing, &huge), UINT64_MAX);
    assert_false(bb_have_set_includes(&nothing, &huge));
    assert_true(bb_have_set_includes(&huge, &huge));
    assert_int_equal(s_add(&huge, 0, UINT64_MAX, UINT64_MAX), BB_OK);
    assert_int_equal(s_add(&nothing, 0, UINT64_MAX - 1, UINT64_MAX), BB_OK);
    assert_int_equal(s_add(&nothing, 0, UINT64_MAX - 2, UINT64_MAX - 2), BB_OK);
    assert_int_equal(bb_have_set_count(&nothing), 3);
    bb_have_set_clear(&huge);
    bb_have_set_clear(&nothing);
}

// Goal: random damage of a flat form is refused or read as some canonical set, never worse.
static void test_damaged_flat_forms(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(4);
    bb_have_set_t set = {0}, decoded = {0};
    s_oracle_t oracle;
    s_random_set(&random, &set, &oracle, 40);
    size_t length = bb_have_set_encoded_bytes(&set);
    uint8_t *bytes = malloc(length), *again = malloc(length);
    for (int i = 0; i < 20000; i++) {
        bb_have_set_encode(&set, bytes);
        for (uint64_t n = 1 + bb_random_next(&random) % 3; n > 0; n--) {
            bytes[bb_random_next(&random) % length] ^= (uint8_t)(1 << bb_random_next(&random) % 8);
        }
        if (bb_have_set_decode(&decoded, bytes, length) == BB_OK) {
            assert_int_equal(bb_have_set_encoded_bytes(&decoded), length);
            bb_have_set_encode(&decoded, again);
            assert_memory_equal(again, bytes, length);
        }
    }
    free(bytes);
    free(again);
    bb_have_set_clear(&set);
    bb_have_set_clear(&decoded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adding_equals_the_definition),
        cmocka_unit_test(test_two_sets_equal_the_definition),
        cmocka_unit_test(test_flat_form_there_and_back),
        cmocka_unit_test(test_flat_form_byte_map),
        cmocka_unit_test(test_flat_form_refuses_what_is_not_canonical),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_counts_do_not_wrap),
        cmocka_unit_test(test_damaged_flat_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
