// SPDX-License-Identifier: Apache-2.0
#include "node/control/bb_identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t key[BB_CURVE_KEY_BYTES];
    bb_principal_t principal;
} s_entry_t;

struct bb_identity {
    uint32_t entry_count;
    s_entry_t *entries; // sorted by key
};

static int s_compare(const void *a, const void *b)
{
    return memcmp(((const s_entry_t *)a)->key, ((const s_entry_t *)b)->key, BB_CURVE_KEY_BYTES);
}

static void s_add(bb_identity_t *self, const uint8_t *key, bb_role_t role, const char *name)
{
    s_entry_t *entry = &self->entries[self->entry_count++];
    memcpy(entry->key, key, BB_CURVE_KEY_BYTES);
    entry->principal.role = role;
    snprintf(entry->principal.name, sizeof entry->principal.name, "%s", name);
}

bb_identity_t *bb_identity_new(const bb_config_t *config)
{
    BB_ASSERT(config);
    bb_identity_t *self = bb_alloc_zero(1, sizeof *self);
    self->entries =
        bb_alloc_zero((size_t)config->node_count + config->user_count + 1, sizeof *self->entries);
    for (uint32_t i = 0; i < config->node_count; i++) {
        s_add(self, config->nodes[i].public_key, BB_ROLE_NODE, config->nodes[i].id);
    }
    for (uint32_t i = 0; i < config->user_count; i++) {
        s_add(self, config->users[i].public_key, config->users[i].role, config->users[i].name);
    }
    qsort(self->entries, self->entry_count, sizeof *self->entries, s_compare);
    return self;
}

void bb_identity_destroy(bb_identity_t **self_p)
{
    if (*self_p) {
        free((*self_p)->entries);
        free(*self_p);
        *self_p = NULL;
    }
}

static bool s_is(bb_slice_t slice, const char *text)
{
    return slice.length == strlen(text) && memcmp(slice.data, text, slice.length) == 0;
}

bool bb_identity_admit(const bb_identity_t *self, bb_slice_t domain, bb_slice_t mechanism,
                       bb_slice_t credentials, bb_principal_t *principal)
{
    BB_ASSERT(self);
    BB_ASSERT(principal);
    bool is_client = s_is(domain, "client"), is_peer = s_is(domain, "peer");
    if (!is_client && !is_peer) {
        return false;
    }
    if (!s_is(mechanism, "CURVE") || credentials.length != BB_CURVE_KEY_BYTES) {
        return false;
    }
    s_entry_t wanted = {0};
    memcpy(wanted.key, credentials.data, BB_CURVE_KEY_BYTES);
    const s_entry_t *found =
        bsearch(&wanted, self->entries, self->entry_count, sizeof *self->entries, s_compare);
    if (!found || (is_peer && found->principal.role != BB_ROLE_NODE)) {
        return false;
    }
    *principal = found->principal;
    return true;
}

size_t bb_principal_format(const bb_principal_t *self, char out[BB_PRINCIPAL_BYTES_MAX + 1])
{
    int length =
        snprintf(out, BB_PRINCIPAL_BYTES_MAX + 1, "%s:%s", bb_role_name(self->role), self->name);
    BB_ASSERT(length > 0 && length <= BB_PRINCIPAL_BYTES_MAX);
    return (size_t)length;
}

bool bb_principal_parse(const char *user_id, bb_principal_t *self)
{
    const char *colon = strchr(user_id, ':');
    char role[16];
    if (!colon || (size_t)(colon - user_id) >= sizeof role) {
        return false;
    }
    memcpy(role, user_id, (size_t)(colon - user_id));
    role[colon - user_id] = '\0';
    uint32_t number = bb_role_of_name(role);
    size_t name_length = strlen(colon + 1);
    if (number == 0 || name_length == 0 || name_length > BB_NODE_ID_BYTES_MAX) {
        return false;
    }
    self->role = (bb_role_t)number;
    memcpy(self->name, colon + 1, name_length + 1);
    return true;
}

bool bb_role_allows(bb_role_t role, bb_kind_t kind)
{
    switch (kind) {
    case BB_KIND_HELLO:
    case BB_KIND_STATUS:
        return role == BB_ROLE_WRITER || role == BB_ROLE_READER || role == BB_ROLE_ADMIN;
    case BB_KIND_WRITE:
        return role == BB_ROLE_WRITER || role == BB_ROLE_ADMIN;
    case BB_KIND_QUERY:
        return role == BB_ROLE_READER || role == BB_ROLE_ADMIN;
    case BB_KIND_SETTLE:
    case BB_KIND_RELEASE:
    case BB_KIND_SCRUB:
        return role == BB_ROLE_ADMIN;
    default:
        return false; // answers and peer kinds are no request of a client
    }
}
