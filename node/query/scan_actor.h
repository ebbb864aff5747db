// SPDX-License-Identifier: Apache-2.0
// scan_actor - one thread of the scan pool: pages of answers from snapshots.
//
// A store sends it a snapshot that nobody else uses; it makes the page (bb_scan_page), answers the
// router and closes the snapshot. Stores choose the thread with the least to do. A group over many
// batteries, which is one page however many there are, is shared with neighbours that have nothing
// to do: each collects a part (bb_scan_part_collect), and who was asked first puts them together.
#ifndef SCAN_ACTOR_H
#define SCAN_ACTOR_H

#include "node/runtime/bb_actor.h"

zactor_t *bb_scan_actor_new(bb_node_t *node, uint32_t index);

#endif
