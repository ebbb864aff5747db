// SPDX-License-Identifier: Apache-2.0
// Segment sync: the rule of adoption against random histories of a small cluster, and answers that
// nobody asked for.
#include "node/background/bb_segment_sync.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"
#include "tests/support/bb_rounds.h"
#include "tests/unit/node/replication_topology.h"

// ---- a model of a cluster --------------------------------------------------------------------
// Replica 0 runs the core; 1 and 2 are sources. A chunk has points of some batteries in some
// windows; what a replica has of a (window, battery) is a set of chunks, a bit each. Merging is
// `or`, and a leaf is a hash of the bits.
#define REPLICAS   3u
#define PARTITIONS 4u
#define WINDOWS    3u
#define BATTERIES  5u
#define CHUNKS_MAX 40u // of a partition
#define ANSWERS    64u

typedef struct {
    uint64_t bits[WINDOWS][BATTERIES];
} content_t;

typedef struct {
    bb_have_set_t have;
    content_t content; // durable
} replica_t;

typedef struct {
    bb_stream_t stream;
    uint64_t seq;
    uint8_t touches[WINDOWS]; // batteries, a bit each
} chunk_t;

typedef struct {
    bool is_used;
    uint64_t request_id;
    uint32_t node;
    bb_sync_topic_t topic;
    bb_stream_t incarnation;
    bb_sync_window_t windows[WINDOWS];
    uint32_t window_count;
    bb_sync_leaf_t leaves[BATTERIES];
    uint32_t leaf_count;
    uint64_t bits[BATTERIES]; // FETCH: what came, by battery
    bool has_more;
    char next[4];
} flying_t;

typedef struct {
    bb_random_t random;
    bb_topology_t *topology;
    bb_segment_sync_t *core;
    int64_t now_ns;
    replica_t replicas[REPLICAS][PARTITIONS];
    chunk_t chunks[PARTITIONS][CHUNKS_MAX];
    uint32_t chunk_count[PARTITIONS];
    bb_have_set_t known[REPLICAS][PARTITIONS]; // at replica 0
    uint64_t answered[REPLICAS];
    uint64_t question_next;
    bb_stream_t incarnations[REPLICAS];
    uint8_t incarnation_next;
    bool is_up[REPLICAS];
    // Replica 0: staged and not synced; adopted at the next flush.
    content_t staged[PARTITIONS];
    uint64_t staged_dots[PARTITIONS];
    bb_have_set_t adopting[PARTITIONS];
    flying_t flying[ANSWERS];
    uint32_t adopted_count, fetched_count;
    bool is_quiet; // no more faults; writes go on
    uint32_t results_day, results_day_max;
    // Wrong rules.
    bool adopts_late, trusts_anybody;
    bool is_broken; // an invariant was
} world_t;

static uint64_t s_battery_hash(uint32_t battery)
{
    return battery * 1000003u + 17; // other buckets than numbers
}

static const bb_have_set_t *s_own(void *context, uint32_t partition)
{
    world_t *world = context;
    return &world->replicas[0][partition].have;
}

static const bb_have_set_t *s_known(void *context, uint32_t partition, uint32_t node)
{
    world_t *world = context;
    static bb_have_set_t all;
    if (world->trusts_anybody) { // as if it had whatever anybody has
        bb_have_set_clear(&all);
        for (uint32_t r = 1; r < REPLICAS; r++) {
            assert_int_equal(bb_have_set_union(&all, &world->known[r][partition]), BB_OK);
        }
        return &all;
    }
    return &world->known[node][partition];
}

static bool s_is_up(void *context, uint32_t node)
{
    world_t *world = context;
    return world->is_up[node];
}

static const bb_stream_t *s_incarnation(void *context, uint32_t node)
{
    world_t *world = context;
    return &world->incarnations[node];
}

static uint64_t s_question_next(void *context)
{
    world_t *world = context;
    return world->question_next;
}

static uint32_t s_results_day(void *context, uint32_t *day_max)
{
    const world_t *world = context;
    *day_max = world->results_day_max;
    return world->results_day;
}

static bool s_has_answered(void *context, uint32_t partition, uint32_t node, uint64_t question)
{
    world_t *world = context;
    (void)partition;
    return world->answered[node] >= question;
}

static void s_core_new(world_t *world)
{
    bb_segment_sync_options_t options = {
        .topology = world->topology,
        .view = {world, s_own, s_known, s_is_up, s_incarnation, s_question_next, s_has_answered,
                 s_results_day},
        .request_id_first = bb_random_between(&world->random, 1, 1u << 20),
        .bytes_per_s = 1000,
    };
    bb_segment_sync_destroy(&world->core);
    world->core = bb_segment_sync_new(&options);
}

static void s_new_incarnation(world_t *world, uint32_t node)
{
    world->incarnations[node] = test_stream(++world->incarnation_next);
    world->answered[node] = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bb_have_set_clear(&world->known[node][p]);
    }
}

static void s_apply(content_t *content, const chunk_t *chunk, uint32_t index)
{
    for (uint32_t w = 0; w < WINDOWS; w++) {
        for (uint32_t b = 0; b < BATTERIES; b++) {
            content->bits[w][b] |= (uint64_t)(chunk->touches[w] >> b & 1) << index;
        }
    }
}

static void s_add_dot(bb_have_set_t *have, const chunk_t *chunk)
{
    bool added;
    assert_int_equal(bb_have_set_add(have, &chunk->stream, chunk->seq, chunk->seq, &added), BB_OK);
}

// What replica 0 says that it has, it has in every window.
static void s_check(world_t *world)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        const replica_t *replica = &world->replicas[0][p];
        for (uint32_t c = 0; c < world->chunk_count[p]; c++) {
            const chunk_t *chunk = &world->chunks[p][c];
            if (!bb_have_set_contains(&replica->have, &chunk->stream, chunk->seq)) {
                continue;
            }
            content_t wanted = {0};
            s_apply(&wanted, chunk, c);
            for (uint32_t w = 0; w < WINDOWS; w++) {
                for (uint32_t b = 0; b < BATTERIES; b++) {
                    world->is_broken |= (wanted.bits[w][b] & ~replica->content.bits[w][b]) != 0;
                }
            }
        }
    }
}

// ---- what happens ----------------------------------------------------------------------------
static void s_write(world_t *world)
{
    uint32_t p = (uint32_t)bb_random_below(&world->random, PARTITIONS);
    if (world->chunk_count[p] == CHUNKS_MAX) {
        return;
    }
    uint32_t index = world->chunk_count[p]++;
    chunk_t *chunk = &world->chunks[p][index];
    *chunk = (chunk_t){.stream = test_stream((uint8_t)(200 + bb_random_below(&world->random, 2))),
                       .seq = index + 1};
    for (uint32_t w = 0; w < WINDOWS; w++) {
        chunk->touches[w] = (uint8_t)bb_random_below(&world->random, 1u << BATTERIES);
    }
    bool is_somewhere = false;
    for (uint32_t r = 1; r < REPLICAS; r++) {
        if (bb_random_chance(&world->random, 2, 3) || (r == REPLICAS - 1 && !is_somewhere)) {
            is_somewhere = true;
            s_apply(&world->replicas[r][p].content, chunk, index);
            s_add_dot(&world->replicas[r][p].have, chunk);
        }
    }
    if (bb_random_chance(&world->random, 1, 4)) { // here, too, with its dot
        s_apply(&world->staged[p], chunk, index);
        world->staged_dots[p] |= UINT64_C(1) << index;
    }
}

// A source gets from the other what it lacks: some of it, or all.
static void s_spread(world_t *world, bool is_all)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        for (uint32_t c = 0; c < world->chunk_count[p]; c++) {
            for (uint32_t r = 1; r < REPLICAS; r++) {
                if (is_all || bb_random_chance(&world->random, 1, 12)) {
                    s_apply(&world->replicas[r][p].content, &world->chunks[p][c], c);
                    s_add_dot(&world->replicas[r][p].have, &world->chunks[p][c]);
                }
            }
        }
    }
}

static void s_report(world_t *world, uint32_t node)
{
    if (!world->is_up[node]) {
        return;
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bb_have_set_copy(&world->known[node][p], &world->replicas[node][p].have);
    }
    world->answered[node] = world->question_next++;
}

static void s_sync_disk(world_t *world)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        replica_t *replica = &world->replicas[0][p];
        for (uint32_t w = 0; w < WINDOWS; w++) {
            for (uint32_t b = 0; b < BATTERIES; b++) {
                replica->content.bits[w][b] |= world->staged[p].bits[w][b];
            }
        }
        for (uint32_t c = 0; c < world->chunk_count[p]; c++) {
            if (world->staged_dots[p] >> c & 1) {
                s_add_dot(&replica->have, &world->chunks[p][c]);
            }
        }
        world->staged_dots[p] = 0;
        world->staged[p] = (content_t){0};
    }
    bb_segment_sync_synced(world->core);
}

static void s_flush(world_t *world)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        assert_int_equal(bb_have_set_union(&world->replicas[0][p].have, &world->adopting[p]),
                         BB_OK);
        bb_have_set_clear(&world->adopting[p]);
    }
    bb_segment_sync_adopted(world->core);
}

static void s_want_all(world_t *world, bb_segment_sync_use_t use)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bb_segment_sync_want(world->core, p, use);
    }
}

static void s_lose_power(world_t *world)
{
    memset(world->staged, 0, sizeof world->staged);
    memset(world->staged_dots, 0, sizeof world->staged_dots);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bb_have_set_clear(&world->adopting[p]);
    }
    s_core_new(world);
    s_want_all(world, BB_SEGMENT_SYNC_REBUILD);
}

static void s_lose_disk(world_t *world)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        world->replicas[0][p].content = (content_t){0};
        bb_have_set_clear(&world->replicas[0][p].have);
    }
    s_lose_power(world);
}

// ---- the source ------------------------------------------------------------------------------
static flying_t *s_fly(world_t *world)
{
    for (uint32_t i = 0; i < ANSWERS; i++) {
        if (!world->flying[i].is_used) {
            return &world->flying[i];
        }
    }
    return NULL;
}

static uint32_t s_leaves_of(const content_t *content, uint32_t window, bb_sync_leaf_t *leaves)
{
    uint32_t count = 0;
    for (uint32_t b = 0; b < BATTERIES; b++) { // hashes ascend with the numbers
        uint64_t bits = content->bits[window][b];
        if (bits != 0) {
            leaves[count++] = (bb_sync_leaf_t){s_battery_hash(b), bits * 31, ~bits};
        }
    }
    return count;
}

static void s_fill_fetch(world_t *world, const content_t *content, flying_t *answer,
                         const bb_sync_question_t *question)
{
    uint32_t first = question->battery_first.length > 0
                         ? (uint32_t)(((const char *)question->battery_first.data)[0] - 'a')
                         : 0;
    uint32_t limit = first + (uint32_t)bb_random_between(&world->random, 1, BATTERIES);
    bb_sync_leaf_t leaves[BATTERIES];
    uint32_t count = s_leaves_of(content, question->topic.window.day, leaves);
    for (uint32_t b = first; b < BATTERIES && b < limit; b++) {
        uint32_t bucket = (uint32_t)(s_battery_hash(b) % BB_SYNC_BUCKETS);
        bool is_wanted = question->buckets[bucket / 8] >> (bucket % 8) & 1;
        for (uint32_t own = 0; own < count; own++) {
            for (uint32_t i = 0; i < question->leaf_count; i++) {
                is_wanted &= leaves[own].battery != s_battery_hash(b) ||
                             memcmp(&leaves[own], &question->leaves[i], sizeof leaves[own]) != 0;
            }
        }
        answer->bits[b] = is_wanted ? content->bits[question->topic.window.day][b] : 0;
    }
    answer->has_more = limit < BATTERIES;
    answer->next[0] = (char)('a' + limit);
}

static void s_answer(world_t *world, const bb_segment_sync_action_t *action)
{
    flying_t *answer = s_fly(world);
    uint32_t node = action->node;
    bool is_lost = !world->is_quiet && bb_random_chance(&world->random, 1, 10);
    if (!answer || is_lost || !world->is_up[node]) {
        return;
    }
    const content_t *content = &world->replicas[node][action->partition].content;
    *answer = (flying_t){.is_used = true,
                         .request_id = action->request_id,
                         .node = node,
                         .topic = action->question.topic,
                         .incarnation = world->incarnations[node]};
    if (answer->topic.step == BB_SYNC_STEP_WINDOWS) {
        for (uint32_t w = 0; w < WINDOWS; w++) {
            answer->windows[answer->window_count++] = (bb_sync_window_t){BB_SYNC_NORMAL, w};
        }
    } else if (answer->topic.step == BB_SYNC_STEP_BUCKETS) {
        answer->leaf_count = s_leaves_of(content, answer->topic.window.day, answer->leaves);
        for (uint32_t i = 0; i < answer->leaf_count; i++) {
            answer->leaves[i].battery %=
                BB_SYNC_BUCKETS; // here each battery has its own, ascending
        }
    } else {
        s_fill_fetch(world, content, answer, &action->question);
    }
}

static int s_compare_buckets(const void *a, const void *b)
{
    const bb_sync_leaf_t *left = a;
    const bb_sync_leaf_t *right = b;
    return (left->battery > right->battery) - (left->battery < right->battery);
}

static void s_deliver(world_t *world)
{
    uint32_t at = (uint32_t)bb_random_below(&world->random, ANSWERS);
    flying_t *flying = &world->flying[at];
    if (!flying->is_used) {
        return;
    }
    qsort(flying->leaves, flying->leaf_count, sizeof flying->leaves[0], s_compare_buckets);
    bb_slice_t batches[BATTERIES];
    bb_sync_answer_t answer = {.topic = flying->topic,
                               .incarnation = flying->incarnation,
                               .window_count = flying->window_count,
                               .windows = flying->windows,
                               .leaf_count = flying->leaf_count,
                               .leaves = flying->leaves,
                               .has_more = flying->has_more,
                               .battery_next = bb_slice(flying->next, flying->has_more ? 1 : 0),
                               .batches = batches};
    for (uint32_t b = 0; b < BATTERIES; b++) {
        if (flying->bits[b] != 0) {
            batches[answer.batch_count++] = bb_slice(&flying->bits[b], sizeof flying->bits[b]);
        }
    }
    if (bb_segment_sync_check(world->core, flying->node, flying->request_id, &answer) == BB_OK) {
        bool is_taken = world->is_quiet || !bb_random_chance(&world->random, 1, 12);
        for (uint32_t b = 0; is_taken && b < BATTERIES; b++) {
            uint32_t p = flying->topic.partition;
            world->staged[p].bits[flying->topic.window.day][b] |= flying->bits[b];
            world->fetched_count += flying->bits[b] != 0;
        }
        bb_segment_sync_answered(world->core, world->now_ns, flying->request_id, &answer, is_taken);
    }
    if (world->is_quiet || bb_random_chance(&world->random, 3, 4)) {
        flying->is_used = false; // else it comes again
    }
}

// ---- the target ------------------------------------------------------------------------------
static void s_adopt(world_t *world, const bb_segment_sync_action_t *action)
{
    bb_have_set_t *adopting = &world->adopting[action->partition];
    world->adopted_count++;
    assert_int_equal(bb_have_set_union(adopting, action->dots), BB_OK);
    for (uint32_t r = 1; world->adopts_late && r < REPLICAS; r++) {
        assert_int_equal(bb_have_set_union(adopting, &world->known[r][action->partition]), BB_OK);
    }
}

static void s_act(world_t *world)
{
    bb_segment_sync_action_t action;
    while (bb_segment_sync_next(world->core, world->now_ns, &action)) {
        if (action.kind == BB_SEGMENT_SYNC_DO_ASK) {
            s_answer(world, &action);
        } else if (action.kind == BB_SEGMENT_SYNC_DO_READ) {
            // What is staged is not visible yet.
            bb_sync_leaf_t *leaves = bb_alloc(BATTERIES * sizeof *leaves);
            const content_t *content = &world->replicas[0][action.partition].content;
            uint32_t count = s_leaves_of(content, action.window.day, leaves);
            bool is_busy = !world->is_quiet && bb_random_chance(&world->random, 1, 10);
            bb_segment_sync_read(world->core, world->now_ns, action.partition, action.window,
                                 is_busy ? BB_ERR_BUSY : BB_OK, leaves, count);
        } else {
            s_adopt(world, &action);
        }
    }
}

static void s_step(world_t *world)
{
    world->now_ns += (int64_t)bb_random_below(&world->random, 80) * BB_NS_PER_MS;
    uint32_t node = (uint32_t)bb_random_between(&world->random, 1, REPLICAS - 1);
    switch (bb_random_below(&world->random, world->is_quiet ? 8 : 40)) {
    case 0:
    case 1:
        s_report(world, node);
        break;
    case 2:
    case 3:
        s_sync_disk(world);
        break;
    case 4:
        s_flush(world);
        break;
    case 5:
        s_write(world);
        break;
    case 6:
        s_spread(world, false);
        break;
    case 8:
        s_lose_power(world);
        break;
    case 9:
        world->is_up[node] = !world->is_up[node];
        break;
    case 10: // the source starts again
        world->is_up[node] = true;
        s_new_incarnation(world, node);
        break;
    case 11:
    case 12:
        s_spread(world, false);
        break;
    case 13:
        bb_segment_sync_lost(world->core, world->now_ns);
        memset(world->staged, 0, sizeof world->staged);
        memset(world->staged_dots, 0, sizeof world->staged_dots);
        break;
    case 14:
    case 15:
    case 16:
    case 17:
    case 18:
        s_write(world);
        break;
    default:
        for (uint32_t i = 0; i < 40; i++) {
            s_deliver(world);
        }
        break;
    }
    s_act(world);
    s_check(world);
}

static void s_world_open(world_t *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->random = bb_random_seed(seed);
    world->topology = test_topology(REPLICAS, REPLICAS, 0, 0, PARTITIONS, 0);
    world->question_next = 1;
    for (uint32_t r = 0; r < REPLICAS; r++) {
        world->is_up[r] = true;
        s_new_incarnation(world, r);
    }
    s_core_new(world);
}

static void s_world_close(world_t *world)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        for (uint32_t r = 0; r < REPLICAS; r++) {
            bb_have_set_clear(&world->replicas[r][p].have);
            bb_have_set_clear(&world->known[r][p]);
        }
        bb_have_set_clear(&world->adopting[p]);
    }
    bb_segment_sync_destroy(&world->core);
    bb_topology_destroy(&world->topology);
}

// A history: faults for a while, then none. Returns false if replica 0 said that it had what it had
// not.
static bool s_run(world_t *world, uint64_t seed, bool is_late, bool is_anybody)
{
    s_world_open(world, seed);
    world->adopts_late = is_late;
    world->trusts_anybody = is_anybody;
    for (uint32_t i = 0; i < 15; i++) {
        s_write(world);
    }
    s_lose_disk(world);
    for (uint32_t i = 0; i < 300 && !world->is_broken; i++) {
        s_step(world);
    }
    world->is_quiet = true;
    world->is_up[1] = world->is_up[2] = true;
    for (uint32_t i = 0; i < 1500 && !world->is_broken &&
                         bb_segment_sync_left(world->core, BB_SEGMENT_SYNC_REBUILD) > 0;
         i++) {
        s_step(world);
    }
    bool is_sound = !world->is_broken;
    if (is_sound) {
        assert_int_equal(bb_segment_sync_left(world->core, BB_SEGMENT_SYNC_REBUILD), 0);
    }
    return is_sound;
}

// Goal: in thousands of random histories (lost disks, power losses, sources that come and go, late,
// lost and repeated answers, pages) what the have-set says is in every window at every moment, and
// each rebuild ends. Method: the same histories under two wrong rules lose points, so the harness
// sees.
static void test_adoption(void **state)
{
    (void)state;
    world_t *world = bb_alloc(sizeof *world);
    uint32_t late = 0, anybody = 0;
    uint64_t adopted = 0, fetched = 0;
    for (uint64_t seed = 1; seed <= bb_rounds(3000); seed++) {
        if (!s_run(world, seed, false, false)) {
            fail_msg("seed %llu: a have-set says more than the windows have",
                     (unsigned long long)seed);
        }
        adopted += world->adopted_count;
        fetched += world->fetched_count;
        s_world_close(world);
    }
    assert_true(adopted > bb_rounds(3000) && fetched > bb_rounds(3000));
    for (uint64_t seed = 1; seed <= 200; seed++) {
        late += !s_run(world, seed, true, false);
        s_world_close(world);
        anybody += !s_run(world, seed, false, true);
        s_world_close(world);
    }
    print_message("%llu histories sound; of 200 each, unsound: %u adopting late, %u from anybody\n",
                  (unsigned long long)bb_rounds(3000), late, anybody);
    assert_true(late > 100);
    assert_true(anybody > 100);
    free(world);
}

// ---- answers that nobody asked for -----------------------------------------------------------
typedef struct {
    world_t world;
    bb_segment_sync_action_t asked;
} asked_t;

// The core, until it asks for the step.
static void s_until(asked_t *self, bb_sync_step_t step)
{
    world_t *world = &self->world;
    for (uint32_t i = 0; i < 1000; i++) {
        bb_segment_sync_action_t *action = &self->asked;
        world->now_ns += 10 * BB_NS_PER_MS;
        s_sync_disk(world);
        s_report(world, 1);
        s_report(world, 2);
        while (bb_segment_sync_next(world->core, world->now_ns, action)) {
            if (action->kind == BB_SEGMENT_SYNC_DO_ASK && action->question.topic.step == step) {
                return;
            }
            if (action->kind == BB_SEGMENT_SYNC_DO_READ) {
                bb_sync_leaf_t *leaves = bb_alloc_zero(1, sizeof *leaves);
                leaves->high = 1;
                bb_segment_sync_read(world->core, world->now_ns, action->partition, action->window,
                                     BB_OK, leaves, 1);
            } else if (action->kind == BB_SEGMENT_SYNC_DO_ASK) {
                s_answer(world, action);
            }
        }
        for (uint32_t k = 0; k < ANSWERS * 4; k++) {
            s_deliver(world);
        }
    }
    fail_msg("the question never came");
}

static bb_sync_answer_t s_answer_to(const asked_t *self)
{
    return (bb_sync_answer_t){.topic = self->asked.question.topic,
                              .incarnation = self->world.incarnations[self->asked.node]};
}

static bb_error_t s_try(const asked_t *self, const bb_sync_answer_t *answer)
{
    return bb_segment_sync_check(self->world.core, self->asked.node, self->asked.request_id,
                                 answer);
}

static void s_ask_open(asked_t *self, bb_sync_step_t step)
{
    s_world_open(&self->world, 1);
    for (uint32_t i = 0; i < 20; i++) {
        s_write(&self->world);
    }
    self->world.is_quiet = true;
    s_lose_disk(&self->world);
    s_until(self, step);
}

// Goal: an answer counts once, from the node and the process that was asked, about what it was
// asked for; anything else changes nothing.
static void test_hostile_answers(void **state)
{
    (void)state;
    asked_t *self = bb_alloc_zero(1, sizeof *self);
    s_ask_open(self, BB_SYNC_STEP_FETCH);
    bb_sync_answer_t answer = s_answer_to(self);
    assert_int_equal(s_try(self, &answer), BB_OK);
    uint32_t other = self->asked.node == 1 ? 2 : 1;
    assert_int_equal(
        bb_segment_sync_check(self->world.core, other, self->asked.request_id, &answer),
        BB_ERR_PEER_UNKNOWN);
    assert_int_equal(bb_segment_sync_check(self->world.core, self->asked.node,
                                           self->asked.request_id + 1000, &answer),
                     BB_ERR_PEER_UNKNOWN);
    assert_int_equal(bb_segment_sync_check(self->world.core, self->asked.node, 0, &answer),
                     BB_ERR_PEER_UNKNOWN);
    answer.incarnation = test_stream(99);
    assert_int_equal(s_try(self, &answer), BB_ERR_PEER_UNKNOWN);
    answer = s_answer_to(self);
    answer.topic.partition = (answer.topic.partition + 1) % PARTITIONS;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    answer = s_answer_to(self);
    answer.topic.window.day++;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    answer = s_answer_to(self);
    answer.topic.window.kind = BB_SYNC_QUARANTINE;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    answer = s_answer_to(self);
    answer.topic.step = BB_SYNC_STEP_BUCKETS;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    bb_sync_pair_t pair = {0};
    answer = s_answer_to(self);
    answer.pair_count = 1;
    answer.pairs = &pair;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    answer = s_answer_to(self);
    bb_segment_sync_answered(self->world.core, self->world.now_ns, self->asked.request_id, &answer,
                             true);
    assert_int_equal(s_try(self, &answer), BB_ERR_PEER_UNKNOWN); // once
    s_world_close(&self->world);
    free(self);
}

// Goal: pages must get on: by battery, or by time in one battery. Endless ones are refused.
static void test_endless_pages(void **state)
{
    (void)state;
    asked_t *self = bb_alloc_zero(1, sizeof *self);
    s_ask_open(self, BB_SYNC_STEP_FETCH);
    bb_sync_answer_t answer = s_answer_to(self);
    answer.has_more = true;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT); // goes on with nothing
    char id[BB_BATTERY_ID_BYTES_MAX + 1];
    memset(id, 'x', sizeof id);
    answer.battery_next = bb_slice(id, sizeof id);
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT); // too long an id
    answer.battery_next = bb_slice("c", 1);
    answer.from_next_wall_ns = 10;
    assert_int_equal(s_try(self, &answer), BB_OK);
    bb_segment_sync_answered(self->world.core, self->world.now_ns, self->asked.request_id, &answer,
                             true);
    bb_segment_sync_action_t action;
    bool is_asked = false;
    while (!is_asked && bb_segment_sync_next(self->world.core, self->world.now_ns, &action)) {
        is_asked = action.kind == BB_SEGMENT_SYNC_DO_ASK &&
                   action.partition == self->asked.partition &&
                   action.question.topic.step == BB_SYNC_STEP_FETCH;
    }
    assert_true(is_asked);
    self->asked = action;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT); // the same place
    answer.from_next_wall_ns = 9;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    answer.from_next_wall_ns = 11;
    assert_int_equal(s_try(self, &answer), BB_OK);
    answer.battery_next = bb_slice("b", 1);
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT); // back
    answer.battery_next = bb_slice("ca", 2);
    answer.from_next_wall_ns = 0;
    assert_int_equal(s_try(self, &answer), BB_OK);
    s_world_close(&self->world);
    free(self);
}

// Goal: lists ascend, buckets exist, and each step brings only what is its own.
static void test_wrong_forms(void **state)
{
    (void)state;
    asked_t *self = bb_alloc_zero(1, sizeof *self);
    s_ask_open(self, BB_SYNC_STEP_WINDOWS);
    bb_sync_answer_t answer = s_answer_to(self);
    bb_sync_window_t windows[2] = {{BB_SYNC_NORMAL, 2}, {BB_SYNC_NORMAL, 1}};
    answer.windows = windows;
    answer.window_count = 2;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    windows[1].day = 2; // twice
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    windows[1].day = 3;
    assert_int_equal(s_try(self, &answer), BB_OK);
    bb_slice_t batch = bb_slice("", 0);
    answer.batches = &batch;
    answer.batch_count = 1;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    s_world_close(&self->world);

    s_ask_open(self, BB_SYNC_STEP_BUCKETS);
    answer = s_answer_to(self);
    bb_sync_leaf_t leaves[2] = {{3, 1, 1}, {BB_SYNC_BUCKETS, 1, 1}};
    answer.leaves = leaves;
    answer.leaf_count = 2;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    leaves[1].battery = 3;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    leaves[1].battery = 4;
    assert_int_equal(s_try(self, &answer), BB_OK);
    answer.batches = &batch;
    answer.batch_count = 1;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    s_world_close(&self->world);
    free(self);
}

// The same question, when it is one of the phase of results.
static void s_until_results(asked_t *self, bb_sync_step_t step)
{
    for (uint32_t i = 0; i < 100; i++) {
        s_until(self, step);
        if (self->asked.question.topic.window.kind == BB_SYNC_RESULTS) {
            return;
        }
        s_answer(&self->world, &self->asked);
        for (uint32_t k = 0; k < ANSWERS * 4; k++) {
            s_deliver(&self->world);
        }
    }
    fail_msg("results were never asked for");
}

static void s_take_answer(asked_t *self, const bb_sync_answer_t *answer)
{
    assert_int_equal(s_try(self, answer), BB_OK);
    bb_segment_sync_answered(self->world.core, self->world.now_ns, self->asked.request_id, answer,
                             true);
}

// Goal: results of rollups are asked for when the points have come, and before anything is adopted;
// the list has only them, of days that can have passed; pages of them bring pairs and no batches.
static void test_results(void **state)
{
    (void)state;
    asked_t *self = bb_alloc_zero(1, sizeof *self);
    s_world_open(&self->world, 1);
    self->world.results_day = 70;
    self->world.results_day_max = 100;
    for (uint32_t i = 0; i < 20; i++) {
        s_write(&self->world);
    }
    self->world.is_quiet = true;
    s_lose_disk(&self->world);
    s_until_results(self, BB_SYNC_STEP_WINDOWS);
    assert_int_equal(self->asked.question.topic.window.day, 70);
    assert_true(bb_segment_sync_left(self->world.core, BB_SEGMENT_SYNC_REBUILD) > 0);
    bb_sync_answer_t answer = s_answer_to(self);
    bb_sync_window_t windows[2] = {{BB_SYNC_RESULTS, 64}, {BB_SYNC_RESULTS, 101}};
    answer.windows = windows;
    answer.window_count = 2;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT); // a day to come
    windows[1].day = 64;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT); // twice
    windows[0] = (bb_sync_window_t){BB_SYNC_NORMAL, 3};
    windows[1].day = 70;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT); // points
    windows[0] = (bb_sync_window_t){BB_SYNC_RESULTS, 0};
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT); // of no day
    windows[0].day = 64;
    s_take_answer(self, &answer);
    s_until_results(self, BB_SYNC_STEP_BUCKETS);
    assert_int_equal(self->asked.question.topic.window.day, 64);
    answer = s_answer_to(self);
    bb_sync_leaf_t leaf = {3, 1, 1};
    answer.leaves = &leaf;
    answer.leaf_count = 1;
    s_take_answer(self, &answer);
    s_until_results(self, BB_SYNC_STEP_FETCH);
    answer = s_answer_to(self);
    bb_sync_pair_t pair = {bb_slice("b", 1), bb_slice("results", 7)};
    bb_slice_t batch = bb_slice("batch", 5);
    answer.pairs = &pair;
    answer.pair_count = 1;
    answer.batches = &batch;
    answer.batch_count = 1;
    assert_int_equal(s_try(self, &answer), BB_ERR_MESSAGE_CORRUPT);
    answer.batch_count = 0;
    uint64_t bytes = bb_segment_sync_stats(self->world.core).result_bytes;
    s_take_answer(self, &answer);
    assert_int_equal(bb_segment_sync_stats(self->world.core).result_bytes, bytes + 8);
    s_world_close(&self->world);
    free(self);
}

// Goal: results that are missing are compared alone, with somebody though nothing else lacks, and
// nothing is adopted. Method: a replica in step.
static void test_missing_results(void **state)
{
    (void)state;
    asked_t *self = bb_alloc_zero(1, sizeof *self);
    world_t *world = &self->world;
    s_world_open(world, 2);
    world->is_quiet = true;
    world->results_day = 70;
    world->results_day_max = 100;
    bb_segment_sync_want(world->core, 0, BB_SEGMENT_SYNC_RESULTS);
    s_until(self, BB_SYNC_STEP_WINDOWS);
    assert_int_equal(self->asked.question.topic.window.kind, BB_SYNC_RESULTS);
    bb_sync_answer_t answer = s_answer_to(self);
    s_take_answer(self, &answer);
    bb_segment_sync_action_t action;
    assert_true(bb_segment_sync_next(world->core, world->now_ns, &action));
    assert_int_equal(action.kind, BB_SEGMENT_SYNC_DO_ADOPT);
    assert_int_equal(action.dots->stream_count, 0);
    bb_segment_sync_adopted(world->core);
    assert_int_equal(bb_segment_sync_left(world->core, BB_SEGMENT_SYNC_RESULTS), 0);
    s_world_close(world);
    free(self);
}

// Goal: without a majority of the others there is no F0 and no rebuild; a source that says that it
// is damaged is not asked again, and another one is.
static void test_sources(void **state)
{
    (void)state;
    world_t *world = bb_alloc(sizeof *world);
    s_world_open(world, 2);
    for (uint32_t i = 0; i < 10; i++) {
        s_write(world);
    }
    s_spread(world, true);
    s_lose_disk(world);
    world->is_up[2] = false;
    bb_segment_sync_action_t action;
    for (uint32_t i = 0; i < 200; i++) {
        world->now_ns += 100 * BB_NS_PER_MS;
        s_report(world, 1);
        assert_false(bb_segment_sync_next(world->core, world->now_ns, &action));
    }
    world->is_up[2] = true;
    uint32_t bad = UINT32_MAX;
    uint32_t asked_other = 0;
    for (uint32_t i = 0; i < 400 && asked_other == 0; i++) {
        world->now_ns += 100 * BB_NS_PER_MS;
        s_report(world, 1);
        s_report(world, 2);
        while (bb_segment_sync_next(world->core, world->now_ns, &action)) {
            assert_int_equal(action.kind, BB_SEGMENT_SYNC_DO_ASK);
            bad = bad == UINT32_MAX ? action.node : bad;
            if (action.node != bad) {
                asked_other++;
                continue;
            }
            bb_sync_answer_t answer = {.topic = action.question.topic,
                                       .incarnation = world->incarnations[action.node],
                                       .error = BB_ERR_CORRUPT};
            assert_int_equal(
                bb_segment_sync_check(world->core, action.node, action.request_id, &answer), BB_OK);
            bb_segment_sync_answered(world->core, world->now_ns, action.request_id, &answer, true);
        }
    }
    assert_true(asked_other > 0);
    s_world_close(world);
    free(world);
}

// Goal: have-sets say nothing of forgotten streams, so who may lack something compares windows
// though no have-set says that it does, and with one that counts: not with the first that is up.
// Method: nobody has any dot; a repair with one that counts and one that does not, a rebuild.
static void test_nothing_said(void **state)
{
    (void)state;
    world_t *world = bb_alloc(sizeof *world);
    for (uint32_t use = 0; use < 2; use++) {
        s_world_open(world, 3);
        bb_sync_window_t window = {BB_SYNC_NORMAL, 1};
        uint32_t partition = 0;
        if (use == 0) {
            s_want_all(world, BB_SEGMENT_SYNC_REBUILD);
        } else {
            bb_segment_sync_repair(world->core, &window, 1, &partition, 1);
        }
        bb_segment_sync_action_t action;
        uint32_t asked = 0;
        for (uint32_t i = 0; i < 40; i++) {
            world->now_ns += 100 * BB_NS_PER_MS;
            while (bb_segment_sync_next(world->core, world->now_ns, &action)) {
                assert_int_equal(action.kind, BB_SEGMENT_SYNC_DO_ASK);
                assert_true(use == 0 || action.node == 2); // 1 has said nothing that counts
                asked++;
            }
            if (i == 10) {
                assert_int_equal(asked, 0);
                s_report(world, 2);
            }
            if (i == 20 && use == 0) { // a majority of the others
                assert_int_equal(asked, 0);
                s_report(world, 1);
                s_report(world, 2);
            }
        }
        assert_true(asked > 0);
        s_world_close(world);
    }
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adoption),      cmocka_unit_test(test_hostile_answers),
        cmocka_unit_test(test_endless_pages), cmocka_unit_test(test_wrong_forms),
        cmocka_unit_test(test_sources),       cmocka_unit_test(test_nothing_said),
        cmocka_unit_test(test_results),       cmocka_unit_test(test_missing_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
