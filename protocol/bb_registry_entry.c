// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_registry_entry.h"

#include <sodium.h>
#include <string.h>

bool bb_registry_kind_is_known(uint32_t kind)
{
    return kind >= BB_REGISTRY_BOOT && kind <= BB_REGISTRY_EPOCH;
}

bool bb_registry_entry_is_valid(const bb_registry_entry_t *entry)
{
    BB_ASSERT(entry);
    return bb_registry_kind_is_known((uint32_t)entry->kind) && entry->key.length >= 1 &&
           entry->key.length <= BB_REGISTRY_KEY_BYTES_MAX && entry->number >= 1 &&
           (entry->kind != BB_REGISTRY_FORGOTTEN || entry->number <= UINT32_MAX) &&
           entry->payload.length <= BB_REGISTRY_PAYLOAD_BYTES_MAX;
}

bool bb_registry_entry_is_same_key(const bb_registry_entry_t *a, const bb_registry_entry_t *b)
{
    BB_ASSERT(a && b);
    return a->kind == b->kind && a->key.length == b->key.length &&
           memcmp(a->key.data, b->key.data, a->key.length) == 0;
}

int bb_registry_entry_compare(const bb_registry_entry_t *a, const bb_registry_entry_t *b)
{
    BB_ASSERT_SLOW(bb_registry_entry_is_same_key(a, b));
    if (a->number != b->number) {
        return a->number < b->number ? -1 : 1;
    }
    size_t length = a->payload.length < b->payload.length ? a->payload.length : b->payload.length;
    int order = length > 0 ? memcmp(a->payload.data, b->payload.data, length) : 0;
    if (order != 0) {
        return order;
    }
    return (a->payload.length > b->payload.length) - (a->payload.length < b->payload.length);
}

// The fields one after the other, lengths in front of what varies, so that no two entries give the
// same bytes.
static uint64_t s_hash(const bb_registry_entry_t *entry, bool with_value)
{
    static const uint8_t key[crypto_shorthash_KEYBYTES] = "busbar registry";
    uint8_t bytes[4 + BB_REGISTRY_KEY_BYTES_MAX + 8 + BB_REGISTRY_PAYLOAD_BYTES_MAX];
    BB_ASSERT(bb_registry_entry_is_valid(entry));
    uint16_t key_length = (uint16_t)entry->key.length;
    size_t length = 0;
    bytes[length++] = (uint8_t)entry->kind;
    bytes[length++] = (uint8_t)with_value;
    memcpy(bytes + length, &key_length, sizeof key_length);
    length += sizeof key_length;
    memcpy(bytes + length, entry->key.data, entry->key.length);
    length += entry->key.length;
    if (with_value) {
        memcpy(bytes + length, &entry->number, sizeof entry->number);
        length += sizeof entry->number;
        if (entry->payload.length > 0) {
            memcpy(bytes + length, entry->payload.data, entry->payload.length);
            length += entry->payload.length;
        }
    }
    uint64_t hash = 0;
    static_assert(crypto_shorthash_BYTES == sizeof hash, "SipHash-2-4 gives 64 bits");
    crypto_shorthash((unsigned char *)&hash, bytes, length, key);
    return hash;
}

uint64_t bb_registry_entry_key_hash(const bb_registry_entry_t *entry)
{
    return s_hash(entry, false);
}

uint64_t bb_registry_entry_hash(const bb_registry_entry_t *entry)
{
    return s_hash(entry, true);
}
