// SPDX-License-Identifier: Apache-2.0
// The newest rows of windows: what wins, what raises the bound, and the promise of the bound
// against a model that keeps every point.
#include "storage/scan/bb_latest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

static const uint32_t s_metrics[2] = {4, 9};
static const uint8_t s_types[2] = {BB_TYPE_INT64, BB_TYPE_INT64};

static void newest_row_wins(void **state)
{
    (void)state;
    bb_latest_t *latest = bb_latest_new(-1, 1 << 20);
    assert_null(bb_latest_first(latest, 7));
    assert_true(bb_latest_bound(latest, 7) == -1);
    const bb_latest_shape_t *shape = bb_latest_shape(latest, s_metrics, s_types, 2);
    assert_ptr_equal(shape, bb_latest_shape(latest, s_metrics, s_types, 2));
    bb_latest_put(latest, 7, shape, 100, 0, (uint64_t[]){1, 2});
    bb_latest_put(latest, 7, shape, 90, 5, (uint64_t[]){8, 8}); // older, whatever its revision
    const bb_latest_row_t *row = bb_latest_first(latest, 7);
    assert_non_null(row);
    assert_true(row->time_wall_ns == 100 && row->values[0] == 1 && row->values[1] == 2);
    bb_latest_put(latest, 7, shape, 100, 0, (uint64_t[]){0, 3}); // the larger value of each
    assert_true(row->values[0] == 1 && row->values[1] == 3);
    bb_latest_put(latest, 7, shape, 100, 2, (uint64_t[]){0, 0}); // a later revision as a whole
    assert_true(row->values[0] == 0 && row->values[1] == 0 && row->revision == 2);
    bb_latest_put(latest, 7, shape, 100, 1, (uint64_t[]){9, 9});
    assert_true(row->values[0] == 0 && row->revision == 2);
    assert_null(row->next);
    assert_null(bb_latest_first(latest, 8));
    bb_latest_destroy(&latest);
}

// A newest value whose window retention has dropped is no longer given; others stay.
static void rows_of_dropped_windows_are_forgotten(void **state)
{
    (void)state;
    bb_latest_t *latest = bb_latest_new(-1, 1 << 20);
    const bb_latest_shape_t *shape = bb_latest_shape(latest, s_metrics, s_types, 2);
    const bb_latest_shape_t *other = bb_latest_shape(latest, s_metrics, s_types, 1);
    bb_latest_put(latest, 1, shape, 99, 0, (uint64_t[]){1, 2});
    bb_latest_put(latest, 2, shape, 100, 0, (uint64_t[]){3, 4});
    bb_latest_put(latest, 3, shape, 50, 0, (uint64_t[]){5, 6});
    bb_latest_put(latest, 3, other, 150, 0, (uint64_t[]){7});
    bb_latest_forget(latest, 100);
    assert_null(bb_latest_first(latest, 1));
    assert_non_null(bb_latest_first(latest, 2));
    assert_true(bb_latest_first(latest, 2)->time_wall_ns == 100);
    const bb_latest_row_t *row = bb_latest_first(latest, 3);
    assert_non_null(row);
    assert_true(row->time_wall_ns == 150 && row->shape == other);
    assert_null(row->next);
    // What may be left of what was forgotten is looked up in windows.
    assert_true(bb_latest_bound(latest, 1) >= 99);
    assert_true(bb_latest_bound(latest, 3) >= 50);
    bb_latest_destroy(&latest);
}

static void texts_are_kept(void **state)
{
    (void)state;
    bb_latest_t *latest = bb_latest_new(-1, 1 << 20);
    const uint32_t metric = 1;
    const uint8_t type = BB_TYPE_STATE;
    const bb_latest_shape_t *shape = bb_latest_shape(latest, &metric, &type, 1);
    for (uint32_t i = 0; i < 200; i++) {
        bb_text_t *text = malloc(sizeof *text + 8);
        text->length = (uint32_t)snprintf(text->bytes, 8, "s%u", i % 100);
        uint64_t bits = (uint64_t)(uintptr_t)text;
        bb_latest_put(latest, i, shape, 5, 0, &bits);
        memset(text->bytes, 'x', text->length);
        free(text);
    }
    for (uint32_t i = 0; i < 200; i++) {
        const bb_text_t *text = bb_text_of_bits(bb_latest_first(latest, i)->values[0]);
        char expected[8];
        assert_int_equal(text->length, snprintf(expected, sizeof expected, "s%u", i % 100));
        assert_memory_equal(text->bytes, expected, text->length);
        assert_ptr_equal(text, bb_text_of_bits(bb_latest_first(latest, i % 100)->values[0]));
    }
    bb_latest_destroy(&latest);
}

// Goal: memory ends, the promise does not. Method: random rows into caches of all sizes; whatever
// is newer than the bound must be what the model of all points says.
static void bound_keeps_its_promise(void **state)
{
    (void)state;
    enum { S_BATTERIES = 20, S_METRICS = 4 };
    bb_random_t random = bb_random_seed(77);
    for (uint32_t round = 0; round < 60; round++) {
        int64_t bound_wall_ns = bb_random_chance(&random, 1, 2) ? 30 : -1;
        uint64_t room = bb_random_below(&random, 6000);
        bb_latest_t *latest = bb_latest_new(bound_wall_ns, room);
        int64_t newest[S_BATTERIES][S_METRICS];
        uint64_t values[S_BATTERIES][S_METRICS];
        uint64_t revisions[S_BATTERIES][S_METRICS];
        memset(newest, 0xff, sizeof newest);
        for (uint32_t step = 0; step < 300; step++) {
            uint32_t battery = (uint32_t)bb_random_below(&random, S_BATTERIES);
            int64_t time = (int64_t)bb_random_below(&random, 40 + step);
            uint64_t revision = bb_random_below(&random, 2);
            uint32_t metrics[S_METRICS];
            uint8_t types[S_METRICS];
            uint64_t row[S_METRICS];
            uint32_t count = 0;
            uint64_t mask = bb_random_between(&random, 1, (1 << S_METRICS) - 1);
            for (uint32_t m = 0; m < S_METRICS; m++) {
                if (mask >> m & 1) {
                    metrics[count] = m;
                    types[count] = BB_TYPE_INT64;
                    row[count] = bb_random_below(&random, 10);
                    int64_t before = newest[battery][m];
                    bool wins =
                        time > before ||
                        (time == before &&
                         (revision > revisions[battery][m] ||
                          (revision == revisions[battery][m] && row[count] > values[battery][m])));
                    if (wins) {
                        newest[battery][m] = time;
                        revisions[battery][m] = revision;
                        values[battery][m] = row[count];
                    }
                    count++;
                }
            }
            const bb_latest_shape_t *shape = bb_latest_shape(latest, metrics, types, count);
            bb_latest_put(latest, battery, shape, time, revision, row);
        }
        for (uint32_t b = 0; b < S_BATTERIES; b++) {
            for (uint32_t m = 0; m < S_METRICS; m++) {
                int64_t best = -1;
                uint64_t best_revision = 0;
                uint64_t best_value = 0;
                for (const bb_latest_row_t *row = bb_latest_first(latest, b); row;
                     row = row->next) {
                    for (uint32_t i = 0; i < row->shape->metric_count; i++) {
                        if (row->shape->metrics[i] == m &&
                            (row->time_wall_ns > best ||
                             (row->time_wall_ns == best &&
                              (row->revision > best_revision ||
                               (row->revision == best_revision && row->values[i] > best_value))))) {
                            best = row->time_wall_ns;
                            best_revision = row->revision;
                            best_value = row->values[i];
                        }
                    }
                }
                if (best > bb_latest_bound(latest, b)) {
                    assert_true(best == newest[b][m] && best_value == values[b][m]);
                } else {
                    assert_true(newest[b][m] <= bb_latest_bound(latest, b));
                }
            }
        }
        assert_true(bb_latest_bytes(latest) <= room + 40 * 16 + 64 * 8);
        bb_latest_destroy(&latest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_row_wins),
        cmocka_unit_test(rows_of_dropped_windows_are_forgotten),
        cmocka_unit_test(texts_are_kept),
        cmocka_unit_test(bound_keeps_its_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
