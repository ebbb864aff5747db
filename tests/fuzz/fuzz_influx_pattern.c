// SPDX-License-Identifier: Apache-2.0
// fuzz_influx_pattern - lines of line protocol, one after the other, through influx_pattern and
// parse_influx: what the pattern takes, the grammar takes with the same values.
#include "client/cli/influx_pattern.h"
#include "client/cli/parse_influx.h"
#include "tests/fuzz/fuzz_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void s_same(const cli_record_t *record, const influx_frame_t *frame)
{
    BB_ASSERT(frame->value_count == record->field_count);
    BB_ASSERT(frame->has_time == record->has_time);
    BB_ASSERT(!frame->has_time || frame->time_ns == record->time_ns);
    for (uint32_t i = 0; i < record->field_count; i++) {
        const cli_field_t *field = &record->fields[i];
        const busbar_value_t *value = &frame->values[i];
        switch (field->type) {
        case BUSBAR_FLOAT64:
            BB_ASSERT(memcmp(&field->number, &value->number, sizeof(double)) == 0);
            break;
        case BUSBAR_INT64:
            BB_ASSERT(field->integer == value->integer);
            break;
        case BUSBAR_BOOL:
            BB_ASSERT(value->boolean == field->boolean);
            break;
        case BUSBAR_STATE:
            BB_ASSERT(strlen(value->text) == field->text.length);
            BB_ASSERT(memcmp(value->text, field->text.data, field->text.length) == 0);
            break;
        }
    }
}

static void s_line(influx_pattern_t *pattern, const uint8_t *data, size_t length)
{
    static const parse_influx_options_t options = {NULL, CLI_MS};
    static cli_record_t record;
    static influx_frame_t frame;
    char *raw = bb_alloc(length + 1 + INFLUX_PATTERN_SLACK_BYTES);
    memcpy(raw, data, length);
    memset(raw + length, '1', INFLUX_PATTERN_SLACK_BYTES + 1);
    raw[length] = '\0';
    char *line = fuzz_line_copy(data, length);
    cli_error_t error = {""};
    bool is_known = influx_pattern_read(pattern, raw, length, &frame);
    cli_line_t said = parse_influx(&options, line, length, &record, &error);
    if (is_known) {
        BB_ASSERT(said == CLI_LINE_RECORD);
        s_same(&record, &frame);
    } else if (said == CLI_LINE_RECORD) {
        influx_pattern_learn(pattern, raw, length, &record, 1, 2);
    }
    free(raw);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    influx_pattern_t *pattern = influx_pattern_new(CLI_MS);
    while (size > 0) {
        const uint8_t *newline = memchr(data, '\n', size);
        size_t length = newline ? (size_t)(newline - data) : size;
        s_line(pattern, data, length);
        data += length + (newline != NULL);
        size -= length + (newline != NULL);
    }
    influx_pattern_destroy(&pattern);
    return 0;
}
