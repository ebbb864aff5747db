// SPDX-License-Identifier: Apache-2.0
// What other threads call: handing work over, asking what is known, waiting; start and end.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "client/bb_io_internal.h"

#define S_SETTLE_NS (250 * BB_NS_PER_MS) // wait for slower links once one is there

static void s_wake(bb_io_t *self)
{
    uint64_t one = 1;
    if (write(self->wake_fd, &one, sizeof one) < 0) {
        BB_ASSERT(errno == EAGAIN || errno == EINTR);
    }
}

void bb_io_post(bb_io_t *self, bb_io_task_t *task)
{
    task->next = NULL;
    pthread_mutex_lock(&self->mutex);
    bool was_empty = self->task_first == NULL;
    if (self->task_last) {
        self->task_last->next = task;
    } else {
        self->task_first = task;
    }
    self->task_last = task;
    pthread_mutex_unlock(&self->mutex);
    if (was_empty) {
        s_wake(self);
    }
}

static void s_run_submitted(bb_io_task_t *task)
{
    bb_exchange_t *exchange =
        (bb_exchange_t *)(void *)((char *)task - offsetof(bb_exchange_t, task));
    bb_io_start(exchange->io, exchange);
}

void bb_io_submit(bb_io_t *self, bb_exchange_t *exchange)
{
    exchange->io = self;
    exchange->task.run = s_run_submitted;
    bb_io_post(self, &exchange->task);
}

typedef struct {
    bb_io_task_t task; // first
    bb_io_t *io;
    void (*run)(void *context);
    void *context;
    bool is_done;
} s_call_t;

static void s_run_call(bb_io_task_t *task)
{
    s_call_t *call = (s_call_t *)(void *)task;
    bb_io_t *self = call->io;
    call->run(call->context);
    pthread_mutex_lock(&self->mutex);
    call->is_done = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

void bb_io_call(bb_io_t *self, void (*run)(void *context), void *context)
{
    s_call_t call = {.task = {.run = s_run_call}, .io = self, .run = run, .context = context};
    bb_io_post(self, &call.task);
    pthread_mutex_lock(&self->mutex);
    while (!call.is_done) {
        pthread_cond_wait(&self->changed, &self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
}

bb_view_t *bb_io_view(bb_io_t *self)
{
    pthread_mutex_lock(&self->mutex);
    bb_view_t *view = bb_view_keep(self->view);
    pthread_mutex_unlock(&self->mutex);
    return view;
}

bb_view_t *bb_io_current_view(bb_io_t *self)
{
    return self->view;
}

uint32_t bb_io_generation(const bb_io_t *self)
{
    return atomic_load_explicit(&self->generation, memory_order_acquire);
}

void bb_io_ranks(const bb_io_t *self, const bb_view_t *view, uint8_t *ranks)
{
    memset(ranks, BB_RANK_DOWN, BB_NODES_MAX);
    for (uint32_t n = 0; n < view->node_count; n++) {
        uint32_t link = view->nodes[n].link;
        if (link != BB_LINK_NONE) {
            ranks[n] = atomic_load_explicit(&self->ranks[link], memory_order_relaxed);
        }
    }
}

uint32_t bb_io_link_count(bb_io_t *self)
{
    pthread_mutex_lock(&self->mutex);
    uint32_t count = self->link_count;
    pthread_mutex_unlock(&self->mutex);
    return count;
}

bb_link_state_t bb_io_describe(bb_io_t *self, uint32_t link, char *id, size_t id_size, char *dc,
                               size_t dc_size, bb_fault_t *why)
{
    pthread_mutex_lock(&self->mutex);
    const bb_link_t *at = self->links[link];
    bb_link_state_t state = at->state;
    snprintf(id, id_size, "%s", at->id);
    snprintf(dc, dc_size, "%s", at->dc);
    bb_fault_set(why, at->why, "%s", at->why_text);
    pthread_mutex_unlock(&self->mutex);
    return state;
}

uint32_t bb_io_only_node(const bb_io_t *self, const bb_view_t *view)
{
    return self->only_node_id[0] ? bb_view_node_of_id(view, self->only_node_id) : BB_LINK_NONE;
}

const char *bb_io_preferred_dc(const bb_io_t *self)
{
    return self->preferred_dc;
}

uint64_t bb_io_salt(const bb_io_t *self)
{
    return self->salt;
}

// ---- attempts --------------------------------------------------------------------------------

// Under the retry mutex. xorshift64* (Vigna 2016): jitter needs no more.
static uint64_t s_random(bb_io_t *self)
{
    uint64_t x = self->random_state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    self->random_state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

bb_attempt_step_t bb_io_attempt_send(bb_io_t *self, bb_attempt_t *attempt)
{
    pthread_mutex_lock(&self->retry_mutex);
    bb_attempt_step_t step =
        bb_attempt_send(attempt, &self->retry_budget, bb_io_now_ns(), s_random(self));
    pthread_mutex_unlock(&self->retry_mutex);
    return step;
}

void bb_io_attempt_unsend(bb_io_t *self, bb_attempt_t *attempt)
{
    pthread_mutex_lock(&self->retry_mutex);
    bb_attempt_unsend(attempt, &self->retry_budget);
    pthread_mutex_unlock(&self->retry_mutex);
}

void bb_io_attempt_won(bb_io_t *self, bb_attempt_t *attempt)
{
    pthread_mutex_lock(&self->retry_mutex);
    bb_attempt_won(attempt, &self->retry_budget);
    pthread_mutex_unlock(&self->retry_mutex);
}

bb_attempt_step_t bb_io_attempt_step(bb_io_t *self, bb_attempt_t *attempt, bb_outcome_t outcome,
                                     uint32_t node, bb_error_t error, uint32_t retry_after_ms)
{
    pthread_mutex_lock(&self->retry_mutex);
    uint64_t random = s_random(self);
    pthread_mutex_unlock(&self->retry_mutex);
    return bb_attempt_step(attempt, bb_io_now_ns(), outcome, node, error, retry_after_ms, random);
}

// ---- hedges ------------------------------------------------------------------------------------

int64_t bb_io_hedge_begin(bb_io_t *self, const bb_query_t *query, uint32_t *kind)
{
    *kind = self->no_hedges ? BB_HEDGE_KIND_NONE : bb_hedge_kind(query);
    if (*kind == BB_HEDGE_KIND_NONE) {
        return BB_NEVER_NS;
    }
    pthread_mutex_lock(&self->retry_mutex);
    int64_t due_ns = bb_hedge_begin(&self->hedge, *kind, bb_io_now_ns());
    pthread_mutex_unlock(&self->retry_mutex);
    return due_ns;
}

bool bb_io_hedge_take(bb_io_t *self)
{
    bool is_queued = atomic_load_explicit(&self->queued_count, memory_order_relaxed) > 0;
    pthread_mutex_lock(&self->retry_mutex);
    bool is_taken = bb_hedge_take(&self->hedge, bb_io_now_ns(), is_queued);
    pthread_mutex_unlock(&self->retry_mutex);
    return is_taken;
}

void bb_io_hedge_untake(bb_io_t *self)
{
    pthread_mutex_lock(&self->retry_mutex);
    bb_hedge_untake(&self->hedge);
    pthread_mutex_unlock(&self->retry_mutex);
}

void bb_io_hedge_end(bb_io_t *self, uint32_t kind, int64_t latency_ns, bool has_won)
{
    pthread_mutex_lock(&self->retry_mutex);
    bb_hedge_end(&self->hedge, kind, latency_ns, has_won);
    pthread_mutex_unlock(&self->retry_mutex);
}

void bb_io_hedge_counts(bb_io_t *self, uint64_t *asked, uint64_t *hedged, uint64_t *won)
{
    pthread_mutex_lock(&self->retry_mutex);
    *asked = self->hedge.asked_count;
    *hedged = self->hedge.hedge_count;
    *won = self->hedge.won_count;
    pthread_mutex_unlock(&self->retry_mutex);
}

void bb_io_queued_add(bb_io_t *self, int32_t difference)
{
    atomic_fetch_add_explicit(&self->queued_count, difference, memory_order_relaxed);
}

// ---- waiting for the cluster -----------------------------------------------------------------

// Under the mutex: how many links are in each state, and the sentences of those that failed.
static void s_survey(const bb_io_t *self, uint32_t counts[4], bb_fault_t *fault, bb_error_t error)
{
    char text[400] = "";
    size_t used = 0;
    memset(counts, 0, 4 * sizeof *counts);
    for (uint32_t i = 0; i < self->link_count; i++) {
        const bb_link_t *link = self->links[i];
        counts[link->state]++;
        if (link->state != BB_LINK_READY && used + 1 < sizeof text) {
            int length = snprintf(text + used, sizeof text - used, "%s%s: %s", used ? "; " : "",
                                  link->id, link->why_text[0] ? link->why_text : "no answer yet");
            used += length > 0 ? (size_t)length : 0;
        }
    }
    if (error != BB_OK) {
        bb_fault_set(fault, error, "no node of the cluster could be reached: %s", text);
    }
}

bb_error_t bb_io_wait_ready(bb_io_t *self, int64_t deadline_ns, bb_fault_t *fault)
{
    bb_error_t error = BB_OK;
    int64_t settle_ns = BB_NEVER_NS;
    pthread_mutex_lock(&self->mutex);
    for (;;) {
        uint32_t counts[4];
        s_survey(self, counts, NULL, BB_OK);
        int64_t now_ns = bb_io_now_ns();
        if (self->view && counts[BB_LINK_CONNECTING] == 0) {
            break;
        }
        if (self->view && settle_ns == BB_NEVER_NS) {
            settle_ns = BB_MIN(now_ns + S_SETTLE_NS, deadline_ns);
        }
        if (self->view && now_ns >= settle_ns) {
            break;
        }
        if (!self->view && counts[BB_LINK_REFUSED] == self->link_count) {
            error = self->links[0]->why;
            s_survey(self, counts, fault, error);
            break;
        }
        if (now_ns >= deadline_ns) {
            error = counts[BB_LINK_CONNECTING] == 0 ? BB_ERR_UNAVAILABLE : BB_ERR_TIMEOUT;
            s_survey(self, counts, fault, error);
            break;
        }
        int64_t until_ns = BB_MIN(deadline_ns, settle_ns);
        struct timespec until = {until_ns / BB_NS_PER_S, until_ns % BB_NS_PER_S};
        pthread_cond_timedwait(&self->changed, &self->mutex, &until);
    }
    pthread_mutex_unlock(&self->mutex);
    return error;
}

// ---- start and end ---------------------------------------------------------------------------

static bb_error_t s_connect_all(bb_io_t *self, const bb_client_file_t *file, bb_fault_t *fault)
{
    for (uint32_t i = 0; i < file->node_count; i++) {
        const bb_client_node_t *node = &file->nodes[i];
        if (self->only_node_id[0] && strcmp(node->id, self->only_node_id) != 0) {
            continue;
        }
        bb_error_t error =
            bb_io_link_add(self, node->id, node->dc, node->endpoint, node->public_key, fault);
        if (error != BB_OK) {
            return error;
        }
    }
    if (self->link_count == 0) {
        return bb_fault_set(fault, BB_ERR_PEER_UNKNOWN, "%s: there is no node '%s'", file->path,
                            self->only_node_id);
    }
    return BB_OK;
}

// The thread gets no signals: they belong to the program's own threads.
static bool s_start_thread(bb_io_t *self)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool is_ok = pthread_create(&self->thread, NULL, bb_io_main, self) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return is_ok;
}

static void s_free(bb_io_t *self)
{
    for (uint32_t i = 0; i < self->link_count; i++) {
        bb_link_close(self->links[i]);
        free(self->links[i]);
        free(self->greetings[i]);
    }
    if (self->context) {
        zmq_ctx_term(self->context);
    }
    if (self->wake_fd >= 0) {
        close(self->wake_fd);
    }
    bb_view_drop(&self->view);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
    pthread_mutex_destroy(&self->retry_mutex);
    bb_keys_wipe(&self->key, sizeof self->key);
    free(self);
}

bb_error_t bb_io_new(const bb_io_options_t *options, bb_io_t **io, bb_fault_t *fault)
{
    const bb_client_file_t *file = options->file;
    bb_io_t *self = bb_alloc_zero(1, sizeof *self);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_mutex_init(&self->retry_mutex, NULL);
    bb_retry_budget_init(&self->retry_budget, bb_io_now_ns());
    bb_hedge_init(&self->hedge);
    self->no_hedges = options->no_hedges;
    self->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    self->context = zmq_ctx_new();
    self->key = file->key;
    memcpy(self->cluster_id, file->cluster_id, sizeof self->cluster_id);
    // Without a preference the data centre of the first node is home, so that reads and writes at
    // local_quorum mean the same one.
    snprintf(self->preferred_dc, sizeof self->preferred_dc, "%s",
             file->dc[0] || file->node_count == 0 ? file->dc : file->nodes[0].dc);
    snprintf(self->only_node_id, sizeof self->only_node_id, "%s",
             options->node_id ? options->node_id : "");
    snprintf(self->client_name, sizeof self->client_name, "%s",
             options->client_name ? options->client_name : "libbusbar");
    bb_error_t error = bb_random_bytes(&self->salt, sizeof self->salt);
    self->random_state = self->salt | 1;
    self->next_request_id = self->salt >> 16;
    if (error == BB_OK && (self->wake_fd < 0 || !self->context)) {
        error = bb_fault_set(fault, BB_ERR_INTERNAL, "cannot make an event descriptor: %s",
                             strerror(errno));
    }
    if (error == BB_OK) {
        error = s_connect_all(self, file, fault);
    }
    if (error == BB_OK && !s_start_thread(self)) {
        error = bb_fault_set(fault, BB_ERR_INTERNAL, "cannot start a thread");
    }
    if (error != BB_OK) {
        s_free(self);
        return error;
    }
    *io = self;
    return BB_OK;
}

void bb_io_destroy(bb_io_t **self)
{
    bb_io_t *io = *self;
    if (!io) {
        return;
    }
    pthread_mutex_lock(&io->mutex);
    io->must_stop = true;
    pthread_mutex_unlock(&io->mutex);
    s_wake(io);
    pthread_join(io->thread, NULL);
    s_free(io);
    *self = NULL;
}
