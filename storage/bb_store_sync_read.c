// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_sync_read.h"

#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_scrub.h"
#include "storage/bb_store_sync_markers.h"
#include "storage/bb_store_sync_results.h"
#include "storage/scan/bb_battery_view.h"
#include "storage/segment/bb_run_merge.h"

// Batteries of one snapshot; the next ask goes on behind them.
#define S_BATTERIES_MAX 4096u
// Merged points of one battery that are sent at once; a day with more is sent in slices of time.
#define S_SLICE_POINTS (256u * 1024u)
// Of one answer: what comes out larger is made again with half the time.
#define S_ANSWER_BYTES_MAX (6u << 20)

struct bb_sync_read {
    bb_sync_ask_t ask;
    bb_sync_found_t found;
    uint8_t key[BB_FINGERPRINT_KEY_BYTES];
    bb_snapshot_t *snapshot;    // NULL: everything was found on the store's thread
    bb_sync_results_t *results; // BB_SYNC_RESULTS
    uint32_t leaf_capacity;
    // While it runs.
    bb_battery_view_t view;
    bb_run_merger_t *merger;
    bb_run_writer_t *writer;
    bb_sync_batches_t *batches;
    bb_fingerprint_name_t *metrics;
    bb_arena_t arena; // of one battery
    bb_run_t *inputs;
    uint32_t input_count, input_capacity;
    bb_run_t *merged;
    uint32_t merged_count, merged_capacity;
    int64_t from_wall_ns; // of the battery at hand
};

// ---- on the store's thread -------------------------------------------------------------------
static bool s_wants(const bb_sync_ask_t *ask, uint64_t battery)
{
    uint32_t bucket = (uint32_t)(battery % BB_SYNC_BUCKETS);
    return ask->buckets[bucket / 8] >> (bucket % 8) & 1;
}

static void s_more(bb_sync_read_t *self, bb_slice_t id, int64_t from_wall_ns)
{
    BB_ASSERT(id.length <= sizeof self->found.battery_next);
    self->found.has_more = true;
    memcpy(self->found.battery_next, id.data, id.length);
    self->found.battery_next_bytes = (uint32_t)id.length;
    self->found.from_next_wall_ns = from_wall_ns;
}

static void s_leaf(bb_sync_read_t *self, uint64_t battery, bb_fingerprint_t sum)
{
    if (self->found.leaf_count == self->leaf_capacity) {
        self->leaf_capacity = self->leaf_capacity ? self->leaf_capacity * 2 : 64;
        self->found.leaves =
            bb_realloc(self->found.leaves, self->leaf_capacity * sizeof *self->found.leaves);
    }
    self->found.leaves[self->found.leaf_count++] = (bb_sync_leaf_t){battery, sum.low, sum.high};
}

static bool s_is_known(const bb_sync_ask_t *ask, uint64_t battery, bb_fingerprint_t sum)
{
    uint32_t first = 0;
    uint32_t limit = ask->leaf_count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (ask->leaves[middle].battery < battery) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first < ask->leaf_count && ask->leaves[first].battery == battery &&
           ask->leaves[first].low == sum.low && ask->leaves[first].high == sum.high;
}

static bb_sync_attributes_t s_copy(bb_slice_t id, bb_slice_t packed)
{
    uint8_t *bytes = bb_alloc(id.length + packed.length);
    memcpy(bytes, id.data, id.length);
    memcpy(bytes + id.length, packed.data, packed.length);
    return (bb_sync_attributes_t){bytes, bb_slice(bytes, id.length),
                                  bb_slice(bytes + id.length, packed.length)};
}

static void s_read_attributes(bb_sync_read_t *self, bb_store_t *store)
{
    bb_dictionary_t *dictionary = store->dictionary;
    bb_sync_found_t *found = &self->found;
    uint32_t count = 0;
    const uint32_t *numbers = bb_dictionary_partition(dictionary, self->ask.partition, &count);
    uint32_t first =
        bb_dictionary_partition_seek(dictionary, self->ask.partition, self->ask.battery_first);
    uint32_t limit = BB_MIN(count, first + BB_SYNC_ATTRIBUTES_MAX);
    uint64_t bytes = 0;
    found->attributes = bb_alloc_zero(limit - first + 1, sizeof *found->attributes);
    bb_sync_markers_t markers = {0};
    for (uint32_t i = first; i < limit; i++) {
        if (bb_sync_markers_is_enough(&markers)) {
            limit = i;
            break;
        }
        if (self->ask.is_fetch && bytes >= self->ask.bytes_max) {
            limit = i; // at least one battery was looked at
            break;
        }
        bb_slice_t id = bb_dictionary_battery_id(dictionary, numbers[i]);
        bb_slice_t packed = bb_dictionary_attributes(dictionary, numbers[i]);
        uint64_t battery = bb_fingerprint_name(self->key, BB_FINGERPRINT_BATTERY, id).a;
        bool is_marked = bb_markers_of(store->markers, numbers[i]).count > 0;
        if ((packed.length == 0 && !is_marked) || !s_wants(&self->ask, battery)) {
            continue;
        }
        bb_fingerprint_name_t hash =
            bb_fingerprint_name(self->key, BB_FINGERPRINT_ATTRIBUTES, packed);
        bb_fingerprint_t sum = {hash.a | 1, hash.b};
        bb_sync_markers_hash(store, self->key, numbers[i], &sum);
        if (!self->ask.is_fetch) {
            s_leaf(self, battery, sum);
        } else if (!s_is_known(&self->ask, battery, sum)) {
            bb_sync_markers_add(&markers, store, numbers[i]);
            if (packed.length > 0) {
                found->attributes[found->attributes_count++] = s_copy(id, packed);
                bytes += id.length + packed.length;
            }
        }
    }
    found->batches = bb_sync_markers_take(&markers, &found->batch_count);
    if (limit < count) {
        s_more(self, bb_dictionary_battery_id(dictionary, numbers[limit]), 0);
    }
}

bool bb_sync_is_damaged(const bb_store_t *store, const bb_store_window_t *window,
                        const bb_window_part_t *part)
{
    if (part->is_damaged || bb_segment_trust(part->segment) == BB_SEGMENT_CONDEMNED) {
        return true;
    }
    uint32_t count = 0;
    const bb_damage_entry_t *entries =
        bb_damage_window(bb_store_scrub_damage(store->scrub), (uint8_t)window->id.kind,
                         window->id.class_id, window->id.day, &count);
    for (uint32_t i = 0; i < count; i++) {
        bool is_there = false;
        for (uint32_t p = 0; p < window->part_count; p++) {
            is_there |= bb_segment_number(window->parts[p].segment) == entries[i].number;
        }
        if (!is_there || entries[i].number == bb_segment_number(part->segment)) {
            return true;
        }
    }
    return false;
}

// Takes what is damaged out of a snapshot of our own. BUSY: something is under examination.
static bb_error_t s_leave_out_damage(bb_store_t *store, bb_snapshot_t *snapshot)
{
    for (uint32_t w = 0; w < snapshot->window_count; w++) {
        bb_snapshot_window_t *window = &snapshot->windows[w];
        uint32_t kept = 0;
        bb_error_t error = BB_OK;
        for (uint32_t p = 0; p < window->part_count; p++) {
            bb_snapshot_part_t part = window->parts[p];
            bool found = false;
            uint32_t at =
                bb_store_windows_find(&store->windows, bb_segment_window(part.segment), &found);
            BB_ASSERT(found);
            const bb_store_window_t *item = &store->windows.items[at];
            if (bb_segment_trust(part.segment) == BB_SEGMENT_SUSPECT) {
                error = BB_ERR_BUSY;
            }
            if (bb_sync_is_damaged(store, item, &item->parts[p]) ||
                bb_sync_is_left_out(store, item, &item->parts[p])) {
                bb_segment_release(&part.segment);
            } else {
                window->parts[kept++] = part;
            }
        }
        window->part_count = kept;
        window->quarantined_count = 0;
        window->is_quarantined = false;
        if (error != BB_OK) {
            return error;
        }
    }
    return BB_OK;
}

// Only windows of the kind that is asked for.
static void s_keep_kind(bb_snapshot_t *snapshot, bool is_quarantine)
{
    uint32_t kept = 0;
    for (uint32_t w = 0; w < snapshot->window_count; w++) {
        bb_snapshot_window_t *window = &snapshot->windows[w];
        if (window->is_quarantine == is_quarantine) {
            snapshot->windows[kept++] = *window;
            continue;
        }
        for (uint32_t p = 0; p < window->part_count; p++) {
            bb_segment_release(&window->parts[p].segment);
        }
    }
    snapshot->window_count = kept;
}

static bb_error_t s_take_snapshot(bb_sync_read_t *self, bb_store_t *store)
{
    const bb_sync_ask_t *ask = &self->ask;
    bool is_quarantine = ask->window.kind == BB_SYNC_QUARANTINE;
    int64_t first_wall_ns = (int64_t)ask->window.day * BB_NS_PER_DAY;
    bb_scan_cursor_t cursor = {
        .is_set = ask->battery_first.length > 0,
        .partition = ask->partition,
        .battery = ask->battery_first,
    };
    uint8_t *encoded = NULL;
    size_t length = 0;
    if (cursor.is_set) {
        bb_scan_cursor_encode(&cursor, &encoded, &length);
    }
    bb_query_t query = {
        .mode = is_quarantine ? BB_QUERY_QUARANTINE : BB_QUERY_RAW,
        .level = BB_LEVEL_ONE,
        .from_wall_ns = first_wall_ns,
        .to_wall_ns = first_wall_ns + BB_NS_PER_DAY,
        .partition_count = 1,
        .partitions = &ask->partition,
        .page_bytes_max = UINT32_MAX,
        .cursor = bb_slice(encoded, length),
    };
    bb_error_t error =
        bb_store_snapshot_take(store, &query, S_BATTERIES_MAX, &self->snapshot, NULL);
    free(encoded);
    if (error != BB_OK) {
        return error;
    }
    s_keep_kind(self->snapshot, is_quarantine);
    return ask->is_own ? s_leave_out_damage(store, self->snapshot) : BB_OK;
}

bb_sync_read_t *bb_sync_read_new(bb_store_t *store, const bb_sync_ask_t *ask)
{
    BB_ASSERT(ask->partition < store->partition_count);
    bb_sync_read_t *self = bb_alloc_zero(1, sizeof *self);
    self->ask = *ask;
    memcpy(self->key, store->fingerprint_key, sizeof self->key);
    if (ask->window.kind == BB_SYNC_RESULTS) {
        self->found.error = bb_sync_results_new(store, ask, &self->results);
    } else if (ask->window.kind == BB_SYNC_ATTRIBUTES) {
        s_read_attributes(self, store);
    } else {
        self->found.error = s_take_snapshot(self, store);
        if (self->found.error != BB_OK) {
            bb_snapshot_close(&self->snapshot);
        }
    }
    self->ask.battery_first = bb_slice(NULL, 0); // was borrowed
    return self;
}

static void s_forget(bb_sync_found_t *found)
{
    for (uint32_t i = 0; i < found->attributes_count; i++) {
        free(found->attributes[i].bytes);
    }
    free(found->attributes);
    free(found->leaves);
    free(found->windows);
    bb_sync_batch_list_free(&found->batches, found->batch_count);
    *found = (bb_sync_found_t){0};
}

void bb_sync_read_destroy(bb_sync_read_t **self_pointer)
{
    bb_sync_read_t *self = *self_pointer;
    if (!self) {
        return;
    }
    bb_snapshot_close(&self->snapshot);
    bb_sync_results_destroy(&self->results);
    s_forget(&self->found);
    free(self);
    *self_pointer = NULL;
}

bb_sync_found_t *bb_sync_read_found(bb_sync_read_t *self)
{
    return &self->found;
}

// ---- runs of one battery ---------------------------------------------------------------------
static void s_add_input(bb_sync_read_t *self, const bb_run_t *run)
{
    if (self->input_count == self->input_capacity) {
        self->input_capacity = self->input_capacity ? self->input_capacity * 2 : 16;
        self->inputs = bb_realloc(self->inputs, self->input_capacity * sizeof *self->inputs);
    }
    self->inputs[self->input_count++] = *run;
    self->found.points += run->point_count;
}

static bb_run_t s_keep_run(bb_sync_read_t *self, bb_slice_t encoded)
{
    bb_run_t run;
    void *bytes = bb_arena_copy(&self->arena, encoded.data, encoded.length);
    bb_error_t error = bb_run_open(&run, bb_slice(bytes, encoded.length), NULL);
    BB_ASSERT(error == BB_OK); // what we just wrote
    return run;
}

// Frames of one shape become rows with each time once: of several the largest value of each metric.
static uint32_t s_dedupe(const bb_view_rows_t *rows, int64_t *times, uint64_t *values)
{
    uint32_t count = 0;
    uint32_t metrics = rows->shape->metric_count;
    for (uint32_t i = 0; i < rows->count; i++) {
        bool is_again = count > 0 && times[count - 1] == rows->times[i];
        count += !is_again;
        times[count - 1] = rows->times[i];
        for (uint32_t m = 0; m < metrics; m++) {
            uint64_t bits = rows->values[(size_t)m * rows->count + i];
            uint64_t *kept = &values[(size_t)m * rows->count + count - 1];
            bb_type_t type = (bb_type_t)rows->shape->types[m];
            if (!is_again ||
                bb_value_compare(0, (bb_value_t){type, bits}, 0, (bb_value_t){type, *kept}) > 0) {
                *kept = bits;
            }
        }
    }
    return count;
}

static void s_add_rows(bb_sync_read_t *self, const bb_view_rows_t *rows)
{
    const bb_head_shape_t *shape = rows->shape;
    int64_t *times = bb_alloc(rows->count * sizeof *times);
    uint64_t *values = bb_alloc((size_t)rows->count * shape->metric_count * sizeof *values);
    bb_run_column_t *columns = bb_alloc_zero(shape->metric_count, sizeof *columns);
    uint32_t count = s_dedupe(rows, times, values);
    for (uint32_t first = 0; first < count; first += BB_RUN_ROWS_MAX) {
        for (uint32_t i = 0; i < shape->metric_count; i++) {
            uint32_t m = shape->order[i];
            columns[i] = (bb_run_column_t){
                .metric = shape->metrics[m],
                .type = (bb_type_t)shape->types[m],
                .values = values + (size_t)m * rows->count + first,
            };
        }
        bb_run_input_t input = {
            .revision = rows->revision,
            .row_count = BB_MIN(count - first, BB_RUN_ROWS_MAX),
            .times_wall_ns = times + first,
            .column_count = shape->metric_count,
            .columns = columns,
        };
        bb_run_t run = s_keep_run(self, bb_run_writer_encode(self->writer, &input));
        s_add_input(self, &run);
    }
    free(times);
    free(values);
    free(columns);
}

static void s_add_merged(bb_sync_read_t *self, const bb_run_t *run)
{
    if (self->merged_count == self->merged_capacity) {
        self->merged_capacity = self->merged_capacity ? self->merged_capacity * 2 : 8;
        self->merged = bb_realloc(self->merged, self->merged_capacity * sizeof *self->merged);
    }
    self->merged[self->merged_count++] = *run;
}

static bb_error_t s_emit(void *context, uint64_t revision, bb_slice_t encoded)
{
    bb_sync_read_t *self = context;
    (void)revision;
    bb_run_t run = s_keep_run(self, encoded);
    s_add_merged(self, &run);
    return BB_OK;
}

// Everything of the battery in the window, as runs with each point once.
static bb_error_t s_merge(bb_sync_read_t *self, const bb_snapshot_battery_t *battery)
{
    bool is_quarantine = self->ask.window.kind == BB_SYNC_QUARANTINE;
    bb_arena_reset(&self->arena);
    self->input_count = self->merged_count = 0;
    bb_battery_view_begin(&self->view, battery, false);
    for (uint32_t w = 0; w < self->snapshot->window_count; w++) {
        bb_battery_view_load(&self->view, w);
    }
    if (self->view.is_damaged) {
        return BB_ERR_CORRUPT;
    }
    for (uint32_t i = 0; i < self->view.run_count; i++) {
        s_add_input(self, &self->view.runs[i].run);
    }
    for (uint32_t i = 0; i < self->view.rows_count; i++) {
        if (self->view.rows[i].is_quarantine == is_quarantine && self->view.rows[i].count > 0) {
            s_add_rows(self, &self->view.rows[i]);
        }
    }
    if (self->input_count <= 1) {
        for (uint32_t i = 0; i < self->input_count; i++) {
            s_add_merged(self, &self->inputs[i]);
        }
        return BB_OK;
    }
    return bb_run_merger_merge(self->merger, self->inputs, self->input_count, s_emit, self, NULL);
}

static bb_error_t s_fingerprint(bb_sync_read_t *self, bb_fingerprint_name_t battery,
                                bb_fingerprint_t *sum)
{
    bb_fingerprint_names_t names = {self->key, battery, self->metrics,
                                    self->snapshot->metric_count};
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < self->merged_count && error == BB_OK; i++) {
        error = bb_fingerprint_add_run(sum, &names, &self->merged[i]);
    }
    return error;
}

// ---- fetching --------------------------------------------------------------------------------
static uint64_t s_merged_points(const bb_sync_read_t *self)
{
    uint64_t points = 0;
    for (uint32_t i = 0; i < self->merged_count; i++) {
        points += self->merged[i].point_count;
    }
    return points;
}

static bb_error_t s_put(bb_sync_read_t *self, bb_slice_t id, int64_t from_wall_ns,
                        int64_t to_wall_ns)
{
    bb_error_t error = BB_OK;
    bb_sync_batches_battery(self->batches, id);
    for (uint32_t i = 0; i < self->merged_count && error == BB_OK; i++) {
        error = bb_sync_batches_add(self->batches, &self->merged[i], self->snapshot->metric_names,
                                    self->snapshot->metric_count, from_wall_ns, to_wall_ns);
    }
    return error;
}

// A day with very many points, in slices of time, each an answer of its own.
static bb_error_t s_put_slice(bb_sync_read_t *self, bb_slice_t id, uint64_t points)
{
    int64_t first_wall_ns = (int64_t)self->ask.window.day * BB_NS_PER_DAY;
    int64_t limit_wall_ns = first_wall_ns + BB_NS_PER_DAY;
    int64_t from_wall_ns = BB_MAX(self->from_wall_ns, first_wall_ns);
    if (bb_sync_batches_points(self->batches) > 0) {
        s_more(self, id, from_wall_ns); // the next answer begins with it
        return BB_OK;
    }
    int64_t slice_ns = BB_NS_PER_DAY / (int64_t)(points / S_SLICE_POINTS + 1);
    for (;;) {
        int64_t to_wall_ns = BB_MIN(limit_wall_ns, from_wall_ns + slice_ns);
        bb_error_t error = s_put(self, id, from_wall_ns, to_wall_ns);
        if (error != BB_OK) {
            return error;
        }
        if (bb_sync_batches_bytes(self->batches) <= S_ANSWER_BYTES_MAX || slice_ns <= 1) {
            if (to_wall_ns < limit_wall_ns) {
                s_more(self, id, to_wall_ns);
            }
            return BB_OK;
        }
        bb_sync_batches_destroy(&self->batches);
        self->batches = bb_sync_batches_new(self->ask.partition);
        slice_ns /= 2;
    }
}

static bb_error_t s_fetch(bb_sync_read_t *self, const bb_snapshot_battery_t *battery,
                          bb_fingerprint_name_t name)
{
    if (self->merged_count == 0) {
        return BB_OK;
    }
    bb_fingerprint_t sum = {0};
    if (self->ask.leaf_count > 0) {
        bb_error_t error = s_fingerprint(self, name, &sum);
        if (error != BB_OK || s_is_known(&self->ask, name.a, sum)) {
            return error;
        }
    }
    uint64_t points = s_merged_points(self);
    return points > S_SLICE_POINTS ? s_put_slice(self, battery->id, points)
                                   : s_put(self, battery->id, self->from_wall_ns, INT64_MAX);
}

// ---- the run ---------------------------------------------------------------------------------
static bb_error_t s_read_battery(bb_sync_read_t *self, const bb_snapshot_battery_t *battery)
{
    bb_fingerprint_name_t name =
        bb_fingerprint_name(self->key, BB_FINGERPRINT_BATTERY, battery->id);
    if (!s_wants(&self->ask, name.a)) {
        return BB_OK;
    }
    bb_error_t error = s_merge(self, battery);
    bb_fingerprint_t sum = {0};
    if (error == BB_OK && self->ask.is_fetch) {
        error = s_fetch(self, battery, name);
    } else if (error == BB_OK) {
        error = s_fingerprint(self, name, &sum);
    }
    if (error == BB_ERR_CORRUPT && self->ask.is_own) {
        return BB_OK; // whatever it has will differ, and is fetched
    }
    if (error == BB_OK && !self->ask.is_fetch && self->merged_count > 0) {
        sum.low += sum.low == 0 && sum.high == 0;
        s_leaf(self, name.a, sum);
    }
    return error;
}

static bb_error_t s_read_all(bb_sync_read_t *self)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    const bb_sync_ask_t *ask = &self->ask;
    self->from_wall_ns = ask->from_wall_ns;
    for (uint32_t i = 0; i < snapshot->battery_count; i++) {
        bb_error_t error = s_read_battery(self, &snapshot->batteries[i]);
        if (error != BB_OK || self->found.has_more) {
            return error;
        }
        self->from_wall_ns = 0; // was of the first only
        bool is_enough = self->found.points >= ask->points_max ||
                         (ask->is_fetch && bb_sync_batches_bytes(self->batches) >= ask->bytes_max);
        if (is_enough && i + 1 < snapshot->battery_count) {
            s_more(self, snapshot->batteries[i + 1].id, 0);
            return BB_OK;
        }
    }
    if (!snapshot->is_complete) {
        s_more(self, snapshot->next_battery, 0);
    }
    return BB_OK;
}

void bb_sync_read_run(bb_sync_read_t *self)
{
    bb_snapshot_t *snapshot = self->snapshot;
    if (self->results) {
        bb_error_t error = bb_sync_results_run(self->results, &self->found);
        bb_sync_results_destroy(&self->results);
        if (error != BB_OK) {
            s_forget(&self->found);
            self->found.error = error;
        }
    }
    if (!snapshot) {
        return;
    }
    int64_t first_wall_ns = (int64_t)self->ask.window.day * BB_NS_PER_DAY;
    bb_battery_view_init(&self->view, snapshot, first_wall_ns, first_wall_ns + BB_NS_PER_DAY,
                         self->ask.window.kind == BB_SYNC_QUARANTINE);
    self->merger = bb_run_merger_new();
    self->writer = bb_run_writer_new();
    self->batches = bb_sync_batches_new(self->ask.partition);
    self->metrics = bb_alloc((snapshot->metric_count + 1) * sizeof *self->metrics);
    for (uint32_t i = 0; i < snapshot->metric_count; i++) {
        self->metrics[i] =
            bb_fingerprint_name(self->key, BB_FINGERPRINT_METRIC, snapshot->metric_names[i]);
    }
    bb_error_t error = s_read_all(self);
    if (error == BB_OK && self->ask.is_fetch) {
        self->found.batches = bb_sync_batches_take(self->batches, &self->found.batch_count);
    } else if (error != BB_OK) {
        s_forget(&self->found);
        self->found.error = error;
    }
    bb_battery_view_free(&self->view);
    bb_run_merger_destroy(&self->merger);
    bb_run_writer_destroy(&self->writer);
    bb_sync_batches_destroy(&self->batches);
    free(self->metrics);
    free(self->inputs);
    free(self->merged);
    bb_arena_free(&self->arena);
    bb_snapshot_close(&self->snapshot);
}

// ---- several ---------------------------------------------------------------------------------
struct bb_sync_reads {
    bb_sync_read_t *reads[BB_SYNC_ASKS_MAX];
    bb_sync_found_t found[BB_SYNC_ASKS_MAX]; // borrowed of the reads
    uint32_t count;
};

bb_sync_reads_t *bb_sync_reads_new(bb_store_t *store, const bb_sync_ask_t *asks, uint32_t count)
{
    bb_sync_reads_t *self = bb_alloc_zero(1, sizeof *self);
    self->count = count;
    for (uint32_t i = 0; i < count; i++) {
        self->reads[i] = bb_sync_read_new(store, &asks[i]);
    }
    return self;
}

void bb_sync_reads_destroy(bb_sync_reads_t **self)
{
    if (*self) {
        for (uint32_t i = 0; i < (*self)->count; i++) {
            bb_sync_read_destroy(&(*self)->reads[i]);
        }
        free(*self);
        *self = NULL;
    }
}

void bb_sync_reads_run(bb_sync_reads_t *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        bb_sync_read_run(self->reads[i]);
    }
}

const bb_sync_found_t *bb_sync_reads_found(bb_sync_reads_t *self, uint32_t *count)
{
    for (uint32_t i = 0; i < self->count; i++) {
        self->found[i] = *bb_sync_read_found(self->reads[i]);
    }
    *count = self->count;
    return self->found;
}
