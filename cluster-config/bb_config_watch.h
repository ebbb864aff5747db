// SPDX-License-Identifier: Apache-2.0
// bb_config_watch - the section `watch` of busbard.yaml: which values are noticed as they come.
//
// Pure. The same on every node of a cluster. A rule compares each new value of a metric, of any
// battery, with a limit; node/ingest/bb_rule_engine.h says what becomes of one that is above.
//
//   watch:
//     - {name: hot, metric: temperature_c, above: 60}
//
// A file without the section has no rules, and what follows from them costs nothing.
#ifndef BB_CONFIG_WATCH_H
#define BB_CONFIG_WATCH_H

#include "protocol/bb_limits.h"

#ifdef __cplusplus
extern "C" {
#endif

// Events are points of metrics of this prefix and the rule's name: no rule looks at them.
#define BB_WATCH_METRIC_PREFIX "busbar.watch."

typedef struct {
    char name[BB_NODE_ID_BYTES_MAX + 1];
    char metric[BB_METRIC_NAME_BYTES_MAX + 1];
    double above; // a value that is larger is noticed; finite
} bb_watch_rule_t;

typedef struct {
    uint32_t rule_count; // [0, BB_WATCH_RULES_MAX]
    bb_watch_rule_t rules[BB_WATCH_RULES_MAX];
} bb_watch_rules_t;

#ifdef __cplusplus
}
#endif
#endif
