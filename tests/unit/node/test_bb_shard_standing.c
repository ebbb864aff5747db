// SPDX-License-Identifier: Apache-2.0
// A shard whose node does not count: what it says is counted by nobody, what it holds is as good as
// any, and what it refuses has a name. Shards run on simulated disks, without threads.
#include "tests/unit/node/shard_harness.h"

static void s_stand(h_cluster_t *h, uint32_t node, bb_standing_t standing)
{
    bb_shard_set_standing(h->nodes[node].shard, h_time(h), standing);
}

static void s_cut(h_cluster_t *h, uint32_t node, bool is_cut)
{
    for (uint32_t i = 0; i < h->node_count; i++) {
        h->is_blocked[node][i] = h->is_blocked[i][node] = is_cut;
    }
}

static const bb_standing_t s_without[] = {BB_STANDING_JOINING, BB_STANDING_REBUILDING,
                                          BB_STANDING_FENCED};

// Goal: the acknowledgement of a replica without standing is no copy for a level, though the chunk
// is stored; from when it counts it says so again, and then it is one.
static void acknowledgements_count_with_standing(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 100 * H_MS);
    s_cut(h, 2, true);
    s_stand(h, 1, BB_STANDING_JOINING);
    uint64_t ticket = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 9});
    h_pump(h, 1000 * H_MS);
    assert_false(h_is_answered(h, ticket));
    assert_true(h_stats(h, 1).chunks_replicated_in > 0);
    s_stand(h, 1, BB_STANDING_COUNTING);
    h_pump(h, 50 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    h_free(&h);
}

// Goal: the have-set of a replica without standing answers no fence: the read ends by its deadline,
// or at once when the coordinator knows; with standing it is answered.
static void fences_want_standing(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 9});
    h_pump(h, 100 * H_MS);
    s_cut(h, 2, true);
    s_stand(h, 1, BB_STANDING_REBUILDING);
    uint64_t slow = h_query(h, 0, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_RAW);
    h_pump(h, 1000 * H_MS);
    assert_false(h_is_answered(h, slow));
    h_pump(h, 700 * H_MS);
    const bb_message_t *answer = h_answered(h, slow, BB_KIND_RESULT);
    assert_int_equal(answer->result.missing_count, 8);
    assert_int_equal(answer->result.missing[0].error, BB_ERR_TIMEOUT);

    bb_shard_peer_standing(h->nodes[0].shard, h_time(h), 1, false);
    h_tell(h, 0, 2, false);
    uint64_t fast = h_query(h, 0, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_RAW);
    h_pump(h, 20 * H_MS);
    answer = h_answered(h, fast, BB_KIND_RESULT);
    assert_int_equal(answer->result.missing[0].error, BB_ERR_UNAVAILABLE);
    h_expect_error(h, h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 9}),
                   BB_ERR_UNAVAILABLE);

    s_stand(h, 1, BB_STANDING_COUNTING);
    bb_shard_peer_standing(h->nodes[0].shard, h_time(h), 1, true);
    uint64_t good = h_query(h, 0, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_RAW);
    h_pump(h, 1200 * H_MS);
    assert_int_equal(h_rows(h, good), 9);
    assert_int_equal(h_answered(h, good, BB_KIND_RESULT)->result.missing_count, 0);
    h_free(&h);
}

// Goal: without standing a node coordinates and serves `one` and nothing above, and fenced not even
// that; each refusal sends the client elsewhere.
static void refuses_above_one(void **state)
{
    (void)state;
    assert_int_equal(bb_error_retry(BB_ERR_NOT_COUNTING), BB_RETRY_ELSEWHERE);
    for (uint32_t i = 0; i < BB_COUNT_OF(s_without); i++) {
        h_cluster_t *h = h_new(3, 3, 8, NULL);
        h_pump(h, 100 * H_MS);
        s_stand(h, 0, s_without[i]);
        assert_int_equal(bb_shard_standing(h->nodes[0].shard), s_without[i]);
        for (int level = BB_LEVEL_ONE + 1; level <= BB_LEVEL_ALL; level++) {
            h_expect_error(h, h_write(h, 0, (bb_level_t)level, (h_batch_t){.limit = 9}),
                           BB_ERR_NOT_COUNTING);
            h_expect_error(h, h_query(h, 0, (bb_level_t)level, BB_QUERY_RAW), BB_ERR_NOT_COUNTING);
        }
        uint64_t write = h_write(h, 0, BB_LEVEL_ONE, (h_batch_t){.limit = 9});
        h_pump(h, 50 * H_MS);
        uint64_t read = h_query(h, 0, BB_LEVEL_ONE, BB_QUERY_RAW);
        h_pump(h, 50 * H_MS);
        if (s_without[i] == BB_STANDING_FENCED) {
            h_expect_error(h, write, BB_ERR_NOT_COUNTING);
            h_expect_error(h, read, BB_ERR_NOT_COUNTING);
        } else {
            h_answered(h, write, BB_KIND_WRITE_REPLY);
            assert_int_equal(h_rows(h, read), 9);
        }
        h_free(&h);
    }
}

// Goal: what is under way when the standing is lost is not acknowledged by the lost weight: writes
// end as unknown at once, reads that wait behind a fence are refused by name.
static void open_requests_end(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 100 * H_MS);
    s_cut(h, 0, true);
    uint64_t write = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.limit = 9});
    uint64_t read = h_query(h, 0, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_RAW);
    h_pump(h, 50 * H_MS);
    assert_false(h_is_answered(h, write) || h_is_answered(h, read));
    s_stand(h, 0, BB_STANDING_FENCED);
    s_cut(h, 0, false);
    h_pump(h, 2000 * H_MS);
    h_expect_error(h, write, BB_ERR_TIMEOUT);
    h_expect_error(h, read, BB_ERR_NOT_COUNTING);
    h_free(&h);
}

// Goal: chunks and have-sets of a replica without standing are as good as any: they are pulled, and
// lag and caught-up are told as ever.
static void data_needs_no_standing(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_pump(h, 100 * H_MS);
    s_stand(h, 1, BB_STANDING_JOINING);
    s_cut(h, 2, true);
    uint64_t ticket = h_write(h, 1, BB_LEVEL_ONE, (h_batch_t){.limit = 9});
    h_pump(h, 50 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    s_cut(h, 2, false);
    h_pump(h, 4000 * H_MS);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(h_stats(h, i).is_caught_up);
        assert_int_equal(h_rows(h, h_query(h, i, BB_LEVEL_ONE, BB_QUERY_RAW)), 9);
        assert_int_equal(h_stats(h, 0).lag_chunks[i], 0);
    }
    h_free(&h);
}

// Goal: an empty disk is made good when it holds what a majority of the others has, and not before:
// one of two is none, and one that does not count itself is no witness.
static void rebuilt_from_a_majority(void **state)
{
    (void)state;
    h_cluster_t *h = h_new(3, 3, 8, NULL);
    h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.limit = 9});
    h_pump(h, 100 * H_MS);
    h_crash(h, 1);
    bb_sim_disk_destroy(&h->nodes[1].disk);
    h->nodes[1].disk = bb_sim_disk_new();
    s_cut(h, 2, true);
    h_restart(h, 1, 120);
    s_stand(h, 1, BB_STANDING_REBUILDING);
    assert_false(bb_shard_is_rebuilt(h->nodes[1].shard));
    h_pump(h, 2000 * H_MS);
    assert_int_equal(h_rows(h, h_query(h, 1, BB_LEVEL_ONE, BB_QUERY_RAW)), 9);
    assert_false(bb_shard_is_rebuilt(h->nodes[1].shard));
    s_stand(h, 2, BB_STANDING_JOINING);
    s_cut(h, 2, false);
    h_pump(h, 4000 * H_MS);
    assert_false(bb_shard_is_rebuilt(h->nodes[1].shard));
    s_stand(h, 2, BB_STANDING_COUNTING);
    h_pump(h, 3000 * H_MS);
    assert_true(bb_shard_is_rebuilt(h->nodes[1].shard));
    h_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledgements_count_with_standing),
        cmocka_unit_test(fences_want_standing),
        cmocka_unit_test(refuses_above_one),
        cmocka_unit_test(open_requests_end),
        cmocka_unit_test(data_needs_no_standing),
        cmocka_unit_test(rebuilt_from_a_majority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
