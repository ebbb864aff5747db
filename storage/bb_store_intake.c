// SPDX-License-Identifier: Apache-2.0
// Intake: what may be taken (check), making it durable (stage, sync), making it visible (apply).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store.h"
#include "storage/bb_store_flush.h"
#include "storage/bb_store_markers.h"
#include "storage/bb_store_private.h"
#include "storage/bb_store_retention.h"
#include "storage/head/bb_hash.h"

// ---- days ------------------------------------------------------------------------------------
// Position of a day in an ascending list, or where it would be put.
static uint32_t s_day_find(const uint32_t *days, uint32_t count, uint32_t day)
{
    uint32_t first = 0;
    uint32_t limit = count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (days[middle] < day) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

static bool s_day_is_in(const uint32_t *days, uint32_t count, uint32_t day)
{
    uint32_t at = s_day_find(days, count, day);
    return at < count && days[at] == day;
}

static void s_day_insert(uint32_t **days, uint32_t *count, uint32_t *capacity, uint32_t day)
{
    uint32_t at = s_day_find(*days, *count, day);
    if (*count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 16;
        *days = bb_realloc(*days, *capacity * sizeof **days);
    }
    memmove(*days + at + 1, *days + at, (*count - at) * sizeof **days);
    (*days)[at] = day;
    ++*count;
}

bool bb_store_day_add(bb_store_t *self, uint32_t day)
{
    if (s_day_is_in(self->days, self->day_count, day)) {
        return false;
    }
    s_day_insert(&self->days, &self->day_count, &self->day_capacity, day);
    return true;
}

static void s_add_days(bb_store_t *self, uint32_t partition, const int64_t *times_wall_ns,
                       uint32_t count)
{
    int64_t first_wall_ns = 0;
    int64_t limit_wall_ns = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (times_wall_ns[i] < first_wall_ns || times_wall_ns[i] >= limit_wall_ns) {
            uint32_t day = bb_day_of(times_wall_ns[i]);
            first_wall_ns = (int64_t)day * BB_NS_PER_DAY;
            limit_wall_ns = first_wall_ns + BB_NS_PER_DAY;
            bb_store_day_add(self, day);
            bb_rollups_touch(self->rollups, day, partition);
        }
    }
}

// ---- check -----------------------------------------------------------------------------------
// A metric that two shapes of one batch give different types is disputed: the first run of a
// battery decides. Rare, but a batch may consist of nothing else, so names and claims are hashed.
typedef struct {
    bb_slice_t name;
    uint32_t bits; // of all types that shapes of the batch give it
} s_name_t;

typedef struct {
    uint64_t key; // battery << 32 | name + 1; 0 = free
    uint32_t type;
} s_claim_t;

typedef struct {
    bb_store_t *store;
    const bb_batch_t *batch;
    bb_store_reject_fn reject;
    void *context;
    uint32_t **metrics; // per shape: numbers, BB_NUMBER_NONE = not known yet; NULL = not resolved
    // Disputes: only when the batch has several shapes.
    s_name_t *names; // open addressing
    uint32_t name_slots;
    bool is_disputed;  // some name has more than one bit
    s_claim_t *claims; // open addressing
    uint32_t claim_count, claim_slots;
    uint32_t *days; // new with this batch
    uint32_t day_count, day_capacity;
    uint32_t *batteries; // numbers, BB_NUMBER_NONE = not known yet
    // The last pair that was found to be in order.
    uint32_t good_type_set, good_shape;
    bool has_old;                          // some frame is below a floor
    bool is_refused[BB_FRAME_METRICS_MAX]; // metrics of the run at hand
    uint64_t rejected_points;
} s_check_t;

static uint32_t s_name_slot(const s_check_t *self, bb_slice_t name)
{
    uint32_t mask = self->name_slots - 1;
    uint32_t slot = (uint32_t)bb_hash_bytes(0, name.data, name.length) & mask;
    while (self->names[slot].bits != 0 &&
           bb_dictionary_compare(self->names[slot].name, name) != 0) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

static void s_find_disputes(s_check_t *self)
{
    const bb_batch_t *batch = self->batch;
    if (batch->shape_count < 2) {
        return;
    }
    uint32_t total = 0;
    for (uint32_t s = 0; s < batch->shape_count; s++) {
        total += batch->shapes[s].metric_count;
    }
    self->name_slots = 64;
    while (self->name_slots < total * 2) {
        self->name_slots *= 2;
    }
    self->names = bb_alloc_zero(self->name_slots, sizeof *self->names);
    for (uint32_t s = 0; s < batch->shape_count; s++) {
        const bb_batch_shape_t *shape = &batch->shapes[s];
        for (uint32_t m = 0; m < shape->metric_count; m++) {
            s_name_t *name = &self->names[s_name_slot(self, shape->names[m])];
            name->name = shape->names[m];
            name->bits |= 1u << (shape->types[m] - 1);
            self->is_disputed |= (name->bits & (name->bits - 1)) != 0;
        }
    }
}

static s_claim_t *s_claim_slot(const s_check_t *self, uint64_t key)
{
    uint32_t mask = self->claim_slots - 1;
    uint32_t slot = (uint32_t)bb_hash_mix(key, 0) & mask;
    while (self->claims[slot].key != 0 && self->claims[slot].key != key) {
        slot = (slot + 1) & mask;
    }
    return &self->claims[slot];
}

static void s_grow_claims(s_check_t *self)
{
    s_claim_t *old = self->claims;
    uint32_t old_slots = self->claim_slots;
    self->claim_slots = old_slots ? old_slots * 2 : 64;
    self->claims = bb_alloc_zero(self->claim_slots, sizeof *self->claims);
    for (uint32_t i = 0; i < old_slots; i++) {
        if (old[i].key != 0) {
            *s_claim_slot(self, old[i].key) = old[i];
        }
    }
    free(old);
}

// The type that an earlier run of this batch gave a disputed metric of the battery; this one's, if
// it is the first or nothing is disputed.
static uint32_t s_claimed_type(s_check_t *self, uint32_t battery, bb_slice_t metric, uint32_t type)
{
    if (!self->is_disputed) {
        return type;
    }
    uint32_t name = s_name_slot(self, metric);
    if ((self->names[name].bits & (self->names[name].bits - 1)) == 0) {
        return type;
    }
    if (self->claim_count >= self->claim_slots / 2) {
        s_grow_claims(self);
    }
    uint64_t key = (uint64_t)battery << 32 | (name + 1);
    s_claim_t *claim = s_claim_slot(self, key);
    if (claim->key == 0) {
        *claim = (s_claim_t){key, type};
        self->claim_count++;
    }
    return claim->type;
}

static const uint32_t *s_check_metrics(s_check_t *self, uint32_t shape_index)
{
    if (!self->metrics[shape_index]) {
        const bb_batch_shape_t *shape = &self->batch->shapes[shape_index];
        uint32_t *numbers = bb_alloc(shape->metric_count * sizeof *numbers);
        for (uint32_t m = 0; m < shape->metric_count; m++) {
            numbers[m] = bb_dictionary_metric_find(self->store->dictionary, shape->names[m]);
        }
        self->metrics[shape_index] = numbers;
    }
    return self->metrics[shape_index];
}

static void s_name_types(uint32_t bits, char *out, size_t room)
{
    size_t length = 0;
    out[0] = '\0';
    for (uint32_t type = 1; type <= BB_TYPE_LAST; type++) {
        if (bits >> (type - 1) & 1 && length < room) {
            length += (size_t)snprintf(out + length, room - length, "%s%s", length ? " and " : "",
                                       bb_type_name((bb_type_t)type));
        }
    }
}

static void s_reject_type(s_check_t *self, const bb_batch_cursor_t *at, uint32_t metric,
                          uint32_t known_bits, const char *since)
{
    const bb_batch_shape_t *shape = &self->batch->shapes[at->run->shape];
    bb_slice_t id = self->batch->batteries[at->run->battery].id;
    char known[64];
    char detail[512];
    self->is_refused[metric] = true;
    s_name_types(known_bits, known, sizeof known);
    snprintf(detail, sizeof detail, "metric '%.*s' of battery '%.*s' is %s %s; %s refused",
             (int)shape->names[metric].length, (const char *)shape->names[metric].data,
             (int)id.length, (const char *)id.data, known, since,
             bb_type_name((bb_type_t)shape->types[metric]));
    self->reject(self->context, at, UINT32_MAX, metric, BB_ERR_TYPE_CHANGED, detail);
}

// How many metrics of the run were refused.
static uint32_t s_check_types(s_check_t *self, const bb_batch_cursor_t *at)
{
    const bb_batch_t *batch = self->batch;
    const bb_batch_shape_t *shape = &batch->shapes[at->run->shape];
    bb_dictionary_t *dictionary = self->store->dictionary;
    uint32_t battery = self->batteries[at->run->battery];
    uint32_t type_set =
        battery == BB_NUMBER_NONE ? BB_TYPE_SET_EMPTY : bb_dictionary_type_set(dictionary, battery);
    if (!self->is_disputed &&
        (type_set == BB_TYPE_SET_EMPTY ||
         (type_set == self->good_type_set && at->run->shape == self->good_shape))) {
        return 0;
    }
    const uint32_t *metrics = s_check_metrics(self, at->run->shape);
    uint32_t refused = 0;
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        uint32_t bits = metrics[m] == BB_NUMBER_NONE
                            ? 0
                            : bb_dictionary_type_bits(dictionary, type_set, metrics[m]);
        if (bits != 0) {
            if ((bits >> (shape->types[m] - 1) & 1) == 0) {
                s_reject_type(self, at, m, bits, "since before");
                refused++;
            }
            continue;
        }
        uint32_t claimed = s_claimed_type(self, at->run->battery, shape->names[m], shape->types[m]);
        if (claimed != shape->types[m]) {
            s_reject_type(self, at, m, 1u << (claimed - 1), "earlier in this batch");
            refused++;
        }
    }
    if (refused == 0) {
        self->good_type_set = type_set;
        self->good_shape = at->run->shape;
    }
    return refused;
}

static bool s_day_is_allowed(s_check_t *self, uint32_t day)
{
    if (s_day_is_in(self->store->days, self->store->day_count, day) ||
        s_day_is_in(self->days, self->day_count, day)) {
        return true;
    }
    if (self->store->day_count + self->day_count >= BB_WINDOWS_MAX) {
        return false;
    }
    s_day_insert(&self->days, &self->day_count, &self->day_capacity, day);
    return true;
}

// What of the run was deleted before it came, beside those of metrics that are refused. True: the
// frame is gone.
static bool s_check_deleted(s_check_t *self, const bb_batch_cursor_t *at, uint32_t frame,
                            uint32_t *refused)
{
    bool is_gone = false;
    *refused +=
        bb_store_check_deleted(self->store, self->batch, at, self->batteries[at->run->battery],
                               frame, self->is_refused, self->reject, self->context, &is_gone);
    return is_gone;
}

// How many points of the run were refused, beside those of `type_count` metrics.
static uint64_t s_check_days(s_check_t *self, const bb_batch_cursor_t *at, uint32_t type_count)
{
    uint32_t left = self->batch->shapes[at->run->shape].metric_count - type_count;
    int64_t first_wall_ns = 0;
    int64_t limit_wall_ns = 0;
    bool allowed = true;
    bool is_deleted =
        bb_store_run_is_deleted(self->store, self->batch, at, self->batteries[at->run->battery]);
    uint64_t refused = 0;
    for (uint32_t f = 0; f < at->run->frame_count; f++) {
        int64_t time = self->batch->times_wall_ns[at->frame_first + f];
        uint32_t old = 0;
        if (self->has_old && time < bb_retention_intake_floor_max(self->store->retention)) {
            bool is_gone = false;
            old = bb_store_check_floor(self->store, self->batch, at, at->frame_first + f,
                                       self->is_refused, self->reject, self->context, &is_gone);
            refused += old;
            if (is_gone) {
                continue;
            }
        }
        if (is_deleted && old == 0) { // of a frame that is partly too old the rest is not named
            bool is_gone = s_check_deleted(self, at, at->frame_first + f, &old);
            refused += old;
            if (is_gone) {
                continue;
            }
        }
        if (time < first_wall_ns || time >= limit_wall_ns) {
            first_wall_ns = (int64_t)bb_day_of(time) * BB_NS_PER_DAY;
            limit_wall_ns = first_wall_ns + BB_NS_PER_DAY;
            allowed = s_day_is_allowed(self, bb_day_of(time));
        }
        if (!allowed) {
            char detail[128];
            snprintf(detail, sizeof detail, "this store has points of %u days already",
                     self->store->day_count + self->day_count);
            self->reject(self->context, at, at->frame_first + f, UINT32_MAX, BB_ERR_WINDOWS,
                         detail);
            refused += left - old;
        }
    }
    return refused;
}

uint64_t bb_store_check(bb_store_t *self, const bb_batch_t *batch, bb_store_reject_fn reject,
                        void *context)
{
    if (batch->generation != 0) {
        return bb_store_check_markers(self, batch, reject, context);
    }
    s_check_t check = {
        .store = self,
        .batch = batch,
        .reject = reject,
        .context = context,
        .metrics = bb_alloc_zero(batch->shape_count, sizeof(uint32_t *)),
        .batteries = bb_alloc((batch->battery_count + 1) * sizeof(uint32_t)),
        .good_type_set = UINT32_MAX,
        .good_shape = UINT32_MAX,
        .has_old = bb_store_has_old(self, batch),
    };
    bb_dictionary_find_all(self->dictionary, batch->batteries, batch->battery_count,
                           check.batteries);
    s_find_disputes(&check);
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        if (check.has_old || !bb_markers_is_empty(self->markers) || batch->revision != 0) {
            memset(check.is_refused, 0, batch->shapes[at.run->shape].metric_count);
        }
        uint32_t metrics = s_check_types(&check, &at);
        check.rejected_points +=
            (uint64_t)metrics * at.run->frame_count + s_check_days(&check, &at, metrics);
    }
    for (uint32_t s = 0; s < batch->shape_count; s++) {
        free(check.metrics[s]);
    }
    free(check.metrics);
    free(check.batteries);
    free(check.names);
    free(check.claims);
    free(check.days);
    return check.rejected_points;
}

// ---- stage and sync --------------------------------------------------------------------------
bb_error_t bb_store_stage(bb_store_t *self, const bb_chunks_t *chunks, bb_slice_t chunks_encoded,
                          const bb_batch_t *batch)
{
    if (self->is_fenced) {
        return BB_ERR_FENCED;
    }
    BB_KILLPOINT(self->vfs, WRITE_BEFORE_JOURNAL);
    bb_error_t error = bb_journal_append(self->journal, chunks, chunks_encoded, batch);
    self->staged_count += error == BB_OK;
    self->waiting_count += error == BB_OK;
    self->is_fenced |= bb_journal_is_fenced(self->journal);
    return error;
}

bb_error_t bb_store_sync(bb_store_t *self)
{
    if (self->is_fenced) {
        return BB_ERR_FENCED;
    }
    bb_error_t error = bb_journal_sync(self->journal);
    if (error != BB_OK) {
        // The staged records are gone, those of earlier syncs are not; only a full disk leaves the
        // journal usable.
        self->waiting_count -= BB_MIN(self->waiting_count, self->staged_count);
        self->is_fenced = bb_journal_is_fenced(self->journal);
    }
    self->staged_count = 0;
    return error;
}

// ---- apply -----------------------------------------------------------------------------------
void bb_store_scratch_free(bb_store_scratch_t *self)
{
    free(self->keep);
    free(self->batteries);
    free(self->shapes);
    free(self->texts);
    *self = (bb_store_scratch_t){0};
}

static void s_scratch_prepare(bb_store_scratch_t *self, const bb_batch_t *batch)
{
    if (batch->part_count > self->keep_capacity) {
        self->keep_capacity = batch->part_count * 2;
        self->keep = bb_realloc(self->keep, self->keep_capacity * sizeof *self->keep);
    }
    if (batch->battery_count > self->battery_capacity) {
        self->battery_capacity = batch->battery_count * 2;
        self->batteries =
            bb_realloc(self->batteries, self->battery_capacity * sizeof *self->batteries);
    }
    if (batch->shape_count > self->shape_capacity) {
        self->shape_capacity = batch->shape_count * 2;
        self->shapes = bb_realloc(self->shapes, self->shape_capacity * sizeof *self->shapes);
    }
    memset(self->shapes, 0, batch->shape_count * sizeof *self->shapes);
    if (batch->state_count > self->text_capacity) {
        self->text_capacity = batch->state_count * 2;
        self->texts = bb_realloc(self->texts, self->text_capacity * sizeof *self->texts);
    }
}

typedef struct {
    bb_store_t *store;
    const bb_chunks_t *chunks;
    const bb_batch_t *batch;
    bool has_texts;
    uint32_t quarantined_index; // first verdict that is not behind the current run
} s_apply_t;

// Which parts are new; their dots enter the have-sets.
static bb_error_t s_apply_dots(bb_store_t *self, const bb_chunks_t *chunks, const bb_batch_t *batch)
{
    bb_error_t result = BB_OK;
    bool has_dots = !bb_stream_is_none(&chunks->stream);
    if (has_dots) {
        bb_store_stream_applied(self, &chunks->stream);
    }
    for (uint32_t i = 0; i < batch->part_count; i++) {
        uint32_t partition = batch->parts[i].partition;
        BB_ASSERT(partition < self->partition_count);
        if (!has_dots) {
            self->scratch.keep[i] = true; // merging is idempotent
            continue;
        }
        bool added = false;
        uint32_t stream_count = self->have[partition].stream_count;
        bb_error_t error =
            bb_have_set_add(&self->have[partition], &chunks->stream, bb_chunks_seq(chunks, i),
                            bb_chunks_seq(chunks, i), &added);
        if (error != BB_OK) {
            result = error;
        }
        self->scratch.keep[i] = error == BB_OK && added;
        if (self->scratch.keep[i]) {
            self->have_versions[partition] = self->version;
        }
        if (self->have[partition].stream_count > stream_count) {
            bb_store_stream_seen(self, &chunks->stream);
        }
    }
    return result;
}

static void s_apply_texts(s_apply_t *self)
{
    if (!self->has_texts) {
        for (uint32_t i = 0; i < self->batch->state_count; i++) {
            self->store->scratch.texts[i] =
                (uint64_t)(uintptr_t)bb_head_text(self->store->active, self->batch->states[i]);
        }
        self->has_texts = true;
    }
}

// The block of the batch's frames of that shape; made when the first of them is new here.
static const bb_store_shape_t *s_apply_shape(s_apply_t *self, uint32_t shape_index)
{
    bb_store_t *store = self->store;
    bb_store_shape_t *known = &store->scratch.shapes[shape_index];
    if (known->block) {
        return known;
    }
    const bb_batch_shape_t *shape = &self->batch->shapes[shape_index];
    uint32_t metrics[BB_FRAME_METRICS_MAX];
    BB_ASSERT(shape->metric_count <= BB_FRAME_METRICS_MAX);
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        metrics[m] = bb_dictionary_metric(store->dictionary, shape->names[m]);
    }
    const uint64_t *texts = NULL;
    if (shape->has_states) {
        s_apply_texts(self);
        texts = store->scratch.texts;
    }
    known->block = bb_head_block(
        store->active, bb_head_shape(store->active, metrics, shape->types, shape->metric_count),
        shape->frame_count, shape->columns, texts, self->batch->state_count, &known->times_wall_ns);
    return known;
}

static void s_merge_attributes(bb_store_t *store, uint32_t number,
                               const bb_batch_battery_t *battery, int64_t origin_wall_ns)
{
    bool is_watched = bb_rollups_watch_batteries(store->rollups);
    bb_slice_t packed =
        is_watched ? bb_dictionary_attributes(store->dictionary, number) : bb_slice(NULL, 0);
    uint64_t before = bb_hash_bytes(0, packed.data, packed.length);
    bb_dictionary_attributes_merge(store->dictionary, number, battery->attributes,
                                   battery->attribute_count, origin_wall_ns);
    bb_retention_battery_changed(store->retention, number);
    if (is_watched) {
        packed = bb_dictionary_attributes(store->dictionary, number);
        if (bb_hash_bytes(0, packed.data, packed.length) != before) {
            bb_rollups_touch_all_days(store,
                                      bb_dictionary_battery_partition(store->dictionary, number));
        }
    }
}

static uint32_t s_apply_battery(s_apply_t *self, const bb_batch_cursor_t *at)
{
    bb_store_t *store = self->store;
    uint32_t *number = &store->scratch.batteries[at->run->battery];
    const bb_batch_battery_t *battery = &self->batch->batteries[at->run->battery];
    if (*number == BB_NUMBER_NONE) {
        *number = bb_dictionary_battery(store->dictionary, battery->id, at->part->partition);
    }
    if (BB_UNLIKELY(bb_revision_generation(self->batch->revision) != 0)) {
        bb_markers_know(&store->markers, *number, bb_revision_generation(self->batch->revision));
    }
    if (battery->attribute_count > 0) {
        s_merge_attributes(store, *number, battery, self->chunks->origin_wall_ns);
    }
    return *number;
}

// Frames [first, first + count) of the run, all of one verdict.
static void s_apply_frames(s_apply_t *self, const bb_batch_cursor_t *at,
                           const bb_head_block_t *block, uint32_t battery, uint32_t first,
                           uint32_t count, bool is_quarantined)
{
    bb_store_t *store = self->store;
    const bb_head_shape_t *shape = block->shape;
    uint32_t partition = bb_dictionary_battery_partition(store->dictionary, battery);
    bb_head_group_t *group = bb_head_group(store->active, battery, partition, shape,
                                           self->batch->revision, is_quarantined);
    bb_head_append(store->active, group, block, at->shape_first + first, count);
    s_add_days(store, partition, self->batch->times_wall_ns + at->frame_first + first, count);
    if (!is_quarantined) {
        store->newest_wall_ns = BB_MAX(store->newest_wall_ns, group->rows.last_wall_ns);
        store->type_conflicts +=
            bb_dictionary_types_add(store->dictionary, battery, shape->serial, shape->metrics,
                                    shape->types, shape->metric_count);
    }
}

static void s_apply_run(s_apply_t *self, const bb_batch_cursor_t *at)
{
    const bb_chunks_t *chunks = self->chunks;
    const bb_store_shape_t *shape = s_apply_shape(self, at->run->shape);
    uint32_t battery = s_apply_battery(self, at);
    uint32_t done = 0;
    uint32_t frame_count = at->run->frame_count;
    memcpy(shape->times_wall_ns + at->shape_first, self->batch->times_wall_ns + at->frame_first,
           frame_count * sizeof *shape->times_wall_ns);
    while (done < frame_count) {
        // The next frame under quarantine in this run, and how many follow it without a gap.
        uint32_t next = frame_count;
        if (self->quarantined_index < chunks->quarantined_count) {
            next =
                BB_MIN(frame_count, chunks->quarantined[self->quarantined_index] - at->frame_first);
        }
        if (next > done) {
            s_apply_frames(self, at, shape->block, battery, done, next - done, false);
            done = next;
        }
        while (next < frame_count && self->quarantined_index < chunks->quarantined_count &&
               chunks->quarantined[self->quarantined_index] == at->frame_first + next) {
            next++;
            self->quarantined_index++;
        }
        if (next > done) {
            s_apply_frames(self, at, shape->block, battery, done, next - done, true);
            done = next;
        }
    }
}

// What a run will touch is fetched while those before it are applied: with a million batteries
// nearly every run would wait for memory three times.
static void s_prefetch(const s_apply_t *self, uint32_t run_index)
{
    const bb_batch_t *batch = self->batch;
    const bb_store_t *store = self->store;
    for (uint32_t stage = 0; stage < BB_HEAD_PREFETCH_STAGES; stage++) {
        uint32_t run = run_index + 4 * (BB_HEAD_PREFETCH_STAGES - stage);
        if (run < batch->run_count) {
            bb_head_prefetch(store->active, store->scratch.batteries[batch->runs[run].battery],
                             stage);
        }
    }
}

// Frames of the parts in scratch.keep.
static void s_apply_parts(bb_store_t *self, const bb_chunks_t *chunks, const bb_batch_t *batch)
{
    bb_dictionary_find_all(self->dictionary, batch->batteries, batch->battery_count,
                           self->scratch.batteries);
    s_apply_t apply = {.store = self, .chunks = chunks, .batch = batch};
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        s_prefetch(&apply, at.run_index);
        while (apply.quarantined_index < chunks->quarantined_count &&
               chunks->quarantined[apply.quarantined_index] < at.frame_first) {
            apply.quarantined_index++;
        }
        if (self->scratch.keep[at.part_index]) {
            s_apply_run(&apply, &at);
        }
    }
}

// Attributes count even where all frames of a battery are too old.
static void s_apply_attributes(bb_store_t *self, const bb_chunks_t *chunks, const bb_batch_t *batch)
{
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        const bb_batch_battery_t *battery = &batch->batteries[at.run->battery];
        if (self->scratch.keep[at.part_index] && battery->attribute_count > 0) {
            s_merge_attributes(
                self, bb_dictionary_battery(self->dictionary, battery->id, at.part->partition),
                battery, chunks->origin_wall_ns);
        }
    }
}

// A replica refuses nothing: what its floors have passed by is left out here. Journals of peers
// may bring such points at any time; they are never seen, and no window is made for them.
static void s_apply_clipped(bb_store_t *self, const bb_chunks_t *chunks, const bb_batch_t *batch)
{
    s_apply_attributes(self, chunks, batch);
    bb_store_clipped_t clipped;
    bb_error_t error = bb_store_clip(self, chunks, batch, self->scratch.keep, &clipped);
    if (error == BB_ERR_NOT_FOUND) {
        return;
    }
    if (error != BB_OK) {
        s_apply_parts(self, chunks, batch); // a flush leaves out whole windows
        return;
    }
    bb_chunks_t header = *chunks;
    header.quarantined = clipped.quarantined;
    header.quarantined_count = clipped.quarantined_count;
    s_scratch_prepare(&self->scratch, &clipped.batch);
    memset(self->scratch.keep, 1, clipped.batch.part_count);
    s_apply_parts(self, &header, &clipped.batch);
    bb_store_clipped_free(&clipped);
}

bb_error_t bb_store_apply(bb_store_t *self, const bb_chunks_t *chunks, const bb_batch_t *batch)
{
    BB_ASSERT(chunks->part_count == batch->part_count);
    self->waiting_count -= self->waiting_count > 0;
    self->version++;
    s_scratch_prepare(&self->scratch, batch);
    bb_error_t result = s_apply_dots(self, chunks, batch);
    if (BB_UNLIKELY(batch->generation != 0)) {
        bb_store_apply_markers(self, batch);
    } else if (bb_store_has_old(self, batch)) {
        s_apply_clipped(self, chunks, batch);
    } else {
        s_apply_parts(self, chunks, batch);
    }
    return result;
}
