// SPDX-License-Identifier: Apache-2.0
// What peers hold: adopting reports whatever gets lost, lacks and pulls, what may be trimmed.
#include "node/ingest/bb_have_view.h"
#include "protocol/bb_have_tails.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/unit/node/replication_topology.h"

#define MS         (BB_NS_PER_MS)
#define PARTITIONS 4

typedef struct {
    bb_topology_t *topology;
    bb_have_view_t *view;
    bb_have_set_t own[PARTITIONS];
} s_fixture_t;

static const bb_have_set_t *s_own(void *context, uint32_t partition)
{
    return &((s_fixture_t *)context)->own[partition];
}

// Three nodes, each with every partition; both peers are up as streams 11 and 12.
static void s_new_from(s_fixture_t *fixture, uint64_t request_id_first)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->topology = test_topology(3, 3, 0, 0, PARTITIONS, 0);
    bb_have_view_options_t options = {.topology = fixture->topology,
                                      .store_count = 1,
                                      .report_interval_ns = 500 * MS,
                                      .request_id_first = request_id_first,
                                      .own = s_own,
                                      .own_context = fixture};
    fixture->view = bb_have_view_new(&options);
    for (uint32_t node = 1; node <= 2; node++) {
        bb_stream_t incarnation = test_stream((uint8_t)(10 + node));
        bb_have_view_peer(fixture->view, 0, node, true, &incarnation, 1);
    }
}

static void s_new(s_fixture_t *fixture)
{
    s_new_from(fixture, 1);
}

static void s_free(s_fixture_t *fixture)
{
    bb_have_view_destroy(&fixture->view);
    bb_topology_destroy(&fixture->topology);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bb_have_set_clear(&fixture->own[p]);
    }
}

static void s_add(bb_have_set_t *set, uint8_t stream, uint64_t first, uint64_t last)
{
    bb_stream_t name = test_stream(stream);
    bool added = false;
    assert_int_equal(bb_have_set_add(set, &name, first, last, &added), BB_OK);
}

static uint64_t s_ask(s_fixture_t *fixture, int64_t now, uint32_t node)
{
    bb_have_request_t request;
    return bb_have_view_ask(fixture->view, now, node, 0, &request);
}

// A report of `count` partitions from `first`, each holding [1, last] of stream 1.
typedef struct {
    uint32_t node;
    uint64_t request_id, version, since_version, last;
    uint32_t first, count;
    bool is_last;
    uint8_t incarnation; // 0: the right one
    bool is_uncounted;
} s_report_t;

static bb_error_t s_report(s_fixture_t *fixture, int64_t now, s_report_t report)
{
    bb_have_set_t set = {0};
    if (report.last > 0) {
        s_add(&set, 1, 1, report.last);
    }
    uint8_t bytes[64];
    size_t length = bb_have_set_encoded_bytes(&set);
    assert_true(length <= sizeof bytes);
    bb_have_set_encode(&set, bytes);
    bb_have_entry_t entries[PARTITIONS];
    for (uint32_t i = 0; i < report.count; i++) {
        entries[i] = (bb_have_entry_t){report.first + i, bb_slice(bytes, length)};
    }
    bb_have_t have = {.incarnation = test_stream(report.incarnation ? report.incarnation
                                                                    : (uint8_t)(10 + report.node)),
                      .version = report.version,
                      .since_version = report.since_version,
                      .is_last = report.is_last,
                      .lane = {1, 0},
                      .entry_count = report.count,
                      .entries = entries};
    bb_error_t error = bb_have_view_report(fixture->view, now, report.node, report.request_id,
                                           !report.is_uncounted, &have);
    bb_have_set_clear(&set);
    return error;
}

static uint64_t s_known(const s_fixture_t *fixture, uint32_t partition, uint32_t node)
{
    uint32_t slot = bb_topology_slot_of(fixture->topology, partition, node);
    return bb_have_set_count(bb_have_view_known(fixture->view, partition, slot));
}

// Goal: a full report in pieces counts only when all partitions were in it.
static void full_report_in_pieces(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    uint64_t id = s_ask(&f, 0, 1);
    assert_int_equal(s_report(&f, 1,
                              (s_report_t){.node = 1,
                                           .request_id = id,
                                           .version = 5,
                                           .last = 3,
                                           .first = 2,
                                           .count = 2,
                                           .is_last = true}),
                     BB_OK);
    assert_false(bb_have_view_is_known(f.view, 1, 0)); // the first piece was lost or is late
    assert_int_equal(bb_have_view_answered_id(f.view, 1, 0), 0);
    assert_int_equal(
        s_report(&f, 2,
                 (s_report_t){
                     .node = 1, .request_id = id, .version = 5, .last = 3, .first = 0, .count = 2}),
        BB_OK);
    assert_true(bb_have_view_is_known(f.view, 1, 0));
    assert_int_equal(bb_have_view_answered_id(f.view, 1, 0), id);
    bb_have_request_t request;
    bb_have_view_ask(f.view, 3, 1, 0, &request);
    assert_int_equal(request.since_version, 5);
    s_free(&f);
}

// Goal: pieces of two different reports never make one whole.
static void pieces_of_two_reports(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    uint64_t first = s_ask(&f, 0, 1), second = s_ask(&f, 1, 1);
    s_report_t piece = {.node = 1, .request_id = first, .version = 5, .last = 3, .count = 2};
    assert_int_equal(s_report(&f, 2, piece), BB_OK);
    piece = (s_report_t){.node = 1,
                         .request_id = second,
                         .version = 6,
                         .last = 4,
                         .first = 2,
                         .count = 2,
                         .is_last = true};
    assert_int_equal(s_report(&f, 3, piece), BB_OK);
    assert_false(bb_have_view_is_known(f.view, 1, 0));
    piece.request_id = first; // the rest of the older one comes last: it is overtaken
    piece.version = 5;
    assert_int_equal(s_report(&f, 4, piece), BB_OK);
    assert_false(bb_have_view_is_known(f.view, 1, 0));
    s_free(&f);
}

static void s_know(s_fixture_t *f, int64_t now, uint32_t node, uint64_t version, uint64_t last)
{
    uint64_t id = s_ask(f, now, node);
    assert_int_equal(s_report(f, now,
                              (s_report_t){.node = node,
                                           .request_id = id,
                                           .version = version,
                                           .last = last,
                                           .count = PARTITIONS,
                                           .is_last = true}),
                     BB_OK);
    assert_int_equal(bb_have_view_answered_id(f->view, node, 0), id);
}

// Goal: changes are adopted only when nothing before them was lost; overtaken ones change nothing.
static void changes_in_order(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    s_know(&f, 0, 1, 5, 3);
    uint64_t a = s_ask(&f, 1, 1), b = s_ask(&f, 2, 1);
    s_report_t change = {.node = 1,
                         .request_id = a,
                         .version = 9,
                         .since_version = 7,
                         .last = 9,
                         .count = 1,
                         .is_last = true};
    assert_int_equal(s_report(&f, 3, change), BB_OK);
    assert_int_equal(s_known(&f, 0, 1), 3); // what changed from 5 to 7 is not known
    change.since_version = 5;
    assert_int_equal(s_report(&f, 4, change), BB_OK);
    assert_int_equal(s_known(&f, 0, 1), 9);
    assert_int_equal(s_known(&f, 1, 1), 3); // unchanged ones stay
    assert_int_equal(bb_have_view_answered_id(f.view, 1, 0), a);
    change = (s_report_t){.node = 1,
                          .request_id = b,
                          .version = 6,
                          .since_version = 5,
                          .last = 4,
                          .count = 1,
                          .is_last = true};
    assert_int_equal(s_report(&f, 5, change), BB_OK);
    assert_int_equal(s_known(&f, 0, 1), 9); // an older one came late
    assert_int_equal(bb_have_view_answered_id(f.view, 1, 0), a);
    s_free(&f);
}

// Goal: what is wrong with a report is said, and it changes nothing.
static void bad_reports(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    s_know(&f, 0, 1, 5, 3);
    uint64_t id = s_ask(&f, 1, 1);
    s_report_t good = {.node = 1,
                       .request_id = id,
                       .version = 8,
                       .since_version = 5,
                       .last = 9,
                       .count = 1,
                       .is_last = true};
    s_report_t bad = good;
    bad.incarnation = 99;
    assert_int_equal(s_report(&f, 2, bad), BB_ERR_PEER_UNKNOWN);
    bad = good;
    bad.request_id = id + 1; // not asked by this process: dropped
    assert_int_equal(s_report(&f, 2, bad), BB_OK);
    assert_int_equal(s_known(&f, 0, 1), 3);
    assert_true(bb_have_view_answered_id(f.view, 1, 0) < id);
    bad.request_id = 0;
    assert_int_equal(s_report(&f, 2, bad), BB_ERR_MESSAGE_CORRUPT);
    bad = good;
    bad.since_version = 9; // changes of the future
    assert_int_equal(s_report(&f, 2, bad), BB_ERR_MESSAGE_CORRUPT);
    bad = good;
    bad.node = 0; // ourselves
    assert_int_equal(s_report(&f, 2, bad), BB_ERR_PEER_UNKNOWN);
    bb_have_entry_t entry = {.partition = PARTITIONS, .have = bb_slice(NULL, 0)};
    bb_have_t have = {.incarnation = test_stream(11),
                      .lane = {1, 0},
                      .version = 8,
                      .since_version = 5,
                      .is_last = true,
                      .entry_count = 1,
                      .entries = &entry};
    assert_int_equal(bb_have_view_report(f.view, 2, 1, id, true, &have), BB_ERR_MESSAGE_CORRUPT);
    entry = (bb_have_entry_t){.partition = 0, .have = bb_slice("12345678", 8)}; // not a set
    assert_int_equal(bb_have_view_report(f.view, 2, 1, id, true, &have), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(s_known(&f, 0, 1), 3);
    assert_int_equal(s_report(&f, 2, good), BB_OK);
    assert_int_equal(s_known(&f, 0, 1), 9);
    s_free(&f);
}

// Goal: tails make known sets grow, are lacking like anything else, and count as an answer. A bad
// entry, or tails in a whole report, is refused; what came before a bad one stays.
static void tails_make_sets_grow(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    s_add(&f.own[0], 1, 1, 3);
    s_add(&f.own[1], 1, 1, 3);
    s_know(&f, 0, 1, 5, 3);
    bb_have_tail_t two[] = {{test_stream(1), 7}, {test_stream(4), 2}};
    bb_have_tails_t tails = {0};
    assert_true(bb_have_tails_add(&tails, 0, two, 2));
    assert_true(bb_have_tails_add(&tails, 1, two, 1));
    uint64_t id = s_ask(&f, 1, 1);
    bb_have_t have = {.incarnation = test_stream(11),
                      .lane = {1, 0},
                      .version = 8,
                      .since_version = 5,
                      .is_last = true,
                      .tail_streams = bb_slice(tails.streams, 2 * sizeof tails.streams[0]),
                      .tails = bb_slice(tails.bytes, tails.length)};
    assert_int_equal(bb_have_view_report(f.view, 1, 1, id, true, &have), BB_OK);
    assert_int_equal(bb_have_view_answered_id(f.view, 1, 0), id);
    assert_int_equal(s_known(&f, 0, 1), 7 + 2);
    assert_int_equal(s_known(&f, 1, 1), 7);
    assert_int_equal(s_known(&f, 2, 1), 3);
    assert_false(bb_have_view_is_caught_up(f.view));
    s_add(&f.own[0], 1, 4, 7);
    s_add(&f.own[0], 4, 1, 2);
    s_add(&f.own[1], 1, 4, 7);
    for (uint32_t p = 2; p < PARTITIONS; p++) {
        s_add(&f.own[p], 1, 1, 3);
    }
    assert_true(bb_have_view_is_caught_up(f.view));

    two[0].last_seq = 9;
    assert_true(bb_have_tails_add(&tails, PARTITIONS - 1, two, 1));
    assert_true(bb_have_tails_add(&tails, PARTITIONS, two, 1)); // there is no such partition
    id = s_ask(&f, 2, 1);
    have.since_version = 8;
    have.version = 9;
    have.tails = bb_slice(tails.bytes, tails.length);
    assert_int_equal(bb_have_view_report(f.view, 2, 1, id, true, &have), BB_ERR_MESSAGE_CORRUPT);
    assert_true(bb_have_view_answered_id(f.view, 1, 0) < id);
    assert_int_equal(s_known(&f, PARTITIONS - 1, 1), 9);
    have.since_version = 0;
    assert_int_equal(bb_have_view_report(f.view, 2, 1, id, true, &have), BB_ERR_MESSAGE_CORRUPT);
    bb_have_tails_clear(&tails);
    s_free(&f);
}

// Goal: another epoch's report tells what exists and answers no fence.
static void another_epoch_does_not_count(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    s_know(&f, 0, 1, 5, 3);
    uint64_t before = bb_have_view_answered_id(f.view, 1, 0);
    uint64_t id = s_ask(&f, 1, 1);
    bb_have_t have = {.incarnation = test_stream(11),
                      .lane = {1, 0},
                      .version = 8,
                      .since_version = 5,
                      .is_last = true};
    assert_int_equal(bb_have_view_report(f.view, 2, 1, id, false, &have), BB_OK);
    assert_int_equal(bb_have_view_answered_id(f.view, 1, 0), before);
    s_free(&f);
}

// Goal: an answer to a question of the process before counts for no question of this one. Method:
// each process asks as often as the other; the later one draws a larger or a smaller first number.
static void questions_of_the_process_before(void **state)
{
    (void)state;
    const uint64_t firsts[][2] = {{1000, 5000}, {5000, 1000}};
    for (uint32_t i = 0; i < 2; i++) {
        s_fixture_t before, f;
        s_new_from(&before, firsts[i][0]);
        uint64_t old_id = s_ask(&before, 0, 1);
        s_free(&before);
        s_new_from(&f, firsts[i][1]);
        uint64_t fence_id = bb_have_view_request_id_next(f.view);
        uint64_t id = s_ask(&f, 0, 1);
        assert_int_equal(id, fence_id);
        s_report_t report = {.node = 1, .version = 5, .last = 3, .count = PARTITIONS};
        report.is_last = true;
        report.request_id = old_id;
        // A number that was not given yet is dropped; a smaller one brings what it says, which is
        // true of that peer, and answers nothing.
        assert_int_equal(s_report(&f, 1, report), BB_OK);
        assert_int_equal(s_known(&f, 0, 1), old_id > id ? 0 : 3);
        assert_true(bb_have_view_answered_id(f.view, 1, 0) < fence_id);
        report.request_id = id;
        assert_int_equal(s_report(&f, 2, report), BB_OK);
        assert_int_equal(bb_have_view_answered_id(f.view, 1, 0), id);
        s_free(&f);
    }
}

// Goal: a peer that comes back as another process is known anew, because it may have lost its disk.
static void new_incarnation_forgets(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    s_add(&f.own[0], 1, 1, 3);
    s_know(&f, 0, 1, 5, 3);
    s_know(&f, 0, 2, 5, 3);
    bb_stream_t stream = test_stream(1);
    assert_true(bb_have_view_is_held(f.view, 0, &stream, 1, 3));
    assert_false(bb_have_view_is_held(f.view, 0, &stream, 1, 4));
    bb_stream_t again = test_stream(21);
    bb_have_view_peer(f.view, 10, 1, true, &again, 1);
    assert_false(bb_have_view_is_known(f.view, 1, 0));
    assert_false(bb_have_view_is_held(f.view, 0, &stream, 1, 1));
    assert_int_equal(bb_have_view_node_of(f.view, &again), 1);
    bb_stream_t old = test_stream(11);
    assert_int_equal(bb_have_view_node_of(f.view, &old), BB_NODE_NONE);
    bb_have_request_t request;
    bb_have_view_ask(f.view, 11, 1, 0, &request);
    assert_int_equal(request.since_version, 0);
    s_free(&f);
}

// Goal: what a peer says that it holds before it counts may be gone with its disk, and the next
// start knows nothing of it: held for good is what one holds that has counted, whatever it said
// before.
static void held_for_good_when_counted(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    bb_stream_t stream = test_stream(1);
    s_know(&f, 0, 1, 5, 3);
    s_report_t report = {.node = 2, .version = 5, .last = 3, .count = PARTITIONS, .is_last = true};
    report.request_id = s_ask(&f, 0, 2);
    report.is_uncounted = true;
    assert_int_equal(s_report(&f, 0, report), BB_OK);
    assert_true(bb_have_view_is_held(f.view, 0, &stream, 1, 3));
    assert_false(bb_have_view_is_held_for_good(f.view, 0, &stream, 1, 3));
    report.request_id = s_ask(&f, 1, 2);
    report.since_version = report.version;
    report.count = 0;
    report.is_uncounted = false;
    assert_int_equal(s_report(&f, 1, report), BB_OK);
    assert_true(bb_have_view_is_held_for_good(f.view, 0, &stream, 1, 3));
    assert_false(bb_have_view_is_held_for_good(f.view, 0, &stream, 1, 4));
    bb_stream_t again = test_stream(21); // another process has to count itself
    bb_have_view_peer(f.view, 10, 1, true, &again, 1);
    assert_false(bb_have_view_is_held_for_good(f.view, 0, &stream, 1, 3));
    s_free(&f);
}

// Goal: a peer whose heartbeats say what they said when it was asked for all that is known has no
// turn; another mark, a fence, an answer that is missing or does not count, and another process
// give it one. What was asked before a mark was heard proves nothing about it.
static void marks_save_questions(void **state)
{
    (void)state;
    const int64_t interval = 500 * MS;
    s_fixture_t f;
    s_new(&f);
    bb_have_view_mark(f.view, 1, 70);
    assert_true(bb_have_view_is_ask_due(f.view, 10, 1, 0, 0)); // nothing is known
    s_know(&f, 10, 1, 5, 0);
    bb_have_view_mark(f.view, 2, 90);
    s_know(&f, 10, 2, 5, 0);
    int64_t now = 10 + 2 * interval;
    assert_true(bb_have_view_wake_mono_ns(f.view) == BB_NEVER_NS);
    assert_false(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    assert_false(bb_have_view_is_ask_due(f.view, now + 1000 * interval, 1, 0, 0));
    uint64_t fence_id = bb_have_view_request_id_next(f.view);
    assert_true(bb_have_view_is_ask_due(f.view, now, 1, 0, fence_id));
    bb_have_view_mark(f.view, 1, 71);
    assert_true(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    assert_true(bb_have_view_wake_mono_ns(f.view) <= now);
    uint64_t id = s_ask(&f, now, 1);
    bb_have_view_mark(f.view, 1, 72); // after the question: the answer may be older
    s_report_t report = {.node = 1,
                         .request_id = id,
                         .version = 8,
                         .since_version = 5,
                         .last = 9,
                         .count = 1,
                         .is_last = true};
    assert_int_equal(s_report(&f, now, report), BB_OK);
    now += 2 * interval;
    assert_true(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    bb_have_view_mark(f.view, 1, 71); // an old heartbeat; what was asked under it is known
    assert_false(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    bb_have_view_mark(f.view, 1, 72);
    s_ask(&f, now, 1); // never answered
    now += BB_HAVE_ANSWER_NS_MAX + 2 * interval;
    assert_true(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    report.request_id = s_ask(&f, now, 1);
    report.since_version = report.version;
    report.count = 0;
    report.is_uncounted = true; // it had no standing
    assert_int_equal(s_report(&f, now, report), BB_OK);
    now += BB_HAVE_ANSWER_NS_MAX + 2 * interval;
    assert_true(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    report.request_id = s_ask(&f, now, 1);
    report.is_uncounted = false;
    assert_int_equal(s_report(&f, now, report), BB_OK);
    now += 2 * interval;
    assert_false(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    uint64_t wanted = bb_have_view_want(f.view); // by who begins to compare segments, say
    assert_true(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    report.request_id = s_ask(&f, now, 1);
    assert_true(report.request_id >= wanted);
    assert_int_equal(s_report(&f, now, report), BB_OK);
    now += 2 * interval;
    assert_false(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    bb_have_view_mark(f.view, 1, 0); // an earlier version of the program
    assert_true(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    bb_have_view_mark(f.view, 1, 72);
    bb_stream_t other = test_stream(99);
    bb_have_view_peer(f.view, now, 1, true, &other, 1);
    assert_true(bb_have_view_is_ask_due(f.view, now, 1, 0, 0));
    s_free(&f);
}

static bool s_pull(s_fixture_t *f, int64_t now, uint32_t *node, uint64_t *id, uint32_t *count)
{
    uint32_t partitions[PARTITIONS];
    bb_lane_t lane;
    return bb_have_view_pull(f->view, now, node, &lane, id, partitions, count);
}

// Goal: chunks in flight are not pulled; what was lacking for 300 ms is.
static void lacks_ripen(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    uint32_t node = 0, count = 0;
    uint64_t id = 0;
    s_know(&f, 0, 1, 5, 3);
    assert_false(bb_have_view_is_caught_up(f.view));
    assert_false(s_pull(&f, 100 * MS, &node, &id, &count));
    assert_int_equal(bb_have_view_wake_mono_ns(f.view) <= 300 * MS, 1);
    for (uint32_t p = 1; p < PARTITIONS; p++) {
        s_add(&f.own[p], 1, 1, 3); // they came in time
    }
    assert_true(s_pull(&f, 300 * MS, &node, &id, &count));
    assert_int_equal(node, 1);
    assert_int_equal(count, 1);
    assert_false(s_pull(&f, 400 * MS, &node, &id, &count)); // one at a time from a peer
    s_add(&f.own[0], 1, 1, 3);
    assert_true(bb_have_view_is_caught_up(f.view));
    s_free(&f);
}

// Goal: a node that cannot store what it pulls does not have it sent again and again; and it wakes
// when the pause ends.
static void held_pulls_wait(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    uint32_t node = 0, count = 0;
    uint64_t id = 0;
    s_know(&f, 0, 1, 5, 3);
    bb_have_view_hold(f.view, 1200 * MS);
    bb_have_view_hold(f.view, 800 * MS); // the later one counts
    assert_false(s_pull(&f, 300 * MS, &node, &id, &count));
    s_know(&f, 900 * MS, 1, 6, 4); // news do not end it
    assert_false(s_pull(&f, 1199 * MS, &node, &id, &count));
    assert_true(bb_have_view_wake_mono_ns(f.view) <= 1200 * MS);
    assert_true(s_pull(&f, 1200 * MS, &node, &id, &count));
    assert_int_equal(count, PARTITIONS);
    s_free(&f);
}

// Goal: what one peer is to send is not asked of another too, until that pull has ended; but when a
// reader waits for it, it is.
static void no_partition_is_pulled_twice(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    uint32_t first = 0, second = 0, count = 0;
    uint64_t first_id = 0, id = 0;
    s_know(&f, 0, 1, 5, 3);
    s_know(&f, 0, 2, 5, 3);
    assert_true(s_pull(&f, 300 * MS, &first, &first_id, &count));
    assert_int_equal(count, PARTITIONS);
    assert_false(s_pull(&f, 310 * MS, &second, &id, &count));
    bb_have_view_hurry(f.view, 2);
    assert_true(s_pull(&f, 320 * MS, &second, &id, &count));
    assert_int_equal(count, 1);
    assert_true(second != first);
    bb_pull_done_t nothing = {0};
    bb_have_view_pull_done(f.view, 330 * MS, first, first_id, &nothing);
    assert_true(s_pull(&f, 900 * MS, &second, &first_id, &count)); // of the one that paused
    assert_int_equal(second, first);
    assert_int_equal(count, PARTITIONS - 1);
    bb_have_view_pull_done(f.view, 910 * MS, first, first_id, &nothing);
    bb_have_view_pull_done(f.view, 910 * MS, 3 - first, id, &nothing);
    assert_true(s_pull(&f, 1500 * MS, &second, &id, &count));
    assert_int_equal(count, PARTITIONS);
    s_free(&f);
}

// Goal: a steady stream of new chunks does not make old lacks young.
static void old_lacks_go_on_ageing(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_add(&f.own[p], 1, 2, 2); // the first one is missing for ever
    }
    uint32_t node = 0, count = 0;
    uint64_t id = 0;
    s_know(&f, 0, 1, 5, 2);
    s_know(&f, 200 * MS, 1, 6, 3); // one more, also missing
    assert_true(s_pull(&f, 300 * MS, &node, &id, &count));
    s_free(&f);
}

// Goal: when what was lacking came, a newer lack starts at zero.
static void new_lacks_start_young(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    uint32_t node = 0, count = 0;
    uint64_t id = 0;
    s_know(&f, 0, 1, 5, 2);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_add(&f.own[p], 1, 1, 2);
    }
    s_know(&f, 250 * MS, 1, 6, 3);
    assert_false(s_pull(&f, 300 * MS, &node, &id, &count));
    assert_true(s_pull(&f, 550 * MS, &node, &id, &count));
    assert_int_equal(count, PARTITIONS);
    s_free(&f);
}

// Goal: a reader's partition is pulled soon, at most two peers are asked at once, a lost pull is
// given up after its time, and PULL_DONE that overtakes its chunks does not end it.
static void pulls_begin_and_end(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    uint32_t node = 0, count = 0;
    uint64_t id = 0;
    s_know(&f, 0, 1, 5, 2);
    bb_have_view_hurry(f.view, 2);
    assert_false(s_pull(&f, 10 * MS, &node, &id, &count));
    assert_true(s_pull(&f, 20 * MS, &node, &id, &count));
    assert_int_equal(count, 1);

    bb_pull_done_t done = {.chunk_count = 2};
    bb_have_view_pulled(f.view, 30 * MS, 1, id, true);
    bb_have_view_pull_done(f.view, 31 * MS, 1, id, &done); // one chunk is still on its way
    assert_false(s_pull(&f, 320 * MS, &node, &id, &count));
    uint64_t again = 0;
    assert_true(s_pull(&f, 400 * MS, &node, &again, &count)); // and never came
    assert_int_not_equal(again, id);
    bb_have_view_pulled(f.view, 410 * MS, 1, id, true); // late: of the one before
    bb_have_view_pulled(f.view, 411 * MS, 1, again, true);
    bb_have_view_pulled(f.view, 412 * MS, 1, again, true);
    bb_have_view_pull_done(f.view, 413 * MS, 1, again, &done);
    assert_true(s_pull(&f, 414 * MS, &node, &id, &count)); // it brought something: go on at once
    assert_false(s_pull(&f, 5000 * MS, &node, &again, &count));
    assert_true(s_pull(&f, 5414 * MS, &node, &again, &count)); // given up after 5 s
    done.chunk_count = 0;
    bb_have_view_pull_done(f.view, 5500 * MS, 1, again, &done);
    assert_false(s_pull(&f, 5501 * MS, &node, &id, &count)); // it brought nothing: a pause
    assert_true(s_pull(&f, 6000 * MS, &node, &id, &count));
    s_free(&f);
}

// Goal: what a peer's journal no longer has makes the partition BEHIND until it comes from
// elsewhere.
static void unavailable_needs_sync(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    uint32_t node = 0, count = 0, gone = 3;
    uint64_t id = 0;
    s_know(&f, 0, 1, 5, 2);
    assert_true(s_pull(&f, 300 * MS, &node, &id, &count));
    bb_pull_done_t done = {.unavailable_count = 1, .unavailable = &gone};
    bb_have_view_pull_done(f.view, 310 * MS, 1, id, &done);
    assert_true(bb_have_view_needs_sync(f.view, 3));
    assert_false(bb_have_view_needs_sync(f.view, 2));
    s_add(&f.own[3], 1, 1, 2);
    assert_false(bb_have_view_needs_sync(f.view, 3));
    s_free(&f);
}

// Goal: who is asked when: at once after coming up, then by interval, again after silence, and at
// once for a reader who came after the last question.
static void asking(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    assert_true(bb_have_view_is_ask_due(f.view, 0, 1, 0, 0));
    uint64_t id = s_ask(&f, 0, 1);
    assert_false(bb_have_view_is_ask_due(f.view, 999 * MS, 1, 0, 0));
    assert_true(bb_have_view_is_ask_due(f.view, 1000 * MS, 1, 0, 0));   // silence
    assert_true(bb_have_view_is_ask_due(f.view, 1 * MS, 1, 0, id + 1)); // a reader came later
    assert_false(bb_have_view_is_ask_due(f.view, 1 * MS, 1, 0, id));
    assert_true(bb_have_view_is_ask_due(f.view, 250 * MS, 1, 0, id)); // for a reader: sooner
    s_know(&f, 2000 * MS, 1, 5, 1);
    assert_false(bb_have_view_is_ask_due(f.view, 2499 * MS, 1, 0, 0));
    assert_true(bb_have_view_is_ask_due(f.view, 2625 * MS, 1, 0, 0)); // interval + 1/4 at most
    bb_stream_t incarnation = test_stream(11);
    bb_have_view_peer(f.view, 2700 * MS, 1, false, &incarnation, 1);
    assert_false(bb_have_view_is_ask_due(f.view, 9000 * MS, 1, 0, 99)); // nobody is there
    s_free(&f);
}

// ---- lanes -------------------------------------------------------------------------------------

// An empty report about these partitions of a lane.
static bb_error_t s_report_lane(bb_have_view_t *view, uint32_t node, uint64_t id, bb_lane_t lane,
                                uint32_t first, uint32_t count)
{
    bb_have_entry_t entries[PARTITIONS] = {0};
    for (uint32_t i = 0; i < count; i++) {
        entries[i].partition = first + i * lane.count;
    }
    bb_have_t have = {.incarnation = test_stream((uint8_t)(10 + node)),
                      .version = 7,
                      .is_last = true,
                      .lane = lane,
                      .entry_count = count,
                      .entries = entries};
    return bb_have_view_report(view, 1, node, id, true, &have);
}

// Goal: stores of nodes with other numbers of stores find each other: each partition that both have
// is in one lane, and a lane in one store on each side. Method: all small pairs of numbers, and the
// definition of where a partition is kept.
static void lanes_join_any_two_numbers_of_stores(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f);
    for (uint32_t here = 1; here <= 6; here++) {
        for (uint32_t there = 1; there <= 6; there++) {
            uint32_t seen[PARTITIONS] = {0};
            for (uint32_t index = 0; index < here; index++) {
                bb_have_view_options_t options = {.topology = f.topology,
                                                  .store_count = here,
                                                  .store_index = index,
                                                  .report_interval_ns = 500 * MS,
                                                  .request_id_first = 1,
                                                  .own = s_own,
                                                  .own_context = &f};
                bb_have_view_t *view = bb_have_view_new(&options);
                bb_stream_t incarnation = test_stream(11);
                bb_have_view_peer(view, 0, 1, true, &incarnation, there);
                for (uint32_t step = 0; step < bb_have_view_lane_count(view, 1); step++) {
                    bb_lane_t lane = bb_have_view_lane(view, 1, step);
                    assert_true(lane.count <= BB_LANES_MAX && lane.count % there == 0);
                    assert_true(bb_have_view_is_lane(view, 1, lane));
                    uint32_t store_there = lane.index % there;
                    for (uint32_t p = lane.index; p < PARTITIONS; p += lane.count) {
                        assert_int_equal(p % here, index);
                        assert_int_equal(p % there, store_there);
                        assert_true(bb_have_view_is_ours(view, p));
                        seen[p]++;
                    }
                }
                bb_have_view_destroy(&view);
            }
            for (uint32_t p = 0; p < PARTITIONS; p++) {
                assert_int_equal(seen[p], 1);
            }
        }
    }
    s_free(&f);
}

// Goal: what one store of a peer says counts for its lane alone; the other lane goes on being asked
// for, a report of a lane that is not shared is refused, and a restart with another number of
// stores begins anew.
static void each_lane_is_known_alone(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f); // one store here
    bb_stream_t incarnation = test_stream(13);
    bb_have_view_peer(f.view, 0, 1, true, &incarnation, 2);
    assert_int_equal(bb_have_view_lane_count(f.view, 1), 2);
    bb_have_request_t requests[2];
    uint64_t ids[2];
    for (uint32_t step = 0; step < 2; step++) {
        assert_true(bb_have_view_is_ask_due(f.view, 0, 1, step, 0));
        ids[step] = bb_have_view_ask(f.view, 0, 1, step, &requests[step]);
        assert_int_equal(requests[step].lane.count, 2);
        assert_int_equal(requests[step].lane.index, step);
    }
    incarnation = test_stream(11); // the answers below come from this one
    bb_have_view_peer(f.view, 0, 1, true, &incarnation, 2);
    ids[0] = bb_have_view_ask(f.view, 0, 1, 0, &requests[0]);
    ids[1] = bb_have_view_ask(f.view, 0, 1, 1, &requests[1]);
    assert_int_equal(s_report_lane(f.view, 1, ids[1], (bb_lane_t){2, 1}, 1, 2), BB_OK);
    assert_true(bb_have_view_is_known(f.view, 1, 3));
    assert_int_equal(bb_have_view_answered_id(f.view, 1, 3), ids[1]);
    assert_false(bb_have_view_is_known(f.view, 1, 2));
    assert_int_equal(bb_have_view_answered_id(f.view, 1, 2), 0);
    assert_true(bb_have_view_is_ask_due(f.view, 1000 * MS, 1, 0, 0));

    assert_int_equal(s_report_lane(f.view, 1, ids[1], (bb_lane_t){4, 1}, 1, 1),
                     BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(s_report_lane(f.view, 1, ids[0], (bb_lane_t){2, 0}, 1, 1),
                     BB_ERR_MESSAGE_CORRUPT); // a partition of the other lane

    incarnation = test_stream(14);
    bb_have_view_peer(f.view, 2, 1, true, &incarnation, 1);
    assert_int_equal(bb_have_view_lane_count(f.view, 1), 1);
    assert_false(bb_have_view_is_known(f.view, 1, 3));
    s_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_report_in_pieces),
        cmocka_unit_test(lanes_join_any_two_numbers_of_stores),
        cmocka_unit_test(each_lane_is_known_alone),
        cmocka_unit_test(pieces_of_two_reports),
        cmocka_unit_test(changes_in_order),
        cmocka_unit_test(bad_reports),
        cmocka_unit_test(tails_make_sets_grow),
        cmocka_unit_test(another_epoch_does_not_count),
        cmocka_unit_test(questions_of_the_process_before),
        cmocka_unit_test(new_incarnation_forgets),
        cmocka_unit_test(held_for_good_when_counted),
        cmocka_unit_test(lacks_ripen),
        cmocka_unit_test(held_pulls_wait),
        cmocka_unit_test(no_partition_is_pulled_twice),
        cmocka_unit_test(old_lacks_go_on_ageing),
        cmocka_unit_test(new_lacks_start_young),
        cmocka_unit_test(pulls_begin_and_end),
        cmocka_unit_test(unavailable_needs_sync),
        cmocka_unit_test(asking),
        cmocka_unit_test(marks_save_questions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
