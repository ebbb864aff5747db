// SPDX-License-Identifier: Apache-2.0
// move - acknowledgements and have-sets are fenced by the epoch while a replica moves.
//
// A partition on A, B and C moves to A, B and D (nodes 0, 1, 2, 3), in epochs that the catalogue
// commits one after the other and each node adopts, durably, when it hears of them:
//
//     0  A B C        majority of the old set for writes and reads
//     1  A B C + D    writes need a majority of both, reads ask the old set; D streams
//     2  A B C + D    writes need a majority of both, reads ask the new set
//     3  A B D        the new set alone; C deletes its copy
//
// A chunk reaches any replica, or none, in any order. Who coordinates it is left open: it is to be
// acknowledged under an epoch that is chosen when it is written, by a node that is still in that
// epoch when the last copy is counted; being offered again under a later epoch is choosing that one.
// Likewise a read is of an epoch. Acknowledgements leave as early as can be. What D gets by segment
// sync comes at once (adoption.pml takes it apart). Down is to take no step; a power loss of D or of
// an executor forgets what it has asked. All disks stay.
//
// RULE epoch-count   node/ingest/bb_replication.h
//   An acknowledgement counts only under the coordinator's present epoch.
// RULE epoch-read    node/ingest/bb_fence.h
//   A have-set counts for a read only under the executor's present epoch.
// RULE epoch-stream  -
//   F0 is made of have-sets of replicas that have adopted the epoch of the one that streams.
// RULE move-both     -
//   While both sets are written, a write needs a majority of the old and of the new one.
// RULE move-stage    -
//   A stage begins when a majority of the old and of the new set has durably adopted the one before.
// RULE move-delete   -
//   The leaving replica deletes its copy when a majority of the new set holds all of it; until then
//   a chunk that it alone has, acknowledged at `one`, is safe.
//
// MUTANT NOFENCE   epoch-count: acknowledgements of any epoch count
// MUTANT READANY   epoch-read: have-sets of any epoch count
// MUTANT STALEF0   epoch-stream: F0 is made of have-sets of any epoch
// MUTANT OLDONLY   move-both: a majority of the old set is enough until the end
// MUTANT LIVENESS  move-stage: stages follow each other without waiting for nodes
// MUTANT EARLY     move-delete: it deletes its copy when the last stage begins
// GOAL B and D answer a read of epoch 3 with a chunk of epoch 0 that only A and C had, and C deleted
// BOUNDS 4 nodes, 3 replicas, 2 chunks, one move; any number of reads and restarts

#define NODES  4
#define CHUNKS 2
#define C      2
#define D      3
#define OLD    7  // A B C, as a mask of nodes
#define NEW    11 // A B D

byte committed;         // last epoch
byte epoch[NODES];      // adopted
byte disk[NODES];       // chunks, as masks; durable
byte sent;              // chunks that were written
byte under[CHUNKS];     // the epoch under which the chunk is to be acknowledged
byte counted[CHUNKS];   // nodes whose acknowledgement of it counts, as a mask
byte promised;          // chunks acknowledged to clients at local_quorum
byte kept;              // chunks that were durable anywhere: may be acknowledged at `one`
byte f0, f0_from;       // D's, and whose have-sets are in it, as a mask of nodes
bool is_streamed;
bool is_reading;
byte read_epoch, must;  // must: what was promised when it arrived
byte seen, asked;       // of what it must see; nodes that have answered

#define HAS(mask, i)   (((mask) >> (i)) & 1)
#define MANY(mask)     (((mask) & ((mask) - 1)) != 0) // two or more: a majority of three
#define AT_LEAST(e)    ((epoch[0] >= (e)) | ((epoch[1] >= (e)) << 1) | \
                        ((epoch[2] >= (e)) << 2) | ((epoch[3] >= (e)) << 3))
#define IN_EPOCH(e)    ((epoch[0] == (e)) | ((epoch[1] == (e)) << 1) | \
                        ((epoch[2] == (e)) << 2) | ((epoch[3] == (e)) << 3))
#define HOLDS_ALL(set) (((disk[0] & (set)) == (set)) | (((disk[1] & (set)) == (set)) << 1) | \
                        (((disk[3] & (set)) == (set)) << 3))
#define IS_REPLICA(n)  ((n) < C || ((n) == C && epoch[C] < 3) || ((n) == D && epoch[D] >= 1))

#ifdef OLDONLY
#define IS_MET(e, mask) MANY((mask) & (e == 3 -> NEW : OLD))
#else
#define IS_MET(e, mask) ((e == 3 || MANY((mask) & OLD)) && (e == 0 || MANY((mask) & NEW)))
#endif
#ifdef LIVENESS
#define IS_ADOPTED(e) true
#else
#define IS_ADOPTED(e) (MANY(AT_LEAST(e) & OLD) && MANY(AT_LEAST(e) & NEW))
#endif
#ifdef NOFENCE
#define ACK_COUNTS(n, c) true
#else
#define ACK_COUNTS(n, c) (epoch[n] == under[c])
#endif
#ifdef READANY
#define ANSWER_COUNTS(n) true
#else
#define ANSWER_COUNTS(n) (epoch[n] == read_epoch)
#endif
#ifdef STALEF0
#define F0_COUNTS(n) true
#else
#define F0_COUNTS(n) (epoch[n] == epoch[D])
#endif
#ifdef EARLY
#define MAY_DELETE true
#else
#define MAY_DELETE (IS_ADOPTED(3) && MANY(HOLDS_ALL(disk[C])))
#endif

inline count(m, c)
{
    if
    :: HAS(disk[m] & ~promised, c) && ACK_COUNTS(m, c) ->
        counted[c] = counted[c] | (1 << m);
        if
        :: IS_MET(under[c], counted[c]) && (counted[c] & IN_EPOCH(under[c])) != 0 ->
            printf("chunk %d is acknowledged under epoch %d\n", c, under[c]);
            promised = promised | (1 << c);
            counted[c] = 0
        :: else
        fi
    :: else
    fi
}

inline store(a, set)
{
    disk[a] = disk[a] | (set);
    kept = kept | (set);
    count(a, 0);
    count(a, 1)
}

inline adopt(a)
{
    epoch[a]++;
    printf("%d adopts epoch %d\n", a, epoch[a]);
    if
    :: a == D -> f0 = 0; f0_from = 0 // What was answered to the epoch before counts no more.
    :: else
    fi;
    count(a, 0);
    count(a, 1)
}

inline end_read()
{
    is_reading = false; read_epoch = 0; must = 0; seen = 0; asked = 0
}

inline answer(a)
{
    printf("%d answers with %d\n", a, disk[a]);
    seen = seen | (disk[a] & must);
    asked = asked | (1 << a);
    if
    :: MANY(asked) && (asked & IN_EPOCH(read_epoch)) != 0 ->
        printf("the read sees %d of %d\n", seen, must);
        assert((must & ~seen) == 0);
#ifdef GOAL
        assert(!(read_epoch == 3 && asked == 10 && must == 3 && under[0] == 0 && under[1] == 1 &&
                 disk[C] == 0 && !HAS(disk[1], 0)));
#endif
        end_read()
    :: else ->
        if
        :: (must & ~seen) == 0 -> end_read() // It can no longer go wrong.
        :: else
        fi
    fi
}

#define WRITE(c, e) \
    :: d_step { sent == (1 << c) - 1 && e <= committed -> \
        printf("chunk %d is written under epoch %d\n", c, e); \
        sent = sent | (1 << c); under[c] = e }
#define RECEIVE(n, c) \
    :: d_step { HAS(sent & ~disk[n], c) && IS_REPLICA(n) -> \
        printf("%d holds chunk %d\n", n, c); store(n, 1 << c) }
#define ADOPT(n) :: d_step { epoch[n] < committed -> adopt(n) }
#define F0(n) \
    :: d_step { !is_streamed && epoch[D] >= 1 && !HAS(f0_from, n) && F0_COUNTS(n) -> \
        printf("%d has %d for F0\n", n, disk[n]); \
        f0 = f0 | disk[n]; f0_from = f0_from | (1 << n) }
#define READ(e) \
    :: d_step { !is_reading && promised != 0 && IN_EPOCH(e) != 0 -> \
        printf("a read of epoch %d: must see %d\n", e, promised); \
        is_reading = true; read_epoch = e; must = promised }
#define ANSWER(n) \
    :: d_step { is_reading && HAS((read_epoch < 2 -> OLD : NEW) & ~asked, n) && \
                ANSWER_COUNTS(n) -> answer(n) }

active proctype cluster()
{
end:
    do
    WRITE(0, 0) WRITE(0, 1) WRITE(0, 2) WRITE(0, 3)
    WRITE(1, 0) WRITE(1, 1) WRITE(1, 2) WRITE(1, 3)
    RECEIVE(0, 0) RECEIVE(1, 0) RECEIVE(2, 0) RECEIVE(3, 0)
    RECEIVE(0, 1) RECEIVE(1, 1) RECEIVE(2, 1) RECEIVE(3, 1)
    ADOPT(0) ADOPT(1) ADOPT(2) ADOPT(3)
    F0(0) F0(1) F0(2)
    :: d_step { MANY(f0_from) ->
        printf("D has streamed %d\n", f0);
        store(3, f0);
        is_streamed = true; f0 = 0; f0_from = 0 }
    :: d_step { f0_from != 0 -> printf("D loses power\n"); f0 = 0; f0_from = 0 }
    :: d_step { committed == 0 -> printf("the move begins: epoch 1\n"); committed = 1 }
    :: d_step { committed == 1 && is_streamed && IS_ADOPTED(1) ->
        printf("D has it all: epoch 2\n");
        committed = 2 }
    :: d_step { committed == 2 && IS_ADOPTED(2) -> printf("clean up: epoch 3\n"); committed = 3 }
    :: d_step { epoch[C] == 3 && disk[C] != 0 && MAY_DELETE ->
        printf("C deletes %d\n", disk[C]);
        disk[C] = 0;
        // Whatever any client may have been told of is on some disk.
        assert((kept & ~(disk[0] | disk[1] | disk[D])) == 0) }
    READ(0) READ(1) READ(2) READ(3)
    ANSWER(0) ANSWER(1) ANSWER(2) ANSWER(3)
    :: d_step { is_reading -> printf("the read ends without an answer\n"); end_read() }
    od
}
