// SPDX-License-Identifier: Apache-2.0
// bench_flood - clients that know neither credits nor retry budgets, and send far too much.
//
// One thread over several connections to each node. Requests go out at a rate, whatever becomes of
// those before (an open loop); each has a short deadline, and what is refused as BUSY or ends as
// TIMEOUT is sent twice more at once. A connection that has too many unanswered ones takes no more:
// like any socket that is full.
#ifndef BENCH_FLOOD_H
#define BENCH_FLOOD_H

#include "protocol/bb_base.h"

typedef struct bench_flood bench_flood_t;

// Batches are numbered [0, BENCH_FLOOD_BATCHES) and sent again and again, in turn. The frames of
// number b have BENCH_METRICS metrics, lie in [BENCH_FLOOD_NS_FIRST + b x BENCH_FLOOD_NS, ...+
// BENCH_FLOOD_NS), and are of the batteries "flood-00" to "flood-15".
#define BENCH_FLOOD_WINDOW_MAX 2000u
#define BENCH_FLOOD_BATCHES    1000u
#define BENCH_FLOOD_NS         (INT64_C(10) * BB_NS_PER_S)
#define BENCH_FLOOD_NS_FIRST   (INT64_C(1767225600) * BB_NS_PER_S) // 2026-01-01T00:00:00Z

typedef struct {
    uint64_t asked;                // batches, each once
    uint64_t sent;                 // requests, with repetitions
    uint64_t held;                 // not sent: the connection was full
    uint64_t acked;                // answers
    uint64_t busy, timeout, other; // answers
} bench_flood_totals_t;

// Connects; NULL, with a word on standard error, when that cannot be.
bench_flood_t *bench_flood_open(const char *cluster_directory, uint32_t batch_frames);
// At most so many unanswered requests a connection, [1, BENCH_FLOOD_WINDOW_MAX].
void bench_flood_start(bench_flood_t *self, double batches_per_s, uint32_t window);
// Answered well since the start; any thread.
uint64_t bench_flood_acked(const bench_flood_t *self);
// No more is sent; what is answered within a second still counts. May be started again.
void bench_flood_stop(bench_flood_t *self, bench_flood_totals_t *totals);
bool bench_flood_is_acked(const bench_flood_t *self, uint32_t number); // at least once
void bench_flood_close(bench_flood_t **self);

#endif
