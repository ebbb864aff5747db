// SPDX-License-Identifier: Apache-2.0
// bb_rule_engine - what looks at each durable chunk once before journals may forget it.
//
// The interface between watched sets (bb_watch.h) and rules. An engine is a pure function of a
// chunk: the same part of a batch gives the same events, whoever evaluates it and however often. So
// an event's identity is what it says (rule, battery, time, revision), never the dot of its chunk,
// and evaluating a chunk again, after a crash or by two replicas at once, adds nothing.
// Source: the design, section 4, "Alerts".
//
// Today's engine compares with a threshold. An event becomes a point of the metric
// "busbar.watch.RULE" of the battery at the time of the point that caused it, with its value and
// revision: the outbox is the cluster's own storage, so an event is as durable as any point, is
// found by any query, and two of the same are one.
#ifndef BB_RULE_ENGINE_H
#define BB_RULE_ENGINE_H

#include "cluster-config/bb_config_watch.h"
#include "protocol/bb_chunks.h"

typedef struct {
    bb_slice_t battery; // borrowed from the batch
    bb_slice_t rule;    // name; of the engine
    int64_t time_wall_ns;
    double value;
} bb_rule_event_t;
typedef void (*bb_rule_event_fn)(void *context, const bb_rule_event_t *event);

// The parts of a batch for which is_wanted[part_index]; in the order of its runs. Quarantined
// frames are left out: they come again when they are released. `chunks` NULL: none is quarantined.
typedef struct {
    void *context;
    void (*evaluate)(void *context, const bb_chunks_t *chunks, const bb_batch_t *batch,
                     const bool *is_wanted, bb_rule_event_fn emit, void *emit_context);
} bb_rule_engine_t;

// The trivial engine: a number of a metric above a limit (bb_config_watch.h). A state is no number,
// and a NaN is above nothing. Borrows the rules; without any its `evaluate` is NULL, and nothing is
// watched.
bb_rule_engine_t bb_threshold_engine(const bb_watch_rules_t *rules);

#endif
