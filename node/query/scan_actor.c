// SPDX-License-Identifier: Apache-2.0
#include "node/query/scan_actor.h"

#include <czmq.h>
#include <stdio.h>

#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_poller.h"
#include "node/runtime/bb_tsan.h"

// Parts of one scan; a thread asks no more neighbours than that.
#define S_PARTS_MAX 8u
// Fewer batteries are not worth a message.
#define S_PART_BATTERIES_MIN 64u

// A scan that is under way in parts.
typedef struct s_work {
    struct s_work *next;
    bb_post_scan_t scan;
    bb_message_t request;
    bb_scan_part_t *parts[S_PARTS_MAX];
    uint32_t part_count, waiting_for;
    bb_error_t error; // of the first part that failed
    bb_fault_t fault;
} s_work_t;

typedef struct {
    bb_node_t *node;
    uint32_t index;
    bb_outlet_t *router;
    bb_outlet_t *scans[BB_SCAN_THREADS_MAX]; // NULL: nothing was sent there yet
    bb_page_builder_t *page;
    s_work_t *works;
    bool is_ending; // nothing more is shared
    bb_log_t log;
} s_scan_t;

static void s_answer(s_scan_t *self, const bb_post_scan_t *scan, bb_message_t *message,
                     bb_buffer_t *body)
{
    message->epoch = bb_topology_epoch(self->node->topology);
    message->request_id = scan->request_id;
    uint8_t *encoded;
    size_t length;
    bb_message_encode(message, &encoded, &length);
    bb_post_t *post = bb_post_new(BB_POST_ANSWER);
    post->answer = (bb_post_answer_t){
        .ticket = scan->ticket,
        .store_index = scan->store_index,
        .outbound = {.envelope = bb_buffer_new(encoded, length, NULL, NULL), .body = body},
    };
    bb_outlet_send_always(self->router, &post);
}

static void s_refuse(s_scan_t *self, const bb_post_scan_t *scan, bb_error_t error,
                     const char *detail)
{
    bb_message_t message = {.kind = BB_KIND_ERROR};
    message.error = (bb_error_reply_t){.code = error, .detail = bb_slice(detail, strlen(detail))};
    s_answer(self, scan, &message, NULL);
}

// What the shard could not serve, and what the scan found damaged.
static bb_missing_t *s_missing(const bb_post_scan_t *scan, const bb_scan_result_t *result,
                               uint32_t *count)
{
    *count = scan->missing_count;
    bb_missing_t *missing = bb_alloc_zero(
        (size_t)scan->missing_count + result->damaged_partition_count + 1, sizeof *missing);
    if (scan->missing_count > 0) {
        memcpy(missing, scan->missing, scan->missing_count * sizeof *missing);
    }
    for (uint32_t i = 0; i < result->damaged_partition_count; i++) {
        bool is_named = false;
        for (uint32_t k = 0; k < *count && !is_named; k++) {
            is_named = missing[k].partition == result->damaged_partitions[i];
        }
        if (!is_named) {
            missing[(*count)++] = (bb_missing_t){result->damaged_partitions[i], BB_ERR_CORRUPT};
        }
    }
    return missing;
}

// The page that was made, or why there is none.
static void s_give_page(s_scan_t *self, const bb_post_scan_t *scan, bb_error_t error,
                        bb_scan_result_t *result, const char *detail)
{
    bb_metrics_add(self->node->metrics, BB_METRIC_SCAN_PAGES, 1);
    bb_metrics_add(self->node->metrics, BB_METRIC_SCAN_POINTS, result->points_scanned);
    bb_metrics_add(self->node->metrics, BB_METRIC_SCAN_BLOCKS, result->blocks_decoded);
    uint8_t *encoded;
    size_t length;
    bb_page_builder_finish(self->page, &encoded, &length); // empties the builder in any case
    if (error != BB_OK) {
        free(encoded);
        bb_log_warning(&self->log, "scan failed", BB_LOG_TEXT("error", bb_error_name(error)),
                       BB_LOG_TEXT("detail", detail));
        s_refuse(self, scan, error, detail);
    } else if (length > BB_MESSAGE_BYTES_MAX) {
        free(encoded);
        s_refuse(self, scan, BB_ERR_MESSAGE_BYTES, "one page of the answer passes 16 MiB");
    } else {
        uint32_t missing_count;
        bb_missing_t *missing = s_missing(scan, result, &missing_count);
        bb_message_t message = {.kind = BB_KIND_RESULT};
        message.result = (bb_result_t){
            .missing_count = missing_count,
            .missing = missing,
            .cursor = bb_slice(result->cursor, result->cursor_length),
            .damaged_window_count = result->damaged_window_count,
            .session = bb_buffer_slice(scan->session),
        };
        s_answer(self, scan, &message, bb_buffer_new(encoded, length, NULL, NULL));
        free(missing);
    }
    free(result->cursor);
}

// ---- parts -------------------------------------------------------------------------------------
static bool s_is_grouped(const bb_query_t *query)
{
    return query->mode == BB_QUERY_AGGREGATE && query->group_by_none && query->rollup.length == 0;
}

// Neighbours without anything to do, behind this thread in the ring.
static uint32_t s_idle_neighbours(const s_scan_t *self, uint32_t indexes[S_PARTS_MAX - 1])
{
    uint32_t count = 0;
    for (uint32_t i = 1; i < BB_MIN(self->node->scan_count, S_PARTS_MAX); i++) {
        uint32_t index = (self->index + i) % self->node->scan_count;
        if (bb_mailbox_load(self->node->scans[index]) == 0) {
            indexes[count++] = index;
        }
    }
    return count;
}

static void s_send_part(s_scan_t *self, s_work_t *work, uint32_t index, bb_snapshot_t *snapshot)
{
    if (!self->scans[index]) {
        self->scans[index] = bb_outlet_new(self->node->scans[index]);
    }
    bb_post_t *post = bb_post_new(BB_POST_PART);
    post->part = (bb_post_part_t){
        .asker_index = self->index,
        .part_index = work->part_count++,
        .work = work,
        .snapshot = snapshot,
        .request = bb_buffer_keep(work->scan.request),
        .deadline_mono_ns = work->scan.deadline_mono_ns,
    };
    work->waiting_for++;
    bb_outlet_send_always(self->scans[index], &post); // as many as scans that were admitted
}

static void s_share(s_scan_t *self, s_work_t *work)
{
    uint32_t neighbours[S_PARTS_MAX - 1];
    bb_snapshot_t *snapshots[S_PARTS_MAX - 1];
    uint32_t most = bb_snapshot_battery_count(work->scan.snapshot) / S_PART_BATTERIES_MIN;
    uint32_t idle = self->is_ending ? 0 : s_idle_neighbours(self, neighbours);
    uint32_t count =
        bb_snapshot_split(work->scan.snapshot, BB_MAX(BB_MIN(idle + 1, most), 1), snapshots);
    for (uint32_t i = 0; i < count; i++) {
        s_send_part(self, work, neighbours[i], snapshots[i]);
    }
}

static void s_note_error(s_work_t *work, bb_error_t error, const char *detail)
{
    if (error != BB_OK && work->error == BB_OK) {
        work->error = error;
        bb_ignore(bb_fault_set(&work->fault, error, "%s", detail), "kept for the answer");
    }
}

static void s_end_work(s_scan_t *self, s_work_t *work)
{
    s_work_t **at = &self->works;
    while (*at != work) {
        at = &(*at)->next;
    }
    *at = work->next;
    for (uint32_t i = 0; i < work->part_count; i++) {
        bb_scan_part_destroy(&work->parts[i]);
    }
    bb_message_close(&work->request);
    bb_post_scan_drop(&work->scan);
    free(work);
}

// All parts are there.
static void s_join(s_scan_t *self, s_work_t *work)
{
    bb_scan_result_t result = {0};
    if (work->error == BB_OK) {
        work->error = bb_scan_parts_page(work->parts, work->part_count, work->scan.snapshot,
                                         &work->request.query, self->page, &result, &work->fault);
    }
    s_give_page(self, &work->scan, work->error, &result, work->fault.text);
    s_end_work(self, work);
}

static void s_scan_in_parts(s_scan_t *self, s_work_t *work)
{
    work->next = self->works;
    self->works = work;
    work->part_count = 1;
    s_share(self, work);
    bb_fault_t fault = {0};
    bb_error_t error =
        bb_scan_part_collect(work->scan.snapshot, &work->request.query, &work->parts[0], &fault);
    s_note_error(work, error, fault.text);
    if (work->waiting_for == 0) {
        s_join(self, work);
    }
}

// Another thread's part.
static void s_on_part(s_scan_t *self, bb_post_part_t *part)
{
    bb_metrics_add(self->node->metrics, BB_METRIC_SCAN_PARTS, 1);
    bb_post_t *post = bb_post_new(BB_POST_PART_DONE);
    post->part = (bb_post_part_t){.part_index = part->part_index, .work = part->work};
    bb_message_t request;
    bb_fault_t fault = {0};
    bb_error_t error = bb_clock_mono_ns() >= part->deadline_mono_ns
                           ? bb_fault_set(&fault, BB_ERR_TIMEOUT,
                                          "the deadline passed before a part of the scan began")
                           : bb_message_decode(&request, bb_buffer_slice(part->request), &fault);
    if (error == BB_OK) {
        error = bb_scan_part_collect(part->snapshot, &request.query, &post->part.part, &fault);
        bb_message_close(&request);
    }
    bb_snapshot_close(&part->snapshot);
    post->part.error = error;
    snprintf(post->part.detail, sizeof post->part.detail, "%.159s", fault.text);
    if (!self->scans[part->asker_index]) {
        self->scans[part->asker_index] = bb_outlet_new(self->node->scans[part->asker_index]);
    }
    bb_outlet_send_always(self->scans[part->asker_index], &post);
}

static void s_on_part_done(s_scan_t *self, bb_post_part_t *part)
{
    s_work_t *work = part->work;
    BB_ASSERT(part->part_index < work->part_count && !work->parts[part->part_index]);
    work->parts[part->part_index] = part->part;
    part->part = NULL;
    s_note_error(work, part->error, part->detail);
    if (--work->waiting_for == 0) {
        s_join(self, work);
    }
}

// ---- scans -------------------------------------------------------------------------------------
static void s_scan_alone(s_scan_t *self, const bb_post_scan_t *scan, bb_message_t *request)
{
    uint32_t *room = bb_alloc_zero((size_t)request->query.partition_count + 1, sizeof *room);
    bb_shard_query_exclude(&request->query, scan->missing, scan->missing_count, room);
    bb_scan_result_t result = {0};
    bb_fault_t fault = {0};
    bb_error_t error = bb_scan_page(scan->snapshot, &request->query, self->page, &result, &fault);
    s_give_page(self, scan, error, &result, fault.text);
    free(room);
}

static void s_scan(s_scan_t *self, bb_post_scan_t *scan)
{
    if (bb_clock_mono_ns() >= scan->deadline_mono_ns) {
        bb_metrics_add(self->node->metrics, BB_METRIC_SCAN_LATE, 1);
        s_refuse(self, scan, BB_ERR_TIMEOUT, "the deadline passed before the scan began");
        return;
    }
    bb_message_t request;
    bb_fault_t fault = {0};
    bb_error_t error = bb_message_decode(&request, bb_buffer_slice(scan->request), &fault);
    if (error != BB_OK) {
        s_refuse(self, scan, error, fault.text);
        return;
    }
    if (!s_is_grouped(&request.query)) {
        s_scan_alone(self, scan, &request);
        bb_message_close(&request);
        return;
    }
    s_work_t *work = bb_alloc_zero(1, sizeof *work);
    work->scan = *scan;
    *scan = (bb_post_scan_t){0};
    work->request = request;
    s_scan_in_parts(self, work);
}

static void s_on_post(s_scan_t *self, bb_post_t *post)
{
    if (post->kind == BB_POST_SCAN) {
        s_scan(self, &post->scan);
    } else if (post->kind == BB_POST_PART) {
        s_on_part(self, &post->part);
    } else if (post->kind == BB_POST_PART_DONE) {
        s_on_part_done(self, &post->part);
    }
}

static void s_on_mailbox(s_scan_t *self, bb_mailbox_t *mailbox)
{
    for (bb_post_t *post = bb_mailbox_receive(mailbox); post; post = bb_mailbox_receive(mailbox)) {
        bb_mailbox_begin(mailbox);
        s_on_post(self, post);
        bb_mailbox_end(mailbox);
        bb_post_destroy(&post); // closes the snapshot, if it is still there
    }
}

static void s_scan_actor(zsock_t *pipe, void *argument)
{
    s_scan_t *self = argument;
    bb_actor_set_name("scan", self->index);
    bb_mailbox_t *mailbox = self->node->scans[self->index];
    self->router = bb_outlet_new(self->node->router);
    self->page = bb_page_builder_new();
    zsock_signal(pipe, 0);
    bb_poller_t poller = {.count = 0};
    uint32_t on_pipe = bb_poller_add(&poller, zsock_resolve(pipe));
    bb_poller_add_fd(&poller, bb_mailbox_fd(mailbox));
    while (!bb_poller_is_ready(&poller, on_pipe)) {
        if (!bb_poller_wait(&poller, -1)) {
            break;
        }
        s_on_mailbox(self, mailbox);
    }
    self->is_ending = true;
    s_on_mailbox(self, mailbox);
    while (self->works) {
        s_end_work(self, self->works); // of parts that nobody waits for any more
    }                                  // Every snapshot is closed before its store is.
    for (uint32_t i = 0; i < BB_COUNT_OF(self->scans); i++) {
        bb_outlet_destroy(&self->scans[i]);
    }
    bb_page_builder_destroy(&self->page);
    bb_outlet_destroy(&self->router);
    BB_TSAN_RELEASE(self->node);
    free(self);
}

zactor_t *bb_scan_actor_new(bb_node_t *node, uint32_t index)
{
    s_scan_t *self = bb_alloc_zero(1, sizeof *self);
    self->node = node;
    self->index = index;
    bb_log_init(&self->log, node->config->log_level, STDERR_FILENO, "scan", index);
    return zactor_new(s_scan_actor, self);
}
