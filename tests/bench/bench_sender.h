// SPDX-License-Identifier: Apache-2.0
// bench_sender - the fleet's frames through a writer of libbusbar, and how long answers took.
//
// One thread. A latency is the time from the first sending of a batch to its answer.
#ifndef BENCH_SENDER_H
#define BENCH_SENDER_H

#include "client/busbar.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_nodes.h"

typedef struct {
    busbar_writer_t *writer;
    uint32_t *handles; // by battery
    uint32_t battery_count, shape;
    double *latencies_ms;
    size_t latency_count, latency_capacity;
} bench_sender_t;

// The nodes of a cluster that is up and a client of it; says on standard error what is wrong.
bool bench_client_open(const char *cluster_directory, int64_t timeout_ns, bench_nodes_t *nodes,
                       busbar_client_t **client);

// A writer that knows the batteries [0, battery_count) and the twelve metrics.
busbar_status_t bench_sender_open(bench_sender_t *self, busbar_client_t *client,
                                  uint32_t battery_count, int64_t timeout_ns,
                                  busbar_fault_t *fault);
// Frames of later days: `shift_ms` is added to their times.
busbar_status_t bench_sender_append(bench_sender_t *self, const bench_frame_t *frames,
                                    uint64_t frame_count, int64_t shift_ms, busbar_fault_t *fault);
// Also frees what it holds.
void bench_sender_close(bench_sender_t *self, int64_t timeout_ns, busbar_totals_t *totals);
// Of what came since the last call: two results `name`_p50_ms and `name`_p99_ms, then forgotten.
void bench_sender_report(bench_sender_t *self, const char *name, const char *suffix,
                         const char *note, FILE *results);

#endif
