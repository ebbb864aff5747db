// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/router_actor.h"

#include <czmq.h>

#include "node/ingest/bb_admission.h"
#include "node/ingest/bb_credit.h"
#include "node/query/bb_store_split.h"
#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_frame.h"
#include "node/runtime/bb_poller.h"
#include "node/runtime/bb_socket.h"
#include "node/runtime/bb_tsan.h"

#define S_REQUESTS_MAX       65536
#define S_MESSAGES_PER_ROUND 64
// Of what may be in flight, to be given out as credits. The rest is for clients that know none, for
// queries, and for what batches take when a store has unfolded them.
#define S_CREDIT_PART 2
#define S_SWEEP_NS    BB_NS_PER_S
#define S_WAY_BACK_NS (INT64_C(25) * BB_NS_PER_MS)
// Answers that a connection was given and did not take yet: past the first its queries are refused
// as BUSY, past the second answers are dropped, like those of a connection that is gone.
#define S_UNTAKEN_BYTES_BUSY (UINT64_C(16) << 20)
#define S_UNTAKEN_BYTES_MAX  (UINT64_C(64) << 20)
#define S_UNTAKEN_RETRY_MS   200
// A store answers by the deadline; past this much more it never will.
#define S_SWEEP_GRACE_NS (INT64_C(10) * BB_NS_PER_S)

typedef struct {
    bb_node_t *node;
    bb_log_t log;
    zsock_t *pipe, *client;
    void *socket; // of client
    bb_outlet_t *stores[BB_STORES_MAX];
    bb_admission_t *admission;
    bb_credit_t *credit;
    bb_shard_stats_t *stats[BB_STORES_MAX]; // newest published; NULL: none yet
    bb_post_t *peers;                       // newest PEERS; NULL: none yet
    int64_t sweep_mono_ns;
} s_router_t;

// Attached to a request that several stores serve.
typedef struct {
    bb_gather_t *gather; // WRITE, SETTLE, RELEASE
    uint32_t next_index; // QUERY: the store that the next page begins at
} s_task_t;

static void s_task_destroy(s_task_t *task)
{
    if (task) {
        bb_gather_destroy(&task->gather);
        free(task);
    }
}

// ---- answers -----------------------------------------------------------------------------------
typedef struct {
    const uint8_t *routing_id;
    size_t routing_id_length;
    uint64_t request_id;
} s_address_t;

// What names a connection: the number that the ROUTER gave it.
static uint32_t s_connection(const uint8_t *routing_id)
{
    return (uint32_t)routing_id[1] << 24 | (uint32_t)routing_id[2] << 16 |
           (uint32_t)routing_id[3] << 8 | routing_id[4];
}

static _Atomic uint64_t *s_untaken(s_router_t *self, const uint8_t *routing_id)
{
    return &self->node->client_untaken_bytes[s_connection(routing_id) % BB_CLIENT_ACCOUNTS];
}

static void s_deliver(s_router_t *self, const s_address_t *to, bb_buffer_t *envelope,
                      bb_buffer_t *body)
{
    bb_buffer_t *frames[] = {envelope, body};
    _Atomic uint64_t *account = s_untaken(self, to->routing_id);
    uint64_t untaken = atomic_load_explicit(account, memory_order_relaxed);
    bool has_room = untaken == 0 || untaken + bb_buffer_slice(body).length <= S_UNTAKEN_BYTES_MAX;
    if (!has_room ||
        !bb_frame_send(self->socket, to->routing_id, to->routing_id_length, frames, 2, account)) {
        bb_metrics_add(self->node->metrics, BB_METRIC_ANSWERS_LOST, 1);
        return;
    }
    bb_metrics_add(self->node->metrics, BB_METRIC_CLIENT_OUT, 1);
    bb_metrics_add(self->node->metrics, BB_METRIC_CLIENT_BYTES_OUT,
                   bb_buffer_slice(envelope).length + bb_buffer_slice(body).length);
}

static bb_buffer_t *s_encode(s_router_t *self, bb_message_t *message, uint64_t request_id)
{
    message->epoch = bb_topology_epoch(self->node->topology);
    message->request_id = request_id;
    uint8_t *encoded;
    size_t length;
    bb_message_encode(message, &encoded, &length);
    return bb_buffer_new(encoded, length, NULL, NULL);
}

static void s_reply(s_router_t *self, const s_address_t *to, bb_message_t *message)
{
    bb_buffer_t *envelope = s_encode(self, message, to->request_id);
    s_deliver(self, to, envelope, NULL);
    bb_buffer_drop(&envelope);
}

static void s_refuse(s_router_t *self, const s_address_t *to, bb_error_t error, const char *detail,
                     uint32_t retry_after_ms, uint32_t credit_bytes)
{
    bb_message_t message = {.kind = BB_KIND_ERROR, .credit_bytes = credit_bytes};
    message.error = (bb_error_reply_t){.code = error,
                                       .detail = bb_slice(detail, strlen(detail)),
                                       .retry_after_ms = retry_after_ms};
    s_reply(self, to, &message);
}

// Ends a request: its slot is free and nothing can answer it again.
static bool s_release(s_router_t *self, uint64_t ticket, bb_admitted_t *request)
{
    if (!bb_admission_release(self->admission, ticket, request)) {
        return false;
    }
    s_task_destroy(request->attachment);
    request->attachment = NULL;
    return true;
}

// The answer to a WRITE, whatever it is, tells the credit that its client has from now on; others
// tell none. Once for each request.
static uint32_t s_end_credit(s_router_t *self, const bb_admitted_t *request)
{
    return request->kind == BB_KIND_WRITE
               ? bb_credit_end(self->credit, bb_clock_mono_ns(), s_connection(request->routing_id),
                               request->batch_bytes)
               : 0;
}

// Encoded a second time: the store made its answer before the credit was known, as bytes, which are
// shared with it and never change. 0.4 us for each WRITE, which may bring 100,000 points.
static bb_buffer_t *s_with_credit(s_router_t *self, const bb_admitted_t *request,
                                  bb_buffer_t *envelope)
{
    bb_message_t message;
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(envelope), NULL);
    BB_ASSERT(error == BB_OK); // our own encoder made it
    message.credit_bytes = s_end_credit(self, request);
    uint8_t *encoded;
    size_t length;
    bb_message_encode(&message, &encoded, &length);
    bb_message_close(&message);
    return bb_buffer_new(encoded, length, NULL, NULL);
}

// The request is over; the answer goes out as it is.
static void s_end(s_router_t *self, uint64_t ticket, bb_buffer_t *envelope, bb_buffer_t *body)
{
    bb_admitted_t request;
    if (s_release(self, ticket, &request)) {
        s_address_t to = {request.routing_id, sizeof request.routing_id, request.request_id};
        s_deliver(self, &to, envelope, body);
    }
}

// The same with the answer of a store, which knows nothing of credits.
static void s_finish(s_router_t *self, uint64_t ticket, bb_buffer_t *envelope, bb_buffer_t *body)
{
    const bb_admitted_t *request = bb_admission_find(self->admission, ticket);
    if (request && request->kind == BB_KIND_WRITE) {
        bb_buffer_t *with_credit = s_with_credit(self, request, envelope);
        s_end(self, ticket, with_credit, body);
        bb_buffer_drop(&with_credit);
    } else {
        s_end(self, ticket, envelope, body);
    }
}

static void s_finish_error(s_router_t *self, uint64_t ticket, bb_error_t error, const char *detail)
{
    bb_admitted_t request;
    if (s_release(self, ticket, &request)) {
        s_address_t to = {request.routing_id, sizeof request.routing_id, request.request_id};
        s_refuse(self, &to, error, detail, 0, s_end_credit(self, &request));
    }
}

// A page of one of several stores: its cursor must say where the whole answer goes on.
static void s_finish_page(s_router_t *self, const bb_post_answer_t *answer, bb_message_t *message,
                          const bb_admitted_t *request)
{
    uint8_t cursor[BB_CURSOR_BYTES_MAX];
    const s_task_t *task = request->attachment;
    if (message->result.cursor.length + BB_STORE_CURSOR_BYTES > sizeof cursor) {
        s_finish_error(self, answer->ticket, BB_ERR_INTERNAL, "the cursor is too long");
        return;
    }
    size_t length = bb_query_slice_cursor(answer->store_index, task->next_index,
                                          self->node->store_count, message->result.cursor, cursor);
    message->result.cursor = bb_slice(cursor, length);
    bb_buffer_t *envelope = s_encode(self, message, request->request_id);
    s_finish(self, answer->ticket, envelope, answer->outbound.body);
    bb_buffer_drop(&envelope);
}

static void s_on_joint_answer(s_router_t *self, const bb_post_answer_t *answer,
                              const bb_admitted_t *request)
{
    bb_message_t message;
    bb_error_t error =
        bb_message_decode(&message, bb_buffer_slice(answer->outbound.envelope), NULL);
    BB_ASSERT(error == BB_OK); // our own encoder made it
    s_task_t *task = request->attachment;
    if (task->gather) {
        if (bb_gather_add(task->gather, answer->store_index, &message)) {
            bb_message_t joint = {0};
            bb_gather_answer(task->gather, &joint);
            joint.credit_bytes = s_end_credit(self, request);
            bb_buffer_t *envelope = s_encode(self, &joint, request->request_id);
            s_end(self, answer->ticket, envelope, NULL);
            bb_buffer_drop(&envelope);
        }
    } else if (message.kind == BB_KIND_RESULT) {
        s_finish_page(self, answer, &message, request);
    } else {
        s_finish(self, answer->ticket, answer->outbound.envelope, answer->outbound.body);
    }
    bb_message_close(&message);
}

static void s_on_answer(s_router_t *self, const bb_post_answer_t *answer)
{
    const bb_admitted_t *request = bb_admission_find(self->admission, answer->ticket);
    if (!request) {
        bb_metrics_add(self->node->metrics, BB_METRIC_ANSWERS_LOST, 1);
    } else if (request->attachment) {
        s_on_joint_answer(self, answer, request);
    } else {
        s_finish(self, answer->ticket, answer->outbound.envelope, answer->outbound.body);
    }
}

// ---- HELLO and STATUS --------------------------------------------------------------------------
static bool s_is_slow(const s_router_t *self, uint32_t node)
{
    return self->peers && self->peers->peers.views[node].is_slow;
}

static void s_routes(s_router_t *self, const s_address_t *to)
{
    uint16_t slow[BB_NODES_MAX];
    bb_message_t message = {.kind = BB_KIND_ROUTES, .routes = {.slow = slow}};
    for (uint32_t i = 0; i < bb_topology_node_count(self->node->topology); i++) {
        if (s_is_slow(self, i)) {
            slow[message.routes.slow_count++] = (uint16_t)i;
        }
    }
    s_reply(self, to, &message);
}

static void s_hello(s_router_t *self, const s_address_t *to)
{
    const bb_topology_t *topology = self->node->topology;
    uint32_t count = bb_topology_node_count(topology);
    bb_hello_node_t *nodes = bb_alloc_zero(count, sizeof *nodes);
    char(*endpoints)[BB_HOST_BYTES_MAX + 17] = bb_alloc_zero(count, sizeof *endpoints);
    for (uint32_t i = 0; i < count; i++) {
        const bb_topology_node_t *node = bb_topology_node(topology, i);
        bb_socket_endpoint(node->host, node->client_port, endpoints[i], sizeof endpoints[i]);
        nodes[i] = (bb_hello_node_t){
            .id = bb_slice(node->id, strlen(node->id)),
            .dc = bb_slice(node->dc, strlen(node->dc)),
            .rack = bb_slice(node->rack, strlen(node->rack)),
            .client_endpoint = bb_slice(endpoints[i], strlen(endpoints[i])),
            .weight = node->weight,
        };
        memcpy(nodes[i].public_key, node->public_key, sizeof nodes[i].public_key);
    }
    const char *name = bb_topology_cluster_name(topology), *id = self->node->config->node_id;
    bb_message_t message = {.kind = BB_KIND_HELLO_REPLY};
    message.credit_bytes =
        bb_credit_hello(self->credit, bb_clock_mono_ns(), s_connection(to->routing_id));
    message.hello_reply = (bb_hello_reply_t){
        .cluster_name = bb_slice(name, strlen(name)),
        .node_id = bb_slice(id, strlen(id)),
        .partition_count = bb_topology_partition_count(topology),
        .node_count = count,
        .nodes = nodes,
        .replica_stride = bb_topology_replica_count(topology),
        .replicas = bb_topology_table(topology),
        .default_write_level = self->node->config->default_write_level,
        .default_read_level = self->node->config->default_read_level,
    };
    memcpy(message.hello_reply.cluster_id, bb_topology_cluster_id(topology), 16);
    memcpy(message.hello_reply.placement_key, bb_topology_placement_key(topology), 16);
    s_reply(self, to, &message);
    free(nodes);
    free(endpoints);
}

static void s_add_stats(bb_status_reply_t *status, bb_status_node_t *nodes,
                        const bb_topology_t *topology, const bb_shard_stats_t *stats)
{
    status->under_replicated += stats->under_replicated;
    status->unequal += stats->unequal;
    if (stats->store.streams >= status->streams) { // nearly the same ones in each store
        status->streams = stats->store.streams;
        status->streams_dead = stats->streams_dead;
    }
    status->points_total += stats->points_accepted;
    status->batteries_total += stats->store.battery_count;
    status->head_bytes += stats->store.head_bytes;
    status->journal_bytes += stats->store.journal_bytes;
    status->segment_bytes += stats->store.segment_bytes;
    status->segment_points += stats->store.segment_points;
    status->unsealed_chunks += stats->unsealed_chunks;
    status->untrimmed_chunks += stats->untrimmed_chunks;
    status->runs_to_merge += stats->store.runs_mergeable;
    status->quarantined_points += stats->store.quarantined_points;
    status->damage_count += stats->damage_count;
    for (uint32_t i = 0; i < status->node_count; i++) {
        nodes[i].lag_chunks += stats->lag_chunks[i];
        uint32_t dc = bb_topology_node(topology, i)->dc_index;
        nodes[i].dc_lag_chunks += stats->dc_lag_chunks[dc];
        nodes[i].dc_lag_ns = BB_MAX(nodes[i].dc_lag_ns, stats->dc_lag_ns[dc]);
    }
}

static void s_status(s_router_t *self, const s_address_t *to)
{
    const bb_topology_t *topology = self->node->topology;
    const char *name = bb_topology_cluster_name(topology), *id = self->node->config->node_id;
    bb_status_node_t nodes[BB_NODES_MAX] = {0};
    bb_message_t message = {.kind = BB_KIND_STATUS_REPLY};
    bb_status_reply_t *status = &message.status_reply;
    *status = (bb_status_reply_t){
        .cluster_name = bb_slice(name, strlen(name)),
        .node_id = bb_slice(id, strlen(id)),
        .version = bb_slice(BB_VERSION, strlen(BB_VERSION)),
        .ready = bb_node_is_ready(self->node),
        .draining = bb_node_state(self->node) == BB_NODE_DRAINING,
        .standing = bb_node_standing(self->node),
        .boot = atomic_load_explicit(&self->node->boot, memory_order_relaxed),
        .partition_count = bb_topology_partition_count(topology),
        .default_write_level = self->node->config->default_write_level,
        .default_read_level = self->node->config->default_read_level,
        .uptime_ns = (uint64_t)(bb_clock_mono_ns() - self->node->start_mono_ns),
        .node_count = bb_topology_node_count(topology),
        .nodes = nodes,
    };
    for (uint32_t i = 0; i < status->node_count; i++) {
        const bb_topology_node_t *node = bb_topology_node(topology, i);
        nodes[i].node_id = bb_slice(node->id, strlen(node->id));
        nodes[i].dc = bb_slice(node->dc, strlen(node->dc));
        nodes[i].is_self = i == bb_topology_self_index(topology);
        nodes[i].is_slow = s_is_slow(self, i);
        nodes[i].up = nodes[i].is_self || (self->peers && self->peers->peers.views[i].is_up);
    }
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        if (self->stats[i]) {
            s_add_stats(status, nodes, topology, self->stats[i]);
        }
    }
    s_reply(self, to, &message);
}

// ---- requests for the stores -------------------------------------------------------------------
// Everything about one request on its way in.
typedef struct {
    s_address_t from;
    bb_message_t message; // views into envelope
    bb_buffer_t *envelope, *batch;
    uint64_t ticket;
    int64_t received_mono_ns;
} s_request_t;

// Hands a request, or a store's share of one, to a store. Takes the buffers and the message.
static void s_post(s_router_t *self, const s_request_t *request, uint32_t store_index,
                   bb_message_t message, bb_buffer_t *envelope, bb_buffer_t *batch)
{
    bb_post_t *post = bb_post_new(BB_POST_CLIENT);
    post->request = (bb_post_request_t){
        .ticket = request->ticket,
        .received_mono_ns = request->received_mono_ns,
        .message = message,
        .envelope = envelope,
        .batch = batch,
    };
    bb_outlet_send_always(self->stores[store_index], &post); // admission is the bound
}

// The same request as an envelope of its own, so that each store owns what it is given.
static void s_post_copy(s_router_t *self, const s_request_t *request, uint32_t store_index,
                        const bb_message_t *content, bb_buffer_t *batch)
{
    bb_message_t message = *content;
    uint8_t *encoded;
    size_t length;
    bb_message_encode(&message, &encoded, &length);
    bb_buffer_t *envelope = bb_buffer_new(encoded, length, NULL, NULL);
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(envelope), NULL);
    BB_ASSERT(error == BB_OK);
    s_post(self, request, store_index, message, envelope, batch);
}

static s_task_t *s_attach(s_router_t *self, uint64_t ticket, s_task_t task)
{
    bb_admitted_t *admitted = bb_admission_find(self->admission, ticket);
    s_task_t *copy = bb_alloc(sizeof *copy);
    *copy = task;
    admitted->attachment = copy;
    return copy;
}

static void s_split_write(s_router_t *self, const s_request_t *request)
{
    bb_batch_t batch;
    bb_fault_t fault = {0};
    bb_error_t error = bb_batch_open(&batch, bb_buffer_slice(request->batch), &fault);
    if (error != BB_OK) {
        s_finish_error(self, request->ticket, error, fault.text);
        return;
    }
    bool wanted[BB_STORES_MAX] = {false};
    uint32_t expected = 0;
    for (uint32_t i = 0; i < batch.part_count; i++) {
        bool *is_wanted =
            &wanted[bb_store_of_partition(batch.parts[i].partition, self->node->store_count)];
        expected += !*is_wanted;
        *is_wanted = true;
    }
    if (expected == 0) {
        bb_batch_close(&batch);
        s_finish_error(self, request->ticket, BB_ERR_MESSAGE_CORRUPT, "the batch is empty");
        return;
    }
    bb_gather_t *gather = bb_gather_new(BB_KIND_WRITE, self->node->store_count, expected);
    s_attach(self, request->ticket, (s_task_t){.gather = gather});
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        uint8_t *encoded;
        size_t length;
        if (wanted[i]) {
            error = bb_gather_cut(gather, &batch, i, &encoded, &length);
            BB_ASSERT(error == BB_OK);
            s_post_copy(self, request, i, &request->message,
                        bb_buffer_new(encoded, length, NULL, NULL));
        }
    }
    bb_batch_close(&batch);
}

static void s_split_query(s_router_t *self, const s_request_t *request)
{
    bb_query_slice_t slice;
    bb_fault_t fault = {0};
    bb_error_t error =
        bb_query_slice(&request->message.query, self->node->store_count, &slice, &fault);
    if (error != BB_OK) {
        s_finish_error(self, request->ticket, error, fault.text);
        return;
    }
    if (!slice.is_alone) {
        s_attach(self, request->ticket, (s_task_t){.next_index = slice.next_index});
    }
    bb_message_t message = request->message;
    message.query = slice.query;
    s_post_copy(self, request, slice.store_index, &message, NULL);
    bb_query_slice_drop(&slice);
}

static void s_split(s_router_t *self, const s_request_t *request)
{
    switch (request->message.kind) {
    case BB_KIND_WRITE:
        s_split_write(self, request);
        break;
    case BB_KIND_QUERY:
        s_split_query(self, request);
        break;
    default: // SETTLE, RELEASE: every store
        s_attach(self, request->ticket,
                 (s_task_t){.gather = bb_gather_new(request->message.kind, self->node->store_count,
                                                    self->node->store_count)});
        for (uint32_t i = 0; i < self->node->store_count; i++) {
            s_post_copy(self, request, i, &request->message, NULL);
        }
    }
}

static bb_metric_t s_refusal_metric(bb_error_t error)
{
    switch (error) {
    case BB_ERR_BUSY:
        return BB_METRIC_REFUSED_BUSY;
    case BB_ERR_STOPPING:
        return BB_METRIC_REFUSED_STOPPING;
    case BB_ERR_IDENTITY:
        return BB_METRIC_REFUSED_IDENTITY;
    case BB_ERR_ROLE:
        return BB_METRIC_REFUSED_ROLE;
    case BB_ERR_EPOCH:
        return BB_METRIC_REFUSED_EPOCH;
    default:
        return BB_METRIC_REFUSED_MALFORMED;
    }
}

static void s_refuse_early(s_router_t *self, const s_address_t *to, const char *user_id,
                           bb_error_t error, const char *detail, uint32_t retry_after_ms,
                           uint32_t credit_bytes)
{
    bb_metrics_add(self->node->metrics, s_refusal_metric(error), 1);
    bb_log_debug(&self->log, "request refused", BB_LOG_TEXT("error", bb_error_name(error)),
                 BB_LOG_TEXT("user", user_id), BB_LOG_TEXT("detail", detail));
    s_refuse(self, to, error, detail, retry_after_ms, credit_bytes);
}

static void s_count_request(s_router_t *self, bb_kind_t kind)
{
    switch (kind) {
    case BB_KIND_HELLO:
        bb_metrics_add(self->node->metrics, BB_METRIC_REQUEST_HELLO, 1);
        break;
    case BB_KIND_WRITE:
        bb_metrics_add(self->node->metrics, BB_METRIC_REQUEST_WRITE, 1);
        break;
    case BB_KIND_QUERY:
        bb_metrics_add(self->node->metrics, BB_METRIC_REQUEST_QUERY, 1);
        break;
    case BB_KIND_STATUS:
        bb_metrics_add(self->node->metrics, BB_METRIC_REQUEST_STATUS, 1);
        break;
    case BB_KIND_SETTLE:
        bb_metrics_add(self->node->metrics, BB_METRIC_REQUEST_SETTLE, 1);
        break;
    default:
        bb_metrics_add(self->node->metrics, BB_METRIC_REQUEST_RELEASE, 1);
        break;
    }
}

// True when the request has a slot; its buffers then belong to the stores.
static bool s_admit(s_router_t *self, s_request_t *request, const bb_received_t *received)
{
    bb_message_t *message = &request->message;
    if (message->timeout_ns <= 0) {
        message->timeout_ns = BB_DEADLINE_NS_DEFAULT;
    }
    // What is answered at the deadline must still reach a client that waits no longer than it.
    message->timeout_ns -= BB_MIN(message->timeout_ns / 8, S_WAY_BACK_NS);
    bb_admitted_t admitted = {
        .kind = message->kind,
        .request_id = message->request_id,
        .bytes = received->bytes,
        .batch_bytes = bb_buffer_slice(received->frames[1]).length,
        .received_mono_ns = request->received_mono_ns,
        .deadline_mono_ns = request->received_mono_ns + message->timeout_ns + S_SWEEP_GRACE_NS,
    };
    memcpy(admitted.routing_id, received->routing_id, sizeof admitted.routing_id);
    uint32_t connection = s_connection(received->routing_id);
    bool is_write = message->kind == BB_KIND_WRITE;
    if (is_write) {
        bb_credit_begin(self->credit, request->received_mono_ns, connection, admitted.batch_bytes);
    }
    if (message->kind == BB_KIND_QUERY &&
        atomic_load_explicit(s_untaken(self, received->routing_id), memory_order_relaxed) >=
            S_UNTAKEN_BYTES_BUSY) {
        s_refuse_early(self, &request->from, received->user_id, BB_ERR_BUSY,
                       "answers wait for this connection to take them", S_UNTAKEN_RETRY_MS, 0);
        return false;
    }
    uint32_t retry_after_ms = 0;
    bb_error_t error =
        bb_admission_take(self->admission, &admitted, &request->ticket, &retry_after_ms);
    if (error != BB_OK) {
        uint32_t credit_bytes = 0;
        if (is_write) {
            credit_bytes = bb_credit_end(self->credit, request->received_mono_ns, connection,
                                         admitted.batch_bytes);
        }
        s_refuse_early(self, &request->from, received->user_id, error,
                       error == BB_ERR_BUSY ? "too many bytes or requests are in flight" : "",
                       retry_after_ms, credit_bytes);
        return false;
    }
    s_count_request(self, message->kind);
    if (message->kind == BB_KIND_QUERY && message->query.is_hedge) {
        bb_metrics_add(self->node->metrics, BB_METRIC_HEDGES, 1);
    }
    return true;
}

// Everything that can be said against a request before any work is done for it.
static bb_error_t s_judge(s_router_t *self, const bb_received_t *received,
                          const bb_message_t *message, bb_fault_t *fault)
{
    bb_principal_t principal;
    bool is_write = message->kind == BB_KIND_WRITE;
    if (!bb_principal_parse(received->user_id, &principal)) {
        return bb_fault_set(fault, BB_ERR_IDENTITY, "the connection has no identity");
    }
    if (received->routing_id_length != BB_ROUTING_ID_BYTES || received->routing_id[0] != 0) {
        return bb_fault_set(fault, BB_ERR_IDENTITY, "routing ids are given by the node");
    }
    bool deletes = message->kind == BB_KIND_WRITE && message->write.deletes;
    if (!bb_role_allows(principal.role, deletes ? BB_KIND_RELEASE : message->kind)) {
        return bb_fault_set(fault, BB_ERR_ROLE, "%s '%s' may not send %s",
                            bb_role_name(principal.role), principal.name,
                            deletes ? "deletes" : bb_kind_name(message->kind));
    }
    if (received->frame_count != (is_write ? 2u : 1u)) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "%s has %u frames",
                            bb_kind_name(message->kind), received->frame_count);
    }
    uint32_t epoch = bb_topology_epoch(self->node->topology);
    if (message->kind != BB_KIND_HELLO && message->kind != BB_KIND_STATUS && message->epoch != 0 &&
        message->epoch != epoch) {
        return bb_fault_set(fault, BB_ERR_EPOCH, "the message has epoch %u, the node %u",
                            message->epoch, epoch);
    }
    return BB_OK;
}

static void s_on_request(s_router_t *self, bb_received_t *received)
{
    s_request_t request = {
        .from = {received->routing_id, received->routing_id_length, 0},
        .received_mono_ns = bb_clock_mono_ns(),
    };
    bb_fault_t fault = {0};
    bb_error_t error = BB_ERR_MESSAGE_CORRUPT;
    if (received->frame_count > 0) {
        error = bb_message_decode(&request.message, bb_buffer_slice(received->frames[0]), &fault);
    }
    if (error != BB_OK) {
        s_refuse_early(self, &request.from, received->user_id, error, fault.text, 0, 0);
        return;
    }
    request.from.request_id = request.message.request_id;
    error = s_judge(self, received, &request.message, &fault);
    if (error != BB_OK) {
        s_refuse_early(self, &request.from, received->user_id, error, fault.text, 0, 0);
    } else if (request.message.kind == BB_KIND_HELLO) {
        s_count_request(self, BB_KIND_HELLO);
        if (request.message.hello.only_routes) {
            s_routes(self, &request.from);
        } else {
            s_hello(self, &request.from);
        }
    } else if (request.message.kind == BB_KIND_STATUS) {
        s_count_request(self, BB_KIND_STATUS);
        s_status(self, &request.from);
    } else if (s_admit(self, &request, received)) {
        request.envelope = received->frames[0];
        request.batch = received->frames[1];
        bool is_split_cursor = request.message.kind == BB_KIND_QUERY &&
                               bb_query_cursor_is_split(request.message.query.cursor);
        if (self->node->store_count == 1 && !is_split_cursor) {
            received->frames[0] = received->frames[1] = NULL; // given away with the post
            s_post(self, &request, 0, request.message, request.envelope, request.batch);
            return;
        }
        s_split(self, &request);
    }
    bb_message_close(&request.message);
}

// ---- loop --------------------------------------------------------------------------------------
static void s_on_client(s_router_t *self)
{
    for (uint32_t i = 0; i < S_MESSAGES_PER_ROUND; i++) {
        bb_received_t received;
        if (!bb_received_read(&received, self->socket)) {
            break;
        }
        bb_metrics_add(self->node->metrics, BB_METRIC_CLIENT_IN, 1);
        bb_metrics_add(self->node->metrics, BB_METRIC_CLIENT_BYTES_IN, received.bytes);
        s_on_request(self, &received);
        bb_received_drop(&received);
    }
}

static void s_on_mailbox(s_router_t *self)
{
    for (uint32_t i = 0; i < 4 * S_MESSAGES_PER_ROUND; i++) {
        bb_post_t *post = bb_mailbox_receive(self->node->router);
        if (!post) {
            break;
        }
        if (post->kind == BB_POST_ANSWER) {
            s_on_answer(self, &post->answer);
        } else if (post->kind == BB_POST_STATS) {
            free(self->stats[post->stats.store_index]);
            self->stats[post->stats.store_index] = post->stats.stats;
            post->stats.stats = NULL;
        } else if (post->kind == BB_POST_PEERS) {
            bb_post_t *older = self->peers;
            self->peers = post;
            post = older;
        } else if (post->kind == BB_POST_DRAIN) {
            bb_admission_drain(self->admission);
        }
        bb_post_destroy(&post);
    }
}

// A safety net: stores answer everything, so what is found here is a fault worth a line.
static void s_sweep(s_router_t *self, int64_t now_mono_ns)
{
    uint64_t ticket;
    while (bb_admission_next_expired(self->admission, now_mono_ns, &ticket)) {
        bb_log_error(&self->log, "request was never answered", BB_LOG_U64("ticket", ticket));
        s_finish_error(self, ticket, BB_ERR_TIMEOUT, "");
    }
    self->sweep_mono_ns = now_mono_ns + S_SWEEP_NS;
}

static void s_run(s_router_t *self)
{
    bb_poller_t poller = {.count = 0};
    uint32_t on_pipe = bb_poller_add(&poller, zsock_resolve(self->pipe));
    uint32_t on_mailbox = bb_poller_add_fd(&poller, bb_mailbox_fd(self->node->router));
    uint32_t on_client = bb_poller_add(&poller, self->socket);
    while (!bb_poller_is_ready(&poller, on_pipe)) { // $TERM
        if (!bb_poller_wait(&poller, S_SWEEP_NS / BB_NS_PER_MS)) {
            break;
        }
        if (bb_poller_is_ready(&poller, on_mailbox)) {
            s_on_mailbox(self); // answers free room before new requests ask for it
            bb_poller_used(&poller, on_client);
        }
        if (bb_poller_is_ready(&poller, on_client)) {
            s_on_client(self);
        }
        int64_t now_mono_ns = bb_clock_mono_ns();
        if (now_mono_ns >= self->sweep_mono_ns) {
            s_sweep(self, now_mono_ns);
            bb_poller_used(&poller, on_client);
        }
    }
    s_on_mailbox(self); // what was answered before the end is still sent
}

static void s_router_actor(zsock_t *pipe, void *argument)
{
    s_router_t *self = argument;
    bb_actor_set_name("router", UINT32_MAX);
    self->pipe = pipe;
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        self->stores[i] = bb_outlet_new(self->node->stores[i]);
    }
    zsock_signal(pipe, 0);
    s_run(self);
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        bb_outlet_destroy(&self->stores[i]);
        free(self->stats[i]);
    }
    bb_post_destroy(&self->peers);
    // Deadlines passed or not, whoever still waits is told to go elsewhere.
    uint64_t ticket;
    while (bb_admission_next_expired(self->admission, BB_NEVER_NS, &ticket)) {
        s_finish_error(self, ticket, BB_ERR_STOPPING, "");
    }
    bb_admission_destroy(&self->admission);
    bb_credit_destroy(&self->credit);
    zsock_destroy(&self->client); // lingers shortly for the last answers
    BB_TSAN_RELEASE(self->node);
    free(self);
}

zactor_t *bb_router_actor_new(bb_node_t *node, zsock_t **client)
{
    s_router_t *self = bb_alloc_zero(1, sizeof *self);
    self->node = node;
    self->client = *client;
    *client = NULL;
    self->socket = zsock_resolve(self->client);
    uint64_t in_flight_bytes = node->config->limits.in_flight_bytes * node->store_count;
    self->admission = bb_admission_new(in_flight_bytes, S_REQUESTS_MAX);
    self->credit =
        bb_credit_new(in_flight_bytes / S_CREDIT_PART, BB_CREDIT_BYTES_FIRST, S_REQUESTS_MAX);
    bb_log_init(&self->log, node->config->log_level, STDERR_FILENO, "router", UINT32_MAX);
    return zactor_new(s_router_actor, self);
}
