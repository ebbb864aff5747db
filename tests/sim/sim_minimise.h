// SPDX-License-Identifier: Apache-2.0
// sim_minimise - makes a failing run short: leaves out what it fails without.
//
// One thread. Faults and operations are numbered, and what each draws does not depend on the others
// (sim_world_stream), so one can be left out and the rest stays much the same. Delta debugging
// (Zeller, Hildebrandt, "Simplifying and isolating failure-inducing input", TSE 28, 2002) over
// faults, then operations, then both again; noise and endings are tried once each. A run still
// fails when its finding has the same words, numbers aside.
#ifndef SIM_MINIMISE_H
#define SIM_MINIMISE_H

#include "tests/sim/sim_options.h"

// Runs at most this many times.
#define SIM_MINIMISE_RUNS_MAX 3000u

typedef struct {
    uint32_t run_count;
    uint64_t fault_count, operation_count; // that the run had
    uint32_t faults_left, operations_left;
    uint64_t event_count_before, event_count_after;
    char finding[1024]; // of the last failing run
} sim_minimised_t;

// options: of a run; on success they name what is left (lists are the caller's to clear), with
// without included. False: the run does not fail.
bool sim_minimise(sim_options_t *options, sim_minimised_t *result);

#endif
