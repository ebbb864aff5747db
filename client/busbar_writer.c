// SPDX-License-Identifier: Apache-2.0
// The writer's edge: names to handles, frames into the open batch of their coordinator, deliveries.
//
//   append ─▶ lane of the coordinator (a batch builder) ─ full, or linger ─▶ bb_write_job ─▶ io
//                                                                                │
//   callbacks ◀── poll, flush, close, a full buffer ◀── done list (mutex) ◀──────┘
//
// The open batches are filled by the user's thread and may be sent by the io thread when they have
// lingered. One flag says who is at them: taking it costs one atomic exchange a frame, nobody ever
// sleeps on it, and the io thread only tries.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/busbar_writer_internal.h"
#include "protocol/bb_text.h"

#define S_BUFFER_BYTES_DEFAULT ((size_t)64 << 20)
#define S_BATCH_BYTES_DEFAULT  ((size_t)1 << 20)
#define S_LINGER_NS_DEFAULT    (20 * BB_NS_PER_MS)
#define S_IN_FLIGHT_DEFAULT    8
// Of the linger time, after which a batch goes to a node that has nothing of ours to do.
#define S_EAGER_PART 10

static int64_t s_coarse_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * BB_NS_PER_S + now.tv_nsec;
}

static void s_take(busbar_writer_t *self)
{
    // The io thread holds it for the encoding of some batches at most.
    while (atomic_exchange_explicit(&self->is_taken, true, memory_order_acquire)) {
        struct timespec pause = {0, 20000};
        nanosleep(&pause, NULL);
    }
}

static void s_give(busbar_writer_t *self)
{
    atomic_store_explicit(&self->is_taken, false, memory_order_release);
}

// ---- lanes -----------------------------------------------------------------------------------

static uint64_t s_revision(const busbar_writer_t *self)
{
    return bb_revision_make(self->options.generation, (uint32_t)self->options.revision);
}

static uint64_t s_user_frame_of(const bb_writer_lane_t *lane, uint32_t arrival)
{
    return lane->user_frame_first + lane->user_frames[arrival];
}

// Ends the lane's batch and makes the job that carries it. is_taken is held.
static bb_write_job_t *s_cut(busbar_writer_t *self, bb_writer_lane_t *lane)
{
    uint32_t frames = bb_batch_builder_frame_count(lane->builder);
    uint64_t points = bb_batch_builder_point_count(lane->builder);
    BB_ASSERT(frames > 0);
    uint32_t *order = bb_alloc(frames * sizeof *order);
    uint8_t *bytes;
    size_t length;
    bb_batch_builder_finish(lane->builder, &bytes, &length, order);
    uint64_t first = s_user_frame_of(lane, 0);
    for (uint32_t i = 0; i < frames; i++) {
        order[i] = (uint32_t)(s_user_frame_of(lane, order[i]) - first);
    }
    bb_write_job_t *job = bb_write_job_new(bytes, length, order, first, frames, points, lane->link);
    bb_batch_builder_reset(lane->builder, s_revision(self));
    lane->generation = ++self->next_generation;
    lane->opened_ns = 0;
    atomic_fetch_add_explicit(&self->handed_bytes, length, memory_order_relaxed);
    pthread_mutex_lock(&self->mutex);
    self->jobs_under_way++;
    pthread_mutex_unlock(&self->mutex);
    return job;
}

static void s_count_open(busbar_writer_t *self)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < self->lane_count; i++) {
        if (self->lanes[i].opened_ns) {
            bytes += bb_batch_builder_bytes(self->lanes[i].builder);
        }
    }
    atomic_store_explicit(&self->open_bytes, bytes, memory_order_relaxed);
}

static void s_run_start(bb_io_task_t *task)
{
    bb_write_job_t *job = (bb_write_job_t *)(void *)task; // its first member
    bb_write_start(job->queue, job);
}

static void s_hand_over(busbar_writer_t *self, bb_writer_lane_t *lane)
{
    bb_write_job_t *job = s_cut(self, lane);
    s_count_open(self);
    job->queue = &self->queue;
    job->task.run = s_run_start;
    bb_io_post(self->client->io, &job->task);
}

static void s_hand_over_all(busbar_writer_t *self)
{
    s_take(self);
    for (uint32_t i = 0; i < self->lane_count; i++) {
        if (self->lanes[i].opened_ns) {
            s_hand_over(self, &self->lanes[i]);
        }
    }
    s_give(self);
}

// On the io thread: sends what has lingered; looks again while there is something open.
//
// Nagle's idea (RFC 896): while something is on its way to the node, frames are worth collecting,
// because they would only wait there; when nothing is, waiting serves nobody. So batches grow with
// the load by themselves: small and quick when there is little, large and cheap when there is much.
static void s_on_linger(bb_io_timer_t *timer)
{
    busbar_writer_t *self =
        (busbar_writer_t *)(void *)((char *)timer - offsetof(busbar_writer_t, linger_timer));
    bb_io_t *io = self->client->io;
    int64_t now_ns = bb_io_now_ns();
    if (atomic_exchange_explicit(&self->is_taken, true, memory_order_acquire)) {
        bb_io_timer_set(io, timer, now_ns + 2 * BB_NS_PER_MS);
        return;
    }
    int64_t eager_ns = self->options.linger_ns / S_EAGER_PART;
    int64_t next_ns = BB_NEVER_NS;
    bb_write_job_t *jobs = NULL;
    for (uint32_t i = 0; i < self->lane_count; i++) {
        bb_writer_lane_t *lane = &self->lanes[i];
        if (lane->opened_ns == 0) {
            continue;
        }
        bool is_idle = lane->link != BB_LINK_NONE && self->queue.in_flight[lane->link] == 0;
        int64_t due_ns = lane->opened_ns + (is_idle ? eager_ns : self->options.linger_ns);
        if (due_ns > now_ns) {
            next_ns = now_ns + BB_MAX(eager_ns, INT64_C(1)); // an answer may come by then
            continue;
        }
        bb_write_job_t *job = s_cut(self, lane);
        job->next = jobs;
        jobs = job;
    }
    s_count_open(self);
    self->is_lingering = next_ns != BB_NEVER_NS;
    if (self->is_lingering) {
        bb_io_timer_set(io, timer, next_ns);
    }
    s_give(self);
    while (jobs) {
        bb_write_job_t *job = jobs;
        jobs = job->next;
        job->next = NULL;
        bb_write_start(&self->queue, job);
    }
}

static void s_run_linger(bb_io_task_t *task)
{
    busbar_writer_t *self =
        (busbar_writer_t *)(void *)((char *)task - offsetof(busbar_writer_t, linger_task));
    bb_io_timer_set(self->client->io, &self->linger_timer,
                    bb_io_now_ns() + self->options.linger_ns / S_EAGER_PART);
}

// On the io thread.
static void s_on_job_done(bb_write_job_t *job, void *context)
{
    busbar_writer_t *self = context;
    atomic_fetch_sub_explicit(&self->handed_bytes, job->batch->length, memory_order_relaxed);
    bb_blob_drop(&job->batch);
    pthread_mutex_lock(&self->mutex);
    job->next = NULL;
    if (self->done_last) {
        self->done_last->next = job;
    } else {
        self->done_first = job;
    }
    self->done_last = job;
    self->jobs_under_way--;
    atomic_store_explicit(&self->has_done, true, memory_order_relaxed);
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

// ---- deliveries --------------------------------------------------------------------------------

static void s_count(busbar_writer_t *self, const busbar_delivery_t *delivery)
{
    busbar_totals_t *totals = &self->totals;
    uint64_t open_frames = delivery->frames - delivery->acked_frames - delivery->rejected_frames;
    uint64_t open_points = delivery->points - delivery->acked_points - delivery->rejected_points;
    totals->acked_frames += delivery->acked_frames;
    totals->acked_points += delivery->acked_points;
    totals->rejected_frames += delivery->rejected_frames;
    totals->rejected_points += delivery->rejected_points;
    totals->quarantined_points += delivery->quarantined_points;
    totals->batches++;
    totals->retries += delivery->attempts > 1 ? delivery->attempts - 1 : 0;
    if (delivery->status == (busbar_status_t)BB_ERR_TIMEOUT) {
        totals->unknown_frames += open_frames;
        totals->unknown_points += open_points;
    } else {
        totals->failed_frames += open_frames;
        totals->failed_points += open_points;
    }
    if (delivery->status != BUSBAR_OK) {
        totals->last_status = delivery->status;
        snprintf(totals->last_detail, sizeof totals->last_detail, "%s", delivery->detail);
    }
    if (delivery->status != BUSBAR_OK || delivery->rejected_points > 0) {
        self->attributes_at++; // those in this batch may not have arrived
    }
}

static void s_deliver(busbar_writer_t *self, bb_write_job_t *job)
{
    const bb_write_result_t *result = &job->result;
    busbar_rejection_t *rejections = NULL;
    if (result->rejection_count > 0) {
        rejections = bb_alloc(result->rejection_count * sizeof *rejections);
    }
    for (uint32_t i = 0; i < result->rejection_count; i++) {
        const bb_write_rejection_t *from = &result->rejections[i];
        rejections[i] = (busbar_rejection_t){
            .user_frame = from->frame == UINT32_MAX
                              ? UINT64_MAX
                              : job->user_frame_first + job->user_frames[from->frame],
            .metric = from->metric[0] ? from->metric : NULL,
            .status = (busbar_status_t)from->error,
            .detail = from->detail,
        };
    }
    busbar_delivery_t delivery = {
        .status = (busbar_status_t)result->error,
        .detail = result->error == BB_OK ? "" : result->detail,
        .frames = job->frames,
        .points = job->points,
        .acked_frames = result->acked_frames,
        .acked_points = result->acked_points,
        .rejected_frames = result->rejected_frames,
        .rejected_points = result->rejected_points,
        .quarantined_points = result->quarantined_points,
        .rejection_count = result->rejection_count,
        .rejections = rejections,
        .latency_ns = result->latency_ns,
        .attempts = result->attempts,
    };
    s_count(self, &delivery);
    if (self->options.on_delivery) {
        self->options.on_delivery(self->options.context, &delivery);
    }
    free(rejections);
}

void busbar_writer_poll(busbar_writer_t *self)
{
    if (!self || !atomic_load_explicit(&self->has_done, memory_order_relaxed)) {
        return;
    }
    pthread_mutex_lock(&self->mutex);
    bb_write_job_t *job = self->done_first;
    self->done_first = self->done_last = NULL;
    atomic_store_explicit(&self->has_done, false, memory_order_relaxed);
    pthread_mutex_unlock(&self->mutex);
    while (job) {
        bb_write_job_t *next = job->next;
        s_deliver(self, job);
        bb_write_job_destroy(&job);
        job = next;
    }
}

// Waits until something was answered, nothing is under way, or the deadline; false at the latter.
static bool s_wait_done(busbar_writer_t *self, int64_t deadline_ns)
{
    struct timespec until = {deadline_ns / BB_NS_PER_S, deadline_ns % BB_NS_PER_S};
    int late = 0;
    pthread_mutex_lock(&self->mutex);
    while (!self->done_first && self->jobs_under_way > 0 && late == 0) {
        late = pthread_cond_timedwait(&self->changed, &self->mutex, &until);
    }
    pthread_mutex_unlock(&self->mutex);
    busbar_writer_poll(self);
    return late == 0;
}

// ---- appending ---------------------------------------------------------------------------------

// Follows a new topology or a change of liveness: batteries are placed anew as they are used.
static busbar_status_t s_follow(busbar_writer_t *self, busbar_fault_t *fault)
{
    bb_io_t *io = self->client->io;
    if (!self->view) {
        bb_fault_t why = {0};
        int64_t deadline_ns = bb_io_now_ns() + self->options.timeout_ns;
        bb_error_t error = bb_io_wait_ready(io, deadline_ns, &why);
        if (error != BB_OK) {
            return busbar_fault_of(fault, &why, error);
        }
    }
    self->io_generation = bb_io_generation(io);
    bb_view_drop(&self->view);
    self->view = bb_io_view(io);
    self->placed_at++;
    return BUSBAR_OK;
}

static uint32_t s_lane_of_link(busbar_writer_t *self, uint32_t link)
{
    for (uint32_t i = 0; i < self->lane_count; i++) {
        if (self->lanes[i].link == link) {
            return i;
        }
    }
    BB_ASSERT(self->lane_count < BB_COUNT_OF(self->lanes));
    bb_writer_lane_t *lane = &self->lanes[self->lane_count];
    *lane = (bb_writer_lane_t){.builder = bb_batch_builder_new(s_revision(self)),
                               .link = link,
                               .generation = ++self->next_generation};
    return self->lane_count++;
}

// is_taken is held.
static void s_place(busbar_writer_t *self, bb_writer_battery_t *battery)
{
    bb_io_t *io = self->client->io;
    uint8_t ranks[BB_NODES_MAX];
    bb_io_ranks(io, self->view, ranks);
    bb_view_choice_t choice = {
        .ranks = ranks,
        .preferred_dc = bb_io_preferred_dc(io),
        .only_node = bb_io_only_node(io, self->view),
        .salt = bb_io_salt(io),
    };
    battery->partition =
        bb_view_partition_of(self->view, bb_slice(battery->id, battery->id_length));
    uint32_t node = bb_view_choose(self->view, &choice, battery->partition);
    uint32_t link = node == BB_LINK_NONE ? BB_LINK_NONE : self->view->nodes[node].link;
    battery->lane = s_lane_of_link(self, link);
    battery->placed_at = self->placed_at;
    battery->builder_generation = 0;
}

static bb_error_t s_resolve_battery(busbar_writer_t *self, bb_writer_battery_t *battery,
                                    bb_writer_lane_t *lane)
{
    bool sends_attributes = battery->attributes_at != self->attributes_at;
    bb_error_t error = bb_batch_builder_battery(
        lane->builder, battery->partition, bb_slice(battery->id, battery->id_length),
        battery->attributes, sends_attributes ? battery->attribute_count : 0,
        &battery->builder_battery, NULL);
    if (error == BB_OK) {
        battery->builder_generation = lane->generation;
        battery->attributes_at = self->attributes_at;
    }
    return error;
}

static bb_error_t s_resolve_shape(bb_writer_shape_t *shape, uint32_t lane_index,
                                  bb_writer_lane_t *lane)
{
    if (lane_index >= shape->lane_capacity) {
        uint32_t capacity = BB_MAX(lane_index + 1, 2 * shape->lane_capacity);
        shape->lanes = bb_realloc(shape->lanes, capacity * sizeof *shape->lanes);
        memset(shape->lanes + shape->lane_capacity, 0,
               (capacity - shape->lane_capacity) * sizeof *shape->lanes);
        shape->lane_capacity = capacity;
    }
    uint32_t order[BB_FRAME_METRICS_MAX]; // known already
    bb_error_t error =
        bb_batch_builder_shape(lane->builder, shape->names, shape->types, shape->metric_count,
                               &shape->lanes[lane_index].handle, order, NULL);
    if (error == BB_OK) {
        shape->lanes[lane_index].generation = lane->generation;
    }
    return error;
}

// Puts one frame into the lane. LIMIT and BATCH_BYTES: the open batch is full.
static bb_error_t s_put(busbar_writer_t *self, bb_writer_battery_t *battery,
                        bb_writer_shape_t *shape, int64_t time_ns, const busbar_value_t *values)
{
    bb_writer_lane_t *lane = &self->lanes[battery->lane];
    bb_error_t error;
    if (BB_UNLIKELY(battery->builder_generation != lane->generation)) {
        error = s_resolve_battery(self, battery, lane);
        if (error != BB_OK) {
            return error;
        }
    }
    if (BB_UNLIKELY(battery->lane >= shape->lane_capacity ||
                    shape->lanes[battery->lane].generation != lane->generation)) {
        error = s_resolve_shape(shape, battery->lane, lane);
        if (error != BB_OK) {
            return error;
        }
    }
    uint32_t handle = shape->lanes[battery->lane].handle;
    static_assert(sizeof(busbar_value_t) == sizeof(uint64_t), "values are used where they lie");
    if (BB_LIKELY(shape->is_in_order && !shape->has_states)) {
        return bb_batch_builder_frame(lane->builder, battery->builder_battery, handle, time_ns,
                                      (const uint64_t *)(const void *)values);
    }
    uint64_t sorted[BB_FRAME_METRICS_MAX];
    for (uint32_t i = 0; i < shape->metric_count; i++) {
        uint64_t bits = values[i].bits;
        if (shape->types[i] == BB_TYPE_STATE) {
            uint32_t state;
            error =
                bb_batch_builder_state(lane->builder, bb_writer_text(values[i].text), &state, NULL);
            if (error != BB_OK) {
                return error;
            }
            bits = state;
        }
        sorted[shape->order[i]] = bits;
    }
    return bb_batch_builder_frame(lane->builder, battery->builder_battery, handle, time_ns, sorted);
}

static busbar_status_t s_refuse(const busbar_writer_t *self, const bb_writer_battery_t *battery,
                                const bb_writer_shape_t *shape, int64_t time_ns,
                                const busbar_value_t *values, bb_error_t error,
                                busbar_fault_t *fault)
{
    (void)self;
    if (error == BB_ERR_TIME_RANGE) {
        return busbar_fault_say(fault, error,
                                "time %lld ns of battery '%s' is outside 1970-01-01 to 2262-01-01",
                                (long long)time_ns, battery->id);
    }
    for (uint32_t i = 0; i < shape->metric_count; i++) {
        int length = (int)shape->names[i].length;
        const char *name = shape->names[i].data;
        if (error == BB_ERR_VALUE && shape->types[i] == BB_TYPE_BOOL && values[i].bits > 1) {
            return busbar_fault_say(fault, error,
                                    "metric '%.*s' of battery '%s' is a bool and has the value "
                                    "%llu; 0 or 1 is allowed",
                                    length, name, battery->id, (unsigned long long)values[i].bits);
        }
        if (error == BB_ERR_STATE_TEXT && shape->types[i] == BB_TYPE_STATE &&
            bb_state_text_check(bb_writer_text(values[i].text)) != BB_OK) {
            return busbar_fault_say(fault, error,
                                    "state '%.*s' of battery '%s' has %zu bytes or is not UTF-8; "
                                    "at most %d",
                                    length, name, battery->id,
                                    bb_writer_text(values[i].text).length, BB_STATE_BYTES_MAX);
        }
    }
    return busbar_fault_say(fault, error, "battery '%s': %s", battery->id, bb_error_message(error));
}

// Waits for room. Batches that only linger are sent, so that there is something to wait for.
static busbar_status_t s_wait_room(busbar_writer_t *self, busbar_fault_t *fault)
{
    int64_t deadline_ns = bb_io_now_ns() + self->options.timeout_ns;
    busbar_writer_poll(self);
    while (atomic_load_explicit(&self->open_bytes, memory_order_relaxed) +
               atomic_load_explicit(&self->handed_bytes, memory_order_relaxed) >=
           self->options.buffer_bytes_max) {
        pthread_mutex_lock(&self->mutex);
        bool is_idle = self->jobs_under_way == 0;
        pthread_mutex_unlock(&self->mutex);
        if (is_idle) {
            s_hand_over_all(self);
        }
        if (!s_wait_done(self, deadline_ns)) {
            return busbar_fault_say(fault, BB_ERR_BUSY,
                                    "the buffer of %zu bytes stayed full for %lld ms; the frame "
                                    "was not taken",
                                    self->options.buffer_bytes_max,
                                    (long long)(self->options.timeout_ns / BB_NS_PER_MS));
        }
    }
    return BUSBAR_OK;
}

static void s_note_frame(busbar_writer_t *self, bb_writer_lane_t *lane)
{
    uint32_t count = bb_batch_builder_frame_count(lane->builder);
    if (BB_UNLIKELY(count > lane->capacity)) {
        lane->capacity = lane->capacity ? lane->capacity * 2 : 1024;
        lane->user_frames =
            bb_realloc(lane->user_frames, lane->capacity * sizeof *lane->user_frames);
    }
    if (count == 1) {
        lane->user_frame_first = self->next_user_frame;
        lane->opened_ns = s_coarse_ns();
        if (!self->is_lingering) {
            self->is_lingering = true;
            bb_io_post(self->client->io, &self->linger_task);
        }
    }
    lane->user_frames[count - 1] = (uint32_t)(self->next_user_frame - lane->user_frame_first);
    self->next_user_frame++;
}

// is_taken is held. The frame is in the lane or refused.
static bb_error_t s_append(busbar_writer_t *self, uint32_t battery_handle, bb_writer_shape_t *shape,
                           int64_t time_ns, const busbar_value_t *values)
{
    bb_writer_battery_t *battery = &self->batteries[battery_handle];
    if (BB_UNLIKELY(battery->placed_at != self->placed_at)) {
        s_place(self, battery);
    }
    bb_writer_lane_t *lane = &self->lanes[battery->lane];
    // Distances from the first frame are 32 bits; a lane that slept for long starts a new batch.
    if (BB_UNLIKELY(lane->opened_ns &&
                    self->next_user_frame - lane->user_frame_first >= UINT32_MAX)) {
        s_hand_over(self, lane);
    }
    bb_error_t error = s_put(self, battery, shape, time_ns, values);
    if (BB_UNLIKELY((error == BB_ERR_LIMIT || error == BB_ERR_BATCH_BYTES) &&
                    bb_batch_builder_frame_count(lane->builder) > 0)) {
        s_hand_over(self, lane);
        error = s_put(self, battery, shape, time_ns, values);
    }
    if (BB_UNLIKELY(error != BB_OK)) {
        return error;
    }
    s_note_frame(self, lane);
    self->totals.frames++;
    self->totals.points += shape->metric_count;
    uint64_t frame_bytes = 8 * ((uint64_t)shape->metric_count + 1);
    atomic_store_explicit(&self->open_bytes,
                          atomic_load_explicit(&self->open_bytes, memory_order_relaxed) +
                              frame_bytes,
                          memory_order_relaxed);
    if (BB_UNLIKELY(bb_batch_builder_bytes(lane->builder) >= self->options.batch_bytes)) {
        s_hand_over(self, lane);
    }
    return BB_OK;
}

busbar_status_t busbar_writer_append(busbar_writer_t *self, uint32_t battery, uint32_t shape,
                                     int64_t time_ns, const busbar_value_t *values,
                                     busbar_fault_t *fault)
{
    if (BB_UNLIKELY(!self || !values || battery >= self->battery_count ||
                    shape >= self->shape_count)) {
        return busbar_fault_say(fault, BB_ERR_USAGE,
                                "busbar_writer_append needs a writer, values, and handles that "
                                "it gave out");
    }
    if (BB_UNLIKELY(!self->view || self->io_generation != bb_io_generation(self->client->io))) {
        busbar_status_t status = s_follow(self, fault);
        if (status != BUSBAR_OK) {
            return status;
        }
    }
    if (BB_UNLIKELY(atomic_load_explicit(&self->open_bytes, memory_order_relaxed) +
                        atomic_load_explicit(&self->handed_bytes, memory_order_relaxed) >=
                    self->options.buffer_bytes_max)) {
        busbar_status_t status = s_wait_room(self, fault);
        if (status != BUSBAR_OK) {
            return status;
        }
    }
    s_take(self);
    bb_error_t error = s_append(self, battery, &self->shapes[shape], time_ns, values);
    s_give(self);
    if (BB_UNLIKELY(error != BB_OK)) {
        return s_refuse(self, &self->batteries[battery], &self->shapes[shape], time_ns, values,
                        error, fault);
    }
    return BUSBAR_OK;
}

// ---- open, flush, close ------------------------------------------------------------------------

static void s_fill_defaults(busbar_writer_options_t *options, const busbar_client_t *client)
{
    if (options->timeout_ns <= 0) {
        options->timeout_ns = client->timeout_ns;
    }
    options->timeout_ns = BB_MIN(options->timeout_ns, BB_DEADLINE_NS_MAX);
    if (options->buffer_bytes_max == 0) {
        options->buffer_bytes_max = S_BUFFER_BYTES_DEFAULT;
    }
    if (options->batch_bytes == 0) {
        options->batch_bytes = S_BATCH_BYTES_DEFAULT;
    }
    options->batch_bytes = BB_MIN(options->batch_bytes, BB_BATCH_BYTES_MAX);
    if (options->linger_ns <= 0) {
        options->linger_ns = S_LINGER_NS_DEFAULT;
    }
    if (options->in_flight_max == 0) {
        options->in_flight_max = S_IN_FLIGHT_DEFAULT;
    }
}

busbar_writer_t *busbar_writer_open(busbar_client_t *client, const busbar_writer_options_t *options)
{
    if (!client ||
        (options && ((int)options->level < BUSBAR_DEFAULT_LEVEL ||
                     (int)options->level > BUSBAR_ALL || options->revision >= BB_REVISION_LIMIT ||
                     options->generation >= BB_GENERATION_POINT_LIMIT))) {
        return NULL;
    }
    busbar_writer_t *self = bb_alloc_zero(1, sizeof *self);
    self->client = client;
    self->options = options ? *options : (busbar_writer_options_t){0};
    s_fill_defaults(&self->options, client);
    self->attributes_at = 1;
    self->scratch = bb_batch_builder_new(0);
    self->linger_task.run = s_run_linger;
    self->linger_timer.run = s_on_linger;
    self->queue = (bb_write_queue_t){
        .io = client->io,
        .level = (uint32_t)self->options.level,
        .timeout_ns = self->options.timeout_ns,
        .in_flight_max = self->options.in_flight_max,
        .session = self->options.session,
        .on_done = s_on_job_done,
        .context = self,
    };
    pthread_mutex_init(&self->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    atomic_fetch_add(&client->users, 1);
    return self;
}

static bool s_is_idle(busbar_writer_t *self)
{
    pthread_mutex_lock(&self->mutex);
    bool is_idle = self->jobs_under_way == 0 && !self->done_first;
    pthread_mutex_unlock(&self->mutex);
    return is_idle;
}

busbar_status_t busbar_writer_flush(busbar_writer_t *self, int64_t timeout_ns)
{
    if (!self) {
        return BB_ERR_USAGE;
    }
    int64_t deadline_ns = busbar_deadline_ns(self->client, timeout_ns);
    s_hand_over_all(self);
    while (!s_is_idle(self)) {
        if (!s_wait_done(self, deadline_ns)) {
            return s_is_idle(self) ? BUSBAR_OK : (busbar_status_t)BB_ERR_TIMEOUT;
        }
    }
    return BUSBAR_OK;
}

void busbar_writer_totals(const busbar_writer_t *self, busbar_totals_t *totals)
{
    *totals = self->totals;
}

static void s_run_stop(void *context)
{
    busbar_writer_t *self = context;
    bb_io_timer_clear(self->client->io, &self->linger_timer);
    bb_write_cancel_all(&self->queue);
}

static void s_free(busbar_writer_t *self)
{
    for (uint32_t i = 0; i < self->battery_count; i++) {
        free(self->batteries[i].id);
        free(self->batteries[i].attributes);
    }
    for (uint32_t i = 0; i < self->shape_count; i++) {
        free(self->shapes[i].names);
        free(self->shapes[i].lanes);
    }
    for (uint32_t i = 0; i < self->lane_count; i++) {
        bb_batch_builder_destroy(&self->lanes[i].builder);
        free(self->lanes[i].user_frames);
    }
    bb_batch_builder_destroy(&self->scratch);
    free(self->batteries);
    free(self->shapes);
    free(self->battery_index.slots);
    free(self->shape_index.slots);
    bb_view_drop(&self->view);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
    free(self);
}

busbar_status_t busbar_writer_close(busbar_writer_t **writer, int64_t timeout_ns,
                                    busbar_totals_t *totals)
{
    if (!writer || !*writer) {
        return BB_ERR_USAGE;
    }
    busbar_writer_t *self = *writer;
    busbar_status_t status = busbar_writer_flush(self, timeout_ns);
    // Everything that was posted has run when this returns: nobody holds the writer any more.
    bb_io_call(self->client->io, s_run_stop, self);
    busbar_writer_poll(self);
    if (totals) {
        *totals = self->totals;
    }
    atomic_fetch_sub(&self->client->users, 1);
    s_free(self);
    *writer = NULL;
    return status;
}
