// SPDX-License-Identifier: Apache-2.0
#include "client/bb_allowance.h"

void bb_allowance_reset(bb_allowance_t *self)
{
    BB_ASSERT(self);
    self->credit_bytes = 0;
    self->until_ns = 0;
}

void bb_allowance_told(bb_allowance_t *self, int64_t until_ns, uint32_t credit_bytes)
{
    BB_ASSERT(self);
    if (credit_bytes > 0) {
        self->credit_bytes = credit_bytes;
        self->until_ns = BB_MAX(self->until_ns, until_ns);
    }
}

bool bb_allowance_admits(const bb_allowance_t *self, int64_t now_ns, uint64_t bytes)
{
    BB_ASSERT(self);
    if (self->credit_bytes == 0 || self->sent_count == 0) {
        return true;
    }
    return now_ns < self->until_ns && self->sent_bytes <= self->credit_bytes &&
           bytes <= self->credit_bytes - self->sent_bytes;
}

void bb_allowance_begin(bb_allowance_t *self, uint64_t bytes)
{
    BB_ASSERT(self);
    self->sent_bytes += bytes;
    self->sent_count++;
}

void bb_allowance_end(bb_allowance_t *self, uint64_t bytes)
{
    BB_ASSERT(self);
    BB_ASSERT(self->sent_count > 0 && self->sent_bytes >= bytes);
    self->sent_bytes -= bytes;
    self->sent_count--;
}
