// SPDX-License-Identifier: Apache-2.0
// How long an acknowledgement takes: nothing else under way, at full load, at half of that.
//
//   idle     one tick of the fleet (a frame of each battery) is sent, answered, and then the next
//   full     as fast as the window of the client allows; only its points a second are used
//   half     at half the points a second that full has reached until its last answer, tick by tick
//   steady   at half of those that it has reached until all was sealed and merged as well: half of
//            what can go on for ever
//
// Each phase writes other days, so that none meets the points of another, and begins when what the
// one before has written is sealed.
#include <time.h>

#include "tests/bench/bench.h"
#include "tests/bench/bench_sender.h"

#define S_IDLE_TICKS    300
#define S_STEADY_PASSES 2

typedef struct {
    bench_sender_t sender;
    busbar_client_t *client;
    const bench_data_t *data;
    int64_t span_ms; // of the data, in whole days
    const char *suffix;
    FILE *results;
} s_latency_t;

static busbar_status_t s_idle(s_latency_t *self, busbar_fault_t *fault)
{
    busbar_status_t status = BUSBAR_OK;
    uint32_t tick = self->data->battery_count;
    for (uint64_t i = 0; status == BUSBAR_OK && i < S_IDLE_TICKS; i++) {
        uint64_t first = i * tick;
        if (first + tick > self->data->frame_count) {
            break;
        }
        status = bench_sender_append(&self->sender, &self->data->frames[first], tick, 0, fault);
        if (status == BUSBAR_OK) {
            status = busbar_writer_flush(self->sender.writer, 60 * BUSBAR_SECOND);
        }
    }
    bench_sender_report(&self->sender, "ack_idle", self->suffix, "one batch a node at a time",
                        self->results);
    return status;
}

// What the nodes reach until the last answer, and until they have sealed and merged it all.
typedef struct {
    double answered_per_s, settled_per_s; // frames
} s_rates_t;

static busbar_status_t s_full(s_latency_t *self, s_rates_t *rates, busbar_fault_t *fault)
{
    double frames = (double)self->data->frame_count;
    int64_t begin = bench_mono_ns();
    busbar_status_t status = bench_sender_append(&self->sender, self->data->frames,
                                                 self->data->frame_count, self->span_ms, fault);
    if (status == BUSBAR_OK) {
        status = busbar_writer_flush(self->sender.writer, 120 * BUSBAR_SECOND);
    }
    rates->answered_per_s = frames / ((double)(bench_mono_ns() - begin) / 1e9);
    if (status == BUSBAR_OK) {
        status = busbar_settle(self->client, 300 * BUSBAR_SECOND, fault);
    }
    rates->settled_per_s = frames / ((double)(bench_mono_ns() - begin) / 1e9);
    self->sender.latency_count = 0; // ack_p50_ms and ack_p99_ms are taken with more data
    return status;
}

// Writes the data `passes` times, tick by tick, of days from `span` times the data's on.
static busbar_status_t s_paced(s_latency_t *self, double frames_per_s, int span, int passes,
                               busbar_fault_t *fault)
{
    busbar_status_t status = BUSBAR_OK;
    uint32_t tick = self->data->battery_count;
    uint64_t ticks = self->data->frame_count / tick;
    int64_t begin = bench_mono_ns();
    for (uint64_t i = 0; status == BUSBAR_OK && i < ticks * (uint64_t)passes; i++) {
        int64_t due_ns = begin + (int64_t)((double)(i * tick) / frames_per_s * 1e9);
        int64_t wait_ns = due_ns - bench_mono_ns();
        if (wait_ns > 0) {
            nanosleep(&(struct timespec){wait_ns / BB_NS_PER_S, wait_ns % BB_NS_PER_S}, NULL);
        }
        status = bench_sender_append(&self->sender, &self->data->frames[i % ticks * tick], tick,
                                     (span + (int)(i / ticks)) * self->span_ms, fault);
    }
    if (status == BUSBAR_OK) {
        status = busbar_writer_flush(self->sender.writer, 120 * BUSBAR_SECOND);
    }
    return status;
}

static busbar_status_t s_half(s_latency_t *self, const s_rates_t *rates, busbar_fault_t *fault)
{
    busbar_status_t status = s_paced(self, rates->answered_per_s / 2, 2, 1, fault);
    bench_sender_report(&self->sender, "ack_half", self->suffix,
                        "at half the points a second of full load", self->results);
    return status == BUSBAR_OK ? busbar_settle(self->client, 300 * BUSBAR_SECOND, fault) : status;
}

static busbar_status_t s_steady(s_latency_t *self, const s_rates_t *rates, busbar_fault_t *fault)
{
    char note[128];
    busbar_status_t status = s_paced(self, rates->settled_per_s / 2, 3, S_STEADY_PASSES, fault);
    snprintf(note, sizeof note, "at %.2f M frames/s, half of what is reached with sealing",
             rates->settled_per_s / 2e6);
    bench_sender_report(&self->sender, "ack_steady", self->suffix, note, self->results);
    return status;
}

int bench_latency(const bench_data_t *data, const char *cluster_directory, const char *suffix,
                  FILE *results)
{
    bench_nodes_t nodes;
    busbar_fault_t fault = {0};
    busbar_client_t *client;
    if (!bench_client_open(cluster_directory, 60 * BUSBAR_SECOND, &nodes, &client)) {
        return 1;
    }
    const int64_t day_ms = INT64_C(86400000);
    s_latency_t self = {.data = data,
                        .span_ms = ((data->last_ms - data->first_ms) / day_ms + 1) * day_ms,
                        .suffix = suffix,
                        .results = results};
    s_rates_t rates = {0};
    self.client = client;
    busbar_status_t status =
        bench_sender_open(&self.sender, client, data->battery_count, 60 * BUSBAR_SECOND, &fault);
    if (status == BUSBAR_OK) {
        status = s_idle(&self, &fault);
    }
    if (status == BUSBAR_OK) {
        status = s_full(&self, &rates, &fault);
    }
    if (status == BUSBAR_OK) {
        status = s_half(&self, &rates, &fault);
    }
    if (status == BUSBAR_OK) {
        status = s_steady(&self, &rates, &fault);
    }
    busbar_totals_t totals;
    bench_sender_close(&self.sender, 10 * BUSBAR_SECOND, &totals);
    busbar_close(&client);
    if (status != BUSBAR_OK || totals.rejected_points + totals.unknown_points > 0) {
        fprintf(stderr, "busbar-bench: latency: %s %s\n", fault.text, totals.last_detail);
        return 1;
    }
    return 0;
}
