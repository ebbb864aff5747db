// SPDX-License-Identifier: Apache-2.0
// bb_store_scrub - a store's scrubbing: bb_scrub's steps as jobs, what they find in the meta map,
// and windows that are not opened until a child process has read them.
//
// Private to bb_store*.c but for the checker, which a node provides. Belongs to the store's thread;
// the run of a job may be in another one.
#ifndef BB_STORE_SCRUB_H
#define BB_STORE_SCRUB_H

#include "storage/bb_store_private.h"
#include "storage/scrub/bb_damage.h"
#include "storage/scrub/bb_scrub.h"

typedef struct bb_store_scrub bb_store_scrub_t;
typedef struct bb_scrub_job bb_scrub_job_t;

bb_store_scrub_t *bb_store_scrub_new(const bb_store_options_t *options);
// Children that run are killed.
void bb_store_scrub_destroy(bb_store_scrub_t **self);

// From the meta map, when a store is opened.
void bb_store_scrub_load_damage(bb_store_scrub_t *self, const bb_damage_entry_t *entry);
void bb_store_scrub_load_verified(bb_store_scrub_t *self, bb_window_id_t window,
                                  const bb_meta_verified_t *verified);

// A segment that was put last before the store was opened, and nobody signed off.
void bb_store_scrub_load_fresh(bb_store_scrub_t *self, bb_window_id_t window, uint64_t number);

// All of meta is loaded: segments that are known to be damaged, and those that were put last before
// a crash and not read whole since, are looked at by the checker first.
void bb_store_scrub_opened(bb_store_t *store);

// A segment is not in its window any more, and with it what was damaged. Call while the window is
// still there.
void bb_store_scrub_forget(bb_store_t *store, bb_window_id_t window, uint64_t number);
// A window is gone, and all that was damaged in it.
void bb_store_scrub_forget_window(bb_store_t *store, bb_window_id_t window);
// Is the entry one of those that _forget drops?
bool bb_store_scrub_forgets(const bb_store_window_t *window, const bb_damage_entry_t *entry,
                            uint64_t number);

bool bb_store_scrub_is_any_suspect(const bb_store_scrub_t *self);

// The list of windows of the store has changed, or what is in them.
void bb_store_scrub_windows_changed(bb_store_scrub_t *self);
const bb_damage_t *bb_store_scrub_damage(const bb_store_scrub_t *self);

// The step that bb_store_scrub_tick announced. NULL: its window is gone.
bb_scrub_job_t *bb_scrub_job_new(bb_store_t *store);
void bb_scrub_job_destroy(bb_scrub_job_t **self);
// Any thread. What is found is not an error; those are of the meta map: IO, DISK_FULL.
BB_MUST_CHECK bb_error_t bb_scrub_job_run(bb_scrub_job_t *self, bool *must_fence,
                                          bb_fault_t *fault);
void bb_scrub_job_publish(bb_scrub_job_t *self, bb_store_t *store);

#endif
