// SPDX-License-Identifier: Apache-2.0
// Goal: the three line formats give the fields that their definitions say, and every malformed line
// is refused with a sentence that names the field or the rule. Method: tables of lines.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "client/cli/parse_csv.h"
#include "client/cli/parse_influx.h"
#include "client/cli/parse_ndjson.h"

static cli_record_t s_record;
static cli_error_t s_error;
static char s_line[8192];

static cli_line_t s_influx(const char *text)
{
    static const parse_influx_options_t options = {NULL, CLI_NS};
    strcpy(s_line, text);
    return parse_influx(&options, s_line, strlen(s_line), &s_record, &s_error);
}

static cli_line_t s_ndjson(const char *text)
{
    strcpy(s_line, text);
    return parse_ndjson(CLI_MS, 0, s_line, strlen(s_line), &s_record, &s_error);
}

static void s_expect_text(bb_slice_t slice, const char *text)
{
    assert_int_equal(slice.length, strlen(text));
    assert_memory_equal(slice.data, text, slice.length);
}

static const cli_field_t *s_field(const char *name)
{
    for (uint32_t i = 0; i < s_record.field_count; i++) {
        if (s_record.fields[i].name.length == strlen(name) &&
            memcmp(s_record.fields[i].name.data, name, strlen(name)) == 0) {
            return &s_record.fields[i];
        }
    }
    fail_msg("no field %s", name);
    return NULL;
}

static void test_influx_types_tags_and_escapes(void **state)
{
    (void)state;
    assert_int_equal(
        s_influx("pack\\ one,site=a\\,b,battery=b\\ 1,id=x v=412.7,n=-3i,u=7u,on=t,off=FALSE,"
                 "s=\"say \\\"hi\\\", ok\",k\\=ey=1e3 1700000000000000001"),
        CLI_LINE_RECORD);
    s_expect_text(s_record.battery, "b 1");
    assert_int_equal(s_record.tag_count, 2);
    s_expect_text(s_record.tags[0].key, "site");
    s_expect_text(s_record.tags[0].value, "a,b");
    s_expect_text(s_record.tags[1].key, "id"); // weaker than `battery`: an attribute
    assert_int_equal(s_record.field_count, 7);
    assert_true(s_field("v")->type == BUSBAR_FLOAT64 && s_field("v")->number == 412.7);
    assert_true(s_field("n")->type == BUSBAR_INT64 && s_field("n")->integer == -3);
    assert_true(s_field("u")->type == BUSBAR_INT64 && s_field("u")->integer == 7);
    assert_true(s_field("on")->type == BUSBAR_BOOL && s_field("on")->boolean);
    assert_true(s_field("off")->type == BUSBAR_BOOL && !s_field("off")->boolean);
    s_expect_text(s_field("s")->text, "say \"hi\", ok");
    assert_true(s_field("k=ey")->number == 1000);
    assert_true(s_record.has_time && s_record.time_ns == INT64_C(1700000000000000001));
}

static void test_influx_battery_tag_ranks(void **state)
{
    (void)state;
    assert_int_equal(s_influx("m,device_id=d,id=i v=1"), CLI_LINE_RECORD);
    s_expect_text(s_record.battery, "i");
    assert_false(s_record.has_time);
    assert_int_equal(s_record.tag_count, 1); // device_id stays as an attribute
    const parse_influx_options_t options = {"pack", CLI_S};
    strcpy(s_line, "m,id=i,pack=p v=1 5");
    assert_int_equal(parse_influx(&options, s_line, strlen(s_line), &s_record, &s_error),
                     CLI_LINE_RECORD);
    s_expect_text(s_record.battery, "p");
    assert_true(s_record.time_ns == 5 * INT64_C(1000000000));
}

static void test_influx_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *line, *named; // the error must hold this
    } bad[] = {
        {"m v=1", "battery"},
        {",id=b v=1", "measurement"},
        {"m,id=b", "field"},
        {"m,id=b v", "name=value"},
        {"m,id=b v=", "'v'"},
        {"m,id=b v=nan", "'v'"},
        {"m,id=b v=1x", "'v'"},
        {"m,id=b v=9223372036854775808i", "'v'"},
        {"m,id=b v=18446744073709551615u", "'v'"},
        {"m,id=b v=-1u", "'v'"},
        {"m,id=b v=\"open", "closing quote"},
        {"m,id=b v=\"a\"b", "after the value"},
        {"m,id=b v=1 12.5", "time"},
        {"m,id=b v=1 99999999999999999999", "time"},
        {"m,id=b v=1 1 2", "time"},
        {"m,id= v=1", "'id'"},
        {"m,=b v=1", "key=value"},
        {"m,id=b v=1,", "name=value"},
        {"m,id=b =1", "name=value"},
    };
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        s_error.text[0] = '\0';
        assert_int_equal(s_influx(bad[i].line), CLI_LINE_BAD);
        if (!strstr(s_error.text, bad[i].named)) {
            fail_msg("'%s': '%s' does not name %s", bad[i].line, s_error.text, bad[i].named);
        }
    }
    assert_int_equal(s_influx(""), CLI_LINE_EMPTY);
    assert_int_equal(s_influx("# comment"), CLI_LINE_EMPTY);
    assert_int_equal(s_influx("   \r"), CLI_LINE_EMPTY);
}

static void test_influx_limits(void **state)
{
    (void)state;
    size_t length = (size_t)sprintf(s_line, "m,id=b ");
    static char line[16384];
    strcpy(line, s_line);
    for (int i = 0; i < BB_FRAME_METRICS_MAX + 1; i++) {
        length += (size_t)sprintf(line + length, "%sf%d=1", i ? "," : "", i);
    }
    static const parse_influx_options_t options = {NULL, CLI_NS};
    assert_int_equal(parse_influx(&options, line, length, &s_record, &s_error), CLI_LINE_BAD);
    length = (size_t)sprintf(line, "m,id=b");
    for (int i = 0; i < BB_ATTRIBUTES_MAX + 1; i++) {
        length += (size_t)sprintf(line + length, ",t%d=x", i);
    }
    length += (size_t)sprintf(line + length, " v=1");
    assert_int_equal(parse_influx(&options, line, length, &s_record, &s_error), CLI_LINE_BAD);
}

static parse_csv_t *s_csv(const char *header)
{
    strcpy(s_line, header);
    return parse_csv_new(s_line, strlen(s_line), CLI_NS, INT64_C(1000000000), &s_error);
}

static cli_line_t s_row(parse_csv_t *csv, const char *text)
{
    strcpy(s_line, text);
    return parse_csv_row(csv, s_line, strlen(s_line), &s_record, &s_error);
}

static void test_csv_types(void **state)
{
    (void)state;
    parse_csv_t *csv = s_csv("\xef\xbb\xbftime,battery,v,n:int,on:bool,\"st:state\",x:float\r");
    assert_non_null(csv);
    assert_int_equal(s_row(csv, "2026-01-01T00:00:00.5Z,b1,412.7,-3,true,\"a,\"\"b\",NaN\r"),
                     CLI_LINE_RECORD);
    s_expect_text(s_record.battery, "b1");
    assert_true(s_record.time_ns == INT64_C(1767225600500000000));
    assert_true(s_field("v")->number == 412.7);
    assert_true(s_field("n")->integer == -3);
    assert_true(s_field("on")->boolean);
    s_expect_text(s_field("st")->text, "a,\"b");
    assert_true(isnan(s_field("x")->number));
    assert_int_equal(s_row(csv, "1,b1,,,,,"), CLI_LINE_EMPTY);
    assert_int_equal(s_record.empty_count, 5);
    assert_int_equal(s_row(csv, ",b1,Idle,,,,"), CLI_LINE_RECORD);
    assert_false(s_record.has_time);
    assert_int_equal(s_field("v")->type, BUSBAR_STATE); // untyped text is a state
    assert_int_equal(s_row(csv, "now,b1,1,,,,"), CLI_LINE_RECORD);
    assert_true(s_record.time_ns == INT64_C(1000000000));
    parse_csv_destroy(&csv);
}

static void test_csv_refuses(void **state)
{
    (void)state;
    static const char *const headers[] = {"time,v",      "battery",          "time,battery",
                                          "battery,v,v", "battery,v:double", "battery,battery,v",
                                          "battery,",    "battery,\"v"};
    for (size_t i = 0; i < BB_COUNT_OF(headers); i++) {
        s_error.text[0] = '\0';
        assert_null(s_csv(headers[i]));
        assert_true(s_error.text[0] != '\0');
    }
    parse_csv_t *csv = s_csv("time,battery,v:float,n:int,on:bool");
    static const struct {
        const char *row, *named;
    } bad[] = {{"1,b", "cells"},         {"1,b,1,1,1,1", "cells"},   {"1,b,x,1,1", "'v'"},
               {"1,b,1,1.5,1", "'n'"},   {"1,b,1,1,maybe", "'on'"},  {"soon,b,1,1,1", "'time'"},
               {"1,b,\"1,1,1", "quote"}, {"1,b,\"1\"x,1,1", "quote"}};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        assert_int_equal(s_row(csv, bad[i].row), CLI_LINE_BAD);
        if (!strstr(s_error.text, bad[i].named)) {
            fail_msg("'%s': '%s' does not name %s", bad[i].row, s_error.text, bad[i].named);
        }
    }
    parse_csv_destroy(&csv);
}

static void test_ndjson_values(void **state)
{
    (void)state;
    assert_int_equal(
        s_ndjson(
            "{ \"battery\" : \"b\\u00e91\\ud83d\\ude00\", \"time\":1700000000000, \"v\":-1.5e2,"
            "\"on\":true, \"s\":\"a\\n\\\"\", \"none\":null, \"cycles:int\":12 } "),
        CLI_LINE_RECORD);
    s_expect_text(s_record.battery, "b\xc3\xa9"
                                    "1\xf0\x9f\x98\x80");
    assert_true(s_record.time_ns == INT64_C(1700000000000000000));
    assert_int_equal(s_record.field_count, 4);
    assert_int_equal(s_record.empty_count, 1);
    assert_true(s_field("v")->number == -150);
    assert_true(s_field("cycles")->type == BUSBAR_INT64 && s_field("cycles")->integer == 12);
    s_expect_text(s_field("s")->text, "a\n\"");
    assert_int_equal(s_ndjson("{\"battery\":\"b\",\"time\":\"2026-01-01T00:00:00Z\",\"v\":1}"),
                     CLI_LINE_RECORD);
    assert_true(s_record.time_ns == INT64_C(1767225600000000000));
}

static void test_ndjson_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"[]",
                                      "{",
                                      "{\"battery\":\"b\"",
                                      "{\"v\":1}",
                                      "{\"battery\":1,\"v\":1}",
                                      "{\"battery\":\"b\",\"v\":}",
                                      "{\"battery\":\"b\",\"v\":01}",
                                      "{\"battery\":\"b\",\"v\":+1}",
                                      "{\"battery\":\"b\",\"v\":.5}",
                                      "{\"battery\":\"b\",\"v\":1.}",
                                      "{\"battery\":\"b\",\"v\":NaN}",
                                      "{\"battery\":\"b\",\"v\":1e999}",
                                      "{\"battery\":\"b\",\"v\":1,\"v\":2}",
                                      "{\"battery\":\"b\",\"v\":[1]}",
                                      "{\"battery\":\"b\",\"v\":{}}",
                                      "{\"battery\":\"b\",\"v\":\"\\x\"}",
                                      "{\"battery\":\"b\",\"v\":\"\\ud800\"}",
                                      "{\"battery\":\"b\",\"v\":1} x",
                                      "{\"battery\":\"b\",\"v\":1,}",
                                      "{\"battery\":\"b\" \"v\":1}",
                                      "{\"battery\":\"b\",\"time\":\"later\",\"v\":1}",
                                      "{\"battery\":\"b\",\"time\":1,\"time\":2,\"v\":1}",
                                      "{\"battery\":\"b\",\"v:int\":1.5}",
                                      "{\"battery\":\"b\",\"v:bool\":1}",
                                      "{\"battery\":\"b\",\"v\":\"open}"};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        s_error.text[0] = '\0';
        if (s_ndjson(bad[i]) != CLI_LINE_BAD || s_error.text[0] == '\0') {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    assert_int_equal(s_ndjson("  "), CLI_LINE_EMPTY);
    assert_int_equal(s_ndjson("{\"battery\":\"b\",\"v\":null}"), CLI_LINE_EMPTY);
}

// Bytes changed at random must never be read out of bounds (the sanitizers watch).
static void test_mutated_lines_do_not_crash(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "m,site=a\\,b,battery=b\\ 1 v=412.7,n=-3i,s=\"say \\\"hi\\\"\" 17",
        "{\"battery\":\"b\\u00e9\",\"time\":17,\"v\":-1.5e2,\"s\":\"a\\n\"}",
        "1,b1,\"4\"\"2\",x,,"};
    uint64_t random = 3;
    parse_csv_t *csv = s_csv("time,battery,v,n,on,st");
    uint32_t seen[3] = {0};
    for (int i = 0; i < 60000; i++) {
        char line[256];
        strcpy(line, seeds[i % 3]);
        size_t length = strlen(line);
        for (int k = 0; k < 1 + i % 3; k++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            line[(random >> 33) % length] = "\"\\,= \0{}:\x80 1"[(random >> 20) % 13];
        }
        char *exact = malloc(length); // so that one byte too far is seen
        memcpy(exact, line, length);
        static const parse_influx_options_t options = {NULL, CLI_NS};
        cli_line_t result = i % 3 == 0 ? parse_influx(&options, exact, length, &s_record, &s_error)
                            : i % 3 == 1
                                ? parse_ndjson(CLI_NS, 0, exact, length, &s_record, &s_error)
                                : parse_csv_row(csv, exact, length, &s_record, &s_error);
        seen[result]++;
        free(exact);
    }
    parse_csv_destroy(&csv);
    assert_true(seen[CLI_LINE_RECORD] > 1000 && seen[CLI_LINE_BAD] > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_influx_types_tags_and_escapes),
        cmocka_unit_test(test_influx_battery_tag_ranks),
        cmocka_unit_test(test_influx_refuses),
        cmocka_unit_test(test_influx_limits),
        cmocka_unit_test(test_csv_types),
        cmocka_unit_test(test_csv_refuses),
        cmocka_unit_test(test_ndjson_values),
        cmocka_unit_test(test_ndjson_refuses),
        cmocka_unit_test(test_mutated_lines_do_not_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
