// SPDX-License-Identifier: Apache-2.0
// Read fences: which answers count, what is waited for, and what is called missing.
#include "node/ingest/bb_fence.h"

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
    bb_fence_t *fence;
    bb_have_set_t own[PARTITIONS];
} s_fixture_t;

static const bb_have_set_t *s_own(void *context, uint32_t partition)
{
    return &((s_fixture_t *)context)->own[partition];
}

static void s_new(s_fixture_t *f, uint32_t nodes, uint32_t rf, uint32_t remote_nodes)
{
    memset(f, 0, sizeof *f);
    f->topology = test_topology(nodes, rf, remote_nodes, remote_nodes, PARTITIONS, 0);
    bb_have_view_options_t options = {.topology = f->topology,
                                      .store_count = 1,
                                      .report_interval_ns = 500 * MS,
                                      .request_id_first = 1,
                                      .own = s_own,
                                      .own_context = f};
    f->view = bb_have_view_new(&options);
    f->fence = bb_fence_new(f->topology, f->view, s_own, f);
    for (uint32_t node = 1; node < nodes + remote_nodes; node++) {
        bb_stream_t incarnation = test_stream((uint8_t)(10 + node));
        bb_have_view_peer(f->view, 0, node, true, &incarnation, 1);
    }
}

static void s_free(s_fixture_t *f)
{
    bb_fence_destroy(&f->fence);
    bb_have_view_destroy(&f->view);
    bb_topology_destroy(&f->topology);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bb_have_set_clear(&f->own[p]);
    }
}

// What all other nodes here, or of the other data centre, are to answer: the youngest number.
static uint64_t s_request_id(const s_fixture_t *f, bool is_remote)
{
    uint64_t ids[BB_NODES_MAX], youngest = UINT64_MAX;
    bb_fence_wanted_ids(f->fence, ids);
    for (uint32_t node = 1; node < bb_topology_node_count(f->topology); node++) {
        if ((bb_topology_node(f->topology, node)->dc_index != 0) == is_remote) {
            youngest = BB_MIN(youngest, ids[node]);
        }
    }
    return youngest;
}

static void s_add(bb_have_set_t *set, uint64_t last)
{
    bb_stream_t stream = test_stream(1);
    bool added = false;
    assert_int_equal(bb_have_set_add(set, &stream, 1, last, &added), BB_OK);
}

// The node answers request `id`: everything of its partitions, [1, last] of stream 1 in each.
static void s_answer(s_fixture_t *f, uint32_t node, uint64_t id, uint64_t version, uint64_t last)
{
    bb_have_set_t set = {0};
    s_add(&set, last);
    uint8_t bytes[64];
    bb_have_set_encode(&set, bytes);
    bb_have_entry_t entries[PARTITIONS];
    bb_have_t have = {.incarnation = test_stream((uint8_t)(10 + node)),
                      .version = version,
                      .is_last = true,
                      .lane = {1, 0},
                      .entries = entries};
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        if (bb_have_view_is_shared(f->view, p, node)) {
            entries[have.entry_count++] =
                (bb_have_entry_t){p, bb_slice(bytes, bb_have_set_encoded_bytes(&set))};
        }
    }
    assert_int_equal(bb_have_view_report(f->view, 1, node, id, true, &have), BB_OK);
    bb_have_set_clear(&set);
}

static uint64_t s_ask(s_fixture_t *f, uint32_t node)
{
    bb_have_request_t request;
    return bb_have_view_ask(f->view, 0, node, 0, &request);
}

static const uint32_t s_all[PARTITIONS] = {0, 1, 2, 3};

static void s_begin_at(s_fixture_t *f, bb_level_t level, uint64_t context, int64_t deadline)
{
    bb_fence_read_t read = {.context = context,
                            .level = level,
                            .request_id = bb_have_view_request_id_next(f->view),
                            .partitions = s_all,
                            .partition_count = PARTITIONS,
                            .deadline_mono_ns = deadline};
    assert_int_equal(bb_fence_begin(f->fence, &read), BB_OK);
}

static void s_begin(s_fixture_t *f, uint64_t context, int64_t deadline)
{
    s_begin_at(f, BB_LEVEL_LOCAL_QUORUM, context, deadline);
}

// Goal: an answer to a question asked before the read arrived does not count.
static void older_answers_do_not_count(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 3, 3, 0);
    uint64_t before = s_ask(&f, 1);
    s_begin(&f, 7, 1000 * MS);
    s_answer(&f, 1, before, 5, 3);
    bb_fence_ready_t ready;
    bb_fence_step(f.fence, 1, true);
    assert_false(bb_fence_next(f.fence, &ready));
    uint64_t after = s_ask(&f, 1);
    assert_true(s_request_id(&f, false) <= after);
    assert_true(s_request_id(&f, false) > before);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_add(&f.own[p], 3);
    }
    s_answer(&f, 1, after, 6, 3);
    bb_fence_step(f.fence, 2, true);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.context, 7);
    assert_int_equal(ready.missing_count, 0);
    assert_int_equal(bb_fence_waiting_count(f.fence), 0);
    assert_int_equal(s_request_id(&f, false), 0);
    s_free(&f);
}

// Goal: what the majority had when it answered is waited for, and nothing that came later.
static void waits_for_the_data(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 3, 3, 0);
    s_begin(&f, 7, 1000 * MS);
    s_answer(&f, 2, s_ask(&f, 2), 5, 3);
    bb_fence_ready_t ready;
    bb_fence_step(f.fence, 1, true);
    assert_false(bb_fence_next(f.fence, &ready));
    assert_int_equal(s_request_id(&f, false), 0); // no more questions, only data
    s_answer(&f, 2, s_ask(&f, 2), 6, 9);          // the peer goes on
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_add(&f.own[p], 3);
        bb_fence_step(f.fence, 2, true);
        assert_int_equal(bb_fence_next(f.fence, &ready), p == PARTITIONS - 1);
    }
    s_free(&f);
}

// Goal: the youngest question counts, of local reads here and of those that ask everywhere there.
// Method: reads of both kinds, the youngest of which already waits for data only.
static void youngest_question_of_each_kind(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 2, 2, 2);
    s_begin_at(&f, BB_LEVEL_QUORUM, 1, 1000 * MS);
    uint64_t first = bb_have_view_request_id_next(f.view);
    assert_int_equal(s_request_id(&f, true), first);
    s_ask(&f, 1);
    s_begin_at(&f, BB_LEVEL_LOCAL_QUORUM, 2, 1000 * MS);
    assert_int_equal(s_request_id(&f, true), first);
    assert_int_equal(s_request_id(&f, false), first + 1);
    s_answer(&f, 1, s_ask(&f, 1), 5, 3); // the local read has its answers
    bb_fence_step(f.fence, 1, true);
    assert_int_equal(s_request_id(&f, true), first);
    assert_int_equal(s_request_id(&f, false), first);
    s_free(&f);
}

static void s_begin_session(s_fixture_t *f, bb_level_t level, const bb_session_token_t *session,
                            uint64_t context, int64_t deadline)
{
    bb_fence_read_t read = {.context = context,
                            .level = level,
                            .request_id = bb_have_view_request_id_next(f->view),
                            .partitions = s_all,
                            .partition_count = PARTITIONS,
                            .session = session,
                            .deadline_mono_ns = deadline};
    assert_int_equal(bb_fence_begin(f->fence, &read), BB_OK);
}

// Goal: at `one` a read waits for what its session has seen and for nobody's answer, though all are
// asked, in other data centres too; what is here is served at the deadline, the rest is BEHIND.
static void session_at_one(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 2, 2, 2);
    bb_session_token_t session = {0};
    bb_stream_t stream = test_stream(1);
    bb_session_token_add(&session, &stream, 0, 2, 3);
    bb_session_token_add(&session, &stream, 2, 5, 5);
    uint64_t next = bb_have_view_request_id_next(f.view);
    s_begin_session(&f, BB_LEVEL_ONE, &session, 7, 1000 * MS);
    bb_session_token_clear(&session); // the fence has its own
    bb_fence_ready_t ready;
    bb_fence_step(f.fence, 1, true);
    assert_false(bb_fence_next(f.fence, &ready));
    assert_int_equal(s_request_id(&f, false), next);
    assert_int_equal(s_request_id(&f, true), next);
    s_add(&f.own[0], 3);
    bb_fence_step(f.fence, 2, true);
    assert_false(bb_fence_next(f.fence, &ready));
    bb_fence_step(f.fence, 1000 * MS, false);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.missing_count, 1);
    assert_int_equal(ready.missing[0].partition, 2);
    assert_int_equal(ready.missing[0].error, BB_ERR_BEHIND);
    assert_int_equal(s_request_id(&f, true), 0);

    bb_session_token_add(&session, &stream, 2, 5, 5);
    s_begin_session(&f, BB_LEVEL_ONE, &session, 8, 2000 * MS);
    s_add(&f.own[2], 5);
    bb_fence_step(f.fence, 1001 * MS, true);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.context, 8);
    assert_int_equal(ready.missing_count, 0);
    bb_session_token_clear(&session);
    s_free(&f);
}

// Goal: at a quorum level both are waited for: what the majority had, and what the session has
// seen.
static void session_at_a_quorum(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 3, 3, 0);
    bb_session_token_t session = {0};
    bb_stream_t stream = test_stream(1);
    bb_session_token_add(&session, &stream, 1, 9, 9);
    s_begin_session(&f, BB_LEVEL_LOCAL_QUORUM, &session, 7, 1000 * MS);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_add(&f.own[p], 3);
    }
    bb_fence_ready_t ready;
    s_answer(&f, 1, s_ask(&f, 1), 5, 3);
    bb_fence_step(f.fence, 1, true);
    assert_false(bb_fence_next(f.fence, &ready)); // the majority's is here, the session's is not
    s_add(&f.own[1], 9);
    bb_fence_step(f.fence, 2, true);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.missing_count, 0);

    s_begin_session(&f, BB_LEVEL_LOCAL_QUORUM, &session, 8, 1000 * MS);
    bb_fence_step(f.fence, 3, true);
    assert_false(bb_fence_next(f.fence, &ready)); // the session's is here, no majority has answered
    bb_session_token_clear(&session);
    s_free(&f);
}

// Goal: without a majority that is up, partitions are missing at once, as UNAVAILABLE.
static void no_majority_is_up(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 3, 3, 0);
    for (uint32_t node = 1; node <= 2; node++) {
        bb_stream_t incarnation = test_stream((uint8_t)(10 + node));
        bb_have_view_peer(f.view, 1, node, false, &incarnation, 1);
    }
    s_begin(&f, 7, 1000 * MS);
    bb_fence_step(f.fence, 1, true);
    bb_fence_ready_t ready;
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.missing_count, PARTITIONS);
    assert_int_equal(ready.missing[3].partition, 3);
    assert_int_equal(ready.missing[3].error, BB_ERR_UNAVAILABLE);
    s_free(&f);
}

// Goal: at the deadline silence is TIMEOUT and missing data is BEHIND; what is ready is served.
static void deadline(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 3, 3, 0);
    s_begin(&f, 7, 1000 * MS);
    bb_fence_step(f.fence, 999 * MS, true);
    bb_fence_ready_t ready;
    assert_false(bb_fence_next(f.fence, &ready));
    assert_int_equal(bb_fence_wake_mono_ns(f.fence), 1000 * MS);
    bb_fence_step(f.fence, 1000 * MS, false);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_true(ready.is_timeout);
    assert_int_equal(ready.missing_count, PARTITIONS);
    assert_int_equal(ready.missing[0].error, BB_ERR_TIMEOUT);

    s_begin(&f, 8, 2000 * MS);
    s_add(&f.own[1], 3);
    s_answer(&f, 1, s_ask(&f, 1), 5, 3);
    bb_fence_step(f.fence, 1500 * MS, true);
    assert_false(bb_fence_next(f.fence, &ready));
    bb_fence_step(f.fence, 2000 * MS, false);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.missing_count, PARTITIONS - 1);
    for (uint32_t i = 0; i < ready.missing_count; i++) {
        assert_int_not_equal(ready.missing[i].partition, 1);
        assert_int_equal(ready.missing[i].error, BB_ERR_BEHIND);
    }
    s_free(&f);
}

// Goal: one replica in the data centre is its own majority; replicas elsewhere are not asked.
static void alone_in_the_data_centre(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 1, 1, 2);
    s_begin(&f, 7, 1000 * MS);
    bb_fence_step(f.fence, 1, true);
    bb_fence_ready_t ready;
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.missing_count, 0);
    s_free(&f);
}

// Goal: replicas of another data centre do not make a local majority.
static void remote_answers_do_not_count(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 2, 2, 2);
    s_begin(&f, 7, 1000 * MS);
    s_answer(&f, 2, s_ask(&f, 2), 5, 3);
    s_answer(&f, 3, s_ask(&f, 3), 5, 3);
    bb_fence_step(f.fence, 1, true);
    bb_fence_ready_t ready;
    assert_false(bb_fence_next(f.fence, &ready));
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_add(&f.own[p], 3);
    }
    s_answer(&f, 1, s_ask(&f, 1), 5, 3);
    bb_fence_step(f.fence, 2, true);
    assert_true(bb_fence_next(f.fence, &ready));
    s_free(&f);
}

// A read of one partition that asks few, at a moment. Returns whom it asks: a bit per node.
static uint32_t s_begin_few(s_fixture_t *f, uint64_t context, int64_t now)
{
    bb_fence_read_t read = {.context = context,
                            .level = BB_LEVEL_LOCAL_QUORUM,
                            .request_id = bb_have_view_request_id_next(f->view),
                            .partitions = s_all,
                            .partition_count = 1,
                            .asks_few = true,
                            .begun_mono_ns = now,
                            .deadline_mono_ns = now + 1000 * MS};
    assert_int_equal(bb_fence_begin(f->fence, &read), BB_OK);
    uint32_t mask = 0;
    for (uint32_t node = 1; node < 5; node++) {
        uint64_t ids[BB_NODES_MAX];
        bb_fence_wanted_ids(f->fence, ids);
        mask |= (uint32_t)(ids[node] == read.request_id) << node;
    }
    return mask;
}

static uint64_t s_ask_at(s_fixture_t *f, uint32_t node, int64_t now)
{
    bb_have_request_t request;
    return bb_have_view_ask(f->view, now, node, 0, &request);
}

// All that were asked answer after 3 ms; the read is ready.
static void s_finish_few(s_fixture_t *f, uint32_t mask, int64_t now)
{
    for (uint32_t node = 1; node < 5; node++) {
        if (mask >> node & 1) {
            s_answer(f, node, s_ask_at(f, node, now), 5, 3);
        }
    }
    bb_fence_step(f->fence, now + 3 * MS, true);
    bb_fence_ready_t ready;
    assert_true(bb_fence_next(f->fence, &ready));
    assert_int_equal(ready.missing_count, 0);
    assert_false(bb_fence_next(f->fence, &ready));
}

// Five replicas: three are a majority. Until 20 reads were measured all are asked.
static int64_t s_learn_few(s_fixture_t *f)
{
    s_new(f, 5, 5, 0);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_add(&f->own[p], 3);
    }
    for (uint32_t i = 0; i < 20; i++) {
        uint32_t mask = s_begin_few(f, i, i * 10 * MS);
        assert_int_equal(mask, 0x1e);
        s_finish_few(f, mask, i * 10 * MS);
    }
    return 200 * MS;
}

// Goal: as many are asked as are needed with our own, others in turn, slow and silent ones last,
// barred ones and those that are down never.
static void few_are_asked_in_turn(void **state)
{
    (void)state;
    s_fixture_t f;
    int64_t now = s_learn_few(&f);
    uint32_t all = 0;
    for (uint32_t i = 0; i < 5; i++, now += 10 * MS) {
        uint32_t mask = s_begin_few(&f, i, now);
        assert_int_equal(__builtin_popcount(mask), 2);
        all |= mask;
        s_finish_few(&f, mask, now);
    }
    assert_int_equal(all, 0x1e);
    bb_fence_slow(f.fence, 1, true);
    bb_fence_peer(f.fence, 2, true);
    for (uint32_t i = 0; i < 5; i++, now += 10 * MS) {
        uint32_t mask = s_begin_few(&f, i, now);
        assert_int_equal(mask, 1u << 3 | 1u << 4);
        s_finish_few(&f, mask, now);
    }
    uint64_t unanswered = s_ask_at(&f, 3, now); // for longer than others take
    now += 20 * MS;
    uint32_t mask = s_begin_few(&f, 1, now);
    assert_int_equal(mask, 1u << 1 | 1u << 4); // a slow one before a silent one
    s_finish_few(&f, mask, now);
    s_answer(&f, 3, unanswered, 5, 3);
    bb_stream_t incarnation = test_stream(14);
    bb_have_view_peer(f.view, now, 4, false, &incarnation, 1);
    assert_int_equal(s_begin_few(&f, 2, now), 1u << 1 | 1u << 3);
    s_free(&f);
}

// Goal: when few take long all are asked; a hedge costs a token, and without one patience ends in a
// repetition. Answers of those asked later count like any other.
static void all_are_asked_when_few_take_long(void **state)
{
    (void)state;
    s_fixture_t f;
    int64_t now = s_learn_few(&f);
    bb_fence_ready_t ready;
    uint32_t few = s_begin_few(&f, 7, now);
    assert_int_equal(__builtin_popcount(few), 2);
    int64_t due = bb_fence_wake_mono_ns(f.fence);
    assert_true(due > now + 3 * MS - 1 && due <= now + 6 * MS);
    bb_fence_hedge(f.fence, due - 1);
    assert_int_equal(s_request_id(&f, false), 0);
    bb_fence_hedge(f.fence, due);
    uint64_t id = s_request_id(&f, false);
    assert_int_not_equal(id, 0);
    assert_int_equal(bb_fence_wake_mono_ns(f.fence), now + 1000 * MS);
    for (uint32_t node = 1; node < 5; node++) {
        if (!(few >> node & 1)) {
            s_answer(&f, node, s_ask_at(&f, node, due), 5, 3);
        }
    }
    bb_fence_step(f.fence, due + MS, true);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.missing_count, 0);
    bb_fence_hedges_t hedges = bb_fence_hedges(f.fence);
    assert_int_equal(hedges.hedged, 1);
    assert_int_equal(hedges.won, 1);
    now += 500 * MS; // the token is spent
    assert_int_equal(__builtin_popcount(s_begin_few(&f, 8, now)), 2);
    due = bb_fence_wake_mono_ns(f.fence);
    bb_fence_hedge(f.fence, due);
    assert_int_equal(s_request_id(&f, false), 0);
    assert_int_equal(bb_fence_wake_mono_ns(f.fence), now + BB_FENCE_PATIENCE_NS);
    bb_fence_hedge(f.fence, now + BB_FENCE_PATIENCE_NS);
    assert_int_not_equal(s_request_id(&f, false), 0);
    assert_int_equal(bb_fence_hedges(f.fence).hedged, 1);
    s_free(&f);
}

// Goal: a local read asks nobody in another data centre; a quorum read asks there, needs a majority
// of all and one here, and waits for what any of them had.
static void quorum_over_data_centres(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 2, 2, 2); // two replicas in each of two data centres: three are a quorum
    bb_fence_ready_t ready;
    s_begin_at(&f, BB_LEVEL_LOCAL_QUORUM, 1, 1000 * MS);
    assert_int_not_equal(s_request_id(&f, false), 0);
    assert_int_equal(s_request_id(&f, true), 0);
    s_begin_at(&f, BB_LEVEL_QUORUM, 2, 1000 * MS);
    assert_int_not_equal(s_request_id(&f, true), 0);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_add(&f.own[p], 3);
    }
    s_answer(&f, 2, s_ask(&f, 2), 5, 4);
    s_answer(&f, 3, s_ask(&f, 3), 5, 3);
    bb_fence_step(f.fence, 1, true); // three answers with our own, but no majority here
    assert_false(bb_fence_next(f.fence, &ready));
    s_answer(&f, 1, s_ask(&f, 1), 5, 3);
    bb_fence_step(f.fence, 2, true);
    assert_true(bb_fence_next(f.fence, &ready)); // what a remote one has more is not local
    assert_int_equal(ready.context, 1);
    assert_false(bb_fence_next(f.fence, &ready));
    assert_int_equal(s_request_id(&f, true), 0); // now only data
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_add(&f.own[p], 4);
    }
    bb_fence_step(f.fence, 3, true);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.context, 2);
    assert_int_equal(ready.missing_count, 0);
    s_free(&f);
}

// Goal: each_quorum needs a majority in every data centre, all needs every replica; when too few
// are up it fails at once.
static void each_quorum_and_all(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 3, 3, 3);
    bb_fence_ready_t ready;
    s_begin_at(&f, BB_LEVEL_EACH_QUORUM, 1, 1000 * MS);
    s_begin_at(&f, BB_LEVEL_ALL, 2, 1000 * MS);
    for (uint32_t node = 1; node < 4; node++) {
        s_answer(&f, node, s_ask(&f, node), 5, 1);
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        s_add(&f.own[p], 1);
    }
    bb_fence_step(f.fence, 1, true);
    assert_false(bb_fence_next(f.fence, &ready)); // four of six, but one of three over there
    s_answer(&f, 4, s_ask(&f, 4), 5, 1);
    bb_fence_step(f.fence, 2, true);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.context, 1);
    assert_false(bb_fence_next(f.fence, &ready));
    bb_stream_t incarnation = test_stream(15);
    bb_have_view_peer(f.view, 3, 5, false, &incarnation, 1);
    bb_fence_step(f.fence, 3, true);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.context, 2);
    assert_int_equal(ready.missing_count, PARTITIONS);
    assert_int_equal(ready.missing[0].error, BB_ERR_UNAVAILABLE);
    s_free(&f);
}

// Goal: the number of waiting reads is bounded; reads leave in the order in which they came.
static void bounded_and_in_order(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 3, 3, 0);
    for (uint32_t i = 0; i < BB_FENCE_READS_MAX; i++) {
        s_begin(&f, i, 1000 * MS);
    }
    bb_fence_read_t more = {.level = BB_LEVEL_ALL,
                            .request_id = 1,
                            .partitions = s_all,
                            .partition_count = PARTITIONS,
                            .deadline_mono_ns = 1000 * MS};
    assert_int_equal(bb_fence_begin(f.fence, &more), BB_ERR_BUSY);
    bb_fence_step(f.fence, 1000 * MS, false);
    bb_fence_ready_t ready;
    for (uint32_t i = 0; i < BB_FENCE_READS_MAX; i++) {
        assert_true(bb_fence_next(f.fence, &ready));
        assert_int_equal(ready.context, i);
    }
    assert_false(bb_fence_next(f.fence, &ready));
    s_begin(&f, 1, 2000 * MS); // left waiting: destroyed with the fence
    s_free(&f);
}

// Goal: what waiting reads hold is bounded, one alone always fits, what a read was found to wait
// for counts, and all of it is free again when it goes.
static void bounded_in_bytes(void **state)
{
    (void)state;
    s_fixture_t f;
    s_new(&f, 3, 3, 0);
    bb_fence_read_t large = {.level = BB_LEVEL_LOCAL_QUORUM,
                             .request_id = 1,
                             .partitions = s_all,
                             .partition_count = PARTITIONS,
                             .held_bytes = BB_FENCE_BYTES_MAX + 1,
                             .deadline_mono_ns = 1000 * MS};
    assert_int_equal(bb_fence_begin(f.fence, &large), BB_OK);
    assert_true(bb_fence_waiting_bytes(f.fence) > BB_FENCE_BYTES_MAX);
    bb_fence_read_t small = large;
    small.held_bytes = 0;
    assert_int_equal(bb_fence_begin(f.fence, &small), BB_ERR_BUSY);
    bb_fence_step(f.fence, 1000 * MS, false);
    bb_fence_ready_t ready;
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(bb_fence_waiting_bytes(f.fence), 0);
    s_begin(&f, 7, 2000 * MS);
    uint64_t before = bb_fence_waiting_bytes(f.fence);
    s_answer(&f, 1, s_ask(&f, 1), 5, 3); // what is lacking here
    bb_fence_step(f.fence, 1001 * MS, true);
    assert_true(bb_fence_waiting_bytes(f.fence) > before);
    bb_fence_step(f.fence, 2000 * MS, false);
    assert_true(bb_fence_next(f.fence, &ready));
    assert_int_equal(ready.missing[0].error, BB_ERR_BEHIND);
    assert_int_equal(bb_fence_waiting_bytes(f.fence), 0);
    s_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_are_asked_in_turn),
        cmocka_unit_test(all_are_asked_when_few_take_long),
        cmocka_unit_test(quorum_over_data_centres),
        cmocka_unit_test(each_quorum_and_all),
        cmocka_unit_test(older_answers_do_not_count),
        cmocka_unit_test(waits_for_the_data),
        cmocka_unit_test(youngest_question_of_each_kind),
        cmocka_unit_test(session_at_one),
        cmocka_unit_test(session_at_a_quorum),
        cmocka_unit_test(no_majority_is_up),
        cmocka_unit_test(deadline),
        cmocka_unit_test(alone_in_the_data_centre),
        cmocka_unit_test(remote_answers_do_not_count),
        cmocka_unit_test(bounded_and_in_order),
        cmocka_unit_test(bounded_in_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
