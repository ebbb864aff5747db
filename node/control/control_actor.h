// SPDX-License-Identifier: Apache-2.0
// control_actor - the thread that owns the registry, the boot number and their place on disk.
//
// A thin shell around bb_control: what it decides is published in bb_node_t (for heartbeats, status
// and metrics) and told to the stores. A thread of its own, because its syncs must keep neither
// heartbeats nor batches waiting.
#ifndef CONTROL_ACTOR_H
#define CONTROL_ACTOR_H

#include "node/runtime/bb_actor.h"

// Opens DIR/registry. NULL: *fault says why (bb_control_open).
zactor_t *bb_control_actor_new(bb_node_t *node, bb_fault_t *fault);

#endif
