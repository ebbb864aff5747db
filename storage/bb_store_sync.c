// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_sync.h"

#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_flush.h"
#include "storage/bb_store_merge.h"
#include "storage/bb_store_scrub.h"
#include "storage/bb_store_seal.h"
#include "storage/bb_store_sync_read.h"

// ---- windows ---------------------------------------------------------------------------------
// Which of the store's days a partition has in the heads, one bit a kind.
static void s_mark_head(const bb_store_t *self, const bb_head_t *head, uint32_t battery,
                        uint8_t *marks)
{
    for (const bb_head_group_t *group = bb_head_first_of(head, battery); group;
         group = group->next_of_battery) {
        uint32_t first = bb_day_of(group->rows.first_wall_ns);
        uint32_t last = bb_day_of(group->rows.last_wall_ns);
        for (uint32_t i = 0; i < self->day_count; i++) {
            if (self->days[i] >= first && self->days[i] <= last) {
                marks[i] |=
                    group->rows.is_quarantined ? 1u << BB_SYNC_QUARANTINE : 1u << BB_SYNC_NORMAL;
            }
        }
    }
}

static void s_mark_windows(const bb_store_t *self, uint8_t *marks)
{
    for (uint32_t w = 0; w < self->windows.count; w++) {
        const bb_store_window_t *window = &self->windows.items[w];
        for (uint32_t i = 0; window->part_count > 0 && i < self->day_count; i++) {
            if (self->days[i] == window->id.day) {
                marks[i] |= window->id.kind == BB_WINDOW_QUARANTINE ? 1u << BB_SYNC_QUARANTINE
                                                                    : 1u << BB_SYNC_NORMAL;
            }
        }
    }
}

// Nothing before this is kept by any class.
static int64_t s_floor_min_wall_ns(const bb_store_t *self)
{
    int64_t floor_wall_ns = INT64_MAX;
    for (uint32_t id = 0; id < bb_retention_class_count(self->retention); id++) {
        floor_wall_ns = BB_MIN(floor_wall_ns, bb_retention_intake_floor(self->retention, id));
    }
    return floor_wall_ns;
}

uint32_t bb_store_sync_windows(bb_store_t *self, uint32_t partition, bb_sync_window_t **list)
{
    BB_ASSERT(partition < self->partition_count);
    uint8_t *marks = bb_alloc_zero(self->day_count + 1, sizeof *marks);
    uint32_t battery_count = 0;
    const uint32_t *batteries =
        bb_dictionary_partition(self->dictionary, partition, &battery_count);
    for (uint32_t i = 0; i < battery_count; i++) {
        s_mark_head(self, self->active, batteries[i], marks);
        if (self->frozen) {
            s_mark_head(self, bb_flush_head(self->frozen), batteries[i], marks);
        }
    }
    s_mark_windows(self, marks);
    int64_t floor_wall_ns = s_floor_min_wall_ns(self);
    *list = bb_alloc((2 * self->day_count + 1) * sizeof **list);
    uint32_t count = 0;
    for (uint32_t kind = BB_SYNC_NORMAL; kind <= BB_SYNC_QUARANTINE; kind++) {
        for (uint32_t i = 0; i < self->day_count; i++) {
            bool is_kept = (int64_t)(self->days[i] + 1) * BB_NS_PER_DAY > floor_wall_ns;
            if (is_kept && marks[i] >> kind & 1) {
                (*list)[count++] = (bb_sync_window_t){kind, self->days[i]};
            }
        }
    }
    (*list)[count++] = (bb_sync_window_t){BB_SYNC_ATTRIBUTES, 0};
    free(marks);
    return count;
}

// ---- leaves ----------------------------------------------------------------------------------
static int s_compare_leaves(const void *a, const void *b)
{
    const bb_sync_leaf_t *left = a;
    const bb_sync_leaf_t *right = b;
    return (left->battery > right->battery) - (left->battery < right->battery);
}

uint32_t bb_sync_leaves_sort(bb_sync_leaf_t *leaves, uint32_t count)
{
    if (count < 2) {
        return count;
    }
    qsort(leaves, count, sizeof *leaves, s_compare_leaves);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < count; i++) {
        bb_sync_leaf_t *last = &leaves[kept - 1];
        if (last->battery == leaves[i].battery) {
            last->low += leaves[i].low;
            last->high += leaves[i].high;
        } else {
            leaves[kept++] = leaves[i];
        }
    }
    return kept;
}

// ---- taking over -----------------------------------------------------------------------------
bb_error_t bb_store_sync_attributes(bb_store_t *self, uint32_t partition, bb_slice_t id,
                                    bb_slice_t packed)
{
    BB_ASSERT(partition < self->partition_count);
    bb_dictionary_attribute_t list[BB_ATTRIBUTES_MAX];
    uint32_t count = 0;
    if (id.length == 0 || id.length > BB_BATTERY_ID_BYTES_MAX ||
        bb_dictionary_attributes_unpack(packed, list, &count) != BB_OK) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    uint32_t battery = bb_dictionary_battery(self->dictionary, id, partition);
    if (bb_dictionary_battery_partition(self->dictionary, battery) != partition) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    for (uint32_t i = 0; i < count; i++) {
        bb_attribute_t attribute = {list[i].key, list[i].value};
        bb_dictionary_attributes_merge(self->dictionary, battery, &attribute, 1,
                                       list[i].origin_wall_ns);
    }
    bb_retention_battery_changed(self->retention, battery);
    if (bb_rollups_watch_batteries(self->rollups)) {
        bb_rollups_touch_all_days(self, partition);
    }
    return BB_OK;
}

void bb_store_adopt(bb_store_t *self, uint32_t partition, const bb_have_set_t *dots)
{
    BB_ASSERT(partition < self->partition_count);
    if (!self->adopting) {
        self->adopting = bb_alloc_zero(self->partition_count, sizeof *self->adopting);
    }
    bb_error_t error = bb_have_set_union(&self->adopting[partition], dots);
    BB_ASSERT(error == BB_OK || error == BB_ERR_LIMIT); // to adopt less is never wrong
}

bool bb_store_is_adopting(const bb_store_t *self)
{
    return self->adopting != NULL;
}

// ---- damage ----------------------------------------------------------------------------------
uint32_t bb_store_sync_damages(const bb_store_t *self, bb_sync_damage_t *list, uint32_t max)
{
    uint32_t count = 0;
    for (uint32_t w = 0; w < self->windows.count && count < max; w++) {
        const bb_store_window_t *window = &self->windows.items[w];
        for (uint32_t p = 0; p < window->part_count && count < max; p++) {
            const bb_window_part_t *part = &window->parts[p];
            if (bb_segment_trust(part->segment) == BB_SEGMENT_SUSPECT ||
                !bb_sync_is_damaged(self, window, part)) {
                continue;
            }
            bool is_quarantine = window->id.kind == BB_WINDOW_QUARANTINE;
            list[count++] = (bb_sync_damage_t){
                .window = {is_quarantine ? BB_SYNC_QUARANTINE : BB_SYNC_NORMAL, window->id.day},
                .class_id = window->id.class_id,
                .number = bb_segment_number(part->segment),
            };
        }
    }
    return count;
}

void bb_store_sync_leave_out(bb_store_t *self, const bb_sync_damage_t *list, uint32_t count)
{
    BB_ASSERT(self && (list || count == 0));
    self->left_out = bb_realloc(self->left_out, (count + 1) * sizeof *list);
    if (count > 0) {
        memcpy(self->left_out, list, count * sizeof *list);
    }
    self->left_out_count = count;
}

static bb_window_id_t s_window_id(const bb_sync_damage_t *damage)
{
    return (bb_window_id_t){
        .kind = damage->window.kind == BB_SYNC_QUARANTINE ? BB_WINDOW_QUARANTINE : BB_WINDOW_NORMAL,
        .class_id = damage->class_id,
        .day = damage->window.day,
    };
}

bool bb_sync_is_left_out(const bb_store_t *store, const bb_store_window_t *window,
                         const bb_window_part_t *part)
{
    for (uint32_t i = 0; i < store->left_out_count; i++) {
        if (bb_window_id_compare(s_window_id(&store->left_out[i]), window->id) == 0 &&
            store->left_out[i].number == bb_segment_number(part->segment)) {
            return true;
        }
    }
    return false;
}

// Writes down that the window has one segment less, and that its damage is no more.
static bb_error_t s_record_drop(bb_store_t *self, const bb_store_window_t *window,
                                const bb_segment_t *segment)
{
    uint64_t number = bb_segment_number(segment);
    bb_store_window_t after = {.id = window->id, .number_next = window->number_next};
    for (uint32_t p = 0; p < window->part_count; p++) {
        const bb_window_part_t *part = &window->parts[p];
        if (part->segment != segment) {
            bb_store_window_add(&after, part->segment, &part->info, part->is_damaged);
        }
    }
    bb_meta_batch_t batch = {0};
    bb_meta_batch_window(&batch, &after);
    free(after.parts); // the references were borrowed
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->meta, true, &txn);
    if (error == BB_OK) {
        error = bb_meta_batch_write(&batch, self->kv, txn);
    }
    uint32_t count = 0;
    const bb_damage_entry_t *entries =
        bb_damage_window(bb_store_scrub_damage(self->scrub), (uint8_t)window->id.kind,
                         window->id.class_id, window->id.day, &count);
    for (uint32_t i = 0; i < count && error == BB_OK; i++) {
        uint8_t key[BB_META_DAMAGE_KEY_BYTES];
        bb_meta_damage_key(&entries[i], key);
        if (bb_store_scrub_forgets(window, &entries[i], number)) {
            error = self->kv->remove(txn, bb_slice(key, sizeof key));
            error = error == BB_ERR_NOT_FOUND ? BB_OK : error;
        }
    }
    if (error == BB_OK) {
        error = bb_store_commit(self->kv, &txn, &self->is_fenced);
    }
    self->kv->abort(&txn);
    bb_meta_batch_free(&batch);
    return error;
}

bb_error_t bb_store_sync_drop(bb_store_t *self, const bb_sync_damage_t *damage)
{
    BB_ASSERT(!self->is_job_alive);
    if (self->is_fenced) {
        return BB_ERR_FENCED;
    }
    if (self->frozen) {
        return BB_ERR_BUSY; // its job failed half way, and knows the segments of windows
    }
    bb_window_id_t id = s_window_id(damage);
    bool found;
    uint32_t at = bb_store_windows_find(&self->windows, id, &found);
    bb_store_window_t *window = found ? &self->windows.items[at] : NULL;
    bb_segment_t *segment = NULL;
    for (uint32_t p = 0; window && p < window->part_count; p++) {
        if (bb_segment_number(window->parts[p].segment) == damage->number) {
            segment = window->parts[p].segment;
        }
    }
    if (!segment) {
        return BB_ERR_NOT_FOUND;
    }
    bb_error_t error = s_record_drop(self, window, segment);
    if (error == BB_OK) {
        bb_store_scrub_forget(self, id, damage->number);
        bb_segment_doom(segment);
        bb_store_window_drop(window, segment);
        self->is_merge_wanted = bb_merge_is_wanted(self);
    }
    return error;
}
