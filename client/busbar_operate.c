// SPDX-License-Identifier: Apache-2.0
// Status, settle and release: the same question to every node, and one answer out of many.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/busbar_internal.h"
#include "protocol/bb_text.h"

#define S_SETTLE_TURN_NS  (5 * BB_NS_PER_S) // one SETTLE request waits this long at the node
#define S_RELEASE_IDS_MAX 10000             // batteries named in one message

// ---- status ------------------------------------------------------------------------------------

static bool s_is_status(const busbar_poll_t *poll)
{
    return poll->exchange.outcome == BB_OUTCOME_ANSWERED &&
           poll->exchange.reply.kind == BB_KIND_STATUS_REPLY;
}

static char *s_strdup_slice(bb_slice_t text)
{
    char *copy = bb_alloc(text.length + 1);
    if (text.length > 0) {
        memcpy(copy, text.data, text.length);
    }
    copy[text.length] = 0;
    return copy;
}

static bool s_is_equal(bb_slice_t slice, const char *text)
{
    return slice.length == strlen(text) && memcmp(slice.data, text, slice.length) == 0;
}

static busbar_node_t *s_node_of(busbar_cluster_t *cluster, bb_slice_t id, bb_slice_t dc)
{
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        if (s_is_equal(id, cluster->nodes[n].id)) {
            return &cluster->nodes[n];
        }
    }
    if (cluster->node_count == BB_COUNT_OF(cluster->nodes)) {
        return NULL;
    }
    busbar_node_t *node = &cluster->nodes[cluster->node_count++];
    *node = (busbar_node_t){.id = s_strdup_slice(id), .dc = s_strdup_slice(dc)};
    return node;
}

// The data centre of this name; NULL: there are too many.
static busbar_dc_t *s_dc_of(busbar_cluster_t *cluster, const char *name)
{
    for (uint32_t i = 0; i < cluster->dc_count; i++) {
        if (strcmp(cluster->dcs[i].name, name) == 0) {
            return &cluster->dcs[i];
        }
    }
    if (cluster->dc_count == BB_COUNT_OF(cluster->dcs)) {
        return NULL;
    }
    cluster->dcs[cluster->dc_count] = (busbar_dc_t){.name = name};
    return &cluster->dcs[cluster->dc_count++];
}

static void s_add_dc(busbar_cluster_t *cluster, const char *name, const bb_status_node_t *seen)
{
    busbar_dc_t *dc = s_dc_of(cluster, name);
    if (dc) {
        dc->lag_chunks = BB_MAX(dc->lag_chunks, seen->dc_lag_chunks);
        dc->lag_ns = BB_MAX(dc->lag_ns, (int64_t)BB_MIN(seen->dc_lag_ns, (uint64_t)INT64_MAX));
    }
}

// What a node says of itself stands; what others say of a node that does not answer is the most
// that any of them misses there.
static void s_add_answer(busbar_cluster_t *cluster, const busbar_poll_t *poll)
{
    const bb_status_reply_t *reply = &poll->exchange.reply.status_reply;
    if (cluster->cluster[0] == 0) {
        snprintf(cluster->cluster, sizeof cluster->cluster, "%.*s", (int)reply->cluster_name.length,
                 (const char *)reply->cluster_name.data);
    }
    cluster->epoch = BB_MAX(cluster->epoch, poll->exchange.reply.epoch);
    cluster->partitions = BB_MAX(cluster->partitions, reply->partition_count);
    cluster->under_replicated = BB_MAX(cluster->under_replicated, reply->under_replicated);
    cluster->unequal = BB_MAX(cluster->unequal, reply->unequal);
    cluster->damaged += reply->damage_count;
    cluster->default_write_level = (busbar_level_t)reply->default_write_level;
    cluster->default_read_level = (busbar_level_t)reply->default_read_level;
    cluster->quarantined_points = BB_MAX(cluster->quarantined_points, reply->quarantined_points);
    for (uint32_t n = 0; n < reply->node_count; n++) {
        const bb_status_node_t *seen = &reply->nodes[n];
        busbar_node_t *node = s_node_of(cluster, seen->node_id, seen->dc);
        if (!node) {
            continue;
        }
        s_add_dc(cluster, node->dc, seen);
        node->slow |= seen->is_slow && !seen->is_self;
        bool is_self = s_is_equal(seen->node_id, poll->id);
        if (is_self) {
            node->up = true;
            node->lag_chunks = seen->lag_chunks;
            node->standing = bb_standing_name(reply->standing);
            node->boot = reply->boot;
            node->streams = reply->streams;
            node->streams_dead = reply->streams_dead;
            node->points_total = reply->points_total;
            node->journal_bytes = reply->journal_bytes;
            node->segment_bytes = reply->segment_bytes;
            node->segment_points = reply->segment_points;
            node->head_bytes = reply->head_bytes;
            node->unsealed_chunks = reply->unsealed_chunks;
            node->untrimmed_chunks = reply->untrimmed_chunks;
        }
    }
}

static void s_add_hearsay(busbar_cluster_t *cluster, const busbar_poll_t *poll)
{
    const bb_status_reply_t *reply = &poll->exchange.reply.status_reply;
    for (uint32_t n = 0; n < reply->node_count; n++) {
        busbar_node_t *node = s_node_of(cluster, reply->nodes[n].node_id, reply->nodes[n].dc);
        if (node && !node->up) {
            node->lag_chunks = BB_MAX(node->lag_chunks, reply->nodes[n].lag_chunks);
        }
    }
}

// With a client that talks to one node only, the others are up in that node's view or not at all.
static void s_add_view_of_one(busbar_cluster_t *cluster, const busbar_poll_t *poll)
{
    const bb_status_reply_t *reply = &poll->exchange.reply.status_reply;
    for (uint32_t n = 0; n < reply->node_count; n++) {
        busbar_node_t *node = s_node_of(cluster, reply->nodes[n].node_id, reply->nodes[n].dc);
        if (node && reply->nodes[n].up) {
            node->up = true;
        }
    }
}

static bool s_was_asked(const busbar_poll_t *polls, uint32_t count, const char *id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(polls[i].id, id) == 0) {
            return true;
        }
    }
    return false;
}

static busbar_status_t s_nobody(const busbar_poll_t *polls, uint32_t count, const char *what,
                                busbar_fault_t *fault)
{
    char text[400] = "";
    size_t used = 0;
    bb_error_t error = BB_ERR_UNAVAILABLE;
    for (uint32_t i = 0; i < count && used + 1 < sizeof text; i++) {
        const bb_exchange_t *exchange = &polls[i].exchange;
        const char *why = polls[i].why.text[0] ? polls[i].why.text : "no answer in time";
        int length;
        if (exchange->outcome == BB_OUTCOME_ANSWERED && bb_exchange_error(exchange) != BB_OK) {
            error = bb_exchange_error(exchange);
            length = snprintf(text + used, sizeof text - used, "%s%s: %s: %.*s", used ? "; " : "",
                              polls[i].id, bb_error_message(error),
                              (int)exchange->reply.error.detail.length,
                              (const char *)exchange->reply.error.detail.data);
        } else {
            if (polls[i].state == BB_LINK_REFUSED) {
                error = polls[i].why.error;
            }
            length = snprintf(text + used, sizeof text - used, "%s%s: %s", used ? "; " : "",
                              polls[i].id, why);
        }
        used += length > 0 ? (size_t)length : 0;
    }
    return busbar_fault_say(fault, error, "%s: no node answered: %s", what, text);
}

busbar_status_t busbar_cluster_status(busbar_client_t *client, int64_t timeout_ns,
                                      busbar_cluster_t **cluster, busbar_fault_t *fault)
{
    if (!client || !cluster) {
        return busbar_fault_say(fault, BB_ERR_USAGE,
                                "busbar_cluster_status needs a client and a place for the answer");
    }
    bb_fault_t ready_why = {0};
    int64_t deadline_ns = busbar_deadline_ns(client, timeout_ns);
    bb_error_t ready = bb_io_wait_ready(client->io, deadline_ns, &ready_why);
    if (ready != BB_OK) {
        return busbar_fault_of(fault, &ready_why, ready);
    }
    uint32_t count;
    bb_message_t request = {.kind = BB_KIND_STATUS};
    busbar_poll_t *polls = busbar_poll_nodes(client, &request, deadline_ns, &count);
    busbar_cluster_t *answer = bb_alloc_zero(1, sizeof *answer);
    uint32_t answers = 0;
    const busbar_poll_t *any = NULL;
    // In the order of the cluster, which every answer has: the first answer sets it.
    for (uint32_t i = 0; i < count; i++) {
        if (s_is_status(&polls[i])) {
            s_add_answer(answer, &polls[i]);
            any = &polls[i];
            answers++;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (s_is_status(&polls[i])) {
            s_add_hearsay(answer, &polls[i]);
        }
    }
    // Nodes that this client does not talk to are as up as a node that answers says.
    if (any && answer->node_count > count) {
        busbar_cluster_t before = *answer;
        s_add_view_of_one(answer, any);
        for (uint32_t n = 0; n < answer->node_count; n++) {
            if (s_was_asked(polls, count, answer->nodes[n].id)) {
                answer->nodes[n].up = before.nodes[n].up;
            }
        }
    }
    busbar_status_t status = BUSBAR_OK;
    if (answers == 0) {
        status = s_nobody(polls, count, "status", fault);
        busbar_cluster_free(&answer);
    }
    busbar_poll_free(polls, count);
    *cluster = answer;
    return status;
}

void busbar_cluster_free(busbar_cluster_t **cluster)
{
    if (!cluster || !*cluster) {
        return;
    }
    for (uint32_t n = 0; n < (*cluster)->node_count; n++) {
        free((char *)(uintptr_t)(*cluster)->nodes[n].id);
        free((char *)(uintptr_t)(*cluster)->nodes[n].dc);
    }
    free(*cluster);
    *cluster = NULL;
}

// ---- settle ------------------------------------------------------------------------------------

// True when the node has settled; otherwise `text` says what it lacks and `error` whether to go on.
static bool s_is_settled(const busbar_poll_t *poll, char *text, size_t size, bb_error_t *error)
{
    const bb_exchange_t *exchange = &poll->exchange;
    *error = BB_ERR_TIMEOUT;
    if (exchange->outcome == BB_OUTCOME_ANSWERED && exchange->reply.kind == BB_KIND_SETTLE_REPLY) {
        const bb_settle_reply_t *reply = &exchange->reply.settle_reply;
        snprintf(text, size, "%s has not%s%s%s yet", poll->id, reply->sealed ? "" : " sealed",
                 reply->merged ? "" : " merged", reply->trimmed ? "" : " trimmed");
        return reply->sealed && reply->merged && reply->trimmed;
    }
    if (exchange->outcome == BB_OUTCOME_ANSWERED && bb_exchange_error(exchange) != BB_OK) {
        *error = bb_exchange_error(exchange);
        snprintf(text, size, "%s: %s: %.*s", poll->id, bb_error_message(*error),
                 (int)BB_MIN(exchange->reply.error.detail.length, 200),
                 (const char *)exchange->reply.error.detail.data);
    } else {
        snprintf(text, size, "%s does not answer: %.300s", poll->id,
                 poll->why.text[0] ? poll->why.text : "no answer in time");
    }
    return false;
}

static void s_pause_ns(int64_t pause_ns)
{
    struct timespec pause = {pause_ns / BB_NS_PER_S, pause_ns % BB_NS_PER_S};
    nanosleep(&pause, NULL);
}

busbar_status_t busbar_settle(busbar_client_t *client, int64_t timeout_ns, busbar_fault_t *fault)
{
    if (!client) {
        return busbar_fault_say(fault, BB_ERR_USAGE, "busbar_settle needs a client");
    }
    int64_t deadline_ns = busbar_deadline_ns(client, timeout_ns);
    bb_fault_t ready_why = {0};
    bb_error_t ready = bb_io_wait_ready(client->io, deadline_ns, &ready_why);
    if (ready != BB_OK) {
        return busbar_fault_of(fault, &ready_why, ready);
    }
    for (;;) {
        int64_t now_ns = bb_io_now_ns();
        uint32_t count;
        bb_message_t request = {.kind = BB_KIND_SETTLE};
        busbar_poll_t *polls = busbar_poll_nodes(
            client, &request, BB_MIN(deadline_ns, now_ns + S_SETTLE_TURN_NS), &count);
        char text[400] = "";
        bool is_settled = true;
        bb_error_t error = BB_OK;
        for (uint32_t i = 0; i < count && is_settled; i++) {
            is_settled = s_is_settled(&polls[i], text, sizeof text, &error);
        }
        busbar_poll_free(polls, count);
        if (is_settled) {
            return BUSBAR_OK;
        }
        if (bb_error_retry(error) == BB_RETRY_NEVER) {
            return busbar_fault_say(fault, error, "%s", text);
        }
        now_ns = bb_io_now_ns();
        if (now_ns >= deadline_ns) {
            return busbar_fault_say(fault, BB_ERR_TIMEOUT, "not settled in time: %s", text);
        }
        s_pause_ns(BB_MIN(100 * BB_NS_PER_MS, deadline_ns - now_ns));
    }
}

// ---- scrub -------------------------------------------------------------------------------------

typedef struct {
    bool is_running;
    uint64_t damaged, bytes;
    bb_error_t error;
    char text[400]; // why
} s_scrub_t;

static void s_add_scrub(const busbar_poll_t *poll, busbar_damage_fn on_damage, void *context,
                        s_scrub_t *sum)
{
    const bb_exchange_t *exchange = &poll->exchange;
    if (exchange->outcome != BB_OUTCOME_ANSWERED || exchange->reply.kind != BB_KIND_SCRUB_REPLY) {
        sum->error = exchange->outcome == BB_OUTCOME_ANSWERED ? bb_exchange_error(exchange)
                                                              : BB_ERR_UNAVAILABLE;
        snprintf(sum->text, sizeof sum->text, "node %s: %s", poll->id,
                 bb_error_message(sum->error));
        return;
    }
    const bb_scrub_reply_t *reply = &exchange->reply.scrub_reply;
    sum->is_running |= reply->is_running;
    sum->damaged += reply->damage_count;
    sum->bytes += reply->bytes_total;
    for (uint32_t i = 0; on_damage && i < reply->damage_line_count; i++) {
        char line[BB_MESSAGE_TEXT_BYTES_MAX + 1];
        snprintf(line, sizeof line, "%.*s", (int)reply->damage_lines[i].length,
                 (const char *)reply->damage_lines[i].data);
        on_damage(context, poll->id, line);
    }
}

// Asks every node once. `on_damage` NULL: lines are not wanted yet.
static s_scrub_t s_ask_scrub(busbar_client_t *client, bb_scrub_request_t scrub, int64_t deadline_ns,
                             busbar_damage_fn on_damage, void *context)
{
    uint32_t count;
    s_scrub_t sum = {0};
    bb_message_t request = {.kind = BB_KIND_SCRUB, .scrub = scrub};
    busbar_poll_t *polls = busbar_poll_nodes(client, &request, deadline_ns, &count);
    for (uint32_t i = 0; i < count; i++) {
        s_add_scrub(&polls[i], on_damage, context, &sum);
    }
    busbar_poll_free(polls, count);
    return sum;
}

busbar_status_t busbar_scrub(busbar_client_t *client, uint64_t rate_bytes_per_s, int64_t timeout_ns,
                             busbar_damage_fn on_damage, void *context, uint64_t *damaged,
                             uint64_t *verified_bytes, busbar_fault_t *fault)
{
    if (!client) {
        return busbar_fault_say(fault, BB_ERR_USAGE, "busbar_scrub needs a client");
    }
    int64_t deadline_ns = busbar_deadline_ns(client, timeout_ns);
    bb_fault_t ready_why = {0};
    bb_error_t ready = bb_io_wait_ready(client->io, deadline_ns, &ready_why);
    if (ready != BB_OK) {
        return busbar_fault_of(fault, &ready_why, ready);
    }
    s_scrub_t sum =
        s_ask_scrub(client, (bb_scrub_request_t){true, rate_bytes_per_s}, deadline_ns, NULL, NULL);
    uint64_t before = sum.bytes;
    while (sum.error == BB_OK && sum.is_running && bb_io_now_ns() < deadline_ns) {
        s_pause_ns(BB_MIN(100 * BB_NS_PER_MS, BB_MAX(deadline_ns - bb_io_now_ns(), 1)));
        sum = s_ask_scrub(client, (bb_scrub_request_t){0}, deadline_ns, NULL, NULL);
    }
    if (sum.error == BB_OK && !sum.is_running) {
        sum = s_ask_scrub(client, (bb_scrub_request_t){0}, deadline_ns, on_damage, context);
    }
    if (sum.error != BB_OK) {
        return busbar_fault_say(fault, sum.error, "scrub: %s", sum.text);
    }
    if (sum.is_running) {
        return busbar_fault_say(fault, BB_ERR_TIMEOUT, "scrub: not ended in time; it goes on");
    }
    if (damaged) {
        *damaged = sum.damaged;
    }
    if (verified_bytes) {
        *verified_bytes = sum.bytes - BB_MIN(before, sum.bytes);
    }
    return BUSBAR_OK;
}

// ---- release -----------------------------------------------------------------------------------

typedef struct {
    char **ids; // owned
    uint32_t count, capacity;
} s_ids_t;

static void s_ids_add(s_ids_t *self, const char *id)
{
    if (self->count > 0 && strcmp(self->ids[self->count - 1], id) == 0) {
        return; // rows come sorted by battery
    }
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? self->capacity * 2 : 64;
        self->ids = bb_realloc(self->ids, self->capacity * sizeof *self->ids);
    }
    self->ids[self->count++] = bb_strdup(id);
}

static void s_ids_free(s_ids_t *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        free(self->ids[i]);
    }
    free(self->ids);
}

// Which batteries have points in quarantine. They are named to one replica each, because every
// replica holds the same quarantine and would release all of it again.
static busbar_status_t s_find_quarantined(busbar_client_t *client, const char *const *batteries,
                                          size_t battery_count, int64_t timeout_ns, s_ids_t *ids,
                                          busbar_fault_t *fault)
{
    busbar_query_t query = {
        .mode = BUSBAR_QUARANTINE,
        .level = BUSBAR_LOCAL_QUORUM,
        .batteries = batteries,
        .battery_count = battery_count,
        .from_ns = BB_TIME_WALL_NS_FIRST,
        .to_ns = BB_TIME_WALL_NS_LIMIT,
        .timeout_ns = timeout_ns,
    };
    busbar_rows_t *rows = NULL;
    busbar_status_t status = busbar_query(client, &query, &rows, fault);
    if (status != BUSBAR_OK) {
        return status;
    }
    busbar_row_t row;
    while (busbar_rows_next(rows, &row)) {
        s_ids_add(ids, row.battery);
    }
    bool complete;
    size_t missing_count;
    status = busbar_rows_status(rows, &complete, NULL, &missing_count, fault);
    if (status == BUSBAR_OK && !complete) {
        status = busbar_fault_say(fault, BB_ERR_UNAVAILABLE,
                                  "the quarantine of %zu partitions could not be read; nothing "
                                  "was released",
                                  missing_count);
    }
    busbar_rows_close(&rows);
    return status;
}

// Releases `count` batteries of one partition group at one node, elsewhere if that fails.
static bb_error_t s_release_at(busbar_client_t *client, const bb_view_t *view,
                               const bb_slice_t *ids, uint32_t count, const uint32_t *partitions,
                               int64_t deadline_ns, uint64_t *released, bb_fault_t *why)
{
    bb_io_t *io = client->io;
    bb_attempt_t attempt;
    bb_attempt_begin(&attempt, bb_io_now_ns(), BB_MAX(deadline_ns - bb_io_now_ns(), 1), 0);
    attempt.attempt_ns = BB_MAX(deadline_ns - bb_io_now_ns(), 1) / 2 + 1; // it may write much
    busbar_gather_t gather;
    busbar_gather_init(&gather, io);
    bb_attempt_step_t step = {.move = BB_ATTEMPT_SEND};
    bb_fault_set(why, BB_ERR_UNAVAILABLE, "no live replica");
    bool is_released = false;
    while (!is_released && step.move != BB_ATTEMPT_GIVE_UP) {
        if (step.move == BB_ATTEMPT_WAIT) {
            s_pause_ns(BB_MAX(step.wake_ns - bb_io_now_ns(), 0));
        }
        uint8_t ranks[BB_NODES_MAX];
        bb_io_ranks(io, view, ranks);
        bb_view_choice_t choice = {.ranks = ranks,
                                   .preferred_dc = bb_io_preferred_dc(io),
                                   .tried = &attempt.tried,
                                   .only_node = bb_io_only_node(io, view),
                                   .salt = bb_io_salt(io)};
        uint32_t node = bb_view_choose_common(view, &choice, partitions, count);
        if (node == BB_LINK_NONE || view->nodes[node].link == BB_LINK_NONE) {
            step = bb_io_attempt_step(io, &attempt, BB_OUTCOME_NO_NODE, 0, BB_OK, 0);
            continue;
        }
        step = bb_io_attempt_send(io, &attempt);
        if (step.move != BB_ATTEMPT_SEND) {
            continue;
        }
        bb_exchange_t exchange = {.link = view->nodes[node].link,
                                  .due_ns = bb_attempt_due_ns(&attempt, bb_io_now_ns()),
                                  .waits_for_link = true};
        exchange.request.kind = BB_KIND_RELEASE;
        exchange.request.release = (bb_release_t){
            .battery_count = count, .batteries = ids, .level = BB_LEVEL_LOCAL_QUORUM};
        busbar_gather_submit(&gather, &exchange);
        while (gather.under_way > 0) {
            bb_ignore(busbar_gather_next(&gather, exchange.due_ns + BB_NS_PER_S), "one only");
        }
        bb_error_t error = BB_OK;
        if (exchange.outcome == BB_OUTCOME_ANSWERED) {
            error = bb_exchange_error(&exchange);
            is_released = exchange.reply.kind == BB_KIND_RELEASE_REPLY;
        }
        if (is_released) {
            bb_io_attempt_won(io, &attempt);
            *released += exchange.reply.release_reply.released_points;
        } else {
            bool has_detail = error != BB_OK;
            bb_fault_set(why, error, "node %s: %.*s", view->nodes[node].id,
                         has_detail ? (int)exchange.reply.error.detail.length : 9,
                         has_detail ? (const char *)exchange.reply.error.detail.data : "no answer");
            if (exchange.outcome == BB_OUTCOME_NOT_SENT) {
                bb_io_attempt_unsend(io, &attempt);
            }
            step =
                bb_io_attempt_step(io, &attempt,
                                   has_detail                                ? BB_OUTCOME_ANSWERED
                                   : exchange.outcome == BB_OUTCOME_ANSWERED ? BB_OUTCOME_NO_ANSWER
                                                                             : exchange.outcome,
                                   node, error, bb_exchange_retry_after_ms(&exchange));
        }
        bb_exchange_clear(&exchange);
    }
    busbar_gather_free(&gather);
    return is_released ? BB_OK : step.error;
}

busbar_status_t busbar_release(busbar_client_t *client, const char *const *batteries,
                               size_t battery_count, int64_t timeout_ns, uint64_t *released_points,
                               busbar_fault_t *fault)
{
    if (!client || (battery_count > 0 && !batteries)) {
        return busbar_fault_say(fault, BB_ERR_USAGE, "busbar_release needs a client");
    }
    uint64_t released = 0;
    int64_t deadline_ns = busbar_deadline_ns(client, timeout_ns);
    s_ids_t ids = {0};
    busbar_status_t status =
        s_find_quarantined(client, batteries, battery_count, timeout_ns, &ids, fault);
    bb_view_t *view = status == BUSBAR_OK ? bb_io_view(client->io) : NULL;
    bb_slice_t *names = bb_alloc(BB_MAX(ids.count, 1) * sizeof *names);
    uint32_t *partitions = bb_alloc(BB_MAX(ids.count, 1) * sizeof *partitions);
    bool *is_done = bb_alloc_zero(BB_MAX(ids.count, 1), sizeof *is_done);
    for (uint32_t first = 0; first < ids.count && status == BUSBAR_OK; first++) {
        if (is_done[first]) {
            continue;
        }
        // Batteries whose partitions have the same replicas travel together.
        uint32_t count = 0;
        const uint16_t *row = NULL;
        for (uint32_t i = first; i < ids.count && count < S_RELEASE_IDS_MAX; i++) {
            bb_slice_t name = bb_slice(ids.ids[i], strlen(ids.ids[i]));
            uint32_t partition = bb_view_partition_of(view, name);
            const uint16_t *at = view->replicas + (size_t)partition * view->replica_stride;
            row = row ? row : at;
            if (!is_done[i] && memcmp(row, at, view->replica_stride * sizeof *at) == 0) {
                names[count] = name;
                partitions[count++] = partition;
                is_done[i] = true;
            }
        }
        bb_fault_t why = {0};
        bb_error_t error =
            s_release_at(client, view, names, count, partitions, deadline_ns, &released, &why);
        if (error != BB_OK) {
            status = busbar_fault_say(fault, error, "release: %.400s", why.text);
        }
    }
    free(names);
    free(partitions);
    free(is_done);
    s_ids_free(&ids);
    bb_view_drop(&view);
    if (released_points) {
        *released_points = released;
    }
    return status;
}
