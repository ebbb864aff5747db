// SPDX-License-Identifier: Apache-2.0
// bb_hedge - when a small question goes to a second replica, because the first takes unusually
// long.
//
// Pure: time is an argument. One a client, for its small reads (client/bb_io, behind a mutex), and
// one a shard, for the have-sets that small reads ask for (node/ingest/bb_fence). Source: "hedged
// requests" of Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013): a second request after the
// 95th percentile of what such requests usually take shortens the tail for a few percent of load.
//
//   first request ──────────────── p95 of its kind ─────────▶ take: the same to another replica
//        │ earns a twentieth        │ due                       │ costs 1
//        ▼                          ▼                           ▼
//        the first whole answer counts, the other one is dropped
//
// Percentile: the order statistic of the last BB_HEDGE_WINDOW latencies of the kind, exact, in
// bounded memory: a ring says which one leaves, a sorted copy which one is the 95th of 100. Of a
// read whose second request won, only a lower limit of the first one's latency is known; it lies
// above the percentile, and that is all an order statistic asks.
//
// Load: hedges x BB_HEDGE_SHARE <= first requests, at every moment, because the budget begins
// empty. One read in twenty is past the percentile by definition, even when nothing is wrong, and
// would use the budget up; so its second half is kept for reads that take twice as long as that.
//
// Never when busy: for BB_HEDGE_BUSY_NS after a node has said BUSY, while work of this client waits
// to be sent, and to nodes that are not known to be well (the caller's choice of node).
// Scans are not hedged: a second scan costs as much as the first, and is not faster.
#ifndef BB_HEDGE_H
#define BB_HEDGE_H

#include "protocol/bb_query.h"

#define BB_HEDGE_WINDOW        128u
#define BB_HEDGE_SAMPLES_MIN   20u                // fewer say nothing about one in twenty
#define BB_HEDGE_SHARE         20u                // first requests that pay for a hedge
#define BB_HEDGE_TOKENS_MAX    20u                // a node that falls silent costs no more at once
#define BB_HEDGE_WAIT_NS_MIN   (1 * BB_NS_PER_MS) // sooner is the noise of two schedulers
#define BB_HEDGE_BUSY_NS       (1 * BB_NS_PER_S)
#define BB_HEDGE_BATTERIES_MAX 4u
#define BB_HEDGE_RANGE_NS_MAX  BB_NS_PER_DAY
#define BB_HEDGE_ROWS_MAX      1000u

// What latencies are compared with each other: the mode, and how far the level reaches.
#define BB_HEDGE_KIND_COUNT 9u
#define BB_HEDGE_KIND_NONE  UINT32_MAX

typedef struct {
    uint32_t count, next_index;           // in the ring
    uint32_t ring_us[BB_HEDGE_WINDOW];    // in order of arrival
    uint32_t ordered_us[BB_HEDGE_WINDOW]; // the same, ascending
} bb_hedge_window_t;

typedef struct {
    bb_hedge_window_t windows[BB_HEDGE_KIND_COUNT];
    uint32_t shares;       // of a token: BB_HEDGE_SHARE make one
    int64_t busy_until_ns; // monotonic
    uint64_t asked_count, hedge_count, won_count;
} bb_hedge_t;

void bb_hedge_init(bb_hedge_t *self);

// The kind of a small read; BB_HEDGE_KIND_NONE: it is none. Small are first pages of newest values,
// points or buckets of at most BB_HEDGE_BATTERIES_MAX named batteries, over a day or with
// BB_HEDGE_ROWS_MAX rows at most.
uint32_t bb_hedge_kind(const bb_query_t *query);

// A small read is sent for the first time. Returns the monotonic time at which a hedge is due;
// BB_NEVER_NS: too little is known yet.
int64_t bb_hedge_begin(bb_hedge_t *self, uint32_t kind, int64_t now_ns);
// Pays for the hedge that is due; false: not now, and for this read not any more. `is_queued`: work
// of the client waits to be sent.
BB_MUST_CHECK bool bb_hedge_take(bb_hedge_t *self, int64_t now_ns, bool is_queued);
void bb_hedge_untake(bb_hedge_t *self); // the one that was paid for last did not leave
// The first request took this long or, if `has_won`, at least this long: the hedge was faster.
// Limit: an hour.
void bb_hedge_end(bb_hedge_t *self, uint32_t kind, int64_t latency_ns, bool has_won);
void bb_hedge_busy(bb_hedge_t *self, int64_t now_ns); // a node said BUSY

// 0: too little is known yet.
int64_t bb_hedge_p95_ns(const bb_hedge_t *self, uint32_t kind);

#endif
