// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>

#include "storage/bb_store_scrub_private.h"
#include "storage/bb_store_seal.h"

#define S_FINDINGS_MAX 1024u // of one step; a window with more is damaged as a whole

void bb_scrub_job_destroy(bb_scrub_job_t **self)
{
    if (*self) {
        bb_segment_release(&(*self)->segment);
        bb_damage_clear(&(*self)->found);
        bb_markers_release(&(*self)->markers);
        free((*self)->known);
        free((*self)->sums);
        bb_meta_batch_free(&(*self)->fingerprints);
        free((*self)->verified);
        free(*self);
        *self = NULL;
    }
}

// ---- findings --------------------------------------------------------------------------------
static void s_found(void *context, uint32_t partition, uint32_t battery, bb_damage_reason_t reason,
                    const char *text)
{
    bb_scrub_job_t *self = context;
    (void)partition;
    self->finding_count++;
    // What belongs to no run of a battery is a matter of the environment itself.
    self->is_doubtful |= battery == BB_DAMAGE_BATTERY_ALL && bb_damage_is_of_environment(reason);
    bb_window_id_t window = bb_segment_window(self->segment);
    bb_damage_entry_t entry = {.kind = (uint8_t)window.kind,
                               .class_id = window.class_id,
                               .day = window.day,
                               .number = bb_segment_number(self->segment),
                               .battery = battery,
                               .reason = reason,
                               .found_wall_ns = self->wall_ns};
    if (self->found.count >= S_FINDINGS_MAX) {
        entry.battery = BB_DAMAGE_BATTERY_ALL;
    }
    snprintf(entry.text, sizeof entry.text, "%s", text);
    bb_ignore(bb_damage_add(&self->found, &entry), "one entry a battery is enough");
}

// A run that could not be opened counts as a run without points.
static void s_compare_counts(bb_scrub_job_t *self)
{
    char text[BB_DAMAGE_TEXT_BYTES_MAX];
    const bb_segment_info_t *wanted = &self->info;
    bool are_points_known = self->totals.finding_count == 0;
    if (self->totals.run_count == wanted->run_count &&
        self->totals.battery_count == wanted->battery_count &&
        (self->totals.point_count == wanted->point_count || !are_points_known)) {
        return;
    }
    snprintf(
        text, sizeof text, "%llu runs, %llu batteries, %llu points; written were %llu, %llu, %llu",
        (unsigned long long)self->totals.run_count, (unsigned long long)self->totals.battery_count,
        (unsigned long long)self->totals.point_count, (unsigned long long)wanted->run_count,
        (unsigned long long)wanted->battery_count, (unsigned long long)wanted->point_count);
    s_found(self, BB_DAMAGE_BATTERY_ALL, BB_DAMAGE_BATTERY_ALL, BB_DAMAGE_COUNT, text);
}

// ---- fingerprints ----------------------------------------------------------------------------
static bool s_is_recorded(const bb_scrub_job_t *self)
{
    return bb_fingerprinter_is_recorded(self->fingerprinter, bb_segment_window(self->segment),
                                        bb_segment_number(self->segment));
}

static void s_hash_begin(bb_scrub_job_t *self)
{
    if ((!self->is_begin && !self->is_hashed) || !self->is_settled) {
        return;
    }
    self->fingerprinter = bb_fingerprinter_new(self->kv, self->meta, self->fingerprint_key);
    if (self->fingerprinter && self->is_begin && !self->is_alone && !s_is_recorded(self)) {
        bb_fingerprinter_destroy(&self->fingerprinter);
    }
    if (self->fingerprinter) {
        bb_fingerprinter_resume(self->fingerprinter, self->sums, self->sum_count);
        self->sums = NULL;
    }
}

static void s_hash_run(void *context, uint32_t partition, uint32_t battery, const bb_run_t *run)
{
    bb_scrub_job_t *self = context;
    bb_marker_list_t markers = bb_markers_of(self->markers, battery);
    bb_run_t left;
    bb_slice_t cut;
    // What was deleted and is still there does not count: it goes with the next merge.
    if (self->fingerprinter && bb_marker_cut_is_needed(markers, run)) {
        if (bb_marker_cut_run(self->marker_cut, markers, run, &cut) != BB_OK ||
            (cut.length > 0 && bb_run_open(&left, cut, NULL) != BB_OK)) {
            bb_fingerprinter_destroy(&self->fingerprinter);
        }
        if (!self->fingerprinter || cut.length == 0) {
            return;
        }
        run = &left;
    }
    if (self->fingerprinter &&
        bb_fingerprinter_add(self->fingerprinter, partition, battery, run) != BB_OK) {
        bb_fingerprinter_destroy(&self->fingerprinter);
    }
}

// The segment has been read to its end, and each part of it is sound by itself.
static void s_compare_hashes(bb_scrub_job_t *self)
{
    uint32_t partition;
    bb_window_id_t window = bb_segment_window(self->segment);
    uint64_t number = bb_segment_number(self->segment);
    if (!s_is_recorded(self)) {
        bb_fingerprinter_record(self->fingerprinter, window, number, &self->fingerprints);
    } else if (!bb_fingerprinter_is_equal(self->fingerprinter, window, number, &partition)) {
        char text[BB_DAMAGE_TEXT_BYTES_MAX];
        snprintf(text, sizeof text, "the points of partition %u are not those that were written",
                 partition);
        s_found(self, BB_DAMAGE_BATTERY_ALL, BB_DAMAGE_BATTERY_ALL, BB_DAMAGE_FINGERPRINT, text);
    }
}

static void s_hash_end(bb_scrub_job_t *self)
{
    if (self->is_end && self->fingerprinter && self->found.count == 0 &&
        self->totals.finding_count == 0) {
        s_compare_hashes(self);
    }
    self->is_hashed = self->fingerprinter != NULL;
    if (self->fingerprinter) {
        self->sums = bb_fingerprinter_pause(self->fingerprinter, &self->sum_count);
        bb_fingerprinter_destroy(&self->fingerprinter);
    }
}

static void s_check(bb_scrub_job_t *self)
{
    bb_segment_part_t part = {.info = self->info};
    bb_segment_cursor_t *cursor = NULL;
    bb_fault_t fault = {0};
    bb_error_t error = bb_segment_env_acquire(self->segment, false, &part.env, &fault);
    if (error == BB_OK) {
        error = bb_segment_cursor_open(self->kv, &part, 1, &cursor);
    }
    if (error == BB_OK) {
        uint64_t before = self->totals.run_bytes;
        bb_window_check_t check = {cursor, self->budget_bytes, s_found, s_hash_run, self};
        self->marker_cut = bb_marker_cut_new();
        s_hash_begin(self);
        self->is_end = bb_window_check_step(&check, &self->at, &self->totals);
        self->bytes = self->totals.run_bytes - before;
        bb_segment_cursor_close(&cursor);
        if (self->is_end) {
            s_compare_counts(self);
        }
        s_hash_end(self);
        bb_marker_cut_destroy(&self->marker_cut);
    } else if (error != BB_ERR_IO) {
        self->is_end = true;
        s_found(self, BB_DAMAGE_BATTERY_ALL, BB_DAMAGE_BATTERY_ALL,
                error == BB_ERR_NOT_FOUND ? BB_DAMAGE_MISSING : BB_DAMAGE_UNREADABLE,
                fault.text[0] ? fault.text : bb_error_message(error));
    } else {
        self->is_end = true;
        s_found(self, BB_DAMAGE_BATTERY_ALL, BB_DAMAGE_BATTERY_ALL, BB_DAMAGE_IO,
                bb_error_message(error));
    }
    if (part.env) {
        bb_segment_env_release(self->segment);
    }
}

bool bb_scrub_job_is_healed(const bb_scrub_job_t *self, const bb_damage_entry_t *known)
{
    return self->is_end &&
           !bb_damage_find(&self->found, known->kind, known->class_id, known->day, known->battery);
}

static bb_error_t s_record(bb_scrub_job_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_kv_txn_t *txn = NULL;
    bb_meta_batch_t batch = {0};
    for (uint32_t i = 0; i < self->found.count; i++) {
        bb_meta_batch_damage(&batch, &self->found.entries[i]);
    }
    if (self->is_end) {
        bb_meta_batch_verified(&batch, bb_segment_window(self->segment), self->verified,
                               self->verified_count);
    }
    bb_error_t error = self->kv->begin(self->meta, true, &txn);
    if (error == BB_OK) {
        error = bb_meta_batch_write(&batch, self->kv, txn);
    }
    if (error == BB_OK) {
        error = bb_meta_batch_write(&self->fingerprints, self->kv, txn);
    }
    for (uint32_t i = 0; error == BB_OK && i < self->known_count; i++) {
        if (bb_scrub_job_is_healed(self, &self->known[i])) {
            uint8_t key[BB_META_DAMAGE_KEY_BYTES];
            bb_meta_damage_key(&self->known[i], key);
            error = self->kv->remove(txn, bb_slice(key, sizeof key));
            error = error == BB_ERR_NOT_FOUND ? BB_OK : error;
        }
    }
    bb_meta_batch_free(&batch);
    if (error == BB_OK) {
        error = bb_store_commit(self->kv, &txn, must_fence);
    }
    self->kv->abort(&txn);
    return error == BB_OK ? BB_OK
                          : bb_fault_set(fault, error, "meta: what scrubbing found: %s",
                                         bb_error_message(error));
}

// Meta is small, and every day of it is as old as what it describes: all of it in one go.
static bb_error_t s_check_meta(bb_scrub_job_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->meta, true, &txn);
    if (error == BB_OK) {
        error = bb_meta_check(self->kv, txn, &self->meta_found);
    }
    if (error == BB_OK && self->meta_found.removed_count > 0) {
        error = bb_store_commit(self->kv, &txn, must_fence);
    }
    self->kv->abort(&txn);
    return error == BB_OK ? BB_OK
                          : bb_fault_set(fault, error, "meta: what does not verify: %s",
                                         bb_error_message(error));
}

bb_error_t bb_scrub_job_run(bb_scrub_job_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_error_t error = self->is_meta_due ? s_check_meta(self, must_fence, fault) : BB_OK;
    if (error != BB_OK) {
        return error;
    }
    s_check(self);
    return self->found.count > 0 || self->is_end ? s_record(self, must_fence, fault) : BB_OK;
}
