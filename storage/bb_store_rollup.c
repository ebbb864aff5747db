// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_rollup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_rollup_private.h"

// ---- the map ---------------------------------------------------------------------------------
static bool s_load_definition(void *context, uint32_t id, bb_slice_t definition)
{
    bb_rollups_t *self = context;
    self->definitions[id].bytes = bb_alloc(definition.length + 1);
    memcpy(self->definitions[id].bytes, definition.data, definition.length);
    self->definitions[id].length = definition.length;
    return true;
}

static bool s_count_mark(void *context, uint32_t day, uint32_t partition)
{
    bb_rollups_t *self = context;
    (void)partition;
    self->stale_count++;
    self->mark_day_first = BB_MIN(self->mark_day_first, day);
    return true;
}

// Counts marks anew. Called when a job or a flush has changed them.
static void s_count(bb_rollups_t *self)
{
    bb_kv_txn_t *txn = NULL;
    self->stale_count = 0;
    self->mark_day_first = UINT32_MAX;
    if (!self->env || self->kv->begin(self->env, false, &txn) != BB_OK) {
        return;
    }
    for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX; id++) {
        if (self->definitions[id].bytes) {
            bb_error_t error =
                bb_rollup_map_marks(self->kv, txn, id, 0, UINT32_MAX, s_count_mark, self);
            bb_ignore(error, "a count for people; whoever needs a mark reads it again");
        }
    }
    self->kv->abort(&txn);
}

// A mark that does not verify may have been of any day and any rollup: all of them are stale then.
// Without such a mark nothing is written.
static bb_error_t s_check_marks(bb_store_t *store)
{
    bb_rollups_t *self = store->rollups;
    bb_kv_txn_t *txn = NULL;
    uint32_t removed_count = 0;
    bb_error_t error = self->kv->begin(self->env, true, &txn);
    if (error == BB_OK) {
        error = bb_rollup_map_check(self->kv, txn, &removed_count);
    }
    for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX && error == BB_OK && removed_count > 0; id++) {
        for (uint32_t i = 0; self->definitions[id].bytes && i < store->day_count && error == BB_OK;
             i++) {
            error = bb_rollup_map_mark(self->kv, txn, id, store->days[i], BB_ROLLUP_ALL_PARTITIONS);
        }
    }
    if (error == BB_OK && removed_count > 0) {
        error = bb_rollup_map_put_gaps(self->kv, txn, true); // it may have been a record
    }
    if (error == BB_OK) {
        bool has_gaps = false;
        error = bb_rollup_map_has_gaps(self->kv, txn, &has_gaps);
        self->gaps += error == BB_OK && has_gaps;
    }
    if (error == BB_OK && removed_count > 0) {
        error = self->kv->commit(&txn);
    }
    self->kv->abort(&txn);
    return error;
}

static void s_path(const bb_rollups_t *self, char out[BB_WINDOW_PATH_BYTES])
{
    snprintf(out, BB_WINDOW_PATH_BYTES, "%s/rollups", self->directory);
}

static void s_map_close(bb_rollups_t *self)
{
    if (self->env) {
        self->kv->close(&self->env);
    }
    for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX; id++) {
        free(self->definitions[id].bytes);
        self->definitions[id].bytes = NULL;
    }
}

// All of it, or nothing: a map of which only a part is known would be written to as another one.
static bb_error_t s_map_open(bb_store_t *store, bb_fault_t *fault)
{
    bb_rollups_t *self = store->rollups;
    char path[BB_WINDOW_PATH_BYTES];
    s_path(self, path);
    bb_error_t error = self->vfs->make_directory(self->vfs, path);
    if (error == BB_OK) {
        error = self->vfs->sync_directory(self->vfs, self->directory);
    }
    if (error == BB_OK) {
        self->env_map_bytes = self->map_bytes;
        error = self->kv->open(self->kv, path, self->map_bytes, true, &self->env, fault);
    }
    bb_kv_txn_t *txn = NULL;
    if (error == BB_OK) {
        error = self->kv->begin(self->env, false, &txn);
    }
    if (error == BB_OK) {
        error = bb_rollup_map_definitions(self->kv, txn, s_load_definition, self);
        for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX && error == BB_OK; id++) {
            error = bb_rollup_map_floor(self->kv, txn, id, &self->floor_days[id]);
            self->expired_days[id] = self->floor_days[id];
        }
        if (error == BB_OK) {
            error = bb_rollup_map_passed(self->kv, txn, &self->passed_day);
        }
        self->kv->abort(&txn);
    }
    if (error == BB_OK) {
        error = s_check_marks(store);
    }
    if (error != BB_OK) {
        s_map_close(self);
    }
    if (error == BB_ERR_CORRUPT) {
        return bb_fault_set(fault, error,
                            "%s/data.mdb: what the results are of does not verify. Put the folder "
                            "back from a copy; or remove it, and what points say is computed again",
                            path);
    }
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: cannot be opened: %s", path,
                            bb_error_message(error));
    }
    s_count(self);
    return BB_OK;
}

// There is one map for all results of a store, as there is one meta.
#define S_GROWTH_MAX 64u // times map_bytes

void bb_rollups_refused(bb_rollups_t *self)
{
    self->is_refused = self->env != NULL;
}

void bb_rollups_grow(bb_rollups_t *self)
{
    if (!self->env || atomic_load(&self->view_count) > 0) {
        return;
    }
    size_t wanted = self->is_refused ? 2 * self->env_map_bytes : self->env_map_bytes;
    while (self->kv->file_bytes(self->env) > wanted / 2) {
        wanted *= 2;
    }
    if (wanted > self->env_map_bytes && wanted / S_GROWTH_MAX <= self->map_bytes &&
        self->kv->grow(self->env, wanted) == BB_OK) {
        self->env_map_bytes = wanted;
    }
    self->is_refused = false;
}

static void s_ignore_name(void *context, const char *name, bool is_directory)
{
    (void)context;
    (void)name;
    (void)is_directory;
}

bb_error_t bb_rollups_open(bb_store_t *store, bb_rollups_t **rollups, bb_fault_t *fault)
{
    bb_rollups_t *self = bb_alloc_zero(1, sizeof *self);
    self->vfs = store->vfs;
    self->kv = store->kv;
    self->directory = store->directory;
    self->map_bytes = store->map_bytes;
    self->head.partition_count = store->partition_count;
    self->frozen.partition_count = store->partition_count;
    self->mark_day_first = UINT32_MAX;
    memset(self->ids, 0xff, sizeof self->ids);
    *rollups = self;
    char path[BB_WINDOW_PATH_BYTES];
    s_path(self, path);
    if (store->vfs->list(store->vfs, path, s_ignore_name, NULL) != BB_OK) {
        return BB_OK; // there never was a rollup
    }
    return s_map_open(store, fault);
}

void bb_rollups_close(bb_rollups_t **rollups)
{
    bb_rollups_t *self = *rollups;
    *rollups = NULL;
    if (!self) {
        return;
    }
    s_map_close(self);
    bb_day_marks_free(&self->head);
    bb_day_marks_free(&self->frozen);
    bb_rollups_taken_clear(self);
    free(self);
}

// Nothing was marked while there was no map: all that may be in the head is.
static void s_touch_everything(bb_store_t *store)
{
    bool is_empty = bb_head_points(store->active) == 0 && !store->frozen;
    for (uint32_t i = 0; i < store->day_count && !is_empty && store->rollups->env; i++) {
        bb_day_marks_add_day(&store->rollups->head, store->days[i]);
    }
}

// Finds the stored rollup that computes the same, for each of the policy's.
void bb_rollups_policy_changed(bb_store_t *store)
{
    bb_rollups_t *self = store->rollups;
    const bb_policy_t *policy = bb_retention_policy(store->retention);
    uint32_t count = bb_policy_rollup_count(policy);
    if (count > 0 && !self->env) {
        bb_error_t error = s_map_open(store, NULL);
        bb_ignore(error, "answers are computed from points until there is one");
        s_touch_everything(store);
    }
    bool is_kept[BB_ROLLUP_IDS_MAX] = {false};
    memset(self->ids, 0xff, sizeof self->ids);
    self->is_reconcile_due = false;
    self->watches_batteries = false;
    for (uint32_t i = 0; i < count; i++) {
        self->watches_batteries |=
            bb_selector_names_batteries(&bb_policy_rollup(policy, i)->selector);
    }
    for (uint32_t i = 0; i < count && self->env; i++) {
        uint8_t bytes[BB_ROLLUP_DEFINITION_BYTES];
        size_t length = bb_rollup_definition(bb_policy_rollup(policy, i), bytes);
        for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX && self->ids[i] == BB_ROLLUP_ID_NONE; id++) {
            if (self->definitions[id].bytes && self->definitions[id].length == length &&
                memcmp(self->definitions[id].bytes, bytes, length) == 0) {
                self->ids[i] = id;
                is_kept[id] = true;
            }
        }
        self->is_reconcile_due |= self->ids[i] == BB_ROLLUP_ID_NONE;
    }
    for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX; id++) {
        self->is_reconcile_due |= self->definitions[id].bytes && !is_kept[id];
    }
    self->is_due = true;
    self->slice.is_open = false;
}

// ---- marks -----------------------------------------------------------------------------------
void bb_rollups_touch(bb_rollups_t *self, uint32_t day, uint32_t partition)
{
    if (self->env) {
        bb_day_marks_add(&self->head, day, partition);
    }
}

void bb_rollups_touch_all_days(bb_store_t *store, uint32_t partition)
{
    bb_rollups_t *self = store->rollups;
    for (uint32_t i = 0; i < store->day_count && self->env; i++) {
        bb_day_marks_add(&self->head, store->days[i], partition);
    }
}

void bb_rollups_add_days(bb_store_t *store)
{
    const bb_day_marks_t *marks[2] = {&store->rollups->head, &store->rollups->frozen};
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < marks[k]->count; i++) {
            bb_store_day_add(store, marks[k]->days[i].day);
        }
    }
}

bool bb_rollups_watch_batteries(const bb_rollups_t *self)
{
    return self->env && self->watches_batteries;
}

void bb_rollups_freeze(bb_rollups_t *self)
{
    bb_day_marks_merge(&self->frozen, &self->head);
    bb_day_marks_free(&self->head);
    bb_rollups_taken_freeze(self);
}

bb_error_t bb_rollups_mark_frozen(bb_rollups_t *self, bool *must_fence, bb_fault_t *fault)
{
    if (!self->env || self->frozen.count == 0) {
        return BB_OK;
    }
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->env, true, &txn);
    for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX && error == BB_OK; id++) {
        if (!self->definitions[id].bytes) {
            continue;
        }
        for (uint32_t i = 0; i < self->frozen.count && error == BB_OK; i++) {
            uint32_t day = self->frozen.days[i].day;
            for (uint32_t p = 0; p < self->frozen.partition_count && error == BB_OK; p++) {
                if (self->frozen.days[i].bits[p / 64] >> p % 64 & 1) {
                    error = bb_rollup_map_mark(self->kv, txn, id, day, p);
                }
            }
        }
    }
    if (error == BB_OK) {
        error = bb_store_commit(self->kv, &txn, must_fence);
    }
    self->kv->abort(&txn);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s/rollups: marks cannot be written: %s",
                            self->directory, bb_error_message(error));
    }
    return BB_OK;
}

void bb_rollups_thaw(bb_rollups_t *self)
{
    if (self->slice.is_open &&
        bb_day_marks_has(&self->frozen, self->slice.day, self->slice.partition)) {
        self->slice.is_open = false; // batteries that were done may have new points: begin again
    }
    bb_day_marks_free(&self->frozen);
    bb_rollups_taken_thaw(self);
    s_count(self);
    self->is_due = self->env != NULL;
}

uint64_t bb_rollups_damaged_count(const bb_rollups_t *self)
{
    return self->damaged_count;
}

uint64_t bb_rollups_stale_count(const bb_rollups_t *self)
{
    return self->stale_count;
}

// ---- what to do next -------------------------------------------------------------------------
// Number of the first rollup with records of days before *day, which it does not keep;
// BB_ROLLUP_ID_NONE = none.
// Answers leave them out already.
static uint32_t s_find_expired(const bb_store_t *store, uint32_t *day)
{
    const bb_rollups_t *self = store->rollups;
    const bb_policy_t *policy = bb_retention_policy(store->retention);
    for (uint32_t i = 0; i < bb_policy_rollup_count(policy); i++) {
        int64_t keep_ns = bb_policy_rollup(policy, i)->keep_ns;
        *day = bb_day_of(bb_retention_floor(0, keep_ns, self->now_wall_ns));
        if (self->ids[i] != BB_ROLLUP_ID_NONE && *day > self->expired_days[self->ids[i]]) {
            return self->ids[i];
        }
    }
    return BB_ROLLUP_ID_NONE;
}

void bb_rollups_step(bb_store_t *store, int64_t now_wall_ns)
{
    bb_rollups_t *self = store->rollups;
    uint32_t day;
    self->now_wall_ns = BB_MAX(self->now_wall_ns, now_wall_ns);
    if (!self->env) {
        bb_rollups_policy_changed(store); // the error may have passed
    }
    // A clock that went back must not put it off for ever.
    int64_t age_ns = self->now_wall_ns - self->checked_wall_ns;
    self->is_check_due |= age_ns >= BB_ROLLUP_CHECK_NS || age_ns < 0;
    self->is_due = self->env && (self->is_reconcile_due || self->is_check_due ||
                                 (self->stale_count > 0 && !self->is_held) ||
                                 s_find_expired(store, &day) != BB_ROLLUP_ID_NONE);
}

bool bb_rollups_want_job(const bb_rollups_t *self)
{
    return self->env && self->is_due;
}

bool bb_rollups_wait_for(const bb_store_t *store, uint32_t day_limit)
{
    const bb_rollups_t *self = store->rollups;
    if (!self->env) { // a map that gave an error: there is nowhere to put them
        return bb_policy_rollup_count(bb_retention_policy(store->retention)) > 0;
    }
    return !self->is_damaged && bb_rollups_lack(self, day_limit);
}

bool bb_rollups_lack(const bb_rollups_t *self, uint32_t day_limit)
{
    return self->env && (self->is_reconcile_due || self->mark_day_first < day_limit);
}

bb_error_t bb_rollups_write_gaps(bb_rollups_t *self, bool gaps, bool *must_fence)
{
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->env, true, &txn);
    if (error == BB_OK) {
        error = bb_rollup_map_put_gaps(self->kv, txn, gaps);
    }
    if (error == BB_OK) {
        error = bb_store_commit(self->kv, &txn, must_fence);
    }
    self->kv->abort(&txn);
    return error;
}

// A day is computed when it has ended an hour ago and nothing of it is on its way, or when it is
// about to go.
static bool s_is_ripe(const bb_store_t *store, uint32_t day, uint32_t partition)
{
    const bb_rollups_t *self = store->rollups;
    bool is_moving = partition == BB_ROLLUP_ALL_PARTITIONS
                         ? bb_day_marks_has_day(&self->head, day)
                         : bb_day_marks_has(&self->head, day, partition);
    int64_t start_wall_ns = (int64_t)day * BB_NS_PER_DAY;
    bool is_going = start_wall_ns < bb_retention_intake_floor_max(store->retention);
    bool is_over = start_wall_ns + BB_NS_PER_DAY + BB_ROLLUP_GRACE_NS <= self->now_wall_ns;
    return is_going || (is_over && !is_moving);
}

typedef struct {
    bb_store_t *store;
    bb_rollup_job_t *job;
    uint32_t battery_max;
    uint32_t partition_capacity, battery_capacity;
} s_find_t;

static void s_add_partition(bb_rollup_job_t *job, uint32_t *capacity, uint32_t partition)
{
    if (job->partition_count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 64;
        job->partitions = bb_realloc(job->partitions, *capacity * sizeof *job->partitions);
    }
    job->partitions[job->partition_count++] = partition;
}

static bool s_is_taken(const bb_store_t *store, const bb_rollup_t *rollup, uint32_t battery)
{
    return !bb_selector_names_batteries(&rollup->selector) ||
           bb_rollup_takes_battery(store->dictionary, rollup, battery);
}

// Batteries of a partition from the slice's place on; false: it did not fit, or there is no room.
static bool s_add_batteries(s_find_t *self, uint32_t partition)
{
    bb_store_t *store = self->store;
    bb_rollup_job_t *job = self->job;
    bb_rollup_slice_t *slice = &store->rollups->slice;
    uint32_t count = 0;
    const uint32_t *numbers = bb_dictionary_partition(store->dictionary, partition, &count);
    uint32_t first = 0;
    if (slice->is_open && slice->id == job->id && slice->day == job->day &&
        slice->partition == partition) {
        first = bb_dictionary_partition_seek(store->dictionary, partition,
                                             bb_slice(slice->battery, slice->battery_length));
    }
    if (job->battery_count > 0 && job->battery_count + (count - first) > self->battery_max) {
        return false;
    }
    s_add_partition(job, &self->partition_capacity, partition);
    for (uint32_t i = first; i < count; i++) {
        bb_slice_t id = bb_dictionary_battery_id(store->dictionary, numbers[i]);
        if (job->battery_count == self->battery_max) {
            job->next = *slice;
            job->next.is_open = true;
            job->next.id = job->id;
            job->next.day = job->day;
            job->next.partition = partition;
            memcpy(job->next.battery, id.data, id.length);
            job->next.battery_length = id.length;
            return false;
        }
        if (!s_is_taken(store, job->rollup, numbers[i])) {
            continue;
        }
        if (job->battery_count == self->battery_capacity) {
            self->battery_capacity = self->battery_capacity ? self->battery_capacity * 2 : 256;
            job->batteries =
                bb_realloc(job->batteries, self->battery_capacity * sizeof *job->batteries);
        }
        job->batteries[job->battery_count++] = id;
    }
    return true;
}

// The first ripe mark, and those of the same day that follow it while there is room.
static bool s_find_mark(void *context, uint32_t day, uint32_t partition)
{
    s_find_t *self = context;
    bb_rollup_job_t *job = self->job;
    bool is_found = job->kind != BB_ROLLUP_NOTHING;
    if (is_found && (job->kind == BB_ROLLUP_EXPAND || day != job->day ||
                     partition == BB_ROLLUP_ALL_PARTITIONS)) {
        return false;
    }
    if (!s_is_ripe(self->store, day, partition)) {
        return true;
    }
    job->day = day;
    if (partition == BB_ROLLUP_ALL_PARTITIONS) {
        job->kind = BB_ROLLUP_EXPAND;
        return false;
    }
    job->kind = BB_ROLLUP_COMPUTE;
    return s_add_batteries(self, partition);
}

// How many batteries fit into one job: about 500,000 pieces.
static uint32_t s_battery_max(const bb_rollup_t *rollup, uint32_t metric_count)
{
    uint64_t pieces =
        rollup->every == BB_EVERY_FIXED ? (uint64_t)(BB_NS_PER_DAY / rollup->every_ns) : 2;
    uint64_t count = BB_ROLLUP_JOB_PIECES / (pieces * BB_MAX(metric_count, 1));
    return (uint32_t)BB_MIN(BB_MAX(count, 1), 4096);
}

static void s_take_metrics(bb_store_t *store, bb_rollup_job_t *job)
{
    uint32_t count = bb_dictionary_metric_count(store->dictionary);
    job->metrics = bb_alloc((count + 1) * sizeof *job->metrics);
    for (uint32_t i = 0; i < count; i++) {
        bb_slice_t name = bb_dictionary_metric_name(store->dictionary, i);
        if (bb_selector_takes_metric(&job->rollup->selector, name)) {
            job->metrics[job->metric_count++] = name;
        }
    }
}

static bb_error_t s_find_work(bb_store_t *store, bb_rollup_job_t *job)
{
    bb_rollups_t *self = store->rollups;
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->env, false, &txn);
    uint32_t count = bb_policy_rollup_count(job->policy);
    for (uint32_t i = 0; i < count && error == BB_OK && job->kind == BB_ROLLUP_NOTHING; i++) {
        if (self->ids[i] == BB_ROLLUP_ID_NONE) {
            continue;
        }
        job->rollup = bb_policy_rollup(job->policy, i);
        job->calendar = bb_policy_rollup_calendar(job->policy, i);
        job->id = self->ids[i];
        job->metric_count = 0;
        free(job->metrics);
        s_take_metrics(store, job);
        s_find_t find = {.store = store,
                         .job = job,
                         .battery_max = s_battery_max(job->rollup, job->metric_count)};
        error = bb_rollup_map_marks(self->kv, txn, job->id, 0, UINT32_MAX, s_find_mark, &find);
    }
    self->kv->abort(&txn);
    return error;
}

static void s_take_days(const bb_store_t *store, bb_rollup_job_t *job)
{
    job->days = bb_alloc((store->day_count + 1) * sizeof *job->days);
    for (uint32_t i = 0; i < store->day_count; i++) {
        job->days[job->day_count++] = store->days[i]; // there may be none at all
    }
}

// New definitions get free numbers; those that nobody names any more are dropped.
static void s_reconcile(bb_store_t *store, bb_rollup_job_t *job)
{
    bb_rollups_t *self = store->rollups;
    job->kind = BB_ROLLUP_RECONCILE;
    bool is_kept[BB_ROLLUP_IDS_MAX] = {false};
    for (uint32_t i = 0; i < bb_policy_rollup_count(job->policy); i++) {
        if (self->ids[i] != BB_ROLLUP_ID_NONE) {
            is_kept[self->ids[i]] = true;
        }
    }
    for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX; id++) {
        job->is_dropped[id] = self->definitions[id].bytes && !is_kept[id];
    }
    uint32_t free_id = 0;
    for (uint32_t i = 0; i < bb_policy_rollup_count(job->policy); i++) {
        if (self->ids[i] != BB_ROLLUP_ID_NONE) {
            continue;
        }
        while (self->definitions[free_id].bytes) {
            free_id++;
            BB_ASSERT(free_id < BB_ROLLUP_IDS_MAX); // twice as many as rollups can be
        }
        job->new_ids[job->new_count] = free_id++;
        job->new_indexes[job->new_count++] = i;
    }
    s_take_days(store, job);
}

bb_rollup_job_t *bb_rollup_job_new(bb_store_t *store)
{
    bb_rollups_t *self = store->rollups;
    if (!self->env) {
        return NULL;
    }
    bb_rollup_job_t *job = bb_alloc_zero(1, sizeof *job);
    job->rollups = self;
    job->policy = bb_policy_retain(bb_retention_policy(store->retention));
    bb_error_t error = BB_OK;
    uint32_t expired =
        self->is_reconcile_due ? BB_ROLLUP_ID_NONE : s_find_expired(store, &job->day);
    if (self->is_reconcile_due) {
        s_reconcile(store, job);
    } else if (expired != BB_ROLLUP_ID_NONE) {
        job->kind = BB_ROLLUP_EXPIRE;
        job->id = expired;
        self->floor_days[expired] = job->day; // not answered while it goes, whatever is kept later
    } else if (!self->is_held) {
        error = s_find_work(store, job);
    }
    if (error == BB_OK && job->kind == BB_ROLLUP_NOTHING && self->is_check_due) {
        job->kind = BB_ROLLUP_CHECK;
        job->place = self->check_place;
        s_take_days(store, job);
    }
    if (error == BB_OK && job->kind == BB_ROLLUP_EXPAND) {
        uint32_t capacity = 0;
        for (uint32_t p = 0; p < store->partition_count; p++) {
            uint32_t count = 0;
            (void)bb_dictionary_partition(store->dictionary, p, &count);
            if (count > 0) {
                s_add_partition(job, &capacity, p);
            }
        }
    }
    if (error == BB_OK && job->kind == BB_ROLLUP_COMPUTE && job->battery_count > 0 &&
        job->metric_count > 0) {
        job->query = (bb_query_t){
            .mode = BB_QUERY_AGGREGATE,
            .level = BB_LEVEL_ONE,
            .from_wall_ns = (int64_t)job->day * BB_NS_PER_DAY,
            .to_wall_ns = (int64_t)(job->day + 1) * BB_NS_PER_DAY,
            .aggregates = BB_AGGREGATE_ALL,
            .partition_count = job->partition_count,
            .partitions = job->partitions,
            .battery_count = job->battery_count,
            .batteries = job->batteries,
            .metric_count = job->metric_count,
            .metrics = job->metrics,
        };
        error = bb_store_snapshot(store, &job->query, &job->snapshot, NULL);
        job->has_points = job->day >= bb_rollups_points_day(store);
    }
    self->is_due = false; // until a step, a flush or the end of this job says otherwise
    if (error != BB_OK || job->kind == BB_ROLLUP_NOTHING) {
        bb_rollup_job_destroy(&job);
    }
    return job;
}

void bb_rollup_job_destroy(bb_rollup_job_t **self)
{
    bb_rollup_job_t *job = *self;
    *self = NULL;
    if (job) {
        bb_snapshot_close(&job->snapshot);
        bb_policy_release(&job->policy);
        free(job->partitions);
        free(job->batteries);
        free(job->metrics);
        free(job->days);
        free(job);
    }
}

void bb_rollup_job_publish(bb_rollup_job_t *job, bb_store_t *store, bb_error_t error)
{
    bb_rollups_t *self = store->rollups;
    // Days whose points cannot be read are not waited for. One that could not be opened this time
    // may be readable at the next step, so retention must not take it before; if the disk goes on
    // giving errors, scrubbing names the window, and from then on it counts as damaged.
    self->is_damaged = job->is_damaged && !job->is_unread;
    if (error == BB_OK) {
        self->damaged_count += job->removed_count;
        self->gaps += job->removed_count;
    }
    if (error != BB_OK || job->is_damaged) {
        self->slice.is_open = false;
        s_count(self);
        return; // tried again at the next step
    }
    if (job->kind == BB_ROLLUP_RECONCILE) {
        for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX; id++) {
            if (job->is_dropped[id]) {
                free(self->definitions[id].bytes);
                self->definitions[id].bytes = NULL;
                bb_rollups_taken_forget(self, id);
                self->floor_days[id] = self->expired_days[id] = 0;
            }
        }
        for (uint32_t i = 0; i < job->new_count; i++) {
            uint8_t bytes[BB_ROLLUP_DEFINITION_BYTES];
            size_t length =
                bb_rollup_definition(bb_policy_rollup(job->policy, job->new_indexes[i]), bytes);
            s_load_definition(self, job->new_ids[i], bb_slice(bytes, length));
        }
        bb_rollups_policy_changed(store); // the policy may be another one by now
    }
    if (job->kind == BB_ROLLUP_CHECK) {
        self->check_place = job->place;
        self->is_check_due = job->place.length > 0;
        self->checked_wall_ns = self->now_wall_ns;
        s_count(self);
        self->is_due = true;
        return; // the slice stays where it is
    }
    if (job->kind == BB_ROLLUP_EXPIRE) {
        self->expired_days[job->id] = job->day;
        s_count(self);
        self->is_due = true;
        return; // the slice stays where it is
    }
    self->slice = job->next;
    s_count(self);
    self->is_due = true;
}
