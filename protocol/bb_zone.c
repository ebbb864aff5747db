// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_zone.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_limits.h"
#include "protocol/bb_time.h"

#define S_HEADER_BYTES 44u
#define S_DAY_S        86400
// No zone was ever further from UTC; a file that says so is not trusted.
#define S_OFFSET_S_MAX (26 * 3600)

// One end of summer time in a footer.
typedef enum { S_JULIAN, S_DAY_OF_YEAR, S_MONTH_WEEK_DAY } s_rule_kind_t;
typedef struct {
    s_rule_kind_t kind;
    int32_t day;         // JULIAN: [1, 365], 29 February is not counted; else [0, 365] or weekday
    int32_t month, week; // week 5 = the last
    int32_t time_s;      // after midnight, may be negative or beyond the day
} s_rule_t;

struct bb_zone {
    uint32_t count;
    int64_t *times_s;   // transitions, ascending
    int32_t *offsets_s; // from then on
    int32_t first_offset_s;
    bool has_footer, has_summer;
    int32_t standard_s, summer_s;
    s_rule_t begin, end;
};

// ---- the footer ------------------------------------------------------------------------------
typedef struct {
    const char *at, *limit;
    bool is_bad;
} s_text_t;

static bool s_take(s_text_t *text, char c)
{
    bool is_there = text->at < text->limit && *text->at == c;
    text->at += is_there;
    return is_there;
}

static int32_t s_number(s_text_t *text, int32_t max)
{
    int32_t number = 0;
    const char *start = text->at;
    while (text->at < text->limit && *text->at >= '0' && *text->at <= '9' && number <= max) {
        number = number * 10 + (*text->at++ - '0');
    }
    text->is_bad |= text->at == start || number > max;
    return number;
}

// [+-]hh[:mm[:ss]] in seconds.
static int32_t s_clock(s_text_t *text, int32_t hours_max)
{
    int32_t sign = 1;
    if (s_take(text, '-')) {
        sign = -1;
    } else {
        (void)s_take(text, '+');
    }
    int32_t seconds = s_number(text, hours_max) * 3600;
    if (s_take(text, ':')) {
        seconds += s_number(text, 59) * 60;
        if (s_take(text, ':')) {
            seconds += s_number(text, 59);
        }
    }
    return sign * seconds;
}

static void s_name(s_text_t *text)
{
    const char *start = text->at;
    if (s_take(text, '<')) {
        while (text->at < text->limit && *text->at != '>') {
            text->at++;
        }
        text->is_bad |= !s_take(text, '>');
        return;
    }
    while (text->at < text->limit &&
           ((*text->at >= 'a' && *text->at <= 'z') || (*text->at >= 'A' && *text->at <= 'Z'))) {
        text->at++;
    }
    text->is_bad |= text->at - start < 3;
}

static s_rule_t s_rule(s_text_t *text)
{
    s_rule_t rule = {.time_s = 2 * 3600};
    text->is_bad |= !s_take(text, ',');
    if (s_take(text, 'M')) {
        rule.kind = S_MONTH_WEEK_DAY;
        rule.month = s_number(text, 12);
        text->is_bad |= rule.month < 1 || !s_take(text, '.');
        rule.week = s_number(text, 5);
        text->is_bad |= rule.week < 1 || !s_take(text, '.');
        rule.day = s_number(text, 6);
    } else if (s_take(text, 'J')) {
        rule.kind = S_JULIAN;
        rule.day = s_number(text, 365);
        text->is_bad |= rule.day < 1;
    } else {
        rule.kind = S_DAY_OF_YEAR;
        rule.day = s_number(text, 365);
    }
    if (s_take(text, '/')) {
        rule.time_s = s_clock(text, 167);
    }
    return rule;
}

// std offset [dst [offset] , rule , rule]; offsets are west of UTC there.
static bool s_footer(bb_zone_t *self, const char *at, size_t length)
{
    s_text_t text = {at, at + length, false};
    s_name(&text);
    self->standard_s = -s_clock(&text, 24);
    if (text.at < text.limit && !text.is_bad) {
        s_name(&text);
        self->summer_s = self->standard_s + 3600;
        if (text.at < text.limit && *text.at != ',') {
            self->summer_s = -s_clock(&text, 24);
        }
        self->begin = s_rule(&text);
        self->end = s_rule(&text);
        self->has_summer = true;
    }
    self->has_footer = true;
    return !text.is_bad && text.at == text.limit;
}

// Civil seconds since the epoch at which the rule strikes in a year.
static int64_t s_strike(const s_rule_t *rule, int32_t year)
{
    int64_t january = bb_civil_days(year, 1, 1);
    int64_t day = january + rule->day;
    bool is_leap = bb_civil_month_days(year, 2) == 29;
    if (rule->kind == S_JULIAN) {
        day = january + rule->day - 1 + (is_leap && rule->day >= 60);
    } else if (rule->kind == S_MONTH_WEEK_DAY) {
        int64_t first = bb_civil_days(year, (uint32_t)rule->month, 1);
        int64_t weekday = ((first + 4) % 7 + 7) % 7; // 1970-01-01 was a Thursday
        day = first + (rule->day - weekday + 7) % 7 + (rule->week - 1) * 7;
        while (day >= first + bb_civil_month_days(year, (uint32_t)rule->month)) {
            day -= 7;
        }
    }
    return day * S_DAY_S + rule->time_s;
}

static int32_t s_year_of(int64_t civil_s)
{
    int64_t days = civil_s / S_DAY_S - (civil_s % S_DAY_S < 0);
    int32_t year = (int32_t)(1970 + days / 366);
    while (bb_civil_days(year + 1, 1, 1) <= days) {
        year++;
    }
    while (bb_civil_days(year, 1, 1) > days) {
        year--;
    }
    return year;
}

static int32_t s_footer_offset(const bb_zone_t *self, int64_t utc_s)
{
    if (!self->has_summer) {
        return self->standard_s;
    }
    int32_t year = s_year_of(utc_s + self->standard_s);
    int64_t begin_s = s_strike(&self->begin, year) - self->standard_s;
    int64_t end_s = s_strike(&self->end, year) - self->summer_s;
    bool is_summer =
        begin_s < end_s ? utc_s >= begin_s && utc_s < end_s : !(utc_s >= end_s && utc_s < begin_s);
    return is_summer ? self->summer_s : self->standard_s;
}

// ---- the file --------------------------------------------------------------------------------
static uint32_t s_u32(const uint8_t *at)
{
    uint32_t big;
    memcpy(&big, at, sizeof big);
    return __builtin_bswap32(big);
}

static int64_t s_i64(const uint8_t *at)
{
    uint64_t big;
    memcpy(&big, at, sizeof big);
    return (int64_t)__builtin_bswap64(big);
}

// Counts of a header, in the order of the file.
typedef struct {
    uint32_t is_utc, is_standard, leaps, times, types, chars;
} s_counts_t;

static bool s_header(bb_slice_t bytes, size_t at, s_counts_t *counts)
{
    const uint8_t *header = (const uint8_t *)bytes.data + at;
    if (bytes.length - at < S_HEADER_BYTES || memcmp(header, "TZif", 4) != 0 || header[4] < '2') {
        return false;
    }
    uint32_t numbers[6];
    for (uint32_t i = 0; i < 6; i++) {
        numbers[i] = s_u32(header + 20 + 4 * i);
        if (numbers[i] > BB_ZONE_FILE_BYTES_MAX) {
            return false;
        }
    }
    *counts = (s_counts_t){numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]};
    return counts->types > 0;
}

static size_t s_body_bytes(const s_counts_t *counts, size_t time_bytes)
{
    return counts->times * (time_bytes + 1) + counts->types * 6 + counts->chars +
           counts->leaps * (time_bytes + 4) + counts->is_standard + counts->is_utc;
}

static bool s_types(bb_zone_t *self, const uint8_t *body, const s_counts_t *counts)
{
    const uint8_t *indexes = body + (size_t)counts->times * 8;
    const uint8_t *types = indexes + counts->times;
    self->first_offset_s = (int32_t)s_u32(types);
    bool is_good =
        self->first_offset_s >= -S_OFFSET_S_MAX && self->first_offset_s <= S_OFFSET_S_MAX;
    for (uint32_t i = 0; i < counts->times && is_good; i++) {
        self->times_s[i] = s_i64(body + (size_t)i * 8);
        is_good = indexes[i] < counts->types && (i == 0 || self->times_s[i] > self->times_s[i - 1]);
        if (is_good) {
            self->offsets_s[i] = (int32_t)s_u32(types + (size_t)indexes[i] * 6);
            is_good = self->offsets_s[i] >= -S_OFFSET_S_MAX && self->offsets_s[i] <= S_OFFSET_S_MAX;
        }
    }
    self->count = counts->times;
    return is_good;
}

static const char *s_decode(bb_zone_t *self, bb_slice_t bytes)
{
    s_counts_t counts;
    if (bytes.length > BB_ZONE_FILE_BYTES_MAX) {
        return "too large";
    }
    if (!s_header(bytes, 0, &counts)) {
        return "no TZif file of version 2 or above";
    }
    size_t second = S_HEADER_BYTES + s_body_bytes(&counts, 4); // the first block has 32-bit times
    if (second > bytes.length || !s_header(bytes, second, &counts)) {
        return "its second header is damaged";
    }
    size_t body = second + S_HEADER_BYTES;
    size_t footer = body + s_body_bytes(&counts, 8);
    if (footer > bytes.length) {
        return "cut short";
    }
    if (counts.leaps > 0) {
        return "it counts leap seconds";
    }
    self->times_s = bb_alloc(BB_MAX(counts.times, 1u) * sizeof *self->times_s);
    self->offsets_s = bb_alloc(BB_MAX(counts.times, 1u) * sizeof *self->offsets_s);
    if (!s_types(self, (const uint8_t *)bytes.data + body, &counts)) {
        return "its transitions are damaged";
    }
    const char *text = (const char *)bytes.data + footer;
    size_t length = bytes.length - footer;
    const char *end = length >= 2 && text[0] == '\n' ? memchr(text + 1, '\n', length - 1) : NULL;
    if (!end || (end > text + 1 && !s_footer(self, text + 1, (size_t)(end - text - 1)))) {
        return "its footer is damaged";
    }
    return NULL;
}

bb_error_t bb_zone_decode(bb_slice_t bytes, bb_zone_t **zone, bb_fault_t *fault)
{
    BB_ASSERT(zone);
    bb_zone_t *self = bb_alloc_zero(1, sizeof *self);
    const char *problem = s_decode(self, bytes);
    if (problem) {
        bb_zone_destroy(&self);
        return bb_fault_set(fault, BB_ERR_FORMAT, "a time zone of %zu bytes: %s", bytes.length,
                            problem);
    }
    *zone = self;
    return BB_OK;
}

void bb_zone_destroy(bb_zone_t **self)
{
    BB_ASSERT(self);
    if (*self) {
        free((*self)->times_s);
        free((*self)->offsets_s);
        free(*self);
        *self = NULL;
    }
}

// How many transitions are at or before `utc_s`.
static uint32_t s_passed(const bb_zone_t *self, int64_t utc_s)
{
    uint32_t first = 0;
    uint32_t limit = self->count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (self->times_s[middle] <= utc_s) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

int32_t bb_zone_offset_s(const bb_zone_t *self, int64_t utc_s)
{
    if (!self) {
        return 0;
    }
    uint32_t passed = s_passed(self, utc_s);
    if (passed == self->count && self->has_footer) {
        return s_footer_offset(self, utc_s);
    }
    return passed == 0 ? self->first_offset_s : self->offsets_s[passed - 1];
}

int64_t bb_zone_next_s(const bb_zone_t *self, int64_t utc_s)
{
    if (!self) {
        return INT64_MAX;
    }
    uint32_t passed = s_passed(self, utc_s);
    if (passed < self->count) {
        return self->times_s[passed];
    }
    int64_t next_s = INT64_MAX;
    int32_t year = self->has_summer ? s_year_of(utc_s) : 0;
    for (int32_t y = year - 1; self->has_summer && y <= year + 2; y++) {
        const int64_t both[2] = {s_strike(&self->begin, y) - self->standard_s,
                                 s_strike(&self->end, y) - self->summer_s};
        for (uint32_t i = 0; i < 2; i++) {
            next_s = both[i] > utc_s && both[i] < next_s ? both[i] : next_s;
        }
    }
    return next_s;
}
