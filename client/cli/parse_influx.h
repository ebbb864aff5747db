// SPDX-License-Identifier: Apache-2.0
// parse_influx - InfluxDB line protocol: measurement,tag=v field=1.5,other=3i 1700000000000000000
//
// Pure. The battery comes from the tag battery, battery_id, id or device_id (the first of these
// names that is present) or from `battery_tag`; the other tags become attributes; a field's name is
// the metric. Types by suffix: 1.5 float64, 3i int64, 3u int64 up to 2^63-1, t/true/f/false bool,
// "text" state. The measurement is read and ignored. Grammar: InfluxData, "Line protocol
// reference" (escapes: backslash before comma, space, equals sign; in strings before " and \).
#ifndef PARSE_INFLUX_H
#define PARSE_INFLUX_H

#include "client/cli/cli_record.h"

typedef struct {
    const char *battery_tag; // NULL: the four usual names
    cli_precision_t precision;
} parse_influx_options_t;

// `line` is changed in place (escapes are resolved); no trailing newline. See cli_line_t.
cli_line_t parse_influx(const parse_influx_options_t *options, char *line, size_t length,
                        cli_record_t *record, cli_error_t *error);

#endif
