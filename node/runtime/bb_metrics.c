// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *text;
    size_t length, capacity;
} s_text_t;

BB_PRINTF(2, 3) static void s_printf(s_text_t *out, const char *format, ...)
{
    for (;;) {
        va_list arguments;
        va_start(arguments, format);
        size_t room = out->capacity - out->length;
        int needed = vsnprintf(out->text + out->length, room, format, arguments);
        va_end(arguments);
        BB_ASSERT(needed >= 0);
        if ((size_t)needed < room) {
            out->length += (size_t)needed;
            return;
        }
        out->capacity = out->capacity * 2 + (size_t)needed;
        out->text = bb_realloc(out->text, out->capacity);
    }
}

static void s_family(s_text_t *out, const char *name, const char *type, const char *help)
{
    s_printf(out, "# HELP busbar_%s %s.\n# TYPE busbar_%s %s\n", name, help, name, type);
}

static void s_counters(s_text_t *out, const uint64_t *counters)
{
    static const struct {
        const char *family, *labels, *help;
    } entries[] = {
#define S_ENTRY(name, family, labels, help) {family, labels, help},
        BB_METRIC_LIST(S_ENTRY)
#undef S_ENTRY
    };
    const char *previous = "";
    for (uint32_t i = 0; i < BB_METRIC_COUNT; i++) {
        if (strcmp(previous, entries[i].family) != 0) {
            char name[80];
            snprintf(name, sizeof name, "%s_total", entries[i].family);
            s_family(out, name, "counter", entries[i].help);
            previous = entries[i].family;
        }
        bool has_labels = entries[i].labels[0] != '\0';
        s_printf(out, "busbar_%s_total%s%s%s %" PRIu64 "\n", entries[i].family,
                 has_labels ? "{" : "", entries[i].labels, has_labels ? "}" : "", counters[i]);
    }
}

// One value of each store: where it lies in the snapshot and what it is called.
typedef struct {
    const char *name, *type, *help;
    size_t offset;
    double scale; // of the number as stored to the base unit
} s_store_metric_t;

#define S_FIELD(field) offsetof(bb_shard_stats_t, field)
static const s_store_metric_t s_store_metrics[] = {
    {"points_accepted_total", "counter", "Points taken from clients", S_FIELD(points_accepted), 1},
    {"frames_accepted_total", "counter", "Frames taken from clients", S_FIELD(frames_accepted), 1},
    {"batches_accepted_total", "counter", "Batches taken from clients", S_FIELD(batches_accepted),
     1},
    {"points_rejected_total", "counter", "Points refused by name", S_FIELD(points_rejected), 1},
    {"points_quarantined_total", "counter", "Points too far ahead of the clock",
     S_FIELD(points_quarantined), 1},
    {"writes_acked_total", "counter", "Batches acknowledged at their level", S_FIELD(writes_acked),
     1},
    {"writes_busy_total", "counter", "Batches answered busy", S_FIELD(writes_busy), 1},
    {"writes_timeout_total", "counter", "Batches whose level was not met in time",
     S_FIELD(writes_timeout), 1},
    {"writes_unavailable_total", "counter", "Batches refused for lack of live replicas",
     S_FIELD(writes_unavailable), 1},
    {"writes_disk_full_total", "counter", "Batches refused because the disk was at its reserve",
     S_FIELD(writes_disk_full), 1},
    {"chunks_replicated_in_total", "counter", "Chunks taken from peers",
     S_FIELD(chunks_replicated_in), 1},
    {"chunks_replicated_out_total", "counter", "Chunks sent to peers",
     S_FIELD(chunks_replicated_out), 1},
    {"chunks_pulled_total", "counter", "Chunks received by pulling", S_FIELD(chunks_pulled), 1},
    {"repair_given_bytes_total", "counter", "Sent to peers that lacked it: pulls and segment sync",
     S_FIELD(repair_bytes_given), 1},
    {"repair_taken_bytes_total", "counter", "Taken from peers because it lacked here",
     S_FIELD(repair_bytes_taken), 1},
    {"repair_put_off_total", "counter", "Looks at which repair gave way to waiting writers",
     S_FIELD(repairs_put_off), 1},
    {"chunks_held_by_cap_total", "counter", "Chunks not sent to another data centre at once",
     S_FIELD(chunks_held_by_cap), 1},
    {"batches_forwarded_total", "counter", "Batches sent on within this data centre for another",
     S_FIELD(batches_forwarded), 1},
    {"relays_passed_by_total", "counter", "Batches sent again because a relay was silent",
     S_FIELD(relays_passed_by), 1},
    {"chunks_duplicate_total", "counter", "Chunks received again", S_FIELD(chunks_duplicate), 1},
    {"shard_peer_messages_bad_total", "counter", "Messages of peers that made no sense",
     S_FIELD(peer_messages_bad), 1},
    {"shard_chunks_contradicted_total", "counter",
     "Chunks of peers under a dot that has another content here: refused",
     S_FIELD(chunks_contradicted), 1},
    {"streams", "gauge", "Streams in have-sets: process starts that nobody has forgotten",
     S_FIELD(store.streams), 1},
    {"streams_dead", "gauge",
     "Of them, those of processes that ended, or that were not heard of yet", S_FIELD(streams_dead),
     1},
    {"streams_forgotten_total", "counter", "Streams forgotten, counted in each partition",
     S_FIELD(streams_forgotten), 1},
    {"chunks_reoriginated_total", "counter",
     "Chunks of forgotten streams that got dots of this process", S_FIELD(chunks_reoriginated), 1},
    {"chunks_dead_total", "counter",
     "Chunks of peers not taken: of streams that are forgotten, or of processes that ended",
     S_FIELD(chunks_dead), 1},
    {"journal_syncs_total", "counter", "Group commits", S_FIELD(journal_syncs), 1},
    {"journal_sync_seconds_total", "counter", "Time spent in group commits",
     S_FIELD(journal_sync_ns_sum), 1e-9},
    {"journal_sync_bytes_total", "counter", "Bytes made durable by group commits",
     S_FIELD(journal_sync_bytes), 1},
    {"read_fences_total", "counter", "Quorum reads that waited for their fence",
     S_FIELD(fences_waited), 1},
    {"read_fences_timeout_total", "counter", "Quorum reads whose fence was not met in time",
     S_FIELD(fences_timeout), 1},
    {"have_hedges_total", "counter", "Fences that asked all replicas, because few took long",
     S_FIELD(fences_hedged), 1},
    {"have_hedges_won_total", "counter", "Those of them that were met sooner by that",
     S_FIELD(fences_hedged_won), 1},
    {"have_bytes_total", "counter", "Bytes of questions and answers about have-sets, sent",
     S_FIELD(have_bytes), 1},
    {"have_seconds_total", "counter", "Time spent on questions and answers about have-sets",
     S_FIELD(have_ns), 1e-9},
    {"unsealed_chunks", "gauge", "Chunks not yet in segments", S_FIELD(unsealed_chunks), 1},
    {"untrimmed_chunks", "gauge", "Chunks still in the journal", S_FIELD(untrimmed_chunks), 1},
    {"head_bytes", "gauge", "Memory of the head", S_FIELD(store.head_bytes), 1},
    {"head_points", "gauge", "Points in the head", S_FIELD(store.head_points), 1},
    {"journal_bytes", "gauge", "Bytes of journal files", S_FIELD(store.journal_bytes), 1},
    {"disk_free_bytes", "gauge", "Free space when it was last looked at",
     S_FIELD(store.disk_free_bytes), 1},
    {"disk_reserve_bytes", "gauge", "Free space below which writes are refused",
     S_FIELD(store.disk_reserve_bytes), 1},
    {"journal_spare_bytes", "gauge", "Bytes of empty journal files that will be written again",
     S_FIELD(store.journal_spare_bytes), 1},
    {"journal_files", "gauge", "Journal files", S_FIELD(store.journal_files), 1},
    {"segment_bytes", "gauge", "Bytes of segments", S_FIELD(store.segment_bytes), 1},
    {"segment_points", "gauge", "Points in segments", S_FIELD(store.segment_points), 1},
    {"windows", "gauge", "Day windows", S_FIELD(store.window_count), 1},
    {"runs", "gauge", "Runs in segments", S_FIELD(store.runs), 1},
    {"runs_mergeable", "gauge", "Runs that a merge would take away", S_FIELD(store.runs_mergeable),
     1},
    {"batteries", "gauge", "Batteries known", S_FIELD(store.battery_count), 1},
    {"quarantined_points", "gauge", "Points in quarantine", S_FIELD(store.quarantined_points), 1},
    {"type_conflicts", "gauge", "Series that hold two types", S_FIELD(store.type_conflicts), 1},
    {"value_conflicts", "gauge", "Points that were given two values at one revision",
     S_FIELD(store.value_conflicts), 1},
    {"retired_windows_total", "counter", "Windows that retention deleted",
     S_FIELD(store.retired_windows), 1},
    {"retired_points_total", "counter", "Points in windows that retention deleted",
     S_FIELD(store.retired_points), 1},
    {"rollup_stale_parts", "gauge", "Days of a partition whose rollups are to be computed anew",
     S_FIELD(store.rollup_stale), 1},
    {"rollup_damaged_total", "counter", "Results of rollups that did not verify; computed again",
     S_FIELD(store.rollup_damaged), 1},
    {"journal_let_go_bytes_total", "counter",
     "Bytes of journals that were let go past their budget, though a replica lacked them",
     S_FIELD(journal_let_go_bytes), 1},
    {"sync_sessions_total", "counter", "Partitions made equal by segment sync",
     S_FIELD(sync_sessions), 1},
    {"sync_sessions_failed_total", "counter", "Sessions of segment sync that had to begin again",
     S_FIELD(sync_failed), 1},
    {"sync_windows_total", "counter", "Windows compared by segment sync", S_FIELD(sync_windows), 1},
    {"sync_bytes_total", "counter", "Bytes fetched by segment sync", S_FIELD(sync_bytes), 1},
    {"sync_result_bytes_total", "counter", "Bytes of rollups' results fetched by segment sync",
     S_FIELD(sync_result_bytes), 1},
    {"sync_results_different_total", "counter",
     "Pieces of rollups that another replica had otherwise, of days without points",
     S_FIELD(sync_results_different), 1},
    {"sync_repaired_total", "counter",
     "Damaged segments, and damaged results of rollups, that were fetched anew",
     S_FIELD(sync_repaired), 1},
    {"sync_left", "gauge", "Partitions that wait for segment sync", S_FIELD(sync_left), 1},
    {"scrub_bytes_total", "counter", "Bytes of windows that were verified", S_FIELD(scrub_bytes),
     1},
    {"scrub_findings_total", "counter", "Findings of verifying, each time they are met",
     S_FIELD(scrub_findings), 1},
    {"scrub_oldest_age_seconds", "gauge", "Since the window was verified that waits longest",
     S_FIELD(scrub_oldest_age_ns), 1e-9},
    {"damaged_entries", "gauge", "Windows and batteries of windows known to be damaged",
     S_FIELD(damage_count), 1},
    {"barred_windows", "gauge", "Windows that are not opened because they are not trusted",
     S_FIELD(barred_windows), 1},
};

static void s_stores(s_text_t *out, const bb_metrics_view_t *view)
{
    for (size_t m = 0; m < BB_COUNT_OF(s_store_metrics); m++) {
        const s_store_metric_t *metric = &s_store_metrics[m];
        s_family(out, metric->name, metric->type, metric->help);
        for (uint32_t i = 0; i < view->store_count; i++) {
            uint64_t value = 0;
            if (view->stores[i]) {
                memcpy(&value, (const char *)view->stores[i] + metric->offset, sizeof value);
            }
            if (metric->scale == 1) {
                s_printf(out, "busbar_%s{store=\"%u\"} %" PRIu64 "\n", metric->name, i, value);
            } else {
                s_printf(out, "busbar_%s{store=\"%u\"} %.9f\n", metric->name, i,
                         (double)value * metric->scale);
            }
        }
    }
}

static void s_store_states(s_text_t *out, const bb_metrics_view_t *view)
{
    s_family(out, "store_fenced", "gauge", "1 when a failed sync has fenced the store");
    for (uint32_t i = 0; i < view->store_count; i++) {
        s_printf(out, "busbar_store_fenced{store=\"%u\"} %d\n", i,
                 view->stores[i] && view->stores[i]->is_fenced);
    }
    s_family(out, "store_caught_up", "gauge", "1 when the store lacks nothing it knows of");
    for (uint32_t i = 0; i < view->store_count; i++) {
        s_printf(out, "busbar_store_caught_up{store=\"%u\"} %d\n", i,
                 view->stores[i] && view->stores[i]->is_caught_up);
    }
    s_family(out, "under_replicated_partitions", "gauge",
             "Partitions with a replica that is down, or has lacked chunks for some seconds");
    for (uint32_t i = 0; i < view->store_count; i++) {
        s_printf(out, "busbar_under_replicated_partitions{store=\"%u\"} %u\n", i,
                 view->stores[i] ? view->stores[i]->under_replicated : 0);
    }
    s_family(out, "unequal_partitions", "gauge",
             "Partitions with a replica not known to have everything at this moment");
    for (uint32_t i = 0; i < view->store_count; i++) {
        s_printf(out, "busbar_unequal_partitions{store=\"%u\"} %u\n", i,
                 view->stores[i] ? view->stores[i]->unequal : 0);
    }
}

// Bucket i of the snapshot counts what took less than 2^i microseconds and not less than the one
// before; the last one everything above.
static void s_ack_latency(s_text_t *out, const bb_metrics_view_t *view)
{
    enum { BUCKETS = BB_COUNT_OF(((bb_shard_stats_t *)0)->ack_latency_buckets) };
    s_family(out, "ack_latency_seconds", "histogram",
             "Time from the arrival of a batch at its store to its acknowledgement");
    for (uint32_t i = 0; i < view->store_count; i++) {
        uint64_t count = 0;
        uint64_t sum_ns = view->stores[i] ? view->stores[i]->ack_latency_ns_sum : 0;
        for (uint32_t b = 0; b < BUCKETS; b++) {
            count += view->stores[i] ? view->stores[i]->ack_latency_buckets[b] : 0;
            if (b + 1 < BUCKETS) {
                s_printf(out,
                         "busbar_ack_latency_seconds_bucket{store=\"%u\",le=\"%.6f\"} %" PRIu64
                         "\n",
                         i, (double)(UINT64_C(1) << b) * 1e-6, count);
            }
        }
        s_printf(out, "busbar_ack_latency_seconds_bucket{store=\"%u\",le=\"+Inf\"} %" PRIu64 "\n",
                 i, count);
        s_printf(out, "busbar_ack_latency_seconds_sum{store=\"%u\"} %.9f\n", i,
                 (double)sum_ns * 1e-9);
        s_printf(out, "busbar_ack_latency_seconds_count{store=\"%u\"} %" PRIu64 "\n", i, count);
    }
}

static void s_node_label(s_text_t *out, const char *metric, const bb_topology_t *topology,
                         uint32_t node)
{
    // Node ids are names of the configuration; escape what the format asks for all the same.
    s_printf(out, "busbar_%s{node=\"", metric);
    for (const char *c = bb_topology_node(topology, node)->id; *c; c++) {
        if (*c == '"' || *c == '\\') {
            s_printf(out, "\\");
        }
        s_printf(out, "%c", *c);
    }
    s_printf(out, "\"} ");
}

static void s_peers(s_text_t *out, const bb_metrics_view_t *view)
{
    uint32_t count = bb_topology_node_count(view->topology);
    s_family(out, "node_up", "gauge", "1 when this node hears the other one; itself always");
    for (uint32_t n = 0; n < count; n++) {
        s_node_label(out, "node_up", view->topology, n);
        s_printf(out, "%d\n",
                 n == bb_topology_self_index(view->topology) ||
                     (view->peers && view->peers->views[n].is_up));
    }
    s_family(out, "node_slow", "gauge", "1 when the route score has the node asked last");
    for (uint32_t n = 0; n < count; n++) {
        s_node_label(out, "node_slow", view->topology, n);
        s_printf(out, "%d\n", view->peers && view->peers->views[n].is_slow);
    }
    s_family(out, "node_lag_chunks", "gauge",
             "Chunks that the node is known to lack, as far as this node knows");
    for (uint32_t n = 0; n < count; n++) {
        uint64_t lag = 0;
        for (uint32_t i = 0; i < view->store_count; i++) {
            lag += view->stores[i] ? view->stores[i]->lag_chunks[n] : 0;
        }
        s_node_label(out, "node_lag_chunks", view->topology, n);
        s_printf(out, "%" PRIu64 "\n", lag);
    }
    s_family(out, "peer_queued_bytes", "gauge",
             "Bytes of bulk for the peer that are not yet written");
    for (uint32_t n = 0; n < count; n++) {
        s_node_label(out, "peer_queued_bytes", view->topology, n);
        s_printf(out, "%" PRIu64 "\n", view->peers ? view->peers->views[n].queued_bytes : 0);
    }
    s_family(out, "peer_clock_offset_seconds", "gauge", "The peer's clock minus this one's");
    for (uint32_t n = 0; n < count; n++) {
        s_node_label(out, "peer_clock_offset_seconds", view->topology, n);
        s_printf(out, "%.6f\n",
                 view->peers ? (double)view->peers->views[n].clock_offset_ns * 1e-9 : 0.0);
    }
    s_family(out, "clock_skewed", "gauge", "1 when this clock is over 60 s off the median");
    s_printf(out, "busbar_clock_skewed %d\n", view->peers && view->peers->is_skewed);
}

static void s_dc_bytes(s_text_t *out, const bb_metrics_view_t *view, uint32_t dc, bool is_repair)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < view->store_count; i++) {
        const bb_shard_stats_t *stats = view->stores[i];
        bytes += !stats      ? 0
                 : is_repair ? stats->dc_repair_bytes_out[dc]
                             : stats->dc_live_bytes_out[dc];
    }
    s_printf(out, "busbar_dc_bytes_out_total{dc=\"%s\",what=\"%s\"} %" PRIu64 "\n",
             bb_topology_dc_name(view->topology, dc), is_repair ? "repair" : "live", bytes);
}

static void s_dc_lag(s_text_t *out, const bb_metrics_view_t *view, uint32_t dc)
{
    uint64_t chunks = 0, age_ns = 0;
    for (uint32_t i = 0; i < view->store_count; i++) {
        chunks += view->stores[i] ? view->stores[i]->dc_lag_chunks[dc] : 0;
        age_ns = BB_MAX(age_ns, view->stores[i] ? view->stores[i]->dc_lag_ns[dc] : 0);
    }
    const char *name = bb_topology_dc_name(view->topology, dc);
    s_printf(out, "busbar_dc_lag_chunks{dc=\"%s\"} %" PRIu64 "\n", name, chunks);
    s_printf(out, "busbar_dc_lag_seconds{dc=\"%s\"} %.3f\n", name, (double)age_ns * 1e-9);
}

// Names of data centres are names of the configuration: nothing to escape.
static void s_data_centres(s_text_t *out, const bb_metrics_view_t *view)
{
    uint32_t self_index = bb_topology_self_index(view->topology);
    uint32_t own_dc = bb_topology_node(view->topology, self_index)->dc_index;
    s_family(out, "dc_bytes_out_total", "counter", "Bytes of batches sent to another data centre");
    for (uint32_t dc = 0; dc < bb_topology_dc_count(view->topology); dc++) {
        if (dc != own_dc) {
            s_dc_bytes(out, view, dc, false);
            s_dc_bytes(out, view, dc, true);
        }
    }
    s_family(
        out, "dc_lag_chunks", "gauge",
        "Chunks held here that a majority of that data centre's replicas is not known to hold");
    s_family(out, "dc_lag_seconds", "gauge", "Age of the oldest of them that was accepted here");
    for (uint32_t dc = 0; dc < bb_topology_dc_count(view->topology); dc++) {
        if (dc != own_dc) {
            s_dc_lag(out, view, dc);
        }
    }
}

static void s_process(s_text_t *out, const bb_metrics_view_t *view)
{
    s_family(out, "build_info", "gauge", "1, labelled with the version");
    s_printf(out, "busbar_build_info{version=\"%s\"} 1\n", view->version);
    s_family(out, "ready", "gauge", "1 when the node takes requests");
    s_printf(out, "busbar_ready %d\n", view->is_ready);
    s_family(out, "draining", "gauge", "1 when the node is shutting down");
    s_printf(out, "busbar_draining %d\n", view->is_draining);
    s_family(out, "node_standing", "gauge",
             "1 for whether this node counts as a replica, or why not");
    for (uint32_t i = 0; i < BB_STANDING_COUNT; i++) {
        s_printf(out, "busbar_node_standing{standing=\"%s\"} %d\n",
                 bb_standing_name((bb_standing_t)i), view->standing == (bb_standing_t)i);
    }
    s_family(out, "boot_number", "gauge", "Number of this start of the node; 0: none yet");
    s_printf(out, "busbar_boot_number %u\n", view->boot);
    s_family(out, "process_cpu_seconds_total", "counter", "User and system CPU time");
    s_printf(out, "busbar_process_cpu_seconds_total %.6f\n", view->process.cpu_s);
    s_family(out, "process_resident_memory_bytes", "gauge", "Resident memory");
    s_printf(out, "busbar_process_resident_memory_bytes %" PRIu64 "\n",
             view->process.resident_bytes);
    s_family(out, "process_open_fds", "gauge", "Open file descriptors");
    s_printf(out, "busbar_process_open_fds %" PRIu64 "\n", view->process.open_files);
    s_family(out, "process_start_time_seconds", "gauge", "Start, seconds since the Unix epoch");
    s_printf(out, "busbar_process_start_time_seconds %.3f\n", view->process.start_wall_s);
    s_family(out, "process_uptime_seconds", "gauge", "Seconds since the start");
    s_printf(out, "busbar_process_uptime_seconds %.3f\n", view->process.uptime_s);
}

char *bb_metrics_render(const bb_metrics_view_t *view, size_t *length)
{
    BB_ASSERT(view->topology);
    s_text_t out = {bb_alloc(16384), 0, 16384};
    s_process(&out, view);
    s_counters(&out, view->counters);
    s_stores(&out, view);
    s_store_states(&out, view);
    s_ack_latency(&out, view);
    s_peers(&out, view);
    s_data_centres(&out, view);
    *length = out.length;
    return out.text;
}
