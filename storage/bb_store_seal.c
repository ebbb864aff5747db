// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_seal.h"

#include <stdlib.h>

#include "storage/bb_store_draft.h"
#include "storage/bb_store_fingerprint.h"
#include "storage/bb_store_markers.h"
#include "storage/segment/bb_run_group.h"
#include "storage/segment/bb_run_reader.h"

struct bb_seal {
    // What a job needs of the store; none of it changes while the store is open, but `windows`,
    // which changes only in _publish and in the end of a merge, so never while a job runs.
    bb_kv_driver_t *kv;
    bb_kv_env_t *meta;
    bb_segment_pool_t *pool;
    const bb_store_windows_t *windows;
    const uint8_t *fingerprint_key;

    uint32_t newest_day; // that has points
    uint64_t sealed_through;
    uint64_t version;       // of the have-sets in `record`
    bb_have_set_t *adopted; // per partition, NULL = none: dots that enter the have-sets with it
    uint32_t partition_count;
    bb_meta_batch_t names;
    bool names_are_written;
    bb_meta_batch_t record;       // have-sets, markers and sealed_through
    bb_meta_batch_t voided;       // fingerprints of windows that those markers reach into
    bb_meta_batch_t fingerprints; // of windows that are complete
    bb_store_windows_t fresh;     // windows that are complete, with their new segments alone
    bb_store_written_t written;
    bool is_done;

    // The window being written.
    bool is_begun;
    bb_store_draft_t draft;
    bb_run_group_t *group;
    uint32_t group_bits;
    bb_fingerprinter_t *fingerprinter; // NULL: the window will have no fingerprints
};

// ---- on the store's thread -------------------------------------------------------------------
// A set that is too fragmented for all dots takes some: to adopt less is never wrong.
static void s_unite(bb_have_set_t *have, const bb_have_set_t *dots)
{
    bb_error_t error = bb_have_set_union(have, dots);
    BB_ASSERT(error == BB_OK || error == BB_ERR_LIMIT);
}

// `dots` becomes what the have-set will be.
static void s_adopt(bb_have_set_t *dots, const bb_have_set_t *have)
{
    bb_have_set_t whole = {0};
    bb_have_set_copy(&whole, have);
    s_unite(&whole, dots);
    bb_have_set_clear(dots);
    *dots = whole;
}

bb_seal_t *bb_seal_new(bb_store_t *store, uint64_t sealed_through)
{
    bb_seal_t *self = bb_alloc_zero(1, sizeof *self);
    self->kv = store->kv;
    self->meta = store->meta;
    self->pool = store->pool;
    self->windows = &store->windows;
    self->fingerprint_key = store->fingerprint_key;
    self->newest_day = bb_day_of(BB_MAX(store->newest_wall_ns, 0));
    self->group_bits = bb_run_group_bits(store->partition_count);
    self->sealed_through = sealed_through;
    self->version = store->version;
    bb_dictionary_drain(store->dictionary, bb_meta_batch_name, &self->names);
    bb_meta_batch_newest(&self->names, store->newest_wall_ns);
    if (bb_retention_is_changed(store->retention)) {
        // Numbers of classes are durable before the first folder that carries one.
        bb_meta_batch_classes(&self->names, store->retention, NULL);
        bb_retention_records_saved(store->retention);
    }
    self->adopted = store->adopting;
    self->partition_count = store->partition_count;
    store->adopting = NULL;
    for (uint32_t p = 0; p < store->partition_count; p++) {
        if (self->adopted && self->adopted[p].stream_count > 0) {
            s_adopt(&self->adopted[p], &store->have[p]);
            bb_meta_batch_have(&self->record, p, &self->adopted[p]);
        } else if (store->have_versions[p] > store->have_saved_version) {
            bb_meta_batch_have(&self->record, p, &store->have[p]);
        }
    }
    bb_meta_batch_seal(&self->record, sealed_through);
    bb_store_markers_seal(store, &self->record, &self->voided);
    return self;
}

void bb_seal_destroy(bb_seal_t **self)
{
    bb_seal_t *seal = *self;
    if (!seal) {
        return;
    }
    BB_ASSERT(!seal->is_begun); // ended
    bb_meta_batch_free(&seal->names);
    bb_meta_batch_free(&seal->record);
    bb_meta_batch_free(&seal->voided);
    bb_meta_batch_free(&seal->fingerprints);
    bb_store_windows_free(&seal->fresh);
    bb_run_group_destroy(&seal->group);
    bb_store_draft_free(&seal->draft);
    for (uint32_t p = 0; seal->adopted && p < seal->partition_count; p++) {
        bb_have_set_clear(&seal->adopted[p]);
    }
    free(seal->adopted);
    free(seal);
    *self = NULL;
}

void bb_seal_publish(bb_seal_t *self, bb_store_t *store)
{
    BB_ASSERT(self->is_done);
    store->flush_seq++;
    for (uint32_t i = 0; i < self->fresh.count; i++) {
        bb_store_window_t *fresh = &self->fresh.items[i];
        if (fresh->part_count == 0) {
            continue; // no series of that class was there
        }
        bb_store_window_t *window = bb_store_windows_get(&store->windows, fresh->id);
        window->number_next = fresh->number_next;
        window->flush_seq = store->flush_seq;
        bb_store_day_add(store, fresh->id.day);
        for (uint32_t part = 0; part < fresh->part_count; part++) {
            bb_store_window_add(window, fresh->parts[part].segment, &fresh->parts[part].info,
                                false);
        }
        fresh->part_count = 0; // the references are the store's
    }
    store->sealed_through = self->sealed_through;
    store->have_saved_version = self->version;
    bb_store_streams_sealed(store);
    for (uint32_t p = 0; self->adopted && p < self->partition_count; p++) {
        if (self->adopted[p].stream_count > 0) {
            s_unite(&store->have[p], &self->adopted[p]);
            store->have_versions[p] = ++store->version;
        }
    }
    if (self->adopted) {
        bb_store_streams_look(store);
    }
    bb_store_markers_sealed(store);
    store->written.flush_bytes += self->written.flush_bytes;
    store->written.flush_points += self->written.flush_points;
}

// ---- meta ------------------------------------------------------------------------------------
bb_error_t bb_store_commit(bb_kv_driver_t *kv, bb_kv_txn_t **txn, bool *must_fence)
{
    bb_error_t error = kv->commit(txn);
    if (error != BB_OK && error != BB_ERR_DISK_FULL) {
        *must_fence = true;
    }
    return error;
}

// In one transaction; an empty batch is fine.
static bb_error_t s_write_meta(bb_seal_t *self, const bb_meta_batch_t *const *batches,
                               uint32_t count, bool *must_fence)
{
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->meta, true, &txn);
    for (uint32_t i = 0; i < count && error == BB_OK; i++) {
        error = bb_meta_batch_write(batches[i], self->kv, txn);
    }
    if (error == BB_OK) {
        return bb_store_commit(self->kv, &txn, must_fence);
    }
    self->kv->abort(&txn);
    return error;
}

bb_error_t bb_seal_names(bb_seal_t *self, bool *must_fence, bb_fault_t *fault)
{
    if (self->names_are_written) {
        return BB_OK;
    }
    const bb_meta_batch_t *names = &self->names;
    bb_error_t error = s_write_meta(self, &names, 1, must_fence);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "meta: names: %s", bb_error_message(error));
    }
    self->names_are_written = true;
    return BB_OK;
}

// The window as it will be: the segments that it has, and the new ones.
static void s_record_window(const bb_seal_t *self, const bb_store_window_t *fresh,
                            bb_meta_batch_t *batch)
{
    bool found;
    uint32_t at = bb_store_windows_find(self->windows, fresh->id, &found);
    bb_store_window_t whole = {.id = fresh->id, .number_next = fresh->number_next};
    for (uint32_t i = 0; found && i < self->windows->items[at].part_count; i++) {
        const bb_window_part_t *part = &self->windows->items[at].parts[i];
        bb_store_window_add(&whole, part->segment, &part->info, part->is_damaged);
    }
    for (uint32_t i = 0; i < fresh->part_count; i++) {
        bb_store_window_add(&whole, fresh->parts[i].segment, &fresh->parts[i].info, false);
    }
    bb_meta_batch_window(batch, &whole);
    free(whole.parts); // the references were borrowed
}

bb_error_t bb_seal_commit(bb_seal_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_meta_batch_t windows = {0};
    for (uint32_t i = 0; i < self->fresh.count; i++) {
        if (self->fresh.items[i].part_count > 0) {
            s_record_window(self, &self->fresh.items[i], &windows);
        }
    }
    bb_meta_batch_fresh(&windows, &self->fresh);
    BB_KILLPOINT(self->kv, SEGMENT_SYNCED);
    const bb_meta_batch_t *batches[] = {&windows, &self->voided, &self->fingerprints,
                                        &self->record};
    bb_error_t error = s_write_meta(self, batches, BB_COUNT_OF(batches), must_fence);
    bb_meta_batch_free(&windows);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "meta: seal: %s", bb_error_message(error));
    }
    self->is_done = true;
    BB_KILLPOINT(self->kv, SEGMENT_SEALED);
    return BB_OK;
}

// ---- one window ------------------------------------------------------------------------------
bool bb_seal_has_window(const bb_seal_t *self, bb_window_id_t id)
{
    bool found;
    bb_store_windows_find(&self->fresh, id, &found);
    return found;
}

static bb_error_t s_put(void *context, const bb_segment_entry_t *entries, uint32_t entry_count,
                        const bb_slice_t *runs, uint32_t run_count)
{
    bb_seal_t *self = context;
    uint64_t entry_points = 0;
    uint64_t run_points = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        bb_run_t run;
        bb_error_t error = bb_run_open_any(&run, runs[i], NULL);
        BB_ASSERT(error == BB_OK); // checked on both sides of the boundary: what we wrote can be
        run_points += run.point_count; // read, and is what came in
    }
    for (uint32_t i = 0; i < entry_count; i++) {
        entry_points += entries[i].point_count;
    }
    BB_ASSERT(entry_points == run_points);
    return bb_store_draft_put(&self->draft, entries, entry_count, runs, run_count);
}

bb_error_t bb_seal_window_begin(bb_seal_t *self, bb_window_id_t id, bool *must_fence,
                                bb_fault_t *fault)
{
    BB_ASSERT(!self->is_begun);
    BB_ASSERT(!bb_seal_has_window(self, id));
    (void)fault;
    bool found;
    uint32_t at = bb_store_windows_find(self->windows, id, &found);
    bb_store_draft_begin(&self->draft, self->pool, self->kv, id,
                         found ? self->windows->items[at].number_next : 1, must_fence);
    self->is_begun = true;
    if (!self->group) {
        self->group = bb_run_group_new(self->group_bits, s_put, self);
    }
    // The newest day is flushed into again soon: hashing it now would cost a tenth of sealing, and
    // a merge does it once. If there is none, scrubbing does.
    bool is_first = !found || self->windows->items[at].part_count == 0;
    if (is_first && id.day != self->newest_day) {
        self->fingerprinter = bb_fingerprinter_new(self->kv, self->meta, self->fingerprint_key);
    }
    return BB_OK;
}

bb_error_t bb_seal_add(bb_seal_t *self, uint32_t partition, uint32_t battery,
                       const bb_run_input_t *input)
{
    BB_ASSERT(self->is_begun);
    if (self->fingerprinter &&
        bb_fingerprinter_add_input(self->fingerprinter, partition, battery, input) != BB_OK) {
        bb_fingerprinter_destroy(&self->fingerprinter);
    }
    return bb_run_group_add(self->group, partition, battery, input);
}

static void s_record_fingerprints(bb_seal_t *self)
{
    const bb_store_window_t *window = &self->draft.window;
    if (self->fingerprinter && window->part_count == 1 &&
        bb_segment_info_is_merged(&window->parts[0].info)) {
        bb_fingerprinter_record(self->fingerprinter, window->id,
                                bb_segment_number(window->parts[0].segment), &self->fingerprints);
    }
}

bb_error_t bb_seal_window_end(bb_seal_t *self, bb_error_t error, bb_fault_t *fault)
{
    BB_ASSERT(self->is_begun);
    self->is_begun = false;
    bb_store_window_t *window = &self->draft.window;
    if (error == BB_OK) {
        error = bb_run_group_flush(self->group);
    }
    bb_run_group_clear(self->group); // of an attempt that failed
    if (error == BB_OK) {
        error = bb_store_draft_end(&self->draft);
    }
    if (error == BB_OK) {
        s_record_fingerprints(self);
    }
    bb_fingerprinter_destroy(&self->fingerprinter);
    if (error != BB_OK) {
        bb_store_draft_discard(&self->draft);
        char folder[BB_WINDOW_PATH_BYTES];
        bb_segment_class_path(self->pool, window->id.kind, window->id.class_id, folder);
        const bb_fault_t *cause = &self->draft.fault;
        return bb_fault_set(fault, error, "%s, day %u: %s", folder, window->id.day,
                            cause->text[0] ? cause->text : bb_error_message(error));
    }
    bb_store_window_t *fresh = bb_store_windows_get(&self->fresh, window->id);
    fresh->number_next = window->number_next;
    for (uint32_t i = 0; i < window->part_count; i++) {
        const bb_window_part_t *part = &window->parts[i];
        bb_store_window_add(fresh, part->segment, &part->info, false);
        self->written.flush_bytes += part->info.bytes;
        self->written.flush_points += part->info.point_count;
    }
    window->part_count = 0; // the references are those of `fresh`
    return BB_OK;
}
