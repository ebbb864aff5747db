// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_replication.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_dot_sum.h"

// How long an answered write waits for the peers that still owe an acknowledgement.
#define S_OWED_NS_MAX (10 * BB_NS_PER_S)
#define S_MET         (1u << 31) // in slot_mask: the part has its level; slots use the low 16 bits
#define S_NONE        UINT32_MAX
#define S_ID_COUNT    (UINT32_MAX / BB_REPLICATION_WRITES_MAX)
static_assert(BB_REPLICAS_MAX <= 16, "slot masks keep their upper half for flags");

typedef struct {
    uint32_t partition;
    uint32_t slot_mask; // replicas that hold it durably, and S_MET
    uint64_t seq;
} s_part_t;

typedef struct {
    uint32_t node;
    uint32_t part_count; // not yet acknowledged
    uint64_t bytes;
} s_owed_t;

typedef struct {
    uint32_t id; // index in the table, and a count so that a late id names nobody else
    uint64_t context;
    int64_t begun_mono_ns, deadline_mono_ns; // ANSWERED: when it is forgotten
    bb_topology_need_t need;
    bool is_answered;
    bb_error_t error;
    uint32_t part_count, open_count; // open: parts without their level
    uint32_t owed_count, owed_capacity;
    s_owed_t *owed;
    s_part_t *parts;
} s_write_t;

// Open addressing, linear probing, deletion by shifting back; at most half full.
typedef struct {
    uint64_t seq; // 0: free
    uint32_t partition;
    uint32_t write;
    uint32_t part;
} s_dot_t;

struct bb_replication {
    const bb_topology_t *topology;
    uint32_t node_count, self_index, dc_index;
    uint64_t *seq_lasts;         // per partition
    uint64_t *unacked_bytes;     // per node
    bb_replication_acks_t *acks; // per node
    s_write_t **writes;          // BB_REPLICATION_WRITES_MAX, NULL: free
    uint32_t write_limit;        // writes at and past this index are free
    uint32_t write_count, open_count, part_count;
    uint32_t id_count;
    s_dot_t *dots;
    uint32_t dot_mask; // capacity - 1
    int64_t wake_mono_ns;
    bb_replication_done_t *done; // ring of BB_REPLICATION_WRITES_MAX
    uint32_t done_first, done_count;
};

bb_replication_t *bb_replication_new(const bb_topology_t *topology)
{
    BB_ASSERT(topology);
    bb_replication_t *self = bb_alloc_zero(1, sizeof *self);
    self->topology = topology;
    self->node_count = bb_topology_node_count(topology);
    self->self_index = bb_topology_self_index(topology);
    BB_ASSERT(self->self_index < self->node_count);
    self->dc_index = bb_topology_node(topology, self->self_index)->dc_index;
    self->seq_lasts = bb_alloc_zero(bb_topology_partition_count(topology), sizeof(uint64_t));
    self->unacked_bytes = bb_alloc_zero(self->node_count, sizeof(uint64_t));
    self->acks = bb_alloc_zero(self->node_count, sizeof *self->acks);
    self->writes = bb_alloc_zero(BB_REPLICATION_WRITES_MAX, sizeof(s_write_t *));
    self->done = bb_alloc_zero(BB_REPLICATION_WRITES_MAX, sizeof *self->done);
    self->dot_mask = 1023;
    self->dots = bb_alloc_zero(self->dot_mask + 1, sizeof *self->dots);
    self->wake_mono_ns = BB_NEVER_NS;
    return self;
}

void bb_replication_destroy(bb_replication_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_replication_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < self->write_limit; i++) {
        free(self->writes[i]);
    }
    free(self->writes);
    free(self->seq_lasts);
    free(self->unacked_bytes);
    free(self->acks);
    free(self->dots);
    free(self->done);
    free(self);
}

uint32_t bb_replication_unmet_part(const bb_replication_t *self, bb_level_t level,
                                   const bool *is_up, const uint32_t *partitions,
                                   uint32_t part_count)
{
    BB_ASSERT(self && is_up && partitions);
    bb_topology_need_t need = bb_topology_need(self->topology, level, self->dc_index);
    uint32_t slot_count = bb_topology_replica_count(self->topology);
    for (uint32_t i = 0; i < part_count; i++) {
        const uint16_t *replicas = bb_topology_replicas(self->topology, partitions[i]);
        uint32_t mask = 0;
        for (uint32_t slot = 0; slot < slot_count; slot++) {
            mask |= (uint32_t)is_up[replicas[slot]] << slot;
        }
        if (!bb_topology_is_met(self->topology, &need, mask)) {
            return i;
        }
    }
    return UINT32_MAX;
}

// ---- dots ----------------------------------------------------------------------------------

static uint32_t s_dot_home(const bb_replication_t *self, uint32_t partition, uint64_t seq)
{
    uint64_t x = (seq ^ ((uint64_t)partition << 40)) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(x >> 32) & self->dot_mask;
}

static void s_dot_put(bb_replication_t *self, s_dot_t dot)
{
    uint32_t at = s_dot_home(self, dot.partition, dot.seq);
    while (self->dots[at].seq != 0) {
        at = (at + 1) & self->dot_mask;
    }
    self->dots[at] = dot;
}

static void s_dots_reserve(bb_replication_t *self, uint32_t more)
{
    uint64_t wanted = 2 * ((uint64_t)self->part_count + more);
    if (wanted <= (uint64_t)self->dot_mask + 1) {
        return;
    }
    s_dot_t *old = self->dots;
    uint32_t old_mask = self->dot_mask;
    while (wanted > (uint64_t)self->dot_mask + 1) {
        self->dot_mask = 2 * self->dot_mask + 1;
    }
    self->dots = bb_alloc_zero((size_t)self->dot_mask + 1, sizeof *self->dots);
    for (uint32_t i = 0; i <= old_mask; i++) {
        if (old[i].seq != 0) {
            s_dot_put(self, old[i]);
        }
    }
    free(old);
}

static uint32_t s_dot_find(const bb_replication_t *self, uint32_t partition, uint64_t seq)
{
    uint32_t at = s_dot_home(self, partition, seq);
    while (self->dots[at].seq != 0) {
        if (self->dots[at].seq == seq && self->dots[at].partition == partition) {
            return at;
        }
        at = (at + 1) & self->dot_mask;
    }
    return S_NONE;
}

// Closes the gap so that no probe sequence is broken (Knuth, TAOCP 6.4, algorithm R).
static void s_dot_remove(bb_replication_t *self, uint32_t at)
{
    uint32_t gap = at;
    for (uint32_t i = (at + 1) & self->dot_mask; self->dots[i].seq != 0;
         i = (i + 1) & self->dot_mask) {
        uint32_t home = s_dot_home(self, self->dots[i].partition, self->dots[i].seq);
        if (((i - home) & self->dot_mask) >= ((i - gap) & self->dot_mask)) {
            self->dots[gap] = self->dots[i];
            gap = i;
        }
    }
    self->dots[gap].seq = 0;
}

// ---- writes --------------------------------------------------------------------------------

static void s_wake_at(bb_replication_t *self, int64_t mono_ns)
{
    self->wake_mono_ns = BB_MIN(self->wake_mono_ns, mono_ns);
}

static void s_release(bb_replication_t *self, uint32_t index)
{
    s_write_t *write = self->writes[index];
    BB_ASSERT(write->is_answered);
    for (uint32_t i = 0; i < write->part_count; i++) {
        uint32_t at = s_dot_find(self, write->parts[i].partition, write->parts[i].seq);
        BB_ASSERT(at != S_NONE);
        s_dot_remove(self, at);
    }
    for (uint32_t i = 0; i < write->owed_count; i++) {
        if (write->owed[i].part_count > 0) {
            self->unacked_bytes[write->owed[i].node] -= write->owed[i].bytes;
        }
    }
    self->part_count -= write->part_count;
    self->write_count--;
    free(write);
    self->writes[index] = NULL;
    while (self->write_limit > 0 && !self->writes[self->write_limit - 1]) {
        self->write_limit--;
    }
}

static void s_release_if_unowed(bb_replication_t *self, uint32_t index)
{
    const s_write_t *write = self->writes[index];
    if (!write->is_answered) {
        return;
    }
    for (uint32_t i = 0; i < write->owed_count; i++) {
        if (write->owed[i].part_count > 0) {
            return;
        }
    }
    s_release(self, index);
}

static void s_answer(bb_replication_t *self, s_write_t *write, bb_error_t error,
                     int64_t now_mono_ns)
{
    BB_ASSERT(!write->is_answered);
    BB_ASSERT(self->done_count < BB_REPLICATION_WRITES_MAX);
    write->is_answered = true;
    write->error = error;
    write->deadline_mono_ns = now_mono_ns + S_OWED_NS_MAX;
    s_wake_at(self, write->deadline_mono_ns);
    uint32_t at = (self->done_first + self->done_count) % BB_REPLICATION_WRITES_MAX;
    self->done[at] = (bb_replication_done_t){
        .context = write->context, .error = error, .begun_mono_ns = write->begun_mono_ns};
    self->done_count++;
    self->open_count--;
}

// The answered write whose time is up first; NULL: none.
static const s_write_t *s_oldest_answered(const bb_replication_t *self)
{
    const s_write_t *oldest = NULL;
    for (uint32_t i = 0; i < self->write_limit; i++) {
        const s_write_t *write = self->writes[i];
        if (write && write->is_answered &&
            (!oldest || write->deadline_mono_ns < oldest->deadline_mono_ns)) {
            oldest = write;
        }
    }
    return oldest;
}

// Makes room for one more write: what is still owed for the oldest answered ones, those of an
// eighth of a second at once, is forgotten. False: all others have no outcome yet.
static bool s_make_room(bb_replication_t *self, uint32_t part_count)
{
    while (self->write_count + self->done_count >= BB_REPLICATION_WRITES_MAX ||
           part_count > BB_REPLICATION_PARTS_MAX - self->part_count) {
        const s_write_t *oldest = s_oldest_answered(self);
        if (!oldest) {
            return false;
        }
        int64_t until_mono_ns = oldest->deadline_mono_ns + BB_NS_PER_S / 8;
        for (uint32_t i = 0; i < self->write_limit; i++) {
            const s_write_t *write = self->writes[i];
            if (write && write->is_answered && write->deadline_mono_ns <= until_mono_ns) {
                s_release(self, i);
            }
        }
    }
    return true;
}

bb_error_t bb_replication_begin(bb_replication_t *self, const bb_replication_write_t *request,
                                uint64_t *seqs, uint32_t *write_id)
{
    BB_ASSERT(self && request && seqs && write_id);
    BB_ASSERT(request->part_count >= 1);
    // Ends not yet drained count too: the ring of outcomes then has room for all.
    if (!s_make_room(self, request->part_count)) {
        return BB_ERR_BUSY;
    }
    uint32_t index = 0;
    while (index < self->write_limit && self->writes[index]) {
        index++;
    }
    size_t parts_bytes = request->part_count * sizeof(s_part_t);
    s_write_t *write = bb_alloc(sizeof *write + parts_bytes + self->node_count * sizeof(s_owed_t));
    *write = (s_write_t){
        .id = index + BB_REPLICATION_WRITES_MAX * (self->id_count++ % S_ID_COUNT),
        .context = request->context,
        .begun_mono_ns = request->now_mono_ns,
        .deadline_mono_ns = request->deadline_mono_ns,
        .need = bb_topology_need(self->topology, request->level, self->dc_index),
        .part_count = request->part_count,
        .open_count = request->part_count,
        .owed_capacity = self->node_count,
    };
    write->parts = (s_part_t *)(write + 1);
    write->owed = (s_owed_t *)(write->parts + request->part_count);
    s_dots_reserve(self, request->part_count);
    for (uint32_t i = 0; i < request->part_count; i++) {
        uint32_t partition = request->partitions[i];
        seqs[i] = ++self->seq_lasts[partition];
        write->parts[i] = (s_part_t){.partition = partition, .seq = seqs[i]};
        s_dot_put(self,
                  (s_dot_t){.seq = seqs[i], .partition = partition, .write = index, .part = i});
    }
    self->writes[index] = write;
    self->write_limit = BB_MAX(self->write_limit, index + 1);
    self->write_count++;
    self->open_count++;
    self->part_count += request->part_count;
    s_wake_at(self, request->deadline_mono_ns);
    *write_id = write->id;
    return BB_OK;
}

void bb_replication_sent(bb_replication_t *self, uint32_t write_id, uint32_t node, uint64_t bytes)
{
    BB_ASSERT(self && node < self->node_count && node != self->self_index);
    s_write_t *write = self->writes[write_id % BB_REPLICATION_WRITES_MAX];
    BB_ASSERT(write && write->id == write_id);
    BB_ASSERT(write->owed_count < write->owed_capacity);
    uint32_t part_count = 0;
    for (uint32_t i = 0; i < write->part_count; i++) {
        uint32_t slot = bb_topology_slot_of(self->topology, write->parts[i].partition, node);
        part_count += slot != BB_NODE_NONE && !(write->parts[i].slot_mask & (1u << slot));
    }
    if (part_count == 0) {
        return;
    }
    write->owed[write->owed_count++] =
        (s_owed_t){.node = node, .part_count = part_count, .bytes = bytes};
    self->unacked_bytes[node] += bytes;
}

bool bb_replication_owes(const bb_replication_t *self, uint32_t write_id, uint32_t node)
{
    BB_ASSERT(self && node < self->node_count);
    const s_write_t *write = self->writes[write_id % BB_REPLICATION_WRITES_MAX];
    if (!write || write->id != write_id) {
        return false;
    }
    for (uint32_t i = 0; i < write->owed_count; i++) {
        if (write->owed[i].node == node) {
            return write->owed[i].part_count > 0;
        }
    }
    return false;
}

// The node holds one more part of this write.
static void s_pay(bb_replication_t *self, s_write_t *write, uint32_t node)
{
    for (uint32_t i = 0; i < write->owed_count; i++) {
        s_owed_t *owed = &write->owed[i];
        if (owed->node == node && owed->part_count > 0) {
            owed->part_count--;
            if (owed->part_count == 0) {
                self->unacked_bytes[node] -= owed->bytes;
            }
            return;
        }
    }
}

// The part is durable at the node, which has this slot of it. The caller releases the write.
static void s_count(bb_replication_t *self, s_write_t *write, s_part_t *part, uint32_t slot,
                    uint32_t node, int64_t now_mono_ns)
{
    if (part->slot_mask & (1u << slot)) {
        return;
    }
    part->slot_mask |= 1u << slot;
    self->acks[node].count++;
    self->acks[node].ns_sum += (uint64_t)BB_MAX(now_mono_ns - write->begun_mono_ns, 0);
    if (!(part->slot_mask & S_MET) &&
        bb_topology_is_met(self->topology, &write->need, part->slot_mask)) {
        part->slot_mask |= S_MET;
        write->open_count--;
        if (write->open_count == 0 && !write->is_answered) {
            s_answer(self, write, BB_OK, now_mono_ns);
        }
    }
    if (node != self->self_index) {
        s_pay(self, write, node);
    }
}

bb_error_t bb_replication_durable(bb_replication_t *self, uint32_t node, uint32_t partition,
                                  uint64_t first_seq, uint64_t last_seq, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    if (node >= self->node_count || partition >= bb_topology_partition_count(self->topology)) {
        return BB_ERR_PEER_UNKNOWN;
    }
    uint32_t slot = bb_topology_slot_of(self->topology, partition, node);
    if (slot == BB_NODE_NONE) {
        return BB_ERR_PEER_UNKNOWN;
    }
    if (first_seq < 1 || first_seq > last_seq || last_seq > self->seq_lasts[partition]) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    // Dots before the oldest pending one are history: a long range must not cost its length.
    if (last_seq - first_seq >= BB_REPLICATION_PARTS_MAX) {
        first_seq = last_seq - BB_REPLICATION_PARTS_MAX + 1;
    }
    for (uint64_t seq = first_seq; seq <= last_seq; seq++) {
        uint32_t at = s_dot_find(self, partition, seq);
        if (at == S_NONE) {
            continue; // ended long ago
        }
        uint32_t index = self->dots[at].write;
        s_write_t *write = self->writes[index];
        s_part_t *part = &write->parts[self->dots[at].part];
        if (part->slot_mask & (1u << slot)) {
            continue;
        }
        s_count(self, write, part, slot, node, now_mono_ns);
        s_release_if_unowed(self, index);
    }
    return BB_OK;
}

// The parts of the write that the node holds in its lane are those that it means.
static bool s_is_meant(const bb_replication_t *self, const s_write_t *write, uint32_t node,
                       bb_lane_t lane, const bb_ack_batch_t *batch)
{
    uint32_t part_count = 0;
    uint64_t dot_sum = 0;
    for (uint32_t i = 0; i < write->part_count; i++) {
        const s_part_t *part = &write->parts[i];
        if (part->partition % lane.count == lane.index &&
            bb_topology_is_replica(self->topology, part->partition, node)) {
            part_count++;
            dot_sum += bb_dot_sum_of(part->partition, part->seq);
        }
    }
    return part_count == batch->part_count && dot_sum == batch->dot_sum;
}

bb_error_t bb_replication_durable_batch(bb_replication_t *self, uint32_t node, bb_lane_t lane,
                                        const bb_ack_batch_t *batch, int64_t now_mono_ns)
{
    BB_ASSERT(self && batch);
    BB_ASSERT(lane.count >= 1 && lane.index < lane.count);
    uint32_t partition = batch->partition;
    if (node >= self->node_count || partition >= bb_topology_partition_count(self->topology) ||
        !bb_topology_is_replica(self->topology, partition, node)) {
        return BB_ERR_PEER_UNKNOWN;
    }
    if (batch->seq < 1 || batch->seq > self->seq_lasts[partition]) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    uint32_t at = s_dot_find(self, partition, batch->seq);
    if (at == S_NONE) {
        return BB_OK; // ended long ago
    }
    uint32_t index = self->dots[at].write;
    s_write_t *write = self->writes[index];
    if (!s_is_meant(self, write, node, lane, batch)) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    for (uint32_t i = 0; i < write->part_count; i++) {
        s_part_t *part = &write->parts[i];
        uint32_t slot = part->partition % lane.count == lane.index
                            ? bb_topology_slot_of(self->topology, part->partition, node)
                            : BB_NODE_NONE;
        if (slot != BB_NODE_NONE) {
            s_count(self, write, part, slot, node, now_mono_ns);
        }
    }
    s_release_if_unowed(self, index);
    return BB_OK;
}

void bb_replication_fail(bb_replication_t *self, uint32_t write_id, bb_error_t error,
                         int64_t now_mono_ns)
{
    BB_ASSERT(self && error != BB_OK);
    uint32_t index = write_id % BB_REPLICATION_WRITES_MAX;
    s_write_t *write = self->writes[index];
    if (write && write->id == write_id && !write->is_answered) {
        s_answer(self, write, error, now_mono_ns);
        s_release_if_unowed(self, index);
    }
}

void bb_replication_fail_all(bb_replication_t *self, bb_error_t error, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    uint32_t limit = self->write_limit;
    for (uint32_t index = 0; index < limit; index++) {
        if (self->writes[index]) {
            bb_replication_fail(self, self->writes[index]->id, error, now_mono_ns);
        }
    }
    BB_ASSERT(self->open_count == 0);
}

void bb_replication_peer_reset(bb_replication_t *self, uint32_t node)
{
    BB_ASSERT(self && node < self->node_count);
    uint32_t limit = self->write_limit;
    for (uint32_t index = 0; index < limit; index++) {
        s_write_t *write = self->writes[index];
        if (!write) {
            continue;
        }
        for (uint32_t i = 0; i < write->owed_count; i++) {
            if (write->owed[i].node == node && write->owed[i].part_count > 0) {
                write->owed[i].part_count = 0;
                self->unacked_bytes[node] -= write->owed[i].bytes;
            }
        }
        s_release_if_unowed(self, index);
    }
    BB_ASSERT(self->unacked_bytes[node] == 0);
}

void bb_replication_tick(bb_replication_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    if (now_mono_ns < self->wake_mono_ns) {
        return;
    }
    self->wake_mono_ns = BB_NEVER_NS;
    uint32_t limit = self->write_limit;
    for (uint32_t index = 0; index < limit; index++) {
        s_write_t *write = self->writes[index];
        if (!write) {
            continue;
        }
        if (now_mono_ns < write->deadline_mono_ns) {
            s_wake_at(self, write->deadline_mono_ns);
        } else if (write->is_answered) {
            s_release(self, index);
        } else {
            s_answer(self, write, BB_ERR_TIMEOUT, now_mono_ns);
            s_release_if_unowed(self, index);
        }
    }
}

bool bb_replication_next(bb_replication_t *self, bb_replication_done_t *done)
{
    BB_ASSERT(self && done);
    if (self->done_count == 0) {
        return false;
    }
    *done = self->done[self->done_first];
    self->done_first = (self->done_first + 1) % BB_REPLICATION_WRITES_MAX;
    self->done_count--;
    return true;
}

int64_t bb_replication_wake_mono_ns(const bb_replication_t *self)
{
    BB_ASSERT(self);
    return self->wake_mono_ns;
}

uint64_t bb_replication_unacked_bytes(const bb_replication_t *self, uint32_t node)
{
    BB_ASSERT(self && node < self->node_count);
    return self->unacked_bytes[node];
}

uint32_t bb_replication_open_count(const bb_replication_t *self)
{
    BB_ASSERT(self);
    return self->open_count;
}

uint64_t bb_replication_seq_last(const bb_replication_t *self, uint32_t partition)
{
    BB_ASSERT(self && partition < bb_topology_partition_count(self->topology));
    return self->seq_lasts[partition];
}

bb_replication_acks_t bb_replication_acks(const bb_replication_t *self, uint32_t node)
{
    BB_ASSERT(self && node < self->node_count);
    return self->acks[node];
}

void bb_replication_waiting(const bb_replication_t *self, int64_t now_mono_ns, int64_t *ages_ns)
{
    BB_ASSERT(self && ages_ns);
    memset(ages_ns, 0, self->node_count * sizeof *ages_ns);
    for (uint32_t index = 0; index < self->write_limit; index++) {
        const s_write_t *write = self->writes[index];
        for (uint32_t i = 0; write && i < write->owed_count; i++) {
            int64_t age_ns = now_mono_ns - write->begun_mono_ns;
            if (write->owed[i].part_count > 0 && age_ns > ages_ns[write->owed[i].node]) {
                ages_ns[write->owed[i].node] = age_ns;
            }
        }
    }
}

void bb_replication_check(const bb_replication_t *self)
{
    uint32_t write_count = 0, open_count = 0, part_count = 0, dot_count = 0;
    uint64_t unacked_bytes = 0, owed_bytes = 0;
    for (uint32_t index = 0; index < BB_REPLICATION_WRITES_MAX; index++) {
        const s_write_t *write = self->writes[index];
        if (!write) {
            continue;
        }
        BB_ASSERT(index < self->write_limit);
        write_count++;
        open_count += !write->is_answered;
        part_count += write->part_count;
        uint32_t part_open_count = 0;
        for (uint32_t i = 0; i < write->part_count; i++) {
            const s_part_t *part = &write->parts[i];
            bool is_met =
                bb_topology_is_met(self->topology, &write->need, part->slot_mask & ~S_MET);
            BB_ASSERT(is_met == !!(part->slot_mask & S_MET));
            part_open_count += !is_met;
            uint32_t at = s_dot_find(self, part->partition, part->seq);
            BB_ASSERT(at != S_NONE);
            BB_ASSERT(self->dots[at].write == index && self->dots[at].part == i);
        }
        BB_ASSERT(part_open_count == write->open_count);
        BB_ASSERT(write->is_answered || part_open_count > 0);
        BB_ASSERT(!write->is_answered || write->error != BB_OK || part_open_count == 0);
        for (uint32_t i = 0; i < write->owed_count; i++) {
            owed_bytes += write->owed[i].part_count > 0 ? write->owed[i].bytes : 0;
        }
    }
    for (uint32_t i = 0; i <= self->dot_mask; i++) {
        dot_count += self->dots[i].seq != 0;
    }
    for (uint32_t node = 0; node < self->node_count; node++) {
        unacked_bytes += self->unacked_bytes[node];
    }
    BB_ASSERT(write_count == self->write_count);
    BB_ASSERT(open_count == self->open_count);
    BB_ASSERT(part_count == self->part_count);
    BB_ASSERT(dot_count == part_count);
    BB_ASSERT(unacked_bytes == owed_bytes);
}
