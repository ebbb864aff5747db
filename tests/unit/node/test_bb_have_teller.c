// SPDX-License-Identifier: Apache-2.0
// The teller: tails where they say everything, the whole set where anything else has changed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "node/ingest/bb_have_teller.h"
#include "tests/support/bb_random.h"

enum { STREAMS = 6, VERSIONS = 60 };

static bb_stream_t s_stream(uint8_t number)
{
    bb_stream_t stream;
    memset(stream.bytes, number, sizeof stream.bytes);
    return stream;
}

static void s_add(bb_have_set_t *set, uint8_t stream_number, uint64_t first, uint64_t last)
{
    bb_stream_t stream = s_stream(stream_number);
    bool added;
    assert_int_equal(bb_have_set_add(set, &stream, first, last, &added), BB_OK);
}

static uint32_t s_tell(bb_have_teller_t *teller, const bb_have_set_t *have, uint64_t version,
                       uint64_t since_version, const bb_stream_t *live, uint32_t live_count,
                       bb_have_tail_t *tails)
{
    const bb_have_telling_t telling = {.partition = 3,
                                       .have = have,
                                       .version = version,
                                       .since_version = since_version,
                                       .live = live,
                                       .live_count = live_count};
    return bb_have_teller_tails(teller, &telling, tails);
}

// Goal: the cases of the header, one by one.
static void each_case(void **state)
{
    (void)state;
    bb_have_teller_t *teller = bb_have_teller_new(4);
    bb_have_set_t have = {0};
    bb_have_tail_t tails[4];
    bb_stream_t live[] = {s_stream(1), s_stream(2)};
    s_add(&have, 1, 1, 5);
    s_add(&have, 9, 1, 3); // of a process that is no more
    assert_int_equal(s_tell(teller, &have, 10, 8, live, 2, tails), 0); // never looked at before
    s_add(&have, 1, 6, 7);
    assert_int_equal(s_tell(teller, &have, 12, 9, live, 2, tails), 0); // may not know the rest
    assert_int_equal(s_tell(teller, &have, 12, 10, live, 2, tails), 1);
    assert_int_equal(tails[0].last_seq, 7);
    s_add(&have, 2, 1, 1);
    assert_int_equal(s_tell(teller, &have, 13, 12, live, 2, tails), 2);
    s_add(&have, 2, 3, 3); // a gap
    assert_int_equal(s_tell(teller, &have, 14, 13, live, 2, tails), 0);
    s_add(&have, 2, 2, 2);
    assert_int_equal(s_tell(teller, &have, 15, 13, live, 2, tails), 2);
    s_add(&have, 9, 4, 4); // one that was pulled
    assert_int_equal(s_tell(teller, &have, 16, 15, live, 2, tails), 0);
    assert_int_equal(s_tell(teller, &have, 17, 16, live, 2, tails), 2);
    live[0] = s_stream(7); // a node starts anew: its old stream is of the rest
    assert_int_equal(s_tell(teller, &have, 18, 17, live, 2, tails), 0);
    assert_int_equal(s_tell(teller, &have, 19, 18, live, 2, tails), 1);
    bb_have_set_clear(&have);
    bb_have_teller_destroy(&teller);
    assert_null(teller);
}

// Goal: whoever adds tails to what it knew has the whole set. Method: random sets that grow, with
// live streams that change; readers that ask at random and know old versions.
static void tails_are_enough(void **state)
{
    (void)state;
    uint32_t told_tails = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_have_teller_t *teller = bb_have_teller_new(4);
        bb_have_set_t history[VERSIONS] = {{0}};
        uint64_t nexts[STREAMS] = {1, 1, 1, 1, 1, 1};
        uint32_t first_live = 0;
        for (uint32_t v = 1; v < VERSIONS; v++) {
            bb_have_set_copy(&history[v], &history[v - 1]);
            bool is_old = bb_random_chance(&random, 1, 10);
            uint32_t s = is_old ? (uint32_t)bb_random_below(&random, STREAMS)
                                : first_live + (uint32_t)bb_random_below(&random, 2);
            nexts[s] += bb_random_chance(&random, 1, 10);
            s_add(&history[v], (uint8_t)(1 + s), nexts[s], nexts[s]);
            nexts[s]++;
            first_live += first_live + 3 < STREAMS && bb_random_chance(&random, 1, 20);
            if (bb_random_chance(&random, 1, 3)) {
                continue;
            }
            uint32_t since = (uint32_t)bb_random_below(&random, v);
            bb_stream_t live[] = {s_stream((uint8_t)(1 + first_live)),
                                  s_stream((uint8_t)(2 + first_live))};
            bb_have_tail_t tails[2];
            uint32_t count = s_tell(teller, &history[v], v, since, live, 2, tails);
            if (count == 0) {
                continue;
            }
            told_tails++;
            bb_have_set_t known = {0};
            bb_have_set_copy(&known, &history[since]);
            for (uint32_t i = 0; i < count; i++) {
                bool added;
                assert_int_equal(
                    bb_have_set_add(&known, &tails[i].stream, 1, tails[i].last_seq, &added), BB_OK);
            }
            assert_true(bb_have_set_is_equal(&known, &history[v]));
            bb_have_set_clear(&known);
        }
        for (uint32_t v = 0; v < VERSIONS; v++) {
            bb_have_set_clear(&history[v]);
        }
        bb_have_teller_destroy(&teller);
    }
    assert_true(told_tails > 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_case),
        cmocka_unit_test(tails_are_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
