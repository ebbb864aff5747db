// SPDX-License-Identifier: Apache-2.0
// bb_store_latest - newest values from memory: what the head has, and what bb_latest knows of
// windows.
//
// Private to bb_store*.c; on the store's thread. A finder answers for one page of a LAST query,
// battery by battery, or says that windows have to be read.
#ifndef BB_STORE_LATEST_H
#define BB_STORE_LATEST_H

#include "storage/bb_store_private.h"
#include "storage/scan/bb_snapshot.h"

// The cache gets this share of the store's memory.
#define BB_LATEST_SHARE 8u

// After the windows are known and before anything is flushed.
void bb_store_latest_open(bb_store_t *self);
// The generation goes into windows.
void bb_store_latest_learn(bb_store_t *self, const bb_head_t *head);

typedef struct bb_latest_finder bb_latest_finder_t;
bb_latest_finder_t *bb_latest_finder_new(const bb_store_t *store, const bb_query_t *query,
                                         bb_snapshot_t *snapshot);
void bb_latest_finder_destroy(bb_latest_finder_t **self);
// Adds the newest values of the battery's wanted series, in the order of an answer and as far as
// the query's time and comparison want them, to snapshot->values. False: windows have to be read;
// nothing is added.
bool bb_latest_find(bb_latest_finder_t *self, uint32_t battery);

#endif
