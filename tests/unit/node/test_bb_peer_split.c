// SPDX-License-Identifier: Apache-2.0
// Tests of node/ingest/bb_peer_split: which store gets what of a peer's message.
#include "node/ingest/bb_peer_split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/bb_batch_builder.h"
#include "protocol/bb_chunks.h"

typedef struct {
    uint32_t count; // of calls
    uint32_t stores[4];
    uint32_t shares[4];  // parts or ranges of each call
    uint32_t batches[4]; // acknowledged as a whole
    uint64_t seqs[4];    // the first of them
    bool is_whole;       // of the last
} s_seen_t;

static void s_see(void *context, uint32_t store_index, const bb_message_t *message,
                  bb_buffer_t *chunks_buffer, bb_buffer_t *batch_buffer, bool is_whole)
{
    s_seen_t *seen = context;
    uint32_t at = seen->count++;
    seen->stores[at] = store_index;
    seen->is_whole = is_whole;
    if (message->kind == BB_KIND_REPLICATE) {
        bb_chunks_t chunks;
        bb_batch_t batch;
        assert_int_equal(bb_chunks_decode(&chunks, bb_buffer_slice(chunks_buffer), NULL), BB_OK);
        assert_int_equal(bb_batch_open(&batch, bb_buffer_slice(batch_buffer), NULL), BB_OK);
        assert_int_equal(bb_chunks_match(&chunks, &batch, NULL), BB_OK);
        seen->shares[at] = batch.part_count;
        seen->seqs[at] = bb_chunks_seq(&chunks, 0);
        bb_batch_close(&batch);
    } else if (message->kind == BB_KIND_REPLICATE_ACK) {
        const bb_replicate_ack_t *ack = &message->replicate_ack;
        seen->shares[at] = ack->range_count;
        seen->batches[at] = ack->batch_count;
        seen->seqs[at] = ack->range_count > 0 ? ack->ranges[0].first_seq : ack->batches[0].seq;
    }
}

// A batch with one frame in each of these partitions, and dots 10, 11, ...
static void s_replicate(const uint32_t *partitions, uint32_t count, bb_buffer_t **chunks_buffer,
                        bb_buffer_t **batch_buffer)
{
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_slice_t name = bb_slice("volts_v", 7);
    uint8_t type = BB_TYPE_FLOAT64;
    uint64_t value = 0;
    uint64_t seqs[8];
    for (uint32_t i = 0; i < count; i++) {
        char id[2] = {(char)('a' + i), 0};
        uint32_t battery, shape, order;
        assert_int_equal(bb_batch_builder_battery(builder, partitions[i], bb_slice(id, 1), NULL, 0,
                                                  &battery, NULL),
                         BB_OK);
        assert_int_equal(bb_batch_builder_shape(builder, &name, &type, 1, &shape, &order, NULL),
                         BB_OK);
        assert_int_equal(bb_batch_builder_frame(builder, battery, shape, 1000, &value), BB_OK);
        seqs[i] = 10 + i;
    }
    uint8_t *data;
    size_t length;
    bb_batch_builder_finish(builder, &data, &length, NULL);
    bb_batch_builder_destroy(&builder);
    *batch_buffer = bb_buffer_new(data, length, NULL, NULL);
    bb_chunks_t chunks = {.epoch = 1, .part_count = count, .seqs = seqs};
    bb_chunks_encode(&chunks, &data, &length);
    *chunks_buffer = bb_buffer_new(data, length, NULL, NULL);
}

// Goal: each part of a chunk reaches the store of its partition, once, with its dot; a batch of one
// store passes as it is.
static void s_test_replicate(void **state)
{
    (void)state;
    bb_message_t message = {.kind = BB_KIND_REPLICATE};
    bb_buffer_t *chunks, *batch;
    const uint32_t mixed[] = {1, 2, 4, 5};
    s_replicate(mixed, 4, &chunks, &batch);
    s_seen_t seen = {0};
    assert_int_equal(bb_peer_split(3, &message, chunks, batch, s_see, &seen, NULL), BB_OK);
    assert_int_equal(seen.count, 2); // store 0 has nothing of it
    assert_int_equal(seen.stores[0], 1);
    assert_int_equal(seen.shares[0], 2);
    assert_int_equal(seen.seqs[0], 10);
    assert_int_equal(seen.stores[1], 2);
    assert_int_equal(seen.shares[1], 2);
    assert_int_equal(seen.seqs[1], 11);
    assert_false(seen.is_whole);
    seen = (s_seen_t){0};
    assert_int_equal(bb_peer_split(1, &message, chunks, batch, s_see, &seen, NULL), BB_OK);
    assert_int_equal(seen.count, 1);
    assert_true(seen.is_whole);
    bb_buffer_drop(&chunks);
    bb_buffer_drop(&batch);
    const uint32_t alike[] = {1, 3, 5};
    s_replicate(alike, 3, &chunks, &batch);
    seen = (s_seen_t){0};
    assert_int_equal(bb_peer_split(2, &message, chunks, batch, s_see, &seen, NULL), BB_OK);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.stores[0], 1);
    assert_int_equal(seen.shares[0], 3);
    assert_true(seen.is_whole);
    bb_buffer_drop(&chunks);
    bb_buffer_drop(&batch);
}

static void s_test_ack(void **state)
{
    (void)state;
    bb_dot_range_t ranges[] = {{.partition = 4, .first_seq = 1, .last_seq = 2},
                               {.partition = 5, .first_seq = 3, .last_seq = 3},
                               {.partition = 6, .first_seq = 7, .last_seq = 9}};
    bb_message_t message = {.kind = BB_KIND_REPLICATE_ACK,
                            .replicate_ack = {.range_count = 3, .ranges = ranges}};
    s_seen_t seen = {0};
    assert_int_equal(bb_peer_split(2, &message, NULL, NULL, s_see, &seen, NULL), BB_OK);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.shares[0], 2);
    assert_int_equal(seen.seqs[0], 1);
    assert_int_equal(seen.shares[1], 1);
    assert_int_equal(seen.seqs[1], 3);
    bb_ack_batch_t batches[] = {{.partition = 6, .part_count = 9, .seq = 8},
                                {.partition = 8, .part_count = 1, .seq = 2}};
    message.replicate_ack.batches = batches;
    message.replicate_ack.batch_count = 2;
    message.replicate_ack.lane = (bb_lane_t){2, 0};
    seen = (s_seen_t){0};
    assert_int_equal(bb_peer_split(2, &message, NULL, NULL, s_see, &seen, NULL), BB_OK);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.batches[0], 2); // with the ranges of that store
    assert_int_equal(seen.shares[0], 2);
    assert_int_equal(seen.batches[1], 0);
    message.replicate_ack.range_count = 0; // nothing but batches
    seen = (s_seen_t){0};
    assert_int_equal(bb_peer_split(4, &message, NULL, NULL, s_see, &seen, NULL), BB_OK);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.stores[0], 0);
    assert_int_equal(seen.seqs[0], 2);
    assert_int_equal(seen.stores[1], 2);
    assert_int_equal(seen.seqs[1], 8);
}

static void s_test_lane(void **state)
{
    (void)state;
    bb_message_t message = {.kind = BB_KIND_PULL, .pull = {.lane = {.count = 6, .index = 5}}};
    s_seen_t seen = {0};
    assert_int_equal(bb_peer_split(3, &message, NULL, NULL, s_see, &seen, NULL), BB_OK);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.stores[0], 2);
    assert_true(seen.is_whole);
}

// Goal: what is wrong has its error, and no store sees anything of it.
static void s_test_refused(void **state)
{
    (void)state;
    bb_buffer_t *chunks, *batch, *other_chunks, *other_batch;
    const uint32_t two[] = {1, 2};
    const uint32_t three[] = {1, 2, 3};
    s_replicate(two, 2, &chunks, &batch);
    s_replicate(three, 3, &other_chunks, &other_batch);
    bb_message_t replicate = {.kind = BB_KIND_REPLICATE};
    bb_message_t pull = {.kind = BB_KIND_PULL, .pull = {.lane = {.count = 5, .index = 1}}};
    bb_message_t query = {.kind = BB_KIND_QUERY};
    s_seen_t seen = {0};
    const struct {
        const bb_message_t *message;
        bb_buffer_t *chunks, *batch;
        bb_error_t error;
    } bad[] = {
        {&replicate, chunks, NULL, BB_ERR_MESSAGE_CORRUPT},        // a frame is missing
        {&replicate, chunks, other_batch, BB_ERR_MESSAGE_CORRUPT}, // of another batch
        {&replicate, batch, batch, BB_ERR_MESSAGE_CORRUPT},        // no chunks
        {&replicate, chunks, chunks, BB_ERR_MESSAGE_CORRUPT},      // no batch
        {&pull, chunks, batch, BB_ERR_MESSAGE_CORRUPT},            // frames that it does not have
        {&pull, NULL, NULL, BB_ERR_PEER_UNKNOWN},                  // not a lane of one store
        {&query, NULL, NULL, BB_ERR_MESSAGE_VERSION},              // not a peer's
    };
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        bb_fault_t fault = {0};
        bb_error_t error =
            bb_peer_split(2, bad[i].message, bad[i].chunks, bad[i].batch, s_see, &seen, &fault);
        assert_int_equal(error, bad[i].error);
        assert_true(fault.text[0] != 0);
    }
    assert_int_equal(seen.count, 0);
    bb_buffer_drop(&chunks);
    bb_buffer_drop(&batch);
    bb_buffer_drop(&other_chunks);
    bb_buffer_drop(&other_batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_replicate),
        cmocka_unit_test(s_test_ack),
        cmocka_unit_test(s_test_lane),
        cmocka_unit_test(s_test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
