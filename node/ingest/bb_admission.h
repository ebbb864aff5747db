// SPDX-License-Identifier: Apache-2.0
// bb_admission - which requests of clients are in flight, and whether one more may enter.
//
// Pure core; the router actor owns it. A request that enters takes a slot and counts its bytes
// until its answer leaves; past either bound it is refused as BUSY with a delay that grows with
// how full things are. The slot's number and generation make the ticket that travels through the
// node, so an answer that comes late (its slot was given away) finds nothing and is dropped.
//
//   free ── take ──▶ in flight ── release (answered) or expire (deadline passed) ──▶ free
#ifndef BB_ADMISSION_H
#define BB_ADMISSION_H

#include "protocol/bb_message.h"

#define BB_ROUTING_ID_BYTES 5 // what a ROUTER gives by itself: a zero byte and four more

typedef struct bb_admission bb_admission_t;

typedef struct {
    uint8_t routing_id[BB_ROUTING_ID_BYTES];
    bb_kind_t kind;
    uint64_t request_id;
    size_t bytes;
    size_t batch_bytes; // of a WRITE: what its answer frees of the client's credit (bb_credit.h)
    int64_t received_mono_ns;
    int64_t deadline_mono_ns;
    void *attachment; // of the caller: what it needs to make the answer; may be NULL
} bb_admitted_t;

// bytes_max > 0; requests_max in [1, 1 << 20].
bb_admission_t *bb_admission_new(uint64_t bytes_max, uint32_t requests_max);
void bb_admission_destroy(bb_admission_t **self); // nothing may be in flight with an attachment

// Errors, nothing taken: STOPPING after _drain; BUSY with *retry_after_ms in [10, 500].
// One request always fits when nothing else is in flight, whatever its size. Anything but a WRITE
// is refused when three quarters of either bound are in use: queries go before writes do.
BB_MUST_CHECK bb_error_t bb_admission_take(bb_admission_t *self, const bb_admitted_t *request,
                                           uint64_t *ticket, uint32_t *retry_after_ms);
// The request of a ticket, or NULL when it is no longer in flight. Valid until the next change.
bb_admitted_t *bb_admission_find(bb_admission_t *self, uint64_t ticket);
// Frees the slot; false when the ticket is not in flight. *request is what was taken.
bool bb_admission_release(bb_admission_t *self, uint64_t ticket, bb_admitted_t *request);
// One request whose deadline has passed by now, if any: true and its ticket. Looks at every slot
// in use: call about once a second.
bool bb_admission_next_expired(bb_admission_t *self, int64_t now_mono_ns, uint64_t *ticket);
void bb_admission_drain(bb_admission_t *self);

uint64_t bb_admission_bytes(const bb_admission_t *self);
uint32_t bb_admission_count(const bb_admission_t *self);

#endif
