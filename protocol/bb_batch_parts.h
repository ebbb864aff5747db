// SPDX-License-Identifier: Apache-2.0
// bb_batch_parts - the half of bb_batch_subset that takes whole parts.
//
// Pure; private to protocol/.
#ifndef BB_BATCH_PARTS_H
#define BB_BATCH_PARTS_H

#include "protocol/bb_batch_draft.h"

// As bb_batch_subset without keep_point.
BB_MUST_CHECK bb_error_t bb_batch_parts(const bb_batch_t *batch, const bool *keep, uint8_t **out,
                                        size_t *out_length);

// Turns marks into new indexes + 1; returns how many there are.
uint32_t bb_batch_parts_number(uint32_t *map, uint32_t count);

#endif
