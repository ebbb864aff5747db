// SPDX-License-Identifier: Apache-2.0
// bb_crc32c - CRC-32C (Castagnoli polynomial 0x1EDC6F41, reflected), as in RFC 3720 appendix B.4.
//
// Pure. Start with crc 0; feed pieces in order. Uses the machine's CRC instruction where there is
// one (three streams at once, from 96 bytes on, joined by multiplications without carry: Gopal
// et al., "Fast CRC computation for iSCSI polynomial using CRC32 instruction", Intel 2011), else
// slicing by eight.
#ifndef BB_CRC32C_H
#define BB_CRC32C_H

#include "protocol/bb_base.h"

#ifdef __cplusplus
extern "C" {
#endif

uint32_t bb_crc32c(uint32_t crc, const void *data, size_t length);
// The portable implementation, whatever the machine has; for tests and other machines.
uint32_t bb_crc32c_portable(uint32_t crc, const void *data, size_t length);

#ifdef __cplusplus
}
#endif
#endif
