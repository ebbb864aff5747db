// SPDX-License-Identifier: Apache-2.0
// streams - a dot names one chunk for ever, and an acknowledgement names dots.
//
// Replica 0 gives the dots; one origin is enough, as dots of two never meet. What it writes is on
// its way before its own sync, and reaches the others, or not, in any order and again and again:
// straight from the origin, or pulled from whoever has it. Staged chunks are synced one by one in
// any order, and a power loss takes what is still staged: so any part of what was not synced may be
// there afterwards. Clients are answered as early as can be; a later answer promises no more.
//
// RULE stream-per-start   node/ingest/bb_shard.h
//   A process start gives dots of a new stream; what it recovers keeps the dots that it had.
// RULE dots-acknowledged  node/ingest/bb_replication.h
//   An acknowledgement names each dot that is durable; the largest says nothing of those below.
// RULE sync-before-have   protocol/bb_have_set.h
//   A dot is in a have-set only after the sync that covers it.
//
// MUTANT RESUME    stream-per-start: a start goes on in the old stream, after what it recovered
// MUTANT UPTO      dots-acknowledged: the largest dot of a stream stands for those below it
// MUTANT UNSYNCED  sync-before-have: what is staged is acknowledged
// GOAL a third start acknowledges; of the first one's dots the first is lost, the second everywhere
// BOUNDS 3 replicas, 3 starts, 4 chunks, at most 2 a stream; any number of power losses elsewhere

#define STARTS 3
#define SEQS   2
#define DOTS   6 // dot = start * SEQS + seq - 1, so even dots are the first of their stream
#define WRITES 4

// Sets of dots, as masks. A dot may be given again (a mutant does): "second" are those of which the
// second chunk with this dot is meant, "first" the others.
byte first_sent, second_sent;
byte first_staged[3], second_staged[3];
byte first_disk[3], second_disk[3];
byte said[3];    // ever acknowledged: a message may always arrive late, and is lost by never arriving
byte given;      // by the present process of the origin; 0 while it is down
byte start, seq; // the stream of that process, last seq in it
byte writes;
bool is_up = true;

#define HAS(mask, d)  (((mask) >> (d)) & 1)
#define DISK(r)       (first_disk[r] | second_disk[r])
#define STAGED(r)     (first_staged[r] | second_staged[r])
#define MOST(a, b, c) (((a) & (b)) | ((a) & (c)) | ((b) & (c)))
// The dots of which a replica holds the chunk that was given last.
#define GOOD(r)       ((first_disk[r] & ~second_sent) | second_disk[r])
#define NEXT          (start * SEQS + seq)

inline say(a)
{
    said[a] = said[a] | DISK(a);
#ifdef UPTO
    said[a] = said[a] | ((DISK(a) & 42) >> 1);
#endif
#ifdef UNSYNCED
    said[a] = said[a] | STAGED(a);
#endif
}

inline check()
{
    // A dot names one chunk, on whatever disk.
    assert(((first_disk[0] | first_disk[1] | first_disk[2]) &
            (second_disk[0] | second_disk[1] | second_disk[2])) == 0);
    // What the origin acknowledges is on two disks.
    assert((given & MOST(said[0], said[1], said[2]) & ~MOST(GOOD(0), GOOD(1), GOOD(2))) == 0);
#ifdef GOAL
    assert(!((given & MOST(said[0], said[1], said[2]) & 48) != 0 &&
             (first_sent & 3) == 3 && ((DISK(0) | DISK(1) | DISK(2)) & 1) == 0 &&
             (DISK(0) & DISK(1) & DISK(2) & 2) != 0))
#endif
}

inline write()
{
    printf("chunk with dot %d.%d\n", start, seq + 1);
    if
    :: HAS(first_sent, NEXT) ->
        second_sent = second_sent | (1 << NEXT);
        second_staged[0] = second_staged[0] | (1 << NEXT)
    :: else ->
        first_sent = first_sent | (1 << NEXT);
        first_staged[0] = first_staged[0] | (1 << NEXT)
    fi;
    given = given | (1 << NEXT);
    seq++;
    writes++;
    say(0);
    check()
}

inline restart()
{
    printf("the origin starts\n");
#ifdef RESUME
    seq = (HAS(DISK(0), start * SEQS + 1) -> 2 : HAS(DISK(0), start * SEQS));
#else
    start++;
    seq = 0;
#endif
    is_up = true
}

#define RECEIVE_FIRST(r, d) \
    :: d_step { (r != 0 || is_up) && HAS(first_sent & ~(DISK(r) | STAGED(r)), d) -> \
        printf("%d gets dot %d\n", r, d); \
        first_staged[r] = first_staged[r] | (1 << d); say(r); check() }
#define RECEIVE_SECOND(r, d) \
    :: d_step { (r != 0 || is_up) && HAS(second_sent & ~(DISK(r) | STAGED(r)), d) -> \
        printf("%d gets dot %d, the second chunk\n", r, d); \
        second_staged[r] = second_staged[r] | (1 << d); say(r); check() }
#define SYNC(r, d) \
    :: d_step { HAS(STAGED(r), d) -> \
        printf("%d has synced dot %d\n", r, d); \
        first_disk[r] = first_disk[r] | (first_staged[r] & (1 << d)); \
        second_disk[r] = second_disk[r] | (second_staged[r] & (1 << d)); \
        first_staged[r] = first_staged[r] & ~(1 << d); \
        second_staged[r] = second_staged[r] & ~(1 << d); say(r); check() }
#define LOSE_POWER(r) \
    :: d_step { STAGED(r) != 0 -> \
        printf("%d loses power\n", r); first_staged[r] = 0; second_staged[r] = 0 }
#define EACH_DOT(X, r) X(r, 0) X(r, 1) X(r, 2) X(r, 3) X(r, 4) X(r, 5)

active proctype cluster()
{
end:
    do
    :: d_step { is_up && writes < WRITES && seq < SEQS && !HAS(second_sent, NEXT) -> write() }
    EACH_DOT(RECEIVE_FIRST, 0)
    EACH_DOT(RECEIVE_FIRST, 1)
    EACH_DOT(RECEIVE_FIRST, 2)
#ifdef RESUME
    EACH_DOT(RECEIVE_SECOND, 0)
    EACH_DOT(RECEIVE_SECOND, 1)
    EACH_DOT(RECEIVE_SECOND, 2)
#endif
    EACH_DOT(SYNC, 0)
    EACH_DOT(SYNC, 1)
    EACH_DOT(SYNC, 2)
    // Replicas 1 and 2 are down and up again in one step: nothing depends on the time between.
    LOSE_POWER(1)
    LOSE_POWER(2)
    :: d_step { is_up && start < STARTS - 1 ->
        printf("the origin loses power\n");
        first_staged[0] = 0; second_staged[0] = 0;
        given = 0; is_up = false }
    :: d_step { !is_up -> restart() }
    od
}
