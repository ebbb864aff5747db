// SPDX-License-Identifier: Apache-2.0
// cli_number - exact text <-> number: what is printed reads back to the same bits.
//
// Pure. Parsing is correctly rounded: the fast path (Clinger, "How to read floating point numbers
// accurately", 1990: at most 2^53 times or over an exact power of ten) or strtod. Printing tries
// short decimals first and then 15, 16 and 17 digits.
#ifndef CLI_NUMBER_H
#define CLI_NUMBER_H

#include "protocol/bb_base.h"

// The readers of running text look at this many bytes from `at` on, whatever they hold.
#define CLI_NUMBER_SLACK_BYTES 32

#define CLI_DOUBLE_BYTES_MAX  32
#define CLI_INTEGER_BYTES_MAX 24

// The whole text must be a decimal number ("1", "-2.5", "+1e-3", ".5"). With allow_special also
// nan, inf and infinity in any case with an optional sign. Hexadecimal and blanks are refused, and
// so is a finite text that overflows.
bool cli_double_parse(const char *text, size_t length, bool allow_special, double *number);
// Reads the plain decimal that starts at `at`: an optional '-', then 1 to 8 digits with at most one
// point behind the first of them. Returns its length, with the value that cli_double_parse gives;
// 0: it is not of this form and nobody has said that it is no number. Eight bytes at a time
// (Lemire, "Quickly parsing eight digits", 2018).
size_t cli_decimal_read(const char *at, double *number);
// Reads 1 to 19 digits; returns how many, 0 when there are none or more. CLI_NUMBER_SLACK_BYTES as
// well.
size_t cli_digits_read(const char *at, uint64_t *number);
// "-12": no blanks, no leading '+' ambiguity ("+12" is accepted), refuses overflow.
bool cli_int64_parse(const char *text, size_t length, int64_t *number);
// true false t f T F True TRUE False FALSE 1 0
bool cli_bool_parse(const char *text, size_t length, bool *value);

// Writes without a terminator and returns the length. Finite doubles read back bit-identical
// ("-0.0" for minus zero); others are NaN, inf, -inf.
size_t cli_double_print(double number, char out[CLI_DOUBLE_BYTES_MAX]);
size_t cli_int64_print(int64_t number, char out[CLI_INTEGER_BYTES_MAX]);

#endif
