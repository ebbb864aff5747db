// SPDX-License-Identifier: Apache-2.0
#include "client/cli/parse_influx.h"

#include <string.h>

#include "client/cli/cli_number.h"

typedef struct {
    char *at;
    char *end;
} s_text_t;

// Reads up to one of `stops` (not escaped), resolving backslash escapes of the characters that may
// be escaped in names. Leaves `at` on the stop.
static bb_slice_t s_name(s_text_t *text, const char *stops)
{
    char *first = text->at;
    char *out = first;
    while (text->at < text->end) {
        char c = *text->at;
        if (c == '\\' && text->at + 1 < text->end && strchr(",= \\", text->at[1])) {
            *out++ = text->at[1];
            text->at += 2;
            continue;
        }
        if (strchr(stops, c)) {
            break;
        }
        *out++ = c;
        text->at++;
    }
    return bb_slice(first, (size_t)(out - first));
}

static bool s_is(bb_slice_t slice, const char *name)
{
    return slice.length == strlen(name) && memcmp(slice.data, name, slice.length) == 0;
}

// Smaller is stronger; SIZE_MAX: not a battery tag.
static size_t s_battery_rank(const parse_influx_options_t *options, bb_slice_t key)
{
    static const char *const names[] = {"battery", "battery_id", "id", "device_id"};
    if (options->battery_tag) {
        return s_is(key, options->battery_tag) ? 0 : SIZE_MAX;
    }
    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        if (s_is(key, names[i])) {
            return i;
        }
    }
    return SIZE_MAX;
}

static cli_line_t s_tag_add(cli_record_t *record, bb_slice_t key, bb_slice_t value,
                            cli_error_t *error)
{
    if (record->tag_count == BB_ATTRIBUTES_MAX) {
        return cli_bad(error, "tag '%.*s': more than %d attributes", (int)BB_MIN(key.length, 64),
                       (const char *)key.data, BB_ATTRIBUTES_MAX);
    }
    record->tags[record->tag_count++] = (cli_tag_t){key, value};
    return CLI_LINE_RECORD;
}

static cli_line_t s_tags(const parse_influx_options_t *options, s_text_t *text,
                         cli_record_t *record, cli_error_t *error)
{
    size_t rank_best = SIZE_MAX;
    bb_slice_t key_best = {NULL, 0};
    while (text->at < text->end && *text->at == ',') {
        text->at++;
        bb_slice_t key = s_name(text, ",= ");
        if (text->at == text->end || *text->at != '=' || key.length == 0) {
            return cli_bad(error, "tag '%.*s': expected key=value", (int)BB_MIN(key.length, 64),
                           (const char *)key.data);
        }
        text->at++;
        bb_slice_t value = s_name(text, ",= ");
        if (value.length == 0 || (text->at < text->end && *text->at == '=')) {
            return cli_bad(error, "tag '%.*s': the value is empty or holds an unescaped '='",
                           (int)BB_MIN(key.length, 64), (const char *)key.data);
        }
        size_t rank = s_battery_rank(options, key);
        cli_line_t line = CLI_LINE_RECORD;
        if (rank < rank_best) {
            if (rank_best != SIZE_MAX) {
                line = s_tag_add(record, key_best, record->battery, error);
            }
            rank_best = rank;
            key_best = key;
            record->battery = value;
        } else {
            line = s_tag_add(record, key, value, error);
        }
        if (line == CLI_LINE_BAD) {
            return line;
        }
    }
    if (rank_best == SIZE_MAX) {
        return cli_bad(error, "no tag '%s' names the battery",
                       options->battery_tag ? options->battery_tag
                                            : "battery', 'battery_id', 'id' or 'device_id");
    }
    return CLI_LINE_RECORD;
}

// A quoted string; `at` is behind the opening quote.
static bool s_string(s_text_t *text, bb_slice_t *value)
{
    char *first = text->at;
    char *out = first;
    while (text->at < text->end) {
        char c = *text->at++;
        if (c == '"') {
            *value = bb_slice(first, (size_t)(out - first));
            return true;
        }
        if (c == '\\' && text->at < text->end && (*text->at == '"' || *text->at == '\\')) {
            c = *text->at++;
        }
        *out++ = c;
    }
    return false;
}

static cli_line_t s_value(s_text_t *text, cli_field_t *field, cli_error_t *error)
{
    int name_length = (int)BB_MIN(field->name.length, 64);
    const char *name = field->name.data;
    if (text->at < text->end && *text->at == '"') {
        text->at++;
        field->type = BUSBAR_STATE;
        if (!s_string(text, &field->text)) {
            return cli_bad(error, "field '%.*s': the string has no closing quote", name_length,
                           name);
        }
        return CLI_LINE_RECORD;
    }
    const char *first = text->at;
    while (text->at < text->end && *text->at != ',' && *text->at != ' ') {
        text->at++;
    }
    size_t length = (size_t)(text->at - first);
    bool flag = false;
    if (length > 1 && (first[length - 1] == 'i' || first[length - 1] == 'u') &&
        cli_int64_parse(first, length - 1, &field->integer) &&
        (first[length - 1] == 'i' || field->integer >= 0)) {
        field->type = BUSBAR_INT64;
    } else if (cli_double_parse(first, length, false, &field->number)) {
        field->type = BUSBAR_FLOAT64;
    } else if (cli_bool_parse(first, length, &flag)) {
        field->type = BUSBAR_BOOL;
        field->boolean = flag;
    } else {
        return cli_bad(error,
                       "field '%.*s': '%.*s' is not a number, an integer with 'i', a bool or a "
                       "quoted string",
                       name_length, name, (int)BB_MIN(length, 64), first);
    }
    return CLI_LINE_RECORD;
}

static cli_line_t s_fields(s_text_t *text, cli_record_t *record, cli_error_t *error)
{
    for (;;) {
        if (record->field_count == BB_FRAME_METRICS_MAX) {
            return cli_bad(error, "more than %d fields", BB_FRAME_METRICS_MAX);
        }
        cli_field_t *field = &record->fields[record->field_count];
        field->name = s_name(text, ",= ");
        if (text->at == text->end || *text->at != '=' || field->name.length == 0) {
            return cli_bad(error, "field '%.*s': expected name=value",
                           (int)BB_MIN(field->name.length, 64), (const char *)field->name.data);
        }
        text->at++;
        cli_line_t line = s_value(text, field, error);
        if (line == CLI_LINE_BAD) {
            return line;
        }
        record->field_count++;
        if (text->at == text->end || *text->at == ' ') {
            return CLI_LINE_RECORD;
        }
        if (*text->at != ',') {
            return cli_bad(error, "field '%.*s': text after the value",
                           (int)BB_MIN(field->name.length, 64), (const char *)field->name.data);
        }
        text->at++;
    }
}

static void s_skip_blanks(s_text_t *text)
{
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\t')) {
        text->at++;
    }
}

static cli_line_t s_time(const parse_influx_options_t *options, s_text_t *text,
                         cli_record_t *record, cli_error_t *error)
{
    s_skip_blanks(text);
    char *end = text->end;
    while (end > text->at && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    size_t length = (size_t)(end - text->at);
    if (length == 0) {
        return CLI_LINE_RECORD; // no time: the caller stamps it
    }
    int64_t count;
    if (!cli_int64_parse(text->at, length, &count)) {
        return cli_bad(error, "time: '%.*s' is not an integer", (int)BB_MIN(length, 64), text->at);
    }
    if (!cli_time_scale(count, options->precision, &record->time_ns)) {
        return cli_bad(error, "time: %.*s does not fit; is --precision right?",
                       (int)BB_MIN(length, 64), text->at);
    }
    record->has_time = true;
    return CLI_LINE_RECORD;
}

cli_line_t parse_influx(const parse_influx_options_t *options, char *line, size_t length,
                        cli_record_t *record, cli_error_t *error)
{
    s_text_t text = {line, line + length};
    if (length > 0 && line[length - 1] == '\r') {
        text.end--;
    }
    record->battery = bb_slice(NULL, 0);
    record->has_time = false;
    record->field_count = record->tag_count = record->empty_count = 0;
    s_skip_blanks(&text);
    if (text.at == text.end || *text.at == '#') {
        return CLI_LINE_EMPTY;
    }
    if (memchr(line, '\0', length)) {
        return cli_bad(error, "the line holds a NUL byte");
    }
    bb_slice_t measurement = s_name(&text, ", ");
    if (measurement.length == 0) {
        return cli_bad(error, "the measurement is empty");
    }
    cli_line_t result = s_tags(options, &text, record, error);
    if (result == CLI_LINE_RECORD) {
        s_skip_blanks(&text);
        result = s_fields(&text, record, error);
    }
    if (result == CLI_LINE_RECORD) {
        result = s_time(options, &text, record, error);
    }
    return result;
}
