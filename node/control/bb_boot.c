// SPDX-License-Identifier: Apache-2.0
#include "node/control/bb_boot.h"

#include <stdlib.h>
#include <string.h>

#define S_PAYLOAD_BYTES (16u + sizeof(bb_stream_t))
static_assert(S_PAYLOAD_BYTES <= BB_REGISTRY_PAYLOAD_BYTES_MAX, "disk identity and incarnation");

struct bb_boot {
    bb_registry_t *registry;
    char *node_id;
    bb_stream_t incarnation; // of this process
    bb_boot_disk_t disk;     // as it is on disk, or is to be written
    bb_boot_state_t state;
    bool wants_disk;
    bool is_put;        // the registry has what `disk` says
    bool is_registered; // so has a majority
    int64_t grace_until_mono_ns;
    bool is_outbid; // while it registered: it takes the next number after a pause
    int64_t outbid_ns, outbid_until_mono_ns;
};

static bb_slice_t s_key(const bb_boot_t *self)
{
    return bb_slice(self->node_id, strlen(self->node_id));
}

bb_boot_t *bb_boot_new(bb_registry_t *registry, const char *node_id, const bb_boot_disk_t *disk,
                       const bb_stream_t *incarnation, int64_t now_mono_ns)
{
    BB_ASSERT(registry && node_id && disk && incarnation);
    bb_boot_t *self = bb_alloc_zero(1, sizeof *self);
    *self = (bb_boot_t){.registry = registry,
                        .node_id = bb_strdup(node_id),
                        .incarnation = *incarnation,
                        .disk = *disk,
                        .state = BB_BOOT_CLAIMING,
                        .wants_disk = disk->boot == 0, // its identity
                        .grace_until_mono_ns = now_mono_ns + BB_BOOT_GRACE_NS,
                        .outbid_ns = BB_BOOT_OUTBID_NS,
                        .outbid_until_mono_ns = BB_NEVER_NS};
    return self;
}

void bb_boot_destroy(bb_boot_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    if (*self_pointer) {
        free((*self_pointer)->node_id);
        free(*self_pointer);
        *self_pointer = NULL;
    }
}

// What the disk says, as an entry. A new disk claims number 1 without a payload: any value that
// anybody knows is later than that.
static bb_registry_entry_t s_entry(const bb_boot_t *self, uint8_t payload[S_PAYLOAD_BYTES])
{
    const bb_boot_disk_t *disk = &self->disk;
    memcpy(payload, disk->disk_id, sizeof disk->disk_id);
    memcpy(payload + sizeof disk->disk_id, disk->incarnation.bytes, sizeof disk->incarnation.bytes);
    bool is_new = disk->boot == 0;
    return (bb_registry_entry_t){.kind = BB_REGISTRY_BOOT,
                                 .key = s_key(self),
                                 .number = is_new ? 1 : (uint64_t)disk->boot << 32 | disk->mark,
                                 .payload = bb_slice(payload, is_new ? 0 : S_PAYLOAD_BYTES)};
}

static bool s_is_overtaken(const bb_boot_t *self)
{
    uint8_t payload[S_PAYLOAD_BYTES];
    bb_registry_entry_t own = s_entry(self, payload), newest;
    return bb_registry_newest(self->registry, BB_REGISTRY_BOOT, s_key(self), &newest) &&
           bb_registry_entry_compare(&own, &newest) < 0;
}

// To another number: to the disk first.
static void s_number(bb_boot_t *self, uint32_t boot, uint32_t mark)
{
    self->disk.boot = boot;
    self->disk.mark = mark;
    self->disk.incarnation = self->incarnation;
    self->wants_disk = true;
    self->is_put = self->is_registered = false;
}

// Somebody knows a later value: what this disk once promised is not on it.
static void s_overtaken(bb_boot_t *self)
{
    bb_registry_entry_t newest;
    bool is_known = bb_registry_newest(self->registry, BB_REGISTRY_BOOT, s_key(self), &newest);
    BB_ASSERT(is_known);
    self->state = BB_BOOT_REGISTERING;
    self->disk.must_rebuild = true;
    s_number(self, (uint32_t)(newest.number >> 32) + 1, 0);
}

// Another process of this node took a number meanwhile. Two that outbid each other at once would go
// on for as long as neither reaches enough nodes, with a sync and a message to everybody each time.
// How long it waits is drawn by its number, disk and incarnation, which are in the entry.
static void s_tick_outbid(bb_boot_t *self, int64_t now_mono_ns)
{
    if (self->outbid_until_mono_ns == BB_NEVER_NS) {
        uint8_t payload[S_PAYLOAD_BYTES];
        bb_registry_entry_t own = s_entry(self, payload);
        uint64_t drawn = bb_registry_entry_hash(&own) % (uint64_t)self->outbid_ns;
        self->outbid_until_mono_ns = now_mono_ns + self->outbid_ns + (int64_t)drawn;
        self->outbid_ns = BB_MIN(2 * self->outbid_ns, BB_BOOT_OUTBID_NS_MAX);
    }
    if (now_mono_ns >= self->outbid_until_mono_ns) {
        self->is_outbid = false;
        self->outbid_until_mono_ns = BB_NEVER_NS;
        s_overtaken(self);
    }
}

bool bb_boot_wants_disk(const bb_boot_t *self, bb_boot_disk_t *disk)
{
    BB_ASSERT(self && disk);
    *disk = self->disk;
    return self->wants_disk;
}

static void s_put(bb_boot_t *self, int64_t now_mono_ns)
{
    uint8_t payload[S_PAYLOAD_BYTES];
    bb_registry_entry_t entry = s_entry(self, payload);
    // Refused when too many are open: again with the next tick.
    self->is_put = bb_registry_put(self->registry, now_mono_ns, &entry, BB_REGISTRY_NEED_MAJORITY,
                                   BB_BOOT_CONTEXT) == BB_OK;
}

void bb_boot_disk_written(bb_boot_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self && self->wants_disk);
    self->wants_disk = false;
    if (self->state == BB_BOOT_REBUILDING && !self->disk.must_rebuild) {
        self->state = BB_BOOT_COUNTING;
    }
    if (!self->is_put && self->state != BB_BOOT_FENCED) {
        s_put(self, now_mono_ns);
    }
}

void bb_boot_outcome(bb_boot_t *self, const bb_registry_outcome_t *outcome)
{
    BB_ASSERT(self && outcome && outcome->context == BB_BOOT_CONTEXT);
    bool is_asking = self->state == BB_BOOT_CLAIMING || self->state == BB_BOOT_REGISTERING;
    if (!is_asking || !self->is_put) {
        return;
    }
    if (outcome->is_superseded && self->state == BB_BOOT_REGISTERING) {
        self->is_outbid = true;
    } else if (outcome->is_superseded) {
        s_overtaken(self);
    } else {
        self->is_registered = true;
    }
}

// A disk that knows no number, or too small a one, is no witness against itself: of the nodes that
// its last start was registered at, a majority with it included, one may be out of reach now. A
// majority of the others has one in common with them all the same: n/2 others knew it, (n - 1)/2 +
// 1 are asked. So too before it stops asking for a number above all: one that its last start had
// would look like a twin.
static bool s_are_enough_asked(const bb_boot_t *self)
{
    uint32_t others = bb_registry_node_count(self->registry) - 1;
    bool is_witness = self->disk.boot > 0 && !self->disk.must_rebuild;
    return is_witness || others == 0 ||
           bb_registry_holder_count(self->registry, BB_REGISTRY_BOOT, s_key(self)) >=
               1 + others / 2 + 1;
}

static void s_tick_asking(bb_boot_t *self, int64_t now_mono_ns)
{
    if (self->wants_disk) {
        return;
    }
    // Also by somebody who answered after the majority.
    bool is_overtaken = self->is_put && self->is_registered && s_is_overtaken(self);
    self->is_outbid |= is_overtaken && self->state == BB_BOOT_REGISTERING;
    if (self->is_outbid) {
        s_tick_outbid(self, now_mono_ns);
    } else if (!self->is_put) {
        s_put(self, now_mono_ns);
    } else if (is_overtaken) {
        s_overtaken(self);
    } else if (self->is_registered && self->state == BB_BOOT_REGISTERING &&
               s_are_enough_asked(self)) {
        self->state = self->disk.must_rebuild ? BB_BOOT_REBUILDING : BB_BOOT_COUNTING;
    } else if (self->is_registered && s_are_enough_asked(self) &&
               (now_mono_ns >= self->grace_until_mono_ns ||
                !bb_registry_is_spreading(self->registry, BB_REGISTRY_BOOT, s_key(self)))) {
        self->state = BB_BOOT_REGISTERING;
        s_number(self, self->disk.boot + 1, 0);
    }
}

void bb_boot_tick(bb_boot_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    switch (self->state) {
    case BB_BOOT_CLAIMING:
    case BB_BOOT_REGISTERING:
        s_tick_asking(self, now_mono_ns);
        break;
    case BB_BOOT_COUNTING:
    case BB_BOOT_REBUILDING:
        if (s_is_overtaken(self)) {
            self->state = BB_BOOT_FENCED;
        } else if (!self->wants_disk && !self->is_put) {
            s_put(self, now_mono_ns);
        }
        break;
    case BB_BOOT_FENCED:
        break;
    }
}

void bb_boot_mark(bb_boot_t *self)
{
    BB_ASSERT(self);
    if (self->state == BB_BOOT_COUNTING && !self->wants_disk && self->disk.mark < UINT32_MAX) {
        s_number(self, self->disk.boot, self->disk.mark + 1);
    }
}

void bb_boot_rebuilt(bb_boot_t *self)
{
    BB_ASSERT(self && self->state == BB_BOOT_REBUILDING);
    self->wants_disk |= self->disk.must_rebuild;
    self->disk.must_rebuild = false;
}

bb_boot_state_t bb_boot_state(const bb_boot_t *self)
{
    BB_ASSERT(self);
    return self->state;
}

const char *bb_boot_state_name(bb_boot_state_t state)
{
    switch (state) {
    case BB_BOOT_CLAIMING:
        return "claiming";
    case BB_BOOT_REGISTERING:
        return "registering";
    case BB_BOOT_COUNTING:
        return "counting";
    case BB_BOOT_REBUILDING:
        return "rebuilding";
    case BB_BOOT_FENCED:
        return "fenced";
    }
    return "unknown";
}

uint32_t bb_boot_number(const bb_boot_t *self)
{
    BB_ASSERT(self);
    return self->state == BB_BOOT_CLAIMING ? 0 : self->disk.boot;
}

int64_t bb_boot_wake_mono_ns(const bb_boot_t *self)
{
    BB_ASSERT(self);
    if (self->is_outbid) {
        return self->outbid_until_mono_ns;
    }
    // Who has not been asked yet answers with a message, which is looked at when it comes.
    bool is_graced =
        self->state == BB_BOOT_CLAIMING && self->is_registered && s_are_enough_asked(self);
    return is_graced ? self->grace_until_mono_ns : BB_NEVER_NS;
}
