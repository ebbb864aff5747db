// SPDX-License-Identifier: Apache-2.0
#include "storage/scrub/bb_scrub.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    bb_scrub_window_t window;
    int64_t known_wall_ns; // since when it has stood there unverified
    bool is_urgent;
    bool is_in_pass; // still to be taken by the pass under way
} s_item_t;

struct bb_scrub {
    uint64_t rate_bytes_per_s;
    int64_t interval_ns;
    s_item_t *items; // ascending by id
    uint32_t count;
    bool is_pass;
    uint64_t pass_rate;
    uint64_t pass_findings;
    bool is_busy;     // a step is under way
    bool has_current; // a window was begun and has not ended
    uint64_t current_id, current_number;
    int64_t next_mono_ns; // no step before
    int64_t step_mono_ns; // when the step under way began
    uint64_t bytes_total, findings_total, windows_total, passes_total;
};

bb_scrub_t *bb_scrub_new(uint64_t rate_bytes_per_s, int64_t interval_ns)
{
    BB_ASSERT(interval_ns > 0);
    bb_scrub_t *self = bb_alloc_zero(1, sizeof *self);
    self->rate_bytes_per_s = rate_bytes_per_s;
    self->interval_ns = interval_ns;
    return self;
}

void bb_scrub_destroy(bb_scrub_t **self)
{
    if (*self) {
        free((*self)->items);
        free(*self);
        *self = NULL;
    }
}

// ---- windows ---------------------------------------------------------------------------------
static s_item_t *s_find(const bb_scrub_t *self, uint64_t id)
{
    uint32_t first = 0;
    uint32_t limit = self->count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (self->items[middle].window.id < id) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first < self->count && self->items[first].window.id == id ? &self->items[first] : NULL;
}

void bb_scrub_windows_set(bb_scrub_t *self, const bb_scrub_window_t *windows, uint32_t count,
                          int64_t now_wall_ns)
{
    s_item_t *items = bb_alloc_zero(count + 1, sizeof *items);
    for (uint32_t i = 0; i < count; i++) {
        BB_ASSERT(i == 0 || windows[i - 1].id < windows[i].id);
        const s_item_t *old = s_find(self, windows[i].id);
        items[i] = (s_item_t){.window = windows[i], .known_wall_ns = now_wall_ns};
        if (old && old->window.number == windows[i].number) {
            items[i].known_wall_ns = old->known_wall_ns;
            items[i].is_urgent = old->is_urgent;
            items[i].is_in_pass = old->is_in_pass;
            items[i].window.verified_wall_ns =
                BB_MAX(old->window.verified_wall_ns, windows[i].verified_wall_ns);
        } else {
            // Written anew while a pass is under way: the pass takes it as it is now.
            items[i].is_in_pass = self->is_pass && old && old->is_in_pass;
        }
    }
    free(self->items);
    self->items = items;
    self->count = count;
    if (self->has_current && !self->is_busy) {
        const s_item_t *item = s_find(self, self->current_id);
        self->has_current = item && item->window.number == self->current_number;
    }
}

void bb_scrub_hurry(bb_scrub_t *self, uint64_t window_id)
{
    s_item_t *item = s_find(self, window_id);
    if (item) {
        item->is_urgent = true;
        // A step of it under way may not have seen what there is to see: it is taken from its
        // beginning.
        self->has_current = self->has_current && self->current_id != window_id;
    }
}

// The time from which the age of an item counts.
static int64_t s_since(const s_item_t *item)
{
    return item->window.verified_wall_ns == BB_SCRUB_NEVER_WALL_NS ? item->known_wall_ns
                                                                   : item->window.verified_wall_ns;
}

// A clock that went back must not make a window wait for ever: an age below zero is due, too.
static bool s_is_due(const bb_scrub_t *self, const s_item_t *item, int64_t now_wall_ns)
{
    if (item->window.verified_wall_ns == BB_SCRUB_NEVER_WALL_NS) {
        return true;
    }
    int64_t age_ns;
    return __builtin_sub_overflow(now_wall_ns, item->window.verified_wall_ns, &age_ns) ||
           age_ns < 0 || age_ns >= self->interval_ns;
}

// Urgent ones, then those of the pass, then what is due; among equals the oldest, then the first.
static s_item_t *s_choose(bb_scrub_t *self, int64_t now_wall_ns)
{
    s_item_t *best = NULL;
    int best_rank = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        s_item_t *item = &self->items[i];
        bool is_due = self->rate_bytes_per_s > 0 && s_is_due(self, item, now_wall_ns);
        int rank = item->is_urgent ? 4 : item->is_in_pass ? 3 : is_due ? 1 : 0;
        rank += rank == 1 && item->window.verified_wall_ns == BB_SCRUB_NEVER_WALL_NS;
        if (rank > best_rank || (rank > 0 && rank == best_rank && s_since(item) < s_since(best))) {
            best = item;
            best_rank = rank;
        }
    }
    return best;
}

// ---- steps -----------------------------------------------------------------------------------
static uint64_t s_rate(const bb_scrub_t *self)
{
    if (self->is_pass) {
        return self->pass_rate;
    }
    return self->rate_bytes_per_s > 0 ? self->rate_bytes_per_s : BB_SCRUB_RATE_DEFAULT;
}

static int64_t s_cost_ns(const bb_scrub_t *self, uint64_t bytes)
{
    uint64_t rate = s_rate(self);
    if (rate == BB_SCRUB_RATE_UNLIMITED) {
        return 0;
    }
    double cost_ns = (double)bytes / (double)rate * 1e9;
    return cost_ns < 3600e9 ? (int64_t)cost_ns : INT64_C(3600000000000);
}

static void s_start(bb_scrub_t *self, const bb_scrub_event_t *event, bb_scrub_actions_t *actions)
{
    self->pass_rate = event->rate_bytes_per_s      ? event->rate_bytes_per_s
                      : self->rate_bytes_per_s > 0 ? self->rate_bytes_per_s
                                                   : BB_SCRUB_RATE_DEFAULT;
    self->pass_findings = 0;
    self->is_pass = self->count > 0;
    self->next_mono_ns = event->now_mono_ns;
    for (uint32_t i = 0; i < self->count; i++) {
        self->items[i].is_in_pass = true;
    }
    // The part of the window under way that is verified already was so before the pass began.
    self->has_current = false;
    if (!self->is_pass) {
        self->passes_total++;
        actions->is_pass_done = true;
    }
}

static void s_window_done(bb_scrub_t *self, int64_t now_wall_ns, bb_scrub_actions_t *actions)
{
    s_item_t *item = s_find(self, self->current_id);
    self->has_current = false;
    self->windows_total++;
    if (item && item->window.number == self->current_number) {
        item->window.verified_wall_ns = now_wall_ns;
        item->is_urgent = false;
        item->is_in_pass = false;
        actions->is_window_done = true;
        actions->window_id = self->current_id;
        actions->window_number = self->current_number;
    }
}

static void s_done(bb_scrub_t *self, const bb_scrub_event_t *event, bb_scrub_actions_t *actions)
{
    BB_ASSERT(self->is_busy);
    self->is_busy = false;
    self->bytes_total += event->bytes;
    self->findings_total += event->finding_count;
    self->pass_findings += self->is_pass ? event->finding_count : 0;
    int64_t next_mono_ns = self->step_mono_ns + s_cost_ns(self, event->bytes);
    self->next_mono_ns = BB_MAX(next_mono_ns, event->now_mono_ns);
    const s_item_t *item = s_find(self, self->current_id);
    bool is_gone = !item || item->window.number != self->current_number;
    if (!self->has_current) {
        return; // a pass began meanwhile: the window is taken from its beginning
    }
    if (event->is_window_end) {
        s_window_done(self, event->now_wall_ns, actions);
    } else if (is_gone) {
        self->has_current = false;
    }
}

static void s_end_pass(bb_scrub_t *self, bb_scrub_actions_t *actions)
{
    for (uint32_t i = 0; self->is_pass && i < self->count; i++) {
        if (self->items[i].is_in_pass) {
            return;
        }
    }
    if (self->is_pass && !self->is_busy) {
        self->is_pass = false;
        self->passes_total++;
        actions->is_pass_done = true;
    }
}

// When the next window becomes due, on the monotonic clock.
static int64_t s_next_due(const bb_scrub_t *self, const bb_scrub_event_t *event)
{
    int64_t wait_ns = INT64_MAX;
    for (uint32_t i = 0; self->rate_bytes_per_s > 0 && i < self->count; i++) {
        int64_t age_ns = event->now_wall_ns - self->items[i].window.verified_wall_ns;
        wait_ns = BB_MIN(wait_ns, BB_MAX(self->interval_ns - age_ns, 0));
    }
    return wait_ns == INT64_MAX ? BB_NEVER_NS : event->now_mono_ns + wait_ns;
}

void bb_scrub_step(bb_scrub_t *self, const bb_scrub_event_t *event, bb_scrub_actions_t *actions)
{
    *actions = (bb_scrub_actions_t){.wake_ns = BB_NEVER_NS};
    if (event->kind == BB_SCRUB_START) {
        s_start(self, event, actions);
    } else if (event->kind == BB_SCRUB_DONE) {
        s_done(self, event, actions);
    }
    s_end_pass(self, actions);
    if (self->is_busy || actions->is_window_done) {
        // The caller remembers the time of the window first; a TICK then goes on.
        actions->wake_ns = self->is_busy ? BB_NEVER_NS : self->next_mono_ns;
        return;
    }
    bool is_begin = false;
    if (!self->has_current) {
        const s_item_t *item = s_choose(self, event->now_wall_ns);
        if (!item) {
            actions->wake_ns = s_next_due(self, event);
            return;
        }
        self->current_id = item->window.id;
        self->current_number = item->window.number;
        is_begin = true;
    }
    if (event->now_mono_ns < self->next_mono_ns) {
        actions->wake_ns = self->next_mono_ns;
        return;
    }
    self->has_current = true;
    self->is_busy = true;
    self->step_mono_ns = event->now_mono_ns;
    actions->is_step = true;
    actions->is_window_begin = is_begin;
    actions->window_id = self->current_id;
    actions->window_number = self->current_number;
    actions->budget_bytes = BB_SCRUB_STEP_BYTES;
}

bb_scrub_stats_t bb_scrub_stats(const bb_scrub_t *self, int64_t now_wall_ns)
{
    bb_scrub_stats_t stats = {.bytes_total = self->bytes_total,
                              .findings_total = self->findings_total,
                              .windows_total = self->windows_total,
                              .passes_total = self->passes_total,
                              .is_pass = self->is_pass,
                              .pass_findings = self->pass_findings};
    for (uint32_t i = 0; i < self->count; i++) {
        stats.pass_windows_left += self->items[i].is_in_pass;
        int64_t age_ns = now_wall_ns - s_since(&self->items[i]);
        stats.oldest_age_ns = BB_MAX(stats.oldest_age_ns, age_ns);
    }
    return stats;
}
