// SPDX-License-Identifier: Apache-2.0
// bb_zone - how far a time zone is ahead of UTC at any moment, from a compiled zone file.
//
// Pure: takes the bytes of a TZif file (RFC 8536, versions 2 and above), as they lie in
// /usr/share/zoneinfo. Moments after the last transition of the file follow the rule in its footer
// (POSIX TZ), moments before the first one have the file's first local time type. Immutable once
// made, so any thread may read it. Leap seconds are not counted: files that have them are refused.
#ifndef BB_ZONE_H
#define BB_ZONE_H

#include "protocol/bb_error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bb_zone bb_zone_t;

// Takes any bytes. BB_ERR_FORMAT with a sentence: not such a file, or one with leap seconds.
BB_MUST_CHECK bb_error_t bb_zone_decode(bb_slice_t bytes, bb_zone_t **zone, bb_fault_t *fault);
void bb_zone_destroy(bb_zone_t **self);

// Seconds that civil time is ahead of UTC; NULL is UTC. O(log transitions).
int32_t bb_zone_offset_s(const bb_zone_t *self, int64_t utc_s);
// The first transition after `utc_s`, INT64_MAX when there is none within two years of it.
int64_t bb_zone_next_s(const bb_zone_t *self, int64_t utc_s);

#ifdef __cplusplus
}
#endif
#endif
