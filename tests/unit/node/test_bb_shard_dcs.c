// SPDX-License-Identifier: Apache-2.0
// Shards in two data centres: a chunk crosses once, relays may fail, and the far side never makes
// the near side wait.
#include "tests/unit/node/shard_harness.h"

#define NEAR 3u // nodes 0 to 2 are dc1, 3 to 5 dc2

static h_cluster_t *s_new(const bb_shard_options_t *tuning)
{
    h_cluster_t *h = h_new_dcs(NEAR, 3, 3, 8, tuning);
    h_pump(h, 100 * H_MS);
    memset(h->bytes, 0, sizeof h->bytes);
    return h;
}

static uint64_t s_crossed(const h_cluster_t *h, uint32_t from)
{
    uint64_t bytes = 0;
    for (uint32_t to = NEAR; to < h->node_count; to++) {
        bytes += h->bytes[from][to];
    }
    return bytes;
}

static h_batch_t s_batch(uint32_t number)
{
    return (h_batch_t){.first = 20 * number, .limit = 20 * number + 20};
}

static uint64_t s_batch_bytes(const h_cluster_t *h, uint32_t number)
{
    bb_buffer_t *batch = h_batch(h, s_batch(number));
    uint64_t bytes = bb_buffer_slice(batch).length;
    bb_buffer_drop(&batch);
    return bytes;
}

// The far node that got the last batch from node 0.
static uint32_t s_relay(const h_cluster_t *h, const uint64_t *before)
{
    for (uint32_t to = NEAR; to < h->node_count; to++) {
        if (h->bytes[0][to] != before[to]) {
            return to;
        }
    }
    fail_msg("nothing crossed");
    return 0;
}

// Goal: healthy, each batch crosses exactly once, all replicas hold and acknowledge it, and the
// relays take turns.
static void a_chunk_crosses_once(void **state)
{
    (void)state;
    h_cluster_t *h = s_new(NULL);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < 12; i++) {
        bytes += s_batch_bytes(h, i);
        uint64_t ticket = h_write(h, 0, BB_LEVEL_ALL, s_batch(i));
        h_pump(h, 10 * H_MS);
        h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    }
    assert_int_equal(s_crossed(h, 0), bytes);
    assert_int_equal(h_stats(h, 0).dc_live_bytes_out[1], bytes);
    for (uint32_t node = NEAR; node < h->node_count; node++) {
        assert_true(h->bytes[0][node] > 0);
        assert_int_equal(h_stats(h, node).batches_forwarded, 8); // 4 batches to 2 others
    }
    h_pump(h, 2 * BB_NS_PER_S);
    assert_int_equal(s_crossed(h, 0) + s_crossed(h, 1) + s_crossed(h, 2), bytes);
    assert_int_equal(h_stats(h, 0).relays_passed_by, 0);
    assert_int_equal(h_stats(h, 3).chunks_pulled, 0);
    h_free(&h);
}

// Goal: a relay that got nothing, or says nothing, is passed by after 200 ms; each_quorum is
// reached then and not by a pull.
static void a_silent_relay_is_passed_by(void **state)
{
    (void)state;
    h_cluster_t *h = s_new(NULL);
    h->is_blocked[0][3] = h->is_blocked[0][4] = h->is_blocked[0][5] = true;
    uint64_t ticket = h_write(h, 0, BB_LEVEL_EACH_QUORUM, s_batch(0));
    uint64_t nothing[H_NODES_MAX] = {0};
    uint32_t relay = s_relay(h, nothing);
    for (uint32_t node = NEAR; node < h->node_count; node++) {
        h->is_blocked[0][node] = node == relay;
    }
    h_pump(h, 190 * H_MS);
    assert_false(h_is_answered(h, ticket));
    h_pump(h, 30 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    assert_int_equal(h_stats(h, 0).relays_passed_by, 1);
    assert_int_equal(
        h_stats(h, 3).chunks_pulled + h_stats(h, 4).chunks_pulled + h_stats(h, 5).chunks_pulled, 0);
    // For a while it is not chosen: nobody waits again.
    for (uint32_t i = 1; i < 4; i++) {
        ticket = h_write(h, 0, BB_LEVEL_EACH_QUORUM, s_batch(i));
        h_pump(h, 20 * H_MS);
        h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    }
    h_free(&h);
}

// Goal: a relay that dies with chunks that it has not sent on is passed by as soon as it is known.
static void a_dead_relay_is_passed_by(void **state)
{
    (void)state;
    h_cluster_t *h = s_new(NULL);
    uint64_t nothing[H_NODES_MAX] = {0};
    uint64_t ticket = h_write(h, 0, BB_LEVEL_EACH_QUORUM, s_batch(0));
    uint32_t relay = s_relay(h, nothing);
    h_crash(h, relay); // with the message still on its way
    h_pump(h, 20 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    assert_int_equal(h_stats(h, 0).relays_passed_by, 1);
    h_free(&h);
}

// Goal: a relay sends on before it syncs, and the others acknowledge to the coordinator: one that
// cannot store anything costs no time.
static void a_relay_with_a_full_head_sends_on(void **state)
{
    (void)state;
    h_cluster_t *h = s_new(NULL);
    for (uint32_t i = 0; i < 6; i++) {
        uint64_t before[H_NODES_MAX];
        memcpy(before, h->bytes[0], sizeof before);
        uint64_t ticket = h_write(h, 0, BB_LEVEL_EACH_QUORUM, s_batch(i));
        uint32_t relay = s_relay(h, before);
        bb_sim_disk_fail(h->nodes[relay].disk, BB_SIM_WRITE, 1, BB_ERR_DISK_FULL);
        h_pump(h, 20 * H_MS);
        h_answered(h, ticket, BB_KIND_WRITE_REPLY);
        bb_sim_disk_fail(h->nodes[relay].disk, BB_SIM_WRITE, 0, BB_ERR_IO);
        h_pump(h, 3 * BB_NS_PER_S); // it pulls what it could not keep
    }
    h_pump(h, 3 * BB_NS_PER_S);
    assert_true(h_stats(h, 3).chunks_pulled > 0);
    h_free(&h);
}

// Goal: only a coordinator elsewhere may have something sent on, and only within the relay's data
// centre, so that nothing goes round in circles.
static void who_may_ask_for_it(void **state)
{
    (void)state;
    h_cluster_t *h = s_new(NULL);
    static const struct {
        uint32_t from, to;
        uint16_t forward;
    } bad[] = {{4, 3, 5}, {0, 3, 3}, {0, 3, 1}, {0, 3, 17}};
    h->blocked_kind = (bb_kind_t)0;
    uint64_t ticket = h_write(h, 0, BB_LEVEL_ONE, s_batch(0));
    assert_true(h->message_count > 0);
    bb_buffer_t *chunks = bb_buffer_keep(h->messages[0].chunks);
    bb_buffer_t *body = bb_buffer_keep(h->messages[0].body);
    h_pump(h, 20 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        uint64_t bad_count = h_stats(h, bad[i].to).peer_messages_bad;
        uint64_t sent = h_stats(h, bad[i].to).batches_forwarded;
        bb_message_t message = {.kind = BB_KIND_REPLICATE,
                                .epoch = TEST_EPOCH,
                                .replicate = {.forward_count = 1, .forward = &bad[i].forward}};
        bb_shard_peer(h->nodes[bad[i].to].shard, h_time(h), bad[i].from, &message, chunks, body);
        assert_int_equal(h_stats(h, bad[i].to).peer_messages_bad, bad_count + 1);
        assert_int_equal(h_stats(h, bad[i].to).batches_forwarded, sent);
    }
    bb_buffer_drop(&chunks);
    bb_buffer_drop(&body);
    h_free(&h);
}

// Goal: with the far data centre cut off, before anybody has noticed and after, writes and reads at
// local_quorum take no longer, and what is sent into the void is bounded. Method: the same
// requests with and without the cut; ten times as many bytes as may be unacknowledged.
static void the_far_side_never_delays_the_near_one(void **state)
{
    (void)state;
    bb_shard_options_t tuning = {.peer_unacked_bytes_max = 700};
    h_cluster_t *h = s_new(&tuning);
    for (uint32_t a = 0; a < NEAR; a++) {
        for (uint32_t b = NEAR; b < h->node_count; b++) {
            h->is_blocked[a][b] = h->is_blocked[b][a] = true;
        }
    }
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < 25; i++) {
        if (i == 15) {
            for (uint32_t b = NEAR; b < h->node_count; b++) {
                h_tell(h, 0, b, false);
            }
        }
        bytes += s_batch_bytes(h, i);
        uint64_t write = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, s_batch(i));
        uint64_t read = h_query(h, 0, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_LAST);
        h_pump(h, 10 * H_MS); // one step: what the near side needs without any waiting
        h_answered(h, write, BB_KIND_WRITE_REPLY);
        assert_int_equal(h_answered(h, read, BB_KIND_RESULT)->result.missing_count, 0);
    }
    assert_true(bytes > 10 * tuning.peer_unacked_bytes_max);
    // Each node's debts stop at the bound and one batch; then copies go out a second time.
    assert_true(s_crossed(h, 0) < 2 * 3 * (tuning.peer_unacked_bytes_max + bytes / 25));
    bb_shard_stats_t stats = h_stats(h, 0);
    assert_int_equal(stats.dc_lag_chunks[0], 0); // our own
    assert_in_range(stats.dc_lag_chunks[1], 25, 25 * 8);
    assert_in_range(stats.dc_lag_ns[1], 200 * H_MS, 250 * H_MS + H_MS); // the first batch
    uint64_t refused = h_write(h, 0, BB_LEVEL_EACH_QUORUM, s_batch(30));
    const bb_error_reply_t *error = &h_answered(h, refused, BB_KIND_ERROR)->error;
    assert_int_equal(error->code, BB_ERR_UNAVAILABLE);
    assert_non_null(strstr((const char *)error->detail.data, "dc2 has 0 of the 2 replicas"));
    memset(h->is_blocked, 0, sizeof h->is_blocked);
    for (uint32_t b = NEAR; b < h->node_count; b++) {
        h_tell(h, 0, b, true);
    }
    h_pump(h, 5 * BB_NS_PER_S);
    stats = h_stats(h, 0);
    assert_int_equal(stats.dc_lag_chunks[1] + stats.dc_lag_ns[1], 0);
    uint64_t read = h_query(h, 4, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_LAST);
    h_pump(h, 20 * H_MS);
    assert_int_equal(h_rows(h, read), 25 * 20);
    h_free(&h);
}

// Goal: what the far side missed while it was away crosses the link about once, not once for each
// of its replicas. Method: bytes that cross after the cut against those that were written in it.
static void after_an_outage_the_link_is_crossed_once(void **state)
{
    (void)state;
    h_cluster_t *h = h_new_dcs(NEAR, 3, 3, 1, NULL); // one partition: batches stay whole
    h_pump(h, 100 * H_MS);
    for (uint32_t a = 0; a < NEAR; a++) {
        for (uint32_t b = NEAR; b < h->node_count; b++) {
            h->is_blocked[a][b] = h->is_blocked[b][a] = true;
            h_tell(h, a, b, false);
            h_tell(h, b, a, false);
        }
    }
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < 30; i++) {
        bytes += s_batch_bytes(h, i);
        h_write(h, i % NEAR, BB_LEVEL_LOCAL_QUORUM, s_batch(i));
        h_pump(h, 50 * H_MS);
    }
    assert_int_equal(s_crossed(h, 0) + s_crossed(h, 1) + s_crossed(h, 2), 0);
    memset(h->is_blocked, 0, sizeof h->is_blocked);
    for (uint32_t a = 0; a < NEAR; a++) {
        for (uint32_t b = NEAR; b < h->node_count; b++) {
            h_tell(h, a, b, true);
            h_tell(h, b, a, true);
        }
    }
    h_pump(h, 6 * BB_NS_PER_S);
    for (uint32_t node = NEAR; node < h->node_count; node++) {
        uint64_t read = h_query(h, node, BB_LEVEL_ONE, BB_QUERY_LAST);
        h_pump(h, 20 * H_MS);
        assert_int_equal(h_rows(h, read), 30 * 20);
    }
    uint64_t crossed = s_crossed(h, 0) + s_crossed(h, 1) + s_crossed(h, 2);
    assert_true(crossed <= bytes + bytes / 10);
    h_free(&h);
}

// Goal: under a cap no more than it crosses, live or by pulls, the near side is not delayed, and in
// the end the far side has everything.
static void a_cap_on_the_link(void **state)
{
    (void)state;
    const uint64_t cap = 2000; // of each node
    bb_shard_options_t tuning = {.dc_link_bytes_per_s = cap};
    h_cluster_t *h = s_new(&tuning);
    int64_t begun_ns = h->now_ns;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < 20; i++) {
        bytes += s_batch_bytes(h, i);
        uint64_t write = h_write(h, 0, BB_LEVEL_LOCAL_QUORUM, s_batch(i));
        h_pump(h, 10 * H_MS);
        h_answered(h, write, BB_KIND_WRITE_REPLY);
    }
    assert_true(h_stats(h, 0).chunks_held_by_cap > 0);
    assert_true(h_stats(h, 0).dc_live_bytes_out[1] > 0);
    for (uint32_t s = 0; s < 30; s++) {
        h_pump(h, BB_NS_PER_S);
        for (uint32_t node = 0; node < NEAR; node++) {
            double seconds = (double)(h->now_ns - begun_ns) / BB_NS_PER_S;
            uint64_t most = (uint64_t)((double)cap * (seconds + 0.5)) + 2 * (bytes / 20 + 800);
            assert_true(s_crossed(h, node) <= most);
        }
    }
    assert_true(h_stats(h, 0).dc_repair_bytes_out[1] > 0);
    uint64_t read = h_query(h, 4, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_LAST);
    h_pump(h, 20 * H_MS);
    assert_int_equal(h_rows(h, read), 20 * 20);
    h_free(&h);
}

// Goal: a relay with several stores sends on what each of them got of a batch, so that others get
// it in parts: each is acknowledged as what it is, and nobody is at fault. Simulator, seed 342.
static void parts_come_by_several_stores(void **state)
{
    (void)state;
    h_cluster_t *h = s_new(NULL);
    h->split_from = NEAR;
    for (uint32_t i = 0; i < 6; i++) {
        uint64_t ticket = h_write(h, 0, BB_LEVEL_ALL, s_batch(i));
        h_pump(h, 10 * H_MS);
        h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    }
    for (uint32_t i = 0; i < h->node_count; i++) {
        assert_int_equal(h_stats(h, i).peer_messages_bad, 0);
    }
    h_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_crosses_once),
        cmocka_unit_test(parts_come_by_several_stores),
        cmocka_unit_test(a_silent_relay_is_passed_by),
        cmocka_unit_test(a_dead_relay_is_passed_by),
        cmocka_unit_test(a_relay_with_a_full_head_sends_on),
        cmocka_unit_test(who_may_ask_for_it),
        cmocka_unit_test(the_far_side_never_delays_the_near_one),
        cmocka_unit_test(after_an_outage_the_link_is_crossed_once),
        cmocka_unit_test(a_cap_on_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
