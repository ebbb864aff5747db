// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_segment_cursor.h"

#include <stdlib.h>

#include "storage/bb_store_window.h"
#include "storage/head/bb_arena.h"

struct bb_segment_cursor {
    bb_kv_driver_t *kv;
    bool is_damaged; // the environment could not be opened
    bb_kv_txn_t *txn;
    bb_kv_cursor_t *cursor;
    bb_arena_t copies; // of values that LMDB did not align
    uint32_t partition, battery;
    bb_slice_t key, value; // the entry at hand
    bb_error_t error;      // of reading it
    bool is_told;          // of is_damaged, or `error`
    bool is_walking;       // turned by _walk: behind the battery is the next
};

bb_error_t bb_segment_cursor_open(bb_kv_driver_t *kv, const bb_segment_part_t *parts,
                                  uint32_t part_count, bb_segment_cursor_t **cursor)
{
    BB_ASSERT(part_count == 1);
    bb_segment_cursor_t *self = bb_alloc_zero(1, sizeof *self);
    self->kv = kv;
    self->is_damaged = parts[0].env == NULL;
    bb_error_t error = BB_OK;
    if (!self->is_damaged) {
        error = kv->begin(parts[0].env, false, &self->txn);
    }
    if (error == BB_OK && !self->is_damaged) {
        error = kv->cursor(self->txn, &self->cursor);
    }
    if (error != BB_OK) {
        bb_segment_cursor_close(&self);
        return error;
    }
    *cursor = self;
    bb_segment_cursor_seek(self, 0, 0);
    return BB_OK;
}

void bb_segment_cursor_close(bb_segment_cursor_t **self)
{
    if (!*self) {
        return;
    }
    if ((*self)->cursor) {
        (*self)->kv->cursor_close(&(*self)->cursor);
    }
    (*self)->kv->abort(&(*self)->txn);
    bb_arena_free(&(*self)->copies);
    free(*self);
    *self = NULL;
}

void bb_segment_cursor_seek(bb_segment_cursor_t *self, uint32_t partition, uint32_t battery)
{
    self->partition = partition;
    self->battery = battery;
    self->is_told = false;
    self->is_walking = false;
    bb_arena_reset(&self->copies);
    if (!self->is_damaged) {
        uint8_t key[BB_RUN_KEY_BYTES];
        bb_run_key_encode(key, partition, battery, 0);
        self->error =
            self->kv->seek(self->cursor, bb_slice(key, sizeof key), &self->key, &self->value);
    }
}

// The first call says what is wrong, the second that there is no more.
static bb_error_t s_tell(bb_segment_cursor_t *self, bb_error_t error)
{
    bool is_told = self->is_told;
    self->is_told = true;
    return is_told ? BB_ERR_NOT_FOUND : error;
}

bb_error_t bb_segment_cursor_next(bb_segment_cursor_t *self, bb_slice_t *run)
{
    if (self->is_damaged || self->error != BB_OK) {
        return s_tell(self, self->is_damaged ? BB_ERR_CORRUPT : self->error);
    }
    uint32_t partition;
    uint32_t battery;
    uint64_t number;
    if (!bb_run_key_decode(self->key, &partition, &battery, &number) ||
        partition != self->partition || battery != self->battery) {
        return BB_ERR_NOT_FOUND;
    }
    *run = self->value;
    if ((uintptr_t)run->data % 8 != 0) {
        run->data = bb_arena_copy(&self->copies, run->data, run->length);
    }
    self->error = self->kv->next(self->cursor, &self->key, &self->value);
    return BB_OK;
}

bb_error_t bb_segment_cursor_walk(bb_segment_cursor_t *self, uint32_t *partition, uint32_t *battery)
{
    bb_slice_t run;
    while (self->is_walking && bb_segment_cursor_next(self, &run) == BB_OK) {
    }
    self->is_walking = true;
    bb_arena_reset(&self->copies);
    if (self->is_damaged || self->error != BB_OK) {
        return s_tell(self, self->is_damaged ? BB_ERR_CORRUPT : self->error);
    }
    uint64_t number;
    if (!bb_run_key_decode(self->key, &self->partition, &self->battery, &number)) {
        return BB_ERR_NOT_FOUND;
    }
    *partition = self->partition;
    *battery = self->battery;
    return BB_OK;
}
