// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_head_newest.h"

#include <string.h>

static bb_head_piece_t s_last_piece(const bb_head_group_t *group)
{
    BB_ASSERT(group->rows.row_count > 0);
    return bb_head_piece(group->rows.shape, group->tail->spans[group->tail_spans - 1]);
}

uint64_t bb_head_newest_value(const bb_head_group_t *group, uint32_t metric)
{
    BB_ASSERT(group->rows.is_ascending);
    bb_head_piece_t piece = s_last_piece(group);
    uint64_t bits;
    bb_head_values(&piece, metric, piece.count - 1, 1, &bits);
    return bits;
}

// Takes what is larger of one frame.
static void s_offer_frame(const bb_head_piece_t *piece, uint32_t frame, bool is_first,
                          uint64_t *values)
{
    const bb_head_shape_t *shape = piece->block->shape;
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        bb_type_t type = (bb_type_t)shape->types[m];
        uint64_t bits;
        bb_head_values(piece, m, frame, 1, &bits);
        if (is_first ||
            bb_value_compare(0, (bb_value_t){type, bits}, 0, (bb_value_t){type, values[m]}) > 0) {
            values[m] = bits;
        }
    }
}

void bb_head_newest_values(const bb_head_group_t *group, uint64_t *values)
{
    if (group->rows.is_ascending) {
        bb_head_piece_t piece = s_last_piece(group);
        s_offer_frame(&piece, piece.count - 1, true, values);
        return;
    }
    bool is_first = true;
    uint32_t left = group->rows.piece_count;
    for (const bb_head_slab_t *slab = group->rows.slabs; left > 0; slab = slab->next) {
        uint32_t count = BB_MIN(left, slab->capacity);
        for (uint32_t p = 0; p < count; p++) {
            bb_head_piece_t piece = bb_head_piece(group->rows.shape, slab->spans[p]);
            const int64_t *times_wall_ns = piece.block->times_wall_ns + piece.first;
            for (uint32_t i = 0; i < piece.count; i++) {
                if (times_wall_ns[i] == group->rows.last_wall_ns) {
                    s_offer_frame(&piece, i, is_first, values);
                    is_first = false;
                }
            }
        }
        left -= count;
    }
    BB_ASSERT(!is_first);
}
