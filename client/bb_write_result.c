// SPDX-License-Identifier: Apache-2.0
// The pure part of bb_write_job.h: results, and which frame of a part is which of the whole.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/bb_write_job.h"

void bb_write_result_free(bb_write_result_t *self)
{
    free(self->rejections);
    *self = (bb_write_result_t){0};
}

static void s_add_error(bb_write_result_t *whole, const bb_write_result_t *part)
{
    bool prevails =
        part->error != BB_OK && (whole->error == BB_OK ||
                                 (part->error == BB_ERR_TIMEOUT && whole->error != BB_ERR_TIMEOUT));
    if (prevails) {
        whole->error = part->error;
        memcpy(whole->detail, part->detail, sizeof whole->detail);
    }
}

void bb_write_result_join(bb_write_result_t *whole, const bb_write_result_t *part,
                          const uint32_t *frame_of_part)
{
    s_add_error(whole, part);
    whole->acked_frames += part->acked_frames;
    whole->acked_points += part->acked_points;
    whole->rejected_frames += part->rejected_frames;
    whole->rejected_points += part->rejected_points;
    whole->quarantined_points += part->quarantined_points;
    whole->attempts += part->attempts;
    whole->latency_ns = BB_MAX(whole->latency_ns, part->latency_ns);
    uint32_t room = BB_REJECTIONS_MAX - whole->rejection_count;
    uint32_t count = BB_MIN(part->rejection_count, room);
    if (count == 0) {
        return;
    }
    whole->rejections =
        bb_realloc(whole->rejections, (whole->rejection_count + count) * sizeof *whole->rejections);
    for (uint32_t i = 0; i < count; i++) {
        bb_write_rejection_t *to = &whole->rejections[whole->rejection_count++];
        *to = part->rejections[i];
        if (frame_of_part && to->frame != UINT32_MAX) {
            to->frame = frame_of_part[to->frame];
        }
    }
}

static void s_copy_text(char *to, size_t size, bb_slice_t from)
{
    snprintf(to, size, "%.*s", (int)BB_MIN(from.length, size - 1),
             from.length ? (const char *)from.data : "");
}

bool bb_write_result_read(bb_write_result_t *self, const bb_write_reply_t *reply, uint64_t frames,
                          uint64_t points)
{
    bool adds_up = (uint64_t)reply->acked_frames + reply->rejected_frames == frames &&
                   reply->acked_points <= points &&
                   reply->rejected_points == points - reply->acked_points &&
                   reply->quarantined_points <= reply->acked_points &&
                   reply->rejection_count <= BB_REJECTIONS_MAX;
    for (uint32_t i = 0; adds_up && i < reply->rejection_count; i++) {
        uint32_t frame = reply->rejections[i].frame;
        adds_up = (frame < frames || frame == UINT32_MAX) &&
                  reply->rejections[i].metric.length <= BB_METRIC_NAME_BYTES_MAX;
    }
    if (!adds_up) {
        return false;
    }
    self->error = BB_OK;
    self->detail[0] = 0;
    self->acked_frames = reply->acked_frames;
    self->acked_points = reply->acked_points;
    self->rejected_frames = reply->rejected_frames;
    self->rejected_points = reply->rejected_points;
    self->quarantined_points = reply->quarantined_points;
    if (reply->rejection_count > 0) {
        self->rejections = bb_alloc(reply->rejection_count * sizeof *self->rejections);
    }
    self->rejection_count = reply->rejection_count;
    for (uint32_t i = 0; i < reply->rejection_count; i++) {
        bb_write_rejection_t *to = &self->rejections[i];
        to->frame = reply->rejections[i].frame;
        to->error = reply->rejections[i].error;
        s_copy_text(to->metric, sizeof to->metric, reply->rejections[i].metric);
        s_copy_text(to->detail, sizeof to->detail, reply->rejections[i].detail);
    }
    return true;
}

uint32_t *bb_write_frame_map(const bb_batch_t *batch, const bool *keep, uint32_t *count)
{
    uint32_t *map = bb_alloc(batch->frame_count * sizeof *map);
    uint32_t kept = 0, frame = 0;
    for (uint32_t p = 0; p < batch->part_count; p++) {
        for (uint32_t i = 0; i < batch->parts[p].frame_count; i++, frame++) {
            if (keep[p]) {
                map[kept++] = frame;
            }
        }
    }
    *count = kept;
    return map;
}
