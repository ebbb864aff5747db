// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_peer_cache.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_once_t s_once = PTHREAD_ONCE_INIT;
static pthread_key_t s_key;
static bool s_has_key;

static void s_make_key(void)
{
    s_has_key = pthread_key_create(&s_key, free) == 0;
}

bb_peer_entry_t *bb_peer_cache_entry(uint32_t column_index, uint32_t block_index)
{
    static _Thread_local bb_peer_entry_t *entries;
    if (!entries) {
        pthread_once(&s_once, s_make_key);
        // The key frees the memory when the thread ends.
        if (!s_has_key) {
            return NULL;
        }
        entries = bb_alloc_zero(BB_PEER_CACHE_ENTRIES, sizeof *entries);
        if (pthread_setspecific(s_key, entries) != 0) {
            free(entries);
            entries = NULL;
            return NULL;
        }
    }
    return &entries[(block_index * 13 + column_index) % BB_PEER_CACHE_ENTRIES];
}
