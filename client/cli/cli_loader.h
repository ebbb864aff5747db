// SPDX-License-Identifier: Apache-2.0
// cli_loader - takes parsed records to the cluster and keeps the books: every frame read is
// acknowledged, rejected by name, or unknown.
//
// One thread. Wraps a busbar_writer_t; finds handles of batteries and shapes without asking the
// library for each line. Attributes are sent when they change.
#ifndef CLI_LOADER_H
#define CLI_LOADER_H

#include <stdio.h>

#include "client/cli/cli_record.h"

typedef struct cli_loader cli_loader_t;

typedef struct {
    busbar_level_t level;
    uint64_t revision, generation;
    int64_t timeout_ns;        // per batch; 0 = the client's
    int64_t stamp_ns;          // time of records without one
    bool show_progress;        // on standard error
    busbar_session_t *session; // NULL: none; borrowed until _finish
} cli_loader_options_t;

cli_loader_t *cli_loader_open(busbar_client_t *client, const cli_loader_options_t *options);
// Names the file that the next lines come from; bytes_total 0 = unknown.
void cli_loader_file(cli_loader_t *self, const char *name, uint64_t bytes_total);
// What the writer calls a battery (with its attributes) and a list of metrics; valid until finish.
typedef struct {
    uint32_t battery, shape;
} cli_handles_t;

// One frame of line `line_number`. A frame that cannot be taken is named on standard error and
// counted. true: it was taken, and `handles` (may be NULL) are its battery's and its fields'.
bool cli_loader_add(cli_loader_t *self, uint64_t line_number, const cli_record_t *record,
                    cli_handles_t *handles);
// The same for a frame whose handles an earlier record got: `values` in the order of its fields.
// time_ns NULL: the record has no time.
void cli_loader_append(cli_loader_t *self, uint64_t line_number, cli_handles_t handles,
                       const int64_t *time_ns, const busbar_value_t *values, uint32_t value_count);
// A line that could not be read: named, counted with `point_count` points.
void cli_loader_reject(cli_loader_t *self, uint64_t line_number, uint64_t point_count,
                       const char *why);
// Values that were not there (empty cells).
void cli_loader_empty(cli_loader_t *self, uint64_t cell_count);
// Draws the progress line when it is time; bytes_read of the file being read.
void cli_loader_progress(cli_loader_t *self, uint64_t bytes_read);
// Waits for the rest, prints the summary (one JSON object or a sentence) on standard output,
// destroys the loader and returns the exit status.
int cli_loader_finish(cli_loader_t **self, bool as_json);

#endif
