// SPDX-License-Identifier: Apache-2.0
// bb_store_scrub_private - one step of scrubbing: what bb_store_scrub.c gives to
// bb_store_scrub_job.c and takes back; nobody else includes it.
#ifndef BB_STORE_SCRUB_PRIVATE_H
#define BB_STORE_SCRUB_PRIVATE_H

#include "storage/bb_store_fingerprint.h"
#include "storage/bb_store_scrub.h"
#include "storage/markers/bb_marker_cut.h"
#include "storage/scrub/bb_window_check.h"

// Filled on the store's thread; the run may be in another one.
struct bb_scrub_job {
    bb_kv_driver_t *kv;
    bb_kv_env_t *meta;
    bb_segment_t *segment;
    bb_segment_info_t info;
    uint64_t id;
    bb_window_check_at_t at;
    bb_window_check_totals_t totals;
    uint64_t budget_bytes;
    int64_t wall_ns;
    const uint8_t *fingerprint_key;
    bb_fingerprinter_t *fingerprinter; // while it runs; NULL: fingerprints are not compared
    bb_meta_fingerprint_t *sums;       // before and after
    uint32_t sum_count;
    bb_meta_batch_t fingerprints; // to be recorded
    bool is_begin, is_hashed;
    bool is_settled;             // since the segment was begun nothing was deleted
    bb_markers_t *markers;       // of the moment in which the step was made
    bb_marker_cut_t *marker_cut; // while it runs; NULL: nothing was deleted
    bool is_meta_due;            // meta is looked at, too
    bb_meta_check_t meta_found;
    bool is_alone;                // the window is this segment, with every point once
    bb_meta_verified_t *verified; // of the segments of the window
    uint32_t verified_count;
    bb_damage_entry_t *known; // that it may prove healed, copied
    uint32_t known_count;
    bb_damage_t found;
    uint64_t finding_count, bytes;
    bool is_end, is_doubtful;
};

// What a merge has healed: an entry of before that this segment does not have.
bool bb_scrub_job_is_healed(const bb_scrub_job_t *self, const bb_damage_entry_t *known);

#endif
