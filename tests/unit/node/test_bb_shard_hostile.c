// SPDX-License-Identifier: Apache-2.0
// Tests of node/ingest/bb_shard against peers that lie: authenticated, well-formed, wrong. Each
// case has its typed outcome, and afterwards the shard's own data is as it was.
#include "tests/unit/node/shard_harness.h"

#include "node/ingest/bb_shard_internal.h" // looks at have-sets, as a debugger would
#include "protocol/bb_chunks.h"
#include "protocol/bb_dot_sum.h"

enum { S_LIAR = 1, S_LIAR_STREAM = 102 };

typedef struct {
    uint8_t stream;
    uint64_t seq;
    h_batch_t batch; // of one battery
} s_chunk_t;

// REPLICATE of one chunk, as the liar sends it.
static void s_send_chunk(h_cluster_t *h, s_chunk_t what)
{
    bb_buffer_t *batch = h_batch(h, what.batch);
    bb_chunks_t chunks = {.stream = test_stream(what.stream),
                          .epoch = TEST_EPOCH,
                          .part_count = 1,
                          .seqs = &what.seq};
    uint8_t *data = NULL;
    size_t length = 0;
    bb_chunks_encode(&chunks, &data, &length);
    bb_buffer_t *header = bb_buffer_new(data, length, NULL, NULL);
    bb_message_t message = {.kind = BB_KIND_REPLICATE, .epoch = TEST_EPOCH};
    bb_shard_peer(h->nodes[0].shard, h_time(h), S_LIAR, &message, header, batch);
    bb_buffer_drop(&header);
    bb_buffer_drop(&batch);
}

static uint32_t s_partition(const h_cluster_t *h, uint32_t battery)
{
    char id[16];
    int length = snprintf(id, sizeof id, "b%03u", battery);
    return bb_topology_partition_of(h->nodes[0].topology, id, (size_t)length);
}

static uint32_t s_count(const h_cluster_t *h, bb_kind_t kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < h->message_count; i++) {
        count += h->messages[i].kind == kind;
    }
    return count;
}

// Goal: a dot that comes again with another payload is refused as corruption, waiting or durable;
// it is not acknowledged, and what came first stays. The same payload again is fine.
static void s_test_repeat_with_another_payload(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    s_chunk_t chunk = {S_LIAR_STREAM, 1, {.first = 7, .limit = 8, .value = 1}};
    s_chunk_t other = chunk;
    other.batch.value = 2;
    s_send_chunk(h, chunk);
    s_send_chunk(h, other); // the first is staged
    assert_int_equal(h_stats(h, 0).chunks_contradicted, 1);
    s_send_chunk(h, chunk);
    h_commit(h, 0);
    h_lose_all(h);
    h->now_ns += BB_NS_PER_S;
    s_send_chunk(h, other); // the first is durable
    assert_int_equal(h_stats(h, 0).chunks_contradicted, 2);
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 2);
    h_commit(h, 0);
    assert_int_equal(s_count(h, BB_KIND_REPLICATE_ACK), 0);
    s_send_chunk(h, chunk);
    h_commit(h, 0);
    assert_int_equal(s_count(h, BB_KIND_REPLICATE_ACK), 1);
    assert_int_equal(h_stats(h, 0).chunks_contradicted, 2);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 1);
    h_free(&h);
}

// Goal: other frames, times or verdicts are other payloads, too.
static void s_test_other_payloads(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    const h_batch_t first = {.first = 7, .limit = 8, .value = 1};
    h_batch_t others[4] = {first, first, first, first};
    others[0].time_wall_ns = H_WALL_NS + 1;
    others[1].type = BB_TYPE_INT64;
    others[2].revision = 3;
    uint32_t other_battery = 8;
    while (s_partition(h, other_battery) != s_partition(h, 7)) {
        other_battery++;
    }
    others[3].first = other_battery;
    others[3].limit = other_battery + 1;
    s_send_chunk(h, (s_chunk_t){S_LIAR_STREAM, 1, first});
    for (uint32_t i = 0; i < 4; i++) {
        s_send_chunk(h, (s_chunk_t){S_LIAR_STREAM, 1, others[i]});
        assert_int_equal(h_stats(h, 0).chunks_contradicted, i + 1);
    }
    h_free(&h);
}

// Goal: comparing costs a bounded number of bytes a second, so that repeating is no weapon.
static void s_test_comparing_is_bounded(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    s_chunk_t chunk = {S_LIAR_STREAM, 1, {.first = 7, .limit = 8, .value = 1}};
    for (chunk.seq = 1; chunk.seq <= 20; chunk.seq++) {
        s_send_chunk(h, chunk);
    }
    h_commit(h, 0);
    uint64_t reads = bb_sim_disk_op_count(h->nodes[0].disk, BB_SIM_READ);
    chunk.seq = 20;
    h->now_ns += BB_NS_PER_S;
    for (uint32_t i = 0; i < 1000; i++) {
        s_send_chunk(h, chunk);
    }
    assert_int_equal(h_stats(h, 0).chunks_contradicted, 0);
    assert_true(bb_sim_disk_op_count(h->nodes[0].disk, BB_SIM_READ) - reads < 64000);
    h_free(&h);
}

// Goal: gaps are kept as gaps and asked for; what nobody has is asked for at a bounded rate, and
// does not hold up writes.
static void s_test_gaps(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    s_chunk_t chunk = {S_LIAR_STREAM, 0, {.first = 7, .limit = 8, .value = 1}};
    const uint64_t seqs[] = {5, 9, UINT64_MAX, UINT64_MAX - 2};
    for (size_t i = 0; i < BB_COUNT_OF(seqs); i++) {
        chunk.seq = seqs[i];
        chunk.batch.time_wall_ns = H_WALL_NS + (int64_t)i;
        s_send_chunk(h, chunk);
    }
    h_commit(h, 0);
    const bb_have_set_t *have = bb_store_have(h->nodes[0].shard->store, s_partition(h, 7));
    bb_stream_t stream = test_stream(S_LIAR_STREAM);
    for (size_t i = 0; i < BB_COUNT_OF(seqs); i++) {
        assert_true(bb_have_set_contains(have, &stream, seqs[i]));
    }
    assert_false(bb_have_set_contains(have, &stream, 6));
    h_lose_all(h);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.first = 20, .limit = 40});
    h_pump(h, BB_NS_PER_S);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    h_free(&h);
}

// Goal: more gaps than a have-set may have: the dots past it are not taken, named by nobody as
// held.
static void s_test_too_many_gaps(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    s_chunk_t chunk = {S_LIAR_STREAM, 0, {.first = 7, .limit = 8, .value = 1}};
    for (uint64_t i = 0; i < 3 * BB_HAVE_RANGES_MAX; i++) {
        chunk.seq = 1 + 2 * i;
        chunk.batch.time_wall_ns = H_WALL_NS + (int64_t)i;
        s_send_chunk(h, chunk);
    }
    h_commit(h, 0);
    const bb_have_set_t *have = bb_store_have(h->nodes[0].shard->store, s_partition(h, 7));
    bb_stream_t stream = test_stream(S_LIAR_STREAM);
    const bb_have_stream_t *known = bb_have_set_stream(have, &stream);
    assert_non_null(known);
    assert_int_equal(known->range_count, BB_HAVE_RANGES_MAX);
    uint64_t ticket = h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW);
    assert_int_equal(h_rows(h, ticket), BB_HAVE_RANGES_MAX);
    h_free(&h);
}

// A HAVE of the liar: an answer to the last question of node 0.
static void s_send_have(h_cluster_t *h, uint64_t request_id, uint64_t version, bb_slice_t encoded)
{
    bb_have_entry_t entries[8];
    for (uint32_t p = 0; p < 8; p++) {
        entries[p] = (bb_have_entry_t){.partition = p, .have = encoded};
    }
    bb_message_t message = {.kind = BB_KIND_HAVE,
                            .epoch = TEST_EPOCH,
                            .request_id = request_id,
                            .have = {.incarnation = test_stream(S_LIAR_STREAM),
                                     .version = version,
                                     .is_last = true,
                                     .lane = {1, 0},
                                     .entry_count = 8,
                                     .entries = entries}};
    bb_shard_peer(h->nodes[0].shard, h_time(h), S_LIAR, &message, NULL, NULL);
}

// The number of the last question that node 0 sent.
static uint64_t s_asked(h_cluster_t *h)
{
    uint64_t request_id = 0;
    for (uint32_t i = 0; i < h->message_count; i++) {
        bb_message_t message;
        assert_int_equal(
            bb_message_decode(&message, bb_buffer_slice(h->messages[i].envelope), NULL), BB_OK);
        if (message.kind == BB_KIND_HAVE_REQUEST) {
            request_id = message.request_id;
        }
        bb_message_close(&message);
    }
    assert_true(request_id > 0);
    return request_id;
}

// Goal: a have-set with more ranges than allowed is corrupt; one that claims what it was never sent
// is no acknowledgement, so no level is satisfied by it; one that shrinks afterwards costs nothing.
static void s_test_have_sets(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.first = 7, .limit = 8});
    h->now_ns += BB_NS_PER_S;
    h_commit(h, 0);
    uint64_t request_id = s_asked(h);
    h_lose_all(h);

    bb_have_set_t claimed = {0};
    bb_stream_t ours = test_stream(101);
    bool added;
    assert_int_equal(bb_have_set_add(&claimed, &ours, 1, 1000, &added), BB_OK);
    uint8_t bytes[4096];
    size_t length = bb_have_set_encoded_bytes(&claimed);
    assert_true(length <= sizeof bytes);
    bb_have_set_encode(&claimed, bytes);
    s_send_have(h, request_id, 5, bb_slice(bytes, length));
    h_commit(h, 0);
    assert_false(h_is_answered(h, ticket)); // its own word only: an acknowledgement
    uint64_t bad_count = h_stats(h, 0).peer_messages_bad;

    uint8_t wide[24 + 16 * (BB_HAVE_RANGES_MAX + 1)] = {0};
    memcpy(wide, ours.bytes, sizeof ours.bytes);
    uint32_t range_count = BB_HAVE_RANGES_MAX + 1;
    memcpy(wide + 16, &range_count, sizeof range_count);
    for (uint64_t i = 0; i < range_count; i++) {
        uint64_t range[2] = {1 + 2 * i, 1 + 2 * i};
        memcpy(wide + 24 + 16 * i, range, sizeof range);
    }
    s_send_have(h, request_id, 6, bb_slice(wide, sizeof wide));
    assert_int_equal(h_stats(h, 0).peer_messages_bad, bad_count + 1);

    s_send_have(h, request_id, 7, bb_slice(NULL, 0)); // it had them a moment ago
    h_commit(h, 0);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 1);
    bb_have_set_clear(&claimed);
    h_free(&h);
}

// Goal: an acknowledgement of chunks that the liar was never sent is its own vote and nobody
// else's: `all` of three still waits for the third.
static void s_test_acknowledges_what_it_never_got(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    uint64_t all = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.first = 7, .limit = 8});
    h_commit(h, 0);
    h_lose_all(h);
    bb_dot_range_t range = {.partition = s_partition(h, 7), .first_seq = 1, .last_seq = 1};
    bb_message_t message = {.kind = BB_KIND_REPLICATE_ACK,
                            .epoch = TEST_EPOCH,
                            .replicate_ack = {.stream = test_stream(101),
                                              .incarnation = test_stream(S_LIAR_STREAM),
                                              .range_count = 1,
                                              .ranges = &range}};
    for (uint32_t i = 0; i < 3; i++) {
        bb_shard_peer(h->nodes[0].shard, h_time(h), S_LIAR, &message, NULL, NULL);
    }
    h_commit(h, 0);
    assert_false(h_is_answered(h, all));
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 0);
    range.last_seq = UINT64_MAX; // never given
    bb_shard_peer(h->nodes[0].shard, h_time(h), S_LIAR, &message, NULL, NULL);
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 1);
    h_free(&h);
}

// Goal: a batch acknowledged as a whole is taken only as what it was: with another sum, from
// another process, or under another epoch it counts for nothing, and the right one ends the write.
static void s_test_acknowledges_other_batches(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.first = 7, .limit = 8});
    h_commit(h, 0);
    h_lose_all(h);
    uint32_t partition = s_partition(h, 7);
    const bb_ack_batch_t good = {
        .partition = partition, .part_count = 1, .seq = 1, .dot_sum = bb_dot_sum_of(partition, 1)};
    bb_ack_batch_t batch = good;
    bb_message_t message = {.kind = BB_KIND_REPLICATE_ACK,
                            .epoch = TEST_EPOCH,
                            .replicate_ack = {.stream = test_stream(101),
                                              .incarnation = test_stream(S_LIAR_STREAM),
                                              .batch_count = 1,
                                              .batches = &batch,
                                              .lane = {1, 0}}};
    bb_message_t others[3] = {message, message, message};
    others[0].replicate_ack.stream = test_stream(99);      // of another start of ours
    others[1].replicate_ack.incarnation = test_stream(99); // of a process of theirs that is gone
    others[2].epoch = TEST_EPOCH - 1;
    for (uint32_t i = 0; i < BB_COUNT_OF(others); i++) {
        bb_shard_peer(h->nodes[0].shard, h_time(h), S_LIAR, &others[i], NULL, NULL);
    }
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 2); // another epoch is nobody's fault
    batch.dot_sum++;
    bb_shard_peer(h->nodes[0].shard, h_time(h), S_LIAR, &message, NULL, NULL);
    batch = good;
    batch.seq = 2; // never sent
    bb_shard_peer(h->nodes[0].shard, h_time(h), S_LIAR, &message, NULL, NULL);
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 4);
    h_commit(h, 0);
    assert_false(h_is_answered(h, ticket));
    batch = good;
    for (uint32_t i = 0; i < 3; i++) { // again and again
        bb_shard_peer(h->nodes[0].shard, h_time(h), S_LIAR, &message, NULL, NULL);
    }
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 4);
    h_commit(h, 0);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    h_free(&h);
}

// Goal: a peer that never acknowledges is owed no more than the limit: then nothing is sent to it,
// and writes at the levels that do not need it go on.
static void s_test_never_acknowledges(void **state)
{
    (void)state;
    const bb_shard_options_t tuning = {.peer_unacked_bytes_max = 2000};
    h_cluster_t *h = h_new(3, 3, 8, &tuning);
    h->is_blocked[S_LIAR][0] = true;
    uint64_t replicated = 0;
    for (uint32_t i = 0; i < 50; i++) {
        uint64_t ticket =
            h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.first = 7, .limit = 30, .value = i});
        for (uint32_t k = 0; k < h->message_count; k++) {
            replicated += h->messages[k].kind == BB_KIND_REPLICATE && h->messages[k].to == S_LIAR;
        }
        h_pump(h, 10 * H_MS);
        h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    }
    assert_true(replicated > 0);
    assert_true(replicated < 20);
    h_free(&h);
}

// Goal: chunks under another epoch, or of a stream that nobody knows, are data like any other: they
// spread, and count for nobody.
static void s_test_unknown_stream_and_epoch(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    s_send_chunk(h, (s_chunk_t){77, 3, {.first = 7, .limit = 8}});
    h_commit(h, 0);
    assert_int_equal(s_count(h, BB_KIND_REPLICATE_ACK), 0); // nobody to tell
    bb_stream_t stream = test_stream(77);
    const bb_have_set_t *have = bb_store_have(h->nodes[0].shard->store, s_partition(h, 7));
    assert_true(bb_have_set_contains(have, &stream, 3));
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 0);
    h_free(&h);
}

// Goal: nobody else gives dots of our stream: a chunk under one that we have not given yet would be
// taken for what we are about to write, and that would be acknowledged and not there.
static void s_test_forged_own_stream(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    uint32_t other = 8;
    while (s_partition(h, other) != s_partition(h, 7)) {
        other++;
    }
    s_send_chunk(h, (s_chunk_t){101, 1, {.first = other, .limit = other + 1}});
    h_commit(h, 0);
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 1);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 7, .limit = 8});
    h_commit(h, 0);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    s_send_chunk(h, (s_chunk_t){101, 1, {.first = 7, .limit = 8}}); // ours, come back: fine
    h_commit(h, 0);
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 1);
    ticket = h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW);
    assert_int_equal(h_rows(h, ticket), 1);
    h_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_repeat_with_another_payload),
        cmocka_unit_test(s_test_other_payloads),
        cmocka_unit_test(s_test_comparing_is_bounded),
        cmocka_unit_test(s_test_gaps),
        cmocka_unit_test(s_test_too_many_gaps),
        cmocka_unit_test(s_test_have_sets),
        cmocka_unit_test(s_test_acknowledges_what_it_never_got),
        cmocka_unit_test(s_test_acknowledges_other_batches),
        cmocka_unit_test(s_test_never_acknowledges),
        cmocka_unit_test(s_test_unknown_stream_and_epoch),
        cmocka_unit_test(s_test_forged_own_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
