// SPDX-License-Identifier: Apache-2.0
// Goal: every window is verified in time, at the pace that was set, whatever merges do meanwhile.
// Method: virtual clocks and a shell of a few lines that "verifies" windows of given sizes.
#include "storage/scrub/bb_scrub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/bb_random.h"

#define S_NS_PER_S INT64_C(1000000000)
#define S_WALL_NS  INT64_C(1767225600000000000)
#define S_MAX      32

typedef struct {
    bb_scrub_t *scrub;
    bb_scrub_window_t windows[S_MAX];
    uint64_t left[S_MAX]; // of the window under way
    uint32_t count;
    int64_t now_ns; // mono; wall = S_WALL_NS + now_ns
    uint64_t verified_bytes;
    uint32_t begun[S_MAX]; // times each window was begun
    uint32_t pass_done_count;
    int64_t wake_ns;
} s_shell_t;

static void s_windows(s_shell_t *self, uint32_t count, uint64_t bytes)
{
    self->count = count;
    for (uint32_t i = 0; i < count; i++) {
        self->windows[i] = (bb_scrub_window_t){10 * (i + 1), 1, bytes, BB_SCRUB_NEVER_WALL_NS};
    }
    bb_scrub_windows_set(self->scrub, self->windows, count, S_WALL_NS + self->now_ns);
}

static uint32_t s_index(const s_shell_t *self, uint64_t id)
{
    for (uint32_t i = 0; i < self->count; i++) {
        if (self->windows[i].id == id) {
            return i;
        }
    }
    return UINT32_MAX;
}

static void s_send(s_shell_t *self, bb_scrub_event_t event)
{
    bb_scrub_actions_t actions;
    for (bool is_more = true; is_more;) {
        event.now_mono_ns = self->now_ns;
        event.now_wall_ns = S_WALL_NS + self->now_ns;
        bb_scrub_step(self->scrub, &event, &actions);
        self->pass_done_count += actions.is_pass_done;
        self->wake_ns = actions.wake_ns;
        is_more = actions.is_step;
        if (actions.is_step) {
            uint32_t i = s_index(self, actions.window_id);
            assert_true(i < self->count);
            assert_int_equal(actions.window_number, self->windows[i].number);
            if (actions.is_window_begin) {
                self->left[i] = self->windows[i].bytes;
                self->begun[i]++;
            }
            uint64_t bytes = BB_MIN(self->left[i], actions.budget_bytes);
            self->left[i] -= bytes;
            self->verified_bytes += bytes;
            event = (bb_scrub_event_t){
                .kind = BB_SCRUB_DONE, .bytes = bytes, .is_window_end = self->left[i] == 0};
        }
    }
}

// Lets time pass until `until_ns`, waking as asked.
static void s_run(s_shell_t *self, int64_t until_ns)
{
    while (self->wake_ns <= until_ns) {
        self->now_ns = BB_MAX(self->now_ns, self->wake_ns);
        s_send(self, (bb_scrub_event_t){.kind = BB_SCRUB_TICK});
    }
    self->now_ns = until_ns;
}

// Goal: what is read in a time is the rate times the time, up to one step.
static void s_test_pace(void **state)
{
    (void)state;
    s_shell_t shell = {.scrub = bb_scrub_new(4 << 20, BB_SCRUB_INTERVAL_NS)};
    s_windows(&shell, 8, 64 << 20);
    s_run(&shell, 10 * S_NS_PER_S);
    assert_in_range(shell.verified_bytes, 40 << 20, (40 << 20) + BB_SCRUB_STEP_BYTES);
    bb_scrub_stats_t stats = bb_scrub_stats(shell.scrub, S_WALL_NS + shell.now_ns);
    assert_int_equal(stats.bytes_total, shell.verified_bytes);
    assert_int_equal(stats.oldest_age_ns, 10 * S_NS_PER_S);
    bb_scrub_destroy(&shell.scrub);
}

// Goal: each window once, then nothing until the interval has passed, then each once more.
static void s_test_interval(void **state)
{
    (void)state;
    const int64_t hour_ns = 3600 * S_NS_PER_S;
    s_shell_t shell = {.scrub = bb_scrub_new(1 << 20, hour_ns)};
    s_windows(&shell, 5, 3 << 20);
    s_run(&shell, hour_ns / 2);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(shell.begun[i], 1);
    }
    assert_int_equal(shell.verified_bytes, 15 << 20);
    s_run(&shell, hour_ns + 60 * S_NS_PER_S);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(shell.begun[i], 2);
    }
    bb_scrub_destroy(&shell.scrub);
}

// Goal: rate 0 verifies nothing, but a person's pass takes each window once and says when it ends.
static void s_test_pass(void **state)
{
    (void)state;
    s_shell_t shell = {.scrub = bb_scrub_new(0, BB_SCRUB_INTERVAL_NS)};
    s_windows(&shell, 4, 2 << 20);
    s_run(&shell, 100 * S_NS_PER_S);
    assert_int_equal(shell.verified_bytes, 0);
    s_send(&shell,
           (bb_scrub_event_t){.kind = BB_SCRUB_START, .rate_bytes_per_s = BB_SCRUB_RATE_UNLIMITED});
    s_run(&shell, 101 * S_NS_PER_S);
    assert_int_equal(shell.verified_bytes, 8 << 20);
    assert_int_equal(shell.pass_done_count, 1);
    assert_int_equal(bb_scrub_stats(shell.scrub, S_WALL_NS).passes_total, 1);
    // An empty store has nothing to wait for.
    bb_scrub_windows_set(shell.scrub, NULL, 0, S_WALL_NS);
    s_send(&shell, (bb_scrub_event_t){.kind = BB_SCRUB_START});
    assert_int_equal(shell.pass_done_count, 2);
    assert_int_equal(bb_scrub_stats(shell.scrub, S_WALL_NS).oldest_age_ns, 0);
    bb_scrub_destroy(&shell.scrub);
}

// Goal: a window that a merge wrote anew while it was verified does not count as verified, nor does
// one that was removed stop the others.
static void s_test_replaced_under_way(void **state)
{
    (void)state;
    s_shell_t shell = {.scrub = bb_scrub_new(1 << 20, BB_SCRUB_INTERVAL_NS)};
    bb_scrub_actions_t actions;
    s_windows(&shell, 2, 8 << 20);
    bb_scrub_event_t event = {.kind = BB_SCRUB_TICK, .now_wall_ns = S_WALL_NS};
    bb_scrub_step(shell.scrub, &event, &actions);
    assert_true(actions.is_step && actions.is_window_begin);
    assert_int_equal(actions.window_id, 10);
    shell.windows[0].number = 2;
    bb_scrub_windows_set(shell.scrub, shell.windows, 2, S_WALL_NS);
    event = (bb_scrub_event_t){.kind = BB_SCRUB_DONE,
                               .bytes = 1 << 20,
                               .is_window_end = true,
                               .now_mono_ns = 5 * S_NS_PER_S,
                               .now_wall_ns = S_WALL_NS};
    bb_scrub_step(shell.scrub, &event, &actions);
    assert_false(actions.is_window_done);
    assert_true(actions.is_step && actions.is_window_begin);
    assert_int_equal(actions.window_id, 10);
    assert_int_equal(actions.window_number, 2);
    bb_scrub_windows_set(shell.scrub, shell.windows + 1, 1, S_WALL_NS);
    event.is_window_end = false;
    event.now_mono_ns = 10 * S_NS_PER_S;
    bb_scrub_step(shell.scrub, &event, &actions);
    assert_true(actions.is_step && actions.is_window_begin);
    assert_int_equal(actions.window_id, 20);
    bb_scrub_destroy(&shell.scrub);
}

// Goal: a window that becomes urgent while a step of it is under way is taken once more, from its
// beginning: that step may have begun before there was anything to see.
static void s_test_hurry_during_a_step(void **state)
{
    (void)state;
    s_shell_t shell = {.scrub = bb_scrub_new(1 << 20, BB_SCRUB_INTERVAL_NS)};
    s_windows(&shell, 1, 1 << 10);
    bb_scrub_windows_set(shell.scrub, shell.windows, 1, S_WALL_NS);
    bb_scrub_actions_t actions;
    bb_scrub_event_t event = {.kind = BB_SCRUB_TICK, .now_wall_ns = S_WALL_NS};
    bb_scrub_step(shell.scrub, &event, &actions);
    assert_true(actions.is_step && actions.is_window_begin);
    bb_scrub_hurry(shell.scrub, actions.window_id);
    event = (bb_scrub_event_t){.kind = BB_SCRUB_DONE,
                               .is_window_end = true,
                               .now_mono_ns = S_NS_PER_S,
                               .now_wall_ns = S_WALL_NS};
    bb_scrub_step(shell.scrub, &event, &actions);
    assert_false(actions.is_window_done);
    assert_true(actions.is_step && actions.is_window_begin);
    bb_scrub_step(shell.scrub, &event, &actions);
    assert_true(actions.is_window_done);
    bb_scrub_destroy(&shell.scrub);
}

// Goal: a window about which something is odd comes before all others; a clock that went back a day
// makes nothing wait for ever.
static void s_test_hurry_and_clock(void **state)
{
    (void)state;
    s_shell_t shell = {.scrub = bb_scrub_new(1 << 20, BB_SCRUB_INTERVAL_NS)};
    s_windows(&shell, 3, 1 << 10);
    for (uint32_t i = 0; i < 3; i++) { // verified tomorrow, by a clock that was wrong
        shell.windows[i].verified_wall_ns = S_WALL_NS + 86400 * S_NS_PER_S;
    }
    bb_scrub_windows_set(shell.scrub, shell.windows, 3, S_WALL_NS);
    bb_scrub_hurry(shell.scrub, 30);
    bb_scrub_hurry(shell.scrub, 31); // unknown: no effect
    bb_scrub_actions_t actions;
    bb_scrub_event_t event = {.kind = BB_SCRUB_TICK, .now_wall_ns = S_WALL_NS};
    bb_scrub_step(shell.scrub, &event, &actions);
    assert_int_equal(actions.window_id, 30);
    event =
        (bb_scrub_event_t){.kind = BB_SCRUB_DONE, .is_window_end = true, .now_wall_ns = S_WALL_NS};
    bb_scrub_step(shell.scrub, &event, &actions);
    assert_true(actions.is_window_done);
    shell.wake_ns = actions.wake_ns;
    s_run(&shell, 10 * S_NS_PER_S);
    assert_int_equal(shell.begun[0], 1);
    assert_int_equal(shell.begun[1], 1);
    bb_scrub_destroy(&shell.scrub);
}

// Goal: with windows that come, go and are rewritten at random, each that stays is verified within
// what the pace allows, and the core never asks for two steps at once (its assertion).
static void s_test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        bb_random_t random = {seed};
        s_shell_t shell = {.scrub = bb_scrub_new(1 << 20, 600 * S_NS_PER_S)};
        s_windows(&shell, S_MAX / 2, 1 << 20);
        for (uint32_t round = 0; round < 40; round++) {
            s_run(&shell, shell.now_ns + 30 * S_NS_PER_S);
            uint32_t i = (uint32_t)(bb_random_next(&random) % shell.count);
            shell.windows[i].number++;
            shell.windows[i].verified_wall_ns = BB_SCRUB_NEVER_WALL_NS;
            bb_scrub_windows_set(shell.scrub, shell.windows, shell.count, S_WALL_NS + shell.now_ns);
            shell.wake_ns = shell.now_ns;
        }
        // 16 windows of one second each: nothing is older than the interval and one round.
        int64_t age_ns = bb_scrub_stats(shell.scrub, S_WALL_NS + shell.now_ns).oldest_age_ns;
        assert_true(age_ns <= (600 + 30 + 16) * S_NS_PER_S);
        bb_scrub_destroy(&shell.scrub);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_pace),
        cmocka_unit_test(s_test_interval),
        cmocka_unit_test(s_test_pass),
        cmocka_unit_test(s_test_replaced_under_way),
        cmocka_unit_test(s_test_hurry_during_a_step),
        cmocka_unit_test(s_test_hurry_and_clock),
        cmocka_unit_test(s_test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
