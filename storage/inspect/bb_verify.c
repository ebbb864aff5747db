// SPDX-License-Identifier: Apache-2.0
#include "storage/inspect/bb_verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_identity.h"
#include "storage/inspect/bb_inspect_journal.h"
#include "storage/inspect/bb_verify_store.h"

#define S_PATH_BYTES 1024u
#define S_STORES_MAX 256u
#define S_MAP_BYTES  ((size_t)64 << 30) // address space only; larger than any environment of ours

void bb_verify_found(const bb_verify_options_t *options, bb_verify_totals_t *totals,
                     const char *where, const char *format, ...)
{
    bb_verify_finding_t finding;
    snprintf(finding.where, sizeof finding.where, "%s", where);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding.what, sizeof finding.what, format, arguments);
    va_end(arguments);
    totals->finding_count++;
    if (options->on_finding) {
        options->on_finding(options->context, &finding);
    }
}

// ---- names in a folder -----------------------------------------------------------------------
typedef struct {
    char **items;
    uint32_t count, capacity;
    bool want_directories;
    const char *suffix;
} s_names_t;

static void s_name(void *context, const char *name, bool is_directory)
{
    s_names_t *names = context;
    size_t length = strlen(name);
    size_t suffix = strlen(names->suffix);
    if (is_directory != names->want_directories || length < suffix ||
        strcmp(name + length - suffix, names->suffix) != 0) {
        return;
    }
    if (names->count == names->capacity) {
        names->capacity = BB_MAX(16u, names->capacity * 2);
        names->items = bb_realloc(names->items, names->capacity * sizeof *names->items);
    }
    char *copy = bb_alloc(length + 1);
    memcpy(copy, name, length + 1);
    names->items[names->count++] = copy;
}

static int s_by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bb_error_t s_list(bb_vfs_t *vfs, const char *path, s_names_t *names)
{
    bb_error_t error = vfs->list(vfs, path, s_name, names);
    if (names->count > 1) {
        qsort(names->items, names->count, sizeof *names->items, s_by_name);
    }
    return error;
}

static void s_names_free(s_names_t *names)
{
    for (uint32_t i = 0; i < names->count; i++) {
        free(names->items[i]);
    }
    free(names->items);
}

// ---- journal ---------------------------------------------------------------------------------
typedef struct {
    const bb_verify_options_t *options;
    bb_verify_totals_t *totals;
    const char *store; // path of the store's folder
    const char *below; // the same below the folder that was given; "" or "store-00/"
    uint64_t owner;
} s_store_t;

static void s_journal_findings(s_store_t *self, const char *where, bool is_newest,
                               uint64_t wanted_end, const bb_inspect_journal_t *found)
{
    const bb_verify_options_t *options = self->options;
    if (found->damaged_count > 0) {
        bb_verify_found(options, self->totals, where,
                        "%" PRIu64 " damaged stretches, %" PRIu64 " bytes; the first: %s",
                        found->damaged_count, found->damaged_bytes, found->first_damage);
    }
    if (found->missing_seq_count > 0 && found->damaged_count == 0) {
        bb_verify_found(options, self->totals, where, "%" PRIu64 " records are missing",
                        found->missing_seq_count);
    }
    if (!is_newest && wanted_end != 0 && found->end_bytes < wanted_end) {
        bb_verify_found(options, self->totals, where, "ends at %" PRIu64 " and not at %" PRIu64,
                        found->end_bytes, wanted_end);
    } else if (!is_newest && wanted_end == 0 && found->recycled_bytes == 0 &&
               found->tail_bytes > 0) {
        bb_verify_found(options, self->totals, where, "the last %" PRIu64 " bytes do not verify",
                        found->tail_bytes);
    }
}

// The newest file's end may be torn: nobody was told that what stood there is durable.
static bb_error_t s_journal(s_store_t *self, bb_fault_t *fault)
{
    char folder[S_PATH_BYTES];
    s_names_t names = {.suffix = ".journal"};
    snprintf(folder, sizeof folder, "%s/journal", self->store);
    bb_error_t error = s_list(self->options->vfs, folder, &names);
    if (error == BB_ERR_NOT_FOUND || (error == BB_OK && names.count == 0)) {
        char where[BB_VERIFY_TEXT_BYTES];
        snprintf(where, sizeof where, "%sjournal", self->below);
        bb_verify_found(self->options, self->totals, where, "there is no journal");
        error = BB_OK;
    }
    bb_inspect_journal_t *found = bb_alloc_zero(names.count + 1, sizeof *found);
    for (uint32_t i = 0; error == BB_OK && i < names.count; i++) {
        char path[S_PATH_BYTES + 256];
        snprintf(path, sizeof path, "%s/%s", folder, names.items[i]);
        bb_inspect_journal_options_t options = {self->options->vfs, path, self->owner, NULL};
        error = bb_inspect_journal(&options, &found[i], fault);
        if (error == BB_ERR_FOREIGN) {
            char where[BB_VERIFY_TEXT_BYTES];
            snprintf(where, sizeof where, "%sjournal/%s", self->below, names.items[i]);
            bb_verify_found(self->options, self->totals, where, "belongs to another store");
            error = BB_OK;
        }
        self->totals->journal_file_count++;
        self->totals->journal_bytes += found[i].file_bytes;
        self->totals->journal_record_count += found[i].record_count;
    }
    for (uint32_t i = 0; error == BB_OK && i < names.count; i++) {
        char where[BB_VERIFY_TEXT_BYTES];
        bool is_newest = i + 1 == names.count;
        snprintf(where, sizeof where, "%sjournal/%s", self->below, names.items[i]);
        s_journal_findings(self, where, is_newest, is_newest ? 0 : found[i + 1].previous_bytes,
                           &found[i]);
    }
    free(found);
    s_names_free(&names);
    return error;
}

// ---- one store -------------------------------------------------------------------------------
static bb_error_t s_lock(const bb_verify_options_t *options, const char *path, bb_file_t **file,
                         bb_fault_t *fault)
{
    bb_vfs_t *vfs = options->vfs;
    bb_error_t error = vfs->open(vfs, path, BB_FILE_READ, file, fault);
    if (error == BB_OK && !options->in_use_is_fine) {
        error = vfs->lock(vfs, *file);
        if (error != BB_OK) {
            vfs->close(vfs, file);
            error = bb_fault_set(fault, error,
                                 "%s: a node uses this folder; stop it first, or accept that what "
                                 "changes meanwhile looks damaged",
                                 path);
        }
    }
    return error;
}

static bb_error_t s_identity(s_store_t *self, bb_file_t *file, bb_store_identity_t *identity,
                             bb_fault_t *fault)
{
    bb_vfs_t *vfs = self->options->vfs;
    uint8_t bytes[BB_STORE_IDENTITY_BYTES + 1];
    size_t got = 0;
    bb_error_t error = vfs->read_at(vfs, file, 0, bytes, sizeof bytes, &got);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s/" BB_STORE_IDENTITY_FILE ": cannot be read",
                            self->store);
    }
    if (bb_store_identity_decode(bb_slice(bytes, got), identity) != BB_OK) {
        char where[BB_VERIFY_TEXT_BYTES];
        snprintf(where, sizeof where, "%s" BB_STORE_IDENTITY_FILE, self->below);
        bb_verify_found(self->options, self->totals, where, "does not verify");
        return BB_OK; // the rest is checked without knowing whose it is
    }
    if (identity->format != BB_STORE_FORMAT) {
        return bb_fault_set(fault, BB_ERR_FORMAT,
                            "%s: format %u, this program knows %u; verify it with the version that "
                            "wrote it",
                            self->store, identity->format, BB_STORE_FORMAT);
    }
    self->owner = bb_store_identity_owner(identity);
    return BB_OK;
}

static bb_error_t s_store(const bb_verify_options_t *options, const char *store, const char *below,
                          bb_verify_totals_t *totals, bb_fault_t *fault)
{
    s_store_t self = {options, totals, store, below, 0};
    bb_store_identity_t identity = {0};
    bb_file_t *file = NULL;
    char path[S_PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/" BB_STORE_IDENTITY_FILE, store);
    bb_error_t error = s_lock(options, path, &file, fault);
    if (error != BB_OK) {
        return error;
    }
    totals->store_count++;
    error = s_identity(&self, file, &identity, fault);
    if (error == BB_OK) {
        error = s_journal(&self, fault);
    }
    if (error == BB_OK) {
        bb_verify_store_t argument = {store, below, identity.partition_count, S_MAP_BYTES};
        error = bb_verify_store_maps(options, &argument, totals, fault);
    }
    options->vfs->close(options->vfs, &file);
    return error;
}

bb_error_t bb_verify_folder(const bb_verify_options_t *options, bb_verify_totals_t *totals,
                            bb_fault_t *fault)
{
    bb_vfs_t *vfs = options->vfs;
    bb_file_t *lock = NULL;
    char path[S_PATH_BYTES];
    *totals = (bb_verify_totals_t){0};
    snprintf(path, sizeof path, "%s/" BB_STORE_IDENTITY_FILE, options->directory);
    if (vfs->open(vfs, path, BB_FILE_READ, &lock, NULL) == BB_OK) {
        vfs->close(vfs, &lock);
        return s_store(options, options->directory, "", totals, fault);
    }
    snprintf(path, sizeof path, "%s/busbar.lock", options->directory);
    bb_error_t error = s_lock(options, path, &lock, fault);
    if (error != BB_OK && error != BB_ERR_NOT_FOUND) {
        return error;
    }
    s_names_t names = {.want_directories = true, .suffix = ""};
    error = s_list(vfs, options->directory, &names);
    for (uint32_t i = 0; error == BB_OK && i < names.count; i++) {
        char below[64];
        if (strncmp(names.items[i], "store-", 6) == 0 && strlen(names.items[i]) < 32) {
            snprintf(path, sizeof path, "%s/%s", options->directory, names.items[i]);
            snprintf(below, sizeof below, "%s/", names.items[i]);
            error = s_store(options, path, below, totals, fault);
        }
    }
    s_names_free(&names);
    if (lock) {
        vfs->close(vfs, &lock);
    }
    if (error == BB_OK && totals->store_count == 0) {
        error = BB_ERR_NOT_FOUND;
    }
    if (error == BB_ERR_NOT_FOUND) {
        error = bb_fault_set(fault, error, "%s: there is no store (busbar.store, store-00/...)",
                             options->directory);
    }
    return error;
}
