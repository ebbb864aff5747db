// SPDX-License-Identifier: Apache-2.0
// busbar import: any CSV, through a map file.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli_context.h"
#include "client/cli/cli_csv.h"
#include "client/cli/cli_lines.h"
#include "client/cli/cli_loader.h"
#include "client/cli/map_file.h"

typedef struct {
    map_file_t *map;
    cli_loader_t *loader;
    uint32_t column_count; // of the current file
    bb_slice_t cells[CLI_CSV_CELLS_MAX];
    cli_record_t record;
} s_import_t;

static void s_row(s_import_t *self, uint64_t number, char *line, size_t length)
{
    cli_error_t error = {{0}};
    if (length == 0 || (length == 1 && line[0] == '\r')) {
        return;
    }
    uint32_t count = cli_csv_split(line, length, map_file_delimiter(self->map), self->cells,
                                   CLI_CSV_CELLS_MAX, &error);
    if (count > 0 && count != self->column_count) {
        cli_bad(&error, "the row has %u cells, the header %u", count, self->column_count);
        count = 0;
    }
    if (count == 0 || map_file_row(self->map, self->cells, count, &error) == CLI_LINE_BAD) {
        cli_loader_reject(self->loader, number, 1, error.text);
        return;
    }
    for (uint32_t i = 0; i < map_file_battery_count(self->map); i++) {
        switch (map_file_record(self->map, i, &self->record, &error)) {
        case CLI_LINE_RECORD:
            cli_loader_add(self->loader, number, &self->record, NULL);
            break;
        case CLI_LINE_EMPTY:
            cli_loader_empty(self->loader, self->record.empty_count);
            break;
        case CLI_LINE_BAD:
            cli_loader_reject(self->loader, number, BB_MAX(1, self->record.field_count),
                              error.text);
            break;
        }
    }
}

// The header; false when this file cannot be used.
static bool s_header(s_import_t *self, const char *path, char *line, size_t length)
{
    cli_error_t error = {{0}};
    if (length >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
        line += 3;
        length -= 3;
    }
    self->column_count = cli_csv_split(line, length, map_file_delimiter(self->map), self->cells,
                                       CLI_CSV_CELLS_MAX, &error);
    if (self->column_count == 0 ||
        !map_file_bind(self->map, self->cells, self->column_count, &error)) {
        cli_complain("import: %s:1: %s", path, error.text);
        return false;
    }
    return true;
}

static bool s_file(s_import_t *self, const char *path, cli_lines_t *lines)
{
    for (;;) {
        char *line = NULL;
        size_t length = 0;
        switch (cli_lines_next(lines, &line, &length)) {
        case CLI_LINES_LINE:
            if (cli_lines_number(lines) > 1) {
                s_row(self, cli_lines_number(lines), line, length);
            } else if (!s_header(self, path, line, length)) {
                return false;
            }
            break;
        case CLI_LINES_TOO_LONG:
            cli_loader_reject(self->loader, cli_lines_number(lines), 1,
                              "the line is longer than 1 MiB");
            break;
        case CLI_LINES_FAILED:
            cli_loader_reject(self->loader, cli_lines_number(lines) + 1, 1, line);
            return false;
        case CLI_LINES_END:
            if (cli_lines_number(lines) == 0) {
                cli_complain("import: %s: the file is empty; a header is needed", path);
            }
            return cli_lines_number(lines) > 0;
        }
        if (cli_lines_number(lines) % 256 == 0) {
            cli_loader_progress(self->loader, cli_lines_bytes_read(lines));
        }
    }
}

// All headers are checked before anything is sent.
static bool s_check_headers(s_import_t *self, const cli_texts_t *files)
{
    for (size_t i = 0; i < files->count; i++) {
        const char *why = NULL;
        char *line = NULL;
        size_t length = 0;
        cli_lines_t *lines = cli_lines_open(files->items[i], &why);
        if (!lines) {
            cli_complain("import: %s: %s", files->items[i], why);
            return false;
        }
        bool good = cli_lines_next(lines, &line, &length) == CLI_LINES_LINE;
        if (!good) {
            cli_complain("import: %s: no header can be read", files->items[i]);
        }
        good = good && s_header(self, files->items[i], line, length);
        cli_lines_close(&lines);
        if (!good) {
            return false;
        }
    }
    return true;
}

static int s_run(const cli_context_t *context, const char *map_path, const cli_texts_t *files,
                 const cli_loader_options_t *options, bool as_json)
{
    s_import_t *self = bb_alloc_zero(1, sizeof *self);
    int exit_status = CLI_EXIT_USAGE;
    cli_error_t error = {{0}};
    busbar_client_t *client = NULL;
    self->map = map_file_load(map_path, &error);
    if (!self->map) {
        cli_complain("import: %s", error.text);
        goto out;
    }
    if (!s_check_headers(self, files)) {
        goto out;
    }
    client = cli_client_open(context, NULL, options->timeout_ns, &exit_status);
    if (!client) {
        goto out;
    }
    bool is_read = true;
    self->loader = cli_loader_open(client, options);
    for (size_t i = 0; i < files->count; i++) {
        const char *why = NULL;
        cli_lines_t *lines = cli_lines_open(files->items[i], &why);
        if (!lines) {
            cli_complain("import: %s: %s", files->items[i], why);
            is_read = false;
            continue;
        }
        cli_loader_file(self->loader, files->items[i], cli_lines_bytes_total(lines));
        is_read &= s_file(self, files->items[i], lines);
        cli_lines_close(&lines);
    }
    exit_status = cli_loader_finish(&self->loader, as_json);
    if (!is_read && exit_status == CLI_EXIT_OK) {
        exit_status = CLI_EXIT_REJECTED;
    }
out:
    busbar_close(&client);
    map_file_destroy(&self->map);
    free(self);
    return exit_status;
}

int cli_verb_import(const cli_context_t *context, int argc, char **argv)
{
    const char *map_path = NULL, *level = NULL, *output = NULL;
    cli_loader_options_t loader = {.stamp_ns = context->now_ns,
                                   .show_progress = isatty(STDERR_FILENO)};
    const cli_option_t options[] = {
        {"--map", CLI_TEXT, &map_path, NULL, "MAP",
         "YAML: which columns are time, battery and metrics"},
        {"--revision", CLI_COUNT, &loader.revision, NULL, "N",
         "revision of every point (default 0)"},
        {"--generation", CLI_COUNT, &loader.generation, NULL, "N", CLI_GENERATION_HELP},
        {"--consistency", CLI_TEXT, &level, NULL, "L", CLI_LEVELS_HELP},
        {"--timeout", CLI_DURATION, &loader.timeout_ns, NULL, "D",
         "how long to wait for an answer (default 10s)"},
        {"-o --output", CLI_TEXT, &output, NULL, "FORM", "json: one object at the end"},
    };
    const cli_command_t command = {
        "import",
        "FILE... --map MAP.yaml [options]",
        "Reads CSV files (also .gz) and sends every row. A cell that is empty or nan is no value; "
        "a\n"
        "row that cannot be taken is named on standard error and the rest goes on.",
        options,
        BB_COUNT_OF(options),
        "A map:\n"
        "  time: {column: time, format: rfc3339, zone: UTC}   # or epoch_s, epoch_ms, %d.%m.%Y "
        "%H:%M\n"
        "  # time: {base: 2008-01-01T00:00:00Z, offsets: [{column: cycle, unit: d}, {column: t_s, "
        "unit: s}]}\n"
        "  batteries:\n"
        "    - id: unit-1                                     # or column: cell, prefix: nasa-\n"
        "      metrics:\n"
        "        - {column: P_AC, metric: power_kw, type: float, scale: 0.001}\n"
        "        - {column: Mode, metric: mode, type: state, carry: true}\n"
        "      tags:\n"
        "        - {value: aachen, metric: site}"};
    cli_texts_t files = {0};
    int exit_status = CLI_EXIT_USAGE;
    if (!cli_parse(&command, context, argc, argv, &files, &exit_status)) {
        goto out;
    }
    exit_status = CLI_EXIT_USAGE;
    if (files.count == 0 || !map_path) {
        cli_complain("import: %s",
                     files.count == 0 ? "at least one FILE is needed" : "--map MAP.yaml is needed");
    } else if (output && strcmp(output, "json") != 0) {
        cli_complain("import: -o: '%s' is not json", output);
    } else if (cli_is_version("import", loader.revision, loader.generation) &&
               cli_level(level, &loader.level)) {
        bool as_json = output && strcmp(output, "json") == 0;
        exit_status = s_run(context, map_path, &files, &loader, as_json);
    }
out:
    cli_texts_clear(&files);
    return exit_status;
}
