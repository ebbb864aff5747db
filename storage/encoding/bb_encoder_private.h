// SPDX-License-Identifier: Apache-2.0
// bb_encoder_private - what choosing an encoding and finding relations share.
#ifndef BB_ENCODER_PRIVATE_H
#define BB_ENCODER_PRIVATE_H

#include "storage/encoding/bb_codec.h"
#include "storage/encoding/bb_rounding.h"

struct bb_encoder {
    bb_packer_t *packer;
    bb_encoder_aim_t aim;
    bb_decimals_t decimals;
    // Of a prediction.
    double peers[BB_ENCODING_PEERS_MAX][BB_BLOCK_ROWS_MAX];
    double guesses[BB_BLOCK_ROWS_MAX];
    uint64_t differences[BB_BLOCK_ROWS_MAX];
    // The best candidate so far lies in one buffer, the next is written into the other.
    size_t best_bytes;
    bb_encoding_id_t best_id;
    uint32_t best_buffer;
    uint8_t buffers[2][BB_CODEC_BYTES_MAX];
};

// A hint: bits 0-3 exponent + 1 (0 = unknown); 4-6 model; 7-12, 13-18 peers; in the hint of the
// first column of a stripe also 19-27 stripes until the next search, 28-30 how patient that is; 31:
// the entropy form would have paid for the block before.
#define HINT_EXPONENT       UINT32_C(0xf)
#define HINT_RELATION       UINT32_C(0x7fff0)
#define HINT_WAIT_SHIFT     19u
#define HINT_WAIT           UINT32_C(0xff80000)
#define HINT_PATIENCE_SHIFT 28u
#define HINT_PATIENCE       UINT32_C(0x70000000)
#define HINT_SURPRISES      UINT32_C(0x80000000)
static_assert(BB_DECIMAL_EXPONENT_MAX + 1 <= HINT_EXPONENT, "exponents fit");
static_assert(BB_PREDICTION_LAST <= 7, "models fit");
static_assert(BB_ENCODING_PEER_LIMIT <= 64, "peers fit");

static inline bb_prediction_model_t hint_model(uint32_t hint)
{
    return (bb_prediction_model_t)(hint >> 4 & 7);
}

static inline uint32_t hint_peer(uint32_t hint, uint32_t i)
{
    return hint >> (7 + 6 * i) & 63;
}

static inline uint32_t hint_relation(bb_prediction_model_t model, uint32_t u, uint32_t w)
{
    return (uint32_t)model << 4 | u << 7 | w << 13;
}

#endif
