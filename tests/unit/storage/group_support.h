// SPDX-License-Identifier: Apache-2.0
// group_support - what bb_run_group puts, kept and opened again battery by battery, for tests.
#ifndef BB_TEST_GROUP_SUPPORT_H
#define BB_TEST_GROUP_SUPPORT_H

#include "storage/segment/bb_run_group.h"
#include "storage/segment/bb_run_reader.h"
#include "storage/segment/bb_shared_run.h"
#include "tests/unit/storage/run_table.h"

#define TEST_ENTRIES_MAX 8192
#define TEST_RUNS_MAX    4096

typedef struct {
    bb_segment_entry_t entries[TEST_ENTRIES_MAX]; // `run`: of all
    uint32_t entry_count;
    bb_slice_t runs[TEST_RUNS_MAX];
    bb_shared_run_t *shared[TEST_RUNS_MAX]; // NULL: not opened, or not shared
    uint32_t run_count, shared_count;
    uint32_t put_count;
    bb_error_t answer;
} test_put_t;

static inline bb_error_t test_put(void *context, const bb_segment_entry_t *entries,
                                  uint32_t entry_count, const bb_slice_t *runs, uint32_t run_count)
{
    test_put_t *self = context;
    uint32_t named = 0;
    self->put_count++;
    if (self->answer != BB_OK) {
        return self->answer;
    }
    for (uint32_t i = 0; i < entry_count; i++) {
        assert_true(self->entry_count < TEST_ENTRIES_MAX);
        assert_true(entries[i].run <= named); // numbered as they are named
        named += entries[i].run == named;
        assert_true(self->entry_count == 0 ||
                    self->entries[self->entry_count - 1].place <= entries[i].place);
        bb_segment_entry_t *entry = &self->entries[self->entry_count++];
        *entry = entries[i];
        entry->run += self->run_count;
    }
    assert_int_equal(named, run_count);
    for (uint32_t i = 0; i < run_count; i++) {
        assert_true(self->run_count < TEST_RUNS_MAX);
        uint8_t *copy = bb_alloc(runs[i].length);
        memcpy(copy, runs[i].data, runs[i].length);
        self->shared_count += bb_run_is_shared(runs[i]);
        self->runs[self->run_count++] = bb_slice(copy, runs[i].length);
    }
    return BB_OK;
}

// The run of an entry; views stay valid until test_put_free.
static inline bb_error_t test_put_open(test_put_t *self, uint32_t index, bb_run_t *run)
{
    const bb_segment_entry_t *entry = &self->entries[index];
    bb_slice_t encoded = self->runs[entry->run];
    if (!bb_run_is_shared(encoded)) {
        return bb_run_open(run, encoded, NULL);
    }
    bb_shared_run_t **shared = &self->shared[entry->run];
    if (!*shared) {
        *shared = bb_shared_run_new();
        bb_error_t error = bb_shared_run_open(*shared, encoded, NULL);
        if (error != BB_OK) {
            bb_shared_run_destroy(shared);
            return error;
        }
    }
    uint32_t member =
        bb_shared_run_find(*shared, (uint32_t)(entry->place >> 32), (uint32_t)entry->place);
    assert_int_not_equal(member, UINT32_MAX);
    return bb_shared_run_view(*shared, member, run);
}

static inline void test_put_free(test_put_t *self)
{
    for (uint32_t i = 0; i < self->run_count; i++) {
        bb_shared_run_destroy(&self->shared[i]);
        test_slice_free(self->runs[i]);
    }
    memset(self, 0, sizeof *self);
}

#endif
