// SPDX-License-Identifier: Apache-2.0
#include "client/cli/parse_ndjson.h"

#include <string.h>

#include "client/cli/cli_number.h"
#include "client/cli/parse_csv.h"

typedef struct {
    char *at;
    char *end;
    cli_error_t *error;
} s_json_t;

static void s_blanks(s_json_t *json)
{
    while (json->at < json->end && strchr(" \t\r", *json->at) && *json->at) {
        json->at++;
    }
}

static bool s_take(s_json_t *json, char c)
{
    s_blanks(json);
    if (json->at < json->end && *json->at == c) {
        json->at++;
        return true;
    }
    return false;
}

static bool s_hex4(s_json_t *json, uint32_t *code)
{
    if (json->end - json->at < 4) {
        return false;
    }
    *code = 0;
    for (int i = 0; i < 4; i++) {
        char c = *json->at++;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit > 15) {
            return false;
        }
        *code = *code * 16 + digit;
    }
    return true;
}

// UTF-8 of one code point; never longer than the escape it replaces.
static char *s_put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

static bool s_escape(s_json_t *json, char **out)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (json->at == json->end) {
        return false;
    }
    char c = *json->at++;
    const char *found = c ? strchr(from, c) : NULL;
    if (found) {
        *(*out)++ = to[found - from];
        return true;
    }
    uint32_t code;
    if (c != 'u' || !s_hex4(json, &code)) {
        return false;
    }
    if (code >= 0xd800 && code < 0xdc00) {
        uint32_t low;
        if (json->end - json->at < 6 || json->at[0] != '\\' || json->at[1] != 'u') {
            return false;
        }
        json->at += 2;
        if (!s_hex4(json, &low) || low < 0xdc00 || low > 0xdfff) {
            return false;
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
        return false;
    }
    *out = s_put_utf8(*out, code);
    return true;
}

// A string in quotes, resolved in place.
static bool s_string(s_json_t *json, bb_slice_t *value)
{
    if (!s_take(json, '"')) {
        return false;
    }
    char *first = json->at;
    char *out = first;
    while (json->at < json->end) {
        char c = *json->at++;
        if (c == '"') {
            *value = bb_slice(first, (size_t)(out - first));
            return true;
        }
        if ((unsigned char)c < 0x20 || (c == '\\' && !s_escape(json, &out))) {
            return false;
        }
        if (c != '\\') {
            *out++ = c;
        }
    }
    return false;
}

static bool s_word(s_json_t *json, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(json->end - json->at) < length || memcmp(json->at, word, length) != 0) {
        return false;
    }
    json->at += length;
    return true;
}

// JSON's number grammar is narrower than ours: no leading '+' or '.', no leading zeros.
static bool s_number(s_json_t *json, bb_slice_t *text)
{
    char *first = json->at;
    while (json->at < json->end && *json->at && strchr("+-.0123456789eE", *json->at)) {
        json->at++;
    }
    *text = bb_slice(first, (size_t)(json->at - first));
    char *digits = first + (first < json->at && *first == '-');
    if (digits == json->at || *digits < '0' || *digits > '9') {
        return false;
    }
    return !(*digits == '0' && digits + 1 < json->at && digits[1] >= '0' && digits[1] <= '9') &&
           json->at[-1] != '.';
}

static int s_shown(bb_slice_t name)
{
    return (int)BB_MIN(name.length, 64);
}

static cli_line_t s_typed_number(s_json_t *json, bb_slice_t text, uint32_t wanted,
                                 cli_field_t *field)
{
    const char *name = field->name.data;
    if (wanted == BUSBAR_INT64) {
        field->type = BUSBAR_INT64;
        if (!cli_int64_parse(text.data, text.length, &field->integer)) {
            return cli_bad(json->error, "field '%.*s': '%.*s' is not a 64-bit integer",
                           s_shown(field->name), name, s_shown(text), (const char *)text.data);
        }
        return CLI_LINE_RECORD;
    }
    if (wanted != 0 && wanted != BUSBAR_FLOAT64) {
        return cli_bad(json->error, "field '%.*s': a number where %s is declared",
                       s_shown(field->name), name, wanted == BUSBAR_BOOL ? "bool" : "state");
    }
    field->type = BUSBAR_FLOAT64;
    if (!cli_double_parse(text.data, text.length, false, &field->number)) {
        return cli_bad(json->error, "field '%.*s': '%.*s' is not a number that fits a float64",
                       s_shown(field->name), name, s_shown(text), (const char *)text.data);
    }
    return CLI_LINE_RECORD;
}

// The value of a metric. EMPTY: null.
static cli_line_t s_value(s_json_t *json, uint32_t wanted, cli_field_t *field)
{
    s_blanks(json);
    char c = json->at < json->end ? *json->at : '\0';
    if (s_word(json, "null")) {
        return CLI_LINE_EMPTY;
    }
    bool is_true = s_word(json, "true");
    if (is_true || s_word(json, "false")) {
        field->type = BUSBAR_BOOL;
        field->boolean = is_true;
    } else if (c == '"') {
        field->type = BUSBAR_STATE;
        if (!s_string(json, &field->text)) {
            return cli_bad(json->error, "field '%.*s': the string is not valid JSON",
                           s_shown(field->name), (const char *)field->name.data);
        }
    } else {
        bb_slice_t text;
        if (!s_number(json, &text)) {
            return cli_bad(json->error,
                           "field '%.*s': expected a number, a string, true, false or null",
                           s_shown(field->name), (const char *)field->name.data);
        }
        return s_typed_number(json, text, wanted, field);
    }
    if (wanted != 0 && wanted != (uint32_t)field->type) {
        return cli_bad(json->error, "field '%.*s': the value is not of the declared type",
                       s_shown(field->name), (const char *)field->name.data);
    }
    return CLI_LINE_RECORD;
}

static cli_line_t s_time(s_json_t *json, cli_precision_t precision, int64_t now_ns,
                         cli_record_t *record)
{
    s_blanks(json);
    bb_slice_t text;
    bool is_string = json->at < json->end && *json->at == '"';
    if (s_word(json, "null")) {
        return CLI_LINE_RECORD;
    }
    if (record->has_time || !(is_string ? s_string(json, &text) : s_number(json, &text)) ||
        !cli_time_cell(text, precision, now_ns, &record->time_ns)) {
        return cli_bad(json->error,
                       "field 'time': expected RFC 3339 text or an integer, once and in range");
    }
    record->has_time = true;
    return CLI_LINE_RECORD;
}

static bool s_is(bb_slice_t slice, const char *name)
{
    return slice.length == strlen(name) && memcmp(slice.data, name, slice.length) == 0;
}

static cli_line_t s_metric(s_json_t *json, bb_slice_t key, cli_record_t *record)
{
    uint32_t wanted = 0;
    if (!cli_name_split(&key, &wanted)) {
        return cli_bad(json->error, "field '%.*s': the type is none of float, int, bool, state",
                       s_shown(key), (const char *)key.data);
    }
    for (uint32_t i = 0; i < record->field_count; i++) {
        bb_slice_t other = record->fields[i].name;
        if (other.length == key.length && memcmp(other.data, key.data, key.length) == 0) {
            return cli_bad(json->error, "field '%.*s': named twice", s_shown(key),
                           (const char *)key.data);
        }
    }
    if (record->field_count == BB_FRAME_METRICS_MAX) {
        return cli_bad(json->error, "more than %d metrics", BB_FRAME_METRICS_MAX);
    }
    cli_field_t *field = &record->fields[record->field_count];
    field->name = key;
    cli_line_t result = s_value(json, wanted, field);
    record->field_count += result == CLI_LINE_RECORD;
    record->empty_count += result == CLI_LINE_EMPTY;
    return result;
}

static cli_line_t s_member(s_json_t *json, cli_precision_t precision, int64_t now_ns,
                           cli_record_t *record)
{
    bb_slice_t key;
    if (!s_string(json, &key) || !s_take(json, ':')) {
        return cli_bad(json->error, "expected \"name\": value");
    }
    if (s_is(key, "battery")) {
        if (record->battery.data || !s_string(json, &record->battery)) {
            return cli_bad(json->error, "field 'battery': expected one string");
        }
        return CLI_LINE_RECORD;
    }
    if (s_is(key, "time")) {
        return s_time(json, precision, now_ns, record);
    }
    return s_metric(json, key, record);
}

cli_line_t parse_ndjson(cli_precision_t precision, int64_t now_ns, char *line, size_t length,
                        cli_record_t *record, cli_error_t *error)
{
    s_json_t json = {line, line + length, error};
    record->battery = bb_slice(NULL, 0);
    record->has_time = false;
    record->field_count = record->tag_count = record->empty_count = 0;
    s_blanks(&json);
    if (json.at == json.end) {
        return CLI_LINE_EMPTY;
    }
    if (!s_take(&json, '{')) {
        return cli_bad(error, "expected a JSON object");
    }
    if (!s_take(&json, '}')) {
        do {
            if (s_member(&json, precision, now_ns, record) == CLI_LINE_BAD) {
                return CLI_LINE_BAD;
            }
        } while (s_take(&json, ','));
        if (!s_take(&json, '}')) {
            return cli_bad(error, "expected ',' or '}' after a value");
        }
    }
    s_blanks(&json);
    if (json.at != json.end) {
        return cli_bad(error, "text after the object");
    }
    if (!record->battery.data) {
        return cli_bad(error, "field 'battery' is missing");
    }
    return record->field_count > 0 ? CLI_LINE_RECORD : CLI_LINE_EMPTY;
}
