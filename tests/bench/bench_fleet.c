// SPDX-License-Identifier: Apache-2.0
// A fleet of any size into real nodes: frames come as raw records from standard input, one slice at
// a time; a slice is in memory before its clock starts, so the generator's work is in no figure.
// The servers' CPU time is taken from the first frame to the end of the settling, whatever the
// clock of the client does meanwhile.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/busbar.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_nodes.h"

typedef struct {
    busbar_writer_t *writer;
    uint32_t *handles; // by battery
    uint32_t battery_count, shape;
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

static busbar_status_t s_names(s_fleet_t *self, busbar_fault_t *fault)
{
    busbar_metric_t metrics[BENCH_METRICS];
    for (int m = 0; m < BENCH_METRICS; m++) {
        metrics[m] = (busbar_metric_t){bench_metric_names[m], BUSBAR_FLOAT64};
    }
    busbar_status_t status =
        busbar_writer_shape(self->writer, metrics, BENCH_METRICS, &self->shape, fault);
    for (uint32_t b = 0; status == BUSBAR_OK && b < self->battery_count; b++) {
        char id[16];
        bench_battery_id(b, id);
        status = busbar_writer_battery(self->writer, id, NULL, 0, &self->handles[b], fault);
    }
    return status;
}

static busbar_status_t s_send_slice(s_fleet_t *self, uint64_t count, busbar_fault_t *fault)
{
    busbar_status_t status = BUSBAR_OK;
    int64_t begin = bench_mono_ns();
    for (uint64_t i = 0; status == BUSBAR_OK && i < count; i++) {
        const bench_frame_t *frame = &self->frames[i];
        if (frame->battery >= self->battery_count) {
            snprintf(fault->text, sizeof fault->text, "battery %u of %u", frame->battery,
                     self->battery_count);
            return BUSBAR_OK + 1;
        }
        status = busbar_writer_append(self->writer, self->handles[frame->battery], self->shape,
                                      frame->time_ms * BB_NS_PER_MS,
                                      (const busbar_value_t *)frame->values, fault);
    }
    if (status == BUSBAR_OK) {
        status = busbar_writer_flush(self->writer, 120 * BUSBAR_SECOND);
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
    busbar_status_t status = s_names(self, fault);
    double cpu_before_s = bench_nodes_cpu_s(nodes);
    bench_nodes_watch(nodes);
    for (uint64_t count; status == BUSBAR_OK && (count = s_read_slice(self)) > 0;) {
        status = s_send_slice(self, count, fault);
    }
    double ingest_cpu_s = bench_nodes_cpu_s(nodes) - cpu_before_s;
    busbar_writer_close(&self->writer, 120 * BUSBAR_SECOND, &totals);
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
    snprintf(note, sizeof note, "%u batteries, %.2f M points", self->battery_count, mpts);
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
    char path[4200];
    bench_nodes_t nodes;
    busbar_fault_t fault = {0};
    busbar_client_t *client = NULL;
    const busbar_options_t options = {.timeout_ns = 120 * BUSBAR_SECOND};
    snprintf(path, sizeof path, "%s/client.yaml", cluster_directory);
    if (!bench_nodes_find(&nodes, cluster_directory) ||
        busbar_open(path, &options, &client, &fault) != BUSBAR_OK ||
        busbar_wait_ready(client, 10 * BUSBAR_SECOND, &fault) != BUSBAR_OK) {
        fprintf(stderr, "busbar-bench: %s: %s\n", path, nodes.count ? fault.text : "no node is up");
        busbar_close(&client);
        return 1;
    }
    s_fleet_t fleet = {.battery_count = battery_count,
                       .slice_frames = BB_MAX(battery_count, 200000u)};
    fleet.handles = bb_alloc_zero(battery_count, sizeof *fleet.handles);
    fleet.frames = bb_alloc_zero(fleet.slice_frames, sizeof *fleet.frames);
    const busbar_writer_options_t writer = {.timeout_ns = 120 * BUSBAR_SECOND};
    fleet.writer = busbar_writer_open(client, &writer);
    bool good = s_run(&fleet, client, &nodes, suffix, results, &fault);
    free(fleet.handles);
    free(fleet.frames);
    busbar_close(&client);
    return good ? 0 : 1;
}
