// SPDX-License-Identifier: Apache-2.0
// bb_policy - how long points are kept (retention classes) and what is kept of them beyond that
// (rollups).
//
// Pure. A policy is made once from the configuration, never changes, and is counted: any thread may
// read one that it holds. A new configuration is a new policy.
//
//   retention   a list of classes; the first whose selector takes a series is its class, and
//               `default`, which takes everything, stands behind them all
//   rollups     named continuous aggregates: series, bucket of the calendar, aggregates
//
// Which class a series has: bit i of a battery's set says that class i takes the battery, bit i of
// a metric's set that it takes the metric; the lowest bit that is in both names the class.
// `default` is bit class_count of both, so there always is one. Rollups have their own pair of
// sets.
#ifndef BB_POLICY_H
#define BB_POLICY_H

#include "protocol/bb_calendar.h"
#include "protocol/bb_query.h"
#include "protocol/bb_selector.h"
#include "protocol/bb_time.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_KEEP_FOREVER_NS   INT64_MAX
#define BB_KEEP_NS_MIN       (INT64_C(3600) * 1000000000) // 1 hour
#define BB_KEEP_NS_MAX       (BB_NS_PER_DAY * 100000)     // 273 years
#define BB_EVERY_NS_MIN      (INT64_C(60) * 1000000000)   // of a rollup: 1 minute
#define BB_RETENTION_DEFAULT "default"

typedef struct {
    char name[BB_NODE_ID_BYTES_MAX + 1];
    bb_selector_t selector;
    int64_t keep_ns; // [BB_KEEP_NS_MIN, BB_KEEP_NS_MAX] or BB_KEEP_FOREVER_NS
} bb_retention_class_t;

typedef struct {
    char name[BB_NODE_ID_BYTES_MAX + 1];
    bb_selector_t selector;
    bb_every_t every;
    int64_t every_ns; // FIXED: a whole number of minutes that divides a day
    char zone_name[BB_ZONE_NAME_BYTES_MAX + 1]; // "" = UTC
    uint32_t aggregates;                        // bits of bb_aggregate_t, at least one
    int64_t keep_ns;                            // as above
} bb_rollup_t;

typedef struct bb_policy bb_policy_t;

// Copies the lists; takes the zones (one per rollup, NULL = UTC). `default_keep_ns` is what the
// class `default` keeps. One reference.
bb_policy_t *bb_policy_new(const bb_retention_class_t *classes, uint32_t class_count,
                           int64_t default_keep_ns, const bb_rollup_t *rollups, bb_zone_t **zones,
                           uint32_t rollup_count);
// Everything for ever, no rollups.
bb_policy_t *bb_policy_new_empty(void);
bb_policy_t *bb_policy_retain(bb_policy_t *self);
void bb_policy_release(bb_policy_t **self);

// ---- retention -------------------------------------------------------------------------------
// Named classes without `default`.
uint32_t bb_policy_class_count(const bb_policy_t *self);
// Class `index` in [0, class_count]; the last is `default`.
const bb_retention_class_t *bb_policy_class(const bb_policy_t *self, uint32_t index);
// True when some class has a condition on batteries; otherwise all their sets are equal.
bool bb_policy_names_batteries(const bb_policy_t *self);
uint64_t bb_policy_battery_classes(const bb_policy_t *self, const bb_attribute_t *attributes,
                                   uint32_t attribute_count);
uint64_t bb_policy_metric_classes(const bb_policy_t *self, bb_slice_t metric);
// Joins the two sets: [0, class_count].
static inline uint32_t bb_policy_join(uint64_t battery_classes, uint64_t metric_classes)
{
    return (uint32_t)__builtin_ctzll(battery_classes & metric_classes);
}

// The floor of a class: points before it do not exist. A whole UTC day goes at once, when its last
// moment is older than `keep_ns`; so a floor is the start of a UTC day. It never moves back,
// whatever the clock or a new `keep_ns` says.
int64_t bb_retention_floor(int64_t floor_wall_ns, int64_t keep_ns, int64_t now_wall_ns);

// ---- rollups ---------------------------------------------------------------------------------
uint32_t bb_policy_rollup_count(const bb_policy_t *self);
const bb_rollup_t *bb_policy_rollup(const bb_policy_t *self, uint32_t index);
uint32_t bb_policy_rollup_find(const bb_policy_t *self, bb_slice_t name); // UINT32_MAX: none
bb_calendar_t bb_policy_rollup_calendar(const bb_policy_t *self, uint32_t index);
// True when what both compute is the same: stored results of one may serve the other.
bool bb_rollup_is_same(const bb_rollup_t *a, const bb_rollup_t *b);

// ---- texts -----------------------------------------------------------------------------------
// "30d", "12h", "26w", "forever": BB_ERR_SYNTAX with the range.
BB_MUST_CHECK bb_error_t bb_keep_parse(bb_slice_t text, int64_t *keep_ns, bb_fault_t *fault);
// The same back: whole days, weeks are not used.
void bb_keep_format(int64_t keep_ns, char out[BB_DURATION_TEXT_BYTES]);
// "15m", "1h", "1d" (fixed, UTC) or "day", "week", "month", "year" (calendar).
BB_MUST_CHECK bb_error_t bb_every_parse(bb_slice_t text, bb_every_t *every, int64_t *every_ns,
                                        bb_fault_t *fault);
void bb_every_format(bb_every_t every, int64_t every_ns, char out[BB_DURATION_TEXT_BYTES]);
// "min"; 0 for a name that is none.
uint32_t bb_aggregate_of_name(bb_slice_t name);
// "min,max" in the order of the bits; room for all is 64 bytes.
void bb_aggregates_format(uint32_t aggregates, const char *separator, char *out, size_t size);
// Letters, digits, '/', '_', '+' and '-', no empty part: safe to be put behind a folder's name.
bool bb_zone_name_is_valid(const char *name);

#ifdef __cplusplus
}
#endif
#endif
