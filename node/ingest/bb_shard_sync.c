// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_shard_sync.h"

#include <stdlib.h>
#include <string.h>

#include "node/background/bb_segment_sync.h"
#include "node/ingest/bb_shard_internal.h"
#include "storage/bb_store_sync.h"

#define S_WAITING_MAX  64u                  // questions of peers; more are dropped, and asked again
#define S_LOOK_NS      (250 * BB_NS_PER_MS) // between two looks for what is wanted
#define S_LACK_NS      (1 * BB_NS_PER_S)    // a journal may be asked elsewhere for so long
#define S_ADOPT_NS     (300 * BB_NS_PER_MS) // sets that are adopted gather for one flush
#define S_BYTES_PER_S  (64u << 20)          // of what is fetched
#define S_ANSWER_BYTES (1u << 20)           // of a page, before it is packed
#define S_READ_POINTS  (256u << 10)         // of one ask of a job
#define S_FETCHES_MAX  4u                   // of one job
#define S_SMALL_BYTES  (64u << 10)          // a question that is larger goes with the bulk
#define S_DAMAGES_MAX  BB_SEGMENT_SYNC_REPAIRS_MAX

// A question of a peer, or a window of our own whose leaves are wanted.
typedef struct {
    bool is_own;
    bool is_out; // in the job
    uint32_t node;
    uint64_t request_id, trace_id;
    bb_sync_topic_t topic;
    uint8_t buckets[BB_SYNC_BUCKETS_BYTES];
    bb_sync_leaf_t *leaves; // FETCH: what they have. Otherwise what was found so far
    uint32_t leaf_count;
    char battery[BB_BATTERY_ID_BYTES_MAX];
    uint32_t battery_bytes;
    int64_t from_wall_ns;
} s_item_t;

struct bb_shard_sync {
    bb_segment_sync_t *core;
    s_item_t items[S_WAITING_MAX + BB_SEGMENT_SYNC_SESSIONS_MAX]; // in order of arrival
    uint32_t item_count;
    int64_t look_mono_ns;
    int64_t *lack_mono_ns; // per partition: since when; BB_NEVER_NS: does not
    int64_t adopt_mono_ns; // the flush is due; BB_NEVER_NS: none is wanted
    bool is_rebuild_begun;
    uint64_t gaps; // in results of rollups, that are being filled; 0: none
    bb_sync_damage_t damages[S_DAMAGES_MAX];
    uint32_t damage_count; // being repaired
    uint64_t lost_count;
    uint64_t repaired;
};

// ---- what the core looks at ------------------------------------------------------------------
static const bb_have_set_t *s_known(void *context, uint32_t partition, uint32_t node)
{
    const bb_shard_t *shard = context;
    return bb_have_view_known(shard->view, partition,
                              bb_topology_slot_of(shard->topology, partition, node));
}

static bool s_is_up(void *context, uint32_t node)
{
    const bb_shard_t *shard = context;
    return bb_have_view_is_up(shard->view, node);
}

static const bb_stream_t *s_incarnation(void *context, uint32_t node)
{
    const bb_shard_t *shard = context;
    return bb_have_view_incarnation(shard->view, node);
}

static uint64_t s_question_next(void *context)
{
    bb_shard_t *shard = context;
    return bb_have_view_want(shard->view);
}

static bool s_has_answered(void *context, uint32_t partition, uint32_t node, uint64_t question)
{
    const bb_shard_t *shard = context;
    return bb_have_view_answered_id(shard->view, node, partition) >= question;
}

static uint32_t s_results_day(void *context, uint32_t *day_max)
{
    const bb_shard_t *shard = context;
    return bb_store_results_day(shard->store, day_max);
}

bb_shard_sync_t *bb_shard_sync_new(bb_shard_t *shard)
{
    bb_shard_sync_t *self = bb_alloc_zero(1, sizeof *self);
    bb_segment_sync_options_t options = {
        .topology = shard->topology,
        .view = {shard, bb_shard_own_have, s_known, s_is_up, s_incarnation, s_question_next,
                 s_has_answered, s_results_day},
        .request_id_first = bb_have_view_request_id_next(shard->view),
        .bytes_per_s = S_BYTES_PER_S,
#ifdef BB_PLANTED
        .is_adopting_late = shard->options.planted == BB_PLANTED_ADOPT_LATE,
        .is_source_any = shard->options.planted == BB_PLANTED_STALE_SOURCE,
        .is_without_results = shard->options.planted == BB_PLANTED_ROLLUPS_LEFT_OUT,
#endif
    };
    self->core = bb_segment_sync_new(&options);
    self->adopt_mono_ns = BB_NEVER_NS;
    self->lack_mono_ns = bb_alloc(shard->partition_count * sizeof *self->lack_mono_ns);
    for (uint32_t p = 0; p < shard->partition_count; p++) {
        self->lack_mono_ns[p] = BB_NEVER_NS;
    }
    return self;
}

void bb_shard_sync_destroy(bb_shard_sync_t **self_pointer)
{
    bb_shard_sync_t *self = *self_pointer;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < self->item_count; i++) {
        free(self->items[i].leaves);
    }
    bb_segment_sync_destroy(&self->core);
    free(self->lack_mono_ns);
    free(self);
    *self_pointer = NULL;
}

// ---- what is wanted --------------------------------------------------------------------------
static void s_look_for_lacks(bb_shard_t *shard)
{
    bb_shard_sync_t *self = shard->sync;
    uint32_t count = 0;
    const uint32_t *partitions = bb_have_view_partitions(shard->view, &count);
    for (uint32_t i = 0; i < count; i++) {
        int64_t *since_mono_ns = &self->lack_mono_ns[partitions[i]];
        if (!bb_have_view_needs_sync(shard->view, partitions[i])) {
            *since_mono_ns = BB_NEVER_NS;
        } else if (*since_mono_ns == BB_NEVER_NS) {
            *since_mono_ns = shard->time.mono_ns;
        } else if (shard->time.mono_ns - *since_mono_ns >= S_LACK_NS) {
            bb_segment_sync_want(self->core, partitions[i], BB_SEGMENT_SYNC_CATCH_UP);
        }
    }
}

static void s_look_at_standing(bb_shard_t *shard)
{
    bb_shard_sync_t *self = shard->sync;
    if (shard->standing != BB_STANDING_REBUILDING) {
        self->is_rebuild_begun = false;
        return;
    }
    if (self->is_rebuild_begun) {
        return;
    }
    self->is_rebuild_begun = true;
    uint32_t count = 0;
    const uint32_t *partitions = bb_have_view_partitions(shard->view, &count);
    for (uint32_t i = 0; i < count; i++) {
        bb_segment_sync_want(self->core, partitions[i], BB_SEGMENT_SYNC_REBUILD);
    }
}

static void s_look_for_damage(bb_shard_t *shard)
{
    bb_shard_sync_t *self = shard->sync;
    if (self->damage_count > 0 || bb_store_is_fenced(shard->store)) {
        return;
    }
    self->damage_count = bb_store_sync_damages(shard->store, self->damages, S_DAMAGES_MAX);
    if (self->damage_count == 0) {
        return;
    }
    bb_store_sync_leave_out(shard->store, self->damages, self->damage_count);
    bb_sync_window_t windows[S_DAMAGES_MAX];
    uint32_t window_count = 0;
    for (uint32_t i = 0; i < self->damage_count; i++) {
        bool is_new = true;
        for (uint32_t w = 0; w < window_count && is_new; w++) {
            is_new = bb_sync_window_compare(windows[w], self->damages[i].window) != 0;
        }
        if (is_new) {
            windows[window_count++] = self->damages[i].window;
        }
    }
    uint32_t count = 0;
    const uint32_t *partitions = bb_have_view_partitions(shard->view, &count);
    bb_segment_sync_repair(self->core, windows, window_count, partitions, count);
}

// Results that did not verify are gone: all that others have are compared, because nobody knows
// which they were.
static void s_look_for_gaps(bb_shard_t *shard)
{
    bb_shard_sync_t *self = shard->sync;
    uint64_t gaps = bb_store_result_gaps(shard->store);
    // Nobody else has them when there are no other replicas: days without points stay incomplete.
    bool is_alone = bb_topology_replica_count(shard->topology) == 1;
    if (gaps == 0 || is_alone || bb_store_is_fenced(shard->store)) {
        return;
    }
    uint32_t left = bb_segment_sync_left(self->core, BB_SEGMENT_SYNC_RESULTS);
    if (self->gaps == gaps && left == 0 && !shard->is_job_out) {
        bb_error_t error = bb_store_result_gaps_filled(shard->store);
        self->repaired += error == BB_OK;
        bb_ignore(error, "what stays written down is compared again");
        self->gaps = 0;
    } else if (self->gaps != gaps && left == 0) { // more may have gone meanwhile: all over again
        self->gaps = gaps;
        uint32_t count = 0;
        const uint32_t *partitions = bb_have_view_partitions(shard->view, &count);
        for (uint32_t i = 0; i < count; i++) {
            bb_segment_sync_want(self->core, partitions[i], BB_SEGMENT_SYNC_RESULTS);
        }
    }
}

// All that was in the damaged segments lies in others now.
static void s_drop_damage(bb_shard_t *shard)
{
    bb_shard_sync_t *self = shard->sync;
    if (self->damage_count == 0 || shard->is_job_out ||
        bb_segment_sync_left(self->core, BB_SEGMENT_SYNC_REPAIR) > 0) {
        return;
    }
    for (uint32_t i = 0; i < self->damage_count; i++) {
        bb_error_t error = bb_store_sync_drop(shard->store, &self->damages[i]);
        self->repaired += error == BB_OK;
        bb_ignore(error, "what stays on the list is repaired again");
    }
    self->damage_count = 0;
    bb_store_sync_leave_out(shard->store, NULL, 0);
    shard->scrub_wake_mono_ns = shard->time.mono_ns;
}

// ---- target ----------------------------------------------------------------------------------
static s_item_t *s_item_add(bb_shard_sync_t *self)
{
    BB_ASSERT(self->item_count < BB_COUNT_OF(self->items));
    s_item_t *item = &self->items[self->item_count++];
    *item = (s_item_t){0};
    return item;
}

static void s_ask(bb_shard_t *shard, const bb_segment_sync_action_t *action)
{
    bb_message_t message = {.kind = BB_KIND_SYNC_ASK,
                            .epoch = shard->epoch,
                            .request_id = action->request_id,
                            .sync_ask = action->question};
    bool is_bulk = action->question.leaf_count * sizeof(bb_sync_leaf_t) > S_SMALL_BYTES;
    bb_shard_send(shard, action->node, is_bulk, &message, NULL, NULL);
}

static void s_act(bb_shard_t *shard, const bb_segment_sync_action_t *action)
{
    bb_shard_sync_t *self = shard->sync;
    switch (action->kind) {
    case BB_SEGMENT_SYNC_DO_ASK:
        s_ask(shard, action);
        break;
    case BB_SEGMENT_SYNC_DO_READ: {
        if (self->item_count == BB_COUNT_OF(self->items)) { // sessions that began again left some
            bb_segment_sync_read(self->core, shard->time.mono_ns, action->partition, action->window,
                                 BB_ERR_BUSY, NULL, 0);
            break;
        }
        s_item_t *item = s_item_add(self);
        item->is_own = true;
        item->topic = (bb_sync_topic_t){BB_SYNC_STEP_BUCKETS, action->partition, action->window};
        memset(item->buckets, 0xff, sizeof item->buckets);
        break;
    }
    case BB_SEGMENT_SYNC_DO_ADOPT:
        bb_store_adopt(shard->store, action->partition, action->dots);
        if (self->adopt_mono_ns == BB_NEVER_NS) {
            self->adopt_mono_ns = shard->time.mono_ns + S_ADOPT_NS;
        }
        break;
    }
}

void bb_shard_sync_step(bb_shard_t *shard)
{
    bb_shard_sync_t *self = shard->sync;
    if (shard->time.mono_ns >= self->look_mono_ns) {
        self->look_mono_ns = shard->time.mono_ns + S_LOOK_NS;
        s_look_for_lacks(shard);
        s_look_at_standing(shard);
        s_look_for_damage(shard);
        s_drop_damage(shard);
        s_look_for_gaps(shard);
    }
    if (shard->staged_count == 0) {
        bb_segment_sync_synced(self->core); // also what needed no commit: attributes
    }
    // What comes needs room; before a flush has ended there is none.
    if (bb_store_is_fenced(shard->store) || bb_store_is_full(shard->store)) {
        return;
    }
    // Writers go first; an ADOPT waits too, that changes nothing.
    if (bb_pace_repair(&shard->pace, BB_PACE_TAKEN, shard->time.mono_ns) == 0) {
        return;
    }
    bb_segment_sync_action_t action;
    while (bb_segment_sync_next(self->core, shard->time.mono_ns, &action)) {
        s_act(shard, &action);
    }
}

int64_t bb_shard_sync_wake_mono_ns(const bb_shard_t *shard)
{
    const bb_shard_sync_t *self = shard->sync;
    if (bb_store_is_fenced(shard->store)) {
        return BB_NEVER_NS;
    }
    int64_t wake_mono_ns = bb_segment_sync_wake_mono_ns(self->core);
    wake_mono_ns = BB_MAX(wake_mono_ns,
                          bb_pace_repair_mono_ns(&shard->pace, BB_PACE_TAKEN, shard->time.mono_ns));
    if (bb_store_is_full(shard->store)) {
        wake_mono_ns = BB_NEVER_NS;
    }
    wake_mono_ns = BB_MIN(wake_mono_ns, BB_MAX(self->look_mono_ns, shard->time.mono_ns));
    if (!shard->is_job_out && self->adopt_mono_ns != BB_NEVER_NS) {
        wake_mono_ns = BB_MIN(wake_mono_ns, BB_MAX(self->adopt_mono_ns, shard->job_retry_mono_ns));
    }
    if (!shard->is_job_out && self->item_count > 0) {
        wake_mono_ns = BB_MIN(wake_mono_ns, BB_MAX(shard->time.mono_ns, shard->job_retry_mono_ns));
    }
    return wake_mono_ns;
}

// A batch of a source as a staged record without dots. The bytes are copied: they may lie anywhere.
static bb_error_t s_open(const bb_shard_t *shard, const bb_sync_topic_t *topic, bb_slice_t bytes,
                         bb_staged_t *staged)
{
    uint8_t *copy = bb_alloc(bytes.length + 1);
    memcpy(copy, bytes.data, bytes.length);
    *staged = (bb_staged_t){.batch_buffer = bb_buffer_new(copy, bytes.length, NULL, NULL)};
    bb_batch_t *batch = &staged->batch;
    bb_error_t error = bb_batch_open(batch, bb_slice(copy, bytes.length), NULL);
    if (error != BB_OK) {
        bb_buffer_drop(&staged->batch_buffer);
        return BB_ERR_MESSAGE_CORRUPT;
    }
    bool is_valid = batch->part_count == 1 && batch->parts[0].partition == topic->partition &&
                    bb_shard_is_placed(shard, batch);
    // Deletes belong to no day, and travel with attributes; points do not.
    bool has_markers = batch->generation != 0;
    is_valid &= has_markers == (topic->window.kind == BB_SYNC_ATTRIBUTES);
    for (uint32_t i = 0; i < batch->frame_count && is_valid && !has_markers; i++) {
        is_valid = batch->times_wall_ns[i] / BB_NS_PER_DAY == topic->window.day;
    }
    if (!is_valid) {
        bb_batch_close(batch);
        bb_buffer_drop(&staged->batch_buffer);
        return BB_ERR_MESSAGE_CORRUPT;
    }
    uint32_t *frames = bb_alloc((batch->frame_count + 1) * sizeof *frames);
    for (uint32_t i = 0; i < batch->frame_count; i++) {
        frames[i] = i;
    }
    uint64_t seq = 1; // means nothing without a stream
    bool is_quarantine = topic->window.kind == BB_SYNC_QUARANTINE;
    bb_chunks_t chunks = {.epoch = shard->epoch,
                          .part_count = 1,
                          .seqs = &seq,
                          .quarantined_count = is_quarantine ? batch->frame_count : 0,
                          .quarantined = frames};
    uint8_t *data = NULL;
    size_t length = 0;
    bb_chunks_encode(&chunks, &data, &length);
    free(frames);
    staged->chunks_buffer = bb_buffer_new(data, length, NULL, NULL);
    error = bb_chunks_decode(&staged->chunks, bb_slice(data, length), NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
    return BB_OK;
}

static void s_drop(bb_staged_t *staged)
{
    bb_batch_close(&staged->batch);
    bb_buffer_drop(&staged->chunks_buffer);
    bb_buffer_drop(&staged->batch_buffer);
}

// Stages all batches. *is_taken: nothing of them was lost for lack of room.
static bb_error_t s_take_batches(bb_shard_t *shard, const bb_sync_answer_t *answer, bool *is_taken)
{
    uint64_t lost_count = shard->sync->lost_count;
    *is_taken = true;
    for (uint32_t i = 0; i < answer->batch_count && *is_taken; i++) {
        bb_staged_t staged;
        bb_error_t error = s_open(shard, &answer->topic, answer->batches[i], &staged);
        if (error != BB_OK) {
            return error;
        }
        *is_taken = !bb_store_is_full(shard->store) &&
                    bb_store_has_room(shard->store, answer->batches[i].length) &&
                    (answer->topic.window.kind != BB_SYNC_NORMAL ||
                     bb_shard_watch_adopt(shard, &staged.batch)) &&
                    bb_shard_stage(shard, &staged) == BB_OK;
        if (!*is_taken) {
            s_drop(&staged);
        }
    }
    *is_taken &= lost_count == shard->sync->lost_count; // a commit on the way may have failed
    return BB_OK;
}

// *is_taken as above; what was taken of it before is asked for again.
static bb_error_t s_take_pairs(bb_shard_t *shard, const bb_sync_answer_t *answer, bool *is_taken)
{
    bool is_of_results = answer->topic.window.kind == BB_SYNC_RESULTS;
    for (uint32_t i = 0; i < answer->pair_count && *is_taken; i++) {
        const bb_sync_pair_t *pair = &answer->pairs[i];
        uint32_t partition =
            bb_topology_partition_of(shard->topology, pair->id.data, pair->id.length);
        bb_error_t error = BB_ERR_MESSAGE_CORRUPT;
        if (partition == answer->topic.partition && is_of_results) {
            error = bb_store_sync_results(shard->store, partition, answer->topic.window, pair->id,
                                          pair->packed);
            *is_taken = error != BB_ERR_BUSY;
        } else if (partition == answer->topic.partition) {
            error = bb_store_sync_attributes(shard->store, partition, pair->id, pair->packed);
        }
        if (error != BB_OK && *is_taken) {
            return error;
        }
    }
    // They are written by a flush: when many wait, by one of their own.
    if (is_of_results && bb_store_results_wait(shard->store)) {
        shard->sync->adopt_mono_ns = BB_MIN(shard->sync->adopt_mono_ns, shard->time.mono_ns);
    }
    return BB_OK;
}

bb_error_t bb_shard_sync_on_answer(bb_shard_t *shard, uint32_t node, const bb_message_t *message)
{
    bb_shard_sync_t *self = shard->sync;
    const bb_sync_answer_t *answer = &message->sync_answer;
    bb_error_t error = bb_segment_sync_check(self->core, node, message->request_id, answer);
    if (error != BB_OK) {
        return error == BB_ERR_PEER_UNKNOWN ? BB_OK : error; // late ones are nobody's fault
    }
    bb_shard_repaired(shard, BB_PACE_TAKEN, bb_sync_answer_bytes(answer));
    bool is_taken = true;
    if (answer->error == BB_OK) {
        error = s_take_batches(shard, answer, &is_taken);
    }
    if (error == BB_OK && answer->error == BB_OK) {
        error = s_take_pairs(shard, answer, &is_taken);
    }
    bb_sync_answer_t judged = *answer;
    judged.error = error == BB_OK ? answer->error : BB_ERR_CORRUPT; // another source is taken then
    bb_segment_sync_answered(self->core, shard->time.mono_ns, message->request_id, &judged,
                             is_taken);
    shard->is_changed = true;
    return error;
}

// ---- source ----------------------------------------------------------------------------------
static void s_send_answer(bb_shard_t *shard, const s_item_t *item, bb_sync_answer_t *answer)
{
    answer->topic = item->topic;
    answer->incarnation = shard->options.stream;
    bb_message_t message = {.kind = BB_KIND_SYNC_ANSWER,
                            .epoch = shard->epoch,
                            .request_id = item->request_id,
                            .trace_id = item->trace_id,
                            .sync_answer = *answer};
    bb_shard_send(shard, item->node, true, &message, NULL, NULL);
}

static void s_answer_windows(bb_shard_t *shard, const s_item_t *item)
{
    bb_sync_window_t *windows = NULL;
    bb_sync_answer_t answer = {0};
    if (item->topic.window.kind != BB_SYNC_RESULTS) {
        answer.window_count = bb_store_sync_windows(shard->store, item->topic.partition, &windows);
    }
    answer.windows = windows;
    s_send_answer(shard, item, &answer);
    free(windows);
}

// Only results of rollups have to be looked for.
static bool s_is_known_at_once(const bb_shard_t *shard, const bb_sync_question_t *question)
{
    uint32_t day_max = 0;
    return question->topic.window.kind != BB_SYNC_RESULTS ||
           (bb_store_results_day(shard->store, &day_max) == 0 && question->topic.window.day == 0) ||
           day_max == 0;
}

bb_error_t bb_shard_sync_on_question(bb_shard_t *shard, uint32_t node, const bb_message_t *message)
{
    bb_shard_sync_t *self = shard->sync;
    const bb_sync_question_t *question = &message->sync_ask;
    uint32_t partition = question->topic.partition;
    if (partition >= shard->partition_count || !bb_have_view_is_ours(shard->view, partition) ||
        !bb_have_view_is_shared(shard->view, partition, node)) {
        return BB_ERR_PEER_UNKNOWN;
    }
    s_item_t item = {.node = node,
                     .request_id = message->request_id,
                     .trace_id = message->trace_id,
                     .topic = question->topic};
    if (question->topic.step == BB_SYNC_STEP_WINDOWS && s_is_known_at_once(shard, question)) {
        s_answer_windows(shard, &item);
        return BB_OK;
    }
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < self->item_count; i++) {
        const s_item_t *other = &self->items[i];
        waiting += !other->is_own;
        if (!other->is_own && other->node == node && other->topic.partition == partition &&
            other->request_id >= message->request_id) {
            return BB_OK; // it came twice
        }
    }
    if (waiting >= S_WAITING_MAX) {
        return BB_OK; // it is asked again
    }
    bool is_fetch = question->topic.step == BB_SYNC_STEP_FETCH;
    memset(item.buckets, 0xff, sizeof item.buckets);
    if (is_fetch) {
        memcpy(item.buckets, question->buckets, sizeof item.buckets);
        item.leaf_count = question->leaf_count;
        item.leaves = bb_alloc((question->leaf_count + 1) * sizeof *item.leaves);
        if (question->leaf_count > 0) {
            memcpy(item.leaves, question->leaves, question->leaf_count * sizeof *item.leaves);
        }
        item.battery_bytes = (uint32_t)question->battery_first.length;
        if (item.battery_bytes > 0) {
            memcpy(item.battery, question->battery_first.data, item.battery_bytes);
        }
        item.from_wall_ns = question->from_wall_ns;
    }
    *s_item_add(self) = item;
    shard->is_changed = true;
    return BB_OK;
}

// ---- jobs ------------------------------------------------------------------------------------
bool bb_shard_sync_begin(bb_shard_t *shard, bb_store_job_t **job)
{
    bb_shard_sync_t *self = shard->sync;
    bb_sync_ask_t asks[BB_SYNC_ASKS_MAX];
    uint32_t count = 0, fetch_count = 0;
    for (uint32_t i = 0; i < self->item_count && count < BB_SYNC_ASKS_MAX; i++) {
        s_item_t *item = &self->items[i];
        bool is_fetch = item->topic.step == BB_SYNC_STEP_FETCH;
        if (is_fetch && fetch_count == S_FETCHES_MAX) {
            continue;
        }
        fetch_count += is_fetch;
        item->is_out = true;
        bb_sync_ask_t *ask = &asks[count++];
        *ask = (bb_sync_ask_t){.partition = item->topic.partition,
                               .window = item->topic.window,
                               .is_list = item->topic.step == BB_SYNC_STEP_WINDOWS,
                               .is_fetch = is_fetch,
                               .is_own = item->is_own,
                               .leaf_count = is_fetch ? item->leaf_count : 0,
                               .leaves = item->leaves,
                               .battery_first = bb_slice(item->battery, item->battery_bytes),
                               .from_wall_ns = item->from_wall_ns,
                               .bytes_max = S_ANSWER_BYTES,
                               .points_max = S_READ_POINTS};
        memcpy(ask->buckets, item->buckets, sizeof ask->buckets);
    }
    if (count == 0) {
        return false;
    }
    bb_error_t error = bb_store_sync_begin(shard->store, asks, count, job);
    for (uint32_t i = 0; error != BB_OK && i < self->item_count; i++) {
        self->items[i].is_out = false;
    }
    return error == BB_OK;
}

static void s_add_leaves(s_item_t *item, const bb_sync_found_t *found)
{
    item->leaves =
        bb_realloc(item->leaves, (item->leaf_count + found->leaf_count + 1) * sizeof *item->leaves);
    if (found->leaf_count > 0) {
        memcpy(item->leaves + item->leaf_count, found->leaves,
               found->leaf_count * sizeof *item->leaves);
    }
    item->leaf_count += found->leaf_count;
}

static void s_answer_buckets(bb_shard_t *shard, const s_item_t *item)
{
    bb_sync_leaf_t sums[BB_SYNC_BUCKETS] = {{0}};
    bool is_used[BB_SYNC_BUCKETS] = {0};
    for (uint32_t i = 0; i < item->leaf_count; i++) {
        uint32_t bucket = (uint32_t)(item->leaves[i].battery % BB_SYNC_BUCKETS);
        sums[bucket].low += item->leaves[i].low;
        sums[bucket].high += item->leaves[i].high;
        is_used[bucket] = true;
    }
    uint32_t count = 0;
    for (uint32_t bucket = 0; bucket < BB_SYNC_BUCKETS; bucket++) {
        if (is_used[bucket]) {
            sums[count] = sums[bucket];
            sums[count++].battery = bucket;
        }
    }
    bb_sync_answer_t answer = {.leaf_count = count, .leaves = sums};
    s_send_answer(shard, item, &answer);
}

static void s_answer_fetch(bb_shard_t *shard, const s_item_t *item, const bb_sync_found_t *found)
{
    bb_slice_t *batches = bb_alloc((found->batch_count + 1) * sizeof *batches);
    bb_sync_pair_t *pairs = bb_alloc((found->attributes_count + 1) * sizeof *pairs);
    for (uint32_t i = 0; i < found->batch_count; i++) {
        batches[i] = bb_slice(found->batches[i].data, found->batches[i].length);
    }
    for (uint32_t i = 0; i < found->attributes_count; i++) {
        pairs[i] = (bb_sync_pair_t){found->attributes[i].id, found->attributes[i].packed};
    }
    bb_sync_answer_t answer = {.batch_count = found->batch_count,
                               .batches = batches,
                               .pair_count = found->attributes_count,
                               .pairs = pairs,
                               .has_more = found->has_more,
                               .battery_next =
                                   bb_slice(found->battery_next, found->battery_next_bytes),
                               .from_next_wall_ns = found->from_next_wall_ns};
    // It has been read, so it does not wait; what is pulled next gives way to it, and who asked is
    // bound by what he may take.
    bb_shard_repaired(shard, BB_PACE_GIVEN, bb_sync_answer_bytes(&answer));
    s_send_answer(shard, item, &answer);
    free(batches);
    free(pairs);
}

// True: the item has its answer. False: it goes on in the next job.
static bool s_finish(bb_shard_t *shard, s_item_t *item, const bb_sync_found_t *found)
{
    bb_shard_sync_t *self = shard->sync;
    if (found->error != BB_OK) {
        bb_sync_answer_t answer = {.error = found->error == BB_ERR_CORRUPT ? BB_ERR_CORRUPT
                                                                           : BB_ERR_BUSY};
        if (item->is_own) {
            bb_segment_sync_read(self->core, shard->time.mono_ns, item->topic.partition,
                                 item->topic.window, found->error, item->leaves, 0);
            item->leaves = NULL;
        } else {
            s_send_answer(shard, item, &answer);
        }
        return true;
    }
    if (item->topic.step == BB_SYNC_STEP_WINDOWS) {
        bb_sync_answer_t answer = {.window_count = found->window_count, .windows = found->windows};
        s_send_answer(shard, item, &answer);
        return true;
    }
    if (item->topic.step == BB_SYNC_STEP_FETCH) {
        s_answer_fetch(shard, item, found);
        return true;
    }
    s_add_leaves(item, found);
    if (found->has_more) {
        memcpy(item->battery, found->battery_next, found->battery_next_bytes);
        item->battery_bytes = found->battery_next_bytes;
        return false;
    }
    item->leaf_count = bb_sync_leaves_sort(item->leaves, item->leaf_count);
    if (item->is_own) {
        bb_segment_sync_read(self->core, shard->time.mono_ns, item->topic.partition,
                             item->topic.window, BB_OK, item->leaves, item->leaf_count);
        item->leaves = NULL;
    } else {
        s_answer_buckets(shard, item);
    }
    return true;
}

void bb_shard_sync_found(bb_shard_t *shard, bb_store_job_t *job)
{
    bb_shard_sync_t *self = shard->sync;
    uint32_t count = 0, at = 0, kept = 0;
    const bb_sync_found_t *found = bb_store_job_found(job, &count);
    for (uint32_t i = 0; i < self->item_count; i++) {
        s_item_t item = self->items[i];
        if (item.is_out) {
            BB_ASSERT(at < count);
            item.is_out = false;
            if (s_finish(shard, &item, &found[at++])) {
                free(item.leaves);
                continue;
            }
        }
        self->items[kept++] = item;
    }
    BB_ASSERT(at == count);
    self->item_count = kept;
    shard->is_changed = true;
}

// ---- commits and flushes ---------------------------------------------------------------------
void bb_shard_sync_committed(bb_shard_t *shard, bool is_synced)
{
    bb_shard_sync_t *self = shard->sync;
    if (!is_synced) {
        self->lost_count++;
        bb_segment_sync_lost(self->core, shard->time.mono_ns);
    }
}

bool bb_shard_sync_is_flush_due(const bb_shard_t *shard)
{
    return shard->time.mono_ns >= shard->sync->adopt_mono_ns && shard->staged_count == 0;
}

void bb_shard_sync_flushed(bb_shard_t *shard)
{
    bb_shard_sync_t *self = shard->sync;
    if (self->adopt_mono_ns == BB_NEVER_NS || bb_store_is_adopting(shard->store)) {
        return; // some came after it had begun
    }
    self->adopt_mono_ns = BB_NEVER_NS;
    self->look_mono_ns = shard->time.mono_ns;
    bb_segment_sync_adopted(self->core);
    bb_shard_forget_adopted(shard);
    for (uint32_t node = 0; node < shard->node_count; node++) {
        if (node != shard->self_index) {
            bb_shard_ack_all(shard, node); // dots of live streams may be among them
        }
    }
    shard->is_changed = true;
}

bool bb_shard_is_rebuilt(const bb_shard_t *shard)
{
    BB_ASSERT(shard);
    return shard->sync->is_rebuild_begun &&
           bb_segment_sync_left(shard->sync->core, BB_SEGMENT_SYNC_REBUILD) == 0;
}

void bb_shard_sync_stats(const bb_shard_t *shard, bb_shard_stats_t *stats)
{
    const bb_shard_sync_t *self = shard->sync;
    bb_segment_sync_stats_t sync = bb_segment_sync_stats(self->core);
    stats->sync_sessions = sync.sessions;
    stats->sync_failed = sync.sessions_failed;
    stats->sync_bytes = sync.bytes;
    stats->sync_repair_bytes = sync.repair_bytes;
    stats->sync_result_bytes = sync.result_bytes;
    uint64_t taken = 0;
    bb_store_results_stats(shard->store, &taken, &stats->sync_results_different);
    stats->sync_windows = sync.windows_compared;
    stats->sync_repaired = self->repaired;
    for (uint32_t use = 0; use < BB_SEGMENT_SYNC_USES; use++) {
        stats->sync_left += bb_segment_sync_left(self->core, (bb_segment_sync_use_t)use);
    }
}
