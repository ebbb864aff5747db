// SPDX-License-Identifier: Apache-2.0
// bb_verify_store - the environments of one store: what the meta map says, and whether the windows
// hold it. Part of bb_verify.
#ifndef BB_VERIFY_STORE_H
#define BB_VERIFY_STORE_H

#include "storage/inspect/bb_verify.h"

typedef struct {
    const char *store;        // path of the store's folder
    const char *below;        // the same below the folder that was given: "" or "store-00/"
    uint32_t partition_count; // 0: not known
    size_t map_bytes;
} bb_verify_store_t;

// The meta map, then each window that it names, each through the guard of the options. Errors:
// FORMAT (another version wrote it), IO. What cannot be opened is a finding.
BB_MUST_CHECK bb_error_t bb_verify_store_maps(const bb_verify_options_t *options,
                                              const bb_verify_store_t *store,
                                              bb_verify_totals_t *totals, bb_fault_t *fault);

// One window's folder alone, without the meta map that would say what it should hold.
BB_MUST_CHECK bb_error_t bb_verify_window_folder(const bb_verify_options_t *options,
                                                 bb_verify_totals_t *totals, bb_fault_t *fault);

#endif
