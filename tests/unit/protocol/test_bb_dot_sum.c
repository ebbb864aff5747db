// SPDX-License-Identifier: Apache-2.0
// Tests of protocol/bb_dot_sum: words that travel stay what they are, and tell sets of dots apart.
#include "protocol/bb_dot_sum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

// Goal: the word of a dot is the one of SplitMix64. Method: its published outputs for seed 0 are
// the mixed multiples of the golden ratio; partition 0 mixes such a word once more.
static void s_test_words_never_change(void **state)
{
    (void)state;
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
    assert_true(bb_dot_sum_mix(golden) == UINT64_C(0xe220a8397b1dcdaf));
    assert_true(bb_dot_sum_mix(2 * golden) == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(bb_dot_sum_mix(3 * golden) == UINT64_C(0x06c45d188009454f));
    assert_true(bb_dot_sum_of(0, 0) == bb_dot_sum_mix(UINT64_C(0xe220a8397b1dcdaf)));
    assert_true(bb_dot_sum_of(5, golden) == bb_dot_sum_mix(UINT64_C(0x6e789e6aa1b965f4) + 5));
}

static int s_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

// Goal: near dots have other words, and so have sums of two of them: partitions and seqs swapped,
// one more here and one less there.
static void s_test_near_dots_differ(void **state)
{
    (void)state;
    enum { S_SIDE = 48, S_DOTS = S_SIDE * S_SIDE };
    uint64_t *words = malloc((S_DOTS + S_DOTS * 40) * sizeof *words);
    size_t count = 0;
    for (uint32_t i = 0; i < S_DOTS; i++) {
        words[count++] = bb_dot_sum_of(i / S_SIDE, 1 + i % S_SIDE);
    }
    for (uint32_t i = 0; i < S_DOTS; i++) {
        for (uint32_t step = 1; step <= 40 && i + step < S_DOTS; step++) {
            words[count++] = words[i] + words[i + step];
        }
    }
    qsort(words, count, sizeof *words, s_compare);
    for (size_t i = 1; i < count; i++) {
        assert_true(words[i] != words[i - 1]);
    }
    free(words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_words_never_change),
        cmocka_unit_test(s_test_near_dots_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
