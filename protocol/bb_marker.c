// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_marker.h"

bool bb_marker_is_of_all(const bb_marker_t *self)
{
    return self->metric.length == 1 && *(const uint8_t *)self->metric.data == '*';
}

bb_error_t bb_marker_add(bb_batch_builder_t *builder, uint32_t partition, bb_slice_t battery,
                         const bb_marker_t *marker, bb_fault_t *fault)
{
    if (marker->from_wall_ns < BB_TIME_WALL_NS_FIRST ||
        marker->to_wall_ns > BB_TIME_WALL_NS_LIMIT || marker->from_wall_ns >= marker->to_wall_ns) {
        return bb_fault_set(fault, BB_ERR_TIME_RANGE, "a marker of [%lld, %lld) ns",
                            (long long)marker->from_wall_ns, (long long)marker->to_wall_ns);
    }
    const uint8_t type = BB_TYPE_INT64;
    const uint64_t to = (uint64_t)marker->to_wall_ns;
    uint32_t number = 0, shape = 0, order = 0;
    bb_error_t error =
        bb_batch_builder_battery(builder, partition, battery, NULL, 0, &number, fault);
    if (error == BB_OK) {
        error = bb_batch_builder_shape(builder, &marker->metric, &type, 1, &shape, &order, fault);
    }
    if (error == BB_OK) {
        error = bb_batch_builder_frame(builder, number, shape, marker->from_wall_ns, &to);
    }
    return error;
}

bb_marker_t bb_marker_of(const bb_batch_t *batch, const bb_batch_cursor_t *at, uint32_t frame)
{
    BB_ASSERT(batch->generation != 0);
    BB_ASSERT(frame < at->run->frame_count);
    return (bb_marker_t){.metric = batch->shapes[at->run->shape].names[0],
                         .from_wall_ns = batch->times_wall_ns[at->frame_first + frame],
                         .to_wall_ns = (int64_t)bb_batch_value(batch, at, frame, 0)};
}

bb_error_t bb_marker_check(const bb_batch_t *batch, bb_fault_t *fault)
{
    if (batch->revision != 0) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "batch: markers with a revision");
    }
    for (uint32_t s = 0; s < batch->shape_count; s++) {
        if (batch->shapes[s].metric_count != 1 || batch->shapes[s].types[0] != BB_TYPE_INT64) {
            return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                                "batch: shape %u of markers is not one metric of type int64", s);
        }
    }
    for (uint32_t b = 0; b < batch->battery_count; b++) {
        if (batch->batteries[b].attribute_count > 0) {
            return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "batch: markers with attributes");
        }
    }
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        for (uint32_t f = 0; f < at.run->frame_count; f++) {
            bb_marker_t marker = bb_marker_of(batch, &at, f);
            if (marker.to_wall_ns <= marker.from_wall_ns ||
                marker.to_wall_ns > BB_TIME_WALL_NS_LIMIT) {
                return bb_fault_set(fault, BB_ERR_TIME_RANGE, "a marker of [%lld, %lld) ns",
                                    (long long)marker.from_wall_ns, (long long)marker.to_wall_ns);
            }
        }
    }
    return BB_OK;
}
