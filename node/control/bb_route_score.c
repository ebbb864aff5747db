// SPDX-License-Identifier: Apache-2.0
#include "node/control/bb_route_score.h"

#include <stdlib.h>
#include <string.h>

#define S_LATENCY_NS_MAX   (60 * BB_NS_PER_S)
#define S_FLOOR_NS         (5 * BB_NS_PER_MS)
#define S_CLIP_RATIO       6
#define S_LEVEL_SHARE      8  // an eighth of a turn goes into the level
#define S_LOSS_SHARE       64 // a sixty-fourth of a gap goes into the loss
#define S_GAP_BEATS_MAX    4  // 3 missed and the one that came
#define S_ENTER_PERMILLE   3000
#define S_LEAVE_PERMILLE   1500
#define S_ENTER_LOSS_PPM   60000
#define S_LEAVE_LOSS_PPM   30000
#define S_ENTER_TURNS      4     // 2 s
#define S_LEAVE_TURNS      10u   // 5 s, and four times that with each relapse,
#define S_LEAVE_TURNS_MAX  1200u // 10 minutes at most
#define S_RELAPSES_MAX     4u
#define S_RELAPSE_NS       (600 * BB_NS_PER_S)
#define S_STANDSTILL_TURNS 3

static_assert((S_GAP_BEATS_MAX - 1) * 1000000 / S_LOSS_SHARE < S_ENTER_LOSS_PPM,
              "one gap alone does not demote");

typedef enum { S_ACK, S_SYNC, S_LATENCY_COUNT } s_latency_kind_t;

typedef struct {
    int64_t sum_ns; // of this turn
    uint32_t count;
    bool is_known;
    int64_t level_ns;
} s_latency_t;

typedef struct {
    uint32_t group;
    s_latency_t latencies[S_LATENCY_COUNT];
    int64_t waiting_ns; // the largest of this turn
    bool is_heard;      // heard_mono_ns is of a heartbeat
    int64_t heard_mono_ns;
    int64_t loss_ppm; // below 0 when more came than was due
    uint32_t ratio_permille;
    bool is_slow, was_slow;
    uint32_t enter_turns, leave_turns; // in a row
    uint32_t relapses;
    int64_t restored_mono_ns; // if was_slow
} s_node_t;

struct bb_route_score {
    uint32_t node_count, self_index, group_count;
    int64_t heartbeat_ns;
    bool has_begun;
    int64_t turn_mono_ns; // when this turn ends
    s_node_t *nodes;
};

bb_route_score_t *bb_route_score_new(const bb_route_score_options_t *options)
{
    BB_ASSERT(options);
    BB_ASSERT(options->node_count >= 1 && options->node_count <= BB_NODES_MAX);
    BB_ASSERT(options->self_index < options->node_count);
    BB_ASSERT(options->heartbeat_ns > 0);
    bb_route_score_t *self = bb_alloc_zero(1, sizeof *self);
    *self = (bb_route_score_t){.node_count = options->node_count,
                               .self_index = options->self_index,
                               .group_count = 1,
                               .heartbeat_ns = options->heartbeat_ns,
                               .nodes = bb_alloc_zero(options->node_count, sizeof(s_node_t))};
    for (uint32_t i = 0; options->groups && i < self->node_count; i++) {
        BB_ASSERT(options->groups[i] < BB_NODES_MAX);
        self->nodes[i].group = options->groups[i];
        self->group_count = BB_MAX(self->group_count, options->groups[i] + 1);
    }
    return self;
}

void bb_route_score_destroy(bb_route_score_t **self_p)
{
    if (*self_p) {
        free((*self_p)->nodes);
        free(*self_p);
        *self_p = NULL;
    }
}

// ---- what was seen -----------------------------------------------------------------------------

static int64_t s_clip(int64_t value, int64_t least, int64_t most)
{
    return BB_MAX(least, BB_MIN(value, most));
}

static void s_latency(bb_route_score_t *self, uint32_t node_index, s_latency_kind_t kind,
                      int64_t latency_ns)
{
    BB_ASSERT(self);
    BB_ASSERT(node_index < self->node_count);
    s_latency_t *latency = &self->nodes[node_index].latencies[kind];
    if (latency->count < UINT32_MAX / 64) { // the sum stays far below 2^63
        latency->sum_ns += s_clip(latency_ns, 0, S_LATENCY_NS_MAX);
        latency->count++;
    }
}

void bb_route_score_ack(bb_route_score_t *self, uint32_t node_index, int64_t latency_ns)
{
    s_latency(self, node_index, S_ACK, latency_ns);
}

void bb_route_score_sync(bb_route_score_t *self, uint32_t node_index, int64_t latency_ns)
{
    s_latency(self, node_index, S_SYNC, latency_ns);
}

void bb_route_score_waiting(bb_route_score_t *self, uint32_t node_index, int64_t age_ns)
{
    BB_ASSERT(self);
    BB_ASSERT(node_index < self->node_count);
    s_node_t *node = &self->nodes[node_index];
    node->waiting_ns = BB_MAX(node->waiting_ns, s_clip(age_ns, 0, S_LATENCY_NS_MAX));
}

void bb_route_score_heartbeat(bb_route_score_t *self, int64_t now_mono_ns, uint32_t node_index)
{
    BB_ASSERT(self);
    BB_ASSERT(node_index < self->node_count);
    BB_ASSERT(node_index != self->self_index);
    s_node_t *node = &self->nodes[node_index];
    if (node->is_heard) {
        // With d heartbeats due, of which one came: loss += (d - 1 - d x loss) / 64, so that the
        // loss goes to the share of those that are missing, however they are spread over gaps.
        int64_t gap_ns =
            s_clip(now_mono_ns - node->heard_mono_ns, 0, S_GAP_BEATS_MAX * self->heartbeat_ns);
        int64_t due_milli = gap_ns * 1000 / self->heartbeat_ns;
        node->loss_ppm +=
            ((due_milli - 1000) * 1000 - due_milli * node->loss_ppm / 1000) / S_LOSS_SHARE;
    }
    node->is_heard = true;
    node->heard_mono_ns = now_mono_ns;
}

// ---- the end of a turn -------------------------------------------------------------------------

static int s_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

// The lower one of two middles: of two that differ, the better is the norm.
static int64_t s_median(int64_t *values, uint32_t count)
{
    BB_ASSERT(count > 0);
    qsort(values, count, sizeof *values, s_compare);
    return values[(count - 1) / 2];
}

// For each group its median level, at least the floor.
static void s_norms(const bb_route_score_t *self, s_latency_kind_t kind, int64_t *norms_ns)
{
    int64_t levels_ns[BB_NODES_MAX];
    for (uint32_t group = 0; group < self->group_count; group++) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < self->node_count; i++) {
            const s_latency_t *latency = &self->nodes[i].latencies[kind];
            if (self->nodes[i].group == group && latency->is_known) {
                levels_ns[count++] = latency->level_ns;
            }
        }
        norms_ns[group] = count > 0 ? BB_MAX(s_median(levels_ns, count), S_FLOOR_NS) : S_FLOOR_NS;
    }
}

static void s_fold(bb_route_score_t *self, s_latency_kind_t kind)
{
    int64_t norms_ns[BB_NODES_MAX];
    s_norms(self, kind, norms_ns);
    for (uint32_t i = 0; i < self->node_count; i++) {
        s_node_t *node = &self->nodes[i];
        s_latency_t *latency = &node->latencies[kind];
        int64_t mean_ns = latency->count > 0 ? latency->sum_ns / latency->count
                          : kind == S_ACK    ? node->waiting_ns
                                             : 0;
        bool has_value = latency->count > 0 || mean_ns > 0;
        latency->sum_ns = 0;
        latency->count = 0;
        if (!has_value) {
            continue;
        }
        int64_t norm_ns = norms_ns[node->group];
        if (!latency->is_known) { // the first turn is no evidence against anybody
            latency->is_known = true;
            latency->level_ns = BB_MIN(mean_ns, norm_ns);
        }
        mean_ns = BB_MIN(mean_ns, S_CLIP_RATIO * norm_ns);
        latency->level_ns += (mean_ns - latency->level_ns) / S_LEVEL_SHARE;
    }
}

static void s_set_ratios(bb_route_score_t *self)
{
    for (uint32_t i = 0; i < self->node_count; i++) {
        self->nodes[i].ratio_permille = 0;
    }
    for (int kind = 0; kind < S_LATENCY_COUNT; kind++) {
        int64_t norms_ns[BB_NODES_MAX];
        s_norms(self, (s_latency_kind_t)kind, norms_ns);
        for (uint32_t i = 0; i < self->node_count; i++) {
            s_node_t *node = &self->nodes[i];
            if (node->latencies[kind].is_known) {
                int64_t ratio = node->latencies[kind].level_ns * 1000 / norms_ns[node->group];
                node->ratio_permille = BB_MAX(node->ratio_permille, (uint32_t)ratio);
            }
        }
    }
}

// Of all that were heard, over groups: heartbeats that come late because of us come late from all.
static int64_t s_median_loss_ppm(const bb_route_score_t *self)
{
    int64_t losses_ppm[BB_NODES_MAX] = {0}; // ourselves at 0
    uint32_t count = 1;
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (self->nodes[i].is_heard) {
            losses_ppm[count++] = BB_MAX(self->nodes[i].loss_ppm, 0);
        }
    }
    return s_median(losses_ppm, count);
}

// True when the verdict changed.
static bool s_judge(s_node_t *node, int64_t median_loss_ppm, int64_t now_mono_ns)
{
    int64_t loss_ppm = node->loss_ppm - median_loss_ppm;
    if (!node->is_slow) {
        node->enter_turns = node->ratio_permille >= S_ENTER_PERMILLE ? node->enter_turns + 1 : 0;
        if (node->enter_turns < S_ENTER_TURNS && loss_ppm < S_ENTER_LOSS_PPM) {
            return false;
        }
        bool is_relapse = node->was_slow && now_mono_ns - node->restored_mono_ns < S_RELAPSE_NS;
        node->relapses = is_relapse ? BB_MIN(node->relapses + 1, S_RELAPSES_MAX) : 0;
        node->is_slow = true;
        node->leave_turns = 0;
        return true;
    }
    bool is_good = node->ratio_permille < S_LEAVE_PERMILLE && loss_ppm < S_LEAVE_LOSS_PPM;
    node->leave_turns = is_good ? node->leave_turns + 1 : 0;
    uint32_t turns = S_LEAVE_TURNS << 2 * node->relapses;
    if (node->leave_turns < BB_MIN(turns, S_LEAVE_TURNS_MAX)) {
        return false;
    }
    node->is_slow = false;
    node->was_slow = true;
    node->restored_mono_ns = now_mono_ns;
    node->enter_turns = 0;
    return true;
}

static void s_forget_turn(bb_route_score_t *self)
{
    for (uint32_t i = 0; i < self->node_count; i++) {
        s_node_t *node = &self->nodes[i];
        for (int kind = 0; kind < S_LATENCY_COUNT; kind++) {
            node->latencies[kind].sum_ns = 0;
            node->latencies[kind].count = 0;
        }
        node->waiting_ns = 0;
        node->is_heard = false;
    }
}

void bb_route_score_tick(bb_route_score_t *self, int64_t now_mono_ns,
                         bb_route_score_actions_t *actions)
{
    BB_ASSERT(self);
    BB_ASSERT(actions);
    actions->change_count = 0;
    if (!self->has_begun) {
        self->has_begun = true;
        self->turn_mono_ns = now_mono_ns + BB_ROUTE_TURN_NS;
    } else if (now_mono_ns - self->turn_mono_ns >= S_STANDSTILL_TURNS * BB_ROUTE_TURN_NS) {
        s_forget_turn(self);
        self->turn_mono_ns = now_mono_ns + BB_ROUTE_TURN_NS;
    } else if (now_mono_ns >= self->turn_mono_ns) {
        s_fold(self, S_ACK);
        s_fold(self, S_SYNC);
        s_set_ratios(self);
        int64_t median_loss_ppm = s_median_loss_ppm(self);
        for (uint32_t i = 0; i < self->node_count; i++) {
            self->nodes[i].waiting_ns = 0;
            if (s_judge(&self->nodes[i], median_loss_ppm, now_mono_ns)) {
                actions->changed[actions->change_count++] = i;
            }
        }
        self->turn_mono_ns = now_mono_ns + BB_ROUTE_TURN_NS;
    }
    actions->wake_mono_ns = self->turn_mono_ns;
}

bool bb_route_score_is_slow(const bb_route_score_t *self, uint32_t node_index)
{
    BB_ASSERT(node_index < self->node_count);
    return self->nodes[node_index].is_slow;
}

uint32_t bb_route_score_permille(const bb_route_score_t *self, uint32_t node_index)
{
    BB_ASSERT(node_index < self->node_count);
    return self->nodes[node_index].ratio_permille;
}

uint32_t bb_route_score_loss_ppm(const bb_route_score_t *self, uint32_t node_index)
{
    BB_ASSERT(node_index < self->node_count);
    return (uint32_t)BB_MAX(self->nodes[node_index].loss_ppm, 0);
}
