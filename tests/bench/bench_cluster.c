// SPDX-License-Identifier: Apache-2.0
// Ingest through libbusbar into real nodes that somebody else has started.
#include "client/busbar.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_sender.h"

static void s_result(FILE *results, const char *name, const char *suffix, double value,
                     const char *unit, const char *note)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    bench_report(results, full, value, unit, note);
}

typedef struct {
    double seconds, server_cpu_s, client_cpu_s;
    busbar_totals_t totals;
} s_ingest_t;

static void s_ingest_report(const s_ingest_t *self, bench_sender_t *sender, double mpts,
                            const char *suffix, FILE *results)
{
    char note[128];
    s_result(results, "ingest_native_mpts_per_s", suffix, mpts / self->seconds, "M points/s",
             "client and servers share the machine; frames in time order, all batteries in turn");
    s_result(results, "ingest_native_cpu_s_per_mpt", suffix, self->server_cpu_s / mpts,
             "CPU s per M points", "servers, all nodes, until the last acknowledgement");
    s_result(results, "ingest_native_client_cpu_s_per_mpt", suffix, self->client_cpu_s / mpts,
             "CPU s per M points", "client process");
    snprintf(note, sizeof note, "at full load, %llu retries",
             (unsigned long long)self->totals.retries);
    bench_sender_report(sender, "ack", suffix, note, results);
}

static bool s_ingest(busbar_client_t *client, const bench_data_t *data, bench_nodes_t *nodes,
                     const char *suffix, FILE *results, busbar_fault_t *fault)
{
    s_ingest_t ingest;
    bench_sender_t sender;
    double cpu_before = bench_nodes_cpu_s(nodes), own_before = bench_own_cpu_s();
    int64_t begin = bench_mono_ns();
    bool good =
        bench_sender_open(&sender, client, data->battery_count, 60 * BUSBAR_SECOND, fault) ==
            BUSBAR_OK &&
        bench_sender_append(&sender, data->frames, data->frame_count, 0, fault) == BUSBAR_OK;
    busbar_writer_flush(sender.writer, 120 * BUSBAR_SECOND);
    ingest.seconds = (double)(bench_mono_ns() - begin) / 1e9;
    ingest.server_cpu_s = bench_nodes_cpu_s(nodes) - cpu_before;
    ingest.client_cpu_s = bench_own_cpu_s() - own_before;
    busbar_writer_totals(sender.writer, &ingest.totals);
    double mpts = (double)(data->frame_count * BENCH_METRICS) / 1e6;
    if (!good || ingest.totals.acked_points != data->frame_count * BENCH_METRICS) {
        fprintf(stderr, "busbar-bench: acknowledged %llu of %.0f points: %s\n",
                (unsigned long long)ingest.totals.acked_points, mpts * 1e6,
                good ? ingest.totals.last_detail : fault->text);
        good = false;
    }
    s_ingest_report(&ingest, &sender, mpts, suffix, results);
    bench_sender_close(&sender, BUSBAR_SECOND, NULL);
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

int bench_load(const bench_data_t *data, const char *cluster_directory, const char *suffix,
               FILE *results)
{
    bench_nodes_t nodes;
    busbar_fault_t fault = {0};
    busbar_client_t *client;
    if (!bench_client_open(cluster_directory, 60 * BUSBAR_SECOND, &nodes, &client)) {
        return 1;
    }
    bool good = s_ingest(client, data, &nodes, suffix, results, &fault);
    busbar_close(&client);
    return good ? 0 : 1;
}

int bench_cluster(const bench_data_t *data, const char *cluster_directory, const char *suffix,
                  bool asks, FILE *results)
{
    bench_nodes_t nodes;
    busbar_fault_t fault = {0};
    busbar_client_t *client;
    if (!bench_client_open(cluster_directory, 60 * BUSBAR_SECOND, &nodes, &client)) {
        return 1;
    }
    bool good = s_load(client, data, &nodes, suffix, results, &fault);
    if (asks) {
        good = bench_wire(client, data, suffix, results) && good;
    }
    busbar_close(&client);
    return good ? 0 : 1;
}
