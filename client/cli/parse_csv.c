// SPDX-License-Identifier: Apache-2.0
#include "client/cli/parse_csv.h"

#include <stdlib.h>
#include <string.h>

#include "client/cli/cli_number.h"
#include "protocol/bb_time.h"

typedef struct {
    bb_slice_t name; // owned copy inside self->header
    uint32_t type;   // 0: as it comes
} s_column_t;

struct parse_csv {
    char *header;
    cli_precision_t precision;
    int64_t now_ns;
    uint32_t column_count;
    uint32_t battery_column;
    uint32_t time_column; // UINT32_MAX: none
    s_column_t columns[BB_FRAME_METRICS_MAX + 2];
    bb_slice_t cells[BB_FRAME_METRICS_MAX + 3];
};

static bool s_is(bb_slice_t slice, const char *name)
{
    return slice.length == strlen(name) && memcmp(slice.data, name, slice.length) == 0;
}

static int s_shown(bb_slice_t text)
{
    return (int)BB_MIN(text.length, 64);
}

static bool s_column(parse_csv_t *self, uint32_t index, bb_slice_t cell, cli_error_t *error)
{
    s_column_t *column = &self->columns[index];
    column->name = cell;
    if (s_is(cell, "battery") && self->battery_column == UINT32_MAX) {
        self->battery_column = index;
    } else if (s_is(cell, "time") && self->time_column == UINT32_MAX) {
        self->time_column = index;
    } else if (!cli_name_split(&column->name, &column->type)) {
        cli_bad(error, "column %u '%.*s': the type is none of float, int, bool, state", index + 1,
                s_shown(cell), (const char *)cell.data);
        return false;
    } else if (column->name.length == 0 || column->name.length > BB_METRIC_NAME_BYTES_MAX) {
        cli_bad(error, "column %u '%.*s': a metric name has 1 to %d bytes", index + 1,
                s_shown(cell), (const char *)cell.data, BB_METRIC_NAME_BYTES_MAX);
        return false;
    }
    for (uint32_t i = 0; i < index; i++) {
        bb_slice_t other = self->columns[i].name;
        if (other.length == column->name.length &&
            memcmp(other.data, column->name.data, other.length) == 0) {
            cli_bad(error, "column %u '%.*s': named twice", index + 1, s_shown(cell),
                    (const char *)cell.data);
            return false;
        }
    }
    return true;
}

parse_csv_t *parse_csv_new(char *header, size_t length, cli_precision_t precision, int64_t now_ns,
                           cli_error_t *error)
{
    if (length >= 3 && memcmp(header, "\xef\xbb\xbf", 3) == 0) {
        header += 3; // byte order mark
        length -= 3;
    }
    parse_csv_t *self = bb_alloc_zero(1, sizeof *self);
    self->header = bb_alloc(length + 1);
    memcpy(self->header, header, length);
    self->precision = precision;
    self->now_ns = now_ns;
    self->battery_column = self->time_column = UINT32_MAX;
    self->column_count =
        cli_csv_split(self->header, length, ',', self->cells, BB_COUNT_OF(self->columns), error);
    bool good = self->column_count > 0;
    for (uint32_t i = 0; good && i < self->column_count; i++) {
        good = s_column(self, i, self->cells[i], error);
    }
    if (good && self->battery_column == UINT32_MAX) {
        cli_bad(error, "the header has no column 'battery'");
        good = false;
    }
    if (good && self->column_count < 2u + (self->time_column != UINT32_MAX)) {
        cli_bad(error, "the header names no metric");
        good = false;
    }
    if (!good) {
        parse_csv_destroy(&self);
    }
    return self;
}

void parse_csv_destroy(parse_csv_t **self)
{
    if (*self) {
        free((*self)->header);
        free(*self);
        *self = NULL;
    }
}

static cli_line_t s_cell(const s_column_t *column, bb_slice_t cell, cli_field_t *field,
                         cli_error_t *error)
{
    bool flag = false;
    bool good = true;
    field->name = column->name;
    field->type = (busbar_type_t)column->type;
    switch (column->type) {
    case BUSBAR_FLOAT64:
        good = cli_double_parse(cell.data, cell.length, true, &field->number);
        break;
    case BUSBAR_INT64:
        good = cli_int64_parse(cell.data, cell.length, &field->integer);
        break;
    case BUSBAR_BOOL:
        good = cli_bool_parse(cell.data, cell.length, &flag);
        field->boolean = flag;
        break;
    case BUSBAR_STATE:
        field->text = cell;
        break;
    default:
        if (cli_double_parse(cell.data, cell.length, true, &field->number)) {
            field->type = BUSBAR_FLOAT64;
        } else {
            field->type = BUSBAR_STATE;
            field->text = cell;
        }
    }
    if (!good) {
        static const char *const names[] = {"", "a number", "a 64-bit integer", "a bool"};
        return cli_bad(error, "field '%.*s': '%.*s' is not %s", s_shown(column->name),
                       (const char *)column->name.data, s_shown(cell), (const char *)cell.data,
                       names[column->type]);
    }
    return CLI_LINE_RECORD;
}

cli_line_t parse_csv_row(parse_csv_t *self, char *line, size_t length, cli_record_t *record,
                         cli_error_t *error)
{
    record->battery = bb_slice(NULL, 0);
    record->has_time = false;
    record->field_count = record->tag_count = record->empty_count = 0;
    if (length == 0 || (length == 1 && line[0] == '\r')) {
        return CLI_LINE_EMPTY;
    }
    uint32_t count = cli_csv_split(line, length, ',', self->cells, BB_COUNT_OF(self->cells), error);
    if (count == 0) {
        return CLI_LINE_BAD;
    }
    if (count != self->column_count) {
        return cli_bad(error, "the row has %u cells, the header %u", count, self->column_count);
    }
    record->battery = self->cells[self->battery_column];
    if (self->time_column != UINT32_MAX && self->cells[self->time_column].length > 0) {
        bb_slice_t cell = self->cells[self->time_column];
        record->has_time = cli_time_cell(cell, self->precision, self->now_ns, &record->time_ns);
        if (!record->has_time) {
            return cli_bad(error, "field 'time': '%.*s' is no time", s_shown(cell),
                           (const char *)cell.data);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (i == self->battery_column || i == self->time_column) {
            continue;
        }
        if (self->cells[i].length == 0) {
            record->empty_count++;
            continue;
        }
        if (s_cell(&self->columns[i], self->cells[i], &record->fields[record->field_count],
                   error) == CLI_LINE_BAD) {
            return CLI_LINE_BAD;
        }
        record->field_count++;
    }
    return record->field_count > 0 ? CLI_LINE_RECORD : CLI_LINE_EMPTY;
}

bool cli_time_cell(bb_slice_t cell, cli_precision_t precision, int64_t now_ns, int64_t *time_ns)
{
    return bb_time_parse(cell, precision, now_ns, time_ns, NULL) == BB_OK;
}
