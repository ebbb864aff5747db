// SPDX-License-Identifier: Apache-2.0
// wire_patch - finds fields in an encoded FlatBuffer by their number in the schema, so that tests
// can damage exactly one of them. Written from the format's definition, not from its library:
//   buffer: u32 offset of the root table; table: i32 distance back to its vtable, then the fields;
//   vtable: u16 its size, u16 the table's size, u16 offset of each field (0 = absent).
#ifndef WIRE_PATCH_H
#define WIRE_PATCH_H

#include <stdint.h>
#include <string.h>

static inline uint32_t wire_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline void wire_put(uint8_t *at, uint64_t value, size_t bytes)
{
    memcpy(at, &value, bytes); // little-endian machines only, like the wire
}

static inline uint8_t *wire_root(uint8_t *buffer)
{
    return buffer + wire_u32(buffer);
}

// Address of field `index` of `table`; NULL when absent.
static inline uint8_t *wire_field(uint8_t *table, uint32_t index)
{
    const uint8_t *vtable = table - (int32_t)wire_u32(table);
    uint16_t vtable_bytes;
    memcpy(&vtable_bytes, vtable, sizeof vtable_bytes);
    if (4 + 2 * index >= vtable_bytes) {
        return NULL;
    }
    uint16_t offset;
    memcpy(&offset, vtable + 4 + 2 * index, sizeof offset);
    return offset ? table + offset : NULL;
}

// What an offset field points to: a table, or a vector (u32 count, then elements).
static inline uint8_t *wire_follow(uint8_t *field)
{
    return field + wire_u32(field);
}

#endif
