// SPDX-License-Identifier: Apache-2.0
// bb_post_order - in which order a store takes what waits for it.
//
// Pure core; part of a store's mailbox. Posts wait by class, each class in its own order. The first
// class that has one is served, unless a later one was passed over too often: then that one is, so
// that nobody starves.
//
// Requests of clients are served newest first while the oldest has waited for more than half of its
// time: there is more than can be done, and in order each would be taken just before its deadline
// and answered just after it. What is late comes first: it is only refused. Source: adaptive LIFO,
// Maurer, "Fail at Scale" (ACM Queue, 2015).
//
//   class     what                                                passed over at most
//   CONTROL   liveness, clock, ended jobs, policy                 -
//   SMALL     acknowledgements and have-sets of peers             16 times
//   CHUNKS    batches of peers as they happen                     16
//   REPAIR    pulls, what was pulled, anything else of peers      9, that is a tenth; fewer the
//   longer
//                                                                 the oldest waits, down to 1
//   WRITES    of clients                                          16
//   QUERIES   and all other requests of clients                   16
//   LAST      drain, stop: what came before them is done first    64
//
// So acknowledgements and chunks of others do not wait behind this node's own intake, and under
// overload intake slows down before repair does (design, section 6).
#ifndef BB_POST_ORDER_H
#define BB_POST_ORDER_H

#include "node/runtime/bb_post.h"

typedef enum {
    BB_POST_CLASS_CONTROL,
    BB_POST_CLASS_SMALL,
    BB_POST_CLASS_CHUNKS,
    BB_POST_CLASS_REPAIR,
    BB_POST_CLASS_WRITES,
    BB_POST_CLASS_QUERIES,
    BB_POST_CLASS_LAST,
    BB_POST_CLASS_COUNT,
} bb_post_class_t;

bb_post_class_t bb_post_class(const bb_post_t *post);

typedef struct {
    struct {
        bb_post_t *first, *last;
        uint32_t passed; // how often a later or earlier class was served while one waited here
    } classes[BB_POST_CLASS_COUNT];
    uint32_t count;
} bb_post_order_t; // zero-initialised is empty

void bb_post_order_put(bb_post_order_t *self, bb_post_t *post);
// The next one, or NULL; the caller's from then on.
bb_post_t *bb_post_order_take(bb_post_order_t *self, int64_t now_mono_ns);

#endif
