// SPDX-License-Identifier: Apache-2.0
// bb_link_cap - how much may be sent to another data centre just now: a cap of bytes a second.
//
// Pure core: two token buckets (Turner, "New directions in communications", 1986) that share the
// rate. Live chunks fill theirs with nine tenths of it, repair with one tenth; what runs over one
// of them goes into the other. So neither starves: repair has a tenth whatever is written, and
// live chunks have the rest whatever is missing; together they never have more than the rate.
//
//     rate ──┬─ 9/10 ──▶ [ live   ] ──▶ live chunks, or they are left to be pulled
//            │              │ ▲ what runs over
//            └─ 1/10 ──▶ [ repair ] ──▶ pulls are served
//
// A message goes while there are tokens, and may leave a debt that is paid before the next one.
// In any time t no more than rate x (t + 2 x BB_LINK_CAP_BURST_NS) and two messages are sent.
#ifndef BB_LINK_CAP_H
#define BB_LINK_CAP_H

#include "protocol/bb_base.h"

#define BB_LINK_CAP_BURST_NS (250 * BB_NS_PER_MS)

typedef struct {
    uint64_t bytes_per_s; // 0: no cap
    int64_t mono_ns;      // up to when tokens were given
    double live, repair;  // tokens, in bytes; below 0: debt
} bb_link_cap_t;

void bb_link_cap_init(bb_link_cap_t *self, uint64_t bytes_per_s, int64_t now_mono_ns);
// May a live chunk of so many bytes go now? Then it is counted as sent.
bool bb_link_cap_take_live(bb_link_cap_t *self, int64_t now_mono_ns, uint64_t bytes);
// How many bytes of repair may go now; 0: none. UINT64_MAX without a cap.
uint64_t bb_link_cap_repair(bb_link_cap_t *self, int64_t now_mono_ns);
void bb_link_cap_repaired(bb_link_cap_t *self, uint64_t bytes); // so many went
// When repair may go on, if nothing else is sent meanwhile; now_mono_ns: at once.
int64_t bb_link_cap_repair_mono_ns(const bb_link_cap_t *self, int64_t now_mono_ns);

#endif
