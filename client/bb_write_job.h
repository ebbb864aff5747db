// SPDX-License-Identifier: Apache-2.0
// bb_write_job - one encoded batch on its way: sent, sent elsewhere, split, joined, answered.
//
// Lives on the io thread from bb_write_start until `on_done`. The same bytes are sent to another
// replica that holds all the batch's partitions; when no single live node does, the batch is split
// by partition into children, and their results are joined into the parent's. Merging is
// idempotent, so sending twice is always safe.
//
// A slot is one of `in_flight_max` a node, and room by the credit that the node told
// (bb_allowance).
//
//   bb_write_start ─▶ waiting for a slot ─▶ sent ─▶ done
//                        ▲      ▲            │ └─▶ split ─▶ (children) ─▶ done
//                        │      └── elsewhere┘
//                        └── backing off (timer) ◀── busy, or all replicas tried
#ifndef BB_WRITE_JOB_H
#define BB_WRITE_JOB_H

#include "client/bb_io.h"
#include "client/bb_session.h"

#define BB_WRITE_DETAIL_BYTES 256

typedef struct {
    uint32_t frame; // in the batch as built; UINT32_MAX = the whole batch
    bb_error_t error;
    char metric[BB_METRIC_NAME_BYTES_MAX + 1]; // "" = the whole frame
    char detail[BB_WRITE_DETAIL_BYTES];
} bb_write_rejection_t;

typedef struct {
    bb_error_t error; // of the frames that are neither acknowledged nor rejected; OK: there is none
    char detail[BB_WRITE_DETAIL_BYTES];
    uint64_t acked_frames, acked_points, rejected_frames, rejected_points, quarantined_points;
    uint32_t rejection_count;
    bb_write_rejection_t *rejections; // owned
    uint32_t attempts;
    int64_t latency_ns;
} bb_write_result_t;

// Adds a part's result to the whole's. Unknown (TIMEOUT) prevails over other errors, because it is
// what the caller must assume; otherwise the first error stays. At most BB_REJECTIONS_MAX are kept.
// `frame_of_part` maps the part's frames to the whole's; NULL: they are the same.
void bb_write_result_join(bb_write_result_t *whole, const bb_write_result_t *part,
                          const uint32_t *frame_of_part);
void bb_write_result_free(bb_write_result_t *self);
// Takes over a node's answer about `frames` and `points`. False when it does not add up.
bool bb_write_result_read(bb_write_result_t *self, const bb_write_reply_t *reply, uint64_t frames,
                          uint64_t points);

// For each frame of the subset with the parts `keep`, its index in the batch.
uint32_t *bb_write_frame_map(const bb_batch_t *batch, const bool *keep, uint32_t *count);

typedef struct bb_write_job bb_write_job_t;

// The part of a writer that belongs to the io thread.
typedef struct {
    bb_io_t *io;
    uint32_t level; // bb_level_t, or 0: the cluster's default
    int64_t timeout_ns;
    uint32_t in_flight_max;                       // batches per node
    uint32_t in_flight[BB_NODES_MAX];             // per link
    bb_write_job_t *waiting_first, *waiting_last; // for a slot
    bb_write_job_t *live;                         // all that are not done
    bool is_pumping, must_pump_again;
    bb_room_waiter_t waiter;   // for room; cleared by the owner at first, like all of this
    bool deletes;              // batches hold markers
    busbar_session_t *session; // where acknowledged dots are noted; NULL = nowhere
    void (*on_done)(bb_write_job_t *job, void *context); // io thread; takes the job
    void *context;
} bb_write_queue_t;

struct bb_write_job {
    bb_io_task_t task;
    bb_exchange_t exchange;
    bb_io_timer_t timer;
    bb_write_queue_t *queue;
    bb_write_job_t *next; // waiting list; free for the owner when done
    bb_write_job_t *live_next, *live_previous;
    bb_write_job_t *parent;
    uint32_t children_left;
    uint32_t *frame_of_parent; // children
    bb_blob_t *batch;
    uint32_t first_link;
    uint64_t frames, points;
    uint64_t user_frame_first; // roots; for the writer
    uint32_t *user_frames;     // roots: per frame, distance from user_frame_first; owned
    bool is_waiting, is_sent, has_begun;
    int64_t first_sent_ns;
    bb_attempt_t attempt; // `tried` by link
    uint32_t partition_count;
    uint32_t *partitions; // once looked at
    bb_write_result_t result;
};

// Takes malloc'd memory: the encoded batch and the map of user frames.
bb_write_job_t *bb_write_job_new(uint8_t *batch, size_t length, uint32_t *user_frames,
                                 uint64_t user_frame_first, uint64_t frames, uint64_t points,
                                 uint32_t first_link);
void bb_write_job_destroy(bb_write_job_t **self);
void bb_write_start(bb_write_queue_t *queue, bb_write_job_t *job); // io thread
void bb_write_cancel_all(bb_write_queue_t *queue);                 // io thread; ends as TIMEOUT

#endif
