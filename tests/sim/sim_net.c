// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>

#include "tests/sim/sim_world.h"

bool sim_net_is_cut(const sim_world_t *self, uint32_t from, uint32_t to)
{
    return self->net.cut_count[from][to] > 0;
}

static bool s_is_lost(sim_world_t *self)
{
    bool is_lost = bb_random_chance(&self->random_net, self->net.loss_per_mille, 1000);
    self->counters.messages_lost += is_lost;
    return is_lost;
}

static int64_t s_arrival_ns(sim_world_t *self)
{
    return sim_world_now_ns(self) + 20 * BB_NS_PER_US +
           sim_world_exponential(&self->random_net, self->net.delay_mean_ns);
}

// ---- picture -----------------------------------------------------------------------------------

static size_t s_say_dots(char *text, size_t length, size_t size, const bb_outbound_t *message)
{
    bb_chunks_t chunks;
    bb_batch_t batch;
    if (!message->chunks || bb_chunks_decode(&chunks, bb_buffer_slice(message->chunks), NULL)) {
        return length;
    }
    if (bb_batch_open(&batch, bb_buffer_slice(message->body), NULL) == BB_OK) {
        for (uint32_t i = 0; i < batch.part_count && length + 16 < size; i++) {
            length += (size_t)snprintf(text + length, size - length, " p%u#%" PRIu64,
                                       batch.parts[i].partition, bb_chunks_seq(&chunks, i));
        }
        bb_batch_close(&batch);
    }
    return length;
}

static void s_say(char *text, size_t size, const bb_outbound_t *message)
{
    bb_message_t decoded;
    if (bb_message_decode(&decoded, bb_buffer_slice(message->envelope), NULL) != BB_OK) {
        snprintf(text, size, "?");
        return;
    }
    size_t length = (size_t)snprintf(text, size, "%s", bb_kind_name(decoded.kind));
    const bb_replicate_ack_t *ack = &decoded.replicate_ack;
    switch (decoded.kind) {
    case BB_KIND_WRITE:
        snprintf(text + length, size - length, " at %s", bb_level_name(decoded.write.level));
        break;
    case BB_KIND_QUERY:
        snprintf(text + length, size - length, " at %s", bb_level_name(decoded.query.level));
        break;
    case BB_KIND_REPLICATE:
        s_say_dots(text, length, size, message);
        break;
    case BB_KIND_REPLICATE_ACK:
        for (uint32_t i = 0; i < ack->range_count && length + 24 < size; i++) {
            length += (size_t)snprintf(text + length, size - length, " p%u#%" PRIu64 "-%" PRIu64,
                                       ack->ranges[i].partition, ack->ranges[i].first_seq,
                                       ack->ranges[i].last_seq);
        }
        for (uint32_t i = 0; i < ack->batch_count && length + 32 < size; i++) {
            length += (size_t)snprintf(text + length, size - length, " p%u#%" PRIu64 " of %u",
                                       ack->batches[i].partition, ack->batches[i].seq,
                                       ack->batches[i].part_count);
        }
        break;
    case BB_KIND_HAVE:
        snprintf(text + length, size - length, " of %u partitions", decoded.have.entry_count);
        break;
    case BB_KIND_RESULT:
        snprintf(text + length, size - length, ", %u missing", decoded.result.missing_count);
        break;
    case BB_KIND_ERROR:
        snprintf(text + length, size - length, " %s", bb_error_name(decoded.error.code));
        break;
    default:
        break;
    }
    bb_message_close(&decoded);
}

// Heartbeats would bury the rest: of them only what the detector makes is drawn.
static void s_draw(sim_world_t *self, uint32_t from, uint32_t to, int64_t arrival_ns,
                   sim_message_fate_t fate, const bb_outbound_t *message)
{
    if (self->trace.picture) {
        char text[96];
        s_say(text, sizeof text, message);
        if (text[0] != 'h' || text[1] != 'e') {
            sim_picture_message(self->trace.picture, sim_world_now_ns(self), arrival_ns, from, to,
                                fate, text);
        }
    }
}

static void s_add(sim_world_t *self, int64_t time_ns, sim_event_t event,
                  const bb_outbound_t *message)
{
    event.envelope = bb_buffer_keep(message->envelope);
    event.chunks = message->chunks ? bb_buffer_keep(message->chunks) : NULL;
    event.body = message->body ? bb_buffer_keep(message->body) : NULL;
    sim_events_add(self->events, time_ns, &event);
}

void sim_net_to_peer(sim_world_t *self, uint32_t from, uint32_t to, bool bulk, bool is_late,
                     const bb_outbound_t *message)
{
    self->counters.messages++;
    uint32_t from_line = sim_line_of_node(&self->options, from);
    uint32_t to_line = sim_line_of_node(&self->options, to);
    bb_outbound_t lie = {0};
    sim_hostile_saw(self, to, message);
    sim_hostile_fate_t fate = sim_hostile_tamper(self, from, message, &lie);
    if (fate == SIM_HOSTILE_SILENT) {
        return;
    }
    message = fate == SIM_HOSTILE_LIES ? &lie : message;
    if (sim_net_is_cut(self, from, to)) {
        self->counters.messages_cut++;
        s_draw(self, from_line, to_line, 0, SIM_MESSAGE_LOST, message);
        sim_hostile_drop(&lie);
        return;
    }
    sim_event_t event = {
        .kind = SIM_EVENT_PEER, .node = sim_twin_reached(self, from, to), .other = from};
    if (!s_is_lost(self) && !sim_route_is_lost(self, from, to)) {
        int64_t arrival_ns = s_arrival_ns(self);
        if (self->options.is_in_order) {
            int64_t *last_ns = &self->net.last_ns[from][to][bulk];
            arrival_ns = BB_MAX(arrival_ns, *last_ns + 1);
            *last_ns = arrival_ns;
        }
        s_draw(self, from_line, to_line, arrival_ns, SIM_MESSAGE_SENT, message);
        s_add(self, arrival_ns, event, message);
    } else {
        s_draw(self, from_line, to_line, 0, SIM_MESSAGE_LOST, message);
    }
    if (bb_random_chance(&self->random_net, self->net.repeat_per_mille, 1000)) {
        // Sometimes much later: out of another time of the cluster.
        self->counters.messages_repeated++;
        int64_t late_ns = is_late && bb_random_chance(&self->random_net, 1, 8)
                              ? sim_world_exponential(&self->random_net, 2 * BB_NS_PER_S)
                              : 0;
        int64_t arrival_ns = s_arrival_ns(self) + late_ns;
        s_draw(self, from_line, to_line, arrival_ns, SIM_MESSAGE_REPEATED, message);
        s_add(self, arrival_ns, event, message);
    }
    sim_hostile_drop(&lie);
}

// Between a client and a node: lost or not, never repeated, in any order.
static void s_client_message(sim_world_t *self, uint32_t from, uint32_t to, sim_event_t event,
                             const bb_outbound_t *message)
{
    if (s_is_lost(self)) {
        s_draw(self, from, to, 0, SIM_MESSAGE_LOST, message);
        return;
    }
    int64_t arrival_ns = s_arrival_ns(self);
    s_draw(self, from, to, arrival_ns, SIM_MESSAGE_SENT, message);
    s_add(self, arrival_ns, event, message);
}

void sim_net_to_node(sim_world_t *self, uint64_t attempt, const bb_outbound_t *message)
{
    const sim_attempt_t *at = &self->attempts[attempt];
    sim_event_t event = {.kind = SIM_EVENT_REQUEST, .other = at->store, .number = attempt};
    event.node = sim_twin_asked(self, attempt);
    s_client_message(self, sim_line_of_client(at->client),
                     sim_line_of_node(&self->options, at->node), event, message);
}

void sim_net_to_client(sim_world_t *self, uint64_t attempt, const bb_outbound_t *message)
{
    const sim_attempt_t *at = &self->attempts[attempt];
    sim_event_t event = {.kind = SIM_EVENT_ANSWER, .other = at->client, .number = attempt};
    s_client_message(self, sim_line_of_node(&self->options, at->node),
                     sim_line_of_client(at->client), event, message);
}
