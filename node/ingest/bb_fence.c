// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_fence.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_hedge.h"

typedef enum { S_REPORTS, S_DATA, S_READY, S_MISSING } s_state_t;

typedef struct {
    uint32_t partition;
    s_state_t state;
    bb_error_t error; // MISSING
    uint32_t target_count;
    size_t target_bytes;
    bb_have_set_t *targets; // DATA: what the majority had, as far as we lacked it
} s_part_t;

typedef struct s_read {
    struct s_read *next;
    uint64_t context;
    uint64_t request_id; // answers to this request or a later one count
    bb_topology_need_t need;
    bool is_local;              // replicas of other data centres are not needed
    bb_session_token_t session; // of these partitions
    int64_t deadline_mono_ns;
    uint32_t part_count, waiting_count;
    size_t bytes; // all that is held for it
    bool is_timeout;
    bool is_measured;   // until its answers are there
    bool is_hedged;     // it asks all, because few took long
    uint32_t few_count; // 0: it asks all
    uint16_t few[BB_FENCE_FEW_MAX];
    int64_t begun_mono_ns, hedge_mono_ns;
    s_part_t parts[];
} s_read_t;

struct bb_fence {
    const bb_topology_t *topology;
    bb_have_view_t *view;
    bb_have_own_fn own;
    void *own_context;
    uint32_t self_index, dc_index;
    s_read_t *waiting, **waiting_end; // in order of arrival
    s_read_t *ready, **ready_end;
    uint32_t waiting_count;
    uint64_t waiting_bytes;
    s_read_t *shown; // the one whose missing list the caller looks at
    bb_missing_t *missing;
    bool is_barred[BB_NODES_MAX], is_slow[BB_NODES_MAX];
    bb_hedge_t hedge; // of one kind
    uint32_t turn;
};

bb_fence_t *bb_fence_new(const bb_topology_t *topology, bb_have_view_t *view, bb_have_own_fn own,
                         void *own_context)
{
    BB_ASSERT(topology && view && own);
    bb_fence_t *self = bb_alloc_zero(1, sizeof *self);
    self->topology = topology;
    self->view = view;
    self->own = own;
    self->own_context = own_context;
    self->self_index = bb_topology_self_index(topology);
    self->dc_index = bb_topology_node(topology, self->self_index)->dc_index;
    self->waiting_end = &self->waiting;
    self->ready_end = &self->ready;
    self->missing = bb_alloc_zero(bb_topology_partition_count(topology), sizeof *self->missing);
    return self;
}

static void s_targets_drop(s_part_t *part)
{
    for (uint32_t i = 0; i < part->target_count; i++) {
        bb_have_set_clear(&part->targets[i]);
    }
    free(part->targets);
    part->targets = NULL;
    part->target_count = 0;
    part->target_bytes = 0;
}

static void s_reads_drop(s_read_t *read)
{
    while (read) {
        s_read_t *next = read->next;
        for (uint32_t i = 0; i < read->part_count; i++) {
            s_targets_drop(&read->parts[i]);
        }
        bb_session_token_clear(&read->session);
        free(read);
        read = next;
    }
}

void bb_fence_destroy(bb_fence_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_fence_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    s_reads_drop(self->waiting);
    s_reads_drop(self->ready);
    s_reads_drop(self->shown);
    free(self->missing);
    free(self);
}

static size_t s_have_bytes(const bb_have_set_t *set)
{
    size_t bytes = sizeof *set + set->stream_count * sizeof *set->streams;
    for (uint32_t i = 0; i < set->stream_count; i++) {
        bytes += set->streams[i].range_count * sizeof *set->streams[i].ranges;
    }
    return bytes;
}

static size_t s_token_bytes(const bb_session_token_t *token)
{
    size_t bytes = token->stream_count * sizeof *token->streams;
    for (uint32_t i = 0; i < token->stream_count; i++) {
        bytes += token->streams[i].range_count * sizeof *token->streams[i].ranges;
    }
    return bytes;
}

// ---- few ---------------------------------------------------------------------------------------

static bool s_is_few(const s_read_t *read, uint32_t node)
{
    for (uint32_t i = 0; i < read->few_count; i++) {
        if (read->few[i] == node) {
            return true;
        }
    }
    return false;
}

static bool s_awaits_reports(const s_read_t *read)
{
    for (uint32_t i = 0; i < read->part_count; i++) {
        if (read->parts[i].state == S_REPORTS) {
            return true;
        }
    }
    return false;
}

// How bad a choice the replica is, its slot breaking ties in turn; UINT32_MAX: none at all.
static uint32_t s_badness(const bb_fence_t *self, uint32_t partition, uint32_t slot, uint32_t node,
                          int64_t now_mono_ns)
{
    uint32_t slot_count = bb_topology_replica_count(self->topology);
    if (node == self->self_index || self->is_barred[node] ||
        bb_topology_node(self->topology, node)->dc_index != self->dc_index ||
        !bb_have_view_is_up(self->view, node)) {
        return UINT32_MAX;
    }
    int64_t owed_ns = bb_have_view_owes_ns(self->view, now_mono_ns, node, partition);
    bool is_silent = owed_ns > BB_MAX(bb_hedge_p95_ns(&self->hedge, 0), BB_HEDGE_WAIT_NS_MIN);
    return (2u * is_silent + self->is_slow[node]) * slot_count + (slot + self->turn) % slot_count;
}

// Whom to ask for the partition: those chosen already, and the best others until that is enough.
static bool s_few_add(const bb_fence_t *self, s_read_t *read, uint32_t partition)
{
    const uint16_t *replicas = bb_topology_replicas(self->topology, partition);
    uint32_t slot_count = bb_topology_replica_count(self->topology), mask = 0;
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        bool is_asked = replicas[slot] == self->self_index || s_is_few(read, replicas[slot]);
        mask |= (uint32_t)is_asked << slot;
    }
    while (!bb_topology_is_met(self->topology, &read->need, mask)) {
        uint32_t best = 0, badness = UINT32_MAX;
        for (uint32_t slot = 0; slot < slot_count; slot++) {
            if (mask >> slot & 1) {
                continue;
            }
            uint32_t bad = s_badness(self, partition, slot, replicas[slot], read->begun_mono_ns);
            best = bad < badness ? slot : best;
            badness = BB_MIN(bad, badness);
        }
        if (badness == UINT32_MAX || read->few_count == BB_FENCE_FEW_MAX) {
            return false;
        }
        mask |= 1u << best;
        read->few[read->few_count++] = replicas[best];
    }
    return true;
}

static void s_few_begin(bb_fence_t *self, s_read_t *read, const bb_fence_read_t *request)
{
    bool is_small = request->partition_count <= BB_FENCE_FEW_MAX &&
                    request->level == BB_LEVEL_LOCAL_QUORUM &&
                    bb_session_token_is_empty(&read->session);
    if (!request->asks_few || !is_small) {
        return;
    }
    read->is_measured = true;
    read->begun_mono_ns = request->begun_mono_ns;
    read->hedge_mono_ns = bb_hedge_begin(&self->hedge, 0, request->begun_mono_ns);
    bool is_known = read->hedge_mono_ns != BB_NEVER_NS;
    for (uint32_t i = 0; i < read->part_count && is_known; i++) {
        is_known = s_few_add(self, read, read->parts[i].partition);
    }
    read->few_count = is_known ? read->few_count : 0;
    self->turn++;
}

// The answers that it needs are there, or its time is over.
static void s_few_end(bb_fence_t *self, s_read_t *read, int64_t now_mono_ns)
{
    if (!read->is_measured || s_awaits_reports(read)) {
        return;
    }
    bool has_won = false;
    for (uint32_t i = 0; i < read->few_count && read->is_hedged; i++) {
        has_won |= bb_have_view_answered_id(self->view, read->few[i], read->parts[0].partition) <
                   read->request_id;
    }
    read->is_measured = false;
    bb_hedge_end(&self->hedge, 0, now_mono_ns - read->begun_mono_ns, has_won);
}

void bb_fence_hedge(bb_fence_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    bool is_queued = self->waiting_count > BB_FENCE_QUEUE_MAX;
    for (s_read_t *read = self->waiting; read; read = read->next) {
        if (read->few_count == 0 || read->is_hedged || now_mono_ns < read->hedge_mono_ns ||
            !s_awaits_reports(read)) {
            continue;
        }
        int64_t patience_mono_ns = read->begun_mono_ns + BB_FENCE_PATIENCE_NS;
        if (bb_hedge_take(&self->hedge, now_mono_ns, is_queued)) {
            read->is_hedged = true;
        } else if (now_mono_ns >= patience_mono_ns) {
            read->few_count = 0; // no hedge: a question that was not answered is asked again
        } else {
            read->hedge_mono_ns = patience_mono_ns;
        }
    }
}

void bb_fence_slow(bb_fence_t *self, uint32_t node, bool is_slow)
{
    BB_ASSERT(self && node < BB_NODES_MAX);
    self->is_slow[node] = is_slow;
}

bb_fence_hedges_t bb_fence_hedges(const bb_fence_t *self)
{
    BB_ASSERT(self);
    return (bb_fence_hedges_t){self->hedge.asked_count, self->hedge.hedge_count,
                               self->hedge.won_count};
}

bb_error_t bb_fence_begin(bb_fence_t *self, const bb_fence_read_t *request)
{
    BB_ASSERT(self && request && (request->partitions || request->partition_count == 0));
    BB_ASSERT(request->level != BB_LEVEL_ONE || request->session);
    uint32_t count = request->partition_count;
    s_read_t *read = NULL;
    size_t own_bytes = sizeof *read + count * sizeof read->parts[0];
    size_t bytes =
        own_bytes + request->held_bytes + (request->session ? s_token_bytes(request->session) : 0);
    if (self->waiting_count >= BB_FENCE_READS_MAX ||
        (self->waiting_count > 0 && self->waiting_bytes + bytes > BB_FENCE_BYTES_MAX)) {
        return BB_ERR_BUSY;
    }
    read = bb_alloc_zero(1, own_bytes);
    read->bytes = bytes;
    self->waiting_bytes += bytes;
    read->context = request->context;
    read->request_id = request->request_id;
    read->deadline_mono_ns = request->deadline_mono_ns;
    read->need = bb_topology_need(self->topology, request->level, self->dc_index);
    read->is_local = request->level <= BB_LEVEL_LOCAL_QUORUM;
    read->part_count = count;
    read->waiting_count = count;
    for (uint32_t i = 0; i < count; i++) {
        BB_ASSERT(bb_have_view_is_ours(self->view, request->partitions[i]));
        read->parts[i].partition = request->partitions[i];
        read->parts[i].state = request->level == BB_LEVEL_ONE ? S_DATA : S_REPORTS;
    }
    if (request->session) {
        bb_session_token_select(&read->session, request->session, request->partitions, count);
    }
    s_few_begin(self, read, request);
    *self->waiting_end = read;
    self->waiting_end = &read->next;
    self->waiting_count++;
    return BB_OK;
}

void bb_fence_peer(bb_fence_t *self, uint32_t node, bool is_barred)
{
    BB_ASSERT(self && node < BB_NODES_MAX);
    self->is_barred[node] = is_barred;
}

void bb_fence_forget(bb_fence_t *self, const bb_forgotten_t *forgotten)
{
    BB_ASSERT(self && forgotten);
    for (s_read_t *read = self->waiting; read; read = read->next) {
        for (uint32_t i = 0; i < read->part_count; i++) {
            for (uint32_t t = 0; t < read->parts[i].target_count; t++) {
                bb_forgotten_drop(forgotten, &read->parts[i].targets[t]);
            }
        }
        bb_session_token_drop(&read->session, bb_forgotten_is_in,
                              (bb_forgotten_t *)(uintptr_t)forgotten); // only looked at
    }
}

// Whom a read that asks all needs an answer from: replicas here, and in other data centres.
static void s_needs(const s_read_t *read, bool *is_near, bool *is_far)
{
    // What a session has seen may be anywhere.
    bool has_session = !bb_session_token_is_empty(&read->session);
    *is_near = *is_far = false;
    for (uint32_t i = 0; i < read->part_count && !*is_far; i++) {
        bool awaits_reports = read->parts[i].state == S_REPORTS;
        bool awaits_data = read->parts[i].state == S_DATA && has_session;
        *is_near |= awaits_reports || awaits_data;
        *is_far |= (awaits_reports && !read->is_local) || awaits_data;
    }
}

void bb_fence_wanted_ids(const bb_fence_t *self, uint64_t *request_ids)
{
    BB_ASSERT(self && request_ids);
    uint32_t node_count = bb_topology_node_count(self->topology);
    uint64_t near_id = 0, far_id = 0;
    memset(request_ids, 0, node_count * sizeof *request_ids);
    for (const s_read_t *read = self->waiting; read; read = read->next) {
        bool asks_all = read->few_count == 0 || read->is_hedged, is_near = false, is_far = false;
        if (asks_all) {
            s_needs(read, &is_near, &is_far);
        }
        near_id = is_near ? BB_MAX(near_id, read->request_id) : near_id;
        far_id = is_far ? BB_MAX(far_id, read->request_id) : far_id;
        bool asks_few = read->few_count > 0 && s_awaits_reports(read);
        for (uint32_t i = 0; i < read->few_count && asks_few; i++) {
            uint64_t *id = &request_ids[read->few[i]];
            *id = BB_MAX(*id, read->request_id);
        }
    }
    for (uint32_t node = 0; node < node_count; node++) {
        bool is_here = bb_topology_node(self->topology, node)->dc_index == self->dc_index;
        request_ids[node] = BB_MAX(request_ids[node], is_here ? near_id : far_id);
    }
}

static void s_resolve(bb_fence_t *self, s_read_t *read, s_part_t *part, bb_error_t error)
{
    BB_ASSERT(part->state == S_REPORTS || part->state == S_DATA);
    part->state = error == BB_OK ? S_READY : S_MISSING;
    part->error = error;
    BB_ASSERT(read->bytes >= part->target_bytes && self->waiting_bytes >= part->target_bytes);
    read->bytes -= part->target_bytes;
    self->waiting_bytes -= part->target_bytes;
    s_targets_drop(part);
    read->waiting_count--;
}

// The slots whose replicas have answered, and those of them and of nodes that are up.
static void s_masks(const bb_fence_t *self, const s_read_t *read, uint32_t partition,
                    uint32_t *answered_mask, uint32_t *possible_mask)
{
    const uint16_t *replicas = bb_topology_replicas(self->topology, partition);
    uint32_t count = bb_topology_replica_count(self->topology);
    *answered_mask = *possible_mask = 0;
    for (uint32_t slot = 0; slot < count; slot++) {
        uint32_t node = replicas[slot];
        bool is_answered =
            node == self->self_index ||
            bb_have_view_answered_id(self->view, node, partition) >= read->request_id;
        *answered_mask |= (uint32_t)is_answered << slot;
        bool is_possible = bb_have_view_is_up(self->view, node) && !self->is_barred[node];
        *possible_mask |= (uint32_t)(is_answered || is_possible) << slot;
    }
}

// Enough have answered: keeps what they have and we lack.
static void s_targets_take(bb_fence_t *self, s_read_t *read, s_part_t *part, uint32_t answered_mask)
{
    uint32_t first = bb_topology_dc_slot_first(self->topology, self->dc_index);
    uint32_t count = bb_topology_dc_replica_count(self->topology, self->dc_index);
    uint32_t local_mask = ((1u << count) - 1) << first;
    uint32_t slot_count = bb_topology_replica_count(self->topology);
    const bb_have_set_t *own = self->own(self->own_context, part->partition);
    part->state = S_DATA;
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        // What another data centre had need not be here for a local level.
        if (!(answered_mask >> slot & 1) || (read->is_local && !(local_mask >> slot & 1))) {
            continue;
        }
        if (bb_topology_replicas(self->topology, part->partition)[slot] == self->self_index) {
            continue;
        }
        const bb_have_set_t *known = bb_have_view_known(self->view, part->partition, slot);
        if (!bb_have_set_includes(own, known)) {
            if (!part->targets) {
                part->targets = bb_alloc_zero(slot_count, sizeof *part->targets);
            }
            bb_have_set_copy(&part->targets[part->target_count++], known);
            part->target_bytes += s_have_bytes(known);
        }
    }
    read->bytes += part->target_bytes;
    self->waiting_bytes += part->target_bytes;
}

static void s_part_step(bb_fence_t *self, s_read_t *read, s_part_t *part)
{
    if (part->state == S_REPORTS) {
        uint32_t answered_mask, possible_mask;
        s_masks(self, read, part->partition, &answered_mask, &possible_mask);
        if (!bb_topology_is_met(self->topology, &read->need, possible_mask)) {
            s_resolve(self, read, part, BB_ERR_UNAVAILABLE);
        } else if (bb_topology_is_met(self->topology, &read->need, answered_mask)) {
            s_targets_take(self, read, part, answered_mask);
        }
    }
    if (part->state == S_DATA) {
        const bb_have_set_t *own = self->own(self->own_context, part->partition);
        bool is_here = bb_session_token_is_held(&read->session, part->partition, own);
        for (uint32_t i = 0; i < part->target_count && is_here; i++) {
            is_here = bb_have_set_includes(own, &part->targets[i]);
        }
        if (is_here) {
            s_resolve(self, read, part, BB_OK);
        } else if (bb_have_view_needs_sync(self->view, part->partition)) {
            s_resolve(self, read, part, BB_ERR_BEHIND);
        } else {
            bb_have_view_hurry(self->view, part->partition);
        }
    }
}

static void s_read_step(bb_fence_t *self, s_read_t *read, bool is_late)
{
    for (uint32_t i = 0; i < read->part_count && read->waiting_count > 0; i++) {
        s_part_t *part = &read->parts[i];
        if (part->state == S_REPORTS || part->state == S_DATA) {
            s_part_step(self, read, part);
        }
        if (is_late && part->state == S_REPORTS) {
            s_resolve(self, read, part, BB_ERR_TIMEOUT);
        } else if (is_late && part->state == S_DATA) {
            s_resolve(self, read, part, BB_ERR_BEHIND);
        }
    }
    read->is_timeout = is_late;
}

void bb_fence_step(bb_fence_t *self, int64_t now_mono_ns, bool is_changed)
{
    BB_ASSERT(self);
    s_read_t **link = &self->waiting;
    while (*link) {
        s_read_t *read = *link;
        bool is_late = now_mono_ns >= read->deadline_mono_ns;
        if (is_changed || is_late) {
            s_read_step(self, read, is_late);
            s_few_end(self, read, now_mono_ns);
        }
        if (read->waiting_count > 0) {
            link = &read->next;
            continue;
        }
        *link = read->next;
        if (!read->next) {
            self->waiting_end = link;
        }
        read->next = NULL;
        *self->ready_end = read;
        self->ready_end = &read->next;
        self->waiting_count--;
        BB_ASSERT(self->waiting_bytes >= read->bytes);
        self->waiting_bytes -= read->bytes;
    }
}

bool bb_fence_next(bb_fence_t *self, bb_fence_ready_t *ready)
{
    BB_ASSERT(self && ready);
    s_reads_drop(self->shown);
    self->shown = self->ready;
    if (!self->shown) {
        return false;
    }
    self->ready = self->shown->next;
    if (!self->ready) {
        self->ready_end = &self->ready;
    }
    self->shown->next = NULL;
    *ready = (bb_fence_ready_t){.context = self->shown->context,
                                .missing = self->missing,
                                .is_timeout = self->shown->is_timeout};
    for (uint32_t i = 0; i < self->shown->part_count; i++) {
        const s_part_t *part = &self->shown->parts[i];
        if (part->state == S_MISSING) {
            self->missing[ready->missing_count++] =
                (bb_missing_t){.partition = part->partition, .error = part->error};
        }
    }
    return true;
}

uint32_t bb_fence_waiting_count(const bb_fence_t *self)
{
    BB_ASSERT(self);
    return self->waiting_count;
}

uint64_t bb_fence_waiting_bytes(const bb_fence_t *self)
{
    BB_ASSERT(self);
    return self->waiting_bytes;
}

int64_t bb_fence_wake_mono_ns(const bb_fence_t *self)
{
    BB_ASSERT(self);
    int64_t wake_mono_ns = BB_NEVER_NS;
    for (const s_read_t *read = self->waiting; read; read = read->next) {
        wake_mono_ns = BB_MIN(wake_mono_ns, read->deadline_mono_ns);
        if (read->few_count > 0 && !read->is_hedged && s_awaits_reports(read)) {
            wake_mono_ns = BB_MIN(wake_mono_ns, read->hedge_mono_ns);
        }
    }
    return wake_mono_ns;
}
