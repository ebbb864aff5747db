// SPDX-License-Identifier: Apache-2.0
// bb_pace - how fast a store takes in: writers slow down a little before the head is full, instead
// of stopping when it is; and repair gives way to them.
//
// Pure core; part of a shard.
//
// **Writers.** While a flush is out, what it froze still counts, so the head has
// room only for what comes meanwhile. Writers that are faster than the flush would use it up early
// and then all wait until the flush ends. Instead the room is given out along a line that ends when
// the flush is expected to (its bytes times the pace of the flushes before):
//
//   room  max/2 ┤                    ____ no more than the head holds
//               │              __.--'
//               │        __.--'   not above this line yet
//         max/16┤__.--''
//               └──────────────────────┬──▶ time since the flush began
//                                   expected end
//
// Half of the head is what a generation settles at: one half is being flushed while the other
// fills, and writers then run exactly as fast as flushes. Slower ones never touch the line.
//
// **Repair** is what peers pull from this store, and what it pulls (segment sync counts too). Each
// of these two ways has a token bucket (Turner, "New directions in communications", 1986) that live
// bytes fill, whoever wrote them, and time:
//
//   live bytes ── 1/4 ──┐
//                       ├──▶ [ given ]  [ taken ] ──▶ a pull is served, a pull is sent
//   bytes_per_s ────────┘     hold 4 s of bytes_per_s each
//
// The buckets count only while the store is *pressed*: more than bytes_per_s is written (or a
// quarter of a second of it at once; for at most 750 ms after the last), or a live batch has waited
// for BB_PACE_WAIT_NS or more in the last BB_PACE_PRESSED_NS. Who writes less, and is taken at
// once, is not slowed down by repair, so repair is not slowed down either. Waiting alone would not
// tell: what slows writers down may be the work of other threads, or nodes. Bytes that the receiver
// has to seal, sync and copy later are thus paid for when they are sent: live bytes cost the same.
// Repair never starves (bytes_per_s, whatever is written); in any time t of pressing no more than
// bytes_per_s x (t + 4 s) and a quarter of the live bytes goes each way, and what was under way.
#ifndef BB_PACE_H
#define BB_PACE_H

#include "protocol/bb_base.h"

#define BB_PACE_WAIT_NS    (5 * BB_NS_PER_MS)
#define BB_PACE_PRESSED_NS (250 * BB_NS_PER_MS)
// What a bucket holds, of time. A pull takes some 100 ms between busy stores: with less, quarters
// of what is written meanwhile would run over.
#define BB_PACE_BURST_NS (4 * BB_NS_PER_S)

typedef enum {
    BB_PACE_GIVEN, // to peers
    BB_PACE_TAKEN, // from them
    BB_PACE_WAYS,
} bb_pace_way_t;

typedef struct {
    uint64_t head_bytes_max;
    bool is_flushing;
    int64_t begun_mono_ns;
    uint64_t frozen_bytes; // what the flush has to write
    double ns_per_byte;    // of flushes so far, newer ones count more; at first a guess
    uint64_t repair_bytes_per_s;
    int64_t pressed_until_mono_ns;
    int64_t filled_mono_ns;      // up to when tokens were given
    double level_bytes;          // of live bytes, running out at repair_bytes_per_s
    double tokens[BB_PACE_WAYS]; // in bytes; below 0: debt
} bb_pace_t;

// repair_bytes_per_s: what repair may have each way while writers wait; 0: no bound.
void bb_pace_init(bb_pace_t *self, uint64_t head_bytes_max, uint64_t repair_bytes_per_s);
// A flush of everything that the head holds begins.
void bb_pace_flush_begin(bb_pace_t *self, int64_t now_mono_ns, uint64_t head_bytes);
// It ended; one that failed says nothing about the pace.
void bb_pace_flush_end(bb_pace_t *self, int64_t now_mono_ns, bool is_good);
// When a batch may be taken while the head holds head_bytes: now_mono_ns = at once, a later moment,
// or BB_NEVER_NS = when a flush has ended.
int64_t bb_pace_take_mono_ns(const bb_pace_t *self, int64_t now_mono_ns, uint64_t head_bytes);

// ---- repair ------------------------------------------------------------------------------------
// A live batch waited for so long until it was taken.
void bb_pace_waited(bb_pace_t *self, int64_t now_mono_ns, int64_t waited_ns);
// So many live bytes were taken.
void bb_pace_live(bb_pace_t *self, int64_t now_mono_ns, uint64_t bytes);
bool bb_pace_is_pressed(const bb_pace_t *self, int64_t now_mono_ns); // false: there is no bound
// How many bytes of repair may go that way now; 0: none yet. UINT64_MAX: there is no bound.
uint64_t bb_pace_repair(bb_pace_t *self, bb_pace_way_t way, int64_t now_mono_ns);
void bb_pace_repaired(bb_pace_t *self, bb_pace_way_t way, int64_t now_mono_ns, uint64_t bytes);
// When repair may go that way if nothing else happens meanwhile; now_mono_ns: at once.
int64_t bb_pace_repair_mono_ns(const bb_pace_t *self, bb_pace_way_t way, int64_t now_mono_ns);

#endif
