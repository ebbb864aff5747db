// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_options.h"

#include "tests/support/bb_random.h"

static uint64_t s_pick(bb_random_t *random, const uint64_t *choices, uint32_t count)
{
    return choices[bb_random_below(random, count)];
}
#define S_PICK(random, ...)                                                                        \
    s_pick(random, (const uint64_t[]){__VA_ARGS__},                                                \
           sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

// By a draw of its own. Processes of one node are of one epoch, and there are others to hear both.
static void s_draw_twin_or_liar(sim_options_t *self)
{
    bb_random_t random = bb_random_seed(self->seed * UINT64_C(0x9e3779b97f4a7c15) + 2);
    self->has_twin =
        bb_random_chance(&random, 1, 3) && self->node_count >= 3 && self->fault_mask != 0;
    if (self->has_twin) {
        self->has_epochs = false;
        self->fault_phase_ns += 3 * BB_NS_PER_S;
    }
    bool is_liar = bb_random_chance(&random, 1, 6);
    self->has_hostile =
        is_liar && !self->has_twin && self->node_count >= 2 && self->fault_mask != 0;
    self->has_losses = self->has_losses && !self->has_hostile; // segment sync believes its sources
}

void sim_options_draw(sim_options_t *self, uint64_t seed)
{
    bb_random_t random = bb_random_seed(seed * UINT64_C(0x2545f4914f6cdd1d) + 1);
    bb_random_t *r = &random;
    *self = (sim_options_t){.seed = seed};
    // Three nodes with three copies is the core of the matrix.
    self->node_count = (uint32_t)S_PICK(r, 1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 6, 7);
    self->dc_count = self->node_count >= 2 && bb_random_chance(r, 2, 5) ? 2 : 1;
    self->dc_count += self->dc_count == 2 && self->node_count >= 3 && bb_random_chance(r, 1, 3);
    uint32_t left = self->node_count;
    for (uint32_t dc = 0; dc + 1 < self->dc_count; dc++) {
        self->nodes_in_dc[dc] = (uint32_t)bb_random_between(r, 1, left - (self->dc_count - dc - 1));
        left -= self->nodes_in_dc[dc];
    }
    self->nodes_in_dc[self->dc_count - 1] = left;
    // Half of the clusters have a store a node, as most real ones do.
    uint32_t stores_most = (uint32_t)S_PICK(r, 1, 1, 2, SIM_STORES_MAX);
    for (uint32_t node = 0; node < self->node_count; node++) {
        self->store_count[node] = (uint32_t)bb_random_between(r, 1, stores_most);
    }
    for (uint32_t dc = 0; dc < self->dc_count; dc++) {
        uint32_t most = BB_MIN(self->nodes_in_dc[dc], 3u);
        self->replicas_in_dc[dc] =
            bb_random_chance(r, 2, 3) ? most : (uint32_t)bb_random_between(r, 1, most);
    }
    self->partition_count = (uint32_t)S_PICK(r, 4, 8, 8, 16, 32);
    // Sealing, merging, scrubbing and rollups are most of the cost of a run that has them: a third
    // has, and the others see five times as many events for the same time.
    self->is_storing = bb_random_chance(r, 1, 3);
    self->memory_bytes = self->is_storing ? (size_t)S_PICK(r, 96u << 10, 256u << 10, 4u << 20)
                                          : (size_t)S_PICK(r, 512u << 10, 4u << 20, 4u << 20);
    self->journal_file_bytes = S_PICK(r, 2u << 10, 16u << 10, 256u << 10);
    self->peer_unacked_bytes_max = S_PICK(r, 4u << 10, 64u << 10, 64u << 20);
    self->in_flight_bytes_max = S_PICK(r, 16u << 10, 256u << 20, 256u << 20);
    self->have_report_ns = (int64_t)S_PICK(r, 100, 500, 500) * BB_NS_PER_MS;
    self->flush_age_ns =
        (int64_t)(self->is_storing ? S_PICK(r, 300, 1500, 600000) : 600000) * BB_NS_PER_MS;

    self->delay_mean_ns = (int64_t)S_PICK(r, 200, 1000, 5000, 40000) * BB_NS_PER_US;
    self->loss_per_mille = (uint32_t)S_PICK(r, 0, 0, 0, 10, 50, 200);
    self->repeat_per_mille = (uint32_t)S_PICK(r, 0, 0, 10, 100, 300);
    self->is_in_order = bb_random_chance(r, 1, 2);

    self->client_count = (uint32_t)bb_random_between(r, 1, SIM_CLIENTS_MAX);
    self->battery_count = (uint32_t)S_PICK(r, 3, 8, 16, SIM_BATTERIES_MAX);
    self->think_mean_ns = (int64_t)S_PICK(r, 10, 30, 100) * BB_NS_PER_MS;
    self->read_per_mille = (uint32_t)S_PICK(r, 150, 300, 500);
    self->frames_max = (uint32_t)S_PICK(r, 2, 8, 20);
    self->has_conflicts = bb_random_chance(r, 1, 4);

    self->fault_phase_ns = (int64_t)bb_random_between(r, 2000, 7000) * BB_NS_PER_MS;
    self->fault_interval_ns = (int64_t)S_PICK(r, 150, 400, 1000) * BB_NS_PER_MS;
    // Swarm testing: some runs are without some kinds of faults, so that rare ones come through.
    self->fault_mask = bb_random_chance(r, 1, 3)    ? UINT32_MAX
                       : bb_random_chance(r, 1, 15) ? 0
                                                    : (uint32_t)bb_random_next(r);
    self->ends_with_settle = bb_random_chance(r, 1, self->is_storing ? 2 : 4);
    self->ends_with_release = bb_random_chance(r, 1, self->is_storing ? 4 : 16);
    self->ends_with_power_loss = bb_random_chance(r, 1, 2);
    self->ends_with_damage = true;
    self->has_policy = self->is_storing && bb_random_chance(r, 1, 2);
    self->scrub_bytes_per_s = self->is_storing ? S_PICK(r, 0, 64u << 10, 16u << 20) : 0;
    self->ends_with_retention = self->has_policy && bb_random_chance(r, 2, 3);
    self->dc_link_bytes_per_s = S_PICK(r, 0, 0, 0, 8u << 10, 64u << 10);
    self->session_mask = (uint32_t)bb_random_below(r, 1u << SIM_CLIENTS_MAX);
    self->has_deletes = bb_random_chance(r, 1, 2);
    self->has_rules = bb_random_chance(r, 1, 2);
    // Half a minute of simulated time: few and small ones.
    self->begins_slow = bb_random_chance(r, 1, 15) && !self->is_storing && self->node_count <= 5 &&
                        self->client_count >= 2;
    if (self->begins_slow) { // what it leaves behind would take minutes at 8 KiB/s
        self->dc_link_bytes_per_s = 0;
    }
    self->hedges_early = bb_random_chance(r, 1, 4);
    self->has_epochs = bb_random_chance(r, 1, 4) && self->fault_mask != 0;
    // A release makes normal what one coordinator took for normal and another did not.
    self->has_near_future = bb_random_chance(r, 1, 2) && !self->ends_with_release;
    self->has_losses = bb_random_chance(r, 3, 4) && self->fault_mask != 0;
    s_draw_twin_or_liar(self);
    self->repair_bytes_per_s = S_PICK(r, 0, 256, 4096, 64u << 10);
}

const char *sim_without_name(uint32_t index)
{
    static const char *const names[SIM_WITHOUT_COUNT] = {
        "noise", "policy", "scrub", "settle", "release", "power-loss", "damage", "twin", "hostile"};
    BB_ASSERT(index < SIM_WITHOUT_COUNT);
    return names[index];
}

void sim_options_apply(sim_options_t *self)
{
    if (self->without & SIM_WITHOUT_NOISE) {
        self->loss_per_mille = self->repeat_per_mille = 0;
        self->is_in_order = true;
    }
    if (self->without & SIM_WITHOUT_SCRUB) {
        self->scrub_bytes_per_s = 0;
    }
    self->has_policy = self->has_policy && !(self->without & SIM_WITHOUT_POLICY);
    self->ends_with_settle = self->ends_with_settle && !(self->without & SIM_WITHOUT_SETTLE);
    self->ends_with_release = self->ends_with_release && !(self->without & SIM_WITHOUT_RELEASE);
    self->has_twin = self->has_twin && !(self->without & SIM_WITHOUT_TWIN);
    self->has_hostile = self->has_hostile && !(self->without & SIM_WITHOUT_HOSTILE);
    self->ends_with_damage = self->ends_with_damage && !(self->without & SIM_WITHOUT_DAMAGE);
    self->ends_with_power_loss =
        self->ends_with_power_loss && !(self->without & SIM_WITHOUT_POWER_LOSS);
}
