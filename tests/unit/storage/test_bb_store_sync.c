// SPDX-License-Identifier: Apache-2.0
// What segment sync needs of a store: fingerprints that are equal exactly when the points are,
// however they lie; batches of what differs; have-sets that are adopted with a flush; segments that
// are dropped when all of them is elsewhere.
#include "storage/bb_store_sync.h"

#include "protocol/bb_marker.h"
#include "tests/support/bb_rounds.h"
#include "tests/unit/storage/store_fixture.h"

#define SOON_POINTS 40u // few, so that every answer is cut somewhere

static bool s_all_held(void *context, uint32_t partition, const bb_stream_t *stream,
                       uint64_t first_seq, uint64_t last_seq)
{
    (void)context, (void)partition, (void)stream, (void)first_seq, (void)last_seq;
    return true;
}

static bb_sync_ask_t s_ask(uint32_t partition, bb_sync_window_t window, bool is_own)
{
    bb_sync_ask_t ask = {.partition = partition,
                         .window = window,
                         .is_own = is_own,
                         .points_max = SOON_POINTS,
                         .bytes_max = 512};
    memset(ask.buckets, 0xff, sizeof ask.buckets);
    return ask;
}

typedef struct {
    bb_sync_leaf_t *items;
    uint32_t count;
    bb_error_t error;
} s_leaves_t;

// All leaves of a window, from as many asks as it takes.
static s_leaves_t s_leaves(fixture_t *fixture, bb_sync_ask_t ask)
{
    s_leaves_t leaves = {0};
    char next[BB_BATTERY_ID_BYTES_MAX];
    bool has_more = true;
    while (has_more && leaves.error == BB_OK) {
        bb_store_job_t *job = NULL;
        assert_int_equal(bb_store_sync_begin(fixture->store, &ask, 1, &job), BB_OK);
        assert_int_equal(bb_store_job_run(job, NULL), BB_OK);
        uint32_t count = 0;
        const bb_sync_found_t *found = bb_store_job_found(job, &count);
        assert_int_equal(count, 1);
        leaves.error = found->error;
        leaves.items =
            bb_realloc(leaves.items, (leaves.count + found->leaf_count + 1) * sizeof *leaves.items);
        for (uint32_t i = 0; i < found->leaf_count; i++) {
            leaves.items[leaves.count + i] = found->leaves[i];
        }
        leaves.count += found->leaf_count;
        has_more = found->has_more;
        memcpy(next, found->battery_next, found->battery_next_bytes);
        ask.battery_first = bb_slice(next, found->battery_next_bytes);
        bb_store_job_end(fixture->store, &job, BB_OK);
    }
    leaves.count = bb_sync_leaves_sort(leaves.items, leaves.count);
    return leaves;
}

// Stages, syncs and applies a batch without dots, as a target does.
static void s_take(fixture_t *target, bb_sync_window_t window, const bb_sync_batch_t *bytes)
{
    bb_batch_t batch;
    assert_int_equal(bb_batch_open(&batch, bb_slice(bytes->data, bytes->length), NULL), BB_OK);
    assert_int_equal(batch.part_count, 1);
    uint64_t seq = 1;
    uint32_t *frames = bb_alloc(batch.frame_count * sizeof *frames);
    for (uint32_t i = 0; i < batch.frame_count; i++) {
        frames[i] = i;
        assert_true(batch.generation != 0 || batch.times_wall_ns[i] / BB_NS_PER_DAY == window.day);
    }
    bb_chunks_t header = {.epoch = 1, .part_count = 1, .seqs = &seq, .quarantined = frames};
    header.quarantined_count = window.kind == BB_SYNC_QUARANTINE ? batch.frame_count : 0;
    uint8_t *encoded = NULL;
    size_t length = 0;
    bb_chunks_encode(&header, &encoded, &length);
    assert_int_equal(bb_store_stage(target->store, &header, bb_slice(encoded, length), &batch),
                     BB_OK);
    assert_int_equal(bb_store_sync(target->store), BB_OK);
    assert_int_equal(bb_store_apply(target->store, &header, &batch), BB_OK);
    bb_batch_close(&batch);
    free(encoded);
    free(frames);
}

// Fetches what differs in a window; returns how many batches came.
static uint32_t s_fetch(fixture_t *source, fixture_t *target, bb_sync_ask_t ask)
{
    s_leaves_t own = s_leaves(target, s_ask(ask.partition, ask.window, true));
    char next[BB_BATTERY_ID_BYTES_MAX];
    uint32_t batch_count = 0;
    ask.is_fetch = true;
    ask.leaves = own.items;
    ask.leaf_count = own.count;
    bool has_more = true;
    while (has_more) {
        bb_store_job_t *job = NULL;
        assert_int_equal(bb_store_sync_begin(source->store, &ask, 1, &job), BB_OK);
        assert_int_equal(bb_store_job_run(job, NULL), BB_OK);
        uint32_t count = 0;
        const bb_sync_found_t *found = bb_store_job_found(job, &count);
        assert_int_equal(found->error, BB_OK);
        for (uint32_t i = 0; i < found->batch_count; i++) {
            s_take(target, ask.window, &found->batches[i]);
        }
        for (uint32_t i = 0; i < found->attributes_count; i++) {
            assert_int_equal(bb_store_sync_attributes(target->store, ask.partition,
                                                      found->attributes[i].id,
                                                      found->attributes[i].packed),
                             BB_OK);
        }
        batch_count += found->batch_count + found->attributes_count;
        has_more = found->has_more;
        memcpy(next, found->battery_next, found->battery_next_bytes);
        ask.battery_first = bb_slice(next, found->battery_next_bytes);
        ask.from_wall_ns = found->from_next_wall_ns;
        bb_store_job_end(source->store, &job, BB_OK);
    }
    free(own.items);
    return batch_count;
}

// How many batches it took until the target had all that the source has.
static uint32_t s_sync(fixture_t *source, fixture_t *target)
{
    uint32_t batch_count = 0;
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        bb_sync_window_t *windows = NULL;
        uint32_t count = bb_store_sync_windows(source->store, p, &windows);
        for (uint32_t i = 0; i < count; i++) {
            batch_count += s_fetch(source, target, s_ask(p, windows[i], false));
        }
        free(windows);
    }
    return batch_count;
}

static void s_assert_equal_leaves(fixture_t *a, fixture_t *b)
{
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        bb_sync_window_t *windows = NULL;
        uint32_t count = bb_store_sync_windows(a->store, p, &windows);
        for (uint32_t i = 0; i < count; i++) {
            s_leaves_t left = s_leaves(a, s_ask(p, windows[i], false));
            s_leaves_t right = s_leaves(b, s_ask(p, windows[i], false));
            assert_int_equal(left.count, right.count);
            for (uint32_t l = 0; l < left.count; l++) {
                assert_true(left.items[l].battery == right.items[l].battery);
                assert_true(left.items[l].low == right.items[l].low);
                assert_true(left.items[l].high == right.items[l].high);
            }
            free(left.items);
            free(right.items);
        }
        free(windows);
    }
}

static void s_verify_all(fixture_t *fixture)
{
    static const bb_query_mode_t modes[] = {BB_QUERY_RAW, BB_QUERY_LAST, BB_QUERY_QUARANTINE};
    for (uint32_t i = 0; i < BB_COUNT_OF(modes); i++) {
        bb_query_t query = fixture_query(modes[i]);
        fixture_verify(fixture, &query);
    }
}

static void s_jobs_at_random(fixture_t *fixture, bb_random_t *random)
{
    if (bb_random_chance(random, 1, 3)) {
        bb_error_t error = fixture_job(fixture, BB_JOB_FLUSH);
        assert_true(error == BB_OK || error == BB_ERR_NOT_FOUND);
    }
    if (bb_random_chance(random, 1, 4)) {
        bb_error_t error = fixture_job(fixture, BB_JOB_MERGE);
        assert_true(error == BB_OK || error == BB_ERR_NOT_FOUND);
    }
}

// Goal: a target that lacks some batches (all, in one of four runs) has all points, at their
// revisions, with their verdicts, when each window was compared once; leaves are equal then,
// however differently head and segments were filled; a second round fetches nothing. The answers
// are cut after few points.
static void test_what_differs_travels(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= bb_rounds(60); seed++) {
        fixture_t source;
        fixture_t target;
        fixture_open(&source, true);
        fixture_open(&target, true);
        bb_random_t random = bb_random_seed(seed);
        uint32_t batch_count = (uint32_t)bb_random_between(&random, 1, 12);
        for (uint32_t i = 0; i < batch_count; i++) {
            fixture_batch_t batch;
            fixture_random_batch(&source, &random, 60, true, &batch);
            fixture_write(&source, &batch);
            if (seed % 4 != 0 && bb_random_chance(&random, 2, 3)) {
                fixture_write(&target, &batch);
            }
            fixture_batch_free(&batch);
            s_jobs_at_random(&source, &random);
            s_jobs_at_random(&target, &random);
        }
        s_sync(&source, &target);
        s_assert_equal_leaves(&source, &target);
        target.points.count = 0;
        for (size_t i = 0; i < source.points.count; i++) {
            fixture_remember(&target.points, source.points.items[i]);
        }
        s_verify_all(&target);
        assert_int_equal(s_sync(&source, &target), 0);
        // The journal brings them back.
        fixture_reopen(&target);
        s_verify_all(&target);
        bb_error_t error = fixture_job(&target, BB_JOB_FLUSH);
        assert_true(error == BB_OK || error == BB_ERR_NOT_FOUND);
        fixture_reopen(&target);
        s_verify_all(&target);
        fixture_close(&source);
        fixture_close(&target);
    }
}

// Goal: chunks without dots are in no have-set, are given to no peer, and keep no journal file.
static void test_no_dots(void **state)
{
    (void)state;
    fixture_t source;
    fixture_t target;
    fixture_open(&source, true);
    fixture_open(&target, true);
    bb_random_t random = bb_random_seed(5);
    fixture_write_random(&source, &random, 60, false);
    assert_true(s_sync(&source, &target) > 0);
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        assert_int_equal(bb_have_set_count(bb_store_have(target.store, p)), 0);
    }
    assert_int_equal(fixture_job(&target, BB_JOB_FLUSH), BB_OK);
    bb_store_stats_t stats;
    bb_store_stats(target.store, &stats);
    assert_int_equal(stats.journal_sealed_files, 1);
    assert_int_equal(bb_store_trim(target.store, s_all_held, NULL), BB_OK);
    bb_store_stats(target.store, &stats);
    assert_int_equal(stats.journal_sealed_files, 0);
    fixture_close(&source);
    fixture_close(&target);
}

// Goal: adopted dots are nowhere before the flush has ended, and for good after it; a crash before
// it forgets them; a flush with nothing but them is one.
static void test_adopt(void **state)
{
    (void)state;
    fixture_t source;
    fixture_t target;
    fixture_open(&source, true);
    fixture_open(&target, true);
    bb_random_t random = bb_random_seed(6);
    fixture_write_random(&source, &random, 60, false);
    for (uint32_t round = 0; round < 3; round++) {
        if (round == 0) {
            s_sync(&source, &target);
        }
        assert_false(bb_store_is_adopting(target.store));
        for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
            bb_store_adopt(target.store, p, bb_store_have(source.store, p));
            assert_int_equal(bb_have_set_count(bb_store_have(target.store, p)), 0);
        }
        assert_true(bb_store_is_adopting(target.store));
        if (round == 0) {
            fixture_reopen(&target);
            continue;
        }
        uint64_t version = bb_store_version(target.store);
        assert_int_equal(fixture_job(&target, BB_JOB_FLUSH), BB_OK);
        assert_false(bb_store_is_adopting(target.store));
        assert_true(bb_store_version(target.store) > version);
        fixture_reopen(&target);
        for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
            assert_true(bb_have_set_is_equal(bb_store_have(target.store, p),
                                             bb_store_have(source.store, p)));
        }
        break;
    }
    target.points.count = 0;
    for (size_t i = 0; i < source.points.count; i++) {
        fixture_remember(&target.points, source.points.items[i]);
    }
    s_verify_all(&target);
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) { // nothing is in the head
        bb_have_set_t more = {0};
        bb_stream_t stream = {{9}};
        bool added;
        assert_int_equal(bb_have_set_add(&more, &stream, 1, 3, &added), BB_OK);
        bb_store_adopt(target.store, p, &more);
        bb_have_set_clear(&more);
    }
    assert_int_equal(fixture_job(&target, BB_JOB_FLUSH), BB_OK);
    fixture_reopen(&target);
    bb_stream_t stream = {{9}};
    assert_true(bb_have_set_contains(bb_store_have(target.store, 3), &stream, 3));
    fixture_close(&source);
    fixture_close(&target);
}

// Goal: attributes travel with their times; those that are newer here stay; other bytes are
// refused.
static void test_attributes(void **state)
{
    (void)state;
    fixture_t stores[2];
    for (uint32_t s = 0; s < 2; s++) {
        fixture_open(&stores[s], true);
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        bb_attribute_t attributes[] = {
            {fixture_slice("site"), fixture_slice(s == 0 ? "A" : "B")},
            {fixture_slice(s == 0 ? "maker" : "model"), fixture_slice("x")},
        };
        uint32_t battery, shape, order;
        bb_slice_t metric = fixture_metric(0);
        uint8_t type = (uint8_t)fixture_type(0);
        uint64_t value = 1;
        assert_int_equal(bb_batch_builder_battery(builder, fixture_partition(1), fixture_battery(1),
                                                  attributes, 2, &battery, NULL),
                         BB_OK);
        assert_int_equal(bb_batch_builder_shape(builder, &metric, &type, 1, &shape, &order, NULL),
                         BB_OK);
        assert_int_equal(bb_batch_builder_frame(builder, battery, shape, FIXTURE_START_NS, &value),
                         BB_OK);
        fixture_batch_t batch = {0};
        fixture_seal(&stores[s], builder, NULL, FIXTURE_START_NS + (s == 0 ? 5 : 3), &batch);
        fixture_write(&stores[s], &batch);
        fixture_batch_free(&batch);
        bb_batch_builder_destroy(&builder);
    }
    assert_int_equal(s_sync(&stores[0], &stores[1]), 1); // the points are the same
    assert_int_equal(s_sync(&stores[1], &stores[0]), 1);
    s_assert_equal_leaves(&stores[0], &stores[1]);
    assert_int_equal(s_sync(&stores[0], &stores[1]), 0);
    uint8_t noise[40] = {7, 255, 255, 3};
    assert_int_equal(bb_store_sync_attributes(stores[0].store, fixture_partition(1),
                                              fixture_battery(1), bb_slice(noise, sizeof noise)),
                     BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(bb_store_sync_attributes(stores[0].store, fixture_partition(1),
                                              bb_slice(NULL, 0), bb_slice(noise, sizeof noise)),
                     BB_ERR_MESSAGE_CORRUPT);
    fixture_close(&stores[0]);
    fixture_close(&stores[1]);
}

static void s_delete(fixture_t *fixture, uint32_t battery, uint32_t metric, uint32_t generation,
                     int64_t to_wall_ns)
{
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_batch_builder_markers(builder, generation);
    bb_marker_t marker = {.metric = metric == FIXTURE_METRICS ? fixture_slice(BB_MARKER_ALL_METRICS)
                                                              : fixture_metric(metric),
                          .to_wall_ns = to_wall_ns};
    assert_int_equal(
        bb_marker_add(builder, fixture_partition(battery), fixture_battery(battery), &marker, NULL),
        BB_OK);
    fixture_batch_t batch = {0};
    fixture_seal(fixture, builder, NULL, FIXTURE_START_NS, &batch);
    fixture_write(fixture, &batch);
    fixture_batch_free(&batch);
    bb_batch_builder_destroy(&builder);
}

// Goal: deletes travel, whatever numbers the stores have for metrics: a target that adopts what a
// source has gives up what is covered, and takes none of it when it comes later.
static void test_deletes_travel(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= bb_rounds(20); seed++) {
        fixture_t source, target;
        fixture_open(&source, true);
        fixture_open(&target, true);
        bb_random_t random = bb_random_seed(seed);
        fixture_batch_t late;
        fixture_random_batch(&source, &random, 60, true, &late);
        if (seed % 2 == 0) {
            fixture_write_random(&target, &random, 5, false); // another order of names
            target.points.count = 0;
        }
        fixture_write(&source, &late);
        for (uint32_t i = 0; i < 6; i++) {
            s_delete(&source, (uint32_t)bb_random_below(&random, FIXTURE_BATTERIES),
                     (uint32_t)bb_random_below(&random, FIXTURE_METRICS + 1),
                     (uint32_t)bb_random_between(&random, 1, 3),
                     i % 2 == 0 ? BB_TIME_WALL_NS_LIMIT : FIXTURE_START_NS + BB_NS_PER_DAY);
            s_jobs_at_random(&source, &random);
        }
        assert_true(s_sync(&source, &target) > 0);
        assert_true(seed % 2 == 0 || s_sync(&source, &target) == 0);
        fixture_write(&target, &late); // from a journal that nobody knew of
        fixture_reopen(&target);
        for (uint32_t battery = 0; battery < FIXTURE_BATTERIES; battery++) {
            assert_int_equal(bb_store_generation(source.store, fixture_battery(battery)),
                             bb_store_generation(target.store, fixture_battery(battery)));
        }
        if (seed % 2 == 1) {
            s_assert_equal_leaves(&source, &target);
        }
        fixture_close(&source);
        fixture_close(&target);
        fixture_batch_free(&late);
    }
}

// Goal: one battery with more points than an answer takes travels in slices of its day.
static void test_large_battery(void **state)
{
    (void)state;
    fixture_t source;
    fixture_t target;
    fixture_open(&source, true);
    fixture_open(&target, true);
    const uint32_t metrics[] = {0, 1, 4};
    const uint8_t types[] = {BB_TYPE_FLOAT64, BB_TYPE_INT64, BB_TYPE_FLOAT64};
    bb_random_t random = bb_random_seed(3);
    for (uint32_t b = 0; b < 4; b++) {
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        fixture_batch_t batch = {0};
        for (uint32_t f = 0; f < 60000; f++) {
            uint64_t bits[] = {bb_random_next(&random) >> 12, f, f * UINT64_C(7)};
            fixture_add_frame(builder, &batch, 2, 0,
                              FIXTURE_START_NS + (int64_t)(b * 60000 + f) * BB_NS_PER_MS, metrics,
                              types, bits, 3, false);
        }
        fixture_seal(&source, builder, NULL, FIXTURE_START_NS, &batch);
        fixture_write(&source, &batch);
        fixture_batch_free(&batch);
        bb_batch_builder_destroy(&builder);
        if (b == 1) {
            assert_int_equal(fixture_job(&source, BB_JOB_FLUSH), BB_OK);
        }
    }
    assert_true(s_sync(&source, &target) > 2);
    s_assert_equal_leaves(&source, &target);
    assert_int_equal(s_sync(&source, &target), 0);
    fixture_close(&source);
    fixture_close(&target);
}

// Goal: only the buckets that are asked for are read, and only batteries whose leaf differs come.
static void test_buckets(void **state)
{
    (void)state;
    fixture_t source;
    fixture_open(&source, true);
    bb_random_t random = bb_random_seed(8);
    for (uint32_t i = 0; i < 8; i++) {
        fixture_write_random(&source, &random, 60, false);
    }
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        bb_sync_window_t *windows = NULL;
        uint32_t count = bb_store_sync_windows(source.store, p, &windows);
        for (uint32_t i = 0; i < count; i++) {
            s_leaves_t all = s_leaves(&source, s_ask(p, windows[i], false));
            for (uint32_t l = 0; l < all.count; l++) {
                bb_sync_ask_t ask = s_ask(p, windows[i], false);
                memset(ask.buckets, 0, sizeof ask.buckets);
                uint32_t bucket = (uint32_t)(all.items[l].battery % BB_SYNC_BUCKETS);
                ask.buckets[bucket / 8] = (uint8_t)(1u << (bucket % 8));
                s_leaves_t some = s_leaves(&source, ask);
                assert_true(some.count >= 1 && some.count < 1 + all.count);
                bool found = false;
                for (uint32_t s = 0; s < some.count; s++) {
                    found |= some.items[s].battery == all.items[l].battery;
                    assert_int_equal(some.items[s].battery % BB_SYNC_BUCKETS, bucket);
                }
                assert_true(found);
                free(some.items);
            }
            free(all.items);
        }
        free(windows);
    }
    fixture_close(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_differs_travels),
        cmocka_unit_test(test_no_dots),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_deletes_travel),
        cmocka_unit_test(test_large_battery),
        cmocka_unit_test(test_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
