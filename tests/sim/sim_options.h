// SPDX-License-Identifier: Apache-2.0
// sim_options - the shape of one run: cluster, limits, network, workload, faults; from the seed.
//
// Pure. Small on purpose: 98 % of failures need three nodes and few events; many small runs see
// more than one large one.
#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include "tests/sim/sim_keep.h"

#define SIM_NODES_MAX      7
#define SIM_DCS_MAX        3
#define SIM_STORES_MAX     3
#define SIM_CLIENTS_MAX    4
#define SIM_EPOCHS_MAX     4 // from 1 on
#define SIM_PARTITIONS_MAX 32
#define SIM_BATTERIES_MAX  24
#define SIM_METRICS        6
#define SIM_TEXTS          5
#define SIM_METRIC_PASSED  5 // volts_v: its class is the one that keeps less
#define SIM_ROLLUP         "hours"

typedef struct {
    uint64_t seed;
    uint32_t planted; // bb_planted_t
    // cluster
    uint32_t node_count, dc_count;
    uint32_t nodes_in_dc[SIM_DCS_MAX], replicas_in_dc[SIM_DCS_MAX];
    uint32_t store_count[SIM_NODES_MAX]; // of each node
    uint32_t partition_count;
    size_t memory_bytes;
    uint64_t journal_file_bytes, peer_unacked_bytes_max, in_flight_bytes_max;
    uint64_t dc_link_bytes_per_s; // 0: no cap
    uint64_t repair_bytes_per_s;  // while clients write; 0: no bound
    int64_t have_report_ns, flush_age_ns;
    // network
    int64_t delay_mean_ns;
    uint32_t loss_per_mille, repeat_per_mille;
    bool is_in_order; // links keep the order of what is not lost
    // workload
    uint32_t client_count, battery_count;
    int64_t think_mean_ns;
    uint32_t read_per_mille;
    uint32_t frames_max;
    bool has_deletes;      // and points of generations
    bool has_conflicts;    // one metric changes its type
    bool has_near_future;  // points about as far ahead as clocks allow
    bool has_rules;        // a threshold on one metric
    uint32_t session_mask; // bit per client: it has a session
    bool hedges_early;     // as clients that have read for a while
    // faults
    int64_t fault_phase_ns, fault_interval_ns;
    uint32_t fault_mask; // bit per kind of sim_fault.c
    bool ends_with_settle, ends_with_release, ends_with_power_loss;
    bool ends_with_damage; // sim_damage.c draws which
    bool begins_slow;      // one node, before other faults (sim_route.c)
    bool has_losses;       // disks are lost or set back while clients write
    bool has_epochs;       // nodes change to a newer epoch one by one
    bool has_hostile;      // a node that lies to the others (sim_hostile.c)
    bool has_twin;         // a copy of a node runs beside it (sim_twin.c)
    // storage
    bool is_storing;            // seals and merges while faults happen
    bool has_policy;            // a retention class and a rollup
    bool ends_with_retention;   // with a policy: that class keeps less in the end
    uint64_t scrub_bytes_per_s; // 0 = none
    // what is left out of the run; not drawn
    sim_keep_t keep_faults, keep_operations; // lists are borrowed
    uint32_t without;                        // SIM_WITHOUT_*
} sim_options_t;

#define SIM_WITHOUT_NOISE      (1u << 0) // no loss, no repetition, links in order
#define SIM_WITHOUT_POLICY     (1u << 1)
#define SIM_WITHOUT_SCRUB      (1u << 2)
#define SIM_WITHOUT_SETTLE     (1u << 3)
#define SIM_WITHOUT_RELEASE    (1u << 4)
#define SIM_WITHOUT_POWER_LOSS (1u << 5) // of all nodes, at the end
#define SIM_WITHOUT_DAMAGE     (1u << 6) // of disks, at the end
#define SIM_WITHOUT_TWIN       (1u << 7)
#define SIM_WITHOUT_HOSTILE    (1u << 8)
#define SIM_WITHOUT_COUNT      9u
const char *sim_without_name(uint32_t index); // of bit `index`
// Switches off what `without` names.
void sim_options_apply(sim_options_t *self);

void sim_options_draw(sim_options_t *self, uint64_t seed);

#endif
