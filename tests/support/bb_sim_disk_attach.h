// SPDX-License-Identifier: Apache-2.0
// bb_sim_disk_attach - the seam between the simulated disk and what lives on it as one file.
//
// For bb_sim_kv only. An attachment is the content of a file that the disk does not look into.
#ifndef BB_SIM_DISK_ATTACH_H
#define BB_SIM_DISK_ATTACH_H

#include "storage/kv/bb_kv.h"
#include "tests/support/bb_sim_disk.h"

typedef struct bb_sim_node bb_sim_node_t; // a file or folder, reference-counted

typedef struct {
    void (*destroy)(void *object);
    void *(*copy)(const void *object); // as a reader of the file sees it now, closed
    uint64_t (*bytes)(const void *object);
    void (*crash)(void *object, bb_random_t *random);
} bb_sim_attachment_class_t;

// The file at DIRECTORY/data.mdb, retained; makes it with `object` when there is none and
// `object` is not NULL (its creation is durable at once). NULL: no such folder or file.
bb_sim_node_t *bb_sim_disk_attach(bb_sim_disk_t *self, const char *directory,
                                  const bb_sim_attachment_class_t *object_class, void *object);
void *bb_sim_node_object(const bb_sim_node_t *node);
void bb_sim_node_release(bb_sim_disk_t *self, bb_sim_node_t **node);
// Visits every attachment whose path begins with `folder`, in the order of paths.
void bb_sim_disk_attachments(const bb_sim_disk_t *self, const char *folder,
                             void (*visit)(void *context, const char *path, bb_sim_node_t *node),
                             void *context);
// Counts one operation and says how it ends.
bb_error_t bb_sim_disk_step(bb_sim_disk_t *self, bb_sim_op_t op);
// Counts up at each crash: what was opened under another number is dead.
uint64_t bb_sim_disk_lives(const bb_sim_disk_t *self);
uint64_t bb_sim_disk_free_bytes(const bb_sim_disk_t *self);
bb_kv_driver_t *bb_sim_disk_kv_slot(bb_sim_disk_t *self);

#endif
