// SPDX-License-Identifier: Apache-2.0
// Deletes in a cluster of shards: a generation is read behind a fence, a marker is written at a
// level, and a replica that was away neither keeps nor brings back what was deleted.
#include "node/ingest/bb_shard.h"

#include "protocol/bb_marker.h"
#include "tests/unit/node/shard_harness.h"

// A marker over all time of each battery number in [first, limit).
static uint64_t s_delete_as(h_cluster_t *h, uint32_t node, bb_level_t level, uint32_t first,
                            uint32_t limit, uint32_t generation, bool says_so)
{
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_batch_builder_markers(builder, generation);
    const bb_marker_t marker = {bb_slice(BB_MARKER_ALL_METRICS, 1), 0, BB_TIME_WALL_NS_LIMIT};
    for (uint32_t i = first; i < limit; i++) {
        char id[16];
        size_t length = (size_t)snprintf(id, sizeof id, "b%03u", i);
        uint32_t partition = bb_topology_partition_of(h->nodes[0].topology, id, length);
        assert_int_equal(bb_marker_add(builder, partition, bb_slice(id, length), &marker, NULL),
                         BB_OK);
    }
    uint8_t *data = NULL;
    size_t length = 0;
    bb_batch_builder_finish(builder, &data, &length, NULL);
    bb_batch_builder_destroy(&builder);
    bb_message_t message = {.kind = BB_KIND_WRITE,
                            .epoch = TEST_EPOCH,
                            .timeout_ns = 2 * BB_NS_PER_S,
                            .write = {.level = level, .deletes = says_so}};
    return h_request(h, node, &message, bb_buffer_new(data, length, NULL, NULL));
}

static uint64_t s_delete(h_cluster_t *h, uint32_t node, bb_level_t level, uint32_t first,
                         uint32_t limit, uint32_t generation)
{
    return s_delete_as(h, node, level, first, limit, generation, true);
}

static uint32_t s_acked(h_cluster_t *h, uint64_t ticket)
{
    return (uint32_t)h_answered(h, ticket, BB_KIND_WRITE_REPLY)->write_reply.acked_points;
}

// The largest generation in an answer; 0: none.
static uint64_t s_generation(h_cluster_t *h, uint64_t ticket)
{
    h_answered(h, ticket, BB_KIND_RESULT);
    bb_page_t page;
    uint64_t largest = 0;
    assert_int_equal(bb_page_open(&page, bb_buffer_slice(h->answers[ticket].body), NULL), BB_OK);
    for (uint32_t i = 0; i < page.series_count; i++) {
        assert_int_equal(page.series[i].row_count, 1);
        assert_int_equal(page.series[i].type, BB_TYPE_INT64);
        largest = BB_MAX(largest, page.series[i].values[0]);
    }
    bb_page_close(&page);
    return largest;
}

// Goal: a delete takes points away on every replica, the generation that it drew is seen behind any
// fence from then on, older points are refused by name, and the battery can be written again.
static void delete_and_write_again(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    uint64_t written = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 6});
    h_pump(h, 100 * H_MS);
    assert_int_equal(s_acked(h, written), 6);
    uint64_t known = h_query(h, 1, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_GENERATIONS);
    h_pump(h, 100 * H_MS);
    assert_int_equal(s_generation(h, known), 0);
    uint64_t deleted = s_delete(h, 1, BB_LEVEL_LOCAL_QUORUM, 2, 4, 1);
    uint64_t again = s_delete(h, 2, BB_LEVEL_LOCAL_QUORUM, 2, 4, 1); // repeated elsewhere
    h_pump(h, 100 * H_MS);
    assert_int_equal(s_acked(h, deleted), 2);
    assert_int_equal(s_acked(h, again), 2);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_RAW)), 4);
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_LAST)), 4);
        assert_int_equal(s_generation(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_GENERATIONS)), 1);
    }
    uint64_t old = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 6});
    h_pump(h, 50 * H_MS);
    const bb_write_reply_t *reply = &h_answered(h, old, BB_KIND_WRITE_REPLY)->write_reply;
    assert_int_equal(reply->rejected_points, 2);
    assert_int_equal(reply->rejections[0].error, BB_ERR_GENERATION);
    uint64_t young = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM,
                             (h_batch_t){.limit = 3, .revision = bb_revision_make(1, 0)});
    h_pump(h, 100 * H_MS);
    assert_int_equal(s_acked(h, young), 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_RAW)), 5);
    }
    h_free(&h);
}

// Goal: markers need an envelope that says so, because that is what the role was asked for.
static void envelope_must_say_so(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(1, 1, 8, NULL);
    h_expect_error(h, s_delete_as(h, 0, BB_LEVEL_ONE, 0, 1, 1, false), BB_ERR_MESSAGE_CORRUPT);
    bb_message_t message = {.kind = BB_KIND_WRITE,
                            .epoch = TEST_EPOCH,
                            .timeout_ns = 2 * BB_NS_PER_S,
                            .write = {.level = BB_LEVEL_ONE, .deletes = true}};
    uint64_t points = h_request(h, 0, &message, h_batch(h, (h_batch_t){.limit = 1}));
    h_expect_error(h, points, BB_ERR_MESSAGE_CORRUPT);
    h_free(&h);
}

// Goal: a replica that was away while something was deleted, and has the points in its journal,
// gives them up, and its journal resurrects nothing at the others; a point that it alone has and
// that was deleted meanwhile is gone everywhere. Across restarts of all.
static void replica_returns_with_old_points(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    uint64_t both = h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.limit = 4});
    h_pump(h, 100 * H_MS);
    assert_int_equal(s_acked(h, both), 4);
    for (uint32_t i = 0; i < 2; i++) { // node 2 is cut off, and takes writes of its own
        h_tell(h, i, 2, false);
        h_tell(h, 2, i, false);
    }
    uint64_t alone =
        h_write(h, 2, BB_LEVEL_ONE, (h_batch_t){.limit = 4, .time_wall_ns = H_WALL_NS + 1});
    h_pump(h, 50 * H_MS);
    assert_int_equal(s_acked(h, alone), 4);
    uint64_t deleted = s_delete(h, 0, BB_LEVEL_LOCAL_QUORUM, 0, 3, 1);
    h_pump(h, 100 * H_MS);
    assert_int_equal(s_acked(h, deleted), 3);
    assert_int_equal(h_rows(h, h_query(h, 2, BB_LEVEL_ONE, BB_QUERY_RAW)), 8);
    h_crash(h, 2);
    h_restart(h, 2, 77);
    h_pump(h, 5 * BB_NS_PER_S);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_RAW)), 2);
        h_crash(h, i);
        h_restart(h, i, (uint8_t)(80 + i));
    }
    h_pump(h, 3 * BB_NS_PER_S);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_RAW)), 2);
    }
    h_free(&h);
}

// Goal: settling takes what was deleted off the disk, and waits for markers that are in the journal
// alone.
static void settling_seals_markers(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(1, 1, 8, NULL);
    const bb_message_t settle = {.kind = BB_KIND_SETTLE, .timeout_ns = 20 * BB_NS_PER_S};
    h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 5});
    uint64_t ticket = h_request(h, 0, &settle, NULL);
    h_pump(h, 3 * BB_NS_PER_S);
    h_answered(h, ticket, BB_KIND_SETTLE_REPLY);
    assert_int_equal(h_stats(h, 0).store.segment_points, 5);
    s_delete(h, 0, BB_LEVEL_ONE, 0, 2, 1);
    h_pump(h, 50 * H_MS);
    assert_int_equal(h_stats(h, 0).store.unsaved_markers, 2);
    ticket = h_request(h, 0, &settle, NULL);
    h_pump(h, 3 * BB_NS_PER_S);
    h_answered(h, ticket, BB_KIND_SETTLE_REPLY);
    assert_int_equal(h_stats(h, 0).store.unsaved_markers, 0);
    assert_int_equal(h_stats(h, 0).store.markers, 2);
    assert_int_equal(h_stats(h, 0).store.segment_points, 3);
    h_free(&h);
}

// Goal: points in quarantine are deleted like any other; those that are left, or came later, are
// released with a generation that no marker of the past covers.
static void quarantine_is_deleted_and_released(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    int64_t ahead_ns = H_WALL_NS + h->now_ns + 2 * BB_FUTURE_NS_MAX;
    h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 3, .time_wall_ns = ahead_ns});
    s_delete(h, 1, BB_LEVEL_LOCAL_QUORUM, 0, 2, 1);
    h_pump(h, 100 * H_MS);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_QUARANTINE)), 1);
    }
    h_write(h, 0, BB_LEVEL_LOCAL_QUORUM,
            (h_batch_t){.limit = 1, .time_wall_ns = ahead_ns, .revision = bb_revision_make(1, 0)});
    h_pump(h, 100 * H_MS);
    const bb_message_t release = {.kind = BB_KIND_RELEASE,
                                  .release = {.level = BB_LEVEL_LOCAL_QUORUM}};
    h_request(h, 1, &release, NULL);
    h_pump(h, 200 * H_MS);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_RAW)), 2);
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_QUARANTINE)), 0);
    }
    h_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delete_and_write_again),
        cmocka_unit_test(envelope_must_say_so),
        cmocka_unit_test(replica_returns_with_old_points),
        cmocka_unit_test(settling_seals_markers),
        cmocka_unit_test(quarantine_is_deleted_and_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
