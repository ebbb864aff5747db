// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_pack.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_crc32c.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie on disk");

#define S_HEAD_BYTES  28u
#define S_ENTRY_BYTES 8u
#define S_RUN_BYTES   4u
static const char s_magic[4] = {'B', 'B', 'P', '2'};

static size_t s_index_bytes(size_t entry_count, size_t run_count)
{
    return S_HEAD_BYTES + entry_count * S_ENTRY_BYTES + run_count * S_RUN_BYTES;
}

// ---- keys ------------------------------------------------------------------------------------
void bb_pack_key_encode(uint8_t out[BB_PACK_KEY_BYTES], uint64_t place, uint32_t seq)
{
    uint64_t big_place = __builtin_bswap64(place << 16); // 48 bits
    uint32_t big_seq = __builtin_bswap32(seq);
    memcpy(out, &big_place, 6);
    memcpy(out + 6, &big_seq, 4);
}

bool bb_pack_key_decode(bb_slice_t key, uint64_t *place, uint32_t *seq)
{
    if (key.length != BB_PACK_KEY_BYTES) {
        return false;
    }
    uint64_t big_place = 0;
    uint32_t big_seq;
    memcpy(&big_place, key.data, 6);
    memcpy(&big_seq, (const uint8_t *)key.data + 6, 4);
    *place = __builtin_bswap64(big_place) >> 16;
    *seq = __builtin_bswap32(big_seq);
    return true;
}

// ---- writing ---------------------------------------------------------------------------------
void bb_pack_writer_free(bb_pack_writer_t *self)
{
    free(self->entries);
    free(self->offsets);
    free(self->runs);
    *self = (bb_pack_writer_t){0};
}

uint32_t bb_pack_writer_put(bb_pack_writer_t *self, bb_slice_t run)
{
    BB_ASSERT(self->run_count < BB_PACK_RUNS_MAX);
    if (self->run_count == self->run_capacity) {
        self->run_capacity = self->run_capacity ? self->run_capacity * 2 : 64;
        self->offsets = bb_realloc(self->offsets, self->run_capacity * sizeof *self->offsets);
    }
    size_t padded = (run.length + 3) / 4 * 4;
    if (self->capacity - self->length < padded) {
        self->capacity = BB_MAX(self->length + padded, self->capacity * 2);
        self->runs = bb_realloc(self->runs, self->capacity);
    }
    BB_ASSERT(self->length + padded <= UINT32_MAX / 2);
    self->offsets[self->run_count] = (uint32_t)self->length;
    memcpy(self->runs + self->length, run.data, run.length);
    memset(self->runs + self->length + run.length, 0, padded - run.length);
    self->length += padded;
    return self->run_count++;
}

void bb_pack_writer_name(bb_pack_writer_t *self, uint64_t place, uint32_t run)
{
    BB_ASSERT(place >> 48 == 0); // partitions have 16 bits
    BB_ASSERT(run < self->run_count);
    BB_ASSERT(self->entry_count == 0 || self->entries[self->entry_count - 1].place <= place);
    if (self->entry_count == self->entry_capacity) {
        self->entry_capacity = self->entry_capacity ? self->entry_capacity * 2 : 64;
        self->entries = bb_realloc(self->entries, self->entry_capacity * sizeof *self->entries);
    }
    self->entries[self->entry_count++] = (bb_pack_entry_t){place, run};
}

void bb_pack_writer_add(bb_pack_writer_t *self, uint64_t place, bb_slice_t run)
{
    bb_pack_writer_name(self, place, bb_pack_writer_put(self, run));
}

size_t bb_pack_writer_bytes(const bb_pack_writer_t *self)
{
    return s_index_bytes(self->entry_count, self->run_count) + self->length;
}

void bb_pack_writer_finish(bb_pack_writer_t *self, uint32_t seq, uint64_t before, uint8_t *out)
{
    BB_ASSERT(self->entry_count >= 1);
    uint32_t count = self->entry_count;
    uint32_t run_count = self->run_count;
    uint32_t begin = (uint32_t)s_index_bytes(count, run_count);
    memset(out, 0, begin);
    memcpy(out, s_magic, sizeof s_magic);
    memcpy(out + 8, &seq, 4);
    memcpy(out + 12, &count, 4);
    memcpy(out + 16, &before, 8);
    memcpy(out + 24, &run_count, 4);
    uint8_t *batteries = out + S_HEAD_BYTES;
    uint8_t *offsets = batteries + (size_t)count * 4;
    uint8_t *partitions = offsets + (size_t)run_count * 4;
    uint8_t *runs = partitions + (size_t)count * 2;
    for (uint32_t i = 0; i < count; i++) {
        const bb_pack_entry_t *entry = &self->entries[i];
        uint32_t battery = (uint32_t)entry->place;
        uint16_t run = (uint16_t)entry->run;
        uint16_t partition = (uint16_t)(entry->place >> 32);
        memcpy(batteries + (size_t)i * 4, &battery, 4);
        memcpy(partitions + (size_t)i * 2, &partition, 2);
        memcpy(runs + (size_t)i * 2, &run, 2);
    }
    for (uint32_t i = 0; i < run_count; i++) {
        uint32_t offset = begin + self->offsets[i];
        memcpy(offsets + (size_t)i * 4, &offset, 4);
    }
    uint32_t checksum = bb_crc32c(0, out + 8, begin - 8);
    memcpy(out + 4, &checksum, 4);
    memcpy(out + begin, self->runs, self->length);
    bb_pack_writer_clear(self);
}

void bb_pack_writer_clear(bb_pack_writer_t *self)
{
    self->entry_count = 0;
    self->run_count = 0;
    self->length = 0;
}

// ---- reading ---------------------------------------------------------------------------------
static uint32_t s_u32(const uint8_t *bytes)
{
    uint32_t number;
    memcpy(&number, bytes, sizeof number);
    return number;
}

uint64_t bb_pack_entry_place(const bb_pack_t *self, uint32_t index)
{
    BB_ASSERT(index < self->entry_count);
    uint16_t partition;
    memcpy(&partition, self->partitions_raw + (size_t)index * 2, sizeof partition);
    return bb_pack_place(partition, s_u32(self->batteries_raw + (size_t)index * 4));
}

static uint32_t s_run(const bb_pack_t *self, uint32_t index)
{
    uint16_t run;
    memcpy(&run, self->runs_raw + (size_t)index * 2, sizeof run);
    return run;
}

static size_t s_offset(const bb_pack_t *self, uint32_t run)
{
    return run == self->run_count ? self->bytes.length : s_u32(self->offsets_raw + (size_t)run * 4);
}

bb_slice_t bb_pack_entry_run(const bb_pack_t *self, uint32_t index)
{
    BB_ASSERT(index < self->entry_count);
    uint32_t run = s_run(self, index);
    size_t begin = s_offset(self, run);
    return bb_slice((const uint8_t *)self->bytes.data + begin, s_offset(self, run + 1) - begin);
}

// Batteries ascend from the one before the pack on, and name all runs.
static bool s_check_entries(const bb_pack_t *self)
{
    uint64_t before = self->before;
    uint32_t named = 0;
    for (uint32_t i = 0; i < self->entry_count; i++) {
        uint64_t place = bb_pack_entry_place(self, i);
        uint32_t run = s_run(self, i);
        if ((before != BB_PACK_NONE && place < before) || run > named) {
            return false;
        }
        named += run == named;
        before = place;
    }
    return named == self->run_count;
}

// Runs lie one behind the other.
static bool s_check_runs(const bb_pack_t *self)
{
    size_t end = s_index_bytes(self->entry_count, self->run_count);
    for (uint32_t i = 0; i < self->run_count; i++) {
        size_t offset = s_offset(self, i);
        if (offset < end || offset % 4 != 0 || (i == 0 && offset != end)) {
            return false;
        }
        end = offset + 4;
    }
    return end <= self->bytes.length;
}

bb_error_t bb_pack_open(bb_pack_t *self, bb_slice_t bytes, bb_fault_t *fault)
{
    const uint8_t *at = bytes.data;
    BB_ASSERT((uintptr_t)at % 4 == 0);
    if (bytes.length < S_HEAD_BYTES || memcmp(at, s_magic, 3) != 0) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "pack: no pack in these %zu bytes",
                            bytes.length);
    }
    if (at[3] != (uint8_t)s_magic[3]) {
        return bb_fault_set(fault, BB_ERR_FORMAT, "pack: version %u is unknown, %u was expected",
                            at[3], (unsigned)s_magic[3]);
    }
    bb_pack_t pack = {.bytes = bytes, .seq = s_u32(at + 8), .entry_count = s_u32(at + 12)};
    pack.run_count = s_u32(at + 24);
    memcpy(&pack.before, at + 16, sizeof pack.before);
    size_t index_bytes = s_index_bytes(pack.entry_count, pack.run_count);
    if (pack.entry_count == 0 || pack.run_count == 0 || pack.run_count > pack.entry_count ||
        index_bytes > bytes.length || bb_crc32c(0, at + 8, index_bytes - 8) != s_u32(at + 4)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "pack: checksum of the index");
    }
    pack.batteries_raw = at + S_HEAD_BYTES;
    pack.offsets_raw = pack.batteries_raw + (size_t)pack.entry_count * 4;
    pack.partitions_raw = pack.offsets_raw + (size_t)pack.run_count * 4;
    pack.runs_raw = pack.partitions_raw + (size_t)pack.entry_count * 2;
    if (!s_check_entries(&pack) || !s_check_runs(&pack)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "pack: its index contradicts itself");
    }
    *self = pack;
    return BB_OK;
}

uint32_t bb_pack_find(const bb_pack_t *self, uint64_t place)
{
    uint32_t begin = 0;
    uint32_t limit = self->entry_count;
    while (begin < limit) {
        uint32_t middle = begin + (limit - begin) / 2;
        if (bb_pack_entry_place(self, middle) < place) {
            begin = middle + 1;
        } else {
            limit = middle;
        }
    }
    return begin;
}
