// SPDX-License-Identifier: Apache-2.0
// Goal: all batteries of a batch are found as one by one, whatever the order in which batches bring
// them. Method: batches in the same order again, from somewhere in the middle, shuffled, with gaps
// and with ids that are not known; bb_dictionary_battery_find is the oracle. (Other functions of
// the dictionary: test_bb_head.c.)
#include "storage/head/bb_dictionary.h"

#include "tests/unit/storage/run_support.h"

#define S_BATTERIES 700u
#define S_ID_BYTES  24u

static char s_ids[S_BATTERIES][S_ID_BYTES];
static bb_batch_battery_t s_batch[S_BATTERIES];
static uint32_t s_numbers[S_BATTERIES];

static bb_slice_t s_id(uint32_t battery)
{
    return bb_slice(s_ids[battery], strlen(s_ids[battery]));
}

static void s_expect_found(bb_dictionary_t *dictionary, uint32_t count)
{
    bb_dictionary_find_all(dictionary, s_batch, count, s_numbers);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(s_numbers[i], bb_dictionary_battery_find(dictionary, s_batch[i].id));
    }
}

static uint32_t s_make_batch(bb_random_t *random, uint32_t kind)
{
    uint32_t first = kind == 0 ? 0 : test_below(random, S_BATTERIES);
    uint32_t count = 0;
    for (uint32_t i = 0; i < S_BATTERIES; i++) {
        uint32_t battery = kind == 3 ? test_below(random, S_BATTERIES) : (first + i) % S_BATTERIES;
        if (kind != 2 || test_below(random, 20) != 0) {
            s_batch[count++].id = s_id(battery);
        }
    }
    return count;
}

static void test_batches_in_any_order(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(8);
    bb_dictionary_t *dictionary = bb_dictionary_new(3, 16);
    for (uint32_t i = 0; i < S_BATTERIES; i++) {
        // Of different lengths; some are the beginning of others.
        snprintf(s_ids[i], S_ID_BYTES, i % 3 ? "b%u" : "battery-%06u", i);
    }
    s_make_batch(&random, 0);
    s_expect_found(dictionary, S_BATTERIES); // none is known
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t count = s_make_batch(&random, round % 4);
        s_expect_found(dictionary, count);
        for (uint32_t i = 0; i < count; i++) {
            if (test_below(&random, 30) == 0) {
                bb_dictionary_battery(dictionary, s_batch[i].id, i % 16);
            }
        }
        s_expect_found(dictionary, count);
    }
    assert_int_equal(bb_dictionary_battery_count(dictionary), S_BATTERIES);
    bb_dictionary_destroy(&dictionary);
}

// Attributes come back by key, each with its newest value; a battery without any has none.
static void test_attribute_pairs(void **state)
{
    (void)state;
    bb_dictionary_t *dictionary = bb_dictionary_new(1, 16);
    uint32_t battery = bb_dictionary_battery(dictionary, bb_slice("b1", 2), 0);
    uint32_t other = bb_dictionary_battery(dictionary, bb_slice("b2", 2), 0);
    const bb_attribute_t first[] = {{bb_slice("site", 4), bb_slice("aachen", 6)},
                                    {bb_slice("maker", 5), bb_slice("x", 1)}};
    const bb_attribute_t newer = {bb_slice("site", 4), bb_slice("bonn", 4)};
    bb_dictionary_attributes_merge(dictionary, battery, first, 2, 5);
    bb_dictionary_attributes_merge(dictionary, battery, &newer, 1, 6);
    bb_attribute_t found[BB_ATTRIBUTES_MAX];
    assert_int_equal(bb_dictionary_attribute_pairs(dictionary, battery, found), 2);
    assert_int_equal(bb_dictionary_compare(found[0].key, bb_slice("maker", 5)), 0);
    assert_int_equal(bb_dictionary_compare(found[0].value, bb_slice("x", 1)), 0);
    assert_int_equal(bb_dictionary_compare(found[1].key, bb_slice("site", 4)), 0);
    assert_int_equal(bb_dictionary_compare(found[1].value, bb_slice("bonn", 4)), 0);
    assert_int_equal(bb_dictionary_attribute_pairs(dictionary, other, found), 0);
    bb_dictionary_destroy(&dictionary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batches_in_any_order),
                                       cmocka_unit_test(test_attribute_pairs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
