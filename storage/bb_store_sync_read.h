// SPDX-License-Identifier: Apache-2.0
// bb_store_sync_read - answers one ask of bb_store_sync.h from a snapshot.
//
// Private to bb_store*.c. Made on the store's thread; the run may be in another one.
#ifndef BB_STORE_SYNC_READ_H
#define BB_STORE_SYNC_READ_H

#include "storage/bb_store_private.h"
#include "storage/bb_store_sync.h"

typedef struct bb_sync_read bb_sync_read_t;

bb_sync_read_t *bb_sync_read_new(bb_store_t *store, const bb_sync_ask_t *ask);
void bb_sync_read_destroy(bb_sync_read_t **self);
// Never fails: what is wrong is in _found.
void bb_sync_read_run(bb_sync_read_t *self);
bb_sync_found_t *bb_sync_read_found(bb_sync_read_t *self);

// Several, in one job.
typedef struct bb_sync_reads bb_sync_reads_t;
bb_sync_reads_t *bb_sync_reads_new(bb_store_t *store, const bb_sync_ask_t *asks, uint32_t count);
void bb_sync_reads_destroy(bb_sync_reads_t **self);
void bb_sync_reads_run(bb_sync_reads_t *self);
// Valid until _destroy.
const bb_sync_found_t *bb_sync_reads_found(bb_sync_reads_t *self, uint32_t *count);

// Is the segment not to be believed? What the list of damage says of segments that are gone may be
// in any of the window.
bool bb_sync_is_damaged(const bb_store_t *store, const bb_store_window_t *window,
                        const bb_window_part_t *part);
// Is it being repaired (bb_store_sync_leave_out)?
bool bb_sync_is_left_out(const bb_store_t *store, const bb_store_window_t *window,
                         const bb_window_part_t *part);

#endif
