// SPDX-License-Identifier: Apache-2.0
// Rules over shards: each chunk that qualifies has its event at a quorum, whoever dies, and nothing
// leaves a journal before the rules have seen it.
#include "tests/unit/node/shard_harness.h"

#include "node/ingest/bb_shard_internal.h" // looks inside, as a debugger would

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

// Events of these partitions that the node has, as it stands.
static uint32_t s_events_of(h_cluster_t *self, uint32_t node, const uint32_t *partitions,
                            uint32_t partition_count)
{
    bb_slice_t metric = bb_slice(S_EVENT, strlen(S_EVENT));
    bb_message_t message = {.kind = BB_KIND_QUERY,
                            .epoch = TEST_EPOCH,
                            .timeout_ns = 2 * BB_NS_PER_S,
                            .query = {.mode = BB_QUERY_RAW,
                                      .level = BB_LEVEL_ONE,
                                      .from_wall_ns = BB_TIME_WALL_NS_FIRST,
                                      .to_wall_ns = BB_TIME_WALL_NS_LIMIT,
                                      .partition_count = partition_count,
                                      .partitions = partitions,
                                      .metric_count = 1,
                                      .metrics = &metric}};
    return h_rows(self, h_request(self, node, &message, NULL));
}

static uint32_t s_events(h_cluster_t *self, uint32_t node)
{
    uint32_t partitions[S_PARTITIONS];
    for (uint32_t i = 0; i < S_PARTITIONS; i++) {
        partitions[i] = i;
    }
    return s_events_of(self, node, partitions, S_PARTITIONS);
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
        // Events are let go, too: no rule looks at their metric, so they are watched at once.
        assert_true(h_stats(cluster, 0).journal_let_go_bytes > 0);
        assert_int_equal(h_stats(cluster, 0).store.journal_sealed_files > 0, has_rules != 0);
        assert_int_equal(bb_shard_is_watched(cluster->nodes[0].shard), has_rules == 0);
        h_free(&cluster);
    }
}

// Goal: what becomes durable is shown to the rules then, at any time between two looks at the
// journal, and its events wait for others for 50 ms at most.
static void fresh_chunks_wait_for_no_look(void **state)
{
    (void)state;
    h_cluster_t *cluster = s_new(true);
    h_pump(cluster, 2500 * H_MS);
    for (uint32_t i = 0; i < 5; i++) {
        h_write(cluster, i % S_NODES, BB_LEVEL_ALL,
                (h_batch_t){.first = 5 * i, .limit = 5 * i + 5, .value = 150});
        h_pump(cluster, 70 * H_MS);
        for (uint32_t n = 0; n < S_NODES; n++) {
            assert_int_equal(s_events(cluster, n), 5 * i + 5);
        }
    }
    h_pump(cluster, 200 * H_MS);
    assert_true(s_all_watched(cluster));
    h_free(&cluster);
}

// A battery of a partition of this node of which so many replicas, that one included, are among the
// first three nodes.
static uint32_t s_battery(const h_cluster_t *self, uint32_t node, uint32_t wanted,
                          uint32_t *partition)
{
    const bb_topology_t *topology = self->nodes[0].topology;
    for (uint32_t battery = 0; battery < 1000; battery++) {
        char id[16];
        int length = snprintf(id, sizeof id, "b%03u", battery);
        *partition = bb_topology_partition_of(topology, id, (size_t)length);
        const uint16_t *replicas = bb_topology_replicas(topology, *partition);
        uint32_t count = 0;
        for (uint32_t slot = 0; slot < bb_topology_replica_count(topology); slot++) {
            count += replicas[slot] < 3;
        }
        if (bb_topology_is_replica(topology, *partition, node) && count == wanted) {
            return battery;
        }
    }
    fail_msg("no partition of node %u has %u replicas there", node, wanted);
    return 0;
}

static void s_write_one(h_cluster_t *self, uint32_t node, uint32_t battery)
{
    h_write(self, node, BB_LEVEL_ONE,
            (h_batch_t){.first = battery, .limit = battery + 1, .value = 150});
}

// Goal: a partition that has no quorum keeps no other one waiting, neither what is fresh nor what
// is read from the journal; its own events come when there is one. Method: five nodes, three
// replicas, two nodes down: each of the others shares some partition with both.
static void a_partition_without_a_quorum_stops_no_other(void **state)
{
    (void)state;
    for (uint32_t is_fresh = 0; is_fresh < 2; is_fresh++) {
        bb_shard_options_t tuning = {.flush_age_ns_max = 3600 * BB_NS_PER_S,
                                     .rules = bb_threshold_engine(&s_rules)};
        h_cluster_t *cluster = h_new(5, 3, 64, &tuning);
        h_crash(cluster, 3);
        h_crash(cluster, 4);
        h_pump(cluster, is_fresh * 2500 * H_MS);
        uint32_t met = 0, unmet[3] = {0};
        for (uint32_t node = 0; node < 3; node++) {
            s_write_one(cluster, node, s_battery(cluster, node, 1, &unmet[node]));
        }
        h_pump(cluster, 300 * H_MS);
        s_write_one(cluster, 0, s_battery(cluster, 0, 3, &met));
        h_pump(cluster, 6000 * H_MS);
        for (uint32_t node = 0; node < 3; node++) {
            assert_int_equal(s_events_of(cluster, node, &met, 1), 1);
            assert_int_equal(s_events_of(cluster, node, &unmet[node], 1), 0);
            assert_int_equal(h_stats(cluster, node).watch_failures, 0);
        }
        h_restart(cluster, 3, 160);
        h_pump(cluster, 6000 * H_MS);
        for (uint32_t node = 0; node < 3; node++) {
            assert_int_equal(s_events_of(cluster, node, &unmet[node], 1), 1);
        }
        h_free(&cluster);
    }
}

// Goal: a replica that is up and being rebuilt makes no quorum: nothing is evaluated again and
// again while another one is down.
static void who_does_not_count_makes_no_quorum(void **state)
{
    (void)state;
    h_cluster_t *cluster = s_new(true);
    h_crash(cluster, 2);
    bb_shard_set_standing(cluster->nodes[1].shard, h_time(cluster), BB_STANDING_REBUILDING);
    bb_shard_peer_standing(cluster->nodes[0].shard, h_time(cluster), 1, false);
    h_write(cluster, 0, BB_LEVEL_ONE, (h_batch_t){.first = 0, .limit = 20, .value = 150});
    h_pump(cluster, 3000 * H_MS);
    h_write(cluster, 0, BB_LEVEL_ONE, (h_batch_t){.first = 20, .limit = 25, .value = 150});
    h_pump(cluster, 12000 * H_MS);
    assert_int_equal(h_stats(cluster, 0).watch_events, 0);
    bb_shard_set_standing(cluster->nodes[1].shard, h_time(cluster), BB_STANDING_COUNTING);
    bb_shard_peer_standing(cluster->nodes[0].shard, h_time(cluster), 1, true);
    h_pump(cluster, 3000 * H_MS);
    assert_int_equal(s_events(cluster, 0), 25);
    assert_int_equal(h_stats(cluster, 0).watch_failures, 0);
    assert_true(bb_shard_is_watched(cluster->nodes[0].shard));
    h_free(&cluster);
}

// Goal: a process that starts is also told what its only peer has not evaluated itself, only heard.
static void what_was_learned_is_told_to_who_is_new(void **state)
{
    (void)state;
    h_cluster_t *cluster = s_new(true);
    h_write(cluster, 0, BB_LEVEL_ALL, (h_batch_t){.first = 0, .limit = 20, .value = 150});
    h_pump(cluster, 4000 * H_MS);
    assert_true(s_all_watched(cluster));
    h_crash(cluster, 0);
    h_crash(cluster, 2);
    h_pump(cluster, 100 * H_MS);
    h_restart(cluster, 2, 160);
    h_pump(cluster, 4000 * H_MS);
    assert_true(s_all_watched(cluster));
    assert_int_equal(h_stats(cluster, 2).watch_chunks, 0);
    h_free(&cluster);
}

// Goal: with everything watched and told the rules wake nobody; what comes then is seen all the
// same, and so is a peer that starts.
static void nothing_to_do_is_no_reason_to_wake(void **state)
{
    (void)state;
    h_cluster_t *cluster = s_new(true);
    h_write(cluster, 0, BB_LEVEL_ALL, (h_batch_t){.first = 0, .limit = 20, .value = 150});
    h_pump(cluster, 4000 * H_MS);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t n = 0; n < S_NODES; n++) {
            assert_true(bb_shard_watch_wake_mono_ns(cluster->nodes[n].shard) == BB_NEVER_NS);
            assert_int_equal(s_events(cluster, n), 20 + 10 * round);
        }
        uint64_t version = bb_shard_have_version(cluster->nodes[0].shard);
        h_pump(cluster, 1000 * H_MS);
        assert_true(bb_shard_have_version(cluster->nodes[0].shard) == version);
        h_write(cluster, 1, BB_LEVEL_ALL, (h_batch_t){.first = 20, .limit = 30, .value = 150});
        h_pump(cluster, 1000 * H_MS);
    }
    h_crash(cluster, 1);
    h_restart(cluster, 1, 160);
    assert_false(bb_shard_watch_wake_mono_ns(cluster->nodes[0].shard) == BB_NEVER_NS);
    h_pump(cluster, 3000 * H_MS);
    assert_true(bb_shard_watch_wake_mono_ns(cluster->nodes[0].shard) == BB_NEVER_NS);
    assert_true(s_all_watched(cluster));
    h_free(&cluster);
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
        cmocka_unit_test(fresh_chunks_wait_for_no_look),
        cmocka_unit_test(a_partition_without_a_quorum_stops_no_other),
        cmocka_unit_test(who_does_not_count_makes_no_quorum),
        cmocka_unit_test(what_was_learned_is_told_to_who_is_new),
        cmocka_unit_test(nothing_to_do_is_no_reason_to_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
