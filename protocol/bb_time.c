// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_time.h"

#include <stdio.h>
#include <string.h>

// Wide enough for any year of four digits in nanoseconds, so that only the result is checked.
typedef __int128 s_wide_t;

typedef struct {
    const char *at;
    const char *end;
    bb_slice_t text; // the whole of it, for faults
    bb_fault_t *fault;
} s_reader_t;

static s_reader_t s_reader(bb_slice_t text, bb_fault_t *fault)
{
    const char *bytes = text.length ? text.data : "";
    return (s_reader_t){.at = bytes, .end = bytes + text.length, .text = text, .fault = fault};
}

static bb_error_t s_fail(const s_reader_t *reader, bb_error_t error, const char *rule)
{
    int shown = (int)BB_MIN(reader->text.length, (size_t)64);
    return bb_fault_set(reader->fault, error, "'%.*s': %s", shown,
                        reader->text.length ? (const char *)reader->text.data : "", rule);
}

static bool s_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool s_is_end(const s_reader_t *reader)
{
    return reader->at == reader->end;
}

static bool s_take(s_reader_t *reader, const char *any_of)
{
    if (s_is_end(reader) || *reader->at == '\0' || !strchr(any_of, *reader->at)) {
        return false;
    }
    reader->at++;
    return true;
}

static bool s_take_digits(s_reader_t *reader, uint32_t count, uint32_t *out)
{
    uint32_t number = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (s_is_end(reader) || !s_is_digit(*reader->at)) {
            return false;
        }
        number = number * 10 + (uint32_t)(*reader->at++ - '0');
    }
    *out = number;
    return true;
}

static bb_error_t s_narrow(const s_reader_t *reader, s_wide_t wide, int64_t *out)
{
    if (wide < INT64_MIN || wide > INT64_MAX) {
        return s_fail(reader, BB_ERR_TIME_RANGE, "does not fit 64 bits of nanoseconds");
    }
    *out = (int64_t)wide;
    return BB_OK;
}

// ---- the calendar ----

uint32_t bb_civil_month_days(int32_t year, uint32_t month)
{
    static const uint8_t days[13] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (month < 1 || month > 12) {
        return 0;
    }
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month];
}

// Years begin in March here, so that the leap day is the last one; an era is 400 years.
int64_t bb_civil_days(int32_t year, uint32_t month, uint32_t day)
{
    int64_t y = (int64_t)year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

bb_civil_t bb_civil_of_wall_ns(int64_t wall_ns)
{
    int64_t days = wall_ns / BB_NS_PER_DAY;
    int64_t rest = wall_ns % BB_NS_PER_DAY;
    if (rest < 0) {
        rest += BB_NS_PER_DAY;
        days--;
    }
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    uint32_t month =
        (uint32_t)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    return (bb_civil_t){
        .year = (int32_t)(year_of_era + era * 400 + (month <= 2)),
        .month = month,
        .day = (uint32_t)(day_of_year - (153 * month_from_march + 2) / 5 + 1),
        .hour = (uint32_t)(rest / (3600 * BB_NS_PER_S)),
        .minute = (uint32_t)(rest / (60 * BB_NS_PER_S) % 60),
        .second = (uint32_t)(rest / BB_NS_PER_S % 60),
        .nanosecond = (uint32_t)(rest % BB_NS_PER_S),
    };
}

static bb_error_t s_civil_to_wall(const s_reader_t *reader, const bb_civil_t *self,
                                  int32_t offset_s, int64_t *wall_ns)
{
    if (self->month < 1 || self->month > 12) {
        return s_fail(reader, BB_ERR_SYNTAX, "the month must be 1 to 12");
    }
    if (self->day < 1 || self->day > bb_civil_month_days(self->year, self->month)) {
        return s_fail(reader, BB_ERR_SYNTAX, "the month has no such day");
    }
    if (self->hour > 23 || self->minute > 59 || self->second > 59 || self->nanosecond > 999999999) {
        return s_fail(reader, BB_ERR_SYNTAX,
                      "the time of day must be 00:00:00 to 23:59:59 (no leap seconds)");
    }
    s_wide_t seconds = (s_wide_t)bb_civil_days(self->year, self->month, self->day) * 86400 +
                       self->hour * 3600 + self->minute * 60 + self->second - offset_s;
    return s_narrow(reader, seconds * BB_NS_PER_S + self->nanosecond, wall_ns);
}

bb_error_t bb_civil_to_wall_ns(const bb_civil_t *self, int32_t offset_s, int64_t *wall_ns,
                               bb_fault_t *fault)
{
    BB_ASSERT(self);
    BB_ASSERT(wall_ns);
    char text[96];
    int length = snprintf(text, sizeof text, "%d-%u-%u %u:%u:%u", self->year, self->month,
                          self->day, self->hour, self->minute, self->second);
    s_reader_t reader = s_reader(bb_slice(text, (size_t)length), fault);
    return s_civil_to_wall(&reader, self, offset_s, wall_ns);
}

// ---- RFC 3339 ----

static bb_error_t s_read_fraction(s_reader_t *reader, uint32_t *nanosecond)
{
    uint32_t scale = 100000000;
    uint32_t digits = 0;
    uint32_t total = 0;
    for (; !s_is_end(reader) && s_is_digit(*reader->at); reader->at++, digits++) {
        uint32_t digit = (uint32_t)(*reader->at - '0');
        if (scale == 0 && digit != 0) {
            return s_fail(reader, BB_ERR_SYNTAX, "is finer than a nanosecond");
        }
        total += digit * scale;
        scale /= 10;
    }
    if (digits == 0) {
        return s_fail(reader, BB_ERR_SYNTAX, "no digit after the decimal point");
    }
    *nanosecond = total;
    return BB_OK;
}

static bb_error_t s_read_zone(s_reader_t *reader, int32_t *offset_s)
{
    if (s_is_end(reader)) {
        return BB_OK; // the caller's default stays
    }
    if (s_take(reader, "Zz")) {
        *offset_s = 0;
        return BB_OK;
    }
    bool negative = *reader->at == '-';
    uint32_t hours = 0;
    uint32_t minutes = 0;
    if (!s_take(reader, "+-") || !s_take_digits(reader, 2, &hours) || !s_take(reader, ":") ||
        !s_take_digits(reader, 2, &minutes) || hours > 23 || minutes > 59) {
        return s_fail(reader, BB_ERR_SYNTAX, "a zone is Z, +HH:MM or -HH:MM");
    }
    *offset_s = (int32_t)(hours * 3600 + minutes * 60) * (negative ? -1 : 1);
    return BB_OK;
}

static bb_error_t s_read_time_of_day(s_reader_t *reader, bb_civil_t *civil)
{
    if (!s_take_digits(reader, 2, &civil->hour) || !s_take(reader, ":") ||
        !s_take_digits(reader, 2, &civil->minute)) {
        return s_fail(reader, BB_ERR_SYNTAX, "a time of day is HH:MM:SS");
    }
    if (!s_take(reader, ":")) {
        return BB_OK; // HH:MM
    }
    if (!s_take_digits(reader, 2, &civil->second)) {
        return s_fail(reader, BB_ERR_SYNTAX, "a time of day is HH:MM:SS");
    }
    return s_take(reader, ".") ? s_read_fraction(reader, &civil->nanosecond) : BB_OK;
}

bb_error_t bb_time_parse_zoned(bb_slice_t text, int32_t offset_s, int64_t *wall_ns,
                               bb_fault_t *fault)
{
    BB_ASSERT(wall_ns);
    s_reader_t reader = s_reader(text, fault);
    bb_civil_t civil = {0};
    uint32_t year = 0;
    if (!s_take_digits(&reader, 4, &year) || !s_take(&reader, "-") ||
        !s_take_digits(&reader, 2, &civil.month) || !s_take(&reader, "-") ||
        !s_take_digits(&reader, 2, &civil.day)) {
        return s_fail(&reader, BB_ERR_SYNTAX, "a time begins with YYYY-MM-DD");
    }
    civil.year = (int32_t)year;
    if (!s_is_end(&reader)) {
        if (!s_take(&reader, "Tt ")) {
            return s_fail(&reader, BB_ERR_SYNTAX, "T or a space goes between date and time");
        }
        bb_error_t error = s_read_time_of_day(&reader, &civil);
        if (error == BB_OK) {
            error = s_read_zone(&reader, &offset_s);
        }
        if (error != BB_OK) {
            return error;
        }
        if (!s_is_end(&reader)) {
            return s_fail(&reader, BB_ERR_SYNTAX, "something follows the time");
        }
    }
    return s_civil_to_wall(&reader, &civil, offset_s, wall_ns);
}

bb_error_t bb_time_parse_rfc3339(bb_slice_t text, int64_t *wall_ns, bb_fault_t *fault)
{
    return bb_time_parse_zoned(text, 0, wall_ns, fault);
}

// ---- numbers with units ----

// A decimal number, kept exact: `digits` x 10^-`scale`.
typedef struct {
    s_wide_t digits;
    uint32_t scale;
} s_decimal_t;

static bb_error_t s_read_decimal(s_reader_t *reader, s_decimal_t *out)
{
    const s_wide_t digits_max = (s_wide_t)INT64_MAX * 1000000000; // room for nine decimals
    s_decimal_t decimal = {0, 0};
    uint32_t digit_count = 0;
    bool fraction = false;
    for (; !s_is_end(reader); reader->at++) {
        if (*reader->at == '.' && !fraction && digit_count > 0) {
            fraction = true;
            continue;
        }
        if (!s_is_digit(*reader->at)) {
            break;
        }
        digit_count++;
        decimal.digits = decimal.digits * 10 + (*reader->at - '0');
        decimal.scale += fraction;
        if (decimal.digits > digits_max || decimal.scale > 18) {
            return s_fail(reader, BB_ERR_TIME_RANGE, "the number has too many digits");
        }
    }
    if (digit_count == 0 || reader->at[-1] == '.') {
        return s_fail(reader, BB_ERR_SYNTAX, "a number is expected");
    }
    *out = decimal;
    return BB_OK;
}

// Multiplies before it divides, so that 1.5h is exact; the product is checked in 128 bits.
static bb_error_t s_scale(const s_reader_t *reader, s_decimal_t decimal, int64_t unit_ns,
                          int64_t *out)
{
    while (decimal.scale > 0 && decimal.digits % 10 == 0) {
        decimal.digits /= 10;
        decimal.scale--;
    }
    s_wide_t divisor = 1;
    for (uint32_t i = 0; i < decimal.scale; i++) {
        divisor *= 10;
    }
    s_wide_t product;
    if (__builtin_mul_overflow(decimal.digits, (s_wide_t)unit_ns, &product)) {
        return s_fail(reader, BB_ERR_TIME_RANGE, "does not fit 64 bits of nanoseconds");
    }
    if (product % divisor != 0) {
        return s_fail(reader, BB_ERR_SYNTAX, "is not a whole number of nanoseconds");
    }
    return s_narrow(reader, product / divisor, out);
}

static const struct {
    const char *name;
    int64_t ns;
} s_units[] = {
    {"w", 7 * BB_NS_PER_DAY},  {"d", BB_NS_PER_DAY},
    {"h", 3600 * BB_NS_PER_S}, {"m", 60 * BB_NS_PER_S},
    {"s", BB_NS_PER_S},        {"ms", BB_NS_PER_MS},
    {"us", BB_NS_PER_US},      {"ns", 1},
};

int64_t bb_duration_unit_ns(bb_slice_t name)
{
    for (size_t i = 0; i < BB_COUNT_OF(s_units); i++) {
        if (name.length == strlen(s_units[i].name) &&
            memcmp(name.data, s_units[i].name, name.length) == 0) {
            return s_units[i].ns;
        }
    }
    return 0;
}

static int64_t s_read_unit(s_reader_t *reader)
{
    const char *start = reader->at;
    while (!s_is_end(reader) && *reader->at >= 'a' && *reader->at <= 'z') {
        reader->at++;
    }
    return bb_duration_unit_ns(bb_slice(start, (size_t)(reader->at - start)));
}

static bb_error_t s_read_duration(s_reader_t *reader, int64_t *duration_ns)
{
    int64_t total_ns = 0;
    int64_t unit_before_ns = INT64_MAX;
    do {
        s_decimal_t decimal;
        int64_t part_ns = 0;
        bb_error_t error = s_read_decimal(reader, &decimal);
        if (error != BB_OK) {
            return error;
        }
        int64_t unit_ns = s_read_unit(reader);
        if (unit_ns == 0) {
            return s_fail(reader, BB_ERR_SYNTAX,
                          "a number needs a unit: ns, us, ms, s, m, h, d or w");
        }
        if (unit_ns >= unit_before_ns) {
            return s_fail(reader, BB_ERR_SYNTAX, "units must go from large to small");
        }
        unit_before_ns = unit_ns;
        error = s_scale(reader, decimal, unit_ns, &part_ns);
        if (error != BB_OK) {
            return error;
        }
        if (__builtin_add_overflow(total_ns, part_ns, &total_ns)) {
            return s_fail(reader, BB_ERR_TIME_RANGE, "does not fit 64 bits of nanoseconds");
        }
    } while (!s_is_end(reader));
    *duration_ns = total_ns;
    return BB_OK;
}

bb_error_t bb_duration_parse(bb_slice_t text, int64_t *duration_ns, bb_fault_t *fault)
{
    BB_ASSERT(duration_ns);
    s_reader_t reader = s_reader(text, fault);
    if (text.length == 1 && *reader.at == '0') {
        *duration_ns = 0;
        return BB_OK;
    }
    return s_read_duration(&reader, duration_ns);
}

size_t bb_duration_format(int64_t duration_ns, char out[BB_DURATION_TEXT_BYTES])
{
    BB_ASSERT(duration_ns >= 0);
    size_t length = 0;
    for (size_t i = 0; i < BB_COUNT_OF(s_units); i++) {
        int64_t count = duration_ns / s_units[i].ns;
        duration_ns %= s_units[i].ns;
        if (count > 0) {
            length += (size_t)snprintf(out + length, BB_DURATION_TEXT_BYTES - length, "%lld%s",
                                       (long long)count, s_units[i].name);
        }
    }
    if (length == 0) {
        length = (size_t)snprintf(out, BB_DURATION_TEXT_BYTES, "0s");
    }
    BB_ASSERT(length < BB_DURATION_TEXT_BYTES);
    return length;
}

// ---- epoch and relative ----

#define S_TIME_FORMS "a time is RFC 3339, a number with ns, us, ms or s, or now-1h"

// A number, its unit (given or `unit_ns`) and nothing behind it.
static bb_error_t s_read_epoch(s_reader_t *reader, int64_t unit_ns, bool may_name_unit,
                               int64_t *wall_ns)
{
    bool negative = s_take(reader, "-");
    s_decimal_t decimal;
    bb_error_t error = s_read_decimal(reader, &decimal);
    if (error != BB_OK) {
        return may_name_unit && error == BB_ERR_SYNTAX ? s_fail(reader, error, S_TIME_FORMS)
                                                       : error;
    }
    if (may_name_unit && !s_is_end(reader)) {
        unit_ns = s_read_unit(reader);
        if (unit_ns == 0 || unit_ns > BB_NS_PER_S) {
            return s_fail(reader, BB_ERR_SYNTAX, S_TIME_FORMS);
        }
    }
    if (!s_is_end(reader)) {
        return s_fail(reader, BB_ERR_SYNTAX, "something follows the number");
    }
    decimal.digits = negative ? -decimal.digits : decimal.digits;
    return s_scale(reader, decimal, unit_ns, wall_ns);
}

bb_error_t bb_time_parse_epoch(bb_slice_t text, int64_t unit_ns, int64_t *wall_ns,
                               bb_fault_t *fault)
{
    BB_ASSERT(unit_ns >= 1 && unit_ns <= BB_NS_PER_S);
    BB_ASSERT(wall_ns);
    s_reader_t reader = s_reader(text, fault);
    return s_read_epoch(&reader, unit_ns, false, wall_ns);
}

static bb_error_t s_read_relative(s_reader_t *reader, int64_t now_wall_ns, int64_t *wall_ns)
{
    bool negative = *reader->at == '-';
    if (!s_take(reader, "+-")) {
        return s_fail(reader, BB_ERR_SYNTAX, "only + or - and a duration may follow now");
    }
    int64_t duration_ns = 0;
    bb_error_t error = s_read_duration(reader, &duration_ns);
    if (error != BB_OK) {
        return error;
    }
    s_wide_t wide = (s_wide_t)now_wall_ns + (negative ? -(s_wide_t)duration_ns : duration_ns);
    return s_narrow(reader, wide, wall_ns);
}

bb_error_t bb_time_parse(bb_slice_t text, int64_t unit_ns, int64_t now_wall_ns, int64_t *wall_ns,
                         bb_fault_t *fault)
{
    BB_ASSERT(unit_ns >= 1 && unit_ns <= BB_NS_PER_S);
    BB_ASSERT(wall_ns);
    s_reader_t reader = s_reader(text, fault);
    if (text.length == 0) {
        return s_fail(&reader, BB_ERR_SYNTAX, "the time is empty");
    }
    if (text.length >= 3 && memcmp(reader.at, "now", 3) == 0) {
        reader.at += 3;
        if (s_is_end(&reader)) {
            *wall_ns = now_wall_ns;
            return BB_OK;
        }
        return s_read_relative(&reader, now_wall_ns, wall_ns);
    }
    char last = reader.end[-1];
    if ((*reader.at == '-' || *reader.at == '+') && last >= 'a' && last <= 'z') {
        return s_read_relative(&reader, now_wall_ns, wall_ns); // "-1h"; "-5" is a number
    }
    if (text.length >= 5 && reader.at[4] == '-') {
        return bb_time_parse_rfc3339(text, wall_ns, fault);
    }
    return s_read_epoch(&reader, unit_ns, true, wall_ns);
}

size_t bb_time_format(int64_t wall_ns, char out[BB_TIME_TEXT_BYTES])
{
    bb_civil_t civil = bb_civil_of_wall_ns(wall_ns);
    int length = snprintf(out, BB_TIME_TEXT_BYTES, "%04d-%02u-%02uT%02u:%02u:%02u", civil.year,
                          civil.month, civil.day, civil.hour, civil.minute, civil.second);
    if (civil.nanosecond > 0) {
        length +=
            snprintf(out + length, BB_TIME_TEXT_BYTES - (size_t)length, ".%09u", civil.nanosecond);
        while (out[length - 1] == '0') {
            length--;
        }
    }
    out[length++] = 'Z';
    out[length] = '\0';
    BB_ASSERT(length < BB_TIME_TEXT_BYTES);
    return (size_t)length;
}
