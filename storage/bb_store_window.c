// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_window.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_time.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "counts are written as they lie");

static const uint8_t s_counts_key[1] = {0xff};

struct bb_window_pool {
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    char *directory;
    size_t map_bytes;
    pthread_mutex_t lock;         // guards everything below and the marked fields of the windows
    bb_window_t *newest, *oldest; // open ones, most recently used first
    uint32_t open_count;
};

struct bb_window {
    bb_window_pool_t *pool;
    atomic_uint_fast32_t reference_count;
    bb_window_kind_t kind;
    uint32_t day;
    uint64_t number;
    atomic_bool is_doomed;
    atomic_bool is_barred; // not to be opened
    // Behind the pool's lock.
    bb_kv_env_t *env;
    uint32_t user_count;
    bb_window_t *newer, *older;
};

bb_window_pool_t *bb_window_pool_new(bb_vfs_t *vfs, bb_kv_driver_t *kv, const char *directory,
                                     size_t map_bytes)
{
    bb_window_pool_t *self = bb_alloc_zero(1, sizeof *self);
    self->vfs = vfs;
    self->kv = kv;
    self->directory = bb_strdup(directory);
    self->map_bytes = map_bytes;
    int failed = pthread_mutex_init(&self->lock, NULL);
    BB_ASSERT(failed == 0);
    return self;
}

void bb_window_pool_destroy(bb_window_pool_t **self)
{
    if (*self) {
        BB_ASSERT((*self)->open_count == 0);
        pthread_mutex_destroy(&(*self)->lock);
        free((*self)->directory);
        free(*self);
        *self = NULL;
    }
}

// ---- names -----------------------------------------------------------------------------------
void bb_window_path(const bb_window_pool_t *pool, bb_window_kind_t kind, uint32_t day,
                    uint64_t number, char out[BB_WINDOW_PATH_BYTES])
{
    const char *folder = kind == BB_WINDOW_NORMAL ? "windows" : "quarantine";
    int length;
    if (number == 0) {
        length = snprintf(out, BB_WINDOW_PATH_BYTES, "%s/%s", pool->directory, folder);
    } else {
        bb_civil_t date = bb_civil_of_wall_ns((int64_t)day * BB_NS_PER_DAY);
        length = snprintf(out, BB_WINDOW_PATH_BYTES, "%s/%s/%04d-%02u-%02u.%06" PRIu64,
                          pool->directory, folder, date.year, date.month, date.day, number);
    }
    BB_ASSERT(length > 0 && length < BB_WINDOW_PATH_BYTES); // checked when the store is opened
}

bool bb_window_name_parse(const char *name, uint32_t *day, uint64_t *number)
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
bb_window_t *bb_window_new(bb_window_pool_t *pool, bb_window_kind_t kind, uint32_t day,
                           uint64_t number)
{
    BB_ASSERT(number >= 1);
    bb_window_t *self = bb_alloc_zero(1, sizeof *self);
    self->pool = pool;
    atomic_init(&self->reference_count, 1);
    atomic_init(&self->is_doomed, false);
    atomic_init(&self->is_barred, false);
    self->kind = kind;
    self->day = day;
    self->number = number;
    return self;
}

void bb_window_retain(bb_window_t *self)
{
    atomic_fetch_add_explicit(&self->reference_count, 1, memory_order_relaxed);
}

static void s_unlink(bb_window_pool_t *pool, bb_window_t *window)
{
    *(window->newer ? &window->newer->older : &pool->newest) = window->older;
    *(window->older ? &window->older->newer : &pool->oldest) = window->newer;
    window->newer = NULL;
    window->older = NULL;
}

static void s_push(bb_window_pool_t *pool, bb_window_t *window)
{
    window->older = pool->newest;
    window->newer = NULL;
    *(pool->newest ? &pool->newest->newer : &pool->oldest) = window;
    pool->newest = window;
}

static void s_close_env(bb_window_pool_t *pool, bb_window_t *window)
{
    BB_ASSERT(window->user_count == 0);
    s_unlink(pool, window);
    pool->open_count--;
    pool->kv->close(&window->env);
}

void bb_window_release(bb_window_t **self)
{
    bb_window_t *window = *self;
    *self = NULL;
    if (!window ||
        atomic_fetch_sub_explicit(&window->reference_count, 1, memory_order_acq_rel) > 1) {
        return;
    }
    bb_window_pool_t *pool = window->pool;
    pthread_mutex_lock(&pool->lock);
    if (window->env) {
        s_close_env(pool, window);
    }
    pthread_mutex_unlock(&pool->lock);
    if (atomic_load(&window->is_doomed)) {
        char path[BB_WINDOW_PATH_BYTES];
        bb_window_path(pool, window->kind, window->day, window->number, path);
        bb_ignore(pool->vfs->remove_tree(pool->vfs, path),
                  "what stays behind is removed when the store is opened next");
    }
    free(window);
}

void bb_window_bar(bb_window_t *self, bool is_barred)
{
    atomic_store(&self->is_barred, is_barred);
}

void bb_window_doom(bb_window_t *self)
{
    atomic_store(&self->is_doomed, true);
}

bb_window_kind_t bb_window_kind(const bb_window_t *self)
{
    return self->kind;
}

uint32_t bb_window_day(const bb_window_t *self)
{
    return self->day;
}

uint64_t bb_window_number(const bb_window_t *self)
{
    return self->number;
}

// ---- environments ----------------------------------------------------------------------------
static void s_close_idle(bb_window_pool_t *pool)
{
    bb_window_t *window = pool->oldest;
    while (window && pool->open_count >= BB_WINDOWS_OPEN_MAX) {
        bb_window_t *newer = window->newer;
        if (window->user_count == 0) {
            s_close_env(pool, window);
        }
        window = newer;
    }
}

bb_error_t bb_window_env_acquire(bb_window_t *self, bool create, bb_kv_env_t **env,
                                 bb_fault_t *fault)
{
    bb_window_pool_t *pool = self->pool;
    bb_error_t error = BB_OK;
    if (atomic_load(&self->is_barred)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "the window is suspect and not opened");
    }
    pthread_mutex_lock(&pool->lock);
    if (self->env) {
        s_unlink(pool, self);
        s_push(pool, self);
    } else {
        s_close_idle(pool);
        char path[BB_WINDOW_PATH_BYTES];
        bb_window_path(pool, self->kind, self->day, self->number, path);
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
    return error;
}

void bb_window_env_release(bb_window_t *self)
{
    pthread_mutex_lock(&self->pool->lock);
    BB_ASSERT(self->user_count > 0);
    self->user_count--;
    pthread_mutex_unlock(&self->pool->lock);
}

// ---- keys ------------------------------------------------------------------------------------
void bb_run_key_encode(uint8_t out[BB_RUN_KEY_BYTES], uint32_t partition, uint32_t battery,
                       uint64_t run)
{
    uint16_t big_partition = __builtin_bswap16((uint16_t)partition);
    uint32_t big_battery = __builtin_bswap32(battery);
    uint64_t big_run = __builtin_bswap64(run);
    memcpy(out, &big_partition, 2);
    memcpy(out + 2, &big_battery, 4);
    memcpy(out + 6, &big_run, 8);
}

bool bb_run_key_decode(bb_slice_t key, uint32_t *partition, uint32_t *battery, uint64_t *run)
{
    if (key.length != BB_RUN_KEY_BYTES) {
        return false;
    }
    const uint8_t *bytes = key.data;
    uint16_t big_partition;
    uint32_t big_battery;
    uint64_t big_run;
    memcpy(&big_partition, bytes, 2);
    memcpy(&big_battery, bytes + 2, 4);
    memcpy(&big_run, bytes + 6, 8);
    *partition = __builtin_bswap16(big_partition);
    *battery = __builtin_bswap32(big_battery);
    *run = __builtin_bswap64(big_run);
    return true;
}

bb_error_t bb_window_counts_get(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_window_counts_t *counts)
{
    bb_slice_t value;
    *counts = (bb_window_counts_t){.run_next = 1};
    bb_error_t error = kv->get(txn, bb_slice(s_counts_key, sizeof s_counts_key), &value);
    if (error == BB_ERR_NOT_FOUND) {
        return BB_OK;
    }
    if (error == BB_OK && value.length != sizeof *counts) {
        return BB_ERR_CORRUPT;
    }
    if (error == BB_OK) {
        memcpy(counts, value.data, sizeof *counts);
    }
    return error;
}

bb_error_t bb_window_counts_put(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                const bb_window_counts_t *counts)
{
    return kv->put(txn, bb_slice(s_counts_key, sizeof s_counts_key),
                   bb_slice(counts, sizeof *counts));
}
