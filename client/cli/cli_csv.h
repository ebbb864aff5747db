// SPDX-License-Identifier: Apache-2.0
// cli_csv - cuts a CSV line into cells (RFC 4180 quotes; one record per line).
//
// Pure. Cells are slices into the line, which is changed in place where quotes are resolved.
#ifndef CLI_CSV_H
#define CLI_CSV_H

#include "client/cli/cli_record.h"

#define CLI_CSV_CELLS_MAX 4096

// Returns the number of cells (at least 1) or 0 with error->text set: more than cell_max cells, a
// quote that does not close, text behind a closing quote.
uint32_t cli_csv_split(char *line, size_t length, char delimiter, bb_slice_t *cells,
                       uint32_t cell_max, cli_error_t *error);

#endif
