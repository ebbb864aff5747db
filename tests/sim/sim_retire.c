// SPDX-License-Identifier: Apache-2.0
// Retention while a replica is away: it alone has a point that is too old by the time it returns.
// Others get its chunk, and nobody may ever serve the point again.
#include <stdio.h>
#include <string.h>

#include "protocol/bb_batch_builder.h"
#include "storage/bb_store_private.h"
#include "tests/sim/sim_world.h"

#define S_AWAY_NS (5 * BB_NS_PER_S) // the others retire meanwhile

// The planted bug: what comes in is not clipped at the floors of retention. Storage is not built
// with bugs, so the linker puts this function in its place, and the run says whether it is on.
static _Thread_local bool s_is_unclipped;
bool __real_bb_store_has_old(const bb_store_t *self, const bb_batch_t *batch);
bool __wrap_bb_store_has_old(const bb_store_t *self, const bb_batch_t *batch);
bool __wrap_bb_store_has_old(const bb_store_t *self, const bb_batch_t *batch)
{
    return !s_is_unclipped && __real_bb_store_has_old(self, batch);
}

void sim_retire_open(const sim_world_t *self)
{
    s_is_unclipped = self->options.planted == BB_PLANTED_RETENTION_RESURRECTS;
}

// A battery whose partition the node shares with another; UINT32_MAX: none.
static uint32_t s_battery(const sim_world_t *self, const sim_node_t *node)
{
    for (uint32_t b = 0; b < self->options.battery_count; b++) {
        uint32_t partition = self->battery_partition[b], others = 0;
        for (uint32_t n = 0; n < self->options.node_count; n++) {
            others += n != node->index && sim_world_is_replica(self, partition, n);
        }
        if (others > 0 && sim_world_is_replica(self, partition, node->index)) {
            return b;
        }
    }
    return UINT32_MAX;
}

static bb_buffer_t *s_batch(sim_world_t *self, uint32_t battery_index, int64_t time_wall_ns)
{
    char id[16];
    int length = snprintf(id, sizeof id, "bat-%02u", battery_index);
    const bb_slice_t name = bb_slice("volts_v", strlen("volts_v"));
    const uint8_t type = BB_TYPE_FLOAT64;
    const uint64_t bits = bb_bits_of_double(48.5);
    uint32_t battery = 0, shape = 0, order = 0;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_error_t error =
        bb_batch_builder_battery(builder, self->battery_partition[battery_index],
                                 bb_slice(id, (size_t)length), NULL, 0, &battery, NULL);
    BB_ASSERT(error == BB_OK);
    error = bb_batch_builder_shape(builder, &name, &type, 1, &shape, &order, NULL);
    BB_ASSERT(error == BB_OK);
    error = bb_batch_builder_frame(builder, battery, shape, time_wall_ns, &bits);
    BB_ASSERT(error == BB_OK);
    uint8_t *data = NULL;
    size_t bytes = 0;
    bb_batch_builder_finish(builder, &data, &bytes, NULL);
    bb_batch_builder_destroy(&builder);
    const bb_checker_key_t key = {
        .battery = battery_index, .metric = SIM_METRIC_PASSED, .time_wall_ns = time_wall_ns};
    const bb_checker_version_t version = {.type = type, .bits = bits};
    (void)bb_checker_written(self->checker, &key, &version);
    return bb_buffer_new(data, bytes, NULL, NULL);
}

static void s_cut_off(sim_world_t *self, uint32_t node, bool is_cut)
{
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        self->net.cut_count[node][n] += is_cut ? 1 : -1;
        self->net.cut_count[n][node] += is_cut ? 1 : -1;
    }
}

bool sim_retire_away(sim_world_t *self, bb_random_t *random)
{
    sim_node_t *node = &self->nodes[bb_random_below(random, self->options.node_count)];
    uint32_t battery = s_battery(self, node);
    if (!bb_random_chance(random, 1, 2) || battery == UINT32_MAX || !node->is_up) {
        return true;
    }
    s_cut_off(self, node->index, true);
    self->late_partition = self->battery_partition[battery];
    sim_store_t *store = sim_node_store(node, self->late_partition);
    bb_buffer_t *batch = s_batch(self, battery, self->floor_wall_ns - BB_NS_PER_DAY / 2);
    const bb_message_t write = {.kind = BB_KIND_WRITE,
                                .request_id = 1,
                                .timeout_ns = BB_NS_PER_S,
                                .write = {.level = BB_LEVEL_ONE}};
    bb_message_t answer = {0};
    sim_store_ask_with(store, &write, batch, &answer);
    bb_message_close(&answer);
    bb_buffer_drop(&batch);
    bool is_good = sim_world_run_until(self, sim_world_now_ns(self) + 200 * BB_NS_PER_MS);
    if (is_good && node->is_up) {
        self->counters.retired_while_away++;
        sim_node_stop(node, true, S_AWAY_NS);
    }
    s_cut_off(self, node->index, false);
    return is_good;
}
