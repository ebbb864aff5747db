// SPDX-License-Identifier: Apache-2.0
// bb_tsan - tells ThreadSanitizer about hand-offs that go through libzmq.
//
// libzmq is not instrumented, so the sanitizer cannot see that a pointer sent over an inproc socket
// is ordered before its arrival. The sender releases the pointer, the receiver acquires it; what
// the tool then still reports is a fault of ours. Empty in every other build.
#ifndef BB_TSAN_H
#define BB_TSAN_H

#if defined(__SANITIZE_THREAD__)
#define BB_TSAN_ON 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BB_TSAN_ON 1
#endif
#endif

#ifdef BB_TSAN_ON
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define BB_TSAN_ACQUIRE(pointer) __tsan_acquire(pointer)
#define BB_TSAN_RELEASE(pointer) __tsan_release(pointer)
#else
#define BB_TSAN_ACQUIRE(pointer) ((void)(pointer))
#define BB_TSAN_RELEASE(pointer) ((void)(pointer))
#endif

#endif
