// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_policy.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bb_policy {
    _Atomic uint32_t references;
    uint32_t class_count;
    uint32_t rollup_count;
    bool names_batteries;
    bb_retention_class_t classes[BB_RETENTION_CLASSES_MAX + 1]; // `default` at class_count
    bb_rollup_t rollups[BB_ROLLUPS_MAX];
    bb_zone_t *zones[BB_ROLLUPS_MAX];
};
static_assert(BB_RETENTION_CLASSES_MAX + 1 <= 64, "classes and default are bits of one word");

bb_policy_t *bb_policy_new(const bb_retention_class_t *classes, uint32_t class_count,
                           int64_t default_keep_ns, const bb_rollup_t *rollups, bb_zone_t **zones,
                           uint32_t rollup_count)
{
    BB_ASSERT(class_count <= BB_RETENTION_CLASSES_MAX);
    BB_ASSERT(rollup_count <= BB_ROLLUPS_MAX);
    bb_policy_t *self = bb_alloc_zero(1, sizeof *self);
    atomic_init(&self->references, 1);
    self->class_count = class_count;
    self->rollup_count = rollup_count;
    for (uint32_t i = 0; i < class_count; i++) {
        self->classes[i] = classes[i];
        self->names_batteries |= bb_selector_names_batteries(&classes[i].selector);
    }
    strcpy(self->classes[class_count].name, BB_RETENTION_DEFAULT);
    self->classes[class_count].keep_ns = default_keep_ns;
    for (uint32_t i = 0; i < rollup_count; i++) {
        self->rollups[i] = rollups[i];
        self->zones[i] = zones[i];
        zones[i] = NULL;
    }
    return self;
}

bb_policy_t *bb_policy_new_empty(void)
{
    return bb_policy_new(NULL, 0, BB_KEEP_FOREVER_NS, NULL, NULL, 0);
}

bb_policy_t *bb_policy_retain(bb_policy_t *self)
{
    atomic_fetch_add_explicit(&self->references, 1, memory_order_relaxed);
    return self;
}

void bb_policy_release(bb_policy_t **self)
{
    BB_ASSERT(self);
    bb_policy_t *policy = *self;
    *self = NULL;
    if (!policy || atomic_fetch_sub_explicit(&policy->references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    for (uint32_t i = 0; i < policy->rollup_count; i++) {
        bb_zone_destroy(&policy->zones[i]);
    }
    free(policy);
}

// ---- retention -------------------------------------------------------------------------------
uint32_t bb_policy_class_count(const bb_policy_t *self)
{
    return self->class_count;
}

const bb_retention_class_t *bb_policy_class(const bb_policy_t *self, uint32_t index)
{
    BB_ASSERT(index <= self->class_count);
    return &self->classes[index];
}

bool bb_policy_names_batteries(const bb_policy_t *self)
{
    return self->names_batteries;
}

uint64_t bb_policy_battery_classes(const bb_policy_t *self, const bb_attribute_t *attributes,
                                   uint32_t attribute_count)
{
    uint64_t set = UINT64_C(1) << self->class_count;
    for (uint32_t i = 0; i < self->class_count; i++) {
        uint64_t takes =
            bb_selector_takes_battery(&self->classes[i].selector, attributes, attribute_count);
        set |= takes << i;
    }
    return set;
}

uint64_t bb_policy_metric_classes(const bb_policy_t *self, bb_slice_t metric)
{
    uint64_t set = UINT64_C(1) << self->class_count;
    for (uint32_t i = 0; i < self->class_count; i++) {
        uint64_t takes = bb_selector_takes_metric(&self->classes[i].selector, metric);
        set |= takes << i;
    }
    return set;
}

int64_t bb_retention_floor(int64_t floor_wall_ns, int64_t keep_ns, int64_t now_wall_ns)
{
    BB_ASSERT(keep_ns > 0);
    BB_ASSERT(floor_wall_ns >= 0);
    if (keep_ns == BB_KEEP_FOREVER_NS || now_wall_ns < keep_ns) {
        return floor_wall_ns;
    }
    int64_t floor = (now_wall_ns - keep_ns) / BB_NS_PER_DAY * BB_NS_PER_DAY;
    return BB_MAX(floor, floor_wall_ns);
}

// ---- rollups ---------------------------------------------------------------------------------
uint32_t bb_policy_rollup_count(const bb_policy_t *self)
{
    return self->rollup_count;
}

const bb_rollup_t *bb_policy_rollup(const bb_policy_t *self, uint32_t index)
{
    BB_ASSERT(index < self->rollup_count);
    return &self->rollups[index];
}

uint32_t bb_policy_rollup_find(const bb_policy_t *self, bb_slice_t name)
{
    for (uint32_t i = 0; i < self->rollup_count; i++) {
        if (strlen(self->rollups[i].name) == name.length &&
            memcmp(self->rollups[i].name, name.data, name.length) == 0) {
            return i;
        }
    }
    return UINT32_MAX;
}

bb_calendar_t bb_policy_rollup_calendar(const bb_policy_t *self, uint32_t index)
{
    const bb_rollup_t *rollup = bb_policy_rollup(self, index);
    return (bb_calendar_t){rollup->every, rollup->every_ns, self->zones[index]};
}

bool bb_rollup_is_same(const bb_rollup_t *a, const bb_rollup_t *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->selector.site, b->selector.site) == 0 &&
           strcmp(a->selector.tag_key, b->selector.tag_key) == 0 &&
           strcmp(a->selector.tag_value, b->selector.tag_value) == 0 &&
           strcmp(a->selector.metric, b->selector.metric) == 0 && a->every == b->every &&
           a->every_ns == b->every_ns && strcmp(a->zone_name, b->zone_name) == 0;
}

// ---- texts -----------------------------------------------------------------------------------
static bool s_is(bb_slice_t text, const char *word)
{
    return text.length == strlen(word) && memcmp(text.data, word, text.length) == 0;
}

bb_error_t bb_keep_parse(bb_slice_t text, int64_t *keep_ns, bb_fault_t *fault)
{
    int64_t parsed = BB_KEEP_FOREVER_NS;
    bool is_forever = s_is(text, "forever");
    if (!is_forever && (bb_duration_parse(text, &parsed, NULL) != BB_OK ||
                        parsed < BB_KEEP_NS_MIN || parsed > BB_KEEP_NS_MAX)) {
        return bb_fault_set(fault, BB_ERR_SYNTAX,
                            "must be a duration from 1h to 100000d, such as 30d, or forever");
    }
    *keep_ns = parsed;
    return BB_OK;
}

void bb_keep_format(int64_t keep_ns, char out[BB_DURATION_TEXT_BYTES])
{
    if (keep_ns == BB_KEEP_FOREVER_NS) {
        strcpy(out, "forever");
    } else if (keep_ns % BB_NS_PER_DAY == 0) {
        snprintf(out, BB_DURATION_TEXT_BYTES, "%lldd", (long long)(keep_ns / BB_NS_PER_DAY));
    } else {
        bb_duration_format(keep_ns, out);
    }
}

bb_error_t bb_every_parse(bb_slice_t text, bb_every_t *every, int64_t *every_ns, bb_fault_t *fault)
{
    for (int unit = BB_EVERY_DAY; unit <= BB_EVERY_YEAR; unit++) {
        if (s_is(text, bb_every_name((bb_every_t)unit))) {
            *every = (bb_every_t)unit;
            *every_ns = 0;
            return BB_OK;
        }
    }
    int64_t parsed = 0;
    if (bb_duration_parse(text, &parsed, NULL) != BB_OK || parsed < BB_EVERY_NS_MIN ||
        parsed % BB_EVERY_NS_MIN != 0 || BB_NS_PER_DAY % parsed != 0) {
        return bb_fault_set(fault, BB_ERR_SYNTAX,
                            "must be day, week, month, year, or whole minutes that divide a day, "
                            "such as 15m, 1h, 1d");
    }
    *every = BB_EVERY_FIXED;
    *every_ns = parsed;
    return BB_OK;
}

void bb_every_format(bb_every_t every, int64_t every_ns, char out[BB_DURATION_TEXT_BYTES])
{
    if (every == BB_EVERY_FIXED) {
        bb_duration_format(every_ns, out);
    } else {
        strcpy(out, bb_every_name(every));
    }
}

static const char *const s_aggregates[] = {"mean", "min", "max", "sum", "count", "first", "last"};

uint32_t bb_aggregate_of_name(bb_slice_t name)
{
    for (uint32_t i = 0; i < BB_COUNT_OF(s_aggregates); i++) {
        if (s_is(name, s_aggregates[i])) {
            return 1u << i;
        }
    }
    return 0;
}

void bb_aggregates_format(uint32_t aggregates, const char *separator, char *out, size_t size)
{
    size_t length = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < BB_COUNT_OF(s_aggregates); i++) {
        if (aggregates >> i & 1) {
            int added = snprintf(out + length, size - length, "%s%s", length ? separator : "",
                                 s_aggregates[i]);
            BB_ASSERT(added > 0 && (size_t)added < size - length);
            length += (size_t)added;
        }
    }
}

bool bb_zone_name_is_valid(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > BB_ZONE_NAME_BYTES_MAX || name[length - 1] == '/') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-';
        if (!is_plain && (c != '/' || i == 0 || name[i - 1] == '/')) {
            return false;
        }
    }
    return true;
}
