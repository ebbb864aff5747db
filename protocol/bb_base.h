// SPDX-License-Identifier: Apache-2.0
// bb_base - the few words that every file uses: assertions, attributes, checked arithmetic.
//
// Pure. BB_ASSERT stays on in release builds: a stopped node is repaired by its replicas, a
// wrong one spreads. BB_ASSERT_SLOW (not constant cost) is on in every build but release.
#ifndef BB_BASE_H
#define BB_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define BB_NORETURN [[noreturn]]
#else
#define BB_NORETURN _Noreturn
#endif

#define BB_MUST_CHECK   __attribute__((warn_unused_result))
#define BB_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define BB_LIKELY(c)    __builtin_expect(!!(c), 1)
#define BB_UNLIKELY(c)  __builtin_expect(!!(c), 0)

// A loop over many values, compiled for baseline x86-64 and for x86-64-v3; the loader picks one.
// Not with sanitizers, which are not up yet when it picks, nor with other compilers. Contraction of
// floating point is off in the whole project, so that both compute the same bits.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define BB_VECTOR __attribute__((target_clones("default", "arch=x86-64-v3")))
#else
#define BB_VECTOR
#endif

// Monotonic time that never comes: "no need to wake".
#define BB_NEVER_NS   INT64_MAX
#define BB_NS_PER_US  INT64_C(1000)
#define BB_NS_PER_MS  INT64_C(1000000)
#define BB_NS_PER_S   INT64_C(1000000000)
#define BB_NS_PER_DAY (INT64_C(86400) * BB_NS_PER_S)

#define BB_MIN(a, b)       ((a) < (b) ? (a) : (b))
#define BB_MAX(a, b)       ((a) > (b) ? (a) : (b))
#define BB_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

// Prints file, line and condition on standard error and aborts.
BB_NORETURN void bb_assert_failed(const char *file, int line, const char *condition);

#define BB_ASSERT(condition)                                                                       \
    (BB_LIKELY(condition) ? (void)0 : bb_assert_failed(__FILE__, __LINE__, #condition))
#ifdef BB_FAST_BUILD
#define BB_ASSERT_SLOW(condition) ((void)sizeof(condition))
#else
#define BB_ASSERT_SLOW(condition) BB_ASSERT(condition)
#endif

// A deliberate discard of an error; `reason` is for the reader.
#define bb_ignore(error, reason) ((void)(error), (void)(reason))

// Borrowed bytes. `data` may be NULL only when `length` is 0.
typedef struct {
    const void *data;
    size_t length;
} bb_slice_t;

static inline bb_slice_t bb_slice(const void *data, size_t length)
{
    bb_slice_t slice = {data, length};
    return slice;
}

// Checked arithmetic for sizes that come from outside: true and *out on success.
static inline bool bb_size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool bb_size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

// malloc/calloc/realloc that abort when memory is gone, for small things whose size is ours.
// Sizes that come from outside are bounded by bb_limits.h before they get here.
void *bb_alloc(size_t size_bytes); // never NULL; not cleared
void *bb_alloc_zero(size_t count, size_t size_bytes);
void *bb_realloc(void *memory, size_t size_bytes);
char *bb_strdup(const char *text);

#ifdef __cplusplus
}
#endif
#endif
