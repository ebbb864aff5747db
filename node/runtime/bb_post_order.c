// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_post_order.h"

#define S_PASSED_MAX        16
#define S_PASSED_REPAIR_MAX 9
#define S_PASSED_LAST_MAX   64
// Each time that repair has waited so long it may be passed over once less.
#define S_REPAIR_STEP_NS (INT64_C(100) * BB_NS_PER_MS)

static bb_post_class_t s_class_of_peer(const bb_message_t *message)
{
    switch (message->kind) {
    case BB_KIND_REPLICATE:
        return message->request_id == 0 ? BB_POST_CLASS_CHUNKS : BB_POST_CLASS_REPAIR;
    case BB_KIND_REPLICATE_ACK:
    case BB_KIND_HAVE_REQUEST:
    case BB_KIND_HAVE:
        return BB_POST_CLASS_SMALL;
    default: // PULL_DONE too: it must not overtake what was pulled
        return BB_POST_CLASS_REPAIR;
    }
}

bb_post_class_t bb_post_class(const bb_post_t *post)
{
    BB_ASSERT(post);
    switch (post->kind) {
    case BB_POST_PEER:
        return s_class_of_peer(&post->request.message);
    case BB_POST_CLIENT:
        return post->request.message.kind == BB_KIND_WRITE ? BB_POST_CLASS_WRITES
                                                           : BB_POST_CLASS_QUERIES;
    case BB_POST_PEER_MARKS:
        return BB_POST_CLASS_SMALL;
    case BB_POST_DRAIN:
    case BB_POST_STOP:
        return BB_POST_CLASS_LAST;
    default:
        return BB_POST_CLASS_CONTROL;
    }
}

void bb_post_order_put(bb_post_order_t *self, bb_post_t *post)
{
    BB_ASSERT(self && post);
    bb_post_class_t class = bb_post_class(post);
    post->next = NULL;
    post->previous = self->classes[class].last;
    if (self->classes[class].last) {
        self->classes[class].last->next = post;
    } else {
        self->classes[class].first = post;
    }
    self->classes[class].last = post;
    self->count++;
}

static uint32_t s_passed_max(const bb_post_order_t *self, uint32_t class, int64_t now_mono_ns)
{
    if (class == BB_POST_CLASS_LAST) {
        return S_PASSED_LAST_MAX;
    }
    if (class != BB_POST_CLASS_REPAIR) {
        return S_PASSED_MAX;
    }
    int64_t waited_ns = now_mono_ns - self->classes[class].first->request.received_mono_ns;
    int64_t steps = BB_MAX(waited_ns, INT64_C(0)) / S_REPAIR_STEP_NS;
    return (uint32_t)BB_MAX(S_PASSED_REPAIR_MAX - steps, INT64_C(1));
}

// The last one is the next: the first has waited for more than half of its time, so that one that
// is served in turn would be answered too late, one after the other. What is late already goes
// first: it costs no more than its refusal.
static bool s_is_last_next(const bb_post_order_t *self, uint32_t class, int64_t now_mono_ns)
{
    if (class != BB_POST_CLASS_WRITES && class != BB_POST_CLASS_QUERIES) {
        return false;
    }
    const bb_post_request_t *first = &self->classes[class].first->request;
    int64_t waited_ns = now_mono_ns - first->received_mono_ns;
    return waited_ns > first->message.timeout_ns / 2 && waited_ns < first->message.timeout_ns;
}

bb_post_t *bb_post_order_take(bb_post_order_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    if (self->count == 0) {
        return NULL;
    }
    // The first that waits; the first of those whose turn it is, if any.
    uint32_t chosen = BB_POST_CLASS_COUNT;
    bool is_due = false;
    for (uint32_t i = 0; i < BB_POST_CLASS_COUNT && !is_due; i++) {
        if (!self->classes[i].first) {
            continue;
        }
        is_due = i > 0 && self->classes[i].passed >= s_passed_max(self, i, now_mono_ns);
        chosen = is_due || chosen == BB_POST_CLASS_COUNT ? i : chosen;
    }
    BB_ASSERT(chosen < BB_POST_CLASS_COUNT);
    for (uint32_t i = 0; i < BB_POST_CLASS_COUNT; i++) {
        self->classes[i].passed += self->classes[i].first && i != chosen;
    }
    bool is_last = s_is_last_next(self, chosen, now_mono_ns);
    bb_post_t *post = is_last ? self->classes[chosen].last : self->classes[chosen].first;
    bb_post_t **from_previous =
        post->previous ? &post->previous->next : &self->classes[chosen].first;
    bb_post_t **from_next = post->next ? &post->next->previous : &self->classes[chosen].last;
    *from_previous = post->next;
    *from_next = post->previous;
    self->classes[chosen].passed = 0;
    post->next = post->previous = NULL;
    self->count--;
    return post;
}
