// SPDX-License-Identifier: Apache-2.0
#include "node/control/mesh_actor.h"

#include <czmq.h>

#include "node/control/bb_detector.h"
#include "node/control/bb_route_feed.h"
#include "node/ingest/bb_have_mark.h"
#include "node/ingest/bb_peer_split.h"
#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_frame.h"
#include "node/runtime/bb_peer_queue.h"
#include "node/runtime/bb_poller.h"
#include "node/runtime/bb_socket.h"
#include "node/runtime/bb_tsan.h"

#define S_MESSAGES_PER_ROUND 128
#define S_PUBLISH_NS         (INT64_C(1000) * BB_NS_PER_MS) // what changed is published at once
#define S_LAZY_NS            (INT64_C(100) * BB_NS_PER_MS)
#define S_SMALL_MESSAGES_MAX 10000 // waiting for one peer
#define S_BULK_MESSAGES_MAX  4096
// While bulk waits for room in a connection, which nobody tells of.
#define S_QUEUE_LOOK_MS 1
// Of limits.peer_queue_bytes: for repair, and for what is handed to the small socket.
#define S_REPAIR_PART 2
#define S_SMALL_PART  4

typedef struct {
    zsock_t *small, *bulk; // DEALERs; NULL for ourselves
    bb_peer_queue_t queue; // bulk that `bulk` has no room for yet
    bool is_ready, is_draining;
    uint32_t store_count; // as it last said
    bool is_barred;       // it said that it does not count
} s_peer_t;

typedef struct {
    bb_node_t *node;
    bb_log_t log;
    zsock_t *pipe;
    zsock_t *peer_in, *bulk_in; // ROUTERs
    bb_outlet_t *stores[BB_STORES_MAX];
    bb_outlet_t *router, *control, *observer, *supervisor;
    bb_detector_t *detector;
    bb_route_score_t *score;
    bb_route_feed_t *feeds; // of the stores
    uint32_t node_count, self_index;
    s_peer_t *peers;
    bool is_skewed, has_told_seen, must_publish;
    bool has_queued; // some peer's queue is not empty
    int64_t heartbeat_mono_ns, publish_mono_ns, detector_mono_ns;
    int64_t turn_mono_ns; // of the last turn of the loop
    int64_t score_mono_ns;
} s_mesh_t;

static const char *s_name(const s_mesh_t *self, uint32_t node_index)
{
    return bb_topology_node(self->node->topology, node_index)->id;
}

// ---- verdicts of the detector ------------------------------------------------------------------
static bb_post_t *s_peer_state(const s_mesh_t *self, const bb_detector_change_t *change)
{
    bb_post_t *post = bb_post_new(BB_POST_PEER_STATE);
    post->peer_state =
        (bb_post_peer_state_t){change->peer_index, change->is_up, change->incarnation,
                               self->peers[change->peer_index].store_count};
    return post;
}

static void s_tell_peer(s_mesh_t *self, const bb_detector_change_t *change)
{
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        bb_post_t *post = s_peer_state(self, change);
        bb_outlet_send_always(self->stores[i], &post);
    }
    bb_post_t *post = s_peer_state(self, change);
    bb_outlet_send_always(self->control, &post);
}

static void s_tell_stores_clock(s_mesh_t *self)
{
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        bb_post_t *post = bb_post_new(BB_POST_CLOCK);
        post->is_skewed = self->is_skewed;
        bb_outlet_send_always(self->stores[i], &post);
    }
}

static void s_act(s_mesh_t *self, const bb_detector_actions_t *actions)
{
    for (uint32_t i = 0; i < actions->change_count; i++) {
        const bb_detector_change_t *change = &actions->changes[i];
        bb_log_info(&self->log, change->is_up ? "peer up" : "peer down",
                    BB_LOG_TEXT("peer", s_name(self, change->peer_index)));
        s_tell_peer(self, change);
        self->must_publish = true;
    }
    if (actions->skew_changed) {
        self->is_skewed = actions->is_skewed;
        self->must_publish = true;
        bb_log_warning(&self->log, self->is_skewed
                                       ? "clock is over 60 s off the median of the nodes"
                                       : "clock agrees with the median of the nodes again");
        s_tell_stores_clock(self);
    }
    self->detector_mono_ns = actions->wake_mono_ns;
    if (!self->has_told_seen && bb_detector_has_seen_all(self->detector)) {
        self->has_told_seen = true;
        bb_post_t *post = bb_post_new(BB_POST_EVENT);
        post->event.kind = BB_EVENT_PEERS_SEEN;
        bb_outlet_send_always(self->supervisor, &post);
    }
}

static void s_publish(s_mesh_t *self, int64_t now_mono_ns)
{
    bb_outlet_t *readers[] = {self->router, self->observer};
    for (size_t r = 0; r < BB_COUNT_OF(readers); r++) {
        bb_post_t *post = bb_post_new(BB_POST_PEERS);
        post->peers = (bb_post_peers_t){
            .node_count = self->node_count,
            .is_skewed = self->is_skewed,
            .views = bb_alloc_zero(self->node_count, sizeof *post->peers.views),
        };
        for (uint32_t i = 0; i < self->node_count; i++) {
            post->peers.views[i] = (bb_peer_view_t){
                .is_up = bb_detector_is_up(self->detector, i),
                .is_ready = self->peers[i].is_ready,
                .is_draining = self->peers[i].is_draining,
                .is_slow = bb_route_score_is_slow(self->score, i),
                .queued_bytes =
                    atomic_load_explicit(&self->node->peer_queued_bytes[i], memory_order_relaxed) +
                    bb_peer_queue_bytes(&self->peers[i].queue),
                .clock_offset_ns = bb_detector_offset_ns(self->detector, i),
            };
        }
        bb_outlet_send_always(readers[r], &post);
    }
    self->must_publish = false;
    self->publish_mono_ns = now_mono_ns + S_PUBLISH_NS;
}

// ---- route score -------------------------------------------------------------------------------
// The slowest of the stores.
static int64_t s_sync_ns(const s_mesh_t *self, int64_t now_mono_ns)
{
    int64_t sync_ns = 0;
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        sync_ns = BB_MAX(sync_ns, bb_route_feed_sync_ns(&self->feeds[i], now_mono_ns));
    }
    return sync_ns;
}

static void s_tell_slow(s_mesh_t *self, uint32_t node, bool is_slow)
{
    bb_log_info(&self->log, is_slow ? "node is slow, asked last" : "node is no longer slow",
                BB_LOG_TEXT("node", s_name(self, node)),
                BB_LOG_U64("permille", bb_route_score_permille(self->score, node)),
                BB_LOG_U64("loss_ppm", bb_route_score_loss_ppm(self->score, node)));
    for (uint32_t i = 0; i < self->node->store_count && node != self->self_index; i++) {
        bb_post_t *post = bb_post_new(BB_POST_PEER_SLOW);
        post->peer_slow = (bb_post_peer_slow_t){node, is_slow};
        bb_outlet_send_always(self->stores[i], &post);
    }
    self->must_publish = true;
}

static void s_score(s_mesh_t *self, int64_t now_mono_ns)
{
    bb_route_score_actions_t actions;
    bb_route_score_sync(self->score, self->self_index, s_sync_ns(self, now_mono_ns));
    bb_route_score_tick(self->score, now_mono_ns, &actions);
    for (uint32_t i = 0; i < actions.change_count; i++) {
        s_tell_slow(self, actions.changed[i],
                    bb_route_score_is_slow(self->score, actions.changed[i]));
    }
    self->score_mono_ns = actions.wake_mono_ns;
}

// ---- sending -----------------------------------------------------------------------------------
static bool s_may_send(const s_mesh_t *self, uint32_t peer_index)
{
    // Fenced: another process speaks for this node now, not a word that could be mixed up.
    return peer_index < self->node_count && peer_index != self->self_index &&
           bb_node_standing(self->node) != BB_STANDING_FENCED;
}

// To libzmq, from which it cannot be had back.
static void s_hand_over(s_mesh_t *self, uint32_t peer_index, bool is_bulk,
                        const bb_outbound_t *message)
{
    bb_metrics_t *metrics = self->node->metrics;
    const s_peer_t *peer = &self->peers[peer_index];
    void *socket = zsock_resolve(is_bulk ? peer->bulk : peer->small);
    _Atomic uint64_t *account = is_bulk ? &self->node->peer_queued_bytes[peer_index]
                                        : &self->node->peer_small_bytes[peer_index];
    bb_buffer_t *with_chunks[] = {message->envelope, message->chunks, message->body};
    bb_buffer_t *without_chunks[] = {message->envelope, message->body};
    bool is_sent = message->chunks ? bb_frame_send(socket, NULL, 0, with_chunks, 3, account)
                                   : bb_frame_send(socket, NULL, 0, without_chunks, 2, account);
    if (!is_sent) {
        bb_metrics_add(metrics, BB_METRIC_PEER_DROPPED_UNCONNECTED, 1);
        return;
    }
    bb_metrics_add(metrics, is_bulk ? BB_METRIC_BULK_OUT : BB_METRIC_PEER_OUT, 1);
    bb_metrics_add(metrics, is_bulk ? BB_METRIC_BULK_BYTES_OUT : BB_METRIC_PEER_BYTES_OUT,
                   bb_outbound_bytes(message));
}

// What is dropped here is said again: have-sets, acknowledgements and questions by time.
static void s_send_small(s_mesh_t *self, uint32_t peer_index, const bb_outbound_t *message)
{
    if (!s_may_send(self, peer_index)) {
        return;
    }
    uint64_t queued =
        atomic_load_explicit(&self->node->peer_small_bytes[peer_index], memory_order_relaxed);
    uint64_t queued_max = self->node->config->limits.peer_queue_bytes / S_SMALL_PART;
    if (queued > 0 && queued + bb_outbound_bytes(message) > queued_max) {
        bb_metrics_add(self->node->metrics, BB_METRIC_PEER_DROPPED_QUEUE, 1);
        return;
    }
    s_hand_over(self, peer_index, false, message);
}

static bool s_has_room(const s_mesh_t *self, uint32_t peer_index)
{
    return atomic_load_explicit(&self->node->peer_queued_bytes[peer_index], memory_order_relaxed) <
           BB_PEER_WINDOW_BYTES;
}

// Bulk, behind what waits already; takes the post if it has to wait.
static void s_send_bulk(s_mesh_t *self, bb_post_t **post)
{
    uint32_t peer_index = (*post)->send.peer_index;
    if (!s_may_send(self, peer_index)) {
        return;
    }
    bb_peer_queue_t *queue = &self->peers[peer_index].queue;
    if (bb_peer_queue_is_empty(queue) && s_has_room(self, peer_index)) {
        s_hand_over(self, peer_index, true, &(*post)->send.outbound);
    } else if (bb_peer_queue_put(queue, post, bb_clock_mono_ns()) == BB_OK) {
        self->has_queued = true;
    } else {
        bb_metrics_add(self->node->metrics, BB_METRIC_PEER_DROPPED_QUEUE, 1);
    }
}

// Fills the connections again, as far as they have written what they had.
static void s_send_queued(s_mesh_t *self)
{
    int64_t now_mono_ns = bb_clock_mono_ns();
    bool has_queued = false;
    for (uint32_t i = 0; i < self->node_count && self->has_queued; i++) {
        bb_peer_queue_t *queue = &self->peers[i].queue;
        if (!bb_peer_queue_is_empty(queue) && !s_may_send(self, i)) {
            bb_peer_queue_clear(queue);
        }
        while (!bb_peer_queue_is_empty(queue) && s_has_room(self, i)) {
            bb_post_t *post = bb_peer_queue_take(queue, now_mono_ns);
            s_hand_over(self, i, true, &post->send.outbound);
            bb_post_destroy(&post);
        }
        has_queued |= !bb_peer_queue_is_empty(queue);
    }
    self->has_queued = has_queued;
}

static uint64_t s_have_mark(const s_mesh_t *self)
{
    uint64_t versions[BB_STORES_MAX];
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        versions[i] = atomic_load_explicit(&self->node->have_versions[i], memory_order_relaxed);
    }
    return bb_have_mark(&self->node->incarnation, bb_node_standing(self->node), versions,
                        self->node->store_count);
}

// Stores hear of new marks of peers as often as there are heartbeats, however many peers there are.
static void s_tell_marks(s_mesh_t *self)
{
    bool has_news = bb_mark_board_has_news(self->node->mark_board);
    for (uint32_t i = 0; i < self->node->store_count && has_news; i++) {
        if (bb_mark_board_tell(self->node->mark_board, i)) {
            bb_post_t *post = bb_post_new(BB_POST_PEER_MARKS);
            bb_outlet_send_always(self->stores[i], &post);
        }
    }
}

static void s_send_heartbeats(s_mesh_t *self, int64_t now_mono_ns)
{
    bb_node_state_t state = bb_node_state(self->node);
    bb_message_t message = {.kind = BB_KIND_HEARTBEAT,
                            .epoch = bb_topology_epoch(self->node->topology)};
    message.heartbeat = (bb_heartbeat_t){
        .incarnation = self->node->incarnation,
        .wall_ns = bb_clock_wall_ns(),
        .ready = state == BB_NODE_READY || state == BB_NODE_MEETING_PEERS,
        .draining = state == BB_NODE_DRAINING,
        .store_count = self->node->store_count,
        .sync_latency_us =
            (uint32_t)BB_MIN(s_sync_ns(self, now_mono_ns) / BB_NS_PER_US, (int64_t)UINT32_MAX),
        .registry_digest = atomic_load_explicit(&self->node->registry_digest, memory_order_relaxed),
        .standing = bb_node_standing(self->node),
        .boot = atomic_load_explicit(&self->node->boot, memory_order_relaxed),
        .have_mark = s_have_mark(self),
    };
    memcpy(message.heartbeat.cluster_id, bb_topology_cluster_id(self->node->topology), 16);
    uint8_t *encoded;
    size_t length;
    bb_message_encode(&message, &encoded, &length);
    bb_outbound_t outbound = {.envelope = bb_buffer_new(encoded, length, NULL, NULL)};
    for (uint32_t i = 0; i < self->node_count; i++) {
        s_send_small(self, i, &outbound);
    }
    bb_outbound_drop(&outbound);
    // From when it was due, not from now: a loop that is late each time must not look like losses.
    int64_t heartbeat_ns = self->node->config->limits.heartbeat_ns;
    self->heartbeat_mono_ns += heartbeat_ns;
    if (self->heartbeat_mono_ns <= now_mono_ns) {
        self->heartbeat_mono_ns = now_mono_ns + heartbeat_ns;
    }
}

// ---- receiving ---------------------------------------------------------------------------------
// One message of a peer on its way to a store. The post owns everything.
static void s_to_store(s_mesh_t *self, uint32_t store_index, bb_post_t **post)
{
    bb_post_request_t *request = &(*post)->request;
    size_t bytes = bb_buffer_slice(request->envelope).length +
                   bb_buffer_slice(request->chunks).length + bb_buffer_slice(request->batch).length;
    if (bb_outlet_send(self->stores[store_index], post, bytes) != BB_OK) {
        bb_metrics_add(self->node->metrics, BB_METRIC_PEER_DROPPED_STORE, 1);
        bb_post_destroy(post);
    }
}

static bb_post_t *s_peer_post(uint32_t peer_index, const bb_message_t *message,
                              bb_buffer_t *envelope, bb_buffer_t *chunks, bb_buffer_t *batch)
{
    bb_post_t *post = bb_post_new(BB_POST_PEER);
    post->request = (bb_post_request_t){
        .peer_index = peer_index,
        .received_mono_ns = bb_clock_mono_ns(),
        .message = *message,
        .envelope = envelope,
        .chunks = chunks,
        .batch = batch,
    };
    return post;
}

// A message like `content` with an envelope of its own.
static bb_post_t *s_peer_post_copy(uint32_t peer_index, const bb_message_t *content,
                                   bb_buffer_t *chunks, bb_buffer_t *batch)
{
    uint8_t *encoded;
    size_t length;
    bb_message_t message = *content;
    bb_message_encode(&message, &encoded, &length);
    bb_buffer_t *envelope = bb_buffer_new(encoded, length, NULL, NULL);
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(envelope), NULL);
    BB_ASSERT(error == BB_OK);
    return s_peer_post(peer_index, &message, envelope, chunks, batch);
}

static void s_bad(s_mesh_t *self, uint32_t peer_index, const char *what, const char *detail)
{
    bb_metrics_add(self->node->metrics, BB_METRIC_PEER_MALFORMED, 1);
    bb_log_warning(
        &self->log, "peer message refused",
        BB_LOG_TEXT("peer", peer_index < self->node_count ? s_name(self, peer_index) : ""),
        BB_LOG_TEXT("what", what), BB_LOG_TEXT("detail", detail));
}

// A post on its way to the stores; NULL: a store has it.
typedef struct {
    s_mesh_t *mesh;
    bb_post_t *post;
} s_split_t;

// bb_peer_split_fn
static void s_split(void *context, uint32_t store_index, const bb_message_t *message,
                    bb_buffer_t *chunks, bb_buffer_t *batch, bool is_whole)
{
    s_split_t *split = context;
    if (is_whole) {
        s_to_store(split->mesh, store_index, &split->post);
        return;
    }
    bb_post_t *part = s_peer_post_copy(split->post->request.peer_index, message,
                                       chunks ? bb_buffer_keep(chunks) : NULL,
                                       batch ? bb_buffer_keep(batch) : NULL);
    s_to_store(split->mesh, store_index, &part);
}

// What it says of its registry and of its standing, to whom it concerns.
static void s_pass_on(s_mesh_t *self, uint32_t peer_index, const bb_heartbeat_t *heartbeat)
{
    bb_post_peer_word_t word = {.peer_index = peer_index,
                                .registry_digest = heartbeat->registry_digest,
                                .is_counting = heartbeat->standing == BB_STANDING_COUNTING};
    uint64_t own_digest = atomic_load_explicit(&self->node->registry_digest, memory_order_relaxed);
    if (word.registry_digest != own_digest) {
        bb_post_t *post = bb_post_new(BB_POST_DIGEST);
        post->peer_word = word;
        bb_outlet_send_always(self->control, &post);
    }
    s_peer_t *peer = &self->peers[peer_index];
    bb_mark_board_set(self->node->mark_board, peer_index, heartbeat->have_mark);
    if (peer->is_barred != word.is_counting) {
        return;
    }
    peer->is_barred = !word.is_counting;
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        bb_post_t *post = bb_post_new(BB_POST_PEER_STANDING);
        post->peer_word = word;
        bb_outlet_send_always(self->stores[i], &post);
    }
}

static void s_on_heartbeat(s_mesh_t *self, uint32_t peer_index, const bb_heartbeat_t *heartbeat)
{
    if (memcmp(heartbeat->cluster_id, bb_topology_cluster_id(self->node->topology), 16) != 0) {
        s_bad(self, peer_index, "HEARTBEAT", "of another cluster");
        return;
    }
    s_peer_t *peer = &self->peers[peer_index];
    peer->store_count = heartbeat->store_count;
    self->must_publish |=
        peer->is_ready != heartbeat->ready || peer->is_draining != heartbeat->draining;
    s_pass_on(self, peer_index, heartbeat);
    peer->is_ready = heartbeat->ready;
    peer->is_draining = heartbeat->draining;
    bb_detector_heartbeat_t event = {
        .peer_index = peer_index,
        .incarnation = heartbeat->incarnation,
        .peer_wall_ns = heartbeat->wall_ns,
        .own_wall_ns = bb_clock_wall_ns(),
    };
    int64_t now_mono_ns = bb_clock_mono_ns();
    bb_route_score_heartbeat(self->score, now_mono_ns, peer_index);
    bb_route_score_sync(self->score, peer_index,
                        (int64_t)heartbeat->sync_latency_us * BB_NS_PER_US);
    bb_detector_actions_t actions;
    bb_error_t error = bb_detector_heartbeat(self->detector, now_mono_ns, &event, &actions);
    BB_ASSERT(error == BB_OK); // the index was checked
    s_act(self, &actions);
}

// Takes the post. What is dropped is asked for again: digests still differ.
static void s_to_control(s_mesh_t *self, bb_post_t *post)
{
    size_t bytes = bb_buffer_slice(post->request.envelope).length;
    if (bb_outlet_send(self->control, &post, bytes) != BB_OK) {
        bb_metrics_add(self->node->metrics, BB_METRIC_PEER_DROPPED_QUEUE, 1);
        bb_post_destroy(&post);
    }
}

// Takes the post.
static void s_dispatch(s_mesh_t *self, bb_post_t *post)
{
    const bb_post_request_t *request = &post->request;
    uint32_t peer_index = request->peer_index;
    const char *what = bb_kind_name(request->message.kind);
    s_split_t split = {self, post};
    bb_fault_t fault = {0};
    bb_error_t error = bb_peer_split(self->node->store_count, &request->message, request->chunks,
                                     request->batch, s_split, &split, &fault);
    if (error != BB_OK) {
        s_bad(self, peer_index, what, fault.text);
    }
    bb_post_destroy(&split.post);
}

static uint32_t s_sender(const s_mesh_t *self, const bb_received_t *received)
{
    bb_principal_t principal;
    if (!bb_principal_parse(received->user_id, &principal) || principal.role != BB_ROLE_NODE) {
        return BB_NODE_NONE;
    }
    return bb_topology_node_of_id(self->node->topology,
                                  bb_slice(principal.name, strlen(principal.name)));
}

static void s_on_message(s_mesh_t *self, bb_received_t *received)
{
    uint32_t peer_index = s_sender(self, received);
    if (peer_index == BB_NODE_NONE || peer_index == self->self_index) {
        s_bad(self, BB_NODE_NONE, "connection", "not another node of this cluster");
        return;
    }
    if (received->frame_count != 1 && received->frame_count != 3) {
        s_bad(self, peer_index, "message", "wrong number of frames");
        return;
    }
    bb_message_t message;
    bb_fault_t fault = {0};
    if (bb_message_decode(&message, bb_buffer_slice(received->frames[0]), &fault) != BB_OK) {
        s_bad(self, peer_index, "message", fault.text);
        return;
    }
    if (message.kind == BB_KIND_HEARTBEAT) {
        s_on_heartbeat(self, peer_index, &message.heartbeat);
        bb_message_close(&message);
        return;
    }
    bb_post_t *post = s_peer_post(peer_index, &message, received->frames[0], received->frames[1],
                                  received->frames[2]);
    received->frames[0] = received->frames[1] = received->frames[2] = NULL;
    if (post->request.message.kind == BB_KIND_REGISTRY && !post->request.chunks) {
        s_to_control(self, post);
    } else {
        s_dispatch(self, post);
    }
}

static void s_on_socket(s_mesh_t *self, zsock_t *socket, bb_metric_t count, bb_metric_t bytes)
{
    for (uint32_t i = 0; i < S_MESSAGES_PER_ROUND; i++) {
        bb_received_t received;
        if (!bb_received_read(&received, zsock_resolve(socket))) {
            break;
        }
        bb_metrics_add(self->node->metrics, count, 1);
        bb_metrics_add(self->node->metrics, bytes, received.bytes);
        s_on_message(self, &received);
        bb_received_drop(&received);
    }
}

static void s_on_mailbox(s_mesh_t *self)
{
    for (uint32_t i = 0; i < 4 * S_MESSAGES_PER_ROUND; i++) {
        bb_post_t *post = bb_mailbox_receive(self->node->mesh);
        if (!post) {
            break;
        }
        if (post->kind == BB_POST_SEND) {
            if (post->send.is_bulk) {
                s_send_bulk(self, &post);
            } else {
                s_send_small(self, post->send.peer_index, &post->send.outbound);
            }
        } else if (post->kind == BB_POST_STATS) {
            bb_route_feed_stats(&self->feeds[post->stats.store_index], self->score,
                                bb_clock_mono_ns(), post->stats.stats, self->node_count);
        }
        bb_post_destroy(&post);
    }
}

// ---- loop --------------------------------------------------------------------------------------
static void s_on_time(s_mesh_t *self)
{
    int64_t now_mono_ns = bb_clock_mono_ns();
    const bb_config_limits_t *limits = &self->node->config->limits;
    // If it was us who stood still, the heartbeats that came meanwhile still wait in the sockets:
    // hear them before anybody is judged by our silence.
    if (now_mono_ns - self->turn_mono_ns >
        BB_MAX(limits->suspect_ns / 4, 2 * limits->heartbeat_ns)) {
        self->detector_mono_ns = now_mono_ns + limits->heartbeat_ns;
    }
    self->turn_mono_ns = now_mono_ns;
    if (now_mono_ns >= self->heartbeat_mono_ns) {
        s_send_heartbeats(self, now_mono_ns);
        s_tell_marks(self);
    }
    if (now_mono_ns >= self->detector_mono_ns) {
        bb_detector_actions_t actions;
        bb_detector_tick(self->detector, now_mono_ns, &actions);
        s_act(self, &actions);
    }
    if (now_mono_ns >= self->score_mono_ns) {
        s_score(self, now_mono_ns);
    }
    if (self->must_publish || now_mono_ns >= self->publish_mono_ns) {
        s_publish(self, now_mono_ns);
    }
}

static void s_run(s_mesh_t *self)
{
    bb_poller_t poller = {.count = 0};
    uint32_t on_pipe = bb_poller_add(&poller, zsock_resolve(self->pipe));
    uint32_t on_small = bb_poller_add(&poller, zsock_resolve(self->peer_in));
    uint32_t on_mailbox = bb_poller_add_fd(&poller, bb_mailbox_fd(self->node->mesh));
    uint32_t on_bulk = bb_poller_add(&poller, zsock_resolve(self->bulk_in));
    while (!bb_poller_is_ready(&poller, on_pipe)) { // $TERM
        // What is not urgent is done when a heartbeat is due anyway, or a little later.
        int64_t lazy_mono_ns = BB_MIN(self->publish_mono_ns, self->score_mono_ns) + S_LAZY_NS;
        int64_t wake_mono_ns = BB_MIN(self->heartbeat_mono_ns, self->detector_mono_ns);
        wake_mono_ns = BB_MIN(wake_mono_ns, lazy_mono_ns);
        long wait_ms = bb_clock_timeout_ms(bb_clock_mono_ns(), wake_mono_ns,
                                           self->has_queued ? S_QUEUE_LOOK_MS : 1000);
        if (!bb_poller_wait(&poller, wait_ms)) {
            break;
        }
        // Heartbeats and acknowledgements first, then what leaves, then bulk. Only what has
        // something: a look into an empty socket costs two system calls.
        if (bb_poller_is_ready(&poller, on_small)) {
            s_on_socket(self, self->peer_in, BB_METRIC_PEER_IN, BB_METRIC_PEER_BYTES_IN);
        }
        if (bb_poller_is_ready(&poller, on_mailbox)) {
            s_on_mailbox(self);
        }
        if (self->has_queued) {
            s_send_queued(self);
        }
        if (bb_poller_is_ready(&poller, on_bulk)) {
            s_on_socket(self, self->bulk_in, BB_METRIC_BULK_IN, BB_METRIC_BULK_BYTES_IN);
        }
        s_on_time(self);
    }
}

static void s_connect(s_mesh_t *self)
{
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        self->stores[i] = bb_outlet_new(self->node->stores[i]);
    }
    self->router = bb_outlet_new(self->node->router);
    self->control = bb_outlet_new(self->node->control);
    self->observer = bb_outlet_new(self->node->observer);
    self->supervisor = bb_outlet_new(self->node->supervisor);
    for (uint32_t i = 0; i < self->node_count; i++) {
        const bb_topology_node_t *node = bb_topology_node(self->node->topology, i);
        uint64_t bytes_max = self->node->config->limits.peer_queue_bytes;
        bb_peer_queue_init(&self->peers[i].queue, bytes_max, bytes_max / S_REPAIR_PART);
        if (i != self->self_index) {
            self->peers[i].small =
                bb_socket_connect(&self->node->keys, node->public_key, node->host, node->peer_port,
                                  S_SMALL_MESSAGES_MAX);
            self->peers[i].bulk = bb_socket_connect(&self->node->keys, node->public_key, node->host,
                                                    node->bulk_port, S_BULK_MESSAGES_MAX);
        }
    }
}

static void s_destroy(s_mesh_t **self_p)
{
    s_mesh_t *self = *self_p;
    *self_p = NULL;
    for (uint32_t i = 0; i < self->node_count; i++) {
        bb_peer_queue_clear(&self->peers[i].queue);
        zsock_destroy(&self->peers[i].small);
        zsock_destroy(&self->peers[i].bulk);
    }
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        bb_outlet_destroy(&self->stores[i]);
    }
    bb_outlet_destroy(&self->router);
    bb_outlet_destroy(&self->control);
    bb_outlet_destroy(&self->observer);
    bb_outlet_destroy(&self->supervisor);
    zsock_destroy(&self->peer_in);
    zsock_destroy(&self->bulk_in);
    bb_detector_destroy(&self->detector);
    bb_route_score_destroy(&self->score);
    free(self->feeds);
    free(self->peers);
    BB_TSAN_RELEASE(self->node);
    free(self);
}

static void s_mesh_actor(zsock_t *pipe, void *argument)
{
    s_mesh_t *self = argument;
    bb_actor_set_name("mesh", UINT32_MAX);
    self->pipe = pipe;
    s_connect(self);
    zsock_signal(pipe, 0);
    bb_detector_actions_t actions; // a node alone has seen all its peers
    bb_detector_tick(self->detector, bb_clock_mono_ns(), &actions);
    s_act(self, &actions);
    self->turn_mono_ns = bb_clock_mono_ns();
    s_run(self);
    s_destroy(&self);
}

zactor_t *bb_mesh_actor_new(bb_node_t *node, zsock_t **peer, zsock_t **bulk)
{
    s_mesh_t *self = bb_alloc_zero(1, sizeof *self);
    self->node = node;
    self->peer_in = *peer;
    self->bulk_in = *bulk;
    *peer = *bulk = NULL;
    self->node_count = bb_topology_node_count(node->topology);
    self->self_index = bb_topology_self_index(node->topology);
    self->peers = bb_alloc_zero(self->node_count, sizeof *self->peers);
    bb_detector_options_t detector = {.node_count = self->node_count,
                                      .self_index = self->self_index,
                                      .heartbeat_ns = node->config->limits.heartbeat_ns,
                                      .suspect_ns = node->config->limits.suspect_ns};
    self->detector = bb_detector_new(&detector);
    uint32_t groups[BB_NODES_MAX];
    for (uint32_t i = 0; i < self->node_count; i++) {
        groups[i] = bb_topology_node(node->topology, i)->dc_index;
    }
    bb_route_score_options_t score = {.node_count = self->node_count,
                                      .self_index = self->self_index,
                                      .heartbeat_ns = node->config->limits.heartbeat_ns,
                                      .groups = groups};
    self->score = bb_route_score_new(&score);
    self->feeds = bb_alloc_zero(node->store_count, sizeof *self->feeds);
    self->must_publish = true;
    bb_log_init(&self->log, node->config->log_level, STDERR_FILENO, "mesh", UINT32_MAX);
    return zactor_new(s_mesh_actor, self);
}
