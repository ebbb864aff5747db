// SPDX-License-Identifier: Apache-2.0
// Tests of node/query/bb_store_split: cutting requests by store, joining the answers.
#include "node/query/bb_store_split.h"
#include "protocol/bb_session_token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

// ---- QUERY -----------------------------------------------------------------------------------
// Goal: following the cursors visits each store that has partitions once, in order, with exactly
// its partitions. Method: a walk that plays the store (empty inner cursor: page done).
static void s_test_query_walk(void **state)
{
    (void)state;
    const uint32_t partitions[] = {1, 3,  4, 5,
                                   9, 11, 13}; // of 4 stores: 0: 4; 1: 1 5 9 13; 3: 3 11
    bb_query_t query = {.mode = BB_QUERY_RAW, .partition_count = 7, .partitions = partitions};
    const struct {
        uint32_t store, count, first;
    } expected[] = {{0, 1, 4}, {1, 4, 1}, {3, 2, 3}};
    uint8_t cursor[BB_CURSOR_BYTES_MAX];
    size_t length = 0;
    for (uint32_t i = 0; i < 3; i++) {
        query.cursor = bb_slice(cursor, length);
        bb_query_slice_t slice;
        bb_fault_t fault;
        assert_int_equal(bb_query_slice(&query, 4, &slice, &fault), BB_OK);
        assert_int_equal(slice.store_index, expected[i].store);
        assert_int_equal(slice.query.partition_count, expected[i].count);
        assert_int_equal(slice.query.partitions[0], expected[i].first);
        assert_int_equal(slice.query.cursor.length, 0);
        length = bb_query_slice_cursor(slice.store_index, slice.next_index, 4, bb_slice(NULL, 0),
                                       cursor);
        bb_query_slice_drop(&slice);
    }
    assert_int_equal(length, 0); // complete
}

// Goal: a store's own cursor comes back to it untouched, before the next store begins.
static void s_test_query_inner_cursor(void **state)
{
    (void)state;
    const uint32_t partitions[] = {0, 1};
    bb_query_t query = {.mode = BB_QUERY_RAW, .partition_count = 2, .partitions = partitions};
    bb_query_slice_t slice;
    bb_fault_t fault;
    assert_int_equal(bb_query_slice(&query, 2, &slice, &fault), BB_OK);
    uint8_t cursor[BB_CURSOR_BYTES_MAX];
    size_t length =
        bb_query_slice_cursor(slice.store_index, slice.next_index, 2, s_text("inner"), cursor);
    assert_int_equal(length, BB_STORE_CURSOR_BYTES + 5);
    bb_query_slice_drop(&slice);
    query.cursor = bb_slice(cursor, length);
    assert_int_equal(bb_query_slice(&query, 2, &slice, &fault), BB_OK);
    assert_int_equal(slice.store_index, 0);
    assert_int_equal(slice.query.cursor.length, 5);
    assert_memory_equal(slice.query.cursor.data, "inner", 5);
    bb_query_slice_drop(&slice);
}

// Goal: cursors of other nodes are refused with CURSOR, what is none with QUERY.
static void s_test_query_bad_cursor(void **state)
{
    (void)state;
    const uint32_t partitions[] = {0, 1, 3};
    bb_query_t query = {.mode = BB_QUERY_RAW, .partition_count = 3, .partitions = partitions};
    const struct {
        uint8_t bytes[5];
        bb_error_t error;
    } bad[] = {
        {{0xb5, 3, 0}, BB_ERR_CURSOR},       // too short (3 bytes)
        {{0x01, 3, 0, 0, 1}, BB_ERR_CURSOR}, // a store's own: of a node with one
        {{0xb5, 2, 0, 0, 1}, BB_ERR_CURSOR}, // of a node with two stores
        {{0xb5, 3, 3, 0, 1}, BB_ERR_QUERY},  // store out of range
        {{0xb5, 3, 2, 0, 1}, BB_ERR_QUERY},  // a store without partitions of this query
        {{0xb5, 3, 0, 1, 1}, BB_ERR_QUERY},  // reserved byte
    };
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        query.cursor = bb_slice(bad[i].bytes, i == 0 ? 3 : 5);
        bb_query_slice_t slice;
        bb_fault_t fault = {0};
        assert_int_equal(bb_query_slice(&query, 3, &slice, &fault), bad[i].error);
        assert_true(fault.text[0] != '\0');
    }
}

// Goal: a query of one store's partitions has that store's own cursors, whatever the node's number
// of stores, so that a replica with another number can go on; a cursor that names a store is
// refused.
static void s_test_query_of_one_store(void **state)
{
    (void)state;
    const uint32_t partitions[] = {5, 11};
    bb_query_t query = {.mode = BB_QUERY_RAW, .partition_count = 2, .partitions = partitions};
    for (uint32_t store_count = 1; store_count <= 3; store_count++) {
        query.cursor = s_text("inner");
        bb_query_slice_t slice;
        bb_fault_t fault = {0};
        assert_int_equal(bb_query_slice(&query, store_count, &slice, &fault), BB_OK);
        assert_true(slice.is_alone);
        assert_int_equal(slice.store_index, 5 % store_count);
        assert_int_equal(slice.query.partition_count, 2);
        assert_int_equal(slice.query.cursor.length, 5);
        bb_query_slice_drop(&slice);
        const uint8_t split[] = {0xb5, 4, 1, 0, 1};
        query.cursor = bb_slice(split, sizeof split);
        assert_int_equal(bb_query_slice(&query, store_count, &slice, &fault), BB_ERR_CURSOR);
    }
}

static void s_test_query_without_partitions(void **state)
{
    (void)state;
    bb_query_t query = {.mode = BB_QUERY_LAST};
    bb_query_slice_t slice;
    bb_fault_t fault;
    assert_int_equal(bb_query_slice(&query, 3, &slice, &fault), BB_OK);
    assert_int_equal(slice.store_index, 0);
    assert_int_equal(slice.next_index, 3);
    bb_query_slice_drop(&slice);
}

// ---- WRITE -----------------------------------------------------------------------------------
// Builds a batch of `partition_count` partitions with `frames_each` frames; the time of a frame is
// its index in the batch, so that a frame can be recognised wherever it went.
static void s_batch(const uint32_t *partitions, uint32_t partition_count, uint32_t frames_each,
                    uint8_t **encoded, size_t *length)
{
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_slice_t name = s_text("v");
    uint8_t type = BB_TYPE_INT64;
    uint32_t shape, order;
    assert_int_equal(bb_batch_builder_shape(builder, &name, &type, 1, &shape, &order, NULL), BB_OK);
    int64_t time_wall_ns = 0;
    for (uint32_t p = 0; p < partition_count; p++) {
        char id[32];
        snprintf(id, sizeof id, "b%u", partitions[p]);
        uint32_t battery;
        assert_int_equal(
            bb_batch_builder_battery(builder, partitions[p], s_text(id), NULL, 0, &battery, NULL),
            BB_OK);
        for (uint32_t f = 0; f < frames_each; f++) {
            uint64_t value = (uint64_t)time_wall_ns;
            assert_int_equal(
                bb_batch_builder_frame(builder, battery, shape, time_wall_ns++, &value), BB_OK);
        }
    }
    bb_batch_builder_finish(builder, encoded, length, NULL);
    bb_batch_builder_destroy(&builder);
}

// Goal: sub-batches hold every frame once, and a rejection of a sub-batch's frame is renumbered to
// the frame of the batch as sent. Method: each store rejects each of its frames by number; the
// detail carries the frame's time, which is its number in the batch.
static void s_test_write_round_trip(void **state)
{
    (void)state;
    enum { STORES = 3 };
    const uint32_t partitions[] = {0, 1, 2, 3, 4, 7, 9, 12};
    uint8_t *encoded;
    size_t length;
    s_batch(partitions, BB_COUNT_OF(partitions), 5, &encoded, &length);
    bb_batch_t batch;
    assert_int_equal(bb_batch_open(&batch, bb_slice(encoded, length), NULL), BB_OK);
    bb_gather_t *gather = bb_gather_new(BB_KIND_WRITE, STORES, STORES);
    uint32_t frames_seen = 0;
    for (uint32_t s = 0; s < STORES; s++) {
        uint8_t *part_bytes;
        size_t part_length;
        assert_int_equal(bb_gather_cut(gather, &batch, s, &part_bytes, &part_length), BB_OK);
        bb_batch_t part;
        assert_int_equal(bb_batch_open(&part, bb_slice(part_bytes, part_length), NULL), BB_OK);
        bb_rejection_t rejections[64];
        char details[64][24];
        for (uint32_t p = 0; p < part.part_count; p++) {
            assert_int_equal(part.parts[p].partition % STORES, s);
        }
        for (uint32_t f = 0; f < part.frame_count; f++) {
            snprintf(details[f], sizeof details[f], "%lld", (long long)part.times_wall_ns[f]);
            rejections[f] = (bb_rejection_t){.frame = f,
                                             .metric = s_text("v"),
                                             .error = BB_ERR_TYPE_CHANGED,
                                             .detail = s_text(details[f])};
        }
        frames_seen += part.frame_count;
        bb_message_t reply = {.kind = BB_KIND_WRITE_REPLY};
        reply.write_reply = (bb_write_reply_t){.acked_points = 2,
                                               .rejected_points = part.frame_count,
                                               .quarantined_points = 1,
                                               .rejected_frames = part.frame_count,
                                               .rejection_count = part.frame_count,
                                               .rejections = rejections};
        bool is_last = bb_gather_add(gather, s, &reply);
        assert_int_equal(is_last, s + 1 == STORES);
        assert_int_equal(bb_gather_add(gather, s, &reply), is_last); // said twice, counted once
        bb_batch_close(&part);
        free(part_bytes);
    }
    assert_int_equal(frames_seen, batch.frame_count);
    bb_message_t joint;
    bb_gather_answer(gather, &joint);
    assert_int_equal(joint.kind, BB_KIND_WRITE_REPLY);
    assert_int_equal(joint.write_reply.acked_points, 2 * STORES);
    assert_int_equal(joint.write_reply.quarantined_points, STORES);
    assert_int_equal(joint.write_reply.rejection_count, batch.frame_count);
    for (uint32_t i = 0; i < joint.write_reply.rejection_count; i++) {
        const bb_rejection_t *rejection = &joint.write_reply.rejections[i];
        assert_int_equal(strtol(rejection->detail.data, NULL, 10),
                         batch.times_wall_ns[rejection->frame]);
        assert_memory_equal(rejection->metric.data, "v", 1);
    }
    bb_gather_destroy(&gather);
    bb_batch_close(&batch);
    free(encoded);
}

static void s_test_write_foreign_store(void **state)
{
    (void)state;
    const uint32_t partitions[] = {0, 2};
    uint8_t *encoded, *part_bytes;
    size_t length, part_length;
    s_batch(partitions, 2, 1, &encoded, &length);
    bb_batch_t batch;
    assert_int_equal(bb_batch_open(&batch, bb_slice(encoded, length), NULL), BB_OK);
    bb_gather_t *gather = bb_gather_new(BB_KIND_WRITE, 2, 1);
    assert_int_equal(bb_gather_cut(gather, &batch, 1, &part_bytes, &part_length), BB_ERR_NOT_FOUND);
    bb_gather_destroy(&gather);
    bb_batch_close(&batch);
    free(encoded);
}

static void s_answer_error(bb_gather_t *gather, uint32_t store, bb_error_t error, uint32_t retry_ms)
{
    bb_message_t message = {.kind = BB_KIND_ERROR};
    message.error = (bb_error_reply_t){error, s_text("why"), retry_ms};
    bb_gather_add(gather, store, &message);
}

// Goal: one error makes the joint answer an error: wrong request before unknown outcome before
// later.
static void s_test_errors(void **state)
{
    (void)state;
    const struct {
        bb_error_t first, second, expected;
    } cases[] = {
        {BB_OK, BB_ERR_BUSY, BB_ERR_BUSY},
        {BB_ERR_BUSY, BB_OK, BB_ERR_BUSY},
        {BB_ERR_BUSY, BB_ERR_TIMEOUT, BB_ERR_TIMEOUT},
        {BB_ERR_TIMEOUT, BB_ERR_BUSY, BB_ERR_TIMEOUT},
        {BB_ERR_TIMEOUT, BB_ERR_QUERY, BB_ERR_QUERY},
        {BB_ERR_QUERY, BB_ERR_TIMEOUT, BB_ERR_QUERY},
        {BB_ERR_FENCED, BB_ERR_BUSY, BB_ERR_FENCED},
    };
    for (size_t c = 0; c < BB_COUNT_OF(cases); c++) {
        bb_gather_t *gather = bb_gather_new(BB_KIND_WRITE, 2, 2);
        const bb_error_t errors[] = {cases[c].first, cases[c].second};
        for (uint32_t s = 0; s < 2; s++) {
            if (errors[s] == BB_OK) {
                bb_message_t reply = {.kind = BB_KIND_WRITE_REPLY};
                bb_gather_add(gather, s, &reply);
            } else {
                s_answer_error(gather, s, errors[s], errors[s] == BB_ERR_BUSY ? 30 : 0);
            }
        }
        bb_message_t joint;
        bb_gather_answer(gather, &joint);
        assert_int_equal(joint.kind, BB_KIND_ERROR);
        assert_int_equal(joint.error.code, cases[c].expected);
        assert_int_equal(joint.error.detail.length, 3);
        bb_gather_destroy(&gather);
    }
}

// Goal: the dots that several stores gave are one token; without any there is none.
static void s_test_sessions(void **state)
{
    (void)state;
    const bb_stream_t stream = {{7}};
    bb_message_t joint;
    bb_gather_t *gather = bb_gather_new(BB_KIND_WRITE, 2, 2);
    for (uint32_t s = 0; s < 2; s++) {
        bb_session_token_t token = {0};
        bb_session_token_add(&token, &stream, 4 + s, 9, 9);
        uint8_t *data;
        size_t length;
        bb_session_token_encode(&token, &data, &length);
        bb_message_t reply = {.kind = BB_KIND_WRITE_REPLY,
                              .write_reply = {.session = bb_slice(data, length)}};
        bb_gather_add(gather, s, &reply);
        free(data);
        bb_session_token_clear(&token);
    }
    bb_gather_answer(gather, &joint);
    bb_session_token_t token = {0};
    assert_int_equal(bb_session_token_decode(&token, joint.write_reply.session), BB_OK);
    assert_int_equal(token.stream_count, 1);
    assert_int_equal(token.streams[0].range_count, 2);
    assert_int_equal(token.streams[0].ranges[1].partition, 5);
    bb_session_token_clear(&token);
    bb_gather_destroy(&gather);

    gather = bb_gather_new(BB_KIND_WRITE, 1, 1);
    bb_message_t reply = {.kind = BB_KIND_WRITE_REPLY};
    bb_gather_add(gather, 0, &reply);
    bb_gather_answer(gather, &joint);
    assert_int_equal(joint.write_reply.session.length, 0);
    bb_gather_destroy(&gather);
}

static void s_test_settle_release(void **state)
{
    (void)state;
    bb_message_t joint;
    bb_gather_t *gather = bb_gather_new(BB_KIND_SETTLE, 3, 3);
    const bb_settle_reply_t replies[] = {
        {true, true, true}, {true, false, true}, {true, true, true}};
    for (uint32_t s = 0; s < 3; s++) {
        bb_message_t reply = {.kind = BB_KIND_SETTLE_REPLY};
        reply.settle_reply = replies[s];
        bb_gather_add(gather, s, &reply);
    }
    bb_gather_answer(gather, &joint);
    assert_int_equal(joint.kind, BB_KIND_SETTLE_REPLY);
    assert_true(joint.settle_reply.sealed && joint.settle_reply.trimmed);
    assert_false(joint.settle_reply.merged);
    bb_gather_destroy(&gather);

    gather = bb_gather_new(BB_KIND_RELEASE, 2, 2);
    for (uint32_t s = 0; s < 2; s++) {
        bb_message_t reply = {.kind = BB_KIND_RELEASE_REPLY};
        reply.release_reply.released_points = 10 + s;
        bb_gather_add(gather, s, &reply);
    }
    bb_gather_answer(gather, &joint);
    assert_int_equal(joint.release_reply.released_points, 21);
    bb_gather_destroy(&gather);

    gather = bb_gather_new(BB_KIND_RELEASE, 1, 1); // an answer of the wrong kind is an error
    bb_message_t wrong = {.kind = BB_KIND_SETTLE_REPLY};
    bb_gather_add(gather, 0, &wrong);
    bb_gather_answer(gather, &joint);
    assert_int_equal(joint.error.code, BB_ERR_INTERNAL);
    bb_gather_destroy(&gather);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_query_walk),
        cmocka_unit_test(s_test_query_inner_cursor),
        cmocka_unit_test(s_test_query_bad_cursor),
        cmocka_unit_test(s_test_query_of_one_store),
        cmocka_unit_test(s_test_query_without_partitions),
        cmocka_unit_test(s_test_write_round_trip),
        cmocka_unit_test(s_test_write_foreign_store),
        cmocka_unit_test(s_test_errors),
        cmocka_unit_test(s_test_sessions),
        cmocka_unit_test(s_test_settle_release),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
