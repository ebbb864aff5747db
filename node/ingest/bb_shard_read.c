// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_shard_internal.h"

#include <stdlib.h>
#include <string.h>

void bb_shard_query_exclude(bb_query_t *query, const bb_missing_t *missing, uint32_t missing_count,
                            uint32_t *room)
{
    BB_ASSERT(query && (missing || missing_count == 0));
    if (missing_count == 0) {
        return;
    }
    BB_ASSERT(room);
    uint32_t count = 0;
    for (uint32_t i = 0, m = 0; i < query->partition_count; i++) {
        while (m < missing_count && missing[m].partition < query->partitions[i]) {
            m++;
        }
        if (m == missing_count || missing[m].partition != query->partitions[i]) {
            room[count++] = query->partitions[i];
        }
    }
    query->partitions = room;
    query->partition_count = count;
}

void bb_shard_read_destroy(bb_shard_t *self, bb_pending_read_t *read)
{
    *read->link = read->next;
    if (read->next) {
        read->next->link = read->link;
    }
    self->read_count--;
    bb_buffer_drop(&read->envelope);
    free(read->missing);
    free(read);
}

// Nothing can be served: says so in a whole, empty page.
static void s_answer_missing(bb_shard_t *self, uint64_t ticket, const bb_message_t *request,
                             const bb_missing_t *missing, uint32_t missing_count)
{
    bb_page_builder_t *page = bb_page_builder_new();
    uint8_t *data = NULL;
    size_t length = 0;
    bb_page_builder_finish(page, &data, &length);
    bb_page_builder_destroy(&page);
    bb_buffer_t *body = bb_buffer_new(data, length, NULL, NULL);
    bb_message_t message = {.kind = BB_KIND_RESULT,
                            .epoch = self->epoch,
                            .request_id = request->request_id,
                            .trace_id = request->trace_id,
                            .result = {.missing = missing, .missing_count = missing_count}};
    bb_query_t nothing = request->query;
    nothing.partition_count = 0;
    bb_buffer_t *session = bb_shard_session_seen(self, &nothing);
    message.result.session = bb_buffer_slice(session);
    bb_shard_answer(self, ticket, &message, body);
    bb_buffer_drop(&session);
    bb_buffer_drop(&body);
}

// The snapshot is taken at this moment, of what can be served; another thread scans it.
static void s_scan(bb_shard_t *self, uint64_t ticket, const bb_message_t *request,
                   bb_buffer_t *envelope, const bb_missing_t *missing, uint32_t missing_count,
                   int64_t deadline_mono_ns)
{
    if (BB_IS_PLANTED(self, BB_PLANTED_SILENT_PARTIAL)) {
        missing_count = 0;
    }
    bb_query_t query = request->query;
    uint32_t *room = bb_alloc((query.partition_count + 1) * sizeof *room);
    bb_shard_query_exclude(&query, missing, missing_count, room);
    if (query.partition_count == 0) {
        s_answer_missing(self, ticket, request, missing, missing_count);
        free(room);
        return;
    }
    bb_snapshot_t *snapshot = NULL;
    bb_fault_t fault = {0};
    bb_error_t error = bb_store_snapshot(self->store, &query, &snapshot, &fault);
    bb_buffer_t *session = error == BB_OK ? bb_shard_session_seen(self, &query) : NULL;
    free(room);
    if (error != BB_OK) {
        bb_shard_answer_error(self, ticket, request->request_id, request->trace_id, error, 0, "%s",
                              fault.text[0] ? fault.text : bb_error_message(error));
        return;
    }
    self->options.out.scan(self->options.out.context, ticket, request->request_id, snapshot,
                           envelope, missing, missing_count, session, deadline_mono_ns);
    bb_buffer_drop(&session);
}

// Partitions that this store cannot answer at all. Room for the query's partition count.
static uint32_t s_missing_here(bb_shard_t *self, const bb_query_t *query, bb_missing_t *missing)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < query->partition_count; i++) {
        uint32_t partition = query->partitions[i];
        if (!bb_have_view_is_ours(self->view, partition)) {
            missing[count++] = (bb_missing_t){.partition = partition, .error = BB_ERR_NOT_REPLICA};
        } else if (bb_have_view_needs_sync(self->view, partition)) {
            missing[count++] = (bb_missing_t){.partition = partition, .error = BB_ERR_BEHIND};
        }
    }
    return count;
}

static void s_wait(bb_shard_t *self, uint64_t ticket, const bb_message_t *message,
                   bb_buffer_t *envelope, bb_missing_t *missing, uint32_t missing_count,
                   bb_level_t level, const bb_session_token_t *session)
{
    bb_query_t query = message->query;
    query.level = level;
    bb_shard_query_exclude(&query, missing, missing_count, self->partitions);
    bb_pending_read_t *read = bb_alloc_zero(1, sizeof *read);
    int64_t deadline_mono_ns = bb_shard_deadline_mono_ns(self, message);
    // The last quarter of the time is for the scan and the way back.
    int64_t wait_mono_ns = deadline_mono_ns - (deadline_mono_ns - self->time.mono_ns) / 4;
    if (level == BB_LEVEL_ONE) { // another replica may have it already
        wait_mono_ns = BB_MIN(wait_mono_ns, self->time.mono_ns + BB_SESSION_WAIT_NS_MAX);
    }
    uint64_t request_id = bb_have_view_request_id_next(self->view);
    if (BB_IS_PLANTED(self, BB_PLANTED_CACHED_FENCE)) {
        request_id = 1;
    }
    if (BB_IS_PLANTED(self, BB_PLANTED_LOCAL_FENCE)) {
        query.level = BB_LEVEL_LOCAL_QUORUM;
    }
    bb_fence_read_t request = {.context = (uint64_t)(uintptr_t)read,
                               .level = query.level,
                               .request_id = request_id,
                               .partitions = query.partitions,
                               .partition_count = query.partition_count,
                               .session = session,
                               .held_bytes = sizeof *read + bb_buffer_slice(envelope).length +
                                             (missing_count + 1) * sizeof *missing,
                               .asks_few = true,
                               .begun_mono_ns = self->time.mono_ns,
                               .deadline_mono_ns = wait_mono_ns};
    bb_error_t error = bb_fence_begin(self->fence, &request);
    if (error != BB_OK) {
        free(read);
        bb_shard_answer_error(self, ticket, message->request_id, message->trace_id, error, 100,
                              "%u reads wait already and hold %llu bytes",
                              bb_fence_waiting_count(self->fence),
                              (unsigned long long)bb_fence_waiting_bytes(self->fence));
        return;
    }
    read->ticket = ticket;
    read->request_id = message->request_id;
    read->envelope = bb_buffer_keep(envelope);
    read->deadline_mono_ns = deadline_mono_ns;
    read->missing_count = missing_count;
    read->missing = bb_alloc((missing_count + 1) * sizeof *missing);
    memcpy(read->missing, missing, missing_count * sizeof *missing);
    read->link = &self->reads;
    read->next = self->reads;
    if (read->next) {
        read->next->link = &read->next;
    }
    self->reads = read;
    self->read_count++;
    self->stats.fences_waited++;
    self->stats.sessions_waited += level == BB_LEVEL_ONE;
    self->is_changed = true; // a look at it is due
}

// Everything that the session has seen of these partitions is visible here.
static bool s_has_seen(bb_shard_t *self, const bb_query_t *query, const bb_session_token_t *session)
{
    bool has_seen = true;
    for (uint32_t i = 0; i < query->partition_count && has_seen; i++) {
        has_seen = !bb_have_view_is_ours(self->view, query->partitions[i]) ||
                   bb_session_token_is_held(session, query->partitions[i],
                                            bb_store_have(self->store, query->partitions[i]));
    }
    return has_seen;
}

// Why the query's partitions make no sense; NULL: they do.
static const char *s_refusal(const bb_shard_t *self, const bb_query_t *query)
{
    if (query->partition_count == 0) {
        return "the query names no partition";
    }
    if (query->partition_count > self->partition_count) {
        return "the query names more partitions than there are";
    }
    for (uint32_t i = 0; i < query->partition_count; i++) {
        if (query->partitions[i] >= self->partition_count ||
            (i > 0 && query->partitions[i] <= query->partitions[i - 1])) {
            return "the query's partitions are out of range or not ascending";
        }
    }
    return NULL;
}

void bb_shard_query(bb_shard_t *self, uint64_t ticket, const bb_message_t *message,
                    bb_buffer_t *envelope)
{
    const bb_query_t *query = &message->query;
    const char *refusal = s_refusal(self, query);
    if (refusal) {
        bb_shard_answer_error(self, ticket, message->request_id, message->trace_id, BB_ERR_QUERY, 0,
                              "%s", refusal);
        return;
    }
    // What everybody held, and this node's disk may have lost since, is no part of a session.
    bool has_session = query->session.length > 0 || query->wants_session;
    bb_level_t weight = has_session ? BB_MAX(query->level, BB_LEVEL_LOCAL_QUORUM) : query->level;
    if (!bb_shard_may_serve(self, weight, &refusal)) {
        bb_shard_answer_error(self, ticket, message->request_id, message->trace_id,
                              BB_ERR_NOT_COUNTING, 0, "%s", refusal);
        return;
    }
    bb_session_token_t session;
    bb_error_t error = bb_shard_session_wanted(self, query, &session);
    if (error != BB_OK) {
        bb_shard_answer_error(self, ticket, message->request_id, message->trace_id, error, 0,
                              "the session token cannot be read: %s", bb_error_message(error));
        return;
    }
    // A session that no token can hold any more is served by a quorum.
    bool is_raised = session.is_overflowed && query->level == BB_LEVEL_ONE;
    bb_level_t level = is_raised ? BB_LEVEL_LOCAL_QUORUM : query->level;
    bb_missing_t *missing = bb_alloc(query->partition_count * sizeof *missing);
    uint32_t missing_count = s_missing_here(self, query, missing);
    if (missing_count == query->partition_count ||
        (level == BB_LEVEL_ONE && s_has_seen(self, query, &session))) {
        s_scan(self, ticket, message, envelope, missing, missing_count,
               bb_shard_deadline_mono_ns(self, message));
    } else {
        s_wait(self, ticket, message, envelope, missing, missing_count, level, &session);
    }
    free(missing);
    bb_session_token_clear(&session);
}

static int s_compare_missing(const void *a, const void *b)
{
    uint32_t x = ((const bb_missing_t *)a)->partition;
    uint32_t y = ((const bb_missing_t *)b)->partition;
    return (x > y) - (x < y);
}

void bb_shard_reads_step(bb_shard_t *self)
{
    bb_fence_step(self->fence, self->time.mono_ns, self->is_changed);
    self->is_changed = false;
    bb_fence_ready_t ready;
    while (bb_fence_next(self->fence, &ready)) {
        bb_pending_read_t *read = (bb_pending_read_t *)(uintptr_t)ready.context;
        self->stats.fences_timeout += ready.is_timeout;
        const char *refusal = NULL; // only reads above `one` and those of sessions wait
        if (!bb_shard_may_serve(self, BB_LEVEL_LOCAL_QUORUM, &refusal)) {
            bb_shard_answer_error(self, read->ticket, read->request_id, 0, BB_ERR_NOT_COUNTING, 0,
                                  "%s", refusal);
            bb_shard_read_destroy(self, read);
            continue;
        }
        uint32_t missing_count = read->missing_count + ready.missing_count;
        bb_missing_t *missing = bb_alloc((missing_count + 1) * sizeof *missing);
        memcpy(missing, read->missing, read->missing_count * sizeof *missing);
        memcpy(missing + read->missing_count, ready.missing, ready.missing_count * sizeof *missing);
        qsort(missing, missing_count, sizeof *missing, s_compare_missing);
        bb_message_t message;
        bb_error_t error = bb_message_decode(&message, bb_buffer_slice(read->envelope), NULL);
        BB_ASSERT(error == BB_OK); // it was decoded when it came
        s_scan(self, read->ticket, &message, read->envelope, missing, missing_count,
               read->deadline_mono_ns);
        bb_message_close(&message);
        free(missing);
        bb_shard_read_destroy(self, read);
    }
}
