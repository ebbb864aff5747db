// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_marker.h"
#include "tests/sim/sim_world.h"

#define S_ALL UINT32_MAX

// Sorted by bytes, so that the order of indexes is the order of texts.
static const char *const s_texts[SIM_TEXTS] = {"", "charging", "fault", "idle", "idle "};

typedef struct {
    const char *name;
    bb_type_t type; // 0: drawn for each write; only with options.has_conflicts
} s_metric_t;

static const s_metric_t s_metrics[SIM_METRICS] = {
    {"charge_pct", BB_TYPE_FLOAT64}, {"cycles", BB_TYPE_INT64},
    {"is_on", BB_TYPE_BOOL},         {"mixed", 0},
    {"mode", BB_TYPE_STATE},         {"volts_v", BB_TYPE_FLOAT64},
};

static bb_slice_t s_slice(const char *text)
{
    return bb_slice(text, strlen(text));
}

static bool s_is_equal(bb_slice_t a, bb_slice_t b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static int64_t s_time(bb_random_t *random, bool is_future)
{
    // A grid of few times on three days, so that points meet again; a day ahead is quarantined.
    int64_t day = (int64_t)bb_random_below(random, 3);
    int64_t slot = (int64_t)bb_random_below(random, 40);
    return SIM_WALL_NS_FIRST - (is_future ? -1 : day) * BB_NS_PER_DAY - slot * 10 * BB_NS_PER_S;
}

// ---- values ----------------------------------------------------------------------------------

static uint64_t s_value(bb_random_t *random, bb_type_t type)
{
    switch (type) {
    case BB_TYPE_FLOAT64:
        switch (bb_random_below(random, 16)) {
        case 0:
            return UINT64_C(0x7ff8000000000000); // NaN
        case 1:
            return UINT64_C(0x8000000000000000); // -0.0
        case 2:
            return bb_bits_of_double(-1e300);
        default:
            return bb_bits_of_double((double)bb_random_below(random, 10000) / 10);
        }
    case BB_TYPE_INT64:
        return bb_random_chance(random, 1, 10) ? (uint64_t)INT64_MIN
                                               : bb_random_below(random, 2000) - 1000;
    case BB_TYPE_BOOL:
        return bb_random_below(random, 2);
    default:
        return bb_random_below(random, SIM_TEXTS);
    }
}

static uint32_t s_text_index(bb_slice_t text)
{
    for (uint32_t i = 0; i < SIM_TEXTS; i++) {
        if (s_is_equal(s_slice(s_texts[i]), text)) {
            return i;
        }
    }
    return UINT32_MAX;
}

uint32_t sim_client_metric(bb_slice_t name)
{
    for (uint32_t i = 0; i < SIM_METRICS; i++) {
        if (s_is_equal(s_slice(s_metrics[i].name), name)) {
            return i;
        }
    }
    return UINT32_MAX;
}

uint32_t sim_client_battery(bb_slice_t id)
{
    char text[16] = "";
    unsigned index = UINT32_MAX;
    if (id.length < sizeof text) {
        memcpy(text, id.data, id.length);
        if (sscanf(text, "bat-%u", &index) != 1 || index >= SIM_BATTERIES_MAX) {
            index = UINT32_MAX;
        }
    }
    return index;
}

// ---- operations ------------------------------------------------------------------------------

void sim_client_op_clear(sim_op_t *op)
{
    if (op->is_write && op->is_used) {
        bb_batch_close(&op->batch);
    }
    bb_buffer_drop(&op->buffer);
    free(op->points);
    free(op->judged_points);
    free(op->rows);
    free(op->events);
    *op = (sim_op_t){0};
}

bool sim_client_is_idle(const sim_world_t *self)
{
    for (uint32_t i = 0; i < self->options.client_count; i++) {
        if (self->clients[i].op != S_ALL) {
            return false;
        }
    }
    return true;
}

// One frame of a battery, with a random set of its metrics.
static void s_add_frame(sim_world_t *self, bb_batch_builder_t *builder, uint32_t battery_index,
                        uint32_t partition, uint64_t revision)
{
    bb_random_t *random = &self->random_work;
    char id[16];
    snprintf(id, sizeof id, "bat-%02u", battery_index);
    uint32_t battery = 0, shape = 0, count = 0, order[SIM_METRICS];
    bb_slice_t names[SIM_METRICS];
    uint8_t types[SIM_METRICS];
    uint32_t mask = (uint32_t)bb_random_between(random, 1, (1u << SIM_METRICS) - 1);
    if (!self->options.has_conflicts) {
        mask = (mask & ~(1u << 3)) != 0 ? mask & ~(1u << 3) : 1;
    }
    for (uint32_t i = 0; i < SIM_METRICS; i++) {
        if ((mask >> i & 1) != 0) {
            names[count] = s_slice(s_metrics[i].name);
            types[count++] =
                (uint8_t)(s_metrics[i].type != 0 ? s_metrics[i].type
                                                 : bb_random_between(random, 1, BB_TYPE_LAST));
        }
    }
    bb_attribute_t attribute = {s_slice("site"), s_slice(battery_index % 2 ? "north" : "south")};
    bb_error_t error = bb_batch_builder_battery(builder, partition, s_slice(id), &attribute,
                                                bb_random_below(random, 2) != 0, &battery, NULL);
    BB_ASSERT(error == BB_OK);
    error = bb_batch_builder_shape(builder, names, types, count, &shape, order, NULL);
    BB_ASSERT(error == BB_OK);
    uint64_t values[SIM_METRICS];
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bits = s_value(random, types[i]);
        if (types[i] == BB_TYPE_STATE) {
            uint32_t state = 0;
            error = bb_batch_builder_state(builder, s_slice(s_texts[bits]), &state, NULL);
            BB_ASSERT(error == BB_OK);
            bits = state;
        }
        values[order[i]] = bits;
    }
    // Corrections are of the past: a release gives points revision 0 (see README.md).
    bool is_future = bb_random_chance(random, 1, 50) && (uint32_t)revision == 0;
    int64_t time_wall_ns = s_time(random, is_future);
    if (self->options.has_near_future && bb_random_chance(random, 1, 20) &&
        (uint32_t)revision == 0) {
        time_wall_ns = sim_near_time(random);
    }
    error = bb_batch_builder_frame(builder, battery, shape, time_wall_ns, values);
    BB_ASSERT(error == BB_OK);
}

// Tells the checker what is about to be sent, value by value.
static void s_note_written(sim_world_t *self, sim_op_t *op)
{
    const bb_batch_t *batch = &op->batch;
    op->points = bb_alloc(batch->value_count * sizeof *op->points);
    op->judged_points = bb_alloc(batch->value_count * sizeof *op->judged_points);
    uint64_t value = 0;
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        const bb_batch_shape_t *shape = &batch->shapes[at.run->shape];
        for (uint32_t i = 0; i < at.run->frame_count * shape->metric_count; i++, value++) {
            uint32_t metric = i % shape->metric_count, frame = i / shape->metric_count;
            int64_t time_wall_ns = batch->times_wall_ns[at.frame_first + frame];
            uint64_t bits = bb_batch_value(batch, &at, frame, metric);
            if (shape->types[metric] == BB_TYPE_STATE) {
                bits = s_text_index(batch->states[bits]);
            }
            bb_checker_key_t key = {.battery =
                                        sim_client_battery(batch->batteries[at.run->battery].id),
                                    .metric = sim_client_metric(shape->names[metric]),
                                    .time_wall_ns = time_wall_ns,
                                    .is_future = time_wall_ns > SIM_WALL_NS_FIRST};
            bb_checker_version_t version = {
                .revision = batch->revision, .type = shape->types[metric], .bits = bits};
            op->points[value] = bb_checker_written(self->checker, &key, &version);
            for (uint32_t verdict = 0; verdict < 2; verdict++) {
                key.is_future = sim_near_is(time_wall_ns) ? verdict == 1 : key.is_future;
                op->judged_points[value][verdict] =
                    bb_checker_written(self->checker, &key, &version);
            }
        }
    }
}

// In one store: cutting requests by store is the router's work, which is not simulated.
static bool s_holds_all(const sim_world_t *self, const sim_op_t *op, uint32_t node)
{
    uint32_t store_count = self->nodes[node].store_count;
    for (uint32_t i = 0; i < op->batch.part_count; i++) {
        uint32_t partition = op->batch.parts[i].partition;
        if (!sim_world_is_replica(self, partition, node) ||
            partition % store_count != op->batch.parts[0].partition % store_count) {
            return false;
        }
    }
    return true;
}

// Half of all are at the default level, the others at any.
static bb_level_t s_draw_level(bb_random_t *random)
{
    return bb_random_chance(random, 1, 2)
               ? BB_LEVEL_LOCAL_QUORUM
               : (bb_level_t)bb_random_between(random, BB_LEVEL_ONE, BB_LEVEL_ALL);
}

// Where what was acknowledged at a level must be seen: by local_quorum reads in the data centres of
// the mask, and, with S_GLOBAL, by quorum reads anywhere.
#define S_GLOBAL (1u << 15)
static uint32_t s_promise_mask(const sim_world_t *self, bb_level_t level, uint32_t dc)
{
    uint32_t every = (1u << self->options.dc_count) - 1;
    switch (level) {
    case BB_LEVEL_ONE:
        return 0;
    case BB_LEVEL_LOCAL_QUORUM:
        return 1u << dc;
    case BB_LEVEL_QUORUM:
        return 1u << dc | S_GLOBAL;
    case BB_LEVEL_EACH_QUORUM:
    case BB_LEVEL_ALL:
        return every | S_GLOBAL;
    }
    return 0;
}

// The promises that a read at the level must hold: those that count in any bit of the mask; 0: all
// that there are.
static uint32_t s_read_mask(const sim_world_t *self, bb_level_t level, uint32_t dc)
{
    uint32_t every = (1u << self->options.dc_count) - 1;
    return level == BB_LEVEL_ALL && !sim_twin_is_there(self) ? 0
           : level >= BB_LEVEL_EACH_QUORUM                   ? every | S_GLOBAL
           : level == BB_LEVEL_QUORUM                        ? 1u << dc | S_GLOBAL
                                                             : 1u << dc;
}

// Which store of the node is asked.
static uint32_t s_draw_store(sim_world_t *self, uint32_t node)
{
    uint32_t store_count = self->nodes[node].store_count;
    return store_count > 1 ? (uint32_t)bb_random_below(&self->random_work, store_count) : 0;
}

static bool s_is_in(const sim_world_t *self, uint32_t partition, uint32_t node, uint32_t store)
{
    return partition % self->nodes[node].store_count == store;
}

// Which generation a batch has: any that some client has heard of, so that many are too old.
static uint64_t s_draw_generation(sim_world_t *self)
{
    uint32_t largest = 0;
    for (uint32_t i = 0; i < self->options.battery_count; i++) {
        largest = BB_MAX(largest, self->generations[i]);
    }
    if (!self->options.has_deletes || largest == 0) {
        return 0;
    }
    return (uint64_t)bb_random_below(&self->random_work, largest + 1) << 32;
}

// One battery of the store loses something. Its generation is one more than anybody has sent: what
// a client reads is no larger. Now and then two deletes have the same.
static bool s_draw_delete(sim_world_t *self, sim_op_t *op, uint32_t store)
{
    bb_random_t *random = &self->random_work;
    uint32_t battery = (uint32_t)bb_random_below(random, self->options.battery_count);
    uint32_t partition = self->battery_partition[battery];
    if (!s_is_in(self, partition, op->node, store) ||
        !sim_world_is_replica(self, partition, op->node)) {
        return false;
    }
    bool is_same = self->generations[battery] > 0 && bb_random_chance(random, 1, 4);
    self->generations[battery] += !is_same;
    bb_checker_marker_t marker = {.battery = battery,
                                  .metric = bb_random_chance(random, 1, 2)
                                                ? S_ALL
                                                : (uint32_t)bb_random_below(random, SIM_METRICS),
                                  .generation = self->generations[battery],
                                  .to_wall_ns = BB_TIME_WALL_NS_LIMIT};
    if (bb_random_chance(random, 2, 3)) {
        marker.from_wall_ns = s_time(random, false);
        marker.to_wall_ns =
            marker.from_wall_ns + (int64_t)bb_random_between(random, 1, (uint64_t)BB_NS_PER_DAY);
    }
    char id[16];
    snprintf(id, sizeof id, "bat-%02u", battery);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_batch_builder_markers(builder, marker.generation);
    const bb_marker_t sent = {
        s_slice(marker.metric == S_ALL ? BB_MARKER_ALL_METRICS : s_metrics[marker.metric].name),
        marker.from_wall_ns, marker.to_wall_ns};
    bb_error_t error = bb_marker_add(builder, partition, s_slice(id), &sent, NULL);
    BB_ASSERT(error == BB_OK);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_batch_builder_finish(builder, &data, &length, NULL);
    bb_batch_builder_destroy(&builder);
    op->is_write = op->is_used = op->is_delete = true;
    op->buffer = bb_buffer_new(data, length, NULL, NULL);
    error = bb_batch_open(&op->batch, bb_slice(data, length), NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
    op->points = bb_alloc(sizeof *op->points);
    op->points[0] = bb_checker_deleting(self->checker, &marker);
    return true;
}

// Batteries that one store holds, so that it may coordinate. False: it holds none.
static bool s_draw_write(sim_world_t *self, sim_op_t *op)
{
    bb_random_t *random = &self->random_work;
    op->node = (uint32_t)bb_random_below(random, self->options.node_count);
    uint32_t store = s_draw_store(self, op->node);
    op->level = s_draw_level(random);
    if (self->options.has_deletes && bb_random_chance(random, 1, 15)) {
        return s_draw_delete(self, op, store);
    }
    uint64_t revision = bb_random_chance(random, 1, 8) ? bb_random_between(random, 1, 3) : 0;
    revision |= s_draw_generation(self);
    bb_batch_builder_t *builder = bb_batch_builder_new(revision);
    uint32_t frames = (uint32_t)bb_random_between(random, 1, self->options.frames_max);
    uint32_t misplaced = bb_random_chance(random, 1, 200); // a client with an old table
    for (uint32_t i = 0; i < 3 * frames && bb_batch_builder_frame_count(builder) < frames; i++) {
        uint32_t battery = (uint32_t)bb_random_below(random, self->options.battery_count);
        uint32_t partition = self->battery_partition[battery];
        if (s_is_in(self, partition, op->node, store) &&
            (misplaced > 0 || sim_world_is_replica(self, partition, op->node))) {
            s_add_frame(self, builder, battery, partition, revision);
            self->generations[battery] =
                BB_MAX(self->generations[battery], (uint32_t)(revision >> 32));
        }
    }
    bool is_any = bb_batch_builder_frame_count(builder) > 0;
    if (is_any) {
        uint8_t *data = NULL;
        size_t length = 0;
        bb_batch_builder_finish(builder, &data, &length, NULL);
        op->is_write = true;
        op->is_used = true;
        op->buffer = bb_buffer_new(data, length, NULL, NULL);
        bb_error_t error = bb_batch_open(&op->batch, bb_slice(data, length), NULL);
        BB_ASSERT(error == BB_OK); // our own encoding
        s_note_written(self, op);
    }
    bb_batch_builder_destroy(&builder);
    return is_any;
}

// All at local_quorum of a node that has just found out that its disk was lost.
static bool s_draw_probe(sim_world_t *self, sim_op_t *op)
{
    if (self->probe_count == 0) {
        return false;
    }
    self->probe_count--;
    op->is_used = true;
    op->node = self->probe_node;
    op->level = BB_LEVEL_LOCAL_QUORUM;
    op->mode = BB_QUERY_RAW;
    uint32_t store = s_draw_store(self, op->node);
    for (uint32_t p = 0; p < self->options.partition_count; p++) {
        if (s_is_in(self, p, op->node, store) && sim_world_is_replica(self, p, op->node)) {
            op->partitions[op->partition_count++] = p;
            op->is_asked[p] = true;
        }
    }
    op->from_wall_ns = BB_TIME_WALL_NS_FIRST;
    op->to_wall_ns = BB_TIME_WALL_NS_LIMIT - 1;
    op->battery = op->metric = S_ALL;
    return true;
}

static void s_draw_read(sim_world_t *self, sim_op_t *op)
{
    if (s_draw_probe(self, op)) {
        return;
    }
    bb_random_t *random = &self->random_work;
    op->is_used = true;
    op->node = (uint32_t)bb_random_below(random, self->options.node_count);
    uint32_t store = s_draw_store(self, op->node);
    op->level = bb_random_chance(random, 3, 4) ? BB_LEVEL_LOCAL_QUORUM : s_draw_level(random);
    op->mode = bb_random_chance(random, 1, 10) ? BB_QUERY_QUARANTINE : BB_QUERY_RAW;
    bool is_all = bb_random_chance(random, 1, 2);
    bool is_stray = bb_random_chance(random, 1, 5); // asks for what the node does not hold, too
    for (uint32_t p = 0; p < self->options.partition_count; p++) {
        bool is_wanted = is_all || bb_random_chance(random, 1, 3);
        if (is_wanted && s_is_in(self, p, op->node, store) &&
            (is_stray || sim_world_is_replica(self, p, op->node))) {
            op->partitions[op->partition_count++] = p;
            op->is_asked[p] = true;
        }
    }
    op->from_wall_ns = BB_TIME_WALL_NS_FIRST;
    op->to_wall_ns = BB_TIME_WALL_NS_LIMIT - 1;
    if (bb_random_chance(random, 1, 4)) {
        op->from_wall_ns = s_time(random, false);
        op->to_wall_ns = op->from_wall_ns + (int64_t)bb_random_below(random, 2 * BB_NS_PER_DAY);
    }
    op->battery = bb_random_chance(random, 1, 5)
                      ? (uint32_t)bb_random_below(random, self->options.battery_count)
                      : S_ALL;
    op->metric =
        bb_random_chance(random, 1, 5) ? (uint32_t)bb_random_below(random, SIM_METRICS) : S_ALL;
    // Pages are of different moments: a point whose type changes in between may be in two series.
    op->page_bytes_max = bb_random_chance(random, 1, 4) && !self->options.has_conflicts ? 2048 : 0;
    if (sim_session_is_on(self, (uint32_t)(op - self->ops)) && bb_random_chance(random, 2, 3)) {
        op->is_session = true;
        op->level = bb_random_chance(random, 3, 4) ? BB_LEVEL_ONE : BB_LEVEL_LOCAL_QUORUM;
    }
}

// ---- attempts --------------------------------------------------------------------------------

static void s_send_query(sim_world_t *self, const sim_op_t *op, uint64_t attempt)
{
    uint8_t *session = NULL;
    char id[16];
    snprintf(id, sizeof id, "bat-%02u", op->battery);
    bb_slice_t battery = s_slice(id);
    bb_slice_t metric = s_slice(op->metric < SIM_METRICS ? s_metrics[op->metric].name : "");
    bb_message_t message = {.kind = BB_KIND_QUERY,
                            .request_id = attempt + 1,
                            .timeout_ns = op->timeout_ns,
                            .query = {.mode = op->mode,
                                      .level = op->level,
                                      .from_wall_ns = op->from_wall_ns,
                                      .to_wall_ns = op->to_wall_ns,
                                      .partition_count = op->partition_count,
                                      .partitions = op->partitions,
                                      .battery_count = op->battery != S_ALL,
                                      .batteries = &battery,
                                      .metric_count = op->metric != S_ALL,
                                      .metrics = &metric,
                                      .page_bytes_max = op->page_bytes_max,
                                      .cursor = bb_slice(op->cursor, op->cursor_length)}};
    sim_session_ask(self, op, &message.query, &session);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(&message, &data, &length);
    free(session);
    bb_outbound_t out = {.envelope = bb_buffer_new(data, length, NULL, NULL)};
    sim_net_to_node(self, attempt, &out);
    bb_buffer_drop(&out.envelope);
}

static void s_send_write(sim_world_t *self, const sim_op_t *op, uint64_t attempt)
{
    bb_message_t message = {
        .kind = BB_KIND_WRITE,
        .request_id = attempt + 1,
        .timeout_ns = op->timeout_ns,
        .write = {.level = op->level,
                  .deletes = op->is_delete,
                  .wants_session = sim_session_is_on(self, (uint32_t)(op - self->ops))}};
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(&message, &data, &length);
    bb_outbound_t out = {.envelope = bb_buffer_new(data, length, NULL, NULL), .body = op->buffer};
    sim_net_to_node(self, attempt, &out);
    bb_buffer_drop(&out.envelope);
}

static uint32_t s_store(const sim_world_t *self, const sim_op_t *op)
{
    uint32_t partition = op->is_write ? op->batch.parts[0].partition : op->partitions[0];
    return partition % self->nodes[op->node].store_count;
}

// To the node of the operation; its number.
static uint64_t s_send(sim_world_t *self, uint32_t client)
{
    sim_op_t *op = &self->ops[client];
    if (self->attempt_count == self->attempt_capacity) {
        self->attempt_capacity = BB_MAX(2 * self->attempt_capacity, UINT64_C(256));
        self->attempts =
            bb_realloc(self->attempts, self->attempt_capacity * sizeof *self->attempts);
    }
    uint64_t attempt = self->attempt_count++;
    self->attempts[attempt] = (sim_attempt_t){.client = client,
                                              .node = op->node,
                                              .store = s_store(self, op),
                                              .serial = op->serial,
                                              .is_open = true,
                                              .part_count = op->batch.part_count};
    if (op->is_write) {
        s_send_write(self, op, attempt);
    } else {
        s_send_query(self, op, attempt);
    }
    sim_event_t event = {.kind = SIM_EVENT_GIVE_UP, .other = client, .number = attempt};
    sim_events_add(self->events, sim_world_now_ns(self) + op->timeout_ns + 200 * BB_NS_PER_MS,
                   &event);
    return attempt;
}

static void s_attempt(sim_world_t *self, uint32_t client)
{
    const sim_op_t *op = &self->ops[client];
    sim_hedge_end(self, client);
    self->clients[client].attempt = s_send(self, client);
    if (!op->is_write && op->cursor_length == 0) {
        sim_hedge_begin(self, client);
    }
}

// It takes long.
static void s_hedge(sim_world_t *self, uint32_t client)
{
    sim_op_t *op = &self->ops[client];
    uint32_t first = op->node, node = sim_hedge_node(self, client);
    if (node != UINT32_MAX) {
        op->node = node;
        self->clients[client].hedge = s_send(self, client);
        op->node = first;
    }
}

static void s_plan_next(sim_world_t *self, uint32_t client)
{
    sim_event_t event = {.kind = SIM_EVENT_CLIENT, .other = client};
    bb_random_t random = sim_world_stream(self, SIM_STREAM_THINK,
                                          sim_operation_number(client, self->clients[client].turn));
    sim_events_add(self->events,
                   sim_world_now_ns(self) +
                       sim_world_exponential(&random, self->options.think_mean_ns),
                   &event);
}

static void s_end(sim_world_t *self, uint32_t client)
{
    // A late answer still tells what was promised: attempts keep the numbers, the op is done.
    self->attempts[self->clients[client].attempt].is_open = false;
    self->clients[client].op = S_ALL;
    sim_hedge_end(self, client);
    s_plan_next(self, client);
}

static void s_begin(sim_world_t *self, uint32_t client)
{
    if (self->is_calm || self->clients[client].op != S_ALL) {
        return;
    }
    sim_op_t *op = &self->ops[client];
    sim_client_op_clear(op);
    uint64_t number = sim_operation_number(client, self->clients[client].turn++);
    self->random_work = sim_world_stream(self, SIM_STREAM_OPERATION, number);
    if (!sim_keep_has(&self->options.keep_operations, number)) {
        s_plan_next(self, client);
        return;
    }
    bool is_read = bb_random_chance(&self->random_work, self->options.read_per_mille, 1000);
    if (is_read) {
        s_draw_read(self, op);
    } else if (!s_draw_write(self, op)) {
        s_plan_next(self, client);
        return;
    }
    if (is_read && op->partition_count == 0) {
        op->is_used = false;
        s_plan_next(self, client);
        return;
    }
    op->timeout_ns = (int64_t)bb_random_between(&self->random_work, 300, 1500) * BB_NS_PER_MS;
    op->attempts_left = is_read ? 1 : 3;
    op->moment = ++self->moment;
    op->serial = ++self->op_count;
    self->clients[client].op = client;
    s_attempt(self, client);
}

// A client that draws another generation for a repetition: a bug, if it is planted. The checker
// knows of the first one only.
static void s_redraw(sim_world_t *self, sim_op_t *op)
{
    bb_batch_cursor_t at;
    bb_batch_cursor_start(&op->batch, &at);
    bool has_run = bb_batch_cursor_next(&op->batch, &at);
    BB_ASSERT(has_run);
    bb_slice_t id = op->batch.batteries[at.run->battery].id;
    const bb_marker_t marker = bb_marker_of(&op->batch, &at, 0);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_batch_builder_markers(builder, ++self->generations[sim_client_battery(id)]);
    bb_error_t error = bb_marker_add(builder, at.part->partition, id, &marker, NULL);
    BB_ASSERT(error == BB_OK);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_batch_builder_finish(builder, &data, &length, NULL);
    bb_batch_builder_destroy(&builder);
    bb_batch_close(&op->batch);
    bb_buffer_drop(&op->buffer);
    op->buffer = bb_buffer_new(data, length, NULL, NULL);
    error = bb_batch_open(&op->batch, bb_slice(data, length), NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
}

// Elsewhere if anybody else holds all of it.
static void s_retry(sim_world_t *self, uint32_t client)
{
    sim_op_t *op = &self->ops[client];
    self->attempts[self->clients[client].attempt].is_open = false;
    if (!op->is_write || --op->attempts_left == 0) {
        s_end(self, client);
        return;
    }
    if (op->is_delete && self->options.planted == BB_PLANTED_RETRY_NOT_IDEMPOTENT) {
        s_redraw(self, op);
    }
    for (uint32_t i = 1; i <= self->options.node_count; i++) {
        uint32_t node = (op->node + i) % self->options.node_count;
        if (s_holds_all(self, op, node)) {
            op->node = node;
            break;
        }
    }
    s_attempt(self, client);
}

// ---- promises --------------------------------------------------------------------------------

// Values of the batch that the reply names as refused.
static void s_mark_rejected(const sim_op_t *op, const bb_write_reply_t *reply, bool *is_rejected)
{
    const bb_batch_t *batch = &op->batch;
    uint64_t value = 0;
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        const bb_batch_shape_t *shape = &batch->shapes[at.run->shape];
        for (uint32_t i = 0; i < at.run->frame_count * shape->metric_count; i++, value++) {
            uint32_t frame = at.frame_first + i / shape->metric_count;
            bb_slice_t name = shape->names[i % shape->metric_count];
            for (uint32_t r = 0; r < reply->rejection_count; r++) {
                const bb_rejection_t *rejection = &reply->rejections[r];
                bool is_it = rejection->frame == frame &&
                             (rejection->metric.length == 0 || s_is_equal(rejection->metric, name));
                is_rejected[value] |= is_it;
            }
        }
    }
}

static void s_promised(sim_world_t *self, const sim_attempt_t *attempt, sim_op_t *op,
                       const bb_write_reply_t *reply)
{
    sim_near_note(op, attempt);
    uint64_t count = op->batch.value_count;
    bool *is_rejected = bb_alloc_zero(count, sizeof *is_rejected);
    s_mark_rejected(op, reply, is_rejected);
    bool is_kept = sim_check_is_kept(self, attempt, op->level);
    uint32_t dc_mask = s_promise_mask(self, op->level, self->nodes[attempt->node].dc);
    uint64_t acked = 0;
    uint64_t moment = ++self->moment;
    for (uint64_t i = 0; i < count; i++) {
        acked += !is_rejected[i];
        self->counters.deletes_acked += !is_rejected[i] && op->is_delete;
        if (is_rejected[i] || !is_kept) {
            continue;
        }
        if (op->is_delete) {
            bb_checker_deleted(self->checker, op->points[i], moment, dc_mask);
        } else if (!sim_near_may_hide(op, i)) {
            bb_checker_acknowledged(self->checker, op->points[i], moment, dc_mask);
        }
    }
    self->counters.points_rejected += count - acked;
    for (uint32_t r = 0; r < reply->rejection_count; r++) {
        self->counters.points_deleted_before += reply->rejections[r].error == BB_ERR_GENERATION;
    }
    if (acked != reply->acked_points || count - acked != reply->rejected_points) {
        sim_trace_fail(&self->trace,
                       "a reply counts %" PRIu64 " acknowledged and %" PRIu64
                       " rejected points, and names %" PRIu64 " and %" PRIu64,
                       reply->acked_points, reply->rejected_points, acked, count - acked);
    }
    if (acked > 0 && !s_holds_all(self, op, attempt->node)) {
        sim_trace_fail(&self->trace, "node %u acknowledged a partition that it does not hold",
                       attempt->node);
    }
    if (acked > 0) {
        sim_check_level(self, attempt, op->level);
    }
    free(is_rejected);
}

void sim_client_emitted(sim_world_t *self, uint64_t number, const bb_outbound_t *message)
{
    sim_attempt_t *attempt = &self->attempts[number];
    bb_message_t answer;
    bb_fault_t fault = {0};
    bb_error_t error = bb_message_decode(&answer, bb_buffer_slice(message->envelope), &fault);
    if (error != BB_OK) {
        sim_trace_fail(&self->trace, "an answer cannot be read: %s", fault.text);
        return;
    }
    sim_trace_fold(&self->trace, number << 8 | answer.kind);
    if (answer.request_id != number + 1) {
        sim_trace_fail(&self->trace, "the answer to %" PRIu64 " names %" PRIu64, number + 1,
                       answer.request_id);
    }
    // A promise counts though the client waits no more; only when it has gone on to its next
    // operation is it no longer known here what was promised.
    sim_op_t *op = &self->ops[attempt->client];
    if (answer.kind == BB_KIND_WRITE_REPLY && op->serial == attempt->serial) {
        s_promised(self, attempt, op, &answer.write_reply);
        self->counters.writes_acked_one += op->level == BB_LEVEL_ONE;
        self->counters.writes_acked_local_quorum += op->level == BB_LEVEL_LOCAL_QUORUM;
        self->counters.writes_acked_quorum += op->level == BB_LEVEL_QUORUM;
        self->counters.writes_acked_each_quorum += op->level == BB_LEVEL_EACH_QUORUM;
        self->counters.writes_acked_all += op->level == BB_LEVEL_ALL;
    }
    bb_message_close(&answer);
}

// ---- reads -----------------------------------------------------------------------------------

static bool s_is_asked(void *context, const bb_checker_key_t *key)
{
    const sim_world_t *self = ((void **)context)[0];
    const sim_op_t *op = ((void **)context)[1];
    uint32_t partition = self->battery_partition[key->battery];
    if (key->metric == SIM_METRIC_PASSED && key->time_wall_ns < self->floor_wall_ns) {
        return false; // retention has passed it by
    }
    return op->is_asked[partition] &&
           (self->is_released ? op->mode == BB_QUERY_RAW
                              : key->is_future == (op->mode == BB_QUERY_QUARANTINE)) &&
           key->time_wall_ns >= op->from_wall_ns && key->time_wall_ns < op->to_wall_ns &&
           (op->battery == S_ALL || op->battery == key->battery) &&
           (op->metric == S_ALL || op->metric == key->metric);
}

// A later page may miss a partition of which an earlier one held a part.
static bool s_is_owed(void *context, const bb_checker_key_t *key)
{
    const sim_world_t *self = ((void **)context)[0];
    const sim_op_t *op = ((void **)context)[1];
    return !op->is_missing[self->battery_partition[key->battery]] && s_is_asked(context, key);
}

bool sim_client_rows(sim_world_t *self, sim_op_t *op, bb_slice_t encoded)
{
    bb_page_t page;
    bb_fault_t fault = {0};
    if (bb_page_open(&page, encoded, &fault) != BB_OK) {
        sim_trace_fail(&self->trace, "a page cannot be read: %s", fault.text);
        return false;
    }
    bool is_good = true;
    for (uint32_t s = 0; s < page.series_count && is_good; s++) {
        const bb_series_t *series = &page.series[s];
        uint32_t battery = sim_client_battery(series->battery);
        uint32_t metric = sim_client_metric(series->metric);
        bool is_event = self->options.has_rules && sim_watch_is_event(series->metric);
        is_good = battery != UINT32_MAX && (metric != UINT32_MAX || is_event);
        for (uint32_t i = 0; i < series->row_count && is_good && is_event; i++) {
            sim_watch_event_t event = {battery, series->times_wall_ns[i], series->type,
                                       series->values[i]};
            sim_watch_saw(op, &event);
        }
        for (uint32_t i = 0; i < series->row_count && is_good && !is_event; i++) {
            if (op->row_count == op->row_capacity) {
                op->row_capacity = BB_MAX(2 * op->row_capacity, 256u);
                op->rows = bb_realloc(op->rows, op->row_capacity * sizeof *op->rows);
            }
            uint64_t bits = series->values[i];
            if (series->type == BB_TYPE_STATE) {
                bits = s_text_index(page.states[bits]);
            }
            op->rows[op->row_count++] =
                (sim_row_t){.key = {.battery = battery,
                                    .metric = metric,
                                    .time_wall_ns = series->times_wall_ns[i],
                                    .is_future = op->mode == BB_QUERY_QUARANTINE ||
                                                 (self->is_released &&
                                                  series->times_wall_ns[i] > SIM_WALL_NS_FIRST)},
                            .type = series->type,
                            .bits = bits};
        }
    }
    bb_page_close(&page);
    if (!is_good) {
        sim_trace_fail(&self->trace, "phantom series: a battery or metric that nobody wrote");
    }
    return is_good;
}

void sim_client_check_read(sim_world_t *self, const sim_op_t *op, uint32_t dc_mask,
                           bool is_bound_to_promises, const char *who)
{
    void *context[2] = {self, (void *)(uintptr_t)op};
    bb_checker_read_t read = {.moment = op->moment,
                              .dc_mask = dc_mask,
                              .is_bound_to_promises = is_bound_to_promises,
                              .is_asked = s_is_asked,
                              .is_owed = s_is_owed,
                              .context = context};
    char text[512] = "";
    bb_checker_begin(self->checker, &read);
    for (uint32_t i = 0; i < op->row_count; i++) {
        const sim_row_t *row = &op->rows[i];
        if (!bb_checker_point(self->checker, &row->key, row->type, row->bits, text, sizeof text)) {
            break;
        }
    }
    if (text[0] != 0 || !bb_checker_end(self->checker, text, sizeof text)) {
        sim_trace_fail(&self->trace, "%s: %s", who, text);
    }
}

// The client has its acknowledgement.
static void s_wrote_in_session(sim_world_t *self, uint32_t client, const bb_write_reply_t *reply)
{
    sim_op_t *op = &self->ops[client];
    if (!sim_session_is_on(self, client) || reply->acked_points == 0) {
        return;
    }
    sim_near_note(op, &self->attempts[self->clients[client].attempt]);
    bool *is_rejected = bb_alloc_zero(op->batch.value_count, sizeof *is_rejected);
    s_mark_rejected(op, reply, is_rejected);
    for (uint64_t i = 0; i < op->batch.value_count; i++) {
        is_rejected[i] |= sim_near_may_hide(op, i);
    }
    sim_session_note(self, client, reply->session);
    sim_session_wrote(self, client, is_rejected);
    free(is_rejected);
}

static void s_on_result(sim_world_t *self, uint32_t client, const bb_result_t *result,
                        bb_slice_t page)
{
    sim_op_t *op = &self->ops[client];
    for (uint32_t i = 0; i < result->missing_count; i++) {
        bb_error_t error = result->missing[i].error;
        self->counters.missing_unavailable += error == BB_ERR_UNAVAILABLE;
        self->counters.missing_timeout += error == BB_ERR_TIMEOUT;
        self->counters.missing_behind += error == BB_ERR_BEHIND;
        self->counters.missing_not_replica += error == BB_ERR_NOT_REPLICA;
        uint32_t partition = result->missing[i].partition;
        if (partition >= self->options.partition_count || !op->is_asked[partition]) {
            sim_trace_fail(&self->trace, "an answer misses partition %u, which was not asked for",
                           partition);
            return;
        }
        op->is_missing[partition] = true;
    }
    uint32_t missing_count = 0;
    for (uint32_t i = 0; i < op->partition_count; i++) {
        missing_count += op->is_missing[op->partitions[i]];
        if (!op->is_missing[op->partitions[i]] &&
            !sim_world_is_replica(self, op->partitions[i], op->node)) {
            sim_trace_fail(&self->trace, "node %u answers for partition %u silently", op->node,
                           op->partitions[i]);
        }
    }
    if (!sim_client_rows(self, op, page)) {
        return;
    }
    if (op->is_session) {
        sim_session_note(self, client, result->session);
    }
    if (result->cursor.length > 0) {
        BB_ASSERT(result->cursor.length <= sizeof op->cursor);
        memcpy(op->cursor, result->cursor.data, result->cursor.length);
        op->cursor_length = result->cursor.length;
        self->attempts[self->clients[client].attempt].is_open = false;
        s_attempt(self, client);
        return;
    }
    char who[64];
    snprintf(who, sizeof who, "%s read%s at node %u", bb_level_name(op->level),
             op->is_session ? " of a session" : "", op->node);
    uint32_t mask = op->level != BB_LEVEL_ONE || !op->is_session
                        ? s_read_mask(self, op->level, self->nodes[op->node].dc)
                        : 0;
    bool is_bound = op->is_session && !sim_twin_is_there(self);
    mask |= is_bound ? SIM_SESSION_BIT(client) : 0;
    sim_client_check_read(self, op, mask, op->level != BB_LEVEL_ONE || is_bound, who);
    if (op->is_session && !sim_trace_has_failed(&self->trace)) {
        sim_session_saw(self, client);
    }
    self->counters.reads_complete += missing_count == 0;
    self->counters.reads_partial += missing_count > 0;
    self->counters.rows_read += op->row_count;
    s_end(self, client);
}

// ---- events ----------------------------------------------------------------------------------

static void s_count_error(sim_counters_t *counters, bb_error_t error)
{
    counters->skew_refusals += error == BB_ERR_CLOCK_SKEW;
    counters->answers_busy += error == BB_ERR_BUSY;
    counters->answers_timeout += error == BB_ERR_TIMEOUT;
    counters->answers_unavailable += error == BB_ERR_UNAVAILABLE;
    counters->answers_disk_full += error == BB_ERR_DISK_FULL;
    counters->answers_fenced += error == BB_ERR_FENCED;
    counters->answers_not_counting += error == BB_ERR_NOT_COUNTING;
    counters->answers_not_replica += error == BB_ERR_NOT_REPLICA;
}

static void s_on_answer(sim_world_t *self, const sim_event_t *event)
{
    uint32_t client = event->other;
    bool is_awaited = self->clients[client].attempt == event->number ||
                      self->clients[client].hedge == event->number;
    if (self->clients[client].op == S_ALL || !is_awaited) {
        return; // it went on
    }
    bb_message_t answer;
    bb_error_t error = bb_message_decode(&answer, bb_buffer_slice(event->envelope), NULL);
    BB_ASSERT(error == BB_OK); // it was read when it left
    if (answer.kind == BB_KIND_ERROR && answer.error.code == BB_ERR_BUSY) {
        bb_hedge_busy(&self->hedge, sim_world_now_ns(self));
    }
    bool is_whole = answer.kind == BB_KIND_RESULT && answer.result.missing_count == 0;
    if (!sim_hedge_answered(self, client, event->number, is_whole)) {
        bb_message_close(&answer);
        return;
    }
    sim_trace_line(&self->trace, "client %u: %s to %" PRIu64 " %s", client,
                   bb_kind_name(answer.kind), event->number,
                   answer.kind == BB_KIND_ERROR ? bb_error_name(answer.error.code) : "");
    sim_op_t *op = &self->ops[client];
    switch (answer.kind) {
    case BB_KIND_WRITE_REPLY:
        s_wrote_in_session(self, client, &answer.write_reply);
        s_end(self, client);
        break;
    case BB_KIND_RESULT:
        s_on_result(self, client, &answer.result, bb_buffer_slice(event->body));
        break;
    case BB_KIND_ERROR:
        s_count_error(&self->counters, answer.error.code);
        if (op->is_write) {
            self->counters.writes_unknown += answer.error.code == BB_ERR_TIMEOUT;
            self->counters.writes_refused += answer.error.code != BB_ERR_TIMEOUT;
            s_retry(self, client);
        } else {
            self->counters.reads_failed++;
            s_end(self, client);
        }
        break;
    default:
        sim_trace_fail(&self->trace, "a client got a %s", bb_kind_name(answer.kind));
        break;
    }
    bb_message_close(&answer);
}

void sim_client_event(sim_world_t *self, sim_event_t *event)
{
    if (event->kind == SIM_EVENT_CLIENT) {
        s_begin(self, event->other);
    } else if (event->kind == SIM_EVENT_ANSWER) {
        s_on_answer(self, event);
    } else if (event->kind == SIM_EVENT_HEDGE) {
        if (self->clients[event->other].op != S_ALL &&
            self->clients[event->other].attempt == event->number) {
            s_hedge(self, event->other);
        }
    } else if (self->clients[event->other].op != S_ALL &&
               self->clients[event->other].attempt == event->number) {
        const sim_op_t *op = &self->ops[event->other];
        sim_trace_note(&self->trace, sim_line_of_client(event->other),
                       "client %u: gives %" PRIu64 " up", event->other, event->number);
        self->counters.writes_unknown += op->is_write;
        self->counters.reads_failed += !op->is_write;
        s_retry(self, event->other);
    }
}
