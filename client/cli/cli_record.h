// SPDX-License-Identifier: Apache-2.0
// cli_record - one line of input after parsing: a battery, a time, fields and attributes.
//
// Pure. The parsers fill it with slices into their line (or their scratch memory), valid until the
// next line. Errors name the field and the rule; the caller adds file and line number.
#ifndef CLI_RECORD_H
#define CLI_RECORD_H

#include "client/busbar.h"
#include "protocol/bb_base.h"
#include "protocol/bb_limits.h"

typedef struct {
    bb_slice_t name;
    busbar_type_t type;
    union {
        double number;
        int64_t integer;
        bool boolean;
    };
    bb_slice_t text; // STATE
} cli_field_t;

typedef struct {
    bb_slice_t key;
    bb_slice_t value;
} cli_tag_t;

typedef struct {
    bb_slice_t battery;
    bool has_time;
    int64_t time_ns;
    uint32_t field_count;
    cli_field_t fields[BB_FRAME_METRICS_MAX];
    uint32_t tag_count;
    cli_tag_t tags[BB_ATTRIBUTES_MAX];
    uint32_t empty_count; // cells without a value
} cli_record_t;

typedef enum {
    CLI_LINE_RECORD, // *record is filled
    CLI_LINE_EMPTY,  // blank, comment or a row without any value
    CLI_LINE_BAD,    // error->text says field and rule
} cli_line_t;

typedef struct {
    char text[384];
} cli_error_t;

// Formats into `error` and returns CLI_LINE_BAD.
cli_line_t cli_bad(cli_error_t *error, const char *format, ...) BB_PRINTF(2, 3);

// Units of integer times.
typedef enum { CLI_NS = 1, CLI_US = 1000, CLI_MS = 1000000, CLI_S = 1000000000 } cli_precision_t;
// count * unit in ns; false on overflow.
bool cli_time_scale(int64_t count, cli_precision_t unit, int64_t *time_ns);

// Cuts a type suffix off a metric name: "cycles:int" -> "cycles", INT64. *type is 0 when there is
// none. false: there is a suffix that is no type.
bool cli_name_split(bb_slice_t *name, uint32_t *type);

#endif
