// SPDX-License-Identifier: Apache-2.0
// bb_error - the one list of things that can go wrong.
//
// Pure. Numbers are stable, travel on the wire and are never reused. Each entry says what the
// caller may do: NEVER (the request is wrong; sending it again cannot help), LATER (try again
// after a while), ELSEWHERE (another replica may answer now), UNKNOWN (the outcome is not
// known; repeating is safe because merging is idempotent).
#ifndef BB_ERROR_H
#define BB_ERROR_H

#include "protocol/bb_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    BB_RETRY_NEVER,
    BB_RETRY_LATER,
    BB_RETRY_ELSEWHERE,
    BB_RETRY_UNKNOWN,
} bb_retry_t;

// X(name, number, retry, message)
#define BB_ERROR_LIST(X)                                                                           \
    X(OK, 0, NEVER, "success")                                                                     \
    /* 1-19: the caller's data */                                                                  \
    X(BATTERY_ID, 1, NEVER, "battery id is empty, longer than 128 bytes or not UTF-8")             \
    X(METRIC_NAME, 2, NEVER, "metric name is empty, longer than 64 bytes or not UTF-8")            \
    X(FRAME_METRICS, 3, NEVER, "a frame has no metric, more than 256, or one twice")               \
    X(BATCH_BYTES, 4, NEVER, "the batch is larger than 8 MiB")                                     \
    X(TIME_RANGE, 5, NEVER, "time is outside 1970-01-01 to 2262-01-01")                            \
    X(TYPE_CHANGED, 6, NEVER, "the metric already has another type at this battery")               \
    X(STATE_TEXT, 7, NEVER, "state text is longer than 256 bytes or not UTF-8")                    \
    X(ATTRIBUTES, 8, NEVER, "more than 32 attributes, or one is empty or too long")                \
    X(VALUE, 9, NEVER, "the value does not fit its type")                                          \
    X(SYNTAX, 10, NEVER, "the text cannot be read")                                                \
    X(QUERY, 11, NEVER, "the query is not valid")                                                  \
    X(WINDOWS, 12, NEVER, "too many different days are open at this store")                        \
    X(RETENTION, 13, NEVER, "the point is older than its retention class keeps")                   \
    X(GENERATION, 14, NEVER, "what was deleted there is of this generation or a later one")        \
    /* 20-39: messages */                                                                          \
    X(MESSAGE_CORRUPT, 20, NEVER, "the message does not verify")                                   \
    X(MESSAGE_VERSION, 21, NEVER, "the message has an unknown version or kind")                    \
    X(MESSAGE_BYTES, 22, NEVER, "the message is too large")                                        \
    X(PARTITION, 23, ELSEWHERE, "a battery is in another partition than the message says")         \
    X(NOT_REPLICA, 24, ELSEWHERE, "this node holds no replica of the partition")                   \
    X(EPOCH, 25, ELSEWHERE, "the message has another topology epoch")                              \
    X(ROLE, 26, NEVER, "the key's role does not allow this")                                       \
    X(IDENTITY, 27, NEVER, "the key is not listed in the configuration")                           \
    X(CLUSTER, 28, NEVER, "the peer belongs to another cluster")                                   \
    X(CURSOR, 29, ELSEWHERE, "the cursor is of a node with another number of stores")              \
    /* 40-59: state of the node or the cluster */                                                  \
    X(BUSY, 40, LATER, "too much is in flight; try again after the given delay")                   \
    X(TIMEOUT, 41, UNKNOWN, "no answer in time; the outcome is unknown and repeating is safe")     \
    X(UNAVAILABLE, 42, LATER, "not enough live replicas for this consistency level")               \
    X(CLOCK_SKEW, 43, ELSEWHERE, "this node's clock is too far from its peers")                    \
    X(STOPPING, 44, ELSEWHERE, "the node is shutting down")                                        \
    X(BEHIND, 45, ELSEWHERE, "this replica lacks data that others have acknowledged")              \
    X(CANCELLED, 46, NEVER, "the request was cancelled by its owner")                              \
    X(PEER_UNKNOWN, 47, NEVER, "no such node in the topology")                                     \
    X(NOT_COUNTING, 48, ELSEWHERE, "this node does not count as a replica just now")               \
    /* 60-79: disk */                                                                              \
    X(IO, 60, LATER, "a disk operation failed")                                                    \
    X(DISK_FULL, 61, LATER, "the disk is full or at its reserve")                                  \
    X(CORRUPT, 62, ELSEWHERE, "stored bytes do not match their checksum")                          \
    X(FORMAT, 63, NEVER, "stored bytes have an unknown format version")                            \
    X(FENCED, 64, ELSEWHERE, "a failed sync has fenced this store")                                \
    X(LOCKED, 65, NEVER, "another process uses this folder")                                       \
    X(FOREIGN, 66, NEVER, "the data folder belongs to another node or cluster")                    \
    X(NOT_FOUND, 67, NEVER, "there is no such thing")                                              \
    X(EXISTS, 68, NEVER, "it already exists")                                                      \
    /* 80-99: configuration and keys */                                                            \
    X(CONFIG, 80, NEVER, "the configuration is not valid")                                         \
    X(KEY, 81, NEVER, "the key file is not valid")                                                 \
    X(PORT_IN_USE, 82, NEVER, "the address is already in use")                                     \
    X(USAGE, 83, NEVER, "the command line is not valid")                                           \
    X(PERMISSION, 84, NEVER, "the file may be read by others, or not by us")                       \
    X(LIMIT, 85, NEVER, "a documented limit was reached")                                          \
    X(INTERNAL, 99, NEVER, "an internal error")

typedef enum {
#define BB_ERROR_ENUM(name, number, retry, message) BB_ERR_##name = number,
    BB_ERROR_LIST(BB_ERROR_ENUM)
#undef BB_ERROR_ENUM
} bb_error_t;
#define BB_OK BB_ERR_OK

// Stable name ("TYPE_CHANGED"); "UNKNOWN" for a number that is not in the list.
const char *bb_error_name(bb_error_t error);
// One line for people.
const char *bb_error_message(bb_error_t error);
bb_retry_t bb_error_retry(bb_error_t error);
// True when `number` is in the list; numbers from the wire pass through this first.
bool bb_error_is_known(int32_t number);

// bb_fault_t - the sentence that goes with an error at the edges: what was tried, on what, what
// was found, what was expected. Caller-owned, no allocation; too long a text is cut with "...".
typedef struct {
    bb_error_t error;
    char text[512];
} bb_fault_t;

// Fills `fault` (which may be NULL) and returns `error`, so that a function can
// `return bb_fault_set(fault, BB_ERR_CONFIG, "%s:%d: ...", ...)`.
bb_error_t bb_fault_set(bb_fault_t *fault, bb_error_t error, const char *format, ...)
    BB_PRINTF(3, 4);

#ifdef __cplusplus
}
#endif
#endif
