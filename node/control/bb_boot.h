// SPDX-License-Identifier: Apache-2.0
// bb_boot - says whether this start of the node may count for quorums, must rebuild, or must stop.
//
// Pure core over the registry (bb_registry.h). A disk that was lost, exchanged, copied or set back
// to an older state has forgotten what this node once acknowledged; counted as a replica it would
// make a majority that lacks acknowledged points (design, "Amnesia"). So a start first claims the
// last number that its disk knows; whoever knows a later one says so. Then it takes the next boot
// number, and while it counts it goes on to the next mark from time to time: without marks a copy
// of a running node's folder, restored before the next start, would look like a crash. Numbers are
// (boot, mark), on the own disk before anybody hears of them, registered at a majority of all
// nodes.
//
//   CLAIMING     nobody knows a later one: at a majority, and all asked or 2 s gone ─▶ REGISTERING
//                (an empty disk: at a majority of the others, so of three nodes at all)
//                somebody does: this disk must be rebuilt ─▶ REGISTERING above that one
//   REGISTERING  at a majority ─▶ COUNTING;  superseded ─▶ above that, to rebuild, after a pause
//                (to rebuild: at a majority of the others ─▶ REBUILDING)
//   REBUILDING   bb_boot_rebuilt, and the disk knows ─▶ COUNTING
//   COUNTING, REBUILDING   superseded ─▶ FENCED
//
// Of two processes with one identity the one with the smaller number is fenced. While neither has
// registered, each takes a number above the other's; so who is outbid waits before it does so
// again, longer each time and each for another while, and the other gets done (randomised
// exponential back-off: Metcalfe and Boggs, "Ethernet", 1976). What this cannot
// see: a disk set back by less than a mark; and one set back (not: emptied) while every node that
// knew better is down, or any while they have lost their disks too.
#ifndef BB_BOOT_H
#define BB_BOOT_H

#include "node/control/bb_registry.h"
#include "protocol/bb_have_set.h"

// How long after the start a claim waits for the answers of all nodes when a majority has answered.
#define BB_BOOT_GRACE_NS (2 * BB_NS_PER_S)
// How long one that is outbid waits: once to twice this, twice as long each time, up to the second.
#define BB_BOOT_OUTBID_NS     (100 * BB_NS_PER_MS)
#define BB_BOOT_OUTBID_NS_MAX (1600 * BB_NS_PER_MS)

// What the folder knows of itself; all zero but the identity when it has just been made.
typedef struct {
    uint8_t disk_id[16];     // random, drawn when the folder was made
    uint32_t boot, mark;     // the last that may have been heard of; boot 0: none
    bb_stream_t incarnation; // of that boot
    bool must_rebuild;       // a rebuild was begun and has not ended
} bb_boot_disk_t;

typedef enum {
    BB_BOOT_CLAIMING,
    BB_BOOT_REGISTERING,
    BB_BOOT_COUNTING,
    BB_BOOT_REBUILDING,
    BB_BOOT_FENCED,
} bb_boot_state_t;

typedef struct bb_boot bb_boot_t;

// The registry is borrowed; its outcomes with the context BB_BOOT_CONTEXT are for _outcome.
#define BB_BOOT_CONTEXT UINT64_C(0x626f6f74)
bb_boot_t *bb_boot_new(bb_registry_t *registry, const char *node_id, const bb_boot_disk_t *disk,
                       const bb_stream_t *incarnation, int64_t now_mono_ns);
void bb_boot_destroy(bb_boot_t **self);

// True: *disk must be written to the folder and synced, then _disk_written; nothing is told to
// anybody before.
bool bb_boot_wants_disk(const bb_boot_t *self, bb_boot_disk_t *disk);
void bb_boot_disk_written(bb_boot_t *self, int64_t now_mono_ns);
void bb_boot_outcome(bb_boot_t *self, const bb_registry_outcome_t *outcome);
// Looks at the time and at what the registry knows: after each of its changes, and at _wake.
void bb_boot_tick(bb_boot_t *self, int64_t now_mono_ns);
// Something was acknowledged since the last mark, some seconds ago: to the next one. No effect in
// another state than COUNTING, or while the last one is being written.
void bb_boot_mark(bb_boot_t *self);
// The rebuild has ended: the node holds what a majority of the others does. It counts from when the
// disk has it (bb_boot_disk_written): a start that finds must_rebuild would rebuild again, and the
// loss of another disk meanwhile would be one too many.
void bb_boot_rebuilt(bb_boot_t *self);

bb_boot_state_t bb_boot_state(const bb_boot_t *self);
const char *bb_boot_state_name(bb_boot_state_t state);
uint32_t bb_boot_number(const bb_boot_t *self); // of this start; 0: none yet
int64_t bb_boot_wake_mono_ns(const bb_boot_t *self);

#endif
