// SPDX-License-Identifier: Apache-2.0
// busbar_internal - what the files behind busbar.h share.
#ifndef BUSBAR_INTERNAL_H
#define BUSBAR_INTERNAL_H

#include <pthread.h>

#include "client/bb_io.h"
#include "client/busbar.h"

struct busbar_client {
    bb_io_t *io;
    int64_t timeout_ns;
    _Atomic uint32_t users; // open writers and rows; close() insists on none
    char file_path[BB_PATH_BYTES_MAX + 1];
};

// Public and internal faults have the same layout in spirit but not in type.
busbar_status_t busbar_fault_of(busbar_fault_t *to, const bb_fault_t *from, bb_error_t error);
busbar_status_t busbar_fault_say(busbar_fault_t *to, bb_error_t error, const char *format, ...)
    BB_PRINTF(3, 4);
// Absolute monotonic deadline of a call; 0 and negative mean the client's default.
int64_t busbar_deadline_ns(const busbar_client_t *client, int64_t timeout_ns);

// Exchanges of one user thread, gathered as they end. The owner of an exchange here is the gather.
typedef struct {
    bb_io_t *io;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bb_exchange_t *done_first, *done_last; // by `next`
    uint32_t under_way;                    // submitted and not taken from the done list
} busbar_gather_t;

void busbar_gather_init(busbar_gather_t *self, bb_io_t *io);
void busbar_gather_free(busbar_gather_t *self); // nothing may be under way
void busbar_gather_submit(busbar_gather_t *self, bb_exchange_t *exchange);
// The next exchange that ended, or NULL when nothing is under way or the deadline has passed.
bb_exchange_t *busbar_gather_next(busbar_gather_t *self, int64_t deadline_ns);
// Ends an exchange that was submitted and not taken yet, and takes it; its answer, if there was one
// already, is freed.
void busbar_gather_drop(busbar_gather_t *self, bb_exchange_t *exchange);

// The same request to every node at once.
typedef struct {
    bb_exchange_t exchange; // first
    uint32_t link;
    char id[BB_NODE_ID_BYTES_MAX + 1];
    char dc[BB_NODE_ID_BYTES_MAX + 1];
    bb_link_state_t state;
    bb_fault_t why; // of a link that is not ready
} busbar_poll_t;
// One poll per link (caller frees with busbar_poll_free) after all ended or the deadline passed.
busbar_poll_t *busbar_poll_nodes(busbar_client_t *client, const bb_message_t *request,
                                 int64_t deadline_ns, uint32_t *count);
void busbar_poll_free(busbar_poll_t *polls, uint32_t count);

#endif
