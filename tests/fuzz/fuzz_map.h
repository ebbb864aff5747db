// SPDX-License-Identifier: Apache-2.0
// fuzz_map - rows of a CSV text read through a map, and a map loaded from memory.
#ifndef FUZZ_MAP_H
#define FUZZ_MAP_H

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/cli/cli_csv.h"
#include "client/cli/map_file.h"
#include "tests/fuzz/fuzz_line.h"

// Maps are loaded by path: an unnamed file in memory has one.
static inline map_file_t *fuzz_map_load(const void *data, size_t size, cli_error_t *error)
{
    char path[64];
    int file = memfd_create("map", MFD_CLOEXEC);
    BB_ASSERT(file >= 0);
    BB_ASSERT(write(file, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    map_file_t *map = map_file_load(path, error);
    close(file);
    return map;
}

typedef struct {
    const char *at, *limit;
} fuzz_text_t;

// The next line as a copy of its own; NULL at the end.
static inline char *fuzz_text_next(fuzz_text_t *text, size_t *length)
{
    if (text->at >= text->limit) {
        return NULL;
    }
    const char *end = memchr(text->at, '\n', (size_t)(text->limit - text->at));
    *length = (size_t)((end ? end : text->limit) - text->at);
    char *line = fuzz_line_copy(text->at, *length);
    text->at = end ? end + 1 : text->limit;
    return line;
}

// The first line is the header; rows of another width are left out, as `import` does.
static inline void fuzz_map_rows(map_file_t *map, const char *data, size_t size)
{
    static cli_record_t record; // large; each call fills it before it is read
    static bb_slice_t cells[CLI_CSV_CELLS_MAX];
    fuzz_text_t text = {data, data + size};
    const char delimiter = map_file_delimiter(map);
    uint32_t width = 0;
    char *line;
    for (size_t length; (line = fuzz_text_next(&text, &length)); free(line)) {
        cli_error_t error = {""};
        uint32_t count = cli_csv_split(line, length, delimiter, cells, CLI_CSV_CELLS_MAX, &error);
        if (width == 0) {
            width = count;
            if (width == 0 || !map_file_bind(map, cells, width, &error)) {
                BB_ASSERT(error.text[0] != '\0');
                free(line);
                return;
            }
        } else if (count == width && map_file_row(map, cells, count, &error) == CLI_LINE_RECORD) {
            for (uint32_t b = 0; b < map_file_battery_count(map); b++) {
                cli_line_t outcome = map_file_record(map, b, &record, &error);
                fuzz_outcome_check(outcome, &record, &error, size + 4096);
            }
        }
    }
}

#endif
