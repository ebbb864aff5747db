// SPDX-License-Identifier: Apache-2.0
// bb_registry - what all nodes agree on and never take back, as long as there is no catalogue.
//
// Pure core: no socket, file, clock or randomness; owned by one thread. A map of entries
// (bb_registry_entry.h) that only grows: the later value of a key wins, so nodes that have heard of
// the same values hold the same, whatever was lost, repeated or overtaken on the way. Nothing is
// told to anybody before it is durable here.
//
//   put ───▶ waits for a write ──written──▶ durable ──▶ digest, answers, own vote
//             ▲                               │
//   entries of a peer                         ├──▶ PUT to every peer, again every 500 ms
//                                             └──▶ 256 digests, then entries, to a peer that
//                                             differs
//
// A put ends when enough nodes hold it durably (this one included), or as superseded when a later
// value of its key turns up: whoever puts learns of it even if its own disk has forgotten. Peers
// that are not heard of get the entry when they are back, by comparing digests: each heartbeat
// carries one sum over all durable entries; when two differ, sums by bucket are exchanged and then
// the entries of the buckets that differ (anti-entropy by hash buckets: Demers et al., "Epidemic
// algorithms for replicated database maintenance", 1987).
//
// Cost: O(1) an entry; a comparison walks all entries once. About 250 bytes an entry.
#ifndef BB_REGISTRY_H
#define BB_REGISTRY_H

#include "protocol/bb_message.h"

typedef struct bb_registry bb_registry_t;

#define BB_REGISTRY_REPEAT_NS (INT64_C(500) * BB_NS_PER_MS)
#define BB_REGISTRY_PUTS_MAX  256u // open at a time

// node_count in [1, BB_NODES_MAX]; self_index < node_count.
bb_registry_t *bb_registry_new(uint32_t node_count, uint32_t self_index);
void bb_registry_destroy(bb_registry_t **self);
uint32_t bb_registry_node_count(const bb_registry_t *self);
// An entry that was found on the disk. Before anything else; copies. BB_ERR_CORRUPT: not valid.
BB_MUST_CHECK bb_error_t bb_registry_load(bb_registry_t *self, const bb_registry_entry_t *entry);

// ---- values ------------------------------------------------------------------------------------
// The durable value of a key; false: none. Borrowed until the next call that is not a question.
bool bb_registry_get(const bb_registry_t *self, bb_registry_kind_t kind, bb_slice_t key,
                     bb_registry_entry_t *entry);
uint64_t bb_registry_count(const bb_registry_t *self); // durable entries
// Grows with every durable change, so that readers see cheaply whether to look again.
uint64_t bb_registry_version(const bb_registry_t *self);

// ---- putting -----------------------------------------------------------------------------------
typedef enum {
    BB_REGISTRY_NEED_MAJORITY, // of all nodes, this one included
    BB_REGISTRY_NEED_ALL,
} bb_registry_need_t;

// Begins to spread an entry, which must be valid; copies. It is repeated to every node until all
// hold it, also when its need has been met and told. One put a key: a second one that is not
// earlier takes the place of the first, which is reported as superseded. Errors, nothing changed:
//   BB_ERR_BUSY   BB_REGISTRY_PUTS_MAX are open
//   BB_ERR_LIMIT  BB_REGISTRY_ENTRIES_MAX entries
BB_MUST_CHECK bb_error_t bb_registry_put(bb_registry_t *self, int64_t now_mono_ns,
                                         const bb_registry_entry_t *entry, bb_registry_need_t need,
                                         uint64_t context);

typedef struct {
    uint64_t context;
    bool is_superseded;  // a later value is known; else the need is met
    uint32_t node_count; // that are known to hold it durably
} bb_registry_outcome_t;
bool bb_registry_outcome_next(bb_registry_t *self, bb_registry_outcome_t *outcome);
// A put of the key is on its way to nodes that do not hold it yet.
bool bb_registry_is_spreading(const bb_registry_t *self, bb_registry_kind_t kind, bb_slice_t key);
// How many nodes, this one included, are known to hold a value that was put here and that nothing
// later superseded; 0: none.
uint32_t bb_registry_holder_count(const bb_registry_t *self, bb_registry_kind_t kind,
                                  bb_slice_t key);
// The latest value that is known of the key, durable or not; false: none.
bool bb_registry_newest(const bb_registry_t *self, bb_registry_kind_t kind, bb_slice_t key,
                        bb_registry_entry_t *entry);

// ---- disk --------------------------------------------------------------------------------------
// The next entry to be written; false: no more. Borrowed until _written. After all have been
// written and synced, _written says so; nothing else may be called in between. When the write
// failed, _unwritten: they are handed out again.
bool bb_registry_write_next(bb_registry_t *self, bb_registry_entry_t *entry);
void bb_registry_written(bb_registry_t *self);
void bb_registry_unwritten(bb_registry_t *self);

// ---- peers -------------------------------------------------------------------------------------
void bb_registry_peer(bb_registry_t *self, int64_t now_mono_ns, uint32_t node, bool is_up);
// For heartbeats; and what came in one of the node's.
uint64_t bb_registry_digest(const bb_registry_t *self);
void bb_registry_hear(bb_registry_t *self, int64_t now_mono_ns, uint32_t node, uint64_t digest);

// The next message to send, borrowed until the next call; false: none now. Ask until there is none,
// after every event and write, and at _wake_mono_ns. Losing a message is harmless.
bool bb_registry_send_next(bb_registry_t *self, int64_t now_mono_ns, uint32_t *node,
                           bb_registry_message_t *message);
// Errors, nothing changed, the peer's fault:
//   BB_ERR_PEER_UNKNOWN     no other node has this index
//   BB_ERR_MESSAGE_CORRUPT  something is not valid or too long
//   BB_ERR_LIMIT            BB_REGISTRY_ENTRIES_MAX entries
BB_MUST_CHECK bb_error_t bb_registry_receive(bb_registry_t *self, uint32_t node,
                                             const bb_registry_message_t *message);
int64_t
bb_registry_wake_mono_ns(const bb_registry_t *self); // BB_NEVER_NS: no put is to be repeated

#endif
