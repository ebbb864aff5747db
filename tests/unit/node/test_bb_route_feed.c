// SPDX-License-Identifier: Apache-2.0
// From what stores count to what the route score is told.
#include "node/control/bb_route_feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#define MS BB_NS_PER_MS

// Goal: a replica that acknowledges late is found slow from sums that only grow, within 10 s, and
// one that acknowledges nothing by the age of what it owes; the others are not. Method: figures
// every 250 ms, as a busy store publishes them.
static void sums_become_verdicts(void **state)
{
    (void)state;
    for (uint32_t how = 0; how < 2; how++) {
        bb_route_score_options_t options = {.node_count = 3, .heartbeat_ns = 100 * MS};
        bb_route_score_t *score = bb_route_score_new(&options);
        bb_route_feed_t *feed = bb_alloc_zero(1, sizeof *feed);
        bb_shard_stats_t *stats = bb_alloc_zero(1, sizeof *stats);
        int64_t slow_ns = 0;
        for (int64_t now_ns = 0; now_ns < 20 * BB_NS_PER_S; now_ns += 50 * MS) {
            if (now_ns % (250 * MS) == 0) {
                for (uint32_t node = 0; node < 3; node++) {
                    uint64_t ms = node == 2 && now_ns > 5 * BB_NS_PER_S ? 80 : 4;
                    bool is_silent = how == 1 && ms == 80;
                    stats->acks_of[node] += is_silent ? 0 : 10;
                    stats->ack_ns_of[node] += is_silent ? 0 : 10 * ms * MS;
                    stats->waiting_ns_of[node] = is_silent ? now_ns - 5 * BB_NS_PER_S : 0;
                }
                bb_route_feed_stats(feed, score, now_ns, stats, 3);
            }
            bb_route_score_actions_t actions;
            bb_route_score_tick(score, now_ns, &actions);
            assert_false(bb_route_score_is_slow(score, 0) || bb_route_score_is_slow(score, 1));
            slow_ns = slow_ns == 0 && bb_route_score_is_slow(score, 2) ? now_ns : slow_ns;
        }
        assert_in_range(slow_ns, 5 * BB_NS_PER_S, 15 * BB_NS_PER_S);
        free(stats);
        free(feed);
        bb_route_score_destroy(&score);
    }
}

// Goal: the mean of the syncs since the last word; a store that says nothing stands in one.
static void syncs_and_silence(void **state)
{
    (void)state;
    bb_route_score_options_t options = {.node_count = 1, .heartbeat_ns = 100 * MS};
    bb_route_score_t *score = bb_route_score_new(&options);
    bb_route_feed_t feed = {0};
    bb_shard_stats_t *stats = bb_alloc_zero(1, sizeof *stats);
    assert_int_equal(bb_route_feed_sync_ns(&feed, 9 * BB_NS_PER_S), 0); // it has not begun
    stats->journal_syncs = 4;
    stats->journal_sync_ns_sum = 8 * MS;
    bb_route_feed_stats(&feed, score, 10 * BB_NS_PER_S, stats, 1);
    assert_int_equal(bb_route_feed_sync_ns(&feed, 10 * BB_NS_PER_S), 2 * MS);
    stats->journal_syncs = 5;
    stats->journal_sync_ns_sum += 30 * MS;
    bb_route_feed_stats(&feed, score, 11 * BB_NS_PER_S, stats, 1);
    bb_route_feed_stats(&feed, score, 12 * BB_NS_PER_S, stats, 1); // none since: as before
    assert_int_equal(bb_route_feed_sync_ns(&feed, 13 * BB_NS_PER_S), 30 * MS);
    assert_int_equal(bb_route_feed_sync_ns(&feed, 15 * BB_NS_PER_S), 3 * BB_NS_PER_S);
    free(stats);
    bb_route_score_destroy(&score);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_become_verdicts),
        cmocka_unit_test(syncs_and_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
