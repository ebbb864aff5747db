// SPDX-License-Identifier: Apache-2.0
// bb_control - the registry of a node, its boot number and what both have on disk, as one
// deterministic machine.
//
// What the control actor runs, and what the simulator runs: the glue between the pure cores
// (bb_registry.h: what all nodes agree on; bb_boot.h: may this start count) and their place on disk
// (storage/bb_registry_disk.h). No sockets, threads, clocks or randomness of its own: time comes in
// with each call, I/O goes through the vfs and kv driver it was opened with, messages leave through
// `send`. One thread owns it. Does not link CZMQ.
//
// Order that must be kept: nothing is told to anybody before it is durable here. So each step
// writes first, syncs once, and then sends.
//
//   every store: earlier streams of ours are settled ──▶ forgotten(this node, this start) ──▶ all
//
//   heartbeat of a peer: its digest differs ──▶ REGISTRY messages ◀──▶ its bb_control
//   boot and mark ──▶ own disk ──▶ registry ──▶ own disk ──▶ a majority ──▶ standing
#ifndef BB_CONTROL_H
#define BB_CONTROL_H

#include "cluster-config/bb_topology.h"
#include "node/control/bb_boot.h"
#include "protocol/bb_forgotten.h"
#include "protocol/bb_standing.h"
#include "storage/bb_registry_disk.h"

typedef struct bb_control bb_control_t;

// From one mark to the next, at least: a copy of the folder that is younger than that, put back
// before the next start, is not told from a crash (bb_boot.h).
#define BB_CONTROL_MARK_NS (INT64_C(5) * BB_NS_PER_S)
// After a write that the disk had no room for.
#define BB_CONTROL_RETRY_NS (INT64_C(1) * BB_NS_PER_S)

typedef struct {
    const bb_topology_t *topology; // borrowed
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    const char *directory;    // of the node's data; DIR/registry is made when it is not there
    uint32_t store_count;     // their folders, DIR/store-NN, exist; each gets the marks first
    bb_stream_t incarnation;  // of this process; its number: bb_control_stream_number
    uint8_t disk_id[16];      // random; becomes the folder's identity if it has none
    int64_t mark_interval_ns; // 0 = BB_CONTROL_MARK_NS
    void *context;
    // A REGISTRY message for a peer; may be lost. Must not call back.
    void (*send)(void *context, uint32_t peer_index, const bb_message_t *message);
} bb_control_options_t;

// The number for the stream of a start (bb_forgotten.h), before anything of the node is opened:
// above all that the disk knows of this node's starts, and the seconds of its clock if those are
// more, so that a new disk or an older copy of one does not begin below what is forgotten. Errors:
// those of bb_registry_disk_open.
typedef struct {
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    const char *directory, *node_id;
    int64_t now_wall_ns;
} bb_control_starting_t;
BB_MUST_CHECK bb_error_t bb_control_stream_number(const bb_control_starting_t *starting,
                                                  uint32_t *number, bb_fault_t *fault);

// A store that has not seen what the node has (bb_store_mark.h) was lost or put back alone: the
// node must rebuild. Errors: those of bb_registry_disk_open. A registry that does not verify is
// CORRUPT: with its folder removed the node is rebuilt like one whose disk was lost.
BB_MUST_CHECK bb_error_t bb_control_open(const bb_control_options_t *options, int64_t now_mono_ns,
                                         bb_control_t **control, bb_fault_t *fault);
void bb_control_close(bb_control_t **self);

// ---- events; after one, or several, comes _step ------------------------------------------------
void bb_control_peer(bb_control_t *self, int64_t now_mono_ns, uint32_t peer_index, bool is_up);
// What a heartbeat of the peer said of its registry.
void bb_control_hear(bb_control_t *self, int64_t now_mono_ns, uint32_t peer_index, uint64_t digest);
// A REGISTRY message. Errors are the peer's fault and change nothing (bb_registry_receive).
BB_MUST_CHECK bb_error_t bb_control_receive(bb_control_t *self, uint32_t peer_index,
                                            const bb_registry_message_t *message);
// Something was acknowledged since the last call.
void bb_control_promised(bb_control_t *self);
// Every store holds what a majority of the others does. No effect unless REBUILDING.
void bb_control_rebuilt(bb_control_t *self);
// Every store says that streams of earlier starts may be forgotten (bb_shard_is_settled): all nodes
// are told so, while this one counts.
void bb_control_settled(bb_control_t *self);
// Decides, writes, syncs, sends. Also at _wake_mono_ns.
void bb_control_step(bb_control_t *self, int64_t now_mono_ns);
int64_t bb_control_wake_mono_ns(const bb_control_t *self, int64_t now_mono_ns); // or BB_NEVER_NS

// ---- what follows ------------------------------------------------------------------------------
bb_standing_t bb_control_standing(const bb_control_t *self);
// What the next start has to know of this one is on the disk; also that a rebuild has ended.
// For the simulator, which loses disks at such moments: a node never has to wait for it.
bool bb_control_is_written(const bb_control_t *self);
uint32_t bb_control_boot(const bb_control_t *self);   // number of this start; 0: none yet
uint64_t bb_control_digest(const bb_control_t *self); // for heartbeats
bool bb_control_is_broken(
    const bb_control_t *self); // a failed sync fenced its disk: it counts no more
// What is forgotten, as far as this node knows it durably. True: it is more than *forgotten, which
// is filled anew. *version, 0 at first, is counted up: while it is the same nothing is looked at.
bool bb_control_forgotten(const bb_control_t *self, uint64_t *version, bb_forgotten_t *forgotten);
// This very process is forgotten: a later one of this node has said so, or its number is too small,
// because its disk is an older one and its clock is behind. Nobody takes its chunks; it has to end,
// and the next start finds the number on the disk, and gives what it wrote new dots.
bool bb_control_is_stale(const bb_control_t *self);
bb_registry_t *bb_control_registry(bb_control_t *self); // for whoever else puts; same thread
// A store that made the node rebuild, as a sentence for the log; "" when there is none.
const char *bb_control_doubt_text(const bb_control_t *self);
// The latest that is known of this node, as a sentence for the log: whose disk, which start.
void bb_control_rival_text(const bb_control_t *self, char *out, size_t out_bytes);

// ---- what the folder knows of itself, in DIR/registry ------------------------------------------
// Identity, little-endian:
//      0  version        1
//      1  must_rebuild   0 or 1
//      2  zero           2 bytes
//      4  boot
//      8  mark
//     12  disk identity  16 bytes
//     28  incarnation    16 bytes
#define BB_CONTROL_IDENTITY_BYTES 44u
void bb_control_identity_encode(const bb_boot_disk_t *disk, uint8_t out[BB_CONTROL_IDENTITY_BYTES]);
// BB_ERR_FORMAT: another version; BB_ERR_CORRUPT: not what was written.
BB_MUST_CHECK bb_error_t bb_control_identity_decode(bb_boot_disk_t *disk, bb_slice_t identity);

#endif
