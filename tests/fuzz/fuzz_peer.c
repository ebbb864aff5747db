// SPDX-License-Identifier: Apache-2.0
// fuzz_peer - a peer that may say anything: sequences of decoded messages, well-formed and wrong,
// given to a real shard that also serves clients.
//
// Node 1 is the peer, node 2 says nothing. Input: one byte a step says what comes, the next ones
// with what. Afterwards:
//   no write at level `all` was acknowledged: node 2's vote cannot be given by node 1
//   what clients wrote and was acknowledged is in the have-set, also after a power loss
//   bytes in flight and owed are below their limits (fuzz_shard_commit)
#include "tests/fuzz/fuzz_shard.h"

#include "protocol/bb_chunks.h"
#include "protocol/bb_dot_sum.h"

#define S_STEPS_MAX 64

typedef struct {
    fuzz_shard_t *fuzz;
    fuzz_bytes_t bytes;
    uint64_t tickets, request_id; // request_id: near those of our questions
    bool is_all[FUZZ_TICKETS_MAX];
    uint32_t battery_of[FUZZ_PARTITIONS]; // number of one that lies there
    uint8_t stream;                       // of this life of the shard
} s_peer_t;

static uint8_t s_byte(s_peer_t *self)
{
    return (uint8_t)fuzz_take_word(&self->bytes, 1);
}

// Mostly small, sometimes any.
static uint64_t s_number(s_peer_t *self)
{
    uint8_t kind = s_byte(self);
    return kind < 224   ? kind % 16
           : kind < 240 ? UINT64_MAX - kind
                        : fuzz_take_word(&self->bytes, 8);
}

static bb_stream_t s_stream(s_peer_t *self)
{
    static const uint8_t others[] = {102, 102, 102, 103, 77};
    uint8_t kind = s_byte(self);
    return test_stream(kind % 6 < 5 ? others[kind % 6] : self->stream);
}

static uint32_t s_epoch(s_peer_t *self)
{
    uint8_t kind = s_byte(self);
    return kind < 200 ? TEST_EPOCH : kind;
}

static void s_id(uint32_t battery, char id[8])
{
    snprintf(id, 8, "b%03u", battery % 1000);
}

static bb_buffer_t *s_batch(s_peer_t *self, uint32_t *partition_count)
{
    uint8_t shape_of = s_byte(self);
    bb_batch_builder_t *builder = bb_batch_builder_new(shape_of >> 6);
    uint32_t mask = s_byte(self);
    mask = mask == 0 ? 1 : mask;
    *partition_count = 0;
    for (uint32_t p = 0; p < FUZZ_PARTITIONS; p++) {
        if ((mask >> p & 1) == 0) {
            continue;
        }
        char id[8];
        s_id(self->battery_of[p], id);
        bb_slice_t name = bb_slice(shape_of & 1 ? "amps_a" : "volts_v", shape_of & 1 ? 6 : 7);
        uint8_t type = shape_of & 2 ? BB_TYPE_INT64 : BB_TYPE_FLOAT64;
        uint32_t battery = 0, shape = 0, order = 0;
        bb_error_t error =
            bb_batch_builder_battery(builder, p, bb_slice(id, strlen(id)), NULL, 0, &battery, NULL);
        BB_ASSERT(error == BB_OK);
        error = bb_batch_builder_shape(builder, &name, &type, 1, &shape, &order, NULL);
        BB_ASSERT(error == BB_OK);
        uint64_t value = s_byte(self);
        int64_t time_wall_ns = INT64_C(1767225600000000000) + s_byte(self) * BB_NS_PER_S;
        error = bb_batch_builder_frame(builder, battery, shape, time_wall_ns, &value);
        BB_ASSERT(error == BB_OK);
        (*partition_count)++;
    }
    uint8_t *data = NULL;
    size_t length = 0;
    bb_batch_builder_finish(builder, &data, &length, NULL);
    bb_batch_builder_destroy(&builder);
    return bb_buffer_new(data, length, NULL, NULL);
}

static void s_give(s_peer_t *self, const bb_message_t *message, bb_buffer_t *chunks,
                   bb_buffer_t *batch)
{
    bb_shard_peer(self->fuzz->shard, fuzz_time(self->fuzz), 1, message, chunks, batch);
}

static void s_replicate(s_peer_t *self)
{
    uint32_t part_count = 0;
    bb_buffer_t *batch = s_batch(self, &part_count);
    uint64_t seqs[FUZZ_PARTITIONS];
    for (uint32_t i = 0; i < part_count; i++) {
        seqs[i] = s_number(self);
        seqs[i] += seqs[i] == 0;
    }
    uint32_t quarantined = s_byte(self);
    bb_chunks_t chunks = {.stream = s_stream(self),
                          .epoch = s_epoch(self),
                          .part_count = s_byte(self) < 250 ? part_count : part_count % 4 + 1,
                          .seqs = seqs,
                          .quarantined_count = quarantined > 200,
                          .quarantined = &quarantined};
    uint8_t *data = NULL;
    size_t length = 0;
    bb_chunks_encode(&chunks, &data, &length);
    bb_buffer_t *header = bb_buffer_new(data, length, NULL, NULL);
    bb_message_t message = {.kind = BB_KIND_REPLICATE,
                            .epoch = s_epoch(self),
                            .request_id = s_byte(self) < 128 ? 0 : self->request_id + s_byte(self)};
    s_give(self, &message, header, batch);
    bb_buffer_drop(&header);
    bb_buffer_drop(&batch);
}

// As the decoder lets it through; about half of the sums are those of one dot or of two.
static bb_ack_batch_t s_ack_batch(s_peer_t *self, bb_lane_t lane)
{
    bb_ack_batch_t batch = {.partition = s_byte(self) % FUZZ_PARTITIONS / lane.count * lane.count +
                                         lane.index,
                            .part_count = 1 + s_byte(self) % 3u,
                            .seq = s_number(self)};
    batch.seq += batch.seq == 0;
    batch.dot_sum = bb_dot_sum_of(batch.partition, batch.seq);
    uint8_t kind = s_byte(self);
    batch.dot_sum += kind < 128 ? bb_dot_sum_of(kind % FUZZ_PARTITIONS, batch.seq) : 0;
    batch.dot_sum += kind >= 192 ? s_number(self) : 0;
    return batch;
}

static void s_ack(s_peer_t *self)
{
    bb_dot_range_t ranges[4];
    uint32_t count = s_byte(self) % 5;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t partition = s_byte(self);
        ranges[i] =
            (bb_dot_range_t){.partition = partition < 240 ? partition % FUZZ_PARTITIONS : partition,
                             .first_seq = s_number(self),
                             .last_seq = s_number(self)};
    }
    bb_message_t message = {.kind = BB_KIND_REPLICATE_ACK,
                            .epoch = s_epoch(self),
                            .replicate_ack = {.stream = test_stream(self->stream),
                                              .incarnation = s_stream(self),
                                              .range_count = count,
                                              .ranges = ranges}};
    bb_ack_batch_t batches[2];
    uint8_t lane = s_byte(self);
    message.replicate_ack.lane = (bb_lane_t){1 + lane % 2, lane % 2 ? lane / 2 % 2 : 0};
    message.replicate_ack.batch_count = s_byte(self) % 3;
    message.replicate_ack.batches = batches;
    for (uint32_t i = 0; i < message.replicate_ack.batch_count; i++) {
        batches[i] = s_ack_batch(self, message.replicate_ack.lane);
    }
    s_give(self, &message, NULL, NULL);
}

// A have-set, sound or not; at most 256 bytes.
static bb_slice_t s_have(s_peer_t *self, uint8_t room[256])
{
    if (s_byte(self) < 32) {
        bb_slice_t raw = fuzz_take(&self->bytes, s_byte(self));
        memcpy(room, raw.data, raw.length);
        return bb_slice(room, raw.length);
    }
    bb_have_set_t have = {0};
    uint32_t count = s_byte(self) % 3;
    for (uint32_t i = 0; i < count; i++) {
        bb_stream_t stream = s_stream(self);
        uint64_t first_seq = 1 + s_number(self) % 1000;
        bool added;
        bb_error_t error =
            bb_have_set_add(&have, &stream, first_seq, first_seq + s_number(self) % 1000, &added);
        BB_ASSERT(error == BB_OK);
    }
    size_t length = bb_have_set_encoded_bytes(&have);
    BB_ASSERT(length <= 256);
    if (length > 0) {
        bb_have_set_encode(&have, room);
    }
    bb_have_set_clear(&have);
    return bb_slice(room, length);
}

static bb_lane_t s_lane(s_peer_t *self)
{
    uint8_t kind = s_byte(self);
    return kind < 240 ? (bb_lane_t){1, 0} : (bb_lane_t){1 + kind % 7u, kind % 3u};
}

static void s_sets(s_peer_t *self, bool is_pull)
{
    bb_have_entry_t entries[FUZZ_PARTITIONS];
    uint8_t room[FUZZ_PARTITIONS][256];
    uint32_t mask = s_byte(self), count = 0;
    for (uint32_t p = 0; p < FUZZ_PARTITIONS; p++) {
        if (mask >> p & 1) {
            entries[count] = (bb_have_entry_t){.partition = p, .have = s_have(self, room[count])};
            count++;
        }
    }
    bb_message_t message = {.kind = is_pull ? BB_KIND_PULL : BB_KIND_HAVE,
                            .epoch = s_epoch(self),
                            .request_id = self->request_id + s_byte(self)};
    if (is_pull) {
        message.pull = (bb_pull_t){.budget_bytes = s_number(self),
                                   .lane = s_lane(self),
                                   .entry_count = count,
                                   .entries = entries};
    } else {
        message.have = (bb_have_t){.incarnation = s_stream(self),
                                   .version = s_number(self),
                                   .since_version = s_byte(self) < 128 ? 0 : s_number(self),
                                   .is_last = s_byte(self) < 200,
                                   .lane = s_lane(self),
                                   .entry_count = count,
                                   .entries = entries};
    }
    s_give(self, &message, NULL, NULL);
}

static void s_small(s_peer_t *self)
{
    uint32_t unavailable[2] = {s_byte(self), s_byte(self)};
    bb_message_t message = {.epoch = s_epoch(self), .request_id = self->request_id + s_byte(self)};
    if (s_byte(self) < 128) {
        message.kind = BB_KIND_HAVE_REQUEST;
        message.have_request = (bb_have_request_t){
            .incarnation = s_stream(self), .since_version = s_number(self), .lane = s_lane(self)};
    } else {
        message.kind = BB_KIND_PULL_DONE;
        message.pull_done = (bb_pull_done_t){.more = s_byte(self) < 128,
                                             .lane = s_lane(self),
                                             .chunk_count = (uint32_t)s_number(self),
                                             .unavailable_count = s_byte(self) % 3u,
                                             .unavailable = unavailable};
    }
    s_give(self, &message, NULL, NULL);
}

// Whatever decodes.
static void s_any(s_peer_t *self)
{
    bb_slice_t raw = fuzz_take(&self->bytes, (size_t)fuzz_take_word(&self->bytes, 2));
    uint8_t *copy = fuzz_copy(raw.data, raw.length);
    bb_message_t message;
    if (bb_message_decode(&message, bb_slice(copy, raw.length), NULL) == BB_OK) {
        s_give(self, &message, NULL, NULL);
        bb_message_close(&message);
    }
    free(copy);
}

static void s_write(s_peer_t *self)
{
    if (self->tickets == FUZZ_TICKETS_MAX) {
        return;
    }
    uint32_t part_count = 0;
    bb_buffer_t *batch = s_batch(self, &part_count);
    static const bb_level_t levels[] = {BB_LEVEL_ONE, BB_LEVEL_LOCAL_QUORUM, BB_LEVEL_ALL};
    bb_message_t message = {.kind = BB_KIND_WRITE,
                            .epoch = TEST_EPOCH,
                            .timeout_ns = 2 * BB_NS_PER_S,
                            .write = {.level = levels[s_byte(self) % 3]}};
    self->is_all[self->tickets] = message.write.level == BB_LEVEL_ALL;
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(&message, &data, &length);
    bb_buffer_t *envelope = bb_buffer_new(data, length, NULL, NULL);
    bb_error_t error = bb_message_decode(&message, bb_slice(data, length), NULL);
    BB_ASSERT(error == BB_OK);
    bb_shard_client(self->fuzz->shard, fuzz_time(self->fuzz), self->tickets++, &message, envelope,
                    batch);
    bb_message_close(&message);
    bb_buffer_drop(&envelope);
    bb_buffer_drop(&batch);
}

static void s_meet(s_peer_t *self, bool is_up)
{
    for (uint32_t peer = 1; peer < 3; peer++) {
        bb_stream_t incarnation = test_stream((uint8_t)(101 + peer));
        bb_shard_peer_state(self->fuzz->shard, fuzz_time(self->fuzz), peer, is_up, &incarnation, 1);
    }
    self->request_id = bb_have_view_request_id_next(self->fuzz->shard->view);
}

static void s_step(s_peer_t *self)
{
    switch (s_byte(self) % 12) {
    case 0:
    case 1:
        s_write(self);
        break;
    case 2:
    case 3:
    case 4:
        s_replicate(self);
        break;
    case 5:
        s_ack(self);
        break;
    case 6:
        s_sets(self, false);
        break;
    case 7:
        s_sets(self, true);
        break;
    case 8:
        s_small(self);
        break;
    case 9:
        s_any(self);
        break;
    case 10:
        s_meet(self, s_byte(self) < 200);
        break;
    default:
        fuzz_shard_commit(self->fuzz, (int64_t)s_byte(self) * 10 * BB_NS_PER_MS);
        break;
    }
}

// Everything that was acknowledged has dots of our stream up to the last one that was given.
static void s_check_own(const s_peer_t *self, const bool *is_acked, const uint64_t *seqs)
{
    bb_stream_t stream = test_stream(self->stream);
    for (uint32_t p = 0; p < FUZZ_PARTITIONS; p++) {
        for (uint64_t seq = 1; is_acked[p] && seq <= seqs[p]; seq++) {
            BB_ASSERT(
                bb_have_set_contains(bb_store_have(self->fuzz->shard->store, p), &stream, seq));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    s_peer_t self = {.fuzz = fuzz_shard_new(), .bytes = {data, size}, .stream = 101};
    uint32_t found = 0;
    for (uint32_t i = 0; found < (1u << FUZZ_PARTITIONS) - 1; i++) {
        char id[8];
        s_id(i, id);
        uint32_t p = bb_topology_partition_of(self.fuzz->topology, id, strlen(id));
        self.battery_of[p] = i;
        found |= 1u << p;
    }
    s_meet(&self, true);
    for (uint32_t i = 0; i < S_STEPS_MAX && self.bytes.left > 0; i++) {
        s_step(&self);
    }
    // Writes that wait are answered by their deadline; own dots are all durable after a commit.
    for (uint32_t i = 0; i < 8; i++) {
        fuzz_shard_commit(self.fuzz, BB_NS_PER_S);
    }
    for (uint64_t i = 0; i < self.tickets; i++) {
        BB_ASSERT(self.fuzz->answers[i] == 1);
        BB_ASSERT(!(self.is_all[i] && self.fuzz->is_ok[i]));
    }
    bool is_acked[FUZZ_PARTITIONS];
    uint64_t seqs[FUZZ_PARTITIONS];
    for (uint32_t p = 0; p < FUZZ_PARTITIONS; p++) {
        seqs[p] = bb_replication_seq_last(self.fuzz->shard->replication, p);
        is_acked[p] = seqs[p] > 0;
    }
    s_check_own(&self, is_acked, seqs);
    bb_shard_close(&self.fuzz->shard);
    bb_random_t random = bb_random_seed(1);
    bb_sim_disk_crash(self.fuzz->disk, &random);
    fuzz_shard_open(self.fuzz, 111);
    s_check_own(&self, is_acked, seqs);
    fuzz_shard_destroy(&self.fuzz);
    return 0;
}
