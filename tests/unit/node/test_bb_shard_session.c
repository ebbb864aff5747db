// SPDX-License-Identifier: Apache-2.0
// Sessions over shards: what a client wrote or saw through one replica, another one that lags
// behind serves at `one` only when it has caught up so far.
#include "protocol/bb_session_token.h"
#include "tests/unit/node/shard_harness.h"

#define S_NODES      3
#define S_PARTITIONS 8

static uint64_t s_write(h_cluster_t *self, uint32_t node, bb_level_t level, h_batch_t what)
{
    bb_message_t message = {.kind = BB_KIND_WRITE,
                            .epoch = TEST_EPOCH,
                            .timeout_ns = 2 * BB_NS_PER_S,
                            .write = {.level = level, .wants_session = true}};
    return h_request(self, node, &message, h_batch(self, what));
}

static uint64_t s_read(h_cluster_t *self, uint32_t node, bb_level_t level, bb_slice_t session)
{
    uint32_t partitions[S_PARTITIONS];
    for (uint32_t i = 0; i < S_PARTITIONS; i++) {
        partitions[i] = i;
    }
    bb_message_t message = {.kind = BB_KIND_QUERY,
                            .epoch = TEST_EPOCH,
                            .timeout_ns = 2 * BB_NS_PER_S,
                            .query = {.mode = BB_QUERY_RAW,
                                      .level = level,
                                      .from_wall_ns = BB_TIME_WALL_NS_FIRST,
                                      .to_wall_ns = BB_TIME_WALL_NS_LIMIT,
                                      .partition_count = S_PARTITIONS,
                                      .partitions = partitions,
                                      .session = session,
                                      .wants_session = true}};
    return h_request(self, node, &message, NULL);
}

static void s_block(h_cluster_t *self, uint32_t node, bool is_blocked)
{
    for (uint32_t other = 0; other < S_NODES; other++) {
        self->is_blocked[node][other] = self->is_blocked[other][node] = is_blocked;
    }
}

static uint32_t s_dot_count(bb_slice_t session)
{
    bb_session_token_t token;
    memset(&token, 0, sizeof token);
    assert_int_equal(bb_session_token_decode(&token, session), BB_OK);
    uint32_t count = 0;
    for (uint32_t i = 0; i < token.stream_count; i++) {
        count += token.streams[i].range_count;
    }
    bb_session_token_clear(&token);
    return count;
}

// Goal: an acknowledgement names the dots of the batch, one a part, only when they are wanted.
static void an_answer_names_its_dots(void **state)
{
    (void)state;
    h_cluster_t *cluster = h_new(S_NODES, S_NODES, S_PARTITIONS, NULL);
    uint64_t plain = h_write(cluster, 0, BB_LEVEL_ONE, (h_batch_t){.first = 0, .limit = 1});
    uint64_t one = s_write(cluster, 0, BB_LEVEL_ONE, (h_batch_t){.first = 0, .limit = 1});
    h_pump(cluster, 50 * H_MS);
    assert_int_equal(h_answered(cluster, plain, BB_KIND_WRITE_REPLY)->write_reply.session.length,
                     0);
    bb_session_token_t token = {0};
    assert_int_equal(
        bb_session_token_decode(&token,
                                h_answered(cluster, one, BB_KIND_WRITE_REPLY)->write_reply.session),
        BB_OK);
    assert_int_equal(token.stream_count, 1);
    assert_true(bb_stream_is_equal(&token.streams[0].stream, &cluster->nodes[0].stream));
    assert_int_equal(token.streams[0].range_count, 1);
    assert_int_equal(token.streams[0].ranges[0].first_seq, 2); // the second chunk of the partition
    assert_int_equal(token.streams[0].ranges[0].last_seq, 2);
    bb_session_token_clear(&token);
    h_free(&cluster);
}

// Goal: read your writes. Method: what is written at `one` is kept from a replica; without the
// session that serves nothing, with it it waits, asks, pulls, and serves everything.
static void reads_what_it_wrote(void **state)
{
    (void)state;
    h_cluster_t *cluster = h_new(S_NODES, S_NODES, S_PARTITIONS, NULL);
    s_block(cluster, 2, true);
    uint64_t write = s_write(cluster, 0, BB_LEVEL_ONE, (h_batch_t){.first = 0, .limit = 20});
    h_pump(cluster, 50 * H_MS);
    bb_slice_t session = h_answered(cluster, write, BB_KIND_WRITE_REPLY)->write_reply.session;

    uint64_t plain = s_read(cluster, 2, BB_LEVEL_ONE, bb_slice(NULL, 0));
    assert_int_equal(h_rows(cluster, plain), 0);
    uint64_t read = s_read(cluster, 2, BB_LEVEL_ONE, session);
    h_pump(cluster, 20 * H_MS);
    assert_false(h_is_answered(cluster, read));
    assert_int_equal(h_stats(cluster, 2).sessions_waited, 1);
    s_block(cluster, 2, false);
    h_pump(cluster, 400 * H_MS);
    assert_int_equal(h_rows(cluster, read), 20);
    assert_int_equal(h_answered(cluster, read, BB_KIND_RESULT)->result.missing_count, 0);

    uint64_t again = s_read(cluster, 2, BB_LEVEL_ONE, session); // nothing is waited for now
    assert_int_equal(h_rows(cluster, again), 20);
    assert_int_equal(h_stats(cluster, 2).sessions_waited, 1);
    h_free(&cluster);
}

// Goal: monotonic reads. Method: the answer of a replica that has more names it; the session that
// has read it does not go back.
static void never_goes_back(void **state)
{
    (void)state;
    h_cluster_t *cluster = h_new(S_NODES, S_NODES, S_PARTITIONS, NULL);
    s_block(cluster, 2, true);
    uint64_t write = s_write(cluster, 0, BB_LEVEL_ONE, (h_batch_t){.first = 0, .limit = 20});
    h_pump(cluster, 50 * H_MS);
    const bb_write_reply_t *reply = &h_answered(cluster, write, BB_KIND_WRITE_REPLY)->write_reply;
    uint32_t part_count = s_dot_count(reply->session); // not all partitions have a battery
    assert_true(part_count > 4);
    uint64_t read = s_read(cluster, 1, BB_LEVEL_ONE, bb_slice(NULL, 0));
    assert_int_equal(h_rows(cluster, read), 20);
    bb_slice_t session = h_answered(cluster, read, BB_KIND_RESULT)->result.session;
    assert_int_equal(s_dot_count(session), part_count);

    // What lacks is named when it does not come within half a second, and the rest is served.
    uint64_t late = s_read(cluster, 2, BB_LEVEL_ONE, session);
    h_pump(cluster, 450 * H_MS);
    assert_false(h_is_answered(cluster, late));
    h_pump(cluster, 100 * H_MS);
    const bb_result_t *result = &h_answered(cluster, late, BB_KIND_RESULT)->result;
    assert_int_equal(result->missing_count, part_count);
    assert_int_equal(result->missing[0].error, BB_ERR_BEHIND);
    s_block(cluster, 2, false);
    h_pump(cluster, 2000 * H_MS);
    uint64_t whole = s_read(cluster, 2, BB_LEVEL_ONE, session);
    assert_int_equal(h_rows(cluster, whole), 20);

    // What everybody is known to hold is no part of a session.
    result = &h_answered(cluster, whole, BB_KIND_RESULT)->result;
    assert_int_equal(s_dot_count(result->session), 0);
    assert_int_equal(result->session.length, 25);
    h_free(&cluster);
}

// Goal: a session that overflowed is served by a quorum; one that cannot be read is refused.
static void overflowed_and_damaged(void **state)
{
    (void)state;
    h_cluster_t *cluster = h_new(S_NODES, S_NODES, S_PARTITIONS, NULL);
    bb_session_token_t token = {.is_overflowed = true};
    uint8_t *data;
    size_t length;
    bb_session_token_encode(&token, &data, &length);
    uint64_t read = s_read(cluster, 1, BB_LEVEL_ONE, bb_slice(data, length));
    assert_false(h_is_answered(cluster, read));
    h_pump(cluster, 50 * H_MS);
    assert_int_equal(h_answered(cluster, read, BB_KIND_RESULT)->result.missing_count, 0);
    s_block(cluster, 1, true);
    read = s_read(cluster, 1, BB_LEVEL_ONE, bb_slice(data, length));
    h_pump(cluster, 2000 * H_MS);
    assert_int_equal(h_answered(cluster, read, BB_KIND_RESULT)->result.missing_count, S_PARTITIONS);
    data[10] ^= 1;
    read = s_read(cluster, 1, BB_LEVEL_ONE, bb_slice(data, length));
    h_expect_error(cluster, read, BB_ERR_MESSAGE_CORRUPT);
    free(data);
    h_free(&cluster);
}

// Goal: a replica that does not count serves no session, though it serves `one`: what everybody
// held is no part of a token, and its disk may have lost it. Reads that wait there are refused,
// too, and writes whose dots are wanted: its stream may turn out to be forgotten.
static void a_replica_that_does_not_count(void **state)
{
    (void)state;
    h_cluster_t *cluster = h_new(S_NODES, S_NODES, S_PARTITIONS, NULL);
    s_block(cluster, 2, true);
    uint64_t write = s_write(cluster, 0, BB_LEVEL_ONE, (h_batch_t){.first = 0, .limit = 20});
    h_pump(cluster, 50 * H_MS);
    bb_slice_t session = h_answered(cluster, write, BB_KIND_WRITE_REPLY)->write_reply.session;
    uint64_t waiting = s_read(cluster, 2, BB_LEVEL_ONE, session);
    bb_shard_set_standing(cluster->nodes[2].shard, h_time(cluster), BB_STANDING_REBUILDING);
    uint64_t plain = h_query(cluster, 2, BB_LEVEL_ONE, BB_QUERY_RAW);
    assert_int_equal(h_rows(cluster, plain), 0);
    uint64_t fresh = s_read(cluster, 2, BB_LEVEL_ONE, bb_slice(NULL, 0));
    h_expect_error(cluster, fresh, BB_ERR_NOT_COUNTING);
    h_pump(cluster, 600 * H_MS);
    h_expect_error(cluster, waiting, BB_ERR_NOT_COUNTING);
    uint64_t wanted = s_write(cluster, 2, BB_LEVEL_ONE, (h_batch_t){.first = 40, .limit = 60});
    h_expect_error(cluster, wanted, BB_ERR_NOT_COUNTING);
    uint64_t unwanted = h_write(cluster, 2, BB_LEVEL_ONE, (h_batch_t){.first = 40, .limit = 60});
    h_pump(cluster, 50 * H_MS);
    h_answered(cluster, unwanted, BB_KIND_WRITE_REPLY);
    h_free(&cluster);
}

static void s_stand(h_cluster_t *self, uint32_t node, bb_standing_t standing)
{
    bb_shard_set_standing(self->nodes[node].shard, h_time(self), standing);
    for (uint32_t other = 0; other < S_NODES; other++) {
        if (other != node) {
            bb_shard_peer_standing(self->nodes[other].shard, h_time(self), node,
                                   standing == BB_STANDING_COUNTING);
        }
    }
}

// Goal: what a replica holds before its start is registered is no reason to leave something out of
// a page: if its disk is lost then, the next one is taken for new, counts at once and serves
// sessions. Method: all hold what a session has read, one without having counted; that one's disk
// is lost.
static void seen_before_a_replica_counted(void **state)
{
    (void)state;
    h_cluster_t *cluster = h_new(S_NODES, S_NODES, S_PARTITIONS, NULL);
    s_stand(cluster, 2, BB_STANDING_JOINING);
    uint64_t write =
        s_write(cluster, 0, BB_LEVEL_LOCAL_QUORUM, (h_batch_t){.first = 0, .limit = 20});
    h_pump(cluster, 1500 * H_MS);
    uint32_t part_count =
        s_dot_count(h_answered(cluster, write, BB_KIND_WRITE_REPLY)->write_reply.session);
    assert_int_equal(h_rows(cluster, h_query(cluster, 2, BB_LEVEL_ONE, BB_QUERY_RAW)), 20);
    uint64_t read = s_read(cluster, 1, BB_LEVEL_ONE, bb_slice(NULL, 0));
    assert_int_equal(h_rows(cluster, read), 20);
    bb_slice_t session = h_answered(cluster, read, BB_KIND_RESULT)->result.session;
    assert_int_equal(s_dot_count(session), part_count);

    h_crash(cluster, 2);
    bb_sim_disk_destroy(&cluster->nodes[2].disk);
    cluster->nodes[2].disk = bb_sim_disk_new();
    h_restart(cluster, 2, 120);
    s_stand(cluster, 2, BB_STANDING_COUNTING);
    uint64_t late = s_read(cluster, 2, BB_LEVEL_ONE, session);
    assert_false(h_is_answered(cluster, late));
    h_pump(cluster, 2000 * H_MS);
    assert_int_equal(h_rows(cluster, late), 20);

    // Once it has counted, what it holds is safe with it.
    read = s_read(cluster, 1, BB_LEVEL_ONE, bb_slice(NULL, 0));
    assert_int_equal(s_dot_count(h_answered(cluster, read, BB_KIND_RESULT)->result.session), 0);
    h_free(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_names_its_dots),
        cmocka_unit_test(reads_what_it_wrote),
        cmocka_unit_test(never_goes_back),
        cmocka_unit_test(overflowed_and_damaged),
        cmocka_unit_test(a_replica_that_does_not_count),
        cmocka_unit_test(seen_before_a_replica_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
