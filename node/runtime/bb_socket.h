// SPDX-License-Identifier: Apache-2.0
// bb_socket - CURVE sockets with the bounds that every socket of the node has.
//
// Servers: the ZAP domain is set and enforced, so that nobody connects while the handler is away;
// short handshake, long backlog, heartbeats, a message limit, no hand-over of routing ids.
// Clients: one server key each, messages only to live connections (IMMEDIATE), jittered reconnects.
#ifndef BB_SOCKET_H
#define BB_SOCKET_H

#include <czmq.h>

#include "protocol/bb_keys.h"

typedef struct {
    const char *domain; // "client" or "peer"
    uint32_t backlog;
    uint32_t receive_max; // messages waiting per connection; 0 = no bound
    uint32_t send_max;
    bool is_mandatory; // sending to someone who is gone fails instead of vanishing
    bool asks_alive;   // not needed where only bb_socket_connect connects: that side asks
} bb_server_options_t;

// A ROUTER, bound to tcp://host:port. PORT_IN_USE, IO (address not of this machine) by name.
BB_MUST_CHECK bb_error_t bb_socket_serve(const bb_curve_pair_t *keys, const char *host,
                                         uint16_t port, const bb_server_options_t *options,
                                         zsock_t **socket, bb_fault_t *fault);
// A DEALER that connects for as long as it lives.
zsock_t *bb_socket_connect(const bb_curve_pair_t *keys, const uint8_t server_key[32],
                           const char *host, uint16_t port, uint32_t send_max);
// "tcp://host:port", with brackets round an IPv6 address.
void bb_socket_endpoint(const char *host, uint16_t port, char *out, size_t size);

#endif
