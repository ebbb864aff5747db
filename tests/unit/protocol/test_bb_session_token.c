// SPDX-License-Identifier: Apache-2.0
// Tokens against the definition: a set of (stream, partition, seq), kept here as one bit each.
// Joining, choosing, containment, the limit, the flat form, and damage to it.
#include "protocol/bb_session_token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "protocol/bb_crc32c.h"
#include "tests/support/bb_random.h"
#include "tests/support/bb_rounds.h"
#include "tests/unit/protocol/test_stream.h"

#define S_STREAMS    4
#define S_PARTITIONS 5
#define S_SEQS       20 // seqs 1 to 20 are used

typedef struct {
    bool has[S_STREAMS][S_PARTITIONS][S_SEQS + 1];
} s_oracle_t;

static void s_add(bb_session_token_t *token, uint32_t stream, uint32_t partition, uint64_t first,
                  uint64_t last)
{
    bb_stream_t id = test_stream(stream);
    bb_session_token_add(token, &id, partition, first, last);
}

// A few random ranges, in the token and in the oracle.
static void s_fill(bb_session_token_t *token, s_oracle_t *oracle, bb_random_t *state)
{
    uint32_t count = (uint32_t)(bb_random_next(state) % 12);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t stream = (uint32_t)(bb_random_next(state) % S_STREAMS);
        uint32_t partition = (uint32_t)(bb_random_next(state) % S_PARTITIONS);
        uint64_t first = 1 + bb_random_next(state) % S_SEQS;
        uint64_t last = first + bb_random_next(state) % BB_MIN(5u, S_SEQS - first + 1);
        s_add(token, stream, partition, first, last);
        for (uint64_t seq = first; seq <= last; seq++) {
            oracle->has[stream][partition][seq] = true;
        }
    }
}

static bool s_has(const bb_session_token_t *token, uint32_t stream, uint32_t partition,
                  uint64_t seq)
{
    bb_stream_t id = test_stream(stream);
    for (uint32_t i = 0; i < token->stream_count; i++) {
        const bb_session_stream_t *at = &token->streams[i];
        for (uint32_t r = 0; r < at->range_count && bb_stream_is_equal(&at->stream, &id); r++) {
            if (at->ranges[r].partition == partition && at->ranges[r].first_seq <= seq &&
                seq <= at->ranges[r].last_seq) {
                return true;
            }
        }
    }
    return false;
}

// Equal to the oracle dot by dot, in canonical form, and the same after a trip through bytes.
static void s_expect(const bb_session_token_t *token, const s_oracle_t *oracle)
{
    for (uint32_t s = 0; s < S_STREAMS; s++) {
        for (uint32_t p = 0; p < S_PARTITIONS; p++) {
            for (uint64_t seq = 1; seq <= S_SEQS; seq++) {
                assert_int_equal(s_has(token, s, p, seq), oracle->has[s][p][seq]);
            }
        }
    }
    for (uint32_t i = 0; i < token->stream_count; i++) {
        const bb_session_stream_t *at = &token->streams[i];
        assert_true(at->range_count > 0);
        assert_true(i == 0 || memcmp(token->streams[i - 1].stream.bytes, at->stream.bytes, 16) < 0);
        for (uint32_t r = 1; r < at->range_count; r++) {
            const bb_session_range_t *before = &at->ranges[r - 1], *range = &at->ranges[r];
            assert_true(
                before->partition < range->partition ||
                (before->partition == range->partition && before->last_seq + 1 < range->first_seq));
        }
    }
    uint8_t *data, *again;
    size_t length, again_length;
    bb_session_token_encode(token, &data, &length);
    assert_int_equal(length, bb_session_token_encoded_bytes(token));
    bb_session_token_t copy = {0};
    assert_int_equal(bb_session_token_decode(&copy, bb_slice(data, length)), BB_OK);
    bb_session_token_encode(&copy, &again, &again_length);
    assert_int_equal(again_length, length);
    assert_memory_equal(again, data, length);
    bb_session_token_clear(&copy);
    free(data);
    free(again);
}

// Goal: adding and joining are union, and choosing is intersection with partitions, whatever the
// order. Method: random ranges against one bit a dot.
static void s_test_sets(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= bb_rounds(400); seed++) {
        bb_random_t random = bb_random_seed(seed);
        s_oracle_t oracle = {0}, chosen = {0};
        bb_session_token_t a = {0}, b = {0}, joined = {0}, part = {0};
        s_fill(&a, &oracle, &random);
        s_expect(&a, &oracle);
        s_fill(&b, &oracle, &random);
        assert_int_equal(bb_session_token_join(&joined, &b), BB_OK);
        assert_int_equal(bb_session_token_join(&joined, &a), BB_OK);
        s_expect(&joined, &oracle);
        assert_int_equal(bb_session_token_join(&joined, &a), BB_OK); // again: nothing changes
        s_expect(&joined, &oracle);

        const uint32_t partitions[] = {1, 3, 4};
        bb_session_token_select(&part, &joined, partitions, 3);
        for (uint32_t s = 0; s < S_STREAMS; s++) {
            for (uint32_t i = 0; i < 3; i++) {
                memcpy(chosen.has[s][partitions[i]], oracle.has[s][partitions[i]],
                       sizeof chosen.has[s][0]);
            }
        }
        s_expect(&part, &chosen);
        bb_session_token_clear(&a);
        bb_session_token_clear(&b);
        bb_session_token_clear(&joined);
        bb_session_token_clear(&part);
    }
}

// Goal: _is_held is set inclusion in one partition. Method: random have-sets, dot by dot.
static void s_test_held(void **state)
{
    (void)state;
    uint32_t held_count = 0;
    for (uint64_t seed = 1; seed <= bb_rounds(2000); seed++) {
        bb_random_t random = bb_random_seed(seed);
        s_oracle_t oracle = {0};
        bb_session_token_t token = {0};
        bb_have_set_t have = {0};
        s_fill(&token, &oracle, &random);
        for (uint32_t s = 0; s < S_STREAMS; s++) {
            bb_stream_t id = test_stream(s);
            for (uint32_t i = 0; i < 2; i++) {
                uint64_t first = 1 + bb_random_next(&random) % 4;
                uint64_t last = first + bb_random_next(&random) % (S_SEQS - first + 1);
                assert_int_equal(bb_have_set_add(&have, &id, first, last, NULL), BB_OK);
            }
        }
        for (uint32_t p = 0; p < S_PARTITIONS; p++) {
            bool is_held = true;
            for (uint32_t s = 0; s < S_STREAMS; s++) {
                bb_stream_t id = test_stream(s);
                for (uint64_t seq = 1; seq <= S_SEQS; seq++) {
                    is_held &= !oracle.has[s][p][seq] || bb_have_set_contains(&have, &id, seq);
                }
            }
            held_count += is_held;
            assert_int_equal(bb_session_token_is_held(&token, p, &have), is_held);
        }
        bb_session_token_clear(&token);
        bb_have_set_clear(&have);
    }
    uint64_t checks = bb_rounds(2000) * S_PARTITIONS;
    assert_true(held_count > checks / 10 && held_count < checks * 9 / 10); // both happen
}

static void s_test_held_edges(void **state)
{
    (void)state;
    bb_session_token_t token = {0};
    bb_have_set_t have = {0};
    assert_true(bb_session_token_is_held(&token, 7, &have)); // nothing is wanted
    s_add(&token, 1, 7, 5, 5);
    assert_false(bb_session_token_is_held(&token, 7, &have)); // an unknown stream
    assert_true(bb_session_token_is_held(&token, 6, &have));  // another partition
    bb_session_token_clear(&token);
}

static bool s_is_first(void *context, const bb_stream_t *stream)
{
    return bb_stream_is_equal(context, stream);
}

// Goal: forgotten streams are wanted no more.
static void s_test_drop(void **state)
{
    (void)state;
    bb_session_token_t token = {0};
    bb_have_set_t have = {0};
    s_add(&token, 1, 7, 5, 5);
    s_add(&token, 2, 7, 5, 5);
    bb_stream_t dropped = test_stream(1), kept = test_stream(2);
    bb_session_token_drop(&token, s_is_first, &dropped);
    assert_int_equal(token.stream_count, 1);
    assert_int_equal(bb_have_set_add(&have, &kept, 1, 9, NULL), BB_OK);
    assert_true(bb_session_token_is_held(&token, 7, &have));
    bb_session_token_clear(&token);
    bb_have_set_clear(&have);
}

static void s_test_cluster(void **state)
{
    (void)state;
    const uint8_t one[16] = {1}, two[16] = {2}, none[16] = {0};
    bb_session_token_t a = {0}, b = {0};
    assert_int_equal(bb_session_token_bind(&a, none), BB_OK);
    assert_int_equal(bb_session_token_bind(&a, one), BB_OK);
    assert_int_equal(bb_session_token_bind(&a, one), BB_OK);
    assert_int_equal(bb_session_token_bind(&a, two), BB_ERR_CLUSTER);
    s_add(&b, 1, 1, 1, 1);
    assert_int_equal(bb_session_token_join(&a, &b), BB_OK); // of no cluster in particular
    assert_memory_equal(a.cluster_id, one, 16);
    assert_int_equal(bb_session_token_bind(&b, two), BB_OK);
    s_add(&b, 2, 2, 2, 2);
    assert_int_equal(bb_session_token_join(&a, &b), BB_ERR_CLUSTER);
    assert_int_equal(a.stream_count, 1);
    bb_session_token_clear(&a);
    bb_session_token_clear(&b);
}

// Goal: the size is what the header says. One battery: 25 bytes and about 22 a stream.
static void s_test_size(void **state)
{
    (void)state;
    bb_session_token_t token = {0};
    assert_int_equal(bb_session_token_encoded_bytes(&token), 25);
    s_add(&token, 1, 300, 1, 5000);
    assert_int_equal(bb_session_token_encoded_bytes(&token), 25 + 16 + 1 + 2 + 1 + 2);
    bb_session_token_clear(&token);
    // A fleet: 1,024 partitions, three streams, a million chunks in each.
    for (uint32_t s = 0; s < 3; s++) {
        for (uint32_t p = 0; p < 1024; p++) {
            s_add(&token, s, p, 1, 1000000);
        }
    }
    assert_in_range(bb_session_token_encoded_bytes(&token), 15000, 16000);
    bb_session_token_clear(&token);
}

// Goal: past the limit a token holds nothing and says so, for good; it stays small on the wire.
static void s_test_overflow(void **state)
{
    (void)state;
    bb_session_token_t token = {0}, more = {0}, copy = {0};
    for (uint32_t i = 0; i < 65; i++) { // in pieces: adding copies what is there
        bb_session_token_t piece = {0};
        for (uint64_t seq = 20 * i + 1; seq < 20 * i + 20; seq += 2) {
            for (uint32_t partition = 0; partition < 30; partition++) {
                s_add(&piece, 1, partition, seq, seq);
            }
        }
        assert_int_equal(bb_session_token_join(&more, &piece), BB_OK);
        bb_session_token_clear(&piece);
    }
    assert_false(more.is_overflowed);
    for (uint64_t i = 1; i <= 2000; i++) { // wide gaps take many bytes each
        s_add(&more, 1, 30, i << 53, i << 53);
    }
    assert_true(bb_session_token_encoded_bytes(&more) > BB_SESSION_TOKEN_BYTES_MAX);
    uint8_t *data;
    size_t length;
    bb_session_token_encode(&more, &data, &length);
    assert_int_equal(length, 25);
    assert_int_equal(bb_session_token_decode(&copy, bb_slice(data, length)), BB_OK);
    assert_true(copy.is_overflowed && bb_session_token_is_empty(&copy));
    free(data);

    s_add(&token, 2, 2, 2, 2);
    assert_int_equal(bb_session_token_join(&token, &more), BB_OK);
    assert_true(token.is_overflowed && bb_session_token_is_empty(&token));
    s_add(&token, 2, 2, 2, 2);
    assert_true(bb_session_token_is_empty(&token));
    bb_session_token_clear(&token);
    s_add(&token, 2, 2, 2, 2);
    assert_int_equal(bb_session_token_join(&token, &copy), BB_OK); // infectious
    assert_true(token.is_overflowed && bb_session_token_is_empty(&token));
    bb_session_token_clear(&token);
    bb_session_token_clear(&more);
    bb_session_token_clear(&copy);
}

// Goal: the largest numbers survive, and a range never wraps.
static void s_test_extremes(void **state)
{
    (void)state;
    bb_session_token_t token = {0};
    s_oracle_t oracle = {0};
    s_add(&token, 1, BB_PARTITIONS_MAX - 1, 3, UINT64_MAX);
    s_add(&token, 1, BB_PARTITIONS_MAX - 1, 1, 1);
    s_add(&token, 1, BB_PARTITIONS_MAX - 1, 2, 2);
    assert_int_equal(token.streams[0].range_count, 1);
    assert_int_equal(token.streams[0].ranges[0].first_seq, 1);
    assert_true(token.streams[0].ranges[0].last_seq == UINT64_MAX);
    s_expect(&token, &oracle); // no dots of small partitions; the trip through bytes
    bb_session_token_clear(&token);
}

// ---- damage ------------------------------------------------------------------------------------

// Bytes after the head, with a right checksum.
static bb_error_t s_decode(const uint8_t *body, size_t length)
{
    uint8_t data[256] = {'B', 'B', 'T', '1'};
    memcpy(data + 21, body, length);
    uint32_t checksum = bb_crc32c(0, data, 21 + length);
    memcpy(data + 21 + length, &checksum, 4);
    bb_session_token_t token = {0};
    bb_error_t error = bb_session_token_decode(&token, bb_slice(data, 25 + length));
    bb_session_token_clear(&token);
    return error;
}

#define S_ID(first) first, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
#define S_DECODE(...)                                                                              \
    s_decode((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void s_test_not_canonical(void **state)
{
    (void)state;
    assert_int_equal(S_DECODE(S_ID(1), 1, 5, 0, 0), BB_OK);
    assert_int_equal(S_DECODE(S_ID(1), 1, 5, 0, 0, S_ID(2), 1, 5, 0, 0), BB_OK);
    // not ascending, twice, cut off, no range, more ranges than bytes, spare bytes
    assert_int_equal(S_DECODE(S_ID(2), 1, 5, 0, 0, S_ID(1), 1, 5, 0, 0), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(S_DECODE(S_ID(1), 1, 5, 0, 0, S_ID(1), 1, 5, 0, 0), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(S_DECODE(S_ID(1), 1, 5, 0), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(S_DECODE(S_ID(1), 0), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(S_DECODE(S_ID(1), 2, 5, 0, 0), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(S_DECODE(S_ID(1), 1, 5, 0, 0, 0), BB_ERR_MESSAGE_CORRUPT);
    // numbers in a longer form than they need, and longer than 64 bits
    assert_int_equal(S_DECODE(S_ID(1), 1, 0x85, 0, 0, 0), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(
        S_DECODE(S_ID(1), 1, 5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0),
        BB_ERR_MESSAGE_CORRUPT);
    // a partition out of range; a range that ends past 64 bits; one after the last seq
    assert_int_equal(S_DECODE(S_ID(1), 1, 0x80, 0x80, 1, 0, 0), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(
        S_DECODE(S_ID(1), 1, 5, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
        BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(S_DECODE(S_ID(1), 2, 5, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                              0xff, 1, 0, 0, 0),
                     BB_ERR_MESSAGE_CORRUPT);
}

// Goal: whatever bit flips, and wherever it is cut, a token is refused, never misread.
static void s_test_damage(void **state)
{
    (void)state;
    bb_session_token_t token = {0}, read = {0};
    s_add(&token, 1, 3, 4, 9);
    s_add(&token, 2, 5, 1, 1);
    uint8_t *data;
    size_t length;
    bb_session_token_encode(&token, &data, &length);
    for (size_t i = 0; i < length * 8; i++) {
        data[i / 8] ^= (uint8_t)(1u << i % 8);
        bb_error_t error = bb_session_token_decode(&read, bb_slice(data, length));
        assert_int_equal(error, i / 8 < 4 ? BB_ERR_MESSAGE_VERSION : BB_ERR_MESSAGE_CORRUPT);
        assert_true(bb_session_token_is_empty(&read));
        data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t cut = 0; cut < length; cut++) {
        assert_int_equal(bb_session_token_decode(&read, bb_slice(data, cut)),
                         BB_ERR_MESSAGE_CORRUPT);
    }
    static uint8_t large[BB_SESSION_TOKEN_BYTES_MAX + 1];
    assert_int_equal(bb_session_token_decode(&read, bb_slice(large, sizeof large)),
                     BB_ERR_MESSAGE_BYTES);
    free(data);
    bb_session_token_clear(&token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_sets),          cmocka_unit_test(s_test_held),
        cmocka_unit_test(s_test_held_edges),    cmocka_unit_test(s_test_drop),
        cmocka_unit_test(s_test_cluster),       cmocka_unit_test(s_test_size),
        cmocka_unit_test(s_test_overflow),      cmocka_unit_test(s_test_extremes),
        cmocka_unit_test(s_test_not_canonical), cmocka_unit_test(s_test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
