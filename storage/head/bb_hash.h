// SPDX-License-Identifier: Apache-2.0
// bb_hash - a quick 64-bit hash of bytes for tables in memory; never stored, never sent.
//
// Pure. Multiply and fold 8 bytes at a time (the mixing step of wyhash, Wang Yi 2019), seeded, so
// that the order of names in one store says nothing about another.
#ifndef BB_HASH_H
#define BB_HASH_H

#include <string.h>

#include "protocol/bb_base.h"

static inline uint64_t bb_hash_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product =
        (unsigned __int128)(a ^ UINT64_C(0xa0761d6478bd642f)) * (b ^ UINT64_C(0xe7037ed1a0b428db));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t bb_hash_bytes(uint64_t seed, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    uint64_t hash = bb_hash_mix(seed, length);
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = bb_hash_mix(hash, word);
        bytes += 8;
        length -= 8;
    }
    if (length > 0) {
        uint64_t word = 0;
        memcpy(&word, bytes, length);
        hash = bb_hash_mix(hash, word);
    }
    return bb_hash_mix(hash, UINT64_C(0x8ebc6af09c88c6e3));
}

#endif
