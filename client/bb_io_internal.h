// SPDX-License-Identifier: Apache-2.0
// bb_io_internal - what bb_io.c (the thread) and bb_io_edge.c (the others, start and end) share.
#ifndef BB_IO_INTERNAL_H
#define BB_IO_INTERNAL_H

#include <pthread.h>
#include <zmq.h>

#include "client/bb_io.h"
#include "client/bb_routes.h"

typedef struct {
    bb_exchange_t exchange; // HELLO
    bb_io_t *io;
    uint32_t link;
} bb_io_greeting_t;

struct bb_io {
    // Constant after the start.
    void *context;
    bb_curve_pair_t key;
    char preferred_dc[BB_NODE_ID_BYTES_MAX + 1];
    char only_node_id[BB_NODE_ID_BYTES_MAX + 1]; // "" = all
    char client_name[128];
    bool no_hedges;
    uint8_t cluster_id[16];
    uint64_t salt;
    int wake_fd;
    pthread_t thread;
    // Shared.
    pthread_mutex_t mutex;
    pthread_cond_t changed; // a view, a link's state, a call that is done
    bb_io_task_t *task_first, *task_last;
    bool must_stop;
    bb_view_t *view;                // written by the io thread under the mutex
    uint32_t link_count;            // likewise; links never go away
    bb_link_t *links[BB_NODES_MAX]; // state and why: likewise
    _Atomic uint32_t generation;
    _Atomic uint8_t ranks[BB_NODES_MAX]; // per link
    _Atomic int32_t queued_count;        // batches that wait for their turn to be sent
    pthread_mutex_t retry_mutex;         // of the next three, a leaf: nothing is locked within
    bb_retry_budget_t retry_budget;
    bb_hedge_t hedge;
    uint64_t random_state;
    // The io thread's own.
    bb_io_greeting_t *greetings[BB_NODES_MAX];
    bb_routes_t routes;
    bb_exchange_t routes_exchange; // HELLO for routes, one at a time
    bool is_asking_routes;
    uint32_t routes_turn;
    int64_t routes_next_ns, worked_ns; // when to ask; when something else was sent
    bb_io_timer_t *timers;
    bb_room_line_t room_line;
    uint64_t next_request_id;
    zmq_pollitem_t items[1 + 2 * BB_NODES_MAX];
};

void *bb_io_main(void *context); // the thread
// Adds a connection; called by the io thread or, before it runs, by the opener.
BB_MUST_CHECK bb_error_t bb_io_link_add(bb_io_t *self, const char *id, const char *dc,
                                        const char *endpoint, const uint8_t public_key[32],
                                        bb_fault_t *fault);

#endif
