// SPDX-License-Identifier: Apache-2.0
// bb_buffer - immutable bytes shared by several threads until the last one lets go.
//
// Not tied to sockets: the shells wrap a received frame in one, the store keeps it until its
// record is synced, and the mesh sends it to several peers without a copy. The count is atomic;
// the bytes never change after creation. data is 8-byte aligned.
#ifndef BB_BUFFER_H
#define BB_BUFFER_H

#include "protocol/bb_base.h"

typedef struct bb_buffer bb_buffer_t;
typedef void (*bb_buffer_free_fn)(void *data, void *hint);

// Takes malloc'd memory (free_fn NULL) or any memory with its own way to be freed. One reference.
bb_buffer_t *bb_buffer_new(void *data, size_t length, bb_buffer_free_fn free_fn, void *hint);
bb_buffer_t *bb_buffer_copy_of(const void *data, size_t length); // aligned copy
bb_buffer_t *bb_buffer_keep(bb_buffer_t *self);                  // one more reference; returns self
void bb_buffer_drop(bb_buffer_t **self);                         // one less; NULL is fine
bb_slice_t bb_buffer_slice(const bb_buffer_t *self);             // NULL gives an empty slice

#endif
