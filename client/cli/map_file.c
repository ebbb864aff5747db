// SPDX-License-Identifier: Apache-2.0
#include "client/cli/map_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <yaml.h>

#include "client/cli/cli_csv.h"
#include "client/cli/cli_number.h"
#include "protocol/bb_time.h"
#include "protocol/bb_value.h"

// A column that is referred to: its name, where the bound file has it, what it carries down.
typedef struct {
    char *name; // NULL: not given
    uint32_t index;
    bool carries;
    char *carried; // owned copy of the last cell that was not empty
    size_t carried_length, carried_capacity;
    bb_slice_t cell; // of the current row
} s_column_t;

typedef struct {
    s_column_t column;
    char *metric;
    uint32_t type; // 0: number -> float64, other text -> state
    bool has_scale;
    double scale, shift;
    char *value; // a fixed tag instead of a column
} s_value_t;

typedef struct {
    char *id;          // fixed id, or
    s_column_t column; // the column that names the battery
    char *prefix, *suffix;
    s_value_t *metrics, *tags;
    uint32_t metric_count, tag_count;
} s_battery_t;

typedef struct {
    s_column_t column;
    int64_t unit_ns;
    char unit[4];
} s_offset_t;

struct map_file {
    char delimiter;
    s_column_t time_column;
    char *time_pattern;    // strptime, or NULL
    int64_t time_unit_ns;  // epoch; 0: RFC 3339
    int32_t zone_offset_s; // of zoneless times
    bool has_base;
    int64_t base_ns;
    s_offset_t offsets[MAP_OFFSETS_MAX];
    uint32_t offset_count;
    s_battery_t batteries[MAP_BATTERIES_MAX];
    uint32_t battery_count;
    int64_t row_time_ns;
    char id[2 * BB_BATTERY_ID_BYTES_MAX + 1024];
};

// ---- reading YAML ----

typedef struct {
    yaml_document_t document;
    const char *path;
    cli_error_t *error;
} s_yaml_t;

static bool s_fail(s_yaml_t *yaml, const yaml_node_t *node, const char *format, ...)
    BB_PRINTF(3, 4);
static bool s_fail(s_yaml_t *yaml, const yaml_node_t *node, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cli_bad(yaml->error, "%s:%zu: %s", yaml->path, node ? node->start_mark.line + 1 : 1, text);
    return false;
}

static yaml_node_t *s_node(s_yaml_t *yaml, int id)
{
    return yaml_document_get_node(&yaml->document, id);
}

static const char *s_scalar(const yaml_node_t *node)
{
    return node && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
}

static yaml_node_t *s_get(s_yaml_t *yaml, const yaml_node_t *mapping, const char *key)
{
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        const char *name = s_scalar(s_node(yaml, pair->key));
        if (name && strcmp(name, key) == 0) {
            return s_node(yaml, pair->value);
        }
    }
    return NULL;
}

// Every key must be one of `allowed` (blank-separated, with blanks at both ends) and stand once.
static bool s_keys(s_yaml_t *yaml, const yaml_node_t *mapping, const char *allowed)
{
    if (mapping->type != YAML_MAPPING_NODE) {
        return s_fail(yaml, mapping, "expected keys%s", allowed);
    }
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        const yaml_node_t *node = s_node(yaml, pair->key);
        const char *name = s_scalar(node);
        char padded[80];
        snprintf(padded, sizeof padded, " %.70s ", name ? name : "?");
        if (!name || strchr(name, ' ') || !strstr(allowed, padded)) {
            return s_fail(yaml, node, "key '%.70s': unknown; expected%s", name ? name : "?",
                          allowed);
        }
        for (yaml_node_pair_t *other = mapping->data.mapping.pairs.start; other < pair; other++) {
            const char *other_name = s_scalar(s_node(yaml, other->key));
            if (other_name && strcmp(other_name, name) == 0) {
                return s_fail(yaml, node, "key '%s': given twice", name);
            }
        }
    }
    return true;
}

// An optional text; *out is a malloc'd copy or stays NULL.
static bool s_text(s_yaml_t *yaml, const yaml_node_t *mapping, const char *key, char **out)
{
    const yaml_node_t *node = s_get(yaml, mapping, key);
    if (!node) {
        return true;
    }
    const char *text = s_scalar(node);
    if (!text || !text[0]) {
        return s_fail(yaml, node, "key '%s': expected a text", key);
    }
    *out = bb_strdup(text);
    return true;
}

static bool s_number(s_yaml_t *yaml, const yaml_node_t *mapping, const char *key, double *out,
                     bool *is_given)
{
    const yaml_node_t *node = s_get(yaml, mapping, key);
    const char *text = s_scalar(node);
    if (node && (!text || !cli_double_parse(text, strlen(text), false, out))) {
        return s_fail(yaml, node, "key '%s': expected a number", key);
    }
    *is_given |= node != NULL;
    return true;
}

static bool s_flag(s_yaml_t *yaml, const yaml_node_t *mapping, const char *key, bool *out)
{
    const yaml_node_t *node = s_get(yaml, mapping, key);
    const char *text = s_scalar(node);
    if (node && (!text || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0))) {
        return s_fail(yaml, node, "key '%s': expected true or false", key);
    }
    if (node) {
        *out = strcmp(text, "true") == 0;
    }
    return true;
}

static bool s_type(s_yaml_t *yaml, const yaml_node_t *mapping, uint32_t *type)
{
    const yaml_node_t *node = s_get(yaml, mapping, "type");
    const char *text = s_scalar(node);
    *type = text ? bb_type_of_name(text) : 0;
    if (node && *type == 0) {
        return s_fail(yaml, node, "key 'type': '%.40s' is none of float, int, bool, state",
                      text ? text : "?");
    }
    return true;
}

static bool s_value(s_yaml_t *yaml, const yaml_node_t *node, bool is_tag, s_value_t *out)
{
    const char *allowed =
        is_tag ? " column value metric type carry " : " column metric type scale offset carry ";
    out->scale = 1.0;
    if (!s_keys(yaml, node, allowed) || !s_text(yaml, node, "column", &out->column.name) ||
        !s_text(yaml, node, "metric", &out->metric) || !s_type(yaml, node, &out->type) ||
        !s_flag(yaml, node, "carry", &out->column.carries) ||
        (is_tag && !s_text(yaml, node, "value", &out->value)) ||
        !s_number(yaml, node, "scale", &out->scale, &out->has_scale) ||
        !s_number(yaml, node, "offset", &out->shift, &out->has_scale)) {
        return false;
    }
    if ((out->column.name != NULL) == (out->value != NULL)) {
        return s_fail(yaml, node,
                      is_tag ? "key 'column': a tag has either a column or a value"
                             : "key 'column': missing");
    }
    if (!out->metric && !out->column.name) {
        return s_fail(yaml, node, "key 'metric': a fixed tag needs a name");
    }
    if (out->has_scale &&
        (out->type == BB_TYPE_BOOL || out->type == BB_TYPE_STATE || out->type == BB_TYPE_INT64)) {
        return s_fail(yaml, node, "key 'scale': only a float can be scaled");
    }
    if (!out->metric) {
        out->metric = bb_strdup(out->column.name);
    }
    return true;
}

static bool s_values(s_yaml_t *yaml, const yaml_node_t *battery, const char *key, bool is_tag,
                     s_value_t **out, uint32_t *count)
{
    const yaml_node_t *list = s_get(yaml, battery, key);
    uint32_t most = is_tag ? BB_ATTRIBUTES_MAX : BB_FRAME_METRICS_MAX;
    if (!list) {
        return is_tag || s_fail(yaml, battery, "key '%s': missing", key);
    }
    size_t length = list->type == YAML_SEQUENCE_NODE
                        ? (size_t)(list->data.sequence.items.top - list->data.sequence.items.start)
                        : 0;
    if (length == 0 || length > most) {
        return s_fail(yaml, list, "key '%s': expected a list of 1 to %u", key, most);
    }
    *out = bb_alloc_zero(length, sizeof **out);
    for (size_t i = 0; i < length; i++) {
        const yaml_node_t *node = s_node(yaml, list->data.sequence.items.start[i]);
        (*count)++; // so that a half-read value is freed
        if (!s_value(yaml, node, is_tag, &(*out)[i])) {
            return false;
        }
        for (size_t other = 0; other < i; other++) {
            if (strcmp((*out)[other].metric, (*out)[i].metric) == 0) {
                return s_fail(yaml, node, "key 'metric': '%s' is mapped twice", (*out)[i].metric);
            }
        }
    }
    return true;
}

static bool s_battery(s_yaml_t *yaml, const yaml_node_t *node, s_battery_t *out)
{
    if (!s_keys(yaml, node, " id column prefix suffix carry metrics tags ") ||
        !s_text(yaml, node, "id", &out->id) || !s_text(yaml, node, "column", &out->column.name) ||
        !s_text(yaml, node, "prefix", &out->prefix) ||
        !s_text(yaml, node, "suffix", &out->suffix) ||
        !s_flag(yaml, node, "carry", &out->column.carries)) {
        return false;
    }
    if ((out->id != NULL) == (out->column.name != NULL)) {
        return s_fail(yaml, node, "key 'id': a battery has either an id or a column");
    }
    return s_values(yaml, node, "metrics", false, &out->metrics, &out->metric_count) &&
           s_values(yaml, node, "tags", true, &out->tags, &out->tag_count);
}

static bool s_zone(s_yaml_t *yaml, const yaml_node_t *mapping, int32_t *offset_s)
{
    const yaml_node_t *node = s_get(yaml, mapping, "zone");
    const char *text = s_scalar(node);
    *offset_s = 0;
    if (!node || (text && (strcmp(text, "UTC") == 0 || strcmp(text, "Z") == 0))) {
        return true;
    }
    unsigned hours = 0, minutes = 0;
    int used = 0;
    if (!text || (text[0] != '+' && text[0] != '-') ||
        sscanf(text + 1, "%2u:%2u%n", &hours, &minutes, &used) != 2 || text[1 + used] != '\0' ||
        hours > 23 || minutes > 59) {
        return s_fail(yaml, node, "key 'zone': expected UTC or an offset such as +01:00");
    }
    *offset_s = (int32_t)(hours * 3600 + minutes * 60) * (text[0] == '-' ? -1 : 1);
    return true;
}

static bool s_time_format(s_yaml_t *yaml, const yaml_node_t *mapping, map_file_t *self)
{
    static const struct {
        const char *name;
        int64_t unit_ns;
    } formats[] = {{"rfc3339", 0},
                   {"epoch_ns", 1},
                   {"epoch_us", 1000},
                   {"epoch_ms", 1000000},
                   {"epoch_s", 1000000000}};
    const yaml_node_t *node = s_get(yaml, mapping, "format");
    const char *text = s_scalar(node);
    if (!node) {
        return true;
    }
    for (size_t i = 0; text && i < BB_COUNT_OF(formats); i++) {
        if (strcmp(text, formats[i].name) == 0) {
            self->time_unit_ns = formats[i].unit_ns;
            return true;
        }
    }
    if (!text || !strchr(text, '%')) {
        return s_fail(yaml, node,
                      "key 'format': expected rfc3339, epoch_s, epoch_ms, epoch_us, epoch_ns or a "
                      "pattern such as %%d.%%m.%%Y %%H:%%M:%%S");
    }
    self->time_pattern = bb_strdup(text);
    return true;
}

static bool s_offset(s_yaml_t *yaml, const yaml_node_t *node, s_offset_t *out)
{
    char *unit = NULL;
    if (!s_keys(yaml, node, " column unit carry ") ||
        !s_text(yaml, node, "column", &out->column.name) ||
        !s_flag(yaml, node, "carry", &out->column.carries) || !s_text(yaml, node, "unit", &unit)) {
        free(unit);
        return false;
    }
    out->unit_ns = unit ? bb_duration_unit_ns(bb_slice(unit, strlen(unit))) : 0;
    if (out->unit_ns > 0) {
        snprintf(out->unit, sizeof out->unit, "%s", unit);
    }
    free(unit);
    if (!out->column.name || out->unit_ns == 0) {
        return s_fail(yaml, node, "an offset needs a column and a unit (ns us ms s m h d w)");
    }
    return true;
}

static bool s_time(s_yaml_t *yaml, const yaml_node_t *node, map_file_t *self)
{
    if (!s_keys(yaml, node, " column format zone carry base offsets ") ||
        !s_text(yaml, node, "column", &self->time_column.name) ||
        !s_flag(yaml, node, "carry", &self->time_column.carries) ||
        !s_zone(yaml, node, &self->zone_offset_s) || !s_time_format(yaml, node, self)) {
        return false;
    }
    const yaml_node_t *base = s_get(yaml, node, "base");
    const char *text = s_scalar(base);
    self->has_base = base != NULL;
    bb_fault_t fault;
    if (base && (!text || bb_time_parse_rfc3339(bb_slice(text, strlen(text)), &self->base_ns,
                                                &fault) != BB_OK)) {
        return s_fail(yaml, base, "key 'base': expected an RFC 3339 time");
    }
    if (self->has_base == (self->time_column.name != NULL)) {
        return s_fail(yaml, node, "key 'time': needs either a column or a base");
    }
    const yaml_node_t *list = s_get(yaml, node, "offsets");
    if (!list) {
        return true;
    }
    if (list->type != YAML_SEQUENCE_NODE ||
        list->data.sequence.items.top - list->data.sequence.items.start > MAP_OFFSETS_MAX) {
        return s_fail(yaml, list, "key 'offsets': expected a list of at most %d", MAP_OFFSETS_MAX);
    }
    for (yaml_node_item_t *item = list->data.sequence.items.start;
         item < list->data.sequence.items.top; item++) {
        if (!s_offset(yaml, s_node(yaml, *item), &self->offsets[self->offset_count++])) {
            return false;
        }
    }
    return true;
}

static bool s_root(s_yaml_t *yaml, map_file_t *self)
{
    const yaml_node_t *root = yaml_document_get_root_node(&yaml->document);
    char *delimiter = NULL;
    if (!root) {
        return s_fail(yaml, NULL, "the file is empty");
    }
    if (!s_keys(yaml, root, " delimiter time batteries ") ||
        !s_text(yaml, root, "delimiter", &delimiter)) {
        return false;
    }
    self->delimiter = delimiter ? delimiter[0] : ',';
    bool is_one = !delimiter || strlen(delimiter) == 1;
    free(delimiter);
    if (!is_one || self->delimiter == '"') {
        return s_fail(yaml, root, "key 'delimiter': expected one character");
    }
    const yaml_node_t *time = s_get(yaml, root, "time");
    const yaml_node_t *list = s_get(yaml, root, "batteries");
    if (!time || !list) {
        return s_fail(yaml, root, "key '%s': missing", time ? "batteries" : "time");
    }
    if (!s_time(yaml, time, self)) {
        return false;
    }
    size_t count = list->type == YAML_SEQUENCE_NODE
                       ? (size_t)(list->data.sequence.items.top - list->data.sequence.items.start)
                       : 0;
    if (count == 0 || count > MAP_BATTERIES_MAX) {
        return s_fail(yaml, list, "key 'batteries': expected a list of 1 to %d", MAP_BATTERIES_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *node = s_node(yaml, list->data.sequence.items.start[i]);
        if (!s_battery(yaml, node, &self->batteries[self->battery_count++])) {
            return false;
        }
    }
    return true;
}

map_file_t *map_file_load(const char *path, cli_error_t *error)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        cli_bad(error, "%s: cannot be read", path);
        return NULL;
    }
    yaml_parser_t parser;
    s_yaml_t yaml = {.path = path, .error = error};
    map_file_t *self = bb_alloc_zero(1, sizeof *self);
    bool good = false;
    if (!yaml_parser_initialize(&parser)) {
        bb_assert_failed(__FILE__, __LINE__, "out of memory");
    }
    yaml_parser_set_input_file(&parser, file);
    if (yaml_parser_load(&parser, &yaml.document)) {
        good = s_root(&yaml, self);
        yaml_document_delete(&yaml.document);
    } else {
        cli_bad(error, "%s:%zu: not YAML: %s", path, parser.problem_mark.line + 1,
                parser.problem ? parser.problem : "cannot be read");
    }
    yaml_parser_delete(&parser);
    fclose(file);
    if (!good) {
        map_file_destroy(&self);
    }
    return self;
}

// ---- freeing ----

static void s_column_clear(s_column_t *column)
{
    free(column->name);
    free(column->carried);
}

static void s_values_clear(s_value_t *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        s_column_clear(&values[i].column);
        free(values[i].metric);
        free(values[i].value);
    }
    free(values);
}

void map_file_destroy(map_file_t **self)
{
    map_file_t *map = *self;
    if (!map) {
        return;
    }
    s_column_clear(&map->time_column);
    free(map->time_pattern);
    for (uint32_t i = 0; i < map->offset_count; i++) {
        s_column_clear(&map->offsets[i].column);
    }
    for (uint32_t i = 0; i < map->battery_count; i++) {
        s_battery_t *battery = &map->batteries[i];
        free(battery->id);
        free(battery->prefix);
        free(battery->suffix);
        s_column_clear(&battery->column);
        s_values_clear(battery->metrics, battery->metric_count);
        s_values_clear(battery->tags, battery->tag_count);
    }
    free(map);
    *self = NULL;
}

char map_file_delimiter(const map_file_t *self)
{
    return self->delimiter;
}

uint32_t map_file_battery_count(const map_file_t *self)
{
    return self->battery_count;
}

// ---- binding and rows ----

typedef bool (*s_column_fn)(void *context, s_column_t *column);

static bool s_each_column(map_file_t *self, s_column_fn callback, void *context)
{
    bool good = callback(context, &self->time_column);
    for (uint32_t i = 0; good && i < self->offset_count; i++) {
        good = callback(context, &self->offsets[i].column);
    }
    for (uint32_t b = 0; good && b < self->battery_count; b++) {
        s_battery_t *battery = &self->batteries[b];
        good = callback(context, &battery->column);
        for (uint32_t i = 0; good && i < battery->metric_count; i++) {
            good = callback(context, &battery->metrics[i].column);
        }
        for (uint32_t i = 0; good && i < battery->tag_count; i++) {
            good = callback(context, &battery->tags[i].column);
        }
    }
    return good;
}

typedef struct {
    const bb_slice_t *cells;
    uint32_t cell_count;
    cli_error_t *error;
} s_cells_t;

static bool s_bind(void *context, s_column_t *column)
{
    s_cells_t *header = context;
    uint32_t found = 0;
    column->carried_length = 0;
    if (!column->name) {
        return true;
    }
    for (uint32_t i = 0; i < header->cell_count; i++) {
        if (header->cells[i].length == strlen(column->name) &&
            memcmp(header->cells[i].data, column->name, header->cells[i].length) == 0) {
            column->index = i;
            found++;
        }
    }
    if (found != 1) {
        cli_bad(header->error, "column '%s' of the map %s", column->name,
                found == 0 ? "is not in the header" : "is in the header twice");
    }
    return found == 1;
}

bool map_file_bind(map_file_t *self, const bb_slice_t *cells, uint32_t cell_count,
                   cli_error_t *error)
{
    s_cells_t header = {cells, cell_count, error};
    return s_each_column(self, s_bind, &header);
}

static bool s_load(void *context, s_column_t *column)
{
    s_cells_t *row = context;
    if (!column->name) {
        return true;
    }
    column->cell = row->cells[column->index];
    if (!column->carries) {
        return true;
    }
    if (column->cell.length == 0) {
        column->cell = bb_slice(column->carried, column->carried_length);
        return true;
    }
    if (column->cell.length > column->carried_capacity) {
        column->carried_capacity = column->cell.length * 2;
        column->carried = bb_realloc(column->carried, column->carried_capacity);
    }
    memcpy(column->carried, column->cell.data, column->cell.length);
    column->carried_length = column->cell.length;
    return true;
}

static cli_line_t s_bad_cell(cli_error_t *error, const s_column_t *column, const char *rule)
{
    return cli_bad(error, "column '%s': '%.*s' %s", column->name,
                   (int)BB_MIN(column->cell.length, 64),
                   column->cell.data ? (const char *)column->cell.data : "", rule);
}

static bool s_pattern_parse(const map_file_t *self, bb_slice_t cell, int64_t *time_ns)
{
    char text[128];
    if (cell.length >= sizeof text) {
        return false;
    }
    memcpy(text, cell.data, cell.length);
    text[cell.length] = '\0';
    struct tm civil = {.tm_mday = 1};
    const char *end = strptime(text, self->time_pattern, &civil);
    if (!end || *end) {
        return false;
    }
    bool has_zone = strstr(self->time_pattern, "%z") != NULL;
    int64_t offset_s = has_zone ? civil.tm_gmtoff : self->zone_offset_s;
    int64_t seconds = (int64_t)timegm(&civil) - offset_s;
    return !__builtin_mul_overflow(seconds, BB_NS_PER_S, time_ns);
}

static cli_line_t s_row_base(const map_file_t *self, int64_t *time_ns, cli_error_t *error)
{
    const s_column_t *column = &self->time_column;
    bool good;
    if (self->has_base) {
        *time_ns = self->base_ns;
        return CLI_LINE_RECORD;
    }
    if (column->cell.length == 0) {
        return s_bad_cell(error, column, "is empty; a row needs a time");
    }
    if (self->time_pattern) {
        good = s_pattern_parse(self, column->cell, time_ns);
    } else if (self->time_unit_ns > 0) {
        good = bb_time_parse_epoch(column->cell, self->time_unit_ns, time_ns, NULL) == BB_OK;
    } else {
        good = bb_time_parse_zoned(column->cell, self->zone_offset_s, time_ns, NULL) == BB_OK;
    }
    return good ? CLI_LINE_RECORD : s_bad_cell(error, column, "is no time of the map's format");
}

// The offset is a decimal in the unit, exact: "16.781" s is 16,781,000,000 ns.
static cli_line_t s_row_offset(const s_offset_t *offset, int64_t *time_ns, cli_error_t *error)
{
    char text[64];
    bb_slice_t cell = offset->column.cell;
    const char *digits = cell.data;
    bool negative = cell.length > 0 && digits[0] == '-';
    size_t length = cell.length - negative;
    int64_t delta_ns;
    if (cell.length == 0 || length + sizeof offset->unit >= sizeof text) {
        return s_bad_cell(error, &offset->column, "is no offset of time");
    }
    memcpy(text, digits + negative, length);
    strcpy(text + length, offset->unit);
    if (bb_duration_parse(bb_slice(text, strlen(text)), &delta_ns, NULL) != BB_OK ||
        __builtin_add_overflow(*time_ns, negative ? -delta_ns : delta_ns, time_ns)) {
        return s_bad_cell(error, &offset->column, "is no offset of time");
    }
    return CLI_LINE_RECORD;
}

cli_line_t map_file_row(map_file_t *self, const bb_slice_t *cells, uint32_t cell_count,
                        cli_error_t *error)
{
    s_cells_t row = {cells, cell_count, error};
    s_each_column(self, s_load, &row);
    cli_line_t result = s_row_base(self, &self->row_time_ns, error);
    for (uint32_t i = 0; result == CLI_LINE_RECORD && i < self->offset_count; i++) {
        result = s_row_offset(&self->offsets[i], &self->row_time_ns, error);
    }
    return result;
}

static bool s_is_nothing(bb_slice_t cell)
{
    return cell.length == 0 || (cell.length == 3 && strncasecmp(cell.data, "nan", 3) == 0);
}

static cli_line_t s_cell_value(const s_value_t *value, cli_field_t *field, cli_error_t *error)
{
    bb_slice_t cell = value->column.cell;
    bool flag = false;
    field->name = bb_slice(value->metric, strlen(value->metric));
    field->type = value->type ? (busbar_type_t)value->type : BUSBAR_FLOAT64;
    switch (value->type) {
    case BB_TYPE_INT64:
        if (!cli_int64_parse(cell.data, cell.length, &field->integer)) {
            return s_bad_cell(error, &value->column, "is not a 64-bit integer");
        }
        break;
    case BB_TYPE_BOOL:
        if (!cli_bool_parse(cell.data, cell.length, &flag)) {
            return s_bad_cell(error, &value->column, "is not a bool");
        }
        field->boolean = flag;
        break;
    case BB_TYPE_STATE:
        field->text = cell;
        break;
    default:
        if (cli_double_parse(cell.data, cell.length, true, &field->number)) {
            if (value->has_scale) {
                field->number = field->number * value->scale + value->shift;
            }
        } else if (value->type == 0 && !value->has_scale) {
            field->type = BUSBAR_STATE;
            field->text = cell;
        } else {
            return s_bad_cell(error, &value->column, "is not a number");
        }
    }
    return CLI_LINE_RECORD;
}

static cli_line_t s_battery_id(map_file_t *self, const s_battery_t *battery, cli_record_t *record,
                               cli_error_t *error)
{
    if (battery->id) {
        record->battery = bb_slice(battery->id, strlen(battery->id));
        return CLI_LINE_RECORD;
    }
    bb_slice_t cell = battery->column.cell;
    if (cell.length == 0 || cell.length > BB_BATTERY_ID_BYTES_MAX) {
        return s_bad_cell(error, &battery->column, "is no battery id (1 to 128 bytes)");
    }
    int length = snprintf(self->id, sizeof self->id, "%.512s%.*s%.512s",
                          battery->prefix ? battery->prefix : "", (int)cell.length,
                          (const char *)cell.data, battery->suffix ? battery->suffix : "");
    record->battery = bb_slice(self->id, (size_t)length);
    return CLI_LINE_RECORD;
}

cli_line_t map_file_record(map_file_t *self, uint32_t battery_index, cli_record_t *record,
                           cli_error_t *error)
{
    BB_ASSERT(battery_index < self->battery_count);
    const s_battery_t *battery = &self->batteries[battery_index];
    record->field_count = record->tag_count = record->empty_count = 0;
    record->has_time = true;
    record->time_ns = self->row_time_ns;
    cli_line_t result = s_battery_id(self, battery, record, error);
    for (uint32_t i = 0; result == CLI_LINE_RECORD && i < battery->metric_count; i++) {
        const s_value_t *value = &battery->metrics[i];
        if (s_is_nothing(value->column.cell)) {
            record->empty_count++;
            continue;
        }
        result = s_cell_value(value, &record->fields[record->field_count], error);
        record->field_count += result == CLI_LINE_RECORD;
    }
    for (uint32_t i = 0; result == CLI_LINE_RECORD && i < battery->tag_count; i++) {
        const s_value_t *tag = &battery->tags[i];
        bb_slice_t text = tag->value ? bb_slice(tag->value, strlen(tag->value)) : tag->column.cell;
        if (text.length > 0) {
            record->tags[record->tag_count++] =
                (cli_tag_t){bb_slice(tag->metric, strlen(tag->metric)), text};
        }
    }
    if (result == CLI_LINE_RECORD && record->field_count == 0) {
        return CLI_LINE_EMPTY;
    }
    return result;
}
