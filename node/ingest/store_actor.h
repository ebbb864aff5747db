// SPDX-License-Identifier: Apache-2.0
// store_actor - the thread that owns one shard: its store and the replication of its partitions.
//
//   mailbox: CLIENT (router), PEER, PEER_STATE, CLOCK (mesh), JOB_DONE (background), DRAIN, STOP
//   out:     SEND (mesh), ANSWER (router), SCAN (scan pool), JOB (background), STATS, EVENT
//
// Loop: wait until the shard's wake time, take what has arrived (up to 256 posts or 8 MiB staged),
// commit: one group commit for all of it. What is late when it is taken is answered TIMEOUT.
// Opens the shard in its own thread and says so with BB_EVENT_STORE_OPENED.
#ifndef STORE_ACTOR_H
#define STORE_ACTOR_H

#include "node/runtime/bb_actor.h"

zactor_t *bb_store_actor_new(bb_node_t *node, uint32_t index);
// data_dir/store-NN
void bb_store_actor_directory(const bb_config_t *config, uint32_t index, char *out, size_t size);

#endif
