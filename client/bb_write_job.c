// SPDX-License-Identifier: Apache-2.0
#include "client/bb_write_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void s_go(bb_write_job_t *job);
static void s_pump(bb_write_queue_t *queue);

bb_write_job_t *bb_write_job_new(uint8_t *batch, size_t length, uint32_t *user_frames,
                                 uint64_t user_frame_first, uint64_t frames, uint64_t points,
                                 uint32_t first_link)
{
    bb_write_job_t *self = bb_alloc_zero(1, sizeof *self);
    self->batch = bb_blob_new(batch, length);
    self->user_frames = user_frames;
    self->user_frame_first = user_frame_first;
    self->frames = frames;
    self->points = points;
    self->first_link = first_link;
    return self;
}

void bb_write_job_destroy(bb_write_job_t **self)
{
    bb_write_job_t *job = *self;
    if (!job) {
        return;
    }
    bb_blob_drop(&job->batch);
    bb_write_result_free(&job->result);
    free(job->user_frames);
    free(job->frame_of_parent);
    free(job->partitions);
    free(job);
    *self = NULL;
}

// ---- lists -----------------------------------------------------------------------------------

static void s_live_add(bb_write_job_t *job)
{
    bb_write_queue_t *queue = job->queue;
    job->live_next = queue->live;
    job->live_previous = NULL;
    if (queue->live) {
        queue->live->live_previous = job;
    }
    queue->live = job;
}

static void s_live_remove(bb_write_job_t *job)
{
    if (job->live_previous) {
        job->live_previous->live_next = job->live_next;
    } else {
        job->queue->live = job->live_next;
    }
    if (job->live_next) {
        job->live_next->live_previous = job->live_previous;
    }
}

static void s_waiting_add(bb_write_job_t *job)
{
    bb_write_queue_t *queue = job->queue;
    if (job->is_waiting) {
        return;
    }
    job->is_waiting = true;
    bb_io_queued_add(queue->io, 1);
    job->next = NULL;
    if (queue->waiting_last) {
        queue->waiting_last->next = job;
    } else {
        queue->waiting_first = job;
    }
    queue->waiting_last = job;
}

static void s_waiting_remove(bb_write_job_t *job)
{
    bb_write_queue_t *queue = job->queue;
    bb_write_job_t *before = NULL;
    for (bb_write_job_t *at = queue->waiting_first; at; before = at, at = at->next) {
        if (at != job) {
            continue;
        }
        if (before) {
            before->next = job->next;
        } else {
            queue->waiting_first = job->next;
        }
        if (queue->waiting_last == job) {
            queue->waiting_last = before;
        }
        job->is_waiting = false;
        bb_io_queued_add(queue->io, -1);
        job->next = NULL;
        break;
    }
    if (!queue->waiting_first) { // so that no job, no waiter: the queue may end
        bb_io_await_room_no_more(queue->io, &queue->waiter);
    }
}

// ---- the end ---------------------------------------------------------------------------------

static void s_finish(bb_write_job_t *job)
{
    bb_write_queue_t *queue = job->queue;
    bb_io_timer_clear(queue->io, &job->timer);
    if (job->is_waiting) {
        s_waiting_remove(job);
    }
    s_live_remove(job);
    if (job->first_sent_ns > 0) {
        job->result.latency_ns =
            BB_MAX(job->result.latency_ns, bb_io_now_ns() - job->first_sent_ns);
    }
    job->result.attempts += job->attempt.sent_count;
    bb_write_job_t *parent = job->parent;
    if (!parent) {
        queue->on_done(job, queue->context);
        return;
    }
    bb_write_result_join(&parent->result, &job->result, job->frame_of_parent);
    bb_write_job_destroy(&job);
    BB_ASSERT(parent->children_left > 0);
    if (--parent->children_left == 0) {
        s_finish(parent);
    }
}

static void s_fail(bb_write_job_t *job, bb_error_t error)
{
    job->result.error = error;
    if (!job->result.detail[0] || error == BB_ERR_TIMEOUT) {
        char last[sizeof job->result.detail];
        memcpy(last, job->result.detail, sizeof last);
        int length = snprintf(job->result.detail, sizeof job->result.detail, "%s (%u attempts)",
                              bb_error_message(error), job->attempt.sent_count);
        if (last[0]) { // why the others refused, while one may have taken it
            snprintf(job->result.detail + length, sizeof job->result.detail - (size_t)length,
                     "; last answer: %.*s", (int)sizeof job->result.detail - length - 20, last);
        }
    }
    s_finish(job);
}

// ---- where to ----------------------------------------------------------------------------------

// The nodes of the view that were tried, from the set of links.
static bb_node_set_t s_tried_nodes(const bb_view_t *view, const bb_node_set_t *links)
{
    bb_node_set_t nodes = {{0}};
    for (uint32_t n = 0; n < view->node_count; n++) {
        uint32_t link = view->nodes[n].link;
        if (link == BB_LINK_NONE || bb_node_set_has(links, link)) {
            bb_node_set_add(&nodes, n);
        }
    }
    return nodes;
}

static void s_look_at_parts(bb_write_job_t *job, bb_batch_t *batch)
{
    bb_fault_t fault;
    bb_error_t error = bb_batch_open(batch, bb_slice(job->batch->data, job->batch->length), &fault);
    BB_ASSERT(error == BB_OK); // our own builder wrote it
    if (!job->partitions) {
        job->partition_count = batch->part_count;
        job->partitions = bb_alloc(batch->part_count * sizeof *job->partitions);
        for (uint32_t p = 0; p < batch->part_count; p++) {
            job->partitions[p] = batch->parts[p].partition;
        }
    }
}

static bb_write_job_t *s_new_child(bb_write_job_t *job, const bb_batch_t *batch, const bool *keep,
                                   uint32_t link)
{
    uint8_t *bytes;
    size_t length;
    bb_error_t error = bb_batch_subset(batch, keep, NULL, NULL, &bytes, &length);
    BB_ASSERT(error == BB_OK); // at least one part is kept
    uint32_t frames;
    uint32_t *map = bb_write_frame_map(batch, keep, &frames);
    uint64_t points = 0;
    bb_batch_cursor_t cursor;
    bb_batch_cursor_start(batch, &cursor);
    while (bb_batch_cursor_next(batch, &cursor)) {
        if (keep[cursor.part_index]) {
            points +=
                (uint64_t)cursor.run->frame_count * batch->shapes[cursor.run->shape].metric_count;
        }
    }
    bb_write_job_t *child = bb_write_job_new(bytes, length, NULL, 0, frames, points, link);
    child->queue = job->queue;
    child->parent = job;
    child->frame_of_parent = map;
    // The deadline is the whole batch's; what was sent before may have taken effect.
    child->attempt = job->attempt;
    child->attempt.sent_count = 0;
    child->has_begun = true;
    return child;
}

// Sends each part to a node that holds it. `nodes` per part; at least two different ones.
static void s_split(bb_write_job_t *job, const bb_view_t *view, const bb_batch_t *batch,
                    const uint32_t *nodes)
{
    uint32_t count = batch->part_count;
    bool *is_done = bb_alloc_zero(count, sizeof *is_done);
    bool *keep = bb_alloc_zero(count, sizeof *keep);
    bb_write_job_t *children = NULL;
    for (uint32_t p = 0; p < count; p++) {
        if (is_done[p]) {
            continue;
        }
        for (uint32_t q = 0; q < count; q++) {
            keep[q] = q >= p && !is_done[q] && nodes[q] == nodes[p];
            is_done[q] |= keep[q];
        }
        // A part without a node goes alone and looks again later.
        uint32_t link = nodes[p] == BB_LINK_NONE ? BB_LINK_NONE : view->nodes[nodes[p]].link;
        bb_write_job_t *child = s_new_child(job, batch, keep, link);
        child->next = children;
        children = child;
        job->children_left++;
    }
    free(is_done);
    free(keep);
    while (children) {
        bb_write_job_t *child = children;
        children = child->next;
        child->next = NULL;
        s_live_add(child);
        s_go(child); // may finish the child and, with the last one, the job
    }
}

// Finds a link for the job; BB_LINK_NONE when no replica is left. True: the job was split.
static bool s_pick(bb_write_job_t *job, uint32_t *link)
{
    bb_write_queue_t *queue = job->queue;
    const bb_view_t *view = bb_io_current_view(queue->io);
    *link = BB_LINK_NONE;
    if (!view) {
        return false;
    }
    uint8_t ranks[BB_NODES_MAX];
    bb_io_ranks(queue->io, view, ranks);
    uint32_t first = BB_LINK_NONE;
    for (uint32_t n = 0; n < view->node_count; n++) {
        if (view->nodes[n].link != BB_LINK_NONE && view->nodes[n].link == job->first_link) {
            first = n;
        }
    }
    // The common case must not look into the batch.
    if (first != BB_LINK_NONE && ranks[first] < BB_RANK_SUSPECT &&
        !bb_node_set_has(&job->attempt.tried, job->first_link)) {
        *link = job->first_link;
        return false;
    }
    bb_node_set_t tried = s_tried_nodes(view, &job->attempt.tried);
    bb_view_choice_t choice = {
        .ranks = ranks,
        .preferred_dc = bb_io_preferred_dc(queue->io),
        .tried = &tried,
        .only_node = bb_io_only_node(queue->io, view),
        .salt = bb_io_salt(queue->io),
    };
    bb_batch_t batch;
    s_look_at_parts(job, &batch);
    uint32_t node = bb_view_choose_common(view, &choice, job->partitions, job->partition_count);
    if (node != BB_LINK_NONE && ranks[node] < BB_RANK_DOWN) {
        *link = view->nodes[node].link;
        bb_batch_close(&batch);
        return false;
    }
    uint32_t *nodes = bb_alloc(job->partition_count * sizeof *nodes);
    bool has_other = false, has_live = false;
    for (uint32_t p = 0; p < job->partition_count; p++) {
        nodes[p] = bb_view_choose(view, &choice, job->partitions[p]);
        has_other |= nodes[p] != nodes[0];
        has_live |= nodes[p] != BB_LINK_NONE && ranks[nodes[p]] < BB_RANK_DOWN;
    }
    bool is_split = has_other && has_live;
    if (is_split) {
        s_split(job, view, &batch, nodes);
    } else if (node != BB_LINK_NONE) {
        *link = view->nodes[node].link;
    }
    free(nodes);
    bb_batch_close(&batch);
    return is_split;
}

// ---- attempts ----------------------------------------------------------------------------------

static void s_on_timer(bb_io_timer_t *timer)
{
    s_go((bb_write_job_t *)(void *)((char *)timer - offsetof(bb_write_job_t, timer)));
}

static void s_move(bb_write_job_t *job, bb_attempt_step_t step)
{
    switch (step.move) {
    case BB_ATTEMPT_SEND:
        s_go(job);
        break;
    case BB_ATTEMPT_WAIT:
        job->timer.run = s_on_timer;
        bb_io_timer_set(job->queue->io, &job->timer, step.wake_ns);
        break;
    case BB_ATTEMPT_GIVE_UP:
        s_fail(job, step.error);
        break;
    default:
        BB_ASSERT(false);
    }
}

static void s_step(bb_write_job_t *job, bb_outcome_t outcome, uint32_t link, bb_error_t error,
                   uint32_t retry_after_ms)
{
    s_move(job,
           bb_io_attempt_step(job->queue->io, &job->attempt, outcome, link, error, retry_after_ms));
}

static void s_on_answer(bb_exchange_t *exchange)
{
    bb_write_job_t *job = exchange->owner;
    bb_write_queue_t *queue = job->queue;
    uint32_t link = exchange->link;
    BB_ASSERT(queue->in_flight[link] > 0);
    queue->in_flight[link]--;
    job->is_sent = false;
    if (exchange->outcome == BB_OUTCOME_NOT_SENT) {
        bb_io_attempt_unsend(queue->io, &job->attempt);
    }
    bb_outcome_t outcome = exchange->outcome;
    bb_error_t error = BB_OK;
    uint32_t retry_after_ms = bb_exchange_retry_after_ms(exchange);
    bool is_success = false;
    if (outcome == BB_OUTCOME_ANSWERED) {
        error = bb_exchange_error(exchange);
        if (error != BB_OK) {
            snprintf(job->result.detail, sizeof job->result.detail, "%s: %.*s",
                     bb_error_name(error), (int)exchange->reply.error.detail.length,
                     (const char *)exchange->reply.error.detail.data);
        } else if (exchange->reply.kind == BB_KIND_WRITE_REPLY &&
                   bb_write_result_read(&job->result, &exchange->reply.write_reply, job->frames,
                                        job->points)) {
            is_success = true;
        } else {
            outcome = BB_OUTCOME_NO_ANSWER; // nonsense says nothing about what was done
        }
    }
    if (is_success && queue->session && job->result.acked_points > 0) {
        bb_session_note(queue->session, exchange->reply.write_reply.session);
    }
    bb_exchange_clear(exchange);
    if (is_success) {
        bb_io_attempt_won(queue->io, &job->attempt);
        s_finish(job);
    } else {
        s_step(job, outcome, link, error, retry_after_ms);
    }
    if (queue->waiter.is_waiting && !queue->is_pumping) {
        bb_io_look_for_room(queue->io); // its turn comes, behind those that wait longer
    } else {
        s_pump(queue);
    }
}

static void s_begin(bb_write_job_t *job)
{
    if (!job->has_begun) {
        job->has_begun = true;
        bb_attempt_begin(&job->attempt, bb_io_now_ns(), job->queue->timeout_ns, 0);
    }
}

// A session of another cluster would be of no use there and spoilt.
static bool s_is_of_cluster(const bb_write_queue_t *queue)
{
    const bb_view_t *view = bb_io_current_view(queue->io);
    return !queue->session || bb_session_bind(queue->session, view->cluster_id) == BB_OK;
}

static void s_send(bb_write_job_t *job, uint32_t link)
{
    bb_write_queue_t *queue = job->queue;
    s_begin(job);
    if (!s_is_of_cluster(queue)) {
        s_fail(job, BB_ERR_CLUSTER);
        return;
    }
    bb_attempt_step_t step = bb_io_attempt_send(queue->io, &job->attempt);
    if (step.move != BB_ATTEMPT_SEND) {
        s_move(job, step); // without a slot: others may use it meanwhile
        return;
    }
    int64_t now_ns = bb_io_now_ns();
    if (job->first_sent_ns == 0) {
        job->first_sent_ns = now_ns;
    }
    job->is_sent = true;
    queue->in_flight[link]++;
    job->exchange = (bb_exchange_t){
        .payload = job->batch,
        .link = link,
        .due_ns = bb_attempt_due_ns(&job->attempt, now_ns),
        .done = s_on_answer,
        .owner = job,
    };
    job->exchange.request.kind = BB_KIND_WRITE;
    job->exchange.request.write.level = queue->level
                                            ? (bb_level_t)queue->level
                                            : bb_io_current_view(queue->io)->default_write_level;
    job->exchange.request.write.deletes = queue->deletes;
    job->exchange.request.write.wants_session = queue->session != NULL;
    bb_io_start(queue->io, &job->exchange);
}

static void s_on_room(bb_room_waiter_t *waiter)
{
    s_pump((bb_write_queue_t *)(void *)((char *)waiter - offsetof(bb_write_queue_t, waiter)));
}

static bool s_has_slot(bb_write_queue_t *queue, uint32_t link, const bb_write_job_t *job)
{
    if (queue->in_flight[link] >= queue->in_flight_max) {
        return false;
    }
    queue->waiter.run = s_on_room;
    return bb_io_has_room(queue->io, link, job->batch->length, &queue->waiter);
}

// Sends the job if there is a slot; else it waits in line. Ends, splits or backs off when it must.
static void s_go(bb_write_job_t *job)
{
    bb_write_queue_t *queue = job->queue;
    if (job->has_begun && bb_io_now_ns() >= job->attempt.deadline_ns) {
        s_step(job, BB_OUTCOME_NO_NODE, 0, BB_OK, 0);
        return;
    }
    uint32_t link;
    if (s_pick(job, &link)) {
        return;
    }
    if (link == BB_LINK_NONE) {
        s_begin(job);
        s_step(job, BB_OUTCOME_NO_NODE, 0, BB_OK, 0);
        return;
    }
    if (!s_has_slot(queue, link, job)) {
        s_waiting_add(job);
        return;
    }
    s_send(job, link);
}

// After a slot became free: lets those in line try again, in order. One that finds no slot joins
// again at the end, so a full turn keeps the order. What fails at once frees its slot and comes
// back here; that call only asks for another turn, so the stack stays flat.
static void s_pump(bb_write_queue_t *queue)
{
    if (queue->is_pumping) {
        queue->must_pump_again = true;
        return;
    }
    queue->is_pumping = true;
    do {
        queue->must_pump_again = false;
        uint32_t count = 0;
        for (bb_write_job_t *at = queue->waiting_first; at; at = at->next) {
            count++;
        }
        while (count-- > 0 && queue->waiting_first) {
            bb_write_job_t *job = queue->waiting_first;
            s_waiting_remove(job);
            s_go(job);
        }
    } while (queue->must_pump_again);
    queue->is_pumping = false;
}

void bb_write_start(bb_write_queue_t *queue, bb_write_job_t *job)
{
    job->queue = queue;
    s_live_add(job);
    s_go(job);
}

void bb_write_cancel_all(bb_write_queue_t *queue)
{
    queue->in_flight_max = 0; // nothing is sent any more
    while (queue->live) {
        bb_write_job_t *job = queue->live;
        while (job && job->children_left > 0) {
            job = job->live_next; // ends with its last child
        }
        BB_ASSERT(job);
        if (job->is_sent) {
            bb_io_abort(queue->io, &job->exchange);
        } else {
            s_step(job, BB_OUTCOME_CANCELLED, 0, BB_OK, 0);
        }
    }
}
