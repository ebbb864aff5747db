// SPDX-License-Identifier: Apache-2.0
// parse_ndjson - one JSON object a line:
// {"battery":"b1","time":"2026-01-01T00:00:00Z","voltage_v":3.7}
//
// Pure. A flat object: `battery` (string) and `time` (RFC 3339 text, or an integer in `precision`;
// may be missing) and metrics: number -> float64, true/false -> bool, string -> state, null -> no
// value. A name may carry a type as in a CSV header: "cycles:int". Nested values, a name twice and
// trailing text are refused. Grammar: RFC 8259.
#ifndef PARSE_NDJSON_H
#define PARSE_NDJSON_H

#include "client/cli/cli_record.h"

// `line` is changed in place (escapes are resolved).
cli_line_t parse_ndjson(cli_precision_t precision, int64_t now_ns, char *line, size_t length,
                        cli_record_t *record, cli_error_t *error);

#endif
