// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_shard_internal.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_batch_equal.h"

// ---- chunks ----------------------------------------------------------------------------------

// The same dots wait for the next commit. Only a message that came twice is worth finding: any
// other overlap is staged again and skipped by the store, dot by dot.
static const bb_staged_t *s_staged(const bb_shard_t *self, const bb_chunks_t *chunks,
                                   const bb_batch_t *batch)
{
    for (uint32_t i = 0; i < self->staged_count; i++) {
        const bb_staged_t *staged = &self->staged[i];
        bool is_same = staged->chunks.part_count == chunks->part_count &&
                       bb_stream_is_equal(&staged->chunks.stream, &chunks->stream);
        for (uint32_t p = 0; is_same && p < chunks->part_count; p++) {
            is_same = staged->batch.parts[p].partition == batch->parts[p].partition &&
                      bb_chunks_seq(&staged->chunks, p) == bb_chunks_seq(chunks, p);
        }
        if (is_same) {
            return staged;
        }
    }
    return NULL;
}

// A dot names one chunk for ever. What comes again is never stored, so the first content stays;
// that the second is another one is looked for as far as it is cheap: always in memory, in the
// journal within a budget, in segments not at all.
static bool s_is_contradicted(bb_shard_t *self, const bb_staged_t *known,
                              const bb_staged_t *incoming)
{
    int64_t passed_ns = self->time.mono_ns - self->repeat_mono_ns;
    if (passed_ns >= BB_NS_PER_S) {
        self->repeat_mono_ns = self->time.mono_ns;
        self->repeat_budget_bytes = BB_SHARD_REPEAT_BYTES_PER_S;
    }
    bool is_other = false;
    for (uint32_t i = 0; i < incoming->batch.part_count && !is_other; i++) {
        bool is_ours = bb_have_view_is_ours(self->view, incoming->batch.parts[i].partition);
        if (known) {
            is_other = !bb_batch_part_is_equal(&known->batch, &known->chunks, i, &incoming->batch,
                                               &incoming->chunks, i);
        } else if (is_ours && self->repeat_budget_bytes > 0) {
            is_other = bb_store_is_contradicted(self->store, &incoming->chunks, &incoming->batch, i,
                                                &self->repeat_budget_bytes);
        }
    }
    self->stats.chunks_contradicted += is_other;
    return is_other;
}

// A dot of our own stream that we have not given: it would be taken for what we write next.
static bool s_is_forged(const bb_shard_t *self, const bb_chunks_t *chunks, uint32_t partition,
                        uint32_t part_index)
{
    return !BB_IS_PLANTED(self, BB_PLANTED_HOSTILE_BELIEVED) &&
           bb_stream_is_equal(&chunks->stream, &self->options.stream) &&
           bb_chunks_seq(chunks, part_index) >
               bb_replication_seq_last(self->replication, partition);
}

// What a message brought; its own references and tables.
typedef struct {
    bb_staged_t staged;
    uint32_t new_count; // parts not yet durable here
    uint32_t ours_count;
} s_incoming_t;

static void s_incoming_drop(s_incoming_t *incoming)
{
    bb_batch_close(&incoming->staged.batch);
    bb_buffer_drop(&incoming->staged.chunks_buffer);
    bb_buffer_drop(&incoming->staged.batch_buffer);
}

static bb_error_t s_open(s_incoming_t *incoming, bb_buffer_t *chunks, bb_buffer_t *batch)
{
    *incoming = (s_incoming_t){0};
    bb_staged_t *staged = &incoming->staged;
    bb_error_t error = bb_chunks_decode(&staged->chunks, bb_buffer_slice(chunks), NULL);
    if (error != BB_OK) {
        return error;
    }
    error = bb_batch_open(&staged->batch, bb_buffer_slice(batch), NULL);
    if (error != BB_OK) {
        return error;
    }
    error = bb_chunks_match(&staged->chunks, &staged->batch, NULL);
    if (error == BB_OK && bb_stream_is_none(&staged->chunks.stream)) {
        error = BB_ERR_MESSAGE_CORRUPT; // chunks of peers have dots
    }
    if (error != BB_OK) {
        bb_batch_close(&staged->batch);
        return error;
    }
    staged->chunks_buffer = bb_buffer_keep(chunks);
    staged->batch_buffer = bb_buffer_keep(batch);
    return BB_OK;
}

bool bb_shard_is_placed(const bb_shard_t *self, const bb_batch_t *batch)
{
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
        if (bb_topology_partition_of(self->topology, id.data, id.length) != at.part->partition) {
            return false;
        }
    }
    return true;
}

// Fills self->keep with the parts that are ours.
static void s_sort_out(bb_shard_t *self, s_incoming_t *incoming)
{
    const bb_staged_t *staged = &incoming->staged;
    for (uint32_t i = 0; i < staged->batch.part_count; i++) {
        uint32_t partition = staged->batch.parts[i].partition;
        self->keep[i] = bb_have_view_is_ours(self->view, partition);
        if (self->keep[i]) {
            incoming->ours_count++;
            incoming->new_count +=
                !bb_have_set_contains(bb_store_have(self->store, partition), &staged->chunks.stream,
                                      bb_chunks_seq(&staged->chunks, i));
        }
    }
}

// All that its origin has given us of a batch? Not what is pulled, which is what lacked here. And
// not from another data centre: its parts come by several ways, each with the copies of others.
static bool s_is_whole(const bb_shard_t *self, uint32_t node, uint64_t request_id,
                       const bb_chunks_t *chunks)
{
    return request_id == 0 && bb_have_view_node_of(self->view, &chunks->stream) == node &&
           bb_topology_node(self->topology, node)->dc_index ==
               bb_topology_node(self->topology, self->self_index)->dc_index;
}

static bb_error_t s_keep_ours(bb_shard_t *self, s_incoming_t *incoming)
{
    bb_staged_t *staged = &incoming->staged;
    uint8_t *chunks_data = NULL, *batch_data = NULL;
    size_t chunks_length = 0, batch_length = 0;
    bb_error_t error = bb_chunks_subset(&staged->chunks, &staged->batch, self->keep, &chunks_data,
                                        &chunks_length, &batch_data, &batch_length);
    if (error != BB_OK) {
        return error;
    }
    bb_buffer_t *chunks = bb_buffer_new(chunks_data, chunks_length, NULL, NULL);
    bb_buffer_t *batch = bb_buffer_new(batch_data, batch_length, NULL, NULL);
    s_incoming_t smaller;
    error = s_open(&smaller, chunks, batch);
    BB_ASSERT(error == BB_OK); // our own encoding
    bb_buffer_drop(&chunks);
    bb_buffer_drop(&batch);
    s_incoming_drop(incoming);
    smaller.new_count = incoming->new_count;
    smaller.ours_count = incoming->ours_count;
    *incoming = smaller;
    return BB_OK;
}

// Already durable here: says so again, the first acknowledgement may have been lost.
static void s_ack_again(bb_shard_t *self, const bb_staged_t *staged)
{
    uint32_t origin = bb_have_view_node_of(self->view, &staged->chunks.stream);
    for (uint32_t i = 0; origin != BB_NODE_NONE && i < staged->batch.part_count; i++) {
        uint32_t partition = staged->batch.parts[i].partition;
        if (bb_have_view_is_ours(self->view, partition)) {
            bb_shard_ack(self, origin, partition, bb_chunks_seq(&staged->chunks, i));
        }
    }
}

static bool s_is_not_first(void *context, const bb_batch_cursor_t *at, uint32_t frame,
                           uint32_t metric)
{
    (void)context, (void)at, (void)metric;
    return frame != 0;
}

// A planted bug: the first frame of a batch is lost on its way into this replica's journal.
static void s_forget_frame(bb_staged_t *staged)
{
    bb_batch_t *batch = &staged->batch;
    bool *keep = bb_alloc(batch->part_count * sizeof *keep);
    memset(keep, 1, batch->part_count * sizeof *keep);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_error_t error = bb_batch_subset(batch, keep, s_is_not_first, NULL, &data, &length);
    free(keep);
    BB_ASSERT(error == BB_OK);
    bb_batch_close(batch);
    bb_buffer_drop(&staged->batch_buffer);
    staged->batch_buffer = bb_buffer_new(data, length, NULL, NULL);
    error = bb_batch_open(batch, bb_slice(data, length), NULL);
    BB_ASSERT(error == BB_OK);
}

static void s_plant(bb_shard_t *self, s_incoming_t *incoming, uint64_t request_id)
{
    if (BB_IS_PLANTED(self, BB_PLANTED_COUNT_UNSYNCED_REPLICA)) {
        s_ack_again(self, &incoming->staged);
        bb_shard_acks_send(self);
    }
    if (BB_IS_PLANTED(self, BB_PLANTED_FORGET_DOT) && request_id != 0 &&
        incoming->staged.batch.parts[0].frame_count > 1 &&
        incoming->staged.chunks.quarantined_count == 0) {
        s_forget_frame(&incoming->staged);
    }
}

static bb_error_t s_on_replicate(bb_shard_t *self, uint32_t node, const bb_message_t *message,
                                 bb_buffer_t *chunks, bb_buffer_t *batch)
{
    uint64_t bytes = bb_buffer_slice(chunks).length + bb_buffer_slice(batch).length;
    if (message->request_id == 0) {
        bb_pace_live(&self->pace, self->time.mono_ns, bytes);
    } else { // also what is of no use: it came
        bb_shard_repaired(self, BB_PACE_TAKEN, bytes);
    }
    bool is_full = bb_store_is_full(self->store) ||
                   !bb_store_has_room(self->store, bb_buffer_slice(batch).length);
    self->stats.chunks_dropped_full += is_full; // pulled when a flush, or somebody, has made room
    if (is_full && message->replicate.forward_count == 0) {
        return BB_OK;
    }
    s_incoming_t incoming;
    bb_error_t error = s_open(&incoming, chunks, batch);
    if (error != BB_OK) {
        return error;
    }
    for (uint32_t i = 0; i < incoming.staged.batch.part_count && error == BB_OK; i++) {
        uint32_t partition = incoming.staged.batch.parts[i].partition;
        if (partition >= self->partition_count ||
            s_is_forged(self, &incoming.staged.chunks, partition, i)) {
            error = BB_ERR_MESSAGE_CORRUPT;
        }
    }
    if (error == BB_OK && !bb_shard_is_placed(self, &incoming.staged.batch)) {
        error = BB_ERR_PARTITION;
    }
    bool is_live = message->request_id == 0;
    if (error == BB_OK && bb_shard_is_dead(self, &incoming.staged.chunks.stream, is_live)) {
        bb_have_view_pulled(self->view, self->time.mono_ns, node, message->request_id, false);
        self->stats.chunks_dead += incoming.staged.batch.part_count;
        s_incoming_drop(&incoming);
        return BB_OK;
    }
    if (error == BB_OK) { // before it is synced here: the others should not wait for our disk
        error = bb_shard_forward(self, node, message, &incoming.staged);
    }
    if (error == BB_OK && !is_full) {
        s_sort_out(self, &incoming);
        const bb_staged_t *staged = s_staged(self, &incoming.staged.chunks, &incoming.staged.batch);
        bool is_new = incoming.new_count > 0 && !staged;
        bb_have_view_pulled(self->view, self->time.mono_ns, node, message->request_id, is_new);
        if (!is_new && s_is_contradicted(self, staged, &incoming.staged)) {
            error = BB_ERR_CORRUPT;
        } else if (incoming.new_count == 0) {
            self->stats.chunks_duplicate += incoming.ours_count;
            s_ack_again(self, &incoming.staged);
        } else if (!is_new) {
            self->stats.chunks_duplicate += incoming.ours_count; // its commit will acknowledge
        } else {
            bool is_whole = s_is_whole(self, node, message->request_id, &incoming.staged.chunks);
            if (incoming.ours_count < incoming.staged.batch.part_count) {
                error = s_keep_ours(self, &incoming);
            }
            incoming.staged.is_whole = is_whole;
            s_plant(self, &incoming, message->request_id);
            if (error == BB_OK) {
                error = bb_shard_stage(self, &incoming.staged);
            }
            if (error == BB_OK) {
                BB_KILLPOINT(self->options.store.vfs, PEER_RECEIVED);
                self->stats.chunks_replicated_in += incoming.new_count;
                self->stats.chunks_pulled += message->request_id != 0 ? incoming.new_count : 0;
                return BB_OK; // staged: its references went along
            }
        }
    }
    s_incoming_drop(&incoming);
    // A disk of ours that refuses is no fault of the peer; what was dropped is pulled later.
    return error == BB_ERR_FENCED || error == BB_ERR_DISK_FULL || error == BB_ERR_BUSY ? BB_OK
                                                                                       : error;
}

// ---- have-sets -------------------------------------------------------------------------------

// Collects entries of one HAVE; encodings lie one after the other.
typedef struct {
    bb_have_entry_t *entries;
    uint32_t count, capacity;
    uint8_t *bytes;
    size_t length, bytes_capacity;
} s_entries_t;

static void s_entries_add(s_entries_t *self, uint32_t partition, const bb_have_set_t *have)
{
    size_t length = bb_have_set_encoded_bytes(have);
    if (self->length + length > self->bytes_capacity) {
        self->bytes_capacity = BB_MAX(2 * self->bytes_capacity, self->length + length);
        self->bytes = bb_realloc(self->bytes, self->bytes_capacity);
    }
    if (self->count == self->capacity) {
        self->capacity = BB_MAX(2 * self->capacity, 64u);
        self->entries = bb_realloc(self->entries, self->capacity * sizeof *self->entries);
    }
    if (length > 0) {
        bb_have_set_encode(have, self->bytes + self->length);
    }
    self->length += length;
    // Addresses are filled in by _finish: the bytes may still move.
    self->entries[self->count++] =
        (bb_have_entry_t){.partition = partition, .have = bb_slice(NULL, length)};
}

static void s_entries_finish(s_entries_t *self)
{
    size_t at = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        self->entries[i].have.data = self->bytes ? self->bytes + at : NULL;
        at += self->entries[i].have.length;
    }
}

static void s_entries_free(s_entries_t *self)
{
    free(self->entries);
    free(self->bytes);
}

// tails: of a report of changes, else NULL.
static void s_have_send(bb_shard_t *self, uint32_t node, const bb_message_t *request,
                        uint64_t since_version, bool is_last, s_entries_t *entries,
                        const bb_have_tails_t *tails)
{
    s_entries_finish(entries);
    bb_message_t message = {
        .kind = BB_KIND_HAVE,
        .epoch = bb_shard_counted_epoch(self),
        .request_id = request->request_id,
        .trace_id = request->trace_id,
        .have = {.incarnation = self->options.stream,
                 .version = bb_store_version(self->store),
                 .since_version = since_version,
                 .is_last = is_last,
                 .sealed_below = bb_shard_sealed_below(self, node),
                 .lane = request->have_request.lane,
                 .entry_count = entries->count,
                 .entries = entries->entries},
    };
    if (tails && tails->count > 0) {
        message.have.tail_streams =
            bb_slice(tails->streams, tails->stream_count * sizeof tails->streams[0]);
        message.have.tails = bb_slice(tails->bytes, tails->length);
    }
    self->stats.have_bytes += bb_shard_send(self, node, false, &message, NULL, NULL);
    entries->count = 0;
    entries->length = 0;
}

static bool s_is_wanted(const bb_shard_t *self, uint32_t node, bb_lane_t lane, uint32_t partition)
{
    return partition % lane.count == lane.index &&
           bb_have_view_is_shared(self->view, partition, node);
}

// What tells the partition to somebody who knows it as of a version; 0: only all of it. Room for
// BB_HAVE_TAIL_STREAMS_MAX.
static uint32_t s_tails(bb_shard_t *self, uint32_t partition, uint64_t since_version,
                        bb_have_tail_t *tails)
{
    uint32_t slot_count = bb_topology_replica_count(self->topology);
    if (slot_count > BB_HAVE_TAIL_STREAMS_MAX || bb_store_version(self->store) == 0) {
        return 0;
    }
    bb_stream_t live[BB_HAVE_TAIL_STREAMS_MAX];
    const uint16_t *replicas = bb_topology_replicas(self->topology, partition);
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        live[slot] = replicas[slot] == self->self_index
                         ? self->options.stream
                         : *bb_have_view_incarnation(self->view, replicas[slot]);
    }
    bb_have_telling_t telling = {.partition = partition,
                                 .have = bb_store_have(self->store, partition),
                                 .version = bb_store_version(self->store),
                                 .since_version = since_version,
                                 .live = live,
                                 .live_count = slot_count};
    if (BB_IS_PLANTED(self, BB_PLANTED_REST_UNTOLD)) {
        telling.since_version = UINT64_MAX;
    }
    return bb_have_teller_tails(self->teller, &telling, tails);
}

// Tells the changed partition by the ends of its live streams; false: that does not say it all.
static bool s_tell_tails(bb_shard_t *self, const bb_have_request_t *request, uint32_t partition,
                         bb_have_tails_t *tails)
{
    bb_have_tail_t found[BB_HAVE_TAIL_STREAMS_MAX];
    uint32_t count = s_tails(self, partition, request->since_version, found);
    return request->takes_tails && count > 0 && bb_have_tails_add(tails, partition, found, count);
}

// What changed since the version that is known there, in one message; false: it would be too large.
static bool s_tell_changes(bb_shard_t *self, uint32_t node, const bb_message_t *message)
{
    const bb_have_request_t *request = &message->have_request;
    uint32_t partition_count = 0;
    const uint32_t *partitions = bb_have_view_partitions(self->view, &partition_count);
    s_entries_t entries = {0};
    bb_have_tails_t tails = {0};
    for (uint32_t i = 0; i < partition_count; i++) {
        if (bb_store_have_version(self->store, partitions[i]) > request->since_version &&
            s_is_wanted(self, node, request->lane, partitions[i]) &&
            !s_tell_tails(self, request, partitions[i], &tails)) {
            s_entries_add(&entries, partitions[i], bb_store_have(self->store, partitions[i]));
        }
    }
    bool fits = entries.length + tails.length <= BB_SHARD_HAVE_PIECE_BYTES;
    if (fits) {
        s_have_send(self, node, message, request->since_version, true, &entries, &tails);
    }
    s_entries_free(&entries);
    bb_have_tails_clear(&tails);
    return fits;
}

// Changes since a version go out in one message; when that would be too large, or nothing is
// known there, everything goes out in pieces.
static bb_error_t s_on_have_request(bb_shard_t *self, uint32_t node, const bb_message_t *message)
{
    const bb_have_request_t *request = &message->have_request;
    if (bb_have_view_shared_count(self->view, node) == 0 ||
        request->lane.count % self->options.store.store_count != 0 ||
        request->lane.index % self->options.store.store_count != self->options.store.store_index) {
        return BB_ERR_PEER_UNKNOWN;
    }
    bool is_known = bb_stream_is_equal(&request->incarnation, &self->options.stream) &&
                    request->since_version <= bb_store_version(self->store) &&
                    request->since_version > 0;
    if (is_known && s_tell_changes(self, node, message)) {
        return BB_OK;
    }
    uint32_t partition_count = 0;
    const uint32_t *partitions = bb_have_view_partitions(self->view, &partition_count);
    s_entries_t entries = {0};
    uint32_t left = 0;
    for (uint32_t i = 0; i < partition_count; i++) {
        left += s_is_wanted(self, node, request->lane, partitions[i]);
    }
    for (uint32_t i = 0; i < partition_count; i++) {
        if (s_is_wanted(self, node, request->lane, partitions[i])) {
            s_entries_add(&entries, partitions[i], bb_store_have(self->store, partitions[i]));
            bb_have_tail_t unused[BB_HAVE_TAIL_STREAMS_MAX];
            (void)s_tails(self, partitions[i], 0, unused); // so that tails do the next time
            left--;
            if (left == 0 || entries.length >= BB_SHARD_HAVE_PIECE_BYTES) {
                s_have_send(self, node, message, 0, left == 0, &entries, NULL);
            }
        }
    }
    s_entries_free(&entries);
    return BB_OK;
}

static bb_error_t s_on_have(bb_shard_t *self, uint32_t node, const bb_message_t *message)
{
    self->is_changed = true;
    bool is_counted =
        message->epoch == self->epoch || BB_IS_PLANTED(self, BB_PLANTED_NO_EPOCH_FENCE);
    return bb_have_view_report(self->view, self->time.mono_ns, node, message->request_id,
                               is_counted, &message->have);
}

void bb_shard_ask(bb_shard_t *self)
{
    bool is_settling = self->settle_count > 0 && self->time.mono_ns >= self->settle_next_mono_ns;
    uint64_t wanted_ids[BB_NODES_MAX];
    bb_fence_hedge(self->fence, self->time.mono_ns);
    bb_fence_wanted_ids(self->fence, wanted_ids);
    for (uint32_t node = 0; node < self->node_count; node++) {
        if (node == self->self_index) {
            continue;
        }
        bool is_wanted =
            is_settling && self->is_up[node] && bb_have_view_shared_count(self->view, node) > 0;
        uint32_t lane_count = bb_have_view_lane_count(self->view, node);
        for (uint32_t step = 0; step < lane_count; step++) {
            if (!is_wanted && !bb_have_view_is_ask_due(self->view, self->time.mono_ns, node, step,
                                                       wanted_ids[node])) {
                continue;
            }
            bb_message_t message = {.kind = BB_KIND_HAVE_REQUEST, .epoch = self->epoch};
            message.request_id =
                bb_have_view_ask(self->view, self->time.mono_ns, node, step, &message.have_request);
            self->stats.have_bytes += bb_shard_send(self, node, false, &message, NULL, NULL);
        }
    }
}

// ---- pulls -----------------------------------------------------------------------------------

// Takes the first request out of the list at *link and frees it.
static void s_pull_remove(bb_pull_request_t **link)
{
    bb_pull_request_t *pull = *link;
    *link = pull->next;
    for (uint32_t i = 0; i < pull->count; i++) {
        bb_have_set_clear(&pull->have[i]);
    }
    free(pull->partitions);
    free(pull->have);
    free(pull->forgotten);
    free(pull);
}

void bb_shard_pulls_forget(bb_shard_t *self, uint32_t node)
{
    self->serving[node] = (bb_serving_t){0};
    for (bb_pull_request_t **link = &self->pulls; *link;) {
        if ((*link)->node == node) {
            s_pull_remove(link);
        } else {
            link = &(*link)->next;
        }
    }
}

static bool s_pull_fill(bb_shard_t *self, bb_pull_request_t *waiting, const bb_pull_t *pull)
{
    waiting->partitions = bb_alloc_zero(pull->entry_count + 1, sizeof *waiting->partitions);
    waiting->have = bb_alloc_zero(pull->entry_count + 1, sizeof *waiting->have);
    for (uint32_t i = 0; i < pull->entry_count; i++) {
        uint32_t partition = pull->entries[i].partition;
        bool is_ascending = i == 0 || waiting->partitions[i - 1] < partition;
        if (!is_ascending || !s_is_wanted(self, waiting->node, waiting->lane, partition) ||
            bb_have_set_decode(&waiting->have[i], pull->entries[i].have.data,
                               pull->entries[i].have.length) != BB_OK) {
            return false;
        }
        waiting->partitions[waiting->count++] = partition;
    }
    if (pull->forgotten_count > 0) {
        waiting->forgotten = bb_alloc_zero(1, sizeof *waiting->forgotten);
    }
    for (uint32_t i = 0; i < pull->forgotten_count; i++) {
        bb_forgotten_raise(waiting->forgotten, pull->forgotten[i].node_hash,
                           pull->forgotten[i].below);
    }
    return true;
}

static bb_error_t s_on_pull(bb_shard_t *self, uint32_t node, const bb_message_t *message)
{
    const bb_pull_t *pull = &message->pull;
    if (!bb_have_view_is_lane(self->view, node, pull->lane)) {
        return BB_ERR_PEER_UNKNOWN;
    }
    bb_pull_request_t *waiting = bb_alloc_zero(1, sizeof *waiting);
    *waiting = (bb_pull_request_t){
        .node = node,
        .lane = pull->lane,
        .request_id = message->request_id,
        .trace_id = message->trace_id,
        .budget_bytes = BB_MIN(pull->budget_bytes, BB_SHARD_SERVE_BYTES_MAX),
    };
    if (!s_pull_fill(self, waiting, pull)) {
        s_pull_remove(&waiting);
        return BB_ERR_MESSAGE_CORRUPT;
    }
    bb_pull_request_t **link = &self->pulls;
    while (*link && ((*link)->node != node || (*link)->lane.index != pull->lane.index)) {
        link = &(*link)->next;
    }
    if (*link) {
        s_pull_remove(link); // a newer one takes its place
    }
    waiting->next = *link;
    *link = waiting;
    return BB_OK;
}

typedef struct {
    bb_shard_t *shard;
    uint32_t node;
    uint32_t chunk_count; // messages
    uint64_t bytes;
    bb_message_t message;
} s_emit_t;

// bb_store_emit_fn
static void s_emit(void *context, uint8_t *chunks, size_t chunks_length, uint8_t *batch,
                   size_t batch_length)
{
    s_emit_t *emit = context;
    bb_buffer_t *chunks_buffer = bb_buffer_new(chunks, chunks_length, NULL, NULL);
    bb_buffer_t *batch_buffer = bb_buffer_new(batch, batch_length, NULL, NULL);
    bb_shard_send(emit->shard, emit->node, true, &emit->message, chunks_buffer, batch_buffer);
    emit->chunk_count++;
    emit->bytes += chunks_length + batch_length;
    bb_buffer_drop(&chunks_buffer);
    bb_buffer_drop(&batch_buffer);
}

// What the asker has forgotten and we have not yet, he has.
static void s_pull_forget(const bb_shard_t *self, bb_pull_request_t *pull, uint32_t index)
{
    const bb_have_set_t *own = bb_store_have(self->store, pull->partitions[index]);
    for (uint32_t s = 0; s < own->stream_count && pull->forgotten; s++) {
        const bb_have_stream_t *stream = &own->streams[s];
        if (!bb_forgotten_has(pull->forgotten, &stream->stream)) {
            continue;
        }
        for (uint32_t r = 0; r < stream->range_count; r++) {
            bb_error_t error =
                bb_have_set_add(&pull->have[index], &stream->stream, stream->ranges[r].first_seq,
                                stream->ranges[r].last_seq, NULL);
            bb_ignore(error, "LIMIT: he is sent what he does not want");
        }
    }
}

// Sends what the peer lacks, within the budget. PULL_DONE goes the way of the chunks, so that it
// does not overtake them when nothing is lost.
static uint64_t s_serve(bb_shard_t *self, bb_pull_request_t *pull, uint64_t budget_bytes)
{
    s_emit_t emit = {.shard = self,
                     .node = pull->node,
                     .message = {.kind = BB_KIND_REPLICATE,
                                 .epoch = self->epoch,
                                 .request_id = pull->request_id,
                                 .trace_id = pull->trace_id}};
    bb_serving_t *place = &self->serving[pull->node];
    if (place->lane_index != pull->lane.index) {
        *place = (bb_serving_t){.lane_index = pull->lane.index};
    }
    bool more = false;
    uint32_t unavailable_count = 0;
    uint32_t *unavailable = bb_alloc_zero(pull->count + 1, sizeof *unavailable);
    // The question may have waited, for its link or its turn: what its asker has got since may be
    // trimmed here by now, and is no reason to say that it cannot be had.
    for (uint32_t i = 0; i < pull->count; i++) {
        uint32_t partition = pull->partitions[i];
        bool is_ours = bb_have_view_is_ours(self->view, partition);
        uint32_t slot =
            is_ours ? bb_topology_slot_of(self->topology, partition, pull->node) : BB_NODE_NONE;
        if (slot != BB_NODE_NONE) {
            bb_error_t error =
                bb_have_set_union(&pull->have[i], bb_have_view_known(self->view, partition, slot));
            bb_ignore(error, "LIMIT: he is sent some of what he has got since");
        }
        s_pull_forget(self, pull, i);
    }
    bb_error_t error = bb_store_missing(self->store, pull->partitions, pull->have, pull->count,
                                        BB_MIN(budget_bytes, pull->budget_bytes), &place->places,
                                        s_emit, &emit, &more, unavailable, &unavailable_count);
    if (emit.chunk_count > 0) {
        BB_KILLPOINT(self->options.store.vfs, PULL_SERVED);
    }
    // A journal that cannot be read here is no proof that the chunks are gone: others may serve.
    bb_message_t done = {
        .kind = BB_KIND_PULL_DONE,
        .epoch = self->epoch,
        .request_id = pull->request_id,
        .trace_id = pull->trace_id,
        .pull_done = {.more = more || error != BB_OK,
                      .lane = pull->lane,
                      .chunk_count = emit.chunk_count,
                      .unavailable_count = error == BB_OK ? unavailable_count : 0,
                      .unavailable = unavailable},
    };
    bb_shard_send(self, pull->node, true, &done, NULL, NULL);
    free(unavailable);
    return emit.bytes;
}

// The cap of the link that an answer to the node goes over; NULL: it is of our own data centre.
static bb_link_cap_t *s_link(bb_shard_t *self, uint32_t node)
{
    uint32_t dc = bb_topology_node(self->topology, node)->dc_index;
    return dc == bb_topology_node(self->topology, self->self_index)->dc_index ? NULL
                                                                              : &self->links[dc];
}

void bb_shard_pulls_serve(bb_shard_t *self)
{
    uint64_t budget_bytes = BB_SHARD_SERVE_BYTES_MAX;
    bb_pull_request_t **link = &self->pulls;
    while (*link && budget_bytes > 0) { // the rest in the next commit
        uint64_t paced = bb_pace_repair(&self->pace, BB_PACE_GIVEN, self->time.mono_ns);
        if (paced == 0) {
            self->stats.repairs_put_off++;
            return; // writers wait
        }
        bb_link_cap_t *cap = s_link(self, (*link)->node);
        uint64_t allowed = cap ? bb_link_cap_repair(cap, self->time.mono_ns) : UINT64_MAX;
        if (allowed == 0) {
            link = &(*link)->next; // waits for its link
            continue;
        }
        allowed = BB_MIN(allowed, paced);
        uint64_t bytes = s_serve(self, *link, BB_MIN(budget_bytes, allowed));
        bb_shard_repaired(self, BB_PACE_GIVEN, bytes);
        if (cap) {
            bb_link_cap_repaired(cap, bytes);
            self->stats.dc_repair_bytes_out[cap - self->links] += bytes;
        }
        budget_bytes -= BB_MIN(budget_bytes, bytes);
        s_pull_remove(link);
    }
}

int64_t bb_shard_pulls_mono_ns(const bb_shard_t *self)
{
    int64_t due_mono_ns = BB_NEVER_NS;
    int64_t paced_mono_ns = bb_pace_repair_mono_ns(&self->pace, BB_PACE_GIVEN, self->time.mono_ns);
    uint32_t own_dc = bb_topology_node(self->topology, self->self_index)->dc_index;
    for (const bb_pull_request_t *pull = self->pulls; pull; pull = pull->next) {
        uint32_t dc = bb_topology_node(self->topology, pull->node)->dc_index;
        int64_t mono_ns = dc == own_dc
                              ? self->time.mono_ns
                              : bb_link_cap_repair_mono_ns(&self->links[dc], self->time.mono_ns);
        due_mono_ns = BB_MIN(due_mono_ns, BB_MAX(mono_ns, paced_mono_ns));
    }
    return due_mono_ns;
}

void bb_shard_pull(bb_shard_t *self)
{
    uint32_t node = 0, count = 0;
    bb_lane_t lane = {0};
    uint64_t request_id = 0;
    // There is no room for it before a flush ends, or on the disk, which takes longer.
    bool has_no_disk = !bb_store_has_room(self->store, 0);
    bool is_full = has_no_disk || bb_store_is_full(self->store);
    uint64_t paced = bb_pace_repair(&self->pace, BB_PACE_TAKEN, self->time.mono_ns);
    if (is_full || paced == 0) {
        self->stats.repairs_put_off += !is_full && !bb_have_view_is_caught_up(self->view);
        int64_t wait_ns = has_no_disk ? BB_SHARD_RETRY_NS : BB_SHARD_PULL_LOOK_NS;
        bb_have_view_hold(self->view, self->time.mono_ns + wait_ns);
    }
    while (bb_have_view_pull(self->view, self->time.mono_ns, &node, &lane, &request_id,
                             self->partitions, &count)) {
        s_entries_t entries = {0};
        for (uint32_t i = 0; i < count; i++) {
            s_entries_add(&entries, self->partitions[i],
                          bb_store_have(self->store, self->partitions[i]));
        }
        s_entries_finish(&entries);
        const bb_forgotten_t *forgotten = bb_shard_forgotten(self->forget);
        bb_message_t message = {
            .kind = BB_KIND_PULL,
            .epoch = self->epoch,
            .request_id = request_id,
            .pull = {.budget_bytes = (uint32_t)BB_MIN(paced, BB_SHARD_PULL_BUDGET_BYTES),
                     .lane = lane,
                     .entry_count = entries.count,
                     .entries = entries.entries,
                     .forgotten_count = forgotten->count,
                     .forgotten = forgotten->floors},
        };
        bb_shard_send(self, node, false, &message, NULL, NULL);
        s_entries_free(&entries);
    }
}

// ---- dispatch --------------------------------------------------------------------------------

void bb_shard_peer(bb_shard_t *self, bb_shard_time_t time, uint32_t peer_index,
                   const bb_message_t *message, bb_buffer_t *chunks, bb_buffer_t *batch)
{
    BB_ASSERT(self && message);
    BB_ASSERT(peer_index < self->node_count && peer_index != self->self_index);
    BB_ASSERT(time.mono_ns >= self->time.mono_ns);
    self->time = time;
    bb_error_t error = BB_ERR_MESSAGE_VERSION;
    switch (message->kind) {
    case BB_KIND_REPLICATE:
        error = chunks && batch ? s_on_replicate(self, peer_index, message, chunks, batch)
                                : BB_ERR_MESSAGE_CORRUPT;
        break;
    case BB_KIND_REPLICATE_ACK:
        error = bb_shard_on_ack(self, peer_index, message);
        break;
    case BB_KIND_HAVE_REQUEST:
    case BB_KIND_HAVE: {
        int64_t begun_mono_ns = bb_shard_clock_mono_ns(self);
        error = message->kind == BB_KIND_HAVE ? s_on_have(self, peer_index, message)
                                              : s_on_have_request(self, peer_index, message);
        self->stats.have_ns += (uint64_t)(bb_shard_clock_mono_ns(self) - begun_mono_ns);
        break;
    }
    case BB_KIND_PULL:
        error = s_on_pull(self, peer_index, message);
        break;
    case BB_KIND_PULL_DONE:
        bb_have_view_pull_done(self->view, self->time.mono_ns, peer_index, message->request_id,
                               &message->pull_done);
        error = BB_OK;
        break;
    case BB_KIND_SYNC_ASK:
        error = bb_shard_sync_on_question(self, peer_index, message);
        break;
    case BB_KIND_SYNC_ANSWER:
        error = bb_shard_sync_on_answer(self, peer_index, message);
        break;
    case BB_KIND_WATCHED:
        error = bb_shard_watch_told(self, peer_index, message);
        break;
    default:
        break;
    }
    // One faulty peer must not stop the others: it is counted, and they carry on.
    self->stats.peer_messages_bad += error != BB_OK;
}
