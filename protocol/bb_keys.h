// SPDX-License-Identifier: Apache-2.0
// bb_keys - CURVE and Ed25519 keys: making them, writing them as text, keeping them in files.
//
// A CURVE key pair is a Curve25519 pair (what ZeroMQ's CURVE uses); as text it is Z85 (ZeroMQ RFC
// 32), 40 characters. A key file is a small YAML document of quoted strings and nothing else:
//
//     # busbar key; whoever can read this file can act under this name
//     kind: "curve"              or "ed25519" for the key of a cluster
//     name: "node:n1"            role and name, for people
//     public_key: "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
//     secret_key: "..."          80 characters for ed25519
//
// Files are created with mode 0600 and never overwritten; one that group or others may read is
// refused. Secrets are wiped by bb_keys_wipe; nothing here prints or logs them.
#ifndef BB_KEYS_H
#define BB_KEYS_H

#include "protocol/bb_error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_CURVE_KEY_BYTES    32
#define BB_CURVE_TEXT_BYTES   41 // 40 characters and the terminator
#define BB_SIGN_SECRET_BYTES  64
#define BB_KEY_NAME_BYTES_MAX 80

// Z85 of `length` bytes (a multiple of 4) into length * 5 / 4 characters and a terminator.
void bb_z85_encode(const uint8_t *bytes, size_t length, char *text);
// The reverse; text_length must be a multiple of 5. False when a character is not of the alphabet
// or a group is larger than 32 bits; `bytes` is then unspecified.
bool bb_z85_decode(const char *text, size_t text_length, uint8_t *bytes);

typedef struct {
    uint8_t public_key[BB_CURVE_KEY_BYTES];
    uint8_t secret_key[BB_CURVE_KEY_BYTES];
} bb_curve_pair_t;

typedef struct {
    uint8_t public_key[32];
    uint8_t secret_key[BB_SIGN_SECRET_BYTES];
} bb_sign_pair_t;

// Draws from the operating system's generator (libsodium). INTERNAL when libsodium cannot start.
BB_MUST_CHECK bb_error_t bb_curve_pair_generate(bb_curve_pair_t *pair);
BB_MUST_CHECK bb_error_t bb_sign_pair_generate(bb_sign_pair_t *pair);
// Recomputes the public key from the secret one and compares.
bool bb_curve_pair_is_consistent(const bb_curve_pair_t *pair);
BB_MUST_CHECK bb_error_t bb_random_bytes(void *out, size_t length);
// Overwrites memory that held a secret; not optimised away.
void bb_keys_wipe(void *memory, size_t length);

// Creates `path` (mode 0600) with the pair. EXISTS when there is a file, IO, DISK_FULL.
BB_MUST_CHECK bb_error_t bb_curve_pair_write(const char *path, const char *name,
                                             const bb_curve_pair_t *pair, bb_fault_t *fault);
BB_MUST_CHECK bb_error_t bb_sign_pair_write(const char *path, const char *name,
                                            const bb_sign_pair_t *pair, bb_fault_t *fault);
// Errors: PERMISSION (readable by group or others, or not by us; not a regular file), NOT_FOUND,
// KEY (malformed, as "file:line: ..."; the public key does not belong to the secret one), IO.
// `name` (BB_KEY_NAME_BYTES_MAX + 1 bytes) may be NULL.
BB_MUST_CHECK bb_error_t bb_curve_pair_read(const char *path, bb_curve_pair_t *pair, char *name,
                                            bb_fault_t *fault);
BB_MUST_CHECK bb_error_t bb_sign_pair_read(const char *path, bb_sign_pair_t *pair, char *name,
                                           bb_fault_t *fault);
// The check that the two readers make, for other files that hold secrets.
BB_MUST_CHECK bb_error_t bb_secret_file_check(const char *path, bb_fault_t *fault);

#ifdef __cplusplus
}
#endif
#endif
