// SPDX-License-Identifier: Apache-2.0
// bb_store_rollup - the rollups of one store: what is stale, what is computed next, what is read.
//
// Private to bb_store*.c. Everything belongs to the store's thread but bb_rollup_job_run and
// bb_rollup_page.
//
//   apply ──▶ head marks (day, partition)      in memory, exact for what is not in windows
//   flush ──▶ marks in the map                 durable before the first run of that flush
//   job   ──▶ results, marks gone              one transaction
//   query ──▶ no mark, nothing in the head: the stored result; else computed from points
//   sync  ──▶ results of days without points, from other stores (bb_store_sync.h)
//
// The map is DIR/rollups, made when the first rollup is.
#ifndef BB_STORE_ROLLUP_H
#define BB_STORE_ROLLUP_H

#include "storage/bb_store.h"
#include "storage/kv/bb_kv.h"
#include "storage/rollup/bb_day_marks.h"

typedef struct bb_rollups bb_rollups_t;
typedef struct bb_rollup_job bb_rollup_job_t;
typedef struct bb_rollup_view bb_rollup_view_t; // part of a snapshot

// Opens the map if it is there.
BB_MUST_CHECK bb_error_t bb_rollups_open(bb_store_t *store, bb_rollups_t **self, bb_fault_t *fault);
void bb_rollups_close(bb_rollups_t **self);
// The store has another policy. Opens the map when it is needed; without one (a disk that fails)
// every answer is computed.
void bb_rollups_policy_changed(bb_store_t *store);

// ---- marks -----------------------------------------------------------------------------------
// Points of the partition came in.
void bb_rollups_touch(bb_rollups_t *self, uint32_t day, uint32_t partition);
// A battery may be taken by other rollups now: all its days are stale.
void bb_rollups_touch_all_days(bb_store_t *store, uint32_t partition);
// The list of the store's days was made anew from windows: days of the head belong there, too.
void bb_rollups_add_days(bb_store_t *store);
// True when some rollup has a condition on batteries: their attributes matter then.
bool bb_rollups_watch_batteries(const bb_rollups_t *self);
// The head was frozen; its windows are written; they are the store's.
void bb_rollups_freeze(bb_rollups_t *self);
BB_MUST_CHECK bb_error_t bb_rollups_mark_frozen(bb_rollups_t *self, bool *must_fence,
                                                bb_fault_t *fault); // any thread, in the flush job
void bb_rollups_thaw(bb_rollups_t *self);
// Results of other stores wait for a flush; the job writes them, when names are durable.
bool bb_rollups_has_taken(const bb_rollups_t *self);
BB_MUST_CHECK bb_error_t bb_rollups_write_taken(bb_rollups_t *self, bool *must_fence,
                                                bb_fault_t *fault);

// ---- computing -------------------------------------------------------------------------------
// The clock moved. Days that ended an hour ago are computed; others are still being written.
void bb_rollups_step(bb_store_t *store, int64_t now_wall_ns);
bool bb_rollups_want_job(const bb_rollups_t *self);
// True while points of days before `day_limit` wait to be computed, or there is no map to put the
// results into: their windows must stay.
bool bb_rollups_wait_for(const bb_store_t *store, uint32_t day_limit);
// True if results of such days would be lost, or be of a part, when their points go: windows are
// damaged, and are not waited for. Then others have to be asked for them.
bool bb_rollups_lack(const bb_rollups_t *self, uint32_t day_limit);
// Writes down whether results are missing, in any thread while a job is alive; who says true counts
// a gap when it is done.
BB_MUST_CHECK bb_error_t bb_rollups_write_gaps(bb_rollups_t *self, bool gaps, bool *must_fence);
// NULL: nothing is to be done now.
bb_rollup_job_t *bb_rollup_job_new(bb_store_t *store);
BB_MUST_CHECK bb_error_t bb_rollup_job_run(bb_rollup_job_t *self, bool *must_fence,
                                           bb_fault_t *fault);
void bb_rollup_job_publish(bb_rollup_job_t *self, bb_store_t *store, bb_error_t error);
void bb_rollup_job_destroy(bb_rollup_job_t **self);
// Doubles the map when half of it is used, or when it was too small for a job. Only while no job is
// alive; while a query reads the map, later.
void bb_rollups_grow(bb_rollups_t *self);
void bb_rollups_refused(bb_rollups_t *self); // DISK_FULL although the disk has room
// Marks of all rollups: (day, partition) pairs whose results may be stale.
uint64_t bb_rollups_damaged_count(const bb_rollups_t *self); // results that did not verify
uint64_t bb_rollups_stale_count(const bb_rollups_t *self);

// ---- reading ---------------------------------------------------------------------------------
// A snapshot for a query with `rollup` set. QUERY, NOT_FOUND (no such rollup) with a sentence.
BB_MUST_CHECK bb_error_t bb_rollup_snapshot(bb_store_t *store, const bb_query_t *query,
                                            bb_snapshot_t **snapshot, bb_fault_t *fault);
// Answers one page; any thread.
BB_MUST_CHECK bb_error_t bb_rollup_page(bb_snapshot_t *snapshot, const bb_query_t *query,
                                        bb_page_builder_t *page, bb_scan_result_t *result,
                                        bb_fault_t *fault);
void bb_rollup_view_destroy(bb_rollup_view_t **self);

#endif
