// SPDX-License-Identifier: Apache-2.0
// sim_trace - what happened, as a hash that two runs of one seed must share and as lines to read.
//
// One thread. The hash takes in every event; lines are printed only with --verbose.
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <stdio.h>

#include "tests/sim/sim_picture.h"

typedef struct {
    uint64_t hash;
    uint64_t event_count;
    int64_t now_ns;
    FILE *lines;            // NULL: not verbose
    sim_picture_t *picture; // NULL: not drawn; borrowed
    char finding[1024];     // the first one; empty: none
} sim_trace_t;

void sim_trace_fold(sim_trace_t *self, uint64_t number);
void sim_trace_line(sim_trace_t *self, const char *format, ...) BB_PRINTF(2, 3);
// Likewise, and a note in the picture, at a lifeline.
void sim_trace_note(sim_trace_t *self, uint32_t line, const char *format, ...) BB_PRINTF(3, 4);
void sim_trace_fault(sim_trace_t *self, uint32_t line, const char *format, ...) BB_PRINTF(3, 4);
// Something that must never happen. The first one is kept; the run ends at the next event.
void sim_trace_fail(sim_trace_t *self, const char *format, ...) BB_PRINTF(2, 3);

static inline bool sim_trace_has_failed(const sim_trace_t *self)
{
    return self->finding[0] != 0;
}

#endif
