// SPDX-License-Identifier: Apache-2.0
// Tests of node/ingest/bb_credit: shares, growth, shrinking, lapse; and clients at random over
// links that take their time, whose true bytes on the way are counted.
#include "node/ingest/bb_credit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/bb_random.h"

#define S_BUDGET 1000000u
#define S_FIRST  10000u

// One batch that is answered at once.
static uint32_t s_write(bb_credit_t *credit, int64_t now_ns, uint32_t connection, uint64_t bytes)
{
    bb_credit_begin(credit, now_ns, connection, bytes);
    uint32_t told = bb_credit_end(credit, now_ns, connection, bytes);
    bb_credit_check(credit);
    return told;
}

// Goal: a connection begins with the first bytes, and one that uses what it has gets all there is
// soon; what it no longer uses goes.
static void s_test_one_grows(void **state)
{
    (void)state;
    bb_credit_t *credit = bb_credit_new(S_BUDGET, S_FIRST, 10);
    uint32_t told = bb_credit_hello(credit, 0, 7);
    assert_int_equal(told, S_FIRST);
    assert_int_equal(bb_credit_hello(credit, 0, 7), S_FIRST); // said again, told again
    uint32_t rounds = 0;
    for (; told < S_BUDGET && rounds < 100; rounds++) {
        told = s_write(credit, 0, 7, told);
    }
    assert_true(rounds <= 7); // doubles: 10,000 x 2^7 > 1,000,000
    assert_int_equal(bb_credit_given_bytes(credit), S_BUDGET);
    for (rounds = 0; told > S_FIRST / 16 && rounds < 1000; rounds++) {
        told = s_write(credit, 0, 7, 100);
    }
    assert_true(rounds < 200);
    bb_credit_destroy(&credit);
    assert_null(credit);
}

// Goal: a newcomer gets its first bytes though all is given out, another one byte; then the one
// that had all shrinks to the equal share, and the others grow to it.
static void s_test_shares_become_equal(void **state)
{
    (void)state;
    bb_credit_t *credit = bb_credit_new(S_BUDGET, S_FIRST, 10);
    uint32_t told[3] = {bb_credit_hello(credit, 0, 0)};
    for (uint32_t i = 0; i < 10; i++) {
        told[0] = s_write(credit, 0, 0, told[0]);
    }
    assert_int_equal(told[0], S_BUDGET);
    told[0] = s_write(credit, 0, 0, 1);
    told[1] = bb_credit_hello(credit, 0, 1);
    told[2] = bb_credit_hello(credit, 0, 2);
    for (uint32_t round = 0; round < 100; round++) {
        for (uint32_t i = 0; i < 3; i++) {
            told[i] = s_write(credit, 0, i, told[i]);
        }
        assert_true(bb_credit_given_bytes(credit) <= S_BUDGET + S_FIRST + 3);
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_in_range(told[i], S_BUDGET / 4, S_BUDGET / 2);
    }
    bb_credit_destroy(&credit);
}

// Goal: who uses little leaves the rest to one that can use it.
static void s_test_quiet_ones_leave_room(void **state)
{
    (void)state;
    bb_credit_t *credit = bb_credit_new(S_BUDGET, S_FIRST, 200);
    uint32_t told = 1;
    for (uint32_t i = 0; i < 150; i++) {
        bb_credit_hello(credit, 0, i);
    }
    for (uint32_t round = 0; round < 300; round++) {
        for (uint32_t i = 1; i < 150; i++) {
            s_write(credit, 0, i, 100);
        }
        told = s_write(credit, 0, 0, told);
    }
    assert_true(told > S_BUDGET / 2);
    bb_credit_destroy(&credit);
}

// Goal: what is not used lapses, but not what is in flight; a table that is full says 1.
static void s_test_lapse(void **state)
{
    (void)state;
    bb_credit_t *credit = bb_credit_new(S_BUDGET, S_FIRST, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(bb_credit_hello(credit, 5, i), S_FIRST);
    }
    assert_int_equal(bb_credit_hello(credit, 6, 3), 1);
    assert_int_equal(s_write(credit, 6, 3, 5000), 1);
    bb_credit_begin(credit, 7, 1, 3000);
    assert_int_equal(bb_credit_connection_count(credit), 3);
    bb_credit_hello(credit, BB_CREDIT_NS + 6, 1);
    bb_credit_check(credit);
    assert_int_equal(bb_credit_connection_count(credit), 1);
    assert_int_equal(bb_credit_given_bytes(credit), S_FIRST);
    assert_int_equal(bb_credit_hello(credit, 3 * BB_CREDIT_NS, 4), S_FIRST);
    bb_credit_check(credit);
    assert_int_equal(bb_credit_given_bytes(credit), S_FIRST + 3000);
    assert_true(bb_credit_end(credit, 3 * BB_CREDIT_NS, 1, 3000) == 6000);
    assert_int_equal(bb_credit_hello(credit, 5 * BB_CREDIT_NS, 4), S_FIRST);
    assert_int_equal(bb_credit_given_bytes(credit), S_FIRST);
    bb_credit_destroy(&credit);
}

// Goal: who says HELLO and writes nothing holds its first bytes for a second only, so that many who
// only ask do not take from those who write.
static void s_test_who_only_asks(void **state)
{
    (void)state;
    bb_credit_t *credit = bb_credit_new(S_BUDGET, S_FIRST, 1000);
    for (uint32_t i = 0; i < 200; i++) {
        bb_credit_hello(credit, 0, i);
    }
    assert_true(bb_credit_given_bytes(credit) >= S_BUDGET);
    assert_int_equal(s_write(credit, 1, 1, 100), S_FIRST / 16); // out of what it had
    assert_int_equal(bb_credit_hello(credit, BB_CREDIT_NS_FIRST - 1, 300), 1);
    assert_int_equal(bb_credit_hello(credit, BB_CREDIT_NS_FIRST, 301), S_FIRST);
    bb_credit_check(credit);
    assert_int_equal(bb_credit_connection_count(credit), 3);
    bb_credit_hello(credit, BB_CREDIT_NS + 1, 301);
    assert_int_equal(bb_credit_connection_count(credit), 1);
    bb_credit_destroy(&credit);
}

// ---- at random ---------------------------------------------------------------------------------
#define S_CLIENTS  12u
#define S_LINE_MAX 64u

// A client that holds to the rule of client/bb_allowance.h, and the two directions of its
// connection, in order, with delays.
typedef struct {
    uint64_t credit, sent_bytes;
    uint32_t sent_count;
    int64_t until_ns;
    uint32_t begun, arrived, answered, heard; // numbers of batches; heard <= answered <= ...
    uint32_t bytes[S_LINE_MAX];
    int64_t sent_ns[S_LINE_MAX];
    uint32_t told[S_LINE_MAX];
    bool has_exceeded; // sent more than its credit: one batch alone
} s_client_t;

static void s_send(s_client_t *client, bb_random_t *random, int64_t now_ns, uint32_t bytes_max)
{
    uint32_t bytes = (uint32_t)bb_random_between(random, 1, bytes_max);
    bool fits = now_ns < client->until_ns && client->sent_bytes + bytes <= client->credit;
    if (client->begun - client->heard == S_LINE_MAX || (client->sent_count > 0 && !fits)) {
        return;
    }
    client->has_exceeded |= !fits;
    client->bytes[client->begun % S_LINE_MAX] = bytes;
    client->sent_ns[client->begun % S_LINE_MAX] = now_ns;
    client->begun++;
    client->sent_bytes += bytes;
    client->sent_count++;
}

static void s_hear(s_client_t *client)
{
    uint32_t i = client->heard++ % S_LINE_MAX;
    client->credit = client->told[i];
    client->until_ns = BB_MAX(client->until_ns, client->sent_ns[i] + BB_CREDIT_NS);
    client->sent_bytes -= client->bytes[i];
    client->sent_count--;
    if (client->sent_count == 0) {
        client->has_exceeded = false;
    }
}

// Goal: what clients that hold to their credits have on their way is never more than the budget and
// the first bytes of one connection, whatever batches, delays, pauses and orders there are. Method:
// steps at random; the sum is over what clients have sent and not heard of, taken from the clients.
// One batch alone that is larger than the credit is not counted: it is by admission's leave.
static void s_test_random_clients(void **state)
{
    (void)state;
    uint64_t most = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        bb_random_t random = {seed};
        bb_credit_t *credit = bb_credit_new(S_BUDGET, S_FIRST, S_CLIENTS);
        s_client_t *clients = bb_alloc_zero(S_CLIENTS, sizeof *clients);
        uint32_t bytes_max = (uint32_t)bb_random_between(&random, 1, 300000);
        int64_t now_ns = 0;
        for (uint32_t c = 0; c < S_CLIENTS; c++) {
            clients[c].credit = bb_credit_hello(credit, now_ns, c);
            clients[c].until_ns = now_ns + BB_CREDIT_NS_FIRST;
        }
        for (uint32_t step = 0; step < 3000; step++) {
            uint32_t c = (uint32_t)bb_random_below(&random, S_CLIENTS);
            s_client_t *client = &clients[c];
            uint32_t i = client->arrived % S_LINE_MAX, j = client->answered % S_LINE_MAX;
            switch (bb_random_below(&random, 4)) {
            case 0:
                s_send(client, &random, now_ns, bytes_max);
                break;
            case 1:
                if (client->arrived < client->begun) {
                    bb_credit_begin(credit, now_ns, c, client->bytes[i]);
                    client->arrived++;
                }
                break;
            case 2:
                if (client->answered < client->arrived) {
                    client->told[j] = bb_credit_end(credit, now_ns, c, client->bytes[j]);
                    client->answered++;
                }
                break;
            default:
                if (client->heard < client->answered) {
                    s_hear(client);
                }
            }
            now_ns += bb_random_chance(&random, 1, 500) ? BB_CREDIT_NS / 2 : 1000;
            bb_credit_check(credit);
            uint64_t on_way = 0;
            for (uint32_t k = 0; k < S_CLIENTS; k++) {
                on_way += clients[k].has_exceeded ? 0 : clients[k].sent_bytes;
            }
            assert_true(on_way <= S_BUDGET + S_FIRST);
            most = BB_MAX(most, on_way);
        }
        free(clients);
        bb_credit_destroy(&credit);
    }
    assert_true(most > S_BUDGET / 2); // the test reaches the bound
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_one_grows),
        cmocka_unit_test(s_test_shares_become_equal),
        cmocka_unit_test(s_test_quiet_ones_leave_room),
        cmocka_unit_test(s_test_lapse),
        cmocka_unit_test(s_test_who_only_asks),
        cmocka_unit_test(s_test_random_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
