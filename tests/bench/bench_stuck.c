// SPDX-License-Identifier: Apache-2.0
// One connection asks for pages, a megabyte each, and takes no answer: what a node keeps for it is
// bounded, others are served meanwhile, and it is served again when it has taken what waited.
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#include "cluster-config/bb_config.h"
#include "protocol/bb_message.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_nodes.h"
#include "tests/bench/bench_sender.h"

#define S_QUERIES    30u // of each wave
#define S_STILL_MIN  20u // looks in a row
#define S_LOOKS_MAX  200u
#define S_LOOK_NS    (50 * BB_NS_PER_MS)
#define S_TIMEOUT_MS 60000

typedef struct {
    void *context, *socket;
    uint32_t partition_count;
    uint32_t partitions[BB_PARTITIONS_MAX];
    uint64_t serial;
    uint64_t pages, busy, others, bytes;
} s_stuck_t;

static void s_set(void *socket, int option, int value)
{
    int set = zmq_setsockopt(socket, option, &value, sizeof value);
    BB_ASSERT(set == 0);
}

static void s_send(s_stuck_t *self, bb_message_t *message)
{
    uint8_t *bytes;
    size_t length;
    message->request_id = ++self->serial;
    message->timeout_ns = 60 * BB_NS_PER_S;
    bb_message_encode(message, &bytes, &length);
    zmq_send(self->socket, bytes, length, 0);
    free(bytes);
}

static void s_ask(s_stuck_t *self)
{
    bb_message_t message = {.kind = BB_KIND_QUERY};
    message.query = (bb_query_t){.mode = BB_QUERY_RAW,
                                 .level = BB_LEVEL_ONE,
                                 .to_wall_ns = BB_TIME_WALL_NS_LIMIT,
                                 .partitions = self->partitions,
                                 .partition_count = self->partition_count};
    s_send(self, &message);
}

// Takes one answer; false: there is none in time.
static bool s_take(s_stuck_t *self, int timeout_ms)
{
    zmq_pollitem_t item = {.socket = self->socket, .events = ZMQ_POLLIN};
    if (zmq_poll(&item, 1, timeout_ms) <= 0) {
        return false;
    }
    int has_more = 1;
    for (uint32_t part = 0; has_more; part++) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        zmq_msg_recv(&frame, self->socket, 0);
        has_more = zmq_msg_more(&frame);
        size_t length = zmq_msg_size(&frame);
        self->bytes += length;
        if (part == 0) {
            void *aligned = bb_alloc(length);
            memcpy(aligned, zmq_msg_data(&frame), length);
            bb_message_t answer;
            bb_error_t error = bb_message_decode(&answer, bb_slice(aligned, length), NULL);
            BB_ASSERT(error == BB_OK);
            bool is_busy = answer.kind == BB_KIND_ERROR && answer.error.code == BB_ERR_BUSY;
            self->pages += answer.kind == BB_KIND_RESULT;
            self->busy += is_busy;
            self->others += answer.kind != BB_KIND_RESULT && !is_busy;
            if (answer.kind == BB_KIND_HELLO_REPLY) {
                self->partition_count = answer.hello_reply.partition_count;
            }
            bb_message_close(&answer);
            free(aligned);
        }
        zmq_msg_close(&frame);
    }
    return true;
}

// A socket that takes one message more than it is asked for, over a connection that buffers little.
static bool s_connect(s_stuck_t *self, const char *client_file)
{
    bb_client_file_t *file = NULL;
    bb_fault_t fault = {0};
    if (bb_client_file_load(client_file, &file, &fault) != BB_OK) {
        fprintf(stderr, "busbar-bench: %s\n", fault.text);
        return false;
    }
    self->context = zmq_ctx_new();
    self->socket = zmq_socket(self->context, ZMQ_DEALER);
    s_set(self->socket, ZMQ_RCVHWM, 1);
    s_set(self->socket, ZMQ_RCVBUF, 65536);
    s_set(self->socket, ZMQ_LINGER, 0);
    zmq_setsockopt(self->socket, ZMQ_CURVE_SERVERKEY, file->nodes[0].public_key, 32);
    zmq_setsockopt(self->socket, ZMQ_CURVE_PUBLICKEY, file->key.public_key, 32);
    zmq_setsockopt(self->socket, ZMQ_CURVE_SECRETKEY, file->key.secret_key, 32);
    bool is_there = zmq_connect(self->socket, file->nodes[0].endpoint) == 0;
    bb_client_file_destroy(&file);
    bb_message_t hello = {.kind = BB_KIND_HELLO};
    hello.hello.client_name = bb_slice("busbar-bench", 12);
    s_send(self, &hello);
    is_there = is_there && s_take(self, S_TIMEOUT_MS) && self->partition_count > 0;
    for (uint32_t i = 0; i < self->partition_count; i++) {
        self->partitions[i] = i;
    }
    self->bytes = self->others = 0;
    return is_there;
}

// How long another client waits for an answer meanwhile, in ms; < 0: it gets none.
static double s_other_ms(busbar_client_t *client)
{
    const char *metric = bench_metric_names[0];
    const busbar_query_t query = {.mode = BUSBAR_LAST,
                                  .level = BUSBAR_ONE,
                                  .metrics = &metric,
                                  .metric_count = 1,
                                  .timeout_ns = 60 * BUSBAR_SECOND};
    busbar_rows_t *rows = NULL;
    busbar_row_t row;
    busbar_fault_t fault = {0};
    bool is_complete = false;
    int64_t begin_ns = bench_mono_ns();
    if (busbar_query(client, &query, &rows, &fault) != BUSBAR_OK) {
        return -1;
    }
    while (busbar_rows_next(rows, &row)) {
    }
    busbar_status_t status = busbar_rows_status(rows, &is_complete, NULL, NULL, &fault);
    busbar_rows_close(&rows);
    return status == BUSBAR_OK && is_complete ? (double)(bench_mono_ns() - begin_ns) / 1e6 : -1;
}

static void s_ask_all(s_stuck_t *self)
{
    for (uint32_t i = 0; i < S_QUERIES; i++) {
        s_ask(self);
    }
}

// Until the pages that were asked for have been made: memory grows no more.
static void s_await_pages(const bench_nodes_t *nodes)
{
    uint64_t before = bench_nodes_anonymous_bytes(nodes), last = before;
    for (uint32_t look = 0, still = 0; look < S_LOOKS_MAX && still < S_STILL_MIN; look++) {
        nanosleep(&(struct timespec){0, S_LOOK_NS}, NULL);
        uint64_t now = bench_nodes_anonymous_bytes(nodes);
        bool is_still = now < last + (1u << 19) && now > before + (8u << 20);
        still = is_still ? still + 1 : 0;
        last = now;
    }
}

int bench_stuck(const char *cluster_directory, FILE *results)
{
    char client_file[4200];
    snprintf(client_file, sizeof client_file, "%s/client.yaml", cluster_directory);
    bench_nodes_t nodes;
    busbar_client_t *client;
    s_stuck_t *self = bb_alloc_zero(1, sizeof *self);
    if (!bench_client_open(cluster_directory, 10 * BUSBAR_SECOND, &nodes, &client) ||
        !s_connect(self, client_file)) {
        return 1;
    }
    double before = (double)bench_nodes_anonymous_bytes(&nodes);
    bench_nodes_watch(&nodes);
    s_ask_all(self);
    s_await_pages(&nodes);
    double other_ms = s_other_ms(client); // behind what was asked for
    s_ask_all(self);
    double grown =
        bench_nodes_unwatch_mib(&nodes) * nodes.count - before / 1048576.0; // of all nodes
    while (self->pages + self->busy + self->others < 2 * S_QUERIES && s_take(self, S_TIMEOUT_MS)) {
    }
    uint64_t pages = self->pages, bytes = self->bytes;
    s_ask(self);
    bool is_served = s_take(self, S_TIMEOUT_MS) && self->pages == pages + 1;
    bench_report(results, "stuck_pages", (double)pages, "pages",
                 "of 60 that were asked for, 30 when the others waited");
    bench_report(results, "stuck_busy", (double)self->busy, "answers", "refused");
    bench_report(results, "stuck_mib", (double)bytes / 1048576.0, "MiB", "that had waited");
    bench_report(results, "stuck_grown_mib", grown, "MiB", "anonymous memory of all nodes");
    bench_report(results, "stuck_other_ms", other_ms, "ms", "until another client was answered");
    bench_report(results, "stuck_served_again", is_served, "", "1: yes");
    zmq_close(self->socket);
    zmq_ctx_term(self->context);
    free(self);
    busbar_close(&client);
    return other_ms >= 0 && is_served ? 0 : 1;
}
