// SPDX-License-Identifier: Apache-2.0
// Opening, closing, faults, and the two ways to ask nodes that the other files use.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/busbar_internal.h"

static_assert(sizeof(((busbar_fault_t *)0)->text) == sizeof(((bb_fault_t *)0)->text),
              "sentences are copied whole");
static_assert(BUSBAR_FLOAT64 == (int)BB_TYPE_FLOAT64 && BUSBAR_STATE == (int)BB_TYPE_STATE,
              "public types are those of the wire");
static_assert(BUSBAR_ONE == (int)BB_LEVEL_ONE && BUSBAR_ALL == (int)BB_LEVEL_ALL &&
                  BUSBAR_LOCAL_QUORUM == (int)BB_LEVEL_LOCAL_QUORUM &&
                  BUSBAR_QUORUM == (int)BB_LEVEL_QUORUM &&
                  BUSBAR_EACH_QUORUM == (int)BB_LEVEL_EACH_QUORUM,
              "public levels are those of the wire");
static_assert(BUSBAR_RETRY_UNKNOWN == (int)BB_RETRY_UNKNOWN &&
                  BUSBAR_RETRY_ELSEWHERE == (int)BB_RETRY_ELSEWHERE,
              "public retry classes are those of the error list");

const char *busbar_version(void)
{
    return BB_VERSION;
}

const char *busbar_status_name(busbar_status_t status)
{
    return bb_error_name((bb_error_t)status);
}

const char *busbar_status_message(busbar_status_t status)
{
    return bb_error_message((bb_error_t)status);
}

busbar_retry_t busbar_status_retry(busbar_status_t status)
{
    return (busbar_retry_t)bb_error_retry((bb_error_t)status);
}

busbar_status_t busbar_fault_of(busbar_fault_t *to, const bb_fault_t *from, bb_error_t error)
{
    if (to) {
        to->status = (busbar_status_t)error;
        snprintf(to->text, sizeof to->text, "%s", from->text);
    }
    return (busbar_status_t)error;
}

busbar_status_t busbar_fault_say(busbar_fault_t *to, bb_error_t error, const char *format, ...)
{
    if (to) {
        to->status = (busbar_status_t)error;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(to->text, sizeof to->text, format, arguments);
        va_end(arguments);
    }
    return (busbar_status_t)error;
}

int64_t busbar_deadline_ns(const busbar_client_t *client, int64_t timeout_ns)
{
    int64_t wait_ns = timeout_ns > 0 ? timeout_ns : client->timeout_ns;
    return bb_io_now_ns() + BB_MIN(wait_ns, BB_DEADLINE_NS_MAX);
}

busbar_status_t busbar_open(const char *client_file, const busbar_options_t *options,
                            busbar_client_t **client, busbar_fault_t *fault)
{
    if (!client_file || !client) {
        return busbar_fault_say(fault, BB_ERR_USAGE,
                                "busbar_open needs a file and a place for "
                                "the client");
    }
    busbar_options_t defaults = {0};
    const busbar_options_t *chosen = options ? options : &defaults;
    if (chosen->timeout_ns < 0 || chosen->timeout_ns > BB_DEADLINE_NS_MAX) {
        return busbar_fault_say(fault, BB_ERR_USAGE, "a timeout is at most one hour");
    }
    bb_fault_t why = {0};
    bb_client_file_t *file = NULL;
    bb_error_t error = bb_client_file_load(client_file, &file, &why);
    if (error != BB_OK) {
        return busbar_fault_of(fault, &why, error);
    }
    busbar_client_t *self = bb_alloc_zero(1, sizeof *self);
    self->timeout_ns = chosen->timeout_ns ? chosen->timeout_ns : BB_DEADLINE_NS_DEFAULT;
    snprintf(self->file_path, sizeof self->file_path, "%s", client_file);
    bb_io_options_t io_options = {.file = file,
                                  .node_id = chosen->node_id,
                                  .client_name = chosen->name,
                                  .no_hedges = chosen->no_hedges};
    error = bb_io_new(&io_options, &self->io, &why);
    bb_client_file_destroy(&file);
    if (error != BB_OK) {
        free(self);
        return busbar_fault_of(fault, &why, error);
    }
    *client = self;
    return BUSBAR_OK;
}

busbar_status_t busbar_wait_ready(busbar_client_t *client, int64_t timeout_ns,
                                  busbar_fault_t *fault)
{
    if (!client) {
        return busbar_fault_say(fault, BB_ERR_USAGE, "busbar_wait_ready needs a client");
    }
    bb_fault_t why = {0};
    bb_error_t error = bb_io_wait_ready(client->io, busbar_deadline_ns(client, timeout_ns), &why);
    return error == BB_OK ? BUSBAR_OK : busbar_fault_of(fault, &why, error);
}

void busbar_client_stats(busbar_client_t *client, busbar_client_stats_t *stats)
{
    if (client && stats) {
        bb_io_hedge_counts(client->io, &stats->small_reads, &stats->hedges, &stats->hedges_won);
    }
}

void busbar_close(busbar_client_t **client)
{
    if (!client || !*client) {
        return;
    }
    busbar_client_t *self = *client;
    // Closing under a writer would leave it with a thread that is gone.
    BB_ASSERT(atomic_load(&self->users) == 0);
    bb_io_destroy(&self->io);
    free(self);
    *client = NULL;
}

// ---- gathering -------------------------------------------------------------------------------

void busbar_gather_init(busbar_gather_t *self, bb_io_t *io)
{
    *self = (busbar_gather_t){.io = io};
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&self->mutex, NULL);
}

void busbar_gather_free(busbar_gather_t *self)
{
    BB_ASSERT(self->under_way == 0);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
}

static void s_on_done(bb_exchange_t *exchange)
{
    busbar_gather_t *self = exchange->owner;
    pthread_mutex_lock(&self->mutex);
    exchange->next = NULL;
    if (self->done_last) {
        self->done_last->next = exchange;
    } else {
        self->done_first = exchange;
    }
    self->done_last = exchange;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

void busbar_gather_submit(busbar_gather_t *self, bb_exchange_t *exchange)
{
    exchange->owner = self;
    exchange->done = s_on_done;
    self->under_way++;
    bb_io_submit(self->io, exchange);
}

bb_exchange_t *busbar_gather_next(busbar_gather_t *self, int64_t deadline_ns)
{
    if (self->under_way == 0) {
        return NULL;
    }
    struct timespec until = {deadline_ns / BB_NS_PER_S, deadline_ns % BB_NS_PER_S};
    pthread_mutex_lock(&self->mutex);
    int late = 0;
    while (!self->done_first && late == 0) {
        late = pthread_cond_timedwait(&self->changed, &self->mutex, &until);
    }
    bb_exchange_t *exchange = self->done_first;
    if (exchange) {
        self->done_first = exchange->next;
        self->done_last = self->done_first ? self->done_last : NULL;
        exchange->next = NULL;
        self->under_way--;
    }
    pthread_mutex_unlock(&self->mutex);
    return exchange;
}

static void s_run_abort(void *context)
{
    bb_exchange_t *exchange = context;
    bb_io_abort(exchange->io, exchange);
}

void busbar_gather_drop(busbar_gather_t *self, bb_exchange_t *exchange)
{
    BB_ASSERT(self->under_way > 0);
    // What was submitted before this call has begun when it runs, so it is done afterwards.
    bb_io_call(self->io, s_run_abort, exchange);
    pthread_mutex_lock(&self->mutex);
    bb_exchange_t *before = NULL, *at = self->done_first;
    while (at && at != exchange) {
        before = at;
        at = at->next;
    }
    BB_ASSERT(at == exchange);
    if (before) {
        before->next = at->next;
    } else {
        self->done_first = at->next;
    }
    self->done_last = at->next ? self->done_last : before;
    at->next = NULL;
    self->under_way--;
    pthread_mutex_unlock(&self->mutex);
    bb_exchange_clear(exchange);
}

busbar_poll_t *busbar_poll_nodes(busbar_client_t *client, const bb_message_t *request,
                                 int64_t deadline_ns, uint32_t *count)
{
    bb_io_t *io = client->io;
    *count = bb_io_link_count(io);
    busbar_poll_t *polls = bb_alloc_zero(*count, sizeof *polls);
    busbar_gather_t gather;
    busbar_gather_init(&gather, io);
    for (uint32_t i = 0; i < *count; i++) {
        polls[i].link = i;
        polls[i].exchange = (bb_exchange_t){
            .request = *request, .link = i, .due_ns = deadline_ns, .waits_for_link = true};
        busbar_gather_submit(&gather, &polls[i].exchange);
    }
    // Each exchange ends by its own deadline on the io thread; the slack is for that thread's turn.
    while (gather.under_way > 0) {
        bb_ignore(busbar_gather_next(&gather, deadline_ns + BB_NS_PER_S), "kept in polls");
    }
    busbar_gather_free(&gather);
    for (uint32_t i = 0; i < *count; i++) {
        polls[i].state = bb_io_describe(io, i, polls[i].id, sizeof polls[i].id, polls[i].dc,
                                        sizeof polls[i].dc, &polls[i].why);
    }
    return polls;
}

void busbar_poll_free(busbar_poll_t *polls, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bb_exchange_clear(&polls[i].exchange);
    }
    free(polls);
}
