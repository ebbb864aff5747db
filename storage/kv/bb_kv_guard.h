// SPDX-License-Identifier: Apache-2.0
// bb_kv_guard - a read of a damaged LMDB file becomes an error instead of the end of the process.
//
// LMDB checks no page: an offset in a damaged one may lead outside of the file (SIGBUS) or of the
// map (SIGSEGV), or fail an assertion. A read-only look-up holds no lock and allocates nothing, so
// it can be left in the middle: by siglongjmp out of the signal handler. Nothing else is guarded:
// a fault anywhere else goes to the handler of before, or ends the process.
// Any thread. The handlers are the process's; which guard is active is the thread's.
#ifndef BB_KV_GUARD_H
#define BB_KV_GUARD_H

#include <stdbool.h>

typedef void (*bb_kv_guard_fn)(void *context);

// Sets the handlers, or sets them again if somebody has set others: before the first look-up of
// each environment.
void bb_kv_guard_install(void);

// Runs work. False: it did not come to its end; what it was changing must not be used. Guards do
// not nest. About 10 ns.
bool bb_kv_guard_run(bb_kv_guard_fn work, void *context);

// Leaves the guard that is active in this thread; returns if there is none. For assertions.
void bb_kv_guard_leave(void);

#endif
