// SPDX-License-Identifier: Apache-2.0
// Small reads against fake nodes of which one is silent: the second node's answer is taken, once,
// and all else ends as it would without hedges.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/busbar.h"
#include "fake_node.h"

#define S      BUSBAR_SECOND
#define ROWS   30
#define ROUNDS 20

static const char *const s_battery = "b07";

static busbar_client_t *s_open(const fake_cluster_t *cluster, bool no_hedges)
{
    busbar_client_t *client = NULL;
    busbar_fault_t fault = {0};
    busbar_options_t options = {.no_hedges = no_hedges};
    if (busbar_open(cluster->client_file, &options, &client, &fault) != BUSBAR_OK) {
        fail_msg("%s", fault.text);
    }
    return client;
}

static fake_cluster_t *s_cluster(void)
{
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    for (uint32_t n = 0; n < 3; n++) {
        for (int64_t t = 0; t < ROWS; t++) {
            fake_keep(&cluster->nodes[n], fake_text(s_battery), fake_text("v"), t,
                      (uint64_t)(7 * t));
        }
    }
    return cluster;
}

// Reads the battery; every row is there once, in order, or the answer says that it is not complete.
static bool s_read(busbar_client_t *client, int64_t timeout_ns)
{
    busbar_query_t query = {.mode = BUSBAR_RAW,
                            .level = BUSBAR_ONE,
                            .to_ns = 1000,
                            .batteries = &s_battery,
                            .battery_count = 1,
                            .timeout_ns = timeout_ns};
    busbar_rows_t *rows = NULL;
    busbar_fault_t fault = {0};
    if (busbar_query(client, &query, &rows, &fault) != BUSBAR_OK) {
        fail_msg("%s", fault.text);
    }
    int64_t count = 0;
    busbar_row_t row;
    while (busbar_rows_next(rows, &row)) {
        assert_int_equal(row.time_ns, count);
        assert_int_equal(row.value.integer, 7 * count);
        count++;
    }
    bool complete;
    const uint32_t *missing;
    size_t missing_count;
    (void)busbar_rows_status(rows, &complete, &missing, &missing_count, &fault);
    assert_int_equal(count, complete ? ROWS : 0);
    busbar_rows_close(&rows);
    return complete;
}

// Whom the battery is read from: asked often enough that the client knows how long that takes, and
// may ask twice.
static uint32_t s_warm(fake_cluster_t *cluster, busbar_client_t *client)
{
    int before[3];
    for (uint32_t n = 0; n < 3; n++) {
        before[n] = atomic_load(&cluster->nodes[n].queries);
    }
    for (int i = 0; i < 40; i++) {
        assert_true(s_read(client, 30 * S));
    }
    uint32_t most = 0;
    for (uint32_t n = 1; n < 3; n++) {
        bool is_more = atomic_load(&cluster->nodes[n].queries) - before[n] >
                       atomic_load(&cluster->nodes[most].queries) - before[most];
        most = is_more ? n : most;
    }
    return most;
}

static busbar_client_stats_t s_stats(busbar_client_t *client)
{
    busbar_client_stats_t stats;
    busbar_client_stats(client, &stats);
    assert_true(stats.hedges * 20 <= stats.small_reads);
    assert_true(stats.hedges_won <= stats.hedges);
    return stats;
}

// Goal: when the first node says nothing another one is asked, and its answer is the answer.
// Method: rounds, because on a busy machine a hedge may have been spent on a healthy node.
static void a_silent_node_is_not_waited_for(void **state)
{
    (void)state;
    fake_cluster_t *cluster = s_cluster();
    busbar_client_t *client = s_open(cluster, false);
    for (int round = 0; round < ROUNDS && s_stats(client).hedges_won == 0; round++) {
        fake_mood(cluster, s_warm(cluster, client), FAKE_SILENT, 1);
        assert_true(s_read(client, 30 * S));
    }
    assert_true(s_stats(client).hedges_won > 0);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: a second node that refuses, or has not all of it, changes nothing: the third one is asked,
// when the first one's time is over. And when nobody answers the read ends in its time.
static void a_bad_second_answer_is_no_answer(void **state)
{
    (void)state;
    const fake_mood_t moods[] = {FAKE_BUSY, FAKE_WRONG_KIND};
    fake_cluster_t *cluster = s_cluster();
    busbar_client_t *client = s_open(cluster, false);
    for (size_t i = 0; i < BB_COUNT_OF(moods); i++) {
        bool is_complete = false; // with ten times the time if a busy machine took the first
        for (int64_t timeout_ns = 9 * S / 10; timeout_ns < 100 * S && !is_complete;
             timeout_ns *= 10) {
            uint32_t first = s_warm(cluster, client);
            for (uint32_t n = 0; n < 3; n++) {
                fake_mood(cluster, n, n == first ? FAKE_SILENT : moods[i], 1);
            }
            is_complete = s_read(client, timeout_ns);
            for (uint32_t n = 0; n < 3; n++) {
                fake_mood(cluster, n, FAKE_NORMAL, -1);
            }
        }
        assert_true(is_complete);
    }
    bb_ignore(s_warm(cluster, client), "only that hedges are to be had");
    for (uint32_t n = 0; n < 3; n++) {
        fake_mood(cluster, n, FAKE_SILENT, -1);
    }
    assert_false(s_read(client, S / 4));
    (void)s_stats(client);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: a client that was told so hedges nothing, and counts nothing.
static void hedges_can_be_switched_off(void **state)
{
    (void)state;
    fake_cluster_t *cluster = s_cluster();
    busbar_client_t *client = s_open(cluster, true);
    fake_mood(cluster, s_warm(cluster, client), FAKE_SILENT, 1);
    assert_true(s_read(client, 3 * S));
    assert_int_equal(s_stats(client).small_reads, 0);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_node_is_not_waited_for),
        cmocka_unit_test(a_bad_second_answer_is_no_answer),
        cmocka_unit_test(hedges_can_be_switched_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
