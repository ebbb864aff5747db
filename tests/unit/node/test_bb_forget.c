// SPDX-License-Identifier: Apache-2.0
// When may streams of earlier starts be forgotten? The rule case by case, and against a small model
// of a cluster in which chunks move, are sealed and reported in any order.
#include "node/ingest/bb_forget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"
#include "tests/unit/node/replication_topology.h"

#define PARTITIONS 4
#define NODES      3
#define PRESENT    9 // number of node 0's present start
#define STARTS     3 // of those before it: 6, 7, 8

typedef struct {
    bb_topology_t *topology;
    bb_have_view_t *view;
    bb_have_set_t have[NODES][PARTITIONS];
    bb_have_set_t sealed[NODES][PARTITIONS];
    uint32_t unsealed_first[NODES]; // of node 0's streams
    uint64_t version[NODES];
    bb_stream_t present;
} s_model_t;

static const uint8_t s_random[8] = {1};

static bb_stream_t s_stream(uint32_t number)
{
    return bb_stream_make(bb_stream_node_hash("n1"), number, s_random);
}

static const bb_have_set_t *s_own(void *context, uint32_t partition)
{
    return &((s_model_t *)context)->have[0][partition];
}

static void s_new(s_model_t *self)
{
    *self = (s_model_t){.topology = test_topology(NODES, NODES, 0, 0, PARTITIONS, 0),
                        .present = s_stream(PRESENT)};
    bb_have_view_options_t options = {.topology = self->topology,
                                      .store_count = 1,
                                      .report_interval_ns = BB_NS_PER_S,
                                      .request_id_first = 1,
                                      .own = s_own,
                                      .own_context = self};
    self->view = bb_have_view_new(&options);
    for (uint32_t node = 0; node < NODES; node++) {
        self->unsealed_first[node] = UINT32_MAX;
        bb_stream_t incarnation = test_stream((uint8_t)(10 + node));
        if (node > 0) {
            bb_have_view_peer(self->view, 0, node, true, &incarnation, 1);
        }
    }
}

static void s_free(s_model_t *self)
{
    bb_have_view_destroy(&self->view);
    bb_topology_destroy(&self->topology);
    for (uint32_t node = 0; node < NODES; node++) {
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            bb_have_set_clear(&self->have[node][p]);
            bb_have_set_clear(&self->sealed[node][p]);
        }
    }
}

static void s_take(s_model_t *self, uint32_t node, uint32_t partition, uint32_t number,
                   uint64_t seq)
{
    bb_stream_t stream = s_stream(number);
    bool added = false;
    assert_int_equal(bb_have_set_add(&self->have[node][partition], &stream, seq, seq, &added),
                     BB_OK);
    if (added) {
        self->unsealed_first[node] = BB_MIN(self->unsealed_first[node], number);
    }
}

static void s_seal(s_model_t *self, uint32_t node)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bb_have_set_copy(&self->sealed[node][p], &self->have[node][p]);
    }
    self->unsealed_first[node] = UINT32_MAX;
}

// The node's whole report, as a shard makes it.
static void s_report(s_model_t *self, uint32_t node, bool is_counted)
{
    bb_have_request_t request;
    uint64_t id = bb_have_view_ask(self->view, 0, node, 0, &request);
    uint8_t *bytes[PARTITIONS];
    bb_have_entry_t entries[PARTITIONS];
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        size_t length = bb_have_set_encoded_bytes(&self->have[node][p]);
        bytes[p] = bb_alloc(length + 1);
        bb_have_set_encode(&self->have[node][p], bytes[p]);
        entries[p] = (bb_have_entry_t){.partition = p, .have = bb_slice(bytes[p], length)};
    }
    bb_have_t report = {.incarnation = test_stream((uint8_t)(10 + node)),
                        .version = ++self->version[node],
                        .is_last = true,
                        .lane = request.lane,
                        .entry_count = PARTITIONS,
                        .entries = entries,
                        .sealed_below = self->unsealed_first[node]};
    assert_int_equal(bb_have_view_report(self->view, 0, node, id, is_counted, &report), BB_OK);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        free(bytes[p]);
    }
}

static bool s_is_settled(s_model_t *self)
{
    bb_forget_look_t look = {.topology = self->topology,
                             .view = self->view,
                             .own = s_own,
                             .own_context = self,
                             .present = &self->present,
                             .unsealed_first = self->unsealed_first[0]};
    return bb_forget_is_settled(&look);
}

// Goal: each condition alone keeps them: a replica that has not reported, one that lacks a chunk,
// one that has one more, one that has not sealed, we that have not, one that does not count, one
// that is down.
static void each_condition(void **state)
{
    (void)state;
    s_model_t model, *self = &model;
    s_new(self);
    for (uint32_t node = 0; node < NODES; node++) {
        s_take(self, node, 1, 7, 1);
        s_take(self, node, 2, 8, 1);
    }
    assert_false(s_is_settled(self)); // nobody has reported
    for (uint32_t node = 0; node < NODES; node++) {
        s_seal(self, node);
    }
    s_report(self, 1, true);
    assert_false(s_is_settled(self));
    s_report(self, 2, true);
    assert_true(s_is_settled(self));

    s_take(self, 0, 0, 8, 4); // found in our journal: they lack it
    s_seal(self, 0);
    assert_false(s_is_settled(self));
    s_take(self, 1, 0, 8, 4);
    s_report(self, 1, true); // has it, and has not sealed it
    s_take(self, 2, 0, 8, 4);
    s_seal(self, 2);
    s_report(self, 2, true);
    assert_false(s_is_settled(self));
    s_seal(self, 1);
    s_report(self, 1, false); // does not count
    assert_false(s_is_settled(self));
    s_report(self, 1, true);
    assert_true(s_is_settled(self));

    s_take(self, 2, 1, 6, 9); // we lack one
    s_seal(self, 2);
    s_report(self, 2, true);
    assert_false(s_is_settled(self));
    s_take(self, 0, 1, 6, 9);
    s_take(self, 1, 1, 6, 9);
    s_seal(self, 1);
    s_report(self, 1, true);
    assert_false(s_is_settled(self)); // ours is in the journal alone
    s_seal(self, 0);
    assert_true(s_is_settled(self));

    s_take(self, 0, 0, PRESENT, 1); // what the present start writes is not looked at
    s_take(self, 1, 0, PRESENT, 1);
    s_report(self, 1, true);
    assert_true(s_is_settled(self));
    bb_stream_t incarnation = test_stream(11);
    bb_have_view_peer(self->view, 0, 1, false, &incarnation, 1);
    assert_false(s_is_settled(self));
    s_free(self);
}

// Everything of the earlier starts that anybody holds is sealed everywhere.
static bool s_is_everywhere(const s_model_t *self)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        for (uint32_t number = PRESENT - STARTS; number < PRESENT; number++) {
            bb_stream_t stream = s_stream(number);
            for (uint64_t seq = 1; seq <= 4; seq++) {
                uint32_t held = 0, sealed = 0;
                for (uint32_t node = 0; node < NODES; node++) {
                    held += bb_have_set_contains(&self->have[node][p], &stream, seq);
                    sealed += bb_have_set_contains(&self->sealed[node][p], &stream, seq);
                }
                if (held > 0 && sealed < NODES) {
                    return false;
                }
            }
        }
    }
    return true;
}

// Goal: whenever it says so, every chunk that exists of those streams is sealed at every replica;
// and it says so in the end. Method: chunks of dead streams lie anywhere at first; then nodes take
// single ones from each other, seal, and report, in random order.
static void random_histories(void **state)
{
    (void)state;
    uint32_t early = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        bb_random_t random = bb_random_seed(seed);
        s_model_t model, *self = &model;
        s_new(self);
        for (uint32_t i = 0; i < 12; i++) {
            s_take(self, (uint32_t)bb_random_below(&random, NODES),
                   (uint32_t)bb_random_below(&random, PARTITIONS),
                   PRESENT - 1 - (uint32_t)bb_random_below(&random, STARTS),
                   bb_random_between(&random, 1, 4));
        }
        bool is_settled = false;
        uint32_t step = 0;
        for (; step < 4000 && !is_settled; step++) {
            uint32_t node = (uint32_t)bb_random_below(&random, NODES);
            uint32_t from = (uint32_t)bb_random_below(&random, NODES);
            uint32_t p = (uint32_t)bb_random_below(&random, PARTITIONS);
            uint32_t number = PRESENT - (uint32_t)bb_random_below(&random, STARTS + 1);
            uint64_t seq = bb_random_between(&random, 1, 4);
            bb_stream_t stream = s_stream(number);
            switch (bb_random_below(&random, 8)) {
            case 0:
                s_seal(self, node);
                break;
            case 1:
                if (node > 0) {
                    s_report(self, node, bb_random_chance(&random, 9, 10));
                }
                break;
            default:
                if (number == PRESENT || bb_have_set_contains(&self->have[from][p], &stream, seq)) {
                    s_take(self, node, p, number, seq);
                }
                break;
            }
            is_settled = s_is_settled(self);
            if (is_settled && !s_is_everywhere(self)) {
                fail_msg("seed %llu: settled, and somebody lacks or has not sealed a chunk",
                         (unsigned long long)seed);
            }
        }
        early += step < 4000;
        s_free(self);
    }
    assert_true(early > 250);
}

// Goal: two nodes whose ids have one hash are found out. Ids of the test differ.
static void unique(void **state)
{
    (void)state;
    bb_topology_t *topology = test_topology(NODES, NODES, 0, 0, PARTITIONS, 0);
    assert_true(bb_forget_is_unique(topology));
    bb_topology_destroy(&topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_condition),
        cmocka_unit_test(random_histories),
        cmocka_unit_test(unique),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
