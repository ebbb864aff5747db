// SPDX-License-Identifier: Apache-2.0
// Placement: the hash against its published vector, then the properties of the proposal over a
// grid of clusters. Nothing here is compared with a result of an earlier run.
#include "protocol/bb_placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

enum { S_NODES = 64, S_STRIDE = 16 };

// A cluster under test; ids are unlike each other on purpose.
typedef struct {
    char ids[S_NODES][24];
    char racks[S_NODES][8];
    char dc_names[4][8];
    bb_placement_node_t nodes[S_NODES];
    bb_placement_dc_t dcs[4];
    uint32_t node_count;
    uint32_t dc_count;
    uint32_t partition_count;
    uint32_t stride;
    uint16_t *replicas;
} s_cluster_t;

static void s_start(s_cluster_t *self, uint32_t partition_count)
{
    memset(self, 0, sizeof *self);
    self->partition_count = partition_count;
}

static void s_add(s_cluster_t *self, const char *dc, int rack, uint32_t weight)
{
    uint32_t i = self->node_count++;
    snprintf(self->ids[i], sizeof self->ids[i], "%s-%u", i % 2 ? "host" : "n", i * 37 + 1);
    snprintf(self->racks[i], sizeof self->racks[i], "r%d", rack);
    self->nodes[i] =
        (bb_placement_node_t){self->ids[i], dc, rack < 0 ? NULL : self->racks[i], weight};
}

static void s_add_dc(s_cluster_t *self, uint32_t replica_count, uint32_t nodes, uint32_t racks)
{
    uint32_t dc = self->dc_count++;
    snprintf(self->dc_names[dc], sizeof self->dc_names[dc], "dc%u", dc + 1);
    self->dcs[dc] = (bb_placement_dc_t){self->dc_names[dc], replica_count};
    for (uint32_t i = 0; i < nodes; i++) {
        s_add(self, self->dc_names[dc], racks ? (int)(i % racks) : -1, 100);
    }
}

static void s_propose(s_cluster_t *self)
{
    self->stride = bb_placement_stride(self->dcs, self->dc_count);
    self->replicas = calloc((size_t)self->partition_count * self->stride, sizeof(uint16_t));
    bb_fault_t fault = {0};
    if (bb_placement_propose(self->nodes, self->node_count, self->dcs, self->dc_count,
                             self->partition_count, self->replicas, &fault) != BB_OK) {
        fail_msg("%s", fault.text);
    }
}

static void s_end(s_cluster_t *self)
{
    free(self->replicas);
    self->replicas = NULL;
}

// Every partition: the right number of distinct nodes of each data centre, in its place of the row;
// distinct racks where there are enough of them.
static void s_expect_rules(const s_cluster_t *self, uint32_t racks)
{
    for (uint32_t p = 0; p < self->partition_count; p++) {
        const uint16_t *row = &self->replicas[(size_t)p * self->stride];
        uint32_t first = 0;
        for (uint32_t d = 0; d < self->dc_count; d++) {
            uint32_t limit = first + self->dcs[d].replica_count;
            for (uint32_t i = first; i < limit; i++) {
                assert_true(row[i] < self->node_count);
                assert_string_equal(self->nodes[row[i]].dc, self->dcs[d].name);
                for (uint32_t j = first; j < i; j++) {
                    assert_int_not_equal(row[i], row[j]);
                    if (racks >= self->dcs[d].replica_count) {
                        assert_string_not_equal(self->nodes[row[i]].rack, self->nodes[row[j]].rack);
                    }
                }
            }
            first = limit;
        }
    }
}

// Largest of load / (weighted mean) over all nodes of data centre 0, minus 1.
static double s_overload(const s_cluster_t *self)
{
    double worst = 0;
    double weights = 0;
    for (uint32_t i = 0; i < self->node_count; i++) {
        weights += strcmp(self->nodes[i].dc, self->dcs[0].name) == 0 ? self->nodes[i].weight : 0;
    }
    for (uint32_t i = 0; i < self->node_count; i++) {
        uint32_t load = 0;
        for (size_t j = 0; j < (size_t)self->partition_count * self->stride; j++) {
            load += self->replicas[j] == i;
        }
        double mean = (double)self->partition_count * self->dcs[0].replica_count *
                      self->nodes[i].weight / weights;
        if (strcmp(self->nodes[i].dc, self->dcs[0].name) == 0 && load / mean - 1 > worst) {
            worst = load / mean - 1;
        }
    }
    return worst;
}

// Share of the replicas of `after` that are on nodes that did not hold the partition in `before`.
static double s_moved(const s_cluster_t *before, const s_cluster_t *after)
{
    uint32_t moved = 0;
    for (uint32_t p = 0; p < after->partition_count; p++) {
        for (uint32_t i = 0; i < after->stride; i++) {
            const char *id = after->nodes[after->replicas[p * after->stride + i]].id;
            bool found = false;
            for (uint32_t j = 0; j < before->stride; j++) {
                uint16_t node = before->replicas[p * before->stride + j];
                found |= strcmp(before->nodes[node].id, id) == 0;
            }
            moved += !found;
        }
    }
    return (double)moved / ((double)after->partition_count * after->stride);
}

// Goal: the hash is SipHash-2-4. Expected value: the vector of Aumasson and Bernstein, "SipHash"
// (2012), appendix A: key 00..0f, message 00..0e, result a129ca6149be45e5.
static void partition_of_published_vector(void **state)
{
    (void)state;
    uint8_t key[16];
    uint8_t message[15];
    for (uint8_t i = 0; i < 16; i++) {
        key[i] = i;
    }
    for (uint8_t i = 0; i < 15; i++) {
        message[i] = i;
    }
    assert_int_equal(bb_partition_of(key, message, sizeof message, 16384), 0x49be45e5 & 0x3fff);
    assert_int_equal(bb_partition_of(key, message, sizeof message, 1024), 0x1e5);
    assert_int_equal(bb_partition_of(key, message, sizeof message, 1), 0);
}

// Goal: batteries spread evenly. Method: 65,536 ids over 64 partitions; 1,024 expected each with
// a standard deviation of 32, so 7 deviations never happen by chance.
static void partition_of_spreads(void **state)
{
    (void)state;
    const uint8_t key[16] = {1, 2, 3};
    uint32_t counts[64] = {0};
    for (uint32_t i = 0; i < 65536; i++) {
        char id[24];
        int length = snprintf(id, sizeof id, "battery-%u", i);
        counts[bb_partition_of(key, id, (size_t)length, 64)]++;
    }
    for (uint32_t i = 0; i < 64; i++) {
        assert_in_range(counts[i], 1024 - 224, 1024 + 224);
    }
}

// Goal: the rules of the table and the load bound, over sizes, RF and racks.
static void proposal_keeps_rules_and_bound(void **state)
{
    (void)state;
    const uint32_t partition_counts[] = {64, 1024};
    for (uint32_t r = 1; r <= 3; r++) {
        for (uint32_t n = r; n <= 24; n += n < 7 ? 1 : 8) {
            for (uint32_t racks = 0; racks <= n; racks += n) {
                for (size_t i = 0; i < BB_COUNT_OF(partition_counts); i++) {
                    s_cluster_t cluster;
                    s_start(&cluster, partition_counts[i]);
                    s_add_dc(&cluster, r, n, racks);
                    s_propose(&cluster);
                    s_expect_rules(&cluster, racks);
                    if (partition_counts[i] * r >= 40 * n && s_overload(&cluster) > 0.05) {
                        fail_msg("rf %u, %u nodes, %u racks, %u partitions: %.3f over", r, n, racks,
                                 partition_counts[i], s_overload(&cluster));
                    }
                    s_end(&cluster);
                }
            }
        }
    }
}

// Goal: racks come first where they are few or unequal. Method: 3 racks of 1, 2 and 5 nodes.
static void proposal_uses_distinct_racks(void **state)
{
    (void)state;
    s_cluster_t cluster;
    s_start(&cluster, 256);
    s_add_dc(&cluster, 3, 0, 0);
    const int racks[8] = {0, 1, 1, 2, 2, 2, 2, 2};
    for (size_t i = 0; i < BB_COUNT_OF(racks); i++) {
        s_add(&cluster, "dc1", racks[i], 100);
    }
    s_propose(&cluster);
    s_expect_rules(&cluster, 3);
    s_end(&cluster);
    // Two racks for three replicas: never all three in one.
    s_start(&cluster, 256);
    s_add_dc(&cluster, 3, 6, 2);
    s_propose(&cluster);
    s_expect_rules(&cluster, 2);
    for (uint32_t p = 0; p < 256; p++) {
        const uint16_t *row = &cluster.replicas[p * 3];
        // cppcheck-suppress objectIndex ; `replicas` is an array of 3 for each partition
        bool is_one_rack = strcmp(cluster.nodes[row[0]].rack, cluster.nodes[row[1]].rack) == 0 &&
                           // cppcheck-suppress objectIndex ; likewise
                           strcmp(cluster.nodes[row[1]].rack, cluster.nodes[row[2]].rack) == 0;
        assert_false(is_one_rack);
    }
    assert_true(s_overload(&cluster) <= 0.05);
    s_end(&cluster);
}

// Goal: several data centres are independent: each has its own count, in its own columns.
static void proposal_for_several_data_centres(void **state)
{
    (void)state;
    s_cluster_t cluster;
    s_start(&cluster, 256);
    s_add_dc(&cluster, 3, 5, 0);
    s_add_dc(&cluster, 2, 3, 0);
    s_add_dc(&cluster, 0, 1, 0); // a data centre without replicas: a witness
    s_add_dc(&cluster, 1, 1, 0);
    s_propose(&cluster);
    assert_int_equal(cluster.stride, 6);
    s_expect_rules(&cluster, 0);
    assert_true(s_overload(&cluster) <= 0.05);
    s_end(&cluster);
}

// Goal: heavier nodes hold more, in proportion, within 5 %; one whose share is more than
// everything holds nearly everything, and the others share the rest.
static void proposal_follows_weights(void **state)
{
    (void)state;
    s_cluster_t cluster;
    s_start(&cluster, 1024);
    s_add_dc(&cluster, 2, 0, 0);
    const uint32_t weights[8] = {100, 200, 100, 300, 150, 100, 250, 100};
    for (size_t i = 0; i < BB_COUNT_OF(weights); i++) {
        s_add(&cluster, "dc1", -1, weights[i]);
    }
    s_propose(&cluster);
    s_expect_rules(&cluster, 0);
    assert_true(s_overload(&cluster) <= 0.05);
    s_end(&cluster);
    s_start(&cluster, 256);
    s_add_dc(&cluster, 2, 0, 0);
    s_add(&cluster, "dc1", -1, 10000);
    s_add(&cluster, "dc1", -1, 100);
    s_add(&cluster, "dc1", -1, 100);
    s_propose(&cluster);
    uint32_t loads[3] = {0};
    for (uint32_t i = 0; i < 512; i++) {
        loads[cluster.replicas[i]]++;
    }
    assert_in_range(loads[0], 244, 256); // its share is every partition, - 5 %
    assert_in_range(loads[1], 122, 134); // half of the other column, +- 5 %
    assert_in_range(loads[2], 122, 134);
    s_end(&cluster);
}

// Goal: one node more moves its share and at most 5 % besides; one node fewer likewise. Method:
// the last node of N+1 is the new one; its removal is the same pair of tables the other way.
static void proposal_moves_little(void **state)
{
    (void)state;
    for (uint32_t r = 1; r <= 3; r++) {
        for (uint32_t n = r; n <= 20; n += n < 8 ? 1 : 6) {
            s_cluster_t before;
            s_cluster_t after;
            s_start(&before, 1024);
            s_add_dc(&before, r, n, 0);
            s_propose(&before);
            s_start(&after, 1024);
            s_add_dc(&after, r, n + 1, 0);
            s_propose(&after);
            double added = s_moved(&before, &after);
            double removed = s_moved(&after, &before);
            if (added > 1.0 / (n + 1) + 0.05 || removed > 1.0 / (n + 1) + 0.05) {
                fail_msg("rf %u, %u nodes: adding moves %.3f, removing %.3f", r, n, added, removed);
            }
            s_end(&before);
            s_end(&after);
        }
    }
}

// Goal: the order in which nodes are listed changes nothing. Method: a list and its reverse.
static void proposal_ignores_the_order_of_nodes(void **state)
{
    (void)state;
    s_cluster_t cluster;
    s_cluster_t reversed;
    s_start(&cluster, 256);
    s_add_dc(&cluster, 3, 7, 4);
    s_propose(&cluster);
    s_start(&reversed, 256);
    s_add_dc(&reversed, 3, 7, 4);
    for (uint32_t i = 0; i < 7; i++) {
        reversed.nodes[i] = cluster.nodes[6 - i];
    }
    s_propose(&reversed);
    for (size_t i = 0; i < 256 * 3; i++) {
        assert_int_equal(cluster.replicas[i], 6 - reversed.replicas[i]);
    }
    s_end(&cluster);
    s_end(&reversed);
}

// Goal: every impossible cluster is refused with a sentence.
static void proposal_refuses(void **state)
{
    (void)state;
    uint16_t replicas[64];
    bb_placement_node_t nodes[3] = {
        {"a", "dc1", "", 100}, {"b", "dc1", "", 100}, {"c", "dc1", "", 100}};
    bb_placement_dc_t dcs[2] = {{"dc1", 2}, {"dc2", 0}};
    bb_fault_t fault;
#define S_REFUSED(n, d, p)                                                                         \
    do {                                                                                           \
        fault.text[0] = '\0';                                                                      \
        assert_int_equal(bb_placement_propose(nodes, n, dcs, d, p, replicas, &fault),              \
                         BB_ERR_CONFIG);                                                           \
        assert_true(strlen(fault.text) > 10);                                                      \
    } while (0)
    assert_int_equal(bb_placement_propose(nodes, 3, dcs, 2, 8, replicas, &fault), BB_OK);
    S_REFUSED(3, 2, 0);
    S_REFUSED(3, 2, 12);
    S_REFUSED(3, 2, 2 * BB_PARTITIONS_MAX);
    S_REFUSED(0, 2, 8);
    S_REFUSED(3, 0, 8);
    dcs[0].replica_count = 4; // more than there are nodes
    S_REFUSED(3, 2, 8);
    dcs[0].replica_count = 0; // nothing to place
    S_REFUSED(3, 2, 8);
    dcs[0].replica_count = 2;
    dcs[1].name = "dc1"; // twice
    S_REFUSED(3, 2, 8);
    dcs[1].name = "dc2";
    nodes[1].dc = "dc3"; // unknown
    S_REFUSED(3, 2, 8);
    nodes[1].dc = "dc1";
    nodes[1].id = "a"; // twice
    S_REFUSED(3, 2, 8);
    nodes[1].id = "b";
    nodes[2].weight = 0;
    S_REFUSED(3, 2, 8);
    nodes[2].weight = BB_PLACEMENT_WEIGHT_MAX + 1;
    S_REFUSED(3, 2, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partition_of_published_vector),
        cmocka_unit_test(partition_of_spreads),
        cmocka_unit_test(proposal_keeps_rules_and_bound),
        cmocka_unit_test(proposal_uses_distinct_racks),
        cmocka_unit_test(proposal_for_several_data_centres),
        cmocka_unit_test(proposal_follows_weights),
        cmocka_unit_test(proposal_moves_little),
        cmocka_unit_test(proposal_ignores_the_order_of_nodes),
        cmocka_unit_test(proposal_refuses),
    };
    return cmocka_run_group_tests_name("bb_placement", tests, NULL, NULL);
}
