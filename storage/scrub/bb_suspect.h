// SPDX-License-Identifier: Apache-2.0
// bb_suspect - whether an environment may be opened, and when it is looked at by another process.
//
// Pure core: one per window; no file, process or clock; time arrives inside events. Belongs to the
// store's thread. LMDB has no page checksums: a damaged page can crash who reads it (0.7 % of
// random flips, 21 % of those in page headers). So an environment that looked odd is not opened
// again before a child process has read all of it and lived.
//
//              DOUBT                 STARTED               PASSED
//   TRUSTED ----------> SUSPECT ---------------> CHECKING ----------> TRUSTED
//      ^                 ^   ^                    |  |  |   FOUND
//      |                 |   +-- DIED (killed) ---+  |  +-----------> DAMAGED    opens; parts are
//      +--- DOUBT from DAMAGED likewise              |                           quarantined
//                        REFUSED, DIED by SIGSEGV ...+--------------> CONDEMNED  never opened again
//
// A child that could not be started says nothing about the window: it is tried again. One that was
// killed (by us at the deadline, by a limit, by the system out of memory) is tried again, with
// twice the time, BB_SUSPECT_TRIES_MAX times in all; then the window is condemned. What is
// condemned keeps its folder for people; points of that window go into a new one beside it.
#ifndef BB_SUSPECT_H
#define BB_SUSPECT_H

#include "protocol/bb_error.h"

#define BB_SUSPECT_TRIES_MAX  3u
#define BB_SUSPECT_TIMEOUT_NS (INT64_C(60) * 1000000000) // of the first try
#define BB_SUSPECT_RETRY_NS   (INT64_C(10) * 1000000000) // between tries

typedef enum {
    BB_SUSPECT_TRUSTED,
    BB_SUSPECT_SUSPECT,
    BB_SUSPECT_CHECKING,
    BB_SUSPECT_DAMAGED,
    BB_SUSPECT_CONDEMNED,
    BB_SUSPECT_STATE_COUNT,
} bb_suspect_state_t;

typedef enum {
    BB_SUSPECT_DOUBT,        // opening or reading gave something that must not be
    BB_SUSPECT_STARTED,      // the child runs
    BB_SUSPECT_SPAWN_FAILED, // it could not be started
    BB_SUSPECT_PASSED,       // it ended: all of it reads and verifies
    BB_SUSPECT_FOUND,        // it ended: it reads, and named parts do not verify
    BB_SUSPECT_REFUSED,      // it ended: the environment cannot be opened or walked
    BB_SUSPECT_CRASHED,      // it died of its own fault: SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL
    BB_SUSPECT_KILLED,       // it was killed: by the deadline, a limit, the system
    BB_SUSPECT_TICK,
    BB_SUSPECT_EVENT_COUNT,
} bb_suspect_event_t;

// A cleared structure is TRUSTED.
typedef struct {
    bb_suspect_state_t state;
    uint32_t tries;       // children that were killed since the last verdict
    int64_t wake_mono_ns; // SUSPECT: not before; CHECKING: the deadline
} bb_suspect_t;

typedef struct {
    bool is_spawn;      // start a child, answer STARTED or SPAWN_FAILED
    int64_t timeout_ns; // of that child
    bool is_kill;       // kill the child; KILLED follows when it is gone
    bool is_verdict;    // the state is another one than before: tell people
    int64_t wake_ns;    // monotonic; send a TICK then; BB_NEVER_NS = no need
} bb_suspect_actions_t;

// TRUSTED and DAMAGED.
static inline bool bb_suspect_may_open(const bb_suspect_t *self)
{
    return self->state == BB_SUSPECT_TRUSTED || self->state == BB_SUSPECT_DAMAGED;
}

const char *bb_suspect_state_name(bb_suspect_state_t state); // "trusted"

// Applies one event. Events that make no sense in a state change nothing (a child of before that
// ends late, a second doubt).
void bb_suspect_step(bb_suspect_t *self, bb_suspect_event_t event, int64_t now_mono_ns,
                     bb_suspect_actions_t *actions);

// What the end of a child means: its exit status, or the signal that ended it (0 = none). Statuses
// are those of `busbar-inspect verify`: 0 clean, 1 damage found, 3 cannot be opened or walked.
bb_suspect_event_t bb_suspect_event_of_exit(int exit_status, int signal_number);

#endif
