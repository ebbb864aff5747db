// SPDX-License-Identifier: Apache-2.0
#include "storage/kv/bb_kv_guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

#include "protocol/bb_error.h"

// Signal handlers have no context but globals.
static const int s_signals[] = {SIGBUS, SIGSEGV};
static struct sigaction s_before[BB_COUNT_OF(s_signals)];
static pthread_mutex_t s_lock = PTHREAD_MUTEX_INITIALIZER; // of installing
static _Thread_local sigjmp_buf *volatile s_active;

void bb_kv_guard_leave(void)
{
    sigjmp_buf *place = s_active;
    if (place) {
        s_active = NULL;
        siglongjmp(*place, 1);
    }
}

static void s_on_signal(int number)
{
    bb_kv_guard_leave();
    // Not ours: the instruction is repeated, and the handler of before gets it.
    for (size_t i = 0; i < BB_COUNT_OF(s_signals); i++) {
        if (s_signals[i] == number) {
            sigaction(number, &s_before[i], NULL);
        }
    }
}

void bb_kv_guard_install(void)
{
    // The mask is neither saved nor changed: a signal must not stay blocked behind the jump.
    const struct sigaction action = {.sa_handler = s_on_signal,
                                     .sa_flags = SA_NODEFER | SA_ONSTACK};
    pthread_mutex_lock(&s_lock);
    for (size_t i = 0; i < BB_COUNT_OF(s_signals); i++) {
        struct sigaction now;
        int failed = sigaction(s_signals[i], NULL, &now);
        if (failed == 0 && now.sa_handler != s_on_signal) {
            s_before[i] = now;
            failed = sigaction(s_signals[i], &action, NULL);
        }
        BB_ASSERT(failed == 0);
    }
    pthread_mutex_unlock(&s_lock);
}

bool bb_kv_guard_run(bb_kv_guard_fn work, void *context)
{
    sigjmp_buf place;
    BB_ASSERT(!s_active);
    if (sigsetjmp(place, 0) != 0) {
        return false;
    }
    s_active = &place;
    work(context);
    s_active = NULL;
    return true;
}
