// SPDX-License-Identifier: Apache-2.0
// cli_output - prints rows as a table that fits the terminal, as CSV or as one JSON document.
//
// One thread; writes to standard output. Cells are text; the kind says how JSON writes it and how a
// table aligns it. Numbers read back to the same bits.
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "client/busbar.h"
#include "protocol/bb_base.h"

typedef enum { CLI_TABLE, CLI_CSV, CLI_JSON } cli_form_t;
typedef enum { CLI_CELL_EMPTY, CLI_CELL_TEXT, CLI_CELL_NUMBER, CLI_CELL_BOOL } cli_cell_kind_t;

typedef struct cli_output cli_output_t;

// "table", "csv", "json"; NULL is table. false after complaining.
bool cli_form(const char *name, cli_form_t *form);

cli_output_t *cli_output_open(cli_form_t form, const char *const *columns, uint32_t column_count);
// Cells of one row, in column order. Numbers that JSON cannot say (NaN, infinities) become null.
void cli_output_text(cli_output_t *self, const char *text);
void cli_output_double(cli_output_t *self, double number);
void cli_output_int64(cli_output_t *self, int64_t number);
void cli_output_uint64(cli_output_t *self, uint64_t number);
void cli_output_bool(cli_output_t *self, bool value);
void cli_output_time(cli_output_t *self, int64_t time_ns);
void cli_output_value(cli_output_t *self, busbar_type_t type, busbar_value_t value);
void cli_output_empty(cli_output_t *self);
void cli_output_row_end(cli_output_t *self);
// Ends the document; JSON gets "complete" and "missing_partitions", a table a note when something
// is missing. Destroys the output. Returns false when standard output could not be written.
bool cli_output_finish(cli_output_t **self, bool complete, const uint32_t *missing_partitions,
                       size_t missing_count);

// A JSON string with quotes, escaped; for documents that are not rows.
void cli_json_string(const char *text);

#endif
