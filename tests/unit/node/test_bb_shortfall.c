// SPDX-License-Identifier: Apache-2.0
// What replicas lack, by definition and by an oracle that remembers every moment.
#include "node/ingest/bb_shortfall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"
#include "tests/unit/node/replication_topology.h"

#define MS         BB_NS_PER_MS
#define PARTITIONS 4
#define NODES      3

typedef struct {
    bb_topology_t *topology;
    bb_have_view_t *view;
    bb_shortfall_t *shortfall;
    bb_have_set_t own[PARTITIONS];
    bb_forgotten_t forgotten;
    bool is_counting[NODES];
    uint8_t start[NODES]; // which process of the node is there
    uint64_t version;
    uint64_t lag[NODES];
    bb_shortfall_counts_t counts;
} s_fixture_t;

static const bb_have_set_t *s_own(void *context, uint32_t partition)
{
    return &((s_fixture_t *)context)->own[partition];
}

static void s_up(s_fixture_t *f, int64_t now, uint32_t node, bool is_up)
{
    bb_stream_t incarnation = test_stream((uint8_t)(10 * node + f->start[node]));
    bb_have_view_peer(f->view, now, node, is_up, &incarnation, 1);
    f->is_counting[node] = is_up;
}

// This node and two peers have all partitions; both are up, and have told of nothing.
static void s_new(s_fixture_t *f)
{
    memset(f, 0, sizeof *f);
    f->topology = test_topology(NODES, NODES, 0, 0, PARTITIONS, 0);
    bb_have_view_options_t options = {.topology = f->topology,
                                      .store_count = 1,
                                      .report_interval_ns = 500 * MS,
                                      .request_id_first = 1,
                                      .own = s_own,
                                      .own_context = f,
                                      .forgotten = &f->forgotten};
    f->view = bb_have_view_new(&options);
    f->shortfall = bb_shortfall_new(f->view);
    f->is_counting[0] = true;
    for (uint32_t node = 1; node < NODES; node++) {
        s_up(f, 0, node, true);
    }
}

static void s_free(s_fixture_t *f)
{
    bb_shortfall_destroy(&f->shortfall);
    bb_have_view_destroy(&f->view);
    bb_topology_destroy(&f->topology);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bb_have_set_clear(&f->own[p]);
    }
}

// This node has [1, last] of stream 1 in the partition.
static void s_have(s_fixture_t *f, uint32_t partition, uint64_t last)
{
    bb_stream_t stream = test_stream(1);
    assert_int_equal(bb_have_set_add(&f->own[partition], &stream, 1, last, NULL), BB_OK);
}

// The node reports that it has [1, last[p]] of stream 1 in partition p; 0: nothing.
static void s_tell(s_fixture_t *f, int64_t now, uint32_t node, const uint64_t *last)
{
    uint8_t bytes[PARTITIONS][64];
    bb_have_entry_t entries[PARTITIONS];
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bb_have_set_t set = {0};
        bb_stream_t stream = test_stream(1);
        if (last[p] > 0) {
            assert_int_equal(bb_have_set_add(&set, &stream, 1, last[p], NULL), BB_OK);
        }
        size_t length = bb_have_set_encoded_bytes(&set);
        assert_true(length <= sizeof bytes[p]);
        bb_have_set_encode(&set, bytes[p]);
        bb_have_set_clear(&set);
        entries[p] = (bb_have_entry_t){p, bb_slice(bytes[p], length)};
    }
    bb_have_request_t request;
    uint64_t id = bb_have_view_ask(f->view, now, node, 0, &request);
    bb_have_t have = {.incarnation = test_stream((uint8_t)(10 * node + f->start[node])),
                      .version = ++f->version,
                      .is_last = true,
                      .lane = {1, 0},
                      .entry_count = PARTITIONS,
                      .entries = entries};
    assert_int_equal(bb_have_view_report(f->view, now, node, id, true, &have), BB_OK);
}

static void s_tell_all(s_fixture_t *f, int64_t now, uint32_t node, uint64_t last)
{
    const uint64_t lasts[PARTITIONS] = {last, last, last, last};
    s_tell(f, now, node, lasts);
}

static uint32_t s_look(s_fixture_t *f, int64_t now)
{
    f->counts = bb_shortfall_look(f->shortfall, now, f->is_counting, f->lag);
    return f->counts.under_replicated;
}

// All have chunk 1 of each partition, and this was seen.
static void s_new_equal(s_fixture_t *f)
{
    s_new(f);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_have(f, p, 1);
    }
    s_tell_all(f, 0, 1, 1);
    s_tell_all(f, 0, 2, 1);
    assert_int_equal(s_look(f, 0), 0);
    assert_int_equal(f->counts.unequal, 0);
}

// Goal: sums by their definition: what a replica lacks of what any has, this node included.
static void lags(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new_equal(&f);
    s_have(&f, 0, 5);
    s_have(&f, 1, 5);
    s_tell(&f, 1, 1, (uint64_t[]){5, 5, 1, 1});
    s_tell(&f, 1, 2, (uint64_t[]){3, 5, 1, 9});
    s_look(&f, 1);
    assert_int_equal(f.lag[0], 8);
    assert_int_equal(f.lag[1], 8);
    assert_int_equal(f.lag[2], 2);
    assert_int_equal(f.counts.unequal, 2);
    s_free(&f);
}

// Goal: a replica that is down, does not count or has told of nothing yet is said at once, whatever
// it holds; so is that this node itself does not count.
static void missing_replicas_count_at_once(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    assert_int_equal(s_look(&f, 0), PARTITIONS); // nothing is known
    assert_int_equal(f.counts.unequal, PARTITIONS);
    s_tell_all(&f, 1, 1, 0);
    assert_int_equal(s_look(&f, 1), PARTITIONS);
    s_tell_all(&f, 2, 2, 0);
    assert_int_equal(s_look(&f, 2), 0);
    for (uint32_t node = 0; node < NODES; node++) {
        f.is_counting[node] = false; // joins, or is being rebuilt
        assert_int_equal(s_look(&f, 3), PARTITIONS);
        assert_int_equal(f.counts.unequal, PARTITIONS);
        f.is_counting[node] = true;
        assert_int_equal(s_look(&f, 3), 0);
    }
    s_up(&f, 4, 2, false);
    assert_int_equal(s_look(&f, 4), PARTITIONS);
    s_up(&f, 5, 2, true);
    assert_int_equal(s_look(&f, 5), 0); // the same process with what was known of it
    s_up(&f, 6, 2, false);
    f.start[2]++;
    s_up(&f, 6, 2, true);
    assert_int_equal(s_look(&f, 6), PARTITIONS); // another, which has told of nothing
    s_free(&f);
}

// Goal: what is lacking counts when it has been lacking for BB_SHORTFALL_NS, and is unequal at
// once.
static void lacks_count_after_a_while(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new_equal(&f);
    s_have(&f, 2, 2);
    assert_int_equal(s_look(&f, 10 * MS), 0);
    assert_int_equal(f.counts.unequal, 1);
    assert_int_equal(s_look(&f, 10 * MS + BB_SHORTFALL_NS - 1), 0);
    assert_int_equal(s_look(&f, 10 * MS + BB_SHORTFALL_NS), 1);
    s_tell(&f, 3000 * MS, 1, (uint64_t[]){1, 1, 2, 1});
    assert_int_equal(s_look(&f, 3000 * MS), 1); // node 2 lacks it still
    s_tell(&f, 3001 * MS, 2, (uint64_t[]){1, 1, 2, 1});
    assert_int_equal(s_look(&f, 3001 * MS), 0);
    assert_int_equal(f.counts.unequal, 0);
    s_free(&f);
}

// Goal: writers that never pause are no shortage as long as each report brings what is a second
// old; and a replica that stays behind them is one all the time, also when it gets something.
static void writers_that_never_pause(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new_equal(&f);
    for (uint32_t i = 1; i <= 600; i++) { // a chunk each 50 ms, half a minute
        int64_t now = i * 50 * MS;
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            s_have(&f, p, 1 + i);
        }
        for (uint32_t node = 1; node < NODES && i % 20 == 0; node++) {
            s_tell_all(&f, now, node, i - 1); // what it had when it was asked
        }
        assert_int_equal(s_look(&f, now), 0);
        assert_int_equal(f.counts.unequal, PARTITIONS);
    }
    uint32_t counted = 0;
    for (uint32_t i = 601; i <= 1200; i++) { // node 2 falls five seconds behind
        int64_t now = i * 50 * MS;
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            s_have(&f, p, 1 + i);
        }
        for (uint32_t node = 1; node < NODES && i % 20 == 0; node++) {
            s_tell_all(&f, now, node, i - (node == 2 ? BB_MIN(i - 600, 100) : 1));
        }
        bool is_short = s_look(&f, now) == PARTITIONS;
        counted += is_short;
        assert_true(is_short || i < 601 + 2 * BB_SHORTFALL_NS / (50 * MS) + 1);
    }
    assert_true(counted >= 600 - 2 * BB_SHORTFALL_NS / (50 * MS) - 1);
    s_free(&f);
}

// Goal: who comes back counts as lacking until it has what there was, without a pause in between.
static void returns_without_a_gap(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new_equal(&f);
    s_up(&f, 1, 2, false);
    f.start[2]++;
    assert_int_equal(s_look(&f, 1), PARTITIONS);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_have(&f, p, 500);
    }
    s_tell_all(&f, 9000 * MS, 1, 500);
    assert_int_equal(s_look(&f, 9000 * MS), PARTITIONS);
    s_up(&f, 9001 * MS, 2, true);
    assert_int_equal(s_look(&f, 9001 * MS), PARTITIONS); // it has told of nothing
    s_tell_all(&f, 9002 * MS, 2, 1);
    assert_int_equal(s_look(&f, 9002 * MS), PARTITIONS); // it lacks 499
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_have(&f, p, 501);
    }
    s_tell_all(&f, 9003 * MS, 2, 499);
    assert_int_equal(s_look(&f, 9003 * MS), PARTITIONS); // and still one of these
    s_tell_all(&f, 9004 * MS, 2, 500);
    assert_int_equal(s_look(&f, 9004 * MS), 0); // chunk 501 is new
    assert_int_equal(f.counts.unequal, PARTITIONS);
    s_free(&f);
}

// Goal: nobody must have what was forgotten. Method: the stream that a replica lacks is forgotten.
static void forgotten_streams_are_no_shortage(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new_equal(&f);
    bb_stream_t dead = bb_stream_make(7, 3, (uint8_t[8]){1});
    assert_int_equal(bb_have_set_add(&f.own[1], &dead, 1, 4, NULL), BB_OK);
    assert_int_equal(s_look(&f, 1), 0);
    assert_int_equal(s_look(&f, 1 + BB_SHORTFALL_NS), 1);
    s_have(&f, 1, 2); // so that the partition stays unequal, and its marks
    assert_true(bb_forgotten_raise(&f.forgotten, 7, 4));
    bb_forgotten_drop(&f.forgotten, &f.own[1]);
    bb_have_view_forget(f.view);
    bb_shortfall_forget(f.shortfall);
    assert_int_equal(s_look(&f, 2 + BB_SHORTFALL_NS), 0);
    assert_int_equal(f.counts.unequal, 1);
    assert_int_equal(s_look(&f, 1 + 2 * BB_SHORTFALL_NS), 0); // the younger mark is the older now
    assert_int_equal(s_look(&f, 1 + 3 * BB_SHORTFALL_NS), 1); // chunk 2 of the other stream
    s_free(&f);
}

// What each replica had of one partition at the looks before, from the definition.
typedef struct {
    int64_t time;
    uint64_t existing;
} s_past_t;

// Goal: nothing younger than BB_SHORTFALL_NS is counted, everything older than twice that is.
// Method: random writes, reports and looks; each look is compared with all that existed before.
static void by_age_alone(void **state)
{
    (void)state;
    enum { LOOKS = 400 };
    for (uint64_t seed = 1; seed <= 50; seed++) {
        s_fixture_t f;
        s_new_equal(&f);
        bb_random_t random = bb_random_seed(seed);
        s_past_t past[LOOKS + 1] = {{0, 1}};
        uint64_t has[NODES] = {1, 1, 1};
        uint32_t counted = 0, uncounted = 0;
        int64_t now = 0, step = (int64_t)bb_random_below(&random, 900) * MS + 1;
        for (uint32_t i = 1; i <= LOOKS; i++) {
            now += (int64_t)bb_random_below(&random, (uint64_t)step) + 1;
            if (bb_random_chance(&random, 3, 4)) {
                has[0] += bb_random_below(&random, 3);
                s_have(&f, 3, has[0]);
            }
            uint32_t node = 1 + (uint32_t)bb_random_below(&random, NODES - 1);
            if (bb_random_chance(&random, 1, 3)) {
                has[node] += bb_random_below(&random, has[0] - has[node] + 1);
                s_tell(&f, now, node, (uint64_t[]){1, 1, 1, has[node]});
            }
            past[i] = (s_past_t){now, has[0]};
            uint64_t least = BB_MIN(has[1], has[2]), young = 0, old = 0;
            for (uint32_t j = 0; j <= i; j++) {
                young = past[j].time <= now - BB_SHORTFALL_NS ? past[j].existing : young;
                old = past[j].time <= now - 2 * (BB_SHORTFALL_NS + step) ? past[j].existing : old;
            }
            bool is_counted = s_look(&f, now) > 0;
            assert_true(!is_counted || least < young);
            assert_true(is_counted || least >= old);
            assert_int_equal(f.counts.unequal, least < has[0]);
            assert_int_equal(f.lag[1], has[0] - has[1]);
            counted += is_counted;
            uncounted += !is_counted && f.counts.unequal > 0;
        }
        assert_true(counted + uncounted > 0);
        s_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lags),
        cmocka_unit_test(missing_replicas_count_at_once),
        cmocka_unit_test(lacks_count_after_a_while),
        cmocka_unit_test(writers_that_never_pause),
        cmocka_unit_test(returns_without_a_gap),
        cmocka_unit_test(forgotten_streams_are_no_shortage),
        cmocka_unit_test(by_age_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
