// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_number.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// Powers of ten that are exact doubles.
static const double s_powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static bool s_special_parse(const char *text, size_t length, double *number)
{
    bool negative = length > 0 && text[0] == '-';
    if (length > 0 && (text[0] == '-' || text[0] == '+')) {
        text++;
        length--;
    }
    double value;
    if (length == 3 && strncasecmp(text, "nan", 3) == 0) {
        value = NAN;
    } else if ((length == 3 && strncasecmp(text, "inf", 3) == 0) ||
               (length == 8 && strncasecmp(text, "infinity", 8) == 0)) {
        value = INFINITY;
    } else {
        return false;
    }
    *number = negative ? -value : value;
    return true;
}

// The exact but slow way, for long mantissas and large exponents.
static bool s_slow_parse(const char *text, size_t length, double *number)
{
    char copy[512];
    if (length >= sizeof copy) {
        return false;
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    char *end = NULL;
    errno = 0;
    double value = strtod(copy, &end);
    if (end != copy + length || !isfinite(value)) {
        return false;
    }
    *number = value;
    return true;
}

bool cli_double_parse(const char *text, size_t length, bool allow_special, double *number)
{
    size_t i = 0;
    bool negative = false;
    if (i < length && (text[i] == '-' || text[i] == '+')) {
        negative = text[i] == '-';
        i++;
    }
    uint64_t mantissa = 0;
    int64_t exponent = 0;
    size_t digit_count = 0;
    bool is_exact = true;
    bool after_point = false;
    for (; i < length; i++) {
        if (text[i] == '.' && !after_point) {
            after_point = true;
            continue;
        }
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';
        if (digit > 9) {
            break;
        }
        digit_count++;
        if (mantissa > (UINT64_MAX - 9) / 10) {
            is_exact = false; // keep checking the syntax
        } else {
            mantissa = mantissa * 10 + digit;
            exponent -= after_point;
        }
    }
    if (digit_count == 0) {
        return allow_special && s_special_parse(text, length, number);
    }
    if (i < length && (text[i] == 'e' || text[i] == 'E')) {
        i++;
        bool exponent_negative = i < length && text[i] == '-';
        if (i < length && (text[i] == '-' || text[i] == '+')) {
            i++;
        }
        int64_t written = 0;
        size_t first = i;
        for (; i < length && text[i] >= '0' && text[i] <= '9'; i++) {
            written = BB_MIN(written * 10 + (text[i] - '0'), 100000);
        }
        if (i == first) {
            return false;
        }
        exponent += exponent_negative ? -written : written;
    }
    if (i != length) {
        return false;
    }
    if (!is_exact || mantissa > (UINT64_C(1) << 53) || exponent < -22 || exponent > 22) {
        return s_slow_parse(text, length, number);
    }
    double value = (double)mantissa;
    value = exponent < 0 ? value / s_powers[-exponent] : value * s_powers[exponent];
    *number = negative ? -value : value;
    return true;
}

// ---- eight digits at a time ----

// Eight bytes as digits 0 to 9, the first one in the lowest byte; others are larger than 9.
static uint64_t s_load(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word ^ UINT64_C(0x3030303030303030);
}

// How many of the eight are digits before the first that is none.
static unsigned s_digit_count(uint64_t word)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    // 10 + 0x76 sets the high bit; nothing carries into the next byte.
    uint64_t others = (((word & ~high) + UINT64_C(0x7676767676767676)) | word) & high;
    return others ? (unsigned)__builtin_ctzll(others) / 8 : 8;
}

// The number that the first `count` (1 to 8) digits make: pairs, then fours, then all.
static uint64_t s_digits_join(uint64_t word, unsigned count)
{
    word <<= 64 - 8 * count;
    word = (word * 2561) >> 8;
    word = ((word & UINT64_C(0x00ff00ff00ff00ff)) * 6553601) >> 16;
    return ((word & UINT64_C(0x0000ffff0000ffff)) * UINT64_C(42949672960001)) >> 32;
}

size_t cli_decimal_read(const char *at, double *number)
{
    size_t sign = *at == '-';
    at += sign;
    uint64_t word = s_load(at);
    unsigned whole = s_digit_count(word);
    unsigned count = whole, point = 0;
    if (whole == 0) {
        return 0;
    }
    if (whole < 8 && at[whole] == '.') {
        uint64_t before = (UINT64_C(1) << (8 * whole)) - 1;
        word = (word & before) | (s_load(at + 1) & ~before); // the point is squeezed out
        count = s_digit_count(word);
        point = 1;
    }
    if (count == 8 && (at[8 + point] == '.' || (at[8 + point] >= '0' && at[8 + point] <= '9'))) {
        return 0; // it goes on
    }
    double value = (double)s_digits_join(word, count) / s_powers[count - whole];
    *number = sign ? -value : value;
    return sign + count + point;
}

size_t cli_digits_read(const char *at, uint64_t *number)
{
    uint64_t value = 0;
    size_t length = 0;
    unsigned count = 8;
    for (int i = 0; i < 3 && count == 8; i++) {
        uint64_t word = s_load(at + length);
        count = s_digit_count(word);
        if (length + count > 19) {
            return 0;
        }
        if (count > 0) {
            static const uint32_t powers[] = {1,      10,      100,      1000,     10000,
                                              100000, 1000000, 10000000, 100000000};
            value = value * powers[count] + s_digits_join(word, count);
        }
        length += count;
    }
    *number = value;
    return length;
}

bool cli_int64_parse(const char *text, size_t length, int64_t *number)
{
    size_t i = 0;
    bool negative = false;
    if (i < length && (text[i] == '-' || text[i] == '+')) {
        negative = text[i] == '-';
        i++;
    }
    if (i == length || length - i > 19) {
        return false;
    }
    uint64_t value = 0; // at most 19 digits fit
    for (; i < length; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';
        if (digit > 9) {
            return false;
        }
        value = value * 10 + digit;
    }
    if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    *number = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool cli_bool_parse(const char *text, size_t length, bool *value)
{
    static const char *const yes[] = {"true", "t", "T", "True", "TRUE", "1"};
    static const char *const no[] = {"false", "f", "F", "False", "FALSE", "0"};
    for (size_t i = 0; i < BB_COUNT_OF(yes); i++) {
        if (length == strlen(yes[i]) && memcmp(text, yes[i], length) == 0) {
            *value = true;
            return true;
        }
        if (length == strlen(no[i]) && memcmp(text, no[i], length) == 0) {
            *value = false;
            return true;
        }
    }
    return false;
}

size_t cli_int64_print(int64_t number, char out[CLI_INTEGER_BYTES_MAX])
{
    char digits[CLI_INTEGER_BYTES_MAX];
    size_t count = 0;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    size_t length = 0;
    if (number < 0) {
        out[length++] = '-';
    }
    while (count) {
        out[length++] = digits[--count];
    }
    return length;
}

// Measured values are mostly short decimals: an integer over a small power of ten.
static size_t s_decimal_print(double number, char *out)
{
    for (int places = 0; places <= 6; places++) {
        double scaled = number * s_powers[places];
        if (fabs(scaled) >= 9e15) {
            return 0;
        }
        int64_t whole = llrint(scaled);
        if ((double)whole / s_powers[places] != number) {
            continue;
        }
        char digits[CLI_INTEGER_BYTES_MAX];
        size_t digit_count = cli_int64_print(whole < 0 ? -whole : whole, digits);
        size_t length = 0;
        if (number < 0) {
            out[length++] = '-';
        }
        size_t point = digit_count > (size_t)places ? digit_count - (size_t)places : 0;
        if (point == 0) {
            out[length++] = '0';
        }
        for (size_t i = 0; i < point; i++) {
            out[length++] = digits[i];
        }
        if (places > 0) {
            out[length++] = '.';
            for (size_t i = digit_count; i < (size_t)places; i++) {
                out[length++] = '0';
            }
            for (size_t i = point; i < digit_count; i++) {
                out[length++] = digits[i];
            }
        }
        return length;
    }
    return 0;
}

size_t cli_double_print(double number, char out[CLI_DOUBLE_BYTES_MAX])
{
    if (isnan(number)) {
        memcpy(out, "NaN", 3);
        return 3;
    }
    if (isinf(number)) {
        size_t length = number < 0 ? 4 : 3;
        memcpy(out, number < 0 ? "-inf" : "inf", length);
        return length;
    }
    if (number == 0) {
        bool negative = signbit(number);
        memcpy(out, negative ? "-0.0" : "0", negative ? 4 : 1);
        return negative ? 4 : 1;
    }
    size_t length = s_decimal_print(number, out);
    for (int digits = 15; length == 0 && digits <= 17; digits++) {
        int printed = snprintf(out, CLI_DOUBLE_BYTES_MAX, "%.*g", digits, number);
        if (digits == 17 || strtod(out, NULL) == number) {
            length = (size_t)printed;
        }
    }
    return length;
}
