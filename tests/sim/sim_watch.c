// SPDX-License-Identifier: Apache-2.0
// Rules in the simulator: one threshold, and whether each acknowledged point above it has its event
// on every replica in the end.
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_world.h"

#define S_METRIC 0u // charge_pct
#define S_ABOVE  900.0
#define S_EVENTS (UINT32_MAX - 1) // a metric that no client writes or deletes by name

static const bb_watch_rules_t s_rules = {
    .rule_count = 1, .rules = {{.name = "high", .metric = "charge_pct", .above = S_ABOVE}}};

bb_rule_engine_t sim_watch_rules(const sim_world_t *self)
{
    return self->options.has_rules ? bb_threshold_engine(&s_rules) : (bb_rule_engine_t){0};
}

bool sim_watch_is_event(bb_slice_t metric)
{
    const char *name = BB_WATCH_METRIC_PREFIX "high";
    return metric.length == strlen(name) && memcmp(metric.data, name, metric.length) == 0;
}

void sim_watch_saw(sim_op_t *op, const sim_watch_event_t *event)
{
    if (op->event_count == op->event_capacity) {
        op->event_capacity = BB_MAX(2 * op->event_capacity, 64u);
        op->events = bb_realloc(op->events, op->event_capacity * sizeof *op->events);
    }
    op->events[op->event_count++] = *event;
}

static int s_compare(const void *a, const void *b)
{
    const sim_watch_event_t *x = a, *y = b;
    if (x->battery != y->battery) {
        return x->battery < y->battery ? -1 : 1;
    }
    return (x->time_wall_ns > y->time_wall_ns) - (x->time_wall_ns < y->time_wall_ns);
}

typedef struct {
    sim_world_t *world;
    const sim_op_t *op;
    uint32_t partition, node;
} s_check_t;

// bb_checker_visit_fn
static void s_visit(void *context, const bb_checker_key_t *key, const bb_checker_version_t *version)
{
    s_check_t *check = context;
    sim_world_t *self = check->world;
    double value = 0;
    memcpy(&value, &version->bits, sizeof value);
    // A delete of all metrics takes the event with the point. Rows that segment sync brings are
    // merged: of what was deleted or written over, a disk may have been the last to know.
    const bb_checker_key_t event_key = {
        .battery = key->battery, .metric = S_EVENTS, .time_wall_ns = key->time_wall_ns};
    // So are rows that are released from quarantine.
    bool is_merged = key->is_future || sim_loss_was(self);
    bool is_excused = bb_checker_is_covered(self->checker, &event_key, version) ||
                      (is_merged && (bb_checker_is_covered(self->checker, key, version) ||
                                     !bb_checker_is_largest(self->checker, key, version)));
    if (self->battery_partition[key->battery] != check->partition || key->metric != S_METRIC ||
        (key->is_future && !self->is_released) || !(value > S_ABOVE) || is_excused ||
        sim_trace_has_failed(&self->trace)) {
        return;
    }
    sim_watch_event_t event = {.battery = key->battery, .time_wall_ns = key->time_wall_ns};
    if (check->op->event_count == 0 ||
        !bsearch(&event, check->op->events, check->op->event_count, sizeof event, s_compare)) {
        sim_trace_fail(&self->trace,
                       "node %u: a point above the limit was acknowledged and has no event: "
                       "battery %u time %lld",
                       check->node, key->battery, (long long)key->time_wall_ns);
    }
}

// Each event is of a point above the limit that somebody wrote, once.
static void s_check_events(const s_check_t *check)
{
    sim_world_t *self = check->world;
    for (uint32_t i = 0; i < check->op->event_count && !sim_trace_has_failed(&self->trace); i++) {
        const sim_watch_event_t *event = &check->op->events[i];
        bb_checker_key_t key = {
            .battery = event->battery, .metric = S_METRIC, .time_wall_ns = event->time_wall_ns};
        bool is_written = bb_checker_is_written(self->checker, &key, event->type, event->bits);
        key.is_future = true;
        is_written |= bb_checker_is_written(self->checker, &key, event->type, event->bits);
        double value = 0;
        memcpy(&value, &event->bits, sizeof value);
        const char *what = NULL;
        if (event->type != BB_TYPE_FLOAT64 || !is_written || !(value > S_ABOVE)) {
            what = "an event of no point above the limit";
        } else if (i > 0 && s_compare(event, event - 1) == 0) {
            what = "an event twice";
        }
        if (what) {
            sim_trace_fail(&self->trace, "node %u: %s: battery %u time %lld", check->node, what,
                           event->battery, (long long)event->time_wall_ns);
        }
    }
}

void sim_watch_check(sim_world_t *self, sim_op_t *op, uint32_t partition, uint32_t node)
{
    if (!self->options.has_rules) {
        return;
    }
    if (op->event_count > 0) {
        qsort(op->events, op->event_count, sizeof *op->events, s_compare);
    }
    s_check_t check = {self, op, partition, node};
    s_check_events(&check);
    bb_checker_each_acknowledged(self->checker, s_visit, &check);
}
