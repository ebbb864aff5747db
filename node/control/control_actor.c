// SPDX-License-Identifier: Apache-2.0
#include "node/control/control_actor.h"

#include <czmq.h>

#include "node/control/bb_control.h"
#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_poller.h"
#include "node/runtime/bb_tsan.h"

#define S_POSTS_PER_STEP 256
#define S_WAIT_MS_MAX    1000

typedef struct {
    bb_node_t *node;
    bb_log_t log;
    zsock_t *pipe;
    bb_outlet_t *mesh, *supervisor;
    bb_outlet_t *stores[BB_STORES_MAX];
    bb_control_t *control;
    bb_standing_t standing; // as told
    bool is_rebuilt[BB_STORES_MAX], is_settled[BB_STORES_MAX], is_broken, is_stale;
    bb_forgotten_t forgotten; // as the stores were told
    uint64_t forgotten_version;
} s_shell_t;

static void s_send(void *context, uint32_t peer_index, const bb_message_t *message)
{
    s_shell_t *self = context;
    uint8_t *encoded;
    size_t length;
    bb_message_encode(message, &encoded, &length);
    bb_post_t *post = bb_post_new(BB_POST_SEND);
    post->send =
        (bb_post_send_t){.peer_index = peer_index,
                         .outbound = {.envelope = bb_buffer_new(encoded, length, NULL, NULL)}};
    if (bb_outlet_send(self->mesh, &post, length) != BB_OK) {
        bb_post_destroy(&post); // it is repeated, or asked for again
    }
}

// ---- what follows from a step ------------------------------------------------------------------
static void s_log_standing(s_shell_t *self)
{
    uint64_t boot = bb_control_boot(self->control);
    switch (self->standing) {
    case BB_STANDING_COUNTING:
        bb_log_info(&self->log, "this node counts", BB_LOG_U64("boot", boot));
        break;
    case BB_STANDING_JOINING:
        bb_log_warning(&self->log, "this node counts no more", BB_LOG_U64("boot", boot));
        break;
    case BB_STANDING_REBUILDING:
        bb_log_warning(&self->log,
                       "the disk lacks what this node once acknowledged; it is rebuilt from the "
                       "others and counts for nothing until then",
                       BB_LOG_U64("boot", boot),
                       BB_LOG_TEXT("store", bb_control_doubt_text(self->control)));
        break;
    case BB_STANDING_FENCED: {
        char rival[128];
        bb_control_rival_text(self->control, rival, sizeof rival);
        bb_log_error(&self->log,
                     "another process has this node's identity; this one is fenced for good",
                     BB_LOG_U64("boot", boot), BB_LOG_TEXT("other", rival));
        break;
    }
    }
}

static void s_publish_forgotten(s_shell_t *self)
{
    if (!bb_control_forgotten(self->control, &self->forgotten_version, &self->forgotten)) {
        return;
    }
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        bb_post_t *post = bb_post_new(BB_POST_FORGOTTEN);
        post->forgotten = bb_alloc(sizeof *post->forgotten);
        *post->forgotten = self->forgotten;
        bb_outlet_send_always(self->stores[i], &post);
    }
    if (bb_control_is_stale(self->control) && !self->is_stale) {
        self->is_stale = true;
        bb_log_error(&self->log,
                     "streams of later starts of this node are forgotten: the disk is an older one "
                     "and the clock was behind. This process ends; the next start is a later one");
        bb_post_t *post = bb_post_new(BB_POST_EVENT);
        post->event.kind = BB_EVENT_STALE;
        bb_outlet_send_always(self->supervisor, &post);
    }
}

static void s_publish(s_shell_t *self)
{
    bb_node_t *node = self->node;
    atomic_store_explicit(&node->boot, bb_control_boot(self->control), memory_order_relaxed);
    atomic_store_explicit(&node->registry_digest, bb_control_digest(self->control),
                          memory_order_relaxed);
    if (bb_control_is_broken(self->control) && !self->is_broken) {
        self->is_broken = true;
        bb_log_error(&self->log, "the registry's disk failed: nothing is registered any more");
    }
    s_publish_forgotten(self); // before a standing that counts
    bb_standing_t standing = bb_control_standing(self->control);
    if (standing == self->standing) {
        return;
    }
    self->standing = standing;
    atomic_store_explicit(&node->standing, standing, memory_order_relaxed);
    for (uint32_t i = 0; i < node->store_count; i++) {
        bb_post_t *post = bb_post_new(BB_POST_STANDING);
        post->standing = standing;
        bb_outlet_send_always(self->stores[i], &post);
    }
    bb_post_t *post = bb_post_new(BB_POST_EVENT);
    post->event.kind = BB_EVENT_STANDING;
    bb_outlet_send_always(self->supervisor, &post);
    s_log_standing(self);
}

// ---- what comes in -----------------------------------------------------------------------------
static void s_on_rebuilt(s_shell_t *self, uint32_t store_index)
{
    self->is_rebuilt[store_index] = true;
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        if (!self->is_rebuilt[i]) {
            return;
        }
    }
    bb_log_info(&self->log, "rebuilt: this disk holds what a majority of the others does");
    bb_control_rebuilt(self->control);
}

static void s_on_settled(s_shell_t *self, uint32_t store_index)
{
    self->is_settled[store_index] = true;
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        if (!self->is_settled[i]) {
            return;
        }
    }
    bb_control_settled(self->control);
}

static void s_on_post(s_shell_t *self, const bb_post_t *post)
{
    int64_t now_mono_ns = bb_clock_mono_ns();
    bb_error_t error = BB_OK;
    switch (post->kind) {
    case BB_POST_PEER:
        error = bb_control_receive(self->control, post->request.peer_index,
                                   &post->request.message.registry);
        break;
    case BB_POST_PEER_STATE:
        bb_control_peer(self->control, now_mono_ns, post->peer_state.peer_index,
                        post->peer_state.is_up);
        break;
    case BB_POST_DIGEST:
        bb_control_hear(self->control, now_mono_ns, post->peer_word.peer_index,
                        post->peer_word.registry_digest);
        break;
    case BB_POST_PROMISED:
        bb_control_promised(self->control);
        break;
    case BB_POST_REBUILT:
        s_on_rebuilt(self, post->store_index);
        break;
    case BB_POST_SETTLED:
        s_on_settled(self, post->store_index);
        break;
    default:
        BB_ASSERT(!"a post that control never gets");
    }
    if (error != BB_OK) {
        bb_metrics_add(self->node->metrics, BB_METRIC_PEER_MALFORMED, 1);
    }
}

// ---- loop --------------------------------------------------------------------------------------
static void s_run(s_shell_t *self)
{
    bb_poller_t poller = {.count = 0};
    uint32_t on_pipe = bb_poller_add(&poller, zsock_resolve(self->pipe));
    bb_poller_add_fd(&poller, bb_mailbox_fd(self->node->control));
    while (!bb_poller_is_ready(&poller, on_pipe)) { // $TERM
        for (uint32_t i = 0; i < S_POSTS_PER_STEP; i++) {
            bb_post_t *post = bb_mailbox_receive(self->node->control);
            if (!post) {
                break;
            }
            s_on_post(self, post);
            bb_post_destroy(&post);
        }
        bb_control_step(self->control, bb_clock_mono_ns());
        s_publish(self);
        int64_t now_mono_ns = bb_clock_mono_ns();
        int64_t wake_mono_ns = bb_control_wake_mono_ns(self->control, now_mono_ns);
        long wait_ms = bb_clock_timeout_ms(now_mono_ns, wake_mono_ns, S_WAIT_MS_MAX);
        if (!bb_poller_wait(&poller, wait_ms)) {
            break;
        }
    }
}

static void s_destroy(s_shell_t **self_p)
{
    s_shell_t *self = *self_p;
    *self_p = NULL;
    bb_control_close(&self->control);
    bb_outlet_destroy(&self->mesh);
    bb_outlet_destroy(&self->supervisor);
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        bb_outlet_destroy(&self->stores[i]);
    }
    BB_TSAN_RELEASE(self->node);
    free(self);
}

static void s_control_actor(zsock_t *pipe, void *argument)
{
    s_shell_t *self = argument;
    bb_actor_set_name("control", UINT32_MAX);
    self->pipe = pipe;
    self->mesh = bb_outlet_new(self->node->mesh);
    self->supervisor = bb_outlet_new(self->node->supervisor);
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        self->stores[i] = bb_outlet_new(self->node->stores[i]);
    }
    zsock_signal(pipe, 0);
    s_run(self);
    s_destroy(&self);
}

zactor_t *bb_control_actor_new(bb_node_t *node, bb_fault_t *fault)
{
    s_shell_t *self = bb_alloc_zero(1, sizeof *self);
    self->node = node;
    self->standing = BB_STANDING_JOINING;
    bb_log_init(&self->log, node->config->log_level, STDERR_FILENO, "control", UINT32_MAX);
    bb_control_options_t options = {.topology = node->topology,
                                    .vfs = bb_vfs_posix(),
                                    .kv = bb_kv_lmdb(),
                                    .directory = node->config->data_dir,
                                    .store_count = node->store_count,
                                    .incarnation = node->incarnation,
                                    .context = self,
                                    .send = s_send};
    bb_error_t error = bb_random_bytes(options.disk_id, sizeof options.disk_id);
    BB_ASSERT(error == BB_OK); // no randomness, no identity
    error = bb_control_open(&options, bb_clock_mono_ns(), &self->control, fault);
    if (error != BB_OK) {
        fault->error = error;
        free(self);
        return NULL;
    }
    return zactor_new(s_control_actor, self);
}
