// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_peer_queue.h"

// Bytes of live chunks for one of repair, while both wait; one less for each step of waiting.
#define S_LIVE_PARTS_MAX 9
#define S_STEP_NS        (INT64_C(100) * BB_NS_PER_MS)

void bb_peer_queue_init(bb_peer_queue_t *self, uint64_t live_bytes_max, uint64_t repair_bytes_max)
{
    BB_ASSERT(self);
    *self =
        (bb_peer_queue_t){.live.bytes_max = live_bytes_max, .repair.bytes_max = repair_bytes_max};
}

static bb_post_t *s_take(bb_peer_line_t *line)
{
    bb_post_t *post = line->first;
    line->first = post->next;
    line->last = line->first ? line->last : NULL;
    post->next = NULL;
    size_t bytes = bb_outbound_bytes(&post->send.outbound);
    BB_ASSERT(line->bytes >= bytes);
    line->bytes -= bytes;
    return post;
}

void bb_peer_queue_clear(bb_peer_queue_t *self)
{
    BB_ASSERT(self);
    bb_peer_line_t *lines[] = {&self->live, &self->repair};
    for (size_t i = 0; i < BB_COUNT_OF(lines); i++) {
        while (lines[i]->first) {
            bb_post_t *post = s_take(lines[i]);
            bb_post_destroy(&post);
        }
    }
    self->owed_bytes = 0;
}

bb_error_t bb_peer_queue_put(bb_peer_queue_t *self, bb_post_t **post_pointer, int64_t now_mono_ns)
{
    BB_ASSERT(self && post_pointer && *post_pointer);
    bb_post_t *post = *post_pointer;
    BB_ASSERT(post->kind == BB_POST_SEND);
    bb_peer_line_t *line = post->send.outbound.is_repair ? &self->repair : &self->live;
    size_t bytes = bb_outbound_bytes(&post->send.outbound);
    if (line->first && line->bytes + bytes > line->bytes_max) {
        return BB_ERR_BUSY;
    }
    *post_pointer = NULL;
    post->next = NULL;
    post->send.queued_mono_ns = now_mono_ns;
    if (line->last) {
        line->last->next = post;
    } else {
        line->first = post;
    }
    line->last = post;
    line->bytes += bytes;
    return BB_OK;
}

// Repair is owed a part of each live byte that goes before it.
static int64_t s_owed(const bb_peer_queue_t *self, int64_t live_bytes, int64_t now_mono_ns)
{
    int64_t waited_ns = BB_MAX(now_mono_ns - self->repair.first->send.queued_mono_ns, INT64_C(0));
    int64_t parts = BB_MAX(S_LIVE_PARTS_MAX - waited_ns / S_STEP_NS, INT64_C(1));
    return live_bytes / parts;
}

bb_post_t *bb_peer_queue_take(bb_peer_queue_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    if (!self->live.first || !self->repair.first) {
        self->owed_bytes = 0; // who was alone has no claims later
        bb_peer_line_t *line = self->live.first ? &self->live : &self->repair;
        return line->first ? s_take(line) : NULL;
    }
    int64_t repair_bytes = (int64_t)bb_outbound_bytes(&self->repair.first->send.outbound);
    if (self->owed_bytes >= repair_bytes) {
        self->owed_bytes -= repair_bytes;
        return s_take(&self->repair);
    }
    int64_t live_bytes = (int64_t)bb_outbound_bytes(&self->live.first->send.outbound);
    self->owed_bytes += s_owed(self, live_bytes, now_mono_ns);
    return s_take(&self->live);
}
