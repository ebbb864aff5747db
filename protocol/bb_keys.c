// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/bb_whole_file.h"

#define S_FILE_BYTES_MAX 4096

static_assert(crypto_box_PUBLICKEYBYTES == BB_CURVE_KEY_BYTES, "CURVE is Curve25519");
static_assert(crypto_box_SECRETKEYBYTES == BB_CURVE_KEY_BYTES, "CURVE is Curve25519");
static_assert(crypto_sign_SECRETKEYBYTES == BB_SIGN_SECRET_BYTES, "Ed25519, seed and public key");

// ---- Z85 (ZeroMQ RFC 32) ----

static const char s_alphabet[] =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

void bb_z85_encode(const uint8_t *bytes, size_t length, char *text)
{
    BB_ASSERT(length % 4 == 0);
    for (size_t i = 0; i < length; i += 4) {
        uint32_t group = (uint32_t)bytes[i] << 24 | (uint32_t)bytes[i + 1] << 16 |
                         (uint32_t)bytes[i + 2] << 8 | bytes[i + 3];
        for (int digit = 4; digit >= 0; digit--) {
            text[digit] = s_alphabet[group % 85];
            group /= 85;
        }
        text += 5;
    }
    *text = '\0';
}

bool bb_z85_decode(const char *text, size_t text_length, uint8_t *bytes)
{
    if (text_length % 5 != 0) {
        return false;
    }
    for (size_t i = 0; i < text_length; i += 5) {
        uint64_t group = 0;
        for (size_t digit = 0; digit < 5; digit++) {
            char character = text[i + digit];
            const char *found = character ? strchr(s_alphabet, character) : NULL;
            if (!found) {
                return false;
            }
            group = group * 85 + (uint64_t)(found - s_alphabet);
        }
        if (group > UINT32_MAX) {
            return false;
        }
        for (int j = 3; j >= 0; j--) {
            *bytes++ = (uint8_t)(group >> (8 * j));
        }
    }
    return true;
}

// ---- pairs ----

bb_error_t bb_curve_pair_generate(bb_curve_pair_t *pair)
{
    if (sodium_init() < 0) {
        return BB_ERR_INTERNAL;
    }
    return crypto_box_keypair(pair->public_key, pair->secret_key) == 0 ? BB_OK : BB_ERR_INTERNAL;
}

bb_error_t bb_sign_pair_generate(bb_sign_pair_t *pair)
{
    if (sodium_init() < 0) {
        return BB_ERR_INTERNAL;
    }
    return crypto_sign_keypair(pair->public_key, pair->secret_key) == 0 ? BB_OK : BB_ERR_INTERNAL;
}

bool bb_curve_pair_is_consistent(const bb_curve_pair_t *pair)
{
    uint8_t computed[BB_CURVE_KEY_BYTES];
    return crypto_scalarmult_base(computed, pair->secret_key) == 0 &&
           sodium_memcmp(computed, pair->public_key, sizeof computed) == 0;
}

static bool s_sign_pair_is_consistent(const bb_sign_pair_t *pair)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    bb_sign_pair_t computed;
    bool consistent =
        crypto_sign_ed25519_sk_to_seed(seed, pair->secret_key) == 0 &&
        crypto_sign_seed_keypair(computed.public_key, computed.secret_key, seed) == 0 &&
        sodium_memcmp(&computed, pair, sizeof computed) == 0;
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(&computed, sizeof computed);
    return consistent;
}

bb_error_t bb_random_bytes(void *out, size_t length)
{
    if (sodium_init() < 0) {
        return BB_ERR_INTERNAL;
    }
    randombytes_buf(out, length);
    return BB_OK;
}

void bb_keys_wipe(void *memory, size_t length)
{
    sodium_memzero(memory, length);
}

// ---- writing ----

static bb_error_t s_write(const char *path, const char *kind, const char *name,
                          const uint8_t *public_key, const uint8_t *secret_key,
                          size_t secret_length, bb_fault_t *fault)
{
    char public_text[BB_CURVE_TEXT_BYTES];
    char secret_text[BB_SIGN_SECRET_BYTES / 4 * 5 + 1];
    char text[512];
    BB_ASSERT(strlen(name) <= BB_KEY_NAME_BYTES_MAX && !strpbrk(name, "\"\\\n"));
    bb_z85_encode(public_key, 32, public_text);
    bb_z85_encode(secret_key, secret_length, secret_text);
    int length = snprintf(text, sizeof text,
                          "# busbar key; whoever can read this file can act under this name\n"
                          "kind: \"%s\"\nname: \"%s\"\npublic_key: \"%s\"\nsecret_key: \"%s\"\n",
                          kind, name, public_text, secret_text);
    BB_ASSERT(length > 0 && length < (int)sizeof text);
    bb_error_t error = bb_whole_file_create("key file", path, text, (size_t)length, fault);
    sodium_memzero(secret_text, sizeof secret_text);
    sodium_memzero(text, sizeof text);
    return error;
}

bb_error_t bb_curve_pair_write(const char *path, const char *name, const bb_curve_pair_t *pair,
                               bb_fault_t *fault)
{
    return s_write(path, "curve", name, pair->public_key, pair->secret_key, sizeof pair->secret_key,
                   fault);
}

bb_error_t bb_sign_pair_write(const char *path, const char *name, const bb_sign_pair_t *pair,
                              bb_fault_t *fault)
{
    return s_write(path, "ed25519", name, pair->public_key, pair->secret_key,
                   sizeof pair->secret_key, fault);
}

// ---- reading ----

static bb_error_t s_check_stat(const char *path, const struct stat *info, bb_fault_t *fault)
{
    if (!S_ISREG(info->st_mode)) {
        return bb_fault_set(fault, BB_ERR_PERMISSION, "'%s' is not a regular file", path);
    }
    if (info->st_mode & 077) {
        return bb_fault_set(fault, BB_ERR_PERMISSION,
                            "'%s' holds a secret and has mode %04o; group and others must have "
                            "no access (chmod 600)",
                            path, (unsigned)(info->st_mode & 07777));
    }
    return BB_OK;
}

bb_error_t bb_secret_file_check(const char *path, bb_fault_t *fault)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return bb_whole_file_fault(errno, "read", "key file", path, fault);
    }
    return s_check_stat(path, &info, fault);
}

// The whole file into `text`, which is S_FILE_BYTES_MAX + 1 bytes.
static bb_error_t s_read_file(const char *path, char *text, size_t *length, bb_fault_t *fault)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        return bb_whole_file_fault(errno, "open", "key file", path, fault);
    }
    struct stat info;
    bb_error_t error = BB_OK;
    if (fstat(file, &info) != 0) {
        error = bb_whole_file_fault(errno, "read", "key file", path, fault);
    } else {
        error = s_check_stat(path, &info, fault);
    }
    *length = 0;
    while (error == BB_OK && *length <= S_FILE_BYTES_MAX) {
        ssize_t got = read(file, text + *length, S_FILE_BYTES_MAX + 1 - *length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            error = bb_whole_file_fault(errno, "read", "key file", path, fault);
        }
        if (got <= 0) {
            break;
        }
        *length += (size_t)got;
    }
    close(file);
    if (error == BB_OK && *length > S_FILE_BYTES_MAX) {
        error = bb_fault_set(fault, BB_ERR_KEY, "%s:1: is larger than a key file can be", path);
    }
    return error;
}

// The four values of a key file, in the order of s_keys.
enum { S_KIND, S_NAME, S_PUBLIC, S_SECRET, S_KEY_COUNT };
static const char *const s_keys[S_KEY_COUNT] = {"kind", "name", "public_key", "secret_key"};

typedef struct {
    bb_slice_t values[S_KEY_COUNT];
    int lines[S_KEY_COUNT];
    int line_count;
} s_document_t;

// One line `key: "value"`; spaces and a comment may follow.
static bb_error_t s_parse_line(s_document_t *document, const char *path, int line, const char *text,
                               size_t length, bb_fault_t *fault)
{
    const char *end = text + length;
    const char *colon = memchr(text, ':', length);
    size_t key = 0;
    while (colon && key < S_KEY_COUNT &&
           !(strlen(s_keys[key]) == (size_t)(colon - text) &&
             memcmp(s_keys[key], text, strlen(s_keys[key])) == 0)) {
        key++;
    }
    if (!colon || key == S_KEY_COUNT) {
        return bb_fault_set(fault, BB_ERR_KEY,
                            "%s:%d: only kind, name, public_key and secret_key are allowed", path,
                            line);
    }
    if (document->lines[key] != 0) {
        return bb_fault_set(fault, BB_ERR_KEY, "%s:%d: key '%s': given twice", path, line,
                            s_keys[key]);
    }
    const char *at = colon + 1;
    while (at < end && *at == ' ') {
        at++;
    }
    const char *close = at < end && *at == '"' && at > colon + 1
                            ? memchr(at + 1, '"', (size_t)(end - at - 1))
                            : NULL;
    const char *rest = close ? close + 1 : NULL;
    while (rest && rest < end && *rest == ' ') {
        rest++;
    }
    if (!close || (rest < end && *rest != '#')) {
        return bb_fault_set(fault, BB_ERR_KEY, "%s:%d: key '%s': needs one text in double quotes",
                            path, line, s_keys[key]);
    }
    document->values[key] = bb_slice(at + 1, (size_t)(close - at - 1));
    document->lines[key] = line;
    return BB_OK;
}

static bb_error_t s_parse(s_document_t *document, const char *path, const char *text, size_t length,
                          bb_fault_t *fault)
{
    const char *end = text + length;
    int line = 0;
    while (text < end) {
        line++;
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        stop = stop ? stop : end;
        size_t bytes = (size_t)(stop - text);
        if (bytes > 0 && text[bytes - 1] == '\r') {
            bytes--;
        }
        if (bytes > 0 && text[0] != '#' && !(bytes == 3 && memcmp(text, "---", 3) == 0)) {
            bb_error_t error = s_parse_line(document, path, line, text, bytes, fault);
            if (error != BB_OK) {
                return error;
            }
        }
        text = stop < end ? stop + 1 : end;
    }
    for (size_t key = 0; key < S_KEY_COUNT; key++) {
        if (document->lines[key] == 0) {
            return bb_fault_set(fault, BB_ERR_KEY, "%s:%d: key '%s': is missing", path,
                                BB_MAX(line, 1), s_keys[key]);
        }
    }
    return BB_OK;
}

static bb_error_t s_decode_key(const s_document_t *document, size_t key, const char *path,
                               uint8_t *bytes, size_t length, bb_fault_t *fault)
{
    bb_slice_t value = document->values[key];
    if (value.length != length / 4 * 5 || !bb_z85_decode(value.data, value.length, bytes)) {
        return bb_fault_set(fault, BB_ERR_KEY, "%s:%d: key '%s': must be %zu characters of Z85",
                            path, document->lines[key], s_keys[key], length / 4 * 5);
    }
    return BB_OK;
}

static bb_error_t s_read(const char *path, const char *kind, uint8_t *public_key,
                         uint8_t *secret_key, size_t secret_length, char *name, bb_fault_t *fault)
{
    char text[S_FILE_BYTES_MAX + 1];
    size_t length = 0;
    s_document_t document = {0};
    bb_error_t error = s_read_file(path, text, &length, fault);
    if (error == BB_OK) {
        error = s_parse(&document, path, text, length, fault);
    }
    if (error == BB_OK && (document.values[S_KIND].length != strlen(kind) ||
                           memcmp(document.values[S_KIND].data, kind, strlen(kind)) != 0)) {
        error = bb_fault_set(fault, BB_ERR_KEY, "%s:%d: key 'kind': must be \"%s\" here", path,
                             document.lines[S_KIND], kind);
    }
    if (error == BB_OK && document.values[S_NAME].length > BB_KEY_NAME_BYTES_MAX) {
        error = bb_fault_set(fault, BB_ERR_KEY, "%s:%d: key 'name': longer than %d bytes", path,
                             document.lines[S_NAME], BB_KEY_NAME_BYTES_MAX);
    }
    if (error == BB_OK) {
        error = s_decode_key(&document, S_PUBLIC, path, public_key, 32, fault);
    }
    if (error == BB_OK) {
        error = s_decode_key(&document, S_SECRET, path, secret_key, secret_length, fault);
    }
    if (error == BB_OK && name) {
        memcpy(name, document.values[S_NAME].data, document.values[S_NAME].length);
        name[document.values[S_NAME].length] = '\0';
    }
    sodium_memzero(text, sizeof text);
    return error;
}

bb_error_t bb_curve_pair_read(const char *path, bb_curve_pair_t *pair, char *name,
                              bb_fault_t *fault)
{
    BB_ASSERT(path);
    BB_ASSERT(pair);
    bb_error_t error = s_read(path, "curve", pair->public_key, pair->secret_key,
                              sizeof pair->secret_key, name, fault);
    if (error == BB_OK && !bb_curve_pair_is_consistent(pair)) {
        error = bb_fault_set(fault, BB_ERR_KEY,
                             "%s:1: the public key does not belong to the secret key", path);
    }
    if (error != BB_OK) {
        sodium_memzero(pair, sizeof *pair);
    }
    return error;
}

bb_error_t bb_sign_pair_read(const char *path, bb_sign_pair_t *pair, char *name, bb_fault_t *fault)
{
    BB_ASSERT(path);
    BB_ASSERT(pair);
    bb_error_t error = s_read(path, "ed25519", pair->public_key, pair->secret_key,
                              sizeof pair->secret_key, name, fault);
    if (error == BB_OK && !s_sign_pair_is_consistent(pair)) {
        error = bb_fault_set(fault, BB_ERR_KEY,
                             "%s:1: the public key does not belong to the secret key", path);
    }
    if (error != BB_OK) {
        sodium_memzero(pair, sizeof *pair);
    }
    return error;
}
