// SPDX-License-Identifier: Apache-2.0
// Tests of node/control/bb_silence: the rule against its definition, and links drawn at random.
#include "node/control/bb_silence.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S_MS         BB_NS_PER_MS
#define S_SUSPECT_NS BB_NS_PER_S

// Goal: a peer that nothing is known of has the whole of suspect_ns, one that was regular for a
// window three heartbeats and six deviations of suspect_ns / 20.
static void s_test_patience_grows_shorter_with_evidence(void **state)
{
    (void)state;
    bb_silence_t silence;
    bb_silence_init(&silence, 100 * S_MS, S_SUSPECT_NS);
    int64_t before_ns = bb_silence_limit_ns(&silence);
    assert_int_equal(before_ns, S_SUSPECT_NS);
    for (uint32_t i = 0; i < BB_SILENCE_WINDOW_COUNT; i++) {
        bb_silence_add(&silence, 100 * S_MS);
        assert_true(bb_silence_limit_ns(&silence) <= before_ns);
        before_ns = bb_silence_limit_ns(&silence);
    }
    assert_int_equal(before_ns, 600 * S_MS);
}

// Goal: the limit is the one of the definition, computed in floating point from the whole window.
// Method: random windows of random links; whole numbers may be one microsecond a deviation off, and
// n one off where p^n is within a thousandth of the threshold.
static void s_test_definition(void **state)
{
    (void)state;
    uint64_t random = 7;
    for (uint32_t run = 0; run < 2000; run++) {
        bb_silence_t silence;
        const int64_t beat_ns = 100 * S_MS;
        bb_silence_init(&silence, beat_ns, S_SUSPECT_NS);
        double intervals_ms[1000];
        uint32_t count = 1 + run % 600;
        for (uint32_t i = 0; i < count; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407U;
            uint64_t missed = (random >> 33) % 100 < run % 13 ? 1 + (random >> 60) % 3 : 0;
            int64_t residual_ns = (int64_t)((random >> 20) % (1 + run % 40)) * S_MS;
            int64_t interval_ns = (int64_t)(missed + 1) * beat_ns + residual_ns;
            intervals_ms[i] = (double)interval_ns / 1e6;
            bb_silence_add(&silence, interval_ns);
        }
        uint32_t first = count > BB_SILENCE_WINDOW_COUNT ? count - BB_SILENCE_WINDOW_COUNT : 0;
        double missed = 0, squares = 0, due = 0;
        for (uint32_t i = first; i < count; i++) {
            double beats = floor(intervals_ms[i] / 100 + 0.5);
            double residual_ms = intervals_ms[i] - beats * 100;
            due += beats;
            missed += beats - 1;
            squares += residual_ms * residual_ms;
        }
        double deviation_ms = fmax(sqrt(squares / (count - first)), 50);
        double exact = BB_SILENCE_PHI / -log10((missed + 0.25) / due);
        double least = 1000, most = 0; // of the two n around a tie
        for (int tie = -1; tie <= 1; tie += 2) {
            double n = fmax(ceil(exact * (1 + tie * 1e-3)), 3);
            double limit_ms = exact <= 0 || n > 10 ? 1000 : fmin(n * 100 + 6 * deviation_ms, 1000);
            least = fmin(least, limit_ms);
            most = fmax(most, limit_ms);
        }
        double limit_ms = (double)bb_silence_limit_ns(&silence) / 1e6;
        assert_true(limit_ms >= least - 0.01 && limit_ms <= most + 0.01);
    }
}

// Goal: extreme intervals and settings neither overflow nor leave the bounds.
static void s_test_extremes(void **state)
{
    (void)state;
    const struct {
        int64_t heartbeat_ns, suspect_ns;
    } settings[] = {{1, 1}, {1, 600 * BB_NS_PER_S}, {600 * BB_NS_PER_S, 600 * BB_NS_PER_S}};
    const int64_t intervals[] = {0, 1, INT64_MAX, 300 * BB_NS_PER_S, 600 * BB_NS_PER_S};
    for (size_t s = 0; s < BB_COUNT_OF(settings); s++) {
        bb_silence_t silence;
        bb_silence_init(&silence, settings[s].heartbeat_ns, settings[s].suspect_ns);
        for (uint32_t i = 0; i < 5 * BB_SILENCE_WINDOW_COUNT; i++) {
            bb_silence_add(&silence, intervals[i / BB_SILENCE_WINDOW_COUNT]);
            assert_true(bb_silence_limit_ns(&silence) > 0);
            assert_true(bb_silence_limit_ns(&silence) <= settings[s].suspect_ns);
        }
    }
}

// ---- links drawn at random ---------------------------------------------------------------------

#define S_BEATS 1000000

typedef struct {
    const char *name;
    int64_t heartbeat_ms;
    double delay_ms, jitter_ms; // uniform, delay +- jitter
    double loss, late, twice;   // shares; late: 100 ms more
    double pause_ms, pause_s;   // the sender stands still for up to pause_ms, about every pause_s
    uint32_t false_count_max;   // in a million; UINT32_MAX: told, not asserted
} s_link_t;

typedef struct {
    uint32_t false_count, plain_count; // by this rule, by silence >= suspect_ns alone
    double detect_ms_p50, detect_ms_p99;
} s_result_t;

static uint64_t s_random;

static double s_uniform(void) // splitmix64 (Steele, Lea, Flood 2014)
{
    uint64_t z = s_random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

typedef struct {
    double arrival_ms, delay_ms;
} s_arrival_t;

static int s_by_arrival(const void *a, const void *b)
{
    double x = ((const s_arrival_t *)a)->arrival_ms, y = ((const s_arrival_t *)b)->arrival_ms;
    return (x > y) - (x < y);
}

static int s_by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t s_draw(const s_link_t *link, s_arrival_t *arrivals)
{
    size_t count = 0;
    double pause_until_ms = -1e9;
    for (uint32_t i = 0; i < S_BEATS; i++) {
        double sent_ms = (double)i * (double)link->heartbeat_ms;
        bool was_paused = sent_ms - (double)link->heartbeat_ms < pause_until_ms;
        if (link->pause_s > 0 && !was_paused &&
            s_uniform() < (double)link->heartbeat_ms / 1000 / link->pause_s) {
            pause_until_ms = sent_ms + link->pause_ms * s_uniform();
        }
        if (sent_ms < pause_until_ms) { // what was due meanwhile is never sent
            continue;
        }
        uint32_t copies = s_uniform() < link->twice ? 2 : 1;
        for (uint32_t c = 0; c < copies; c++) {
            if (s_uniform() < link->loss) {
                continue;
            }
            double delay_ms = link->delay_ms + link->jitter_ms * (2 * s_uniform() - 1);
            delay_ms += s_uniform() < link->late ? 100 : 0;
            arrivals[count++] = (s_arrival_t){sent_ms + delay_ms, delay_ms};
        }
    }
    qsort(arrivals, count, sizeof *arrivals, s_by_arrival);
    return count;
}

// Detection time: the peer ends at a random moment between this heartbeat and the next.
static s_result_t s_run(const s_link_t *link)
{
    s_arrival_t *arrivals = bb_alloc_zero(2 * S_BEATS, sizeof *arrivals);
    double *detect_ms = bb_alloc_zero(2 * S_BEATS, sizeof *detect_ms);
    size_t count = s_draw(link, arrivals);
    bb_silence_t silence;
    bb_silence_init(&silence, link->heartbeat_ms * S_MS, S_SUSPECT_NS);
    s_result_t result = {0};
    for (size_t i = 1; i < count; i++) {
        double interval_ms = arrivals[i].arrival_ms - arrivals[i - 1].arrival_ms;
        int64_t interval_ns = (int64_t)(interval_ms * 1e6);
        result.false_count += interval_ns >= bb_silence_limit_ns(&silence);
        result.plain_count += interval_ns >= S_SUSPECT_NS;
        bb_silence_add(&silence, interval_ns);
        detect_ms[i] = arrivals[i].delay_ms + (double)bb_silence_limit_ns(&silence) / 1e6 -
                       s_uniform() * (double)link->heartbeat_ms;
    }
    qsort(detect_ms + 1, count - 1, sizeof *detect_ms, s_by_value);
    result.detect_ms_p50 = detect_ms[count / 2];
    result.detect_ms_p99 = detect_ms[count - count / 100];
    free(detect_ms);
    free(arrivals);
    return result;
}

// Goal: links that are jittery or lossy are not called down in a million heartbeats, whatever the
// plain timeout does; how many and how soon is told for all (the table of node/README.md).
static void s_test_links(void **state)
{
    (void)state;
    const s_link_t links[] = {
        {"one switch", 100, 0.5, 0.4, 0, 0, 0, 0, 0, 0},
        {"one switch", 200, 0.5, 0.4, 0, 0, 0, 0, 0, 0},
        {"pauses to 400 ms, every 30 s", 100, 20, 20, 0, 0, 0, 400, 30, 0},
        {"pauses to 900 ms, every 30 s", 100, 20, 20, 0, 0, 0, 900, 30, UINT32_MAX},
        {"pauses to 900 ms, every 300 s", 100, 20, 20, 0, 0, 0, 900, 300, UINT32_MAX},
        {"100 +- 50 ms, 5 % lost", 100, 100, 50, 0.05, 0, 0, 0, 0, 0},
        {"100 +- 50 ms, 5 % lost", 200, 100, 50, 0.05, 0, 0, 0, 0, UINT32_MAX},
        {"the same, 10 % late, 5 % twice", 100, 100, 50, 0.05, 0.1, 0.05, 0, 0, 0},
        {"1 ms, 20 % lost", 100, 1, 0.5, 0.2, 0, 0, 0, 0, UINT32_MAX},
        {"1 ms, 20 % lost", 200, 1, 0.5, 0.2, 0, 0, 0, 0, UINT32_MAX},
    };
    for (size_t i = 0; i < BB_COUNT_OF(links); i++) {
        s_random = i;
        s_result_t result = s_run(&links[i]);
        print_message("%-32s %3d ms: false %u (timeout %u), detected p50 %.0f p99 %.0f ms\n",
                      links[i].name, (int)links[i].heartbeat_ms, result.false_count,
                      result.plain_count, result.detect_ms_p50, result.detect_ms_p99);
        assert_true(result.false_count <= links[i].false_count_max);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_patience_grows_shorter_with_evidence),
        cmocka_unit_test(s_test_definition),
        cmocka_unit_test(s_test_extremes),
        cmocka_unit_test(s_test_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
