// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_placement.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

// Costs are -log2(uniform) x price, in fixed point: 24 fraction bits (at most 64 << 24 = 2^30)
// times a price of at most 2^33.
#define S_LOG_BITS     24
#define S_PRICE_ONE    (UINT64_C(1) << 20)
#define S_PRICE_MIN    (UINT64_C(1) << 8)
#define S_PRICE_MAX    (UINT64_C(1) << 33)
#define S_PRICE_ROUNDS 40

uint32_t bb_partition_of(const uint8_t key[16], const void *id, size_t length,
                         uint32_t partition_count)
{
    static_assert(crypto_shorthash_KEYBYTES == 16, "SipHash-2-4 has a key of 16 bytes");
    static_assert(crypto_shorthash_BYTES == 8, "and 8 bytes of result");
    BB_ASSERT(partition_count > 0 && (partition_count & (partition_count - 1)) == 0);
    uint8_t hash[8];
    crypto_shorthash(hash, id, length, key);
    uint32_t low = (uint32_t)hash[0] | (uint32_t)hash[1] << 8 | (uint32_t)hash[2] << 16 |
                   (uint32_t)hash[3] << 24;
    return low & (partition_count - 1);
}

uint32_t bb_placement_stride(const bb_placement_dc_t *dcs, uint32_t dc_count)
{
    uint32_t stride = 0;
    for (uint32_t i = 0; i < dc_count; i++) {
        stride += dcs[i].replica_count;
    }
    return stride;
}

// One node of the data centre at work. Sorted by id, so that the order given does not matter.
typedef struct {
    const char *id;
    uint64_t hash;
    uint16_t index; // in the caller's list
    uint16_t rack;  // number of its rack in this data centre
    uint32_t weight;
    uint64_t price; // higher = gets less
    uint32_t load;  // replicas it holds
    uint32_t load_max;
    uint64_t target; // fair share x 256
} s_node_t;

// One data centre at work.
typedef struct {
    s_node_t *nodes;
    uint32_t node_count;
    uint32_t rack_count;
    uint32_t replica_count;
    uint32_t partition_count;
    uint32_t *logs;   // partition * node_count + node: -log2(uniform), fixed point
    uint16_t *chosen; // partition * replica_count + i: node
} s_dc_t;

static uint64_t s_mix(uint64_t z) // the finaliser of splitmix64
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t s_hash_of_id(const char *id)
{
    static const uint8_t key[16] = "busbar placement"; // fixed: the result is no secret
    uint8_t bytes[8];
    crypto_shorthash(bytes, (const uint8_t *)id, strlen(id), key);
    uint64_t hash = 0;
    for (int i = 7; i >= 0; i--) {
        hash = hash << 8 | bytes[i];
    }
    return hash;
}

// -log2((x + 1) / 2^64) in fixed point, by repeated squaring; integers only.
static uint32_t s_minus_log2(uint64_t x)
{
    x |= 1;
    uint32_t zeros = (uint32_t)__builtin_clzll(x);
    uint64_t mantissa = (x << zeros) >> 32; // [1, 2) with 31 fraction bits
    uint32_t fraction = 0;
    for (int i = 0; i < S_LOG_BITS; i++) {
        mantissa = (mantissa * mantissa) >> 31;
        fraction <<= 1;
        if (mantissa >> 32) {
            mantissa >>= 1;
            fraction |= 1;
        }
    }
    return ((zeros + 1) << S_LOG_BITS) - fraction;
}

static uint64_t s_cost(const s_dc_t *dc, uint32_t partition, uint32_t node)
{
    return dc->logs[(size_t)partition * dc->node_count + node] * dc->nodes[node].price;
}

// ---- preparation ----

static int s_by_id(const void *a, const void *b)
{
    return strcmp(((const s_node_t *)a)->id, ((const s_node_t *)b)->id);
}

static const char *s_rack(const bb_placement_node_t *node)
{
    return node->rack ? node->rack : "";
}

static void s_number_racks(s_dc_t *dc, const bb_placement_node_t *nodes)
{
    for (uint32_t i = 0; i < dc->node_count; i++) {
        uint32_t j = 0;
        while (strcmp(s_rack(&nodes[dc->nodes[j].index]), s_rack(&nodes[dc->nodes[i].index])) !=
               0) {
            j++;
        }
        dc->nodes[i].rack = j < i ? dc->nodes[j].rack : (uint16_t)dc->rack_count++;
    }
}

// Fair shares: by weight, but no node can hold more than one replica of each partition; what a
// heavy node cannot take goes to the others by their weights.
static void s_set_targets(s_dc_t *dc)
{
    const uint64_t most = (uint64_t)dc->partition_count << 8;
    uint64_t left = most * dc->replica_count;
    uint64_t weights = 0;
    for (uint32_t i = 0; i < dc->node_count; i++) {
        dc->nodes[i].target = 0;
        weights += dc->nodes[i].weight;
    }
    for (bool changed = true; changed;) { // ends: each pass fixes a node or is the last
        changed = false;
        for (uint32_t i = 0; i < dc->node_count; i++) {
            s_node_t *node = &dc->nodes[i];
            if (node->target == 0 && node->weight * left >= most * weights) {
                node->target = most;
                left -= most;
                weights -= node->weight;
                changed = true;
            }
        }
    }
    for (uint32_t i = 0; i < dc->node_count; i++) {
        s_node_t *node = &dc->nodes[i];
        if (node->target == 0) {
            node->target = node->weight * left / weights;
        }
        // 5 % over the mean, but never below the mean rounded up: there must be room for all.
        uint64_t bound = BB_MAX(node->target * 105 / 100 >> 8, (node->target + 255) >> 8);
        node->load_max = (uint32_t)BB_MIN(bound, (uint64_t)dc->partition_count);
    }
}

static void s_prepare(s_dc_t *dc, const bb_placement_node_t *nodes, uint32_t node_count,
                      const bb_placement_dc_t *name, uint32_t partition_count)
{
    *dc = (s_dc_t){.replica_count = name->replica_count, .partition_count = partition_count};
    dc->nodes = bb_alloc_zero(node_count, sizeof *dc->nodes);
    for (uint32_t i = 0; i < node_count; i++) {
        if (strcmp(nodes[i].dc, name->name) == 0) {
            dc->nodes[dc->node_count++] = (s_node_t){.id = nodes[i].id,
                                                     .hash = s_hash_of_id(nodes[i].id),
                                                     .index = (uint16_t)i,
                                                     .weight = nodes[i].weight};
        }
    }
    qsort(dc->nodes, dc->node_count, sizeof *dc->nodes, s_by_id);
    s_number_racks(dc, nodes);
    s_set_targets(dc);
    dc->chosen = bb_alloc_zero((size_t)partition_count * dc->replica_count, sizeof *dc->chosen);
    dc->logs = bb_alloc_zero((size_t)partition_count * dc->node_count, sizeof *dc->logs);
    for (uint32_t partition = 0; partition < partition_count; partition++) {
        uint64_t seed = s_mix(partition + UINT64_C(0x9e3779b97f4a7c15));
        for (uint32_t node = 0; node < dc->node_count; node++) {
            dc->logs[(size_t)partition * dc->node_count + node] =
                s_minus_log2(s_mix(seed ^ dc->nodes[node].hash));
        }
    }
}

// ---- choosing ----

// How many of the first `count` choices of a partition lie in `rack`.
static uint32_t s_rack_uses(const s_dc_t *dc, const uint16_t *choices, uint32_t count,
                            uint16_t rack)
{
    uint32_t uses = 0;
    for (uint32_t i = 0; i < count; i++) {
        uses += dc->nodes[choices[i]].rack == rack;
    }
    return uses;
}

static bool s_is_chosen(const uint16_t *choices, uint32_t count, uint32_t node)
{
    for (uint32_t i = 0; i < count; i++) {
        if (choices[i] == node) {
            return true;
        }
    }
    return false;
}

// The cheapest nodes of one partition, each next one from the least used racks.
static void s_choose(s_dc_t *dc, uint32_t partition)
{
    uint16_t *choices = &dc->chosen[(size_t)partition * dc->replica_count];
    for (uint32_t i = 0; i < dc->replica_count; i++) {
        uint32_t best = UINT32_MAX;
        uint32_t best_uses = UINT32_MAX;
        uint64_t best_cost = UINT64_MAX;
        for (uint32_t node = 0; node < dc->node_count; node++) {
            if (s_is_chosen(choices, i, node)) {
                continue;
            }
            uint32_t uses = s_rack_uses(dc, choices, i, dc->nodes[node].rack);
            uint64_t cost = s_cost(dc, partition, node);
            if (uses < best_uses || (uses == best_uses && cost < best_cost)) {
                best = node;
                best_uses = uses;
                best_cost = cost;
            }
        }
        choices[i] = (uint16_t)best;
        dc->nodes[best].load++;
    }
}

static void s_choose_all(s_dc_t *dc)
{
    for (uint32_t i = 0; i < dc->node_count; i++) {
        dc->nodes[i].load = 0;
    }
    for (uint32_t partition = 0; partition < dc->partition_count; partition++) {
        s_choose(dc, partition);
    }
}

// Prices start at 1 / weight and follow the ratio of load to share, damped to its square root
// (by the first term of its series).
static void s_find_prices(s_dc_t *dc)
{
    for (uint32_t i = 0; i < dc->node_count; i++) {
        dc->nodes[i].price = S_PRICE_ONE * BB_PLACEMENT_WEIGHT_DEFAULT / dc->nodes[i].weight;
    }
    for (int round = 0; round < S_PRICE_ROUNDS; round++) {
        s_choose_all(dc);
        for (uint32_t i = 0; i < dc->node_count; i++) {
            s_node_t *node = &dc->nodes[i];
            uint64_t load = (uint64_t)node->load << 8;
            uint64_t base = node->target + 256;
            uint64_t price = node->price * (base + load + 256) / (2 * base);
            node->price = BB_MIN(BB_MAX(price, S_PRICE_MIN), S_PRICE_MAX);
        }
    }
    s_choose_all(dc);
}

// ---- bounding loads ----

typedef struct {
    uint64_t loss; // cost there minus cost here
    uint32_t partition;
    uint32_t slot;
    uint32_t target; // node
} s_move_t;

static int s_by_loss(const void *a, const void *b)
{
    const s_move_t *left = a;
    const s_move_t *right = b;
    if (left->loss != right->loss) {
        return left->loss < right->loss ? -1 : 1;
    }
    if (left->partition != right->partition) {
        return left->partition < right->partition ? -1 : 1;
    }
    return left->target < right->target ? -1 : left->target > right->target;
}

// True when `node` may stand in `slot` without using a rack more than it must.
static bool s_may_replace(const s_dc_t *dc, const uint16_t *choices, uint32_t slot, uint32_t node)
{
    if (s_is_chosen(choices, dc->replica_count, node)) {
        return false;
    }
    uint16_t rack_now = dc->nodes[choices[slot]].rack;
    uint16_t rack_then = dc->nodes[node].rack;
    if (rack_now == rack_then) {
        return true;
    }
    uint32_t uses_now = s_rack_uses(dc, choices, dc->replica_count, rack_now);
    uint32_t uses_then = s_rack_uses(dc, choices, dc->replica_count, rack_then);
    return uses_then + 1 <= uses_now;
}

// Moves replicas from `source` to nodes below their bound, those that lose least first, until
// `source` is within its own. True when anything moved.
static bool s_relieve(s_dc_t *dc, uint32_t source, s_move_t *moves)
{
    uint32_t move_count = 0;
    for (uint32_t partition = 0; partition < dc->partition_count; partition++) {
        uint16_t *choices = &dc->chosen[(size_t)partition * dc->replica_count];
        uint32_t slot = 0;
        while (slot < dc->replica_count && choices[slot] != source) {
            slot++;
        }
        if (slot == dc->replica_count) {
            continue;
        }
        s_move_t best = {.loss = UINT64_MAX};
        for (uint32_t node = 0; node < dc->node_count; node++) {
            if (dc->nodes[node].load < dc->nodes[node].load_max &&
                s_may_replace(dc, choices, slot, node)) {
                uint64_t there = s_cost(dc, partition, node);
                uint64_t here = s_cost(dc, partition, source);
                uint64_t loss = there > here ? there - here : 0;
                if (loss < best.loss) {
                    best = (s_move_t){loss, partition, slot, node};
                }
            }
        }
        if (best.loss != UINT64_MAX) {
            moves[move_count++] = best;
        }
    }
    qsort(moves, move_count, sizeof *moves, s_by_loss);
    bool moved = false;
    for (uint32_t i = 0; i < move_count; i++) {
        s_node_t *target = &dc->nodes[moves[i].target];
        if (dc->nodes[source].load <= dc->nodes[source].load_max) {
            break;
        }
        if (target->load < target->load_max) {
            dc->chosen[(size_t)moves[i].partition * dc->replica_count + moves[i].slot] =
                (uint16_t)moves[i].target;
            target->load++;
            dc->nodes[source].load--;
            moved = true;
        }
    }
    return moved;
}

// Each pass moves replicas only from nodes above their bound to nodes below, so the excess falls
// and the passes end.
static void s_bound_loads(s_dc_t *dc)
{
    s_move_t *moves = bb_alloc_zero(dc->partition_count, sizeof *moves);
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t node = 0; node < dc->node_count; node++) {
            if (dc->nodes[node].load > dc->nodes[node].load_max) {
                moved |= s_relieve(dc, node, moves);
            }
        }
    }
    free(moves);
}

// ---- the whole ----

static bb_error_t s_check(const bb_placement_node_t *nodes, uint32_t node_count,
                          const bb_placement_dc_t *dcs, uint32_t dc_count, uint32_t partition_count,
                          bb_fault_t *fault)
{
    if (partition_count == 0 || partition_count > BB_PARTITIONS_MAX ||
        (partition_count & (partition_count - 1)) != 0) {
        return bb_fault_set(fault, BB_ERR_CONFIG,
                            "partitions must be a power of two up to %d, not %u", BB_PARTITIONS_MAX,
                            partition_count);
    }
    if (node_count == 0 || node_count > BB_NODES_MAX || dc_count == 0 || dc_count > BB_DCS_MAX) {
        return bb_fault_set(fault, BB_ERR_CONFIG,
                            "1 to %d nodes in 1 to %d data centres are possible", BB_NODES_MAX,
                            BB_DCS_MAX);
    }
    if (bb_placement_stride(dcs, dc_count) == 0 ||
        bb_placement_stride(dcs, dc_count) > BB_REPLICAS_MAX) {
        return bb_fault_set(fault, BB_ERR_CONFIG, "1 to %d replicas in all are possible",
                            BB_REPLICAS_MAX);
    }
    for (uint32_t i = 0; i < node_count; i++) {
        uint32_t dc = 0;
        while (dc < dc_count && strcmp(dcs[dc].name, nodes[i].dc) != 0) {
            dc++;
        }
        if (dc == dc_count) {
            return bb_fault_set(fault, BB_ERR_CONFIG,
                                "node '%s' is in data centre '%s', which has no replica count",
                                nodes[i].id, nodes[i].dc);
        }
        if (nodes[i].weight == 0 || nodes[i].weight > BB_PLACEMENT_WEIGHT_MAX) {
            return bb_fault_set(fault, BB_ERR_CONFIG, "node '%s': weight must be 1 to %d",
                                nodes[i].id, BB_PLACEMENT_WEIGHT_MAX);
        }
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(nodes[i].id, nodes[j].id) == 0) {
                return bb_fault_set(fault, BB_ERR_CONFIG, "node '%s' is listed twice", nodes[i].id);
            }
        }
    }
    return BB_OK;
}

static bb_error_t s_check_dcs(const bb_placement_node_t *nodes, uint32_t node_count,
                              const bb_placement_dc_t *dcs, uint32_t dc_count, bb_fault_t *fault)
{
    for (uint32_t i = 0; i < dc_count; i++) {
        uint32_t count = 0;
        for (uint32_t j = 0; j < node_count; j++) {
            count += strcmp(nodes[j].dc, dcs[i].name) == 0;
        }
        if (dcs[i].replica_count > count) {
            return bb_fault_set(fault, BB_ERR_CONFIG,
                                "data centre '%s' has %u nodes; %u replicas need as many",
                                dcs[i].name, count, dcs[i].replica_count);
        }
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(dcs[i].name, dcs[j].name) == 0) {
                return bb_fault_set(fault, BB_ERR_CONFIG, "data centre '%s' is listed twice",
                                    dcs[i].name);
            }
        }
    }
    return BB_OK;
}

bb_error_t bb_placement_propose(const bb_placement_node_t *nodes, uint32_t node_count,
                                const bb_placement_dc_t *dcs, uint32_t dc_count,
                                uint32_t partition_count, uint16_t *replicas, bb_fault_t *fault)
{
    BB_ASSERT(nodes);
    BB_ASSERT(dcs);
    BB_ASSERT(replicas);
    bb_error_t error = s_check(nodes, node_count, dcs, dc_count, partition_count, fault);
    if (error == BB_OK) {
        error = s_check_dcs(nodes, node_count, dcs, dc_count, fault);
    }
    if (error != BB_OK) {
        return error;
    }
    uint32_t stride = bb_placement_stride(dcs, dc_count);
    uint32_t first = 0;
    for (uint32_t i = 0; i < dc_count; i++) {
        if (dcs[i].replica_count == 0) {
            continue;
        }
        s_dc_t dc;
        s_prepare(&dc, nodes, node_count, &dcs[i], partition_count);
        s_find_prices(&dc);
        s_bound_loads(&dc);
        for (uint32_t partition = 0; partition < partition_count; partition++) {
            for (uint32_t j = 0; j < dc.replica_count; j++) {
                uint16_t node = dc.chosen[(size_t)partition * dc.replica_count + j];
                replicas[(size_t)partition * stride + first + j] = dc.nodes[node].index;
            }
        }
        first += dcs[i].replica_count;
        free(dc.nodes);
        free(dc.logs);
        free(dc.chosen);
    }
    return BB_OK;
}
