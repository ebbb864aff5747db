// SPDX-License-Identifier: Apache-2.0
// bb_divisor - the unit in which integers really step: 10^6 for times in whole milliseconds.
//
// Pure. Distances are those of signed integers to the first one.
#ifndef BB_DIVISOR_H
#define BB_DIVISOR_H

#include "protocol/bb_base.h"

// The greatest common divisor of all distances; 1 if all integers are the same.
uint64_t bb_divisor_of(const uint64_t *integers, uint32_t count);

// offsets[i] = (integers[i] - integers[0]) / divisor, which leaves no rest, modulo 2^64.
void bb_divisor_apply(const uint64_t *integers, uint32_t count, uint64_t divisor,
                      uint64_t *offsets);

#endif
