// SPDX-License-Identifier: Apache-2.0
// bb_mailbox - where an actor receives: many senders, one receiver, bounded in bytes.
//
// A list of posts and a descriptor to wait for. The supervisor makes all mailboxes before the
// actors and destroys them after the last one; the receiving end belongs to one actor, each
// bb_outlet_t (the sending end) to the thread that uses it. Sending never waits: past the bound it
// is BB_ERR_BUSY, unless the post must go (answers and commands, whose number is bounded by what
// was admitted). Posts of one sender arrive in its order.
// Cost: a system call to send into an empty mailbox, one to find it empty again, none in between.
// (An inproc socket of libzmq takes 3 and 5, and 2 whenever it is looked at: 0.3 % of a core in a
// node with nothing to do.)
#ifndef BB_MAILBOX_H
#define BB_MAILBOX_H

#include "node/runtime/bb_post.h"

typedef struct bb_mailbox bb_mailbox_t;
typedef struct bb_outlet bb_outlet_t;

bb_mailbox_t *bb_mailbox_new(const char *name, uint64_t bytes_max);
// The same, whose posts are received in the order of bb_post_order.h.
bb_mailbox_t *bb_mailbox_new_ordered(const char *name, uint64_t bytes_max);
// What is left is destroyed with it. All outlets must be gone.
void bb_mailbox_destroy(bb_mailbox_t **self);
// To poll for input; belongs to the mailbox. Readable while anything waits; now and then, when a
// sender is between two steps, also when nothing does yet.
int bb_mailbox_fd(const bb_mailbox_t *self);
bb_post_t *bb_mailbox_receive(bb_mailbox_t *self); // NULL when empty; never waits
// Destroys what is left, when the actor that received has ended.
void bb_mailbox_clear(bb_mailbox_t *self);
// Posts waiting or, with _begin and _end around the work, being worked on; any thread.
uint32_t bb_mailbox_load(const bb_mailbox_t *self);
void bb_mailbox_begin(bb_mailbox_t *self);
void bb_mailbox_end(bb_mailbox_t *self);

bb_outlet_t *bb_outlet_new(bb_mailbox_t *mailbox);
void bb_outlet_destroy(bb_outlet_t **self);
// Takes the post on success. BUSY: the post stays the caller's.
BB_MUST_CHECK bb_error_t bb_outlet_send(bb_outlet_t *self, bb_post_t **post, size_t bytes);
void bb_outlet_send_always(bb_outlet_t *self, bb_post_t **post);

#endif
