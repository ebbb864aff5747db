// SPDX-License-Identifier: Apache-2.0
#include "storage/vfs/bb_killpoint.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const char *bb_killpoint_name(bb_killpoint_point_t point)
{
    static const char *const names[BB_KILLPOINT_COUNT] = {
#define S_NAME(name, text) text,
        BB_KILLPOINTS(S_NAME)
#undef S_NAME
    };
    BB_ASSERT(point < BB_KILLPOINT_COUNT);
    return names[point];
}

#ifdef BB_FAST_BUILD
const bb_killpoint_t *bb_killpoint_of_process(void)
{
    return NULL;
}
#else
// "NAME:N" of the environment. Any thread.
static void s_reach(void *context, bb_killpoint_point_t point)
{
    atomic_uint *passes = context;
    const char *wanted = getenv("BB_KILLPOINT");
    const char *name = bb_killpoint_name(point);
    size_t length = strlen(name);
    if (wanted && strncmp(wanted, name, length) == 0 && wanted[length] == ':' &&
        atomic_fetch_add(passes, 1) + 1 == strtoul(wanted + length + 1, NULL, 10)) {
        raise(SIGKILL);
    }
}

const bb_killpoint_t *bb_killpoint_of_process(void)
{
    // The one thing of its kind: it counts for a process that wants to be killed.
    static atomic_uint passes;
    static const bb_killpoint_t killpoint = {&passes, s_reach};
    return getenv("BB_KILLPOINT") ? &killpoint : NULL;
}
#endif
