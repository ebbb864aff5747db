// SPDX-License-Identifier: Apache-2.0
// Tests of node/control/bb_boot: starts on good, empty, exchanged, copied and set back disks.
#include "node/control/bb_boot.h"

#include <stdio.h>

#include "tests/unit/node/registry_cluster.h"

// A node's folder and the process on it.
typedef struct {
    bb_boot_t *boot; // NULL: down
    bb_boot_disk_t disk;
    bool was_rebuilding;
    uint64_t memory; // stands for the data: grows on the disk with each mark
} s_process_t;

typedef struct {
    rc_cluster_t *cluster;
    s_process_t processes[RC_NODES_MAX];
    uint64_t memory_last[RC_NODES_MAX]; // the most that any disk of the node ever had
    uint64_t start_count;
    uint32_t mark_chance, rebuild_chance; // of a thousand, a step
} s_world_t;

static void s_name(char out[16], uint32_t node)
{
    snprintf(out, 16, "n%u", node);
}

static void s_start(s_world_t *world, uint32_t node)
{
    s_process_t *process = &world->processes[node];
    if (!world->cluster->nodes[node].registry) {
        rc_up(world->cluster, node);
    }
    char name[16];
    s_name(name, node);
    bb_stream_t incarnation = {{0}};
    uint64_t start = ++world->start_count * UINT64_C(0x9e3779b97f4a7c15); // ties fall either way
    memcpy(incarnation.bytes, &start, sizeof start);
    process->boot = bb_boot_new(world->cluster->nodes[node].registry, name, &process->disk,
                                &incarnation, rc_now_ns(world->cluster));
    process->was_rebuilding = false;
}

static void s_stop(s_world_t *world, uint32_t node)
{
    bb_boot_destroy(&world->processes[node].boot);
    rc_down(world->cluster, node);
}

static void s_disk_new(s_world_t *world, uint32_t node)
{
    s_process_t *process = &world->processes[node];
    process->disk = (bb_boot_disk_t){0};
    uint64_t identity = bb_random_next(&world->cluster->random);
    memcpy(process->disk.disk_id, &identity, sizeof identity);
    process->memory = 0;
    world->cluster->nodes[node].disk.count = 0;
}

static s_world_t *s_world_new(uint32_t node_count, uint64_t seed)
{
    s_world_t *world = bb_alloc_zero(1, sizeof *world);
    world->cluster = rc_new(node_count, seed);
    world->mark_chance = 5;
    world->rebuild_chance = 50;
    for (uint32_t i = 0; i < node_count; i++) {
        s_disk_new(world, i);
        s_start(world, i);
    }
    return world;
}

static void s_world_destroy(s_world_t **world)
{
    for (uint32_t i = 0; i < (*world)->cluster->node_count; i++) {
        bb_boot_destroy(&(*world)->processes[i].boot);
    }
    rc_destroy(&(*world)->cluster);
    free(*world);
    *world = NULL;
}

// The process of a node does what its shell would; the node counts only with its whole memory.
static void s_run(s_world_t *world, uint32_t node)
{
    s_process_t *process = &world->processes[node];
    rc_cluster_t *cluster = world->cluster;
    if (!process->boot) {
        return;
    }
    bb_registry_outcome_t outcome;
    while (bb_registry_outcome_next(cluster->nodes[node].registry, &outcome)) {
        bb_boot_outcome(process->boot, &outcome);
    }
    bb_boot_tick(process->boot, rc_now_ns(cluster));
    bb_boot_disk_t disk;
    if (bb_boot_wants_disk(process->boot, &disk)) {
        process->disk = disk;
        bb_boot_disk_written(process->boot, rc_now_ns(cluster));
    }
    bb_boot_state_t state = bb_boot_state(process->boot);
    if (state == BB_BOOT_REBUILDING) {
        process->was_rebuilding = true;
        if (bb_random_chance(&cluster->random, world->rebuild_chance, 1000)) {
            process->memory = world->memory_last[node];
            bb_boot_rebuilt(process->boot);
        }
    } else if (state == BB_BOOT_COUNTING) {
        assert_true(process->memory == world->memory_last[node]);
        if (bb_random_chance(&cluster->random, world->mark_chance, 1000)) {
            bb_boot_mark(process->boot);
            process->memory = ++world->memory_last[node];
        }
    }
}

static void s_steps(s_world_t *world, uint32_t count)
{
    for (uint32_t s = 0; s < count; s++) {
        for (uint32_t i = 0; i < world->cluster->node_count; i++) {
            s_run(world, i);
        }
        rc_step(world->cluster);
    }
}

static bb_boot_state_t s_state(const s_world_t *world, uint32_t node)
{
    return bb_boot_state(world->processes[node].boot);
}

// Goal: a new cluster counts within a few round trips, and so does a node that comes back; their
// numbers grow by one with each start.
static void s_test_plain_starts(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3, 1);
    s_steps(world, 20);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(s_state(world, i), BB_BOOT_COUNTING);
        assert_int_equal(bb_boot_number(world->processes[i].boot), 1);
        assert_false(world->processes[i].was_rebuilding);
    }
    for (uint64_t number = 2; number < 6; number++) {
        s_stop(world, 1);
        s_steps(world, 5);
        s_start(world, 1);
        s_steps(world, 10);
        assert_int_equal(s_state(world, 1), BB_BOOT_COUNTING);
        assert_int_equal(bb_boot_number(world->processes[1].boot), number);
    }
    s_world_destroy(&world);
}

// Goal: with one of three away a node counts after the grace, not before; with two away never.
static void s_test_majority(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3, 2);
    s_steps(world, 20);
    s_stop(world, 2);
    s_stop(world, 1);
    s_start(world, 1);
    uint32_t grace_steps = (uint32_t)(BB_BOOT_GRACE_NS / RC_STEP_NS);
    s_steps(world, grace_steps - 1);
    assert_int_equal(s_state(world, 1), BB_BOOT_CLAIMING);
    assert_true(bb_boot_wake_mono_ns(world->processes[1].boot) < BB_NEVER_NS);
    s_steps(world, 6);
    assert_int_equal(s_state(world, 1), BB_BOOT_COUNTING);
    s_stop(world, 1);
    s_stop(world, 0);
    s_start(world, 0);
    s_steps(world, 10 * grace_steps);
    assert_int_equal(s_state(world, 0), BB_BOOT_CLAIMING);
    s_world_destroy(&world);
}

// Goal: an empty disk is not believed by a majority that it is part of: the only other node that
// knew its last start may be the one that is away. Of three nodes both others must have answered.
static void s_test_empty_disk_is_no_witness(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3, 6);
    s_steps(world, 20);
    rc_cluster_t *cluster = world->cluster;
    cluster->is_cut[1][0] = cluster->is_cut[0][1] = true; // 1 and 2 hold the next start of 1
    s_stop(world, 1);
    s_start(world, 1);
    s_steps(world, 300);
    assert_int_equal(s_state(world, 1), BB_BOOT_COUNTING);
    cluster->is_cut[2][0] = cluster->is_cut[0][2] = true; // so that 0 does not hear of it
    s_stop(world, 1);
    s_disk_new(world, 1);
    cluster->nodes[0].disk.count = 0; // nor knows of any before
    s_stop(world, 0);
    s_start(world, 0);
    cluster->is_cut[1][0] = cluster->is_cut[0][1] = false;
    cluster->is_cut[1][2] = cluster->is_cut[2][1] = true;
    s_start(world, 1);
    s_steps(world, 1000);
    assert_int_equal(s_state(world, 1), BB_BOOT_CLAIMING);
    cluster->is_cut[1][2] = cluster->is_cut[2][1] = false;
    world->rebuild_chance = 0;
    s_steps(world, 100);
    assert_int_equal(s_state(world, 1), BB_BOOT_REBUILDING);
    s_world_destroy(&world);
}

// Goal: a lost disk, an exchanged one and one that was set back are seen; the node rebuilds, also
// when it is restarted meanwhile, and then counts with a number above all before.
static void s_test_amnesia(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3, 3);
    s_steps(world, 20);
    bb_boot_disk_t old_disk = world->processes[0].disk;
    for (uint32_t i = 0; i < 3; i++) {
        s_stop(world, 0);
        s_start(world, 0);
        s_steps(world, 20);
    }
    uint64_t number = bb_boot_number(world->processes[0].boot);
    s_stop(world, 0);
    s_disk_new(world, 0);
    world->rebuild_chance = 0;
    s_start(world, 0);
    s_steps(world, 6);
    s_stop(world, 0); // in the middle of it
    world->rebuild_chance = 50;
    s_start(world, 0);
    s_steps(world, 400);
    assert_true(world->processes[0].was_rebuilding);
    assert_int_equal(s_state(world, 0), BB_BOOT_COUNTING);
    assert_true(bb_boot_number(world->processes[0].boot) > number);

    number = bb_boot_number(world->processes[0].boot);
    s_stop(world, 0); // the first disk again, and nothing of the registry
    world->cluster->nodes[0].disk.count = 0;
    world->processes[0].disk = old_disk;
    world->processes[0].memory = 5;
    s_start(world, 0);
    s_steps(world, 200);
    assert_true(world->processes[0].was_rebuilding);
    assert_int_equal(s_state(world, 0), BB_BOOT_COUNTING);
    assert_true(bb_boot_number(world->processes[0].boot) > number);
    s_world_destroy(&world);
}

// Goal: a rebuild that has begun is not forgotten by a restart.
static void s_test_rebuild_goes_on(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3, 4);
    s_steps(world, 20);
    s_stop(world, 2);
    s_disk_new(world, 2);
    s_start(world, 2);
    for (uint32_t i = 0; i < 400 && s_state(world, 2) != BB_BOOT_REBUILDING; i++) {
        s_steps(world, 1);
    }
    assert_int_equal(s_state(world, 2), BB_BOOT_REBUILDING);
    assert_true(world->processes[2].disk.must_rebuild);
    s_stop(world, 2);
    s_start(world, 2);
    s_steps(world, 400);
    assert_true(world->processes[2].was_rebuilding);
    assert_int_equal(s_state(world, 2), BB_BOOT_COUNTING);
    assert_false(world->processes[2].disk.must_rebuild);
    s_world_destroy(&world);
}

// Goal: a node that was rebuilt does not count before its disk says so: its next start would
// rebuild again, and be no witness for another one that is lost meanwhile. (Simulator, seed
// 10000539: a commit that failed, then two of three replicas waited for each other for good.)
static void s_test_rebuilt_on_disk(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3, 4);
    s_steps(world, 20);
    s_stop(world, 2);
    s_disk_new(world, 2);
    s_start(world, 2);
    world->rebuild_chance = 0;
    for (uint32_t i = 0; i < 400 && s_state(world, 2) != BB_BOOT_REBUILDING; i++) {
        s_steps(world, 1);
    }
    bb_boot_t *boot = world->processes[2].boot;
    bb_boot_disk_t disk;
    assert_false(bb_boot_wants_disk(boot, &disk));
    for (uint32_t again = 0; again < 2; again++) {
        bb_boot_rebuilt(boot);
        bb_boot_tick(boot, rc_now_ns(world->cluster));
        assert_int_equal(bb_boot_state(boot), BB_BOOT_REBUILDING);
        assert_true(bb_boot_wants_disk(boot, &disk));
        assert_false(disk.must_rebuild);
    }
    bb_boot_disk_written(boot, rc_now_ns(world->cluster));
    assert_int_equal(bb_boot_state(boot), BB_BOOT_COUNTING);
    s_world_destroy(&world);
}

// Goal: of two processes with one identity the older fences itself when it hears of the younger.
static void s_test_twin(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3, 5);
    s_steps(world, 20);
    // The first is stopped in its tracks, a copy of its folder is started in its place.
    bb_registry_t *first_registry = world->cluster->nodes[0].registry;
    s_process_t first = world->processes[0];
    world->cluster->nodes[0].registry = NULL;
    s_start(world, 0);
    s_steps(world, 50);
    assert_int_equal(s_state(world, 0), BB_BOOT_COUNTING);
    assert_int_equal(bb_boot_number(world->processes[0].boot), 2);
    // And goes on.
    bb_registry_t *second_registry = world->cluster->nodes[0].registry;
    s_process_t second = world->processes[0];
    world->cluster->nodes[0].registry = first_registry;
    world->processes[0] = first;
    world->processes[0].memory = world->memory_last[0];
    s_steps(world, 500); // within 5 s
    assert_int_equal(s_state(world, 0), BB_BOOT_FENCED);
    bb_boot_destroy(&second.boot);
    bb_registry_destroy(&second_registry);
    s_world_destroy(&world);
}

// Goal: two that start at once from copies of one folder never both count.
static void s_test_twins_at_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        s_world_t *world = s_world_new(3, seed);
        s_steps(world, 20);
        s_stop(world, 0);
        world->start_count = seed;
        s_process_t processes[2];
        bb_registry_t *registries[2];
        for (uint32_t i = 0; i < 2; i++) {
            s_start(world, 0);
            processes[i] = world->processes[0];
            registries[i] = world->cluster->nodes[0].registry;
            world->cluster->nodes[0].registry = NULL;
        }
        uint32_t at = 0;
        for (uint32_t turn = 0; turn < 400; turn++) {
            world->cluster->nodes[0].registry = registries[at];
            world->processes[0] = processes[at];
            world->processes[0].memory = world->memory_last[0];
            s_steps(world, 1 + (uint32_t)bb_random_below(&world->cluster->random, 30));
            processes[at] = world->processes[0];
            at = 1 - at;
        }
        bb_boot_state_t a = bb_boot_state(processes[0].boot), b = bb_boot_state(processes[1].boot);
        assert_true((a == BB_BOOT_FENCED) != (b == BB_BOOT_FENCED));
        assert_true(a == BB_BOOT_COUNTING || b == BB_BOOT_COUNTING);
        world->cluster->nodes[0].registry = registries[0];
        world->processes[0].boot = processes[0].boot;
        bb_boot_destroy(&processes[1].boot);
        bb_registry_destroy(&registries[1]);
        s_world_destroy(&world);
    }
}

// Goal: one that is outbid whenever it takes a number does not take one after another: within 10 s
// some ten, each after a wait that it names, and it is registered once nobody outbids it any more.
// (Simulator, seed 295: two processes took 100 numbers in a tenth of a second.)
static void s_test_outbid(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3, 7);
    s_steps(world, 20);
    s_stop(world, 0);
    s_disk_new(world, 0);
    world->rebuild_chance = 0;
    s_start(world, 0);
    bb_boot_t *boot = world->processes[0].boot;
    uint8_t payload[16 + sizeof(bb_stream_t)] = {0xff};
    uint32_t number = 0, number_count = 0, idle_count = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        s_steps(world, 1);
        assert_int_not_equal(bb_boot_state(boot), BB_BOOT_REBUILDING);
        int64_t now_ns = rc_now_ns(world->cluster), wake_ns = bb_boot_wake_mono_ns(boot);
        idle_count += wake_ns > now_ns && wake_ns <= now_ns + 2 * BB_BOOT_OUTBID_NS_MAX;
        if (bb_boot_state(boot) == BB_BOOT_REGISTERING && bb_boot_number(boot) != number) {
            number = bb_boot_number(boot);
            number_count++;
            bb_registry_entry_t entry = {.kind = BB_REGISTRY_BOOT,
                                         .key = bb_slice("n0", 2),
                                         .number = (uint64_t)(number + 1) << 32,
                                         .payload = bb_slice(payload, sizeof payload)};
            bb_registry_message_t message = {.entry_count = 1, .entries = &entry};
            assert_int_equal(bb_registry_receive(world->cluster->nodes[0].registry, 1, &message),
                             BB_OK);
        }
    }
    assert_in_range(number_count, 5, 12);
    assert_in_range(idle_count, 900, 1000);
    s_steps(world, 400);
    assert_int_equal(bb_boot_state(boot), BB_BOOT_REBUILDING);
    assert_true(bb_boot_number(boot) > number);
    s_world_destroy(&world);
}

// All know everything, the last marks too, so that one bad disk is the only gap.
static bool s_is_whole(const s_world_t *world)
{
    for (uint32_t i = 0; i < world->cluster->node_count; i++) {
        const s_process_t *process = &world->processes[i];
        if (!process->boot || s_state(world, i) != BB_BOOT_COUNTING) {
            return false;
        }
        char name[16];
        s_name(name, i);
        bb_registry_entry_t entry;
        bb_boot_disk_t disk;
        if (bb_boot_wants_disk(process->boot, &disk) ||
            !bb_registry_get(world->cluster->nodes[i].registry, BB_REGISTRY_BOOT,
                             bb_slice(name, strlen(name)), &entry) ||
            entry.number != ((uint64_t)disk.boot << 32 | disk.mark)) {
            return false;
        }
    }
    return rc_is_equal(world->cluster);
}

// Goal: crashes, losses and one bad disk at a time, in any order: whoever counts has its memory
// (asserted at each step), and when the faults end all count within a few seconds.
static void s_test_random(void **state)
{
    (void)state;
    uint32_t bad_disk_count = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        s_world_t *world = s_world_new(2 + (uint32_t)(seed % (RC_NODES_MAX - 1)), seed);
        rc_cluster_t *cluster = world->cluster;
        cluster->loss_pct = (uint32_t)bb_random_below(&cluster->random, 30);
        cluster->repeat_pct = (uint32_t)bb_random_below(&cluster->random, 30);
        cluster->delay_steps_max = 1 + (uint32_t)bb_random_below(&cluster->random, 20);
        s_process_t kept[RC_NODES_MAX];
        memcpy(kept, world->processes, sizeof kept);
        for (uint32_t i = 0; i < 2000; i++) {
            s_steps(world, 1);
            uint32_t node = (uint32_t)bb_random_below(&cluster->random, cluster->node_count);
            s_process_t *process = &world->processes[node];
            bool is_whole = s_is_whole(world);
            switch (bb_random_below(&cluster->random, 100)) {
            case 0:
                if (process->boot) {
                    s_stop(world, node);
                }
                break;
            case 1: // what an old copy of the folder would have
                if (process->boot && s_state(world, node) == BB_BOOT_COUNTING) {
                    kept[node] = *process;
                }
                break;
            case 2:
                if (is_whole && bb_random_chance(&cluster->random, 1, 2)) {
                    s_stop(world, node);
                    s_disk_new(world, node);
                    bad_disk_count++;
                } else if (is_whole && kept[node].disk.boot > 0) {
                    s_stop(world, node);
                    cluster->nodes[node].disk.count = 0;
                    process->disk = kept[node].disk;
                    process->memory = kept[node].memory;
                    bad_disk_count++;
                }
                break;
            default:
                break;
            }
            for (uint32_t k = 0; k < cluster->node_count; k++) {
                if (!world->processes[k].boot && bb_random_chance(&cluster->random, 1, 50)) {
                    s_start(world, k);
                }
            }
        }
        cluster->loss_pct = 0;
        world->mark_chance = 0;
        for (uint32_t k = 0; k < cluster->node_count; k++) {
            if (!world->processes[k].boot) {
                s_start(world, k);
            } else if (s_state(world, k) == BB_BOOT_FENCED) {
                s_stop(world, k); // as a supervisor does
                s_start(world, k);
            }
        }
        s_steps(world, 1000);
        assert_true(s_is_whole(world));
        s_world_destroy(&world);
    }
    assert_true(bad_disk_count > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_plain_starts),    cmocka_unit_test(s_test_majority),
        cmocka_unit_test(s_test_amnesia),         cmocka_unit_test(s_test_rebuild_goes_on),
        cmocka_unit_test(s_test_rebuilt_on_disk), cmocka_unit_test(s_test_twin),
        cmocka_unit_test(s_test_twins_at_once),   cmocka_unit_test(s_test_outbid),
        cmocka_unit_test(s_test_random),          cmocka_unit_test(s_test_empty_disk_is_no_witness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
