// SPDX-License-Identifier: Apache-2.0
// bb_clones - functions that exist once per instruction set and are chosen when the program starts.
//
// BB_CLONES before a function: on x86-64 it is compiled for the baseline and for x86-64-v3 (AVX2).
// Elsewhere, with Clang and under sanitizers (which start after the choice is made) it is compiled
// once. Code below must give the same bits in both: no fused multiply-add (the build turns
// contraction off), no sums of doubles whose order depends on the vector length.
#ifndef BB_CLONES_H
#define BB_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define BB_CLONES __attribute__((target_clones("default", "arch=x86-64-v3")))
#else
#define BB_CLONES
#endif

// Inside of a clone: compiled with its instructions.
#define BB_INLINE static inline __attribute__((always_inline))

#endif
