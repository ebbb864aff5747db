// SPDX-License-Identifier: Apache-2.0
// Goal: a map turns rows into the frames that its keys say, and each mistake in a map, a header or
// a cell is refused with its place and rule. Method: maps and rows as text, frames compared as
// text.
#include "client/cli/map_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "client/cli/cli_csv.h"

#define S_CELLS_MAX 16

static map_file_t *s_map;
static cli_error_t s_error;
static char s_path[] = "/tmp/busbar-map-XXXXXX";
static char s_line[1024];
static bb_slice_t s_cells[S_CELLS_MAX];

static int s_setup(void **state)
{
    (void)state;
    int descriptor = mkstemp(s_path);
    return descriptor < 0 ? -1 : close(descriptor);
}

static int s_teardown(void **state)
{
    (void)state;
    map_file_destroy(&s_map);
    return unlink(s_path);
}

static bool s_load(const char *text)
{
    map_file_destroy(&s_map);
    FILE *file = fopen(s_path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    s_error.text[0] = '\0';
    s_map = map_file_load(s_path, &s_error);
    return s_map != NULL;
}

static uint32_t s_split(const char *line)
{
    strcpy(s_line, line);
    uint32_t count = cli_csv_split(s_line, strlen(s_line), map_file_delimiter(s_map), s_cells,
                                   S_CELLS_MAX, &s_error);
    assert_true(count > 0);
    return count;
}

static bool s_bind(const char *header)
{
    return map_file_bind(s_map, s_cells, s_split(header), &s_error);
}

// "battery time_ns name=value ... #key=value | next battery"; "" for no value, "! text" when
// refused.
static const char *s_row(const char *line)
{
    static char out[2048];
    static cli_record_t record;
    out[0] = '\0';
    size_t length = 0;
    if (map_file_row(s_map, s_cells, s_split(line), &s_error) == CLI_LINE_BAD) {
        snprintf(out, sizeof out, "! %s", s_error.text);
        return out;
    }
    for (uint32_t i = 0; i < map_file_battery_count(s_map); i++) {
        cli_line_t parsed = map_file_record(s_map, i, &record, &s_error);
        if (parsed == CLI_LINE_BAD) {
            snprintf(out, sizeof out, "! %s", s_error.text);
            return out;
        }
        if (parsed == CLI_LINE_EMPTY) {
            continue;
        }
        length += (size_t)sprintf(out + length, "%s%.*s %lld", length ? " | " : "",
                                  (int)record.battery.length, (const char *)record.battery.data,
                                  (long long)record.time_ns);
        for (uint32_t f = 0; f < record.field_count; f++) {
            const cli_field_t *field = &record.fields[f];
            length += (size_t)sprintf(out + length, " %.*s=", (int)field->name.length,
                                      (const char *)field->name.data);
            switch (field->type) {
            case BUSBAR_FLOAT64:
                length += (size_t)sprintf(out + length, "%g", field->number);
                break;
            case BUSBAR_INT64:
                length += (size_t)sprintf(out + length, "%lldi", (long long)field->integer);
                break;
            case BUSBAR_BOOL:
                length += (size_t)sprintf(out + length, "%s", field->boolean ? "true" : "false");
                break;
            case BUSBAR_STATE:
                length += (size_t)sprintf(out + length, "'%.*s'", (int)field->text.length,
                                          (const char *)field->text.data);
                break;
            }
        }
        for (uint32_t t = 0; t < record.tag_count; t++) {
            const cli_tag_t *tag = &record.tags[t];
            length += (size_t)sprintf(out + length, " #%.*s=%.*s", (int)tag->key.length,
                                      (const char *)tag->key.data, (int)tag->value.length,
                                      (const char *)tag->value.data);
        }
    }
    return out;
}

static void test_several_batteries_of_one_row(void **state)
{
    (void)state;
    assert_true(s_load("time: {column: t, format: epoch_s}\n"
                       "batteries:\n"
                       "  - id: left\n"
                       "    metrics:\n"
                       "      - {column: p, metric: power_kw, type: float, scale: 0.5, offset: 1}\n"
                       "      - {column: on, type: bool}\n"
                       "    tags: [{value: aachen, metric: site}, {column: maker}]\n"
                       "  - column: cell\n"
                       "    prefix: c-\n"
                       "    suffix: -x\n"
                       "    metrics: [{column: n, type: int}, {column: mode, type: state}]\n"));
    assert_int_equal(map_file_battery_count(s_map), 2);
    assert_int_equal(map_file_delimiter(s_map), ',');
    assert_true(s_bind("maker,t,p,on,cell,n,mode,unused"));
    assert_string_equal(s_row("acme,7,3,true,A,42,run,?"),
                        "left 7000000000 power_kw=2.5 on=true #site=aachen #maker=acme | "
                        "c-A-x 7000000000 n=42i mode='run'");
    assert_string_equal(s_row(",7,nan,,A,,NaN,?"), ""); // nan and empty cells are no value
    assert_string_equal(s_row(",8,,f,B,-1,,"),
                        "left 8000000000 on=false #site=aachen | c-B-x 8000000000 n=-1i");
}

static void test_types_follow_the_cell_when_none_is_given(void **state)
{
    (void)state;
    assert_true(s_load("time: {column: t, format: epoch_ns}\n"
                       "batteries: [{id: b, metrics: [{column: v}]}]\n"));
    assert_true(s_bind("t,v"));
    assert_string_equal(s_row("1,2.5"), "b 1 v=2.5");
    assert_string_equal(s_row("2,idle"), "b 2 v='idle'");
    assert_string_equal(s_row("3,-inf"), "b 3 v=-inf");
}

static void test_carry_and_forgetting(void **state)
{
    (void)state;
    assert_true(s_load(
        "time: {column: t, format: rfc3339, carry: true, offsets: [{column: s, unit: s}]}\n"
        "batteries:\n"
        "  - column: cell\n"
        "    carry: true\n"
        "    metrics: [{column: mode, type: state, carry: true}, {column: v, type: float}]\n"));
    assert_true(s_bind("t,s,cell,mode,v"));
    assert_string_equal(s_row("1970-01-01T00:00:10,0,A,run,1"), "A 10000000000 mode='run' v=1");
    assert_string_equal(s_row(",1.25,,,2"), "A 11250000000 mode='run' v=2");
    assert_string_equal(s_row(",2,B,stop,"), "B 12000000000 mode='stop'");
    assert_true(s_bind("t,s,cell,mode,v")); // the next file
    assert_non_null(strstr(s_row(",1,A,run,1"), "column 't'"));
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *time, *cell, *row;
    } cases[] = {
        {"{column: t, format: rfc3339}", "1970-01-01T00:00:01.5Z", "b 1500000000 v=1"},
        {"{column: t}", "1970-01-01T01:00:00+01:00", "b 0 v=1"},
        {"{column: t}", "1970-01-01T00:00:02", "b 2000000000 v=1"}, // zoneless: UTC
        {"{column: t, zone: \"-02:30\"}", "1970-01-01T00:00:00", "b 9000000000000 v=1"},
        {"{column: t, zone: \"+01:00\"}", "1970-01-01T02:00:00Z", "b 7200000000000 v=1"},
        {"{column: t, format: epoch_ms}", "1500", "b 1500000000 v=1"},
        {"{column: t, format: epoch_us}", "7", "b 7000 v=1"},
        {"{column: t, format: \"%d.%m.%Y %H:%M\"}", "02.01.1970 00:01", "b 86460000000000 v=1"},
        {"{column: t, format: \"%Y%m%d\", zone: \"+01:00\"}", "19700102", "b 82800000000000 v=1"},
        {"{base: 1970-01-01T00:00:01Z, offsets: [{column: t, unit: d}]}", "2",
         "b 172801000000000 v=1"},
        {"{base: 1970-01-01T00:00:01Z, offsets: [{column: t, unit: s}]}", "16.781",
         "b 17781000000 v=1"},
        {"{base: 1970-01-01T00:00:01Z, offsets: [{column: t, unit: ms}]}", "-250",
         "b 750000000 v=1"},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        char text[256], line[64];
        snprintf(text, sizeof text,
                 "time: %s\nbatteries: [{id: b, metrics: [{column: v, type: float}]}]\n",
                 cases[i].time);
        snprintf(line, sizeof line, "%s,1", cases[i].cell);
        if (!s_load(text)) {
            fail_msg("%s: %s", cases[i].time, s_error.text);
        }
        assert_true(s_bind("t,v"));
        assert_string_equal(s_row(line), cases[i].row);
    }
}

static void test_bad_cells_name_column_and_rule(void **state)
{
    (void)state;
    assert_true(s_load("delimiter: \";\"\n"
                       "time: {column: t, offsets: [{column: ms, unit: ms}]}\n"
                       "batteries:\n"
                       "  - column: cell\n"
                       "    metrics: [{column: v, type: float}, {column: n, type: int}, {column: "
                       "on, type: bool}]\n"));
    assert_int_equal(map_file_delimiter(s_map), ';');
    assert_true(s_bind("t;ms;cell;v;n;on"));
    static const struct {
        const char *row, *says[2];
    } cases[] = {
        {"noon;0;A;1;1;t", {"column 't'", "'noon'"}},
        {";0;A;1;1;t", {"column 't'", "empty"}},
        {"1970-02-30T00:00:00Z;0;A;1;1;t", {"column 't'", "1970-02-30"}},
        {"1970-01-01T00:00:00Z;x;A;1;1;t", {"column 'ms'", "'x'"}},
        {"1970-01-01T00:00:00Z;;A;1;1;t", {"column 'ms'", "offset"}},
        {"1970-01-01T00:00:00Z;0.0000001;A;1;1;t", {"column 'ms'", "0.0000001"}}, // not a whole ns
        {"1970-01-01T00:00:00Z;0;;1;1;t", {"column 'cell'", "1 to 128 bytes"}},
        {"1970-01-01T00:00:00Z;0;A;1,5;1;t", {"column 'v'", "'1,5'"}},
        {"1970-01-01T00:00:00Z;0;A;1;1.0;t", {"column 'n'", "integer"}},
        {"1970-01-01T00:00:00Z;0;A;1;1;ja", {"column 'on'", "'ja'"}},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        const char *row = s_row(cases[i].row);
        if (row[0] != '!' || !strstr(row, cases[i].says[0]) || !strstr(row, cases[i].says[1])) {
            fail_msg("'%s' gives: %s", cases[i].row, row);
        }
    }
}

static void test_headers(void **state)
{
    (void)state;
    assert_true(s_load("time: {column: t}\nbatteries: [{id: b, metrics: [{column: v}]}]\n"));
    assert_false(s_bind("t,w"));
    assert_non_null(strstr(s_error.text, "'v'"));
    assert_false(s_bind("t,v,v"));
    assert_non_null(strstr(s_error.text, "twice"));
    assert_true(s_bind("v,t"));
    assert_string_equal(s_row("1,1970-01-01T00:00:00Z"), "b 0 v=1");
}

static void test_bad_maps_name_line_and_key(void **state)
{
    (void)state;
#define S_BATTERIES "batteries: [{id: b, metrics: [{column: v}]}]\n"
    static const struct {
        const char *text, *place, *says;
    } cases[] = {
        {"", ":1:", "empty"},
        {"time: [\n", ":", "not YAML"},
        {"[1]\n", ":1:", "expected keys"},
        {"time: {column: t}\n", ":1:", "'batteries': missing"},
        {S_BATTERIES, ":1:", "'time': missing"},
        {"time: {column: t}\ncolour: red\n" S_BATTERIES, ":2:", "'colour': unknown"},
        {"time: {column: t}\ntime: {column: t}\n" S_BATTERIES, ":2:", "'time': given twice"},
        {"time: {}\n" S_BATTERIES, ":1:", "column or a base"},
        {"time: {column: t, base: 1970-01-01T00:00:00Z}\n" S_BATTERIES, ":1:", "column or a base"},
        {"time: {base: yesterday}\n" S_BATTERIES, ":1:", "'base'"},
        {"time: {column: t, format: iso}\n" S_BATTERIES, ":1:", "'format'"},
        {"time: {column: t, zone: CET}\n" S_BATTERIES, ":1:", "'zone'"},
        {"time: {column: t, zone: \"+25:00\"}\n" S_BATTERIES, ":1:", "'zone'"},
        {"time: {column: t, carry: maybe}\n" S_BATTERIES, ":1:", "'carry'"},
        {"time: {column: t, offsets: [{column: x, unit: y}]}\n" S_BATTERIES, ":1:", "unit"},
        {"time: {column: t, offsets: [{unit: s}]}\n" S_BATTERIES, ":1:", "column"},
        {"delimiter: tab\ntime: {column: t}\n" S_BATTERIES, ":1:", "'delimiter'"},
        {"time: {column: t}\nbatteries: []\n", ":2:", "'batteries'"},
        {"time: {column: t}\nbatteries: [{metrics: [{column: v}]}]\n", ":2:", "id or a column"},
        {"time: {column: t}\nbatteries: [{id: b, column: c, metrics: [{column: v}]}]\n",
         ":2:", "id or a column"},
        {"time: {column: t}\nbatteries: [{id: b}]\n", ":2:", "'metrics': missing"},
        {"time: {column: t}\nbatteries: [{id: b, metrics: []}]\n", ":2:", "'metrics'"},
        {"time: {column: t}\nbatteries:\n - id: b\n   metrics:\n    - {metric: v}\n",
         ":5:", "'column': missing"},
        {"time: {column: t}\nbatteries:\n - id: b\n   metrics:\n    - {column: v, type: double}\n",
         ":5:", "'double'"},
        {"time: {column: t}\nbatteries:\n - id: b\n   metrics:\n    - {column: v, type: int, "
         "scale: 2}\n",
         ":5:", "only a float"},
        {"time: {column: t}\nbatteries:\n - id: b\n   metrics:\n    - {column: v, scale: big}\n",
         ":5:", "'scale'"},
        {"time: {column: t}\nbatteries:\n - id: b\n   metrics:\n    - {column: v}\n    - {column: "
         "w, metric: v}\n",
         ":6:", "mapped twice"},
        {"time: {column: t}\nbatteries:\n - id: b\n   metrics: [{column: v}]\n   tags: [{metric: "
         "m}]\n",
         ":5:", "column or a value"},
        {"time: {column: t}\nbatteries:\n - id: b\n   metrics: [{column: v}]\n   tags: [{value: "
         "m}]\n",
         ":5:", "needs a name"},
    };
#undef S_BATTERIES
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        if (s_load(cases[i].text) || !strstr(s_error.text, s_path) ||
            !strstr(s_error.text, cases[i].place) || !strstr(s_error.text, cases[i].says)) {
            fail_msg("%zu '%s' gives: %s", i, cases[i].text, s_error.text);
        }
    }
    assert_null(map_file_load("/nonexistent/map.yaml", &s_error));
    assert_non_null(strstr(s_error.text, "map.yaml"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_batteries_of_one_row),
        cmocka_unit_test(test_types_follow_the_cell_when_none_is_given),
        cmocka_unit_test(test_carry_and_forgetting),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_bad_cells_name_column_and_rule),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_bad_maps_name_line_and_key),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
