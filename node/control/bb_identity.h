// SPDX-License-Identifier: Apache-2.0
// bb_identity - who may connect, and what each role may ask.
//
// Pure. Authority comes from the CURVE key alone: the table maps the public keys of the
// configuration to "role:name", which libzmq then attaches to every message of the connection as
// its User-Id. Routing ids and payloads are never believed.
// Immutable after _new; any thread may read it.
#ifndef BB_IDENTITY_H
#define BB_IDENTITY_H

#include "cluster-config/bb_config.h"
#include "protocol/bb_message.h"

typedef struct bb_identity bb_identity_t;

bb_identity_t *bb_identity_new(const bb_config_t *config);
void bb_identity_destroy(bb_identity_t **self);

#define BB_PRINCIPAL_BYTES_MAX (BB_NODE_ID_BYTES_MAX + 8)

typedef struct {
    bb_role_t role;
    char name[BB_NODE_ID_BYTES_MAX + 1];
} bb_principal_t;

// A handshake: the domain of the socket ("client": users and nodes; "peer": nodes only), the
// mechanism, and its credentials (CURVE: the 32 bytes of the client's public key). True and the
// principal when it may connect. Everything else is refused: other domains, NULL, PLAIN, GSSAPI.
bool bb_identity_admit(const bb_identity_t *self, bb_slice_t domain, bb_slice_t mechanism,
                       bb_slice_t credentials, bb_principal_t *principal);

// "role:name", the text that travels as User-Id. _parse refuses anything that _format cannot make.
size_t bb_principal_format(const bb_principal_t *self, char out[BB_PRINCIPAL_BYTES_MAX + 1]);
bool bb_principal_parse(const char *user_id, bb_principal_t *self);

// writer: HELLO WRITE STATUS; reader: HELLO QUERY STATUS; admin: every request of a client;
// node: none of these (its messages travel on the peer sockets).
bool bb_role_allows(bb_role_t role, bb_kind_t kind);

#endif
