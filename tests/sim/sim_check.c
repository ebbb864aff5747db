// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/ingest/bb_shard_internal.h"
#include "storage/bb_store_private.h"
#include "storage/bb_store_sync.h"
#include "tests/sim/sim_world.h"

// ---- levels ----------------------------------------------------------------------------------

// The table of the design, promise P1, written down again.
static bool s_is_met(const sim_world_t *self, bb_level_t level, uint32_t dc, uint32_t held,
                     const uint32_t *held_in_dc, uint32_t replicas)
{
    const uint32_t *replicas_in_dc = self->options.replicas_in_dc;
    switch (level) {
    case BB_LEVEL_ONE:
        return held >= 1;
    case BB_LEVEL_LOCAL_QUORUM:
        return 2 * held_in_dc[dc] > replicas_in_dc[dc];
    case BB_LEVEL_QUORUM:
        return 2 * held > replicas && 2 * held_in_dc[dc] > replicas_in_dc[dc];
    case BB_LEVEL_EACH_QUORUM:
        for (uint32_t i = 0; i < self->options.dc_count; i++) {
            if (replicas_in_dc[i] > 0 && 2 * held_in_dc[i] <= replicas_in_dc[i]) {
                return false;
            }
        }
        return true;
    case BB_LEVEL_ALL:
        return held == replicas;
    }
    return false;
}

typedef struct {
    uint32_t replicas, held, held_in_dc[SIM_DCS_MAX];
} s_holders_t;

// A level survives lost disks: what was durable on one counted. The liar has it or has it not.
static s_holders_t s_holders(const sim_world_t *self, const sim_attempt_t *attempt, uint32_t index,
                             bool liar_has)
{
    uint32_t partition = attempt->dots[index].partition;
    uint64_t seq = attempt->dots[index].seq;
    s_holders_t found = {0};
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        const sim_node_t *node = &self->nodes[n];
        if (!sim_world_is_replica(self, partition, n)) {
            continue;
        }
        bool is_held = sim_epoch_counts(node, attempt->epoch, partition, &attempt->stream, seq) ||
                       bb_have_set_contains(&node->lost[partition], &attempt->stream, seq) ||
                       sim_twin_holds(self, n, partition, &attempt->stream, seq);
        is_held = sim_hostile_is(self, n) ? liar_has : is_held;
        found.replicas++;
        found.held += is_held;
        found.held_in_dc[node->dc] += is_held;
    }
    return found;
}

bool sim_check_is_kept(sim_world_t *self, const sim_attempt_t *attempt, bb_level_t level)
{
    bool is_kept = true;
    for (uint32_t i = 0; i < attempt->dot_count && self->options.has_hostile; i++) {
        s_holders_t found = s_holders(self, attempt, i, false);
        is_kept &= s_is_met(self, level, self->nodes[attempt->node].dc, found.held,
                            found.held_in_dc, found.replicas);
    }
    self->counters.hostile_believed += !is_kept;
    return is_kept;
}

void sim_check_level(sim_world_t *self, const sim_attempt_t *attempt, bb_level_t level)
{
    sim_twin_promised(self, attempt);
    if (attempt->dot_count == 0) {
        sim_trace_fail(&self->trace, "node %u acknowledged a batch that has no dots",
                       attempt->node);
        return;
    }
    uint32_t dc = self->nodes[attempt->node].dc;
    for (uint32_t i = 0; i < attempt->dot_count; i++) {
        s_holders_t found = s_holders(self, attempt, i, true);
        if (!s_is_met(self, level, dc, found.held, found.held_in_dc, found.replicas)) {
            sim_trace_fail(&self->trace,
                           "node %u acknowledged at %s what %u replicas hold (%u in its data "
                           "centre): partition %u seq %" PRIu64,
                           attempt->node, bb_level_name(level), found.held, found.held_in_dc[dc],
                           attempt->dots[i].partition, attempt->dots[i].seq);
            return;
        }
    }
}

// ---- convergence -----------------------------------------------------------------------------

bool sim_check_has_converged(sim_world_t *self, char *why, size_t why_bytes)
{
    if (!sim_twin_end(self)) {
        snprintf(why, why_bytes, "two processes have one identity");
        return false;
    }
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        const sim_node_t *node = &self->nodes[n];
        if (!node->is_up || sim_node_is_fenced(node)) {
            snprintf(why, why_bytes, "node %u is %s", n, node->is_up ? "fenced" : "down");
            return false;
        }
        if (node->standing != BB_STANDING_COUNTING) {
            snprintf(why, why_bytes, "node %u is %s", n, bb_standing_name(node->standing));
            return false;
        }
        for (uint32_t i = 0; i < node->store_count; i++) {
            if (!bb_have_view_is_caught_up(node->stores[i].shard->view)) {
                snprintf(why, why_bytes, "node %u does not say that it has caught up", n);
                return false;
            }
            if (!bb_shard_is_watched(node->stores[i].shard)) {
                snprintf(why, why_bytes, "the rules have not seen all that node %u has", n);
                return false;
            }
        }
    }
    for (uint32_t n = 0; n < self->options.node_count * self->options.node_count; n++) {
        uint32_t a = n / self->options.node_count, b = n % self->options.node_count;
        if (!sim_node_knows(&self->nodes[a], &self->nodes[b])) {
            snprintf(why, why_bytes, "node %u does not know node %u", a, b);
            return false;
        }
    }
    for (uint32_t p = 0; p < self->options.partition_count; p++) {
        const bb_have_set_t *first = NULL;
        uint32_t first_node = 0;
        for (uint32_t n = 0; n < self->options.node_count; n++) {
            if (!sim_world_is_replica(self, p, n)) {
                continue;
            }
            const bb_have_set_t *have = sim_node_have(&self->nodes[n], p);
            if (first && !bb_have_set_is_equal(first, have)) {
                snprintf(why, why_bytes,
                         "partition %u: node %u lacks %" PRIu64 ", node %u lacks %" PRIu64
                         " of each other's chunks",
                         p, first_node, bb_have_set_lacks_count(first, have), n,
                         bb_have_set_lacks_count(have, first));
                return false;
            }
            if (!first) {
                first = have;
                first_node = n;
            }
        }
    }
    return true;
}

// ---- what each replica holds -----------------------------------------------------------------

// All pages of one partition, asked of one node alone.
static void s_scan_partition(sim_world_t *self, sim_node_t *node, uint32_t partition,
                             bb_query_mode_t mode, sim_op_t *op)
{
    op->mode = mode;
    op->level = BB_LEVEL_ONE;
    op->is_asked[partition] = true;
    op->partitions[0] = partition;
    op->partition_count = 1;
    op->from_wall_ns = BB_TIME_WALL_NS_FIRST;
    op->to_wall_ns = BB_TIME_WALL_NS_LIMIT - 1;
    op->battery = op->metric = UINT32_MAX;
    op->moment = self->moment + 1;
    sim_store_t *store = sim_node_store(node, partition);
    do {
        bb_message_t query = {.kind = BB_KIND_QUERY,
                              .request_id = 1,
                              .query = {.mode = mode,
                                        .level = BB_LEVEL_ONE,
                                        .from_wall_ns = op->from_wall_ns,
                                        .to_wall_ns = op->to_wall_ns,
                                        .partition_count = 1,
                                        .partitions = op->partitions,
                                        .page_bytes_max = self->options.seed % 3 == 0 ? 4096 : 0,
                                        .cursor = bb_slice(op->cursor, op->cursor_length)}};
        bb_message_t answer = {0};
        sim_store_ask(store, &query, &answer);
        bool is_served = answer.kind == BB_KIND_RESULT && answer.result.missing_count == 0;
        if (!is_served && node->is_damaged) {
            op->is_damaged = true; // it says so, and that is all that is asked of it
            self->counters.partitions_named_damaged++;
            bb_message_close(&answer);
            return;
        }
        if (!is_served) {
            sim_trace_fail(&self->trace, "node %u does not serve partition %u after all faults",
                           node->index, partition);
            bb_message_close(&answer);
            return;
        }
        op->cursor_length = answer.result.cursor.length;
        BB_ASSERT(op->cursor_length <= sizeof op->cursor);
        if (op->cursor_length > 0) {
            memcpy(op->cursor, answer.result.cursor.data, op->cursor_length);
        }
        bool is_good = sim_client_rows(self, op, bb_buffer_slice(store->direct_body));
        bb_message_close(&answer);
        if (!is_good) {
            return;
        }
    } while (op->cursor_length > 0);
}

static void s_add_page(const sim_world_t *self, const bb_page_t *page, sim_totals_t *totals)
{
    for (uint32_t s = 0; s < page->series_count; s++) {
        const bb_series_t *series = &page->series[s];
        uint32_t battery = sim_client_battery(series->battery);
        uint32_t metric = sim_client_metric(series->metric);
        bool is_event = self->options.has_rules && sim_watch_is_event(series->metric);
        for (uint32_t i = 0; i < series->row_count && !is_event; i++) {
            bb_bucket_t bucket = bb_series_bucket(series, i);
            if (self->options.planted == BB_PLANTED_SWAPPED_EXTREMES) {
                uint64_t min = bucket.min;
                bucket.min = bucket.max;
                bucket.max = min;
            } else if (self->options.planted == BB_PLANTED_ROUNDED_SUM) {
                bb_sum_add(&bucket.sum, 1e-9);
            }
            sim_totals_add_bucket(totals, battery, metric, series->type, &bucket);
        }
    }
}

// What aggregates of one partition say, all pages. `rollup`: empty, or its stored results are asked
// for as far as they are fresh.
// False: a damaged node names the partition instead.
static bool s_aggregate(sim_world_t *self, sim_node_t *node, uint32_t partition, const char *rollup,
                        sim_totals_t *totals)
{
    bb_message_t query = {.kind = BB_KIND_QUERY,
                          .request_id = 1,
                          .query = {.mode = BB_QUERY_AGGREGATE,
                                    .level = BB_LEVEL_ONE,
                                    .from_wall_ns = BB_TIME_WALL_NS_FIRST,
                                    .to_wall_ns = BB_TIME_WALL_NS_LIMIT - 1,
                                    .aggregates = BB_AGGREGATE_COUNT | BB_AGGREGATE_SUM |
                                                  BB_AGGREGATE_MIN | BB_AGGREGATE_MAX,
                                    .partition_count = 1,
                                    .partitions = &partition,
                                    .rollup = bb_slice(rollup, strlen(rollup))}};
    uint8_t cursor[BB_CURSOR_BYTES_MAX];
    sim_store_t *store = sim_node_store(node, partition);
    do {
        bb_message_t answer = {0};
        bb_page_t page;
        sim_store_ask(store, &query, &answer);
        query.query.cursor = bb_slice(cursor, 0);
        if (node->is_damaged &&
            (answer.kind != BB_KIND_RESULT || answer.result.missing_count > 0)) {
            self->counters.partitions_named_damaged++;
            bb_message_close(&answer);
            return false;
        }
        if (answer.kind == BB_KIND_RESULT &&
            bb_page_open(&page, bb_buffer_slice(store->direct_body), NULL) == BB_OK) {
            s_add_page(self, &page, totals);
            bb_page_close(&page);
            query.query.cursor.length = answer.result.cursor.length;
            BB_ASSERT(query.query.cursor.length <= sizeof cursor);
            if (query.query.cursor.length > 0) {
                memcpy(cursor, answer.result.cursor.data, query.query.cursor.length);
            }
        }
        bb_message_close(&answer);
    } while (query.query.cursor.length > 0);
    return true;
}

static void s_compare_totals(sim_world_t *self, sim_node_t *node, uint32_t partition,
                             const char *rollup, const sim_totals_t *wanted)
{
    sim_totals_t *found = bb_alloc_zero(1, sizeof *found);
    uint32_t battery = 0;
    uint32_t metric = 0;
    const char *what = s_aggregate(self, node, partition, rollup, found)
                           ? sim_totals_difference(found, wanted, &battery, &metric)
                           : NULL;
    if (what) {
        const char *name = rollup[0] ? "a rollup" : "an aggregate";
        sim_trace_fail(&self->trace,
                       "node %u partition %u: %s and single points have another %s: battery %u "
                       "metric %u",
                       node->index, partition, name, what, battery, metric);
    }
    free(found);
}

// Aggregates equal what single points add up to; results of a rollup outlive points that retention
// has passed by, and are what those points added up to.
static void s_check_totals(sim_world_t *self, sim_node_t *node, uint32_t partition,
                           const sim_op_t *op)
{
    sim_totals_t *totals = bb_alloc_zero(1, sizeof *totals);
    for (uint32_t i = 0; i < op->row_count; i++) {
        const sim_row_t *row = &op->rows[i];
        sim_totals_add(totals, row->key.battery, row->key.metric, (bb_type_t)row->type, row->bits);
    }
    s_compare_totals(self, node, partition, "", totals);
    // The one that had a late point in time has it in its rollup, and the others have not.
    if (self->policy && partition != self->late_partition && !sim_trace_has_failed(&self->trace)) {
        bool is_passed = self->floor_wall_ns > 0;
        s_compare_totals(self, node, partition, SIM_ROLLUP,
                         is_passed ? self->totals[partition] : totals);
    }
    if (self->floor_wall_ns == 0) {
        free(self->totals[partition]);
        self->totals[partition] = totals;
        totals = NULL;
    }
    free(totals);
}

// Nothing was flipped: what scrubbing names is a mistake of its own.
static void s_check_scrub(sim_world_t *self, const sim_store_t *at)
{
    const bb_store_t *store = at->shard->store;
    bb_store_scrub_stats_t stats = bb_store_scrub_stats(store, 0);
    self->counters.scrubbed_segments += stats.scrub.windows_total;
    if (stats.damage_count > 0 && !at->node->is_damaged) {
        char text[BB_STORE_DAMAGE_TEXT_BYTES];
        bb_store_damage_text(store, 0, text);
        sim_trace_fail(&self->trace, "node %u: scrubbing names %u parts of a sound disk: %s",
                       at->node->index, stats.damage_count, text);
    }
}

// Replicas computed the same of the same points. Another result of one piece is of a copy of a disk
// that lacked some, or of the point that came too late to all but one.
static void s_check_results(sim_world_t *self, const sim_store_t *at)
{
    uint64_t taken = 0;
    uint64_t different = 0;
    bb_store_results_stats(at->shard->store, &taken, &different);
    self->counters.results_taken += taken;
    bool may_differ = self->late_partition != UINT32_MAX || self->counters.disks_restored > 0 ||
                      self->counters.flips_in_journals + self->counters.flips_in_maps > 0;
    if (different > 0 && !may_differ) {
        sim_trace_fail(&self->trace,
                       "node %u: others had other results of a rollup, %" PRIu64 " of them",
                       at->node->index, different);
    }
}

static void s_check_partition(sim_world_t *self, uint32_t partition, bb_query_mode_t mode)
{
    uint64_t fingerprint = 0;
    uint32_t row_count = 0, replicas = 0;
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        sim_node_t *node = &self->nodes[n];
        if (!sim_world_is_replica(self, partition, n) || sim_trace_has_failed(&self->trace) ||
            node->is_given_up) {
            continue;
        }
        sim_op_t op = {0};
        s_scan_partition(self, node, partition, mode, &op);
        char who[64];
        snprintf(who, sizeof who, "node %u alone", n);
        if (op.is_damaged) {
            sim_client_op_clear(&op);
            continue;
        }
        if (!sim_trace_has_failed(&self->trace)) {
            sim_client_check_read(self, &op, 0, true, who);
        }
        if (mode == BB_QUERY_RAW && !sim_trace_has_failed(&self->trace)) {
            s_check_totals(self, node, partition, &op);
        }
        if (mode == BB_QUERY_RAW && !sim_trace_has_failed(&self->trace)) {
            sim_watch_check(self, &op, partition, n);
        }
        uint64_t held = bb_checker_fingerprint(self->checker);
        sim_trace_line(&self->trace, "node %u partition %u: %u points, fingerprint %016" PRIx64, n,
                       partition, op.row_count, held);
        if (replicas > 0 && (held != fingerprint || op.row_count != row_count) &&
            !sim_trace_has_failed(&self->trace)) {
            sim_trace_fail(&self->trace, "partition %u: replicas hold different points (%u, %u)",
                           partition, row_count, op.row_count);
        }
        fingerprint = held;
        row_count = op.row_count;
        replicas++;
        sim_client_op_clear(&op);
    }
    sim_trace_fold(&self->trace, fingerprint);
}

static bool s_is_sealed(const bb_store_t *store)
{
    bb_store_stats_t stats;
    bb_store_stats(store, &stats);
    return stats.head_points == 0 && stats.frozen_points == 0;
}

// Fingerprints that are known say the same on every replica that has sealed everything: they are of
// windows, and of those only that are one segment of merged points.
static void s_check_fingerprints(sim_world_t *self, uint32_t partition)
{
    uint32_t day_last = (uint32_t)(SIM_WALL_NS_FIRST / BB_NS_PER_DAY) + 1;
    for (uint32_t day = day_last - 4; day <= day_last; day++) {
        bb_fingerprint_t first = {0};
        uint32_t first_node = UINT32_MAX;
        for (uint32_t n = 0; n < self->options.node_count; n++) {
            bb_fingerprint_t sum;
            if (!sim_world_is_replica(self, partition, n) || self->nodes[n].is_damaged ||
                self->nodes[n].is_given_up) {
                continue;
            }
            const bb_store_t *store = sim_node_store(&self->nodes[n], partition)->shard->store;
            if (!s_is_sealed(store) || bb_store_fingerprint(store, day, partition, &sum) != BB_OK) {
                continue;
            }
            self->counters.fingerprints_compared += first_node != UINT32_MAX;
            if (first_node != UINT32_MAX && memcmp(&first, &sum, sizeof sum) != 0) {
                sim_trace_fail(&self->trace,
                               "partition %u day %u: nodes %u and %u have other fingerprints",
                               partition, day, first_node, n);
            }
            first = sum;
            first_node = n;
        }
    }
}

void sim_check_caps(sim_world_t *self, const sim_store_t *store)
{
    const sim_options_t *options = &self->options;
    const bb_shard_t *shard = store->shard;
    // One batch may pass any of the limits: what is alone always has room.
    if (shard->in_flight_bytes > options->in_flight_bytes_max + SIM_BATCH_BYTES_MAX) {
        sim_trace_fail(&self->trace, "node %u: %" PRIu64 " bytes of clients are in flight",
                       store->node->index, shard->in_flight_bytes);
    }
    if (bb_store_head_bytes(shard->store) > options->memory_bytes + SIM_HEAD_BYTES_OVER) {
        sim_trace_fail(&self->trace, "node %u: %" PRIu64 " bytes in the head, the most is %zu",
                       store->node->index, bb_store_head_bytes(shard->store),
                       options->memory_bytes);
    }
    for (uint32_t peer = 0; peer < options->node_count; peer++) {
        uint64_t bytes = bb_replication_unacked_bytes(shard->replication, peer);
        if (bytes > options->peer_unacked_bytes_max + SIM_BATCH_BYTES_MAX) {
            sim_trace_fail(&self->trace,
                           "node %u: node %u owes acknowledgements of %" PRIu64 " bytes",
                           store->node->index, peer, bytes);
        }
    }
}

void sim_check_replicas(sim_world_t *self)
{
    for (uint32_t p = 0; p < self->options.partition_count; p++) {
        s_check_partition(self, p, BB_QUERY_RAW);
        s_check_partition(self, p, BB_QUERY_QUARANTINE);
        s_check_fingerprints(self, p);
    }
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        for (uint32_t i = 0; i < self->nodes[n].store_count && self->nodes[n].is_up; i++) {
            s_check_scrub(self, &self->nodes[n].stores[i]);
            s_check_results(self, &self->nodes[n].stores[i]);
        }
    }
}

static bool s_has_retired(const sim_world_t *self, const sim_node_t *node)
{
    if (!node->is_up) {
        return false;
    }
    for (uint32_t i = 0; i < node->store_count; i++) {
        const bb_store_t *store = node->stores[i].shard->store;
        if (bb_store_wants_retire(store) ||
            bb_retention_durable_floor(store->retention, 1) != self->floor_wall_ns) {
            return false;
        }
    }
    return true;
}

bool sim_check_has_retired(sim_world_t *self)
{
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        if (!s_has_retired(self, &self->nodes[n])) {
            return false;
        }
    }
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        for (uint32_t i = 0; i < self->nodes[n].store_count; i++) {
            bb_store_stats_t stats;
            bb_store_stats(self->nodes[n].stores[i].shard->store, &stats);
            self->counters.retired_windows += stats.retired_windows;
        }
    }
    return true;
}

static void s_ask_all(sim_world_t *self, const bb_message_t *message)
{
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        for (uint32_t i = 0; i < self->nodes[n].store_count; i++) {
            bb_message_t answer = {0};
            sim_store_ask(&self->nodes[n].stores[i], message, &answer);
            bb_message_close(&answer);
        }
    }
}

void sim_check_settle(sim_world_t *self)
{
    bb_message_t settle = {.kind = BB_KIND_SETTLE, .request_id = 1, .timeout_ns = 20 * BB_NS_PER_S};
    self->counters.settles++;
    s_ask_all(self, &settle);
}

void sim_check_release(sim_world_t *self)
{
    bb_message_t release = {.kind = BB_KIND_RELEASE,
                            .request_id = 1,
                            .timeout_ns = 20 * BB_NS_PER_S,
                            .release = {.level = BB_LEVEL_ALL}};
    s_ask_all(self, &release);
}
