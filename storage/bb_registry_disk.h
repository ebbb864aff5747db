// SPDX-License-Identifier: Apache-2.0
// bb_registry_disk - where a node keeps its registry and what its folder knows of itself.
//
// An environment of its own in DIR/registry, apart from all stores: it is written rarely, and must
// be readable before they are. One thread owns it. Values carry checksums (bb_kv_record.h); numbers
// little-endian:
//
//   'I'                   what the folder knows of itself (node/control/bb_boot.h), opaque here
//   'R' u8 kind  key      u64 number, payload: a bb_registry_entry_t
//
// A write is durable as a whole or not at all. A failed commit fences it for good.
#ifndef BB_REGISTRY_DISK_H
#define BB_REGISTRY_DISK_H

#include "protocol/bb_registry_entry.h"
#include "storage/kv/bb_kv.h"
#include "storage/vfs/bb_file.h"

#define BB_REGISTRY_IDENTITY_BYTES_MAX 128u

typedef struct bb_registry_disk bb_registry_disk_t;

typedef struct {
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    const char *directory; // that of the node's data; DIR/registry is made when it is not there
    void *context;
    // Each entry, in the order of keys; borrowed. An error ends the opening with it.
    bb_error_t (*entry)(void *context, const bb_registry_entry_t *entry);
    // What was written as identity; not called when nothing was.
    bb_error_t (*identity)(void *context, bb_slice_t identity);
} bb_registry_disk_options_t;

// Errors: CORRUPT (a record that is not what was written, named), IO, DISK_FULL, what the callbacks
// gave.
BB_MUST_CHECK bb_error_t bb_registry_disk_open(const bb_registry_disk_options_t *options,
                                               bb_registry_disk_t **disk, bb_fault_t *fault);
void bb_registry_disk_close(bb_registry_disk_t **self);

// Writes what was collected since the last _commit, and syncs. The entries must be valid; slices
// are copied. Errors: DISK_FULL (also of the map), nothing was written; IO: it may be there or not,
// and the environment is fenced; FENCED. What was collected is forgotten either way.
void bb_registry_disk_entry(bb_registry_disk_t *self, const bb_registry_entry_t *entry);
void bb_registry_disk_identity(bb_registry_disk_t *self, bb_slice_t identity);
BB_MUST_CHECK bb_error_t bb_registry_disk_commit(bb_registry_disk_t *self);

#endif
