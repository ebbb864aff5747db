// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "node/ingest/bb_shard_internal.h"

// ---- jobs ------------------------------------------------------------------------------------

// Begins the job and hands it out. False: there was nothing to do, or it could not begin.
static bool s_job_begin(bb_shard_t *self, bb_store_job_kind_t kind, double runs_per_battery_min)
{
    bb_store_job_t *job = NULL;
    bb_error_t error = bb_store_job_begin(self->store, kind, runs_per_battery_min, &job);
    if (error != BB_OK) {
        if (error != BB_ERR_NOT_FOUND) {
            self->job_retry_mono_ns = self->time.mono_ns + BB_SHARD_RETRY_NS;
        } else if (kind == BB_JOB_MERGE && runs_per_battery_min <= 1) {
            self->is_merged = true;
        } else if (kind == BB_JOB_FLUSH) {
            self->head_since_mono_ns = BB_NEVER_NS;
            self->unsealed_chunks = 0;
        }
        return false;
    }
    self->is_job_out = true;
    self->job_kind = kind;
    if (kind == BB_JOB_FLUSH) {
        self->head_since_mono_ns = BB_NEVER_NS; // what comes now is in the next head
        self->frozen_chunks += self->unsealed_chunks;
        self->unsealed_chunks = 0;
        self->is_merged = false;
        bb_pace_flush_begin(&self->pace, self->time.mono_ns, bb_store_head_bytes(self->store));
    }
    self->options.out.job(self->options.out.context, job);
    return true;
}

void bb_shard_job_done(bb_shard_t *self, bb_shard_time_t time, bb_store_job_t *job,
                       bb_error_t error)
{
    BB_ASSERT(self && job && self->is_job_out);
    BB_ASSERT(time.mono_ns >= self->time.mono_ns);
    self->time = time;
    if (self->job_kind == BB_JOB_SYNC) {
        bb_shard_sync_found(self, job);
    }
    bb_store_job_end(self->store, &job, error);
    self->is_job_out = false;
    if (self->job_kind == BB_JOB_FLUSH) {
        bb_pace_flush_end(&self->pace, time.mono_ns, error == BB_OK);
    }
    self->scrub_wake_mono_ns = time.mono_ns;
    if (self->job_kind == BB_JOB_SCRUB || self->job_kind == BB_JOB_FRESH ||
        self->job_kind == BB_JOB_SYNC) {
        return; // what it could not write down it finds again; nothing depends on a fresh file
    }
    if (error != BB_OK) {
        // The frozen head stays and is flushed again; a fenced store stays as it is.
        self->job_retry_mono_ns = time.mono_ns + BB_SHARD_RETRY_NS;
        if (self->job_kind == BB_JOB_FLUSH) {
            // Due at once: only the pause holds it back, not the age of a new head.
            self->head_since_mono_ns = time.mono_ns - self->options.flush_age_ns_max;
        }
        return;
    }
    if (self->job_kind == BB_JOB_FLUSH) {
        self->frozen_chunks = 0;
        self->is_trim_due = true;
        bb_shard_sync_flushed(self);
    }
    self->trim_next_mono_ns = time.mono_ns;
}

static bool s_is_flush_due(const bb_shard_t *self)
{
    return bb_store_wants_flush(self->store) || bb_shard_sync_is_flush_due(self) ||
           (self->head_since_mono_ns != BB_NEVER_NS &&
            self->time.mono_ns - self->head_since_mono_ns >= self->options.flush_age_ns_max);
}

static bool s_is_sealed(const bb_shard_t *self)
{
    bb_store_stats_t stats;
    bb_store_stats(self->store, &stats);
    return stats.head_points == 0 && stats.frozen_points == 0 && stats.unsaved_markers == 0;
}

// Sealing and merging come first; nobody waits for a step.
static void s_scrub_step(bb_shard_t *self)
{
    if (self->time.mono_ns >= self->scrub_wake_mono_ns &&
        bb_store_scrub_tick(self->store, self->time.mono_ns, self->time.wall_ns,
                            &self->scrub_wake_mono_ns) &&
        !s_job_begin(self, BB_JOB_SCRUB, 0)) {
        self->scrub_wake_mono_ns = self->time.mono_ns + BB_SHARD_RETRY_NS;
    }
}

// Answers of segment sync are short; one after each other job, so that neither waits for long.
static bool s_sync_begin(bb_shard_t *self)
{
    bb_store_job_t *job = NULL;
    if (!bb_shard_sync_begin(self, &job)) {
        return false;
    }
    self->is_sync_next = false;
    self->is_job_out = true;
    self->job_kind = BB_JOB_SYNC;
    self->options.out.job(self->options.out.context, job);
    return true;
}

static void s_jobs(bb_shard_t *self)
{
    if (self->is_job_out || self->time.mono_ns < self->job_retry_mono_ns ||
        bb_store_is_fenced(self->store)) {
        return;
    }
    bool is_settling = self->settle_count > 0;
    if (bb_store_wants_fresh(self->store) && s_job_begin(self, BB_JOB_FRESH, 1)) {
        return;
    }
    if (s_is_flush_due(self) || (is_settling && !s_is_sealed(self))) {
        if (s_job_begin(self, BB_JOB_FLUSH, 1)) {
            return;
        }
    }
    if (self->is_sync_next && s_sync_begin(self)) {
        return;
    }
    self->is_sync_next = true;
    if (is_settling && !self->is_merged) {
        if (s_job_begin(self, BB_JOB_MERGE, 1)) {
            return;
        }
    } else if (!is_settling && bb_store_wants_merge(self->store)) {
        if (s_job_begin(self, BB_JOB_MERGE, BB_SHARD_MERGE_RUNS)) {
            return;
        }
    }
    if (bb_store_wants_retire(self->store)) {
        // What the head holds goes first: it may have points that are about to be too old.
        if ((bb_store_retire_needs_flush(self->store) && s_job_begin(self, BB_JOB_FLUSH, 1)) ||
            s_job_begin(self, BB_JOB_RETIRE, 1)) {
            return;
        }
    }
    if (bb_store_wants_rollup(self->store) && s_job_begin(self, BB_JOB_ROLLUP, 1)) {
        return;
    }
    if (!self->is_job_out && s_sync_begin(self)) {
        return;
    }
    if (!is_settling && !self->is_job_out) {
        s_scrub_step(self);
    }
}

// A clock that peers contradict moves nothing: a floor cannot be taken back.
static void s_clock(bb_shard_t *self)
{
    if (self->time.mono_ns >= self->clock_next_mono_ns && !self->time.is_skewed &&
        !BB_IS_PLANTED(self, BB_PLANTED_STILL_CLOCK)) {
        bb_store_clock(self->store, self->time.wall_ns);
        self->clock_next_mono_ns = self->time.mono_ns + BB_SHARD_CLOCK_INTERVAL_NS;
    }
}

// ---- trim ------------------------------------------------------------------------------------

// bb_store_is_held_fn: whoever evaluates them reads them from a journal.
static bool s_is_watched(void *context, uint32_t partition, const bb_stream_t *stream,
                         uint64_t first_seq, uint64_t last_seq)
{
    const bb_shard_t *self = context;
    return !self->watch || bb_forgotten_has(bb_shard_forgotten(self->forget), stream) ||
           bb_watch_is_done(self->watch, partition, stream, first_seq, last_seq);
}

// bb_store_is_held_fn: the last known have-set of every other replica contains the range. A
// have-set says what is durable there, and a replica that lost its disk is another incarnation.
static bool s_is_held(void *context, uint32_t partition, const bb_stream_t *stream,
                      uint64_t first_seq, uint64_t last_seq)
{
    const bb_shard_t *self = context;
    if (BB_IS_PLANTED(self, BB_PLANTED_TRIM_EARLY)) {
        return true;
    }
    return s_is_watched(context, partition, stream, first_seq, last_seq) &&
           (bb_forgotten_has(bb_shard_forgotten(self->forget), stream) ||
            bb_have_view_is_held(self->view, partition, stream, first_seq, last_seq));
}

static void s_trim(bb_shard_t *self)
{
    uint64_t change_count = bb_have_view_change_count(self->view);
    if (self->time.mono_ns < self->trim_next_mono_ns || bb_store_is_fenced(self->store) ||
        (!self->is_trim_due && change_count == self->trim_change_count)) {
        return;
    }
    bool is_settling = self->settle_count > 0;
    self->trim_next_mono_ns = self->time.mono_ns + (is_settling ? BB_SHARD_SETTLE_INTERVAL_NS
                                                                : BB_SHARD_TRIM_INTERVAL_NS);
    self->trim_change_count = change_count;
    bb_error_t error = bb_store_trim(self->store, s_is_held, self);
    if (error == BB_OK && self->options.journal_budget_bytes > 0) {
        error = bb_store_trim_past(self->store, self->options.journal_budget_bytes, s_is_watched,
                                   self, &self->stats.journal_let_go_bytes);
    }
    self->is_trim_due = error != BB_OK; // what could not be deleted is tried again
}

// ---- settle ----------------------------------------------------------------------------------

void bb_shard_settle(bb_shard_t *self, uint64_t ticket, const bb_message_t *message)
{
    if (self->settle_count == BB_SHARD_SETTLES_MAX) {
        bb_shard_answer_error(self, ticket, message->request_id, message->trace_id, BB_ERR_BUSY,
                              1000, "%u others wait for this already", BB_SHARD_SETTLES_MAX);
        return;
    }
    self->settles[self->settle_count++] = (bb_settle_t){
        .ticket = ticket,
        .request_id = message->request_id,
        .trace_id = message->trace_id,
        .deadline_mono_ns = bb_shard_deadline_mono_ns(self, message),
    };
    // "Merged" and "trimmed" are found out anew.
    self->is_merged = false;
    self->is_trim_due = true;
    self->trim_next_mono_ns = self->time.mono_ns;
    self->settle_next_mono_ns = self->time.mono_ns;
}

// ---- scrub -----------------------------------------------------------------------------------

void bb_shard_scrub(bb_shard_t *self, uint64_t ticket, const bb_message_t *message)
{
    if (message->scrub.start) {
        bb_store_scrub_start(self->store, self->time.mono_ns, self->time.wall_ns,
                             message->scrub.rate_bytes_per_s);
        self->scrub_wake_mono_ns = self->time.mono_ns;
    }
    bb_store_scrub_stats_t stats = bb_store_scrub_stats(self->store, self->time.wall_ns);
    static_assert(BB_MESSAGE_TEXT_BYTES_MAX >= BB_STORE_DAMAGE_TEXT_BYTES, "a line fits");
    char(*texts)[BB_STORE_DAMAGE_TEXT_BYTES] = bb_alloc(BB_DAMAGE_LINES_MAX * sizeof *texts);
    bb_slice_t lines[BB_DAMAGE_LINES_MAX];
    uint32_t line_count = BB_MIN(stats.damage_count, BB_DAMAGE_LINES_MAX);
    for (uint32_t i = 0; i < line_count; i++) {
        lines[i] = bb_slice(texts[i], bb_store_damage_text(self->store, i, texts[i]));
    }
    bb_message_t reply = {
        .kind = BB_KIND_SCRUB_REPLY,
        .epoch = self->epoch,
        .request_id = message->request_id,
        .trace_id = message->trace_id,
        .scrub_reply = {.is_running = stats.scrub.is_pass || stats.suspect_count > 0,
                        .windows_left = stats.scrub.pass_windows_left,
                        .findings = stats.scrub.pass_findings,
                        .bytes_total = stats.scrub.bytes_total,
                        .findings_total = stats.scrub.findings_total,
                        .oldest_age_ns = BB_MAX(stats.scrub.oldest_age_ns, 0),
                        .barred_count = stats.barred_count,
                        .damage_count = stats.damage_count,
                        .damage_line_count = line_count,
                        .damage_lines = lines}};
    bb_shard_answer(self, ticket, &reply, NULL);
    free(texts);
}

static void s_settles(bb_shard_t *self)
{
    if (self->settle_count == 0) {
        return;
    }
    if (self->time.mono_ns >= self->settle_next_mono_ns) {
        self->settle_next_mono_ns = self->time.mono_ns + BB_SHARD_SETTLE_INTERVAL_NS;
    }
    bb_store_stats_t stats;
    bb_store_stats(self->store, &stats);
    bb_settle_reply_t reply = {
        .sealed = stats.head_points == 0 && stats.frozen_points == 0 && stats.unsaved_markers == 0,
        .merged = self->is_merged && !self->is_job_out,
        .trimmed = stats.journal_sealed_files == 0,
    };
    bool is_done = reply.sealed && reply.merged && reply.trimmed;
    bool is_hopeless = bb_store_is_fenced(self->store);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->settle_count; i++) {
        bb_settle_t *settle = &self->settles[i];
        // A little before the deadline, so that the answer is still in time.
        bool is_late = self->time.mono_ns + BB_SHARD_SETTLE_INTERVAL_NS >= settle->deadline_mono_ns;
        if (!is_done && !is_late && !is_hopeless) {
            self->settles[kept++] = *settle;
            continue;
        }
        bb_message_t message = {.kind = BB_KIND_SETTLE_REPLY,
                                .epoch = self->epoch,
                                .request_id = settle->request_id,
                                .trace_id = settle->trace_id,
                                .settle_reply = reply};
        bb_shard_answer(self, settle->ticket, &message, NULL);
    }
    self->settle_count = kept;
}

void bb_shard_maintain(bb_shard_t *self)
{
    s_clock(self);
    if (self->time.mono_ns >= self->suspect_wake_mono_ns) {
        self->suspect_wake_mono_ns =
            bb_store_suspect_tick(self->store, self->time.mono_ns, self->time.wall_ns);
    }
    s_jobs(self);
    s_trim(self);
    s_settles(self);
}

int64_t bb_shard_maintain_wake_mono_ns(const bb_shard_t *self)
{
    int64_t wake_mono_ns = BB_NEVER_NS;
    if (bb_store_is_fenced(self->store)) {
        return self->settle_count > 0 ? self->time.mono_ns : BB_NEVER_NS;
    }
    wake_mono_ns = BB_MIN(wake_mono_ns, self->suspect_wake_mono_ns);
    // While a failed job is to be left alone no other begins (s_jobs), so that nothing is due
    // before: a store on a full disk would turn round and round until then.
    if (!self->is_job_out) {
        if (self->head_since_mono_ns != BB_NEVER_NS) {
            int64_t due = self->head_since_mono_ns + self->options.flush_age_ns_max;
            wake_mono_ns = BB_MIN(wake_mono_ns, BB_MAX(due, self->job_retry_mono_ns));
        }
        if (BB_IS_PLANTED(self, BB_PLANTED_BUSY_WAIT)) {
            wake_mono_ns = BB_MIN(wake_mono_ns, self->scrub_wake_mono_ns);
        } else if (self->settle_count == 0) { // scrubbing waits for that, too
            int64_t due = BB_MAX(self->scrub_wake_mono_ns, self->job_retry_mono_ns);
            wake_mono_ns = BB_MIN(wake_mono_ns, due);
        }
        if (self->job_retry_mono_ns > self->time.mono_ns) {
            wake_mono_ns = BB_MIN(wake_mono_ns, self->job_retry_mono_ns);
        }
    }
    if (bb_store_needs_clock(self->store) && !self->time.is_skewed) {
        wake_mono_ns = BB_MIN(wake_mono_ns, self->clock_next_mono_ns);
    }
    if (self->is_trim_due || bb_have_view_change_count(self->view) != self->trim_change_count) {
        wake_mono_ns = BB_MIN(wake_mono_ns, self->trim_next_mono_ns);
    }
    if (self->settle_count > 0) {
        wake_mono_ns = BB_MIN(wake_mono_ns, self->settle_next_mono_ns);
    }
    return wake_mono_ns;
}
