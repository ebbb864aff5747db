// SPDX-License-Identifier: Apache-2.0
// What a client of the simulator has written and seen: its token, as the library keeps it, and the
// same for the checker, point by point.
#include <stdlib.h>

#include "tests/sim/sim_world.h"

bool sim_session_is_on(const sim_world_t *self, uint32_t client)
{
    return (self->options.session_mask >> client & 1) != 0;
}

void sim_session_ask(sim_world_t *self, const sim_op_t *op, bb_query_t *query, uint8_t **bytes)
{
    *bytes = NULL;
    if (!op->is_session) {
        return;
    }
    uint32_t client = (uint32_t)(op - self->ops);
    bb_session_token_t part = {0};
    size_t length = 0;
    bb_session_token_select(&part, &self->clients[client].session, op->partitions,
                            op->partition_count);
    bb_session_token_encode(&part, bytes, &length);
    bb_session_token_clear(&part);
    query->session = bb_slice(*bytes, length);
    query->wants_session = true;
}

void sim_session_note(sim_world_t *self, uint32_t client, bb_slice_t encoded)
{
    bb_session_token_t seen = {0};
    bb_error_t error = bb_session_token_decode(&seen, encoded);
    if (error == BB_OK) {
        error = bb_session_token_join(&self->clients[client].session, &seen);
    }
    if (error != BB_OK) {
        sim_trace_fail(&self->trace, "client %u: the token of an answer cannot be read: %s", client,
                       bb_error_name(error));
    }
    bb_session_token_clear(&seen);
}

void sim_session_wrote(sim_world_t *self, uint32_t client, const bool *is_rejected)
{
    const sim_op_t *op = &self->ops[client];
    uint64_t moment = ++self->moment;
    for (uint64_t i = 0; i < op->batch.value_count; i++) {
        if (!is_rejected[i] && op->is_delete) {
            bb_checker_told_deleted(self->checker, op->points[i], moment, SIM_SESSION_BIT(client));
        } else if (!is_rejected[i]) {
            bb_checker_told(self->checker, op->points[i], moment, SIM_SESSION_BIT(client));
        }
    }
}

void sim_session_saw(sim_world_t *self, uint32_t client)
{
    const sim_op_t *op = &self->ops[client];
    uint64_t moment = ++self->moment;
    for (uint32_t i = 0; i < op->row_count; i++) {
        const sim_row_t *row = &op->rows[i];
        // A normal version may hide a quarantined one of the same point later.
        if (!row->key.is_future || !sim_near_is(row->key.time_wall_ns)) {
            bb_checker_seen(self->checker, &row->key, row->type, row->bits, moment,
                            SIM_SESSION_BIT(client));
        }
    }
    self->counters.session_reads++;
}
