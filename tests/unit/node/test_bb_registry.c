// SPDX-License-Identifier: Apache-2.0
// Tests of node/control/bb_registry: a few of them on a network that loses, repeats and reorders.
#include "tests/unit/node/registry_cluster.h"

#include <stdio.h>

#define S_KIND BB_REGISTRY_FORGOTTEN

static void s_put(rc_cluster_t *cluster, uint32_t node, const bb_registry_entry_t *entry,
                  bb_registry_need_t need, uint64_t context)
{
    assert_int_equal(
        bb_registry_put(cluster->nodes[node].registry, rc_now_ns(cluster), entry, need, context),
        BB_OK);
}

static uint64_t s_number(const rc_cluster_t *cluster, uint32_t node, const char *key)
{
    bb_registry_entry_t entry;
    return bb_registry_get(cluster->nodes[node].registry, S_KIND, bb_slice(key, strlen(key)),
                           &entry)
               ? entry.number
               : 0;
}

// Goal: a put ends at a majority, says so once, goes on to all, and then nothing is sent any more.
static void s_test_put(void **state)
{
    (void)state;
    rc_cluster_t *cluster = rc_new(3, 1);
    bb_registry_entry_t entry = rc_entry(S_KIND, "n1", 7, "x");
    s_put(cluster, 0, &entry, BB_REGISTRY_NEED_MAJORITY, 42);
    bb_registry_outcome_t outcome;
    assert_false(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_int_equal(s_number(cluster, 0, "n1"), 0); // not on the disk yet
    assert_true(bb_registry_newest(cluster->nodes[0].registry, S_KIND, entry.key, &entry));
    assert_int_equal(entry.number, 7);
    rc_steps(cluster, 5);
    assert_true(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_int_equal(outcome.context, 42);
    assert_false(outcome.is_superseded);
    assert_int_equal(outcome.node_count, 2);
    assert_false(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(s_number(cluster, i, "n1"), 7);
    }
    assert_false(bb_registry_is_spreading(cluster->nodes[0].registry, S_KIND, entry.key));
    assert_true(bb_registry_wake_mono_ns(cluster->nodes[0].registry) == BB_NEVER_NS);
    uint64_t sent = cluster->sent_count;
    rc_steps(cluster, 300);
    assert_int_equal(cluster->sent_count, sent); // digests agree: heartbeats only
    rc_destroy(&cluster);
}

// Goal: nothing is said, and nothing counted, before it is durable: a disk that is stuck has no
// vote, here and at a peer.
static void s_test_durable_first(void **state)
{
    (void)state;
    rc_cluster_t *cluster = rc_new(3, 2);
    bb_registry_outcome_t outcome;
    cluster->nodes[0].is_disk_stuck = true;
    bb_registry_entry_t entry = rc_entry(S_KIND, "n1", 1, "");
    s_put(cluster, 0, &entry, BB_REGISTRY_NEED_MAJORITY, 1);
    rc_steps(cluster, 100);
    assert_int_equal(cluster->sent_count, 0);
    assert_true(bb_registry_wake_mono_ns(cluster->nodes[0].registry) == BB_NEVER_NS);
    cluster->nodes[0].is_disk_stuck = false;
    cluster->nodes[1].is_disk_stuck = cluster->nodes[2].is_disk_stuck = true;
    rc_steps(cluster, 100);
    assert_false(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    cluster->nodes[2].is_disk_stuck = false;
    rc_steps(cluster, 100);
    assert_true(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_int_equal(outcome.node_count, 2);
    rc_destroy(&cluster);
}

// Goal: who puts a value that somebody knows a later one of is told, though its own disk does not
// know; and the later value is what stays everywhere.
static void s_test_superseded(void **state)
{
    (void)state;
    rc_cluster_t *cluster = rc_new(3, 3);
    bb_registry_entry_t nine = rc_entry(S_KIND, "n1", 9, "old disk");
    s_put(cluster, 0, &nine, BB_REGISTRY_NEED_ALL, 1);
    rc_steps(cluster, 50);
    bb_registry_outcome_t outcome;
    assert_true(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_int_equal(outcome.node_count, 3);
    rc_down(cluster, 0);
    cluster->nodes[0].disk.count = 0; // another disk
    rc_up(cluster, 0);
    bb_registry_entry_t six = rc_entry(S_KIND, "n1", 6, "new disk");
    s_put(cluster, 0, &six, BB_REGISTRY_NEED_MAJORITY, 2);
    rc_steps(cluster, 50);
    assert_true(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_int_equal(outcome.context, 2);
    assert_true(outcome.is_superseded);
    assert_int_equal(s_number(cluster, 0, "n1"), 9);
    // Known by now: refused at once.
    s_put(cluster, 0, &six, BB_REGISTRY_NEED_MAJORITY, 3);
    assert_true(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_true(outcome.is_superseded && outcome.context == 3);
    // A later put takes the place of one that is open.
    bb_registry_entry_t ten = rc_entry(S_KIND, "n1", 10, ""),
                        eleven = rc_entry(S_KIND, "n1", 11, "");
    s_put(cluster, 0, &ten, BB_REGISTRY_NEED_ALL, 4);
    s_put(cluster, 0, &eleven, BB_REGISTRY_NEED_ALL, 5);
    assert_true(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_true(outcome.is_superseded && outcome.context == 4);
    // An earlier one does not.
    s_put(cluster, 0, &ten, BB_REGISTRY_NEED_ALL, 6);
    assert_true(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_true(outcome.is_superseded && outcome.context == 6);
    rc_steps(cluster, 50);
    assert_true(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_true(!outcome.is_superseded && outcome.context == 5);
    rc_destroy(&cluster);
}

// Goal: a node that was away gets everything by comparing digests, in messages of bounded size; a
// put that needs all ends then.
static void s_test_returning(void **state)
{
    (void)state;
    rc_cluster_t *cluster = rc_new(3, 4);
    rc_down(cluster, 2);
    char key[32];
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "battery-%u", i);
        bb_registry_entry_t entry = rc_entry(S_KIND, key, i + 1, "");
        s_put(cluster, i % 2, &entry, BB_REGISTRY_NEED_MAJORITY, i);
        if (i % 100 == 99) {
            rc_steps(cluster, 5);
            for (uint32_t node = 0; node < 2; node++) { // the puts stay open: node 2 is away
                rc_down(cluster, node);
                rc_up(cluster, node);
            }
        }
    }
    bb_registry_entry_t last = rc_entry(S_KIND, "last", 1, "");
    s_put(cluster, 0, &last, BB_REGISTRY_NEED_ALL, 5000);
    rc_steps(cluster, 200);
    bb_registry_outcome_t outcome;
    assert_false(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_true(rc_is_equal(cluster));
    rc_up(cluster, 2);
    rc_steps(cluster, 200);
    assert_true(rc_is_equal(cluster));
    assert_int_equal(bb_registry_count(cluster->nodes[2].registry), 1001);
    assert_int_equal(s_number(cluster, 2, "battery-999"), 1000);
    assert_true(bb_registry_outcome_next(cluster->nodes[0].registry, &outcome));
    assert_int_equal(outcome.context, 5000);
    assert_int_equal(outcome.node_count, 3);
    rc_destroy(&cluster);
}

// Goal: hostile and broken messages change nothing.
static void s_test_bad_input(void **state)
{
    (void)state;
    bb_registry_t *registry = bb_registry_new(3, 0);
    bb_registry_entry_t entries[2] = {rc_entry(S_KIND, "n1", 1, ""), rc_entry(S_KIND, "", 1, "")};
    bb_registry_message_t message = {.entry_count = 2, .entries = entries};
    assert_int_equal(bb_registry_receive(registry, 1, &message), BB_ERR_MESSAGE_CORRUPT);
    bb_registry_entry_t found;
    assert_false(bb_registry_newest(registry, S_KIND, entries[0].key, &found)); // nor the good one
    message.entry_count = 1;
    assert_int_equal(bb_registry_receive(registry, 3, &message), BB_ERR_PEER_UNKNOWN);
    assert_int_equal(bb_registry_receive(registry, 0, &message), BB_ERR_PEER_UNKNOWN);
    uint64_t buckets[BB_REGISTRY_BUCKETS] = {0};
    message.buckets = buckets;
    message.bucket_count = BB_REGISTRY_BUCKETS - 1;
    assert_int_equal(bb_registry_receive(registry, 1, &message), BB_ERR_MESSAGE_CORRUPT);
    entries[0].number = 0;
    assert_int_equal(bb_registry_load(registry, &entries[0]), BB_ERR_CORRUPT);
    assert_int_equal(bb_registry_count(registry), 0);
    bb_registry_destroy(&registry);
}

// Goal: as many puts as may be open; the next is refused and changes nothing.
static void s_test_limit(void **state)
{
    (void)state;
    bb_registry_t *registry = bb_registry_new(2, 0);
    char key[32];
    for (uint32_t i = 0; i < BB_REGISTRY_PUTS_MAX; i++) {
        snprintf(key, sizeof key, "k%u", i);
        bb_registry_entry_t entry = rc_entry(S_KIND, key, 1, "");
        assert_int_equal(bb_registry_put(registry, 0, &entry, BB_REGISTRY_NEED_ALL, i), BB_OK);
    }
    bb_registry_entry_t entry = rc_entry(S_KIND, "one more", 1, ""), found;
    assert_int_equal(bb_registry_put(registry, 0, &entry, BB_REGISTRY_NEED_ALL, 0), BB_ERR_BUSY);
    assert_false(bb_registry_newest(registry, S_KIND, entry.key, &found));
    bb_registry_destroy(&registry);
}

// What a random run promised.
typedef struct {
    uint64_t promised[16]; // per key: largest number whose put has ended well
    uint64_t put[16];      // largest that was begun
} s_promises_t;

static void s_collect(rc_cluster_t *cluster, s_promises_t *promises)
{
    for (uint32_t node = 0; node < cluster->node_count; node++) {
        bb_registry_outcome_t outcome;
        while (cluster->nodes[node].registry &&
               bb_registry_outcome_next(cluster->nodes[node].registry, &outcome)) {
            uint64_t key = outcome.context >> 32, number = outcome.context & UINT32_MAX;
            if (!outcome.is_superseded) {
                promises->promised[key] = BB_MAX(promises->promised[key], number);
                assert_true(outcome.node_count > cluster->node_count / 2);
            }
        }
    }
}

static void s_disturb(rc_cluster_t *cluster, s_promises_t *promises)
{
    uint32_t node = (uint32_t)bb_random_below(&cluster->random, cluster->node_count);
    uint32_t other = (uint32_t)bb_random_below(&cluster->random, cluster->node_count);
    switch (bb_random_below(&cluster->random, 8)) {
    case 0:
        if (cluster->nodes[node].registry) {
            rc_down(cluster, node);
        } else {
            rc_up(cluster, node);
        }
        break;
    case 1:
        cluster->is_cut[node][other] = !cluster->is_cut[node][other];
        break;
    case 2:
        cluster->nodes[node].is_disk_stuck = !cluster->nodes[node].is_disk_stuck;
        break;
    default:
        if (cluster->nodes[node].registry) {
            uint32_t key = (uint32_t)bb_random_below(&cluster->random, 16);
            uint64_t number = bb_random_between(&cluster->random, 1, promises->put[key] + 2);
            promises->put[key] = BB_MAX(promises->put[key], number);
            char name[16];
            snprintf(name, sizeof name, "k%u", key);
            bb_registry_entry_t entry = rc_entry(S_KIND, name, number, "");
            bb_registry_need_t need = bb_random_chance(&cluster->random, 1, 2)
                                          ? BB_REGISTRY_NEED_ALL
                                          : BB_REGISTRY_NEED_MAJORITY;
            s_put(cluster, node, &entry, need, (uint64_t)key << 32 | number);
        }
        break;
    }
}

// Goal: whatever crashes, is cut, lost, repeated or late: what was promised is kept, nothing is
// larger than what was put, and when the faults end all are equal within two seconds.
static void s_test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        rc_cluster_t *cluster = rc_new(1 + (uint32_t)(seed % RC_NODES_MAX), seed);
        cluster->loss_pct = (uint32_t)bb_random_below(&cluster->random, 40);
        cluster->repeat_pct = (uint32_t)bb_random_below(&cluster->random, 40);
        cluster->delay_steps_max = 1 + (uint32_t)bb_random_below(&cluster->random, 30);
        s_promises_t promises = {0};
        for (uint32_t i = 0; i < 400; i++) {
            if (bb_random_chance(&cluster->random, 1, 3)) {
                s_disturb(cluster, &promises);
            }
            rc_step(cluster);
            s_collect(cluster, &promises);
        }
        memset(cluster->is_cut, 0, sizeof cluster->is_cut);
        cluster->loss_pct = 0;
        for (uint32_t i = 0; i < cluster->node_count; i++) {
            cluster->nodes[i].is_disk_stuck = false;
            if (!cluster->nodes[i].registry) {
                rc_up(cluster, i);
            }
        }
        rc_steps(cluster, 200);
        assert_true(rc_is_equal(cluster));
        for (uint32_t key = 0; key < 16; key++) {
            char name[16];
            snprintf(name, sizeof name, "k%u", key);
            for (uint32_t i = 0; i < cluster->node_count; i++) {
                assert_true(s_number(cluster, i, name) >= promises.promised[key]);
                assert_true(s_number(cluster, i, name) <= promises.put[key]);
            }
        }
        rc_destroy(&cluster);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_put),        cmocka_unit_test(s_test_durable_first),
        cmocka_unit_test(s_test_superseded), cmocka_unit_test(s_test_returning),
        cmocka_unit_test(s_test_bad_input),  cmocka_unit_test(s_test_limit),
        cmocka_unit_test(s_test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
