// SPDX-License-Identifier: Apache-2.0
// The head and what it is made of: arena, type sets, dictionary, rows, and rows turned into
// columns; each against a naive list.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "storage/head/bb_arena.h"
#include "storage/head/bb_dictionary.h"
#include "storage/head/bb_head.h"
#include "storage/head/bb_head_cut.h"
#include "storage/head/bb_row_columns.h"
#include "tests/support/bb_random.h"

static bb_slice_t s_slice(const char *text)
{
    return bb_slice(text, strlen(text));
}

// ---- arena -----------------------------------------------------------------------------------
// Goal: what is handed out is aligned, disjoint and stays as written; a reset starts over.
static void test_arena(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(1);
    bb_arena_t arena = {0};
    for (uint32_t round = 0; round < 3; round++) {
        enum { S_COUNT = 400 };
        uint8_t *memory[S_COUNT];
        size_t sizes[S_COUNT];
        uint64_t total = 0;
        for (uint32_t i = 0; i < S_COUNT; i++) {
            sizes[i] = bb_random_below(&random, bb_random_chance(&random, 1, 20) ? 90000 : 300);
            memory[i] = bb_arena_alloc(&arena, sizes[i]);
            assert_int_equal((uintptr_t)memory[i] % 8, 0);
            memset(memory[i], (int)(i & 0xff), sizes[i]);
            total += sizes[i];
        }
        assert_true(arena.used_bytes >= total);
        for (uint32_t i = 0; i < S_COUNT; i++) {
            for (size_t b = 0; b < sizes[i]; b++) {
                assert_int_equal(memory[i][b], i & 0xff);
            }
        }
        bb_arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
    }
    bb_arena_free(&arena);
    bb_arena_free(&arena);
}

// ---- type sets -------------------------------------------------------------------------------
// Goal: after random additions each battery's set is what a table of bits says; equal sets are one.
static void test_type_sets(void **state)
{
    (void)state;
    enum { S_BATTERIES = 20, S_METRICS = 12, S_SHAPES = 30 };
    bb_random_t random = bb_random_seed(2);
    bb_type_sets_t *sets = bb_type_sets_new();
    uint32_t set_of[S_BATTERIES] = {0};
    uint32_t bits[S_BATTERIES][S_METRICS] = {{0}};
    uint32_t metrics[S_SHAPES][S_METRICS];
    uint8_t types[S_SHAPES][S_METRICS];
    uint32_t counts[S_SHAPES] = {0};
    for (uint32_t s = 0; s < S_SHAPES; s++) {
        for (uint32_t m = S_METRICS; m > 0; m--) { // not in the order of numbers
            if (bb_random_chance(&random, 1, 3) || (m == 1 && counts[s] == 0)) {
                metrics[s][counts[s]] = m - 1;
                types[s][counts[s]++] = (uint8_t)bb_random_between(&random, 1, 4);
            }
        }
    }
    for (uint32_t step = 0; step < 3000; step++) {
        uint32_t b = (uint32_t)bb_random_below(&random, S_BATTERIES);
        uint32_t s = (uint32_t)bb_random_below(&random, S_SHAPES);
        if (bb_random_chance(&random, 1, 30)) {
            s %= 3;
        }
        uint32_t expected = 0;
        for (uint32_t m = 0; m < counts[s]; m++) {
            uint32_t *known = &bits[b][metrics[s][m]];
            uint32_t bit = 1u << (types[s][m] - 1);
            expected += *known != 0 && (*known & bit) == 0;
            *known |= bit;
        }
        uint32_t found;
        set_of[b] =
            bb_type_set_add(sets, set_of[b], s + 1, metrics[s], types[s], counts[s], &found);
        assert_int_equal(found, expected);
        for (uint32_t m = 0; m < S_METRICS; m++) {
            assert_int_equal(bb_type_set_bits(sets, set_of[b], m), bits[b][m]);
        }
        for (uint32_t other = 0; other < S_BATTERIES; other++) {
            bool equal = memcmp(bits[b], bits[other], sizeof bits[b]) == 0;
            assert_int_equal(set_of[b] == set_of[other], equal);
        }
    }
    bb_type_sets_destroy(&sets);
}

// ---- dictionary ------------------------------------------------------------------------------
typedef struct {
    bb_dictionary_t *target;
    uint32_t metric_count, battery_count;
} s_copy_t;

static void s_load(void *context, bool is_metric, uint32_t number, bb_slice_t record)
{
    s_copy_t *copy = context;
    bb_fault_t fault = {0};
    assert_int_equal(bb_dictionary_load(copy->target, is_metric, number, record, &fault), BB_OK);
    copy->metric_count += is_metric;
    copy->battery_count += !is_metric;
}

static void s_ignore(void *context, bool is_metric, uint32_t number, bb_slice_t record)
{
    (void)is_metric, (void)number, (void)record;
    ++*(uint32_t *)context;
}

// Goal: names keep their numbers; lists of a partition are sorted by id with late ones in between;
// what is drained and loaded again is the same.
static void test_dictionary(void **state)
{
    (void)state;
    enum { S_BATTERIES = 700, S_METRICS = 150, S_PARTITIONS = 4 };
    bb_random_t random = bb_random_seed(3);
    bb_dictionary_t *dictionary = bb_dictionary_new(99, S_PARTITIONS);
    char name[32];
    for (uint32_t m = 0; m < S_METRICS; m++) {
        snprintf(name, sizeof name, "metric_%u", m * 7919 % 1000);
        assert_int_equal(bb_dictionary_metric_find(dictionary, s_slice(name)), BB_NUMBER_NONE);
        assert_int_equal(bb_dictionary_metric(dictionary, s_slice(name)), m);
    }
    for (uint32_t b = 0; b < S_BATTERIES; b++) {
        snprintf(name, sizeof name, "b%u", b * 104729 % 100003);
        assert_int_equal(bb_dictionary_battery_find(dictionary, s_slice(name)), BB_NUMBER_NONE);
        assert_int_equal(bb_dictionary_battery(dictionary, s_slice(name), b % S_PARTITIONS), b);
        assert_int_equal(bb_dictionary_battery(dictionary, s_slice(name), b % S_PARTITIONS), b);
        if (b % 90 == 0) {
            uint32_t count;
            bb_dictionary_partition(dictionary, b % S_PARTITIONS, &count);
            assert_int_equal(count, b / S_PARTITIONS + 1);
        }
        const uint32_t metrics[2] = {b % S_METRICS, (b + 5) % S_METRICS};
        const uint8_t types[2] = {BB_TYPE_FLOAT64, BB_TYPE_STATE};
        assert_int_equal(bb_dictionary_types_add(dictionary, b, b % S_METRICS, metrics, types, 2),
                         0);
        bb_attribute_t attribute = {s_slice("site"), s_slice(name)};
        bb_dictionary_attributes_merge(dictionary, b, &attribute, b % 3 == 0, 5);
    }
    for (uint32_t p = 0; p < S_PARTITIONS; p++) {
        uint32_t count;
        const uint32_t *numbers = bb_dictionary_partition(dictionary, p, &count);
        assert_int_equal(count, S_BATTERIES / S_PARTITIONS);
        for (uint32_t i = 0; i < count; i++) {
            bb_slice_t id = bb_dictionary_battery_id(dictionary, numbers[i]);
            assert_int_equal(numbers[i] % S_PARTITIONS, p);
            assert_true(i == 0 ||
                        bb_dictionary_compare(bb_dictionary_battery_id(dictionary, numbers[i - 1]),
                                              id) < 0);
            assert_int_equal(bb_dictionary_partition_seek(dictionary, p, id), i);
        }
        assert_int_equal(bb_dictionary_partition_seek(dictionary, p, s_slice("zzz")), count);
        assert_int_equal(bb_dictionary_partition_seek(dictionary, p, bb_slice(NULL, 0)), 0);
    }
    const uint32_t *ranks = bb_dictionary_metric_ranks(dictionary);
    for (uint32_t i = 0; i < 500; i++) {
        uint32_t a = (uint32_t)bb_random_below(&random, S_METRICS);
        uint32_t b = (uint32_t)bb_random_below(&random, S_METRICS);
        int order = bb_dictionary_compare(bb_dictionary_metric_name(dictionary, a),
                                          bb_dictionary_metric_name(dictionary, b));
        assert_int_equal((order > 0) - (order < 0), (ranks[a] > ranks[b]) - (ranks[a] < ranks[b]));
    }
    s_copy_t copy = {.target = bb_dictionary_new(5, S_PARTITIONS)};
    bb_dictionary_drain(dictionary, s_load, &copy);
    assert_int_equal(copy.metric_count, S_METRICS);
    assert_int_equal(copy.battery_count, S_BATTERIES);
    for (uint32_t b = 0; b < S_BATTERIES; b++) {
        bb_slice_t id = bb_dictionary_battery_id(dictionary, b);
        assert_int_equal(bb_dictionary_battery_find(copy.target, id), b);
        uint32_t count;
        uint32_t copied_count;
        const bb_type_entry_t *types = bb_dictionary_types(dictionary, b, &count);
        const bb_type_entry_t *copied = bb_dictionary_types(copy.target, b, &copied_count);
        assert_int_equal(count, copied_count);
        assert_memory_equal(types, copied, count * sizeof *types);
        bb_slice_t packed = bb_dictionary_attributes(dictionary, b);
        bb_slice_t other = bb_dictionary_attributes(copy.target, b);
        assert_int_equal(packed.length, other.length);
        assert_int_equal(packed.length > 0, b % 3 == 0);
        assert_true(packed.length == 0 || memcmp(packed.data, other.data, packed.length) == 0);
    }
    // Nothing is new, here or there, until something changes.
    uint32_t emitted = 0;
    bb_dictionary_drain(dictionary, s_ignore, &emitted);
    bb_dictionary_drain(copy.target, s_ignore, &emitted);
    assert_int_equal(emitted, 0);
    bb_attribute_t attribute = {s_slice("site"), s_slice("elsewhere")};
    bb_dictionary_attributes_merge(dictionary, 3, &attribute, 1, 4); // older: no change
    bb_dictionary_drain(dictionary, s_ignore, &emitted);
    assert_int_equal(emitted, 0);
    bb_dictionary_attributes_merge(dictionary, 3, &attribute, 1, 6);
    bb_dictionary_drain(dictionary, s_ignore, &emitted);
    assert_int_equal(emitted, 1);
    bb_dictionary_destroy(&dictionary);
    bb_dictionary_destroy(&copy.target);
}

typedef struct {
    uint8_t bytes[512];
    size_t length;
} s_record_t;

static void s_keep_battery(void *context, bool is_metric, uint32_t number, bb_slice_t record)
{
    s_record_t *kept = context;
    (void)number;
    if (!is_metric) {
        memcpy(kept->bytes, record.data, record.length);
        kept->length = record.length;
    }
}

// Goal: a damaged record is refused or is a valid other one; it never reads out of bounds.
static void test_dictionary_refuses_damage(void **state)
{
    (void)state;
    bb_dictionary_t *dictionary = bb_dictionary_new(1, 4);
    const uint32_t metric = bb_dictionary_metric(dictionary, s_slice("voltage_v"));
    const uint8_t type = BB_TYPE_FLOAT64;
    uint32_t battery = bb_dictionary_battery(dictionary, s_slice("b1"), 2);
    bb_dictionary_types_add(dictionary, battery, 1, &metric, &type, 1);
    bb_attribute_t attributes[2] = {{s_slice("site"), s_slice("north")},
                                    {s_slice("maker"), s_slice("x")}};
    bb_dictionary_attributes_merge(dictionary, battery, attributes, 2, 5);
    s_record_t record = {.length = 0};
    bb_dictionary_drain(dictionary, s_keep_battery, &record);
    bb_dictionary_destroy(&dictionary);
    for (size_t length = 0; length <= record.length; length++) {
        // Exactly so many bytes, so that a sanitizer sees every read beyond.
        uint8_t *bytes = bb_alloc(length + 1);
        memcpy(bytes, record.bytes, length);
        dictionary = bb_dictionary_new(1, 4);
        bb_dictionary_metric(dictionary, s_slice("voltage_v"));
        bb_error_t error = bb_dictionary_load(dictionary, false, 0, bb_slice(bytes, length), NULL);
        assert_int_equal(error, length == record.length ? BB_OK : BB_ERR_CORRUPT);
        bb_dictionary_destroy(&dictionary);
        free(bytes);
    }
    uint32_t refused = 0;
    for (size_t at = 0; at < record.length; at++) {
        for (uint32_t bit = 0; bit < 8; bit++) {
            uint8_t *bytes = bb_alloc(record.length);
            memcpy(bytes, record.bytes, record.length);
            bytes[at] ^= (uint8_t)(1u << bit);
            dictionary = bb_dictionary_new(1, 4);
            bb_dictionary_metric(dictionary, s_slice("voltage_v"));
            refused += bb_dictionary_load(dictionary, false, 0, bb_slice(bytes, record.length),
                                          NULL) != BB_OK;
            bb_dictionary_destroy(&dictionary);
            free(bytes);
        }
    }
    assert_true(refused > 100);
    dictionary = bb_dictionary_new(1, 4);
    bb_dictionary_metric(dictionary, s_slice("voltage_v"));
    bb_slice_t good = bb_slice(record.bytes, record.length);
    assert_int_equal(bb_dictionary_load(dictionary, false, 1, good, NULL), BB_ERR_CORRUPT);
    assert_int_equal(bb_dictionary_load(dictionary, false, 0, good, NULL), BB_OK);
    assert_int_equal(bb_dictionary_load(dictionary, false, 1, good, NULL), BB_ERR_CORRUPT);
    assert_int_equal(bb_dictionary_load(dictionary, true, 1, bb_slice("", 0), NULL),
                     BB_ERR_CORRUPT);
    bb_dictionary_destroy(&dictionary);
}

// ---- rows ------------------------------------------------------------------------------------
static int64_t s_time_of(uint32_t row)
{
    return INT64_C(1000000) * row;
}

// One block of row-major frames, as a batch would bring it.
static const bb_head_block_t *s_block(bb_head_t *head, const bb_head_shape_t *shape,
                                      const int64_t *times, const uint64_t *values, uint32_t count,
                                      const uint64_t *texts, uint32_t text_count)
{
    bb_column_t columns[8];
    uint8_t *bytes[8];
    uint64_t *words = bb_alloc(count * sizeof *words);
    assert_true(shape->metric_count <= 8);
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        for (uint32_t r = 0; r < count; r++) {
            words[r] = values[r * shape->metric_count + m];
        }
        bool is_float = shape->types[m] == BB_TYPE_FLOAT64;
        bytes[m] = bb_alloc(bb_column_bytes_max(count));
        size_t length = bb_column_encode(is_float, words, count, bytes[m]);
        size_t used;
        assert_int_equal(
            bb_column_open(&columns[m], is_float, bb_slice(bytes[m], length), count, &used, NULL),
            BB_OK);
        assert_int_equal(used, length);
    }
    int64_t *block_times;
    const bb_head_block_t *block =
        bb_head_block(head, shape, count, columns, texts, text_count, &block_times);
    memcpy(block_times, times, count * sizeof *times);
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        free(bytes[m]); // the block has its own copy
    }
    free(words);
    return block;
}

// Goal: one thread reads what was published while the owner appends; every published row is whole.
typedef struct {
    _Atomic(bb_head_rows_t *) published;
    atomic_bool done;
    bb_head_t *head;      // one reference of the reader's own
    uint64_t wrong_count; // rows that were not as written
} s_shared_t;

static void *s_read_rows(void *context)
{
    s_shared_t *shared = context;
    bool done = false;
    while (!done) {
        done = atomic_load(&shared->done);
        bb_head_rows_t *rows = atomic_exchange(&shared->published, NULL);
        if (!rows) {
            continue;
        }
        uint32_t row_index = 0;
        const bb_head_slab_t *slab = rows->slabs;
        for (uint32_t i = 0, at = 0; i < rows->piece_count; i++, at++) {
            if (at == slab->capacity) {
                slab = slab->next;
                at = 0;
            }
            bb_head_piece_t piece = bb_head_piece(rows->shape, slab->spans[at]);
            for (uint32_t r = 0; r < piece.count; r++, row_index++) {
                uint64_t values[2];
                bb_head_values(&piece, 0, r, 1, &values[0]);
                bb_head_values(&piece, 1, r, 1, &values[1]);
                shared->wrong_count +=
                    piece.block->times_wall_ns[piece.first + r] != s_time_of(row_index) ||
                    values[0] != row_index * 2 || values[1] != row_index * 3;
            }
        }
        shared->wrong_count += row_index != rows->row_count;
        free(rows);
    }
    bb_head_release(&shared->head);
    return NULL;
}

static void test_rows_are_read_while_more_arrive(void **state)
{
    (void)state;
    uint32_t serials = 0;
    bb_head_t *head = bb_head_new(&serials, NULL);
    const uint32_t metrics[2] = {4, 9};
    const uint8_t types[2] = {BB_TYPE_INT64, BB_TYPE_INT64};
    const bb_head_shape_t *shape = bb_head_shape(head, metrics, types, 2);
    assert_ptr_equal(shape, bb_head_shape(head, metrics, types, 2));
    bb_head_group_t *group = bb_head_group(head, 7, 1, shape, 0, false);
    s_shared_t shared = {.head = head};
    bb_head_retain(head);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, s_read_rows, &shared), 0);
    for (uint32_t row = 0; row < 30000; row += 3) {
        int64_t times[3];
        uint64_t values[6];
        for (uint32_t i = 0; i < 3; i++) {
            times[i] = s_time_of(row + i);
            values[i * 2] = (row + i) * 2;
            values[i * 2 + 1] = (row + i) * 3;
        }
        const bb_head_block_t *block = s_block(head, shape, times, values, 3, NULL, 0);
        bb_head_append(head, group, block, 0, 1);
        bb_head_append(head, group, block, 1, 2);
        if (row % 7 == 0 && !atomic_load(&shared.published)) {
            bb_head_rows_t *rows = bb_alloc(sizeof *rows);
            *rows = group->rows;
            atomic_store(&shared.published, rows);
        }
    }
    atomic_store(&shared.done, true);
    bb_head_release(&head); // the reader has the last one
    pthread_join(reader, NULL);
    assert_int_equal(shared.wrong_count, 0);
    free(atomic_load(&shared.published));
}

// Goal: groups keep battery, shape, revision and verdict apart; texts and counts are right.
static void test_groups(void **state)
{
    (void)state;
    uint32_t serials = 0;
    bb_head_t *head = bb_head_new(&serials, NULL);
    const uint32_t metrics[3] = {3, 1, 2};
    const uint8_t types[3] = {BB_TYPE_FLOAT64, BB_TYPE_STATE, BB_TYPE_BOOL};
    const bb_head_shape_t *wide = bb_head_shape(head, metrics, types, 3);
    const bb_head_shape_t *narrow = bb_head_shape(head, metrics, types, 1);
    assert_ptr_not_equal(wide, narrow);
    assert_int_equal(serials, 2);
    assert_true(wide->has_states);
    assert_false(narrow->has_states);
    bb_head_group_t *groups[4] = {
        bb_head_group(head, 900, 1, wide, 0, false),
        bb_head_group(head, 900, 1, wide, 5, false),
        bb_head_group(head, 900, 1, wide, 0, true),
        bb_head_group(head, 900, 1, narrow, 0, false),
    };
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t j = 0; j < i; j++) {
            assert_ptr_not_equal(groups[i], groups[j]);
        }
    }
    assert_ptr_equal(bb_head_group(head, 900, 1, wide, 5, false), groups[1]);
    assert_ptr_equal(bb_head_group(head, 900, 1, wide, 0, false), groups[0]);
    assert_null(bb_head_first_of(head, 3));
    assert_null(bb_head_first_of(head, 1u << 30));
    const bb_text_t *idle = bb_head_text(head, s_slice("Idle"));
    const bb_text_t *empty = bb_head_text(head, bb_slice(NULL, 0));
    assert_ptr_equal(bb_head_text(head, s_slice("Idle")), idle);
    assert_int_equal(empty->length, 0);
    const uint64_t texts[2] = {(uint64_t)(uintptr_t)empty, (uint64_t)(uintptr_t)idle};
    const int64_t times[3] = {30, 10, 20};
    const uint64_t values[9] = {1, 1, 0, 2, 0, 1, 3, 1, 1};
    bb_head_append(head, groups[0], s_block(head, wide, times, values, 3, texts, 2), 0, 3);
    bb_head_rows_t rows = groups[0]->rows;
    assert_int_equal(rows.row_count, 3);
    assert_int_equal(rows.first_wall_ns, 10);
    assert_int_equal(rows.last_wall_ns, 30);
    assert_false(rows.is_ascending);
    assert_int_equal(rows.piece_count, 1);
    bb_head_piece_t piece = bb_head_piece(rows.shape, rows.slabs->spans[0]);
    for (uint32_t r = 0; r < 3; r++) {
        uint64_t value;
        assert_int_equal(piece.block->times_wall_ns[r], times[r]);
        bb_head_values(&piece, 0, r, 1, &value);
        assert_int_equal(value, values[r * 3]);
        bb_head_values(&piece, 1, r, 1, &value);
        assert_true(value == texts[values[r * 3 + 1]]);
    }
    for (uint32_t i = 0; i < 3; i++) { // metrics 3, 1, 2
        assert_int_equal(wide->order[i], (i + 1) % 3);
    }
    assert_int_equal(bb_head_points(head), 9);
    const bb_head_block_t *block = s_block(head, narrow, times, values, 3, NULL, 0);
    bb_head_append(head, groups[3], block, 1, 2);
    assert_true(groups[3]->rows.is_ascending);
    bb_head_append(head, groups[3], block, 2, 1);
    assert_false(groups[3]->rows.is_ascending); // the same time again
    assert_int_equal(bb_head_points(head), 12);
    assert_int_equal(bb_head_group_count(head), 4);
    uint32_t walked = 0;
    for (const bb_head_group_t *group = bb_head_first(head); group; group = group->next_of_all) {
        assert_int_equal(group->battery, 900);
        walked++;
    }
    assert_int_equal(walked, 4);
    bb_head_release(&head);
    assert_null(head);
}

// Goal: spans lead to their blocks whatever the blocks' sizes, across pages and chunks of numbers.
// Method: blocks around the size of a page, and one frame each more often than a chunk has pages.
static void test_numbers_of_frames(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 255, 256, 257, 511, 512, 513, 1000};
    uint32_t serials = 0;
    bb_head_t *head = bb_head_new(&serials, NULL);
    const uint32_t metric = 4;
    const uint8_t type = BB_TYPE_INT64;
    const bb_head_shape_t *shape = bb_head_shape(head, &metric, &type, 1);
    bb_head_group_t *group = bb_head_group(head, 3, 1, shape, 0, false);
    int64_t times[1000];
    uint64_t values[1000];
    uint32_t block_count = (1u << BB_HEAD_CHUNK_BITS) + 50;
    uint64_t frames = 0;
    for (uint32_t b = 0; b < block_count; b++) {
        uint32_t count = b % 64 == 0 ? sizes[b / 64 % BB_COUNT_OF(sizes)] : 1;
        for (uint32_t i = 0; i < count; i++) {
            times[i] = (int64_t)(frames + i);
            values[i] = (frames + i) * 3;
        }
        const bb_head_block_t *block = s_block(head, shape, times, values, count, NULL, 0);
        for (uint32_t i = 0; i < count; i += 100) { // several spans a block
            bb_head_append(head, group, block, i, BB_MIN(100u, count - i));
        }
        frames += count;
    }
    assert_int_equal(group->rows.row_count, frames);
    assert_true(group->rows.is_ascending);
    assert_false(bb_head_is_full(head));
    uint64_t row = 0;
    uint32_t left = group->rows.piece_count;
    for (const bb_head_slab_t *slab = group->rows.slabs; left > 0; slab = slab->next) {
        for (uint32_t i = 0; i < slab->capacity && left > 0; i++, left--) {
            bb_head_piece_t piece = bb_head_piece(shape, slab->spans[i]);
            bb_head_values(&piece, 0, 0, piece.count, values);
            for (uint32_t r = 0; r < piece.count; r++, row++) {
                assert_int_equal(piece.block->times_wall_ns[piece.first + r], row);
                assert_int_equal(values[r], row * 3);
            }
        }
    }
    assert_int_equal(row, frames);
    bb_head_release(&head);
}

// Goal: rows of any shapes and order become columns that hold, at each time, the largest value.
static void test_row_columns(void **state)
{
    (void)state;
    enum { S_METRICS = 5, S_TIMES = 40 };
    bb_random_t random = bb_random_seed(6);
    bb_row_columns_t *columns = bb_row_columns_new();
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t serials = 0;
        bb_head_t *head = bb_head_new(&serials, NULL);
        bool has[S_METRICS][2][S_TIMES] = {{{false}}};
        uint64_t best[S_METRICS][2][S_TIMES] = {{{0}}};
        uint64_t kept_rows[4][8 * (1 + S_METRICS)];
        uint64_t conflicts = 0;
        bb_row_columns_clear(columns);
        uint32_t group_count = (uint32_t)bb_random_between(&random, 1, 4);
        for (uint32_t g = 0; g < group_count; g++) {
            uint32_t metrics[S_METRICS];
            uint8_t types[S_METRICS];
            uint32_t count = 0;
            for (uint32_t m = S_METRICS; m > 0; m--) {
                if (bb_random_chance(&random, 1, 2) || (m == 1 && count == 0)) {
                    metrics[count] = m - 1;
                    types[count++] = bb_random_chance(&random, 1, 4) ? BB_TYPE_BOOL : BB_TYPE_INT64;
                }
            }
            const bb_head_shape_t *shape = bb_head_shape(head, metrics, types, count);
            uint32_t row_count = (uint32_t)bb_random_between(&random, 1, 8);
            uint64_t *rows = kept_rows[g];
            for (uint32_t r = 0; r < row_count; r++) {
                int64_t time = (int64_t)(group_count == 1 ? r * 2 : bb_random_below(&random, 40));
                uint64_t *values = rows + r * (1 + count) + 1;
                values[-1] = (uint64_t)time;
                for (uint32_t m = 0; m < count; m++) {
                    uint64_t value = bb_random_below(&random, 2);
                    uint32_t type = types[m] == BB_TYPE_BOOL;
                    bool *known = &has[metrics[m]][type][time];
                    uint64_t *kept = &best[metrics[m]][type][time];
                    // In the order of arrival; which conflicts are counted does not depend on it
                    // when values are only 0 and 1 and ties are not counted.
                    *kept = *known ? BB_MAX(*kept, value) : value;
                    *known = true;
                    values[m] = value;
                }
            }
            bb_row_columns_add(columns, shape, rows, row_count);
        }
        bb_run_input_t input;
        assert_true(bb_row_columns_next(columns, 3, &input, &conflicts));
        assert_int_equal(input.revision, 3);
        uint32_t cells = 0;
        for (uint32_t c = 0; c < input.column_count; c++) {
            const bb_run_column_t *column = &input.columns[c];
            assert_true(c == 0 || column[-1].metric < column->metric ||
                        (column[-1].metric == column->metric && column[-1].type < column->type));
            for (uint32_t r = 0; r < input.row_count; r++) {
                assert_true(r == 0 || input.times_wall_ns[r] > input.times_wall_ns[r - 1]);
                bool present = !column->presence || (column->presence[r / 64] >> (r % 64) & 1);
                uint32_t type = column->type == BB_TYPE_BOOL;
                int64_t time = input.times_wall_ns[r];
                assert_int_equal(present, has[column->metric][type][time]);
                if (present) {
                    assert_true(column->values[r] == best[column->metric][type][time]);
                    cells++;
                }
            }
        }
        uint32_t expected = 0;
        for (uint32_t m = 0; m < S_METRICS; m++) {
            for (uint32_t t = 0; t < S_TIMES; t++) {
                expected += has[m][0][t] + has[m][1][t];
            }
        }
        assert_int_equal(cells, expected);
        assert_false(bb_row_columns_next(columns, 3, &input, &conflicts));
        bb_head_release(&head);
    }
    bb_row_columns_destroy(&columns);
}

// Goal: more rows than a run may have come out as several runs, none lost, no time in two of them.
static void test_row_columns_are_cut(void **state)
{
    (void)state;
    uint32_t serials = 0;
    bb_head_t *head = bb_head_new(&serials, NULL);
    const uint32_t metric = 1;
    const uint8_t type = BB_TYPE_INT64;
    const bb_head_shape_t *shape = bb_head_shape(head, &metric, &type, 1);
    const uint32_t row_count = BB_RUN_ROWS_MAX * 2 + 10;
    uint64_t *rows = bb_alloc((size_t)row_count * 2 * sizeof *rows);
    for (uint32_t r = 0; r < row_count; r++) {
        rows[r * 2] = r / 2; // each time twice
        rows[r * 2 + 1] = r;
    }
    bb_row_columns_t *columns = bb_row_columns_new();
    bb_row_columns_add(columns, shape, rows, row_count);
    bb_run_input_t input;
    uint64_t conflicts = 0;
    uint64_t next = 0;
    uint32_t run_count = 0;
    while (bb_row_columns_next(columns, 0, &input, &conflicts)) {
        assert_true(input.row_count <= BB_RUN_ROWS_MAX);
        for (uint32_t r = 0; r < input.row_count; r++, next++) {
            assert_true(input.times_wall_ns[r] == (int64_t)next);
            assert_true(input.columns[0].values[r] == next * 2 + 1);
        }
        run_count++;
    }
    assert_int_equal(next, row_count / 2);
    assert_int_equal(run_count, 2);
    assert_int_equal(conflicts, row_count / 2);
    bb_row_columns_destroy(&columns);
    free(rows);
    bb_head_release(&head);
}

// ---- cutting ---------------------------------------------------------------------------------
enum { S_CUT_BATTERIES = 6, S_CUT_TIMES = 3 * 24, S_CUT_METRICS = 3 };

// What the frames given so far mean: [quarantine][battery][revision][metric][type][hour].
typedef struct {
    bool has[2][S_CUT_BATTERIES][2][S_CUT_METRICS][2][S_CUT_TIMES];
    uint64_t best[2][S_CUT_BATTERIES][2][S_CUT_METRICS][2][S_CUT_TIMES];
    uint32_t cells, walked;
    bb_head_window_t window;
    uint64_t before; // order of what was emitted last
} s_cut_t;

static bb_error_t s_check_input(void *context, uint32_t partition, uint32_t battery,
                                const bb_run_input_t *input)
{
    s_cut_t *cut = context;
    assert_int_equal(partition, battery / 2);
    uint64_t order = (uint64_t)partition << 33 | battery << 1 | input->revision;
    assert_true(order >= cut->before);
    cut->before = order;
    for (uint32_t r = 0; r < input->row_count; r++) {
        assert_true(r == 0 || input->times_wall_ns[r] > input->times_wall_ns[r - 1]);
        assert_int_equal(input->times_wall_ns[r] / BB_NS_PER_DAY, cut->window.day);
    }
    for (uint32_t c = 0; c < input->column_count; c++) {
        const bb_run_column_t *column = &input->columns[c];
        assert_true(c == 0 || column[-1].metric < column->metric ||
                    (column[-1].metric == column->metric && column[-1].type < column->type));
        for (uint32_t r = 0; r < input->row_count; r++) {
            if (column->presence && !(column->presence[r / 64] >> (r % 64) & 1)) {
                continue;
            }
            uint32_t hour = (uint32_t)(input->times_wall_ns[r] / (3600 * INT64_C(1000000000)));
            uint32_t type = column->type == BB_TYPE_BOOL;
            uint32_t verdict = cut->window.is_quarantined;
            bool *has = &cut->has[verdict][battery][input->revision][column->metric][type][hour];
            assert_true(*has); // once only, as a small head is cut into one input a battery
            *has = false;
            assert_true(column->values[r] ==
                        cut->best[verdict][battery][input->revision][column->metric][type][hour]);
            cut->walked++;
        }
    }
    return BB_OK;
}

// A batch of frames of one shape for random batteries: runs of neighbouring frames.
// Each piece of `piece_frames`, a divisor of 4.
static void s_random_block(bb_random_t *random, bb_head_t *head, s_cut_t *cut, bool in_order,
                           uint32_t piece_frames, uint32_t *clock)
{
    uint32_t metrics[S_CUT_METRICS];
    uint8_t types[S_CUT_METRICS];
    uint32_t count = 0;
    for (uint32_t m = S_CUT_METRICS; m > 0; m--) {
        if (in_order || bb_random_chance(random, 1, 2) || (m == 1 && count == 0)) {
            metrics[count] = m - 1;
            types[count++] =
                !in_order && bb_random_chance(random, 1, 4) ? BB_TYPE_BOOL : BB_TYPE_FLOAT64;
        }
    }
    const bb_head_shape_t *shape = bb_head_shape(head, metrics, types, count);
    enum { S_FRAMES = 24 };
    int64_t times[S_FRAMES];
    uint64_t values[S_FRAMES * S_CUT_METRICS];
    uint32_t hours[S_FRAMES];
    for (uint32_t f = 0; f < S_FRAMES; f++) {
        hours[f] = in_order ? *clock + f % 4 : (uint32_t)bb_random_below(random, S_CUT_TIMES);
        times[f] = (int64_t)hours[f] * 3600 * INT64_C(1000000000);
        for (uint32_t m = 0; m < count; m++) {
            values[f * count + m] = types[m] == BB_TYPE_BOOL
                                        ? bb_random_below(random, 2)
                                        : bb_bits_of_double((double)bb_random_below(random, 900));
        }
    }
    *clock += 4;
    const bb_head_block_t *block = s_block(head, shape, times, values, S_FRAMES, NULL, 0);
    for (uint32_t b = 0; b < S_CUT_BATTERIES; b++) {
        uint32_t verdict = !in_order && bb_random_chance(random, 1, 5);
        uint32_t revision = !in_order && bb_random_chance(random, 1, 5);
        bb_head_group_t *group = bb_head_group(head, b, b / 2, shape, revision, verdict);
        for (uint32_t f = 0; f < 4; f += piece_frames) {
            bb_head_append(head, group, block, b * 4 + f, piece_frames);
        }
        for (uint32_t f = b * 4; f < b * 4 + 4; f++) {
            for (uint32_t m = 0; m < count; m++) {
                uint32_t type = types[m] == BB_TYPE_BOOL;
                bool *has = &cut->has[verdict][b][revision][metrics[m]][type][hours[f]];
                uint64_t *best = &cut->best[verdict][b][revision][metrics[m]][type][hours[f]];
                uint64_t value = values[f * count + m];
                cut->cells += !*has;
                *best = *has ? BB_MAX(*best, value) : value; // positive doubles: order of the bits
                *has = true;
            }
        }
    }
}

// Goal: cutting gives each (window, battery, revision, metric, type, time) once, with the largest
// value; in any mixture of batches.
static void test_head_is_cut(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(77);
    for (uint32_t round = 0; round < 100; round++) {
        bool in_order = round % 4 == 0;
        uint32_t serials = 0;
        uint32_t clock = 0;
        bb_head_t *head = bb_head_new(&serials, NULL);
        s_cut_t *cut = bb_alloc_zero(1, sizeof *cut);
        uint32_t blocks = (uint32_t)bb_random_between(&random, 1, S_CUT_TIMES / 4);
        for (uint32_t i = 0; i < blocks; i++) {
            s_random_block(&random, head, cut, in_order, 1u << round / 4 % 3, &clock);
        }
        bb_head_cut_t *cutter = bb_head_cut_new(head);
        uint64_t conflicts = 0;
        uint64_t before = 0;
        for (uint32_t w = 0; w < bb_head_cut_window_count(cutter); w++) {
            cut->window = bb_head_cut_window(cutter, w);
            uint64_t key = (uint64_t)cut->window.is_quarantined << 32 | cut->window.day;
            assert_true(w == 0 || key > before);
            before = key;
            cut->before = 0;
            assert_int_equal(bb_head_cut_emit(cutter, w, s_check_input, cut, &conflicts), BB_OK);
        }
        assert_int_equal(cut->walked, cut->cells);
        bb_head_cut_destroy(&cutter);
        free(cut);
        bb_head_release(&head);
    }
}

typedef struct {
    uint32_t battery;
    uint64_t rows, sum;
    uint32_t inputs;
} s_large_t;

static bb_error_t s_count_input(void *context, uint32_t partition, uint32_t battery,
                                const bb_run_input_t *input)
{
    s_large_t *large = context;
    (void)partition;
    assert_int_equal(battery, large->battery);
    assert_true(input->row_count <= BB_RUN_ROWS_MAX);
    large->rows += input->row_count;
    large->inputs++;
    for (uint32_t r = 0; r < input->row_count; r++) {
        large->sum += input->columns[0].values[r];
    }
    return BB_OK;
}

// Goal: a battery with more frames than the scratch holds comes in several inputs, nothing lost.
static void test_large_battery_is_cut(void **state)
{
    (void)state;
    uint32_t serials = 0;
    bb_head_t *head = bb_head_new(&serials, NULL);
    const uint32_t metric = 1;
    const uint8_t type = BB_TYPE_INT64;
    const bb_head_shape_t *shape = bb_head_shape(head, &metric, &type, 1);
    bb_head_group_t *group = bb_head_group(head, 3, 0, shape, 0, false);
    enum { S_FRAMES = 1000, S_BLOCKS = 700 };
    int64_t times[S_FRAMES];
    uint64_t values[S_FRAMES];
    uint64_t sum = 0;
    for (uint32_t b = 0; b < S_BLOCKS; b++) {
        for (uint32_t f = 0; f < S_FRAMES; f++) {
            times[f] = (int64_t)(b * S_FRAMES + f) * 1000;
            values[f] = b ^ f;
            sum += values[f];
        }
        const bb_head_block_t *block = s_block(head, shape, times, values, S_FRAMES, NULL, 0);
        bb_head_append(head, group, block, 0, S_FRAMES);
    }
    bb_head_cut_t *cutter = bb_head_cut_new(head);
    s_large_t large = {.battery = 3};
    uint64_t conflicts = 0;
    assert_int_equal(bb_head_cut_window_count(cutter), 1);
    assert_int_equal(bb_head_cut_emit(cutter, 0, s_count_input, &large, &conflicts), BB_OK);
    assert_int_equal(large.rows, S_FRAMES * S_BLOCKS);
    assert_int_equal(large.sum, sum);
    assert_true(large.inputs > 1);
    bb_head_cut_destroy(&cutter);
    bb_head_release(&head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_type_sets),
        cmocka_unit_test(test_dictionary),
        cmocka_unit_test(test_dictionary_refuses_damage),
        cmocka_unit_test(test_rows_are_read_while_more_arrive),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_numbers_of_frames),
        cmocka_unit_test(test_row_columns),
        cmocka_unit_test(test_row_columns_are_cut),
        cmocka_unit_test(test_head_is_cut),
        cmocka_unit_test(test_large_battery_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
