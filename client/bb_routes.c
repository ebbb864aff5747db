// SPDX-License-Identifier: Apache-2.0
#include "client/bb_routes.h"

#include <string.h>

void bb_routes_told(bb_routes_t *self, int64_t now_ns, uint32_t by_node, const uint16_t *slow,
                    uint32_t count)
{
    BB_ASSERT(self && by_node < BB_NODES_MAX);
    self->told_ns[by_node] = now_ns;
    self->slow_total += (uint64_t)count - self->slow_count[by_node];
    self->slow_count[by_node] = count;
    memset(&self->slow[by_node], 0, sizeof self->slow[by_node]);
    for (uint32_t i = 0; i < count; i++) {
        if (slow[i] < BB_NODES_MAX) {
            bb_node_set_add(&self->slow[by_node], slow[i]);
        }
    }
}

void bb_routes_clear(bb_routes_t *self)
{
    BB_ASSERT(self);
    memset(self, 0, sizeof *self);
}

bool bb_routes_is_slow(const bb_routes_t *self, int64_t now_ns, uint32_t node)
{
    BB_ASSERT(self && node < BB_NODES_MAX);
    uint32_t told = 0, against = 0;
    for (uint32_t by = 0; by < BB_NODES_MAX && self->slow_total > 0; by++) {
        if (by != node && self->told_ns[by] != 0 &&
            now_ns - self->told_ns[by] < BB_ROUTES_KEEP_NS) {
            told++;
            against += bb_node_set_has(&self->slow[by], node);
        }
    }
    return 2 * against > told;
}
