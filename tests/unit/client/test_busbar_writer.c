// SPDX-License-Identifier: Apache-2.0
// The writer against fake nodes on loopback: what it promises when nodes are busy, silent, gone,
// talk nonsense, or hold only some of a batch's partitions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/bb_retry_budget.h"
#include "client/busbar.h"
#include "fake_node.h"

#define BATTERIES 40
#define S         BUSBAR_SECOND

typedef struct {
    uint64_t frames, deliveries;
    uint64_t rejected_frame;
    busbar_status_t rejected_status;
    bool seen[4096]; // user frames named by rejections
} s_seen_t;

static void s_on_delivery(void *context, const busbar_delivery_t *delivery)
{
    s_seen_t *seen = context;
    seen->frames += delivery->frames;
    seen->deliveries++;
    for (uint32_t i = 0; i < delivery->rejection_count; i++) {
        assert_true(delivery->rejections[i].user_frame < 4096);
        seen->seen[delivery->rejections[i].user_frame] = true;
        seen->rejected_status = delivery->rejections[i].status;
    }
}

static busbar_client_t *s_open(const fake_cluster_t *cluster)
{
    busbar_client_t *client = NULL;
    busbar_fault_t fault = {0};
    busbar_status_t status = busbar_open(cluster->client_file, NULL, &client, &fault);
    if (status != BUSBAR_OK) {
        fail_msg("%s", fault.text);
    }
    return client;
}

// Writes `frames` frames of two metrics round robin over the batteries and closes.
static busbar_totals_t s_write(busbar_client_t *client, uint32_t frames, int64_t timeout_ns,
                               size_t batch_bytes, s_seen_t *seen)
{
    busbar_fault_t fault = {0};
    busbar_writer_options_t options = {.timeout_ns = timeout_ns,
                                       .batch_bytes = batch_bytes,
                                       .on_delivery = s_on_delivery,
                                       .context = seen};
    busbar_writer_t *writer = busbar_writer_open(client, &options);
    const busbar_metric_t metrics[] = {{"soc", BUSBAR_INT64}, {"amps", BUSBAR_INT64}};
    uint32_t shape, batteries[BATTERIES];
    assert_int_equal(busbar_writer_shape(writer, metrics, 2, &shape, &fault), BUSBAR_OK);
    for (uint32_t b = 0; b < BATTERIES; b++) {
        char id[16];
        snprintf(id, sizeof id, "b%02u", b);
        assert_int_equal(busbar_writer_battery(writer, id, NULL, 0, &batteries[b], &fault),
                         BUSBAR_OK);
    }
    for (uint32_t f = 0; f < frames; f++) {
        busbar_value_t values[] = {{.integer = (int64_t)f}, {.integer = -(int64_t)f}};
        if (busbar_writer_append(writer, batteries[f % BATTERIES], shape, f, values, &fault)) {
            fail_msg("%s", fault.text);
        }
    }
    busbar_totals_t totals;
    busbar_writer_close(&writer, 2 * timeout_ns, &totals);
    assert_null(writer);
    assert_int_equal(totals.frames, frames);
    assert_int_equal(totals.points, 2 * frames);
    // Every frame is in exactly one delivery and has exactly one fate.
    assert_int_equal(seen->frames, frames);
    assert_int_equal(seen->deliveries, totals.batches);
    assert_int_equal(totals.acked_frames + totals.rejected_frames + totals.unknown_frames +
                         totals.failed_frames,
                     frames);
    assert_int_equal(totals.acked_points + totals.rejected_points + totals.unknown_points +
                         totals.failed_points,
                     2 * frames);
    return totals;
}

// Every frame that was acknowledged is at some node with its values.
static void s_check_all_there(fake_cluster_t *cluster, uint32_t frames)
{
    bool *soc = calloc(frames, 1), *amps = calloc(frames, 1);
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        fake_node_t *node = &cluster->nodes[n];
        pthread_mutex_lock(&node->mutex);
        for (uint32_t i = 0; i < node->point_count; i++) {
            const fake_point_t *point = &node->points[i];
            char id[16];
            assert_in_range(point->time, 0, frames - 1);
            snprintf(id, sizeof id, "b%02u", (unsigned)(point->time % BATTERIES));
            assert_string_equal(point->battery, id);
            bool is_soc = strcmp(point->metric, "soc") == 0;
            assert_int_equal((int64_t)point->bits, is_soc ? point->time : -point->time);
            (is_soc ? soc : amps)[point->time] = true;
        }
        pthread_mutex_unlock(&node->mutex);
    }
    for (uint32_t f = 0; f < frames; f++) {
        assert_true(soc[f] && amps[f]);
    }
    free(soc);
    free(amps);
}

// Goal: everything appended is acknowledged and stored as it was, each batch sent once.
static void frames_arrive_unchanged(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    busbar_client_t *client = s_open(cluster);
    s_seen_t seen = {0};
    busbar_totals_t totals = s_write(client, 4000, 5 * S, 4096, &seen);
    assert_int_equal(totals.acked_frames, 4000);
    assert_int_equal(totals.retries, 0);
    s_check_all_there(cluster, 4000);
    uint64_t writes = 0;
    for (uint32_t n = 0; n < 3; n++) {
        writes += (uint64_t)atomic_load(&cluster->nodes[n].writes);
    }
    assert_int_equal(writes, totals.batches);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// How much time a request gets. A silent node takes a share of it, so the first is short; when the
// machine stands still for most of that, the next one shows that nothing else was the reason.
static const int64_t s_patience_ns[] = {900 * (S / 1000), 9 * S, 60 * S};

// Writes while two of three nodes are in a bad mood; true: all of it was acknowledged in time.
static bool s_writes_in_bad_mood(fake_mood_t mood, int64_t timeout_ns)
{
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    fake_mood(cluster, 0, mood, 1);
    fake_mood(cluster, 1, mood, 1);
    busbar_client_t *client = s_open(cluster);
    s_seen_t seen = {0};
    busbar_totals_t totals = s_write(client, 2000, timeout_ns, 4096, &seen);
    assert_int_equal(totals.acked_frames + totals.unknown_frames + totals.failed_frames, 2000);
    bool is_acked = totals.acked_frames == 2000;
    if (is_acked) {
        assert_true(totals.retries >= 1);
        s_check_all_there(cluster, 2000);
    }
    busbar_close(&client);
    fake_cluster_free(cluster);
    return is_acked;
}

// Goal: bad moods of two of three nodes cost retries and nothing else.
static void bad_moods_lose_nothing(void **state)
{
    (void)state;
    const fake_mood_t moods[] = {FAKE_BUSY,        FAKE_GARBAGE,     FAKE_WRONG_KIND,
                                 FAKE_WRONG_COUNT, FAKE_NOT_REPLICA, FAKE_STOPPING,
                                 FAKE_SILENT,      FAKE_UNAVAILABLE, FAKE_DISCONNECT};
    for (size_t i = 0; i < sizeof moods / sizeof moods[0]; i++) {
        bool is_acked = false;
        for (size_t try = 0; try < BB_COUNT_OF(s_patience_ns) && !is_acked; try++) {
            is_acked = s_writes_in_bad_mood(moods[i], s_patience_ns[try]);
        }
        assert_true(is_acked);
    }
}

// Goal: a batch whose partitions have no common live node is split, and its rejections still name
// the user's frames. Method: four nodes in a ring of replicas; the coordinator of some batches
// refuses for ever; frame 3 of whatever arrives at node 1 is rejected.
static void batches_split_when_no_node_holds_all(void **state)
{
    (void)state;
    static const uint16_t ring[FAKE_PARTITIONS * FAKE_REPLICAS] = {
        0, 1, BB_REPLICA_NONE, 1, 2, BB_REPLICA_NONE, 2, 3, BB_REPLICA_NONE, 3, 0, BB_REPLICA_NONE,
        0, 2, BB_REPLICA_NONE, 1, 3, BB_REPLICA_NONE, 0, 1, BB_REPLICA_NONE, 2, 3, BB_REPLICA_NONE};
    fake_cluster_t *cluster = fake_cluster_new(4, ring);
    fake_mood(cluster, 0, FAKE_STOPPING, -1);
    fake_mood(cluster, 2, FAKE_STOPPING, 1);
    busbar_client_t *client = s_open(cluster);
    s_seen_t seen = {0};
    busbar_totals_t totals = s_write(client, 2000, 3 * S, 4096, &seen);
    assert_int_equal(totals.acked_frames, 2000);
    s_check_all_there(cluster, 2000);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: a rejection names the frame by its number in append order, through the batch's own order
// and through a split. Method: the fake rejects frame 3 of each batch; exactly those frames are
// absent from the stores.
static void rejections_name_the_users_frames(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    for (uint32_t n = 0; n < 3; n++) {
        atomic_store(&cluster->nodes[n].reject_frame, 3);
    }
    busbar_client_t *client = s_open(cluster);
    s_seen_t seen = {0};
    busbar_totals_t totals = s_write(client, 1000, 5 * S, 4096, &seen);
    assert_true(totals.rejected_frames > 0);
    assert_true(totals.rejected_frames <=
                totals.batches); // a slow machine makes some of < 4 frames
    assert_int_equal(totals.acked_frames, 1000 - totals.rejected_frames);
    assert_int_equal(seen.rejected_status, 6); // TYPE_CHANGED
    bool *stored = calloc(1000, 1);
    for (uint32_t n = 0; n < 3; n++) {
        fake_node_stop(&cluster->nodes[n]); // so that its points hold still
        for (uint32_t i = 0; i < cluster->nodes[n].point_count; i++) {
            stored[cluster->nodes[n].points[i].time] = true;
        }
    }
    for (uint32_t f = 0; f < 1000; f++) {
        assert_int_equal(stored[f], !seen.seen[f]);
    }
    free(stored);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: when nobody answers, every frame ends as unknown, in time.
static void silence_ends_as_unknown(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    for (uint32_t n = 0; n < 3; n++) {
        fake_mood(cluster, n, FAKE_SILENT, -1);
    }
    busbar_client_t *client = s_open(cluster);
    s_seen_t seen = {0};
    busbar_totals_t totals = s_write(client, 200, 400 * (S / 1000), 4096, &seen);
    assert_int_equal(totals.unknown_frames, 200);
    assert_int_equal(totals.acked_frames, 0);
    assert_string_equal(busbar_status_name(totals.last_status), "TIMEOUT");
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: nodes that are busy for ever get no more than the first requests and a tenth, and 10, and
// what is not taken ends as failed; with that budget spent, a node that is lost with batches in
// flight still costs nothing but repetitions.
static void busy_nodes_are_spared_and_lost_ones_are_not_missed(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    for (uint32_t n = 0; n < 3; n++) {
        fake_mood(cluster, n, FAKE_BUSY, -1);
    }
    busbar_client_t *client = s_open(cluster);
    s_seen_t seen = {0};
    busbar_totals_t totals = s_write(client, 4000, S, 4096, &seen);
    assert_int_equal(totals.failed_frames, 4000);
    assert_string_equal(busbar_status_name(totals.last_status), "BUSY");
    assert_in_range(totals.batches, 30, 1000); // without a budget each would be repeated ten times
    assert_in_range(totals.retries, BB_RETRY_TOKENS_MAX,
                    BB_RETRY_TOKENS_MAX + totals.batches / 10 + 1);

    for (uint32_t n = 0; n < 3; n++) {
        fake_mood(cluster, n, FAKE_DISCONNECT, n == 2 ? 0 : 1);
    }
    memset(&seen, 0, sizeof seen);
    totals = s_write(client, 2000, 3 * S, 4096, &seen);
    assert_int_equal(totals.acked_frames, 2000);
    assert_true(totals.retries >= 1);
    s_check_all_there(cluster, 2000);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: refusals that cannot change end at once as failed, with the node's words.
static void refusals_end_as_failed(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    for (uint32_t n = 0; n < 3; n++) {
        fake_mood(cluster, n, FAKE_ROLE, -1);
    }
    busbar_client_t *client = s_open(cluster);
    s_seen_t seen = {0};
    busbar_totals_t totals = s_write(client, 100, 5 * S, 4096, &seen);
    assert_int_equal(totals.failed_frames, 100);
    assert_string_equal(busbar_status_name(totals.last_status), "ROLE");
    assert_non_null(strstr(totals.last_detail, "fake node"));
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: two of three nodes gone: batches go to the one that is left. All gone: unavailable, and
// nothing was taken for written. Back again: it goes on by itself.
static void nodes_that_are_gone_are_avoided(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    busbar_client_t *client = s_open(cluster);
    busbar_fault_t fault;
    assert_int_equal(busbar_wait_ready(client, 5 * S, &fault), BUSBAR_OK);
    fake_node_stop(&cluster->nodes[0]);
    fake_node_stop(&cluster->nodes[1]);
    s_seen_t seen = {0};
    busbar_totals_t totals = s_write(client, 500, 3 * S, 4096, &seen);
    assert_int_equal(totals.acked_frames, 500);
    fake_node_stop(&cluster->nodes[2]);
    memset(&seen, 0, sizeof seen);
    totals = s_write(client, 100, 300 * (S / 1000), 4096, &seen);
    assert_int_equal(totals.acked_frames, 0);
    assert_int_equal(totals.unknown_frames + totals.failed_frames, 100);
    fake_node_start(&cluster->nodes[2]);
    memset(&seen, 0, sizeof seen);
    totals = s_write(client, 500, 5 * S, 4096, &seen);
    assert_int_equal(totals.acked_frames, 500);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: a frame that is appended and left alone is sent after the linger time, without any call.
static void a_lingering_frame_is_sent_by_itself(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    busbar_client_t *client = s_open(cluster);
    busbar_fault_t fault;
    s_seen_t seen = {0};
    busbar_writer_options_t options = {
        .linger_ns = 5 * (S / 1000), .on_delivery = s_on_delivery, .context = &seen};
    busbar_writer_t *writer = busbar_writer_open(client, &options);
    const busbar_metric_t metric = {"soc", BUSBAR_INT64};
    uint32_t shape, battery;
    assert_int_equal(busbar_writer_shape(writer, &metric, 1, &shape, &fault), BUSBAR_OK);
    assert_int_equal(busbar_writer_battery(writer, "b00", NULL, 0, &battery, &fault), BUSBAR_OK);
    busbar_value_t value = {.integer = 0};
    assert_int_equal(busbar_writer_append(writer, battery, shape, 0, &value, &fault), BUSBAR_OK);
    assert_true(fake_wait_writes(cluster, 1, 10));
    assert_int_equal(busbar_writer_flush(writer, 5 * S), BUSBAR_OK);
    assert_int_equal(seen.frames, 1);
    assert_int_equal(busbar_writer_close(&writer, S, NULL), BUSBAR_OK);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

static int64_t s_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * S + now.tv_nsec;
}

// How long one frame took to a node that has nothing to do.
static int64_t s_idle_node_ns(int64_t linger_ns)
{
    fake_cluster_t *cluster = fake_cluster_new(1, NULL);
    busbar_client_t *client = s_open(cluster);
    busbar_fault_t fault;
    s_seen_t seen = {0};
    busbar_writer_options_t options = {
        .linger_ns = linger_ns, .on_delivery = s_on_delivery, .context = &seen};
    busbar_writer_t *writer = busbar_writer_open(client, &options);
    const busbar_metric_t metric = {"soc", BUSBAR_INT64};
    uint32_t shape, battery;
    assert_int_equal(busbar_writer_shape(writer, &metric, 1, &shape, &fault), BUSBAR_OK);
    assert_int_equal(busbar_writer_battery(writer, "b00", NULL, 0, &battery, &fault), BUSBAR_OK);
    busbar_value_t value = {.integer = 0};
    int64_t begin_ns = s_now_ns();
    assert_int_equal(busbar_writer_append(writer, battery, shape, 0, &value, &fault), BUSBAR_OK);
    assert_true(fake_wait_writes(cluster, 1, 10));
    int64_t took_ns = s_now_ns() - begin_ns;
    assert_int_equal(busbar_writer_flush(writer, 5 * S), BUSBAR_OK);
    assert_int_equal(seen.frames, 1);
    assert_int_equal(busbar_writer_close(&writer, S, NULL), BUSBAR_OK);
    busbar_close(&client);
    fake_cluster_free(cluster);
    return took_ns;
}

// Goal: while a node has nothing of the writer's to do, a frame waits for a tenth of the linger
// time only. Method: two seconds of linger time, and the frame is there before they have passed;
// once in five times, because a machine may stand still for so long.
static void a_node_with_nothing_to_do_is_not_kept_waiting(void **state)
{
    (void)state;
    bool is_soon = false;
    for (int round = 0; round < 5 && !is_soon; round++) {
        is_soon = s_idle_node_ns(2 * S) < 2 * S;
    }
    assert_true(is_soon);
}

// Goal: a small buffer slows append down and loses nothing.
static void a_full_buffer_waits(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    busbar_client_t *client = s_open(cluster);
    busbar_fault_t fault;
    s_seen_t seen = {0};
    busbar_writer_options_t options = {.buffer_bytes_max = 8192,
                                       .batch_bytes = 4096,
                                       .in_flight_max = 1,
                                       .on_delivery = s_on_delivery,
                                       .context = &seen};
    busbar_writer_t *writer = busbar_writer_open(client, &options);
    const busbar_metric_t metric = {"soc", BUSBAR_INT64};
    uint32_t shape, battery;
    assert_int_equal(busbar_writer_shape(writer, &metric, 1, &shape, &fault), BUSBAR_OK);
    for (int64_t f = 0; f < 4000; f++) {
        char id[16];
        snprintf(id, sizeof id, "b%02d", (int)(f % 30));
        busbar_value_t value = {.integer = f};
        assert_int_equal(busbar_writer_battery(writer, id, NULL, 0, &battery, &fault), BUSBAR_OK);
        assert_int_equal(busbar_writer_append(writer, battery, shape, f, &value, &fault),
                         BUSBAR_OK);
    }
    busbar_totals_t totals;
    assert_int_equal(busbar_writer_close(&writer, 10 * S, &totals), BUSBAR_OK);
    assert_int_equal(totals.acked_frames, 4000);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: what a node tells as its credit holds for all writers of a client together, also when a
// batch is larger than it, and nothing is lost or stuck by it. Method: the node looks with each
// batch whether another one is there before it answers; without credits there is.
static void credits_are_held_to(void **state)
{
    (void)state;
    for (uint32_t credit_bytes = 0; credit_bytes < 2; credit_bytes++) {
        fake_cluster_t *cluster = fake_cluster_new(1, NULL);
        atomic_store(&cluster->nodes[0].credit_bytes, credit_bytes);
        atomic_store(&cluster->nodes[0].look_ms, 2);
        busbar_client_t *client = s_open(cluster);
        busbar_fault_t fault;
        busbar_writer_options_t options = {.batch_bytes = 1024};
        busbar_writer_t *writers[2];
        const busbar_metric_t metric = {"soc", BUSBAR_INT64};
        uint32_t shape, battery;
        for (uint32_t w = 0; w < 2; w++) {
            writers[w] = busbar_writer_open(client, &options);
            assert_int_equal(busbar_writer_shape(writers[w], &metric, 1, &shape, &fault), 0);
            assert_int_equal(busbar_writer_battery(writers[w], "b1", NULL, 0, &battery, &fault), 0);
        }
        for (int64_t f = 0; f < 2000; f++) {
            busbar_value_t value = {.integer = f};
            busbar_writer_t *writer = writers[f / 100 % 2];
            assert_int_equal(busbar_writer_append(writer, battery, shape, f, &value, &fault), 0);
        }
        for (uint32_t w = 0; w < 2; w++) {
            busbar_totals_t totals;
            assert_int_equal(busbar_writer_close(&writers[w], 10 * S, &totals), BUSBAR_OK);
            assert_int_equal(totals.acked_frames, 1000);
            assert_int_equal(totals.retries, 0);
        }
        assert_true(atomic_load(&cluster->nodes[0].writes) >= 10);
        assert_int_equal(atomic_load(&cluster->nodes[0].overlaps) > 0, credit_bytes == 0);
        busbar_close(&client);
        fake_cluster_free(cluster);
    }
}

// Appends `frames` frames of values that do not pack; what they fill is handed to the io thread.
static void s_fill(busbar_writer_t *writer, const char *battery_id, int64_t frames)
{
    busbar_fault_t fault;
    const busbar_metric_t metric = {"soc", BUSBAR_INT64};
    uint32_t shape, battery;
    assert_int_equal(busbar_writer_shape(writer, &metric, 1, &shape, &fault), 0);
    assert_int_equal(busbar_writer_battery(writer, battery_id, NULL, 0, &battery, &fault), 0);
    for (int64_t f = 0; f < frames; f++) {
        uint64_t mixed = (uint64_t)(f + 1) * UINT64_C(0x9e3779b97f4a7c15);
        busbar_value_t value = {.integer = (int64_t)(mixed ^ mixed >> 29)};
        assert_int_equal(busbar_writer_append(writer, battery, shape, f, &value, &fault), 0);
    }
}

// How many points the node took before the first of this battery; all if there is none.
static uint32_t s_points_before(fake_node_t *node, const char *battery)
{
    uint32_t count = 0;
    pthread_mutex_lock(&node->mutex);
    while (count < node->point_count && strcmp(node->points[count].battery, battery) != 0) {
        count++;
    }
    pthread_mutex_unlock(&node->mutex);
    return count;
}

// Goal: a writer with much in line does not keep another one of its client from the node's credit
// (test_bb_room_line has the rules). Method: the node answers nothing until the busy writer has its
// line and the other one its batch handed over, and lets one batch through at a time; what it took
// before that batch is counted.
static void a_busy_writer_starves_no_other(void **state)
{
    (void)state;
    const int64_t busy_frames = 6000;
    fake_cluster_t *cluster = fake_cluster_new(1, NULL);
    atomic_store(&cluster->nodes[0].credit_bytes, 1);
    busbar_client_t *client = s_open(cluster);
    busbar_writer_options_t options = {.batch_bytes = 1024, .linger_ns = 10 * S};
    busbar_writer_t *busy = busbar_writer_open(client, &options);
    busbar_writer_t *other = busbar_writer_open(client, &options);
    fake_hold(cluster, true);
    s_fill(busy, "busy", busy_frames);
    s_fill(other, "other", 100);
    assert_true(fake_wait_writes(cluster, 1, 10));
    fake_hold(cluster, false);
    busbar_totals_t totals;
    assert_int_equal(busbar_writer_close(&other, 10 * S, &totals), BUSBAR_OK);
    assert_int_equal(totals.acked_frames, 100);
    assert_int_equal(busbar_writer_close(&busy, 10 * S, &totals), BUSBAR_OK);
    assert_int_equal(totals.acked_frames, busy_frames);
    assert_in_range(s_points_before(&cluster->nodes[0], "other"), 1, busy_frames / 4);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: bad arguments and values are refused by name, and nothing of them is taken.
static void bad_arguments_are_refused(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    busbar_client_t *client = s_open(cluster);
    busbar_fault_t fault = {0};
    busbar_writer_options_t wrong = {.level = (busbar_level_t)6};
    assert_null(busbar_writer_open(client, &wrong));
    assert_null(busbar_writer_open(NULL, NULL));
    busbar_writer_t *writer = busbar_writer_open(client, NULL);
    uint32_t handle = 77, again;
    char long_name[200];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    const struct {
        const char *id;
        const char *status;
    } ids[] = {{"", "BATTERY_ID"}, {long_name, "BATTERY_ID"}, {"\xff", "BATTERY_ID"}};
    for (size_t i = 0; i < 3; i++) {
        busbar_status_t status = busbar_writer_battery(writer, ids[i].id, NULL, 0, &handle, &fault);
        assert_string_equal(busbar_status_name(status), ids[i].status);
        assert_int_equal(fault.status, status);
        assert_true(strlen(fault.text) > 10);
    }
    const busbar_attribute_t attribute = {"", "x"};
    assert_string_equal(
        busbar_status_name(busbar_writer_battery(writer, "b", &attribute, 1, &handle, &fault)),
        "ATTRIBUTES");
    assert_string_equal(
        busbar_status_name(busbar_writer_battery(writer, "b", &attribute, 33, &handle, &fault)),
        "ATTRIBUTES");
    const busbar_metric_t twice[] = {{"a", BUSBAR_INT64}, {"a", BUSBAR_INT64}};
    const busbar_metric_t untyped = {"a", (busbar_type_t)9};
    const busbar_metric_t named = {long_name, BUSBAR_INT64};
    assert_string_equal(busbar_status_name(busbar_writer_shape(writer, twice, 2, &handle, &fault)),
                        "FRAME_METRICS");
    assert_string_equal(busbar_status_name(busbar_writer_shape(writer, twice, 0, &handle, &fault)),
                        "FRAME_METRICS");
    assert_string_equal(
        busbar_status_name(busbar_writer_shape(writer, twice, 257, &handle, &fault)),
        "FRAME_METRICS");
    assert_string_equal(
        busbar_status_name(busbar_writer_shape(writer, &untyped, 1, &handle, &fault)), "VALUE");
    assert_string_equal(busbar_status_name(busbar_writer_shape(writer, &named, 1, &handle, &fault)),
                        "METRIC_NAME");
    assert_int_equal(handle, 77); // written on success only
    const busbar_metric_t mixed[] = {{"z", BUSBAR_BOOL}, {"a", BUSBAR_STATE}};
    uint32_t battery, shape;
    assert_int_equal(busbar_writer_battery(writer, "b", NULL, 0, &battery, &fault), BUSBAR_OK);
    assert_int_equal(busbar_writer_battery(writer, "b", NULL, 0, &again, &fault), BUSBAR_OK);
    assert_int_equal(battery, again);
    assert_int_equal(busbar_writer_shape(writer, mixed, 2, &shape, &fault), BUSBAR_OK);
    assert_int_equal(busbar_writer_shape(writer, mixed, 2, &again, &fault), BUSBAR_OK);
    assert_int_equal(shape, again);
    busbar_value_t values[] = {{.boolean = 1}, {.text = "Idle"}};
    assert_int_not_equal(busbar_writer_append(writer, battery + 1, shape, 0, values, &fault), 0);
    assert_int_not_equal(busbar_writer_append(writer, battery, shape + 1, 0, values, &fault), 0);
    assert_string_equal(
        busbar_status_name(busbar_writer_append(writer, battery, shape, -1, values, &fault)),
        "TIME_RANGE");
    values[0].boolean = 2;
    assert_string_equal(
        busbar_status_name(busbar_writer_append(writer, battery, shape, 0, values, &fault)),
        "VALUE");
    assert_non_null(strstr(fault.text, "'z'"));
    values[0].boolean = 0;
    values[1].text = "\xc0\x80";
    assert_string_equal(
        busbar_status_name(busbar_writer_append(writer, battery, shape, 0, values, &fault)),
        "STATE_TEXT");
    assert_non_null(strstr(fault.text, "'a'"));
    busbar_totals_t totals;
    assert_int_equal(busbar_writer_close(&writer, S, &totals), BUSBAR_OK);
    assert_int_equal(totals.frames, 0);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

// Goal: two threads with a writer each, and one that asks, on one client.
typedef struct {
    busbar_client_t *client;
    busbar_totals_t totals;
} s_worker_t;

static void *s_work(void *argument)
{
    s_worker_t *worker = argument;
    s_seen_t seen = {0};
    worker->totals = s_write(worker->client, 2000, 10 * S, 4096, &seen);
    return NULL;
}

static void writers_of_two_threads_share_a_client(void **state)
{
    (void)state;
    fake_cluster_t *cluster = fake_cluster_new(3, NULL);
    busbar_client_t *client = s_open(cluster);
    s_worker_t workers[2] = {{.client = client}, {.client = client}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, s_work, &workers[i]), 0);
    }
    busbar_cluster_t *status = NULL;
    busbar_fault_t fault;
    assert_int_equal(busbar_cluster_status(client, 5 * S, &status, &fault), BUSBAR_OK);
    busbar_cluster_free(&status);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].totals.acked_frames, 2000);
    }
    s_check_all_there(cluster, 2000);
    busbar_close(&client);
    fake_cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_arrive_unchanged),
        cmocka_unit_test(bad_moods_lose_nothing),
        cmocka_unit_test(batches_split_when_no_node_holds_all),
        cmocka_unit_test(rejections_name_the_users_frames),
        cmocka_unit_test(silence_ends_as_unknown),
        cmocka_unit_test(busy_nodes_are_spared_and_lost_ones_are_not_missed),
        cmocka_unit_test(refusals_end_as_failed),
        cmocka_unit_test(nodes_that_are_gone_are_avoided),
        cmocka_unit_test(a_lingering_frame_is_sent_by_itself),
        cmocka_unit_test(a_node_with_nothing_to_do_is_not_kept_waiting),
        cmocka_unit_test(a_full_buffer_waits),
        cmocka_unit_test(credits_are_held_to),
        cmocka_unit_test(a_busy_writer_starves_no_other),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(writers_of_two_threads_share_a_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
