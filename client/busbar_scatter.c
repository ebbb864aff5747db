// SPDX-License-Identifier: Apache-2.0
#include "client/busbar_scatter.h"

#include "client/bb_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Waiting between rounds over all replicas before a partition counts as missing: enough for the
// others to notice a node that died and for a restarted one to catch up.
#define S_PAUSE_NS_MAX          (3 * BB_NS_PER_S)
#define S_PARTS_PER_NODE        2u
#define S_RESTARTS_MAX          32 // of tasks whose cursor was refused; more is a node gone mad
#define S_SHARED_PARTITIONS_MIN 64u

typedef enum {
    S_TASK_ASKED,   // a request is under way
    S_TASK_WAITING, // until wake_ns
    S_TASK_PAUSED,  // the rowset is full
    S_TASK_DONE,
} s_task_state_t;

typedef struct {
    bb_exchange_t exchange;
    bb_exchange_t hedge; // the same request to a second node
    uint32_t id;
    s_task_state_t state;
    bool is_first_out, is_hedge_out; // which of them are under way; ASKED: at least one
    uint32_t hedge_kind;
    int64_t asked_ns, hedge_ns; // when the first one left, and when a second one is due
    uint32_t node;              // in the view, of the last request
    uint32_t hedge_node;
    bb_attempt_t attempt; // of the current page; `tried` by node
    int64_t wake_ns;
    uint32_t *partitions; // ascending, owned
    uint32_t partition_count;
    bool *is_removed; // asked elsewhere: rows are dropped and reports ignored
    uint32_t removed_count;
    bb_slice_t *batteries; // of these partitions, owned table
    uint32_t battery_count;
    uint8_t cursor[BB_CURSOR_BYTES_MAX];
    size_t cursor_length;
    uint8_t *session; // the token of the request under way, owned
    size_t session_length;
} s_task_t;

struct busbar_scatter {
    busbar_client_t *client;
    const bb_view_t *view;
    busbar_scatter_options_t options;
    bb_rowset_t *rowset;
    busbar_missing_t *missing;
    busbar_gather_t gather;
    s_task_t **tasks;
    uint32_t task_count, task_capacity, next_id;
    uint32_t *partition_of_battery; // options.battery_count
    bb_error_t error;
    char text[512];
    uint32_t restart_count;
};

static void s_go(busbar_scatter_t *self, s_task_t *task);

// ---- missing -----------------------------------------------------------------------------------

void busbar_missing_init(busbar_missing_t *self, uint32_t partition_count)
{
    *self = (busbar_missing_t){.partition_count = partition_count,
                               .errors = bb_alloc_zero(partition_count, sizeof *self->errors)};
}

void busbar_missing_free(busbar_missing_t *self)
{
    free(self->errors);
    *self = (busbar_missing_t){0};
}

void busbar_missing_add(busbar_missing_t *self, uint32_t partition, bb_error_t error)
{
    BB_ASSERT(partition < self->partition_count);
    BB_ASSERT(error != BB_OK);
    self->count += self->errors[partition] == BB_OK;
    self->errors[partition] = error;
}

// ---- planning ----------------------------------------------------------------------------------

static s_task_t *s_new_task(busbar_scatter_t *self, uint32_t partition_count)
{
    s_task_t *task = bb_alloc_zero(1, sizeof *task);
    task->id = self->next_id++;
    task->partitions = bb_alloc(partition_count * sizeof *task->partitions);
    task->is_removed = bb_alloc_zero(partition_count, sizeof *task->is_removed);
    task->node = BB_LINK_NONE;
    task->state = S_TASK_WAITING;
    bb_attempt_begin(&task->attempt, bb_io_now_ns(), self->options.timeout_ns, S_PAUSE_NS_MAX);
    if (self->task_count == self->task_capacity) {
        self->task_capacity = self->task_capacity ? self->task_capacity * 2 : 16;
        self->tasks = bb_realloc(self->tasks, self->task_capacity * sizeof *self->tasks);
    }
    self->tasks[self->task_count++] = task;
    return task;
}

static bool s_has_partition(const s_task_t *task, uint32_t partition, uint32_t *index)
{
    uint32_t low = 0, high = task->partition_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (task->partitions[middle] < partition) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *index = low;
    return low < task->partition_count && task->partitions[low] == partition;
}

static void s_fill_batteries(busbar_scatter_t *self, s_task_t *task)
{
    if (self->options.battery_count == 0) {
        return;
    }
    task->batteries = bb_alloc(self->options.battery_count * sizeof *task->batteries);
    for (uint32_t i = 0; i < self->options.battery_count; i++) {
        uint32_t index;
        if (s_has_partition(task, self->partition_of_battery[i], &index)) {
            task->batteries[task->battery_count++] = self->options.batteries[i];
        }
    }
}

static bb_view_choice_t s_choice(busbar_scatter_t *self, uint8_t *ranks, const bb_node_set_t *tried)
{
    bb_io_t *io = self->client->io;
    bb_io_ranks(io, self->view, ranks);
    return (bb_view_choice_t){
        .ranks = ranks,
        .preferred_dc = bb_io_preferred_dc(io),
        .tried = tried,
        .only_node = bb_io_only_node(io, self->view),
        .salt = bb_io_salt(io),
    };
}

// Into how many requests the partitions of one node are cut, so that its scan threads (two by
// default) share the work: only where there is work, in a question to a whole fleet; a group over
// it the node itself shares out. Partitions are dealt in turn, as a node with two stores deals
// them.
static uint32_t s_part_count(const busbar_scatter_t *self, uint32_t partition_count)
{
    bool is_fleet = self->options.battery_count == 0 && !self->options.query.group_by_none &&
                    self->options.query.mode != BB_QUERY_BATTERIES;
    return is_fleet && partition_count >= S_SHARED_PARTITIONS_MIN ? S_PARTS_PER_NODE : 1;
}

// Makes the tasks of one node for these partitions; nodes[i] is whom partitions[i] is asked of.
static void s_plan_node(busbar_scatter_t *self, const uint32_t *partitions, const uint32_t *nodes,
                        uint32_t count, uint32_t node, const bb_attempt_t *attempt)
{
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < count; i++) {
        chosen += nodes[i] == node;
    }
    uint32_t part_count = node == BB_LINK_NONE ? 1 : s_part_count(self, chosen);
    for (uint32_t part = 0; part < part_count && chosen > 0; part++) {
        s_task_t *task = NULL;
        for (uint32_t i = 0; i < count; i++) {
            if (nodes[i] == node && partitions[i] % part_count == part) {
                task = task ? task : s_new_task(self, chosen);
                task->partitions[task->partition_count++] = partitions[i];
            }
        }
        if (task) {
            s_fill_batteries(self, task);
            task->node = node;
            if (attempt) {
                task->attempt = *attempt;
            }
        }
    }
}

// Makes the tasks for these partitions (ascending), node by node, and starts them. Those without a
// node left share a task that waits for its next round.
static void s_plan(busbar_scatter_t *self, const uint32_t *partitions, uint32_t count,
                   const bb_attempt_t *attempt)
{
    uint8_t ranks[BB_NODES_MAX];
    bb_view_choice_t choice = s_choice(self, ranks, attempt ? &attempt->tried : NULL);
    uint32_t *nodes = bb_alloc(BB_MAX(count, 1) * sizeof *nodes);
    for (uint32_t i = 0; i < count; i++) {
        nodes[i] = bb_view_choose(self->view, &choice, partitions[i]);
    }
    uint32_t first_task = self->task_count;
    for (uint32_t node = 0; node <= self->view->node_count; node++) {
        uint32_t wanted = node == self->view->node_count ? BB_LINK_NONE : node;
        s_plan_node(self, partitions, nodes, count, wanted, attempt);
    }
    free(nodes);
    uint32_t end_task = self->task_count; // starting one may make more
    for (uint32_t i = first_task; i < end_task; i++) {
        s_go(self, self->tasks[i]);
    }
}

// ---- requests ----------------------------------------------------------------------------------

static void s_give_up(busbar_scatter_t *self, s_task_t *task, bb_error_t error)
{
    task->state = S_TASK_DONE;
    if (bb_error_retry(error) == BB_RETRY_NEVER) {
        self->error = error;
        return;
    }
    // Pages of a partition that could not be read to its end are not an answer for it.
    bb_rowset_drop(self->rowset, task->id, NULL, NULL);
    for (uint32_t i = 0; i < task->partition_count; i++) {
        if (!task->is_removed[i]) {
            busbar_missing_add(self->missing, task->partitions[i], error);
        }
    }
}

static void s_move(busbar_scatter_t *self, s_task_t *task, bb_attempt_step_t step)
{
    switch (step.move) {
    case BB_ATTEMPT_SEND:
        task->node = BB_LINK_NONE;
        s_go(self, task);
        break;
    case BB_ATTEMPT_WAIT:
        task->node = BB_LINK_NONE;
        task->state = S_TASK_WAITING;
        task->wake_ns = step.wake_ns;
        break;
    case BB_ATTEMPT_GIVE_UP:
        s_give_up(self, task, step.error);
        break;
    default:
        BB_ASSERT(false);
    }
}

static void s_step(busbar_scatter_t *self, s_task_t *task, bb_outcome_t outcome, uint32_t node,
                   bb_error_t error, uint32_t retry_after_ms)
{
    bb_attempt_step_t step =
        bb_io_attempt_step(self->client->io, &task->attempt, outcome, node, error, retry_after_ms);
    s_move(self, task, step);
}

static void s_fill_request(const busbar_scatter_t *self, const s_task_t *task,
                           bb_message_t *request)
{
    request->kind = BB_KIND_QUERY;
    request->query = self->options.query;
    request->query.partitions = task->partitions;
    request->query.partition_count = task->partition_count;
    request->query.batteries = task->batteries;
    request->query.battery_count = task->battery_count;
    request->query.cursor = bb_slice(task->cursor, task->cursor_length);
    if (self->options.session) {
        request->query.session = bb_slice(task->session, task->session_length);
        request->query.wants_session = true;
    }
}

static void s_ask(busbar_scatter_t *self, s_task_t *task)
{
    bb_attempt_step_t step = bb_io_attempt_send(self->client->io, &task->attempt);
    if (step.move != BB_ATTEMPT_SEND) {
        s_move(self, task, step);
        return;
    }
    int64_t now_ns = bb_io_now_ns();
    task->state = S_TASK_ASKED;
    task->exchange = (bb_exchange_t){
        .link = self->view->nodes[task->node].link,
        .due_ns = bb_attempt_due_ns(&task->attempt, now_ns),
        .waits_for_link = true,
    };
    if (self->options.session) {
        free(task->session); // of a request that has ended
        bb_session_encode(self->options.session, task->partitions, task->partition_count,
                          &task->session, &task->session_length);
    }
    s_fill_request(self, task, &task->exchange.request);
    task->asked_ns = now_ns;
    task->hedge_kind = BB_HEDGE_KIND_NONE;
    task->hedge_ns =
        task->attempt.is_repetition
            ? BB_NEVER_NS
            : bb_io_hedge_begin(self->client->io, &task->exchange.request.query, &task->hedge_kind);
    task->is_first_out = true;
    busbar_gather_submit(&self->gather, &task->exchange);
}

// The first node takes long: asks the next best of the same data centre, if that one is well.
static void s_hedge(busbar_scatter_t *self, s_task_t *task)
{
    task->hedge_ns = BB_NEVER_NS;
    uint8_t ranks[BB_NODES_MAX];
    bb_node_set_t tried = task->attempt.tried;
    bb_node_set_add(&tried, task->node);
    bb_view_choice_t choice = s_choice(self, ranks, &tried);
    const bb_view_node_t *nodes = self->view->nodes;
    uint32_t node =
        bb_view_choose_common(self->view, &choice, task->partitions, task->partition_count);
    if (node == BB_LINK_NONE || nodes[node].link == BB_LINK_NONE || ranks[node] != BB_RANK_GOOD ||
        strcmp(nodes[node].dc, nodes[task->node].dc) != 0 || !bb_io_hedge_take(self->client->io)) {
        return;
    }
    task->hedge = (bb_exchange_t){.link = nodes[node].link,
                                  .due_ns = bb_attempt_due_ns(&task->attempt, task->asked_ns)};
    s_fill_request(self, task, &task->hedge.request);
    task->hedge.request.query.is_hedge = true;
    task->hedge_node = node;
    task->is_hedge_out = true;
    busbar_gather_submit(&self->gather, &task->hedge);
}

// Takes the task back and asks its partitions one group per node.
static void s_split(busbar_scatter_t *self, s_task_t *task)
{
    bb_rowset_drop(self->rowset, task->id, NULL, NULL);
    uint32_t *left = bb_alloc(task->partition_count * sizeof *left);
    uint32_t count = 0;
    for (uint32_t i = 0; i < task->partition_count; i++) {
        if (!task->is_removed[i]) {
            left[count++] = task->partitions[i];
        }
    }
    bb_attempt_t attempt = task->attempt;
    task->state = S_TASK_DONE;
    s_plan(self, left, count, &attempt);
    free(left);
}

// Sends the task's next request to its node or, without one, to the best that is left.
static void s_go(busbar_scatter_t *self, s_task_t *task)
{
    if (self->error != BB_OK) {
        task->state = S_TASK_DONE;
        return;
    }
    uint8_t ranks[BB_NODES_MAX];
    bb_view_choice_t choice = s_choice(self, ranks, &task->attempt.tried);
    if (task->node == BB_LINK_NONE) {
        task->node =
            bb_view_choose_common(self->view, &choice, task->partitions, task->partition_count);
    }
    bool has_link =
        task->node != BB_LINK_NONE && self->view->nodes[task->node].link != BB_LINK_NONE;
    if (has_link) {
        s_ask(self, task);
        return;
    }
    if (task->node != BB_LINK_NONE) {
        s_step(self, task, BB_OUTCOME_NOT_SENT, task->node, BB_OK, 0);
        return;
    }
    bool has_other = false;
    for (uint32_t i = 0; i < task->partition_count && !has_other; i++) {
        has_other = bb_view_choose(self->view, &choice, task->partitions[i]) != BB_LINK_NONE;
    }
    if (has_other && task->partition_count > 1) {
        s_split(self, task);
    } else {
        s_step(self, task, BB_OUTCOME_NO_NODE, 0, BB_OK, 0);
    }
}

// ---- answers -----------------------------------------------------------------------------------

static bool s_is_dropped(void *context, bb_slice_t battery)
{
    void *const *both = context;
    const busbar_scatter_t *self = both[0];
    const s_task_t *task = both[1];
    uint32_t index;
    uint32_t partition = bb_view_partition_of(self->view, battery);
    return !s_has_partition(task, partition, &index) || task->is_removed[index];
}

static void s_drop_removed(busbar_scatter_t *self, s_task_t *task)
{
    if (task->removed_count > 0) {
        void *both[2] = {self, task};
        bb_rowset_drop(self->rowset, task->id, s_is_dropped, both);
    }
}

// Partitions that the answer says are missing and that are not asked elsewhere already.
static uint32_t s_newly_missing(s_task_t *task, const bb_result_t *result, bool *is_missing,
                                bb_error_t *error)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < result->missing_count; i++) {
        uint32_t index;
        if (s_has_partition(task, result->missing[i].partition, &index) &&
            !task->is_removed[index] && !is_missing[index]) {
            is_missing[index] = true;
            *error = result->missing[i].error;
            count++;
        }
    }
    // Whatever the reason, it is one of that node: others may do better.
    if (count > 0 && (*error == BB_OK || bb_error_retry(*error) == BB_RETRY_NEVER)) {
        *error = BB_ERR_UNAVAILABLE;
    }
    return count;
}

static void s_ask_elsewhere(busbar_scatter_t *self, s_task_t *task, const bool *is_missing,
                            uint32_t count, bb_error_t error)
{
    uint32_t *partitions = bb_alloc(count * sizeof *partitions);
    uint32_t used = 0;
    for (uint32_t i = 0; i < task->partition_count; i++) {
        if (is_missing[i]) {
            partitions[used++] = task->partitions[i];
            task->is_removed[i] = true;
            task->removed_count++;
        }
    }
    bb_attempt_t attempt = task->attempt;
    attempt.last_error = error;
    attempt.is_failover = bb_attempt_is_failover(error);
    bb_node_set_add(&attempt.tried, task->node);
    s_plan(self, partitions, used, &attempt);
    free(partitions);
}

// An aggregate over all batteries cannot be taken apart again, and a cursor over several stores is
// nothing for a node with another number of them: the partitions that are left are asked anew.
static void s_restart_rest(busbar_scatter_t *self, s_task_t *task)
{
    uint32_t *left = bb_alloc(task->partition_count * sizeof *left);
    uint32_t count = 0;
    for (uint32_t i = 0; i < task->partition_count; i++) {
        if (!task->is_removed[i]) {
            left[count++] = task->partitions[i];
        }
    }
    bb_rowset_drop(self->rowset, task->id, NULL, NULL);
    task->state = S_TASK_DONE;
    s_plan(self, left, count, NULL);
    free(left);
}

static void s_next_page(s_task_t *task, bb_slice_t cursor)
{
    if (cursor.length == 0 || task->removed_count == task->partition_count) {
        task->state = S_TASK_DONE;
        return;
    }
    memcpy(task->cursor, cursor.data, cursor.length);
    task->cursor_length = cursor.length;
    task->state = S_TASK_PAUSED; // its time begins when the rowset has room for it
}

static void s_free_frame(void *memory)
{
    bb_link_frame_t *frame = memory;
    bb_link_frame_free(frame);
    free(frame);
}

// Moves the page of the answer into the rowset; false when it does not verify.
static bool s_take_page(busbar_scatter_t *self, s_task_t *task, bb_exchange_t *exchange)
{
    if (exchange->reply_payload.bytes.length == 0) {
        return false;
    }
    bb_page_t page;
    bb_fault_t fault;
    if (bb_page_open(&page, exchange->reply_payload.bytes, &fault) != BB_OK) {
        return false;
    }
    bb_link_frame_t *frame = bb_alloc(sizeof *frame);
    *frame = exchange->reply_payload;
    // Executors are merged in the order of their partitions, whoever they are.
    if (bb_rowset_add(self->rowset, task->id, task->partitions[0], &page, frame,
                      frame->bytes.length, s_free_frame) != BB_OK) {
        bb_page_close(&page);
        free(frame);
        return false;
    }
    exchange->reply_payload = (bb_link_frame_t){0};
    return true;
}

static void s_on_result(busbar_scatter_t *self, s_task_t *task, bb_exchange_t *exchange)
{
    const bb_result_t *result = &exchange->reply.result;
    bool *is_missing = bb_alloc_zero(task->partition_count, sizeof *is_missing);
    bb_error_t error = BB_OK;
    uint32_t count = s_newly_missing(task, result, is_missing, &error);
    if (count > 0 && count == task->partition_count - task->removed_count) {
        snprintf(self->missing->detail, sizeof self->missing->detail, "%s at node %s",
                 bb_error_message(error), self->view->nodes[task->node].id);
        s_step(self, task, BB_OUTCOME_ANSWERED, task->node, error, 0); // this page elsewhere
    } else if (result->cursor.length > BB_CURSOR_BYTES_MAX || !s_take_page(self, task, exchange)) {
        s_step(self, task, BB_OUTCOME_NO_ANSWER, task->node, BB_OK, 0);
    } else {
        bb_io_attempt_won(self->client->io, &task->attempt);
        self->missing->was_answered = true;
        if (self->options.session) {
            bb_session_note(self->options.session, exchange->reply.result.session);
        }
        if (count > 0) {
            s_ask_elsewhere(self, task, is_missing, count, error);
        }
        if (count > 0 && self->options.query.group_by_none) {
            s_restart_rest(self, task);
        } else {
            s_drop_removed(self, task);
            s_next_page(task, result->cursor);
        }
    }
    free(is_missing);
}

static void s_on_exchange(busbar_scatter_t *self, s_task_t *task, bb_exchange_t *exchange)
{
    const char *id = self->view->nodes[task->node].id;
    if (exchange->outcome == BB_OUTCOME_NOT_SENT) {
        bb_io_attempt_unsend(self->client->io, &task->attempt);
    }
    if (exchange->outcome != BB_OUTCOME_ANSWERED) {
        s_step(self, task, exchange->outcome, task->node, BB_OK, 0);
        return;
    }
    bb_error_t error = bb_exchange_error(exchange);
    if (error != BB_OK) {
        bb_slice_t detail = exchange->reply.error.detail;
        snprintf(self->text, sizeof self->text, "node %s: %s: %.*s", id, bb_error_message(error),
                 (int)detail.length, (const char *)detail.data);
        snprintf(self->missing->detail, sizeof self->missing->detail, "%.255s", self->text);
        if (error == BB_ERR_CURSOR && self->restart_count++ < S_RESTARTS_MAX) {
            s_restart_rest(self, task);
            return;
        }
        s_step(self, task, BB_OUTCOME_ANSWERED, task->node, error,
               bb_exchange_retry_after_ms(exchange));
    } else if (exchange->reply.kind == BB_KIND_RESULT) {
        s_on_result(self, task, exchange);
    } else {
        s_step(self, task, BB_OUTCOME_NO_ANSWER, task->node, BB_OK, 0);
    }
}

static s_task_t *s_task_of(const busbar_scatter_t *self, const bb_exchange_t *exchange)
{
    for (uint32_t i = 0; i < self->task_count; i++) {
        if (&self->tasks[i]->exchange == exchange || &self->tasks[i]->hedge == exchange) {
            return self->tasks[i];
        }
    }
    BB_ASSERT(!"an exchange of no task");
    return NULL;
}

// Nothing is missing, so nothing that another node may say is better.
static bool s_is_whole(const bb_exchange_t *exchange)
{
    return exchange->outcome == BB_OUTCOME_ANSWERED && exchange->reply.kind == BB_KIND_RESULT &&
           exchange->reply.result.missing_count == 0;
}

// How long the first request took, or at least took, if that says anything of the node.
static void s_learn(busbar_scatter_t *self, s_task_t *task, const bb_exchange_t *ended,
                    bool has_won)
{
    bool is_silent = ended->outcome == BB_OUTCOME_NO_ANSWER;
    if (task->hedge_kind != BB_HEDGE_KIND_NONE && (s_is_whole(ended) || is_silent)) {
        bb_io_hedge_end(self->client->io, task->hedge_kind, bb_io_now_ns() - task->asked_ns,
                        has_won);
        task->hedge_kind = BB_HEDGE_KIND_NONE;
    }
}

// One of the two ended: the first whole answer counts, and without one the end of the last of them.
static void s_on_end(busbar_scatter_t *self, bb_exchange_t *exchange)
{
    s_task_t *task = s_task_of(self, exchange);
    bool is_hedge = exchange == &task->hedge;
    BB_ASSERT(is_hedge ? task->is_hedge_out : task->is_first_out);
    bool is_other_out = is_hedge ? task->is_first_out : task->is_hedge_out;
    *(is_hedge ? &task->is_hedge_out : &task->is_first_out) = false;
    if (is_hedge && exchange->outcome == BB_OUTCOME_NOT_SENT) {
        bb_io_hedge_untake(self->client->io);
    }
    if (is_other_out && !s_is_whole(exchange)) {
        bb_node_set_add(&task->attempt.tried, is_hedge ? task->hedge_node : task->node);
        bb_exchange_clear(exchange);
        return;
    }
    s_learn(self, task, exchange, is_hedge && s_is_whole(exchange));
    if (is_other_out) {
        busbar_gather_drop(&self->gather, is_hedge ? &task->exchange : &task->hedge);
        task->is_first_out = task->is_hedge_out = false;
    }
    task->node = is_hedge ? task->hedge_node : task->node;
    task->hedge_ns = BB_NEVER_NS;
    if (is_hedge && exchange->outcome == BB_OUTCOME_NOT_SENT) { // the first one was, and has failed
        s_step(self, task, BB_OUTCOME_NOT_SENT, task->node, BB_OK, 0);
        return;
    }
    // What is done about it may start the task's next exchange in the same place.
    bb_exchange_t answer = *exchange;
    s_on_exchange(self, task, &answer);
    bb_exchange_clear(&answer);
}

// ---- turns -------------------------------------------------------------------------------------

// Starts what may go on; the time of the next one that waits.
static int64_t s_start_due(busbar_scatter_t *self)
{
    int64_t now_ns = bb_io_now_ns();
    int64_t next_ns = BB_NEVER_NS;
    for (uint32_t i = 0; i < self->task_count; i++) {
        s_task_t *task = self->tasks[i];
        bool is_full = bb_rowset_bytes(self->rowset) >= self->options.bytes_held_max;
        if (task->state == S_TASK_PAUSED && !is_full) {
            bb_attempt_begin(&task->attempt, now_ns, self->options.timeout_ns, S_PAUSE_NS_MAX);
            s_go(self, task);
        } else if (task->state == S_TASK_WAITING && task->wake_ns <= now_ns) {
            s_go(self, task);
        } else if (task->state == S_TASK_ASKED && task->hedge_ns <= now_ns) {
            s_hedge(self, task);
        }
    }
    for (uint32_t i = 0; i < self->task_count; i++) {
        if (self->tasks[i]->state == S_TASK_WAITING) {
            next_ns = BB_MIN(next_ns, self->tasks[i]->wake_ns);
        } else if (self->tasks[i]->state == S_TASK_ASKED) {
            next_ns = BB_MIN(next_ns, self->tasks[i]->hedge_ns);
        }
    }
    return next_ns;
}

bool busbar_scatter_turn(busbar_scatter_t *self)
{
    int64_t next_ns = s_start_due(self);
    if (self->error != BB_OK || (self->gather.under_way == 0 && next_ns == BB_NEVER_NS)) {
        return false;
    }
    int64_t limit_ns = bb_io_now_ns() + BB_DEADLINE_NS_MAX;
    if (self->gather.under_way == 0) {
        int64_t left_ns = BB_MAX(0, next_ns - bb_io_now_ns());
        struct timespec pause = {left_ns / BB_NS_PER_S, left_ns % BB_NS_PER_S};
        nanosleep(&pause, NULL);
        return true;
    }
    bb_exchange_t *exchange = busbar_gather_next(&self->gather, BB_MIN(next_ns, limit_ns));
    if (exchange) {
        s_on_end(self, exchange);
    }
    // Ask for the next page at once, so that it is made while this one is read.
    bb_ignore(s_start_due(self), "the next turn asks again");
    return true;
}

bool busbar_scatter_is_done(const busbar_scatter_t *self)
{
    for (uint32_t i = 0; i < self->task_count; i++) {
        if (self->tasks[i]->state != S_TASK_DONE) {
            return self->error != BB_OK;
        }
    }
    return true;
}

bb_error_t busbar_scatter_fault(const busbar_scatter_t *self, busbar_fault_t *fault)
{
    if (self->error != BB_OK) {
        busbar_fault_say(fault, self->error, "%.500s",
                         self->text[0] ? self->text : bb_error_message(self->error));
    }
    return self->error;
}

// ---- start and end -----------------------------------------------------------------------------

// The partitions to ask: all, or those of the named batteries; ascending.
static uint32_t *s_partitions(busbar_scatter_t *self, uint32_t *count)
{
    uint32_t partition_count = self->view->partition_count;
    bool *is_wanted = bb_alloc_zero(partition_count, sizeof *is_wanted);
    for (uint32_t i = 0; i < self->options.battery_count; i++) {
        self->partition_of_battery[i] =
            bb_view_partition_of(self->view, self->options.batteries[i]);
        is_wanted[self->partition_of_battery[i]] = true;
    }
    uint32_t *partitions = bb_alloc(partition_count * sizeof *partitions);
    *count = 0;
    for (uint32_t p = 0; p < partition_count; p++) {
        // What an earlier round of the same query could not read is not waited for again.
        bool is_missing = self->missing->errors[p] != BB_OK;
        if (!is_missing && (self->options.battery_count == 0 || is_wanted[p])) {
            partitions[(*count)++] = p;
        }
    }
    free(is_wanted);
    return partitions;
}

// A client that was told to ask one node alone does not wait for partitions which that node does
// not hold: it removes them from the list and counts them as missing.
static uint32_t s_keep_those_held(busbar_scatter_t *self, uint32_t *partitions, uint32_t count,
                                  uint32_t node)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (bb_view_is_replica(self->view, partitions[i], node)) {
            partitions[kept++] = partitions[i];
        } else {
            busbar_missing_add(self->missing, partitions[i], BB_ERR_NOT_REPLICA);
        }
    }
    return kept;
}

busbar_scatter_t *busbar_scatter_new(busbar_client_t *client, const bb_view_t *view,
                                     const busbar_scatter_options_t *options, bb_rowset_t *rowset,
                                     busbar_missing_t *missing)
{
    busbar_scatter_t *self = bb_alloc_zero(1, sizeof *self);
    self->client = client;
    self->view = view;
    self->options = *options;
    self->rowset = rowset;
    self->missing = missing;
    busbar_gather_init(&self->gather, client->io);
    self->partition_of_battery =
        bb_alloc(BB_MAX(options->battery_count, 1) * sizeof *self->partition_of_battery);
    uint32_t count;
    uint32_t *partitions = s_partitions(self, &count);
    uint32_t only_node = bb_io_only_node(client->io, view);
    if (only_node != BB_LINK_NONE) {
        count = s_keep_those_held(self, partitions, count, only_node);
    }
    s_plan(self, partitions, count, NULL);
    free(partitions);
    return self;
}

static void s_run_abort(void *context)
{
    busbar_scatter_t *self = context;
    for (uint32_t i = 0; i < self->task_count; i++) {
        if (self->tasks[i]->is_first_out) {
            bb_io_abort(self->client->io, &self->tasks[i]->exchange);
        }
        if (self->tasks[i]->is_hedge_out) {
            bb_io_abort(self->client->io, &self->tasks[i]->hedge);
        }
    }
}

void busbar_scatter_destroy(busbar_scatter_t **self)
{
    busbar_scatter_t *scatter = *self;
    if (!scatter) {
        return;
    }
    if (scatter->gather.under_way > 0) {
        bb_io_call(scatter->client->io, s_run_abort, scatter);
        bb_exchange_t *exchange;
        while ((exchange = busbar_gather_next(&scatter->gather, BB_NEVER_NS)) != NULL) {
            bb_exchange_clear(exchange);
        }
    }
    busbar_gather_free(&scatter->gather);
    for (uint32_t i = 0; i < scatter->task_count; i++) {
        free(scatter->tasks[i]->partitions);
        free(scatter->tasks[i]->is_removed);
        free(scatter->tasks[i]->batteries);
        free(scatter->tasks[i]->session);
        free(scatter->tasks[i]);
    }
    free(scatter->tasks);
    free(scatter->partition_of_battery);
    free(scatter);
    *self = NULL;
}
