// SPDX-License-Identifier: Apache-2.0
// What peers need of a store: have-sets that survive, the chunks that one lacks, and a journal that
// is trimmed when all have them.
#include "tests/unit/storage/store_fixture.h"

static void s_verify_all(fixture_t *fixture)
{
    static const bb_query_mode_t modes[] = {BB_QUERY_RAW, BB_QUERY_LAST, BB_QUERY_QUARANTINE};
    for (uint32_t i = 0; i < BB_COUNT_OF(modes); i++) {
        bb_query_t query = fixture_query(modes[i]);
        fixture_verify(fixture, &query);
    }
}

// ---- have-sets, journal and peers ------------------------------------------------------------
static bool s_all_held(void *context, uint32_t partition, const bb_stream_t *stream,
                       uint64_t first_seq, uint64_t last_seq)
{
    (void)context, (void)partition, (void)stream;
    assert_true(first_seq >= 1 && last_seq >= first_seq);
    return true;
}

static bool s_none_held(void *context, uint32_t partition, const bb_stream_t *stream,
                        uint64_t first_seq, uint64_t last_seq)
{
    (void)context, (void)partition, (void)stream, (void)first_seq, (void)last_seq;
    return false;
}

// Goal: dots survive flush, reopening and trimming; a chunk that is known is not applied again.
static void test_have_sets(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(9);
    fixture_batch_t batches[6];
    for (uint32_t i = 0; i < 6; i++) {
        fixture_random_batch(&fixture, &random, 30, false, &batches[i]);
        fixture_write(&fixture, &batches[i]);
        if (i == 2) {
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        }
    }
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
            const bb_have_set_t *have = bb_store_have(fixture.store, p);
            assert_int_equal(bb_have_set_count(have), fixture.seqs[p]);
            for (uint64_t seq = 1; seq <= fixture.seqs[p]; seq++) {
                assert_true(bb_have_set_contains(have, &fixture.stream, seq));
            }
        }
        fixture_reopen(&fixture);
    }
    bb_store_stats_t before;
    bb_store_stats(fixture.store, &before);
    uint64_t version = bb_store_version(fixture.store);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(bb_store_apply(fixture.store, &batches[i].chunks, &batches[i].batch),
                         BB_OK);
    }
    bb_store_stats_t after;
    bb_store_stats(fixture.store, &after);
    assert_int_equal(after.head_points, before.head_points);
    assert_int_equal(bb_store_version(fixture.store), version + 6);
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        assert_true(bb_store_have_version(fixture.store, p) <= version);
    }
    // Sealed and held by all: the journal shrinks; what is not sealed stays.
    assert_int_equal(bb_store_trim(fixture.store, s_none_held, NULL), BB_OK);
    bb_store_stats(fixture.store, &after);
    assert_int_equal(after.journal_sealed_files, before.journal_sealed_files);
    assert_true(before.journal_sealed_files > 0);
    assert_int_equal(bb_store_trim(fixture.store, s_all_held, NULL), BB_OK);
    bb_store_stats(fixture.store, &after);
    assert_int_equal(after.journal_sealed_files, 0);
    fixture_reopen(&fixture);
    s_verify_all(&fixture);
    for (uint32_t i = 0; i < 6; i++) {
        fixture_batch_free(&batches[i]);
    }
    fixture_close(&fixture);
}

// What a peer receives: applied to a second store.
typedef struct {
    fixture_t *target;
    uint32_t chunk_count;
} s_pull_t;

static void s_receive(void *context, uint8_t *chunks_bytes, size_t chunks_length,
                      uint8_t *batch_bytes, size_t batch_length)
{
    s_pull_t *pull = context;
    bb_fault_t fault = {0};
    bb_chunks_t chunks;
    bb_batch_t batch;
    assert_int_equal(bb_chunks_decode(&chunks, bb_slice(chunks_bytes, chunks_length), &fault),
                     BB_OK);
    assert_int_equal(bb_batch_open(&batch, bb_slice(batch_bytes, batch_length), &fault), BB_OK);
    assert_int_equal(bb_chunks_match(&chunks, &batch, &fault), BB_OK);
    bb_store_t *store = pull->target->store;
    assert_int_equal(bb_store_stage(store, &chunks, bb_slice(chunks_bytes, chunks_length), &batch),
                     BB_OK);
    assert_int_equal(bb_store_sync(store), BB_OK);
    assert_int_equal(bb_store_apply(store, &chunks, &batch), BB_OK);
    bb_batch_close(&batch);
    free(chunks_bytes);
    free(batch_bytes);
    pull->chunk_count++;
}

// Pulls all of `partitions` from source to target; returns how often it had to ask.
static uint32_t s_pull_all(fixture_t *source, fixture_t *target, const uint32_t *partitions,
                           uint32_t count, uint64_t budget_bytes, uint32_t *unavailable_count)
{
    uint32_t asked = 0;
    bool more = true;
    while (more) {
        bb_have_set_t theirs[FIXTURE_PARTITIONS];
        memset(theirs, 0, sizeof theirs);
        for (uint32_t i = 0; i < count; i++) {
            bb_have_set_copy(&theirs[i], bb_store_have(target->store, partitions[i]));
        }
        uint32_t unavailable[FIXTURE_PARTITIONS];
        s_pull_t pull = {target, 0};
        assert_int_equal(bb_store_missing(source->store, partitions, theirs, count, budget_bytes,
                                          NULL, s_receive, &pull, &more, unavailable,
                                          unavailable_count),
                         BB_OK);
        assert_true(!more || pull.chunk_count > 0);
        for (uint32_t i = 0; i < count; i++) {
            bb_have_set_clear(&theirs[i]);
        }
        asked++;
    }
    return asked;
}

// Goal: a peer that lacks anything gets exactly that, in budgeted pieces, over files that are
// sealed and files that are not; then both stores answer alike.
static void test_missing(void **state)
{
    (void)state;
    fixture_t source;
    fixture_t target;
    fixture_open(&source, true);
    fixture_open(&target, true);
    bb_random_t random = bb_random_seed(77);
    for (uint32_t i = 0; i < 12; i++) {
        fixture_batch_t batch;
        fixture_random_batch(&source, &random, 40, true, &batch);
        fixture_write(&source, &batch);
        if (i % 3 == 0) {
            fixture_write(&target, &batch);
        }
        fixture_batch_free(&batch);
        if (i % 4 == 3) {
            assert_int_equal(fixture_job(&source, BB_JOB_FLUSH), BB_OK);
        }
    }
    uint32_t unavailable_count = 9;
    // Only some partitions are asked for: nothing of the others may come.
    const uint32_t some[3] = {1, 4, 6};
    s_pull_all(&source, &target, some, 3, UINT64_MAX, &unavailable_count);
    assert_int_equal(unavailable_count, 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(bb_have_set_is_equal(bb_store_have(source.store, some[i]),
                                         bb_store_have(target.store, some[i])));
    }
    assert_false(
        bb_have_set_is_equal(bb_store_have(source.store, 0), bb_store_have(target.store, 0)));
    uint32_t asked = s_pull_all(&source, &target, fixture_all_partitions(), FIXTURE_PARTITIONS,
                                1000, &unavailable_count);
    assert_true(asked > 2);
    assert_int_equal(unavailable_count, 0);
    target.points.count = 0;
    for (size_t i = 0; i < source.points.count; i++) {
        fixture_remember(&target.points, source.points.items[i]);
    }
    s_verify_all(&target);
    assert_int_equal(s_pull_all(&source, &target, fixture_all_partitions(), FIXTURE_PARTITIONS,
                                1000, &unavailable_count),
                     1);
    fixture_close(&source);
    fixture_close(&target);
}

// Goal: what the journal no longer has is named, partition by partition.
static void test_missing_and_trimmed(void **state)
{
    (void)state;
    fixture_t source;
    fixture_t target;
    fixture_open(&source, true);
    fixture_open(&target, true);
    bb_random_t random = bb_random_seed(78);
    fixture_write_random(&source, &random, 60, false);
    bool trimmed[FIXTURE_PARTITIONS];
    uint32_t trimmed_count = 0;
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        trimmed[p] = source.seqs[p] > 0;
        trimmed_count += trimmed[p];
    }
    assert_int_equal(fixture_job(&source, BB_JOB_FLUSH), BB_OK);
    assert_int_equal(bb_store_trim(source.store, s_all_held, NULL), BB_OK);
    fixture_write_random(&source, &random, 60, false);
    bb_have_set_t nothing[FIXTURE_PARTITIONS];
    memset(nothing, 0, sizeof nothing);
    uint32_t unavailable[FIXTURE_PARTITIONS];
    uint32_t unavailable_count = 0;
    bool more = true;
    s_pull_t pull = {&target, 0};
    assert_int_equal(bb_store_missing(source.store, fixture_all_partitions(), nothing,
                                      FIXTURE_PARTITIONS, UINT64_MAX, NULL, s_receive, &pull, &more,
                                      unavailable, &unavailable_count),
                     BB_OK);
    assert_false(more);
    assert_int_equal(pull.chunk_count, 1);
    assert_int_equal(unavailable_count, trimmed_count);
    for (uint32_t i = 0; i < unavailable_count; i++) {
        assert_true(trimmed[unavailable[i]]);
    }
    fixture_close(&source);
    fixture_close(&target);
}

// Loses some of what is sent; notes where the records lie, newest last.
typedef struct {
    s_pull_t pull;
    bb_random_t *random;
    uint32_t lost_of_eight, sent_count;
} s_lossy_t;

static void s_receive_some(void *context, uint8_t *chunks_bytes, size_t chunks_length,
                           uint8_t *batch_bytes, size_t batch_length)
{
    s_lossy_t *self = context;
    self->sent_count++;
    if (bb_random_below(self->random, 8) < self->lost_of_eight) {
        free(chunks_bytes);
        free(batch_bytes);
        return;
    }
    s_receive(&self->pull, chunks_bytes, chunks_length, batch_bytes, batch_length);
}

// Goal: an asker whose places are kept gets everything, whatever is lost, written meanwhile, sealed
// or asked for in between: nobody who lacks something is ever sent nothing. Method: 40 random runs
// against a store whose records are asked for piece by piece.
static void test_missing_with_places(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        fixture_t source, target;
        fixture_open(&source, true);
        fixture_open(&target, true);
        bb_random_t random = bb_random_seed(seed);
        bb_store_places_t places = {0};
        s_lossy_t lossy = {.pull = {&target, 0}, .random = &random, .lost_of_eight = 4};
        uint32_t writes = 12;
        while (true) {
            if (writes > 0 && bb_random_chance(&random, 1, 2)) {
                fixture_write_random(&source, &random, 20, false);
                writes--;
            } else if (bb_random_chance(&random, 1, 8)) {
                bb_error_t error = fixture_job(&source, BB_JOB_FLUSH);
                assert_true(error == BB_OK || error == BB_ERR_NOT_FOUND); // nothing to seal
            }
            uint32_t partitions[FIXTURE_PARTITIONS], count = 0;
            bb_have_set_t theirs[FIXTURE_PARTITIONS];
            memset(theirs, 0, sizeof theirs);
            uint64_t lacking = 0;
            bool is_all = bb_random_chance(&random, 1, 2);
            for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
                if (is_all || bb_random_chance(&random, 1, 2)) {
                    const bb_have_set_t *theirs_now = bb_store_have(target.store, p);
                    lacking += bb_have_set_lacks_count(theirs_now, bb_store_have(source.store, p));
                    bb_have_set_copy(&theirs[count], theirs_now);
                    partitions[count++] = p;
                }
            }
            uint32_t unavailable[FIXTURE_PARTITIONS], unavailable_count = 0;
            bool more = false;
            lossy.sent_count = 0;
            assert_int_equal(bb_store_missing(source.store, partitions, theirs, count, 700, &places,
                                              s_receive_some, &lossy, &more, unavailable,
                                              &unavailable_count),
                             BB_OK);
            assert_int_equal(unavailable_count, 0);
            assert_int_equal(lossy.sent_count > 0, lacking > 0);
            for (uint32_t i = 0; i < count; i++) {
                bb_have_set_clear(&theirs[i]);
            }
            if (writes == 0 && lacking == 0 && is_all) {
                break;
            }
        }
        for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
            assert_true(bb_have_set_is_equal(bb_store_have(source.store, p),
                                             bb_store_have(target.store, p)));
        }
        fixture_close(&source);
        fixture_close(&target);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_have_sets),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_missing_and_trimmed),
        cmocka_unit_test(test_missing_with_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
