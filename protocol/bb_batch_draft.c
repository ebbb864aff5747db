// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_batch_draft.h"

#include <stdlib.h>

#include "protocol/bb_batch_codec.h"

// Columns as they are encoded, one behind the other.
typedef struct {
    uint8_t *bytes;
    size_t used, capacity;
    uint64_t *words; // numbers of 32 bits become words here
} s_packer_t;

// Room for one more column.
static uint8_t *s_room(s_packer_t *self, uint32_t count)
{
    size_t needed = self->used + bb_column_bytes_max(count);
    if (needed > self->capacity) {
        self->capacity = 2 * needed;
        self->bytes = bb_realloc(self->bytes, self->capacity);
    }
    return self->bytes + self->used;
}

static void s_pack(s_packer_t *self, bool is_float, const uint64_t *words, uint32_t count)
{
    if (count > 0) {
        uint8_t *out = s_room(self, count);
        self->used += bb_column_encode(is_float, words, count, out);
    }
}

// A column of one field of an array of structs of `stride` numbers.
static void s_pack_field(s_packer_t *self, const uint32_t *field, size_t stride, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        self->words[i] = field[i * stride];
    }
    s_pack(self, false, self->words, count);
}

static void s_pack_tables(s_packer_t *self, const bb_batch_t *tables)
{
    const size_t part = sizeof(bb_batch_part_t) / sizeof(uint32_t);
    const size_t run = sizeof(bb_batch_run_t) / sizeof(uint32_t);
    s_pack_field(self, &tables->parts->partition, part, tables->part_count);
    s_pack_field(self, &tables->parts->run_count, part, tables->part_count);
    s_pack_field(self, &tables->runs->battery, run, tables->run_count);
    s_pack_field(self, &tables->runs->shape, run, tables->run_count);
    s_pack_field(self, &tables->runs->frame_count, run, tables->run_count);
    for (uint32_t i = 0; i < tables->battery_count; i++) {
        self->words[i] = tables->batteries[i].id.length;
    }
    s_pack(self, false, self->words, tables->battery_count);
    s_pack(self, false, (const uint64_t *)tables->times_wall_ns, tables->frame_count);
}

static void s_pack_values(s_packer_t *self, const bb_batch_draft_t *draft)
{
    const uint64_t *values = draft->values;
    for (uint32_t s = 0; s < draft->tables.shape_count; s++) {
        const bb_batch_shape_t *shape = &draft->tables.shapes[s];
        for (uint32_t m = 0; m < shape->metric_count; m++) {
            s_pack(self, shape->types[m] == BB_TYPE_FLOAT64, values, shape->frame_count);
            values += shape->frame_count;
        }
    }
}

// A column of states gets new indexes.
static void s_cut_states(s_packer_t *self, const bb_batch_draft_t *draft, uint32_t shape,
                         uint32_t metric)
{
    const bb_batch_cut_t *cut = &draft->cuts[shape];
    uint32_t count = draft->tables.shapes[shape].frame_count, done = 0;
    uint64_t *words = bb_alloc(count * sizeof *words);
    for (uint32_t i = 0; i < cut->range_count; i++) {
        bb_column_unpack(&cut->from->columns[metric], cut->ranges[i].first, cut->ranges[i].count,
                         words + done);
        done += cut->ranges[i].count;
    }
    for (uint32_t i = 0; i < count; i++) {
        words[i] = draft->state_map[words[i]] - 1;
    }
    s_pack(self, false, words, count);
    free(words);
}

static void s_cut_values(s_packer_t *self, const bb_batch_draft_t *draft)
{
    for (uint32_t s = 0; s < draft->tables.shape_count; s++) {
        const bb_batch_shape_t *shape = &draft->tables.shapes[s];
        const bb_batch_cut_t *cut = &draft->cuts[s];
        for (uint32_t m = 0; m < shape->metric_count; m++) {
            if (shape->types[m] == BB_TYPE_STATE) {
                s_cut_states(self, draft, s, m);
                continue;
            }
            uint8_t *out = s_room(self, shape->frame_count);
            self->used += bb_column_cut(&cut->from->columns[m], shape->types[m] == BB_TYPE_FLOAT64,
                                        cut->ranges, cut->range_count, shape->frame_count, out);
        }
    }
}

bb_error_t bb_batch_draft_write(const bb_batch_draft_t *self, uint8_t **out, size_t *out_length)
{
    const bb_batch_t *tables = &self->tables;
    uint32_t most = BB_MAX(tables->run_count, BB_MAX(tables->part_count, tables->battery_count));
    s_packer_t packer = {.words = bb_alloc(most * sizeof *packer.words)};
    s_pack_tables(&packer, tables);
    if (self->values) {
        s_pack_values(&packer, self);
    } else {
        s_cut_values(&packer, self);
    }
    uint8_t *bytes;
    size_t length;
    bb_batch_flat_write(tables, bb_slice(packer.bytes, packer.used), &bytes, &length);
    free(packer.bytes);
    free(packer.words);
    if (length > BB_BATCH_BYTES_MAX) {
        free(bytes);
        return BB_ERR_BATCH_BYTES;
    }
    *out = bytes;
    *out_length = length;
    return BB_OK;
}
