// SPDX-License-Identifier: Apache-2.0
// bb_kv - an ordered, transactional map of bytes to bytes in one folder: LMDB, or its simulation.
//
// LMDB rules (measured, see docs): never WRITEMAP, NOSYNC or MAPASYNC; NOTLS; the map is reserved
// at open and grows only while nobody reads it; a failed commit or sync fences the environment for
// good (BB_ERR_FENCED). Threads: any number of read transactions in any threads, one write
// transaction at a time. A read transaction may be handed from one thread to another; a write
// transaction ends in the thread that began it (LMDB holds a mutex for it). A commit returns after
// its bytes are durable. Values are borrowed until their transaction ends, in a write transaction
// until its next change; short ones (below half a page) are only 2-byte aligned.
#ifndef BB_KV_H
#define BB_KV_H

#include "protocol/bb_error.h"
#include "storage/vfs/bb_killpoint.h"

typedef struct bb_kv_driver bb_kv_driver_t;
typedef struct bb_kv_env bb_kv_env_t;       // implementation-defined
typedef struct bb_kv_txn bb_kv_txn_t;       // implementation-defined
typedef struct bb_kv_cursor bb_kv_cursor_t; // implementation-defined

// Drivers are tables of functions. Keys: 1 to 511 bytes, compared as unsigned bytes.
struct bb_kv_driver {
    void *context;
    const bb_killpoint_t *killpoint; // NULL: none
    // The folder must exist; `create` makes an empty map in it when there is none.
    bb_error_t (*open)(bb_kv_driver_t *driver, const char *directory, size_t map_bytes, bool create,
                       bb_kv_env_t **env, bb_fault_t *fault);
    void (*close)(bb_kv_env_t **env); // no transaction may be open
    // Reserves more address space from now on; no transaction may be open.
    bb_error_t (*grow)(bb_kv_env_t *env, size_t map_bytes);
    bb_error_t (*begin)(bb_kv_env_t *env, bool writable, bb_kv_txn_t **txn);
    bb_error_t (*commit)(bb_kv_txn_t **txn); // durable on BB_OK; on error nothing happened
    void (*abort)(bb_kv_txn_t **txn);        // also ends read transactions; NULL is fine
    bb_error_t (*get)(bb_kv_txn_t *txn, bb_slice_t key, bb_slice_t *value); // NOT_FOUND
    // Room for `length` bytes under key, to be filled before the next call; replaces a value.
    bb_error_t (*reserve)(bb_kv_txn_t *txn, bb_slice_t key, size_t length, void **room);
    bb_error_t (*put)(bb_kv_txn_t *txn, bb_slice_t key, bb_slice_t value);
    bb_error_t (*remove)(bb_kv_txn_t *txn, bb_slice_t key); // NOT_FOUND
    bb_error_t (*cursor)(bb_kv_txn_t *txn, bb_kv_cursor_t **cursor);
    void (*cursor_close)(bb_kv_cursor_t **cursor); // before its transaction ends
    // First key >= `key` (empty slice: the first of all). NOT_FOUND at the end.
    bb_error_t (*seek)(bb_kv_cursor_t *cursor, bb_slice_t key, bb_slice_t *found_key,
                       bb_slice_t *value);
    bb_error_t (*next)(bb_kv_cursor_t *cursor, bb_slice_t *found_key, bb_slice_t *value);
    uint64_t (*entry_count)(bb_kv_txn_t *txn);
    uint64_t (*file_bytes)(bb_kv_env_t *env); // disk space used
};

bb_kv_driver_t *bb_kv_lmdb(void); // stateless; never destroyed

#endif
