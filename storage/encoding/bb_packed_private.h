// SPDX-License-Identifier: Apache-2.0
// bb_packed_private - what the reader and the writer of packed integers share.
#ifndef BB_PACKED_PRIVATE_H
#define BB_PACKED_PRIVATE_H

#include "storage/encoding/bb_lanes.h"

#define FLAGS_ORDER     0x03u
#define FLAG_WIDE       0x04u
#define FLAG_SCALE      0x08u
#define FLAG_UNITS      0x10u
#define FLAG_ENTROPY    0x20u
#define FLAG_ARITHMETIC 0x40u
#define FLAGS_ALL       0x7fu

#define MINI_ROWS      BB_LANES_COUNT
#define MINI_REFERENCE 0x80u
#define MINI_PATCHES   0x40u
#define MINI_WIDTH     0x3fu // 63 stands for 64

#endif
