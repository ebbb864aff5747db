// SPDX-License-Identifier: Apache-2.0
#include "storage/scrub/bb_damage.h"

#include <stdlib.h>
#include <string.h>

#define S_VERSION     1u
#define S_FIXED_BYTES 32u
static_assert(BB_DAMAGE_TEXT_BYTES_MAX <= UINT8_MAX, "the length of the text is one byte");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are written as they lie");

const char *bb_damage_reason_name(bb_damage_reason_t reason)
{
    static const char *const names[] = {"",           "checksum",   "form",
                                        "statistics", "count",      "fingerprint",
                                        "missing",    "unreadable", "io"};
    static_assert(BB_COUNT_OF(names) == BB_DAMAGE_REASON_LAST + 1, "a name for each reason");
    BB_ASSERT(reason >= BB_DAMAGE_CHECKSUM && reason <= BB_DAMAGE_REASON_LAST);
    return names[reason];
}

bb_damage_reason_t bb_damage_reason_of(bb_error_t error)
{
    switch (error) {
    case BB_ERR_CORRUPT:
        return BB_DAMAGE_CHECKSUM;
    case BB_ERR_FORMAT:
        return BB_DAMAGE_FORM;
    case BB_ERR_NOT_FOUND:
        return BB_DAMAGE_MISSING;
    case BB_ERR_IO:
        return BB_DAMAGE_IO;
    default:
        return BB_DAMAGE_UNREADABLE;
    }
}

// ---- records ---------------------------------------------------------------------------------
size_t bb_damage_encode(const bb_damage_entry_t *entry, uint8_t out[BB_DAMAGE_RECORD_BYTES_MAX])
{
    size_t length = strnlen(entry->text, BB_DAMAGE_TEXT_BYTES_MAX);
    memset(out, 0, S_FIXED_BYTES);
    out[0] = S_VERSION;
    out[1] = entry->kind;
    memcpy(out + 2, &entry->class_id, 2);
    memcpy(out + 4, &entry->day, 4);
    memcpy(out + 8, &entry->number, 8);
    memcpy(out + 16, &entry->found_wall_ns, 8);
    memcpy(out + 24, &entry->battery, 4);
    out[28] = (uint8_t)entry->reason;
    out[29] = (uint8_t)length;
    memcpy(out + S_FIXED_BYTES, entry->text, length);
    return S_FIXED_BYTES + length;
}

bb_error_t bb_damage_decode(bb_slice_t record, bb_damage_entry_t *entry)
{
    const uint8_t *bytes = record.data;
    if (record.length < S_FIXED_BYTES) {
        return BB_ERR_CORRUPT;
    }
    if (bytes[0] > S_VERSION) {
        return BB_ERR_FORMAT;
    }
    if (bytes[0] != S_VERSION || bytes[28] < BB_DAMAGE_CHECKSUM ||
        bytes[28] > BB_DAMAGE_REASON_LAST || bytes[29] > BB_DAMAGE_TEXT_BYTES_MAX ||
        bytes[30] != 0 || bytes[31] != 0 || record.length != S_FIXED_BYTES + (size_t)bytes[29] ||
        memchr(bytes + S_FIXED_BYTES, '\0', bytes[29])) {
        return BB_ERR_CORRUPT;
    }
    bb_damage_entry_t found = {.kind = bytes[1], .reason = (bb_damage_reason_t)bytes[28]};
    memcpy(&found.class_id, bytes + 2, 2);
    memcpy(&found.day, bytes + 4, 4);
    memcpy(&found.number, bytes + 8, 8);
    memcpy(&found.found_wall_ns, bytes + 16, 8);
    memcpy(&found.battery, bytes + 24, 4);
    memcpy(found.text, bytes + S_FIXED_BYTES, bytes[29]);
    *entry = found;
    return BB_OK;
}

// ---- the list --------------------------------------------------------------------------------
void bb_damage_clear(bb_damage_t *self)
{
    free(self->entries);
    *self = (bb_damage_t){0};
}

static uint64_t s_window_rank(uint8_t kind, uint16_t class_id, uint32_t day)
{
    return (uint64_t)kind << 48 | (uint64_t)class_id << 32 | day;
}

// The first entry that is not before (window, battery).
static uint32_t s_seek(const bb_damage_t *self, uint64_t window, uint32_t battery)
{
    uint32_t first = 0;
    uint32_t limit = self->count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        const bb_damage_entry_t *entry = &self->entries[middle];
        uint64_t rank = s_window_rank(entry->kind, entry->class_id, entry->day);
        if (rank < window || (rank == window && entry->battery < battery)) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

static uint32_t s_window_limit(const bb_damage_t *self, uint64_t window)
{
    return s_seek(self, window + 1, 0);
}

static void s_remove(bb_damage_t *self, uint32_t first, uint32_t limit)
{
    if (limit < self->count && first < limit) {
        memmove(self->entries + first, self->entries + limit,
                (self->count - limit) * sizeof *self->entries);
    }
    self->count -= limit - first;
}

bool bb_damage_drop(bb_damage_t *self, uint8_t kind, uint16_t class_id, uint32_t day,
                    uint32_t battery)
{
    uint64_t window = s_window_rank(kind, class_id, day);
    uint32_t at = s_seek(self, window, battery);
    if (at >= s_window_limit(self, window) || self->entries[at].battery != battery) {
        return false;
    }
    s_remove(self, at, at + 1);
    return true;
}

const bb_damage_entry_t *bb_damage_find(const bb_damage_t *self, uint8_t kind, uint16_t class_id,
                                        uint32_t day, uint32_t battery)
{
    uint64_t window = s_window_rank(kind, class_id, day);
    uint32_t limit = s_window_limit(self, window);
    // The entry of the whole window has the largest battery number, so it stands last.
    if (limit > 0 && self->entries[limit - 1].battery == BB_DAMAGE_BATTERY_ALL &&
        s_seek(self, window, BB_DAMAGE_BATTERY_ALL) == limit - 1) {
        return &self->entries[limit - 1];
    }
    uint32_t at = s_seek(self, window, battery);
    return at < limit && self->entries[at].battery == battery ? &self->entries[at] : NULL;
}

const bb_damage_entry_t *bb_damage_window(const bb_damage_t *self, uint8_t kind, uint16_t class_id,
                                          uint32_t day, uint32_t *count)
{
    uint64_t window = s_window_rank(kind, class_id, day);
    uint32_t first = s_seek(self, window, 0);
    *count = s_window_limit(self, window) - first;
    return *count > 0 ? &self->entries[first] : NULL;
}

bool bb_damage_has_window(const bb_damage_t *self, uint8_t kind, uint16_t class_id, uint32_t day)
{
    uint32_t count;
    bb_damage_window(self, kind, class_id, day, &count);
    return count > 0;
}

uint32_t bb_damage_forget(bb_damage_t *self, uint8_t kind, uint16_t class_id, uint32_t day,
                          uint64_t number)
{
    uint64_t window = s_window_rank(kind, class_id, day);
    uint32_t first = s_seek(self, window, 0);
    uint32_t limit = s_window_limit(self, window);
    uint32_t kept = first;
    for (uint32_t i = first; i < limit; i++) {
        if (number != 0 && self->entries[i].number == number) {
            self->entries[kept++] = self->entries[i];
        }
    }
    s_remove(self, kept, limit);
    return limit - kept;
}

bool bb_damage_add(bb_damage_t *self, const bb_damage_entry_t *entry)
{
    const bb_damage_entry_t *known =
        bb_damage_find(self, entry->kind, entry->class_id, entry->day, entry->battery);
    if (known) {
        bool is_renewed = known->battery == entry->battery && known->number != entry->number;
        if (is_renewed) {
            self->entries[known - self->entries] = *entry;
        }
        return is_renewed;
    }
    bb_damage_entry_t fresh = *entry;
    uint64_t window = s_window_rank(entry->kind, entry->class_id, entry->day);
    uint32_t first = s_seek(self, window, 0);
    uint32_t limit = s_window_limit(self, window);
    if (limit - first >= BB_DAMAGE_BATTERIES_MAX) {
        fresh.battery = BB_DAMAGE_BATTERY_ALL;
    }
    if (fresh.battery == BB_DAMAGE_BATTERY_ALL) {
        s_remove(self, first, limit);
    }
    if (self->count >= BB_DAMAGE_ENTRIES_MAX) {
        self->refused_count++;
        return false;
    }
    if (self->count == self->capacity) {
        self->capacity = BB_MAX(8u, self->capacity * 2);
        self->entries = bb_realloc(self->entries, self->capacity * sizeof *self->entries);
    }
    uint32_t at = s_seek(self, window, fresh.battery);
    memmove(self->entries + at + 1, self->entries + at, (self->count - at) * sizeof *self->entries);
    self->entries[at] = fresh;
    self->count++;
    return true;
}
