// SPDX-License-Identifier: Apache-2.0
// Ingest through libbusbar into real nodes that somebody else has started.
#include <stdlib.h>
#include <string.h>

#include "client/busbar.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_nodes.h"

static void s_result(FILE *results, const char *name, const char *suffix, double value,
                     const char *unit, const char *note)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    bench_report(results, full, value, unit, note);
}

typedef struct {
    double *latencies_ms;
    size_t count, capacity;
} s_latencies_t;

static void s_on_delivery(void *context, const busbar_delivery_t *delivery)
{
    s_latencies_t *self = context;
    if (self->count == self->capacity) {
        self->capacity = BB_MAX((size_t)1024, self->capacity * 2);
        self->latencies_ms =
            bb_realloc(self->latencies_ms, self->capacity * sizeof *self->latencies_ms);
    }
    self->latencies_ms[self->count++] = (double)delivery->latency_ns / 1e6;
}

static bool s_append_all(busbar_writer_t *writer, const bench_data_t *data, busbar_fault_t *fault)
{
    busbar_metric_t metrics[BENCH_METRICS];
    uint32_t shape;
    uint32_t *handles = bb_alloc(data->battery_count * sizeof *handles);
    for (int m = 0; m < BENCH_METRICS; m++) {
        metrics[m] = (busbar_metric_t){bench_metric_names[m], BUSBAR_FLOAT64};
    }
    busbar_status_t status = busbar_writer_shape(writer, metrics, BENCH_METRICS, &shape, fault);
    for (uint32_t b = 0; status == BUSBAR_OK && b < data->battery_count; b++) {
        char id[16];
        bench_battery_id(b, id);
        status = busbar_writer_battery(writer, id, NULL, 0, &handles[b], fault);
    }
    for (uint64_t i = 0; status == BUSBAR_OK && i < data->frame_count; i++) {
        const bench_frame_t *frame = &data->frames[i];
        status = busbar_writer_append(writer, handles[frame->battery], shape,
                                      frame->time_ms * BB_NS_PER_MS,
                                      (const busbar_value_t *)frame->values, fault);
    }
    free(handles);
    return status == BUSBAR_OK;
}

typedef struct {
    double seconds, server_cpu_s, client_cpu_s;
    busbar_totals_t totals;
} s_ingest_t;

static void s_ingest_report(const s_ingest_t *self, s_latencies_t *latencies, double mpts,
                            const char *suffix, FILE *results)
{
    char note[128];
    s_result(results, "ingest_native_mpts_per_s", suffix, mpts / self->seconds, "M points/s",
             "client and servers share the machine; frames in time order, all batteries in turn");
    s_result(results, "ingest_native_cpu_s_per_mpt", suffix, self->server_cpu_s / mpts,
             "CPU s per M points", "servers, all nodes, until the last acknowledgement");
    s_result(results, "ingest_native_client_cpu_s_per_mpt", suffix, self->client_cpu_s / mpts,
             "CPU s per M points", "client process");
    if (latencies->count > 0) {
        snprintf(
            note, sizeof note, "first send to answer, at full load; %llu batches, %llu retries",
            (unsigned long long)self->totals.batches, (unsigned long long)self->totals.retries);
        double median = bench_median(latencies->latencies_ms, latencies->count);
        s_result(results, "ack_p50_ms", suffix, median, "ms", note);
        s_result(results, "ack_p99_ms", suffix,
                 latencies->latencies_ms[latencies->count * 99 / 100], "ms", note);
    }
}

static bool s_ingest(busbar_client_t *client, const bench_data_t *data, bench_nodes_t *nodes,
                     const char *suffix, FILE *results, busbar_fault_t *fault)
{
    s_latencies_t latencies = {0};
    busbar_writer_options_t options = {
        .timeout_ns = 60 * BUSBAR_SECOND, .on_delivery = s_on_delivery, .context = &latencies};
    s_ingest_t ingest;
    busbar_writer_t *writer = busbar_writer_open(client, &options);
    double cpu_before = bench_nodes_cpu_s(nodes), own_before = bench_own_cpu_s();
    int64_t begin = bench_mono_ns();
    bool good = s_append_all(writer, data, fault);
    busbar_writer_flush(writer, 120 * BUSBAR_SECOND);
    ingest.seconds = (double)(bench_mono_ns() - begin) / 1e9;
    ingest.server_cpu_s = bench_nodes_cpu_s(nodes) - cpu_before;
    ingest.client_cpu_s = bench_own_cpu_s() - own_before;
    busbar_writer_close(&writer, BUSBAR_SECOND, &ingest.totals);
    double mpts = (double)(data->frame_count * BENCH_METRICS) / 1e6;
    if (!good || ingest.totals.acked_points != data->frame_count * BENCH_METRICS) {
        fprintf(stderr, "busbar-bench: acknowledged %llu of %.0f points: %s\n",
                (unsigned long long)ingest.totals.acked_points, mpts * 1e6,
                good ? ingest.totals.last_detail : fault->text);
        good = false;
    }
    s_ingest_report(&ingest, &latencies, mpts, suffix, results);
    free(latencies.latencies_ms);
    return good;
}

// Ingest, then everything sealed and merged: what both cost and what they leave.
static bool s_load(busbar_client_t *client, const bench_data_t *data, bench_nodes_t *nodes,
                   const char *suffix, FILE *results, busbar_fault_t *fault)
{
    double points = (double)data->frame_count * BENCH_METRICS;
    double cpu_before = bench_nodes_cpu_s(nodes);
    bench_nodes_watch(nodes);
    bool good = s_ingest(client, data, nodes, suffix, results, fault);
    int64_t begin = bench_mono_ns();
    if (busbar_settle(client, 300 * BUSBAR_SECOND, fault) != BUSBAR_OK) {
        fprintf(stderr, "busbar-bench: settle: %s\n", fault->text);
        good = false;
    }
    s_result(results, "settle_s", suffix, (double)(bench_mono_ns() - begin) / 1e9, "s",
             "from the last acknowledgement to everything sealed and merged");
    s_result(results, "ingest_native_cpu_settled_s_per_mpt", suffix,
             (bench_nodes_cpu_s(nodes) - cpu_before) / points * 1e6, "CPU s per M points",
             "servers, all nodes, with settling");
    s_result(results, "rss_mib", suffix, bench_nodes_unwatch_mib(nodes), "MiB",
             "peak RssAnon of a server from the first frame until it has settled");
    return good;
}

int bench_cluster(const bench_data_t *data, const char *cluster_directory, const char *suffix,
                  bool asks, FILE *results)
{
    char path[4096];
    bench_nodes_t nodes;
    busbar_fault_t fault = {0};
    busbar_client_t *client = NULL;
    const busbar_options_t options = {.timeout_ns = 60 * BUSBAR_SECOND};
    snprintf(path, sizeof path, "%s/client.yaml", cluster_directory);
    if (!bench_nodes_find(&nodes, cluster_directory) ||
        busbar_open(path, &options, &client, &fault) != BUSBAR_OK ||
        busbar_wait_ready(client, 10 * BUSBAR_SECOND, &fault) != BUSBAR_OK) {
        fprintf(stderr, "busbar-bench: %s: %s\n", path, nodes.count ? fault.text : "no node is up");
        busbar_close(&client);
        return 1;
    }
    bool good = s_load(client, data, &nodes, suffix, results, &fault);
    if (asks) {
        good = bench_wire(client, data, suffix, results) && good;
    }
    busbar_close(&client);
    return good ? 0 : 1;
}
