// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/bench_sender.h"

#include <stdlib.h>

bool bench_client_open(const char *cluster_directory, int64_t timeout_ns, bench_nodes_t *nodes,
                       busbar_client_t **client)
{
    char path[4200];
    busbar_fault_t fault = {0};
    const busbar_options_t options = {.timeout_ns = timeout_ns};
    *client = NULL;
    snprintf(path, sizeof path, "%s/client.yaml", cluster_directory);
    if (!bench_nodes_find(nodes, cluster_directory) ||
        busbar_open(path, &options, client, &fault) != BUSBAR_OK ||
        busbar_wait_ready(*client, 10 * BUSBAR_SECOND, &fault) != BUSBAR_OK) {
        fprintf(stderr, "busbar-bench: %s: %s\n", path,
                nodes->count ? fault.text : "no node is up");
        busbar_close(client);
        return false;
    }
    return true;
}

static void s_on_delivery(void *context, const busbar_delivery_t *delivery)
{
    bench_sender_t *self = context;
    if (self->latency_count == self->latency_capacity) {
        self->latency_capacity = BB_MAX((size_t)1024, self->latency_capacity * 2);
        self->latencies_ms =
            bb_realloc(self->latencies_ms, self->latency_capacity * sizeof *self->latencies_ms);
    }
    self->latencies_ms[self->latency_count++] = (double)delivery->latency_ns / 1e6;
}

busbar_status_t bench_sender_open(bench_sender_t *self, busbar_client_t *client,
                                  uint32_t battery_count, int64_t timeout_ns, busbar_fault_t *fault)
{
    *self = (bench_sender_t){.battery_count = battery_count};
    self->handles = bb_alloc_zero(battery_count, sizeof *self->handles);
    const busbar_writer_options_t options = {
        .timeout_ns = timeout_ns, .on_delivery = s_on_delivery, .context = self};
    self->writer = busbar_writer_open(client, &options);
    busbar_metric_t metrics[BENCH_METRICS];
    for (int m = 0; m < BENCH_METRICS; m++) {
        metrics[m] = (busbar_metric_t){bench_metric_names[m], BUSBAR_FLOAT64};
    }
    busbar_status_t status =
        busbar_writer_shape(self->writer, metrics, BENCH_METRICS, &self->shape, fault);
    for (uint32_t b = 0; status == BUSBAR_OK && b < battery_count; b++) {
        char id[16];
        bench_battery_id(b, id);
        status = busbar_writer_battery(self->writer, id, NULL, 0, &self->handles[b], fault);
    }
    return status;
}

busbar_status_t bench_sender_append(bench_sender_t *self, const bench_frame_t *frames,
                                    uint64_t frame_count, int64_t shift_ms, busbar_fault_t *fault)
{
    busbar_status_t status = BUSBAR_OK;
    for (uint64_t i = 0; status == BUSBAR_OK && i < frame_count; i++) {
        const bench_frame_t *frame = &frames[i];
        if (frame->battery >= self->battery_count) {
            snprintf(fault->text, sizeof fault->text, "battery %u of %u", frame->battery,
                     self->battery_count);
            return BUSBAR_OK + 1;
        }
        status = busbar_writer_append(self->writer, self->handles[frame->battery], self->shape,
                                      (frame->time_ms + shift_ms) * BB_NS_PER_MS,
                                      (const busbar_value_t *)frame->values, fault);
    }
    return status;
}

void bench_sender_close(bench_sender_t *self, int64_t timeout_ns, busbar_totals_t *totals)
{
    busbar_writer_close(&self->writer, timeout_ns, totals);
    free(self->handles);
    free(self->latencies_ms);
    self->handles = NULL;
    self->latencies_ms = NULL;
}

void bench_sender_report(bench_sender_t *self, const char *name, const char *suffix,
                         const char *note, FILE *results)
{
    if (self->latency_count == 0) {
        return;
    }
    char full[128], words[192];
    double median = bench_median(self->latencies_ms, self->latency_count); // sorts
    snprintf(words, sizeof words, "first send to answer, %s; %zu batches", note,
             self->latency_count);
    snprintf(full, sizeof full, "%s_p50_ms%s", name, suffix);
    bench_report(results, full, median, "ms", words);
    snprintf(full, sizeof full, "%s_p99_ms%s", name, suffix);
    bench_report(results, full, self->latencies_ms[self->latency_count * 99 / 100], "ms", words);
    self->latency_count = 0;
}
