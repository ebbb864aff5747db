// SPDX-License-Identifier: Apache-2.0
// sim_keep - which of a run's numbered faults or operations happen: all, or those of a list.
//
// Pure. What the minimiser takes away, and what a command line names to run the rest again.
#ifndef SIM_KEEP_H
#define SIM_KEEP_H

#include <stdio.h>

#include "protocol/bb_base.h"

typedef struct {
    bool is_limited; // false: all
    uint32_t count;
    uint64_t *numbers; // ascending; owned
} sim_keep_t;

bool sim_keep_has(const sim_keep_t *self, uint64_t number);
void sim_keep_copy(sim_keep_t *self, const sim_keep_t *other); // self is replaced
void sim_keep_clear(sim_keep_t *self);                         // all again
// "3,7-9" or "none". False: it is not such a list, or it does not ascend; self is as before.
bool sim_keep_parse(sim_keep_t *self, const char *text);
void sim_keep_print(const sim_keep_t *self, FILE *out);

#endif
