// SPDX-License-Identifier: Apache-2.0
// bb_scrub - decides which window is verified next, and how fast, so that no byte at rest stays
// unread for long and nobody notices that it is read.
//
// Pure core: no file, clock or randomness; time arrives inside events. Belongs to one thread (the
// store's). The shell verifies what an action names and comes back with what it cost.
//
//   windows --> oldest verified first --> step of <= step_bytes --> done --> wait bytes / rate
//
// Pace: a token bucket that holds one step; a step that was larger than its budget (a value is
// read whole) is paid back by a longer wait. A window is due when it was never verified or longer
// than interval_ns ago. A pass that a person asks for takes every window once, due or not, at the
// rate that was asked for.
#ifndef BB_SCRUB_H
#define BB_SCRUB_H

#include "protocol/bb_error.h"

typedef struct bb_scrub bb_scrub_t;

#define BB_SCRUB_STEP_BYTES     (UINT64_C(1) << 20)
#define BB_SCRUB_RATE_DEFAULT   (UINT64_C(8) << 20) // bytes a second
#define BB_SCRUB_INTERVAL_NS    (INT64_C(7) * 24 * 3600 * 1000000000)
#define BB_SCRUB_RATE_UNLIMITED UINT64_MAX
#define BB_SCRUB_NEVER_WALL_NS  INT64_MIN

// One window as the store knows it. `id` names it (ascending in the list, unique), `number` changes
// when the window is written anew by a merge: what was verified then says nothing any more.
typedef struct {
    uint64_t id;
    uint64_t number;
    uint64_t bytes;           // about; for progress only
    int64_t verified_wall_ns; // of this number; BB_SCRUB_NEVER_WALL_NS = never
} bb_scrub_window_t;

typedef enum {
    BB_SCRUB_TICK,
    BB_SCRUB_START, // a person asks for a pass; one that is under way begins again
    BB_SCRUB_DONE,  // the step that was asked for has ended
} bb_scrub_event_kind_t;

typedef struct {
    bb_scrub_event_kind_t kind;
    int64_t now_mono_ns;       // never smaller than in the event before
    int64_t now_wall_ns;       // for ages only
    uint64_t rate_bytes_per_s; // START: 0 = as configured
    uint64_t bytes;            // DONE: verified by the step
    uint64_t finding_count;    // DONE: named by the step
    bool is_window_end;        // DONE: the window is verified to its end, or cannot be read at all
} bb_scrub_event_t;

typedef struct {
    bool is_step;         // verify `window_id` from where the step before ended
    bool is_window_begin; // from its beginning
    uint64_t window_id, window_number;
    uint64_t budget_bytes; // of the step; the value that passes it is verified to its end
    bool is_window_done;   // `window_id` was verified to its end just now: remember the time
    bool is_pass_done;     // the pass that a person asked for has ended
    int64_t wake_ns;       // monotonic; send a TICK then; BB_NEVER_NS = nothing to wait for
} bb_scrub_actions_t;

typedef struct {
    uint64_t bytes_total, findings_total, windows_total, passes_total; // since _new
    // Now - the time of the window that was verified longest ago; windows never verified count
    // from when the core first heard of them. 0 = there are no windows.
    int64_t oldest_age_ns;
    bool is_pass; // a pass that a person asked for is under way
    uint32_t pass_windows_left;
    uint64_t pass_findings;
} bb_scrub_stats_t;

// rate 0: nothing is verified but in passes that a person asks for.
bb_scrub_t *bb_scrub_new(uint64_t rate_bytes_per_s, int64_t interval_ns);
void bb_scrub_destroy(bb_scrub_t **self);

// The windows there are now, ascending by id. Those that are gone are forgotten; a step on one of
// them that is under way is to be reported as done all the same.
void bb_scrub_windows_set(bb_scrub_t *self, const bb_scrub_window_t *windows, uint32_t count,
                          int64_t now_wall_ns);
// Puts a window in front of the others, whatever its age: something is odd about it.
void bb_scrub_hurry(bb_scrub_t *self, uint64_t window_id);

// Applies one event. At most one step is under way: until DONE comes no other is asked for.
void bb_scrub_step(bb_scrub_t *self, const bb_scrub_event_t *event, bb_scrub_actions_t *actions);

bb_scrub_stats_t bb_scrub_stats(const bb_scrub_t *self, int64_t now_wall_ns);

#endif
