// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_query.h"

#include <math.h>
#include <string.h>

const char *bb_level_name(bb_level_t level)
{
    switch (level) {
    case BB_LEVEL_ONE:
        return "one";
    case BB_LEVEL_LOCAL_QUORUM:
        return "local_quorum";
    case BB_LEVEL_QUORUM:
        return "quorum";
    case BB_LEVEL_EACH_QUORUM:
        return "each_quorum";
    case BB_LEVEL_ALL:
        return "all";
    }
    return "unknown";
}

uint32_t bb_level_of_name(const char *name)
{
    for (uint32_t level = BB_LEVEL_ONE; level <= BB_LEVEL_ALL; level++) {
        if (strcmp(name, bb_level_name((bb_level_t)level)) == 0) {
            return level;
        }
    }
    return 0;
}

static bb_error_t s_check_range(const bb_query_t *self, bb_fault_t *fault)
{
    if (self->from_wall_ns < BB_TIME_WALL_NS_FIRST || self->to_wall_ns > BB_TIME_WALL_NS_LIMIT) {
        return bb_fault_set(fault, BB_ERR_QUERY,
                            "from and to must lie within 1970-01-01 and 2262-01-01");
    }
    if (self->from_wall_ns > self->to_wall_ns) {
        return bb_fault_set(fault, BB_ERR_QUERY, "from is later than to");
    }
    if (self->every_ns < 0) {
        return bb_fault_set(fault, BB_ERR_QUERY, "the bucket width is negative");
    }
    if (self->aggregates & ~(uint32_t)BB_AGGREGATE_ALL) {
        return bb_fault_set(fault, BB_ERR_QUERY, "unknown aggregate bits 0x%x", self->aggregates);
    }
    return BB_OK;
}

static bb_error_t s_check_compare(const bb_query_t *self, bb_fault_t *fault)
{
    if (self->compare > BB_COMPARE_ABOVE) {
        return bb_fault_set(fault, BB_ERR_QUERY, "unknown comparison %u", (unsigned)self->compare);
    }
    if (self->compare != BB_COMPARE_NONE && self->mode != BB_QUERY_LAST) {
        return bb_fault_set(fault, BB_ERR_QUERY, "only newest values can be compared");
    }
    if (self->compare != BB_COMPARE_NONE && isnan(self->threshold)) {
        return bb_fault_set(fault, BB_ERR_QUERY, "nothing is below or above NaN");
    }
    return BB_OK;
}

static bb_error_t s_check_rollup(const bb_query_t *self, bb_fault_t *fault)
{
    if (self->rollup.length > BB_NODE_ID_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_QUERY, "the name of a rollup has at most %d bytes",
                            BB_NODE_ID_BYTES_MAX);
    }
    if (self->rollup.length > 0 && (self->mode != BB_QUERY_AGGREGATE || self->every_ns != 0 ||
                                    self->group_by_none || self->is_decode_forced)) {
        return bb_fault_set(fault, BB_ERR_QUERY,
                            "a rollup has its own buckets, one series at a time");
    }
    return BB_OK;
}

static bb_error_t s_check_names(const bb_slice_t *names, uint32_t count, size_t bytes_max,
                                const char *what, bb_fault_t *fault)
{
    for (uint32_t i = 0; i < count; i++) {
        if (names[i].length == 0 || names[i].length > bytes_max) {
            return bb_fault_set(fault, BB_ERR_QUERY, "%s %u has %zu bytes; 1 to %zu are allowed",
                                what, i, names[i].length, bytes_max);
        }
    }
    return BB_OK;
}

bool bb_query_compares(const bb_query_t *self, bb_type_t type, uint64_t bits)
{
    if (self->compare == BB_COMPARE_NONE) {
        return true;
    }
    double number = 0;
    switch (type) {
    case BB_TYPE_FLOAT64:
        number = bb_double_of_bits(bits);
        break;
    case BB_TYPE_INT64:
        number = (double)(int64_t)bits;
        break;
    case BB_TYPE_BOOL:
        number = (double)bits;
        break;
    case BB_TYPE_STATE:
        return false;
    }
    return self->compare == BB_COMPARE_BELOW ? number < self->threshold : number > self->threshold;
}

bb_error_t bb_query_check(const bb_query_t *self, bb_fault_t *fault)
{
    BB_ASSERT(self);
    if (self->mode < BB_QUERY_RAW || self->mode > BB_QUERY_GENERATIONS) {
        return bb_fault_set(fault, BB_ERR_QUERY, "unknown query mode %u", (unsigned)self->mode);
    }
    if (self->level < BB_LEVEL_ONE || self->level > BB_LEVEL_ALL) {
        return bb_fault_set(fault, BB_ERR_QUERY, "unknown level %u", (unsigned)self->level);
    }
    bb_error_t error = s_check_range(self, fault);
    if (error == BB_OK) {
        error = s_check_compare(self, fault);
    }
    if (error == BB_OK) {
        error = s_check_rollup(self, fault);
    }
    if (error != BB_OK) {
        return error;
    }
    if (self->partition_count > BB_PARTITIONS_MAX || self->battery_count > BB_BATCH_BATTERIES_MAX ||
        self->cursor.length > BB_CURSOR_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_QUERY, "too many partitions, batteries or cursor bytes");
    }
    for (uint32_t i = 0; i < self->partition_count; i++) {
        if (self->partitions[i] >= BB_PARTITIONS_MAX ||
            (i > 0 && self->partitions[i] <= self->partitions[i - 1])) {
            return bb_fault_set(fault, BB_ERR_QUERY,
                                "partition list is not ascending and in range at entry %u", i);
        }
    }
    error = s_check_names(self->batteries, self->battery_count, BB_BATTERY_ID_BYTES_MAX,
                          "battery id", fault);
    if (error != BB_OK) {
        return error;
    }
    return s_check_names(self->metrics, self->metric_count, BB_METRIC_NAME_BYTES_MAX, "metric name",
                         fault);
}
