// SPDX-License-Identifier: Apache-2.0
#include "client/bb_retry_budget.h"

#define S_TOKEN      10 // in tenths
#define S_TENTHS_MAX (BB_RETRY_TOKENS_MAX * S_TOKEN)
#define S_IDLE_NS    BB_NS_PER_S // without a first request: earns as much as one

void bb_retry_budget_init(bb_retry_budget_t *self, int64_t now_ns)
{
    BB_ASSERT(self);
    *self = (bb_retry_budget_t){.tenths = S_TENTHS_MAX, .idle_ns = now_ns};
}

static void s_add(bb_retry_budget_t *self, int64_t tenths)
{
    BB_ASSERT(tenths >= 0);
    self->tenths = (int32_t)BB_MIN(self->tenths + tenths, S_TENTHS_MAX);
}

static void s_earn_idle(bb_retry_budget_t *self, int64_t now_ns)
{
    int64_t seconds = (now_ns - self->idle_ns) / S_IDLE_NS;
    if (seconds > 0) {
        self->idle_ns += seconds * S_IDLE_NS;
        s_add(self, seconds);
    }
}

void bb_retry_budget_earn(bb_retry_budget_t *self, int64_t now_ns)
{
    BB_ASSERT(self);
    s_earn_idle(self, now_ns);
    self->idle_ns = BB_MAX(self->idle_ns, now_ns);
    s_add(self, 1);
}

bool bb_retry_budget_pay(bb_retry_budget_t *self, int64_t now_ns, bool is_failover,
                         int32_t *paid_tenths)
{
    BB_ASSERT(self);
    BB_ASSERT(paid_tenths);
    s_earn_idle(self, now_ns);
    if (!is_failover && self->tenths < S_TOKEN) {
        return false;
    }
    *paid_tenths = BB_MIN(S_TOKEN, self->tenths);
    self->tenths -= *paid_tenths;
    BB_ASSERT(self->tenths >= 0);
    return true;
}

void bb_retry_budget_refund(bb_retry_budget_t *self, int32_t paid_tenths)
{
    BB_ASSERT(self);
    BB_ASSERT(paid_tenths >= 0 && paid_tenths <= S_TOKEN);
    s_add(self, paid_tenths);
}

void bb_retry_budget_reward(bb_retry_budget_t *self, int32_t paid_tenths)
{
    bb_retry_budget_refund(self, paid_tenths * 4 / 5);
}
