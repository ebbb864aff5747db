// SPDX-License-Identifier: Apache-2.0
// background_actor - the thread that runs the stores' jobs: flushes and merges, one after another.
//
// A store sends a job and gets it back with its outcome; it has one out at a time. A job cannot be
// interrupted, so the supervisor stops the stores first (each waits for its own) and this one
// after.
#ifndef BACKGROUND_ACTOR_H
#define BACKGROUND_ACTOR_H

#include "node/runtime/bb_actor.h"

zactor_t *bb_background_actor_new(bb_node_t *node);

#endif
