// SPDX-License-Identifier: Apache-2.0
// A shard by its contract: what is acknowledged when, what is refused how, how replicas catch up,
// and that a quorum read shows what a quorum holds. Shards run on simulated disks, without threads.
#include "tests/unit/node/shard_harness.h"

#include "node/ingest/bb_shortfall.h"

// ---- writing ---------------------------------------------------------------------------------

// Goal: nothing is acknowledged before the sync that covers it, and everything after.
static void acknowledged_after_the_sync(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(1, 1, 8, NULL);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 5});
    assert_false(h_is_answered(h, ticket));
    uint64_t early = h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW);
    assert_int_equal(h_rows(h, early), 0); // nor visible
    assert_true(bb_shard_staged_bytes(h->nodes[0].shard) > 0);
    uint64_t syncs = bb_sim_disk_op_count(h->nodes[0].disk, BB_SIM_SYNC);
    h_commit(h, 0);
    assert_true(bb_sim_disk_op_count(h->nodes[0].disk, BB_SIM_SYNC) > syncs);
    const bb_message_t *reply = h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    assert_int_equal(reply->write_reply.acked_points, 5);
    assert_int_equal(reply->write_reply.acked_frames, 5);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 5);
    h_free(&h);
}

// Goal: one sync covers all that was staged.
static void one_sync_for_many(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(1, 1, 8, NULL);
    uint64_t tickets[20];
    for (uint32_t i = 0; i < 20; i++) {
        tickets[i] = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = i, .limit = i + 1});
    }
    h_commit(h, 0);
    for (uint32_t i = 0; i < 20; i++) {
        h_answered(h, tickets[i], BB_KIND_WRITE_REPLY);
    }
    assert_int_equal(h_stats(h, 0).journal_syncs, 1);
    h_free(&h);
}

// Goal: local_quorum of three needs a second copy; with the links cut the outcome is unknown.
static void local_quorum_needs_a_second_copy(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 5});
    h_commit(h, 0);
    assert_false(h_is_answered(h, ticket)); // its own copy is one
    h_pump(h, 50 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    h->is_blocked[0][1] = h->is_blocked[0][2] = true;
    ticket = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.first = 5, .limit = 9});
    h_pump(h, 1900 * H_MS);
    assert_false(h_is_answered(h, ticket));
    h_pump(h, 200 * H_MS);
    h_expect_error(h, ticket, BB_ERR_TIMEOUT);
    assert_int_equal(h_stats(h, 0).writes_timeout, 1);
    h_free(&h);
}

// Goal: a lost REPLICATE or acknowledgement is made good by pulling, and then counts.
static void lost_chunks_are_pulled_and_count(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 100 * H_MS);
    h->blocked_kind = BB_KIND_REPLICATE;
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.limit = 9});
    h_pump(h, 50 * H_MS);
    h->blocked_kind = (bb_kind_t)0;
    assert_false(h_is_answered(h, ticket));
    h_pump(h, 1500 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    assert_true(h_stats(h, 1).chunks_pulled > 0);
    h_free(&h);
}

// Goal: each reason to refuse a batch is named, and nothing of a refused batch is kept.
static void refusals(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(4, 2, 8, NULL);
    h_expect_error(h, h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 40}), BB_ERR_NOT_REPLICA);
    uint32_t battery = 0; // one that node 0 holds, and whose neighbour partition it holds, too
    for (;; battery++) {
        char id[16];
        int length = snprintf(id, sizeof id, "b%03u", battery);
        const bb_topology_t *topology = h->nodes[0].topology;
        uint32_t p = bb_topology_partition_of(topology, id, (size_t)length);
        if (bb_topology_is_replica(topology, p, 0) &&
            bb_topology_is_replica(topology, (p + 1) % 8, 0)) {
            break;
        }
        assert_true(battery < 900);
    }
    h_batch_t good = {.first = battery, .limit = battery + 1};
    h_batch_t shifted = good;
    shifted.shift = 1;
    h_expect_error(h, h_write(h, 0, BB_LEVEL_ONE, shifted), BB_ERR_PARTITION);

    bb_message_t message = {.kind = BB_KIND_WRITE, .epoch = 4, .write = {.level = BB_LEVEL_ONE}};
    h_expect_error(h, h_request(h, 0, &message, h_batch(h, good)), BB_ERR_EPOCH);
    message.epoch = TEST_EPOCH;
    h_expect_error(h, h_request(h, 0, &message, NULL), BB_ERR_MESSAGE_CORRUPT);
    h_expect_error(h, h_request(h, 0, &message, bb_buffer_copy_of("not a batch, really", 19)),
                   BB_ERR_MESSAGE_CORRUPT);
    bb_message_t status = {.kind = BB_KIND_STATUS};
    h_expect_error(h, h_request(h, 0, &status, NULL), BB_ERR_MESSAGE_VERSION);

    h->is_skewed = true;
    h_expect_error(h, h_write(h, 0, BB_LEVEL_ONE, good), BB_ERR_CLOCK_SKEW);
    h->is_skewed = false;
    for (uint32_t i = 1; i < 4; i++) {
        h_tell(h, 0, i, false);
    }
    h_expect_error(h, h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, good), BB_ERR_UNAVAILABLE);
    bb_shard_drain(h->nodes[0].shard, h_time(h));
    h_expect_error(h, h_write(h, 0, BB_LEVEL_ONE, good), BB_ERR_STOPPING);
    assert_true(bb_shard_is_drained(h->nodes[0].shard));
    h_commit(h, 0);
    assert_int_equal(h_stats(h, 0).store.head_points, 0);
    assert_int_equal(h_stats(h, 0).batches_accepted, 0);
    h_free(&h);
}

// Goal: points with another type are refused by name, and the rest of the batch is taken.
static void types_are_refused_by_name(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(1, 1, 8, NULL);
    h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 3});
    h_commit(h, 0);
    h_batch_t wrong = {
        .limit = 5, .type = BB_TYPE_INT64, .value = 7, .time_wall_ns = H_WALL_NS + 1};
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ONE, wrong);
    h_commit(h, 0);
    const bb_write_reply_t *reply = &h_answered(h, ticket, BB_KIND_WRITE_REPLY)->write_reply;
    assert_int_equal(reply->acked_points, 2); // the two batteries that are new
    assert_int_equal(reply->acked_frames, 2);
    assert_int_equal(reply->rejected_points, 3);
    assert_int_equal(reply->rejected_frames, 3);
    assert_int_equal(reply->rejection_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(reply->rejections[i].error, BB_ERR_TYPE_CHANGED);
        assert_int_equal(reply->rejections[i].metric.length, 5);
        assert_memory_equal(reply->rejections[i].metric.data, "power", 5);
        assert_true(reply->rejections[i].detail.length > 0);
        assert_true(reply->rejections[i].frame < 5);
    }
    wrong.limit = 3; // nothing is left of this one
    ticket = h_write(h, 0, BB_LEVEL_ONE, wrong);
    reply = &h_answered(h, ticket, BB_KIND_WRITE_REPLY)->write_reply;
    assert_int_equal(reply->acked_points, 0);
    assert_int_equal(reply->rejected_points, 3);
    assert_int_equal(reply->rejected_frames, 3);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 5);
    h_free(&h);
}

// Goal: what is too far ahead is durable and not in answers, on every replica by the coordinator's
// verdict, until it is released.
static void quarantine_and_release(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    int64_t limit_ns = H_WALL_NS + h->now_ns + BB_FUTURE_NS_MAX;
    uint64_t here =
        h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 2, .time_wall_ns = limit_ns});
    uint64_t ahead =
        h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 4, .time_wall_ns = limit_ns + 1});
    h_pump(h, 100 * H_MS);
    assert_int_equal(h_answered(h, here, BB_KIND_WRITE_REPLY)->write_reply.quarantined_points, 0);
    const bb_write_reply_t *reply = &h_answered(h, ahead, BB_KIND_WRITE_REPLY)->write_reply;
    assert_int_equal(reply->acked_points, 4);
    assert_int_equal(reply->quarantined_points, 4);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_RAW)), 2);
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_QUARANTINE)), 4);
    }
    bb_slice_t battery = bb_slice("b001", 4);
    bb_message_t release = {
        .kind = BB_KIND_RELEASE,
        .release = {.level = BB_LEVEL_LOCAL_QUORUM, .battery_count = 1, .batteries = &battery}};
    uint64_t ticket = h_request(h, 1, &release, NULL);
    h_pump(h, 100 * H_MS);
    assert_int_equal(h_answered(h, ticket, BB_KIND_RELEASE_REPLY)->release_reply.released_points,
                     1);
    release.release.battery_count = 0;
    ticket = h_request(h, 1, &release, NULL);
    h_pump(h, 100 * H_MS);
    assert_int_equal(h_answered(h, ticket, BB_KIND_RELEASE_REPLY)->release_reply.released_points,
                     3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_RAW)), 6);
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_QUARANTINE)), 0);
    }
    ticket = h_request(h, 1, &release, NULL); // nothing is left
    h_pump(h, 20 * H_MS);
    assert_int_equal(h_answered(h, ticket, BB_KIND_RELEASE_REPLY)->release_reply.released_points,
                     0);
    h_free(&h);
}

// Goal: a clock that is set back by a day while points cross midnight loses nothing: what is then
// ahead of it waits in quarantine and is counted; windows of both days are sealed and read, across
// a restart. Method: points of 23:55 and 00:05, the clock a day back for some and for a restart,
// then right again.
static void clock_set_back_by_a_day(void **state)
{
    (void)state;
    const int64_t day_ns = BB_NS_PER_DAY;
    const int64_t before_ns = H_WALL_NS + day_ns - 300 * BB_NS_PER_S;
    const int64_t after_ns = H_WALL_NS + day_ns + 300 * BB_NS_PER_S;
    bb_shard_options_t tuning = {.flush_age_ns_max = BB_NS_PER_S};
    h_cluster_t *h = h_new(1, 1, 8, &tuning);
    h->wall_shift_ns = day_ns + 600 * BB_NS_PER_S; // it is 00:10
    uint64_t early =
        h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 4, .time_wall_ns = before_ns});
    uint64_t late =
        h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 4, .limit = 6, .time_wall_ns = after_ns});
    h_pump(h, 1500 * H_MS); // sealed: two windows
    assert_int_equal(h_answered(h, early, BB_KIND_WRITE_REPLY)->write_reply.quarantined_points, 0);
    assert_int_equal(h_answered(h, late, BB_KIND_WRITE_REPLY)->write_reply.quarantined_points, 0);
    assert_int_equal(h_stats(h, 0).store.window_count, 2);
    h->wall_shift_ns -= day_ns;
    late =
        h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 6, .limit = 9, .time_wall_ns = after_ns});
    h_pump(h, 1500 * H_MS);
    assert_int_equal(h_answered(h, late, BB_KIND_WRITE_REPLY)->write_reply.quarantined_points, 3);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 6);
    h_crash(h, 0);
    h_restart(h, 0, 120);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 6);
    h->wall_shift_ns += day_ns;
    uint64_t again =
        h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 9, .limit = 11, .time_wall_ns = after_ns});
    h_pump(h, 1500 * H_MS);
    assert_int_equal(h_answered(h, again, BB_KIND_WRITE_REPLY)->write_reply.quarantined_points, 0);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 8);
    assert_int_equal(h_stats(h, 0).store.quarantined_points, 3);
    h_free(&h);
}

// Goal: too much in flight is BUSY with a delay; what was taken is answered all the same.
static void busy_when_too_much_is_in_flight(void **state)
{
    (void)state;
    bb_shard_options_t tuning = {.in_flight_bytes_max = 3000};
    h_cluster_t *h = h_new(1, 1, 8, &tuning);
    uint64_t tickets[30], busy = 0;
    for (uint32_t i = 0; i < 30; i++) {
        tickets[i] = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = i, .limit = i + 1});
    }
    h_commit(h, 0);
    for (uint32_t i = 0; i < 30; i++) {
        const bb_message_t *message = &h->answers[tickets[i]].message;
        assert_true(h_is_answered(h, tickets[i]));
        if (message->kind == BB_KIND_ERROR) {
            assert_int_equal(message->error.code, BB_ERR_BUSY);
            assert_true(message->error.retry_after_ms > 0);
            busy++;
        }
    }
    assert_true(busy > 0 && busy < 30);
    assert_int_equal(h_stats(h, 0).writes_busy, busy);
    h_free(&h);
}

// Goal: what is in flight counts as what it takes when it is open, so that many small batches of
// constant columns cannot fill the memory of a node.
static void busy_by_what_batches_unfold_to(void **state)
{
    (void)state;
    enum { FRAMES = 40000 };
    bb_shard_options_t tuning = {.in_flight_bytes_max = 1u << 20};
    h_cluster_t *h = h_new(1, 1, 8, &tuning);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    uint32_t partition = bb_topology_partition_of(h->nodes[0].topology, "b", 1);
    uint32_t battery, shape, order;
    const bb_slice_t metric = bb_slice("power", 5);
    const uint8_t type = BB_TYPE_INT64;
    const uint64_t value = 7;
    assert_int_equal(
        bb_batch_builder_battery(builder, partition, bb_slice("b", 1), NULL, 0, &battery, NULL),
        BB_OK);
    assert_int_equal(bb_batch_builder_shape(builder, &metric, &type, 1, &shape, &order, NULL),
                     BB_OK);
    for (uint32_t i = 0; i < FRAMES; i++) {
        assert_int_equal(bb_batch_builder_frame(builder, battery, shape, H_WALL_NS, &value), BB_OK);
    }
    const bb_message_t message = {.kind = BB_KIND_WRITE,
                                  .epoch = TEST_EPOCH,
                                  .timeout_ns = 2 * BB_NS_PER_S,
                                  .write = {.level = BB_LEVEL_ONE}};
    uint64_t tickets[6];
    for (uint32_t i = 0; i < 6; i++) {
        uint8_t *data = NULL;
        size_t length = 0;
        bb_batch_builder_finish(builder, &data, &length, NULL);
        assert_true(length < 1024);
        tickets[i] = h_request(h, 0, &message, bb_buffer_new(data, length, NULL, NULL));
    }
    bb_batch_builder_destroy(&builder);
    h_commit(h, 0);
    for (uint32_t i = 0; i < 6; i++) { // 320 KB each
        if (i < 3) {
            assert_int_equal(
                h_answered(h, tickets[i], BB_KIND_WRITE_REPLY)->write_reply.acked_frames, FRAMES);
        } else {
            h_expect_error(h, tickets[i], BB_ERR_BUSY);
        }
    }
    h_free(&h);
}

// ---- disks -----------------------------------------------------------------------------------

// Goal: at the reserve of its disk a node refuses writes by name and takes no chunks of peers,
// while it answers reads, seals what it has, and others reach their level without it; with room
// again it goes on and catches up. Method: 1 MB less than the reserve is free on one of three
// disks.
static void disk_at_its_reserve(void **state)
{
    (void)state;
    bb_shard_options_t tuning = {.store = {.disk_reserve_bytes = 64u << 20},
                                 .flush_age_ns_max = BB_NS_PER_S};
    h_cluster_t *h = h_new(3, 3, 8, &tuning);
    bb_sim_disk_t *disk = h->nodes[0].disk;
    h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.limit = 4});
    h_pump(h, 100 * H_MS);
    bb_sim_disk_capacity_set(disk, bb_sim_disk_used_bytes(disk) + (63u << 20));
    // What was let through before is let through still, up to 16 MiB: a restart asks anew.
    h_crash(h, 0);
    h_restart(h, 0, 111);
    uint64_t refused = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 4, .limit = 5});
    const bb_message_t *reply = h_answered(h, refused, BB_KIND_ERROR);
    assert_int_equal(reply->error.code, BB_ERR_DISK_FULL);
    assert_true(reply->error.retry_after_ms > 0);
    assert_int_equal(h_stats(h, 0).writes_disk_full, 1);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 4);
    uint64_t taken = h_write(h, 1, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.first = 4, .limit = 6});
    h_pump(h, 2500 * H_MS);
    h_answered(h, taken, BB_KIND_WRITE_REPLY);
    assert_true(h_stats(h, 0).chunks_dropped_full > 0);
    assert_false(h_stats(h, 0).is_fenced);
    assert_int_equal(h_stats(h, 0).store.head_points, 0); // sealed all the same
    assert_true(h_stats(h, 0).store.segment_points > 0);
    bb_sim_disk_capacity_set(disk, UINT64_MAX);
    uint64_t again = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.first = 6, .limit = 8});
    h_pump(h, 2500 * H_MS);
    h_answered(h, again, BB_KIND_WRITE_REPLY);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 8);
    h_free(&h);
}

// Goal: the first failed sync fences: nothing that it covered is acknowledged here, nor is
// anything later, and reads go on.
static void failed_sync_fences(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(1, 1, 8, NULL);
    h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 3});
    h_commit(h, 0);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 3, .limit = 6});
    bb_sim_disk_fail(h->nodes[0].disk, BB_SIM_SYNC, 1, BB_ERR_IO);
    h_commit(h, 0);
    assert_int_equal(h_answered(h, ticket, BB_KIND_ERROR)->kind, BB_KIND_ERROR);
    assert_true(h_stats(h, 0).is_fenced);
    ticket = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 6, .limit = 7});
    h_expect_error(h, ticket, BB_ERR_FENCED);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 3);
    h_free(&h);
}

// Goal: a fenced coordinator whose replicas have the batch says so only by their copies.
static void replicas_can_meet_the_level_alone(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 20 * H_MS);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 3});
    h->nodes[0].job = NULL;
    // The two others get, sync and acknowledge it before the coordinator's own sync.
    uint32_t count = h->message_count;
    h_message_t *messages = bb_alloc((count + 1) * sizeof *messages);
    memcpy(messages, h->messages, count * sizeof *messages);
    h->message_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        h_deliver(h, &messages[i]);
    }
    free(messages);
    h_commit(h, 1);
    h_commit(h, 2);
    count = h->message_count;
    for (uint32_t i = 0; i < count; i++) {
        h_message_t message = h->messages[i];
        if (message.to == 0 && message.kind == BB_KIND_REPLICATE_ACK) {
            h->messages[i] = (h_message_t){0};
            h_deliver(h, &message);
        }
    }
    h_lose_all(h);
    bb_sim_disk_fail(h->nodes[0].disk, BB_SIM_SYNC, 1, BB_ERR_IO);
    h_commit(h, 0);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY); // two durable copies: the promise holds
    assert_true(h_stats(h, 0).is_fenced);
    h_free(&h);
}

// Goal: a full disk refuses and does not fence; the next batch is taken when there is room.
static void full_disk_refuses(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(1, 1, 8, NULL);
    h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 1});
    h_commit(h, 0);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 1, .limit = 3});
    bb_sim_disk_fail(h->nodes[0].disk, BB_SIM_WRITE, 1, BB_ERR_DISK_FULL);
    h_commit(h, 0);
    h_expect_error(h, ticket, BB_ERR_DISK_FULL);
    assert_false(h_stats(h, 0).is_fenced);
    ticket = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 1, .limit = 3});
    h_commit(h, 0);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 3);
    h_free(&h);
}

// Goal: what was acknowledged survives power loss; what was only staged does not come back as
// acknowledged, and no dot is given twice.
static void power_loss(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(1, 1, 8, NULL);
    h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 4});
    h_commit(h, 0);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 4, .limit = 6});
    h_crash(h, 0);
    assert_false(h_is_answered(h, ticket));
    h_restart(h, 0, 77);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 4);
    h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.first = 6, .limit = 8});
    h_commit(h, 0);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 6);
    h_free(&h);
}

// Goal: a replica that gets chunks before it knows whose they are acknowledges them as soon as it
// knows. Method: node 1 restarts; node 0 hears of it first and writes at all.
static void chunks_of_a_stranger(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    h_crash(h, 1);
    h_open(h, 1, 88);
    h_tell(h, 0, 1, true);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.limit = 4});
    h_pump(h, 50 * H_MS);
    assert_false(h_is_answered(h, ticket));
    assert_int_equal(h_rows(h, h_query(h, 1, BB_LEVEL_ONE, BB_QUERY_RAW)), 4); // it has them
    h_tell(h, 1, 0, true);
    h_pump(h, 50 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    h_free(&h);
}

// ---- replicas --------------------------------------------------------------------------------

// Goal: a replica that was away pulls what it lacks, from whoever has it, and all agree.
static void returning_replica_catches_up(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 100 * H_MS);
    h_crash(h, 2);
    for (uint32_t i = 0; i < 10; i++) {
        uint64_t ticket = h_write(h, i % 2, BB_LEVEL_LOCAL_QUORUM,
                                  (h_batch_t){.first = 3 * i, .limit = 3 * i + 3});
        h_pump(h, 20 * H_MS);
        h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    }
    assert_true(h_stats(h, 0).under_replicated > 0);
    h_restart(h, 2, 120);
    h_pump(h, 3000 * H_MS);
    for (uint32_t i = 0; i < 3; i++) {
        bb_shard_stats_t stats = h_stats(h, i);
        assert_true(stats.is_caught_up);
        assert_int_equal(stats.under_replicated, 0);
        assert_int_equal(stats.unequal, 0);
        for (uint32_t j = 0; j < 3; j++) {
            assert_int_equal(stats.lag_chunks[j], 0);
        }
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_RAW)), 30);
    }
    assert_true(h_stats(h, 2).chunks_pulled > 0);
    h_free(&h);
}

// Goal: what is on its way makes a partition unequal and not under-replicated; what does not arrive
// does after a while. Method: node 2 gets nothing of node 0, and may pull from nobody.
static void on_its_way_is_no_shortfall(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 1000 * H_MS);
    assert_int_equal(h_stats(h, 0).unequal, 0);
    h->is_blocked[0][2] = h->is_blocked[1][2] = true;
    uint64_t ticket = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 5});
    h_pump(h, 30 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    uint32_t unequal = h_stats(h, 0).unequal;
    assert_true(unequal > 0);
    assert_int_equal(h_stats(h, 0).under_replicated, 0);
    h_pump(h, BB_SHORTFALL_NS - 100 * H_MS);
    assert_int_equal(h_stats(h, 0).under_replicated, 0);
    h_pump(h, 200 * H_MS);
    assert_int_equal(h_stats(h, 0).under_replicated, unequal);
    bb_shard_set_standing(h->nodes[0].shard, h_time(h), BB_STANDING_JOINING);
    assert_int_equal(h_stats(h, 0).under_replicated, 8); // we do not count
    bb_shard_set_standing(h->nodes[0].shard, h_time(h), BB_STANDING_COUNTING);
    bb_shard_peer_standing(h->nodes[0].shard, h_time(h), 1, false);
    assert_int_equal(h_stats(h, 0).under_replicated, 8);
    bb_shard_peer_standing(h->nodes[0].shard, h_time(h), 1, true);
    h->is_blocked[0][2] = h->is_blocked[1][2] = false;
    h_pump(h, 3000 * H_MS);
    assert_int_equal(h_stats(h, 0).under_replicated, 0);
    assert_int_equal(h_stats(h, 0).unequal, 0);
    h_free(&h);
}

// Goal: chunks of a stream whose origin is gone are pulled from a replica that has them.
static void dead_origin(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 50 * H_MS);
    h->is_blocked[0][2] = true;
    uint64_t ticket = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 5});
    h_pump(h, 30 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    assert_int_equal(h_rows(h, h_query(h, 2, BB_LEVEL_ONE, BB_QUERY_RAW)), 0);
    h_crash(h, 0);
    h_pump(h, 2000 * H_MS);
    assert_int_equal(h_rows(h, h_query(h, 2, BB_LEVEL_ONE, BB_QUERY_RAW)), 5);
    h_free(&h);
}

// Goal: messages that come twice change nothing and are acknowledged again.
static void duplicates(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.limit = 5});
    h_message_t *found = NULL;
    for (uint32_t i = 0; i < h->message_count; i++) {
        if (h->messages[i].kind == BB_KIND_REPLICATE) {
            found = &h->messages[i];
        }
    }
    assert_non_null(found);
    h_message_t copies[2];
    for (uint32_t i = 0; i < 2; i++) {
        copies[i] = *found;
        bb_buffer_keep(copies[i].envelope);
        bb_buffer_keep(copies[i].chunks);
        bb_buffer_keep(copies[i].body);
    }
    h_deliver(h, &copies[0]); // staged, and then the first one comes, too
    h->blocked_kind = BB_KIND_REPLICATE_ACK;
    h_pump(h, 20 * H_MS);
    h->blocked_kind = (bb_kind_t)0;
    assert_int_equal(h_stats(h, 1).chunks_duplicate, h_stats(h, 1).chunks_replicated_in);
    assert_false(h_is_answered(h, ticket));
    h_deliver(h, &copies[1]); // durable already: only the acknowledgement was lost
    h_pump(h, 20 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    assert_int_equal(h_rows(h, h_query(h, 1, BB_LEVEL_ONE, BB_QUERY_RAW)), 5);
    h_free(&h);
}

// A REPLICATE_ACK for dot 1 of every partition, as `from` would send it.
typedef struct {
    uint8_t stream, incarnation;
    uint32_t epoch;
    uint64_t seq;
} s_ack_t;

static void s_send_ack(h_cluster_t *h, uint32_t from, uint32_t to, s_ack_t ack)
{
    bb_dot_range_t ranges[8];
    for (uint32_t p = 0; p < 8; p++) {
        ranges[p] = (bb_dot_range_t){.partition = p, .first_seq = ack.seq, .last_seq = ack.seq};
    }
    bb_message_t message = {.kind = BB_KIND_REPLICATE_ACK,
                            .epoch = ack.epoch,
                            .replicate_ack = {.stream = test_stream(ack.stream),
                                              .incarnation = test_stream(ack.incarnation),
                                              .range_count = 8,
                                              .ranges = ranges}};
    bb_shard_peer(h->nodes[to].shard, h_time(h), from, &message, NULL, NULL);
}

// Goal: an acknowledgement counts only for this stream, from the peer's present process, under our
// epoch, and for dots that were given.
static void acknowledgements_that_do_not_count(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.limit = 60}); // all partitions
    h_commit(h, 0);
    h_lose_all(h);
    const s_ack_t good = {.stream = 101, .incarnation = 102, .epoch = TEST_EPOCH, .seq = 1};
    s_ack_t bad = good;
    bad.epoch = TEST_EPOCH - 1;
    s_send_ack(h, 1, 0, bad);
    bad = good;
    bad.incarnation = 99;
    s_send_ack(h, 1, 0, bad);
    bad = good;
    bad.stream = 99;
    s_send_ack(h, 1, 0, bad);
    bad = good;
    bad.seq = 2; // never given
    s_send_ack(h, 1, 0, bad);
    h_commit(h, 0);
    assert_false(h_is_answered(h, ticket));
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 3); // another epoch is nobody's fault
    s_send_ack(h, 1, 0, good);
    h_commit(h, 0);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    h_free(&h);
}

// Goal: whatever a peer sends that is wrong is counted and leaves no trace.
static void bad_peer_messages(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(2, 2, 8, NULL);
    bb_shard_t *shard = h->nodes[0].shard;
    bb_message_t message = {.kind = BB_KIND_REPLICATE, .epoch = TEST_EPOCH};
    bb_buffer_t *junk = bb_buffer_copy_of("this is neither chunks nor batch", 32);
    bb_shard_peer(shard, h_time(h), 1, &message, NULL, NULL);
    bb_shard_peer(shard, h_time(h), 1, &message, junk, junk);
    uint64_t seqs[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    for (uint32_t variant = 0; variant < 2; variant++) {
        // A battery in a wrong partition; a header that does not fit its batch.
        bb_buffer_t *batch = h_batch(h, (h_batch_t){.limit = 1, .shift = variant == 0 ? 1 : 0});
        bb_chunks_t chunks = {.stream = test_stream(102),
                              .epoch = TEST_EPOCH,
                              .part_count = variant == 0 ? 1 : 2,
                              .seqs = seqs};
        uint8_t *data = NULL;
        size_t length = 0;
        bb_chunks_encode(&chunks, &data, &length);
        bb_buffer_t *header = bb_buffer_new(data, length, NULL, NULL);
        bb_shard_peer(shard, h_time(h), 1, &message, header, batch);
        bb_buffer_drop(&header);
        bb_buffer_drop(&batch);
    }
    bb_have_entry_t entry = {.partition = 3, .have = bb_slice("not a have-set..", 16)};
    message = (bb_message_t){.kind = BB_KIND_PULL, .pull = {.entry_count = 1, .entries = &entry}};
    bb_shard_peer(shard, h_time(h), 1, &message, NULL, NULL);
    entry = (bb_have_entry_t){.partition = 99};
    bb_shard_peer(shard, h_time(h), 1, &message, NULL, NULL);
    message = (bb_message_t){.kind = BB_KIND_HAVE, .have = {.lane = {7, 5}}};
    bb_shard_peer(shard, h_time(h), 1, &message, NULL, NULL);
    message = (bb_message_t){.kind = BB_KIND_HELLO};
    bb_shard_peer(shard, h_time(h), 1, &message, NULL, NULL);
    assert_int_equal(h_stats(h, 0).peer_messages_bad, 8);
    assert_int_equal(bb_shard_staged_bytes(shard), 0);
    bb_buffer_drop(&junk);
    h_free(&h);
}

// Goal: a head that is full takes no more: the coordinator's own clients are told to wait, and a
// replica drops what peers send and pulls it when a flush has made room. Nothing is lost.
static void full_heads(void **state)
{
    (void)state;
    bb_shard_options_t tuning = {.store = {.memory_bytes = 64u << 10}};
    h_cluster_t *h = h_new(2, 2, 8, &tuning);
    h_pump(h, 50 * H_MS);
    for (uint32_t i = 0; i < 2; i++) {
        h->nodes[i].holds_jobs = true;
    }
    uint32_t acked = 0;
    bool is_busy = false;
    for (uint32_t i = 0; i < 40 && !is_busy; i++) {
        // Node 1 fills up first: it has batches of its own.
        h_batch_t own = {.first = 300, .limit = 400, .time_wall_ns = H_WALL_NS + i};
        h->is_blocked[1][0] = true;
        uint64_t ticket = h_write(h, 1, BB_LEVEL_ONE, own);
        h_pump(h, 10 * H_MS);
        h->is_blocked[1][0] = false;
        const bb_message_t *reply = &h->answers[ticket].message;
        is_busy = reply->kind == BB_KIND_ERROR;
        acked += is_busy ? 0 : 100;
        if (is_busy) {
            assert_int_equal(reply->error.code, BB_ERR_BUSY);
            assert_true(reply->error.retry_after_ms > 0);
        }
    }
    assert_true(is_busy);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.limit = 50});
    h_pump(h, 100 * H_MS);
    assert_false(h_is_answered(h, ticket));
    assert_true(h_stats(h, 1).chunks_dropped_full > 0);
    for (uint32_t i = 0; i < 2; i++) {
        h->nodes[i].holds_jobs = false;
    }
    h_pump(h, 1500 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    h_pump(h, 3000 * H_MS);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_RAW)), acked + 50);
    }
    h_free(&h);
}

// ---- reading ---------------------------------------------------------------------------------

// Goal: a quorum read at a replica that lacks an acknowledged chunk waits, gets it, and shows it.
static void quorum_read_sees_what_a_quorum_holds(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 100 * H_MS);
    h->is_blocked[0][2] = true;
    uint64_t write = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 5});
    h_pump(h, 30 * H_MS);
    h_answered(h, write, BB_KIND_WRITE_REPLY);
    uint64_t one = h_query(h, 2, BB_LEVEL_ONE, BB_QUERY_RAW);
    assert_int_equal(h_rows(h, one), 0);
    uint64_t quorum = h_query(h, 2, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_RAW);
    assert_false(h_is_answered(h, quorum));
    h_pump(h, 100 * H_MS);
    assert_int_equal(h_answered(h, quorum, BB_KIND_RESULT)->result.missing_count, 0);
    assert_int_equal(h_rows(h, quorum), 5);
    h_free(&h);
}

// Goal: without a majority a quorum read names every partition, and one is answered all the same.
static void read_without_a_majority(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 5});
    h_commit(h, 0);
    h_tell(h, 0, 1, false);
    h_tell(h, 0, 2, false);
    uint64_t quorum = h_query(h, 0, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_RAW);
    h_commit(h, 0);
    const bb_result_t *result = &h_answered(h, quorum, BB_KIND_RESULT)->result;
    assert_int_equal(result->missing_count, 8);
    assert_int_equal(result->missing[7].error, BB_ERR_UNAVAILABLE);
    assert_int_equal(h_rows(h, quorum), 0);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 5);
    h_free(&h);
}

// Goal: silence ends a quorum read before its deadline, with everything named.
static void read_with_silent_peers(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 50 * H_MS);
    h->blocked_kind = BB_KIND_HAVE;
    uint64_t quorum = h_query(h, 0, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_RAW);
    h_pump(h, 1900 * H_MS); // the request gave 2 s
    const bb_result_t *result = &h_answered(h, quorum, BB_KIND_RESULT)->result;
    assert_int_equal(result->missing_count, 8);
    assert_int_equal(result->missing[0].error, BB_ERR_TIMEOUT);
    assert_int_equal(h_stats(h, 0).fences_timeout, 1);
    h_free(&h);
}

// Goal: partitions that this node does not hold are named; bad queries are refused.
static void partitions_of_others_and_bad_queries(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(4, 2, 8, NULL);
    uint64_t ticket = h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW);
    const bb_result_t *result = &h_answered(h, ticket, BB_KIND_RESULT)->result;
    uint32_t own_count = 0;
    bb_topology_node_partitions(h->nodes[0].topology, 0, &own_count);
    assert_int_equal(result->missing_count, 8 - own_count);
    for (uint32_t i = 0; i < result->missing_count; i++) {
        assert_int_equal(result->missing[i].error, BB_ERR_NOT_REPLICA);
        assert_false(bb_topology_is_replica(h->nodes[0].topology, result->missing[i].partition, 0));
    }
    uint32_t wrong = 8;
    bb_message_t message = {.kind = BB_KIND_QUERY,
                            .query = {.mode = BB_QUERY_RAW,
                                      .level = BB_LEVEL_ONE,
                                      .to_wall_ns = 1,
                                      .partition_count = 1,
                                      .partitions = &wrong}};
    h_expect_error(h, h_request(h, 0, &message, NULL), BB_ERR_QUERY);
    h_free(&h);
}

// ---- housekeeping ----------------------------------------------------------------------------

// Goal: settle answers when everything is sealed, merged and trimmed; and says what is not.
static void settling(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    for (uint32_t i = 0; i < 5; i++) {
        h_write(h, 0, BB_LEVEL_LOCAL_QUORUM,
                (h_batch_t){.limit = 9, .time_wall_ns = H_WALL_NS + i * BB_NS_PER_S});
        h_pump(h, 20 * H_MS);
    }
    bb_message_t settle = {.kind = BB_KIND_SETTLE, .timeout_ns = 5 * BB_NS_PER_S};
    uint64_t ticket = h_request(h, 0, &settle, NULL);
    h_pump(h, 2000 * H_MS);
    bb_settle_reply_t reply = h_answered(h, ticket, BB_KIND_SETTLE_REPLY)->settle_reply;
    assert_true(reply.sealed && reply.merged && reply.trimmed);
    bb_shard_stats_t stats = h_stats(h, 0);
    assert_int_equal(stats.unsealed_chunks, 0);
    assert_int_equal(stats.untrimmed_chunks, 0);
    assert_int_equal(stats.store.segment_points, 45);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 45);

    h_crash(h, 2); // what it lacks cannot be trimmed
    h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.first = 20, .limit = 25});
    h_pump(h, 20 * H_MS);
    settle.timeout_ns = 500 * H_MS;
    ticket = h_request(h, 0, &settle, NULL);
    h_pump(h, 490 * H_MS);
    reply = h_answered(h, ticket, BB_KIND_SETTLE_REPLY)->settle_reply;
    assert_true(reply.sealed && reply.merged);
    assert_false(reply.trimmed);
    assert_true(h_stats(h, 0).untrimmed_chunks > 0);
    h_restart(h, 2, 140);
    settle.timeout_ns = 9 * BB_NS_PER_S;
    ticket = h_request(h, 0, &settle, NULL);
    h_pump(h, 3000 * H_MS);
    assert_true(h_answered(h, ticket, BB_KIND_SETTLE_REPLY)->settle_reply.trimmed);
    assert_int_equal(h_rows(h, h_query(h, 2, BB_LEVEL_ONE, BB_QUERY_RAW)), 50);
    h_free(&h);
}

// Goal: a failed flush loses nothing and is tried again after a second, whatever the age of
// flushes.
static void failed_flush_is_retried(void **state)
{
    (void)state;
    bb_shard_options_t tuning = {.flush_age_ns_max = 5000 * H_MS};
    h_cluster_t *h = h_new(1, 1, 8, &tuning);
    h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 9});
    bb_sim_disk_fail(h->nodes[0].disk, BB_SIM_COMMIT, 1, BB_ERR_DISK_FULL);
    h_pump(h, 5300 * H_MS);
    assert_int_equal(h_stats(h, 0).store.segment_points, 0);
    assert_true(h_stats(h, 0).unsealed_chunks > 0);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 9);
    h_pump(h, 1500 * H_MS);
    assert_int_equal(h_stats(h, 0).store.segment_points, 9);
    assert_int_equal(h_stats(h, 0).unsealed_chunks, 0);
    assert_int_equal(h_rows(h, h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW)), 9);
    h_free(&h);
}

// Goal: a store whose job failed sleeps until it tries again, also while somebody waits for it to
// settle. Method: on a full disk, the moment that it wants to be woken at, a hundred times a
// second.
static void failed_job_does_not_spin(void **state)
{
    (void)state;
    bb_shard_options_t tuning = {.flush_age_ns_max = 100 * H_MS};
    for (uint32_t is_settling = 0; is_settling <= 1; is_settling++) {
        h_cluster_t *h = h_new(1, 1, 8, &tuning);
        h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 9});
        bb_message_t settle = {.kind = BB_KIND_SETTLE, .timeout_ns = 9 * BB_NS_PER_S};
        if (is_settling) {
            h_request(h, 0, &settle, NULL);
        }
        uint32_t awake_count = 0;
        for (uint32_t i = 0; i < 300; i++) {
            bb_sim_disk_fail(h->nodes[0].disk, BB_SIM_COMMIT, 1, BB_ERR_DISK_FULL);
            int64_t then_ns = h->now_ns;
            h_pump(h, 10 * H_MS);
            awake_count += bb_shard_wake_mono_ns(h->nodes[0].shard) <= then_ns;
        }
        assert_int_equal(h_stats(h, 0).store.segment_points, 0);
        assert_in_range(bb_sim_disk_failed_count(h->nodes[0].disk, BB_SIM_COMMIT), 2, 4);
        assert_int_equal(awake_count, 0);
        h_free(&h);
    }
}

// Goal: draining waits for what clients wait for.
static void draining(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 20 * H_MS);
    uint64_t write = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 5});
    uint64_t read = h_query(h, 0, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_RAW);
    bb_shard_drain(h->nodes[0].shard, h_time(h));
    h_commit(h, 0);
    assert_false(bb_shard_is_drained(h->nodes[0].shard));
    h_pump(h, 100 * H_MS);
    h_answered(h, write, BB_KIND_WRITE_REPLY);
    h_answered(h, read, BB_KIND_RESULT);
    assert_true(bb_shard_is_drained(h->nodes[0].shard));
    h_free(&h);
}

// Goal: the missing partitions leave a query, the others stay in order.
static void exclude_from_a_query(void **state)
{
    (void)state;
    const uint32_t partitions[5] = {1, 3, 4, 7, 9};
    const bb_missing_t missing[3] = {{1, BB_ERR_BEHIND}, {5, BB_ERR_BEHIND}, {7, BB_ERR_BEHIND}};
    bb_query_t query = {.partition_count = 5, .partitions = partitions};
    uint32_t room[5];
    bb_shard_query_exclude(&query, missing, 3, room);
    assert_int_equal(query.partition_count, 3);
    assert_int_equal(query.partitions[0], 3);
    assert_int_equal(query.partitions[1], 4);
    assert_int_equal(query.partitions[2], 9);
    bb_shard_query_exclude(&query, NULL, 0, NULL);
    assert_int_equal(query.partition_count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledged_after_the_sync),
        cmocka_unit_test(one_sync_for_many),
        cmocka_unit_test(local_quorum_needs_a_second_copy),
        cmocka_unit_test(lost_chunks_are_pulled_and_count),
        cmocka_unit_test(refusals),
        cmocka_unit_test(types_are_refused_by_name),
        cmocka_unit_test(quarantine_and_release),
        cmocka_unit_test(clock_set_back_by_a_day),
        cmocka_unit_test(busy_when_too_much_is_in_flight),
        cmocka_unit_test(busy_by_what_batches_unfold_to),
        cmocka_unit_test(disk_at_its_reserve),
        cmocka_unit_test(failed_sync_fences),
        cmocka_unit_test(replicas_can_meet_the_level_alone),
        cmocka_unit_test(full_disk_refuses),
        cmocka_unit_test(power_loss),
        cmocka_unit_test(chunks_of_a_stranger),
        cmocka_unit_test(returning_replica_catches_up),
        cmocka_unit_test(on_its_way_is_no_shortfall),
        cmocka_unit_test(dead_origin),
        cmocka_unit_test(duplicates),
        cmocka_unit_test(acknowledgements_that_do_not_count),
        cmocka_unit_test(bad_peer_messages),
        cmocka_unit_test(full_heads),
        cmocka_unit_test(quorum_read_sees_what_a_quorum_holds),
        cmocka_unit_test(read_without_a_majority),
        cmocka_unit_test(read_with_silent_peers),
        cmocka_unit_test(partitions_of_others_and_bad_queries),
        cmocka_unit_test(settling),
        cmocka_unit_test(failed_flush_is_retried),
        cmocka_unit_test(failed_job_does_not_spin),
        cmocka_unit_test(draining),
        cmocka_unit_test(exclude_from_a_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
