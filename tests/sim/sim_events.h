// SPDX-License-Identifier: Apache-2.0
// sim_events - what will happen, ordered by (simulated time, random tie-break).
//
// One thread. A binary heap. Equal times are ordered by numbers drawn from the seed, so that no
// accident of insertion order becomes a rule that the cluster could lean on.
#ifndef SIM_EVENTS_H
#define SIM_EVENTS_H

#include "node/runtime/bb_buffer.h"
#include "tests/support/bb_random.h"

typedef enum {
    SIM_EVENT_COMMIT,    // node: the store's loop comes round
    SIM_EVENT_HEARTBEAT, // node: tell the others, look at the detector
    SIM_EVENT_CONTROL,   // node: the control actor's loop comes round
    SIM_EVENT_PEER,      // node gets a message of node `other`
    SIM_EVENT_REQUEST,   // node gets the request of attempt `number`
    SIM_EVENT_ANSWER,    // a client gets the answer to attempt `number`
    SIM_EVENT_JOB,       // node: background work ends
    SIM_EVENT_SCAN,      // node: the scan pool takes scan `number`
    SIM_EVENT_START,     // node comes back
    SIM_EVENT_STOP,      // node is taken down (fenced, or its disk died)
    SIM_EVENT_CLIENT,    // client `other` does its next thing
    SIM_EVENT_GIVE_UP,   // a client stops waiting for attempt `number`
    SIM_EVENT_HEDGE,     // a client waits long for attempt `number`
    SIM_EVENT_FAULT,     // the next fault
    SIM_EVENT_HEAL,      // fault `number` ends
    SIM_EVENT_PHASE,     // look whether the phase is over
    SIM_EVENT_KIND_COUNT,
} sim_event_kind_t;

typedef struct {
    int64_t time_ns;
    uint64_t tie;
    uint64_t order; // last resort, so that the order is total
    sim_event_kind_t kind;
    uint32_t node, other; // other: also the store of COMMIT, REQUEST, JOB and SCAN
    uint32_t life;        // of the node when it was made; 0 = any
    uint64_t number;
    bb_buffer_t *envelope, *chunks, *body; // owned
} sim_event_t;

typedef struct sim_events sim_events_t;

sim_events_t *sim_events_new(uint64_t seed);
void sim_events_destroy(sim_events_t **self);
// Takes over the buffers. `time_ns` is clamped to the present.
void sim_events_add(sim_events_t *self, int64_t time_ns, const sim_event_t *event);
// False when nothing is left. The buffers are the caller's.
bool sim_events_next(sim_events_t *self, sim_event_t *event);
int64_t sim_events_now_ns(const sim_events_t *self);
void sim_event_clear(sim_event_t *event);

#endif
