// SPDX-License-Identifier: Apache-2.0
// The background thread itself; the calls of other threads are in bb_io_edge.c.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/bb_io_internal.h"

#define S_HELLO_TIMEOUT_NS (2 * BB_NS_PER_S)
#define S_HELLO_RETRY_NS   (300 * BB_NS_PER_MS)
#define S_RECEIVE_BURST    256

int64_t bb_io_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * BB_NS_PER_S + now.tv_nsec;
}

// ---- exchanges -------------------------------------------------------------------------------

static void s_list_add(bb_exchange_list_t *list, bb_exchange_t *exchange)
{
    exchange->list = list;
    exchange->next = NULL;
    exchange->previous = list->last;
    if (list->last) {
        list->last->next = exchange;
    } else {
        list->first = exchange;
    }
    list->last = exchange;
    list->count++;
}

static void s_list_remove(bb_exchange_t *exchange)
{
    bb_exchange_list_t *list = exchange->list;
    if (exchange->previous) {
        exchange->previous->next = exchange->next;
    } else {
        list->first = exchange->next;
    }
    if (exchange->next) {
        exchange->next->previous = exchange->previous;
    } else {
        list->last = exchange->previous;
    }
    list->count--;
    exchange->list = NULL;
    exchange->next = exchange->previous = NULL;
}

bb_error_t bb_exchange_error(const bb_exchange_t *self)
{
    BB_ASSERT(self->outcome == BB_OUTCOME_ANSWERED);
    return self->reply.kind == BB_KIND_ERROR ? self->reply.error.code : BB_OK;
}

uint32_t bb_exchange_retry_after_ms(const bb_exchange_t *self)
{
    return self->outcome == BB_OUTCOME_ANSWERED && self->reply.kind == BB_KIND_ERROR
               ? self->reply.error.retry_after_ms
               : 0;
}

void bb_exchange_clear(bb_exchange_t *self)
{
    if (self->reply_envelope.memory) {
        bb_message_close(&self->reply);
    }
    bb_link_frame_free(&self->reply_envelope);
    bb_link_frame_free(&self->reply_payload);
    memset(&self->reply, 0, sizeof self->reply);
}

static void s_end(bb_exchange_t *exchange, bb_outcome_t outcome)
{
    if (exchange->list) {
        s_list_remove(exchange);
    }
    if (exchange->is_allowed) {
        exchange->is_allowed = false;
        bb_io_t *io = exchange->io;
        bb_allowance_end(&io->links[exchange->link]->allowance, exchange->payload->length);
        bb_room_line_freed(&io->room_line);
    }
    exchange->outcome = outcome;
    exchange->done(exchange);
}

static void s_end_all(bb_exchange_list_t *list, bb_outcome_t outcome)
{
    // What `done` starts anew goes to the end of some list; only those of now are ended.
    for (uint32_t left = list->count; left > 0 && list->first; left--) {
        s_end(list->first, outcome);
    }
}

static void s_transmit(bb_io_t *self, bb_link_t *link, bb_exchange_t *exchange)
{
    bb_message_t *request = &exchange->request;
    int64_t now_ns = bb_io_now_ns();
    self->worked_ns = now_ns;
    exchange->io = self;
    exchange->sent_ns = now_ns;
    exchange->is_allowed = false;
    request->request_id = ++self->next_request_id;
    request->epoch = self->view ? self->view->epoch : 0;
    request->timeout_ns = BB_MAX(1, BB_MIN(exchange->due_ns - now_ns, BB_DEADLINE_NS_MAX));
    uint8_t *envelope;
    size_t length;
    bb_message_encode(request, &envelope, &length);
    if (!bb_link_send(link, envelope, length, exchange->payload)) {
        s_end(exchange, BB_OUTCOME_NOT_SENT);
        return;
    }
    if (exchange->payload) {
        exchange->is_allowed = true;
        bb_allowance_begin(&link->allowance, exchange->payload->length);
    }
    s_list_add(&link->sent, exchange);
}

void bb_io_start(bb_io_t *self, bb_exchange_t *exchange)
{
    exchange->io = self;
    exchange->list = NULL;
    exchange->is_allowed = false;
    exchange->reply_envelope = exchange->reply_payload = (bb_link_frame_t){0};
    if (exchange->link >= self->link_count) {
        s_end(exchange, BB_OUTCOME_NOT_SENT);
        return;
    }
    bb_link_t *link = self->links[exchange->link];
    if (link->state == BB_LINK_READY) {
        s_transmit(self, link, exchange);
    } else if (exchange->waits_for_link && link->state == BB_LINK_CONNECTING) {
        s_list_add(&link->held, exchange);
    } else {
        s_end(exchange, BB_OUTCOME_NOT_SENT);
    }
}

void bb_io_abort(bb_io_t *self, bb_exchange_t *exchange)
{
    (void)self;
    if (exchange->list) {
        s_end(exchange, BB_OUTCOME_CANCELLED);
    }
}

// ---- links -----------------------------------------------------------------------------------

static void s_liveness(bb_io_t *self, uint32_t index, bb_liveness_event_t event)
{
    bb_liveness_step(&self->links[index]->liveness, event, bb_io_now_ns());
}

// Ranks also change when time passes; they are published once a turn of the loop.
static void s_publish_ranks(bb_io_t *self, int64_t now_ns)
{
    bool is_changed = false;
    bool is_slow[BB_NODES_MAX] = {false}; // by link
    for (uint32_t n = 0; self->view && n < self->view->node_count; n++) {
        uint32_t link = self->view->nodes[n].link;
        if (link != BB_LINK_NONE) {
            is_slow[link] = bb_routes_is_slow(&self->routes, now_ns, n);
        }
    }
    for (uint32_t i = 0; i < self->link_count; i++) {
        bb_link_t *link = self->links[i];
        uint8_t rank = bb_liveness_rank(&link->liveness, now_ns);
        if (is_slow[i]) { // last of its data centre, like one that did not answer lately
            rank = BB_MAX(rank, (uint8_t)BB_RANK_SUSPECT);
        }
        if (rank != atomic_load_explicit(&self->ranks[i], memory_order_relaxed)) {
            atomic_store_explicit(&self->ranks[i], rank, memory_order_relaxed);
            is_changed = true;
        }
    }
    if (is_changed) {
        atomic_fetch_add_explicit(&self->generation, 1, memory_order_release);
    }
}

static void s_set_state(bb_io_t *self, uint32_t index, bb_link_state_t state, bb_error_t why,
                        const char *text)
{
    bb_link_t *link = self->links[index];
    pthread_mutex_lock(&self->mutex);
    link->state = state;
    link->why = why;
    snprintf(link->why_text, sizeof link->why_text, "%.*s", (int)sizeof link->why_text - 1, text);
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

static void s_link_down(bb_io_t *self, uint32_t index, bb_link_state_t state, bb_error_t why,
                        const char *text)
{
    bb_link_t *link = self->links[index];
    // A refusal explains the disconnects that follow it; they do not hide it.
    if (link->state != BB_LINK_REFUSED || state == BB_LINK_REFUSED) {
        s_set_state(self, index, state, why, text);
    }
    link->is_handshaken = false;
    link->greet_at_ns = BB_NEVER_NS;
    bb_allowance_reset(&link->allowance);
    bb_room_line_freed(&self->room_line);
    s_liveness(self, index, BB_LIVENESS_DISCONNECTED);
    s_publish_ranks(self, bb_io_now_ns());
    s_end_all(&link->sent, BB_OUTCOME_DISCONNECTED);
    s_end_all(&link->held, BB_OUTCOME_NOT_SENT);
}

bb_error_t bb_io_link_add(bb_io_t *self, const char *id, const char *dc, const char *endpoint,
                          const uint8_t public_key[32], bb_fault_t *fault)
{
    if (self->link_count == BB_NODES_MAX) {
        return bb_fault_set(fault, BB_ERR_LIMIT, "more than %d nodes", BB_NODES_MAX);
    }
    bb_link_t *link = bb_alloc_zero(1, sizeof *link);
    snprintf(link->id, sizeof link->id, "%s", id);
    snprintf(link->dc, sizeof link->dc, "%s", dc);
    snprintf(link->endpoint, sizeof link->endpoint, "%s", endpoint);
    memcpy(link->public_key, public_key, 32);
    bb_error_t error = bb_link_open(link, self->context, &self->key, fault);
    if (error != BB_OK) {
        free(link);
        return error;
    }
    uint32_t index = self->link_count;
    self->greetings[index] = bb_alloc_zero(1, sizeof *self->greetings[index]);
    self->greetings[index]->io = self;
    self->greetings[index]->link = index;
    atomic_store_explicit(&self->ranks[index], BB_RANK_CONNECTING, memory_order_relaxed);
    pthread_mutex_lock(&self->mutex);
    self->links[index] = link;
    self->link_count = index + 1;
    pthread_mutex_unlock(&self->mutex);
    return BB_OK;
}

static uint32_t s_link_of_id(const bb_io_t *self, const char *id)
{
    for (uint32_t i = 0; i < self->link_count; i++) {
        if (strcmp(self->links[i]->id, id) == 0) {
            return i;
        }
    }
    return BB_LINK_NONE;
}

// Connects to the nodes of a view that the client file did not name. The file's own endpoints and
// keys stay in force: they may lead through an address that only this client can reach.
static void s_view_connect(bb_io_t *self, bb_view_t *view)
{
    for (uint32_t n = 0; n < view->node_count; n++) {
        bb_view_node_t *node = &view->nodes[n];
        node->link = s_link_of_id(self, node->id);
        if (node->link != BB_LINK_NONE || self->only_node_id[0]) {
            continue;
        }
        bb_fault_t fault;
        if (bb_io_link_add(self, node->id, node->dc, node->endpoint, node->public_key, &fault) ==
            BB_OK) {
            node->link = self->link_count - 1;
        }
    }
}

static bb_error_t s_on_hello_reply(bb_io_t *self, const bb_message_t *message, bb_fault_t *fault)
{
    const bb_hello_reply_t *reply = &message->hello_reply;
    if (memcmp(reply->cluster_id, self->cluster_id, sizeof self->cluster_id) != 0) {
        return bb_fault_set(fault, BB_ERR_CLUSTER, "the node belongs to another cluster, '%.*s'",
                            (int)reply->cluster_name.length,
                            (const char *)reply->cluster_name.data);
    }
    if (self->view && message->epoch <= self->view->epoch) {
        return BB_OK;
    }
    bb_view_t *view = NULL;
    bb_error_t error = bb_view_new(reply, message->epoch, &view, fault);
    if (error != BB_OK) {
        return error;
    }
    s_view_connect(self, view);
    bb_routes_clear(&self->routes); // its indexes are of the epoch before
    pthread_mutex_lock(&self->mutex);
    bb_view_t *old = self->view;
    self->view = view;
    pthread_mutex_unlock(&self->mutex);
    bb_view_drop(&old);
    atomic_fetch_add_explicit(&self->generation, 1, memory_order_release);
    return BB_OK;
}

static void s_link_ready(bb_io_t *self, uint32_t index)
{
    bb_link_t *link = self->links[index];
    s_liveness(self, index, BB_LIVENESS_CONNECTED);
    s_publish_ranks(self, bb_io_now_ns());
    s_set_state(self, index, BB_LINK_READY, BB_OK, "");
    for (uint32_t left = link->held.count; left > 0 && link->held.first; left--) {
        bb_exchange_t *exchange = link->held.first;
        s_list_remove(exchange);
        s_transmit(self, link, exchange);
    }
}

static void s_on_greeted(bb_exchange_t *exchange)
{
    bb_io_greeting_t *greeting = exchange->owner;
    bb_io_t *self = greeting->io;
    bb_link_t *link = self->links[greeting->link];
    link->is_greeting = false;
    bb_fault_t fault = {0};
    bb_error_t error = BB_ERR_TIMEOUT;
    if (exchange->outcome == BB_OUTCOME_ANSWERED) {
        error = bb_exchange_error(exchange);
        if (exchange->reply.kind == BB_KIND_HELLO_REPLY) {
            error = s_on_hello_reply(self, &exchange->reply, &fault);
        } else if (error == BB_OK) {
            error = bb_fault_set(&fault, BB_ERR_MESSAGE_CORRUPT, "answered HELLO with %s",
                                 bb_kind_name(exchange->reply.kind));
        } else {
            bb_fault_set(&fault, error, "refused HELLO: %.*s",
                         (int)exchange->reply.error.detail.length,
                         (const char *)exchange->reply.error.detail.data);
        }
    }
    bb_exchange_clear(exchange);
    if (!link->is_handshaken) {
        return;
    }
    if (error == BB_OK) {
        if (link->state != BB_LINK_READY) {
            s_link_ready(self, greeting->link);
        }
        return;
    }
    if (bb_error_retry(error) == BB_RETRY_NEVER) {
        s_set_state(self, greeting->link, BB_LINK_REFUSED, error, fault.text);
        s_liveness(self, greeting->link, BB_LIVENESS_DISCONNECTED);
        s_end_all(&link->held, BB_OUTCOME_NOT_SENT);
    }
    link->greet_at_ns = bb_io_now_ns() + S_HELLO_RETRY_NS;
}

// HELLO: on each new connection and whenever the node seems to know another epoch.
static void s_greet(bb_io_t *self, uint32_t index)
{
    bb_link_t *link = self->links[index];
    link->greet_at_ns = BB_NEVER_NS;
    if (link->is_greeting || !link->is_handshaken) {
        return;
    }
    link->is_greeting = true;
    bb_exchange_t *exchange = &self->greetings[index]->exchange;
    *exchange = (bb_exchange_t){
        .link = index,
        .due_ns = bb_io_now_ns() + S_HELLO_TIMEOUT_NS,
        .done = s_on_greeted,
        .owner = self->greetings[index],
    };
    exchange->request.kind = BB_KIND_HELLO;
    exchange->request.hello.client_name = bb_slice(self->client_name, strlen(self->client_name));
    // Not through bb_io_start: the link only becomes ready by this exchange.
    s_transmit(self, link, exchange);
}

static void s_on_routes(bb_exchange_t *exchange)
{
    bb_io_t *self = exchange->owner;
    self->is_asking_routes = false;
    uint32_t node =
        self->view ? bb_view_node_of_id(self->view, self->links[exchange->link]->id) : BB_LINK_NONE;
    const bb_message_t *reply = &exchange->reply;
    if (exchange->outcome == BB_OUTCOME_ANSWERED && reply->kind == BB_KIND_ROUTES &&
        node != BB_LINK_NONE && reply->epoch == self->view->epoch) {
        bb_routes_told(&self->routes, bb_io_now_ns(), node, reply->routes.slow,
                       reply->routes.slow_count);
    }
    bb_exchange_clear(exchange);
}

// While there is work, asks one node after the other which of them are slow.
static void s_ask_routes(bb_io_t *self, int64_t now_ns)
{
    if (now_ns < self->routes_next_ns || self->is_asking_routes || !self->view ||
        now_ns - self->worked_ns > 2 * BB_ROUTES_ASK_NS) {
        return;
    }
    self->routes_next_ns = now_ns + BB_ROUTES_ASK_NS;
    for (uint32_t i = 0; i < self->link_count; i++) {
        uint32_t index = (self->routes_turn + i) % self->link_count;
        if (self->links[index]->state != BB_LINK_READY ||
            (self->preferred_dc[0] && strcmp(self->links[index]->dc, self->preferred_dc) != 0)) {
            continue;
        }
        self->routes_turn = index + 1;
        self->is_asking_routes = true;
        self->routes_exchange = (bb_exchange_t){.io = self,
                                                .link = index,
                                                .due_ns = now_ns + S_HELLO_TIMEOUT_NS,
                                                .done = s_on_routes,
                                                .owner = self};
        self->routes_exchange.request.kind = BB_KIND_HELLO;
        self->routes_exchange.request.hello =
            (bb_hello_t){.client_name = bb_slice(self->client_name, strlen(self->client_name)),
                         .only_routes = true};
        int64_t worked_ns = self->worked_ns;
        s_transmit(self, self->links[index], &self->routes_exchange);
        self->worked_ns = worked_ns; // this was not work
        return;
    }
}

static void s_on_event(bb_io_t *self, uint32_t index, bb_link_event_t event, int32_t detail)
{
    bb_link_t *link = self->links[index];
    char text[200];
    switch (event) {
    case BB_LINK_EVENT_HANDSHAKE:
        link->is_handshaken = true;
        if (link->state == BB_LINK_UNREACHABLE) {
            s_set_state(self, index, BB_LINK_CONNECTING, BB_OK, "");
        }
        s_greet(self, index);
        break;
    case BB_LINK_EVENT_LOST:
        s_link_down(self, index, BB_LINK_UNREACHABLE, BB_ERR_UNAVAILABLE,
                    "the connection was lost");
        break;
    case BB_LINK_EVENT_UNREACHABLE:
        if (!link->is_handshaken) {
            snprintf(text, sizeof text, "nobody answers at %.150s", link->endpoint);
            s_link_down(self, index, BB_LINK_UNREACHABLE, BB_ERR_UNAVAILABLE, text);
        }
        break;
    case BB_LINK_EVENT_REFUSED:
        if (detail >= 300 && detail < 600) {
            snprintf(text, sizeof text, "it does not take our key (status %d)", (int)detail);
        } else {
            snprintf(text, sizeof text,
                     "the secure handshake failed (0x%x): its key is not the one in the client "
                     "file, or it is no busbar node",
                     (unsigned)detail);
        }
        s_link_down(self, index, BB_LINK_REFUSED, BB_ERR_IDENTITY, text);
        break;
    case BB_LINK_EVENT_NONE:
        break;
    default:
        BB_ASSERT(false);
    }
}

static bb_exchange_t *s_find(bb_link_t *link, uint64_t request_id)
{
    for (bb_exchange_t *at = link->sent.first; at; at = at->next) {
        if (at->request.request_id == request_id) {
            return at;
        }
    }
    return NULL;
}

static void s_on_answer(bb_io_t *self, uint32_t index, bb_link_frame_t *envelope,
                        bb_link_frame_t *payload)
{
    bb_link_t *link = self->links[index];
    bb_message_t reply;
    bb_fault_t fault;
    if (bb_message_decode(&reply, envelope->bytes, &fault) != BB_OK) {
        // Whose answer it would have been cannot be known; the request ends by its own time.
        bb_link_frame_free(envelope);
        bb_link_frame_free(payload);
        return;
    }
    bool is_unfit = reply.kind == BB_KIND_ERROR &&
                    (reply.error.code == BB_ERR_STOPPING || reply.error.code == BB_ERR_CLOCK_SKEW ||
                     reply.error.code == BB_ERR_FENCED);
    if (reply.kind == BB_KIND_ERROR && reply.error.code == BB_ERR_BUSY) {
        pthread_mutex_lock(&self->retry_mutex);
        bb_hedge_busy(&self->hedge, bb_io_now_ns());
        pthread_mutex_unlock(&self->retry_mutex);
    }
    bb_exchange_t *exchange = s_find(link, reply.request_id);
    // Who says hello may still be stuck with the work for which it was put last.
    if (is_unfit || !exchange || exchange->request.kind != BB_KIND_HELLO) {
        s_liveness(self, index, is_unfit ? BB_LIVENESS_STOPPING : BB_LIVENESS_ANSWERED);
    }
    if (reply.credit_bytes > 0) {
        // Of a late answer it is no longer known when its request was sent: it prolongs nothing.
        int64_t until_ns = 0;
        if (exchange) {
            bool is_first = exchange->request.kind == BB_KIND_HELLO;
            until_ns = exchange->sent_ns + (is_first ? BB_CREDIT_NS_FIRST : BB_CREDIT_NS);
        }
        bb_allowance_told(&link->allowance, until_ns, reply.credit_bytes);
        bb_room_line_freed(&self->room_line);
    }
    bool is_newer =
        self->view && reply.epoch > self->view->epoch && reply.kind != BB_KIND_HELLO_REPLY;
    if (!exchange) {
        bb_message_close(&reply); // late: its request was given up
        bb_link_frame_free(envelope);
        bb_link_frame_free(payload);
    } else {
        exchange->reply = reply;
        exchange->reply_envelope = *envelope;
        exchange->reply_payload = *payload;
        s_end(exchange, BB_OUTCOME_ANSWERED);
    }
    if (is_newer) {
        s_greet(self, index);
    }
}

static void s_receive(bb_io_t *self, uint32_t index)
{
    bb_link_t *link = self->links[index];
    bb_link_frame_t envelope, payload;
    // Answers first: a connection's end must not overtake what came before it.
    for (int i = 0; i < S_RECEIVE_BURST && bb_link_receive(link, &envelope, &payload); i++) {
        s_on_answer(self, index, &envelope, &payload);
    }
    int32_t detail;
    bb_link_event_t event;
    while ((event = bb_link_next_event(link, &detail)) != BB_LINK_EVENT_NONE) {
        s_on_event(self, index, event, detail);
    }
}

// ---- room --------------------------------------------------------------------------------------

bool bb_io_has_room(bb_io_t *self, uint32_t link, uint64_t bytes, bb_room_waiter_t *waiter)
{
    bool is_admitted = bb_allowance_admits(&self->links[link]->allowance, bb_io_now_ns(), bytes);
    return bb_room_line_take(&self->room_line, waiter, link, is_admitted);
}

void bb_io_look_for_room(bb_io_t *self)
{
    bb_room_line_freed(&self->room_line);
}

void bb_io_await_room_no_more(bb_io_t *self, bb_room_waiter_t *waiter)
{
    bb_room_line_leave(&self->room_line, waiter);
}

// ---- time ------------------------------------------------------------------------------------

void bb_io_timer_clear(bb_io_t *self, bb_io_timer_t *timer)
{
    if (!timer->is_armed) {
        return;
    }
    if (timer->previous) {
        timer->previous->next = timer->next;
    } else {
        self->timers = timer->next;
    }
    if (timer->next) {
        timer->next->previous = timer->previous;
    }
    timer->is_armed = false;
    timer->next = timer->previous = NULL;
}

void bb_io_timer_set(bb_io_t *self, bb_io_timer_t *timer, int64_t due_ns)
{
    timer->due_ns = due_ns;
    if (timer->is_armed) {
        return;
    }
    timer->is_armed = true;
    timer->previous = NULL;
    timer->next = self->timers;
    if (self->timers) {
        self->timers->previous = timer;
    }
    self->timers = timer;
}

static bb_exchange_t *s_first_late(const bb_exchange_list_t *list, int64_t now_ns)
{
    for (bb_exchange_t *at = list->first; at; at = at->next) {
        if (at->due_ns <= now_ns) {
            return at;
        }
    }
    return NULL;
}

static void s_expire(bb_io_t *self, int64_t now_ns)
{
    for (uint32_t i = 0; i < self->link_count; i++) {
        bb_link_t *link = self->links[i];
        bb_exchange_t *late;
        while ((late = s_first_late(&link->sent, now_ns)) != NULL) {
            s_liveness(self, i, BB_LIVENESS_TIMED_OUT);
            s_end(late, BB_OUTCOME_NO_ANSWER);
        }
        while ((late = s_first_late(&link->held, now_ns)) != NULL) {
            s_end(late, BB_OUTCOME_NOT_SENT);
        }
        if (link->greet_at_ns <= now_ns) {
            s_greet(self, i);
        }
    }
    for (;;) {
        bb_io_timer_t *timer = self->timers;
        while (timer && timer->due_ns > now_ns) {
            timer = timer->next;
        }
        if (!timer) {
            return;
        }
        bb_io_timer_clear(self, timer);
        timer->run(timer);
    }
}

static int64_t s_earliest(const bb_exchange_list_t *list, int64_t due_ns)
{
    for (const bb_exchange_t *at = list->first; at; at = at->next) {
        due_ns = BB_MIN(due_ns, at->due_ns);
    }
    return due_ns;
}

static int64_t s_next_due(const bb_io_t *self)
{
    int64_t due_ns = BB_NEVER_NS;
    for (uint32_t i = 0; i < self->link_count; i++) {
        const bb_link_t *link = self->links[i];
        due_ns = s_earliest(&link->sent, due_ns);
        due_ns = s_earliest(&link->held, due_ns);
        due_ns = BB_MIN(due_ns, link->greet_at_ns);
        if (link->liveness.state == BB_RANK_SUSPECT) {
            due_ns = BB_MIN(due_ns, link->liveness.suspect_until_ns);
        }
    }
    for (const bb_io_timer_t *timer = self->timers; timer; timer = timer->next) {
        due_ns = BB_MIN(due_ns, timer->due_ns);
    }
    return due_ns;
}

// ---- the thread ------------------------------------------------------------------------------

static bool s_run_tasks(bb_io_t *self)
{
    pthread_mutex_lock(&self->mutex);
    bb_io_task_t *task = self->task_first;
    self->task_first = self->task_last = NULL;
    bool must_stop = self->must_stop;
    pthread_mutex_unlock(&self->mutex);
    while (task) {
        bb_io_task_t *next = task->next; // run may free it
        task->run(task);
        task = next;
    }
    return !must_stop;
}

static void s_wait(bb_io_t *self)
{
    int count = 0;
    self->items[count++] = (zmq_pollitem_t){.fd = self->wake_fd, .events = ZMQ_POLLIN};
    uint32_t link_count = self->link_count;
    for (uint32_t i = 0; i < link_count; i++) {
        self->items[count++] =
            (zmq_pollitem_t){.socket = self->links[i]->dealer, .events = ZMQ_POLLIN};
        self->items[count++] =
            (zmq_pollitem_t){.socket = self->links[i]->monitor, .events = ZMQ_POLLIN};
    }
    int64_t due_ns = s_next_due(self);
    long timeout_ms = -1;
    if (due_ns != BB_NEVER_NS) {
        int64_t left_ns = due_ns - bb_io_now_ns();
        timeout_ms =
            left_ns <= 0 ? 0 : (long)BB_MIN((left_ns + BB_NS_PER_MS - 1) / BB_NS_PER_MS, 60000);
    }
    if (zmq_poll(self->items, count, timeout_ms) <= 0) {
        return;
    }
    if (self->items[0].revents) {
        uint64_t count_woken;
        if (read(self->wake_fd, &count_woken, sizeof count_woken) < 0) {
            BB_ASSERT(errno == EAGAIN || errno == EINTR);
        }
    }
    for (uint32_t i = 0; i < link_count; i++) {
        if (self->items[1 + 2 * i].revents || self->items[2 + 2 * i].revents) {
            s_receive(self, i);
        }
    }
}

void *bb_io_main(void *context)
{
    bb_io_t *self = context;
    while (s_run_tasks(self)) {
        int64_t now_ns = bb_io_now_ns();
        s_expire(self, now_ns);
        s_ask_routes(self, now_ns);
        s_publish_ranks(self, now_ns);
        bb_room_line_round(&self->room_line);
        s_wait(self);
    }
    for (uint32_t i = 0; i < self->link_count; i++) {
        s_end_all(&self->links[i]->sent, BB_OUTCOME_CANCELLED);
        bb_link_close(self->links[i]);
    }
    return NULL;
}
