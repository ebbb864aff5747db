// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_shard_forget.h"

#include <stdlib.h>
#include <string.h>

#include "node/ingest/bb_forget.h"
#include "node/ingest/bb_shard_internal.h"

#define S_MOVE_BYTES (1u << 20) // given new dots in one commit
#define S_MOVES_MAX  256u       // records, likewise
#define S_RETRY_NS   (200 * BB_NS_PER_MS)

// What _unwatched_first said under these versions.
typedef struct {
    bool is_known;
    uint64_t store_version, watch_version;
    bb_stream_t present;
    uint32_t first;
} s_unwatched_t;

struct bb_shard_forget {
    bb_forgotten_t told, applied;
    uint32_t partition_count;
    bb_have_set_t *moved;          // per partition: forgotten dots that have one of ours by now
    uint32_t hashes[BB_NODES_MAX]; // of the nodes
    s_unwatched_t unwatched[BB_NODES_MAX];
    bool is_unique;
    bool is_settled;
    int64_t look_mono_ns;  // for what can be forgotten
    int64_t retry_mono_ns; // no moving before
};

bb_shard_forget_t *bb_shard_forget_new(const bb_topology_t *topology, const bb_stream_t *present,
                                       uint32_t partition_count)
{
    BB_ASSERT(topology && present);
    bb_shard_forget_t *self = bb_alloc_zero(1, sizeof *self);
    self->partition_count = partition_count;
    self->moved = bb_alloc_zero(partition_count, sizeof *self->moved);
    for (uint32_t node = 0; node < bb_topology_node_count(topology); node++) {
        self->hashes[node] = bb_stream_node_hash(bb_topology_node(topology, node)->id);
    }
    // A stream without its node in it: nobody could say which ones are earlier.
    self->is_unique = bb_forget_is_unique(topology) &&
                      bb_stream_hash(present) == self->hashes[bb_topology_self_index(topology)];
    return self;
}

static void s_moved_clear(bb_shard_forget_t *self)
{
    for (uint32_t p = 0; p < self->partition_count; p++) {
        bb_have_set_clear(&self->moved[p]);
    }
}

void bb_shard_forget_destroy(bb_shard_forget_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    if (*self_pointer) {
        s_moved_clear(*self_pointer);
        free((*self_pointer)->moved);
        free(*self_pointer);
        *self_pointer = NULL;
    }
}

const bb_forgotten_t *bb_shard_forgotten(const bb_shard_forget_t *self)
{
    return &self->applied;
}

// ---- events ----------------------------------------------------------------------------------

void bb_shard_forget(bb_shard_t *shard, bb_shard_time_t time, const bb_forgotten_t *floors)
{
    BB_ASSERT(shard && floors);
    BB_ASSERT(time.mono_ns >= shard->time.mono_ns);
    shard->time = time;
    bb_shard_forget_t *self = shard->forget;
    for (uint32_t i = 0; i < floors->count; i++) {
        bb_forgotten_floor_t floor = floors->floors[i];
        // Our own present stream ends with this process, which must end then (bb_control.h).
        if (floor.node_hash == bb_stream_hash(&shard->options.stream)) {
            floor.below = BB_MIN(floor.below, bb_stream_number(&shard->options.stream));
        }
        shard->is_changed |= bb_forgotten_raise(&self->told, floor.node_hash, floor.below);
    }
}

bool bb_shard_is_settled(const bb_shard_t *shard)
{
    BB_ASSERT(shard);
    return shard->forget->is_settled;
}

bool bb_shard_is_dead(const bb_shard_t *shard, const bb_stream_t *stream, bool is_live)
{
    const bb_shard_forget_t *self = shard->forget;
    if (bb_forgotten_has(&self->told, stream)) {
        return true;
    }
    if (!is_live || bb_have_view_node_of(shard->view, stream) != BB_NODE_NONE) {
        return false;
    }
    for (uint32_t node = 0; node < shard->node_count; node++) {
        const bb_stream_t *present = node == shard->self_index
                                         ? &shard->options.stream
                                         : bb_have_view_incarnation(shard->view, node);
        if (self->hashes[node] == bb_stream_hash(stream) && bb_stream_is_before(stream, present)) {
            return true;
        }
    }
    return false;
}

uint64_t bb_shard_dead_stream_count(const bb_shard_t *shard)
{
    const bb_have_set_t *known = bb_store_streams(shard->store);
    uint64_t count = 0;
    for (uint32_t i = 0; i < known->stream_count; i++) {
        const bb_stream_t *stream = &known->streams[i].stream;
        count += !bb_stream_is_equal(stream, &shard->options.stream) &&
                 bb_have_view_node_of(shard->view, stream) == BB_NODE_NONE;
    }
    return count;
}

// The smallest number of a stream of that node, other than its present one, that the rules have yet
// to see; UINT32_MAX: none. Cost: all partitions and streams.
static uint32_t s_unwatched_find(const bb_shard_t *shard, uint32_t node, const bb_stream_t *present)
{
    uint32_t first = UINT32_MAX, partition_count = 0;
    const uint32_t *partitions = bb_have_view_partitions(shard->view, &partition_count);
    for (uint32_t i = 0; i < partition_count; i++) {
        const bb_have_set_t *have = bb_store_have(shard->store, partitions[i]);
        for (uint32_t s = 0; s < have->stream_count; s++) {
            const bb_have_stream_t *stream = &have->streams[s];
            if (bb_stream_hash(&stream->stream) != shard->forget->hashes[node] ||
                bb_stream_is_equal(&stream->stream, present)) {
                continue;
            }
            for (uint32_t r = 0; r < stream->range_count; r++) {
                if (!bb_watch_is_done(shard->watch, partitions[i], &stream->stream,
                                      stream->ranges[r].first_seq, stream->ranges[r].last_seq)) {
                    first = BB_MIN(first, bb_stream_number(&stream->stream));
                }
            }
        }
    }
    return first;
}

// The same, looked for again only when something has changed.
static uint32_t s_unwatched_first(const bb_shard_t *shard, uint32_t node)
{
    if (!shard->watch) {
        return UINT32_MAX;
    }
    const bb_stream_t *present = node == shard->self_index
                                     ? &shard->options.stream
                                     : bb_have_view_incarnation(shard->view, node);
    uint64_t store_version = bb_store_version(shard->store);
    uint64_t watch_version = bb_watch_done_version(shard->watch);
    s_unwatched_t *known = &shard->forget->unwatched[node];
    if (!known->is_known || known->store_version != store_version ||
        known->watch_version != watch_version || !bb_stream_is_equal(&known->present, present)) {
        *known = (s_unwatched_t){.is_known = true,
                                 .store_version = store_version,
                                 .watch_version = watch_version,
                                 .present = *present,
                                 .first = s_unwatched_find(shard, node, present)};
    }
    return known->first;
}

uint32_t bb_shard_sealed_below(const bb_shard_t *shard, uint32_t node)
{
    uint32_t unsealed_first = bb_store_unsealed_first(shard->store, shard->forget->hashes[node]);
    return BB_MIN(unsealed_first, s_unwatched_first(shard, node));
}

// ---- new dots --------------------------------------------------------------------------------

// A record of the journal, or what is needed of it.
typedef struct {
    bb_buffer_t *chunks_buffer, *batch_buffer;
    bb_chunks_t chunks;
    bb_batch_t batch;
    uint32_t part_count;
    uint32_t *partitions; // of its parts
    uint64_t *seqs;       // that they had
    uint64_t *new_seqs;   // 0: none was given
} s_record_t;

typedef struct {
    s_record_t *records;
    uint32_t count;
    bool is_cut; // there was more
} s_records_t;

// bb_store_emit_fn
static void s_emit(void *context, uint8_t *chunks, size_t chunks_length, uint8_t *batch,
                   size_t batch_length)
{
    s_records_t *self = context;
    bb_buffer_t *chunks_buffer = bb_buffer_new(chunks, chunks_length, NULL, NULL);
    bb_buffer_t *batch_buffer = bb_buffer_new(batch, batch_length, NULL, NULL);
    s_record_t record = {.chunks_buffer = chunks_buffer, .batch_buffer = batch_buffer};
    self->is_cut |= self->count == S_MOVES_MAX;
    bb_error_t error = self->is_cut
                           ? BB_ERR_LIMIT
                           : bb_chunks_decode(&record.chunks, bb_buffer_slice(chunks_buffer), NULL);
    if (error == BB_OK) {
        error = bb_batch_open(&record.batch, bb_buffer_slice(batch_buffer), NULL);
        BB_ASSERT(error == BB_OK); // it was read from our journal, which verified it
    }
    if (error != BB_OK) {
        bb_buffer_drop(&chunks_buffer);
        bb_buffer_drop(&batch_buffer);
        return;
    }
    record.part_count = record.batch.part_count;
    record.partitions = bb_alloc_zero(record.part_count, sizeof *record.partitions);
    record.seqs = bb_alloc_zero(record.part_count, sizeof *record.seqs);
    record.new_seqs = bb_alloc_zero(record.part_count, sizeof *record.new_seqs);
    for (uint32_t i = 0; i < record.part_count; i++) {
        record.partitions[i] = record.batch.parts[i].partition;
        record.seqs[i] = bb_chunks_seq(&record.chunks, i);
    }
    self->records[self->count++] = record;
}

static void s_records_free(s_records_t *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        s_record_t *record = &self->records[i];
        bb_batch_close(&record->batch);
        bb_buffer_drop(&record->chunks_buffer);
        bb_buffer_drop(&record->batch_buffer);
        free(record->partitions);
        free(record->seqs);
        free(record->new_seqs);
    }
    free(self->records);
}

// What somebody who needs none of our forgotten chunks but those that are with us alone would say
// that he has. True: there are such.
static bool s_rest(bb_shard_t *shard, uint32_t partition, bb_have_set_t *rest)
{
    bb_shard_forget_t *self = shard->forget;
    const bb_have_set_t *have = bb_store_have(shard->store, partition);
    bb_have_set_copy(rest, have);
    uint32_t told = bb_forgotten_drop(&self->told, rest);
    bool is_any = false;
    for (uint32_t s = 0; s < have->stream_count && told > 0; s++) {
        const bb_have_stream_t *stream = &have->streams[s];
        for (uint32_t r = 0; r < stream->range_count; r++) {
            bb_seq_range_t range = stream->ranges[r];
            if (!bb_forgotten_has(&self->told, &stream->stream)) {
                break;
            }
            if (bb_have_view_is_held(shard->view, partition, &stream->stream, range.first_seq,
                                     range.last_seq)) {
                bb_error_t error =
                    bb_have_set_add(rest, &stream->stream, range.first_seq, range.last_seq, NULL);
                BB_ASSERT(error == BB_OK); // there was room for it before
            } else {
                is_any = true;
            }
        }
    }
    bb_error_t error = bb_have_set_union(rest, &self->moved[partition]);
    bb_ignore(error, "LIMIT: some of what has a dot of ours gets another one: it is the same");
    return is_any;
}

// A record's parts get dots of our stream, and go out to the others.
static bb_error_t s_submit(bb_shard_t *shard, s_record_t *record)
{
    bb_pending_write_t *write = bb_shard_write_new(shard, 0);
    write->is_moved = true;
    bb_shard_submit_t submit = {.level = BB_LEVEL_ONE,
                                .deadline_mono_ns = shard->time.mono_ns + BB_DEADLINE_NS_DEFAULT,
                                .moved = &record->chunks,
                                .batch_buffer = record->batch_buffer,
                                .batch = &record->batch,
                                .write = write};
    uint64_t quarantined_points = 0;
    bb_error_t error = bb_shard_submit(shard, &submit, &quarantined_points);
    if (error != BB_OK) {
        bb_shard_write_destroy(shard, write);
        return error;
    }
    memcpy(record->new_seqs, shard->seqs, record->part_count * sizeof *record->new_seqs);
    record->batch = (bb_batch_t){0};
    record->batch_buffer = NULL;
    return BB_OK;
}

// The new dots are durable: the old ones need no other.
static void s_note_moved(bb_shard_t *shard, const s_record_t *record)
{
    for (uint32_t i = 0; i < record->part_count; i++) {
        uint32_t partition = record->partitions[i];
        if (record->new_seqs[i] == 0 ||
            !bb_have_set_contains(bb_store_have(shard->store, partition), &shard->options.stream,
                                  record->new_seqs[i])) {
            continue;
        }
        bb_error_t error = bb_have_set_add(&shard->forget->moved[partition], &record->chunks.stream,
                                           record->seqs[i], record->seqs[i], NULL);
        bb_ignore(error, "LIMIT: it gets another dot");
        shard->stats.chunks_reoriginated++;
    }
}

// Gives new dots to some of what is with us alone. True: nothing is left that a journal has.
static bool s_move(bb_shard_t *shard)
{
    uint32_t partition_count = 0, count = 0, unavailable_count = 0;
    const uint32_t *partitions = bb_have_view_partitions(shard->view, &partition_count);
    uint32_t *wanted = bb_alloc_zero(partition_count + 1, sizeof *wanted);
    uint32_t *unavailable = bb_alloc_zero(partition_count + 1, sizeof *unavailable);
    bb_have_set_t *rests = bb_alloc_zero(partition_count + 1, sizeof *rests);
    for (uint32_t i = 0; i < partition_count; i++) {
        if (s_rest(shard, partitions[i], &rests[count])) {
            wanted[count++] = partitions[i];
        } else {
            bb_have_set_clear(&rests[count]);
        }
    }
    s_records_t records = {.records = bb_alloc_zero(S_MOVES_MAX, sizeof *records.records)};
    bool more = false;
    bb_error_t error = BB_OK;
    if (count > 0) {
        error = bb_store_missing(shard->store, wanted, rests, count, S_MOVE_BYTES, NULL, s_emit,
                                 &records, &more, unavailable, &unavailable_count);
    }
    // A journal that cannot be read now: again later.
    bool is_done = error == BB_OK && !more && !records.is_cut;
    for (uint32_t i = 0; i < records.count && error == BB_OK; i++) {
        error = s_submit(shard, &records.records[i]);
    }
    bb_shard_commit_staged(shard);
    uint64_t moved_before = shard->stats.chunks_reoriginated, wanted_moves = 0;
    for (uint32_t i = 0; i < records.count; i++) {
        wanted_moves += records.records[i].part_count;
        s_note_moved(shard, &records.records[i]);
    }
    is_done &= shard->stats.chunks_reoriginated - moved_before == wanted_moves;
    s_records_free(&records);
    for (uint32_t i = 0; i < count; i++) {
        bb_have_set_clear(&rests[i]);
    }
    free(rests);
    free(wanted);
    free(unavailable);
    return is_done;
}

// ---- forgetting ------------------------------------------------------------------------------

static void s_apply(bb_shard_t *shard)
{
    bb_shard_forget_t *self = shard->forget;
    self->applied = self->told;
    s_moved_clear(self);
    bb_fence_forget(shard->fence, &self->applied);
    bb_have_view_forget(shard->view);
    bb_shortfall_forget(shard->shortfall);
    if (shard->watch) {
        bb_watch_forget(shard->watch, &self->applied);
    }
    shard->stats.streams_forgotten += bb_store_forget(shard->store, &self->applied);
    shard->is_trim_due = true;
    shard->is_changed = true;
}

static bool s_is_pending(const bb_shard_forget_t *self)
{
    return !bb_forgotten_is_equal(&self->told, &self->applied);
}

static bool s_is_looking(const bb_shard_t *shard)
{
    const bb_shard_forget_t *self = shard->forget;
    return self->is_unique && !self->is_settled && shard->standing == BB_STANDING_COUNTING;
}

static void s_look(bb_shard_t *shard)
{
    bb_shard_forget_t *self = shard->forget;
    self->look_mono_ns = shard->time.mono_ns + shard->options.have_report_interval_ns;
    bb_forget_look_t look = {
        .topology = shard->topology,
        .view = shard->view,
        .own = bb_shard_own_have,
        .own_context = shard,
        .present = &shard->options.stream,
        .unsealed_first = bb_shard_sealed_below(shard, shard->self_index),
    };
    self->is_settled = bb_forget_is_settled(&look) || BB_IS_PLANTED(shard, BB_PLANTED_FORGET_EARLY);
}

void bb_shard_forget_step(bb_shard_t *shard)
{
    bb_shard_forget_t *self = shard->forget;
    if (s_is_looking(shard) && shard->time.mono_ns >= self->look_mono_ns) {
        s_look(shard);
    }
    if (!s_is_pending(self) || shard->time.mono_ns < self->retry_mono_ns ||
        bb_store_is_fenced(shard->store)) {
        return;
    }
    // A fenced process gives nobody anything any more.
    bool is_full = bb_store_is_full(shard->store) || !bb_store_has_room(shard->store, S_MOVE_BYTES);
    if (shard->standing == BB_STANDING_FENCED || (!is_full && s_move(shard))) {
        s_apply(shard);
    } else {
        self->retry_mono_ns = shard->time.mono_ns + S_RETRY_NS;
    }
}

int64_t bb_shard_forget_wake_mono_ns(const bb_shard_t *shard)
{
    const bb_shard_forget_t *self = shard->forget;
    int64_t wake_mono_ns = BB_NEVER_NS;
    if (bb_store_is_fenced(shard->store)) {
        return wake_mono_ns;
    }
    if (s_is_looking(shard)) {
        wake_mono_ns = self->look_mono_ns;
    }
    if (s_is_pending(self)) {
        wake_mono_ns = BB_MIN(wake_mono_ns, self->retry_mono_ns);
    }
    return wake_mono_ns == BB_NEVER_NS ? BB_NEVER_NS : BB_MAX(wake_mono_ns, shard->time.mono_ns);
}

void bb_shard_forget_adopted(bb_shard_t *shard)
{
    bb_store_forget(shard->store, &shard->forget->applied);
}
