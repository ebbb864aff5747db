// SPDX-License-Identifier: Apache-2.0
// fence - a read at local_quorum sees every chunk that was acknowledged before it began.
//
// Three replicas. A chunk is written at any of them, reaches the others, or not, in any order, and
// is acknowledged as soon as two have said that they hold it: a later acknowledgement promises no
// more. Replica 0 executes the reads, as they are alike. A power loss takes what was not synced,
// and a read with it. An answer to the executor is lost by never arriving; one that was under way when
// the next read arrives, or when the executor starts again, is outdated.
//
// RULE fence-asked     node/ingest/bb_have_view.h
//   Only answers to questions that were asked after the read arrived count.
// RULE fence-process   node/ingest/bb_have_view.h
//   An answer counts only for the process that asked: numbers of questions do not begin again.
// RULE fence-majority  node/ingest/bb_fence.h
//   T is the union of the have-sets of a majority, the executor among them.
// RULE fence-wait      node/ingest/bb_fence.h
//   The scan waits until the executor's own have-set contains T.
// RULE count-durable   node/ingest/bb_replication.h
//   A copy counts towards the level when it is synced, the coordinator's own included.
//
// MUTANT CACHED    fence-asked: the have-set that a peer reported last counts
// MUTANT LATE      fence-asked: an answer that comes late counts
// MUTANT RENUMBER  fence-process: a question to the process before has the number of this one's
// MUTANT ALONE     fence-majority: the executor's own have-set is T
// MUTANT NOWAIT    fence-wait: the scan begins when the have-sets are there
// MUTANT UNSYNCED  count-durable: a replica acknowledges what it has staged
// GOAL a read must see all chunks, none of which its executor had when it began, and ends
// BOUNDS 3 replicas, 3 chunks; any number of reads and power losses

#define ALL 7 // chunks

// Chunks, as masks.
byte sent;
byte staged[3], disk[3];
byte said[3];  // ever acknowledged: a message may always arrive late, and is lost by never arriving
byte promised; // acknowledged to the client
bool is_reading;
byte must;     // what was promised when the read arrived
byte own;      // GOAL only: what the executor had then

// The last answer of replicas 1 and 2 to the executor, and where it is.
mtype = { NONE, UNDER_WAY, OUTDATED, FORMER, HERE }; // FORMER: in a mutant only
mtype place[3] = NONE;
byte answer[3]; // a have-set

#define HAS(mask, c)  (((mask) >> (c)) & 1)
#define MOST(a, b, c) (((a) & (b)) | ((a) & (c)) | ((b) & (c)))
#define T             ((place[1] == HERE -> answer[1] : 0) | (place[2] == HERE -> answer[2] : 0))

#ifdef ALONE
#define IS_QUORUM true
#else
#define IS_QUORUM (place[1] == HERE || place[2] == HERE)
#endif
#ifdef NOWAIT
#define IS_READY IS_QUORUM
#else
#define IS_READY (IS_QUORUM && (T & ~disk[0]) == 0)
#endif

inline say(a)
{
    said[a] = said[a] | disk[a];
#ifdef UNSYNCED
    said[a] = said[a] | staged[a];
#endif
    promised = promised | MOST(said[0], said[1], said[2])
}

// The read that the answer was for is no longer the present one.
inline outdate(a)
{
    if
    :: place[a] == UNDER_WAY -> place[a] = OUTDATED
#ifndef CACHED
    :: place[a] == HERE -> place[a] = NONE; answer[a] = 0
#endif
    :: else
    fi
}

inline arrive(a)
{
    if
    :: place[a] == UNDER_WAY || (place[a] == FORMER && is_reading) -> place[a] = HERE
#ifdef CACHED
    :: place[a] == OUTDATED && !is_reading -> place[a] = HERE
#endif
#ifdef LATE
    :: place[a] == OUTDATED && is_reading -> place[a] = HERE
#endif
    :: else -> place[a] = NONE; answer[a] = 0
    fi
}

// The executor starts again; what was under way still is.
inline restart(a)
{
    if
    :: place[a] == HERE -> place[a] = NONE; answer[a] = 0
#ifdef RENUMBER
    :: place[a] == UNDER_WAY || place[a] == OUTDATED -> place[a] = FORMER
#else
    :: place[a] == UNDER_WAY -> place[a] = OUTDATED
#endif
    :: else
    fi
}

inline end_read()
{
    is_reading = false; must = 0; own = 0;
    outdate(1);
    outdate(2)
}

inline scan()
{
    printf("the read sees %d\n", disk[0]);
    assert((must & ~disk[0]) == 0);
#ifdef GOAL
    assert(!(must == ALL && own == 0));
#endif
    end_read()
}

#define WRITE(r, c) \
    :: d_step { !HAS(sent, c) && (c == 0 || HAS(sent, c - 1)) -> \
        printf("chunk %d is written at %d\n", c, r); \
        sent = sent | (1 << c); staged[r] = staged[r] | (1 << c); say(r) }
#define RECEIVE(r, c) \
    :: d_step { HAS(sent & ~(disk[r] | staged[r]), c) -> \
        printf("%d gets chunk %d\n", r, c); staged[r] = staged[r] | (1 << c); say(r) }
#define SYNC(r, c) \
    :: d_step { HAS(staged[r], c) -> \
        printf("%d has synced chunk %d\n", r, c); \
        disk[r] = disk[r] | (1 << c); staged[r] = staged[r] & ~(1 << c); say(r) }
#define LOSE_POWER(r) \
    :: d_step { staged[r] != 0 -> printf("%d loses power\n", r); staged[r] = 0 }
// What is asked between two reads is answered too, and is outdated for the next one.
#define ANSWER(r) \
    :: d_step { place[r] == NONE -> \
        printf("%d answers with %d\n", r, disk[r]); \
        answer[r] = disk[r]; place[r] = (is_reading -> UNDER_WAY : OUTDATED) }
#define ARRIVE(r) \
    :: d_step { place[r] != NONE && place[r] != HERE -> \
        printf("the answer %d of %d arrives\n", answer[r], r); arrive(r) }
#define EACH(X) \
    X(0, 0) X(1, 0) X(2, 0) X(0, 1) X(1, 1) X(2, 1) X(0, 2) X(1, 2) X(2, 2)

active proctype cluster()
{
end:
    do
    EACH(WRITE)
    EACH(RECEIVE)
    EACH(SYNC)
    LOSE_POWER(1)
    LOSE_POWER(2)
    :: d_step { staged[0] != 0 || is_reading ->
        printf("0 loses power\n");
        staged[0] = 0;
        is_reading = false; must = 0; own = 0;
        restart(1);
        restart(2) }
    ANSWER(1)
    ANSWER(2)
    ARRIVE(1)
    ARRIVE(2)
    :: d_step { !is_reading ->
        printf("a read arrives: must see %d\n", promised);
        is_reading = true;
        must = promised;
#ifdef GOAL
        own = disk[0];
#endif
        outdate(1);
        outdate(2) }
    :: d_step { is_reading && IS_READY -> scan() }
    :: d_step { is_reading -> printf("the read names the partition as missing\n"); end_read() }
    od
}
