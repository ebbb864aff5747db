// SPDX-License-Identifier: Apache-2.0
// A node that was away catches up while clients write: what it may take, and others give, is
// bounded while live batches wait, never nothing, and free when they do not. Shards run on
// simulated disks.
#include "tests/unit/node/shard_harness.h"

#define AWAY    2u
#define FLOOR   1000u // bytes a second
#define MISSED  150u  // batches
#define SECONDS 6

static h_batch_t s_batch(uint32_t number)
{
    return (h_batch_t){.first = 20 * number, .limit = 20 * number + 20};
}

// Three nodes, the last of which has missed some batches and is just back.
static h_cluster_t *s_new(uint64_t repair_bytes_per_s)
{
    bb_shard_options_t tuning = {.repair_bytes_per_s = repair_bytes_per_s};
    h_cluster_t *h = h_new(3, 3, 1, &tuning);
    h_pump(h, 100 * H_MS);
    for (uint32_t other = 0; other < AWAY; other++) {
        h->is_blocked[AWAY][other] = h->is_blocked[other][AWAY] = true;
        h_tell(h, other, AWAY, false);
        h_tell(h, AWAY, other, false);
    }
    for (uint32_t i = 0; i < MISSED; i++) {
        h_write(h, i % 2, BB_LEVEL_LOCAL_QUORUM, s_batch(i));
        h_pump(h, 2 * H_MS);
    }
    memset(h->is_blocked, 0, sizeof h->is_blocked);
    for (uint32_t other = 0; other < AWAY; other++) {
        h_tell(h, other, AWAY, true);
        h_tell(h, AWAY, other, true);
    }
    return h;
}

// Goal: while live batches wait, what is taken stays within the floor, 4 s of it, a quarter of what
// is written and the last piece; it goes on all the time; every write is answered. When they
// no longer wait the rest comes at once, and nothing is missing.
static void repair_gives_way_and_goes_on(void **state)
{
    (void)state;
    h_cluster_t *h = s_new(FLOOR);
    uint64_t live = 0, taken_before = 0;
    int64_t begun_ns = h->now_ns;
    uint32_t number = MISSED;
    for (uint32_t second = 0; second < SECONDS; second++) {
        for (uint32_t i = 0; i < 10; i++, number++) {
            for (uint32_t node = 0; node < h->node_count; node++) {
                bb_shard_waited(h->nodes[node].shard, h->now_ns, BB_NS_PER_S);
            }
            bb_buffer_t *batch = h_batch(h, s_batch(number));
            live += bb_buffer_slice(batch).length + 64; // its dots come on top
            bb_buffer_drop(&batch);
            uint64_t write = h_write(h, number % 2, BB_LEVEL_LOCAL_QUORUM, s_batch(number));
            h_pump(h, 100 * H_MS);
            h_answered(h, write, BB_KIND_WRITE_REPLY);
        }
        bb_shard_stats_t stats = h_stats(h, AWAY);
        double seconds = (double)(h->now_ns - begun_ns) / BB_NS_PER_S;
        double most = FLOOR * (seconds + 4) + (double)live / 4 + FLOOR;
        assert_true((double)stats.repair_bytes_taken <= most);
        assert_true(stats.repair_bytes_taken >= taken_before + FLOOR / 2);
        assert_true(stats.is_pressed && !stats.is_caught_up && stats.repairs_put_off > 0);
        taken_before = stats.repair_bytes_taken;
    }
    bb_shard_stats_t sources[] = {h_stats(h, 0), h_stats(h, 1)};
    assert_int_equal(sources[0].repair_bytes_given + sources[1].repair_bytes_given, taken_before);
    h_pump(h, 3 * BB_NS_PER_S);
    bb_shard_stats_t stats = h_stats(h, AWAY);
    assert_true(!stats.is_pressed && stats.is_caught_up);
    uint64_t read = h_query(h, AWAY, BB_LEVEL_ONE, BB_QUERY_LAST);
    h_pump(h, 20 * H_MS);
    assert_int_equal(h_rows(h, read), 20 * number);
    h_free(&h);
}

// Goal: nobody who lacks is slowed down while little is written and taken at once, or without a
// bound.
static void repair_is_free_while_nobody_waits(void **state)
{
    (void)state;
    for (uint32_t is_bounded = 0; is_bounded < 2; is_bounded++) {
        h_cluster_t *h = s_new(is_bounded ? 1u << 20 : 0);
        for (uint32_t i = 0; i < 40; i++) {
            for (uint32_t node = 0; node < h->node_count; node++) {
                bb_shard_waited(h->nodes[node].shard, h->now_ns, is_bounded ? 0 : BB_NS_PER_S);
            }
            h_write(h, i % 2, BB_LEVEL_LOCAL_QUORUM, s_batch(MISSED + i));
            h_pump(h, 50 * H_MS);
        }
        bb_shard_stats_t stats = h_stats(h, AWAY);
        assert_true(stats.is_caught_up && !stats.is_pressed && stats.repairs_put_off == 0);
        assert_true(stats.chunks_pulled >= MISSED);
        h_free(&h);
    }
}

// Goal: a node whose head is full while a flush takes long sleeps until it may pull again, and
// then gets what it lacks. Method: what it pulled is lost on the way, then its own writes fill its
// head; the moment that it wants to be woken at, after each 10 ms.
static void full_head_does_not_spin(void **state)
{
    (void)state;
    h_cluster_t *h = s_new(0);
    h_crash(h, AWAY);
    h->tuning.store.memory_bytes = 64u << 10;
    h->blocked_kind = BB_KIND_PULL;
    h_restart(h, AWAY, 200);
    h_node_t *away = &h->nodes[AWAY];
    away->holds_jobs = true;
    h_pump(h, 500 * H_MS);
    for (uint32_t i = 0; i < 100 && !bb_shard_is_full(away->shard); i++) {
        h_write(h, AWAY, BB_LEVEL_ONE, (h_batch_t){.limit = 400, .time_wall_ns = H_WALL_NS + i});
        h_pump(h, 10 * H_MS);
    }
    assert_true(bb_shard_is_full(away->shard));
    h->blocked_kind = 0;
    uint32_t awake_count = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        int64_t then_ns = h->now_ns;
        h_pump(h, 10 * H_MS);
        awake_count += bb_shard_wake_mono_ns(away->shard) <= then_ns;
    }
    assert_false(h_stats(h, AWAY).is_caught_up);
    assert_in_range(awake_count, 0, 100); // have-sets come, and are asked for
    away->holds_jobs = false;
    h_pump(h, 3 * BB_NS_PER_S);
    assert_true(h_stats(h, AWAY).is_caught_up);
    h_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repair_gives_way_and_goes_on),
        cmocka_unit_test(repair_is_free_while_nobody_waits),
        cmocka_unit_test(full_head_does_not_spin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
