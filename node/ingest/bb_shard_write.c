// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_shard_internal.h"

#include <stdlib.h>
#include <string.h>

#define S_REFUSED_TEXT_BYTES 512
#define S_DISK_FULL_RETRY_MS 1000

// ---- refusing --------------------------------------------------------------------------------

// What bb_store_check named, so that the rest can be taken and the reply can say it.
typedef struct {
    const bb_batch_t *batch;
    uint64_t *run_firsts;     // per run: index of its first metric in refused_metrics
    uint8_t *refused_metrics; // per (run, metric)
    uint8_t *refused_frames;  // per frame
    uint64_t *point_firsts;   // per run: index of its first point in refused_points
    uint8_t *refused_points;  // per point; NULL while none is refused alone
    bb_rejection_t *rejections;
    uint32_t rejection_count;
} s_refusal_t;

// Index of a point: rows of BB_FRAME_METRICS_MAX would be simple and 20 times as large.
static uint64_t s_point(const s_refusal_t *self, const bb_batch_cursor_t *at, uint32_t frame,
                        uint32_t metric)
{
    uint64_t metric_count = self->batch->shapes[at->run->shape].metric_count;
    return self->point_firsts[at->run_index] + (frame - at->frame_first) * metric_count + metric;
}

static bool s_is_refused(const s_refusal_t *self, const bb_batch_cursor_t *at, uint32_t frame,
                         uint32_t metric)
{
    return self->refused_frames[frame] ||
           self->refused_metrics[self->run_firsts[at->run_index] + metric] ||
           (self->refused_points && self->refused_points[s_point(self, at, frame, metric)]);
}

static void s_name(s_refusal_t *self, uint32_t frame, bb_slice_t metric, bb_error_t error,
                   const char *detail)
{
    if (self->rejection_count == BB_REJECTIONS_MAX) {
        return; // the counts are complete all the same
    }
    size_t length = strnlen(detail, S_REFUSED_TEXT_BYTES);
    char *text = bb_alloc(length + 1);
    memcpy(text, detail, length);
    self->rejections[self->rejection_count++] = (bb_rejection_t){
        .frame = frame, .metric = metric, .error = error, .detail = bb_slice(text, length)};
}

// bb_store_reject_fn
static void s_refuse(void *context, const bb_batch_cursor_t *at, uint32_t frame, uint32_t metric,
                     bb_error_t error, const char *detail)
{
    s_refusal_t *self = context;
    const bb_batch_shape_t *shape = &self->batch->shapes[at->run->shape];
    if (metric == UINT32_MAX) {
        self->refused_frames[frame] = 1;
        s_name(self, frame, bb_slice(NULL, 0), error, detail);
        return;
    }
    if (frame != UINT32_MAX) {
        if (!self->refused_points) {
            self->refused_points = bb_alloc_zero(self->batch->value_count, 1);
        }
        self->refused_points[s_point(self, at, frame, metric)] = 1;
        s_name(self, frame, shape->names[metric], error, detail);
        return;
    }
    self->refused_metrics[self->run_firsts[at->run_index] + metric] = 1;
    for (uint32_t i = 0; i < at->run->frame_count; i++) {
        s_name(self, at->frame_first + i, shape->names[metric], error, detail);
    }
}

// bb_batch_keep_point_fn
static bool s_keep_point(void *context, const bb_batch_cursor_t *at, uint32_t frame,
                         uint32_t metric)
{
    return !s_is_refused(context, at, frame, metric);
}

static void s_refusal_begin(s_refusal_t *self, const bb_batch_t *batch)
{
    *self = (s_refusal_t){.batch = batch};
    self->run_firsts = bb_alloc(batch->run_count * sizeof *self->run_firsts);
    self->point_firsts = bb_alloc(batch->run_count * sizeof *self->point_firsts);
    uint64_t metric_count = 0;
    uint64_t point_count = 0;
    for (uint32_t i = 0; i < batch->run_count; i++) {
        uint64_t count = batch->shapes[batch->runs[i].shape].metric_count;
        self->run_firsts[i] = metric_count;
        self->point_firsts[i] = point_count;
        metric_count += count;
        point_count += count * batch->runs[i].frame_count;
    }
    self->refused_metrics = bb_alloc_zero(metric_count, 1);
    self->refused_frames = bb_alloc_zero(batch->frame_count, 1);
    self->rejections = bb_alloc_zero(BB_REJECTIONS_MAX, sizeof *self->rejections);
}

static void s_refusal_end(s_refusal_t *self)
{
    for (uint32_t i = 0; i < self->rejection_count; i++) {
        char *text = NULL;
        memcpy(&text, &self->rejections[i].detail.data, sizeof text); // ours: drops the const
        free(text);
    }
    free(self->run_firsts);
    free(self->refused_metrics);
    free(self->refused_frames);
    free(self->refused_points);
    free(self->point_firsts);
    free(self->rejections);
    *self = (s_refusal_t){0};
}

// Looks before it allocates: almost every batch is taken whole.
typedef struct {
    uint64_t count;
} s_look_t;

static void s_look(void *context, const bb_batch_cursor_t *at, uint32_t frame, uint32_t metric,
                   bb_error_t error, const char *detail)
{
    (void)at, (void)frame, (void)metric, (void)error, (void)detail;
    s_look_t *look = context;
    look->count++;
}

// ---- a client's batch ------------------------------------------------------------------------

typedef struct {
    uint64_t ticket;
    const bb_message_t *message;
    bb_level_t level;
    int64_t deadline_mono_ns;
    bb_buffer_t *buffer; // of the batch as it will be stored; one reference
    bb_batch_t batch;
    bb_write_reply_t reply;
    s_refusal_t refusal;
} s_intake_t;

#define S_ERROR(self, intake, error, retry_ms, ...)                                                \
    bb_shard_answer_error(self, (intake)->ticket, (intake)->message->request_id,                   \
                          (intake)->message->trace_id, error, retry_ms, __VA_ARGS__)

// Is there room for `bytes` more? What is in flight alone always has some.
static bool s_fits(bb_shard_t *self, const s_intake_t *intake, size_t bytes)
{
    if (self->in_flight_bytes == 0 ||
        self->in_flight_bytes + bytes <= self->options.in_flight_bytes_max) {
        return true;
    }
    self->stats.writes_busy++;
    S_ERROR(self, intake, BB_ERR_BUSY, 50, "%llu bytes are in flight, the most is %llu",
            (unsigned long long)self->in_flight_bytes,
            (unsigned long long)self->options.in_flight_bytes_max);
    return false;
}

// What a batch holds until it is answered: a small one may unfold into many frames.
static size_t s_held_bytes(const bb_batch_t *batch)
{
    return batch->encoded.length + batch->memory_bytes;
}

// May this node take any batch now?
static bool s_is_open(bb_shard_t *self, const s_intake_t *intake, size_t bytes)
{
    if (self->is_draining) {
        S_ERROR(self, intake, BB_ERR_STOPPING, 0, "the node is shutting down");
        return false;
    }
    if (self->time.is_skewed) {
        S_ERROR(self, intake, BB_ERR_CLOCK_SKEW, 0,
                "this node's clock is more than 60 s off its peers' median");
        return false;
    }
    if (bb_store_is_fenced(self->store)) {
        S_ERROR(self, intake, BB_ERR_FENCED, 0, "a failed sync has fenced this store");
        return false;
    }
    const char *refusal = NULL;
    // Streams of a start that does not count may turn out to be forgotten, and what a session has
    // of those it waits for no more: such a start is no part of a session, as with reads.
    bool has_session = intake->message->write.wants_session;
    bb_level_t weight = has_session ? BB_MAX(intake->level, BB_LEVEL_LOCAL_QUORUM) : intake->level;
    if (!bb_shard_may_serve(self, weight, &refusal)) {
        self->stats.writes_unavailable++;
        S_ERROR(self, intake, BB_ERR_NOT_COUNTING, 0, "%s", refusal);
        return false;
    }
    if (!s_fits(self, intake, bytes)) {
        return false;
    }
    if (bb_store_is_full(self->store)) {
        self->stats.writes_busy++;
        S_ERROR(self, intake, BB_ERR_BUSY, 200, "the head is full until a flush ends");
        return false;
    }
    if (!bb_store_has_room(self->store, bytes)) {
        self->stats.writes_disk_full++;
        S_ERROR(self, intake, BB_ERR_DISK_FULL, S_DISK_FULL_RETRY_MS,
                "the disk is at its reserve; reads go on, and writes when there is room again");
        return false;
    }
    return true;
}

// Every battery in its partition, every partition ours.
static bool s_is_placed(bb_shard_t *self, const s_intake_t *intake)
{
    const bb_batch_t *batch = &intake->batch;
    for (uint32_t i = 0; i < batch->part_count; i++) {
        uint32_t partition = batch->parts[i].partition;
        if (!bb_have_view_is_ours(self->view, partition)) {
            S_ERROR(self, intake, BB_ERR_NOT_REPLICA, 0,
                    "this store holds no replica of partition %u", partition);
            return false;
        }
    }
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    uint32_t checked = UINT32_MAX, checked_part = UINT32_MAX;
    while (bb_batch_cursor_next(batch, &at)) {
        if (at.run->battery == checked && at.part_index == checked_part) {
            continue;
        }
        checked = at.run->battery;
        checked_part = at.part_index;
        bb_slice_t id = batch->batteries[checked].id;
        uint32_t partition = bb_topology_partition_of(self->topology, id.data, id.length);
        if (partition != at.part->partition) {
            S_ERROR(self, intake, BB_ERR_PARTITION, 0,
                    "battery '%.*s' is in partition %u, the batch says %u", (int)id.length,
                    (const char *)id.data, partition, at.part->partition);
            return false;
        }
    }
    return true;
}

// Are there markers exactly where the envelope says so? It was asked for the role that they need.
static bool s_is_what_it_says(bb_shard_t *self, const s_intake_t *intake)
{
    bool has_markers = intake->batch.generation != 0;
    if (has_markers != intake->message->write.deletes) {
        S_ERROR(self, intake, BB_ERR_MESSAGE_CORRUPT, 0, "the batch has %s, the message says %s",
                has_markers ? "markers" : "points", has_markers ? "points" : "markers");
        return false;
    }
    return true;
}

// Fails early when the level cannot be met by the nodes that are up.
static bool s_is_reachable(bb_shard_t *self, const s_intake_t *intake)
{
    const bb_batch_t *batch = &intake->batch;
    for (uint32_t i = 0; i < batch->part_count; i++) {
        self->partitions[i] = batch->parts[i].partition;
    }
    bool is_counting[BB_NODES_MAX];
    bb_shard_counting(self, is_counting);
    uint32_t unmet = bb_replication_unmet_part(self->replication, intake->level, is_counting,
                                               self->partitions, batch->part_count);
    if (unmet == UINT32_MAX) {
        return true;
    }
    uint32_t dc_index = bb_topology_node(self->topology, self->self_index)->dc_index;
    bb_topology_need_t need = bb_topology_need(self->topology, intake->level, dc_index);
    const uint16_t *replicas = bb_topology_replicas(self->topology, self->partitions[unmet]);
    uint32_t mask = 0;
    for (uint32_t slot = 0; slot < bb_topology_replica_count(self->topology); slot++) {
        mask |= (uint32_t)is_counting[replicas[slot]] << slot;
    }
    char lacks[BB_TOPOLOGY_LACKS_BYTES];
    bb_topology_lacks_text(self->topology, &need, mask, lacks);
    self->stats.writes_unavailable++;
    S_ERROR(self, intake, BB_ERR_UNAVAILABLE, 500, "partition %u, level %s: %s",
            self->partitions[unmet], bb_level_name(intake->level), lacks);
    return false;
}

// Takes the refused points out of the batch. False: answered, nothing is left to store.
static bool s_take_out_refused(bb_shard_t *self, s_intake_t *intake)
{
    s_look_t look = {0};
    uint64_t refused = bb_store_check(self->store, &intake->batch, s_look, &look);
    if (look.count == 0) {
        return true;
    }
    s_refusal_begin(&intake->refusal, &intake->batch);
    refused = bb_store_check(self->store, &intake->batch, s_refuse, &intake->refusal);
    intake->reply.rejected_points = refused;
    intake->reply.rejections = intake->refusal.rejections;
    intake->reply.rejection_count = intake->refusal.rejection_count;
    self->stats.points_rejected += refused;
    memset(self->keep, 1, intake->batch.part_count);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_error_t error =
        bb_batch_subset(&intake->batch, self->keep, s_keep_point, &intake->refusal, &data, &length);
    if (error == BB_ERR_NOT_FOUND) {
        intake->reply.rejected_frames = intake->batch.frame_count;
        bb_message_t message = {.kind = BB_KIND_WRITE_REPLY,
                                .epoch = self->epoch,
                                .request_id = intake->message->request_id,
                                .trace_id = intake->message->trace_id,
                                .write_reply = intake->reply};
        bb_shard_answer(self, intake->ticket, &message, NULL);
        return false;
    }
    if (error != BB_OK) {
        S_ERROR(self, intake, error, 0, "%s after %llu points were refused",
                bb_error_message(error), (unsigned long long)refused);
        return false;
    }
    uint32_t frame_count = intake->batch.frame_count;
    // Names of metrics in the rejections point into the old bytes: they stay until the end.
    bb_buffer_t *buffer = bb_buffer_new(data, length, NULL, NULL);
    bb_batch_t batch;
    error = bb_batch_open(&batch, bb_slice(data, length), NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
    bb_batch_close(&intake->batch);
    bb_buffer_drop(&intake->buffer);
    intake->batch = batch;
    intake->buffer = buffer;
    intake->reply.rejected_frames = frame_count - batch.frame_count;
    return true;
}

bb_pending_write_t *bb_shard_write_new(bb_shard_t *self, uint64_t bytes)
{
    bb_pending_write_t *write = bb_alloc_zero(1, sizeof *write);
    write->bytes = bytes;
    write->link = &self->writes;
    write->next = self->writes;
    if (write->next) {
        write->next->link = &write->next;
    }
    self->writes = write;
    self->in_flight_bytes += bytes;
    return write;
}

void bb_shard_write_destroy(bb_shard_t *self, bb_pending_write_t *write)
{
    *write->link = write->next;
    if (write->next) {
        write->next->link = write->link;
    }
    self->in_flight_bytes -= write->bytes;
    bb_buffer_drop(&write->reply);
    free(write);
}

bb_error_t bb_shard_submit_own(bb_shard_t *self, bb_shard_submit_t *submit, uint8_t *data,
                               size_t length)
{
    bb_batch_t batch;
    bb_error_t error = bb_batch_open(&batch, bb_slice(data, length), NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
    submit->batch = &batch;
    submit->batch_buffer = bb_buffer_new(data, length, NULL, NULL);
    submit->write->point_count = batch.value_count;
    submit->write->bytes = length + batch.memory_bytes;
    self->in_flight_bytes += submit->write->bytes;
    uint64_t quarantined_points = 0;
    error = bb_shard_submit(self, submit, &quarantined_points);
    submit->batch = NULL; // it was here only
    if (error != BB_OK) {
        bb_batch_close(&batch);
        bb_buffer_drop(&submit->batch_buffer);
        bb_shard_write_destroy(self, submit->write);
    }
    return error;
}

// The checked batch gets its dots and goes out; the reply is ready before the outcome is known.
static void s_take(bb_shard_t *self, s_intake_t *intake)
{
    uint64_t point_count = intake->batch.value_count;
    uint32_t frame_count = intake->batch.frame_count;
    BB_KILLPOINT(self->options.store.vfs, WRITE_DECODED);
    bb_pending_write_t *write = bb_shard_write_new(self, s_held_bytes(&intake->batch));
    write->ticket = intake->ticket;
    write->request_id = intake->message->request_id;
    write->trace_id = intake->message->trace_id;
    write->point_count = point_count;
    bb_shard_submit_t submit = {
        .level = intake->level,
        .deadline_mono_ns = intake->deadline_mono_ns,
        .is_judged =
            intake->batch.generation == 0, // when something was deleted is no time of a point
        .batch_buffer = intake->buffer,
        .batch = &intake->batch,
        .write = write,
    };
    uint64_t quarantined_points = 0;
    uint32_t part_count = intake->batch.part_count;
    bb_error_t error = bb_shard_submit(self, &submit, &quarantined_points);
    if (error != BB_OK) {
        self->stats.writes_busy += error == BB_ERR_BUSY;
        S_ERROR(self, intake, error, error == BB_ERR_BUSY ? 50 : 0, "%s", bb_error_message(error));
        bb_shard_write_destroy(self, write);
        return;
    }
    intake->buffer = NULL;
    intake->batch = (bb_batch_t){0};
    intake->reply.acked_points = point_count;
    intake->reply.acked_frames = frame_count;
    intake->reply.quarantined_points = quarantined_points;
    // What _submit left there: the parts and the seqs that they got.
    bb_buffer_t *session =
        bb_shard_session_dots(self, intake->message, self->partitions, self->seqs, part_count);
    intake->reply.session = bb_buffer_slice(session);
    bb_message_t message = {.kind = BB_KIND_WRITE_REPLY,
                            .epoch = self->epoch,
                            .request_id = write->request_id,
                            .trace_id = write->trace_id,
                            .write_reply = intake->reply};
    write->reply = bb_shard_encode(&message);
    bb_buffer_drop(&session);
    self->stats.points_accepted += point_count;
    self->stats.frames_accepted += frame_count;
    self->stats.batches_accepted++;
    self->stats.points_quarantined += quarantined_points;
    if (BB_IS_PLANTED(self, BB_PLANTED_ACK_BEFORE_SYNC)) {
        bb_shard_outcomes(self);
    }
}

void bb_shard_write(bb_shard_t *self, uint64_t ticket, const bb_message_t *message,
                    bb_buffer_t *payload)
{
    s_intake_t intake = {.ticket = ticket,
                         .message = message,
                         .level = message->write.level,
                         .deadline_mono_ns = bb_shard_deadline_mono_ns(self, message)};
    bb_slice_t encoded = bb_buffer_slice(payload);
    if (!s_is_open(self, &intake, encoded.length)) {
        return;
    }
    bb_fault_t fault = {0};
    bb_error_t error = payload ? bb_batch_open(&intake.batch, encoded, &fault)
                               : bb_fault_set(&fault, BB_ERR_MESSAGE_CORRUPT,
                                              "a WRITE has a batch as its second frame");
    if (error != BB_OK) {
        S_ERROR(self, &intake, error, 0, "%s", fault.text);
        return;
    }
    bb_buffer_t *original = bb_buffer_keep(payload); // rejections may point into it
    intake.buffer = bb_buffer_keep(payload);
    if (s_is_what_it_says(self, &intake) && s_fits(self, &intake, s_held_bytes(&intake.batch)) &&
        s_is_placed(self, &intake) && s_is_reachable(self, &intake) &&
        s_take_out_refused(self, &intake)) {
        s_take(self, &intake);
    }
    s_refusal_end(&intake.refusal);
    bb_batch_close(&intake.batch);
    bb_buffer_drop(&intake.buffer);
    bb_buffer_drop(&original);
}

// ---- dots and replicas -------------------------------------------------------------------------

// Frames too far ahead of this coordinator's clock: the verdict travels with the chunks.
static uint32_t s_judge(bb_shard_t *self, const bb_batch_t *batch, uint64_t *point_count)
{
    int64_t wall_ns = BB_MAX(self->time.wall_ns, INT64_C(0));
    int64_t latest_wall_ns =
        wall_ns > INT64_MAX - BB_FUTURE_NS_MAX ? INT64_MAX : wall_ns + BB_FUTURE_NS_MAX;
    bool is_any = false;
    for (uint32_t i = 0; i < batch->frame_count; i++) {
        is_any |= batch->times_wall_ns[i] > latest_wall_ns;
    }
    if (!is_any) {
        return 0;
    }
    if (self->quarantined_capacity < batch->frame_count) {
        self->quarantined_capacity = batch->frame_count;
        self->quarantined =
            bb_realloc(self->quarantined, batch->frame_count * sizeof *self->quarantined);
    }
    uint32_t count = 0;
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        for (uint32_t i = 0; i < at.run->frame_count; i++) {
            if (batch->times_wall_ns[at.frame_first + i] > latest_wall_ns) {
                self->quarantined[count++] = at.frame_first + i;
                *point_count += batch->shapes[at.run->shape].metric_count;
            }
        }
    }
    return count;
}

bb_error_t bb_shard_submit(bb_shard_t *self, bb_shard_submit_t *submit,
                           uint64_t *quarantined_points)
{
    const bb_batch_t *batch = submit->batch;
    *quarantined_points = 0;
    for (uint32_t i = 0; i < batch->part_count; i++) {
        self->partitions[i] = batch->parts[i].partition;
    }
    bb_replication_write_t request = {
        .level = submit->level,
        .part_count = batch->part_count,
        .partitions = self->partitions,
        .context = (uint64_t)(uintptr_t)submit->write,
        .now_mono_ns = self->time.mono_ns,
        .deadline_mono_ns = submit->deadline_mono_ns,
    };
    if (BB_IS_PLANTED(self, BB_PLANTED_LOCAL_LEVEL) && request.level > BB_LEVEL_LOCAL_QUORUM) {
        request.level = BB_LEVEL_LOCAL_QUORUM;
    }
    // Room first: once dots are given, the chunk is on its way.
    if (self->staged_count == BB_SHARD_STAGED_MAX) {
        bb_shard_commit_staged(self);
    }
    uint32_t write_id = 0;
    bb_error_t error = bb_replication_begin(self->replication, &request, self->seqs, &write_id);
    if (error != BB_OK) {
        return error;
    }
    for (uint32_t i = 0; i < batch->part_count && bb_topology_dc_count(self->topology) > 1; i++) {
        bb_dc_lag_given(self->dc_lag, self->time.mono_ns, self->partitions[i], self->seqs[i]);
    }
    bb_chunks_t chunks = {
        .stream = self->options.stream,
        .epoch = self->epoch,
        .origin_wall_ns = self->time.wall_ns,
        .part_count = batch->part_count,
        .seqs = self->seqs,
        .quarantined = self->quarantined,
    };
    if (submit->is_judged) {
        chunks.quarantined_count = s_judge(self, batch, quarantined_points);
        chunks.quarantined = self->quarantined;
    }
    if (submit->moved) {
        chunks.origin_wall_ns = submit->moved->origin_wall_ns;
        chunks.quarantined_count = submit->moved->quarantined_count;
        chunks.quarantined = submit->moved->quarantined;
    }
    uint8_t *data = NULL;
    size_t length = 0;
    bb_chunks_encode(&chunks, &data, &length);
    bb_staged_t staged = {.chunks_buffer = bb_buffer_new(data, length, NULL, NULL),
                          .batch_buffer = submit->batch_buffer,
                          .batch = *batch,
                          .write_id = write_id,
                          .is_own = true};
    error = bb_chunks_decode(&staged.chunks, bb_slice(data, length), NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
    bb_shard_fan_out(self, &staged);
    bb_pace_live(&self->pace, self->time.mono_ns,
                 length + bb_buffer_slice(staged.batch_buffer).length);
    error = bb_shard_stage(self, &staged);
    submit->is_staged = error == BB_OK;
    if (error != BB_OK) {
        // Others may hold it by now: the write ends with this error, and repeating it is safe.
        bb_buffer_drop(&staged.chunks_buffer);
        bb_batch_close(&staged.batch);
        bb_buffer_drop(&staged.batch_buffer);
        bb_replication_fail(self->replication, write_id, error, self->time.mono_ns);
    }
    return BB_OK;
}

// ---- making it durable -------------------------------------------------------------------------

#ifdef BB_PLANTED
// The bug: a replica puts its own verdict in the place of the coordinator's.
static void s_judge_again(bb_shard_t *self, bb_staged_t *staged)
{
    if (!BB_IS_PLANTED(self, BB_PLANTED_JUDGE_AT_REPLICA) || staged->is_own ||
        bb_stream_is_none(&staged->chunks.stream) || staged->batch.generation != 0) {
        return;
    }
    uint32_t part_count = staged->chunks.part_count;
    uint64_t *seqs = bb_alloc(part_count * sizeof *seqs), point_count = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        seqs[i] = bb_chunks_seq(&staged->chunks, i);
    }
    bb_chunks_t chunks = staged->chunks;
    chunks.seqs = seqs;
    chunks.quarantined_count = s_judge(self, &staged->batch, &point_count);
    chunks.quarantined = self->quarantined;
    uint8_t *data = NULL;
    size_t length = 0;
    bb_chunks_encode(&chunks, &data, &length);
    free(seqs);
    bb_buffer_drop(&staged->chunks_buffer);
    staged->chunks_buffer = bb_buffer_new(data, length, NULL, NULL);
    bb_error_t error = bb_chunks_decode(&staged->chunks, bb_slice(data, length), NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
}
#endif

bb_error_t bb_shard_stage(bb_shard_t *self, bb_staged_t *staged)
{
#ifdef BB_PLANTED
    s_judge_again(self, staged);
#endif
    if (self->staged_count == BB_SHARD_STAGED_MAX) {
        bb_shard_commit_staged(self);
    }
    bb_slice_t encoded = bb_buffer_slice(staged->chunks_buffer);
    bb_error_t error = bb_store_stage(self->store, &staged->chunks, encoded, &staged->batch);
    if (error == BB_ERR_BUSY && self->staged_count > 0) {
        bb_shard_commit_staged(self);
        error = bb_store_stage(self->store, &staged->chunks, encoded, &staged->batch);
    }
    if (error != BB_OK) {
        bb_have_view_hold(self->view, self->time.mono_ns + BB_SHARD_RETRY_NS);
        return error;
    }
    self->staged[self->staged_count++] = *staged;
    if (BB_IS_PLANTED(self, BB_PLANTED_ACK_BEFORE_SYNC) && staged->is_own) {
        for (uint32_t i = 0; i < staged->chunks.part_count; i++) {
            error = bb_replication_durable(self->replication, self->self_index,
                                           staged->batch.parts[i].partition,
                                           bb_chunks_seq(&staged->chunks, i),
                                           bb_chunks_seq(&staged->chunks, i), self->time.mono_ns);
            BB_ASSERT(error == BB_OK);
        }
    }
    return BB_OK;
}

#ifdef BB_PLANTED
static void s_plant(bb_shard_t *self, bb_staged_t *staged)
{
    bb_batch_t *batch = &staged->batch;
    uint32_t generation = bb_revision_generation(batch->revision);
    if (batch->generation != 0) {
        return;
    }
    if (BB_IS_PLANTED(self, BB_PLANTED_ARRIVAL_ORDER)) {
        batch->revision = bb_revision_make(generation, (uint32_t)bb_store_version(self->store) + 1);
    }
    if (BB_IS_PLANTED(self, BB_PLANTED_DELETE_RESURRECTS) && !staged->is_own) {
        uint32_t known =
            bb_store_generation(self->store, batch->batteries[batch->runs[0].battery].id);
        batch->revision = bb_revision_make(BB_MAX(generation, known), (uint32_t)batch->revision);
    }
}
#else
static void s_plant(bb_shard_t *self, bb_staged_t *staged)
{
    (void)self, (void)staged;
}
#endif

// The record is durable: it becomes visible, and each dot that is in the have-set now counts.
static void s_apply(bb_shard_t *self, bb_staged_t *staged)
{
    s_plant(self, staged);
    bb_error_t error = bb_store_apply(self->store, &staged->chunks, &staged->batch);
    bb_ignore(error, "LIMIT: the dots that were left out are not in the have-set and not counted");
    if (bb_stream_is_equal(&staged->chunks.stream, &self->options.stream)) {
        bb_shard_count_own(self, staged);
    } else {
        bb_shard_ack_staged(self, staged);
    }
    if (self->head_since_mono_ns == BB_NEVER_NS) {
        self->head_since_mono_ns = self->time.mono_ns;
    }
    self->unsealed_chunks += staged->chunks.part_count;
    bb_shard_watch_applied(self, staged);
}

int64_t bb_shard_clock_mono_ns(const bb_shard_t *self)
{
    const bb_shard_out_t *out = &self->options.out;
    return out->clock_mono_ns ? out->clock_mono_ns(out->context) : self->time.mono_ns;
}

void bb_shard_commit_staged(bb_shard_t *self)
{
    if (self->staged_count == 0) {
        return;
    }
    int64_t begun_mono_ns = bb_shard_clock_mono_ns(self);
    self->stats.journal_sync_bytes += bb_store_staged_bytes(self->store);
    bb_error_t error = bb_store_sync(self->store);
    self->stats.journal_syncs++;
    self->stats.journal_sync_ns_sum += (uint64_t)(bb_shard_clock_mono_ns(self) - begun_mono_ns);
    if (error != BB_OK) { // a full disk, or worse: peers' chunks would only be lost again
        bb_have_view_hold(self->view, self->time.mono_ns + BB_SHARD_RETRY_NS);
    }
    if (error == BB_OK) {
        BB_KILLPOINT(self->options.store.vfs, WRITE_SYNCED);
    }
    for (uint32_t i = 0; i < self->staged_count; i++) {
        bb_staged_t *staged = &self->staged[i];
        if (error == BB_OK) {
            s_apply(self, staged);
        } else if (staged->is_own) {
            // Not durable here. Replicas may have it: the outcome is theirs or this error, and a
            // peer's chunk that was dropped comes again by a pull.
            bb_replication_fail(self->replication, staged->write_id, error, self->time.mono_ns);
        }
        bb_batch_close(&staged->batch);
        bb_buffer_drop(&staged->chunks_buffer);
        bb_buffer_drop(&staged->batch_buffer);
    }
    self->staged_count = 0;
    self->is_changed = true;
    bb_shard_sync_committed(self, error == BB_OK);
    BB_KILLPOINT(self->options.store.vfs, WRITE_APPLIED);
}

// ---- outcomes ----------------------------------------------------------------------------------

static void s_count_latency(bb_shard_t *self, int64_t begun_mono_ns)
{
    int64_t now_mono_ns = BB_MAX(bb_shard_clock_mono_ns(self), begun_mono_ns);
    uint64_t ns = (uint64_t)(now_mono_ns - begun_mono_ns);
    uint64_t us = ns / 1000;
    uint32_t bucket = us == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(us);
    bucket = BB_MIN(bucket, (uint32_t)BB_COUNT_OF(self->stats.ack_latency_buckets) - 1);
    self->stats.ack_latency_buckets[bucket]++;
    self->stats.ack_latency_ns_sum += ns;
}

void bb_shard_outcomes(bb_shard_t *self)
{
    bb_replication_done_t done;
    while (bb_replication_next(self->replication, &done)) {
        bb_pending_write_t *write = (bb_pending_write_t *)(uintptr_t)done.context;
        if (write->is_moved) {
            bb_ignore(done.error, "who moved it looks for its dots");
        } else if (write->release) {
            bb_shard_release_ended(self, write->release, done.error, write->point_count);
        } else if (write->watch) {
            bb_shard_watch_ended(self, write->watch, done.error);
        } else if (done.error == BB_OK) {
            self->stats.writes_acked++;
            self->stats.promises++;
            s_count_latency(self, done.begun_mono_ns);
            bb_outbound_t out = {.envelope = write->reply};
            self->options.out.answer(self->options.out.context, write->ticket, &out);
            BB_KILLPOINT(self->options.store.vfs, WRITE_ACKED);
        } else {
            self->stats.writes_timeout += done.error == BB_ERR_TIMEOUT;
            bb_shard_answer_error(self, write->ticket, write->request_id, write->trace_id,
                                  done.error, 0, "%s; some replicas may have the batch",
                                  bb_error_message(done.error));
        }
        bb_shard_write_destroy(self, write);
    }
}
