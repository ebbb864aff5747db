// SPDX-License-Identifier: Apache-2.0
// bb_have_mark - a number that changes when the have-sets of a node do.
//
// Pure. Each heartbeat carries the mark of its sender. Who has asked a node for its have-sets after
// it had said the same mark knows all that it would be told now, and need not ask (bb_have_view.h).
// In it are the process, its standing (under another one its reports count, or do not) and the
// version of each store: of its have-sets, and of what rules have seen of them, which reports say
// of dead streams (bb_shard_have_version). Two of them are equal by chance once in 2^64; then a
// report comes with the next change.
#ifndef BB_HAVE_MARK_H
#define BB_HAVE_MARK_H

#include <string.h>

#include "protocol/bb_dot_sum.h"
#include "protocol/bb_have_set.h"
#include "protocol/bb_standing.h"

// Never 0, which says that nothing was told.
static inline uint64_t bb_have_mark(const bb_stream_t *incarnation, bb_standing_t standing,
                                    const uint64_t *versions, uint32_t store_count)
{
    uint64_t halves[2];
    static_assert(sizeof halves == sizeof incarnation->bytes, "all of it");
    memcpy(halves, incarnation->bytes, sizeof halves);
    uint64_t mark = bb_dot_sum_of((uint32_t)standing, halves[0]) + bb_dot_sum_mix(halves[1]);
    for (uint32_t i = 0; i < store_count; i++) {
        mark += bb_dot_sum_of(1000 + i, versions[i]);
    }
    return mark == 0 ? 1 : mark;
}

#endif
