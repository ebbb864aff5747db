// SPDX-License-Identifier: Apache-2.0
// bb_group_merge - all runs of a group of neighbouring batteries become as few as possible.
//
// Pure. What bb_run_merge is for one battery: the points that come out are those that it would
// give. Shared runs of the same batteries are put together without decoding them as long as that
// pays (bb_shared_merge.h); all else is merged battery by battery, and what then has few rows is
// shared anew (bb_run_group.h). A battery whose runs do not verify keeps them byte for byte.
//
//   for each group: _add for each battery and run, ascending, then _finish
#ifndef BB_GROUP_MERGE_H
#define BB_GROUP_MERGE_H

#include "storage/segment/bb_run_group.h"

typedef struct bb_group_merger bb_group_merger_t;

// `put` gets what comes of each group. One thread; keeps its memory from group to group.
bb_group_merger_t *bb_group_merger_new(uint32_t bits, bb_run_group_put_fn put, void *context);
void bb_group_merger_destroy(bb_group_merger_t **self);

// One run of a battery: its bytes, and what was opened of them; NULL: that does not verify. Both
// are borrowed until _finish, `run` for the call alone (but the shared run behind a view).
void bb_group_merger_add(bb_group_merger_t *self, uint32_t partition, uint32_t battery,
                         bb_slice_t encoded, const bb_run_t *run);

typedef struct {
    uint64_t conflict_count; // as bb_run_merge counts them
    uint64_t copied_count;   // points whose blocks were copied
    bool has_unmerged;       // a battery kept its runs as they were, though it had several
} bb_group_merge_result_t;

// Merges and puts what was added, and forgets it. Errors: those of `put`. *result grows.
BB_MUST_CHECK bb_error_t bb_group_merger_finish(bb_group_merger_t *self,
                                                bb_group_merge_result_t *result);

#endif
