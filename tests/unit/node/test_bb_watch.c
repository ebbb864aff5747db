// SPDX-License-Identifier: Apache-2.0
// Watched sets: whose turn it is, what counts as watched, what is gone.
#include "node/ingest/bb_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/unit/node/replication_topology.h"

#define S          BB_NS_PER_S
#define NODES      3
#define PARTITIONS 4

typedef struct {
    bb_topology_t *topology;
    bb_have_view_t *view;
    bb_watch_t *watch;
    bb_have_set_t own[PARTITIONS];
} s_fixture_t;

static const bb_have_set_t *s_own(void *context, uint32_t partition)
{
    return &((s_fixture_t *)context)->own[partition];
}

static void s_new_in(s_fixture_t *f, bb_topology_t *topology)
{
    memset(f, 0, sizeof *f);
    f->topology = topology;
    bb_have_view_options_t options = {.topology = f->topology,
                                      .store_count = 1,
                                      .report_interval_ns = S,
                                      .request_id_first = 1,
                                      .own = s_own,
                                      .own_context = f};
    f->view = bb_have_view_new(&options);
    f->watch = bb_watch_new(f->topology, f->view, s_own, f);
}

static void s_new(s_fixture_t *f, uint32_t self_index)
{
    s_new_in(f, test_topology(NODES, NODES, 0, 0, PARTITIONS, self_index));
}

static void s_free(s_fixture_t *f)
{
    bb_watch_destroy(&f->watch);
    bb_have_view_destroy(&f->view);
    bb_topology_destroy(&f->topology);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bb_have_set_clear(&f->own[p]);
    }
}

static void s_add(bb_have_set_t *set, uint64_t first, uint64_t last)
{
    bb_stream_t stream = test_stream(1);
    assert_int_equal(bb_have_set_add(set, &stream, first, last, NULL), BB_OK);
}

static void s_done(s_fixture_t *f, uint32_t partition, uint64_t seq)
{
    bb_stream_t stream = test_stream(1);
    assert_int_equal(bb_watch_add(f->watch, partition, &stream, seq), BB_OK);
}

static bool s_is_done(const s_fixture_t *f, uint32_t partition, uint64_t first, uint64_t last)
{
    bb_stream_t stream = test_stream(1);
    return bb_watch_is_done(f->watch, partition, &stream, first, last);
}

static uint32_t s_due(s_fixture_t *f, int64_t now_ns)
{
    uint32_t partitions[PARTITIONS];
    return bb_watch_due(f->watch, now_ns, partitions);
}

// Goal: in each partition exactly one of the replicas is due at once; each of the others only after
// one more turn. Method: three nodes over one topology, all up.
static void one_owner_a_partition(void **state)
{
    (void)state;
    uint32_t at_once[PARTITIONS] = {0}, second[PARTITIONS] = {0}, third[PARTITIONS] = {0};
    for (uint32_t node = 0; node < NODES; node++) {
        s_fixture_t f;
        s_new(&f, node);
        for (uint32_t other = 0; other < NODES; other++) {
            bb_watch_serving(f.watch, other, true);
        }
        assert_int_equal(s_due(&f, 0), 0); // nothing is there
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            s_add(&f.own[p], 1, 3);
        }
        uint32_t partitions[PARTITIONS];
        for (uint32_t i = 0, n = bb_watch_due(f.watch, S, partitions); i < n; i++) {
            at_once[partitions[i]]++;
        }
        for (uint32_t i = 0, n = bb_watch_due(f.watch, S + BB_WATCH_TURN_NS, partitions); i < n;
             i++) {
            second[partitions[i]]++;
        }
        for (uint32_t i = 0, n = bb_watch_due(f.watch, S + 2 * BB_WATCH_TURN_NS, partitions); i < n;
             i++) {
            third[partitions[i]]++;
        }
        s_free(&f);
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        assert_int_equal(at_once[p], 1);
        assert_int_equal(second[p], 2);
        assert_int_equal(third[p], 3);
    }
}

// Goal: those that are down, or do not count, are nobody's owner; a node that does not count itself
// is never due.
static void the_next_one_takes_over(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 1);
    s_add(&f.own[0], 1, 1);
    s_add(&f.own[1], 1, 1);
    s_add(&f.own[2], 1, 1);
    s_add(&f.own[3], 1, 1);
    assert_int_equal(s_due(&f, S), PARTITIONS); // the others have not been seen
    bb_watch_serving(f.watch, 1, false);
    assert_int_equal(s_due(&f, 100 * S), 0);
    s_free(&f);
}

// Goal: steady progress of the owner makes nobody else due; one chunk that it leaves out does,
// though all later ones are watched.
static void what_is_left_out_is_taken_up(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 1);
    uint32_t p = 0; // one whose owner is another
    while (bb_topology_replicas(f.topology, p)[0] == 1) {
        p++;
        assert_true(p < PARTITIONS);
    }
    bb_watch_serving(f.watch, bb_topology_replicas(f.topology, p)[0], true);
    uint64_t seq = 1;
    for (int64_t now_ns = S; now_ns < 20 * S; now_ns += S / 10) {
        s_add(&f.own[p], seq, seq);
        assert_int_equal(s_due(&f, now_ns), 0);
        s_done(&f, p, seq++);
    }
    s_add(&f.own[p], seq, seq); // this one the owner leaves out
    uint64_t left_out = seq++;
    bool was_due = false;
    for (int64_t now_ns = 20 * S; now_ns < 24 * S; now_ns += S / 10) {
        s_add(&f.own[p], seq, seq);
        was_due |= s_due(&f, now_ns) == 1;
        assert_true(!was_due || now_ns >= 20 * S + BB_WATCH_TURN_NS);
        s_done(&f, p, seq++);
    }
    assert_true(was_due);
    assert_false(s_is_done(&f, p, left_out, left_out));
    s_done(&f, p, left_out);
    assert_int_equal(s_due(&f, 30 * S), 0);
    s_free(&f);
}

// Goal: what others say is joined; a range is watched only as a whole; versions tell what changed.
static void sets_are_joined(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 0);
    bb_have_set_t told = {0};
    s_add(&told, 1, 5);
    s_add(&f.own[2], 1, 8);
    assert_false(bb_watch_is_complete(f.watch));
    bb_watch_learn(f.watch, 2, &told);
    uint64_t done_version = bb_watch_done_version(f.watch);
    assert_true(done_version > 0);
    assert_int_equal(bb_watch_version(f.watch), 0); // who told it tells the others
    bb_watch_learn(f.watch, 2, &told);
    assert_int_equal(bb_watch_done_version(f.watch), done_version); // nothing new
    assert_true(s_is_done(&f, 2, 2, 5));
    assert_false(s_is_done(&f, 2, 5, 6));
    assert_false(s_is_done(&f, 3, 1, 1));
    s_done(&f, 2, 6);
    s_done(&f, 2, 7);
    s_done(&f, 2, 8);
    assert_int_equal(bb_watch_set_version(f.watch, 2), bb_watch_version(f.watch));
    assert_int_equal(bb_watch_set_version(f.watch, 1), 0);
    assert_true(bb_watch_version(f.watch) > 0 && bb_watch_done_version(f.watch) > done_version);
    assert_true(s_is_done(&f, 2, 1, 8));
    assert_true(bb_watch_is_complete(f.watch));
    bb_have_set_clear(&told);
    s_free(&f);
}

// Goal: what is durable here and in no journal here has not to be evaluated, and others are not
// told that it is watched; what comes later has.
static void settled_is_known_here_alone(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 0);
    s_add(&f.own[1], 1, 4);
    assert_int_equal(s_due(&f, S), 1);
    bb_watch_settled(f.watch, 1);
    assert_true(bb_watch_done_version(f.watch) > 0); // others may forget dead streams for it
    assert_true(s_is_done(&f, 1, 1, 4));
    assert_true(bb_watch_is_complete(f.watch));
    assert_int_equal(bb_watch_version(f.watch), 0);
    assert_int_equal(bb_watch_set(f.watch, 1)->stream_count, 0);
    assert_int_equal(s_due(&f, S), 0);
    s_add(&f.own[1], 5, 5);
    assert_int_equal(s_due(&f, S), 1);
    assert_false(s_is_done(&f, 1, 1, 5));
    s_done(&f, 1, 5);
    assert_true(s_is_done(&f, 1, 1, 5)); // one range of both
    assert_int_equal(bb_have_set_count(bb_watch_set(f.watch, 1)), 1);
    s_free(&f);
}

// Goal: what is begun is not due, is not settled and is not watched; given back it is due again.
static void begun_is_not_due(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 0);
    bb_stream_t stream = test_stream(1);
    s_add(&f.own[1], 1, 3);
    s_add(&f.own[1], 6, 10);
    const uint64_t begun[] = {2, 6, 8, 10};
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(bb_watch_begin(f.watch, 1, &stream, begun[i]), BB_OK);
    }
    assert_true(bb_watch_is_owner(f.watch, 1));
    assert_int_equal(s_due(&f, S), 1);
    bb_watch_settled(f.watch, 1);
    assert_int_equal(s_due(&f, S), 0);
    assert_false(bb_watch_is_idle(f.watch));
    for (uint64_t seq = 1; seq <= 10; seq++) {
        bool is_settled = seq == 1 || seq == 3 || seq == 7 || seq == 9;
        assert_int_equal(s_is_done(&f, 1, seq, seq), is_settled);
    }
    bb_watch_begin_none(f.watch, 1);
    assert_int_equal(s_due(&f, S), 1);
    for (uint32_t i = 0; i < 4; i++) {
        s_done(&f, 1, begun[i]);
    }
    assert_int_equal(s_due(&f, S), 0);
    assert_true(bb_watch_is_idle(f.watch));
    assert_true(s_is_done(&f, 1, 1, 3) && s_is_done(&f, 1, 6, 10));
    s_free(&f);
}

// Goal: a set without room for one range takes the others, and what was left out is taken when it
// is told or added again, though it is watched already.
static void what_had_no_room_comes_again(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 0);
    for (uint64_t i = 0; i < BB_HAVE_RANGES_MAX; i++) {
        s_add(&f.own[1], 2 * i + 1, 2 * i + 1);
    }
    bb_watch_settled(f.watch, 1); // no room
    bb_have_set_t told = {0};
    bb_stream_t other = test_stream(2);
    s_add(&told, 1000, 1000);
    assert_int_equal(bb_have_set_add(&told, &other, 1, 3, NULL), BB_OK);
    bb_watch_learn(f.watch, 1, &told);
    assert_false(s_is_done(&f, 1, 1000, 1000));
    assert_true(bb_watch_is_done(f.watch, 1, &other, 1, 3));
    assert_true(bb_have_set_includes(bb_watch_set(f.watch, 1), &told));
    bb_stream_t stream = test_stream(1);
    assert_int_equal(bb_watch_add(f.watch, 1, &stream, 1000), BB_ERR_LIMIT);
    s_add(&f.own[1], 2, 2);
    s_add(&f.own[1], 6, 6);
    bb_watch_settled(f.watch, 1); // room for two
    bb_watch_learn(f.watch, 1, &told);
    assert_true(s_is_done(&f, 1, 1000, 1000));
    s_done(&f, 1, 2000);
    assert_true(s_is_done(&f, 1, 2000, 2000));
    bb_have_set_clear(&told);
    s_free(&f);
}

// Goal: replicas of another data centre take no turns away: each one watches for itself. Method:
// two data centres of two nodes, all up; in each exactly one node is due at once.
static void data_centres_watch_for_themselves(void **state)
{
    (void)state;
    uint32_t due_in_dc[2][PARTITIONS] = {{0}};
    for (uint32_t node = 0; node < 4; node++) {
        s_fixture_t f;
        s_new_in(&f, test_topology(2, 2, 2, 2, PARTITIONS, node));
        for (uint32_t other = 0; other < 4; other++) {
            bb_watch_serving(f.watch, other, true);
        }
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            s_add(&f.own[p], 1, 1);
        }
        uint32_t partitions[PARTITIONS];
        for (uint32_t i = 0, n = bb_watch_due(f.watch, S, partitions); i < n; i++) {
            due_in_dc[node / 2][partitions[i]]++;
        }
        s_free(&f);
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        assert_int_equal(due_in_dc[0][p], 1);
        assert_int_equal(due_in_dc[1][p], 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_owner_a_partition),
        cmocka_unit_test(the_next_one_takes_over),
        cmocka_unit_test(what_is_left_out_is_taken_up),
        cmocka_unit_test(sets_are_joined),
        cmocka_unit_test(settled_is_known_here_alone),
        cmocka_unit_test(begun_is_not_due),
        cmocka_unit_test(what_had_no_room_comes_again),
        cmocka_unit_test(data_centres_watch_for_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
