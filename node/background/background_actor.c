// SPDX-License-Identifier: Apache-2.0
#include "node/background/background_actor.h"

#include <czmq.h>
#include <sys/resource.h>

#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_poller.h"
#include "node/runtime/bb_tsan.h"

typedef struct {
    bb_node_t *node;
    bb_outlet_t *stores[BB_STORES_MAX];
    bb_log_t log;
} s_background_t;

static void s_run(s_background_t *self, bb_post_job_t *job)
{
    int64_t begin_mono_ns = bb_clock_mono_ns();
    bb_fault_t fault = {0};
    bb_error_t error = bb_store_job_run(job->job, &fault);
    int64_t took_mono_ns = bb_clock_mono_ns() - begin_mono_ns;
    if (error == BB_OK) {
        bb_metrics_add(self->node->metrics, BB_METRIC_JOBS_OK, 1);
        bb_log_debug(&self->log, "job done", BB_LOG_U64("store", job->store_index),
                     BB_LOG_I64("ms", took_mono_ns / BB_NS_PER_MS));
    } else {
        bb_metrics_add(self->node->metrics, BB_METRIC_JOBS_FAILED, 1);
        bb_log_error(&self->log, "job failed", BB_LOG_U64("store", job->store_index),
                     BB_LOG_TEXT("error", bb_error_name(error)), BB_LOG_TEXT("detail", fault.text));
    }
    bb_post_t *post = bb_post_new(BB_POST_JOB_DONE);
    post->job = (bb_post_job_t){.store_index = job->store_index, .job = job->job, .error = error};
    job->job = NULL;
    bb_outlet_send_always(self->stores[post->job.store_index], &post);
}

static void s_on_mailbox(s_background_t *self)
{
    bb_mailbox_t *mailbox = self->node->background;
    for (bb_post_t *post = bb_mailbox_receive(mailbox); post; post = bb_mailbox_receive(mailbox)) {
        if (post->kind == BB_POST_JOB) {
            s_run(self, &post->job);
        }
        bb_post_destroy(&post);
    }
}

// Clients wait for all other threads, nobody for this one: it gets a tenth of what one of them gets
// while both want the same processor. When heads are full because of that, writers wait, and it has
// all that they leave. A nicer value would let a busy neighbour on the machine stop it.
#define S_NICENESS 10

static void s_background_actor(zsock_t *pipe, void *argument)
{
    s_background_t *self = argument;
    bb_actor_set_name("seal", UINT32_MAX);
    if (getpriority(PRIO_PROCESS, 0) < S_NICENESS) { // of this thread alone, on Linux
        (void)setpriority(PRIO_PROCESS, 0, S_NICENESS);
    }
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        self->stores[i] = bb_outlet_new(self->node->stores[i]);
    }
    zsock_signal(pipe, 0);
    bb_poller_t poller = {.count = 0};
    uint32_t on_pipe = bb_poller_add(&poller, zsock_resolve(pipe));
    bb_poller_add_fd(&poller, bb_mailbox_fd(self->node->background));
    while (!bb_poller_is_ready(&poller, on_pipe)) {
        if (!bb_poller_wait(&poller, -1)) {
            break;
        }
        s_on_mailbox(self);
    }
    s_on_mailbox(self);
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        bb_outlet_destroy(&self->stores[i]);
    }
    BB_TSAN_RELEASE(self->node);
    free(self);
}

zactor_t *bb_background_actor_new(bb_node_t *node)
{
    s_background_t *self = bb_alloc_zero(1, sizeof *self);
    self->node = node;
    bb_log_init(&self->log, node->config->log_level, STDERR_FILENO, "background", UINT32_MAX);
    return zactor_new(s_background_actor, self);
}
