// SPDX-License-Identifier: Apache-2.0
// bb_entropy - small numbers in as many bits as they are surprising: an asymmetric numeral system.
//
// Pure. What packing wastes on differences that are mostly zero, or small with a few large ones
// between them, is won back here, at several times the cost of decoding. A number is folded (0, -1,
// 1, -2... as 0, 1, 2, 3...); up to 7 it is a token of its own, beyond it the token says its
// highest bit and the two bits below that, and the rest follows as it is:
//
//   token = folded < 8 ? folded : 8 + (e - 3) x 4 + (folded >> (e - 2)) % 4, e = floor(log2 folded)
//
// A state in [0, 256) stands for a token and for how many bits lead to the next state. There are
// one or two tables of states; with two, the second is for tokens that follow one that is not 0:
// changes come in clusters. The next state of an entry already lies in the right table, so that
// reading does not ask. Rows are cut into four lanes, q = count / 4 rows each, the last one with
// what remains; each has a state of its own, and they take turns, so that one does not wait for the
// other.
//
//   flags           u8      bit 0: two tables
//   tables          each:   u8 number of tokens, in [0, 84]; 0: the table is never used
//                           levels of the tokens, four bits each, low ones first; level 0 is
//                           followed by four bits: that many more tokens are absent, too; zeros to
//                           a byte
//   bits            low ones first: first state of each lane (8, in the first table); row 0 of each
//                   lane, row 1 of each lane ... row q - 1, then the last rows of the last lane. A
//                   row: the rest of its folded number (e - 2 bits), then the bits that lead to the
//                   next state. Zeros to a byte. Behind its last row each lane has state 0 of a
//                   table.
//
// Levels 1 to 15 weigh 1, 2, 3, 4, 7, 12, 19, 32, 52, 86, 141, 231, 380, 623, 1024. A token of
// weight w of W in all has max(1, w x 256 / W) states; what lacks to 256 the first of the heaviest
// tokens gets; what is too much goes state by state from the tokens that have more than one, from
// token 0 on and around. States are given to tokens in their order, beginning with state 0, each
// time 163 further on (modulo 256). The k-th state of a token of f states, k from 0, ascending,
// leads to state
// ((f + k) << n) - 256 + n bits, n = 8 - floor(log2(f + k)). A table without tokens, which no valid
// row comes to, reads zeros and leads to state 0 of the first one without a bit.
// Sources: Duda, "Asymmetric numeral systems" (2013), as tables; the order of states is that of
// Collet, "Finite State Entropy" (2013), RFC 8878 section 4.1.1; lanes: Giesen, "Interleaved
// entropy coders" (2014).
#ifndef BB_ENTROPY_H
#define BB_ENTROPY_H

#include "protocol/bb_base.h"
#include "protocol/bb_limits.h"

#define BB_ENTROPY_STATE_BITS 8u
#define BB_ENTROPY_STATES     (1u << BB_ENTROPY_STATE_BITS)
#define BB_ENTROPY_TOKENS     84u
#define BB_ENTROPY_TABLES     2u
// Folded numbers stay below: two rows never take more than 54 bits.
#define BB_ENTROPY_FOLDED_LIMIT (UINT32_C(1) << 22)

// Scratch memory of one writer; what is in it belongs to bb_entropy_encode.
typedef struct {
    uint8_t tokens[BB_BLOCK_ROWS_MAX];
    uint16_t leads[BB_BLOCK_ROWS_MAX]; // bits that lead to the next state, a one above them
    // Of tokens after 0, after another, and of all: for two tables or for one.
    uint32_t counts[BB_ENTROPY_TABLES + 1][BB_ENTROPY_TOKENS];
    struct {
        uint8_t levels[BB_ENTROPY_TOKENS];
        uint32_t token_count;
        // See Collet: states before a token, by rank; how to get there.
        uint8_t states[BB_ENTROPY_STATES];
        uint32_t delta_bits[BB_ENTROPY_TOKENS];
        int32_t delta_rank[BB_ENTROPY_TOKENS];
    } tables[BB_ENTROPY_TABLES + 1];
} bb_entropy_t;

// About how many bytes numbers[0, count) would take; 0: a number is too large.
size_t bb_entropy_estimate(bb_entropy_t *self, const int32_t *numbers, uint32_t count);

// Writes numbers[0, count) if that takes at most bytes_max, which `out` has room for. Returns the
// bytes; 0: it takes more, or a number is too large. 1 <= count <= BB_BLOCK_ROWS_MAX.
size_t bb_entropy_encode(bb_entropy_t *self, const int32_t *numbers, uint32_t count,
                         size_t bytes_max, uint8_t *out);

// Reads exactly `count` numbers from all of `bytes`. Any bytes are safe; false: corrupt, then
// `numbers` holds anything.
BB_MUST_CHECK bool bb_entropy_decode(bb_slice_t bytes, uint32_t count, int32_t *numbers);

#endif
