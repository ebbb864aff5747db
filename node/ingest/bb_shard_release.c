// SPDX-License-Identifier: Apache-2.0
// Releasing quarantined points: they are read page by page from a snapshot, written again as
// chunks of our own that nobody judges, and counted when their level is met. Only one page is on
// its way at a time, so memory stays small and a failure leaves a clear count. Repeating is safe.
#include "node/ingest/bb_shard_internal.h"

#include <stdlib.h>
#include <string.h>

#define S_PAGE_BYTES (256u << 10)

void bb_shard_release_clear(bb_pending_release_t *release)
{
    bb_buffer_drop(&release->envelope);
    free(release->cursor);
    *release = (bb_pending_release_t){0};
}

void bb_shard_release(bb_shard_t *self, uint64_t ticket, const bb_message_t *message,
                      bb_buffer_t *envelope)
{
    bb_level_t level = message->release.level;
    bb_pending_release_t *release = NULL;
    for (uint32_t i = 0; i < BB_SHARD_RELEASES_MAX && !release; i++) {
        release = self->releases[i].is_used ? NULL : &self->releases[i];
    }
    bb_error_t error = BB_OK;
    const char *refusal = NULL;
    if (!bb_shard_may_serve(self, level, &refusal)) {
        error = BB_ERR_NOT_COUNTING;
    } else if (self->is_draining) {
        error = BB_ERR_STOPPING;
    } else if (self->time.is_skewed) {
        error = BB_ERR_CLOCK_SKEW;
    } else if (!release) {
        error = BB_ERR_BUSY;
    }
    if (error != BB_OK) {
        bb_shard_answer_error(self, ticket, message->request_id, message->trace_id, error,
                              error == BB_ERR_BUSY ? 1000 : 0, "%s", bb_error_message(error));
        return;
    }
    *release = (bb_pending_release_t){
        .is_used = true,
        .ticket = ticket,
        .request_id = message->request_id,
        .trace_id = message->trace_id,
        .deadline_mono_ns = bb_shard_deadline_mono_ns(self, message),
        .level = level,
        .envelope = bb_buffer_keep(envelope),
    };
    self->is_changed = true; // the next commit begins with it
}

void bb_shard_release_ended(bb_shard_t *self, bb_pending_release_t *release, bb_error_t error,
                            uint64_t point_count)
{
    BB_ASSERT(release->is_used && release->is_writing);
    release->is_writing = false;
    release->error = error;
    release->released_points += error == BB_OK ? point_count : 0;
    self->is_changed = true;
}

static void s_answer(bb_shard_t *self, bb_pending_release_t *release)
{
    if (release->error != BB_OK) {
        bb_shard_answer_error(self, release->ticket, release->request_id, release->trace_id,
                              release->error, 0, "%s after %llu points were released",
                              bb_error_message(release->error),
                              (unsigned long long)release->released_points);
    } else {
        bb_message_t message = {.kind = BB_KIND_RELEASE_REPLY,
                                .epoch = self->epoch,
                                .request_id = release->request_id,
                                .trace_id = release->trace_id,
                                .release_reply = {release->released_points}};
        bb_shard_answer(self, release->ticket, &message, NULL);
    }
    bb_shard_release_clear(release);
}

// One series of a page into the batch.
static bb_error_t s_add_series(bb_shard_t *self, bb_batch_builder_t *builder, const bb_page_t *page,
                               const bb_series_t *series)
{
    bb_fault_t fault;
    uint32_t battery = 0, shape = 0, order = 0;
    uint8_t type = (uint8_t)series->type;
    bb_error_t error = bb_batch_builder_battery(
        builder,
        bb_topology_partition_of(self->topology, series->battery.data, series->battery.length),
        series->battery, NULL, 0, &battery, &fault);
    if (error == BB_OK) {
        error = bb_batch_builder_shape(builder, &series->metric, &type, 1, &shape, &order, &fault);
    }
    for (uint32_t i = 0; i < series->row_count && error == BB_OK; i++) {
        uint64_t value = series->values[i];
        if (series->type == BB_TYPE_STATE) {
            uint32_t state = 0;
            error = bb_batch_builder_state(builder, page->states[value], &state, &fault);
            value = state;
        }
        if (error == BB_OK) {
            error =
                bb_batch_builder_frame(builder, battery, shape, series->times_wall_ns[i], &value);
        }
    }
    return error;
}

// Scans the next page of quarantined points. *encoded is malloc'd, or NULL when it was empty.
static bb_error_t s_next_page(bb_shard_t *self, bb_pending_release_t *release, uint8_t **encoded,
                              size_t *length)
{
    *encoded = NULL;
    bb_message_t request;
    bb_error_t error = bb_message_decode(&request, bb_buffer_slice(release->envelope), NULL);
    BB_ASSERT(error == BB_OK); // it was decoded when it came
    uint32_t partition_count = 0;
    const uint32_t *partitions = bb_have_view_partitions(self->view, &partition_count);
    bb_query_t query = {
        .mode = BB_QUERY_QUARANTINE,
        .level = BB_LEVEL_ONE,
        .from_wall_ns = BB_TIME_WALL_NS_FIRST,
        .to_wall_ns = BB_TIME_WALL_NS_LIMIT,
        .partition_count = partition_count,
        .partitions = partitions,
        .battery_count = request.release.battery_count,
        .batteries = request.release.batteries,
        .page_bytes_max = S_PAGE_BYTES,
        .cursor = bb_slice(release->cursor, release->cursor_length),
    };
    bb_snapshot_t *snapshot = NULL;
    bb_fault_t fault;
    bb_scan_result_t result = {0};
    bb_page_builder_t *builder = bb_page_builder_new();
    error = partition_count == 0 ? BB_ERR_NOT_FOUND
                                 : bb_store_snapshot(self->store, &query, &snapshot, &fault);
    if (error == BB_OK) {
        error = bb_scan_page(snapshot, &query, builder, &result, &fault);
        bb_snapshot_close(&snapshot);
    }
    bb_message_close(&request);
    if (error != BB_OK) {
        bb_page_builder_destroy(&builder);
        release->is_last_page = true;
        return error == BB_ERR_NOT_FOUND ? BB_OK : error;
    }
    free(release->cursor);
    release->cursor = result.cursor;
    release->cursor_length = result.cursor_length;
    release->is_last_page = result.cursor == NULL;
    uint8_t *page_data = NULL;
    size_t page_length = 0;
    bb_page_builder_finish(builder, &page_data, &page_length);
    bb_page_builder_destroy(&builder);
    bb_page_t page;
    error = bb_page_open(&page, bb_slice(page_data, page_length), NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
    // What was deleted meanwhile is no longer in quarantine, and the rest is not of the past.
    uint32_t generation = 0;
    for (uint32_t i = 0; i < page.series_count; i++) {
        generation = BB_MAX(generation, bb_store_generation(self->store, page.series[i].battery));
    }
    bb_batch_builder_t *batch = bb_batch_builder_new(bb_revision_make(generation, 0));
    for (uint32_t i = 0; i < page.series_count && error == BB_OK; i++) {
        error = s_add_series(self, batch, &page, &page.series[i]);
    }
    if (error == BB_OK && bb_batch_builder_frame_count(batch) > 0) {
        bb_batch_builder_finish(batch, encoded, length, NULL);
    }
    bb_batch_builder_destroy(&batch);
    bb_page_close(&page);
    free(page_data);
    return error;
}

static bb_error_t s_submit(bb_shard_t *self, bb_pending_release_t *release, uint8_t *encoded,
                           size_t length)
{
    bb_pending_write_t *write = bb_shard_write_new(self, 0);
    write->release = release;
    bb_shard_submit_t submit = {
        .level = release->level, .deadline_mono_ns = release->deadline_mono_ns, .write = write};
    bb_error_t error = bb_shard_submit_own(self, &submit, encoded, length);
    release->is_writing = error == BB_OK;
    return error;
}

static void s_step(bb_shard_t *self, bb_pending_release_t *release)
{
    if (release->error == BB_OK && !release->is_last_page &&
        self->time.mono_ns >= release->deadline_mono_ns) {
        release->error = BB_ERR_TIMEOUT;
    }
    if (release->error != BB_OK || release->is_last_page) {
        s_answer(self, release);
        return;
    }
    uint8_t *encoded = NULL;
    size_t length = 0;
    release->error = s_next_page(self, release, &encoded, &length);
    if (release->error == BB_OK && encoded) {
        release->error = s_submit(self, release, encoded, length);
    }
    self->is_changed = true; // the next commit syncs it, or goes on
}

void bb_shard_releases_step(bb_shard_t *self)
{
    for (uint32_t i = 0; i < BB_SHARD_RELEASES_MAX; i++) {
        if (self->releases[i].is_used && !self->releases[i].is_writing) {
            s_step(self, &self->releases[i]);
        }
    }
}
