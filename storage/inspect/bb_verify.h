// SPDX-License-Identifier: Apache-2.0
// bb_verify - checks a data folder from end to end while no node uses it, and names what is wrong.
//
// One thread. Writes nothing but LMDB's lock files. Checked: whose folder it is and in which
// format; every journal file, record by record, and that no file is missing between two; the meta
// map; every window (bb_verify_window.h). Environments are opened by a guard, so that the program
// can do it in a child process: a damaged page can crash who reads it.
#ifndef BB_VERIFY_H
#define BB_VERIFY_H

#include "storage/inspect/bb_report.h"
#include "storage/kv/bb_kv.h"
#include "storage/vfs/bb_file.h"

#define BB_VERIFY_TEXT_BYTES 256u

typedef struct {
    char where[BB_VERIFY_TEXT_BYTES]; // path below the folder that was given
    char what[BB_VERIFY_TEXT_BYTES];
} bb_verify_finding_t;

typedef void (*bb_verify_finding_fn)(void *context, const bb_verify_finding_t *finding);

typedef struct {
    uint64_t store_count, journal_file_count, journal_record_count, journal_bytes;
    uint64_t window_count, window_run_count, window_point_count, window_bytes;
    uint64_t battery_count, metric_count;
    uint64_t finding_count;
} bb_verify_totals_t;

typedef struct bb_verify_options bb_verify_options_t;

// Work on one environment: adds to totals, reports findings. The error says that it could not be
// read at all.
typedef bb_error_t (*bb_verify_work_fn)(const bb_verify_options_t *options, void *argument,
                                        bb_verify_totals_t *totals, bb_fault_t *fault);

struct bb_verify_options {
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    const char *directory; // a node's data folder, or one store's
    bool in_use_is_fine;   // do not insist on the lock: what changes meanwhile may look damaged
    bb_verify_finding_fn on_finding;
    void *context;
    // Calls work(options, argument, ...) in a place where a crash does no harm, and passes findings
    // and totals on; NULL: calls it here. BB_ERR_INTERNAL: it crashed, which has been reported.
    bb_error_t (*guard)(const bb_verify_options_t *options, bb_verify_work_fn work, void *argument,
                        bb_verify_totals_t *totals, bb_fault_t *fault);
};

// BB_OK: the folder was read to its end, findings or not. Errors: NOT_FOUND (no store there),
// LOCKED (a node uses it), FORMAT (another version wrote it), PERMISSION, IO.
BB_MUST_CHECK bb_error_t bb_verify_folder(const bb_verify_options_t *options,
                                          bb_verify_totals_t *totals, bb_fault_t *fault);

// Reports one finding; for the parts of a verification.
void bb_verify_found(const bb_verify_options_t *options, bb_verify_totals_t *totals,
                     const char *where, const char *format, ...) BB_PRINTF(4, 5);

#endif
