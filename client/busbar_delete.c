// SPDX-License-Identifier: Apache-2.0
// Deleting: the battery's generation is read at the level, and a marker of the next one is written
// at it, like a batch of points. Why it is two steps: docs/decisions/0015.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "client/bb_write_job.h"
#include "client/busbar_internal.h"
#include "protocol/bb_marker.h"

// ---- the generation ----------------------------------------------------------------------------

busbar_status_t busbar_generation(busbar_client_t *client, const char *battery,
                                  busbar_level_t level, int64_t timeout_ns, uint32_t *generation,
                                  busbar_fault_t *fault)
{
    if (!client || !battery || !generation) {
        return busbar_fault_say(fault, BB_ERR_USAGE, "busbar_generation needs a battery");
    }
    const busbar_query_t query = {
        .mode = BUSBAR_GENERATIONS,
        .level = level,
        .batteries = &battery,
        .battery_count = 1,
        .from_ns = BB_TIME_WALL_NS_FIRST,
        .to_ns = BB_TIME_WALL_NS_LIMIT,
        .timeout_ns = timeout_ns,
    };
    busbar_rows_t *rows = NULL;
    busbar_status_t status = busbar_query(client, &query, &rows, fault);
    if (status != BUSBAR_OK) {
        return status;
    }
    uint64_t largest = 0;
    busbar_row_t row;
    while (busbar_rows_next(rows, &row)) {
        largest = BB_MAX(largest, row.value.bits);
    }
    bool complete = false;
    size_t missing_count = 0;
    status = busbar_rows_status(rows, &complete, NULL, &missing_count, fault);
    busbar_rows_close(&rows);
    if (status == BUSBAR_OK && (!complete || largest > UINT32_MAX)) {
        return busbar_fault_say(fault, BB_ERR_UNAVAILABLE,
                                "the generation of battery '%.128s' could not be read", battery);
    }
    if (status == BUSBAR_OK) {
        *generation = (uint32_t)largest;
    }
    return status;
}

// ---- the marker --------------------------------------------------------------------------------

// One job, and the thread that waits for it.
typedef struct {
    bb_write_queue_t queue; // of the io thread
    bb_write_job_t *job;    // of the io thread until it is done
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_done;
    bb_io_task_t done;
} s_wait_t;

static void s_run_start(bb_io_task_t *task)
{
    bb_write_job_t *job = (bb_write_job_t *)(void *)task; // its first member
    bb_write_start(job->queue, job);
}

static void s_run_done(bb_io_task_t *task)
{
    s_wait_t *self = (s_wait_t *)(void *)((char *)task - offsetof(s_wait_t, done));
    pthread_mutex_lock(&self->mutex);
    self->is_done = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

// On the io thread, once: a job ends by its deadline, whatever nodes do. The queue is still in use
// by who calls this, so the waiting thread is woken by a task of its own.
static void s_on_done(bb_write_job_t *job, void *context)
{
    s_wait_t *self = context;
    bb_blob_drop(&job->batch);
    self->done.run = s_run_done;
    bb_io_post(self->queue.io, &self->done);
}

static busbar_status_t s_outcome(const bb_write_result_t *result, busbar_fault_t *fault)
{
    if (result->error != BB_OK) {
        return busbar_fault_say(fault, result->error, "delete: %.400s", result->detail);
    }
    if (result->rejection_count > 0) {
        return busbar_fault_say(fault, result->rejections[0].error, "delete: %.400s",
                                result->rejections[0].detail);
    }
    return result->acked_points == 1
               ? BUSBAR_OK
               : busbar_fault_say(fault, BB_ERR_INTERNAL, "delete: the answer does not add up");
}

static busbar_status_t s_send(busbar_client_t *client, const busbar_delete_t *what, uint8_t *bytes,
                              size_t length, int64_t timeout_ns, busbar_fault_t *fault)
{
    s_wait_t wait = {.queue = {.io = client->io,
                               .level = what->level,
                               .timeout_ns = timeout_ns,
                               .in_flight_max = 1,
                               .deletes = true,
                               .on_done = s_on_done,
                               .context = &wait}};
    pthread_mutex_init(&wait.mutex, NULL);
    pthread_cond_init(&wait.changed, NULL);
    wait.job =
        bb_write_job_new(bytes, length, bb_alloc_zero(1, sizeof(uint32_t)), 0, 1, 1, BB_LINK_NONE);
    wait.job->queue = &wait.queue;
    wait.job->task.run = s_run_start;
    atomic_fetch_add(&client->users, 1);
    bb_io_post(client->io, &wait.job->task);
    pthread_mutex_lock(&wait.mutex);
    while (!wait.is_done) {
        pthread_cond_wait(&wait.changed, &wait.mutex);
    }
    pthread_mutex_unlock(&wait.mutex);
    atomic_fetch_sub(&client->users, 1);
    busbar_status_t status = s_outcome(&wait.job->result, fault);
    bb_write_job_destroy(&wait.job);
    pthread_cond_destroy(&wait.changed);
    pthread_mutex_destroy(&wait.mutex);
    return status;
}

static bb_error_t s_encode(busbar_client_t *client, const busbar_delete_t *what,
                           uint32_t generation, uint8_t **bytes, size_t *length, bb_fault_t *why)
{
    bb_view_t *view = bb_io_view(client->io);
    bb_slice_t battery = bb_slice(what->battery, strlen(what->battery));
    const char *metric = what->metric ? what->metric : BB_MARKER_ALL_METRICS;
    const bb_marker_t marker = {bb_slice(metric, strlen(metric)),
                                BB_MAX(what->from_ns, BB_TIME_WALL_NS_FIRST),
                                BB_MIN(what->to_ns, BB_TIME_WALL_NS_LIMIT)};
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_batch_builder_markers(builder, generation);
    bb_error_t error =
        bb_marker_add(builder, bb_view_partition_of(view, battery), battery, &marker, why);
    if (error == BB_OK) {
        bb_batch_builder_finish(builder, bytes, length, NULL);
    }
    bb_batch_builder_destroy(&builder);
    bb_view_drop(&view);
    return error;
}

busbar_status_t busbar_delete(busbar_client_t *client, const busbar_delete_t *what,
                              uint32_t *generation, busbar_fault_t *fault)
{
    if (!client || !what || !what->battery || (int)what->level < BUSBAR_DEFAULT_LEVEL ||
        (int)what->level > BUSBAR_ALL) {
        return busbar_fault_say(fault, BB_ERR_USAGE, "busbar_delete needs a battery and a level");
    }
    int64_t deadline_ns = busbar_deadline_ns(client, what->timeout_ns);
    bb_fault_t why = {0};
    bb_error_t error = bb_io_wait_ready(client->io, deadline_ns, &why);
    if (error != BB_OK) {
        return busbar_fault_of(fault, &why, error);
    }
    busbar_delete_t asked = *what;
    if (asked.level == BUSBAR_DEFAULT_LEVEL) {
        // The generation is read at the level of the write, whatever reads have.
        bb_view_t *view = bb_io_view(client->io);
        asked.level = (busbar_level_t)view->default_write_level;
        bb_view_drop(&view);
    }
    uint32_t drawn = what->generation;
    if (drawn == 0) {
        uint32_t known = 0;
        busbar_status_t status =
            busbar_generation(client, what->battery, asked.level,
                              BB_MAX(deadline_ns - bb_io_now_ns(), 1), &known, fault);
        if (status != BUSBAR_OK) {
            return status;
        }
        if (known == UINT32_MAX) {
            return busbar_fault_say(fault, BB_ERR_LIMIT, "battery '%.128s' has no generation left",
                                    what->battery);
        }
        drawn = known + 1;
    }
    if (generation) {
        *generation = drawn;
    }
    uint8_t *bytes = NULL;
    size_t length = 0;
    error = s_encode(client, what, drawn, &bytes, &length, &why);
    if (error != BB_OK) {
        return busbar_fault_of(fault, &why, error);
    }
    return s_send(client, &asked, bytes, length, BB_MAX(deadline_ns - bb_io_now_ns(), 1), fault);
}
