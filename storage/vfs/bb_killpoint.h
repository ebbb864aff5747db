// SPDX-License-Identifier: Apache-2.0
// bb_killpoint - names the moments between one durable step and the next, so that tests can end a
// process exactly there.
//
// The vfs and the kv driver that a store was opened with carry a pointer to who wants to know; NULL
// (production) costs one branch. The simulator lets a machine die at the nth pass of a point
// (tests/sim/sim_store.c). Processes of a build that is not a release end by SIGKILL at the nth
// pass of the point that the environment names: BB_KILLPOINT=write-synced:3.
//
//   write   decoded ▸ before-journal ▸ written ▸ synced ▸ applied ▸ acked
//   peer    received ▸ (the same journal) ▸ committed; pull-served at the other side
//   segment in-txn ▸ synced ▸ sealed ▸ trim        merge-recorded, retire-recorded, rollup-recorded
//   start   recovered
#ifndef BB_KILLPOINT_H
#define BB_KILLPOINT_H

#include "protocol/bb_base.h"

#define BB_KILLPOINTS(X)                                                                           \
    X(WRITE_DECODED, "write-decoded")               /* a client's batch is taken, without dots */  \
    X(WRITE_BEFORE_JOURNAL, "write-before-journal") /* it has dots, and peers may have it */       \
    X(WRITE_WRITTEN, "write-written")               /* in the file, not synced */                  \
    X(WRITE_SYNCED, "write-synced")                 /* durable, not applied */                     \
    X(WRITE_APPLIED, "write-applied")               /* visible, nobody was told */                 \
    X(WRITE_ACKED, "write-acked")                   /* an acknowledgement has just left */         \
    X(PEER_RECEIVED, "peer-received")               /* a chunk of a peer is staged */              \
    X(PEER_COMMITTED, "peer-committed")             /* durable, the peer was not told */           \
    X(PULL_SERVED, "pull-served")                   /* chunks have left, the end of them not */    \
    X(SEGMENT_IN_TXN, "segment-in-txn")             /* filled, not committed */                    \
    X(SEGMENT_SYNCED, "segment-synced")             /* all committed, meta does not name them */   \
    X(SEGMENT_SEALED, "segment-sealed")             /* meta names them, the journal is whole */    \
    X(JOURNAL_TRIM, "journal-trim")                 /* a file is about to go */                    \
    X(MERGE_RECORDED, "merge-recorded")             /* old segments are still there */             \
    X(RETIRE_RECORDED, "retire-recorded")           /* the floor moved, folders are still there */ \
    X(ROLLUP_RECORDED, "rollup-recorded")           /* results are stored */                       \
    X(START_RECOVERED, "start-recovered")           /* the journal was read, nothing is served */

typedef enum {
#define BB_KILLPOINT_ENUM(name, text) BB_KILLPOINT_##name,
    BB_KILLPOINTS(BB_KILLPOINT_ENUM)
#undef BB_KILLPOINT_ENUM
        BB_KILLPOINT_COUNT,
} bb_killpoint_point_t;

typedef struct {
    void *context;
    void (*reach)(void *context, bb_killpoint_point_t point); // may not return
} bb_killpoint_t;

// door: a vfs or kv driver.
#define BB_KILLPOINT(door, point)                                                                  \
    do {                                                                                           \
        const bb_killpoint_t *killpoint_ = (door)->killpoint;                                      \
        if (killpoint_) {                                                                          \
            killpoint_->reach(killpoint_->context, BB_KILLPOINT_##point);                          \
        }                                                                                          \
    } while (0)

const char *bb_killpoint_name(bb_killpoint_point_t point);
// What this process was told by its environment; NULL in release builds, and when it names nothing.
const bb_killpoint_t *bb_killpoint_of_process(void);

#endif
