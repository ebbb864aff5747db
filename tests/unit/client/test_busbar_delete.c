// SPDX-License-Identifier: Apache-2.0
// Deleting against fake nodes on loopback: the generation that is drawn, the marker that is
// written, nodes that are busy, silent or gone, and the number that a repetition needs.
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

// Every node knows this generation of battery "b".
static void s_know(fake_cluster_t *cluster, uint64_t generation)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        fake_keep(&cluster->nodes[i], fake_text("b"), fake_text("generation"), 0, generation);
    }
}

// The markers that some node took: their number, and the last of them.
static uint32_t s_markers(fake_cluster_t *cluster, const char *metric, fake_point_t *last)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        fake_node_t *node = &cluster->nodes[i];
        pthread_mutex_lock(&node->mutex);
        for (uint32_t p = 0; p < node->point_count; p++) {
            if (strcmp(node->points[p].metric, metric) == 0) {
                *last = node->points[p];
                count++;
            }
        }
        pthread_mutex_unlock(&node->mutex);
    }
    return count;
}

static const busbar_delete_t s_what = {
    .battery = "b", .metric = "soc", .from_ns = 10, .to_ns = 20, .timeout_ns = 5 * S};

// Goal: one more than what is known is drawn, and the marker is written once, as it was asked for.
static void test_draws_the_next_generation(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    busbar_client_t *client = s_open(cluster);
    busbar_fault_t fault = {0};
    fake_point_t marker;
    uint32_t generation = 0;
    assert_int_equal(busbar_delete(client, &s_what, &generation, &fault), BUSBAR_OK);
    assert_int_equal(generation, 1);
    assert_int_equal(s_markers(cluster, "soc", &marker), 1);
    assert_string_equal(marker.battery, "b");
    assert_true(marker.time == 10 && marker.bits == 20);
    s_know(cluster, 6);
    busbar_delete_t all = {.battery = "b", .to_ns = INT64_MAX, .timeout_ns = 5 * S};
    assert_int_equal(busbar_delete(client, &all, &generation, &fault), BUSBAR_OK);
    assert_int_equal(generation, 7);
    assert_int_equal(s_markers(cluster, "*", &marker), 1);
    assert_true(marker.time == 0 && marker.bits == (uint64_t)BB_TIME_WALL_NS_LIMIT);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: a node that is busy or gone costs a repetition of the same marker, not another number; one
// that took it and says nothing leaves TIMEOUT, with the number that the repetition needs.
static void test_repetitions_keep_the_number(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    busbar_client_t *client = s_open(cluster);
    busbar_fault_t fault = {0};
    fake_point_t marker;
    uint32_t generation = 0;
    s_know(cluster, 2);
    busbar_delete_t what = s_what;
    what.generation = 3; // nothing is read
    for (uint32_t i = 0; i < 3; i++) {
        fake_mood(cluster, i, i == 0 ? FAKE_BUSY : FAKE_STOPPING, 1);
    }
    assert_int_equal(busbar_delete(client, &what, &generation, &fault), BUSBAR_OK);
    assert_int_equal(generation, 3);
    assert_int_equal(s_markers(cluster, "soc", &marker), 1);
    for (uint32_t i = 0; i < 3; i++) {
        fake_mood(cluster, i, FAKE_SILENT, -1);
    }
    what.timeout_ns = S / 2;
    generation = 0;
    assert_int_equal(busbar_delete(client, &what, &generation, &fault), 41); // TIMEOUT
    assert_int_equal(generation, 3);
    assert_true(s_markers(cluster, "soc", &marker) > 1);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: nothing is written when the generation cannot be read, or the question makes no sense.
static void test_nothing_is_written_in_vain(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    busbar_client_t *client = s_open(cluster);
    busbar_fault_t fault = {0};
    fake_point_t marker;
    uint32_t generation = 77;
    busbar_delete_t what = s_what;
    what.timeout_ns = S / 2;
    for (uint32_t i = 0; i < 3; i++) {
        fake_mood(cluster, i, FAKE_UNAVAILABLE, -1);
    }
    assert_int_not_equal(busbar_delete(client, &what, &generation, &fault), BUSBAR_OK);
    assert_int_equal(generation, 77);
    for (uint32_t i = 0; i < 3; i++) {
        fake_mood(cluster, i, FAKE_NORMAL, 0);
    }
    what.to_ns = what.from_ns;
    assert_int_not_equal(busbar_delete(client, &what, &generation, &fault), BUSBAR_OK);
    what.battery = NULL;
    assert_int_not_equal(busbar_delete(client, &what, &generation, &fault), BUSBAR_OK);
    assert_int_equal(s_markers(cluster, "soc", &marker), 0);
    assert_true(strlen(fault.text) > 5);
    assert_null(busbar_writer_open(client, &(busbar_writer_options_t){.generation = 1u << 31}));
    busbar_close(&client);
    fake_cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws_the_next_generation),
        cmocka_unit_test(test_repetitions_keep_the_number),
        cmocka_unit_test(test_nothing_is_written_in_vain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
