// SPDX-License-Identifier: Apache-2.0
#include "storage/inspect/bb_verify_store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_meta.h"
#include "storage/scrub/bb_window_check.h"

#define S_WHERE_BYTES BB_VERIFY_TEXT_BYTES

// ---- segments --------------------------------------------------------------------------------
typedef struct {
    const bb_verify_store_t *store;
    bb_window_id_t window;
    uint64_t number;
    bb_segment_info_t info;
} s_segment_t;

typedef struct {
    const bb_verify_options_t *options;
    bb_verify_totals_t *totals;
    const char *where;
} s_sink_t;

static void s_found(void *context, uint32_t partition, uint32_t battery, bb_damage_reason_t reason,
                    const char *text)
{
    const s_sink_t *sink = context;
    if (battery == BB_DAMAGE_BATTERY_ALL) {
        bb_verify_found(sink->options, sink->totals, sink->where, "%s: %s",
                        bb_damage_reason_name(reason), text);
    } else {
        bb_verify_found(sink->options, sink->totals, sink->where,
                        "%s: partition %u, battery %u: %s", bb_damage_reason_name(reason),
                        partition, battery, text);
    }
}

static void s_count(const s_sink_t *sink, const char *name, uint64_t found, uint64_t wanted)
{
    if (found != wanted) {
        bb_verify_found(sink->options, sink->totals, sink->where,
                        "count: %" PRIu64 " %s, and meta says %" PRIu64, found, name, wanted);
    }
}

// info NULL: it is not known what the segment should hold.
static bb_error_t s_check_env(const s_sink_t *sink, bb_kv_env_t *env, const bb_segment_info_t *info)
{
    bb_kv_driver_t *kv = sink->options->kv;
    bb_segment_part_t part = {.env = env};
    if (info) {
        part.info = *info;
    }
    bb_segment_cursor_t *cursor = NULL;
    bb_error_t error = bb_segment_cursor_open(kv, &part, 1, &cursor);
    if (error != BB_OK) {
        return error;
    }
    bb_window_check_t check = {cursor, UINT64_MAX / 2, s_found, NULL, (void *)(uintptr_t)sink};
    bb_window_check_at_t at = {0};
    bb_window_check_totals_t totals = {0};
    while (!bb_window_check_step(&check, &at, &totals)) {
    }
    bb_segment_cursor_close(&cursor);
    sink->totals->window_run_count += totals.run_count;
    sink->totals->window_point_count += totals.point_count;
    sink->totals->window_bytes += totals.run_bytes;
    if (info) {
        s_count(sink, "runs", totals.run_count, info->run_count);
        s_count(sink, "batteries", totals.battery_count, info->battery_count);
        if (totals.finding_count == 0) { // a run that cannot be opened counts as none
            s_count(sink, "points", totals.point_count, info->point_count);
        }
    }
    return BB_OK;
}

static bb_error_t s_segment_work(const bb_verify_options_t *options, void *argument,
                                 bb_verify_totals_t *totals, bb_fault_t *fault)
{
    const s_segment_t *self = argument;
    bb_segment_pool_t *pool = bb_segment_pool_new(options->vfs, options->kv, self->store->store,
                                                  self->store->map_bytes, BB_SEGMENTS_OPEN_MAX);
    bb_segment_t *segment = bb_segment_new(pool, self->window, self->number);
    char path[BB_WINDOW_PATH_BYTES];
    char where[S_WHERE_BYTES];
    bb_segment_path(segment, path);
    snprintf(where, sizeof where, "%s%s", self->store->below,
             path + strlen(self->store->store) + 1);
    s_sink_t sink = {options, totals, where};
    bb_kv_env_t *env = NULL;
    bb_error_t error = bb_segment_env_acquire(segment, false, &env, fault);
    totals->window_count++;
    if (error == BB_OK) {
        error = s_check_env(&sink, env, &self->info);
        bb_segment_env_release(segment);
    }
    if (error == BB_ERR_NOT_FOUND) {
        bb_verify_found(options, totals, where, "missing: the folder or its map is not there");
    } else if (error != BB_OK) {
        bb_verify_found(options, totals, where, "unreadable: %s",
                        fault->text[0] ? fault->text : bb_error_message(error));
    }
    bb_segment_release(&segment);
    bb_segment_pool_destroy(&pool);
    return BB_OK;
}

// ---- meta ------------------------------------------------------------------------------------
typedef struct {
    const bb_verify_options_t *options; // of the work; where findings go
    const bb_verify_store_t *store;
    bb_verify_totals_t *totals;
    bb_dictionary_t *dictionary;
    s_segment_t *segments;
    uint32_t segment_count, segment_capacity;
    bool has_seal, is_damaged;
} s_meta_t;

static void s_meta_found(s_meta_t *self, const char *what)
{
    char where[S_WHERE_BYTES];
    snprintf(where, sizeof where, "%smeta", self->store->below);
    bb_verify_found(self->options, self->totals, where, "%s", what);
}

static bb_error_t s_seal(void *context, const bb_meta_seal_t *seal, bb_fault_t *fault)
{
    (void)seal;
    (void)fault;
    ((s_meta_t *)context)->has_seal = true;
    return BB_OK;
}

static bb_error_t s_have(void *context, uint32_t partition, bb_slice_t encoded, bb_fault_t *fault)
{
    s_meta_t *self = context;
    char text[96];
    bb_have_set_t set = {0};
    (void)fault;
    uint8_t *copy = bb_alloc(encoded.length + 1); // the value may lie at any even address
    memcpy(copy, encoded.data, encoded.length);
    if (bb_have_set_decode(&set, copy, encoded.length) != BB_OK) {
        snprintf(text, sizeof text, "the have-set of partition %u does not verify", partition);
        s_meta_found(self, text);
    } else if (self->store->partition_count > 0 && partition >= self->store->partition_count) {
        snprintf(text, sizeof text, "a have-set of partition %u", partition);
        s_meta_found(self, text);
    }
    bb_have_set_clear(&set);
    free(copy);
    return BB_OK;
}

static bb_error_t s_name(void *context, bool is_metric, uint32_t number, bb_slice_t record,
                         bb_fault_t *fault)
{
    s_meta_t *self = context;
    self->totals->battery_count += !is_metric;
    self->totals->metric_count += is_metric;
    return self->is_damaged
               ? BB_OK
               : bb_dictionary_load(self->dictionary, is_metric, number, record, fault);
}

static bb_error_t s_window(void *context, bb_window_id_t id, const bb_meta_window_t *window,
                           const bb_meta_part_t *parts, bb_fault_t *fault)
{
    s_meta_t *self = context;
    (void)fault;
    for (uint32_t i = 0; i < window->part_count; i++) {
        if (self->segment_count == self->segment_capacity) {
            self->segment_capacity = BB_MAX(16u, self->segment_capacity * 2);
            self->segments =
                bb_realloc(self->segments, self->segment_capacity * sizeof *self->segments);
        }
        self->segments[self->segment_count++] =
            (s_segment_t){self->store, id, parts[i].number, parts[i].info};
    }
    return BB_OK;
}

// All of them are findings. Names behind one that is damaged are only counted: they are not valid
// without it.
static bb_error_t s_meta_damaged(void *context, bool is_needed, const char *what, bb_fault_t *fault)
{
    (void)fault;
    ((s_meta_t *)context)->is_damaged |= is_needed;
    s_meta_found(context, what);
    return BB_OK;
}

static bb_error_t s_meta_work(const bb_verify_options_t *options, void *argument,
                              bb_verify_totals_t *totals, bb_fault_t *fault)
{
    s_meta_t *self = argument;
    bb_kv_driver_t *kv = options->kv;
    bb_kv_env_t *env = NULL;
    bb_kv_txn_t *txn = NULL;
    char path[BB_WINDOW_PATH_BYTES];
    self->options = options; // behind a guard, those that lead out of it
    self->totals = totals;
    snprintf(path, sizeof path, "%s/meta", self->store->store);
    bb_error_t error = kv->open(kv, path, self->store->map_bytes, false, &env, fault);
    if (error == BB_OK) {
        error = kv->begin(env, false, &txn);
    }
    if (error == BB_OK) {
        self->dictionary = bb_dictionary_new(1, BB_PARTITIONS_MAX);
        const bb_meta_visitor_t visitor = {.context = self,
                                           .seal = s_seal,
                                           .have = s_have,
                                           .name = s_name,
                                           .window = s_window,
                                           .damaged = s_meta_damaged};
        error = bb_meta_read(kv, txn, &visitor, fault);
        bb_dictionary_destroy(&self->dictionary);
    }
    if (error == BB_ERR_FORMAT) {
        goto out;
    }
    if (error != BB_OK) {
        s_meta_found(self, fault->text[0] ? fault->text : bb_error_message(error));
        error = BB_OK;
    } else if (!self->has_seal && !self->is_damaged) {
        s_meta_found(self, "there is no record of what is sealed");
    }
out:
    kv->abort(&txn);
    if (env) {
        kv->close(&env);
    }
    return error;
}

static bb_error_t s_guarded(const bb_verify_options_t *options, bb_verify_work_fn work,
                            void *argument, bb_verify_totals_t *totals, bb_fault_t *fault,
                            bool *is_crashed)
{
    bb_error_t error = options->guard ? options->guard(options, work, argument, totals, fault)
                                      : work(options, argument, totals, fault);
    *is_crashed = error == BB_ERR_INTERNAL;
    return *is_crashed ? BB_OK : error;
}

// The list of segments has to come back from the meta map, so behind a guard it is read twice:
// there first, and only if that did no harm once more here.
bb_error_t bb_verify_store_maps(const bb_verify_options_t *options, const bb_verify_store_t *store,
                                bb_verify_totals_t *totals, bb_fault_t *fault)
{
    s_meta_t meta = {.options = options, .store = store};
    bool is_crashed;
    bb_error_t error = s_guarded(options, s_meta_work, &meta, totals, fault, &is_crashed);
    if (error == BB_OK && options->guard && !is_crashed) {
        bb_verify_options_t silent = *options;
        bb_verify_totals_t again = {0};
        silent.on_finding = NULL;
        meta = (s_meta_t){.options = &silent, .store = store};
        error = s_meta_work(&silent, &meta, &again, fault);
    }
    for (uint32_t i = 0; error == BB_OK && i < meta.segment_count; i++) {
        error = s_guarded(options, s_segment_work, &meta.segments[i], totals, fault, &is_crashed);
    }
    free(meta.segments);
    return error;
}

bb_error_t bb_verify_window_folder(const bb_verify_options_t *options, bb_verify_totals_t *totals,
                                   bb_fault_t *fault)
{
    bb_kv_driver_t *kv = options->kv;
    bb_kv_env_t *env = NULL;
    s_sink_t sink = {options, totals, options->directory};
    totals->window_count++;
    bb_error_t error = kv->open(kv, options->directory, (size_t)64 << 30, false, &env, fault);
    if (error == BB_OK) {
        error = s_check_env(&sink, env, NULL);
        kv->close(&env);
    }
    return error;
}
