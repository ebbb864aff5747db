// SPDX-License-Identifier: Apache-2.0
// bb_selector - which series a rule is about: batteries by attribute, metrics by pattern.
//
// Pure. A selector has up to three conditions; all that are given must hold, none given takes
// everything. What it says about a battery and what it says about a metric do not depend on each
// other, so a list of selectors is evaluated as two sets of bits, one per battery and one per
// metric, which are worked out once and then joined by one AND per series (bb_retention.h).
#ifndef BB_SELECTOR_H
#define BB_SELECTOR_H

#include "protocol/bb_batch.h"
#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"

#ifdef __cplusplus
extern "C" {
#endif

// Empty texts are conditions that were not given.
typedef struct {
    char site[BB_SELECTOR_BYTES_MAX + 1]; // the battery's attribute `site` is exactly this
    char tag_key[BB_ATTRIBUTE_KEY_BYTES_MAX + 1];
    char tag_value[BB_SELECTOR_BYTES_MAX + 1]; // the attribute tag_key is exactly this
    char metric[BB_SELECTOR_BYTES_MAX + 1];    // pattern of the metric's name
} bb_selector_t;

// `*` stands for any bytes, also none; `?` for one byte; everything else for itself. At most
// pattern.length * text.length steps.
bool bb_pattern_matches(bb_slice_t pattern, bb_slice_t text);

// True when the conditions on the battery hold; attributes in any order.
bool bb_selector_takes_battery(const bb_selector_t *self, const bb_attribute_t *attributes,
                               uint32_t attribute_count);
bool bb_selector_takes_metric(const bb_selector_t *self, bb_slice_t metric);
// True when it has a condition on batteries: without one no attribute has to be looked at.
bool bb_selector_names_batteries(const bb_selector_t *self);
// Reads "key=value" into tag_key and tag_value. BB_ERR_SYNTAX: no such form, empty, or too long.
BB_MUST_CHECK bb_error_t bb_selector_parse_tag(bb_selector_t *self, const char *text,
                                               bb_fault_t *fault);

#ifdef __cplusplus
}
#endif
#endif
