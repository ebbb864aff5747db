// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_csv.h"

#include <string.h>

// A quoted cell; *at is on the opening quote and ends behind the closing one.
static bool s_quoted(char **at, const char *end, bb_slice_t *cell)
{
    char *out = *at + 1;
    char *first = out;
    for (char *in = out; in < end; in++) {
        if (*in != '"') {
            *out++ = *in;
        } else if (in + 1 < end && in[1] == '"') {
            *out++ = '"';
            in++;
        } else {
            *cell = bb_slice(first, (size_t)(out - first));
            *at = in + 1;
            return true;
        }
    }
    return false;
}

uint32_t cli_csv_split(char *line, size_t length, char delimiter, bb_slice_t *cells,
                       uint32_t cell_max, cli_error_t *error)
{
    char *at = line;
    char *end = line + length;
    if (length > 0 && end[-1] == '\r') {
        end--;
    }
    for (uint32_t count = 0; count < cell_max;) {
        if (at < end && *at == '"') {
            if (!s_quoted(&at, end, &cells[count])) {
                cli_bad(error, "cell %u: the quote does not close on this line", count + 1);
                return 0;
            }
            if (at < end && *at != delimiter) {
                cli_bad(error, "cell %u: text behind the closing quote", count + 1);
                return 0;
            }
        } else {
            char *stop = memchr(at, delimiter, (size_t)(end - at));
            stop = stop ? stop : end;
            cells[count] = bb_slice(at, (size_t)(stop - at));
            at = stop;
        }
        count++;
        if (at == end) {
            return count;
        }
        at++; // the delimiter
    }
    cli_bad(error, "more than %u cells", cell_max);
    return 0;
}
