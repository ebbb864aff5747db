// SPDX-License-Identifier: Apache-2.0
// bb_message_flat - what the two FlatBuffers codecs of this folder (messages, pages) share.
//
// C++ only, private to bb_message_*.cc and bb_query_page.cc. Memory comes from bb_alloc, so nothing
// throws and nothing returns NULL.
#ifndef BB_MESSAGE_FLAT_H
#define BB_MESSAGE_FLAT_H

#include <flatbuffers/flatbuffers.h>
#include <new>
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_base.h"

namespace bb
{

class Allocator final : public flatbuffers::Allocator
{
  public:
    uint8_t *allocate(size_t size) override
    {
        return static_cast<uint8_t *>(bb_alloc(size));
    }
    void deallocate(uint8_t *memory, size_t) override
    {
        free(memory);
    }
};

// A finished buffer as malloc memory of its own. One copy: the builder fills its memory from the
// end, so its own block cannot be handed to free().
inline void s_copy_out(flatbuffers::FlatBufferBuilder &builder, uint8_t **out, size_t *out_length)
{
    size_t length = builder.GetSize();
    uint8_t *bytes = static_cast<uint8_t *>(bb_alloc(length));
    memcpy(bytes, builder.GetBufferPointer(), length);
    *out = bytes;
    *out_length = length;
}

inline bool s_is_aligned(const void *address)
{
    return (reinterpret_cast<uintptr_t>(address) & 7) == 0;
}

inline bb_slice_t s_slice(const flatbuffers::String *text)
{
    return text && text->size() ? bb_slice(text->data(), text->size()) : bb_slice(nullptr, 0);
}

inline bb_slice_t s_slice(const flatbuffers::Vector<uint8_t> *bytes)
{
    return bytes && bytes->size() ? bb_slice(bytes->data(), bytes->size()) : bb_slice(nullptr, 0);
}

template <class T> inline uint32_t s_count(const flatbuffers::Vector<T> *vector)
{
    return vector ? vector->size() : 0;
}

} // namespace bb
#endif
