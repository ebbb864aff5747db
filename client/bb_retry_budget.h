// SPDX-License-Identifier: Apache-2.0
// bb_retry_budget - how many of a client's requests may be repetitions.
//
// Pure; one per client, behind its owner's mutex (bb_io). Sources: the budget of a tenth per client
// of Beyer and others, "Site Reliability Engineering" (2016), chapter 21; the bucket of gRPC
// proposal A6 ("Retry throttling"), which only failures empty.
//
// A cluster with more work than it can do gets even more if each failure is asked for once more,
// and stays overloaded by repetitions alone when the cause is over. So a request that is sent for
// the first time earns a tenth of a token, a repetition costs one, and the bucket is small:
//
//     repetitions that fail <= (first requests + seconds without one) / 10 + BB_RETRY_TOKENS_MAX
//
// One that succeeds gets its token back: it was no waste, and what one slow node leaves undone is
// done elsewhere however much that is. Seconds without a first request earn, too, so that a lone
// request goes on. A repetition without a token waits (bb_attempt); a first request never
// does.
//
// Failover is another matter: a node that is gone (no connection, or it was lost) or that says it
// is unfit has not too much to do, and P2 wants no operation to fail because of one node. Such a
// repetition takes what there is of a token and never waits; it is not in the bound above.
#ifndef BB_RETRY_BUDGET_H
#define BB_RETRY_BUDGET_H

#include "protocol/bb_base.h"

// A node that falls silent with a writer's batches in flight (8 by default), and some. More would
// weigh in a storm of a minute: 10 are a hundredth of 1,000 first requests.
#define BB_RETRY_TOKENS_MAX 10

typedef struct {
    int32_t tenths;  // of tokens; [0, 10 * BB_RETRY_TOKENS_MAX]
    int64_t idle_ns; // monotonic: seconds without a first request count from here
} bb_retry_budget_t;

// Full. `now_ns` is monotonic, here and below; going back earns nothing.
void bb_retry_budget_init(bb_retry_budget_t *self, int64_t now_ns);
void bb_retry_budget_earn(bb_retry_budget_t *self, int64_t now_ns); // one first request
// Pays for one repetition; `paid_tenths` is what was taken, for _refund: 10, or less for a
// failover. False, and nothing is taken, when there is no whole token; never false for a failover.
BB_MUST_CHECK bool bb_retry_budget_pay(bb_retry_budget_t *self, int64_t now_ns, bool is_failover,
                                       int32_t *paid_tenths);
// Of a repetition that did not leave: all of it. Of one that succeeded: four fifths.
void bb_retry_budget_refund(bb_retry_budget_t *self, int32_t paid_tenths);
void bb_retry_budget_reward(bb_retry_budget_t *self, int32_t paid_tenths);

#endif
