// SPDX-License-Identifier: Apache-2.0
// Session tokens at the shard: bb_session_token.h says what they are, bb_fence.h waits for them.
#include "node/ingest/bb_shard_internal.h"

static bb_buffer_t *s_encode(bb_session_token_t *token)
{
    uint8_t *data = NULL;
    size_t length = 0;
    bb_session_token_encode(token, &data, &length);
    bb_session_token_clear(token);
    return bb_buffer_new(data, length, NULL, NULL);
}

bb_buffer_t *bb_shard_session_dots(const bb_shard_t *self, const bb_message_t *request,
                                   const uint32_t *partitions, const uint64_t *seqs,
                                   uint32_t part_count)
{
    BB_ASSERT(self && request->kind == BB_KIND_WRITE);
    if (!request->write.wants_session) {
        return NULL;
    }
    bb_session_token_t token = {0};
    for (uint32_t i = 0; i < part_count; i++) {
        bb_session_token_add(&token, &self->options.stream, partitions[i], seqs[i], seqs[i]);
    }
    return s_encode(&token);
}

bb_buffer_t *bb_shard_session_seen(const bb_shard_t *self, const bb_query_t *query)
{
    BB_ASSERT(self && query);
    if (!query->wants_session) {
        return NULL;
    }
    bb_session_token_t token = {0};
    for (uint32_t i = 0; i < query->partition_count; i++) {
        uint32_t partition = query->partitions[i];
        const bb_have_set_t *have = bb_store_have(self->store, partition);
        for (uint32_t s = 0; s < have->stream_count; s++) {
            const bb_have_stream_t *stream = &have->streams[s];
            for (uint32_t r = 0; r < stream->range_count; r++) {
                const bb_seq_range_t *range = &stream->ranges[r];
                // What is durable everywhere every later read sees, whoever serves it: a replica
                // whose disk is lost then serves no session before it is rebuilt.
                if (!bb_have_view_is_held_for_good(self->view, partition, &stream->stream,
                                                   range->first_seq, range->last_seq)) {
                    bb_session_token_add(&token, &stream->stream, partition, range->first_seq,
                                         range->last_seq);
                }
            }
        }
    }
    return s_encode(&token);
}

bb_error_t bb_shard_session_wanted(const bb_shard_t *self, const bb_query_t *query,
                                   bb_session_token_t *session)
{
    BB_ASSERT(self && query && session);
    *session = (bb_session_token_t){0};
    if (query->session.length == 0 || BB_IS_PLANTED(self, BB_PLANTED_SESSION_IGNORED)) {
        return BB_OK;
    }
    bb_error_t error = bb_session_token_decode(session, query->session);
    const bb_forgotten_t *forgotten = bb_shard_forgotten(self->forget);
    bb_session_token_drop(session, bb_forgotten_is_in,
                          (bb_forgotten_t *)(uintptr_t)forgotten); // only looked at
    return error;
}
