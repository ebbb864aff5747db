// SPDX-License-Identifier: Apache-2.0
// fake_node - a node in a thread for tests: a CURVE ROUTER on a free loopback port that speaks the
// wire format and misbehaves when told to. It keeps every (battery, metric, time) it accepted.
//
// Several fake nodes make a fake cluster; each knows its replicas only from the table it is given.
#ifndef FAKE_NODE_H
#define FAKE_NODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "protocol/bb_keys.h"
#include "protocol/bb_message.h"
#include "protocol/bb_placement.h"
#include "protocol/bb_session_token.h"

#define FAKE_NODES_MAX  4
#define FAKE_PARTITIONS 8
#define FAKE_REPLICAS   3
#define FAKE_POINTS_MAX 200000

typedef enum {
    FAKE_NORMAL,
    FAKE_SILENT,      // takes the request, does it, never answers
    FAKE_BUSY,        // BUSY with a delay of 1 ms
    FAKE_GARBAGE,     // answers bytes that are no message
    FAKE_WRONG_KIND,  // answers HELLO_REPLY to everything
    FAKE_WRONG_COUNT, // WRITE_REPLY that does not add up
    FAKE_NOT_REPLICA,
    FAKE_STOPPING,
    FAKE_ROLE,
    FAKE_UNAVAILABLE,
    FAKE_DISCONNECT, // closes its socket and opens it again on the same port
    FAKE_CURSOR,     // QUERY: refuses the cursors of other nodes, which all are; answers the rest
} fake_mood_t;

typedef struct {
    char battery[24], metric[24];
    int64_t time;
    uint64_t bits;
} fake_point_t;

typedef struct fake_cluster fake_cluster_t;

typedef struct {
    fake_cluster_t *cluster;
    uint32_t index;
    char id[16], endpoint[64];
    bb_curve_pair_t key;
    pthread_t thread;
    void *context;
    void *socket;                  // the thread's, once that runs
    _Atomic int mood;              // fake_mood_t, applied to WRITE and QUERY
    _Atomic int mood_count;        // how many more requests it applies to; < 0 = all
    _Atomic int reject_frame;      // WRITE: this frame of each batch is rejected; -1 = none
    _Atomic int missing_partition; // QUERY: reported as missing; -1 = none
    _Atomic int writes, queries;   // seen
    _Atomic int session_seq;       // in tokens of answers, of every partition; 0 = knows none
    _Atomic uint32_t credit_bytes; // told in every answer; 0: none
    _Atomic int look_ms;           // waits so long with a WRITE for another one; 0: not at all
    _Atomic int overlaps;          // WRITEs that were there before the one before was answered
    _Atomic int asked_ranges;      // of the token of the last QUERY; -1 = it had none
    pthread_mutex_t mutex;
    fake_point_t *points;
    uint32_t point_count;
} fake_node_t;

struct fake_cluster {
    uint32_t node_count;
    _Atomic uint32_t page_rows; // rows of a page
    fake_node_t nodes[FAKE_NODES_MAX];
    uint16_t replicas[FAKE_PARTITIONS * FAKE_REPLICAS];
    uint8_t placement_key[16], cluster_id[16], hello_cluster_id[16];
    char folder[64], client_file[128];
    _Atomic uint32_t epoch;
    pthread_mutex_t mutex; // with `changed`: a request was counted, or is_held ended
    pthread_cond_t changed;
    bool is_held; // WRITEs are looked at when this has ended
};

static inline uint32_t fake_partition(const fake_cluster_t *cluster, const void *id, size_t length)
{
    return bb_partition_of(cluster->placement_key, id, length, FAKE_PARTITIONS);
}

static inline void fake_keep(fake_node_t *node, bb_slice_t battery, bb_slice_t metric, int64_t time,
                             uint64_t bits)
{
    fake_point_t point = {.time = time, .bits = bits};
    snprintf(point.battery, sizeof point.battery, "%.*s", (int)battery.length,
             (const char *)battery.data);
    snprintf(point.metric, sizeof point.metric, "%.*s", (int)metric.length,
             (const char *)metric.data);
    pthread_mutex_lock(&node->mutex);
    BB_ASSERT(node->point_count < FAKE_POINTS_MAX);
    node->points[node->point_count++] = point;
    pthread_mutex_unlock(&node->mutex);
}

static inline bb_slice_t fake_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

static inline void fake_send(void *socket, zmq_msg_t *route, bb_message_t *reply,
                             const void *payload, size_t payload_length)
{
    uint8_t *bytes;
    size_t length;
    bb_message_encode(reply, &bytes, &length);
    zmq_msg_t copy;
    zmq_msg_init(&copy);
    zmq_msg_copy(&copy, route);
    zmq_msg_send(&copy, socket, ZMQ_SNDMORE);
    zmq_send(socket, bytes, length, payload ? ZMQ_SNDMORE : 0);
    if (payload) {
        zmq_send(socket, payload, payload_length, 0);
    }
    free(bytes);
}

static inline void fake_hello(fake_node_t *node, void *socket, zmq_msg_t *route,
                              bb_message_t *reply)
{
    fake_cluster_t *cluster = node->cluster;
    bb_hello_node_t nodes[FAKE_NODES_MAX];
    memset(nodes, 0, sizeof nodes);
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        nodes[n].id = fake_text(cluster->nodes[n].id);
        nodes[n].dc = fake_text("dc1");
        nodes[n].client_endpoint = fake_text(cluster->nodes[n].endpoint);
        nodes[n].weight = 100;
        memcpy(nodes[n].public_key, cluster->nodes[n].key.public_key, 32);
    }
    reply->kind = BB_KIND_HELLO_REPLY;
    reply->hello_reply = (bb_hello_reply_t){.cluster_name = fake_text("fake"),
                                            .node_id = fake_text(node->id),
                                            .partition_count = FAKE_PARTITIONS,
                                            .node_count = cluster->node_count,
                                            .nodes = nodes,
                                            .replica_stride = FAKE_REPLICAS,
                                            .replicas = cluster->replicas};
    memcpy(reply->hello_reply.cluster_id, cluster->hello_cluster_id, 16);
    memcpy(reply->hello_reply.placement_key, cluster->placement_key, 16);
    fake_send(socket, route, reply, NULL, 0);
}

static inline bool fake_holds(const fake_node_t *node, uint32_t partition)
{
    for (uint32_t i = 0; i < FAKE_REPLICAS; i++) {
        if (node->cluster->replicas[partition * FAKE_REPLICAS + i] == node->index) {
            return true;
        }
    }
    return false;
}

static inline void fake_error(void *socket, zmq_msg_t *route, bb_message_t *reply, bb_error_t error,
                              uint32_t retry_after_ms)
{
    reply->kind = BB_KIND_ERROR;
    reply->error = (bb_error_reply_t){.code = error,
                                      .detail = fake_text("the fake node is in that mood"),
                                      .retry_after_ms = retry_after_ms};
    fake_send(socket, route, reply, NULL, 0);
}

// The token of an answer: one dot of the node's stream in each partition. To be freed.
static inline bb_slice_t fake_session(fake_node_t *node, bool is_wanted, const uint32_t *partitions,
                                      uint32_t count)
{
    int seq = atomic_load(&node->session_seq);
    if (!is_wanted || seq == 0) {
        return bb_slice(NULL, 0);
    }
    const bb_stream_t stream = {{(uint8_t)(1 + node->index)}};
    bb_session_token_t token = {{0}, false, 0, 0, NULL};
    for (uint32_t i = 0; i < count; i++) {
        bb_session_token_add(&token, &stream, partitions[i], (uint64_t)seq, (uint64_t)seq);
    }
    uint8_t *bytes;
    size_t length;
    bb_session_token_encode(&token, &bytes, &length);
    bb_session_token_clear(&token);
    return bb_slice(bytes, length);
}

static inline void fake_note_asked(fake_node_t *node, bb_slice_t session)
{
    int count = -1;
    bb_session_token_t token = {{0}, false, 0, 0, NULL};
    if (session.length > 0) {
        bb_error_t error = bb_session_token_decode(&token, session);
        BB_ASSERT(error == BB_OK);
        count = 0;
        for (uint32_t i = 0; i < token.stream_count; i++) {
            count += (int)token.streams[i].range_count;
        }
    }
    bb_session_token_clear(&token);
    atomic_store(&node->asked_ranges, count);
}

static inline void fake_write(fake_node_t *node, void *socket, zmq_msg_t *route,
                              bb_message_t *reply, bb_slice_t payload, bool wants_session,
                              bool is_silent, bool is_wrong)
{
    bb_batch_t batch;
    bb_fault_t fault;
    void *aligned = malloc(payload.length + 8);
    memcpy(aligned, payload.data, payload.length);
    bb_error_t error = bb_batch_open(&batch, bb_slice(aligned, payload.length), &fault);
    BB_ASSERT(error == BB_OK);
    bool holds_all = true;
    for (uint32_t p = 0; p < batch.part_count; p++) {
        holds_all &= fake_holds(node, batch.parts[p].partition);
    }
    if (!holds_all) {
        fake_error(socket, route, reply, BB_ERR_NOT_REPLICA, 0);
        bb_batch_close(&batch);
        free(aligned);
        return;
    }
    bb_rejection_t rejection = {0};
    reply->kind = BB_KIND_WRITE_REPLY;
    reply->write_reply = (bb_write_reply_t){0};
    int reject_frame = atomic_load(&node->reject_frame);
    bb_batch_cursor_t cursor;
    bb_batch_cursor_start(&batch, &cursor);
    while (bb_batch_cursor_next(&batch, &cursor)) {
        const bb_batch_shape_t *shape = &batch.shapes[cursor.run->shape];
        for (uint32_t f = 0; f < cursor.run->frame_count; f++) {
            if ((int)(cursor.frame_first + f) == reject_frame) {
                reply->write_reply.rejected_frames++;
                reply->write_reply.rejected_points += shape->metric_count;
                rejection = (bb_rejection_t){.frame = cursor.frame_first + f,
                                             .error = BB_ERR_TYPE_CHANGED,
                                             .detail = fake_text("float64 since before")};
                reply->write_reply.rejection_count = 1;
                reply->write_reply.rejections = &rejection;
                continue;
            }
            reply->write_reply.acked_frames++;
            reply->write_reply.acked_points += shape->metric_count;
            for (uint32_t m = 0; m < shape->metric_count; m++) {
                fake_keep(node, batch.batteries[cursor.run->battery].id, shape->names[m],
                          batch.times_wall_ns[cursor.frame_first + f],
                          bb_batch_value(&batch, &cursor, f, m));
            }
        }
    }
    reply->write_reply.acked_points += is_wrong;
    uint32_t partitions[FAKE_PARTITIONS];
    for (uint32_t p = 0; p < batch.part_count; p++) {
        partitions[p] = batch.parts[p].partition;
    }
    bb_slice_t session = fake_session(node, wants_session, partitions, batch.part_count);
    reply->write_reply.session = session;
    if (!is_silent) {
        fake_send(socket, route, reply, NULL, 0);
    }
    free((void *)(uintptr_t)session.data);
    bb_batch_close(&batch);
    free(aligned);
}

static inline int fake_compare(const void *left, const void *right)
{
    const fake_point_t *a = left, *b = right;
    int compared = strcmp(a->battery, b->battery);
    compared = compared ? compared : strcmp(a->metric, b->metric);
    return compared ? compared : (a->time > b->time) - (a->time < b->time);
}

static inline bool fake_is_asked(const fake_node_t *node, const bb_query_t *query,
                                 const fake_point_t *point, uint32_t missing)
{
    uint32_t partition = fake_partition(node->cluster, point->battery, strlen(point->battery));
    bool is_asked = false;
    for (uint32_t i = 0; i < query->partition_count; i++) {
        is_asked |= query->partitions[i] == partition;
    }
    bool is_named = query->battery_count == 0;
    for (uint32_t i = 0; i < query->battery_count; i++) {
        is_named |= query->batteries[i].length == strlen(point->battery) &&
                    memcmp(query->batteries[i].data, point->battery, strlen(point->battery)) == 0;
    }
    bool is_in_range = query->mode != BB_QUERY_RAW ||
                       (point->time >= query->from_wall_ns && point->time < query->to_wall_ns);
    return is_asked && is_named && is_in_range && partition != missing &&
           fake_holds(node, partition);
}

// Points in battery order whatever the partition: any order that is the same on every replica will
// do for a cursor, which here is a count of rows.
static inline void fake_query(fake_node_t *node, void *socket, zmq_msg_t *route,
                              const bb_query_t *query, bb_message_t *reply)
{
    bb_missing_t missing[FAKE_PARTITIONS + 1];
    uint32_t missing_count = 0;
    int told = atomic_load(&node->missing_partition);
    for (uint32_t i = 0; i < query->partition_count; i++) {
        if (!fake_holds(node, query->partitions[i])) {
            missing[missing_count++] = (bb_missing_t){query->partitions[i], BB_ERR_NOT_REPLICA};
        } else if ((int)query->partitions[i] == told) {
            missing[missing_count++] = (bb_missing_t){query->partitions[i], BB_ERR_BEHIND};
        }
    }
    uint32_t start = 0;
    if (query->cursor.length == sizeof start) {
        memcpy(&start, query->cursor.data, sizeof start);
    }
    pthread_mutex_lock(&node->mutex);
    qsort(node->points, node->point_count, sizeof *node->points, fake_compare);
    bb_page_builder_t *builder = bb_page_builder_new();
    uint32_t seen = 0, sent = 0;
    const fake_point_t *last = NULL;
    bb_bucket_t bucket = {0};
    for (uint32_t i = 0; i < node->point_count && sent < node->cluster->page_rows; i++) {
        const fake_point_t *point = &node->points[i];
        bool is_repeat = last && fake_compare(last, point) == 0;
        bool is_new_battery = !last || strcmp(last->battery, point->battery) != 0;
        if (!fake_is_asked(node, query, point, (uint32_t)told) || is_repeat) {
            continue;
        }
        last = point;
        bool is_generation = strcmp(point->metric, BB_GENERATION_METRIC) == 0;
        if ((query->mode == BB_QUERY_BATTERIES && !is_new_battery) ||
            (query->mode == BB_QUERY_GENERATIONS && !is_generation)) {
            continue;
        }
        if (seen++ < start) {
            continue;
        }
        if (query->mode == BB_QUERY_BATTERIES) {
            bb_page_builder_battery(builder, fake_text(point->battery), NULL, 0);
        } else if (query->mode == BB_QUERY_RAW || query->mode == BB_QUERY_GENERATIONS) {
            bb_page_builder_points(builder, fake_text(point->battery), fake_text(point->metric),
                                   BB_TYPE_INT64, &point->time, &point->bits, 1);
        } else { // one bucket over all, whatever the metric
            bucket.count++;
            bb_sum_add_value(&bucket.sum, BB_TYPE_INT64, point->bits);
            bucket.min = bucket.max = bucket.first = bucket.last = point->bits;
            bucket.first_wall_ns = bucket.last_wall_ns = point->time;
            continue;
        }
        sent++;
    }
    pthread_mutex_unlock(&node->mutex);
    if (query->mode == BB_QUERY_AGGREGATE && bucket.count > 0) {
        bb_page_builder_buckets(builder, fake_text(query->group_by_none ? "" : last->battery),
                                fake_text("v"), BB_TYPE_INT64, &bucket, 1);
    }
    uint8_t *page;
    size_t length;
    bb_page_builder_finish(builder, &page, &length);
    bb_page_builder_destroy(&builder);
    uint32_t next = start + sent;
    reply->kind = BB_KIND_RESULT;
    reply->result = (bb_result_t){
        .missing_count = missing_count,
        .missing = missing,
        .cursor =
            sent == node->cluster->page_rows ? bb_slice(&next, sizeof next) : bb_slice(NULL, 0),
        .session =
            fake_session(node, query->wants_session, query->partitions, query->partition_count),
    };
    fake_note_asked(node, query->session);
    fake_send(socket, route, reply, page, length);
    free((void *)(uintptr_t)reply->result.session.data);
    free(page);
}

// Binds the node's socket: to any port the first time, later to the same one, which must be free.
static inline void fake_bind(fake_node_t *node)
{
    node->socket = zmq_socket(node->context, ZMQ_ROUTER);
    int one = 1, zero = 0;
    zmq_setsockopt(node->socket, ZMQ_CURVE_SERVER, &one, sizeof one);
    zmq_setsockopt(node->socket, ZMQ_CURVE_SECRETKEY, node->key.secret_key, 32);
    zmq_setsockopt(node->socket, ZMQ_LINGER, &zero, sizeof zero);
    int bound = zmq_bind(node->socket, node->endpoint[0] ? node->endpoint : "tcp://127.0.0.1:*");
    BB_ASSERT(bound == 0);
    size_t length = sizeof node->endpoint;
    zmq_getsockopt(node->socket, ZMQ_LAST_ENDPOINT, node->endpoint, &length);
}

// Closes the socket with all connections, and binds the port again once it has been given back: the
// listener's end is an event, and the library closes it in its own time.
static inline void fake_rebind(fake_node_t *node)
{
    const char *address = "inproc://closed";
    zmq_socket_monitor(node->socket, address, ZMQ_EVENT_CLOSED);
    void *monitor = zmq_socket(node->context, ZMQ_PAIR);
    zmq_connect(monitor, address);
    zmq_unbind(node->socket, node->endpoint);
    zmq_msg_t event;
    for (int frame = 0; frame < 2; frame++) { // what happened, and where
        zmq_msg_init(&event);
        zmq_msg_recv(&event, monitor, 0);
        zmq_msg_close(&event);
    }
    zmq_socket_monitor(node->socket, NULL, 0);
    zmq_close(monitor);
    zmq_close(node->socket);
    fake_bind(node);
}

static inline fake_mood_t fake_take_mood(fake_node_t *node)
{
    int left = atomic_load(&node->mood_count);
    if (left == 0) {
        return FAKE_NORMAL;
    }
    if (left > 0) {
        atomic_store(&node->mood_count, left - 1);
    }
    return (fake_mood_t)atomic_load(&node->mood);
}

static inline bool fake_answer(fake_node_t *node, void *socket, zmq_msg_t *route,
                               const bb_message_t *request, bb_slice_t payload)
{
    bb_message_t reply = {.epoch = atomic_load(&node->cluster->epoch),
                          .request_id = request->request_id,
                          .credit_bytes = atomic_load(&node->credit_bytes)};
    if (request->kind == BB_KIND_HELLO) {
        fake_hello(node, socket, route, &reply);
        return true;
    }
    if (request->kind == BB_KIND_STATUS) {
        bb_status_node_t nodes[FAKE_NODES_MAX];
        pthread_mutex_lock(&node->mutex);
        uint32_t point_count = node->point_count;
        pthread_mutex_unlock(&node->mutex);
        for (uint32_t n = 0; n < node->cluster->node_count; n++) {
            nodes[n] = (bb_status_node_t){.node_id = fake_text(node->cluster->nodes[n].id),
                                          .dc = fake_text("dc1"),
                                          .up = true,
                                          .is_self = n == node->index,
                                          .lag_chunks = 10 * node->index + n};
        }
        reply.kind = BB_KIND_STATUS_REPLY;
        reply.status_reply = (bb_status_reply_t){.cluster_name = fake_text("fake"),
                                                 .node_id = fake_text(node->id),
                                                 .version = fake_text("0"),
                                                 .partition_count = FAKE_PARTITIONS,
                                                 .under_replicated = node->index,
                                                 .unequal = node->index + 1,
                                                 .streams = 10 + node->index,
                                                 .streams_dead = node->index,
                                                 .points_total = point_count,
                                                 .node_count = node->cluster->node_count,
                                                 .nodes = nodes};
        fake_send(socket, route, &reply, NULL, 0);
        return true;
    }
    bool is_write = request->kind == BB_KIND_WRITE;
    pthread_mutex_lock(&node->cluster->mutex);
    atomic_fetch_add(is_write ? &node->writes : &node->queries, 1);
    pthread_cond_broadcast(&node->cluster->changed);
    while (is_write && node->cluster->is_held) {
        pthread_cond_wait(&node->cluster->changed, &node->cluster->mutex);
    }
    pthread_mutex_unlock(&node->cluster->mutex);
    fake_mood_t mood = fake_take_mood(node);
    if (mood == FAKE_CURSOR && (is_write || request->query.cursor.length == 0)) {
        mood = FAKE_NORMAL;
    }
    const bb_error_t errors[] = {[FAKE_BUSY] = BB_ERR_BUSY,
                                 [FAKE_NOT_REPLICA] = BB_ERR_NOT_REPLICA,
                                 [FAKE_STOPPING] = BB_ERR_STOPPING,
                                 [FAKE_ROLE] = BB_ERR_ROLE,
                                 [FAKE_UNAVAILABLE] = BB_ERR_UNAVAILABLE,
                                 [FAKE_CURSOR] = BB_ERR_CURSOR};
    if (mood == FAKE_DISCONNECT) {
        return false;
    }
    if (mood == FAKE_GARBAGE) {
        zmq_msg_t copy;
        zmq_msg_init(&copy);
        zmq_msg_copy(&copy, route);
        zmq_msg_send(&copy, socket, ZMQ_SNDMORE);
        zmq_send(socket, "garbage, not a message", 22, 0);
    } else if (mood == FAKE_WRONG_KIND) {
        fake_hello(node, socket, route, &reply);
    } else if (errors[mood] != BB_OK) {
        fake_error(socket, route, &reply, errors[mood], mood == FAKE_BUSY ? 1 : 0);
    } else if (is_write) {
        fake_write(node, socket, route, &reply, payload, request->write.wants_session,
                   mood == FAKE_SILENT, mood == FAKE_WRONG_COUNT);
    } else if (request->kind == BB_KIND_QUERY && mood != FAKE_SILENT) {
        fake_query(node, socket, route, &request->query, &reply);
    }
    return true;
}

// Until its context is shut down.
static inline void *fake_main(void *argument)
{
    fake_node_t *node = argument;
    zmq_pollitem_t item = {.socket = node->socket, .events = ZMQ_POLLIN};
    bool has_more = false; // there was something after the last WRITE, before its answer
    while (zmq_poll(&item, 1, -1) > 0) {
        zmq_msg_t parts[3];
        int count = 0;
        do {
            zmq_msg_init(&parts[count]);
            zmq_msg_recv(&parts[count], node->socket, 0);
        } while (zmq_msg_more(&parts[count]) && ++count < 3);
        BB_ASSERT(count >= 1 && count <= 2);
        size_t length = zmq_msg_size(&parts[1]);
        void *aligned = malloc(length + 8);
        memcpy(aligned, zmq_msg_data(&parts[1]), length);
        bb_message_t request;
        bb_fault_t fault;
        bb_error_t error = bb_message_decode(&request, bb_slice(aligned, length), &fault);
        BB_ASSERT(error == BB_OK);
        bb_slice_t payload = count == 2 ? bb_slice(zmq_msg_data(&parts[2]), zmq_msg_size(&parts[2]))
                                        : bb_slice(NULL, 0);
        int look_ms = atomic_load(&node->look_ms);
        atomic_fetch_add(&node->overlaps, has_more && request.kind == BB_KIND_WRITE);
        has_more = look_ms > 0 && request.kind == BB_KIND_WRITE && zmq_poll(&item, 1, look_ms) > 0;
        bool stays = fake_answer(node, node->socket, &parts[0], &request, payload);
        bb_message_close(&request);
        free(aligned);
        for (int i = 0; i <= count; i++) {
            zmq_msg_close(&parts[i]);
        }
        if (!stays) {
            fake_rebind(node);
            item.socket = node->socket;
        }
    }
    zmq_close(node->socket);
    return NULL;
}

// Binds here, so that who returns from this may connect; the thread takes the socket over.
static inline void fake_node_open(fake_node_t *node)
{
    node->context = zmq_ctx_new();
    fake_bind(node);
}

static inline void fake_node_run(fake_node_t *node)
{
    BB_ASSERT(pthread_create(&node->thread, NULL, fake_main, node) == 0);
}

static inline void fake_node_start(fake_node_t *node)
{
    fake_node_open(node);
    fake_node_run(node);
}

static inline void fake_node_stop(fake_node_t *node)
{
    if (!node->context) {
        return;
    }
    zmq_ctx_shutdown(node->context);
    pthread_join(node->thread, NULL);
    zmq_ctx_term(node->context);
    node->context = NULL;
}

// While held, nodes answer no WRITE; to be let go before they are stopped.
static inline void fake_hold(fake_cluster_t *self, bool is_held)
{
    pthread_mutex_lock(&self->mutex);
    self->is_held = is_held;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

// Waits until all nodes together have seen so many WRITEs; false after `seconds`.
static inline bool fake_wait_writes(fake_cluster_t *self, int count, int seconds)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += seconds;
    int seen = 0;
    pthread_mutex_lock(&self->mutex);
    for (int late = 0; late == 0;) {
        seen = 0;
        for (uint32_t n = 0; n < self->node_count; n++) {
            seen += atomic_load(&self->nodes[n].writes);
        }
        late = seen >= count ? 1 : pthread_cond_timedwait(&self->changed, &self->mutex, &limit);
    }
    pthread_mutex_unlock(&self->mutex);
    return seen >= count;
}

static inline void fake_hex(const uint8_t *bytes, size_t length, char *text)
{
    for (size_t i = 0; i < length; i++) {
        sprintf(text + 2 * i, "%02x", bytes[i]);
    }
}

static inline void fake_client_file(fake_cluster_t *cluster)
{
    bb_curve_pair_t key;
    BB_ASSERT(bb_curve_pair_generate(&key) == BB_OK);
    char path[128], hex[33];
    bb_fault_t fault;
    snprintf(path, sizeof path, "%s/client.key", cluster->folder);
    BB_ASSERT(bb_curve_pair_write(path, "admin:test", &key, &fault) == BB_OK);
    fake_hex(cluster->cluster_id, 16, hex);
    FILE *file = fopen(cluster->client_file, "w");
    fprintf(file, "cluster: {name: fake, id: \"%s\"}\nuser: {name: admin, key_file: client.key}\n",
            hex);
    fprintf(file, "dc: dc1\nnodes:\n");
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        char text[BB_CURVE_TEXT_BYTES];
        bb_z85_encode(cluster->nodes[n].key.public_key, 32, text);
        fprintf(file, "  - {id: %s, dc: dc1, endpoint: \"%s\", public_key: \"%s\"}\n",
                cluster->nodes[n].id, cluster->nodes[n].endpoint, text);
    }
    fclose(file);
    chmod(cluster->client_file, 0600);
}

// `replicas` of FAKE_PARTITIONS rows of FAKE_REPLICAS node indexes; NULL: nodes 0, 1, 2 hold all.
static inline fake_cluster_t *fake_cluster_new(uint32_t node_count, const uint16_t *replicas)
{
    fake_cluster_t *self = calloc(1, sizeof *self);
    self->node_count = node_count;
    self->page_rows = 50;
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->changed, NULL);
    atomic_store(&self->epoch, 1);
    memset(self->placement_key, 0x5a, 16);
    memset(self->cluster_id, 0xc1, 16);
    memset(self->hello_cluster_id, 0xc1, 16);
    for (uint32_t i = 0; i < FAKE_PARTITIONS * FAKE_REPLICAS; i++) {
        self->replicas[i] = replicas                         ? replicas[i]
                            : i % FAKE_REPLICAS < node_count ? (uint16_t)(i % FAKE_REPLICAS)
                                                             : BB_REPLICA_NONE;
    }
    snprintf(self->folder, sizeof self->folder, "/tmp/busbar-fake-XXXXXX");
    BB_ASSERT(mkdtemp(self->folder));
    snprintf(self->client_file, sizeof self->client_file, "%s/client.yaml", self->folder);
    for (uint32_t n = 0; n < node_count; n++) {
        fake_node_t *node = &self->nodes[n];
        node->cluster = self;
        node->index = n;
        snprintf(node->id, sizeof node->id, "n%u", n + 1);
        BB_ASSERT(bb_curve_pair_generate(&node->key) == BB_OK);
        pthread_mutex_init(&node->mutex, NULL);
        node->points = malloc(FAKE_POINTS_MAX * sizeof *node->points);
        atomic_store(&node->reject_frame, -1);
        atomic_store(&node->missing_partition, -1);
    }
    for (uint32_t n = 0; n < node_count; n++) {
        fake_node_open(&self->nodes[n]); // all endpoints are known before the first is asked
    }
    for (uint32_t n = 0; n < node_count; n++) {
        fake_node_run(&self->nodes[n]);
    }
    fake_client_file(self);
    return self;
}

static inline void fake_cluster_free(fake_cluster_t *self)
{
    for (uint32_t n = 0; n < self->node_count; n++) {
        fake_node_stop(&self->nodes[n]);
        free(self->nodes[n].points);
        pthread_mutex_destroy(&self->nodes[n].mutex);
    }
    char path[128];
    snprintf(path, sizeof path, "%s/client.key", self->folder);
    unlink(path);
    unlink(self->client_file);
    rmdir(self->folder);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
    free(self);
}

static inline void fake_mood(fake_cluster_t *self, uint32_t node, fake_mood_t mood, int count)
{
    atomic_store(&self->nodes[node].mood, mood);
    atomic_store(&self->nodes[node].mood_count, count);
}

#endif
