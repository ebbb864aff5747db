// SPDX-License-Identifier: Apache-2.0
// Streams of earlier starts in whole shards on simulated disks: when they may go, that nothing is
// lost or asked for in vain when they have gone, and who has a chunk alone.
#include "tests/unit/node/shard_harness.h"

#include "node/ingest/bb_have_mark.h"
#include "node/ingest/bb_shard_internal.h" // looks inside, as a debugger would

static const char *const s_ids[] = {"n1", "n2", "n3"};

static bb_stream_t s_stream(uint32_t node, uint32_t number)
{
    uint8_t random[8] = {(uint8_t)node, (uint8_t)number, 5, 6, 7, 8, 9, 10};
    return bb_stream_make(bb_stream_node_hash(s_ids[node]), number, random);
}

// Three nodes, each at its start number 1; heads are sealed after 200 ms.
static h_cluster_t *s_new(void)
{
    bb_shard_options_t tuning = {.flush_age_ns_max = 200 * H_MS,
                                 .have_report_interval_ns = 100 * H_MS};
    h_cluster_t *h = h_new(3, 3, 8, &tuning);
    for (uint32_t node = 0; node < 3; node++) {
        h_crash(h, node);
        h_restart_as(h, node, s_stream(node, 1));
    }
    h_pump(h, 300 * H_MS);
    return h;
}

static void s_restart(h_cluster_t *h, uint32_t node, uint32_t number)
{
    h_crash(h, node);
    h_restart_as(h, node, s_stream(node, number));
}

static void s_forget(h_cluster_t *h, uint32_t whom, uint32_t node, uint32_t below)
{
    bb_forgotten_t forgotten = {0};
    bb_forgotten_raise(&forgotten, bb_stream_node_hash(s_ids[node]), below);
    bb_shard_forget(h->nodes[whom].shard, h_time(h), &forgotten);
}

static uint64_t s_streams(const h_cluster_t *h, uint32_t node)
{
    return h_stats(h, node).store.streams;
}

static uint64_t s_write(h_cluster_t *h, uint32_t node, bb_level_t level, uint32_t first)
{
    return h_write(h, node, level, (h_batch_t){.first = first, .limit = first + 20});
}

static void s_cut(h_cluster_t *h, uint32_t node, bool is_cut)
{
    for (uint32_t i = 0; i < h->node_count; i++) {
        h->is_blocked[node][i] = h->is_blocked[i][node] = is_cut;
    }
}

// Goal: after a restart the stream before it is settled once everybody has sealed it, not before;
// told so, each store drops it, and every read still sees everything.
static void settled_and_forgotten(void **state)
{
    (void)state;
    h_cluster_t *h = s_new();
    uint64_t ticket = s_write(h, 0, BB_LEVEL_ALL, 0);
    h_pump(h, 50 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    assert_int_equal(h_stats(h, 1).streams_dead, 0);
    s_restart(h, 0, 2);
    h_pump(h, 60 * H_MS);
    assert_false(bb_shard_is_settled(h->nodes[0].shard)); // in journals alone
    h_pump(h, 1500 * H_MS);
    assert_true(bb_shard_is_settled(h->nodes[0].shard));
    for (uint32_t node = 0; node < 3; node++) {
        assert_int_equal(s_streams(h, node), 1);
        assert_int_equal(h_stats(h, node).streams_dead, 1);
    }
    // One after the other, with time in between: those that know speak with those that do not.
    for (uint32_t node = 0; node < 3; node++) {
        s_forget(h, node, 0, 2);
        h_pump(h, 400 * H_MS);
        assert_int_equal(s_streams(h, node), 0);
        assert_int_equal(h_stats(h, node).streams_dead, 0);
        for (uint32_t reader = 0; reader < 3; reader++) {
            uint64_t query = h_query(h, reader, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_RAW);
            h_pump(h, 100 * H_MS);
            assert_int_equal(h_rows(h, query), 20);
        }
    }
    for (uint32_t node = 0; node < 3; node++) {
        bb_shard_stats_t stats = h_stats(h, node);
        assert_true(stats.is_caught_up);
        assert_int_equal(stats.under_replicated, 0);
        assert_int_equal(stats.unequal, 0);
        assert_int_equal(stats.sync_sessions, 0);
        assert_int_equal(stats.chunks_reoriginated, 0);
        assert_true(stats.streams_forgotten > 0);
        assert_int_equal(stats.store.journal_sealed_files, 0);
    }
    s_write(h, 0, BB_LEVEL_ALL, 100);
    h_pump(h, 300 * H_MS);
    assert_int_equal(s_streams(h, 2), 1);
    assert_int_equal(h_stats(h, 2).streams_dead, 0); // of the present process
    h_free(&h);
}

// Goal: while a replica is down, or lacks a chunk, nothing is settled.
static void waits_for_all(void **state)
{
    (void)state;
    h_cluster_t *h = s_new();
    s_cut(h, 2, true);
    h_tell(h, 0, 2, false);
    h_tell(h, 1, 2, false);
    s_write(h, 0, BB_LEVEL_LOCAL_QUORUM, 0);
    h_pump(h, 100 * H_MS);
    s_restart(h, 0, 2);
    h_tell(h, 0, 2, false);
    h_pump(h, 2000 * H_MS);
    assert_false(bb_shard_is_settled(h->nodes[0].shard));
    s_cut(h, 2, false);
    h_tell(h, 0, 2, true);
    h_tell(h, 1, 2, true);
    h_pump(h, 3000 * H_MS);
    assert_true(bb_shard_is_settled(h->nodes[0].shard));
    h_free(&h);
}

// Goal: who has a chunk of a forgotten stream alone gives it a dot of its own, with the verdict
// that it had, before the old one goes; the others get it, and all hold the same.
static void alone_gets_a_new_dot(void **state)
{
    (void)state;
    h_cluster_t *h = s_new();
    s_cut(h, 1, true);
    // Some of it is in quarantine: the coordinator says so, and nobody judges again.
    uint64_t ticket = h_write(h, 1, BB_LEVEL_ONE, (h_batch_t){.limit = 20});
    uint64_t ahead = h_write(
        h, 1, BB_LEVEL_ONE,
        (h_batch_t){.first = 30, .limit = 33, .time_wall_ns = H_WALL_NS + 5000 * BB_NS_PER_S});
    h_pump(h, 50 * H_MS);
    h_answered(h, ticket, BB_KIND_WRITE_REPLY);
    h_answered(h, ahead, BB_KIND_WRITE_REPLY);
    s_restart(h, 1, 5);
    h->wall_shift_ns = 10000 * BB_NS_PER_S; // what was ahead is not any more
    for (uint32_t node = 0; node < 3; node++) {
        s_forget(h, node, 1, 5);
    }
    h_pump(h, 100 * H_MS);
    assert_true(h_stats(h, 1).chunks_reoriginated > 0);
    uint64_t own = h_query(h, 1, BB_LEVEL_ONE, BB_QUERY_RAW);
    h_pump(h, 50 * H_MS);
    assert_int_equal(h_rows(h, own), 20);
    s_cut(h, 1, false);
    h_pump(h, 3000 * H_MS);
    for (uint32_t node = 0; node < 3; node++) {
        uint64_t raw = h_query(h, node, BB_LEVEL_ONE, BB_QUERY_RAW);
        uint64_t quarantined = h_query(h, node, BB_LEVEL_ONE, BB_QUERY_QUARANTINE);
        h_pump(h, 50 * H_MS);
        assert_int_equal(h_rows(h, raw), 20);
        assert_int_equal(h_rows(h, quarantined), 3);
        assert_int_equal(s_streams(h, node), 1); // the present one of node 1
        assert_true(h_stats(h, node).is_caught_up);
    }
    assert_int_equal(h_stats(h, 0).chunks_reoriginated + h_stats(h, 2).chunks_reoriginated, 0);
    h_free(&h);
}

// Goal: a chunk of a process that has ended, on its way for long, is not taken when its successor
// is known: nobody could say any more that everybody has it. Out of a journal it is.
static void late_chunks(void **state)
{
    (void)state;
    h_cluster_t *h = s_new();
    h->is_blocked[0][1] = true;
    h->is_blocked[0][2] = true;
    s_write(h, 0, BB_LEVEL_ONE, 0);
    h_pump(h, 20 * H_MS);
    const bb_stream_t old = s_stream(0, 1);
    assert_false(bb_shard_is_dead(h->nodes[1].shard, &old, true));
    s_restart(h, 0, 2);
    assert_true(bb_shard_is_dead(h->nodes[1].shard, &old, true));
    assert_false(bb_shard_is_dead(h->nodes[1].shard, &old, false));
    h->is_blocked[0][1] = h->is_blocked[0][2] = false;
    h_pump(h, 3000 * H_MS);
    for (uint32_t node = 0; node < 3; node++) {
        assert_true(h_stats(h, node).is_caught_up);
        assert_int_equal(s_streams(h, node), 1);
    }
    s_forget(h, 1, 0, 2);
    assert_true(bb_shard_is_dead(h->nodes[1].shard, &old, false));
    h_free(&h);
}

// Goal: a read that waits for a chunk of a stream, and a session that saw it, wait no more once the
// stream is forgotten; a floor above the present start of the node itself changes nothing for it.
static void reads_and_floors(void **state)
{
    (void)state;
    h_cluster_t *h = s_new();
    h->is_blocked[0][2] = h->is_blocked[2][0] = true;
    h->is_blocked[1][2] = true;
    s_write(h, 0, BB_LEVEL_LOCAL_QUORUM, 0);
    h_pump(h, 50 * H_MS);
    h->is_blocked[1][2] = false;
    h->blocked_kind = BB_KIND_PULL; // node 2 hears what it lacks, and cannot get it
    uint64_t query = h_query(h, 2, BB_LEVEL_LOCAL_QUORUM, BB_QUERY_RAW);
    h_pump(h, 200 * H_MS);
    assert_false(h_is_answered(h, query));
    s_forget(h, 2, 0, 2);
    h_pump(h, 50 * H_MS);
    assert_true(h_is_answered(h, query));
    s_forget(h, 0, 0, 77); // its own floor, above it: a process that has to end goes on till then
    h_pump(h, 50 * H_MS);
    assert_int_equal(s_streams(h, 0), 1);
    h_free(&h);
}

// What heartbeats say, to everybody.
static void s_marks(h_cluster_t *h)
{
    for (uint32_t from = 0; from < h->node_count; from++) {
        uint64_t version = bb_shard_have_version(h->nodes[from].shard);
        uint64_t mark = bb_have_mark(&h->nodes[from].stream, BB_STANDING_COUNTING, &version, 1);
        for (uint32_t to = 0; to < h->node_count; to++) {
            if (to != from) {
                bb_shard_peer_mark(h->nodes[to].shard, h_time(h), from, mark);
            }
        }
    }
}

// Goal: what the rules see last, with everything sealed and nobody writing, is told: streams are
// settled though have-sets do not change any more. Method: all restart, and hear each other's
// marks.
static void watched_last_and_settled(void **state)
{
    (void)state;
    static const bb_watch_rules_t rules = {
        .rule_count = 1, .rules = {{.name = "high", .metric = "power", .above = 100}}};
    bb_shard_options_t tuning = {.flush_age_ns_max = 200 * H_MS,
                                 .have_report_interval_ns = 100 * H_MS,
                                 .rules = bb_threshold_engine(&rules)};
    h_cluster_t *h = h_new(3, 3, 8, &tuning);
    for (uint32_t node = 0; node < 3; node++) {
        s_restart(h, node, 1);
    }
    h_pump(h, 50 * H_MS);
    s_write(h, 0, BB_LEVEL_ALL, 0);
    h_pump(h, 50 * H_MS);
    for (uint32_t node = 0; node < 3; node++) {
        s_restart(h, node, 2);
    }
    for (uint32_t i = 0; i < 400; i++) {
        s_marks(h);
        h_pump(h, 10 * H_MS);
    }
    assert_true(bb_shard_is_settled(h->nodes[0].shard));
    h_free(&h);
}

// Goal: what the asker of a pull has forgotten does not count as lacking, also when his have-set
// and what is known of him do not fit into one. Method: node 2's stream is in no journal any more,
// and node 1 asks with as many ranges of node 0's stream as there may be, the one that it reported
// not among them.
static void forgotten_though_there_is_no_room(void **state)
{
    (void)state;
    bb_shard_options_t tuning = {.flush_age_ns_max = 3600 * BB_NS_PER_S,
                                 .have_report_interval_ns = 100 * H_MS};
    h_cluster_t *h = h_new(3, 3, 8, &tuning);
    for (uint32_t node = 0; node < 3; node++) {
        s_restart(h, node, 1);
    }
    h_pump(h, 50 * H_MS);
    h_write(h, 2, BB_LEVEL_ALL, (h_batch_t){.limit = 1});
    h_pump(h, 300 * H_MS);
    for (uint32_t node = 0; node < 3; node++) {
        bb_message_t settle = {.kind = BB_KIND_SETTLE, .timeout_ns = 500 * H_MS};
        h_request(h, node, &settle, NULL);
    }
    h_pump(h, 1000 * H_MS);
    h_write(h, 0, BB_LEVEL_ALL, (h_batch_t){.limit = 1, .value = 3});
    h_pump(h, 300 * H_MS);
    h_lose_all(h);
    bb_have_set_t have = {0};
    bb_stream_t stream = s_stream(0, 1);
    for (uint64_t i = 0; i < BB_HAVE_RANGES_MAX; i++) {
        assert_int_equal(bb_have_set_add(&have, &stream, 3 + 2 * i, 3 + 2 * i, NULL), BB_OK);
    }
    uint8_t bytes[24 + 16 * BB_HAVE_RANGES_MAX];
    assert_int_equal(bb_have_set_encoded_bytes(&have), sizeof bytes);
    bb_have_set_encode(&have, bytes);
    bb_have_entry_t entry = {bb_topology_partition_of(h->nodes[0].topology, "b000", 4),
                             bb_slice(bytes, sizeof bytes)};
    bb_forgotten_t forgotten = {0};
    bb_forgotten_raise(&forgotten, bb_stream_node_hash(s_ids[2]), 2);
    bb_message_t pull = {.kind = BB_KIND_PULL,
                         .epoch = TEST_EPOCH,
                         .request_id = 1,
                         .pull = {.budget_bytes = 1u << 20,
                                  .lane = {1, 0},
                                  .entry_count = 1,
                                  .entries = &entry,
                                  .forgotten_count = forgotten.count,
                                  .forgotten = forgotten.floors}};
    bb_shard_peer(h->nodes[0].shard, h_time(h), 1, &pull, NULL, NULL);
    h_commit(h, 0);
    uint32_t done_count = 0;
    for (uint32_t i = 0; i < h->message_count; i++) {
        bb_message_t message;
        if (h->messages[i].kind == BB_KIND_PULL_DONE) {
            done_count++;
            assert_int_equal(
                bb_message_decode(&message, bb_buffer_slice(h->messages[i].envelope), NULL), BB_OK);
            assert_int_equal(message.pull_done.chunk_count, 1);
            assert_int_equal(message.pull_done.unavailable_count, 0);
            bb_message_close(&message);
        }
    }
    assert_int_equal(done_count, 1);
    bb_have_set_clear(&have);
    h_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settled_and_forgotten),
        cmocka_unit_test(waits_for_all),
        cmocka_unit_test(alone_gets_a_new_dot),
        cmocka_unit_test(late_chunks),
        cmocka_unit_test(reads_and_floors),
        cmocka_unit_test(watched_last_and_settled),
        cmocka_unit_test(forgotten_though_there_is_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
