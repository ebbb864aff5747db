// SPDX-License-Identifier: Apache-2.0
// Tests of node/runtime/bb_metrics: the text that Prometheus reads, checked line by line against
// the rules of its format (the integration tests run promtool on a live node).
#include "node/runtime/bb_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bb_topology_t *s_topology(void)
{
    const bb_placement_dc_t dcs[] = {{.name = "dc1", .replica_count = 2}};
    bb_topology_node_t nodes[2] = {0};
    for (uint32_t i = 0; i < 2; i++) {
        nodes[i] = (bb_topology_node_t){
            .id = i ? "n\"2" : "n1", .dc = "dc1", .rack = "", .weight = 100, .host = "h"};
    }
    const bb_topology_options_t options = {.cluster_name = "c",
                                           .epoch = 1,
                                           .partition_count = 8,
                                           .dc_count = 1,
                                           .dcs = dcs,
                                           .node_count = 2,
                                           .nodes = nodes,
                                           .self_index = 0};
    bb_topology_t *topology = NULL;
    bb_fault_t fault = {0};
    assert_int_equal(bb_topology_new(&options, &topology, &fault), BB_OK);
    return topology;
}

static char *s_render(const bb_shard_stats_t *stats, const bb_post_peers_t *peers)
{
    uint64_t counters[BB_METRIC_COUNT];
    for (uint32_t i = 0; i < BB_METRIC_COUNT; i++) {
        counters[i] = 1000 + i;
    }
    bb_topology_t *topology = s_topology();
    const bb_shard_stats_t *stores[] = {stats, NULL};
    const bb_metrics_view_t view = {.counters = counters,
                                    .topology = topology,
                                    .store_count = 2,
                                    .stores = stores,
                                    .peers = peers,
                                    .is_ready = true,
                                    .version = "1.2.3"};
    size_t length;
    char *text = bb_metrics_render(&view, &length);
    assert_int_equal(strlen(text), length);
    bb_topology_destroy(&topology);
    return text;
}

static double s_value(const char *text, const char *series)
{
    char line[200];
    snprintf(line, sizeof line, "\n%s ", series);
    const char *found = strstr(text, line);
    if (!found) {
        fail_msg("no series %s", series);
        return 0;
    }
    return strtod(found + strlen(line), NULL);
}

// Goal: the format's rules. Each family has HELP then TYPE once, before its samples and together
// with them; counters end in _total; every name begins with busbar_; no series appears twice.
static void s_test_format_rules(void **state)
{
    (void)state;
    bb_shard_stats_t stats = {0};
    char *text = s_render(&stats, NULL);
    char families[200][100];
    char types[200][20];
    int family_count = 0;
    char *seen[2000];
    int seen_count = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char name[100], type[20];
        if (sscanf(line, "# HELP %99s", name) == 1) {
            for (int i = 0; i < family_count; i++) {
                assert_string_not_equal(families[i], name);
            }
            assert_int_equal(line[strlen(line) - 1], '.');
            strcpy(families[family_count], name);
            types[family_count++][0] = '\0';
        } else if (sscanf(line, "# TYPE %99s %19s", name, type) == 2) {
            assert_string_equal(families[family_count - 1], name);
            strcpy(types[family_count - 1], type);
        } else {
            const char *family = families[family_count - 1];
            size_t family_length = strlen(family);
            assert_memory_equal(line, "busbar_", 7);
            assert_memory_equal(line, family, family_length);
            const char *suffix = line + family_length;
            bool is_histogram = strcmp(types[family_count - 1], "histogram") == 0;
            bool has_suffix = strncmp(suffix, "_bucket{", 8) == 0 ||
                              strncmp(suffix, "_sum{", 5) == 0 ||
                              strncmp(suffix, "_count{", 7) == 0;
            assert_true(is_histogram ? has_suffix : (*suffix == '{' || *suffix == ' '));
            bool is_counter = strcmp(types[family_count - 1], "counter") == 0;
            bool is_total = family_length > 6 && strcmp(family + family_length - 6, "_total") == 0;
            assert_int_equal(is_counter, is_total);
            char *space = strrchr(line, ' ');
            *space = '\0';
            char *end;
            strtod(space + 1, &end);
            assert_int_equal(*end, '\0');
            for (int i = 0; i < seen_count; i++) {
                assert_string_not_equal(seen[i], line);
            }
            seen[seen_count++] = line;
        }
    }
    assert_true(family_count > 50 && seen_count > 100);
    free(text);
}

static void s_test_values(void **state)
{
    (void)state;
    bb_shard_stats_t stats = {.points_accepted = 12345678901,
                              .journal_sync_ns_sum = 2500000000,
                              .is_fenced = true,
                              .under_replicated = 3,
                              .unequal = 4,
                              .streams_dead = 5};
    stats.store.streams = 8;
    stats.store.head_bytes = 77;
    stats.lag_chunks[1] = 9;
    bb_peer_view_t views[2] = {{.is_up = true},
                               {.is_up = false, .queued_bytes = 5, .clock_offset_ns = -1500000000}};
    bb_post_peers_t peers = {.node_count = 2, .views = views};
    char *text = s_render(&stats, &peers);
    assert_true(s_value(text, "busbar_points_accepted_total{store=\"0\"}") == 12345678901.0);
    assert_true(s_value(text, "busbar_points_accepted_total{store=\"1\"}") == 0); // not yet known
    assert_true(s_value(text, "busbar_journal_sync_seconds_total{store=\"0\"}") == 2.5);
    assert_true(s_value(text, "busbar_head_bytes{store=\"0\"}") == 77);
    assert_true(s_value(text, "busbar_store_fenced{store=\"0\"}") == 1);
    assert_true(s_value(text, "busbar_under_replicated_partitions{store=\"0\"}") == 3);
    assert_true(s_value(text, "busbar_unequal_partitions{store=\"0\"}") == 4);
    assert_true(s_value(text, "busbar_streams{store=\"0\"}") == 8);
    assert_true(s_value(text, "busbar_streams_dead{store=\"0\"}") == 5);
    assert_true(s_value(text, "busbar_node_up{node=\"n1\"}") == 1);
    assert_true(s_value(text, "busbar_node_up{node=\"n\\\"2\"}") == 0);
    assert_true(s_value(text, "busbar_node_lag_chunks{node=\"n\\\"2\"}") == 9);
    assert_true(s_value(text, "busbar_peer_queued_bytes{node=\"n\\\"2\"}") == 5);
    assert_true(s_value(text, "busbar_peer_clock_offset_seconds{node=\"n\\\"2\"}") == -1.5);
    assert_true(s_value(text, "busbar_build_info{version=\"1.2.3\"}") == 1);
    assert_true(s_value(text, "busbar_requests_total{kind=\"write\"}") ==
                1000 + BB_METRIC_REQUEST_WRITE);
    assert_true(s_value(text, "busbar_http_requests_total") == 1000 + BB_METRIC_HTTP_REQUESTS);
    free(text);
}

// Goal: buckets are cumulative, in seconds, and +Inf equals the count.
static void s_test_histogram(void **state)
{
    (void)state;
    bb_shard_stats_t stats = {.ack_latency_ns_sum = 4000000000};
    stats.ack_latency_buckets[0] = 1;  // < 1 us
    stats.ack_latency_buckets[10] = 5; // < 1.024 ms
    stats.ack_latency_buckets[23] = 2; // the rest
    char *text = s_render(&stats, NULL);
    const char *bucket = "busbar_ack_latency_seconds_bucket{store=\"0\",le=\"";
    char series[100];
    snprintf(series, sizeof series, "%s0.000001\"}", bucket);
    assert_true(s_value(text, series) == 1);
    snprintf(series, sizeof series, "%s0.000512\"}", bucket);
    assert_true(s_value(text, series) == 1);
    snprintf(series, sizeof series, "%s0.001024\"}", bucket);
    assert_true(s_value(text, series) == 6);
    snprintf(series, sizeof series, "%s+Inf\"}", bucket);
    assert_true(s_value(text, series) == 8);
    assert_true(s_value(text, "busbar_ack_latency_seconds_count{store=\"0\"}") == 8);
    assert_true(s_value(text, "busbar_ack_latency_seconds_sum{store=\"0\"}") == 4);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_format_rules),
        cmocka_unit_test(s_test_values),
        cmocka_unit_test(s_test_histogram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
