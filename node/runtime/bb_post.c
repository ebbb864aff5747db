// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_post.h"

#include <stdlib.h>

bb_post_t *bb_post_new(bb_post_kind_t kind)
{
    bb_post_t *self = bb_alloc_zero(1, sizeof *self);
    self->kind = kind;
    return self;
}

static void s_request_drop(bb_post_request_t *request)
{
    if (request->envelope) {
        bb_message_close(&request->message);
    }
    bb_buffer_drop(&request->envelope);
    bb_buffer_drop(&request->chunks);
    bb_buffer_drop(&request->batch);
}

void bb_post_scan_drop(bb_post_scan_t *self)
{
    bb_snapshot_close(&self->snapshot);
    bb_buffer_drop(&self->request);
    free(self->missing);
    bb_buffer_drop(&self->session);
    *self = (bb_post_scan_t){0};
}

void bb_post_destroy(bb_post_t **self_p)
{
    bb_post_t *self = *self_p;
    *self_p = NULL;
    if (!self) {
        return;
    }
    switch (self->kind) {
    case BB_POST_CLIENT:
    case BB_POST_PEER:
        s_request_drop(&self->request);
        break;
    case BB_POST_SEND:
        bb_outbound_drop(&self->send.outbound);
        break;
    case BB_POST_ANSWER:
        bb_outbound_drop(&self->answer.outbound);
        break;
    case BB_POST_SCAN:
        bb_post_scan_drop(&self->scan);
        break;
    case BB_POST_PART:
    case BB_POST_PART_DONE:
        bb_snapshot_close(&self->part.snapshot);
        bb_buffer_drop(&self->part.request);
        bb_scan_part_destroy(&self->part.part);
        break;
    case BB_POST_PEERS:
        free(self->peers.views);
        break;
    case BB_POST_STATS:
        free(self->stats.stats);
        break;
    case BB_POST_JOB:
        BB_ASSERT(!self->job.job);
        break;
    case BB_POST_POLICY:
        bb_policy_release(&self->policy);
        break;
    case BB_POST_FORGOTTEN:
        free(self->forgotten);
        break;
    case BB_POST_SETTLED:
    case BB_POST_DIGEST:
    case BB_POST_STANDING:
    case BB_POST_PEER_STANDING:
    case BB_POST_PROMISED:
    case BB_POST_REBUILT:
    case BB_POST_PEER_STATE:
    case BB_POST_CLOCK:
    case BB_POST_PEER_SLOW:
    case BB_POST_PEER_MARKS:
    case BB_POST_JOB_DONE:
    case BB_POST_EVENT:
    case BB_POST_DRAIN:
    case BB_POST_STOP:
        break;
    }
    free(self);
}

bb_outbound_t bb_outbound_keep(const bb_outbound_t *outbound)
{
    return (bb_outbound_t){
        .envelope = bb_buffer_keep(outbound->envelope),
        .chunks = outbound->chunks ? bb_buffer_keep(outbound->chunks) : NULL,
        .body = outbound->body ? bb_buffer_keep(outbound->body) : NULL,
        .is_repair = outbound->is_repair,
    };
}

void bb_outbound_drop(bb_outbound_t *outbound)
{
    bb_buffer_drop(&outbound->envelope);
    bb_buffer_drop(&outbound->chunks);
    bb_buffer_drop(&outbound->body);
}

size_t bb_outbound_bytes(const bb_outbound_t *outbound)
{
    return bb_buffer_slice(outbound->envelope).length + bb_buffer_slice(outbound->chunks).length +
           bb_buffer_slice(outbound->body).length;
}
