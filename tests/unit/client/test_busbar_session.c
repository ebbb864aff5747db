// SPDX-License-Identifier: Apache-2.0
// Sessions of the library against fake nodes: what writers and rows note, what queries ask for, how
// tokens travel between processes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/busbar.h"
#include "fake_node.h"

#define S BUSBAR_SECOND

static busbar_client_t *s_open(const fake_cluster_t *cluster)
{
    busbar_client_t *client = NULL;
    busbar_fault_t fault = {0};
    if (busbar_open(cluster->client_file, NULL, &client, &fault) != BUSBAR_OK) {
        fail_msg("%s", fault.text);
    }
    return client;
}

static fake_cluster_t *s_cluster(int session_seq)
{
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        atomic_store(&cluster->nodes[n].session_seq, session_seq);
        atomic_store(&cluster->nodes[n].asked_ranges, -1);
    }
    return cluster;
}

// One frame of `battery`, waited for.
static busbar_totals_t s_write(busbar_client_t *client, busbar_session_t *session,
                               const char *battery_id)
{
    busbar_writer_options_t options = {.session = session, .level = BUSBAR_ONE};
    busbar_writer_t *writer = busbar_writer_open(client, &options);
    const busbar_metric_t metric = {"v", BUSBAR_INT64};
    uint32_t battery, shape;
    busbar_fault_t fault;
    assert_int_equal(busbar_writer_battery(writer, battery_id, NULL, 0, &battery, &fault), 0);
    assert_int_equal(busbar_writer_shape(writer, &metric, 1, &shape, &fault), 0);
    const busbar_value_t value = {.integer = 7};
    assert_int_equal(busbar_writer_append(writer, battery, shape, 1, &value, &fault), 0);
    busbar_totals_t totals;
    bb_ignore((bb_error_t)busbar_writer_close(&writer, 5 * S, &totals), "the totals say it");
    return totals;
}

// Rows of the whole fleet, or of one battery; the status in *status.
static uint32_t s_read(busbar_client_t *client, busbar_session_t *session, const char *battery_id,
                       busbar_status_t *status)
{
    busbar_query_t query = {.mode = BUSBAR_RAW,
                            .level = BUSBAR_ONE,
                            .to_ns = 1000,
                            .timeout_ns = 3 * S,
                            .batteries = &battery_id,
                            .battery_count = 1,
                            .session = session};
    busbar_rows_t *rows = NULL;
    *status = busbar_query(client, &query, &rows, NULL);
    if (*status != BUSBAR_OK) {
        return 0;
    }
    uint32_t count = 0;
    busbar_row_t row;
    while (busbar_rows_next(rows, &row)) {
        count++;
    }
    *status = busbar_rows_status(rows, NULL, NULL, NULL, NULL);
    busbar_rows_close(&rows);
    return count;
}

// How many ranges the session's token has, over all streams.
static uint32_t s_ranges(busbar_session_t *session)
{
    uint8_t bytes[BUSBAR_SESSION_BYTES_MAX];
    size_t length = 0;
    assert_int_equal(busbar_session_export(session, bytes, sizeof bytes, &length), BUSBAR_OK);
    bb_session_token_t token;
    memset(&token, 0, sizeof token);
    assert_int_equal(bb_session_token_decode(&token, bb_slice(bytes, length)), BB_OK);
    uint32_t count = 0;
    for (uint32_t i = 0; i < token.stream_count; i++) {
        count += token.streams[i].range_count;
    }
    bb_session_token_clear(&token);
    return count;
}

static int s_asked(fake_cluster_t *cluster)
{
    int most = -1;
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        most = BB_MAX(most, atomic_load(&cluster->nodes[n].asked_ranges));
        atomic_store(&cluster->nodes[n].asked_ranges, -1);
    }
    return most;
}

// Goal: what a writer got acknowledged is asked for by queries of the same session, of the
// partitions asked alone; what an answer held is added. Without a session nobody asks for one.
static void writes_and_reads_are_noted(void **state)
{
    (void)state;
    fake_cluster_t *cluster = s_cluster(5);
    busbar_client_t *client = s_open(cluster);
    busbar_session_t *session = busbar_session_new();
    busbar_status_t status;
    s_write(client, NULL, "b01");
    s_read(client, NULL, "b01", &status);
    assert_int_equal(s_asked(cluster), -1);
    assert_int_equal(s_ranges(session), 0);

    assert_int_equal(s_write(client, session, "b01").acked_points, 1);
    assert_int_equal(s_ranges(session), 1);
    // A battery of another partition asks for nothing of it.
    char other[8];
    uint32_t number = 2;
    do {
        snprintf(other, sizeof other, "b%02u", number++);
    } while (fake_partition(cluster, other, 3) == fake_partition(cluster, "b01", 3));
    s_read(client, session, other, &status);
    assert_int_equal(status, BUSBAR_OK);
    assert_int_equal(s_asked(cluster), 0);
    assert_int_equal(s_ranges(session), 2);

    for (uint32_t n = 0; n < cluster->node_count; n++) {
        atomic_store(&cluster->nodes[n].session_seq, 9);
    }
    s_read(client, session, "b01", &status);
    assert_int_equal(s_asked(cluster), 1);
    assert_in_range(s_ranges(session), 3, 4); // seq 9 of the node that answered
    assert_true(busbar_session_is_whole(session));
    busbar_close(&client);
    busbar_session_free(&session);
    assert_null(session);
    fake_cluster_free(cluster);
}

// Goal: a node that knows no sessions leaves nothing out silently: the session says that it is not
// whole any more, and what it sends asks for a quorum.
static void an_older_node_is_noticed(void **state)
{
    (void)state;
    fake_cluster_t *cluster = s_cluster(0);
    busbar_client_t *client = s_open(cluster);
    busbar_session_t *session = busbar_session_new();
    assert_true(busbar_session_is_whole(session));
    assert_int_equal(s_write(client, session, "b01").acked_points, 1);
    assert_false(busbar_session_is_whole(session));
    busbar_session_free(&session);

    session = busbar_session_new();
    busbar_status_t status;
    s_read(client, session, "b01", &status);
    assert_int_equal(status, BUSBAR_OK);
    assert_false(busbar_session_is_whole(session));
    busbar_close(&client);
    busbar_session_free(&session);
    fake_cluster_free(cluster);
}

// Goal: tokens add up over processes; what is no token, or is too large for the buffer, is refused.
static void tokens_travel(void **state)
{
    (void)state;
    busbar_session_t *one = busbar_session_new(), *two = busbar_session_new();
    uint8_t bytes[BUSBAR_SESSION_BYTES_MAX];
    size_t length = 0;
    busbar_fault_t fault = {0};
    fake_cluster_t *cluster = s_cluster(5);
    busbar_client_t *client = s_open(cluster);
    s_write(client, one, "b01");
    assert_int_equal(busbar_session_export(one, bytes, 10, &length), BB_ERR_LIMIT);
    assert_int_equal(busbar_session_export(one, bytes, sizeof bytes, &length), BUSBAR_OK);
    assert_int_equal(busbar_session_import(two, bytes, length, &fault), BUSBAR_OK);
    assert_int_equal(busbar_session_import(two, bytes, length, &fault), BUSBAR_OK);
    assert_int_equal(s_ranges(two), 1);
    bytes[length - 1] ^= 1;
    assert_int_equal(busbar_session_import(two, bytes, length, &fault), BB_ERR_MESSAGE_CORRUPT);
    assert_non_null(strstr(fault.text, "no session token"));
    assert_int_equal(s_ranges(two), 1);
    assert_int_equal(busbar_session_import(two, "hello, this is no token at all", 30, &fault),
                     BB_ERR_MESSAGE_VERSION);
    assert_int_equal(busbar_session_import(NULL, bytes, length, &fault), BB_ERR_USAGE);
    busbar_close(&client);
    busbar_session_free(&one);
    busbar_session_free(&two);
    fake_cluster_free(cluster);
}

// Goal: a session of another cluster is refused by name, before anything is sent.
static void sessions_belong_to_a_cluster(void **state)
{
    (void)state;
    bb_session_token_t token = {.cluster_id = {0xee}};
    uint8_t *bytes;
    size_t length;
    bb_session_token_encode(&token, &bytes, &length);
    busbar_session_t *session = busbar_session_new();
    assert_int_equal(busbar_session_import(session, bytes, length, NULL), BUSBAR_OK);
    fake_cluster_t *cluster = s_cluster(5);
    busbar_client_t *client = s_open(cluster);
    busbar_status_t status;
    s_read(client, session, "b01", &status);
    assert_int_equal(status, BB_ERR_CLUSTER);
    busbar_totals_t totals = s_write(client, session, "b01");
    assert_int_equal(totals.last_status, BB_ERR_CLUSTER);
    assert_int_equal(totals.failed_points, 1);
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        assert_int_equal(cluster->nodes[n].writes + cluster->nodes[n].queries, 0);
    }
    busbar_close(&client);
    free(bytes);
    busbar_session_free(&session);
    fake_cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_and_reads_are_noted),
        cmocka_unit_test(an_older_node_is_noticed),
        cmocka_unit_test(tokens_travel),
        cmocka_unit_test(sessions_belong_to_a_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
