// SPDX-License-Identifier: Apache-2.0
// Queries, status and the opening of clients against fake nodes: order, completeness, retries.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/busbar.h"
#include "fake_node.h"

#define S         BUSBAR_SECOND
#define MS        (BUSBAR_SECOND / 1000)
#define BATTERIES 25
#define ROWS      40

static busbar_client_t *s_open(const fake_cluster_t *cluster, const char *node_id)
{
    busbar_client_t *client = NULL;
    busbar_fault_t fault = {0};
    busbar_options_t options = {.node_id = node_id};
    if (busbar_open(cluster->client_file, &options, &client, &fault) != BUSBAR_OK) {
        fail_msg("%s", fault.text);
    }
    return client;
}

static void s_id(uint32_t battery, char *id)
{
    sprintf(id, "b%02u", battery);
}

// Every battery has ROWS points of metric v at times 0.. with value battery * 1000 + time.
static void s_store(fake_cluster_t *cluster)
{
    for (uint32_t b = 0; b < BATTERIES; b++) {
        char id[16];
        s_id(b, id);
        uint32_t partition = fake_partition(cluster, id, strlen(id));
        for (uint32_t n = 0; n < cluster->node_count; n++) {
            for (int64_t t = 0; fake_holds(&cluster->nodes[n], partition) && t < ROWS; t++) {
                fake_keep(&cluster->nodes[n], fake_text(id), fake_text("v"), t,
                          (uint64_t)(b * 1000 + t));
            }
        }
    }
}

typedef struct {
    uint64_t rows;
    busbar_status_t status;
    bool complete;
    uint32_t missing[FAKE_PARTITIONS];
    size_t missing_count;
    busbar_fault_t fault;
} s_answer_t;

// Reads a RAW answer and checks every row against the definition of what was stored: batteries in
// order, all rows of each, except batteries of missing partitions.
static s_answer_t s_read(fake_cluster_t *cluster, busbar_client_t *client,
                         const busbar_query_t *query)
{
    s_answer_t answer = {0};
    busbar_rows_t *rows = NULL;
    answer.status = busbar_query(client, query, &rows, &answer.fault);
    if (answer.status != BUSBAR_OK) {
        assert_null(rows);
        return answer;
    }
    bool seen[BATTERIES] = {0};
    busbar_row_t row;
    uint32_t battery = 0, time = 0;
    while (busbar_rows_next(rows, &row)) {
        uint32_t at = (uint32_t)atoi(row.battery + 1);
        assert_string_equal(row.metric, "v");
        assert_int_equal(row.type, BUSBAR_INT64);
        if (time == 0) {
            assert_true(answer.rows == 0 || at > battery);
            battery = at;
        }
        assert_int_equal(at, battery);
        assert_int_equal(row.time_ns, time);
        assert_int_equal(row.value.integer, battery * 1000 + time);
        seen[battery] = true;
        time = (time + 1) % ROWS;
        answer.rows++;
    }
    const uint32_t *missing;
    answer.status =
        busbar_rows_status(rows, &answer.complete, &missing, &answer.missing_count, &answer.fault);
    bool is_missing[FAKE_PARTITIONS] = {0};
    for (size_t i = 0; i < answer.missing_count; i++) {
        is_missing[missing[i]] = true;
        answer.missing[i] = missing[i];
    }
    if (query->limit == 0 && query->battery_count == 0 && answer.status == BUSBAR_OK) {
        assert_int_equal(time, 0);
        for (uint32_t b = 0; b < BATTERIES; b++) {
            char id[16];
            s_id(b, id);
            assert_int_equal(seen[b], !is_missing[fake_partition(cluster, id, strlen(id))]);
        }
    }
    busbar_rows_close(&rows);
    assert_null(rows);
    return answer;
}

static const busbar_query_t s_raw = {
    .mode = BUSBAR_RAW, .level = BUSBAR_ONE, .from_ns = 0, .to_ns = 1000, .timeout_ns = 3 * S};

// Goal: all rows, once, in order, over pages of every size and with limits.
static void raw_rows_come_once_and_in_order(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    s_store(cluster);
    busbar_client_t *client = s_open(cluster, NULL);
    const uint32_t page_rows[] = {1000000, 7, 40, 41};
    for (size_t i = 0; i < 4; i++) {
        cluster->page_rows = page_rows[i];
        s_answer_t answer = s_read(cluster, client, &s_raw);
        assert_int_equal(answer.status, BUSBAR_OK);
        assert_true(answer.complete);
        assert_int_equal(answer.rows, BATTERIES * ROWS);
    }
    const uint64_t limits[] = {1, ROWS, ROWS + 1, 999, BATTERIES * ROWS, 100000};
    for (size_t i = 0; i < 6; i++) {
        busbar_query_t query = s_raw;
        query.limit = limits[i];
        s_answer_t answer = s_read(cluster, client, &query);
        assert_true(answer.complete);
        assert_int_equal(answer.rows, BB_MIN(limits[i], BATTERIES * ROWS));
    }
    const char *const names[] = {"b07", "b03", "b07"};
    busbar_query_t query = s_raw;
    query.batteries = names;
    query.battery_count = 3;
    assert_int_equal(s_read(cluster, client, &query).rows, 2 * ROWS);
    query.battery_count = 1;
    assert_int_equal(s_read(cluster, client, &query).rows, ROWS);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// How much time a query gets. A silent node takes a share of it, so the first is short; when the
// machine stands still for most of that, the next one shows that nothing else was the reason.
static const int64_t s_patience_ns[] = {450 * MS, 9 * S, 60 * S};

// Reads while one node is in a bad mood; false: the time was over before the answer was complete.
static bool s_reads_in_bad_mood(fake_mood_t mood, int64_t timeout_ns)
{
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    s_store(cluster);
    cluster->page_rows = 30;
    busbar_client_t *client = s_open(cluster, NULL);
    fake_mood(cluster, 1, mood, 3);
    busbar_query_t query = s_raw;
    query.timeout_ns = timeout_ns;
    s_answer_t answer = s_read(cluster, client, &query);
    assert_true(answer.rows < BATTERIES * ROWS || answer.complete);
    bool is_whole = answer.status == BUSBAR_OK && answer.complete;
    if (is_whole) {
        assert_int_equal(answer.rows, BATTERIES * ROWS);
    }
    busbar_close(&client);
    fake_cluster_free(cluster);
    return is_whole;
}

// Goal: bad moods of one node cost retries and nothing else: no row lost, doubled or out of order.
static void bad_moods_of_one_node_change_nothing(void **state)
{
    (void)state;
    const fake_mood_t moods[] = {FAKE_BUSY,     FAKE_GARBAGE,     FAKE_WRONG_KIND, FAKE_NOT_REPLICA,
                                 FAKE_STOPPING, FAKE_UNAVAILABLE, FAKE_SILENT,     FAKE_DISCONNECT};
    for (size_t i = 0; i < sizeof moods / sizeof moods[0]; i++) {
        bool is_whole = false;
        for (size_t try = 0; try < BB_COUNT_OF(s_patience_ns) && !is_whole; try++) {
            is_whole = s_reads_in_bad_mood(moods[i], s_patience_ns[try]);
        }
        assert_true(is_whole);
    }
}

// Goal: a node that refuses a cursor as another's is asked from the beginning, and no row comes
// twice; one that refuses them all does not keep the query for ever.
static void a_refused_cursor_begins_anew(void **state)
{
    (void)state;
    const int counts[] = {3, -1};
    for (size_t i = 0; i < 2; i++) {
        fake_cluster_t *cluster = fake_cluster_new(3, NULL);
        s_store(cluster);
        cluster->page_rows = 30;
        busbar_client_t *client = s_open(cluster, NULL);
        for (uint32_t n = 0; n < 2; n++) {
            fake_mood(cluster, n, FAKE_CURSOR, counts[i]);
        }
        s_answer_t answer = s_read(cluster, client, &s_raw);
        assert_int_equal(answer.status, BUSBAR_OK);
        assert_true(answer.complete);
        assert_int_equal(answer.rows, BATTERIES * ROWS);
        busbar_close(&client);
        fake_cluster_free(cluster);
    }
}

// Goal: a partition that one replica cannot serve is read at another; one that nobody can serve is
// named as missing and none of its rows is shown.
static void missing_partitions_are_asked_elsewhere_or_named(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    s_store(cluster);
    cluster->page_rows = 30;
    busbar_client_t *client = s_open(cluster, NULL);
    atomic_store(&cluster->nodes[0].missing_partition, 2);
    atomic_store(&cluster->nodes[1].missing_partition, 2);
    s_answer_t answer = s_read(cluster, client, &s_raw);
    assert_true(answer.complete);
    assert_int_equal(answer.rows, BATTERIES * ROWS);
    atomic_store(&cluster->nodes[2].missing_partition, 2);
    busbar_query_t query = s_raw;
    query.timeout_ns =
        300 * MS; // how long nobody can serve it; on a busy machine not even the rest
    do {
        answer = s_read(cluster, client, &query);
        assert_false(answer.complete);
        query.timeout_ns *= 10;
    } while (answer.missing_count != 1 && query.timeout_ns <= 30 * S);
    assert_int_equal(answer.status, BUSBAR_OK);
    assert_int_equal(answer.missing_count, 1);
    assert_int_equal(answer.missing[0], 2);
    assert_true(answer.rows > 0 && answer.rows < BATTERIES * ROWS);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: an aggregate over all batteries counts each point once even when a partition moves to
// another node in the middle.
static void merged_aggregates_count_once(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    s_store(cluster);
    busbar_client_t *client = s_open(cluster, NULL);
    for (int round = 0; round < 3; round++) {
        atomic_store(&cluster->nodes[0].missing_partition, round == 1 ? 2 : -1);
        fake_mood(cluster, 1, FAKE_STOPPING, round == 2 ? 1 : 0);
        busbar_query_t query = {.mode = BUSBAR_AGGREGATE,
                                .to_ns = 1000,
                                .aggregates = BUSBAR_SUM | BUSBAR_MEAN,
                                .group_by_none = true,
                                .timeout_ns = 3 * S};
        busbar_rows_t *rows;
        busbar_fault_t fault;
        assert_int_equal(busbar_query(client, &query, &rows, &fault), BUSBAR_OK);
        busbar_row_t row;
        assert_true(busbar_rows_next(rows, &row));
        assert_int_equal(row.count, BATTERIES * ROWS);
        // sum of b * 1000 over rows, and of t over batteries
        double sum = 1000.0 * ROWS * (BATTERIES * (BATTERIES - 1) / 2) +
                     1.0 * BATTERIES * (ROWS * (ROWS - 1) / 2);
        assert_true(row.sum == sum);
        assert_true(row.mean == sum / (BATTERIES * ROWS));
        assert_false(busbar_rows_next(rows, &row));
        bool complete;
        assert_int_equal(busbar_rows_status(rows, &complete, NULL, NULL, &fault), BUSBAR_OK);
        assert_true(complete);
        busbar_rows_close(&rows);
    }
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: one node alone answers for what it holds; the rest is missing at once.
static void one_node_alone_answers_partially(void **state)
{
    (void)state;
    static const uint16_t some[FAKE_PARTITIONS * FAKE_REPLICAS] = {
        0, 1, BB_REPLICA_NONE, 0, 1, BB_REPLICA_NONE, 1, 2, BB_REPLICA_NONE, 1, 2, BB_REPLICA_NONE,
        0, 2, BB_REPLICA_NONE, 0, 2, BB_REPLICA_NONE, 0, 1, BB_REPLICA_NONE, 1, 2, BB_REPLICA_NONE};
    fake_cluster_t *cluster = fake_cluster_new(3, some);
    s_store(cluster);
    cluster->page_rows = 30;
    busbar_client_t *all = s_open(cluster, NULL);
    s_answer_t answer = s_read(cluster, all, &s_raw);
    assert_true(answer.complete);
    busbar_close(&all);
    busbar_client_t *client = s_open(cluster, "n1");
    answer = s_read(cluster, client, &s_raw);
    assert_int_equal(answer.status, BUSBAR_OK);
    assert_false(answer.complete);
    assert_int_equal(answer.missing_count, 3);
    assert_int_equal(answer.missing[0], 2);
    assert_int_equal(answer.missing[1], 3);
    assert_int_equal(answer.missing[2], 7);
    busbar_close(&client);
    busbar_fault_t fault;
    busbar_options_t options = {.node_id = "n9"};
    assert_string_equal(
        busbar_status_name(busbar_open(cluster->client_file, &options, &client, &fault)),
        "PEER_UNKNOWN");
    assert_non_null(strstr(fault.text, "n9"));
    fake_cluster_free(cluster);
}

// Goal: refusals, silence and emptiness end with the right status, in time.
static void failures_have_their_status(void **state)
{
    (void)state;
    const struct {
        fake_mood_t mood;
        const char *status;
    } cases[] = {
        {FAKE_ROLE, "ROLE"}, {FAKE_UNAVAILABLE, "UNAVAILABLE"}, {FAKE_SILENT, "UNAVAILABLE"}};
    for (size_t i = 0; i < 3; i++) {
        fake_cluster_t *cluster = fake_cluster_new(3, NULL);
        s_store(cluster);
        for (uint32_t n = 0; n < 3; n++) {
            fake_mood(cluster, n, cases[i].mood, -1);
        }
        busbar_client_t *client = s_open(cluster, NULL);
        busbar_query_t query = s_raw;
        query.timeout_ns = 300 * MS;
        s_answer_t answer = s_read(cluster, client, &query);
        assert_string_equal(busbar_status_name(answer.status), cases[i].status);
        assert_false(answer.complete);
        assert_int_equal(answer.rows, 0);
        assert_true(strlen(answer.fault.text) > 10);
        busbar_close(&client);
        fake_cluster_free(cluster);
    }
}

// Goal: an answer that is not read to its end can be closed while pages are under way.
static void rows_can_be_closed_early(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    s_store(cluster);
    cluster->page_rows = 3;
    busbar_client_t *client = s_open(cluster, NULL);
    for (int i = 0; i < 20; i++) {
        busbar_rows_t *rows;
        busbar_fault_t fault;
        const char *const name = "b04";
        busbar_query_t query = s_raw;
        query.batteries = &name;
        query.battery_count = 1;
        assert_int_equal(busbar_query(client, &query, &rows, &fault), BUSBAR_OK);
        busbar_row_t row;
        for (int r = 0; r < i; r++) {
            assert_true(busbar_rows_next(rows, &row));
        }
        busbar_rows_close(&rows);
    }
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: queries that are wrong are refused with a sentence before anything is sent.
static void wrong_queries_are_refused(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(1, NULL);
    busbar_client_t *client = s_open(cluster, NULL);
    const char *const bad_id = "", *const bad_metric = "\n";
    busbar_query_t queries[9];
    for (size_t i = 0; i < 9; i++) {
        queries[i] = s_raw;
    }
    queries[0].mode = (busbar_mode_t)9;
    queries[1].level = (busbar_level_t)6;
    queries[2].from_ns = 2000;
    queries[3].from_ns = -1;
    queries[4].mode = BUSBAR_AGGREGATE; // no aggregate
    queries[5].group_by_none = true;
    queries[6].batteries = &bad_id, queries[6].battery_count = 1;
    queries[7].metrics = &bad_metric, queries[7].metric_count = 1;
    queries[8].mode = BUSBAR_AGGREGATE, queries[8].aggregates = 128;
    for (size_t i = 0; i < 9; i++) {
        busbar_rows_t *rows = NULL;
        busbar_fault_t fault = {0};
        assert_string_equal(busbar_status_name(busbar_query(client, &queries[i], &rows, &fault)),
                            "QUERY");
        assert_null(rows);
        assert_true(strlen(fault.text) > 10);
    }
    assert_int_equal(atomic_load(&cluster->nodes[0].queries), 0);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: a cluster's status joins what its nodes say; a node that does not answer is down and others
// speak for it. Method: fake node i says lag 10 * i + n of node n, and i under-replicated.
static void status_joins_what_nodes_say(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    busbar_client_t *client = s_open(cluster, NULL);
    busbar_cluster_t *status = NULL;
    busbar_fault_t fault;
    assert_int_equal(busbar_cluster_status(client, 3 * S, &status, &fault), BUSBAR_OK);
    assert_string_equal(status->cluster, "fake");
    assert_int_equal(status->node_count, 3);
    assert_int_equal(status->under_replicated, 2);
    assert_int_equal(status->unequal, 3);
    for (uint32_t n = 0; n < 3; n++) {
        assert_true(status->nodes[n].up);
        assert_string_equal(status->nodes[n].id, cluster->nodes[n].id);
        assert_int_equal(status->nodes[n].lag_chunks, 10 * n + n);
        assert_int_equal(status->nodes[n].streams, 10 + n);
        assert_int_equal(status->nodes[n].streams_dead, n);
    }
    busbar_cluster_free(&status);
    fake_node_stop(&cluster->nodes[1]);
    assert_int_equal(busbar_cluster_status(client, 2 * S, &status, &fault), BUSBAR_OK);
    assert_true(status->nodes[0].up && status->nodes[2].up);
    assert_false(status->nodes[1].up);
    assert_int_equal(status->nodes[1].lag_chunks, 21); // the most that another says
    busbar_cluster_free(&status);
    fake_node_stop(&cluster->nodes[0]);
    fake_node_stop(&cluster->nodes[2]);
    assert_int_not_equal(busbar_cluster_status(client, 300 * MS, &status, &fault), BUSBAR_OK);
    assert_null(status);
    assert_non_null(strstr(fault.text, "n2"));
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: a client that cannot be served says why: no file, nobody there, another cluster.
static void openings_that_fail_say_why(void **state)
{
    (void)state;
    busbar_client_t *client = NULL;
    busbar_fault_t fault = {0};
    assert_int_not_equal(busbar_open("/nonexistent/client.yaml", NULL, &client, &fault), 0);
    assert_non_null(strstr(fault.text, "/nonexistent/client.yaml"));
    assert_int_not_equal(busbar_open(NULL, NULL, &client, &fault), 0);
    fake_cluster_t *cluster = fake_cluster_new(2, NULL);
    memset(cluster->hello_cluster_id, 0xee, 16);
    atomic_store(&cluster->epoch, 1); // hands the change over to the nodes' threads
    client = s_open(cluster, NULL);
    busbar_status_t status = busbar_wait_ready(client, 3 * S, &fault);
    assert_string_equal(busbar_status_name(status), "CLUSTER");
    busbar_close(&client);
    fake_node_stop(&cluster->nodes[0]);
    fake_node_stop(&cluster->nodes[1]);
    memset(cluster->hello_cluster_id, 0xc1, 16);
    client = s_open(cluster, NULL);
    status = busbar_wait_ready(client, 200 * MS, &fault);
    assert_string_equal(busbar_status_name(status), "UNAVAILABLE");
    assert_non_null(strstr(fault.text, "n1"));
    fake_node_start(&cluster->nodes[1]);
    assert_int_equal(busbar_wait_ready(client, 5 * S, &fault), BUSBAR_OK);
    busbar_close(&client);
    assert_null(client);
    fake_cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_rows_come_once_and_in_order),
        cmocka_unit_test(bad_moods_of_one_node_change_nothing),
        cmocka_unit_test(a_refused_cursor_begins_anew),
        cmocka_unit_test(missing_partitions_are_asked_elsewhere_or_named),
        cmocka_unit_test(merged_aggregates_count_once),
        cmocka_unit_test(one_node_alone_answers_partially),
        cmocka_unit_test(failures_have_their_status),
        cmocka_unit_test(rows_can_be_closed_early),
        cmocka_unit_test(wrong_queries_are_refused),
        cmocka_unit_test(status_joins_what_nodes_say),
        cmocka_unit_test(openings_that_fail_say_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
