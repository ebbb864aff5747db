// SPDX-License-Identifier: Apache-2.0
// Rules over shards: each chunk that qualifies has its event at a quorum, whoever dies, and nothing
// leaves a journal before the rules have seen it.
#include "tests/unit/node/shard_harness.h"

#define S_NODES      3
#define S_PARTITIONS 8
#define S_EVENT      BB_WATCH_METRIC_PREFIX "high"

static const bb_watch_rules_t s_rules = {
    .rule_count = 1, .rules = {{.name = "high", .metric = "power", .above = 100}}};

static h_cluster_t *s_new(bool has_rules)
{
    bb_shard_options_t tuning = {.flush_age_ns_max = 3600 * BB_NS_PER_S};
    if (has_rules) {
        tuning.rules = bb_threshold_engine(&s_rules);
    }
    return h_new(S_NODES, S_NODES, S_PARTITIONS, &tuning);
}

// Events that the node has, as it stands.
static uint32_t s_events(h_cluster_t *self, uint32_t node)
{
    uint32_t partitions[S_PARTITIONS];
    for (uint32_t i = 0; i < S_PARTITIONS; i++) {
        partitions[i] = i;
    }
    bb_slice_t metric = bb_slice(S_EVENT, strlen(S_EVENT));
    bb_message_t message = {.kind = BB_KIND_QUERY,
                            .epoch = TEST_EPOCH,
                            .timeout_ns = 2 * BB_NS_PER_S,
                            .query = {.mode = BB_QUERY_RAW,
                                      .level = BB_LEVEL_ONE,
                                      .from_wall_ns = BB_TIME_WALL_NS_FIRST,
                                      .to_wall_ns = BB_TIME_WALL_NS_LIMIT,
                                      .partition_count = S_PARTITIONS,
                                      .partitions = partitions,
                                      .metric_count = 1,
                                      .metrics = &metric}};
    return h_rows(self, h_request(self, node, &message, NULL));
}

static bool s_all_watched(const h_cluster_t *self)
{
    bool is_watched = true;
    for (uint32_t n = 0; n < self->node_count; n++) {
        is_watched &= !self->nodes[n].shard || bb_shard_is_watched(self->nodes[n].shard);
    }
    return is_watched;
}

// Goal: values above the limit, and no others, have an event on every replica; each is evaluated by
// one of them only, and all come to know what is watched.
static void events_of_what_qualifies(void **state)
{
    (void)state;
    h_cluster_t *cluster = s_new(true);
    h_write(cluster, 0, BB_LEVEL_ONE, (h_batch_t){.first = 0, .limit = 20, .value = 150});
    h_write(cluster, 1, BB_LEVEL_ONE, (h_batch_t){.first = 20, .limit = 40, .value = 100});
    h_pump(cluster, 3000 * H_MS);
    assert_true(s_all_watched(cluster));
    uint64_t evaluated = 0, events = 0;
    for (uint32_t n = 0; n < S_NODES; n++) {
        assert_int_equal(s_events(cluster, n), 20);
        evaluated += h_stats(cluster, n).watch_chunks;
        events += h_stats(cluster, n).watch_events;
    }
    assert_int_equal(events, 20);
    assert_true(evaluated > 0);
    h_free(&cluster);
}

// Goal: without rules everything may be forgotten at once, and nobody says anything about it.
static void nothing_without_rules(void **state)
{
    (void)state;
    h_cluster_t *cluster = s_new(false);
    h_write(cluster, 0, BB_LEVEL_ONE, (h_batch_t){.first = 0, .limit = 20, .value = 150});
    h_pump(cluster, 3000 * H_MS);
    assert_true(s_all_watched(cluster));
    assert_int_equal(s_events(cluster, 0), 0);
    assert_int_equal(h_stats(cluster, 0).watch_chunks, 0);
    h_free(&cluster);
}

static void s_settle(h_cluster_t *self)
{
    for (uint32_t n = 0; n < S_NODES; n++) {
        bb_message_t settle = {.kind = BB_KIND_SETTLE, .timeout_ns = 500 * H_MS};
        h_request(self, n, &settle, NULL);
    }
    h_pump(self, 1000 * H_MS);
}

// Goal: without a quorum no event is durable, so nothing is watched and journals stay, though all
// is sealed and held by everybody; when it is back, the events come and journals go.
static void journals_wait_for_the_rules(void **state)
{
    (void)state;
    h_cluster_t *cluster = s_new(true);
    h_write(cluster, 0, BB_LEVEL_ALL, (h_batch_t){.first = 0, .limit = 20, .value = 150});
    h_pump(cluster, 1000 * H_MS); // the rules have not begun
    cluster->blocked_kind = BB_KIND_REPLICATE_ACK;
    h_pump(cluster, 2000 * H_MS);
    s_settle(cluster);
    bool is_kept = true;
    for (uint32_t n = 0; n < S_NODES; n++) {
        is_kept &= h_stats(cluster, n).store.journal_sealed_files > 0;
    }
    assert_true(is_kept);
    assert_false(s_all_watched(cluster));
    cluster->blocked_kind = 0;
    h_pump(cluster, 12000 * H_MS);
    assert_true(s_all_watched(cluster));
    s_settle(cluster);
    s_settle(cluster);
    for (uint32_t n = 0; n < S_NODES; n++) {
        assert_int_equal(s_events(cluster, n), 20);
        assert_int_equal(h_stats(cluster, n).store.journal_sealed_files, 0);
    }
    h_free(&cluster);
}

// Goal: whoever dies, before or after it evaluated, each chunk has its event in the end.
static void the_owner_dies(void **state)
{
    (void)state;
    for (uint32_t dies = 0; dies < S_NODES; dies++) {
        for (int64_t at_ms = 0; at_ms < 300; at_ms += 50) {
            h_cluster_t *cluster = s_new(true);
            h_pump(cluster, 2500 * H_MS); // the rules have begun
            h_write(cluster, (dies + 1) % S_NODES, BB_LEVEL_LOCAL_QUORUM,
                    (h_batch_t){.first = 0, .limit = 20, .value = 150});
            h_pump(cluster, at_ms * H_MS);
            h_crash(cluster, dies);
            h_pump(cluster, 6000 * H_MS);
            for (uint32_t n = 0; n < S_NODES; n++) {
                if (n != dies) {
                    assert_int_equal(s_events(cluster, n), 20);
                    assert_true(bb_shard_is_watched(cluster->nodes[n].shard));
                }
            }
            h_restart(cluster, dies, (uint8_t)(150 + dies));
            h_pump(cluster, 6000 * H_MS);
            assert_int_equal(s_events(cluster, dies), 20);
            assert_true(s_all_watched(cluster));
            h_free(&cluster);
        }
    }
}

// Goal: a process that starts is told what is watched, and evaluates nothing again.
static void a_restart_is_told(void **state)
{
    (void)state;
    h_cluster_t *cluster = s_new(true);
    h_write(cluster, 0, BB_LEVEL_ALL, (h_batch_t){.first = 0, .limit = 20, .value = 150});
    h_pump(cluster, 4000 * H_MS);
    assert_true(s_all_watched(cluster));
    h_crash(cluster, 0);
    h_pump(cluster, 100 * H_MS);
    h_restart(cluster, 0, 160);
    h_pump(cluster, 4000 * H_MS);
    assert_true(s_all_watched(cluster));
    assert_int_equal(h_stats(cluster, 0).watch_chunks, 0);
    h_free(&cluster);
}

// Goal: what segment sync brings is shown to the rules as it comes, by a node that does not count
// yet, and has its events without anybody else. Method: a cluster without rules seals and trims
// all; a disk is lost, and the node that starts on the empty one has rules.
static void what_is_adopted_is_evaluated(void **state)
{
    (void)state;
    bb_shard_options_t tuning = {.flush_age_ns_max = 200 * H_MS};
    h_cluster_t *cluster = h_new(S_NODES, S_NODES, S_PARTITIONS, &tuning);
    h_write(cluster, 0, BB_LEVEL_ALL, (h_batch_t){.first = 0, .limit = 20, .value = 150});
    h_write(cluster, 1, BB_LEVEL_ALL, (h_batch_t){.first = 20, .limit = 40, .value = 50});
    h_pump(cluster, 3000 * H_MS);
    for (uint32_t n = 0; n < S_NODES; n++) {
        assert_int_equal(h_stats(cluster, n).store.journal_sealed_files, 0);
    }
    h_crash(cluster, 2);
    bb_sim_disk_destroy(&cluster->nodes[2].disk);
    cluster->nodes[2].disk = bb_sim_disk_new();
    h_pump(cluster, 100 * H_MS);
    cluster->tuning.rules = bb_threshold_engine(&s_rules);
    h_restart(cluster, 2, 160);
    bb_shard_t *shard = cluster->nodes[2].shard;
    bb_shard_set_standing(shard, h_time(cluster), BB_STANDING_REBUILDING);
    h_pump(cluster, 12000 * H_MS);
    assert_true(bb_shard_is_rebuilt(shard));
    assert_int_equal(s_events(cluster, 2), 20);
    assert_int_equal(h_stats(cluster, 2).watch_chunks, 0); // no journal had them
    assert_true(h_stats(cluster, 2).watch_adopted > 0);
    bb_shard_set_standing(shard, h_time(cluster), BB_STANDING_COUNTING);
    h_pump(cluster, 5000 * H_MS);
    assert_true(bb_shard_is_watched(shard));
    for (uint32_t n = 0; n < S_NODES; n++) {
        assert_int_equal(s_events(cluster, n), 20); // events are chunks like others
    }
    h_free(&cluster);
}

// Goal: past its budget a journal lets go what a replica that is away needs, but not what the rules
// have not seen.
static void a_budget_spares_what_is_not_watched(void **state)
{
    (void)state;
    for (uint32_t has_rules = 0; has_rules < 2; has_rules++) {
        bb_shard_options_t tuning = {.flush_age_ns_max = 200 * H_MS, .journal_budget_bytes = 1};
        tuning.rules = has_rules ? bb_threshold_engine(&s_rules) : (bb_rule_engine_t){0};
        h_cluster_t *cluster = h_new(S_NODES, S_NODES, S_PARTITIONS, &tuning);
        cluster->blocked_kind = BB_KIND_REPLICATE_ACK; // no event comes to a quorum
        h_crash(cluster, 2);
        h_write(cluster, 0, BB_LEVEL_ONE, (h_batch_t){.first = 0, .limit = 20, .value = 150});
        h_pump(cluster, 4000 * H_MS);
        assert_int_equal(h_stats(cluster, 0).journal_let_go_bytes > 0, has_rules == 0);
        assert_int_equal(h_stats(cluster, 0).store.journal_sealed_files > 0, has_rules != 0);
        h_free(&cluster);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_what_qualifies),
        cmocka_unit_test(nothing_without_rules),
        cmocka_unit_test(journals_wait_for_the_rules),
        cmocka_unit_test(the_owner_dies),
        cmocka_unit_test(a_restart_is_told),
        cmocka_unit_test(what_is_adopted_is_evaluated),
        cmocka_unit_test(a_budget_spares_what_is_not_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
