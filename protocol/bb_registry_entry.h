// SPDX-License-Identifier: Apache-2.0
// bb_registry_entry - one thing that all nodes agree on and never take back: a number that grows.
//
// Pure. An entry is (kind, key) -> (number, payload). Of two entries with one key the later wins:
// the one with the larger number, and of equal numbers the one whose payload is larger as bytes (a
// longer one is larger than its beginning). So merging is commutative, associative and idempotent,
// and nodes that have heard of the same entries hold the same, in whatever order they heard
// (a join semilattice: Shapiro, Preguica, Baquero, Zawirski, "Conflict-free replicated data types",
// 2011). What keeps the entries is node/control/bb_registry.h.
#ifndef BB_REGISTRY_ENTRY_H
#define BB_REGISTRY_ENTRY_H

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"

#ifdef __cplusplus
extern "C" {
#endif

// Values are on disk and on the wire: never reused.
typedef enum {
    BB_REGISTRY_BOOT = 1,       // node id -> boot number; payload: disk identity, incarnation
    BB_REGISTRY_FORGOTTEN = 2,  // node id -> number of a start as its stream has it, 32 bits:
                                // streams of starts below it are in no have-set (bb_forgotten.h)
    BB_REGISTRY_FLOOR = 3,      // retention class -> nothing older than this, UTC ns
    BB_REGISTRY_GENERATION = 4, // battery id -> generation; what is older does not exist
    BB_REGISTRY_EPOCH = 5,      // "topology" -> epoch
} bb_registry_kind_t;

typedef struct {
    bb_registry_kind_t kind;
    bb_slice_t key;     // [1, BB_REGISTRY_KEY_BYTES_MAX] bytes
    uint64_t number;    // >= 1; FORGOTTEN: <= UINT32_MAX
    bb_slice_t payload; // [0, BB_REGISTRY_PAYLOAD_BYTES_MAX] bytes
} bb_registry_entry_t;

bool bb_registry_kind_is_known(uint32_t kind);
// False: a kind that does not exist, or something out of its range.
bool bb_registry_entry_is_valid(const bb_registry_entry_t *entry);
bool bb_registry_entry_is_same_key(const bb_registry_entry_t *a, const bb_registry_entry_t *b);
// Of two with the same key: < 0 when b is later, 0 when they are equal, > 0 when a is later.
int bb_registry_entry_compare(const bb_registry_entry_t *a, const bb_registry_entry_t *b);
// SipHash-2-4 under a fixed key, the same everywhere: of kind and key; of all fields.
uint64_t bb_registry_entry_key_hash(const bb_registry_entry_t *entry);
uint64_t bb_registry_entry_hash(const bb_registry_entry_t *entry);

#ifdef __cplusplus
}
#endif
#endif
