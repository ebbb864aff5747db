// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_registry_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/kv/bb_kv_record.h"

#define S_MAP_BYTES       ((size_t)1 << 30) // address space; some millions of entries
#define S_KEY_BYTES_MAX   (2 + BB_REGISTRY_KEY_BYTES_MAX)
#define S_VALUE_BYTES_MAX BB_MAX(8 + BB_REGISTRY_PAYLOAD_BYTES_MAX, BB_REGISTRY_IDENTITY_BYTES_MAX)

typedef struct {
    uint32_t key_length, value_length;
    uint8_t key[S_KEY_BYTES_MAX], value[S_VALUE_BYTES_MAX];
} s_record_t;

struct bb_registry_disk {
    bb_registry_disk_options_t options;
    char *path;
    bb_kv_env_t *env;
    s_record_t *records; // collected
    uint32_t count, capacity;
    bool is_fenced;
};

// ---- opening -------------------------------------------------------------------------------

static bb_error_t s_visit(void *context, bb_slice_t key, bb_slice_t record, bb_fault_t *fault)
{
    const bb_registry_disk_options_t *options = context;
    const uint8_t *bytes = key.data;
    bb_slice_t value;
    bb_error_t error = bb_kv_record_open(key, record, &value);
    if (error == BB_OK && key.length == 1 && bytes[0] == 'I') {
        return options->identity(options->context, value);
    }
    bb_registry_entry_t entry = {0};
    bool is_entry = error == BB_OK && key.length > 2 && bytes[0] == 'R' && value.length >= 8 &&
                    bb_registry_kind_is_known(bytes[1]);
    if (is_entry) {
        entry.kind = (bb_registry_kind_t)bytes[1];
        entry.key = bb_slice(bytes + 2, key.length - 2);
        memcpy(&entry.number, value.data, sizeof entry.number);
        entry.payload = bb_slice((const uint8_t *)value.data + 8, value.length - 8);
        is_entry = bb_registry_entry_is_valid(&entry);
    }
    if (!is_entry) {
        return bb_fault_set(fault, BB_ERR_CORRUPT,
                            "registry: the record '%.*s' is not what was written",
                            (int)BB_MIN(key.length, 64u), (const char *)key.data);
    }
    return options->entry(options->context, &entry);
}

static bb_error_t s_load(bb_registry_disk_t *self, bb_fault_t *fault)
{
    bb_kv_driver_t *kv = self->options.kv;
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = kv->begin(self->env, false, &txn);
    if (error == BB_OK) {
        error = bb_kv_walk(kv, txn, s_visit, &self->options, fault);
    }
    kv->abort(&txn);
    return error;
}

bb_error_t bb_registry_disk_open(const bb_registry_disk_options_t *options,
                                 bb_registry_disk_t **disk, bb_fault_t *fault)
{
    BB_ASSERT(options && disk && options->vfs && options->kv && options->directory);
    BB_ASSERT(options->entry && options->identity);
    bb_registry_disk_t *self = bb_alloc_zero(1, sizeof *self);
    self->options = *options;
    size_t length = strlen(options->directory) + sizeof "/registry";
    self->path = bb_alloc(length);
    snprintf(self->path, length, "%s/registry", options->directory);
    bb_error_t error = options->vfs->make_directory(options->vfs, self->path);
    if (error != BB_OK) {
        error =
            bb_fault_set(fault, error, "cannot make %s: %s", self->path, bb_error_message(error));
    } else {
        error = options->kv->open(options->kv, self->path, S_MAP_BYTES, true, &self->env, fault);
    }
    if (error == BB_OK) {
        error = s_load(self, fault);
    }
    if (error != BB_OK) {
        bb_registry_disk_close(&self);
        return error;
    }
    *disk = self;
    return BB_OK;
}

void bb_registry_disk_close(bb_registry_disk_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_registry_disk_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    if (self->env) {
        self->options.kv->close(&self->env);
    }
    free(self->records);
    free(self->path);
    free(self);
}

// ---- writing -------------------------------------------------------------------------------

static s_record_t *s_add(bb_registry_disk_t *self)
{
    if (self->count == self->capacity) {
        self->capacity = BB_MAX(2 * self->capacity, 16u);
        self->records = bb_realloc(self->records, self->capacity * sizeof *self->records);
    }
    return &self->records[self->count++];
}

void bb_registry_disk_entry(bb_registry_disk_t *self, const bb_registry_entry_t *entry)
{
    BB_ASSERT(self && entry && bb_registry_entry_is_valid(entry));
    s_record_t *record = s_add(self);
    record->key_length = 2 + (uint32_t)entry->key.length;
    record->key[0] = 'R';
    record->key[1] = (uint8_t)entry->kind;
    memcpy(record->key + 2, entry->key.data, entry->key.length);
    record->value_length = 8 + (uint32_t)entry->payload.length;
    memcpy(record->value, &entry->number, sizeof entry->number);
    if (entry->payload.length > 0) {
        memcpy(record->value + 8, entry->payload.data, entry->payload.length);
    }
}

void bb_registry_disk_identity(bb_registry_disk_t *self, bb_slice_t identity)
{
    BB_ASSERT(self && identity.length >= 1 && identity.length <= BB_REGISTRY_IDENTITY_BYTES_MAX);
    s_record_t *record = s_add(self);
    record->key_length = 1;
    record->key[0] = 'I';
    record->value_length = (uint32_t)identity.length;
    memcpy(record->value, identity.data, identity.length);
}

bb_error_t bb_registry_disk_commit(bb_registry_disk_t *self)
{
    BB_ASSERT(self);
    bb_kv_driver_t *kv = self->options.kv;
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->is_fenced ? BB_ERR_FENCED : kv->begin(self->env, true, &txn);
    for (uint32_t i = 0; error == BB_OK && i < self->count; i++) {
        const s_record_t *record = &self->records[i];
        error = bb_kv_record_put(kv, txn, bb_slice(record->key, record->key_length),
                                 bb_slice(record->value, record->value_length));
    }
    if (error == BB_OK) {
        error = kv->commit(&txn);
        // Whether it is on the disk is not known: nothing that it says may be told to anybody.
        self->is_fenced = error != BB_OK && error != BB_ERR_DISK_FULL;
    }
    kv->abort(&txn);
    self->count = 0;
    return error;
}
