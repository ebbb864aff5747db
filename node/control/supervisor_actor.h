// SPDX-License-Identifier: Apache-2.0
// supervisor_actor - the main thread: starts the actors, waits for signals, drains, stops them.
//
//   start   lock the data folder, listen on http, identity handler and its self-test, bind the
//           client, peer and bulk sockets, open the stores, then router and mesh
//   ready   when every peer has been heard, or after limits.suspect_ns
//   drain   (SIGTERM, SIGINT) not ready, new requests refused as STOPPING, writes in flight
//           answered, at most limits.drain_ns; a second signal ends the process at once
//   stop    router, stores (each waits for its job), scan pool, background, mesh, identity, http
//
// SIGHUP and SIGPIPE are ignored. CZMQ's own signal handling is off.
#ifndef SUPERVISOR_ACTOR_H
#define SUPERVISOR_ACTOR_H

#include "cluster-config/bb_config.h"

// Runs a node until it is told to stop. `keys` are wiped. Returns the exit status of the process:
// 0 drained and stopped; 5 the data folder or a port cannot be had (said on standard error).
int bb_supervisor_run(const bb_config_t *config, const bb_topology_t *topology,
                      bb_curve_pair_t *keys);

#endif
