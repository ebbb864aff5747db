// SPDX-License-Identifier: Apache-2.0
// Jobs: begun and ended on the store's thread, run in any.
#include <stdlib.h>

#include "storage/bb_store.h"
#include "storage/bb_store_flush.h"
#include "storage/bb_store_latest.h"
#include "storage/bb_store_markers.h"
#include "storage/bb_store_merge.h"
#include "storage/bb_store_private.h"
#include "storage/bb_store_retention.h"
#include "storage/bb_store_scrub.h"
#include "storage/bb_store_sync_read.h"
#include "storage/journal/bb_journal_fresh.h"

struct bb_store_job {
    bb_store_job_kind_t kind;
    bb_flush_t *flush;         // borrowed of the store
    bb_merge_t *merge;         // owned
    bb_scrub_job_t *scrub;     // owned
    bb_rollup_job_t *rollup;   // owned
    bb_retire_t *retire;       // owned
    bb_journal_fresh_t *fresh; // owned
    bb_sync_reads_t *sync;     // owned
    bb_rollups_t *rollups;     // borrowed of the store; FLUSH
    bool must_fence;
};

bool bb_store_wants_rollup(const bb_store_t *self)
{
    return bb_rollups_want_job(self->rollups);
}

bool bb_store_wants_fresh(const bb_store_t *self)
{
    return bb_journal_fresh_is_wanted(self->journal);
}

bool bb_store_wants_merge(const bb_store_t *self)
{
    return self->is_merge_wanted;
}

// NULL: not wanted, or there is no room for it.
static bb_journal_fresh_t *s_fresh_new(bb_store_t *self)
{
    if (!bb_store_wants_fresh(self)) {
        return NULL;
    }
    if (!bb_store_room_take(&self->room, bb_journal_fresh_bytes(self->journal))) {
        bb_journal_fresh_pass(self->journal);
        return NULL;
    }
    return bb_journal_fresh_begin(self->journal);
}

// Freezes the head, unless one waits already because its job failed.
static bb_error_t s_freeze(bb_store_t *self)
{
    if (self->frozen) {
        return BB_OK;
    }
    if (bb_head_points(self->active) == 0 && !bb_store_is_adopting(self) &&
        !bb_store_has_unsaved_markers(self) && !bb_rollups_has_taken(self->rollups)) {
        return BB_ERR_NOT_FOUND;
    }
    if (self->waiting_count > 0) {
        // A record that is in the journal but not in the head must not be in a sealed file.
        return BB_ERR_BUSY;
    }
    uint64_t sealed_through = 0;
    bb_error_t error = bb_journal_rotate(self->journal, &sealed_through);
    if (error != BB_OK) {
        self->is_fenced |= bb_journal_is_fenced(self->journal);
        return error;
    }
    self->frozen = bb_flush_new(self, sealed_through);
    bb_rollups_freeze(self->rollups);
    return BB_OK;
}

bb_error_t bb_store_job_begin(bb_store_t *self, bb_store_job_kind_t kind,
                              double runs_per_battery_min, bb_store_job_t **job)
{
    BB_ASSERT(!self->is_job_alive);
    BB_ASSERT(kind != BB_JOB_SYNC); // begins by bb_store_sync_begin
    if (self->is_fenced) {
        return BB_ERR_FENCED;
    }
    bb_store_meta_grow(self, false);
    bb_rollups_grow(self->rollups);
    bb_merge_t *merge = NULL;
    bb_scrub_job_t *scrub = NULL;
    bb_rollup_job_t *rollup = NULL;
    bb_retire_t *retire = NULL;
    bb_journal_fresh_t *fresh = NULL;
    if (kind == BB_JOB_FRESH) {
        fresh = s_fresh_new(self);
        if (!fresh) {
            return BB_ERR_NOT_FOUND;
        }
    } else if (kind == BB_JOB_SCRUB) {
        scrub = bb_scrub_job_new(self);
        if (!scrub) {
            return BB_ERR_NOT_FOUND;
        }
    } else if (kind == BB_JOB_RETIRE) {
        if (self->frozen) {
            return BB_ERR_BUSY; // it may write into windows that would go
        }
        retire = bb_retire_new(self);
        if (!retire) {
            return BB_ERR_NOT_FOUND;
        }
    } else if (kind == BB_JOB_ROLLUP) {
        rollup = bb_rollup_job_new(self);
        if (!rollup) {
            return BB_ERR_NOT_FOUND;
        }
    } else if (kind == BB_JOB_FLUSH) {
        bb_error_t error = s_freeze(self);
        if (error != BB_OK) {
            return error;
        }
    } else {
        if (self->frozen) {
            // Its job failed half way and knows the folders of windows that it wrote to. Replacing
            // one now would have its seal name a folder that is gone.
            return BB_ERR_BUSY;
        }
        if (!bb_store_has_room(self, 0)) {
            return BB_ERR_DISK_FULL; // a merge writes a window once more; a flush must not wait
        }
        merge = bb_merge_new(self, runs_per_battery_min <= 1);
        if (!merge) {
            return BB_ERR_NOT_FOUND;
        }
    }
    *job = bb_alloc_zero(1, sizeof **job);
    **job = (bb_store_job_t){
        .kind = kind,
        .flush = kind == BB_JOB_FLUSH ? self->frozen : NULL,
        .merge = merge,
        .scrub = scrub,
        .rollup = rollup,
        .retire = retire,
        .fresh = fresh,
        .rollups = self->rollups,
    };
    self->is_job_alive = true;
    return BB_OK;
}

bb_error_t bb_store_sync_begin(bb_store_t *self, const bb_sync_ask_t *asks, uint32_t ask_count,
                               bb_store_job_t **job)
{
    BB_ASSERT(!self->is_job_alive);
    BB_ASSERT(ask_count >= 1 && ask_count <= BB_SYNC_ASKS_MAX);
    if (self->is_fenced) {
        return BB_ERR_FENCED;
    }
    *job = bb_alloc_zero(1, sizeof **job);
    (*job)->kind = BB_JOB_SYNC;
    (*job)->sync = bb_sync_reads_new(self, asks, ask_count);
    self->is_job_alive = true;
    return BB_OK;
}

const bb_sync_found_t *bb_store_job_found(const bb_store_job_t *job, uint32_t *count)
{
    return job->sync ? bb_sync_reads_found(job->sync, count) : NULL;
}

bb_error_t bb_store_job_run(bb_store_job_t *job, bb_fault_t *fault)
{
    switch (job->kind) {
    case BB_JOB_FLUSH: {
        bb_error_t error = bb_rollups_mark_frozen(job->rollups, &job->must_fence, fault);
        if (error == BB_OK) {
            error = bb_flush_names(job->flush, &job->must_fence, fault);
        }
        if (error == BB_OK) {
            error = bb_rollups_write_taken(job->rollups, &job->must_fence, fault);
        }
        return error == BB_OK ? bb_flush_run(job->flush, &job->must_fence, fault) : error;
    }
    case BB_JOB_MERGE:
        return bb_merge_run(job->merge, &job->must_fence, fault);
    case BB_JOB_SCRUB:
        return bb_scrub_job_run(job->scrub, &job->must_fence, fault);
    case BB_JOB_RETIRE:
        return bb_retire_run(job->retire, &job->must_fence, fault);
    case BB_JOB_ROLLUP:
        return bb_rollup_job_run(job->rollup, &job->must_fence, fault);
    case BB_JOB_FRESH:
        return bb_journal_fresh_run(job->fresh);
    case BB_JOB_SYNC:
        bb_sync_reads_run(job->sync);
        return BB_OK;
    }
    return BB_ERR_INTERNAL;
}

void bb_store_job_end(bb_store_t *self, bb_store_job_t **job, bb_error_t error)
{
    BB_ASSERT(self->is_job_alive);
    self->is_job_alive = false;
    self->is_fenced |= (*job)->must_fence;
    if (error == BB_ERR_DISK_FULL && bb_store_has_room(self, 0)) {
        bb_store_meta_grow(self, true);
        bb_rollups_refused(self->rollups);
    }
    if ((*job)->kind == BB_JOB_FRESH) {
        bb_journal_fresh_end(self->journal, &(*job)->fresh, error);
    } else if ((*job)->kind == BB_JOB_SCRUB) {
        // What was found counts even if it could not be written down.
        bb_scrub_job_publish((*job)->scrub, self);
    } else if (error == BB_OK && (*job)->kind == BB_JOB_FLUSH) {
        bb_store_latest_learn(self, bb_flush_head(self->frozen));
        bb_flush_publish(self->frozen, self);
        bb_flush_destroy(&self->frozen);
        bb_rollups_thaw(self->rollups);
    } else if ((*job)->kind == BB_JOB_RETIRE) {
        if (error == BB_OK) {
            bb_retire_publish((*job)->retire, self);
        }
    } else if ((*job)->kind == BB_JOB_ROLLUP) {
        bb_rollup_job_publish((*job)->rollup, self, error);
    } else if ((*job)->kind == BB_JOB_SYNC) {
        bb_sync_reads_destroy(&(*job)->sync); // changes nothing
    } else if (error == BB_OK) {
        bb_merge_publish((*job)->merge, self);
    }
    self->is_merge_wanted = bb_merge_is_wanted(self);
    if ((*job)->kind != BB_JOB_SCRUB && (*job)->kind != BB_JOB_ROLLUP &&
        (*job)->kind != BB_JOB_FRESH && (*job)->kind != BB_JOB_SYNC) {
        bb_store_scrub_windows_changed(self->scrub);
    }
    bb_merge_destroy(&(*job)->merge);
    bb_scrub_job_destroy(&(*job)->scrub);
    bb_rollup_job_destroy(&(*job)->rollup);
    bb_retire_destroy(&(*job)->retire);
    free(*job);
    *job = NULL;
}
