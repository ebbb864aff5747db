// SPDX-License-Identifier: Apache-2.0
// Relays: who is chosen, what is kept until when, and who is passed by.
#include "node/ingest/bb_relay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#define MS BB_NS_PER_MS

// Which (write, node) has acknowledged.
typedef struct {
    bool is_paid[16][8];
} s_debts_t;

static bool s_owes(void *context, uint32_t write_id, uint32_t node)
{
    const s_debts_t *debts = context;
    return !debts->is_paid[write_id][node];
}

static const bb_relay_target_t s_three[] = {{3, 4}, {4, 4}, {5, 4}};

static void s_send_bytes(bb_relay_t *relay, int64_t now_ns, uint32_t write_id, uint32_t node,
                         size_t length)
{
    bb_buffer_t *chunks = bb_buffer_copy_of("c", 1);
    bb_buffer_t *batch = bb_buffer_new(bb_alloc_zero(length, 1), length, NULL, NULL);
    bb_relay_sent(relay, now_ns, write_id, node, s_three, 3, chunks, batch);
    bb_buffer_drop(&chunks);
    bb_buffer_drop(&batch);
}

static void s_send(bb_relay_t *relay, int64_t now_ns, uint32_t write_id, uint32_t node)
{
    s_send_bytes(relay, now_ns, write_id, node, 10);
}

// The write that is passed by now; UINT32_MAX: none.
static uint32_t s_next(bb_relay_t *relay, int64_t now_ns, s_debts_t *debts)
{
    bb_relay_copy_t *copy = bb_relay_next(relay, now_ns, s_owes, debts);
    uint32_t write_id = copy ? copy->write_id : UINT32_MAX;
    bb_relay_copy_destroy(&copy);
    return write_id;
}

// Goal: equals take turns, so that a data centre's links share the load; who holds most of the
// batch goes first, because less is sent on then.
static void equals_take_turns(void **state)
{
    (void)state;
    bb_relay_t *relay = bb_relay_new(8, 1000);
    uint32_t chosen[3] = {0};
    for (uint64_t turn = 0; turn < 30; turn++) {
        chosen[bb_relay_choose(relay, 0, s_three, 3, turn)]++;
    }
    assert_true(chosen[0] == 10 && chosen[1] == 10 && chosen[2] == 10);
    const bb_relay_target_t unequal[] = {{3, 2}, {4, 5}, {5, 1}, {6, 5}};
    for (uint64_t turn = 0; turn < 8; turn++) {
        assert_int_equal(bb_relay_choose(relay, 0, unequal, 4, turn), turn % 2 == 0 ? 1 : 3);
    }
    bb_relay_slow(relay, 4, true);
    bb_relay_slow(relay, 6, true);
    assert_int_equal(bb_relay_choose(relay, 0, unequal, 4, 7), 0);
    const bb_relay_target_t slow[] = {{4, 1}};
    assert_int_equal(bb_relay_choose(relay, 0, slow, 1, 7), 0); // there is nobody else
    bb_relay_destroy(&relay);
}

// Goal: a relay that acknowledges is heard of no more; one that is silent for 200 ms is passed by,
// with all others on the list, and not chosen for a while.
static void silent_relays_are_passed_by(void **state)
{
    (void)state;
    bb_relay_t *relay = bb_relay_new(8, 1000);
    s_debts_t debts = {0};
    s_send(relay, 0, 1, 3);
    s_send(relay, 50 * MS, 2, 3);
    s_send(relay, 60 * MS, 3, 4);
    assert_int_equal(bb_relay_kept_bytes(relay), 30);
    assert_int_equal(bb_relay_wake_mono_ns(relay), 200 * MS);
    debts.is_paid[1][3] = true;
    assert_int_equal(s_next(relay, 100 * MS, &debts), UINT32_MAX);
    assert_int_equal(bb_relay_kept_bytes(relay), 20);
    assert_int_equal(s_next(relay, 250 * MS - 1, &debts), UINT32_MAX);
    bb_relay_copy_t *copy = bb_relay_next(relay, 250 * MS, s_owes, &debts);
    assert_non_null(copy);
    assert_int_equal(copy->write_id, 2);
    assert_int_equal(copy->target_count, 2);
    assert_int_equal(copy->targets[0], 4);
    assert_int_equal(copy->targets[1], 5);
    assert_int_equal(bb_buffer_slice(copy->batch).length, 10);
    bb_relay_copy_destroy(&copy);
    assert_int_equal(s_next(relay, 260 * MS, &debts), 3);
    assert_int_equal(s_next(relay, 10 * BB_NS_PER_S, &debts), UINT32_MAX);
    assert_int_equal(bb_relay_passed_by(relay), 2);
    assert_int_equal(bb_relay_wake_mono_ns(relay), BB_NEVER_NS);
    for (uint64_t turn = 0; turn < 9; turn++) {
        assert_int_equal(bb_relay_choose(relay, 300 * MS, s_three, 3, turn), 2);
    }
    assert_int_equal(bb_relay_choose(relay, 300 * MS + BB_RELAY_AVOID_NS, s_three, 3, 0), 0);
    bb_relay_destroy(&relay);
}

// Goal: on a long way patience grows to twice the usual time, and no further than the limit.
static void patience_follows_the_way(void **state)
{
    (void)state;
    bb_relay_t *relay = bb_relay_new(8, 1000);
    s_debts_t debts = {0};
    s_send(relay, 0, 1, 3);
    debts.is_paid[1][3] = true;
    assert_int_equal(s_next(relay, 180 * MS, &debts), UINT32_MAX);
    s_send(relay, 1000 * MS, 2, 3);
    assert_int_equal(bb_relay_wake_mono_ns(relay), 1360 * MS);
    debts.is_paid[2][3] = true;
    assert_int_equal(s_next(relay, 20000 * MS, &debts), UINT32_MAX); // heard of very late
    s_send(relay, 30000 * MS, 3, 3);
    assert_int_equal(bb_relay_wake_mono_ns(relay), 31000 * MS);
    bb_relay_lost(relay, 3); // what was usual there says nothing about the next process
    assert_int_equal(s_next(relay, 30001 * MS, &debts), 3);
    s_send(relay, 40000 * MS, 4, 3);
    assert_int_equal(bb_relay_wake_mono_ns(relay), 40200 * MS);
    bb_relay_destroy(&relay);
}

// Goal: when a relay dies, all of its copies are due at once, also those that it acknowledged but
// may not have sent on; later ones are kept as usual.
static void lost_relays_are_passed_by_at_once(void **state)
{
    (void)state;
    bb_relay_t *relay = bb_relay_new(8, 1000);
    s_debts_t debts = {0};
    bb_relay_lost(relay, 3); // nothing was sent to it
    for (uint32_t id = 1; id <= 3; id++) {
        s_send(relay, 10 * MS, id, 3);
    }
    s_send(relay, 10 * MS, 4, 5);
    debts.is_paid[2][3] = true;
    bb_relay_lost(relay, 3);
    assert_true(bb_relay_wake_mono_ns(relay) <= 20 * MS);
    for (uint32_t id = 1; id <= 3; id++) {
        assert_int_equal(s_next(relay, 20 * MS, &debts), id);
    }
    assert_int_equal(s_next(relay, 20 * MS, &debts), UINT32_MAX);
    s_send(relay, 30 * MS, 5, 3);
    assert_int_equal(s_next(relay, 40 * MS, &debts), UINT32_MAX);
    assert_int_equal(s_next(relay, 210 * MS, &debts), 4);
    bb_relay_destroy(&relay);
}

// Goal: a link that is full looks like silent relays; what crosses it again stays within a tenth of
// what crossed, and a copy that the budget has no room for waits until its relay answers or is
// lost.
static void silence_has_a_budget(void **state)
{
    (void)state;
    enum { BYTES = 16000, ROUNDS = 200 };
    bb_relay_t *relay = bb_relay_new(8, UINT64_C(1) << 30);
    s_debts_t debts = {0};
    uint64_t sent_bytes = 0, again_bytes = 0;
    int64_t now_ns = 0;
    for (uint32_t round = 0; round < ROUNDS; round++, now_ns += 300 * MS) {
        s_send_bytes(relay, now_ns, 1, 3, BYTES);
        sent_bytes += BYTES;
        while (s_next(relay, now_ns, &debts) == 1) {
            again_bytes += UINT64_C(2) * BYTES; // to the two others on its list
        }
        assert_true(again_bytes <= BB_RELAY_AGAIN_BYTES + sent_bytes / BB_RELAY_AGAIN_SHARE);
    }
    assert_true(again_bytes + UINT64_C(2) * BYTES >
                BB_RELAY_AGAIN_BYTES + sent_bytes / BB_RELAY_AGAIN_SHARE);
    assert_true(bb_relay_wake_mono_ns(relay) > now_ns - 300 * MS); // it does not ask all the time
    uint64_t kept = bb_relay_kept_bytes(relay) / BYTES, lost = 0;
    assert_true(kept > 100);
    bb_relay_lost(relay, 3);
    while (s_next(relay, now_ns, &debts) == 1) {
        lost++;
    }
    assert_int_equal(lost, kept);
    bb_relay_destroy(&relay);
}

// Goal: what the others have acknowledged was sent on: only the relay is late, nothing crosses
// again.
static void what_was_sent_on_is_not_sent_again(void **state)
{
    (void)state;
    bb_relay_t *relay = bb_relay_new(8, 1000);
    s_debts_t debts = {0};
    s_send(relay, 0, 1, 3);
    s_send(relay, 0, 2, 3);
    debts.is_paid[1][4] = debts.is_paid[1][5] = true;
    debts.is_paid[2][5] = true;
    assert_int_equal(s_next(relay, 200 * MS, &debts), 2);
    assert_int_equal(s_next(relay, 200 * MS, &debts), UINT32_MAX);
    assert_int_equal(bb_relay_kept_bytes(relay), 0);
    assert_int_equal(bb_relay_passed_by(relay), 1);
    bb_relay_destroy(&relay);
}

// Goal: what is kept has limits, in bytes and in number; past them nothing is kept.
static void what_is_kept_is_bounded(void **state)
{
    (void)state;
    s_debts_t debts = {0};
    bb_relay_t *relay = bb_relay_new(8, 25);
    for (uint32_t id = 1; id <= 5; id++) {
        s_send(relay, 0, id, 3);
    }
    assert_int_equal(bb_relay_kept_bytes(relay), 20);
    assert_int_equal(s_next(relay, BB_NS_PER_S, &debts), 1);
    assert_int_equal(s_next(relay, BB_NS_PER_S, &debts), 2);
    assert_int_equal(s_next(relay, BB_NS_PER_S, &debts), UINT32_MAX);
    bb_relay_destroy(&relay);
    relay = bb_relay_new(8, UINT64_MAX / 2);
    for (uint32_t i = 0; i < BB_RELAY_COPIES_MAX + 7; i++) {
        s_send(relay, 0, 1, 3 + i % 3);
    }
    assert_int_equal(bb_relay_kept_bytes(relay), 10 * (uint64_t)BB_RELAY_COPIES_MAX);
    bb_relay_destroy(&relay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_take_turns),
        cmocka_unit_test(silent_relays_are_passed_by),
        cmocka_unit_test(patience_follows_the_way),
        cmocka_unit_test(lost_relays_are_passed_by_at_once),
        cmocka_unit_test(silence_has_a_budget),
        cmocka_unit_test(what_was_sent_on_is_not_sent_again),
        cmocka_unit_test(what_is_kept_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
