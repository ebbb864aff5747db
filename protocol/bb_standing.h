// SPDX-License-Identifier: Apache-2.0
// bb_standing - whether a node counts as a replica just now, and if not, why.
//
// Pure. A disk that was lost, exchanged or set back has forgotten what it once acknowledged, so a
// node counts for levels and for the fences of reads only from when a majority of all nodes knows
// this start of it (node/control/bb_boot.h) and, after a loss, from when it was rebuilt. Without
// standing its chunks and have-sets are as good as any (they are pulled, they count for lag and
// hold journals); only nobody counts on them. Model: tests/model/streams.pml.
#ifndef BB_STANDING_H
#define BB_STANDING_H

#include "protocol/bb_base.h"

#ifdef __cplusplus
extern "C" {
#endif

// Values are on the wire: never reused. 0 is what a node says that has no registry.
typedef enum {
    BB_STANDING_COUNTING = 0,
    BB_STANDING_JOINING = 1,    // claims its boot number, or registers the next
    BB_STANDING_REBUILDING = 2, // its disk lacks what it once promised
    BB_STANDING_FENCED = 3,     // a later process has its identity: for good
} bb_standing_t;

#define BB_STANDING_COUNT 4u

bool bb_standing_is_known(uint32_t standing);
const char *bb_standing_name(bb_standing_t standing); // "counting"

#ifdef __cplusplus
}
#endif
#endif
