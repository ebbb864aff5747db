// SPDX-License-Identifier: Apache-2.0
// adoption - segment sync: what a replica says that it has, it has in every window.
//
// Replica 0 loses its disk, knows it, and rebuilds from 1 and 2 while writes go on; it counts for
// nothing until that has ended. Every chunk has points in every window. Windows are compared one by
// one, each with a source and at a moment of its own; what differs comes as merged points without
// dots. Chunks that come meanwhile bring their dots. They reach anybody, or nobody, in any order.
// Fingerprints are left out: a comparison here finds exactly what lacks. Clients are answered as
// soon as two replicas that count hold a chunk.
//
// RULE adopt-first     node/background/bb_segment_sync.h
//   F0 is fixed before the first comparison; it is what is adopted, and nothing later.
// RULE adopt-majority  node/background/bb_segment_sync.h
//   F0 is the union of the have-sets of a majority, the rebuilt replica not among them.
// RULE adopt-source    node/background/bb_segment_sync.h
//   A window is compared with a source that has F0.
// RULE adopt-last      node/background/bb_segment_sync.h
//   F0 is adopted when every window was compared and what came of it is synced.
// RULE rebuild-silent  -
//   A replica that rebuilds counts for nothing: not what it said before it lost its disk either.
//
// MUTANT LATE       adopt-first: what the sources have at the end is adopted
// MUTANT ONESOURCE  adopt-majority: F0 is what one source has
// MUTANT ANYSOURCE  adopt-source: a window is compared with whoever is there
// MUTANT EARLY      adopt-last: F0 is adopted when a window is left to compare
// MUTANT UNSYNCED   adopt-last: F0 is adopted before the points are synced
// MUTANT COUNTED    rebuild-silent: what was said before the disk was lost still counts
// GOAL a rebuild ends; of three chunks each source alone had one, and one came after F0
// BOUNDS 3 replicas, 3 chunks, 3 windows; any number of lost disks and power losses of replica 0

#define CHUNKS  3
#define WINDOWS 7 // all of them

// Chunks, as masks.
byte sent;
byte have[3];      // by their dots, durable
byte said;         // ever acknowledged by replica 0 as it is now; the others lose nothing that they
                   // have shown, so have[] says it
byte staged;       // at replica 0, with dots, not synced
byte merged[3];    // at replica 0, by window: came of a comparison, not synced
byte data[3];      // at replica 0, by window: whose points are durable
byte promised;     // acknowledged to clients
bool is_rebuilding;
bool is_syncing;   // F0 is fixed
byte f0, compared; // compared: windows, as a mask
byte alone[3];     // GOAL only: what replica 1 alone, 2 alone, anybody had when F0 was fixed

#define HAS(mask, c)  (((mask) >> (c)) & 1)
#define MOST(a, b, c) (((a) & (b)) | ((a) & (c)) | ((b) & (c)))

#define IS_MERGED (merged[0] == 0 && merged[1] == 0 && merged[2] == 0)

#ifdef LATE
#define ADOPTED (have[1] | have[2])
#else
#define ADOPTED f0
#endif
#ifdef EARLY
#define IS_COMPARED (compared != 0)
#else
#define IS_COMPARED (compared == WINDOWS)
#endif
#ifdef UNSYNCED
#define IS_SYNCED true
#else
#define IS_SYNCED IS_MERGED
#endif
#ifdef ANYSOURCE
#define IS_SOURCE(s) true
#else
#define IS_SOURCE(s) ((f0 & ~have[s]) == 0)
#endif

inline answer_and_check()
{
    promised = promised | MOST(said, have[1], have[2]);
    // What it has it has in every window.
    assert((have[0] & ~data[0]) == 0);
    assert((have[0] & ~data[1]) == 0);
    assert((have[0] & ~data[2]) == 0);
    // While all count, what was acknowledged is on two disks.
    assert(is_rebuilding || (promised & ~MOST(have[0], have[1], have[2])) == 0)
}

inline say()
{
    if
    :: !is_rebuilding -> said = have[0]
    :: else
    fi
}

inline end_sync()
{
    is_syncing = false; f0 = 0; compared = 0;
    alone[0] = 0; alone[1] = 0; alone[2] = 0
}

inline sync_disk()
{
    printf("0 syncs\n");
    data[0] = data[0] | merged[0] | staged; merged[0] = 0;
    data[1] = data[1] | merged[1] | staged; merged[1] = 0;
    data[2] = data[2] | merged[2] | staged; merged[2] = 0;
    have[0] = have[0] | staged; staged = 0;
    say();
    answer_and_check()
}

inline lose_power()
{
    staged = 0; merged[0] = 0; merged[1] = 0; merged[2] = 0;
    end_sync()
}

inline lose_disk()
{
    printf("0 loses its disk\n");
    lose_power();
    have[0] = 0; data[0] = 0; data[1] = 0; data[2] = 0;
#ifndef COUNTED
    said = 0;
#endif
    is_rebuilding = true
}

inline adopt()
{
    printf("0 adopts %d\n", ADOPTED);
    have[0] = have[0] | ADOPTED;
    is_rebuilding = false;
    say();
    answer_and_check();
#ifdef GOAL
    assert(!(alone[0] == 1 && alone[1] == 2 && alone[2] == 3 && have[1] == 7));
#endif
    end_sync()
}

#define BEGIN(mask) \
    :: d_step { is_rebuilding && !is_syncing -> \
        is_syncing = true; f0 = mask; printf("F0 is %d\n", f0); note() }
#ifdef GOAL
inline note()
{
    alone[0] = have[1] & ~have[2]; alone[1] = have[2] & ~have[1]; alone[2] = have[1] | have[2]
}
#else
#define note() skip
#endif
// Sources sync in the same step: what they have not synced they show to nobody.
#define SOURCE_RECEIVE(s, c) \
    :: d_step { HAS(sent & ~have[s], c) -> \
        printf("%d has chunk %d\n", s, c); have[s] = have[s] | (1 << c); answer_and_check() }
#define TARGET_RECEIVE(c) \
    :: d_step { HAS(sent & ~(have[0] | staged), c) -> \
        printf("0 gets chunk %d\n", c); staged = staged | (1 << c) }
#define COMPARE(w, s) \
    :: d_step { is_syncing && !HAS(compared, w) && IS_SOURCE(s) -> \
        printf("window %d is compared with %d, which has %d\n", w, s, have[s]); \
        merged[w] = merged[w] | (have[s] & ~data[w]); compared = compared | (1 << w) }

active proctype cluster()
{
end:
    do
    :: d_step { sent != (1 << CHUNKS) - 1 ->
        sent = (sent << 1) | 1;
        printf("a chunk is written: %d\n", sent) }
    SOURCE_RECEIVE(1, 0) SOURCE_RECEIVE(1, 1) SOURCE_RECEIVE(1, 2)
    SOURCE_RECEIVE(2, 0) SOURCE_RECEIVE(2, 1) SOURCE_RECEIVE(2, 2)
    TARGET_RECEIVE(0) TARGET_RECEIVE(1) TARGET_RECEIVE(2)
    :: d_step { staged != 0 || !IS_MERGED -> sync_disk() }
    :: d_step { staged != 0 || is_syncing -> printf("0 loses power\n"); lose_power() }
    :: d_step { have[0] != 0 || data[0] != 0 || data[1] != 0 || data[2] != 0 -> lose_disk() }
#ifdef ONESOURCE
    BEGIN(have[1])
    BEGIN(have[2])
#else
    BEGIN(have[1] | have[2])
#endif
    COMPARE(0, 1) COMPARE(1, 1) COMPARE(2, 1)
    COMPARE(0, 2) COMPARE(1, 2) COMPARE(2, 2)
    :: d_step { is_syncing && IS_COMPARED && IS_SYNCED -> adopt() }
    od
}
