// SPDX-License-Identifier: Apache-2.0
// What a store says of streams: which are sealed, and that nothing of them is left when they are
// forgotten, in memory or in meta, however many starts there were.
#include "tests/unit/storage/store_fixture.h"

#define S_NODE 0x1234u

static bb_stream_t s_stream(uint32_t number)
{
    uint8_t random[8] = {(uint8_t)number, (uint8_t)(number >> 8), 3};
    return bb_stream_make(S_NODE, number, random);
}

// From now on chunks are of this start.
static void s_begin(fixture_t *fixture, uint32_t number)
{
    fixture->stream = s_stream(number);
    memset(fixture->seqs, 0, sizeof fixture->seqs);
}

static uint64_t s_streams(const fixture_t *fixture)
{
    bb_store_stats_t stats;
    bb_store_stats(fixture->store, &stats);
    return stats.streams;
}

static void s_forget(fixture_t *fixture, uint32_t below)
{
    bb_forgotten_t forgotten = {0};
    bb_forgotten_raise(&forgotten, S_NODE, below);
    bb_store_forget(fixture->store, &forgotten);
}

static void s_verify_all(fixture_t *fixture)
{
    bb_query_t query = fixture_query(BB_QUERY_RAW);
    fixture_verify(fixture, &query);
}

// Goal: a stream is unsealed from its first chunk to the end of a flush that began behind its last
// one, also across a start; which one comes first is told by its number.
static void test_sealed(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(2);
    assert_int_equal(bb_store_unsealed_first(fixture.store, S_NODE), UINT32_MAX);
    s_begin(&fixture, 7);
    fixture_write_random(&fixture, &random, 30, false);
    s_begin(&fixture, 5);
    fixture_write_random(&fixture, &random, 30, false);
    assert_int_equal(bb_store_unsealed_first(fixture.store, S_NODE), 5);
    assert_int_equal(bb_store_unsealed_first(fixture.store, S_NODE + 1), UINT32_MAX);
    fixture_reopen(&fixture);
    assert_int_equal(bb_store_unsealed_first(fixture.store, S_NODE), 5);

    bb_store_job_t *job = NULL;
    assert_int_equal(bb_store_job_begin(fixture.store, BB_JOB_FLUSH, 1.0, &job), BB_OK);
    s_begin(&fixture, 6);
    fixture_write_random(&fixture, &random, 30, false);
    bb_fault_t fault = {0};
    assert_int_equal(bb_store_job_run(job, &fault), BB_OK);
    assert_int_equal(bb_store_unsealed_first(fixture.store, S_NODE), 5);
    bb_store_job_end(fixture.store, &job, BB_OK);
    assert_int_equal(bb_store_unsealed_first(fixture.store, S_NODE), 6);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    assert_int_equal(bb_store_unsealed_first(fixture.store, S_NODE), UINT32_MAX);
    fixture_reopen(&fixture);
    assert_int_equal(bb_store_unsealed_first(fixture.store, S_NODE), UINT32_MAX);
    fixture_close(&fixture);
}

// Goal: what is forgotten leaves the have-sets at once and meta with the next flush; the points
// stay; a journal that still has its chunks gives nobody any of them.
static void s_never(void *context, uint8_t *chunks, size_t chunks_length, uint8_t *batch,
                    size_t batch_length)
{
    (void)context, (void)chunks, (void)chunks_length, (void)batch, (void)batch_length;
    fail_msg("a chunk of a forgotten stream");
}

static void test_forgotten(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(3);
    for (uint32_t number = 1; number <= 3; number++) {
        s_begin(&fixture, number);
        fixture_write_random(&fixture, &random, 60, false);
    }
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    assert_int_equal(s_streams(&fixture), 3);
    uint64_t version = bb_store_version(fixture.store);
    s_forget(&fixture, 3);
    assert_int_equal(s_streams(&fixture), 1);
    assert_true(bb_store_version(fixture.store) > version);
    s_verify_all(&fixture);

    uint32_t partitions[FIXTURE_PARTITIONS], unavailable[FIXTURE_PARTITIONS];
    bb_have_set_t theirs[FIXTURE_PARTITIONS] = {{0}};
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        partitions[p] = p;
        bb_have_set_copy(&theirs[p], bb_store_have(fixture.store, p));
        bb_stream_t gone = s_stream(3);
        if (bb_have_set_stream(&theirs[p], &gone)) { // so that something is lacking
            bb_have_set_clear(&theirs[p]);
            assert_int_equal(bb_have_set_add(&theirs[p], &gone, 1, fixture.seqs[p], NULL), BB_OK);
        }
    }
    uint32_t unavailable_count = 0;
    bool more = false;
    assert_int_equal(bb_store_missing(fixture.store, partitions, theirs, FIXTURE_PARTITIONS,
                                      UINT64_MAX, NULL, s_never, NULL, &more, unavailable,
                                      &unavailable_count),
                     BB_OK);
    assert_int_equal(unavailable_count, 0);
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        bb_have_set_clear(&theirs[p]);
    }

    fixture_reopen(&fixture); // meta was not written since: all are back, and told again
    assert_int_equal(s_streams(&fixture), 3);
    s_forget(&fixture, 3);
    fixture_write_random(&fixture, &random, 60, false);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    fixture_reopen(&fixture);
    assert_int_equal(s_streams(&fixture), 1);
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

// Goal: 10,000 starts, each with a chunk, leave no more behind than a few. Method: every 100th one
// seals, forgets what came before it, and opens the store again; have-sets and the bytes that meta
// holds of them are looked at each time. Without forgetting 4,096 starts are the end.
static void test_many_starts(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(4);
    fixture_batch_t batch;
    fixture_random_batch(&fixture, &random, 1, false, &batch);
    uint64_t streams_max = 0;
    size_t bytes_max = 0;
    for (uint32_t number = 1; number <= 10000; number++) {
        batch.chunks.stream = s_stream(number);
        assert_int_equal(bb_store_apply(fixture.store, &batch.chunks, &batch.batch), BB_OK);
        if (number % 100 != 0) {
            continue;
        }
        streams_max = BB_MAX(streams_max, s_streams(&fixture));
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        assert_int_equal(bb_store_unsealed_first(fixture.store, S_NODE), UINT32_MAX);
        s_forget(&fixture, number);
        assert_int_equal(s_streams(&fixture), 1);
        if (number % 1000 == 0) {
            batch.chunks.stream = s_stream(number);
            batch.chunks.stream.bytes[15] = 1; // one more of the same start, so that a flush comes
            assert_int_equal(bb_store_apply(fixture.store, &batch.chunks, &batch.batch), BB_OK);
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
            fixture_reopen(&fixture);
            assert_int_equal(s_streams(&fixture), 2);
            s_forget(&fixture, number);
        }
        for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
            bytes_max =
                BB_MAX(bytes_max, bb_have_set_encoded_bytes(bb_store_have(fixture.store, p)));
        }
    }
    assert_in_range(streams_max, 100, 103);
    assert_in_range(bytes_max, 40, 80); // one stream, or two
    fixture_batch_free(&batch);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sealed),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_many_starts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
