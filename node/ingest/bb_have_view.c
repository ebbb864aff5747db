// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_have_view.h"

#include <stdlib.h>
#include <string.h>

#include "node/ingest/bb_lane.h"

#include "protocol/bb_have_tails.h"

// A partition whose missing chunks a peer no longer has is asked for again after this pause.
#define S_UNAVAILABLE_NS (2 * BB_NS_PER_S)

typedef struct {
    uint64_t request_id; // 0: none outstanding
    int64_t give_up_mono_ns;
    int64_t idle_until_mono_ns;
    uint32_t received_count, new_count, expected_count;
    bool is_done; // PULL_DONE came; chunks are still on their way
} s_pull_t;

// What this store and one store of a peer have in common.
typedef struct {
    uint32_t shared_count;
    bool is_known;
    uint64_t version; // everything up to it is known (when is_known)
    uint64_t asked_id, answered_id;
    int64_t asked_mono_ns, ask_next_mono_ns;
    uint64_t asked_mark, known_mark; // the peer's when asked, and when asked for what is known
    int64_t owed_mono_ns;            // since when an answer is owed, when asked_id > answered_id
    uint64_t full_id, full_version;  // a full report that is coming in pieces
    uint32_t full_count;
    uint32_t sealed_below; // bb_have_t
    s_pull_t pull;
} s_lane_t;

typedef struct {
    bool is_up;
    bb_stream_t incarnation;
    uint32_t shared_count;
    uint32_t modulus;    // common multiple of its number of stores and ours
    uint32_t lane_count; // modulus / our number of stores
    s_lane_t *lanes;     // partition p is in lane (p % modulus) / our number of stores
    uint32_t pull_turn;  // lane to consider first
    uint8_t *full_seen;  // one per partition of ours; lanes share it, they share no partition
    uint64_t mark;       // of its have-sets, as its heartbeats say; 0: not told
} s_peer_t;

typedef struct {
    bb_have_set_t known;
    int64_t lack_mono_ns; // since when we lack something of `known`
    bool is_lacking;
    bool is_unavailable; // its journal no longer has what we lack
} s_entry_t;

struct bb_have_view {
    bb_have_view_options_t options;
    uint32_t node_count, self_index, slot_count;
    uint32_t partition_count; // ours
    uint32_t *partitions;
    uint32_t *index_of;     // partition -> index in partitions, or UINT32_MAX
    s_entry_t *entries;     // partition_count * slot_count
    bool *is_urgent;        // per partition of ours
    uint64_t *pulled_id;    // likewise: the pull that it was last in
    int64_t *grown_mono_ns; // likewise: when another replica here last reported something new
    s_peer_t *peers;
    uint64_t request_id_next;
    uint64_t wanted_id; // somebody waits for answers to questions from here on; 0: nobody did yet
    uint64_t change_count;
    uint32_t pull_count;                  // outstanding
    uint64_t pull_ids[BB_HAVE_PULLS_MAX]; // theirs; 0: none
    uint32_t pull_turn;                   // node to consider first, so that nobody is forgotten
    uint32_t lacking_count;               // entries
    int64_t hold_until_mono_ns;           // no pull before
    bool is_pull_checked;                 // nothing changed since the last _pull found nothing
    int64_t pull_wake_mono_ns;
};

// Lays out what the peer and this store have in common; everything known is forgotten.
static void s_lanes_lay(bb_have_view_t *self, uint32_t node, uint32_t store_count)
{
    s_peer_t *peer = &self->peers[node];
    uint32_t own_count = self->options.store_count;
    peer->modulus = bb_lane_common_multiple(store_count, own_count);
    peer->lane_count = peer->modulus / own_count;
    free(peer->lanes);
    peer->lanes = bb_alloc_zero(peer->lane_count, sizeof *peer->lanes);
    for (uint32_t i = 0; i < self->partition_count; i++) {
        uint32_t partition = self->partitions[i];
        if (bb_topology_is_replica(self->options.topology, partition, node)) {
            peer->lanes[partition % peer->modulus / own_count].shared_count++;
        }
    }
}

bb_have_view_t *bb_have_view_new(const bb_have_view_options_t *options)
{
    BB_ASSERT(options && options->topology && options->own);
    BB_ASSERT(options->store_count >= 1 && options->store_index < options->store_count);
    const bb_topology_t *topology = options->topology;
    bb_have_view_t *self = bb_alloc_zero(1, sizeof *self);
    self->options = *options;
    self->node_count = bb_topology_node_count(topology);
    self->self_index = bb_topology_self_index(topology);
    self->slot_count = bb_topology_replica_count(topology);
    BB_ASSERT(self->self_index < self->node_count);
    uint32_t all_count = bb_topology_partition_count(topology), own_count = 0;
    const uint32_t *own = bb_topology_node_partitions(topology, self->self_index, &own_count);
    self->index_of = bb_alloc(all_count * sizeof *self->index_of);
    memset(self->index_of, 0xff, all_count * sizeof *self->index_of);
    self->partitions = bb_alloc_zero(own_count + 1, sizeof *self->partitions);
    self->peers = bb_alloc_zero(self->node_count, sizeof *self->peers);
    for (uint32_t i = 0; i < own_count; i++) {
        if (own[i] % options->store_count != options->store_index) {
            continue;
        }
        self->index_of[own[i]] = self->partition_count;
        self->partitions[self->partition_count++] = own[i];
        const uint16_t *replicas = bb_topology_replicas(topology, own[i]);
        for (uint32_t slot = 0; slot < self->slot_count; slot++) {
            self->peers[replicas[slot]].shared_count++;
        }
    }
    self->entries =
        bb_alloc_zero((size_t)self->partition_count * self->slot_count + 1, sizeof *self->entries);
    self->is_urgent = bb_alloc_zero(self->partition_count + 1, sizeof *self->is_urgent);
    self->pulled_id = bb_alloc_zero(self->partition_count + 1, sizeof *self->pulled_id);
    self->grown_mono_ns = bb_alloc_zero(self->partition_count + 1, sizeof *self->grown_mono_ns);
    for (uint32_t node = 0; node < self->node_count; node++) {
        self->peers[node].full_seen = bb_alloc_zero(self->partition_count + 1, 1);
        s_lanes_lay(self, node, options->store_count); // until it says how many it has
    }
    self->peers[self->self_index].is_up = true;
    BB_ASSERT(options->request_id_first >= 1);
    self->request_id_next = options->request_id_first;
    self->pull_wake_mono_ns = BB_NEVER_NS;
    return self;
}

void bb_have_view_destroy(bb_have_view_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_have_view_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    for (size_t i = 0; i < (size_t)self->partition_count * self->slot_count; i++) {
        bb_have_set_clear(&self->entries[i].known);
    }
    for (uint32_t node = 0; node < self->node_count; node++) {
        free(self->peers[node].full_seen);
        free(self->peers[node].lanes);
    }
    free(self->entries);
    free(self->is_urgent);
    free(self->pulled_id);
    free(self->grown_mono_ns);
    free(self->peers);
    free(self->partitions);
    free(self->index_of);
    free(self);
}

// ---- who and what --------------------------------------------------------------------------

const bb_have_view_options_t *bb_have_view_options(const bb_have_view_t *self)
{
    BB_ASSERT(self);
    return &self->options;
}

const uint32_t *bb_have_view_partitions(const bb_have_view_t *self, uint32_t *count)
{
    BB_ASSERT(self && count);
    *count = self->partition_count;
    return self->partitions;
}

bool bb_have_view_is_ours(const bb_have_view_t *self, uint32_t partition)
{
    BB_ASSERT(self);
    return partition < bb_topology_partition_count(self->options.topology) &&
           self->index_of[partition] != UINT32_MAX;
}

bool bb_have_view_is_shared(const bb_have_view_t *self, uint32_t partition, uint32_t node)
{
    return node != self->self_index && bb_have_view_is_ours(self, partition) &&
           bb_topology_is_replica(self->options.topology, partition, node);
}

uint32_t bb_have_view_shared_count(const bb_have_view_t *self, uint32_t node)
{
    BB_ASSERT(self && node < self->node_count);
    return node == self->self_index ? 0 : self->peers[node].shared_count;
}

static const bb_have_set_t *s_own(const bb_have_view_t *self, uint32_t index)
{
    return self->options.own(self->options.own_context, self->partitions[index]);
}

static s_entry_t *s_entry(const bb_have_view_t *self, uint32_t index, uint32_t slot)
{
    return &self->entries[(size_t)index * self->slot_count + slot];
}

static uint16_t s_node_at(const bb_have_view_t *self, uint32_t index, uint32_t slot)
{
    return bb_topology_replicas(self->options.topology, self->partitions[index])[slot];
}

static bool s_is_near(const bb_have_view_t *self, uint32_t node)
{
    const bb_topology_t *topology = self->options.topology;
    return bb_topology_node(topology, node)->dc_index ==
           bb_topology_node(topology, self->self_index)->dc_index;
}

static s_lane_t *s_lane_of(const bb_have_view_t *self, uint32_t node, uint32_t partition)
{
    const s_peer_t *peer = &self->peers[node];
    return &peer->lanes[partition % peer->modulus / self->options.store_count];
}

static void s_set_lacking(bb_have_view_t *self, s_entry_t *entry, bool is_lacking)
{
    if (entry->is_lacking != is_lacking) {
        entry->is_lacking = is_lacking;
        self->lacking_count += is_lacking ? 1 : -1u;
    }
    if (!is_lacking) {
        entry->is_unavailable = false;
    }
}

static void s_pull_end(bb_have_view_t *self, s_lane_t *lane)
{
    if (lane->pull.request_id != 0) {
        for (uint32_t i = 0; i < BB_HAVE_PULLS_MAX; i++) {
            self->pull_ids[i] = self->pull_ids[i] == lane->pull.request_id ? 0 : self->pull_ids[i];
        }
        lane->pull.request_id = 0;
        self->pull_count--;
        self->is_pull_checked = false;
    }
}

static void s_peer_forget(bb_have_view_t *self, uint32_t node)
{
    for (uint32_t index = 0; index < self->partition_count; index++) {
        uint32_t slot = bb_topology_slot_of(self->options.topology, self->partitions[index], node);
        if (slot != BB_NODE_NONE) {
            s_entry_t *entry = s_entry(self, index, slot);
            s_set_lacking(self, entry, false);
            bb_have_set_clear(&entry->known);
        }
    }
    self->change_count++;
}

void bb_have_view_peer(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node, bool is_up,
                       const bb_stream_t *incarnation, uint32_t store_count)
{
    BB_ASSERT(self && incarnation && node < self->node_count && node != self->self_index);
    BB_ASSERT(store_count >= 1 && store_count <= BB_STORES_MAX);
    s_peer_t *peer = &self->peers[node];
    bool is_same = bb_stream_is_equal(&peer->incarnation, incarnation);
    if (is_same && is_up == peer->is_up) {
        return;
    }
    for (uint32_t i = 0; i < peer->lane_count; i++) {
        s_pull_end(self, &peer->lanes[i]);
    }
    if (!is_same) {
        s_peer_forget(self, node);
        s_lanes_lay(self, node, store_count);
        peer->incarnation = *incarnation;
    }
    peer->is_up = is_up;
    for (uint32_t i = 0; i < peer->lane_count; i++) {
        s_lane_t *lane = &peer->lanes[i];
        lane->ask_next_mono_ns = now_mono_ns; // it may have much that we lack
        lane->asked_mono_ns = now_mono_ns - BB_HAVE_ANSWER_NS_MAX;
        lane->pull.idle_until_mono_ns = now_mono_ns;
    }
    self->is_pull_checked = false;
}

bool bb_have_view_is_up(const bb_have_view_t *self, uint32_t node)
{
    BB_ASSERT(self && node < self->node_count);
    return self->peers[node].is_up;
}

const bb_stream_t *bb_have_view_incarnation(const bb_have_view_t *self, uint32_t node)
{
    BB_ASSERT(self && node < self->node_count);
    return &self->peers[node].incarnation;
}

uint32_t bb_have_view_node_of(const bb_have_view_t *self, const bb_stream_t *incarnation)
{
    BB_ASSERT(self && incarnation);
    for (uint32_t node = 0; node < self->node_count; node++) {
        if (node != self->self_index &&
            bb_stream_is_equal(&self->peers[node].incarnation, incarnation)) {
            return node;
        }
    }
    return BB_NODE_NONE;
}

// ---- reports -------------------------------------------------------------------------------

uint32_t bb_have_view_lane_count(const bb_have_view_t *self, uint32_t node)
{
    BB_ASSERT(self && node < self->node_count);
    return self->peers[node].lane_count;
}

bb_lane_t bb_have_view_lane(const bb_have_view_t *self, uint32_t node, uint32_t step)
{
    BB_ASSERT(self && node < self->node_count && step < self->peers[node].lane_count);
    return (bb_lane_t){self->peers[node].modulus,
                       self->options.store_index + step * self->options.store_count};
}

bool bb_have_view_is_lane(const bb_have_view_t *self, uint32_t node, bb_lane_t lane)
{
    BB_ASSERT(self && node < self->node_count);
    return lane.count == self->peers[node].modulus && lane.index < lane.count &&
           lane.index % self->options.store_count == self->options.store_index;
}

// Everything was answered, and nothing has changed there since it was asked.
static bool s_is_in_step(const bb_have_view_t *self, const s_peer_t *peer, const s_lane_t *lane)
{
    return lane->is_known && lane->asked_id <= lane->answered_id &&
           lane->asked_id >= self->wanted_id && peer->mark != 0 && lane->known_mark == peer->mark;
}

bool bb_have_view_is_ask_due(const bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                             uint32_t step, uint64_t fence_request_id)
{
    BB_ASSERT(self && node < self->node_count && step < self->peers[node].lane_count);
    const s_lane_t *lane = &self->peers[node].lanes[step];
    if (!self->peers[node].is_up || node == self->self_index || lane->shared_count == 0) {
        return false;
    }
    bool is_waiting = lane->asked_id > lane->answered_id;
    if (fence_request_id > lane->asked_id) {
        return true;
    }
    // A reader waits: ask again sooner than the lane's turn comes.
    if (fence_request_id != 0 && is_waiting && fence_request_id > lane->answered_id) {
        return now_mono_ns - lane->asked_mono_ns >= BB_HAVE_ANSWER_NS_MAX / 4;
    }
    if (is_waiting && now_mono_ns - lane->asked_mono_ns < BB_HAVE_ANSWER_NS_MAX) {
        return false;
    }
    return now_mono_ns >= lane->ask_next_mono_ns && !s_is_in_step(self, &self->peers[node], lane);
}

void bb_have_view_mark(bb_have_view_t *self, uint32_t node, uint64_t mark)
{
    BB_ASSERT(self && node < self->node_count);
    self->peers[node].mark = mark;
}

uint64_t bb_have_view_ask(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node, uint32_t step,
                          bb_have_request_t *request)
{
    BB_ASSERT(self && request && node < self->node_count && node != self->self_index);
    *request = (bb_have_request_t){.lane = bb_have_view_lane(self, node, step)};
    s_lane_t *lane = &self->peers[node].lanes[step];
    request->takes_tails = true;
    if (lane->is_known) {
        request->incarnation = self->peers[node].incarnation;
        request->since_version = lane->version;
    }
    lane->owed_mono_ns = lane->asked_id > lane->answered_id ? lane->owed_mono_ns : now_mono_ns;
    lane->asked_id = self->request_id_next++;
    lane->asked_mono_ns = now_mono_ns;
    lane->asked_mark = self->peers[node].mark;
    uint64_t turn = self->request_id_next - self->options.request_id_first;
    lane->ask_next_mono_ns =
        now_mono_ns + bb_lane_interval_ns(self->options.report_interval_ns, turn + 1, node);
    return lane->asked_id;
}

uint64_t bb_have_view_request_id_next(const bb_have_view_t *self)
{
    BB_ASSERT(self);
    return self->request_id_next;
}

uint64_t bb_have_view_want(bb_have_view_t *self)
{
    BB_ASSERT(self);
    self->wanted_id = self->request_id_next;
    return self->wanted_id;
}

// What is known of the entry has changed. is_old: something of what was known before is lacking
// still, and goes on ageing; new chunks start at zero.
static void s_judge(bb_have_view_t *self, int64_t now_mono_ns, uint32_t index, s_entry_t *entry,
                    bool is_old)
{
    bool is_lacking = is_old || !bb_have_set_includes(s_own(self, index), &entry->known);
    if (is_lacking && !is_old) {
        entry->lack_mono_ns = now_mono_ns;
        entry->is_unavailable = false;
    }
    s_set_lacking(self, entry, is_lacking);
}

// A replica in our own data centre has more than before: what it fetches for us comes.
static void s_note_growth(bb_have_view_t *self, int64_t now_mono_ns, uint32_t index, uint32_t slot)
{
    if (s_is_near(self, s_node_at(self, index, slot))) {
        self->grown_mono_ns[index] = now_mono_ns;
    }
}

// Takes over *have.
static void s_adopt(bb_have_view_t *self, int64_t now_mono_ns, uint32_t index, uint32_t slot,
                    bb_have_set_t *have)
{
    s_entry_t *entry = s_entry(self, index, slot);
    bool is_old = entry->is_lacking && !bb_have_set_includes(s_own(self, index), &entry->known);
    if (!bb_have_set_includes(&entry->known, have)) {
        s_note_growth(self, now_mono_ns, index, slot);
    }
    bb_have_set_clear(&entry->known);
    entry->known = *have;
    *have = (bb_have_set_t){0};
    s_judge(self, now_mono_ns, index, entry, is_old);
}

static bool s_is_forgotten(const bb_have_view_t *self, const bb_stream_t *stream)
{
    return self->options.forgotten && bb_forgotten_has(self->options.forgotten, stream);
}

// The same for a set that grew by the ends of some of its streams.
static bb_error_t s_extend(bb_have_view_t *self, int64_t now_mono_ns, uint32_t index, uint32_t slot,
                           const bb_have_tail_t *tails, uint32_t tail_count)
{
    s_entry_t *entry = s_entry(self, index, slot);
    bool is_old = entry->is_lacking && !bb_have_set_includes(s_own(self, index), &entry->known);
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; error == BB_OK && i < tail_count; i++) {
        bool added = false;
        if (s_is_forgotten(self, &tails[i].stream)) {
            continue;
        }
        error = bb_have_set_add(&entry->known, &tails[i].stream, 1, tails[i].last_seq, &added);
        if (added) {
            s_note_growth(self, now_mono_ns, index, slot);
        }
    }
    s_judge(self, now_mono_ns, index, entry, is_old);
    return error == BB_OK ? BB_OK : BB_ERR_MESSAGE_CORRUPT; // more streams than a set may have
}

// A report that may be adopted: what the sender says fits what is shared.
static bool s_is_sound(const bb_have_view_t *self, uint32_t node, uint64_t request_id,
                       const bb_have_t *report)
{
    if (!bb_have_view_is_lane(self, node, report->lane) ||
        report->since_version > report->version || request_id == 0 ||
        (report->since_version == 0 && report->tails.length > 0)) {
        return false;
    }
    for (uint32_t i = 0; i < report->entry_count; i++) {
        uint32_t partition = report->entries[i].partition;
        if (!bb_have_view_is_shared(self, partition, node) ||
            partition % report->lane.count != report->lane.index) {
            return false;
        }
    }
    return true;
}

// The first piece of a full report: what came of another one no longer counts.
static void s_full_begin(bb_have_view_t *self, uint32_t node, uint64_t request_id,
                         const bb_have_t *report)
{
    s_lane_t *lane = s_lane_of(self, node, report->lane.index);
    lane->full_id = request_id;
    lane->full_version = report->version;
    lane->full_count = 0;
    for (uint32_t i = 0; i < self->partition_count; i++) {
        if (self->partitions[i] % report->lane.count == report->lane.index) {
            self->peers[node].full_seen[i] = 0;
        }
    }
}

static bb_error_t s_entries_adopt(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                                  const bb_have_t *report)
{
    s_lane_t *lane = s_lane_of(self, node, report->lane.index);
    uint8_t *full_seen = self->peers[node].full_seen;
    for (uint32_t i = 0; i < report->entry_count; i++) {
        uint32_t partition = report->entries[i].partition;
        uint32_t index = self->index_of[partition];
        bb_have_set_t have = {0};
        bb_error_t error =
            bb_have_set_decode(&have, report->entries[i].have.data, report->entries[i].have.length);
        if (error != BB_OK) {
            return BB_ERR_MESSAGE_CORRUPT; // what was adopted before it is true all the same
        }
        if (self->options.forgotten) {
            bb_forgotten_drop(self->options.forgotten, &have);
        }
        s_adopt(self, now_mono_ns, index,
                bb_topology_slot_of(self->options.topology, partition, node), &have);
        if (report->since_version == 0 && !full_seen[index]) {
            full_seen[index] = 1;
            lane->full_count++;
        }
    }
    if (report->entry_count > 0) {
        self->change_count++;
        self->is_pull_checked = false;
    }
    return BB_OK;
}

// Each entry is checked on its own: what came before a bad one is true all the same.
static bb_error_t s_tails_adopt(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                                const bb_have_t *report)
{
    bb_have_tails_cursor_t cursor;
    bb_have_tail_t tails[BB_HAVE_TAIL_STREAMS_MAX];
    uint32_t partition = 0, tail_count = 0;
    bb_error_t error = bb_have_tails_open(&cursor, report->tail_streams, report->tails);
    if (report->tails.length > 0) {
        self->change_count++;
        self->is_pull_checked = false;
    }
    while (error == BB_OK) {
        error = bb_have_tails_next(&cursor, &partition, tails, &tail_count);
        if (error == BB_OK && (!bb_have_view_is_shared(self, partition, node) ||
                               partition % report->lane.count != report->lane.index)) {
            error = BB_ERR_MESSAGE_CORRUPT;
        }
        if (error == BB_OK) {
            uint32_t slot = bb_topology_slot_of(self->options.topology, partition, node);
            error = s_extend(self, now_mono_ns, self->index_of[partition], slot, tails, tail_count);
        }
    }
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

bb_error_t bb_have_view_report(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                               uint64_t request_id, bool is_counted, const bb_have_t *report)
{
    BB_ASSERT(self && report);
    if (node >= self->node_count || node == self->self_index ||
        !bb_stream_is_equal(&report->incarnation, &self->peers[node].incarnation)) {
        return BB_ERR_PEER_UNKNOWN;
    }
    if (!s_is_sound(self, node, request_id, report)) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    s_lane_t *lane = s_lane_of(self, node, report->lane.index);
    if (request_id > lane->asked_id) {
        return BB_OK; // to a question of the process before this one
    }
    bool is_full = report->since_version == 0;
    if (lane->is_known &&
        (report->version < lane->version || report->since_version > lane->version)) {
        return BB_OK; // overtaken, or one before it was lost
    }
    if (!lane->is_known && !is_full) {
        return BB_OK;
    }
    if (is_full && (lane->full_id != request_id || lane->full_version != report->version)) {
        if (request_id < lane->full_id) {
            return BB_OK;
        }
        s_full_begin(self, node, request_id, report);
    }
    bb_error_t error = s_entries_adopt(self, now_mono_ns, node, report);
    if (error == BB_OK) {
        error = s_tails_adopt(self, now_mono_ns, node, report);
    }
    if (error != BB_OK) {
        return error;
    }
    if (is_full && lane->full_count < lane->shared_count) {
        return BB_OK; // more pieces to come
    }
    if (!is_full && !report->is_last) {
        return BB_ERR_MESSAGE_CORRUPT; // changes come in one piece
    }
    self->change_count += !lane->is_known; // also when all of it was empty
    lane->is_known = true;
    lane->version = BB_MAX(lane->version, report->version);
    if (request_id == lane->asked_id) {
        lane->known_mark = lane->asked_mark;
    }
    if (is_counted) {
        lane->answered_id = BB_MAX(lane->answered_id, request_id);
        lane->owed_mono_ns = now_mono_ns; // of those asked since
    }
    lane->sealed_below = is_counted ? report->sealed_below : 0;
    return BB_OK;
}

uint32_t bb_have_view_sealed_below(const bb_have_view_t *self, uint32_t node, uint32_t partition)
{
    return s_lane_of(self, node, partition)->sealed_below;
}

void bb_have_view_forget(bb_have_view_t *self)
{
    for (size_t i = 0; i < (size_t)self->partition_count * self->slot_count; i++) {
        bb_forgotten_drop(self->options.forgotten, &self->entries[i].known);
    }
    self->change_count++;
    self->is_pull_checked = false;
}

int64_t bb_have_view_owes_ns(const bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                             uint32_t partition)
{
    BB_ASSERT(self && node < self->node_count);
    const s_lane_t *lane = s_lane_of(self, node, partition);
    return lane->asked_id > lane->answered_id ? now_mono_ns - lane->owed_mono_ns : 0;
}

uint64_t bb_have_view_answered_id(const bb_have_view_t *self, uint32_t node, uint32_t partition)
{
    BB_ASSERT(self && node < self->node_count);
    return s_lane_of(self, node, partition)->answered_id;
}

const bb_have_set_t *bb_have_view_known(const bb_have_view_t *self, uint32_t partition,
                                        uint32_t slot)
{
    BB_ASSERT(bb_have_view_is_ours(self, partition) && slot < self->slot_count);
    return &s_entry(self, self->index_of[partition], slot)->known;
}

bool bb_have_view_is_known(const bb_have_view_t *self, uint32_t node, uint32_t partition)
{
    BB_ASSERT(self && node < self->node_count);
    return s_lane_of(self, node, partition)->is_known;
}

bool bb_have_view_is_held(const bb_have_view_t *self, uint32_t partition, const bb_stream_t *stream,
                          uint64_t first_seq, uint64_t last_seq)
{
    BB_ASSERT(self && stream);
    if (!bb_have_view_is_ours(self, partition)) {
        return false; // somebody else's data in our journal: never ours to forget
    }
    uint32_t index = self->index_of[partition];
    for (uint32_t slot = 0; slot < self->slot_count; slot++) {
        if (s_node_at(self, index, slot) != self->self_index &&
            !bb_have_set_contains_range(&s_entry(self, index, slot)->known, stream, first_seq,
                                        last_seq)) {
            return false;
        }
    }
    return true;
}

bool bb_have_view_is_held_for_good(const bb_have_view_t *self, uint32_t partition,
                                   const bb_stream_t *stream, uint64_t first_seq, uint64_t last_seq)
{
    BB_ASSERT(self && stream);
    if (!bb_have_view_is_held(self, partition, stream, first_seq, last_seq)) {
        return false;
    }
    for (uint32_t slot = 0; slot < self->slot_count; slot++) {
        uint32_t node = s_node_at(self, self->index_of[partition], slot);
        if (node != self->self_index && bb_have_view_answered_id(self, node, partition) == 0) {
            return false;
        }
    }
    return true;
}

uint64_t bb_have_view_change_count(const bb_have_view_t *self)
{
    BB_ASSERT(self);
    return self->change_count;
}

// ---- pulls ---------------------------------------------------------------------------------

void bb_have_view_hurry(bb_have_view_t *self, uint32_t partition)
{
    BB_ASSERT(bb_have_view_is_ours(self, partition));
    if (!self->is_urgent[self->index_of[partition]]) {
        self->is_urgent[self->index_of[partition]] = true;
        self->is_pull_checked = false;
    }
}

// Looks again at what was lacking; true if it still is.
static bool s_still_lacks(bb_have_view_t *self, uint32_t index, s_entry_t *entry)
{
    if (entry->is_lacking && bb_have_set_includes(s_own(self, index), &entry->known)) {
        s_set_lacking(self, entry, false);
        self->is_urgent[index] = false;
    }
    return entry->is_lacking;
}

// Somebody here has what the entry holds, or is to fetch it: the first replica here that is up.
static bool s_is_others_turn(const bb_have_view_t *self, uint32_t index, const s_entry_t *entry)
{
    bool is_first = true;
    for (uint32_t slot = 0; slot < self->slot_count; slot++) {
        uint32_t node = s_node_at(self, index, slot);
        if (node == self->self_index) {
            is_first = false; // those behind us do not fetch for us
        } else if (s_is_near(self, node) && self->peers[node].is_up &&
                   (is_first ||
                    bb_have_set_includes(&s_entry(self, index, slot)->known, &entry->known))) {
            return true;
        }
    }
    return false;
}

// When the entry may be pulled.
static int64_t s_ripe_mono_ns(const bb_have_view_t *self, uint32_t index, uint32_t node,
                              const s_entry_t *entry)
{
    if (!s_is_near(self, node) && !self->is_urgent[index] && s_is_others_turn(self, index, entry)) {
        return BB_MAX(entry->lack_mono_ns, self->grown_mono_ns[index]) + BB_HAVE_ACROSS_NS_MIN;
    }
    return entry->lack_mono_ns +
           (self->is_urgent[index] ? BB_HAVE_URGENT_NS_MIN : BB_HAVE_LACK_NS_MIN);
}

static void s_pulls_give_up(bb_have_view_t *self, int64_t now_mono_ns)
{
    for (uint32_t node = 0; node < self->node_count && self->pull_count > 0; node++) {
        s_peer_t *peer = &self->peers[node];
        for (uint32_t i = 0; i < peer->lane_count; i++) {
            s_lane_t *lane = &peer->lanes[i];
            if (lane->pull.request_id != 0 && now_mono_ns >= lane->pull.give_up_mono_ns) {
                s_pull_end(self, lane);
            }
        }
    }
}

// It is in a pull that has not ended. Another peer would send the same chunks once more.
static bool s_is_pulled(const bb_have_view_t *self, uint32_t index)
{
    bool is_pulled = false;
    for (uint32_t i = 0; i < BB_HAVE_PULLS_MAX; i++) {
        is_pulled |= self->pull_ids[i] != 0 && self->pull_ids[i] == self->pulled_id[index];
    }
    return is_pulled;
}

static void s_pull_note(bb_have_view_t *self, uint64_t request_id, const uint32_t *partitions,
                        uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        self->pulled_id[self->index_of[partitions[i]]] = request_id;
    }
    uint32_t at = 0;
    while (self->pull_ids[at] != 0) { // fewer are outstanding than there is room for
        at++;
    }
    self->pull_ids[at] = request_id;
}

// The partitions of the lane worth pulling from the node now.
static uint32_t s_pull_list(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                            bb_lane_t lane, uint32_t *partitions)
{
    uint32_t count = 0;
    size_t bytes = 0;
    for (uint32_t index = 0; index < self->partition_count; index++) {
        uint32_t slot = bb_topology_slot_of(self->options.topology, self->partitions[index], node);
        if (slot == BB_NODE_NONE || self->partitions[index] % lane.count != lane.index) {
            continue;
        }
        s_entry_t *entry = s_entry(self, index, slot);
        if (!entry->is_lacking || !s_still_lacks(self, index, entry)) {
            continue;
        }
        int64_t ripe_mono_ns = s_ripe_mono_ns(self, index, node, entry);
        if (now_mono_ns < ripe_mono_ns) {
            self->pull_wake_mono_ns = BB_MIN(self->pull_wake_mono_ns, ripe_mono_ns);
            continue;
        }
        if (s_is_pulled(self, index) && !self->is_urgent[index]) {
            continue; // when that one ends, all is looked at again
        }
        size_t entry_bytes = bb_have_set_encoded_bytes(s_own(self, index)) + 64;
        if (count > 0 && bytes + entry_bytes > BB_HAVE_PULL_BYTES_MAX) {
            break;
        }
        bytes += entry_bytes;
        partitions[count++] = self->partitions[index];
        self->is_urgent[index] = false; // who still waits says so again
    }
    return count;
}

// Begins a pull of the lane if there is something to pull and nothing against it.
static bool s_pull_begin(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node, uint32_t step,
                         uint32_t *partitions, uint32_t *partition_count)
{
    s_lane_t *lane = &self->peers[node].lanes[step];
    if (!self->peers[node].is_up || node == self->self_index || lane->pull.request_id != 0) {
        return false;
    }
    if (now_mono_ns < lane->pull.idle_until_mono_ns) {
        self->pull_wake_mono_ns = BB_MIN(self->pull_wake_mono_ns, lane->pull.idle_until_mono_ns);
        return false;
    }
    *partition_count =
        s_pull_list(self, now_mono_ns, node, bb_have_view_lane(self, node, step), partitions);
    if (*partition_count == 0) {
        return false;
    }
    self->pull_count++;
    lane->pull = (s_pull_t){.request_id = self->request_id_next++,
                            .give_up_mono_ns = now_mono_ns + BB_HAVE_PULL_NS_MAX};
    s_pull_note(self, lane->pull.request_id, partitions, *partition_count);
    return true;
}

bool bb_have_view_pull(bb_have_view_t *self, int64_t now_mono_ns, uint32_t *node_out,
                       bb_lane_t *lane_out, uint64_t *request_id, uint32_t *partitions,
                       uint32_t *partition_count)
{
    BB_ASSERT(self && node_out && lane_out && request_id && partitions && partition_count);
    s_pulls_give_up(self, now_mono_ns);
    if (self->lacking_count == 0) {
        self->pull_wake_mono_ns = BB_NEVER_NS;
        return false;
    }
    if (now_mono_ns < self->hold_until_mono_ns) {
        self->pull_wake_mono_ns = self->hold_until_mono_ns;
        self->is_pull_checked = true;
        return false;
    }
    if (self->pull_count >= BB_HAVE_PULLS_MAX ||
        (self->is_pull_checked && now_mono_ns < self->pull_wake_mono_ns)) {
        return false;
    }
    self->pull_wake_mono_ns = BB_NEVER_NS;
    for (uint32_t i = 0; i < self->node_count; i++) {
        uint32_t node = (self->pull_turn + i) % self->node_count;
        s_peer_t *peer = &self->peers[node];
        for (uint32_t k = 0; k < peer->lane_count; k++) {
            uint32_t step = (peer->pull_turn + k) % peer->lane_count;
            if (s_pull_begin(self, now_mono_ns, node, step, partitions, partition_count)) {
                self->pull_turn = node + 1;
                peer->pull_turn = step + 1;
                *node_out = node;
                *lane_out = bb_have_view_lane(self, node, step);
                *request_id = peer->lanes[step].pull.request_id;
                return true;
            }
        }
    }
    self->is_pull_checked = true;
    return false;
}

void bb_have_view_hold(bb_have_view_t *self, int64_t until_mono_ns)
{
    BB_ASSERT(self);
    self->hold_until_mono_ns = BB_MAX(self->hold_until_mono_ns, until_mono_ns);
}

static void s_pull_finish(bb_have_view_t *self, int64_t now_mono_ns, s_lane_t *lane)
{
    bool is_all_here = lane->pull.received_count >= lane->pull.expected_count;
    if (!is_all_here) {
        lane->pull.give_up_mono_ns =
            BB_MIN(lane->pull.give_up_mono_ns, now_mono_ns + BB_HAVE_PULL_STRAY_NS_MAX);
        return;
    }
    if (lane->pull.new_count == 0) {
        lane->pull.idle_until_mono_ns = now_mono_ns + BB_HAVE_PULL_IDLE_NS;
    }
    s_pull_end(self, lane);
}

// The lane with this pull outstanding; NULL: none.
static s_lane_t *s_lane_pulling(const bb_have_view_t *self, uint32_t node, uint64_t request_id)
{
    const s_peer_t *peer = &self->peers[node];
    for (uint32_t i = 0; i < peer->lane_count && request_id != 0; i++) {
        if (peer->lanes[i].pull.request_id == request_id) {
            return &peer->lanes[i];
        }
    }
    return NULL;
}

void bb_have_view_pulled(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                         uint64_t request_id, bool is_new)
{
    BB_ASSERT(self && node < self->node_count);
    s_lane_t *lane = s_lane_pulling(self, node, request_id);
    if (!lane) {
        return;
    }
    lane->pull.received_count++;
    lane->pull.new_count += is_new;
    if (lane->pull.is_done) {
        s_pull_finish(self, now_mono_ns, lane);
    }
}

void bb_have_view_pull_done(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                            uint64_t request_id, const bb_pull_done_t *done)
{
    BB_ASSERT(self && done && node < self->node_count);
    s_lane_t *lane = s_lane_pulling(self, node, request_id);
    if (!lane || lane->pull.is_done) {
        return;
    }
    for (uint32_t i = 0; i < done->unavailable_count; i++) {
        uint32_t partition = done->unavailable[i];
        if (bb_have_view_is_shared(self, partition, node)) {
            uint32_t slot = bb_topology_slot_of(self->options.topology, partition, node);
            s_entry_t *entry = s_entry(self, self->index_of[partition], slot);
            entry->is_unavailable = entry->is_lacking;
            entry->lack_mono_ns = now_mono_ns + S_UNAVAILABLE_NS; // other chunks may be there
        }
    }
    lane->pull.is_done = true;
    lane->pull.expected_count = done->chunk_count;
    s_pull_finish(self, now_mono_ns, lane);
}

bool bb_have_view_needs_sync(const bb_have_view_t *self, uint32_t partition)
{
    BB_ASSERT(bb_have_view_is_ours(self, partition));
    uint32_t index = self->index_of[partition];
    for (uint32_t slot = 0; slot < self->slot_count; slot++) {
        const s_entry_t *entry = s_entry(self, index, slot);
        if (entry->is_lacking && entry->is_unavailable &&
            !bb_have_set_includes(s_own(self, index), &entry->known)) {
            return true;
        }
    }
    return false;
}

bool bb_have_view_is_caught_up(bb_have_view_t *self)
{
    BB_ASSERT(self);
    for (uint32_t index = 0; index < self->partition_count && self->lacking_count > 0; index++) {
        for (uint32_t slot = 0; slot < self->slot_count; slot++) {
            s_entry_t *entry = s_entry(self, index, slot);
            if (entry->is_lacking && s_still_lacks(self, index, entry)) {
                return false;
            }
        }
    }
    return true;
}

int64_t bb_have_view_wake_mono_ns(const bb_have_view_t *self)
{
    BB_ASSERT(self);
    int64_t wake_mono_ns = BB_NEVER_NS;
    for (uint32_t node = 0; node < self->node_count; node++) {
        const s_peer_t *peer = &self->peers[node];
        for (uint32_t i = 0; i < peer->lane_count; i++) {
            const s_lane_t *lane = &peer->lanes[i];
            if (peer->is_up && node != self->self_index && lane->shared_count > 0 &&
                !s_is_in_step(self, peer, lane)) {
                int64_t due = lane->ask_next_mono_ns;
                if (lane->asked_id > lane->answered_id) {
                    due = BB_MAX(due, lane->asked_mono_ns + BB_HAVE_ANSWER_NS_MAX);
                }
                wake_mono_ns = BB_MIN(wake_mono_ns, due);
            }
            if (lane->pull.request_id != 0) {
                wake_mono_ns = BB_MIN(wake_mono_ns, lane->pull.give_up_mono_ns);
            }
        }
    }
    if (self->lacking_count > 0 && self->pull_count < BB_HAVE_PULLS_MAX) {
        wake_mono_ns = BB_MIN(wake_mono_ns, self->pull_wake_mono_ns);
    }
    return wake_mono_ns;
}
