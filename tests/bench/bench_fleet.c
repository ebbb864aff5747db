// SPDX-License-Identifier: Apache-2.0
// A fleet of any size into real nodes: frames come as raw records from standard input, one slice at
// a time; a slice is in memory before its clock starts, so the generator's work is in no figure.
// The servers' CPU time is taken from the first frame to the end of the settling, whatever the
// clock of the client does meanwhile.
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/busbar.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_sender.h"

typedef struct {
    bench_sender_t sender;
    bench_frame_t *frames;
    uint64_t slice_frames;
    uint64_t frame_count;
    double send_s; // clock of the client: appending, and the flush at the end of each slice
} s_fleet_t;

// Fills the slice; fewer at the end of the input.
static uint64_t s_read_slice(s_fleet_t *self)
{
    size_t wanted = self->slice_frames * sizeof *self->frames, have = 0;
    while (have < wanted) {
        ssize_t got = read(STDIN_FILENO, (char *)self->frames + have, wanted - have);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        have += (size_t)got;
    }
    return have / sizeof *self->frames;
}

static busbar_status_t s_send_slice(s_fleet_t *self, uint64_t count, busbar_fault_t *fault)
{
    int64_t begin = bench_mono_ns();
    busbar_status_t status = bench_sender_append(&self->sender, self->frames, count, 0, fault);
    if (status == BUSBAR_OK) {
        status = busbar_writer_flush(self->sender.writer, 120 * BUSBAR_SECOND);
    }
    self->send_s += (double)(bench_mono_ns() - begin) / 1e9;
    self->frame_count += count;
    return status;
}

static void s_line(FILE *results, const char *suffix, const char *name, double value,
                   const char *unit, const char *note)
{
    char full[128];
    snprintf(full, sizeof full, "fleet_%s%s", name, suffix);
    bench_report(results, full, value, unit, note);
}

static bool s_run(s_fleet_t *self, busbar_client_t *client, bench_nodes_t *nodes,
                  const char *suffix, FILE *results, busbar_fault_t *fault)
{
    busbar_totals_t totals;
    busbar_status_t status = BUSBAR_OK;
    double cpu_before_s = bench_nodes_cpu_s(nodes);
    bench_nodes_watch(nodes);
    for (uint64_t count; status == BUSBAR_OK && (count = s_read_slice(self)) > 0;) {
        status = s_send_slice(self, count, fault);
    }
    double ingest_cpu_s = bench_nodes_cpu_s(nodes) - cpu_before_s;
    busbar_writer_totals(self->sender.writer, &totals);
    int64_t settle_begin = bench_mono_ns();
    if (status == BUSBAR_OK) {
        status = busbar_settle(client, 1200 * BUSBAR_SECOND, fault);
    }
    double settle_s = (double)(bench_mono_ns() - settle_begin) / 1e9;
    double total_cpu_s = bench_nodes_cpu_s(nodes) - cpu_before_s;
    double rss_mib = bench_nodes_unwatch_mib(nodes);
    uint64_t points = self->frame_count * BENCH_METRICS;
    double mpts = (double)points / 1e6;
    if (status != BUSBAR_OK || points == 0 || totals.acked_points != points) {
        fprintf(stderr, "busbar-bench: fleet: %llu of %llu points acknowledged: %s %s\n",
                (unsigned long long)totals.acked_points, (unsigned long long)points, fault->text,
                totals.last_detail);
        return false;
    }
    char note[128];
    snprintf(note, sizeof note, "%u batteries, %.2f M points", self->sender.battery_count, mpts);
    s_line(results, suffix, "cpu_s_per_mpt", ingest_cpu_s / mpts, "CPU s per M points", note);
    s_line(results, suffix, "cpu_settled_s_per_mpt", total_cpu_s / mpts, "CPU s per M points",
           "with settling");
    s_line(results, suffix, "mpts_per_s", mpts / self->send_s, "M points/s", note);
    s_line(results, suffix, "settle_s", settle_s, "s", note);
    s_line(results, suffix, "rss_mib", rss_mib, "MiB", "peak RssAnon of the server");
    return true;
}

int bench_fleet(const char *cluster_directory, uint32_t battery_count, const char *suffix,
                FILE *results)
{
    bench_nodes_t nodes;
    busbar_fault_t fault = {0};
    busbar_client_t *client;
    if (!bench_client_open(cluster_directory, 120 * BUSBAR_SECOND, &nodes, &client)) {
        return 1;
    }
    s_fleet_t fleet = {.slice_frames = BB_MAX(battery_count, 200000u)};
    fleet.frames = bb_alloc_zero(fleet.slice_frames, sizeof *fleet.frames);
    bool good = bench_sender_open(&fleet.sender, client, battery_count, 120 * BUSBAR_SECOND,
                                  &fault) == BUSBAR_OK &&
                s_run(&fleet, client, &nodes, suffix, results, &fault);
    bench_sender_close(&fleet.sender, 120 * BUSBAR_SECOND, NULL);
    free(fleet.frames);
    busbar_close(&client);
    return good ? 0 : 1;
}
