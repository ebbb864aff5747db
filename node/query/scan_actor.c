// SPDX-License-Identifier: Apache-2.0
#include "node/query/scan_actor.h"

#include <czmq.h>

#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_tsan.h"

typedef struct {
    bb_node_t *node;
    uint32_t index;
    bb_outlet_t *router;
    bb_page_builder_t *page;
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
    uint32_t *room = bb_alloc_zero((size_t)request.query.partition_count + 1, sizeof *room);
    bb_shard_query_exclude(&request.query, scan->missing, scan->missing_count, room);
    bb_scan_result_t result = {0};
    error = bb_scan_page(scan->snapshot, &request.query, self->page, &result, &fault);
    bb_metrics_add(self->node->metrics, BB_METRIC_SCAN_PAGES, 1);
    bb_metrics_add(self->node->metrics, BB_METRIC_SCAN_POINTS, result.points_scanned);
    bb_metrics_add(self->node->metrics, BB_METRIC_SCAN_BLOCKS, result.blocks_decoded);
    uint8_t *encoded;
    size_t length;
    bb_page_builder_finish(self->page, &encoded, &length); // empties the builder in any case
    if (error != BB_OK) {
        free(encoded);
        bb_log_warning(&self->log, "scan failed", BB_LOG_TEXT("error", bb_error_name(error)),
                       BB_LOG_TEXT("detail", fault.text));
        s_refuse(self, scan, error, fault.text);
    } else if (length > BB_MESSAGE_BYTES_MAX) {
        free(encoded);
        s_refuse(self, scan, BB_ERR_MESSAGE_BYTES, "one page of the answer passes 16 MiB");
    } else {
        uint32_t missing_count;
        bb_missing_t *missing = s_missing(scan, &result, &missing_count);
        bb_message_t message = {.kind = BB_KIND_RESULT};
        message.result = (bb_result_t){
            .missing_count = missing_count,
            .missing = missing,
            .cursor = bb_slice(result.cursor, result.cursor_length),
            .damaged_window_count = result.damaged_window_count,
        };
        s_answer(self, scan, &message, bb_buffer_new(encoded, length, NULL, NULL));
        free(missing);
    }
    free(result.cursor);
    free(room);
    bb_message_close(&request);
}

static void s_on_mailbox(s_scan_t *self, bb_mailbox_t *mailbox)
{
    for (bb_post_t *post = bb_mailbox_receive(mailbox); post; post = bb_mailbox_receive(mailbox)) {
        if (post->kind == BB_POST_SCAN) {
            bb_mailbox_begin(mailbox);
            s_scan(self, &post->scan);
            bb_mailbox_end(mailbox);
        }
        bb_post_destroy(&post); // closes the snapshot
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
    zmq_pollitem_t items[] = {
        {.socket = zsock_resolve(pipe), .events = ZMQ_POLLIN},
        {.socket = bb_mailbox_socket(mailbox), .events = ZMQ_POLLIN},
    };
    while (!(items[0].revents & ZMQ_POLLIN)) {
        if (zmq_poll(items, 2, -1) < 0 && zmq_errno() != EINTR) {
            break;
        }
        s_on_mailbox(self, mailbox);
    }
    s_on_mailbox(self, mailbox); // every snapshot is closed before its store is
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
