// SPDX-License-Identifier: Apache-2.0
// Opening, recovery, closing.
//
// busbar.store (bb_store_identity.h) is written and synced before any other folder is made. So an
// unreadable one beside no journal is a first start that lost power and is written again; beside a
// journal it is damage.
#include "storage/bb_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_flush.h"
#include "storage/bb_store_identity.h"
#include "storage/bb_store_latest.h"
#include "storage/bb_store_merge.h"
#include "storage/bb_store_private.h"
#include "storage/bb_store_retention.h"
#include "storage/bb_store_scrub.h"

#define S_MAP_BYTES_DEFAULT   ((size_t)16 << 30)
#define S_DIRECTORY_BYTES_MAX (BB_WINDOW_PATH_BYTES - 64)

// ---- identity --------------------------------------------------------------------------------
static bb_store_identity_t s_identity_of(const bb_store_options_t *options)
{
    bb_store_identity_t identity = {.format = BB_STORE_FORMAT,
                                    .store_index = options->store_index,
                                    .store_count = options->store_count,
                                    .partition_count = options->partition_count};
    memcpy(identity.cluster_id, options->cluster_id, sizeof identity.cluster_id);
    BB_ASSERT(strlen(options->node_id) <= BB_NODE_ID_BYTES_MAX);
    strcpy(identity.node_id, options->node_id);
    return identity;
}

static void s_count_name(void *context, const char *name, bool is_directory)
{
    (void)name;
    (void)is_directory;
    ++*(uint32_t *)context;
}

static bool s_has_journal(const bb_store_t *self)
{
    char journal[BB_WINDOW_PATH_BYTES];
    snprintf(journal, sizeof journal, "%s/journal", self->directory);
    uint32_t entry_count = 0;
    bb_error_t error = self->vfs->list(self->vfs, journal, s_count_name, &entry_count);
    return error == BB_OK && entry_count > 0;
}

static bb_error_t s_identity_write(bb_store_t *self, const bb_store_identity_t *wanted,
                                   const char *path, bb_fault_t *fault)
{
    uint8_t bytes[BB_STORE_IDENTITY_BYTES];
    bb_store_identity_encode(wanted, bytes);
    struct iovec piece = {bytes, sizeof bytes};
    bb_error_t error = self->vfs->write_at(self->vfs, self->identity_file, 0, &piece, 1);
    if (error == BB_OK) {
        error = self->vfs->sync(self->vfs, self->identity_file);
    }
    if (error == BB_OK) {
        error = self->vfs->sync_directory(self->vfs, self->directory);
    }
    return error == BB_OK ? BB_OK : bb_fault_set(fault, error, "%s: cannot be written", path);
}

static bb_error_t s_identity_open(bb_store_t *self, const bb_store_options_t *options,
                                  bb_fault_t *fault)
{
    char path[BB_WINDOW_PATH_BYTES];
    snprintf(path, sizeof path, "%s/" BB_STORE_IDENTITY_FILE, self->directory);
    bb_error_t error = self->vfs->open(self->vfs, path, BB_FILE_WRITE, &self->identity_file, fault);
    if (error != BB_OK) {
        return error;
    }
    error = self->vfs->lock(self->vfs, self->identity_file);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: %s", path, bb_error_message(error));
    }
    bb_store_identity_t wanted = s_identity_of(options);
    bb_store_identity_t found;
    uint8_t bytes[BB_STORE_IDENTITY_BYTES];
    size_t got = 0;
    error = self->vfs->read_at(self->vfs, self->identity_file, 0, bytes, sizeof bytes, &got);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: cannot be read", path);
    }
    if (bb_store_identity_decode(bb_slice(bytes, got), &found) == BB_OK) {
        error = bb_store_identity_check(&found, &wanted, path, fault);
        // A first start that failed may have left it readable and not durable.
        return error == BB_OK && !s_has_journal(self) ? s_identity_write(self, &wanted, path, fault)
                                                      : error;
    }
    if (s_has_journal(self)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "%s: unreadable, but there is a journal", path);
    }
    return s_identity_write(self, &wanted, path, fault);
}

// ---- meta ------------------------------------------------------------------------------------
static bb_error_t s_load_seal(void *context, const bb_meta_seal_t *seal, bb_fault_t *fault)
{
    (void)fault;
    ((bb_store_t *)context)->sealed_through = seal->sealed_through;
    return BB_OK;
}

static bb_error_t s_load_newest(void *context, int64_t newest_wall_ns, bb_fault_t *fault)
{
    (void)fault;
    bb_store_t *self = context;
    self->newest_wall_ns = newest_wall_ns;
    self->newest_at_open_wall_ns = newest_wall_ns;
    return BB_OK;
}

static bb_error_t s_load_have(void *context, uint32_t partition, bb_slice_t encoded,
                              bb_fault_t *fault)
{
    bb_store_t *self = context;
    if (partition >= self->partition_count) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "have-set of partition %u", partition);
    }
    // The value may lie at any even address.
    uint8_t *copy = bb_alloc(encoded.length + 1);
    memcpy(copy, encoded.data, encoded.length);
    bb_error_t error = bb_have_set_decode(&self->have[partition], copy, encoded.length);
    free(copy);
    return error == BB_OK ? BB_OK
                          : bb_fault_set(fault, BB_ERR_CORRUPT,
                                         "have-set of partition %u is damaged", partition);
}

static bb_error_t s_load_name(void *context, bool is_metric, uint32_t number, bb_slice_t record,
                              bb_fault_t *fault)
{
    bb_store_t *self = context;
    return bb_dictionary_load(self->dictionary, is_metric, number, record, fault);
}

static bb_error_t s_load_window(void *context, bb_window_id_t id, const bb_meta_window_t *record,
                                const bb_meta_part_t *parts, bb_fault_t *fault)
{
    bb_store_t *self = context;
    bool is_valid = id.day <= BB_TIME_WALL_NS_LIMIT / BB_NS_PER_DAY;
    for (uint32_t i = 0; i < record->part_count; i++) {
        is_valid &= parts[i].number >= 1 && parts[i].number < record->number_next &&
                    parts[i].is_damaged <= 1 && parts[i].zero == 0;
        for (uint32_t before = 0; before < i; before++) {
            is_valid &= parts[before].number != parts[i].number;
        }
    }
    if (!is_valid) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "window of day %u is damaged", id.day);
    }
    bb_store_window_t *window = bb_store_windows_get(&self->windows, id);
    window->number_next = record->number_next;
    for (uint32_t i = 0; i < record->part_count; i++) {
        bb_store_window_add(window, bb_segment_new(self->pool, id, parts[i].number), &parts[i].info,
                            parts[i].is_damaged);
    }
    bb_store_day_add(self, id.day);
    return BB_OK;
}

static bb_error_t s_load_class(void *context, uint32_t class_id, bb_slice_t record,
                               bb_fault_t *fault)
{
    return bb_retention_load(((bb_store_t *)context)->retention, class_id, record, fault);
}

static bb_error_t s_load_damage(void *context, const bb_damage_entry_t *entry, bb_fault_t *fault)
{
    (void)fault;
    bb_store_scrub_load_damage(((bb_store_t *)context)->scrub, entry);
    return BB_OK;
}

static bb_error_t s_load_verified(void *context, bb_window_id_t window,
                                  const bb_meta_verified_t *verified, bb_fault_t *fault)
{
    (void)fault;
    bb_store_scrub_load_verified(((bb_store_t *)context)->scrub, window, verified);
    return BB_OK;
}

static bb_error_t s_load_fresh(void *context, bb_window_id_t window, uint64_t number,
                               bb_fault_t *fault)
{
    (void)fault;
    bb_store_scrub_load_fresh(((bb_store_t *)context)->scrub, window, number);
    return BB_OK;
}

static bb_error_t s_load_markers(void *context, uint32_t battery, bb_slice_t record,
                                 bb_fault_t *fault)
{
    bb_store_t *self = context;
    if (battery >= bb_dictionary_battery_count(self->dictionary)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "markers of battery %u, which has no name",
                            battery);
    }
    return bb_markers_load(&self->markers, battery, record, fault);
}

static bb_error_t s_load_damaged(void *context, bool is_needed, const char *what, bb_fault_t *fault)
{
    bb_store_t *self = context;
    if (is_needed) {
        return bb_fault_set(fault, BB_ERR_CORRUPT,
                            "%s. 'busbar verify' names all of them; put the store's folder back "
                            "from a copy, or do as for a lost disk",
                            what);
    }
    if (self->meta_damaged_count++ == 0) {
        snprintf(self->first_meta_damage, sizeof self->first_meta_damage, "%s", what);
    }
    return BB_OK;
}

// A commit that failed before may be on the disk or not, and what was read now may be the other
// state after a power loss. One that succeeds takes its place, before anything is tidied away,
// replayed or trimmed because of what meta says.
static bb_error_t s_meta_settle(bb_store_t *self, bb_fault_t *fault)
{
    bb_meta_batch_t batch = {0};
    bb_meta_batch_seal(&batch, self->sealed_through);
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->meta, true, &txn);
    if (error == BB_OK) {
        error = bb_meta_batch_write(&batch, self->kv, txn);
    }
    if (error == BB_OK) {
        error = self->kv->commit(&txn);
    }
    self->kv->abort(&txn);
    bb_meta_batch_free(&batch);
    return error == BB_OK ? BB_OK
                          : bb_fault_set(fault, error, "%s/meta: cannot be written: %s",
                                         self->directory, bb_error_message(error));
}

// A segment ends when its map is nearly full, and the next one goes on; there is only one meta.
#define S_META_GROWTH_MAX 64u // times map_bytes

void bb_store_meta_grow(bb_store_t *self, bool is_refused)
{
    BB_ASSERT(!self->is_job_alive);
    size_t wanted = is_refused ? 2 * self->meta_map_bytes : self->meta_map_bytes;
    while (self->kv->file_bytes(self->meta) > wanted / 2) {
        wanted *= 2;
    }
    if (wanted > self->meta_map_bytes && wanted / S_META_GROWTH_MAX <= self->map_bytes &&
        self->kv->grow(self->meta, wanted) == BB_OK) {
        self->meta_map_bytes = wanted;
    }
}

static bb_error_t s_meta_open(bb_store_t *self, bb_fault_t *fault)
{
    char path[BB_WINDOW_PATH_BYTES];
    snprintf(path, sizeof path, "%s/meta", self->directory);
    bb_error_t error = self->vfs->make_directory(self->vfs, path);
    if (error == BB_OK) {
        error = self->vfs->sync_directory(self->vfs, self->directory);
    }
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: cannot be made", path);
    }
    error = self->kv->open(self->kv, path, self->map_bytes, true, &self->meta, fault);
    bb_kv_txn_t *txn = NULL;
    if (error == BB_OK) {
        self->meta_map_bytes = self->map_bytes;
        bb_store_meta_grow(self, false);
        error = self->kv->begin(self->meta, false, &txn);
    }
    if (error != BB_OK) {
        return error;
    }
    bb_meta_visitor_t visitor = {self,          s_load_seal,   s_load_have,     s_load_name,
                                 s_load_window, s_load_damage, s_load_verified, s_load_newest,
                                 s_load_class,  s_load_fresh,  s_load_markers,  s_load_damaged};
    bb_fault_t cause = {0};
    error = bb_meta_read(self->kv, txn, &visitor, &cause);
    self->kv->abort(&txn);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s/data.mdb: %s", path,
                            cause.text[0] ? cause.text : bb_error_message(error));
    }
    bb_store_streams_look(self);
    return s_meta_settle(self, fault);
}

// ---- folders ---------------------------------------------------------------------------------
// Exactly the folders that meta names count; bb_store_seal.h and bb_store_merge.h say why. The
// others are what a crash left behind.
typedef struct {
    bb_store_t *store;
    bb_window_kind_t kind;
    uint16_t class_id;
    char folder[BB_WINDOW_PATH_BYTES];
    char **paths; // what is to be removed
    uint32_t count, capacity;
    uint32_t segment_count; // of them, folders of segments
    uint16_t *classes;
    uint32_t class_count, class_capacity;
} s_leftovers_t;

static void s_note_leftover(s_leftovers_t *self, const char *name)
{
    char path[BB_WINDOW_PATH_BYTES + 256];
    snprintf(path, sizeof path, "%s/%s", self->folder, name);
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? self->capacity * 2 : 8;
        self->paths = bb_realloc(self->paths, self->capacity * sizeof *self->paths);
    }
    self->paths[self->count++] = bb_strdup(path);
}

static void s_collect_class(void *context, const char *name, bool is_directory)
{
    s_leftovers_t *self = context;
    uint16_t class_id;
    if (!is_directory || !bb_segment_class_parse(name, &class_id)) {
        s_note_leftover(self, name);
        return;
    }
    if (self->class_count == self->class_capacity) {
        self->class_capacity = self->class_capacity ? self->class_capacity * 2 : 4;
        self->classes = bb_realloc(self->classes, self->class_capacity * sizeof *self->classes);
    }
    self->classes[self->class_count++] = class_id;
}

static void s_collect_segment(void *context, const char *name, bool is_directory)
{
    s_leftovers_t *self = context;
    bb_window_id_t id = {.kind = self->kind, .class_id = self->class_id};
    uint64_t number;
    (void)is_directory;
    if (bb_segment_name_parse(name, &id.day, &number)) {
        bool found;
        uint32_t at = bb_store_windows_find(&self->store->windows, id, &found);
        const bb_store_window_t *window = found ? &self->store->windows.items[at] : NULL;
        for (uint32_t i = 0; window && i < window->part_count; i++) {
            if (bb_segment_number(window->parts[i].segment) == number) {
                return;
            }
        }
        self->segment_count++;
    }
    s_note_leftover(self, name);
}

static bb_error_t s_list_leftovers(s_leftovers_t *self)
{
    bb_vfs_t *vfs = self->store->vfs;
    bb_segment_kind_path(self->store->pool, self->kind, self->folder);
    bb_error_t error = vfs->make_directory(vfs, self->folder);
    if (error == BB_OK) {
        error = vfs->list(vfs, self->folder, s_collect_class, self);
    }
    for (uint32_t i = 0; error == BB_OK && i < self->class_count; i++) {
        self->class_id = self->classes[i];
        bb_segment_class_path(self->store->pool, self->kind, self->class_id, self->folder);
        error = vfs->list(vfs, self->folder, s_collect_segment, self);
    }
    return error;
}

static bb_error_t s_tidy(bb_store_t *self, bb_window_kind_t kind, bb_fault_t *fault)
{
    s_leftovers_t leftovers = {.store = self, .kind = kind};
    bb_error_t error = s_list_leftovers(&leftovers);
    if (error == BB_OK && leftovers.segment_count > 0 &&
        bb_dictionary_metric_count(self->dictionary) == 0) {
        // Names are durable before the first segment is made, so these are no leftovers.
        error = bb_fault_set(fault, BB_ERR_CORRUPT,
                             "%s: %u segments, and meta knows no name: it was lost",
                             leftovers.folder, leftovers.segment_count);
    }
    for (uint32_t i = 0; i < leftovers.count; i++) {
        if (error == BB_OK) {
            error = self->vfs->remove_tree(self->vfs, leftovers.paths[i]);
        }
        free(leftovers.paths[i]);
    }
    free(leftovers.paths);
    free(leftovers.classes);
    if (error != BB_OK && error != BB_ERR_CORRUPT) {
        return bb_fault_set(fault, error, "%s: cannot be tidied", leftovers.folder);
    }
    return error;
}

// ---- journal ---------------------------------------------------------------------------------
static bb_error_t s_replay(void *context, uint64_t file_seq, const bb_chunks_t *chunks,
                           bb_slice_t chunks_encoded, const bb_batch_t *batch)
{
    bb_store_t *self = context;
    (void)chunks_encoded;
    if (file_seq <= self->sealed_through) {
        return BB_OK; // in windows already; kept for peers
    }
    for (uint32_t i = 0; i < batch->part_count; i++) {
        if (batch->parts[i].partition >= self->partition_count) {
            return BB_ERR_CORRUPT;
        }
    }
    bb_error_t error = bb_store_apply(self, chunks, batch);
    // A part that did not fit into a have-set when it came does not fit now: it was never counted.
    return error == BB_ERR_LIMIT ? BB_OK : error;
}

// The journal was lost, so its files are numbered from the beginning again. What is written below
// the seal is never replayed: the seal goes back behind the new file, in meta first. What was in
// the lost files and not in windows is not in the have-sets either, and is pulled from peers.
static bb_error_t s_lower_seal(bb_store_t *self, bb_store_report_t *report, bb_fault_t *fault)
{
    uint64_t last = bb_journal_file_last(self->journal);
    if (report->damaged_count == 0) {
        snprintf(report->first_damage, sizeof report->first_damage,
                 "journal: file %llu was sealed and the newest is %llu: files were lost",
                 (unsigned long long)self->sealed_through, (unsigned long long)last);
    }
    report->damaged_count++;
    self->sealed_through = last - 1;
    return s_meta_settle(self, fault);
}

static bb_error_t s_journal_open(bb_store_t *self, const bb_store_options_t *options,
                                 bb_store_report_t *report, bb_fault_t *fault)
{
    char path[BB_WINDOW_PATH_BYTES];
    snprintf(path, sizeof path, "%s/journal", self->directory);
    bb_store_identity_t identity = s_identity_of(options);
    bb_journal_options_t journal_options = {
        .vfs = self->vfs,
        .directory = path,
        .file_bytes_max = options->journal_file_bytes,
        .owner = bb_store_identity_owner(&identity),
    };
    bb_journal_report_t found = {0};
    bb_error_t error =
        bb_journal_open(&journal_options, s_replay, self, &found, &self->journal, fault);
    report->journal_records = found.record_count;
    report->journal_bytes = found.bytes;
    report->torn_bytes = found.torn_bytes;
    report->damaged_count = found.damaged_count;
    report->damaged_bytes = found.damaged_bytes;
    report->unsynced_count = found.unsynced_count;
    memcpy(report->first_damage, found.first_damage, sizeof report->first_damage);
    if (error == BB_OK && bb_journal_file_last(self->journal) <= self->sealed_through) {
        error = s_lower_seal(self, report, fault);
    }
    return error;
}

// ---- open and close --------------------------------------------------------------------------
static bb_error_t s_open(bb_store_t *self, const bb_store_options_t *options,
                         bb_store_report_t *report, bb_fault_t *fault)
{
    bb_error_t error = self->vfs->make_directory(self->vfs, self->directory);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: cannot be made", self->directory);
    }
    error = s_identity_open(self, options, fault);
    if (error == BB_OK) {
        self->pool = bb_segment_pool_new(self->vfs, self->kv, self->directory, self->map_bytes,
                                         options->segments_open_max ? options->segments_open_max
                                                                    : BB_SEGMENTS_OPEN_MAX);
        error = s_meta_open(self, fault);
    }
    if (error == BB_OK) {
        error = s_tidy(self, BB_WINDOW_NORMAL, fault);
    }
    if (error == BB_OK) {
        error = s_tidy(self, BB_WINDOW_QUARANTINE, fault);
    }
    if (error == BB_OK) {
        bb_store_scrub_opened(self);
        error = bb_rollups_open(self, &self->rollups, fault);
    }
    if (error == BB_OK) {
        if (options->policy) {
            bb_store_policy_set(self, options->policy);
        }
        error = s_journal_open(self, options, report, fault);
    }
    if (error == BB_OK) {
        // The folders themselves must outlive a crash before anything in them is promised.
        error = self->vfs->sync_directory(self->vfs, self->directory);
    }
    bb_store_latest_open(self);
    self->is_merge_wanted = bb_merge_is_wanted(self);
    report->meta_damaged_count = self->meta_damaged_count;
    memcpy(report->first_meta_damage, self->first_meta_damage, sizeof report->first_meta_damage);
    report->battery_count = bb_dictionary_battery_count(self->dictionary);
    report->window_count = self->windows.count;
    return error;
}

bb_error_t bb_store_open(const bb_store_options_t *options, bb_store_report_t *report,
                         bb_store_t **store, bb_fault_t *fault)
{
    BB_ASSERT(options && report && store);
    BB_ASSERT(options->partition_count >= 1 && options->partition_count <= BB_PARTITIONS_MAX);
    BB_ASSERT(options->store_index < options->store_count);
    memset(report, 0, sizeof *report);
    if (strlen(options->directory) > S_DIRECTORY_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_CONFIG, "%s: the path is too long", options->directory);
    }
    if (strlen(options->node_id) > BB_NODE_ID_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_CONFIG, "node id '%s' is too long", options->node_id);
    }
    bb_store_t *self = bb_alloc_zero(1, sizeof *self);
    self->scrub = bb_store_scrub_new(options);
    uint64_t seed;
    memcpy(&seed, options->cluster_id, sizeof seed);
    static_assert(sizeof options->cluster_id == sizeof self->fingerprint_key, "it is the key");
    memcpy(self->fingerprint_key, options->cluster_id, sizeof self->fingerprint_key);
    self->newest_wall_ns = -1;
    self->newest_at_open_wall_ns = INT64_MAX;
    self->vfs = options->vfs;
    self->kv = options->kv;
    self->directory = bb_strdup(options->directory);
    self->room = (bb_store_room_t){.vfs = self->vfs,
                                   .directory = self->directory,
                                   .reserve_bytes = options->disk_reserve_bytes,
                                   .free_bytes = UINT64_MAX};
    self->partition_count = options->partition_count;
    self->memory_bytes = options->memory_bytes;
    self->map_bytes = options->kv_map_bytes ? options->kv_map_bytes : S_MAP_BYTES_DEFAULT;
    self->retention = bb_retention_new();
    self->markers = bb_markers_new();
    self->dictionary = bb_dictionary_new(seed, self->partition_count);
    self->head_pool = bb_arena_pool_new(self->memory_bytes / BB_HEAD_SHARE);
    self->active = bb_head_new(&self->shape_serials, self->head_pool);
    self->have = bb_alloc_zero(self->partition_count, sizeof *self->have);
    self->have_versions = bb_alloc_zero(self->partition_count, sizeof *self->have_versions);
    bb_error_t error = s_open(self, options, report, fault);
    if (error != BB_OK) {
        bb_store_close(&self);
        return error;
    }
    *store = self;
    return BB_OK;
}

void bb_store_close(bb_store_t **store)
{
    bb_store_t *self = *store;
    if (!self) {
        return;
    }
    BB_ASSERT(!self->is_job_alive);
    bb_journal_close(&self->journal);
    bb_flush_destroy(&self->frozen);
    bb_head_release(&self->active);
    bb_arena_pool_release(&self->head_pool);
    bb_markers_release(&self->markers);
    free(self->unsaved);
    bb_latest_destroy(&self->latest);
    bb_store_windows_free(&self->windows);
    bb_segment_pool_destroy(&self->pool);
    bb_store_scrub_destroy(&self->scrub);
    if (self->meta) {
        self->kv->close(&self->meta);
    }
    for (uint32_t i = 0; i < self->partition_count; i++) {
        bb_have_set_clear(&self->have[i]);
    }
    bb_have_set_clear(&self->streams);
    for (uint32_t i = 0; self->adopting && i < self->partition_count; i++) {
        bb_have_set_clear(&self->adopting[i]);
    }
    free(self->adopting);
    free(self->have);
    free(self->have_versions);
    free(self->unsealed);
    bb_dictionary_destroy(&self->dictionary);
    bb_rollups_close(&self->rollups);
    bb_retention_destroy(&self->retention);
    free(self->days);
    free(self->left_out);
    bb_store_scratch_free(&self->scratch);
    if (self->identity_file) {
        self->vfs->close(self->vfs, &self->identity_file);
    }
    free(self->directory);
    free(self);
    *store = NULL;
}

void bb_store_sign_off(bb_store_t *self)
{
    BB_ASSERT(!self->is_job_alive);
    if (self->is_fenced || bb_store_scrub_is_any_suspect(self->scrub)) {
        return;
    }
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->meta, true, &txn);
    if (error == BB_OK) {
        error = bb_meta_remove_fresh(self->kv, txn);
    }
    if (error == BB_OK) {
        error = self->kv->commit(&txn);
    }
    self->kv->abort(&txn);
    bb_ignore(error, "what was put last is looked at once more");
}

void bb_store_policy_set(bb_store_t *self, bb_policy_t *policy)
{
    bb_retention_policy_set(self->retention, policy);
    bb_rollups_policy_changed(self);
}

void bb_store_clock(bb_store_t *self, int64_t now_wall_ns)
{
    bb_store_retention_step(self, now_wall_ns);
    bb_rollups_step(self, now_wall_ns);
}

bool bb_store_needs_clock(const bb_store_t *self)
{
    const bb_policy_t *policy = bb_retention_policy(self->retention);
    bool keeps_all = true;
    for (uint32_t i = 0; i <= bb_policy_class_count(policy); i++) {
        keeps_all &= bb_policy_class(policy, i)->keep_ns == BB_KEEP_FOREVER_NS;
    }
    return bb_policy_rollup_count(policy) > 0 || !keeps_all;
}

// ---- small answers ---------------------------------------------------------------------------
const bb_have_set_t *bb_store_have(const bb_store_t *self, uint32_t partition)
{
    BB_ASSERT(partition < self->partition_count);
    return &self->have[partition];
}

uint64_t bb_store_version(const bb_store_t *self)
{
    return self->version;
}

uint64_t bb_store_have_version(const bb_store_t *self, uint32_t partition)
{
    BB_ASSERT(partition < self->partition_count);
    return self->have_versions[partition];
}

bool bb_store_is_fenced(const bb_store_t *self)
{
    return self->is_fenced;
}

uint64_t bb_store_staged_bytes(const bb_store_t *self)
{
    return bb_journal_staged_bytes(self->journal);
}

static uint64_t s_head_bytes(const bb_store_t *self)
{
    return bb_head_bytes(self->active) + (self->frozen ? bb_flush_bytes(self->frozen) : 0);
}

bool bb_store_wants_flush(const bb_store_t *self)
{
    bool failed_before = self->frozen && !self->is_job_alive;
    return failed_before || bb_head_is_full(self->active) ||
           bb_head_bytes(self->active) >= self->memory_bytes / BB_HEAD_SHARE;
}

bool bb_store_is_full(const bb_store_t *self)
{
    return s_head_bytes(self) >= self->memory_bytes;
}

uint64_t bb_store_head_bytes(const bb_store_t *self)
{
    return s_head_bytes(self);
}

bool bb_store_has_room(bb_store_t *self, uint64_t bytes)
{
    if (bb_store_room_take(&self->room, bytes)) {
        return true;
    }
    // Empty files of ours are the first to go.
    bb_error_t error = bb_journal_spares_drop(self->journal);
    return error == BB_OK && bb_store_room_take(&self->room, bytes);
}

void bb_store_stats(const bb_store_t *self, bb_store_stats_t *stats)
{
    *stats = (bb_store_stats_t){
        .head_bytes = s_head_bytes(self),
        .latest_bytes = bb_latest_bytes(self->latest),
        .head_points = bb_head_points(self->active),
        .frozen_points = self->frozen ? bb_flush_points(self->frozen) : 0,
        .journal_bytes = bb_journal_bytes(self->journal),
        .journal_spare_bytes = bb_journal_spare_bytes(self->journal),
        .window_count = self->windows.count,
        .battery_count = bb_dictionary_battery_count(self->dictionary),
        .metric_count = bb_dictionary_metric_count(self->dictionary),
        .quarantined_points =
            bb_head_quarantined_points(self->active) +
            (self->frozen ? bb_head_quarantined_points(bb_flush_head(self->frozen)) : 0),
        .type_conflicts = self->type_conflicts,
        .value_conflicts = self->value_conflicts,
        .markers = bb_markers_count(self->markers),
        .unsaved_markers = self->unsaved_count,
        .retired_windows = self->retired_windows,
        .retired_points = self->retired_points,
        .rollup_stale = bb_rollups_stale_count(self->rollups),
        .rollup_damaged = bb_rollups_damaged_count(self->rollups),
        .streams = bb_store_streams(self)->stream_count,
        .disk_free_bytes = self->room.free_bytes,
        .disk_reserve_bytes = self->room.reserve_bytes,
    };
    uint64_t first = bb_journal_file_first(self->journal);
    uint64_t last = bb_journal_file_last(self->journal);
    if (first > 0) {
        stats->journal_files = last - first + 1;
        stats->journal_sealed_files =
            self->sealed_through >= first ? BB_MIN(self->sealed_through, last) - first + 1 : 0;
    }
    stats->flush_bytes = self->written.flush_bytes;
    stats->flush_points = self->written.flush_points;
    stats->merge_bytes = self->written.merge_bytes;
    stats->merge_points = self->written.merge_points;
    for (uint32_t i = 0; i < self->windows.count; i++) {
        const bb_store_window_t *window = &self->windows.items[i];
        bb_window_totals_t totals = bb_store_window_totals(window, self->map_bytes);
        stats->segment_bytes += totals.bytes;
        stats->segment_points += totals.point_count;
        if (window->id.kind == BB_WINDOW_QUARANTINE) {
            stats->quarantined_points += totals.point_count;
        }
        stats->runs += totals.run_count;
        stats->runs_mergeable += totals.mergeable_count > 1 ? totals.excess_count : 0;
        stats->segments += window->part_count;
        for (uint32_t part = 0; part < window->part_count; part++) {
            stats->segments_damaged += window->parts[part].is_damaged;
        }
    }
}
