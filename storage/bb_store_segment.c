// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_segment.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "protocol/bb_time.h"

struct bb_segment_pool {
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    char *directory;
    size_t map_bytes;
    uint32_t open_max;
    atomic_bool is_watched;
    atomic_uint_fast64_t doubt_count;
    atomic_int_fast64_t wait_ns;
    pthread_cond_t judged;         // a segment is not suspect any more
    pthread_mutex_t lock;          // guards everything below and the marked fields of the segments
    bb_segment_t *newest, *oldest; // open ones, most recently used first
    uint32_t open_count;
};

struct bb_segment {
    bb_segment_pool_t *pool;
    atomic_uint_fast32_t reference_count;
    bb_window_id_t window;
    uint64_t number;
    atomic_bool is_doomed;
    atomic_bool is_doubted;
    atomic_int trust; // bb_segment_trust_t
    // Behind the pool's lock.
    bb_kv_env_t *env;
    uint32_t user_count;
    bb_segment_t *newer, *older;
};

bb_segment_pool_t *bb_segment_pool_new(bb_vfs_t *vfs, bb_kv_driver_t *kv, const char *directory,
                                       size_t map_bytes, uint32_t open_max)
{
    bb_segment_pool_t *self = bb_alloc_zero(1, sizeof *self);
    self->vfs = vfs;
    self->kv = kv;
    self->directory = bb_strdup(directory);
    self->map_bytes = map_bytes;
    self->open_max = open_max;
    pthread_condattr_t attributes;
    int failed = pthread_mutex_init(&self->lock, NULL);
    failed |= pthread_condattr_init(&attributes);
    failed |= pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    failed |= pthread_cond_init(&self->judged, &attributes);
    BB_ASSERT(failed == 0);
    pthread_condattr_destroy(&attributes);
    return self;
}

void bb_segment_pool_destroy(bb_segment_pool_t **self)
{
    if (*self) {
        BB_ASSERT((*self)->open_count == 0);
        pthread_cond_destroy(&(*self)->judged);
        pthread_mutex_destroy(&(*self)->lock);
        free((*self)->directory);
        free(*self);
        *self = NULL;
    }
}

uint32_t bb_segment_pool_open_max(const bb_segment_pool_t *self)
{
    return self->open_max;
}

size_t bb_segment_pool_map_bytes(const bb_segment_pool_t *self)
{
    return self->map_bytes;
}

// ---- folders ---------------------------------------------------------------------------------
void bb_segment_kind_path(const bb_segment_pool_t *pool, bb_window_kind_t kind,
                          char out[BB_WINDOW_PATH_BYTES])
{
    int length = snprintf(out, BB_WINDOW_PATH_BYTES, "%s/%s", pool->directory,
                          kind == BB_WINDOW_NORMAL ? "windows" : "quarantine");
    BB_ASSERT(length > 0 && length < BB_WINDOW_PATH_BYTES); // checked when the store is opened
}

void bb_segment_class_path(const bb_segment_pool_t *pool, bb_window_kind_t kind, uint16_t class_id,
                           char out[BB_WINDOW_PATH_BYTES])
{
    char folder[BB_WINDOW_PATH_BYTES];
    bb_segment_kind_path(pool, kind, folder);
    int length = class_id == 0
                     ? snprintf(out, BB_WINDOW_PATH_BYTES, "%s/default", folder)
                     : snprintf(out, BB_WINDOW_PATH_BYTES, "%s/%05u", folder, (unsigned)class_id);
    BB_ASSERT(length > 0 && length < BB_WINDOW_PATH_BYTES);
}

void bb_segment_path(const bb_segment_t *self, char out[BB_WINDOW_PATH_BYTES])
{
    char folder[BB_WINDOW_PATH_BYTES];
    bb_segment_class_path(self->pool, self->window.kind, self->window.class_id, folder);
    bb_civil_t date = bb_civil_of_wall_ns((int64_t)self->window.day * BB_NS_PER_DAY);
    int length = snprintf(out, BB_WINDOW_PATH_BYTES, "%s/%04d-%02u-%02u.%06" PRIu64, folder,
                          date.year, date.month, date.day, self->number);
    BB_ASSERT(length > 0 && length < BB_WINDOW_PATH_BYTES);
}

bool bb_segment_class_parse(const char *name, uint16_t *class_id)
{
    if (strcmp(name, "default") == 0) {
        *class_id = 0;
        return true;
    }
    unsigned number;
    int end = 0;
    if (sscanf(name, "%5u%n", &number, &end) != 1 || end != 5 || name[end] != '\0' || number == 0 ||
        number > UINT16_MAX) {
        return false;
    }
    *class_id = (uint16_t)number;
    return true;
}

bool bb_segment_name_parse(const char *name, uint32_t *day, uint64_t *number)
{
    int year;
    unsigned month;
    unsigned of_month;
    uint64_t found;
    int end = 0;
    if (sscanf(name, "%4d-%2u-%2u.%" SCNu64 "%n", &year, &month, &of_month, &found, &end) != 4 ||
        name[end] != '\0' || year < 1970 || of_month < 1 ||
        of_month > bb_civil_month_days(year, month) || found == 0) {
        return false;
    }
    *day = (uint32_t)bb_civil_days(year, month, of_month);
    *number = found;
    return true;
}

// ---- references ------------------------------------------------------------------------------
bb_segment_t *bb_segment_new(bb_segment_pool_t *pool, bb_window_id_t window, uint64_t number)
{
    BB_ASSERT(number >= 1);
    bb_segment_t *self = bb_alloc_zero(1, sizeof *self);
    self->pool = pool;
    atomic_init(&self->reference_count, 1);
    atomic_init(&self->is_doomed, false);
    atomic_init(&self->is_doubted, false);
    atomic_init(&self->trust, BB_SEGMENT_TRUSTED);
    self->window = window;
    self->number = number;
    return self;
}

void bb_segment_retain(bb_segment_t *self)
{
    atomic_fetch_add_explicit(&self->reference_count, 1, memory_order_relaxed);
}

static void s_unlink(bb_segment_pool_t *pool, bb_segment_t *segment)
{
    *(segment->newer ? &segment->newer->older : &pool->newest) = segment->older;
    *(segment->older ? &segment->older->newer : &pool->oldest) = segment->newer;
    segment->newer = NULL;
    segment->older = NULL;
}

static void s_push(bb_segment_pool_t *pool, bb_segment_t *segment)
{
    segment->older = pool->newest;
    segment->newer = NULL;
    *(pool->newest ? &pool->newest->newer : &pool->oldest) = segment;
    pool->newest = segment;
}

static void s_close_env(bb_segment_pool_t *pool, bb_segment_t *segment)
{
    BB_ASSERT(segment->user_count == 0);
    s_unlink(pool, segment);
    pool->open_count--;
    pool->kv->close(&segment->env);
}

void bb_segment_release(bb_segment_t **self)
{
    bb_segment_t *segment = *self;
    *self = NULL;
    if (!segment ||
        atomic_fetch_sub_explicit(&segment->reference_count, 1, memory_order_acq_rel) > 1) {
        return;
    }
    bb_segment_pool_t *pool = segment->pool;
    pthread_mutex_lock(&pool->lock);
    if (segment->env) {
        s_close_env(pool, segment);
    }
    pthread_mutex_unlock(&pool->lock);
    if (atomic_load(&segment->is_doomed)) {
        char path[BB_WINDOW_PATH_BYTES];
        bb_segment_path(segment, path);
        bb_ignore(pool->vfs->remove_tree(pool->vfs, path),
                  "what stays behind is removed when the store is opened next");
    }
    free(segment);
}

void bb_segment_doom(bb_segment_t *self)
{
    atomic_store(&self->is_doomed, true);
}

// ---- trust -----------------------------------------------------------------------------------
void bb_segment_pool_watch(bb_segment_pool_t *self, int64_t wait_ns)
{
    atomic_store(&self->wait_ns, wait_ns);
    atomic_store(&self->is_watched, true);
}

void bb_segment_doubt(bb_segment_t *self)
{
    if (atomic_load(&self->pool->is_watched) && !atomic_exchange(&self->is_doubted, true)) {
        atomic_store(&self->trust, BB_SEGMENT_SUSPECT);
        atomic_fetch_add(&self->pool->doubt_count, 1);
    }
}

bool bb_segment_is_doubted(const bb_segment_t *self)
{
    return atomic_load(&self->is_doubted);
}

uint64_t bb_segment_pool_doubt_count(const bb_segment_pool_t *self)
{
    return atomic_load(&self->doubt_count);
}

void bb_segment_trust_set(bb_segment_t *self, bb_segment_trust_t trust)
{
    pthread_mutex_lock(&self->pool->lock);
    atomic_store(&self->trust, trust);
    if (trust != BB_SEGMENT_SUSPECT) {
        pthread_cond_broadcast(&self->pool->judged);
    }
    pthread_mutex_unlock(&self->pool->lock);
}

bb_segment_trust_t bb_segment_trust(const bb_segment_t *self)
{
    return (bb_segment_trust_t)atomic_load(&self->trust);
}

bb_window_id_t bb_segment_window(const bb_segment_t *self)
{
    return self->window;
}

uint64_t bb_segment_number(const bb_segment_t *self)
{
    return self->number;
}

bb_error_t bb_segment_make(bb_segment_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_vfs_t *vfs = self->pool->vfs;
    char folders[2][BB_WINDOW_PATH_BYTES];
    char path[BB_WINDOW_PATH_BYTES];
    bb_segment_kind_path(self->pool, self->window.kind, folders[0]);
    bb_segment_class_path(self->pool, self->window.kind, self->window.class_id, folders[1]);
    bb_segment_path(self, path);
    bb_error_t error = vfs->remove_tree(vfs, path); // of an attempt that failed
    error = error == BB_ERR_NOT_FOUND ? BB_OK : error;
    // The folder of the class is made with its first segment, or again when somebody deleted it.
    for (uint32_t i = 0; error == BB_OK && i < 2; i++) {
        error = vfs->make_directory(vfs, folders[i]);
    }
    if (error == BB_OK) {
        error = vfs->make_directory(vfs, path);
    }
    for (uint32_t i = 0; error == BB_OK && i < 2; i++) {
        error = vfs->sync_directory(vfs, folders[i]);
        *must_fence |= error != BB_OK && error != BB_ERR_DISK_FULL;
    }
    return error == BB_OK ? BB_OK : bb_fault_set(fault, error, "%s: cannot be made", path);
}

// ---- environments ----------------------------------------------------------------------------
static void s_close_idle(bb_segment_pool_t *pool)
{
    bb_segment_t *segment = pool->oldest;
    while (segment && pool->open_count >= pool->open_max) {
        bb_segment_t *newer = segment->newer;
        if (segment->user_count == 0) {
            s_close_env(pool, segment);
        }
        segment = newer;
    }
}

// Waits while the segment is suspect, as long as the pool's watcher said.
static bb_segment_trust_t s_await_verdict(bb_segment_t *self)
{
    bb_segment_pool_t *pool = self->pool;
    int64_t wait_ns = atomic_load(&pool->wait_ns);
    if (bb_segment_trust(self) != BB_SEGMENT_SUSPECT || wait_ns == 0) {
        return bb_segment_trust(self);
    }
    struct timespec limit;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    int64_t limit_ns = limit.tv_nsec + wait_ns;
    limit.tv_sec += (time_t)(limit_ns / BB_NS_PER_S);
    limit.tv_nsec = (long)(limit_ns % BB_NS_PER_S);
    int failed = 0;
    pthread_mutex_lock(&pool->lock);
    while (bb_segment_trust(self) == BB_SEGMENT_SUSPECT && failed == 0) {
        failed = pthread_cond_timedwait(&pool->judged, &pool->lock, &limit);
    }
    pthread_mutex_unlock(&pool->lock);
    return bb_segment_trust(self);
}

bb_error_t bb_segment_env_acquire(bb_segment_t *self, bool create, bb_kv_env_t **env,
                                  bb_fault_t *fault)
{
    bb_segment_pool_t *pool = self->pool;
    bb_error_t error = BB_OK;
    switch (s_await_verdict(self)) {
    case BB_SEGMENT_TRUSTED:
        break;
    case BB_SEGMENT_SUSPECT:
        return bb_fault_set(fault, BB_ERR_BUSY, "another process looks at the segment first");
    case BB_SEGMENT_CONDEMNED:
        return bb_fault_set(fault, BB_ERR_CORRUPT, BB_SEGMENT_CONDEMNED_TEXT);
    }
    pthread_mutex_lock(&pool->lock);
    if (self->env) {
        s_unlink(pool, self);
        s_push(pool, self);
    } else {
        s_close_idle(pool);
        char path[BB_WINDOW_PATH_BYTES];
        bb_segment_path(self, path);
        error = pool->kv->open(pool->kv, path, pool->map_bytes, create, &self->env, fault);
        if (error == BB_OK) {
            s_push(pool, self);
            pool->open_count++;
        }
    }
    if (error == BB_OK) {
        self->user_count++;
        *env = self->env;
    }
    pthread_mutex_unlock(&pool->lock);
    if (error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT || error == BB_ERR_NOT_FOUND) {
        bb_segment_doubt(self);
    }
    return error;
}

void bb_segment_env_release(bb_segment_t *self)
{
    pthread_mutex_lock(&self->pool->lock);
    BB_ASSERT(self->user_count > 0);
    self->user_count--;
    pthread_mutex_unlock(&self->pool->lock);
}
