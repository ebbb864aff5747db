// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_socket.h"

#include "cluster-config/bb_config.h"
#include "protocol/bb_limits.h"

// In zmq.h only for builds with draft interfaces, but compiled into every 4.3 library.
#define S_ZMQ_ZAP_ENFORCE_DOMAIN 93

static void s_set_int(void *socket, int option, int value)
{
    int set = zmq_setsockopt(socket, option, &value, sizeof value);
    BB_ASSERT(set == 0);
}

static void s_set_bytes(void *socket, int option, const void *value, size_t length)
{
    int set = zmq_setsockopt(socket, option, value, length);
    BB_ASSERT(set == 0);
}

// Asks the other side whether it is still there; it closes what it has not heard of for the TTL.
static void s_set_alive(void *socket)
{
    s_set_int(socket, ZMQ_HEARTBEAT_IVL, 2000);
    s_set_int(socket, ZMQ_HEARTBEAT_TIMEOUT, 6000);
    s_set_int(socket, ZMQ_HEARTBEAT_TTL, 10000);
}

static void s_set_common(void *socket, const bb_curve_pair_t *keys)
{
    int64_t message_bytes_max = BB_MESSAGE_BYTES_MAX;
    s_set_bytes(socket, ZMQ_MAXMSGSIZE, &message_bytes_max, sizeof message_bytes_max);
    s_set_bytes(socket, ZMQ_CURVE_PUBLICKEY, keys->public_key, sizeof keys->public_key);
    s_set_bytes(socket, ZMQ_CURVE_SECRETKEY, keys->secret_key, sizeof keys->secret_key);
    s_set_int(socket, ZMQ_HANDSHAKE_IVL, 1000);
    s_set_int(socket, ZMQ_LINGER, 500);
    s_set_int(socket, ZMQ_TCP_KEEPALIVE, 1);
}

void bb_socket_endpoint(const char *host, uint16_t port, char *out, size_t size)
{
    char written[BB_HOST_BYTES_MAX + 3];
    bb_host_format(host, written);
    snprintf(out, size, "tcp://%s:%u", written, port);
}

bb_error_t bb_socket_serve(const bb_curve_pair_t *keys, const char *host, uint16_t port,
                           const bb_server_options_t *options, zsock_t **socket_p,
                           bb_fault_t *fault)
{
    zsock_t *socket = zsock_new(ZMQ_ROUTER);
    BB_ASSERT(socket);
    void *handle = zsock_resolve(socket);
    s_set_common(handle, keys);
    s_set_int(handle, ZMQ_CURVE_SERVER, 1);
    if (options->asks_alive) {
        s_set_alive(handle);
    }
    s_set_bytes(handle, ZMQ_ZAP_DOMAIN, options->domain, strlen(options->domain));
    s_set_int(handle, S_ZMQ_ZAP_ENFORCE_DOMAIN, 1);
    s_set_int(handle, ZMQ_BACKLOG, (int)options->backlog);
    s_set_int(handle, ZMQ_RCVHWM, (int)options->receive_max);
    s_set_int(handle, ZMQ_SNDHWM, (int)options->send_max);
    s_set_int(handle, ZMQ_ROUTER_MANDATORY, options->is_mandatory);
    s_set_int(handle, ZMQ_ROUTER_HANDOVER, 0);
    if (strchr(host, ':')) {
        s_set_int(handle, ZMQ_IPV6, 1);
    }
    char endpoint[300];
    bb_socket_endpoint(host, port, endpoint, sizeof endpoint);
    if (zmq_bind(handle, endpoint) != 0) {
        int reason = zmq_errno();
        zsock_destroy(&socket);
        return bb_fault_set(fault, reason == EADDRINUSE ? BB_ERR_PORT_IN_USE : BB_ERR_IO,
                            "cannot listen on %s (%s port): %s", endpoint, options->domain,
                            zmq_strerror(reason));
    }
    *socket_p = socket;
    return BB_OK;
}

zsock_t *bb_socket_connect(const bb_curve_pair_t *keys, const uint8_t server_key[32],
                           const char *host, uint16_t port, uint32_t send_max)
{
    zsock_t *socket = zsock_new(ZMQ_DEALER);
    BB_ASSERT(socket);
    void *handle = zsock_resolve(socket);
    s_set_common(handle, keys);
    s_set_alive(handle);
    s_set_int(handle, ZMQ_LINGER, 0);
    s_set_bytes(handle, ZMQ_CURVE_SERVERKEY, server_key, BB_CURVE_KEY_BYTES);
    s_set_int(handle, ZMQ_IMMEDIATE, 1);
    s_set_int(handle, ZMQ_SNDHWM, (int)send_max);
    s_set_int(handle, ZMQ_RECONNECT_IVL, 100);
    s_set_int(handle, ZMQ_RECONNECT_IVL_MAX, 1000);
    s_set_int(handle, ZMQ_CONNECT_TIMEOUT, 2000);
    if (strchr(host, ':')) {
        s_set_int(handle, ZMQ_IPV6, 1);
    }
    char endpoint[300];
    bb_socket_endpoint(host, port, endpoint, sizeof endpoint);
    // Names are resolved in the background, again and again; only a malformed endpoint fails here,
    // and the configuration has refused those.
    int connected = zmq_connect(handle, endpoint);
    BB_ASSERT(connected == 0);
    return socket;
}
