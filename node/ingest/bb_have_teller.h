// SPDX-License-Identifier: Apache-2.0
// bb_have_teller - which have-sets need not be told in full, because tails of streams say it all.
//
// Pure core, owned by one shard. Somebody who knows a have-set as it was at a version of this store
// needs only the last seqs of its live streams (bb_have_tails.h), if nothing else of it has changed
// since. "The rest" of a have-set is all that is not a live stream; the teller remembers its
// fingerprint and the version at which it first saw it:
//
//     version   10        20        30
//               │ full    │ tail    │        the rest was first seen at 12: who knows 10 is told
//           rest changes at 11               in full, who knows 20 is told tails
//
// Sets only grow (forgotten streams are never added again), so a fingerprint that is the same at
// two versions was the same at all between. A live stream that is not one range from 1 is told in
// full, as is everything when a process starts and its predecessor's stream becomes rest.
#ifndef BB_HAVE_TELLER_H
#define BB_HAVE_TELLER_H

#include "protocol/bb_have_tails.h"

typedef struct bb_have_teller bb_have_teller_t;

bb_have_teller_t *bb_have_teller_new(uint32_t partition_count);
void bb_have_teller_destroy(bb_have_teller_t **self);

typedef struct {
    uint32_t partition;
    const bb_have_set_t *have; // as it is at `version` of the store
    uint64_t version, since_version;
    const bb_stream_t *live; // of the present processes of its replicas, at most
    uint32_t live_count;     // BB_HAVE_TAIL_STREAMS_MAX
} bb_have_telling_t;

// Fills what tells the set to somebody who knows it as of since_version; room for live_count.
// Returns their number; 0: it must be told in full.
uint32_t bb_have_teller_tails(bb_have_teller_t *self, const bb_have_telling_t *telling,
                              bb_have_tail_t *tails);

#endif
