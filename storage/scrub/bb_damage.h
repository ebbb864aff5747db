// SPDX-License-Identifier: Apache-2.0
// bb_damage - the list of what a store knows to be damaged, and must not serve as if it were whole.
//
// Pure. Belongs to the store's thread; a snapshot takes a copy of what concerns its windows. An
// entry names a window and, if it is known, one battery of it. Answers that touch an entry are
// partial. The list is kept in the meta map (bb_store_meta.h), one record an entry, and shown to
// people. An entry goes away when its window is written anew from sound parts, repaired, or
// dropped; one of a disk that gave an error, when all of the segment could be read.
//
// Record, little-endian, 32 bytes and the text:
//      0  u8  version 1         1  u8  kind of the window    2  u16 class
//      4  u32 day               8  u64 number of the window  16 i64 found, wall time in ns
//     24  u32 battery, 2^32 - 1 = the whole window           28 u8 reason   29 u8 bytes of the text
//     30  u16 zero             32  text: what was found, UTF-8, at most 200 bytes
#ifndef BB_DAMAGE_H
#define BB_DAMAGE_H

#include "protocol/bb_error.h"

#define BB_DAMAGE_BATTERY_ALL      UINT32_MAX
#define BB_DAMAGE_TEXT_BYTES_MAX   200u
#define BB_DAMAGE_RECORD_BYTES_MAX (32u + BB_DAMAGE_TEXT_BYTES_MAX)
// More batteries of one window than this, and the entry of the whole window takes their place.
#define BB_DAMAGE_BATTERIES_MAX 256u
// Entries in all; past it nothing is added, but the count of findings goes on.
#define BB_DAMAGE_ENTRIES_MAX 65536u

// Stable numbers, on disk.
typedef enum {
    BB_DAMAGE_CHECKSUM = 1,    // bytes are not those that were written
    BB_DAMAGE_FORM = 2,        // sound checksum, and yet not of the form
    BB_DAMAGE_STATISTICS = 3,  // statistics are not those of the values
    BB_DAMAGE_COUNT = 4,       // fewer or more than were written
    BB_DAMAGE_FINGERPRINT = 5, // not the values that were written
    BB_DAMAGE_MISSING = 6,     // the folder, a file or an entry is not there
    BB_DAMAGE_UNREADABLE = 7,  // the environment cannot be opened or walked
    BB_DAMAGE_IO = 8,          // the disk gave an error
} bb_damage_reason_t;
#define BB_DAMAGE_REASON_LAST BB_DAMAGE_IO

typedef struct {
    uint8_t kind; // bb_window_kind_t
    uint16_t class_id;
    uint32_t day;
    uint64_t number;
    uint32_t battery; // BB_DAMAGE_BATTERY_ALL: the window
    bb_damage_reason_t reason;
    int64_t found_wall_ns;
    char text[BB_DAMAGE_TEXT_BYTES_MAX + 1];
} bb_damage_entry_t;

const char *bb_damage_reason_name(bb_damage_reason_t reason); // "checksum"
// Damage of the environment itself, which may crash who reads it; the others are of values in it.
static inline bool bb_damage_is_of_environment(bb_damage_reason_t reason)
{
    return reason != BB_DAMAGE_COUNT && reason != BB_DAMAGE_FINGERPRINT;
}
// Which reason an error of a reader stands for.
bb_damage_reason_t bb_damage_reason_of(bb_error_t error);

size_t bb_damage_encode(const bb_damage_entry_t *entry, uint8_t out[BB_DAMAGE_RECORD_BYTES_MAX]);
// Any bytes are safe. BB_ERR_CORRUPT; BB_ERR_FORMAT: a newer version.
BB_MUST_CHECK bb_error_t bb_damage_decode(bb_slice_t record, bb_damage_entry_t *entry);

// ---- the list --------------------------------------------------------------------------------
typedef struct {
    bb_damage_entry_t *entries; // ascending by (kind, class, day, battery)
    uint32_t count, capacity;
    uint64_t refused_count; // entries that found no room
} bb_damage_t;

void bb_damage_clear(bb_damage_t *self); // frees the memory
// True if the list changed: false if that battery of the window, or the whole window, is in it with
// the same number. What a merge carried over is found again under the new number, which replaces
// the old one.
bool bb_damage_add(bb_damage_t *self, const bb_damage_entry_t *entry);
// Drops the entries of a window that were not found in `number`, which has been verified to its
// end; 0 drops all. Returns how many went.
uint32_t bb_damage_forget(bb_damage_t *self, uint8_t kind, uint16_t class_id, uint32_t day,
                          uint64_t number);
// Drops the entry of that battery (BB_DAMAGE_BATTERY_ALL: of the whole window). False: there is
// none.
bool bb_damage_drop(bb_damage_t *self, uint8_t kind, uint16_t class_id, uint32_t day,
                    uint32_t battery);
// The entry that concerns a battery of a window: its own, or that of the whole window; or NULL.
// BB_DAMAGE_BATTERY_ALL: the entry of the whole window only.
const bb_damage_entry_t *bb_damage_find(const bb_damage_t *self, uint8_t kind, uint16_t class_id,
                                        uint32_t day, uint32_t battery);
// The entries of a window, ascending by battery; *count of them, borrowed until the list changes.
const bb_damage_entry_t *bb_damage_window(const bb_damage_t *self, uint8_t kind, uint16_t class_id,
                                          uint32_t day, uint32_t *count);
bool bb_damage_has_window(const bb_damage_t *self, uint8_t kind, uint16_t class_id, uint32_t day);

#endif
