// SPDX-License-Identifier: Apache-2.0
// bb_peer_cache - decoded columns that others of their block are predicted from, one cache a
// thread.
//
// Private to bb_run_reader.c. A scan goes through a battery metric by metric, and several metrics
// are predicted from the same one or two, so without this those would be decoded again for each.
// What is in here belongs to the thread and goes with it; it is found by the address, length and
// checksum of the encoded block, so it is never that of another one. Who decodes a peer adds it up
// as well, for when the scan comes to that column: then it need not be decoded a second time.
#ifndef BB_PEER_CACHE_H
#define BB_PEER_CACHE_H

#include "protocol/bb_base.h"
#include "protocol/bb_limits.h"
#include "storage/encoding/bb_encoding.h"

#define BB_PEER_CACHE_ENTRIES 64u // of 8 KiB, which are touched when they are first used

typedef struct {
    const void *data; // NULL: the words are not valid
    uint32_t length, checksum, row_count;
    uint32_t column_index, block_index;
    bool has_totals; // not asked for yet
    bb_encoding_totals_t totals;
    uint64_t words[BB_BLOCK_ROWS_MAX];
} bb_peer_entry_t;

// The entry where a block belongs that is the block_index-th of its column; the caller compares
// and, if it is another one, fills it. NULL: no memory can be had for it.
bb_peer_entry_t *bb_peer_cache_entry(uint32_t column_index, uint32_t block_index);

#endif
