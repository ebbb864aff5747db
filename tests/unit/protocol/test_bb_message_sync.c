// SPDX-License-Identifier: Apache-2.0
// Questions and answers of segment sync on the wire: there and back, golden files, every rule of
// the decoder broken one at a time. `test_bb_message_sync --write-golden` rewrites the golden files
// and is used once per wire version.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "protocol/bb_message.h"
#include "tests/unit/protocol/batch_support.h"
#include "tests/unit/protocol/wire_patch.h"

static const bb_sync_window_t s_windows[] = {
    {BB_SYNC_NORMAL, 20454}, {BB_SYNC_QUARANTINE, 20454}, {BB_SYNC_ATTRIBUTES, 0}};
static const bb_sync_leaf_t s_leaves[] = {{7, 1, 2}, {200, UINT64_MAX, 3}};

static bb_message_t s_ask(void)
{
    bb_message_t m = {.kind = BB_KIND_SYNC_ASK,
                      .epoch = 3,
                      .request_id = UINT64_C(0x1122334455667788),
                      .trace_id = 99,
                      .timeout_ns = 5 * BB_NS_PER_S};
    m.sync_ask = (bb_sync_question_t){
        .topic = {BB_SYNC_STEP_FETCH, 1023, {BB_SYNC_QUARANTINE, 20454}},
        .buckets = {1, 2, [31] = 0x80},
        .leaf_count = 2,
        .leaves = s_leaves,
        .battery_first = bb_slice("b17", 3),
        .from_wall_ns = INT64_C(1767225600000000001),
    };
    return m;
}

// Batches when `is_points`, and attributes if not: markers and attributes come together.
static bb_message_t s_answer(bool is_points)
{
    static bb_slice_t batches[2];
    static bb_sync_pair_t pairs[2];
    batches[0] = bb_slice("first", 5);
    batches[1] = bb_slice("second batch", 12);
    pairs[0] = (bb_sync_pair_t){bb_slice("b1", 2), bb_slice("packed", 6)};
    pairs[1] = (bb_sync_pair_t){bb_slice("b2", 2), bb_slice("more", 4)};
    bb_message_t m = {.kind = BB_KIND_SYNC_ANSWER,
                      .epoch = 3,
                      .request_id = UINT64_C(0x1122334455667788),
                      .trace_id = 99,
                      .timeout_ns = 5 * BB_NS_PER_S};
    m.sync_answer = (bb_sync_answer_t){
        .topic = {BB_SYNC_STEP_BUCKETS, 17, {BB_SYNC_NORMAL, 1}},
        .incarnation = {{9}},
        .error = BB_ERR_BUSY,
        .window_count = 3,
        .windows = s_windows,
        .leaf_count = 2,
        .leaves = s_leaves,
        .batch_count = is_points ? 2 : 1,
        .batches = batches,
        .pair_count = is_points ? 0 : 2,
        .pairs = pairs,
        .has_more = true,
        .battery_next = bb_slice("b99", 3),
        .from_next_wall_ns = 12,
    };
    return m;
}

static void s_same_text(bb_slice_t a, bb_slice_t b)
{
    assert_int_equal(a.length, b.length);
    assert_memory_equal(a.data, b.data, a.length);
}

static void s_same_topic(const bb_sync_topic_t *a, const bb_sync_topic_t *b)
{
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->partition, b->partition);
    assert_int_equal(bb_sync_window_compare(a->window, b->window), 0);
}

static void s_same_leaves(const bb_sync_leaf_t *a, const bb_sync_leaf_t *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_true(a[i].battery == b[i].battery && a[i].low == b[i].low && a[i].high == b[i].high);
    }
}

static void s_same(const bb_message_t *a, const bb_message_t *b)
{
    assert_int_equal(a->kind, b->kind);
    if (a->kind == BB_KIND_SYNC_ASK) {
        s_same_topic(&a->sync_ask.topic, &b->sync_ask.topic);
        assert_memory_equal(a->sync_ask.buckets, b->sync_ask.buckets, BB_SYNC_BUCKETS_BYTES);
        assert_int_equal(a->sync_ask.leaf_count, b->sync_ask.leaf_count);
        s_same_leaves(a->sync_ask.leaves, b->sync_ask.leaves, a->sync_ask.leaf_count);
        s_same_text(a->sync_ask.battery_first, b->sync_ask.battery_first);
        assert_true(a->sync_ask.from_wall_ns == b->sync_ask.from_wall_ns);
        return;
    }
    const bb_sync_answer_t *left = &a->sync_answer;
    const bb_sync_answer_t *right = &b->sync_answer;
    s_same_topic(&left->topic, &right->topic);
    assert_true(bb_stream_is_equal(&left->incarnation, &right->incarnation));
    assert_int_equal(left->error, right->error);
    assert_int_equal(left->window_count, right->window_count);
    for (uint32_t i = 0; i < left->window_count; i++) {
        assert_int_equal(bb_sync_window_compare(left->windows[i], right->windows[i]), 0);
    }
    assert_int_equal(left->leaf_count, right->leaf_count);
    s_same_leaves(left->leaves, right->leaves, left->leaf_count);
    assert_int_equal(left->batch_count, right->batch_count);
    for (uint32_t i = 0; i < left->batch_count; i++) {
        s_same_text(left->batches[i], right->batches[i]);
    }
    assert_int_equal(left->pair_count, right->pair_count);
    for (uint32_t i = 0; i < left->pair_count; i++) {
        s_same_text(left->pairs[i].id, right->pairs[i].id);
        s_same_text(left->pairs[i].packed, right->pairs[i].packed);
    }
    assert_int_equal(left->has_more, right->has_more);
    s_same_text(left->battery_next, right->battery_next);
    assert_true(left->from_next_wall_ns == right->from_next_wall_ns);
}

static void s_round_trip(const bb_message_t *message)
{
    uint8_t *bytes;
    size_t length;
    bb_message_encode(message, &bytes, &length);
    bb_message_t got;
    bb_fault_t fault = {0};
    if (bb_message_decode(&got, bb_slice(bytes, length), &fault) != BB_OK) {
        fail_msg("%s", fault.text);
    }
    s_same(message, &got);
    bb_message_close(&got);
    free(bytes);
}

// Goal: everything comes back, and so do empty ones.
static void test_round_trip(void **state)
{
    (void)state;
    bb_message_t messages[] = {s_ask(),
                               s_answer(true),
                               s_answer(false),
                               {.kind = BB_KIND_SYNC_ASK},
                               {.kind = BB_KIND_SYNC_ANSWER}};
    messages[3].sync_ask.topic.step = BB_SYNC_STEP_WINDOWS;
    messages[4].sync_answer.topic.step = BB_SYNC_STEP_WINDOWS;
    for (size_t i = 0; i < BB_COUNT_OF(messages); i++) {
        s_round_trip(&messages[i]);
    }
}

// ---- golden files ----------------------------------------------------------------------------
static const char *const s_golden[] = {BB_SOURCE_DIR "/tests/golden/wire/message_sync_ask_v1.bin",
                                       BB_SOURCE_DIR
                                       "/tests/golden/wire/message_sync_answer_v1.bin"};

// Goal: what a program of this version wrote stays readable, and is written the same.
static void test_golden_files(void **state)
{
    (void)state;
    bb_message_t messages[] = {s_ask(), s_answer(true)};
    for (size_t i = 0; i < BB_COUNT_OF(messages); i++) {
        size_t length, golden_length;
        uint8_t *bytes;
        uint8_t *golden = support_read(s_golden[i], &golden_length);
        bb_message_encode(&messages[i], &bytes, &length);
        assert_int_equal(length, golden_length);
        assert_memory_equal(bytes, golden, length);
        free(bytes);
        free(golden);
    }
}

static int s_write_golden(void)
{
    bb_message_t messages[] = {s_ask(), s_answer(true)};
    for (size_t i = 0; i < BB_COUNT_OF(messages); i++) {
        size_t length;
        uint8_t *bytes;
        bb_message_encode(&messages[i], &bytes, &length);
        FILE *file = fopen(s_golden[i], "wb");
        if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0) {
            return 1;
        }
        free(bytes);
    }
    return 0;
}

// ---- refusals --------------------------------------------------------------------------------
typedef void (*s_damage_fn)(uint8_t *body);

static void s_expect_refused(bb_message_t sample, s_damage_fn damage)
{
    uint8_t *bytes;
    size_t length;
    bb_message_encode(&sample, &bytes, &length);
    damage(wire_follow(wire_field(wire_root(bytes), 7)));
    bb_message_t got;
    bb_fault_t fault = {0};
    assert_int_equal(bb_message_decode(&got, bb_slice(bytes, length), &fault),
                     BB_ERR_MESSAGE_CORRUPT);
    assert_true(strlen(fault.text) > 5);
    free(bytes);
}

#define S_DAMAGE(name, statement)                                                                  \
    static void name(uint8_t *body)                                                                \
    {                                                                                              \
        statement;                                                                                 \
    }
// First element of the vector in field `index` of the body.
#define S_ELEMENT(index) (wire_follow(wire_field(body, index)) + 4)

S_DAMAGE(s_step, wire_put(wire_field(body, 0), 4, 1))
S_DAMAGE(s_partition, wire_put(wire_field(body, 1), BB_PARTITIONS_MAX, 4))
S_DAMAGE(s_kind, wire_put(wire_field(body, 2), BB_SYNC_KIND_LAST + 1, 4))
S_DAMAGE(s_day, wire_put(wire_field(body, 2) + 4, 200000, 4))
S_DAMAGE(s_attributes_of_a_day, wire_put(wire_field(body, 2), BB_SYNC_ATTRIBUTES, 4))
S_DAMAGE(s_ask_descends, wire_put(S_ELEMENT(4), 200, 8))
S_DAMAGE(s_ask_time, wire_put(wire_field(body, 6), UINT64_MAX, 8))
S_DAMAGE(s_error, wire_put(wire_field(body, 4), (uint64_t)BB_ERR_IO, 4))
S_DAMAGE(s_window_kind, wire_put(S_ELEMENT(5), 9, 4))
S_DAMAGE(s_answer_descends, wire_put(S_ELEMENT(6), 200, 8))
S_DAMAGE(s_batch_empty, wire_put(wire_follow(wire_field(wire_follow(S_ELEMENT(7)), 0)), 0, 4))
S_DAMAGE(s_pair_id, wire_put(wire_follow(wire_field(wire_follow(S_ELEMENT(8)), 0)), 0, 4))
S_DAMAGE(s_answer_time, wire_put(wire_field(body, 11), UINT64_MAX, 8))

// Goal: each rule is a rule.
static void test_refusals(void **state)
{
    (void)state;
    s_expect_refused(s_ask(), s_step);
    s_expect_refused(s_ask(), s_partition);
    s_expect_refused(s_ask(), s_kind);
    s_expect_refused(s_ask(), s_day);
    s_expect_refused(s_ask(), s_attributes_of_a_day);
    s_expect_refused(s_ask(), s_ask_descends);
    s_expect_refused(s_ask(), s_ask_time);
    s_expect_refused(s_answer(true), s_step);
    s_expect_refused(s_answer(true), s_partition);
    s_expect_refused(s_answer(true), s_kind);
    s_expect_refused(s_answer(true), s_error);
    s_expect_refused(s_answer(true), s_window_kind);
    s_expect_refused(s_answer(true), s_answer_descends);
    s_expect_refused(s_answer(true), s_batch_empty);
    s_expect_refused(s_answer(false), s_pair_id);
    s_expect_refused(s_answer(true), s_answer_time);
}

// Goal: what an answer brought is all that it brought: batches, and what comes as pairs.
static void test_bytes(void **state)
{
    (void)state;
    const bb_slice_t batches[] = {bb_slice("12345", 5), bb_slice("123", 3)};
    const bb_sync_pair_t pairs[] = {{bb_slice("id", 2), bb_slice("1234567", 7)}};
    bb_sync_answer_t answer = {0};
    assert_int_equal(bb_sync_answer_bytes(&answer), 0);
    answer.batch_count = 2;
    answer.batches = batches;
    assert_int_equal(bb_sync_answer_bytes(&answer), 8);
    answer.pair_count = 1;
    answer.pairs = pairs;
    assert_int_equal(bb_sync_answer_bytes(&answer), 17);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write-golden") == 0) {
        return s_write_golden();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_golden_files),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
