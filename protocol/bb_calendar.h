// SPDX-License-Identifier: Apache-2.0
// bb_calendar - where buckets of time begin: every so many minutes, or days, weeks, months and
// years of a time zone.
//
// Pure. Buckets tile all of time without gap or overlap. A civil day begins at the first moment
// that carries its date, so that a day has 23 or 25 hours when the clocks change; a date that a
// zone skips has no moment and no bucket. Weeks begin on Monday (ISO 8601).
#ifndef BB_CALENDAR_H
#define BB_CALENDAR_H

#include "protocol/bb_zone.h"

#ifdef __cplusplus
extern "C" {
#endif

// Stable numbers, on the wire and on disk.
typedef enum {
    BB_EVERY_FIXED = 1, // every_ns, counted from the epoch
    BB_EVERY_DAY = 2,
    BB_EVERY_WEEK = 3,
    BB_EVERY_MONTH = 4,
    BB_EVERY_YEAR = 5,
} bb_every_t;

typedef struct {
    bb_every_t every;
    int64_t every_ns;      // FIXED: >= 1
    const bb_zone_t *zone; // NULL = UTC; not for FIXED
} bb_calendar_t;

// The start of the bucket that holds the moment: the largest start that is not after it. May be
// before 1970 when the zone is ahead of UTC.
int64_t bb_calendar_start(const bb_calendar_t *self, int64_t wall_ns);
// The start of the next bucket; `start_wall_ns` is a start.
int64_t bb_calendar_next(const bb_calendar_t *self, int64_t start_wall_ns);

const char *bb_every_name(bb_every_t every); // "day"; "" for FIXED

#ifdef __cplusplus
}
#endif
#endif
