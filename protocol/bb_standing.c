// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_standing.h"

bool bb_standing_is_known(uint32_t standing)
{
    return standing < BB_STANDING_COUNT;
}

const char *bb_standing_name(bb_standing_t standing)
{
    static const char *const names[] = {"counting", "joining", "rebuilding", "fenced"};
    static_assert(BB_COUNT_OF(names) == BB_STANDING_COUNT, "a name for each");
    BB_ASSERT(bb_standing_is_known(standing));
    return names[standing];
}
