// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_buffer.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct bb_buffer {
    void *data;
    size_t length;
    bb_buffer_free_fn free_fn; // NULL: free(data), unless the bytes are `inside`
    void *hint;
    atomic_uint references;
    bool is_inside; // the bytes follow this header in the same allocation
    _Alignas(8) uint8_t inside[];
};

bb_buffer_t *bb_buffer_new(void *data, size_t length, bb_buffer_free_fn free_fn, void *hint)
{
    BB_ASSERT(data || length == 0);
    BB_ASSERT(((uintptr_t)data & 7) == 0);
    bb_buffer_t *self = bb_alloc(sizeof *self);
    *self = (bb_buffer_t){.data = data, .length = length, .free_fn = free_fn, .hint = hint};
    atomic_init(&self->references, 1);
    return self;
}

bb_buffer_t *bb_buffer_copy_of(const void *data, size_t length)
{
    BB_ASSERT(data || length == 0);
    size_t total = 0;
    bool fits = bb_size_add(sizeof(bb_buffer_t), length, &total);
    BB_ASSERT(fits);
    bb_buffer_t *self = bb_alloc(total);
    *self = (bb_buffer_t){.data = self->inside, .length = length, .is_inside = true};
    atomic_init(&self->references, 1);
    if (length > 0) {
        memcpy(self->inside, data, length);
    }
    return self;
}

bb_buffer_t *bb_buffer_keep(bb_buffer_t *self)
{
    BB_ASSERT(self);
    unsigned before = atomic_fetch_add_explicit(&self->references, 1, memory_order_relaxed);
    BB_ASSERT(before >= 1);
    return self;
}

void bb_buffer_drop(bb_buffer_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_buffer_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    // Release: what this thread read happens before the memory goes; acquire for the one who frees.
    unsigned before = atomic_fetch_sub_explicit(&self->references, 1, memory_order_acq_rel);
    BB_ASSERT(before >= 1);
    if (before > 1) {
        return;
    }
    if (self->free_fn) {
        self->free_fn(self->data, self->hint);
    } else if (!self->is_inside) {
        free(self->data);
    }
    free(self);
}

bb_slice_t bb_buffer_slice(const bb_buffer_t *self)
{
    return self ? bb_slice(self->data, self->length) : bb_slice(NULL, 0);
}
