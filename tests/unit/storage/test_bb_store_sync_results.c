// SPDX-License-Identifier: Apache-2.0
// Results of rollups in segment sync: what points have left behind travels to a store that lost it,
// equal to the last bit, and only what differs does; bytes that are no results are refused.
#include "storage/bb_store_sync.h"

#include "storage/rollup/bb_rollup_parcel.h"
#include "tests/unit/storage/store_fixture.h"

#define S_KEEP_DAYS 2
#define S_LAST_DAY  (FIXTURE_START_NS + 48 * BB_NS_PER_DAY) // behind all points

// `a` and `current_a` go after two days, others stay; hours of everything, days of what begins with
// an a.
static bb_policy_t *s_policy(void)
{
    bb_retention_class_t classes[2] = {
        {.name = "short", .selector = {.metric = "a"}, .keep_ns = S_KEEP_DAYS * BB_NS_PER_DAY},
        {.name = "states", .selector = {.metric = "*_a"}, .keep_ns = S_KEEP_DAYS * BB_NS_PER_DAY}};
    bb_rollup_t rollups[2] = {{.name = "hours",
                               .every = BB_EVERY_FIXED,
                               .every_ns = BB_NS_PER_DAY / 24,
                               .aggregates = BB_AGGREGATE_ALL,
                               .keep_ns = BB_KEEP_FOREVER_NS},
                              {.name = "days",
                               .selector = {.metric = "a*"},
                               .every = BB_EVERY_FIXED,
                               .every_ns = BB_NS_PER_DAY,
                               .aggregates = BB_AGGREGATE_ALL,
                               .keep_ns = BB_KEEP_FOREVER_NS}};
    bb_zone_t *zones[2] = {NULL, NULL};
    return bb_policy_new(classes, 2, BB_KEEP_FOREVER_NS, rollups, zones, 2);
}

static void s_open(fixture_t *fixture)
{
    fixture_open(fixture, true);
    fixture->day_spread = 45; // two windows of results
    fixture->options.policy = s_policy();
    bb_store_policy_set(fixture->store, fixture->options.policy);
}

static void s_close(fixture_t *fixture)
{
    bb_policy_release(&fixture->options.policy);
    fixture_close(fixture);
}

// Everything that is due at that time, as a shard does it.
static void s_work(fixture_t *fixture, int64_t now_wall_ns)
{
    bb_store_clock(fixture->store, now_wall_ns);
    (void)!fixture_job(fixture, BB_JOB_FLUSH);
    for (int i = 0; i < 10000; i++) {
        bb_store_clock(fixture->store, now_wall_ns);
        bb_error_t error = fixture_job(fixture, BB_JOB_ROLLUP);
        if (error == BB_ERR_NOT_FOUND) {
            break;
        }
        assert_int_equal(error, BB_OK);
    }
    bb_store_clock(fixture->store, now_wall_ns);
    if (bb_store_wants_retire(fixture->store)) {
        assert_int_equal(fixture_job(fixture, BB_JOB_RETIRE), BB_OK);
    }
}

static bb_sync_ask_t s_ask(uint32_t partition, bb_sync_window_t window)
{
    bb_sync_ask_t ask = {
        .partition = partition, .window = window, .points_max = 100, .bytes_max = 512};
    memset(ask.buckets, 0xff, sizeof ask.buckets);
    return ask;
}

// The ask's answer; end the job when it has been looked at.
static const bb_sync_found_t *s_answer(fixture_t *fixture, const bb_sync_ask_t *ask,
                                       bb_store_job_t **job)
{
    assert_int_equal(bb_store_sync_begin(fixture->store, ask, 1, job), BB_OK);
    assert_int_equal(bb_store_job_run(*job, NULL), BB_OK);
    uint32_t count = 0;
    const bb_sync_found_t *found = bb_store_job_found(*job, &count);
    assert_int_equal(count, 1);
    assert_int_equal(found->error, BB_OK);
    return found;
}

// Leaves of all batteries; returns how many.
static uint32_t s_leaves(fixture_t *fixture, uint32_t partition, bb_sync_window_t window,
                         bb_sync_leaf_t leaves[FIXTURE_BATTERIES])
{
    bb_sync_ask_t ask = s_ask(partition, window);
    char next[BB_BATTERY_ID_BYTES_MAX];
    uint32_t leaf_count = 0;
    ask.is_own = true;
    for (bool has_more = true; has_more;) {
        bb_store_job_t *job = NULL;
        const bb_sync_found_t *found = s_answer(fixture, &ask, &job);
        for (uint32_t i = 0; i < found->leaf_count; i++) {
            leaves[leaf_count++] = found->leaves[i];
        }
        has_more = found->has_more;
        memcpy(next, found->battery_next, found->battery_next_bytes);
        ask.battery_first = bb_slice(next, found->battery_next_bytes);
        bb_store_job_end(fixture->store, &job, BB_OK);
    }
    return bb_sync_leaves_sort(leaves, leaf_count);
}

static uint32_t s_list(fixture_t *fixture, uint32_t partition, uint32_t day,
                       bb_sync_window_t windows[8])
{
    bb_sync_ask_t ask = s_ask(partition, (bb_sync_window_t){BB_SYNC_RESULTS, day});
    ask.is_list = true;
    bb_store_job_t *job = NULL;
    const bb_sync_found_t *found = s_answer(fixture, &ask, &job);
    uint32_t count = found->window_count;
    assert_true(count <= 8);
    for (uint32_t i = 0; i < count; i++) {
        windows[i] = found->windows[i];
        assert_true(i == 0 || bb_sync_window_compare(windows[i - 1], windows[i]) < 0);
    }
    bb_store_job_end(fixture->store, &job, BB_OK);
    return count;
}

// Fetches what differs; returns the parcels that came. Nothing is in the map before a flush.
static uint32_t s_fetch(fixture_t *source, fixture_t *target)
{
    uint32_t parcels = 0;
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        bb_sync_window_t windows[8];
        uint32_t day_max = 0;
        uint32_t day = bb_store_results_day(target->store, &day_max);
        uint32_t window_count = s_list(source, p, day, windows);
        for (uint32_t w = 0; w < window_count; w++) {
            assert_true(windows[w].day <= day_max);
            bb_sync_leaf_t own[FIXTURE_BATTERIES];
            bb_sync_ask_t ask = s_ask(p, windows[w]);
            char next[BB_BATTERY_ID_BYTES_MAX];
            ask.is_fetch = true;
            ask.leaves = own;
            ask.leaf_count = s_leaves(target, p, windows[w], own);
            for (bool has_more = true; has_more;) {
                bb_store_job_t *job = NULL;
                const bb_sync_found_t *found = s_answer(source, &ask, &job);
                for (uint32_t i = 0; i < found->attributes_count; i++) {
                    assert_int_equal(bb_store_sync_results(target->store, p, windows[w],
                                                           found->attributes[i].id,
                                                           found->attributes[i].packed),
                                     BB_OK);
                }
                parcels += found->attributes_count;
                has_more = found->has_more;
                memcpy(next, found->battery_next, found->battery_next_bytes);
                ask.battery_first = bb_slice(next, found->battery_next_bytes);
                ask.from_wall_ns = found->from_next_wall_ns;
                bb_store_job_end(source->store, &job, BB_OK);
            }
        }
    }
    return parcels;
}

static void s_assert_equal(fixture_t *a, fixture_t *b, int64_t to_wall_ns)
{
    static const char *const names[] = {"hours", "days"};
    for (uint32_t n = 0; n < BB_COUNT_OF(names); n++) {
        bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
        query.rollup = fixture_slice(names[n]);
        query.to_wall_ns = to_wall_ns;
        fixture_rows_t left;
        fixture_rows_t right;
        fixture_ask(a, &query, &left);
        fixture_ask(b, &query, &right);
        assert_true(left.count > 0);
        assert_int_equal(left.count, right.count);
        for (size_t i = 0; i < left.count; i++) {
            const fixture_row_t *x = &left.items[i];
            const fixture_row_t *y = &right.items[i];
            assert_true(x->battery == y->battery && x->metric == y->metric && x->type == y->type);
            assert_memory_equal(&x->bucket, &y->bucket, offsetof(bb_bucket_t, min));
            assert_true(x->bucket.min == y->bucket.min && x->bucket.max == y->bucket.max &&
                        x->bucket.first == y->bucket.first && x->bucket.last == y->bucket.last &&
                        bb_sum_is_equal(&x->bucket.sum, &y->bucket.sum));
        }
        free(left.items);
        free(right.items);
    }
}

static uint64_t s_different(const fixture_t *fixture)
{
    uint64_t taken = 0;
    uint64_t different = 0;
    bb_store_results_stats(fixture->store, &taken, &different);
    return different;
}

// Goal: a store that lost its disk after retention took points answers as the other one, also after
// a restart; nothing travels twice. Method: random points of 45 days, of all types; a target that
// is empty, whose clock is the same, behind, or ahead of the source's.
static void results_outlive_the_disk(void **state)
{
    (void)state;
    for (int64_t skew_days = -1; skew_days <= 1; skew_days++) {
        fixture_t source;
        fixture_t target;
        bb_random_t random = bb_random_seed((uint64_t)(20 + skew_days));
        s_open(&source);
        s_open(&target);
        for (int i = 0; i < 25; i++) {
            fixture_write_random(&source, &random, 60, true);
        }
        s_work(&source, S_LAST_DAY - BB_NS_PER_DAY);
        int64_t target_wall_ns = S_LAST_DAY + skew_days * BB_NS_PER_DAY;
        if (skew_days <= 0) {
            s_work(&source, S_LAST_DAY);
        }
        s_work(&target, target_wall_ns); // an empty store: floors move, rollups are known
        assert_true(s_fetch(&source, &target) > FIXTURE_PARTITIONS);
        assert_int_equal(fixture_job(&target, BB_JOB_FLUSH), BB_OK);
        assert_int_equal(s_fetch(&source, &target), 0);
        s_assert_equal(&source, &target, S_LAST_DAY - (S_KEEP_DAYS + 1) * BB_NS_PER_DAY);
        fixture_reopen(&target);
        s_work(&target, S_LAST_DAY + 2 * BB_NS_PER_DAY);
        s_assert_equal(&source, &target, S_LAST_DAY - (S_KEEP_DAYS + 1) * BB_NS_PER_DAY);
        assert_int_equal(s_different(&target), 0);
        // And a third one, from the one that was rebuilt.
        fixture_t third;
        s_open(&third);
        s_work(&third, S_LAST_DAY + 2 * BB_NS_PER_DAY);
        assert_true(s_fetch(&target, &third) > FIXTURE_PARTITIONS);
        assert_int_equal(fixture_job(&third, BB_JOB_FLUSH), BB_OK);
        s_assert_equal(&source, &third, S_LAST_DAY - (S_KEEP_DAYS + 1) * BB_NS_PER_DAY);
        s_close(&third);
        s_close(&source);
        s_close(&target);
    }
}

// Goal: what a crash leaves is right: results that came are in the map after a flush, and in none
// before it; battery numbers are never those of somebody else. Method: close without a flush.
static void results_wait_for_a_flush(void **state)
{
    (void)state;
    fixture_t source;
    fixture_t target;
    bb_random_t random = bb_random_seed(3);
    s_open(&source);
    s_open(&target);
    fixture_write_random(&source, &random, 300, true);
    s_work(&source, S_LAST_DAY);
    s_work(&target, S_LAST_DAY);
    uint32_t parcels = s_fetch(&source, &target);
    assert_true(parcels > 0);
    fixture_reopen(&target);
    assert_int_equal(fixture_job(&target, BB_JOB_FLUSH), BB_ERR_NOT_FOUND);
    s_work(&target, S_LAST_DAY);
    assert_int_equal(s_fetch(&source, &target), parcels);
    assert_int_equal(fixture_job(&target, BB_JOB_FLUSH), BB_OK);
    fixture_reopen(&target);
    s_work(&target, S_LAST_DAY);
    assert_int_equal(s_fetch(&source, &target), 0);
    s_close(&source);
    s_close(&target);
}

// Goal: two stores that had other points when the floor passed end with the same results, whoever
// asks first, and count the difference. Method: one has some points more.
static void the_larger_result_stays(void **state)
{
    (void)state;
    fixture_t a;
    fixture_t b;
    bb_random_t random = bb_random_seed(4);
    s_open(&a);
    s_open(&b);
    a.day_spread = 1;
    for (int i = 0; i < 30; i++) {
        fixture_batch_t batch;
        fixture_random_batch(&a, &random, 100, false, &batch);
        fixture_write(&a, &batch);
        if (i % 7 > 0) {
            fixture_write(&b, &batch);
        }
        fixture_batch_free(&batch);
    }
    s_work(&a, S_LAST_DAY);
    s_work(&b, S_LAST_DAY);
    bb_store_clock(b.store, S_LAST_DAY);
    (void)s_fetch(&b, &a);
    (void)!fixture_job(&a, BB_JOB_FLUSH);
    assert_true(s_fetch(&a, &b) > 0);
    assert_int_equal(fixture_job(&b, BB_JOB_FLUSH), BB_OK);
    assert_true(s_different(&b) > 0);
    s_assert_equal(&a, &b, S_LAST_DAY - (S_KEEP_DAYS + 1) * BB_NS_PER_DAY);
    assert_int_equal(s_fetch(&a, &b), 0);
    assert_int_equal(s_fetch(&b, &a), 0);
    s_close(&a);
    s_close(&b);
}

// Goal: bytes that are no results, or not those that were asked for, are refused and change
// nothing. Method: one parcel, cut everywhere; each bit of it flipped: taken or refused, never a
// crash; of other days, of a battery of another partition.
static void what_is_no_result_is_refused(void **state)
{
    (void)state;
    fixture_t source;
    fixture_t target;
    bb_random_t random = bb_random_seed(5);
    s_open(&source);
    s_open(&target);
    fixture_write_random(&source, &random, 60, false);
    s_work(&source, S_LAST_DAY);
    s_work(&target, S_LAST_DAY);
    bb_sync_window_t windows[8];
    uint32_t p = 0;
    while (s_list(&source, p, 0, windows) == 0) {
        p++;
    }
    bb_sync_ask_t ask = s_ask(p, windows[0]);
    ask.is_fetch = true;
    ask.bytes_max = 1; // one day
    bb_store_job_t *job = NULL;
    const bb_sync_found_t *found = s_answer(&source, &ask, &job);
    assert_true(found->attributes_count == 1);
    bb_slice_t id = found->attributes[0].id;
    bb_slice_t packed = found->attributes[0].packed;
    uint8_t *bytes = bb_alloc(packed.length + 1);
    uint32_t refused = 0;
    for (size_t length = 0; length < packed.length; length++) {
        memcpy(bytes, packed.data, length);
        refused += bb_store_sync_results(target.store, p, windows[0], id,
                                         bb_slice(bytes, length)) == BB_ERR_MESSAGE_CORRUPT;
    }
    assert_true(refused >= packed.length - 1); // before the only record it is an empty parcel
    for (size_t bit = 0; bit < 8 * packed.length; bit++) {
        memcpy(bytes, packed.data, packed.length);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        bb_error_t error =
            bb_store_sync_results(target.store, p, windows[0], id, bb_slice(bytes, packed.length));
        assert_true(error == BB_OK || error == BB_ERR_MESSAGE_CORRUPT);
    }
    bb_sync_window_t other = {BB_SYNC_RESULTS,
                              bb_sync_results_first(windows[0].day)}; // the one before
    assert_int_equal(bb_store_sync_results(target.store, p, other, id, packed),
                     BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(bb_store_sync_results(target.store, p, windows[0], id, packed), BB_OK);
    assert_int_equal(
        bb_store_sync_results(target.store, (p + 1) % FIXTURE_PARTITIONS, windows[0], id, packed),
        BB_ERR_MESSAGE_CORRUPT);
    free(bytes);
    bb_store_job_end(source.store, &job, BB_OK);
    s_close(&source);
    s_close(&target);
}

// Flips a bit of the first result while the store is closed.
static void s_damage(fixture_t *fixture)
{
    bb_store_close(&fixture->store);
    bb_kv_cursor_t *cursor;
    bb_slice_t key;
    bb_slice_t value;
    fixture_map_t map =
        fixture_map_open(fixture, "/store/rollups", bb_slice("V", 1), &cursor, &key, &value);
    uint8_t bytes[1 << 14];
    size_t key_length = key.length;
    size_t length = value.length;
    assert_true(key_length + length <= sizeof bytes);
    memcpy(bytes, key.data, key_length);
    memcpy(bytes + key_length, value.data, length);
    map.kv->cursor_close(&cursor);
    bytes[key_length + length - 1] ^= 1;
    assert_int_equal(
        map.kv->put(map.txn, bb_slice(bytes, key_length), bb_slice(bytes + key_length, length)),
        BB_OK);
    fixture_map_close(&map);
    fixture_reopen_error(fixture, BB_OK);
}

// Goal: a result that does not verify any more is fetched again, and until then the answer says
// that it is not complete. Method: a flipped bit in a record of a closed store.
static void damaged_results_come_back(void **state)
{
    (void)state;
    fixture_t source;
    fixture_t target;
    bb_random_t random = bb_random_seed(6);
    s_open(&source);
    s_open(&target);
    fixture_write_random(&source, &random, 300, true);
    s_work(&source, S_LAST_DAY);
    s_work(&target, S_LAST_DAY);
    (void)s_fetch(&source, &target);
    assert_int_equal(fixture_job(&target, BB_JOB_FLUSH), BB_OK);
    assert_int_equal(bb_store_result_gaps(target.store), 0);
    s_damage(&target);
    s_work(&target, S_LAST_DAY);
    assert_true(bb_store_result_gaps(target.store) > 0);
    fixture_reopen(&target);
    s_work(&target, S_LAST_DAY);
    assert_true(bb_store_result_gaps(target.store) > 0);
    assert_true(s_fetch(&source, &target) > 0);
    assert_int_equal(fixture_job(&target, BB_JOB_FLUSH), BB_OK);
    assert_int_equal(bb_store_result_gaps_filled(target.store), BB_OK);
    assert_int_equal(bb_store_result_gaps(target.store), 0);
    s_assert_equal(&source, &target, S_LAST_DAY - (S_KEEP_DAYS + 1) * BB_NS_PER_DAY);
    fixture_reopen(&target);
    assert_int_equal(bb_store_result_gaps(target.store), 0);
    s_close(&source);
    s_close(&target);
}

// Goal: a job that meets a damaged result while it computes the day anew from what points are left
// says so, as scrubbing does: what retention has taken only others have. Method: late points of
// metrics that stay, of all batteries and days, before scrubbing comes to it.
static void damage_is_not_computed_away(void **state)
{
    (void)state;
    fixture_t fixture;
    bb_random_t random = bb_random_seed(7);
    s_open(&fixture);
    fixture_write_random(&fixture, &random, 300, true);
    s_work(&fixture, S_LAST_DAY);
    s_damage(&fixture);
    bb_store_clock(fixture.store, S_LAST_DAY);
    for (int i = 0; i < 20; i++) {
        fixture_write_random(&fixture, &random, 300, true);
    }
    s_work(&fixture, S_LAST_DAY);
    assert_true(bb_store_result_gaps(fixture.store) > 0);
    s_close(&fixture);
}

// Goal: a store that lacks points computes nothing of those that it has, and retention waits. Once
// it has the results of another, these stay, and nothing was otherwise. Method: a part of the
// points of the source, held, as while a disk is rebuilt.
static void results_of_a_part_are_not_computed(void **state)
{
    (void)state;
    fixture_t source;
    fixture_t target;
    bb_random_t all = bb_random_seed(8);
    bb_random_t part = bb_random_seed(8);
    s_open(&source);
    s_open(&target);
    source.day_spread = target.day_spread = 1; // parts of the same hours
    for (int i = 0; i < 40; i++) {
        fixture_write_random(&source, &all, 300, true);
    }
    for (int i = 0; i < 20; i++) {
        fixture_write_random(&target, &part, 300, true);
    }
    s_work(&source, S_LAST_DAY);
    bb_store_results_hold(target.store, true);
    s_work(&target, S_LAST_DAY);
    bb_store_clock(target.store, S_LAST_DAY);
    assert_false(bb_store_wants_rollup(target.store));
    assert_false(bb_store_wants_retire(target.store));
    assert_true(s_fetch(&source, &target) > 0);
    assert_int_equal(fixture_job(&target, BB_JOB_FLUSH), BB_OK);
    assert_int_equal(s_different(&target), 0);
    bb_store_results_hold(target.store, false);
    assert_true(bb_store_wants_rollup(target.store));
    s_work(&target, S_LAST_DAY);
    assert_int_equal(s_different(&target), 0);
    s_assert_equal(&source, &target, S_LAST_DAY - (S_KEEP_DAYS + 1) * BB_NS_PER_DAY);
    bb_store_clock(target.store, S_LAST_DAY);
    assert_false(bb_store_wants_retire(target.store)); // it is done
    s_close(&source);
    s_close(&target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_outlive_the_disk),
        cmocka_unit_test(results_wait_for_a_flush),
        cmocka_unit_test(the_larger_result_stays),
        cmocka_unit_test(what_is_no_result_is_refused),
        cmocka_unit_test(damaged_results_come_back),
        cmocka_unit_test(damage_is_not_computed_away),
        cmocka_unit_test(results_of_a_part_are_not_computed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
