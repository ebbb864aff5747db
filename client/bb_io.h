// SPDX-License-Identifier: Apache-2.0
// bb_io - the background thread of a client: connections, requests and answers, timers.
//
// One thread owns the sockets of all nodes. Other threads hand it work through a queue under a
// mutex and an eventfd; nothing else is shared but the current view (counted) and one atomic rank
// per connection. Functions say on which thread they may be called: "any" or "io".
//
// A node that dies is noticed by its connection's end, at once; one that hangs by heartbeats (3 s)
// and by answers that stay away. What was sent on a lost connection ends as DISCONNECTED.
#ifndef BB_IO_H
#define BB_IO_H

#include "client/bb_attempt.h"
#include "client/bb_link.h"
#include "client/bb_room_line.h"
#include "cluster-config/bb_config.h"
#include "protocol/bb_hedge.h"

typedef struct bb_io bb_io_t;

// Work for the background thread; memory of the caller until it has run.
typedef struct bb_io_task {
    struct bb_io_task *next;
    void (*run)(struct bb_io_task *self);
} bb_io_task_t;

typedef struct bb_io_timer {
    struct bb_io_timer *next, *previous;
    bool is_armed;
    int64_t due_ns; // monotonic
    void (*run)(struct bb_io_timer *self);
} bb_io_timer_t;

// One request to one node and its answer.
struct bb_exchange {
    // Filled by the caller.
    bb_message_t request; // kind, timeout_ns and body; what it borrows must live until done
    bb_blob_t *payload;   // WRITE: the batch; borrowed until done; NULL otherwise
    uint32_t link;
    int64_t due_ns;                    // give up waiting at this monotonic time
    bool waits_for_link;               // while the link is being made; otherwise NOT_SENT at once
    void (*done)(bb_exchange_t *self); // on the io thread; may start or free the exchange
    void *owner;
    // Filled when done.
    bb_outcome_t outcome;
    bb_message_t reply;             // ANSWERED; views into reply_envelope
    bb_link_frame_t reply_envelope; // until bb_exchange_clear
    bb_link_frame_t reply_payload;  // bytes.length 0: there was none
    // Private.
    int64_t sent_ns;
    bool is_allowed; // its payload counts in the link's allowance
    bb_exchange_t *next, *previous;
    bb_exchange_list_t *list;
    bb_io_task_t task;
    bb_io_t *io;
};

// The error of an ANSWERED exchange: OK unless the answer is ERROR.
bb_error_t bb_exchange_error(const bb_exchange_t *self);
uint32_t bb_exchange_retry_after_ms(const bb_exchange_t *self);
void bb_exchange_clear(bb_exchange_t *self); // frees the answer

typedef struct {
    const bb_client_file_t *file; // copied
    const char *node_id;          // NULL = all nodes of the file
    const char *client_name;
    bool no_hedges;
} bb_io_options_t;

// Starts the thread. PEER_UNKNOWN: node_id is not in the file; CONFIG; INTERNAL.
BB_MUST_CHECK bb_error_t bb_io_new(const bb_io_options_t *options, bb_io_t **io, bb_fault_t *fault);
// Everything handed over must be done. Joins the thread.
void bb_io_destroy(bb_io_t **self);

int64_t bb_io_now_ns(void); // any; monotonic

// ---- any thread ----
void bb_io_submit(bb_io_t *self, bb_exchange_t *exchange);
void bb_io_post(bb_io_t *self, bb_io_task_t *task);
// Runs a function on the io thread and waits for it.
void bb_io_call(bb_io_t *self, void (*run)(void *context), void *context);
bb_view_t *bb_io_view(bb_io_t *self); // a reference, or NULL before the first HELLO
// Changes whenever the view or a rank changed.
uint32_t bb_io_generation(const bb_io_t *self);
// Ranks per node of the view (BB_NODES_MAX entries).
void bb_io_ranks(const bb_io_t *self, const bb_view_t *view, uint8_t *ranks);
uint32_t bb_io_link_count(bb_io_t *self);
// Name and state of a link, for people: "n2 refused our key". Returns its state.
bb_link_state_t bb_io_describe(bb_io_t *self, uint32_t link, char *id, size_t id_size, char *dc,
                               size_t dc_size, bb_fault_t *why);
uint32_t bb_io_only_node(const bb_io_t *self, const bb_view_t *view); // or BB_LINK_NONE
const char *bb_io_preferred_dc(const bb_io_t *self);
uint64_t bb_io_salt(const bb_io_t *self);
// bb_attempt_send, _unsend, _won and _step with this client's clock, chance and retry budget. The
// attempt is the caller's own; the budget is shared behind a mutex of its own.
bb_attempt_step_t bb_io_attempt_send(bb_io_t *self, bb_attempt_t *attempt);
void bb_io_attempt_unsend(bb_io_t *self, bb_attempt_t *attempt);
void bb_io_attempt_won(bb_io_t *self, bb_attempt_t *attempt);
bb_attempt_step_t bb_io_attempt_step(bb_io_t *self, bb_attempt_t *attempt, bb_outcome_t outcome,
                                     uint32_t node, bb_error_t error, uint32_t retry_after_ms);
// bb_hedge_begin, _take, _untake and _end with this client's clock and windows; the same mutex.
// _begin: the kind is BB_HEDGE_KIND_NONE and the time BB_NEVER_NS when the read is not to be
// hedged.
int64_t bb_io_hedge_begin(bb_io_t *self, const bb_query_t *query, uint32_t *kind);
BB_MUST_CHECK bool bb_io_hedge_take(bb_io_t *self);
void bb_io_hedge_untake(bb_io_t *self);
void bb_io_hedge_end(bb_io_t *self, uint32_t kind, int64_t latency_ns, bool has_won);
void bb_io_hedge_counts(bb_io_t *self, uint64_t *asked, uint64_t *hedged, uint64_t *won);
// One batch more, or one less, waits for its turn to be sent.
void bb_io_queued_add(bb_io_t *self, int32_t difference);
// Waits until there is a view and every link has been tried once (the latter for at most 250 ms).
// UNAVAILABLE at once when every node refuses us, or at the end when none can be reached; TIMEOUT.
BB_MUST_CHECK bb_error_t bb_io_wait_ready(bb_io_t *self, int64_t deadline_ns, bb_fault_t *fault);

// ---- io thread ----
void bb_io_start(bb_io_t *self, bb_exchange_t *exchange);
void bb_io_abort(bb_io_t *self, bb_exchange_t *exchange); // CANCELLED, unless done already
void bb_io_timer_set(bb_io_t *self, bb_io_timer_t *timer, int64_t due_ns);
void bb_io_timer_clear(bb_io_t *self, bb_io_timer_t *timer);
bb_view_t *bb_io_current_view(bb_io_t *self); // borrowed; NULL before the first HELLO
// May the waiter's owner send a batch of so many bytes to the node now, by the credit that it told
// this client and by the line of those that wait for such room (bb_room_line.h)? If not, it stands
// in line and gets its turn, on this thread, soon after that may have changed.
BB_MUST_CHECK bool bb_io_has_room(bb_io_t *self, uint32_t link, uint64_t bytes,
                                  bb_room_waiter_t *waiter);
// Turns for all that wait, soon: a slot became free without an answer.
void bb_io_look_for_room(bb_io_t *self);
void bb_io_await_room_no_more(bb_io_t *self, bb_room_waiter_t *waiter);

#endif
