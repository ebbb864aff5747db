// SPDX-License-Identifier: Apache-2.0
// busbar_scatter - one question to as many executors as hold its partitions, page by page.
//
// Runs on the thread that reads the rows; requests and answers go through the io thread. Each
// partition is asked of one live replica; partitions of one node travel together as a task, or as
// two when each battery of a whole fleet is asked, so that two threads of the node share the work.
// A page that fails is asked of another replica: with the same cursor when one node holds all
// partitions of the task, else the task is taken back and split; a node that cannot read the cursor
// of another (it has another number of stores) is asked from the beginning. A partition that a page
// reports as missing is asked of its other replicas, alone. What fails everywhere ends in
// `missing`. The first page of a small read may be asked of two nodes (bb_hedge): the first whole
// answer counts, the other one is dropped before the task goes on.
#ifndef BUSBAR_SCATTER_H
#define BUSBAR_SCATTER_H

#include "client/bb_rowset.h"
#include "client/busbar_internal.h"

typedef struct busbar_scatter busbar_scatter_t;

// Why each partition is missing; OK = it is not.
typedef struct {
    uint32_t count;
    uint32_t partition_count;
    bb_error_t *errors; // partition_count entries, owned
    char detail[256];   // of the newest
    bool was_answered;  // some node has answered some page
} busbar_missing_t;

void busbar_missing_init(busbar_missing_t *self, uint32_t partition_count);
void busbar_missing_free(busbar_missing_t *self);
void busbar_missing_add(busbar_missing_t *self, uint32_t partition, bb_error_t error);

typedef struct {
    bb_query_t query; // all but partitions, batteries and cursor; what it borrows must live on
    const bb_slice_t *batteries; // 0 = all batteries; borrowed
    uint32_t battery_count;
    busbar_session_t *session; // NULL = none
    int64_t timeout_ns;        // for each page, over all replicas
    size_t bytes_held_max;     // fetch ahead only while the rowset holds less
} busbar_scatter_options_t;

// Plans and sends. `view`, `rowset` and `missing` are borrowed until _destroy.
busbar_scatter_t *busbar_scatter_new(busbar_client_t *client, const bb_view_t *view,
                                     const busbar_scatter_options_t *options, bb_rowset_t *rowset,
                                     busbar_missing_t *missing);
// Ends what is under way and waits for it.
void busbar_scatter_destroy(busbar_scatter_t **self);
// Waits for one event and handles it. False when nothing is left to wait for: all pages are there,
// a fault ended the query, or the rowset is full (busbar_scatter_is_done tells).
bool busbar_scatter_turn(busbar_scatter_t *self);
bool busbar_scatter_is_done(const busbar_scatter_t *self);
// The refusal that ended the query (ROLE, QUERY...), or OK.
bb_error_t busbar_scatter_fault(const busbar_scatter_t *self, busbar_fault_t *fault);

#endif
