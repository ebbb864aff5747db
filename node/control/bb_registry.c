// SPDX-License-Identifier: Apache-2.0
#include "node/control/bb_registry.h"

#include <stdlib.h>
#include <string.h>

// Answers that one peer can wait for; past them it asks again.
#define S_ANSWERS_MAX 4096u
#define S_NONE        UINT32_MAX
#define S_MASK_WORDS  (BB_NODES_MAX / 64)
#define S_BUCKET_BITS 8

typedef struct {
    uint64_t number; // 0: none
    uint32_t payload_length;
    uint8_t payload[BB_REGISTRY_PAYLOAD_BYTES_MAX];
} s_value_t;

typedef struct {
    uint64_t key_hash;
    uint8_t *key;
    uint32_t key_length;
    bb_registry_kind_t kind;
    uint32_t put;      // index of the open put, or S_NONE
    s_value_t durable; // what others may hear of
    s_value_t newest;  // at least as late
    bool is_queued;    // newest is later than durable
} s_record_t;

typedef struct {
    uint32_t record; // S_NONE: free
    s_value_t value;
    bb_registry_need_t need;
    uint64_t context;
    uint64_t held[S_MASK_WORDS];
    uint32_t held_count;
    bool is_told;          // its need is met; it goes on to all nodes
    int64_t *send_mono_ns; // per node: not before
} s_put_t;

typedef struct {
    bool is_up;
    bool is_digests_due;
    int64_t digests_mono_ns; // not before
    uint32_t *answers;       // records
    uint32_t answer_count, answer_capacity;
    uint64_t buckets[BB_REGISTRY_BUCKETS / 64]; // to be sent, whole
    bool has_buckets;
    uint32_t bucket_at; // records before this one are done
} s_peer_t;

struct bb_registry {
    uint32_t node_count, self_index;
    s_record_t *records;
    uint32_t record_count, record_capacity;
    uint32_t *slots; // open addressing, linear probing: record + 1, 0 = free; at most half full
    uint32_t slot_mask;
    uint64_t durable_count, version;
    uint64_t bucket_sums[BB_REGISTRY_BUCKETS];
    uint32_t *queue; // records to be written
    uint32_t queue_count, queue_capacity, handed_count;
    s_put_t puts[BB_REGISTRY_PUTS_MAX];
    uint32_t put_count;
    bb_registry_outcome_t *outcomes;
    uint32_t outcome_count, outcome_capacity, outcome_first;
    s_peer_t *peers;
    uint32_t turn; // peer to consider first
    bb_registry_entry_t sending[BB_REGISTRY_MESSAGE_MAX];
    uint64_t sending_buckets[BB_REGISTRY_BUCKETS];
};

bb_registry_t *bb_registry_new(uint32_t node_count, uint32_t self_index)
{
    BB_ASSERT(node_count >= 1 && node_count <= BB_NODES_MAX && self_index < node_count);
    bb_registry_t *self = bb_alloc_zero(1, sizeof *self);
    self->node_count = node_count;
    self->self_index = self_index;
    self->slot_mask = 63;
    self->slots = bb_alloc_zero(self->slot_mask + 1, sizeof *self->slots);
    self->peers = bb_alloc_zero(node_count, sizeof *self->peers);
    for (uint32_t i = 0; i < BB_REGISTRY_PUTS_MAX; i++) {
        self->puts[i].record = S_NONE;
    }
    return self;
}

void bb_registry_destroy(bb_registry_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_registry_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < self->record_count; i++) {
        free(self->records[i].key);
    }
    for (uint32_t i = 0; i < BB_REGISTRY_PUTS_MAX; i++) {
        free(self->puts[i].send_mono_ns);
    }
    for (uint32_t i = 0; i < self->node_count; i++) {
        free(self->peers[i].answers);
    }
    free(self->records);
    free(self->slots);
    free(self->queue);
    free(self->outcomes);
    free(self->peers);
    free(self);
}

// ---- records -------------------------------------------------------------------------------

static bb_registry_entry_t s_entry(const s_record_t *record, const s_value_t *value)
{
    return (bb_registry_entry_t){.kind = record->kind,
                                 .key = bb_slice(record->key, record->key_length),
                                 .number = value->number,
                                 .payload = bb_slice(value->payload, value->payload_length)};
}

static s_value_t s_value(const bb_registry_entry_t *entry)
{
    s_value_t value = {.number = entry->number, .payload_length = (uint32_t)entry->payload.length};
    if (value.payload_length > 0) {
        memcpy(value.payload, entry->payload.data, value.payload_length);
    }
    return value;
}

// < 0 when b is later; a value of number 0 is earlier than any other.
static int s_compare(const s_record_t *record, const s_value_t *a, const s_value_t *b)
{
    bb_registry_entry_t left = s_entry(record, a), right = s_entry(record, b);
    return bb_registry_entry_compare(&left, &right);
}

static void s_slot_put(bb_registry_t *self, uint32_t index)
{
    uint32_t at = (uint32_t)self->records[index].key_hash & self->slot_mask;
    while (self->slots[at] != 0) {
        at = (at + 1) & self->slot_mask;
    }
    self->slots[at] = index + 1;
}

static uint32_t s_find(const bb_registry_t *self, const bb_registry_entry_t *entry)
{
    uint64_t hash = bb_registry_entry_key_hash(entry);
    for (uint32_t at = (uint32_t)hash & self->slot_mask; self->slots[at] != 0;
         at = (at + 1) & self->slot_mask) {
        const s_record_t *record = &self->records[self->slots[at] - 1];
        bb_registry_entry_t found = s_entry(record, &record->durable);
        if (record->key_hash == hash && bb_registry_entry_is_same_key(&found, entry)) {
            return self->slots[at] - 1;
        }
    }
    return S_NONE;
}

static uint32_t s_find_or_add(bb_registry_t *self, const bb_registry_entry_t *entry)
{
    uint32_t index = s_find(self, entry);
    if (index != S_NONE) {
        return index;
    }
    if (self->record_count == self->record_capacity) {
        self->record_capacity = BB_MAX(2 * self->record_capacity, 32u);
        self->records = bb_realloc(self->records, self->record_capacity * sizeof *self->records);
    }
    index = self->record_count++;
    s_record_t *record = &self->records[index];
    *record = (s_record_t){.key_hash = bb_registry_entry_key_hash(entry),
                           .key = bb_alloc(entry->key.length),
                           .key_length = (uint32_t)entry->key.length,
                           .kind = entry->kind,
                           .put = S_NONE};
    memcpy(record->key, entry->key.data, entry->key.length);
    if (2 * (uint64_t)self->record_count > (uint64_t)self->slot_mask + 1) {
        self->slot_mask = 2 * self->slot_mask + 1;
        free(self->slots);
        self->slots = bb_alloc_zero((size_t)self->slot_mask + 1, sizeof *self->slots);
        for (uint32_t i = 0; i + 1 < self->record_count; i++) {
            s_slot_put(self, i);
        }
    }
    s_slot_put(self, index);
    return index;
}

static uint32_t s_bucket(const s_record_t *record)
{
    return (uint32_t)(record->key_hash >> (64 - S_BUCKET_BITS));
}

// The record's newest value is on disk from now on.
static void s_make_durable(bb_registry_t *self, s_record_t *record)
{
    if (record->durable.number > 0) {
        bb_registry_entry_t old = s_entry(record, &record->durable);
        self->bucket_sums[s_bucket(record)] -= bb_registry_entry_hash(&old);
    } else {
        self->durable_count++;
    }
    record->durable = record->newest;
    record->is_queued = false;
    bb_registry_entry_t now = s_entry(record, &record->durable);
    self->bucket_sums[s_bucket(record)] += bb_registry_entry_hash(&now);
    self->version++;
}

bb_error_t bb_registry_load(bb_registry_t *self, const bb_registry_entry_t *entry)
{
    BB_ASSERT(self && entry && self->put_count == 0 && self->queue_count == 0);
    if (!bb_registry_entry_is_valid(entry)) {
        return BB_ERR_CORRUPT;
    }
    uint32_t index = s_find_or_add(self, entry); // may move the records
    s_record_t *record = &self->records[index];
    s_value_t value = s_value(entry);
    if (s_compare(record, &record->newest, &value) < 0) {
        record->newest = value;
        s_make_durable(self, record);
    }
    return BB_OK;
}

// ---- values --------------------------------------------------------------------------------

static const s_record_t *s_look_up(const bb_registry_t *self, bb_registry_kind_t kind,
                                   bb_slice_t key)
{
    bb_registry_entry_t wanted = {.kind = kind, .key = key, .number = 1};
    if (!bb_registry_entry_is_valid(&wanted)) {
        return NULL;
    }
    uint32_t index = s_find(self, &wanted);
    return index == S_NONE ? NULL : &self->records[index];
}

bool bb_registry_get(const bb_registry_t *self, bb_registry_kind_t kind, bb_slice_t key,
                     bb_registry_entry_t *entry)
{
    BB_ASSERT(self && entry);
    const s_record_t *record = s_look_up(self, kind, key);
    if (!record || record->durable.number == 0) {
        return false;
    }
    *entry = s_entry(record, &record->durable);
    return true;
}

bool bb_registry_newest(const bb_registry_t *self, bb_registry_kind_t kind, bb_slice_t key,
                        bb_registry_entry_t *entry)
{
    BB_ASSERT(self && entry);
    const s_record_t *record = s_look_up(self, kind, key);
    if (!record) {
        return false;
    }
    *entry = s_entry(record, &record->newest);
    return true;
}

uint64_t bb_registry_count(const bb_registry_t *self)
{
    BB_ASSERT(self);
    return self->durable_count;
}

uint64_t bb_registry_version(const bb_registry_t *self)
{
    BB_ASSERT(self);
    return self->version;
}

uint64_t bb_registry_digest(const bb_registry_t *self)
{
    BB_ASSERT(self);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < BB_REGISTRY_BUCKETS; i++) {
        sum += self->bucket_sums[i];
    }
    return sum;
}

// ---- puts ----------------------------------------------------------------------------------

static void s_outcome_add(bb_registry_t *self, const s_put_t *put, bool is_superseded)
{
    if (self->outcome_count == self->outcome_capacity) {
        self->outcome_capacity = BB_MAX(2 * self->outcome_capacity, 16u);
        self->outcomes =
            bb_realloc(self->outcomes, self->outcome_capacity * sizeof *self->outcomes);
    }
    self->outcomes[self->outcome_count++] = (bb_registry_outcome_t){
        .context = put->context, .is_superseded = is_superseded, .node_count = put->held_count};
}

static void s_put_free(bb_registry_t *self, uint32_t put_index)
{
    s_put_t *put = &self->puts[put_index];
    if (self->records[put->record].put == put_index) {
        self->records[put->record].put = S_NONE;
    }
    free(put->send_mono_ns);
    *put = (s_put_t){.record = S_NONE};
    self->put_count--;
}

static void s_put_supersede(bb_registry_t *self, uint32_t put_index)
{
    if (!self->puts[put_index].is_told) {
        s_outcome_add(self, &self->puts[put_index], true);
    }
    s_put_free(self, put_index);
}

static void s_put_held(bb_registry_t *self, uint32_t put_index, uint32_t node)
{
    s_put_t *put = &self->puts[put_index];
    uint64_t bit = UINT64_C(1) << (node % 64);
    if (put->held[node / 64] & bit) {
        return;
    }
    put->held[node / 64] |= bit;
    put->held_count++;
    uint32_t needed =
        put->need == BB_REGISTRY_NEED_ALL ? self->node_count : self->node_count / 2 + 1;
    if (put->held_count >= needed && !put->is_told) {
        put->is_told = true;
        s_outcome_add(self, put, false);
    }
    if (put->held_count == self->node_count) {
        s_put_free(self, put_index);
    }
}

// Takes a value in if it is later than what is known. True: it was.
static bool s_merge(bb_registry_t *self, uint32_t index, const s_value_t *value)
{
    s_record_t *record = &self->records[index];
    if (s_compare(record, &record->newest, value) >= 0) {
        return false;
    }
    record->newest = *value;
    if (!record->is_queued) {
        record->is_queued = true;
        if (self->queue_count == self->queue_capacity) {
            self->queue_capacity = BB_MAX(2 * self->queue_capacity, 32u);
            self->queue = bb_realloc(self->queue, self->queue_capacity * sizeof *self->queue);
        }
        self->queue[self->queue_count++] = index;
    }
    if (record->put != S_NONE && s_compare(record, &self->puts[record->put].value, value) < 0) {
        s_put_supersede(self, record->put);
    }
    return true;
}

bb_error_t bb_registry_put(bb_registry_t *self, int64_t now_mono_ns,
                           const bb_registry_entry_t *entry, bb_registry_need_t need,
                           uint64_t context)
{
    BB_ASSERT(self && entry && self->handed_count == 0);
    BB_ASSERT(bb_registry_entry_is_valid(entry));
    if (self->put_count == BB_REGISTRY_PUTS_MAX) {
        return BB_ERR_BUSY;
    }
    if (self->record_count >= BB_REGISTRY_ENTRIES_MAX && s_find(self, entry) == S_NONE) {
        return BB_ERR_LIMIT;
    }
    uint32_t index = s_find_or_add(self, entry);
    s_value_t value = s_value(entry);
    bb_ignore(s_merge(self, index, &value), "an equal value may be put again");
    s_record_t *record = &self->records[index];
    bool is_superseded = s_compare(record, &value, &record->newest) < 0;
    if (record->put != S_NONE && !is_superseded) {
        s_put_supersede(self, record->put); // of the same value
    }
    uint32_t put_index = 0;
    while (self->puts[put_index].record != S_NONE) {
        put_index++;
    }
    s_put_t *put = &self->puts[put_index];
    *put = (s_put_t){.record = index,
                     .value = value,
                     .need = need,
                     .context = context,
                     .send_mono_ns = bb_alloc(self->node_count * sizeof(int64_t))};
    for (uint32_t i = 0; i < self->node_count; i++) {
        put->send_mono_ns[i] = now_mono_ns;
    }
    self->put_count++;
    if (is_superseded) {
        s_put_supersede(self, put_index);
        return BB_OK;
    }
    record->put = put_index;
    if (s_compare(record, &record->durable, &value) == 0) {
        s_put_held(self, put_index, self->self_index);
    }
    return BB_OK;
}

bool bb_registry_outcome_next(bb_registry_t *self, bb_registry_outcome_t *outcome)
{
    BB_ASSERT(self && outcome);
    if (self->outcome_first == self->outcome_count) {
        self->outcome_first = self->outcome_count = 0;
        return false;
    }
    *outcome = self->outcomes[self->outcome_first++];
    return true;
}

bool bb_registry_is_spreading(const bb_registry_t *self, bb_registry_kind_t kind, bb_slice_t key)
{
    BB_ASSERT(self);
    const s_record_t *record = s_look_up(self, kind, key);
    return record && record->put != S_NONE;
}

uint32_t bb_registry_holder_count(const bb_registry_t *self, bb_registry_kind_t kind,
                                  bb_slice_t key)
{
    BB_ASSERT(self);
    const s_record_t *record = s_look_up(self, kind, key);
    if (!record || record->durable.number == 0) {
        return 0;
    }
    return record->put == S_NONE ? self->node_count : self->puts[record->put].held_count;
}

uint32_t bb_registry_node_count(const bb_registry_t *self)
{
    BB_ASSERT(self);
    return self->node_count;
}

// ---- disk ----------------------------------------------------------------------------------

bool bb_registry_write_next(bb_registry_t *self, bb_registry_entry_t *entry)
{
    BB_ASSERT(self && entry);
    if (self->handed_count == self->queue_count) {
        return false;
    }
    const s_record_t *record = &self->records[self->queue[self->handed_count++]];
    *entry = s_entry(record, &record->newest);
    return true;
}

void bb_registry_written(bb_registry_t *self)
{
    BB_ASSERT(self && self->handed_count == self->queue_count);
    for (uint32_t i = 0; i < self->queue_count; i++) {
        s_record_t *record = &self->records[self->queue[i]];
        s_make_durable(self, record);
        if (record->put != S_NONE) {
            s_put_held(self, record->put, self->self_index);
        }
    }
    self->queue_count = self->handed_count = 0;
}

void bb_registry_unwritten(bb_registry_t *self)
{
    BB_ASSERT(self);
    self->handed_count = 0;
}

// ---- peers ---------------------------------------------------------------------------------

void bb_registry_peer(bb_registry_t *self, int64_t now_mono_ns, uint32_t node, bool is_up)
{
    BB_ASSERT(self && node < self->node_count && node != self->self_index);
    s_peer_t *peer = &self->peers[node];
    peer->is_up = is_up;
    peer->digests_mono_ns = now_mono_ns;
    peer->is_digests_due = false;
    peer->has_buckets = false;
    peer->answer_count = 0;
    for (uint32_t i = 0; i < BB_REGISTRY_PUTS_MAX; i++) {
        if (self->puts[i].record != S_NONE) {
            self->puts[i].send_mono_ns[node] = now_mono_ns;
        }
    }
}

void bb_registry_hear(bb_registry_t *self, int64_t now_mono_ns, uint32_t node, uint64_t digest)
{
    BB_ASSERT(self && node < self->node_count && node != self->self_index);
    s_peer_t *peer = &self->peers[node];
    if (digest != bb_registry_digest(self) && now_mono_ns >= peer->digests_mono_ns) {
        peer->is_digests_due = true;
        peer->digests_mono_ns = now_mono_ns + BB_REGISTRY_REPEAT_NS;
    }
}

static bool s_is_wanted(const s_peer_t *peer, const s_record_t *record)
{
    uint32_t bucket = s_bucket(record);
    return record->durable.number > 0 && (peer->buckets[bucket / 64] >> (bucket % 64) & 1);
}

static void s_buckets_begin(bb_registry_t *self, s_peer_t *peer, const uint64_t *theirs)
{
    bool was_sending = peer->has_buckets;
    for (uint32_t i = 0; i < BB_REGISTRY_BUCKETS; i++) {
        uint64_t bit = UINT64_C(1) << (i % 64);
        peer->buckets[i / 64] &= was_sending ? ~UINT64_C(0) : ~bit;
        if (theirs[i] != self->bucket_sums[i]) {
            peer->buckets[i / 64] |= bit;
            peer->has_buckets = true;
        }
    }
    peer->bucket_at = 0;
}

static uint32_t s_gather_answers(bb_registry_t *self, s_peer_t *peer, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < peer->answer_count; i++) {
        const s_record_t *record = &self->records[peer->answers[i]];
        if (record->is_queued || count == BB_REGISTRY_MESSAGE_MAX) {
            peer->answers[kept++] = peer->answers[i]; // when it is durable
        } else {
            self->sending[count++] = s_entry(record, &record->durable);
        }
    }
    peer->answer_count = kept;
    return count;
}

static uint32_t s_gather_buckets(bb_registry_t *self, s_peer_t *peer, uint32_t count)
{
    while (peer->has_buckets && count < BB_REGISTRY_MESSAGE_MAX) {
        if (peer->bucket_at == self->record_count) {
            peer->has_buckets = false;
            break;
        }
        const s_record_t *record = &self->records[peer->bucket_at++];
        if (s_is_wanted(peer, record)) {
            self->sending[count++] = s_entry(record, &record->durable);
        }
    }
    return count;
}

static uint32_t s_gather_puts(bb_registry_t *self, int64_t now_mono_ns, uint32_t node)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < BB_REGISTRY_PUTS_MAX && self->put_count > 0; i++) {
        s_put_t *put = &self->puts[i];
        if (put->record == S_NONE || (put->held[node / 64] >> (node % 64) & 1) ||
            now_mono_ns < put->send_mono_ns[node]) {
            continue;
        }
        const s_record_t *record = &self->records[put->record];
        // Nobody hears of it before it is durable here: its number could be given twice.
        if (s_compare(record, &record->durable, &put->value) == 0) {
            put->send_mono_ns[node] = now_mono_ns + BB_REGISTRY_REPEAT_NS;
            self->sending[count++] = s_entry(record, &record->durable);
        }
    }
    return count;
}

// What the peer is to be sent now; false: nothing.
static bool s_send(bb_registry_t *self, int64_t now_mono_ns, uint32_t node,
                   bb_registry_message_t *message)
{
    s_peer_t *peer = &self->peers[node];
    *message = (bb_registry_message_t){.entries = self->sending};
    message->entry_count = s_gather_puts(self, now_mono_ns, node);
    message->is_put = message->entry_count > 0;
    if (!message->is_put) {
        message->entry_count = s_gather_answers(self, peer, 0);
        message->entry_count = s_gather_buckets(self, peer, message->entry_count);
    }
    if (peer->is_digests_due) {
        peer->is_digests_due = false;
        memcpy(self->sending_buckets, self->bucket_sums, sizeof self->bucket_sums);
        message->bucket_count = BB_REGISTRY_BUCKETS;
        message->buckets = self->sending_buckets;
    }
    return message->entry_count > 0 || message->bucket_count > 0;
}

bool bb_registry_send_next(bb_registry_t *self, int64_t now_mono_ns, uint32_t *node,
                           bb_registry_message_t *message)
{
    BB_ASSERT(self && node && message && self->handed_count == 0);
    for (uint32_t i = 0; i < self->node_count; i++) {
        uint32_t candidate = (self->turn + i) % self->node_count;
        if (candidate != self->self_index && self->peers[candidate].is_up &&
            s_send(self, now_mono_ns, candidate, message)) {
            self->turn = candidate + 1;
            *node = candidate;
            return true;
        }
    }
    return false;
}

static bool s_is_sound(const bb_registry_message_t *message)
{
    if (message->entry_count > BB_REGISTRY_MESSAGE_MAX ||
        (message->bucket_count != 0 && message->bucket_count != BB_REGISTRY_BUCKETS)) {
        return false;
    }
    for (uint32_t i = 0; i < message->entry_count; i++) {
        if (!bb_registry_entry_is_valid(&message->entries[i])) {
            return false;
        }
    }
    return true;
}

static void s_answer_later(s_peer_t *peer, uint32_t index)
{
    if (peer->answer_count == S_ANSWERS_MAX) {
        return;
    }
    if (peer->answer_count == peer->answer_capacity) {
        peer->answer_capacity = BB_MAX(2 * peer->answer_capacity, 16u);
        peer->answers = bb_realloc(peer->answers, peer->answer_capacity * sizeof *peer->answers);
    }
    peer->answers[peer->answer_count++] = index;
}

bb_error_t bb_registry_receive(bb_registry_t *self, uint32_t node,
                               const bb_registry_message_t *message)
{
    BB_ASSERT(self && message && self->handed_count == 0);
    if (node >= self->node_count || node == self->self_index) {
        return BB_ERR_PEER_UNKNOWN;
    }
    if (!s_is_sound(message)) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    if (self->record_count > BB_REGISTRY_ENTRIES_MAX - message->entry_count) {
        return BB_ERR_LIMIT;
    }
    s_peer_t *peer = &self->peers[node];
    for (uint32_t i = 0; i < message->entry_count; i++) {
        uint32_t index = s_find_or_add(self, &message->entries[i]);
        s_value_t value = s_value(&message->entries[i]);
        bb_ignore(s_merge(self, index, &value), "what is known already changes nothing");
        s_record_t *record = &self->records[index];
        // What a peer tells is durable there.
        if (record->put != S_NONE &&
            s_compare(record, &self->puts[record->put].value, &value) == 0) {
            s_put_held(self, record->put, node);
        }
        if (message->is_put) {
            s_answer_later(peer, index);
        }
    }
    if (message->bucket_count > 0) {
        s_buckets_begin(self, peer, message->buckets);
    }
    return BB_OK;
}

int64_t bb_registry_wake_mono_ns(const bb_registry_t *self)
{
    BB_ASSERT(self);
    int64_t wake_mono_ns = BB_NEVER_NS;
    for (uint32_t i = 0; i < BB_REGISTRY_PUTS_MAX && self->put_count > 0; i++) {
        const s_put_t *put = &self->puts[i];
        bool is_durable = put->held[self->self_index / 64] >> (self->self_index % 64) & 1;
        bool is_open = put->record != S_NONE && is_durable;
        for (uint32_t node = 0; is_open && node < self->node_count; node++) {
            if (self->peers[node].is_up && !(put->held[node / 64] >> (node % 64) & 1)) {
                wake_mono_ns = BB_MIN(wake_mono_ns, put->send_mono_ns[node]);
            }
        }
    }
    return wake_mono_ns;
}
