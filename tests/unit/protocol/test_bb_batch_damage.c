// SPDX-License-Identifier: Apache-2.0
// What bb_batch_open refuses: each rule broken alone in a batch that is otherwise good, cut and
// misaligned bytes, tables that share bytes, and random damage.
#include "protocol/bb_batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "protocol/bb_batch_draft.h"
#include "tests/unit/protocol/batch_support.h"
#include "tests/unit/protocol/wire_patch.h"

// Fields of the root table, by their number in batch.fbs.
enum {
    S_VERSION,
    S_GENERATION,
    S_REVISION,
    S_PART_COUNT,
    S_RUN_COUNT,
    S_FRAME_COUNT,
    S_BATTERY_COUNT,
    S_BATTERY_IDS,
    S_BATTERIES,
    S_SHAPES,
    S_STATES,
    S_COLUMNS,
};

// The golden batch in writable memory: parts {3, 700}, runs {1, 3}, frames {2, 2 + 1 + 1}.
// Batteries: Zelle, b-1, b-2. Shapes: cycles, on, power_kw, state; power_kw alone.
typedef struct {
    uint8_t *bytes;
    size_t length;
    bb_batch_t batch; // views into bytes
} s_sample_t;

static void s_sample(s_sample_t *sample)
{
    uint32_t order[GOLDEN_FRAMES];
    golden_batch(&sample->bytes, &sample->length, order);
    assert_int_equal(bb_batch_open(&sample->batch, bb_slice(sample->bytes, sample->length), NULL),
                     BB_OK);
}

static void s_sample_end(s_sample_t *sample)
{
    bb_batch_close(&sample->batch);
    free(sample->bytes);
}

// The writable bytes of a view.
static uint8_t *s_at(const s_sample_t *sample, const void *view)
{
    size_t offset = (size_t)((const uint8_t *)view - sample->bytes);
    assert_true(offset < sample->length);
    return sample->bytes + offset;
}

static void s_expect(const s_sample_t *sample, bb_error_t expected, const char *what)
{
    bb_batch_t batch;
    bb_fault_t fault = {0};
    bb_error_t error = bb_batch_open(&batch, bb_slice(sample->bytes, sample->length), &fault);
    if (error != expected) {
        fail_msg("%s: %s (%s), expected %s", what, bb_error_name(error), fault.text,
                 bb_error_name(expected));
    }
    assert_true(error == BB_OK || (fault.error == error && strlen(fault.text) > 0));
    if (error == BB_OK) {
        bb_batch_close(&batch);
    }
}

// The golden batch as a draft that can be changed. Values: cycles, on, power_kw and state of three
// frames each, then power_kw of three.
typedef struct {
    bb_batch_part_t parts[2];
    bb_batch_run_t runs[4];
    int64_t times[GOLDEN_FRAMES];
    bb_batch_battery_t batteries[3];
    bb_batch_shape_t shapes[2];
    uint64_t values[15];
    bb_batch_draft_t draft;
} s_draft_t;

static void s_draft(s_draft_t *self, const bb_batch_t *batch)
{
    memcpy(self->parts, batch->parts, sizeof self->parts);
    memcpy(self->runs, batch->runs, sizeof self->runs);
    memcpy(self->times, batch->times_wall_ns, sizeof self->times);
    memcpy(self->batteries, batch->batteries, sizeof self->batteries);
    memcpy(self->shapes, batch->shapes, sizeof self->shapes);
    for (uint32_t m = 0; m < 4; m++) {
        bb_batch_unpack(batch, 0, m, 0, 3, self->values + (size_t)3 * m);
    }
    bb_batch_unpack(batch, 1, 0, 0, 3, self->values + 12);
    self->draft = (bb_batch_draft_t){.tables = *batch, .values = self->values};
    self->draft.tables.parts = self->parts;
    self->draft.tables.runs = self->runs;
    self->draft.tables.times_wall_ns = self->times;
    self->draft.tables.batteries = self->batteries;
    self->draft.tables.shapes = self->shapes;
}

static void s_expect_draft(const s_draft_t *draft, bb_error_t expected, const char *what)
{
    s_sample_t sample = {0};
    assert_int_equal(bb_batch_draft_write(&draft->draft, &sample.bytes, &sample.length), BB_OK);
    s_expect(&sample, expected, what);
    free(sample.bytes);
}

// Goal: every number of the parts, runs, times and values is checked. Method: one number of the
// draft is replaced, the batch is packed and written with it.
static void test_each_number_is_checked(void **state)
{
    (void)state;
    s_sample_t sample;
    s_sample(&sample);
    s_draft_t d;
    s_draft(&d, &sample.batch);
    const struct {
        const char *what;
        void *at;
        uint64_t value;
        size_t width;
        bb_error_t expected;
    } cases[] = {
        {"nothing", &d.parts[0].partition, 3, 4, BB_OK},
        {"partitions descend", &d.parts[0].partition, 701, 4, BB_ERR_MESSAGE_CORRUPT},
        {"one partition twice", &d.parts[0].partition, 700, 4, BB_ERR_MESSAGE_CORRUPT},
        {"no such partition", &d.parts[1].partition, BB_PARTITIONS_MAX, 4, BB_ERR_MESSAGE_CORRUPT},
        {"the last partition", &d.parts[1].partition, BB_PARTITIONS_MAX - 1, 4, BB_OK},
        {"a part without runs", &d.parts[0].run_count, 0, 4, BB_ERR_MESSAGE_CORRUPT},
        {"a run in the part before", &d.parts[0].run_count, 2, 4, BB_ERR_MESSAGE_CORRUPT},
        {"too many runs", &d.parts[1].run_count, 4, 4, BB_ERR_MESSAGE_CORRUPT},
        {"far too many runs", &d.parts[1].run_count, UINT32_MAX, 4, BB_ERR_MESSAGE_CORRUPT},
        {"runs are left over", &d.parts[1].run_count, 2, 4, BB_ERR_MESSAGE_CORRUPT},
        {"another battery", &d.runs[0].battery, 2, 4, BB_OK},
        {"no such battery", &d.runs[0].battery, 3, 4, BB_ERR_MESSAGE_CORRUPT},
        {"no such battery at all", &d.runs[3].battery, UINT32_MAX, 4, BB_ERR_MESSAGE_CORRUPT},
        {"no such shape", &d.runs[2].shape, 2, 4, BB_ERR_MESSAGE_CORRUPT},
        {"another shape: values left over", &d.runs[1].shape, 1, 4, BB_ERR_MESSAGE_CORRUPT},
        {"another shape: values missing", &d.runs[0].shape, 0, 4, BB_ERR_MESSAGE_CORRUPT},
        {"a run without frames", &d.runs[2].frame_count, 0, 4, BB_ERR_MESSAGE_CORRUPT},
        {"a run's frames, more", &d.runs[0].frame_count, 3, 4, BB_ERR_MESSAGE_CORRUPT},
        {"a run's frames, fewer", &d.runs[1].frame_count, 1, 4, BB_ERR_MESSAGE_CORRUPT},
        {"a run's frames wrap", &d.runs[1].frame_count, UINT32_MAX, 4, BB_ERR_MESSAGE_CORRUPT},
        {"time before 1970", &d.times[0], (uint64_t)-1, 8, BB_ERR_TIME_RANGE},
        {"time at the limit", &d.times[5], (uint64_t)BB_TIME_WALL_NS_LIMIT, 8, BB_ERR_TIME_RANGE},
        {"the last time", &d.times[5], (uint64_t)BB_TIME_WALL_NS_LIMIT - 1, 8, BB_OK},
        {"the largest time", &d.times[2], INT64_MAX, 8, BB_ERR_TIME_RANGE},
        {"the smallest time", &d.times[3], UINT64_C(1) << 63, 8, BB_ERR_TIME_RANGE},
        {"a bool of 2", &d.values[3], 2, 8, BB_ERR_VALUE},
        {"a bool of 2 in a second frame", &d.values[4], 2, 8, BB_ERR_VALUE},
        {"a large bool", &d.values[5], UINT64_MAX, 8, BB_ERR_VALUE},
        {"no such state", &d.values[9], 3, 8, BB_ERR_VALUE},
        {"a large state", &d.values[11], UINT64_C(1) << 32, 8, BB_ERR_VALUE},
        {"any float", &d.values[6], UINT64_MAX, 8, BB_OK},
        {"any int", &d.values[2], UINT64_MAX, 8, BB_OK},
        {"an id longer than the ids", &d.batteries[0].id.length, 0, 8, BB_ERR_BATTERY_ID},
        {"frames are missing", &d.draft.tables.frame_count, 5, 4, BB_ERR_MESSAGE_CORRUPT},
        {"runs are missing", &d.draft.tables.run_count, 3, 4, BB_ERR_MESSAGE_CORRUPT},
        {"parts are missing", &d.draft.tables.part_count, 1, 4, BB_ERR_MESSAGE_CORRUPT},
        {"batteries are missing", &d.draft.tables.battery_count, 2, 4, BB_ERR_MESSAGE_CORRUPT},
        {"shapes are missing", &d.draft.tables.shape_count, 1, 4, BB_ERR_MESSAGE_CORRUPT},
        {"states are missing", &d.draft.tables.state_count, 2, 4, BB_ERR_VALUE},
        {"values are missing", &d.shapes[1].frame_count, 2, 4, BB_ERR_MESSAGE_CORRUPT},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        uint8_t before[8];
        memcpy(before, cases[i].at, cases[i].width);
        wire_put(cases[i].at, cases[i].value, cases[i].width);
        s_expect_draft(&d, cases[i].expected, cases[i].what);
        memcpy(cases[i].at, before, cases[i].width);
    }
    s_expect_draft(&d, BB_OK, "put back");
    // Shapes without frames would cost nothing and mean nothing.
    bb_batch_shape_t shapes[3] = {d.shapes[0], d.shapes[1], d.shapes[1]};
    shapes[2].frame_count = 0;
    d.draft.tables.shapes = shapes;
    d.draft.tables.shape_count = 3;
    s_expect_draft(&d, BB_ERR_MESSAGE_CORRUPT, "a shape without frames");
    s_sample_end(&sample);
}

// Goal: counts that do not fit the columns are refused, whatever they are.
static void test_each_count_is_checked(void **state)
{
    (void)state;
    s_sample_t sample;
    s_sample(&sample);
    static const uint32_t counts[] = {0, 1, 5, 7, 1u << 18, 1u << 20, (1u << 20) + 1, UINT32_MAX};
    for (uint32_t field = S_PART_COUNT; field <= S_BATTERY_COUNT; field++) {
        uint8_t *at = wire_field(wire_root(sample.bytes), field);
        uint32_t before = wire_u32(at);
        for (size_t i = 0; i < BB_COUNT_OF(counts); i++) {
            wire_put(at, counts[i], 4);
            bool is_limit = field == S_FRAME_COUNT && counts[i] > BB_BATCH_VALUES_MAX;
            s_expect(&sample, is_limit ? BB_ERR_LIMIT : BB_ERR_MESSAGE_CORRUPT, "a count");
        }
        wire_put(at, before, 4);
    }
    s_expect(&sample, BB_OK, "put back");
    s_sample_end(&sample);
}

// Goal: columns of one value each cannot unfold into more than BB_BATCH_VALUES_MAX values.
static void test_constant_columns_are_bounded(void **state)
{
    (void)state;
    enum { METRICS = 4 };
    const bb_slice_t names[METRICS] = {support_text("a"), support_text("b"), support_text("c"),
                                       support_text("d")};
    const uint8_t types[METRICS] = {BB_TYPE_INT64, BB_TYPE_INT64, BB_TYPE_INT64, BB_TYPE_INT64};
    for (uint32_t more = 0; more < 2; more++) {
        uint32_t frames = BB_BATCH_VALUES_MAX / METRICS + more;
        const bb_batch_part_t part = {.partition = 1, .run_count = 1};
        const bb_batch_run_t run = {.frame_count = frames};
        const bb_batch_battery_t battery = {.id = support_text("b")};
        const bb_batch_shape_t shape = {
            .metric_count = METRICS, .names = names, .types = types, .frame_count = frames};
        int64_t *times = calloc(frames, sizeof *times);
        uint64_t *values = calloc((size_t)frames * METRICS, sizeof *values);
        bb_batch_draft_t draft = {.tables = {.part_count = 1,
                                             .run_count = 1,
                                             .frame_count = frames,
                                             .battery_count = 1,
                                             .shape_count = 1,
                                             .parts = &part,
                                             .runs = &run,
                                             .times_wall_ns = times,
                                             .batteries = &battery,
                                             .shapes = &shape},
                                  .values = values};
        s_sample_t sample = {0};
        assert_int_equal(bb_batch_draft_write(&draft, &sample.bytes, &sample.length), BB_OK);
        assert_true(sample.length < 512);
        s_expect(&sample, more ? BB_ERR_LIMIT : BB_OK, "constant columns");
        free(sample.bytes);
        free(times);
        free(values);
    }
}

// Goal: every text and type of the tables is checked.
static void test_each_table_entry_is_checked(void **state)
{
    (void)state;
    s_sample_t sample;
    s_sample(&sample);
    const bb_batch_t *b = &sample.batch;
    const bb_batch_shape_t *shape = &b->shapes[0]; // cycles, on, power_kw, state
    const struct {
        const char *what;
        const void *at;
        uint8_t value;
        bb_error_t expected;
    } cases[] = {
        {"control character in an id", b->batteries[1].id.data, '\n', BB_ERR_BATTERY_ID},
        {"an id that is not UTF-8", b->batteries[2].id.data, 0xff, BB_ERR_BATTERY_ID},
        {"another id", b->batteries[1].id.data, 'c', BB_OK},
        {"control character in a metric", shape->names[2].data, 0x7f, BB_ERR_METRIC_NAME},
        {"a metric that is not UTF-8", shape->names[0].data, 0xc3, BB_ERR_METRIC_NAME},
        {"metrics descend", shape->names[0].data, 'p', BB_ERR_FRAME_METRICS},
        {"type 0", shape->types, 0, BB_ERR_MESSAGE_CORRUPT},
        {"type 5", shape->types + 3, 5, BB_ERR_MESSAGE_CORRUPT},
        {"type 255", shape->types + 3, 255, BB_ERR_MESSAGE_CORRUPT},
        {"control character in a key", b->batteries[1].attributes[0].key.data, 1,
         BB_ERR_ATTRIBUTES},
        {"a value that is not UTF-8", b->batteries[1].attributes[1].value.data, 0x80,
         BB_ERR_ATTRIBUTES},
        {"a state that is not UTF-8", b->states[0].data, 0xf8, BB_ERR_STATE_TEXT},
        {"control character in a state", b->states[0].data, 1, BB_OK},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        uint8_t *at = s_at(&sample, cases[i].at);
        uint8_t before = *at;
        *at = cases[i].value;
        s_expect(&sample, cases[i].expected, cases[i].what);
        *at = before;
    }
    // The same name twice: "cycles" is cut to two bytes and becomes "on".
    const uint8_t *second = s_at(&sample, shape->names[1].data);
    uint8_t *first = s_at(&sample, shape->names[0].data);
    wire_put(first - 4, 2, 4);
    memcpy(first, second, 3); // with its terminator
    s_expect(&sample, BB_ERR_FRAME_METRICS, "one metric twice");
    s_sample_end(&sample);
}

// Goal: version, generation and identifier name the format; a missing vector is refused.
static void test_header_is_checked(void **state)
{
    (void)state;
    s_sample_t sample;
    s_sample(&sample);
    uint8_t *root = wire_root(sample.bytes);
    uint8_t *version = wire_field(root, S_VERSION);
    wire_put(version, 3, 4);
    s_expect(&sample, BB_ERR_MESSAGE_VERSION, "version 3");
    wire_put(version, 2, 4);
    sample.bytes[7] ^= 1;
    s_expect(&sample, BB_ERR_MESSAGE_CORRUPT, "identifier");
    sample.bytes[7] ^= 1;
    for (uint32_t field = S_PART_COUNT; field <= S_COLUMNS; field++) {
        uint8_t *entry = root - (int32_t)wire_u32(root) + 4 + 2 * field;
        uint8_t before[2];
        memcpy(before, entry, 2);
        wire_put(entry, 0, 2);
        bb_error_t expected = field == S_STATES      ? BB_ERR_VALUE
                              : field == S_BATTERIES ? BB_OK // none has attributes
                                                     : BB_ERR_MESSAGE_CORRUPT;
        s_expect(&sample, expected, "a missing field");
        memcpy(entry, before, 2);
    }
    s_expect(&sample, BB_OK, "put back");
    s_sample_end(&sample);
}

// Goal: a generation says that there are markers, and what has not their form is refused.
static void test_generation_is_checked(void **state)
{
    (void)state;
    s_sample_t sample;
    s_sample(&sample);
    // Zero is the default and not stored: let the field point to the version's word, a 2.
    uint8_t *root = wire_root(sample.bytes);
    uint8_t *vtable = root - (int32_t)wire_u32(root);
    memcpy(vtable + 4 + 2 * S_GENERATION, vtable + 4 + 2 * S_VERSION, 2);
    s_expect(&sample, BB_ERR_MESSAGE_CORRUPT, "generation 2");
    s_sample_end(&sample);
}

// Goal: columns that begin at another address than a multiple of 8 are refused: the library's
// verifier lets them pass. Method: the offset to the vector is moved by 4, so that what was the
// front of its first column becomes its length: 2, base 0.
static void test_misaligned_columns_are_refused(void **state)
{
    (void)state;
    s_sample_t sample;
    s_sample(&sample);
    uint8_t *offset = wire_field(wire_root(sample.bytes), S_COLUMNS);
    uint8_t *vector = wire_follow(offset);
    assert_int_equal((vector + 4 - sample.bytes) % 8, 0);
    wire_put(offset, wire_u32(offset) + 4, 4);
    wire_put(vector + 4, (wire_u32(vector) - 1), 4);
    bb_batch_t batch;
    bb_fault_t fault;
    assert_int_equal(bb_batch_open(&batch, bb_slice(sample.bytes, sample.length), &fault),
                     BB_ERR_MESSAGE_CORRUPT);
    assert_non_null(strstr(fault.text, "aligned"));
    s_sample_end(&sample);
}

// Goal: a batch of version 1 is refused by its version, not as damage.
static void test_version_1_is_refused_by_name(void **state)
{
    (void)state;
    s_sample_t sample = {0};
    sample.bytes = support_read(BB_SOURCE_DIR "/tests/golden/wire/batch_v1.bin", &sample.length);
    s_expect(&sample, BB_ERR_MESSAGE_VERSION, "version 1");
    free(sample.bytes);
}

// Goal: bytes at any other address than a multiple of 8, and bytes that end too early, are refused.
static void test_misaligned_and_cut_bytes_are_refused(void **state)
{
    (void)state;
    s_sample_t sample;
    s_sample(&sample);
    bb_batch_t batch;
    bb_fault_t fault;
    uint8_t *copy = malloc(sample.length + 8);
    for (size_t shift = 1; shift < 8; shift++) {
        memcpy(copy + shift, sample.bytes, sample.length);
        assert_int_equal(bb_batch_open(&batch, bb_slice(copy + shift, sample.length), &fault),
                         BB_ERR_MESSAGE_CORRUPT);
    }
    free(copy);
    for (size_t length = 0; length < sample.length; length++) {
        uint8_t *cut = malloc(length + (length == 0)); // an overrun is seen by the sanitizer
        memcpy(cut, sample.bytes, length);
        assert_int_equal(bb_batch_open(&batch, bb_slice(cut, length), &fault),
                         BB_ERR_MESSAGE_CORRUPT);
        free(cut);
    }
    s_sample_end(&sample);
}

static void test_too_large_a_batch_is_refused(void **state)
{
    (void)state;
    uint8_t *bytes = calloc(1, BB_BATCH_BYTES_MAX + 8);
    bb_batch_t batch;
    bb_fault_t fault;
    assert_int_equal(bb_batch_open(&batch, bb_slice(bytes, BB_BATCH_BYTES_MAX + 1), &fault),
                     BB_ERR_BATCH_BYTES);
    assert_int_equal(bb_batch_open(&batch, bb_slice(bytes, BB_BATCH_BYTES_MAX), &fault),
                     BB_ERR_MESSAGE_CORRUPT);
    free(bytes);
}

// Goal: a small batch whose entries all point to one large table is refused, so that it cannot
// unfold. Method: 2,000 batteries with an attribute, the first with 9 KB of them; then all offsets
// of tables point to it. Their battery indexes must ascend, too: either rule refuses.
static void test_shared_tables_are_refused(void **state)
{
    (void)state;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    char text[256];
    memset(text, 't', sizeof text);
    bb_attribute_t attributes[BB_ATTRIBUTES_MAX];
    for (size_t i = 0; i < BB_COUNT_OF(attributes); i++) {
        attributes[i] = (bb_attribute_t){support_text("key"), bb_slice(text, sizeof text)};
    }
    bb_slice_t name = support_text("m");
    uint8_t type = BB_TYPE_BOOL;
    uint32_t shape, order;
    uint64_t value = 1;
    assert_int_equal(bb_batch_builder_shape(builder, &name, &type, 1, &shape, &order, NULL), BB_OK);
    for (uint32_t i = 0; i < 2000; i++) {
        char id[8];
        uint32_t battery;
        snprintf(id, sizeof id, "%u", i);
        assert_int_equal(bb_batch_builder_battery(builder, 0, support_text(id), attributes,
                                                  i == 0 ? BB_ATTRIBUTES_MAX : 1, &battery, NULL),
                         BB_OK);
        assert_int_equal(bb_batch_builder_frame(builder, battery, shape, 0, &value), BB_OK);
    }
    s_sample_t sample = {0};
    bb_batch_builder_finish(builder, &sample.bytes, &sample.length, NULL);
    bb_batch_builder_destroy(&builder);
    s_expect(&sample, BB_OK, "before");
    uint8_t *batteries = wire_follow(wire_field(wire_root(sample.bytes), S_BATTERIES));
    assert_int_equal(wire_u32(batteries), 2000);
    // Every table of a battery takes the attributes of the first: indexes stay as they are.
    uint8_t *first = wire_follow(wire_field(wire_follow(batteries + 4), 1));
    for (uint32_t i = 1; i < 2000; i++) {
        uint8_t *field = wire_field(wire_follow(batteries + 4 + (size_t)4 * i), 1);
        wire_put(field, (uint64_t)(first - field), 4);
    }
    bb_batch_t batch;
    bb_fault_t fault;
    assert_int_equal(bb_batch_open(&batch, bb_slice(sample.bytes, sample.length), &fault),
                     BB_ERR_MESSAGE_CORRUPT);
    uint8_t *table = wire_follow(batteries + 4);
    for (uint32_t i = 0; i < 2000; i++) {
        uint8_t *entry = batteries + 4 + (size_t)4 * i;
        wire_put(entry, (uint64_t)(table - entry), 4);
    }
    s_expect(&sample, BB_ERR_MESSAGE_CORRUPT, "shared");
    free(sample.bytes);
}

static volatile uint64_t s_sink;

// Reads all that a batch hands out, so that the sanitizers see any bad pointer, and takes parts
// out.
static void s_use(const bb_batch_t *batch, bb_random_t *random)
{
    uint64_t sum = 0;
    support_points_t points = support_points(batch, NULL, NULL, NULL);
    for (size_t i = 0; i < points.count; i++) {
        const support_point_t *point = &points.points[i];
        sum += point->bits + (uint64_t)point->time_wall_ns;
        sum += ((const uint8_t *)point->battery.data)[point->battery.length - 1];
        sum += ((const uint8_t *)point->metric.data)[point->metric.length - 1];
        sum += point->state.length ? ((const uint8_t *)point->state.data)[0] : 0;
    }
    for (uint32_t i = 0; i < batch->battery_count; i++) {
        for (uint32_t a = 0; a < batch->batteries[i].attribute_count; a++) {
            const bb_attribute_t *attribute = &batch->batteries[i].attributes[a];
            sum += ((const uint8_t *)attribute->value.data)[attribute->value.length - 1];
        }
    }
    s_sink = sum;
    free(points.points);
    bool *keep = calloc(batch->part_count, sizeof *keep);
    for (uint32_t p = 0; p < batch->part_count; p++) {
        keep[p] = bb_random_chance(random, 2, 3);
    }
    uint8_t *out;
    size_t length;
    if (bb_batch_subset(batch, keep, NULL, NULL, &out, &length) == BB_OK) {
        bb_batch_t subset;
        assert_int_equal(bb_batch_open(&subset, bb_slice(out, length), NULL), BB_OK);
        bb_batch_close(&subset);
        free(out);
    }
    free(keep);
}

// Goal: random damage is refused, or harmless and still a batch by every rule.
static void test_random_damage(void **state)
{
    (void)state;
    s_sample_t sample;
    s_sample(&sample);
    bb_random_t random = bb_random_seed(20260101);
    uint8_t *bytes = malloc(sample.length);
    uint32_t opened = 0;
    static const uint32_t words[] = {0, 1, 2, 4, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff};
    for (int i = 0; i < 20000; i++) {
        memcpy(bytes, sample.bytes, sample.length);
        for (uint64_t n = bb_random_between(&random, 1, 3); n > 0; n--) {
            size_t at = bb_random_below(&random, sample.length - 4);
            if (bb_random_chance(&random, 1, 2)) {
                bytes[at] ^= (uint8_t)(1 << bb_random_below(&random, 8));
            } else {
                at &= ~(size_t)3;
                wire_put(bytes + at, words[bb_random_below(&random, BB_COUNT_OF(words))], 4);
            }
        }
        bb_batch_t batch;
        bb_fault_t fault;
        if (bb_batch_open(&batch, bb_slice(bytes, sample.length), &fault) == BB_OK) {
            opened++;
            s_use(&batch, &random);
            bb_batch_close(&batch);
        }
    }
    assert_true(opened > 100 && opened < 19000); // both ways were taken
    free(bytes);
    s_sample_end(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_number_is_checked),
        cmocka_unit_test(test_each_count_is_checked),
        cmocka_unit_test(test_constant_columns_are_bounded),
        cmocka_unit_test(test_each_table_entry_is_checked),
        cmocka_unit_test(test_header_is_checked),
        cmocka_unit_test(test_generation_is_checked),
        cmocka_unit_test(test_version_1_is_refused_by_name),
        cmocka_unit_test(test_misaligned_columns_are_refused),
        cmocka_unit_test(test_misaligned_and_cut_bytes_are_refused),
        cmocka_unit_test(test_too_large_a_batch_is_refused),
        cmocka_unit_test(test_shared_tables_are_refused),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
