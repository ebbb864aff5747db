// SPDX-License-Identifier: Apache-2.0
// map_file - says how the columns of a foreign CSV become batteries, times and metrics.
//
// Pure after loading. A map is YAML; client/cli/README.md describes it. Every error names the map
// file's line and key before anything is sent.
#ifndef MAP_FILE_H
#define MAP_FILE_H

#include "client/cli/cli_record.h"

#define MAP_BATTERIES_MAX 64
#define MAP_OFFSETS_MAX   4

typedef struct map_file map_file_t;

// NULL with error->text "FILE:LINE: key 'x': rule".
map_file_t *map_file_load(const char *path, cli_error_t *error);
void map_file_destroy(map_file_t **self);
char map_file_delimiter(const map_file_t *self);

// Resolves the columns against a header; false with error->text when a column is missing or is
// there twice. Called for each file; forgets carried cells.
bool map_file_bind(map_file_t *self, const bb_slice_t *cells, uint32_t cell_count,
                   cli_error_t *error);
// One row (after _bind). Starts a row: reads its time and carried cells. BAD: error->text names the
// column and the rule.
cli_line_t map_file_row(map_file_t *self, const bb_slice_t *cells, uint32_t cell_count,
                        cli_error_t *error);
// The frames of the row just started: battery_index in [0, map_file_battery_count). EMPTY when this
// battery has no value in the row. Slices point into the cells, the map or its scratch memory.
uint32_t map_file_battery_count(const map_file_t *self);
cli_line_t map_file_record(map_file_t *self, uint32_t battery_index, cli_record_t *record,
                           cli_error_t *error);

#endif
