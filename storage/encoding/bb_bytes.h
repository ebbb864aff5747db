// SPDX-License-Identifier: Apache-2.0
// bb_bytes - reading and writing the small fields of encoded blocks.
//
// Pure. A varint has seven bits a byte, low ones first, the eighth says that more follow; at most
// ten bytes. Signed numbers are folded first: 0, -1, 1, -2... become 0, 1, 2, 3... A reader that
// ran out of bytes stays `failed` and gives zeros, so that callers may check once.
#ifndef BB_BYTES_H
#define BB_BYTES_H

#include <string.h>

#include "protocol/bb_base.h"

#define BB_VARINT_BYTES_MAX 10u

typedef struct {
    const uint8_t *at, *limit;
    bool failed;
} bb_reader_t;

static inline bb_reader_t bb_reader(bb_slice_t bytes)
{
    const uint8_t *data = bytes.data;
    return (bb_reader_t){data, data + bytes.length, false};
}

static inline size_t bb_reader_left(const bb_reader_t *self)
{
    return (size_t)(self->limit - self->at);
}

// All bytes are read, and there were enough.
static inline bool bb_reader_is_done(const bb_reader_t *self)
{
    return !self->failed && self->at == self->limit;
}

// The next `bytes`, or NULL.
static inline const uint8_t *bb_reader_take(bb_reader_t *self, size_t bytes)
{
    if (self->failed || bb_reader_left(self) < bytes) {
        self->failed = true;
        return NULL;
    }
    const uint8_t *taken = self->at;
    self->at += bytes;
    return taken;
}

// Little-endian, 0 to 8 bytes.
static inline uint64_t bb_reader_fixed(bb_reader_t *self, uint32_t bytes)
{
    const uint8_t *taken = bb_reader_take(self, bytes);
    uint64_t number = 0;
    for (uint32_t i = 0; taken && i < bytes; i++) {
        number |= (uint64_t)taken[i] << (8 * i);
    }
    return number;
}

static inline uint64_t bb_reader_varint(bb_reader_t *self)
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < BB_VARINT_BYTES_MAX; i++) {
        if (self->failed || self->at == self->limit) {
            break;
        }
        uint8_t byte = *self->at++;
        number |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            return number;
        }
    }
    self->failed = true;
    return 0;
}

static inline uint64_t bb_fold(uint64_t number)
{
    return number << 1 ^ (UINT64_C(0) - (number >> 63));
}
static inline uint64_t bb_unfold(uint64_t number)
{
    return number >> 1 ^ (UINT64_C(0) - (number & 1));
}

static inline uint64_t bb_reader_signed(bb_reader_t *self)
{
    return bb_unfold(bb_reader_varint(self));
}

static inline uint8_t *bb_put_fixed(uint8_t *at, uint64_t number, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(number >> (8 * i));
    }
    return at + bytes;
}

static inline uint8_t *bb_put_varint(uint8_t *at, uint64_t number)
{
    while (number >= 0x80) {
        *at++ = (uint8_t)(number | 0x80);
        number >>= 7;
    }
    *at++ = (uint8_t)number;
    return at;
}

static inline uint8_t *bb_put_signed(uint8_t *at, uint64_t number)
{
    return bb_put_varint(at, bb_fold(number));
}

static inline uint32_t bb_bit_width(uint64_t number)
{
    return number == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(number);
}

#endif
