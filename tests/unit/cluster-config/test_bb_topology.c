// SPDX-License-Identifier: Apache-2.0
// Topology: look-ups against the arrays it was made from, and the arithmetic of levels against
// their definition (design, promise P1) by counting over every set of replicas.
#include "cluster-config/bb_topology.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

static const bb_topology_node_t s_nodes[6] = {
    {.id = "n1",
     .dc = "dc1",
     .rack = "a",
     .weight = 100,
     .host = "127.0.0.1",
     .client_port = 1,
     .peer_port = 2,
     .bulk_port = 3,
     .http_port = 4,
     .public_key = {9}},
    {.id = "n2", .dc = "dc2", .rack = "", .weight = 100, .host = "h2"},
    {.id = "n3", .dc = "dc1", .rack = NULL, .weight = 100, .host = "h3"},
    {.id = "n4", .dc = "dc2", .rack = "", .weight = 100, .host = NULL},
    {.id = "n5", .dc = "dc1", .rack = "b", .weight = 100, .host = "h5"},
    {.id = "n6", .dc = "dc1", .rack = "b", .weight = 100, .host = "h6"},
};
static const bb_placement_dc_t s_dcs[2] = {{"dc1", 3}, {"dc2", 2}};

static bb_topology_options_t s_options(void)
{
    return (bb_topology_options_t){.cluster_name = "demo",
                                   .cluster_id = {1, 2},
                                   .placement_key = {3, 4},
                                   .epoch = 7,
                                   .partition_count = 64,
                                   .dc_count = 2,
                                   .dcs = s_dcs,
                                   .node_count = 6,
                                   .nodes = s_nodes,
                                   .self_index = 4};
}

static bb_topology_t *s_new(const bb_topology_options_t *options)
{
    bb_topology_t *topology = NULL;
    bb_fault_t fault = {0};
    if (bb_topology_new(options, &topology, &fault) != BB_OK) {
        fail_msg("%s", fault.text);
    }
    return topology;
}

static void topology_look_ups(void **state)
{
    (void)state;
    bb_topology_options_t options = s_options();
    bb_topology_t *topology = s_new(&options);
    assert_string_equal(bb_topology_cluster_name(topology), "demo");
    assert_memory_equal(bb_topology_cluster_id(topology), options.cluster_id, 16);
    assert_memory_equal(bb_topology_placement_key(topology), options.placement_key, 16);
    assert_int_equal(bb_topology_epoch(topology), 7);
    assert_int_equal(bb_topology_partition_count(topology), 64);
    assert_int_equal(bb_topology_self_index(topology), 4);
    assert_int_equal(bb_topology_node_count(topology), 6);
    const bb_topology_node_t *node = bb_topology_node(topology, 0);
    assert_string_equal(node->id, "n1");
    assert_true(node->id != s_nodes[0].id); // a copy
    assert_string_equal(node->host, "127.0.0.1");
    assert_int_equal(node->bulk_port, 3);
    assert_int_equal(node->public_key[0], 9);
    assert_int_equal(bb_topology_node(topology, 3)->dc_index, 1);
    assert_string_equal(bb_topology_node(topology, 3)->host, "");
    assert_int_equal(bb_topology_node_of_id(topology, bb_slice("n5", 2)), 4);
    assert_int_equal(bb_topology_node_of_id(topology, bb_slice("n", 1)), BB_NODE_NONE);
    assert_int_equal(bb_topology_node_of_id(topology, bb_slice("n55", 3)), BB_NODE_NONE);
    assert_int_equal(bb_topology_dc_count(topology), 2);
    assert_string_equal(bb_topology_dc_name(topology, 1), "dc2");
    assert_int_equal(bb_topology_dc_replica_count(topology, 0), 3);
    assert_int_equal(bb_topology_dc_slot_first(topology, 1), 3);
    uint32_t count = 0;
    const uint16_t *nodes = bb_topology_dc_nodes(topology, 0, &count);
    assert_int_equal(count, 4);
    const uint16_t expected[4] = {0, 2, 4, 5};
    assert_memory_equal(nodes, expected, sizeof expected);
    assert_int_equal(bb_topology_partition_of(topology, "b1", 2),
                     bb_partition_of(options.placement_key, "b1", 2, 64));
    bb_topology_destroy(&topology);
    assert_null(topology);
    bb_topology_destroy(&topology); // of nothing: nothing
}

// Goal: the table, its slots and the lists of partitions say the same.
// Goal: a copy for another reader says the same but for who reads it, and lives on its own.
static void topology_seen_by_another(void **state)
{
    (void)state;
    bb_topology_options_t options = s_options();
    bb_topology_t *topology = s_new(&options);
    bb_topology_t *copy = bb_topology_seen_by(topology, 1);
    options.self_index = 1;
    bb_topology_destroy(&topology);
    topology = s_new(&options);
    assert_int_equal(bb_topology_self_index(copy), 1);
    assert_string_equal(bb_topology_cluster_name(copy), bb_topology_cluster_name(topology));
    assert_memory_equal(bb_topology_cluster_id(copy), options.cluster_id, 16);
    assert_memory_equal(bb_topology_placement_key(copy), options.placement_key, 16);
    assert_int_equal(bb_topology_epoch(copy), bb_topology_epoch(topology));
    assert_int_equal(bb_topology_replica_count(copy), bb_topology_replica_count(topology));
    assert_memory_equal(bb_topology_table(copy), bb_topology_table(topology),
                        64 * bb_topology_replica_count(topology) * sizeof(uint16_t));
    for (uint32_t i = 0; i < options.node_count; i++) {
        uint32_t count = 0;
        uint32_t expected = 0;
        assert_string_equal(bb_topology_node(copy, i)->id, options.nodes[i].id);
        assert_int_equal(bb_topology_node(copy, i)->dc_index,
                         bb_topology_node(topology, i)->dc_index);
        const uint32_t *found = bb_topology_node_partitions(copy, i, &count);
        const uint32_t *other = bb_topology_node_partitions(topology, i, &expected);
        assert_int_equal(count, expected);
        assert_memory_equal(found, other, count * sizeof *found);
    }
    bb_topology_destroy(&copy);
    bb_topology_destroy(&topology);
}

static void topology_replicas_agree(void **state)
{
    (void)state;
    bb_topology_options_t options = s_options();
    bb_topology_t *topology = s_new(&options);
    assert_int_equal(bb_topology_replica_count(topology), 5);
    uint32_t held[6] = {0};
    for (uint32_t p = 0; p < 64; p++) {
        const uint16_t *row = bb_topology_replicas(topology, p);
        assert_ptr_equal(row, bb_topology_table(topology) + p * 5);
        uint32_t found = 0;
        for (uint32_t n = 0; n < 6; n++) {
            uint32_t slot = bb_topology_slot_of(topology, p, n);
            assert_int_equal(bb_topology_is_replica(topology, p, n), slot != BB_NODE_NONE);
            if (slot != BB_NODE_NONE) {
                assert_int_equal(row[slot], n);
                assert_int_equal(slot >= 3, strcmp(s_nodes[n].dc, "dc2") == 0);
                uint32_t count = 0;
                const uint32_t *list = bb_topology_node_partitions(topology, n, &count);
                assert_true(held[n] < count);
                assert_int_equal(list[held[n]++], p); // ascending, none left out
                found++;
            }
        }
        assert_int_equal(found, 5);
    }
    for (uint32_t n = 0; n < 6; n++) {
        uint32_t count = 0;
        (void)bb_topology_node_partitions(topology, n, &count);
        assert_int_equal(count, held[n]);
    }
    bb_topology_destroy(&topology);
}

// Goal: levels mean what the design says. Method: every set of the five replicas, counted slowly.
static void topology_levels_by_definition(void **state)
{
    (void)state;
    bb_topology_options_t options = s_options();
    bb_topology_t *topology = s_new(&options);
    for (uint32_t dc = 0; dc < 2; dc++) {
        for (uint32_t mask = 0; mask < 32; mask++) {
            uint32_t in[2] = {0, 0};
            for (uint32_t slot = 0; slot < 5; slot++) {
                in[slot < 3 ? 0 : 1] += mask >> slot & 1;
            }
            const uint32_t majority[2] = {2, 2}; // of 3 and of 2
            const bool expected[6] = {
                false,
                in[0] + in[1] >= 1,
                in[dc] >= majority[dc],
                in[0] + in[1] >= 3 && in[dc] >= majority[dc],
                in[0] >= majority[0] && in[1] >= majority[1],
                in[0] + in[1] == 5,
            };
            for (bb_level_t level = BB_LEVEL_ONE; level <= BB_LEVEL_ALL; level++) {
                bb_topology_need_t need = bb_topology_need(topology, level, dc);
                assert_int_equal(bb_topology_is_met(topology, &need, mask), expected[level]);
            }
        }
    }
    bb_topology_destroy(&topology);
}

// Goal: what a level lacks is said by data centre, and nothing when it lacks nothing.
static void topology_lacks_text(void **state)
{
    (void)state;
    const bb_placement_dc_t dcs[2] = {{"dc1", 3}, {"dc2", 2}};
    bb_topology_options_t options = s_options();
    options.dcs = dcs;
    bb_topology_t *topology = s_new(&options);
    char text[BB_TOPOLOGY_LACKS_BYTES];
    bb_topology_need_t need = bb_topology_need(topology, BB_LEVEL_EACH_QUORUM, 0);
    bb_topology_lacks_text(topology, &need, 0x19, text); // one of dc1, both of dc2
    assert_string_equal(text, "dc1 has 1 of the 2 replicas it needs; 3 of 4 in all");
    bb_topology_lacks_text(topology, &need, 0x1b, text);
    assert_string_equal(text, "");
    need = bb_topology_need(topology, BB_LEVEL_QUORUM, 0);
    bb_topology_lacks_text(topology, &need, 0x19, text);
    assert_string_equal(text, "dc1 has 1 of the 2 replicas it needs");
    bb_topology_lacks_text(topology, &need, 0x03, text);
    assert_string_equal(text, "2 of 3 in all");
    need = bb_topology_need(topology, BB_LEVEL_ALL, 0);
    bb_topology_lacks_text(topology, &need, 0x0e, text);
    assert_string_equal(text, "dc1 has 2 of the 3 replicas it needs, dc2 has 1 of the 2 replicas "
                              "it needs; 3 of 5 in all");
    bb_topology_destroy(&topology);
}

// Goal: a data centre without replicas cannot satisfy its own quorum.
static void topology_witness_has_no_local_quorum(void **state)
{
    (void)state;
    const bb_placement_dc_t dcs[2] = {{"dc1", 3}, {"dc2", 0}};
    bb_topology_options_t options = s_options();
    options.dcs = dcs;
    bb_topology_t *topology = s_new(&options);
    bb_topology_need_t need = bb_topology_need(topology, BB_LEVEL_LOCAL_QUORUM, 1);
    assert_false(bb_topology_is_met(topology, &need, UINT32_MAX));
    need = bb_topology_need(topology, BB_LEVEL_EACH_QUORUM, 1);
    assert_true(bb_topology_is_met(topology, &need, 3));
    uint32_t count = 1;
    (void)bb_topology_node_partitions(topology, 1, &count);
    assert_int_equal(count, 0);
    bb_topology_destroy(&topology);
}

static void topology_refuses(void **state)
{
    (void)state;
    bb_topology_t *topology = NULL;
    bb_fault_t fault;
    bb_topology_options_t options = s_options();
    options.epoch = 0;
    assert_int_equal(bb_topology_new(&options, &topology, &fault), BB_ERR_CONFIG);
    options = s_options();
    options.partition_count = 63;
    assert_int_equal(bb_topology_new(&options, &topology, &fault), BB_ERR_CONFIG);
    options = s_options();
    const bb_placement_dc_t many[2] = {{"dc1", 3}, {"dc2", 3}};
    options.dcs = many;
    assert_int_equal(bb_topology_new(&options, &topology, &fault), BB_ERR_CONFIG);
    assert_non_null(strstr(fault.text, "dc2"));
    assert_null(topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topology_look_ups),
        cmocka_unit_test(topology_seen_by_another),
        cmocka_unit_test(topology_replicas_agree),
        cmocka_unit_test(topology_levels_by_definition),
        cmocka_unit_test(topology_lacks_text),
        cmocka_unit_test(topology_witness_has_no_local_quorum),
        cmocka_unit_test(topology_refuses),
    };
    return cmocka_run_group_tests_name("bb_topology", tests, NULL, NULL);
}
