// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_calendar.h"

#include "protocol/bb_time.h"

#define S_DAY_S 86400

static int64_t s_floor_div(int64_t number, int64_t by)
{
    return number / by - (number % by < 0);
}

// ---- civil dates -----------------------------------------------------------------------------
// The first moment (seconds UTC) that carries `day` (days since 1970-01-01) or a later date. Civil
// time is UTC plus an offset that is constant between two transitions, so the stretches around the
// date are looked at in order: in each, midnight of the date lies before, inside or behind it.
static int64_t s_day_start(const bb_zone_t *zone, int64_t day)
{
    int64_t civil_s = day * S_DAY_S;
    int64_t from_s = civil_s - 2 * S_DAY_S; // no offset is larger than that
    for (;;) {
        int64_t start_s = civil_s - bb_zone_offset_s(zone, from_s);
        int64_t limit_s = bb_zone_next_s(zone, from_s);
        if (start_s <= from_s) {
            return from_s; // the clock was put forward over midnight
        }
        if (start_s < limit_s) {
            return start_s;
        }
        from_s = limit_s;
    }
}

// First day of the civil bucket that holds the date.
static int64_t s_first_day(bb_every_t every, int64_t day)
{
    if (every == BB_EVERY_DAY) {
        return day;
    }
    if (every == BB_EVERY_WEEK) {
        return day - ((day + 3) % 7 + 7) % 7; // 1970-01-01 was a Thursday
    }
    bb_civil_t civil = bb_civil_of_wall_ns(day * BB_NS_PER_DAY);
    return bb_civil_days(civil.year, every == BB_EVERY_MONTH ? civil.month : 1, 1);
}

static int64_t s_next_first_day(bb_every_t every, int64_t first_day)
{
    // 32 and 366 days lie in the next month and year whatever their lengths.
    int64_t step = every == BB_EVERY_DAY ? 1 : every == BB_EVERY_WEEK ? 7 : 32;
    return s_first_day(every, first_day + (every == BB_EVERY_YEAR ? 366 : step));
}

// First day of the bucket that holds the moment.
static int64_t s_bucket_day(const bb_calendar_t *self, int64_t wall_s)
{
    int64_t civil_s = wall_s + bb_zone_offset_s(self->zone, wall_s);
    int64_t first = s_first_day(self->every, s_floor_div(civil_s, S_DAY_S));
    // When clocks go back over midnight a date comes twice; the second time it belongs to the
    // bucket that has begun already.
    for (int64_t next = s_next_first_day(self->every, first);
         s_day_start(self->zone, next) <= wall_s; next = s_next_first_day(self->every, first)) {
        first = next;
    }
    return first;
}

int64_t bb_calendar_start(const bb_calendar_t *self, int64_t wall_ns)
{
    BB_ASSERT(self);
    if (self->every == BB_EVERY_FIXED) {
        BB_ASSERT(self->every_ns >= 1);
        return s_floor_div(wall_ns, self->every_ns) * self->every_ns;
    }
    int64_t wall_s = s_floor_div(wall_ns, BB_NS_PER_S);
    int64_t start_s = s_day_start(self->zone, s_bucket_day(self, wall_s));
    BB_ASSERT(start_s <= wall_s);
    return start_s * BB_NS_PER_S;
}

int64_t bb_calendar_next(const bb_calendar_t *self, int64_t start_wall_ns)
{
    BB_ASSERT(self);
    if (self->every == BB_EVERY_FIXED) {
        return start_wall_ns + self->every_ns;
    }
    int64_t start_s = s_floor_div(start_wall_ns, BB_NS_PER_S);
    int64_t day = s_bucket_day(self, start_s);
    int64_t next_s = start_s;
    while (next_s <= start_s) { // more than once where a zone skipped a date
        day = s_next_first_day(self->every, day);
        next_s = s_day_start(self->zone, day);
    }
    return next_s * BB_NS_PER_S;
}

const char *bb_every_name(bb_every_t every)
{
    switch (every) {
    case BB_EVERY_FIXED:
        return "";
    case BB_EVERY_DAY:
        return "day";
    case BB_EVERY_WEEK:
        return "week";
    case BB_EVERY_MONTH:
        return "month";
    case BB_EVERY_YEAR:
        return "year";
    }
    return "";
}
