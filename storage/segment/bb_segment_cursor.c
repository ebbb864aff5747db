// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_segment_cursor.h"

#include <stdlib.h>

#include "storage/head/bb_arena.h"
#include "storage/segment/bb_pack.h"
#include "storage/segment/bb_run_reader.h"

// So many shared runs stay open though the battery at hand has no part in them: its neighbours may.
#define S_OPEN_KEPT 2u

// One segment. `pack` and `entry` are the first entry at or after the battery that was turned to,
// once the part is_placed; then no pack means that there is none.
typedef struct {
    bb_segment_info_t info;
    bb_kv_txn_t *txn; // NULL: could not be opened
    bb_kv_cursor_t *cursor;
    bb_pack_t pack;
    uint32_t entry;
    bool has_pack;
    bool is_copied; // the pack lies in `copies`
    bool is_placed;
    bool is_known;     // `info`
    bool is_lost;      // the map's cursor stands on a pack that does not verify
    bool is_damaged;   // ever
    bb_error_t error;  // to be told
    bb_arena_t copies; // of packs that the map did not align
} s_part_t;

// A shared run that is open.
typedef struct {
    bb_shared_run_t *shared;
    bb_slice_t encoded; // length 0: none
    uint32_t part;      // the segment that it is of
    uint64_t turn;      // the last in which it was asked for
} s_open_t;

struct bb_segment_cursor {
    bb_kv_driver_t *kv;
    s_part_t *parts;
    uint32_t part_count;
    uint32_t part; // the one that _next looks into
    uint64_t place;
    bool is_walking; // `place` was turned to by _walk: behind it is the next
    uint32_t found;  // the part that gave the last run
    s_open_t *opened;
    uint32_t open_count, open_capacity;
    uint64_t turn; // views of this one are valid
    bool is_held;  // turns begin when the owner says so, not with each battery
};

// ---- shared runs -----------------------------------------------------------------------------
// One that is not in use, or a new one.
static s_open_t *s_find_open(bb_segment_cursor_t *self)
{
    s_open_t *oldest = NULL;
    for (uint32_t i = 0; i < self->open_count; i++) {
        s_open_t *open = &self->opened[i];
        if (open->turn != self->turn && (!oldest || open->turn < oldest->turn)) {
            oldest = open;
        }
    }
    if (oldest && (self->open_count > S_OPEN_KEPT || oldest->encoded.length == 0)) {
        return oldest;
    }
    if (self->open_count == self->open_capacity) {
        self->open_capacity = self->open_capacity ? self->open_capacity * 2 : 4;
        self->opened = bb_realloc(self->opened, self->open_capacity * sizeof *self->opened);
    }
    s_open_t *fresh = &self->opened[self->open_count++];
    *fresh = (s_open_t){.shared = bb_shared_run_new()};
    return fresh;
}

static bb_error_t s_open_shared(bb_segment_cursor_t *self, bb_slice_t encoded,
                                bb_shared_run_t **shared, bb_fault_t *fault)
{
    for (uint32_t i = 0; i < self->open_count; i++) {
        s_open_t *open = &self->opened[i];
        if (open->encoded.data == encoded.data && open->encoded.length == encoded.length) {
            open->turn = self->turn;
            *shared = open->shared;
            return BB_OK;
        }
    }
    s_open_t *open = s_find_open(self);
    open->encoded.length = 0;
    open->turn = 0;
    bb_error_t error = bb_shared_run_open(open->shared, encoded, fault);
    if (error == BB_OK) {
        open->encoded = encoded;
        open->part = self->found;
        open->turn = self->turn;
        *shared = open->shared;
    }
    return error;
}

// The copies of a segment's packs go, and with them what is open of them.
static void s_forget_copies(bb_segment_cursor_t *self, s_part_t *part)
{
    bb_arena_reset(&part->copies);
    for (uint32_t i = 0; i < self->open_count; i++) {
        if (self->opened[i].part == part - self->parts) {
            self->opened[i].encoded.length = 0;
            self->opened[i].turn = 0;
        }
    }
}

bb_error_t bb_segment_cursor_open_run(bb_segment_cursor_t *self, bb_slice_t encoded, bb_run_t *run,
                                      bb_fault_t *fault)
{
    if (!bb_run_is_shared(encoded)) {
        return bb_run_open(run, encoded, fault);
    }
    bb_shared_run_t *shared;
    bb_error_t error = s_open_shared(self, encoded, &shared, fault);
    if (error != BB_OK) {
        return error;
    }
    uint32_t member =
        bb_shared_run_find(shared, (uint32_t)(self->place >> 32), (uint32_t)self->place);
    if (member == UINT32_MAX) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: the battery is not among its members");
    }
    error = bb_shared_run_view(shared, member, run);
    return error == BB_OK
               ? BB_OK
               : bb_fault_set(fault, error, "run: a bitmap of a shared block does not verify");
}

void bb_segment_cursor_hold(bb_segment_cursor_t *self)
{
    self->is_held = true;
    self->turn++;
}

// ---- packs of one segment --------------------------------------------------------------------
static void s_damage(s_part_t *part, bb_error_t error)
{
    part->is_damaged = true;
    part->error = error;
    part->has_pack = false;
}

// Takes what the driver found as the pack at hand. False: it is none of ours; noted.
static bool s_take_pack(s_part_t *part, bb_slice_t key, bb_slice_t value)
{
    uint64_t place;
    uint32_t seq;
    part->is_copied = (uintptr_t)value.data % 4 != 0;
    if (part->is_copied) {
        value.data = bb_arena_copy(&part->copies, value.data, value.length);
    }
    bb_pack_t pack;
    bb_error_t error = bb_pack_open(&pack, value, NULL);
    if (error == BB_OK && (!bb_pack_key_decode(key, &place, &seq) || pack.seq != seq ||
                           bb_pack_entry_place(&pack, pack.entry_count - 1) != place)) {
        error = BB_ERR_CORRUPT;
    }
    if (error != BB_OK) {
        s_damage(part, error);
        part->is_lost = true;
        return false;
    }
    part->pack = pack;
    part->has_pack = true;
    return true;
}

// The pack behind the one at hand, or behind one that did not verify.
static void s_next_pack(bb_segment_cursor_t *self, s_part_t *part)
{
    bool is_lost = part->is_lost;
    uint32_t seq = part->pack.seq + 1;
    uint64_t last =
        is_lost ? BB_PACK_NONE : bb_pack_entry_place(&part->pack, part->pack.entry_count - 1);
    bb_slice_t key;
    bb_slice_t value;
    bb_error_t error = self->kv->next(part->cursor, &key, &value);
    part->has_pack = false;
    part->is_lost = false;
    part->entry = 0;
    if (error == BB_ERR_NOT_FOUND) {
        if (part->is_known && !is_lost && seq != part->info.pack_count) {
            s_damage(part, BB_ERR_CORRUPT);
        }
        return;
    }
    if (error != BB_OK) {
        s_damage(part, error);
        return;
    }
    if (s_take_pack(part, key, value) && !is_lost &&
        (part->pack.seq != seq || part->pack.before != last)) {
        // One or more between them vanished. This one is fine: what follows is told, then read.
        part->is_damaged = true;
        part->error = BB_ERR_CORRUPT;
    }
}

// Turns to the first entry at or after the place.
static void s_place(bb_segment_cursor_t *self, s_part_t *part, uint64_t place)
{
    part->is_placed = true;
    part->is_lost = false;
    part->error = BB_OK;
    if (place > part->info.last) {
        part->has_pack = false;
        return;
    }
    if (!part->txn) {
        s_damage(part, BB_ERR_CORRUPT);
        return;
    }
    bool is_behind =
        part->has_pack && (part->pack.before == BB_PACK_NONE || part->pack.before < place);
    if (is_behind && place <= bb_pack_entry_place(&part->pack, part->pack.entry_count - 1)) {
        part->entry = bb_pack_find(&part->pack, place);
        return;
    }
    uint8_t wanted[BB_PACK_KEY_BYTES];
    bb_slice_t key;
    bb_slice_t value;
    part->has_pack = false;
    if (part->copies.used_bytes > 0) {
        s_forget_copies(self, part);
    }
    bb_pack_key_encode(wanted, place, 0);
    bb_error_t error = self->kv->seek(part->cursor, bb_slice(wanted, sizeof wanted), &key, &value);
    if (error != BB_OK) {
        // There must be one: the last battery of the segment is not before the place.
        if (part->is_known || error != BB_ERR_NOT_FOUND) {
            s_damage(part, error == BB_ERR_NOT_FOUND ? BB_ERR_CORRUPT : error);
        }
        return;
    }
    if (!s_take_pack(part, key, value)) {
        return;
    }
    part->entry = bb_pack_find(&part->pack, place);
    if (part->pack.before == BB_PACK_NONE ? part->pack.seq != 0 : part->pack.before >= place) {
        part->is_damaged = true; // a pack before this one vanished, and the battery may be in it
        part->error = BB_ERR_CORRUPT;
    }
}

// Moves behind the entry at hand.
static void s_advance(bb_segment_cursor_t *self, s_part_t *part)
{
    if (++part->entry == part->pack.entry_count) {
        s_next_pack(self, part);
    }
}

// What is wrong, once.
static bb_error_t s_tell(s_part_t *part)
{
    bb_error_t error = part->error;
    part->error = BB_OK;
    return error;
}

// ---- all of them -----------------------------------------------------------------------------
bb_error_t bb_segment_cursor_open(bb_kv_driver_t *kv, const bb_segment_part_t *parts,
                                  uint32_t part_count, bb_segment_cursor_t **cursor)
{
    bb_segment_cursor_t *self = bb_alloc_zero(1, sizeof *self);
    self->kv = kv;
    self->turn = 1;
    self->part_count = part_count;
    self->parts = bb_alloc_zero(part_count + 1, sizeof *self->parts);
    for (uint32_t i = 0; i < part_count; i++) {
        s_part_t *part = &self->parts[i];
        part->info = parts[i].info;
        part->is_known = part->info.pack_count > 0;
        if (!part->is_known) {
            part->info.last = BB_PACK_NONE - 1;
        }
        bb_error_t error = BB_OK;
        if (parts[i].env) {
            error = kv->begin(parts[i].env, false, &part->txn);
        }
        if (error == BB_OK && part->txn) {
            error = kv->cursor(part->txn, &part->cursor);
        }
        if (error == BB_ERR_BUSY) {
            bb_segment_cursor_close(&self);
            return error;
        }
        if (error != BB_OK) {
            kv->abort(&part->txn);
        }
    }
    *cursor = self;
    return BB_OK;
}

void bb_segment_cursor_close(bb_segment_cursor_t **self)
{
    bb_segment_cursor_t *cursor = *self;
    if (!cursor) {
        return;
    }
    for (uint32_t i = 0; i < cursor->part_count; i++) {
        s_part_t *part = &cursor->parts[i];
        if (part->cursor) {
            cursor->kv->cursor_close(&part->cursor);
        }
        cursor->kv->abort(&part->txn);
        bb_arena_free(&part->copies);
    }
    for (uint32_t i = 0; i < cursor->open_count; i++) {
        bb_shared_run_destroy(&cursor->opened[i].shared);
    }
    free(cursor->opened);
    free(cursor->parts);
    free(cursor);
    *self = NULL;
}

bool bb_segment_cursor_is_damaged(const bb_segment_cursor_t *self, uint32_t part_index)
{
    BB_ASSERT(part_index < self->part_count);
    return self->parts[part_index].is_damaged;
}

void bb_segment_cursor_seek(bb_segment_cursor_t *self, uint32_t partition, uint32_t battery)
{
    self->place = bb_pack_place(partition, battery);
    self->turn++;
    self->is_walking = false;
    self->part = 0;
    for (uint32_t i = 0; i < self->part_count; i++) {
        s_part_t *part = &self->parts[i];
        part->is_placed = false;
        part->has_pack &= !part->is_copied; // the copies go
    }
}

bb_error_t bb_segment_cursor_next(bb_segment_cursor_t *self, bb_slice_t *run)
{
    for (; self->part < self->part_count; self->part++) {
        s_part_t *part = &self->parts[self->part];
        if (!part->is_placed) {
            if (self->place < part->info.first) {
                continue; // it cannot have any
            }
            s_place(self, part, self->place);
        }
        if (part->error != BB_OK) {
            return s_tell(part); // a second call goes on with what was found, or the next part
        }
        if (part->has_pack && bb_pack_entry_place(&part->pack, part->entry) == self->place) {
            *run = bb_pack_entry_run(&part->pack, part->entry);
            self->found = self->part;
            s_advance(self, part);
            return BB_OK;
        }
    }
    return BB_ERR_NOT_FOUND;
}

// Moves behind the battery that was turned to; the error that was met on the way, or BB_OK.
static bb_error_t s_walk_part(bb_segment_cursor_t *self, s_part_t *part)
{
    if (!part->is_placed) {
        s_place(self, part, self->place);
    }
    for (;;) {
        while (self->is_walking && part->error == BB_OK && part->has_pack &&
               bb_pack_entry_place(&part->pack, part->entry) <= self->place) {
            s_advance(self, part);
        }
        if (part->error != BB_OK) {
            return s_tell(part);
        }
        if (!part->is_lost) {
            return BB_OK;
        }
        s_next_pack(self, part);
    }
}

bb_error_t bb_segment_cursor_walk(bb_segment_cursor_t *self, uint32_t *partition, uint32_t *battery)
{
    uint64_t next = BB_PACK_NONE;
    self->part = 0;
    for (uint32_t i = 0; i < self->part_count; i++) {
        s_part_t *part = &self->parts[i];
        bb_error_t error = s_walk_part(self, part);
        if (error != BB_OK) {
            return error;
        }
        if (part->has_pack) {
            next = BB_MIN(next, bb_pack_entry_place(&part->pack, part->entry));
        }
    }
    if (next == BB_PACK_NONE) {
        return BB_ERR_NOT_FOUND;
    }
    self->place = next;
    self->turn += !self->is_held;
    self->is_walking = true;
    *partition = (uint32_t)(next >> 32);
    *battery = (uint32_t)next;
    return BB_OK;
}
