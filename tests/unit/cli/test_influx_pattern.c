// SPDX-License-Identifier: Apache-2.0
// Goal: a line that influx_pattern reads is one that parse_influx takes, with the same battery,
// fields, values and time to the bit; lines of a known layout are read, others are left alone.
// Method: both readers side by side over written and over mutated lines.
#include "client/cli/influx_pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "client/cli/parse_influx.h"
#include "tests/support/bb_random.h"

#define S_KNOWN_MAX 4096

typedef struct {
    char battery[300];
    uint32_t tag_count;
} s_battery_t;

typedef struct {
    uint32_t count;
    char names[BB_FRAME_METRICS_MAX][80];
    busbar_type_t types[BB_FRAME_METRICS_MAX];
} s_shape_t;

// Plays the loader: gives a handle to each battery and list of fields that it has not seen.
typedef struct {
    influx_pattern_t *pattern;
    parse_influx_options_t options;
    s_battery_t batteries[S_KNOWN_MAX];
    s_shape_t shapes[256];
    uint32_t battery_count, shape_count;
    uint32_t hits, misses;
} s_pair_t;

static cli_record_t s_record;
static influx_frame_t s_frame;

static uint32_t s_battery(s_pair_t *self, const cli_record_t *record)
{
    s_battery_t wanted = {.tag_count = record->tag_count};
    assert_true(record->battery.length < sizeof wanted.battery);
    memcpy(wanted.battery, record->battery.data, record->battery.length);
    for (uint32_t i = 0; i < self->battery_count; i++) {
        if (memcmp(&self->batteries[i], &wanted, sizeof wanted) == 0) {
            return i;
        }
    }
    assert_true(self->battery_count < S_KNOWN_MAX);
    self->batteries[self->battery_count] = wanted;
    return self->battery_count++;
}

static uint32_t s_shape(s_pair_t *self, const cli_record_t *record)
{
    static s_shape_t wanted;
    memset(&wanted, 0, sizeof wanted);
    wanted.count = record->field_count;
    for (uint32_t i = 0; i < record->field_count; i++) {
        assert_true(record->fields[i].name.length < sizeof wanted.names[i]);
        memcpy(wanted.names[i], record->fields[i].name.data, record->fields[i].name.length);
        wanted.types[i] = record->fields[i].type;
    }
    for (uint32_t i = 0; i < self->shape_count; i++) {
        if (memcmp(&self->shapes[i], &wanted, sizeof wanted) == 0) {
            return i;
        }
    }
    if (self->shape_count == BB_COUNT_OF(self->shapes)) {
        return UINT32_MAX; // mutated names: not remembered
    }
    self->shapes[self->shape_count] = wanted;
    return self->shape_count++;
}

static void s_expect_value(const cli_field_t *field, const busbar_value_t *value)
{
    switch (field->type) {
    case BUSBAR_FLOAT64:
        assert_memory_equal(&field->number, &value->number, sizeof(double));
        break;
    case BUSBAR_INT64:
        assert_true(field->integer == value->integer);
        break;
    case BUSBAR_BOOL:
        assert_true(value->boolean == field->boolean);
        break;
    case BUSBAR_STATE:
        assert_int_equal(strlen(value->text), field->text.length);
        assert_memory_equal(value->text, field->text.data, field->text.length);
        break;
    }
}

// One line through both; true: the pattern knew it. The line lies in memory of exactly its size and
// the slack, so that a byte too far is seen.
static bool s_feed(s_pair_t *self, const char *text, size_t length)
{
    char *raw = bb_alloc(length + 1 + INFLUX_PATTERN_SLACK_BYTES);
    char *line = bb_alloc(length + 1);
    memcpy(raw, text, length);
    memset(raw + length, '7', INFLUX_PATTERN_SLACK_BYTES + 1); // what a careless reader would take
    raw[length] = '\0';
    memcpy(line, raw, length + 1);
    bool is_known = influx_pattern_read(self->pattern, raw, length, &s_frame);
    cli_error_t error;
    cli_line_t said = parse_influx(&self->options, line, length, &s_record, &error);
    if (is_known) {
        assert_int_equal(said, CLI_LINE_RECORD);
        assert_int_equal(s_frame.battery, s_battery(self, &s_record));
        assert_int_equal(s_frame.shape, s_shape(self, &s_record));
        assert_int_equal(s_frame.value_count, s_record.field_count);
        assert_true(s_frame.has_time == s_record.has_time);
        assert_true(!s_frame.has_time || s_frame.time_ns == s_record.time_ns);
        for (uint32_t i = 0; i < s_record.field_count; i++) {
            s_expect_value(&s_record.fields[i], &s_frame.values[i]);
        }
        self->hits++;
    } else {
        self->misses++;
        uint32_t shape = said == CLI_LINE_RECORD ? s_shape(self, &s_record) : UINT32_MAX;
        if (shape != UINT32_MAX) {
            influx_pattern_learn(self->pattern, raw, length, &s_record, s_battery(self, &s_record),
                                 shape);
        }
    }
    free(raw);
    free(line);
    return is_known;
}

static s_pair_t *s_pair_new(cli_precision_t precision)
{
    s_pair_t *self = bb_alloc_zero(1, sizeof *self);
    self->options.precision = precision;
    self->pattern = influx_pattern_new(precision);
    return self;
}

static void s_pair_free(s_pair_t *self)
{
    influx_pattern_destroy(&self->pattern);
    free(self);
}

static bool s_line(s_pair_t *self, const char *text)
{
    return s_feed(self, text, strlen(text));
}

static void test_second_line_of_a_layout_is_known(void **state)
{
    (void)state;
    s_pair_t *pair = s_pair_new(CLI_MS);
    static const char *const first[] = {
        "m,id=b1 v=1.5,n=3i,on=t,s=\"Idle\" 17",
        "m\\ one,site=a\\ b,id=b\\,2 v\\ x=1,long_name_of_a_field=2 5\r",
        "m,id=b3 soc=1",
        "m,id=b4 a=1i,b=2u,c=false,d=\"say \\\"x\\\"\" 9",
    };
    static const char *const second[] = {
        "m,id=b1 v=-0.25,n=-9223372036854775808i,on=FALSE,s=\"\" 9223372036854",
        "m\\ one,site=a\\ b,id=b\\,2 v\\ x=123456789012.5,long_name_of_a_field=1e300 6\r",
        "m,id=b3 soc=-0",
        "m,id=b4 a=12345678901i,b=9223372036854775807u,c=T,d=\"plain\" 1234567890123",
    };
    for (size_t i = 0; i < BB_COUNT_OF(first); i++) {
        assert_false(s_line(pair, first[i]));
    }
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < BB_COUNT_OF(second); i++) {
            assert_true(s_line(pair, second[i]));
        }
    }
    assert_true(s_line(pair, second[2])); // out of turn
    assert_true(s_line(pair, second[0]));
    s_pair_free(pair);
}

static void test_other_lines_are_left_to_the_grammar(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "# m,id=b1 v=1,n=2i 5",
        "m,id=b1",
        "m,id=b1 ",
        "m,id=b1 v",
        "m,id=b1 v=",
        "m,id=b1 v=1",
        "m,id=b1 v=1,",
        "m,id=b1 v=1,n=",
        "m,id=b1 v=1,n=2",        // no integer
        "m,id=b1 v=1i,n=2i 5",    // no float
        "m,id=b1 v=1,n=2i,x=3 5", // one more
        "m,id=b1 v=1.2.3,n=2i 5", // no number
        "m,id=b1 v=-,n=2i 5",
        "m,id=b1 v=.,n=2i 5",
        "m,id=b1 v=nan,n=2i 5",
        "m,id=b1 v=12345678.1.2,n=2i 5",
        "m,id=b1 v=1,n=-2u 5",
        "m,id=b1 v=1,n=9223372036854775808i 5",
        "m,id=b1 v=1,n=2i 5x",
        "m,id=b1 v=1,n=2i 99999999999999999999",
        "m,id=b1 v=1,n=2i 9223372036854775807", // does not fit as ms
        "m,id=b1 v=1,n=2i 5 6",
        "m,id=b1 w=1,n=2i 5",
        "m,id=b11 v=1,n=2i 5",
        "m,id=b1,x=y v=1,n=2i 5",
        "M,id=b1 v=1,n=2i 5",
    };
    s_pair_t *pair = s_pair_new(CLI_MS);
    for (size_t i = 0; i < BB_COUNT_OF(lines); i++) {
        s_pair_t *fresh = s_pair_new(CLI_MS);
        assert_false(s_line(fresh, "m,id=b1 v=1,n=2i 5"));
        assert_true(s_line(fresh, "m,id=b1 v=1,n=2i 5"));
        assert_false(s_line(fresh, lines[i]));
        s_pair_free(fresh);
    }
    // A NUL is refused by the grammar, wherever it is.
    assert_false(s_line(pair, "m,id=b1 s=\"abc\",v=1 5"));
    assert_true(s_line(pair, "m,id=b1 s=\"abc\",v=1 5"));
    char text[] = "m,id=b1 s=\"a?c\",v=1 5";
    text[12] = '\0';
    assert_false(s_feed(pair, text, sizeof text - 1));
    s_pair_free(pair);
}

// A line of a fleet with three layouts.
static size_t s_fleet_line(bb_random_t *random, uint32_t battery, char *line)
{
    size_t length = (size_t)sprintf(line, "m,site=s%u,id=b%04u", battery % 3, battery);
    if (battery % 3 == 0) {
        length += (size_t)sprintf(
            line + length, " v=%.*f,temperature_c=%.1f,n=%lldi", (int)(bb_random_next(random) % 7),
            (double)(int64_t)bb_random_next(random) / 1e15,
            (double)(bb_random_next(random) % 900) / 10 - 20,
            (long long)bb_random_next(random) >> (bb_random_next(random) % 64));
    } else if (battery % 3 == 1) {
        static const char *const names[] = {"Idle", "Charging", "Discharging", "", "Störung"};
        static const char *const flags[] = {"t", "false", "TRUE", "F"};
        length += (size_t)sprintf(
            line + length, " state=\"%s\",on=%s,e=%.17g", names[bb_random_next(random) % 5],
            flags[bb_random_next(random) % 4], (double)(int64_t)bb_random_next(random) * 1e-9);
    } else {
        length +=
            (size_t)sprintf(line + length, " f=%g", (double)(bb_random_next(random) % 100000));
    }
    if (bb_random_next(random) % 16 != 0) {
        length += (size_t)sprintf(line + length, " %llu",
                                  (unsigned long long)(bb_random_next(random) % 2000000000000));
    }
    return length;
}

static void test_reads_a_fleet_as_the_grammar_does(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(7);
    char line[512] = "";
    s_pair_t *pair = s_pair_new(CLI_MS);
    for (int round = 0; round < 60; round++) {
        for (uint32_t battery = 0; battery < 200; battery++) {
            if (bb_random_next(&random) % 50 == 0) {
                continue; // a battery is silent now and then
            }
            s_feed(pair, line, s_fleet_line(&random, battery, line));
        }
    }
    assert_true(pair->hits > 40 * pair->misses);
    s_pair_free(pair);
}

// Whatever is done to a line, a yes means what the grammar means.
static void test_mutated_lines_mean_the_same(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(11);
    char line[512] = "";
    s_pair_t *pair = s_pair_new(CLI_NS);
    for (int i = 0; i < 60000; i++) {
        size_t length = s_fleet_line(&random, (uint32_t)i % 30, line);
        if (i > 30) {
            for (uint64_t k = bb_random_next(&random) % 3; k > 0; k--) {
                line[bb_random_next(&random) % length] =
                    "\"\\,= \0.-+0159iute\r\t\x80"[bb_random_next(&random) % 19];
            }
            length -= bb_random_next(&random) % 8 == 0 ? bb_random_next(&random) % length : 0;
        }
        if (pair->battery_count == S_KNOWN_MAX - 1) {
            s_pair_free(pair);
            pair = s_pair_new(CLI_NS);
        }
        s_feed(pair, line, length);
    }
    assert_true(pair->hits > 1000 && pair->misses > 1000);
    s_pair_free(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_line_of_a_layout_is_known),
        cmocka_unit_test(test_other_lines_are_left_to_the_grammar),
        cmocka_unit_test(test_reads_a_fleet_as_the_grammar_does),
        cmocka_unit_test(test_mutated_lines_mean_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
