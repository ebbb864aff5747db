// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_rule_engine.h"

#include <string.h>

static_assert(sizeof BB_WATCH_METRIC_PREFIX - 1 + BB_NODE_ID_BYTES_MAX <= BB_METRIC_NAME_BYTES_MAX,
              "an event's metric has a name that a metric may have");

static bool s_is_quarantined(const bb_chunks_t *chunks, uint32_t frame)
{
    if (!chunks) {
        return false;
    }
    uint32_t low = 0, high = chunks->quarantined_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (chunks->quarantined[middle] < frame) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < chunks->quarantined_count && chunks->quarantined[low] == frame;
}

// The number that a value is; false: it is none.
static bool s_number(uint8_t type, uint64_t bits, double *number)
{
    switch (type) {
    case BB_TYPE_FLOAT64:
        memcpy(number, &bits, sizeof *number);
        return true;
    case BB_TYPE_INT64:
        *number = (double)(int64_t)bits;
        return true;
    case BB_TYPE_BOOL:
        *number = (double)bits;
        return true;
    default:
        return false;
    }
}

typedef struct {
    const bb_chunks_t *chunks;
    const bb_batch_t *batch;
    bb_rule_event_fn emit;
    void *context;
} s_look_t;

// The values of one metric in one run.
static void s_run(const s_look_t *look, const bb_batch_cursor_t *at, uint32_t metric,
                  const bb_watch_rule_t *rule)
{
    const bb_batch_shape_t *shape = &look->batch->shapes[at->run->shape];
    for (uint32_t frame = 0; frame < at->run->frame_count; frame++) {
        double number = 0;
        uint64_t bits = bb_batch_value(look->batch, at, frame, metric);
        if (!s_number(shape->types[metric], bits, &number) || !(number > rule->above) ||
            s_is_quarantined(look->chunks, at->frame_first + frame)) {
            continue;
        }
        bb_rule_event_t event = {
            .battery = look->batch->batteries[at->run->battery].id,
            .rule = bb_slice(rule->name, strlen(rule->name)),
            .time_wall_ns = look->batch->times_wall_ns[at->frame_first + frame],
            .value = number,
        };
        look->emit(look->context, &event);
    }
}

static void s_evaluate(void *context, const bb_chunks_t *chunks, const bb_batch_t *batch,
                       const bool *is_wanted, bb_rule_event_fn emit, void *emit_context)
{
    const bb_watch_rules_t *self = context;
    s_look_t look = {chunks, batch, emit, emit_context};
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        const bb_batch_shape_t *shape = &batch->shapes[at.run->shape];
        for (uint32_t r = 0; r < self->rule_count && is_wanted[at.part_index]; r++) {
            const bb_watch_rule_t *rule = &self->rules[r];
            size_t length = strlen(rule->metric);
            for (uint32_t m = 0; m < shape->metric_count; m++) {
                if (shape->names[m].length == length &&
                    memcmp(shape->names[m].data, rule->metric, length) == 0) {
                    s_run(&look, &at, m, rule);
                }
            }
        }
    }
}

bb_rule_engine_t bb_threshold_engine(const bb_watch_rules_t *rules)
{
    BB_ASSERT(rules && rules->rule_count <= BB_WATCH_RULES_MAX);
    if (rules->rule_count == 0) {
        return (bb_rule_engine_t){0};
    }
    return (bb_rule_engine_t){.context = (void *)(uintptr_t)rules, .evaluate = s_evaluate};
}
