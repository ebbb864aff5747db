// SPDX-License-Identifier: Apache-2.0
// Goal: the same rows as table, CSV and JSON come out byte for byte as the documents say. Method:
// standard output goes to a temporary file (no terminal), which is read back.
#include "client/cli/cli_output.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

static int s_stdout, s_stderr; // the real ones
static FILE *s_file, *s_complaints;

static void s_begin(void)
{
    fflush(stdout);
    s_file = tmpfile();
    s_complaints = tmpfile();
    assert_true(s_file && s_complaints);
    s_stdout = dup(STDOUT_FILENO);
    s_stderr = dup(STDERR_FILENO);
    assert_true(dup2(fileno(s_file), STDOUT_FILENO) >= 0);
    assert_true(dup2(fileno(s_complaints), STDERR_FILENO) >= 0);
}

static void s_read(FILE *file, char *out, size_t size)
{
    rewind(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
}

static const char *s_end(char complaints[512])
{
    static char text[65536];
    fflush(stdout);
    dup2(s_stdout, STDOUT_FILENO);
    dup2(s_stderr, STDERR_FILENO);
    close(s_stdout);
    close(s_stderr);
    s_read(s_file, text, sizeof text);
    s_read(s_complaints, complaints, 512);
    return text;
}

static const char *s_rows(cli_form_t form, bool complete, char complaints[512])
{
    static const char *const columns[] = {"battery", "time", "value"};
    static const uint32_t missing[] = {3, 17};
    s_begin();
    cli_output_t *output = cli_output_open(form, columns, 3);
    cli_output_text(output, "b,\"1\"");
    cli_output_time(output, INT64_C(1767225600500000000));
    cli_output_double(output, 0.1);
    cli_output_row_end(output);
    cli_output_text(output, "b2\n\x01\xc3\xa9");
    cli_output_time(output, 1);
    cli_output_double(output, NAN);
    cli_output_row_end(output);
    cli_output_text(output, "b3");
    cli_output_empty(output);
    cli_output_value(output, BUSBAR_INT64, (busbar_value_t){.integer = INT64_MIN});
    cli_output_row_end(output);
    cli_output_text(output, "b4");
    cli_output_empty(output);
    cli_output_value(output, BUSBAR_BOOL, (busbar_value_t){.boolean = 1});
    cli_output_row_end(output);
    cli_output_text(output, "b5");
    cli_output_empty(output);
    cli_output_value(output, BUSBAR_STATE, (busbar_value_t){.text = "Idle"});
    cli_output_row_end(output);
    bool written = cli_output_finish(&output, complete, missing, complete ? 0 : 2);
    const char *text = s_end(complaints);
    assert_true(written);
    assert_null(output);
    return text;
}

static void test_json(void **state)
{
    (void)state;
    char complaints[512];
    assert_string_equal(s_rows(CLI_JSON, true, complaints),
                        "{\"columns\":[\"battery\",\"time\",\"value\"],\"rows\":[\n"
                        "[\"b,\\\"1\\\"\",\"2026-01-01T00:00:00.5Z\",0.1],\n"
                        "[\"b2\\n\\u0001\xc3\xa9\",\"1970-01-01T00:00:00.000000001Z\",null],\n"
                        "[\"b3\",null,-9223372036854775808],\n"
                        "[\"b4\",null,true],\n"
                        "[\"b5\",null,\"Idle\"]\n"
                        "],\"complete\":true,\"missing_partitions\":[]}\n");
    assert_string_equal(complaints, "");
}

static void test_json_of_a_partial_answer(void **state)
{
    (void)state;
    char complaints[512];
    const char *text = s_rows(CLI_JSON, false, complaints);
    assert_non_null(strstr(text, "],\"complete\":false,\"missing_partitions\":[3,17]}\n"));
    assert_non_null(strstr(complaints, "partial answer: 2 partitions are missing"));
}

static void test_csv(void **state)
{
    (void)state;
    char complaints[512];
    assert_string_equal(s_rows(CLI_CSV, true, complaints),
                        "battery,time,value\n"
                        "\"b,\"\"1\"\"\",2026-01-01T00:00:00.5Z,0.1\n"
                        "\"b2\n\x01\xc3\xa9\",1970-01-01T00:00:00.000000001Z,NaN\n"
                        "b3,,-9223372036854775808\n"
                        "b4,,true\n"
                        "b5,,Idle\n");
}

static void test_table_aligns_and_has_no_colours_off_a_terminal(void **state)
{
    (void)state;
    static const char *const columns[] = {"battery", "n"};
    char complaints[512];
    s_begin();
    cli_output_t *output = cli_output_open(CLI_TABLE, columns, 2);
    cli_output_text(output, "long-name");
    cli_output_int64(output, 7);
    cli_output_row_end(output);
    cli_output_text(output, "\xc3\xa9"); // one character, two bytes
    cli_output_uint64(output, 1234);
    cli_output_row_end(output);
    cli_output_text(output, "x");
    cli_output_empty(output);
    cli_output_row_end(output);
    assert_true(cli_output_finish(&output, true, NULL, 0));
    assert_string_equal(s_end(complaints), "battery       n\n"
                                           "long-name     7\n"
                                           "\xc3\xa9          1234\n"
                                           "x             -\n");
}

static void test_a_long_table_keeps_every_row(void **state)
{
    (void)state;
    static const char *const columns[] = {"n"};
    char complaints[512], wanted[16];
    s_begin();
    cli_output_t *output = cli_output_open(CLI_TABLE, columns, 1);
    for (int i = 0; i < 1000; i++) {
        cli_output_int64(output, i);
        cli_output_row_end(output);
    }
    assert_true(cli_output_finish(&output, true, NULL, 0));
    const char *text = s_end(complaints);
    uint32_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++) {
        lines++;
    }
    assert_int_equal(lines, 1001);
    snprintf(wanted, sizeof wanted, "%d\n", 999);
    assert_non_null(strstr(text, wanted));
}

static void test_no_rows(void **state)
{
    (void)state;
    static const char *const columns[] = {"battery", "value"};
    static const struct {
        cli_form_t form;
        const char *text;
    } cases[] = {
        {CLI_JSON, "{\"columns\":[\"battery\",\"value\"],\"rows\":[],\"complete\":true,"
                   "\"missing_partitions\":[]}\n"},
        {CLI_CSV, "battery,value\n"},
        {CLI_TABLE, "battery  value\n"},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        char complaints[512];
        s_begin();
        cli_output_t *output = cli_output_open(cases[i].form, columns, 2);
        assert_true(cli_output_finish(&output, true, NULL, 0));
        assert_string_equal(s_end(complaints), cases[i].text);
    }
}

static void test_forms(void **state)
{
    (void)state;
    cli_form_t form;
    char complaints[512];
    assert_true(cli_form(NULL, &form) && form == CLI_TABLE);
    assert_true(cli_form("json", &form) && form == CLI_JSON);
    assert_true(cli_form("csv", &form) && form == CLI_CSV);
    s_begin();
    bool taken = cli_form("xml", &form);
    s_end(complaints);
    assert_false(taken);
    assert_non_null(strstr(complaints, "'xml' is none of table, csv, json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_of_a_partial_answer),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_table_aligns_and_has_no_colours_off_a_terminal),
        cmocka_unit_test(test_a_long_table_keeps_every_row),
        cmocka_unit_test(test_no_rows),
        cmocka_unit_test(test_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
