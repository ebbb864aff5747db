// SPDX-License-Identifier: Apache-2.0
// bb_time - times and durations as people and files write them, to nanoseconds and back.
//
// Pure: `now` is an argument. All results are UTC nanoseconds since the Unix epoch, exact; nothing
// is rounded. The proleptic Gregorian calendar is used; there are no leap seconds, so second 60 is
// refused. The calendar arithmetic is that of Howard Hinnant, "chrono-Compatible Low-Level Date
// Algorithms" (2013).
//
// Errors of every parser: BB_ERR_SYNTAX when the text is not of the form, BB_ERR_TIME_RANGE when
// it is but does not fit 64 bits of nanoseconds (years 1677 to 2262); `fault` (may be NULL) gets a
// sentence that quotes the text. Results are written on success only.
#ifndef BB_TIME_H
#define BB_TIME_H

#include "protocol/bb_error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_TIME_TEXT_BYTES     40 // longest formatted time, with its terminator
#define BB_DURATION_TEXT_BYTES 64 // longest formatted duration, with its terminator

// A date and a time of day, no zone.
typedef struct {
    int32_t year;        // any
    uint32_t month;      // [1, 12]
    uint32_t day;        // [1, 31]
    uint32_t hour;       // [0, 23]
    uint32_t minute;     // [0, 59]
    uint32_t second;     // [0, 59]
    uint32_t nanosecond; // [0, 999999999]
} bb_civil_t;

// Days of the month; 0 when `month` is not in [1, 12].
uint32_t bb_civil_month_days(int32_t year, uint32_t month);
// Days since 1970-01-01 of a valid date, and back.
int64_t bb_civil_days(int32_t year, uint32_t month, uint32_t day);
bb_civil_t bb_civil_of_wall_ns(int64_t wall_ns);
// Checks every field and converts. `offset_s` is how far the civil time is ahead of UTC.
BB_MUST_CHECK bb_error_t bb_civil_to_wall_ns(const bb_civil_t *self, int32_t offset_s,
                                             int64_t *wall_ns, bb_fault_t *fault);

// RFC 3339 and what files make of it: "2026-01-01T00:00:00Z", "2026-01-01t00:00:00.5+01:00",
// "2013-01-01 00:30:00", "2013-01-01 00:30", "2013-01-01". Without a zone it is UTC. Fraction
// digits past the ninth must be zero.
BB_MUST_CHECK bb_error_t bb_time_parse_rfc3339(bb_slice_t text, int64_t *wall_ns,
                                               bb_fault_t *fault);
// The same, but a text without a zone is `offset_s` seconds ahead of UTC.
BB_MUST_CHECK bb_error_t bb_time_parse_zoned(bb_slice_t text, int32_t offset_s, int64_t *wall_ns,
                                             bb_fault_t *fault);
// "1700000000", "-5", "1700000000.25" in units of `unit_ns` (1, 1e3, 1e6 or 1e9). A fraction must
// come out as whole nanoseconds.
BB_MUST_CHECK bb_error_t bb_time_parse_epoch(bb_slice_t text, int64_t unit_ns, int64_t *wall_ns,
                                             bb_fault_t *fault);
// Any of: RFC 3339; a number since the epoch, in `unit_ns` or with its unit ("1700000000s",
// "1700000000000ms"); "now", "now-1d", "now+5m", "-1h" relative to `now_wall_ns`.
BB_MUST_CHECK bb_error_t bb_time_parse(bb_slice_t text, int64_t unit_ns, int64_t now_wall_ns,
                                       int64_t *wall_ns, bb_fault_t *fault);

// RFC 3339 UTC with as many fraction digits as needed: "2026-01-01T00:00:00Z",
// "2026-01-01T00:00:00.5Z". Returns the length.
size_t bb_time_format(int64_t wall_ns, char out[BB_TIME_TEXT_BYTES]);

// "ns", "us", "ms", "s", "m" (minute), "h", "d", "w"; 0 when there is no such unit.
int64_t bb_duration_unit_ns(bb_slice_t name);
// "90s", "1h30m", "1.5h", "250ms", "0". Units descend. Never negative.
BB_MUST_CHECK bb_error_t bb_duration_parse(bb_slice_t text, int64_t *duration_ns,
                                           bb_fault_t *fault);
// The shortest sum of units that parses back: "1h30m", "1s500ms", "0s". duration_ns >= 0.
size_t bb_duration_format(int64_t duration_ns, char out[BB_DURATION_TEXT_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
