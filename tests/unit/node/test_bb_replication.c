// SPDX-License-Identifier: Apache-2.0
// Counting copies: levels against their definition, dots, deadlines, what peers owe, bad reports.
#include "node/ingest/bb_replication.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "protocol/bb_dot_sum.h"

#include "tests/support/bb_random.h"
#include "tests/unit/node/replication_topology.h"

#define S (BB_NS_PER_S)

typedef struct {
    bb_topology_t *topology;
    bb_replication_t *core;
} s_fixture_t;

static s_fixture_t s_new(uint32_t count1, uint32_t rf1, uint32_t count2, uint32_t rf2)
{
    s_fixture_t fixture = {.topology = test_topology(count1, rf1, count2, rf2, 8, 0)};
    fixture.core = bb_replication_new(fixture.topology);
    return fixture;
}

static void s_free(s_fixture_t *fixture)
{
    bb_replication_check(fixture->core);
    bb_replication_destroy(&fixture->core);
    bb_topology_destroy(&fixture->topology);
}

static uint32_t s_begin(s_fixture_t *fixture, bb_level_t level, const uint32_t *partitions,
                        uint32_t count, uint64_t context, int64_t deadline, uint64_t *seqs)
{
    bb_replication_write_t write = {.level = level,
                                    .part_count = count,
                                    .partitions = partitions,
                                    .context = context,
                                    .now_mono_ns = S,
                                    .deadline_mono_ns = deadline};
    uint32_t id = UINT32_MAX;
    assert_int_equal(bb_replication_begin(fixture->core, &write, seqs, &id), BB_OK);
    bb_replication_check(fixture->core);
    return id;
}

static void s_durable(s_fixture_t *fixture, uint32_t node, uint32_t partition, uint64_t seq)
{
    assert_int_equal(bb_replication_durable(fixture->core, node, partition, seq, seq, 2 * S),
                     BB_OK);
    bb_replication_check(fixture->core);
}

static void s_expect_done(s_fixture_t *fixture, uint64_t context, bb_error_t error)
{
    bb_replication_done_t done;
    assert_true(bb_replication_next(fixture->core, &done));
    assert_int_equal(done.context, context);
    assert_int_equal(done.error, error);
    assert_int_equal(done.begun_mono_ns, S);
}

static void s_expect_none(s_fixture_t *fixture)
{
    bb_replication_done_t done;
    assert_false(bb_replication_next(fixture->core, &done));
}

// Goal: each level is met by exactly the sets of replicas that its definition names. Method: for
// every set of the six replicas of two data centres, report them in turn and compare with counting.
static void levels_by_their_definition(void **state)
{
    (void)state;
    const bb_level_t levels[] = {BB_LEVEL_ONE, BB_LEVEL_LOCAL_QUORUM, BB_LEVEL_ALL};
    const uint32_t partition = 3;
    for (uint32_t l = 0; l < BB_COUNT_OF(levels); l++) {
        for (uint32_t mask = 0; mask < 64; mask++) {
            s_fixture_t fixture = s_new(3, 3, 3, 3);
            uint64_t seq = 0;
            s_begin(&fixture, levels[l], &partition, 1, 7, 9 * S, &seq);
            uint32_t total = 0, local = 0;
            for (uint32_t node = 0; node < 6; node++) {
                if (mask & (1u << node)) {
                    total++;
                    local += node < 3; // nodes 0-2 are in the coordinator's data centre
                    s_durable(&fixture, node, partition, seq);
                    s_durable(&fixture, node, partition, seq); // said twice counts once
                }
            }
            bool is_met = levels[l] == BB_LEVEL_ONE            ? total >= 1
                          : levels[l] == BB_LEVEL_LOCAL_QUORUM ? local >= 2
                                                               : total == 6;
            if (is_met) {
                s_expect_done(&fixture, 7, BB_OK);
            }
            s_expect_none(&fixture);
            s_free(&fixture);
        }
    }
}

// Goal: a write waits for every one of its parts.
static void all_parts_count(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(3, 3, 0, 0);
    const uint32_t partitions[3] = {0, 4, 7};
    uint64_t seqs[3];
    s_begin(&fixture, BB_LEVEL_LOCAL_QUORUM, partitions, 3, 1, 9 * S, seqs);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(seqs[i], 1);
        s_durable(&fixture, 0, partitions[i], 1);
    }
    s_durable(&fixture, 1, 0, 1);
    s_durable(&fixture, 2, 7, 1); // a different second replica is as good
    s_expect_none(&fixture);
    s_durable(&fixture, 2, 4, 1);
    s_expect_done(&fixture, 1, BB_OK);
    assert_int_equal(bb_replication_open_count(fixture.core), 0);
    s_free(&fixture);
}

// Goal: dots are 1, 2, 3... in each partition, and a range acknowledges all in it, of several
// writes.
static void dots_and_ranges(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(3, 3, 0, 0);
    const uint32_t one[1] = {5}, two[2] = {5, 6};
    uint64_t seqs[2];
    s_begin(&fixture, BB_LEVEL_LOCAL_QUORUM, one, 1, 11, 9 * S, seqs);
    assert_int_equal(seqs[0], 1);
    s_begin(&fixture, BB_LEVEL_LOCAL_QUORUM, two, 2, 12, 9 * S, seqs);
    assert_int_equal(seqs[0], 2);
    assert_int_equal(seqs[1], 1);
    s_begin(&fixture, BB_LEVEL_LOCAL_QUORUM, one, 1, 13, 9 * S, seqs);
    assert_int_equal(seqs[0], 3);
    assert_int_equal(bb_replication_seq_last(fixture.core, 5), 3);
    for (uint32_t node = 1; node <= 2; node++) {
        assert_int_equal(bb_replication_durable(fixture.core, node, 5, 1, 3, S), BB_OK);
    }
    s_expect_done(&fixture, 11, BB_OK);
    s_expect_done(&fixture, 13, BB_OK);
    s_expect_none(&fixture);
    s_durable(&fixture, 0, 6, 1);
    s_durable(&fixture, 1, 6, 1);
    s_expect_done(&fixture, 12, BB_OK);
    s_free(&fixture);
}

// Goal: what was never sent, or comes from no replica, changes nothing.
static void bad_reports_change_nothing(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(4, 2, 0, 0);
    uint32_t partition = 0;
    while (!bb_topology_is_replica(fixture.topology, partition, 0)) {
        partition++;
    }
    uint32_t stranger = 1;
    while (bb_topology_is_replica(fixture.topology, partition, stranger)) {
        stranger++;
    }
    uint64_t seq = 0;
    s_begin(&fixture, BB_LEVEL_ONE, &partition, 1, 1, 9 * S, &seq);
    bb_replication_t *core = fixture.core;
    assert_int_equal(bb_replication_durable(core, stranger, partition, 1, 1, S),
                     BB_ERR_PEER_UNKNOWN);
    assert_int_equal(bb_replication_durable(core, 99, partition, 1, 1, S), BB_ERR_PEER_UNKNOWN);
    assert_int_equal(bb_replication_durable(core, 0, 99, 1, 1, S), BB_ERR_PEER_UNKNOWN);
    assert_int_equal(bb_replication_durable(core, 0, partition, 2, 2, S), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(bb_replication_durable(core, 0, partition, 0, 1, S), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(bb_replication_durable(core, 0, partition, 1, 0, S), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(bb_replication_durable(core, 0, partition, 1, UINT64_MAX, S),
                     BB_ERR_MESSAGE_CORRUPT);
    s_expect_none(&fixture);
    s_durable(&fixture, 0, partition, 1);
    s_expect_done(&fixture, 1, BB_OK);
    s_free(&fixture);
}

// Goal: a deadline answers TIMEOUT once; copies that come later change nothing.
static void deadline_says_unknown(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(3, 3, 0, 0);
    const uint32_t partition = 2;
    uint64_t seq = 0;
    s_begin(&fixture, BB_LEVEL_ALL, &partition, 1, 1, 5 * S, &seq);
    s_durable(&fixture, 0, partition, seq);
    assert_int_equal(bb_replication_wake_mono_ns(fixture.core), 5 * S);
    bb_replication_tick(fixture.core, 5 * S - 1);
    s_expect_none(&fixture);
    bb_replication_tick(fixture.core, 5 * S);
    s_expect_done(&fixture, 1, BB_ERR_TIMEOUT);
    s_durable(&fixture, 1, partition, seq);
    s_durable(&fixture, 2, partition, seq);
    s_expect_none(&fixture);
    bb_replication_tick(fixture.core, 15 * S);
    assert_int_equal(bb_replication_wake_mono_ns(fixture.core), BB_NEVER_NS);
    s_free(&fixture);
}

// Goal: bytes owed by a peer are counted from sending to its last acknowledgement, its reset, or
// 10 s after the outcome, and nothing else releases them.
static void owed_bytes(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(3, 3, 0, 0);
    bb_replication_t *core = fixture.core;
    const uint32_t partitions[2] = {1, 2};
    uint64_t seqs[2];
    uint32_t id = s_begin(&fixture, BB_LEVEL_LOCAL_QUORUM, partitions, 2, 1, 9 * S, seqs);
    bb_replication_sent(core, id, 1, 100);
    bb_replication_sent(core, id, 2, 100);
    s_durable(&fixture, 0, 1, 1);
    s_durable(&fixture, 0, 2, 1);
    s_durable(&fixture, 1, 1, 1);
    assert_int_equal(bb_replication_unacked_bytes(core, 1), 100); // one of its two parts
    s_durable(&fixture, 1, 2, 1);
    assert_int_equal(bb_replication_unacked_bytes(core, 1), 0);
    s_expect_done(&fixture, 1, BB_OK);
    assert_int_equal(bb_replication_unacked_bytes(core, 2), 100);
    bb_replication_peer_reset(core, 1);
    assert_int_equal(bb_replication_unacked_bytes(core, 2), 100);
    bb_replication_tick(core, 11 * S);
    assert_int_equal(bb_replication_unacked_bytes(core, 2), 100); // answered at 2 s
    bb_replication_tick(core, 12 * S);
    assert_int_equal(bb_replication_unacked_bytes(core, 2), 0);

    id = s_begin(&fixture, BB_LEVEL_ONE, partitions, 1, 2, 99 * S, seqs);
    bb_replication_sent(core, id, 2, 50);
    bb_replication_peer_reset(core, 2);
    assert_int_equal(bb_replication_unacked_bytes(core, 2), 0);
    s_durable(&fixture, 0, 1, 2);
    s_expect_done(&fixture, 2, BB_OK);
    s_free(&fixture);
}

// Goal: a failure here ends a write once, and a late id of a write that is gone names nobody.
static void failing_and_late_ids(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(3, 3, 0, 0);
    const uint32_t partition = 2;
    uint64_t seq = 0;
    uint32_t old = s_begin(&fixture, BB_LEVEL_ONE, &partition, 1, 1, 9 * S, &seq);
    bb_replication_fail(fixture.core, old, BB_ERR_DISK_FULL, 2 * S);
    s_expect_done(&fixture, 1, BB_ERR_DISK_FULL);
    uint32_t next = s_begin(&fixture, BB_LEVEL_ONE, &partition, 1, 2, 9 * S, &seq);
    assert_int_not_equal(old, next);
    assert_int_equal(seq, 2); // a dot is never given twice, whatever became of its chunk
    bb_replication_fail(fixture.core, old, BB_ERR_IO, 2 * S);
    s_expect_none(&fixture);
    s_durable(&fixture, 1, partition, 2);
    s_expect_done(&fixture, 2, BB_OK);
    s_free(&fixture);
}

// Goal: the table is bounded, and refusing changes nothing.
static void bounded(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(1, 1, 0, 0);
    const uint32_t partition = 0;
    bb_replication_write_t write = {.level = BB_LEVEL_ONE,
                                    .part_count = 1,
                                    .partitions = &partition,
                                    .now_mono_ns = S,
                                    .deadline_mono_ns = 9 * S};
    uint64_t seq = 0;
    uint32_t id = 0;
    for (uint32_t i = 0; i < BB_REPLICATION_WRITES_MAX; i++) {
        assert_int_equal(bb_replication_begin(fixture.core, &write, &seq, &id), BB_OK);
    }
    assert_int_equal(bb_replication_begin(fixture.core, &write, &seq, &id), BB_ERR_BUSY);
    assert_int_equal(bb_replication_seq_last(fixture.core, 0), BB_REPLICATION_WRITES_MAX);
    assert_int_equal(
        bb_replication_durable(fixture.core, 0, 0, 1, BB_REPLICATION_WRITES_MAX, 2 * S), BB_OK);
    // Until the outcomes are fetched there is no room for more of them.
    assert_int_equal(bb_replication_begin(fixture.core, &write, &seq, &id), BB_ERR_BUSY);
    for (uint32_t i = 0; i < BB_REPLICATION_WRITES_MAX; i++) {
        s_expect_done(&fixture, 0, BB_OK);
    }
    assert_int_equal(bb_replication_begin(fixture.core, &write, &seq, &id), BB_OK);
    s_free(&fixture);
}

// Goal: what a replica owes that no level needs makes nobody wait: when the table is full of
// answered writes the oldest make room. Method: the far data centre never acknowledges.
static void debts_of_the_far_side_make_room(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(1, 1, 1, 1);
    const uint32_t partition = 0;
    bb_replication_write_t write = {
        .level = BB_LEVEL_LOCAL_QUORUM, .part_count = 1, .partitions = &partition};
    uint64_t seq = 0;
    uint32_t first_id = 0, id = 0;
    for (uint32_t i = 0; i < 3 * BB_REPLICATION_WRITES_MAX; i++) {
        write.now_mono_ns = S + i * BB_NS_PER_MS / 4;
        write.deadline_mono_ns = write.now_mono_ns + S;
        assert_int_equal(bb_replication_begin(fixture.core, &write, &seq, &id), BB_OK);
        first_id = i == 0 ? id : first_id;
        bb_replication_sent(fixture.core, id, 1, 10);
        assert_int_equal(bb_replication_durable(fixture.core, 0, 0, seq, seq, write.now_mono_ns),
                         BB_OK);
        bb_replication_done_t done;
        assert_true(bb_replication_next(fixture.core, &done));
        assert_int_equal(done.error, BB_OK);
        assert_true(bb_replication_owes(fixture.core, id, 1));
        assert_false(bb_replication_owes(fixture.core, id, 0));
    }
    assert_false(bb_replication_owes(fixture.core, first_id, 1)); // forgotten
    assert_true(bb_replication_unacked_bytes(fixture.core, 1) <= 10 * BB_REPLICATION_WRITES_MAX);
    s_durable(&fixture, 1, 0, seq);
    assert_false(bb_replication_owes(fixture.core, id, 1));
    bb_replication_peer_reset(fixture.core, 1);
    assert_int_equal(bb_replication_unacked_bytes(fixture.core, 1), 0);
    s_free(&fixture);
}

// Goal: who acknowledges how soon is added up once a part, and who still owes what for how long.
static void how_soon_nodes_acknowledge(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(3, 3, 0, 0);
    const uint32_t partitions[2] = {1, 4};
    uint64_t seqs[2];
    int64_t ages_ns[3];
    uint32_t id = s_begin(&fixture, BB_LEVEL_ONE, partitions, 2, 7, 90 * S, seqs);
    bb_replication_sent(fixture.core, id, 1, 10);
    bb_replication_sent(fixture.core, id, 2, 10);
    s_durable(&fixture, 0, 1, 1); // one second after it began
    s_durable(&fixture, 0, 4, 1);
    s_durable(&fixture, 1, 1, 1);
    s_durable(&fixture, 1, 1, 1); // said twice
    bb_replication_waiting(fixture.core, 4 * S, ages_ns);
    assert_int_equal(ages_ns[0], 0);
    assert_int_equal(ages_ns[1], 3 * S);
    assert_int_equal(ages_ns[2], 3 * S);
    s_durable(&fixture, 1, 4, 1);
    bb_replication_waiting(fixture.core, 5 * S, ages_ns);
    assert_int_equal(ages_ns[1], 0);
    assert_int_equal(ages_ns[2], 4 * S);
    const uint64_t counts[3] = {2, 2, 0};
    for (uint32_t node = 0; node < 3; node++) {
        bb_replication_acks_t acks = bb_replication_acks(fixture.core, node);
        assert_int_equal(acks.count, counts[node]);
        assert_int_equal(acks.ns_sum, counts[node] * S);
    }
    s_expect_done(&fixture, 7, BB_OK);
    s_free(&fixture);
}

// Goal: which parts can be met by who is up.
static void reachable_levels(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(3, 3, 2, 2);
    const uint32_t partitions[2] = {0, 1};
    bool is_up[BB_NODES_MAX] = {true, false, false, true, true};
    bb_replication_t *core = fixture.core;
    assert_int_equal(bb_replication_unmet_part(core, BB_LEVEL_ONE, is_up, partitions, 2),
                     UINT32_MAX);
    assert_int_equal(bb_replication_unmet_part(core, BB_LEVEL_LOCAL_QUORUM, is_up, partitions, 2),
                     0);
    is_up[2] = true;
    assert_int_equal(bb_replication_unmet_part(core, BB_LEVEL_LOCAL_QUORUM, is_up, partitions, 2),
                     UINT32_MAX);
    assert_int_equal(bb_replication_unmet_part(core, BB_LEVEL_ALL, is_up, partitions, 2), 0);
    is_up[1] = true;
    assert_int_equal(bb_replication_unmet_part(core, BB_LEVEL_ALL, is_up, partitions, 2),
                     UINT32_MAX);
    s_free(&fixture);
}

// What a replica says when it holds these parts of a batch.
static bb_ack_batch_t s_batch(const uint32_t *partitions, const uint64_t *seqs, uint32_t count)
{
    bb_ack_batch_t batch = {.partition = partitions[0], .part_count = count, .seq = seqs[0]};
    for (uint32_t i = 0; i < count; i++) {
        batch.dot_sum += bb_dot_sum_of(partitions[i], seqs[i]);
    }
    return batch;
}

// Goal: a batch that is acknowledged as a whole counts as its dots would, and what is not exactly
// the batch counts for nothing: a part less or more, another dot, one that was never given, another
// lane, a node that holds none of it.
static void batches_as_a_whole(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(3, 3, 0, 0);
    const bb_lane_t all = {1, 0};
    const uint32_t partitions[4] = {0, 3, 4, 7};
    uint64_t seqs[4];
    s_begin(&fixture, BB_LEVEL_ALL, partitions, 2, 1, 9 * S, seqs);
    uint32_t id = s_begin(&fixture, BB_LEVEL_LOCAL_QUORUM, partitions, 4, 2, 9 * S, seqs);
    bb_replication_sent(fixture.core, id, 1, 100);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(seqs[i], i < 2 ? 2 : 1);
        s_durable(&fixture, 0, partitions[i], seqs[i]);
    }
    const uint64_t firsts[2] = {1, 1};
    bb_ack_batch_t good = s_batch(partitions, seqs, 4), bad[6];
    bad[0] = s_batch(partitions, seqs, 3);
    bad[1] = good;
    bad[1].part_count = 3;
    bad[2] = good;
    bad[2].dot_sum ^= 1;
    bad[3] = s_batch(partitions, firsts, 2); // the first write's dots ...
    bad[3].seq = 2;                          // ... said of the second
    bad[4] = good;
    bad[4].seq = 3; // never given
    bad[5] = good;
    bad[5].seq = 0;
    for (uint32_t i = 0; i < BB_COUNT_OF(bad); i++) {
        assert_int_equal(bb_replication_durable_batch(fixture.core, 1, all, &bad[i], 2 * S),
                         BB_ERR_MESSAGE_CORRUPT);
    }
    assert_int_equal(bb_replication_durable_batch(fixture.core, 1, (bb_lane_t){2, 0}, &good, 2 * S),
                     BB_ERR_MESSAGE_CORRUPT); // partitions 3 and 7 are another store's
    assert_int_equal(bb_replication_durable_batch(fixture.core, 3, all, &good, 2 * S),
                     BB_ERR_PEER_UNKNOWN);
    bad[0] = good;
    bad[0].partition = 8; // of 8
    assert_int_equal(bb_replication_durable_batch(fixture.core, 1, all, &bad[0], 2 * S),
                     BB_ERR_PEER_UNKNOWN);
    s_expect_none(&fixture);
    assert_int_equal(bb_replication_unacked_bytes(fixture.core, 1), 100);
    for (uint32_t i = 0; i < 3; i++) { // said again: nothing more, also when the write is gone
        assert_int_equal(bb_replication_durable_batch(fixture.core, 1, all, &good, 2 * S), BB_OK);
        bb_replication_check(fixture.core);
    }
    s_expect_done(&fixture, 2, BB_OK);
    s_expect_none(&fixture);
    assert_int_equal(bb_replication_unacked_bytes(fixture.core, 1), 0);
    s_free(&fixture);
}

// Goal: a replica with several stores says it store by store, and only all of them together meet
// the level.
static void batches_lane_by_lane(void **state)
{
    (void)state;
    s_fixture_t fixture = s_new(2, 2, 0, 0);
    const uint32_t partitions[5] = {0, 1, 2, 5, 7};
    const uint32_t even[2] = {0, 2}, odd[3] = {1, 5, 7};
    uint64_t seqs[5];
    s_begin(&fixture, BB_LEVEL_ALL, partitions, 5, 1, 9 * S, seqs);
    for (uint32_t i = 0; i < 5; i++) {
        s_durable(&fixture, 0, partitions[i], 1);
    }
    bb_ack_batch_t batch = s_batch(odd, seqs, 3);
    assert_int_equal(bb_replication_durable_batch(fixture.core, 1, (bb_lane_t){2, 1}, &batch, S),
                     BB_OK);
    bb_replication_check(fixture.core);
    s_expect_none(&fixture);
    batch = s_batch(even, seqs, 2);
    assert_int_equal(bb_replication_durable_batch(fixture.core, 1, (bb_lane_t){2, 0}, &batch, S),
                     BB_OK);
    s_expect_done(&fixture, 1, BB_OK);
    s_free(&fixture);
}

// Goal: after any order of events the outcomes are those of a slow model. Method: 3,000 random
// steps; the model keeps, for each write, the set of nodes per part.
typedef struct {
    bool is_open;
    bb_level_t level;
    uint32_t part_count;
    uint32_t partitions[8];
    uint64_t seqs[8];
    uint32_t masks[8]; // nodes
} s_model_t;

static bool s_model_is_met(const s_model_t *write)
{
    for (uint32_t i = 0; i < write->part_count; i++) {
        uint32_t copies = (uint32_t)__builtin_popcount(write->masks[i]);
        uint32_t need = write->level == BB_LEVEL_ONE            ? 1
                        : write->level == BB_LEVEL_LOCAL_QUORUM ? 2
                                                                : 3;
        if (copies < need) {
            return false;
        }
    }
    return true;
}

static void random_events_against_a_model(void **state)
{
    (void)state;
    static s_model_t model[1000];
    memset(model, 0, sizeof model);
    bb_random_t random = bb_random_seed(20260101);
    s_fixture_t fixture = s_new(3, 3, 0, 0);
    uint32_t write_count = 0;
    const bb_level_t levels[] = {BB_LEVEL_ONE, BB_LEVEL_LOCAL_QUORUM, BB_LEVEL_ALL};
    for (uint32_t step = 0; step < 3000; step++) {
        if (bb_random_chance(&random, 1, 4) && write_count < BB_COUNT_OF(model)) {
            s_model_t *write = &model[write_count];
            write->is_open = true;
            write->level = levels[bb_random_below(&random, 3)];
            for (uint32_t p = 0; p < 8; p++) {
                if (bb_random_chance(&random, 1, 2)) {
                    write->partitions[write->part_count++] = p;
                }
            }
            if (write->part_count == 0) {
                write->partitions[write->part_count++] = 3;
            }
            uint32_t id = s_begin(&fixture, write->level, write->partitions, write->part_count,
                                  write_count, 900 * S, write->seqs);
            bb_replication_sent(fixture.core, id, 1, 10);
            bb_replication_sent(fixture.core, id, 2, 10);
            write_count++;
            continue;
        }
        uint32_t node = (uint32_t)bb_random_below(&random, 3);
        uint32_t partition = (uint32_t)bb_random_below(&random, 8);
        uint64_t last = bb_replication_seq_last(fixture.core, partition);
        if (last == 0) {
            continue;
        }
        uint64_t from = bb_random_between(&random, 1, last);
        uint64_t to = from + bb_random_below(&random, 6);
        to = BB_MIN(to, last);
        uint32_t whole = UINT32_MAX; // a write of which all is acknowledged at once
        if (bb_random_chance(&random, 1, 3)) {
            whole = (uint32_t)bb_random_below(&random, write_count);
            bb_ack_batch_t batch =
                s_batch(model[whole].partitions, model[whole].seqs, model[whole].part_count);
            assert_int_equal(
                bb_replication_durable_batch(fixture.core, node, (bb_lane_t){1, 0}, &batch, S),
                BB_OK);
        } else {
            assert_int_equal(bb_replication_durable(fixture.core, node, partition, from, to, S),
                             BB_OK);
        }
        bool expected[BB_COUNT_OF(model)] = {false};
        uint32_t expected_count = 0;
        for (uint32_t w = 0; w < write_count; w++) {
            for (uint32_t i = 0; i < model[w].part_count; i++) {
                if (w == whole || (whole == UINT32_MAX && model[w].partitions[i] == partition &&
                                   model[w].seqs[i] >= from && model[w].seqs[i] <= to)) {
                    model[w].masks[i] |= 1u << node;
                }
            }
            if (model[w].is_open && s_model_is_met(&model[w])) {
                model[w].is_open = false;
                expected[w] = true;
                expected_count++;
            }
        }
        bb_replication_done_t done;
        while (bb_replication_next(fixture.core, &done)) {
            assert_true(expected[done.context]);
            expected[done.context] = false;
            expected_count--;
        }
        assert_int_equal(expected_count, 0);
    }
    s_free(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_by_their_definition),
        cmocka_unit_test(all_parts_count),
        cmocka_unit_test(dots_and_ranges),
        cmocka_unit_test(bad_reports_change_nothing),
        cmocka_unit_test(deadline_says_unknown),
        cmocka_unit_test(owed_bytes),
        cmocka_unit_test(failing_and_late_ids),
        cmocka_unit_test(bounded),
        cmocka_unit_test(debts_of_the_far_side_make_room),
        cmocka_unit_test(how_soon_nodes_acknowledge),
        cmocka_unit_test(reachable_levels),
        cmocka_unit_test(batches_as_a_whole),
        cmocka_unit_test(batches_lane_by_lane),
        cmocka_unit_test(random_events_against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
