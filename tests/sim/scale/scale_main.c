// SPDX-License-Identifier: Apache-2.0
// busbar-scale: what heartbeats and anti-entropy cost a node, and how long convergence takes, as a
// cluster grows. Prints one line of tab-separated figures for each number of nodes.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/scale/scale_cluster.h"

#define S_MEASURE_NS  (10 * BB_NS_PER_S)
#define S_AWAY_NS     (10 * BB_NS_PER_S)
#define S_LOOK_NS     (50 * BB_NS_PER_MS)
#define S_PATIENCE_NS (60 * BB_NS_PER_S)
#define S_WRITE_NS    (500 * BB_NS_PER_MS) // of each node

static const char s_usage[] =
    "usage: busbar-scale [--dcs D] [--partitions P] [--replicas R] [--heartbeat-ms M]\n"
    "                    [--report-ms M] [--seed S] NODES...\n"
    "Simulates clusters of that many nodes without faults and counts what they send.\n"
    "Defaults: 3 data centres with 3 replicas each, 16384 partitions, heartbeats every 100 ms,\n"
    "reports every second, seed 1. Bytes are per second and node, in thousands; transport\n"
    "included. Exit status: 0 done, 1 a cluster did not converge, 2 usage.\n";

static int64_t s_until(scale_cluster_t *cluster, bool (*is_so)(const scale_cluster_t *))
{
    int64_t begun_ns = sim_events_now_ns(cluster->events);
    for (int64_t gone_ns = 0; gone_ns <= S_PATIENCE_NS; gone_ns += S_LOOK_NS) {
        if (is_so(cluster)) {
            return sim_events_now_ns(cluster->events) - begun_ns;
        }
        scale_cluster_run(cluster, S_LOOK_NS);
    }
    return -1;
}

// KB a second and node.
static double s_rate(const scale_cluster_t *cluster, uint64_t bytes)
{
    return (double)bytes * BB_NS_PER_S / S_MEASURE_NS / 1000 / cluster->options.node_count;
}

static uint64_t s_data_bytes(const scale_counts_t *counts)
{
    return counts->bytes[BB_KIND_REPLICATE] + counts->bytes[BB_KIND_REPLICATE_ACK];
}

static uint64_t s_entropy_bytes(const scale_counts_t *counts)
{
    uint64_t bytes = 0;
    for (uint32_t kind = 0; kind < SCALE_KINDS_MAX; kind++) {
        bytes += kind == BB_KIND_HEARTBEAT ? 0 : counts->bytes[kind];
    }
    return bytes - s_data_bytes(counts);
}

static bool s_measure(const scale_options_t *options)
{
    scale_cluster_t *cluster = scale_cluster_new(options);
    int64_t met_ns = s_until(cluster, scale_cluster_is_met);
    cluster->write_every_ns = S_WRITE_NS; // streams are alive from here on
    scale_cluster_run(cluster, 5 * BB_NS_PER_S);
    cluster->write_every_ns = 0;
    int64_t equal_ns = s_until(cluster, scale_cluster_is_equal);
    scale_cluster_run(cluster, 5 * BB_NS_PER_S);

    scale_cluster_reset(cluster);
    scale_cluster_run(cluster, S_MEASURE_NS);
    double heartbeat = s_rate(cluster, cluster->counts.bytes[BB_KIND_HEARTBEAT]);
    double idle = s_rate(cluster, s_entropy_bytes(&cluster->counts));

    cluster->write_every_ns = S_WRITE_NS;
    scale_cluster_run(cluster, BB_NS_PER_S);
    scale_cluster_reset(cluster);
    scale_cluster_run(cluster, S_MEASURE_NS);
    double busy = s_rate(cluster, s_entropy_bytes(&cluster->counts));
    double data = s_rate(cluster, s_data_bytes(&cluster->counts));
    uint64_t sent = cluster->counts.writes_sent;
    uint64_t failed = cluster->counts.writes_failed;

    int64_t back_ns = -1;
    if (options->node_count > 1) {
        scale_cluster_stop(cluster, 0);
        scale_cluster_run(cluster, S_AWAY_NS);
        scale_cluster_start(cluster, 0);
        cluster->write_every_ns = 0;
        back_ns = s_until(cluster, scale_cluster_is_equal);
    }
    printf("%u\t%u\t%u\t%.1f\t%.1f\t%.1f\t%.1f\t%" PRIu64 "\t%" PRIu64 "\t%.2f\t%.2f\t%.2f\n",
           options->node_count, options->dc_count, options->partition_count, heartbeat, idle, busy,
           data, sent, failed, (double)met_ns / BB_NS_PER_S, (double)equal_ns / BB_NS_PER_S,
           (double)back_ns / BB_NS_PER_S);
    fflush(stdout);
    scale_cluster_destroy(&cluster);
    return met_ns >= 0 && equal_ns >= 0 && back_ns >= 0;
}

static bool s_number(const char *text, uint64_t first, uint64_t last, uint64_t *number)
{
    char *end;
    *number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && *number >= first && *number <= last;
}

int main(int argc, char **argv)
{
    scale_options_t options = {.dc_count = 3,
                               .partition_count = 16384,
                               .replicas = 3,
                               .heartbeat_ns = 100 * BB_NS_PER_MS,
                               .report_ns = 1 * BB_NS_PER_S,
                               .seed = 1};
    bool has_converged = true;
    uint32_t done = 0;
    for (int i = 1; i < argc; i++) {
        uint64_t number = 0;
        bool is_option = strncmp(argv[i], "--", 2) == 0;
        const char *text = is_option ? i + 1 < argc ? argv[i + 1] : "" : argv[i];
        bool is_good = s_number(text, 1, is_option ? UINT32_MAX : BB_NODES_MAX, &number);
        if (strcmp(argv[i], "--help") == 0) {
            fputs(s_usage, stdout);
            return 0;
        }
        if (!is_option && is_good) {
            if (done++ == 0) {
                puts("nodes\tdcs\tpartitions\theartbeat_kb_per_s\tin_step_kb_per_s\t"
                     "busy_kb_per_s\tdata_kb_per_s\twrites\twrites_failed\tmet_s\tequal_s\tback_s");
            }
            options.node_count = (uint32_t)number;
            has_converged &= s_measure(&options);
            continue;
        }
        if (is_good && strcmp(argv[i], "--dcs") == 0 && number <= SCALE_DCS_MAX) {
            options.dc_count = (uint32_t)number;
        } else if (is_good && strcmp(argv[i], "--partitions") == 0) {
            options.partition_count = (uint32_t)number;
        } else if (is_good && strcmp(argv[i], "--replicas") == 0) {
            options.replicas = (uint32_t)number;
        } else if (is_good && strcmp(argv[i], "--heartbeat-ms") == 0) {
            options.heartbeat_ns = (int64_t)number * BB_NS_PER_MS;
        } else if (is_good && strcmp(argv[i], "--report-ms") == 0) {
            options.report_ns = (int64_t)number * BB_NS_PER_MS;
        } else if (is_good && strcmp(argv[i], "--seed") == 0) {
            options.seed = number;
        } else {
            fprintf(stderr, "busbar-scale: %s: unknown, or not a number in its range\n%s", argv[i],
                    s_usage);
            return 2;
        }
        i++;
    }
    if (done == 0) {
        fputs(s_usage, stderr);
        return 2;
    }
    return has_converged ? 0 : 1;
}
