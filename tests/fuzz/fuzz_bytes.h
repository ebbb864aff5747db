// SPDX-License-Identifier: Apache-2.0
// fuzz_bytes - what the targets of binary decoders share: copies of exact size, fields taken from
// the front of the input, a sink for what was read, and files that exist in memory only.
#ifndef FUZZ_BYTES_H
#define FUZZ_BYTES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/bb_base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Aligned, and exactly as long as asked, so that an overrun is seen. The caller frees it.
static inline uint8_t *fuzz_copy(const void *data, size_t size)
{
    uint8_t *copy = bb_alloc(size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

// The input as a row of fields; past its end every field is zero.
typedef struct {
    const uint8_t *at;
    size_t left;
} fuzz_bytes_t;

static inline bb_slice_t fuzz_take(fuzz_bytes_t *self, size_t length)
{
    bb_slice_t taken = bb_slice(self->at, BB_MIN(length, self->left));
    self->at += taken.length;
    self->left -= taken.length;
    return taken;
}

static inline uint64_t fuzz_take_word(fuzz_bytes_t *self, size_t length)
{
    uint64_t word = 0;
    bb_slice_t taken = fuzz_take(self, length);
    if (taken.length > 0) {
        memcpy(&word, taken.data, taken.length);
    }
    return word;
}

// Reads every byte, so that a slice that points astray is found by the sanitizer.
static inline void fuzz_touch(bb_slice_t slice)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < slice.length; i++) {
        sum ^= ((const uint8_t *)slice.data)[i];
    }
    __asm__ volatile("" : : "r"(sum));
}

#define FUZZ_PATH_BYTES 64
// An unnamed file in memory, mode 0600, for loaders that take a path. Close what is returned.
static inline int fuzz_file(const void *data, size_t size, char path[FUZZ_PATH_BYTES])
{
    int file = memfd_create("fuzz", MFD_CLOEXEC);
    BB_ASSERT(file >= 0);
    BB_ASSERT(fchmod(file, 0600) == 0);
    BB_ASSERT(write(file, data, size) == (ssize_t)size);
    snprintf(path, FUZZ_PATH_BYTES, "/proc/self/fd/%d", file);
    return file;
}

#endif
