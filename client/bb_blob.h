// SPDX-License-Identifier: Apache-2.0
// bb_blob - bytes that are sent without a copy, perhaps several times: the last holder frees them.
//
// The count is atomic. libzmq's threads are not instrumented, so the hand-over to them and back is
// told to ThreadSanitizer by hand.
#ifndef BB_BLOB_H
#define BB_BLOB_H

#include <stdatomic.h>
#include <stdlib.h>

#include "protocol/bb_base.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BB_HAS_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define BB_HAS_TSAN 1
#endif
#ifdef BB_HAS_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define BB_TSAN_ACQUIRE(address) __tsan_acquire(address)
#define BB_TSAN_RELEASE(address) __tsan_release(address)
#else
#define BB_TSAN_ACQUIRE(address) ((void)(address))
#define BB_TSAN_RELEASE(address) ((void)(address))
#endif

typedef struct {
    _Atomic uint32_t references;
    uint8_t *data; // malloc memory, owned
    size_t length;
} bb_blob_t;

static inline bb_blob_t *bb_blob_new(uint8_t *data, size_t length)
{
    bb_blob_t *self = bb_alloc(sizeof *self);
    atomic_init(&self->references, 1);
    self->data = data;
    self->length = length;
    return self;
}

static inline bb_blob_t *bb_blob_keep(bb_blob_t *self)
{
    atomic_fetch_add_explicit(&self->references, 1, memory_order_relaxed);
    return self;
}

static inline void bb_blob_drop(bb_blob_t **self)
{
    bb_blob_t *blob = *self;
    *self = NULL;
    if (!blob) {
        return;
    }
    BB_TSAN_RELEASE(blob);
    if (atomic_fetch_sub_explicit(&blob->references, 1, memory_order_acq_rel) == 1) {
        BB_TSAN_ACQUIRE(blob);
        free(blob->data);
        free(blob);
    }
}

#endif
