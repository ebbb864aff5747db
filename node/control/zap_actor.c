// SPDX-License-Identifier: Apache-2.0
#include "node/control/zap_actor.h"

#include <czmq.h>

#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_socket.h"
#include "node/runtime/bb_tsan.h"

#define S_PARTS_MAX 8

typedef struct {
    bb_node_t *node;
    zsock_t *handler; // REP, bound
    bb_log_t log;
} s_zap_t;

// One request, as RFC 27 numbers its frames.
typedef struct {
    zmq_msg_t parts[S_PARTS_MAX];
    uint32_t part_count;
} s_request_t;
enum { S_VERSION, S_REQUEST_ID, S_DOMAIN, S_ADDRESS, S_ROUTING_ID, S_MECHANISM, S_CREDENTIALS };

static bool s_request_read(s_request_t *request, void *handler)
{
    request->part_count = 0;
    bool more = true;
    while (more) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, handler, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&part);
            return request->part_count > 0;
        }
        more = zmq_msg_more(&part) != 0;
        if (request->part_count < S_PARTS_MAX) {
            request->parts[request->part_count++] = part;
        } else {
            zmq_msg_close(&part);
        }
    }
    return true;
}

static bb_slice_t s_part(s_request_t *request, uint32_t index)
{
    if (index >= request->part_count) {
        return bb_slice(NULL, 0);
    }
    return bb_slice(zmq_msg_data(&request->parts[index]), zmq_msg_size(&request->parts[index]));
}

static bool s_judge(s_zap_t *self, s_request_t *request, bb_principal_t *principal)
{
    bb_slice_t version = s_part(request, S_VERSION);
    if (version.length != 3 || memcmp(version.data, "1.0", 3) != 0 ||
        request->part_count != S_CREDENTIALS + 1) {
        return false;
    }
    return bb_identity_admit(self->node->identity, s_part(request, S_DOMAIN),
                             s_part(request, S_MECHANISM), s_part(request, S_CREDENTIALS),
                             principal);
}

static void s_answer(s_zap_t *self, s_request_t *request, const char *status, const char *text,
                     const char *user_id)
{
    void *handler = zsock_resolve(self->handler);
    bb_slice_t request_id = s_part(request, S_REQUEST_ID);
    const bb_slice_t frames[] = {
        bb_slice("1.0", 3),
        request_id,
        bb_slice(status, strlen(status)),
        bb_slice(text, strlen(text)),
        bb_slice(user_id, strlen(user_id)),
        bb_slice("", 0), // metadata
    };
    for (size_t i = 0; i < BB_COUNT_OF(frames); i++) {
        int flags = i + 1 < BB_COUNT_OF(frames) ? ZMQ_SNDMORE : 0;
        if (zmq_send(handler, frames[i].data, frames[i].length, flags) < 0) {
            return; // the session is gone; REP takes the next request
        }
    }
}

static void s_on_request(s_zap_t *self)
{
    s_request_t request;
    if (!s_request_read(&request, zsock_resolve(self->handler))) {
        return;
    }
    bb_principal_t principal;
    bool is_admitted = s_judge(self, &request, &principal);
    if (is_admitted) {
        char user_id[BB_PRINCIPAL_BYTES_MAX + 1];
        bb_principal_format(&principal, user_id);
        s_answer(self, &request, "200", "OK", user_id);
        bb_metrics_add(self->node->metrics, BB_METRIC_HANDSHAKES_ACCEPTED, 1);
    } else {
        s_answer(self, &request, "400", "not listed", "");
        bb_metrics_add(self->node->metrics, BB_METRIC_HANDSHAKES_REFUSED, 1);
        // While the node starts, the stranger is our own self-test.
        bool is_self_test = bb_node_state(self->node) == BB_NODE_STARTING;
        BB_LOG_AT(&self->log, is_self_test ? BB_LOG_DEBUG : BB_LOG_WARNING, "connection refused",
                  BB_LOG_SLICE("domain", s_part(&request, S_DOMAIN)),
                  BB_LOG_SLICE("address", s_part(&request, S_ADDRESS)),
                  BB_LOG_SLICE("mechanism", s_part(&request, S_MECHANISM)));
    }
    for (uint32_t i = 0; i < request.part_count; i++) {
        zmq_msg_close(&request.parts[i]);
    }
}

static void s_zap_actor(zsock_t *pipe, void *argument)
{
    s_zap_t *self = argument;
    bb_actor_set_name("zap", UINT32_MAX);
    zsock_signal(pipe, 0);
    zpoller_t *poller = zpoller_new(pipe, self->handler, NULL);
    for (;;) {
        void *ready = zpoller_wait(poller, -1);
        if (ready == self->handler) {
            s_on_request(self);
        } else if (ready == pipe || zpoller_terminated(poller)) {
            break; // $TERM is all that is ever said to it
        }
    }
    zpoller_destroy(&poller);
    zsock_destroy(&self->handler);
    BB_TSAN_RELEASE(self->node);
    free(self);
}

zactor_t *bb_zap_actor_new(bb_node_t *node)
{
    s_zap_t *self = bb_alloc_zero(1, sizeof *self);
    self->node = node;
    bb_log_init(&self->log, node->config->log_level, STDERR_FILENO, "zap", UINT32_MAX);
    self->handler = zsock_new(ZMQ_REP);
    BB_ASSERT(self->handler);
    zsock_set_linger(self->handler, 0);
    if (zsock_bind(self->handler, "inproc://zeromq.zap.01") != 0) {
        zsock_destroy(&self->handler);
        free(self);
        return NULL;
    }
    return zactor_new(s_zap_actor, self);
}

// ---- self-test ----------------------------------------------------------------------------------
static uint64_t s_refused_count(const bb_node_t *node)
{
    return atomic_load(&node->metrics->counters[BB_METRIC_HANDSHAKES_REFUSED]);
}

#define S_SELF_TEST_NS                                                                             \
    (10 * BB_NS_PER_S) // on a machine with other work even a handshake takes time

// True when the server received something within the time; false earlier when more than
// `refused_count_max` connections have been refused.
static bool s_is_let_in(const bb_curve_pair_t *client_keys, const bb_node_t *node, uint16_t port,
                        void *server, int64_t wait_ns, uint64_t refused_count_max)
{
    zsock_t *client = bb_socket_connect(client_keys, node->keys.public_key, "127.0.0.1", port, 10);
    void *handle = zsock_resolve(client);
    bool is_in = false;
    int64_t limit_mono_ns = bb_clock_mono_ns() + wait_ns;
    while (!is_in && s_refused_count(node) <= refused_count_max &&
           bb_clock_mono_ns() < limit_mono_ns) {
        // Accepted for sending only once the connection stands, that is, after its handshake.
        zmq_send(handle, "?", 1, ZMQ_DONTWAIT);
        zmq_pollitem_t item = {.socket = server, .events = ZMQ_POLLIN};
        is_in = zmq_poll(&item, 1, 1) > 0;
    }
    zsock_destroy(&client);
    return is_in;
}

bb_error_t bb_zap_self_test(bb_node_t *node, bb_fault_t *fault)
{
    bb_curve_pair_t stranger;
    bb_error_t error = bb_curve_pair_generate(&stranger);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "cannot make a key for the self-test");
    }
    const bb_server_options_t options = {
        .domain = "peer", .backlog = 16, .receive_max = 16, .send_max = 16};
    zsock_t *server = NULL;
    error = bb_socket_serve(&node->keys, "127.0.0.1", 0, &options, &server, fault);
    if (error != BB_OK) {
        bb_keys_wipe(&stranger, sizeof stranger);
        return error;
    }
    char *endpoint = zsock_last_endpoint(server); // ours to free
    uint16_t port = (uint16_t)atoi(strrchr(endpoint, ':') + 1);
    freen(endpoint);
    void *handle = zsock_resolve(server);
    uint64_t before = s_refused_count(node);
    int64_t limit_mono_ns = bb_clock_mono_ns() + S_SELF_TEST_NS;
    bool was_let_in = false, was_refused = false;
    while (!was_let_in && !was_refused && bb_clock_mono_ns() < limit_mono_ns) {
        was_let_in = s_is_let_in(&stranger, node, port, handle, 50 * BB_NS_PER_MS, before);
        was_refused = s_refused_count(node) > before;
    }
    bb_keys_wipe(&stranger, sizeof stranger);
    if (was_let_in || !was_refused) {
        error =
            bb_fault_set(fault, BB_ERR_IDENTITY, "self-test: a connection with an unknown key %s",
                         was_let_in ? "was let in" : "was not judged within 10 s");
        // Refusals say nothing here: the stranger's earlier attempts may still be judged.
    } else if (!s_is_let_in(&node->keys, node, port, handle, S_SELF_TEST_NS, UINT64_MAX)) {
        error = bb_fault_set(fault, BB_ERR_IDENTITY,
                             "self-test: a connection with this node's own key was not let in "
                             "within 10 s");
    }
    zsock_destroy(&server);
    return error;
}
