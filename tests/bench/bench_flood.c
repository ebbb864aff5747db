// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/bench_flood.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#include "client/bb_link.h"
#include "cluster-config/bb_config.h"
#include "protocol/bb_batch_builder.h"
#include "protocol/bb_placement.h"
#include "tests/bench/bench.h"

#define S_CONNECTIONS 4u // to each node
#define S_LINKS_MAX   64u
#define S_BATTERIES   16u
#define S_TRIES       3u
#define S_DEADLINE_NS (500 * BB_NS_PER_MS)
#define S_BURST       512u

typedef struct {
    bb_link_t link;
    uint32_t unanswered;
} s_flow_t;

struct bench_flood {
    void *context;
    s_flow_t *flows;
    uint32_t flow_count;
    bb_blob_t *batches[BENCH_FLOOD_BATCHES];
    bool is_acked[BENCH_FLOOD_BATCHES];
    pthread_t thread;
    _Atomic bool must_stop;
    double batches_per_s;
    uint32_t window;
    _Atomic uint64_t acked;
    uint64_t serial;
    bench_flood_totals_t totals;
};

static void s_pause_ms(int64_t ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * BB_NS_PER_MS}, NULL);
}

// ---- connecting --------------------------------------------------------------------------------
// Sends HELLO when the connection is there, and takes the answer: how to find partitions.
static bool s_greet(s_flow_t *flow, bb_message_t *reply, bb_link_frame_t *envelope)
{
    bb_message_t hello = {.kind = BB_KIND_HELLO, .request_id = 1, .timeout_ns = 5 * BB_NS_PER_S};
    hello.hello.client_name = bb_slice("busbar-bench", 12);
    bool is_sent = false;
    for (int i = 0; i < 500; i++) {
        if (!is_sent) {
            uint8_t *bytes;
            size_t length;
            bb_message_encode(&hello, &bytes, &length);
            is_sent = bb_link_send(&flow->link, bytes, length, NULL);
        }
        bb_link_frame_t payload;
        if (bb_link_receive(&flow->link, envelope, &payload)) {
            bb_link_frame_free(&payload);
            return bb_message_decode(reply, envelope->bytes, NULL) == BB_OK &&
                   reply->kind == BB_KIND_HELLO_REPLY;
        }
        s_pause_ms(10);
    }
    return false;
}

static bb_blob_t *s_batch(uint32_t number, uint32_t frame_count, const bb_hello_reply_t *cluster)
{
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_slice_t names[BENCH_METRICS];
    uint8_t types[BENCH_METRICS];
    uint32_t order[BENCH_METRICS], shape = 0;
    for (uint32_t m = 0; m < BENCH_METRICS; m++) {
        names[m] = bb_slice(bench_metric_names[m], strlen(bench_metric_names[m]));
        types[m] = BB_TYPE_FLOAT64;
    }
    bb_error_t error =
        bb_batch_builder_shape(builder, names, types, BENCH_METRICS, &shape, order, NULL);
    for (uint32_t f = 0; f < frame_count && error == BB_OK; f++) {
        char id[16];
        snprintf(id, sizeof id, "flood-%02u", f % S_BATTERIES);
        uint32_t battery = 0;
        uint32_t partition =
            bb_partition_of(cluster->placement_key, id, strlen(id), cluster->partition_count);
        error = bb_batch_builder_battery(builder, partition, bb_slice(id, strlen(id)), NULL, 0,
                                         &battery, NULL);
        BB_ASSERT(error == BB_OK);
        uint64_t values[BENCH_METRICS];
        for (uint32_t m = 0; m < BENCH_METRICS; m++) {
            values[order[m]] = bb_bits_of_double((number * 31 + f * 7 + m * 13) % 1000 / 10.0);
        }
        error = bb_batch_builder_frame(builder, battery, shape,
                                       BENCH_FLOOD_NS_FIRST + number * BENCH_FLOOD_NS +
                                           f * (BENCH_FLOOD_NS / frame_count),
                                       values);
    }
    BB_ASSERT(error == BB_OK);
    uint8_t *bytes;
    size_t length;
    bb_batch_builder_finish(builder, &bytes, &length, NULL);
    bb_batch_builder_destroy(&builder);
    return bb_blob_new(bytes, length);
}

static bool s_connect(bench_flood_t *self, const bb_client_file_t *file, uint32_t batch_frames)
{
    self->flow_count = BB_MIN(file->node_count * S_CONNECTIONS, S_LINKS_MAX);
    self->flows = bb_alloc_zero(self->flow_count, sizeof *self->flows);
    for (uint32_t i = 0; i < self->flow_count; i++) {
        bb_link_t *link = &self->flows[i].link;
        const bb_client_node_t *node = &file->nodes[i % file->node_count];
        snprintf(link->id, sizeof link->id, "%s", node->id);
        snprintf(link->endpoint, sizeof link->endpoint, "%.*s", (int)sizeof link->endpoint - 1,
                 node->endpoint);
        memcpy(link->public_key, node->public_key, sizeof link->public_key);
        bb_fault_t fault;
        bb_message_t reply;
        bb_link_frame_t envelope;
        if (bb_link_open(link, self->context, &file->key, &fault) != BB_OK ||
            !s_greet(&self->flows[i], &reply, &envelope)) {
            fprintf(stderr, "busbar-bench: %s does not answer\n", link->id);
            return false;
        }
        for (uint32_t b = 0; i == 0 && b < BENCH_FLOOD_BATCHES; b++) {
            self->batches[b] = s_batch(b, batch_frames, &reply.hello_reply);
        }
        bb_message_close(&reply);
        bb_link_frame_free(&envelope);
    }
    return true;
}

bench_flood_t *bench_flood_open(const char *cluster_directory, uint32_t batch_frames)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/client.yaml", cluster_directory);
    bb_client_file_t *file = NULL;
    bb_fault_t fault = {0};
    if (bb_client_file_load(path, &file, &fault) != BB_OK) {
        fprintf(stderr, "busbar-bench: %s\n", fault.text);
        return NULL;
    }
    bench_flood_t *self = bb_alloc_zero(1, sizeof *self);
    self->context = zmq_ctx_new();
    if (!s_connect(self, file, batch_frames)) {
        bench_flood_close(&self);
    }
    bb_client_file_destroy(&file);
    return self;
}

// ---- the thread --------------------------------------------------------------------------------
// The number of a request says which batch it carries, and how often that was sent before.
static void s_send(bench_flood_t *self, s_flow_t *flow, uint32_t number, uint32_t tries)
{
    bb_message_t write = {.kind = BB_KIND_WRITE,
                          .request_id = ++self->serial << 16 | number << 4 | tries,
                          .timeout_ns = S_DEADLINE_NS};
    write.write.level = BB_LEVEL_LOCAL_QUORUM;
    if (flow->unanswered >= self->window) {
        self->totals.held++;
        return;
    }
    uint8_t *bytes;
    size_t length;
    bb_message_encode(&write, &bytes, &length);
    if (!bb_link_send(&flow->link, bytes, length, self->batches[number])) {
        self->totals.held++;
        return;
    }
    flow->unanswered++;
    self->totals.sent++;
}

static void s_on_answer(bench_flood_t *self, s_flow_t *flow, const bb_message_t *answer)
{
    uint32_t number = (uint32_t)(answer->request_id >> 4) & 0xfff;
    uint32_t tries = (uint32_t)answer->request_id & 0xf;
    BB_ASSERT(number < BENCH_FLOOD_BATCHES);
    if (answer->kind == BB_KIND_WRITE_REPLY && answer->write_reply.rejected_points == 0) {
        self->totals.acked++;
        atomic_fetch_add_explicit(&self->acked, 1, memory_order_relaxed);
        self->is_acked[number] = true;
        return;
    }
    bb_error_t error = answer->kind == BB_KIND_ERROR ? answer->error.code : BB_OK;
    self->totals.busy += error == BB_ERR_BUSY;
    self->totals.timeout += error == BB_ERR_TIMEOUT;
    self->totals.other += error != BB_ERR_BUSY && error != BB_ERR_TIMEOUT;
    if (tries + 1 < S_TRIES && !atomic_load(&self->must_stop)) {
        s_send(self, flow, number, tries + 1);
    }
}

static uint32_t s_receive(bench_flood_t *self, s_flow_t *flow)
{
    uint32_t count = 0;
    bb_link_frame_t envelope, payload;
    for (; count < S_BURST && bb_link_receive(&flow->link, &envelope, &payload); count++) {
        bb_message_t answer;
        if (bb_message_decode(&answer, envelope.bytes, NULL) == BB_OK) {
            flow->unanswered -= flow->unanswered > 0;
            s_on_answer(self, flow, &answer);
            bb_message_close(&answer);
        }
        bb_link_frame_free(&envelope);
        bb_link_frame_free(&payload);
    }
    int32_t detail;
    bb_link_event_t event;
    while ((event = bb_link_next_event(&flow->link, &detail)) != BB_LINK_EVENT_NONE) {
        flow->unanswered = event == BB_LINK_EVENT_LOST ? 0 : flow->unanswered;
    }
    return count;
}

static bool s_is_answered(const bench_flood_t *self)
{
    uint32_t unanswered = 0;
    for (uint32_t i = 0; i < self->flow_count; i++) {
        unanswered += self->flows[i].unanswered;
    }
    return unanswered == 0;
}

static void *s_main(void *argument)
{
    bench_flood_t *self = argument;
    int64_t begin_ns = bench_mono_ns(), end_ns = BB_NEVER_NS;
    while (bench_mono_ns() < end_ns && !(end_ns != BB_NEVER_NS && s_is_answered(self))) {
        bool must_stop = atomic_load(&self->must_stop);
        if (must_stop && end_ns == BB_NEVER_NS) {
            end_ns = bench_mono_ns() + BB_NS_PER_S;
        }
        uint64_t due = (uint64_t)(self->batches_per_s * (double)(bench_mono_ns() - begin_ns) / 1e9);
        uint32_t done = 0;
        for (; !must_stop && self->totals.asked < due && done < S_BURST; done++) {
            s_flow_t *flow = &self->flows[self->totals.asked % self->flow_count];
            s_send(self, flow, (uint32_t)(self->totals.asked++ % BENCH_FLOOD_BATCHES), 0);
        }
        for (uint32_t i = 0; i < self->flow_count; i++) {
            done += s_receive(self, &self->flows[i]);
        }
        if (done == 0) {
            s_pause_ms(1);
        }
    }
    return NULL;
}

void bench_flood_start(bench_flood_t *self, double batches_per_s, uint32_t window)
{
    BB_ASSERT(window >= 1 && window <= BENCH_FLOOD_WINDOW_MAX);
    self->batches_per_s = batches_per_s;
    self->window = window;
    self->totals = (bench_flood_totals_t){0};
    atomic_store(&self->acked, 0);
    atomic_store(&self->must_stop, false);
    int made = pthread_create(&self->thread, NULL, s_main, self);
    BB_ASSERT(made == 0);
}

void bench_flood_stop(bench_flood_t *self, bench_flood_totals_t *totals)
{
    atomic_store(&self->must_stop, true);
    pthread_join(self->thread, NULL);
    *totals = self->totals;
}

uint64_t bench_flood_acked(const bench_flood_t *self)
{
    return atomic_load(&self->acked);
}

bool bench_flood_is_acked(const bench_flood_t *self, uint32_t number)
{
    BB_ASSERT(number < BENCH_FLOOD_BATCHES);
    return self->is_acked[number];
}

void bench_flood_close(bench_flood_t **self_pointer)
{
    bench_flood_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < self->flow_count; i++) {
        bb_link_close(&self->flows[i].link);
    }
    zmq_ctx_term(self->context); // holds no batch any more
    for (uint32_t b = 0; b < BENCH_FLOOD_BATCHES; b++) {
        bb_blob_drop(&self->batches[b]);
    }
    free(self->flows);
    free(self);
}
