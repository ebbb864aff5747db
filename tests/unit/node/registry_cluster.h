// SPDX-License-Identifier: Apache-2.0
// registry_cluster - a few registries with disks and a network that may lose, repeat and reorder.
//
// Time is a number of steps of 10 ms; every message takes at least one. For test_bb_registry and
// test_bb_boot.
#ifndef REGISTRY_CLUSTER_H
#define REGISTRY_CLUSTER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "node/control/bb_registry.h"
#include "tests/support/bb_random.h"

#define RC_NODES_MAX  5
#define RC_MAIL_MAX   8192
#define RC_DISK_MAX   2048
#define RC_STEP_NS    (10 * BB_NS_PER_MS)
#define RC_BEAT_STEPS 20

// An entry that owns its bytes.
typedef struct {
    bb_registry_kind_t kind;
    uint64_t number;
    size_t key_length, payload_length;
    uint8_t key[BB_REGISTRY_KEY_BYTES_MAX], payload[BB_REGISTRY_PAYLOAD_BYTES_MAX];
} rc_entry_t;

typedef struct {
    uint32_t from, to, due_step;
    bool is_beat, is_put;
    uint64_t digest;
    uint32_t bucket_count, entry_count;
    uint64_t *buckets;
    rc_entry_t *entries;
} rc_mail_t;

typedef struct {
    rc_entry_t *entries; // RC_DISK_MAX, one a key
    uint32_t count;
} rc_disk_t;

typedef struct {
    bb_registry_t *registry; // NULL: down
    rc_disk_t disk;
    bool is_disk_stuck; // nothing becomes durable
} rc_node_t;

typedef struct {
    uint32_t node_count, step;
    bb_random_t random;
    uint32_t loss_pct, repeat_pct, delay_steps_max;
    bool is_cut[RC_NODES_MAX][RC_NODES_MAX]; // from, to
    rc_node_t nodes[RC_NODES_MAX];
    rc_mail_t *mail[RC_MAIL_MAX];
    uint32_t mail_count;
    uint64_t sent_count, sent_entries;
} rc_cluster_t;

static inline int64_t rc_now_ns(const rc_cluster_t *self)
{
    return (int64_t)self->step * RC_STEP_NS;
}

static inline rc_entry_t rc_own(const bb_registry_entry_t *entry)
{
    rc_entry_t own = {.kind = entry->kind,
                      .number = entry->number,
                      .key_length = entry->key.length,
                      .payload_length = entry->payload.length};
    memcpy(own.key, entry->key.data, entry->key.length);
    if (entry->payload.length > 0) {
        memcpy(own.payload, entry->payload.data, entry->payload.length);
    }
    return own;
}

static inline bb_registry_entry_t rc_lend(const rc_entry_t *own)
{
    return (bb_registry_entry_t){.kind = own->kind,
                                 .key = bb_slice(own->key, own->key_length),
                                 .number = own->number,
                                 .payload = bb_slice(own->payload, own->payload_length)};
}

static inline bb_registry_entry_t rc_entry(bb_registry_kind_t kind, const char *key,
                                           uint64_t number, const char *payload)
{
    return (bb_registry_entry_t){.kind = kind,
                                 .key = bb_slice(key, strlen(key)),
                                 .number = number,
                                 .payload = bb_slice(payload, strlen(payload))};
}

static inline void rc_disk_put(rc_disk_t *disk, const bb_registry_entry_t *entry)
{
    uint32_t at = 0;
    while (at < disk->count) {
        bb_registry_entry_t there = rc_lend(&disk->entries[at]);
        if (bb_registry_entry_is_same_key(&there, entry)) {
            break;
        }
        at++;
    }
    assert_true(at < RC_DISK_MAX);
    disk->count += at == disk->count;
    disk->entries[at] = rc_own(entry);
}

static inline void rc_up(rc_cluster_t *self, uint32_t node)
{
    rc_node_t *at = &self->nodes[node];
    assert_null(at->registry);
    at->registry = bb_registry_new(self->node_count, node);
    for (uint32_t i = 0; i < at->disk.count; i++) {
        bb_registry_entry_t entry = rc_lend(&at->disk.entries[i]);
        assert_int_equal(bb_registry_load(at->registry, &entry), BB_OK);
    }
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (i != node) {
            bb_registry_peer(at->registry, rc_now_ns(self), i, true);
        }
    }
}

static inline void rc_down(rc_cluster_t *self, uint32_t node)
{
    bb_registry_destroy(&self->nodes[node].registry);
}

static inline rc_cluster_t *rc_new(uint32_t node_count, uint64_t seed)
{
    rc_cluster_t *self = bb_alloc_zero(1, sizeof *self);
    self->node_count = node_count;
    self->random = bb_random_seed(seed);
    self->delay_steps_max = 1;
    for (uint32_t i = 0; i < node_count; i++) {
        self->nodes[i].disk.entries = bb_alloc_zero(RC_DISK_MAX, sizeof(rc_entry_t));
        rc_up(self, i);
    }
    return self;
}

static inline void rc_mail_free(rc_mail_t *mail)
{
    free(mail->buckets);
    free(mail->entries);
    free(mail);
}

static inline void rc_destroy(rc_cluster_t **self)
{
    for (uint32_t i = 0; i < (*self)->node_count; i++) {
        rc_down(*self, i);
        free((*self)->nodes[i].disk.entries);
    }
    for (uint32_t i = 0; i < (*self)->mail_count; i++) {
        rc_mail_free((*self)->mail[i]);
    }
    free(*self);
    *self = NULL;
}

static inline rc_mail_t *rc_mail_copy(const rc_mail_t *from)
{
    rc_mail_t *mail = bb_alloc(sizeof *mail);
    *mail = *from;
    mail->buckets = bb_alloc(from->bucket_count * sizeof *mail->buckets + 1);
    mail->entries = bb_alloc(from->entry_count * sizeof *mail->entries + 1);
    memcpy(mail->buckets, from->buckets, from->bucket_count * sizeof *mail->buckets);
    memcpy(mail->entries, from->entries, from->entry_count * sizeof *mail->entries);
    return mail;
}

static inline void rc_post(rc_cluster_t *self, const rc_mail_t *mail)
{
    uint32_t copies = 1 + (bb_random_below(&self->random, 100) < self->repeat_pct);
    for (uint32_t i = 0; i < copies; i++) {
        if (self->is_cut[mail->from][mail->to] ||
            bb_random_below(&self->random, 100) < self->loss_pct ||
            self->mail_count == RC_MAIL_MAX) {
            continue;
        }
        rc_mail_t *copy = rc_mail_copy(mail);
        copy->due_step =
            self->step + 1 + (uint32_t)bb_random_below(&self->random, self->delay_steps_max);
        self->mail[self->mail_count++] = copy;
    }
}

static inline void rc_send(rc_cluster_t *self, uint32_t node)
{
    bb_registry_t *registry = self->nodes[node].registry;
    uint32_t to = 0;
    bb_registry_message_t message;
    while (bb_registry_send_next(registry, rc_now_ns(self), &to, &message)) {
        assert_int_not_equal(to, node);
        rc_entry_t *entries = bb_alloc(message.entry_count * sizeof *entries + 1);
        for (uint32_t i = 0; i < message.entry_count; i++) {
            entries[i] = rc_own(&message.entries[i]);
        }
        uint64_t *buckets = bb_alloc(message.bucket_count * sizeof *buckets + 1);
        if (message.bucket_count > 0) {
            memcpy(buckets, message.buckets, message.bucket_count * sizeof *buckets);
        }
        rc_mail_t mail = {.from = node,
                          .to = to,
                          .is_put = message.is_put,
                          .bucket_count = message.bucket_count,
                          .entry_count = message.entry_count,
                          .buckets = buckets,
                          .entries = entries};
        self->sent_count++;
        self->sent_entries += message.entry_count;
        rc_post(self, &mail);
        free(entries);
        free(buckets);
    }
    for (uint32_t i = 0; self->step % RC_BEAT_STEPS == node && i < self->node_count; i++) {
        if (i != node) {
            rc_mail_t mail = {.from = node,
                              .to = i,
                              .is_beat = true,
                              .digest = bb_registry_digest(registry),
                              .buckets = bb_alloc(1),
                              .entries = bb_alloc(1)};
            rc_post(self, &mail);
            free(mail.buckets);
            free(mail.entries);
        }
    }
}

static inline void rc_write(rc_cluster_t *self, uint32_t node)
{
    rc_node_t *at = &self->nodes[node];
    bb_registry_entry_t entry;
    bool any = false;
    while (bb_registry_write_next(at->registry, &entry)) {
        any = true;
        if (!at->is_disk_stuck) {
            rc_disk_put(&at->disk, &entry);
        }
    }
    if (any && at->is_disk_stuck) {
        bb_registry_unwritten(at->registry);
    } else if (any) {
        bb_registry_written(at->registry);
    }
}

static inline void rc_deliver(rc_cluster_t *self, const rc_mail_t *mail)
{
    bb_registry_t *registry = self->nodes[mail->to].registry;
    if (!registry) {
        return;
    }
    if (mail->is_beat) {
        bb_registry_hear(registry, rc_now_ns(self), mail->from, mail->digest);
        return;
    }
    bb_registry_entry_t *entries = bb_alloc(mail->entry_count * sizeof *entries + 1);
    for (uint32_t i = 0; i < mail->entry_count; i++) {
        entries[i] = rc_lend(&mail->entries[i]);
    }
    bb_registry_message_t message = {.is_put = mail->is_put,
                                     .bucket_count = mail->bucket_count,
                                     .buckets = mail->buckets,
                                     .entry_count = mail->entry_count,
                                     .entries = entries};
    assert_int_equal(bb_registry_receive(registry, mail->from, &message), BB_OK);
    free(entries);
}

// Everybody writes and sends; then time moves on and what is due arrives.
static inline void rc_step(rc_cluster_t *self)
{
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (self->nodes[i].registry) {
            rc_write(self, i);
            rc_send(self, i);
        }
    }
    self->step++;
    uint32_t kept = 0, due_count = 0;
    static rc_mail_t *due[RC_MAIL_MAX];
    for (uint32_t i = 0; i < self->mail_count; i++) {
        if (self->mail[i]->due_step <= self->step) {
            due[due_count++] = self->mail[i];
        } else {
            self->mail[kept++] = self->mail[i];
        }
    }
    self->mail_count = kept;
    for (uint32_t i = 0; i < due_count; i++) {
        rc_deliver(self, due[i]);
        rc_mail_free(due[i]);
    }
}

static inline void rc_steps(rc_cluster_t *self, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        rc_step(self);
    }
}

// All that are up hold the same.
static inline bool rc_is_equal(const rc_cluster_t *self)
{
    const bb_registry_t *first = NULL;
    for (uint32_t i = 0; i < self->node_count; i++) {
        const bb_registry_t *registry = self->nodes[i].registry;
        if (registry && first && bb_registry_digest(registry) != bb_registry_digest(first)) {
            return false;
        }
        first = first ? first : registry;
    }
    return true;
}

#endif
