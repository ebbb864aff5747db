// SPDX-License-Identifier: Apache-2.0
// Tests of node/control/bb_control: registries and boot numbers on simulated disks; messages are
// encoded and decoded on their way, and time is a number that moves in steps of 10 ms.
#include "node/control/bb_control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "storage/bb_store_mark.h"
#include "tests/support/bb_sim_disk.h"
#include "tests/support/bb_sim_kv.h"
#include "tests/unit/node/replication_topology.h"

#define S_NODES_MAX 4
#define S_STEP_NS   (10 * BB_NS_PER_MS)
#define S_MAIL_MAX  4096

typedef struct s_world s_world_t;

typedef struct {
    s_world_t *world;
    uint32_t index;  // place in the table
    uint32_t number; // in the topology; two places may have one identity
    bb_topology_t *topology;
    bb_sim_disk_t *disk;
    bb_control_t *control; // NULL: down
    uint32_t start;        // number of its stream
} s_node_t;

typedef struct {
    uint32_t from, to; // places
    uint8_t *data;
    size_t length;
} s_mail_t;

struct s_world {
    uint32_t count; // places
    int64_t now_ns, wall_ns;
    uint8_t stream_next;
    s_node_t nodes[S_NODES_MAX];
    bool is_cut[S_NODES_MAX]; // place neither hears nor speaks
    s_mail_t mail[S_MAIL_MAX];
    uint32_t mail_count;
    uint64_t sent_count;
};

static void s_post(s_world_t *world, uint32_t from, uint32_t number, const bb_message_t *message)
{
    world->sent_count++;
    for (uint32_t to = 0; to < world->count; to++) {
        if (to != from && world->nodes[to].number == number && !world->is_cut[from] &&
            !world->is_cut[to] && world->mail_count < S_MAIL_MAX) {
            s_mail_t *mail = &world->mail[world->mail_count++];
            *mail = (s_mail_t){.from = from, .to = to};
            bb_message_encode(message, &mail->data, &mail->length);
        }
    }
}

static void s_send(void *context, uint32_t peer_index, const bb_message_t *message)
{
    s_node_t *node = context;
    s_post(node->world, node->index, peer_index, message);
}

static bb_stream_t s_incarnation(const char *id, uint32_t number, uint8_t stream)
{
    uint8_t random[8] = {stream};
    return bb_stream_make(bb_stream_node_hash(id), number, random);
}

static void s_start(s_world_t *world, uint32_t at)
{
    s_node_t *node = &world->nodes[at];
    uint8_t stream = ++world->stream_next;
    const char *id = bb_topology_node(node->topology, node->number)->id;
    bb_control_starting_t starting = {.vfs = bb_sim_disk_vfs(node->disk),
                                      .kv = bb_sim_kv(node->disk),
                                      .directory = "/data",
                                      .node_id = id,
                                      .now_wall_ns = world->wall_ns};
    bb_fault_t fault = {0};
    bb_vfs_t *vfs = bb_sim_disk_vfs(node->disk);
    assert_int_equal(vfs->make_directory(vfs, "/data/store-00"), BB_OK);
    assert_int_equal(vfs->make_directory(vfs, "/data/store-01"), BB_OK);
    assert_int_equal(bb_control_stream_number(&starting, &node->start, &fault), BB_OK);
    bb_control_options_t options = {.topology = node->topology,
                                    .vfs = bb_sim_disk_vfs(node->disk),
                                    .kv = bb_sim_kv(node->disk),
                                    .directory = "/data",
                                    .store_count = 2,
                                    .incarnation = s_incarnation(id, node->start, stream),
                                    .disk_id = {0xd0, stream},
                                    .context = node,
                                    .send = s_send};
    if (bb_control_open(&options, world->now_ns, &node->control, &fault) != BB_OK) {
        fail_msg("%s", fault.text);
    }
    for (uint32_t i = 0; i < bb_topology_node_count(node->topology); i++) {
        if (i != node->number) {
            bb_control_peer(node->control, world->now_ns, i, true);
        }
    }
}

static void s_stop(s_world_t *world, uint32_t at)
{
    bb_control_close(&world->nodes[at].control);
    bb_random_t random = bb_random_seed(at + 1);
    bb_sim_disk_crash(world->nodes[at].disk, &random);
}

static void s_disk_lose(s_world_t *world, uint32_t at)
{
    bb_sim_disk_destroy(&world->nodes[at].disk);
    world->nodes[at].disk = bb_sim_disk_new();
}

static void s_place(s_world_t *world, uint32_t number, uint32_t node_count)
{
    s_node_t *node = &world->nodes[world->count];
    *node = (s_node_t){.world = world, .index = world->count++, .number = number};
    node->topology = test_topology(node_count, node_count, 0, 0, 8, number);
    node->disk = bb_sim_disk_new();
}

static s_world_t *s_world_new(uint32_t node_count)
{
    s_world_t *world = bb_alloc_zero(1, sizeof *world);
    world->now_ns = BB_NS_PER_S;
    for (uint32_t i = 0; i < node_count; i++) {
        s_place(world, i, node_count);
        s_start(world, i);
    }
    return world;
}

static void s_world_destroy(s_world_t **world)
{
    for (uint32_t i = 0; i < (*world)->count; i++) {
        bb_control_close(&(*world)->nodes[i].control);
        bb_topology_destroy(&(*world)->nodes[i].topology);
        bb_sim_disk_destroy(&(*world)->nodes[i].disk);
    }
    for (uint32_t i = 0; i < (*world)->mail_count; i++) {
        free((*world)->mail[i].data);
    }
    free(*world);
    *world = NULL;
}

static void s_deliver(s_world_t *world, const s_mail_t *mail)
{
    bb_message_t message;
    assert_int_equal(bb_message_decode(&message, bb_slice(mail->data, mail->length), NULL), BB_OK);
    bb_control_t *control = world->nodes[mail->to].control;
    uint32_t from = world->nodes[mail->from].number;
    if (control && message.kind == BB_KIND_REGISTRY) {
        assert_int_equal(bb_control_receive(control, from, &message.registry), BB_OK);
    } else if (control) {
        bb_control_hear(control, world->now_ns, from, message.heartbeat.registry_digest);
    }
    bb_message_close(&message);
}

// Time passes; heartbeats every 100 ms.
static void s_pass(s_world_t *world, int64_t duration_ns)
{
    for (int64_t end_ns = world->now_ns + duration_ns; world->now_ns < end_ns;) {
        world->now_ns += S_STEP_NS;
        uint32_t count = world->mail_count;
        s_mail_t *due = bb_alloc((count + 1) * sizeof *due);
        memcpy(due, world->mail, count * sizeof *due);
        world->mail_count = 0;
        for (uint32_t i = 0; i < count; i++) {
            s_deliver(world, &due[i]);
            free(due[i].data);
        }
        free(due);
        for (uint32_t i = 0; i < world->count; i++) {
            bb_control_t *control = world->nodes[i].control;
            if (!control) {
                continue;
            }
            bb_control_step(control, world->now_ns);
            for (uint32_t j = 0; world->now_ns % (10 * S_STEP_NS) == 0 && j < world->count; j++) {
                bb_message_t beat = {
                    .kind = BB_KIND_HEARTBEAT,
                    .heartbeat = {.store_count = 1, .registry_digest = bb_control_digest(control)}};
                if (j != world->nodes[i].number &&
                    j < bb_topology_node_count(world->nodes[i].topology)) {
                    s_post(world, i, j, &beat);
                }
            }
        }
    }
}

static bb_standing_t s_standing(const s_world_t *world, uint32_t at)
{
    return bb_control_standing(world->nodes[at].control);
}

// Goal: a node alone counts at once, in the step in which it started; each start is one number.
static void test_alone(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(1);
    for (uint32_t boot = 1; boot <= 3; boot++) {
        assert_int_equal(s_standing(world, 0), BB_STANDING_JOINING);
        bb_control_step(world->nodes[0].control, world->now_ns);
        assert_int_equal(s_standing(world, 0), BB_STANDING_COUNTING);
        assert_int_equal(bb_control_boot(world->nodes[0].control), boot);
        s_stop(world, 0);
        s_start(world, 0);
    }
    assert_int_equal(world->sent_count, 0);
    s_world_destroy(&world);
}

// Goal: three that start together count within some round trips; one that comes back after a power
// loss too, and has not forgotten its number; then nothing is said but heartbeats.
static void test_together(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3);
    s_pass(world, 150 * BB_NS_PER_MS);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(s_standing(world, i), BB_STANDING_COUNTING);
    }
    s_stop(world, 1);
    s_start(world, 1);
    s_pass(world, 150 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 1), BB_STANDING_COUNTING);
    assert_int_equal(bb_control_boot(world->nodes[1].control), 2);
    s_pass(world, 1000 * BB_NS_PER_MS);
    uint64_t sent = world->sent_count;
    s_pass(world, 1000 * BB_NS_PER_MS);
    assert_int_equal(world->sent_count, sent + 3 * 2 * 10);
    s_world_destroy(&world);
}

// Goal: with one node down, a start counts after the grace; without a majority never.
static void test_majority(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3);
    s_pass(world, 200 * BB_NS_PER_MS);
    world->is_cut[2] = true;
    for (uint32_t i = 0; i < 3; i++) {
        s_stop(world, i);
        s_start(world, i);
    }
    s_pass(world, BB_BOOT_GRACE_NS - 200 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 0), BB_STANDING_JOINING);
    s_pass(world, 400 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 0), BB_STANDING_COUNTING);
    assert_int_equal(s_standing(world, 1), BB_STANDING_COUNTING);
    s_pass(world, 60 * BB_NS_PER_S);
    assert_int_equal(s_standing(world, 2), BB_STANDING_JOINING);
    world->is_cut[2] = false;
    s_pass(world, 700 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 2), BB_STANDING_COUNTING);
    s_world_destroy(&world);
}

// Goal: an empty disk is seen: that node is to be rebuilt, also after another restart, until its
// stores say that they are.
static void test_empty_disk(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3);
    s_pass(world, 200 * BB_NS_PER_MS);
    s_stop(world, 1);
    s_disk_lose(world, 1);
    s_start(world, 1);
    s_pass(world, 200 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 1), BB_STANDING_REBUILDING);
    assert_int_equal(bb_control_boot(world->nodes[1].control), 2);
    s_stop(world, 1);
    s_start(world, 1);
    s_pass(world, 200 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 1), BB_STANDING_REBUILDING);
    bb_control_rebuilt(world->nodes[1].control);
    s_pass(world, 20 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 1), BB_STANDING_COUNTING);
    s_stop(world, 1);
    s_start(world, 1);
    s_pass(world, 200 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 1), BB_STANDING_COUNTING);
    s_world_destroy(&world);
}

// Goal: a copy of the folder, put back after a mark, is seen; a copy that is younger than a mark
// is taken for a crash, as the header says.
static void test_old_copy(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3);
    s_pass(world, 200 * BB_NS_PER_MS);
    bb_sim_disk_t *copy = bb_sim_disk_copy(world->nodes[1].disk);
    bb_control_promised(world->nodes[1].control);
    s_pass(world, BB_CONTROL_MARK_NS + 200 * BB_NS_PER_MS);
    bb_sim_disk_t *young = bb_sim_disk_copy(world->nodes[1].disk);
    s_stop(world, 1);
    bb_sim_disk_destroy(&world->nodes[1].disk);
    world->nodes[1].disk = young;
    s_start(world, 1);
    s_pass(world, 200 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 1), BB_STANDING_COUNTING);
    s_stop(world, 1);
    bb_sim_disk_destroy(&world->nodes[1].disk);
    world->nodes[1].disk = copy;
    s_start(world, 1);
    s_pass(world, 200 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 1), BB_STANDING_REBUILDING);
    s_world_destroy(&world);
}

// Goal: a store that alone was lost, put back from a copy, or whose mark is damaged makes the node
// rebuild, and is named; what a crash leaves between a store's mark and the node's does not.
static void test_store_alone(void **state)
{
    (void)state;
    enum { LOST, OLDER, DAMAGED, NEWER, CASES };
    for (int what = 0; what < CASES; what++) {
        s_world_t *world = s_world_new(3);
        s_node_t *node = &world->nodes[1];
        bb_store_mark_t first = {0}, later = {0};
        s_pass(world, 200 * BB_NS_PER_MS);
        bb_vfs_t *vfs = bb_sim_disk_vfs(node->disk);
        assert_int_equal(bb_store_mark_read(vfs, "/data/store-01", &first), BB_OK);
        bb_control_promised(node->control);
        s_pass(world, BB_CONTROL_MARK_NS + 200 * BB_NS_PER_MS);
        assert_int_equal(bb_store_mark_read(vfs, "/data/store-01", &later), BB_OK);
        assert_true(bb_store_mark_is_before(first, later));
        s_stop(world, 1);
        bb_file_t *file = NULL;
        switch (what) {
        case LOST:
            assert_int_equal(vfs->remove_tree(vfs, "/data/store-01"), BB_OK);
            break;
        case OLDER:
            assert_int_equal(bb_store_mark_write(vfs, "/data/store-01", first), BB_OK);
            break;
        case DAMAGED:
            assert_int_equal(
                vfs->open(vfs, "/data/store-01/busbar.mark", BB_FILE_WRITE, &file, NULL), BB_OK);
            assert_int_equal(vfs->truncate(vfs, file, 31), BB_OK);
            vfs->close(vfs, &file);
            break;
        default:
            later.mark++;
            assert_int_equal(bb_store_mark_write(vfs, "/data/store-01", later), BB_OK);
            break;
        }
        s_start(world, 1);
        const char *doubt = bb_control_doubt_text(node->control);
        s_pass(world, 200 * BB_NS_PER_MS);
        assert_int_equal(s_standing(world, 1),
                         what == NEWER ? BB_STANDING_COUNTING : BB_STANDING_REBUILDING);
        assert_int_equal(bb_control_boot(node->control), 2);
        assert_true((what == NEWER) == (*doubt == '\0'));
        assert_true(what == NEWER || strstr(doubt, "store-01 has seen boot "));
        s_world_destroy(&world);
    }
}

// Goal: of two processes with one identity the older is fenced within 5 s and names the other; the
// younger does not count before it was rebuilt, since it is from an older copy.
static void test_twin(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3);
    s_pass(world, 200 * BB_NS_PER_MS);
    s_place(world, 2, 3);
    bb_sim_disk_destroy(&world->nodes[3].disk);
    world->nodes[3].disk = bb_sim_disk_copy(world->nodes[2].disk);
    bb_control_promised(world->nodes[2].control);
    s_pass(world, BB_CONTROL_MARK_NS + 200 * BB_NS_PER_MS);
    s_start(world, 3);
    s_pass(world, 1000 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 2), BB_STANDING_FENCED);
    assert_int_equal(s_standing(world, 3), BB_STANDING_REBUILDING);
    char text[128];
    bb_control_rival_text(world->nodes[2].control, text, sizeof text);
    assert_string_equal(text, "disk d0030000000000000000000000000000, boot 2, mark 0");
    s_pass(world, 60 * BB_NS_PER_S);
    assert_int_equal(s_standing(world, 2), BB_STANDING_FENCED); // for good
    s_world_destroy(&world);
}

// Goal: a full disk holds everything up and is tried again; after a failed sync it counts no more.
// Nothing was told to anybody meanwhile.
static void test_disk_faults(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3);
    bb_sim_disk_fail(world->nodes[0].disk, BB_SIM_COMMIT, 1, BB_ERR_DISK_FULL);
    s_pass(world, 200 * BB_NS_PER_MS);
    assert_int_equal(s_standing(world, 0), BB_STANDING_JOINING);
    assert_int_equal(s_standing(world, 1), BB_STANDING_JOINING); // it waits for the first's answer
    s_pass(world, BB_CONTROL_RETRY_NS);
    assert_int_equal(s_standing(world, 0), BB_STANDING_COUNTING);
    bb_sim_disk_fail(world->nodes[0].disk, BB_SIM_COMMIT, 1, BB_ERR_IO);
    bb_control_promised(world->nodes[0].control);
    s_pass(world, BB_CONTROL_MARK_NS + 100 * BB_NS_PER_MS);
    assert_true(bb_control_is_broken(world->nodes[0].control));
    assert_int_equal(s_standing(world, 0), BB_STANDING_JOINING);
    s_world_destroy(&world);
}

// Goal: what a folder knows of itself is these bytes, and nothing else is taken for it.
static void test_identity_bytes(void **state)
{
    (void)state;
    static const uint8_t golden[BB_CONTROL_IDENTITY_BYTES] = {
        1,    1,    0,    0,    0x04, 0x03, 0x02, 0x01, 0x08, 0x07, 0x06, 0x05, 0x10, 0x11, 0x12,
        0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21,
        0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f};
    bb_boot_disk_t disk = {.boot = 0x01020304, .mark = 0x05060708, .must_rebuild = true};
    for (uint8_t i = 0; i < 16; i++) {
        disk.disk_id[i] = 0x10 + i;
        disk.incarnation.bytes[i] = 0x20 + i;
    }
    uint8_t bytes[BB_CONTROL_IDENTITY_BYTES];
    bb_control_identity_encode(&disk, bytes);
    assert_memory_equal(bytes, golden, sizeof golden);
    bb_boot_disk_t again = {0};
    assert_int_equal(bb_control_identity_decode(&again, bb_slice(golden, sizeof golden)), BB_OK);
    assert_int_equal(again.boot, disk.boot);
    assert_int_equal(again.mark, disk.mark);
    assert_true(again.must_rebuild);
    assert_memory_equal(again.disk_id, disk.disk_id, 16);
    assert_memory_equal(again.incarnation.bytes, disk.incarnation.bytes, 16);
    for (size_t length = 0; length < sizeof golden; length++) {
        assert_int_equal(bb_control_identity_decode(&again, bb_slice(golden, length)),
                         BB_ERR_CORRUPT);
    }
    bytes[0] = 2;
    assert_int_equal(bb_control_identity_decode(&again, bb_slice(bytes, sizeof bytes)),
                     BB_ERR_FORMAT);
    for (uint32_t at = 1; at < 4; at++) {
        memcpy(bytes, golden, sizeof bytes);
        bytes[at] = 2;
        assert_int_equal(bb_control_identity_decode(&again, bb_slice(bytes, sizeof bytes)),
                         BB_ERR_CORRUPT);
    }
}

static uint32_t s_below(const s_world_t *world, uint32_t at, uint32_t about)
{
    uint64_t version = 0;
    bb_forgotten_t forgotten = {0};
    bool is_more = bb_control_forgotten(world->nodes[at].control, &version, &forgotten);
    assert_int_equal(is_more, forgotten.count > 0);
    assert_false(bb_control_forgotten(world->nodes[at].control, &version, &forgotten));
    const char *id = bb_topology_node(world->nodes[at].topology, about)->id;
    return bb_forgotten_below(&forgotten, bb_stream_node_hash(id));
}

// Goal: each start has a later number than all that its disk knows of, and not an earlier one than
// the clock says, so that a new disk goes on behind the old one.
static void test_numbers(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3);
    assert_int_equal(world->nodes[0].start, 1); // the clock stands at the beginning of time
    for (uint32_t start = 2; start <= 4; start++) {
        s_pass(world, 3 * BB_NS_PER_S);
        s_stop(world, 0);
        s_start(world, 0);
        assert_int_equal(world->nodes[0].start, start);
    }
    s_pass(world, 3 * BB_NS_PER_S);
    world->wall_ns = 1000 * BB_NS_PER_S;
    s_stop(world, 0);
    s_start(world, 0);
    assert_int_equal(world->nodes[0].start, 1000);
    s_pass(world, 3 * BB_NS_PER_S);
    world->wall_ns = 900 * BB_NS_PER_S; // set back: the disk knows better
    s_stop(world, 0);
    s_start(world, 0);
    assert_int_equal(world->nodes[0].start, 1001);
    s_pass(world, 3 * BB_NS_PER_S);
    world->wall_ns = 1010 * BB_NS_PER_S;
    s_stop(world, 0);
    s_disk_lose(world, 0);
    s_start(world, 0);
    assert_int_equal(world->nodes[0].start, 1010);
    s_world_destroy(&world);
}

// Goal: what a node says of its earlier streams comes to all, once it counts, and stays; a process
// that is below it knows that it has to end, and the next one is above.
static void test_forgotten(void **state)
{
    (void)state;
    s_world_t *world = s_world_new(3);
    world->wall_ns = 5000 * BB_NS_PER_S;
    s_pass(world, 3 * BB_NS_PER_S);
    s_stop(world, 0);
    s_start(world, 0);
    world->is_cut[0] = true;
    bb_control_settled(world->nodes[0].control);
    s_pass(world, 3 * BB_NS_PER_S);
    assert_int_equal(s_below(world, 0, 0), 0); // it does not count
    world->is_cut[0] = false;
    world->is_cut[2] = true;
    s_pass(world, 5 * BB_NS_PER_S);
    assert_int_equal(s_below(world, 0, 0), 5000);
    assert_int_equal(s_below(world, 1, 0), 5000);
    assert_int_equal(s_below(world, 2, 0), 0);
    world->is_cut[2] = false;
    s_pass(world, 5 * BB_NS_PER_S);
    assert_int_equal(s_below(world, 2, 0), 5000);
    assert_int_equal(s_below(world, 2, 1), 0);
    assert_false(bb_control_is_stale(world->nodes[0].control));

    // Marks of nodes make other versions of the registry, but say nothing of what is forgotten.
    uint64_t version = 0;
    bb_forgotten_t forgotten = {0};
    assert_true(bb_control_forgotten(world->nodes[2].control, &version, &forgotten));
    uint64_t version_before = version;
    bb_control_promised(world->nodes[0].control);
    s_pass(world, 2 * BB_CONTROL_MARK_NS);
    assert_false(bb_control_forgotten(world->nodes[2].control, &version, &forgotten));
    assert_true(version > version_before);
    s_stop(world, 1);
    s_start(world, 1);
    assert_int_equal(s_below(world, 1, 0), 5000); // from its disk, before it has met anybody

    s_stop(world, 0);
    s_disk_lose(world, 0);
    world->wall_ns = 10 * BB_NS_PER_S; // the clock is lost, too
    s_start(world, 0);
    assert_int_equal(world->nodes[0].start, 10);
    assert_false(bb_control_is_stale(world->nodes[0].control));
    s_pass(world, 5 * BB_NS_PER_S);
    assert_true(bb_control_is_stale(world->nodes[0].control));
    s_stop(world, 0);
    s_start(world, 0);
    assert_int_equal(world->nodes[0].start, 5000);
    s_pass(world, 5 * BB_NS_PER_S);
    assert_false(bb_control_is_stale(world->nodes[0].control));
    s_world_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_alone),          cmocka_unit_test(test_together),
        cmocka_unit_test(test_majority),       cmocka_unit_test(test_empty_disk),
        cmocka_unit_test(test_store_alone),    cmocka_unit_test(test_old_copy),
        cmocka_unit_test(test_twin),           cmocka_unit_test(test_disk_faults),
        cmocka_unit_test(test_identity_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
