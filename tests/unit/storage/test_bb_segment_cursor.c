// SPDX-License-Identifier: Apache-2.0
// Goal: a cursor shows every run of every segment, by look-up and by walk, and what vanished or was
// changed is an error or harmless, never a run too few without a word. Method: random segments on
// the simulated map; a list of what was added is the oracle; packs that are removed, every byte of
// a small segment flipped.
#include "storage/segment/bb_segment_cursor.h"

#include "storage/segment/bb_pack.h"
#include "storage/segment/bb_run_group.h"
#include "tests/support/bb_sim_kv.h"
#include "tests/unit/storage/run_table.h"

#define S_SEGMENTS 3u
#define S_RUNS_MAX 400u

// A run is its own number, repeated: the cursor does not look into it.
typedef struct {
    uint64_t place;
    uint32_t segment, number, words;
} s_run_t;

typedef struct {
    bb_sim_disk_t *disk;
    bb_kv_driver_t *kv;
    bb_kv_env_t *envs[S_SEGMENTS];
    bb_segment_part_t parts[S_SEGMENTS];
    s_run_t runs[S_RUNS_MAX];
    uint32_t run_count;
} s_window_t;

static void s_open(s_window_t *self)
{
    memset(self, 0, sizeof *self);
    self->disk = bb_sim_disk_new();
    self->kv = bb_sim_kv(self->disk);
    bb_vfs_t *vfs = bb_sim_disk_vfs(self->disk);
    for (uint32_t i = 0; i < S_SEGMENTS; i++) {
        char path[32];
        snprintf(path, sizeof path, "/%u", i);
        assert_int_equal(vfs->make_directory(vfs, path), BB_OK);
        assert_int_equal(self->kv->open(self->kv, path, 64u << 20, true, &self->envs[i], NULL),
                         BB_OK);
    }
}

static void s_close(s_window_t *self)
{
    for (uint32_t i = 0; i < S_SEGMENTS; i++) {
        self->kv->close(&self->envs[i]);
    }
    bb_sim_disk_destroy(&self->disk);
}

// Batteries of three partitions; some runs are so long that a battery's go on in the next pack.
static void s_fill(s_window_t *self, bb_random_t *random, uint32_t runs_max, uint32_t words_max)
{
    bb_segment_writer_t *writer = bb_segment_writer_new();
    uint32_t *words = bb_alloc(words_max * sizeof *words);
    for (uint32_t segment = 0; segment < S_SEGMENTS; segment++) {
        bool must_fence = false;
        uint64_t place = test_below(random, 4);
        uint32_t count = 1 + test_below(random, runs_max);
        assert_int_equal(
            bb_segment_writer_begin(writer, self->kv, self->envs[segment], &must_fence), BB_OK);
        for (uint32_t i = 0; i < count; i++) {
            s_run_t *run = &self->runs[self->run_count++];
            assert_true(self->run_count < S_RUNS_MAX);
            *run = (s_run_t){place, segment, self->run_count, 1 + test_below(random, words_max)};
            for (uint32_t word = 0; word < run->words; word++) {
                words[word] = run->number;
            }
            assert_int_equal(bb_segment_writer_add(writer, (uint32_t)(place >> 32), (uint32_t)place,
                                                   bb_slice(words, run->words * 4u), 1),
                             BB_OK);
            place += test_below(random, 3);
            place = test_below(random, 12) == 0 ? ((place >> 32) + 1) << 32 : place;
        }
        bb_segment_info_t info;
        assert_int_equal(bb_segment_writer_finish(writer, &info), BB_OK);
        assert_false(must_fence);
        assert_int_equal(info.run_count, count);
        assert_int_equal(info.point_count, count);
        self->parts[segment] = (bb_segment_part_t){self->envs[segment], info};
    }
    free(words);
    bb_segment_writer_destroy(&writer);
}

// Takes the runs of the battery that the cursor stands at; returns how many, ~0 if one is not
// right. *errors grows by the errors met.
static uint32_t s_take(s_window_t *self, bb_segment_cursor_t *cursor, uint64_t place,
                       uint32_t *errors)
{
    uint32_t count = 0;
    uint32_t calls = 0;
    bb_slice_t run;
    bb_error_t error;
    while ((error = bb_segment_cursor_next(cursor, &run)) != BB_ERR_NOT_FOUND) {
        assert_true(++calls < 10000); // it ends
        if (error != BB_OK) {
            ++*errors;
            continue;
        }
        uint32_t number;
        assert_int_equal((uintptr_t)run.data % 4, 0);
        assert_true(run.length >= 4);
        memcpy(&number, run.data, sizeof number);
        if (number < 1 || number > self->run_count || self->runs[number - 1].place != place ||
            run.length != self->runs[number - 1].words * 4u) {
            return UINT32_MAX;
        }
        count++;
    }
    return count;
}

static uint32_t s_expected(const s_window_t *self, uint64_t place)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->run_count; i++) {
        count += self->runs[i].place == place;
    }
    return count;
}

static uint64_t s_place_max(const s_window_t *self)
{
    uint64_t max = 0;
    for (uint32_t i = 0; i < self->run_count; i++) {
        max = BB_MAX(max, self->runs[i].place);
    }
    return max;
}

// All look-ups and a walk equal the oracle.
static void s_check_sound(s_window_t *self, bb_random_t *random)
{
    bb_segment_cursor_t *cursor = NULL;
    uint32_t errors = 0;
    assert_int_equal(bb_segment_cursor_open(self->kv, self->parts, S_SEGMENTS, &cursor), BB_OK);
    for (uint32_t i = 0; i < 300; i++) {
        uint64_t place = i < self->run_count ? self->runs[i].place : 0;
        place = i % 3 == 0 ? place + test_below(random, 3) : place;
        bb_segment_cursor_seek(cursor, (uint32_t)(place >> 32), (uint32_t)place);
        assert_int_equal(s_take(self, cursor, place, &errors), s_expected(self, place));
    }
    for (uint32_t round = 0; round < 3; round++) {
        uint64_t from = round == 0 ? 0 : self->runs[test_below(random, self->run_count)].place;
        uint64_t before = 0;
        uint32_t seen = 0;
        uint32_t wanted = 0;
        uint32_t partition;
        uint32_t battery;
        bb_segment_cursor_seek(cursor, (uint32_t)(from >> 32), (uint32_t)from);
        while (bb_segment_cursor_walk(cursor, &partition, &battery) == BB_OK) {
            uint64_t place = bb_pack_place(partition, battery);
            assert_true(seen == 0 || place > before);
            before = place;
            // Not everybody looks at all runs of a battery before going on.
            uint32_t of_battery = s_expected(self, place);
            assert_true(of_battery > 0);
            if (test_below(random, 4) > 0) {
                assert_int_equal(s_take(self, cursor, place, &errors), of_battery);
            }
            seen += of_battery;
        }
        for (uint32_t i = 0; i < self->run_count; i++) {
            wanted += self->runs[i].place >= from;
        }
        assert_int_equal(seen, wanted);
    }
    assert_int_equal(errors, 0);
    for (uint32_t i = 0; i < S_SEGMENTS; i++) {
        assert_false(bb_segment_cursor_is_damaged(cursor, i));
    }
    bb_segment_cursor_close(&cursor);
}

static void test_look_ups_and_walks(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(51);
    for (uint32_t round = 0; round < 20; round++) {
        s_window_t window;
        s_open(&window);
        // One small pack each; many packs each.
        s_fill(&window, &random, 100, round % 2 ? 20 : 60000);
        s_check_sound(&window, &random);
        s_close(&window);
    }
}

// What is asked of a damaged window: whoever gets fewer runs than there were has met an error.
static void s_check_damaged(s_window_t *self, uint32_t *noticed)
{
    bb_segment_cursor_t *cursor = NULL;
    assert_int_equal(bb_segment_cursor_open(self->kv, self->parts, S_SEGMENTS, &cursor), BB_OK);
    uint64_t max = s_place_max(self);
    for (uint64_t partition = 0; partition <= max >> 32; partition++) {
        for (uint64_t battery = 0; battery < 40; battery++) {
            uint32_t errors = 0;
            uint64_t place = partition << 32 | battery;
            bb_segment_cursor_seek(cursor, (uint32_t)partition, (uint32_t)battery);
            uint32_t count = s_take(self, cursor, place, &errors);
            assert_true(count == s_expected(self, place) || errors > 0);
            *noticed += errors > 0;
        }
    }
    uint32_t errors = 0;
    uint32_t calls = 0;
    uint32_t seen = 0;
    uint32_t partition;
    uint32_t battery;
    bb_error_t error;
    bb_segment_cursor_seek(cursor, 0, 0);
    while ((error = bb_segment_cursor_walk(cursor, &partition, &battery)) != BB_ERR_NOT_FOUND) {
        assert_true(++calls < 10000);
        errors += error != BB_OK;
        if (error == BB_OK) {
            seen += s_take(self, cursor, bb_pack_place(partition, battery), &errors);
        }
    }
    assert_true(seen == self->run_count || errors > 0);
    bool is_damaged = false;
    for (uint32_t i = 0; i < S_SEGMENTS; i++) {
        is_damaged |= bb_segment_cursor_is_damaged(cursor, i);
    }
    assert_true(is_damaged == (errors > 0));
    *noticed += errors > 0;
    bb_segment_cursor_close(&cursor);
}

// The n-th entry of a map; false: there are fewer.
static bool s_entry(s_window_t *self, uint32_t segment, uint32_t n, uint8_t key[16],
                    size_t *key_length, uint8_t **value, size_t *length)
{
    bb_kv_txn_t *txn = NULL;
    bb_kv_cursor_t *cursor = NULL;
    bb_slice_t found;
    bb_slice_t bytes;
    assert_int_equal(self->kv->begin(self->envs[segment], false, &txn), BB_OK);
    assert_int_equal(self->kv->cursor(txn, &cursor), BB_OK);
    bb_error_t error = self->kv->seek(cursor, bb_slice(NULL, 0), &found, &bytes);
    while (error == BB_OK && n-- > 0) {
        error = self->kv->next(cursor, &found, &bytes);
    }
    if (error == BB_OK) {
        *key_length = found.length;
        *length = bytes.length;
        memcpy(key, found.data, found.length);
        *value = bb_alloc(bytes.length);
        memcpy(*value, bytes.data, bytes.length);
    }
    self->kv->cursor_close(&cursor);
    self->kv->abort(&txn);
    return error == BB_OK;
}

static void s_put(s_window_t *self, uint32_t segment, bb_slice_t key, const uint8_t *value,
                  size_t length)
{
    bb_kv_txn_t *txn = NULL;
    assert_int_equal(self->kv->begin(self->envs[segment], true, &txn), BB_OK);
    assert_int_equal(value ? self->kv->put(txn, key, bb_slice(value, length))
                           : self->kv->remove(txn, key),
                     BB_OK);
    assert_int_equal(self->kv->commit(&txn), BB_OK);
}

static void test_vanished_packs_are_noticed(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(52);
    uint32_t removed = 0;
    uint32_t noticed = 0;
    for (uint32_t round = 0; round < 3; round++) {
        s_window_t window;
        s_open(&window);
        s_fill(&window, &random, 60, 60000);
        uint8_t key[16];
        size_t key_length;
        uint8_t *value;
        size_t length;
        for (uint32_t n = 0; s_entry(&window, 1, n, key, &key_length, &value, &length); n++) {
            uint32_t before = noticed;
            s_put(&window, 1, bb_slice(key, key_length), NULL, 0);
            s_check_damaged(&window, &noticed);
            assert_true(noticed > before);
            s_put(&window, 1, bb_slice(key, key_length), value, length);
            free(value);
            removed++;
        }
        s_check_sound(&window, &random);
        s_close(&window);
    }
    assert_true(removed > 10);
}

static void test_flipped_bytes_are_noticed_or_harmless(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(53);
    s_window_t window;
    s_open(&window);
    s_fill(&window, &random, 12, 6);
    uint8_t key[16];
    size_t key_length;
    uint8_t *value;
    size_t length;
    uint32_t noticed = 0;
    assert_true(s_entry(&window, 1, 0, key, &key_length, &value, &length));
    bb_pack_t pack;
    assert_int_equal(bb_pack_open(&pack, bb_slice(value, length), NULL), BB_OK);
    size_t index_bytes = (size_t)((const uint8_t *)bb_pack_entry_run(&pack, 0).data - value);
    // Runs have their own checksums and are not the cursor's matter.
    for (size_t at = 0; at < index_bytes; at++) {
        uint32_t before = noticed;
        value[at] ^= (uint8_t)(1u << at % 8);
        s_put(&window, 1, bb_slice(key, key_length), value, length);
        s_check_damaged(&window, &noticed);
        assert_true(noticed > before);
        value[at] ^= (uint8_t)(1u << at % 8);
    }
    s_put(&window, 1, bb_slice(key, key_length), value, length);
    // Each bit of a key: the pack is then under another battery.
    for (size_t bit = 0; bit < key_length * 8; bit++) {
        uint8_t other[16];
        uint32_t before = noticed;
        memcpy(other, key, key_length);
        other[bit / 8] ^= (uint8_t)(1u << bit % 8);
        s_put(&window, 1, bb_slice(key, key_length), NULL, 0);
        s_put(&window, 1, bb_slice(other, key_length), value, length);
        s_check_damaged(&window, &noticed);
        assert_true(noticed > before);
        s_put(&window, 1, bb_slice(other, key_length), NULL, 0);
        s_put(&window, 1, bb_slice(key, key_length), value, length);
    }
    s_check_sound(&window, &random);
    free(value);
    s_close(&window);
}

// Goal: a segment that could not be opened is damage of the batteries that it should have, only.
static void test_segment_that_is_not_there(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(54);
    s_window_t window;
    s_open(&window);
    s_fill(&window, &random, 30, 20);
    bb_segment_part_t parts[S_SEGMENTS];
    memcpy(parts, window.parts, sizeof parts);
    parts[1].env = NULL;
    bb_segment_cursor_t *cursor = NULL;
    assert_int_equal(bb_segment_cursor_open(window.kv, parts, S_SEGMENTS, &cursor), BB_OK);
    for (uint32_t i = 0; i < window.run_count; i++) {
        uint64_t place = window.runs[i].place;
        bool is_inside = place >= parts[1].info.first && place <= parts[1].info.last;
        uint32_t errors = 0;
        bb_segment_cursor_seek(cursor, (uint32_t)(place >> 32), (uint32_t)place);
        s_take(&window, cursor, place, &errors);
        assert_int_equal(errors, is_inside);
    }
    assert_true(bb_segment_cursor_is_damaged(cursor, 1));
    bb_segment_cursor_close(&cursor);
    s_close(&window);
}

// ---- shared runs -----------------------------------------------------------------------------
#define S_NEIGHBOURS 90u

static bb_error_t s_put_group(void *context, const bb_segment_entry_t *entries,
                              uint32_t entry_count, const bb_slice_t *runs, uint32_t run_count)
{
    return bb_segment_writer_add_group(context, entries, entry_count, runs, run_count);
}

// Every segment has some rows of nearly every battery, those of odd ones in another run than those
// of even ones.
static void s_fill_shared(s_window_t *self, test_table_t tables[S_SEGMENTS][S_NEIGHBOURS])
{
    bb_random_t random = bb_random_seed(12);
    bb_segment_writer_t *writer = bb_segment_writer_new();
    bb_run_group_t *group = bb_run_group_new(5, s_put_group, writer);
    for (uint32_t segment = 0; segment < S_SEGMENTS; segment++) {
        bool must_fence = false;
        bb_segment_info_t info;
        assert_int_equal(
            bb_segment_writer_begin(writer, self->kv, self->envs[segment], &must_fence), BB_OK);
        for (uint32_t b = 0; b < S_NEIGHBOURS; b++) {
            test_table_t *table = &tables[segment][b];
            test_table_init(table, &random, 1 + test_below(&random, 9), 2 + b % 2);
            bb_run_input_t input = test_table_input(table, segment);
            assert_int_equal(bb_run_group_add(group, 4, b, &input), BB_OK);
        }
        assert_int_equal(bb_run_group_flush(group), BB_OK);
        assert_int_equal(bb_segment_writer_finish(writer, &info), BB_OK);
        assert_int_equal(info.battery_count, S_NEIGHBOURS);
        assert_int_equal(info.run_count, S_NEIGHBOURS);
        self->parts[segment] = (bb_segment_part_t){self->envs[segment], info};
    }
    bb_run_group_destroy(&group);
    bb_segment_writer_destroy(&writer);
}

// Opens the runs of the battery at hand, all of which stay open side by side.
static void s_open_all(bb_segment_cursor_t *cursor, bb_run_t runs[S_SEGMENTS])
{
    bb_slice_t encoded;
    uint32_t count = 0;
    while (bb_segment_cursor_next(cursor, &encoded) == BB_OK) {
        assert_true(count < S_SEGMENTS);
        assert_int_equal(bb_segment_cursor_open_run(cursor, encoded, &runs[count++], NULL), BB_OK);
    }
    assert_int_equal(count, S_SEGMENTS);
}

static void s_expect_tables(test_table_t tables[S_SEGMENTS][S_NEIGHBOURS], uint32_t battery,
                            const bb_run_t runs[S_SEGMENTS])
{
    for (uint32_t segment = 0; segment < S_SEGMENTS; segment++) {
        bb_error_t error;
        assert_int_equal(runs[segment].revision, segment);
        assert_non_null(runs[segment].shared);
        assert_true(test_table_equals_run(&tables[segment][battery], &runs[segment], &error));
    }
}

// Goal: runs that batteries share are found from each of them, in any order, and stay open as long
// as is promised: for a battery, or for as many as their owner says. Method: tables per battery.
static void test_shared_runs(void **state)
{
    (void)state;
    static test_table_t tables[S_SEGMENTS][S_NEIGHBOURS];
    static bb_run_t runs[S_NEIGHBOURS][S_SEGMENTS];
    s_window_t window;
    bb_random_t random = bb_random_seed(3);
    bb_segment_cursor_t *cursor = NULL;
    s_open(&window);
    s_fill_shared(&window, tables);
    assert_int_equal(bb_segment_cursor_open(window.kv, window.parts, S_SEGMENTS, &cursor), BB_OK);
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t battery = test_below(&random, S_NEIGHBOURS);
        bb_segment_cursor_seek(cursor, 4, battery);
        s_open_all(cursor, runs[0]);
        s_expect_tables(tables, battery, runs[0]);
    }
    bb_segment_cursor_seek(cursor, 0, 0);
    bb_segment_cursor_hold(cursor);
    uint32_t partition;
    uint32_t battery;
    for (uint32_t b = 0; b < S_NEIGHBOURS; b++) {
        assert_int_equal(bb_segment_cursor_walk(cursor, &partition, &battery), BB_OK);
        assert_int_equal(battery, b);
        s_open_all(cursor, runs[b]);
    }
    for (uint32_t b = 0; b < S_NEIGHBOURS; b++) {
        s_expect_tables(tables, b, runs[b]);
    }
    assert_int_equal(bb_segment_cursor_walk(cursor, &partition, &battery), BB_ERR_NOT_FOUND);
    bb_segment_cursor_close(&cursor);
    for (uint32_t i = 0; i < S_SEGMENTS * S_NEIGHBOURS; i++) {
        test_table_free(&tables[i / S_NEIGHBOURS][i % S_NEIGHBOURS]);
    }
    s_close(&window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_look_ups_and_walks),
        cmocka_unit_test(test_vanished_packs_are_noticed),
        cmocka_unit_test(test_flipped_bytes_are_noticed_or_harmless),
        cmocka_unit_test(test_segment_that_is_not_there),
        cmocka_unit_test(test_shared_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
