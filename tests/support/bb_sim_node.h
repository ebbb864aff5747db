// SPDX-License-Identifier: Apache-2.0
// bb_sim_node - a file or folder of the simulated disk: what readers see, what is safe, and the
// changes between the two.
//
// For bb_sim_disk only. One thread; reference-counted, so that an open file outlives its name.
#ifndef BB_SIM_NODE_H
#define BB_SIM_NODE_H

#include "tests/support/bb_sim_disk_attach.h"

// One change of a file's bytes since its last complete sync. A truncation has bytes == NULL.
typedef struct {
    uint64_t offset; // truncation: the new size
    size_t length;
    uint8_t *bytes;
    bool durable; // synced, but behind one that was lost by a failed sync
    bool lost;    // a sync failed over it: no later sync writes it
} bb_sim_change_t;

typedef struct {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
} bb_sim_image_t;

struct bb_sim_node {
    uint32_t references;
    bool is_directory;
    bb_sim_image_t now;    // what readers see
    bb_sim_image_t synced; // what a crash cannot take away
    bb_sim_change_t *changes;
    uint32_t change_count, change_capacity;
    bb_file_t *lock_owner;
    const bb_sim_attachment_class_t *object_class;
    void *object;
};

bb_sim_node_t *bb_sim_node_new(bool is_directory); // one reference
bb_sim_node_t *bb_sim_node_retain(bb_sim_node_t *node);
void bb_sim_node_drop(bb_sim_node_t *node); // one reference; NULL is fine
// Applies a change to what readers see and takes over its bytes.
void bb_sim_node_change(bb_sim_node_t *node, bb_sim_change_t change);
void bb_sim_node_write(bb_sim_node_t *node, uint64_t offset, const void *bytes, size_t length);
// A sync that succeeds makes changes safe, one that fails loses them to all later syncs.
void bb_sim_node_sync(bb_sim_node_t *node, bool succeeds);
// Keeps what is safe and, of the rest, all, none, a prefix or any sectors.
void bb_sim_node_crash(bb_sim_node_t *node, bb_random_t *random);

#endif
