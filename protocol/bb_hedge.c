// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_hedge.h"

#include <string.h>

#define S_LATENCY_NS_MAX (3600 * BB_NS_PER_S)
#define S_SHARES_MAX     (BB_HEDGE_TOKENS_MAX * BB_HEDGE_SHARE)
#define S_MODES          3u // newest, points, buckets
#define S_REACHES        3u // one replica, a data centre, several

static_assert(BB_HEDGE_KIND_COUNT == S_MODES * S_REACHES, "a window each");
static_assert(S_LATENCY_NS_MAX / BB_NS_PER_US <= UINT32_MAX, "a latency fits");

void bb_hedge_init(bb_hedge_t *self)
{
    BB_ASSERT(self);
    memset(self, 0, sizeof *self);
}

uint32_t bb_hedge_kind(const bb_query_t *query)
{
    BB_ASSERT(query);
    uint32_t mode;
    bool is_short = query->to_wall_ns >= query->from_wall_ns &&
                    query->to_wall_ns - query->from_wall_ns <= BB_HEDGE_RANGE_NS_MAX;
    switch (query->mode) {
    case BB_QUERY_LAST:
        mode = 0;
        is_short = true;
        break;
    case BB_QUERY_RAW:
        mode = 1;
        is_short = is_short || (query->row_limit > 0 && query->row_limit <= BB_HEDGE_ROWS_MAX);
        break;
    case BB_QUERY_AGGREGATE:
        mode = 2;
        break;
    default:
        return BB_HEDGE_KIND_NONE;
    }
    bool has_few = query->battery_count > 0 && query->battery_count <= BB_HEDGE_BATTERIES_MAX;
    if (!has_few || !is_short || query->cursor.length > 0) {
        return BB_HEDGE_KIND_NONE;
    }
    // No level means the cluster's own, which is local_quorum as a rule.
    uint32_t reach = query->level == BB_LEVEL_ONE            ? 0
                     : query->level <= BB_LEVEL_LOCAL_QUORUM ? 1
                                                             : 2;
    return mode * S_REACHES + reach;
}

// ---- the window
// ----------------------------------------------------------------------------------

// How many of the ordered ones are smaller.
static uint32_t s_rank(const bb_hedge_window_t *window, uint32_t latency_us)
{
    uint32_t low = 0, high = window->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (window->ordered_us[middle] < latency_us) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void s_add(bb_hedge_window_t *window, uint32_t latency_us)
{
    uint32_t *ordered_us = window->ordered_us;
    if (window->count == BB_HEDGE_WINDOW) {
        uint32_t old = s_rank(window, window->ring_us[window->next_index]);
        BB_ASSERT(ordered_us[old] == window->ring_us[window->next_index]);
        window->count--;
        memmove(ordered_us + old, ordered_us + old + 1, (window->count - old) * sizeof *ordered_us);
    }
    uint32_t rank = s_rank(window, latency_us);
    memmove(ordered_us + rank + 1, ordered_us + rank, (window->count - rank) * sizeof *ordered_us);
    ordered_us[rank] = latency_us;
    window->count++;
    window->ring_us[window->next_index] = latency_us;
    window->next_index = (window->next_index + 1) % BB_HEDGE_WINDOW;
}

int64_t bb_hedge_p95_ns(const bb_hedge_t *self, uint32_t kind)
{
    BB_ASSERT(self);
    BB_ASSERT(kind < BB_HEDGE_KIND_COUNT);
    const bb_hedge_window_t *window = &self->windows[kind];
    if (window->count < BB_HEDGE_SAMPLES_MIN) {
        return 0;
    }
    uint32_t rank = (window->count * 95 + 99) / 100; // 1-based, at least 95 % are not larger
    return window->ordered_us[rank - 1] * BB_NS_PER_US;
}

// ---- reads
// ---------------------------------------------------------------------------------------

int64_t bb_hedge_begin(bb_hedge_t *self, uint32_t kind, int64_t now_ns)
{
    BB_ASSERT(self);
    BB_ASSERT(kind < BB_HEDGE_KIND_COUNT);
    self->asked_count++;
    self->shares = BB_MIN(self->shares + 1, S_SHARES_MAX);
    if (self->windows[kind].count < BB_HEDGE_SAMPLES_MIN) {
        return BB_NEVER_NS;
    }
    bool is_scarce = self->shares * 2 < S_SHARES_MAX;
    int64_t wait_ns = bb_hedge_p95_ns(self, kind) * (is_scarce ? 2 : 1);
    return now_ns + BB_MAX(wait_ns, BB_HEDGE_WAIT_NS_MIN);
}

bool bb_hedge_take(bb_hedge_t *self, int64_t now_ns, bool is_queued)
{
    BB_ASSERT(self);
    if (is_queued || now_ns < self->busy_until_ns || self->shares < BB_HEDGE_SHARE) {
        return false;
    }
    self->shares -= BB_HEDGE_SHARE;
    self->hedge_count++;
    BB_ASSERT(self->hedge_count * BB_HEDGE_SHARE <= self->asked_count);
    return true;
}

void bb_hedge_untake(bb_hedge_t *self)
{
    BB_ASSERT(self);
    BB_ASSERT(self->hedge_count > 0);
    self->hedge_count--;
    self->shares = BB_MIN(self->shares + BB_HEDGE_SHARE, S_SHARES_MAX);
}

void bb_hedge_end(bb_hedge_t *self, uint32_t kind, int64_t latency_ns, bool has_won)
{
    BB_ASSERT(self);
    BB_ASSERT(kind < BB_HEDGE_KIND_COUNT);
    latency_ns = BB_MAX(0, BB_MIN(latency_ns, S_LATENCY_NS_MAX));
    s_add(&self->windows[kind], (uint32_t)(latency_ns / BB_NS_PER_US));
    self->won_count += has_won;
    BB_ASSERT(self->won_count <= self->hedge_count);
}

void bb_hedge_busy(bb_hedge_t *self, int64_t now_ns)
{
    BB_ASSERT(self);
    self->busy_until_ns = BB_MAX(self->busy_until_ns, now_ns + BB_HEDGE_BUSY_NS);
}
