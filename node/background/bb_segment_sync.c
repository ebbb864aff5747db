// SPDX-License-Identifier: Apache-2.0
#include "node/background/bb_segment_sync.h"

#include <stdlib.h>
#include <string.h>

#ifdef BB_PLANTED
#define S_IS_PLANTED(self, bug) ((self)->options.bug)
#else
#define S_IS_PLANTED(self, bug) false
#endif

typedef enum { S_ASK, S_LIST, S_OWN, S_BUCKETS, S_FETCH, S_SETTLE, S_ADOPT } s_state_t;

typedef struct {
    uint32_t node;
    bb_stream_t incarnation;
} s_source_t;

typedef struct {
    bool is_used;
    uint32_t partition;
    bb_segment_sync_use_t use;
    s_state_t state;
    int64_t begin_mono_ns;
    int64_t not_before_mono_ns; // a pause
    uint64_t question;          // have-sets asked for with this number or later make F0
    bb_have_set_t f0;
    uint32_t bad_slots; // sources that said CORRUPT
    s_source_t sources[BB_REPLICAS_MAX];
    uint32_t source_count, source_at;
    bb_sync_window_t *windows; // of the source at hand
    uint32_t window_count, window_at;
    bb_sync_leaf_t *leaves; // own, of the window at hand
    uint32_t leaf_count;
    uint8_t buckets[BB_SYNC_BUCKETS_BYTES]; // that differ
    char battery_next[BB_BATTERY_ID_BYTES_MAX];
    uint32_t battery_next_bytes;
    int64_t from_wall_ns;
    uint64_t request_id; // outstanding; 0 = none
    int64_t asked_mono_ns;
    uint32_t try_count;
    bool is_reading; // own leaves are being computed
    bool has_staged; // something that may not be synced
    bool is_of_results;
    uint32_t results_day; // then: the limit that is asked with
    uint32_t results_day_max;
} s_session_t;

struct bb_segment_sync {
    bb_segment_sync_options_t options;
    uint32_t partition_count, self_index;
    uint8_t *wanted;        // per partition: a bit for each use
    uint8_t *adopting;      // likewise: waits for the flush
    bool *is_active;        // has a session
    uint64_t *questions;    // asked with this number or later counts for F0
    int64_t *later_mono_ns; // no session of the partition before
    uint32_t left[BB_SEGMENT_SYNC_USES];
    uint32_t wanted_count; // partitions with a bit
    uint32_t turn;         // partition to consider first
    bb_sync_window_t repairs[BB_SEGMENT_SYNC_REPAIRS_MAX];
    uint32_t repair_count;
    s_session_t sessions[BB_SEGMENT_SYNC_SESSIONS_MAX];
    uint64_t request_id_next;
    int64_t fetch_mono_ns; // no FETCH before: the rate
    int64_t wake_mono_ns;
    bb_sync_leaf_t *scratch;
    uint32_t scratch_capacity;
    bb_have_set_t given; // by the last ADOPT
    bb_segment_sync_stats_t stats;
};

static void s_session_clear(s_session_t *session)
{
    bb_have_set_clear(&session->f0);
    free(session->windows);
    free(session->leaves);
    *session = (s_session_t){0};
}

bb_segment_sync_t *bb_segment_sync_new(const bb_segment_sync_options_t *options)
{
    BB_ASSERT(options && options->topology && options->request_id_first >= 1);
    bb_segment_sync_t *self = bb_alloc_zero(1, sizeof *self);
    self->options = *options;
    self->partition_count = bb_topology_partition_count(options->topology);
    self->self_index = bb_topology_self_index(options->topology);
    self->wanted = bb_alloc_zero(self->partition_count, sizeof *self->wanted);
    self->adopting = bb_alloc_zero(self->partition_count, sizeof *self->adopting);
    self->is_active = bb_alloc_zero(self->partition_count, sizeof *self->is_active);
    self->questions = bb_alloc_zero(self->partition_count, sizeof *self->questions);
    self->later_mono_ns = bb_alloc_zero(self->partition_count, sizeof *self->later_mono_ns);
    self->request_id_next = options->request_id_first;
    self->wake_mono_ns = BB_NEVER_NS;
    return self;
}

void bb_segment_sync_destroy(bb_segment_sync_t **self_pointer)
{
    bb_segment_sync_t *self = *self_pointer;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < BB_SEGMENT_SYNC_SESSIONS_MAX; i++) {
        s_session_clear(&self->sessions[i]);
    }
    bb_have_set_clear(&self->given);
    free(self->wanted);
    free(self->adopting);
    free(self->is_active);
    free(self->questions);
    free(self->later_mono_ns);
    free(self->scratch);
    free(self);
    *self_pointer = NULL;
}

// ---- what is wanted --------------------------------------------------------------------------
static void s_want(bb_segment_sync_t *self, uint32_t partition, bb_segment_sync_use_t use)
{
    uint8_t bit = (uint8_t)(1u << use);
    if ((self->wanted[partition] | self->adopting[partition]) & bit) {
        return;
    }
    self->wanted_count += self->wanted[partition] == 0;
    self->wanted[partition] |= bit;
    self->questions[partition] = self->options.view.question_next(self->options.view.context);
    self->left[use]++;
    self->wake_mono_ns = 0;
}

void bb_segment_sync_want(bb_segment_sync_t *self, uint32_t partition, bb_segment_sync_use_t use)
{
    BB_ASSERT(self && partition < self->partition_count);
    BB_ASSERT(use < BB_SEGMENT_SYNC_USES && use != BB_SEGMENT_SYNC_REPAIR);
    s_want(self, partition, use);
}

bool bb_segment_sync_is_wanted(const bb_segment_sync_t *self, uint32_t partition)
{
    BB_ASSERT(self && partition < self->partition_count);
    return (self->wanted[partition] | self->adopting[partition]) != 0;
}

void bb_segment_sync_repair(bb_segment_sync_t *self, const bb_sync_window_t *windows,
                            uint32_t window_count, const uint32_t *partitions,
                            uint32_t partition_count)
{
    BB_ASSERT(self->left[BB_SEGMENT_SYNC_REPAIR] == 0);
    BB_ASSERT(window_count >= 1 && window_count <= BB_SEGMENT_SYNC_REPAIRS_MAX);
    memcpy(self->repairs, windows, window_count * sizeof *windows);
    self->repair_count = window_count;
    for (uint32_t i = 0; i < partition_count; i++) {
        s_want(self, partitions[i], BB_SEGMENT_SYNC_REPAIR);
    }
}

uint32_t bb_segment_sync_left(const bb_segment_sync_t *self, bb_segment_sync_use_t use)
{
    BB_ASSERT(self && use < BB_SEGMENT_SYNC_USES);
    return self->left[use];
}

bb_segment_sync_stats_t bb_segment_sync_stats(const bb_segment_sync_t *self)
{
    return self->stats;
}

// ---- sessions --------------------------------------------------------------------------------
static const bb_have_set_t *s_own(const bb_segment_sync_t *self, uint32_t partition)
{
    return self->options.view.own(self->options.view.context, partition);
}

static const bb_have_set_t *s_known(const bb_segment_sync_t *self, uint32_t partition,
                                    uint32_t node)
{
    return self->options.view.known(self->options.view.context, partition, node);
}

static bool s_is_up(const bb_segment_sync_t *self, uint32_t node)
{
    return self->options.view.is_up(self->options.view.context, node);
}

// From the beginning, after a pause. Which sources are bad is not forgotten.
static void s_begin(bb_segment_sync_t *self, s_session_t *session, int64_t now_mono_ns,
                    int64_t pause_ns)
{
    s_session_t fresh = {
        .is_used = true,
        .partition = session->partition,
        .use = session->use,
        .state = S_ASK,
        .begin_mono_ns = now_mono_ns,
        .not_before_mono_ns = now_mono_ns + pause_ns,
        .question = self->questions[session->partition],
        .bad_slots = session->bad_slots,
    };
    s_session_clear(session);
    *session = fresh;
}

static void s_fail(bb_segment_sync_t *self, s_session_t *session, int64_t now_mono_ns)
{
    self->stats.sessions_failed++;
    s_begin(self, session, now_mono_ns, BB_SEGMENT_SYNC_PAUSE_NS);
}

// Others go first.
static void s_put_off(bb_segment_sync_t *self, s_session_t *session, int64_t now_mono_ns)
{
    self->is_active[session->partition] = false;
    self->later_mono_ns[session->partition] = now_mono_ns + BB_SEGMENT_SYNC_PAUSE_NS;
    s_session_clear(session);
}

// The most urgent of what is wanted of a partition.
static bb_segment_sync_use_t s_use_of(uint8_t wanted)
{
    static const bb_segment_sync_use_t order[] = {BB_SEGMENT_SYNC_REBUILD, BB_SEGMENT_SYNC_REPAIR,
                                                  BB_SEGMENT_SYNC_RESULTS,
                                                  BB_SEGMENT_SYNC_CATCH_UP};
    for (uint32_t i = 0; i < BB_COUNT_OF(order); i++) {
        if (wanted >> order[i] & 1) {
            return order[i];
        }
    }
    BB_ASSERT(!"something is wanted");
    return BB_SEGMENT_SYNC_CATCH_UP;
}

static void s_fill_sessions(bb_segment_sync_t *self, int64_t now_mono_ns)
{
    for (uint32_t i = 0; i < BB_SEGMENT_SYNC_SESSIONS_MAX && self->wanted_count > 0; i++) {
        s_session_t *session = &self->sessions[i];
        if (session->is_used) {
            continue;
        }
        for (uint32_t k = 0; k < self->partition_count && !session->is_used; k++) {
            uint32_t partition = (self->turn + k) % self->partition_count;
            if (self->wanted[partition] == 0 || self->is_active[partition]) {
                continue;
            }
            if (self->later_mono_ns[partition] > now_mono_ns) {
                self->wake_mono_ns = BB_MIN(self->wake_mono_ns, self->later_mono_ns[partition]);
                continue;
            }
            self->turn = partition + 1;
            self->is_active[partition] = true;
            session->partition = partition;
            session->use = s_use_of(self->wanted[partition]);
            s_begin(self, session, now_mono_ns, 0);
        }
        if (!session->is_used) {
            return; // nor is there one for the others
        }
    }
}

// ---- F0 and sources --------------------------------------------------------------------------
// adopt-majority. Who rebuilds does not count, neither as one that answered nor as one of all.
static bool s_unite(const bb_segment_sync_t *self, s_session_t *session)
{
    const bb_topology_t *topology = self->options.topology;
    const uint16_t *replicas = bb_topology_replicas(topology, session->partition);
    uint32_t dc = bb_topology_node(topology, self->self_index)->dc_index;
    uint32_t all = 0, answered = 0, all_in_dc = 0, answered_in_dc = 0;
    bb_have_set_clear(&session->f0);
    for (uint32_t slot = 0; slot < bb_topology_replica_count(topology); slot++) {
        uint32_t node = replicas[slot];
        bool is_self = node == self->self_index;
        if (is_self && session->use == BB_SEGMENT_SYNC_REBUILD) {
            continue;
        }
        bool is_in_dc = bb_topology_node(topology, node)->dc_index == dc;
        bool has_answered = is_self || (s_is_up(self, node) &&
                                        self->options.view.has_answered(self->options.view.context,
                                                                        session->partition, node,
                                                                        session->question));
        all++;
        answered += has_answered;
        all_in_dc += is_in_dc;
        answered_in_dc += is_in_dc && has_answered;
        const bb_have_set_t *have =
            is_self ? s_own(self, session->partition) : s_known(self, session->partition, node);
        if (has_answered && bb_have_set_union(&session->f0, have) != BB_OK) {
            return false; // too fragmented: later there will be fewer ranges
        }
    }
    return all == 0 || (answered > all / 2 && (all_in_dc == 0 || answered_in_dc > all_in_dc / 2));
}

// Of what is forgotten no have-set says anything any more; who counts holds it.
static bool s_is_witness(const bb_segment_sync_t *self, const s_session_t *session, uint32_t node)
{
    return session->use == BB_SEGMENT_SYNC_CATCH_UP ||
           self->options.view.has_answered(self->options.view.context, session->partition, node,
                                           session->question) ||
           S_IS_PLANTED(self, is_source_any);
}

static bool s_may_be_source(const bb_segment_sync_t *self, const s_session_t *session,
                            uint32_t slot)
{
    uint32_t node = bb_topology_replicas(self->options.topology, session->partition)[slot];
    return node != self->self_index && s_is_up(self, node) && !(session->bad_slots >> slot & 1) &&
           s_is_witness(self, session, node);
}

// Whose windows may lack something compares them with somebody's, though the have-sets say that
// nothing is lacking: forgotten streams are in none of them. A partition without other replicas
// has nobody to ask; what is damaged of it is not repaired.
static bool s_needs_source(const bb_segment_sync_t *self, const s_session_t *session)
{
    bool has_others = bb_topology_replica_count(self->options.topology) > 1;
    return session->use == BB_SEGMENT_SYNC_REPAIR ||
           (session->use != BB_SEGMENT_SYNC_CATCH_UP && has_others);
}

// What is missing is missing though our own have-set says that it was here.
static bool s_is_of_damage(const s_session_t *session)
{
    return session->use == BB_SEGMENT_SYNC_REPAIR || session->use == BB_SEGMENT_SYNC_RESULTS;
}

static void s_add_source(const bb_segment_sync_t *self, s_session_t *session, uint32_t slot)
{
    uint32_t node = bb_topology_replicas(self->options.topology, session->partition)[slot];
    session->sources[session->source_count++] =
        (s_source_t){node, *self->options.view.incarnation(self->options.view.context, node)};
}

// Slots in the order in which they are asked: our data centre first.
static uint32_t s_slot_at(const bb_segment_sync_t *self, uint32_t at)
{
    const bb_topology_t *topology = self->options.topology;
    uint32_t dc = bb_topology_node(topology, self->self_index)->dc_index;
    uint32_t first = bb_topology_dc_slot_first(topology, dc);
    return (first + at) % bb_topology_replica_count(topology);
}

// adopt-source. One that alone has all of F0 that our own windows do not; or several that have it
// together. False: there are none now.
static bool s_choose_sources(const bb_segment_sync_t *self, s_session_t *session)
{
    uint32_t slot_count = bb_topology_replica_count(self->options.topology);
    const uint16_t *replicas = bb_topology_replicas(self->options.topology, session->partition);
    bb_have_set_t base = {0};
    session->source_count = 0;
    bool has_others = slot_count > 1;
    if (!s_is_of_damage(session) || !has_others) {
        bb_have_set_copy(&base, s_own(self, session->partition));
    }
    bool is_covered = bb_have_set_includes(&base, &session->f0) && !s_needs_source(self, session);
    for (uint32_t at = 0; at < slot_count && !is_covered; at++) {
        uint32_t slot = s_slot_at(self, at);
        bb_have_set_t both = {0};
        bb_have_set_copy(&both, &base);
        if (s_may_be_source(self, session, slot) &&
            bb_have_set_union(&both, s_known(self, session->partition, replicas[slot])) == BB_OK &&
            (bb_have_set_includes(&both, &session->f0) || S_IS_PLANTED(self, is_source_any))) {
            s_add_source(self, session, slot);
            is_covered = true;
        }
        bb_have_set_clear(&both);
    }
    for (uint32_t at = 0; at < slot_count && !is_covered; at++) {
        uint32_t slot = s_slot_at(self, at);
        const bb_have_set_t *known = s_known(self, session->partition, replicas[slot]);
        if (s_may_be_source(self, session, slot) && bb_have_set_lacks_count(&base, known) > 0) {
            s_add_source(self, session, slot);
            is_covered = bb_have_set_union(&base, known) == BB_OK &&
                         bb_have_set_includes(&base, &session->f0);
        }
    }
    bb_have_set_clear(&base);
    return is_covered;
}

// Begins to compare, when there is F0 and who has it.
static void s_step_ask(bb_segment_sync_t *self, s_session_t *session, int64_t now_mono_ns)
{
    bool is_ready = true;
    if (s_is_of_damage(session)) {
        bb_have_set_copy(&session->f0, s_own(self, session->partition));
    } else {
        is_ready = s_unite(self, session);
    }
    if (is_ready && s_choose_sources(self, session)) {
        // RESULTS has nothing else to compare.
        bool has_points = session->use != BB_SEGMENT_SYNC_RESULTS;
        session->state = session->source_count > 0 && has_points ? S_LIST : S_SETTLE;
        return;
    }
    int64_t limit_mono_ns = session->begin_mono_ns + BB_SEGMENT_SYNC_WAIT_NS;
    if (now_mono_ns >= limit_mono_ns) {
        session->bad_slots = 0; // it may have been repaired
        s_put_off(self, session, now_mono_ns);
    } else {
        self->wake_mono_ns = BB_MIN(self->wake_mono_ns, limit_mono_ns);
    }
}

// ---- windows ---------------------------------------------------------------------------------
static bb_sync_window_t s_window(const s_session_t *session)
{
    return session->windows[session->window_at];
}

// The next window, of this source or of the next.
static void s_next_window(bb_segment_sync_t *self, s_session_t *session)
{
    free(session->leaves);
    session->leaves = NULL;
    session->leaf_count = 0;
    session->battery_next_bytes = 0;
    session->from_wall_ns = 0;
    self->stats.windows_compared++;
    if (++session->window_at < session->window_count) {
        session->state = S_OWN;
        return;
    }
    free(session->windows);
    session->windows = NULL;
    session->window_count = session->window_at = 0;
    session->state = ++session->source_at < session->source_count ? S_LIST : S_SETTLE;
}

static bool s_is_repaired(const bb_segment_sync_t *self, bb_sync_window_t window)
{
    for (uint32_t i = 0; i < self->repair_count; i++) {
        if (bb_sync_window_compare(self->repairs[i], window) == 0) {
            return true;
        }
    }
    return false;
}

static void s_take_list(bb_segment_sync_t *self, s_session_t *session,
                        const bb_sync_answer_t *answer)
{
    session->windows = bb_alloc((answer->window_count + 1) * sizeof *session->windows);
    session->window_count = session->window_at = 0;
    for (uint32_t i = 0; i < answer->window_count; i++) {
        if (session->use != BB_SEGMENT_SYNC_REPAIR || s_is_repaired(self, answer->windows[i])) {
            session->windows[session->window_count++] = answer->windows[i];
        }
    }
    if (session->window_count > 0) {
        session->state = S_OWN;
    } else {
        free(session->windows);
        session->windows = NULL;
        session->state = ++session->source_at < session->source_count ? S_LIST : S_SETTLE;
    }
}

// All points have come: are there results to compare?
static void s_begin_results(bb_segment_sync_t *self, s_session_t *session)
{
    if (session->is_of_results || session->source_count == 0 ||
        session->use == BB_SEGMENT_SYNC_REPAIR || S_IS_PLANTED(self, is_without_results)) {
        return;
    }
    session->is_of_results = true;
    session->results_day =
        self->options.view.results_day(self->options.view.context, &session->results_day_max);
    if (session->results_day_max > 0) {
        session->source_at = 0;
        session->state = S_LIST;
    }
}

// Sums by bucket of what is here; low and high of each.
static void s_sum_up(const s_session_t *session, uint64_t sums[BB_SYNC_BUCKETS][2])
{
    memset(sums, 0, BB_SYNC_BUCKETS * sizeof *sums);
    for (uint32_t i = 0; i < session->leaf_count; i++) {
        const bb_sync_leaf_t *leaf = &session->leaves[i];
        sums[leaf->battery % BB_SYNC_BUCKETS][0] += leaf->low;
        sums[leaf->battery % BB_SYNC_BUCKETS][1] += leaf->high;
    }
}

// Buckets in which the source has something else than we. What only we have is its matter.
static void s_take_buckets(bb_segment_sync_t *self, s_session_t *session,
                           const bb_sync_answer_t *answer)
{
    uint64_t sums[BB_SYNC_BUCKETS][2];
    bool is_different = false;
    s_sum_up(session, sums);
    memset(session->buckets, 0, sizeof session->buckets);
    for (uint32_t i = 0; i < answer->leaf_count; i++) {
        uint32_t bucket = (uint32_t)answer->leaves[i].battery;
        if (answer->leaves[i].low != sums[bucket][0] || answer->leaves[i].high != sums[bucket][1]) {
            session->buckets[bucket / 8] |= (uint8_t)(1u << (bucket % 8));
            is_different = true;
        }
    }
    if (is_different) {
        session->state = S_FETCH;
        self->stats.windows_fetched++;
    } else {
        s_next_window(self, session);
    }
}

static void s_take_page(bb_segment_sync_t *self, s_session_t *session, int64_t now_mono_ns,
                        const bb_sync_answer_t *answer)
{
    uint64_t bytes = bb_sync_answer_bytes(answer);
    self->stats.bytes += bytes;
    self->stats.repair_bytes += s_is_of_damage(session) ? bytes : 0;
    self->stats.result_bytes += session->is_of_results ? bytes : 0;
    session->has_staged |= bytes > 0;
    if (self->options.bytes_per_s > 0) {
        self->fetch_mono_ns = BB_MAX(self->fetch_mono_ns, now_mono_ns) +
                              (int64_t)((double)bytes * 1e9 / (double)self->options.bytes_per_s);
    }
    if (!answer->has_more) {
        s_next_window(self, session);
        return;
    }
    memcpy(session->battery_next, answer->battery_next.data, answer->battery_next.length);
    session->battery_next_bytes = (uint32_t)answer->battery_next.length;
    session->from_wall_ns = answer->from_next_wall_ns;
}

// ---- asking ----------------------------------------------------------------------------------
static bb_sync_topic_t s_topic(const s_session_t *session)
{
    bb_sync_topic_t topic = {.partition = session->partition};
    topic.step = session->state == S_LIST      ? BB_SYNC_STEP_WINDOWS
                 : session->state == S_BUCKETS ? BB_SYNC_STEP_BUCKETS
                                               : BB_SYNC_STEP_FETCH;
    if (session->state != S_LIST) {
        topic.window = s_window(session);
    } else if (session->is_of_results) {
        topic.window = (bb_sync_window_t){BB_SYNC_RESULTS, session->results_day};
    }
    return topic;
}

// Our leaves in the buckets that differ; too many are cut, and sent to us for nothing.
static uint32_t s_collect_leaves(bb_segment_sync_t *self, const s_session_t *session)
{
    if (self->scratch_capacity < session->leaf_count) {
        self->scratch_capacity = session->leaf_count;
        self->scratch = bb_realloc(self->scratch, session->leaf_count * sizeof *self->scratch);
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < session->leaf_count && count < BB_SYNC_LEAVES_MAX; i++) {
        uint32_t bucket = (uint32_t)(session->leaves[i].battery % BB_SYNC_BUCKETS);
        if (session->buckets[bucket / 8] >> (bucket % 8) & 1) {
            self->scratch[count++] = session->leaves[i];
        }
    }
    return count;
}

static void s_question(bb_segment_sync_t *self, s_session_t *session, int64_t now_mono_ns,
                       bb_segment_sync_action_t *action)
{
    session->request_id = self->request_id_next++;
    session->asked_mono_ns = now_mono_ns;
    *action = (bb_segment_sync_action_t){
        .kind = BB_SEGMENT_SYNC_DO_ASK,
        .partition = session->partition,
        .node = session->sources[session->source_at].node,
        .request_id = session->request_id,
        .question = {.topic = s_topic(session)},
    };
    if (session->state != S_FETCH) {
        return;
    }
    bb_sync_question_t *question = &action->question;
    memcpy(question->buckets, session->buckets, sizeof question->buckets);
    question->leaf_count = s_collect_leaves(self, session);
    question->leaves = self->scratch;
    question->battery_first = bb_slice(session->battery_next, session->battery_next_bytes);
    question->from_wall_ns = session->from_wall_ns;
}

// False: it waits for an answer, or for the rate.
static bool s_step_source(bb_segment_sync_t *self, s_session_t *session, int64_t now_mono_ns,
                          bb_segment_sync_action_t *action)
{
    if (session->request_id != 0) {
        int64_t limit_mono_ns = session->asked_mono_ns + BB_SEGMENT_SYNC_ANSWER_NS;
        if (now_mono_ns < limit_mono_ns) {
            self->wake_mono_ns = BB_MIN(self->wake_mono_ns, limit_mono_ns);
            return false;
        }
        session->request_id = 0;
        if (++session->try_count >= BB_SEGMENT_SYNC_TRIES_MAX) {
            s_fail(self, session, now_mono_ns);
            self->wake_mono_ns = BB_MIN(self->wake_mono_ns, session->not_before_mono_ns);
            return false;
        }
    }
    if (session->state == S_FETCH && now_mono_ns < self->fetch_mono_ns) {
        self->wake_mono_ns = BB_MIN(self->wake_mono_ns, self->fetch_mono_ns);
        return false;
    }
    s_question(self, session, now_mono_ns, action);
    return true;
}

static void s_adopt(bb_segment_sync_t *self, s_session_t *session, bb_segment_sync_action_t *action)
{
    uint32_t partition = session->partition;
    uint8_t bit = (uint8_t)(1u << session->use);
    *action = (bb_segment_sync_action_t){.kind = BB_SEGMENT_SYNC_DO_ADOPT, .partition = partition};
    bb_have_set_clear(&self->given);
    if (!s_is_of_damage(session)) {
        self->given = session->f0;
        session->f0 = (bb_have_set_t){0};
    }
    for (uint32_t i = 0; i < session->source_count && S_IS_PLANTED(self, is_adopting_late); i++) {
        bb_error_t error =
            bb_have_set_union(&self->given, s_known(self, partition, session->sources[i].node));
        BB_ASSERT(error == BB_OK || error == BB_ERR_LIMIT);
    }
    action->dots = &self->given;
    self->wanted[partition] &= (uint8_t)~bit;
    self->wanted_count -= self->wanted[partition] == 0;
    self->adopting[partition] |= bit;
    self->is_active[partition] = false;
    self->stats.sessions++;
    s_session_clear(session);
}

// A source that went is another one when it comes back.
static bool s_is_source_there(const bb_segment_sync_t *self, const s_session_t *session)
{
    if (session->state < S_LIST || session->state > S_FETCH) {
        return true;
    }
    const s_source_t *source = &session->sources[session->source_at];
    return s_is_up(self, source->node) &&
           bb_stream_is_equal(&source->incarnation, self->options.view.incarnation(
                                                        self->options.view.context, source->node));
}

static bool s_step(bb_segment_sync_t *self, s_session_t *session, int64_t now_mono_ns,
                   bb_segment_sync_action_t *action)
{
    if (!s_is_source_there(self, session)) {
        s_fail(self, session, now_mono_ns);
    }
    if (now_mono_ns < session->not_before_mono_ns) {
        self->wake_mono_ns = BB_MIN(self->wake_mono_ns, session->not_before_mono_ns);
        return false;
    }
    if (session->state == S_ASK) {
        s_step_ask(self, session, now_mono_ns);
    }
    if (session->is_used && session->state == S_SETTLE && !session->has_staged) {
        s_begin_results(self, session);
    }
    switch (session->is_used ? session->state : S_ASK) {
    case S_ASK:
        return false;
    case S_LIST:
    case S_BUCKETS:
    case S_FETCH:
        return s_step_source(self, session, now_mono_ns, action);
    case S_OWN:
        if (session->is_reading) {
            return false;
        }
        session->is_reading = true;
        *action = (bb_segment_sync_action_t){.kind = BB_SEGMENT_SYNC_DO_READ,
                                             .partition = session->partition,
                                             .window = s_window(session)};
        return true;
    case S_SETTLE:
        if (session->has_staged) {
            return false;
        }
        session->state = S_ADOPT;
        s_adopt(self, session, action);
        return true;
    case S_ADOPT:
        break;
    }
    return false;
}

bool bb_segment_sync_next(bb_segment_sync_t *self, int64_t now_mono_ns,
                          bb_segment_sync_action_t *action)
{
    BB_ASSERT(self && action);
    self->wake_mono_ns = BB_NEVER_NS;
    s_fill_sessions(self, now_mono_ns);
    for (uint32_t i = 0; i < BB_SEGMENT_SYNC_SESSIONS_MAX; i++) {
        if (self->sessions[i].is_used && s_step(self, &self->sessions[i], now_mono_ns, action)) {
            self->wake_mono_ns = now_mono_ns;
            return true;
        }
    }
    return false;
}

int64_t bb_segment_sync_wake_mono_ns(const bb_segment_sync_t *self)
{
    return self->wake_mono_ns;
}

// ---- events ----------------------------------------------------------------------------------
void bb_segment_sync_read(bb_segment_sync_t *self, int64_t now_mono_ns, uint32_t partition,
                          bb_sync_window_t window, bb_error_t error, bb_sync_leaf_t *leaves,
                          uint32_t leaf_count)
{
    for (uint32_t i = 0; i < BB_SEGMENT_SYNC_SESSIONS_MAX; i++) {
        s_session_t *session = &self->sessions[i];
        if (!session->is_used || session->partition != partition || !session->is_reading ||
            bb_sync_window_compare(s_window(session), window) != 0) {
            continue;
        }
        session->is_reading = false;
        self->wake_mono_ns = now_mono_ns;
        if (error != BB_OK) {
            session->not_before_mono_ns = now_mono_ns + BB_SEGMENT_SYNC_PAUSE_NS;
            break;
        }
        session->leaves = leaves;
        session->leaf_count = leaf_count;
        session->state = S_BUCKETS;
        if (leaf_count == 0) { // everything differs
            memset(session->buckets, 0xff, sizeof session->buckets);
            session->state = S_FETCH;
            self->stats.windows_fetched++;
        }
        return;
    }
    free(leaves);
}

static s_session_t *s_session_asking(const bb_segment_sync_t *self, uint32_t node,
                                     uint64_t request_id)
{
    for (uint32_t i = 0; i < BB_SEGMENT_SYNC_SESSIONS_MAX && request_id != 0; i++) {
        const s_session_t *session = &self->sessions[i];
        if (session->is_used && session->request_id == request_id &&
            (node == BB_NODE_NONE || session->sources[session->source_at].node == node)) {
            return (s_session_t *)(uintptr_t)session;
        }
    }
    return NULL;
}

static bool s_is_list_valid(const s_session_t *session, const bb_sync_answer_t *answer)
{
    for (uint32_t i = 0; i < answer->window_count; i++) {
        bb_sync_window_t window = answer->windows[i];
        bool is_of_results = window.kind == BB_SYNC_RESULTS;
        if (is_of_results != session->is_of_results ||
            (is_of_results && (window.day == 0 || window.day > session->results_day_max))) {
            return false;
        }
        if (i > 0 && bb_sync_window_compare(answer->windows[i - 1], answer->windows[i]) >= 0) {
            return false;
        }
    }
    return answer->batch_count == 0 && answer->pair_count == 0 && answer->leaf_count == 0;
}

static bool s_are_buckets_valid(const bb_sync_answer_t *answer)
{
    for (uint32_t i = 0; i < answer->leaf_count; i++) {
        uint64_t bucket = answer->leaves[i].battery;
        if (bucket >= BB_SYNC_BUCKETS || (i > 0 && answer->leaves[i - 1].battery >= bucket)) {
            return false;
        }
    }
    return answer->batch_count == 0 && answer->pair_count == 0 && answer->window_count == 0;
}

// A page must get on, so that no peer can send pages for ever.
static bool s_is_page_valid(const s_session_t *session, const bb_sync_answer_t *answer)
{
    bool has_pairs = session->is_of_results || s_window(session).kind == BB_SYNC_ATTRIBUTES;
    if (answer->window_count > 0 || answer->leaf_count > 0 ||
        (!has_pairs && answer->pair_count > 0) ||
        (session->is_of_results && answer->batch_count > 0) ||
        answer->battery_next.length > sizeof session->battery_next) {
        return false;
    }
    if (!answer->has_more) {
        return true;
    }
    size_t length = BB_MIN((size_t)session->battery_next_bytes, answer->battery_next.length);
    int order = length > 0 ? memcmp(answer->battery_next.data, session->battery_next, length) : 0;
    if (order == 0) {
        order = (answer->battery_next.length > session->battery_next_bytes) -
                (answer->battery_next.length < session->battery_next_bytes);
    }
    return order > 0 || (order == 0 && answer->battery_next.length > 0 &&
                         answer->from_next_wall_ns > session->from_wall_ns);
}

bb_error_t bb_segment_sync_check(const bb_segment_sync_t *self, uint32_t node, uint64_t request_id,
                                 const bb_sync_answer_t *answer)
{
    const s_session_t *session = s_session_asking(self, node, request_id);
    if (!session || !bb_stream_is_equal(&answer->incarnation,
                                        &session->sources[session->source_at].incarnation)) {
        return BB_ERR_PEER_UNKNOWN;
    }
    bb_sync_topic_t topic = s_topic(session);
    if (topic.step != answer->topic.step || topic.partition != answer->topic.partition ||
        bb_sync_window_compare(topic.window, answer->topic.window) != 0) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    if (answer->error != BB_OK) {
        return BB_OK;
    }
    bool is_valid = session->state == S_LIST      ? s_is_list_valid(session, answer)
                    : session->state == S_BUCKETS ? s_are_buckets_valid(answer)
                                                  : s_is_page_valid(session, answer);
    return is_valid ? BB_OK : BB_ERR_MESSAGE_CORRUPT;
}

static void s_refused(bb_segment_sync_t *self, s_session_t *session, int64_t now_mono_ns,
                      bb_error_t error)
{
    if (error == BB_ERR_CORRUPT) {
        uint32_t node = session->sources[session->source_at].node;
        uint32_t slot = bb_topology_slot_of(self->options.topology, session->partition, node);
        session->bad_slots |= 1u << slot;
        s_fail(self, session, now_mono_ns);
    } else {
        session->not_before_mono_ns = now_mono_ns + BB_SEGMENT_SYNC_PAUSE_NS;
    }
}

void bb_segment_sync_answered(bb_segment_sync_t *self, int64_t now_mono_ns, uint64_t request_id,
                              const bb_sync_answer_t *answer, bool is_taken)
{
    s_session_t *session = s_session_asking(self, BB_NODE_NONE, request_id);
    BB_ASSERT(session); // it was checked
    session->request_id = 0;
    session->try_count = 0;
    self->wake_mono_ns = now_mono_ns;
    if (answer->error != BB_OK || !is_taken) {
        session->has_staged |= !is_taken; // some of it may be
        s_refused(self, session, now_mono_ns, is_taken ? answer->error : BB_ERR_BUSY);
    } else if (session->state == S_LIST) {
        s_take_list(self, session, answer);
    } else if (session->state == S_BUCKETS) {
        s_take_buckets(self, session, answer);
    } else {
        s_take_page(self, session, now_mono_ns, answer);
    }
}

void bb_segment_sync_synced(bb_segment_sync_t *self)
{
    for (uint32_t i = 0; i < BB_SEGMENT_SYNC_SESSIONS_MAX; i++) {
        if (self->sessions[i].has_staged) {
            self->sessions[i].has_staged = false;
            self->wake_mono_ns = 0;
        }
    }
}

void bb_segment_sync_lost(bb_segment_sync_t *self, int64_t now_mono_ns)
{
    for (uint32_t i = 0; i < BB_SEGMENT_SYNC_SESSIONS_MAX; i++) {
        if (self->sessions[i].is_used && self->sessions[i].has_staged) {
            s_fail(self, &self->sessions[i], now_mono_ns);
        }
    }
}

void bb_segment_sync_adopted(bb_segment_sync_t *self)
{
    for (uint32_t p = 0; p < self->partition_count; p++) {
        for (uint32_t use = 0; use < BB_SEGMENT_SYNC_USES && self->adopting[p]; use++) {
            self->left[use] -= self->adopting[p] >> use & 1;
        }
        self->adopting[p] = 0;
    }
}
