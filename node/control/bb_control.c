// SPDX-License-Identifier: Apache-2.0
#include "node/control/bb_control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_mark.h"

#define S_IDENTITY_VERSION 1
#define S_PATH_BYTES       4096u
#define S_DOUBT_BYTES      128u
#define S_FORGET_CONTEXT   UINT64_C(0x666f7267)

struct bb_control {
    bb_control_options_t options;
    char *node_id;
    bb_registry_t *registry;
    bb_boot_t *boot;
    bb_registry_disk_t *disk;
    bb_boot_disk_t identity; // as it was found
    bool has_promised;       // since the last mark
    bool is_settled;         // earlier streams of ours are, in every store
    bool is_forget_put;
    bool is_broken;
    char doubt[S_DOUBT_BYTES]; // why a store is not the one that it should be
    int64_t mark_next_mono_ns;
    int64_t retry_mono_ns; // no write before
};

// ---- identity ------------------------------------------------------------------------------

void bb_control_identity_encode(const bb_boot_disk_t *disk, uint8_t out[BB_CONTROL_IDENTITY_BYTES])
{
    BB_ASSERT(disk && out);
    memset(out, 0, BB_CONTROL_IDENTITY_BYTES);
    out[0] = S_IDENTITY_VERSION;
    out[1] = disk->must_rebuild;
    memcpy(out + 4, &disk->boot, sizeof disk->boot);
    memcpy(out + 8, &disk->mark, sizeof disk->mark);
    memcpy(out + 12, disk->disk_id, sizeof disk->disk_id);
    memcpy(out + 28, disk->incarnation.bytes, sizeof disk->incarnation.bytes);
}

bb_error_t bb_control_identity_decode(bb_boot_disk_t *disk, bb_slice_t identity)
{
    BB_ASSERT(disk);
    const uint8_t *bytes = identity.data;
    if (identity.length >= 1 && bytes[0] != S_IDENTITY_VERSION) {
        return BB_ERR_FORMAT;
    }
    if (identity.length != BB_CONTROL_IDENTITY_BYTES || bytes[1] > 1 || bytes[2] || bytes[3]) {
        return BB_ERR_CORRUPT;
    }
    *disk = (bb_boot_disk_t){.must_rebuild = bytes[1] == 1};
    memcpy(&disk->boot, bytes + 4, sizeof disk->boot);
    memcpy(&disk->mark, bytes + 8, sizeof disk->mark);
    memcpy(disk->disk_id, bytes + 12, sizeof disk->disk_id);
    memcpy(disk->incarnation.bytes, bytes + 28, sizeof disk->incarnation.bytes);
    return BB_OK;
}

// ---- number of a start ---------------------------------------------------------------------

typedef struct {
    const char *node_id;
    uint32_t node_hash;
    uint32_t number; // the smallest that may be taken
} s_numbers_t;

static bb_error_t s_number_entry(void *context, const bb_registry_entry_t *entry)
{
    s_numbers_t *self = context;
    if (entry->kind == BB_REGISTRY_FORGOTTEN && entry->key.length == strlen(self->node_id) &&
        memcmp(entry->key.data, self->node_id, entry->key.length) == 0) {
        BB_ASSERT(entry->number <= UINT32_MAX); // a valid one
        self->number = BB_MAX(self->number, (uint32_t)entry->number);
    }
    return BB_OK;
}

static bb_error_t s_number_identity(void *context, bb_slice_t identity)
{
    s_numbers_t *self = context;
    bb_boot_disk_t disk;
    bb_error_t error = bb_control_identity_decode(&disk, identity);
    if (error == BB_OK && bb_stream_hash(&disk.incarnation) == self->node_hash) {
        uint32_t last = bb_stream_number(&disk.incarnation);
        self->number = BB_MAX(self->number, BB_MIN(last, UINT32_MAX - 1) + 1);
    }
    return error;
}

bb_error_t bb_control_stream_number(const bb_control_starting_t *starting, uint32_t *number,
                                    bb_fault_t *fault)
{
    BB_ASSERT(starting && number);
    int64_t seconds = BB_MAX(starting->now_wall_ns / BB_NS_PER_S, INT64_C(1));
    s_numbers_t numbers = {.node_id = starting->node_id,
                           .node_hash = bb_stream_node_hash(starting->node_id),
                           .number = (uint32_t)BB_MIN(seconds, (int64_t)UINT32_MAX)};
    bb_registry_disk_options_t options = {.vfs = starting->vfs,
                                          .kv = starting->kv,
                                          .directory = starting->directory,
                                          .context = &numbers,
                                          .entry = s_number_entry,
                                          .identity = s_number_identity};
    bb_registry_disk_t *disk = NULL;
    bb_error_t error = bb_registry_disk_open(&options, &disk, fault);
    bb_registry_disk_close(&disk);
    if (error == BB_OK) {
        *number = numbers.number;
    }
    return error;
}

// ---- life ----------------------------------------------------------------------------------

static bb_error_t s_on_entry(void *context, const bb_registry_entry_t *entry)
{
    bb_control_t *self = context;
    return bb_registry_load(self->registry, entry);
}

static bb_error_t s_on_identity(void *context, bb_slice_t identity)
{
    bb_control_t *self = context;
    return bb_control_identity_decode(&self->identity, identity);
}

// ---- marks of stores -----------------------------------------------------------------------

static void s_store_path(const bb_control_t *self, uint32_t index, char out[S_PATH_BYTES])
{
    snprintf(out, S_PATH_BYTES, "%s/store-%02u", self->options.directory, index);
}

// A store that has seen less than the node is another one, or an older copy.
static bb_error_t s_check_stores(bb_control_t *self, bb_fault_t *fault)
{
    const bb_store_mark_t own = {self->identity.boot, self->identity.mark};
    for (uint32_t i = 0; i < self->options.store_count && own.boot > 0; i++) {
        char path[S_PATH_BYTES];
        s_store_path(self, i, path);
        bb_store_mark_t seen = {0};
        bb_error_t error = bb_store_mark_read(self->options.vfs, path, &seen);
        if (error != BB_OK && error != BB_ERR_NOT_FOUND && error != BB_ERR_CORRUPT) {
            return bb_fault_set(fault, error, "%s/" BB_STORE_MARK_FILE ": cannot be read", path);
        }
        if (error != BB_OK || bb_store_mark_is_before(seen, own)) {
            self->identity.must_rebuild = true;
            snprintf(self->doubt, sizeof self->doubt,
                     "store-%02u has seen boot %u, mark %u of this node's %u, %u%s", i, seen.boot,
                     seen.mark, own.boot, own.mark,
                     error == BB_ERR_CORRUPT ? ": its busbar.mark is damaged" : "");
        }
    }
    return BB_OK;
}

static bb_error_t s_mark_stores(const bb_control_t *self, const bb_boot_disk_t *disk)
{
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < self->options.store_count && error == BB_OK; i++) {
        char path[S_PATH_BYTES];
        s_store_path(self, i, path);
        error =
            bb_store_mark_write(self->options.vfs, path, (bb_store_mark_t){disk->boot, disk->mark});
    }
    return error;
}

bb_error_t bb_control_open(const bb_control_options_t *options, int64_t now_mono_ns,
                           bb_control_t **control, bb_fault_t *fault)
{
    BB_ASSERT(options && options->topology && options->send && control);
    uint32_t self_index = bb_topology_self_index(options->topology);
    bb_control_t *self = bb_alloc_zero(1, sizeof *self);
    self->options = *options;
    if (self->options.mark_interval_ns == 0) {
        self->options.mark_interval_ns = BB_CONTROL_MARK_NS;
    }
    self->node_id = bb_strdup(bb_topology_node(options->topology, self_index)->id);
    self->registry = bb_registry_new(bb_topology_node_count(options->topology), self_index);
    memcpy(self->identity.disk_id, options->disk_id, sizeof self->identity.disk_id);
    bb_registry_disk_options_t disk = {.vfs = options->vfs,
                                       .kv = options->kv,
                                       .directory = options->directory,
                                       .context = self,
                                       .entry = s_on_entry,
                                       .identity = s_on_identity};
    bb_error_t error = bb_registry_disk_open(&disk, &self->disk, fault);
    if (error == BB_OK) {
        error = s_check_stores(self, fault);
    }
    if (error != BB_OK) {
        bb_control_close(&self);
        return error;
    }
    self->boot = bb_boot_new(self->registry, self->node_id, &self->identity, &options->incarnation,
                             now_mono_ns);
    self->mark_next_mono_ns = now_mono_ns + self->options.mark_interval_ns;
    *control = self;
    return BB_OK;
}

void bb_control_close(bb_control_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_control_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    bb_boot_destroy(&self->boot);
    bb_registry_disk_close(&self->disk);
    bb_registry_destroy(&self->registry);
    free(self->node_id);
    free(self);
}

// ---- events --------------------------------------------------------------------------------

void bb_control_peer(bb_control_t *self, int64_t now_mono_ns, uint32_t peer_index, bool is_up)
{
    BB_ASSERT(self);
    bb_registry_peer(self->registry, now_mono_ns, peer_index, is_up);
}

void bb_control_hear(bb_control_t *self, int64_t now_mono_ns, uint32_t peer_index, uint64_t digest)
{
    BB_ASSERT(self);
    bb_registry_hear(self->registry, now_mono_ns, peer_index, digest);
}

bb_error_t bb_control_receive(bb_control_t *self, uint32_t peer_index,
                              const bb_registry_message_t *message)
{
    BB_ASSERT(self && message);
    return bb_registry_receive(self->registry, peer_index, message);
}

void bb_control_promised(bb_control_t *self)
{
    BB_ASSERT(self);
    self->has_promised = true;
}

void bb_control_rebuilt(bb_control_t *self)
{
    BB_ASSERT(self);
    if (bb_boot_state(self->boot) == BB_BOOT_REBUILDING) {
        bb_boot_rebuilt(self->boot);
    }
}

void bb_control_settled(bb_control_t *self)
{
    BB_ASSERT(self);
    self->is_settled = true;
}

// ---- steps ---------------------------------------------------------------------------------

// Says that streams of earlier starts are forgotten; again when too much else is being put.
static void s_forget(bb_control_t *self, int64_t now_mono_ns)
{
    uint32_t number = bb_stream_number(&self->options.incarnation);
    if (!self->is_settled || self->is_forget_put || number == 0 ||
        bb_boot_state(self->boot) != BB_BOOT_COUNTING) {
        return;
    }
    bb_registry_entry_t entry = {.kind = BB_REGISTRY_FORGOTTEN,
                                 .key = bb_slice(self->node_id, strlen(self->node_id)),
                                 .number = number};
    self->is_forget_put = bb_registry_put(self->registry, now_mono_ns, &entry, BB_REGISTRY_NEED_ALL,
                                          S_FORGET_CONTEXT) == BB_OK;
}

// True: a put ended, so there may be more to decide.
static bool s_decide(bb_control_t *self, int64_t now_mono_ns)
{
    bb_boot_tick(self->boot, now_mono_ns);
    bool has_ended = false;
    bb_registry_outcome_t outcome;
    while (bb_registry_outcome_next(self->registry, &outcome)) {
        has_ended = true;
        if (outcome.context == BB_BOOT_CONTEXT) {
            bb_boot_outcome(self->boot, &outcome);
        }
    }
    s_forget(self, now_mono_ns);
    if (self->has_promised && now_mono_ns >= self->mark_next_mono_ns) {
        self->has_promised = false;
        self->mark_next_mono_ns = now_mono_ns + self->options.mark_interval_ns;
        bb_boot_mark(self->boot);
    }
    return has_ended;
}

// Writes what waits, in one transaction. True: something is durable now that was not.
static bool s_write(bb_control_t *self, int64_t now_mono_ns)
{
    if (self->is_broken || now_mono_ns < self->retry_mono_ns) {
        return false;
    }
    bb_boot_disk_t disk;
    bool has_identity = bb_boot_wants_disk(self->boot, &disk);
    bb_error_t error = has_identity ? s_mark_stores(self, &disk) : BB_OK;
    if (error != BB_OK) { // nothing was handed out yet
        self->is_broken = error != BB_ERR_DISK_FULL;
        self->retry_mono_ns = now_mono_ns + BB_CONTROL_RETRY_NS;
        return false;
    }
    if (has_identity) {
        uint8_t identity[BB_CONTROL_IDENTITY_BYTES];
        bb_control_identity_encode(&disk, identity);
        bb_registry_disk_identity(self->disk, bb_slice(identity, sizeof identity));
    }
    bool has_entries = false;
    bb_registry_entry_t entry;
    while (bb_registry_write_next(self->registry, &entry)) {
        bb_registry_disk_entry(self->disk, &entry);
        has_entries = true;
    }
    if (!has_identity && !has_entries) {
        return false;
    }
    error = bb_registry_disk_commit(self->disk);
    if (error != BB_OK) {
        self->is_broken = error != BB_ERR_DISK_FULL;
        self->retry_mono_ns = now_mono_ns + BB_CONTROL_RETRY_NS;
        if (has_entries) {
            bb_registry_unwritten(self->registry);
        }
        return false;
    }
    if (has_entries) {
        bb_registry_written(self->registry);
    }
    if (has_identity) {
        bb_boot_disk_written(self->boot, now_mono_ns);
    }
    return true;
}

void bb_control_step(bb_control_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    // What becomes durable may decide something, which is to be written again: identity, then
    // entry, then, for a node alone, the next number.
    bool has_changed = true;
    while (has_changed) {
        bool has_ended = s_decide(self, now_mono_ns);
        has_changed = s_write(self, now_mono_ns) || has_ended;
    }
    uint32_t node = 0;
    bb_message_t message = {.kind = BB_KIND_REGISTRY,
                            .epoch = bb_topology_epoch(self->options.topology)};
    while (bb_registry_send_next(self->registry, now_mono_ns, &node, &message.registry)) {
        self->options.send(self->options.context, node, &message);
    }
}

int64_t bb_control_wake_mono_ns(const bb_control_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    int64_t wake_mono_ns =
        BB_MIN(bb_registry_wake_mono_ns(self->registry), bb_boot_wake_mono_ns(self->boot));
    if (self->has_promised && bb_boot_state(self->boot) == BB_BOOT_COUNTING) {
        wake_mono_ns = BB_MIN(wake_mono_ns, self->mark_next_mono_ns);
    }
    if (!self->is_broken && self->retry_mono_ns > now_mono_ns) {
        wake_mono_ns = BB_MIN(wake_mono_ns, self->retry_mono_ns);
    }
    return wake_mono_ns;
}

// ---- what follows --------------------------------------------------------------------------

bool bb_control_is_written(const bb_control_t *self)
{
    BB_ASSERT(self);
    bb_boot_disk_t disk;
    return !bb_boot_wants_disk(self->boot, &disk);
}

bb_standing_t bb_control_standing(const bb_control_t *self)
{
    BB_ASSERT(self);
    bb_boot_state_t state = bb_boot_state(self->boot);
    if (self->is_broken && state != BB_BOOT_FENCED) {
        return BB_STANDING_JOINING; // it could register no later mark of what it promises
    }
    switch (state) {
    case BB_BOOT_CLAIMING:
    case BB_BOOT_REGISTERING:
        return BB_STANDING_JOINING;
    case BB_BOOT_COUNTING:
        return BB_STANDING_COUNTING;
    case BB_BOOT_REBUILDING:
        return BB_STANDING_REBUILDING;
    case BB_BOOT_FENCED:
        break;
    }
    return BB_STANDING_FENCED;
}

uint32_t bb_control_boot(const bb_control_t *self)
{
    BB_ASSERT(self);
    return bb_boot_number(self->boot);
}

uint64_t bb_control_digest(const bb_control_t *self)
{
    BB_ASSERT(self);
    return bb_registry_digest(self->registry);
}

bool bb_control_is_broken(const bb_control_t *self)
{
    BB_ASSERT(self);
    return self->is_broken;
}

bool bb_control_forgotten(const bb_control_t *self, uint64_t *version, bb_forgotten_t *forgotten)
{
    BB_ASSERT(self && version && forgotten);
    uint64_t present = bb_registry_version(self->registry) + 1;
    if (*version == present) {
        return false;
    }
    *version = present;
    bb_forgotten_t fresh = {0};
    for (uint32_t node = 0; node < bb_topology_node_count(self->options.topology); node++) {
        const char *id = bb_topology_node(self->options.topology, node)->id;
        bb_registry_entry_t entry;
        if (bb_registry_get(self->registry, BB_REGISTRY_FORGOTTEN, bb_slice(id, strlen(id)),
                            &entry)) {
            BB_ASSERT(entry.number <= UINT32_MAX); // a valid one
            bb_forgotten_raise(&fresh, bb_stream_node_hash(id), (uint32_t)entry.number);
        }
    }
    // Each mark of each node makes another version.
    if (bb_forgotten_is_equal(&fresh, forgotten)) {
        return false;
    }
    *forgotten = fresh;
    return true;
}

bool bb_control_is_stale(const bb_control_t *self)
{
    BB_ASSERT(self);
    bb_registry_entry_t entry;
    return bb_registry_get(self->registry, BB_REGISTRY_FORGOTTEN,
                           bb_slice(self->node_id, strlen(self->node_id)), &entry) &&
           entry.number > bb_stream_number(&self->options.incarnation);
}

bb_registry_t *bb_control_registry(bb_control_t *self)
{
    BB_ASSERT(self);
    return self->registry;
}

const char *bb_control_doubt_text(const bb_control_t *self)
{
    BB_ASSERT(self);
    return self->doubt;
}

void bb_control_rival_text(const bb_control_t *self, char *out, size_t out_bytes)
{
    BB_ASSERT(self && out && out_bytes > 0);
    bb_registry_entry_t entry;
    bool is_known = bb_registry_newest(self->registry, BB_REGISTRY_BOOT,
                                       bb_slice(self->node_id, strlen(self->node_id)), &entry);
    if (!is_known || entry.payload.length < sizeof self->identity.disk_id) {
        snprintf(out, out_bytes, "unknown");
        return;
    }
    char hex[2 * sizeof self->identity.disk_id + 1];
    const uint8_t *bytes = entry.payload.data;
    for (size_t i = 0; i < sizeof self->identity.disk_id; i++) {
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    }
    snprintf(out, out_bytes, "disk %s, boot %" PRIu64 ", mark %" PRIu64, hex, entry.number >> 32,
             entry.number & UINT32_MAX);
}
