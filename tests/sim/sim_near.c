// SPDX-License-Identifier: Apache-2.0
// Points whose times are about as far ahead as a coordinator takes without quarantine. Clocks are
// off by 200 s at most, so coordinators judge differently; what one said must be so on every
// replica, whatever its own clock.
#include "tests/sim/sim_world.h"

bool sim_near_is(int64_t time_wall_ns)
{
    int64_t ahead_ns = time_wall_ns - SIM_WALL_NS_FIRST;
    return ahead_ns > 0 && ahead_ns < BB_NS_PER_DAY / 4;
}

int64_t sim_near_time(bb_random_t *random)
{
    return SIM_WALL_NS_FIRST + BB_FUTURE_NS_MAX +
           ((int64_t)bb_random_below(random, 41) - 20) * 10 * BB_NS_PER_S;
}

void sim_near_note(sim_op_t *op, const sim_attempt_t *attempt)
{
    const bb_batch_t *batch = &op->batch;
    uint64_t value = 0;
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (!op->is_delete && bb_batch_cursor_next(batch, &at)) {
        uint32_t metric_count = batch->shapes[at.run->shape].metric_count;
        for (uint32_t i = 0; i < at.run->frame_count * metric_count; i++, value++) {
            int64_t time_wall_ns = batch->times_wall_ns[at.frame_first + i / metric_count];
            bool is_quarantined = time_wall_ns > attempt->judge_wall_ns + BB_FUTURE_NS_MAX;
            op->points[value] = op->judged_points[value][is_quarantined];
        }
    }
}

bool sim_near_may_hide(const sim_op_t *op, uint64_t value)
{
    return !op->is_delete && op->judged_points[value][0] != op->judged_points[value][1] &&
           op->points[value] == op->judged_points[value][1];
}
