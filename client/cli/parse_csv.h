// SPDX-License-Identifier: Apache-2.0
// parse_csv - rows under a header `time,battery,<metric>[:float|:int|:bool|:state]...`.
//
// Pure. Numbers are float64 unless the header says otherwise; text is a state; an empty cell is no
// value. NaN and infinities are kept to the bit in float columns. A column without a type takes
// each cell as it comes: a number is float64, other text a state.
#ifndef PARSE_CSV_H
#define PARSE_CSV_H

#include "client/cli/cli_csv.h"

typedef struct parse_csv parse_csv_t;

// Reads the header line (its text is copied). NULL with error->text set: no `battery` column, a
// column twice, an unknown type, no metric, too many metrics. Without a `time` column every row is
// stamped by the caller.
parse_csv_t *parse_csv_new(char *header, size_t length, cli_precision_t precision, int64_t now_ns,
                           cli_error_t *error);
void parse_csv_destroy(parse_csv_t **self);
// One row; `line` is changed in place.
cli_line_t parse_csv_row(parse_csv_t *self, char *line, size_t length, cli_record_t *record,
                         cli_error_t *error);

// A time cell: integer in `precision`, RFC 3339, or relative to now ("-1h", "now").
bool cli_time_cell(bb_slice_t cell, cli_precision_t precision, int64_t now_ns, int64_t *time_ns);

#endif
