// SPDX-License-Identifier: Apache-2.0
// busbar write: line protocol, CSV or NDJSON from a file or standard input.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli_context.h"
#include "client/cli/cli_lines.h"
#include "client/cli/cli_loader.h"
#include "client/cli/cli_session.h"
#include "client/cli/influx_pattern.h"
#include "client/cli/parse_csv.h"
#include "client/cli/parse_influx.h"
#include "client/cli/parse_ndjson.h"

typedef enum { S_INFLUX, S_CSV, S_NDJSON } s_format_t;

typedef struct {
    const char *format, *precision, *level, *output, *battery_tag, *session;
    uint64_t revision, generation;
    int64_t timeout_ns;
} s_flags_t;

typedef struct {
    s_format_t format;
    parse_influx_options_t influx;
    cli_precision_t precision;
    int64_t now_ns;
    parse_csv_t *csv; // after the header
    influx_pattern_t *pattern;
    char *raw; // a line before its escapes are resolved
    influx_frame_t frame;
    cli_record_t record;
} s_parser_t;

static bool s_format(const char *name, const char *path, s_format_t *format)
{
    static const struct {
        const char *name;
        s_format_t format;
    } names[] = {{"influx", S_INFLUX}, {"csv", S_CSV}, {"ndjson", S_NDJSON}};
    char extension[16] = "";
    if (!name) { // from the file's name, also before .gz
        size_t length = strlen(path);
        length -= length > 3 && strcmp(path + length - 3, ".gz") == 0 ? 3 : 0;
        const char *dot = memrchr(path, '.', length);
        size_t extension_length = dot ? (size_t)(path + length - dot - 1) : 0;
        if (extension_length > 0 && extension_length < sizeof extension) {
            memcpy(extension, dot + 1, extension_length);
        }
        name = strcmp(extension, "csv") == 0                                     ? "csv"
               : strcmp(extension, "ndjson") == 0 || !strcmp(extension, "jsonl") ? "ndjson"
                                                                                 : "influx";
    }
    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        if (strcmp(name, names[i].name) == 0) {
            *format = names[i].format;
            return true;
        }
    }
    cli_complain("write: --format: '%s' is none of influx, csv, ndjson", name);
    return false;
}

static bool s_precision(const char *name, cli_precision_t *precision)
{
    static const struct {
        const char *name;
        cli_precision_t precision;
    } names[] = {{"ns", CLI_NS}, {"us", CLI_US}, {"ms", CLI_MS}, {"s", CLI_S}};
    *precision = CLI_NS;
    if (!name) {
        return true;
    }
    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        if (strcmp(name, names[i].name) == 0) {
            *precision = names[i].precision;
            return true;
        }
    }
    cli_complain("write: --precision: '%s' is none of ns, us, ms, s", name);
    return false;
}

static void s_outcome(s_parser_t *parser, cli_loader_t *loader, uint64_t number, cli_line_t parsed,
                      const cli_error_t *error)
{
    if (parsed == CLI_LINE_RECORD) {
        cli_loader_add(loader, number, &parser->record, NULL);
    } else if (parsed == CLI_LINE_BAD) {
        cli_loader_reject(loader, number, BB_MAX(1, parser->record.field_count), error->text);
    } else {
        cli_loader_empty(loader, parser->record.empty_count);
    }
}

// Most lines are built like one before; the others are read by the grammar, and remembered.
static void s_influx_line(s_parser_t *parser, cli_loader_t *loader, uint64_t number, char *line,
                          size_t length)
{
    influx_frame_t *frame = &parser->frame;
    if (BB_LIKELY(influx_pattern_read(parser->pattern, line, length, frame))) {
        cli_loader_append(loader, number, (cli_handles_t){frame->battery, frame->shape},
                          frame->has_time ? &frame->time_ns : NULL, frame->values,
                          frame->value_count);
        return;
    }
    cli_error_t error = {{0}};
    const char *raw = line;
    if (memchr(line, '\\', length)) {
        raw = memcpy(parser->raw, line, length);
    }
    cli_line_t parsed = parse_influx(&parser->influx, line, length, &parser->record, &error);
    cli_handles_t handles;
    if (parsed != CLI_LINE_RECORD) {
        s_outcome(parser, loader, number, parsed, &error);
    } else if (cli_loader_add(loader, number, &parser->record, &handles)) {
        influx_pattern_learn(parser->pattern, raw, length, &parser->record, handles.battery,
                             handles.shape);
    }
}

// Returns false when the file cannot be read at all (a CSV header that makes no sense).
static bool s_line(s_parser_t *parser, cli_loader_t *loader, uint64_t number, char *line,
                   size_t length)
{
    cli_error_t error = {{0}};
    cli_line_t parsed;
    if (parser->format == S_CSV && !parser->csv) {
        parser->csv = parse_csv_new(line, length, parser->precision, parser->now_ns, &error);
        if (!parser->csv) {
            cli_loader_reject(loader, number, 0, error.text);
        }
        return parser->csv != NULL;
    }
    switch (parser->format) {
    case S_CSV:
        parsed = parse_csv_row(parser->csv, line, length, &parser->record, &error);
        break;
    case S_NDJSON:
        parsed =
            parse_ndjson(parser->precision, parser->now_ns, line, length, &parser->record, &error);
        break;
    default:
        s_influx_line(parser, loader, number, line, length);
        return true;
    }
    s_outcome(parser, loader, number, parsed, &error);
    return true;
}

static bool s_read(s_parser_t *parser, cli_loader_t *loader, cli_lines_t *lines)
{
    for (;;) {
        char *line = NULL;
        size_t length = 0;
        switch (cli_lines_next(lines, &line, &length)) {
        case CLI_LINES_LINE:
            if (!s_line(parser, loader, cli_lines_number(lines), line, length)) {
                return false;
            }
            break;
        case CLI_LINES_TOO_LONG:
            cli_loader_reject(loader, cli_lines_number(lines), 1, "the line is longer than 1 MiB");
            break;
        case CLI_LINES_FAILED:
            cli_loader_reject(loader, cli_lines_number(lines) + 1, 1, line);
            return false;
        case CLI_LINES_END:
            return true;
        }
        if (cli_lines_number(lines) % 256 == 0) {
            cli_loader_progress(loader, cli_lines_bytes_read(lines));
        }
    }
}

static int s_run(const cli_context_t *context, const s_flags_t *flags, const char *path)
{
    s_parser_t *parser = bb_alloc_zero(1, sizeof *parser);
    cli_loader_options_t options = {.revision = flags->revision,
                                    .generation = flags->generation,
                                    .timeout_ns = flags->timeout_ns,
                                    .stamp_ns = context->now_ns,
                                    .show_progress = isatty(STDERR_FILENO)};
    int exit_status = CLI_EXIT_USAGE;
    const char *why = NULL;
    cli_lines_t *lines = NULL;
    busbar_client_t *client = NULL;
    if (!s_format(flags->format, path, &parser->format) ||
        !s_precision(flags->precision, &parser->precision) ||
        !cli_level(flags->level, &options.level) ||
        !cli_session_open(flags->session, &options.session)) {
        goto out;
    }
    parser->now_ns = context->now_ns;
    parser->influx = (parse_influx_options_t){flags->battery_tag, parser->precision};
    parser->pattern = influx_pattern_new(parser->precision);
    parser->raw = bb_alloc(CLI_LINE_BYTES_MAX);
    lines = cli_lines_open(path, &why);
    if (!lines) {
        cli_complain("write: %s: %s", path, why);
        goto out;
    }
    client = cli_client_open(context, NULL, flags->timeout_ns, &exit_status);
    if (!client) {
        goto out;
    }
    cli_loader_t *loader = cli_loader_open(client, &options);
    cli_loader_file(loader, path, cli_lines_bytes_total(lines));
    bool is_read = s_read(parser, loader, lines);
    bool as_json = flags->output && strcmp(flags->output, "json") == 0;
    exit_status = cli_loader_finish(&loader, as_json);
    if (!is_read && exit_status == CLI_EXIT_OK) {
        exit_status = CLI_EXIT_REJECTED;
    }
    if (!cli_session_close(flags->session, &options.session) && exit_status == CLI_EXIT_OK) {
        exit_status = CLI_EXIT_USAGE;
    }
out:
    cli_lines_close(&lines);
    busbar_close(&client);
    busbar_session_free(&options.session);
    parse_csv_destroy(&parser->csv);
    influx_pattern_destroy(&parser->pattern);
    free(parser->raw);
    free(parser);
    return exit_status;
}

int cli_verb_write(const cli_context_t *context, int argc, char **argv)
{
    s_flags_t flags = {0};
    const cli_option_t options[] = {
        {"--format", CLI_TEXT, &flags.format, NULL, "F",
         "influx (default), csv or ndjson; guessed from the name"},
        {"--precision", CLI_TEXT, &flags.precision, NULL, "P",
         "unit of integer times: ns (default), us, ms, s"},
        {"--battery-tag", CLI_TEXT, &flags.battery_tag, NULL, "TAG",
         "line protocol: the tag that names the battery"},
        {"--revision", CLI_COUNT, &flags.revision, NULL, "N",
         "revision of every point; a higher one wins (default 0)"},
        {"--generation", CLI_COUNT, &flags.generation, NULL, "N", CLI_GENERATION_HELP},
        {"--consistency", CLI_TEXT, &flags.level, NULL, "L", CLI_LEVELS_HELP},
        {"--session", CLI_TEXT, &flags.session, NULL, "FILE",
         "notes there what was written, for reads with it"},
        {"--timeout", CLI_DURATION, &flags.timeout_ns, NULL, "D",
         "how long to wait for an answer (default 10s)"},
        {"-o --output", CLI_TEXT, &flags.output, NULL, "FORM", "json: one object at the end"},
    };
    const cli_command_t command = {
        "write",
        "[FILE|-] [options]",
        "Writes points from FILE or standard input (also .gz). A line that cannot be taken is "
        "named\n"
        "on standard error with its number, field and rule, and the rest goes on.",
        options,
        BB_COUNT_OF(options),
        "  printf 'pack,battery=b1 voltage_v=412.7,state=\"Idle\"\\n' | busbar -c client.yaml "
        "write\n"
        "  busbar -c client.yaml write day.csv        header: "
        "time,battery,<metric>[:float|:int|:bool|:state]..."};
    cli_texts_t files = {0};
    int exit_status = CLI_EXIT_USAGE;
    if (cli_parse(&command, context, argc, argv, &files, &exit_status)) {
        if (files.count > 1) {
            cli_complain("write: one FILE, not %zu", files.count);
        } else if (flags.output && strcmp(flags.output, "json") != 0) {
            cli_complain("write: -o: '%s' is not json", flags.output);
        } else if (cli_is_version("write", flags.revision, flags.generation)) {
            exit_status = s_run(context, &flags, files.count ? files.items[0] : "-");
        }
    }
    cli_texts_clear(&files);
    return exit_status;
}
