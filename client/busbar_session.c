// SPDX-License-Identifier: Apache-2.0
// Sessions: what was written and seen, kept behind a lock, handed out as bytes.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client/bb_session.h"
#include "client/busbar_internal.h"

static_assert(BUSBAR_SESSION_BYTES_MAX == BB_SESSION_TOKEN_BYTES_MAX, "said again for users");

struct busbar_session {
    pthread_mutex_t mutex;
    bb_session_token_t token;
};

busbar_session_t *busbar_session_new(void)
{
    busbar_session_t *self = bb_alloc_zero(1, sizeof *self);
    pthread_mutex_init(&self->mutex, NULL);
    return self;
}

void busbar_session_free(busbar_session_t **session)
{
    if (!session || !*session) {
        return;
    }
    bb_session_token_clear(&(*session)->token);
    pthread_mutex_destroy(&(*session)->mutex);
    free(*session);
    *session = NULL;
}

// ---- for the library ---------------------------------------------------------------------------

bb_error_t bb_session_bind(busbar_session_t *self, const uint8_t cluster_id[16])
{
    pthread_mutex_lock(&self->mutex);
    bb_error_t error = bb_session_token_bind(&self->token, cluster_id);
    pthread_mutex_unlock(&self->mutex);
    return error;
}

void bb_session_note(busbar_session_t *self, bb_slice_t encoded)
{
    bb_session_token_t seen = {0};
    if (bb_session_token_decode(&seen, encoded) != BB_OK) {
        seen.is_overflowed = true;
    }
    pthread_mutex_lock(&self->mutex);
    bb_error_t error = bb_session_token_join(&self->token, &seen);
    bb_ignore(error, "CLUSTER: of another cluster, which was refused before anything was sent");
    pthread_mutex_unlock(&self->mutex);
    bb_session_token_clear(&seen);
}

void bb_session_encode(busbar_session_t *self, const uint32_t *partitions, uint32_t partition_count,
                       uint8_t **out, size_t *out_length)
{
    bb_session_token_t part = {0};
    pthread_mutex_lock(&self->mutex);
    bb_session_token_select(&part, &self->token, partitions, partition_count);
    pthread_mutex_unlock(&self->mutex);
    bb_session_token_encode(&part, out, out_length);
    bb_session_token_clear(&part);
}

// ---- public ------------------------------------------------------------------------------------

bool busbar_session_is_whole(busbar_session_t *session)
{
    if (!session) {
        return false;
    }
    pthread_mutex_lock(&session->mutex);
    bool is_whole = !session->token.is_overflowed;
    pthread_mutex_unlock(&session->mutex);
    return is_whole;
}

busbar_status_t busbar_session_export(busbar_session_t *session, void *buffer, size_t capacity,
                                      size_t *length)
{
    if (!session || !buffer || !length) {
        return BB_ERR_USAGE;
    }
    uint8_t *bytes;
    size_t count;
    pthread_mutex_lock(&session->mutex);
    bb_session_token_encode(&session->token, &bytes, &count);
    pthread_mutex_unlock(&session->mutex);
    bool fits = count <= capacity;
    if (fits) {
        memcpy(buffer, bytes, count);
        *length = count;
    }
    free(bytes);
    return fits ? BB_OK : BB_ERR_LIMIT;
}

busbar_status_t busbar_session_import(busbar_session_t *session, const void *bytes, size_t length,
                                      busbar_fault_t *fault)
{
    if (!session || (!bytes && length > 0)) {
        return busbar_fault_say(fault, BB_ERR_USAGE, "busbar_session_import needs a session");
    }
    bb_session_token_t token = {0};
    bb_error_t error = bb_session_token_decode(&token, bb_slice(bytes, length));
    if (error != BB_OK) {
        return busbar_fault_say(fault, error, "%zu bytes are no session token: %s", length,
                                bb_error_message(error));
    }
    pthread_mutex_lock(&session->mutex);
    error = bb_session_token_join(&session->token, &token);
    pthread_mutex_unlock(&session->mutex);
    bb_session_token_clear(&token);
    if (error != BB_OK) {
        return busbar_fault_say(fault, error, "the token is of another cluster than the session");
    }
    return BUSBAR_OK;
}
