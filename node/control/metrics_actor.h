// SPDX-License-Identifier: Apache-2.0
// metrics_actor - the thread behind the HTTP port: /metrics, /healthz, /readyz.
//
// Collects what the stores and the mesh publish and renders it when asked. At most 32 connections
// (more wait in the backlog), 5 s for a request and its answer, GET and HEAD only.
//   /metrics  Prometheus text          /healthz  200 while no store is fenced, else 503
//   /readyz   200 when stores are open, sockets bound and nothing is draining, else 503 and why
#ifndef METRICS_ACTOR_H
#define METRICS_ACTOR_H

#include "node/runtime/bb_actor.h"

// A listening socket, not blocking, closed on exec. PORT_IN_USE, IO.
BB_MUST_CHECK bb_error_t bb_metrics_listen(const char *host, uint16_t port, int *listener,
                                           bb_fault_t *fault);
// Takes the listener.
zactor_t *bb_metrics_actor_new(bb_node_t *node, int listener);

#endif
