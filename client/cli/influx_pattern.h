// SPDX-License-Identifier: Apache-2.0
// influx_pattern - reads a line of line protocol that is built like lines before it: the same
// measurement and tags as one of them, the same fields in the same order, only other values.
//
// Pure; one thread. A fleet writes the same few line layouts over and over, and its batteries come
// round in the same order. So two guesses are made: the text before the fields ("head") is that of
// the line that followed the last one the time before, and the fields are those that this head had
// the time before. Both are checked byte by byte, which is one comparison each; only values are
// really read. Whatever does not fit is left to parse_influx, which has the last word on what is
// accepted and names what is not: influx_pattern_read says yes only to lines that it would accept,
// with the same values to the bit.
//
//   battery,id=b000017,site=north soc=49.1,v=987.6,state="Idle" 1767225606200
//   [----------- head -----------][key] [k]       [-key-]
//
// Cost: about 0.2 us for a line of 12 numbers, 100 bytes of memory per battery.
#ifndef INFLUX_PATTERN_H
#define INFLUX_PATTERN_H

#include "client/cli/cli_number.h"
#include "client/cli/cli_record.h"

// Readable bytes, of any content, that must follow a line.
#define INFLUX_PATTERN_SLACK_BYTES CLI_NUMBER_SLACK_BYTES

typedef struct influx_pattern influx_pattern_t;

typedef struct {
    uint32_t battery, shape; // handles that learn() was told
    bool has_time;
    int64_t time_ns;
    uint32_t value_count;
    busbar_value_t values[BB_FRAME_METRICS_MAX]; // texts are valid until the next read
} influx_frame_t;

influx_pattern_t *influx_pattern_new(cli_precision_t precision);
void influx_pattern_destroy(influx_pattern_t **self);

// true: the line is a frame. false: ask parse_influx; nothing has changed but guesses. `line` has a
// NUL at line[length] and INFLUX_PATTERN_SLACK_BYTES readable bytes from there.
bool influx_pattern_read(influx_pattern_t *self, const char *line, size_t length,
                         influx_frame_t *frame);

// Remembers how a line was built that parse_influx took and whose handles are known. `line` is the
// text as it was before parse_influx (which resolves escapes in place), `record` what it said.
// Lines with an unusual layout (several blanks) are not remembered; nor is anything when the memory
// of 2^22 heads or 2^12 lists of fields is full.
void influx_pattern_learn(influx_pattern_t *self, const char *line, size_t length,
                          const cli_record_t *record, uint32_t battery, uint32_t shape);

#endif
