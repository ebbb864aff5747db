// SPDX-License-Identifier: Apache-2.0
// The engine of thresholds: which values are events, part by part.
#include "node/ingest/bb_rule_engine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "protocol/bb_batch_builder.h"

typedef struct {
    uint32_t count;
    char text[1024]; // "rule battery time value;" of each event
} s_events_t;

static void s_on_event(void *context, const bb_rule_event_t *event)
{
    s_events_t *events = context;
    size_t length = strlen(events->text);
    events->count++;
    snprintf(events->text + length, sizeof events->text - length, "%.*s %.*s %lld %g;",
             (int)event->rule.length, (const char *)event->rule.data, (int)event->battery.length,
             (const char *)event->battery.data, (long long)event->time_wall_ns, event->value);
}

static bb_slice_t s_slice(const char *text)
{
    return bb_slice(text, strlen(text));
}

static void s_frame(bb_batch_builder_t *builder, uint32_t partition, const char *battery_id,
                    const char *metric, bb_type_t type, int64_t time_wall_ns, uint64_t bits)
{
    uint32_t battery, shape, order;
    bb_slice_t name = s_slice(metric);
    uint8_t types = (uint8_t)type;
    assert_int_equal(
        bb_batch_builder_battery(builder, partition, s_slice(battery_id), NULL, 0, &battery, NULL),
        BB_OK);
    assert_int_equal(bb_batch_builder_shape(builder, &name, &types, 1, &shape, &order, NULL),
                     BB_OK);
    if (type == BB_TYPE_STATE) {
        uint32_t state;
        assert_int_equal(bb_batch_builder_state(builder, s_slice("on"), &state, NULL), BB_OK);
        bits = state;
    }
    assert_int_equal(bb_batch_builder_frame(builder, battery, shape, time_wall_ns, &bits), BB_OK);
}

static const bb_watch_rules_t s_rules = {.rule_count = 2,
                                         .rules = {{"warm", "t", 10}, {"hot", "t", 20}}};

// Events of each part of what the builder has; the frames of `quarantined` are.
static s_events_t s_evaluate(bb_batch_builder_t **builder, const uint32_t *quarantined,
                             uint32_t quarantined_count, uint32_t part)
{
    uint8_t *data = NULL;
    size_t length = 0;
    bb_batch_builder_finish(*builder, &data, &length, NULL);
    bb_batch_builder_destroy(builder);
    bb_batch_t batch;
    assert_int_equal(bb_batch_open(&batch, bb_slice(data, length), NULL), BB_OK);
    uint64_t seqs[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    bb_chunks_t chunks = {.part_count = batch.part_count,
                          .seqs = seqs,
                          .quarantined = quarantined,
                          .quarantined_count = quarantined_count};
    bb_rule_engine_t engine = bb_threshold_engine(&s_rules);
    s_events_t events = {0};
    bool is_wanted[8] = {0};
    is_wanted[part] = true;
    engine.evaluate(engine.context, &chunks, &batch, is_wanted, s_on_event, &events);
    bb_batch_close(&batch);
    free(data);
    return events;
}

// Goal: larger than the limit, of the rule's metric, whatever kind of number; nothing else.
static void above_the_limit(void **state)
{
    (void)state;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    s_frame(builder, 3, "b", "t", BB_TYPE_FLOAT64, 1, bb_bits_of_double(10));
    s_frame(builder, 3, "b", "t", BB_TYPE_FLOAT64, 2, bb_bits_of_double(10.5));
    s_frame(builder, 3, "b", "t", BB_TYPE_FLOAT64, 3, bb_bits_of_double(25));
    s_frame(builder, 3, "b", "t", BB_TYPE_FLOAT64, 4, bb_bits_of_double(NAN));
    s_frame(builder, 3, "b", "u", BB_TYPE_FLOAT64, 5, bb_bits_of_double(99));
    s_frame(builder, 3, "c", "t", BB_TYPE_INT64, 6, 11);
    s_frame(builder, 3, "c", "t", BB_TYPE_INT64, 7, (uint64_t)-11);
    s_frame(builder, 3, "d", "t", BB_TYPE_BOOL, 8, 1);
    s_frame(builder, 3, "e", "t", BB_TYPE_STATE, 9, 0);
    s_events_t events = s_evaluate(&builder, NULL, 0, 0);
    assert_int_equal(events.count, 4);
    assert_non_null(strstr(events.text, "warm b 2 10.5;"));
    assert_non_null(strstr(events.text, "warm b 3 25;"));
    assert_non_null(strstr(events.text, "hot b 3 25;"));
    assert_non_null(strstr(events.text, "warm c 6 11;"));
}

// Goal: one part at a time, and no frame that is in quarantine.
static void parts_and_quarantine(void **state)
{
    (void)state;
    for (uint32_t part = 0; part < 2; part++) {
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        s_frame(builder, 3, "b", "t", BB_TYPE_FLOAT64, 1, bb_bits_of_double(15));
        s_frame(builder, 3, "b", "t", BB_TYPE_FLOAT64, 2, bb_bits_of_double(15));
        s_frame(builder, 7, "c", "t", BB_TYPE_FLOAT64, 3, bb_bits_of_double(15));
        const uint32_t quarantined[] = {1};
        s_events_t events = s_evaluate(&builder, quarantined, 1, part);
        assert_string_equal(events.text, part == 0 ? "warm b 1 15;" : "warm c 3 15;");
    }
}

// Goal: without rules there is nothing to call.
static void no_rules(void **state)
{
    (void)state;
    const bb_watch_rules_t none = {0};
    assert_null(bb_threshold_engine(&none).evaluate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(above_the_limit),
        cmocka_unit_test(parts_and_quarantine),
        cmocka_unit_test(no_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
