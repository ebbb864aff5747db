// SPDX-License-Identifier: Apache-2.0
#include "node/query/bb_store_split.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_session_token.h"

#define S_CURSOR_MARK 0xb5

static bool s_has_partition(const bb_query_t *query, uint32_t store_index, uint32_t store_count)
{
    for (uint32_t i = 0; i < query->partition_count; i++) {
        if (bb_store_of_partition(query->partitions[i], store_count) == store_index) {
            return true;
        }
    }
    return false;
}

static uint32_t s_first_store(const bb_query_t *query, uint32_t from, uint32_t store_count)
{
    while (from < store_count && !s_has_partition(query, from, store_count)) {
        from++;
    }
    return from;
}

static bb_error_t s_read_cursor(const bb_query_t *query, uint32_t store_count,
                                bb_query_slice_t *slice, bb_fault_t *fault)
{
    const uint8_t *bytes = query->cursor.data;
    if (!bb_query_cursor_is_split(query->cursor) || bytes[1] != store_count) {
        return bb_fault_set(fault, BB_ERR_CURSOR, "the cursor is not of a node with %u stores",
                            store_count);
    }
    if (bytes[2] >= store_count || bytes[3] != 0 ||
        !s_has_partition(query, bytes[2], store_count)) {
        return bb_fault_set(fault, BB_ERR_QUERY, "the cursor does not belong to this query");
    }
    slice->store_index = bytes[2];
    slice->query.cursor =
        bb_slice(bytes + BB_STORE_CURSOR_BYTES, query->cursor.length - BB_STORE_CURSOR_BYTES);
    return BB_OK;
}

bool bb_query_cursor_is_split(bb_slice_t cursor)
{
    const uint8_t *bytes = cursor.data;
    return cursor.length >= BB_STORE_CURSOR_BYTES && bytes[0] == S_CURSOR_MARK;
}

bb_error_t bb_query_slice(const bb_query_t *query, uint32_t store_count, bb_query_slice_t *slice,
                          bb_fault_t *fault)
{
    BB_ASSERT(store_count >= 1 && store_count <= BB_STORES_MAX);
    memset(slice, 0, sizeof *slice);
    slice->query = *query;
    uint32_t first = s_first_store(query, 0, store_count);
    slice->store_index = first < store_count ? first : 0;
    slice->is_alone = s_first_store(query, slice->store_index + 1, store_count) == store_count;
    if (slice->is_alone && bb_query_cursor_is_split(query->cursor)) {
        return bb_fault_set(fault, BB_ERR_CURSOR, "the cursor names one of several stores");
    }
    if (!slice->is_alone && query->cursor.length > 0) {
        bb_error_t error = s_read_cursor(query, store_count, slice, fault);
        if (error != BB_OK) {
            return error;
        }
    }
    slice->next_index = s_first_store(query, slice->store_index + 1, store_count);
    slice->partitions = bb_alloc_zero((size_t)query->partition_count + 1, sizeof(uint32_t));
    slice->query.partition_count = 0;
    for (uint32_t i = 0; i < query->partition_count; i++) {
        if (bb_store_of_partition(query->partitions[i], store_count) == slice->store_index) {
            slice->partitions[slice->query.partition_count++] = query->partitions[i];
        }
    }
    slice->query.partitions = slice->partitions;
    return BB_OK;
}

void bb_query_slice_drop(bb_query_slice_t *self)
{
    free(self->partitions);
    self->partitions = NULL;
}

size_t bb_query_slice_cursor(uint32_t store_index, uint32_t next_index, uint32_t store_count,
                             bb_slice_t inner, uint8_t *out)
{
    BB_ASSERT(inner.length + BB_STORE_CURSOR_BYTES <= BB_CURSOR_BYTES_MAX);
    uint32_t goes_on_at = inner.length > 0 ? store_index : next_index;
    if (goes_on_at >= store_count) {
        return 0;
    }
    out[0] = S_CURSOR_MARK;
    out[1] = (uint8_t)store_count;
    out[2] = (uint8_t)goes_on_at;
    out[3] = 0;
    if (inner.length > 0) {
        memcpy(out + BB_STORE_CURSOR_BYTES, inner.data, inner.length);
    }
    return BB_STORE_CURSOR_BYTES + inner.length;
}

// ---- gathering ---------------------------------------------------------------------------------
// Frames [sub_first, sub_first + count) of a sub-batch are [first, first + count) of the batch.
typedef struct {
    uint32_t sub_first, first, count;
} s_span_t;

typedef struct {
    bool is_in;
    uint32_t span_count;
    s_span_t *spans;
} s_store_t;

struct bb_gather {
    bb_kind_t kind;
    uint32_t store_count, expected, received;
    s_store_t *stores;
    bb_write_reply_t write;
    bb_session_token_t session; // WRITE: the dots that all stores gave
    uint8_t *session_bytes;     // the same, encoded; NULL: nobody asked
    bb_settle_reply_t settle;
    bb_release_reply_t release;
    bb_scrub_reply_t scrub;
    bb_slice_t damage_lines[BB_DAMAGE_LINES_MAX]; // owned texts
    bb_error_reply_t error;                       // code OK = none
    char *error_detail;
    uint32_t rejection_count;
    bb_rejection_t *rejections; // BB_REJECTIONS_MAX; texts owned
};

bb_gather_t *bb_gather_new(bb_kind_t kind, uint32_t store_count, uint32_t expected)
{
    BB_ASSERT(kind == BB_KIND_WRITE || kind == BB_KIND_SETTLE || kind == BB_KIND_RELEASE ||
              kind == BB_KIND_SCRUB);
    BB_ASSERT(expected >= 1 && expected <= store_count && store_count <= BB_STORES_MAX);
    bb_gather_t *self = bb_alloc_zero(1, sizeof *self);
    self->kind = kind;
    self->store_count = store_count;
    self->expected = expected;
    self->stores = bb_alloc_zero(store_count, sizeof *self->stores);
    self->settle = (bb_settle_reply_t){true, true, true};
    return self;
}

static void s_free_text(bb_slice_t text)
{
    free((void *)(uintptr_t)text.data);
}

void bb_gather_destroy(bb_gather_t **self_p)
{
    bb_gather_t *self = *self_p;
    *self_p = NULL;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < self->store_count; i++) {
        free(self->stores[i].spans);
    }
    for (uint32_t i = 0; i < self->rejection_count; i++) {
        s_free_text(self->rejections[i].metric);
        s_free_text(self->rejections[i].detail);
    }
    for (uint32_t i = 0; i < self->scrub.damage_line_count; i++) {
        s_free_text(self->damage_lines[i]);
    }
    bb_session_token_clear(&self->session);
    free(self->session_bytes);
    free(self->rejections);
    free(self->error_detail);
    free(self->stores);
    free(self);
}

bb_error_t bb_gather_cut(bb_gather_t *self, const bb_batch_t *batch, uint32_t store_index,
                         uint8_t **out, size_t *out_length)
{
    BB_ASSERT(store_index < self->store_count);
    bool *keep = bb_alloc_zero((size_t)batch->part_count + 1, sizeof *keep);
    s_store_t *store = &self->stores[store_index];
    free(store->spans);
    store->spans = bb_alloc_zero((size_t)batch->part_count + 1, sizeof *store->spans);
    store->span_count = 0;
    uint32_t first = 0, sub_first = 0;
    for (uint32_t i = 0; i < batch->part_count; i++) {
        uint32_t count = batch->parts[i].frame_count;
        keep[i] =
            bb_store_of_partition(batch->parts[i].partition, self->store_count) == store_index;
        if (keep[i]) {
            store->spans[store->span_count++] = (s_span_t){sub_first, first, count};
            sub_first += count;
        }
        first += count;
    }
    bb_error_t error = BB_ERR_NOT_FOUND;
    if (store->span_count > 0) {
        error = bb_batch_subset(batch, keep, NULL, NULL, out, out_length);
    }
    free(keep);
    return error;
}

static uint32_t s_original_frame(const s_store_t *store, uint32_t frame)
{
    for (uint32_t i = 0; i < store->span_count; i++) {
        const s_span_t *span = &store->spans[i];
        if (frame - span->sub_first < span->count) {
            return span->first + (frame - span->sub_first);
        }
    }
    return UINT32_MAX; // the whole batch
}

static bb_slice_t s_copy_text(bb_slice_t text)
{
    char *copy = bb_alloc(text.length + 1);
    if (text.length > 0) {
        memcpy(copy, text.data, text.length);
    }
    copy[text.length] = '\0';
    return bb_slice(copy, text.length);
}

static void s_add_session(bb_gather_t *self, bb_slice_t encoded)
{
    bb_session_token_t part = {0};
    if (encoded.length == 0) {
        return;
    }
    bb_error_t error = bb_session_token_decode(&part, encoded);
    BB_ASSERT(error == BB_OK); // a store of ours made it
    error = bb_session_token_join(&self->session, &part);
    BB_ASSERT(error == BB_OK); // of no cluster in particular
    bb_session_token_clear(&part);
    free(self->session_bytes);
    size_t length = 0;
    bb_session_token_encode(&self->session, &self->session_bytes, &length);
    self->write.session = bb_slice(self->session_bytes, length);
}

static void s_add_write(bb_gather_t *self, const s_store_t *store, const bb_write_reply_t *reply)
{
    s_add_session(self, reply->session);
    self->write.acked_points += reply->acked_points;
    self->write.rejected_points += reply->rejected_points;
    self->write.quarantined_points += reply->quarantined_points;
    self->write.acked_frames += reply->acked_frames;
    self->write.rejected_frames += reply->rejected_frames;
    if (reply->rejection_count > 0 && !self->rejections) {
        self->rejections = bb_alloc_zero(BB_REJECTIONS_MAX, sizeof *self->rejections);
    }
    for (uint32_t i = 0; i < reply->rejection_count; i++) {
        if (self->rejection_count == BB_REJECTIONS_MAX) {
            break; // the counts stay complete
        }
        const bb_rejection_t *from = &reply->rejections[i];
        self->rejections[self->rejection_count++] = (bb_rejection_t){
            .frame = from->frame == UINT32_MAX ? UINT32_MAX : s_original_frame(store, from->frame),
            .metric = s_copy_text(from->metric),
            .error = from->error,
            .detail = s_copy_text(from->detail),
        };
    }
}

static void s_add_scrub(bb_gather_t *self, const bb_scrub_reply_t *reply)
{
    bb_scrub_reply_t *sum = &self->scrub;
    sum->is_running |= reply->is_running;
    sum->windows_left += reply->windows_left;
    sum->findings += reply->findings;
    sum->bytes_total += reply->bytes_total;
    sum->findings_total += reply->findings_total;
    sum->oldest_age_ns = BB_MAX(sum->oldest_age_ns, reply->oldest_age_ns);
    sum->barred_count += reply->barred_count;
    sum->damage_count += reply->damage_count;
    for (uint32_t i = 0; i < reply->damage_line_count; i++) {
        if (sum->damage_line_count < BB_DAMAGE_LINES_MAX) {
            self->damage_lines[sum->damage_line_count++] = s_copy_text(reply->damage_lines[i]);
        }
    }
    sum->damage_lines = self->damage_lines;
}

static int s_rank(bb_error_t error)
{
    switch (bb_error_retry(error)) {
    case BB_RETRY_NEVER:
        return 3;
    case BB_RETRY_UNKNOWN:
        return 2;
    case BB_RETRY_ELSEWHERE:
    case BB_RETRY_LATER:
        break;
    }
    return 1;
}

static void s_add_error(bb_gather_t *self, const bb_error_reply_t *reply)
{
    if (self->error.code != BB_OK && s_rank(self->error.code) >= s_rank(reply->code)) {
        self->error.retry_after_ms = BB_MAX(self->error.retry_after_ms, reply->retry_after_ms);
        return;
    }
    uint32_t retry_after_ms = BB_MAX(self->error.retry_after_ms, reply->retry_after_ms);
    free(self->error_detail);
    bb_slice_t copy = s_copy_text(reply->detail);
    self->error_detail = (char *)(uintptr_t)copy.data;
    self->error = (bb_error_reply_t){reply->code, copy, retry_after_ms};
}

bool bb_gather_add(bb_gather_t *self, uint32_t store_index, const bb_message_t *answer)
{
    BB_ASSERT(store_index < self->store_count);
    s_store_t *store = &self->stores[store_index];
    if (store->is_in) {
        return self->received == self->expected;
    }
    store->is_in = true;
    self->received++;
    if (answer->kind == BB_KIND_ERROR) {
        s_add_error(self, &answer->error);
    } else if (answer->kind == BB_KIND_WRITE_REPLY && self->kind == BB_KIND_WRITE) {
        s_add_write(self, store, &answer->write_reply);
    } else if (answer->kind == BB_KIND_SETTLE_REPLY && self->kind == BB_KIND_SETTLE) {
        self->settle.sealed &= answer->settle_reply.sealed;
        self->settle.merged &= answer->settle_reply.merged;
        self->settle.trimmed &= answer->settle_reply.trimmed;
    } else if (answer->kind == BB_KIND_RELEASE_REPLY && self->kind == BB_KIND_RELEASE) {
        self->release.released_points += answer->release_reply.released_points;
    } else if (answer->kind == BB_KIND_SCRUB_REPLY && self->kind == BB_KIND_SCRUB) {
        s_add_scrub(self, &answer->scrub_reply);
    } else {
        s_add_error(self, &(bb_error_reply_t){.code = BB_ERR_INTERNAL});
    }
    return self->received == self->expected;
}

void bb_gather_answer(const bb_gather_t *self, bb_message_t *answer)
{
    BB_ASSERT(self->received == self->expected);
    if (self->error.code != BB_OK) {
        answer->kind = BB_KIND_ERROR;
        answer->error = self->error;
    } else if (self->kind == BB_KIND_WRITE) {
        answer->kind = BB_KIND_WRITE_REPLY;
        answer->write_reply = self->write;
        answer->write_reply.rejection_count = self->rejection_count;
        answer->write_reply.rejections = self->rejections;
    } else if (self->kind == BB_KIND_SETTLE) {
        answer->kind = BB_KIND_SETTLE_REPLY;
        answer->settle_reply = self->settle;
    } else if (self->kind == BB_KIND_SCRUB) {
        answer->kind = BB_KIND_SCRUB_REPLY;
        answer->scrub_reply = self->scrub;
    } else {
        answer->kind = BB_KIND_RELEASE_REPLY;
        answer->release_reply = self->release;
    }
}
